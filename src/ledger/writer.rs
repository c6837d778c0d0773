//! The ledger's own thread: every quarter of a second in which something happened it looks at the bindings that changed,
//! and tells the store.
//!
//! Nothing waits for it. What the store does not take stays where it is, in the memory of the bindings. Each of them
//! knows how much of it is still to be told: so what waits is bounded by the bindings, however long it lasts. A batch that
//! failed is kept and tried again as it was, under its number, since it is not known whether it arrived.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Ledger;
use super::binding::{Binding, Gathered, Memory, Unsaved};
use super::closed::ClosedIncidents;
use super::expiries;
use super::hours::Hours;
use super::identity::BindingId;
use super::incident::Incident;
use super::sqlite::Sqlite;
use super::store::{Batch, Change, Fault, Limits, Store, StoreError};
use crate::clock::{Clock, Timestamp};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::history::History;
use crate::keys::reloader::{Kept, Reloader};
use crate::locks::lock;
use crate::telemetry::event::with_causes;

/// Brings the ledger into the store, on a thread of its own once it is started.
pub struct Writer {
    ledger: Arc<Ledger>,
    status: Arc<Status>,
    clock: Clock,
    retention: Duration,
    /// Where the store is; nothing where it is off.
    path: Option<PathBuf>,
    store: Option<Sqlite>,
    /// The store that was read, by its number.
    known: Option<i64>,
    /// What it remembered of the sets' keys, until it is taken.
    recalled: Option<History>,
    number: u64,
    sequence: u64,
    /// What was handed to the store and may not have arrived.
    batch: Option<Batch>,
    /// What the store has yet to be told.
    waiting: Waiting,
    swept: Swept,
    retry: Retry,
    /// Whether what OpenAI said of keys was read from a file of its own, which goes once the store has it.
    has_import: bool,
}

/// What the store has yet to be told, beside what the bindings keep of it themselves.
#[derive(Default)]
struct Waiting {
    bindings: HashMap<BindingId, Arc<Binding>>,
    closed: VecDeque<(BindingId, Incident, u64)>,
    hours: Hours,
    history: Option<History>,
}

/// When what was looked through last.
#[derive(Default)]
struct Swept {
    memory: Option<Timestamp>,
    store: Option<Timestamp>,
    ring: u64,
    history: Option<Timestamp>,
}

/// When to try again after trouble.
struct Retry {
    at: Option<Instant>,
    pause: Duration,
    said: Option<String>,
}

/// How the store is, to be told.
#[derive(Debug, Default)]
pub struct Status {
    trouble: Mutex<Option<String>>,
    is_on: bool,
    is_read: AtomicBool,
    batches: AtomicU64,
    failures: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
    /// Since when something waits, in milliseconds since the Unix epoch; 0 where nothing does.
    since: AtomicI64,
}

