//! Pure. The audit of one n8n: what is configured there ([`Inventory`]) beside what keyward saw of it.
//!
//! n8n does not show what stands in a credential record. That a record leads here is shown by requests alone: one of a node
//! that takes its address from the record, which came after record and node were changed last. Then all nodes that use the
//! record pass here, also those that never ran. A node with an address of its own is judged by that.
//!
//! | a node that runs, or may run | is |
//! |---|---|
//! | was seen since it was changed, with the right key | `passes` |
//! | was not, but its record was | `covered` |
//! | was seen with a wrong key last, or its record was; or another sender behind it still sends an old key | `stale` |
//! | was not seen since it, its record or the set's key was changed | `unproven` |
//! | has a record, and nothing of that was ever seen | `never_seen` |
//! | was never seen, and only a run can tell where it sends | `unclear` |
//! | sends to OpenAI itself, or to an address where keyward was never seen | `bypasses` |
//!
//! What keeps all this from vouching for every node stands in [`Audit::doubts`], each with what ends it ([`super::doubt`]).
//!
//! Who sent a request is a claim of its tag. A client that may reach keyward and knows the ids of a workflow can make a node look
//! as if it passed here; none can make one look well that is seen with a wrong key.

use crate::n8n::row::{Passage, Row, Standing};
use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::connect::{Entrance, Marks};
use super::connections::Left;
use super::doubt;
use super::finding::{Finding, NodeName, Put, Way, WorkflowName};
use super::inventory::{Address, Inventory, Kind, Life, Node, OPEN_AI_API, Record, Workflow};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::Names;
use crate::ledger::identity::BindingId;
use crate::ledger::look::{AuditDoubt, Look};

/// What an audit is drawn from.
pub struct Grounds<'a> {
    /// What is configured.
    pub inventory: &'a Inventory,
    /// What keyward saw that may be of this n8n.
    pub sightings: &'a [Sighting<'a>],
    /// The addresses under which keyward is known to be reached, host and port in lower case. Those at which it was seen
    /// are found by themselves.
    pub hosts: &'a [String],
    /// The keys that keyward knows.
    pub keys: &'a HashMap<Fingerprint, KnownKey>,
    /// What started an execution, by its id, in n8n's words: of those that [`suspects`] names.
    pub modes: &'a HashMap<Box<str>, Box<str>>,
    /// When n8n was looked through.
    pub at: Timestamp,
    /// What is known beside that.
    pub around: Around<'a>,
}

/// What an audit knows beside the nodes of one n8n and what was seen of them. By default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// The name of the n8n in the configuration.
    pub instance: &'a str,
    /// The set that its credentials belong to, where that is said: then requests with keys of others are none of its own.
    pub set: Option<&'a str>,
    /// The scopes that its API key lacks.
    pub lacks: &'a [&'static str],
    /// The other n8n whose requests may be taken for those of this one, each with its name.
    pub others: &'a [(&'a str, &'a Inventory)],
    /// What the ledger was told of it last: of its records, what came of n8n's test of them.
    pub look: Option<&'a Look>,
    /// The records that lead past keyward since keyward put another Base URL there.
    pub left: &'a [Left],
    /// Where it reaches keyward, where that is said.
    pub entrance: Option<&'a Entrance>,
}

/// A binding, as far as an audit looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting<'a> {
    pub binding: BindingId,
    pub set: &'a str,
    /// Which n8n, where its tag says so.
    pub instance: Option<&'a str>,
    /// Whether all that it sent may be of one execution.
    pub is_single: bool,
    /// Whether a person said that it is dead, and it has not come since.
    pub is_acknowledged: bool,
    /// Its workflow; nothing where it is not known whose it is.
    pub workflow: Option<&'a str>,
    pub node: Option<&'a str>,
    /// When its last request started.
    pub at: Timestamp,
    pub key: Option<Names>,
    pub execution: Option<Box<str>>,
    /// The client family: a node may speak by several.
    pub client: &'a str,
    /// The client's version, as it said last.
    pub client_version: Option<Box<str>>,
    pub standing: Standing,
}

/// A key that keyward knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The name of its set.
    pub set: Box<str>,
    /// What it is there: `current`, `next` or `previous`.
    pub role: Box<str>,
}

/// All that an audit of one n8n says: its nodes, what was found, and what keeps it from vouching for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// When n8n was looked through.
    pub at: Timestamp,
    /// How many workflows there are.
    pub workflows: usize,
    /// Every node that can speak to OpenAI.
    pub rows: Vec<Row>,
    /// How many credential records those use.
    pub records: usize,
    /// What was found: faults first.
    pub findings: Vec<Finding>,
    /// Why an old key may still be in use where keyward cannot see it: nothing where every node that may run was seen to pass
    /// here with the right key. A key that stands in a node is no such reason, for that one is known.
    pub doubts: Vec<AuditDoubt>,
}

