//! Pure. How keyward is: its sets and their keys, its store, and each n8n that it asks.

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::old_key::OldKeySummary;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::codes::{Coded, codes};
use crate::keys::rules::Policy;
use crate::ledger::progress::Progress;
use crate::problems;
use crate::problems::kind::ProblemKind;
use crate::server::Stage;
use crate::verdict::explain::Severity;

/// How a keyward that runs is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// How far it is with stopping.
    pub stage: Stage,
    #[serde(with = "moment")]
    pub began: Timestamp,
    pub upstream: String,
    /// How many bindings it knows.
    pub bindings: usize,
    pub store: Store,
    /// How each n8n is that it asks.
    pub n8n: Vec<N8n>,
    /// What is wrong now beside single callers: what matters most comes first.
    pub problems: Vec<OpenProblem>,
    /// How many log lines were dropped.
    pub log_dropped: u64,
    pub sets: Vec<Set>,
}

/// What is wrong now with upstream, a key, or keyward itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenProblems {
    /// All of it: what matters most comes first, and of that what began first.
    pub problems: Vec<OpenProblem>,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenProblem {
    /// What kind of thing. A later keyward may have others.
    pub code: Coded<ProblemKind>,
    pub severity: Severity,
    /// What it is about: a set, an n8n; nothing where there is one of its kind alone.
    #[serde(deserialize_with = "nullable")]
    pub about: Option<String>,
    /// What is wrong, in a sentence.
    pub text: String,
    /// What to do, in sentences.
    pub remedy: String,
    /// Since when: the end of the first exchange that met it, or the first look that found it.
    #[serde(with = "moment")]
    pub since: Timestamp,
    /// How many exchanges met it, since keyward was started; nothing where it is not told from exchanges, or all were before.
    #[serde(deserialize_with = "nullable")]
    pub requests: Option<u64>,
    /// Of how many bindings these are; 10,000 stands for at least as many.
    #[serde(deserialize_with = "nullable")]
    pub bindings: Option<usize>,
    /// When the last of them ended.
    #[serde(with = "moment::nullable")]
    pub last: Option<Timestamp>,
}

/// What the store of a keyward that does not run remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredStatus {
    /// The version that reads the store.
    pub version: String,
    pub stage: Stopped,
    /// How many bindings it remembers.
    pub bindings: usize,
    pub sets: Vec<Set>,
}

/// Of a status, the version alone: an answer of any other version has it as well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// The version of the keyward that answers.
    pub version: String,
}

/// The answer of `/api/v1/sets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sets {
    /// All of them, in the order of the configuration.
    pub sets: Vec<Set>,
}

/// A key set: its keys, and how far its rotation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    pub set: String,
    /// What it does about verdicts.
    pub policy: Policy,
    /// Whether it learns its current key from what upstream accepts.
    pub learned: bool,
    /// How many of its tokens are valid.
    pub tokens: usize,
    /// Its keys: the current one first, of the previous ones the latest first.
    pub keys: Vec<Key>,
    /// Whether nothing is left to do: no binding is stale or silent but those that are dead, and no old key is kept.
    pub done: bool,
    /// How many bindings stand how.
    pub progress: Progress,
    /// How many incidents are open.
    pub open_incidents: usize,
    /// The old keys, the one that was replaced last first.
    pub old_keys: Vec<OldKeySummary>,
}

/// Whether what is remembered reaches the store, and how much has not yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    pub state: StoreState,
    /// What is wrong, in words.
    #[serde(deserialize_with = "nullable")]
    pub trouble: Option<String>,
    /// Bindings that are not yet written to the store.
    pub waiting: u64,
    /// Facts that found no room in memory meanwhile.
    pub lost: u64,
}

/// How an n8n is that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct N8n {
    /// Its name in the configuration.
    pub instance: String,
    /// Where its editor and its API are.
    pub url: String,
    pub state: N8nState,
    /// What is wrong and what to do, in words.
    #[serde(deserialize_with = "nullable")]
    pub trouble: Option<String>,
    /// What keyward would know of it and is not told, in words.
    #[serde(deserialize_with = "nullable")]
    pub lacks: Option<String>,
    /// When its workflows were read last.
    #[serde(with = "moment::nullable")]
    pub read: Option<Timestamp>,
    /// How many workflows have names.
    pub workflows: usize,
    /// How many nodes have names.
    pub nodes: usize,
    /// How many nodes have none, for there was no room.
    pub left_out: usize,
}

codes! {
    /// That a keyward does not run.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Stopped {
        /// Its store answers.
        Stopped => "stopped",
    }
}

codes! {
    /// Whether a store is well.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StoreState {
        /// There is none: all is in memory alone.
        Off => "off",
        /// It takes what it is told.
        Ok => "ok",
        /// It cannot be read or written.
        Troubled => "troubled",
    }
}

codes! {
    /// Whether an n8n answered when keyward asked it last.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum N8nState {
        /// It did when it was asked last.
        Ok => "ok",
        /// It did not, or said what cannot be used.
        Troubled => "troubled",
        /// It was not asked yet.
        NotAsked => "not_asked",
    }
}

impl From<&problems::Problem> for OpenProblem {
    fn from(problem: &problems::Problem) -> Self {
        let kind = problem.kind;
        Self {
            code: Coded::Known(kind),
            severity: kind.severity(),
            about: (!problem.about.is_empty()).then(|| problem.about.to_string()),
            text: problem.what.clone(),
            remedy: problem.remedy.clone(),
            since: problem.since,
            requests: problem.hit.and_then(|hit| hit.requests),
            bindings: problem.hit.map(|hit| hit.bindings),
            last: problem.hit.map(|hit| hit.last),
        }
    }
}

impl Set {
    /// Whether an old key is still sent or held.
    #[must_use]
    pub fn keeps_old(&self) -> bool {
        self.old_keys.iter().any(OldKeySummary::is_kept)
    }
}
