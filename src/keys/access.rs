//! Pure. What people decided on the command line: the tokens that they made, and the keys that they revoked.

use super::fingerprint::{Fingerprint, Hint};
use super::set::{KeyRing, Owner, Role};
use crate::clock::Timestamp;

/// All tokens, and all revoked keys. Holds no token and no key, only their public names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Every token that was ever made, the latest at the end.
    pub tokens: Vec<Token>,
    /// Keys that never admit again.
    pub revoked_keys: Vec<RevokedKey>,
}

/// A token: it stands for its set's current key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub fingerprint: Fingerprint,
    /// What a person recognises it by.
    pub hint: Option<Hint>,
    /// The name of the set that it belongs to.
    pub set: Box<str>,
    /// What it is for, in the words of the one who made it.
    pub name: Option<Box<str>>,
    pub made: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// When another one took its place, if one did.
    pub replaced: Option<Replaced>,
}

/// That another token took the place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub at: Timestamp,
    /// Until when the one of before is still admitted.
    pub until: Timestamp,
}

impl Token {
    /// Whether it admits at that moment, where its set lends its key.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.replaced.is_none_or(|replaced| now < replaced.until)
    }

    /// Whether it is the one to hold: neither revoked nor replaced.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.revoked.is_none() && self.replaced.is_none()
    }
}

/// A key that you called compromised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokedKey {
    pub fingerprint: Fingerprint,
    /// Since when.
    pub at: Timestamp,
}

impl Access {
    /// Notes that a key is compromised. Says whether that is news.
    pub fn revoke_key(&mut self, fingerprint: Fingerprint, at: Timestamp) -> bool {
        let is_news = !self.revoked_keys.iter().any(|revoked| revoked.fingerprint == fingerprint);
        self.revoked_keys.extend(is_news.then_some(RevokedKey { fingerprint, at }));
        is_news
    }

    /// Puts tokens and revocations into a ring. A token of a set that there is not admits no request.
    #[must_use]
    pub fn put_into(&self, mut ring: KeyRing) -> KeyRing {
        for token in &self.tokens {
            ring = match (token.revoked, ring.find_set(&token.set)) {
                (Some(at), _) => ring.with_revoked(token.fingerprint, at),
                (None, Some(set)) => {
                    let ends = token.replaced.iter();
                    let ring = ends.fold(ring, |ring, replaced| ring.with_end(token.fingerprint, replaced.until));
                    ring.with_remembered(token.fingerprint, Owner { set, role: Role::Token, learned: false })
                }
                (None, None) => ring,
            };
        }
        self.revoked_keys.iter().fold(ring, |ring, revoked| ring.with_revoked(revoked.fingerprint, revoked.at))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::set::KeySet;

    #[test]
    fn tokens_admit_to_their_set_until_they_are_revoked() {
        let set = KeySet { name: "default".into(), learning: false, grace: Duration::ZERO };
        let ring = KeyRing::new(vec![set], Arc::new(FingerprintKey::new(&[7; 32])));
        let token = |text: &str, set: &str, revoked| Token {
            fingerprint: ring.names(text.as_bytes()).fingerprint,
            hint: None,
            set: set.into(),
            name: None,
            made: Timestamp::from_millis(1),
            revoked,
            replaced: None,
        };
        let at = Timestamp::from_millis(5);
        let mut access = Access {
            tokens: vec![
                token("kw_a", "default", None),
                token("kw_b", "default", Some(at)),
                token("kw_c", "gone", None),
                Token {
                    replaced: Some(Replaced { at, until: Timestamp::from_millis(9) }),
                    ..token("kw_d", "default", None)
                },
            ],
            revoked_keys: Vec::new(),
        };
        let key = ring.names(b"sk-a").fingerprint;
        assert!(access.revoke_key(key, at) && !access.revoke_key(key, at), "once is enough");
        let ring = access.put_into(ring.without_keys());
        let role = |text: &[u8]| ring.recognise(text, None).owner.map(|owner| owner.role);
        let revoked = |text: &[u8]| ring.recognise(text, None).revoked;
        assert_eq!((role(b"kw_a"), revoked(b"kw_a")), (Some(Role::Token), None));
        assert_eq!((role(b"kw_b"), revoked(b"kw_b")), (None, Some(at)));
        assert_eq!((role(b"kw_c"), revoked(b"kw_c")), (None, None));
        assert_eq!((role(b"kw_d"), revoked(b"kw_d")), (Some(Role::Token), None));
        assert_eq!(ring.recognise(b"kw_d", None).ends, Some(Timestamp::from_millis(9)));
        assert_eq!((role(b"sk-a"), revoked(b"sk-a")), (None, Some(at)));
    }
}