/// The executions by which one can tell whether a workflow that is off ran by itself: the last one of each.
#[must_use]
pub fn suspects(inventory: &Inventory, sightings: &[Sighting<'_>]) -> Vec<Box<str>> {
    let seen = Seen::new(sightings);
    let off = inventory.workflows.iter().filter(|workflow| may_be_deactivated(workflow));
    off.filter_map(|workflow| seen.of_workflow(&workflow.id)?.execution.clone()).collect()
}

/// Judges every node of one n8n by what is configured there and what keyward saw of it.
#[must_use]
pub fn audit(grounds: &Grounds<'_>) -> Audit {
    let survey = Survey::new(grounds);
    let mut draft = Draft::of(&survey);
    let records = draft.by_record.len();
    let mut findings = draft.findings(&survey);
    findings.extend(draft.what_is_older());
    findings.sort_by_key(Finding::urgency);
    let rows = draft.all_rows(&survey);
    Audit {
        at: grounds.at,
        workflows: grounds.inventory.workflows.len(),
        doubts: doubt::all(&findings, &rows, grounds.inventory, grounds.around.instance),
        rows,
        records,
        findings,
    }
}

/// What of an audit bears on old keys alone: it is asked for again and again, and there may be many nodes.
#[must_use]
pub fn clear(grounds: &Grounds<'_>) -> Cleared {
    let survey = Survey::new(grounds);
    let mut draft = Draft::of(&survey);
    let mut findings = draft.findings(&survey);
    findings.sort_by_key(Finding::urgency);
    let rows = draft.waiting_rows(&survey);
    let doubts = doubt::all(&findings, &rows, grounds.inventory, grounds.around.instance);
    let typed = typed_keys(&findings).map(|(key, node)| (key, node.to_string())).collect();
    Cleared { at: grounds.at, typed, doubts }
}

/// What an audit says of old keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// When n8n was looked through.
    pub at: Timestamp,
    /// The keys that stand in nodes, each with where it does.
    pub typed: Vec<(Fingerprint, String)>,
    /// As [`Audit::doubts`].
    pub doubts: Vec<AuditDoubt>,
}

/// What was seen last of whom.
struct Seen<'a> {
    by_node: HashMap<(&'a str, &'a str), &'a Sighting<'a>>,
    sightings: &'a [Sighting<'a>],
    /// Only what is off is asked for by its workflow.
    by_workflow: OnceCell<HashMap<&'a str, &'a Sighting<'a>>>,
    untagged: usize,
}

impl<'a> Seen<'a> {
    fn new(sightings: &'a [Sighting<'a>]) -> Self {
        let mut by_node = HashMap::with_capacity(sightings.len());
        let mut untagged = 0;
        for sighting in sightings {
            match (sighting.workflow, sighting.node) {
                (Some(workflow), Some(node)) => note_later(&mut by_node, (workflow, node), sighting),
                (Some(_), None) => {}
                (None, _) => untagged += 1,
            }
        }
        Self { by_node, sightings, by_workflow: OnceCell::new(), untagged }
    }

    fn of_node(&self, workflow: &Workflow, node: &Node) -> Option<&'a Sighting<'a>> {
        self.by_node.get(&(workflow.named_by(node), &*node.id)).copied()
    }

    fn of_workflow(&self, id: &str) -> Option<&'a Sighting<'a>> {
        let by_workflow = self.by_workflow.get_or_init(|| {
            let mut by_workflow = HashMap::new();
            for sighting in self.sightings {
                if let Some(workflow) = sighting.workflow {
                    note_later(&mut by_workflow, workflow, sighting);
                }
            }
            by_workflow
        });
        by_workflow.get(id).copied()
    }
}

/// Keeps the later one, and of two of one moment that of the first binding.
fn note_later<'a, K: Eq + Hash>(known: &mut HashMap<K, &'a Sighting<'a>>, key: K, sighting: &'a Sighting<'a>) {
    let later = |known: &mut &'a Sighting<'a>| {
        if (known.at, Reverse(known.binding)) < (sighting.at, Reverse(sighting.binding)) {
            *known = sighting;
        }
    };
    known.entry(key).and_modify(later).or_insert(sighting);
}

/// A node with its workflow, and the last sighting of it.
#[derive(Clone, Copy)]
struct Spot<'a> {
    workflow: &'a Workflow,
    node: &'a Node,
    seen: Option<&'a Sighting<'a>>,
}

impl Spot<'_> {
    fn name(&self) -> NodeName {
        NodeName { workflow: name_of(self.workflow), id: self.node.id.clone(), name: self.node.name.clone() }
    }
}

fn names(spots: &[Spot<'_>]) -> Vec<NodeName> {
    spots.iter().map(Spot::name).collect()
}

/// What is known before any node is judged.
struct Survey<'a> {
    grounds: &'a Grounds<'a>,
    seen: Seen<'a>,
    /// The nodes of each workflow, in the order of the inventory.
    spots: Vec<Vec<Spot<'a>>>,
    hosts: HashSet<&'a str>,
    records: BTreeMap<&'a str, RecordState<'a>>,
    newest: HashMap<&'a str, f64>,
}

/// What is known of a record by the nodes that use it.
#[derive(Default)]
struct RecordState<'a> {
    /// The last sighting of any node of it, since node and record were changed.
    latest: Option<&'a Sighting<'a>>,
    /// Whether one of those took its address from the record.
    leads_here: bool,
    /// Whether any node of it was ever seen whose address is the record's.
    was_seen: bool,
    /// Whether any node of it was ever seen.
    was_used: bool,
    changed: Option<Timestamp>,
    /// What n8n's test of it showed here, since it was changed.
    tested: Option<Tested>,
    sets: BTreeSet<&'a str>,
}

/// What n8n's test of a record showed.
#[derive(Clone, Copy)]
struct Tested {
    at: Timestamp,
    key: Names,
    is_right: bool,
}

impl RecordState<'_> {
    /// What its test showed, if none of its nodes has come since.
    fn last_test(&self) -> Option<Tested> {
        self.tested.filter(|tested| self.latest.is_none_or(|latest| latest.at < tested.at))
    }

    /// Whether its last word was the right key.
    fn is_proven(&self) -> bool {
        self.last_test().map_or_else(
            || self.latest.is_some_and(|latest| matches!(latest.standing, Standing::Well | Standing::Mixed)),
            |tested| tested.is_right,
        )
    }
}

