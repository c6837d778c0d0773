//! Pure. Why an audit does not vouch that every node sends the right key: each doubt with its sentence, what ends it, and what
//! it rests on, so that a person can accept it until that changes.
//!
//! A doubt is a finding ([`Finding::is_doubt`]), or a node that was not seen since it or its record was changed, if no finding
//! tells that. It ends by itself, as soon as an audit no longer finds it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::finding::{Finding, NodeName};
use super::inventory::Inventory;
use crate::clock::Timestamp;
use crate::ledger::doubt_kind::DoubtKind;
use crate::ledger::look::AuditDoubt;
use crate::n8n::row::{Passage, Row};

/// All of them, in the order of the findings; `instance` is the n8n's name.
#[must_use]
pub fn all(findings: &[Finding], rows: &[Row], inventory: &Inventory, instance: &str) -> Vec<AuditDoubt> {
    let dates = Dates::new(inventory);
    let found = findings.iter().filter_map(|finding| Some((finding.kind().doubt()?, finding)));
    let mut doubts: Vec<_> = found.map(|(kind, finding)| of_finding(kind, finding, &dates, instance)).collect();
    doubts.extend(of_rows(findings, rows, &dates));
    doubts
}

/// When n8n says that what a doubt names was changed last.
struct Dates<'a> {
    workflows: HashMap<&'a str, Option<Timestamp>>,
    inventory: &'a Inventory,
}

impl<'a> Dates<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let workflows = inventory.workflows.iter().map(|workflow| (&*workflow.id, workflow.changed)).collect();
        Self { workflows, inventory }
    }

    fn of_workflow(&self, id: &str) -> String {
        in_text(self.workflows.get(id).copied().flatten())
    }

    fn of_record(&self, id: &str) -> String {
        in_text(self.inventory.records.get(id).and_then(|facts| facts.updated))
    }

    /// What a doubt about those nodes rests on: which they are, and when their workflows were changed.
    fn of_nodes(&self, nodes: &[NodeName]) -> Vec<String> {
        let of_node = |node: &NodeName| [name_of(node), self.of_workflow(&node.workflow.id)];
        let mut nodes: Vec<_> = nodes.iter().map(of_node).collect();
        nodes.sort_unstable();
        nodes.into_iter().flatten().collect()
    }
}

fn of_finding(kind: DoubtKind, finding: &Finding, dates: &Dates<'_>, instance: &str) -> AuditDoubt {
    let subject = subject_of(finding, instance);
    let mut rests_on = vec![kind.code().to_owned(), subject.clone()];
    rests_on.extend(dates.of_nodes(finding.nodes()));
    rests_on.extend(finding.record().map(|record| dates.of_record(&record.id)));
    rests_on.extend(finding.key().map(|key| key.fingerprint.to_hex()));
    rests_on.extend(finding.workflow().map(|workflow| dates.of_workflow(&workflow.id)));
    rests_on.extend(own_parts(finding));
    let state = AuditDoubt::state_of(rests_on.iter().map(String::as_str));
    let end = finding.step().into_owned();
    AuditDoubt { kind, subject: subject.into(), text: in_words(finding), end, state }
}

/// What one kind of finding rests on beside what all of them name.
fn own_parts(finding: &Finding) -> Vec<String> {
    match finding {
        Finding::Bypass { way, .. } => vec![way.to_string()],
        Finding::DraftDiffers { changes, .. } => {
            changes.iter().flat_map(|change| [change.node.to_string(), change.what.words().to_owned()]).collect()
        }
        Finding::GenericAuth { auth, .. } => vec![auth.to_string()],
        Finding::UnclearCall { node, .. } => vec![node.to_string()],
        Finding::UnlistedWorkflows { workflows } => workflows.iter().map(ToString::to_string).collect(),
        Finding::SameIds { workflows, .. } => workflows.iter().map(|workflow| workflow.id.to_string()).collect(),
        // Each turn of a chat has two workflows of its own: an acceptance is of chats, and not of those.
        Finding::UnlistedOnce { .. }
        | Finding::NeverSeen { .. }
        | Finding::TypedKey { .. }
        | Finding::StaleRecord { .. }
        | Finding::StaleNode { .. }
        | Finding::Mixed { .. }
        | Finding::Deactivated { .. }
        | Finding::PerhapsDeactivated { .. }
        | Finding::ChangedSince { .. }
        | Finding::UnclearAddress { .. }
        | Finding::SeveralRecords { .. }
        | Finding::OlderVersion { .. }
        | Finding::OlderClient { .. }
        | Finding::NobodyCalls { .. }
        | Finding::Disabled { .. }
        | Finding::Archived { .. }
        | Finding::Mentions { .. }
        | Finding::Dormant { .. }
        | Finding::UnclearKey { .. }
        | Finding::RecordWithoutNode { .. }
        | Finding::ScopeLacks { .. }
        | Finding::Gateway { .. }
        | Finding::AsksAgent { .. } => Vec::new(),
    }
}

