//! Pure. What the state folder remembers of each set's keys, by fingerprint: so a key that was replaced while keyward was
//! down is still known to be outdated, and a set that learns does not begin anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fingerprint::{Fingerprint, Hint};
use super::learned::Learned;
use super::set::{Names, Retired, Role, Word};
use crate::clock::Timestamp;

/// The memory of all sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By the set's name.
    pub sets: BTreeMap<String, SetHistory>,
}

impl History {
    /// What upstream said of keys, what it said last at the end, to whichever set; of one moment, that it refuses a key.
    #[must_use]
    pub fn words(&self) -> Vec<(Fingerprint, Word)> {
        let mut heard: Vec<_> = self.sets.values().flat_map(|set| &set.heard).collect();
        heard.sort_by_key(|heard| (heard.at, heard.word == Word::Refused));
        heard.into_iter().map(|heard| (heard.key, heard.word)).collect()
    }

    /// What it said last of one key.
    #[must_use]
    pub fn word(&self, key: Fingerprint) -> Option<Word> {
        self.words().into_iter().rev().find(|(other, _)| *other == key).map(|(_, word)| word)
    }
}

/// The memory of one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetHistory {
    /// The declared current key, and when it was last known to be.
    pub current: Option<LastCurrent>,
    /// Keys that were current, the one retired last at the end.
    pub previous: Vec<Previous>,
    /// What a set without a declared current key has learned.
    pub learned: Learned,
    /// What upstream said of the set's own keys when it saw them last, the latest news at the end.
    pub heard: Vec<Heard>,
    /// What people recognise these keys by, where that was ever seen: their values are long forgotten.
    pub hints: BTreeMap<Fingerprint, Hint>,
}

/// What upstream said last of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub key: Fingerprint,
    pub word: Word,
    /// Since when it says so.
    pub at: Timestamp,
    /// Whether it refuses the key, and was never seen to accept it.
    pub never_accepted: bool,
}

/// A key that was current when keyward looked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCurrent {
    pub key: Fingerprint,
    pub since: Timestamp,
    /// When keyward looked last.
    pub seen: Timestamp,
}

/// A key that is current no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    pub key: Fingerprint,
    /// When it was replaced, as closely as is known.
    pub retired: Retired,
}

impl History {
    /// Puts what was remembered before in front of what was seen since, set by set.
    pub fn recall(&mut self, before: Self) {
        for (name, before) in before.sets {
            self.sets.entry(name).or_default().recall(before);
        }
    }
}

impl SetHistory {
    /// Takes in what is declared now. A key that was current and is no longer was replaced between the last look and
    /// now; a declared previous key that was never seen current was replaced by now.
    pub fn advance(&mut self, current: Option<Fingerprint>, previous: &[Fingerprint], now: Timestamp) {
        let last = self.current.filter(|last| current.is_some_and(|key| key != last.key));
        if let Some(last) = last {
            self.retire(last.key, Retired { after: Some(last.seen), by: now });
            self.current = None;
        }
        for key in previous {
            self.retire(*key, Retired { after: None, by: now });
        }
        if let Some(key) = current {
            self.previous.retain(|previous| previous.key != key);
            let since = self.current.map_or(now, |last| last.since);
            self.current = Some(LastCurrent { key, since, seen: now });
        }
        self.bound();
    }

    /// Puts what was remembered before in front of what was seen since, and loses nothing: for a memory that comes to
    /// light late.
    pub fn recall(&mut self, before: Self) {
        let live = std::mem::replace(self, before);
        match (self.current, live.current) {
            (Some(old), Some(new)) if old.key == new.key => {
                self.current =
                    Some(LastCurrent { since: old.since.min(new.since), seen: old.seen.max(new.seen), ..new });
            }
            (Some(old), Some(new)) => {
                self.retire(old.key, Retired { after: Some(old.seen), by: new.since });
                self.current = Some(new);
            }
            (old, new) => self.current = new.or(old),
        }
        live.previous.iter().for_each(|previous| self.retire(previous.key, previous.retired));
        let current = self.current.map(|current| current.key);
        self.previous.retain(|previous| Some(previous.key) != current);
        self.learned.recall(&live.learned);
        self.hints.extend(live.hints);
        for mut heard in live.heard {
            heard.never_accepted &= self.was_never_accepted(heard.key);
            self.heard.retain(|known| known.key != heard.key);
            self.heard.push(heard);
        }
        self.bound();
    }

    /// What upstream said of one of the set's keys when it saw it last, as far as that is kept.
    #[must_use]
    pub fn word(&self, key: Fingerprint) -> Option<Word> {
        self.heard.iter().find(|heard| heard.key == key).map(|heard| heard.word)
    }

    /// Notes what upstream says of one of the set's keys. Says whether that is news.
    pub fn hear(&mut self, key: Fingerprint, word: Word, now: Timestamp) -> bool {
        if self.heard.iter().any(|heard| heard.key == key && heard.word == word) {
            return false;
        }
        let never_accepted = word == Word::Refused && self.was_never_accepted(key);
        self.heard.retain(|heard| heard.key != key);
        self.heard.push(Heard { key, word, at: now, never_accepted });
        self.bound();
        true
    }

