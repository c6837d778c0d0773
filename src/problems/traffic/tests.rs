//! Each problem opens and closes as its row in the table says, by a clock that each test tells.

use http::StatusCode;

use super::*;
use crate::outcome::Proof;

const SET: SetIndex = SetIndex::DEFAULT;

/// The problems of a set whose clock is told by each test, in seconds.
struct Walk {
    traffic: Traffic,
    open: Vec<ProblemKind>,
}

#[derive(Clone, Copy)]
enum End {
    Status(u16, UpstreamError),
    Ending(Ending),
}

const WELL: End = End::Status(200, UpstreamError::None);
const REFUSED: End = End::Status(401, UpstreamError::InvalidApiKey);
const USED_UP: End = End::Status(429, UpstreamError::Quota);
const FAILED: End = End::Status(503, UpstreamError::Other);
const UNREACHABLE: End = End::Ending(Ending::Unreachable);

fn key(number: u8) -> Names {
    Names { fingerprint: format!("{number:032x}").parse().expect("a fingerprint"), hint: None }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

impl Walk {
    fn new() -> Self {
        Self { traffic: Traffic::new(1), open: Vec::new() }
    }

    /// An exchange with the current key, which is that one.
    fn take(&mut self, seconds: i64, number: u8, end: End) -> &[ProblemKind] {
        self.note(&ended(seconds, seconds, number, end))
    }

    fn note(&mut self, ended: &Ended<'_>) -> &[ProblemKind] {
        for change in self.traffic.note(ended) {
            match change {
                Change::Opened(kind, _) => self.open.push(kind),
                Change::Closed(kind, _) => self.open.retain(|open| *open != kind),
            }
        }
        // What was told of changes is what there is.
        let mut open: Vec<_> = self.traffic.open().map(|(kind, _, _)| kind).collect();
        let mut told = self.open.clone();
        open.sort_unstable();
        told.sort_unstable();
        assert_eq!(open, told);
        &self.open
    }

    fn episode(&self) -> &Episode {
        self.traffic.open().next().expect("an open problem").2
    }
}

fn ended(began: i64, end: i64, number: u8, how: End) -> Ended<'static> {
    let (ending, status, error) = match how {
        End::Status(status, error) => (Ending::Completed, StatusCode::from_u16(status).ok(), error),
        End::Ending(ending) => (ending, None, UpstreamError::None),
    };
    Ended {
        set: SET,
        binding: BindingId(u64::from(number)),
        began: at(began),
        at: at(end),
        outcome: Outcome { ending, status, error, proof: Proof::None },
        key: Some(key(number)),
        is_current: true,
        is_billed: true,
        cause: None,
    }
}

#[test]
fn a_refused_key_is_told_of_from_the_first_refusal_until_it_is_taken() {
    let mut walk = Walk::new();
    assert!(walk.take(0, 1, WELL).is_empty() && walk.traffic.is_calm());
    assert_eq!(walk.take(10, 1, REFUSED), [ProblemKind::CurrentKeyRefused]);
    walk.take(20, 1, REFUSED);
    let episode = walk.episode();
    assert_eq!((episode.since, episode.last, episode.requests, episode.key), (at(10), at(20), 2, Some(key(1))));
    assert_eq!(walk.take(30, 1, FAILED), [ProblemKind::CurrentKeyRefused], "5xx says nothing of the key");
    assert!(walk.take(40, 1, WELL).is_empty() && walk.traffic.is_calm());
}

#[test]
fn another_key_that_is_refused_is_no_matter_of_the_current_one() {
    let mut walk = Walk::new();
    let stale = Ended { is_current: false, ..ended(5, 5, 2, REFUSED) };
    assert!(walk.note(&stale).is_empty() && walk.traffic.is_calm());
    walk.take(10, 1, REFUSED);
    assert_eq!(walk.note(&Ended { is_current: false, ..ended(11, 11, 2, WELL) }).len(), 1, "nor one that is taken");
    assert_eq!(walk.episode().requests, 1);
}

#[test]
fn a_new_current_key_ends_what_was_said_of_the_one_before() {
    let mut walk = Walk::new();
    walk.take(10, 1, USED_UP);
    walk.take(11, 1, REFUSED);
    walk.traffic.settle(SET, &[key(1).fingerprint]);
    assert_eq!(walk.traffic.open().count(), 2);
    walk.traffic.settle(SET, &[]);
    assert_eq!(walk.traffic.open().count(), 2, "a set that lost its key, as one that learns, still needs one");
    walk.traffic.settle(SET, &[key(2).fingerprint]);
    assert!(walk.traffic.is_calm());
}

