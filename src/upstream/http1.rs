//! A connection to upstream in HTTP/1.1, which carries one exchange at a time.
//!
//! It has no task of its own. The task of its exchange polls it, which saves a wake-up in each direction; while it is idle
//! no task does, so its readiness is checked when it is taken.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::open_connections::{OpenConnection, OpenConnections};
use super::request_body::RequestBody;
use super::upstream_io::{IoState, UpstreamIo};
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::{ConnectError, UpstreamStream};

/// A connection that carries one exchange at a time.
pub struct Http1Connection {
    /// Takes the next request.
    pub sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<UpstreamIo>, RequestBody>,
    state: Arc<IoState>,
    has_ended: bool,
    /// When its last exchange ended.
    pub idle_since: u64,
    open: OpenConnection,
}

impl Http1Connection {
    /// Begins HTTP/1.1 on that stream.
    pub async fn open(
        stream: UpstreamStream,
        max_head: usize,
        coarse_clock: &CoarseClock,
        open: &OpenConnections,
    ) -> Result<Box<Self>, ConnectError> {
        let (stream, state) = UpstreamIo::new(stream, coarse_clock.clone());
        let handshake = http1::Builder::new().max_header_size(max_head).handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.map_err(ConnectError::Handshake)?;
        let open = open.note();
        Ok(Box::new(Self { sender, driver, state, has_ended: false, idle_since: 0, open }))
    }

    /// Moves bytes in both directions.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if !self.has_ended {
            self.has_ended = Pin::new(&mut self.driver).poll(context).is_ready();
        }
    }

    /// How much was read of it.
    #[must_use]
    pub fn state(&self) -> &IoState {
        &self.state
    }

    /// What is left where upstream has switched to another protocol.
    pub async fn switch(mut self: Box<Self>) -> SwitchedConnection {
        poll_fn(|context| {
            self.drive(context);
            if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.driver.into_parts();
        let stream = parts.io.into_inner().into_inner();
        SwitchedConnection { stream, early: parts.read_buf, open: self.open }
    }

    /// Whether it can take a request now: its last one is over, and upstream has not closed it, which may still be to be read.
    /// The task that takes it drives it at once, so no task has to be woken before.
    pub fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready() && !self.state.is_closed_for_writing()
    }
}

/// What is left of a connection on which upstream has switched to another protocol.
pub struct SwitchedConnection {
    pub stream: UpstreamStream,
    /// What upstream sent right behind its answer.
    pub early: Bytes,
    /// Counts it still.
    pub open: OpenConnection,
}
