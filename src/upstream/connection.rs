//! What carries one exchange to upstream: a connection in HTTP/1.1, or the slot for a stream on one in HTTP/2.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::{Http1Connection, Http1Error, SwitchedConnection};
use super::http2::StreamSlot;
use super::request_body::RequestBody;
use crate::field_lines::Name;
use crate::message::Request;
use crate::request_target::RequestTarget;

/// What carries one exchange to upstream, in the protocol that upstream agreed on.
pub enum Connection {
    /// A connection in HTTP/1.1, as long as the exchange lasts.
    Http1(Box<Http1Connection>),
    /// The slot for a stream on a connection in HTTP/2.
    Http2(Box<StreamSlot>),
}

/// Why upstream's answer did not come, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Http1(#[from] Http1Error),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Connection {
    /// Writes the target of the request as that connection's protocol wants it. It may have been written for another before.
    pub fn address(&self, request: &mut Request<RequestBody>, host: &HeaderValue) {
        match self {
            Self::Http1(_) if request.version == Version::HTTP_11 => {}
            Self::Http1(_) => {
                request.target = RequestTarget::read_part(Bytes::copy_from_slice(request.target.as_bytes()));
                request.version = Version::HTTP_11;
                request.lines.set(Name::Host, host.clone());
                request.body.cancel_with(None);
            }
            Self::Http2(slot) => {
                request.target = slot.target(&request.target).into();
                request.version = Version::HTTP_2;
                request.lines.remove(Name::Host);
                request.body.cancel_with(Some(slot.cancellation()));
            }
        }
    }
}

/// A request as hyper takes it. A body that is held back is let go where upstream asks for it.
#[must_use]
pub fn for_http2(request: Request<RequestBody>) -> http::Request<RequestBody> {
    let mut request = http::Request::from(request);
    if let Some(is_wanted) = request.body().held_back() {
        hyper::ext::on_informational(&mut request, move |answer| {
            is_wanted.fetch_or(answer.status() == StatusCode::CONTINUE, Ordering::Relaxed);
        });
    }
    request
}

/// The body of upstream's answer, with what it comes over.
pub enum AnswerBody {
    Http1(Box<Http1Connection>),
    Http2(Incoming, Box<StreamSlot>),
}

impl AnswerBody {
    /// The next piece, or nothing at the end.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self {
            Self::Http1(connection) => {
                connection.poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(AnswerError::Http1)))
            }
            Self::Http2(incoming, _) => {
                Pin::new(incoming).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(AnswerError::Http2)))
            }
        }
    }

    /// Whether all of it was handed on.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_end_stream(),
            Self::Http2(incoming, _) => incoming.is_end_stream(),
        }
    }

    /// How much of it is to come, in bytes.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(connection) => connection.size_hint(),
            Self::Http2(incoming, _) => incoming.size_hint(),
        }
    }

    /// What it came over, once it is over.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        match self {
            Self::Http1(connection) => Connection::Http1(connection),
            Self::Http2(_, slot) => Connection::Http2(slot),
        }
    }

    /// What is left where upstream has switched to another protocol: nothing of a connection in HTTP/2, which knows no such
    /// switch (RFC 9113, 8.6).
    #[must_use]
    pub fn switch(self) -> Option<SwitchedConnection> {
        match self {
            Self::Http1(connection) => Some(connection.switch()),
            Self::Http2(..) => None,
        }
    }
}
