//! The connections to upstream in HTTP/2 of one worker, and the exchanges that wait for a place on one.
//!
//! Who finds none waits for a connection that is being made, together with all others who do: a burst makes as many as it
//! needs and no more. One that fails fails those who wait for it, with its cause. A place is given when upstream has said how
//! many it allows (RFC 9113, 6.5.2), and not before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::connection::Connection;
use super::dialer::{Dialed, Dialer};
use super::http2::{MOST_PLACES, Place, Shared};
use crate::net::connect::ConnectError;

/// The connections in HTTP/2 of one worker, and those who wait for one.
pub struct Places {
    connections: Mutex<Vec<Shared>>,
    waiting: Mutex<Waiting>,
    dialer: Arc<Dialer>,
}

struct Waiting {
    exchanges: VecDeque<oneshot::Sender<Result<Connection, Arc<ConnectError>>>>,
    /// How many connections are being made.
    dials: usize,
    /// For how many exchanges the last one had room, and the next ones probably have.
    room: usize,
}

impl Places {
    /// None so far.
    #[must_use]
    pub fn new(dialer: Arc<Dialer>) -> Self {
        let waiting = Waiting { exchanges: VecDeque::new(), dials: 0, room: MOST_PLACES as usize };
        Self { connections: Mutex::default(), waiting: Mutex::new(waiting), dialer }
    }

    /// One that is free.
    #[must_use]
    pub fn free(&self) -> Option<Place> {
        self.connections().iter().find_map(|shared| shared.place(&self.dialer.coarse_clock))
    }

    /// Waits for one on a new connection; where upstream does not agree on HTTP/2, for a connection in HTTP/1.1.
    pub async fn wait_for_one(self: &Arc<Self>) -> Result<Connection, Arc<ConnectError>> {
        let (exchange, outcome) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            waiting.exchanges.push_back(exchange);
            self.dial_for(&mut waiting);
        }
        outcome.await.unwrap_or_else(|_dropped| Err(Arc::new(ConnectError::GivenUp)))
    }

    /// Closes the connections that are of no use any more, or idle for so long as `is_stale` says of the time since when.
    pub fn sweep(&self, is_stale: impl Fn(u64) -> bool) {
        self.connections().retain(|shared| shared.is_of_use() && !shared.idle_since().is_some_and(&is_stale));
    }

    /// How many connections carry nothing.
    pub fn idle(&self) -> usize {
        let is_idle = |shared: &&Shared| shared.is_of_use() && shared.idle_since().is_some();
        self.connections().iter().filter(is_idle).count()
    }

    /// Makes as many connections as those who wait will need. Whoever has left meanwhile needs none.
    fn dial_for(self: &Arc<Self>, waiting: &mut Waiting) {
        if waiting.dials * waiting.room < waiting.exchanges.len() {
            waiting.exchanges.retain(|exchange| !exchange.is_closed());
        }
        while waiting.dials * waiting.room < waiting.exchanges.len() {
            waiting.dials += 1;
            tokio::spawn(Dial { places: Arc::clone(self), dialed: None }.run());
        }
    }

    /// Gives those who wait what came of a dial. The ones that have left meanwhile get nothing.
    fn settle(self: &Arc<Self>, dialed: Result<Dialed, ConnectError>) {
        let mut waiting = self.waiting();
        waiting.dials -= 1;
        waiting.exchanges.retain(|exchange| !exchange.is_closed());
        match dialed {
            Ok(Dialed::Owned(connection)) => {
                waiting.room = 1;
                if let Some(first) = waiting.exchanges.pop_front() {
                    // Whoever has left has no use for it, here and below.
                    let _ = first.send(Ok(Connection::Owned(connection)));
                }
            }
            Ok(Dialed::Shared(shared)) => self.settle_on(shared, &mut waiting),
            // Nobody tries again where it is keyward that has failed, or is about to end.
            Err(ConnectError::GivenUp) => waiting.exchanges.clear(),
            Err(error) => waiting.fail(error),
        }
        self.dial_for(&mut waiting);
    }

    fn settle_on(&self, shared: Shared, waiting: &mut Waiting) {
        if !shared.is_of_use() {
            return waiting.fail(ConnectError::Closed { host: self.dialer.host().into() });
        }
        waiting.room = shared.most().max(1);
        while !waiting.exchanges.is_empty()
            && let Some(place) = shared.place(&self.dialer.coarse_clock)
            && let Some(exchange) = waiting.exchanges.pop_front()
        {
            let _ = exchange.send(Ok(Connection::Shared(Box::new(place))));
        }
        self.connections().push(shared);
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Shared>> {
        lock(&self.connections)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

impl Waiting {
    /// Fails as many as the connection would have had room for.
    fn fail(&mut self, error: ConnectError) {
        let error = Arc::new(error);
        let those = self.room.min(self.exchanges.len());
        self.exchanges.drain(..those).for_each(|exchange| drop(exchange.send(Err(Arc::clone(&error)))));
    }
}

/// A connection that is being made. However that ends, those who wait for it hear of it.
struct Dial {
    places: Arc<Places>,
    dialed: Option<Result<Dialed, ConnectError>>,
}

impl Dial {
    async fn run(mut self) {
        self.dialed = Some(self.places.dialer.dial().await);
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.places.settle(self.dialed.take().unwrap_or(Err(ConnectError::GivenUp)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
