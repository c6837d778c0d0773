//! One request to upstream and the head of its answer back.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use http_body::Body;
use tokio::task::coop::unconstrained;

use super::context::WorkerContext;
use super::forward_error::ForwardError;
use crate::field_lines::Name;
use crate::ledger::sighting::Exchange;
use crate::message::{Answer, Request};
use crate::net::limits::Limits;
use crate::net::protocol::Protocol;
use crate::policy::Permit;
use crate::upstream::connection::{AnswerBody, AnswerError, Connection, for_http2};
use crate::upstream::http1::{Http1Connection, Http1Error};
use crate::upstream::http2::StreamSlot;
use crate::upstream::request_body::{BodyCopy, RequestBody};

/// Sends the request over a connection that is there, or a new one where there is none. `protocol` is the
/// protocol to use: a request that asks to switch to another one goes in HTTP/1.1.
///
/// Where upstream says that it has not looked at the request, it is sent again, over the next connection: nothing can happen
/// twice. The same where a kept connection ends without a byte of an answer under a request that may be sent twice, as far as
/// its body is still there.
pub async fn forward(
    _permit: &Permit,
    mut request: Box<Request<RequestBody>>,
    protocol: Protocol,
    exchange: &Exchange,
    worker: &WorkerContext,
) -> Result<Answer<AnswerBody>, ForwardError> {
    let mut spare: Option<Box<Spare>> = None;
    let (mut is_again, mut must_be_new) = (false, false);
    loop {
        let kept = if must_be_new { None } else { worker.pool.take(protocol).await };
        let is_new = kept.is_none();
        let connection = match kept {
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
        let is_http1 = matches!(connection, Connection::Http1(_));
        let answered = match connection {
            Connection::Http1(connection) => over_http1(connection, request, exchange, worker).await,
            Connection::Http2(slot) => Box::pin(over_http2(slot, request, exchange, worker)).await,
        };
        match answered {
            Ok(answer) => return Ok(answer),
            Err(Failure::NotSent(unsent, _)) if !is_new => request = unsent,
            Err(Failure::NotSent(_, error)) => return Err(ForwardError::CutOff(AnswerError::Http2(error))),
            Err(Failure::Unanswered(error)) => {
                request = spare.take().and_then(|spare| spare.into_request()).ok_or(error)?;
                must_be_new = true;
                is_again = true;
            }
            Err(Failure::Failed(error)) => {
                let must_leave = is_going(&error);
                let again = spare.take().filter(|_| !is_http1 && was_not_looked_at(&error));
                request = again.and_then(|spare| spare.into_request()).ok_or(error)?;
                // Where a stream was refused, there is a place for another; and a new connection would not help.
                must_be_new = must_leave;
                is_again = true;
            }
        }
    }
}

/// A request that may be sent once more, kept where it may have to be.
struct Spare {
    head: Request<()>,
    body: BodyCopy,
}

impl Spare {
    /// In HTTP/2 upstream says which requests it has not looked at. In HTTP/1.1 it does not, so only a request that may be
    /// done twice (RFC 9110, 9.2.2) is kept, and only on a connection that may have ended meanwhile. A client that waits to
    /// be told about its body is told once.
    fn keep(request: &mut Request<RequestBody>, connection: &Connection, is_new: bool) -> Option<Self> {
        let is_worth_it = match connection {
            Connection::Http1(_) => !is_new && request.method.is_idempotent() && request.body.is_end_stream(),
            Connection::Http2(_) => !request.lines.contains(Name::Expect),
        };
        if !is_worth_it {
            return None;
        }
        let body = request.body.keep();
        Some(Self { head: request.copy_head(), body })
    }

    /// Nothing where the body was not kept whole.
    fn into_request(self) -> Option<Box<Request<RequestBody>>> {
        let body = self.body.into_body()?;
        Some(Box::new(self.head.map(|()| body)))
    }
}

/// Whether upstream takes no more requests on that connection.
fn is_going(error: &ForwardError) -> bool {
    of_http2(error).is_some_and(h2::Error::is_go_away)
}

/// Upstream refused the stream, or closed the connection and named an earlier one as the last that it has looked at (RFC
/// 9113, 8.7).
fn was_not_looked_at(error: &ForwardError) -> bool {
    of_http2(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

enum Failure {
    /// The connection ended before it took anything of the request.
    NotSent(Box<Request<RequestBody>>, hyper::Error),
    /// The connection ended without a byte of an answer.
    Unanswered(ForwardError),
    Failed(ForwardError),
}

async fn over_http1(
    mut connection: Box<Http1Connection>,
    request: Box<Request<RequestBody>>,
    exchange: &Exchange,
    worker: &WorkerContext,
) -> Result<Answer<AnswerBody>, Failure> {
    connection.send(request);
    match in_time(exchange, worker, |context| connection.poll_head(context)).await {
        Ok(Ok(answer)) => Ok(answer.map(|()| AnswerBody::Http1(connection))),
        Ok(Err(error)) => Err(blame_http1(error, connection.is_unanswered())),
        Err(error) => Err(Failure::Failed(error)),
    }
}

fn blame_http1(error: Http1Error, is_unanswered: bool) -> Failure {
    match error {
        Http1Error::Request(error) => Failure::Failed(ForwardError::RequestBody(error.into())),
        Http1Error::TooShort(error) => Failure::Failed(ForwardError::RequestBody(error.into())),
        Http1Error::Flooded => Failure::Failed(ForwardError::Chatter),
        error @ (Http1Error::Closed | Http1Error::Io(_)) if is_unanswered => {
            Failure::Unanswered(ForwardError::CutOff(error.into()))
        }
        error @ (Http1Error::Closed | Http1Error::Io(_) | Http1Error::Head(_) | Http1Error::Body(_)) => {
            Failure::Failed(ForwardError::CutOff(error.into()))
        }
    }
}

async fn over_http2(
    mut slot: Box<StreamSlot>,
    request: Box<Request<RequestBody>>,
    exchange: &Exchange,
    worker: &WorkerContext,
) -> Result<Answer<AnswerBody>, Failure> {
    let mut answer = pin!(unconstrained(slot.sender.try_send_request(for_http2(*request))));
    match in_time(exchange, worker, |context| answer.as_mut().poll(context)).await {
        Ok(Ok(answer)) => Ok(Answer::from(answer).map(|incoming| AnswerBody::Http2(incoming, slot))),
        Ok(Err(mut error)) => Err(match error.take_message() {
            Some(unsent) => Failure::NotSent(Box::new(unsent.into()), error.into_error()),
            None if slot.is_flooded() => Failure::Failed(ForwardError::Chatter),
            None => Failure::Failed(blame_http2(error.into_error())),
        }),
        Err(error) => Err(Failure::Failed(error)),
    }
}

/// What `poll` comes to, unless the request or its answer stands still before.
async fn in_time<T>(
    exchange: &Exchange,
    worker: &WorkerContext,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, ForwardError> {
    poll_fn(|context| match poll(context) {
        Poll::Pending => check_for_standstill(exchange, worker).map(Err),
        Poll::Ready(done) => Poll::Ready(Ok(done)),
    })
    .await
}

/// As long as the request is on its way, it is the body that must not stand still; then it is upstream's turn.
fn check_for_standstill(exchange: &Exchange, worker: &WorkerContext) -> Poll<ForwardError> {
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
    if is_over { Poll::Ready(error) } else { Poll::Pending }
}

/// hyper calls a failure of the request's body the user's, and takes the request back by it, which is what is heard of it then.
fn blame_http2(error: hyper::Error) -> ForwardError {
    let is_body = error.is_user() || h2_error(&error).is_some_and(is_taken_back);
    if is_body { ForwardError::RequestBody(error.into()) } else { ForwardError::CutOff(AnswerError::Http2(error)) }
}

/// Whether the stream was reset from here, and not because upstream broke the protocol.
fn is_taken_back(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

fn of_http2(error: &ForwardError) -> Option<&h2::Error> {
    let ForwardError::CutOff(AnswerError::Http2(error)) = error else { return None };
    h2_error(error)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source().and_then(|source| source.downcast_ref())
}
