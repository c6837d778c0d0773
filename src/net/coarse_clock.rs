//! A worker's heartbeat: one slow tick by which all long limits are checked, so that no request needs a timer.
//!
//! A timer of its own for each request costs some four percent of a request's way. The limits here are long and need no
//! precision, so a tick wakes the open connections now and then, and each looks at the clock of the pulse.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// The clock of the pulse. It stands still between two ticks.
#[derive(Clone, Debug)]
pub struct Pulse {
    begin: Instant,
    millis: Arc<AtomicU64>,
}

impl Pulse {
    /// Begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { begin: Instant::now(), millis: Arc::new(AtomicU64::new(0)) }
    }

    /// The time of the last tick, in milliseconds since the pulse began.
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.millis.load(Ordering::Relaxed)
    }

    /// Moves the clock to now.
    pub fn tick(&self) {
        let millis = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Whether `limit` has passed since `since`, a time of this pulse.
    #[must_use]
    pub fn is_past(&self, since: u64, limit: Duration) -> bool {
        u128::from(self.millis().saturating_sub(since)) >= limit.as_millis()
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// How often a pulse must tick for the shortest of the limits that hang on it: a limit is met to an eighth of itself.
#[must_use]
pub fn interval(shortest: Duration) -> Duration {
    (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(5))
}

/// Lets hyper's own limit, the one for a request's head, hang on the pulse as well.
impl Timer for Pulse {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(PulseSleep { pulse: self.clone(), deadline })
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.millis())
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        *sleep = self.sleep_until(deadline);
    }
}

/// Wakes nobody by itself: every tick has the open connections polled.
struct PulseSleep {
    pulse: Pulse,
    deadline: Instant,
}

impl Future for PulseSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if self.pulse.now() >= self.deadline { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Sleep for PulseSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_with_the_tick_and_not_between() {
        let pulse = Pulse::new();
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(pulse.millis(), 0);
        pulse.tick();
        assert!(pulse.millis() >= 3);
        assert!(pulse.is_past(0, Duration::from_millis(3)));
        assert!(!pulse.is_past(pulse.millis(), Duration::from_millis(1)));
    }

    #[test]
    fn the_interval_suits_the_shortest_limit() {
        assert_eq!(interval(Duration::from_secs(4)), Duration::from_millis(500));
        assert_eq!(interval(Duration::from_hours(2)), Duration::from_secs(5));
        assert_eq!(interval(Duration::from_millis(1)), Duration::from_millis(10));
    }
}
