//! Pure. How far the rotation of a set is.

use serde::{Deserialize, Serialize};

use super::binding::Row;
use super::key::KeyNames;
use super::old_key::OldKey;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::ledger::progress::Progress;
use crate::ledger::set_keys;

/// The rotation of a set, with a page of its bindings: stale ones first, then silent, then confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The name of the set.
    pub set: String,
    /// As of when this is.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// Whether all of this is a guess, since the set learns its key.
    pub learned: bool,
    /// The key that is to be sent; several where the set learns and cannot tell, none where none is known.
    pub current: Vec<CurrentKey>,
    #[serde(deserialize_with = "nullable")]
    pub next_key: Option<KeyNames>,
    /// Whether nothing is left to do: no binding is stale or silent but those that are dead, and no old key is kept.
    pub done: bool,
    /// How many bindings stand how.
    pub progress: Progress,
    /// The bindings of this page.
    pub bindings: Vec<RotatingBinding>,
    /// The old keys, the one that was replaced last first.
    pub old_keys: Vec<OldKey>,
    /// How many bindings there are on all pages.
    pub total: usize,
    /// The cursor of the next page; nothing on the last one.
    #[serde(deserialize_with = "nullable")]
    pub next: Option<String>,
}

/// The current key of a set, and whether upstream still takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentKey {
    /// What it is recognised by.
    #[serde(flatten)]
    pub key: KeyNames,
    /// Since when it is current, as far as keyward knows.
    #[serde(with = "moment::nullable")]
    pub since: Option<Timestamp>,
    /// Whether upstream says that it is no key, or you revoked it.
    pub refused_by_upstream: bool,
}

/// A binding of a set that rotates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatingBinding {
    /// Whose it is and how it stands.
    #[serde(flatten)]
    pub row: Row,
    /// When its last request started.
    #[serde(with = "moment")]
    pub last: Timestamp,
}

impl From<&set_keys::CurrentKey> for CurrentKey {
    fn from(key: &set_keys::CurrentKey) -> Self {
        Self { key: key.names.into(), since: key.since, refused_by_upstream: key.is_refused }
    }
}
