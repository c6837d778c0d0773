//! Pure. An audit as JSON: the same from the command line as from the admin API.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::audit::Audit;
use super::finding::{Finding, NodeName, WorkflowName};
use super::inventory::Record;
use crate::keys::set::Names;
use crate::ledger::look::{AuditDoubt, Look, Pressed, RecordState, Unfinished};
use crate::n8n::row::Row;

/// An audit of the n8n of that name, whose editor is at that address.
#[must_use]
pub fn in_json(audit: &Audit, instance: &str, url: &dyn fmt::Display) -> Value {
    let findings = |is_fault| {
        let chosen = audit.findings.iter().filter(move |finding| finding.is_fault() == is_fault);
        chosen.map(|finding| self::finding(finding, url)).collect::<Vec<_>>()
    };
    json!({
        "instance": instance,
        "url": url.to_string(),
        "read": audit.at.to_string(),
        "workflows": audit.workflows,
        "records": audit.records,
        "clean": audit.faults().next().is_none(),
        "faults": findings(true),
        "information": findings(false),
        "doubts": audit.doubts.iter().map(doubt).collect::<Vec<_>>(),
        "nodes": audit.rows.iter().map(|row| self::row(row, url)).collect::<Vec<_>>(),
    })
}

/// Adds what is told of the old keys that may stand there: one that is still sent or held is a fault, wherever it is.
pub fn add_old_keys(audit: &mut Value, old_keys: Vec<Value>) {
    if old_keys.iter().any(is_kept) {
        audit["clean"] = false.into();
    }
    audit["old_keys"] = old_keys.into();
}

/// Whether an old key is still sent or held.
#[must_use]
pub fn is_kept(old: &Value) -> bool {
    old["can_go"]["answer"] == "no"
}

/// The credential records of an n8n, with the key that each was found to hold when keyward pressed its test last.
#[must_use]
pub fn credentials(look: &Look) -> Value {
    let press = |pressed: Pressed| {
        let mut told = pressed.key.map_or_else(|| json!({ "fingerprint": null, "hint": null }), key);
        told["at"] = pressed.at.to_string().into();
        told
    };
    let record = |id: &str, state: &RecordState| {
        json!({
            "id": id,
            "name": &*state.name,
            "changed": state.changed.map(|at| at.to_string()),
            "nodes": state.nodes,
            "pressed": state.pressed.map(press),
        })
    };
    look.records.iter().map(|(id, state)| record(id, state)).collect()
}

/// The executions of an n8n that have begun and not ended, with the credential records that they go on with.
#[must_use]
pub fn unfinished(look: &Look) -> Value {
    let execution = |one: &Unfinished| {
        json!({
            "execution_id": &*one.execution,
            "workflow_id": &*one.workflow,
            "began": one.began.to_string(),
            "waits": one.waits,
            "records": one.records.as_ref().map(|records| records.iter().map(|id| &**id).collect::<Vec<_>>()),
        })
    };
    look.unfinished.iter().map(execution).collect()
}

/// Where a node is in n8n's editor.
#[must_use]
pub fn link_to_node(url: &dyn fmt::Display, node: &NodeName) -> String {
    format!("{}/{}", link_to_workflow(url, &node.workflow), encoded(&node.id))
}

/// Where a workflow is in n8n's editor.
#[must_use]
pub fn link_to_workflow(url: &dyn fmt::Display, workflow: &WorkflowName) -> String {
    format!("{url}/workflow/{}", encoded(&workflow.id))
}

fn finding(finding: &Finding, url: &dyn fmt::Display) -> Value {
    json!({
        "code": finding.code(),
        "when": finding.urgency().code(),
        "text": finding.to_string(),
        "step": finding.step(),
        "record": finding.record().map(record),
        "key": finding.key().map(key),
        "workflow": finding.workflow().map(|workflow| self::workflow(workflow, url)),
        "nodes": finding.nodes().iter().map(|node| self::node(node, url)).collect::<Vec<_>>(),
    })
}

fn doubt(doubt: &AuditDoubt) -> Value {
    json!({ "code": doubt.code, "subject": &*doubt.subject, "text": doubt.text, "end": doubt.end })
}

fn row(row: &Row, url: &dyn fmt::Display) -> Value {
    let mut told = node(&row.node, url);
    told["type"] = (*row.type_name).into();
    told["type_version"] = row.version.into();
    told["record"] = row.record.as_ref().map(record).into();
    told["workflow_state"] = row.life.code().into();
    told["called_by"] = row.called_by.iter().map(|caller| workflow(caller, url)).collect();
    told["state"] = row.passage.code().into();
    told["last"] = row.seen.map(|at| at.to_string()).into();
    told["key"] = row.key.map(key).into();
    told["set"] = row.set.as_deref().into();
    told["binding"] = row.binding.as_deref().into();
    told
}

fn node(node: &NodeName, url: &dyn fmt::Display) -> Value {
    json!({
        "workflow_id": &*node.workflow.id,
        "workflow_name": &*node.workflow.name,
        "node_id": &*node.id,
        "node_name": &*node.name,
        "link": link_to_node(url, node),
    })
}

fn workflow(workflow: &WorkflowName, url: &dyn fmt::Display) -> Value {
    json!({ "workflow_id": &*workflow.id, "workflow_name": &*workflow.name, "link": link_to_workflow(url, workflow) })
}

fn record(record: &Record) -> Value {
    json!({ "id": &*record.id, "name": &*record.name })
}

fn key(names: Names) -> Value {
    json!({ "fingerprint": names.fingerprint.to_hex(), "hint": names.hint.map(|hint| hint.to_string()) })
}

fn encoded(id: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(id, SEGMENT)
}

/// What stands in ids as n8n makes them stays as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
