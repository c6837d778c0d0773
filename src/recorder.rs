//! What happens when an exchange ends: it is remembered on its binding, counted, learned from, and written to the log.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::access_log::line::Line;
use crate::access_log::repeats::Repeats;
use crate::access_log::{self, Style};
use crate::caller::names::{Directory, Named};
use crate::caller::registry::Registry;
use crate::clock::Clock;
use crate::exchange::diagnosis;
use crate::keys::reloader::Reloader;
use crate::keys::set::{KeyRing, Word};
use crate::ledger::Ledger;
use crate::ledger::bearing;
use crate::ledger::binding::Accepted;
use crate::ledger::destination::Destination;
use crate::ledger::seen::Seen;
use crate::ledger::sighting::{Exchange, Observer};
use crate::metrics::Shard;
use crate::outcome::{Ending, Outcome};
use crate::problems::Problems;
use crate::problems::traffic::Change;
use crate::telemetry::tap::Tap;
use crate::telemetry::writer::{Lane, Rank};
use crate::telemetry::{Format, Level};
use crate::verdict::Verdict;
use crate::verdict::explain::{Diagnosis, Severity};

/// Records each exchange of one worker when it ends: on its binding, in the counters, for learning, in the log.
pub struct Recorder {
    pub counters: Arc<Shard>,
    pub ledger: Arc<Ledger>,
    /// The worker's lane into the log.
    pub lane: Lane,
    pub style: Style,
    /// What was told in full a short time ago: of a log for people.
    pub repeats: Arc<Repeats>,
    /// Those who follow the log.
    pub tap: Tap,
    /// What n8n calls callers.
    pub names: Arc<Registry>,
    /// What is wrong beside single callers.
    pub problems: Arc<Problems>,
    /// Where the time of an end comes from, where that matters.
    pub clock: Clock,
    /// Learns from answers, for the sets that have no declared key.
    pub reloader: Arc<Reloader>,
    /// Whether whatever ends now is cut by the shutdown.
    pub shutting_down: Arc<AtomicBool>,
}

impl Observer for Recorder {
    fn exchange_began(&self, exchange: &Exchange) {
        exchange.keys_in_use().for_each(|key| self.ledger.in_flight.begin(key));
    }

    fn exchange_ended(&self, exchange: &Arc<Exchange>, outcome: Outcome) {
        let judgement = &exchange.judgement;
        let ring = self.reloader.ring();
        let diagnosis = diagnosis::diagnose(exchange, outcome, &ring);
        let mut pressed = None;
        // Of what went on in another protocol only a refusal is still news: see `exchange_goes_on`.
        if exchange.was_told().is_none() || outcome.refuses_key() {
            pressed = self.hold(exchange, diagnosis, outcome, &ring);
            if pressed.is_none() {
                self.sight(exchange, diagnosis, outcome);
            }
            self.learn(exchange, outcome, &ring);
        }
        // Only now: at every moment a use of a key is either in flight or known of its binding.
        if pressed.is_none() {
            exchange.keys_in_use().for_each(|key| self.ledger.in_flight.end(key));
        }
        self.problems.note_tag(exchange);
        self.note_problems(exchange, outcome, &ring);
        self.count(exchange, outcome);
        let directory = self.names.directory();
        let named = directory.as_deref().and_then(|directory| self.look_up(exchange, directory));
        let set = &ring.set(judgement.set).name;
        self.log(Line { exchange, outcome, diagnosis, set, named, told_at: None, pressed: pressed.as_deref() }, &ring);
    }

    fn exchange_goes_on(&self, exchange: &Exchange) {
        let outcome = Outcome { ending: Ending::Completed, ..exchange.outcome() };
        let ring = self.reloader.ring();
        let diagnosis = diagnosis::diagnose(exchange, outcome, &ring);
        self.sight(exchange, diagnosis, outcome);
        self.learn(exchange, outcome, &ring);
        exchange.told(bearing::bearing(diagnosis, outcome));
        self.note_problems(exchange, outcome, &ring);
    }

    fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }
}

