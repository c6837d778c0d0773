//! Pure. What upstream answered and how the exchange ended.

use http::StatusCode;

/// The end of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The status that upstream sent, if its head came.
    pub status: Option<StatusCode>,
    /// What upstream's error body says, of the classes that keyward tells apart.
    pub error: UpstreamError,
}

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
    /// Neither side said anything for longer than the limit, on a connection that was upgraded: nobody is to blame.
    Idle,
}

impl Ending {
    /// Every ending, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Completed,
        Self::ClientGone,
        Self::Unreachable,
        Self::TimedOut,
        Self::CutOff,
        Self::Redirected,
        Self::Refused,
        Self::Failed,
        Self::ShutDown,
        Self::Idle,
    ];
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
    /// Any other code.
    Other,
}

impl Outcome {
    /// How many codes there are.
    pub const COUNT: usize = 14;

    /// Every code, by [`Outcome::position`].
    pub const CODES: [&'static str; Self::COUNT] = [
        "success",
        "auth_error",
        "limited",
        "request_error",
        "upstream_error",
        "client_gone",
        "unreachable",
        "timed_out",
        "cut_off",
        "redirected",
        "refused",
        "failed",
        "shut_down",
        "idle",
    ];

    /// The stable code, as in the log and the metrics: a whole answer by its status (401 and 403 `auth_error`, 429
    /// `limited`, other 4xx `request_error`, 5xx `upstream_error`, everything else `success`), any other end by its name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        Self::CODES[self.position()]
    }

    /// As a position in a table with a row for each code.
    #[must_use]
    pub fn position(&self) -> usize {
        match self.ending {
            Ending::Completed => match self.status.map(|status| status.as_u16()) {
                Some(401 | 403) => 1,
                Some(429) => 2,
                Some(400..=499) => 3,
                Some(500..) => 4,
                Some(_) | None => 0,
            },
            Ending::ClientGone => 5,
            Ending::Unreachable => 6,
            Ending::TimedOut => 7,
            Ending::CutOff => 8,
            Ending::Redirected => 9,
            Ending::Refused => 10,
            Ending::Failed => 11,
            Ending::ShutDown => 12,
            Ending::Idle => 13,
        }
    }

    /// Whether upstream accepted the credential beyond doubt: it began to answer with success, or switched protocols. OpenAI
    /// refuses a key for a WebSocket before it switches.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS)
    }

    /// Whether upstream refused the credential as no key of its own, rather than for what it may do.
    #[must_use]
    pub fn is_invalid_key(&self) -> bool {
        self.status == Some(StatusCode::UNAUTHORIZED) && self.error == UpstreamError::InvalidApiKey
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
            assert_eq!(Outcome { ending, status, error: UpstreamError::None }.code(), expected);
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

    #[test]
    fn a_key_is_accepted_by_success_and_by_a_switch_of_protocols_alone() {
        let accepted = |status: u16| {
            let outcome = Outcome {
                ending: Ending::Completed,
                status: StatusCode::from_u16(status).ok(),
                error: UpstreamError::None,
            };
            outcome.is_accepted()
        };
        assert_eq!([101, 200, 204].map(accepted), [true; 3]);
        assert_eq!([0, 100, 304, 401, 404, 429, 500].map(accepted), [false; 7]);
    }

    #[test]
    fn every_ending_stands_at_its_number() {
        for (number, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, number);
        }
    }
}