/// A writer whose thread runs.
pub struct Running {
    ledger: Arc<Ledger>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// For the store in that file, or for none. `number` is one that no other writer has.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, path: Option<PathBuf>, retention: Duration, clock: Clock, number: u64) -> Self {
        let status = Arc::new(Status { is_on: path.is_some(), ..Status::default() });
        Self {
            ledger,
            status,
            clock,
            retention,
            path,
            store: None,
            known: None,
            recalled: None,
            number,
            sequence: 0,
            batch: None,
            waiting: Waiting::default(),
            swept: Swept::default(),
            retry: Retry { at: None, pause: FIRST_PAUSE, said: None },
            has_import: false,
        }
    }

    /// The state of the store, for those who tell it: it changes while the writer runs.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Reads what the store remembers into the ledger, and gives what it remembers of the sets' keys, which it knows by the
    /// fingerprint key of that name. What goes wrong is said, and tried again later.
    pub fn open(&mut self, named_by: Option<Fingerprint>) -> Kept {
        let Some(path) = self.path.clone() else { return Kept::InFile };
        if let Err(error) = self.connect(named_by) {
            self.note_trouble(&error);
            if matches!(error.fault, Fault::NamedOtherwise) {
                return Kept::NamedOtherwise(path);
            }
        }
        Kept::InStore(self.recalled.take().unwrap_or_default())
    }

    /// Reads what the store remembers into the ledger.
    pub fn read(&mut self, named_by: Option<Fingerprint>) -> Result<History, StoreError> {
        self.connect(named_by)?;
        Ok(self.recalled.take().unwrap_or_default())
    }

    /// Starts the thread. Without fingerprints that last, nothing is worth keeping.
    pub fn start(mut self, reloader: Arc<Reloader>) -> io::Result<Running> {
        if !reloader.has_folder() {
            (self.path, self.store) = (None, None);
        }
        self.import_expiries(&reloader);
        let ledger = Arc::clone(&self.ledger);
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || self.run(&reloader))?;
        Ok(Running { ledger, thread })
    }

    /// A file that cannot be read is told, and stays.
    fn import_expiries(&mut self, reloader: &Reloader) {
        let Some(folder) = reloader.folder() else { return };
        match self.ledger.expiries.import(folder) {
            Ok(are_any) => self.has_import = are_any,
            Err(error) => tracing::warn!(event = "state", "{}", with_causes(&error)),
        }
    }

    /// Writes what there is now, once. For a ledger that no other thread works on.
    pub fn write_once(mut self, reloader: &Reloader) -> Result<(), StoreError> {
        self.gather(reloader);
        self.write(reloader)
    }

    fn run(mut self, reloader: &Reloader) {
        let mut looked = Instant::now();
        while !self.ledger.inbox.wait_for_company(IDLE, FLUSH, looked) {
            looked = Instant::now();
            self.turn(reloader);
        }
        self.finish(reloader);
    }

    /// Looks at what changed, and tells the store if it listens: what the thread does again and again.
    pub fn turn(&mut self, reloader: &Reloader) {
        self.ledger.tell_time(self.clock.now());
        self.sweep(reloader);
        self.gather(reloader);
        let may_try = self.retry.at.is_none_or(|at| at <= Instant::now());
        if self.path.is_some() && may_try {
            let done =
                self.reconnect(reloader).and_then(|()| self.write(reloader)).and_then(|()| self.forget(reloader));
            match done {
                Ok(()) => self.note_success(reloader),
                Err(error) => self.note_trouble(&error),
            }
        }
        self.status.count(&self.waiting, self.batch.as_ref(), self.clock.now());
    }

    /// Tells the store all there is. One that is merely locked is given a little time.
    fn finish(&mut self, reloader: &Reloader) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.retry.at = None;
            self.turn(reloader);
            let waits_for_others = self.retry.said.is_some() && self.store.is_some();
            if !waits_for_others || Instant::now() >= deadline {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let left = self.status.waiting();
        if left > 0 {
            tracing::error!(event = "store", bindings = left, "what {left} bindings did last is lost with the store");
        }
    }

    // === The store ===

    /// Opens the store, and reads it where it was not read before: also one that cannot be written for now.
    fn connect(&mut self, named_by: Option<Fingerprint>) -> Result<(), StoreError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let store = Sqlite::open(&path).inspect_err(|error| {
            if self.known.is_none() && error.fault.is_of_writing() {
                // What is wrong is said of the attempt to write.
                let _ = Sqlite::open_unwritable(&path).and_then(|mut store| self.take_in(&mut store, named_by));
            }
        });
        let mut store = store?;
        if self.known.is_none() {
            self.take_in(&mut store, named_by)?;
        } else if !store.is_named_by(named_by)? {
            return Err(StoreError { path, fault: Fault::NamedOtherwise, source: None });
        } else if self.known != Some(store.id()) && store.is_new() {
            self.tell_all_again();
        }
        // A store that was put in its place is told what happens from now on, and nothing twice.
        self.known = Some(store.id());
        self.store = Some(store);
        Ok(())
    }

    /// Reads what the store remembers into the ledger.
    fn take_in(&mut self, store: &mut Sqlite, named_by: Option<Fingerprint>) -> Result<(), StoreError> {
        if !store.is_named_by(named_by)? {
            let path = self.path.clone().unwrap_or_default();
            return Err(StoreError { path, fault: Fault::NamedOtherwise, source: None });
        }
        let remembered = store.load(self.ledger.bounds.total)?;
        self.recalled = Some(self.ledger.absorb(remembered));
        self.status.is_read.store(true, Ordering::Relaxed);
        self.known = Some(store.id());
        Ok(())
    }

    fn reconnect(&mut self, reloader: &Reloader) -> Result<(), StoreError> {
        if let Some(store) = self.store.take_if(|store| !store.is_in_place()) {
            drop(store);
            let path = self.path.clone().unwrap_or_default();
            tracing::warn!(event = "store", "{}", StoreError { path, fault: Fault::Gone, source: None });
        }
        if self.store.is_some() {
            return Ok(());
        }
        let connected = self.connect(Some(reloader.ring().named_by()));
        if let Some(history) = self.recalled.take() {
            reloader.know_sets(&self.ledger.sets());
            let _ = reloader.recall(history);
        }
        connected?;
        // A new file knows of no set.
        self.waiting.history = reloader.news(true);
        Ok(())
    }

    /// Writes batch after batch, until nothing is left.
    fn write(&mut self, reloader: &Reloader) -> Result<(), StoreError> {
        let mut wrote = false;
        loop {
            if self.batch.is_none() {
                self.batch = self.compose(reloader);
            }
            let (Some(batch), Some(store)) = (&self.batch, &mut self.store) else { break };
            store.write(batch)?;
            wrote = true;
            self.batch = None;
            self.status.batches.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(store) = self.store.as_ref().filter(|_| wrote) {
            store.rest();
        }
        Ok(())
    }

    fn forget(&mut self, reloader: &Reloader) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.swept.store.is_some_and(|last| now.since(last) < FORGETTING) {
            return Ok(());
        }
        if let Some(store) = &mut self.store {
            store.forget(Limits::new(self.retention, now), &reloader.ring().previous_alive())?;
        }
        self.swept.store = Some(now);
        Ok(())
    }

    fn note_success(&mut self, reloader: &Reloader) {
        reloader.set_file_aside();
        if let Some(folder) = reloader.folder().filter(|_| std::mem::take(&mut self.has_import)) {
            match folder.set_aside(expiries::FILE) {
                Ok(()) => tracing::info!(event = "state", "the store has taken over what expiries.json remembered"),
                Err(error) => tracing::warn!(event = "state", "{}", with_causes(&error)),
            }
        }
        if self.retry.said.take().is_some() {
            tracing::info!(event = "store", "the store is written again, and nothing of the ledger is missing in it");
        }
        self.retry = Retry { at: None, pause: FIRST_PAUSE, said: None };
        self.status.set_trouble(None);
    }

    /// Said once, until it is another one.
    fn note_trouble(&mut self, error: &StoreError) {
        match error.fault {
            Fault::Locked | Fault::Full => {}
            Fault::Closed
            | Fault::Newer { .. }
            | Fault::Foreign
            | Fault::Damaged
            | Fault::ReadOnly
            | Fault::NamedOtherwise
            | Fault::Gone
            | Fault::Other => self.store = None,
        }
        let text = with_causes(error);
        if self.retry.said.as_ref() != Some(&text) {
            let kept = if self.known.is_some() { "what happens" } else { "the ledger" };
            tracing::error!(event = "store", "{kept} is kept in memory until its store can be used: {text}");
        }
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        self.status.set_trouble(Some(text.clone()));
        let pause = self.retry.pause;
        self.retry = Retry { at: Some(Instant::now() + pause), pause: (2 * pause).min(LAST_PAUSE), said: Some(text) };
    }

    // === What to tell it ===

    /// Takes over what the bindings have gathered.
    fn gather(&mut self, reloader: &Reloader) {
        let ledger = Arc::clone(&self.ledger);
        ledger.take_dirty(|binding| {
            let Gathered { closed, tallies, sent: _, lost } = self.ledger.take_gathered(&binding);
            self.status.lost.fetch_add(lost, Ordering::Relaxed);
            if self.path.is_some() {
                for tally in &tallies {
                    self.waiting.hours.add(tally.kind, tally.exchanges);
                }
                let id = binding.id();
                self.waiting.closed.extend(closed.into_iter().map(|(incident, added)| (id, incident, added)));
                self.waiting.bindings.insert(id, binding);
            }
        });
        let surplus = self.waiting.closed.len().saturating_sub(ClosedIncidents::TOTAL);
        self.status.lost.fetch_add(self.waiting.closed.drain(..surplus).len() as u64, Ordering::Relaxed);
        self.ledger.settle_alone();
        self.gather_history(reloader);
    }

    fn gather_history(&mut self, reloader: &Reloader) {
        if self.path.is_none() {
            return;
        }
        let now = self.clock.now();
        let look_again = self.swept.history.is_none_or(|last| now.since(last) >= LOOK_AGAIN);
        if let Some(history) = reloader.news(look_again) {
            (self.waiting.history, self.swept.history) = (Some(history), Some(now));
        }
    }

    /// Puts the next batch together; nothing where nothing waits. What is in it counts as told.
    fn compose(&mut self, reloader: &Reloader) -> Option<Batch> {
        let evidence = self.ledger.take_evidence(EVIDENCE);
        let (projects, expiries) = (self.ledger.projects.take_news(), self.ledger.expiries.take_news());
        let is_silent = evidence.is_empty() && projects.is_empty() && expiries.is_empty();
        if is_silent && self.waiting.is_empty() {
            return None;
        }
        let ids: Vec<_> = self.waiting.bindings.keys().take(BATCH).copied().collect();
        let changed: Vec<_> = ids.into_iter().filter_map(|id| self.waiting.bindings.remove(&id)).collect();
        let mut incidents = Vec::new();
        let bindings = changed.into_iter().map(|binding| self.change_of(binding, &mut incidents)).collect();
        // Behind all bindings: each has one that is told of here or was before.
        if self.waiting.bindings.is_empty() {
            incidents.extend(self.waiting.closed.drain(..));
        }
        let hours = std::mem::take(&mut self.waiting.hours);
        let hours = hours.iter().map(|(hour, exchanges)| (self.ledger.set_name(hour.set), *hour, exchanges)).collect();
        let histories = self.waiting.history.take().map_or_else(Vec::new, |history| history.sets.into_iter().collect());
        self.sequence += 1;
        let (writer, sequence, at) = (self.number, self.sequence, self.clock.now());
        let named_by = reloader.ring().named_by();
        Some(Batch {
            writer,
            sequence,
            at,
            named_by,
            bindings,
            incidents,
            hours,
            histories,
            evidence,
            projects,
            expiries,
        })
    }

    fn change_of(&self, binding: Arc<Binding>, incidents: &mut Vec<(BindingId, Incident, u64)>) -> Change {
        let set = self.ledger.set_name(binding.identity().set);
        let delta = {
            let mut memory = binding.lock();
            let added = u64::from(std::mem::take(&mut memory.unsaved.bad_sightings));
            let open = memory.incident.as_deref().filter(|_| added > 0).cloned();
            incidents.extend(open.map(|incident| (binding.id(), incident, added)));
            memory.take_delta()
        };
        Change { binding, set, delta }
    }

    /// Has everything told anew, to a store that knows nothing.
    fn tell_all_again(&mut self) {
        self.batch = None;
        self.waiting = Waiting::default();
        for binding in self.ledger.bindings() {
            binding.lock().untell();
            self.waiting.bindings.insert(binding.id(), binding);
        }
        self.ledger.untell_evidence();
        self.ledger.projects.untell();
        self.ledger.expiries.untell();
        let past = self.ledger.past();
        self.waiting.hours = past.hours.clone();
        let closed =
            past.closed.iter().map(|closed| (closed.binding.id(), closed.incident.clone(), closed.incident.sightings));
        self.waiting.closed = closed.collect();
    }

    // === Time ===

    /// Has the ledger forget, and closes incidents that time or a new ring has closed.
    fn sweep(&mut self, reloader: &Reloader) {
        let (now, ring) = (self.clock.now(), reloader.ring());
        let is_due = self.swept.memory.is_none_or(|last| now.since(last) >= SWEEPING);
        if !is_due && self.swept.ring == ring.generation() {
            return;
        }
        self.ledger.sweep(Limits::new(self.retention, now), &ring, now);
        (self.swept.memory, self.swept.ring) = (Some(now), ring.generation());
    }
}

