//! Pure. What upstream answered and how the exchange ended.

use http::StatusCode;

use crate::codes::{codes, listed};
use crate::request_path::BasePath;

/// The end of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ending: Ending,
    /// The status that upstream sent, if its head came.
    pub status: Option<StatusCode>,
    /// What upstream's words say is wrong, of the classes that keyward tells apart: an error body, an event of a stream, a
    /// message or the close of a WebSocket.
    pub error: UpstreamError,
    /// Whether upstream has shown that it takes the key, where its status does not.
    pub proof: Proof,
}

listed! {
    /// How an exchange ended, seen from keyward.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Ending {
        /// Upstream's answer went out whole.
        Completed,
        /// The client left before the answer was whole.
        ClientGone,
        /// No connection to upstream: refused, no route, no name, no TLS.
        Unreachable,
        /// Upstream was silent for longer than the limit.
        TimedOut,
        /// Upstream ended the connection, or broke the protocol, before its answer was whole.
        CutOff,
        /// Upstream sent a redirect, which keyward does not let out.
        Redirected,
        /// keyward answered itself and sent nothing upstream.
        Refused,
        /// keyward failed in the middle: a panic.
        Failed,
        /// keyward was shut down in the middle.
        ShutDown,
        /// Neither side said anything for longer than the limit, on a connection that was upgraded: neither is to blame.
        Idle,
    }
}

codes! {
    /// What an outcome is called: [`Outcome::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum OutcomeKind {
        /// A whole answer that says nothing of an error.
        Success => "success",
        /// A whole answer, which refuses the key or what it may do.
        AuthError => "auth_error",
        /// A whole answer: too much at once, or no allowance.
        Limited => "limited",
        /// A whole answer, which refuses the request.
        RequestError => "request_error",
        /// A whole answer: upstream failed.
        UpstreamError => "upstream_error",
        ClientGone => "client_gone",
        Unreachable => "unreachable",
        TimedOut => "timed_out",
        CutOff => "cut_off",
        Redirected => "redirected",
        Refused => "refused",
        Failed => "failed",
        ShutDown => "shut_down",
        Idle => "idle",
    }
}

/// Where a redirect of upstream's leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// The same place, with a slash at the end of its path, or without it.
    Slash,
    /// Another path or scheme at the same host.
    SameHost,
    /// An address at another host with a signature in it, which is open to anyone who has it: a file.
    SignedFile,
    /// Another host.
    Elsewhere,
}

impl Redirect {
    /// Reads a `Location` (RFC 9110, 10.2.2) that was sent in answer to that path and query at that host, with its port where
    /// it is not the scheme's own. Where upstream has its API somewhere else than at the path's `/v1`, `base_path` says where.
    #[must_use]
    pub fn read(location: &[u8], host: &str, path: &str, base_path: Option<&BasePath>) -> Self {
        let Ok(location) = std::str::from_utf8(location) else { return Self::Elsewhere };
        let (authority, target) = match location.split_once("://") {
            Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None if location.starts_with("//") => {
                location[2..].split_at(location[2..].find(['/', '?']).unwrap_or(location.len() - 2))
            }
            None => (host, location),
        };
        let path_of = |target: &str| target.split(['?', '#']).next().unwrap_or_default().to_owned();
        if !authority.eq_ignore_ascii_case(host) {
            let query = target.split_once('?').map_or("", |(_, query)| query).to_ascii_lowercase();
            let is_signed = ["sig=", "signature="].into_iter().any(|name| query.contains(name));
            return if is_signed { Self::SignedFile } else { Self::Elsewhere };
        }
        let sent = base_path.zip(path.strip_prefix("/v1")).map(|(base, rest)| format!("{base}{rest}"));
        let (from, to) = (path_of(sent.as_deref().unwrap_or(path)), path_of(target));
        if from != to && from.trim_end_matches('/') == to.trim_end_matches('/') { Self::Slash } else { Self::SameHost }
    }
}

/// The classes of upstream's error codes that lead to different advice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamError {
    /// No error, or none that could be read.
    #[default]
    None,
    /// `invalid_api_key`, or the text that OpenAI sends with it.
    InvalidApiKey,
    /// Scope, model, project, organisation, IP address, country or account: the key is good, its permissions are not.
    Scope,
    /// A billing code: credit, spend or usage limit.
    Quota,
    /// Refused for who it is, inside of an answer that began as a success, for a reason that keyward has no name for.
    Denied,
    /// OpenAI's own complaint about the request (400 `invalid_request_error`), which it makes after a look at the key.
    Request,
    /// Any other code.
    Other,
}