/// A use that is held back: in flight until it is remembered, or known to be of keyward's own doing.
struct HeldUse {
    ledger: Arc<Ledger>,
    exchange: Arc<Exchange>,
}

impl HeldUse {
    fn remember(self, diagnosis: Diagnosis, outcome: Outcome) {
        self.ledger.sight(&self.exchange.binding, &seen(&self.exchange, diagnosis, outcome));
    }
}

impl Drop for HeldUse {
    fn drop(&mut self) {
        // What could not be remembered stays in flight.
        if !std::thread::panicking() {
            self.exchange.keys_in_use().for_each(|key| self.ledger.in_flight.end(key));
        }
    }
}

impl Recorder {
    fn sight(&self, exchange: &Exchange, diagnosis: Diagnosis, outcome: Outcome) {
        if exchange.is_preflight {
            return;
        }
        self.ledger.sight(&exchange.binding, &seen(exchange, diagnosis, outcome));
    }

    /// While keyward presses the test of a credential record: holds back what may be the test's exchange, until it is known
    /// whether it is, and gives the record's id. Sets that learn are never asked for by a test, so theirs are not.
    fn hold(
        &self,
        exchange: &Arc<Exchange>,
        diagnosis: Diagnosis,
        outcome: Outcome,
        ring: &KeyRing,
    ) -> Option<Arc<str>> {
        let presses = &self.ledger.presses;
        if !presses.is_under_way() || ring.set(exchange.judgement.set).learning {
            return None;
        }
        presses.hold(exchange, || {
            let held = HeldUse { ledger: Arc::clone(&self.ledger), exchange: Arc::clone(exchange) };
            Box::new(move || held.remember(diagnosis, outcome))
        })
    }

    fn note_problems(&self, exchange: &Exchange, outcome: Outcome, ring: &KeyRing) {
        for change in self.problems.note(exchange, outcome, || self.clock.now()) {
            tell(change, ring);
        }
    }

    fn learn(&self, exchange: &Exchange, outcome: Outcome, ring: &KeyRing) {
        let set = exchange.judgement.set;
        let Some(names) = exchange.sent_key().filter(|_| exchange.refusal.is_none()) else { return };
        let key = names.fingerprint;
        if !ring.set(set).learning {
            if let Some(word) = word_on_own_key(exchange, outcome)
                && ring.word(key) != Some(word)
                && teaches(exchange, ring)
            {
                self.reloader.hear(set, key, word);
            }
        } else if !teaches(exchange, ring) {
            // It says nothing of the key.
        } else if outcome.is_accepted() {
            let accepted = Accepted { key, at: exchange.at, peer: exchange.peer };
            let before = self.ledger.accept(&exchange.binding, accepted);
            // The last key of a set stays its current one while upstream refuses it.
            let is_news = before.is_some()
                || exchange.judgement.verdict != Verdict::Current
                || ring.word(key) == Some(Word::Refused);
            if is_news {
                self.reloader.accept(set, names, before);
            }
        } else if outcome.is_invalid_key() {
            self.reloader.refuse(set, key);
        }
    }

    fn count(&self, exchange: &Exchange, outcome: Outcome) {
        let (counters, judgement) = (&self.counters, &exchange.judgement);
        counters.ended(judgement.set, judgement.verdict, exchange.action, outcome);
        counters.bytes_in.add(exchange.bytes_in());
        counters.bytes_out.add(exchange.bytes_out());
        if let Some(span) = exchange.added_latency() {
            counters.added_latency.observe(span);
        }
        if let Some(span) = exchange.time_to_first_byte() {
            counters.time_to_first_byte.observe(span);
        }
    }

