//! Pure. What is wrong with upstream or with a set's current key, told from how exchanges end.
//!
//! | problem | opens | closes |
//! |---|---|---|
//! | [`CurrentKeyRefused`](ProblemKind::CurrentKeyRefused) | upstream calls a set's current key invalid | it takes that key again or says that its account is out of credit, or the set has another one |
//! | [`QuotaUsedUp`](ProblemKind::QuotaUsedUp) | upstream says so of a set's current key | it answers a `POST` with that key, or the set has another one |
//! | [`UpstreamUnreachable`](ProblemKind::UpstreamUnreachable) | no connection can be made | upstream answers, whatever it says |
//! | [`UpstreamFailing`](ProblemKind::UpstreamFailing) | three exchanges in a row end with 5xx, without an answer, or within one | three in a row do not |
//!
//! A row is broken by ten quiet minutes. What ends well counts only if it began after the last trouble ended: a stream that
//! was begun in better times shows nothing. All of it counts from the start of keyward, which begins with what [`mod@super::recalled`]
//! tells of the time before.

use std::collections::HashSet;
use std::time::Duration;

use super::kind::ProblemKind;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::{Names, SetIndex};
use crate::ledger::identity::BindingId;
use crate::outcome::{Ending, Outcome, UpstreamError};

/// An exchange that ended, as far as it tells of upstream and of a current key.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'e> {
    pub set: SetIndex,
    pub binding: BindingId,
    /// When its head came.
    pub began: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    pub outcome: Outcome,
    /// The key that upstream saw.
    pub key: Option<Names>,
    /// Whether that key is its set's current one.
    pub is_current: bool,
    /// Whether it asked for something that costs.
    pub is_billed: bool,
    /// Why there is no whole answer, where that is known.
    pub cause: Option<&'e str>,
}

/// The trouble of one kind that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// When the first exchange ended that met it.
    pub since: Timestamp,
    /// When the last one did.
    pub last: Timestamp,
    /// How many exchanges met it.
    pub requests: u64,
    /// Whose they were, up to [`MOST_BINDINGS`].
    pub bindings: HashSet<BindingId>,
    /// The key at fault, if a key is.
    pub key: Option<Names>,
    /// The status of the last answer, if there was one.
    pub status: Option<u16>,
    /// Why the last exchange had no whole answer.
    pub cause: Option<Box<str>>,
    in_a_row: u32,
    good_in_a_row: u32,
}

/// What there is of each kind.
#[derive(Debug)]
pub struct Traffic {
    unreachable: Watch,
    failing: Watch,
    sets: Vec<OfSet>,
}

/// What was wrong before the start, and goes on.
#[derive(Debug, Default)]
pub struct Recalled {
    pub(super) unreachable: Option<Episode>,
    pub(super) failing: Option<Episode>,
    /// By the position of the set.
    pub(super) sets: Vec<RecalledOfSet>,
}

/// The same of a set's current key.
#[derive(Debug, Default)]
pub(super) struct RecalledOfSet {
    pub(super) quota: Option<Episode>,
    pub(super) refused: Option<Episode>,
}

/// That trouble of a kind begins, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is trouble of that kind now; of that set's key, if it is of a key.
    Opened(ProblemKind, Option<SetIndex>),
    /// There is none any more.
    Closed(ProblemKind, Option<SetIndex>),
}

#[derive(Debug)]
struct OfSet {
    refused: Watch,
    quota: Watch,
}

/// Opens after so many in a row that are bad, closes after so many that are good.
#[derive(Debug)]
struct Watch {
    opens_after: u32,
    closes_after: u32,
    /// Whether it is about a key, so that another key is another matter.
    is_of_key: bool,
    episode: Option<Episode>,
}

// === impl OfSet ===

impl OfSet {
    fn new() -> Self {
        Self { refused: Watch::of_key(), quota: Watch::of_key() }
    }
}

// === impl Traffic ===

impl Traffic {
    /// Before the first exchange, for that many sets.
    #[must_use]
    pub fn new(sets: usize) -> Self {
        Self {
            unreachable: Watch::of_upstream(1),
            failing: Watch::of_upstream(FAILURES_IN_A_ROW),
            sets: (0..sets).map(|_| OfSet::new()).collect(),
        }
    }

    /// Makes room for that many sets.
    pub fn make_room(&mut self, sets: usize) {
        self.sets.resize_with(sets.max(self.sets.len()), OfSet::new);
    }

    /// Remembers from before the start that upstream refuses a set's current key.
    pub fn recall_refused(&mut self, set: SetIndex, key: Names, since: Timestamp) {
        if let Some(of_set) = self.sets.get_mut(set.position()) {
            of_set.refused.episode = Some(Episode { requests: 0, in_a_row: 1, ..Episode::begin(since, Some(key)) });
        }
    }

