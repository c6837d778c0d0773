//! Pure. The rotation view of a set: who sends its current key, who does not ([`super::standing`]), and whether an old key
//! can go ([`super::old_key`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::PassThrough;
use super::answer::Answer;
use super::bar_kind::BarKind;
use super::binding::{Binding, Memory};
use super::identity::BindingId;
use super::old_key::{OldDraft, OldKey};
use super::progress::Progress;
use super::rotation_grounds::Grounds;
use super::rotation_row::Row;
use super::set_keys::{CurrentKey, RotationKeys};
use super::standing::Standing;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{Names, Role, SetIndex};
use crate::verdict::explain::Severity;

/// The view of one set.
#[derive(Clone, Debug)]
pub struct RotationView {
    pub set: SetIndex,
    pub name: Arc<str>,
    /// When the view was drawn.
    pub at: Timestamp,
    /// Whether the set learns which key is current, so that all of this is a guess.
    pub learned: bool,
    /// The current key. A set that learns may have several, until one binding switches: then only a person can say which
    /// one is meant to be current. None where its source gave none, or nothing was learned.
    pub current: Vec<CurrentKey>,
    pub next: Option<Names>,
    /// Every binding of the set that rotates: stale ones first, then silent, then confirmed; within each, those that were
    /// seen last come first.
    pub rows: Arc<Vec<Row>>,
    /// How many of them stand how.
    pub progress: Progress,
    /// How many bindings of the set have an open incident, whether they rotate or not.
    pub open_incidents: usize,
    /// The previous keys, the one that was replaced last first.
    pub old_keys: Vec<OldKey>,
    /// What they were drawn from.
    pub drafts: OldDrafts,
}

/// The previous keys with what was found of them, from which another audit draws other answers.
#[derive(Clone, Debug, Default)]
pub struct OldDrafts(Arc<[OldDraft]>);

/// Draws the view of a set. Locks each binding for a moment, and takes no more of it than one can count and order by: what
/// lies elsewhere in memory costs more than all the rest.
#[must_use]
pub fn view(grounds: &Grounds<'_>) -> RotationView {
    let keys = RotationKeys::new(grounds.set, grounds.keys, grounds.tokens);
    // Looked at first: what ends from now on is found on its binding.
    let old = |entry: &Entry| OldDraft::new(entry, grounds.in_flight.open(entry.names.fingerprint));
    let mut draft = Draft::new(grounds.old_keys().map(old).collect());
    draft.rows.reserve(grounds.bindings.len());
    for binding in grounds.bindings {
        let memory = binding.lock();
        draft.note_uses(binding, &memory);
        if memory.hands_on() {
            draft.unsettled.insert(binding.id());
        }
        if binding.set() == grounds.set {
            draft.open_incidents += usize::from(memory.incident.is_some());
            draft.rows.extend(Row::of(binding, &memory, &keys, grounds.now));
        }
    }
    draft.into_view(grounds)
}

/// A view that is being drawn.
struct Draft {
    rows: Vec<Row>,
    open_incidents: usize,
    old: Vec<OldDraft>,
    /// Where each of the previous keys stands, sorted by key.
    by_key: Vec<(Fingerprint, usize)>,
    /// Bindings with uses that the evidence does not have yet.
    unsettled: HashSet<BindingId, PassThrough>,
}

// === impl Draft ===

impl Draft {
    fn new(old: Vec<OldDraft>) -> Self {
        let mut by_key: Vec<_> = old.iter().enumerate().map(|(position, old)| (old.key, position)).collect();
        by_key.sort_unstable();
        Self { rows: Vec::new(), open_incidents: 0, old, by_key, unsettled: HashSet::default() }
    }

    /// What the uses of a binding of any set say of the old keys.
    fn note_uses(&mut self, binding: &Binding, memory: &Memory) {
        for used in &memory.uses {
            let Some(names) = used.key else { continue };
            if let Some(old) = find(&mut self.old, &self.by_key, names.fingerprint) {
                old.note_use(binding.id(), names, used.last);
            }
        }
    }

    fn into_view(mut self, grounds: &Grounds<'_>) -> RotationView {
        let current: Vec<_> = grounds.own().filter(|entry| entry.role == Role::Current).map(CurrentKey::of).collect();
        let sets: Vec<_> = grounds.sets().collect();
        let old_keys: Vec<_> = self.old.iter().map(|old| old.finish(grounds, &current, &sets)).collect();
        self.unsettled.extend(grounds.evidence.iter().flat_map(|set| set.senders.waiting_bindings()));
        mark_mixed(&mut self.rows, &old_keys, &self.unsettled, grounds.now);
        // Each key is made once: what it is made of lies elsewhere in memory.
        self.rows.sort_by_cached_key(Row::place);
        RotationView {
            set: grounds.set,
            name: Arc::clone(&grounds.facts.name),
            at: grounds.now,
            learned: grounds.facts.learning,
            next: grounds.own().find(|entry| entry.role == Role::Next).map(|entry| entry.names),
            progress: Progress::of(&self.rows),
            rows: Arc::new(self.rows),
            drafts: OldDrafts(self.old.into()),
            open_incidents: self.open_incidents,
            current,
            old_keys,
        }
    }
}

// === impl RotationView ===

impl RotationView {
    /// The same with what another audit says: how the bindings stand does not depend on that, nor what they sent.
    #[must_use]
    pub fn audited(&self, grounds: &Grounds<'_>) -> Self {
        let sets: Vec<_> = grounds.sets().collect();
        let old_keys = self.drafts.0.iter().map(|old| old.finish(grounds, &self.current, &sets)).collect();
        Self { old_keys, ..self.clone() }
    }

    /// Whether nothing is left to do: every binding is well or dead, and no old key is still sent or held.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.progress.is_done() && !self.keeps_old()
    }

    /// Whether an old key is still sent or held, as far as is known.
    #[must_use]
    pub fn keeps_old(&self) -> bool {
        self.old_keys.iter().any(|old| matches!(old.can_go, Answer::No { .. }))
    }
}

/// A binding is mixed where it looks well and one of its senders still sends an old key. Not where it has just been mended: the
/// evidence does not have that yet.
fn mark_mixed(rows: &mut [Row], old_keys: &[OldKey], unsettled: &HashSet<BindingId, PassThrough>, now: Timestamp) {
    let still_sent = |old: &OldKey| {
        let severity = if now < old.grace_until { Severity::Warning } else { Severity::Error };
        let bars = old.can_go.bars().iter().filter(|bar| bar.kind == BarKind::StillSent);
        bars.filter_map(|bar| bar.binding).map(|id| (id, severity)).collect::<Vec<_>>()
    };
    let senders: HashMap<_, _, PassThrough> =
        old_keys.iter().flat_map(still_sent).filter(|(id, _)| !unsettled.contains(id)).collect();
    if senders.is_empty() {
        return;
    }
    for row in rows.iter_mut().filter(|row| row.standing.has_right_key()) {
        if let Some(severity) = senders.get(&row.id) {
            (row.standing, row.severity) = (Standing::Mixed, Some(*severity));
        }
    }
}

fn find<'a>(old: &'a mut [OldDraft], by_key: &[(Fingerprint, usize)], key: Fingerprint) -> Option<&'a mut OldDraft> {
    let place = by_key.binary_search_by_key(&key, |(key, _)| *key).ok()?;
    old.get_mut(by_key[place].1)
}
