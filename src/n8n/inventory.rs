//! Pure. Every node of n8n that can speak to OpenAI, where it sends, with which credential record, and who calls its workflow.
//!
//! Drawn from the documents of n8n's API, one workflow after the other; what has nothing to do with OpenAI is not kept. What
//! a node does with its fields was read in the sources of n8n 1.100.1 and 2.41.1 (`n8n-nodes-base` and
//! `@n8n/n8n-nodes-langchain`, below `dist/nodes`, all files with `openAiApi` in them):
//!
//! | node | its address | read in |
//! |---|---|---|
//! | `n8n-nodes-base.openAi` | the record's | `OpenAi/OpenAi.node.js` |
//! | `….openAi` of the LangChain package | the record's | `vendors/OpenAi/transport/index.js` |
//! | `….lmChatOpenAi` | the record's; below version 1.1 its own Base URL, where it has one | `llms/LMChatOpenAi` |
//! | `….embeddingsOpenAi` | the record's; below version 1.2 its own Base URL, where it has one | `embeddings/EmbeddingsOpenAI` |
//! | `….lmOpenAi` | its own Base URL, else api.openai.com, whatever the record says | `llms/LMOpenAi` |
//! | `….openAiAssistant` | its own Base URL, else api.openai.com, whatever the record says | `agents/OpenAiAssistant` |
//! | `n8n-nodes-base.httpRequest`, `….toolHttpRequest` | its URL | `HttpRequest`, `tools/ToolHttpRequest` |
//! | `n8n-nodes-base.messageAnAgent` with an agent of its own | the record's, which stands in its fields | `MessageAnAgent` |
//! | any other with an `openAiApi` record | taken to be the record's | |
//!
//! Each may end in `Tool` where an agent uses it. What stands in other nodes is searched for keys, and for the name of
//! OpenAI's host: a Code node may call it. A workflow that stands as JSON in a node which calls it has its nodes among those
//! of the workflow around it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::documents::{self, Published};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::set::Names;
use crate::ledger::look::node_hash;
use crate::telemetry::masked::{keys_in, mask_and_cap, mask_id};

/// Every node of one n8n that can speak to OpenAI.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// All workflows, also those without such a node: they may call others.
    pub workflows: Vec<Workflow>,
    /// The credential records by id, as n8n 2.x lists them; 1.x does not.
    pub records: BTreeMap<String, RecordFacts>,
    /// Whether n8n has listed its credential records.
    pub lists_records: bool,
    /// How many nodes there are in all, of any kind.
    pub nodes: usize,
    /// Each of them, by [`node_hash`].
    pub nodes_there: HashSet<u64>,
    /// Whether one that runs calls a workflow that only a run can name.
    pub has_unclear_calls: bool,
}

/// What an audit needs to know of a workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    pub id: Box<str>,
    pub name: Box<str>,
    /// When what runs was changed last: on n8n 2.x, when that was saved.
    pub changed: Option<Timestamp>,
    pub life: Life,
    /// Whether it has no other trigger than a call by another workflow.
    pub is_only_called: bool,
    /// The positions of the workflows that call it, each once.
    pub callers: Vec<usize>,
    /// Whether one that is not put away calls it, or calls one that does.
    pub is_called: bool,
    /// The names of its nodes that call a workflow that only a run can name.
    pub unclear_calls: Vec<Box<str>>,
    /// Its nodes that can speak to OpenAI, or perhaps can.
    pub nodes: Vec<Node>,
    /// How the nodes of its draft differ from those that run.
    pub changes: Vec<Change>,
    /// Of those, the nodes of the draft that have another credential record there.
    pub redrafted: Vec<Node>,
}

codes! {
    /// Whether anything starts a workflow.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Life {
        /// Its triggers are on; on n8n 2.x, it is published.
        Active => "active",
        /// It is off, but one that runs calls it.
        Called => "called",
        /// It is off, but can be called, and one that runs calls some workflow that it does not name.
        PerhapsCalled => "perhaps_called",
        Off => "off",
        /// It has no version that could run, on n8n 2.x: no workflow can call it either.
        Unpublished => "unpublished",
        Archived => "archived",
    }
}

/// A node that can speak to OpenAI.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub id: Box<str>,
    /// The workflow that its requests name, where it stands in one inside a node that has an id of its own.
    pub within: Option<Box<str>>,
    pub name: Box<str>,
    pub kind: Kind,
    /// Its type, as n8n writes it.
    pub type_name: Box<str>,
    /// The version of the type.
    pub version: f64,
    /// Whether it is passed over.
    pub disabled: bool,
    /// Whether it stands in the draft alone.
    pub is_draft: bool,
    pub record: Option<Record>,
    pub address: Address,
    /// The keys that stand in its fields.
    pub keys: Vec<TypedKey>,
    /// What of an HTTP Request n8n shows beside that; of any other node nothing.
    pub request: Request,
    /// Whether n8n pays for it by its own gateway, so that it needs no record.
    pub is_gateway: bool,
}

