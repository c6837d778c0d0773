//! Detects a dead peer: ends an upstream connection whose sent bytes stay unacknowledged.
//!
//! The system probes a silent connection ([`keep_alive`]), but not one with bytes that were sent and never acknowledged: that
//! one it gives up after a quarter of an hour. Its setting for that (`TCP_USER_TIMEOUT`) would also give up an upstream that
//! is alive and takes nothing of a body for a while, which it may do for as long as `idle_timeout`. The system can tell them
//! apart: a peer that is alive acknowledges even that its window is closed.
//!
//! [`keep_alive`]: crate::net::socket::keep_alive

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::net::coarse_clock::CoarseClock;

/// Checks one connection, now and then.
pub struct DeadPeerCheck {
    coarse_clock: CoarseClock,
    checked_at: u64,
}

impl DeadPeerCheck {
    /// The first check is due one interval from now.
    #[must_use]
    pub fn new(coarse_clock: CoarseClock) -> Self {
        Self { checked_at: coarse_clock.millis(), coarse_clock }
    }

    /// The error by which the connection ends, if its peer is dead. To be called whenever nothing can be read.
    pub fn check(&mut self, tcp: &TcpStream) -> Option<io::Error> {
        if !self.coarse_clock.is_past(self.checked_at, EVERY) {
            return None;
        }
        self.checked_at = self.coarse_clock.millis();
        let is_lost = unacknowledged_for(tcp).is_some_and(|silence| silence >= LIMIT);
        is_lost.then(|| io::Error::new(io::ErrorKind::TimedOut, "nothing of what was sent is acknowledged any more"))
    }
}

/// For how long nothing has come from the peer, although it has to acknowledge something.
#[cfg(target_os = "linux")]
fn unacknowledged_for(tcp: &TcpStream) -> Option<Duration> {
    use std::mem::{MaybeUninit, size_of};
    use std::os::fd::AsRawFd;

    let mut facts = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    #[expect(unsafe_code, reason = "no crate of this tree has that question to the system in a safe form")]
    // SAFETY: the descriptor is open as long as the stream is borrowed, and the system writes no more than `size` bytes of
    // plain numbers, for which all zeros are good as well.
    let facts = unsafe {
        let asked = libc::getsockopt(
            tcp.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            facts.as_mut_ptr().cast(),
            &raw mut size,
        );
        if asked != 0 {
            return None;
        }
        facts.assume_init()
    };
    let owes = facts.tcpi_unacked > 0 || facts.tcpi_probes > 0;
    owes.then(|| Duration::from_millis(facts.tcpi_last_ack_recv.into()))
}

/// Other systems have a time limit of their own.
#[cfg(not(target_os = "linux"))]
fn unacknowledged_for(_: &TcpStream) -> Option<Duration> {
    None
}

/// How often the system is asked.
const EVERY: Duration = Duration::from_secs(10);

/// How long a living side may need for an acknowledgement: with the time until the next check, as long as a silent peer has for
/// its answer to a probe.
const LIMIT: Duration = Duration::from_secs(110);
