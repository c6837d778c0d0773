//! The admin listener, for those who run keyward: how it is, and what it knows. It needs a token for everything but whether
//! keyward lives.
//!
//! [`routes`] is the table of all that can be asked; [`guard`] looks at every request before that, and seals every answer.
//! A question here costs a request of n8n's nothing: this listener has a thread of its own. Nor does a client that crowds
//! it keep out those who hold a token: [`listener`] and [`wrong_tokens`].

pub mod access;
pub mod api;
pub mod events;
pub mod exposition;
pub mod guard;
pub mod listener;
pub mod page;
pub mod parameters;
pub mod problem;
pub mod routes;
pub mod views;
pub mod wrong_tokens;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use tokio::sync::watch;

use self::access::Access;
use self::events::EventBody;
use self::exposition::Exposition;
use self::wrong_tokens::WrongTokens;
use crate::clock::Timestamp;
use crate::exchange::context::Shared;
use crate::metrics::AdminCounts;
use crate::n8n;
use crate::policy::rules::AllowedHost;
use crate::server::Stage;
use crate::telemetry::tap::Tap;
use crate::telemetry::writer::LogCounts;

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
    /// Who has a token.
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

/// The admin listener's own things.
pub struct Admin {
    /// The bound listener.
    pub listener: std::net::TcpListener,
    /// What it answers from.
    pub admin: Arc<AdminState>,
}

/// What the admin listener answers from.
pub struct AdminState {
    /// Its settings.
    pub settings: Settings,
    /// Who is let in.
    pub access: Arc<Access>,
    /// Who is not.
    pub wrong_tokens: WrongTokens,
    /// Who was sent away, counted.
    pub counts: Arc<AdminCounts>,
    /// What `/metrics` says.
    pub exposition: Exposition,
    /// How far keyward is with stopping.
    pub stage: watch::Receiver<Stage>,
    /// Keys, bindings, rules and the clock.
    pub shared: Arc<Shared>,
    /// The exchanges as they end.
    pub tap: Tap,
    /// For dropped lines.
    pub log: LogCounts,
    /// How each n8n is that is asked.
    pub n8n: Vec<Arc<n8n::status::Status>>,
    /// The addresses under which keyward is reached, as far as its own machine knows.
    pub hosts: Vec<String>,
    /// When keyward began.
    pub began: Timestamp,
}

impl Admin {
    /// Serves until keyward has stopped: a probe can see it drain.
    pub async fn run(self) {
        let mut stage = self.admin.stage.clone();
        tokio::select! {
            ended = listener::serve(self.listener, self.admin) => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the admin listener ended");
                }
            }
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }
}

/// What the admin listener answers: whole, or event by event.
pub type Response = http::Response<Either<Full<Bytes>, EventBody>>;
