//! One client's connection, from its handshake to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::connections::{ConnectionGuard, Connections};
use super::handshake::{Client, HandshakeError};
use super::http2_preface::PrefaceStream;
use super::http2_streams::Http2Streams;
use super::panic::CatchPanic;
use crate::early_refusal::EarlyRefusal;
use crate::exchange::context::WorkerContext;
use crate::exchange::exchange;
use crate::exchange::refusal;
use crate::exchange::response_body::ResponseBody;
use crate::exchange::session::Session;
use crate::net::deferred_waker;
use crate::net::lingering_close::linger;
use crate::net::protocol::Protocol;
use crate::net::stream::ClientStream;
use crate::net::stream::RewoundStream;
use crate::net::write_stall::{ActivityWatch, StallWatch, WriteStall};

/// Does the handshake with one client, and serves it.
pub async fn serve(mut guard: ConnectionGuard, connections: Arc<Connections>, stream: TcpStream, peer: IpAddr) {
    let accepting =
        connections.admission.handshake.accept(stream, peer, connections.worker.limits().client_idle_timeout);
    match guard.unless_asked_to_leave(accepting).await {
        Some(Ok(client)) => serve_client(guard, connections, client).await,
        Some(Err(error)) => reject(&error, &connections.worker, peer),
        None => tracing::debug!(%peer, "a client had to leave before it was in"),
    }
}

fn reject(error: &HandshakeError, worker: &WorkerContext, peer: IpAddr) {
    if let Some(why) = error.refusal() {
        worker.rejections.reject(why, peer, error);
    } else {
        tracing::debug!(error = error as &dyn Error, %peer, "a client left before it was in");
    }
}

/// Serves the protocol that the client speaks. Over TLS both sides have agreed on it already.
async fn serve_client(guard: ConnectionGuard, connections: Arc<Connections>, client: Client) {
    let Client { stream, peer } = client;
    if stream.is_for_http2() {
        Box::pin(serve_http2(guard, connections, peer, RewoundStream::new(Bytes::new(), stream))).await;
    } else {
        serve_http1(guard, connections, peer, stream).await;
    }
}

/// HTTP/1.1, and whatever may follow it: another protocol, or HTTP/2, which a client may begin with unasked
/// (RFC 9113, 3.3).
async fn serve_http1(mut guard: ConnectionGuard, connections: Arc<Connections>, peer: IpAddr, stream: ClientStream) {
    let worker = &connections.worker;
    let session = Arc::new(Session::new(Arc::clone(worker), peer, Protocol::Http1));
    let stall = WriteStall::new(worker.coarse_clock.clone());
    let stream = TokioIo::new(PrefaceStream::new(StallWatch::new(stream, stall.clone())));
    let mut connection = within_limits(worker).serve_connection(stream, service(&session));
    let waker = deferred_waker::of_this_task().await;
    let served = poll_fn(|context| {
        if guard.is_asked_to_leave(context) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        let served = Pin::new(&mut connection).poll(&mut Context::from_waker(&waker)).map_err(Some);
        if stall.is_past(worker.client_patience()) {
            session.give_up();
            return Poll::Ready(Err(None));
        }
        served
    })
    .await;
    // What follows is in a box each, since few clients need the room for it.
    let is_still_sending = match served {
        Ok(()) => {
            if let Some(upgraded) = session.take_upgraded() {
                let parts = connection.into_parts();
                return Box::pin(upgraded.run(parts.io.into_inner().into_inner(), parts.read_buf)).await;
            }
            session.unread.is_any()
        }
        Err(Some(error)) if error.is_parse_version_h2() => {
            let parts = connection.into_parts();
            let stream = RewoundStream::new(parts.read_buf, parts.io.into_inner().into_inner().into_inner());
            return Box::pin(serve_http2(guard, connections, peer, stream)).await;
        }
        // hyper has answered a head that it could not read, whatever comes behind it.
        Err(Some(error)) if error.is_parse() => {
            let (why, status) = of_unread_head(&error);
            worker.rejections.refuse(why, status, peer);
            true
        }
        Err(error) => {
            say_how_it_ended(error.as_ref(), peer);
            false
        }
    };
    if is_still_sending {
        let lingering = Box::pin(linger(connection.into_parts().io.into_inner().into_inner().into_inner()));
        guard.unless_asked_to_leave(lingering).await;
    }
}

/// HTTP/1.1 as it is spoken with every client.
fn within_limits(worker: &WorkerContext) -> http1::Builder {
    let limits = worker.limits();
    let mut protocol = http1::Builder::new();
    protocol
        .timer(worker.coarse_clock.clone())
        .header_read_timeout(limits.client_idle_timeout)
        .max_header_size(limits.max_head);
    protocol
}

