//! The metrics as text: every shard is added up when they are asked for, and not before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::clock::Timestamp;
use crate::early_refusal::EarlyRefusal;
use crate::exchange::context::Shared;
use crate::ledger::query::Query;
use crate::ledger::rotation_row::Row;
use crate::locks::lock;
use crate::metrics::{AdminCounts, Counter, Kind, METRICS, Metric, Reloads, Shard, Spans};
use crate::n8n;
use crate::n8n::asked::Asked;
use crate::notices::status::{Notices, ReceiverStatus};
use crate::policy::ActionKind;
use crate::problems::kind::ProblemKind;
use crate::server::worker::Worker;
use crate::telemetry::tap::Tap;
use crate::telemetry::writer::LogCounts;
use crate::verdict::explain::Severity;

/// Everything that is counted, and where.
pub struct Exposition {
    registry: Registry,
    /// What the collector is to tell of the bindings.
    standings: Arc<Mutex<Standings>>,
}

/// Where the numbers come from.
pub struct Sources {
    /// Each has a shard and connections to upstream.
    pub workers: Arc<[Arc<Worker>]>,
    /// For the bindings.
    pub shared: Arc<Shared>,
    /// For dropped lines.
    pub log: LogCounts,
    /// For lost events.
    pub tap: Tap,
    /// For whether each n8n answers.
    pub n8n: Arc<Asked>,
    /// For who is told by itself.
    pub notices: Arc<Notices>,
    /// For what was read again.
    pub reloads: Arc<Reloads>,
    /// For what the admin listener refused.
    pub admin: Arc<AdminCounts>,
}

impl Exposition {
    /// Nothing is read from `sources` before [`Exposition::text`] is called.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let standings = Arc::default();
        let mut registry = Registry::with_prefix("keyward");
        registry.register_collector(Box::new(Collected { sources, standings: Arc::clone(&standings) }));
        Self { registry, standings }
    }

    /// The numbers now and their media type: `OpenMetrics` for a scraper whose `Accept` names it, Prometheus' own text for
    /// all others. What they say of bindings is by that look.
    pub fn text(&self, look: &Query<'_>, accepted: &str) -> Result<(&'static str, String), fmt::Error> {
        *lock(&self.standings) = Standings::of(look);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(if accepted.contains("application/openmetrics-text") { (OPEN_METRICS, out) } else { (PLAIN, plain(&out)) })
    }
}

/// <https://prometheus.io/docs/specs/om/open_metrics_spec>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// <https://prometheus.io/docs/instrumenting/exposition_formats>
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// In the older form a counter is described by the name that its samples have, and the text just ends.
fn plain(open_metrics: &str) -> String {
    let of_type = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: BTreeSet<_> = open_metrics.lines().filter_map(of_type).collect();
    let mut plain = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let described = ["# TYPE ", "# HELP "].iter().find_map(|what| Some((what, line.strip_prefix(what)?)));
        match described.and_then(|(what, rest)| Some((what, rest.split_once(' ')?))) {
            Some((what, (name, rest))) if counters.contains(name) => {
                plain.extend([what, name, "_total ", rest, "\n"]);
            }
            Some(_) | None => plain.extend([line, "\n"]),
        }
    }
    plain
}

/// What the registry asks.
struct Collected {
    sources: Sources,
    standings: Arc<Mutex<Standings>>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").field("workers", &self.sources.workers.len()).finish_non_exhaustive()
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let standings = lock(&self.standings);
        let samples = |metric: &Metric| self.sources.samples(metric.name, &standings);
        METRICS.iter().try_for_each(|metric| samples(metric).encode(metric, &mut encoder))
    }
}

