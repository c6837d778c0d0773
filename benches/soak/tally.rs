//! What was done and how it went: each unexpected thing is said at once, and counted.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ::keyward::locks::lock;

/// The counts of a run.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, Count>>);

/// How often something was done.
#[derive(Clone, Copy, Default)]
pub struct Count {
    pub done: u64,
    /// Upstream refused connections.
    pub away: u64,
    /// Upstream closed an unused connection at the moment when the request came.
    pub raced: u64,
    pub unexpected: u64,
}

/// How one went.
pub enum Ending {
    AsPlanned,
    Away,
    Raced,
    Unexpected(String),
}

impl Tally {
    pub fn count(&self, kind: &'static str, ending: Ending) {
        let mut counts = lock(&self.0);
        let count = counts.entry(kind).or_default();
        count.done += 1;
        match ending {
            Ending::AsPlanned => {}
            Ending::Away => count.away += 1,
            Ending::Raced => count.raced += 1,
            Ending::Unexpected(what) => {
                count.unexpected += 1;
                println!("unexpected, {kind}: {what}");
            }
        }
    }

    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        lock(&self.0).clone()
    }

    pub fn total(&self) -> Count {
        self.counts().values().fold(Count::default(), |sum, count| Count {
            done: sum.done + count.done,
            away: sum.away + count.away,
            raced: sum.raced + count.raced,
            unexpected: sum.unexpected + count.unexpected,
        })
    }
}

/// The checks at the end of a run.
#[derive(Default)]
pub struct Verdict {
    passed: u64,
    failed: u64,
}

impl Verdict {
    pub fn check(&mut self, what: &str, is_so: bool) {
        println!("{} {what}", if is_so { "passed:" } else { "FAILED:" });
        *(if is_so { &mut self.passed } else { &mut self.failed }) += 1;
    }

    /// Says how many there were. Whether all passed.
    pub fn end(&self) -> bool {
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }
}
