//! TLS to upstream, or to a proxy: which certificates are trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::origin::Upstream;

/// How to speak TLS to `upstream` or a proxy on the way to it, and the name that its certificate must carry. The
/// protocol inside is offered with each connection.
pub fn client(upstream: &Upstream, ca: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let roots = match ca {
        Some(path) => read_roots(path)?,
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(upstream.host.to_string())
        .map_err(|_invalid| TlsError::Name { host: upstream.host.clone() })?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.into(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?).map_err(TlsError::NoCertificate)?;
    }
    if roots.is_empty() { Err(TlsError::Empty { path: path.into() }) } else { Ok(roots) }
}

/// The system's; where there are none (an empty container), those that Mozilla trusts, as built in.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Why TLS to upstream cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with certificates cannot be read.
    #[error("the certificates in {} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    /// The file holds none.
    #[error("{} holds no certificate (PEM)", path.display())]
    Empty { path: PathBuf },
    /// One of them is broken.
    #[error("a certificate cannot be used")]
    NoCertificate(#[source] rustls::Error),
    /// No protocol version is left.
    #[error("TLS cannot be set up")]
    Protocol(#[source] rustls::Error),
    /// No certificate can carry that name.
    #[error("{host} is no name for a certificate")]
    Name { host: Box<str> },
}
