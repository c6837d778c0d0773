//! Counts connections by peer, so that one peer cannot use up all of them. A connection takes one place, and over HTTP/2 each
//! request takes one more, since it costs what a connection in HTTP/1.1 does.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

/// Counts connections, and requests over HTTP/2, by peer.
#[derive(Default)]
pub struct PeerLimit {
    places: DashMap<Peer, usize>,
    total: AtomicUsize,
}

/// A client machine: an IPv4 address, or an IPv6 network of 64 bits, which is what one person has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl Peer {
    /// The peer that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) => Self(Ipv6Addr::from(u128::from(address) >> 64 << 64).into()),
        }
    }
}

impl PeerLimit {
    /// How many places are taken by all peers together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Gives that peer one more place, unless it would have more than `most`.
    #[must_use]
    pub fn add(&self, peer: Peer, most: usize) -> bool {
        let mut places = self.places.entry(peer).or_default();
        let has_room = *places < most;
        *places += usize::from(has_room);
        self.total.fetch_add(usize::from(has_room), Ordering::Relaxed);
        has_room
    }

    /// Takes a place back that [`PeerLimit::add`] gave.
    pub fn remove(&self, peer: Peer) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        self.places.remove_if_mut(&peer, |_, places| {
            *places -= 1;
            *places == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_as_many_places_as_it_may_and_others_do_not_count() {
        let peers = PeerLimit::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|address| Peer::of(address.parse().expect("an address")));
        assert_eq!([one, one, one, other].map(|peer| peers.add(peer, 2)), [true, true, false, true]);
        assert_eq!(peers.total(), 3, "who is turned away takes none");
        peers.remove(one);
        assert!(peers.add(one, 2));
        for peer in [one, one, other] {
            peers.remove(peer);
        }
        assert!(peers.places.is_empty() && peers.total() == 0, "nothing is kept of those who have left");
    }

    #[test]
    fn the_addresses_of_a_network_are_one_peer() {
        #[track_caller]
        fn check(one: &str, other: &str, is_same: bool) {
            let [one, other] = [one, other].map(|address| Peer::of(address.parse().expect("an address")));
            assert_eq!(one == other, is_same);
        }
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("10.0.0.1", "10.0.0.2", false);
    }
}
