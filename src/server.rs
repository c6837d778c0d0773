//! The server: client connections, and the workers that carry them.
//!
//! | what | where |
//! |---|---|
//! | a worker, and its life from start to end | [`worker`], [`lifecycle`] |
//! | clients are accepted, admitted and counted | [`listener`], [`admission`], [`connections`] |
//! | one connection, from its first byte to its last | [`connection`] |
//! | what comes before the first request | [`handshake`], [`proxy_protocol`] |
//! | the requests of a client that speaks HTTP/1.1, one after the other | [`http1`] |
//! | a client that speaks HTTP/2, and its streams | [`http2`], [`http2_streams`] |
//! | what every request gets around its exchange: a panic costs it alone | [`service`], [`panic`](mod@panic) |

pub mod admission;
pub mod connection;
pub mod connections;
pub mod handshake;
pub mod http1;
pub mod http2;
pub mod http2_streams;
pub mod lifecycle;
pub mod listener;
pub mod panic;
pub mod proxy_protocol;
pub mod service;
pub mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use ipnet::IpNet;

use crate::codes::codes;
use crate::net::egress_proxy::EgressProxy;
use crate::net::limits::Limits;
use crate::net::origin::{Scheme, Upstream};
use crate::net::protocol::Protocol;
use crate::request_path::BasePath;

/// The settings under `[proxy]` and `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect to.
    pub listen: SocketAddr,
    pub upstream: Upstream,
    /// Where it has its API, if that is not `/v1`.
    pub base_path: Option<BasePath>,
    /// Whether upstream is spoken to in HTTP/2, if it takes that.
    pub upstream_http2: bool,
    /// Certificates (PEM) to trust for upstream, in place of the system's.
    pub upstream_ca: Option<PathBuf>,
    /// The proxy through which upstream is reached.
    pub via: Option<EgressProxy>,
    /// What clients are shown, where they speak TLS.
    pub tls: ServerTls,
    /// Load balancers, whose connections begin with the PROXY protocol.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How many threads carry requests; at least one.
    pub workers: usize,
    /// Time and size limits.
    pub limits: Limits,
}

impl Settings {
    /// How requests share a connection to upstream, if it agrees.
    #[must_use]
    pub fn upstream_protocol(&self) -> Protocol {
        if self.upstream_http2 { Protocol::Http2 } else { Protocol::Http1 }
    }

    /// The most workers that may be asked for.
    pub const MAX_WORKERS: usize = 256;

    /// One worker for each core that the cgroup and the affinity mask allow.
    #[must_use]
    pub fn workers_of_machine() -> usize {
        available_parallelism().map_or(1, |cores| cores.get().min(Self::MAX_WORKERS))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            upstream: Upstream::default(),
            base_path: None,
            upstream_http2: false,
            upstream_ca: None,
            via: None,
            tls: ServerTls::default(),
            proxy_protocol_from: Vec::new(),
            workers: Self::workers_of_machine(),
            limits: Limits::default(),
        }
    }
}

/// The files of a certificate, both PEM. Without them clients speak plain HTTP; there is never just one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate, and the ones that vouch for it.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl ServerTls {
    /// Certificate and private key, where clients speak TLS.
    #[must_use]
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }

    /// https where there is a certificate to show, else http.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.files().is_some() { Scheme::Https } else { Scheme::Http }
    }
}

codes! {
    /// How far keyward is with stopping.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Stage {
        Running => "running",
        /// No new clients; those that are here finish.
        Draining => "draining",
        /// Whatever is open is cut.
        Ended => "ended",
    }
}
