//! Pure. A use of a key, as its binding hands it on as evidence.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::rhythm;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;

/// A use of a key, as its binding hands it on. Requests in a row of one execution, with one key and from one address, are
/// one use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The key that came.
    pub key: Fingerprint,
    /// Where it came from.
    pub peer: IpAddr,
    /// The execution, if one was named.
    pub execution: Option<Execution>,
    /// When its first request started.
    pub first: Timestamp,
    /// When its last request started.
    pub last: Timestamp,
    /// Whether upstream accepted the key in one of them.
    pub accepted: bool,
    /// Whether the key was a previous one of its set then.
    pub is_previous: bool,
    /// In how many of its requests it was.
    pub outdated: u32,
    /// What it asked for: the part of the API, which tells programs without a tag apart.
    pub endpoint: &'static str,
}

/// An execution's id, in as little room as tells two of them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Execution {
    /// A number, as every n8n gives: they rise in the order in which executions begin.
    Number(u64),
    /// A hash of anything else.
    Text(u32),
}

impl Execution {
    /// Reads an id as the request declared it.
    #[must_use]
    pub fn of(id: &str) -> Self {
        id.parse().map_or_else(|_| Self::Text(rhythm::hash(id)), Self::Number)
    }
}

/// The part of the API that a path asks for, of a fixed list: bounded, so that it may tell programs apart.
#[must_use]
pub fn endpoint(path: &str) -> &'static str {
    let rest = path.strip_prefix("/v1/").unwrap_or(path);
    ENDPOINTS.into_iter().find(|known| rest.strip_prefix(known).is_some_and(is_whole)).unwrap_or("other")
}

fn is_whole(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// Longer ones stand before shorter ones that they begin with.
const ENDPOINTS: [&str; 18] = [
    "chat/completions",
    "completions",
    "responses",
    "embeddings",
    "models",
    "audio",
    "images",
    "videos",
    "files",
    "uploads",
    "assistants",
    "threads",
    "vector_stores",
    "batches",
    "fine_tuning",
    "moderations",
    "realtime",
    "conversations",
];
