//! A client that speaks HTTP/1.1, request by request: the states of its connection, from above.
//!
//! | state | goes on when | ends the connection |
//! |---|---|---|
//! | waiting for a request | its head is whole | the client closes, is silent for too long, or is asked to leave; a head that is none |
//! | its exchange | the head of the answer is there | the client leaves |
//! | the answer's body | all of it is written | the client leaves or takes nothing; upstream breaks off |
//! | behind the answer | the request's body was read | it was not, and too much of it is left; the client or keyward asked for it |

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};
use tokio::io::AsyncWriteExt;
use tower::Service;

use super::connections::{ConnectionGuard, Connections};
use super::http2::serve_http2;
use super::service::{say_how_it_ended, service};
use crate::early_refusal::EarlyRefusal;
use crate::exchange::response_body::{ResponseBody, ResponseBodyError};
use crate::exchange::session::Session;
use crate::exchange::upgrade::Upgraded;
use crate::field_lines::Name;
use crate::http1::body_writer::{BodyWriter, TooShort};
use crate::http1::client_io::{ClientIo, Next, NextError};
use crate::http1::framing::has_token;
use crate::http1::head_reader::{HeadError, RequestHead};
use crate::http1::head_writer::{Asked, BodyLength, answer_to_unread, write_answer};
use crate::message::{Answer, Request};
use crate::net::lingering_close::linger;
use crate::net::protocol::Protocol;
use crate::net::stream::{ClientStream, RewoundStream, Stream};
use crate::net::write_stall::WriteStall;
use crate::upstream::request_body::ClientBody;

/// How HTTP/1.1 on a connection ended.
enum End {
    /// There is nothing more to say.
    Closed,
    /// The client may still be sending: what it was told last must reach it.
    StillSending,
    /// It goes on in another protocol.
    Upgraded(Box<Upgraded>),
    /// It goes on in HTTP/2.
    Http2,
    Broken(ConnectionError),
}

