//! Presses of n8n's test of a credential record: which exchange is the one that keyward itself has n8n make, and which key
//! came with it.
//!
//! n8n's test asks for `GET /v1/models` with the key of the record, once, or twice where it is refused (seen in n8n 2.41.1;
//! 50 to 110 ms). Nothing in the request names the record. So the tests are pressed one at a time, and what comes meanwhile and can
//! be the test's is held back from the bindings until it is known what it was:
//!
//! - Exactly one key came, upstream took it or not as n8n says, and a second press at once gives the same: it was the test's.
//!   That is no use of the key, so no binding hears of it.
//! - Anything else: a person may have tested another record in that very moment. Then nothing is concluded, and what was
//!   held back counts as any other exchange does.
//!
//! In ordinary times an exchange asks one relaxed flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::binding::Binding;
use super::sighting::Exchange;
use crate::caller::Family;
use crate::caller::declared::Origin;
use crate::keys::set::Names;
use crate::locks::lock;
use crate::verdict::VerdictKind;

/// Whether keyward presses a test now, and what has come meanwhile.
#[derive(Default)]
pub struct Presses {
    is_pressing: AtomicBool,
    under_way: Mutex<Option<UnderWay>>,
    came: Notify,
    /// One at a time, whichever n8n it is: their tests look alike.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The press that is under way.
struct UnderWay {
    instance: Box<str>,
    record: Arc<str>,
    /// When its first test began.
    since: Instant,
    held: Vec<Held>,
    /// Whether more came than are held.
    overflowed: bool,
}

/// An exchange that can be the test's.
struct Held {
    exchange: Arc<Exchange>,
    remember: Remember,
}

/// What happens to an exchange that is not the test's: it is remembered.
pub type Remember = Box<dyn FnOnce() + Send>;

/// A press of the test of one record. What it holds back and does not own is remembered when it is dropped.
pub struct Press {
    presses: Arc<Presses>,
    _turn: OwnedMutexGuard<()>,
}

// === impl Presses ===

impl Presses {
    /// Begins to press the test of that record of that n8n, once no other is pressed.
    pub async fn begin(self: &Arc<Self>, instance: &str, record: &str) -> Press {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.take_turn(turn, instance, record)
    }

    /// The same; nothing where another is pressed.
    #[must_use]
    pub fn try_begin(self: &Arc<Self>, instance: &str, record: &str) -> Option<Press> {
        let turn = Arc::clone(&self.turn).try_lock_owned().ok()?;
        Some(self.take_turn(turn, instance, record))
    }

    fn take_turn(self: &Arc<Self>, turn: OwnedMutexGuard<()>, instance: &str, record: &str) -> Press {
        let (instance, record) = (instance.into(), record.into());
        let under_way = UnderWay { instance, record, since: Instant::now(), held: Vec::new(), overflowed: false };
        *self.lock() = Some(under_way);
        self.is_pressing.store(true, Ordering::Release);
        Press { presses: Arc::clone(self), _turn: turn }
    }

    /// Whether a test is pressed now.
    #[inline]
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.is_pressing.load(Ordering::Relaxed)
    }

