//! Pure. The proxy through which upstream is reached, where the machine has one.

use std::fmt;

use http::HeaderValue;

use super::origin::Upstream;

/// A proxy that opens tunnels. It is shown without user and password, everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressProxy {
    /// Where it is, and whether it is spoken to over TLS.
    pub origin: Upstream,
    /// Its user and password as a header (RFC 7617), marked as sensitive: not even `Debug` shows it.
    pub authorization: Option<HeaderValue>,
    /// Who says so: a variable of the environment, or a setting.
    pub named_by: Box<str>,
}

impl EgressProxy {
    /// How upstream is reached, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("through the proxy {self} ({})", self.named_by)
    }
}

impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

/// Which proxy upstream is reached through, as it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EgressProxyChoice {
    /// The one that the environment names for upstream's address, if it names one.
    #[default]
    Environment,
    None,
    Named(EgressProxy),
}
