//! One caller towards one key set: the thing that can be stale.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::bearing::{self, Bearing};
use super::hours::Hour;
use super::identity::{BindingId, Holder, INSTANCE_AI, Identity};
use super::incident::{self, Closed, Closing, Incident, Retrying};
use super::rhythm::Visits;
use super::seen::{Finding, Seen};
use super::sent::{self, Execution, Sent};
use crate::caller::Family;
use crate::caller::names::Named;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::{KeyRing, Names, SetIndex, Word};
use crate::locks::lock;
use crate::verdict::Verdict;

/// A binding as it lives in memory.
#[derive(Debug)]
pub struct Binding {
    id: BindingId,
    set: SetIndex,
    holder: Holder,
    declared: Declared,
    family: Family,
    peer: IpAddr,
    key: Option<Fingerprint>,
    is_dirty: AtomicBool,
    memory: Mutex<Memory>,
}

/// Instance, workflow and node in a single piece of memory.
#[derive(Debug)]
struct Declared {
    all: Box<str>,
    /// How long each of them is, in bytes; [`Declared::NONE`] where there is none.
    lengths: [u16; 3],
}

/// What is remembered of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// One entry for each key that it sent, and one for none; bounded by [`KEYS_PER_BINDING`].
    pub uses: Box<[KeyUse]>,
    /// Sightings with a key that found no room in `uses`.
    pub other_keys: u64,
    /// The key that upstream accepted last: for sets that learn, so that most bindings have none.
    pub accepted: Option<Box<Accepted>>,
    /// The workflow's name, as the caller gave it last.
    pub name: Option<Box<str>>,
    /// The client's version, as it said last.
    pub client_version: Option<Box<str>>,
    pub visits: Visits,
    /// The sighting that started last, of those that count.
    pub latest: Option<Latest>,
    /// It was well then: the last good sighting started, or an incident was closed by something else. Bad sightings that
    /// started no later count no more.
    pub well: Option<Timestamp>,
    pub incident: Option<Box<Incident>>,
    /// When you acknowledged it last: see [`Memory::acknowledgement`].
    pub acknowledged: Option<Timestamp>,
    /// Executions that were seen bad since the last incident opened.
    pub retrying: Retrying,
    pub(super) unsaved: Unsaved,
}

/// What the store has not been told of a binding. What it is told in absolute terms needs no mention here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsaved {
    /// As [`Memory::other_keys`]; what the store has not been told for long enough stays at the largest number.
    pub(super) other_keys: u32,
    /// Bad sightings of the open incident; the same.
    pub(super) bad_sightings: u32,
    /// Whether the visits are others.
    pub(super) visited: bool,
    /// What came since the ledger's own thread looked last, which takes it.
    pub(super) gathered: Option<Box<Gathered>>,
}

/// What the ledger's own thread has not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    /// Incidents that were closed; of each the bad sightings that the store has not been told of.
    pub(super) closed: Vec<(Incident, u64)>,
    /// Exchanges by the hour.
    pub(super) tallies: Vec<Tally>,
    /// Uses of keys, for the evidence of who sends which.
    pub(super) sent: Vec<Sent>,
    /// What found no room in `tallies` or `closed`.
    pub(super) lost: u64,
}

/// Exchanges of one kind in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) kind: Hour,
    pub(super) exchanges: u64,
}

/// A request whose key upstream accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub key: Fingerprint,
    /// When the request came.
    pub at: Timestamp,
    pub peer: IpAddr,
}

/// How one binding used one key, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key; nothing for requests without a usable one.
    pub key: Option<Names>,
    /// The start of the first sighting.
    pub first: Timestamp,
    /// The start of the last sighting.
    pub last: Timestamp,
    pub sightings: u64,
    /// What the last one was.
    pub finding: Finding,
    /// The last execution that was named with it.
    pub execution: Option<Box<str>>,
    /// What upstream said last of the key; nothing where it never said, or another key was put in its place.
    pub word: Option<Word>,
    /// How many of the sightings the store has not been told of.
    pub(super) unsaved: u64,
    /// Whether more is known of a sighting than the store was told.
    pub(super) is_revised: bool,
}

/// The sighting that started last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// When it started.
    pub at: Timestamp,
    pub key: Option<Fingerprint>,
    pub finding: Finding,
}

