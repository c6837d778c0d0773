//! Places on connections to upstream in HTTP/2, each of which carries many exchanges side by side.
//!
//! Who finds none waits for a connection that is being made, together with all others who do: a burst makes as many as it
//! needs and no more. One that fails fails those who wait for it, with its cause. A place is given when upstream has said how
//! many it allows (RFC 9113, 6.5.2), and not before.
//!
//! A client that leaves takes its request back, and upstream sees a stream that is reset. Many of those look like an attack to
//! it (CVE-2023-44487), by which it ends the connection of all. So a connection of which a few exchanges were broken off gets
//! no new ones: it ends with those that it has, and the next ones go over another. In HTTP/1.1 each costs a connection.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use super::client_body::ClientBody;
use super::dial::{ConnectError, Deadline, Route, UpstreamStream};
use super::frames::{Framed, Signs};
use super::pulse::Pulse;
use super::upstream::{Connection, Dialed, Dialer, Open};

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
        self.connections().iter().find_map(|shared| shared.place(&self.dialer.pulse))
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
            && let Some(place) = shared.place(&self.dialer.pulse)
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

// === Shared ===

/// A connection that carries exchanges side by side.
pub struct Shared {
    sender: http2::SendRequest<ClientBody>,
    driver: Arc<Mutex<Option<Driver>>>,
    origin: Arc<Origin>,
    room: Arc<Room>,
    signs: Arc<Signs>,
    beginning: Beginning,
}

type Driver = http2::Connection<TokioIo<Framed<UpstreamStream>>, ClientBody, Tasks>;

/// How many exchanges a connection carries.
#[derive(Default)]
struct Room {
    taken: AtomicUsize,
    /// When the last exchange ended.
    idle_since: AtomicU64,
    /// How many did not end with a whole answer.
    broken_off: AtomicUsize,
}

/// What every request in HTTP/2 says of upstream.
struct Origin {
    scheme: Scheme,
    authority: Option<Authority>,
}

/// The place of one exchange. Dropping it makes room for another.
pub struct Place {
    /// Takes the request.
    pub sender: http2::SendRequest<ClientBody>,
    origin: Arc<Origin>,
    room: Arc<Room>,
    signs: Arc<Signs>,
    interest: Arc<Interest>,
    pulse: Pulse,
    is_whole: bool,
}

impl Shared {
    /// Begins HTTP/2 on that stream, and waits until upstream has said how many exchanges it allows.
    pub async fn open(stream: UpstreamStream, dialer: &Dialer, deadline: Deadline) -> Result<Self, ConnectError> {
        let (limits, host) = (&dialer.limits, dialer.host());
        let max_head = u32::try_from(limits.max_head).unwrap_or(u32::MAX);
        let beginning = Beginning::default();
        let mut protocol = http2::Builder::new(Tasks { beginning: Arc::clone(&beginning) });
        protocol
            .timer(TokioTimer::new())
            .max_header_list_size(max_head)
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * MOST_PLACES)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(ASK_AFTER)
            .keep_alive_timeout(limits.connect_timeout);
        let (stream, signs) = Framed::new(stream);
        let handshake = protocol.handshake(TokioIo::new(stream));
        let (sender, mut driver) = handshake.await.map_err(ConnectError::Handshake)?;
        let what = || format!("no HTTP/2 settings that allow a request from {host}");
        let ended = deadline.hold(what, end_before_room(&mut driver, &signs)).await?;
        if let Some(ended) = ended {
            ended.map_err(ConnectError::Handshake)?;
            return Err(ConnectError::Closed { host: host.into() });
        }
        let driver = Arc::new(Mutex::new(Some(driver)));
        tokio::spawn(Driving { driver: Arc::clone(&driver), _open: dialer.note_open() }.run());
        let origin = Arc::new(Origin::of(&dialer.route));
        Ok(Self { sender, driver, origin, room: Arc::default(), signs, beginning })
    }

    /// A place, if there is one.
    fn place(&self, pulse: &Pulse) -> Option<Place> {
        let has_room = self.room.taken.load(Ordering::Relaxed) < self.most();
        (has_room && self.is_of_use()).then(|| self.take_place(pulse))
    }

    fn take_place(&self, pulse: &Pulse) -> Place {
        self.room.taken.fetch_add(1, Ordering::Relaxed);
        Place {
            sender: self.sender.clone(),
            origin: Arc::clone(&self.origin),
            room: Arc::clone(&self.room),
            signs: Arc::clone(&self.signs),
            interest: Arc::new(Interest::new(Arc::clone(&self.beginning))),
            pulse: pulse.clone(),
            is_whole: false,
        }
    }

    /// How many exchanges it may carry: as upstream says at present, and no more than it has room for where none of their
    /// clients reads. One that does not read must not keep the others from what is theirs.
    fn most(&self) -> usize {
        let driver = lock(&self.driver);
        driver.as_ref().map_or(0, Driver::current_max_send_streams).min(MOST_PLACES as usize)
    }

    fn is_of_use(&self) -> bool {
        !self.sender.is_closed() && self.room.broken_off.load(Ordering::Relaxed) < MOST_BROKEN_OFF
    }

    /// Since when it carries nothing.
    fn idle_since(&self) -> Option<u64> {
        let is_idle = self.room.taken.load(Ordering::Relaxed) == 0;
        is_idle.then(|| self.room.idle_since.load(Ordering::Relaxed))
    }
}

