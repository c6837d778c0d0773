//! A worker's connections to upstream: made, kept, and looked at before they are used again.
//!
//! A connection in HTTP/1.1 has no task of its own. Whoever carries an exchange over it polls it in the same task, which
//! saves a wake-up in each direction; while it is idle nobody does, so its readiness is looked at when it is taken. One in
//! HTTP/2 carries many exchanges at once and so has a task: [`super::places`].

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::coop::has_budget_remaining;

use super::client_body::ClientBody;
use super::dial::{ConnectError, Deadline, Route, UpstreamStream};
use super::frames::MOST_BEFORE_ANSWER;
use super::heard::{Count, Heard};
use super::limits::Limits;
use super::places::{Place, Places, Shared};
use super::protocol::Sharing;
use super::pulse::Pulse;
use crate::metrics::Shard;

/// The connections of one worker.
pub struct Pool {
    /// Those in HTTP/1.1 that are idle, the one used last on top.
    idle: Mutex<Idle>,
    /// Those in HTTP/2, idle or not.
    places: Arc<Places>,
    sharing: Sharing,
    dialer: Arc<Dialer>,
}

impl Pool {
    /// Empty. Connections are shared so, if upstream agrees.
    #[must_use]
    pub fn new(dialer: Dialer, sharing: Sharing) -> Self {
        let dialer = Arc::new(dialer);
        let places = Arc::new(Places::new(Arc::clone(&dialer)));
        Self { idle: Mutex::default(), places, sharing, dialer }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.dialer.open.load(Ordering::Relaxed)
    }

