//! What may be asked of the ledger: bindings, incidents and rotations, the same for the admin API, the command line and the
//! page, and the same from a running keyward as from its store.

use std::collections::HashMap;
use std::sync::Arc;

use super::Ledger;
use super::answer::Bar;
use super::binding::{Binding, BindingId, Memory};
use super::hours::Hours;
use super::incident::Incident;
use super::recent::Past;
use super::rotation::{self, Audit, Grounds, RotationView, SetEvidence, SetKeys, Standing};
use crate::caller::names::{Directory, Named};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::keeper::Keeper;
use crate::keys::listing::Entry;
use crate::keys::set::{KeyRing, Role, SetIndex, Word};

/// One look at the ledger: everything it is asked for is as of one moment, and judged by one key ring.
pub struct Query<'a> {
    ledger: &'a Ledger,
    ring: Arc<KeyRing>,
    keys: Vec<Entry>,
    audits: Vec<Audit>,
    names: Arc<Directory>,
    now: Timestamp,
}

/// A binding as it is listed.
#[derive(Clone, Debug)]
pub struct ListedBinding {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// The name of its set.
    pub set: Arc<str>,
    /// What is remembered of it.
    pub memory: Memory,
    /// How it stands in its set's rotation; nothing where that is not its own ([`rotation`]).
    pub standing: Option<Standing>,
}

/// An incident as it is listed.
#[derive(Clone, Debug)]
pub struct ListedIncident {
    /// The binding: its id, and whose it is.
    pub binding: Arc<Binding>,
    /// The workflow's name, as the caller gave it last.
    pub workflow_name: Option<Box<str>>,
    /// The name of its set.
    pub set: Arc<str>,
    /// The incident.
    pub incident: Incident,
}

/// Which bindings or incidents are asked for. What is not set holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of that set.
    pub set: Option<SetIndex>,
    /// Of the workflow with that id.
    pub workflow: Option<Box<str>>,
    /// Bindings that stand so, by the code of [`Standing::code`] or [`Standing::silence`]; of incidents it chooses none.
    pub standing: Option<Box<str>>,
    /// Incidents that are open (true) or closed (false); of bindings, those with or without an open one.
    pub open: Option<bool>,
}

/// Why a name stands for no binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// It cannot be the beginning of an id.
    #[error("a binding is named by at least {SHORTEST} of its hex digits")]
    NoId,
    /// No binding has such an id.
    #[error("there is no such binding")]
    Nobody,
    /// Several have.
    #[error("several bindings begin so: {}", .0.iter().map(|id| id.to_hex()).collect::<Vec<_>>().join(", "))]
    Several(Vec<BindingId>),
}

impl<'a> Query<'a> {
    /// Of that moment.
    #[must_use]
    pub fn new(ledger: &'a Ledger, keeper: &Keeper, now: Timestamp) -> Self {
        Self {
            ledger,
            ring: Arc::clone(&keeper.ring()),
            keys: keeper.entries(),
            audits: Vec::new(),
            names: Arc::default(),
            now,
        }
    }

    /// With what is known of the nodes that do not pass here, for each set in the order of the ring.
    #[must_use]
    pub fn with_audits(self, audits: Vec<Audit>) -> Self {
        Self { audits, ..self }
    }

    /// With what n8n calls its workflows and nodes.
    #[must_use]
    pub fn with_names(self, names: Arc<Directory>) -> Self {
        Self { names, ..self }
    }

