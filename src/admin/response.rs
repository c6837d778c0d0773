//! What the admin listener answers: text, JSON, or events as they come.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use serde::Serialize;

use super::problem::{Problem, failed};

/// What the admin listener answers: whole, or event by event.
pub type Response = http::Response<Either<Full<Bytes>, EventBody>>;

/// What was drawn for an answer, which several may share.
#[derive(Clone)]
pub struct Drawn {
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Drawn {
    /// The answer as JSON, with a line feed behind it.
    pub fn in_json(answer: &impl Serialize) -> Result<Self, Problem> {
        Self::in_long_json(answer, 0)
    }

    /// Of JSON that is about that many bytes long: a text of many megabytes that grows is copied each time.
    pub fn in_long_json(answer: &impl Serialize, expected: usize) -> Result<Self, Problem> {
        let mut body = Vec::with_capacity(expected.max(128));
        serde_json::to_writer(&mut body, answer).map_err(|error| failed(&error))?;
        body.push(b'\n');
        Ok(Self { content_type: JSON, body: body.into() })
    }

    /// The answer with status 200. A body that several answers share is not copied.
    #[must_use]
    pub fn into_response(self) -> Response {
        text(StatusCode::OK, self.content_type, self.body)
    }
}

/// An answer of JSON with any status; [`Drawn::in_json`] is for what several may share.
pub fn in_json(status: StatusCode, answer: &impl Serialize) -> Result<Response, Problem> {
    let Drawn { content_type, body } = Drawn::in_json(answer)?;
    Ok(text(status, content_type, body))
}

/// An answer whose body is `said`, sent whole, with the media type `content_type`.
#[must_use]
pub fn text(status: StatusCode, content_type: &'static str, said: impl Into<Bytes>) -> Response {
    let mut answer = Response::new(Either::Left(Full::new(said.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// What a stream of events does next.
pub enum Next<S> {
    /// It sends that, and goes on.
    Piece(Bytes, S),
    /// It ends, with an event that says why by a code.
    End(&'static str),
}

/// An answer of server-sent events: `first` at once, and then what `next` makes of the stream. A piece is made when the last
/// one was taken, and none before. Where `next` gives nothing, the answer ends without an event.
pub fn events<S, M>(first: &'static [u8], stream: S, next: fn(S) -> M) -> Response
where
    S: Send + 'static,
    M: Future<Output = Option<Next<S>>> + Send + 'static,
{
    let body = EventBody { first: Some(first), next: pieces(stream, next) };
    let mut answer = Response::new(Either::Right(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // What stands in between, such as nginx, is to pass each event on at once.
    answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

fn pieces<S, M>(stream: S, next: fn(S) -> M) -> NextPiece
where
    S: Send + 'static,
    M: Future<Output = Option<Next<S>>> + Send + 'static,
{
    NextPiece(Box::pin(async move {
        match next(stream).await? {
            Next::Piece(piece, rest) => Some((piece, pieces(rest, next))),
            Next::End(reason) => Some((end(reason), NextPiece(Box::pin(std::future::ready(None))))),
        }
    }))
}

fn end(reason: &str) -> Bytes {
    Bytes::from(format!("event: end\ndata: {{\"reason\":\"{reason}\"}}\n\n"))
}

/// A stream as the body of an answer.
pub struct EventBody {
    first: Option<&'static [u8]>,
    next: NextPiece,
}

/// The next piece of a stream when it is there, and the one behind it; nothing behind its end.
struct NextPiece(Making);

type Making = Pin<Box<dyn Future<Output = Option<(Bytes, NextPiece)>> + Send>>;

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(first)))));
        }
        let piece = match std::task::ready!(self.next.0.as_mut().poll(context)) {
            Some((piece, next)) => {
                self.next = next;
                Some(Ok(Frame::data(piece)))
            }
            None => None,
        };
        Poll::Ready(piece)
    }
}

/// The media type of a page.
pub const HTML: &str = "text/html; charset=utf-8";

/// The media type of JSON.
pub const JSON: &str = "application/json";
