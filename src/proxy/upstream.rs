//! A worker's connections to upstream: made, kept, and looked at before they are used again.
//!
//! A connection in HTTP/1.1 has no task of its own. Whoever carries an exchange over it polls it in the same task, which
//! saves a wake-up in each direction; while it is idle nobody does, so its readiness is looked at when it is taken. One in
//! HTTP/2 carries many exchanges at once and so has a task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::Limits;
use super::client_body::ClientBody;
use super::dial::{ConnectError, Route, UpstreamStream};
use super::pulse::Pulse;
use super::stream::{Counted, Sharing};

/// The connections of one worker.
pub struct Pool {
    /// Those in HTTP/1.1 that are idle, the one used last on top.
    idle: Mutex<Vec<Owned>>,
    /// Those in HTTP/2, idle or not.
    shared: Mutex<Vec<Shared>>,
    /// All that are open, wherever they are.
    open: Arc<AtomicUsize>,
    sharing: Sharing,
    route: Route,
    limits: Limits,
    pulse: Pulse,
}

impl Pool {
    /// Empty. Connections are shared so, if upstream agrees.
    #[must_use]
    pub fn new(route: Route, sharing: Sharing, limits: Limits, pulse: Pulse) -> Self {
        Self { idle: Mutex::default(), shared: Mutex::default(), open: Arc::default(), sharing, route, limits, pulse }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many of them carry nothing.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        let shared = self.shared().iter().filter(|shared| shared.is_of_use() && shared.idle_since().is_some()).count();
        self.idle().len() + shared
    }

    /// How connections are shared, if upstream agrees.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// A connection that can take a request now and still looks alive.
    ///
    /// One that has been idle for a while first lets the runtime look at its sockets: upstream may have closed it, and
    /// the news is still in the kernel.
    pub async fn take(&self, sharing: Sharing) -> Option<Connection> {
        if sharing == Sharing::InStreams
            && let Some(place) = self.shared().iter().find_map(|shared| shared.place(&self.pulse))
        {
            return Some(Connection::Shared(place));
        }
        loop {
            let mut connection = self.idle().pop()?;
            if self.pulse.is_past(connection.idle_since, LOOK_AFTER) {
                tokio::task::yield_now().await;
            }
            if !self.is_stale(connection.idle_since) && connection.is_usable().await {
                return Some(Connection::Owned(connection));
            }
        }
    }

    /// Keeps a connection whose exchange is over.
    pub fn put(&self, connection: Connection) {
        if let Connection::Owned(mut connection) = connection {
            connection.idle_since = self.pulse.millis();
            self.idle().push(connection);
        }
    }

    /// Closes the connections that have been idle for too long: in HTTP/1.1, they lie at the bottom.
    pub fn sweep(&self) {
        let mut idle = self.idle();
        let keep = idle.iter().position(|connection| !self.is_stale(connection.idle_since)).unwrap_or(idle.len());
        idle.drain(..keep);
        self.shared()
            .retain(|shared| shared.is_of_use() && !shared.idle_since().is_some_and(|since| self.is_stale(since)));
    }

    /// Makes a new connection.
    pub async fn connect(&self, sharing: Sharing) -> Result<Connection, ConnectError> {
        let stream = self.route.connect(self.limits.connect_timeout, sharing).await?;
        match stream.sharing(sharing) {
            Sharing::InTurns => Owned::open(stream, &self.limits, Open::new(&self.open)).await.map(Connection::Owned),
            Sharing::InStreams => {
                let shared = Shared::open(stream, &self.route, &self.limits, Open::new(&self.open)).await?;
                let place = shared.take_place(&self.pulse);
                self.shared().push(shared);
                Ok(Connection::Shared(place))
            }
        }
    }

    fn is_stale(&self, idle_since: u64) -> bool {
        self.pulse.is_past(idle_since, self.limits.pool_idle_timeout)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Owned>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a connection as open, as long as it is kept.
pub struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is left of a connection on which upstream has switched to another protocol.
pub struct Switched {
    /// Its stream.
    pub stream: UpstreamStream,
    /// What upstream sent right behind its answer.
    pub early: Bytes,
    /// Counts it still.
    pub open: Open,
}

/// What carries one exchange.
pub enum Connection {
    /// A connection in HTTP/1.1, as long as the exchange lasts.
    Owned(Owned),
    /// A place on a connection in HTTP/2.
    Shared(Place),
}

impl Connection {
    /// Moves bytes in both directions, where nobody else does.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Owned(connection) => connection.drive(context),
            Self::Shared(_) => {}
        }
    }

