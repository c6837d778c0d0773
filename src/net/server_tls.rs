//! The certificate that clients are shown where they speak TLS: read from its files at the start, and again while running.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;

use super::protocol::{Protocol, offers};
use crate::clock::Timestamp;
use crate::locks::lock;

/// A certificate and its private key, swapped together or not at all.
pub struct ServerCertificate {
    cert: PathBuf,
    key: PathBuf,
    shown: ArcSwap<CertifiedKey>,
    /// Held while the files are read, so that the certificate that was read last is the one that stays.
    reading: Mutex<()>,
}

/// What a look at the files came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// They hold what is shown already.
    Unchanged,
    /// Another certificate is shown from now on.
    Changed,
}

/// Why a certificate cannot be shown. None of it quotes what the files hold.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file is PEM that breaks off, or is otherwise damaged.
    #[error("{} is damaged PEM", path.display())]
    Damaged { path: PathBuf },
    /// The certificate's file has none.
    #[error("{} holds no certificate (PEM)", path.display())]
    NoCertificate { path: PathBuf },
    /// The private key's file has none.
    #[error("{} holds no private key (PEM)", path.display())]
    NoKey { path: PathBuf },
    /// The certificate is none that TLS knows.
    #[error("the certificate in {} cannot be used", path.display())]
    UnusableCertificate { path: PathBuf, source: rustls::Error },
    /// The private key is none that TLS knows.
    #[error("the private key in {} cannot be used", path.display())]
    UnusableKey { path: PathBuf, source: rustls::Error },
    /// Each is fine, but they are not a pair.
    #[error("the private key in {} is not that of the certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    /// No protocol version is left.
    #[error("TLS cannot be set up")]
    Protocol(#[source] rustls::Error),
}

impl ServerCertificate {
    /// Reads the certificate and its key. An error where one cannot be read or used.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, ServerTlsError> {
        let shown = ArcSwap::from_pointee(read(cert, key)?);
        Ok(Self { cert: cert.into(), key: key.into(), shown, reading: Mutex::default() })
    }

    /// Reads both files again. As long as anything is wrong with them, what was shown before is shown still.
    pub fn reload(&self) -> Result<Renewal, ServerTlsError> {
        let _reading = lock(&self.reading);
        let read = read(&self.cert, &self.key)?;
        // The private key fits its certificate, so the same certificate has the same key.
        if self.shown.load().cert == read.cert {
            return Ok(Renewal::Unchanged);
        }
        self.shown.store(Arc::new(read));
        Ok(Renewal::Changed)
    }

    /// When the certificate ends that is shown, as far as that can be told: to the second.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        let shown = self.shown.load();
        let certificate = x509_cert::Certificate::from_der(shown.cert.first()?).ok()?;
        let ends = certificate.tbs_certificate().validity().not_after.to_unix_duration();
        Some(Timestamp::from_millis(ends.as_millis().try_into().ok()?))
    }

    /// The files that it is read from.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 2] {
        [self.cert.clone(), self.key.clone()]
    }

    /// Accepts clients over TLS, each with the certificate of its time.
    pub fn acceptor(self: Arc<Self>) -> Result<TlsAcceptor, ServerTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ServerTlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = offers(Protocol::Http2);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for ServerCertificate {
    /// The same certificate for every name: the client decides whether it will do.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("cert", &self.cert).finish_non_exhaustive()
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, ServerTlsError> {
    let chain = read_chain(cert)?;
    let unusable = |source| ServerTlsError::UnusableKey { path: key.into(), source };
    let private = rustls::crypto::ring::sign::any_supported_type(&read_key(key)?).map_err(unusable)?;
    let certified = CertifiedKey::new(chain, private);
    certified.keys_match().map_err(|source| {
        if source == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            return ServerTlsError::Mismatch { cert: cert.into(), key: key.into() };
        }
        ServerTlsError::UnusableCertificate { path: cert.into(), source }
    })?;
    Ok(certified)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let text = read_file(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    // The error quotes a piece of the file.
    let chain = chain.map_err(|_quoting| ServerTlsError::Damaged { path: path.into() })?;
    if chain.is_empty() { Err(ServerTlsError::NoCertificate { path: path.into() }) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ServerTlsError> {
    PrivateKeyDer::from_pem_slice(&read_file(path)?).map_err(|quoting| {
        let (path, is_empty) = (path.into(), matches!(quoting, pem::Error::NoItemsFound));
        if is_empty { ServerTlsError::NoKey { path } } else { ServerTlsError::Damaged { path } }
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, ServerTlsError> {
    std::fs::read(path).map_err(|source| ServerTlsError::Unreadable { path: path.into(), source })
}
