//! Pure. The keys of a set, as its rotation sees them: which are current, which are good, and which are none any more.

use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{Names, Role, SetIndex};

/// The current key of a set, and whether upstream still takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentKey {
    pub names: Names,
    /// Since when it is current, as far as keyward knows.
    pub since: Option<Timestamp>,
    /// Whether upstream says that it is no key.
    pub is_refused: bool,
}

/// The keys of one set, by what a binding that sends one is: confirmed or behind.
#[derive(Clone, Debug, Default)]
pub struct RotationKeys {
    /// Sorted, as are the others: they are few, and looked up for every binding.
    confirming: Vec<Fingerprint>,
    previous: Vec<Fingerprint>,
}

/// What a sender may send in a set, sorted.
pub(super) struct GoodKeys {
    /// The current key, the next one and the tokens.
    pub(super) all: Vec<Fingerprint>,
    /// Of these, the keys alone.
    pub(super) new: Vec<Fingerprint>,
}

// === impl CurrentKey ===

impl CurrentKey {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { names: entry.names, since: entry.since, is_refused: entry.is_refused() || entry.revoked.is_some() }
    }
}

// === impl RotationKeys ===

impl RotationKeys {
    /// Of that set, with its valid tokens.
    #[must_use]
    pub fn new(set: SetIndex, keys_of_all: &[Entry], tokens: &[Fingerprint]) -> Self {
        let mut keys = Self { confirming: tokens.to_vec(), previous: Vec::new() };
        for entry in keys_of_all.iter().filter(|entry| entry.set == set) {
            match entry.role {
                Role::Current | Role::Next | Role::Token if entry.revoked.is_none() => &mut keys.confirming,
                Role::Current | Role::Next | Role::Token | Role::Previous { .. } => &mut keys.previous,
            }
            .push(entry.names.fingerprint);
        }
        keys.confirming.sort_unstable();
        keys.previous.sort_unstable();
        keys
    }

    /// Whether a binding that sends that key has nothing to change.
    #[must_use]
    pub fn confirms(&self, key: Fingerprint) -> bool {
        self.confirming.binary_search(&key).is_ok()
    }

    pub(super) fn is_previous(&self, key: Fingerprint) -> bool {
        self.previous.binary_search(&key).is_ok()
    }
}

// === impl GoodKeys ===

impl GoodKeys {
    pub(super) fn new(set: SetIndex, keys: &[Entry], tokens: &[Fingerprint]) -> Self {
        let is_good = |entry: &&Entry| {
            entry.set == set && entry.revoked.is_none() && matches!(entry.role, Role::Current | Role::Next)
        };
        let mut new: Vec<_> = keys.iter().filter(is_good).map(|entry| entry.names.fingerprint).collect();
        new.sort_unstable();
        let mut all = [&new[..], tokens].concat();
        all.sort_unstable();
        Self { all, new }
    }
}
