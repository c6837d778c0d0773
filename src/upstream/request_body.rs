//! The request's body on its way upstream, streamed and counted as it passes: held back until upstream wants it, and copied
//! while it is short and may have to be sent again. It is never collected for anything else, and never changed.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::cancellation::Cancellation;
use crate::field_lines::{FieldLines, Name, Names};
use crate::head::UNFORWARDED;
use crate::http1::client_io::{IncomingBody, IncomingError};
use crate::ledger::sighting::Exchange;
use crate::locks::lock;
use crate::net::coarse_clock::CoarseClock;

/// The request's body on its way upstream. In a box, since a request is moved a dozen times before it is sent, and its body
/// with it.
pub struct RequestBody(Box<Inner>);

struct Inner {
    source: Source,
    exchange: Arc<Exchange>,
    coarse_clock: CoarseClock,
    hold: Option<Hold>,
    kept: Option<Arc<Mutex<CopiedPieces>>>,
    broken: Option<RequestBodyError>,
    cancellation: Option<Arc<Cancellation>>,
}

/// The body of a request as it comes from its client, in the protocol that the client speaks.
pub enum ClientBody {
    Http1(IncomingBody),
    Http2(Incoming),
}

/// Why the body of a request did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    #[error(transparent)]
    Http1(#[from] IncomingError),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?))),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| Ok(frame?))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

enum Source {
    /// As it comes from the client.
    Client(ClientBody),
    /// As it came before.
    Again(VecDeque<Bytes>),
}

/// A short body that may have to be sent again, as far as it has passed.
#[derive(Default)]
struct CopiedPieces {
    pieces: VecDeque<Bytes>,
    size: usize,
    is_whole: bool,
}

/// A copy of a short body, in case that it has to be sent again.
pub struct BodyCopy {
    kept: Arc<Mutex<CopiedPieces>>,
    exchange: Arc<Exchange>,
    coarse_clock: CoarseClock,
}

impl BodyCopy {
    /// The body once more, if all of it was kept.
    #[must_use]
    pub fn into_body(self) -> Option<RequestBody> {
        let kept = std::mem::take(&mut *lock(&self.kept));
        let is_all = kept.is_whole && kept.size <= MOST_KEPT;
        is_all.then(|| RequestBody::of(Source::Again(kept.pieces), self.exchange, self.coarse_clock))
    }
}

/// A body that is not asked for before upstream wants it (RFC 9110, 10.1.1): its client waits to be told, and is when
/// the body is asked for.
struct Hold {
    is_wanted: Arc<AtomicBool>,
    patience: Pin<Box<Sleep>>,
}

impl RequestBody {
    /// The body as it comes from the client. Its bytes count for `exchange`, by that clock.
    #[must_use]
    pub fn new(body: ClientBody, exchange: Arc<Exchange>, coarse_clock: CoarseClock) -> Self {
        Self::of(Source::Client(body), exchange, coarse_clock)
    }

    fn of(source: Source, exchange: Arc<Exchange>, coarse_clock: CoarseClock) -> Self {
        let (hold, kept, broken, cancellation) = (None, None, None, None);
        Self(Box::new(Inner { source, exchange, coarse_clock, hold, kept, broken, cancellation }))
    }

    /// Cancels it with that, where it goes upstream in HTTP/2.
    pub fn cancel_with(&mut self, cancellation: Option<Arc<Cancellation>>) {
        self.0.cancellation = cancellation;
    }

    /// Copies what passes, as long as it is short.
    #[must_use]
    pub fn keep(&mut self) -> BodyCopy {
        let this = &mut *self.0;
        let kept = Arc::new(Mutex::new(CopiedPieces { is_whole: this.source.is_at_end(), ..CopiedPieces::default() }));
        this.kept = Some(Arc::clone(&kept));
        BodyCopy { kept, exchange: Arc::clone(&this.exchange), coarse_clock: this.coarse_clock.clone() }
    }

    /// Holds the body back until [`RequestBody::release`], but not for long: upstream may never want it.
    pub fn hold(&mut self) {
        let patience = Box::pin(sleep(WORTH_THE_WAIT));
        self.0.hold = Some(Hold { is_wanted: Arc::default(), patience });
    }

    /// Upstream wants the body.
    pub fn release(&self) {
        if let Some(hold) = &self.0.hold {
            hold.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    /// What has to be set when upstream wants the body, where it is held back.
    #[must_use]
    pub fn held_back(&self) -> Option<Arc<AtomicBool>> {
        self.0.hold.as_ref().map(|hold| Arc::clone(&hold.is_wanted))
    }
}

impl Source {
    fn is_at_end(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Again(pieces) => pieces.is_empty(),
        }
    }
}

impl Inner {
    fn keep_frame(&self, frame: Option<&Frame<Bytes>>) {
        let Some(kept) = &self.kept else { return };
        let mut kept = lock(kept);
        if frame.is_some_and(Frame::is_trailers) {
            // A body with trailers is sent once.
            kept.size = usize::MAX;
        } else if let Some(piece) = frame.and_then(Frame::data_ref) {
            kept.size = kept.size.saturating_add(piece.len());
            if kept.size <= MOST_KEPT {
                kept.pieces.push_back(piece.clone());
            } else {
                kept.pieces.clear();
            }
        }
        kept.is_whole = self.source.is_at_end();
    }

    fn poll_hold(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(hold) = &mut self.hold
            && !hold.is_wanted.load(Ordering::Relaxed)
        {
            ready!(hold.patience.as_mut().poll(context));
        }
        self.hold = None;
        Poll::Ready(())
    }

    /// If upstream has answered already, or answers just now, its answer decides, and not that the rest of the request is
    /// missing: with that error the connection would end, and the answer with it.
    fn break_off(&mut self, error: RequestBodyError, context: &Context<'_>) {
        self.broken = Some(error);
        context.waker().wake_by_ref();
    }

    fn poll_broken<T>(&mut self) -> Poll<Option<Result<T, RequestBodyError>>> {
        match self.broken.take_if(|_| self.exchange.answered().is_none()) {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Poll::Pending,
        }
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.exchange.took(data.len(), self.coarse_clock.millis());
        } else if let Some(trailers) = frame.trailers_mut() {
            edit_trailers(trailers);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self.get_mut().0;
        if let Some(cancellation) = this.cancellation.take() {
            cancellation.begin();
        }
        if this.hold.is_some() {
            ready!(this.poll_hold(cx));
        }
        if this.broken.is_some() {
            return this.poll_broken();
        }
        let body = match &mut this.source {
            Source::Client(body) => body,
            Source::Again(pieces) => return Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        };
        let frame = Pin::new(body).poll_frame(cx);
        this.exchange.waits_for_client(frame.is_pending());
        let mut frame = match ready!(frame).transpose() {
            Ok(frame) => frame,
            Err(error) => {
                this.break_off(error, cx);
                return Poll::Pending;
            }
        };
        if let Some(frame) = &mut frame {
            this.pass(frame);
        }
        if this.kept.is_some() {
            this.keep_frame(frame.as_ref());
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.source.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.source {
            Source::Client(body) => body.size_hint(),
            Source::Again(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl Drop for Inner {
    /// A body is dropped as soon as its end was handed on, or when it is not read any further.
    fn drop(&mut self) {
        self.exchange.took_all();
    }
}

/// Removes from trailers what must not come in by them: credentials, and what ends at this proxy. No others go out
/// than the head has announced, and none that would change how the message is read (RFC 9110, 6.5.1).
pub fn edit_trailers(trailers: &mut HeaderMap) {
    let mut lines = FieldLines::from(std::mem::take(trailers));
    lines.remove_all(Names::of(&UNFORWARDED));
    lines.remove_all(NOT_IN_TRAILERS);
    *trailers = lines.into_map();
}

const NOT_IN_TRAILERS: Names =
    Names::of(&[Name::Authorization, Name::SecWebSocketProtocol, Name::ApiKey, Name::OpenAiOrganization]);

/// The most that is kept of a body in case that it has to be sent again, in bytes: more than most prompts have.
const MOST_KEPT: usize = 64 * 1024;

/// How long upstream may take to want a body: as long as clients commonly wait to be told before they send it anyhow.
const WORTH_THE_WAIT: Duration = Duration::from_secs(1);
