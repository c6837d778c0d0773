//! Pure. Incidents: a binding that is not well, from its first bad sighting until something closes it.
//!
//! | what closes an incident | |
//! |---|---|
//! | a good sighting | one that *started* after the last bad one did; how each ended, or when, does not matter |
//! | its key is good again | the key that was stale or unlisted is the set's current or next one now: the rotation was taken back |
//! | an acknowledgement | you say that it is dealt with; if it comes again, that is a new incident |
//! | silence | of an untagged binding alone |
//!
//! **An untagged binding** is known by its key among other things, so that a client whose key was put right is another
//! binding from then on, and the old one is never seen again. Nothing can show that it was repaired, so its incident does
//! not flap: it stays open while that key is seen, and closes when its key is good again, when you acknowledge it, or
//! when it has been silent for longer than its rhythm allows, eight days at least. **A tagged one** (a workflow or node)
//! stays itself whatever key it sends: silence proves nothing of it, and a weekly workflow's incident is open all week.
//!
//! **A mixed binding** looks well by its last sighting, and another sender behind it still sends an old key. Its incident,
//! `mixed`, is drawn from the evidence ([`super::query`]): it is open as long as that sender is not done, and is not kept.
//!
//! **What does not open one again**: a sighting that started before the last good one did (or before whatever else closed
//! the last incident), and one of an execution that was seen bad before it ([`Retrying`]). Such retries began before the
//! fix, and go on with what they began with, over a restart of keyward as well.

use std::fmt;
use std::time::Duration;

use super::identity::BindingId;
use super::rhythm::{self, Rhythm};
use super::seen::{Finding, Seen};
use crate::clock::Timestamp;
use crate::codes::{Coded, codes};
use crate::keys::set::Names;
use crate::splitmix;
use crate::verdict::explain::{DiagnosisKind, Severity};

/// A time in which a binding is or was not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its number: stable, the same after a restart.
    pub id: IncidentId,
    /// When the first bad sighting started.
    pub opened: Timestamp,
    /// When the last bad sighting started.
    pub last: Timestamp,
    /// How many bad sightings there were.
    pub sightings: u64,
    /// What is wrong, by the last bad sighting: its code.
    pub diagnosis: &'static str,
    pub severity: Severity,
    /// The key of the last bad sighting; nothing where none came.
    pub key: Option<Names>,
    /// The execution of the last bad sighting.
    pub execution: Option<Box<str>>,
    /// The path of the last bad sighting, where it is the path that is wrong: without the query, and bounded.
    pub path: Option<Box<str>>,
    /// What closed it, if anything did.
    pub closed: Option<Closed>,
}

/// The number of an incident: sixteen hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncidentId(pub u64);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The end of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When: the start of the good sighting, or the moment at which the rest was found.
    pub at: Timestamp,
    pub by: Coded<Closing>,
    /// The execution of the good sighting.
    pub execution: Option<Box<str>>,
}

codes! {
    /// Why an incident is over.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Closing {
        /// A good sighting that started after the last bad one.
        GoodSighting => "good_sighting",
        /// The key that was at fault is the set's current or next one now.
        KeyIsGoodAgain => "key_is_good_again",
        /// You acknowledged it.
        Acknowledged => "acknowledged",
        /// An untagged binding was silent for too long.
        Silence => "silence",
        /// Its set is configured no longer, so that nothing is of it any more.
        SetRemoved => "set_removed",
    }
}

/// Whether that incident is over when its key has become the set's current or next one: only where nothing but the key's
/// standing was wrong. What upstream refused is not good because it is current.
#[must_use]
pub fn is_of_standing(diagnosis: &str) -> bool {
    matches!(diagnosis, "stale_binding" | "unlisted_key")
}

/// How long an untagged binding of that rhythm must be silent for its incident to close.
#[must_use]
pub fn silence(rhythm: Option<Rhythm>) -> Duration {
    rhythm::patience(rhythm).max(rhythm::patience(None))
}

/// The last executions that were seen bad, by a hash of their ids: when the incident has closed, their retries do not open
/// it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retrying(
    /// The last one at the end; 0, which is no hash, where there is none. Nothing where there is no execution at all.
    Option<Box<[u32; Self::KEPT]>>,
);

impl Retrying {
    /// How many executions are known again.
    pub const KEPT: usize = 8;

    /// Whether that execution is one of them.
    #[must_use]
    pub fn knows(&self, execution: &str) -> bool {
        self.0.as_ref().is_some_and(|known| known.contains(&rhythm::hash(execution)))
    }

    /// Notes an execution that was seen bad. The oldest one makes room.
    pub fn add(&mut self, execution: &str) {
        self.add_hash(rhythm::hash(execution));
    }

    /// Forgets an execution that was noted.
    pub fn remove(&mut self, execution: &str) {
        let Some(known) = &mut self.0 else { return };
        let Some(place) = known.iter().position(|hash| *hash == rhythm::hash(execution)) else { return };
        known[..=place].rotate_right(1);
        known[0] = 0;
        if known.iter().all(|hash| *hash == 0) {
            self.0 = None;
        }
    }

    /// Adds those that were noted later.
    pub fn merge(&mut self, later: &Self) {
        later.hashes().for_each(|hash| self.add_hash(hash));
    }