    /// How many of them carry nothing.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle().len() + self.places.idle()
    }

    /// How connections are shared, if upstream agrees.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// A connection that can take a request now and still looks alive.
    ///
    /// One that has been idle for a while first lets the runtime look at its sockets: upstream may have closed it, and
    /// the news is still in the kernel. So does a task that has used up its turn: the connection could be looked at no more,
    /// and if it ended before its next turn, it would keep a request that it never took.
    pub async fn take(&self, sharing: Sharing) -> Option<Connection> {
        if sharing == Sharing::InStreams
            && let Some(place) = self.places.free()
        {
            return Some(Connection::Shared(Box::new(place)));
        }
        loop {
            let mut connection = self.idle().pop()?;
            if self.dialer.pulse.is_past(connection.idle_since, LOOK_AFTER) || !has_budget_remaining() {
                tokio::task::yield_now().await;
            }
            if !self.is_stale(connection.idle_since) && connection.is_usable() {
                return Some(Connection::Owned(connection));
            }
        }
    }

    /// Keeps a connection whose exchange is over.
    pub fn put(&self, connection: Connection) {
        match connection {
            Connection::Owned(mut connection) => {
                connection.idle_since = self.dialer.pulse.millis();
                self.idle().push(connection);
            }
            Connection::Shared(place) => place.put_back(),
        }
    }

    /// Closes the connections that have been idle for too long: in HTTP/1.1, they lie at the bottom.
    pub fn sweep(&self) {
        let mut idle = self.idle();
        let keep = idle.iter().position(|connection| !self.is_stale(connection.idle_since)).unwrap_or(idle.len());
        idle.drain(..keep);
        self.places.sweep(|since| self.is_stale(since));
    }

    /// A new connection, or a place on one.
    pub async fn connect(&self, sharing: Sharing) -> Result<Connection, Arc<ConnectError>> {
        match sharing {
            Sharing::InTurns => self.dialer.dial_alone().await.map(Connection::Owned).map_err(Arc::new),
            Sharing::InStreams => self.places.wait_for_one().await,
        }
    }

    fn is_stale(&self, idle_since: u64) -> bool {
        self.dialer.pulse.is_past(idle_since, self.dialer.limits.pool_idle_timeout)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a box each, which is all that moves where one is handed about with its exchange.
type Idle = Vec<Box<Owned>>;

/// Makes connections, and counts them.
pub struct Dialer {
    /// How to reach upstream.
    pub route: Route,
    /// How long it may take, and how large heads may be.
    pub limits: Limits,
    /// What they are counted by.
    pub counters: Arc<Shard>,
    /// What tells how long something has been silent.
    pub pulse: Pulse,
    /// How many of them are open, wherever they are.
    pub open: Arc<AtomicUsize>,
}

/// A new connection, in the protocol that upstream agreed on.
pub enum Dialed {
    /// In HTTP/1.1.
    Owned(Box<Owned>),
    /// In HTTP/2.
    Shared(Shared),
}

impl Dialer {
    /// A connection in HTTP/1.1.
    pub async fn dial_alone(&self) -> Result<Box<Owned>, ConnectError> {
        let dialing = async {
            let deadline = Deadline::after(self.limits.connect_timeout);
            Owned::open(self.route.connect(deadline, Sharing::InTurns).await?, self).await
        };
        self.count(dialing.await)
    }

    /// A connection in HTTP/2, if upstream agrees.
    pub async fn dial(&self) -> Result<Dialed, ConnectError> {
        let dialing = async {
            let deadline = Deadline::after(self.limits.connect_timeout);
            let stream = self.route.connect(deadline, Sharing::InStreams).await?;
            match stream.sharing(Sharing::InStreams) {
                Sharing::InTurns => Owned::open(stream, self).await.map(Dialed::Owned),
                Sharing::InStreams => Shared::open(stream, self, deadline).await.map(Dialed::Shared),
            }
        };
        self.count(dialing.await)
    }

    /// Upstream's name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.route.origin.host
    }

    /// Counts one as open for as long as what this gives lasts.
    pub(super) fn note_open(&self) -> Open {
        Open::new(&self.open)
    }

    fn count<T>(&self, dialed: Result<T, ConnectError>) -> Result<T, ConnectError> {
        match &dialed {
            Ok(_) => self.counters.upstream_connections.increment(),
            Err(error) => {
                self.counters.upstream_failures.increment();
                tracing::debug!(error = error as &dyn std::error::Error, "no connection to upstream");
            }
        }
        dialed
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
    Owned(Box<Owned>),
    /// A place on a connection in HTTP/2.
    Shared(Box<Place>),
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
            Self::Owned(connection) => connection.count.read(),
            Self::Shared(_) => 0,
        }
    }

    /// Has it end where upstream sends too much before the head of its answer is whole.
    pub fn await_head(&self) {
        if let Self::Owned(connection) = self {
            connection.count.allow(Some(MOST_BEFORE_ANSWER));
        }
    }

    /// Takes [`Connection::await_head`] back: what comes from here on is a body.
    pub fn has_head(&self) {
        if let Self::Owned(connection) = self {
            connection.count.allow(None);
        }
    }

    /// Whether it ended because upstream sent so much without an answer.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        match self {
            Self::Owned(connection) => connection.count.is_over(),
            Self::Shared(place) => place.is_flooded(),
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
                request.body_mut().last_with(None);
            }
            Self::Shared(place) => {
                *request.uri_mut() = place.target(request.uri());
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(header::HOST);
                request.body_mut().last_with(Some(place.interest()));
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

// === Owned ===

/// A connection that carries one exchange at a time.
pub struct Owned {
    /// Takes the next request.
    pub sender: http1::SendRequest<ClientBody>,
    driver: http1::Connection<TokioIo<Heard>, ClientBody>,
    count: Arc<Count>,
    has_ended: bool,
    idle_since: u64,
    open: Open,
}

impl Owned {
    async fn open(stream: UpstreamStream, dialer: &Dialer) -> Result<Box<Self>, ConnectError> {
        let (stream, count) = Heard::new(stream, dialer.pulse.clone());
        let handshake = http1::Builder::new().max_header_size(dialer.limits.max_head).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(ConnectError::Handshake)?;
        let open = dialer.note_open();
        Ok(Box::new(Self { sender, driver, count, has_ended: false, idle_since: 0, open }))
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = Pin::new(&mut self.driver).poll(context).is_ready();
        }
    }

    /// Whether it can take a request now; one that is still busy with its last one will not do, nor one that ends, of which
    /// the news is still to be read. Whoever takes it drives it at once, so it wakes nobody before.
    fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready() && !self.count.is_deaf()
    }
}

/// From this idle time on a connection is looked at twice before it is used. Below it, the runtime has seen its sockets
/// anyway.
const LOOK_AFTER: Duration = Duration::from_millis(500);
