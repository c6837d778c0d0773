//! What keyward remembers of its callers: the live bindings, the sighting that each exchange leaves on one of them, and
//! what follows from them: incidents, rhythms, the view of a rotation.
//!
//! Memory is the truth, and the only thing that is ever asked ([`query`]). A store ([`store`], [`sqlite`]) is its copy on
//! disk: read once at start, and told of changes by a thread of its own ([`writer`]) every quarter of a second. So nothing
//! that goes wrong with the store reaches a request, or an answer to whoever asks.

pub mod binding;
pub mod closed;
pub mod destination;
pub mod hours;
pub mod incident;
pub mod names;
pub mod offline;
pub mod query;
pub mod recent;
pub mod rhythm;
pub mod rotation;
pub mod sighting;
pub mod sqlite;
pub mod store;
pub mod writer;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use self::binding::{Accepted, Binding, Identity, Seen, Tally};
use self::closed::{ClosedIncident, ClosedIncidents};
use self::hours::Hours;
use self::incident::Incident;
use self::recent::Recent;
use self::store::{Limits, Remembered};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::history::History;
use crate::keys::set::{KeyRing, SetIndex};

/// All live bindings. Bounded per set and peer, and in all: whoever makes up workflow ids fills only a share of it.
pub struct Ledger {
    bindings: DashMap<u64, Arc<Binding>, PassThrough>,
    /// How many bindings each peer has begun in each set.
    shares: DashMap<(SetIndex, IpAddr), usize>,
    hash: RandomState,
    bounds: Bounds,
    overflowed: AtomicU64,
    /// The sets' names, by position.
    sets: Arc<[Arc<str>]>,
    inbox: Inbox,
    past: Mutex<Past>,
    /// The last exchanges of executions.
    pub recent: Recent,
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

    fn take(&self) -> Vec<Arc<Binding>> {
        std::mem::take(&mut self.content().dirty)
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
        let (content, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if content.dirty.is_empty() {
            return content.is_closing;
        }
        let left = company.saturating_sub(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
        let waited = self.came.wait_timeout_while(content, left, |content| !content.is_closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bindings are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In one set from one peer.
    pub per_peer: usize,
    /// In all.
    pub total: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { per_peer: 5_000, total: 50_000 }
    }
}

impl Ledger {
    /// Empty, for the sets of those names.
    #[must_use]
    pub fn new(bounds: Bounds, sets: Arc<[Arc<str>]>) -> Self {
        Self {
            bindings: DashMap::with_hasher(PassThrough),
            shares: DashMap::new(),
            hash: RandomState::new(),
            bounds,
            overflowed: AtomicU64::new(0),
            sets,
            inbox: Inbox::default(),
            past: Mutex::default(),
            recent: Recent::default(),
        }
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

    /// Takes down an exchange that ended. Never waits: a short lock of the binding alone, and another one, once in a
    /// quarter of a second, to have the ledger's own thread look at it.
    pub fn sight(&self, binding: &Arc<Binding>, seen: &Seen<'_>) {
        binding.sight(seen);
        self.soil(binding);
    }

    /// Notes that upstream accepted a key: see [`Binding::accept`].
    pub fn accept(&self, binding: &Arc<Binding>, accepted: Accepted) -> Option<Fingerprint> {
        let before = binding.accept(accepted);
        self.soil(binding);
        before
    }

    /// Notes that somebody said of a binding that it is dead, or that its incident is dealt with. Closes the incident.
    /// Holds until the binding is seen again.
    pub fn acknowledge(&self, binding: &Arc<Binding>, now: Timestamp) {
        binding.acknowledge(now);
        self.soil(binding);
    }

    /// How many bindings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether nobody was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// How many sightings were counted under `other`.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Every binding, as they lie in memory: whoever looks through them all finds the next one at hand, where the order of
    /// their hashes would have the processor wait for each.
    #[must_use]
    pub fn bindings(&self) -> Vec<Arc<Binding>> {
        let mut bindings: Vec<_> = self.bindings.iter().map(|entry| Arc::clone(&entry)).collect();
        bindings.sort_unstable_by_key(Arc::as_ptr);
        bindings
    }

    /// The sets' names, by position.
    #[must_use]
    pub fn sets(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.sets)
    }

    /// The name of that set.
    #[must_use]
    pub fn set_name(&self, set: SetIndex) -> &str {
        self.sets.get(set.position()).map_or("", |name| &**name)
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

    fn soil(&self, binding: &Arc<Binding>) {
        if binding.soil() {
            self.inbox.put(Arc::clone(binding));
        }
    }

    fn name_of(&self, set: SetIndex) -> Arc<str> {
        self.sets.get(set.position()).map_or_else(|| "".into(), Arc::clone)
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
        let mut by_id = HashMap::new();
        for stored in remembered.bindings {
            let Some(set) = self.find_set(&stored.set) else { continue };
            let (id, binding) = (stored.id, self.binding(&stored.identity(set)));
            // Where there was no room, the set's binding `other` must not take over what is somebody's own.
            if binding.id() == id {
                binding.lock().absorb(stored.memory);
                by_id.insert(id, binding);
            }
        }
        let mut past = self.past();
        for (id, incident) in remembered.closed {
            if let Some(binding) = by_id.get(&id) {
                past.closed.add(ClosedIncident { binding: Arc::clone(binding), incident });
            }
        }
        for (set, stored) in remembered.hours {
            if let Some(hour) = self.find_set(&set).and_then(|set| stored.hour(set)) {
                past.hours.add(hour, stored.exchanges);
            }
        }
        remembered.history
    }

    /// Forgets what is old, and closes incidents that time or the ring has closed.
    fn sweep(&self, limits: Limits, ring: &KeyRing, now: Timestamp) {
        {
            let mut past = self.past();
            past.hours.forget_before(limits.before);
            past.closed.forget_before(limits.before);
        }
        let all: Vec<_> = self.bindings.iter().map(|entry| (*entry.key(), Arc::clone(&entry))).collect();
        for (key, binding) in all {
            let (closed, is_over) = {
                let mut memory = binding.lock();
                memory.forget_uses(limits.before);
                (memory.close_by_itself(&binding, ring, now), memory.uses.is_empty() || limits.cover(&memory))
            };
            if closed {
                self.soil(&binding);
            }
            // Two hold it here: the map, and this loop. Whoever else does is about to add to it.
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
        SetIndex::nth(self.sets.iter().position(|set| &**set == name)?)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
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
        let new = || Arc::new(Binding::new(identity, self.set_name(identity.set)));
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
