//! Pure. What an audit of n8n finds: faults and facts, each with what it means and what a person does about it.

use std::borrow::Cow;
use std::fmt;

use super::client::scope;
use super::finding_kind::{FindingKind, Urgency};
use super::inventory::{Change, Difference, Record};
use crate::clock::Timestamp;
use crate::keys::fingerprint::FingerprintKey;
use crate::keys::set::Names;
use crate::verdict::explain::DiagnosisKind;

/// Something that an audit found.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A node that sends past keyward.
    Bypass {
        node: NodeName,
        way: Way,
        /// What to put there, where it is known.
        put: Option<Put>,
    },
    /// A record whose nodes were never seen here.
    NeverSeen {
        record: Record,
        /// The nodes that use it.
        nodes: Vec<NodeName>,
        /// How many callers were seen here that cannot be told to be one of its nodes.
        untagged: usize,
    },
    /// A key that stands in a node itself, where a change of the record does not reach it.
    TypedKey {
        node: NodeName,
        key: Names,
        /// What keyward knows of it: `the previous key of set default`.
        known: Option<String>,
        /// How the node differs in a draft that is not published.
        draft: Option<Difference>,
    },
    /// A record whose nodes were seen with a wrong key last.
    StaleRecord {
        record: Record,
        /// What they were seen with.
        key: Option<Names>,
        /// What is wrong: the code of a diagnosis.
        diagnosis: Box<str>,
        seen: Timestamp,
        /// The nodes that use it.
        nodes: Vec<NodeName>,
    },
    /// A node without a record that was seen with a wrong key last.
    StaleNode {
        node: NodeName,
        /// What it was seen with.
        key: Option<Names>,
        /// What is wrong: the code of a diagnosis.
        diagnosis: Box<str>,
    },
    /// A node that sent the right key last, and behind which another sender still sends an old one.
    Mixed { node: NodeName },
    /// A draft that is not published, and would send otherwise than what runs.
    DraftDiffers {
        workflow: WorkflowName,
        changes: Vec<Change>,
        /// The nodes of those that another finding names, with that they differ.
        told: Vec<Box<str>>,
    },
    /// A workflow that ran by itself here and is off now.
    Deactivated {
        workflow: WorkflowName,
        /// When its last request came.
        seen: Timestamp,
        /// What started it then: n8n's word for it.
        mode: Box<str>,
    },
    /// A workflow that was seen here and is off now, perhaps as ever: a person may have run it.
    PerhapsDeactivated {
        workflow: WorkflowName,
        /// When its last request came.
        seen: Timestamp,
    },
    /// A record that was changed since any of its nodes was seen.
    ChangedSince {
        record: Record,
        changed: Timestamp,
        /// The nodes that use it.
        nodes: Vec<NodeName>,
    },
    /// A node that was never seen, whose address only a run can tell.
    UnclearAddress { node: NodeName },
    /// A call of a workflow that only a run can name.
    UnclearCall { workflow: WorkflowName, node: Box<str> },
    /// Several records hold the keys of one set.
    SeveralRecords { set: Box<str>, records: Vec<Record> },
    /// Nodes of an older version than others of their type here.
    OlderVersion {
        /// Their type, as n8n writes it.
        type_name: Box<str>,
        /// The newest version here.
        newest: f64,
        nodes: Vec<NodeName>,
    },
    /// Nodes that sent last by an older client package than others of their type: they have not run since n8n has a newer one.
    OlderClient {
        /// Their type, as n8n writes it.
        type_name: Box<str>,
        /// The newest version here.
        newest: Box<str>,
        nodes: Vec<NodeName>,
    },
    /// A workflow that waits for calls and is called by none.
    NobodyCalls { workflow: WorkflowName },
    /// Nodes that are switched off.
    Disabled { workflow: WorkflowName, nodes: Vec<NodeName> },
    /// A workflow with such nodes that is put away.
    Archived { workflow: WorkflowName },
    /// A node of another kind that names OpenAI's host.
    Mentions { node: NodeName },
    /// A record that only workflows use which nothing starts but a person, and that was not seen to hold the right key.
    Dormant {
        record: Record,
        /// The nodes that use it.
        nodes: Vec<NodeName>,
    },
    /// An HTTP Request that may lead to OpenAI or to keyward, let in by a credential of a type that may hold anything.
    GenericAuth {
        node: NodeName,
        /// The type of the credential: `httpHeaderAuth`.
        auth: Box<str>,
    },
    /// An HTTP Request that may lead to OpenAI or to keyward, with a key that an expression gives.
    UnclearKey { node: NodeName },
    /// A record for OpenAI that no node uses which may run.
    RecordWithoutNode {
        record: Record,
        /// The key that its test showed since it was changed, where that was not the right one.
        key: Option<Names>,
    },
    /// What n8n's API key may not do that an audit needs.
    ScopeLacks {
        /// The scope that it lacks.
        scope: &'static str,
    },
    /// Workflows from which requests come, and which n8n's API does not list.
    UnlistedWorkflows {
        /// Their ids: n8n tells no names of them.
        workflows: Vec<Box<str>>,
    },
    /// Such workflows that came in one execution alone, as those of chats do.
    UnlistedOnce {
        /// Their ids: n8n tells no names of them.
        workflows: Vec<Box<str>>,
    },
    /// Workflows that stand with the same ids in another n8n, and whose requests do not say which n8n they come from.
    SameIds {
        /// The name of the other n8n.
        other: Box<str>,
        workflows: Vec<WorkflowName>,
    },
    /// Nodes for which n8n itself pays.
    Gateway { nodes: Vec<NodeName> },
    /// A node that asks an agent which stands elsewhere.
    AsksAgent { node: NodeName },
}

