//! What is known of a connection to the admin listener.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of a connection.
pub struct Connection {
    peer: IpAddr,
    has_token: AtomicBool,
    has_unread: AtomicBool,
}

impl Connection {
    /// From there, and nothing came by it yet.
    #[must_use]
    pub fn new(peer: IpAddr) -> Self {
        Self { peer, has_token: AtomicBool::new(false), has_unread: AtomicBool::new(false) }
    }

    /// Where the connection comes from.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Notes that a right token came, or a session: this connection does not have to make room for others.
    pub fn is_let_in(&self) {
        self.has_token.store(true, Ordering::Relaxed);
    }

    /// Whether a right token came by it, or a session.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.has_token.load(Ordering::Relaxed)
    }

    /// Notes whether the body of its last request is left unread.
    pub fn leaves_unread(&self, is_left: bool) {
        self.has_unread.store(is_left, Ordering::Relaxed);
    }

    /// Whether the body of its last request was left unread.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.has_unread.load(Ordering::Relaxed)
    }
}
