//! The clients of a soak: all that n8n does to a proxy, side by side, each of them knowing what it has to get.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::keyward::locks::lock;
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{self, Form, Order};
use crate::content::{self, Dice};
use crate::keyward::{self, Keyward};
use crate::plan::{Plan, Received};
use crate::tally::{Ending, Tally};
use crate::upstream::{HANG_UP, Seen, Upstream};
use crate::websocket;
use crate::wire::Connection;

/// What all clients share.
pub struct World {
    pub proxy: SocketAddr,
    pub folder: PathBuf,
    pub upstream: Upstream,
    pub tally: Tally,
    pub is_over: AtomicBool,
    /// Requests whose heads went out. Each is an exchange.
    pub begun: AtomicU64,
    token: Mutex<String>,
}

impl World {
    pub fn new(keyward: &Keyward, upstream: Upstream) -> io::Result<Self> {
        let token = keyward::make_token(keyward.folder(), "first")?;
        Ok(Self {
            proxy: keyward.address,
            folder: keyward.folder().to_owned(),
            upstream,
            tally: Tally::default(),
            is_over: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            token: Mutex::new(token),
        })
    }

    /// Waits until keyward knows the first token.
    pub async fn is_known(&self) -> io::Result<()> {
        await_status(self, &self.token(), 200, &mut Dice::new(0)).await
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn token(&self) -> String {
        lock(&self.token).clone()
    }

    fn seen(&self) -> &Seen {
        &self.upstream.seen
    }

    /// The next order of a client, which mostly holds a token, at times the key that is announced as the next one.
    fn order(&self, plan: Plan, dice: &mut Dice) -> Order {
        let credential = if dice.roll(8) == 0 { keyward::key(9) } else { self.token() };
        Order::new(plan, credential, dice.roll(200))
    }

    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// What to make of a result, when upstream had been away so often at the beginning.
    fn judge(&self, order: &Order, outages: u64, result: io::Result<&Received>) -> Ending {
        match result {
            Ok(received) => match order.plan.check(&order.body, received) {
                Ok(()) => Ending::AsPlanned,
                Err(what) if received.tells_of_upstream() => self.excuse(outages, what),
                Err(what) => Ending::Unexpected(what),
            },
            // keyward answers before it has all of a large body, and the rest of that meets a closed connection.
            Err(error) if order.body.len() > LARGE => self.excuse(outages, error.to_string()),
            Err(error) => Ending::Unexpected(format!("{:?} failed: {error}", order.plan)),
        }
    }

    /// That upstream failed is expected only where it was away or had just closed a connection.
    fn excuse(&self, outages: u64, what: String) -> Ending {
        if outages % 2 == 1 || self.seen().outages() != outages {
            Ending::Away
        } else if self.seen().has_just_hung_up() {
            Ending::Raced
        } else {
            Ending::Unexpected(what)
        }
    }

    /// Makes the request over HTTP/1.1. Whether the connection is good for another one.
    async fn ask(&self, kind: &'static str, proxy: &mut Connection, order: &Order) -> bool {
        self.begin();
        let outages = self.seen().outages();
        let result = timeout(PATIENCE, client::send(proxy, order)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        match result {
            Ok((received, head)) => {
                self.tally.count(kind, self.judge(order, outages, Ok(&received)));
                received.is_whole && !head.is_last()
            }
            Err(error) => {
                self.tally.count(kind, self.judge(order, outages, Err(error)));
                false
            }
        }
    }
}

/// Starts all clients. They are done soon after the world is over.
pub fn start(world: &Arc<World>) -> JoinSet<()> {
    let mut all = JoinSet::new();
    let mut seed = 0;
    let mut add = |count: usize, client: fn(Arc<World>, Dice) -> Task| {
        for _ in 0..count {
            seed += 1;
            all.spawn(client(Arc::clone(world), Dice::new(seed)));
        }
    };
    add(16, |world, dice| Box::pin(keep_a_connection(world, dice)));
    add(4, |world, dice| Box::pin(connect_each_time(world, dice)));
    add(24, |world, dice| Box::pin(read_streams(world, dice)));
    add(12, |world, dice| Box::pin(leave_streams(world, dice)));
    add(3, |world, dice| Box::pin(upload(world, dice)));
    add(2, |world, dice| Box::pin(download(world, dice)));
    add(8, |world, dice| Box::pin(talk_by_websocket(world, dice)));
    add(4, |world, dice| Box::pin(multiplex(world, dice)));
    add(2, |world, dice| Box::pin(be_refused(world, dice)));
    add(2, |world, dice| Box::pin(be_malformed(world, dice)));
    add(6, |world, dice| Box::pin(be_slow(world, dice)));
    add(1, |world, dice| Box::pin(change_keys(world, dice)));
    add(1, |world, dice| Box::pin(change_tokens(world, dice)));
    add(1, |world, dice| Box::pin(go_away(world, dice)));
    all
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

// === small requests ===

/// Mostly answered, at times with each of the faults.
fn any_plan(dice: &mut Dice) -> Plan {
    match dice.roll(100) {
        0 => Plan::Refuse { status: 401 },
        1 | 2 => Plan::Refuse { status: 429 },
        3 | 4 => Plan::Refuse { status: 500 },
        5 | 6 => Plan::Reset,
        7 => Plan::Silence { millis: 100 + dice.roll(900) },
        8 => Plan::CutHead,
        9 | 10 => Plan::CutBody,
        11 => Plan::CutStream { events: dice.roll(5) + 1 },
        12..16 => Plan::AnswerAndClose,
        _ => Plan::Answer,
    }
}

async fn keep_a_connection(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        loop {
            pause(&mut dice, 100).await;
            let order = world.order(any_plan(&mut dice), &mut dice);
            if world.is_over() || !world.ask("kept connection", &mut proxy, &order).await {
                break;
            }
        }
    }
}

async fn connect_each_time(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let order = world.order(any_plan(&mut dice), &mut dice);
        world.ask("new connection", &mut proxy, &order).await;
        drop(proxy);
        pause(&mut dice, 100).await;
    }
}

/// Nothing once it is over. That there is no connection is unexpected.
async fn next_connection(world: &World) -> Option<Connection> {
    while !world.is_over() {
        match client::open(world.proxy).await {
            Ok(proxy) => return Some(proxy),
            Err(error) => {
                world.tally.count("connecting", Ending::Unexpected(error.to_string()));
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
    None
}

/// As long as that, on average.
async fn pause(dice: &mut Dice, millis: u64) {
    sleep(Duration::from_millis(millis / 2 + dice.roll(millis))).await;
}

// === streams and bodies ===

async fn read_streams(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let plan = match dice.roll(20) {
            0 => Plan::Trickle { events: 20 },
            _ => Plan::Stream { events: 10 + dice.roll(60), millis: 20 + dice.roll(60) },
        };
        let order = world.order(plan, &mut dice);
        world.ask("whole stream", &mut proxy, &order).await;
        pause(&mut dice, 200).await;
    }
}

async fn leave_streams(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let order = world.order(Plan::Stream { events: 10_000, millis: 20 }, &mut dice);
        let outages = world.seen().outages();
        world.begin();
        let ending = match timeout(PATIENCE, leave_after(&mut proxy, &order, 1 + dice.roll(2000))).await {
            Ok(Ok(())) => Ending::AsPlanned,
            Ok(Err(error)) if error.to_string().contains(" 502 ") => world.excuse(outages, error.to_string()),
            Ok(Err(error)) => Ending::Unexpected(error.to_string()),
            Err(_elapsed) => Ending::Unexpected("nothing came".to_owned()),
        };
        world.tally.count("left stream", ending);
        drop(proxy);
        pause(&mut dice, 300).await;
    }
}

/// Reads that many bytes of a stream, or a few more.
async fn leave_after(proxy: &mut Connection, order: &Order, bytes: u64) -> io::Result<()> {
    client::send_request(proxy, order).await?;
    let head = proxy.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.status()? != 200 {
        return Err(io::Error::other(head.first_line));
    }
    let (mut body, mut piece, mut read) = (head.body(), Vec::new(), 0);
    while read < bytes && proxy.read_piece(&mut body, &mut piece).await? {
        read += piece.len() as u64;
    }
    Ok(())
}

async fn upload(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let file = content::make(1_000_000 + dice.roll(6_000_000));
        let order = world.order(Plan::Answer, &mut dice);
        let order = match dice.roll(2) {
            0 => order.with(client::multipart(&file), Form::Multipart),
            _ => order.with(file, Form::Chunked),
        };
        world.ask("upload", &mut proxy, &order).await;
        pause(&mut dice, 1500).await;
    }
}

async fn download(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let plan = Plan::Download { bytes: 1_000_000 + dice.roll(8_000_000), is_chunked: dice.roll(2) == 0 };
        let order = world.order(plan, &mut dice);
        world.ask("download", &mut proxy, &order).await;
        pause(&mut dice, 1500).await;
    }
}

