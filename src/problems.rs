//! What is wrong now with upstream, with a key, or with keyward itself, rather than with one caller: what it is, since when, how
//! many requests and callers it hit, and what to do.
//!
//! [`traffic`] tells it from how exchanges end, [`tags`] from what they declare, [`faults`] from what is looked at beside them.
//! All are told the time.

pub mod faults;
pub mod kind;
pub mod recalled;
pub mod tags;
pub mod traffic;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use self::faults::{Fault, Faults};
use self::kind::ProblemKind;
use self::recalled::{Last, recalled};
use self::tags::{Client, OfSet, Tag, Tags};
use self::traffic::{Change, Ended, Episode, Traffic};
use crate::caller::Family;
use crate::caller::declared::{Attribution, Origin};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{Names, Role, SetIndex, Word};
use crate::ledger::sighting::Exchange;
use crate::locks::lock;
use crate::outcome::{Ending, Outcome, UpstreamError};
use crate::verdict::Verdict;

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// What it is about: a set, an n8n; empty where there is one of its kind alone.
    pub about: Box<str>,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What to do, in sentences.
    pub remedy: String,
    /// Since when: the end of the first exchange that met it, or the first look that found it.
    pub since: Timestamp,
    /// Whom it hit, where exchanges have met it.
    pub hit: Option<Hit>,
}

/// The exchanges that met a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// How many exchanges, since keyward was started; nothing where all were before.
    pub requests: Option<u64>,
    /// Of how many bindings; at [`traffic::MOST_BINDINGS`] there may be more.
    pub bindings: usize,
    /// When the last of them ended.
    pub last: Timestamp,
}

/// What there is to say of sets and upstream beside the problems.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The sets, by position.
    pub sets: &'a [SetFacts],
    pub keys: &'a [Entry],
    /// What upstream is called in messages for people.
    pub upstream: &'a str,
}

/// What is to be known of a set where its key is at fault.
#[derive(Clone, Debug)]
pub struct SetFacts {
    pub name: std::sync::Arc<str>,
    /// Where its current key is read from; nothing where it learns that key from traffic.
    pub source: Option<String>,
    /// Whether n8n holds tokens, and keyward puts the key in.
    pub injects: bool,
}

/// All that is wrong, as it is told.
#[derive(Debug)]
pub struct Problems {
    traffic: Mutex<Traffic>,
    /// Whether all traffic is well, so that a good exchange needs no look at the rest.
    is_calm: AtomicBool,
    tags: Mutex<Tags>,
    /// Whether no good tag would change anything.
    are_tags_calm: AtomicBool,
    faults: Mutex<Faults>,
}

impl Problems {
    /// Without any, for that many sets.
    #[must_use]
    pub fn new(sets: usize) -> Self {
        let traffic = Mutex::new(Traffic::new(sets));
        Self {
            traffic,
            is_calm: AtomicBool::new(true),
            tags: Mutex::default(),
            are_tags_calm: AtomicBool::new(true),
            faults: Mutex::default(),
        }
    }

    /// Remembers from before the start that upstream refuses a set's current key.
    pub fn recall_refused(&self, set: SetIndex, key: Names, since: Timestamp) {
        self.recall(|traffic| traffic.recall_refused(set, key, since));
    }

    /// Takes in that upstream refuses a set's current key, or does no longer, as a check of that key found.
    pub fn note_check(&self, set: SetIndex, key: Names, word: Word, now: Timestamp) {
        self.recall(|traffic| match word {
            Word::Refused => traffic.note_refusal(set, key, now),
            Word::Accepted => traffic.forget_refusal(set, key),
        });
    }

    /// Remembers from before the start what the last sightings of all bindings show: see [`mod@recalled`]. `keys` are those of
    /// all sets; `failed` says how many exchanges upstream failed since a moment, its hour included.
    pub fn recall_last(&self, last: &[Last], keys: &[Entry], failed: impl Fn(Timestamp) -> u64) {
        let recalled = recalled(last, keys, failed);
        self.recall(|traffic| traffic.recall(recalled));
    }

