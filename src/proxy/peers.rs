//! How many clients come from where: one that takes every place would leave none for the others.

use std::net::{IpAddr, Ipv6Addr};

use dashmap::DashMap;

/// The peers that have clients here.
#[derive(Default)]
pub struct Peers(DashMap<Peer, usize>);

/// Somebody who can have many connections: an IPv4 address, or an IPv6 network of 64 bits, which is what one person has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl Peer {
    /// Who has that address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) => Self(Ipv6Addr::from(u128::from(address) >> 64 << 64).into()),
        }
    }
}

impl Peers {
    /// Counts one more client of that peer, unless that would be more than `most`.
    #[must_use]
    pub fn come(&self, peer: Peer, most: usize) -> bool {
        let mut clients = self.0.entry(peer).or_default();
        let has_room = *clients < most;
        *clients += usize::from(has_room);
        has_room
    }

    /// Counts one less.
    pub fn leave(&self, peer: Peer) {
        self.0.remove_if_mut(&peer, |_, clients| {
            *clients -= 1;
            *clients == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_as_many_clients_as_it_may_and_others_do_not_count() {
        let peers = Peers::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|address| Peer::of(address.parse().expect("an address")));
        assert_eq!([one, one, one, other].map(|peer| peers.come(peer, 2)), [true, true, false, true]);
        peers.leave(one);
        assert!(peers.come(one, 2));
        for peer in [one, one, other] {
            peers.leave(peer);
        }
        assert!(peers.0.is_empty(), "nothing is kept of those who have left");
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
