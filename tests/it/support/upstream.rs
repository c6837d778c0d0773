//! An upstream that follows a script, and remembers every byte that it was sent.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keyward::net::origin::{Scheme, Upstream};
use rustls::ServerConnection;

use super::eventually;
use super::stream::Stream;
use super::wire::{Framing, Head, Wire, impatient, write_until_stuck};

/// A listening upstream. Dropping it closes the listener.
///
/// Most tests use this one: it sees HTTP/1.1 byte by byte, so that a script can send what no HTTP library would.
pub struct FakeUpstream {
    address: SocketAddr,
    scheme: Scheme,
    shared: Arc<Shared>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: Head,
    /// The body, without the marks of its chunks.
    pub body: Vec<u8>,
}

/// One request, and the connection that it came over, in the hands of the script.
pub struct Visit<'a> {
    pub head: Head,
    wire: &'a mut Wire<Stream<ServerConnection>>,
    framing: Framing,
    shared: &'a Shared,
    number: usize,
    is_over: bool,
}

/// What OpenAI says of a key that it does not know.
const REFUSAL: &str = r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;

/// What an upstream does that has nothing special to do: it reads the request, and gives this answer.
pub struct Answering;

struct Shared {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    stopped: AtomicBool,
}

type Script = dyn Fn(&mut Visit<'_>) + Send + Sync;

impl FakeUpstream {
    /// One that answers every request with these bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::scripted(move |visit| visit.answer(&bytes))
    }

    /// One that accepts every key.
    pub fn accepting() -> Self {
        Self::answering(Answering::json(200, "{\"object\":\"list\"}"))
    }

    /// One that takes those keys and refuses any other, as OpenAI does.
    pub fn taking(keys: &'static [&'static str]) -> Self {
        Self::scripted(move |visit| {
            let given = visit.head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            let is_known = given.is_some_and(|given| keys.contains(&given));
            visit.answer(&if is_known { Answering::json(200, "{\"ok\":true}") } else { Answering::json(401, REFUSAL) });
        })
    }

    /// One that follows `script` for each request, from its head on.
    pub fn scripted(script: impl Fn(&mut Visit<'_>) + Send + Sync + 'static) -> Self {
        Self::start(None, script)
    }

    /// The same over TLS.
    pub fn over_tls(tls: Arc<rustls::ServerConfig>, script: impl Fn(&mut Visit<'_>) + Send + Sync + 'static) -> Self {
        Self::start(Some(tls), script)
    }

    /// Where it is.
    pub fn origin(&self) -> Upstream {
        Upstream { scheme: self.scheme, host: "127.0.0.1".into(), port: self.address.port() }
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `Host` must say.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// All requests up to now.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The same, once there are that many.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually("requests upstream", || Some(self.received()).filter(|received| received.len() >= count))
    }

    /// The only request up to now.
    #[track_caller]
    pub fn only_received(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.into_iter().next().unwrap()
    }

    /// How many connections there were up to now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections there are now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, script: impl Fn(&mut Visit<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, scheme) = (listener.local_addr().unwrap(), tls.as_ref().map_or(Scheme::Http, |_| Scheme::Https));
        let shared = Arc::new(Shared::new());
        let (script, served): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&shared));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept()
                && !served.stopped.load(Ordering::SeqCst)
            {
                let (script, shared, tls) = (Arc::clone(&script), Arc::clone(&served), tls.clone());
                shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || shared.serve(stream, tls, &*script));
            }
        });
        Self { address, scheme, shared }
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

// === impl Shared ===

