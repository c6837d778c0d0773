//! Wrong tokens and links that come to the admin listener: a few are answered like any mistake, a flood of them late and with
//! 429.
//!
//! A client with a right token is never kept waiting. Behind a load balancer, and on the machine itself, all come from one
//! address, so counting by address would let a stranger lock out the owner; and a token is too long to be guessed at any
//! speed. What is to be kept down is the noise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::connection::Connection;
use super::problem::{Kind, Problem};
use crate::clock::{Clock, Timestamp};
use crate::locks::lock;
use crate::metrics::AdminCounts;

/// The wrong tokens of late.
pub struct WrongTokens {
    lately: Mutex<Lately>,
    counts: Arc<AdminCounts>,
    clock: Clock,
}

impl WrongTokens {
    /// No wrong token has come yet. Each that comes is counted in `counts`, and `clock` tells how many came of late.
    #[must_use]
    pub fn new(counts: Arc<AdminCounts>, clock: Clock) -> Self {
        Self { lately: Mutex::default(), counts, clock }
    }

    /// What a client is told whose request had this problem: where it was a wrong token among many, just that.
    pub fn look_at(&self, problem: Problem, connection: &Connection) -> Problem {
        if !matches!(problem.kind(), Kind::TokenUnknown | Kind::LinkUnknown) {
            return problem;
        }
        self.counts.wrong_tokens.increment();
        let found = lock(&self.lately).add_one(self.clock.now());
        match found {
            Found::Mistake => return problem,
            Found::Flood => {}
            Found::FloodBegins => {
                let peer = connection.peer();
                tracing::warn!(event = "wrong_admin_tokens", %peer, "{FLOOD_BEGINS}");
            }
        }
        Problem::new(Kind::TooManyWrongTokens, TOO_MANY)
    }
}

/// How many came, less those that are forgotten meanwhile.
#[derive(Debug, Default)]
struct Lately {
    count: u32,
    /// When the last one was forgotten.
    since: Option<Timestamp>,
    is_flood: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// One of a few.
    Mistake,
    /// The first of too many.
    FloodBegins,
    /// One more of too many.
    Flood,
}

impl Lately {
    fn add_one(&mut self, now: Timestamp) -> Found {
        self.forget(now);
        if self.count < MOST {
            self.count += 1;
            return Found::Mistake;
        }
        if std::mem::replace(&mut self.is_flood, true) { Found::Flood } else { Found::FloodBegins }
    }

    /// A flood ends when all that came is forgotten. A clock that was set back costs no client more than that.
    fn forget(&mut self, now: Timestamp) {
        let since = self.since.filter(|since| *since <= now).unwrap_or(now);
        let forgotten = u32::try_from(now.since(since).as_millis() / EACH.as_millis()).unwrap_or(u32::MAX);
        self.count = self.count.saturating_sub(forgotten);
        self.since = Some(if self.count == 0 { now } else { since.after(EACH * forgotten) });
        self.is_flood &= self.count > 0;
    }
}

/// How many may come at once.
const MOST: u32 = 10;

/// How soon one of them is forgotten.
pub const EACH: Duration = Duration::from_secs(1);

/// How long the answer to one of too many waits: a person who made a mistake does not mind, and a flood costs little.
pub const LATE: Duration = Duration::from_millis(100);

const TOO_MANY: &str =
    "Wrong tokens come faster than one a second, and this is one of them. A right one is taken at any time.";

const FLOOD_BEGINS: &str = "wrong tokens come to the admin listener faster than one a second; they are answered late and with \
429 until that ends, the right ones at once";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_mistakes_and_the_rest_is_one_flood_until_all_is_forgotten() {
        let mut lately = Lately::default();
        let mut at = |seconds: i64| lately.add_one(Timestamp::from_millis(seconds * 1000));
        for _ in 0..MOST {
            assert_eq!(at(100), Found::Mistake);
        }
        assert_eq!(
            [at(100), at(100), at(101), at(101)],
            [Found::FloodBegins, Found::Flood, Found::Mistake, Found::Flood]
        );
        assert_eq!(at(50), Found::Flood, "the clock was set back");
        assert_eq!([at(51), at(51)], [Found::Mistake, Found::Flood], "and goes on from there");
        assert_eq!(at(1000), Found::Mistake);
        for _ in 1..MOST {
            assert_eq!(at(1000), Found::Mistake);
        }
        assert_eq!(at(1000), Found::FloodBegins, "another one");
    }

    #[test]
    fn one_now_and_then_is_never_a_flood() {
        let mut lately = Lately::default();
        for second in 0..1000 {
            assert_eq!(lately.add_one(Timestamp::from_millis(second * 1000)), Found::Mistake);
        }
    }
}