/// What n8n shows of an HTTP Request beside its address and its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The type of the generic credential by which it is let in (`httpHeaderAuth`): n8n does not tell what that is for.
    pub generic_auth: Option<Box<str>>,
    /// Whether an expression gives its key: only a run can tell which one.
    pub has_unclear_key: bool,
    /// Whether the path of its URL may be one of OpenAI's API.
    pub may_ask_api: bool,
    /// The path of its URL below `/v1`, where that is plain: `/chat/completions`.
    pub path: Option<Box<str>>,
}

/// What makes a node one that can speak to OpenAI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Made for OpenAI, or given a record of its type.
    OpenAi,
    /// One that may call any address.
    HttpRequest,
    /// One that has an agent of n8n's answer: with a record where that agent stands in the node. Its requests come without its
    /// tag.
    Agent,
    /// Any other in which OpenAI's host or a key is named.
    Text,
}

/// A credential record, as a node refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Its id; empty where the node was imported and never connected.
    pub id: Box<str>,
    /// Its name when the node was saved.
    pub name: Box<str>,
    /// Whether it is one of type `openAiApi`.
    pub is_open_ai: bool,
}

/// What n8n says of a credential record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFacts {
    pub name: Box<str>,
    /// Its type: `openAiApi`.
    pub kind: Box<str>,
    /// When it was last changed.
    pub updated: Option<Timestamp>,
}

/// Where a node sends its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// To the Base URL of its credential record, which n8n does not show.
    OfRecord,
    /// To OpenAI itself, because it has no Base URL of its own and does not look at the record's.
    NoBaseUrl,
    /// To OpenAI itself, as it says.
    OpenAi,
    /// To that host, with its port where one is given, in lower case.
    Host(Box<str>),
    /// Only a run can tell.
    Unclear,
}

/// A key that stands in a node's fields, by its public names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedKey {
    pub names: Names,
    /// Whether OpenAI alone gives out such keys. Others begin with `sk-` as well.
    pub is_surely_open_ai: bool,
}

/// How a node of the draft differs from the one that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The node's id.
    pub node: Box<str>,
    pub name: Box<str>,
    pub what: Difference,
}

/// In what a node of the draft differs from the one that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    Added,
    Removed,
    /// It has another credential record.
    Record,
    /// It sends elsewhere.
    Address,
    /// Another key stands in it.
    Key,
    /// It is switched on or off.
    Disabled,
}

/// Takes in the documents of one n8n, workflow by workflow, and makes the inventory of them.
pub struct Builder<'k> {
    names_of: &'k dyn Fn(&[u8]) -> Names,
    inventory: Inventory,
    by_id: HashMap<Box<str>, usize>,
    calls: Vec<(usize, Box<str>)>,
    /// The calls of drafts, which a person runs.
    draft_calls: Vec<(usize, Box<str>)>,
    /// Whether each workflow runs when it is called, though it be put away: n8n 1.x does not look (read in 1.100.1).
    runs_archived: Vec<bool>,
}

// === impl Builder ===

impl<'k> Builder<'k> {
    /// Empty. Keys that are found are known by what `names_of` gives for them alone.
    #[must_use]
    pub fn new(names_of: &'k dyn Fn(&[u8]) -> Names) -> Self {
        Self {
            names_of,
            inventory: Inventory::default(),
            by_id: HashMap::new(),
            calls: Vec::new(),
            draft_calls: Vec::new(),
            runs_archived: Vec::new(),
        }
    }

