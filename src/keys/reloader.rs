//! Keeps the key ring: makes it from the sources and the history, and makes the next one when a source holds another key,
//! a set has learned, or the sets and rules are others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::access::{Access, Token};
use super::command::Command;
use super::fingerprint::{Fingerprint, FingerprintKey};
use super::history::{History, SetHistory};
use super::listing::{self, Entry};
use super::rules::{Rules, SetRules};
use super::secret::Secret;
use super::set::{KeyRing, KeySet, Names, Owner, Retired, Role, SetIndex, Word};
use super::source::{FaultOf, Source, SourceError};
use super::state::{self, StateError, StateFolder};
use super::{SetSettings, Settings};
use crate::clock::{Clock, Timestamp};
use crate::locks::lock;
use crate::telemetry::event::with_causes;

/// The ring and what it comes from.
pub struct Reloader {
    ring: ArcSwap<KeyRing>,
    memory: Mutex<Memory>,
    changed: AtomicBool,
    /// Since when not all of them can be read, in milliseconds of the epoch; zero while they can.
    unreadable_since: AtomicI64,
    folder: Option<StateFolder>,
    /// Whether the history belongs into a file of the state folder.
    has_file: bool,
    /// Whether such a file was there, although the history belongs into a store.
    has_import: AtomicBool,
    fault_of: FaultOf,
    clock: Clock,
}

/// Where the history of the sets' keys is kept.
#[derive(Debug)]
pub enum Kept {
    /// In a file of the state folder, which the reloader reads and writes.
    InFile,
    /// In a store, which gave this and asks for [`Reloader::news`].
    InStore(History),
    /// In that store, which knows keys by a fingerprint key that is not the state folder's, so that nothing can be had of it.
    NamedOtherwise(PathBuf),
}

/// What the next ring is made from.
struct Memory {
    /// Which sets there are, and where their keys come from.
    settings: Arc<Settings>,
    history: History,
    /// What the sources gave when they were read last, for each set.
    declared: Vec<Declared>,
    /// Tokens and revoked keys, as they were read last.
    access: Access,
}

/// What the sources hold, compared with what they held before.
#[derive(Debug)]
pub enum Reload {
    Unchanged,
    /// Other keys: the new ring is in place. A line for each set that changed.
    Changed(Vec<String>),
    /// Not all of them could be read, so the old ring stays as it is.
    Failed(Vec<Trouble>),
}

/// What went wrong while the ring was made. None of it stops traffic.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A key cannot be had from its source.
    #[error("the key `{key}` of set `{set}` is not known: {from}")]
    Source {
        set: Box<str>,
        /// `current`, `next` or `previous`.
        key: &'static str,
        /// Where it was to come from.
        from: Source,
        source: SourceError,
    },
    /// Tokens and revoked keys are not known, so that tokens admit no request, and revoked keys might.
    #[error("tokens and revoked keys are not known")]
    Access { source: StateError },
    /// The fingerprint key by which everything is known is lost, or another one stands in its place.
    #[error("no key is known that was replaced or revoked, and no token")]
    KeyLost {
        /// Which one, and what needs it.
        source: StateError,
    },
    /// What is remembered of rotations in a file cannot be read.
    #[error("rotations of before are not known")]
    History { source: StateError },
    /// The state folder cannot be used.
    #[error("the state cannot be used, so rotations are forgotten at the next start (state.dir)")]
    State { source: StateError },
}