    /// Notes that upstream says the same of a key again, though another set heard otherwise since. Says whether it said so before.
    pub fn hear_again(&mut self, key: Fingerprint, now: Timestamp) -> bool {
        let known = self.heard.iter_mut().find(|heard| heard.key == key);
        known.map(|heard| heard.at = now).is_some()
    }

    /// Forgets that upstream refuses a key, where that is all that it ever said of it. Says whether that is news.
    pub fn forget_refusal(&mut self, key: Fingerprint) -> bool {
        let before = self.heard.len();
        self.heard.retain(|heard| heard.key != key || !heard.never_accepted);
        self.heard.len() != before
    }

    /// Whether nothing that is remembered shows that upstream ever accepted a key.
    #[must_use]
    pub fn was_never_accepted(&self, key: Fingerprint) -> bool {
        let was_learned = self.learned.keys().iter().any(|learned| learned.key == key);
        !was_learned && self.heard.iter().all(|heard| heard.key != key || heard.never_accepted)
    }

    /// Notes what people recognise one of the set's keys by. Says whether that is news.
    pub fn note_hint(&mut self, names: Names) -> bool {
        let Some(hint) = names.hint else { return false };
        let is_news = self.hints.insert(names.fingerprint, hint) != Some(hint);
        self.bound();
        is_news
    }

    /// The current key where upstream refused it when it saw it last, and since when it does. Where a set learns and no key is
    /// current, the one that was refused last.
    #[must_use]
    pub fn refused_current(&self) -> Option<(Fingerprint, Timestamp)> {
        if let Some(current) = self.current {
            let heard = self.heard.iter().find(|heard| heard.key == current.key && heard.word == Word::Refused)?;
            return Some((heard.key, heard.at));
        }
        self.learned.last_refused()
    }

    /// Notes that the current key is still the same.
    pub fn look_again(&mut self, now: Timestamp) {
        if let Some(current) = &mut self.current {
            current.seen = current.seen.max(now);
        }
    }

    /// The roles of the previous keys under that grace.
    pub fn previous_roles(&self, grace: Duration) -> impl Iterator<Item = (Fingerprint, Role)> {
        self.previous.iter().map(move |previous| {
            let role = Role::Previous { retired: previous.retired, grace_until: previous.retired.by.after(grace) };
            (previous.key, role)
        })
    }

    /// Forgets what is older than the last of each kind.
    fn bound(&mut self) {
        let surplus = self.previous.len().saturating_sub(PREVIOUS_PER_SET);
        self.previous.drain(..surplus);
        let surplus = self.heard.len().saturating_sub(PREVIOUS_PER_SET);
        self.heard.drain(..surplus);
        let (current, previous, learned) = (self.current, &self.previous, self.learned.keys());
        self.hints.retain(|key, _| {
            current.is_some_and(|last| last.key == *key)
                || previous.iter().any(|previous| previous.key == *key)
                || learned.iter().any(|learned| learned.key == *key)
        });
    }

    /// The first word on when a key was retired stands.
    fn retire(&mut self, key: Fingerprint, retired: Retired) {
        if !self.previous.iter().any(|previous| previous.key == key) {
            self.previous.push(Previous { key, retired });
        }
    }
}