// === impl Waiting ===

impl Waiting {
    fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.closed.is_empty() && self.hours.is_empty() && self.history.is_none()
    }
}

// === impl Memory ===

impl Memory {
    /// What the store has not been told; counts as told from now on.
    fn take_delta(&mut self) -> Self {
        let changed = self.uses.iter_mut().filter(|used| used.unsaved > 0 || used.is_revised);
        let uses = changed.map(|used| {
            let told = used.clone();
            (used.unsaved, used.is_revised) = (0, false);
            told
        });
        let uses = uses.collect();
        let visited = std::mem::take(&mut self.unsaved.visited);
        Self {
            uses,
            other_keys: u64::from(std::mem::take(&mut self.unsaved.other_keys)),
            accepted: self.accepted.clone(),
            name: self.name.clone(),
            client_version: self.client_version.clone(),
            visits: if visited { self.visits.clone() } else { super::rhythm::Visits::default() },
            latest: self.latest,
            well: self.well,
            incident: None,
            acknowledged: self.acknowledged,
            retrying: self.retrying.clone(),
            unsaved: Unsaved { visited, ..Unsaved::default() },
        }
    }

    /// Counts all of it as not told, for a store that is empty.
    fn untell(&mut self) {
        for used in &mut self.uses {
            used.unsaved = used.sightings;
        }
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.unsaved.other_keys = small(self.other_keys);
        self.unsaved.bad_sightings = self.incident.as_ref().map_or(0, |incident| small(incident.sightings));
        self.unsaved.visited = !self.visits.is_empty();
        for (incident, added) in self.unsaved.gathered.iter_mut().flat_map(|gathered| &mut gathered.closed) {
            *added = incident.sightings;
        }
    }
}

