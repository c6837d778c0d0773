//! What stands in for OpenAI: answers at once, streams, takes and gives large bodies, and echoes messages.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::websocket::{self, ACCEPT};

/// Starts it on a thread of its own, for as long as the process lives.
///
/// It shares nothing with the one of `benches/soak`, which checks all that comes: this one does as little as it can, so that
/// the proxies are what is measured.
pub fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(serve(listener)));
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        // A proxy that closes its connection ends the exchange, and nothing else.
        tokio::spawn(async move { drop(answer_all(BufReader::with_capacity(64 * 1024, client)).await) });
    }
}

async fn answer_all(mut client: BufReader<TcpStream>) -> io::Result<()> {
    while let Some(head) = Head::read(&mut client).await? {
        discard(&mut client, head.content_length).await?;
        match head.kind {
            Kind::Plain => client.get_mut().write_all(PLAIN.as_bytes()).await?,
            Kind::Download => send_large(client.get_mut()).await?,
            Kind::Stream => send_stream(client.get_mut()).await?,
            Kind::WebSocket => echo(&mut client).await?,
        }
    }
    Ok(())
}

struct Head {
    content_length: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Download,
    Stream,
    WebSocket,
}

impl Head {
    /// Nothing where the client is done.
    async fn read(client: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut head = Self { content_length: 0, kind: Kind::Plain };
        let mut line = String::new();
        client.read_line(&mut line).await?;
        if line.starts_with("GET /v1/files/large/content ") {
            head.kind = Kind::Download;
        }
        while line != "\r\n" {
            line.clear();
            if client.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let lower = line.to_ascii_lowercase();
            if let Some(length) = lower.strip_prefix("content-length:") {
                head.content_length = length.trim().parse().map_err(io::Error::other)?;
            } else if lower.starts_with("accept: text/event-stream") {
                head.kind = Kind::Stream;
            } else if lower.starts_with("upgrade: websocket") {
                head.kind = Kind::WebSocket;
            }
        }
        Ok(Some(head))
    }
}

async fn discard(client: &mut BufReader<TcpStream>, length: usize) -> io::Result<()> {
    tokio::io::copy(&mut client.take(length as u64), &mut tokio::io::sink()).await.map(drop)
}

async fn send_large(client: &mut TcpStream) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {LARGE}\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    for _ in 0..LARGE / PIECE.len() {
        client.write_all(&PIECE).await?;
    }
    Ok(())
}

async fn send_stream(client: &mut TcpStream) -> io::Result<()> {
    client
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let mut ticks = tokio::time::interval(CHUNK_INTERVAL);
    loop {
        ticks.tick().await;
        client.write_all(CHUNK.as_bytes()).await?;
    }
}

/// Says every message again, until the client leaves.
async fn echo(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n"
    );
    client.get_mut().write_all(head.as_bytes()).await?;
    let mut text = Vec::new();
    loop {
        websocket::receive(client, &mut text).await?;
        websocket::send(client, &text, None).await?;
    }
}

/// How large the large bodies are, in bytes.
pub const LARGE: usize = 160 * PIECE.len();

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

const CHUNK_INTERVAL: Duration = Duration::from_millis(50);

/// One token, as a chunk of 163 bytes.
const CHUNK: &str = "a3\r\ndata: {\"id\":\"chatcmpl-Bx7\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"}}]}       \n\n\r\n";

const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0f2b6c3b9d0e4f6c8a7b6c5d4e3f2a1b\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\ncontent-length: 199\r\n\r\n{\"id\":\"chatcmpl-Bx7\",\"object\":\"chat.completion\",\"created\":1790000000,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello there.\"},\"finish_reason\":\"stop\"}]}     ";
