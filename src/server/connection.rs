//! One client's connection, from its handshake to its end.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::connections::{ConnectionGuard, Connections};
use super::handshake::{Client, HandshakeError};
use super::http1::serve_http1;
use super::http2::serve_http2;
use crate::exchange::context::WorkerContext;
use crate::net::stream::RewoundStream;

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
