//! Whoever is sent away before there is an exchange: counted, and told in the log in a way that drowns nothing else.
//!
//! A request that is refused so has a line of its own, as far as the log has room to spare ([`Rank::Stranger`]). Connections
//! that never come as far as a request cost their makers nothing, and scanners make many; and whoever has too many requests
//! at a time has many more. Of them a few are told, and then how many more there were.
//!
//! [`Rank::Stranger`]: crate::telemetry::writer::Rank::Stranger

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use crate::early_refusal::EarlyRefusal;
use crate::metrics::Shard;
use crate::net::coarse_clock::CoarseClock;
use crate::telemetry::STRANGERS;

/// A worker's strangers.
pub struct Strangers {
    counters: Arc<Shard>,
    coarse_clock: CoarseClock,
    told: [Told; EarlyRefusal::COUNT],
}

/// How many were told of lately, and how many were not. Only the worker's own thread writes.
#[derive(Default)]
struct Told {
    since: AtomicU64,
    lines: AtomicU64,
    left_out: AtomicU64,
}

impl Strangers {
    /// None so far.
    #[must_use]
    pub fn new(counters: Arc<Shard>, coarse_clock: CoarseClock) -> Self {
        Self { counters, coarse_clock, told: Default::default() }
    }

    /// Tells of a request that was answered with that status.
    pub fn refuse(&self, why: EarlyRefusal, status: StatusCode, peer: IpAddr) {
        self.counters.refused_early(why);
        let (reason, status) = (why.code(), status.as_u16());
        tracing::warn!(target: STRANGERS, event = "refused_early", reason, status, %peer, "{}", why.message());
    }

    /// Tells of a request that was answered with that status because there are too many, or counts it for later.
    pub fn turn_away(&self, why: EarlyRefusal, status: StatusCode, peer: IpAddr) {
        self.counters.refused_early(why);
        if self.is_to_be_told(why) {
            let (reason, status) = (why.code(), status.as_u16());
            tracing::warn!(target: STRANGERS, event = "refused_early", reason, status, %peer, "{}", why.message());
        }
    }

    /// Tells of a connection that was ended before any request, or by what came as one, or counts it for later.
    pub fn keep_out(&self, why: EarlyRefusal, peer: IpAddr, cause: &(dyn Error + 'static)) {
        self.counters.refused_early(why);
        if self.is_to_be_told(why) {
            let reason = why.code();
            tracing::warn!(target: STRANGERS, event = "refused_early", reason, %peer, cause, "{}", why.message());
        }
    }

    /// Whether one more is, which is counted otherwise.
    fn is_to_be_told(&self, why: EarlyRefusal) -> bool {
        let told = &self.told[why.position()];
        let is_told = told.is_one_more_of_interest(&self.coarse_clock);
        if !is_told {
            add_one(&told.left_out);
        }
        is_told
    }

    /// Says how many were left out, once that can be said. To be called now and then.
    pub fn tell_rest(&self) {
        for why in EarlyRefusal::ALL {
            let left_out = self.told[why.position()].take_left_out(&self.coarse_clock);
            if left_out > 0 {
                let reason = why.code();
                tracing::warn!(
                    target: STRANGERS,
                    event = "refused_early",
                    reason,
                    left_out,
                    "{left_out} more ended so, of which no line tells"
                );
            }
        }
    }
}

impl Told {
    fn is_one_more_of_interest(&self, coarse_clock: &CoarseClock) -> bool {
        if self.left_out.load(Ordering::Relaxed) == 0 && coarse_clock.is_past(self.since.load(Ordering::Relaxed), SPAN)
        {
            self.since.store(coarse_clock.millis(), Ordering::Relaxed);
            self.lines.store(0, Ordering::Relaxed);
        }
        add_one(&self.lines);
        self.lines.load(Ordering::Relaxed) <= MOST_LINES
    }

    fn take_left_out(&self, coarse_clock: &CoarseClock) -> u64 {
        let is_over = coarse_clock.is_past(self.since.load(Ordering::Relaxed), SPAN);
        if is_over { self.left_out.swap(0, Ordering::Relaxed) } else { 0 }
    }
}

fn add_one(number: &AtomicU64) {
    number.store(number.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// How many connections that end alike have a line of their own in each [`SPAN`].
const MOST_LINES: u64 = 5;

/// How soon the rest of them are told by their number.
const SPAN: Duration = Duration::from_secs(10);
