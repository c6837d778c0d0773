//! An HTTP/2 client: hyper's where it has to be a good one, frames by hand where it has to be a bad one.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Channel, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificate::Certificate;
use super::client::Client;

pub type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// One connection to keyward. Clones share it.
#[derive(Clone)]
pub struct Http2(SendRequest<Body>);

/// A whole answer.
#[derive(Debug)]
pub struct Answer2 {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Runs what a test does over HTTP/2.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(super::DEADLINE, test).await.expect("it comes to an end") })
}

impl Http2 {
    /// Speaks HTTP/2 unasked, without TLS.
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        // A request behind a reset would wait for the reset's acknowledgement.
        tcp.set_nodelay(true).unwrap();
        Self::over(tcp).await
    }

    /// Over TLS, where both have to agree on HTTP/2.
    pub async fn secure(address: SocketAddr, certificate: &Certificate) -> Self {
        let config = certificate.client(&[b"http/1.1", b"h2"]);
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "keyward prefers it");
        Self::over(tls).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let builder = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).clone();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request, and gives the head of its answer.
    pub async fn begin(&self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.0.clone().send_request(request).await
    }

    /// Sends a request, and gives its whole answer.
    pub async fn send(&self, request: Request<Body>) -> Answer2 {
        let answer = self.begin(request).await.expect("an answer");
        assert_eq!(answer.version(), Version::HTTP_2);
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Answer2 { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Whether keyward has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A request without a body.
pub fn get(path: &str, key: &str) -> http::request::Builder {
    let request = Request::builder().uri(format!("http://keyward{path}"));
    request.header("authorization", format!("Bearer {key}"))
}

pub fn empty() -> Body {
    Empty::new().boxed()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body that is sent piece by piece.
pub fn channel() -> (http_body_util::channel::Sender<Bytes, Infallible>, Body) {
    let (sender, body) = Channel::new(1);
    (sender, body.boxed())
}

// === Frames by hand (RFC 9113, 4.1 and 6) ===

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of a HEADERS frame.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// What a connection begins with: the preface, and settings that change nothing.
pub fn preface() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()
}

/// The same for a client that has room for so many bytes of each answer (RFC 9113, 6.5.2).
pub fn preface_with_window(bytes: u32) -> Vec<u8> {
    let setting = [&[0, 4][..], &bytes.to_be_bytes()].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()
}

/// What HTTP/2 begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head whose fields are all written out (RFC 7541, 6.2.2), in any order and with anything in them.
pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127);
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    let block: Vec<_> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

/// The fields of a plain request.
pub fn fields<'a>(path: &'a str, key: &'a str) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "keyward"), (":path", path)];
    [&pseudo[..], &[("authorization", key)]].concat()
}

/// The next frame: its kind, its stream and its payload; nothing at the end of the connection.
pub fn next_frame(client: &mut Client) -> Option<(u8, u32, Vec<u8>)> {
    let head = client.try_take(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], stream, client.try_take(length)?))
}
