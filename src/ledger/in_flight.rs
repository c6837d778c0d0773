//! How many exchanges are open that carry a key upstream: so that an old key is not said to be unused while one still runs.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::keys::fingerprint::Fingerprint;

/// A count for each key, in a fixed table. Two keys may share a place, so that a key can look as if it were in use when it is
/// not, and never the other way round.
#[derive(Debug)]
pub struct InFlight([AtomicU32; PLACES]);

impl Default for InFlight {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; PLACES])
    }
}

impl InFlight {
    /// An exchange begins.
    pub fn begin(&self, key: Fingerprint) {
        self.place(key).fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended.
    pub fn end(&self, key: Fingerprint) {
        self.place(key).fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether an exchange may be open that carries that key.
    #[must_use]
    pub fn has(&self, key: Fingerprint) -> bool {
        self.place(key).load(Ordering::Relaxed) > 0
    }

    fn place(&self, key: Fingerprint) -> &AtomicU32 {
        &self.0[usize::from(key.spread()) % PLACES]
    }
}

/// A power of two, so that finding a place is one step.
const PLACES: usize = 4096;

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
        assert!(table.has(one) && !table.has(other));
        table.end(one);
        assert!(!table.has(one));
    }
}
