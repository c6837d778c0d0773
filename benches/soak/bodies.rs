//! Bodies larger than anybody wants to hold: hashed on both sides, and watched on their way.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::keyward::locks::lock;
use bytes::Bytes;
use http_body_util::{BodyExt, Channel};
use hyper::client::conn::http2::SendRequest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::client::{self, Body, Form, Order};
use crate::content::{self, Hash};
use crate::keyward::{self, Keyward};
use crate::megabytes;
use crate::plan::{self, Plan};
use crate::tally::Verdict;
use crate::upstream::{PAUSE, PIECE, Seen, Upstream};
use crate::wire::Connection;

/// Runs it. Whether every body came through whole, in constant memory.
pub fn run(runtime: &Handle, gigabytes: u64) -> io::Result<bool> {
    let mut verdict = Verdict::default();
    println!("| body | MB | seconds | CPU ms per MB | PSS MB before | most RSS MB | grown MB | most ahead MB | hash |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let large = gigabytes << 30;
    let upstream = Upstream::start(None, Duration::from_secs(4))?;
    upstream.seen.take_key(&keyward::key(0));
    let keyward = Keyward::start(&format!("http://{}", upstream.address), &[])?;
    let bench = Bench { runtime, keyward, seen: &upstream.seen, tls: None };
    for way in [Way::Up, Way::Down] {
        bench.carry(&mut verdict, "HTTP/1.1, length said", Case::new(way, large))?;
        bench.carry(&mut verdict, "HTTP/1.1, slow for a while", Case { slow: SLOW, ..Case::new(way, large) })?;
        bench.carry(&mut verdict, "HTTP/1.1, chunked", Case { is_chunked: true, ..Case::new(way, 1 << 30) })?;
        bench.carry(&mut verdict, "HTTP/2", Case { over: Over::Http2, ..Case::new(way, 1 << 30) })?;
        let slow = Case { slow: SLOW, over: Over::Http2, ..Case::new(way, 1 << 30) };
        bench.carry(&mut verdict, "HTTP/2, slow for a while", slow)?;
    }
    bench.carry(&mut verdict, "a form", Case { is_form: true, ..Case::new(Way::Up, 512 << 20) })?;
    bench.trickle(&mut verdict);
    drop(bench);
    carry_over_tls(runtime, &mut verdict)?;
    Ok(verdict.end())
}

/// TLS on both sides of keyward.
fn carry_over_tls(runtime: &Handle, verdict: &mut Verdict) -> io::Result<()> {
    let certificate = Certificate::make()?;
    let folder = tempfile::tempdir()?;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, &certificate.cert)?;
    std::fs::write(&key, &certificate.key)?;
    let upstream = Upstream::start(Some(certificate.server()?), Duration::from_secs(4))?;
    upstream.seen.take_key(&keyward::key(0));
    let settings = [
        ("proxy", format!("upstream_ca = \"{}\"", cert.display())),
        ("tls", format!("cert = \"{}\"\nkey = \"{}\"", cert.display(), key.display())),
    ];
    let keyward = Keyward::start(&format!("https://{}", upstream.address), &settings)?;
    let bench = Bench { runtime, keyward, seen: &upstream.seen, tls: Some(certificate) };
    for way in [Way::Up, Way::Down] {
        bench.carry(verdict, "HTTP/1.1 over TLS", Case::new(way, 1 << 30))?;
        bench.carry(verdict, "HTTP/1.1 over TLS, slow for a while", Case { slow: SLOW, ..Case::new(way, 1 << 30) })?;
        bench.carry(verdict, "HTTP/2 over TLS", Case { over: Over::Http2, ..Case::new(way, 1 << 30) })?;
    }
    Ok(())
}

/// Where a body goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}

/// A body that is to be carried.
#[derive(Clone, Copy)]
struct Case {
    way: Way,
    bytes: u64,
    over: Over,
    /// For how long the side that takes it is slow.
    slow: Duration,
    is_chunked: bool,
    is_form: bool,
}

impl Case {
    fn new(way: Way, bytes: u64) -> Self {
        Self { way, bytes, over: Over::Http1, slow: Duration::ZERO, is_chunked: false, is_form: false }
    }

    fn order(&self) -> Order {
        let order = Order::new(self.plan(), keyward::key(0), 1);
        let form = match (self.is_chunked, self.is_form) {
            (true, _) => Form::Chunked,
            (_, true) => Form::Multipart,
            _ => Form::Json,
        };
        Order { body: Vec::new(), form, ..order }
    }

    #[expect(clippy::cast_possible_truncation, reason = "some seconds")]
    fn plan(&self) -> Plan {
        match self.way {
            Way::Up if self.slow.is_zero() => Plan::Answer,
            Way::Up => Plan::AnswerSlowly { millis: self.slow.as_millis() as u64 },
            Way::Down => Plan::Download { bytes: self.bytes, is_chunked: self.is_chunked },
        }
    }
}