impl Reloader {
    /// Makes the first ring. An unreadable source or state leaves its part out, and is said in the list beside the reloader.
    pub fn open(
        settings: &Settings,
        state: &state::Settings,
        kept: Kept,
        fault_of: FaultOf,
        clock: Clock,
    ) -> Result<(Self, Vec<Trouble>), StateError> {
        let mut troubles = Vec::new();
        let (folder, fingerprint_key) = match open_folder(state, &kept) {
            Ok((folder, key)) => (Some(folder), key),
            Err(trouble) => {
                troubles.push(trouble);
                (None, state::passing_fingerprint_key()?)
            }
        };
        let access = folder.as_ref().map_or(Ok(Access::default()), StateFolder::access).unwrap_or_else(|source| {
            troubles.push(Trouble::Access { source });
            Access::default()
        });
        // A damaged history is left as it is, so that you can mend it: nothing is written over it.
        let of_file = folder.as_ref().map_or(Ok(None), StateFolder::history).unwrap_or_else(|source| {
            troubles.push(Trouble::History { source });
            None
        });
        let is_damaged = matches!(troubles.last(), Some(Trouble::History { .. }));
        let (mut history, has_file, has_import) = match (kept, of_file) {
            (Kept::InFile, of_file) => (of_file.unwrap_or_default(), !is_damaged, false),
            (Kept::InStore(history), None) => (history, false, false),
            (Kept::NamedOtherwise(_), _) => (History::default(), false, false),
            (Kept::InStore(before), Some(mut history)) => {
                history.recall(before);
                (history, false, true)
            }
        };
        let empty = empty_ring(settings, fingerprint_key);
        let keys = read_keys(settings, fault_of, &mut troubles);
        let declared = keys.iter().map(|keys| keys.declared(&empty)).collect();
        let ring = access.put_into(make_ring(settings, keys, empty, &mut history, clock.now()));
        let reloader = Self {
            ring: ArcSwap::from_pointee(ring),
            memory: Mutex::new(Memory { settings: Arc::new(settings.clone()), history, declared, access }),
            changed: AtomicBool::new(true),
            unreadable_since: AtomicI64::new(0),
            folder,
            has_file,
            has_import: AtomicBool::new(has_import),
            fault_of,
            clock,
        };
        // Without a state folder there is nothing in it to be read again.
        let is_passing = |trouble: &Trouble| !matches!(trouble, Trouble::State { .. } | Trouble::KeyLost { .. });
        reloader.note_unreadable(troubles.iter().any(is_passing));
        Ok((reloader, troubles))
    }

