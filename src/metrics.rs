//! Counters: a shard for each worker, added up only when they are read.
//!
//! | metric | type | labels | meaning |
//! |---|---|---|---|
//! | `keyward_exchanges_total` | counter | `set`, `verdict`, `action`, `outcome` | exchanges that ended |
//! | `keyward_injected_total` | counter | `set` | exchanges that went upstream with the set's current key in place of what came |
//! | `keyward_exchanges_open` | gauge | | exchanges under way |
//! | `keyward_added_latency_seconds` | histogram | | time from a request's head until it goes upstream, a new connection included |
//! | `keyward_time_to_first_byte_seconds` | histogram | | time from a request's head until the head of upstream's answer |
//! | `keyward_bytes_total` | counter | `direction` | body bytes `in` from clients and `out` to them |
//! | `keyward_client_connections_total` | counter | | connections accepted |
//! | `keyward_client_connections_turned_away_total` | counter | | connections closed at once, since their peer has too many |
//! | `keyward_refused_early_total` | counter | `reason` | requests and connections ended before there was an exchange |
//! | `keyward_client_connections_open` | gauge | `worker` | client connections now |
//! | `keyward_upstream_connections_total` | counter | | connections made to upstream |
//! | `keyward_upstream_connections_open` | gauge | `state` | connections to upstream now, `idle` or `in_use` |
//! | `keyward_upstream_failures_total` | counter | | attempts to connect to upstream that failed |
//! | `keyward_bindings` | gauge | `set`, `state` | bindings known: `confirmed`, `stale`, `failing`, `mixed`, `due_later`, `overdue` or `acknowledged` in their set's rotation, or with no part in it (`none`) |
//! | `keyward_incidents_open` | gauge | `set`, `severity` | bindings that are not well: it does not work (`error`), or you should look (`warning`) |
//! | `keyward_bindings_overflowed_total` | counter | | sightings counted under `other`, because there were too many bindings |
//! | `keyward_store_up` | gauge | | 1 where the store is off or all is well with it, 0 in trouble |
//! | `keyward_store_lag_seconds` | gauge | | age of the oldest change that the store has not been told of |
//! | `keyward_store_failures_total` | counter | | attempts to open the store or to write to it that failed |
//! | `keyward_store_lost_total` | counter | | facts that found no room in memory while the store could not be written |
//! | `keyward_n8n_up` | gauge | `n8n` | 1 where that n8n answered when it was asked last |
//! | `keyward_n8n_workflows` | gauge | `n8n` | workflows of that n8n that have names |
//! | `keyward_reloads_total` | counter | `what`, `result` | other `keys`, `certificate` or `admin_token` taken (`ok`), or looked for in vain (`failed`, at each look); the `configuration` taken anew or refused by `keyward reload` |
//! | `keyward_configuration_taken_timestamp_seconds` | gauge | | since when the configuration holds: the start, or the last `keyward reload` that was not refused |
//! | `keyward_keys_unreadable_since_timestamp_seconds` | gauge | | since when not all keys, tokens and revocations can be read, so that those from before are in use; 0 while they can |
//! | `keyward_problems_open` | gauge | `problem` | what is wrong with upstream, a key, or keyward itself: how many of each kind |
//! | `keyward_notices_sent_total` | counter | `receiver` | notices that arrived |
//! | `keyward_notices_failures_total` | counter | `receiver` | attempts to send a notice that failed |
//! | `keyward_notices_waiting` | gauge | `receiver` | notices that have not arrived yet |
//! | `keyward_log_dropped_total` | counter | | log lines dropped |
//! | `keyward_events_lost_total` | counter | | events that slow readers of the event stream lost |
//! | `keyward_admin_wrong_tokens_total` | counter | | wrong tokens and links that came to the admin listener |
//! | `keyward_admin_turned_away_total` | counter | | connections to the admin listener that had to make room for others |
//! | `keyward_panics_total` | counter | | exchanges that failed by a fault of keyward |
//!
//! No label grows with callers or keys. [`METRICS`] is the same table for programs, and a test holds this one and `/metrics`
//! to it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::codes::codes;
use crate::early_refusal::EarlyRefusal;
use crate::keys::set::SetIndex;
use crate::outcome::{Outcome, OutcomeKind};
use crate::policy::ActionKind;
use crate::verdict::{Verdict, VerdictKind};

/// A metric, as its scraper reads it.
#[derive(Debug)]
pub struct Metric {
    /// Its name, without `keyward_` and without the `_total` of a counter.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The labels of each of its samples.
    pub labels: &'static [&'static str],
    /// What it means: the text of `# HELP`.
    pub help: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How many spans were how long.
    Histogram,
}