/// In what way a node sends past keyward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It does not look at the record's Base URL, and has none of its own.
    NoBaseUrl,
    /// Its own address is OpenAI's.
    Straight,
    /// Its own address is one under which keyward was never seen.
    Elsewhere(Box<str>),
    /// Its record was disconnected.
    Disconnected {
        /// What keyward put there.
        base_url: Box<str>,
        at: Timestamp,
    },
}

/// An address that is to be put into a field of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub url: Box<str>,
    /// Whether the field has to be switched to Expression for it.
    pub is_expression: bool,
}

/// How a node is named, and found in n8n's editor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName {
    pub workflow: WorkflowName,
    pub id: Box<str>,
    pub name: Box<str>,
}

/// How a workflow is named, and found in n8n's editor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowName {
    pub id: Box<str>,
    pub name: Box<str>,
}

// === impl Finding ===

/// One of each kind, about invented nodes: what a code stands for.
#[must_use]
pub fn examples() -> Vec<Finding> {
    let workflow = || WorkflowName { id: "w1".into(), name: "Weekly report".into() };
    let node = || NodeName { workflow: workflow(), id: "n1".into(), name: "Summary".into() };
    let nodes = || vec![node()];
    let record = || Record { id: "r1".into(), name: "OpenAI".into(), is_open_ai: true };
    let (seen, ids) = (Timestamp::from_millis(1_795_420_800_000), || vec!["w2".into()]);
    let key = Names { fingerprint: FingerprintKey::new(&[0; 32]).fingerprint(b""), hint: None };
    let type_name = || "@n8n/n8n-nodes-langchain.lmChatOpenAi".into();
    let change = Change { node: "n1".into(), name: "Summary".into(), what: Difference::Record };
    let diagnosis = || DiagnosisKind::StaleBinding.code().into();
    vec![
        Finding::Bypass { node: node(), way: Way::Straight, put: None },
        Finding::NeverSeen { record: record(), nodes: nodes(), untagged: 0 },
        Finding::TypedKey { node: node(), key, known: None, draft: None },
        Finding::StaleRecord { record: record(), key: None, diagnosis: diagnosis(), seen, nodes: nodes() },
        Finding::StaleNode { node: node(), key: None, diagnosis: diagnosis() },
        Finding::Mixed { node: node() },
        Finding::DraftDiffers { workflow: workflow(), changes: vec![change], told: Vec::new() },
        Finding::Deactivated { workflow: workflow(), seen, mode: "trigger".into() },
        Finding::PerhapsDeactivated { workflow: workflow(), seen },
        Finding::ChangedSince { record: record(), changed: seen, nodes: nodes() },
        Finding::UnclearAddress { node: node() },
        Finding::UnclearCall { workflow: workflow(), node: "Call another".into() },
        Finding::SeveralRecords { set: "default".into(), records: vec![record(), record()] },
        Finding::OlderVersion { type_name: type_name(), newest: 1.3, nodes: nodes() },
        Finding::OlderClient { type_name: type_name(), newest: "6.9.0".into(), nodes: nodes() },
        Finding::NobodyCalls { workflow: workflow() },
        Finding::Disabled { workflow: workflow(), nodes: nodes() },
        Finding::Archived { workflow: workflow() },
        Finding::Mentions { node: node() },
        Finding::Dormant { record: record(), nodes: nodes() },
        Finding::GenericAuth { node: node(), auth: "httpHeaderAuth".into() },
        Finding::UnclearKey { node: node() },
        Finding::RecordWithoutNode { record: record(), key: None },
        Finding::ScopeLacks { scope: scope::CREDENTIAL_LIST },
        Finding::UnlistedWorkflows { workflows: ids() },
        Finding::UnlistedOnce { workflows: ids() },
        Finding::SameIds { other: "staging".into(), workflows: vec![workflow()] },
        Finding::Gateway { nodes: nodes() },
        Finding::AsksAgent { node: node() },
    ]
}

