//! Pure. The settings of the admin listener.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::keys::rules::AllowedHost;

/// The settings under `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; nothing where it is switched off.
    pub listen: Option<SocketAddr>,
    /// The file of the token that may do everything; nothing for keyward's own, in the state folder.
    pub token_file: Option<PathBuf>,
    /// The file of a token that may only read, where there is one.
    pub read_token_file: Option<PathBuf>,
    /// Who may read the metrics.
    pub metrics: MetricsFor,
    /// The hosts that requests may name, beside addresses and `localhost`.
    pub allow_host: Vec<AllowedHost>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))),
            token_file: None,
            read_token_file: None,
            metrics: MetricsFor::default(),
            allow_host: Vec::new(),
        }
    }
}

/// Who may read the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsFor {
    #[default]
    Token,
    /// Anyone who reaches the listener.
    Anyone,
}

impl FromStr for MetricsFor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "token" => Ok(Self::Token),
            "open" => Ok(Self::Anyone),
            _ => Err(()),
        }
    }
}