    /// Makes room for that many sets; what is said of those of before stays.
    pub fn make_room(&self, sets: usize) {
        lock(&self.traffic).make_room(sets);
    }

    fn recall(&self, with: impl FnOnce(&mut Traffic)) {
        let mut traffic = lock(&self.traffic);
        with(&mut traffic);
        self.is_calm.store(traffic.is_calm(), Ordering::Relaxed);
    }

    /// Takes in an exchange that ended so; `now` is asked only where there is anything to note. Gives what changed by it.
    pub fn note(&self, exchange: &Exchange, outcome: Outcome, now: impl FnOnce() -> Timestamp) -> Vec<Change> {
        if is_silent(exchange, outcome) || (is_well(outcome) && self.is_calm.load(Ordering::Relaxed)) {
            return Vec::new();
        }
        let ended = Ended {
            set: exchange.judgement.set,
            binding: exchange.binding.id(),
            began: exchange.at,
            at: now(),
            outcome,
            key: exchange.key_upstream(),
            is_current: exchange.injected.is_some() || exchange.judgement.verdict == Verdict::Current,
            is_billed: exchange.method == http::Method::POST || exchange.was_told().is_some(),
            cause: exchange.cause(),
        };
        let mut traffic = lock(&self.traffic);
        let changes = traffic.note(&ended);
        self.is_calm.store(traffic.is_calm(), Ordering::Relaxed);
        changes
    }

    /// Takes in what the tag of an exchange shows, once for each.
    pub fn note_tag(&self, exchange: &Exchange) {
        if exchange.doubts.invalid_tag || !self.are_tags_calm.load(Ordering::Relaxed) {
            self.note_doubtful_tag(exchange);
        }
    }

    #[cold]
    fn note_doubtful_tag(&self, exchange: &Exchange) {
        let Some(tag) = tag_of(exchange) else { return };
        let client = Client { set: exchange.judgement.set, peer: exchange.peer, family: exchange.family };
        self.with_tags(|tags| tags.note(tag, client, exchange.binding.id(), exchange.at));
    }

    /// Forgets what is over by then.
    pub fn pass_time(&self, now: Timestamp) {
        self.with_tags(|tags| tags.forget(now));
    }

    fn with_tags(&self, with: impl FnOnce(&mut Tags)) {
        let mut tags = lock(&self.tags);
        with(&mut tags);
        self.are_tags_calm.store(tags.is_calm(), Ordering::Relaxed);
    }

    /// All that there is of a kind now: what it is about, and what is wrong.
    pub fn set(&self, kind: ProblemKind, found: Vec<(Box<str>, String)>, now: Timestamp) {
        self.faults().set(kind, found, now);
    }

    /// What a number is now that grows while something is wrong.
    pub fn count(&self, kind: ProblemKind, total: u64, what: &str, now: Timestamp) {
        self.faults().count(kind, total, what, now);
    }

    /// All that is wrong now: what matters most comes first, and of that what began first.
    #[must_use]
    pub fn open(&self, about: &About<'_>) -> Vec<Problem> {
        let mut problems: Vec<_> = self.faults().open().iter().map(|fault| of_fault(fault, about)).collect();
        let mut traffic = lock(&self.traffic);
        for position in 0..about.sets.len() {
            if let Some(set) = SetIndex::nth(position) {
                traffic.settle(set, &current_keys(about.keys, set));
            }
        }
        self.is_calm.store(traffic.is_calm(), Ordering::Relaxed);
        problems.extend(traffic.open().map(|(kind, set, episode)| of_episode(kind, set, episode, about)));
        let tags = lock(&self.tags).open((0..about.sets.len()).filter_map(SetIndex::nth));
        problems.extend(tags.iter().map(|tags| of_tags(tags, about)));
        problems.sort_by_key(|problem| (std::cmp::Reverse(problem.kind.severity()), problem.since, problem.kind));
        problems
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }
}