impl Finding {
    /// The kind alone, without the records, nodes and keys that it names.
    #[must_use]
    pub fn kind(&self) -> FindingKind {
        match self {
            Self::Bypass { .. } => FindingKind::Bypass,
            Self::NeverSeen { .. } => FindingKind::NeverSeen,
            Self::TypedKey { .. } => FindingKind::TypedKey,
            Self::StaleRecord { .. } => FindingKind::StaleRecord,
            Self::StaleNode { .. } => FindingKind::StaleNode,
            Self::Mixed { .. } => FindingKind::Mixed,
            Self::DraftDiffers { .. } => FindingKind::DraftDiffers,
            Self::Deactivated { .. } => FindingKind::Deactivated,
            Self::PerhapsDeactivated { .. } => FindingKind::PerhapsDeactivated,
            Self::ChangedSince { .. } => FindingKind::ChangedSince,
            Self::UnclearAddress { .. } => FindingKind::UnclearAddress,
            Self::UnclearCall { .. } => FindingKind::UnclearCall,
            Self::SeveralRecords { .. } => FindingKind::SeveralRecords,
            Self::OlderVersion { .. } => FindingKind::OlderVersion,
            Self::OlderClient { .. } => FindingKind::OlderClient,
            Self::NobodyCalls { .. } => FindingKind::NobodyCalls,
            Self::Disabled { .. } => FindingKind::Disabled,
            Self::Archived { .. } => FindingKind::Archived,
            Self::Mentions { .. } => FindingKind::Mentions,
            Self::Dormant { .. } => FindingKind::Dormant,
            Self::GenericAuth { .. } => FindingKind::GenericAuth,
            Self::UnclearKey { .. } => FindingKind::UnclearKey,
            Self::RecordWithoutNode { .. } => FindingKind::RecordWithoutNode,
            Self::ScopeLacks { .. } => FindingKind::ScopeLacks,
            Self::UnlistedWorkflows { .. } => FindingKind::UnlistedWorkflows,
            Self::UnlistedOnce { .. } => FindingKind::UnlistedOnce,
            Self::SameIds { .. } => FindingKind::SameIds,
            Self::Gateway { .. } => FindingKind::Gateway,
            Self::AsksAgent { .. } => FindingKind::AsksAgent,
        }
    }

