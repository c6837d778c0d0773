//! Requests and connections that are refused before there is an exchange: counted, and logged without drowning other lines.
//!
//! A request that is refused has a line of its own, as far as the log has room to spare ([`Rank::Rejection`]). Connections
//! that end before a request cost a client nothing, and scanners make many; and a client with too many requests at a time
//! usually has many more. Of these a few are logged, and then how many more there were.
//!
//! [`Rank::Rejection`]: crate::telemetry::writer::Rank::Rejection

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use crate::early_refusal::EarlyRefusal;
use crate::metrics::Shard;
use crate::net::coarse_clock::CoarseClock;
use crate::telemetry::writer::REJECTIONS;

/// The rejections of one worker.
pub struct Rejections {
    counters: Arc<Shard>,
    coarse_clock: CoarseClock,
    tallies: [Tally; EarlyRefusal::COUNT],
}

/// How many of one kind were logged lately, and how many were left out. Only the worker's own thread writes.
#[derive(Default)]
struct Tally {
    since: AtomicU64,
    lines: AtomicU64,
    left_out: AtomicU64,
}

impl Rejections {
    /// Of one worker, before it has rejected a request.
    #[must_use]
    pub fn new(counters: Arc<Shard>, coarse_clock: CoarseClock) -> Self {
        Self { counters, coarse_clock, tallies: Default::default() }
    }

    /// Logs a request that was answered with that status.
    pub fn refuse(&self, why: EarlyRefusal, status: StatusCode, peer: IpAddr) {
        self.counters.refused_early(why);
        let (reason, status) = (why.code(), status.as_u16());
        tracing::warn!(target: REJECTIONS, event = "refused_early", reason, status, %peer, "{}", why.message());
    }

    /// Logs a request that was answered with that status because there are too many, or counts it for later.
    pub fn turn_away(&self, why: EarlyRefusal, status: StatusCode, peer: IpAddr) {
        self.counters.refused_early(why);
        if self.is_logged(why) {
            let (reason, status) = (why.code(), status.as_u16());
            tracing::warn!(target: REJECTIONS, event = "refused_early", reason, status, %peer, "{}", why.message());
        }
    }

    /// Logs a connection that was ended before any request, or by what came as one, or counts it for later.
    pub fn reject(&self, why: EarlyRefusal, peer: IpAddr, cause: &(dyn Error + 'static)) {
        self.counters.refused_early(why);
        if self.is_logged(why) {
            let reason = why.code();
            tracing::warn!(target: REJECTIONS, event = "refused_early", reason, %peer, cause, "{}", why.message());
        }
    }

    /// Whether one more is logged; if not, it is counted.
    fn is_logged(&self, why: EarlyRefusal) -> bool {
        let tally = &self.tallies[why.position()];
        let is_logged = tally.is_one_more_of_interest(&self.coarse_clock);
        if !is_logged {
            add_one(&tally.left_out);
        }
        is_logged
    }

    /// Logs how many were left out, once their time is over. To be called now and then.
    pub fn log_rest(&self) {
        for why in EarlyRefusal::ALL {
            let left_out = self.tallies[why.position()].take_left_out(&self.coarse_clock);
            if left_out > 0 {
                let reason = why.code();
                tracing::warn!(
                    target: REJECTIONS,
                    event = "refused_early",
                    reason,
                    left_out,
                    "{left_out} more were refused like this, without a line of their own"
                );
            }
        }
    }
}

impl Tally {
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

/// How soon the number of the others is logged.
const SPAN: Duration = Duration::from_secs(10);
