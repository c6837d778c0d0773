//! Pure. What the admin API answers, as types: what it sends is what the command line and the page read.
//!
//! In JSON every field is there, and null where it has no value. A field that is missing makes an answer unreadable, as does
//! an unknown code in place of one of a closed list: a count that another version of keyward does not send must not be
//! taken for none. A field that is not known is passed over.
//!
//! `src/admin/openapi.json` describes the same for other programs; `tests/it/answers.rs` holds both to each other. Moments
//! are RFC 3339 in UTC with whole seconds ([`moment`]).

pub mod audit;
pub mod binding;
pub mod codebook;
pub mod event;
pub mod execution;
pub mod headline;
pub mod incident;
pub mod key;
pub mod link;
pub mod moment;
pub mod notice;
pub mod old_key;
pub mod problem;
pub mod reload;
pub mod rotation;
pub mod sender;
pub mod status;
pub mod who;
pub mod words;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads an answer. The error says what is missing, or what is not as it should be.
pub fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(answer)
}

/// A field that is always there, and may be null. Without this, one that is missing would be taken for null.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}
