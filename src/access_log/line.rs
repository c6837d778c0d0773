//! What a line of the access log tells of an exchange.

use std::sync::Arc;

use crate::caller::names::Named;
use crate::clock::Timestamp;
use crate::ledger::sighting::Exchange;
use crate::outcome::Outcome;
use crate::verdict::explain::Diagnosis;

/// An exchange that is to be written down.
pub struct Line<'a> {
    pub exchange: &'a Exchange,
    pub outcome: Outcome,
    /// What is wrong with it.
    pub diagnosis: Diagnosis,
    /// The set that it was judged by.
    pub set: &'a Arc<str>,
    /// What n8n calls the caller.
    pub named: Option<Named<'a>>,
    /// When the same was told in full of its binding, a short time ago: what to do is not told again then.
    pub told_at: Option<Timestamp>,
    /// The credential record whose test keyward pressed when it came.
    pub pressed: Option<&'a str>,
}

impl Line<'_> {
    /// The workflow's name, as n8n gives it, or else the caller.
    #[must_use]
    pub fn workflow_name(&self) -> Option<&str> {
        self.named.map(|named| &*named.workflow.name).or(self.exchange.workflow_name())
    }

    /// The node's name, as n8n gives it.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.named.and_then(|named| named.node).map(|node| &*node.name)
    }
}