/// HTTP/2, each request in a stream and a task of its own.
async fn serve_http2(
    mut guard: ConnectionGuard,
    connections: Arc<Connections>,
    peer: IpAddr,
    stream: RewoundStream<ClientStream>,
) {
    let worker = &connections.worker;
    let session = Arc::new(Session::new(Arc::clone(worker), peer, Protocol::Http2));
    let stall = WriteStall::new(worker.coarse_clock.clone());
    let (stream, moved) = ActivityWatch::new(StallWatch::new(stream, stall.clone()), worker.coarse_clock.clone());
    let streams = Http2Streams::new(Arc::clone(&connections), peer, moved);
    let max_head = u32::try_from(worker.limits().max_head).unwrap_or(u32::MAX);
    let mut protocol = http2::Builder::new(streams.clone());
    protocol
        .timer(worker.coarse_clock.clone())
        .max_header_list_size(max_head.saturating_mul(TOLD))
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    let mut connection = protocol.serve_connection(TokioIo::new(stream), streams.watching(service(&session)));
    let (mut was_sent_off, mut asked_at) = (false, None);
    let served = poll_fn(|context| {
        let (coarse_clock, limits) = (&worker.coarse_clock, worker.limits());
        let is_asked = guard.is_asked_to_leave(context);
        if is_asked || (!was_sent_off && streams.are_idle_for(limits.client_idle_timeout)) {
            was_sent_off = true;
            asked_at = is_asked.then(|| coarse_clock.millis());
            Pin::new(&mut connection).graceful_shutdown();
        }
        let served = Pin::new(&mut connection).poll(context).map_err(Some);
        // A client that was asked to leave and does not even answer that is gone.
        let is_gone = match asked_at {
            Some(at) => coarse_clock.is_past(at, FAREWELL) && streams.are_silent_for(FAREWELL),
            None => was_sent_off && streams.are_idle_for(limits.client_idle_timeout * 2),
        };
        let is_stalled = stall.is_past(worker.client_patience());
        if is_stalled {
            session.give_up();
        }
        if is_gone || is_stalled { Poll::Ready(Err(None)) } else { served }
    })
    .await;
    match served {
        Err(Some(error)) if breaks_rules(&error) => worker.rejections.reject(EarlyRefusal::BrokenHttp2, peer, &error),
        Err(error) => say_how_it_ended(error.as_ref(), peer),
        Ok(()) => {}
    }
}

/// Whether the connection ended because its client broke the rules of HTTP/2, or flooded keyward by them.
fn breaks_rules(error: &hyper::Error) -> bool {
    let broken = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    broken.is_some_and(|broken| broken.is_library() && broken.reason() != Some(h2::Reason::NO_ERROR))
}

/// What hyper has answered to such a head.
fn of_unread_head(error: &hyper::Error) -> (EarlyRefusal, StatusCode) {
    if !error.is_parse_too_large() {
        return (EarlyRefusal::UnreadableHead, StatusCode::BAD_REQUEST);
    }
    // Only the text of hyper's error tells a long target from a long head.
    let is_target = error.to_string() == "URI too long";
    let status = if is_target { StatusCode::URI_TOO_LONG } else { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE };
    (EarlyRefusal::OversizedHead, status)
}

/// Without an error, the client stood still for too long.
fn say_how_it_ended(error: Option<&hyper::Error>, peer: IpAddr) {
    if let Some(error) = error {
        tracing::debug!(error = error as &dyn Error, %peer, "a client's connection ended badly");
    } else {
        tracing::debug!(%peer, "a client stood still for too long");
    }
}

/// The exchange, with what every request gets around it: a panic costs it alone.
fn service(
    session: &Arc<Session>,
) -> impl Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible, Future: Send + 'static> + use<>
{
    let (session, worker) = (Arc::clone(session), Arc::clone(&session.worker));
    // In a box of its own, which is freed once the head of the answer is there: hyper keeps the future until the body's end.
    let service = tower::service_fn(move |request| Box::pin(exchange(Arc::clone(&session), request)));
    AlwaysReady(CatchPanic::new(service, move || {
        worker.counters.panics.increment();
        refusal::failed()
    }))
}

/// A tower service as hyper takes it. The services here are always ready, so `poll_ready` need not be asked.
struct AlwaysReady<S>(S);

impl<S, R> Service<R> for AlwaysReady<S>
where
    S: tower::Service<R> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> S::Future {
        self.0.clone().call(request)
    }
}

/// How long a client without a request may keep silent once it is told to leave: long enough for its answer to come back
/// from anywhere.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many times larger than `max_head` a head may be in HTTP/2 for its refusal to be told: the library refuses what is
/// larger, and tells only the client.
const TOLD: u32 = 4;

/// How many streams one client may have open at once: as many as RFC 9113, 6.5.2 recommends at least.
const MOST_STREAMS: u32 = 100;

/// How much of an upload may be on its way in one stream before upstream takes it, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams of a client together: what a client can have keyward hold.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How much of an answer waits for a client that does not read, in bytes for each stream.
const SEND_BUFFER: usize = 64 * 1024;
