//! Pure. What looking through one n8n tells the ledger: which credential record each node names, when n8n changed it, which
//! executions ran, and what keeps an audit from vouching for every node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

use super::doubt_kind::DoubtKind;
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
    /// Every node that stands in a workflow, of any kind, in what runs or in a draft: a hash of the ids of workflow and node
    /// ([`node_hash`]). What is not there any more does not run.
    pub nodes_there: HashSet<u64>,
    /// The records of type `openAiApi`, by id. Empty on n8n 1.x, which lists none: see [`Look::lists_records`].
    pub records: BTreeMap<Box<str>, RecordState>,
    /// Whether n8n lists credential records.
    pub lists_records: bool,
    /// The executions that n8n's API lists, by number, as far back as was read.
    pub executions: BTreeMap<u64, Listed>,
    /// The executions that have begun and not ended.
    pub unfinished: Vec<Unfinished>,
    /// How far n8n's clock was ahead of this machine's, in milliseconds, in this look and in the one before it. Zero where
    /// they agreed to two minutes ([`Look::SLACK`]), or n8n sent no `Date` (RFC 9110, 6.6.1).
    pub clocks_apart: [i64; 2],
    /// Who names each record, once that is asked for.
    pub users: Users,
}

/// The nodes that name each credential record. They are counted when that is first asked for, since there may be many nodes.
#[derive(Debug, Default)]
pub struct Users(OnceLock<HashMap<Box<str>, NamedBy>>);

/// The nodes that name a credential record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedBy {
    /// How many there are.
    pub nodes: usize,
    /// The ids of their workflows.
    pub workflows: BTreeSet<Box<str>>,
}

/// The record that a node names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRecord {
    /// The record's id in n8n.
    pub record: Box<str>,
    /// The first look from which on every look found the node with that record.
    pub since: Timestamp,
}

/// What is known of a credential record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordState {
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

/// How long an execution may run so that its good key still counts, where n8n lists it only when it is over (1.x).
pub const LONGEST_UNTOLD: Duration = Duration::from_hours(1);

/// An execution that n8n's API lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its workflow's id.
    pub workflow: Box<str>,
    pub began: Timestamp,
    /// When it ended; nothing while it runs or waits.
    pub ended: Option<Timestamp>,
    /// Whether a person started it in the editor: then it ran what the editor showed, saved or not.
    pub by_hand: bool,
}

/// An execution that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its id, as n8n writes it.
    pub execution: Box<str>,
    /// Its workflow's id.
    pub workflow: Box<str>,
    pub began: Timestamp,
    /// Whether it waits, rather than runs.
    pub waits: bool,
    /// The credential records that its snapshot of the workflow names; nothing where n8n does not show the snapshot.
    pub records: Option<BTreeSet<Box<str>>>,
}

/// Something about an n8n that keeps an audit from vouching that every node passes here with the right key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditDoubt {
    pub kind: DoubtKind,
    /// What it is about, stable: the id of a record, workflow, node or execution, or the n8n's name.
    pub subject: Box<str>,
    /// What is not known, in one sentence.
    pub text: String,
    /// What ends it, as a step for a person: `run one of its nodes`.
    pub end: String,
    /// A fingerprint of what it rests on: an acceptance of it holds until this is another.
    pub state: u64,
}

/// Why a sender that names a workflow is none of the nodes that n8n lists with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// Its workflow is not listed: it is gone, it was made for one turn of a chat, or the API key may not see it.
    Workflow,
    /// Its workflow is listed, and its node is a judge of n8n's evaluations: each test run gives that an id of its own.
    Evaluation,
    /// Its workflow is listed, and its node is not, or names no record.
    Node,
}

// === impl Look, AuditDoubt ===

impl Look {
    /// How far n8n's clock and this machine's may be apart without a word.
    pub const SLACK: Duration = Duration::from_mins(2);

    /// How far a clock that shows `theirs` is ahead of one that shows `ours`: nothing within [`Look::SLACK`].
    #[must_use]
    pub fn apart(theirs: Timestamp, ours: Timestamp) -> i64 {
        let ahead = theirs.as_millis().saturating_sub(ours.as_millis());
        if u128::from(ahead.unsigned_abs()) <= Self::SLACK.as_millis() { 0 } else { ahead }
    }