impl Metric {
    /// Its name in the exposition: with `keyward_`, and `_total` behind a counter's.
    #[must_use]
    pub fn full_name(&self) -> String {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("keyward_{}{suffix}", self.name)
    }
}

impl Kind {
    /// The word of `# TYPE` in the exposition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Every metric, in the order of the exposition.
pub static METRICS: [Metric; 34] = [
    counter("exchanges", &["set", "verdict", "action", "outcome"], "exchanges that ended"),
    counter("injected", &["set"], "exchanges that went upstream with the set's current key in place of what came"),
    gauge("exchanges_open", &[], "exchanges under way"),
    histogram("added_latency_seconds", "time from a request's head until it goes upstream, a new connection included"),
    histogram("time_to_first_byte_seconds", "time from a request's head until the head of upstream's answer"),
    counter("bytes", &["direction"], "body bytes `in` from clients and `out` to them"),
    counter("client_connections", &[], "connections accepted"),
    counter("client_connections_turned_away", &[], "connections closed at once, since their peer has too many"),
    counter("refused_early", &["reason"], REFUSED_EARLY),
    gauge("client_connections_open", &["worker"], "client connections now"),
    counter("upstream_connections", &[], "connections made to upstream"),
    gauge("upstream_connections_open", &["state"], "connections to upstream now, `idle` or `in_use`"),
    counter("upstream_failures", &[], "attempts to connect to upstream that failed"),
    gauge("bindings", &["set", "state"], BINDINGS),
    gauge("incidents_open", &["set", "severity"], INCIDENTS),
    counter("bindings_overflowed", &[], "sightings counted under `other`, because there were too many bindings"),
    gauge("store_up", &[], "1 where the store is off or all is well with it, 0 in trouble"),
    gauge("store_lag_seconds", &[], "age of the oldest change that the store has not been told of"),
    counter("store_failures", &[], "attempts to open the store or to write to it that failed"),
    counter("store_lost", &[], "facts that found no room in memory while the store could not be written"),
    gauge("n8n_up", &["n8n"], "1 where that n8n answered when it was asked last"),
    gauge("n8n_workflows", &["n8n"], "workflows of that n8n that have names"),
    counter("reloads", &["what", "result"], RELOADS),
    gauge("configuration_taken_timestamp_seconds", &[], CONFIGURED),
    gauge("keys_unreadable_since_timestamp_seconds", &[], KEYS_UNREADABLE),
    gauge(
        "problems_open",
        &["problem"],
        "what is wrong with upstream, a key, or keyward itself: how many of each kind",
    ),
    counter("notices_sent", &["receiver"], "notices that arrived"),
    counter("notices_failures", &["receiver"], "attempts to send a notice that failed"),
    gauge("notices_waiting", &["receiver"], "notices that have not arrived yet"),
    counter("log_dropped", &[], "log lines dropped"),
    counter("events_lost", &[], "events that slow readers of the event stream lost"),
    counter("admin_wrong_tokens", &[], "wrong tokens and links that came to the admin listener"),
    counter("admin_turned_away", &[], "connections to the admin listener that had to make room for others"),
    counter("panics", &[], "exchanges that failed by a fault of keyward"),
];

const BINDINGS: &str = "bindings known: `confirmed`, `stale`, `failing`, `mixed`, `due_later`, `overdue` or `acknowledged` in their set's rotation, or with no part in it (`none`)";

const INCIDENTS: &str = "bindings that are not well: it does not work (`error`), or you should look (`warning`)";

const REFUSED_EARLY: &str = "requests and connections ended before there was an exchange";

const KEYS_UNREADABLE: &str = "since when not all keys, tokens and revocations can be read, so that those from before are in use; 0 while they can";

const RELOADS: &str = "other `keys`, `certificate` or `admin_token` taken (`ok`), or looked for in vain (`failed`, at each look); the `configuration` taken anew or refused by `keyward reload`";

const CONFIGURED: &str =
    "since when the configuration holds: the start, or the last `keyward reload` that was not refused";

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels: &[], help }
}

/// One worker's counters. Only its own thread writes them, so that they never contend.
#[derive(Debug)]
pub struct Shard {
    /// Of the sets that were there from the start.
    exchanges: Box<[AtomicU64]>,
    /// Of each set that came later, once it had an exchange.
    later: Box<[OnceLock<Box<[AtomicU64]>>]>,
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
    /// How long requests took until they went upstream.
    pub added_latency: Histogram<10>,
    /// How long they took until upstream's answer began.
    pub time_to_first_byte: Histogram<14>,
}

