//! What carries one exchange to upstream: a connection in HTTP/1.1, or the slot for a stream on one in HTTP/2.

use std::task::Context;

use http::{HeaderValue, Request, Uri, Version, header};

use super::frames::MOST_BEFORE_ANSWER;
use super::http1::{Http1Connection, SwitchedConnection};
use super::http2::StreamSlot;
use super::request_body::RequestBody;

/// What carries one exchange to upstream, in the protocol that upstream agreed on.
pub enum Connection {
    /// A connection in HTTP/1.1, as long as the exchange lasts.
    Http1(Box<Http1Connection>),
    /// The slot for a stream on a connection in HTTP/2.
    Http2(Box<StreamSlot>),
}

impl Connection {
    /// Moves bytes in both directions, where no other task does.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Http1(connection) => connection.drive(context),
            Self::Http2(_) => {}
        }
    }

    /// How much was read of it, in bytes; 0 where it carries other exchanges as well.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        match self {
            Self::Http1(connection) => connection.state().read(),
            Self::Http2(_) => 0,
        }
    }

    /// Has it end where upstream sends too much before the head of its answer is whole.
    pub fn await_head(&self) {
        if let Self::Http1(connection) = self {
            connection.state().allow(Some(MOST_BEFORE_ANSWER));
        }
    }

    /// Takes [`Connection::await_head`] back: what comes from here on is a body.
    pub fn has_head(&self) {
        if let Self::Http1(connection) = self {
            connection.state().allow(None);
        }
    }

    /// Whether it ended because upstream sent so much without an answer.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.state().is_over(),
            Self::Http2(slot) => slot.is_flooded(),
        }
    }

    /// Writes the target of the request as that connection's protocol wants it. It may have been written for another before.
    pub fn address(&self, request: &mut Request<RequestBody>, host: &HeaderValue) {
        match self {
            Self::Http1(_) if request.version() == Version::HTTP_11 => {}
            Self::Http1(_) => {
                let target = request.uri().path_and_query().cloned();
                *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(header::HOST, host.clone());
                request.body_mut().cancel_with(None);
            }
            Self::Http2(slot) => {
                *request.uri_mut() = slot.target(request.uri());
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(header::HOST);
                request.body_mut().cancel_with(Some(slot.cancellation()));
            }
        }
    }

    /// What is left where upstream has switched to another protocol: nothing of a connection in HTTP/2, which knows no such
    /// switch (RFC 9113, 8.6).
    pub async fn switch(self) -> Option<SwitchedConnection> {
        let Self::Http1(connection) = self else { return None };
        Some(connection.switch().await)
    }
}
