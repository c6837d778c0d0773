//! Pure. A previous key of a set in the rotation view: who still sends it, and whether it can go.

use super::answer::{self, Answer, Audited, Bar, Evidence};
use super::bar_kind::BarKind;
use super::identity::BindingId;
use super::rotation_grounds::Grounds;
use super::set_keys::{CurrentKey, GoodKeys};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{Names, Retired, Role};

/// A previous key of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    pub names: Names,
    pub retired: Retired,
    /// Until when it is still good.
    pub grace_until: Timestamp,
    /// When the last request with it started, from any sender.
    pub last_use: Option<Timestamp>,
    /// Exchanges with it by the hour, as far back as is remembered; hours without any are left out.
    pub traffic: Vec<(Timestamp, u64)>,
    pub can_go: Answer,
}

/// A previous key, and what was found of it so far.
#[derive(Debug)]
pub(super) struct OldDraft {
    pub(super) key: Fingerprint,
    names: Names,
    retired: Retired,
    grace_until: Timestamp,
    last_use: Option<Timestamp>,
    /// Each binding that sent it, and when it did last.
    uses: Vec<(BindingId, Timestamp)>,
    /// What carried it upstream when that was looked for ([`super::in_flight`]).
    in_flight: Option<u64>,
}

impl OldDraft {
    pub(super) fn new(entry: &Entry, in_flight: Option<u64>) -> Self {
        let (retired, grace_until) = match entry.role {
            Role::Previous { retired, grace_until } => (retired, grace_until),
            Role::Current | Role::Next | Role::Token => {
                let never = Timestamp::from_millis(0);
                (Retired { after: None, by: never }, never)
            }
        };
        Self {
            key: entry.names.fingerprint,
            names: entry.names,
            retired,
            grace_until,
            last_use: None,
            uses: Vec::new(),
            in_flight,
        }
    }

    /// What a use of that key says of it.
    pub(super) fn note_use(&mut self, binding: BindingId, names: Names, last: Timestamp) {
        self.last_use = self.last_use.max(Some(last));
        self.names.hint = self.names.hint.or(names.hint);
        self.uses.push((binding, last));
    }

    pub(super) fn finish(&self, grounds: &Grounds<'_>, current: &[CurrentKey], sets: &[GoodKeys]) -> OldKey {
        let traffic = grounds.hours.of_key(grounds.set, self.key);
        let can_go = self.answer(grounds, current, sets);
        let Self { names, retired, grace_until, last_use, .. } = *self;
        OldKey { names, retired, grace_until, last_use, traffic, can_go }
    }

    fn answer(&self, grounds: &Grounds<'_>, current: &[CurrentKey], sets: &[GoodKeys]) -> Answer {
        let of_set = |position: usize| {
            let (own, keys) = (grounds.evidence.get(position)?, sets.get(position)?);
            Some(Evidence { senders: own.senders, good: &keys.all, new: &keys.new, looks: &own.looks })
        };
        let first = grounds.set.position();
        let others = (0..grounds.evidence.len()).filter(|position| *position != first);
        let evidence: Vec<_> = std::iter::once(first).chain(others).filter_map(of_set).collect();
        answer::answer(&answer::Grounds {
            old: self.names,
            retired: self.retired,
            evidence: &evidence,
            known: self.known(grounds, current),
            audit: &Audited { at: grounds.audit.at, doubts: &grounds.audit.doubts },
            binding_of: grounds.binding_of,
            last_use: self.last_use,
            uses: &self.uses,
            is_taken: grounds.is_taken,
            in_flight: grounds.in_flight.open(self.key).or(self.in_flight),
            settings: grounds.settings,
            learning: grounds.facts.learning,
            is_refused: grounds.keys.iter().any(|entry| entry.names.fingerprint == self.key && entry.is_refused()),
            now: grounds.now,
        })
    }

    /// What keeps it, and needs no proof.
    fn known(&self, grounds: &Grounds<'_>, current: &[CurrentKey]) -> Vec<Bar> {
        let mut known = Vec::new();
        let is_of_another = |entry: &&Entry| {
            entry.names.fingerprint == self.key
                && entry.set != grounds.set
                && matches!(entry.role, Role::Current | Role::Next)
        };
        if grounds.keys.iter().any(|entry| is_of_another(&entry)) {
            known.push(Bar::known(BarKind::InUse));
        }
        if current.is_empty() {
            known.push(Bar::known(BarKind::NoCurrentKey));
        } else if current.iter().all(|key| key.is_refused) {
            known.push(Bar::known(BarKind::CurrentKeyRefused));
        }
        let typed = grounds.audit.typed.iter().filter(|(key, _)| *key == self.key);
        known.extend(typed.map(|(_, who)| Bar::known(BarKind::Typed).about(who, "has it typed into it")));
        known
    }
}
