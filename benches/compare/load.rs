//! What n8n does to a proxy: small requests over kept or fresh connections, streams, uploads and downloads. And what
//! other clients do besides: they speak HTTP/2, or upgrade.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::proxies::Proxy;
use crate::upstream::LARGE;
use crate::{http2, messages};

/// A way to burden a proxy, and what is counted of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Small requests over 64 kept connections; counts requests.
    KeepAlive,
    /// A new connection for each request, as n8n's older nodes do; counts requests.
    Close,
    /// Small requests over four connections of HTTP/2, 16 at a time over each; counts requests.
    Http2,
    /// 200 streams of tokens; counts chunks.
    Streams,
    /// 100 connections upgraded, and small messages to and fro; counts messages, each once in its direction.
    WebSockets,
    /// Four uploads at a time; counts megabytes.
    Upload,
    /// Four downloads at a time; counts megabytes.
    Download,
}

impl Load {
    pub const ALL: [Self; 7] =
        [Self::KeepAlive, Self::Close, Self::Http2, Self::Streams, Self::WebSockets, Self::Upload, Self::Download];

    pub fn title(self) -> &'static str {
        match self {
            Self::KeepAlive => "CPU µs per request, connection kept",
            Self::Close => "CPU µs per request, new connection each",
            Self::Http2 => "CPU µs per request over HTTP/2",
            Self::Streams => "CPU µs per chunk of a stream",
            Self::WebSockets => "CPU µs per WebSocket message, one way",
            Self::Upload => "CPU µs per MB uploaded",
            Self::Download => "CPU µs per MB downloaded",
        }
    }

    /// Burdens the proxy until `end`; says how much it carried.
    pub async fn run(self, proxy: &Proxy, end: Instant) -> io::Result<f64> {
        let Proxy { address: proxy, http2_address, .. } = *proxy;
        match self {
            Self::KeepAlive => count_in(64, |_| requests(proxy, end, "keep-alive")).await,
            Self::Close => count_in(16, |_| requests(proxy, end, "close")).await,
            Self::Http2 => count_in(4, |_| http2::requests(http2_address, end)).await,
            Self::Streams => count_in(200, |_| stream(proxy, end)).await,
            Self::WebSockets => count_in(100, |_| messages::messages(proxy, end)).await,
            Self::Upload => count_in(4, |_| uploads(proxy, end)).await,
            Self::Download => count_in(4, |_| downloads(proxy, end)).await,
        }
    }
}

/// Opens streams that stay open until the answer is dropped.
pub async fn hold(proxy: SocketAddr, streams: usize) -> io::Result<Vec<Client>> {
    let mut held = Vec::with_capacity(streams);
    for _ in 0..streams {
        let mut client = Client::connect(proxy).await?;
        client.send(&head("POST", CHAT, "keep-alive", "accept: text/event-stream\r\n", BODY.len()), BODY).await?;
        client.read_head().await?;
        held.push(client);
    }
    Ok(held)
}

/// Sends so many requests one after the other, in turn over eight connections.
pub async fn in_turn(proxy: SocketAddr, requests: usize) -> io::Result<()> {
    let head = head("POST", CHAT, "keep-alive", "", BODY.len());
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(proxy).await?);
    }
    for turn in 0..requests {
        let client = &mut clients[turn % 8];
        client.send(&head, BODY).await?;
        client.read_answer().await?;
    }
    Ok(())
}

/// Does so many of a task at a time, and adds up what they count.
pub async fn count_in<F>(tasks: usize, task: impl Fn(usize) -> F) -> io::Result<f64>
where
    F: Future<Output = io::Result<f64>> + Send + 'static,
{
    let tasks: JoinSet<_> = (0..tasks).map(task).collect();
    tasks.join_all().await.into_iter().sum()
}

async fn requests(proxy: SocketAddr, end: Instant, connection: &str) -> io::Result<f64> {
    let head = head("POST", CHAT, connection, "", BODY.len());
    let mut client = Client::connect(proxy).await?;
    let mut done = 0.0;
    while Instant::now() < end {
        client.send(&head, BODY).await?;
        client.read_answer().await?;
        done += 1.0;
        if connection == "close" {
            client = Client::connect(proxy).await?;
        }
    }
    Ok(done)
}

