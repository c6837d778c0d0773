//! Pure. A moment as an answer has it: RFC 3339 in UTC with whole seconds, `2026-11-23T08:15:00Z`.

use serde::{Deserialize, Deserializer, Serializer};

use crate::clock::Timestamp;

/// Writes a moment in UTC, to a second: `2026-11-23T08:00:00Z` (RFC 3339).
pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

/// Reads such a text; an error where it is none.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(from)?)
}

/// A moment, or null. The field is always there.
pub mod nullable {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, parse};

    /// Writes a moment, or null.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.collect_str(at),
            None => to.serialize_none(),
        }
    }

    /// Reads a moment, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| parse(&text)).transpose()
    }
}

fn parse<E: serde::de::Error>(text: &str) -> Result<Timestamp, E> {
    text.parse().map_err(|error| E::custom(format_args!("{text:?} is no moment: {error}")))
}
