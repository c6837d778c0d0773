//! What `keyward rotate` does beside asking: OpenAI's admin API, the files that hold a set's keys, and the journal by which a
//! rotation goes on after it was stopped.

pub mod account;
pub mod admin_api;
pub mod journal;
pub mod key_file;
pub mod redacted;
