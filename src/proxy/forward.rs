//! One request to upstream and the head of its answer back.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;

use super::Limits;
use super::body::ClientBody;
use super::dial::ConnectError;
use super::upstream::Connection;
use super::worker::Worker;
use crate::ledger::sighting::Exchange;
use crate::outcome::Ending;
use crate::policy::Permit;

/// Why no answer came. Each names who is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Upstream, or the way to it.
    #[error("upstream cannot be reached")]
    Connect(#[from] ConnectError),
    /// Upstream, which closed the connection or broke the protocol before its head was whole.
    #[error("upstream broke off before its answer")]
    CutOff(#[source] hyper::Error),
    /// Upstream, which began to speak another protocol.
    #[error("upstream switched to another protocol, which nobody had asked for")]
    Upgraded,
    /// Upstream, which said so much without an answer that nobody waits for one.
    #[error("upstream sent {MOST_BEFORE_ANSWER} bytes and no answer")]
    Chatter,
    /// Upstream, which was silent for too long.
    #[error("upstream did not answer in time")]
    TimedOut,
    /// The client, whose body stood still for too long.
    #[error("the request's body stood still for {limit:?}")]
    StoodStill {
        /// The limit.
        limit: Duration,
    },
    /// Upstream, which took nothing of the body for too long.
    #[error("upstream took nothing of the request's body for {limit:?}")]
    NotTaken {
        /// The limit.
        limit: Duration,
    },
    /// The client, whose body ended before it was whole.
    #[error("the request's body broke off")]
    ClientBody(#[source] hyper::Error),
}

impl ForwardError {
    /// How the exchange ends by it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            Self::Connect(_) => Ending::Unreachable,
            Self::CutOff(_) | Self::Upgraded | Self::Chatter => Ending::CutOff,
            Self::TimedOut | Self::NotTaken { .. } => Ending::TimedOut,
            Self::StoodStill { .. } | Self::ClientBody(_) => Ending::ClientGone,
        }
    }
}

/// Sends the request over an idle connection, or a new one where there is none.
///
/// A connection that turns out closed before it took a byte of the request gives the request back, and the next one is
/// tried: nothing was sent, so nothing can happen twice.
pub async fn forward(
    _permit: Permit,
    mut request: Request<ClientBody>,
    exchange: &Exchange,
    worker: &Worker,
) -> Result<(Response<Incoming>, Connection), ForwardError> {
    loop {
        let (mut connection, is_new) = match worker.pool.take().await {
            Some(connection) => (connection, false),
            None => (connect(worker).await?, true),
        };
        match send(&mut connection, request, exchange, worker).await {
            Ok(answer) => return Ok((answer, connection)),
            Err(Failure::NotSent(unsent, _)) if !is_new => request = *unsent,
            Err(Failure::NotSent(_, error)) => return Err(ForwardError::CutOff(error)),
            Err(Failure::Failed(error)) => return Err(error),
        }
    }
}

async fn connect(worker: &Worker) -> Result<Connection, ConnectError> {
    worker.pool.connect().await.inspect(|_| worker.counters.upstream_connections.increment()).inspect_err(|error| {
        worker.counters.upstream_failures.increment();
        tracing::debug!(error = error as &dyn std::error::Error, "no connection to upstream");
    })
}

enum Failure {
    NotSent(Box<Request<ClientBody>>, hyper::Error),
    Failed(ForwardError),
}

async fn send(
    connection: &mut Connection,
    request: Request<ClientBody>,
    exchange: &Exchange,
    worker: &Worker,
) -> Result<Response<Incoming>, Failure> {
    exchange.touch(worker.pulse.millis());
    let most = connection.bytes_read() + MOST_BEFORE_ANSWER;
    let mut answer = pin!(connection.sender.try_send_request(request));
    poll_fn(|context| {
        connection.drive(context);
        match answer.as_mut().poll(context) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
            Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                Some(unsent) => Failure::NotSent(Box::new(unsent), error.into_error()),
                None => Failure::Failed(blame(error.into_error())),
            })),
            Poll::Pending if connection.bytes_read() > most => Poll::Ready(Err(Failure::Failed(ForwardError::Chatter))),
            Poll::Pending => check_for_standstill(exchange, worker),
        }
    })
    .await
}

/// As long as the request is on its way, it is the body that must not stand still; then it is upstream's turn.
fn check_for_standstill<T>(exchange: &Exchange, worker: &Worker) -> Poll<Result<T, Failure>> {
    let Limits { answer_timeout, idle_timeout, client_stall_timeout, .. } = *worker.limits();
    let (limit, error) = if exchange.has_taken_all() {
        (answer_timeout, ForwardError::TimedOut)
    } else if exchange.is_waiting_for_client() {
        (client_stall_timeout, ForwardError::StoodStill { limit: client_stall_timeout })
    } else {
        (idle_timeout, ForwardError::NotTaken { limit: idle_timeout })
    };
    let is_over = worker.pulse.is_past(exchange.moved_at(), limit);
    if is_over { Poll::Ready(Err(Failure::Failed(error))) } else { Poll::Pending }
}

/// hyper calls a failure of the request's body the user's.
fn blame(error: hyper::Error) -> ForwardError {
    if error.is_user() { ForwardError::ClientBody(error) } else { ForwardError::CutOff(error) }
}

/// How much upstream may send before its answer's head is whole, in bytes: informational answers, of which there may be
/// any number (RFC 9110, 15.2), and a head, whose limit is below that.
const MOST_BEFORE_ANSWER: u64 = 1024 * 1024;
