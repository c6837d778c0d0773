//! Pure. The usual rhythm of a binding: a bounded digest of when it came, by which a dead binding is told from a weekly one.
//!
//! What counts is *visits*, not requests: all requests of one execution are one visit, as are requests that follow one
//! another within a minute, for up to an hour. The digest is the last visits themselves, so that two digests of one
//! binding (of two proxies, or from before and after a restart) merge by putting them together.

use std::time::Duration;

use crate::clock::Timestamp;

/// The last visits of one binding, in the order of their beginnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    visits: Vec<Visit>,
    /// The last request of the last visit, in seconds since the Unix epoch.
    active: u32,
}

/// One visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Visit {
    /// When it began, in seconds since the Unix epoch.
    began: u32,
    /// A hash of the execution that came last in it; 0 for none.
    execution: u32,
}

/// How often a binding comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// The median of the spans between the beginnings of visits that follow one another.
    pub median: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// How many visits it is drawn from, at most [`Visits::KEPT`].
    pub visits: usize,
}

impl Visits {
    /// How many visits are kept.
    pub const KEPT: usize = 16;

    /// Takes in a request. Says whether a new visit began with it.
    pub fn add(&mut self, at: Timestamp, execution: Option<&str>) -> bool {
        let (now, execution) = (seconds(at), execution.map_or(0, hash));
        let Some(last) = self.visits.last().copied() else {
            self.begin(now, execution);
            return true;
        };
        let is_known = execution != 0 && self.visits.iter().any(|visit| visit.execution == execution);
        let goes_on = now < self.active.saturating_add(PAUSE) && now < last.began.saturating_add(LONGEST_VISIT);
        // A long exchange is told of when it ends, after others that began later.
        if is_known || goes_on || now < last.began {
            self.active = self.active.max(now);
            if let Some(last) = self.visits.last_mut()
                && goes_on
                && execution != 0
            {
                last.execution = execution;
            }
            return false;
        }
        self.begin(now, execution);
        true
    }

    /// Puts the visits of two digests of one binding together.
    pub fn merge(&mut self, other: &Self) {
        self.visits.extend_from_slice(&other.visits);
        self.visits.sort_unstable();
        self.visits.dedup_by_key(|visit| visit.began);
        let surplus = self.visits.len().saturating_sub(Self::KEPT);
        self.visits.drain(..surplus);
        self.active = self.active.max(other.active);
    }

    /// Whether there was no visit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// The rhythm; nothing before a second visit.
    #[must_use]
    pub fn rhythm(&self) -> Option<Rhythm> {
        let mut spans: Vec<u32> = self.visits.windows(2).map(|pair| pair[1].began - pair[0].began).collect();
        spans.sort_unstable();
        let (median, longest) = (*spans.get(spans.len() / 2)?, *spans.last()?);
        let span = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Some(Rhythm { median: span(median), longest: span(longest), visits: self.visits.len() })
    }

    /// As bytes, to be stored: little-endian numbers of four bytes, first that of the last request, then two for each visit.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.visits.iter().flat_map(|visit| [visit.began, visit.execution]);
        std::iter::once(self.active).chain(numbers).flat_map(u32::to_le_bytes).collect()
    }

    /// From stored bytes; what is no digest is an empty one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes.chunks_exact(4).map(|four| four.try_into().map_or(0, u32::from_le_bytes));
        let active = numbers.next().unwrap_or_default();
        let numbers: Vec<u32> = numbers.collect();
        let visits = numbers.chunks_exact(2).map(|pair| Visit { began: pair[0], execution: pair[1] }).collect();
        let mut digest = Self { visits: Vec::new(), active };
        digest.merge(&Self { visits, active });
        digest
    }

    fn begin(&mut self, began: u32, execution: u32) {
        if self.visits.len() == Self::KEPT {
            self.visits.remove(0);
        }
        self.visits.reserve_exact(1);
        self.visits.push(Visit { began, execution });
        self.active = began;
    }
}

/// How long a binding of that rhythm may be silent before it is overdue. Whoever has no rhythm yet gets a little more than
/// a week, the longest usual schedule.
///
/// Twice the median, or a quarter more than the longest pause that was seen, whichever is longer: who works on weekdays
/// is not overdue on a Sunday.
#[must_use]
pub fn patience(rhythm: Option<Rhythm>) -> Duration {
    rhythm.map_or(WITHOUT_RHYTHM, |rhythm| (2 * rhythm.median).max(rhythm.longest * 5 / 4).max(LEAST_PATIENCE))
}

fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_millis().div_euclid(1000).max(0)).unwrap_or(u32::MAX)
}

/// FNV-1a; never 0. It is stored, so it must not change.
pub(super) fn hash(text: &str) -> u32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// A visit ends when nothing came for that long, in seconds.
const PAUSE: u32 = 60;

/// Who never pauses begins a new visit after that long, in seconds: so that it has a rhythm as well.
const LONGEST_VISIT: u32 = 3600;

/// Nobody is overdue sooner.
const LEAST_PATIENCE: Duration = Duration::from_mins(10);

/// Eight days.
const WITHOUT_RHYTHM: Duration = Duration::from_hours(8 * 24);