    /// Takes in a workflow: those of its nodes that can speak to OpenAI, and which workflows it calls.
    pub fn add(&mut self, workflow: &documents::Workflow) {
        let position = self.inventory.workflows.len();
        let running = with_embedded(workflow.running_nodes());
        let draft = workflow.draft_nodes().map(with_embedded);
        let there = running.iter().chain(draft.iter().flat_map(|draft| draft.iter()));
        let there = there.map(|node| node_hash(mask_id(&workflow.id), mask_id(&node.id)));
        self.inventory.nodes_there.extend(there);
        self.inventory.nodes += running.len() + draft.as_ref().map_or(0, |draft| draft.len());
        let mut unclear_calls = Vec::new();
        for node in running.iter().filter(|node| !node.disabled) {
            match called_by(node) {
                Called::Nothing | Called::Embedded(_) => {}
                Called::Workflow(id) => self.calls.push((position, id)),
                Called::Unclear => unclear_calls.push(boxed(&node.name)),
            }
        }
        if let Some(id) = workflow.settings.error_workflow.as_deref().filter(|id| *id != "DEFAULT") {
            self.calls.push((position, mask_id(id).into()));
        }
        for node in draft.iter().flat_map(|draft| draft.iter()).filter(|node| !node.disabled) {
            if let Called::Workflow(id) = called_by(node) {
                self.draft_calls.push((position, id));
            }
        }
        let mut nodes = self.nodes(&running);
        let (changes, redrafted) = draft.map(|draft| self.compare(&mut nodes, &draft)).unwrap_or_default();
        let id: Box<str> = mask_id(&workflow.id).into();
        self.by_id.entry(id.clone()).or_insert(position);
        self.runs_archived.push(workflow.published == Published::Unversioned);
        self.inventory.workflows.push(Workflow {
            id,
            name: boxed(&workflow.name),
            changed: workflow.running_since(),
            life: life(workflow),
            is_only_called: is_only_called(&workflow.nodes),
            callers: Vec::new(),
            is_called: false,
            unclear_calls,
            nodes,
            // What was never published has nothing that it could differ from.
            changes: if running.is_empty() { Vec::new() } else { changes },
            redrafted,
        });
    }

    /// Takes in a credential record.
    pub fn add_record(&mut self, record: &documents::CredentialRecord) {
        let kind = mask_and_cap(&record.kind, LONGEST_TYPE).into();
        let facts = RecordFacts { name: boxed(&record.name), kind, updated: record.updated_at };
        self.inventory.records.insert(record.id.clone(), facts);
        self.inventory.lists_records = true;
    }

    /// Notes that n8n has listed its credential records, though there be none.
    pub fn note_records_listed(&mut self) {
        self.inventory.lists_records = true;
    }

    /// All of it, with who calls whom.
    #[must_use]
    pub fn finish(mut self) -> Inventory {
        let named = |workflow: &Workflow| {
            let of_node = |node: &Node| node_hash(workflow.named_by(node), &node.id);
            workflow.nodes.iter().map(of_node).collect::<Vec<_>>()
        };
        let named: Vec<_> = self.inventory.workflows.iter().flat_map(named).collect();
        self.inventory.nodes_there.extend(named);
        let find = |calls: &[(usize, Box<str>)]| -> Vec<_> {
            calls.iter().filter_map(|(caller, id)| Some((*caller, *self.by_id.get(id)?))).collect()
        };
        let (calls, draft_calls) = (find(&self.calls), find(&self.draft_calls));
        let mut called_by = vec![Vec::new(); self.inventory.workflows.len()];
        for (caller, called) in calls {
            called_by[caller].push(called);
            self.inventory.workflows[called].callers.push(caller);
        }
        for workflow in &mut self.inventory.workflows {
            workflow.callers.sort_unstable();
            workflow.callers.dedup();
        }
        wake(&mut self.inventory.workflows, &called_by, &self.runs_archived);
        for (caller, called) in draft_calls {
            called_by[caller].push(called);
        }
        note_called(&mut self.inventory.workflows, &called_by);
        self.name_records_of_agents();
        let mut live = self.inventory.workflows.iter().filter(|workflow| workflow.life.is_live());
        self.inventory.has_unclear_calls = live.any(|workflow| !workflow.unclear_calls.is_empty());
        self.inventory
    }

    /// An agent that stands in a node names its records by their ids alone. Those of another type are no business of ours.
    fn name_records_of_agents(&mut self) {
        let records = &self.inventory.records;
        for workflow in &mut self.inventory.workflows {
            workflow.nodes.retain_mut(|node| {
                let Some(record) = node.record.as_mut().filter(|_| node.kind == Kind::Agent) else { return true };
                let Some(facts) = records.get(&*record.id) else { return true };
                record.name = facts.name.clone();
                &*facts.kind == OPEN_AI_API
            });
        }
    }

    fn nodes(&self, nodes: &[documents::Node]) -> Vec<Node> {
        nodes.iter().flat_map(|node| self.node(node).into_iter().chain(self.agents(node))).collect()
    }

    /// What one node is to `OpenAI`, if anything: an agent that stands in it comes once for each of its records.
    pub(super) fn classify(&self, node: &documents::Node) -> Vec<Node> {
        self.nodes(std::slice::from_ref(node))
    }

    /// The node by which an agent is asked: once for each record that the agent has there, or once without any.
    fn agents(&self, node: &documents::Node) -> Vec<Node> {
        if Type::of(&node.kind) != Type::Agent {
            return Vec::new();
        }
        let records = records_of_agent(&node.parameters);
        let found = self.search(&node.parameters, Type::Agent);
        let agent = |record| Node { kind: Kind::Agent, record, ..Node::new(node, Address::OfRecord) };
        let mut agents: Vec<_> = records.into_iter().map(|record| agent(Some(record))).collect();
        if agents.is_empty() {
            agents.push(agent(None));
        }
        agents[0].keys = found.keys;
        agents
    }

