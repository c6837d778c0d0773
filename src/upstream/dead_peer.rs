//! Whether upstream is still there while something is on its way to it.
//!
//! A silent connection is asked by the system ([`keep_alive`]), but not one with bytes that were sent and never acknowledged: of
//! that the system despairs after a quarter of an hour. Its setting for that (`TCP_USER_TIMEOUT`) would also give up an upstream
//! that lives and takes nothing of a body for a while, which it may do for as long as `idle_timeout`. The system knows the
//! difference: whoever lives acknowledges even that he takes nothing.
//!
//! [`keep_alive`]: crate::net::socket::keep_alive

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::net::coarse_clock::CoarseClock;

/// Looks after one connection, now and then.
pub struct Vigil {
    coarse_clock: CoarseClock,
    looked_at: u64,
}

impl Vigil {
    /// Begins now.
    #[must_use]
    pub fn new(coarse_clock: CoarseClock) -> Self {
        Self { looked_at: coarse_clock.millis(), coarse_clock }
    }

    /// The error by which the connection ends, if it is lost. To be called whenever nothing comes of it.
    pub fn look(&mut self, tcp: &TcpStream) -> Option<io::Error> {
        if !self.coarse_clock.is_past(self.looked_at, EVERY) {
            return None;
        }
        self.looked_at = self.coarse_clock.millis();
        let is_lost = unacknowledged_for(tcp).is_some_and(|silence| silence >= LIMIT);
        is_lost.then(|| io::Error::new(io::ErrorKind::TimedOut, "nothing of what was sent is acknowledged any more"))
    }
}

/// For how long the other side has said nothing at all, although it owes an acknowledgement.
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

/// Elsewhere the system has a time of its own for that.
#[cfg(not(target_os = "linux"))]
fn unacknowledged_for(_: &TcpStream) -> Option<Duration> {
    None
}

/// How often the system is asked.
const EVERY: Duration = Duration::from_secs(10);

/// How long a living side may need for an acknowledgement: with the time until the next look, as long as a silent one has for
/// an answer.
const LIMIT: Duration = Duration::from_secs(110);
