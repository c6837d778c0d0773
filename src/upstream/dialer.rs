//! Makes connections to upstream in the protocol that it agrees on, and counts them.

use std::sync::Arc;

use super::http1::Http1Connection;
use super::http2::Http2Connection;
use super::open_connections::OpenConnections;
use crate::metrics::Shard;
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::{ConnectError, Connector, Deadline, UpstreamStream};
use crate::net::limits::Limits;
use crate::net::protocol::Protocol;

/// Makes connections, and counts them.
pub struct Dialer {
    /// How to reach upstream.
    pub connector: Connector,
    /// How long it may take, and how large heads may be.
    pub limits: Limits,
    /// What they are counted by.
    pub counters: Arc<Shard>,
    /// The clock for time limits.
    pub coarse_clock: CoarseClock,
    /// How many of them are open, wherever they are.
    pub open: OpenConnections,
}

/// A new connection, in the protocol that upstream agreed on.
pub enum NewConnection {
    Http1(Box<Http1Connection>),
    Http2(Http2Connection),
}

impl Dialer {
    /// A connection in HTTP/1.1, whatever else upstream speaks.
    pub async fn dial_alone(&self) -> Result<Box<Http1Connection>, ConnectError> {
        let dialing = async {
            let deadline = Deadline::after(self.limits.connect_timeout);
            Ok(self.alone(self.connector.connect(deadline, Protocol::Http1).await?))
        };
        self.count(dialing.await)
    }

    /// A connection in HTTP/2, if upstream agrees.
    pub async fn dial(&self) -> Result<NewConnection, ConnectError> {
        let dialing = async {
            let deadline = Deadline::after(self.limits.connect_timeout);
            let stream = self.connector.connect(deadline, Protocol::Http2).await?;
            match stream.protocol(Protocol::Http2) {
                Protocol::Http1 => Ok(NewConnection::Http1(self.alone(stream))),
                Protocol::Http2 => {
                    let opening = Http2Connection::open(stream, &self.connector, deadline, &self.limits, &self.open);
                    opening.await.map(NewConnection::Http2)
                }
            }
        };
        self.count(dialing.await)
    }

    /// Upstream's name or address, without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.connector.origin.host
    }

    fn alone(&self, stream: UpstreamStream) -> Box<Http1Connection> {
        Http1Connection::new(stream, self.limits.max_head, &self.coarse_clock, &self.open)
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
