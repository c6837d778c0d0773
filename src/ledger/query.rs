//! What may be asked of the ledger: bindings, incidents and rotations, the same for the admin API, the command line and the
//! page, and the same from a running keyward as from its store.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::answer::{Answer, Bar, BarRecord};
use super::bar_kind::BarKind;
use super::binding::{Binding, Memory};
use super::identity::BindingId;
use super::incident::{Incident, IncidentId};
use super::look::{Look, NamedBy};
use super::old_key::OldKey;
use super::progress::Progress;
use super::recent::Past;
use super::rotation::{self, RotationView};
use super::rotation_grounds::{Audit, Grounds, SetEvidence};
use super::rotation_row::Row;
use super::senders::{RecordName, Senders, SentFrom};
use super::set_keys::RotationKeys;
use super::standing::Standing;
use super::{Ledger, PassThrough};
use crate::caller::names::{Directory, Named};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::reloader::Reloader;
use crate::keys::set::{KeyRing, Role, SetIndex, Word};
use crate::verdict::explain::Severity;

/// One look at the ledger: everything it is asked for is as of one moment, and judged by one key ring. What several questions
/// need is drawn once, when the first of them is asked.
pub struct Query<'a> {
    ledger: &'a Ledger,
    ring: Arc<KeyRing>,
    keys: Vec<Entry>,
    audits: OnceCell<Vec<Audit>>,
    auditing: Option<&'a dyn Auditing>,
    names: Arc<Directory>,
    now: Timestamp,
    bindings: OnceCell<Vec<Arc<Binding>>>,
    /// Ids are pieces of a SHA-256, and how many a peer can begin is bounded, so that they are their own hashes.
    by_id: OnceCell<HashMap<BindingId, usize, PassThrough>>,
    mixed: OnceCell<HashMap<BindingId, Mixed>>,
    /// Each view that was drawn without an audit, by the position of its set.
    unaudited: Vec<OnceCell<Arc<RotationView>>>,
    /// Each that was drawn with one.
    audited: Vec<OnceCell<Arc<RotationView>>>,
}

/// Finds out what is known of the nodes that do not pass here.
pub trait Auditing {
    /// For each set in the order of the ring. It may ask how bindings stand, and not for a rotation.
    fn audits(&self, look: &Query<'_>) -> Vec<Audit>;
}

/// A binding in a list: what orders it, and how it stands.
#[derive(Clone, Debug)]
pub struct BindingRow {
    pub binding: Arc<Binding>,
    /// When its last request started.
    pub last: Timestamp,
    /// How it stands in its set's rotation; nothing where that is not its own ([`super::standing`]).
    pub standing: Option<Standing>,
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
    /// How it stands in its set's rotation; nothing where that is not its own ([`Standing::of`]).
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
    pub incident: Incident,
    /// What its binding sent, from where and when, while it is open.
    pub sent_from: Vec<SentFrom>,
}

/// A binding that looks well, and one of whose senders still sends an old key.
struct Mixed {
    binding: Arc<Binding>,
    incident: Incident,
    sent_from: Vec<SentFrom>,
}

/// Which bindings or incidents are asked for. What is not set holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
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
    NotFound,
    #[error("several bindings begin so: {}", .0.iter().map(|id| id.to_hex()).collect::<Vec<_>>().join(", "))]
    Several(Vec<BindingId>),
}

impl<'a> Query<'a> {
    /// A look as of `now`, by the keys that the reloader has. The ledger is read when the first question needs it.
    #[must_use]
    pub fn new(ledger: &'a Ledger, reloader: &Reloader, now: Timestamp) -> Self {
        let ring = Arc::clone(&reloader.ring());
        Self {
            ledger,
            keys: reloader.entries(),
            audits: OnceCell::new(),
            auditing: None,
            names: Arc::default(),
            now,
            bindings: OnceCell::new(),
            by_id: OnceCell::new(),
            mixed: OnceCell::new(),
            unaudited: ring.indexes().map(|_| OnceCell::new()).collect(),
            audited: ring.indexes().map(|_| OnceCell::new()).collect(),
            ring,
        }
    }

    /// With what is known of the nodes that do not pass here, for each set in the order of the ring.
    #[must_use]
    pub fn with_audits(self, audits: Vec<Audit>) -> Self {
        Self { audits: OnceCell::from(audits), ..self }
    }