impl Binding {
    /// New, without sightings, in the set of that name.
    #[must_use]
    pub fn new(identity: &Identity<'_>, set: &str) -> Self {
        Self {
            id: BindingId::of(identity, set),
            set: identity.set,
            holder: identity.holder,
            declared: Declared::new([identity.instance, identity.workflow, identity.node]),
            family: identity.family,
            peer: identity.peer,
            key: identity.key,
            is_dirty: AtomicBool::new(false),
            memory: Mutex::default(),
        }
    }

    /// Its name, the same after a restart and in every keyward that shares the store.
    #[must_use]
    pub fn id(&self) -> BindingId {
        self.id
    }

    /// Whose binding it is: what a request of the same caller has in common with it.
    #[must_use]
    pub fn identity(&self) -> Identity<'_> {
        let [instance, workflow, node] = self.declared.texts();
        Identity {
            set: self.set,
            holder: self.holder,
            instance,
            workflow,
            node,
            family: self.family,
            peer: self.peer,
            key: self.key,
        }
    }

    /// The set that its requests are judged by.
    #[must_use]
    pub fn set(&self) -> SetIndex {
        self.set
    }

    /// Whether it stands for one caller.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// Whether it is the binding of `identity`.
    #[must_use]
    pub fn is(&self, identity: &Identity<'_>) -> bool {
        // Every request is asked this, so that no text is put together for it.
        (self.set, self.holder) == (identity.set, identity.holder)
            && self.declared.is([identity.instance, identity.workflow, identity.node])
            && (!self.is_untagged()
                || (self.family, self.peer, self.key) == (identity.family, identity.peer, identity.key))
    }

    /// Whether nothing but its client, address and key tell it from others.
    #[must_use]
    pub fn is_untagged(&self) -> bool {
        self.holder == Holder::Caller && !self.declared.has_workflow()
    }

    /// Who it is, in words: `workflow 7bK2 (Report), node 9f3c`, or `sdk client at 10.1.2.3`.
    #[must_use]
    pub fn describe(&self, workflow_name: Option<&str>) -> String {
        self.describe_with(workflow_name, None)
    }

    /// The same with the names that n8n has for it: `workflow 7bK2 (Report), node 9f3c (Summary)`.
    #[must_use]
    pub fn describe_named(&self, named: &Named<'_>) -> String {
        self.describe_with(Some(&named.workflow.name), named.node.map(|node| &*node.name))
    }

    fn describe_with(&self, workflow_name: Option<&str>, node_name: Option<&str>) -> String {
        let [instance, workflow, node] = self.declared.texts();
        // A text that grows is copied each time, and a view has many.
        let mut words = String::with_capacity(128);
        match (self.holder, workflow) {
            (Holder::Editor, _) => words.push_str("n8n's editor"),
            (Holder::Agent, None) => words.push_str("n8n's Agents"),
            (Holder::Agent, Some(INSTANCE_AI)) => words.push_str("n8n's Instance AI"),
            (Holder::Agent, Some(_)) => words.push_str("n8n's chats"),
            (Holder::Other, _) => words.push_str("callers for whom there was no room"),
            (Holder::Caller, None) => {
                let _ = write!(words, "{} client at {}", self.family, self.peer);
            }
            (Holder::Caller, Some(_)) => {}
        }
        let workflow = workflow.filter(|_| self.holder == Holder::Caller);
        let parts = [("workflow ", workflow, workflow_name), (", node ", node, node_name), (" of ", instance, None)];
        for (what, id, name) in parts {
            if let Some(id) = id {
                words.extend([what, id]);
                words.extend(name.map(|name| [" (", name, ")"]).into_iter().flatten());
            }
        }
        words
    }

    /// The verb for what [`Binding::describe`] says: of those that are several, the second one.
    #[must_use]
    pub fn says<'w>(&self, of_one: &'w str, of_several: &'w str) -> &'w str {
        let [_, workflow, _] = self.declared.texts();
        let is_instance_ai = workflow == Some(INSTANCE_AI);
        match self.holder {
            Holder::Other => of_several,
            Holder::Agent if !is_instance_ai => of_several,
            Holder::Agent | Holder::Caller | Holder::Editor => of_one,
        }
    }

    /// Whether this caller ever sent a key: then a request without one has lost it.
    #[must_use]
    pub fn sent_key_before(&self) -> bool {
        self.holder == Holder::Caller && self.lock().uses.iter().any(|used| used.key.is_some())
    }

    /// Whether upstream took another key of it after that moment.
    #[must_use]
    pub fn has_sent_another_since(&self, key: Fingerprint, at: Timestamp) -> bool {
        let is_other = |used: &KeyUse| used.key.is_some_and(|names| names.fingerprint != key);
        let is_taken = |used: &KeyUse| used.word == Some(Word::Accepted) && used.last > at;
        self.lock().uses.iter().any(|used| is_other(used) && is_taken(used))
    }

    /// Notes that you said that it is dead, or that its incident is dealt with.
    pub(super) fn acknowledge(&self, now: Timestamp) {
        let mut memory = self.lock();
        memory.acknowledged = memory.acknowledged.max(Some(now));
        memory.close(Closed { at: now, by: Closing::Acknowledged.into(), execution: None });
    }

    /// Takes down an exchange that ended, under the binding's lock.
    pub(super) fn sight(&self, seen: &Seen<'_>) {
        self.lock().sight(seen, self);
    }

    /// Notes that upstream accepted a key, and returns the one from which this caller switched with it.
    ///
    /// A switch is one node's, seen at one address, in the order of its requests. Two nodes of a workflow may well use
    /// two keys, a tag can be made up elsewhere, and a long answer ends after one to a later request.
    pub(super) fn accept(&self, accepted: Accepted) -> Option<Fingerprint> {
        let mut memory = self.lock();
        if memory.accepted.as_ref().is_some_and(|last| accepted.at < last.at) {
            return None;
        }
        let Some(last) = &mut memory.accepted else {
            memory.accepted = Some(Box::new(accepted));
            return None;
        };
        let before = std::mem::replace(&mut **last, accepted);
        let is_switch = self.declared.has_node() && before.peer == accepted.peer && before.key != accepted.key;
        is_switch.then_some(before.key)
    }

    /// A copy of what is remembered now: several lists, so look under the lock where many bindings are looked at.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.lock().clone()
    }

    /// Notes that the store is to be told of it; says whether that is news.
    pub(super) fn mark_dirty(&self) -> bool {
        !self.is_dirty.swap(true, Ordering::AcqRel)
    }

    /// Takes [`Binding::mark_dirty`] back, before its memory is looked at.
    pub(super) fn clean(&self) {
        self.is_dirty.store(false, Ordering::Release);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

// === impl Declared ===

impl Declared {
    const NONE: u16 = u16::MAX;

    fn new(texts: [Option<&str>; 3]) -> Self {
        // No id is nearly as long; one that were, out of a damaged store, is none.
        let texts = texts.map(|text| text.filter(|text| text.len() < usize::from(Self::NONE)));
        let length = |text: &str| u16::try_from(text.len()).unwrap_or(Self::NONE);
        Self { all: texts.into_iter().flatten().collect(), lengths: texts.map(|text| text.map_or(Self::NONE, length)) }
    }

    fn texts(&self) -> [Option<&str>; 3] {
        let mut rest = &*self.all;
        self.lengths.map(|length| {
            let (text, behind) = rest.split_at_checked(usize::from(length)).filter(|_| length != Self::NONE)?;
            rest = behind;
            Some(text)
        })
    }

    fn is(&self, texts: [Option<&str>; 3]) -> bool {
        let mut rest = self.all.as_bytes();
        texts.into_iter().zip(self.lengths).all(|(text, length)| {
            let Some(text) = text else { return length == Self::NONE };
            let begins = usize::from(length) == text.len() && rest.starts_with(text.as_bytes());
            rest = rest.get(text.len()..).unwrap_or_default();
            begins
        })
    }

    fn has_workflow(&self) -> bool {
        let [_, workflow, _] = self.lengths;
        workflow != Self::NONE
    }

    fn has_node(&self) -> bool {
        let [.., node] = self.lengths;
        node != Self::NONE
    }
}

// === impl Memory ===

impl Memory {
    /// The start of the last sighting.
    #[must_use]
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.uses.iter().map(|used| used.last).max()
    }

    /// How it used that key, or none.
    #[must_use]
    pub fn of_key(&self, key: Option<Fingerprint>) -> Option<&KeyUse> {
        self.uses.iter().find(|used| used.fingerprint() == key)
    }

    /// When you said of it that it is dead, or that its incident is dealt with. That holds until it asks again.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<Timestamp> {
        self.acknowledged.filter(|at| self.latest.is_none_or(|latest| latest.at <= *at))
    }

    /// Whether uses of keys wait to be taken over as evidence.
    pub(super) fn hands_on(&self) -> bool {
        self.unsaved.gathered.as_ref().is_some_and(|gathered| !gathered.sent.is_empty())
    }

    /// Adds what a store remembers from before. Nothing of it is to be told.
    pub(super) fn absorb(&mut self, before: Self) {
        for stored in before.uses {
            let key = stored.fingerprint();
            if let Some(used) = self.uses.iter_mut().find(|used| used.fingerprint() == key) {
                used.absorb(stored);
            } else if self.uses.len() < KEYS_PER_BINDING {
                self.add_use(stored);
            }
        }
        self.other_keys += before.other_keys;
        self.accepted =
            [before.accepted, self.accepted.take()].into_iter().flatten().max_by_key(|accepted| accepted.at);
        self.name = self.name.take().or(before.name);
        self.client_version = self.client_version.take().or(before.client_version);
        let live = std::mem::replace(&mut self.visits, before.visits);
        self.visits.merge(&live);
        self.latest = [before.latest, self.latest].into_iter().flatten().max_by_key(|latest| latest.at);
        self.well = self.well.max(before.well);
        self.acknowledged = self.acknowledged.max(before.acknowledged);
        let live = std::mem::replace(&mut self.retrying, before.retrying);
        self.retrying.merge(&live);
        self.absorb_incident(before.incident);
    }

    /// An incident that was open before goes on with what was seen since, unless that closed it.
    fn absorb_incident(&mut self, before: Option<Box<Incident>>) {
        let Some(before) = before else { return };
        match (self.incident.take(), self.well.filter(|well| *well > before.last)) {
            (Some(live), None) => self.incident = Some(Box::new(before.joined_by(*live))),
            (None, None) => self.incident = Some(before),
            (live, Some(at)) => {
                self.incident = live;
                let closed = Some(Closed { at, by: Closing::GoodSighting.into(), execution: None });
                self.unsaved.gathered().closed.push((Incident { closed, ..*before }, 0));
            }
        }
    }

    /// Closes the incident where time or the ring has closed it; says whether it did.
    pub(super) fn close_by_itself(&mut self, binding: &Binding, ring: &KeyRing, now: Timestamp) -> bool {
        let Some(incident) = &self.incident else { return false };
        let is_good_again = incident::is_of_standing(incident.diagnosis)
            && incident.key.is_some_and(|key| ring.is_good(binding.set, key.fingerprint));
        let is_silent = binding.is_untagged() && now > incident.last.after(incident::silence(self.visits.rhythm()));
        let by = match (is_good_again, is_silent) {
            _ if !ring.is_configured(binding.set) => Closing::SetRemoved,
            (true, _) => Closing::KeyIsGoodAgain,
            (false, true) => Closing::Silence,
            (false, false) => return false,
        };
        self.close(Closed { at: now, by: by.into(), execution: None });
        true
    }

    fn sight(&mut self, seen: &Seen<'_>, binding: &Binding) {
        let finding = Finding::of(seen);
        let bearing = bearing::bearing(seen.diagnosis, seen.outcome);
        self.count(seen, finding);
        if seen.told.is_none() {
            self.tally(Hour::of(seen, binding.set));
        }
        self.hand_on(seen, binding);
        keep(&mut self.name, seen.name);
        keep(&mut self.client_version, seen.client_version);
        if seen.destination.counts(bearing) && matches!(binding.holder, Holder::Caller | Holder::Agent) {
            if seen.told.is_none() {
                self.visits.add(seen.at, seen.execution);
                self.unsaved.visited = true;
            }
            let counts = self.judge(seen, bearing, finding, binding.id);
            if counts && self.latest.is_none_or(|latest| latest.at <= seen.at) {
                let key = seen.key.map(|names| names.fingerprint);
                self.latest = Some(Latest { at: seen.at, key, finding });
            }
        }
    }

    /// On the use of its key.
    fn count(&mut self, seen: &Seen<'_>, finding: Finding) {
        let key = seen.key.map(|names| names.fingerprint);
        if let Some(used) = self.uses.iter_mut().find(|used| used.fingerprint() == key) {
            used.add(seen, finding);
        } else if seen.told.is_some() {
            // It was counted, and its key forgotten since or never told apart.
        } else if self.uses.len() < KEYS_PER_BINDING {
            self.add_use(KeyUse::new(seen, finding));
        } else {
            self.other_keys += 1;
            self.unsaved.other_keys = self.unsaved.other_keys.saturating_add(1);
        }
    }

    /// Adds what it did not know. Most bindings send one or two keys in their life, so that there is no room in advance.
    pub(super) fn add_use(&mut self, used: KeyUse) {
        let mut all = std::mem::take(&mut self.uses).into_vec();
        all.reserve_exact(1);
        all.push(used);
        self.uses = all.into_boxed_slice();
    }

    /// Forgets keys that were last sent before.
    pub(super) fn forget_uses(&mut self, before: Timestamp) {
        let is_old = |used: &KeyUse| used.last < before && used.unsaved == 0;
        if self.uses.iter().any(is_old) {
            let mut uses = std::mem::take(&mut self.uses).into_vec();
            uses.retain(|used| !is_old(used));
            self.uses = uses.into_boxed_slice();
        }
    }

    fn tally(&mut self, kind: Hour) {
        let gathered = self.unsaved.gathered();
        if let Some(tally) = gathered.tallies.iter_mut().find(|tally| tally.kind == kind) {
            tally.exchanges += 1;
        } else if gathered.tallies.len() < TALLIES {
            gathered.tallies.reserve_exact(1);
            gathered.tallies.push(Tally { kind, exchanges: 1 });
        } else {
            gathered.lost += 1;
        }
    }

    /// Hands a use of a key on, as evidence. A key of no set is evidence only if upstream took it.
    fn hand_on(&mut self, seen: &Seen<'_>, binding: &Binding) {
        let Some(names) = seen.key else { return };
        let accepted = seen.destination.counts(Bearing::Good) && !seen.was_refused && seen.outcome.is_accepted();
        let is_of_no_set = matches!(seen.verdict, Verdict::Unknown(_)) && !accepted;
        if is_of_no_set || !seen.destination.counts(Bearing::Bad) {
            return;
        }
        let is_previous = matches!(seen.verdict, Verdict::Outdated(_));
        // What its binding was told of is counted.
        let outdated = u32::from(is_previous && seen.told.is_none());
        let sent = &mut self.unsaved.gathered().sent;
        let execution = seen.execution.map(Execution::of);
        let is_full = sent.len() >= SENT;
        let is_same = |sent: &&mut Sent| {
            sent.key == names.fingerprint && sent.peer == seen.peer && (sent.execution == execution || is_full)
        };
        // An older one may be there twice: both are taken over.
        let looked_at = if is_full { SENT } else { RECENTLY_SENT };
        if let Some(known) = sent.iter_mut().rev().take(looked_at).find(is_same) {
            (known.first, known.last) = (known.first.min(seen.at), known.last.max(seen.at));
            known.accepted |= accepted && known.execution == execution;
            known.outdated = known.outdated.saturating_add(outdated);
            return;
        }
        let endpoint = if binding.is_untagged() { sent::endpoint(seen.path) } else { "other" };
        let (key, peer, at) = (names.fingerprint, seen.peer, seen.at);
        sent.push(Sent { key, peer, execution, first: at, last: at, accepted, is_previous, outdated, endpoint });
    }

    /// What it means for the incident: see [`super::incident`]. Says whether it tells how the binding is now: a retry that
    /// began before the fix does not.
    fn judge(&mut self, seen: &Seen<'_>, bearing: Bearing, finding: Finding, id: BindingId) -> bool {
        match (bearing, seen.told) {
            (Bearing::None, _) => {}
            (Bearing::Good, _) => self.mend(seen),
            (Bearing::Bad, Some(Bearing::Bad)) => self.revise(seen, finding),
            // It was well when it began, and is so no longer.
            (Bearing::Bad, Some(Bearing::Good)) if self.well == Some(seen.at) => self.worsen(seen, finding, id),
            (Bearing::Bad, _) if self.well.is_some_and(|well| seen.at <= well) || self.is_retry(seen) => return false,
            (Bearing::Bad, _) => self.worsen(seen, finding, id),
        }
        true
    }

    /// Tells more of a bad sighting that was counted.
    fn revise(&mut self, seen: &Seen<'_>, finding: Finding) {
        if let Some(incident) = self.incident.as_mut().filter(|incident| incident.last == seen.at) {
            incident.revise(finding);
        }
    }

    /// Closes the incident, if all that was bad started before.
    fn mend(&mut self, seen: &Seen<'_>) {
        self.well = self.well.max(Some(seen.at));
        if self.incident.as_ref().is_some_and(|incident| incident.last < seen.at) {
            self.close(Closed {
                at: seen.at,
                by: Closing::GoodSighting.into(),
                execution: seen.execution.map(Box::from),
            });
            // One that was bad and is good now does not go on with what it began with.
            seen.execution.inspect(|mended| self.retrying.remove(mended));
        }
    }

    /// Whether it is of an execution that was seen bad before the incident closed.
    fn is_retry(&self, seen: &Seen<'_>) -> bool {
        self.incident.is_none() && seen.execution.is_some_and(|execution| self.retrying.knows(execution))
    }

    /// Opens an incident, or has it go on.
    fn worsen(&mut self, seen: &Seen<'_>, finding: Finding, id: BindingId) {
        if self.incident.is_none() {
            self.retrying = Retrying::default();
        }
        seen.execution.inspect(|execution| self.retrying.add(execution));
        self.unsaved.bad_sightings = self.unsaved.bad_sightings.saturating_add(1);
        match &mut self.incident {
            Some(incident) => incident.add(seen, finding),
            None => self.incident = Some(Box::new(Incident::open(seen, finding, id))),
        }
    }

    /// Ends the open incident, if there is one, and hands it to the ledger's thread to be stored.
    pub(super) fn close(&mut self, closed: Closed) {
        let Some(incident) = self.incident.take() else { return };
        self.well = self.well.max(Some(closed.at));
        let added = std::mem::take(&mut self.unsaved.bad_sightings);
        let gathered = self.unsaved.gathered();
        if gathered.closed.len() < CLOSED {
            gathered.closed.push((Incident { closed: Some(closed), ..*incident }, u64::from(added)));
        } else {
            gathered.lost += 1;
        }
    }
}

