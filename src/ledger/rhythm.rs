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
    visits: Box<[Visit]>,
    /// The last request of the last visit, in seconds since the Unix epoch.
    active: u32,
}

/// Requests that came close after one another, as those of one execution do.
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
    pub longest: Duration,
    /// How many visits it is drawn from, at most [`Visits::KEPT`].
    pub visits: usize,
}

impl Visits {
    /// How many visits are kept.
    pub const KEPT: usize = 16;

    /// Takes in a request: says whether a new visit began with it.
    pub fn add(&mut self, at: Timestamp, execution: Option<&str>) -> bool {
        let (now, execution) = (seconds(at), execution.map_or(0, hash));
        let Some(last) = self.visits.last().copied() else {
            self.begin(now, execution);
            return true;
        };
        let is_known = execution != 0 && self.visits.iter().any(|visit| visit.execution == execution);
        // A long exchange is told of when it ends, after others that began later.
        let is_late = now < last.began;
        let ends = self.active.saturating_add(PAUSE).min(last.began.saturating_add(LONGEST_VISIT));
        let goes_on = !is_late && now < ends;
        if is_known || goes_on || is_late {
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

    /// Takes in a later digest of the same binding. Of a visit that both know, the later one has the last word.
    pub fn merge(&mut self, later: &Self) {
        let mut visits = std::mem::take(&mut self.visits).into_vec();
        visits.retain(|visit| later.visits.iter().all(|known| known.began != visit.began));
        visits.extend_from_slice(&later.visits);
        visits.sort_unstable();
        visits.drain(..visits.len().saturating_sub(Self::KEPT));
        self.visits = visits.into_boxed_slice();
        self.active = self.active.max(later.active);
    }

    /// Whether there was no visit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// The rhythm; nothing before a second visit.
    #[must_use]
    pub fn rhythm(&self) -> Option<Rhythm> {
        let mut spans = [0; Self::KEPT];
        let spans = &mut spans[..self.visits.len().saturating_sub(1).min(Self::KEPT)];
        for (span, pair) in spans.iter_mut().zip(self.visits.windows(2)) {
            *span = pair[1].began - pair[0].began;
        }
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
        let mut digest = Self { visits: Box::default(), active };
        digest.merge(&Self { visits, active });
        digest
    }

    fn begin(&mut self, began: u32, execution: u32) {
        let mut visits = std::mem::take(&mut self.visits).into_vec();
        if visits.len() == Self::KEPT {
            visits.remove(0);
        }
        visits.reserve_exact(1);
        visits.push(Visit { began, execution });
        self.visits = visits.into_boxed_slice();
        self.active = self.active.max(began);
    }
}

/// How long a binding of that rhythm may be silent before it is overdue. One without a rhythm yet gets a little more than
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

/// No binding is overdue sooner.
const LEAST_PATIENCE: Duration = Duration::from_mins(10);

/// Eight days.
const WITHOUT_RHYTHM: Duration = Duration::from_hours(8 * 24);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    /// A Monday, in seconds.
    const START: i64 = 1_795_392_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis((START + seconds) * 1000)
    }

    fn visits(starts: impl IntoIterator<Item = i64>) -> Visits {
        let mut visits = Visits::default();
        for start in starts {
            visits.add(at(start), None);
        }
        visits
    }

    fn hours(span: Duration) -> u64 {
        span.as_secs() / 3600
    }

    #[test]
    fn requests_of_one_execution_or_close_to_one_another_are_one_visit() {
        let mut visits = Visits::default();
        assert!(visits.add(at(0), Some("e1")));
        assert!(!visits.add(at(50), Some("e2")), "within a minute");
        assert!(!visits.add(at(100), None), "within a minute of the last request");
        assert!(visits.add(at(200), Some("e3")));
        assert!(!visits.add(at(HOUR), Some("e3")), "an execution that takes long");
        assert!(!visits.add(at(10), Some("e4")), "told of late");
        assert!(visits.add(at(2 * HOUR), Some("e5")));
        assert!(!visits.add(at(3 * HOUR), Some("e3")), "of the last visits, each execution is known");
    }

    #[test]
    fn who_never_pauses_comes_every_hour() {
        let steady = visits((0..10 * HOUR).step_by(30));
        let rhythm = steady.rhythm().expect("a rhythm");
        assert_eq!((hours(rhythm.median), hours(rhythm.longest)), (1, 1));
    }

    #[test]
    fn a_weekday_workflow_is_not_overdue_on_a_sunday_and_a_daily_one_is() {
        let daily = visits((0..14).map(|day| day * DAY));
        assert_eq!(hours(daily.rhythm().expect("a rhythm").median), 24);
        assert_eq!(hours(patience(daily.rhythm())), 48);
        let weekdays = visits((0..14).filter(|day| day % 7 < 5).map(|day| day * DAY));
        let rhythm = weekdays.rhythm().expect("a rhythm");
        assert_eq!((hours(rhythm.median), hours(rhythm.longest), rhythm.visits), (24, 72, 10));
        assert_eq!(hours(patience(Some(rhythm))), 90);
        assert_eq!(hours(patience(visits([0]).rhythm())), 8 * 24, "once is no rhythm");
        assert_eq!(patience(visits([0, 70, 140]).rhythm()), LEAST_PATIENCE);
    }

    #[test]
    fn a_rhythm_follows_a_change_of_the_schedule() {
        let mut visits = visits((0..16).map(|hour| hour * HOUR));
        assert_eq!(hours(visits.rhythm().expect("a rhythm").median), 1);
        for day in 1..=10 {
            visits.add(at(16 * HOUR + day * DAY), None);
        }
        assert_eq!(hours(visits.rhythm().expect("a rhythm").median), 24);
        assert_eq!(visits.visits.len(), Visits::KEPT);
    }

    #[test]
    fn what_is_no_digest_is_an_empty_one() {
        assert_eq!(Visits::from_bytes(&[]), Visits::default());
        assert!(Visits::from_bytes(&[1, 2, 3]).is_empty());
        assert_eq!(hash("e1"), 0x841a_cf03, "stored, so it may not change");
    }

    proptest! {
        #[test]
        fn a_digest_comes_back_from_its_bytes(starts in prop::collection::vec(0..30 * DAY, 0..40)) {
            let visits = visits(starts);
            prop_assert_eq!(Visits::from_bytes(&visits.to_bytes()), visits);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let visits = Visits::from_bytes(&bytes);
            let _ = visits.rhythm();
            prop_assert!(visits.visits.len() <= Visits::KEPT);
        }

        #[test]
        fn two_digests_merge_alike_in_either_order(
            one in prop::collection::vec(0..30 * DAY, 0..20),
            other in prop::collection::vec(0..30 * DAY, 0..20),
        ) {
            let (one, other) = (visits(one), visits(other));
            let (mut left, mut right) = (one.clone(), other.clone());
            left.merge(&other);
            right.merge(&one);
            prop_assert_eq!(&left, &right);
            let before = left.clone();
            left.merge(&one);
            prop_assert_eq!(left, before, "and once is enough");
        }
    }
}
