//! A client that speaks HTTP/2: each of its requests is a stream and a task of its own.

use std::error::Error;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::TokioIo;

use super::connections::{ConnectionGuard, Connections};
use super::http2_streams::Http2Streams;
use super::service::{say_how_it_ended, service};
use crate::early_refusal::EarlyRefusal;
use crate::exchange::session::Session;
use crate::message::Request;
use crate::net::protocol::Protocol;
use crate::net::stream::{ClientStream, RewoundStream};
use crate::net::write_stall::{ActivityWatch, StallWatch, WriteStall};
use crate::upstream::request_body::ClientBody;

/// HTTP/2, each request in a stream and a task of its own.
pub async fn serve_http2(
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
        .max_header_list_size(max_head.saturating_mul(TOLD))
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    let mut connection =
        protocol.serve_connection(TokioIo::new(stream), streams.watching(OverHttp2(service(&session))));
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
        Err(error) => say_how_it_ended(error.as_ref().map(|error| error as _), peer),
        Ok(()) => {}
    }
}

/// Whether the connection ended because its client broke the rules of HTTP/2, or flooded keyward by them.
fn breaks_rules(error: &hyper::Error) -> bool {
    let broken = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    broken.is_some_and(|broken| broken.is_library() && broken.reason() != Some(h2::Reason::NO_ERROR))
}

/// A tower service as hyper takes it. The services here are always ready, so `poll_ready` need not be asked.
struct OverHttp2<S>(S);

impl<S> Service<http::Request<Incoming>> for OverHttp2<S>
where
    S: tower::Service<Request<ClientBody>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: http::Request<Incoming>) -> S::Future {
        self.0.clone().call(Request::from(request).map(ClientBody::Http2))
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
