//! The integration tests, in one binary. A new promise to the user gets a module here.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

/// Requests that real n8n sent, recorded byte for byte: what keyward makes of their heads.
mod captures;

/// What a configuration says, and what the shipped ones are worth.
mod config_files;
