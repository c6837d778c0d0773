//! Pure. Which nodes of an n8n pass keyward, and what is wrong with those that do not: the same from the command line as
//! from the API.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::key::{KeyNames, PerhapsKey};
use super::old_key::OldKeyOfSet;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::ledger::identity::BindingId;
use crate::ledger::look::{self, Look};
use crate::n8n::audit;
use crate::n8n::editor::{link_to_node, link_to_workflow};
use crate::n8n::finding::{self, NodeName, WorkflowName};
use crate::n8n::finding_kind::Urgency;
use crate::n8n::inventory::{self, Life};
use crate::n8n::row::{Passage, Row};

/// The audits of all n8n.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instances {
    /// Of each that was looked through.
    pub instances: Vec<Instance>,
}

/// The audit of an n8n, with what the running keyward knows of its records and executions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    #[serde(flatten)]
    pub audit: Audit,
    /// The credential records for OpenAI; none where n8n does not list them.
    pub credentials: Vec<Credential>,
    /// The executions that run or wait.
    pub unfinished: Vec<Unfinished>,
}

/// The audit of an n8n.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Its name in the configuration.
    pub instance: String,
    /// Where its editor is.
    pub url: String,
    /// When it was looked through.
    #[serde(with = "moment")]
    pub read: Timestamp,
    /// How many workflows there are.
    pub workflows: usize,
    /// How many credential records nodes run with.
    pub records: usize,
    /// Whether there is no fault, and no old key of its sets is still sent or held.
    pub clean: bool,
    /// What is to be mended.
    pub faults: Vec<Finding>,
    /// What else is worth knowing.
    pub information: Vec<Finding>,
    /// What keeps it from vouching that every node sends the right key.
    pub doubts: Vec<AuditDoubt>,
    /// Every node that can speak to OpenAI.
    pub nodes: Vec<AuditedNode>,
    /// The old keys that may stand there.
    pub old_keys: Vec<OldKeyOfSet>,
}

/// Something that an audit found: a fault, or something that is good to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The code of its kind. A later keyward may have others.
    pub code: String,
    /// When you have to do something about it.
    pub when: Urgency,
    /// What it is, in words.
    pub text: String,
    /// What to do about it.
    pub step: String,
    /// The credential record that it is about.
    #[serde(deserialize_with = "nullable")]
    pub record: Option<Record>,
    /// The key that it is about.
    #[serde(deserialize_with = "nullable")]
    pub key: Option<KeyNames>,
    /// The workflow that it is about.
    #[serde(deserialize_with = "nullable")]
    pub workflow: Option<NamedWorkflow>,
    /// The nodes that it is about.
    pub nodes: Vec<NamedNode>,
}

/// Something that keeps an audit from vouching for every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDoubt {
    /// The code of its kind. A later keyward may have others.
    pub code: String,
    /// The id of the record, workflow or node that it is about, or what else it is.
    pub subject: String,
    /// What is not known, in words.
    pub text: String,
    pub end: String,
}

/// A node that can speak to OpenAI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditedNode {
    #[serde(flatten)]
    pub node: NamedNode,
    /// Its type, as n8n writes it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The version of its type.
    pub type_version: f64,
    /// The credential record that it names.
    #[serde(deserialize_with = "nullable")]
    pub record: Option<Record>,
    /// Whether anything starts its workflow.
    pub workflow_state: Life,
    /// The workflows that call its own.
    pub called_by: Vec<NamedWorkflow>,
    pub state: Passage,
    /// When it was seen last.
    #[serde(with = "moment::nullable")]
    pub last: Option<Timestamp>,
    /// The key that it sent last, or that stands in it.
    #[serde(deserialize_with = "nullable")]
    pub key: Option<KeyNames>,
    /// The set of its binding.
    #[serde(deserialize_with = "nullable")]
    pub set: Option<String>,
    /// Its binding: 16 hex digits.
    #[serde(deserialize_with = "nullable")]
    pub binding: Option<String>,
}

/// A credential record that nodes name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub name: String,
}

/// A workflow by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedWorkflow {
    pub workflow_id: String,
    pub workflow_name: String,
    /// Where it is in n8n's editor.
    pub link: String,
}

/// A node by its names and those of its workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The id of its workflow.
    pub workflow_id: String,
    /// The name of its workflow.
    pub workflow_name: String,
    pub node_id: String,
    pub node_name: String,
    /// Where it is in n8n's editor.
    pub link: String,
}

/// A credential record for OpenAI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub id: String,
    pub name: String,
    /// When n8n says that it was changed last.
    #[serde(with = "moment::nullable")]
    pub changed: Option<Timestamp>,
    /// How many nodes that may run use it.
    pub nodes: usize,
    /// What came of keyward's last press of its test; nothing where it was not pressed since it was changed.
    #[serde(deserialize_with = "nullable")]
    pub pressed: Option<Pressed>,
}

/// What came of the test of a credential record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressed {
    /// When it was pressed.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// The key that it holds; nothing where none arrived, or it cannot be told which one did.
    #[serde(flatten)]
    pub key: PerhapsKey,
}

/// An execution that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    pub execution_id: String,
    /// The id of its workflow.
    pub workflow_id: String,
    #[serde(with = "moment")]
    pub began: Timestamp,
    /// Whether it waits, rather than runs.
    pub waits: bool,
    /// The ids of the credential records that it goes on with; nothing where n8n does not show them.
    #[serde(deserialize_with = "nullable")]
    pub records: Option<Vec<String>>,
}

