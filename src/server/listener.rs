//! Client connections: accepted from one listener that all workers share, and spread over them.
//!
//! All workers listen on the same socket, not on one each by `SO_REUSEPORT`: so a second `serve` on the port fails, a
//! socket that systemd hands over is enough for all, and a worker that stops takes no waiting client with it. A worker
//! that has more clients than another passes a new one on, since n8n's few keep-alive connections would otherwise all
//! stay with the worker that happened to wake first.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::Stage;
use super::connection::serve;
use super::connections::ConnectionGuard;
use super::worker::Worker;
use crate::net::peer_limit::Peer;

/// Opens the listener that all workers share.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A port whose last connections are still closing may be taken again at once; a port in use may not.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes the clients that other workers pass on.
pub async fn receive(worker: Arc<Worker>, mut inbox: mpsc::Receiver<(std::net::TcpStream, IpAddr)>) {
    while let Some((stream, peer)) = inbox.recv().await {
        match TcpStream::from_std(stream) {
            Ok(stream) => spawn_connection(&worker, stream, peer),
            Err(error) => {
                worker.connections.no_longer_expect();
                worker.connections.admission.release(Peer::of(peer));
                tracing::debug!(%error, "a client could not be passed on");
            }
        }
    }
}

/// Accepts until it is time to stop, then what is still waiting in the queue.
pub async fn accept(
    worker: &Arc<Worker>,
    workers: &[Arc<Worker>],
    listener: TcpListener,
    mut stage: watch::Receiver<Stage>,
) {
    let mut stopping = pin!(async { drop(stage.wait_for(|stage| *stage != Stage::Running).await) });
    loop {
        tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = next_client(worker, &listener) => handle_accepted(worker, workers, accepted).await,
        }
    }
    // The kernel's queue is looked at once more: a client that connected before the signal is served. None is passed on any
    // more, since the other workers may be gone.
    tokio::task::yield_now().await;
    while let Poll::Ready(accepted) = poll_fn(|context| Poll::Ready(listener.poll_accept(context))).await {
        handle_accepted(worker, std::slice::from_ref(worker), accepted).await;
    }
}

/// Accepts as long as there is room for one more; without, clients wait in the kernel's queue.
async fn next_client(worker: &Worker, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    while worker.connections.admission.is_full() {
        tokio::time::sleep(WAIT_WHILE_FULL).await;
    }
    listener.accept().await
}

async fn handle_accepted(worker: &Arc<Worker>, workers: &[Arc<Worker>], accepted: io::Result<(TcpStream, SocketAddr)>) {
    match accepted {
        // A socket for both families shows an IPv4 client with an IPv6 address, which fits no rule and no log line.
        Ok((stream, peer)) => admit(worker, workers, stream, peer.ip().to_canonical()),
        // Out of descriptors, or a client that left while it waited: neither is worth a spin.
        Err(error) => {
            tracing::debug!(%error, "a client could not be accepted");
            tokio::time::sleep(WAIT_WHILE_FULL).await;
        }
    }
}

/// Closes the connection of a client whose peer has too many already.
fn admit(worker: &Arc<Worker>, workers: &[Arc<Worker>], stream: TcpStream, peer: IpAddr) {
    if worker.connections.admission.admit(peer) {
        keep_or_pass_on(worker, workers, stream, peer);
    } else {
        worker.context.counters.clients_turned_away.increment();
        tracing::debug!(%peer, "a client was turned away: its peer has too many connections already");
    }
}

/// Keeps the client, or passes it on to a worker that has at least two fewer.
fn keep_or_pass_on(worker: &Arc<Worker>, workers: &[Arc<Worker>], stream: TcpStream, peer: IpAddr) {
    let taken = worker.connections.count();
    let idlest = workers.iter().min_by_key(|worker| worker.connections.count());
    match idlest.filter(|other| other.connections.count() + 2 <= taken) {
        None => {
            worker.connections.expect();
            spawn_connection(worker, stream, peer);
        }
        Some(other) => {
            if let Err(error) = pass_client_on(other, stream, peer) {
                worker.connections.admission.release(Peer::of(peer));
                tracing::debug!(%error, "a client could not be passed on");
            }
        }
    }
}

/// The client counts as the other worker's from now on, so that a burst does not all go to one.
fn pass_client_on(other: &Worker, stream: TcpStream, peer: IpAddr) -> io::Result<()> {
    let stream = stream.into_std()?;
    other.connections.expect();
    other.inbox.try_send((stream, peer)).map_err(|_full| {
        other.connections.no_longer_expect();
        io::Error::from(io::ErrorKind::ConnectionRefused)
    })
}

fn spawn_connection(worker: &Arc<Worker>, stream: TcpStream, peer: IpAddr) {
    // Failing to say so costs speed alone.
    let _ = stream.set_nodelay(true);
    let guard = ConnectionGuard::take(Arc::clone(&worker.connections), Peer::of(peer));
    // In a box, since the runtime moves a task when it begins and when it ends.
    tokio::spawn(Box::pin(serve(guard, Arc::clone(&worker.connections), stream, peer)));
}

/// How many clients may wait to be accepted, as far as the system allows.
const BACKLOG: i32 = 4096;

/// How long to wait when there is no room for a client.
const WAIT_WHILE_FULL: Duration = Duration::from_millis(20);
