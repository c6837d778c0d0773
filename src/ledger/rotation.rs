//! Pure. The rotation view of a set: who sends its current key, who does not, and whether an old key can go.
//!
//! | a binding is | when |
//! |---|---|
//! | `mixed` | its last word was good, but another sender behind it still sends an old key ([`super::answer`]) |
//! | `stale` | it has an open incident: its last word was bad ([`super::incident`]) |
//! | `confirmed` | its last sighting carried the current key, the next one or a valid token |
//! | `silent` | neither: it has not been seen since the key that it sent last was replaced |
//! | not in the view | it never asked the API, or never with a key of the set: nothing of it rotates |
//!
//! A `silent` one is *due later*, *overdue* (silent for longer than its rhythm allows: [`rhythm::patience`]) or
//! *acknowledged dead*.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::{self, Answer, Audited, Bar, Evidence};
use super::binding::{Binding, Memory};
use super::hours::Hours;
use super::identity::{BindingId, Holder};
use super::in_flight::InFlight;
use super::incident::Incident;
use super::look::{AuditDoubt, Look};
use super::proof;
use super::rhythm::{self, Rhythm};
use super::senders::{Senders, SentFrom};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{KeySet, Names, Retired, Role, SetIndex};
use crate::verdict::explain::Severity;

/// What a view is drawn from.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// Which set.
    pub set: SetIndex,
    /// The set's own facts.
    pub facts: &'a KeySet,
    /// The keys of all sets ([`crate::keys::reloader::Reloader::entries`]).
    pub keys: &'a [Entry],
    /// The tokens of the set that are valid.
    pub tokens: &'a [Fingerprint],
    /// Every binding.
    pub bindings: &'a [Arc<Binding>],
    /// The same by their ids.
    pub by_id: &'a HashMap<BindingId, &'a Arc<Binding>>,
    /// Exchanges by the hour.
    pub hours: &'a Hours,
    /// What is known of nodes that do not pass here.
    pub audit: &'a Audit,
    /// What each set knows of who sends which key, in the order of the sets.
    pub evidence: &'a [SetEvidence<'a>],
    /// What you said about rotations.
    pub settings: &'a proof::Settings,
    /// Whether upstream said last of a key that it takes it.
    pub is_taken: &'a dyn Fn(Fingerprint) -> bool,
    /// The keys that open exchanges carry upstream.
    pub in_flight: &'a InFlight,
    /// Now.
    pub now: Timestamp,
}

/// What one set knows of who sends which key.
pub struct SetEvidence<'a> {
    /// The evidence.
    pub senders: &'a Senders,
    /// The valid tokens of the set.
    pub tokens: Vec<Fingerprint>,
    /// The n8n of the set, as they were looked through last.
    pub looks: Vec<&'a Look>,
}

/// What is known of the nodes of n8n that do not pass here. By default nothing: n8n was not looked through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// When n8n was looked through; of several, the one that was so longest ago. Nothing where one of them was not, or not
    /// of late.
    pub at: Option<Timestamp>,
    /// The keys that stand in nodes themselves, each with where it does, in words.
    pub typed: Vec<(Fingerprint, String)>,
    /// What keeps it from saying that every node passes here with the right key.
    pub doubts: Vec<AuditDoubt>,
}

/// The view of one set.
#[derive(Clone, Debug)]
pub struct RotationView {
    /// The set.
    pub set: SetIndex,
    /// Its name.
    pub name: Arc<str>,
    /// When the view was drawn.
    pub at: Timestamp,
    /// Whether the set learns which key is current, so that all of this is a guess.
    pub learned: bool,
    /// The current key. A set that learns may have several, until one binding switches: then only a person can say which
    /// one is meant to be current. None where its source gave none, or nothing was learned.
    pub current: Vec<CurrentKey>,
    /// The announced next key.
    pub next: Option<Names>,
    /// Every binding of the set that rotates: stale ones first, then silent, then confirmed; within each, those that were
    /// seen last come first.
    pub rows: Vec<Row>,
    /// How many of them stand how.
    pub progress: Progress,
    /// What the stale and the mixed ones sent, from where and when.
    pub sent_from: HashMap<BindingId, Vec<SentFrom>>,
    /// The previous keys, the one that was replaced last first.
    pub old_keys: Vec<OldKey>,
}

