//! The contract with whatever keeps the ledger: plain values, and three things to do with them.
//!
//! A store is told of *changes*: counts are what came on top since the last batch, first times may only become earlier,
//! last ones only later, and of two facts the one that started later stands. So batches of several writers may come in any
//! order and still add up. Each batch has its writer's number and a sequence of its own, and is recorded together with
//! them: one that comes again, because it is not known whether it arrived, changes nothing.
//!
//! A store never decides. What an incident is, what is forgotten and when, is decided above it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::binding::{Binding, Memory};
use super::evidence::Stored;
use super::expiry::Expiry;
use super::hours::Hour;
use super::identity::{BindingId, Holder, Identity};
use super::incident::Incident;
use super::projects::KeyProjects;
use crate::caller::Family;
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::history::{History, SetHistory};
use crate::keys::set::SetIndex;
use crate::outcome::OutcomeKind;
use crate::verdict::VerdictKind;

/// How many bindings are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In one set from one peer.
    pub per_peer: usize,
    pub total: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { per_peer: 5_000, total: 50_000 }
    }
}

/// The settings under `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the ledger is kept.
    pub url: Url,
    /// How long what happened is remembered: a binding that was not seen for longer is forgotten, with all that is its own.
    pub retention: Duration,
    /// How many bindings are kept. What goes over is counted under `other`.
    pub bounds: Bounds,
}

/// Where the ledger is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Url {
    /// In an `SQLite` file of the state folder.
    #[default]
    InStateFolder,
    /// In that `SQLite` file.
    Sqlite(PathBuf),
    /// Nowhere: it is forgotten at the end.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: Url::default(), retention: RETENTION, bounds: Bounds::default() }
    }
}

impl Settings {
    /// The file, for a state folder of that path; nothing where the store is off.
    #[must_use]
    pub fn file(&self, state: &Path) -> Option<PathBuf> {
        match &self.url {
            Url::InStateFolder => Some(state.join("keyward.db")),
            Url::Sqlite(path) => Some(path.clone()),
            Url::Off => None,
        }
    }
}

/// What keeps the ledger. It knows keys by one fingerprint key, that of its first batch, and mixes them with no others.
pub trait Store: Send {
    /// Whether keys are known in it by the fingerprint key of that name; by none, where there is none yet.
    fn is_named_by(&self, key: Option<Fingerprint>) -> Result<bool, StoreError>;

    /// Reads all that is remembered; of the bindings, at most so many, those that were seen last.
    fn load(&mut self, bindings: usize) -> Result<Remembered, StoreError>;

    /// Writes a batch as a whole or not at all, and once, however often it comes. One whose keys are named otherwise is
    /// refused.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Forgets what is older, but for the bindings that have sent one of those keys.
    fn forget(&mut self, limits: Limits, kept: &[Fingerprint]) -> Result<(), StoreError>;

    /// Gives back the memory that nothing of this needs until it is done again.
    fn rest(&self);

    /// Whether what was opened is still what stands in its place, so that what is written can be found there.
    fn is_in_place(&self) -> bool;
}

/// All that a store remembers, as it is read once at the start.
#[derive(Debug, Default)]
pub struct Remembered {
    pub bindings: Vec<RememberedBinding>,
    /// Incidents that are over, the one that closed last at the end.
    pub closed: Vec<(BindingId, Incident)>,
    /// Exchanges by the hour, each with the name of its set.
    pub hours: Vec<(Box<str>, StoredHour)>,
    /// The history of each set's keys.
    pub history: History,
    /// The evidence of who sends which key, each row with the name of its set.
    pub evidence: Vec<(Box<str>, Stored)>,
    /// Which of upstream's projects each key belongs to.
    pub projects: KeyProjects,
    /// What OpenAI said of keys.
    pub expiries: Vec<Expiry>,
    /// Codes that this version does not know: a later keyward wrote them.
    pub unknown: BTreeSet<UnknownInStore>,
}

/// A code of the store that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownInStore {
    /// What it says, and of what: `diagnosis of an incident`.
    pub what: &'static str,
    pub code: &'static str,
    /// What becomes of it.
    pub instead: &'static str,
}

/// A binding as it is remembered.
#[derive(Debug)]
pub struct RememberedBinding {
    pub id: BindingId,
    /// The name of its set.
    pub set: Box<str>,
    /// Whether it stands for one caller.
    pub holder: Holder,
    /// Instance, workflow and node.
    pub declared: [Option<Box<str>>; 3],
    pub family: Family,
    /// Who was at the other end of the connection.
    pub peer: IpAddr,
    /// The key of an untagged caller.
    pub key: Option<Fingerprint>,
    /// What is remembered of it, with its open incident.
    pub memory: Memory,
}

impl RememberedBinding {
    /// Whose it is, in that set.
    #[must_use]
    pub fn identity(&self, set: SetIndex) -> Identity<'_> {
        let [instance, workflow, node] = self.declared.each_ref().map(Option::as_deref);
        let (holder, family, peer, key) = (self.holder, self.family, self.peer, self.key);
        Identity { set, holder, instance, workflow, node, family, peer, key }
    }
}

