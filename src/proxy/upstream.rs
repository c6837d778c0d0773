//! A worker's connections to upstream: made, kept, and looked at before they are used again.
//!
//! A connection has no task of its own. Whoever carries an exchange over it polls it in the same task, which saves a
//! wake-up in each direction; while it is idle nobody does, so its readiness is looked at when it is taken.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::Limits;
use super::body::ClientBody;
use super::dial::{ConnectError, Route, UpstreamStream};
use super::pulse::Pulse;
use super::stream::Counted;

/// The idle connections of one worker, the one used last on top.
pub struct Pool {
    idle: Mutex<Vec<Connection>>,
    route: Route,
    limits: Limits,
    pulse: Pulse,
}

impl Pool {
    /// Empty.
    #[must_use]
    pub fn new(route: Route, limits: Limits, pulse: Pulse) -> Self {
        Self { idle: Mutex::default(), route, limits, pulse }
    }

    /// An idle connection that still looks alive.
    ///
    /// One that has been idle for a while first lets the runtime look at its sockets: upstream may have closed it, and
    /// the news is still in the kernel.
    pub async fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle().pop()?;
            if self.pulse.is_past(connection.idle_since, LOOK_AFTER) {
                tokio::task::yield_now().await;
            }
            if !self.is_stale(&connection) && connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over.
    pub fn put(&self, mut connection: Connection) {
        connection.idle_since = self.pulse.millis();
        self.idle().push(connection);
    }

    /// Closes the connections that have been idle for too long: they lie at the bottom.
    pub fn sweep(&self) {
        let mut idle = self.idle();
        let keep = idle.iter().position(|connection| !self.is_stale(connection)).unwrap_or(idle.len());
        idle.drain(..keep);
    }

    /// Makes a new connection.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let stream = self.route.connect(self.limits.connect_timeout).await?;
        let (stream, read) = Counted::new(stream);
        let (sender, driver) = http1::Builder::new()
            .max_header_size(self.limits.max_head)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Handshake)?;
        Ok(Connection { sender, driver: Box::new(driver), read, has_ended: false, idle_since: 0 })
    }

    fn is_stale(&self, connection: &Connection) -> bool {
        self.pulse.is_past(connection.idle_since, self.limits.pool_idle_timeout)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection to upstream.
pub struct Connection {
    /// Takes the next request.
    pub sender: SendRequest<ClientBody>,
    driver: Driver,
    read: Arc<AtomicU64>,
    has_ended: bool,
    idle_since: u64,
}

type Driver = Box<http1::Connection<TokioIo<Counted<UpstreamStream>>, ClientBody>>;

impl Connection {
    /// Moves bytes in both directions, until the connection has ended.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = Pin::new(&mut *self.driver).poll(context).is_ready();
        }
    }

    /// What is left of a connection on which upstream has switched to another protocol: its stream, and what upstream sent
    /// right behind its answer.
    pub async fn into_stream(mut self) -> (UpstreamStream, Bytes) {
        poll_fn(|context| {
            self.drive(context);
            if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.driver.into_parts();
        (parts.io.into_inner().into_inner(), parts.read_buf)
    }

    /// How much was read of it, in bytes.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether it can take a request now; one that is still busy with its last one will not do.
    pub async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(!self.has_ended && self.sender.is_ready())
        })
        .await
    }
}

/// From this idle time on a connection is looked at twice before it is used. Below it, the runtime has seen its sockets
/// anyway.
const LOOK_AFTER: Duration = Duration::from_millis(500);
