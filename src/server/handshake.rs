//! What comes before the first request on a client's connection: the PROXY protocol of a load balancer, then TLS.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Settings;
use super::proxy_protocol::{self, HeaderError, TIME_FOR_HEADER};
use crate::early_refusal::EarlyRefusal;
use crate::net::server_tls::{ServerCertificate, ServerTlsError};
use crate::net::stream::{ClientStream, Stream};

/// How a client's connection begins: the same for all workers.
pub struct Handshake {
    certificate: Option<Arc<ServerCertificate>>,
    tls: Option<TlsAcceptor>,
    balancers: Box<[IpNet]>,
}

/// A client after its handshake.
pub struct Client {
    /// What HTTP is spoken over.
    pub stream: ClientStream,
    /// The client's address; behind a load balancer, the one that it names.
    pub peer: IpAddr,
}

/// Why a handshake failed. None of it is keyward's fault.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// A load balancer did not name its client.
    #[error("the load balancer does not say whom it speaks for")]
    Unannounced(#[from] HeaderError),
    #[error("no TLS session")]
    Tls(#[source] io::Error),
    #[error("it took longer than {limit:?}")]
    TimedOut {
        /// What did not come.
        missing: EarlyRefusal,
        limit: Duration,
    },
}

impl HandshakeError {
    /// What keyward did not accept; nothing where the client left, as a probe of the port does.
    #[must_use]
    pub fn refusal(&self) -> Option<EarlyRefusal> {
        match self {
            Self::Unannounced(HeaderError::BrokenOff(_)) => None,
            Self::Unannounced(_) => Some(EarlyRefusal::ProxyHeader),
            // rustls reports what it refuses as invalid data; other errors are the end of the connection.
            Self::Tls(error) => (error.kind() == io::ErrorKind::InvalidData).then_some(EarlyRefusal::TlsHandshake),
            Self::TimedOut { missing, .. } => Some(*missing),
        }
    }
}

impl Handshake {
    /// Reads the certificate, where there is one.
    pub fn open(settings: &Settings) -> Result<Self, ServerTlsError> {
        let open = |(cert, key)| ServerCertificate::open(cert, key).map(Arc::new);
        let certificate = settings.tls.files().map(open).transpose()?;
        let tls = certificate.clone().map(ServerCertificate::acceptor).transpose()?;
        Ok(Self { certificate, tls, balancers: settings.proxy_protocol_from.as_slice().into() })
    }

    /// The certificate that clients are shown, to be read again.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        self.certificate.as_ref()
    }

    /// Does the handshake on this connection from `peer`. TLS may take `limit`.
    pub async fn accept(&self, stream: TcpStream, peer: IpAddr, limit: Duration) -> Result<Client, HandshakeError> {
        if self.tls.is_none() && !self.is_balancer(peer) {
            return Ok(Client { stream: Stream::Plain(stream), peer });
        }
        // In a box, so that a connection without a handshake has no room for it.
        Box::pin(self.receive(stream, peer, limit)).await
    }

    /// The PROXY header comes before TLS: the load balancer that writes it may not end TLS.
    async fn receive(&self, mut stream: TcpStream, peer: IpAddr, limit: Duration) -> Result<Client, HandshakeError> {
        let mut source = None;
        if self.is_balancer(peer) {
            let reading = proxy_protocol::read_source(&mut stream);
            source = within(TIME_FOR_HEADER, EarlyRefusal::ProxyHeader, reading).await??;
        }
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let stream = within(limit, EarlyRefusal::TlsHandshake, tls.accept(stream)).await?;
                Stream::Tls(Box::new(stream.map_err(HandshakeError::Tls)?))
            }
        };
        Ok(Client { stream, peer: source.map_or(peer, |source| source.to_canonical()) })
    }

    /// Whether connections from that address are a load balancer's.
    #[must_use]
    pub fn is_balancer(&self, peer: IpAddr) -> bool {
        self.balancers.iter().any(|range| range.contains(&peer))
    }
}

async fn within<F: Future>(limit: Duration, missing: EarlyRefusal, future: F) -> Result<F::Output, HandshakeError> {
    tokio::time::timeout(limit, future).await.map_err(|_elapsed| HandshakeError::TimedOut { missing, limit })
}
