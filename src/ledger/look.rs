//! Pure. What looking through one n8n tells the ledger: which credential record each node names, when n8n changed it, which
//! executions ran, and what keeps an audit from vouching for every node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::clock::Timestamp;
use crate::keys::set::Names;

/// One n8n, as it was looked through at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The name of the n8n in the configuration, as in the tag field `inst`.
    pub instance: Box<str>,
    /// When it was looked through.
    pub at: Timestamp,
    /// The ids of all workflows that its API lists.
    pub workflows: HashSet<Box<str>>,
    /// The credential record of each node that can speak to OpenAI, by the ids of workflow and node. On n8n 2.x that of the
    /// version that runs.
    pub nodes: HashMap<(Box<str>, Box<str>), NamedRecord>,
    /// The records of type `openAiApi`, by id. Empty on n8n 1.x, which lists none: see [`Look::lists_records`].
    pub records: BTreeMap<Box<str>, RecordState>,
    /// Whether n8n lists credential records.
    pub lists_records: bool,
    /// The executions that n8n's API lists, by number, as far back as was read.
    pub executions: BTreeMap<u64, Listed>,
    /// The executions that have begun and not ended.
    pub unfinished: Vec<Unfinished>,
}

/// The record that a node names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRecord {
    /// The record's id.
    pub record: Box<str>,
    /// The first look from which on every look found the node with that record.
    pub since: Timestamp,
}

/// What is known of a credential record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordState {
    /// Its name.
    pub name: Box<str>,
    /// When n8n says that it was changed last.
    pub changed: Option<Timestamp>,
    /// How many nodes that may run name it.
    pub nodes: usize,
    /// What came of the last time that keyward pressed n8n's test of it.
    pub pressed: Option<Pressed>,
}

/// What came of pressing n8n's test of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressed {
    /// When it was pressed.
    pub at: Timestamp,
    /// The key that arrived here; nothing where no request came, or it could not be told which one was the test's.
    pub key: Option<Names>,
}

/// An execution that n8n's API lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its workflow's id.
    pub workflow: Box<str>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; nothing while it runs or waits.
    pub ended: Option<Timestamp>,
}

/// An execution that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id, as n8n writes it.
    pub execution: Box<str>,
    /// Its workflow's id.
    pub workflow: Box<str>,
    /// When it began.
    pub began: Timestamp,
    /// Whether it waits, rather than runs.
    pub waits: bool,
    /// The credential records that its snapshot of the workflow names; nothing where n8n does not show the snapshot.
    pub records: Option<BTreeSet<Box<str>>>,
}

/// Something about an n8n that keeps an audit from vouching that every node passes here with the right key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDoubt {
    /// The stable code of its kind: `never_seen`, `waiting`, `scope_lacks`.
    pub code: &'static str,
    /// What it is about, stable: the id of a record, workflow, node or execution, or the n8n's name.
    pub subject: Box<str>,
    /// What is not known, in one sentence.
    pub text: String,
    /// What ends it, as a step for a person: `run one of its nodes`.
    pub end: String,
    /// A fingerprint of what it rests on: an acceptance of it holds until this is another.
    pub state: u64,
}
