//! What keyward remembers of its callers: the live bindings, and the sighting that each exchange leaves on one of them.

pub mod binding;
pub mod sighting;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use self::binding::{Binding, Identity};
use crate::keys::set::SetIndex;

/// All live bindings. Bounded per set and peer, and in all: whoever makes up workflow ids fills only a share of it.
pub struct Ledger {
    bindings: DashMap<u64, Arc<Binding>, PassThrough>,
    /// How many bindings each peer has begun in each set.
    shares: DashMap<(SetIndex, IpAddr), usize>,
    hash: RandomState,
    bounds: Bounds,
    overflowed: AtomicU64,
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
    /// Empty.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bindings: DashMap::with_hasher(PassThrough),
            shares: DashMap::new(),
            hash: RandomState::new(),
            bounds,
            overflowed: AtomicU64::new(0),
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
        let entry = self.bindings.entry(id).or_insert_with(|| Arc::new(Binding::new(identity)));
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

    fn workflow(id: &str) -> Identity<'_> {
        Identity { workflow: Some(id), ..Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None) }
    }

    #[test]
    fn a_caller_has_one_binding_and_another_caller_another() {
        let ledger = Ledger::new(Bounds::default());
        let first = ledger.binding(&workflow("a"));
        assert!(Arc::ptr_eq(&first, &ledger.binding(&workflow("a"))));
        assert!(!Arc::ptr_eq(&first, &ledger.binding(&workflow("b"))));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn made_up_ids_fill_their_senders_share_and_are_counted_under_other() {
        let ledger = Ledger::new(Bounds { per_peer: 2, total: 4 });
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
        let ledger = Ledger::new(Bounds { per_peer: 100, total: 3 });
        for peer in 0..50 {
            let _ = ledger.binding(&Identity { peer: IpAddr::from([127, 0, 0, peer]), ..workflow("a") });
        }
        assert!(ledger.len() <= 4, "the total, and `other`: {}", ledger.len());
    }
}
