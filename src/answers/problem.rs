//! Pure. What the API answers where it does not do what it was asked to: problem details (RFC 9457).

use serde::{Deserialize, Serialize};

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDetails {
    /// Its kind: a stable code behind `urn:keyward:problem:`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong with this request, and what to do about it.
    pub detail: String,
}
