//! Pure. HTTP/1.1 and HTTP/2: how requests share a connection, and how both sides agree on one in a TLS handshake.

/// How requests share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One after the other: HTTP/1.1. What is left unread of one stands in the way of the next.
    Http1,
    /// Side by side, each in a stream of its own: HTTP/2.
    Http2,
}

/// What is offered in a handshake for that protocol, the best first.
#[must_use]
pub fn offers(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Http1 => vec![HTTP_1_1.to_vec()],
        Protocol::Http2 => vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()],
    }
}

/// HTTP/2, as it is agreed on in a handshake (RFC 9113, 3.2).
pub const HTTP_2: &[u8] = b"h2";

/// HTTP/1.1, likewise (RFC 7301, 6).
pub const HTTP_1_1: &[u8] = b"http/1.1";
