//! Answers that take a look at all bindings: on a thread of their own, from one look for all who ask meanwhile.
//!
//! Drawing takes long where there are many bindings, and everyone who watches asks again and again. So a question waits here,
//! and the listener goes on. An answer is drawn from
//!
//! | the look was taken | where |
//! |---|---|
//! | after the question came | always |
//! | less than a second before | nothing was recorded since, or the question is for a later page of a list; and it says of no old key that it can go |
//!
//! A *yes* is never older than its question. Between two looks there is a pause, so that drawing takes a tenth of one
//! processor over time, but no longer than a second: those who ask during it share the next look.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::call::Call;
use super::problem::{Kind, Problem};
use super::response::Drawn;
use super::state::AdminState;
use crate::clock::Timestamp;
use crate::ledger::query::Query;
use crate::server::Stage;

/// Where questions wait for a look.
#[derive(Clone)]
pub struct Looks(mpsc::Sender<Question>);

/// The other end of [`Looks`]: answers the questions one after the other, all that one look can answer together.
pub struct Looking {
    questions: mpsc::Receiver<Question>,
    admin: Arc<AdminState>,
}

/// Draws an answer from a look.
pub type Draw = fn(&AdminState, &Query<'_>, &Call) -> Result<Drawn, Problem>;

/// Whether the same question has the same answer as long as nothing is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It is drawn once from a look.
    Answer,
    /// The look alone is shared: the answer tells of more than the ledger.
    Look,
    /// Nothing: the question changes something.
    Nothing,
}

struct Question {
    call: Call,
    draw: Draw,
    sharing: Sharing,
    came: Instant,
    answered: oneshot::Sender<Result<Drawn, Problem>>,
}

/// The answers that were drawn from one look, by what was asked.
#[derive(Default)]
struct Answers {
    by_target: HashMap<String, Drawn>,
    bytes: usize,
}

/// For those questions, and who answers them.
#[must_use]
pub fn looks(admin: &Arc<AdminState>) -> (Looks, Looking) {
    let (sender, questions) = mpsc::channel(MOST_WAITING);
    (Looks(sender), Looking { questions, admin: Arc::clone(admin) })
}

// === impl Looks ===

impl Looks {
    /// Waits until `draw` has run with a look; a problem where too many questions wait already, or keyward stops.
    pub async fn ask(&self, call: Call, draw: Draw, sharing: Sharing) -> Result<Drawn, Problem> {
        let unavailable = |detail| Problem::new(Kind::Unavailable, detail);
        let (answered, answer) = oneshot::channel();
        let question = Question { call, draw, sharing, came: Instant::now(), answered };
        self.0
            .try_send(question)
            .map_err(|_| unavailable("Too many questions wait for an answer: ask again later."))?;
        answer.await.map_err(|_| unavailable("keyward stops."))?
    }
}

// === impl Looking ===

impl Looking {
    /// Answers until keyward has stopped.
    pub async fn run(mut self, mut stage: watch::Receiver<Stage>) {
        let admin = Arc::clone(&self.admin);
        tokio::select! {
            () = self.answer_all(&admin) => {}
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }

    async fn answer_all(&mut self, admin: &AdminState) {
        let mut left = None;
        let mut pause = Pause::none();
        loop {
            let Some(question) = self.next(left.take()).await else { return };
            pause.wait().await;
            left = self.look(admin, question, &mut pause).await;
        }
    }

    /// A question that is still waited for.
    async fn next(&mut self, left: Option<Question>) -> Option<Question> {
        let mut next = left;
        loop {
            match next {
                Some(question) if !question.answered.is_closed() => return Some(question),
                Some(_) | None => next = Some(self.questions.recv().await?),
            }
        }
    }

    /// Answers that question, and those behind it, from one look; gives the one that needs another look.
    async fn look(&mut self, admin: &AdminState, first: Question, pause: &mut Pause) -> Option<Question> {
        let (recorded, began) = (admin.recorded(), Instant::now());
        let look = match pause.measure(|| despite_panics(|| admin.look_with_audits())) {
            Ok(look) => look,
            Err(problem) => {
                first.answer(Err(problem));
                return None;
            }
        };
        let mut answers = Answers::default();
        let mut question = first;
        loop {
            if let Some(refused) = pause.measure(|| answers.tell(admin, &look, began, question)) {
                return Some(refused);
            }
            // Lets this thread's timers and channels have their turn between two long answers.
            tokio::task::yield_now().await;
            let left = LASTS.saturating_sub(began.elapsed());
            question = tokio::time::timeout(left, self.next(None)).await.ok().flatten()?;
            let is_shared = || match question.sharing {
                Sharing::Nothing => false,
                Sharing::Answer if question.is_of_later_page() => true,
                Sharing::Answer | Sharing::Look => recorded.is_same(&admin.recorded()),
            };
            if began < question.came && !(is_recent(&look, admin.shared.clock.now()) && is_shared()) {
                return Some(question);
            }
        }
    }
}

// === impl Question ===

impl Question {
    /// Later pages of a list belong to the look of the first one.
    fn is_of_later_page(&self) -> bool {
        self.call.parameters.value("cursor").is_some()
    }

