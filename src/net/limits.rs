//! Pure. The time and size limits of clients, exchanges and connections to upstream.

use std::time::Duration;

/// The limits of an exchange. There is no limit for the whole of it: a long answer is not a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to upstream, TLS included.
    pub connect_timeout: Duration,
    /// How long upstream may be silent before the head of its answer.
    pub answer_timeout: Duration,
    /// How long a body may stand still while upstream has the word: it sends nothing of an answer, or takes nothing.
    pub idle_timeout: Duration,
    /// How long a client may take for the head of its next request, the wait before it included.
    pub client_idle_timeout: Duration,
    /// How long a client may stand still while it has the word: it sends nothing of its body, or takes nothing of an answer.
    /// While keyward drains, it is [`Limits::stall_while_draining`].
    pub client_stall_timeout: Duration,
    /// How long an unused connection to upstream is kept: below upstream's own limit.
    pub pool_idle_timeout: Duration,
    /// How long open exchanges may go on after the signal to stop.
    pub drain_timeout: Duration,
    /// The largest head of a request or of an answer, in bytes.
    pub max_head: usize,
    /// How many client connections may be open at once, together with requests in HTTP/2.
    pub max_connections: usize,
    /// How many of them one peer may have: an IPv4 address, or an IPv6 network of 64 bits.
    pub max_connections_per_peer: usize,
}

impl Limits {
    /// How long a client may stand still once all clients are asked to leave: it must not use up the time of the others.
    #[must_use]
    pub fn stall_while_draining(&self) -> Duration {
        self.client_stall_timeout.min(self.drain_timeout / 4)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_hours(2),
            idle_timeout: Duration::from_hours(2),
            client_idle_timeout: Duration::from_secs(75),
            client_stall_timeout: Duration::from_mins(2),
            pool_idle_timeout: Duration::from_secs(50),
            drain_timeout: Duration::from_secs(30),
            max_head: 64 * 1024,
            max_connections: 10_000,
            max_connections_per_peer: 5_000,
        }
    }
}
