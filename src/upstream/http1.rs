//! A connection to upstream in HTTP/1.1, which carries one exchange at a time.
//!
//! It has no task of its own. Whoever carries an exchange over it polls it in the same task, which saves a wake-up in each
//! direction; while it is idle nobody does, so its readiness is looked at when it is taken.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::open_connections::{OpenConnection, OpenConnections};
use super::request_body::ClientBody;
use super::upstream_io::{Count, Heard};
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::{ConnectError, UpstreamStream};

/// A connection that carries one exchange at a time.
pub struct Owned {
    /// Takes the next request.
    pub sender: http1::SendRequest<ClientBody>,
    driver: http1::Connection<TokioIo<Heard>, ClientBody>,
    count: Arc<Count>,
    has_ended: bool,
    /// When its last exchange ended.
    pub idle_since: u64,
    open: OpenConnection,
}

impl Owned {
    /// Begins HTTP/1.1 on that stream.
    pub async fn open(
        stream: UpstreamStream,
        max_head: usize,
        coarse_clock: &CoarseClock,
        open: &OpenConnections,
    ) -> Result<Box<Self>, ConnectError> {
        let (stream, count) = Heard::new(stream, coarse_clock.clone());
        let handshake = http1::Builder::new().max_header_size(max_head).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(ConnectError::Handshake)?;
        let open = open.note();
        Ok(Box::new(Self { sender, driver, count, has_ended: false, idle_since: 0, open }))
    }

    /// Moves bytes in both directions.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = Pin::new(&mut self.driver).poll(context).is_ready();
        }
    }

    /// How much was read of it.
    #[must_use]
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// What is left where upstream has switched to another protocol.
    pub async fn switch(mut self: Box<Self>) -> Switched {
        poll_fn(|context| {
            self.drive(context);
            if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.driver.into_parts();
        let stream = parts.io.into_inner().into_inner();
        Switched { stream, early: parts.read_buf, open: self.open }
    }

    /// Whether it can take a request now; one that is still busy with its last one will not do, nor one that ends, of which
    /// the news is still to be read. Whoever takes it drives it at once, so it wakes nobody before.
    pub fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready() && !self.count.is_deaf()
    }
}

/// What is left of a connection on which upstream has switched to another protocol.
pub struct Switched {
    /// Its stream.
    pub stream: UpstreamStream,
    /// What upstream sent right behind its answer.
    pub early: Bytes,
    /// Counts it still.
    pub open: OpenConnection,
}
