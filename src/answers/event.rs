//! Pure. The stream of events: each exchange as the log's line has it, and what is said beside that.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::verdict::explain::DiagnosisKind;

/// Of a line of the log, what the command line reads. The line has more: [`crate::access_log`] writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// When the exchange started.
    #[serde(with = "moment")]
    pub timestamp: Timestamp,
    /// The verdict's code.
    pub verdict: String,
    /// The diagnosis's code.
    pub diagnosis: String,
    /// Where the caller is known from, by its code.
    pub attribution: String,
    #[serde(deserialize_with = "nullable")]
    pub workflow_id: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub workflow_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub execution_id: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub node_id: Option<String>,
    /// The node's name: left out where n8n did not tell it.
    #[serde(default)]
    pub node_name: Option<String>,
    /// The client family, by its code.
    pub client: String,
    /// The address at the other end of the connection: left out where the workflow is known.
    #[serde(default)]
    pub peer: Option<String>,
    /// The key that came.
    #[serde(flatten)]
    pub key: LineKey,
    /// The method of the request.
    pub method: String,
    /// The path of the request.
    pub path: String,
    /// The status that the client got; nothing where it got none.
    #[serde(deserialize_with = "nullable")]
    pub status: Option<u16>,
    /// What was wrong: left out where nothing was.
    #[serde(default)]
    pub message: Option<String>,
    /// What to do, a step in each line: left out where nothing was wrong.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// What a line calls a key by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LineKey {
    /// The first 8 hex digits of the fingerprint; nothing where no key came.
    #[serde(deserialize_with = "nullable")]
    pub fingerprint: Option<String>,
    /// Kind and last four characters.
    #[serde(deserialize_with = "nullable")]
    pub hint: Option<String>,
}

/// That exchanges came too fast to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub lost: u64,
}

/// The last event of a stream that keyward ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why it ends, by a stable code.
    pub reason: String,
}

impl Line {
    /// Whether its diagnosis is `ok`.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.diagnosis == DiagnosisKind::Ok.code()
    }
}

/// `sk-proj-…AbCd (01234567)`; `no key` where none came.
impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.hint, &self.fingerprint) {
            (Some(hint), Some(fingerprint)) => write!(f, "{hint} ({fingerprint})"),
            (None, Some(fingerprint)) => f.write_str(fingerprint),
            (_, None) => f.write_str("no key"),
        }
    }
}
