//! Pure. The keys of all sets as people are shown them.

use super::fingerprint::Fingerprint;
use super::history::{History, SetHistory};
use super::set::{KeyRing, Names, Role, SetIndex, Word};
use crate::clock::Timestamp;

/// A key of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub set: SetIndex,
    /// Its public names; without a hint where only its fingerprint was ever seen.
    pub names: Names,
    /// What it is to the set; never a token.
    pub role: Role,
    /// Since when it is current, where it is.
    pub since: Option<Timestamp>,
    /// Whether the set learned that from traffic.
    pub learned: bool,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// What upstream said of it when it saw it last.
    pub word: Option<Word>,
    /// Whether upstream refuses it, and was never seen to accept it.
    pub never_accepted: bool,
}

impl Entry {
    /// Whether upstream refused it when it saw it last.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.word == Some(Word::Refused)
    }

    /// Since when the key is what it is.
    #[must_use]
    pub fn begin(&self) -> Option<Timestamp> {
        match self.role {
            Role::Previous { retired, .. } => Some(retired.by),
            Role::Current | Role::Next | Role::Token => self.since,
        }
    }
}

/// Every key once in each of its sets: set by set, current first, of the previous ones the latest first.
#[must_use]
pub fn entries(ring: &KeyRing, history: &History) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (names, owner) in ring.owners().filter(|(_, owner)| owner.role != Role::Token) {
        if entries.iter().any(|entry| entry.set == owner.set && entry.names.fingerprint == names.fingerprint) {
            continue;
        }
        let set = history.sets.get(&*ring.set(owner.set).name);
        let remembered = || set.and_then(|set| set.hints.get(&names.fingerprint)).copied();
        entries.push(Entry {
            set: owner.set,
            names: Names { hint: names.hint.or_else(remembered), ..names },
            role: owner.role,
            since: set.and_then(|set| since(set, names.fingerprint)),
            learned: owner.learned,
            revoked: ring.revoked(names.fingerprint),
            word: ring.word(names.fingerprint),
            never_accepted: set.is_some_and(|set| never_accepted(set, names.fingerprint)),
        });
    }
    entries.sort_by_key(|entry| (entry.set, rank(entry.role), entry.names.fingerprint));
    entries
}

fn since(history: &SetHistory, key: Fingerprint) -> Option<Timestamp> {
    let declared = history.current.filter(|current| current.key == key).map(|current| current.since);
    let learned = || history.learned.keys().iter().find(|learned| learned.key == key).map(|learned| learned.since);
    declared.or_else(learned)
}

fn never_accepted(history: &SetHistory, key: Fingerprint) -> bool {
    history.heard.iter().any(|heard| heard.key == key && heard.never_accepted)
}

fn rank(role: Role) -> (u8, i64) {
    match role {
        Role::Current => (0, 0),
        Role::Next => (1, 0),
        Role::Previous { retired, .. } => (2, -retired.by.as_millis()),
        Role::Token => (3, 0),
    }
}