    /// Whether you have to do something, and when.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        // Its test showed that it holds a wrong key.
        let is_shown_wrong = matches!(self, Self::RecordWithoutNode { key: Some(_), .. });
        if is_shown_wrong { Urgency::Now } else { self.kind().urgency() }
    }

    /// Whether it is a fault.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.urgency() == Urgency::Now
    }

    /// The code of its kind, which programs may match.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Whether it keeps an audit from vouching that every node sends the right key.
    #[must_use]
    pub fn is_doubt(&self) -> bool {
        self.kind().is_doubt()
    }

    /// What a person does about it, which is also what ends it.
    #[must_use]
    pub fn step(&self) -> Cow<'static, str> {
        if let Self::ScopeLacks { scope } = self {
            return format!("give n8n's API key the scope {scope}").into();
        }
        if let Self::Bypass { put: Some(put), way, .. } = self {
            return put.step(way).into();
        }
        self.fixed_step().into()
    }

    #[expect(clippy::too_many_lines, reason = "one step for each finding")]
    fn fixed_step(&self) -> &'static str {
        match self {
            Self::Bypass { way: Way::NoBaseUrl, .. } => {
                "give the node keyward's address as its own Base URL, or use the OpenAI Chat Model node in its place"
            }
            Self::Bypass { way: Way::Straight | Way::Elsewhere(_), .. } => "put keyward's address into the node's URL",
            Self::Bypass { way: Way::Disconnected { .. }, .. } => {
                "connect the credential again (keyward n8n connect), if its nodes are to pass keyward"
            }
            Self::NeverSeen { untagged: 0, .. } => {
                "put keyward's address into the credential (keyward n8n connect); if it stands there, run one of the nodes"
            }
            Self::NeverSeen { .. } => {
                "put keyward's address and the tag into the credential (keyward n8n connect), and run one of the nodes"
            }
            Self::TypedKey { .. } => "take the key out of the node, and choose an OpenAI credential in its place",
            Self::StaleRecord { .. } => {
                "put the current key into the credential, or a token of keyward's; if it takes its key from n8n's environment \
                 ($env), put it there, and restart n8n and each of its workers"
            }
            Self::StaleNode { .. } => "put the current key into the node, or better, choose an OpenAI credential there",
            Self::Mixed { .. } => {
                "look for a worker with an older environment, a clone of n8n or a waiting execution, and restart or stop it (keyward \
                 incidents)"
            }
            Self::DraftDiffers { .. } => "publish the draft, or discard it",
            Self::Deactivated { .. } => {
                "look into its executions, then switch it on again; if it is to stay off, archive it, or acknowledge its \
                 bindings (keyward ack)"
            }
            Self::PerhapsDeactivated { .. } => "if it is to run by itself, switch it on",
            Self::ChangedSince { .. } => "run one of the nodes, or wait for the next run",
            Self::UnclearAddress { .. } => "run the node once, to see where it sends",
            Self::Mentions { .. } => "look into the node: what its code sends, keyward may not see",
            Self::UnclearCall { .. } => {
                "choose the workflow from the list in the node; or look at which ones it calls, and accept that they are in \
                 this n8n"
            }
            Self::Dormant { .. } => {
                "have n8n test the credential once it leads here, or run one of the nodes; or archive the workflows that \
                 are needed no more"
            }
            Self::GenericAuth { .. } => {
                "choose the OpenAI credential in the node (Predefined Credential Type); or look where it leads and what its \
                 credential holds, and accept it"
            }
            Self::UnclearKey { .. } => {
                "choose the OpenAI credential in the node; or run it once with keyward's address and the tag in its URL, to see \
                 its key"
            }
            Self::RecordWithoutNode { key: None, .. } => {
                "have n8n test the credential, so that keyward sees its key; or open it, and accept that it holds the new key. \
                 It ends as well when the credential is deleted, which whatever uses it would miss"
            }
            Self::RecordWithoutNode { key: Some(_), .. } => {
                "put the current key into the credential, and have n8n test it; if it takes its key from n8n's environment \
                 ($env), put it there, and restart n8n and each of its workers"
            }
            Self::ScopeLacks { .. } => "give n8n's API key the scope",
            Self::UnlistedWorkflows { .. } => {
                "make the API key as an owner or admin of n8n, who sees every project; of workflows that are gone, \
                 acknowledge the bindings (keyward ack)"
            }
            Self::UnlistedOnce { .. } => {
                "make the API key as an owner or admin of n8n, who sees every project; if they are chats (Chat Hub), accept it, or put \
                 name={{ encodeURIComponent($workflow.name) }} into the tag, by which keyward tells them"
            }
            Self::SameIds { .. } => {
                "let the tags name their n8n (inst=…): keyward n8n connect does so where several are configured"
            }
            Self::Gateway { .. } => "none: they need no key, and no rotation touches them",
            Self::AsksAgent { .. } => "none: what the agent sends is known by its traffic alone",
            Self::SeveralRecords { .. } => "none: but in a rotation, each of them has to be changed",
            Self::OlderVersion { .. } => "none: but a newer one may behave otherwise",
            Self::OlderClient { .. } => "none: what they send shows with their next run",
            Self::NobodyCalls { .. } => "none: it may be needed no more",
            Self::Disabled { .. } | Self::Archived { .. } => "none",
        }
    }

    /// The nodes that it names.
    #[must_use]
    pub fn nodes(&self) -> &[NodeName] {
        self.about().nodes
    }

    /// The workflow that it names.
    #[must_use]
    pub fn workflow(&self) -> Option<&WorkflowName> {
        self.about().workflow
    }

    /// The credential record that it names.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.about().record
    }

    /// The key that it names.
    #[must_use]
    pub fn key(&self) -> Option<Names> {
        self.about().key
    }

    fn about(&self) -> About<'_> {
        let (nothing, of_node) = (About::default(), About::of_node);
        let of_nodes = |nodes| About { nodes, ..nothing };
        let of_workflow = |workflow| About { workflow: Some(workflow), ..nothing };
        let of_record = |record, nodes| About { record: Some(record), nodes, ..nothing };
        match self {
            Self::Bypass { node, .. }
            | Self::Mixed { node }
            | Self::UnclearAddress { node }
            | Self::GenericAuth { node, .. }
            | Self::UnclearKey { node }
            | Self::AsksAgent { node }
            | Self::Mentions { node } => of_node(node),
            Self::TypedKey { node, key, .. } => About { key: Some(*key), ..of_node(node) },
            Self::StaleNode { node, key, .. } => About { key: *key, ..of_node(node) },
            Self::NeverSeen { record, nodes, .. }
            | Self::ChangedSince { record, nodes, .. }
            | Self::Dormant { record, nodes } => of_record(record, nodes),
            Self::StaleRecord { record, nodes, key, .. } => About { key: *key, ..of_record(record, nodes) },
            Self::RecordWithoutNode { record, key } => About { key: *key, ..of_record(record, &[]) },
            Self::OlderVersion { nodes, .. } | Self::OlderClient { nodes, .. } | Self::Gateway { nodes } => {
                of_nodes(nodes)
            }
            Self::Disabled { workflow, nodes } => About { nodes, ..of_workflow(workflow) },
            Self::DraftDiffers { workflow, .. }
            | Self::Deactivated { workflow, .. }
            | Self::PerhapsDeactivated { workflow, .. }
            | Self::UnclearCall { workflow, .. }
            | Self::NobodyCalls { workflow }
            | Self::Archived { workflow } => of_workflow(workflow),
            Self::SeveralRecords { .. }
            | Self::ScopeLacks { .. }
            | Self::UnlistedWorkflows { .. }
            | Self::UnlistedOnce { .. }
            | Self::SameIds { .. } => nothing,
        }
    }
}