impl UpstreamError {
    /// Whether it refuses the key, or what its account may do.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        match self {
            Self::InvalidApiKey | Self::Scope | Self::Quota | Self::Denied => true,
            Self::None | Self::Request | Self::Other => false,
        }
    }
}

/// Whether upstream took the key of an exchange that goes on in another protocol. The switch itself (101) shows nothing:
/// OpenAI has been seen to accept a WebSocket, and to refuse its key in the first message or with the close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    #[default]
    None,
    /// A message came that is no error.
    Message,
}

impl Outcome {
    /// The stable code, as in the log and the metrics: a whole answer by its [true status](Self::true_status) (401 and 403
    /// `auth_error`, 429 `limited`, other 4xx `request_error`, 5xx `upstream_error`, everything else `success`), any other
    /// end by its name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// The kind that [`Outcome::code`] names.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self.ending {
            Ending::Completed if self.is_accepted() => OutcomeKind::Success,
            Ending::Completed => match self.true_status() {
                Some(401 | 403) => OutcomeKind::AuthError,
                Some(429) => OutcomeKind::Limited,
                Some(400..=499) => OutcomeKind::RequestError,
                Some(500..) => OutcomeKind::UpstreamError,
                Some(_) | None => OutcomeKind::Success,
            },
            Ending::ClientGone => OutcomeKind::ClientGone,
            Ending::Unreachable => OutcomeKind::Unreachable,
            Ending::TimedOut => OutcomeKind::TimedOut,
            Ending::CutOff => OutcomeKind::CutOff,
            Ending::Redirected => OutcomeKind::Redirected,
            Ending::Refused => OutcomeKind::Refused,
            Ending::Failed => OutcomeKind::Failed,
            Ending::ShutDown => OutcomeKind::ShutDown,
            Ending::Idle => OutcomeKind::Idle,
        }
    }

    /// The status of the answer, or, where it began as a success and refused the key inside, the one that such an error has
    /// as an answer of its own.
    #[must_use]
    pub fn true_status(&self) -> Option<u16> {
        let status = self.status?.as_u16();
        if !self.error.is_refusal() || status >= 300 {
            return Some(status);
        }
        Some(match self.error {
            UpstreamError::InvalidApiKey | UpstreamError::Denied => 401,
            UpstreamError::Scope => 403,
            UpstreamError::Quota => 429,
            UpstreamError::None | UpstreamError::Request | UpstreamError::Other => status,
        })
    }

    /// Whether upstream accepted the credential beyond doubt: it began to answer with success, or sent a message behind a
    /// switch of protocols, and has said nothing of an error since.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let is_shown = self.status.is_some_and(|status| status.is_success()) || self.proof == Proof::Message;
        is_shown && self.error == UpstreamError::None
    }

    /// Whether upstream looked at the key and found nothing wrong with it: it accepted it, or found fault with the request
    /// itself. Of all refusals that is said of 400 alone (an invalid body tells a key that may from one that may not, which
    /// is how scanners try out keys); OpenAI routes before it looks at keys, so 404 and 405 come without one, and nothing is
    /// known of 409, 413, 415 and 422. 429 and 5xx may come from in front of the API.
    #[must_use]
    pub fn took_key(&self) -> bool {
        let is_about_request = self.status == Some(StatusCode::BAD_REQUEST) && self.error == UpstreamError::Request;
        self.is_accepted() || is_about_request
    }

    /// Whether upstream switched protocols and has said neither yes nor no since.
    #[must_use]
    pub fn is_open_switch(&self) -> bool {
        self.status == Some(StatusCode::SWITCHING_PROTOCOLS) && self.true_status() == Some(101) && !self.is_accepted()
    }

    /// Whether upstream's words refuse the key, or what its account may do, with whatever status they came.
    #[must_use]
    pub fn refuses_key(&self) -> bool {
        self.error.is_refusal() && matches!(self.true_status(), Some(401 | 403 | 429))
    }

    /// Whether upstream refused the credential as no key of its own, rather than for what it may do.
    #[must_use]
    pub fn is_invalid_key(&self) -> bool {
        self.true_status() == Some(401) && self.error == UpstreamError::InvalidApiKey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        #[track_caller]
        fn check(ending: Ending, status: u16, expected: &str) {
            let status = StatusCode::from_u16(status).ok();
            let outcome = Outcome { ending, status, error: UpstreamError::None, proof: Proof::None };
            assert_eq!(outcome.code(), expected);
        }
        check(Ending::Completed, 200, "success");
        check(Ending::Completed, 304, "success");
        check(Ending::Completed, 401, "auth_error");
        check(Ending::Completed, 403, "auth_error");
        check(Ending::Completed, 404, "request_error");
        check(Ending::Completed, 429, "limited");
        check(Ending::Completed, 503, "upstream_error");
        check(Ending::ClientGone, 200, "client_gone");
        check(Ending::ShutDown, 0, "shut_down");
        check(Ending::Idle, 101, "idle");
    }

    fn answered(status: u16, error: UpstreamError) -> Outcome {
        let status = StatusCode::from_u16(status).ok();
        Outcome { ending: Ending::Completed, status, error, proof: Proof::None }
    }

    #[test]
    fn a_key_is_accepted_by_success_and_by_a_message_alone() {
        let accepted = |status: u16| answered(status, UpstreamError::None).is_accepted();
        assert_eq!([200, 201, 204].map(accepted), [true; 3]);
        assert_eq!([0, 100, 101, 304, 400, 401, 404, 429, 500].map(accepted), [false; 9]);
        let switched = answered(101, UpstreamError::None);
        assert!(switched.is_open_switch());
        let proven = Outcome { proof: Proof::Message, ..switched };
        assert!(proven.is_accepted() && !proven.is_open_switch());
        assert!(!Outcome { error: UpstreamError::InvalidApiKey, ..proven }.is_accepted(), "a close takes it back");
    }

    #[test]
    fn an_error_inside_of_a_success_counts_as_what_it_is() {
        #[track_caller]
        fn check(status: u16, error: UpstreamError, code: &str, is_invalid: bool) {
            let outcome = answered(status, error);
            assert_eq!((outcome.code(), outcome.is_invalid_key()), (code, is_invalid), "{status} {error:?}");
            assert!(!outcome.is_accepted() && !outcome.took_key(), "{status} {error:?}");
        }
        for status in [200, 101] {
            check(status, UpstreamError::InvalidApiKey, "auth_error", true);
            check(status, UpstreamError::Scope, "auth_error", false);
            check(status, UpstreamError::Denied, "auth_error", false);
            check(status, UpstreamError::Quota, "limited", false);
            check(status, UpstreamError::Other, "success", false);
        }
        check(401, UpstreamError::InvalidApiKey, "auth_error", true);
        check(400, UpstreamError::InvalidApiKey, "request_error", false);
        check(429, UpstreamError::Scope, "limited", false);
    }

    #[test]
    fn of_refusals_only_a_complaint_about_the_request_shows_that_the_key_was_taken() {
        let took = |status: u16, error| answered(status, error).took_key();
        assert!(took(400, UpstreamError::Request) && took(200, UpstreamError::None));
        assert!(!took(400, UpstreamError::Other), "of an upstream that refuses keys so");
        assert!(!took(400, UpstreamError::None), "of whatever stands in front of the API");
        for status in [101, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503] {
            assert!(!took(status, UpstreamError::Other) && !took(status, UpstreamError::None), "{status}");
        }
    }

    #[test]
    fn a_redirect_is_told_by_where_it_leads() {
        let read = |location: &str| Redirect::read(location.as_bytes(), "api.openai.com", "/v1/embeddings/", None);
        for location in ["/v1/embeddings", "http://api.openai.com/v1/embeddings", "//API.openai.com/v1/embeddings?x=1"]
        {
            assert_eq!(read(location), Redirect::Slash, "{location}");
        }
        for location in ["/v2/embeddings/", "https://api.openai.com/v1/embeddings/", "https://api.openai.com"] {
            assert_eq!(read(location), Redirect::SameHost, "{location}");
        }
        for location in ["https://files.example/a?se=1&sig=abc", "https://files.example/a?X-Amz-Signature=abc"] {
            assert_eq!(read(location), Redirect::SignedFile, "{location}");
        }
        for location in ["https://elsewhere.example/v1/embeddings", "https://api.openai.com.evil.example/", "", "\u{1}"]
        {
            let expected = if location.contains("example") { Redirect::Elsewhere } else { Redirect::SameHost };
            assert_eq!(read(location), expected, "{location}");
        }
        assert_eq!(Redirect::read(b"\xff", "a", "/", None), Redirect::Elsewhere);
        let base = BasePath::new("/openai/v1");
        for (location, expected) in [
            ("/openai/v1/embeddings", Redirect::Slash),
            ("https://a/openai/v1/embeddings?x=1", Redirect::Slash),
            ("/v1/embeddings", Redirect::SameHost),
            ("/openai/v2/embeddings", Redirect::SameHost),
        ] {
            let read = Redirect::read(location.as_bytes(), "a", "/v1/embeddings/", base.as_ref());
            assert_eq!(read, expected, "{location}");
        }
    }
}
