//! Pure. Where an n8n or a keyward is.

use std::fmt;

use crate::net::origin::Upstream;

/// Where an n8n is: an origin, and the path that it lies under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host and port.
    pub origin: Upstream,
    /// Empty, or with a slash before it and none behind: `/n8n`.
    pub path: Box<str>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}
