//! What carries one exchange to upstream: a connection in HTTP/1.1, or a place on one in HTTP/2.

use std::task::Context;

use http::{HeaderValue, Request, Uri, Version, header};

use super::frames::MOST_BEFORE_ANSWER;
use super::http1::{Owned, Switched};
use super::http2::Place;
use super::request_body::ClientBody;

/// What carries one exchange.
pub enum Connection {
    /// A connection in HTTP/1.1, as long as the exchange lasts.
    Owned(Box<Owned>),
    /// A place on a connection in HTTP/2.
    Shared(Box<Place>),
}

impl Connection {
    /// Moves bytes in both directions, where nobody else does.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Owned(connection) => connection.drive(context),
            Self::Shared(_) => {}
        }
    }

    /// How much was read of it, in bytes; nothing where others are heard on it as well.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        match self {
            Self::Owned(connection) => connection.count().read(),
            Self::Shared(_) => 0,
        }
    }

    /// Has it end where upstream sends too much before the head of its answer is whole.
    pub fn await_head(&self) {
        if let Self::Owned(connection) = self {
            connection.count().allow(Some(MOST_BEFORE_ANSWER));
        }
    }

    /// Takes [`Connection::await_head`] back: what comes from here on is a body.
    pub fn has_head(&self) {
        if let Self::Owned(connection) = self {
            connection.count().allow(None);
        }
    }

    /// Whether it ended because upstream sent so much without an answer.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        match self {
            Self::Owned(connection) => connection.count().is_over(),
            Self::Shared(place) => place.is_flooded(),
        }
    }

    /// Words the request as that connection's protocol wants it. It may have been worded for another one before.
    pub fn address(&self, request: &mut Request<ClientBody>, host: &HeaderValue) {
        match self {
            Self::Owned(_) if request.version() == Version::HTTP_11 => {}
            Self::Owned(_) => {
                let target = request.uri().path_and_query().cloned();
                *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
                *request.version_mut() = Version::HTTP_11;
                request.headers_mut().insert(header::HOST, host.clone());
                request.body_mut().last_with(None);
            }
            Self::Shared(place) => {
                *request.uri_mut() = place.target(request.uri());
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(header::HOST);
                request.body_mut().last_with(Some(place.interest()));
            }
        }
    }

    /// What is left where upstream has switched to another protocol: nothing of a connection in HTTP/2, which knows no such
    /// switch (RFC 9113, 8.6).
    pub async fn switch(self) -> Option<Switched> {
        let Self::Owned(connection) = self else { return None };
        Some(connection.switch().await)
    }
}
