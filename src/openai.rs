//! OpenAI as seen from keyward.

pub mod answer;
pub mod encoding;
pub mod error;
pub mod event;
pub mod probe;
pub mod websocket;