/// Sends its head and its body in small parts, and takes its answer in small parts.
async fn be_slow(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let order = world.order(Plan::Download { bytes: 3_000_000, is_chunked: dice.roll(2) == 0 }, &mut dice);
        world.begin();
        let outages = world.seen().outages();
        let result = timeout(PATIENCE, ask_slowly(&mut proxy, &order)).await;
        let result = result.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        let ending = world.judge(&order, outages, result.as_ref().map_err(|error| error.kind().into()));
        world.tally.count("slow client", ending);
        pause(&mut dice, 1000).await;
    }
}

async fn ask_slowly(proxy: &mut Connection, order: &Order) -> io::Result<Received> {
    let request = [order.framed_head().as_bytes(), &order.body].concat();
    for part in request.chunks(20) {
        proxy.write(part).await?;
        sleep(Duration::from_millis(50)).await;
    }
    let head = proxy.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut received = Received { status: head.status()?, body: Vec::new(), is_whole: false };
    let (mut body, mut piece) = (head.body(), Vec::new());
    while proxy.read_piece(&mut body, &mut piece).await? {
        received.body.extend_from_slice(&piece);
        sleep(Duration::from_millis(20)).await;
    }
    received.is_whole = true;
    Ok(received)
}

// === other protocols ===

async fn talk_by_websocket(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let order = world.order(Plan::Echo, &mut dice);
        world.begin();
        let outages = world.seen().outages();
        let ending = match timeout(PATIENCE, talk(&mut proxy, &order, &mut dice)).await {
            Ok(Ok(())) => Ending::AsPlanned,
            Ok(Err(error)) if error.to_string().contains(" 502 ") => world.excuse(outages, error.to_string()),
            Ok(Err(error)) => Ending::Unexpected(error.to_string()),
            Err(_elapsed) => Ending::Unexpected("the echo did not come".to_owned()),
        };
        world.tally.count("websocket", ending);
        drop(proxy);
        pause(&mut dice, 500).await;
    }
}

