//! Pure. When something runs: by the clock, by the calendar, by chance.

use crate::dice::Dice;

/// A moment of a history in milliseconds; zero is the first act of the rotation.
pub type Moment = i64;

/// In milliseconds.
pub const SECOND: i64 = 1_000;
/// In milliseconds.
pub const MINUTE: i64 = 60 * SECOND;
/// In milliseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// In milliseconds.
pub const DAY: i64 = 24 * HOUR;

/// Where a history begins.
pub const BEGINS: Moment = -60 * DAY;
/// Until when it is asked whether the old key can go.
pub const ASKED_UNTIL: Moment = 45 * DAY;
/// Where it ends: what is used between the last question and here shows that an answer was wrong.
pub const ENDS: Moment = 140 * DAY;
/// Later than all of it.
pub const NEVER: Moment = i64::MAX / 4;
/// Where frequent runs, which would tell nothing more, are no longer played.
const FREQUENT_UNTIL: Moment = 52 * DAY;

/// How often a workflow runs.
#[derive(Clone, Copy, Debug)]
pub enum Schedule {
    /// Never by itself.
    Never,
    /// That far apart. Frequent ones are thinned out to two hours where the rotation is far away.
    Every(i64),
    /// At one moment of each such period.
    Calendar(i64),
    /// About that far apart, the first one within the first period.
    About(i64),
    /// By chance in business hours: how many in ten workdays, and how many of a thousand of these at weekends.
    Business(i64, i64),
    /// By chance, that far apart on average.
    Rare(i64),
    /// A person works with it for an hour or three, that far apart on average.
    Sessions(i64),
}

impl Schedule {
    /// The moments at which it runs, in order. `monday` is how much of its week had passed at moment zero.
    pub fn moments(self, dice: &mut Dice, monday: i64) -> Vec<Moment> {
        let mut moments = match self {
            Self::Never => Vec::new(),
            Self::Every(period) => every(dice, period),
            Self::Calendar(period) => calendar(dice, period, monday),
            Self::About(period) => about(dice, period),
            Self::Business(in_ten_days, at_weekends) => business(dice, monday, (in_ten_days, at_weekends)),
            Self::Rare(mean) => rare(dice, mean),
            Self::Sessions(mean) => sessions(dice, mean),
        };
        moments.retain(|moment| *moment > BEGINS);
        moments.sort_unstable();
        moments
    }
}

fn every(dice: &mut Dice, period: i64) -> Vec<Moment> {
    let (dense_from, dense_until) = (-36 * HOUR, 3 * DAY);
    let end = if period >= 12 * HOUR { ENDS } else { FREQUENT_UNTIL };
    let mut moments = Vec::new();
    let mut at = BEGINS + dice.between(0, period);
    while at < end {
        moments.push(at + dice.between(0, 5 * SECOND));
        let thinned = if period >= 6 * HOUR { period } else { period.max(2 * HOUR) };
        let nears = at < dense_from && at + thinned > dense_from;
        at += if (dense_from..dense_until).contains(&at) || nears { period } else { thinned };
    }
    moments
}

fn calendar(dice: &mut Dice, period: i64, monday: i64) -> Vec<Moment> {
    let within = dice.between(0, period - 1);
    let first = BEGINS + (within - (BEGINS + monday).rem_euclid(period)).rem_euclid(period);
    stepping(first, period).map(|at| at + dice.between(0, 20 * SECOND)).collect()
}

fn about(dice: &mut Dice, period: i64) -> Vec<Moment> {
    let first = BEGINS - period + dice.between(0, period);
    stepping(first, period).map(|at| at + dice.between(0, 30 * SECOND)).collect()
}

fn stepping(first: Moment, period: i64) -> impl Iterator<Item = Moment> {
    std::iter::successors(Some(first), move |at| Some(at + period)).take_while(|at| *at < ENDS)
}

fn business(dice: &mut Dice, monday: i64, (in_ten_days, at_weekends): (i64, i64)) -> Vec<Moment> {
    let end = if in_ten_days > 15 { FREQUENT_UNTIL } else { ENDS };
    let mut moments = Vec::new();
    for day in BEGINS / DAY - 1..end / DAY {
        let midnight = day * DAY - monday.rem_euclid(DAY);
        let is_weekend = (midnight + monday + DAY / 2).div_euclid(DAY).rem_euclid(7) >= 5;
        let full = if is_weekend { in_ten_days * at_weekends / 1000 } else { in_ten_days };
        // In the middle of busy workflows nothing is learned from each single run.
        let runs = if in_ten_days > 600 && !(-2..=3).contains(&day) { full / 8 } else { full };
        if runs == 0 {
            continue;
        }
        let mut passed = dice.wait(10 * DAY / runs);
        while passed < DAY {
            moments.push(midnight + 8 * HOUR + dice.between(0, 10 * HOUR));
            passed += dice.wait(10 * DAY / runs);
        }
    }
    moments
}

fn rare(dice: &mut Dice, mean: i64) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut at = BEGINS + dice.wait(mean);
    while at < ENDS {
        moments.push(at);
        at += dice.wait(mean).max(MINUTE);
    }
    moments
}

fn sessions(dice: &mut Dice, mean: i64) -> Vec<Moment> {
    let mut moments = Vec::new();
    for begins in rare(dice, mean) {
        let length = dice.between(HOUR, 3 * HOUR);
        let runs = dice.between(3, 15);
        moments.extend((0..runs).map(|_| begins + dice.between(0, length)));
    }
    moments
}
