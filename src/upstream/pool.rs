//! A worker's connections to upstream: kept while they are idle, and looked at before they are used again.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;

use super::connection::Connection;
use super::dialer::Dialer;
use super::http1::Http1Connection;
use super::http2_pool::Http2Pool;
use crate::locks::lock;
use crate::net::connect::ConnectError;
use crate::net::protocol::Protocol;

/// The connections of one worker.
pub struct Pool {
    /// Those in HTTP/1.1 that are idle, the one used last on top.
    idle: Mutex<Idle>,
    /// Those in HTTP/2, idle or not.
    http2: Arc<Http2Pool>,
    protocol: Protocol,
    dialer: Arc<Dialer>,
}

impl Pool {
    /// Empty. Connections are made in that protocol, if upstream agrees.
    #[must_use]
    pub fn new(dialer: Dialer, protocol: Protocol) -> Self {
        let dialer = Arc::new(dialer);
        let http2 = Arc::new(Http2Pool::new(Arc::clone(&dialer)));
        Self { idle: Mutex::default(), http2, protocol, dialer }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.dialer.open.count()
    }

    /// How many of them carry nothing.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle().len() + self.http2.idle()
    }

    /// The protocol that connections are made in, if upstream agrees.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A connection that can take a request now and still looks alive.
    ///
    /// Before one that has been idle for a while is used, the runtime looks at its sockets: upstream may have closed it, and
    /// the runtime may not have been told yet. The same for a task that has used up its budget: it could not read from the
    /// connection any more, and would not see that it has ended.
    pub async fn take(&self, protocol: Protocol) -> Option<Connection> {
        if protocol == Protocol::Http2
            && let Some(slot) = self.http2.free()
        {
            return Some(Connection::Http2(Box::new(slot)));
        }
        loop {
            let mut connection = self.idle().pop()?;
            if self.dialer.coarse_clock.is_past(connection.idle_since, LOOK_AFTER) || !has_budget_remaining() {
                tokio::task::yield_now().await;
            }
            if !self.is_stale(connection.idle_since) && connection.is_usable() {
                return Some(Connection::Http1(connection));
            }
        }
    }

    /// Keeps a connection whose exchange is over, if it may carry another.
    pub fn put(&self, connection: Connection) {
        match connection {
            Connection::Http1(connection) if !connection.may_be_kept() => {}
            Connection::Http1(mut connection) => {
                connection.idle_since = self.dialer.coarse_clock.millis();
                self.idle().push(connection);
            }
            Connection::Http2(slot) => slot.put_back(),
        }
    }

    /// Closes the connections that have been idle for too long: in HTTP/1.1, they lie at the bottom.
    pub fn sweep(&self) {
        let mut idle = self.idle();
        let keep = idle.iter().position(|connection| !self.is_stale(connection.idle_since)).unwrap_or(idle.len());
        idle.drain(..keep);
        self.http2.sweep(|since| self.is_stale(since));
    }

    /// A new connection, or a stream on one.
    pub async fn connect(&self, protocol: Protocol) -> Result<Connection, Arc<ConnectError>> {
        match protocol {
            Protocol::Http1 => self.dialer.dial_alone().await.map(Connection::Http1).map_err(Arc::new),
            Protocol::Http2 => self.http2.wait_for_one().await,
        }
    }

    fn is_stale(&self, idle_since: u64) -> bool {
        self.dialer.coarse_clock.is_past(idle_since, self.dialer.limits.pool_idle_timeout)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        lock(&self.idle)
    }
}

/// In a box each, so that only the box moves when a connection is passed on with its exchange.
type Idle = Vec<Box<Http1Connection>>;

/// From this idle time on a connection is looked at twice before it is used. Below it, the runtime has seen its sockets
/// anyway.
const LOOK_AFTER: Duration = Duration::from_millis(500);
