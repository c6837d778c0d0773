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
use http::header::{self, HeaderMap};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::cancellation::Cancellation;
use super::unread::Unread;
use crate::head::{API_KEY, ORGANIZATION, UNFORWARDED};
use crate::ledger::sighting::Exchange;
use crate::locks::lock;
use crate::net::deferred_waker;

/// The request's body on its way upstream. In a box, since a request is moved a dozen times before it is sent, and its body
/// with it.
pub struct RequestBody(Box<Inner>);

struct Inner {
    source: Source,
    exchange: Arc<Exchange>,
    unread: Arc<Unread>,
    hold: Option<Hold>,
    kept: Option<Arc<Mutex<CopiedPieces>>>,
    broken: Option<hyper::Error>,
    cancellation: Option<Arc<Cancellation>>,
    is_read: bool,
}

enum Source {
    /// As it comes from the client.
    Client(Incoming),
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
    unread: Arc<Unread>,
}

impl BodyCopy {
    /// The body once more, if all of it was kept.
    #[must_use]
    pub fn into_body(self) -> Option<RequestBody> {
        let kept = std::mem::take(&mut *lock(&self.kept));
        let is_all = kept.is_whole && kept.size <= MOST_KEPT;
        is_all.then(|| RequestBody::of(Source::Again(kept.pieces), self.exchange, self.unread))
    }
}

/// A body that is not asked for before upstream wants it (RFC 9110, 10.1.1): its client waits to be told, and hyper tells
/// it when the body is read.
struct Hold {
    is_wanted: Arc<AtomicBool>,
    patience: Pin<Box<Sleep>>,
}

impl RequestBody {
    /// The body as it comes from the client. Its bytes count for `exchange`; what is left of it is noted in `unread`.
    #[must_use]
    pub fn new(incoming: Incoming, exchange: Arc<Exchange>, unread: Arc<Unread>) -> Self {
        Self::of(Source::Client(incoming), exchange, unread)
    }

    fn of(source: Source, exchange: Arc<Exchange>, unread: Arc<Unread>) -> Self {
        let (hold, kept, broken, cancellation) = (None, None, None, None);
        Self(Box::new(Inner { source, exchange, unread, hold, kept, broken, cancellation, is_read: false }))
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
        BodyCopy { kept, exchange: Arc::clone(&this.exchange), unread: Arc::clone(&this.unread) }
    }

    /// Holds the body back until the flag that this returns is set, but not for long: upstream may never set it.
    #[must_use]
    pub fn hold(&mut self) -> Arc<AtomicBool> {
        let is_wanted = Arc::new(AtomicBool::new(false));
        let patience = Box::pin(sleep(WORTH_THE_WAIT));
        self.0.hold = Some(Hold { is_wanted: Arc::clone(&is_wanted), patience });
        is_wanted
    }
}

impl Source {
    fn is_at_end(&self) -> bool {
        match self {
            Self::Client(incoming) => incoming.is_end_stream(),
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
    /// missing: with that error hyper would end the connection, and the answer with it.
    fn break_off(&mut self, error: hyper::Error, context: &Context<'_>) {
        self.broken = Some(error);
        context.waker().wake_by_ref();
    }

    fn poll_broken<T>(&mut self) -> Poll<Option<Result<T, hyper::Error>>> {
        match self.broken.take_if(|_| self.exchange.answered().is_none()) {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Poll::Pending,
        }
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.exchange.took(data.len(), self.unread.coarse_clock.millis());
        } else if let Some(trailers) = frame.trailers_mut() {
            edit_trailers(trailers);
            // Behind them comes nothing.
            self.is_read = true;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
        let incoming = match &mut this.source {
            Source::Client(incoming) => incoming,
            Source::Again(pieces) => return Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        };
        let (frame, deferred) = deferred_waker::defer(|| Pin::new(&mut *incoming).poll_frame(cx));
        // The client's connection reads on where there is room for more; behind the end, it has nothing to read.
        if !incoming.is_end_stream() {
            deferred.wake();
        }
        this.exchange.waits_for_client(frame.is_pending());
        let mut frame = match ready!(frame).transpose() {
            Ok(frame) => frame,
            Err(error) => {
                this.break_off(error, cx);
                return Poll::Pending;
            }
        };
        match &mut frame {
            None => this.is_read = true,
            Some(frame) => this.pass(frame),
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
            Source::Client(incoming) => incoming.size_hint(),
            Source::Again(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl Drop for Inner {
    /// hyper drops a body as soon as it has sent its end. One that is dropped before is not read any further.
    fn drop(&mut self) {
        self.exchange.took_all();
        if !self.is_read
            && let Source::Client(incoming) = &self.source
            && !incoming.is_end_stream()
        {
            self.unread.note(incoming.size_hint().exact());
        }
    }
}

/// Removes from trailers what must not come in by them: credentials, and what ends at this proxy. hyper sends no others
/// than the head has announced, and none that would change how the message is read (RFC 9110, 6.5.1).
pub fn edit_trailers(trailers: &mut HeaderMap) {
    for name in
        UNFORWARDED.iter().chain([&header::AUTHORIZATION, &header::SEC_WEBSOCKET_PROTOCOL, &API_KEY, &ORGANIZATION])
    {
        trailers.remove(name);
    }
}

/// The most that is kept of a body in case that it has to be sent again, in bytes: more than most prompts have.
const MOST_KEPT: usize = 64 * 1024;

/// How long upstream may take to want a body: as long as clients commonly wait to be told before they send it anyhow.
const WORTH_THE_WAIT: Duration = Duration::from_secs(1);
