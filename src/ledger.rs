//! What keyward remembers of its callers: the live bindings, the sighting that each exchange leaves on one of them, and
//! what follows from them: incidents, rhythms, the view of a rotation.
//!
//! Memory is the truth, and the only thing that is ever asked ([`query`]). A store ([`store`], [`sqlite`]) is its copy on
//! disk: read once at start, and told of changes by a thread of its own ([`writer`]) every quarter of a second. So nothing
//! that goes wrong with the store reaches a request, or what is asked for.

pub mod answer;
pub mod bar_kind;
pub mod bearing;
pub mod binding;
pub mod closed;
pub mod destination;
pub mod doubt_kind;
pub mod evidence;
pub mod expiries;
pub mod expiry;
pub mod hours;
pub mod identity;
pub mod in_flight;
pub mod incident;
pub mod kept_notices;
pub mod look;
pub mod names;
pub mod offline;
pub mod old_key;
pub mod press;
pub mod progress;
pub mod projects;
pub mod proof;
pub mod query;
pub mod recent;
pub mod rhythm;
pub mod rotation;
pub mod rotation_grounds;
pub mod rotation_row;
pub mod seen;
pub mod senders;
pub mod sent;
pub mod set_keys;
pub mod sighting;
pub mod span;
pub mod sqlite;
pub mod standing;
pub mod store;
pub mod writer;

use self::store::Bounds;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use self::binding::{Accepted, Binding, Gathered, KeyUse, Tally};
use self::closed::{ClosedIncident, ClosedIncidents};
use self::expiries::Expiries;
use self::hours::Hours;
use self::identity::{BindingId, Identity};
use self::in_flight::InFlight;
use self::incident::Incident;
use self::look::Look;
use self::press::Presses;
use self::projects::Projects;
use self::recent::Recent;
use self::seen::Seen;
use self::senders::{Acceptance, Candidate, RecordName, Senders};
use self::sent::Sent;
use self::store::{Limits, Remembered, RememberedBinding, StoredHour, UnknownInStore};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::history::History;
use crate::keys::set::{KeyRing, SetIndex};
use crate::locks::{despite_panics, lock};

/// All live bindings. Bounded per set and peer, and in all: a client that makes up workflow ids fills only a share of it.
pub struct Ledger {
    bindings: DashMap<u64, Arc<Binding>, PassThrough>,
    /// How many bindings each peer has begun in each set.
    shares: DashMap<(SetIndex, IpAddr), usize>,
    hash: RandomState,
    bounds: Bounds,
    overflowed: AtomicU64,
    /// Grows with each change that is no exchange, and each time that exchanges are taken over.
    changes: AtomicU64,
    /// The sets' names, by position.
    sets: ArcSwap<Vec<Arc<str>>>,
    inbox: Inbox,
    past: Mutex<Past>,
    /// Who sent which key from where, for each set. Never locked on a request's way.
    senders: Mutex<Vec<Senders>>,
    n8ns: Mutex<N8ns>,
    rotation: ArcSwap<proof::Settings>,
    /// The last exchanges of executions.
    pub recent: Recent,
    /// The keys that open exchanges carry upstream.
    pub in_flight: InFlight,
    /// Which project each key belongs to.
    pub projects: Projects,
    /// What OpenAI says of keys.
    pub expiries: Expiries,
    /// The presses of n8n's tests.
    pub presses: Arc<Presses>,
}

/// The n8n that are configured, and what was found there last.
#[derive(Default)]
struct N8ns {
    configured: Vec<Configured>,
    looks: BTreeMap<Box<str>, Arc<Look>>,
}

/// An n8n that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    pub name: Box<str>,
    /// The set that its credentials belong to; where nothing is said, they may belong to each.
    pub set: Option<Box<str>>,
}

/// What is remembered beside the bindings.
#[derive(Default)]
struct Past {
    hours: Hours,
    closed: ClosedIncidents,
}

/// Bindings with something that the ledger's own thread has not looked at.
#[derive(Default)]
struct Inbox {
    content: Mutex<Content>,
    came: Condvar,
}

#[derive(Default)]
struct Content {
    dirty: Vec<Arc<Binding>>,
    /// Whether the thread looks at some that it has taken out.
    is_taken: bool,
    is_closing: bool,
}