    /// Adds what stands in the draft alone, and tells in what it differs from what runs; and which of its nodes have another record.
    fn compare(&self, running: &mut Vec<Node>, draft: &[documents::Node]) -> (Vec<Change>, Vec<Node>) {
        let draft = self.nodes(draft);
        let by_id: HashMap<_, _> = draft.iter().map(|node| (node.key(), node)).collect();
        let change = |node: &Node, what| Change { node: node.id.clone(), name: node.name.clone(), what };
        let (mut changes, mut redrafted) = (Vec::new(), Vec::new());
        for node in running.iter() {
            let Some(other) = by_id.get(&node.key()) else {
                changes.push(change(node, Difference::Removed));
                continue;
            };
            let difference = node.difference(other);
            changes.extend(difference.map(|what| change(node, what)));
            if difference == Some(Difference::Record) {
                redrafted.push(Node { is_draft: true, ..(*other).clone() });
            }
        }
        let known: HashSet<_> = running.iter().map(Node::key).collect();
        let added: Vec<_> = draft.iter().filter(|node| !known.contains(&node.key())).cloned().collect();
        for node in added {
            changes.push(change(&node, Difference::Added));
            running.push(Node { is_draft: true, ..node });
        }
        (changes, redrafted)
    }

    /// The node, if it has to do with OpenAI.
    fn node(&self, node: &documents::Node) -> Option<Node> {
        let type_name = Type::of(&node.kind);
        let version = node.type_version.unwrap_or(1.0);
        let record = record(node, type_name);
        let address = address(node, type_name, version);
        let found = match called_by(node) {
            // What stands in that workflow is found in its nodes.
            Called::Embedded(_) => self.search(&without_embedded(&node.parameters), type_name),
            Called::Nothing | Called::Workflow(_) | Called::Unclear => self.search(&node.parameters, type_name),
        };
        let kind = match (type_name, &record) {
            (Type::HttpRequest, _) => Kind::HttpRequest,
            (Type::Agent, _) => return None,
            (Type::TakesAddressOfRecord { .. } | Type::HasAddressOfItsOwn, _) => Kind::OpenAi,
            (Type::Note | Type::Other, Some(record)) if record.is_open_ai => Kind::OpenAi,
            (Type::Note, _) if found.keys.is_empty() => return None,
            (Type::Note | Type::Other, _) if found.keys.is_empty() && !found.is_open_ai_named => return None,
            (Type::Note | Type::Other, _) => Kind::Text,
        };
        Some(Node {
            kind,
            record,
            keys: found.keys,
            request: if kind == Kind::HttpRequest { Request::of(&node.parameters) } else { Request::default() },
            is_gateway: node.credentials.get(OPEN_AI_API).is_some_and(|reference| reference.is_gateway),
            ..Node::new(node, address)
        })
    }

    fn search(&self, parameters: &Value, type_name: Type) -> Found {
        let mut found = Found::default();
        if type_name == Type::HttpRequest {
            found.keys.extend(self.key_of_header(parameters));
        }
        self.search_value(parameters, &mut found);
        found
    }

