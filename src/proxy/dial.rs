//! The way to upstream: its name looked up, one of its addresses reached, and TLS spoken to it.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Upstream;
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
    #[error("no connection to {host}:{port}")]
    Connect {
        /// The host.
        host: Box<str>,
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// No TLS session: often a certificate that is not trusted.
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
        let tcp = self.connect_tcp().await?;
        // A small head or a chunk of a stream must not wait for the acknowledgement of the last one. Failing to say so
        // costs speed alone.
        let _ = tcp.set_nodelay(true);
        let Some((connector, name)) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        let tls = connector.connect(name.clone(), tcp).await;
        let tls = tls.map_err(|source| ConnectError::Tls { host: self.origin.host.clone(), source })?;
        Ok(Stream::Tls(Box::new(tls)))
    }

    /// Tries each address of the name in turn.
    async fn connect_tcp(&self) -> Result<TcpStream, ConnectError> {
        let Upstream { host, port, .. } = &self.origin;
        let addresses = tokio::net::lookup_host((&**host, *port)).await;
        let addresses = addresses.map_err(|source| ConnectError::Resolve { host: host.clone(), source })?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Connect { host: host.clone(), port: *port, source: last })
    }
}