/// Whether an exchange shows nothing of upstream.
fn is_silent(exchange: &Exchange, outcome: Outcome) -> bool {
    exchange.is_preflight || exchange.refusal.is_some() || matches!(outcome.ending, Ending::ShutDown | Ending::Failed)
}

/// What the tag of an exchange shows; nothing where it has none, or none that could be better: n8n's Instance AI resolves no
/// expression, and a preflight carries no tag.
fn tag_of(exchange: &Exchange) -> Option<Tag> {
    let is_unresolved = exchange.origin == Origin::InstanceAi;
    if exchange.is_preflight || (is_unresolved && exchange.family == Family::Agent) {
        return None;
    }
    match (exchange.doubts.invalid_tag, is_unresolved) {
        (true, true) => Some(Tag::Unresolved),
        (true, false) => Some(Tag::Unreadable),
        (false, _) => match exchange.attribution {
            Attribution::Tag | Attribution::Header | Attribution::Path => Some(Tag::Good),
            Attribution::Organization | Attribution::None => None,
        },
    }
}

/// Whether nothing is wrong with upstream, nor with a key.
fn is_well(outcome: Outcome) -> bool {
    let is_failure = matches!(outcome.ending, Ending::Unreachable | Ending::TimedOut | Ending::CutOff)
        || outcome.status.is_some_and(|status| status.is_server_error());
    !is_failure && !matches!(outcome.error, UpstreamError::InvalidApiKey | UpstreamError::Quota)
}

fn current_keys(keys: &[Entry], set: SetIndex) -> Vec<Fingerprint> {
    let current = keys.iter().filter(|entry| entry.set == set && entry.role == Role::Current);
    current.map(|entry| entry.names.fingerprint).collect()
}

fn of_fault(fault: &Fault, about: &About<'_>) -> Problem {
    let set = about.sets.iter().position(|set| *set.name == *fault.about).and_then(SetIndex::nth);
    let lacks_key =
        fault.kind == ProblemKind::KeyUnreadable && set.is_some_and(|set| current_keys(about.keys, set).is_empty());
    Problem {
        kind: fault.kind,
        about: fault.about.clone(),
        what: format!("{}.", fault.what.trim_end_matches('.')),
        remedy: if lacks_key { NO_KEY_AT_ALL.to_owned() } else { fault.kind.remedy(&fault.about) },
        since: fault.since,
        hit: None,
    }
}

fn of_episode(kind: ProblemKind, set: Option<SetIndex>, episode: &Episode, about: &About<'_>) -> Problem {
    let facts = set.and_then(|set| about.sets.get(set.position()));
    let name = facts.map_or("", |facts| &facts.name);
    let requests = (episode.requests > 0).then_some(episode.requests);
    let hit = Hit { requests, bindings: episode.bindings.len(), last: episode.last };
    Problem {
        kind,
        about: name.into(),
        what: what_happens(kind, set, episode, about),
        remedy: match facts.filter(|_| kind == ProblemKind::CurrentKeyRefused) {
            Some(facts) => match before_wrong_key(set, episode, about) {
                Some(before) => right_key(facts, before),
                None => another_key(facts),
            },
            None => kind.remedy(name),
        },
        since: episode.since,
        hit: (hit.bindings > 0).then_some(hit),
    }
}

fn of_tags(tags: &OfSet, about: &About<'_>) -> Problem {
    let name = about.sets.get(tags.set.position()).map_or("", |facts| &facts.name);
    let why = if tags.is_unresolved {
        "carry n8n's expression as it is written (`{{ … }}`)"
    } else {
        "carry a tag that cannot be read"
    };
    let shown = tags.clients.iter().take(MOST_CLIENTS);
    let mut from: Vec<_> = shown.map(|(one, _)| format!("the {} client at {}", one.family, one.peer)).collect();
    from.extend(match tags.clients.len().saturating_sub(MOST_CLIENTS) {
        0 => None,
        more => Some(format!("{more} more")),
    });
    Problem {
        kind: ProblemKind::TagUnreadable,
        about: name.into(),
        what: format!(
            "Requests to set `{name}` {why}, so that their workflows are not known: those of {}.",
            from.join(", ")
        ),
        remedy: ProblemKind::TagUnreadable.remedy(name),
        since: tags.since,
        hit: Some(Hit { requests: Some(tags.requests), bindings: tags.bindings, last: tags.last }),
    }
}