    /// What n8n calls a binding.
    #[must_use]
    pub fn named(&self, binding: &Binding) -> Option<Named<'_>> {
        let identity = binding.identity();
        self.names.find(identity.instance, identity.workflow?, identity.node)
    }

    /// When the look was taken.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The sets, by name.
    pub fn sets(&self) -> impl Iterator<Item = (SetIndex, &Arc<str>)> {
        self.ring.indexes().map(|index| (index, &self.ring.set(index).name))
    }

    /// The keys of all sets.
    #[must_use]
    pub fn keys(&self) -> &[Entry] {
        &self.keys
    }

    /// The rotation view of a set.
    #[must_use]
    pub fn rotation(&self, set: SetIndex) -> RotationView {
        self.ledger.take_all_sent();
        let (bindings, tokens) = (self.ledger.bindings(), self.tokens(set));
        let by_id = bindings.iter().map(|binding| (binding.id(), binding)).collect();
        let looks: Vec<_> = self.ring.indexes().map(|index| self.ledger.looks_of(index)).collect();
        let nobody_looked = Audit::default();
        let audit = self.audits.get(set.position()).unwrap_or(&nobody_looked);
        let hours = self.ledger.with_hours(Hours::clone);
        let mut view = self.ledger.with_senders(|senders| {
            let of_set = |(index, senders): (SetIndex, _)| SetEvidence {
                senders,
                tokens: self.tokens(index),
                looks: looks.get(index.position()).into_iter().flatten().map(|look| &**look).collect(),
            };
            let evidence: Vec<_> = self.ring.indexes().zip(senders).map(of_set).collect();
            rotation::view(&Grounds {
                set,
                facts: self.ring.set(set),
                keys: &self.keys,
                tokens: &tokens,
                bindings: &bindings,
                by_id: &by_id,
                hours: &hours,
                audit,
                evidence: &evidence,
                settings: self.ledger.rotation_settings(),
                is_taken: &|key| self.ring.word(key) == Some(Word::Accepted),
                in_flight: &self.ledger.in_flight,
                now: self.now,
            })
        });
        self.name_everybody(&mut view, &by_id);
        view
    }

    /// The reason with that number, and the set whose old key it bars from going.
    #[must_use]
    pub fn bar(&self, digits: &str) -> Option<(SetIndex, Bar)> {
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8)?;
        self.ring.indexes().find_map(|set| {
            let view = self.rotation(set);
            let mut bars = view.old_keys.iter().flat_map(|old| old.can_go.all_bars());
            bars.find(|bar| bar.number == number && bar.can_accept).cloned().map(|bar| (set, bar))
        })
    }

    /// Each binding that an answer speaks of has the name that n8n gives.
    fn name_everybody(&self, view: &mut RotationView, by_id: &HashMap<BindingId, &Arc<Binding>>) {
        if self.names.instances().is_empty() {
            return;
        }
        for bar in view.old_keys.iter_mut().flat_map(|key| key.can_go.all_bars_mut()) {
            let binding = bar.binding.and_then(|id| by_id.get(&id));
            if let Some((binding, named)) = binding.and_then(|binding| Some((binding, self.named(binding)?))) {
                bar.who = binding.describe_named(&named);
            }
        }
    }

    /// Bindings, those that were seen last first.
    #[must_use]
    pub fn bindings(&self, filter: &Filter) -> Vec<ListedBinding> {
        let keys = self.set_keys();
        let all = self.ledger.bindings().into_iter().filter(|binding| filter.wants(binding));
        let mut listed: Vec<_> = all.map(|binding| self.list(binding, &keys)).collect();
        listed.retain(|row| filter.wants_listed(row));
        listed.sort_by_key(|row| (row.memory.last_seen().map(|at| -at.as_millis()), row.binding.id()));
        listed
    }

    /// What is known of an execution: its last exchanges, and the bindings that remember it beside them.
    #[must_use]
    pub fn execution(&self, id: &str) -> (Vec<Past>, Vec<ListedBinding>) {
        let past = self.ledger.recent.of(id);
        let mut remembered = self.bindings(&Filter::default());
        remembered.retain(|row| {
            let is_told = past.iter().any(|past| past.binding.id() == row.binding.id());
            !is_told && row.memory.uses.iter().any(|used| used.execution.as_deref() == Some(id))
        });
        (past, remembered)
    }

    /// The name of a binding's set.
    #[must_use]
    pub fn set_of(&self, binding: &Binding) -> &Arc<str> {
        &self.ring.set(binding.identity().set).name
    }

    /// The binding whose id begins so.
    pub fn find(&self, digits: &str) -> Result<ListedBinding, FindError> {
        Ok(self.list(find(self.ledger, digits)?, &self.set_keys()))
    }

    /// Incidents, the one that opened last first.
    #[must_use]
    pub fn incidents(&self, filter: &Filter) -> Vec<ListedIncident> {
        let mut listed = Vec::new();
        for binding in self.ledger.bindings().into_iter().filter(|binding| filter.wants(binding)) {
            let memory = binding.lock();
            let closed = memory.unsaved.closed().iter().map(|(incident, _)| incident);
            let incidents: Vec<_> = closed.chain(memory.incident.as_deref()).cloned().collect();
            let name = memory.name.clone();
            drop(memory);
            listed.extend(incidents.into_iter().map(|incident| self.list_incident(&binding, name.clone(), incident)));
        }
        let closed = self.ledger.closed_incidents().into_iter().filter(|closed| filter.wants(&closed.binding));
        listed.extend(closed.map(|closed| {
            let name = closed.binding.lock().name.clone();
            self.list_incident(&closed.binding, name, closed.incident)
        }));
        listed.retain(|row| filter.open.is_none_or(|open| open == row.incident.closed.is_none()));
        listed.sort_by_key(|row| (-row.incident.opened.as_millis(), row.incident.id));
        // One that the ledger's own thread took over meanwhile was seen in both places.
        listed.dedup_by_key(|row| row.incident.id);
        listed
    }

    fn list(&self, binding: Arc<Binding>, keys: &[SetKeys]) -> ListedBinding {
        let (set, memory) = (binding.identity().set, binding.memory());
        let standing = keys.get(set.position()).and_then(|keys| rotation::standing(&memory, keys, self.now));
        ListedBinding { set: Arc::clone(&self.ring.set(set).name), binding, memory, standing }
    }

    fn list_incident(&self, binding: &Arc<Binding>, name: Option<Box<str>>, incident: Incident) -> ListedIncident {
        let set = Arc::clone(&self.ring.set(binding.identity().set).name);
        ListedIncident { binding: Arc::clone(binding), workflow_name: name, set, incident }
    }

    fn set_keys(&self) -> Vec<SetKeys> {
        self.ring.indexes().map(|set| SetKeys::new(set, &self.keys, &self.tokens(set))).collect()
    }

    /// The set's tokens that nobody revoked.
    fn tokens(&self, set: SetIndex) -> Vec<Fingerprint> {
        let owned = self.ring.owners().filter(|(_, owner)| owner.set == set && owner.role == Role::Token);
        owned.map(|(names, _)| names.fingerprint).filter(|key| self.ring.revoked(*key).is_none()).collect()
    }
}