impl<'a> Survey<'a> {
    fn new(grounds: &'a Grounds<'a>) -> Self {
        let seen = Seen::new(grounds.sightings);
        let spots = |workflow: &'a Workflow| {
            let spot = |node| Spot { workflow, node, seen: seen.of_node(workflow, node) };
            workflow.nodes.iter().map(spot).collect::<Vec<_>>()
        };
        let spots: Vec<_> = grounds.inventory.workflows.iter().map(spots).collect();
        let hosts = grounds.hosts.iter().map(String::as_str).collect();
        let (records, newest) = (BTreeMap::new(), HashMap::new());
        let mut survey = Self { grounds, seen, spots: Vec::new(), hosts, records, newest };
        spots.iter().flatten().for_each(|spot| survey.note(*spot));
        Self { spots, ..survey }
    }

    fn note(&mut self, spot: Spot<'a>) {
        let Spot { workflow, node, seen } = spot;
        let newest = self.newest.entry(&node.type_name).or_insert(node.version);
        *newest = newest.max(node.version);
        // Where nothing is published, a person runs the draft.
        if node.is_draft && !matches!(workflow.life, Life::Unpublished | Life::Archived) {
            return;
        }
        if let (Address::Host(host), Some(sighting)) = (&node.address, seen)
            && is_since(workflow.changed, sighting)
        {
            self.hosts.insert(host);
        }
        let Some(record) = node.chosen() else { return };
        if !self.records.contains_key(&*record.id) {
            let facts = self.grounds.inventory.records.get(&*record.id);
            let changed = facts.and_then(|facts| facts.updated);
            let tested = self.tested(&record.id, changed);
            self.records.insert(&record.id, RecordState { changed, tested, ..RecordState::default() });
        }
        let Some((state, sighting)) = self.records.get_mut(&*record.id).zip(seen) else { return };
        let is_of_record = node.address == Address::OfRecord;
        state.was_used = true;
        state.was_seen |= is_of_record;
        if is_since(workflow.changed, sighting) && is_since(state.changed, sighting) {
            state.leads_here |= is_of_record;
            if !state.sets.contains(sighting.set) {
                state.sets.insert(sighting.set);
            }
            if state.latest.is_none_or(|latest| latest.at < sighting.at) {
                state.latest = Some(sighting);
            }
        }
    }

    /// What n8n's test of a record showed, if that was since it was changed. A token of ours is no key that rotates.
    fn tested(&self, record: &str, changed: Option<Timestamp>) -> Option<Tested> {
        let pressed = self.grounds.around.look?.records.get(record)?.pressed?;
        let key = pressed.key.filter(|_| changed.is_none_or(|changed| changed <= pressed.at))?;
        let is_token = key.hint.is_some_and(|hint| hint.prefix() == "kw_");
        let role = self.grounds.keys.get(&key.fingerprint).map(|known| &*known.role);
        Some(Tested { at: pressed.at, key, is_right: is_token || matches!(role, Some("current" | "next")) })
    }

    /// Whether its key is known to be the right one: by its record, or where it has none by what it sent itself.
    fn is_key_proven(&self, spot: Spot<'_>) -> bool {
        if let Some(record) = spot.node.chosen() {
            return self.records.get(&*record.id).is_some_and(RecordState::is_proven);
        }
        spot.seen.is_some_and(|own| is_since(spot.workflow.changed, own) && own.standing == Standing::Well)
    }

    /// Whether it is an HTTP Request that n8n shows neither the key nor the address of: it may be OpenAI's key, and go to
    /// OpenAI or to keyward.
    fn is_blind(&self, node: &Node) -> bool {
        let is_open_ai = node.record.as_ref().is_some_and(|record| record.is_open_ai);
        let may_lead = match &node.address {
            Address::OpenAi | Address::Unclear => true,
            Address::Host(host) => self.hosts.contains(&**host) || (node.request.may_ask_api && is_private(host)),
            Address::OfRecord | Address::NoBaseUrl => false,
        };
        node.kind == Kind::HttpRequest
            && !is_open_ai
            && may_lead
            && (node.request.generic_auth.is_some() || node.request.has_unclear_key)
    }

    /// Whether the node has to do with OpenAI at all. An HTTP Request may call any server.
    fn concerns(&self, spot: Spot<'_>) -> bool {
        let node = spot.node;
        match node.kind {
            Kind::OpenAi => true,
            Kind::Agent => node.record.is_some(),
            Kind::Text => false,
            Kind::HttpRequest => {
                node.address == Address::OpenAi
                    || node.record.as_ref().is_some_and(|record| record.is_open_ai)
                    || self.is_ours(&node.address)
                    || spot.seen.is_some()
                    || self.is_blind(node)
                    || node.keys.iter().any(|key| key.is_surely_open_ai || self.knows(key.names))
            }
        }
    }

    /// Whether requests to there come here.
    fn is_ours(&self, address: &Address) -> bool {
        matches!(address, Address::Host(host) if self.hosts.contains(&**host))
    }

    fn knows(&self, key: Names) -> bool {
        self.grounds.keys.contains_key(&key.fingerprint)
    }

    /// In what way it sends past keyward, if it does. What was seen here since it was changed does not: n8n's environment
    /// may give a node an address, and a name may lead anywhere.
    fn bypass(&self, spot: Spot<'_>) -> Option<Way> {
        let Spot { workflow, node, seen } = spot;
        if let Some(left) = self.left_by(node) {
            return Some(Way::Disconnected { base_url: left.url.as_str().into(), at: Timestamp::from_millis(left.at) });
        }
        match &node.address {
            _ if seen.is_some_and(|seen| is_since(workflow.changed, seen)) => None,
            Address::NoBaseUrl => Some(Way::NoBaseUrl),
            Address::OpenAi => Some(Way::Straight),
            // It may be keyward by another name, and may as well be none of its business.
            Address::Host(_) if self.is_blind(node) => None,
            Address::Host(host) if !self.hosts.contains(&**host) => Some(Way::Elsewhere(host.clone())),
            Address::Host(_) | Address::OfRecord | Address::Unclear => None,
        }
    }

    /// How a node goes by a record that keyward led away from here, if none was seen here since.
    fn left_by(&self, node: &Node) -> Option<&'a Left> {
        let has_left = !self.grounds.around.left.is_empty();
        let record = node.chosen().filter(|_| has_left && node.address == Address::OfRecord)?;
        self.left(&record.id, self.records.get(&*record.id)?)
    }

    fn left(&self, record: &str, state: &RecordState<'_>) -> Option<&'a Left> {
        let left = self.grounds.around.left.iter().find(|left| left.credential == record)?;
        let is_proven = state.leads_here || state.tested.is_some();
        (!is_proven && state.changed.is_some() && left.stands(state.changed)).then_some(left)
    }

    /// What to put into a node whose address is its own, so that it leads here.
    fn address_to_put(&self, node: &Node) -> Option<Put> {
        let entrance = self.grounds.around.entrance?;
        let path = node.request.path.as_deref().unwrap_or_default();
        // n8n 1.x has no header that names the node, and without the record there is none at all.
        let is_tagged =
            self.grounds.inventory.lists_records && node.record.as_ref().is_some_and(|record| record.is_open_ai);
        Some(if is_tagged {
            Put { url: format!("{}{path}", entrance.base_url()).into(), is_expression: false }
        } else {
            Put { url: format!("{}{path}", entrance.tagging_base_url(&Marks::default())).into(), is_expression: true }
        })
    }

    fn passage(&self, spot: Spot<'_>) -> Passage {
        let Spot { workflow, node, seen } = spot;
        if !workflow.runs(node) {
            return Passage::Off;
        }
        if self.bypass(spot).is_some() {
            return Passage::Bypasses;
        }
        if seen.is_some_and(|own| own.standing == Standing::Mixed) {
            return Passage::Stale;
        }
        let of_record = node.chosen().and_then(|record| self.records.get(&*record.id));
        if let Some(state) = of_record
            && let Some(passage) = self.passage_of_record(spot, state)
        {
            return passage;
        }
        match seen {
            // Without a record, what it was seen with is what stands in the node.
            Some(own) if of_record.is_none() && is_since(workflow.changed, own) => match own.standing {
                Standing::Stale(_) | Standing::Mixed => Passage::Stale,
                Standing::Well => Passage::Passes,
                Standing::Silent | Standing::Dead => Passage::Unproven,
            },
            Some(_) => Passage::Unproven,
            None => match node.address {
                Address::Unclear => Passage::Unclear,
                Address::OfRecord if of_record.is_none_or(|state| !state.was_seen) => Passage::NeverSeen,
                // It leads here, and will be seen when it runs.
                Address::OfRecord | Address::Host(_) | Address::NoBaseUrl | Address::OpenAi => Passage::Unproven,
            },
        }
    }

    /// What its record tells of it, if that was seen since it was changed.
    fn passage_of_record(&self, spot: Spot<'_>, state: &RecordState<'_>) -> Option<Passage> {
        let Spot { workflow, node, seen: own } = spot;
        let is_of_record = node.address == Address::OfRecord;
        if let Some(tested) = state.last_test()
            && (is_of_record || self.is_ours(&node.address))
        {
            // The test came here, by the record's address.
            return Some(if tested.is_right { Passage::Covered } else { Passage::Stale });
        }
        let latest = state.latest?;
        let leads_here = if is_of_record { state.leads_here } else { self.is_ours(&node.address) || own.is_some() };
        let changed = state.changed.max(workflow.changed);
        match &latest.standing {
            _ if !leads_here => None,
            _ if self.is_wrong(latest, state) => Some(Passage::Stale),
            Standing::Well | Standing::Mixed
                if own.is_some_and(|own| is_since(changed, own) && own.standing == Standing::Well) =>
            {
                Some(Passage::Passes)
            }
            Standing::Well | Standing::Mixed => Some(Passage::Covered),
            Standing::Stale(_) | Standing::Silent | Standing::Dead => None,
        }
    }

    /// Whether a record that was seen so holds a wrong key. A silent one does where n8n says that it was not changed since.
    fn is_wrong(&self, latest: &Sighting<'_>, state: &RecordState<'_>) -> bool {
        let is_previous = || {
            let known = latest.key.and_then(|key| self.grounds.keys.get(&key.fingerprint));
            known.is_some_and(|known| &*known.role == "previous")
        };
        matches!(latest.standing, Standing::Stale(_))
            || (latest.standing == Standing::Silent && state.changed.is_some() && is_previous())
    }
}

