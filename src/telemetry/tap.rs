//! The exchanges as they end, for those who follow them: the same lines as in the log, handed to each follower through one
//! bounded buffer. Nothing waits for a follower. One that is too slow loses lines, and learns how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// Where lines are handed out.
#[derive(Clone)]
pub struct Tap(Arc<Inner>);

struct Inner {
    lines: Sender<Arc<Told>>,
    followers: AtomicUsize,
    lost: AtomicU64,
}

/// An exchange, as its followers are told of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub set: Arc<str>,
    /// The verdict's code.
    pub verdict: &'static str,
    /// The workflow's id.
    pub workflow: Option<Box<str>>,
    /// The log's line in JSON, with its end.
    pub line: Vec<u8>,
}

impl Tap {
    /// Without followers: what is told goes nowhere.
    #[must_use]
    pub fn new() -> Self {
        let lines = Sender::new(LINES);
        Self(Arc::new(Inner { lines, followers: AtomicUsize::new(0), lost: AtomicU64::new(0) }))
    }

    /// Whether there is anybody to tell: one look at a number, without a lock.
    #[must_use]
    #[inline]
    pub fn is_followed(&self) -> bool {
        self.0.followers.load(Ordering::Relaxed) > 0
    }

    /// Tells all followers, and waits for none of them.
    pub fn tell(&self, told: Told) {
        // Fails where the last follower has just left.
        let _ = self.0.lines.send(Arc::new(told));
    }

    /// A follower of what comes from now on; nothing where there are too many already.
    #[must_use]
    pub fn follow(&self) -> Option<Follower> {
        let more = |followers| (followers < MOST_FOLLOWERS).then_some(followers + 1);
        self.0.followers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Follower { lines: self.0.lines.subscribe(), tap: self.clone() })
    }

    /// How many follow now, [`MOST_FOLLOWERS`] at most.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.0.followers.load(Ordering::Relaxed)
    }

    /// How many lines followers have lost, each counted for each of them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Default for Tap {
    fn default() -> Self {
        Self::new()
    }
}

/// Hears the exchanges that end for as long as it lives: dropping it makes room for another.
pub struct Follower {
    lines: Receiver<Arc<Told>>,
    tap: Tap,
}

/// What a follower hears next.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// An exchange ended.
    Line(Arc<Told>),
    /// The follower was too slow for that many.
    Lost(u64),
}

impl Follower {
    /// What comes next. It can be dropped and called again without a loss.
    pub async fn hear(&mut self) -> Option<Heard> {
        match self.lines.recv().await {
            Ok(told) => Some(Heard::Line(told)),
            Err(RecvError::Lagged(lost)) => {
                self.tap.0.lost.fetch_add(lost, Ordering::Relaxed);
                Some(Heard::Lost(lost))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.tap.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many lines wait for the slowest follower: some megabytes.
const LINES: usize = 1024;

/// How many may follow at a time.
pub const MOST_FOLLOWERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: usize) -> Told {
        Told { set: "default".into(), verdict: "current", workflow: None, line: number.to_string().into_bytes() }
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn every_follower_hears_what_came_since() {
        let tap = Tap::new();
        assert!(!tap.is_followed());
        let mut one = tap.follow().expect("room");
        tap.tell(told(1));
        let mut other = tap.follow().expect("room");
        tap.tell(told(2));
        let hear = |follower: &mut Follower| wait(follower.hear());
        assert_eq!(hear(&mut one), Some(Heard::Line(told(1).into())));
        assert_eq!(hear(&mut one), Some(Heard::Line(told(2).into())));
        assert_eq!(hear(&mut other), Some(Heard::Line(told(2).into())));
        drop((one, other));
        assert!(!tap.is_followed());
    }

    #[test]
    fn a_slow_follower_loses_the_oldest_and_is_told_how_many() {
        let tap = Tap::new();
        let mut follower = tap.follow().expect("room");
        (0..LINES + 10).for_each(|number| tap.tell(told(number)));
        assert_eq!(wait(follower.hear()), Some(Heard::Lost(10)));
        assert_eq!(wait(follower.hear()), Some(Heard::Line(told(10).into())));
        assert_eq!(tap.lost(), 10);
    }

    #[test]
    fn followers_are_bounded() {
        let tap = Tap::new();
        let followers: Vec<_> = (0..MOST_FOLLOWERS).map(|_| tap.follow().expect("room")).collect();
        assert!(tap.follow().is_none());
        drop(followers);
        assert!(tap.follow().is_some());
    }
}
