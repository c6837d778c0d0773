//! The admin listener, for those who run keyward: how it is, and what it knows. It needs a token for everything but whether
//! keyward lives.
//!
//! [`routes`] is the table of all that can be asked; [`guard`] looks at every request before that, and seals every answer.
//! A question here costs a request of n8n's nothing: this listener has a thread of its own, and what takes a look at all
//! bindings is drawn on another one ([`looks`]), so that a health check never waits for it. Nor does a client that crowds
//! it keep out those who hold a token: [`listener`] and [`wrong_tokens`].

pub mod access;
pub mod api;
pub mod call;
pub mod connection;
pub mod events;
pub mod exposition;
pub mod guard;
pub mod listener;
pub mod looks;
pub mod page;
pub mod parameters;
pub mod problem;
pub mod problem_response;
pub mod reasons;
pub mod reload;
pub mod response;
pub mod routes;
pub mod settings;
pub mod state;
pub mod viewer;
pub mod views;
pub mod watch;
pub mod wrong_tokens;

use std::sync::Arc;

use self::looks::Looks;
pub use self::settings::{MetricsFor, Settings};
use self::state::AdminState;
use crate::server::Stage;

/// The admin listener's own things.
pub struct Admin {
    pub listener: std::net::TcpListener,
    pub admin: Arc<AdminState>,
}

impl Admin {
    /// Serves until keyward has stopped: a probe can see it drain. What takes a look at the bindings is asked there.
    pub async fn run(self, looks: Looks) {
        let mut stage = self.admin.stage.clone();
        tokio::select! {
            ended = listener::serve(self.listener, self.admin, looks) => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the admin listener ended");
                }
            }
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }
}
