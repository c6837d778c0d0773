//! The connections to upstream in HTTP/2 of one worker, and the exchanges that wait for a stream on one.
//!
//! An exchange that finds no free stream waits for a connection that is being made, together with all others that wait: a
//! burst makes as many connections as it needs and no more. If one cannot be made, the exchanges that wait for it fail, with
//! its cause. Streams are given out only after upstream has said how many it allows (RFC 9113, 6.5.2).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use super::connection::Connection;
use super::dialer::{Dialer, NewConnection};
use super::http2::{Http2Connection, MOST_STREAMS, StreamSlot};
use crate::locks::lock;
use crate::net::connect::ConnectError;

/// The connections in HTTP/2 of one worker, and the exchanges that wait for one.
pub struct Http2Pool {
    connections: Mutex<Vec<Http2Connection>>,
    waiting: Mutex<WaitList>,
    dialer: Arc<Dialer>,
}

struct WaitList {
    exchanges: VecDeque<oneshot::Sender<Result<Connection, Arc<ConnectError>>>>,
    /// How many connections are being made.
    dials: usize,
    /// For how many exchanges the last one had room, and the next ones probably have.
    room: usize,
}

impl Http2Pool {
    /// Without a connection: the first is made when an exchange asks for one.
    #[must_use]
    pub fn new(dialer: Arc<Dialer>) -> Self {
        let waiting = WaitList { exchanges: VecDeque::new(), dials: 0, room: MOST_STREAMS as usize };
        Self { connections: Mutex::default(), waiting: Mutex::new(waiting), dialer }
    }

    /// A free stream, where there is one.
    #[must_use]
    pub fn free(&self) -> Option<StreamSlot> {
        self.connections().iter().find_map(|connection| connection.slot(&self.dialer.coarse_clock))
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

    /// Closes the connections that take no more exchanges, and those that `is_stale` finds idle since too long ago.
    pub fn sweep(&self, is_stale: impl Fn(u64) -> bool) {
        self.connections()
            .retain(|connection| connection.is_of_use() && !connection.idle_since().is_some_and(&is_stale));
    }

    /// How many connections carry nothing.
    pub fn idle(&self) -> usize {
        let is_idle = |connection: &&Http2Connection| connection.is_of_use() && connection.idle_since().is_some();
        self.connections().iter().filter(is_idle).count()
    }

    /// Makes as many connections as the waiting exchanges need. An exchange whose client has left needs none.
    fn dial_for(self: &Arc<Self>, waiting: &mut WaitList) {
        if waiting.dials * waiting.room < waiting.exchanges.len() {
            waiting.exchanges.retain(|exchange| !exchange.is_closed());
        }
        while waiting.dials * waiting.room < waiting.exchanges.len() {
            waiting.dials += 1;
            tokio::spawn(DialTask { http2: Arc::clone(self), dialed: None }.run());
        }
    }

    /// Gives the waiting exchanges what a dial came to. Those whose clients have left get nothing.
    fn settle(self: &Arc<Self>, dialed: Result<NewConnection, ConnectError>) {
        let mut waiting = self.waiting();
        waiting.dials -= 1;
        waiting.exchanges.retain(|exchange| !exchange.is_closed());
        match dialed {
            Ok(NewConnection::Http1(connection)) => {
                waiting.room = 1;
                if let Some(first) = waiting.exchanges.pop_front() {
                    // An exchange whose client has left does not receive it, here and below.
                    let _ = first.send(Ok(Connection::Http1(connection)));
                }
            }
            Ok(NewConnection::Http2(shared)) => self.settle_on(shared, &mut waiting),
            // Where keyward has failed itself, or is about to end, there is no second try.
            Err(ConnectError::GivenUp) => waiting.exchanges.clear(),
            Err(error) => waiting.fail(error),
        }
        self.dial_for(&mut waiting);
    }

    fn settle_on(&self, connection: Http2Connection, waiting: &mut WaitList) {
        if !connection.is_of_use() {
            return waiting.fail(ConnectError::Closed { host: self.dialer.host().into() });
        }
        waiting.room = connection.most().max(1);
        while !waiting.exchanges.is_empty()
            && let Some(slot) = connection.slot(&self.dialer.coarse_clock)
            && let Some(exchange) = waiting.exchanges.pop_front()
        {
            let _ = exchange.send(Ok(Connection::Http2(Box::new(slot))));
        }
        self.connections().push(connection);
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Http2Connection>> {
        lock(&self.connections)
    }

    fn waiting(&self) -> MutexGuard<'_, WaitList> {
        lock(&self.waiting)
    }
}

impl WaitList {
    /// Fails as many exchanges as the connection would have had room for.
    fn fail(&mut self, error: ConnectError) {
        let error = Arc::new(error);
        let those = self.room.min(self.exchanges.len());
        self.exchanges.drain(..those).for_each(|exchange| drop(exchange.send(Err(Arc::clone(&error)))));
    }
}

/// Makes a connection. The exchanges that wait for it are told how that ended, also by a panic.
struct DialTask {
    http2: Arc<Http2Pool>,
    dialed: Option<Result<NewConnection, ConnectError>>,
}

impl DialTask {
    async fn run(mut self) {
        self.dialed = Some(self.http2.dialer.dial().await);
    }
}

impl Drop for DialTask {
    fn drop(&mut self) {
        self.http2.settle(self.dialed.take().unwrap_or(Err(ConnectError::GivenUp)));
    }
}
