//! What keyward's readers promise, whatever bytes come: one function per reader, which panics when a promise is broken.
//!
//! | target | reads | promises |
//! |---|---|---|
//! | [`head`] | a client's bytes | only who is admitted gets a key of ours; upstream sees one request, and nothing of ours |
//! | [`request_body`] | a body of a request | however its bytes are split, it is the same; written and read again, it is still |
//! | [`answer_head`] | the head of an answer | however its bytes are split, it is the same; its body ends in one place |
//! | [`path`] | a path | a prefix with a dot segment declares nothing; what is repaired needs no second repair |
//! | [`tag`] | tag headers | a tag is read as a whole or not at all; what it declares cannot hide or end anything |
//! | [`credential`] | headers that carry a key | there is always a verdict, and nothing that is told holds the key |
//! | [`config`] | a file and an environment | a configuration or its problems, each with what is allowed; a key is never quoted |
//! | [`error_body`] | an error answer | bounded; however its bytes are split, it says the same |
//! | [`answer`] | a success | bounded; however its bytes are split, it says the same |
//! | [`frames`] | what upstream says in a WebSocket | bounded; however its bytes are split, it shows the same |
//! | [`proxy_protocol`] | the first bytes of a connection | an address that stands there, and not a byte too much is taken |
//!
//! `tests/fuzz/run` builds and runs them; the inputs that are kept stand in `corpus`, one folder per target.

pub mod head;

pub mod request_body;

pub mod answer_head;

pub mod path;

pub mod tag;

pub mod credential;

pub mod config;

pub mod error_body;

pub mod answer;

pub mod frames;

pub mod proxy_protocol;

pub mod pieces;

pub mod fields;

pub mod world;
