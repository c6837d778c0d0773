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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::wrong_tokens::LATE;
use super::{Desk, Response, guard, routes};
use crate::net::coarse_clock::CoarseClock;
use crate::net::limits::Limits;
use crate::net::lingering_close::linger;
use crate::net::peer_limit::Peer;
use crate::net::stream::Stream;
use crate::net::write_stall::{StallWatch, WriteStall};

/// Serves each connection. It ends only where the listener cannot be used at all.
pub async fn serve(listener: std::net::TcpListener, desk: Arc<Desk>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut room = Room::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => room.seat(stream, peer.ip().to_canonical(), &desk),
            // Out of descriptors, or a client that left while it waited: neither is worth a spin.
            Err(error) => {
                tracing::debug!(%error, "a connection to the admin listener could not be accepted");
                tokio::time::sleep(FULL_HOUSE).await;
            }
        }
    }
}

/// The other end of a connection.
pub struct Guest {
    peer: IpAddr,
    has_token: AtomicBool,
    has_unread: AtomicBool,
}

impl Guest {
    /// Where the connection comes from.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Notes that a right token came, or a session: this connection does not have to make room for others.
    pub fn is_let_in(&self) {
        self.has_token.store(true, Ordering::Relaxed);
    }
}

/// Those who are here, in the order in which they came.
#[derive(Default)]
struct Room(VecDeque<(Arc<Guest>, AbortHandle)>);

impl Room {
    fn seat(&mut self, stream: TcpStream, peer: IpAddr, desk: &Arc<Desk>) {
        if !self.make_room(desk) {
            desk.counts.turned_away.increment();
            return;
        }
        let guest = Arc::new(Guest { peer, has_token: AtomicBool::new(false), has_unread: AtomicBool::new(false) });
        let task = tokio::spawn(converse(stream, Arc::clone(&guest), Arc::clone(desk)));
        self.0.push_back((guest, task.abort_handle()));
    }

    /// Says whether there is room for one more.
    fn make_room(&mut self, desk: &Desk) -> bool {
        if self.0.len() < MOST {
            return true;
        }
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() < MOST {
            return true;
        }
        let Some((_, task)) = self.longest_of_most().and_then(|position| self.0.remove(position)) else { return false };
        task.abort();
        desk.counts.turned_away.increment();
        true
    }

    /// Of those who have shown no token, by the peer that has most: the oldest.
    fn longest_of_most(&self) -> Option<usize> {
        let mut crowds = HashMap::new();
        for (position, (guest, _)) in self.0.iter().enumerate() {
            if !guest.has_token.load(Ordering::Relaxed) {
                crowds.entry(Peer::of(guest.peer)).or_insert((0, Reverse(position))).0 += 1;
            }
        }
        crowds.into_values().max().map(|(_, Reverse(first))| first)
    }
}

/// Serves one connection.
async fn converse(stream: TcpStream, guest: Arc<Guest>, desk: Arc<Desk>) {
    // Failing to say so costs speed alone.
    let _ = stream.set_nodelay(true);
    let Limits { client_idle_timeout, client_stall_timeout, max_head, .. } = desk.shared.limits;
    let stall = WriteStall::new(CoarseClock::new());
    let stream = TokioIo::new(StallWatch::new(Stream::Plain(stream), stall.clone()));
    let service = service_fn(|request| answer(&desk, &guest, request));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(client_idle_timeout)
        .max_header_size(max_head)
        .serve_connection(stream, service);
    let is_still_sending = tokio::select! {
        served = &mut connection => match served {
            Ok(()) => guest.has_unread.load(Ordering::Relaxed),
            // hyper has answered a head that it could not read, whatever comes behind it.
            Err(error) => error.is_parse(),
        },
        () = stall.lasts(client_stall_timeout) => false,
    };
    if is_still_sending {
        linger(connection.into_parts().io.into_inner().into_inner()).await;
    }
}

/// No route takes a body, so that none is read.
async fn answer(desk: &Arc<Desk>, guest: &Guest, request: Request<Incoming>) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    guest.has_unread.store(!body.is_end_stream(), Ordering::Relaxed);
    let mut answer = routes::answer(desk, &head, guest);
    guard::seal(answer.headers_mut());
    if answer.status() == StatusCode::TOO_MANY_REQUESTS {
        tokio::time::sleep(LATE).await;
    }
    Ok(answer)
}

/// How many connections there may be.
const MOST: usize = 256;

/// How long to wait when there are no descriptors.
const FULL_HOUSE: Duration = Duration::from_millis(20);
