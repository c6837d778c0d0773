//! Pure. A key as answers name it: by its fingerprint and its hint, never by its value.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::keys::fingerprint::{Fingerprint, Hint};
use crate::keys::listing::Entry;
use crate::keys::set::{Names, Role, RoleKind};

/// What a key is recognised by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyNames {
    /// Its keyed hash.
    pub fingerprint: Fingerprint,
    /// Kind and last four characters; nothing for a key of less than 20 characters, and where only the fingerprint is known.
    #[serde(deserialize_with = "nullable")]
    pub hint: Option<String>,
}

/// The same where perhaps no key came: both are null then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerhapsKey {
    /// Its keyed hash.
    #[serde(deserialize_with = "nullable")]
    pub fingerprint: Option<Fingerprint>,
    /// Kind and last four characters.
    #[serde(deserialize_with = "nullable")]
    pub hint: Option<String>,
}

/// A key of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What it is to the set; never a token.
    pub role: RoleKind,
    /// What it is recognised by.
    #[serde(flatten)]
    pub names: KeyNames,
    /// Since when the key is what it is.
    #[serde(with = "moment::nullable")]
    pub since: Option<Timestamp>,
    /// Of a previous key: until when it is still good.
    #[serde(with = "moment::nullable")]
    pub grace_until: Option<Timestamp>,
    /// Whether the set learned it from what upstream accepts.
    pub learned: bool,
    /// When you called it compromised; nothing where you did not.
    #[serde(with = "moment::nullable")]
    pub revoked: Option<Timestamp>,
    /// Whether upstream said of it last that it is no key.
    pub refused_by_upstream: bool,
}

/// That keyward took in what OpenAI says of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryNoted {
    /// Whether it is kept in a store; otherwise keyward knows it until it stops.
    pub stored: bool,
}

/// A key with the name of its set, as `keyward keys list` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyOfSet {
    pub set: String,
    #[serde(flatten)]
    pub key: Key,
}

// === impl KeyNames ===

impl KeyNames {
    /// The hint, or else the beginning of the fingerprint.
    #[must_use]
    pub fn short(&self) -> String {
        self.hint.clone().unwrap_or_else(|| self.fingerprint.to_string())
    }

    /// As the rest of keyward knows them.
    #[must_use]
    pub fn to_names(&self) -> Names {
        let parts = self.hint.as_deref().and_then(|hint| hint.split_once('…'));
        Names { fingerprint: self.fingerprint, hint: parts.and_then(|(prefix, last)| Hint::from_parts(prefix, last)) }
    }
}

impl From<Names> for KeyNames {
    fn from(names: Names) -> Self {
        Self { fingerprint: names.fingerprint, hint: names.hint.map(|hint| hint.to_string()) }
    }
}

/// `sk-proj-…AbCd (01234567)`.
impl fmt::Display for KeyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{hint} ({})", self.fingerprint),
            None => self.fingerprint.fmt(f),
        }
    }
}

// === impl PerhapsKey ===

impl PerhapsKey {
    /// The key, where one came.
    #[must_use]
    pub fn names(&self) -> Option<KeyNames> {
        Some(KeyNames { fingerprint: self.fingerprint?, hint: self.hint.clone() })
    }

    /// The hint, or else the beginning of the fingerprint; `none` where no key came.
    #[must_use]
    pub fn short(&self) -> String {
        self.names().map_or_else(|| "none".to_owned(), |names| names.short())
    }
}

impl From<Option<Names>> for PerhapsKey {
    fn from(names: Option<Names>) -> Self {
        let names = names.map(KeyNames::from);
        names.map_or_else(Self::default, |names| Self { fingerprint: Some(names.fingerprint), hint: names.hint })
    }
}

/// `sk-proj-…AbCd (01234567)`; `no key` where none came.
impl fmt::Display for PerhapsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            Some(names) => names.fmt(f),
            None => f.write_str("no key"),
        }
    }
}

// === impl Key ===

impl From<&Entry> for Key {
    fn from(entry: &Entry) -> Self {
        let grace_until = match entry.role {
            Role::Previous { grace_until, .. } => Some(grace_until),
            Role::Current | Role::Next | Role::Token => None,
        };
        Self {
            role: entry.role.kind(),
            names: entry.names.into(),
            since: entry.begin(),
            grace_until,
            learned: entry.learned,
            revoked: entry.revoked,
            refused_by_upstream: entry.is_refused(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_people_say_them() {
        #[track_caller]
        fn check(key: &PerhapsKey, whole: &str, short: &str) {
            assert_eq!((key.to_string().as_str(), key.short().as_str()), (whole, short));
        }
        let names = |hint: Option<&str>| PerhapsKey {
            fingerprint: "0123456789abcdef0123456789abcdef".parse().ok(),
            hint: hint.map(str::to_owned),
        };
        check(&names(Some("sk-…AbCd")), "sk-…AbCd (01234567)", "sk-…AbCd");
        check(&names(None), "01234567", "01234567");
        check(&PerhapsKey::default(), "no key", "none");
    }

    #[test]
    fn public_names_are_the_same_there_and_back() {
        let fingerprint = "0123456789abcdef0123456789abcdef".parse().expect("a fingerprint");
        for hint in [Hint::of(b"sk-proj-0123456789abcdef"), None] {
            let names = Names { fingerprint, hint };
            assert_eq!(KeyNames::from(names).to_names(), names);
        }
    }
}
