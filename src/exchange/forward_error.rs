//! Why upstream gave no answer, and who is at fault.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::net::connect::ConnectError;
use crate::outcome::Ending;
use crate::upstream::connection::AnswerError;
use crate::upstream::frames::MOST_BEFORE_ANSWER;

/// Why no answer came. Each names who is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Upstream, or the way to it.
    #[error("upstream cannot be reached")]
    Connect(#[from] Arc<ConnectError>),
    /// Upstream, which closed the connection or broke the protocol before its head was whole.
    #[error("upstream broke off before its answer")]
    CutOff(#[source] AnswerError),
    /// Upstream, which began to speak another protocol.
    #[error("upstream switched to another protocol, although the request did not ask for it")]
    Upgraded,
    /// Upstream, which sent so much without an answer that keyward stopped waiting for one.
    #[error("upstream sent {MOST_BEFORE_ANSWER} bytes and no answer")]
    Chatter,
    /// Upstream, which was silent for too long.
    #[error("upstream did not answer in time")]
    TimedOut,
    /// The client, whose body stood still for too long.
    #[error("the request's body stood still for {limit:?}")]
    StoodStill { limit: Duration },
    /// Upstream, which took nothing of the body for too long.
    #[error("upstream took nothing of the request's body for {limit:?}")]
    NotTaken { limit: Duration },
    /// The client, whose body ended before it was whole.
    #[error("the request's body broke off")]
    RequestBody(#[source] Box<dyn Error + Send + Sync>),
}

impl ForwardError {
    /// How the exchange ends by it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            Self::Connect(_) => Ending::Unreachable,
            Self::CutOff(_) | Self::Upgraded | Self::Chatter => Ending::CutOff,
            Self::TimedOut | Self::NotTaken { .. } => Ending::TimedOut,
            Self::StoodStill { .. } | Self::RequestBody(_) => Ending::ClientGone,
        }
    }
}
