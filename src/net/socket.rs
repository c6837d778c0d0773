//! Options of a TCP socket: how the system finds out that the other side is gone.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Has the system ask the other side now and then whether it is still there, so that a machine that vanished without a word
/// does not hold an exchange for as long as a living one may be silent. What is said of a listener holds for its connections
/// as well, at no cost for each of them.
pub fn keep_alive<'s>(socket: impl Into<SockRef<'s>>) {
    let asking = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_AGAIN).with_retries(ASK_TIMES);
    // A failure costs time alone, and only where a peer vanishes.
    let _ = socket.into().set_tcp_keepalive(&asking);
}

/// Has the system give clients up that acknowledge nothing of what was sent to them for that long, though at least for as long
/// as a silent one is given. While something is on its way to them, they are not asked whether they are still there.
#[cfg(target_os = "linux")]
pub fn give_up_after<'s>(listener: impl Into<SockRef<'s>>, limit: Duration) {
    let limit = limit.max(ASK_AFTER + ASK_AGAIN * ASK_TIMES);
    let _ = listener.into().set_tcp_user_timeout(Some(limit));
}

/// Elsewhere the system has a time of its own for that.
#[cfg(not(target_os = "linux"))]
pub fn give_up_after<'s>(_: impl Into<SockRef<'s>>, _: Duration) {}

/// How long a connection is silent before the other side is asked.
const ASK_AFTER: Duration = Duration::from_mins(1);

/// How long it has for an answer, before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// How often it is asked before it counts as gone.
const ASK_TIMES: u32 = 4;