/// Exchanges of one kind in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHour {
    pub begin: Timestamp,
    pub key: Option<Fingerprint>,
    pub verdict: Coded<VerdictKind>,
    pub outcome: Coded<OutcomeKind>,
    pub exchanges: u64,
}

impl StoredHour {
    /// As the ledger counts it, for the set that now stands at `set`.
    #[must_use]
    pub fn hour(&self, set: SetIndex) -> Hour {
        Hour::read(self.begin, set, self.key, self.verdict, self.outcome)
    }
}

/// What changed since the last batch, to be written as a whole or not at all.
#[derive(Debug)]
pub struct Batch {
    /// Who writes: a random number of this process.
    pub writer: u64,
    /// The number of the batch, one more than that of the writer's last one.
    pub sequence: u64,
    /// When it was put together.
    pub at: Timestamp,
    /// The name of the fingerprint key by which keys are known in it.
    pub named_by: Fingerprint,
    /// Bindings. Counts are what came on top; the rest is as it is now.
    pub bindings: Vec<Change>,
    /// Incidents, open and closed ones, with the bad sightings that came on top. Each belongs to a binding that was told
    /// before, or is in the same batch.
    pub incidents: Vec<(BindingId, Incident, u64)>,
    /// Exchanges on top, by the hour.
    pub hours: Vec<(Arc<str>, Hour, u64)>,
    /// The histories of sets that changed, whole.
    pub histories: Vec<(String, SetHistory)>,
    /// Rows of evidence with the name of their set. Unlike the rest they are whole: each replaces what stood in its place.
    pub evidence: Vec<(Arc<str>, Stored)>,
    /// Keys with the projects that they belong to, which the store does not have.
    pub projects: KeyProjects,
    /// What OpenAI said of keys since.
    pub expiries: Vec<Expiry>,
}

/// A binding that was seen, acknowledged or closed since the store was told of it.
#[derive(Debug)]
pub struct Change {
    pub binding: Arc<Binding>,
    /// The name of its set.
    pub set: Arc<str>,
    /// What is remembered of it now; only the uses that changed, with the sightings that came on top.
    pub delta: Memory,
}

/// From when on the store remembers; what is older is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bindings that were last seen before, incidents that closed and hours that ended before.
    pub before: Timestamp,
    /// Bindings that were never well and were last seen before.
    pub strangers_before: Timestamp,
}

impl Limits {
    /// By that retention, as of now.
    ///
    /// A binding that was never well in all the time that it was seen is most likely no node: a scanner, or a client that
    /// makes up workflow ids. It is forgotten sooner, so that such bindings do not take the room of others; yet not before a
    /// weekly workflow had its turn twice.
    #[must_use]
    pub fn new(retention: Duration, now: Timestamp) -> Self {
        let before = |span: Duration| {
            Timestamp::from_millis(now.as_millis().saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
        };
        Self { before: before(retention), strangers_before: before(retention.min(STRANGERS)) }
    }

    /// Whether a binding with that memory is forgotten.
    #[must_use]
    pub fn cover(&self, memory: &Memory) -> bool {
        let limit = if memory.well.is_some() { self.before } else { self.strangers_before };
        memory.last_seen().is_some_and(|last| last < limit)
    }
}

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
#[error("the store {} {fault}", path.display())]
pub struct StoreError {
    pub path: PathBuf,
    pub fault: Fault,
    /// What the database or the system says.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be opened or made.
    #[error("cannot be opened")]
    Closed,
    /// A later keyward has changed its shape.
    #[error("was written by a later keyward (its version is {found}, this one knows {known})")]
    Newer {
        /// The version of its shape.
        found: i64,
        /// The last version that is known here.
        known: i64,
    },
    /// It is a database of another program.
    #[error("is a database of another program")]
    Foreign,
    /// What stands in it is no database, or no longer.
    #[error("is damaged")]
    Damaged,
    /// Another program holds it locked.
    #[error("is locked by another program")]
    Locked,
    #[error("cannot be written: the disk is full")]
    Full,
    /// It may not be written.
    #[error("cannot be written")]
    ReadOnly,
    /// The fingerprint key by which keys are known in it is lost, or another one stands in its place.
    #[error(
        "knows keys by another fingerprint.key than the one in the state folder: put that one back, or move the store away \
         to begin anew"
    )]
    NamedOtherwise,
    /// It was removed or replaced while it was open.
    #[error("was removed or replaced")]
    Gone,
    #[error("cannot be used")]
    Other,
}

impl Fault {
    /// Whether a store with that fault may be one that can be read all the same.
    #[must_use]
    pub fn is_of_writing(self) -> bool {
        match self {
            Self::Closed | Self::Full | Self::ReadOnly | Self::Other => true,
            Self::Newer { .. } | Self::Foreign | Self::Damaged | Self::Locked | Self::NamedOtherwise | Self::Gone => {
                false
            }
        }
    }
}

/// Ninety days.
const RETENTION: Duration = Duration::from_hours(90 * 24);

/// Two weeks and a day.
const STRANGERS: Duration = Duration::from_hours(15 * 24);