/// A set's current key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentKey {
    /// Its public names.
    pub names: Names,
    /// Since when it is current, as far as keyward knows.
    pub since: Option<Timestamp>,
    /// Whether upstream says that it is no key.
    pub is_refused: bool,
}

/// How many bindings stand how; the same in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Confirmed ones.
    pub confirmed: usize,
    /// Mixed ones.
    pub mixed: usize,
    /// Stale ones.
    pub stale: usize,
    /// Silent ones that are due later.
    pub due_later: usize,
    /// Silent ones that are overdue.
    pub overdue: usize,
    /// Silent ones that you acknowledged to be dead.
    pub acknowledged: usize,
}

/// A binding in the view: what orders and counts it. A view has as many as there are bindings, of which people look at a
/// page.
#[derive(Clone, Debug)]
pub struct Row {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// How it stands.
    pub standing: Standing,
    /// When its last request started.
    pub seen: Timestamp,
    /// How much its open incident matters, or that it is mixed.
    pub severity: Option<Severity>,
}

/// A row with all that is told of its binding.
#[derive(Clone, Debug)]
pub struct FullRow {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// The workflow's name, as the caller gave it last.
    pub workflow_name: Option<Box<str>>,
    /// How it stands.
    pub standing: Standing,
    /// When its last request started.
    pub seen: Timestamp,
    /// The key that it sent last; nothing where its last request had none.
    pub key: Option<Names>,
    /// Its usual rhythm.
    pub rhythm: Option<Rhythm>,
    /// Its open incident.
    pub incident: Option<Box<Incident>>,
}

/// How a binding stands in a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is well, but another sender behind it still sends an old key.
    Mixed,
    /// It is not well.
    Stale,
    /// It has not been seen since its key was replaced.
    Silent(Silence),
    /// It sends what it should.
    Confirmed,
}

/// What the silence of a binding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It should have come by then.
    Overdue {
        /// When it was due at the latest.
        since: Timestamp,
    },
    /// By its rhythm, it need not have come yet.
    DueLater {
        /// When it is due at the latest.
        by: Timestamp,
    },
    /// You said that it is dead.
    Acknowledged {
        /// When.
        at: Timestamp,
    },
}

codes! {
    /// What a standing is called: [`Standing::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StandingKind {
        /// [`Standing::Confirmed`].
        Confirmed => "confirmed",
        /// [`Standing::Mixed`].
        Mixed => "mixed",
        /// [`Standing::Stale`].
        Stale => "stale",
        /// [`Standing::Silent`].
        Silent => "silent",
    }
}

codes! {
    /// What a silence is called: [`Silence::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SilenceKind {
        /// [`Silence::Overdue`].
        Overdue => "overdue",
        /// [`Silence::DueLater`].
        DueLater => "due_later",
        /// [`Silence::Acknowledged`].
        Acknowledged => "acknowledged",
    }
}

/// A previous key of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// Its public names.
    pub names: Names,
    /// When it was replaced.
    pub retired: Retired,
    /// Until when it is still good.
    pub grace_until: Timestamp,
    /// When the last request with it started, from any sender.
    pub last_use: Option<Timestamp>,
    /// Exchanges with it by the hour, as far back as is remembered; hours without any are left out.
    pub traffic: Vec<(Timestamp, u64)>,
    /// Whether it can go.
    pub can_go: Answer,
}

