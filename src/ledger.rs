//! What keyward remembers of its callers: the live bindings, the sighting that each exchange leaves on one of them, and
//! what follows from them: incidents, rhythms, the view of a rotation.
//!
//! Memory is the truth, and the only thing that is ever asked ([`query`]). A store ([`store`], [`sqlite`]) is its copy on
//! disk: read once at start, and told of changes by a thread of its own ([`writer`]) every quarter of a second. So nothing
//! that goes wrong with the store reaches a request, or an answer to whoever asks.

pub mod binding;
pub mod hours;
pub mod incident;
pub mod query;
pub mod rhythm;
pub mod rotation;
pub mod sighting;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;

use self::binding::{Binding, Identity, Seen};
use self::hours::Hours;
use self::incident::Incident;
use crate::clock::Timestamp;
use crate::keys::set::SetIndex;

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
    /// Bindings with something that the ledger's own thread has not looked at.
    dirty: Mutex<Vec<Arc<Binding>>>,
    past: Mutex<Past>,
}

/// What is remembered beside the bindings.
#[derive(Default)]
struct Past {
    hours: Hours,
    /// Closed incidents, the one that closed last at the end.
    closed: VecDeque<ClosedIncident>,
}

/// An incident that is over, and whose it was.
#[derive(Clone, Debug)]
pub struct ClosedIncident {
    /// The binding.
    pub binding: Arc<Binding>,
    /// The incident.
    pub incident: Incident,
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
            dirty: Mutex::default(),
            past: Mutex::default(),
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

    /// Every binding, in no order.
    #[must_use]
    pub fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.iter().map(|entry| Arc::clone(&entry)).collect()
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
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(binding));
        }
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
mod tests {
    use super::*;
    use crate::caller::Family;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn sets() -> Arc<[Arc<str>]> {
        ["default".into()].into()
    }

    fn workflow(id: &str) -> Identity<'_> {
        Identity { workflow: Some(id), ..Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None) }
    }

    #[test]
    fn a_caller_has_one_binding_and_another_caller_another() {
        let ledger = Ledger::new(Bounds::default(), sets());
        let first = ledger.binding(&workflow("a"));
        assert!(Arc::ptr_eq(&first, &ledger.binding(&workflow("a"))));
        assert!(!Arc::ptr_eq(&first, &ledger.binding(&workflow("b"))));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn made_up_ids_fill_their_senders_share_and_are_counted_under_other() {
        let ledger = Ledger::new(Bounds { per_peer: 2, total: 4 }, sets());
        let ids: Vec<String> = (0..10).map(|id| id.to_string()).collect();
        for id in &ids {
            let _ = ledger.binding(&workflow(id));
        }
        assert_eq!((ledger.len(), ledger.overflowed()), (3, 8), "two of their own, and `other`");
        let elsewhere = Identity { peer: IpAddr::from([127, 0, 0, 2]), ..workflow("11") };
        assert!(ledger.binding(&elsewhere).is(&elsewhere), "another peer still has room");
        assert!(ledger.binding(&workflow("0")).is(&workflow("0")), "who was seen before stays known");
    }

    #[test]
    fn the_bound_over_all_holds() {
        let ledger = Ledger::new(Bounds { per_peer: 100, total: 3 }, sets());
        for peer in 0..50 {
            let _ = ledger.binding(&Identity { peer: IpAddr::from([127, 0, 0, peer]), ..workflow("a") });
        }
        assert!(ledger.len() <= 4, "the total, and `other`: {}", ledger.len());
    }
}
