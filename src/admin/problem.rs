//! Why the admin listener does not do what it was asked to.

use http::StatusCode;

use crate::codes::codes;
use crate::telemetry::event::with_causes;

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    allowed: Option<&'static str>,
}

codes! {
    /// The kinds of problems. Each has a stable code, in `type` behind `urn:keyward:problem:`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Kind {
        /// A parameter is none, or not what it may be.
        BadQuery => "bad_query",
        TokenMissing => "token_missing",
        /// The token that came is none, or none any more.
        TokenUnknown => "token_unknown",
        /// The link that was opened is none, or none any more.
        LinkUnknown => "link_unknown",
        /// This wrong token is one of too many to be answered each.
        TooManyWrongTokens => "too_many_wrong_tokens",
        /// The token may only read.
        ReadOnly => "read_only",
        /// The request names a host that is not keyward's.
        HostNotAllowed => "host_not_allowed",
        /// A page of another site sent it.
        OriginNotAllowed => "origin_not_allowed",
        /// There is no such thing.
        NotFound => "not_found",
        /// Several things begin with that name.
        Ambiguous => "ambiguous",
        /// It cannot be used so.
        MethodNotAllowed => "method_not_allowed",
        Failed => "failed",
        /// It cannot be had now.
        Unavailable => "unavailable",
    }
}

impl Kind {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadQuery => StatusCode::BAD_REQUEST,
            Self::TokenMissing | Self::TokenUnknown | Self::LinkUnknown => StatusCode::UNAUTHORIZED,
            Self::TooManyWrongTokens => StatusCode::TOO_MANY_REQUESTS,
            Self::ReadOnly | Self::HostNotAllowed | Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Ambiguous => StatusCode::CONFLICT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What it is called, in words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadQuery => "A parameter makes no sense",
            Self::TokenMissing => "The admin token is missing",
            Self::TokenUnknown => "The admin token is not known",
            Self::LinkUnknown => "The link is not good any more",
            Self::TooManyWrongTokens => "Too many wrong tokens come",
            Self::ReadOnly => "The admin token may only read",
            Self::HostNotAllowed => "The host is not allowed",
            Self::OriginNotAllowed => "The origin is not allowed",
            Self::NotFound => "There is no such thing",
            Self::Ambiguous => "Several things begin so",
            Self::MethodNotAllowed => "It cannot be used so",
            Self::Failed => "keyward failed",
            Self::Unavailable => "It cannot be had now",
        }
    }
}

impl Problem {
    /// `detail` says what is wrong with this request, in a sentence, and what to do about it.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), allowed: None }
    }

    /// That is not among the methods, which are `allowed`, as in `Allow` (RFC 9110, 10.2.1).
    #[must_use]
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("It takes {allowed} alone.");
        Self { kind: Kind::MethodNotAllowed, detail, allowed: Some(allowed) }
    }

    /// What programs match: it decides the status and the title of the answer.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is wrong and what to do about it.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The methods of `Allow`, for one that is not among them.
    #[must_use]
    pub fn allowed(&self) -> Option<&'static str> {
        self.allowed
    }
}

/// Something of keyward's own went wrong.
pub fn failed(error: &dyn std::error::Error) -> Problem {
    Problem::new(Kind::Failed, with_causes(error))
}