/// A session that ends by a close on either side, or with the client simply gone.
async fn talk(proxy: &mut Connection, order: &Order, dice: &mut Dice) -> io::Result<()> {
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    proxy.write(order.head(upgrade).replacen("POST", "GET", 1).as_bytes()).await?;
    let head = proxy.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.status()? != 101 {
        return Err(io::Error::other(head.first_line));
    }
    for _ in 0..5 + dice.roll(20) {
        let length = [1, 100, 5_000, 100_000][usize::try_from(dice.roll(4)).unwrap_or(0)];
        let message = content::make(1 + dice.roll(length));
        websocket::write(proxy, websocket::BINARY, &message, Some(MASK)).await?;
        if websocket::read(proxy).await? != (websocket::BINARY, message) {
            return Err(io::Error::other("the echo is another"));
        }
        pause(dice, 100).await;
    }
    match dice.roll(3) {
        0 => websocket::write(proxy, websocket::BINARY, HANG_UP, Some(MASK)).await?,
        1 => {
            websocket::write(proxy, websocket::CLOSE, b"", Some(MASK)).await?;
            if websocket::read(proxy).await?.0 != websocket::CLOSE {
                return Err(io::Error::other("the close is no close"));
            }
        }
        _ => return Ok(()),
    }
    if proxy.has_closed().await { Ok(()) } else { Err(io::Error::other("it did not end")) }
}