/// One keyward with what is around it.
struct Bench<'b> {
    runtime: &'b Handle,
    keyward: Keyward,
    seen: &'b Seen,
    tls: Option<Certificate>,
}

impl Bench<'_> {
    /// Carries a body, and prints a line about it.
    fn carry(&self, verdict: &mut Verdict, what: &str, case: Case) -> io::Result<()> {
        self.seen.progress.begin();
        let (before, begin) = (self.keyward.vitals()?, Instant::now());
        let (result, most) = self.watch_memory(|| self.runtime.block_on(self.carry_alone(&case)));
        let (span, after) = (begin.elapsed(), self.keyward.vitals()?);
        let direction = if case.way == Way::Up { "up" } else { "down" };
        let what = format!("{direction}, {what}");
        let grown = most.saturating_sub(before.rss);
        let verdict_on_hash = result.as_ref().map_or_else(|error| format!("{error}"), |()| "same".to_owned());
        println!(
            "| {what} | {:.0} | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {verdict_on_hash} |",
            megabytes(case.bytes),
            span.as_secs_f64(),
            after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3 / megabytes(case.bytes),
            megabytes(before.pss),
            megabytes(most),
            megabytes(grown),
            megabytes(self.seen.progress.most_ahead()),
        );
        verdict.check(&format!("{what}: the same on both sides"), result.is_ok());
        verdict.check(&format!("{what}: less than {} MB more memory", MOST_GROWN / 1_000_000), grown < MOST_GROWN);
        Ok(())
    }

    /// Small events that come byte by byte.
    fn trickle(&self, verdict: &mut Verdict) {
        let order = Order::new(Plan::Trickle { events: 1000 }, keyward::key(0), 1);
        let received = self.runtime.block_on(async {
            let mut proxy = client::open(self.keyward.address).await?;
            client::send(&mut proxy, &order).await
        });
        let is_right =
            received.map_err(|error| error.to_string()).and_then(|(it, _)| order.plan.check(&order.body, &it));
        let what = format!("a stream of 1000 events whose chunks are split at every byte: {is_right:?}");
        verdict.check(&what, is_right.is_ok());
    }

    /// Gives, with the result, the most memory that keyward had meanwhile.
    fn watch_memory<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    most.fetch_max(self.keyward.rss().unwrap_or(0), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let result = work();
            is_over.store(true, Ordering::Relaxed);
            result
        });
        (result, most.into_inner())
    }

    async fn carry_alone(&self, case: &Case) -> io::Result<()> {
        let (here, there) = match (case.over, case.way) {
            (Over::Http1, Way::Up) => send_up(&mut self.connect().await?, case, &self.seen.progress).await?,
            (Over::Http1, Way::Down) => (self.take_down(case).await?, self.sent_hash()),
            (Over::Http2, Way::Up) => self.send_up_http2(case).await?,
            (Over::Http2, Way::Down) => (self.take_down_http2(case).await?, self.sent_hash()),
        };
        if here == there { Ok(()) } else { Err(io::Error::other(format!("{here} here and {there} there"))) }
    }

    async fn connect(&self) -> io::Result<Connection> {
        match &self.tls {
            None => Ok(Connection::new(client::connect(self.keyward.address, None).await?, PIECE)),
            Some(tls) => {
                let stream = client::connect_securely(self.keyward.address, tls.client("http/1.1")?).await?;
                Ok(Connection::new(stream, PIECE))
            }
        }
    }

    async fn connect_http2(&self) -> io::Result<SendRequest<Body>> {
        let address: SocketAddr = self.keyward.address;
        match &self.tls {
            None => client::open_http2(client::connect(address, None).await?).await,
            Some(tls) => client::open_http2(client::connect_securely(address, tls.client("h2")?).await?).await,
        }
    }

    /// What upstream says that it has sent.
    fn sent_hash(&self) -> String {
        lock(&self.seen.sent_hash).clone()
    }

    /// Gives the hash of what came.
    async fn take_down(&self, case: &Case) -> io::Result<String> {
        let mut proxy = self.connect().await?;
        client::send_request(&mut proxy, &case.order()).await?;
        let head = proxy.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (mut body, mut piece, mut taker) = (head.body(), Vec::new(), Taker::new(self.seen, case));
        while proxy.read_piece(&mut body, &mut piece).await? {
            taker.take(&piece).await;
        }
        taker.finish()
    }

    async fn take_down_http2(&self, case: &Case) -> io::Result<String> {
        let mut proxy = self.connect_http2().await?;
        let body = http_body_util::Empty::new().boxed();
        let answer = proxy.send_request(client::request(&case.order(), body)?).await.map_err(io::Error::other)?;
        let (mut body, mut taker) = (answer.into_body(), Taker::new(self.seen, case));
        while let Some(frame) = body.frame().await {
            if let Some(piece) = frame.map_err(io::Error::other)?.data_ref() {
                taker.take(piece).await;
            }
        }
        taker.finish()
    }

    /// Gives the hashes of what went out and of what upstream says that it took.
    async fn send_up_http2(&self, case: &Case) -> io::Result<(String, String)> {
        let mut proxy = self.connect_http2().await?;
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let request = client::request(&case.order(), body.boxed())?;
        let answer = tokio::spawn(async move {
            let answer = proxy.send_request(request).await.map_err(io::Error::other)?;
            answer.into_body().collect().await.map_err(io::Error::other)
        });
        let (mut hash, mut position) = (Hash::new(), 0);
        while position < case.bytes {
            let mut piece = vec![0; PIECE];
            content::fill(position, &mut piece);
            hash.update(&piece);
            position += piece.len() as u64;
            sender.send_data(piece.into()).await.map_err(io::Error::other)?;
            self.seen.progress.sent(PIECE);
        }
        drop(sender);
        let receipt = answer.await??.to_bytes();
        Ok(hashes(hash.finish(), &receipt, case.bytes))
    }
}

