//! What comes before the first request on a client's connection: TLS, where clients speak it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Settings;
use super::certificate::{CertificateError, ServerCertificate};
use super::stream::Stream;

/// How clients get in: the same for all workers.
pub struct Entrance {
    certificate: Option<Arc<ServerCertificate>>,
    tls: Option<TlsAcceptor>,
}

/// A client that got in.
pub struct Entered {
    /// What HTTP is spoken over.
    pub stream: ClientStream,
    /// Who is at the other end.
    pub peer: IpAddr,
}

/// A stream to a client.
pub type ClientStream = Stream<TlsStream<TcpStream>>;

/// Why a client did not get in. Each is the client's own doing.
#[derive(Debug, thiserror::Error)]
pub enum EntranceError {
    /// No TLS session.
    #[error("no TLS session")]
    Tls(#[source] io::Error),
    /// It took too long.
    #[error("it took longer than {limit:?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
}

impl Entrance {
    /// Reads the certificate, where there is one.
    pub fn open(settings: &Settings) -> Result<Self, CertificateError> {
        let open = |(cert, key)| ServerCertificate::open(cert, key).map(Arc::new);
        let certificate = settings.tls.files().map(open).transpose()?;
        let tls = certificate.clone().map(ServerCertificate::acceptor).transpose()?;
        Ok(Self { certificate, tls })
    }

    /// What clients are shown, to be looked at again.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        self.certificate.as_ref()
    }

    /// Lets a client in, which may take that long.
    pub async fn enter(&self, stream: TcpStream, peer: IpAddr, limit: Duration) -> Result<Entered, EntranceError> {
        let Some(tls) = &self.tls else { return Ok(Entered { stream: Stream::Plain(stream), peer }) };
        // In a box: whoever speaks no TLS should not carry the room for a handshake about.
        let handshake = Box::pin(tokio::time::timeout(limit, tls.accept(stream)));
        let stream = handshake.await.map_err(|_elapsed| EntranceError::TimedOut { limit })?;
        Ok(Entered { stream: Stream::Tls(Box::new(stream.map_err(EntranceError::Tls)?)), peer })
    }
}
