//! Connections to upstream: made, shared, kept, and looked at before they are used again.
//!
//! | what | where |
//! |---|---|
//! | the connections of a worker, in HTTP/1.1 and in HTTP/2 | [`pool`], [`http2_pool`] |
//! | how they are made and counted | [`dialer`], [`open_connections`] |
//! | what carries one exchange, in either protocol | [`connection`], [`http1`], [`http2`] |
//! | the request's body, and how it ends before its time | [`request_body`], [`cancellation`] |
//! | the bytes of a connection: how many, whether they arrive, and frames that flood | [`upstream_io`], [`dead_peer`], [`frames`] |

pub mod cancellation;
pub mod connection;
pub mod dead_peer;
pub mod dialer;
pub mod frames;
pub mod http1;
pub mod http2;
pub mod http2_pool;
pub mod open_connections;
pub mod pool;
pub mod request_body;
pub mod upstream_io;