    /// With what finds that out, once it is needed.
    #[must_use]
    pub fn with_auditing(self, auditing: &'a dyn Auditing) -> Self {
        Self { auditing: Some(auditing), ..self }
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

    /// Whether n8n calls anything by a name, as far as is known.
    #[must_use]
    pub fn has_names(&self) -> bool {
        !self.names.instances().is_empty()
    }

    /// When the look was taken.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Each set that is configured with its name, in the order in which they came.
    pub fn sets(&self) -> impl Iterator<Item = (SetIndex, &Arc<str>)> {
        let configured = self.ring.indexes().filter(|index| self.ring.is_configured(*index));
        configured.map(|index| (index, &self.ring.set(index).name))
    }

    /// The name of each set by its position, of those as well that are configured no longer.
    pub fn positions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ring.sets().iter().map(|set| &set.name)
    }

    /// The keys of all sets.
    #[must_use]
    pub fn keys(&self) -> &[Entry] {
        &self.keys
    }

    /// The rotation view of a set.
    #[must_use]
    pub fn rotation(&self, set: SetIndex) -> Arc<RotationView> {
        let Some(audits) = self.audits() else { return self.unaudited(set) };
        let no_audit = Audit::default();
        let audit = audits.get(set.position()).unwrap_or(&no_audit);
        let draw = || {
            let known = self.unaudited(set);
            Arc::new(self.with_grounds(set, audit, |grounds| known.audited(grounds)))
        };
        self.audited.get(set.position()).map_or_else(draw, |drawn| Arc::clone(drawn.get_or_init(draw)))
    }

    /// The bindings of a set that rotate, and how many of them stand how: it takes no audit to tell.
    pub fn with_rows<T>(&self, set: SetIndex, look: impl FnOnce(&[Row], &Progress) -> T) -> T {
        let view = self.unaudited(set);
        look(&view.rows, &view.progress)
    }

    /// Whether one of the views that were drawn says that an old key can go.
    #[must_use]
    pub fn says_yes(&self) -> bool {
        let drawn = self.unaudited.iter().chain(&self.audited).filter_map(OnceCell::get);
        drawn.flat_map(|view| &view.old_keys).any(|old| matches!(old.can_go, Answer::Yes(_)))
    }

    fn audits(&self) -> Option<&[Audit]> {
        match &self.auditing {
            Some(auditing) => Some(self.audits.get_or_init(|| auditing.audits(self))),
            None => self.audits.get().map(Vec::as_slice),
        }
    }

    /// The view of a set for which n8n was not looked through. What it says of old keys is not all there is to say.
    fn unaudited(&self, set: SetIndex) -> Arc<RotationView> {
        let draw = || Arc::new(self.with_grounds(set, &Audit::default(), rotation::view));
        self.unaudited.get(set.position()).map_or_else(draw, |drawn| Arc::clone(drawn.get_or_init(draw)))
    }