/// Ten exchanges at a time over one connection.
async fn multiplex(world: Arc<World>, mut dice: Dice) {
    while !world.is_over() {
        let opened = match client::connect(world.proxy, None).await {
            Ok(stream) => client::open_http2(stream).await,
            Err(error) => Err(error),
        };
        let proxy = match opened {
            Ok(proxy) => proxy,
            Err(error) => {
                world.tally.count("http/2", Ending::Unexpected(error.to_string()));
                continue;
            }
        };
        let mut streams = JoinSet::new();
        for _ in 0..200 {
            while streams.len() >= 10 {
                streams.join_next().await;
            }
            pause(&mut dice, 30).await;
            let (world, proxy, dice) = (Arc::clone(&world), proxy.clone(), Dice::new(dice.roll(u64::MAX)));
            streams.spawn(ask_in_stream(world, proxy, dice));
        }
        streams.join_all().await;
    }
}

async fn ask_in_stream(world: Arc<World>, proxy: Http2, mut dice: Dice) {
    world.begin();
    let (order, is_left) = match dice.roll(20) {
        0 => (world.order(Plan::Stream { events: 10_000, millis: 20 }, &mut dice), true),
        1..4 => (world.order(Plan::Stream { events: 30, millis: 20 }, &mut dice), false),
        4 => (world.order(Plan::Download { bytes: 1_000_000, is_chunked: true }, &mut dice), false),
        5 => (world.order(Plan::Answer, &mut dice).with(content::make(500_000), Form::Chunked), false),
        _ => (world.order(any_plan(&mut dice), &mut dice), false),
    };
    let outages = world.seen().outages();
    if is_left {
        let left = timeout(PATIENCE, leave_http2(proxy, &order)).await;
        let ending = match left {
            Ok(Ok(200)) => Ending::AsPlanned,
            Ok(Ok(502)) => world.excuse(outages, "502".to_owned()),
            other => Ending::Unexpected(format!("{other:?}")),
        };
        return world.tally.count("http/2, left", ending);
    }
    let result = timeout(PATIENCE, client::send_http2(proxy, &order)).await;
    let result = result.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    let ending = world.judge(&order, outages, result.as_ref().map_err(|error| io::Error::other(error.to_string())));
    world.tally.count("http/2", ending);
}

/// Leaves after the first piece. Gives the status.
async fn leave_http2(mut proxy: Http2, order: &Order) -> io::Result<u16> {
    let body = http_body_util::Full::new(order.body.clone().into()).boxed();
    let answer = proxy.send_request(client::request(order, body)?).await.map_err(io::Error::other)?;
    let status = answer.status().as_u16();
    answer.into_body().frame().await;
    Ok(status)
}

type Http2 = hyper::client::conn::http2::SendRequest<client::Body>;

// === what is refused ===

async fn be_refused(world: Arc<World>, mut dice: Dice) {
    while let Some(mut proxy) = next_connection(&world).await {
        let (credential, code) = match dice.roll(3) {
            0 => (Some(format!("sk-proj-{}", "Zz9y".repeat(40))), "that no set has"),
            1 => (Some("undefined".to_owned()), "malformed_undefined"),
            _ => (None, "_header"),
        };
        let order = Order { credential, ..world.order(Plan::Answer, &mut dice) };
        world.begin();
        let result = timeout(PATIENCE, client::send(&mut proxy, &order)).await;
        let ending = match result {
            Ok(Ok((received, _))) if received.status == 401 && says(&received, code) => Ending::AsPlanned,
            Ok(Ok((received, _))) => Ending::Unexpected(received.describe()),
            Ok(Err(error)) => Ending::Unexpected(error.to_string()),
            Err(_elapsed) => Ending::Unexpected("no refusal came".to_owned()),
        };
        world.tally.count("refused", ending);
        pause(&mut dice, 200).await;
    }
}

fn says(received: &Received, text: &str) -> bool {
    memchr::memmem::find(&received.body, text.as_bytes()).is_some()
}