    /// As bytes, to be stored: little-endian numbers of four bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes().flat_map(u32::to_le_bytes).collect()
    }

    /// From stored bytes. Of what is no such list, nothing is known again but by chance.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut retrying = Self::default();
        let hashes = bytes.chunks_exact(4).map(|four| four.try_into().map_or(0, u32::from_le_bytes));
        hashes.filter(|hash| *hash != 0).for_each(|hash| retrying.add_hash(hash));
        retrying
    }

    fn add_hash(&mut self, hash: u32) {
        let known = self.0.get_or_insert_default();
        let place = known.iter().position(|known| *known == hash).unwrap_or(0);
        known[place..].rotate_left(1);
        known[Self::KEPT - 1] = hash;
    }

    fn hashes(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|known| **known).filter(|hash| *hash != 0)
    }
}

impl Incident {
    /// Begins with a bad sighting.
    pub(super) fn open(seen: &Seen<'_>, finding: Finding, binding: BindingId) -> Self {
        Self {
            id: IncidentId::new(binding, seen.at),
            opened: seen.at,
            last: seen.at,
            sightings: 1,
            diagnosis: finding.diagnosis(),
            severity: finding.severity,
            key: seen.key,
            execution: seen.execution.map(Box::from),
            path: wrong_path(seen, finding),
            closed: None,
        }
    }

    /// Goes on with another bad sighting; of two, the one that started last is told of.
    pub(super) fn add(&mut self, seen: &Seen<'_>, finding: Finding) {
        self.sightings += 1;
        self.opened = self.opened.min(seen.at);
        if seen.at < self.last {
            return;
        }
        self.last = seen.at;
        self.key = seen.key;
        self.revise(finding);
        self.path = wrong_path(seen, finding);
        if self.execution.as_deref() != seen.execution {
            self.execution = seen.execution.map(Box::from);
        }
    }

    /// Tells more of its last bad sighting.
    pub(super) fn revise(&mut self, finding: Finding) {
        (self.diagnosis, self.severity) = (finding.diagnosis(), finding.severity);
    }
}

impl Incident {
    /// Goes on as another one that was opened on the same binding without knowing of this one.
    pub(super) fn joined_by(self, later: Self) -> Self {
        let (opened, sightings) = (self.opened.min(later.opened), self.sightings + later.sightings);
        let told = if later.last >= self.last { later } else { self.clone() };
        Self { id: self.id, opened, sightings, ..told }
    }
}

impl IncidentId {
    /// Of the incident that a bad sighting opened on a binding. The sighting that was heard of first counts, even if one
    /// that started before it is heard of later.
    fn new(binding: BindingId, at: Timestamp) -> Self {
        // Incidents of one binding differ in their first digits.
        Self(splitmix::join(binding.0, at.as_millis().cast_unsigned()))
    }

    /// Of the incident of a mixed binding. One that a bad sighting opened in the same moment is another one.
    pub(super) fn of_mixed(binding: BindingId, at: Timestamp) -> Self {
        Self(!Self::new(binding, at).0)
    }
}

/// The path that came, where it is what is wrong. Keys in it were masked when the exchange began; what its end would be cut
/// in the middle of is left out.
fn wrong_path(seen: &Seen<'_>, finding: Finding) -> Option<Box<str>> {
    let is_wrong = finding.diagnosis() == DiagnosisKind::WrongPath.code();
    is_wrong.then(|| bounded(seen.path))
}

fn bounded(path: &str) -> Box<str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.len() <= LONGEST_PATH {
        return path.into();
    }
    let mut end = path.floor_char_boundary(LONGEST_PATH - ELLIPSIS.len());
    // `%2F` is one character.
    if let Some(percent) = path[..end].rfind('%').filter(|percent| end - percent < 3) {
        end = percent;
    }
    [&path[..end], ELLIPSIS].concat().into()
}

/// How long a path may be, in bytes.
const LONGEST_PATH: usize = 120;

const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retrying(executions: &[u8]) -> Retrying {
        let mut retrying = Retrying::default();
        for execution in executions {
            retrying.add(&execution.to_string());
        }
        retrying
    }

    #[test]
    fn a_path_is_bounded_and_has_no_query() {
        assert_eq!(&*bounded("/chat/completions?key=sk-a#b"), "/chat/completions");
        let long = bounded(&"/é%C3%A9".repeat(40));
        assert!(long.len() <= LONGEST_PATH && long.ends_with('…'), "{long}");
        for length in 100..130 {
            let path = format!("/{}%2F{}", "a".repeat(length), "b".repeat(40));
            let cut = bounded(&path).replace("%2F", "");
            assert!(!cut.contains('%') && cut.len() <= LONGEST_PATH, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn the_last_executions_are_known_again_also_from_their_bytes(
            executions in prop::collection::vec(0..12_u8, 0..30),
            mended in prop::option::of(0..12_u8),
        ) {
            let mut found = retrying(&executions);
            let mut expected: Vec<u8> = Vec::new();
            for execution in executions {
                expected.retain(|known| *known != execution);
                expected.push(execution);
            }
            expected.drain(..expected.len().saturating_sub(Retrying::KEPT));
            if let Some(mended) = mended {
                found.remove(&mended.to_string());
                expected.retain(|known| *known != mended);
            }
            let known: Vec<_> = (0..12).filter(|execution| found.knows(&execution.to_string())).collect();
            prop_assert_eq!(&Retrying::from_bytes(&found.to_bytes()), &found);
            prop_assert_eq!(&retrying(&expected), &found);
            expected.sort_unstable();
            prop_assert_eq!(known, expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Retrying::from_bytes(&bytes).hashes().count() <= Retrying::KEPT);
        }
    }
}