/// A record before the nodes that use it; else the only node, the workflow, or what else the finding is about.
fn subject_of(finding: &Finding, instance: &str) -> String {
    if let Finding::ScopeLacks { scope } = finding {
        return (*scope).to_owned();
    }
    if let Finding::SameIds { other, .. } = finding {
        return other.to_string();
    }
    if let Finding::UnclearCall { workflow, node } = finding {
        return format!("{}/{node}", workflow.id);
    }
    let record = finding.record().map(|record| record.id.to_string());
    let node = || finding.nodes().first().map(name_of);
    let workflow = || finding.workflow().map(|workflow| workflow.id.to_string());
    record.or_else(node).or_else(workflow).unwrap_or_else(|| instance.to_owned())
}

/// Its sentence, and with several nodes where those are.
fn in_words(finding: &Finding) -> String {
    match finding.record() {
        Some(_) if !finding.nodes().is_empty() => format!("{finding} (in {})", places(finding.nodes())),
        Some(_) | None => finding.to_string(),
    }
}

/// The workflows of nodes by their names, each once: `FAQ bot, Sub: enrich customer`.
fn places(nodes: &[NodeName]) -> String {
    let mut names: Vec<_> =
        nodes.iter().map(|node| &node.workflow).map(|workflow| (&workflow.name, &workflow.id)).collect();
    names.sort_unstable();
    names.dedup();
    let shown = names.iter().take(MOST_PLACES).map(|(name, id)| if name.is_empty() { &***id } else { &***name });
    let more = match names.len().saturating_sub(MOST_PLACES) {
        0 => String::new(),
        more => format!(" and {more} more workflows"),
    };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}

/// Nodes that were not seen since a change, if no finding tells that: those of one record together.
fn of_rows(findings: &[Finding], rows: &[Row], dates: &Dates<'_>) -> Vec<AuditDoubt> {
    let told = findings.iter().filter(|finding| finding.is_doubt());
    let told_records: HashSet<_> = told.clone().filter_map(Finding::record).map(|record| record.id.clone()).collect();
    let told_nodes: HashSet<_> = told.flat_map(Finding::nodes).map(name_of).collect();
    let mut waiting: BTreeMap<String, Vec<NodeName>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_waiting(row.passage)) {
        let record = row.record.as_ref().filter(|record| !record.id.is_empty()).map(|record| record.id.clone());
        let name = name_of(&row.node);
        let is_told = record.as_ref().is_some_and(|record| told_records.contains(record)) || told_nodes.contains(&name);
        if !is_told {
            waiting.entry(record.map_or(name, String::from)).or_default().push(row.node.clone());
        }
    }
    waiting.into_iter().map(|(subject, nodes)| unproven(subject, &nodes, dates)).collect()
}

fn unproven(subject: String, nodes: &[NodeName], dates: &Dates<'_>) -> AuditDoubt {
    let kind = DoubtKind::Unproven;
    let mut rests_on = vec![kind.code().to_owned(), dates.of_record(&subject)];
    rests_on.extend(dates.of_nodes(nodes));
    let state = AuditDoubt::state_of(rests_on.iter().map(String::as_str));
    let text = match nodes {
        [first] => format!("{first} was not seen with the right key since it was changed last"),
        [first, others @ ..] => format!(
            "{first} and {} others were not seen with the right key since they were changed last (in {})",
            others.len(),
            places(nodes)
        ),
        [] => String::new(),
    };
    AuditDoubt { kind, subject: subject.into(), text, end: UNPROVEN_END.to_owned(), state }
}

/// Whether a node is to be seen with the right key yet.
pub(super) fn is_waiting(passage: Passage) -> bool {
    match passage {
        Passage::Unproven | Passage::Unclear | Passage::NeverSeen => true,
        Passage::Bypasses | Passage::Stale | Passage::Covered | Passage::Passes | Passage::Off => false,
    }
}

/// A node by its ids: its own is unique in its workflow alone.
fn name_of(node: &NodeName) -> String {
    format!("{}/{}", node.workflow.id, node.id)
}

fn in_text(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| at.to_string())
}

/// What ends the doubt whether a node still passes keyward with the right key.
pub const UNPROVEN_END: &str = "run one of the nodes, or wait for the next run";

/// How many workflows a sentence names.
const MOST_PLACES: usize = 12;