/// How a set gets another key: the one way that it has.
fn another_key(set: &SetFacts) -> String {
    let place = match (&set.source, set.injects) {
        (None, _) => "into n8n's credential".to_owned(),
        (Some(source), true) => format!("into {source}"),
        (Some(source), false) => format!("into {source} and into n8n's credential"),
    };
    format!("{WHY_REFUSED} Make a new key and put it {place}.")
}

/// The key that a set had before, where upstream never accepted the one that it has now, but accepted that one when it saw it
/// last: then the new key is the wrong one, and not one that was revoked.
fn before_wrong_key(set: Option<SetIndex>, episode: &Episode, about: &About<'_>) -> Option<Names> {
    let mut own = about.keys.iter().filter(|entry| Some(entry.set) == set);
    let refused = episode.key?.fingerprint;
    let is_wrong = |entry: &Entry| entry.names.fingerprint == refused && entry.never_accepted;
    own.clone().find(|entry| is_wrong(entry))?;
    let before = own.find(|entry| matches!(entry.role, Role::Previous { .. }))?;
    (before.word == Some(Word::Accepted) && before.revoked.is_none()).then_some(before.names)
}

/// What is done about a key that was never right.
fn right_key(set: &SetFacts, before: Names) -> String {
    let place = set.source.as_deref().unwrap_or("the set");
    format!(
        "See whether the key in {place} is whole and the right one. Put the right one there, or put {before} back. Until then \
         leave n8n's credentials as they are: they work with that."
    )
}

const WHY_REFUSED: &str =
    "Look in OpenAI's dashboard whether the key was revoked, has expired or belongs to a deleted project.";

/// Of a set whose key was not read once, so that there is none from before.
const NO_KEY_AT_ALL: &str = "Put the key there, alone and in one line. Until then keyward knows no current key, and cannot tell \
                             which keys are right: leave n8n's credentials as they are.";

fn what_happens(kind: ProblemKind, of: Option<SetIndex>, episode: &Episode, about: &About<'_>) -> String {
    let set = of.and_then(|set| about.sets.get(set.position())).map_or("", |facts| &facts.name);
    let known =
        |key: Names| about.keys.iter().map(|entry| entry.names).find(|names| names.fingerprint == key.fingerprint);
    let key = episode.key.map(|key| format!(" {}", known(key).unwrap_or(key))).unwrap_or_default();
    let upstream = about.upstream;
    if kind == ProblemKind::CurrentKeyRefused {
        let before = before_wrong_key(of, episode, about).map_or_else(String::new, |before| {
            format!(", and never accepted it. The key before it, {before}, was accepted when it was sent last")
        });
        return format!("{upstream} refuses the current key{key} of set `{set}` as invalid{before}.");
    }
    if kind == ProblemKind::QuotaUsedUp {
        return format!("The account of the current key{key} of set `{set}` is out of credit, or at its limit.");
    }
    if episode.requests == 0 {
        let was = if kind == ProblemKind::UpstreamUnreachable {
            "could not be reached before keyward was restarted, and has not answered since"
        } else {
            "failed before keyward was restarted, and no three good answers in a row came since"
        };
        return format!("{upstream} {was}.");
    }
    let verb = if kind == ProblemKind::UpstreamUnreachable { "cannot be reached" } else { "gives no whole answer" };
    match (episode.status, &episode.cause) {
        (_, Some(cause)) => format!("{upstream} {verb}: {}.", cause.trim_start_matches("upstream cannot be reached: ")),
        (Some(status), None) => format!("{upstream} answers with {status}."),
        (None, None) => format!("{upstream} {verb}."),
    }
}

/// How many clients a sentence names.
const MOST_CLIENTS: usize = 3;
