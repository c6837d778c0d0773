//! What n8n does to a proxy: small requests over kept or fresh connections, streams, uploads and downloads.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::upstream::LARGE;

/// A way to burden a proxy, and what is counted of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Small requests over 64 kept connections; counts requests.
    KeepAlive,
    /// A new connection for each request, as n8n's older nodes do; counts requests.
    Close,
    /// 200 streams of tokens; counts chunks.
    Streams,
    /// Four uploads at a time; counts megabytes.
    Upload,
    /// Four downloads at a time; counts megabytes.
    Download,
}

impl Load {
    pub const ALL: [Self; 5] = [Self::KeepAlive, Self::Close, Self::Streams, Self::Upload, Self::Download];

    pub fn title(self) -> &'static str {
        match self {
            Self::KeepAlive => "CPU µs per request, connection kept",
            Self::Close => "CPU µs per request, new connection each",
            Self::Streams => "CPU µs per chunk of a stream",
            Self::Upload => "CPU µs per MB uploaded",
            Self::Download => "CPU µs per MB downloaded",
        }
    }

    /// Burdens the proxy until `end`; says how much it carried.
    pub async fn run(self, proxy: SocketAddr, end: Instant) -> io::Result<f64> {
        match self {
            Self::KeepAlive => count_in(64, |_| requests(proxy, end, "keep-alive")).await,
            Self::Close => count_in(16, |_| requests(proxy, end, "close")).await,
            Self::Streams => count_in(200, |_| stream(proxy, end)).await,
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

async fn count_in<F>(tasks: usize, task: impl Fn(usize) -> F) -> io::Result<f64>
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
pub struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(proxy: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(64 * 1024, stream)))
    }

    async fn send(&mut self, head: &str, body: &[u8]) -> io::Result<()> {
        let stream = self.0.get_mut();
        if body.len() > BODY.len() {
            stream.write_all(head.as_bytes()).await?;
            return stream.write_all(body).await;
        }
        stream.write_all(&[head.as_bytes(), body].concat()).await
    }

    /// The answer's head; gives the length of its body.
    async fn read_head(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        if !line.starts_with("HTTP/1.1 200 ") {
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
fn head(method: &str, path: &str, connection: &str, more: &str, length: usize) -> String {
    let length = if method == "GET" { String::new() } else { format!("content-length: {length}\r\n") };
    format!(
        "{method} /n8n/Xk2vQ9wLmB7tRz4c/184467/5d2a3f6e-1111-4222-8333-944445555666{path} HTTP/1.1\r\n\
         host: 127.0.0.1\r\nconnection: {connection}\r\n{more}x-stainless-lang: js\r\n\
         x-stainless-package-version: 6.49.0\r\nx-stainless-runtime: node\r\nauthorization: Bearer {}\r\n\
         user-agent: langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))\r\ncontent-type: application/json\r\n\
         {length}\r\n",
        crate::proxies::key(),
    )
}

const CHAT: &str = "/v1/chat/completions";

const BODY: &[u8] = br#"{"model":"gpt-4o-mini","stream":false,"messages":[{"role":"user","content":"hi"}]}"#;

#[expect(clippy::cast_precision_loss, reason = "some millions")]
const MEGABYTES: f64 = LARGE as f64 / 1e6;
