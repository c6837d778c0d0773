//! Pure. Where a notice goes: a URL that is a secret as a whole, for everyone who has it can post there; and what signs it.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use ring::hmac;
use zeroize::Zeroizing;

use crate::keys::secret::Secret;
use crate::net::origin::{Scheme, Upstream};

/// The URL of a receiver, parted into where it leads and what may be secret.
pub struct Destination {
    pub origin: Upstream,
    /// Path and query.
    pub target: Uri,
    /// User and password of the URL as a header (RFC 7617).
    pub authorization: Option<HeaderValue>,
}

/// Why a text is no URL that a notice can go to. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("it holds no URL that begins with https:// or http://")]
    NoUrl,
    #[error("its URL names no host, or a port that is none")]
    NoHost,
}

impl Destination {
    /// Parts the URL: `https` or `http`, a host, and a port that is not 0. A fragment is left out.
    pub fn parse(url: &Secret) -> Result<Self, DestinationError> {
        let text = str::from_utf8(url.expose()).map_err(|_| DestinationError::NoUrl)?;
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(|_| DestinationError::NoUrl)?;
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(DestinationError::NoUrl),
        };
        let authority = uri.authority().ok_or(DestinationError::NoHost)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let has_port = authority.as_str().ends_with(&format!("{}:", authority.host()));
        let port = authority.port().map_or(Some(scheme.default_port()), |port| Some(port.as_u16()));
        let port = port.filter(|port| *port != 0 && !has_port && !host.is_empty()).ok_or(DestinationError::NoHost)?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = target.parse().map_err(|_| DestinationError::NoUrl)?;
        let authorization = user.and_then(authorization);
        Ok(Self { origin: Upstream { scheme, host: host.into(), port }, target, authorization })
    }
}

/// Shows the origin alone.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

fn authorization(user: &str) -> Option<HeaderValue> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let pair = Zeroizing::new([decoded(name), b":".to_vec(), decoded(password)].concat());
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(&*pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What messages are signed with: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
pub struct SigningSecret(hmac::Key);

/// Why a text signs nothing. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no signing secret: that is whsec_ and 24 to 64 bytes in Base64, as in docs/notices.md")]
pub struct SigningSecretError;

impl SigningSecret {
    /// Of `whsec_…`; what stands before the Base64 may be left out.
    pub fn parse(secret: &Secret) -> Result<Self, SigningSecretError> {
        let text = str::from_utf8(secret.expose()).map_err(|_| SigningSecretError)?;
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| SigningSecretError)?);
        if !(24..=64).contains(&bytes.len()) {
            return Err(SigningSecretError);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The signature of a message: `v1,` and the HMAC-SHA256 of id, seconds since the Unix epoch and body.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body.as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Destination, DestinationError> {
        Destination::parse(&url.parse().expect("visible ASCII"))
    }

    #[test]
    fn a_url_is_parted() {
        #[track_caller]
        fn check(url: &str, origin: &str, target: &str) {
            let found = parse(url).expect(url);
            assert_eq!((found.to_string().as_str(), found.target.to_string().as_str()), (origin, target), "{url}");
        }
        check("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com", "/services/T0/B0/xyz");
        check("http://n8n:5678/webhook/a?b=c#d", "http://n8n:5678", "/webhook/a?b=c");
        check("https://Example.COM", "https://example.com", "/");
        check("http://[::1]:9000/x", "http://[::1]:9000", "/x");
        check("https://u:p%40@h.example/x", "https://h.example", "/x");
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_quoted() {
        for url in
            ["hooks.slack.com/services/x", "ftp://h/x", "https://", "/x", "https:///x", "http://h:0/", "http://h:/x"]
        {
            let error = parse(url).err();
            let error = error.expect(url).to_string();
            assert!(url.len() <= 8 || !error.contains(url), "{url}: {error}");
        }
    }

    #[test]
    fn user_and_password_are_sent_as_a_header() {
        let found = parse("https://me:p%40ss@h.example/x").expect("a URL");
        let value = found.authorization.expect("a header");
        assert!(value.is_sensitive());
        assert_eq!(value.as_bytes(), b"Basic bWU6cEBzcw==");
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let secret =
            SigningSecret::parse(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("ASCII")).expect("one");
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["whsec_", "whsec_abc", "whsec_!!!!", "c2hvcnQ="] {
            assert!(SigningSecret::parse(&text.parse().expect("ASCII")).is_err(), "{text}");
        }
    }
}