/// The only binding whose id begins so: at least six of the sixteen hex digits, or the ten that are shown.
pub fn find(ledger: &Ledger, digits: &str) -> Result<Arc<Binding>, FindError> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(SHORTEST..=16).contains(&digits.len()) {
        return Err(FindError::NoId);
    }
    let digits = digits.to_ascii_lowercase();
    let mut found = ledger.bindings();
    found.retain(|binding| binding.id().to_hex().starts_with(&digits));
    match &found[..] {
        [only] => Ok(Arc::clone(only)),
        [] => Err(FindError::Nobody),
        several => Err(FindError::Several(several.iter().map(|binding| binding.id()).collect())),
    }
}

impl Filter {
    fn wants(&self, binding: &Binding) -> bool {
        let identity = binding.identity();
        self.set.is_none_or(|set| set == identity.set)
            && self.workflow.as_deref().is_none_or(|workflow| identity.workflow == Some(workflow))
    }

    fn wants_listed(&self, row: &ListedBinding) -> bool {
        let stands = |code: &str| {
            row.standing.is_some_and(|standing| standing.code() == code || standing.silence() == Some(code))
        };
        self.standing.as_deref().is_none_or(stands)
            && self.open.is_none_or(|open| open == row.memory.incident.is_some())
    }
}

/// Fewer digits of an id name nothing.
const SHORTEST: usize = 6;
