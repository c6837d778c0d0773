//! Pure. Chance, from a seed: the same seed gives the same history on every machine.

use ::keyward::splitmix::{SplitMix64, spread};

/// Numbers to choose by.
#[derive(Clone, Debug)]
pub struct Dice(SplitMix64);

impl Dice {
    /// From the seed of a run and the number of the history in it.
    pub fn new(seed: u64, history: u64) -> Self {
        let mut numbers = SplitMix64::new(seed.rotate_left(32) ^ spread(history));
        numbers.draw();
        Self(numbers)
    }

    /// A number below that one, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.0.draw() % bound).unwrap_or(0)
    }

    /// A number from `least` to `most`, both of them included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let width = most.saturating_sub(least).max(0).cast_unsigned() + 1;
        least.saturating_add((self.0.draw() % width).cast_signed())
    }

    /// True in that many of a thousand.
    pub fn chance(&mut self, per_mille: i64) -> bool {
        self.between(0, 999) < per_mille
    }

    /// One of those; there has to be at least one.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }

    /// How long until the next of what comes by chance, that far apart on average.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "an average needs no exact milliseconds"
    )]
    pub fn wait(&mut self, mean: i64) -> i64 {
        let unit = (self.0.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - unit).ln() * mean as f64) as i64
    }
}
