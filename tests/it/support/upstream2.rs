//! An upstream that speaks HTTP/2, and does with each request what a script says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use keyward::net::origin::{Scheme, Upstream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;

/// A listening upstream. Dropping it ends it.
///
/// It is not a [`FakeUpstream`](super::FakeUpstream), whose scripts have a connection to themselves: here requests share
/// one, so that `h2` frames them and a script only chooses what becomes of each.
pub struct Upstream2 {
    address: SocketAddr,
    scheme: Scheme,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received2 {
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What is done with a request.
pub enum Reply {
    /// This is its answer's body, with status 200; the request's comes first.
    Answer(Vec<u8>),
    /// This is its answer's body, which comes whatever becomes of the request's, which is not read.
    Early(Vec<u8>),
    /// Two pieces, and no end.
    Begin,
    /// It was not looked at (RFC 9113, 8.7).
    Refuse,
    /// It was, and something broke.
    Break,
    /// This is its answer's body, and the connection takes no more.
    Leave(Vec<u8>),
}

struct Shared {
    script: Box<Script>,
    /// By how many requests that are taken back a connection ends.
    patience: usize,
    received: Mutex<Vec<Received2>>,
    connections: AtomicUsize,
    asked: AtomicUsize,
    was_reset: AtomicBool,
}

type Script = dyn Fn(usize, &str) -> Reply + Send + Sync;

impl Upstream2 {
    /// Does what `script` says with the first request (0), the second and so on.
    pub fn scripted(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, 100, usize::MAX, Box::new(move |number, _| script(number)))
    }

    /// The same, and lets a connection carry so many requests at once.
    pub fn with_room(most: u32, script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, most, usize::MAX, Box::new(move |number, _| script(number)))
    }

    /// The same over TLS.
    pub fn over_tls(tls: Arc<rustls::ServerConfig>, script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(tls), 100, usize::MAX, Box::new(move |number, _| script(number)))
    }

    /// Does what `script` says with a request for that path, and takes a client that takes back so many on a connection for an
    /// attacker: the connection ends.
    pub fn impatient(patience: usize, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, 100, patience, Box::new(move |_, path| script(path)))
    }

    pub fn origin(&self) -> Upstream {
        Upstream { scheme: self.scheme, host: "127.0.0.1".into(), port: self.address.port() }
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// All requests up to now whose body was read.
    pub fn received(&self) -> Vec<Received2> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many connections there were up to now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests there were up to now, whatever became of them.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Whether keyward has taken back a request.
    pub fn was_reset(&self) -> bool {
        self.shared.was_reset.load(Ordering::SeqCst)
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, most: u32, patience: usize, script: Box<Script>) -> Self {
        let shared = Arc::new(Shared {
            script,
            patience,
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            was_reset: AtomicBool::new(false),
        });
        let scheme = tls.as_ref().map_or(Scheme::Http, |_| Scheme::Https);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, tls, most, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Upstream2 {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, most: u32, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        match tls.clone() {
            None => drop(tokio::spawn(serve(stream, most, shared))),
            Some(tls) => drop(tokio::spawn(async move {
                if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                    serve(stream, most, shared).await;
                }
            })),
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, most: u32, shared: Arc<Shared>) {
    let Ok(mut connection) = Builder::new().max_concurrent_streams(most).handshake::<_, Bytes>(stream).await else {
        return;
    };
    let resets = Arc::new(Resets::default());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = resets.come_to(shared.patience) => {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                connection.accept().await
            }
        };
        let Some(Ok((request, answer))) = accepted else { return };
        let reply = (shared.script)(shared.asked.fetch_add(1, Ordering::SeqCst), request.uri().path());
        follow(reply, request, answer, &mut connection, &shared, &resets);
    }
}

/// The requests of a connection that were taken back.
#[derive(Default)]
struct Resets {
    count: AtomicUsize,
    more: Notify,
}

impl Resets {
    fn add_one(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.more.notify_one();
    }

    async fn come_to(&self, many: usize) {
        while self.count.load(Ordering::SeqCst) < many {
            self.more.notified().await;
        }
    }
}

fn follow<S: AsyncRead + AsyncWrite + Unpin>(
    reply: Reply,
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    connection: &mut Connection<S, Bytes>,
    shared: &Arc<Shared>,
    resets: &Arc<Resets>,
) {
    let (shared, resets) = (Arc::clone(shared), Arc::clone(resets));
    if matches!(reply, Reply::Leave(_)) {
        connection.graceful_shutdown();
    }
    match reply {
        Reply::Answer(body) | Reply::Leave(body) => drop(tokio::spawn(async move {
            receive(request, &shared).await;
            let Ok(mut stream) = answer.send_response(Response::new(()), false) else { return };
            let _ = stream.send_data(body.into(), true);
        })),
        Reply::Early(body) => drop(tokio::spawn(async move {
            let Ok(mut stream) = answer.send_response(Response::new(()), false) else { return };
            let _ = stream.send_data(body.into(), true);
            let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
            shared.was_reset.store(true, Ordering::SeqCst);
            drop(request);
        })),
        Reply::Begin => drop(tokio::spawn(async move {
            receive(request, &shared).await;
            let Ok(mut stream) = answer.send_response(Response::new(()), false) else { return };
            for piece in ["first", "second"] {
                let _ = stream.send_data(piece.into(), false);
            }
            let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
            shared.was_reset.store(true, Ordering::SeqCst);
            resets.add_one();
        })),
        Reply::Refuse => answer.send_reset(Reason::REFUSED_STREAM),
        Reply::Break => answer.send_reset(Reason::INTERNAL_ERROR),
    }
}

async fn receive(request: Request<RecvStream>, shared: &Shared) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(piece)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let received =
        Received2 { method: head.method.to_string(), uri: head.uri.to_string(), headers: head.headers, body };
    shared.received.lock().unwrap().push(received);
}
