//! OpenAI as seen from keyward.

pub mod error;
pub mod probe;