/// The reader of a body: slow at first, if the case says so.
struct Taker<'t> {
    seen: &'t Seen,
    hash: Hash,
    left: u64,
    slow_until: Instant,
}

impl<'t> Taker<'t> {
    fn new(seen: &'t Seen, case: &Case) -> Self {
        Self { seen, hash: Hash::new(), left: case.bytes, slow_until: Instant::now() + case.slow }
    }

    async fn take(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.seen.progress.taken(piece.len());
        if Instant::now() < self.slow_until {
            sleep(PAUSE).await;
        }
    }

    fn finish(self) -> io::Result<String> {
        if self.left == 0 {
            Ok(self.hash.finish())
        } else {
            Err(io::Error::other(format!("{} bytes missing", self.left)))
        }
    }
}

/// Gives the hashes of what went out and of what upstream says that it took.
async fn send_up(
    proxy: &mut Connection,
    case: &Case,
    progress: &crate::upstream::Progress,
) -> io::Result<(String, String)> {
    let (begin, end) = if case.is_form { client::form_around_file() } else { (&b""[..], &b""[..]) };
    let whole = begin.len() as u64 + case.bytes + end.len() as u64;
    let framing =
        if case.is_chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {whole}") };
    proxy.write(case.order().head(&framing).as_bytes()).await?;
    let (mut hash, mut position, mut piece) = (Hash::new(), 0, vec![0; PIECE]);
    hash.update(begin);
    proxy.write(begin).await?;
    while position < case.bytes {
        content::fill(position, &mut piece);
        hash.update(&piece);
        position += piece.len() as u64;
        if case.is_chunked {
            proxy.write_chunk(&piece).await?;
        } else {
            proxy.write(&piece).await?;
        }
        progress.sent(piece.len());
    }
    hash.update(end);
    proxy.write(end).await?;
    if case.is_chunked {
        proxy.write_last_chunk().await?;
    }
    let (received, _) = client::receive(proxy).await?;
    Ok(hashes(hash.finish(), &received.body, whole))
}

/// The sender's hash, and the one on the receipt, which also has to tell of the right length.
fn hashes(sent: String, receipt: &[u8], bytes: u64) -> (String, String) {
    let is_right = receipt == plan::receipt(bytes, &sent).as_bytes();
    let there = if is_right { sent.clone() } else { String::from_utf8_lossy(receipt).into_owned() };
    (sent, there)
}

/// A certificate for 127.0.0.1 that vouches for itself, and its private key, both PEM.
struct Certificate {
    cert: String,
    key: String,
}

impl Certificate {
    fn make() -> io::Result<Self> {
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).map_err(io::Error::other)?;
        let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        Ok(Self { cert: params.self_signed(&key).map_err(io::Error::other)?.pem(), key: key.serialize_pem() })
    }

    fn server(&self) -> io::Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(io::Error::other)?;
        let chain = vec![self.der()?];
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
        config.map(Arc::new).map_err(io::Error::other)
    }

    /// Trusts that certificate alone, and speaks that protocol.
    fn client(&self, protocol: &str) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()?).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        Ok(Arc::new(config))
    }

    fn der(&self) -> io::Result<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).map_err(io::Error::other)
    }
}

/// For how long a slow side is slow.
const SLOW: Duration = Duration::from_secs(15);

/// keyward's memory may grow by less than this for a body of any size, in bytes.
const MOST_GROWN: u64 = 8_000_000;