/// Draws the view of a set. Locks each binding for a moment, and takes no more of it than one can count and order by: what
/// lies elsewhere in memory costs more than all the rest.
#[must_use]
pub fn view(grounds: &Grounds<'_>) -> RotationView {
    let keys = SetKeys::new(grounds.set, grounds.keys, grounds.tokens);
    let mut draft = Draft::new(grounds.old_keys().map(OldDraft::new).collect());
    for binding in grounds.bindings {
        let memory = binding.lock();
        draft.note_uses(binding, &memory);
        if memory.hands_on() {
            draft.unsettled.insert(binding.id());
        }
        if binding.set() == grounds.set
            && let Some(row) = Row::of(binding, &memory, &keys, grounds.now)
        {
            draft.rows.push(row);
        }
    }
    draft.into_view(grounds)
}

/// How a binding stands, if its set's rotations are its own.
#[must_use]
pub fn standing(memory: &Memory, keys: &SetKeys, now: Timestamp) -> Option<Standing> {
    let latest = memory.latest?;
    if memory.incident.is_some() {
        return Some(Standing::Stale);
    }
    // What only failed at upstream shows nothing of the key.
    let was_good = |key| memory.of_key(Some(key)).is_none_or(|used| memory.well.is_some_and(|well| well >= used.first));
    if latest.key.is_some_and(|key| keys.confirms(key) && was_good(key)) {
        return Some(Standing::Confirmed);
    }
    // Upstream took a key of no set, or did not come to judge it.
    let is_strange = latest.finding.verdict() == "unknown" && !latest.key.is_some_and(|key| keys.is_previous(key));
    if is_strange {
        return None;
    }
    let due = latest.at.after(rhythm::patience(memory.visits.rhythm()));
    Some(Standing::Silent(match memory.acknowledgement() {
        Some(at) => Silence::Acknowledged { at },
        None if due < now => Silence::Overdue { since: due },
        None => Silence::DueLater { by: due },
    }))
}

/// The keys of one set, by what a binding that sends them is.
#[derive(Clone, Debug, Default)]
pub struct SetKeys {
    /// Sorted, as are the others: they are few, and looked up for every binding.
    confirming: Vec<Fingerprint>,
    previous: Vec<Fingerprint>,
}

// === impl SetKeys ===

impl SetKeys {
    /// Of that set, with its valid tokens.
    #[must_use]
    pub fn new(set: SetIndex, keys_of_all: &[Entry], tokens: &[Fingerprint]) -> Self {
        let mut keys = Self { confirming: tokens.to_vec(), previous: Vec::new() };
        for entry in keys_of_all.iter().filter(|entry| entry.set == set) {
            match entry.role {
                Role::Current | Role::Next | Role::Token if entry.revoked.is_none() => &mut keys.confirming,
                Role::Current | Role::Next | Role::Token | Role::Previous { .. } => &mut keys.previous,
            }
            .push(entry.names.fingerprint);
        }
        keys.confirming.sort_unstable();
        keys.previous.sort_unstable();
        keys
    }

    /// Whether a binding that sends that key has nothing to change.
    #[must_use]
    pub fn confirms(&self, key: Fingerprint) -> bool {
        self.confirming.binary_search(&key).is_ok()
    }

    fn is_previous(&self, key: Fingerprint) -> bool {
        self.previous.binary_search(&key).is_ok()
    }
}

// === impl Grounds ===

impl<'a> Grounds<'a> {
    /// The set's keys with their role, in the order of the list.
    fn own(&self) -> impl Iterator<Item = &'a Entry> {
        let set = self.set;
        self.keys.iter().filter(move |entry| entry.set == set)
    }

    fn sets(&self) -> impl Iterator<Item = KeysOfSet> {
        let set = |(position, own): (usize, &SetEvidence<'_>)| {
            SetIndex::nth(position).map(|set| KeysOfSet::new(set, self.keys, &own.tokens))
        };
        self.evidence.iter().enumerate().filter_map(set)
    }

    fn binding(&self, id: BindingId) -> Option<Arc<Binding>> {
        self.by_id.get(&id).map(|binding| Arc::clone(binding))
    }

    fn old_keys(&self) -> impl Iterator<Item = &'a Entry> {
        self.own().filter(|entry| matches!(entry.role, Role::Previous { .. }))
    }
}

