//! Pure. The proxy through which upstream is reached, where the machine has one.

use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::origin::{Scheme, Upstream};

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

impl EgressProxyChoice {
    /// The same for what else keyward asks: a proxy that is named is on the way to upstream alone.
    #[must_use]
    pub fn of_others(&self) -> Self {
        if *self == Self::None { Self::None } else { Self::Environment }
    }
}

/// The proxies that the environment names, for whatever origin turns out to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentProxies {
    pub http: Option<EgressProxy>,
    pub https: Option<EgressProxy>,
    /// What `NO_PROXY` says.
    pub exempt: Option<Box<str>>,
}

impl EnvironmentProxies {
    /// The proxy on the way to that origin.
    #[must_use]
    pub fn to(&self, origin: &Upstream) -> Option<&EgressProxy> {
        let proxy = match origin.scheme {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        proxy.as_ref().filter(|_| !self.exempt.as_ref().is_some_and(|exempt| is_exempt(origin, exempt)))
    }
}

/// Whether a text like `NO_PROXY` has that origin: by its name, as a part of a domain, by its address or range, or by `*`.
#[must_use]
pub fn is_exempt(origin: &Upstream, exempt: &str) -> bool {
    let matcher = Matcher::builder().all("http://proxy").no(exempt).build();
    let uri = origin.to_string().parse::<Uri>();
    // The matcher holds `*` against names alone.
    exempt.split(',').any(|entry| entry.trim() == "*") || uri.is_ok_and(|uri| matcher.intercept(&uri).is_none())
}
