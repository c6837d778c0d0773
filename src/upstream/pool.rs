//! A worker's connections to upstream: kept while they are idle, and looked at before they are used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::coop::has_budget_remaining;

use super::connection::Connection;
use super::dialer::Dialer;
use super::http1::Owned;
use super::http2_pool::Places;
use crate::net::connect::ConnectError;
use crate::net::protocol::Protocol;

/// The connections of one worker.
pub struct Pool {
    /// Those in HTTP/1.1 that are idle, the one used last on top.
    idle: Mutex<Idle>,
    /// Those in HTTP/2, idle or not.
    places: Arc<Places>,
    protocol: Protocol,
    dialer: Arc<Dialer>,
}

impl Pool {
    /// Empty. Connections are shared so, if upstream agrees.
    #[must_use]
    pub fn new(dialer: Dialer, protocol: Protocol) -> Self {
        let dialer = Arc::new(dialer);
        let places = Arc::new(Places::new(Arc::clone(&dialer)));
        Self { idle: Mutex::default(), places, protocol, dialer }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.dialer.open.count()
    }

    /// How many of them carry nothing.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle().len() + self.places.idle()
    }

    /// How connections are shared, if upstream agrees.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A connection that can take a request now and still looks alive.
    ///
    /// One that has been idle for a while first lets the runtime look at its sockets: upstream may have closed it, and
    /// the news is still in the kernel. So does a task that has used up its turn: the connection could be looked at no more,
    /// and if it ended before its next turn, it would keep a request that it never took.
    pub async fn take(&self, protocol: Protocol) -> Option<Connection> {
        if protocol == Protocol::Http2
            && let Some(place) = self.places.free()
        {
            return Some(Connection::Shared(Box::new(place)));
        }
        loop {
            let mut connection = self.idle().pop()?;
            if self.dialer.coarse_clock.is_past(connection.idle_since, LOOK_AFTER) || !has_budget_remaining() {
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
                connection.idle_since = self.dialer.coarse_clock.millis();
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
    pub async fn connect(&self, protocol: Protocol) -> Result<Connection, Arc<ConnectError>> {
        match protocol {
            Protocol::Http1 => self.dialer.dial_alone().await.map(Connection::Owned).map_err(Arc::new),
            Protocol::Http2 => self.places.wait_for_one().await,
        }
    }

    fn is_stale(&self, idle_since: u64) -> bool {
        self.dialer.coarse_clock.is_past(idle_since, self.dialer.limits.pool_idle_timeout)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a box each, which is all that moves where one is handed about with its exchange.
type Idle = Vec<Box<Owned>>;

/// From this idle time on a connection is looked at twice before it is used. Below it, the runtime has seen its sockets
/// anyway.
const LOOK_AFTER: Duration = Duration::from_millis(500);