impl Unsaved {
    pub(super) fn gathered(&mut self) -> &mut Gathered {
        self.gathered.get_or_insert_default()
    }

    /// Incidents that are over and that the ledger's own thread does not know of.
    pub(super) fn closed(&self) -> &[(Incident, u64)] {
        self.gathered.as_ref().map_or(&[], |gathered| &gathered.closed)
    }
}

// === impl KeyUse ===

impl KeyUse {
    fn new(seen: &Seen<'_>, finding: Finding) -> Self {
        let (at, execution) = (seen.at, seen.execution.map(Box::from));
        let word = seen.word();
        Self {
            key: seen.key,
            first: at,
            last: at,
            sightings: 1,
            finding,
            execution,
            word,
            unsaved: 1,
            is_revised: false,
        }
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.key.map(|names| names.fingerprint)
    }

    fn absorb(&mut self, before: Self) {
        self.first = self.first.min(before.first);
        self.sightings += before.sightings;
        if before.last > self.last {
            let (first, sightings, unsaved) = (self.first, self.sightings, self.unsaved);
            *self = Self { first, sightings, unsaved, ..before };
        }
    }

    fn add(&mut self, seen: &Seen<'_>, finding: Finding) {
        self.first = self.first.min(seen.at);
        let count = u64::from(seen.told.is_none());
        self.sightings += count;
        self.unsaved += count;
        self.is_revised |= seen.told.is_some();
        if seen.at < self.last {
            return;
        }
        self.last = seen.at;
        self.finding = finding;
        self.word = seen.word().or(self.word);
        if let Some(execution) = seen.execution
            && self.execution.as_deref() != Some(execution)
        {
            self.execution = Some(execution.into());
        }
    }
}

// === impl Finding ===

/// How many keys of one binding are told apart.
pub const KEYS_PER_BINDING: usize = 16;

/// How many kinds of exchanges one binding counts between two looks of the ledger's own thread. Every kind of a working
/// binding fits; a client that sends one of everything within a quarter of a second fills it.
const TALLIES: usize = 32;

/// How many uses one binding hands on between two such looks. What goes over is joined to another one with the same key from
/// the same address.
const SENT: usize = 1024;

/// Among how many of them, the last ones, the same use is looked for, so that each costs the same.
const RECENTLY_SENT: usize = 16;

/// How many incidents one binding closes between two such looks: a flapping one closes one with every other request.
const CLOSED: usize = 64;

/// What was said last stands; most say the same again and again.
fn keep(known: &mut Option<Box<str>>, said: Option<&str>) {
    if let Some(said) = said
        && known.as_deref() != Some(said)
    {
        *known = Some(said.into());
    }
}

#[cfg(test)]
mod tests;
