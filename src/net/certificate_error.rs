//! Pure. What is wrong with the certificate of a server, or with its handshake, in words that say what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError as RustlsError};

use crate::clock::Timestamp;

/// What is wrong with a certificate. It is written behind the words "the certificate of".
#[derive(Clone, Debug, PartialEq)]
pub enum CertificateError {
    /// Its time is over.
    Expired(Timestamp),
    /// Its time has not come.
    NotYetValid(Timestamp),
    /// It is another server's: the names that it is good for.
    OtherName(Box<str>),
    /// It is not signed by an issuer that is trusted.
    UnknownIssuer,
    /// Something else, in rustls's words.
    Other(RustlsError),
}

impl CertificateError {
    /// What a handshake failed for, if that was the certificate.
    #[must_use]
    pub fn read(error: &io::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(error) = error.get_ref()?.downcast_ref()? else { return None };
        Some(Self::of(error))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add others, which are told in its own words")]
    fn of(error: &RustlsError) -> Self {
        match error {
            RustlsError::ExpiredContext { not_after, .. } => Self::Expired(moment(not_after.as_secs())),
            RustlsError::NotValidYetContext { not_before, .. } => Self::NotYetValid(moment(not_before.as_secs())),
            RustlsError::NotValidForNameContext { presented, .. } => Self::OtherName(names(presented)),
            // The second comes of an issuer that has the name of a trusted one, but another key.
            RustlsError::UnknownIssuer | RustlsError::BadSignature => Self::UnknownIssuer,
            other => Self::Other(other.clone()),
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(end) => {
                write!(f, "expired at {end}: it has to be renewed there, or the clock of this machine is wrong")
            }
            Self::NotYetValid(begin) => {
                write!(f, "is good only from {begin} on: the clock of this machine may be wrong")
            }
            Self::OtherName(names) => write!(f, "is for {names}: another server answers there, or is on the way"),
            Self::UnknownIssuer => f.write_str(
                "is signed by no authority that keyward trusts: if it is the right one, add the one that signed it to \
                 proxy.upstream_ca or to the system's certificates",
            ),
            Self::Other(error) => write!(f, "cannot be trusted: {error}"),
        }
    }
}

/// Why a server and keyward did not come to a TLS session, where the certificate is not to blame.
#[derive(Clone, Debug, PartialEq)]
pub enum HandshakeFault {
    /// It speaks something else.
    NoTls,
    /// It ended the connection without a word.
    Closed,
    /// It has no such name.
    UnknownName,
    /// It asks for a certificate of the client's.
    WantsCertificate,
    /// It refused, in its own word.
    Refused(AlertDescription),
}

impl HandshakeFault {
    /// What a handshake failed for, if that is one of these.
    #[must_use]
    pub fn read(error: &io::Error) -> Option<Self> {
        let said = error.get_ref().and_then(|error| error.downcast_ref());
        match said {
            Some(rustls::Error::InvalidMessage(_)) => Some(Self::NoTls),
            Some(rustls::Error::AlertReceived(alert)) => Some(Self::of(*alert)),
            Some(_) => None,
            None => matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
                .then_some(Self::Closed),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add others, which are told in its own words")]
    fn of(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::UnrecognisedName => Self::UnknownName,
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::WantsCertificate,
            other => Self::Refused(other),
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTls => f.write_str(
                "what answers there speaks no TLS: proxy.upstream begins with https:// where it should be http://, or \
                 something in between answers",
            ),
            Self::Closed => f.write_str(
                "it ended the connection in the middle of the handshake: a firewall or a proxy in between may not let it \
                 pass, or nothing there speaks TLS",
            ),
            Self::UnknownName => {
                f.write_str("it serves no such name: look at proxy.upstream, and at what its name leads to")
            }
            Self::WantsCertificate => f.write_str(
                "it asks for a client's certificate, and keyward has none: choose an address of upstream's without that",
            ),
            Self::Refused(alert) => write!(
                f,
                "it refused the handshake ({alert:?}): it may speak neither TLS 1.2 nor 1.3, or something in between refuses \
                 keyward"
            ),
        }
    }
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp::from_millis(0).after(Duration::from_secs(seconds))
}

/// webpki gives each name as `DnsName("api.example.com")`.
fn names(presented: &[String]) -> Box<str> {
    let plain = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let mut shown: Vec<_> = presented.iter().take(MOST_NAMES).map(plain).collect();
    match presented.len().saturating_sub(MOST_NAMES) {
        0 if shown.is_empty() => shown.push("no name at all".to_owned()),
        0 => {}
        more => shown.push(format!("{more} more")),
    }
    shown.join(", ").into()
}

/// A certificate may have hundreds.
const MOST_NAMES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_told_within_bounds() {
        #[track_caller]
        fn check(presented: &[&str], expected: &str) {
            let presented: Vec<_> = presented.iter().map(ToString::to_string).collect();
            assert_eq!(&*names(&presented), expected);
        }
        check(&[], "no name at all");
        check(&["DnsName(\"api.example.com\")"], "api.example.com");
        check(&["DnsName(\"*.a\")", "IpAddress(192.0.2.1)", "DnsName(\"c\")"], "*.a, IpAddress(192.0.2.1), c");
        check(&["DnsName(\"a\")"; 100], "a, a, a, 97 more");
    }

    #[test]
    fn what_is_no_matter_of_certificates_is_not_taken_for_one() {
        for error in [io::Error::other(rustls::Error::HandshakeNotComplete), io::ErrorKind::ConnectionReset.into()] {
            assert_eq!(CertificateError::read(&error), None);
        }
        let said = |error: io::Error| HandshakeFault::read(&error).map(|fault| fault.to_string()).unwrap_or_default();
        for (alert, expected) in [
            (AlertDescription::HandshakeFailure, "it refused the handshake (HandshakeFailure): it may speak neither"),
            (AlertDescription::ProtocolVersion, "it refused the handshake (ProtocolVersion)"),
            (AlertDescription::UnrecognisedName, "it serves no such name"),
            (AlertDescription::CertificateRequired, "it asks for a client's certificate"),
        ] {
            let said = said(io::Error::other(rustls::Error::AlertReceived(alert)));
            assert!(said.starts_with(expected), "{said}");
        }
        assert!(said(io::ErrorKind::UnexpectedEof.into()).starts_with("it ended the connection in the middle"));
        assert_eq!(said(io::Error::other(rustls::Error::HandshakeNotComplete)), "");
        let error = rustls::Error::InvalidCertificate(RustlsError::Revoked);
        let said = CertificateError::read(&io::Error::other(error)).map(|fault| fault.to_string());
        assert_eq!(said.as_deref(), Some("cannot be trusted: Revoked"));
    }
}
