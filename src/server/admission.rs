//! Who may connect, and how many connections an address may have: the same for all workers.

use std::net::IpAddr;

use super::handshake::Handshake;
use crate::net::limits::Limits;
use crate::net::peer_limit::{Peer, PeerLimit};

/// Who may connect, and how many connections there are.
pub struct Admission {
    /// How a connection begins.
    pub handshake: Handshake,
    peers: PeerLimit,
    limits: Limits,
}

impl Admission {
    /// No connection counts yet. `limits` say how many there may be, in all and from one address.
    #[must_use]
    pub fn new(handshake: Handshake, limits: Limits) -> Self {
        Self { handshake, peers: PeerLimit::default(), limits }
    }

    /// Whether there are as many connections as there may be.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.peers.total() >= self.limits.max_connections
    }

    /// Counts one more connection from that address, unless it has as many as it may have.
    #[must_use]
    pub fn admit(&self, peer: IpAddr) -> bool {
        self.peers.add(Peer::of(peer), self.most_connections(peer))
    }

    /// Counts one connection of that peer less, when it has ended.
    pub fn release(&self, peer: Peer) {
        self.peers.remove(peer);
    }

    /// A load balancer speaks for others, so it may have any number.
    fn most_connections(&self, peer: IpAddr) -> usize {
        if self.handshake.is_balancer(peer) { usize::MAX } else { self.limits.max_connections_per_peer }
    }
}