    /// As deep as a document may be, which its parser bounds.
    fn search_value(&self, value: &Value, found: &mut Found) {
        match value {
            Value::String(text) => self.search_text(text, found),
            Value::Array(values) => values.iter().for_each(|value| self.search_value(value, found)),
            Value::Object(values) => values.values().for_each(|value| self.search_value(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn search_text(&self, text: &str, found: &mut Found) {
        found.is_open_ai_named =
            found.is_open_ai_named || memchr::memmem::find(text.as_bytes(), HOST.as_bytes()).is_some();
        for key in keys_in(text).filter(|key| key.starts_with("sk-")) {
            if found.keys.len() >= KEYS_PER_NODE {
                return;
            }
            let is_surely_open_ai = OURS.iter().any(|mark| key.starts_with(mark));
            let typed = TypedKey { names: (self.names_of)(key.as_bytes()), is_surely_open_ai };
            if found.keys.iter().all(|known| known.names.fingerprint != typed.names.fingerprint) {
                found.keys.push(typed);
            }
        }
    }

    /// A key that is sent as one, whatever it looks like.
    fn key_of_header(&self, parameters: &Value) -> Option<TypedKey> {
        let listed = parameters["headerParameters"]["parameters"].as_array().into_iter().flatten();
        let named = |header: &&Value| {
            let name = header["name"].as_str().unwrap_or_default();
            KEY_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known))
        };
        let value = listed.filter(named).find_map(|header| header["value"].as_str())?;
        let value = value.strip_prefix('=').unwrap_or(value).trim();
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let key = if scheme.eq_ignore_ascii_case("bearer") { rest.trim() } else { value };
        // A token of keyward's opens nothing elsewhere, and no rotation touches it.
        let is_key = !key.is_empty()
            && !key.starts_with("kw_")
            && key.bytes().all(|byte| byte.is_ascii_graphic())
            && !key.contains("{{");
        let is_surely_open_ai = OURS.iter().any(|mark| key.starts_with(mark));
        is_key.then(|| TypedKey { names: (self.names_of)(key.as_bytes()), is_surely_open_ai })
    }
}

/// What stands in a node's fields.
#[derive(Default)]
struct Found {
    keys: Vec<TypedKey>,
    is_open_ai_named: bool,
}

// === impl Workflow, Node, Request, Life ===

impl Workflow {
    /// Whether a person, if nothing else, may have that node run: not where it is switched off, or its workflow is put away
    /// and not called. n8n 2.x calls such a workflow where a person runs the caller (seen in 2.41.1).
    #[must_use]
    pub fn may_run(&self, node: &Node) -> bool {
        !node.disabled && (self.life != Life::Archived || self.is_called)
    }

    /// Whether that node runs when its workflow does, and that may run by itself. Without a credential, OpenAI's own nodes send
    /// nothing.
    #[must_use]
    pub fn runs(&self, node: &Node) -> bool {
        let can_send = !matches!(node.kind, Kind::OpenAi | Kind::Agent) || node.chosen().is_some();
        self.life.is_live() && !node.disabled && !node.is_draft && can_send
    }

    /// The id that requests of that node name as their workflow.
    #[must_use]
    pub fn named_by<'a>(&'a self, node: &'a Node) -> &'a str {
        node.within.as_deref().unwrap_or(&self.id)
    }
}

impl Node {
    /// With what every node has.
    fn new(node: &documents::Node, address: Address) -> Self {
        Self {
            id: mask_id(&node.id).into(),
            within: node.within.as_deref().map(|id| mask_id(id).into()),
            name: boxed(&node.name),
            kind: Kind::Text,
            type_name: mask_and_cap(&node.kind, LONGEST_TYPE).into(),
            version: node.type_version.unwrap_or(1.0),
            disabled: node.disabled,
            is_draft: false,
            record: None,
            address,
            keys: Vec::new(),
            request: Request::default(),
            is_gateway: false,
        }
    }

    /// By what it is found among the nodes of another version of its workflow.
    fn key(&self) -> (&str, Option<&str>) {
        let of_agent = self.record.as_ref().filter(|_| self.kind == Kind::Agent);
        (&self.id, of_agent.map(|record| &*record.id))
    }

    /// Its record, if one was ever chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| !record.id.is_empty())
    }

    /// In what it differs from one of the same id.
    fn difference(&self, other: &Self) -> Option<Difference> {
        let record = |node: &Self| node.record.as_ref().map(|record| record.id.clone());
        if record(self) != record(other) {
            Some(Difference::Record)
        } else if self.address != other.address {
            Some(Difference::Address)
        } else if self.keys != other.keys {
            Some(Difference::Key)
        } else {
            (self.disabled != other.disabled).then_some(Difference::Disabled)
        }
    }
}

impl Request {
    fn of(parameters: &Value) -> Self {
        Self {
            generic_auth: generic_auth(parameters).map(Box::from),
            has_unclear_key: has_unclear_key(parameters),
            may_ask_api: may_ask_api(parameters["url"].as_str().unwrap_or_default()),
            path: path_of_api(parameters["url"].as_str().unwrap_or_default()).map(Box::from),
        }
    }
}

impl Life {
    /// Whether it runs without a person, or may.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Called | Self::PerhapsCalled)
    }
}

impl Difference {
    /// In words, behind the node's name.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Added => "is new",
            Self::Removed => "is gone",
            Self::Record => "has another credential",
            Self::Address => "sends elsewhere",
            Self::Key => "holds another key",
            Self::Disabled => "is switched on or off",
        }
    }
}

/// What of a node's type matters here.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    /// Below that version, a Base URL of the node's own comes before the record's.
    TakesAddressOfRecord {
        since: f64,
    },
    HasAddressOfItsOwn,
    HttpRequest,
    /// It asks an agent of n8n's.
    Agent,
    /// It is read by people alone.
    Note,
    Other,
}