impl Shard {
    /// All at zero, for that many sets, and up to [`LATER_SETS`] that come later.
    #[must_use]
    pub fn new(sets: usize) -> Self {
        Self {
            exchanges: rows(sets),
            later: (0..LATER_SETS).map(|_| OnceLock::new()).collect(),
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
            added_latency: Histogram::new(&ADDED_LATENCY),
            time_to_first_byte: Histogram::new(&TIME_TO_FIRST_BYTE),
        }
    }

    /// Counts an exchange that ended.
    pub fn ended(&self, set: SetIndex, verdict: Verdict, action: ActionKind, outcome: Outcome) {
        let cell = verdict.kind().position() * ActionKind::COUNT + action.position();
        let position = set.position() * ROW + cell * OutcomeKind::COUNT + outcome.kind().position();
        match self.exchanges.get(position) {
            Some(count) => add(count, 1),
            None => self.ended_in_later_set(position - self.exchanges.len()),
        }
    }

    #[cold]
    fn ended_in_later_set(&self, position: usize) {
        // Without room no set is taken.
        let Some(row) = self.later.get(position / ROW) else { return };
        add(&row.get_or_init(|| rows(1))[position % ROW], 1);
    }

    /// Counts a client that was refused before there was an exchange.
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
        let first = self.exchanges.len();
        let later = self.later.iter().enumerate().filter_map(|(set, row)| Some((set, row.get()?)));
        let later = later.flat_map(move |(set, row)| (first + set * ROW..).zip(row));
        self.exchanges.iter().enumerate().chain(later).filter_map(|(position, count)| {
            let count = count.load(Ordering::Relaxed);
            let (set, cell, outcome) =
                (position / ROW, position % ROW / OutcomeKind::COUNT, position % OutcomeKind::COUNT);
            let (verdict, action) = (cell / ActionKind::COUNT, cell % ActionKind::COUNT);
            let codes = [VerdictKind::CODES[verdict], ActionKind::CODES[action], OutcomeKind::CODES[outcome]];
            (count > 0).then_some((set, codes, count))
        })
    }
}

/// How many sets may come while keyward runs.
pub const LATER_SETS: usize = 256;

fn rows(sets: usize) -> Box<[AtomicU64]> {
    (0..sets * ROW).map(|_| AtomicU64::new(0)).collect()
}

const ROW: usize = VerdictKind::COUNT * ActionKind::COUNT * OutcomeKind::COUNT;

/// Only one thread writes, so that a load and a store will do, without a locked step between them.
fn add(number: &AtomicU64, amount: u64) {
    number.store(number.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// A number that only grows. Only its worker's own thread writes it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more, with a load and a store: no other thread writes it.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts that many more, with a load and a store: no other thread writes it.
    pub fn add(&self, amount: u64) {
        add(&self.0, amount);
    }

    /// The count so far, which any thread may read.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many spans were how long, in buckets that are fixed. Only its worker's own thread writes it.
#[derive(Debug)]
pub struct Histogram<const BOUNDS: usize> {
    bounds: &'static [u64; BOUNDS],
    /// For each bound, the spans up to it and above the one before.
    counts: [Counter; BOUNDS],
    /// The spans above all bounds.
    above: Counter,
    micros: Counter,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// Empty, with those bounds in microseconds, in their order.
    #[must_use]
    pub fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        let counts = std::array::from_fn(|_| Counter::default());
        Self { bounds, counts, above: Counter::default(), micros: Counter::default() }
    }

    /// Counts `span` in the bucket whose bound is the least that it does not exceed, to a microsecond.
    pub fn observe(&self, span: Duration) {
        let micros = span.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(span.subsec_micros()));
        let position = self.bounds.iter().position(|bound| micros <= *bound);
        position.map_or(&self.above, |position| &self.counts[position]).increment();
        self.micros.add(micros);
    }

    /// Adds what was counted so far.
    pub fn add_to(&self, sum: &mut Spans) {
        let bounds = self.bounds.iter().copied().chain([u64::MAX]);
        let counts = self.counts.iter().chain([&self.above]).map(Counter::value);
        sum.buckets.resize(BOUNDS + 1, (0, 0));
        for (bucket, (bound, count)) in sum.buckets.iter_mut().zip(bounds.zip(counts)) {
            *bucket = (bound, bucket.1 + count);
        }
        sum.micros += self.micros.value();
    }
}

