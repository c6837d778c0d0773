//! Pure. What an answer to a probe says of a key. A probe asks for the list of models, which costs nothing.

use std::fmt;

use http::StatusCode;

use super::error::ErrorBody;
use crate::outcome::UpstreamError;

/// How a key stands with upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Upstream takes it.
    Alive,
    /// Upstream knows it, but it may not do this. Other things it may well do.
    Restricted {
        /// The scopes that it lacks, or OpenAI's code; nothing where neither is said.
        lacks: Option<String>,
    },
    /// Upstream says that it is no key: revoked, expired or never made.
    Dead,
    /// The answer says nothing about the key.
    Unclear { status: StatusCode },
}

impl Standing {
    /// From an answer and, where it is an error, its body.
    #[must_use]
    pub fn read(status: StatusCode, error: &ErrorBody) -> Self {
        let reading = error.read();
        let lacks = || error.missing_scopes().or(reading.code.as_deref().map(str::to_owned));
        match status.as_u16() {
            // Some gateways refuse with a success.
            401 | 200..=299 if reading.class == UpstreamError::InvalidApiKey => Self::Dead,
            200..=299 if reading.class == UpstreamError::Scope => Self::Restricted { lacks: lacks() },
            200..=299 => Self::Alive,
            401 | 403 => Self::Restricted { lacks: lacks() },
            // A 429 among them: it may be said before anyone looks at the key.
            _ => Self::Unclear { status },
        }
    }

    /// Whether the key can be relied on, as far as the probe tells.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Alive | Self::Restricted { .. })
    }
}

/// In words, as they follow the key: `is alive`.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive => f.write_str("is alive: upstream takes it"),
            Self::Restricted { lacks: Some(lacks) } => {
                write!(f, "is restricted: upstream knows it, but not for the list of models ({lacks})")
            }
            Self::Restricted { lacks: None } => {
                f.write_str("is restricted: upstream knows it, but refuses the list of models")
            }
            Self::Dead => f.write_str("is dead: upstream says that it is no key (revoked, expired or mistyped)"),
            Self::Unclear { status } => write!(f, "is unclear: upstream answered {}", status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::encoding::Encoding;

    #[test]
    fn what_an_answer_says_of_a_key() {
        #[track_caller]
        fn check(status: u16, body: &str, expected: &str) {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut error = ErrorBody::new(status, Encoding::Identity);
            error.push(body.as_bytes());
            assert_eq!(Standing::read(status, &error).to_string(), expected);
        }
        check(200, "{}", "is alive: upstream takes it");
        check(200, r#"{"object":"list","data":[{"id":"gpt-4o"}]}"#, "is alive: upstream takes it");
        let dead = "is dead: upstream says that it is no key (revoked, expired or mistyped)";
        check(401, r#"{"error":{"code":"invalid_api_key"}}"#, dead);
        check(200, r#"{"error":{"code":"invalid_api_key"}}"#, dead);
        let restricted = |lacks| format!("is restricted: upstream knows it, but not for the list of models ({lacks})");
        check(403, r#"{"error":"Missing scopes: api.model.read. Check"}"#, &restricted("api.model.read"));
        check(401, r#"{"error":{"code":"ip_not_authorized"}}"#, &restricted("ip_not_authorized"));
        check(403, "<html>", "is restricted: upstream knows it, but refuses the list of models");
        check(502, "", "is unclear: upstream answered 502");
        check(404, "", "is unclear: upstream answered 404");
        for body in ["{}", r#"{"error":{"code":"insufficient_quota"}}"#] {
            check(429, body, "is unclear: upstream answered 429");
        }
    }
}
