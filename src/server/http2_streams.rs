//! The streams of a client that speaks HTTP/2: each is a task of its own, has its own time limits, and counts as a connection
//! of its peer.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::admission::Admission;
use super::connections::{Connections, TickWaker};
use crate::early_refusal::EarlyRefusal;
use crate::exchange::refusal;
use crate::exchange::response_body::{ResponseBody, ResponseBodyError};
use crate::locks::lock;
use crate::message::Answer;
use crate::net::peer_limit::Peer;
use crate::net::write_stall::WriteStall;

/// The streams of a connection: how many are open, and since when none is.
#[derive(Clone)]
pub struct Http2Streams {
    connections: Arc<Connections>,
    peer: IpAddr,
    open: Arc<AtomicUsize>,
    idle_since: Arc<AtomicU64>,
    /// When something moved on the connection last.
    moved: Arc<AtomicU64>,
    /// The stream that is about to begin.
    starting: Arc<Mutex<Option<StreamStart>>>,
}

/// What a stream has from its start on.
struct StreamStart {
    /// Whether its client takes what it is handed.
    stall: WriteStall,
    /// Its place among those of its peer; none where all are taken, and it is refused.
    _share: Option<PlaceGuard>,
}

/// One of the places that a peer has. Dropping it gives it back.
struct PlaceGuard {
    admission: Arc<Admission>,
    peer: Peer,
}

impl PlaceGuard {
    fn take(admission: &Arc<Admission>, peer: IpAddr) -> Option<Self> {
        let has_room = !admission.is_full() && admission.admit(peer);
        has_room.then(|| Self { admission: Arc::clone(admission), peer: Peer::of(peer) })
    }
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        self.admission.release(self.peer);
    }
}

impl Http2Streams {
    /// None so far, on that peer's connection, with the time at which something last moved on it.
    #[must_use]
    pub fn new(connections: Arc<Connections>, peer: IpAddr, moved: Arc<AtomicU64>) -> Self {
        let idle_since = Arc::new(AtomicU64::new(connections.worker.coarse_clock.millis()));
        Self { connections, peer, open: Arc::default(), idle_since, moved, starting: Arc::default() }
    }

    /// Whether none has been open for that long.
    #[must_use]
    pub fn are_idle_for(&self, limit: Duration) -> bool {
        self.open.load(Ordering::Relaxed) == 0
            && self.connections.worker.coarse_clock.is_past(self.idle_since.load(Ordering::Relaxed), limit)
    }

    /// Whether none has been open for that long, and nothing has moved: what the client has yet to take of answers that are
    /// over, it does not take either.
    #[must_use]
    pub fn are_silent_for(&self, limit: Duration) -> bool {
        self.are_idle_for(limit) && self.is_still_for(limit)
    }

    fn is_still_for(&self, limit: Duration) -> bool {
        self.connections.worker.coarse_clock.is_past(self.moved.load(Ordering::Relaxed), limit)
    }

    /// A service whose answers note whether they are taken, and that does not get the requests that are too many.
    pub fn watching<S>(&self, service: S) -> StreamService<S> {
        StreamService { service, streams: self.clone() }
    }

    /// Begins one. Gives the answer where it goes no further.
    fn begin(&self, request: &Request<Incoming>, stall: &WriteStall) -> Option<Answer<ResponseBody>> {
        let share = PlaceGuard::take(&self.connections.admission, self.peer);
        let has_share = share.is_some();
        *self.starting() = Some(StreamStart { stall: stall.clone(), _share: share });
        if size_of_head(request) > self.connections.worker.limits().max_head {
            let answer = refusal::oversized_head();
            self.connections.worker.rejections.refuse(EarlyRefusal::OversizedHead, answer.status, self.peer);
            return Some(answer);
        }
        (!has_share).then(|| {
            let answer = refusal::too_many_requests();
            self.connections.worker.rejections.turn_away(EarlyRefusal::TooManyRequests, answer.status, self.peer);
            answer
        })
    }

    fn starting(&self) -> std::sync::MutexGuard<'_, Option<StreamStart>> {
        lock(&self.starting)
    }
}

