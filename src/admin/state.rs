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
use crate::keys::listing::Entry;
use crate::keys::set::Role;
use crate::ledger::look::Look;
use crate::ledger::query::{Auditing, Query};
use crate::ledger::rotation_grounds::Audit;
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
            n8n: self.n8n.iter().map(|status| n8n(status)).collect(),
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
        views::sets(look, &self.shared.rules, &self.shared.reloader.tokens())
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
        if self.n8n.is_empty() { look } else { look.with_auditing(self) }
    }

    /// What a look would show that is taken now, as far as it can be told without one.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let shared = &self.shared;
        let keys = shared.reloader.entries();
        let open = keys.iter().map(|entry| shared.ledger.in_flight.open(entry.names.fingerprint)).collect();
        Recorded {
            ledger: shared.ledger.changes(),
            ring: shared.reloader.ring().generation(),
            names: shared.names.generation(),
            n8n: self.n8n.iter().map(|status| status.seen()).map(|seen| (seen.read, seen.trouble, seen.look)).collect(),
            keys,
            open,
        }
    }

    /// What keyward saw when it looked through each n8n last.
    #[must_use]
    pub fn looked(&self) -> Vec<Looked> {
        self.n8n.iter().map(|status| status.looked()).collect()
    }
}

impl Auditing for AdminState {
    fn audits(&self, look: &Query<'_>) -> Vec<Audit> {
        clearance::of_sets(look, &self.looked(), &self.hosts)
    }
}

/// What is recorded at a moment, to be compared.
pub struct Recorded {
    ledger: Option<u64>,
    ring: u64,
    names: u64,
    keys: Vec<Entry>,
    /// Of each key the exchanges that carry it upstream.
    open: Vec<Option<u64>>,
    n8n: Vec<SeenOfN8n>,
}

/// When an n8n was read last, what is wrong with it, and what the ledger was told of it.
type SeenOfN8n = (Option<Timestamp>, Option<String>, Option<Arc<Look>>);

impl Recorded {
    /// Whether nothing was recorded in between.
    #[must_use]
    pub fn is_same(&self, later: &Self) -> bool {
        let is_same_look = |one: &Option<Arc<Look>>, other: &Option<Arc<Look>>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let n8n = self.n8n.iter().zip(&later.n8n);
        self.ledger.is_some()
            && self.ledger == later.ledger
            && (self.ring, self.names, &self.keys, &self.open) == (later.ring, later.names, &later.keys, &later.open)
            && n8n
                .into_iter()
                .all(|(one, other)| (one.0, &one.1) == (other.0, &other.1) && is_same_look(&one.2, &other.2))
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
