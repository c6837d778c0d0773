//! What stands in for OpenAI: does with each request what its plan says, and knows what may come.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use ::keyward::locks::lock;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant as Moment, interval_at, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::content::{self, Dice, Hash};
use crate::plan::{self, Plan};
use crate::websocket;
use crate::wire::{Connection, Head};

/// A running one. Its thread ends with the process.
///
/// It shares nothing with the one that `benches/compare` measures with: this one reads a plan from each request and checks
/// keys, hashes and progress, which would cost time there.
pub struct Upstream {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    is_away: watch::Sender<bool>,
}

/// What it has seen, and what it shares with the clients.
#[derive(Default)]
pub struct Seen {
    /// The keys that may come, and since when a key is none of them any more.
    keys: Mutex<Vec<(String, Option<Instant>)>>,
    /// Requests that came with anything else than such a key, and the last of them.
    strangers: AtomicU64,
    last_stranger: Mutex<String>,
    /// Requests that it is at work on.
    pub open: AtomicU64,
    /// Odd as long as it refuses connections.
    outages: AtomicU64,
    /// When it last closed an unused connection, in microseconds.
    hung_up: AtomicU64,
    /// How far a large body is.
    pub progress: Progress,
    /// The hash of the body that it sent last.
    pub sent_hash: Mutex<String>,
    /// Whether the streams with a clock are to end.
    pub is_ending: AtomicBool,
    /// The events that such streams had.
    pub sent_events: AtomicU64,
}

/// How far the side that sends is ahead of the one that takes.
#[derive(Default)]
pub struct Progress {
    sent: AtomicU64,
    taken: AtomicU64,
    most_ahead: AtomicU64,
}

