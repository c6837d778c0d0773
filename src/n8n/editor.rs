//! Pure. Where workflows and nodes are in n8n's editor.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::finding::{NodeName, WorkflowName};

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

fn encoded(id: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(id, SEGMENT)
}

/// What stands in ids as n8n makes them stays as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
