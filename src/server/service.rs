//! What every request gets around its exchange, and how the end of a connection is told.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use super::panic::CatchPanic;
use crate::exchange::exchange;
use crate::exchange::refusal;
use crate::exchange::response_body::ResponseBody;
use crate::exchange::session::Session;
use crate::message::{Answer, Request};
use crate::upstream::request_body::ClientBody;

/// The exchange, with what every request gets around it: a panic costs it alone.
pub fn service(
    session: &Arc<Session>,
) -> impl tower::Service<Request<ClientBody>, Response = Answer<ResponseBody>, Error = Infallible, Future: Send + 'static>
+ Clone
+ use<> {
    let (session, worker) = (Arc::clone(session), Arc::clone(&session.worker));
    // In a box of its own, which is freed once the head of the answer is there.
    let service = tower::service_fn(move |request| Box::pin(exchange(Arc::clone(&session), request)));
    CatchPanic::new(service, move || {
        worker.counters.panics.increment();
        refusal::failed()
    })
}

/// Without an error, the client stood still for too long.
pub fn say_how_it_ended(error: Option<&(dyn Error + 'static)>, peer: IpAddr) {
    if let Some(error) = error {
        tracing::debug!(error, %peer, "a client's connection ended badly");
    } else {
        tracing::debug!(%peer, "a client stood still for too long");
    }
}
