//! How an n8n is, as the poller tells it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Instance;
use super::clearance::Looked;
use super::client::scope;
use super::connect::Entrance;
use super::connections::Left;
use super::executions::OLD_RELEASE;
use super::inventory::Inventory;
use super::lent::Lent;
use super::pressed::PressedRecords;
use crate::caller::names::Workflow;
use crate::clock::Timestamp;
use crate::ledger::look::Look;
use crate::locks::lock;

/// How an n8n is, to be told.
#[derive(Debug)]
pub struct Status {
    pub name: Box<str>,
    pub url: Box<str>,
    /// The set that its credentials belong to, where that is said.
    pub set: Option<Box<str>>,
    /// How often it is asked.
    pub refresh: Duration,
    /// Where it reaches keyward, where that is said.
    pub entrance: Option<Entrance>,
    /// The press of a test that another program makes.
    pub lent: Lent,
    pub(super) seen: Mutex<Seen>,
    pub(super) presses: Mutex<PressedRecords>,
    /// How often it was looked through, well or not.
    pub(super) rounds: watch::Sender<u64>,
    /// Wakes the poller, for an answer wants to know more.
    pub(super) again: Notify,
    /// Whether an answer has wanted that since it was looked through last.
    pub(super) is_wanted: AtomicBool,
    /// Whether one has since its tests were pressed last.
    pub(super) is_demanded: AtomicBool,
}

/// What came of asking an n8n.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What is wrong with it, since it was asked last.
    pub trouble: Option<String>,
    /// Whether that is its API key, which it refuses, or which cannot be read.
    pub lacks_key: bool,
    /// What keyward would know of it and is not told, for the API key lacks a scope or n8n is too old.
    pub gaps: Vec<Gap>,
    /// When the whole list was read last.
    pub read: Option<Timestamp>,
    /// How many workflows have names.
    pub workflows: usize,
    /// How many nodes have names.
    pub nodes: usize,
    /// How many nodes have none, for there was no room.
    pub left_out: usize,
    /// The nodes that can speak to OpenAI, as of then.
    pub inventory: Option<Arc<Inventory>>,
    /// What of it matters to the ledger, as of then.
    pub look: Option<Arc<Look>>,
    /// Its records that lead past keyward since keyward put another Base URL there, as of then.
    pub left: Vec<Left>,
}

/// Something that keyward is not told by an n8n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub what: Untold,
    /// Why not, in a sentence.
    pub why: String,
}

/// What keyward is not told by an n8n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    Records,
    Executions,
    /// Which executions run or wait, and with which records.
    Unfinished,
    /// Which key a record holds.
    Keys,
}

// === impl Status ===

impl Status {
    pub(super) fn new(instance: &Instance) -> Self {
        Self {
            name: instance.name.clone(),
            url: instance.url.to_string().into(),
            set: instance.set.clone(),
            refresh: instance.refresh,
            entrance: instance.keyward.clone(),
            lent: Lent::default(),
            seen: Mutex::default(),
            presses: Mutex::default(),
            rounds: watch::Sender::new(0),
            again: Notify::new(),
            is_wanted: AtomicBool::new(false),
            is_demanded: AtomicBool::new(false),
        }
    }

    /// Has n8n looked at anew soon, for an answer that depends on it. Nothing waits for that.
    pub fn want_look(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
        self.again.notify_one();
    }

    /// Has it looked through once more, and its records' tests pressed that were not pressed within a minute; waits for the
    /// look, no longer than that. It is looked through every ten seconds at most.
    pub async fn look_again(&self, patience: Duration) {
        let mut rounds = self.rounds.subscribe();
        self.is_wanted.store(true, Ordering::Relaxed);
        self.is_demanded.store(true, Ordering::Relaxed);
        self.again.notify_one();
        let looked = async {
            // One that had begun before does not count.
            while rounds.changed().await.is_ok() && self.is_wanted.load(Ordering::Relaxed) {}
        };
        // Whether it came or not: what was seen last is all there is.
        let _ = tokio::time::timeout(patience, looked).await;
    }

    /// What the last look through this n8n found; nothing before the first.
    #[must_use]
    pub fn look(&self) -> Option<Arc<Look>> {
        self.lock().look.clone()
    }

    /// Changes each time that it was looked through.
    pub(super) fn rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Whether an answer wanted to know more since this was asked last.
    pub(super) fn takes_demand(&self) -> bool {
        self.is_demanded.swap(false, Ordering::Relaxed)
    }

    /// Looks at the presses, or changes them.
    pub(super) fn with_presses<T>(&self, look: impl FnOnce(&mut PressedRecords) -> T) -> T {
        look(&mut lock(&self.presses))
    }

    /// Says why no test can be pressed, or that they can.
    pub(super) fn say_of_presses(&self, why_not: Option<String>) {
        let mut seen = self.lock();
        seen.gaps.retain(|gap| gap.what != Untold::Keys);
        seen.gaps.extend(why_not.map(|why| Gap { what: Untold::Keys, why }));
    }

    /// The last look with what has come of the presses since.
    pub(super) fn renew_presses(&self) -> Option<Arc<Look>> {
        let mut seen = self.lock();
        let look = seen.look.as_mut()?;
        self.with_presses(|presses| presses.put_into(Arc::make_mut(look)));
        Some(Arc::clone(look))
    }

    /// What came of asking it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// What was found when it was looked through last.
    #[must_use]
    pub fn looked(&self) -> Looked {
        let Seen { trouble, gaps, read, inventory, look, left, .. } = self.seen();
        let (name, set, lacks) = (self.name.clone(), self.set.clone(), scopes_of(&gaps));
        let is_untold = |gap: &&Gap| {
            matches!(gap.what, Untold::Executions | Untold::Unfinished)
                && gap.why != OLD_RELEASE
                && !scope::LEAST.iter().any(|scope| gap.why.contains(scope))
        };
        let untold = gaps.iter().find(is_untold).map(|gap| gap.why.clone());
        let (refresh, entrance, found) = (self.refresh, self.entrance.clone(), read.zip(inventory));
        Looked { name, set, refresh, trouble, lacks, untold, look, left, entrance, found }
    }

    pub(super) fn count(&self, workflows: &HashMap<Box<str>, Arc<Workflow>>, left_out: usize) {
        let mut seen = self.lock();
        seen.workflows = workflows.len();
        seen.nodes = workflows.values().map(|workflow| workflow.nodes().len()).sum();
        seen.left_out = left_out;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

impl Seen {
    /// Whether it answered when it was asked last.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.trouble.is_none() && self.read.is_some()
    }

    /// What is not told, in sentences, each once.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        let mut sentences: Vec<&str> = Vec::new();
        for gap in &self.gaps {
            if !sentences.contains(&&*gap.why) {
                sentences.push(&gap.why);
            }
        }
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

/// The scopes that the API key lacks.
fn scopes_of(gaps: &[Gap]) -> Vec<&'static str> {
    let is_named = |scope: &&&str| gaps.iter().any(|gap| gap.why.contains(**scope));
    scope::LEAST.iter().filter(is_named).copied().collect()
}