/// What a finding names.
#[derive(Clone, Copy, Default)]
struct About<'f> {
    nodes: &'f [NodeName],
    workflow: Option<&'f WorkflowName>,
    record: Option<&'f Record>,
    key: Option<Names>,
}

impl<'f> About<'f> {
    fn of_node(node: &'f NodeName) -> Self {
        Self { nodes: std::slice::from_ref(node), ..Self::default() }
    }
}

/// In one sentence, without the nodes where there are several.
impl fmt::Display for Finding {
    #[expect(clippy::too_many_lines, reason = "one sentence for each finding")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bypass { node, way, .. } => write!(f, "{node} sends past keyward: {way}"),
            Self::NeverSeen { record, nodes, untagged } => {
                write!(f, "credential {record} was never seen here, and {} it", use_it(nodes))?;
                match untagged {
                    0 => Ok(()),
                    _ => write!(f, "; {} here without a tag, and may be some of them", callers(*untagged)),
                }
            }
            Self::TypedKey { node, key, known, draft } => {
                write!(f, "{node} has key {key} typed into it")?;
                known.as_ref().map_or(Ok(()), |known| write!(f, ", {known}"))?;
                match draft {
                    None => Ok(()),
                    Some(Difference::Added) => f.write_str("; it stands in the draft alone, which is not published"),
                    Some(what) => write!(f, "; in the draft, which is not published, it {}", what.words()),
                }
            }
            Self::StaleRecord { record, key, diagnosis, seen, nodes } => {
                write!(
                    f,
                    "credential {record} sent {} last, at {seen} ({diagnosis}), and {} it",
                    key_of(*key),
                    use_it(nodes)
                )
            }
            Self::StaleNode { node, key, diagnosis } => write!(f, "{node} sent {} last ({diagnosis})", key_of(*key)),
            Self::Mixed { node } => {
                write!(f, "{node} sent the right key last, but another sender behind it still sends an old one")
            }
            Self::DraftDiffers { workflow, changes, told } => {
                write!(f, "the draft of {workflow} is not published")?;
                let others = changes.iter().filter(|change| !told.contains(&change.node));
                let words: Vec<_> = others.map(|change| format!("{} {}", change.name, change.what.words())).collect();
                if words.is_empty() { Ok(()) } else { write!(f, ": {}", words.join(", ")) }
            }
            Self::Deactivated { workflow, seen, mode } => {
                write!(
                    f,
                    "{workflow} is off, but ran by itself ({mode}) at {seen}: n8n does that after crashes, or a person did"
                )
            }
            Self::PerhapsDeactivated { workflow, seen } => {
                write!(f, "{workflow} is off, but was seen at {seen}; whether a person ran it cannot be told")
            }
            Self::ChangedSince { record, changed, nodes } => {
                write!(f, "credential {record} was changed at {changed} and not seen since, and {} it", use_it(nodes))
            }
            Self::UnclearAddress { node } => write!(f, "{node} was never seen, and only a run can tell where it sends"),
            Self::UnclearCall { workflow, node } => {
                write!(f, "node {node} of {workflow} calls a workflow that only a run can tell")
            }
            Self::SeveralRecords { set, records } => {
                let names: Vec<_> = records.iter().map(ToString::to_string).collect();
                write!(f, "set {set} has its key in {} credentials: {}", records.len(), names.join(", "))
            }
            Self::OlderVersion { type_name, newest, nodes } => {
                let (count, is) = (nodes_of(nodes.len()), is_or_are(nodes.len()));
                write!(f, "{count} of type {type_name} {is} older than version {newest}, which others here have")
            }
            Self::OlderClient { type_name, newest, nodes } => {
                let count = nodes_of(nodes.len());
                write!(
                    f,
                    "{count} of type {type_name} sent last by a client older than {newest}, which others here have"
                )
            }
            Self::NobodyCalls { workflow } => write!(f, "{workflow} waits to be called, and no workflow calls it"),
            Self::Disabled { workflow, nodes } => {
                write!(f, "{} of {workflow} {} switched off", nodes_of(nodes.len()), is_or_are(nodes.len()))
            }
            Self::Archived { workflow } => write!(f, "{workflow} is archived"),
            Self::Mentions { node } => write!(f, "{node} names OpenAI's host, but is no node that keyward can judge"),
            Self::Dormant { record, nodes } => {
                write!(
                    f,
                    "credential {record} was not seen with the right key since it was changed last, and {} it in workflows \
                     that a person may start",
                    use_it(nodes)
                )
            }
            Self::GenericAuth { node, auth } => write!(
                f,
                "{node} may lead to OpenAI or to keyward, with a credential of type {auth}: n8n does not tell what that holds"
            ),
            Self::UnclearKey { node } => {
                write!(f, "{node} may lead to OpenAI or to keyward, with a key that only a run can tell")
            }
            Self::RecordWithoutNode { record, key } => {
                write!(
                    f,
                    "n8n does not tell who uses credential {record}: no node does, but its Agents, Instance AI or "
                )?;
                f.write_str("Chat Hub may")?;
                key.map_or(Ok(()), |key| write!(f, ", and its test showed key {key}"))
            }
            Self::ScopeLacks { scope } => write!(f, "n8n's API key lacks the scope {scope}: {}", scope::without(scope)),
            Self::UnlistedWorkflows { workflows } => {
                write!(f, "requests come from {}, which n8n's API does not list to this API key", ids_of(workflows))
            }
            Self::UnlistedOnce { workflows } => write!(
                f,
                "n8n's API does not list {}, seen in one execution each: n8n's chats come so, and so do workflows that \
                 this API key may not see",
                ids_of(workflows)
            ),
            Self::SameIds { other, workflows } => {
                let ids: Vec<_> = workflows.iter().map(|workflow| workflow.id.clone()).collect();
                write!(
                    f,
                    "{} stand{} in n8n `{other}` as well, and requests do not say which n8n they come from",
                    ids_of(&ids),
                    if ids.len() == 1 { "s" } else { "" }
                )
            }
            Self::Gateway { nodes } => {
                write!(f, "n8n itself pays for {}, so that they never pass keyward", nodes_of(nodes.len()))
            }
            Self::AsksAgent { node } => write!(f, "{node} asks an agent, and n8n's API tells nothing of agents"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBaseUrl => {
                f.write_str("a node of its type does not look at the credential's Base URL, and it has none of its own")
            }
            Self::Straight => f.write_str("its URL is OpenAI's own"),
            Self::Elsewhere(host) => write!(f, "its URL is {host}, where keyward was never seen"),
            Self::Disconnected { base_url, at } => {
                write!(f, "its credential was disconnected at {at}, and leads to {base_url}")
            }
        }
    }
}

