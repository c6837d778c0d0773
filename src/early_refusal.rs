//! Pure. Why a client is refused before there is an exchange: nothing of its request was judged, so no line of an exchange
//! tells of it.

use crate::codes::codes;

codes! {
    /// What was wrong. Each has a stable code, which is a label in the metrics as well.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum EarlyRefusal {
        /// A request to open a tunnel, as to an HTTP proxy.
        NotAProxy => "not_a_proxy",
        /// A target that not every server reads alike.
        AmbiguousTarget => "ambiguous_target",
        /// No host, or several.
        AmbiguousHost => "ambiguous_host",
        /// A transfer coding beside chunks.
        TransferCoding => "transfer_coding",
        /// Bytes that are no head of a request.
        UnreadableHead => "unreadable_head",
        /// A head, or a target, that is larger than heads may be.
        OversizedHead => "oversized_head",
        /// A load balancer that does not say whom it speaks for.
        ProxyHeader => "proxy_header",
        /// No TLS session.
        TlsHandshake => "tls_handshake",
        /// HTTP/2 that breaks its rules, or floods.
        BrokenHttp2 => "broken_http2",
        /// More requests at a time than one address may have, or than there is room for.
        TooManyRequests => "too_many_requests",
    }
}

impl EarlyRefusal {
    /// What happened and what to do about it, in a sentence that quotes nothing of what came.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::NotAProxy => {
                "a client took keyward for an HTTP proxy (CONNECT): set keyward as the base URL of the credential, and not \
                 as a proxy"
            }
            Self::AmbiguousTarget => {
                "the target of a request is not one that every server reads alike: it has to be a path, without a user and \
                 with all but ASCII percent-encoded"
            }
            Self::AmbiguousHost => "a request named no host, or several: it has to have a single Host header",
            Self::TransferCoding => {
                "the body of a request came in a transfer coding beside chunks, which keyward does not take off: compressed \
                 content is told by Content-Encoding"
            }
            Self::UnreadableHead => {
                "what came is no request in HTTP/1.1 or HTTP/2: is this a client of another protocol, or one that speaks TLS \
                 to a port without [tls]?"
            }
            Self::OversizedHead => "the head of a request is larger than max_head allows",
            Self::ProxyHeader => {
                "a connection from an address in proxy_protocol_from does not begin with a PROXY protocol header: have the \
                 load balancer send one, or take its address out of the list"
            }
            Self::TlsHandshake => {
                "a client and keyward did not agree on a TLS session: does the client trust the certificate in [tls], and \
                 does its base URL begin with https?"
            }
            Self::BrokenHttp2 => "a client broke the rules of HTTP/2, so its connection and all requests on it ended",
            Self::TooManyRequests => {
                "a client has more requests open over HTTP/2 than max_connections_per_peer allows one address, or \
                 max_connections all of them"
            }
        }
    }
}