impl Shared {
    fn new() -> Self {
        Self {
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn serve(&self, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, script: &Script) {
        /// Counts down on every way out.
        struct Open<'a>(&'a AtomicUsize);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let _open = Open(&self.open);
        let stream = impatient(stream);
        let mut wire = Wire::new(match tls {
            None => Stream::Plain(stream),
            Some(config) => Stream::tls(ServerConnection::new(config).unwrap(), stream),
        });
        while let Ok(Some(head)) = wire.head() {
            let mut visit = self.receive(head, &mut wire);
            script(&mut visit);
            if visit.is_over || visit.body().is_err() {
                break;
            }
        }
    }

    fn receive<'a>(&'a self, head: Head, wire: &'a mut Wire<Stream<ServerConnection>>) -> Visit<'a> {
        let mut received = self.received.lock().unwrap();
        received.push(Received { head: head.clone(), body: Vec::new() });
        let (framing, number) = (head.framing(), received.len() - 1);
        Visit { head, wire, framing, shared: self, number, is_over: false }
    }
}

// === impl Visit ===

impl Visit<'_> {
    /// Which request it is, from 0 on.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The whole request.
    pub fn request(&mut self) -> io::Result<Received> {
        self.body()?;
        Ok(self.shared.received.lock().unwrap()[self.number].clone())
    }

    /// Reads the whole request, then sends these bytes.
    pub fn answer(&mut self, bytes: &[u8]) {
        let _ = self.body();
        self.send(bytes);
    }

    /// Sends these bytes. That keyward has left already is for the test to show.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.write(bytes);
    }

    /// The same, where it matters whether keyward takes them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(bytes)
    }

    /// Sends a chunk.
    pub fn chunk(&mut self, text: impl AsRef<[u8]>) {
        self.send([format!("{:x}\r\n", text.as_ref().len()).as_bytes(), text.as_ref(), b"\r\n"].concat());
    }

    /// Sends up to `most` bytes, as long as some are taken within that time, and says how many were.
    pub fn send_until_stuck(&mut self, most: usize, patience: Duration) -> usize {
        write_until_stuck(self.wire.stream.tcp(), most, patience)
    }

    /// What comes next of the request's body; nothing at its end.
    pub fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.piece_unkept().inspect(|piece| self.keep(piece.as_deref().unwrap_or_default()))
    }

    /// The same, without remembering it: for a body that is too large.
    pub fn piece_unkept(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.wire.piece(&mut self.framing)
    }

    /// The rest of the request's body.
    pub fn body(&mut self) -> io::Result<()> {
        while self.piece()?.is_some() {}
        Ok(())
    }

    /// The next bytes, that many, whatever they are; fewer if the connection ends.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let (mut framing, mut taken) = (Framing::Length(count), Vec::new());
        while let Ok(Some(piece)) = self.wire.piece(&mut framing) {
            taken.extend(piece);
        }
        taken
    }

    /// Says that nothing more comes from here.
    pub fn end_sending(&mut self) {
        self.is_over = true;
        let _ = self.wire.stream.tcp().shutdown(std::net::Shutdown::Write);
    }

    /// Closes the connection after all that was sent.
    pub fn close(&mut self) {
        self.is_over = true;
        let _ = self.wire.stream.tcp().shutdown(std::net::Shutdown::Both);
    }

    /// Breaks the connection off, so that the other side gets an error.
    pub fn reset(&mut self) {
        self.is_over = true;
        let _ = socket2::SockRef::from(self.wire.stream.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Waits until keyward closes the connection, and gives what it sent until then.
    pub fn wait_until_left(&mut self) -> Vec<u8> {
        self.is_over = true;
        self.wire.rest()
    }

    fn keep(&self, piece: &[u8]) {
        self.shared.received.lock().unwrap()[self.number].body.extend_from_slice(piece);
    }
}

// === impl Answering ===

impl Answering {
    /// An answer with that status and JSON in it.
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
        Self::with(status, "Content-Type: application/json\r\n", body)
    }

    /// An answer with these headers, each ended by its `\r\n`, and the length of `body`.
    pub fn with(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let length = body.as_ref().len();
        let head = format!("HTTP/1.1 {status} Scripted\r\n{headers}Content-Length: {length}\r\n\r\n");
        [head.as_bytes(), body.as_ref()].concat()
    }

    /// The head of a stream of events, in chunks.
    pub const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
}
