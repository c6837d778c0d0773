//! The streams of a client that speaks HTTP/2: each a task of its own, with time limits of its own.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::answer_body::{AnswerBody, AnswerError};
use super::stall::Stall;
use super::worker::{Alarm, Worker};

/// The streams of a connection: how many are open, and since when none is.
#[derive(Clone)]
pub struct Streams {
    worker: Arc<Worker>,
    open: Arc<AtomicUsize>,
    idle_since: Arc<AtomicU64>,
    /// When something moved on the connection last.
    moved: Arc<AtomicU64>,
    /// Whether its client takes what it is handed, for the stream that is about to begin.
    beginning: Arc<Mutex<Option<Stall>>>,
}

impl Streams {
    /// None so far, on a connection on which something moved last at that time of the pulse.
    #[must_use]
    pub fn new(worker: Arc<Worker>, moved: Arc<AtomicU64>) -> Self {
        let idle_since = Arc::new(AtomicU64::new(worker.pulse.millis()));
        Self { worker, open: Arc::default(), idle_since, moved, beginning: Arc::default() }
    }

    /// Whether none has been open for that long.
    #[must_use]
    pub fn are_idle_for(&self, limit: Duration) -> bool {
        self.open.load(Ordering::Relaxed) == 0
            && self.worker.pulse.is_past(self.idle_since.load(Ordering::Relaxed), limit)
    }

    /// Whether none has been open for that long, and nothing has moved: what the client has yet to take of answers that are
    /// over, it does not take either.
    #[must_use]
    pub fn are_silent_for(&self, limit: Duration) -> bool {
        self.are_idle_for(limit) && self.is_still_for(limit)
    }

    fn is_still_for(&self, limit: Duration) -> bool {
        self.worker.pulse.is_past(self.moved.load(Ordering::Relaxed), limit)
    }

    /// A service whose answers tell their stream whether they are taken.
    pub fn watching<S>(&self, service: S) -> WatchingStreams<S> {
        WatchingStreams { service, streams: self.clone() }
    }

    fn beginning(&self) -> std::sync::MutexGuard<'_, Option<Stall>> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// hyper hands every stream over as soon as its head is there, right behind the call of its service.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let stall = self.beginning().take();
        let place = Place { alarm: Alarm::new(Arc::clone(&self.worker)), streams: self.clone(), stall };
        // In a box, for tokio copies a task as it begins and as it ends, and a stream is large.
        tokio::spawn(InStream { stream: Box::pin(stream), place });
    }
}

/// The place of one open stream. Dropping it frees the place.
struct Place {
    alarm: Alarm,
    streams: Streams,
    stall: Option<Stall>,
}

impl Place {
    /// While keyward drains there is less time, and a client that takes little at a time may need more of it: something
    /// moves on its connection then.
    fn is_stalled(&self) -> bool {
        let worker = &self.streams.worker;
        let patience = worker.client_patience();
        self.stall.as_ref().is_some_and(|stall| stall.is_past(patience))
            && (!worker.seats.are_leaving() || self.streams.is_still_for(patience))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.idle_since.store(self.streams.worker.pulse.millis(), Ordering::Relaxed);
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// One stream, which looks around at every tick as a client does that has a connection to itself.
    struct InStream<F> {
        #[pin]
        stream: F,
        place: Place,
    }
}

impl<F: Future<Output = ()>> Future for InStream<F> {
    type Output = ();

    /// A stream that its client does not take ends alone: the client may be a proxy itself, and others share its connection.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.place.alarm.set(context);
        let poll = this.stream.poll(context);
        if poll.is_pending() && this.place.is_stalled() {
            tracing::debug!("a client took nothing of a stream for too long");
            return Poll::Ready(());
        }
        poll
    }
}

/// A service whose answers tell their stream whether they are taken.
pub struct WatchingStreams<S> {
    service: S,
    streams: Streams,
}

impl<S> Service<Request<Incoming>> for WatchingStreams<S>
where
    S: Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>,
{
    type Response = Response<WatchedBody>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stall = Stall::new(self.streams.worker.pulse.clone());
        *self.streams.beginning() = Some(stall.clone());
        Answering { answer: self.service.call(request), stall }
    }
}

pin_project! {
    /// An answer on its way into a stream.
    pub struct Answering<F> {
        #[pin]
        answer: F,
        stall: Stall,
    }
}

impl<F: Future<Output = Result<Response<AnswerBody>, Infallible>>> Future for Answering<F> {
    type Output = Result<Response<WatchedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(answer) = ready!(this.answer.poll(context));
        Poll::Ready(Ok(answer.map(|body| WatchedBody { body, stall: this.stall.clone() })))
    }
}

/// An answer's body in a stream. hyper asks for more of it only where the client has room for what came before.
pub struct WatchedBody {
    body: AnswerBody,
    stall: Stall,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        self.stall.end();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(&frame, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            self.stall.begin();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
