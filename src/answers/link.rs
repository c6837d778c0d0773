//! Pure. What the routes answer that change something for one caller: a link for a browser, and the test of a credential.

use serde::{Deserialize, Serialize};

use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;

/// A link that begins a session in the browser that opens it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The path, on the admin listener.
    pub path: String,
    /// Until when it can be opened.
    #[serde(with = "moment")]
    pub until: Timestamp,
}

/// That a program has n8n test a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressBegun {
    /// Whether it may begin: while another test goes on, none does.
    pub begun: bool,
}

/// What came of the test of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressEnded {
    /// The key that came; nothing where none did, or it cannot be told which one did.
    #[serde(deserialize_with = "nullable")]
    pub key: Option<Fingerprint>,
    /// The verdict on the first request that can be the test's, by its code; nothing where none came.
    #[serde(deserialize_with = "nullable")]
    pub verdict: Option<String>,
}