impl Put {
    /// What you do with it, by what is wrong with the node.
    fn step(&self, way: &Way) -> String {
        let (url, how) = (&self.url, if self.is_expression { ", as an expression" } else { "" });
        match way {
            Way::NoBaseUrl => {
                format!("give the node {url} as its own Base URL{how}, or use the OpenAI Chat Model node in its place")
            }
            Way::Straight | Way::Elsewhere(_) | Way::Disconnected { .. } => {
                format!("put {url} into the node's URL{how}")
            }
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of {}", either(&self.name, &self.id), self.workflow)
    }
}

impl fmt::Display for WorkflowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workflow {}", either(&self.name, &self.id))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.name, &*self.id) {
            ("", "") => f.write_str("that was never chosen"),
            (name, id) => f.write_str(either(name, id)),
        }
    }
}

/// `workflow a`, or `workflows a, b and 3 more`.
fn ids_of(workflows: &[Box<str>]) -> String {
    let shown: Vec<_> = workflows.iter().take(MOST_IDS).map(|id| &**id).collect();
    let more = match workflows.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("workflow{} {}{more}", if workflows.len() == 1 { "" } else { "s" }, shown.join(", "))
}

/// How many ids a sentence names.
const MOST_IDS: usize = 20;

fn either<'t>(name: &'t str, id: &'t str) -> &'t str {
    if name.is_empty() { id } else { name }
}

fn key_of(key: Option<Names>) -> String {
    key.map_or_else(|| "no key".to_owned(), |key| format!("key {key}"))
}

fn use_it(nodes: &[NodeName]) -> String {
    format!("{} use{}", nodes_of(nodes.len()), if nodes.len() == 1 { "s" } else { "" })
}

fn nodes_of(count: usize) -> String {
    format!("{count} node{}", if count == 1 { "" } else { "s" })
}

fn is_or_are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn callers(count: usize) -> String {
    format!("{count} caller{} came", if count == 1 { "" } else { "s" })
}
