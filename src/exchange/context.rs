//! What a request needs: limits and patience, the pool, the keys, the rules, and where it is counted and recorded.
//!
//! Workers share nothing on a request's way but immutable snapshots, sharded counters, the bindings, and problems while there
//! are any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;

use super::rejections::Rejections;
use crate::caller::registry::Registry;
use crate::clock::Clock;
use crate::keys::reloader::Reloader;
use crate::keys::rules::Policy;
use crate::ledger::Ledger;
use crate::ledger::sighting::{ExchangeId, Observer};
use crate::ledger::writer::Status;
use crate::metrics::Shard;
use crate::net::coarse_clock::CoarseClock;
use crate::net::limits::Limits;
use crate::problems::{About, Problem, Problems, SetFacts};
use crate::request_path::BasePath;
use crate::splitmix;
use crate::upstream::pool::Pool;

/// What all workers share of it.
pub struct Shared {
    /// The keys, and the rules for them.
    pub reloader: Arc<Reloader>,
    pub ledger: Arc<Ledger>,
    /// What n8n calls callers.
    pub names: Arc<Registry>,
    /// How the store of the bindings is.
    pub store: Arc<Status>,
    /// What is wrong beside single callers.
    pub problems: Arc<Problems>,
    /// Where the time comes from.
    pub clock: Clock,
    /// What upstream is called in `Host`.
    pub host: HeaderValue,
    /// Where upstream has its API, if that is not `/v1`.
    pub base_path: Option<BasePath>,
    /// What upstream is called in messages for people.
    pub upstream: Box<str>,
    /// The page under `/`, for people who look where they just pointed n8n.
    pub page: ArcSwap<Bytes>,
    /// Time and size limits.
    pub limits: Limits,
}

/// What a request needs of the worker that carries it. It knows neither the clients of the worker nor the server.
pub struct WorkerContext {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its connections to upstream.
    pub pool: Pool,
    pub counters: Arc<Shard>,
    /// Its clock for time limits.
    pub coarse_clock: CoarseClock,
    pub observer: Arc<dyn Observer>,
    /// Requests and connections that were refused before an exchange.
    pub rejections: Rejections,
    ids: AtomicU64,
    is_draining: AtomicBool,
    shutting_down: Arc<AtomicBool>,
}

/// The parts that differ from worker to worker.
pub struct Parts {
    /// Its connections to upstream.
    pub pool: Pool,
    pub counters: Arc<Shard>,
    /// Its clock for time limits.
    pub coarse_clock: CoarseClock,
    pub observer: Arc<dyn Observer>,
    /// Set when whatever is still open is cut off.
    pub shutting_down: Arc<AtomicBool>,
    /// Where its exchange numbers begin.
    pub seed: u64,
}

impl Shared {
    /// What is wrong now beside single callers.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let keys = self.reloader.entries();
        let (sets, ring) = (self.ledger.sets(), self.reloader.ring());
        let rules = &ring.rules().sets;
        let facts = |(position, (name, source)): (usize, (&Arc<str>, Option<String>))| SetFacts {
            name: Arc::clone(name),
            source,
            injects: rules.get(position).is_some_and(|rules| rules.policy == Policy::Inject),
        };
        let sets: Vec<_> = sets.iter().zip(self.reloader.sources_of_current()).enumerate().map(facts).collect();
        self.problems.open(&About { sets: &sets, keys: &keys, upstream: &self.upstream })
    }
}

impl WorkerContext {
    /// No request was carried yet; the numbers of exchanges begin at `parts.seed`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, parts: Parts) -> Self {
        let Parts { pool, counters, coarse_clock, observer, shutting_down, seed } = parts;
        let (ids, is_draining) = (AtomicU64::new(seed), AtomicBool::default());
        let rejections = Rejections::new(Arc::clone(&counters), coarse_clock.clone());
        Self { shared, pool, counters, coarse_clock, observer, rejections, ids, is_draining, shutting_down }
    }

    /// The limits of an exchange.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// How long a client may stand still while it is its turn to read or to send.
    #[must_use]
    pub fn client_patience(&self) -> Duration {
        let limits = self.limits();
        if self.is_draining() { limits.stall_while_draining() } else { limits.client_stall_timeout }
    }

    /// Whether every client is asked to leave.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Has every client be asked to leave.
    pub fn begin_to_drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// A number that no other exchange has. The numbers look random.
    #[must_use]
    pub fn next_id(&self) -> ExchangeId {
        let state = splitmix::step(self.ids.load(Ordering::Relaxed));
        self.ids.store(state, Ordering::Relaxed);
        ExchangeId::new(splitmix::mix(state))
    }

    /// Has what is still open counted as cut by the shutdown.
    pub fn end(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }
}
