//! The way to upstream: its name looked up, one of its addresses reached, and TLS spoken to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Upstream;
use super::distrust::Distrust;
use super::reach::reach_first;
use super::stream::Stream;

/// How to reach upstream: the same for all workers.
#[derive(Clone)]
pub struct Route {
    /// Where it is.
    pub origin: Upstream,
    /// How to speak TLS to it, and the name that its certificate must carry.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no connection to upstream.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name has no address.
    #[error("the name {host} cannot be resolved")]
    Resolve {
        /// The name.
        host: Box<str>,
        /// What the resolver says.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("no connection to {target}")]
    Connect {
        /// Host, port and the addresses that were tried.
        target: Box<str>,
        /// What the system says of the last one.
        source: io::Error,
    },
    /// Its certificate does not vouch for it.
    #[error("the certificate of {host} {fault}")]
    Certificate {
        /// The host.
        host: Box<str>,
        /// What is wrong with it.
        fault: Distrust,
    },
    /// No TLS session, for another reason than the certificate.
    #[error("no TLS session with {host}")]
    Tls {
        /// The host.
        host: Box<str>,
        /// What rustls says.
        source: io::Error,
    },
    /// It took too long.
    #[error("no connection within {limit:?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// hyper refused the connection.
    #[error("the connection broke at once")]
    Handshake(#[source] hyper::Error),
}

/// What upstream is spoken to over.
pub type UpstreamStream = Stream<TlsStream<TcpStream>>;

impl Route {
    /// A connection to upstream, over TLS if it speaks that. There is no limit of time.
    pub async fn connect(&self) -> Result<UpstreamStream, ConnectError> {
        let tcp = reach(&self.origin.host, self.origin.port).await?;
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        Ok(Stream::Tls(Box::new(secure(tcp, tls, &self.origin.host).await?)))
    }
}

/// A connection to that host, whose name is looked up anew each time: it may have moved.
async fn reach(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|source| ConnectError::Resolve { host: host.into(), source })?;
    let addresses: Vec<_> = found.collect();
    let stream = reach_first(addresses.iter().copied()).await;
    let stream = stream.map_err(|source| ConnectError::Connect { target: target(host, port, &addresses), source })?;
    // A small head or a chunk of a stream must not wait for the acknowledgement of the last one. Failing to say so
    // costs speed alone.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn secure(
    stream: TcpStream,
    (connector, name): &(TlsConnector, ServerName<'static>),
    host: &str,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    connector.connect(name.clone(), stream).await.map_err(|source| match Distrust::read(&source) {
        Some(fault) => ConnectError::Certificate { host: host.into(), fault },
        None => ConnectError::Tls { host: host.into(), source },
    })
}

/// `api.example.com:443 (at 192.0.2.1 or 2001:db8::1)`; an address says where it is by itself.
fn target(host: &str, port: u16, addresses: &[SocketAddr]) -> Box<str> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    if host.parse::<IpAddr>().is_ok() {
        return shown.into();
    }
    let tried: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    format!("{shown} (at {})", tried.join(" or ")).into()
}
