//! Looks at the ledger with all that is known beside it: what n8n calls its nodes, and what its audit says.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::exchange::context::Shared;
use crate::keys::listing::Entry;
use crate::keys::set::Role;
use crate::ledger::look::Look;
use crate::ledger::query::{Auditing, Query};
use crate::ledger::rotation_grounds::Audit;
use crate::n8n::asked::Asked;
use crate::n8n::clearance::{self, Looked};
use crate::n8n::status::Seen;
use crate::problems::kind::ProblemKind;

/// Who looks at the ledger.
pub struct Viewer {
    /// Keys, bindings, rules and the clock.
    pub shared: Arc<Shared>,
    /// Which n8n are asked.
    pub n8n: Arc<Asked>,
}

impl Viewer {
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
        if self.n8n.now().statuses.is_empty() { look } else { look.with_auditing(self) }
    }

    /// Has each n8n looked through anew soon, while an old key is there: what is asked next rests on a fresh look.
    pub fn want_looks(&self) {
        let is_old = |key: &Entry| matches!(key.role, Role::Previous { .. });
        let n8n = self.n8n.now();
        if !n8n.statuses.is_empty() && self.shared.reloader.entries().iter().any(is_old) {
            n8n.statuses.iter().for_each(|status| status.want_look());
        }
    }

    /// What a look would show that is taken now, as far as it can be told without one.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let shared = &self.shared;
        let (keys, n8n) = (shared.reloader.entries(), self.n8n.now());
        let open = keys.iter().map(|entry| shared.ledger.in_flight.open(entry.names.fingerprint)).collect();
        Recorded {
            ledger: shared.ledger.changes(),
            ring: shared.reloader.ring().generation(),
            names: shared.names.generation(),
            problems: shared.problems().iter().map(|problem| (problem.kind, problem.about.clone())).collect(),
            n8n: n8n.statuses.iter().map(|status| of_n8n(status.seen())).collect(),
            keys,
            open,
        }
    }

    /// What keyward saw when it looked through each n8n last.
    #[must_use]
    pub fn looked(&self) -> Vec<Looked> {
        self.n8n.now().statuses.iter().map(|status| status.looked()).collect()
    }
}

impl Auditing for Viewer {
    fn audits(&self, look: &Query<'_>) -> Vec<Audit> {
        clearance::of_sets(look, &self.looked(), &self.n8n.now().hosts)
    }
}

/// What is recorded at a moment, to be compared.
pub struct Recorded {
    ledger: Option<u64>,
    ring: u64,
    names: u64,
    problems: Vec<(ProblemKind, Box<str>)>,
    keys: Vec<Entry>,
    /// Of each key the exchanges that carry it upstream.
    open: Vec<Option<u64>>,
    n8n: Vec<SeenOfN8n>,
}

/// When an n8n was read last, what is wrong with it, and what the ledger was told of it.
type SeenOfN8n = (Option<Timestamp>, Option<String>, Option<Arc<Look>>);

fn of_n8n(seen: Seen) -> SeenOfN8n {
    (seen.read, seen.trouble, seen.look)
}

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
            && self.problems == later.problems
            && self.n8n.len() == later.n8n.len()
            && n8n
                .into_iter()
                .all(|(one, other)| (one.0, &one.1) == (other.0, &other.1) && is_same_look(&one.2, &other.2))
    }
}