// === impl Row ===

impl Row {
    fn of(binding: &Arc<Binding>, memory: &Memory, keys: &SetKeys, now: Timestamp) -> Option<Self> {
        if binding.holder() != Holder::Caller {
            return None;
        }
        Some(Self {
            binding: Arc::clone(binding),
            standing: standing(memory, keys, now)?,
            seen: memory.latest?.at,
            severity: memory.incident.as_ref().map(|incident| incident.severity),
        })
    }

    /// Where it stands in the view: what is to be done comes first, then what was seen later.
    #[must_use]
    pub fn place(&self) -> (u8, i64, BindingId) {
        (self.standing.rank(), -self.seen.as_millis(), self.binding.id())
    }

    /// With all that is told of the binding, as it is known now. Where it is seen in this very moment, it stands as it did
    /// when the view was drawn.
    #[must_use]
    pub fn in_full(&self) -> FullRow {
        let memory = self.binding.lock();
        FullRow {
            binding: Arc::clone(&self.binding),
            workflow_name: memory.name.clone(),
            standing: self.standing,
            seen: self.seen,
            key: memory.latest.and_then(|latest| latest.key).map(|key| names_of(&memory, key)),
            rhythm: memory.visits.rhythm(),
            incident: memory.incident.clone(),
        }
    }
}

/// The key with its hint, where the binding has room for it.
fn names_of(memory: &Memory, key: Fingerprint) -> Names {
    let used = memory.of_key(Some(key)).and_then(|used| used.key);
    used.unwrap_or(Names { fingerprint: key, hint: None })
}

/// A view that is being drawn.
struct Draft {
    rows: Vec<Row>,
    old: Vec<OldDraft>,
    /// Where each of the previous keys stands, sorted by key.
    by_key: Vec<(Fingerprint, usize)>,
    /// Bindings with uses that the evidence does not have yet.
    unsettled: HashSet<BindingId>,
}

/// A previous key, and what was found of it so far.
struct OldDraft {
    key: Fingerprint,
    names: Names,
    retired: Retired,
    grace_until: Timestamp,
    last_use: Option<Timestamp>,
    /// Each binding that sent it, and when it did last.
    uses: Vec<(BindingId, Timestamp)>,
}

// === impl Draft ===

impl Draft {
    fn new(old: Vec<OldDraft>) -> Self {
        let mut by_key: Vec<_> = old.iter().enumerate().map(|(position, old)| (old.key, position)).collect();
        by_key.sort_unstable();
        Self { rows: Vec::new(), old, by_key, unsettled: HashSet::new() }
    }

    /// What the uses of a binding of any set say of the old keys.
    fn note_uses(&mut self, binding: &Binding, memory: &Memory) {
        for used in &memory.uses {
            let Some(names) = used.key else { continue };
            if let Some(old) = find(&mut self.old, &self.by_key, names.fingerprint) {
                old.last_use = old.last_use.max(Some(used.last));
                old.names.hint = old.names.hint.or(names.hint);
                old.uses.push((binding.id(), used.last));
            }
        }
    }

    fn into_view(mut self, grounds: &Grounds<'_>) -> RotationView {
        let current: Vec<_> = grounds.own().filter(|entry| entry.role == Role::Current).map(CurrentKey::of).collect();
        let sets: Vec<_> = grounds.sets().collect();
        let old_keys: Vec<_> =
            std::mem::take(&mut self.old).into_iter().map(|old| old.finish(grounds, &current, &sets)).collect();
        self.unsettled.extend(grounds.evidence.iter().flat_map(|set| set.senders.waiting_bindings()));
        mark_mixed(&mut self.rows, &old_keys, &self.unsettled, grounds.now);
        let is_bad = |row: &&Row| matches!(row.standing, Standing::Stale | Standing::Mixed);
        let bad = self.rows.iter().filter(is_bad).map(|row| row.binding.id()).collect();
        let own = grounds.evidence.get(grounds.set.position());
        // Each key is made once: what it is made of lies elsewhere in memory.
        self.rows.sort_by_cached_key(Row::place);
        RotationView {
            set: grounds.set,
            name: Arc::clone(&grounds.facts.name),
            at: grounds.now,
            learned: grounds.facts.learning,
            next: grounds.own().find(|entry| entry.role == Role::Next).map(|entry| entry.names),
            progress: Progress::of(&self.rows),
            rows: self.rows,
            sent_from: own.map(|own| own.senders.sent_from(&bad)).unwrap_or_default(),
            current,
            old_keys,
        }
    }
}