/// An audit that is being drawn. Names are made where something is told of a node, and not of each.
#[derive(Default)]
struct Draft<'a> {
    spots: Vec<(Spot<'a>, Passage)>,
    findings: Vec<Finding>,
    /// The nodes that run with each record.
    by_record: BTreeMap<&'a str, Users<'a>>,
    /// The nodes that only a person has run, by their records.
    dormant: BTreeMap<&'a str, (Record, Vec<NodeName>)>,
    /// The nodes for which n8n pays.
    gateway: Vec<NodeName>,
    /// The nodes of each type that are older than the newest one.
    older: BTreeMap<&'a str, (f64, Vec<Spot<'a>>)>,
    /// The nodes of each type that were seen with a client version, by the client's family.
    clients: BTreeMap<[&'a str; 2], Vec<SentBy<'a>>>,
}

/// The nodes that run with a record.
struct Users<'a> {
    record: &'a Record,
    spots: Vec<Spot<'a>>,
    /// Whether one of them takes its address from the record.
    takes_address: bool,
}

impl<'a> Draft<'a> {
    fn of(survey: &Survey<'a>) -> Self {
        let mut draft = Self::default();
        for (workflow, spots) in survey.grounds.inventory.workflows.iter().zip(&survey.spots) {
            draft.add(survey, workflow, spots);
        }
        draft
    }

