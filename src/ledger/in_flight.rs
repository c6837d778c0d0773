//! How many exchanges are open that carry a key, or whose client sent one and keyward put another in its place: so that an old
//! key is not said to be unused while one still runs.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::keys::fingerprint::Fingerprint;

/// Two counts for each key, in a fixed table: how many are open, in the lower half of a number, and how many have begun, in
/// the upper half. Two keys may share a place, so that a key can look as if it were in use when it is not, and never the
/// other way round.
#[derive(Debug)]
pub struct InFlight {
    places: [AtomicU64; PLACES],
    /// Another number for each process: what is counted begins anew with it.
    process: u64,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { places: [const { AtomicU64::new(0) }; PLACES], process: RandomState::new().hash_one(()) }
    }
}

impl InFlight {
    /// Counts an exchange that carries that key upstream.
    pub fn begin(&self, key: Fingerprint) {
        self.place(key).fetch_add(BEGUN + 1, Ordering::Relaxed);
    }

    /// Counts an exchange no longer that [`InFlight::begin`] counted. Those to whom it is not open any more see what was
    /// noted of it before.
    pub fn end(&self, key: Fingerprint) {
        self.place(key).fetch_sub(1, Ordering::Release);
    }

    /// A number for the exchanges that may be open with that key, which is another one as soon as one more begins. Nothing
    /// where none is open.
    #[must_use]
    pub fn open(&self, key: Fingerprint) -> Option<u64> {
        let counts = self.place(key).load(Ordering::Acquire);
        let (open, begun) = (counts & (BEGUN - 1), counts >> 32);
        (open > 0).then_some(self.process ^ begun)
    }

    fn place(&self, key: Fingerprint) -> &AtomicU64 {
        &self.places[usize::from(key.spread()) % PLACES]
    }
}

/// A power of two, so that finding a place is one step.
const PLACES: usize = 2048;

/// One in the upper half of a number.
const BEGUN: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;

    #[test]
    fn a_key_is_in_flight_until_its_last_exchange_has_ended() {
        let (table, maker) = (InFlight::default(), FingerprintKey::new(&[7; 32]));
        let [one, other] = [b"one", b"two"].map(|key| maker.fingerprint(key));
        table.begin(one);
        table.begin(one);
        table.end(one);
        let open = table.open(one);
        assert!(open.is_some() && table.open(other).is_none());
        table.begin(one);
        assert_ne!(table.open(one), open, "another one has begun");
        table.end(one);
        table.end(one);
        assert_eq!(table.open(one), None);
        table.begin(one);
        assert_ne!(table.open(one), InFlight::default().open(one), "each process counts by itself");
    }
}