impl Type {
    fn of(type_name: &str) -> Self {
        let (package, name) = type_name.rsplit_once('.').unwrap_or(("", type_name));
        match (package, name.strip_suffix("Tool").unwrap_or(name)) {
            (BASE | LANGCHAIN, "openAi") => Self::TakesAddressOfRecord { since: 0.0 },
            (LANGCHAIN, "lmChatOpenAi") => Self::TakesAddressOfRecord { since: 1.1 },
            (LANGCHAIN, "embeddingsOpenAi") => Self::TakesAddressOfRecord { since: 1.2 },
            (LANGCHAIN, "lmOpenAi" | "openAiAssistant") => Self::HasAddressOfItsOwn,
            (BASE, "httpRequest") | (LANGCHAIN, "toolHttpRequest") => Self::HttpRequest,
            (BASE, "messageAnAgent") => Self::Agent,
            (BASE, "stickyNote") => Self::Note,
            _ => Self::Other,
        }
    }
}

/// The credential record by which a node is let in.
fn record(node: &documents::Node, type_name: Type) -> Option<Record> {
    let text = |name: &str| node.parameters[name].as_str().unwrap_or_default();
    let credential_type = match (type_name, text("authentication")) {
        (Type::HttpRequest, "predefinedCredentialType") => text("nodeCredentialType"),
        (Type::HttpRequest, _) => generic_auth(&node.parameters)?,
        (_, _) => OPEN_AI_API,
    };
    let reference = node.credentials.get(credential_type).filter(|reference| !reference.is_gateway)?;
    Some(Record {
        id: mask_id(reference.id.as_deref().unwrap_or_default()).into(),
        name: boxed(&reference.name),
        is_open_ai: credential_type == OPEN_AI_API,
    })
}

/// The type of the generic credential by which an HTTP Request is let in.
fn generic_auth(parameters: &Value) -> Option<&str> {
    let text = |name: &str| parameters[name].as_str().unwrap_or_default();
    match text("authentication") {
        "genericCredentialType" => Some(text("genericAuthType")).filter(|kind| !kind.is_empty()),
        // The names that they had before version 3.
        "basicAuth" => Some("httpBasicAuth"),
        "bearerAuth" => Some("httpBearerAuth"),
        "customAuth" => Some("httpCustomAuth"),
        "digestAuth" => Some("httpDigestAuth"),
        "headerAuth" => Some("httpHeaderAuth"),
        "queryAuth" => Some("httpQueryAuth"),
        "oAuth1" => Some("oAuth1Api"),
        "oAuth2" => Some("oAuth2Api"),
        _ => None,
    }
}

/// Whether an HTTP Request has a key that an expression gives, or headers that an expression may make one.
fn has_unclear_key(parameters: &Value) -> bool {
    let is_unclear = |value: &Value| value.as_str().is_some_and(|text| text.contains("{{"));
    let listed = parameters["headerParameters"]["parameters"].as_array().into_iter().flatten();
    let may_be_key = |header: &Value| {
        let name = header["name"].as_str().unwrap_or_default();
        is_unclear(&header["name"]) || KEY_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let mut keys = listed.filter(|header| may_be_key(header));
    keys.any(|header| is_unclear(&header["value"]))
        || ["jsonHeaders", "headerParametersJson"].into_iter().any(|name| is_unclear(&parameters[name]))
}

/// Whether the path of a URL may be one of OpenAI's API, or one with keyward's prefix.
fn may_ask_api(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    url.contains("{{") || ["/v1", "/n8n/", "/set/"].into_iter().any(|part| path.contains(part))
}

/// What of a URL follows OpenAI's `/v1`, if it is plain words alone, which can hold no secret.
fn path_of_api(url: &str) -> Option<&str> {
    let (_, rest) = url.strip_prefix('=').unwrap_or(url).trim().split_once("://")?;
    let path = rest[rest.find('/')?..].strip_prefix("/v1")?;
    let is_plain = path.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'/' | b'_' | b'-'));
    (is_plain && path.starts_with('/') && path.len() <= LONGEST_PATH).then_some(path)
}

/// The records that an agent has which stands in a node: its own, and those of its memory and its tools. None where the node
/// asks an agent that stands elsewhere, though one that it had before may still be written down.
fn records_of_agent(parameters: &Value) -> Vec<Record> {
    let mut ids = Vec::new();
    if parameters["agentSource"] == "inline" {
        gather_credentials(&parameters["inlineAgent"]["config"], &mut ids);
    }
    let record = |id: &str| Record { id: mask_id(id).into(), name: Box::default(), is_open_ai: true };
    ids.into_iter().map(record).collect()
}

