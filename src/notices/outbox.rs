//! What waits to be sent, and what each receiver was told: in memory, and in the store where there is one.
//!
//! A message stands in the store before it is sent, and leaves it when it has arrived: so a process that is killed in between
//! sends it again, under the same id. Where the store is off or cannot be written, all of it is in memory alone, which
//! [`Outbox::trouble`] says; what was not written then is written later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::thread::{Event, Thread, Told};
use crate::clock::Timestamp;
use crate::ledger::kept_notices::Kept;
use crate::ledger::sqlite::Sqlite;
use crate::ledger::store::{Store, StoreError};
use crate::telemetry::event::with_causes;

/// A message that waits, or that is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The same however often it is tried: `msg_` and 24 hex digits.
    pub id: Box<str>,
    pub receiver: Box<str>,
    /// The id of the subject; empty for a test.
    pub subject: Box<str>,
    pub event: Event,
    /// What it says, in a line.
    pub title: Box<str>,
    pub body: Box<str>,
    pub made: Timestamp,
    pub attempts: u32,
    /// It is not tried before.
    pub due: Timestamp,
    /// What came of the last attempt.
    pub fault: Option<Box<str>>,
    /// When it was given up.
    pub given_up: Option<Timestamp>,
    /// What its receiver was told of the subject before.
    #[serde(default)]
    pub before: Option<Told>,
}

impl Waiting {
    /// One that is made now, and is due at once; `to` names its receiver and its subject.
    #[must_use]
    pub fn new(id: Box<str>, to: ThreadId, event: Event, (title, body): (Box<str>, Box<str>), now: Timestamp) -> Self {
        let (receiver, subject) = to;
        let (attempts, fault, given_up, before) = (0, None, None, None);
        Self { id, receiver, subject, event, title, body, made: now, attempts, due: now, fault, given_up, before }
    }
}

/// What one receiver was told of one subject is found by both.
pub type ThreadId = (Box<str>, Box<str>);

/// What waits, and what was told.
#[derive(Debug)]
pub struct Outbox {
    messages: VecDeque<Waiting>,
    threads: BTreeMap<ThreadId, Thread>,
    muted_until: Option<Timestamp>,
    /// How many messages there was no room for.
    dropped: u64,
    changed: Changed,
    store: StoreState,
}

/// What the store is yet to be told.
#[derive(Debug, Default)]
struct Changed {
    messages: BTreeSet<Box<str>>,
    threads: BTreeSet<ThreadId>,
    is_mute: bool,
}

struct StoreState {
    /// Nothing where it is off.
    path: Option<PathBuf>,
    open: Option<Sqlite>,
    /// Whether what stood there was read.
    is_read: bool,
    trouble: Option<String>,
}

// === impl Outbox ===

impl Outbox {
    /// With what the store in that file remembers; nothing is kept where there is none.
    #[must_use]
    pub fn open(path: Option<PathBuf>) -> Self {
        let store = StoreState { path, open: None, is_read: false, trouble: None };
        let mut outbox = Self {
            messages: VecDeque::new(),
            threads: BTreeMap::new(),
            muted_until: None,
            dropped: 0,
            changed: Changed::default(),
            store,
        };
        outbox.save();
        outbox
    }