    fn answer(self, answer: Result<Drawn, Problem>) {
        // A client that has gone away needs none.
        let _ = self.answered.send(answer);
    }

    fn target(&self) -> Option<String> {
        (self.sharing == Sharing::Answer).then(|| self.call.head.uri.to_string())
    }
}

// === impl Answers ===

impl Answers {
    /// Answers from a look that was taken then. Gives the question back where the look is too old to say *yes* to it.
    fn tell(&mut self, admin: &AdminState, look: &Query<'_>, taken: Instant, question: Question) -> Option<Question> {
        let target = question.target();
        let known = target.as_ref().and_then(|target| self.by_target.get(target)).cloned();
        let draw = || despite_panics(|| (question.draw)(admin, look, &question.call)).flatten();
        let answer = known.map_or_else(draw, Ok);
        if taken < question.came && look.says_yes() {
            return Some(question);
        }
        if let (Some(target), Ok(drawn)) = (target, &answer) {
            self.keep(target, drawn);
        }
        question.answer(answer);
        None
    }

    fn keep(&mut self, target: String, drawn: &Drawn) {
        if self.bytes + drawn.body.len() <= MOST_KEPT && self.by_target.insert(target, drawn.clone()).is_none() {
            self.bytes += drawn.body.len();
        }
    }
}

/// Whether the clock, too, shows that hardly any time has passed: it may have been set.
fn is_recent(look: &Query<'_>, now: Timestamp) -> bool {
    look.now() <= now && now.since(look.now()) < LASTS
}

/// A panic costs its question alone, and not all that come later. It was told where it happened.
fn despite_panics<T>(draw: impl FnOnce() -> T) -> Result<T, Problem> {
    let failed = |_| Problem::new(Kind::Failed, "keyward failed to draw this answer: its log says why.");
    catch_unwind(AssertUnwindSafe(draw)).map_err(failed)
}

// === Pauses ===

/// The pause between two looks: drawing takes a tenth of one processor over time, and may run ahead of that by a little, so
/// that who has just opened a page sees at once what changes on it.
struct Pause {
    /// For how long nothing would have to be drawn until the share is kept.
    owed: Duration,
    /// As of then.
    at: Instant,
}

impl Pause {
    fn none() -> Self {
        Self { owed: Duration::ZERO, at: Instant::now() }
    }

    fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = processor_time();
        let done = work();
        self.owe(processor_time().saturating_sub(before), Instant::now());
        done
    }

    /// Takes down that drawing took so long and ended then.
    fn owe(&mut self, took: Duration, ended: Instant) {
        self.pass(ended);
        self.owed = (self.owed + took * 10).min(AHEAD + LASTS);
    }

    /// What is still owed at that time.
    fn pass(&mut self, now: Instant) {
        self.owed = self.owed.saturating_sub(now.saturating_duration_since(self.at));
        self.at = now;
    }

    /// How long to wait before the next look, from now on.
    fn left(&mut self, now: Instant) -> Duration {
        self.pass(now);
        self.owed.saturating_sub(AHEAD)
    }

    /// Waits before the next look.
    async fn wait(&mut self) {
        let left = self.left(Instant::now());
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }
}

/// The processor time of this thread so far: what a busy machine lets it wait is no drawing.
fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or_default())
}

/// How long a look serves those who ask after it was taken.
const LASTS: Duration = Duration::from_secs(1);

/// How far drawing may be ahead of its share: by a tenth of that in drawing.
const AHEAD: Duration = Duration::from_secs(1);

/// How many questions wait at a time: each connection to the listener has one.
const MOST_WAITING: usize = 256;

/// How many bytes of answers are kept with a look.
const MOST_KEPT: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_takes_a_tenth_over_time_and_what_was_quiet_is_drawn_at_once() {
        let (mut pause, mut now) = (Pause::none(), Instant::now());
        let took = Duration::from_millis(80);
        let mut draw = |now: &mut Instant| {
            let left = pause.left(*now);
            *now += left + took;
            pause.owe(took, *now);
            left
        };
        assert_eq!(draw(&mut now), Duration::ZERO);
        assert_eq!(draw(&mut now), Duration::ZERO, "a page, and what changes on it at once");
        let began = now;
        let waits: Vec<_> = (0..20).map(|_| draw(&mut now)).collect();
        assert!(waits.iter().all(|wait| *wait <= LASTS), "{waits:?}");
        let share = (took * 20).as_secs_f64() / (now - began).as_secs_f64();
        assert!((0.09..0.11).contains(&share), "{share}");
        now += Duration::from_secs(5);
        assert_eq!(draw(&mut now), Duration::ZERO);
    }

    #[test]
    fn a_look_that_takes_long_is_followed_by_a_second() {
        let (mut pause, now) = (Pause::none(), Instant::now());
        pause.owe(Duration::from_secs(9), now);
        assert_eq!(pause.left(now), LASTS);
    }
}