// === impl RotationView ===

impl RotationView {
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
fn mark_mixed(rows: &mut [Row], old_keys: &[OldKey], unsettled: &HashSet<BindingId>, now: Timestamp) {
    let still_sent = |old: &OldKey| {
        let severity = if now < old.grace_until { Severity::Warning } else { Severity::Error };
        let bars = old.can_go.bars().iter().filter(|bar| bar.code == "still_sent");
        bars.filter_map(|bar| bar.binding).map(|id| (id, severity)).collect::<Vec<_>>()
    };
    let senders: HashMap<_, _> =
        old_keys.iter().flat_map(still_sent).filter(|(id, _)| !unsettled.contains(id)).collect();
    if senders.is_empty() {
        return;
    }
    for row in rows.iter_mut().filter(|row| row.standing == Standing::Confirmed) {
        if let Some(severity) = senders.get(&row.binding.id()) {
            (row.standing, row.severity) = (Standing::Mixed, Some(*severity));
        }
    }
}

fn find<'a>(old: &'a mut [OldDraft], by_key: &[(Fingerprint, usize)], key: Fingerprint) -> Option<&'a mut OldDraft> {
    let place = by_key.binary_search_by_key(&key, |(key, _)| *key).ok()?;
    old.get_mut(by_key[place].1)
}

// === impl OldDraft ===

impl OldDraft {
    fn new(entry: &Entry) -> Self {
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
        }
    }

    fn finish(self, grounds: &Grounds<'_>, current: &[CurrentKey], sets: &[KeysOfSet]) -> OldKey {
        let traffic = grounds.hours.of_key(grounds.set, self.key);
        let can_go = self.answer(grounds, current, sets);
        let Self { names, retired, grace_until, last_use, .. } = self;
        OldKey { names, retired, grace_until, last_use, traffic, can_go }
    }

    fn answer(&self, grounds: &Grounds<'_>, current: &[CurrentKey], sets: &[KeysOfSet]) -> Answer {
        let of_set = |position: usize| {
            let (own, keys) = (grounds.evidence.get(position)?, sets.get(position)?);
            Some(Evidence { senders: own.senders, good: &keys.good, new: &keys.new, looks: &own.looks })
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
            binding_of: &|id| grounds.binding(id),
            last_use: self.last_use,
            uses: &self.uses,
            is_taken: grounds.is_taken,
            in_flight: grounds.in_flight.open(self.key),
            settings: grounds.settings,
            learning: grounds.facts.learning,
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
            known.push(Bar::known("in_use", "another set uses the same key", "give that set a key of its own"));
        }
        if current.is_empty() {
            let what = "keyward does not know the current key, so that no sender can be seen to change to it";
            known.push(Bar::known("no_current_key", what, "put the current key where the set's `current` says"));
        } else if current.iter().all(|key| key.is_refused) {
            let what = "upstream refuses the current key: the old one may be needed again";
            known.push(Bar::known("current_key_refused", what, "put a key that OpenAI takes into the set"));
        }
        let typed = grounds.audit.typed.iter().filter(|(key, _)| *key == self.key);
        known.extend(typed.map(|(_, who)| {
            Bar::known("typed", "has it typed into it", "take the key out, and choose an OpenAI credential").about(who)
        }));
        known
    }
}