// === impl Status ===

impl Status {
    /// Whether there is to be a store.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether what stood in it was read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// What is wrong with it, in words; nothing where all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Batches that were written, since the start.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Attempts to write or to open that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Facts that found no room in memory: exchanges by the hour, incidents that are over.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bindings that are not yet written to the store.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Since when something waits for the store.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Timestamp> {
        Some(self.since.load(Ordering::Relaxed)).filter(|since| *since != 0).map(Timestamp::from_millis)
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble;
    }

    fn count(&self, waiting: &Waiting, batch: Option<&Batch>, now: Timestamp) {
        let bindings = waiting.bindings.len() + batch.map_or(0, |batch| batch.bindings.len());
        self.waiting.store(bindings as u64, Ordering::Relaxed);
        if bindings == 0 {
            self.since.store(0, Ordering::Relaxed);
        } else if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(now.as_millis(), Ordering::Relaxed);
        }
    }
}

// === impl Running ===

impl Running {
    /// Has all that is left written, and waits for it, unless the disk takes longer than `patience`.
    pub fn close(self, patience: Duration) {
        self.ledger.inbox.close();
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// How long changes gather before they are written. With the time that writing takes, a process that is killed loses no
/// more than a quarter of a second.
const FLUSH: Duration = Duration::from_millis(200);

/// How often the thread looks around while no request comes: for other keys, and for the clock.
const IDLE: Duration = Duration::from_secs(2);

/// How long a store that another process has locked is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bindings a batch has at most: some hundredth parts of a second of work.
const BATCH: usize = 2_000;

/// How many rows of evidence, the same.
const EVIDENCE: usize = 5_000;

/// How soon a store in trouble is tried again at first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// How often the bindings are looked through for what time has done to them.
const SWEEPING: Duration = Duration::from_mins(1);

/// How often the store forgets.
const FORGETTING: Duration = Duration::from_hours(1);

/// How often it is written that the keys are still the same. The time since is how closely a rotation that happens while
/// keyward is down can be dated.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
