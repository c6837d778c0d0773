//! A clock that stands still between two ticks, by which all long limits are checked, so that no request needs a timer.
//!
//! A timer for each request costs some four percent of the request's CPU time. The limits here are long and need no
//! precision: a worker ticks now and then and wakes its open connections, and each compares its limit with this clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clock of one worker, in milliseconds since it began.
#[derive(Clone, Debug)]
pub struct CoarseClock {
    begin: Instant,
    millis: Arc<AtomicU64>,
}

impl CoarseClock {
    /// A clock that shows 0 now. It stands still unless its worker moves it on.
    #[must_use]
    pub fn new() -> Self {
        Self { begin: Instant::now(), millis: Arc::new(AtomicU64::new(0)) }
    }

    /// The time of the last tick, in milliseconds since the clock began.
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.millis.load(Ordering::Relaxed)
    }

    /// Moves the clock to now.
    pub fn tick(&self) {
        let millis = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Whether `limit` has passed since `since`, a time of this clock.
    #[must_use]
    pub fn is_past(&self, since: u64, limit: Duration) -> bool {
        u128::from(self.millis().saturating_sub(since)) >= limit.as_millis()
    }
}

impl Default for CoarseClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How often the clock must tick for the shortest of the limits that are checked by it, so that each is met to an eighth.
#[must_use]
pub fn interval(shortest: Duration) -> Duration {
    (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_with_the_tick_and_not_between() {
        let coarse_clock = CoarseClock::new();
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(coarse_clock.millis(), 0);
        coarse_clock.tick();
        assert!(coarse_clock.millis() >= 3);
        assert!(coarse_clock.is_past(0, Duration::from_millis(3)));
        assert!(!coarse_clock.is_past(coarse_clock.millis(), Duration::from_millis(1)));
    }

    #[test]
    fn the_interval_suits_the_shortest_limit() {
        assert_eq!(interval(Duration::from_secs(4)), Duration::from_millis(500));
        assert_eq!(interval(Duration::from_hours(2)), Duration::from_secs(5));
        assert_eq!(interval(Duration::from_millis(1)), Duration::from_millis(10));
    }
}
