//! The clients of a worker: how many there are, how to wake them, and how to have them leave.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;

use super::admission::Admission;
use crate::exchange::context::WorkerContext;
use crate::locks::lock;
use crate::net::peer_limit::Peer;

/// The client connections of a worker.
pub struct Connections {
    /// What their requests need.
    pub worker: Arc<WorkerContext>,
    /// Who may connect.
    pub admission: Arc<Admission>,
    open: AtomicUsize,
    /// The most that there were since a crowd last left.
    peak: AtomicUsize,
    crowd_left: Notify,
    wakers: Mutex<Slab<Option<Waker>>>,
}

impl Connections {
    /// No client has come yet.
    #[must_use]
    pub fn new(worker: Arc<WorkerContext>, admission: Arc<Admission>) -> Self {
        let (open, peak, crowd_left, wakers) = Default::default();
        Self { worker, admission, open, peak, crowd_left, wakers }
    }

    /// How many clients there are, those that are on their way here included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a client that is coming.
    pub fn expect(&self) {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        self.peak.fetch_max(before + 1, Ordering::Relaxed);
    }

    /// Takes back an [`Connections::expect`]: the client left, or went elsewhere.
    pub fn no_longer_expect(&self) {
        let left = self.open.fetch_sub(1, Ordering::Relaxed) - 1;
        let peak = self.peak.load(Ordering::Relaxed);
        if peak >= CROWD && left <= peak / 2 {
            self.peak.store(left, Ordering::Relaxed);
            self.crowd_left.notify_one();
        }
    }

    /// Waits until at least half of a crowd of clients has left.
    pub async fn crowd_left(&self) {
        self.crowd_left.notified().await;
    }

    /// Wakes every client's task, which then checks its time limits.
    pub fn wake_all(&self) {
        self.wakers().iter().for_each(|(_, waker)| waker.iter().for_each(Waker::wake_by_ref));
    }

    /// Has every client leave after the exchange that it is in.
    pub fn ask_to_leave(&self) {
        self.worker.begin_to_drain();
        self.wake_all();
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Option<Waker>>> {
        lock(&self.wakers)
    }
}

/// Has a task woken at every tick of the coarse clock, as long as it is kept: time limits are checked whenever a task runs.
pub struct TickWaker {
    connections: Arc<Connections>,
    number: usize,
    is_set: bool,
}

impl TickWaker {
    /// For a task that has not run yet.
    #[must_use]
    pub fn new(connections: Arc<Connections>) -> Self {
        let number = connections.wakers().insert(None);
        Self { connections, number, is_set: false }
    }

    /// To be called by the task whenever it runs; the first time counts.
    pub fn set(&mut self, context: &Context<'_>) {
        if !self.is_set {
            self.is_set = true;
            self.connections.wakers()[self.number] = Some(context.waker().clone());
        }
    }
}

impl Drop for TickWaker {
    fn drop(&mut self) {
        self.connections.wakers().remove(self.number);
    }
}

/// Counts one expected client as long as it is kept.
pub struct ConnectionGuard {
    connections: Arc<Connections>,
    tick_waker: TickWaker,
    peer: Peer,
    was_asked: bool,
}

impl ConnectionGuard {
    /// For a client that was expected.
    #[must_use]
    pub fn take(connections: Arc<Connections>, peer: Peer) -> Self {
        connections.worker.counters.clients.increment();
        Self { tick_waker: TickWaker::new(Arc::clone(&connections)), connections, peer, was_asked: false }
    }

    /// Whether the client is to leave; says so once. To be called by the client's task whenever it runs.
    pub fn is_asked_to_leave(&mut self, context: &Context<'_>) -> bool {
        self.tick_waker.set(context);
        let is_news = !self.was_asked && self.connections.worker.is_draining();
        self.was_asked |= is_news;
        is_news
    }

    /// Waits for `future`, unless the client is asked to leave before. For what may be broken off then.
    pub async fn unless_asked_to_leave<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.is_asked_to_leave(context) {
                return Poll::Ready(None);
            }
            future.as_mut().poll(context).map(Some)
        })
        .await
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.admission.release(self.peer);
        self.connections.no_longer_expect();
        self.connections.worker.counters.clients_gone.increment();
    }
}

/// From how many clients of a worker on their memory is given back, some twenty megabytes: a smaller crowd often comes again,
/// and needs it again.
const CROWD: usize = 768;
