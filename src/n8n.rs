//! The n8n side: what n8n's public API says is configured, beside what keyward sees being sent.

pub mod documents;
pub mod inventory;