/// How the connection ended, if it did before upstream gave room for a request.
async fn end_before_room(driver: &mut Driver, signs: &Signs) -> Option<hyper::Result<()>> {
    while driver.current_max_send_streams() == 0 {
        tokio::select! {
            ended = &mut *driver => return Some(ended),
            () = signs.heard() => {}
        }
    }
    None
}

/// Runs a connection's driver, which is gone when it has ended: requests that nobody takes from it any more come back.
struct Driving {
    driver: Arc<Mutex<Option<Driver>>>,
    _open: Open,
}

impl Driving {
    async fn run(self) {
        let ended = poll_fn(|context| match &mut *lock(&self.driver) {
            Some(driver) => Pin::new(driver).poll(context),
            None => Poll::Ready(Ok(())),
        });
        if let Err(error) = ended.await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection to upstream ended badly");
        }
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        let driver = lock(&self.driver).take();
        drop(driver);
    }
}

impl Origin {
    fn of(route: &Route) -> Self {
        let scheme = if route.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        Self { scheme, authority: route.origin.authority().parse().ok() }
    }

    /// The target, as every request in HTTP/2 names it (RFC 9113, 8.3.1).
    fn with(&self, target: &Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority.clone_from(&self.authority);
        parts.path_and_query = Some(target.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        // An upstream's authority that no URI can name would have been refused with the settings.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl Place {
    /// The target, as a request in HTTP/2 names it.
    #[must_use]
    pub fn target(&self, target: &Uri) -> Uri {
        self.origin.with(target)
    }

    /// Lasts as long as the place does.
    #[must_use]
    pub fn interest(&self) -> Arc<Interest> {
        Arc::clone(&self.interest)
    }

    /// Frees it. Request and answer are whole.
    pub fn put_back(mut self) {
        self.is_whole = true;
    }

    /// Whether its connection ended because upstream sent so much without an answer.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.signs.is_flooded()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.interest.end();
        self.room.broken_off.fetch_add(usize::from(!self.is_whole), Ordering::Relaxed);
        self.room.idle_since.store(self.pulse.millis(), Ordering::Relaxed);
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

// === Interest ===

/// Whether anybody still wants a request to go upstream. When its exchange is over nobody does, however much of its body is
/// still to come: it ends then, rather than hold its client and a stream of upstream's for as long as both like.
pub struct Interest {
    is_over: AtomicBool,
    task: Mutex<Option<Waker>>,
    beginning: Beginning,
}

/// Whose body was just asked for the first time. hyper makes a task of sending it next, and does not say whose it is.
type Beginning = Arc<Mutex<Option<Arc<Interest>>>>;

impl Interest {
    fn new(beginning: Beginning) -> Self {
        Self { is_over: AtomicBool::new(false), task: Mutex::default(), beginning }
    }

    /// To be called by the request's body when it is first asked for.
    pub fn begin(self: Arc<Self>) {
        let beginning = Arc::clone(&self.beginning);
        *lock(&beginning) = Some(self);
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(task) = lock(&self.task).take() {
            task.wake();
        }
    }

    fn is_over(&self, context: &Context<'_>) -> bool {
        let is_over = self.is_over.load(Ordering::Relaxed);
        if !is_over {
            let mut task = lock(&self.task);
            if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
                *task = Some(context.waker().clone());
            }
        }
        is_over
    }
}

/// hyper's tasks for one connection.
#[derive(Clone)]
struct Tasks {
    beginning: Beginning,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let interest = lock(&self.beginning).take();
        match interest {
            None => drop(tokio::spawn(task)),
            Some(interest) => drop(tokio::spawn(WhileWanted { task, interest })),
        }
    }
}

pin_project! {
    /// A task that ends with the interest in it. hyper lets go of the stream with it, which tells upstream.
    struct WhileWanted<F> {
        #[pin]
        task: F,
        interest: Arc<Interest>,
    }
}

impl<F: Future<Output = ()>> Future for WhileWanted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.interest.is_over(context) { Poll::Ready(()) } else { this.task.poll(context) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long upstream may say nothing on a connection that carries something, before it is asked whether it is still there.
const ASK_AFTER: Duration = Duration::from_secs(20);

/// How much of an answer may be on its way in one stream before the client takes it, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How many exchanges a connection carries at most. Together they can have it hold sixteen megabytes.
const MOST_PLACES: u32 = 64;

/// Of how many exchanges a connection may be broken off before it gets no new ones: fewer than any server known to count them
/// bears (hyper's, twenty that it has not yet looked at).
const MOST_BROKEN_OFF: usize = 16;

/// How much of a body waits for upstream to take it, in bytes for each stream.
const SEND_BUFFER: usize = 64 * 1024;
