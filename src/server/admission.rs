//! Who may connect, and how many connections an address may have: the same for all workers.

use std::net::IpAddr;

use super::handshake::Entrance;
use crate::net::limits::Limits;
use crate::net::peer_limit::{Peer, PeerLimit};

/// How clients get in, and how many places they have taken.
pub struct Admission {
    /// How clients get in.
    pub entrance: Entrance,
    peers: PeerLimit,
    limits: Limits,
}

impl Admission {
    /// Without clients.
    #[must_use]
    pub fn new(entrance: Entrance, limits: Limits) -> Self {
        Self { entrance, peers: PeerLimit::default(), limits }
    }

    /// Whether all places are taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.peers.taken() >= self.limits.max_connections
    }

    /// Gives that address one more place, unless it has as many as it may have.
    #[must_use]
    pub fn come(&self, peer: IpAddr) -> bool {
        self.peers.come(Peer::of(peer), self.most_places(peer))
    }

    /// Takes one back.
    pub fn leave(&self, peer: Peer) {
        self.peers.leave(peer);
    }

    /// A load balancer speaks for others, so it may have any number.
    fn most_places(&self, peer: IpAddr) -> usize {
        if self.entrance.is_balancer(peer) { usize::MAX } else { self.limits.max_connections_per_peer }
    }
}