    /// With what is done about requests: the rules of a set stand where the set stands in the settings.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        let ring = self.ring().ruled_by(rules);
        Self { ring: ArcSwap::from_pointee(ring), ..self }
    }

    /// The ring as it was read last: read it once for each request, for the next may be another.
    #[must_use]
    pub fn ring(&self) -> arc_swap::Guard<Arc<KeyRing>> {
        self.ring.load()
    }

    /// Reads the sources again. Whole or not at all: a key that cannot be read leaves the whole ring as it is.
    pub fn reload(&self) -> Reload {
        let settings = Arc::clone(&self.memory().settings);
        let read = self.read(&settings);
        self.note_unreadable(read.is_err());
        let (keys, access) = match read {
            Ok(read) => read,
            Err(troubles) => return Reload::Failed(troubles),
        };
        let mut memory = self.memory();
        if !Arc::ptr_eq(&memory.settings, &settings) {
            // Others were taken in between, and their keys read.
            return Reload::Unchanged;
        }
        let empty = self.ring().without_keys();
        let declared: Vec<_> = keys.iter().map(|keys| keys.declared(&empty)).collect();
        if memory.declared == declared && memory.access == access {
            let now = self.clock.now();
            memory.history.sets.values_mut().for_each(|set| set.look_again(now));
            return Reload::Unchanged;
        }
        let mut changes = describe_changes(&settings, &memory.declared, &declared);
        changes.extend(describe_access(&memory.access, &access));
        self.put(&mut memory, empty, keys, declared, access);
        Reload::Changed(changes)
    }

    /// Takes other sets and rules, whole or not at all: where a key cannot be read, all stays as it is. The rules of a set stand
    /// where the set stands in the settings. A set of before keeps its position; one that is left out has no keys any more.
    pub fn adopt(&self, settings: &Settings, rules: &Rules) -> Result<(), Vec<Trouble>> {
        let (keys, access) = self.read(settings)?;
        let mut memory = self.memory();
        let empty = succeed(&self.ring(), settings, rules);
        let declared = keys.iter().map(|keys| keys.declared(&empty)).collect();
        memory.settings = Arc::new(settings.clone());
        self.put(&mut memory, empty, keys, declared, access);
        drop(memory);
        self.note_unreadable(false);
        Ok(())
    }

    /// The names of all sets by their positions, as they will be once those settings are adopted.
    #[must_use]
    pub fn positions(&self, settings: &Settings) -> Vec<Arc<str>> {
        positions(&self.ring(), settings)
    }

    /// What keeps those settings from being adopted now.
    #[must_use]
    pub fn troubles(&self, settings: &Settings) -> Vec<Trouble> {
        self.read(settings).err().unwrap_or_default()
    }

    fn read(&self, settings: &Settings) -> Result<(Vec<Keys>, Access), Vec<Trouble>> {
        let mut troubles = Vec::new();
        let keys = read_keys(settings, self.fault_of, &mut troubles);
        let access = self.folder.as_ref().map_or(Ok(Access::default()), StateFolder::access);
        let access = access.map_err(|source| troubles.push(Trouble::Access { source })).unwrap_or_default();
        if troubles.is_empty() { Ok((keys, access)) } else { Err(troubles) }
    }

    /// Puts the next ring in place, which is `empty` yet. The lock is held until then, so that no two changes overtake each
    /// other.
    fn put(&self, memory: &mut Memory, empty: KeyRing, keys: Vec<Keys>, declared: Vec<Declared>, access: Access) {
        let ring = make_ring(&memory.settings, keys, empty, &mut memory.history, self.clock.now());
        self.ring.store(Arc::new(access.put_into(ring)));
        self.changed.store(true, Ordering::Release);
        memory.declared = declared;
        memory.access = access;
    }

    /// Since when keys, tokens or revocations cannot be read, so that the ring is the one from before; nothing while they can.
    #[must_use]
    pub fn unreadable_since(&self) -> Option<Timestamp> {
        let since = self.unreadable_since.load(Ordering::Relaxed);
        (since != 0).then(|| Timestamp::from_millis(since))
    }

    /// Whether that set has no declared key, and takes for current what upstream takes.
    #[must_use]
    pub fn learns(&self, set: SetIndex) -> bool {
        self.ring().set(set).learning
    }

    /// Upstream accepted `key` in a set that learns, from a binding that sent `before` until then, if it sent another.
    pub fn accept(&self, set: SetIndex, key: Names, before: Option<Fingerprint>) {
        let now = self.clock.now();
        self.learn(set, key.fingerprint, |history| {
            let is_news = history.learned.accept(key.fingerprint, before, now);
            let was_refused = history.word(key.fingerprint) == Some(Word::Refused);
            let is_heard = was_refused && history.hear(key.fingerprint, Word::Accepted, now);
            history.note_hint(key) | is_news | is_heard
        });
    }

    /// Upstream refused `key` as invalid in a set that learns.
    pub fn refuse(&self, set: SetIndex, key: Fingerprint) {
        let now = self.clock.now();
        self.learn(set, key, |history| history.learned.refuse(key, now) && history.hear(key, Word::Refused, now));
    }

    /// What upstream says of one of a set's own keys.
    pub fn hear(&self, set: SetIndex, key: Fingerprint, word: Word) {
        let mut memory = self.memory();
        let ring = self.ring.load_full();
        let history = memory.history.sets.entry(ring.set(set).name.to_string()).or_default();
        let now = self.clock.now();
        // Another set that has the key may have heard another word since.
        let is_news = history.hear(key, word, now) || (ring.word(key) != Some(word) && history.hear_again(key, now));
        if is_news {
            // Under the lock, as in `reload`.
            self.ring.store(Arc::new(ring.hearing(key, word)));
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Whether nothing that is remembered shows that upstream ever accepted one of the set's own keys.
    #[must_use]
    pub fn was_never_accepted(&self, set: SetIndex, key: Fingerprint) -> bool {
        let memory = self.memory();
        let history = memory.history.sets.get(&*self.ring().set(set).name);
        history.is_none_or(|history| history.was_never_accepted(key))
    }

    /// Forgets that upstream refuses one of the set's own keys, where it was never seen to accept it: nothing is known of it then.
    pub fn forget_refusal(&self, set: SetIndex, key: Fingerprint) {
        let mut memory = self.memory();
        let ring = self.ring.load_full();
        let history = memory.history.sets.entry(ring.set(set).name.to_string()).or_default();
        if history.forget_refusal(key) {
            let left = memory.history.word(key);
            let next = left.map_or_else(|| ring.without_word(key), |word| ring.hearing(key, word));
            // Under the lock, as in `reload`.
            self.ring.store(Arc::new(next));
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Every key of every set, as people are shown them.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        listing::entries(&self.ring(), &self.memory().history)
    }

    /// The sets whose current key upstream refused when it saw it last, with that key and since when it does; in a set that
    /// learns, where no other key is current.
    #[must_use]
    pub fn refused_currents(&self) -> Vec<(SetIndex, Names, Timestamp)> {
        let memory = self.memory();
        let ring = self.ring();
        let refused = |set: SetIndex| {
            let history = memory.history.sets.get(&*ring.set(set).name)?;
            let (fingerprint, at) = history.refused_current()?;
            Some((set, Names { fingerprint, hint: history.hints.get(&fingerprint).copied() }, at))
        };
        ring.indexes().filter_map(refused).collect()
    }

    /// Where each set reads its current key from, in words and by position; nothing for one that learns it.
    #[must_use]
    pub fn sources_of_current(&self) -> Vec<Option<String>> {
        let settings = Arc::clone(&self.memory().settings);
        let source = |name: &str| settings.sets.iter().find(|set| &*set.name == name)?.current.as_ref();
        self.ring().sets().iter().map(|set| source(&set.name).map(ToString::to_string)).collect()
    }

    /// Every token that was ever made.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        self.memory().access.tokens.clone()
    }

    /// Every file that a ring is made from: a change of one is a change of the ring.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let settings = Arc::clone(&self.memory().settings);
        let sources = settings.sets.iter().flat_map(SetSettings::sources);
        let files = sources.filter_map(|source| match source {
            Source::File(path) => Some(path.clone()),
            Source::Env(_) | Source::Command(_) => None,
        });
        files.chain(self.folder.iter().map(StateFolder::access_path)).collect()
    }

    /// Has the commands that give keys run again soon.
    pub fn want_commands_again(&self) {
        self.memory().settings.commands().for_each(Command::want_again);
    }

    /// Notes that the current keys are still the same, and writes the history if it changed or `look_again` says so. Does
    /// nothing where a store has it.
    pub fn save(&self, look_again: bool) -> Result<(), StateError> {
        let Some(folder) = self.folder.as_ref().filter(|_| self.has_file) else { return Ok(()) };
        let Some(history) = self.news(look_again) else { return Ok(()) };
        folder.save(&history).inspect_err(|_| self.changed.store(true, Ordering::Release))
    }

    fn note_unreadable(&self, is_unreadable: bool) {
        let since = self.unreadable_since().map_or_else(|| self.clock.now().as_millis(), Timestamp::as_millis);
        self.unreadable_since.store(if is_unreadable { since } else { 0 }, Ordering::Relaxed);
    }

    /// The history, if it changed since it was last asked for or `look_again` says so. Notes that the current keys are still
    /// the same.
    #[must_use]
    pub fn news(&self, look_again: bool) -> Option<History> {
        if !self.changed.swap(false, Ordering::AcqRel) && !look_again {
            return None;
        }
        let history = &mut self.memory().history;
        history.sets.values_mut().for_each(|set| set.look_again(self.clock.now()));
        Some(history.clone())
    }

    /// Takes in a history that comes to light late, when its store can be read at last. The ring is made anew with it.
    pub fn recall(&self, history: History) -> Reload {
        {
            let mut memory = self.memory();
            memory.history.recall(history);
            // So that the ring is made even if the keys are the same.
            memory.declared.clear();
        }
        self.changed.store(true, Ordering::Release);
        self.reload()
    }

    /// Learns which sets the ledger knows, by their positions: those behind the ring's are configured no longer. What was recorded of
    /// them is evidence still.
    pub fn know_sets(&self, sets: &[Arc<str>]) {
        let _changing = self.memory();
        let ring = self.ring.load_full();
        if let Some(gone) = sets.get(ring.sets().len()..).filter(|gone| !gone.is_empty()) {
            self.ring.store(Arc::new(ring.with_gone(gone.iter().cloned())));
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Puts the history's own file aside, once the store has what stood in it.
    pub fn set_file_aside(&self) {
        if !self.has_import.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.folder.as_ref().map_or(Ok(()), |folder| folder.set_aside("history")) {
            Ok(()) => tracing::info!(event = "state", "the store has taken over what history.json remembered"),
            Err(error) => tracing::warn!(event = "state", "{}", with_causes(&error)),
        }
    }

    /// Whether fingerprints last: with a key that lives only as long as this process, none of them is worth keeping.
    #[must_use]
    pub fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// The state folder, where there is one.
    #[must_use]
    pub fn folder(&self) -> Option<&StateFolder> {
        self.folder.as_ref()
    }

    fn learn(&self, set: SetIndex, key: Fingerprint, change: impl FnOnce(&mut SetHistory) -> bool) {
        let mut memory = self.memory();
        let ring = self.ring.load_full();
        let facts = ring.set(set);
        let history = memory.history.sets.entry(facts.name.to_string()).or_default();
        if change(history) {
            let relearned = ring.relearned(set, history.learned.roles(facts.grace));
            // Under the lock, as in `reload`.
            self.ring.store(Arc::new(match history.word(key) {
                Some(word) => relearned.with_word(key, word),
                None => relearned,
            }));
            self.changed.store(true, Ordering::Release);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

/// A line for each set whose keys are others now.
fn describe_changes(settings: &Settings, before: &[Declared], now: &[Declared]) -> Vec<String> {
    let sets = settings.sets.iter().zip(before.iter().zip(now));
    sets.filter(|(_, (before, now))| before != now)
        .map(|(set, (before, now))| {
            let name = &set.name;
            match now.current.filter(|_| before.current != now.current) {
                Some(current) => format!("set `{name}` has a new current key: {current}"),
                None => format!("set `{name}` has other next or previous keys"),
            }
        })
        .collect()
}

/// A line for each token and key that was made, replaced or revoked.
fn describe_access(before: &Access, now: &Access) -> Vec<String> {
    let is_news = |token: &&Token| !before.tokens.contains(token);
    let tokens = now.tokens.iter().filter(is_news).map(|token| {
        let done = match (token.revoked, token.replaced) {
            (Some(_), _) => "was revoked".to_owned(),
            (None, Some(replaced)) => format!("was replaced, and is admitted until {}", replaced.until),
            (None, None) => "was made".to_owned(),
        };
        format!("token {} of set `{}` {done}", Names { fingerprint: token.fingerprint, hint: token.hint }, token.set)
    });
    let keys = now.revoked_keys.iter().filter(|key| !before.revoked_keys.contains(key));
    tokens.chain(keys.map(|key| format!("key {} was revoked", key.fingerprint))).collect()
}

fn open_folder(settings: &state::Settings, kept: &Kept) -> Result<(StateFolder, FingerprintKey), Trouble> {
    // A lost one is not made anew, and what it named not mixed with what another one names.
    if let Kept::NamedOtherwise(store) = kept {
        return Err(Trouble::KeyLost { source: state::why_other_key(&settings.dir, store) });
    }
    let open = || {
        let folder = StateFolder::open(settings)?;
        let key = folder.fingerprint_key()?;
        Ok((folder, key))
    };
    // Without the key that its fingerprints were made with, nothing in the file of tokens is known.
    open().map_err(|source| {
        if state::may_have_access(&settings.dir) { Trouble::Access { source } } else { Trouble::State { source } }
    })
}

fn empty_ring(settings: &Settings, fingerprint_key: FingerprintKey) -> KeyRing {
    let sets = settings.sets.iter().map(|set| key_set(set, set.name.as_ref().into())).collect();
    KeyRing::new(sets, Arc::new(fingerprint_key)).taking_vendors(settings.takes_vendors)
}

fn key_set(set: &SetSettings, name: Arc<str>) -> KeySet {
    KeySet { name, learning: set.current.is_none(), grace: set.grace }
}

/// The names of all sets by their positions: those of the ring, and behind them the ones that are new.
fn positions(ring: &KeyRing, settings: &Settings) -> Vec<Arc<str>> {
    let before = ring.sets().iter().map(|set| Arc::clone(&set.name));
    let is_new = |set: &&SetSettings| !ring.sets().iter().any(|known| *known.name == *set.name);
    before.chain(settings.sets.iter().filter(is_new).map(|set| set.name.as_ref().into())).collect()
}

/// The next ring, which has those sets and rules, and no keys.
fn succeed(ring: &KeyRing, settings: &Settings, rules: &Rules) -> KeyRing {
    let (mut sets, mut gone, mut of_sets) = (Vec::new(), Vec::new(), Vec::new());
    for (position, name) in positions(ring, settings).into_iter().enumerate() {
        let mut configured = settings.sets.iter().zip(&rules.sets);
        if let Some((set, own)) = configured.find(|(set, _)| *set.name == *name) {
            sets.push(key_set(set, name));
            of_sets.push(own.clone());
        } else {
            sets.push(KeySet { name, learning: false, grace: Duration::ZERO });
            of_sets.push(SetRules::closed());
            gone.extend(SetIndex::nth(position));
        }
    }
    ring.succeeded_by(sets, gone, Arc::new(Rules { sets: of_sets, ..rules.clone() }))
}

fn read_keys(settings: &Settings, fault_of: FaultOf, troubles: &mut Vec<Trouble>) -> Vec<Keys> {
    let read = |source: &Source| source.read_upstream_key(fault_of, settings.takes_vendors);
    settings.sets.iter().map(|set| Keys::read(set, read, troubles)).collect()
}

/// Puts the keys of all sets into a ring that has none.
fn make_ring(
    settings: &Settings,
    keys: Vec<Keys>,
    mut ring: KeyRing,
    history: &mut History,
    now: Timestamp,
) -> KeyRing {
    for (set, keys) in settings.sets.iter().zip(keys) {
        let Some(index) = ring.find_set(&set.name) else { continue };
        let memory = history.sets.entry(set.name.to_string()).or_default();
        ring = keys.put_into(ring, index, memory, set, now);
    }
    // Of a key that several sets have, it is what upstream said last, to whichever of them.
    history.words().into_iter().fold(ring, |ring, (key, word)| ring.with_word(key, word))
}

/// The values of one set's keys, as far as their sources gave them.
struct Keys {
    current: Option<Secret>,
    next: Option<Secret>,
    previous: Vec<Secret>,
}

/// The public names of one set's keys.
#[derive(PartialEq, Eq)]
struct Declared {
    current: Option<Names>,
    next: Option<Names>,
    previous: Vec<Names>,
}

impl Keys {
    fn read(
        set: &SetSettings,
        read_key: impl Fn(&Source) -> Result<Secret, SourceError>,
        troubles: &mut Vec<Trouble>,
    ) -> Self {
        let mut read = |key: &'static str, from: &Source| {
            let note = |source| Trouble::Source { set: set.name.clone(), key, from: from.clone(), source };
            read_key(from).map_err(|error| troubles.push(note(error))).ok()
        };
        Self {
            current: set.current.as_ref().and_then(|source| read("current", source)),
            next: set.next.as_ref().filter(|source| !source.is_absent()).and_then(|source| read("next", source)),
            previous: set.previous.iter().filter_map(|source| read("previous", source)).collect(),
        }
    }

    fn declared(&self, ring: &KeyRing) -> Declared {
        let names = |secret: &Secret| ring.names(secret.expose());
        Declared {
            current: self.current.as_ref().map(names),
            next: self.next.as_ref().map(names),
            previous: self.previous.iter().map(names).collect(),
        }
    }

    /// The current key comes first, since the first role of a key wins.
    fn put_into(
        self,
        mut ring: KeyRing,
        index: SetIndex,
        memory: &mut SetHistory,
        set: &SetSettings,
        now: Timestamp,
    ) -> KeyRing {
        let declared = self.declared(&ring);
        let previous: Vec<_> = declared.previous.iter().map(|names| names.fingerprint).collect();
        memory.advance(declared.current.map(|names| names.fingerprint), &previous, now);
        for names in declared.current.iter().chain(&declared.previous) {
            memory.note_hint(*names);
        }
        for (secret, role) in [(self.current, Role::Current), (self.next, Role::Next)] {
            if let Some(secret) = secret {
                ring = ring.with_key(secret, index, role);
            }
        }
        for (secret, fingerprint) in self.previous.into_iter().zip(previous) {
            let remembered = memory.previous_roles(set.grace).find(|(key, _)| *key == fingerprint);
            let unheard =
                Role::Previous { retired: Retired { after: None, by: now }, grace_until: now.after(set.grace) };
            ring = ring.with_key(secret, index, remembered.map_or(unheard, |(_, role)| role));
        }
        for (key, role) in memory.previous_roles(set.grace) {
            ring = ring.with_remembered(key, Owner { set: index, role, learned: false });
        }
        if set.current.is_none() { ring.relearned(index, memory.learned.roles(set.grace)) } else { ring }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicI64;

    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
        now: Arc<AtomicI64>,
    }

    impl Bench {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder"), now: Arc::new(AtomicI64::new(1_000)) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn key(&self, name: &str, value: &str) -> Source {
            std::fs::write(self.path(name), value).expect("a file");
            Source::File(self.path(name))
        }

        fn open(&self, current: Option<Source>, previous: Vec<Source>) -> (Reloader, Vec<Trouble>) {
            let grace = Duration::from_millis(500);
            let set = SetSettings { name: "default".into(), current, next: None, previous, grace };
            let clock = Clock::Chosen(Arc::clone(&self.now));
            let state = state::Settings { dir: self.path("state") };
            Reloader::open(&Settings { sets: vec![set], takes_vendors: false }, &state, Kept::InFile, |_| None, clock)
                .expect("a reloader")
        }
    }

    fn role(reloader: &Reloader, value: &str) -> Option<Role> {
        reloader.ring().recognise(value.as_bytes(), None).owner.map(|owner| owner.role)
    }

    fn retired(after: Option<i64>, by: i64) -> Role {
        let retired = Retired { after: after.map(Timestamp::from_millis), by: Timestamp::from_millis(by) };
        Role::Previous { retired, grace_until: Timestamp::from_millis(by + 500) }
    }

    #[test]
    fn a_key_that_was_replaced_while_keyward_was_down_is_still_known() {
        let bench = Bench::new();
        let (reloader, troubles) = bench.open(Some(bench.key("key", "sk-old")), vec![]);
        assert!(troubles.is_empty());
        bench.now.store(2_000, Ordering::Relaxed);
        reloader.save(true).expect("saved");
        bench.now.store(9_000, Ordering::Relaxed);
        let (reloader, _) = bench.open(Some(bench.key("key", "sk-new")), vec![]);
        assert_eq!(role(&reloader, "sk-new"), Some(Role::Current));
        assert_eq!(role(&reloader, "sk-old"), Some(retired(Some(2_000), 9_000)));
        assert_eq!(role(&reloader, "sk-other"), None);
    }

    #[test]
    fn of_a_key_that_two_sets_share_the_last_word_counts_whichever_set_heard_it() {
        let bench = Bench::new();
        let grace = Duration::from_millis(500);
        let (shared, other) = (bench.key("key", "sk-shared"), bench.key("other", "sk-0"));
        let set = |name: &str, current: &Source| SetSettings {
            name: name.into(),
            current: Some(current.clone()),
            next: None,
            previous: vec![],
            grace,
        };
        let sets = vec![set("a", &shared), set("b", &shared), set("c", &other)];
        let clock = Clock::Chosen(Arc::clone(&bench.now));
        let state = state::Settings { dir: bench.path("state") };
        let settings = Settings { sets, takes_vendors: false };
        let (reloader, _) = Reloader::open(&settings, &state, Kept::InFile, |_| None, clock).expect("a reloader");
        let [a, b] = ["a", "b"].map(|name| reloader.ring().find_set(name).expect("a set"));
        let key = reloader.ring().names(b"sk-shared").fingerprint;
        for (set, said) in
            [(a, Word::Accepted), (b, Word::Accepted), (a, Word::Refused), (b, Word::Accepted), (b, Word::Refused)]
        {
            let now = bench.now.fetch_add(1_000, Ordering::Relaxed);
            reloader.hear(set, key, said);
            assert_eq!(reloader.ring().word(key), Some(said));
            // Another set's key has the ring made anew.
            bench.key("other", &format!("sk-{now}"));
            assert!(matches!(reloader.reload(), Reload::Changed(_)));
            assert_eq!(reloader.ring().word(key), Some(said));
        }
    }

    #[test]
    fn a_declared_previous_key_keeps_the_time_of_its_first_mention() {
        let bench = Bench::new();
        let (current, previous) = (bench.key("key", "sk-new"), bench.key("old", "sk-old"));
        let (reloader, _) = bench.open(Some(current.clone()), vec![previous.clone()]);
        reloader.save(true).expect("saved");
        bench.now.store(5_000, Ordering::Relaxed);
        let (reloader, _) = bench.open(Some(current), vec![previous]);
        assert_eq!(role(&reloader, "sk-old"), Some(retired(None, 1_000)));
    }

    #[test]
    fn what_was_learned_lasts() {
        let bench = Bench::new();
        let (reloader, _) = bench.open(None, vec![]);
        let names = |value: &str| reloader.ring().names(value.as_bytes());
        let (a, b) = (names("sk-a"), names("sk-b"));
        reloader.accept(SetIndex::DEFAULT, a, None);
        assert_eq!(role(&reloader, "sk-a"), Some(Role::Current));
        bench.now.store(3_000, Ordering::Relaxed);
        reloader.accept(SetIndex::DEFAULT, b, Some(a.fingerprint));
        reloader.save(false).expect("saved");
        let (reloader, _) = bench.open(None, vec![]);
        assert_eq!(role(&reloader, "sk-a"), Some(retired(Some(1_000), 3_000)));
        assert_eq!(role(&reloader, "sk-b"), Some(Role::Current));
        reloader.refuse(SetIndex::DEFAULT, b.fingerprint);
        assert_eq!(role(&reloader, "sk-b"), Some(Role::Current), "there is no other one");
        let is_refused = |reloader: &Reloader| reloader.ring().word(b.fingerprint) == Some(Word::Refused);
        assert!(is_refused(&reloader));
        reloader.save(false).expect("saved");
        let (reloader, _) = bench.open(None, vec![]);
        assert!(is_refused(&reloader) && reloader.refused_currents().len() == 1);
        reloader.accept(SetIndex::DEFAULT, b, None);
        assert!(!is_refused(&reloader) && reloader.refused_currents().is_empty());
        reloader.refuse(SetIndex::DEFAULT, b.fingerprint);
        reloader.accept(SetIndex::DEFAULT, names("sk-c"), None);
        assert_eq!(role(&reloader, "sk-b"), Some(retired(Some(3_000), 3_000)));
    }

    #[test]
    fn a_key_that_cannot_be_read_is_said_and_the_rest_goes_on() {
        let bench = Bench::new();
        let missing = Source::File(bench.path("missing"));
        let (reloader, troubles) = bench.open(Some(missing), vec![bench.key("old", "sk-old")]);
        assert!(matches!(&troubles[..], [Trouble::Source { key: "current", .. }]), "{troubles:?}");
        assert_eq!(reloader.unreadable_since(), Some(Timestamp::from_millis(1_000)));
        assert!(!reloader.learns(SetIndex::DEFAULT), "a set whose key is declared does not learn another");
        assert_eq!(role(&reloader, "sk-old"), Some(retired(None, 1_000)));
    }

    #[test]
    fn another_key_in_the_file_is_current_and_the_one_before_outdated_since_then() {
        let bench = Bench::new();
        let (reloader, _) = bench.open(Some(bench.key("key", "sk-old")), vec![]);
        let generation = reloader.ring().generation();
        bench.now.store(2_000, Ordering::Relaxed);
        assert!(matches!(reloader.reload(), Reload::Unchanged));
        assert_eq!(reloader.ring().generation(), generation);
        bench.key("key", "sk-new");
        bench.now.store(3_000, Ordering::Relaxed);
        let Reload::Changed(changes) = reloader.reload() else { panic!("the file has another key") };
        let fingerprint = reloader.ring().names(b"sk-new").fingerprint;
        assert_eq!(changes, [format!("set `default` has a new current key: {fingerprint}")]);
        assert!(reloader.ring().generation() > generation, "what connections remember is looked at again");
        assert_eq!(role(&reloader, "sk-new"), Some(Role::Current));
        assert_eq!(role(&reloader, "sk-old"), Some(retired(Some(2_000), 3_000)));
        bench.key("key", "sk-old");
        assert!(matches!(reloader.reload(), Reload::Changed(_)));
        assert_eq!(role(&reloader, "sk-old"), Some(Role::Current), "back again");
    }

    #[test]
    fn a_reload_is_whole_or_not_at_all() {
        let bench = Bench::new();
        let (reloader, _) = bench.open(Some(bench.key("key", "sk-a")), vec![bench.key("old", "sk-old")]);
        let generation = reloader.ring().generation();
        bench.key("key", "sk-b");
        bench.key("old", "");
        let Reload::Failed(troubles) = reloader.reload() else { panic!("one of the files is empty") };
        assert!(matches!(&troubles[..], [Trouble::Source { key: "previous", .. }]), "{troubles:?}");
        assert_eq!((role(&reloader, "sk-a"), role(&reloader, "sk-b")), (Some(Role::Current), None));
        assert_eq!(reloader.ring().generation(), generation);
        bench.now.store(2_000, Ordering::Relaxed);
        assert!(matches!(reloader.reload(), Reload::Failed(_)));
        assert_eq!(reloader.unreadable_since(), Some(Timestamp::from_millis(1_000)), "the first time counts");
        bench.key("old", "sk-old");
        assert!(matches!(reloader.reload(), Reload::Changed(_)));
        assert_eq!(role(&reloader, "sk-b"), Some(Role::Current));
        assert_eq!(reloader.unreadable_since(), None);
    }

    #[test]
    fn what_was_learned_outlives_a_reload() {
        let bench = Bench::new();
        let (reloader, _) = bench.open(None, vec![bench.key("old", "sk-old")]);
        let a = reloader.ring().names(b"sk-a");
        reloader.accept(SetIndex::DEFAULT, a, None);
        bench.key("old", "sk-older");
        assert!(matches!(reloader.reload(), Reload::Changed(_)));
        assert_eq!(role(&reloader, "sk-a"), Some(Role::Current));
        assert!(matches!(role(&reloader, "sk-older"), Some(Role::Previous { .. })));
    }

    #[test]
    fn without_a_state_folder_traffic_goes_on() {
        let bench = Bench::new();
        std::fs::write(bench.path("state"), "a file in the way").expect("a file");
        let (reloader, troubles) = bench.open(Some(bench.key("key", "sk-a")), vec![]);
        assert!(matches!(&troubles[..], [Trouble::State { .. }]), "{troubles:?}");
        assert_eq!(reloader.unreadable_since(), None);
        assert_eq!(role(&reloader, "sk-a"), Some(Role::Current));
        reloader.save(true).expect("nothing to save to");
        assert!(Path::new(&bench.path("state")).is_file());
    }
}
