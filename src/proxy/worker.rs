//! A worker: one thread, one runtime, its own connections to upstream. Workers share nothing on a request's way but
//! immutable snapshots, sharded counters and the bindings.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use slab::Slab;
use tokio::sync::{Notify, mpsc};
use zeroize::Zeroize;

use super::entrance::Entrance;
use super::last_refusal::LastRefusal;
use super::limits::Limits;
use super::peers::{Peer, Peers};
use super::protocol::Sharing;
use super::pulse::Pulse;
use super::strangers::Strangers;
use super::unread::Unread;
use super::upgrade::Upgraded;
use super::upstream::Pool;
use crate::caller::registry::Registry;
use crate::clock::{Clock, Timestamp};
use crate::head::{Field, Fields};
use crate::keys::keeper::Keeper;
use crate::keys::secret::is_same;
use crate::keys::set::{KeyRing, SetIndex};
use crate::ledger::Ledger;
use crate::ledger::binding::{Binding, Identity};
use crate::ledger::sighting::{ExchangeId, Witness};
use crate::ledger::writer::Status;
use crate::metrics::Shard;
use crate::policy::rules::Rules;
use crate::verdict::credential::Credential;
use crate::verdict::{self, Judgement};

/// What all workers share.
pub struct Shared {
    /// The keys.
    pub keeper: Arc<Keeper>,
    /// The bindings.
    pub ledger: Arc<Ledger>,
    /// What n8n calls callers.
    pub names: Arc<Registry>,
    /// How the store of the bindings is.
    pub store: Arc<Status>,
    /// What is done about verdicts.
    pub rules: Rules,
    /// Where the time comes from.
    pub clock: Clock,
    /// What upstream is called in `Host`.
    pub host: HeaderValue,
    /// What upstream is called in front of people.
    pub upstream: Box<str>,
    /// The page under `/`, for people who look where they just pointed n8n.
    pub page: bytes::Bytes,
    /// Time and size limits.
    pub limits: Limits,
    /// How clients get in.
    pub entrance: Entrance,
    /// How many places they have taken.
    pub peers: Peers,
}

impl Shared {
    /// How many places whoever has that address may take.
    #[must_use]
    pub fn most_places(&self, peer: IpAddr) -> usize {
        if self.entrance.is_balancer(peer) { usize::MAX } else { self.limits.max_connections_per_peer }
    }
}

/// One worker's own things.
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its connections to upstream.
    pub pool: Pool,
    /// Its counters.
    pub counters: Arc<Shard>,
    /// Its heartbeat.
    pub pulse: Pulse,
    /// Whom it tells of exchanges that end.
    pub witness: Arc<dyn Witness>,
    /// Its clients.
    pub seats: Seats,
    /// Whoever never came as far as an exchange.
    pub strangers: Strangers,
    /// Hands it a connection that another worker accepted.
    pub inbox: mpsc::Sender<(std::net::TcpStream, IpAddr)>,
    ids: AtomicU64,
    shutting_down: Arc<AtomicBool>,
}

/// The parts that differ from worker to worker.
pub struct Parts {
    /// Its connections to upstream.
    pub pool: Pool,
    /// Its counters.
    pub counters: Arc<Shard>,
    /// Its heartbeat.
    pub pulse: Pulse,
    /// Whom it tells of exchanges that end.
    pub witness: Arc<dyn Witness>,
    /// Hands it connections.
    pub inbox: mpsc::Sender<(std::net::TcpStream, IpAddr)>,
    /// Told when whatever is still open is cut off.
    pub shutting_down: Arc<AtomicBool>,
    /// Where its exchange numbers begin.
    pub seed: u64,
}

impl Worker {
    /// Without clients.
    #[must_use]
    pub fn new(shared: Arc<Shared>, parts: Parts) -> Self {
        let Parts { pool, counters, pulse, witness, inbox, shutting_down, seed } = parts;
        let (ids, seats) = (AtomicU64::new(seed), Seats::default());
        let strangers = Strangers::new(Arc::clone(&counters), pulse.clone());
        Self { shared, pool, counters, pulse, witness, seats, strangers, inbox, ids, shutting_down }
    }

    /// The limits of an exchange.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// How long a client may stand still while it has the word.
    #[must_use]
    pub fn client_patience(&self) -> Duration {
        let limits = self.limits();
        if self.seats.are_leaving() { limits.stall_while_draining() } else { limits.client_stall_timeout }
    }

    /// A number that no other exchange has. The numbers look random: `SplitMix64`, which gives each number of its run once.
    #[must_use]
    pub fn next_id(&self) -> ExchangeId {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let seed = self.ids.load(Ordering::Relaxed).wrapping_add(STEP);
        self.ids.store(seed, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ExchangeId::new(mixed ^ (mixed >> 31))
    }

    /// Has what is still open counted as cut by the shutdown.
    pub fn end(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }
}

/// The clients of a worker: how many there are, and how to wake them.
#[derive(Default)]
pub struct Seats {
    taken: AtomicUsize,
    /// The most that were taken since a crowd last left.
    peak: AtomicUsize,
    crowd_left: Notify,
    leaving: AtomicBool,
    wakers: Mutex<Slab<Option<Waker>>>,
}

impl Seats {
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
        self.leaving.store(true, Ordering::Relaxed);
        self.wake_all();
    }

