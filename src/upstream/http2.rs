//! A connection to upstream in HTTP/2, and the slots for streams on it, one for each exchange.
//!
//! When a client leaves, its request is cancelled, and upstream sees a stream that is reset. To upstream, many of those look
//! like an attack (CVE-2023-44487), and it then ends the connection of all. So a connection on which several exchanges were
//! broken off gets no new ones: it ends with those that it has, and the next ones go over another. In HTTP/1.1 each exchange
//! that is broken off costs a connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::cancellation::{Cancellation, CancellingExecutor, StartingBody};
use super::frames::{FrameSigns, FrameWatch};
use super::open_connections::{OpenConnection, OpenConnections};
use super::request_body::RequestBody;
use crate::locks::lock;
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::{ConnectError, Connector, Deadline, UpstreamStream};
use crate::net::limits::Limits;
use crate::request_target::RequestTarget;

/// A connection that carries exchanges side by side.
pub struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    driver: Arc<Mutex<Option<Driver>>>,
    origin: Arc<Origin>,
    room: Arc<Room>,
    signs: Arc<FrameSigns>,
    starting: StartingBody,
}

type Driver = http2::Connection<TokioIo<FrameWatch<UpstreamStream>>, RequestBody, CancellingExecutor>;

/// How many exchanges a connection carries.
#[derive(Default)]
struct Room {
    taken: AtomicUsize,
    /// When the last exchange ended.
    idle_since: AtomicU64,
    /// How many did not end with a whole answer.
    broken_off: AtomicUsize,
}

/// What every request in HTTP/2 says of upstream.
struct Origin {
    scheme: Scheme,
    authority: Option<Authority>,
}

/// The slot for the stream of one exchange. Dropping it frees the slot.
pub struct StreamSlot {
    /// Takes the request.
    pub sender: http2::SendRequest<RequestBody>,
    origin: Arc<Origin>,
    room: Arc<Room>,
    signs: Arc<FrameSigns>,
    cancellation: Arc<Cancellation>,
    coarse_clock: CoarseClock,
    is_whole: bool,
}

impl Http2Connection {
    /// Begins HTTP/2 on that stream, and waits until upstream has said how many exchanges it allows.
    pub async fn open(
        stream: UpstreamStream,
        connector: &Connector,
        deadline: Deadline,
        limits: &Limits,
        open: &OpenConnections,
    ) -> Result<Self, ConnectError> {
        let host = &*connector.origin.host;
        let max_head = u32::try_from(limits.max_head).unwrap_or(u32::MAX);
        let starting = StartingBody::default();
        let mut protocol = http2::Builder::new(CancellingExecutor { starting: Arc::clone(&starting) });
        protocol
            .timer(TokioTimer::new())
            .max_header_list_size(max_head)
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * MOST_STREAMS)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(limits.connect_timeout);
        let (stream, signs) = FrameWatch::new(stream);
        let handshake = protocol.handshake(TokioIo::new(stream));
        let (sender, mut driver) = handshake.await.map_err(ConnectError::Handshake)?;
        let what = || format!("no HTTP/2 settings that allow a request from {host}");
        let ended = deadline.hold(what, end_before_room(&mut driver, &signs)).await?;
        if let Some(ended) = ended {
            ended.map_err(ConnectError::Handshake)?;
            return Err(ConnectError::Closed { host: host.into() });
        }
        let driver = Arc::new(Mutex::new(Some(driver)));
        tokio::spawn(Driving { driver: Arc::clone(&driver), _open: open.note() }.run());
        let origin = Arc::new(Origin::of(connector));
        Ok(Self { sender, driver, origin, room: Arc::default(), signs, starting })
    }

    /// A slot, if one is free.
    #[must_use]
    pub fn slot(&self, coarse_clock: &CoarseClock) -> Option<StreamSlot> {
        let has_room = self.room.taken.load(Ordering::Relaxed) < self.most();
        (has_room && self.is_of_use()).then(|| self.take_slot(coarse_clock))
    }

    fn take_slot(&self, coarse_clock: &CoarseClock) -> StreamSlot {
        self.room.taken.fetch_add(1, Ordering::Relaxed);
        StreamSlot {
            sender: self.sender.clone(),
            origin: Arc::clone(&self.origin),
            room: Arc::clone(&self.room),
            signs: Arc::clone(&self.signs),
            cancellation: Arc::new(Cancellation::new(Arc::clone(&self.starting))),
            coarse_clock: coarse_clock.clone(),
            is_whole: false,
        }
    }

    /// How many exchanges it may carry: as many as upstream allows at present, and no more than it has room for if none of
    /// their clients reads. A client that does not read must not hold up the answers of others.
    #[must_use]
    pub fn most(&self) -> usize {
        let driver = lock(&self.driver);
        driver.as_ref().map_or(0, Driver::current_max_send_streams).min(MOST_STREAMS as usize)
    }

    /// Whether it takes another exchange, as far as that is known.
    #[must_use]
    pub fn is_of_use(&self) -> bool {
        !self.sender.is_closed() && self.room.broken_off.load(Ordering::Relaxed) < MOST_BROKEN_OFF
    }

    /// Since when it carries nothing.
    #[must_use]
    pub fn idle_since(&self) -> Option<u64> {
        let is_idle = self.room.taken.load(Ordering::Relaxed) == 0;
        is_idle.then(|| self.room.idle_since.load(Ordering::Relaxed))
    }
}

