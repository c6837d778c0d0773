//! Pure. What keyward does about a verdict. Only this module can make a [`Permit`], and forwarding takes one: a request
//! that was not judged cannot go upstream.

use crate::verdict::Judgement;

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    /// It goes upstream.
    Forward(Permit),
}

impl Action {
    /// The stable code, as in the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
        }
    }
}

/// Leave to send one request upstream.
#[derive(Debug)]
pub struct Permit(());

/// What a set wants done about verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Forward what came, whatever it is, and say what it is.
    #[default]
    Observe,
}

impl Policy {
    /// The policy's name, as in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
        }
    }
}

/// Decides what is done about a judgement.
#[must_use]
pub fn decide(_judgement: &Judgement, policy: Policy) -> Action {
    match policy {
        Policy::Observe => Action::Forward(Permit(())),
    }
}