async fn stream(proxy: SocketAddr, end: Instant) -> io::Result<f64> {
    let mut client = Client::connect(proxy).await?;
    client.send(&head("POST", CHAT, "keep-alive", "accept: text/event-stream\r\n", BODY.len()), BODY).await?;
    client.read_head().await?;
    let mut chunks = 0;
    let mut line = Vec::new();
    while let Ok(read) = timeout_at(end, client.0.read_until(b'\n', &mut line)).await {
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        chunks += u32::from(line.starts_with(b"data:"));
        line.clear();
    }
    Ok(f64::from(chunks))
}

async fn uploads(proxy: SocketAddr, end: Instant) -> io::Result<f64> {
    let (head, body) = (head("POST", "/v1/files", "keep-alive", "", LARGE), vec![b'x'; LARGE]);
    let mut client = Client::connect(proxy).await?;
    let mut done = 0.0;
    while Instant::now() < end {
        client.send(&head, &body).await?;
        client.read_answer().await?;
        done += MEGABYTES;
    }
    Ok(done)
}

async fn downloads(proxy: SocketAddr, end: Instant) -> io::Result<f64> {
    let head = head("GET", "/v1/files/large/content", "keep-alive", "", 0);
    let mut client = Client::connect(proxy).await?;
    let mut done = 0.0;
    while Instant::now() < end {
        client.send(&head, b"").await?;
        client.read_answer().await?;
        done += MEGABYTES;
    }
    Ok(done)
}

/// A connection to the proxy.
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub async fn connect(proxy: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(64 * 1024, stream)))
    }

    pub async fn send(&mut self, head: &str, body: &[u8]) -> io::Result<()> {
        let stream = self.0.get_mut();
        if body.len() > BODY.len() {
            stream.write_all(head.as_bytes()).await?;
            return stream.write_all(body).await;
        }
        stream.write_all(&[head.as_bytes(), body].concat()).await
    }

    /// The answer's head; gives the length of its body.
    async fn read_head(&mut self) -> io::Result<u64> {
        self.read_head_of("200").await
    }

    /// The head of an answer with that status.
    pub async fn read_head_of(&mut self, status: &str) -> io::Result<u64> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        if !line.strip_prefix("HTTP/1.1 ").is_some_and(|line| line.starts_with(status)) {
            return Err(io::Error::other(format!("the proxy answered {line:?}")));
        }
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).await?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        Ok(length)
    }

    async fn read_answer(&mut self) -> io::Result<()> {
        let length = self.read_head().await?;
        let read = tokio::io::copy(&mut (&mut self.0).take(length), &mut tokio::io::sink()).await?;
        if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// The waiting time until which a load runs.
pub fn in_a_while(span: Duration) -> Instant {
    Instant::now() + span
}

/// As an AI Agent of n8n 2.41.1 sends it, behind the Base URL that tags.
pub fn head(method: &str, path: &str, connection: &str, more: &str, length: usize) -> String {
    let path = tagged(path);
    let fields = fields().map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let length = if method == "GET" { String::new() } else { format!("content-length: {length}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: {connection}\r\n{more}{fields}{length}\r\n")
}

pub fn tagged(path: &str) -> String {
    format!("/n8n/Xk2vQ9wLmB7tRz4c/184467/5d2a3f6e-1111-4222-8333-944445555666{path}")
}

pub fn fields() -> [(&'static str, String); 6] {
    [
        ("x-stainless-lang", "js".to_owned()),
        ("x-stainless-package-version", "6.49.0".to_owned()),
        ("x-stainless-runtime", "node".to_owned()),
        ("authorization", format!("Bearer {}", crate::proxies::key())),
        ("user-agent", "langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))".to_owned()),
        ("content-type", "application/json".to_owned()),
    ]
}

pub const CHAT: &str = "/v1/chat/completions";

pub const BODY: &[u8] = br#"{"model":"gpt-4o-mini","stream":false,"messages":[{"role":"user","content":"hi"}]}"#;

#[expect(clippy::cast_precision_loss, reason = "some millions")]
const MEGABYTES: f64 = LARGE as f64 / 1e6;
