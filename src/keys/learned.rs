//! Pure. What a set without a declared current key learns from the answers of upstream.
//!
//! Every key that upstream accepts is current, until one binding switches from a key to another, both accepted: then the
//! first is a previous key, for all. A key that was accepted and is now refused as invalid is outdated once there is
//! another one. Two keys in use without a switch stay current both: which one is meant to be, only a person can say.

use super::fingerprint::Fingerprint;
use super::set::{Retired, Role};
use crate::clock::Timestamp;
use std::time::Duration;

/// The keys that a set has learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    keys: Vec<LearnedKey>,
}

/// A key that upstream took in a set that learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedKey {
    pub key: Fingerprint,
    /// When upstream accepted it first.
    pub since: Timestamp,
    /// Whether it is still current.
    pub standing: Standing,
}

/// What became of a key that was accepted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is accepted.
    Current,
    /// A binding switched from it to another one.
    Replaced {
        /// When the switch was seen.
        at: Timestamp,
    },
    Refused {
        /// When that was seen.
        at: Timestamp,
    },
}

impl Learned {
    /// From the keys that were remembered over a restart.
    #[must_use]
    pub fn new(keys: Vec<LearnedKey>) -> Self {
        Self { keys }
    }

    /// The keys that upstream took in the set, with those that it has refused since.
    #[must_use]
    pub fn keys(&self) -> &[LearnedKey] {
        &self.keys
    }

    /// Upstream accepted `key` from a binding whose last accepted key was `before`, if that was another. Says whether
    /// anything changed.
    ///
    /// A switch back to a replaced key is a stale binding, not a second rotation, unless no other key is left: then the
    /// rotation was taken back.
    pub fn accept(&mut self, key: Fingerprint, before: Option<Fingerprint>, now: Timestamp) -> bool {
        let (is_new, is_current) = self.welcome(key, now);
        let replaced = before.filter(|_| is_current).and_then(|before| self.find(before));
        match replaced {
            Some(replaced) if replaced.standing == Standing::Current => {
                replaced.standing = Standing::Replaced { at: now };
                true
            }
            Some(_) | None => is_new,
        }
    }

    /// Upstream refused `key` as invalid. Says whether anything changed.
    pub fn refuse(&mut self, key: Fingerprint, now: Timestamp) -> bool {
        match self.find(key) {
            Some(known) if known.standing == Standing::Current => {
                known.standing = Standing::Refused { at: now };
                true
            }
            Some(_) | None => false,
        }
    }

    /// Where no key is current: the one that upstream refused last, and when.
    #[must_use]
    pub fn last_refused(&self) -> Option<(Fingerprint, Timestamp)> {
        if self.keys.iter().any(|known| known.standing == Standing::Current) {
            return None;
        }
        let refused = self.keys.iter().filter_map(|known| match known.standing {
            Standing::Refused { at } => Some((known.key, at)),
            Standing::Current | Standing::Replaced { .. } => None,
        });
        refused.max_by_key(|(_, at)| *at)
    }

    /// Adds what was learned since: how a key stands by then, and when it was first accepted by whichever saw it first.
    pub fn recall(&mut self, since: &Self) {
        for learned in &since.keys {
            if let Some(known) = self.find(learned.key) {
                known.standing = learned.standing;
            } else if self.make_room() {
                self.keys.push(*learned);
            }
        }
    }

    /// The keys' roles under that grace. A key that upstream refuses is replaced by another one alone: until there is one, it
    /// is the current key still, and what is wrong is that upstream refuses that.
    pub fn roles(&self, grace: Duration) -> impl Iterator<Item = (Fingerprint, Role)> {
        let last_refused = self.last_refused().map(|(key, _)| key);
        self.keys.iter().map(move |learned| {
            let role = match learned.standing {
                Standing::Current => Role::Current,
                Standing::Refused { .. } if last_refused == Some(learned.key) => Role::Current,
                Standing::Replaced { at } | Standing::Refused { at } => {
                    let retired = Retired { after: Some(learned.since), by: at };
                    Role::Previous { retired, grace_until: at.after(grace) }
                }
            };
            (learned.key, role)
        })
    }

    /// Whether the key is new or accepted again, and whether it is current now.
    fn welcome(&mut self, key: Fingerprint, now: Timestamp) -> (bool, bool) {
        let none_is_current = !self.keys.iter().any(|known| known.standing == Standing::Current);
        let Some(known) = self.find(key) else {
            let has_room = self.make_room();
            self.keys.extend(has_room.then_some(LearnedKey { key, since: now, standing: Standing::Current }));
            return (has_room, has_room);
        };
        match known.standing {
            Standing::Current => (false, true),
            Standing::Replaced { .. } if !none_is_current => (false, false),
            Standing::Replaced { .. } | Standing::Refused { .. } => {
                known.standing = Standing::Current;
                (true, true)
            }
        }
    }