impl Inbox {
    /// Wakes the thread with the first one. The others find it waiting for company.
    fn put(&self, binding: Arc<Binding>) {
        let is_first = {
            let mut content = self.content();
            content.dirty.push(binding);
            content.dirty.len() == 1
        };
        if is_first {
            self.came.notify_one();
        }
    }

    /// Takes all of them out, until [`Inbox::has_looked`].
    fn take(&self) -> Vec<Arc<Binding>> {
        let mut content = self.content();
        content.is_taken = true;
        std::mem::take(&mut content.dirty)
    }

    fn has_looked(&self) {
        self.content().is_taken = false;
    }

    /// Whether there is nothing to be looked at, and nothing is.
    fn is_at_rest(&self) -> bool {
        let content = self.content();
        content.dirty.is_empty() && !content.is_taken
    }

    fn close(&self) {
        self.content().is_closing = true;
        self.came.notify_one();
    }

    /// Waits for something to come, at most as long as the first span, and then for company: until the second one has
    /// passed since that came, or where it was there already, since the thread `looked` last. Says whether it is closing.
    fn wait_for_company(&self, idle: Duration, company: Duration, looked: Instant) -> bool {
        let content = self.content();
        let is_quiet = |content: &mut Content| content.dirty.is_empty() && !content.is_closing;
        let begun = if content.dirty.is_empty() { None } else { Some(looked) };
        let waited = self.came.wait_timeout_while(content, idle, is_quiet);
        let (content, _) = despite_panics(waited);
        if content.dirty.is_empty() {
            return content.is_closing;
        }
        let left = company.saturating_sub(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
        let waited = self.came.wait_timeout_while(content, left, |content| !content.is_closing);
        despite_panics(waited).0.is_closing
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        lock(&self.content)
    }
}

impl Configured {
    fn is_of(&self, set: &str) -> bool {
        self.set.as_deref().is_none_or(|own| own == set)
    }
}

impl Ledger {
    /// Empty, for the sets of those names.
    #[must_use]
    pub fn new(bounds: Bounds, sets: Vec<Arc<str>>) -> Self {
        let senders = sets.iter().map(|_| Senders::default()).collect();
        Self {
            bindings: DashMap::with_hasher(PassThrough),
            shares: DashMap::new(),
            hash: RandomState::new(),
            bounds,
            overflowed: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            sets: ArcSwap::from_pointee(sets),
            inbox: Inbox::default(),
            past: Mutex::default(),
            senders: Mutex::new(senders),
            n8ns: Mutex::default(),
            rotation: ArcSwap::default(),
            recent: Recent::default(),
            in_flight: InFlight::default(),
            projects: Projects::default(),
            expiries: Expiries::default(),
            presses: Arc::default(),
        }
    }

    /// With those settings for rotations, and those n8n, which are to be looked through.
    #[must_use]
    pub fn with_rotation(self, settings: proof::Settings, configured: Vec<Configured>) -> Self {
        self.configure(settings, configured);
        self
    }

    /// Takes those settings for rotations from now on, and those n8n, which are to be looked through.
    pub fn configure(&self, settings: proof::Settings, configured: Vec<Configured>) {
        self.rotation.store(Arc::new(settings));
        {
            let mut n8ns = self.n8ns();
            n8ns.looks.retain(|name, _| configured.iter().any(|one| one.name == *name));
            n8ns.configured = configured;
        }
        self.note_change();
    }

    /// Makes room for those sets, by position. The ones of before have to stand first among them, as they stood: else nothing is
    /// done, which is said.
    #[must_use]
    pub fn make_room(&self, sets: Vec<Arc<str>>) -> bool {
        let mut senders = self.senders();
        let may = sets.starts_with(&self.sets.load());
        if may {
            senders.resize_with(sets.len(), Senders::default);
            self.sets.store(Arc::new(sets));
        }
        drop(senders);
        self.note_change();
        may
    }

    /// What you said about rotations.
    #[must_use]
    pub fn rotation_settings(&self) -> Arc<proof::Settings> {
        self.rotation.load_full()
    }

    /// A number that is another one after anything was recorded. Nothing while exchanges are recorded: then it is not known.
    /// Costs an exchange nothing.
    #[must_use]
    pub fn changes(&self) -> Option<u64> {
        // Read first: what is put in and taken out in between counts.
        let changes = self.changes.load(Ordering::Acquire);
        self.inbox.is_at_rest().then_some(changes)
    }

    fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Looks at the bindings that were not looked at yet.
    fn take_dirty(&self, look: impl FnMut(Arc<Binding>)) {
        let dirty = self.inbox.take();
        let are_any = !dirty.is_empty();
        dirty.into_iter().for_each(look);
        if are_any {
            self.note_change();
        }
        self.inbox.has_looked();
    }

    /// Takes in that an n8n was looked through: what waited for that is decided on.
    pub fn look_came(&self, look: &Arc<Look>) {
        self.n8ns().looks.insert(look.instance.clone(), Arc::clone(look));
        self.settle();
        self.note_change();
    }

    /// Takes in which record of an n8n has, since that change of it, a key that keyward itself put in.
    pub fn key_was_written(&self, n8n: &str, record: &str, changed: Timestamp) {
        let name = RecordName { n8n: n8n.into(), id: record.into() };
        self.senders().iter_mut().for_each(|senders| senders.note_written(&name, changed));
        self.note_change();
    }

    /// The last look through each n8n.
    #[must_use]
    pub fn looks(&self) -> Vec<Arc<Look>> {
        self.n8ns().looks.values().map(Arc::clone).collect()
    }

    /// The last look through each n8n whose credentials may belong to that set.
    #[must_use]
    pub fn looks_of(&self, set: SetIndex) -> Vec<Arc<Look>> {
        let (n8ns, name) = (self.n8ns(), self.set_name(set));
        let of_set = n8ns.configured.iter().filter(|one| one.is_of(&name));
        of_set.filter_map(|one| n8ns.looks.get(&one.name)).map(Arc::clone).collect()
    }

    /// Looks at the evidence of all sets, in their order.
    pub fn with_senders<T>(&self, look: impl FnOnce(&[Senders]) -> T) -> T {
        look(&self.senders())
    }

    /// Accepts what bears that number in a set, or takes that back; says whether there was something to take back.
    pub fn accept_bar(&self, set: SetIndex, number: u32, acceptance: Option<Acceptance>) -> bool {
        let changed = match (self.senders().get_mut(set.position()), acceptance) {
            (Some(senders), Some(acceptance)) => {
                senders.accept(number, acceptance);
                true
            }
            (Some(senders), None) => senders.withdraw(number),
            (None, _) => false,
        };
        self.note_change();
        self.inbox.came.notify_one();
        changed
    }

    /// Decides on the uses that wait for a look, as far as that can be done.
    fn settle(&self) {
        let (configured, looks) = {
            let n8ns = self.n8ns();
            (n8ns.configured.clone(), n8ns.looks.clone())
        };
        for (senders, set) in self.senders().iter_mut().zip(self.sets().iter()) {
            let of_set = configured.iter().filter(|one| one.is_of(set));
            let candidate = |one: &'_ Configured| (one.name.clone(), looks.get(&one.name).map(Arc::clone));
            let candidates: Vec<_> = of_set.map(candidate).collect();
            let candidates: Vec<_> =
                candidates.iter().map(|(name, look)| Candidate { name, look: look.as_deref() }).collect();
            senders.settle(&candidates);
        }
    }

    /// As [`Ledger::settle`], where no n8n is configured, so that nothing comes that could be waited for.
    fn settle_alone(&self) {
        if self.n8ns().configured.is_empty() {
            self.settle();
        }
    }

    /// Rows of evidence that the store has not been told of, with the name of their set.
    fn take_evidence(&self, most: usize) -> Vec<(Arc<str>, evidence::Stored)> {
        let mut rows = Vec::new();
        for (senders, set) in self.senders().iter_mut().zip(self.sets().iter()) {
            let left = most.saturating_sub(rows.len());
            rows.extend(senders.take_changed(left).into_iter().map(|row| (Arc::clone(set), row)));
        }
        rows
    }

    fn untell_evidence(&self) {
        self.senders().iter_mut().for_each(Senders::untell);
    }

    /// Takes over as evidence what the bindings have handed on and is not looked at yet, so that an answer knows of it.
    fn take_all_sent(&self) {
        let dirty = self.inbox.content().dirty.clone();
        for binding in dirty {
            let sent = binding.lock().unsaved.gathered.as_mut().map(|gathered| std::mem::take(&mut gathered.sent));
            self.take_sent(&binding, sent.unwrap_or_default());
        }
        self.settle_alone();
    }

