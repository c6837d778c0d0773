//! What the admin listener answers from, and what more than one of its routes asks of it.

use std::sync::Arc;

use tokio::sync::watch;

use super::access::Access;
use super::exposition::Exposition;
use super::reload::Reloads;
use super::settings::Settings;
use super::viewer::{Recorded, Viewer};
use super::views;
use super::wrong_tokens::WrongTokens;
use crate::answers::status::{N8n, N8nState, OpenProblem, Set, Status, Store, StoreState};
use crate::clock::Timestamp;
use crate::exchange::context::Shared;
use crate::ledger::query::Query;
use crate::metrics::AdminCounts;
use crate::n8n::clearance::Looked;
use crate::n8n::status;
use crate::notices::status::Notices;
use crate::server::Stage;
use crate::telemetry::tap::Tap;
use crate::telemetry::writer::LogCounts;

/// What the admin listener answers from.
pub struct AdminState {
    pub settings: Settings,
    pub access: Arc<Access>,
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
    /// Who looks at the ledger.
    pub viewer: Arc<Viewer>,
    /// How it is asked to take its configuration anew.
    pub reloads: Reloads,
    /// What is told by itself.
    pub notices: Arc<Notices>,
    /// The Base URL that n8n's credential takes on this machine.
    pub base_url: String,
    pub began: Timestamp,
}

impl AdminState {
    /// How keyward is, by that look.
    #[must_use]
    pub fn status(&self, look: &Query<'_>) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stage: *self.stage.borrow(),
            began: self.began,
            upstream: self.shared.upstream.to_string(),
            bindings: self.shared.ledger.len(),
            store: self.store(),
            n8n: self.viewer.n8n.now().statuses.iter().map(|status| n8n(status)).collect(),
            problems: self.problems(),
            log_dropped: self.log.dropped(),
            sets: self.sets(look),
        }
    }

    /// What is wrong now beside single callers.
    #[must_use]
    pub fn problems(&self) -> Vec<OpenProblem> {
        self.shared.problems().iter().map(Into::into).collect()
    }

    fn store(&self) -> Store {
        let store = &self.shared.store;
        let state = match store.trouble() {
            _ if !store.is_on() => StoreState::Off,
            None => StoreState::Ok,
            Some(_) => StoreState::Troubled,
        };
        Store { state, trouble: store.trouble(), waiting: store.waiting(), lost: store.lost() }
    }

    /// The key sets, their keys and how far their rotations are.
    #[must_use]
    pub fn sets(&self, look: &Query<'_>) -> Vec<Set> {
        views::sets(look, self.shared.reloader.ring().rules(), &self.shared.reloader.tokens())
    }

    /// A look at the ledger now.
    #[must_use]
    pub fn look(&self) -> Query<'_> {
        self.viewer.look()
    }

    /// A look that can tell whether an old key can go. What is asked next rests on a fresh look at n8n.
    #[must_use]
    pub fn look_with_audits(&self) -> Query<'_> {
        self.viewer.want_looks();
        self.viewer.look_with_audits()
    }

    /// What a look would show that is taken now, as far as it can be told without one.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        self.viewer.recorded()
    }

    /// What keyward saw when it looked through each n8n last.
    #[must_use]
    pub fn looked(&self) -> Vec<Looked> {
        self.viewer.looked()
    }
}

fn n8n(status: &status::Status) -> N8n {
    let seen = status.seen();
    let state = match (&seen.trouble, seen.read) {
        (Some(_), _) => N8nState::Troubled,
        (None, Some(_)) => N8nState::Ok,
        (None, None) => N8nState::NotAsked,
    };
    N8n {
        instance: status.name.to_string(),
        url: status.url.to_string(),
        state,
        lacks: seen.lacks(),
        trouble: seen.trouble,
        read: seen.read,
        workflows: seen.workflows,
        nodes: seen.nodes,
        left_out: seen.left_out,
    }
}