    /// Forgets the key that has been current no longer for longest, if there is no room for another one.
    fn make_room(&mut self) -> bool {
        if self.keys.len() < KEYS_PER_SET {
            return true;
        }
        let oldest = self.keys.iter().enumerate().filter_map(|(position, known)| match known.standing {
            Standing::Current => None,
            Standing::Replaced { at } | Standing::Refused { at } => Some((at, position)),
        });
        let Some((_, position)) = oldest.min() else { return false };
        self.keys.remove(position);
        true
    }

    fn find(&mut self, key: Fingerprint) -> Option<&mut LearnedKey> {
        self.keys.iter_mut().find(|known| known.key == key)
    }
}

/// How many keys a set learns. Only keys that upstream accepted count, so no client can fill it with made-up ones.
const KEYS_PER_SET: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;

    fn key(number: u8) -> Fingerprint {
        FingerprintKey::new(&[7; 32]).fingerprint(&[number])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn standings(learned: &Learned) -> Vec<Standing> {
        learned.keys.iter().map(|key| key.standing).collect()
    }

    #[test]
    fn two_keys_without_a_switch_are_both_current() {
        let mut learned = Learned::default();
        assert!(learned.accept(key(1), None, at(1)));
        assert!(!learned.accept(key(1), None, at(2)), "nothing new");
        assert!(learned.accept(key(2), None, at(3)));
        assert_eq!(standings(&learned), [Standing::Current, Standing::Current]);
    }

    #[test]
    fn the_switch_of_one_binding_retires_the_first_key_for_everybody() {
        let mut learned = Learned::default();
        learned.accept(key(1), None, at(1));
        assert!(learned.accept(key(2), Some(key(1)), at(5)));
        assert_eq!(standings(&learned), [Standing::Replaced { at: at(5) }, Standing::Current]);
        assert!(!learned.accept(key(1), Some(key(2)), at(6)), "a stale binding is no second rotation");
        assert!(!learned.accept(key(1), None, at(7)), "nor is an old key that still works");
        assert_eq!(standings(&learned), [Standing::Replaced { at: at(5) }, Standing::Current]);
        let retired = Retired { after: Some(at(1)), by: at(5) };
        let role = Role::Previous { retired, grace_until: at(15) };
        assert_eq!(learned.roles(Duration::from_millis(10)).next(), Some((key(1), role)));
    }

    #[test]
    fn a_key_that_is_refused_stands_so_until_it_is_accepted_again() {
        let mut learned = Learned::default();
        assert!(!learned.refuse(key(1), at(1)), "a key that never worked is no set's");
        learned.accept(key(1), None, at(2));
        assert!(learned.refuse(key(1), at(3)));
        assert!(!learned.refuse(key(1), at(4)));
        assert_eq!(standings(&learned), [Standing::Refused { at: at(3) }]);
        assert!(learned.accept(key(1), None, at(5)));
        assert_eq!(standings(&learned), [Standing::Current]);
    }

    #[test]
    fn a_refused_key_is_replaced_by_another_one_alone() {
        let mut learned = Learned::default();
        learned.accept(key(1), None, at(1));
        learned.refuse(key(1), at(5));
        let roles = |learned: &Learned| learned.roles(Duration::from_millis(10)).collect::<Vec<_>>();
        assert_eq!(roles(&learned), [(key(1), Role::Current)]);
        learned.accept(key(2), None, at(7));
        let retired = Retired { after: Some(at(1)), by: at(5) };
        let previous = Role::Previous { retired, grace_until: at(15) };
        assert_eq!(roles(&learned), [(key(1), previous), (key(2), Role::Current)]);
    }

    #[test]
    fn a_rotation_can_be_taken_back() {
        let mut learned = Learned::default();
        learned.accept(key(1), None, at(1));
        learned.accept(key(2), Some(key(1)), at(2));
        learned.refuse(key(2), at(3));
        assert!(learned.accept(key(1), Some(key(2)), at(4)), "no other key is left");
        assert_eq!(standings(&learned), [Standing::Current, Standing::Refused { at: at(3) }]);
    }

    #[test]
    fn a_full_memory_forgets_what_has_been_outdated_for_longest() {
        let mut learned = Learned::default();
        for number in 0..64 {
            learned.accept(key(number), None, at(1));
        }
        assert!(!learned.accept(key(100), None, at(2)), "all of them are in use");
        learned.refuse(key(7), at(4));
        learned.refuse(key(8), at(3));
        assert!(learned.accept(key(100), None, at(5)));
        assert!(learned.find(key(8)).is_none() && learned.find(key(7)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut learned = Learned::default();
        for number in 0..200 {
            learned.accept(key(number), None, at(1));
        }
        assert_eq!(learned.keys().len(), KEYS_PER_SET);
    }
}