    /// How much was read of it, in bytes; nothing where others are heard on it as well.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        match self {
            Self::Owned(connection) => connection.read.load(Ordering::Relaxed),
            Self::Shared(_) => 0,
        }
    }

    /// Words the request as that connection's protocol wants it. It may have been worded for another one before.
    pub fn address(&self, request: &mut Request<ClientBody>, host: &HeaderValue) {
        match self {
            Self::Owned(_) if request.version() == Version::HTTP_11 => {}
            Self::Owned(_) => {
                let target = request.uri().path_and_query().cloned();
                *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(header::HOST, host.clone());
            }
            Self::Shared(place) => {
                *request.uri_mut() = place.origin.with(request.uri());
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(header::HOST);
            }
        }
    }

    /// What is left where upstream has switched to another protocol: nothing of a connection in HTTP/2, which knows no such
    /// switch (RFC 9113, 8.6).
    pub async fn switch(self) -> Option<Switched> {
        let Self::Owned(mut connection) = self else { return None };
        poll_fn(|context| {
            connection.drive(context);
            if connection.has_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = connection.driver.into_parts();
        let stream = parts.io.into_inner().into_inner();
        Some(Switched { stream, early: parts.read_buf, open: connection.open })
    }
}

// === HTTP/1.1 ===

/// A connection that carries one exchange at a time.
pub struct Owned {
    /// Takes the next request.
    pub sender: http1::SendRequest<ClientBody>,
    driver: Box<http1::Connection<TokioIo<Counted<UpstreamStream>>, ClientBody>>,
    read: Arc<AtomicU64>,
    has_ended: bool,
    idle_since: u64,
    open: Open,
}

impl Owned {
    async fn open(stream: UpstreamStream, limits: &Limits, open: Open) -> Result<Self, ConnectError> {
        let (stream, read) = Counted::new(stream);
        let handshake = http1::Builder::new().max_header_size(limits.max_head).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(ConnectError::Handshake)?;
        Ok(Self { sender, driver: Box::new(driver), read, has_ended: false, idle_since: 0, open })
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = Pin::new(&mut *self.driver).poll(context).is_ready();
        }
    }

    /// Whether it can take a request now; one that is still busy with its last one will not do.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(!self.has_ended && self.sender.is_ready())
        })
        .await
    }
}

// === HTTP/2 ===

/// A connection that carries exchanges side by side.
struct Shared {
    sender: http2::SendRequest<ClientBody>,
    origin: Arc<Origin>,
    room: Arc<Room>,
}

/// How many exchanges a connection carries, and how many it may: as upstream says, and no more than it has room for where
/// none of their clients reads. One that does not read must not keep the others from what is theirs.
#[derive(Default)]
struct Room {
    taken: AtomicUsize,
    most: AtomicUsize,
    /// When the last exchange ended.
    idle_since: AtomicU64,
}

/// What every request in HTTP/2 says of upstream.
pub struct Origin {
    scheme: Scheme,
    authority: Option<Authority>,
}

/// The place of one exchange. Dropping it makes room for another.
pub struct Place {
    /// Takes the request.
    pub sender: http2::SendRequest<ClientBody>,
    origin: Arc<Origin>,
    room: Arc<Room>,
    pulse: Pulse,
}

impl Shared {
    async fn open(stream: UpstreamStream, route: &Route, limits: &Limits, open: Open) -> Result<Self, ConnectError> {
        let max_head = u32::try_from(limits.max_head).unwrap_or(u32::MAX);
        let mut protocol = http2::Builder::new(TokioExecutor::new());
        protocol
            .timer(TokioTimer::new())
            .max_header_list_size(max_head)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * MOST_PLACES)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(limits.connect_timeout);
        let handshake = protocol.handshake(TokioIo::new(stream));
        let (sender, mut driver) = handshake.await.map_err(ConnectError::Handshake)?;
        let room = Arc::new(Room::default());
        room.set_most(driver.current_max_send_streams());
        let of_driver = Arc::clone(&room);
        tokio::spawn(async move {
            let ended = poll_fn(|context| {
                let ended = Pin::new(&mut driver).poll(context);
                of_driver.set_most(driver.current_max_send_streams());
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection to upstream ended badly");
            }
            drop(open);
        });
        Ok(Self { sender, origin: Arc::new(Origin::of(route)), room })
    }

    /// A place, if there is one.
    fn place(&self, pulse: &Pulse) -> Option<Place> {
        let has_room = self.room.taken.load(Ordering::Relaxed) < self.room.most.load(Ordering::Relaxed);
        (has_room && self.is_of_use()).then(|| self.take_place(pulse))
    }

    fn take_place(&self, pulse: &Pulse) -> Place {
        self.room.taken.fetch_add(1, Ordering::Relaxed);
        Place {
            sender: self.sender.clone(),
            origin: Arc::clone(&self.origin),
            room: Arc::clone(&self.room),
            pulse: pulse.clone(),
        }
    }

    fn is_of_use(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Since when it carries nothing.
    fn idle_since(&self) -> Option<u64> {
        let is_idle = self.room.taken.load(Ordering::Relaxed) == 0;
        is_idle.then(|| self.room.idle_since.load(Ordering::Relaxed))
    }
}

impl Room {
    fn set_most(&self, of_upstream: usize) {
        self.most.store(of_upstream.min(MOST_PLACES as usize), Ordering::Relaxed);
    }
}

impl Origin {
    fn of(route: &Route) -> Self {
        let scheme = if route.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        Self { scheme, authority: route.origin.authority().parse().ok() }
    }

    /// The target, as every request in HTTP/2 names it (RFC 9113, 8.3.1).
    fn with(&self, target: &Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority.clone_from(&self.authority);
        parts.path_and_query = Some(target.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        // An upstream's authority that no URI can name would have been refused with the settings.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.idle_since.store(self.pulse.millis(), Ordering::Relaxed);
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// From this idle time on a connection is looked at twice before it is used. Below it, the runtime has seen its sockets
/// anyway.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// How long upstream may say nothing on a connection in HTTP/2 that carries something, before it is asked whether it is
/// still there.
const ASK_AFTER: Duration = Duration::from_secs(20);

/// How much of an answer may be on its way in one stream before the client takes it, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many exchanges a connection carries at most. Together they can have it hold sixteen megabytes.
const MOST_PLACES: u32 = 64;

/// How much of a body waits for upstream to take it, in bytes for each stream.
const SEND_BUFFER: usize = 64 * 1024;
