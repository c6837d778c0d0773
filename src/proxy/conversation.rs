//! One client's connection, from the moment it is let in to its end.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::service_fn;

use super::entrance::Entered;
use super::exchange::exchange;
use super::lingering::linger;
use super::panic::CatchPanic;
use super::refusal;
use super::worker::{Seat, Session, Worker};

/// Lets one client in, and serves it.
pub async fn converse(mut seat: Seat, worker: Arc<Worker>, stream: TcpStream, peer: IpAddr) {
    let entering = worker.shared.entrance.enter(stream, peer, worker.limits().client_idle_timeout);
    match seat.unless_asked_to_leave(entering).await {
        Some(Ok(client)) => speak(seat, worker, client).await,
        Some(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a client did not get in"),
        None => tracing::debug!(%peer, "a client had to leave before it was in"),
    }
}

/// Speaks HTTP with one client. What every request gets stands around the exchange: a panic costs it alone.
async fn speak(mut seat: Seat, worker: Arc<Worker>, client: Entered) {
    let Entered { stream, peer } = client;
    let limits = worker.limits();
    let mut protocol = http1::Builder::new();
    protocol
        .timer(worker.pulse.clone())
        .header_read_timeout(limits.client_idle_timeout)
        .max_header_size(limits.max_head);
    let session = Arc::new(Session::new(Arc::clone(&worker), peer));
    let of_service = Arc::clone(&session);
    let service = service_fn(move |request| exchange(Arc::clone(&of_service), request));
    let service = CatchPanic::new(service, move || {
        worker.counters.panics.increment();
        refusal::failed()
    });
    let mut connection = protocol.serve_connection(TokioIo::new(stream), AlwaysReady(service));
    let served = poll_fn(|context| {
        if seat.is_asked_to_leave(context) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(context)
    })
    .await;
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, %peer, "a client's connection ended badly");
        return;
    }
    // What follows the last answer is in a box each: few clients ever need the room.
    if let Some(tunnel) = session.take_tunnel() {
        let parts = connection.into_parts();
        Box::pin(tunnel.run(parts.io.into_inner(), parts.read_buf)).await;
    } else if session.has_unread() {
        let lingering = Box::pin(linger(connection.into_parts().io.into_inner()));
        seat.unless_asked_to_leave(lingering).await;
    }
}

/// A tower service as hyper takes it. The services here are always ready, so nobody has to wait for them to be.
struct AlwaysReady<S>(S);

impl<S, R> hyper::service::Service<R> for AlwaysReady<S>
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
