//! Pure. Which keys a binding sent from where.

use serde::{Deserialize, Serialize};

use super::key::KeyNames;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::keys::set::RoleKind;

/// A key that came from an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Where it came from; nothing where there was no room to know.
    #[serde(deserialize_with = "nullable")]
    pub address: Option<String>,
    /// Whether its executions fit into the order of no n8n that is known.
    pub another_n8n: bool,
    #[serde(flatten)]
    pub key: KeyNames,
    /// What the key is to the set; nothing where keyward does not know it.
    #[serde(deserialize_with = "nullable")]
    pub role: Option<RoleKind>,
    /// When it first came from there.
    #[serde(with = "moment")]
    pub first: Timestamp,
    /// When it last came from there.
    #[serde(with = "moment")]
    pub last: Timestamp,
}