/// Why a connection ended in the middle of something.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("no request could be read")]
    Next(#[source] NextError),
    #[error("the client left before its answer was whole")]
    Gone,
    #[error("the head of a request did not come in time")]
    Silent,
    #[error("the client took nothing for too long")]
    NotTaken,
    #[error("an answer broke off")]
    Answer(#[from] ResponseBodyError),
    #[error("an answer broke off")]
    TooShort(#[from] TooShort),
}

/// Serves a client, and whatever may follow HTTP/1.1: another protocol, or HTTP/2, which a client may begin with unasked (RFC
/// 9113, 3.3).
pub async fn serve_http1(
    mut guard: ConnectionGuard,
    connections: Arc<Connections>,
    peer: IpAddr,
    stream: ClientStream,
) {
    let worker = &connections.worker;
    let session = Arc::new(Session::new(Arc::clone(worker), peer, Protocol::Http1));
    let stall = WriteStall::new(worker.coarse_clock.clone());
    let client = Http1Client { io: Arc::new(ClientIo::new(stream, stall.clone())), session: &session };
    let ended = {
        let mut serving = pin!(client.serve());
        poll_fn(|context| {
            // Whether it is asked to leave, it looks at by itself.
            guard.is_asked_to_leave(context);
            let ended = serving.as_mut().poll(context);
            if stall.is_past(worker.client_patience()) {
                session.give_up();
                return Poll::Ready(End::Broken(ConnectionError::NotTaken));
            }
            ended
        })
        .await
    };
    let Some((stream, input)) = client.io.take_parts() else { return };
    // What follows is in a box each, since few clients need the room for it.
    match ended {
        End::Closed => Box::pin(close(stream)).await,
        End::StillSending => {
            guard.unless_asked_to_leave(Box::pin(linger(stream))).await;
        }
        End::Upgraded(upgraded) => Box::pin(upgraded.run(stream, input)).await,
        End::Http2 => Box::pin(serve_http2(guard, connections, peer, RewoundStream::new(input, stream))).await,
        End::Broken(error) => say_how_it_ended(Some(&error), peer),
    }
}

/// TLS has a word for its end; without it, the client may take an answer for cut off.
async fn close(mut stream: ClientStream) {
    if matches!(stream, Stream::Tls(_)) {
        // The client may be gone.
        let _ = stream.shutdown().await;
    }
}

struct Http1Client<'a> {
    io: Arc<ClientIo>,
    session: &'a Arc<Session>,
}

impl Http1Client<'_> {
    async fn serve(&self) -> End {
        let mut service = service(self.session);
        let mut is_first = true;
        loop {
            let head = match self.next_request(is_first).await {
                Ok(Next::Request(head)) => head,
                Ok(Next::Http2) => return End::Http2,
                Ok(Next::Closed) => return End::Closed,
                Err(ConnectionError::Next(NextError::Head(error))) => return self.refuse(error).await,
                Err(error) => return End::Broken(error),
            };
            is_first = false;
            match self.carry(*head, &mut service).await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Broken(error),
            }
        }
    }

    async fn next_request(&self, is_first: bool) -> Result<Next, ConnectionError> {
        let worker = &self.session.worker;
        let (limits, coarse_clock) = (worker.limits(), &worker.coarse_clock);
        let since = coarse_clock.millis();
        poll_fn(|context| match self.io.poll_next(limits.max_head, is_first, context) {
            Poll::Ready(next) => Poll::Ready(next.map_err(ConnectionError::Next)),
            Poll::Pending if worker.is_draining() && self.io.is_between_requests() => Poll::Ready(Ok(Next::Closed)),
            Poll::Pending if coarse_clock.is_past(since, limits.client_idle_timeout) => {
                Poll::Ready(Err(ConnectionError::Silent))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Answers a head that cannot be read. Where the next one would begin is not known.
    async fn refuse(&self, error: HeadError) -> End {
        let (why, status) = match error {
            HeadError::Unreadable => (EarlyRefusal::UnreadableHead, StatusCode::BAD_REQUEST),
            HeadError::TooLarge => (EarlyRefusal::OversizedHead, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            HeadError::TargetTooLong => (EarlyRefusal::OversizedHead, StatusCode::URI_TOO_LONG),
        };
        self.session.worker.rejections.refuse(why, status, self.session.peer);
        self.io.write(|output| output.front().extend_from_slice(&answer_to_unread(status)));
        match self.flush().await {
            Ok(()) => End::StillSending,
            Err(error) => End::Broken(error),
        }
    }

    /// Carries one exchange. Gives how the connection ends, where it does not go on.
    async fn carry<S>(&self, head: RequestHead, service: &mut S) -> Result<Option<End>, ConnectionError>
    where
        S: Service<Request<ClientBody>, Response = Answer<ResponseBody>, Error = Infallible>,
    {
        let body = self.io.body(&head);
        let RequestHead { request, persists, takes_trailers, .. } = head;
        let asked = Asked { method: request.method.clone(), version: request.version, takes_trailers };
        let answer = self.unless_gone(service.call(request.map(|()| ClientBody::Http1(body)))).await?;
        let is_switch = answer.status == StatusCode::SWITCHING_PROTOCOLS;
        // keyward closes of its own where it is not known where the next request begins.
        let is_cut = is_closed_by(&answer) || self.io.unread().is_none_or(|rest| rest > MOST_SKIPPED);
        let persists = persists && !is_cut && !self.session.worker.is_draining();
        let length = BodyLength::of(&answer.body);
        let writer =
            self.io.write(|output| write_answer(&answer, &asked, length, persists || is_switch, output.front()));
        // A client of HTTP/1.0 may find the end of an answer by that of the connection alone.
        let persists = persists && writer != BodyWriter::UntilClose;
        self.pass_on(answer.body, writer).await?;
        if is_switch && let Some(upgraded) = self.session.take_upgraded() {
            return Ok(Some(End::Upgraded(upgraded)));
        }
        if is_cut || !poll_fn(|context| Poll::Ready(self.io.skip_rest(context))).await {
            return Ok(Some(End::StillSending));
        }
        if persists {
            return Ok(None);
        }
        let has_more = poll_fn(|context| Poll::Ready(self.io.has_more(context))).await;
        Ok(Some(if has_more { End::StillSending } else { End::Closed }))
    }

    async fn unless_gone<T>(
        &self,
        exchange: impl Future<Output = Result<T, Infallible>>,
    ) -> Result<T, ConnectionError> {
        let mut exchange = pin!(exchange);
        poll_fn(|context| match exchange.as_mut().poll(context) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
            Poll::Pending => self.io.poll_gone(context).map(|()| Err(ConnectionError::Gone)),
        })
        .await
    }

    /// Writes the body behind its head.
    async fn pass_on(&self, body: ResponseBody, mut writer: BodyWriter) -> Result<(), ConnectionError> {
        let mut body = Some(body).filter(|body| !body.is_end_stream() && writer != BodyWriter::Length(0));
        let passed = poll_fn(|context| self.poll_pass(&mut body, &mut writer, context)).await;
        // What is known of the exchange is recorded before the client may ask for it.
        drop(body);
        // What came before belongs to the client, also where the rest does not come.
        self.flush().await?;
        passed
    }

    /// Ready when all of the body is on its way, or broke off.
    fn poll_pass(
        &self,
        body: &mut Option<ResponseBody>,
        writer: &mut BodyWriter,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        while let Some(passing) = body {
            if !self.io.has_room() && self.io.poll_flush(context)?.is_pending() {
                return self.io.poll_gone(context).map(|()| Err(ConnectionError::Gone));
            }
            let frame = match Pin::new(&mut *passing).poll_frame(context) {
                Poll::Ready(frame) => frame.transpose()?,
                Poll::Pending => return self.io.poll_gone(context).map(|()| Err(ConnectionError::Gone)),
            };
            let is_last = frame.is_none() || passing.is_end_stream();
            if self.add(frame, is_last, writer)? {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Adds a piece of a body to what is to be written, or its end. Says whether it is at its end.
    fn add(&self, frame: Option<Frame<Bytes>>, is_last: bool, writer: &mut BodyWriter) -> Result<bool, TooShort> {
        self.io.write(|output| {
            match frame.map(Frame::into_data) {
                Some(Ok(data)) if !data.is_empty() => writer.write(data, is_last, output),
                Some(Err(frame)) => {
                    return writer.end_with(&frame.into_trailers().unwrap_or_default(), output).map(|()| true);
                }
                Some(Ok(_)) | None => {}
            }
            if is_last { writer.end(output).map(|()| true) } else { Ok(false) }
        })
    }

    async fn flush(&self) -> Result<(), ConnectionError> {
        Ok(poll_fn(|context| self.io.poll_flush(context)).await?)
    }
}

/// Whether keyward's own answer ends the connection.
fn is_closed_by(answer: &Answer<ResponseBody>) -> bool {
    answer.lines.first(Name::Connection).is_some_and(|options| has_token(options, "close"))
}

/// The most of a body that is read over to keep a connection, in bytes. What has not come at once is not waited for.
const MOST_SKIPPED: u64 = 4096;