    fn add(&mut self, survey: &Survey<'a>, workflow: &'a Workflow, spots: &[Spot<'a>]) {
        let (mut disabled, before) = (Vec::new(), self.spots.len());
        for spot in spots.iter().copied() {
            self.note_keys(survey, spot);
            self.note_beyond(spot);
            if !survey.concerns(spot) {
                continue;
            }
            if spot.node.disabled && !spot.node.is_draft && workflow.life != Life::Archived {
                disabled.push(spot.name());
            }
            self.add_node(survey, spot);
        }
        if !disabled.is_empty() {
            self.findings.push(Finding::Disabled { workflow: name_of(workflow), nodes: disabled });
        }
        self.note_workflow(survey, workflow, self.spots.len() > before);
    }

    fn add_node(&mut self, survey: &Survey<'a>, spot: Spot<'a>) {
        let Spot { workflow, node, seen } = spot;
        let passage = survey.passage(spot);
        match passage {
            Passage::Bypasses => self.findings.extend(survey.bypass(spot).map(|way| {
                let put = if matches!(way, Way::Disconnected { .. }) { None } else { survey.address_to_put(node) };
                Finding::Bypass { node: spot.name(), way, put }
            })),
            Passage::Unclear if !survey.is_blind(node) => {
                self.findings.push(Finding::UnclearAddress { node: spot.name() });
            }
            Passage::Stale => self.findings.extend(seen.and_then(|sighting| stale_node(spot, sighting))),
            Passage::Unproven | Passage::NeverSeen | Passage::Unclear => self.note_blind(survey, spot),
            Passage::Off if is_dormant(workflow, node) && !survey.is_key_proven(spot) => {
                self.note_blind(survey, spot);
                self.note_dormant(survey, spot);
            }
            Passage::Covered | Passage::Passes | Passage::Off => {}
        }
        if passage != Passage::Off {
            self.note_age(survey, spot);
        }
        if let (Some(record), true) = (node.chosen(), workflow.runs(node)) {
            let none = || Users { record, spots: Vec::new(), takes_address: false };
            let users = self.by_record.entry(&record.id).or_insert_with(none);
            users.spots.push(spot);
            users.takes_address |= node.address == Address::OfRecord;
        }
        self.spots.push((spot, passage));
    }

    fn note_age(&mut self, survey: &Survey<'a>, spot: Spot<'a>) {
        let node = spot.node;
        let newest = survey.newest.get(&*node.type_name).copied().unwrap_or(node.version);
        if node.version < newest {
            self.older.entry(&node.type_name).or_insert((newest, Vec::new())).1.push(spot);
        }
        if let Some(seen) = spot.seen
            && let Some(version) = seen.client_version.as_deref()
        {
            self.clients.entry([&node.type_name, seen.client]).or_default().push((version, spot));
        }
    }

    /// Keys that stand in the node, whether it runs or not: everybody who opens the workflow reads them.
    fn note_keys(&mut self, survey: &Survey<'_>, spot: Spot<'_>) {
        let Spot { workflow, node, seen } = spot;
        let is_sent_there = node.kind == Kind::HttpRequest
            && (node.address == Address::OpenAi || survey.is_ours(&node.address) || seen.is_some());
        let counts = |key: Names, is_surely_open_ai| is_surely_open_ai || is_sent_there || survey.knows(key);
        let keys: Vec<_> = node.keys.iter().filter(|key| counts(key.names, key.is_surely_open_ai)).collect();
        for key in &keys {
            let known = survey.grounds.keys.get(&key.names.fingerprint);
            let known = known.map(|known| format!("the {} key of set {}", known.role, known.set));
            let change = workflow.changes.iter().find(|change| change.node == node.id);
            let draft = change.map(|change| change.what);
            self.findings.push(Finding::TypedKey { node: spot.name(), key: key.names, known, draft });
        }
        if node.kind == Kind::Text && keys.is_empty() && node.keys.is_empty() && workflow.may_run(node) {
            self.findings.push(Finding::Mentions { node: spot.name() });
        }
    }

    /// Nodes that need no record, or whose record stands elsewhere.
    fn note_beyond(&mut self, spot: Spot<'_>) {
        let node = spot.node;
        if !spot.workflow.may_run(node) {
            return;
        }
        if node.is_gateway {
            self.gateway.push(spot.name());
        }
        if node.kind == Kind::Agent && node.record.is_none() {
            self.findings.push(Finding::AsksAgent { node: spot.name() });
        }
    }

    fn note_blind(&mut self, survey: &Survey<'_>, spot: Spot<'_>) {
        if !survey.is_blind(spot.node) {
            return;
        }
        self.findings.push(match spot.node.request.generic_auth.clone() {
            Some(auth) => Finding::GenericAuth { node: spot.name(), auth },
            None => Finding::UnclearKey { node: spot.name() },
        });
    }

    fn note_dormant(&mut self, survey: &Survey<'_>, spot: Spot<'a>) {
        if let Some(record) = spot.node.chosen().filter(|record| record.is_open_ai) {
            let nodes = self.dormant.entry(&record.id).or_insert_with(|| (survey.named(record), Vec::new()));
            nodes.1.push(spot.name());
        }
    }

    fn note_workflow(&mut self, survey: &Survey<'_>, workflow: &Workflow, has_rows: bool) {
        let name = name_of(workflow);
        if workflow.life.is_live() {
            let calls = workflow.unclear_calls.iter();
            self.findings.extend(calls.map(|node| Finding::UnclearCall { workflow: name.clone(), node: node.clone() }));
        }
        if !has_rows {
            return;
        }
        if workflow.life == Life::Archived {
            self.findings.push(Finding::Archived { workflow: name });
            return;
        }
        if !workflow.changes.is_empty() {
            let is_told = |node: &str| {
                let typed = |finding: &Finding| matches!(finding, Finding::TypedKey { node: typed, .. } if *typed.id == *node && typed.workflow.id == name.id);
                self.findings.iter().any(typed)
            };
            let told = workflow.changes.iter().filter(|change| is_told(&change.node)).map(|change| change.node.clone());
            let (told, changes) = (told.collect(), workflow.changes.clone());
            self.findings.push(Finding::DraftDiffers { workflow: name.clone(), changes, told });
        }
        if may_be_deactivated(workflow) {
            self.findings.extend(deactivation(survey, workflow, &name));
        }
        let is_callable = workflow.is_only_called && workflow.callers.is_empty();
        if is_callable && matches!(workflow.life, Life::Active | Life::Off) && !survey.has_unclear_calls() {
            self.findings.push(Finding::NobodyCalls { workflow: name });
        }
    }

    /// What was found, but for what is merely older than it might be.
    fn findings(&mut self, survey: &Survey<'_>) -> Vec<Finding> {
        let mut findings = std::mem::take(&mut self.findings);
        let dormant = std::mem::take(&mut self.dormant).into_iter();
        let dormant = dormant.filter(|(id, _)| !self.by_record.contains_key(id)).map(|(_, dormant)| dormant);
        findings.extend(dormant.map(|(record, nodes)| Finding::Dormant { record, nodes }));
        findings.extend(survey.records_without_node());
        findings.extend(survey.around());
        let gateway = std::mem::take(&mut self.gateway);
        if !gateway.is_empty() {
            findings.push(Finding::Gateway { nodes: gateway });
        }
        let mut of_sets: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
        for (id, users) in &self.by_record {
            let Some(state) = survey.records.get(id) else { continue };
            for set in state.sets.iter().filter(|_| users.record.is_open_ai) {
                of_sets.entry(set).or_default().push(survey.named(users.record));
            }
            findings.extend(survey.judge_record(state, users));
        }
        let several = of_sets.into_iter().filter(|(_, records)| records.len() > 1);
        findings.extend(several.map(|(set, records)| Finding::SeveralRecords { set: set.into(), records }));
        findings
    }

    fn what_is_older(&mut self) -> Vec<Finding> {
        let older = std::mem::take(&mut self.older).into_iter().map(|(type_name, (newest, spots))| {
            let (type_name, nodes) = (type_name.into(), names(&spots));
            Finding::OlderVersion { type_name, newest, nodes }
        });
        let clients = std::mem::take(&mut self.clients).into_iter();
        older.chain(clients.filter_map(|([type_name, _family], clients)| older_client(type_name, clients))).collect()
    }

    fn all_rows(&self, survey: &Survey<'_>) -> Vec<Row> {
        self.rows(survey, |_| true)
    }

    /// Those that are to be seen with the right key yet.
    fn waiting_rows(&self, survey: &Survey<'_>) -> Vec<Row> {
        self.rows(survey, doubt::is_waiting)
    }

    fn rows(&self, survey: &Survey<'_>, is_wanted: impl Fn(Passage) -> bool) -> Vec<Row> {
        // Those of one workflow stand together, and share their callers.
        let mut last: Option<(&'a Workflow, Arc<[WorkflowName]>)> = None;
        let wanted = self.spots.iter().filter(|(_, passage)| is_wanted(*passage));
        let row = |(spot, passage): &(Spot<'a>, Passage)| {
            let workflow = spot.workflow;
            let known = last.take().filter(|(of, _)| std::ptr::eq(*of, workflow));
            let callers = || workflow.callers.iter().filter_map(|at| survey.grounds.inventory.workflows.get(*at));
            let (_, called_by) = last.insert(known.unwrap_or_else(|| (workflow, callers().map(name_of).collect())));
            survey.row(*spot, *passage, Arc::clone(called_by))
        };
        wanted.map(row).collect()
    }
}

/// The version of a client, and a node that sent last by it.
type SentBy<'a> = (&'a str, Spot<'a>);

/// Which nodes of one type sent last by an older client than others of it, if any.
fn older_client(type_name: &str, clients: Vec<SentBy<'_>>) -> Option<Finding> {
    let newest = clients.iter().map(|(version, _)| *version).max_by_key(|version| rank(version))?;
    let older = clients.into_iter().filter(|(version, _)| rank(version) < rank(newest));
    let nodes: Vec<_> = older.map(|(_, spot)| spot.name()).collect();
    (!nodes.is_empty()).then(|| Finding::OlderClient { type_name: type_name.into(), newest: newest.into(), nodes })
}

/// The numbers of a version, in their order: 4.104.0 is newer than 4.21.3.
fn rank(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

impl Survey<'_> {
    /// What is wrong with a record that nodes run with.
    fn judge_record(&self, state: &RecordState<'_>, users: &Users<'_>) -> Option<Finding> {
        let takes_address = users.takes_address;
        let (record, nodes) = (|| self.named(users.record), || names(&users.spots));
        // Each of its nodes is told of by itself.
        if takes_address && self.left(&users.record.id, state).is_some() {
            return None;
        }
        if let Some(tested) = state.last_test() {
            let (key, diagnosis) = (Some(tested.key), "stale_binding".into());
            return (!tested.is_right).then(|| Finding::StaleRecord {
                record: record(),
                key,
                diagnosis,
                seen: tested.at,
                nodes: nodes(),
            });
        }
        match state.latest {
            Some(latest) if self.is_wrong(latest, state) => Some(Finding::StaleRecord {
                record: record(),
                key: latest.key,
                diagnosis: latest.standing.diagnosis().into(),
                seen: latest.at,
                nodes: nodes(),
            }),
            Some(_) if state.leads_here || !takes_address => None,
            _ if takes_address && !state.was_seen => {
                Some(Finding::NeverSeen { record: record(), nodes: nodes(), untagged: self.seen.untagged })
            }
            _ if state.was_used => {
                state.changed.map(|changed| Finding::ChangedSince { record: record(), changed, nodes: nodes() })
            }
            _ => None,
        }
    }

    /// The records for OpenAI that no node names which may run, and whose test has not shown the right key.
    fn records_without_node(&self) -> Vec<Finding> {
        let inventory = self.grounds.inventory;
        let may_run = |spot: &&Spot<'_>| spot.workflow.may_run(spot.node);
        let chosen = self.spots.iter().flatten().filter(may_run).filter_map(|spot| spot.node.chosen());
        let used: HashSet<&str> = chosen.map(|record| &*record.id).collect();
        let unused =
            inventory.records.iter().filter(|(id, facts)| &*facts.kind == OPEN_AI_API && !used.contains(&***id));
        let judged = unused.filter_map(|(id, facts)| {
            let tested = self.tested(id, facts.updated);
            let record = Record { id: (&**id).into(), name: facts.name.clone(), is_open_ai: true };
            let key = tested.map(|tested| tested.key);
            tested.is_none_or(|tested| !tested.is_right).then_some(Finding::RecordWithoutNode { record, key })
        });
        judged.collect()
    }

    /// What the look could not see, and what may be taken for something else.
    fn around(&self) -> Vec<Finding> {
        let around = &self.grounds.around;
        let lacks = around.lacks.iter().map(|scope| Finding::ScopeLacks { scope });
        let others = around.others.iter().filter_map(|(name, other)| self.same_ids(name, other));
        lacks.chain(self.unlisted()).chain(others).collect()
    }

    /// The workflows from which requests come, and which no n8n lists that they may be of.
    fn unlisted(&self) -> Vec<Finding> {
        let around = &self.grounds.around;
        let own: HashSet<&str> = self.grounds.inventory.workflows.iter().flat_map(ids_of).collect();
        let others = around.others.iter().flat_map(|(_, other)| &other.workflows);
        let others: HashSet<&str> = others.flat_map(ids_of).collect();
        // A tag that names this n8n means none of the others.
        let is_listed = |sighting: &Sighting<'_>, id: &str| {
            own.contains(id) || (sighting.instance.is_none() && others.contains(id))
        };
        // Each with whether it came in one execution alone.
        let mut unlisted: BTreeMap<&str, bool> = BTreeMap::new();
        let is_own =
            |sighting: &&Sighting<'_>| around.set.is_none_or(|set| *set == *sighting.set) && !sighting.is_acknowledged;
        for sighting in self.grounds.sightings.iter().filter(is_own) {
            if let Some(workflow) = sighting.workflow.filter(|id| !is_listed(sighting, id)) {
                let is_like_chat = sighting.is_single && sighting.client == "sdk";
                unlisted.entry(workflow).and_modify(|before| *before = false).or_insert(is_like_chat);
            }
        }
        let ids = |once: bool| -> Vec<Box<str>> {
            unlisted.iter().filter(|(_, is_like_chat)| **is_like_chat == once).map(|(id, _)| (*id).into()).collect()
        };
        let mut found = Vec::new();
        let (workflows, once) = (ids(false), ids(true));
        found.extend((!workflows.is_empty()).then_some(Finding::UnlistedWorkflows { workflows }));
        found.extend((!once.is_empty()).then_some(Finding::UnlistedOnce { workflows: once }));
        found
    }

    /// The workflows whose nodes stand in another n8n with the same ids, where their last request did not say whose it was.
    fn same_ids(&self, name: &str, other: &Inventory) -> Option<Finding> {
        let theirs: HashSet<_> = other.workflows.iter().flat_map(ids_of_nodes).collect();
        let is_shared = |workflow: &&Workflow| {
            ids_of_nodes(workflow).any(|ids| theirs.contains(&ids)) && self.was_seen_without_name(&workflow.id)
        };
        let shared = self.grounds.inventory.workflows.iter().filter(is_shared);
        let workflows: Vec<_> = shared.map(name_of).collect();
        (!workflows.is_empty()).then(|| Finding::SameIds { other: name.into(), workflows })
    }

    /// Whether requests of a workflow came without the name of an n8n, and none with this one's name later.
    fn was_seen_without_name(&self, workflow: &str) -> bool {
        let own = self.grounds.sightings.iter().filter(|sighting| sighting.workflow == Some(workflow));
        let last = |named: bool| own.clone().filter(|own| own.instance.is_some() == named).map(|own| own.at).max();
        last(false).is_some_and(|without| last(true).is_none_or(|with| with <= without))
    }

    fn row(&self, spot: Spot<'_>, passage: Passage, called_by: Arc<[WorkflowName]>) -> Row {
        let Spot { workflow, node, seen } = spot;
        Row {
            node: spot.name(),
            type_name: node.type_name.clone(),
            version: node.version,
            record: node.record.as_ref().map(|record| self.named(record)),
            life: workflow.life,
            is_draft: node.is_draft,
            called_by,
            passage,
            seen: seen.map(|sighting| sighting.at),
            key: seen.and_then(|sighting| sighting.key),
            set: seen.map(|sighting| sighting.set.into()),
            binding: seen.map(|sighting| sighting.binding),
        }
    }

    /// The record by the name that it has now.
    fn named(&self, record: &Record) -> Record {
        let facts = self.grounds.inventory.records.get(&*record.id);
        facts.map_or_else(|| record.clone(), |facts| Record { name: facts.name.clone(), ..record.clone() })
    }

    fn has_unclear_calls(&self) -> bool {
        self.grounds.inventory.has_unclear_calls
    }
}

impl Audit {
    /// The findings that you have to do something about.
    pub fn faults(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_fault())
    }
}