    /// Whether every client is asked to leave.
    #[must_use]
    pub fn are_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Option<Waker>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a task woken at every tick of the pulse, as long as it is kept: limits of time are looked at whenever a task runs.
pub struct Alarm {
    worker: Arc<Worker>,
    number: usize,
    is_set: bool,
}

impl Alarm {
    /// For a task that has not run yet.
    #[must_use]
    pub fn new(worker: Arc<Worker>) -> Self {
        let number = worker.seats.wakers().insert(None);
        Self { worker, number, is_set: false }
    }

    /// To be called by the task whenever it runs; the first time counts.
    pub fn set(&mut self, context: &Context<'_>) {
        if !self.is_set {
            self.is_set = true;
            self.worker.seats.wakers()[self.number] = Some(context.waker().clone());
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.worker.seats.wakers().remove(self.number);
    }
}

/// The place of one expected client. Dropping it frees the place.
pub struct Seat {
    worker: Arc<Worker>,
    alarm: Alarm,
    peer: Peer,
    was_asked: bool,
}

impl Seat {
    /// For a client that was expected.
    #[must_use]
    pub fn take(worker: Arc<Worker>, peer: Peer) -> Self {
        worker.counters.clients.increment();
        Self { alarm: Alarm::new(Arc::clone(&worker)), worker, peer, was_asked: false }
    }

    /// Whether the client is to leave; says so once. To be called by the client's task whenever it runs.
    pub fn is_asked_to_leave(&mut self, context: &Context<'_>) -> bool {
        self.alarm.set(context);
        let is_news = !self.was_asked && self.worker.seats.are_leaving();
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
        self.worker.shared.peers.leave(self.peer);
        self.worker.seats.no_longer_expect();
        self.worker.counters.clients_gone.increment();
    }
}

/// What lasts as long as a client's connection.
pub struct Session {
    /// Who serves it.
    pub worker: Arc<Worker>,
    /// Who is at the other end.
    pub peer: IpAddr,
    /// What of its requests is left unread.
    pub unread: Arc<Unread>,
    /// What it was told when it was refused last.
    pub last_refusal: LastRefusal,
    last_binding: Mutex<Option<Arc<Binding>>>,
    memo: Mutex<Memo>,
    upgraded: Mutex<Option<Box<Upgraded>>>,
    has_stalled: AtomicBool,
}

/// What the connection's last credential was judged to be.
#[derive(Default)]
struct Memo {
    authorization: Vec<u8>,
    declared: Option<SetIndex>,
    generation: u64,
    judgement: Option<Judgement>,
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.authorization.zeroize();
    }
}

impl Session {
    /// New, with nothing remembered.
    #[must_use]
    pub fn new(worker: Arc<Worker>, peer: IpAddr, sharing: Sharing) -> Self {
        Self {
            unread: Arc::new(Unread::new(sharing, worker.pulse.clone())),
            worker,
            peer,
            last_refusal: LastRefusal::default(),
            last_binding: Mutex::default(),
            memo: Mutex::default(),
            upgraded: Mutex::default(),
            has_stalled: AtomicBool::default(),
        }
    }

    /// Notes that the connection ends because the client took nothing of what was there for it.
    pub fn give_up(&self) {
        self.has_stalled.store(true, Ordering::Relaxed);
    }

    /// Whether it ends for that reason.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.has_stalled.load(Ordering::Relaxed)
    }

    /// Has the connection carry another protocol as soon as its last answer is out.
    pub fn upgrade_to(&self, upgraded: Upgraded) {
        *self.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(upgraded));
    }

    /// What the connection carries from now on, if it is no HTTP.
    #[must_use]
    pub fn take_upgraded(&self) -> Option<Box<Upgraded>> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The binding of `identity`: mostly that of the connection's last request, which is found without a look-up.
    #[must_use]
    pub fn binding(&self, identity: &Identity<'_>) -> Arc<Binding> {
        let mut last = self.last_binding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(binding) = last.as_ref().filter(|binding| binding.is(identity)) {
            return Arc::clone(binding);
        }
        let binding = self.worker.shared.ledger.binding(identity);
        *last = Some(Arc::clone(&binding));
        binding
    }

    /// Judges a request's credential: looks again only when its bytes, the declared set or the ring have changed.
    #[must_use]
    pub fn judge(&self, fields: &Fields<'_>, declared: Option<SetIndex>, ring: &KeyRing, now: Timestamp) -> Judgement {
        let judge = || verdict::judge(&Credential::read(fields), declared, ring, now);
        let only_place = !fields.api_key.is_present() && !fields.websocket_protocol.is_present();
        let Field::One(authorization) = fields.authorization else { return judge() };
        if !only_place {
            return judge();
        }
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        // A proxy in front may let several clients share a connection, and none is to feel its way to what another one sent.
        if let Some(judgement) = memo.judgement
            && is_same(&memo.authorization, authorization.as_bytes())
            && (memo.declared, memo.generation) == (declared, ring.generation())
        {
            return judgement.at(now);
        }
        let judgement = judge();
        memo.remember(authorization.as_bytes(), declared, ring.generation(), judgement);
        judgement
    }
}

impl Memo {
    fn remember(&mut self, bytes: &[u8], declared: Option<SetIndex>, generation: u64, judgement: Judgement) {
        self.authorization.zeroize();
        self.judgement = None;
        // What is longer than any key is judged quickly, and not worth keeping.
        if bytes.len() <= 1024 {
            self.authorization.extend_from_slice(bytes);
            (self.declared, self.generation, self.judgement) = (declared, generation, Some(judgement));
        }
    }
}

/// How many clients of a worker are worth the trouble of giving their memory back, some twenty megabytes: a smaller crowd
/// often comes again, and finds it ready.
const CROWD: usize = 768;
