//! Pure. A request and an answer, in whichever version of HTTP they came.

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use crate::field_lines::FieldLines;
use crate::request_target::RequestTarget;

/// A request, with its body or what takes the place of one.
#[derive(Clone, Debug)]
pub struct Request<B> {
    pub method: Method,
    pub target: RequestTarget,
    pub version: Version,
    pub lines: FieldLines,
    pub body: B,
}

/// An answer, with its body or what takes the place of one.
#[derive(Clone, Debug)]
pub struct Answer<B> {
    pub status: StatusCode,
    /// Its reason phrase, where that is not the usual one of its status.
    pub reason: Option<Bytes>,
    pub lines: FieldLines,
    pub body: B,
}

impl<B> Request<B> {
    /// The same with another body.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Request<C> {
        let Self { method, target, version, lines, body } = self;
        Request { method, target, version, lines, body: change(body) }
    }

    /// Its head alone, once more.
    #[must_use]
    pub fn copy_head(&self) -> Request<()> {
        let Self { method, target, version, lines, .. } = self;
        Request { method: method.clone(), target: target.clone(), version: *version, lines: lines.clone(), body: () }
    }
}

impl<B> Answer<B> {
    /// With that status, without a field line.
    #[must_use]
    pub fn new(status: StatusCode, body: B) -> Self {
        Self { status, reason: None, lines: FieldLines::default(), body }
    }

    /// The same with another body.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Answer<C> {
        let Self { status, reason, lines, body } = self;
        Answer { status, reason, lines, body: change(body) }
    }
}

impl<B> From<http::Request<B>> for Request<B> {
    fn from(request: http::Request<B>) -> Self {
        let (head, body) = request.into_parts();
        Self { method: head.method, target: head.uri.into(), version: head.version, lines: head.headers.into(), body }
    }
}

impl<B> From<Request<B>> for http::Request<B> {
    fn from(request: Request<B>) -> Self {
        let Request { method, target, version, lines, body } = request;
        let mut request = Self::new(body);
        (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, target.into_uri(), version);
        *request.headers_mut() = lines.into_map();
        request
    }
}

impl<B> From<http::Response<B>> for Answer<B> {
    fn from(answer: http::Response<B>) -> Self {
        let (head, body) = answer.into_parts();
        Self { status: head.status, reason: None, lines: head.headers.into(), body }
    }
}

impl<B> From<Answer<B>> for http::Response<B> {
    /// There is no reason phrase in HTTP/2 (RFC 9113, 8.3.2).
    fn from(answer: Answer<B>) -> Self {
        let Answer { status, lines, body, .. } = answer;
        let mut response = Self::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = lines.into_map();
        response
    }
}