/// The keys that are good in a set.
struct KeysOfSet {
    good: Vec<Fingerprint>,
    new: Vec<Fingerprint>,
}

impl KeysOfSet {
    fn new(set: SetIndex, keys: &[Entry], tokens: &[Fingerprint]) -> Self {
        let is_good = |entry: &&Entry| {
            entry.set == set && entry.revoked.is_none() && matches!(entry.role, Role::Current | Role::Next)
        };
        let mut new: Vec<_> = keys.iter().filter(is_good).map(|entry| entry.names.fingerprint).collect();
        new.sort_unstable();
        let mut good = [&new[..], tokens].concat();
        good.sort_unstable();
        Self { good, new }
    }
}

// === impl Progress, CurrentKey, Standing ===

impl Progress {
    fn of(rows: &[Row]) -> Self {
        let mut progress = Self::default();
        for row in rows {
            *match row.standing {
                Standing::Confirmed => &mut progress.confirmed,
                Standing::Mixed => &mut progress.mixed,
                Standing::Stale => &mut progress.stale,
                Standing::Silent(Silence::DueLater { .. }) => &mut progress.due_later,
                Standing::Silent(Silence::Overdue { .. }) => &mut progress.overdue,
                Standing::Silent(Silence::Acknowledged { .. }) => &mut progress.acknowledged,
            } += 1;
        }
        progress
    }

    /// Whether nothing is left to do here: no binding is stale, and none is silent but those that are dead.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.mixed + self.stale + self.due_later + self.overdue == 0
    }

    /// Whether no binding is stale or mixed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.mixed + self.stale == 0
    }

    /// How many bindings there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.confirmed + self.mixed + self.stale + self.due_later + self.overdue + self.acknowledged
    }
}

impl CurrentKey {
    fn of(entry: &Entry) -> Self {
        Self { names: entry.names, since: entry.since, is_refused: entry.is_refused || entry.revoked.is_some() }
    }
}

impl Standing {
    /// What is to be done comes first.
    fn rank(self) -> u8 {
        match self {
            Self::Stale | Self::Mixed => 0,
            Self::Silent(Silence::Overdue { .. }) => 1,
            Self::Silent(Silence::DueLater { .. }) => 2,
            Self::Silent(Silence::Acknowledged { .. }) => 3,
            Self::Confirmed => 4,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn kind(self) -> StandingKind {
        match self {
            Self::Mixed => StandingKind::Mixed,
            Self::Stale => StandingKind::Stale,
            Self::Silent(_) => StandingKind::Silent,
            Self::Confirmed => StandingKind::Confirmed,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.kind().code()
    }

    /// What the silence means; nothing for a binding that is not silent.
    #[must_use]
    pub fn silence_kind(self) -> Option<SilenceKind> {
        match self {
            Self::Silent(silence) => Some(silence.kind()),
            Self::Mixed | Self::Stale | Self::Confirmed => None,
        }
    }

    /// The same by its stable code.
    #[must_use]
    pub fn silence(self) -> Option<&'static str> {
        self.silence_kind().map(SilenceKind::code)
    }
}

impl Silence {
    /// What it is called.
    #[must_use]
    pub fn kind(self) -> SilenceKind {
        match self {
            Self::Overdue { .. } => SilenceKind::Overdue,
            Self::DueLater { .. } => SilenceKind::DueLater,
            Self::Acknowledged { .. } => SilenceKind::Acknowledged,
        }
    }
}

// === Words ===

/// As people read it: `12 of 24 confirmed, 3 stale, 9 due later`. What there is none of is left out.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} confirmed", self.confirmed, self.total())?;
        let others = [
            (self.mixed, "mixed"),
            (self.stale, "stale"),
            (self.overdue, "overdue"),
            (self.due_later, "due later"),
            (self.acknowledged, "dead"),
        ];
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, standing)| write!(f, ", {count} {standing}"))
    }
}