    /// Takes in that upstream refuses a set's current key, which no exchange showed.
    pub fn note_refusal(&mut self, set: SetIndex, key: Names, now: Timestamp) {
        let known = self.sets.get(set.position()).and_then(|of_set| of_set.refused.open()?.key);
        if known.is_none_or(|known| known.fingerprint != key.fingerprint) {
            self.recall_refused(set, key, now);
        }
    }

    /// Takes in that upstream does not refuse that key.
    pub fn forget_refusal(&mut self, set: SetIndex, key: Names) {
        if let Some(of_set) = self.sets.get_mut(set.position()) {
            let is_its = |episode: &mut Episode| episode.key.is_some_and(|known| known.fingerprint == key.fingerprint);
            of_set.refused.episode.take_if(is_its);
        }
    }

    /// Remembers from before the start what else was wrong.
    pub fn recall(&mut self, recalled: Recalled) {
        let Recalled { unreachable, failing, sets } = recalled;
        self.unreachable.recall(unreachable);
        self.failing.recall(failing);
        for (of_set, recalled) in self.sets.iter_mut().zip(sets) {
            // A key that is told of its account was known.
            if let Some(quota) = &recalled.quota {
                of_set.refused.episode.take_if(|refused| refused.since <= quota.last && refused.key == quota.key);
            }
            of_set.quota.recall(recalled.quota);
            if let (Some(refused), Some(met)) = (&mut of_set.refused.episode, recalled.refused) {
                (refused.last, refused.bindings) = (refused.last.max(met.last), met.bindings);
            }
        }
    }

    /// Whether there is no trouble, and no row of failures that may become one.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let of_sets = self.sets.iter().flat_map(|of_set| [&of_set.refused, &of_set.quota]);
        [&self.unreachable, &self.failing].into_iter().chain(of_sets).all(|watch| watch.episode.is_none())
    }

    /// Takes in an exchange that ended; gives the trouble that begins or ends with it.
    pub fn note(&mut self, ended: &Ended<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut tell = |kind, set, watch: &mut Watch, sign| match watch.note(ended, sign) {
            Some(Turn::Opens) => changes.push(Change::Opened(kind, set)),
            Some(Turn::Closes) => changes.push(Change::Closed(kind, set)),
            None => {}
        };
        tell(ProblemKind::UpstreamUnreachable, None, &mut self.unreachable, reached(ended.outcome));
        tell(ProblemKind::UpstreamFailing, None, &mut self.failing, worked(ended.outcome));
        if let Some(of_set) = self.sets.get_mut(ended.set.position()) {
            let set = Some(ended.set);
            tell(ProblemKind::CurrentKeyRefused, set, &mut of_set.refused, took_key(ended));
            tell(ProblemKind::QuotaUsedUp, set, &mut of_set.quota, paid(ended));
        }
        changes
    }

    /// Forgets what is said of keys that are no longer current in that set, which has those: as long as it has none, the
    /// last one is the one that clients need.
    pub fn settle(&mut self, set: SetIndex, current: &[Fingerprint]) {
        let Some(of_set) = self.sets.get_mut(set.position()) else { return };
        let is_past = |episode: &mut Episode| {
            !current.is_empty() && !episode.key.is_some_and(|key| current.contains(&key.fingerprint))
        };
        for watch in [&mut of_set.refused, &mut of_set.quota] {
            watch.episode.take_if(is_past);
        }
    }

    /// The trouble that there is, with the set of each that is a key's.
    pub fn open(&self) -> impl Iterator<Item = (ProblemKind, Option<SetIndex>, &Episode)> {
        let all =
            [(ProblemKind::UpstreamUnreachable, &self.unreachable), (ProblemKind::UpstreamFailing, &self.failing)];
        let of_all = all.into_iter().map(|(kind, watch)| (kind, None, watch));
        let of_sets = self.sets.iter().enumerate().flat_map(|(position, of_set)| {
            let set = SetIndex::nth(position);
            [(ProblemKind::CurrentKeyRefused, set, &of_set.refused), (ProblemKind::QuotaUsedUp, set, &of_set.quota)]
        });
        of_all.chain(of_sets).filter_map(|(kind, set, watch)| Some((kind, set, watch.open()?)))
    }
}

// === impl Watch ===

/// What an exchange did to a watch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Opens,
    Closes,
}

impl Watch {
    fn of_key() -> Self {
        Self { opens_after: 1, closes_after: 1, is_of_key: true, episode: None }
    }

    fn of_upstream(in_a_row: u32) -> Self {
        Self { opens_after: in_a_row, closes_after: in_a_row, is_of_key: false, episode: None }
    }

