//! A tunnel to upstream through a proxy, asked for with CONNECT (RFC 9110, 9.3.6).

use std::future::poll_fn;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::one_shot::USER_AGENT;
use super::origin::Upstream;

/// Why a proxy opens no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// It wants to know who asks, or does not take what it was told.
    #[error("it answered 407 (Proxy Authentication Required): {}", if *.named { NOT_TAKEN } else { NOT_NAMED })]
    Unauthorized {
        /// Whether it was told a user and password.
        named: bool,
    },
    /// It refused in another way.
    #[error("it answered {status}")]
    Refused { status: StatusCode },
    /// It broke off, or speaks something else.
    #[error("it gave no answer that can be read")]
    Broken(#[source] hyper::Error),
    /// It said more than it had been asked. What upstream says would begin with it.
    #[error("it sent something of its own into the tunnel")]
    Spoke,
    /// Upstream's name stands in no request.
    #[error("it cannot be asked for that address")]
    Address(#[source] http::Error),
}

/// Asks the proxy at the other end of `stream` for a tunnel to `upstream`; then the stream is the tunnel.
pub async fn open<S>(stream: S, upstream: &Upstream, authorization: Option<&HeaderValue>) -> Result<S, TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(upstream, authorization).map_err(TunnelError::Address)?;
    let handshake = http1::Builder::new().max_header_size(MAX_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, mut connection) = handshake.await.map_err(TunnelError::Broken)?;
    // Sender and answer are gone before the connection is done with: no proxy keeps it open, nor is the body of a refusal
    // read.
    let asking = async move { sender.send_request(request).await.map(|answer| answer.status()) };
    let (status, ended) = tokio::join!(asking, poll_fn(|context| connection.poll_without_shutdown(context)));
    match status.map_err(TunnelError::Broken)? {
        status if status.is_success() => ended.map_err(TunnelError::Broken)?,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(TunnelError::Unauthorized { named: authorization.is_some() });
        }
        status => return Err(TunnelError::Refused { status }),
    }
    let parts = connection.into_parts();
    if parts.read_buf.is_empty() { Ok(parts.io.into_inner()) } else { Err(TunnelError::Spoke) }
}

fn request(upstream: &Upstream, authorization: Option<&HeaderValue>) -> http::Result<Request<String>> {
    let authority = upstream.authority_with_port();
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::try_from(&*authority)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(authorization) = authorization {
        headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    let mut request = Request::new(String::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = Uri::try_from(authority)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// How large the head of a proxy's answer may be.
const MAX_HEAD: usize = 16 * 1024;

const NOT_NAMED: &str = "name a user and password in its URL, http://user:password@proxy:port";

const NOT_TAKEN: &str = "it does not take the user and password in its URL";
