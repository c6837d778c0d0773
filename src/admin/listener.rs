//! Connections to the admin listener: as many as it has room for, each within the limits of a client of n8n's.
//!
//! It is for a few people, a scraper and probes. A crowd keeps no client out: where there is no room, a new connection takes the place
//! of a connection that has shown no token, of the peer that has most of those. One that has is never sent away for others.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::looks::Looks;
use super::response::Response;
use super::state::AdminState;
use super::wrong_tokens::LATE;
use super::{guard, routes};
use crate::net::coarse_clock::CoarseClock;
use crate::net::limits::Limits;
use crate::net::lingering_close::linger;
use crate::net::peer_limit::Peer;
use crate::net::stream::Stream;
use crate::net::write_stall::{StallWatch, WriteStall};

/// Serves each connection. It ends only where the listener cannot be used at all.
pub async fn serve(listener: std::net::TcpListener, admin: Arc<AdminState>, looks: Looks) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => connections.accept(stream, peer.ip().to_canonical(), &admin, &looks),
            // Out of descriptors, or a client that left while it waited: neither is worth a spin.
            Err(error) => {
                tracing::debug!(%error, "a connection to the admin listener could not be accepted");
                tokio::time::sleep(WITHOUT_DESCRIPTORS).await;
            }
        }
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<(Arc<Connection>, AbortHandle)>);

impl Connections {
    fn accept(&mut self, stream: TcpStream, peer: IpAddr, admin: &Arc<AdminState>, looks: &Looks) {
        if !self.make_room(admin) {
            admin.counts.turned_away.increment();
            return;
        }
        let connection = Arc::new(Connection::new(peer));
        let served = serve_connection(stream, Arc::clone(&connection), Arc::clone(admin), looks.clone());
        let task = tokio::spawn(served);
        self.0.push_back((connection, task.abort_handle()));
    }

    /// Says whether there is room for one more.
    fn make_room(&mut self, admin: &AdminState) -> bool {
        if self.0.len() < MOST {
            return true;
        }
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() < MOST {
            return true;
        }
        let Some((_, task)) = self.longest_of_most().and_then(|position| self.0.remove(position)) else { return false };
        task.abort();
        admin.counts.turned_away.increment();
        true
    }

    /// Of those who have shown no token, by the peer that has most: the oldest.
    fn longest_of_most(&self) -> Option<usize> {
        let mut crowds = HashMap::new();
        for (position, (connection, _)) in self.0.iter().enumerate() {
            if !connection.has_token() {
                crowds.entry(Peer::of(connection.peer())).or_insert((0, Reverse(position))).0 += 1;
            }
        }
        crowds.into_values().max().map(|(_, Reverse(first))| first)
    }
}

async fn serve_connection(stream: TcpStream, connection: Arc<Connection>, admin: Arc<AdminState>, looks: Looks) {
    // Failing to say so costs speed alone.
    let _ = stream.set_nodelay(true);
    let Limits { client_idle_timeout, client_stall_timeout, max_head, .. } = admin.shared.limits;
    let stall = WriteStall::new(CoarseClock::new());
    let stream = TokioIo::new(StallWatch::new(Stream::Plain(stream), stall.clone()));
    let service = service_fn(|request| answer(&admin, &looks, &connection, request));
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(client_idle_timeout)
        .max_header_size(max_head)
        .serve_connection(stream, service);
    let is_still_sending = tokio::select! {
        ended = &mut served => match ended {
            Ok(()) => connection.has_unread(),
            // hyper has answered a head that it could not read, whatever comes behind it.
            Err(error) => error.is_parse(),
        },
        () = stall.lasts(client_stall_timeout) => false,
    };
    if is_still_sending {
        linger(served.into_parts().io.into_inner().into_inner()).await;
    }
}

/// No route takes a body, so that none is read.
async fn answer(
    admin: &Arc<AdminState>,
    looks: &Looks,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    connection.leaves_unread(!body.is_end_stream());
    let mut answer = routes::answer(admin, looks, head, connection).await;
    guard::seal(answer.headers_mut());
    if answer.status() == StatusCode::TOO_MANY_REQUESTS {
        tokio::time::sleep(LATE).await;
    }
    Ok(answer)
}

/// How many connections there may be.
const MOST: usize = 256;

/// How long to wait when there are no descriptors.
const WITHOUT_DESCRIPTORS: Duration = Duration::from_millis(20);
