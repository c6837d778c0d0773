//! Asking a running keyward, through its admin listener, with the token that lies in the state folder.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::{HeaderValue, Request, header};
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
use crate::net::one_shot::{self, Answer};

/// The admin listener of a keyward that perhaps runs.
pub(super) struct Client {
    address: SocketAddr,
    bearer: HeaderValue,
    runtime: tokio::runtime::Runtime,
}

/// What a running keyward said, if there is one.
pub(super) enum Said {
    Answer(Value),
    /// Nothing listens there.
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

    /// Whether a server listens there.
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
        let mut answer = self.send(stream, "GET", path).await?;
        if !answer.head.status.is_success() {
            return read_answer(answer).await.map(|_| None);
        }
        begin();
        let mut bytes = Vec::new();
        // A keyward that stops breaks the stream off.
        while let Ok(Some(piece)) = answer.next_piece().await {
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
    }

    fn ask(&self, method: &str, path: &str) -> anyhow::Result<Said> {
        self.block_on(self.asking(method, path))
    }

    /// Asks, while other things are waited for.
    pub(super) async fn asking(&self, method: &str, path: &str) -> anyhow::Result<Said> {
        let asking = async {
            let Some(stream) = self.connect().await? else { return Ok(Said::NotRunning) };
            read_answer(self.send(stream, method, path).await?).await.map(Said::Answer)
        };
        let late = || format!("{} did not answer within {} s", self.address, PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, asking).await.with_context(late)?
    }

    /// Nothing where no server listens.
    async fn connect(&self) -> anyhow::Result<Option<TcpStream>> {
        match TcpStream::connect(self.address).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error).with_context(|| format!("no connection to {} (admin.listen)", self.address)),
        }
    }

    async fn send(&self, stream: TcpStream, method: &str, path: &str) -> anyhow::Result<Answer<TcpStream>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        let request = request.header(header::AUTHORIZATION, &self.bearer).body(String::new())?;
        one_shot::send(stream, request).await.context("the admin listener broke off")
    }
}

/// Whether a server listens where the running keyward would, for a caller without a token.
pub(super) fn something_listens(setup: &Setup) -> bool {
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

/// A server that listens on all addresses is reached on this machine's own.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let own = match listen {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(if listen.ip().is_unspecified() { own } else { listen.ip() }, listen.port())
}

async fn read_answer(mut answer: Answer<TcpStream>) -> anyhow::Result<Value> {
    let text = answer.read_body(usize::MAX).await.context("the answer broke off")?;
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    if answer.head.status.is_success() {
        return Ok(value);
    }
    let status = answer.head.status.as_u16();
    let Ok(ProblemDetails { detail, .. }) = answers::read(&value) else {
        bail!("what listens there (admin.listen) gave no answer of keyward's: it said {status}, and no reason");
    };
    bail!("{detail}");
}

/// How much of what is wrong with an answer is shown, in characters: it may quote the answer.
const LONGEST_ERROR: usize = 300;

/// How much of another keyward's version is shown, in characters.
const LONGEST_VERSION: usize = 40;

/// Longer than any answer but a stream takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_this_machine() {
        #[track_caller]
        fn check(listen: &str, expected: &str) {
            let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
            assert_eq!(reachable(address(listen)), address(expected));
        }
        check("0.0.0.0:8081", "127.0.0.1:8081");
        check("[::]:8081", "[::1]:8081");
        check("127.0.0.1:8081", "127.0.0.1:8081");
        check("10.1.2.3:8081", "10.1.2.3:8081");
    }
}
