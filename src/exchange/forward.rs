//! One request to upstream and the head of its answer back.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::request::Parts;
use http::{Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::task::coop::unconstrained;

use super::context::WorkerContext;
use super::forward_error::ForwardError;
use crate::ledger::sighting::Exchange;
use crate::net::limits::Limits;
use crate::net::protocol::Protocol;
use crate::policy::Permit;
use crate::upstream::connection::Connection;
use crate::upstream::request_body::{BodyCopy, RequestBody};

/// Sends the request over a connection that is there, or a new one where there is none. `protocol` is the
/// protocol to use: a request that asks to switch to another one goes in HTTP/1.1.
///
/// A connection that turns out closed before it took a byte of the request gives the request back, and the next one is
/// tried: nothing was sent, so nothing can happen twice. The same where upstream says that it has not looked at the
/// request, and where a kept connection ends without a byte of an answer under a request that may be sent twice, as far
/// as its body is still there.
pub async fn forward(
    _permit: &Permit,
    mut request: Box<Request<RequestBody>>,
    protocol: Protocol,
    exchange: &Exchange,
    worker: &WorkerContext,
) -> Result<(Response<Incoming>, Connection), ForwardError> {
    let mut spare: Option<Box<Spare>> = None;
    let (mut is_again, mut must_be_new) = (false, false);
    loop {
        let kept = if must_be_new { None } else { worker.pool.take(protocol).await };
        let is_new = kept.is_none();
        let mut connection = match kept {
            Some(connection) => connection,
            // In a box: few exchanges need the room for all that about, and it would be moved along with each.
            None => Box::pin(worker.pool.connect(protocol)).await?,
        };
        if !is_again {
            spare = Spare::keep(&mut request, &connection, is_new).map(Box::new);
        }
        exchange.touch(worker.coarse_clock.millis());
        exchange.goes_upstream();
        connection.address(&mut request, &worker.shared.host);
        // Sent from here rather than by a function that waits: a request has its room in every future that it is handed to.
        let answered = match &mut connection {
            Connection::Http1(owned) => {
                let answer = pin!(unconstrained(owned.sender.try_send_request(*request)));
                wait_for(answer, &mut connection, exchange, worker).await
            }
            Connection::Http2(slot) => {
                let mut answer = Box::pin(slot.sender.try_send_request(*request));
                wait_for(answer.as_mut(), &mut connection, exchange, worker).await
            }
        };
        match answered {
            Ok(answer) => return Ok((answer, connection)),
            Err(Failure::NotSent(unsent, _)) if !is_new => request = unsent,
            Err(Failure::NotSent(_, error)) => return Err(ForwardError::CutOff(error)),
            Err(Failure::Failed(error)) => {
                let must_leave = is_going(&error);
                let again = spare.take().filter(|spare| spare.is_called_for(&error, &connection));
                request = again.and_then(|spare| spare.into_request()).ok_or(error)?;
                // Where a stream was refused, there is a place for another; and a new connection would not help.
                must_be_new = !matches!(connection, Connection::Http2(_)) || must_leave;
                is_again = true;
            }
        }
    }
}

/// A request that may be sent once more, kept where it may have to be.
struct Spare {
    head: Parts,
    body: BodyCopy,
    read_before: u64,
}

impl Spare {
    /// In HTTP/2 upstream says which requests it has not looked at. In HTTP/1.1 it does not, so only a request that may be
    /// done twice (RFC 9110, 9.2.2) is kept, and only on a connection that may have ended meanwhile. A client that waits to
    /// be told about its body is told once.
    fn keep(request: &mut Request<RequestBody>, connection: &Connection, is_new: bool) -> Option<Self> {
        let is_worth_it = match connection {
            Connection::Http1(_) => !is_new && request.method().is_idempotent() && request.body().is_end_stream(),
            Connection::Http2(_) => !request.headers().contains_key(header::EXPECT),
        };
        if !is_worth_it {
            return None;
        }
        let body = request.body_mut().keep();
        let mut head = Request::new(()).into_parts().0;
        head.method.clone_from(request.method());
        head.uri.clone_from(request.uri());
        head.version = request.version();
        head.headers.clone_from(request.headers());
        Some(Self { head, body, read_before: connection.bytes_read() })
    }

    fn is_called_for(&self, error: &ForwardError, connection: &Connection) -> bool {
        let ForwardError::CutOff(error) = error else { return false };
        match connection {
            Connection::Http1(_) => connection.bytes_read() == self.read_before,
            Connection::Http2(_) => was_not_looked_at(error),
        }
    }

    /// Nothing where the body was not kept whole.
    fn into_request(self) -> Option<Box<Request<RequestBody>>> {
        Some(Box::new(Request::from_parts(self.head, self.body.into_body()?)))
    }
}

/// Whether upstream takes no more requests on that connection.
fn is_going(error: &ForwardError) -> bool {
    let ForwardError::CutOff(error) = error else { return false };
    of_http2(error).is_some_and(h2::Error::is_go_away)
}

/// Upstream refused the stream, or closed the connection and named an earlier one as the last that it has looked at (RFC
/// 9113, 8.7).
fn was_not_looked_at(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

enum Failure {
    NotSent(Box<Request<RequestBody>>, hyper::Error),
    Failed(ForwardError),
}

async fn wait_for(
    mut answer: Pin<&mut impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>>,
    connection: &mut Connection,
    exchange: &Exchange,
    worker: &WorkerContext,
) -> Result<Response<Incoming>, Failure> {
    connection.await_head();
    // Where the connection is driven right here, no other task brings the answer, and none has to be woken for it.
    let brings_it_here = matches!(connection, Connection::Http1(_));
    poll_fn(|context| {
        connection.drive(context);
        let context = if brings_it_here { &mut Context::from_waker(Waker::noop()) } else { context };
        match answer.as_mut().poll(context) {
            Poll::Ready(Ok(answer)) => {
                connection.has_head();
                Poll::Ready(Ok(answer))
            }
            Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                Some(unsent) => Failure::NotSent(Box::new(unsent), error.into_error()),
                None if connection.is_flooded() => Failure::Failed(ForwardError::Chatter),
                None => Failure::Failed(blame(error.into_error())),
            })),
            Poll::Pending => check_for_standstill(exchange, worker),
        }
    })
    .await
}

/// As long as the request is on its way, it is the body that must not stand still; then it is upstream's turn.
fn check_for_standstill<T>(exchange: &Exchange, worker: &WorkerContext) -> Poll<Result<T, Failure>> {
    let Limits { answer_timeout, idle_timeout, .. } = *worker.limits();
    let (limit, error) = if exchange.has_taken_all() {
        (answer_timeout, ForwardError::TimedOut)
    } else if exchange.is_waiting_for_client() {
        let limit = worker.client_patience();
        (limit, ForwardError::StoodStill { limit })
    } else {
        (idle_timeout, ForwardError::NotTaken { limit: idle_timeout })
    };
    let is_over = worker.coarse_clock.is_past(exchange.moved_at(), limit);
    if is_over { Poll::Ready(Err(Failure::Failed(error))) } else { Poll::Pending }
}

/// hyper calls a failure of the request's body the user's. In HTTP/2 it takes the request back by it, which is what is heard
/// of it then.
fn blame(error: hyper::Error) -> ForwardError {
    let is_body = error.is_user() || of_http2(&error).is_some_and(is_taken_back);
    if is_body { ForwardError::RequestBody(error) } else { ForwardError::CutOff(error) }
}

/// Whether the stream was reset from here, and not because upstream broke the protocol.
fn is_taken_back(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source().and_then(|source| source.downcast_ref())
}