/// How the connection ended, if it did before upstream gave room for a request.
async fn end_before_room(driver: &mut Driver, signs: &FrameSigns) -> Option<hyper::Result<()>> {
    while driver.current_max_send_streams() == 0 {
        tokio::select! {
            ended = &mut *driver => return Some(ended),
            () = signs.heard() => {}
        }
    }
    None
}

/// Runs a connection's driver, which is gone when it has ended: requests that it has not sent come back then.
struct Driving {
    driver: Arc<Mutex<Option<Driver>>>,
    _open: OpenConnection,
}

impl Driving {
    async fn run(self) {
        let ended = poll_fn(|context| match &mut *lock(&self.driver) {
            Some(driver) => Pin::new(driver).poll(context),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = ended.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection to upstream ended badly");
        }
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        let driver = lock(&self.driver).take();
        drop(driver);
    }
}

impl Origin {
    fn of(connector: &Connector) -> Self {
        let scheme = if connector.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        Self { scheme, authority: connector.origin.authority().parse().ok() }
    }

    /// The target, as every request in HTTP/2 names it (RFC 9113, 8.3.1).
    fn with(&self, target: &RequestTarget) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority.clone_from(&self.authority);
        parts.path_and_query = Some(target.to_path_and_query());
        // The settings refuse an upstream whose authority fits in no URI.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl StreamSlot {
    /// The target, as a request in HTTP/2 names it.
    #[must_use]
    pub fn target(&self, target: &RequestTarget) -> Uri {
        self.origin.with(target)
    }

    /// Cancels the request when the slot is freed.
    #[must_use]
    pub fn cancellation(&self) -> Arc<Cancellation> {
        Arc::clone(&self.cancellation)
    }

    /// Frees the slot of an exchange whose request and answer are whole.
    pub fn put_back(mut self) {
        self.is_whole = true;
    }

    /// Whether its connection ended because upstream sent so much without an answer.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.signs.is_flooded()
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.cancellation.cancel();
        self.room.broken_off.fetch_add(usize::from(!self.is_whole), Ordering::Relaxed);
        self.room.idle_since.store(self.coarse_clock.millis(), Ordering::Relaxed);
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long upstream may say nothing on a connection that carries something, before it is asked whether it is still there.
const ASK_AFTER: Duration = Duration::from_secs(20);

/// How much of an answer may be on its way in one stream before the client takes it, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many exchanges a connection carries at most. Together they can have it hold sixteen megabytes.
pub const MOST_STREAMS: u32 = 64;

/// Of how many exchanges a connection may be broken off before it gets no new ones: fewer than any server known to count them
/// bears (hyper's, twenty that it has not yet looked at).
const MOST_BROKEN_OFF: usize = 16;

/// How much of a body waits for upstream to take it, in bytes for each stream.
const SEND_BUFFER: usize = 64 * 1024;