    /// Whether an exchange that has ended may be that of the test that is pressed now. If so it is held back, with what is
    /// done about any other, and the record's id is given.
    pub fn hold(&self, exchange: &Arc<Exchange>, remember: impl FnOnce() -> Remember) -> Option<Arc<str>> {
        let mut under_way = self.lock();
        let press = under_way.as_mut()?;
        if !press.may_be_of_the_test(exchange) {
            return None;
        }
        if press.held.len() == MOST_HELD {
            press.overflowed = true;
            return None;
        }
        press.held.push(Held { exchange: Arc::clone(exchange), remember: remember() });
        self.came.notify_waiters();
        Some(Arc::clone(&press.record))
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnderWay>> {
        lock(&self.under_way)
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn may_be_of_the_test(&self, exchange: &Exchange) -> bool {
        exchange.method == Method::GET
            && exchange.path() == MODELS
            && exchange.family == Family::Legacy
            && exchange.origin != Origin::Workflow
            && exchange.instance().is_none_or(|instance| instance == &*self.instance)
            && exchange.started >= self.since
    }

    /// The one key that came between those moments, if what upstream said of it is what n8n says.
    fn key_between(&self, began: Instant, answered: Instant, was_good: bool) -> Option<Names> {
        let within = self.held.iter().filter(|held| (began..=answered).contains(&held.exchange.started));
        let within: Vec<_> = within.collect();
        let first = within.first()?.key()?;
        let is_it = |held: &&Held| held.was_taken() == was_good && held.has(first);
        (!self.overflowed && within.len() <= MOST_OF_A_TEST && within.iter().all(is_it)).then_some(first)
    }
}

// === impl Held ===

impl Held {
    fn key(&self) -> Option<Names> {
        self.exchange.judgement.key
    }

    fn has(&self, key: Names) -> bool {
        self.key().is_some_and(|own| is_same(own, key))
    }

    fn was_taken(&self) -> bool {
        self.exchange.status().is_some_and(|status| status.is_success())
    }
}

// === impl Press ===

impl Press {
    /// The key of the test that `began` then and that n8n has just said to be good or not. Nothing where none came, or it
    /// cannot be told which one it was.
    pub async fn key_since(&self, began: Instant, was_good: bool) -> Option<Names> {
        let answered = Instant::now();
        // n8n may know the end of the test's exchange a moment before it is taken down here.
        let _ = tokio::time::timeout(UNTIL_IT_COMES, self.first_since(began)).await;
        tokio::time::sleep(UNTIL_ALL_HAVE_COME).await;
        self.key_between(began, answered, was_good)
    }

    /// The same of a test whose exchange has surely been taken down by now.
    #[must_use]
    pub fn key_between(&self, began: Instant, answered: Instant, was_good: bool) -> Option<Names> {
        self.presses.lock().as_ref()?.key_between(began, answered, was_good)
    }

    /// What was judged of the first request since then that can be the test's; nothing where none came.
    #[must_use]
    pub fn verdict_since(&self, began: Instant) -> Option<VerdictKind> {
        let under_way = self.presses.lock();
        let first = under_way.as_ref()?.held.iter().find(|held| held.exchange.started >= began)?;
        Some(first.exchange.judgement.verdict.kind())
    }

    /// Says that what came with this key was the tests' and no use of it. All else that was held back counts. Gives the
    /// bindings that were begun for the tests, perhaps.
    #[must_use]
    pub fn own(self, key: Names) -> Vec<Arc<Binding>> {
        let mut under_way = self.presses.lock();
        let Some(press) = under_way.as_mut() else { return Vec::new() };
        let own = press.held.extract_if(.., |held| held.has(key));
        own.map(|held| Arc::clone(&held.exchange.binding)).collect()
    }

    async fn first_since(&self, began: Instant) {
        loop {
            let came = self.presses.came.notified();
            let has_come = self
                .presses
                .lock()
                .as_ref()
                .is_none_or(|press| press.held.iter().any(|held| held.exchange.started >= began));
            if has_come {
                return;
            }
            came.await;
        }
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        self.presses.is_pressing.store(false, Ordering::Release);
        let over = self.presses.lock().take();
        for held in over.into_iter().flat_map(|press| press.held) {
            (held.remember)();
        }
    }
}

/// Whether two keys are one, whatever hints they were made with.
#[must_use]
pub fn is_same(one: Names, other: Names) -> bool {
    one.fingerprint == other.fingerprint
}

/// What n8n's test asks for, once keyward has taken its own prefix away.
const MODELS: &str = "/v1/models";

/// How many requests one test makes: two where the first is refused.
const MOST_OF_A_TEST: usize = 2;

/// How many exchanges one press holds back. More come only by intent, and count at once.
const MOST_HELD: usize = 64;

/// How long after n8n's answer the test's exchange may still be on its way here.
const UNTIL_IT_COMES: Duration = Duration::from_millis(500);

/// How long after that what came beside it.
const UNTIL_ALL_HAVE_COME: Duration = Duration::from_millis(20);