    /// What is wrong with the store, so that all of this is in memory alone.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.store.trouble.as_deref()
    }

    /// Whether there is a store at all.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.store.path.is_some()
    }

    /// How many messages there was no room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Until when nothing is told.
    #[must_use]
    pub fn muted_until(&self) -> Option<Timestamp> {
        self.muted_until
    }

    /// Has nothing told until that moment; with none, has things told again.
    pub fn mute(&mut self, until: Option<Timestamp>) {
        self.muted_until = until;
        self.changed.is_mute = true;
    }

    // === Threads ===

    /// All threads of a receiver.
    pub fn threads_of<'a>(&'a self, receiver: &'a str) -> impl Iterator<Item = &'a Thread> {
        self.threads.iter().filter(move |((of, _), _)| **of == *receiver).map(|(_, thread)| thread)
    }

    /// A thread to be changed, which `begin` begins where there is none.
    pub fn thread(&mut self, id: ThreadId, begin: impl FnOnce() -> Thread) -> &mut Thread {
        self.threads.entry(id).or_insert_with(begin)
    }

    /// A thread to be changed.
    pub fn thread_mut(&mut self, id: &ThreadId) -> Option<&mut Thread> {
        self.threads.get_mut(id)
    }

    /// The names of all threads.
    #[must_use]
    pub fn thread_ids(&self) -> Vec<ThreadId> {
        self.threads.keys().cloned().collect()
    }

    /// Has a thread written, where its receiver was told of it.
    pub fn keep_thread(&mut self, id: &ThreadId) {
        if self.threads.get(id).is_some_and(Thread::is_told) {
            self.changed.threads.insert(id.clone());
        }
    }

    /// Removes a thread, from the store as well.
    pub fn forget_thread(&mut self, id: &ThreadId) {
        self.threads.remove(id);
        self.changed.threads.insert(id.clone());
    }

    /// Whether a receiver is yet to be told of a subject.
    #[must_use]
    pub fn is_to_be_told(&self, (receiver, subject): &ThreadId) -> bool {
        self.waiting_for(receiver).any(|message| message.subject == *subject)
    }

    // === Messages ===

    /// Adds a message. One about the same subject that has not been tried yet, and says less than this one, makes way for it.
    pub fn add(&mut self, mut message: Waiting) {
        let is_said_again = |old: &Waiting| {
            let is_same = old.receiver == message.receiver && old.subject == message.subject;
            is_same
                && old.given_up.is_none()
                && old.attempts == 0
                && matches!(old.event, Event::Changed | Event::Reminder)
        };
        let said_again: Vec<_> = self
            .messages
            .iter()
            .filter(|old| is_said_again(old))
            .map(|old| (old.id.clone(), old.before.clone()))
            .collect();
        if let Some((_, before)) = said_again.first() {
            message.before.clone_from(before);
        }
        for (id, _) in said_again {
            self.remove(&id);
        }
        if self.messages.len() >= MOST_MESSAGES {
            self.make_room();
        }
        self.changed.messages.insert(message.id.clone());
        self.messages.push_back(message);
    }

    /// What was given up goes before what waits.
    fn make_room(&mut self) {
        let given_up = self.messages.iter().find(|message| message.given_up.is_some());
        let id = given_up.or(self.messages.front()).map(|message| message.id.clone());
        self.dropped += u64::from(given_up.is_none());
        if let Some(id) = id {
            self.remove(&id);
        }
    }

    /// All messages, the oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Waiting> {
        self.messages.iter()
    }

    /// The message that a receiver is to be sent next, by then. None comes before an older one about the same.
    #[must_use]
    pub fn next_for<'a>(&'a self, receiver: &'a str, now: Timestamp) -> Option<&'a Waiting> {
        let mut held = BTreeSet::new();
        self.waiting_for(receiver).find(|message| {
            let is_free = message.event == Event::Test || !held.contains(&message.subject);
            let is_next = is_free && message.due <= now;
            held.insert(&message.subject);
            is_next
        })
    }

    /// What a receiver is yet to be sent, the oldest first.
    pub fn waiting_for<'a>(&'a self, receiver: &'a str) -> impl Iterator<Item = &'a Waiting> {
        self.messages.iter().filter(move |message| *message.receiver == *receiver && message.given_up.is_none())
    }

    /// A message to be changed.
    pub fn message(&mut self, id: &str) -> Option<&mut Waiting> {
        self.changed.messages.insert(id.into());
        self.messages.iter_mut().find(|message| *message.id == *id)
    }

    /// Sends a message no more. Its receiver knows what it was told before: so that something is over is never told to one
    /// that was not told that it began.
    pub fn give_up(&mut self, id: &str, now: Timestamp) {
        let Some(place) = self.messages.iter().position(|message| *message.id == *id) else { return };
        let message = &mut self.messages[place];
        message.given_up = Some(now);
        self.changed.messages.insert(id.into());
        let (thread, made, before) =
            ((message.receiver.clone(), message.subject.clone()), message.made, message.before.take());
        let is_later =
            |later: &&mut Waiting| later.receiver == thread.0 && later.subject == thread.1 && later.given_up.is_none();
        if let Some(later) = self.messages.range_mut(place + 1..).find(is_later) {
            later.before = before;
            self.changed.messages.insert(later.id.clone());
        } else if let Some(told) = self.threads.get_mut(&thread) {
            told.take_back(made, before.as_ref());
            self.changed.threads.insert(thread);
        }
    }

    /// Removes a message that has arrived, or is not to be sent.
    pub fn remove(&mut self, id: &str) {
        self.messages.retain(|message| *message.id != *id);
        self.changed.messages.insert(id.into());
    }

    /// Forgets the tests that did not arrive at a receiver, now that one has.
    pub fn forget_failed_tests(&mut self, receiver: &str) {
        let is_one = |message: &&Waiting| {
            *message.receiver == *receiver && message.event == Event::Test && message.given_up.is_some()
        };
        let failed: Vec<_> = self.messages.iter().filter(is_one).map(|message| message.id.clone()).collect();
        for id in failed {
            self.remove(&id);
        }
    }

    /// Forgets what was given up long ago.
    pub fn sweep(&mut self, now: Timestamp) {
        let is_old = |message: &Waiting| message.given_up.is_some_and(|at| now.since(at) >= GIVEN_UP_IS_SHOWN);
        let old: Vec<_> =
            self.messages.iter().filter(|message| is_old(message)).map(|message| message.id.clone()).collect();
        for id in old {
            self.remove(&id);
        }
    }

    // === The store ===

    /// Writes what has changed. What cannot be written is written later.
    pub fn save(&mut self) {
        let saved = self.try_to_save();
        self.store.trouble = saved.err().map(|error| {
            self.store.open = None;
            with_causes(&error)
        });
    }

    fn try_to_save(&mut self) -> Result<(), StoreError> {
        let Some(path) = &self.store.path else { return Ok(()) };
        self.store.open.take_if(|store| !store.is_in_place());
        if self.store.open.is_none() {
            self.store.open = Some(Sqlite::open(path)?);
            if self.store.is_read {
                self.tell_all();
            } else {
                self.read()?;
            }
        }
        let changes = self.changes();
        if let Some(store) = self.store.open.as_mut().filter(|_| !changes.is_empty()) {
            store.write_notices(&changes)?;
        }
        self.changed = Changed::default();
        Ok(())
    }

    /// Takes over what stands in the store. What was told meanwhile stays as it is.
    fn read(&mut self) -> Result<(), StoreError> {
        let Some(store) = &self.store.open else { return Ok(()) };
        for (id, thread) in parsed::<Thread>(store.notices(THREAD)?) {
            let Some((receiver, subject)) = id.split_once('\n') else { continue };
            let id = (receiver.into(), subject.into());
            if !self.threads.get(&id).is_some_and(Thread::is_told) {
                self.threads.insert(id, thread);
            }
        }
        let mut messages: Vec<Waiting> = parsed(store.notices(MESSAGE)?).map(|(_, message)| message).collect();
        messages.extend(self.messages.drain(..));
        messages.sort_by_key(|message| message.made);
        self.messages = messages.into();
        let muted = parsed(store.notices(MUTE)?).map(|(_, until): (_, Timestamp)| until).next();
        self.muted_until = self.muted_until.or(muted);
        self.store.is_read = true;
        Ok(())
    }

    /// It may be another file, which knows of nothing.
    fn tell_all(&mut self) {
        self.changed.messages.extend(self.messages.iter().map(|message| message.id.clone()));
        let told = self.threads.iter().filter(|(_, thread)| thread.is_told()).map(|(id, _)| id.clone());
        self.changed.threads.extend(told);
        self.changed.is_mute = true;
    }

    fn changes(&self) -> Vec<Kept> {
        let message = |id: &str| {
            let found = self.messages.iter().find(|message| *message.id == *id);
            Kept { kind: MESSAGE, id: id.into(), value: found.map(in_json) }
        };
        let thread = |id: &ThreadId| {
            let name = format!("{}\n{}", id.0, id.1).into();
            Kept { kind: THREAD, id: name, value: self.threads.get(id).map(in_json) }
        };
        let mute = || Kept { kind: MUTE, id: MUTE.into(), value: self.muted_until.as_ref().map(in_json) };
        let messages = self.changed.messages.iter().map(|id| message(id));
        messages.chain(self.changed.threads.iter().map(thread)).chain(self.changed.is_mute.then(mute)).collect()
    }
}

impl std::fmt::Debug for StoreState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreState").field("path", &self.path).field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

/// What a later keyward wrote, and this one cannot read, is passed over.
fn parsed<T: DeserializeOwned>(kept: Vec<Kept>) -> impl Iterator<Item = (Box<str>, T)> {
    kept.into_iter().filter_map(|kept| Some((kept.id, serde_json::from_str(kept.value.as_deref()?).ok()?)))
}

fn in_json(value: &impl Serialize) -> String {
    // None of them has a map whose keys are no texts.
    serde_json::to_string(value).unwrap_or_default()
}

const MESSAGE: &str = "message";

const THREAD: &str = "thread";

const MUTE: &str = "mute";

/// How many messages are held for all receivers together.
const MOST_MESSAGES: usize = 2_000;

/// How long a message that was given up is shown.
const GIVEN_UP_IS_SHOWN: Duration = Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests;