/// The keys that stand in nodes, each with where it does.
fn typed_keys(findings: &[Finding]) -> impl Iterator<Item = (Fingerprint, &NodeName)> {
    findings.iter().filter_map(|finding| {
        let Finding::TypedKey { node, key, .. } = finding else { return None };
        Some((key.fingerprint, node))
    })
}

fn is_since(changed: Option<Timestamp>, sighting: &Sighting<'_>) -> bool {
    changed.is_none_or(|at| at <= sighting.at)
}

/// The ids of a workflow's nodes that may run, each with the workflow's.
fn ids_of_nodes(workflow: &Workflow) -> impl Iterator<Item = (&str, &str)> {
    let nodes = workflow.nodes.iter().filter(|node| workflow.may_run(node));
    nodes.map(|node| (workflow.named_by(node), &*node.id))
}

/// The ids that requests of a workflow may name: its own, and those of workflows that stand in its nodes.
fn ids_of(workflow: &Workflow) -> impl Iterator<Item = &str> {
    std::iter::once(&*workflow.id).chain(workflow.nodes.iter().filter_map(|node| node.within.as_deref()))
}

/// Whether a host is one of a network of its own, as keyward's may be, rather than of the internet.
fn is_private(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            address.is_private() || address.is_loopback() || address.is_link_local() || is_shared(address)
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => !name.contains('.') || PRIVATE_ENDS.iter().any(|end| name.ends_with(end)),
    }
}

