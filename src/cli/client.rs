//! Asking a running keyward, through its admin listener, with the token that lies in the state folder.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

use super::setup::Setup;
use crate::admin::access::{self, TokenError};
use crate::answers;
use crate::answers::problem::ProblemDetails;
use crate::answers::status::Version;
use crate::caller::names::harmless;
use crate::keys::secret::Secret;

/// The admin listener of a keyward that perhaps runs.
pub(super) struct Client {
    address: SocketAddr,
    bearer: HeaderValue,
    runtime: tokio::runtime::Runtime,
}

/// What a running keyward said, if there is one.
pub(super) enum Said {
    /// What was asked for.
    Answer(Value),
    /// Nobody listens there.
    NotRunning,
}

impl Client {
    /// By the configuration that a `serve` would have.
    pub(super) fn new(setup: &Setup) -> anyhow::Result<Self> {
        let Some(listen) = setup.config().admin.listen else {
            bail!("the admin listener is switched off (admin.listen), so there is no keyward to ask");
        };
        let token =
            read_token(setup).context("there is no admin token to ask with; the user that runs keyward can read it")?;
        let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token.expose()].concat())?;
        bearer.set_sensitive(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { address: reachable(listen), bearer, runtime })
    }

    /// Where the admin listener is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Said> {
        self.ask("GET", path)
    }

    pub(super) fn post(&self, path: &str) -> anyhow::Result<Said> {
        self.ask("POST", path)
    }

    /// Reads an answer. One that cannot be read is told with the version that it comes from.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Value) -> anyhow::Result<T> {
        answers::read(answer).map_err(|error| self.unreadable(&error))
    }

    /// Why an answer cannot be read: it is of another version, or of something else that listens there.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> anyhow::Error {
        let version = || match self.get("/api/v1/status").ok()? {
            Said::Answer(status) => answers::read::<Version>(&status).ok(),
            Said::NotRunning => None,
        };
        let (address, own, error) =
            (self.address, env!("CARGO_PKG_VERSION"), harmless(&error.to_string(), LONGEST_ERROR));
        let Some(Version { version }) = version() else {
            return anyhow!("{address} gave no answer of keyward's: {error}");
        };
        let version = harmless(&version, LONGEST_VERSION);
        anyhow!(
            "the keyward that runs at {address} has version {version}, and this command ({own}) cannot read its answer: \
             {error}. Restart it if it was upgraded, or use the command of its version"
        )
    }

    /// Whether somebody listens there.
    pub(super) fn is_answered(&self) -> bool {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.connect()).await }).is_ok_and(|connected| {
            // What else is wrong is told when it is asked.
            connected.map_or(true, |stream| stream.is_some())
        })
    }

    /// As [`Client::following`], and nothing else meanwhile.
    pub(super) fn follow<T>(
        &self,
        path: &str,
        tell: impl FnMut(&str, &str) -> ControlFlow<T>,
    ) -> anyhow::Result<Option<T>> {
        self.block_on(self.following(path, || {}, tell))
    }

    /// Waits for what is asked of several at once.
    pub(super) fn block_on<T>(&self, asking: impl Future<Output = T>) -> T {
        self.runtime.block_on(asking)
    }

    /// Follows a stream of events, each with its name and data, until it is told to stop or the stream ends; gives what it
    /// was stopped with. `begin` is called once nothing that happens is missed any more.
    pub(super) async fn following<T>(
        &self,
        path: &str,
        begin: impl FnOnce(),
        mut tell: impl FnMut(&str, &str) -> ControlFlow<T>,
    ) -> anyhow::Result<Option<T>> {
        let Some(stream) = self.connect().await? else { bail!("no keyward runs at {}", self.address) };
        let request = self.request("GET", path)?;
        converse(stream, request, async |answer| {
            if !answer.status().is_success() {
                return read_answer(answer).await.map(|_| None);
            }
            begin();
            let (mut body, mut bytes) = (answer.into_body(), Vec::new());
            // A keyward that stops breaks the stream off.
            while let Ok(Some(piece)) = next_piece(&mut body).await {
                bytes.extend_from_slice(&piece);
                while let Some(end) = memmem::find(&bytes, b"\n\n") {
                    let block = String::from_utf8_lossy(&bytes[..end]).into_owned();
                    bytes.drain(..end + 2);
                    let parted = block.strip_prefix("event: ").and_then(|block| block.split_once("\ndata: "));
                    if let Some((event, data)) = parted
                        && let ControlFlow::Break(with) = tell(event, data)
                    {
                        return Ok(Some(with));
                    }
                }
            }
            Ok(None)
        })
        .await
    }

    fn ask(&self, method: &str, path: &str) -> anyhow::Result<Said> {
        self.block_on(self.asking(method, path))
    }

    /// Asks, while other things are waited for.
    pub(super) async fn asking(&self, method: &str, path: &str) -> anyhow::Result<Said> {
        let asking = async {
            let Some(stream) = self.connect().await? else { return Ok(Said::NotRunning) };
            let request = self.request(method, path)?;
            converse(stream, request, async |answer| read_answer(answer).await).await.map(Said::Answer)
        };
        let late = || format!("{} did not answer within {} s", self.address, PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, asking).await.with_context(late)?
    }

    /// Nothing where nobody listens.
    async fn connect(&self) -> anyhow::Result<Option<TcpStream>> {
        match TcpStream::connect(self.address).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error).with_context(|| format!("no connection to {} (admin.listen)", self.address)),
        }
    }

    fn request(&self, method: &str, path: &str) -> anyhow::Result<Request<String>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        Ok(request.header(header::AUTHORIZATION, &self.bearer).body(String::new())?)
    }
}

