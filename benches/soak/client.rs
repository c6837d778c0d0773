//! Clients that send an order and bring back what they got: over HTTP/1.1 by hand, over HTTP/2 with hyper.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::plan::{Plan, Received};
use crate::wire::{Connection, Head};

/// A request that is to be made.
#[derive(Clone)]
pub struct Order {
    pub plan: Plan,
    pub credential: Option<String>,
    /// Whose request it says that it is.
    pub workflow: u64,
    pub body: Vec<u8>,
    pub form: Form,
}

/// How the body goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON, whose length is said.
    Json,
    /// A form with a file.
    Multipart,
    /// In chunks, without a length.
    Chunked,
}

impl Order {
    pub fn new(plan: Plan, credential: impl Into<String>, workflow: u64) -> Self {
        Self { plan, credential: Some(credential.into()), workflow, body: SMALL.to_vec(), form: Form::Json }
    }

    pub fn with(self, body: Vec<u8>, form: Form) -> Self {
        Self { body, form, ..self }
    }

    /// The path, by which the caller is known.
    pub fn path(&self) -> String {
        let (workflow, execution) = (self.workflow, crate::upstream::now());
        format!("/n8n/wf{workflow:05}/{execution}/5d2a3f6e-1111-4222-8333-{workflow:012}/v1/chat/completions")
    }

    fn content_type(&self) -> &'static str {
        match self.form {
            Form::Json => "application/json",
            Form::Multipart => "multipart/form-data; boundary=keyward-soak",
            Form::Chunked => "application/octet-stream",
        }
    }

    /// As text, with the fields that belong to the body in `framing`.
    pub fn head(&self, framing: &str) -> String {
        let plan = serde_json::to_string(&self.plan).unwrap_or_default();
        let credential = self.credential.as_ref().map(|value| format!("authorization: Bearer {value}\r\n"));
        format!(
            "POST {} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: langchainjs-openai/1.0.0\r\nx-plan: {plan}\r\n\
             {}content-type: {}\r\n{framing}\r\n\r\n",
            self.path(),
            credential.unwrap_or_default(),
            self.content_type()
        )
    }

    /// The head with the framing that its form asks for.
    pub fn framed_head(&self) -> String {
        match self.form {
            Form::Chunked => self.head("transfer-encoding: chunked"),
            Form::Json | Form::Multipart => self.head(&format!("content-length: {}", self.body.len())),
        }
    }
}

/// A form with that file.
pub fn multipart(file: &[u8]) -> Vec<u8> {
    let (begin, end) = form_around_file();
    [begin, file, end].concat()
}

/// What stands before and behind the file in a form.
pub fn form_around_file() -> (&'static [u8], &'static [u8]) {
    (MULTIPART_BEGINS, MULTIPART_ENDS)
}

// === HTTP/1.1 ===

/// Connects, from that address if there is one.
pub async fn connect(proxy: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(proxy).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The same, over TLS.
pub async fn connect_securely(
    proxy: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, connect(proxy, None).await?).await
}

/// A connection of a client's own.
pub async fn open(proxy: SocketAddr) -> io::Result<Connection> {
    Ok(Connection::new(connect(proxy, None).await?, BUFFER))
}

/// Makes the request and reads the whole answer. The connection is good for another one where the answer is whole and not
/// its last.
pub async fn send(proxy: &mut Connection, order: &Order) -> io::Result<(Received, Head)> {
    send_request(proxy, order).await?;
    receive(proxy).await
}

pub async fn send_request(proxy: &mut Connection, order: &Order) -> io::Result<()> {
    let head = order.framed_head();
    if order.form != Form::Chunked && order.body.len() < BUFFER {
        // As n8n's clients do it. A body behind its head would cost the connection where keyward answers by itself.
        return proxy.write(&[head.as_bytes(), &order.body].concat()).await;
    }
    proxy.write(head.as_bytes()).await?;
    if order.form != Form::Chunked {
        return proxy.write(&order.body).await;
    }
    // Chunks of odd sizes, which nothing on the way is aligned to.
    for (number, chunk) in order.body.chunks(7919).enumerate() {
        let (one, other) = chunk.split_at(chunk.len() * (number % 5) / 5);
        for part in [one, other].into_iter().filter(|part| !part.is_empty()) {
            proxy.write_chunk(part).await?;
        }
    }
    proxy.write_last_chunk().await
}

pub async fn receive(proxy: &mut Connection) -> io::Result<(Received, Head)> {
    let head = proxy.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut received = Received { status: head.status()?, body: Vec::new(), is_whole: false };
    let (mut body, mut piece) = (head.body(), Vec::new());
    received.is_whole = loop {
        match proxy.read_piece(&mut body, &mut piece).await {
            Ok(true) => received.body.extend_from_slice(&piece),
            Ok(false) => break true,
            Err(_) => break false,
        }
    };
    Ok((received, head))
}

// === HTTP/2 ===

pub type Body = BoxBody<Bytes, Infallible>;

/// Speaks HTTP/2 over a connection.
pub async fn open_http2(stream: impl crate::wire::Stream + 'static) -> io::Result<SendRequest<Body>> {
    let builder = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).clone();
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The request, with that body.
pub fn request(order: &Order, body: Body) -> io::Result<http::Request<Body>> {
    let plan = serde_json::to_string(&order.plan)?;
    let mut request = http::Request::post(format!("http://127.0.0.1{}", order.path()))
        .header("user-agent", "langchainjs-openai/1.0.0")
        .header("content-type", order.content_type())
        .header("x-plan", plan);
    if let Some(credential) = &order.credential {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    request.body(body).map_err(io::Error::other)
}

/// Makes the request in a stream of its own, and reads the whole answer.
pub async fn send_http2(mut proxy: SendRequest<Body>, order: &Order) -> io::Result<Received> {
    let body = http_body_util::Full::new(Bytes::from(order.body.clone())).boxed();
    let answer = proxy.send_request(request(order, body)?).await.map_err(io::Error::other)?;
    let mut received = Received { status: answer.status().as_u16(), body: Vec::new(), is_whole: false };
    let mut body = answer.into_body();
    received.is_whole = loop {
        match body.frame().await {
            Some(Ok(frame)) => received.body.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            None => break true,
            Some(Err(_)) => break false,
        }
    };
    Ok(received)
}

const SMALL: &[u8] = br#"{"model":"gpt-4o-mini","stream":false,"messages":[{"role":"user","content":"hi"}]}"#;

const MULTIPART_BEGINS: &[u8] =
    b"--keyward-soak\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nassistants\r\n\
--keyward-soak\r\ncontent-disposition: form-data; name=\"file\"; filename=\"soak.bin\"\r\n\
content-type: application/octet-stream\r\n\r\n";

const MULTIPART_ENDS: &[u8] = b"\r\n--keyward-soak--\r\n";

const BUFFER: usize = 16 * 1024;