/// How many previous keys of a set are remembered.
const PREVIOUS_PER_SET: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::learned::Standing;

    fn key(number: u8) -> Fingerprint {
        FingerprintKey::new(&[7; 32]).fingerprint(&[number])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn retired(after: Option<i64>, by: i64) -> Retired {
        Retired { after: after.map(at), by: at(by) }
    }

    #[test]
    fn a_key_that_was_replaced_while_keyward_was_down_was_retired_between_two_looks() {
        let mut history = SetHistory::default();
        history.advance(Some(key(1)), &[], at(100));
        history.look_again(at(200));
        history.advance(Some(key(2)), &[], at(500));
        assert_eq!(history.previous, [Previous { key: key(1), retired: retired(Some(200), 500) }]);
        assert_eq!(history.current, Some(LastCurrent { key: key(2), since: at(500), seen: at(500) }));
    }

    #[test]
    fn a_restart_with_the_same_keys_changes_nothing_but_the_look() {
        let mut history = SetHistory::default();
        history.advance(Some(key(1)), &[key(2)], at(100));
        history.advance(Some(key(1)), &[key(2)], at(300));
        assert_eq!(history.previous, [Previous { key: key(2), retired: retired(None, 100) }]);
        assert_eq!(history.current, Some(LastCurrent { key: key(1), since: at(100), seen: at(300) }));
    }

    #[test]
    fn a_key_that_moves_to_the_previous_ones_keeps_the_time_of_the_switch() {
        let mut history = SetHistory::default();
        history.advance(Some(key(1)), &[], at(100));
        history.advance(Some(key(2)), &[key(1)], at(300));
        history.advance(Some(key(2)), &[key(1)], at(900));
        assert_eq!(history.previous, [Previous { key: key(1), retired: retired(Some(100), 300) }]);
    }

    #[test]
    fn a_rollback_makes_the_old_key_current_again() {
        let mut history = SetHistory::default();
        history.advance(Some(key(1)), &[], at(100));
        history.advance(Some(key(2)), &[], at(200));
        history.advance(Some(key(1)), &[], at(300));
        assert_eq!(history.current.map(|last| (last.key, last.since)), Some((key(1), at(300))));
        assert_eq!(history.previous, [Previous { key: key(2), retired: retired(Some(200), 300) }]);
    }

    #[test]
    fn a_key_that_cannot_be_read_for_once_is_not_retired() {
        let mut history = SetHistory::default();
        history.advance(Some(key(1)), &[], at(100));
        history.advance(None, &[], at(200));
        assert_eq!(history.current.map(|last| last.key), Some(key(1)));
        assert!(history.previous.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_grace_counts_from_the_latest_possible_moment() {
        let mut history = SetHistory::default();
        for number in 0..200 {
            history.advance(Some(key(number)), &[], at(i64::from(number)));
        }
        assert_eq!(history.previous.len(), PREVIOUS_PER_SET);
        let (last, role) = history.previous_roles(Duration::from_millis(10)).last().expect("a key");
        assert_eq!(last, key(198));
        assert_eq!(role, Role::Previous { retired: retired(Some(198), 199), grace_until: at(209) });
    }

    #[test]
    fn hints_last_as_long_as_their_keys_are_remembered() {
        let names =
            |number| Names { fingerprint: key(number), hint: Hint::from_parts("sk-", &format!("k{number:03}")) };
        let hints = |history: &SetHistory| history.hints.values().map(ToString::to_string).collect::<Vec<_>>();
        let mut history = SetHistory::default();
        assert!(history.note_hint(names(0)) && history.hints.is_empty(), "it is none of the set's keys");
        for number in 0..=70 {
            history.advance(Some(key(number)), &[], at(i64::from(number)));
            assert!(history.note_hint(names(number)));
            assert!(!history.note_hint(Names { hint: None, ..names(number) }) && !history.note_hint(names(number)));
        }
        let mut kept = hints(&history);
        kept.sort();
        assert_eq!(kept.len(), PREVIOUS_PER_SET + 1);
        assert_eq!((&*kept[0], &*kept[PREVIOUS_PER_SET]), ("sk-…k006", "sk-…k070"));
        let mut late = SetHistory::default();
        late.learned.accept(key(80), None, at(80));
        late.note_hint(names(80));
        late.recall(history);
        assert_eq!(hints(&late).len(), PREVIOUS_PER_SET + 2);
    }

    #[test]
    fn a_memory_that_comes_to_light_late_stands_before_what_was_seen_since() {
        let mut before = SetHistory::default();
        before.advance(Some(key(1)), &[], at(100));
        before.advance(Some(key(2)), &[], at(200));
        before.look_again(at(250));
        before.hear(key(1), Word::Accepted, at(110));
        before.hear(key(2), Word::Accepted, at(210));
        before.learned.accept(key(8), None, at(5));
        let mut live = SetHistory::default();
        live.advance(Some(key(3)), &[key(1)], at(400));
        live.hear(key(2), Word::Refused, at(410));
        live.learned.accept(key(8), None, at(405));
        live.learned.accept(key(9), Some(key(8)), at(406));
        live.recall(before);
        assert_eq!(live.current, Some(LastCurrent { key: key(3), since: at(400), seen: at(400) }));
        let previous: Vec<_> = live.previous.iter().map(|previous| (previous.key, previous.retired)).collect();
        assert_eq!(previous, [(key(1), retired(Some(100), 200)), (key(2), retired(Some(250), 400))]);
        let heard: Vec<_> = live.heard.iter().map(|heard| (heard.key, heard.word)).collect();
        assert_eq!(heard, [(key(1), Word::Accepted), (key(2), Word::Refused)]);
        let learned: Vec<_> =
            live.learned.keys().iter().map(|known| (known.key, known.since, known.standing)).collect();
        let replaced = Standing::Replaced { at: at(406) };
        assert_eq!(learned, [(key(8), at(5), replaced), (key(9), at(406), Standing::Current)]);
    }

    #[test]
    fn the_same_current_key_is_current_since_it_was_first_seen() {
        let mut before = SetHistory::default();
        before.advance(Some(key(1)), &[], at(100));
        let mut live = SetHistory::default();
        live.advance(Some(key(1)), &[], at(400));
        live.recall(before.clone());
        assert_eq!(live.current, Some(LastCurrent { key: key(1), since: at(100), seen: at(400) }));
        let mut unread = SetHistory::default();
        unread.recall(before.clone());
        assert_eq!(unread, before, "a key that cannot be read is still the last one known");
    }
}