    fn with_grounds<T>(&self, set: SetIndex, audit: &Audit, draw: impl FnOnce(&Grounds<'_>) -> T) -> T {
        self.ledger.take_all_sent();
        let (tokens, settings) = (self.tokens(set), self.ledger.rotation_settings());
        let looks: Vec<_> = self.ring.indexes().map(|index| self.ledger.looks_of(index)).collect();
        let is_own = |key| self.keys.iter().any(|entry| entry.set == set && entry.names.fingerprint == key);
        let hours = self.ledger.with_hours(|hours| hours.of_keys(is_own));
        self.ledger.with_senders(|senders| {
            let of_set = |(index, senders): (SetIndex, _)| SetEvidence {
                senders,
                tokens: self.tokens(index),
                looks: looks.get(index.position()).into_iter().flatten().map(|look| &**look).collect(),
            };
            let evidence: Vec<_> = self.ring.indexes().zip(senders).map(of_set).collect();
            draw(&Grounds {
                set,
                facts: self.ring.set(set),
                keys: &self.keys,
                tokens: &tokens,
                bindings: self.all(),
                binding_of: &|id| self.binding(id).map(Arc::clone),
                hours: &hours,
                audit,
                evidence: &evidence,
                settings: &settings,
                is_taken: &|key| self.ring.word(key) == Some(Word::Accepted),
                in_flight: &self.ledger.in_flight,
                now: self.now,
            })
        })
    }

    /// How many exchanges carried one of those keys towards that set, hour by hour; hours without any are left out.
    #[must_use]
    pub fn traffic(&self, set: SetIndex, keys: &[Fingerprint]) -> Vec<(Timestamp, u64)> {
        let mut hours: BTreeMap<Timestamp, u64> = BTreeMap::new();
        self.ledger.with_hours(|all| {
            for (hour, exchanges) in keys.iter().flat_map(|key| all.of_key(set, *key)) {
                *hours.entry(hour).or_default() += exchanges;
            }
        });
        hours.into_iter().collect()
    }

    /// When the first request of a binding of that set started that carried one of those keys.
    #[must_use]
    pub fn first_use(&self, set: SetIndex, keys: &[Fingerprint]) -> Option<Timestamp> {
        let first = |binding: &Arc<Binding>| {
            let memory = binding.lock();
            let own = memory.uses.iter().filter(|used| used.key.is_some_and(|key| keys.contains(&key.fingerprint)));
            own.map(|used| used.first).min()
        };
        self.all().iter().filter(|binding| binding.set() == set).filter_map(first).min()
    }

    /// Every binding that there was when the look was first asked.
    #[must_use]
    pub fn all(&self) -> &[Arc<Binding>] {
        self.bindings.get_or_init(|| self.ledger.bindings())
    }

    /// The binding with that id.
    #[must_use]
    pub fn binding(&self, id: BindingId) -> Option<&Arc<Binding>> {
        let all = self.all();
        let places = || all.iter().enumerate().map(|(place, binding)| (binding.id(), place)).collect();
        all.get(*self.by_id.get_or_init(places).get(&id)?)
    }

    /// The reason with that number, and the set whose old key it bars from going.
    #[must_use]
    pub fn bar(&self, digits: &str) -> Option<(SetIndex, Bar)> {
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8)?;
        self.ring.indexes().find_map(|set| {
            let view = self.rotation(set);
            let mut bars = view.old_keys.iter().flat_map(|old| old.can_go.all_bars());
            bars.find(|bar| bar.shown_number() == number && bar.can_accept).map(|bar| (set, self.named_bar(bar)))
        })
    }

    /// The same view with the names that n8n gives in all of its answers.
    #[must_use]
    pub fn named_rotation(&self, set: SetIndex) -> RotationView {
        let mut view = RotationView::clone(&self.rotation(set));
        for bar in view.old_keys.iter_mut().flat_map(|old| old.can_go.all_bars_mut()) {
            *bar = self.named_bar(bar);
        }
        view
    }

    /// Something that bars an old key, with the names that n8n gives. There may be many, and few are told.
    #[must_use]
    pub fn named_bar(&self, bar: &Bar) -> Bar {
        let (mut bar, looks) = (bar.clone(), self.ledger.looks());
        let binding = bar.binding.and_then(|id| self.binding(id));
        if let Some((binding, named)) = binding.and_then(|binding| Some((binding, self.named(binding)?))) {
            bar.who = binding.describe_named(&named);
        }
        bar.record = bar.record.take().or_else(|| record_of(binding?, &looks).map(Box::new));
        if let Some(record) = bar.record.as_ref().filter(|_| bar.kind == BarKind::RecordHoldsIt) {
            bar.who = format!("credential {}", record.title);
            if let Some(users) = users(record, &looks) {
                let _ = write!(bar.who, " ({})", self.in_words(users));
            }
        }
        bar
    }

    /// For each credential record that senders or n8n's test show to hold the old key: `OpenAI account 2: old key, 6 nodes
    /// in FAQ bot, Sub: enrich customer`.
    #[must_use]
    pub fn by_credential(&self, old: Fingerprint, bars: &[Bar]) -> Vec<(BarRecord, String)> {
        let looks = self.ledger.looks();
        let mut records: BTreeMap<BarRecord, Vec<&Bar>> = BTreeMap::new();
        for bar in bars.iter().filter(|bar| bar.is_no) {
            let of_binding = || record_of(self.binding(bar.binding?)?, &looks);
            if let Some(record) = bar.record.as_deref().cloned().or_else(of_binding) {
                records.entry(record).or_default().push(bar);
            }
        }
        if records.is_empty() {
            return Vec::new();
        }
        let node = |id| node_of(self.binding(id)?);
        let text = |record: &BarRecord, bars: &[&Bar]| {
            // What a test or its last use shows is so for all its nodes.
            let holds = |senders: &Senders| senders.last_key(&record.name) == Some(old);
            let is_held =
                bars.iter().any(|bar| bar.binding.is_none()) || self.ledger.with_senders(|sets| sets.iter().any(holds));
            let users = if is_held {
                users(record, &looks).map(|users| self.in_words(users))
            } else {
                let nodes: BTreeSet<_> = bars.iter().filter_map(|bar| node(bar.binding?)).collect();
                let count = nodes.len();
                let workflows = nodes.into_iter().map(|(workflow, _)| workflow).collect();
                (count > 0).then(|| self.in_words(&NamedBy { nodes: count, workflows }))
            };
            let users = users.unwrap_or_else(|| "named by no node".to_owned());
            format!("{}: old key, {users}", record.title)
        };
        let told = |(record, bars): (BarRecord, Vec<&Bar>)| {
            let text = text(&record, &bars);
            (record, text)
        };
        records.into_iter().map(told).collect()
    }