/// Whatever stands as a `credential`, or for OpenAI among the `credentials` of a tool, each once.
fn gather_credentials<'v>(value: &'v Value, ids: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match &**name {
                    "credential" => note_credential(if field.is_object() { &field["id"] } else { field }, ids),
                    "credentials" => note_credential(&field[OPEN_AI_API]["id"], ids),
                    _ => gather_credentials(field, ids),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| gather_credentials(value, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn note_credential<'v>(id: &'v Value, ids: &mut Vec<&'v str>) {
    let id = id.as_str().filter(|id| !id.is_empty() && *id != MANAGED);
    ids.extend(id.filter(|id| ids.len() < RECORDS_PER_AGENT && !ids.contains(id)));
}

fn address(node: &documents::Node, type_name: Type, version: f64) -> Address {
    let own = node.parameters["options"]["baseURL"].as_str().map(str::trim).filter(|url| !url.is_empty());
    match (type_name, own) {
        (Type::HttpRequest, _) => target(node.parameters["url"].as_str().unwrap_or_default()),
        (Type::HasAddressOfItsOwn, None) => Address::NoBaseUrl,
        (Type::HasAddressOfItsOwn, Some(url)) => target(url),
        (Type::TakesAddressOfRecord { since }, Some(url)) if version < since => target(url),
        (Type::TakesAddressOfRecord { .. } | Type::Agent | Type::Note | Type::Other, _) => Address::OfRecord,
    }
}

/// Where a URL leads, as far as it can be read: `=` begins an expression, and `{{` what only a run can tell.
fn target(url: &str) -> Address {
    let url = url.strip_prefix('=').unwrap_or(url).trim();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let before = &url[..url.len() - rest.len() + authority.len()];
    if before.contains("{{") || authority.is_empty() || authority.len() > LONGEST_HOST {
        let names_it = memchr::memmem::find(url.as_bytes(), HOST.as_bytes()).is_some();
        return if names_it { Address::OpenAi } else { Address::Unclear };
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let name = host.split_once(':').map_or(&*host, |(name, _)| name).trim_end_matches('.');
    // Projects with a region have hosts of their own: `eu.api.openai.com`.
    if name == HOST || name.strip_suffix(HOST).is_some_and(|region| region.ends_with('.')) {
        Address::OpenAi
    } else {
        Address::Host(mask_and_cap(&host, LONGEST_HOST).into())
    }
}

/// Which workflow a node calls.
enum Called {
    Nothing,
    Workflow(Box<str>),
    /// One that stands in the node itself.
    Embedded(Box<documents::Workflow>),
    /// An expression, or a workflow that n8n fetches from a file or an address.
    Unclear,
}

fn called_by(node: &documents::Node) -> Called {
    let (package, name) = node.kind.rsplit_once('.').unwrap_or(("", &node.kind));
    match (package, name) {
        (BASE, "executeWorkflow") | (LANGCHAIN, "toolWorkflow" | "retrieverWorkflow") => {}
        _ => return Called::Nothing,
    }
    let source = node.parameters["source"].as_str().unwrap_or("database");
    if source == "parameter" {
        return embedded(&node.parameters["workflowJson"]).map_or(Called::Unclear, Called::Embedded);
    }
    let chosen = &node.parameters["workflowId"];
    let chosen = if chosen.is_object() { &chosen["value"] } else { chosen };
    let id = match chosen {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let id = id.strip_prefix('=').unwrap_or(&id).trim();
    // It may be chosen by the address of the editor.
    let id = id.rsplit_once("/workflow/").map_or(id, |(_, id)| id.split(['/', '?', '#']).next().unwrap_or(id));
    match (source, id) {
        ("database", "") => Called::Nothing,
        ("database", id) if !id.contains("{{") => Called::Workflow(mask_id(id).into()),
        (_, _) => Called::Unclear,
    }
}

/// The workflow that stands in a node, as text or as it is.
fn embedded(value: &Value) -> Option<Box<documents::Workflow>> {
    match value {
        Value::String(text) if text.starts_with('=') => None,
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Object(_) => serde_json::from_value(value.clone()).ok(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

fn without_embedded(parameters: &Value) -> Value {
    let mut parameters = parameters.clone();
    if let Some(fields) = parameters.as_object_mut() {
        fields.remove("workflowJson");
    }
    parameters
}

/// Those nodes, and with them the nodes of the workflows that stand in them, and in those. Most workflows have none.
pub(super) fn with_embedded(nodes: &[documents::Node]) -> Cow<'_, [documents::Node]> {
    let mut all = Cow::Borrowed(nodes);
    let mut at = 0;
    while at < all.len() {
        if let (Called::Embedded(inner), false) = (called_by(&all[at]), all[at].disabled) {
            // Without an id it takes that of the workflow around it (read in n8n 1.100.1 and 2.41.1).
            let within = Some(inner.id).filter(|id| !id.is_empty()).or_else(|| all[at].within.clone());
            let name = |node: &documents::Node| {
                mask_and_cap(&format!("{} in {}", node.name, all[at].name), documents::LONGEST_NAME).into_owned()
            };
            let inside = |node: documents::Node| documents::Node { name: name(&node), within: within.clone(), ..node };
            let inner: Vec<_> = inner.nodes.into_iter().map(inside).collect();
            all.to_mut().extend(inner);
        }
        at += 1;
    }
    all
}

/// Whether a call by another workflow is all that starts one.
fn is_only_called(nodes: &[documents::Node]) -> bool {
    let is = |node: &documents::Node, end: &str| node.kind.ends_with(end);
    let called = |node: &&documents::Node| is(node, ".executeWorkflowTrigger");
    let other = |node: &documents::Node| {
        !node.disabled
            && !called(&node)
            && !is(node, ".manualTrigger")
            && (is(node, "Trigger")
                || is(node, ".webhook")
                || is(node, ".cron")
                || is(node, ".interval")
                || is(node, ".start"))
    };
    nodes.iter().any(|node| called(&node)) && !nodes.iter().any(other)
}

fn life(workflow: &documents::Workflow) -> Life {
    match (workflow.is_archived, workflow.active, &workflow.published) {
        (true, _, _) => Life::Archived,
        (false, true, _) => Life::Active,
        (false, false, Published::Nothing) => Life::Unpublished,
        (false, false, Published::Unversioned | Published::Version(_)) => Life::Off,
    }
}

/// Marks what is called by what runs, and then what perhaps is.
fn wake(workflows: &mut [Workflow], called_by: &[Vec<usize>], runs_archived: &[bool]) {
    let live: Vec<_> = positions(workflows, |workflow| workflow.life.is_live());
    mark_called(workflows, (called_by, runs_archived), live, Life::Called);
    if workflows.iter().any(|workflow| workflow.life.is_live() && !workflow.unclear_calls.is_empty()) {
        let perhaps = positions(workflows, |workflow| workflow.life == Life::Off && workflow.is_only_called);
        for at in &perhaps {
            workflows[*at].life = Life::PerhapsCalled;
        }
        mark_called(workflows, (called_by, runs_archived), perhaps, Life::PerhapsCalled);
    }
}

/// Marks whatever those call, and what that calls. Each workflow is looked at once, so calls may go round in circles.
fn mark_called(
    workflows: &mut [Workflow],
    (called_by, runs_archived): (&[Vec<usize>], &[bool]),
    mut callers: Vec<usize>,
    life: Life,
) {
    while let Some(caller) = callers.pop() {
        for called in &called_by[caller] {
            let is_archived = workflows[*called].life == Life::Archived;
            if workflows[*called].life == Life::Off || (is_archived && runs_archived[*called]) {
                workflows[*called].life = life;
                callers.push(*called);
            }
        }
    }
}

/// Notes what is called by what is not put away, and what that calls.
fn note_called(workflows: &mut [Workflow], called_by: &[Vec<usize>]) {
    let mut callers = positions(workflows, |workflow| workflow.life != Life::Archived);
    while let Some(caller) = callers.pop() {
        for called in &called_by[caller] {
            if !std::mem::replace(&mut workflows[*called].is_called, true) && workflows[*called].life == Life::Archived
            {
                callers.push(*called);
            }
        }
    }
}

fn positions(workflows: &[Workflow], which: impl Fn(&Workflow) -> bool) -> Vec<usize> {
    (0..workflows.len()).filter(|at| which(&workflows[*at])).collect()
}

fn boxed(text: &str) -> Box<str> {
    text.into()
}

/// The type of the records that hold an OpenAI key.
pub(super) const OPEN_AI_API: &str = "openAiApi";

const BASE: &str = "n8n-nodes-base";

const LANGCHAIN: &str = "@n8n/n8n-nodes-langchain";

const HOST: &str = "api.openai.com";

/// The headers in which OpenAI looks for a key.
const KEY_HEADERS: [&str; 2] = ["authorization", "api-key"];

/// How the keys begin that OpenAI alone gives out.
const OURS: [&str; 3] = ["sk-proj-", "sk-svcacct-", "sk-admin-"];

/// More keys in one node are no mistake.
const KEYS_PER_NODE: usize = 8;

/// An agent has one for its model, and few for its memory and its tools.
const RECORDS_PER_AGENT: usize = 16;

/// What stands in the place of a record's id where n8n itself pays.
const MANAGED: &str = "managed";

const LONGEST_HOST: usize = 255;

/// In bytes; those of OpenAI's API are shorter.
const LONGEST_PATH: usize = 100;

const LONGEST_TYPE: usize = 128;

#[cfg(test)]
pub(in crate::n8n) mod tests;