#[test]
fn a_set_that_learns_has_lost_its_key_by_the_first_refusal_and_the_next_ones_count_all_the_same() {
    let mut walk = Walk::new();
    walk.take(10, 1, REFUSED);
    walk.traffic.settle(SET, &[]);
    walk.note(&Ended { is_current: false, ..ended(20, 20, 1, REFUSED) });
    assert_eq!((walk.episode().since, walk.episode().requests), (at(10), 2));
}

#[test]
fn a_refusal_that_is_remembered_is_told_of_at_once() {
    let mut walk = Walk::new();
    walk.traffic.recall_refused(SET, key(1), at(5));
    walk.open.push(ProblemKind::CurrentKeyRefused);
    assert_eq!((walk.episode().since, walk.episode().requests), (at(5), 0));
    assert!(!walk.traffic.is_calm());
    assert_eq!(walk.take(50, 1, REFUSED).len(), 1);
    assert_eq!((walk.episode().since, walk.episode().requests), (at(5), 1));
    assert!(walk.take(60, 1, WELL).is_empty());
}

#[test]
fn an_account_that_is_out_of_credit_has_a_key_that_upstream_knows() {
    let mut walk = Walk::new();
    assert_eq!(walk.take(10, 1, REFUSED), [ProblemKind::CurrentKeyRefused]);
    assert_eq!(walk.take(20, 1, USED_UP), [ProblemKind::QuotaUsedUp]);
}

#[test]
fn a_quota_is_back_when_something_that_costs_is_answered() {
    let mut walk = Walk::new();
    assert_eq!(walk.take(10, 1, USED_UP), [ProblemKind::QuotaUsedUp]);
    let free = Ended { is_billed: false, ..ended(20, 20, 1, WELL) };
    assert_eq!(walk.note(&free), [ProblemKind::QuotaUsedUp]);
    let limited = End::Status(429, UpstreamError::Other);
    assert_eq!(walk.take(30, 1, limited), [ProblemKind::QuotaUsedUp], "too much at once is another thing");
    assert!(walk.take(40, 1, WELL).is_empty());
}

#[test]
fn an_unreachable_upstream_is_told_of_until_it_answers_whatever_it_says() {
    for answer in [WELL, FAILED, REFUSED] {
        let mut walk = Walk::new();
        assert_eq!(walk.take(10, 1, UNREACHABLE), [ProblemKind::UpstreamUnreachable]);
        walk.note(&Ended { cause: Some("no route"), ..ended(11, 12, 2, UNREACHABLE) });
        let episode = walk.episode();
        assert_eq!((episode.bindings.len(), episode.cause.as_deref()), (2, Some("no route")));
        assert!(!walk.take(20, 1, answer).contains(&ProblemKind::UpstreamUnreachable));
    }
}

#[test]
fn what_began_before_the_last_trouble_ended_shows_nothing() {
    let mut walk = Walk::new();
    walk.take(10, 1, UNREACHABLE);
    assert_eq!(walk.note(&ended(9, 300, 1, WELL)).len(), 1, "a long stream of better times");
    assert!(walk.note(&ended(10, 300, 1, WELL)).is_empty());
}

#[test]
fn three_failures_in_a_row_are_trouble_and_three_successes_end_it() {
    let mut walk = Walk::new();
    for (seconds, end) in [(0, FAILED), (1, FAILED), (2, WELL), (3, FAILED), (4, End::Ending(Ending::CutOff))] {
        assert!(walk.take(seconds, 1, end).is_empty(), "{seconds}");
    }
    assert_eq!(walk.take(5, 1, End::Ending(Ending::TimedOut)), [ProblemKind::UpstreamFailing]);
    assert_eq!(walk.episode().since, at(3), "since the first of the row");
    for (seconds, end) in [(6, WELL), (7, WELL), (8, FAILED), (9, WELL), (10, WELL)] {
        assert_eq!(walk.take(seconds, 1, end), [ProblemKind::UpstreamFailing], "{seconds}");
    }
    assert!(walk.take(11, 1, WELL).is_empty() && walk.traffic.is_calm());
}

#[test]
fn failures_far_apart_are_no_row() {
    let mut walk = Walk::new();
    for seconds in [0, 700, 1_400, 2_100] {
        assert!(walk.take(seconds, 1, FAILED).is_empty());
    }
    walk.take(2_110, 1, FAILED);
    assert_eq!(walk.take(2_120, 1, FAILED), [ProblemKind::UpstreamFailing]);
}

#[test]
fn a_client_that_leaves_shows_neither_failure_nor_success() {
    let mut walk = Walk::new();
    for seconds in 0..10 {
        assert!(walk.take(seconds, 1, End::Ending(Ending::ClientGone)).is_empty());
    }
    assert!(walk.traffic.is_calm());
}