/// The spans of all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Upper bounds in microseconds, the last one without end, and how many spans lie below each and above the one before.
    pub buckets: Vec<(u64, u64)>,
    /// All of them together, in microseconds.
    pub micros: u64,
}

/// From what keyward needs with a connection at hand to what an upstream that is far away costs, in microseconds.
static ADDED_LATENCY: [u64; 10] = [25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000];

/// From a list of models to what a model thinks, in microseconds.
static TIME_TO_FIRST_BYTE: [u64; 14] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];

/// How often something was read again. Counted seldom, by the thread that reads.
#[derive(Debug, Default)]
pub struct Reloads {
    read: [[AtomicU64; 2]; Reloaded::COUNT],
    configuration: [AtomicU64; 2],
    /// When one was taken last, in milliseconds of the epoch.
    configured: AtomicI64,
}

codes! {
    /// What is read again while keyward runs, with the label `what`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Reloaded {
        /// Keys and tokens of the key sets.
        Keys => "keys",
        /// The certificate that clients are shown.
        Certificate => "certificate",
        /// The admin listener's tokens.
        AdminToken => "admin_token",
    }
}

impl Reloads {
    /// Counts that something else was read there than before.
    pub fn succeeded(&self, what: Reloaded) {
        self.read[what.position()][0].fetch_add(1, Ordering::Relaxed);
    }

    /// They could not be read.
    pub fn failed(&self, what: Reloaded) {
        self.read[what.position()][1].fetch_add(1, Ordering::Relaxed);
    }

    /// The configuration was taken anew at that moment; or was refused, where there is none.
    pub fn configured(&self, at: Option<Timestamp>) {
        self.configuration[usize::from(at.is_none())].fetch_add(1, Ordering::Relaxed);
        if let Some(at) = at {
            self.began_with(at);
        }
    }

    /// The configuration holds since then.
    pub fn began_with(&self, at: Timestamp) {
        self.configured.store(at.as_millis(), Ordering::Relaxed);
    }

    /// Since when the configuration holds.
    #[must_use]
    pub fn configured_at(&self) -> Timestamp {
        Timestamp::from_millis(self.configured.load(Ordering::Relaxed))
    }

    /// What was counted so far: the labels `what` and `result`, and the count.
    pub fn counts(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        let read = Reloaded::ALL.into_iter().map(|what| (what.code(), &self.read[what.position()]));
        read.chain([("configuration", &self.configuration)]).flat_map(|(what, counts)| {
            ["ok", "failed"]
                .into_iter()
                .zip(counts)
                .map(move |(result, count)| ([what, result], count.load(Ordering::Relaxed)))
        })
    }
}

/// What the admin listener refused. Only its own thread writes.
#[derive(Debug, Default)]
pub struct AdminCounts {
    /// Wrong tokens and links.
    pub wrong_tokens: Counter,
    /// Connections that had to make room for others.
    pub turned_away: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_documentation_is_the_table_of_the_code() {
        let documentation = include_str!("metrics.rs");
        let told: Vec<_> = documentation.lines().filter(|line| line.starts_with("//! | `keyward_")).collect();
        let lines = METRICS.iter().map(|metric| {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{} ", labels.join(", ")) };
            format!("//! | `{}` | {} | {labels}| {} |", metric.full_name(), metric.kind.name(), metric.help)
        });
        assert_eq!(told, lines.collect::<Vec<_>>());
    }

    #[test]
    fn a_span_is_counted_once_in_the_bucket_that_it_fits() {
        let (one, other) = (Histogram::new(&ADDED_LATENCY), Histogram::new(&ADDED_LATENCY));
        for micros in [0, 25, 26, 1_000_000] {
            one.observe(Duration::from_micros(micros));
        }
        other.observe(Duration::from_secs(2));
        let mut spans = Spans::default();
        one.add_to(&mut spans);
        other.add_to(&mut spans);
        let counts: Vec<_> = spans.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(spans.micros, 25 + 26 + 1_000_000 + 2_000_000);
        assert_eq!(spans.buckets.last(), Some(&(u64::MAX, 1)));
    }

    #[test]
    fn reloads_are_counted_by_what_and_result() {
        let reloads = Reloads::default();
        reloads.failed(Reloaded::Certificate);
        reloads.succeeded(Reloaded::AdminToken);
        reloads.succeeded(Reloaded::AdminToken);
        let counted: Vec<_> = reloads.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(["certificate", "failed"], 1), (["admin_token", "ok"], 2)]);
    }
}