    /// Goes on with an episode of before the start.
    fn recall(&mut self, episode: Option<Episode>) {
        self.episode = episode.map(|episode| Episode { in_a_row: self.opens_after, ..episode });
    }

    fn open(&self) -> Option<&Episode> {
        self.episode.as_ref().filter(|episode| episode.in_a_row >= self.opens_after)
    }

    /// Whether the exchange carried a current key, or the one that was until upstream refused it.
    fn is_about(&self, ended: &Ended<'_>) -> bool {
        let of = self.episode.as_ref().and_then(|episode| episode.key).map(|key| key.fingerprint);
        !self.is_of_key || ended.is_current || (of.is_some() && of == ended.key.map(|key| key.fingerprint))
    }

    /// Takes in an exchange that shows the thing at fault or well, or says nothing of it.
    fn note(&mut self, ended: &Ended<'_>, is_well: Option<bool>) -> Option<Turn> {
        match is_well.filter(|_| self.is_about(ended)) {
            None => None,
            Some(true) => self.note_good(ended),
            Some(false) => self.note_bad(ended),
        }
    }

    fn note_bad(&mut self, ended: &Ended<'_>) -> Option<Turn> {
        let (opens_after, key) = (self.opens_after, ended.key.filter(|_| self.is_of_key));
        self.episode.take_if(|episode| {
            let is_another_row = episode.in_a_row < opens_after && ended.at.since(episode.last) > ROW;
            let is_another_key = episode.key.map(|key| key.fingerprint) != key.map(|key| key.fingerprint);
            is_another_row || is_another_key
        });
        let episode = self.episode.get_or_insert_with(|| Episode::begin(ended.at, key));
        episode.add(ended);
        (episode.in_a_row == opens_after).then_some(Turn::Opens)
    }

    fn note_good(&mut self, ended: &Ended<'_>) -> Option<Turn> {
        let episode = self.episode.as_mut()?;
        if ended.began < episode.last {
            return None;
        }
        episode.good_in_a_row += 1;
        let was_open = episode.in_a_row >= self.opens_after;
        if was_open && episode.good_in_a_row < self.closes_after {
            return None;
        }
        self.episode = None;
        was_open.then_some(Turn::Closes)
    }
}

impl Episode {
    /// Before the first exchange that met it.
    pub(super) fn begin(at: Timestamp, key: Option<Names>) -> Self {
        Self {
            since: at,
            last: at,
            requests: 0,
            bindings: HashSet::new(),
            key,
            status: None,
            cause: None,
            in_a_row: 0,
            good_in_a_row: 0,
        }
    }

    fn add(&mut self, ended: &Ended<'_>) {
        self.last = self.last.max(ended.at);
        self.requests += 1;
        if self.bindings.len() < MOST_BINDINGS {
            self.bindings.insert(ended.binding);
        }
        self.status = ended.outcome.status.map(|status| status.as_u16());
        self.cause = ended.cause.map(Box::from);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.good_in_a_row = 0;
    }
}

// === What an exchange shows ===

/// Whether upstream could be reached.
fn reached(outcome: Outcome) -> Option<bool> {
    if outcome.ending == Ending::Unreachable { Some(false) } else { outcome.status.map(|_| true) }
}

/// Whether upstream did its part.
fn worked(outcome: Outcome) -> Option<bool> {
    match outcome.ending {
        Ending::TimedOut | Ending::CutOff => Some(false),
        Ending::Completed => outcome.status.map(|status| !status.is_server_error()),
        Ending::ClientGone
        | Ending::Unreachable
        | Ending::Redirected
        | Ending::Refused
        | Ending::Failed
        | Ending::ShutDown
        | Ending::Idle => None,
    }
}

/// Whether upstream took a current key.
fn took_key(ended: &Ended<'_>) -> Option<bool> {
    let outcome = ended.outcome;
    // Whose account is out of credit is known by the key alone.
    let takes_key = outcome.took_key() || is_used_up(outcome);
    if outcome.is_invalid_key() { Some(false) } else { takes_key.then_some(true) }
}

/// Whether the account of a current key can pay. What is free is answered all the same, so that it shows nothing.
fn paid(ended: &Ended<'_>) -> Option<bool> {
    if is_used_up(ended.outcome) {
        Some(false)
    } else {
        (ended.is_billed && ended.outcome.is_accepted()).then_some(true)
    }
}

fn is_used_up(outcome: Outcome) -> bool {
    outcome.error == UpstreamError::Quota && outcome.refuses_key()
}

/// How many bindings are told apart; where more are hit, there are at least that many.
pub const MOST_BINDINGS: usize = 10_000;

/// How many failures of upstream in a row are more than the one or two that every day has.
pub(super) const FAILURES_IN_A_ROW: u32 = 3;

/// How long a row may be silent.
const ROW: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests;
