//! What the admin listener answers from, and what more than one of its routes asks of it.

use std::sync::Arc;

use tokio::sync::watch;

use super::access::Access;
use super::exposition::Exposition;
use super::settings::Settings;
use super::views;
use super::wrong_tokens::WrongTokens;
use crate::answers::status::{N8n, N8nState, OpenProblem, Set, Status, Store, StoreState};
use crate::clock::Timestamp;
use crate::exchange::context::Shared;
use crate::keys::set::Role;
use crate::ledger::query::Query;
use crate::metrics::AdminCounts;
use crate::n8n::clearance::{self, Looked};
use crate::n8n::status;
use crate::server::Stage;
use crate::telemetry::tap::Tap;
use crate::telemetry::writer::LogCounts;

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
    pub n8n: Vec<Arc<status::Status>>,
    /// The addresses under which keyward is reached, as far as its own machine knows.
    pub hosts: Vec<String>,
    /// When keyward began.
    pub began: Timestamp,
}

impl AdminState {
    /// How keyward is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stage: *self.stage.borrow(),
            began: self.began,
            upstream: self.shared.upstream.to_string(),
            bindings: self.shared.ledger.len(),
            store: self.store(),
            n8n: self.n8n.iter().map(|status| n8n(status)).collect(),
            problems: self.problems(),
            log_dropped: self.log.dropped(),
            sets: self.sets(),
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
    pub fn sets(&self) -> Vec<Set> {
        views::sets(&self.look_with_audits(), &self.shared.rules, &self.shared.reloader.tokens())
    }

    /// A look at the ledger now.
    #[must_use]
    pub fn look(&self) -> Query<'_> {
        let shared = &self.shared;
        let look = Query::new(&shared.ledger, &shared.reloader, shared.clock.now());
        look.with_names(shared.names.snapshot())
    }

    /// A look that can tell whether an old key can go.
    #[must_use]
    pub fn look_with_audits(&self) -> Query<'_> {
        let look = self.look();
        // While an old key is there, what is asked next rests on a fresh look.
        if look.keys().iter().any(|key| matches!(key.role, Role::Previous { .. })) {
            self.n8n.iter().for_each(|status| status.want_look());
        }
        let audits = clearance::of_sets(&look, &self.looked(), &self.hosts);
        look.with_audits(audits)
    }

    /// What keyward saw when it looked through each n8n last.
    #[must_use]
    pub fn looked(&self) -> Vec<Looked> {
        self.n8n.iter().map(|status| status.looked()).collect()
    }
}

/// How an n8n is.
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
