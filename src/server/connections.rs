//! The clients of a worker: how many there are, how to wake them, and how to have them leave.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;

use super::admission::Admission;
use crate::exchange::context::WorkerContext;
use crate::net::peer_limit::Peer;

/// The clients of a worker: how many there are, and how to wake them.
pub struct Seats {
    /// What their requests need.
    pub worker: Arc<WorkerContext>,
    /// How they get in.
    pub admission: Arc<Admission>,
    taken: AtomicUsize,
    /// The most that were taken since a crowd last left.
    peak: AtomicUsize,
    crowd_left: Notify,
    wakers: Mutex<Slab<Option<Waker>>>,
}

impl Seats {
    /// None so far.
    #[must_use]
    pub fn new(worker: Arc<WorkerContext>, admission: Arc<Admission>) -> Self {
        let (taken, peak, crowd_left, wakers) = Default::default();
        Self { worker, admission, taken, peak, crowd_left, wakers }
    }

    /// How many clients there are, those that are on their way here included.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Counts a client that is coming.
    pub fn expect(&self) {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        self.peak.fetch_max(before + 1, Ordering::Relaxed);
    }

    /// Takes back an [`Seats::expect`]: the client left, or went elsewhere.
    pub fn no_longer_expect(&self) {
        let left = self.taken.fetch_sub(1, Ordering::Relaxed) - 1;
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

    /// Has every client's task look around, for time has passed.
    pub fn wake_all(&self) {
        self.wakers().iter().for_each(|(_, waker)| waker.iter().for_each(Waker::wake_by_ref));
    }

    /// Has every client leave after the exchange that it is in.
    pub fn ask_to_leave(&self) {
        self.worker.begin_to_drain();
        self.wake_all();
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Option<Waker>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a task woken at every tick of the coarse clock, as long as it is kept: time limits are checked whenever a task runs.
pub struct Alarm {
    seats: Arc<Seats>,
    number: usize,
    is_set: bool,
}

impl Alarm {
    /// For a task that has not run yet.
    #[must_use]
    pub fn new(seats: Arc<Seats>) -> Self {
        let number = seats.wakers().insert(None);
        Self { seats, number, is_set: false }
    }

    /// To be called by the task whenever it runs; the first time counts.
    pub fn set(&mut self, context: &Context<'_>) {
        if !self.is_set {
            self.is_set = true;
            self.seats.wakers()[self.number] = Some(context.waker().clone());
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.seats.wakers().remove(self.number);
    }
}

/// The place of one expected client. Dropping it frees the place.
pub struct Seat {
    seats: Arc<Seats>,
    alarm: Alarm,
    peer: Peer,
    was_asked: bool,
}

impl Seat {
    /// For a client that was expected.
    #[must_use]
    pub fn take(seats: Arc<Seats>, peer: Peer) -> Self {
        seats.worker.counters.clients.increment();
        Self { alarm: Alarm::new(Arc::clone(&seats)), seats, peer, was_asked: false }
    }

    /// Whether the client is to leave; says so once. To be called by the client's task whenever it runs.
    pub fn is_asked_to_leave(&mut self, context: &Context<'_>) -> bool {
        self.alarm.set(context);
        let is_news = !self.was_asked && self.seats.worker.is_draining();
        self.was_asked |= is_news;
        is_news
    }

    /// Lets something come to its end, unless the client is asked to leave before. For what a client can do without.
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.admission.leave(self.peer);
        self.seats.no_longer_expect();
        self.seats.worker.counters.clients_gone.increment();
    }
}

/// How many clients of a worker are worth the trouble of giving their memory back, some twenty megabytes: a smaller crowd
/// often comes again, and finds it ready.
const CROWD: usize = 768;
