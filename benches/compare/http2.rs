//! Small requests over HTTP/2, begun without asking (RFC 9113, 3.3), many at a time over one connection.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::load::{BODY, CHAT, count_in, fields, tagged};

/// Opens a connection and has 16 requests on their way over it at any time; counts requests.
pub async fn requests(proxy: SocketAddr, end: Instant) -> io::Result<f64> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(io::Error::other)?;
    // Whatever breaks it, the requests tell.
    tokio::spawn(async move { drop(connection.await) });
    count_in(16, |_| in_a_row(sender.clone(), end)).await
}

async fn in_a_row(mut sender: SendRequest<Full<Bytes>>, end: Instant) -> io::Result<f64> {
    let request = request()?;
    let mut done = 0.0;
    while Instant::now() < end {
        sender.ready().await.map_err(io::Error::other)?;
        let answer = sender.send_request(request.clone()).await.map_err(io::Error::other)?;
        if answer.status() != StatusCode::OK {
            return Err(io::Error::other(format!("the proxy answered {}", answer.status())));
        }
        answer.into_body().collect().await.map_err(io::Error::other)?;
        done += 1.0;
    }
    Ok(done)
}

fn request() -> io::Result<Request<Full<Bytes>>> {
    let mut request = Request::post(format!("http://127.0.0.1{}", tagged(CHAT)));
    for (name, value) in fields() {
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from_static(BODY))).map_err(io::Error::other)
}