    /// A caller without a name is noted, so that n8n is asked for it.
    fn look_up<'d>(&self, exchange: &Exchange, directory: &'d Directory) -> Option<Named<'d>> {
        let named = diagnosis::look_up(exchange, directory);
        if let Some(workflow) = exchange.workflow() {
            self.names.note(named.as_ref(), exchange.instance(), workflow, exchange.node());
        }
        named
    }

    fn log(&self, mut line: Line<'_>, ring: &KeyRing) {
        let severity = line.diagnosis.severity();
        let (level, rank) = match severity {
            // A workflow that is refused is broken, whatever the reason.
            Severity::Fine | Severity::Warning if line.exchange.refusal.is_some() => (Level::Error, Rank::Trouble),
            Severity::Fine => (Level::Info, Rank::Ordinary),
            Severity::Warning => (Level::Warn, Rank::Trouble),
            Severity::Error => (Level::Error, Rank::Trouble),
        };
        let (is_logged, is_followed) = (level <= self.style.level, self.tap.is_followed());
        if !is_logged && !is_followed {
            self.ledger.recent.note(line.exchange, line.diagnosis, line.outcome, None);
            return;
        }
        // Rendering the explanation allocates, so it is done only for lines that carry one, and outside the lane's lock.
        let explanation = (level < Level::Info).then(|| match line.exchange.explanation() {
            Some(told) => Cow::Borrowed(told),
            None => Cow::Owned(diagnosis::explain(line.diagnosis, line.exchange, ring, line.named)),
        });
        let explanation = explanation.as_deref();
        self.ledger.recent.note(line.exchange, line.diagnosis, line.outcome, explanation);
        if is_followed {
            self.tap.tell(access_log::told(&line, level, explanation));
        }
        if is_logged {
            if explanation.is_some() && self.style.format == Format::Human {
                let (binding, kind) = (line.exchange.binding.id(), line.diagnosis.kind());
                line.told_at = self.repeats.told_at(binding, kind, line.exchange.at);
            }
            self.lane.append(rank, |buffer| access_log::write(buffer, self.style, &line, level, explanation));
        }
    }
}

/// Says what is in trouble, or no more.
#[cold]
fn tell(change: Change, ring: &KeyRing) {
    let (Change::Opened(kind, set) | Change::Closed(kind, set)) = change;
    let set = set.map(|set| &*ring.set(set).name);
    let problem = kind.code();
    match change {
        Change::Opened(..) => {
            tracing::error!(
                event = "problem",
                problem,
                set,
                "{}: {}",
                kind.title(),
                kind.remedy(set.unwrap_or_default())
            );
        }
        Change::Closed(..) => tracing::info!(event = "problem", problem, set, "over: {}", kind.title()),
    }
}

/// What the binding is to remember.
fn seen(exchange: &Exchange, diagnosis: Diagnosis, outcome: Outcome) -> Seen<'_> {
    Seen {
        at: exchange.at,
        key: exchange.judgement.key,
        verdict: exchange.judgement.verdict,
        diagnosis,
        outcome,
        execution: exchange.execution(),
        name: exchange.workflow_name(),
        client_version: exchange.client_version(),
        destination: exchange.destination,
        told: exchange.was_told(),
        was_sent: exchange.refusal.is_none() && exchange.injected.is_none(),
        was_refused: exchange.refusal.is_some(),
        peer: exchange.peer,
        path: exchange.path(),
    }
}

/// What upstream says of one of a set's own keys. A key that it refuses, or never took, admits no client once it was replaced.
fn word_on_own_key(exchange: &Exchange, outcome: Outcome) -> Option<Word> {
    let is_own = exchange.injected.is_some()
        || matches!(exchange.judgement.verdict, Verdict::Current | Verdict::Next | Verdict::Outdated(_));
    if !is_own {
        None
    } else if outcome.is_accepted() {
        Some(Word::Accepted)
    } else {
        outcome.is_invalid_key().then_some(Word::Refused)
    }
}

/// Whether an answer says anything about the key as a key of that set: upstream looked at it, it is no other set's, and it
/// is of a kind that lasts.
fn teaches(exchange: &Exchange, ring: &KeyRing) -> bool {
    let is_lasting = match exchange.judgement.verdict {
        Verdict::Unknown(kind) => ring.may_learn(kind),
        Verdict::Foreign { .. } => false,
        Verdict::Current
        | Verdict::Next
        | Verdict::Token
        | Verdict::Outdated(_)
        | Verdict::Missing
        | Verdict::Malformed(_) => true,
    };
    exchange.destination == Destination::Api && is_lasting
}
