//! Connects to a host: looks its name up, connects to one of its addresses or through a proxy, and starts TLS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate_error::{CertificateError, HandshakeFault};
use super::client_tls::{self, TlsError};
use super::egress_proxy::EgressProxy;
use super::happy_eyeballs::connect_first;
use super::origin::{Scheme, Upstream};
use super::protocol::{Protocol, offers};
use super::socket::keep_alive;
use super::stream::Stream;
use super::tunnel::{self, TunnelError};

/// Makes connections to one host.
#[derive(Clone)]
pub struct Connector {
    pub origin: Upstream,
    /// How to speak TLS to it, and the name that its certificate must carry.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The proxy to connect through.
    pub via: Option<ProxyHop>,
}

/// How to reach the proxy that is on the way to upstream.
#[derive(Clone)]
pub struct ProxyHop {
    /// Where it is, and how keyward authenticates.
    pub proxy: EgressProxy,
    /// How to speak TLS to it, and the name that its certificate must carry.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no connection to upstream.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name has no address.
    #[error("the name {host} cannot be resolved")]
    Resolve { host: Box<str>, source: io::Error },
    /// No TCP connection.
    #[error("no connection to {target}")]
    Connect {
        /// Host, port and the addresses that were tried.
        target: Box<str>,
        /// What the system says of the last one.
        source: io::Error,
    },
    /// It closed the connection without a word.
    #[error("{host} closed the connection at once")]
    Closed { host: Box<str> },
    /// keyward failed while it made the connection, or ends.
    #[error("the connection was given up")]
    GivenUp,
    /// Its certificate is not trusted.
    #[error("the certificate of {host} {fault}")]
    Certificate {
        host: Box<str>,
        /// What is wrong with it.
        fault: CertificateError,
    },
    /// No TLS session, for a reason that has words.
    #[error("no TLS session with {host}: {fault}")]
    HandshakeFault {
        host: Box<str>,
        /// What is wrong with it.
        fault: HandshakeFault,
    },
    /// No TLS session, for another reason.
    #[error("no TLS session with {host}")]
    Tls { host: Box<str>, source: io::Error },
    #[error("{what} within {limit:?} (connect_timeout)")]
    TimedOut {
        /// What did not come: `no connection to api.example.com:443`.
        what: Box<str>,
        /// How long all of it may take.
        limit: Duration,
    },
    /// The proxy on the way is not reached itself.
    #[error("the proxy {proxy} is not reached")]
    Proxy {
        /// The proxy, without user and password.
        proxy: Box<str>,
        source: Box<Self>,
    },
    /// The proxy on the way opens no tunnel.
    #[error("the proxy {proxy} opens no tunnel to {target}")]
    Tunnel {
        /// The proxy, without user and password.
        proxy: Box<str>,
        /// Upstream's host and port.
        target: Box<str>,
        source: TunnelError,
    },
    /// hyper refused the connection.
    #[error("the connection broke at once")]
    Handshake(#[source] hyper::Error),
}

/// A stream to upstream: TLS, or plain where upstream is `http`, over TCP or a tunnel.
pub type UpstreamStream = Stream<TlsStream<Wire>, Wire>;

/// A TCP connection to upstream, or a tunnel to it, perhaps within TLS to the proxy.
type Wire = Stream<TlsStream<TcpStream>>;

impl Connector {
    /// A connection to upstream, over TLS if it speaks that.
    /// HTTP/2 is offered only if `protocol` asks for it.
    pub async fn connect(&self, deadline: Deadline, protocol: Protocol) -> Result<UpstreamStream, ConnectError> {
        let wire = match &self.via {
            Some(hop) => hop.open_tunnel(&self.origin, deadline).await?,
            None => Stream::Plain(connect_tcp(&self.origin, deadline).await?),
        };
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(wire)) };
        Ok(Stream::Tls(Box::new(start_tls(wire, tls, protocol, &self.origin.host, deadline).await?)))
    }
}