/// hyper spawns every stream as soon as its head is there, right after it has called the service.
impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Http2Streams {
    fn execute(&self, stream: F) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let starting = self.starting().take();
        let guard =
            StreamGuard { tick_waker: TickWaker::new(Arc::clone(&self.connections)), streams: self.clone(), starting };
        // In a box, since tokio copies a task when it begins and when it ends, and a stream is large.
        tokio::spawn(StreamTask { stream: Box::pin(stream), guard });
    }
}

/// Counts one open stream as long as it is kept.
struct StreamGuard {
    tick_waker: TickWaker,
    streams: Http2Streams,
    starting: Option<StreamStart>,
}

impl StreamGuard {
    /// While keyward drains there is less time, and a client that takes little at a time may need more of it: something
    /// moves on its connection then.
    fn is_stalled(&self) -> bool {
        let worker = &self.streams.connections.worker;
        let patience = worker.client_patience();
        self.starting.as_ref().is_some_and(|starting| starting.stall.is_past(patience))
            && (!worker.is_draining() || self.streams.is_still_for(patience))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.idle_since.store(self.streams.connections.worker.coarse_clock.millis(), Ordering::Relaxed);
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// One stream, which checks its time limits at every tick, as a client in HTTP/1.1 does.
    struct StreamTask<F> {
        #[pin]
        stream: F,
        guard: StreamGuard,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    /// A stream that its client does not take ends alone: the client may be a proxy itself, and others share its connection.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.guard.tick_waker.set(context);
        let poll = this.stream.poll(context);
        if poll.is_pending() && this.guard.is_stalled() {
            tracing::debug!("a client took nothing of a stream for too long");
            return Poll::Ready(());
        }
        poll
    }
}

/// A service whose answers note whether they are taken, and that does not get the requests that are too many.
pub struct StreamService<S> {
    service: S,
    streams: Http2Streams,
}

impl<S> Service<Request<Incoming>> for StreamService<S>
where
    S: Service<Request<Incoming>, Response = Answer<ResponseBody>, Error = Infallible>,
{
    type Response = Response<StreamBody>;
    type Error = Infallible;
    type Future = StreamResponse<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stall = WriteStall::new(self.streams.connections.worker.coarse_clock.clone());
        let refusal = self.streams.begin(&request, &stall).map(Box::new);
        let answer = if refusal.is_none() { Some(self.service.call(request)) } else { None };
        StreamResponse { answer, refusal, stall }
    }
}

/// How large a head is in HTTP/2 (RFC 9113, 6.5.2), in bytes.
fn size_of_head(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    let (uri, method) = (request.uri(), request.method());
    let authority = uri.authority().map(|authority| authority.as_str().len());
    let parts = [Some(method.as_str().len()), Some(path_of(uri)), uri.scheme_str().map(str::len), authority];
    let fields = fields.chain(parts.into_iter().flatten());
    fields.map(|length| length + FIELD).sum()
}

fn path_of(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}

/// What every field of a head counts beside its text.
const FIELD: usize = 32;

pin_project! {
    /// An answer on its way into a stream.
    pub struct StreamResponse<F> {
        #[pin]
        answer: Option<F>,
        refusal: Option<Box<Answer<ResponseBody>>>,
        stall: WriteStall,
    }
}

impl<F: Future<Output = Result<Answer<ResponseBody>, Infallible>>> Future for StreamResponse<F> {
    type Output = Result<Response<StreamBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match (this.refusal.take(), this.answer.as_pin_mut()) {
            (Some(refusal), _) => *refusal,
            (None, Some(answer)) => {
                let Ok(answer) = ready!(answer.poll(context));
                answer
            }
            // It is not polled again after its answer.
            (None, None) => return Poll::Pending,
        };
        Poll::Ready(Ok(Response::from(answer).map(|body| StreamBody { body, stall: this.stall.clone() })))
    }
}

/// An answer's body in a stream. hyper asks for more of it only where the client has room for what came before.
pub struct StreamBody {
    body: ResponseBody,
    stall: WriteStall,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
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
