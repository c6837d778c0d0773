//! Pure. When keys expire, as OpenAI said when a command asked it last, and when that is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;

/// What is known of the keys' ends: `expiries.json` in the state folder. No key is in it, but for public names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiries {
    version: Version,
    keys: Vec<Expiry>,
}

/// When a key expires. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// 32 hex digits.
    pub fingerprint: String,
    /// Its id at OpenAI: `key_…`.
    pub id: String,
    /// Nothing for a key that does not expire.
    #[serde(default)]
    pub expires: Option<i64>,
    /// When OpenAI saw it used last.
    #[serde(default)]
    pub last_used: Option<i64>,
    /// When OpenAI said so.
    pub read: i64,
}

/// The shape's version. A file of a later one is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "1")]
    One,
}

impl Expiries {
    /// Notes what OpenAI says of a key, in place of what it said before.
    pub fn note(&mut self, expiry: Expiry) {
        self.keys.retain(|known| known.fingerprint != expiry.fingerprint);
        self.keys.push(expiry);
        let surplus = self.keys.len().saturating_sub(MOST);
        self.keys.drain(..surplus);
    }

    /// What is known of a key.
    #[must_use]
    pub fn of(&self, key: Fingerprint) -> Option<&Expiry> {
        let digits = key.to_hex();
        self.keys.iter().find(|known| known.fingerprint == digits)
    }
}

impl Expiry {
    /// When it expires, if it does.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.expires.map(Timestamp::from_millis)
    }
}

/// What is told of a key that expires then, in words that change a month, a week and a day ahead, and at its end: each is told
/// anew. Nothing before that.
#[must_use]
pub fn warning(expires: Timestamp, now: Timestamp) -> Option<String> {
    if expires <= now {
        return Some(format!("expired at {expires}"));
    }
    let left = expires.since(now);
    let (_, within) = AHEAD.iter().find(|(span, _)| left <= *span)?;
    Some(format!("expires within {within}, at {expires}"))
}

const AHEAD: [(Duration, &str); 3] = [
    (Duration::from_hours(24), "a day"),
    (Duration::from_hours(7 * 24), "7 days"),
    (Duration::from_hours(30 * 24), "30 days"),
];

/// The file's name in the state folder, without its ending.
pub const FILE: &str = "expiries";

/// How many keys are remembered.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_of_a_month_a_week_and_a_day_ahead() {
        let hour = 60 * 60 * 1000;
        let end = Timestamp::from_millis(1000 * hour);
        let said = |hours_left: i64| {
            let said = warning(end, Timestamp::from_millis((1000 - hours_left) * hour))?;
            Some(said.split(',').next().unwrap_or_default().to_owned())
        };
        assert_eq!(said(30 * 24 + 1), None);
        for (hours, words) in
            [(30 * 24, "30 days"), (7 * 24 + 1, "30 days"), (7 * 24, "7 days"), (24, "a day"), (1, "a day")]
        {
            assert_eq!(said(hours), Some(format!("expires within {words}")), "{hours}");
        }
        assert!(said(0).is_some_and(|said| said.starts_with("expired at ")));
    }

    #[test]
    fn what_openai_said_last_of_a_key_counts() {
        let key = crate::keys::fingerprint::FingerprintKey::new(&[7; 32]).fingerprint(b"sk-a");
        let expiry =
            |expires| Expiry { fingerprint: key.to_hex(), id: "key_1".to_owned(), expires, last_used: None, read: 1 };
        let mut expiries = Expiries::default();
        expiries.note(expiry(Some(5)));
        expiries.note(expiry(None));
        assert_eq!(expiries.of(key), Some(&expiry(None)));
        assert_eq!(expiries.keys.len(), 1);
    }
}
