//! Pure. An origin: where requests are sent to, by scheme, host and port.

use std::fmt;

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
