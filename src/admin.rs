//! The admin listener: whether keyward lives and is ready, and its metrics. It says nothing of keys or callers.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200 as long as the process runs |
//! | `GET /readyz` | 200 when it takes requests, 503 when it is draining. Keys that can no longer be read do not change it: those from before are in use, and a balancer that took keyward out would stop all traffic for it. [`crate::metrics`] and the log tell of them |
//! | `GET /metrics` | counters in the Prometheus text format ([`crate::metrics`]) |

pub mod exposition;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::exposition::Exposition;
use crate::proxy::server::Stage;

/// The settings under `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; nothing where it is switched off.
    pub listen: Option<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))) }
    }
}

/// The admin listener's own things.
pub struct Admin {
    /// The bound listener.
    pub listener: std::net::TcpListener,
    /// What `/metrics` says.
    pub exposition: Exposition,
    /// How far keyward is with stopping.
    pub stage: watch::Receiver<Stage>,
}

impl Admin {
    /// Serves until keyward has stopped: a probe can see it drain.
    pub async fn run(self) {
        let mut stage = self.stage.clone();
        let routes = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready).with_state(self.stage))
            .route("/metrics", get(metrics).with_state(Arc::new(self.exposition)));
        let served = async { axum::serve(TcpListener::from_std(self.listener)?, routes).await };
        tokio::select! {
            served = served => {
                if let Err(error) = served {
                    tracing::error!(%error, "the admin listener ended");
                }
            }
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }
}

async fn ready(State(stage): State<watch::Receiver<Stage>>) -> impl IntoResponse {
    let stage = *stage.borrow();
    match stage {
        Stage::Running => (StatusCode::OK, "ready\n"),
        Stage::Draining | Stage::Ended => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn metrics(State(exposition): State<Arc<Exposition>>) -> impl IntoResponse {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match exposition.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, TYPE)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
