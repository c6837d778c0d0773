//! Pure. What was sent in one execution of n8n's.

use serde::{Deserialize, Serialize};

use super::binding::KeyUse;
use super::key::PerhapsKey;
use super::who::Who;
use super::{moment, nullable};
use crate::clock::Timestamp;

/// An execution, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    pub execution_id: String,
    /// The name of its workflow.
    #[serde(deserialize_with = "nullable")]
    pub workflow_name: Option<String>,
    /// Those of its exchanges that keyward still has in memory, as they started.
    pub exchanges: Vec<PastExchange>,
    /// Of earlier ones, the last with each key of a binding.
    pub remembered: Vec<RememberedUse>,
}

/// An exchange that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastExchange {
    #[serde(flatten)]
    pub who: Who,
    /// The key that came.
    #[serde(flatten)]
    pub key: PerhapsKey,
    /// The exchange's number, as in `x-keyward-id`: 16 hex digits.
    pub id: String,
    /// When it started.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// The verdict's code.
    pub verdict: String,
    /// The diagnosis's code.
    pub diagnosis: String,
    /// The outcome's code.
    pub outcome: String,
    /// The action's code.
    pub action: String,
    /// The status that the client got; nothing where it got none.
    #[serde(deserialize_with = "nullable")]
    pub status: Option<u16>,
    /// Of a bad one: what was wrong.
    #[serde(deserialize_with = "nullable")]
    pub message: Option<String>,
    /// Of a bad one: what to do, a step in each line.
    #[serde(deserialize_with = "nullable")]
    pub remedy: Option<String>,
}

/// What a binding remembers of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedUse {
    #[serde(flatten)]
    pub who: Who,
    /// How it used the key.
    #[serde(flatten)]
    pub used: KeyUse,
}
