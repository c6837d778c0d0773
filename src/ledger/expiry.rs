//! Pure. When keys expire, as OpenAI said when a command asked it last, and when that is told.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;

/// What OpenAI says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    pub key: Fingerprint,
    /// Its id at OpenAI: `key_…`.
    pub id: Box<str>,
    /// Nothing for a key that does not expire.
    pub expires: Option<Timestamp>,
    /// When OpenAI saw it used last.
    pub last_used: Option<Timestamp>,
    /// When OpenAI said so.
    pub read: Timestamp,
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
}
