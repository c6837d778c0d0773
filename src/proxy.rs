//! A request's way: from the client's connection through judgement to upstream, and the answer's way back.

pub mod access_log;
pub mod ambiguity;
pub mod answer_body;
pub mod bell;
pub mod certificate;
pub mod client_body;
pub mod conversation;
pub mod diagnosis;
pub mod dial;
pub mod distrust;
pub mod entrance;
pub mod exchange;
pub mod forward;
pub mod frames;
pub mod headers;
pub mod heard;
pub mod human_log;
pub mod last_refusal;
pub mod lingering;
pub mod panic;
pub mod peers;
pub mod places;
pub mod preface;
pub mod proxy_protocol;
pub mod pulse;
pub mod reach;
pub mod refusal;
pub mod server;
pub mod stall;
pub mod strangers;
pub mod stream;
pub mod streams;
pub mod tls;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;
pub mod via;
pub mod vigil;
pub mod worker;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use ipnet::IpNet;

use self::stream::Sharing;

use self::via::Via;

/// The settings under `[proxy]` and `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// Where requests go.
    pub upstream: Upstream,
    /// Whether upstream is spoken to in HTTP/2, if it takes that.
    pub upstream_http2: bool,
    /// Certificates (PEM) to trust for upstream, in place of the system's.
    pub upstream_ca: Option<PathBuf>,
    /// The proxy through which upstream is reached.
    pub via: Option<Via>,
    /// What clients are shown, where they speak TLS.
    pub tls: ServerTls,
    /// Peers whose connections begin with the PROXY protocol.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How many threads carry requests; at least one.
    pub workers: usize,
    /// Time and size limits.
    pub limits: Limits,
}

impl Settings {
    /// How requests share a connection to upstream, if it agrees.
    #[must_use]
    pub fn upstream_sharing(&self) -> Sharing {
        if self.upstream_http2 { Sharing::InStreams } else { Sharing::InTurns }
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

    /// How clients speak.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.files().is_some() { Scheme::Https } else { Scheme::Http }
    }
}

/// The origin that requests go to: never with a path, which is the request's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// A name in lower case or an address, an IPv6 one without its brackets.
    pub host: Box<str>,
    /// The port, never 0.
    pub port: u16,
}

impl Default for Upstream {
    /// OpenAI's API.
    fn default() -> Self {
        Self { scheme: Scheme::Https, host: "api.openai.com".into(), port: Scheme::Https.default_port() }
    }
}

/// How upstream is spoken to, or how clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where none is named (RFC 9110, 4.2.1 and 4.2.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Upstream {
    /// The value of the `Host` header: the port is left out where it is the scheme's own (RFC 9110, 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() { self.host_in_url() } else { self.authority_with_port() }
    }

    /// Host and port, as a proxy is asked for it.
    #[must_use]
    pub fn authority_with_port(&self) -> String {
        format!("{}:{}", self.host_in_url(), self.port)
    }

    fn host_in_url(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// The limits of an exchange. There is no limit for the whole of it: a long answer is not a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to upstream, TLS included.
    pub connect_timeout: Duration,
    /// How long upstream may be silent before the head of its answer.
    pub answer_timeout: Duration,
    /// How long a body may stand still while upstream has the word: it sends nothing of an answer, or takes nothing.
    pub idle_timeout: Duration,
    /// How long a client may take for the head of its next request, the wait before it included.
    pub client_idle_timeout: Duration,
    /// How long a client may stand still while it has the word: it sends nothing of its body, or takes nothing of an answer.
    /// While keyward drains, it is [`Limits::stall_while_draining`].
    pub client_stall_timeout: Duration,
    /// How long an unused connection to upstream is kept: below upstream's own limit.
    pub pool_idle_timeout: Duration,
    /// How long open exchanges may go on after the signal to stop.
    pub drain_timeout: Duration,
    /// The largest head of a request or of an answer, in bytes.
    pub max_head: usize,
    /// How many client connections may be open at once, together with requests in HTTP/2.
    pub max_connections: usize,
    /// How many of them one peer may have: an IPv4 address, or an IPv6 network of 64 bits.
    pub max_connections_per_peer: usize,
}

impl Limits {
    /// How long a client may stand still once everybody is asked to leave: it must not use up the time of all others.
    #[must_use]
    pub fn stall_while_draining(&self) -> Duration {
        self.client_stall_timeout.min(self.drain_timeout / 4)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_hours(2),
            idle_timeout: Duration::from_hours(2),
            client_idle_timeout: Duration::from_secs(75),
            client_stall_timeout: Duration::from_mins(2),
            pool_idle_timeout: Duration::from_secs(50),
            drain_timeout: Duration::from_secs(30),
            max_head: 64 * 1024,
            max_connections: 10_000,
            max_connections_per_peer: 5_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_shown_as_it_is_addressed() {
        #[track_caller]
        fn check(scheme: Scheme, host: &str, port: u16, expected: &str) {
            assert_eq!(Upstream { scheme, host: host.into(), port }.to_string(), expected);
        }
        check(Scheme::Https, "api.openai.com", 443, "https://api.openai.com");
        check(Scheme::Https, "api.openai.com", 80, "https://api.openai.com:80");
        check(Scheme::Http, "127.0.0.1", 8099, "http://127.0.0.1:8099");
        check(Scheme::Http, "::1", 80, "http://[::1]");
    }
}
