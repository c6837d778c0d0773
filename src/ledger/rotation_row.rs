//! Pure. A binding in the rotation view: what orders and counts it, and all that is told of it.

use std::sync::Arc;

use super::binding::{Binding, Memory};
use super::identity::{BindingId, Holder};
use super::incident::Incident;
use super::rhythm::Rhythm;
use super::set_keys::RotationKeys;
use super::standing::Standing;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::Names;
use crate::verdict::explain::Severity;

/// A binding in the view: what orders and counts it. A view has as many as there are bindings, and people look at one page
/// of them.
#[derive(Clone, Debug)]
pub struct Row {
    /// The binding: whose it is.
    pub binding: Arc<Binding>,
    pub id: BindingId,
    pub standing: Standing,
    /// When its last request started.
    pub seen: Timestamp,
    /// How much its open incident matters, or that it is mixed.
    pub severity: Option<Severity>,
}

/// A row with all that is told of its binding.
#[derive(Clone, Debug)]
pub struct FullRow {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// The workflow's name, as the caller gave it last.
    pub workflow_name: Option<Box<str>>,
    pub standing: Standing,
    /// When its last request started.
    pub seen: Timestamp,
    /// The key that it sent last; nothing where its last request had none.
    pub key: Option<Names>,
    pub rhythm: Option<Rhythm>,
    pub incident: Option<Box<Incident>>,
}

impl Row {
    pub(super) fn of(binding: &Arc<Binding>, memory: &Memory, keys: &RotationKeys, now: Timestamp) -> Option<Self> {
        if binding.holder() != Holder::Caller {
            return None;
        }
        Some(Self {
            binding: Arc::clone(binding),
            id: binding.id(),
            standing: Standing::of(memory, keys, now)?,
            seen: memory.latest?.at,
            severity: memory.incident.as_ref().map(|incident| incident.severity),
        })
    }

    /// Where it stands in the view: what is to be done comes first, then what was seen later.
    #[must_use]
    pub fn place(&self) -> (u8, i64, BindingId) {
        (self.standing.rank(), -self.seen.as_millis(), self.id)
    }

    /// With all that is told of the binding, as it is known now. Where it is seen in this very moment, it stands as it did
    /// when the view was drawn.
    #[must_use]
    pub fn in_full(&self) -> FullRow {
        let memory = self.binding.lock();
        FullRow {
            binding: Arc::clone(&self.binding),
            workflow_name: memory.name.clone(),
            standing: self.standing,
            seen: self.seen,
            key: memory.latest.and_then(|latest| latest.key).map(|key| names_of(&memory, key)),
            rhythm: memory.visits.rhythm(),
            incident: memory.incident.clone(),
        }
    }
}

/// The key with its hint, where the binding has room for it.
fn names_of(memory: &Memory, key: Fingerprint) -> Names {
    let used = memory.of_key(Some(key)).and_then(|used| used.key);
    used.unwrap_or(Names { fingerprint: key, hint: None })
}
