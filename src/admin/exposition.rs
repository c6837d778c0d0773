//! The metrics as text: every shard is added up when somebody asks, and not before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::clock::Timestamp;
use crate::early_refusal::EarlyRefusal;
use crate::metrics::{Counter, Shard};
use crate::proxy::worker::Shared;
use crate::telemetry::writer::LogCounts;

/// Everything that is counted, and where.
pub struct Exposition(Registry);

/// Where the numbers come from.
pub struct Sources {
    /// A shard for each worker.
    pub shards: Vec<Arc<Shard>>,
    /// The sets' names, by position.
    pub sets: Arc<[Arc<str>]>,
    /// For the bindings.
    pub shared: Arc<Shared>,
    /// For dropped lines.
    pub log: LogCounts,
}

impl Exposition {
    /// Of those sources.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("keyward");
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// The numbers now.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0)?;
        Ok(out)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_exchanges(&mut encoder)?;
        self.encode_early_refusals(&mut encoder)?;
        let sum = |of: fn(&Shard) -> &Counter| self.shards.iter().map(|shard| of(shard).value()).sum::<u64>();
        let counters = [
            ("client_connections", "Connections accepted", sum(|shard| &shard.clients)),
            (
                "client_connections_turned_away",
                "Connections closed at once, since their peer has too many",
                sum(|shard| &shard.clients_turned_away),
            ),
            ("upstream_connections", "Connections made to upstream", sum(|shard| &shard.upstream_connections)),
            ("upstream_failures", "Attempts to connect to upstream that failed", sum(|shard| &shard.upstream_failures)),
            ("bindings_overflowed", "Sightings counted under `other`", self.shared.ledger.overflowed()),
            ("log_dropped", "Log lines dropped", self.log.dropped()),
            ("panics", "Exchanges that failed by a fault of keyward", sum(|shard| &shard.panics)),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let ended: u64 = self.shards.iter().flat_map(|shard| shard.exchanges()).map(|(.., count)| count).sum();
        let gauges = [
            ("exchanges_open", "Exchanges under way", sum(|shard| &shard.begun).saturating_sub(ended)),
            ("bindings", "Bindings known", self.shared.ledger.len() as u64),
            (
                "keys_unreadable_since_timestamp_seconds",
                "Since when not all keys can be read, so that those from before are in use; 0 while they can",
                self.shared.keeper.unreadable_since().map_or(0, seconds),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        self.encode_clients(&mut encoder)?;
        self.encode_bytes(&mut encoder)
    }
}

/// Of the epoch.
fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis() / 1000).unwrap_or_default()
}

impl Sources {
    fn encode_exchanges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut sums = BTreeMap::new();
        for (set, codes, count) in self.shards.iter().flat_map(|shard| shard.exchanges()) {
            *sums.entry((set, codes)).or_insert(0) += count;
        }
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("exchanges", "Exchanges that ended", None, kind)?;
        for ((set, [verdict, action, outcome]), count) in sums {
            let labels = [("set", &*self.sets[set]), ("verdict", verdict), ("action", action), ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_early_refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let help = "Requests and connections ended before there was an exchange";
        let mut family = encoder.encode_descriptor("refused_early", help, None, kind)?;
        for why in EarlyRefusal::ALL {
            let sum: u64 = self.shards.iter().map(|shard| shard.sent_away(why)).sum();
            ConstCounter::new(sum).encode(family.encode_family(&[("reason", why.code())])?)?;
        }
        Ok(())
    }

    fn encode_clients(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor("client_connections_open", "Client connections now", None, kind)?;
        for (worker, shard) in self.shards.iter().enumerate() {
            // Read first, so that a client who leaves in between does not make it less than nothing.
            let gone = shard.clients_gone.value();
            let open = shard.clients.value().saturating_sub(gone);
            let gauge = ConstGauge::new(i64::try_from(open).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("worker", worker)])?)?;
        }
        Ok(())
    }

    fn encode_bytes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("bytes", "Body bytes from and to clients", None, kind)?;
        let bytes_in: u64 = self.shards.iter().map(|shard| shard.bytes_in.value()).sum();
        let bytes_out: u64 = self.shards.iter().map(|shard| shard.bytes_out.value()).sum();
        for (direction, sum) in [("in", bytes_in), ("out", bytes_out)] {
            ConstCounter::new(sum).encode(family.encode_family(&[("direction", direction)])?)?;
        }
        Ok(())
    }
}
