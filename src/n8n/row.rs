//! Pure. A node as an audit finds it: what it sends, and whether that passes here.

use super::finding::{NodeName, WorkflowName};
use super::inventory::{Life, Record};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::set::Names;
use crate::ledger::identity::BindingId;
use crate::verdict::explain::DiagnosisKind;
use std::sync::Arc;

/// How a binding stands, as far as an audit looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its key is right.
    Well,
    /// It is not well: the code of a diagnosis.
    Stale(Box<str>),
    /// Its last key is right, and another sender behind it still sends an old one.
    Mixed,
    /// It has not been seen since its key was replaced.
    Silent,
    /// The same, and you said that it is dead.
    Dead,
}

/// A node that can speak to OpenAI.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub node: NodeName,
    /// Its type, as n8n writes it.
    pub type_name: Box<str>,
    pub version: f64,
    pub record: Option<Record>,
    pub life: Life,
    /// Whether it stands in the draft alone.
    pub is_draft: bool,
    pub called_by: Arc<[WorkflowName]>,
    pub passage: Passage,
    /// When it was seen last.
    pub seen: Option<Timestamp>,
    pub key: Option<Names>,
    pub set: Option<Box<str>>,
    pub binding: Option<BindingId>,
}

codes! {
    /// Whether a node passes keyward.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Passage {
        Bypasses => "bypasses",
        /// It does, with a wrong key.
        Stale => "stale",
        /// Nothing shows that it does.
        NeverSeen => "never_seen",
        /// Only a run can tell.
        Unclear => "unclear",
        /// It did, before it, its record or the set's key was changed.
        Unproven => "unproven",
        /// Its record does.
        Covered => "covered",
        Passes => "passes",
        /// It does not run: it is switched off or stands in a draft, its workflow is off or put away, or it has no credential.
        Off => "off",
    }
}

impl Standing {
    /// Of a binding that fails with an incident of that diagnosis, or without one: the account of its key is out of credit.
    /// Where upstream has not come to judge the key, it shows nothing of what its record holds.
    #[must_use]
    pub fn of_failing(diagnosis: Option<&str>) -> Self {
        let says_nothing = [DiagnosisKind::WrongPath, DiagnosisKind::OtherProject].map(DiagnosisKind::code);
        let judged = diagnosis.filter(|diagnosis| !says_nothing.contains(diagnosis));
        judged.map_or(Self::Silent, |diagnosis| Self::Stale(diagnosis.into()))
    }

    pub(super) fn diagnosis(&self) -> &str {
        match self {
            Self::Stale(diagnosis) => diagnosis,
            Self::Well | Self::Mixed | Self::Silent | Self::Dead => "stale_binding",
        }
    }
}