    /// A moment by this machine's clock, as it would be by n8n's and by our own: they are one where the clocks agree. Which
    /// of two clocks that disagree is right cannot be told.
    #[must_use]
    pub fn by_each_clock(&self, at: Timestamp) -> [Timestamp; 3] {
        let by = |ahead: i64| Timestamp::from_millis(at.as_millis().saturating_add(ahead));
        [at, by(self.clocks_apart[0]), by(self.clocks_apart[1])]
    }

    /// Whether both clocks showed the same time, now and in the look before.
    #[must_use]
    pub fn clocks_agree(&self) -> bool {
        self.clocks_apart == [0, 0]
    }

    /// Whether this machine's clock was set ahead between the look before and this one, by more than five minutes: what a
    /// clock drifts is no more.
    #[must_use]
    pub fn was_set_ahead(&self) -> bool {
        let [now, before] = self.clocks_apart;
        before.saturating_sub(now) > 5 * 60_000
    }

    /// The nodes that name that record; nothing where none does.
    #[must_use]
    pub fn users_of(&self, record: &str) -> Option<&NamedBy> {
        let count = || {
            let mut users: HashMap<Box<str>, NamedBy> = HashMap::new();
            for ((workflow, _), named) in &self.nodes {
                if !users.contains_key(&named.record) {
                    users.insert(named.record.clone(), NamedBy::default());
                }
                let Some(by) = users.get_mut(&named.record) else { continue };
                by.nodes += 1;
                if !by.workflows.contains(workflow) {
                    by.workflows.insert(workflow.clone());
                }
            }
            users
        };
        self.users.0.get_or_init(count).get(record)
    }

    /// Why a sender is none of the nodes that n8n lists with a record, where it is none. Without a node, its workflow is all
    /// that is known of it.
    #[must_use]
    pub fn stray(&self, workflow: &str, node: Option<&str>) -> Option<Stray> {
        if !self.workflows.contains(workflow) {
            return Some(Stray::Workflow);
        }
        let node = node?;
        let is_listed = self.nodes.contains_key(&(Box::from(workflow), Box::from(node)));
        (!is_listed).then(|| if is_of_evaluation(node) { Stray::Evaluation } else { Stray::Node })
    }
}

/// A copy may be changed before it is asked.
impl Clone for Users {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It says nothing that the nodes do not.
impl PartialEq for Users {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Users {}

/// n8n gives its nodes a UUID, and the judge of an evaluation 21 characters of chance.
fn is_of_evaluation(node: &str) -> bool {
    node.len() == 21 && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl AuditDoubt {
    /// A fingerprint of what a doubt rests on: FNV-1a of 64 bits. It is stored, so it must not change.
    #[must_use]
    pub fn state_of<'p>(parts: impl IntoIterator<Item = &'p str>) -> u64 {
        // No part has that byte, so that two lists of parts are never one text.
        let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0xff]));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// The hash by which a node is known in [`Look::nodes_there`].
#[must_use]
pub fn node_hash(workflow: &str, node: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (workflow, node).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_listed_is_told_by_what_is_missing() {
        let named = NamedRecord { record: "r".into(), since: Timestamp::from_millis(0) };
        let look = Look {
            instance: "main".into(),
            at: Timestamp::from_millis(0),
            workflows: HashSet::from(["w".into()]),
            nodes_there: HashSet::new(),
            nodes: HashMap::from([(("w".into(), "n".into()), named)]),
            records: BTreeMap::new(),
            lists_records: true,
            executions: BTreeMap::new(),
            unfinished: Vec::new(),
            clocks_apart: [0, 0],
            users: Users::default(),
        };
        assert_eq!(look.stray("w", Some("n")), None);
        assert_eq!(look.stray("w", None), None);
        assert_eq!(look.stray("21FYybvGctNHMY9c", Some("n")), Some(Stray::Workflow));
        assert_eq!(look.stray("w", Some("nlxzsr__wADdSxwccLOn-")), Some(Stray::Evaluation));
        assert_eq!(look.stray("w", Some("36e21fd8-c571-420c-bcca-1134b8428099")), Some(Stray::Node));
    }

    #[test]
    fn a_state_is_another_one_for_other_parts() {
        assert_eq!(AuditDoubt::state_of([]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(AuditDoubt::state_of(["a"]), 0x089b_c907_b544_c769, "stored, so it may not change");
        assert_ne!(AuditDoubt::state_of(["a", "b"]), AuditDoubt::state_of(["ab"]));
        assert_ne!(AuditDoubt::state_of(["a", ""]), AuditDoubt::state_of(["a"]));
    }
}