/// A number for each combination of labels.
type Family = Vec<(Vec<(&'static str, String)>, u64)>;

/// How many bindings stand how, and how many are not well: one look at the ledger tells both.
#[derive(Default)]
struct Standings {
    bindings: Family,
    incidents: Family,
}

impl Standings {
    fn of(look: &Query<'_>) -> Self {
        let all = look.all();
        let mut standings = Self::default();
        for (set, name) in look.sets() {
            let known = all.iter().filter(|binding| binding.set() == set).count();
            let of_severity = |rows: &[Row], severity| rows.iter().filter(|row| row.severity == Some(severity)).count();
            let severities = [Severity::Warning, Severity::Error];
            let (progress, bad) =
                look.with_rows(set, |rows, progress| (*progress, severities.map(|one| of_severity(rows, one))));
            for (state, count) in [
                ("confirmed", progress.confirmed),
                ("stale", progress.stale),
                ("failing", progress.failing),
                ("mixed", progress.mixed),
                ("due_later", progress.due_later),
                ("overdue", progress.overdue),
                ("acknowledged", progress.acknowledged),
                ("none", known.saturating_sub(progress.total())),
            ] {
                standings.bindings.push((vec![("set", name.to_string()), ("state", state.to_owned())], count as u64));
            }
            for (severity, count) in severities.into_iter().zip(bad) {
                let labels = vec![("set", name.to_string()), ("severity", severity.code().to_owned())];
                standings.incidents.push((labels, count as u64));
            }
        }
        standings
    }
}

/// What a metric has to say.
enum Samples {
    /// One number without labels.
    Number(u64),
    /// A number for each combination of labels.
    Family(Family),
    Spans(Spans),
}

impl Samples {
    fn encode(self, metric: &Metric, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut described = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
        match self {
            Self::Number(value) => encode_number(metric.kind, value, described),
            Self::Family(samples) => samples
                .into_iter()
                .try_for_each(|(labels, value)| encode_number(metric.kind, value, described.encode_family(&labels)?)),
            Self::Spans(spans) => encode_spans(&spans, &mut described),
        }
    }
}

fn encode_number(kind: Kind, value: u64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge | Kind::Histogram => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}

/// Seconds are what Prometheus reckons in.
#[expect(clippy::cast_precision_loss, reason = "a sum of microseconds is exact for centuries")]
fn encode_spans(spans: &Spans, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bound = |micros| if micros == u64::MAX { f64::INFINITY } else { seconds(micros) };
    let buckets: Vec<_> = spans.buckets.iter().map(|(micros, count)| (bound(*micros), *count)).collect();
    let count = spans.buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(seconds(spans.micros), count, &buckets, None)
}

impl Sources {
    /// What the metric of that name has to say.
    fn samples(&self, name: &str, standings: &Standings) -> Samples {
        let sum = |of: fn(&Shard) -> &Counter| self.shards().map(|shard| of(shard).value()).sum::<u64>();
        match name {
            "exchanges" => Samples::Family(self.exchanges()),
            "injected" => Samples::Family(self.injected()),
            "exchanges_open" => Samples::Number(self.exchanges_open()),
            "added_latency_seconds" => self.spans(|shard, spans| shard.added_latency.add_to(spans)),
            "time_to_first_byte_seconds" => self.spans(|shard, spans| shard.time_to_first_byte.add_to(spans)),
            "bytes" => {
                family("direction", [("in", sum(|shard| &shard.bytes_in)), ("out", sum(|shard| &shard.bytes_out))])
            }
            "client_connections" => Samples::Number(sum(|shard| &shard.clients)),
            "client_connections_turned_away" => Samples::Number(sum(|shard| &shard.clients_turned_away)),
            "refused_early" => self.refused_early(),
            "client_connections_open" => self.clients_open(),
            "upstream_connections" => Samples::Number(sum(|shard| &shard.upstream_connections)),
            "upstream_connections_open" => self.upstream_open(),
            "upstream_failures" => Samples::Number(sum(|shard| &shard.upstream_failures)),
            "bindings" => Samples::Family(standings.bindings.clone()),
            "incidents_open" => Samples::Family(standings.incidents.clone()),
            "bindings_overflowed" => Samples::Number(self.shared.ledger.overflowed()),
            "store_up" => Samples::Number(u64::from(self.shared.store.trouble().is_none())),
            "store_lag_seconds" => Samples::Number(self.store_lag()),
            "store_failures" => Samples::Number(self.shared.store.failures()),
            "store_lost" => Samples::Number(self.shared.store.lost()),
            "n8n_up" => self.n8n(|seen| u64::from(seen.is_up())),
            "n8n_workflows" => self.n8n(|seen| seen.workflows as u64),
            "reloads" => self.reloads(),
            "configuration_taken_timestamp_seconds" => Samples::Number(seconds(self.reloads.configured_at())),
            "keys_unreadable_since_timestamp_seconds" => {
                Samples::Number(self.shared.reloader.unreadable_since().map_or(0, seconds))
            }
            "problems_open" => self.problems(),
            "notices_sent" => self.notices(|receiver| receiver.sent),
            "notices_failures" => self.notices(|receiver| receiver.failures),
            "notices_waiting" => self.notices(|receiver| receiver.waiting.len() as u64),
            "log_dropped" => Samples::Number(self.log.dropped()),
            "events_lost" => Samples::Number(self.tap.lost()),
            "admin_wrong_tokens" => Samples::Number(self.admin.wrong_tokens.value()),
            "admin_turned_away" => Samples::Number(self.admin.turned_away.value()),
            "panics" => Samples::Number(sum(|shard| &shard.panics)),
            // A test looks for every metric of the table in what comes of it.
            _ => Samples::Family(Vec::new()),
        }
    }

    /// Each kind, also where there is none: an alert needs the number before.
    fn problems(&self) -> Samples {
        let problems = self.shared.problems();
        let of_kind = |kind: ProblemKind| problems.iter().filter(|problem| problem.kind == kind).count() as u64;
        family("problem", ProblemKind::ALL.map(|kind| (kind.code(), of_kind(kind))))
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.workers.iter().map(|worker| &*worker.context.counters)
    }

    fn exchanges(&self) -> Family {
        let mut sums = BTreeMap::new();
        for (set, codes, count) in self.shards().flat_map(Shard::exchanges) {
            *sums.entry((set, codes)).or_insert(0) += count;
        }
        let sets = self.shared.ledger.sets();
        let labels = |set: usize, codes: [&'static str; 3]| {
            let codes = ["verdict", "action", "outcome"].into_iter().zip(codes.map(str::to_owned));
            [("set", sets.get(set).map_or_else(String::new, ToString::to_string))].into_iter().chain(codes).collect()
        };
        sums.into_iter().map(|((set, codes), count)| (labels(set, codes), count)).collect()
    }

    /// Every set is there from the start, so that the first one counts as an increase.
    fn injected(&self) -> Family {
        let count = |set| {
            let exchanges = self.shards().flat_map(Shard::exchanges);
            let injected =
                exchanges.filter(|(of, [_, action, _], _)| *of == set && *action == ActionKind::Inject.code());
            injected.map(|(.., count)| count).sum()
        };
        let sets = self.shared.ledger.sets();
        let sets = sets.iter().enumerate();
        sets.map(|(set, name)| (vec![("set", name.to_string())], count(set))).collect()
    }

    fn exchanges_open(&self) -> u64 {
        let ended: u64 = self.shards().flat_map(Shard::exchanges).map(|(.., count)| count).sum();
        self.shards().map(|shard| shard.begun.value()).sum::<u64>().saturating_sub(ended)
    }

    fn refused_early(&self) -> Samples {
        let sum = |why| self.shards().map(|shard| shard.sent_away(why)).sum();
        family("reason", EarlyRefusal::ALL.map(|why| (why.code(), sum(why))))
    }

    fn spans(&self, add: impl Fn(&Shard, &mut Spans)) -> Samples {
        let mut spans = Spans::default();
        self.shards().for_each(|shard| add(shard, &mut spans));
        Samples::Spans(spans)
    }

    fn clients_open(&self) -> Samples {
        let open = |shard: &Shard| {
            // Read first, so that a client who leaves in between does not make it less than nothing.
            let gone = shard.clients_gone.value();
            shard.clients.value().saturating_sub(gone)
        };
        let of_workers = self.shards().enumerate();
        Samples::Family(of_workers.map(|(worker, shard)| (vec![("worker", worker.to_string())], open(shard))).collect())
    }

    fn upstream_open(&self) -> Samples {
        let idle: usize = self.workers.iter().map(|worker| worker.context.pool.idle_connections()).sum();
        let open: usize = self.workers.iter().map(|worker| worker.context.pool.open_connections()).sum();
        family("state", [("idle", idle as u64), ("in_use", open.saturating_sub(idle) as u64)])
    }

    fn store_lag(&self) -> u64 {
        let since = self.shared.store.waiting_since();
        since.map_or(0, |since| self.shared.clock.now().since(since).as_secs())
    }

    /// By `n8n`, not `instance`: that is what Prometheus calls the keyward that it scrapes.
    fn n8n(&self, count: impl Fn(&n8n::status::Seen) -> u64) -> Samples {
        let n8n = self.n8n.now();
        let of_each = n8n.statuses.iter().map(|status| (vec![("n8n", status.name.to_string())], count(&status.seen())));
        Samples::Family(of_each.collect())
    }

    fn notices(&self, count: impl Fn(&ReceiverStatus) -> u64) -> Samples {
        let receivers = self.notices.snapshot().receivers;
        Samples::Family(receivers.iter().map(|one| (vec![("receiver", one.name.to_string())], count(one))).collect())
    }

    fn reloads(&self) -> Samples {
        let labels = |[what, result]: [&str; 2]| vec![("what", what.to_owned()), ("result", result.to_owned())];
        Samples::Family(self.reloads.counts().map(|(codes, count)| (labels(codes), count)).collect())
    }
}

fn family<const N: usize>(label: &'static str, samples: [(&str, u64); N]) -> Samples {
    Samples::Family(samples.map(|(value, count)| (vec![(label, value.to_owned())], count)).into())
}

/// Of the epoch.
fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis() / 1000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_names_counters_as_their_samples() {
        let open_metrics = "# HELP keyward_a Things.\n# TYPE keyward_a counter\nkeyward_a_total 1\n\
                            # HELP keyward_b Other things.\n# TYPE keyward_b gauge\nkeyward_b{c=\"d\"} 2\n# EOF\n";
        let expected = "# HELP keyward_a_total Things.\n# TYPE keyward_a_total counter\nkeyward_a_total 1\n\
                        # HELP keyward_b Other things.\n# TYPE keyward_b gauge\nkeyward_b{c=\"d\"} 2\n";
        assert_eq!(plain(open_metrics), expected);
    }
}
