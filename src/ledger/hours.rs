//! Pure. Exchanges by the hour: what kinds of them there were, and with which of a set's keys.
//!
//! A row stands for one set, key, verdict, outcome and hour, of all senders: so its number depends on the sets' keys and
//! on time, and neither on requests nor on bindings. Only a key that belongs to a set has rows of its own, since strangers
//! can make up any number of others.

use std::collections::BTreeMap;

use super::seen::Seen;
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::SetIndex;
use crate::outcome::OutcomeKind;
use crate::verdict::{Verdict, VerdictKind};

/// What is counted together. Ordered by time first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour {
    /// When it began, in hours since the Unix epoch.
    number: u32,
    pub set: SetIndex,
    /// The key that came, if it is one of a set.
    pub key: Option<Fingerprint>,
    verdict: Coded<VerdictKind>,
    outcome: Coded<OutcomeKind>,
}

impl Hour {
    /// Of an exchange: the hour in which it started.
    pub(super) fn of(seen: &Seen<'_>, set: SetIndex) -> Self {
        let is_of_a_set = match seen.verdict {
            Verdict::Current | Verdict::Next | Verdict::Token | Verdict::Outdated(_) | Verdict::Foreign { .. } => true,
            Verdict::Unknown(_) | Verdict::Missing | Verdict::Malformed(_) => false,
        };
        Self {
            number: number(seen.at),
            set,
            key: seen.key.filter(|_| is_of_a_set).map(|names| names.fingerprint),
            verdict: seen.verdict.kind().into(),
            outcome: seen.outcome.kind().into(),
        }
    }

    /// As the store has it: codes that this version does not know stay as they are.
    #[must_use]
    pub fn read(
        begin: Timestamp,
        set: SetIndex,
        key: Option<Fingerprint>,
        verdict: Coded<VerdictKind>,
        outcome: Coded<OutcomeKind>,
    ) -> Self {
        Self { number: number(begin), set, key, verdict, outcome }
    }

    /// When the hour begins, by the clock in UTC.
    #[must_use]
    pub fn begin(&self) -> Timestamp {
        Timestamp::from_millis(i64::from(self.number) * HOUR)
    }

    /// How the credentials were judged, by its stable code.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        self.verdict.code()
    }

    /// How the exchanges ended, by its stable code.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        self.outcome.code()
    }
}

/// The counts, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    counts: BTreeMap<Hour, u64>,
}

impl Hours {
    /// Adds exchanges. Where there is no room for another row, the oldest goes.
    pub fn add(&mut self, hour: Hour, exchanges: u64) {
        *self.counts.entry(hour).or_default() += exchanges;
        if self.counts.len() > ROWS {
            self.counts.pop_first();
        }
    }

    /// Whether no exchange was counted in any hour.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Every row, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Hour, u64)> {
        self.counts.iter().map(|(hour, exchanges)| (hour, *exchanges))
    }

    /// Those with one of some keys alone.
    #[must_use]
    pub fn of_keys(&self, is_one: impl Fn(Fingerprint) -> bool) -> Self {
        let of_keys = self.counts.iter().filter(|(hour, _)| hour.key.is_some_and(&is_one));
        Self { counts: of_keys.map(|(hour, exchanges)| (*hour, *exchanges)).collect() }
    }

    /// How many exchanges carried that key towards that set, hour by hour; hours without any are left out.
    #[must_use]
    pub fn of_key(&self, set: SetIndex, key: Fingerprint) -> Vec<(Timestamp, u64)> {
        let mut traffic: Vec<(Timestamp, u64)> = Vec::new();
        for (hour, exchanges) in self.iter().filter(|(hour, _)| hour.set == set && hour.key == Some(key)) {
            match traffic.last_mut() {
                Some((begin, sum)) if *begin == hour.begin() => *sum += exchanges,
                Some(_) | None => traffic.push((hour.begin(), exchanges)),
            }
        }
        traffic
    }

    /// How many exchanges upstream failed since a moment, its hour included.
    #[must_use]
    pub fn failed_since(&self, since: Timestamp) -> u64 {
        let failed = [OutcomeKind::UpstreamError, OutcomeKind::TimedOut, OutcomeKind::CutOff].map(OutcomeKind::code);
        let late = self.counts.iter().rev().take_while(|(hour, _)| hour.number >= number(since));
        late.filter(|(hour, _)| failed.contains(&hour.outcome())).map(|(_, exchanges)| exchanges).sum()
    }

    /// Forgets the hours that ended before then.
    pub fn forget_before(&mut self, then: Timestamp) {
        let first = number(then);
        while self.counts.first_key_value().is_some_and(|(oldest, _)| oldest.number < first) {
            self.counts.pop_first();
        }
    }
}

fn number(at: Timestamp) -> u32 {
    u32::try_from(at.as_millis().div_euclid(HOUR)).unwrap_or_default()
}

const HOUR: i64 = 3_600_000;

/// How many rows are kept in memory: ninety days of a hundred kinds an hour, in some ten megabytes.
pub(super) const ROWS: usize = 200_000;