/// What is no HTTP is answered with an error or not at all, and ends the connection.
async fn be_malformed(world: Arc<World>, mut dice: Dice) {
    const HEADS: [&str; 5] = [
        "NONSENSE\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nna me: x\r\n\r\n",
        "GET /v1/x HTTP/9.9\r\nhost: a\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\r\n\r\n",
    ];
    while let Some(mut proxy) = next_connection(&world).await {
        let head = HEADS[usize::try_from(dice.roll(HEADS.len() as u64)).unwrap_or(0)];
        let ending = match timeout(PATIENCE, be_turned_down(&mut proxy, head)).await {
            Ok(Ok(true)) => Ending::AsPlanned,
            other => Ending::Unexpected(format!("{head:?}: {other:?}")),
        };
        world.tally.count("malformed", ending);
        pause(&mut dice, 300).await;
    }
}

async fn be_turned_down(proxy: &mut Connection, head: &str) -> io::Result<bool> {
    proxy.write(head.as_bytes()).await?;
    match client::receive(proxy).await {
        Ok((received, _)) => Ok((400..=505).contains(&received.status) && proxy.has_closed().await),
        Err(_) => Ok(true),
    }
}

// === reloads and faults ===

/// Has two keys take turns in the file.
async fn change_keys(world: Arc<World>, mut dice: Dice) {
    for turn in 1.. {
        pause(&mut dice, 5_000).await;
        if world.is_over() {
            return;
        }
        let key = keyward::key(turn % 2);
        world.seen().take_key(&key);
        let changed = Keyward::change_key(&world.folder, &key);
        let ending = changed.map_or_else(|error| Ending::Unexpected(error.to_string()), |()| Ending::AsPlanned);
        world.tally.count("key changed", ending);
    }
}

/// Makes a new token now and then, changes over to it, and revokes the one before.
async fn change_tokens(world: Arc<World>, mut dice: Dice) {
    let mut last = "first".to_owned();
    for turn in 1.. {
        if !rest(&world, 45).await {
            return;
        }
        let name = format!("token-{turn}");
        let ending = match change_token(&world, &name, &last, &mut dice).await {
            Ok(()) => Ending::AsPlanned,
            Err(error) => Ending::Unexpected(error.to_string()),
        };
        world.tally.count("token changed", ending);
        last = name;
    }
}

async fn change_token(world: &World, name: &str, last: &str, dice: &mut Dice) -> io::Result<()> {
    let old = world.token();
    let token = keyward::make_token(&world.folder, name)?;
    await_status(world, &token, 200, dice).await?;
    *lock(&world.token) = token;
    // A client that took the old one a moment ago has sent its head by then.
    sleep(Duration::from_secs(10)).await;
    keyward::revoke_token(&world.folder, last)?;
    await_status(world, &old, 401, dice).await
}

/// Asks until keyward knows.
async fn await_status(world: &World, token: &str, status: u16, dice: &mut Dice) -> io::Result<()> {
    for _ in 0..60 {
        let order = Order { credential: Some(token.to_owned()), ..world.order(Plan::Answer, dice) };
        world.begin();
        let (received, _) = client::send(&mut client::open(world.proxy).await?, &order).await?;
        if received.status == status {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
    Err(io::Error::other(format!("a token is still not answered with {status}")))
}

/// Upstream refuses connections now and then.
async fn go_away(world: Arc<World>, mut dice: Dice) {
    while rest(&world, 20 + dice.roll(20)).await {
        world.upstream.go_away(Duration::from_millis(500 + dice.roll(1500))).await;
        world.tally.count("upstream away", Ending::AsPlanned);
    }
}

/// Waits for so many seconds; false where it is over before.
async fn rest(world: &World, seconds: u64) -> bool {
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        if world.is_over() {
            return false;
        }
    }
    true
}

/// Nothing takes longer, on a machine that has other things to do as well.
const PATIENCE: Duration = Duration::from_mins(1);

/// From this size on a body may still be on its way when the answer comes, in bytes.
const LARGE: usize = 64 * 1024;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