// === impl Instance, Audit ===

impl Instance {
    /// Of an audit, and the look that it was drawn from.
    #[must_use]
    pub fn new(audit: Audit, look: Option<&Look>) -> Self {
        let credentials = look.iter().flat_map(|look| &look.records);
        let unfinished = look.iter().flat_map(|look| &look.unfinished);
        Self {
            audit,
            credentials: credentials.map(|(id, state)| Credential::new(id, state)).collect(),
            unfinished: unfinished.map(Unfinished::from).collect(),
        }
    }
}

impl Audit {
    /// Of the n8n of that name, whose editor is at that address, with the old keys that may stand there. One that is still
    /// sent or held is a fault, wherever it is.
    #[must_use]
    pub fn new(audit: &audit::Audit, instance: &str, url: &dyn fmt::Display, old_keys: Vec<OldKeyOfSet>) -> Self {
        let findings = |is_fault| {
            let chosen = audit.findings.iter().filter(move |finding| finding.is_fault() == is_fault);
            chosen.map(|finding| Finding::new(finding, url)).collect()
        };
        Self {
            instance: instance.to_owned(),
            url: url.to_string(),
            read: audit.at,
            workflows: audit.workflows,
            records: audit.records,
            clean: audit.faults().next().is_none() && !old_keys.iter().any(|old| old.summary.is_kept()),
            faults: findings(true),
            information: findings(false),
            doubts: audit.doubts.iter().map(AuditDoubt::from).collect(),
            nodes: audit.rows.iter().map(|row| AuditedNode::new(row, url)).collect(),
            old_keys,
        }
    }
}

// === impl Finding, AuditDoubt, AuditedNode ===

impl Finding {
    fn new(finding: &finding::Finding, url: &dyn fmt::Display) -> Self {
        Self {
            code: finding.code().to_owned(),
            when: finding.urgency(),
            text: finding.to_string(),
            step: finding.step().into_owned(),
            record: finding.record().map(Record::from),
            key: finding.key().map(KeyNames::from),
            workflow: finding.workflow().map(|workflow| NamedWorkflow::new(workflow, url)),
            nodes: finding.nodes().iter().map(|node| NamedNode::new(node, url)).collect(),
        }
    }
}

impl From<&look::AuditDoubt> for AuditDoubt {
    fn from(doubt: &look::AuditDoubt) -> Self {
        Self {
            code: doubt.kind.code().to_owned(),
            subject: doubt.subject.to_string(),
            text: doubt.text.clone(),
            end: doubt.end.clone(),
        }
    }
}

impl AuditedNode {
    fn new(row: &Row, url: &dyn fmt::Display) -> Self {
        Self {
            node: NamedNode::new(&row.node, url),
            type_name: row.type_name.to_string(),
            type_version: row.version,
            record: row.record.as_ref().map(Record::from),
            workflow_state: row.life,
            called_by: row.called_by.iter().map(|caller| NamedWorkflow::new(caller, url)).collect(),
            state: row.passage,
            last: row.seen,
            key: row.key.map(KeyNames::from),
            set: row.set.as_deref().map(str::to_owned),
            binding: row.binding.map(BindingId::to_hex),
        }
    }
}

// === impl Record, NamedWorkflow, NamedNode ===

impl From<&inventory::Record> for Record {
    fn from(record: &inventory::Record) -> Self {
        Self { id: record.id.to_string(), name: record.name.to_string() }
    }
}

impl NamedWorkflow {
    fn new(workflow: &WorkflowName, url: &dyn fmt::Display) -> Self {
        Self {
            workflow_id: workflow.id.to_string(),
            workflow_name: workflow.name.to_string(),
            link: link_to_workflow(url, workflow),
        }
    }
}

impl NamedNode {
    fn new(node: &NodeName, url: &dyn fmt::Display) -> Self {
        Self {
            workflow_id: node.workflow.id.to_string(),
            workflow_name: node.workflow.name.to_string(),
            node_id: node.id.to_string(),
            node_name: node.name.to_string(),
            link: link_to_node(url, node),
        }
    }
}

// === impl Credential, Unfinished ===

impl Credential {
    fn new(id: &str, state: &look::RecordState) -> Self {
        Self {
            id: id.to_owned(),
            name: state.name.to_string(),
            changed: state.changed,
            nodes: state.nodes,
            pressed: state.pressed.map(|pressed| Pressed { at: pressed.at, key: pressed.key.into() }),
        }
    }

    /// As the ledger knows it.
    #[must_use]
    pub fn to_state(&self) -> look::RecordState {
        let key = |pressed: &Pressed| pressed.key.names().map(|names| names.to_names());
        look::RecordState {
            name: self.name.as_str().into(),
            changed: self.changed,
            nodes: self.nodes,
            pressed: self.pressed.as_ref().map(|pressed| look::Pressed { at: pressed.at, key: key(pressed) }),
        }
    }
}

impl From<&look::Unfinished> for Unfinished {
    fn from(one: &look::Unfinished) -> Self {
        let ids = |records: &std::collections::BTreeSet<Box<str>>| records.iter().map(ToString::to_string).collect();
        Self {
            execution_id: one.execution.to_string(),
            workflow_id: one.workflow.to_string(),
            began: one.began,
            waits: one.waits,
            records: one.records.as_ref().map(ids),
        }
    }
}