    /// `6 nodes in FAQ bot, Sub: enrich customer`.
    fn in_words(&self, users: &NamedBy) -> String {
        let name = |id: &str| {
            self.names.find(None, id, None).map_or_else(|| id.to_owned(), |named| named.workflow.name.to_string())
        };
        let workflows: BTreeSet<_> = users.workflows.iter().map(|workflow| name(workflow)).collect();
        let shown = workflows.iter().take(MOST_WORKFLOWS).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match workflows.len().saturating_sub(MOST_WORKFLOWS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{} node{} in {shown}{more}", users.nodes, if users.nodes == 1 { "" } else { "s" })
    }

    /// Bindings, those that were seen last first.
    #[must_use]
    pub fn bindings(&self, filter: &Filter) -> Vec<ListedBinding> {
        self.rows(filter).iter().map(|row| self.in_full(row)).collect()
    }

    /// What orders bindings, and how they stand: those that were seen last first.
    #[must_use]
    pub fn rows(&self, filter: &Filter) -> Vec<BindingRow> {
        let mut rows = Vec::new();
        self.each(|binding, memory, standing| {
            // Before its first exchange has ended, there is nothing to show.
            let Some(last) = memory.last_seen() else { return };
            if filter.wants(binding) && filter.wants_memory(memory, standing) {
                rows.push(BindingRow { binding: Arc::clone(binding), last, standing });
            }
        });
        rows.sort_by_cached_key(|row| (-row.last.as_millis(), row.binding.id()));
        rows
    }

    /// With all that is remembered of the binding, as it is known now.
    #[must_use]
    pub fn in_full(&self, row: &BindingRow) -> ListedBinding {
        let (binding, memory) = (Arc::clone(&row.binding), row.binding.memory());
        ListedBinding { set: Arc::clone(self.set_of(&binding)), binding, memory, standing: row.standing }
    }

    /// Looks at each binding, what is remembered of it and how it stands: it is locked meanwhile.
    pub fn each<'s>(&'s self, mut look: impl FnMut(&'s Arc<Binding>, &Memory, Option<Standing>)) {
        let keys = self.set_keys();
        // Drawn before any binding is locked, for it locks each of them.
        self.mixed();
        for binding in self.all() {
            let memory = binding.lock();
            look(binding, &memory, self.standing(binding, &memory, &keys));
        }
    }

    /// What is known of an execution: its last exchanges, and the bindings that remember it beside them.
    #[must_use]
    pub fn execution(&self, id: &str) -> (Vec<Past>, Vec<ListedBinding>) {
        let past = self.ledger.recent.of(id);
        let mut remembered = Vec::new();
        self.each(|binding, memory, standing| {
            let is_told = || past.iter().any(|past| past.binding.id() == binding.id());
            let is_of_it = memory.uses.iter().any(|used| used.execution.as_deref() == Some(id));
            if let Some(last) = memory.last_seen().filter(|_| is_of_it && !is_told()) {
                remembered.push(BindingRow { binding: Arc::clone(binding), last, standing });
            }
        });
        remembered.sort_by_cached_key(|row| (-row.last.as_millis(), row.binding.id()));
        (past, remembered.iter().map(|row| self.in_full(row)).collect())
    }

    /// The name of a binding's set.
    #[must_use]
    pub fn set_of(&self, binding: &Binding) -> &Arc<str> {
        &self.ring.set(binding.identity().set).name
    }

    /// The binding whose id begins so.
    pub fn find(&self, digits: &str) -> Result<ListedBinding, FindError> {
        let binding = find(self.ledger, digits)?;
        let memory = binding.memory();
        let standing = self.standing(&binding, &memory, &self.set_keys());
        Ok(ListedBinding { set: Arc::clone(self.set_of(&binding)), binding, memory, standing })
    }

    /// Incidents, the one that opened last first. A mixed binding has one as long as one of its senders sends an old key.
    #[must_use]
    pub fn incidents(&self, filter: &Filter) -> Vec<ListedIncident> {
        let mut listed = Vec::new();
        for binding in self.all().iter().filter(|binding| filter.wants(binding)) {
            let memory = binding.lock();
            let closed = memory.unsaved.closed().iter().map(|(incident, _)| incident);
            let incidents = closed.chain(memory.incident.as_deref());
            listed.extend(incidents.map(|incident| self.list_incident(binding, memory.name.clone(), incident.clone())));
        }
        let closed = self.ledger.closed_incidents().into_iter().filter(|closed| filter.wants(&closed.binding));
        listed.extend(closed.map(|closed| {
            let name = closed.binding.lock().name.clone();
            self.list_incident(&closed.binding, name, closed.incident)
        }));
        let mixed = self.mixed().values().filter(|mixed| filter.wants(&mixed.binding));
        listed.extend(mixed.map(|mixed| {
            let name = mixed.binding.lock().name.clone();
            let sent_from = mixed.sent_from.clone();
            ListedIncident { sent_from, ..self.list_incident(&mixed.binding, name, mixed.incident.clone()) }
        }));
        listed.retain(|row| filter.open.is_none_or(|open| open == row.incident.closed.is_none()));
        listed.sort_by_key(|row| (-row.incident.opened.as_millis(), row.incident.id));
        // One that the ledger's own thread took over meanwhile was seen in both places.
        listed.dedup_by_key(|row| row.incident.id);
        self.add_senders(&mut listed);
        listed
    }

    /// How many incidents of a set are open.
    #[must_use]
    pub fn open_incidents(&self, set: SetIndex) -> usize {
        let mixed = self.mixed().values().filter(|mixed| mixed.binding.set() == set).count();
        self.unaudited(set).open_incidents + mixed
    }

    /// From where came what the open ones are about.
    fn add_senders(&self, incidents: &mut [ListedIncident]) {
        let is_open = |row: &&mut ListedIncident| row.incident.closed.is_none() && row.sent_from.is_empty();
        let open: HashSet<_> = incidents.iter_mut().filter(is_open).map(|row| row.binding.id()).collect();
        let mut sent_from = self.sent_from(&open);
        for row in incidents.iter_mut().filter(is_open) {
            row.sent_from = sent_from.remove(&row.binding.id()).unwrap_or_default();
        }
    }

    /// What each of those bindings sent, from where and when: what came last comes first.
    #[must_use]
    pub fn sent_from(&self, bindings: &HashSet<BindingId>) -> HashMap<BindingId, Vec<SentFrom>> {
        if bindings.is_empty() {
            return HashMap::new();
        }
        self.ledger.take_all_sent();
        // A binding is of one set.
        self.ledger.with_senders(|sets| sets.iter().flat_map(|set| set.sent_from(bindings)).collect())
    }

    /// The bindings that look well although a sender of theirs still sends an old key.
    fn mixed(&self) -> &HashMap<BindingId, Mixed> {
        self.mixed.get_or_init(|| {
            let has_old = |set| self.keys.iter().any(|key| key.set == set && matches!(key.role, Role::Previous { .. }));
            let views = self.ring.indexes().filter(|set| has_old(*set)).map(|set| self.unaudited(set));
            views.flat_map(|view| self.mixed_of(&view)).map(|mixed| (mixed.binding.id(), mixed)).collect()
        })
    }

    fn mixed_of(&self, view: &RotationView) -> Vec<Mixed> {
        let rows: Vec<_> = view.rows.iter().filter(|row| row.standing == Standing::Mixed).collect();
        let mut sent_from = self.sent_from(&rows.iter().map(|row| row.id).collect());
        let mut mixed = |row: &&Row| Mixed::of(row, view, sent_from.remove(&row.id).unwrap_or_default());
        rows.iter().filter_map(&mut mixed).collect()
    }

    fn standing(&self, binding: &Binding, memory: &Memory, keys: &[RotationKeys]) -> Option<Standing> {
        let standing = Standing::of(memory, keys.get(binding.set().position())?, self.now)?;
        let is_mixed = standing.has_right_key() && self.mixed().contains_key(&binding.id());
        Some(if is_mixed { Standing::Mixed } else { standing })
    }

    fn list_incident(&self, binding: &Arc<Binding>, name: Option<Box<str>>, incident: Incident) -> ListedIncident {
        let set = Arc::clone(&self.ring.set(binding.identity().set).name);
        ListedIncident { binding: Arc::clone(binding), workflow_name: name, set, incident, sent_from: Vec::new() }
    }

    fn set_keys(&self) -> Vec<RotationKeys> {
        self.ring.indexes().map(|set| RotationKeys::new(set, &self.keys, &self.tokens(set))).collect()
    }

    /// The set's tokens that admit: neither revoked nor at their end.
    fn tokens(&self, set: SetIndex) -> Vec<Fingerprint> {
        let owned = self.ring.owners().filter(|(_, owner)| owner.set == set && owner.role == Role::Token);
        let is_valid = |token: &Fingerprint| {
            self.ring.revoked(*token).is_none() && self.ring.end(*token).is_none_or(|end| self.now < end)
        };
        owned.map(|(names, _)| names.fingerprint).filter(is_valid).collect()
    }
}

// === impl Mixed ===

impl Mixed {
    fn of(row: &Row, view: &RotationView, sent_from: Vec<SentFrom>) -> Option<Self> {
        let id = row.binding.id();
        let is_about = |old: &&OldKey| old.can_go.bars().iter().any(|bar| bar.binding == Some(id));
        let old = view.old_keys.iter().find(is_about)?;
        let (of_old, of_others): (Vec<&SentFrom>, Vec<&SentFrom>) =
            sent_from.iter().partition(|sent| sent.key == old.names.fingerprint);
        // Requests before the rotation were no fault. A store of before they were counted knows of one.
        let sightings = of_old.iter().map(|sent| u64::from(sent.outdated)).sum::<u64>().max(1);
        let last = of_old.iter().map(|sent| sent.last).max()?;
        // Both came from the first use of the one that came second.
        let began = |sent: &[&SentFrom]| sent.iter().map(|sent| sent.first).min();
        let opened = began(&of_old).max(began(&of_others)).unwrap_or(last).min(last);
        let incident = Incident {
            id: IncidentId::of_mixed(id, opened),
            opened,
            last,
            sightings,
            diagnosis: "mixed",
            severity: row.severity.unwrap_or(Severity::Error),
            key: Some(old.names),
            execution: None,
            path: None,
            closed: None,
        };
        Some(Self { binding: Arc::clone(&row.binding), incident, sent_from })
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
        [] => Err(FindError::NotFound),
        several => Err(FindError::Several(several.iter().map(|binding| binding.id()).collect())),
    }
}

impl Filter {
    fn wants(&self, binding: &Binding) -> bool {
        let identity = binding.identity();
        self.set.is_none_or(|set| set == identity.set)
            && self.workflow.as_deref().is_none_or(|workflow| identity.workflow == Some(workflow))
    }