/// 100.64.0.0/10, as in networks between machines of one owner.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && (64..128).contains(&second)
}

/// Whether nothing starts it but a person. What is new in the draft of a workflow that runs is told with that draft.
fn is_dormant(workflow: &Workflow, node: &Node) -> bool {
    workflow.may_run(node) && !(node.is_draft && workflow.life.is_live())
}

/// Whether it could have run by itself, if it were on.
fn may_be_deactivated(workflow: &Workflow) -> bool {
    matches!(workflow.life, Life::Off | Life::Unpublished) && !workflow.is_only_called
}

fn deactivation(survey: &Survey<'_>, workflow: &Workflow, name: &WorkflowName) -> Option<Finding> {
    let sighting = survey.seen.of_workflow(&workflow.id).filter(|sighting| sighting.standing != Standing::Dead)?;
    let mode = sighting.execution.as_ref().and_then(|execution| survey.grounds.modes.get(execution));
    let (workflow, seen) = (name.clone(), sighting.at);
    match mode {
        Some(mode) if BY_ITSELF.contains(&&**mode) => Some(Finding::Deactivated { workflow, seen, mode: mode.clone() }),
        Some(_) => None,
        None => Some(Finding::PerhapsDeactivated { workflow, seen }),
    }
}

/// What is wrong with the node itself, rather than with its record or with a key that is typed into it.
fn stale_node(spot: Spot<'_>, sighting: &Sighting<'_>) -> Option<Finding> {
    let (node, key, standing) = (spot.node, sighting.key, &sighting.standing);
    if *standing == Standing::Mixed {
        return Some(Finding::Mixed { node: spot.name() });
    }
    let is_own = node.chosen().is_none() && node.keys.is_empty();
    is_own.then(|| Finding::StaleNode { node: spot.name(), key, diagnosis: standing.diagnosis().into() })
}

fn name_of(workflow: &Workflow) -> WorkflowName {
    WorkflowName { id: workflow.id.clone(), name: workflow.name.clone() }
}

/// How names end that no public name server knows.
const PRIVATE_ENDS: [&str; 7] = [".local", ".internal", ".lan", ".localhost", ".home.arpa", ".svc", ".test"];

/// What starts an execution while its workflow is on, in n8n's words.
const BY_ITSELF: [&str; 3] = ["webhook", "trigger", "retry"];

#[cfg(test)]
mod tests;
