//! Pure. Whose a binding, an incident or an exchange is.

use serde::{Deserialize, Serialize};

use super::nullable;
use crate::ledger::identity::Holder;

/// Whose it is, by the names that n8n has for it, or else by the one that the caller gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The binding: 16 hex digits.
    pub binding: String,
    /// The name of its set.
    pub set: String,
    /// All of it in words, for people.
    pub who: String,
    /// Whether it stands for one caller.
    pub holder: Holder,
    /// The n8n, by its name in the configuration or in the tag.
    #[serde(deserialize_with = "nullable")]
    pub instance: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub workflow_id: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub workflow_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub node_id: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub node_name: Option<String>,
    /// The name of the credential record that the node names.
    #[serde(deserialize_with = "nullable")]
    pub credential: Option<String>,
    /// Where it is in n8n's editor.
    #[serde(deserialize_with = "nullable")]
    pub link: Option<String>,
    /// The client family, by its code.
    pub client: String,
    /// The address at the other end of the connection.
    pub peer: String,
}

impl Who {
    /// The digits by which people name the binding.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.binding.get(..SHORT).unwrap_or(&self.binding)
    }

    /// What is known best first: `Report (7bK2), node Summary (9f3c)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Some(id) = &self.workflow_id else { return self.who.clone() };
        let workflow = self.workflow_name.as_ref().map_or_else(|| id.clone(), |name| format!("{name} ({id})"));
        match (&self.node_name, &self.node_id) {
            (Some(name), Some(node)) => format!("{workflow}, node {name} ({node})"),
            (None, Some(node)) => format!("{workflow}, node {node}"),
            (_, None) => workflow,
        }
    }

    /// The same where there is little room: `Report, Summary`.
    #[must_use]
    pub fn in_few_words(&self) -> String {
        let workflow = self.workflow_name.as_ref().or(self.workflow_id.as_ref());
        let node = self.node_name.as_ref().or(self.node_id.as_ref());
        match (workflow, node) {
            (Some(workflow), Some(node)) => format!("{workflow}, {node}"),
            (Some(workflow), None) => workflow.clone(),
            (None, _) => self.in_words(),
        }
    }
}

/// How many digits of a binding people are shown.
const SHORT: usize = 10;