impl Upstream {
    /// Starts it, with TLS where there is a certificate. It closes unused connections after up to
    /// `longest_idle`.
    pub fn start(tls: Option<Arc<ServerConfig>>, longest_idle: Duration) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let (is_away, away) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let door = Door { address, tls: tls.map(TlsAcceptor::from), seen: Arc::clone(&seen), longest_idle };
        std::thread::spawn(move || runtime.block_on(door.keep(listener, away)));
        Ok(Self { address, seen, is_away })
    }

    /// Refuses connections for a while.
    pub async fn go_away(&self, span: Duration) {
        self.seen.outages.fetch_add(1, Ordering::Relaxed);
        self.is_away.send_replace(true);
        sleep(span).await;
        self.is_away.send_replace(false);
        while std::net::TcpStream::connect(self.address).is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        self.seen.outages.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Seen ===

impl Seen {
    /// Takes that key from now on, and the ones before only for a moment more.
    pub fn take_key(&self, key: &str) {
        let mut keys = lock(&self.keys);
        keys.retain(|(_, until)| until.is_none_or(|until| until > Instant::now()));
        keys.iter_mut().for_each(|(_, until)| *until = until.or(Some(Instant::now() + RELOAD)));
        keys.push((key.to_owned(), None));
    }

    /// How often it refused connections, before and now; odd while it does.
    pub fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// Whether it closed an unused connection a moment ago, which a request may have met.
    pub fn has_just_hung_up(&self) -> bool {
        now().saturating_sub(self.hung_up.load(Ordering::Relaxed)) < 200_000
    }

    /// Requests with what was no valid key, and the last of these.
    pub fn strangers(&self) -> (u64, String) {
        let last = lock(&self.last_stranger).clone();
        (self.strangers.load(Ordering::Relaxed), last)
    }

    fn look_at_key(&self, head: &Head) {
        let came = head.field("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let keys = lock(&self.keys);
        if !keys.iter().any(|(key, until)| key == came && until.is_none_or(|until| until > Instant::now())) {
            self.strangers.fetch_add(1, Ordering::Relaxed);
            let last = format!("{:?} with {came:?}", head.first_line);
            *lock(&self.last_stranger) = last;
        }
    }
}

// === impl Progress ===

impl Progress {
    pub fn begin(&self) {
        for number in [&self.sent, &self.taken, &self.most_ahead] {
            number.store(0, Ordering::Relaxed);
        }
    }

    pub fn sent(&self, bytes: usize) {
        let sent = self.sent.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.most_ahead.fetch_max(sent.saturating_sub(self.taken.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    pub fn taken(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn most_ahead(&self) -> u64 {
        self.most_ahead.load(Ordering::Relaxed)
    }
}

/// An exchange that it is at work on.
struct AtWork(Arc<Seen>);

impl AtWork {
    fn begin(seen: &Arc<Seen>) -> Self {
        seen.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(seen))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

// === connections ===

struct Door {
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    seen: Arc<Seen>,
    longest_idle: Duration,
}

impl Door {
    /// Lets clients in, but for the times when it is away.
    async fn keep(self, listener: std::net::TcpListener, mut away: watch::Receiver<bool>) -> io::Result<()> {
        let mut listener = TcpListener::from_std(listener)?;
        loop {
            tokio::select! {
                _ = async { away.wait_for(|away| *away).await.map(drop) } => {
                    drop(listener);
                    let _ = away.wait_for(|away| !*away).await.map(drop);
                    listener = TcpListener::bind(self.address).await?;
                }
                accepted = listener.accept() => self.let_in(accepted?.0)?,
            }
        }
    }

    fn let_in(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (seen, tls, idle) = (Arc::clone(&self.seen), self.tls.clone(), self.longest_idle);
        // Whatever ends a connection is no business of anybody else's.
        tokio::spawn(async move {
            let connection = match tls {
                Some(tls) => Connection::new(tls.accept(stream).await?, BUFFER),
                None => Connection::new(stream, BUFFER),
            };
            answer_all(connection, seen, idle).await
        });
        Ok(())
    }
}

async fn answer_all(mut client: Connection, seen: Arc<Seen>, longest_idle: Duration) -> io::Result<()> {
    let mut dice = Dice::new(now());
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^64 milliseconds")]
    let idle = longest_idle / 4 + Duration::from_millis(dice.roll(longest_idle.as_millis() as u64));
    loop {
        let Ok(head) = timeout(idle, client.read_head()).await else {
            seen.hung_up.store(now(), Ordering::Relaxed);
            return Ok(());
        };
        let Some(head) = head? else { return Ok(()) };
        seen.look_at_key(&head);
        let _at_work = AtWork::begin(&seen);
        let plan = head.field("x-plan").and_then(|plan| serde_json::from_str(plan).ok());
        let plan = plan.ok_or_else(|| io::Error::other("a request without a plan"))?;
        answer(&mut client, &head, &plan, &seen).await?;
    }
}

/// An error, too, ends the connection.
async fn answer(client: &mut Connection, head: &Head, plan: &Plan, seen: &Arc<Seen>) -> io::Result<()> {
    let slow = if let Plan::AnswerSlowly { millis } = plan { *millis } else { 0 };
    let (taken, digest) = take_body(client, head, seen, Duration::from_millis(slow)).await?;
    match plan {
        Plan::Answer | Plan::AnswerSlowly { .. } => say(client, 200, "", &plan::receipt(taken, &digest)).await,
        Plan::AnswerAndClose => {
            say(client, 200, "connection: close\r\n", &plan::receipt(taken, &digest)).await?;
            Err(as_planned())
        }
        Plan::Stream { events, millis } => send_events(client, *events, Duration::from_millis(*millis), true).await,
        Plan::CutStream { events } => {
            send_events(client, *events, Duration::ZERO, false).await?;
            Err(as_planned())
        }
        Plan::Trickle { events } => trickle(client, *events).await,
        Plan::Clocked { millis } => send_by_the_clock(client, Duration::from_millis(*millis), seen).await,
        Plan::Download { bytes, is_chunked } => send_bytes(client, *bytes, *is_chunked, seen).await,
        Plan::Refuse { status } => say(client, *status, "", &plan::refusal(*status)).await,
        Plan::Echo => echo(client).await,
        Plan::Reset | Plan::Silence { .. } | Plan::CutHead | Plan::CutBody => break_off(client, plan).await,
    }
}

async fn break_off(client: &mut Connection, plan: &Plan) -> io::Result<()> {
    match plan {
        Plan::Reset => client.break_when_dropped()?,
        Plan::Silence { millis } => sleep(Duration::from_millis(*millis)).await,
        Plan::CutHead => client.write(b"HTTP/1.1 200 OK\r\ncontent-ty").await?,
        Plan::Answer
        | Plan::AnswerSlowly { .. }
        | Plan::AnswerAndClose
        | Plan::Stream { .. }
        | Plan::Trickle { .. }
        | Plan::Clocked { .. }
        | Plan::Download { .. }
        | Plan::Refuse { .. }
        | Plan::CutBody
        | Plan::CutStream { .. }
        | Plan::Echo => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", plan::PROMISED);
            client.write(head.as_bytes()).await?;
            client.write(&content::make(plan::CUT_AT)).await?;
        }
    }
    Err(as_planned())
}

fn as_planned() -> io::Error {
    io::Error::other("as planned")
}

// === bodies ===

/// Takes the whole body, with pauses as long as `slow` says.
async fn take_body(client: &mut Connection, head: &Head, seen: &Seen, slow: Duration) -> io::Result<(u64, String)> {
    let (mut body, mut piece, mut hash, mut taken) = (head.body(), Vec::new(), Hash::new(), 0);
    let slow_until = Instant::now() + slow;
    while client.read_piece(&mut body, &mut piece).await? {
        hash.update(&piece);
        taken += piece.len() as u64;
        seen.progress.taken(piece.len());
        if Instant::now() < slow_until {
            sleep(PAUSE).await;
        }
    }
    Ok((taken, hash.finish()))
}

async fn say(client: &mut Connection, status: u16, more: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Planned\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write(head.as_bytes()).await
}

async fn send_events(client: &mut Connection, events: u64, pause: Duration, has_end: bool) -> io::Result<()> {
    client.write(STREAM_HEAD).await?;
    for number in 0..events {
        client.write_chunk(plan::event(number).as_bytes()).await?;
        sleep(pause).await;
    }
    if !has_end {
        return Ok(());
    }
    client.write_chunk(plan::DONE.as_bytes()).await?;
    client.write_last_chunk().await
}

/// Every byte by itself, those of the framing as well.
async fn trickle(client: &mut Connection, events: u64) -> io::Result<()> {
    client.write(STREAM_HEAD).await?;
    for event in (0..events).map(plan::event).chain([plan::DONE.to_owned()]) {
        for byte in format!("{:x}\r\n{event}\r\n", event.len()).as_bytes() {
            client.write(&[*byte]).await?;
            // The reader gets a turn, so that bytes do not gather.
            tokio::task::yield_now().await;
        }
    }
    client.write_last_chunk().await
}

/// Each event has its number, when it was due and when it was sent; the last one has how many there were before.
async fn send_by_the_clock(client: &mut Connection, millis: Duration, seen: &Seen) -> io::Result<()> {
    client.write(STREAM_HEAD).await?;
    let mut ticks = interval_at(Moment::now() + millis, millis);
    let mut number = 0_u64;
    while !seen.is_ending.load(Ordering::Relaxed) {
        let due = ticks.tick().await;
        let due = micros(due.into_std());
        client.write_chunk(format!("data: {number} {due} {}\n\n", now()).as_bytes()).await?;
        seen.sent_events.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    client.write_chunk(plan::DONE.as_bytes()).await?;
    client.write_last_chunk().await
}

async fn send_bytes(client: &mut Connection, bytes: u64, is_chunked: bool, seen: &Seen) -> io::Result<()> {
    let framing = if is_chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {bytes}") };
    client.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes()).await?;
    let (mut hash, mut position, mut piece) = (Hash::new(), 0, vec![0; PIECE]);
    while position < bytes {
        let length = usize::try_from(bytes - position).unwrap_or(PIECE).min(PIECE);
        let piece = &mut piece[..length];
        content::fill(position, piece);
        hash.update(piece);
        if is_chunked {
            client.write_chunk(piece).await?;
        } else {
            client.write(piece).await?;
        }
        seen.progress.sent(length);
        position += length as u64;
    }
    *lock(&seen.sent_hash) = hash.finish();
    if is_chunked { client.write_last_chunk().await } else { Ok(()) }
}

async fn echo(client: &mut Connection) -> io::Result<()> {
    client
        .write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        .await?;
    loop {
        let (opcode, payload) = websocket::read(client).await?;
        if payload == HANG_UP {
            return Err(as_planned());
        }
        websocket::write(client, opcode, &payload, None).await?;
        if opcode == websocket::CLOSE {
            return Err(as_planned());
        }
    }
}

// === time ===

/// Microseconds since the process began.
pub fn now() -> u64 {
    micros(Instant::now())
}

#[expect(clippy::cast_possible_truncation, reason = "far below 2^64 microseconds")]
fn micros(at: Instant) -> u64 {
    at.saturating_duration_since(*BEGINNING).as_micros() as u64
}

static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a client sends to have its WebSocket cut.
pub const HANG_UP: &[u8] = b"hang up";

/// How large the pieces of large bodies are.
pub const PIECE: usize = 64 * 1024;

/// The pause behind each piece, for a side that is slow.
pub const PAUSE: Duration = Duration::from_millis(10);

/// How long a key may still come after another one has taken its place: keyward looks every five seconds where the
/// system does not tell it.
const RELOAD: Duration = Duration::from_secs(8);

const BUFFER: usize = 16 * 1024;

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
