//! Pure. What came of pressing n8n's tests of its records, and which are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::ledger::look::{Look, Pressed};
use crate::request_path::is_id;

/// What came of pressing the tests of one n8n.
#[derive(Debug, Default)]
pub struct PressedRecords(BTreeMap<Box<str>, Last>);

/// The last press of a record.
#[derive(Clone, Debug)]
struct Last {
    pressed: Pressed,
    /// What it rests on. Where that is another now, it says nothing.
    basis: Basis,
    /// How often in a row nothing could be concluded.
    vain: u32,
}

/// What a press of a record rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// When n8n says that the record was changed last.
    changed: Option<Timestamp>,
    /// The current keys of the sets whose keys it may hold.
    currents: Vec<Option<Fingerprint>>,
}

impl PressedRecords {
    /// Puts into a look what is known of its records as they are now.
    pub fn put_into(&self, look: &mut Look) {
        for (id, record) in &mut look.records {
            let last = self.0.get(id).filter(|last| last.basis.changed == record.changed);
            record.pressed = last.map(|last| last.pressed);
        }
    }

    /// The records that are to be pressed, at most so many; where that is demanded, all that were not pressed just now.
    #[must_use]
    pub fn due(&self, look: &Look, currents: &[Option<Fingerprint>], is_demanded: bool, now: Timestamp) -> Vec<Due> {
        let due = |id: &str, changed: Option<Timestamp>| {
            let basis = Basis { changed, currents: currents.to_vec() };
            self.is_due(id, &basis, is_demanded, now).then(|| Due { record: id.into(), basis })
        };
        let records = look.records.iter().filter(|(id, _)| is_id(id));
        records.filter_map(|(id, record)| due(id, record.changed)).take(MOST_AT_A_TIME).collect()
    }

    fn is_due(&self, record: &str, basis: &Basis, is_demanded: bool, now: Timestamp) -> bool {
        let Some(last) = self.0.get(record) else { return true };
        let age = now.since(last.pressed.at);
        // A clock that was set back would have it wait for long.
        let is_fresh = age < BETWEEN && last.pressed.at <= now;
        // n8n's clock may be ahead of this one: then the change seems to come after the press until this one has caught up.
        let is_late = basis.changed.is_some_and(|changed| changed >= last.pressed.at);
        let patience = BETWEEN * 2_u32.saturating_pow(last.vain.min(MOST_DOUBLINGS));
        !is_fresh && (is_demanded || last.basis != *basis || is_late || (last.vain > 0 && age >= patience))
    }

    pub(super) fn note(&mut self, due: Due, pressed: Pressed) {
        let before = self.0.get(&due.record).filter(|last| last.basis == due.basis);
        let vain = if pressed.key.is_some() { 0 } else { 1 + before.map_or(0, |last| last.vain) };
        self.0.insert(due.record, Last { pressed, basis: due.basis, vain });
    }

    pub(super) fn forget_others(&mut self, records: &BTreeSet<Box<str>>) {
        self.0.retain(|record, _| records.contains(record));
    }
}

/// A record that is to be pressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The record's id in n8n.
    pub record: Box<str>,
    basis: Basis,
}

/// How soon a record is pressed again.
const BETWEEN: Duration = Duration::from_mins(1);

/// How often that doubles where nothing could be concluded: up to some four hours.
const MOST_DOUBLINGS: u32 = 8;

/// How many records are pressed after one look.
const MOST_AT_A_TIME: usize = 200;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::set::Names;
    use crate::ledger::look::{RecordState, Users};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn look(changed: i64) -> Look {
        let state = RecordState { name: "OpenAI".into(), changed: Some(at(changed)), nodes: 1, pressed: None };
        Look {
            instance: "main".into(),
            at: at(changed),
            workflows: HashSet::new(),
            nodes_there: HashSet::new(),
            nodes: HashMap::new(),
            records: BTreeMap::from([("r".into(), state)]),
            lists_records: true,
            executions: BTreeMap::new(),
            unfinished: Vec::new(),
            clocks_apart: [0, 0],
            users: Users::default(),
        }
    }

    fn names(value: &str) -> Names {
        Names { fingerprint: FingerprintKey::new(&[7; 32]).fingerprint(value.as_bytes()), hint: None }
    }

    fn currents(value: &str) -> Vec<Option<Fingerprint>> {
        vec![Some(names(value).fingerprint)]
    }

    /// After a press at minute 100 of a record that was changed at minute 50, which gave that.
    fn after(key: Option<Names>) -> PressedRecords {
        let mut presses = PressedRecords::default();
        let due = presses.due(&look(50), &currents("new"), false, at(100)).pop().expect("it was never pressed");
        presses.note(due, Pressed { at: at(100), key });
        presses
    }

    /// What is asked of what is known at a moment.
    struct Asked {
        changed: i64,
        current: &'static str,
        is_demanded: bool,
        now: Timestamp,
    }

    #[track_caller]
    fn check(asked: &Asked, is_due: bool) {
        let presses = after(Some(names("old")));
        let due = presses.due(&look(asked.changed), &currents(asked.current), asked.is_demanded, asked.now);
        assert_eq!(!due.is_empty(), is_due);
    }

    #[test]
    fn a_record_is_due_when_something_has_changed_and_once_a_minute_at_most() {
        let same = |now| Asked { changed: 50, current: "new", is_demanded: false, now };
        check(&same(at(1000)), false);
        check(&Asked { changed: 60, ..same(at(101)) }, true);
        check(&Asked { current: "newer", ..same(at(101)) }, true);
        check(&Asked { is_demanded: true, ..same(at(101)) }, true);
        let just_now = at(100).after(Duration::from_secs(59));
        check(&Asked { changed: 60, current: "newer", is_demanded: true, now: just_now }, false);
        // n8n's clock is ahead: the press seems to come before the change that it came after.
        check(&Asked { changed: 100, ..same(at(102)) }, true);
        // The clock was set back.
        check(&Asked { changed: 60, ..same(at(10)) }, true);
    }

    #[test]
    fn what_gave_nothing_is_tried_again_ever_less_often() {
        let mut presses = after(None);
        let is_due = |presses: &PressedRecords, now| presses.due(&look(50), &currents("new"), false, now).pop();
        assert!(is_due(&presses, at(101)).is_none());
        let again = is_due(&presses, at(102)).expect("two minutes later");
        presses.note(again, Pressed { at: at(102), key: None });
        assert!(is_due(&presses, at(105)).is_none());
        let again = is_due(&presses, at(106)).expect("four minutes later");
        presses.note(again, Pressed { at: at(106), key: Some(names("new")) });
        assert!(is_due(&presses, at(10_000)).is_none(), "now it is known");
        assert!(presses.due(&look(60), &currents("new"), false, at(200)).pop().is_some());
    }

    #[test]
    fn what_was_found_before_a_change_says_nothing_after_it() {
        let known = after(Some(names("old")));
        let (mut same, mut changed) = (look(50), look(60));
        known.put_into(&mut same);
        known.put_into(&mut changed);
        let pressed = Pressed { at: at(100), key: Some(names("old")) };
        assert_eq!((same.records["r"].pressed, changed.records["r"].pressed), (Some(pressed), None));
    }

    #[test]
    fn what_is_no_id_is_not_put_into_a_path() {
        let mut odd = look(50);
        let state = odd.records["r"].clone();
        odd.records.insert("../x y".into(), state);
        let due = PressedRecords::default().due(&odd, &currents("new"), true, at(100));
        assert_eq!(due.iter().map(|due| &*due.record).collect::<Vec<_>>(), ["r"]);
    }
}