impl ProxyHop {
    /// A hop through that proxy. An error where TLS to it cannot be set up.
    pub fn new(proxy: &EgressProxy) -> Result<Self, TlsError> {
        let tls = match proxy.origin.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(client_tls::client(&proxy.origin, None)?),
        };
        Ok(Self { proxy: proxy.clone(), tls })
    }

    /// A tunnel to upstream, whose name the proxy looks up.
    async fn open_tunnel(&self, upstream: &Upstream, deadline: Deadline) -> Result<Wire, ConnectError> {
        let proxy = || self.proxy.to_string().into();
        let unreached = |source| ConnectError::Proxy { proxy: proxy(), source: Box::new(source) };
        let wire = self.connect(deadline).await.map_err(unreached)?;
        let opening = tunnel::open(wire, upstream, self.proxy.authorization.as_ref());
        let opened = deadline.hold(|| format!("no answer from the proxy {}", self.proxy), opening).await?;
        let target = || upstream.authority_with_port().into();
        opened.map_err(|source| ConnectError::Tunnel { proxy: proxy(), target: target(), source })
    }

    async fn connect(&self, deadline: Deadline) -> Result<Wire, ConnectError> {
        let tcp = connect_tcp(&self.proxy.origin, deadline).await?;
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        Ok(Stream::Tls(Box::new(start_tls(tcp, tls, Protocol::Http1, &self.proxy.origin.host, deadline).await?)))
    }
}

/// When a connection has to be there.
#[derive(Clone, Copy)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// That long from now, for all steps of a connection together.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// The result of `coming`, if it is there in time; otherwise an error that says what did not come.
    pub async fn hold<T>(
        self,
        what: impl FnOnce() -> String,
        coming: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        let late = |_elapsed| ConnectError::TimedOut { what: what().into(), limit: self.limit };
        tokio::time::timeout_at(self.at, coming).await.map_err(late)
    }
}

/// A connection to that host, whose name is looked up anew each time: it may have moved.
async fn connect_tcp(origin: &Upstream, deadline: Deadline) -> Result<TcpStream, ConnectError> {
    let host = &*origin.host;
    let looking = tokio::net::lookup_host((host, origin.port));
    let found = deadline.hold(|| format!("no address for the name {host}"), looking).await?;
    let found = found.map_err(|source| ConnectError::Resolve { host: host.into(), source })?;
    let addresses: Vec<_> = found.collect();
    let target = || target(origin, &addresses);
    let reaching = connect_first(addresses.iter().copied());
    let stream = deadline.hold(|| format!("no connection to {}", target()), reaching).await?;
    let stream = stream.map_err(|source| ConnectError::Connect { target: target().into(), source })?;
    // A small head or a chunk of a stream must not wait for the acknowledgement of the last one. A failure
    // costs speed alone.
    let _ = stream.set_nodelay(true);
    keep_alive(&stream);
    Ok(stream)
}

async fn start_tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    (connector, name): &(TlsConnector, ServerName<'static>),
    protocol: Protocol,
    host: &str,
    deadline: Deadline,
) -> Result<TlsStream<S>, ConnectError> {
    let handshake = connector.with_alpn(offers(protocol)).connect(name.clone(), stream);
    let ended = deadline.hold(|| format!("no TLS session with {host}"), handshake).await?;
    ended.map_err(|source| match (CertificateError::read(&source), HandshakeFault::read(&source)) {
        (Some(fault), _) => ConnectError::Certificate { host: host.into(), fault },
        (None, Some(fault)) => ConnectError::HandshakeFault { host: host.into(), fault },
        (None, None) => ConnectError::Tls { host: host.into(), source },
    })
}

/// `api.example.com:443 (at 192.0.2.1 or 2001:db8::1)`; an address says where it is by itself.
fn target(origin: &Upstream, addresses: &[SocketAddr]) -> String {
    let shown = origin.authority_with_port();
    if origin.host.parse::<IpAddr>().is_ok() {
        return shown;
    }
    let tried: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    format!("{shown} (at {})", tried.join(" or "))
}
