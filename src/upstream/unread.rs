//! What a client's requests leave unread: whether its connection can go on behind them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::net::coarse_clock::CoarseClock;
use crate::net::protocol::Protocol;

/// The part of a client's connection that its request's body needs: what is left unread, and the clock.
pub struct Unread {
    /// The clock of the connection's worker.
    pub coarse_clock: CoarseClock,
    protocol: Protocol,
    is_any: AtomicBool,
    is_too_much: AtomicBool,
}

impl Unread {
    /// Nothing is left unread yet.
    #[must_use]
    pub fn new(protocol: Protocol, coarse_clock: CoarseClock) -> Self {
        Self { coarse_clock, protocol, is_any: AtomicBool::default(), is_too_much: AtomicBool::default() }
    }

    /// Notes that another request came: what was unread before it has been read.
    pub fn clear(&self) {
        self.is_any.store(false, Ordering::Relaxed);
        self.is_too_much.store(false, Ordering::Relaxed);
    }

    /// Notes that a request is answered while its body is still on the way, or that much of it where that is known.
    pub fn note(&self, rest: Option<u64>) {
        if self.protocol == Protocol::Http2 {
            return;
        }
        self.is_any.store(true, Ordering::Relaxed);
        self.is_too_much.store(rest.is_none_or(|rest| rest > SKIPPED), Ordering::Relaxed);
    }

    /// Whether it is more than hyper skips, so that the connection cannot go on.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        self.is_too_much.load(Ordering::Relaxed)
    }

    /// Whether the client may still be sending when its connection ends.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }
}

/// The most of a body that hyper skips to keep a connection, in bytes: as much as it reads along with most heads. What it
/// cannot skip at once, it does not wait for.
const SKIPPED: u64 = 4096;