    /// Notes what the clock shows, so that it is noticed when it is put back.
    pub fn tell_time(&self, now: Timestamp) {
        self.senders().iter_mut().for_each(|senders| senders.tell_time(now));
    }

    /// Takes over what the bindings have gathered: for a ledger that has no writer.
    pub fn take_in(&self) {
        self.take_dirty(|binding| drop(self.take_gathered(&binding)));
        self.settle_alone();
    }

    /// Takes over what a binding has gathered.
    fn take_gathered(&self, binding: &Arc<Binding>) -> Gathered {
        // Before the look: what comes during it makes the binding dirty again.
        binding.clean();
        let mut gathered = binding.lock().unsaved.gathered.take().unwrap_or_default();
        self.take_sent(binding, std::mem::take(&mut gathered.sent));
        self.keep_past(binding, &gathered.closed, &gathered.tallies);
        *gathered
    }

    /// Takes over the uses of keys that a binding has handed on.
    fn take_sent(&self, binding: &Arc<Binding>, sent: Vec<Sent>) {
        if sent.is_empty() {
            return;
        }
        if let Some(senders) = self.senders().get_mut(binding.set().position()) {
            senders.take(binding, sent);
        }
    }

    fn senders(&self) -> MutexGuard<'_, Vec<Senders>> {
        lock(&self.senders)
    }

