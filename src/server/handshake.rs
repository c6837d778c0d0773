//! What comes before the first request on a client's connection: a load balancer's word on who it is, then TLS.

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

/// How clients get in: the same for all workers.
pub struct Entrance {
    certificate: Option<Arc<ServerCertificate>>,
    tls: Option<TlsAcceptor>,
    balancers: Box<[IpNet]>,
}

/// A client that got in.
pub struct Entered {
    /// What HTTP is spoken over.
    pub stream: ClientStream,
    /// Who is at the other end, as far as it can be believed.
    pub peer: IpAddr,
}

/// Why a client did not get in. None of it is keyward's doing.
#[derive(Debug, thiserror::Error)]
pub enum EntranceError {
    /// A load balancer did not say whom it speaks for.
    #[error("the load balancer does not say whom it speaks for")]
    Unannounced(#[from] HeaderError),
    /// No TLS session.
    #[error("no TLS session")]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("it took longer than {limit:?}")]
    TimedOut {
        /// What did not come.
        missing: EarlyRefusal,
        /// The limit.
        limit: Duration,
    },
}

impl EntranceError {
    /// What keyward did not accept; nothing where the client left, as one does who only looks whether the port is open.
    #[must_use]
    pub fn refusal(&self) -> Option<EarlyRefusal> {
        match self {
            Self::Unannounced(HeaderError::BrokenOff(_)) => None,
            Self::Unannounced(_) => Some(EarlyRefusal::ProxyHeader),
            // Whatever rustls does not like is data that is invalid; the rest is the connection's end.
            Self::Tls(error) => (error.kind() == io::ErrorKind::InvalidData).then_some(EarlyRefusal::TlsHandshake),
            Self::TimedOut { missing, .. } => Some(*missing),
        }
    }
}

impl Entrance {
    /// Reads the certificate, where there is one.
    pub fn open(settings: &Settings) -> Result<Self, ServerTlsError> {
        let open = |(cert, key)| ServerCertificate::open(cert, key).map(Arc::new);
        let certificate = settings.tls.files().map(open).transpose()?;
        let tls = certificate.clone().map(ServerCertificate::acceptor).transpose()?;
        Ok(Self { certificate, tls, balancers: settings.proxy_protocol_from.as_slice().into() })
    }

    /// What clients are shown, to be looked at again.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        self.certificate.as_ref()
    }

    /// Lets in whoever is at the other end of this connection from `peer`. A handshake may take `limit`.
    pub async fn enter(&self, stream: TcpStream, peer: IpAddr, limit: Duration) -> Result<Entered, EntranceError> {
        if self.tls.is_none() && !self.is_balancer(peer) {
            return Ok(Entered { stream: Stream::Plain(stream), peer });
        }
        // In a box: whoever walks straight in should not carry the room for all that about.
        Box::pin(self.receive(stream, peer, limit)).await
    }

    /// The header stands outside of TLS: the load balancer that writes it may have no part in that.
    async fn receive(&self, mut stream: TcpStream, peer: IpAddr, limit: Duration) -> Result<Entered, EntranceError> {
        let mut source = None;
        if self.is_balancer(peer) {
            let reading = proxy_protocol::read_source(&mut stream);
            source = within(TIME_FOR_HEADER, EarlyRefusal::ProxyHeader, reading).await??;
        }
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let stream = within(limit, EarlyRefusal::TlsHandshake, tls.accept(stream)).await?;
                Stream::Tls(Box::new(stream.map_err(EntranceError::Tls)?))
            }
        };
        Ok(Entered { stream, peer: source.map_or(peer, |source| source.to_canonical()) })
    }

    /// Whether connections from there speak for others.
    #[must_use]
    pub fn is_balancer(&self, peer: IpAddr) -> bool {
        self.balancers.iter().any(|range| range.contains(&peer))
    }
}

async fn within<F: Future>(limit: Duration, missing: EarlyRefusal, future: F) -> Result<F::Output, EntranceError> {
    tokio::time::timeout(limit, future).await.map_err(|_elapsed| EntranceError::TimedOut { missing, limit })
}
