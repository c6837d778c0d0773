//! Pure. `SplitMix64`: numbers that look random, the same ones for the same seed. They keep no secret.

/// The numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Numbers that the seed decides: the same ones for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of 64 bits.
    pub const fn draw(&mut self) -> u64 {
        self.0 = step(self.0);
        mix(self.0)
    }

    /// The next number, brought below `end`, which is not zero.
    pub const fn draw_below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

/// The state after that one. All of them come before one comes again.
#[must_use]
pub const fn step(state: u64) -> u64 {
    state.wrapping_add(STEP)
}

/// The number that belongs to a state, and to no other.
#[must_use]
pub const fn mix(state: u64) -> u64 {
    let mixed = round(state, 30, 0xbf58_476d_1ce4_e5b9);
    let mixed = round(mixed, 27, 0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Two numbers as one, whose first digits differ where one of the two does.
///
/// It has one of the two rounds of [`mix`], and has to stay so: the ids of incidents are made by it, and lie in stores.
#[must_use]
pub const fn join(one: u64, other: u64) -> u64 {
    let mixed = round(one ^ spread(other), 30, 0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

/// A number over all digits, so that small ones that follow each other lie far apart.
#[must_use]
pub const fn spread(number: u64) -> u64 {
    number.wrapping_mul(STEP)
}

const fn round(number: u64, shift: u32, factor: u64) -> u64 {
    (number ^ (number >> shift)).wrapping_mul(factor)
}

/// The golden ratio's part behind the point, in 64 bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_everybody_gets_from_the_seed() {
        // From the reference implementation, by Sebastiano Vigna.
        let mut numbers = SplitMix64::new(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([(); 3].map(|()| numbers.draw()), expected);
        assert_eq!(SplitMix64::new(1_234_567).draw_below(1000), 317);
    }

    #[test]
    fn joined_numbers_stay_what_they_are_in_stores() {
        assert_eq!(join(0, 0), 0);
        assert_eq!(join(0xff76_7888_c32b_3599, 1_790_000_000_000), 0xc8ab_9867_e36a_72b7);
    }
}
