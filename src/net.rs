//! The network on both sides of keyward: sockets, TLS, and how another host is reached.
//!
//! | what | where |
//! |---|---|
//! | where to, for how long, in which protocol | [`origin`], [`limits`], [`protocol`] |
//! | a stream with or without TLS, and the options of its socket | [`stream`], [`socket`] |
//! | TLS to upstream, TLS to clients, and what is wrong with a certificate | [`client_tls`], [`server_tls`], [`certificate_error`] |
//! | a connection: to the first address that answers, or through a proxy | [`connect`], [`happy_eyeballs`], [`egress_proxy`], [`tunnel`] |
//! | time without timers, and the other side that takes nothing | [`coarse_clock`], [`write_stall`] |
//! | the end of a connection whose client is still sending | [`lingering_close`] |
//! | one request of keyward's own, and its answer | [`one_shot`] |
//! | how many connections an address may have | [`peer_limit`] |

pub mod certificate_error;
pub mod client_tls;
pub mod coarse_clock;
pub mod connect;
pub mod egress_proxy;
pub mod happy_eyeballs;
pub mod limits;
pub mod lingering_close;
pub mod one_shot;
pub mod origin;
pub mod peer_limit;
pub mod protocol;
pub mod server_tls;
pub mod socket;
pub mod stream;
pub mod tunnel;
pub mod write_stall;