/// Whether somebody listens where the running keyward would, for whoever has no token to ask with.
pub(super) fn somebody_listens(setup: &Setup) -> bool {
    let connect = |listen| std::net::TcpStream::connect_timeout(&reachable(listen), PATIENCE);
    setup.config().admin.listen.map(connect).is_some_and(|connected| connected.is_ok())
}

/// The token that may write, or where only that can be had, the one that may read.
fn read_token(setup: &Setup) -> Result<Secret, TokenError> {
    let admin = &setup.config().admin;
    let write = access::read_token(&access::token_file(admin, &setup.config().state));
    match (&admin.read_token_file, write) {
        (Some(path), Err(error)) => access::read_token(path).map_err(|_also| error),
        (_, write) => write,
    }
}

/// Whoever listens on all addresses is reached on this machine's own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let own = match listen {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(if listen.ip().is_unspecified() { own } else { listen.ip() }, listen.port())
}

/// Sends the request and has the answer read; the connection is moved on meanwhile.
async fn converse<T>(
    stream: TcpStream,
    request: Request<String>,
    read: impl AsyncFnOnce(Response<Incoming>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asking = async {
        let answer = sender.send_request(request).await.context("the admin listener broke off")?;
        read(answer).await
    };
    drive(connection, asking).await
}

/// A connection may end a moment before what came over it is read to its end.
async fn drive<T>(connection: impl Future, asking: impl Future<Output = T>) -> T {
    let (mut connection, mut asking) = (pin!(connection), pin!(asking));
    let mut has_ended = false;
    poll_fn(|context| {
        has_ended = has_ended || connection.as_mut().poll(context).is_ready();
        asking.as_mut().poll(context)
    })
    .await
}

async fn read_answer(answer: Response<Incoming>) -> anyhow::Result<Value> {
    let (head, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = next_piece(&mut body).await? {
        text.extend_from_slice(&piece);
    }
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    if head.status.is_success() {
        return Ok(value);
    }
    let status = head.status.as_u16();
    let Ok(ProblemDetails { title, detail, .. }) = answers::read(&value) else {
        bail!("what listens there (admin.listen) gave no answer of keyward's: it said {status}, and no reason");
    };
    bail!("the admin listener answered {status}: {title}. {detail}");
}

async fn next_piece(body: &mut Incoming) -> anyhow::Result<Option<bytes::Bytes>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.transpose().context("the answer broke off")?.map(http_body::Frame::into_data) {
            None => return Ok(None),
            Some(Ok(data)) => return Ok(Some(data)),
            Some(Err(_trailers)) => {}
        }
    }
}

/// How much of what is wrong with an answer is shown, in characters: it may quote the answer.
const LONGEST_ERROR: usize = 300;

/// How much of another keyward's version is shown, in characters.
const LONGEST_VERSION: usize = 40;

/// Longer than any answer but a stream takes.
const PATIENCE: Duration = Duration::from_secs(30);
