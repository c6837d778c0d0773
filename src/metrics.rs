//! Counters: a shard for each worker, added up only when somebody asks.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `keyward_exchanges_total` | `set`, `verdict`, `action`, `outcome` | exchanges that ended |
//! | `keyward_exchanges_open` | | exchanges under way |
//! | `keyward_bytes_total` | `direction` = `in`, `out` | body bytes from and to clients |
//! | `keyward_client_connections_total` | | connections accepted |
//! | `keyward_client_connections_turned_away_total` | | connections closed at once, since their peer has too many |
//! | `keyward_refused_early_total` | `reason` ([`EarlyRefusal::code`]) | requests and connections ended before there was an exchange |
//! | `keyward_client_connections_open` | `worker` | client connections now |
//! | `keyward_upstream_connections_total` | | connections made to upstream |
//! | `keyward_upstream_failures_total` | | attempts to connect to upstream that failed |
//! | `keyward_bindings` | | bindings known |
//! | `keyward_bindings_overflowed_total` | | sightings counted under `other`, because there were too many bindings |
//! | `keyward_keys_unreadable_since_timestamp_seconds` | | since when not all keys, tokens and revocations can be read, so that those from before are in use; 0 while they can |
//! | `keyward_log_dropped_total` | | log lines dropped |
//! | `keyward_panics_total` | | exchanges that failed by a fault of keyward |

use std::sync::atomic::{AtomicU64, Ordering};

use crate::early_refusal::EarlyRefusal;
use crate::keys::set::SetIndex;
use crate::outcome::Outcome;
use crate::policy::Action;
use crate::verdict::Verdict;

/// One worker's counters. Only its own thread writes them, so that they never contend.
#[derive(Debug)]
pub struct Shard {
    exchanges: Box<[AtomicU64]>,
    refused_early: [Counter; EarlyRefusal::COUNT],
    /// Exchanges begun; those ended are the sum of the exchanges.
    pub begun: Counter,
    /// Body bytes from clients.
    pub bytes_in: Counter,
    /// Body bytes to clients.
    pub bytes_out: Counter,
    /// Connections accepted.
    pub clients: Counter,
    /// Connections ended.
    pub clients_gone: Counter,
    /// Connections closed at once.
    pub clients_turned_away: Counter,
    /// Connections made to upstream.
    pub upstream_connections: Counter,
    /// Attempts to connect to upstream that failed.
    pub upstream_failures: Counter,
    /// Panics caught.
    pub panics: Counter,
}

impl Shard {
    /// All at zero, for that many sets.
    #[must_use]
    pub fn new(sets: usize) -> Self {
        Self {
            exchanges: (0..sets * ROW).map(|_| AtomicU64::new(0)).collect(),
            refused_early: Default::default(),
            begun: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            clients: Counter::default(),
            clients_gone: Counter::default(),
            clients_turned_away: Counter::default(),
            upstream_connections: Counter::default(),
            upstream_failures: Counter::default(),
            panics: Counter::default(),
        }
    }

    /// Counts an exchange that ended, with an action of that position.
    pub fn ended(&self, set: SetIndex, verdict: Verdict, action: usize, outcome: Outcome) {
        let cell = verdict.position() * Action::COUNT + action;
        let position = set.position() * ROW + cell * Outcome::COUNT + outcome.position();
        add(&self.exchanges[position], 1);
    }

    /// Counts somebody who was sent away before there was an exchange.
    pub fn refused_early(&self, why: EarlyRefusal) {
        self.refused_early[why.position()].increment();
    }

    /// How many were sent away so.
    #[must_use]
    pub fn sent_away(&self, why: EarlyRefusal) -> u64 {
        self.refused_early[why.position()].value()
    }

    /// Exchanges that ended: position of the set, codes of verdict, action and outcome, count. Zeros are left out.
    pub fn exchanges(&self) -> impl Iterator<Item = (usize, [&'static str; 3], u64)> {
        self.exchanges.iter().enumerate().filter_map(|(position, count)| {
            let count = count.load(Ordering::Relaxed);
            let (set, row, outcome) = (position / ROW, position % ROW / Outcome::COUNT, position % Outcome::COUNT);
            let (verdict, action) = (Verdict::CODES[row / Action::COUNT], Action::CODES[row % Action::COUNT]);
            (count > 0).then_some((set, [verdict, action, Outcome::CODES[outcome]], count))
        })
    }
}

const ROW: usize = Verdict::COUNT * Action::COUNT * Outcome::COUNT;

/// Only one thread writes, so that a load and a store will do, without a locked step between them.
fn add(number: &AtomicU64, amount: u64) {
    number.store(number.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// A number that only grows. Only its worker's own thread writes it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// That many more.
    pub fn add(&self, amount: u64) {
        add(&self.0, amount);
    }

    /// The number now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