    fn wants_memory(&self, memory: &Memory, standing: Option<Standing>) -> bool {
        let stands =
            |code: &str| standing.is_some_and(|standing| standing.code() == code || standing.silence() == Some(code));
        self.standing.as_deref().is_none_or(stands) && self.open.is_none_or(|open| open == memory.incident.is_some())
    }
}

/// The ids of a workflow and its node.
type NodeIds = (Box<str>, Box<str>);

/// The nodes that name a record.
fn users<'l>(record: &BarRecord, looks: &'l [Arc<Look>]) -> Option<&'l NamedBy> {
    looks.iter().find(|look| look.instance == record.name.n8n)?.users_of(&record.name.id)
}

fn node_of(binding: &Binding) -> Option<NodeIds> {
    let identity = binding.identity();
    Some((identity.workflow?.into(), identity.node?.into()))
}

/// The record that a binding's node names, where one n8n alone may be meant.
fn record_of(binding: &Binding, looks: &[Arc<Look>]) -> Option<BarRecord> {
    let (node, instance) = (node_of(binding)?, binding.identity().instance);
    let own = looks.iter().filter(|look| instance.is_none_or(|name| *look.instance == *name));
    let mut found = own.filter_map(|look| Some((look, look.nodes.get(&node)?)));
    let (look, named) = found.next().filter(|_| found.next().is_none())?;
    let title = look.records.get(&named.record).map_or_else(|| named.record.clone(), |state| state.name.clone());
    Some(BarRecord { name: RecordName { n8n: look.instance.clone(), id: named.record.clone() }, title })
}

/// How many workflows a sentence names.
const MOST_WORKFLOWS: usize = 12;

/// Fewer digits of an id name nothing.
const SHORTEST: usize = 6;