    fn n8ns(&self) -> MutexGuard<'_, N8ns> {
        lock(&self.n8ns)
    }

    /// The binding of `identity`; where there is no room for a new one, the set's binding `other`.
    #[must_use]
    pub fn binding(&self, identity: &Identity<'_>) -> Arc<Binding> {
        let mut id = self.hash.hash_one(identity);
        // Two identities of one hash live side by side: the second moves on by one.
        while let Some(found) = self.bindings.get(&id) {
            if found.is(identity) {
                return Arc::clone(&found);
            }
            id = id.wrapping_add(1);
        }
        if self.has_room(identity) { self.begin(id, identity) } else { self.overflow(identity.set) }
    }

    /// A binding that is kept nowhere, for a request that shows nothing of its caller.
    #[must_use]
    pub fn unkept(&self, identity: &Identity<'_>) -> Binding {
        Binding::new(identity, &self.set_name(identity.set))
    }

    /// Takes down an exchange that ended. Never waits: a short lock of the binding alone, and another one, once in a
    /// quarter of a second, to have the ledger's own thread look at it.
    pub fn sight(&self, binding: &Arc<Binding>, seen: &Seen<'_>) {
        binding.sight(seen);
        self.mark_dirty(binding);
    }

    /// Notes that upstream accepted a key: see [`Binding::accept`].
    pub fn accept(&self, binding: &Arc<Binding>, accepted: Accepted) -> Option<Fingerprint> {
        let before = binding.accept(accepted);
        self.mark_dirty(binding);
        before
    }

    /// Notes that you said of a binding that it is dead, or that its incident is dealt with. Closes the incident.
    /// Holds until the binding is seen again.
    pub fn acknowledge(&self, binding: &Arc<Binding>, now: Timestamp) {
        binding.acknowledge(now);
        self.mark_dirty(binding);
    }

    /// How many bindings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether no binding was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// How many sightings were counted under `other`.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Every binding, as they lie in memory: a walk through them all finds the next one at hand, where the order of
    /// their hashes would have the processor wait for each.
    #[must_use]
    pub fn bindings(&self) -> Vec<Arc<Binding>> {
        let mut bindings: Vec<_> = self.bindings.iter().map(|entry| Arc::clone(&entry)).collect();
        bindings.sort_unstable_by_key(Arc::as_ptr);
        bindings
    }

    /// The sets' names, by position.
    #[must_use]
    pub fn sets(&self) -> Arc<Vec<Arc<str>>> {
        self.sets.load_full()
    }

    /// The name of that set.
    #[must_use]
    pub fn set_name(&self, set: SetIndex) -> Arc<str> {
        self.sets.load().get(set.position()).map_or_else(|| "".into(), Arc::clone)
    }

    /// Looks at the exchanges by the hour.
    pub fn with_hours<T>(&self, look: impl FnOnce(&Hours) -> T) -> T {
        look(&self.past().hours)
    }

    /// Incidents that are over, the one that closed last first; bounded, the oldest are forgotten.
    #[must_use]
    pub fn closed_incidents(&self) -> Vec<ClosedIncident> {
        self.past().closed.iter().rev().cloned().collect()
    }

    /// Forgets a binding that was begun for an exchange, where nothing of that is remembered.
    pub fn forget_unused(&self, binding: &Arc<Binding>) {
        let mut key = self.hash.hash_one(binding.identity());
        while let Some(found) = self.bindings.get(&key).map(|found| Arc::clone(&found)) {
            if Arc::ptr_eq(&found, binding) {
                drop(found);
                let is_unused = {
                    let memory = binding.lock();
                    memory.uses.is_empty() && memory.latest.is_none()
                };
                // Two hold it here, as in `sweep`, which comes later for those that a connection holds as well.
                if is_unused && self.bindings.remove_if(&key, |_, held| Arc::strong_count(held) == 2).is_some() {
                    self.free(binding);
                }
                return;
            }
            key = key.wrapping_add(1);
        }
    }

    fn mark_dirty(&self, binding: &Arc<Binding>) {
        if binding.mark_dirty() {
            self.inbox.put(Arc::clone(binding));
        }
    }

    /// Takes over what a binding has gathered of the past.
    fn keep_past(&self, binding: &Arc<Binding>, closed: &[(Incident, u64)], tallies: &[Tally]) {
        let mut past = self.past();
        for tally in tallies {
            past.hours.add(tally.kind, tally.exchanges);
        }
        for (incident, _) in closed {
            past.closed.add(ClosedIncident { binding: Arc::clone(binding), incident: incident.clone() });
        }
    }

    /// Takes in what a store remembers, and gives what it remembers of the sets' keys. What is of a set that is no longer
    /// there stays where it is.
    fn absorb(&self, remembered: Remembered) -> History {
        self.know_sets(&remembered);
        for UnknownInStore { what, code, instead } in remembered.unknown {
            tracing::warn!(
                event = "store",
                code,
                "the {what} in the store is `{code}`, which a later keyward may have written and this one does not know: \
                 {instead}"
            );
        }
        self.absorb_bindings(remembered.bindings, remembered.closed, remembered.hours);
        self.absorb_evidence(remembered.evidence);
        self.projects.recall(remembered.projects);
        self.expiries.recall(remembered.expiries);
        self.note_change();
        remembered.history
    }

    /// Makes room for the sets that are configured no longer, and that a store remembers: what it knows of who sent which key there may
    /// bar a key of another set. The ring learns of them by [`crate::keys::reloader::Reloader::know_sets`].
    fn know_sets(&self, remembered: &Remembered) {
        let mut sets = Vec::clone(&self.sets.load());
        let of_bindings = remembered.bindings.iter().map(|binding| &*binding.set);
        for name in of_bindings.chain(remembered.evidence.iter().map(|(set, _)| &**set)) {
            if !sets.iter().any(|set| **set == *name) {
                sets.push(name.into());
            }
        }
        let _ = self.make_room(sets);
    }

    fn absorb_bindings(
        &self,
        bindings: Vec<RememberedBinding>,
        closed: Vec<(BindingId, Incident)>,
        hours: Vec<(Box<str>, StoredHour)>,
    ) {
        let mut by_id = HashMap::new();
        for stored in bindings {
            let Some(set) = self.find_set(&stored.set) else { continue };
            let (id, binding) = (stored.id, self.binding(&stored.identity(set)));
            // Where there was no room, the set's binding `other` must not take over what is a caller's own.
            if binding.id() == id {
                binding.lock().absorb(stored.memory);
                by_id.insert(id, binding);
            }
        }
        let mut past = self.past();
        for (id, incident) in closed {
            if let Some(binding) = by_id.get(&id) {
                past.closed.add(ClosedIncident { binding: Arc::clone(binding), incident });
            }
        }
        for (set, stored) in hours {
            if let Some(set) = self.find_set(&set) {
                past.hours.add(stored.hour(set), stored.exchanges);
            }
        }
    }

    /// Takes in the evidence that a store remembers. A row that cannot be read is told, since it may be the one that matters.
    fn absorb_evidence(&self, rows: Vec<(Box<str>, evidence::Stored)>) {
        let bindings: HashMap<_, _> = self.bindings().into_iter().map(|binding| (binding.id(), binding)).collect();
        if rows.is_empty() {
            for binding in bindings.values() {
                self.seed_evidence(binding);
            }
        }
        let mut by_set: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (set, row) in rows {
            if let Some(set) = self.find_set(&set) {
                by_set.entry(set.position()).or_default().push(row);
            }
        }
        for (position, rows) in by_set {
            let unread = self.senders().get_mut(position).map(|senders| senders.absorb(rows, &bindings));
            for row in unread.into_iter().flatten() {
                tracing::warn!(event = "store", "evidence of the store cannot be read, and is left out: {row}");
            }
        }
    }

    /// What a binding of an earlier keyward's store remembers becomes evidence.
    fn seed_evidence(&self, binding: &Arc<Binding>) {
        let span = |used: &KeyUse| used.key.map(|key| (key.fingerprint, used.first, used.last));
        let spans: Vec<_> = binding.lock().uses.iter().filter_map(span).collect();
        let only = match &self.n8ns().configured[..] {
            [only] => only.name.clone(),
            [] | [_, ..] => Box::default(),
        };
        if let Some(senders) = self.senders().get_mut(binding.set().position()) {
            senders.seed(binding, &spans, &only);
        }
    }

    /// Forgets what is old, and closes incidents that time or the ring has closed.
    fn sweep(&self, limits: Limits, ring: &KeyRing, now: Timestamp) {
        let kept = ring.previous_alive();
        let is_kept = |key: Fingerprint, last: Timestamp| last >= limits.before || kept.binary_search(&key).is_ok();
        let evidence: HashSet<BindingId> = {
            let mut senders = self.senders();
            senders.iter_mut().for_each(|senders| senders.keep_only(is_kept));
            senders.iter().flat_map(|senders| senders.holds(&kept)).collect()
        };
        {
            let mut past = self.past();
            past.hours.forget_before(limits.before);
            past.closed.forget_before(limits.before);
        }
        let all: Vec<_> = self.bindings.iter().map(|entry| (*entry.key(), Arc::clone(&entry))).collect();
        self.note_change();
        for (key, binding) in all {
            let (closed, is_over) = {
                let mut memory = binding.lock();
                memory.forget_uses(limits.before);
                let holds = evidence.contains(&binding.id());
                (
                    memory.close_by_itself(&binding, ring, now),
                    !holds && (memory.uses.is_empty() || limits.cover(&memory)),
                )
            };
            if closed {
                self.mark_dirty(&binding);
            }
            // Two hold it here: the map, and this loop. Another holder is about to add to it.
            if is_over && self.bindings.remove_if(&key, |_, held| Arc::strong_count(held) == 2).is_some() {
                self.free(&binding);
            }
        }
    }

    /// Gives the room of a binding back to its peer.
    fn free(&self, binding: &Binding) {
        let identity = binding.identity();
        if let Some(mut share) = self.shares.get_mut(&(identity.set, identity.peer)) {
            *share = share.saturating_sub(1);
        }
        self.shares.remove_if(&(identity.set, identity.peer), |_, share| *share == 0);
    }

    fn find_set(&self, name: &str) -> Option<SetIndex> {
        SetIndex::nth(self.sets.load().iter().position(|set| &**set == name)?)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        lock(&self.past)
    }

    fn has_room(&self, identity: &Identity<'_>) -> bool {
        if self.bindings.len() >= self.bounds.total {
            return false;
        }
        let mut share = self.shares.entry((identity.set, identity.peer)).or_default();
        let has_room = *share < self.bounds.per_peer;
        *share += usize::from(has_room);
        has_room
    }

    fn begin(&self, id: u64, identity: &Identity<'_>) -> Arc<Binding> {
        // Another worker may have begun the same binding since the look-up; then that one counts.
        let new = || Arc::new(Binding::new(identity, &self.set_name(identity.set)));
        let entry = self.bindings.entry(id).or_insert_with(new);
        Arc::clone(&entry)
    }

    fn overflow(&self, set: SetIndex) -> Arc<Binding> {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        let other = Identity::other(set);
        self.begin(self.hash.hash_one(other), &other)
    }
}

/// The keys of the map are hashes already.
#[derive(Clone, Copy, Default)]
struct PassThrough;

impl BuildHasher for PassThrough {
    type Hasher = PassedThrough;

    fn build_hasher(&self) -> PassedThrough {
        PassedThrough(0)
    }
}

struct PassedThrough(u64);

impl std::hash::Hasher for PassedThrough {
    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
