//! Pure. Which nodes of n8n's are to use one credential record, what stands there, and which are left alone and why.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::documents::{self, CredentialRecord, Published};
use super::inventory::{self, Address, Builder, Kind, OPEN_AI_API, with_embedded};
use super::rewrite::{At, Edit, Reference, Typed};
use crate::codes::codes;
use crate::keys::set::Names;
use crate::telemetry::masked::holds_key;

/// The record that the nodes are to use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Target {
    pub id: String,
    pub name: String,
}

/// What is asked for.
pub struct Choice<'a> {
    pub to: &'a Target,
    /// Only nodes with one of these records, by their ids.
    pub from: Option<&'a BTreeSet<String>>,
    /// Only these workflows, by their ids.
    pub workflows: Option<&'a BTreeSet<String>>,
    /// Only these nodes, each by the ids of its workflow and of itself.
    pub seen: Option<&'a HashSet<(String, String)>>,
    /// Whether a key that was typed into an HTTP Request gives way to the record.
    pub typed_keys: bool,
    /// Whether a draft that is not what runs is changed as well.
    pub drafts: bool,
    /// The records that n8n lists, with the target among them; none where it lists none.
    pub records: &'a [CredentialRecord],
}

/// What is to be done in one workflow.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Task {
    /// The workflow's id.
    pub workflow: String,
    /// The workflow's name.
    pub name: String,
    pub shape: Shape,
    /// Which versions it had.
    pub at: At,
    /// The changes of the draft, or of all there is.
    pub draft: Vec<Edit>,
    /// The changes of what runs, where that is something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<Edit>,
}

codes! {
    /// What a workflow has beside its draft.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Shape {
        /// It has one version: n8n 1.x has no others.
        Single => "single",
        /// It is not published.
        Unpublished => "unpublished",
        /// What runs is what people edit.
        Published => "published",
        /// What runs is not what people edit.
        Parted => "parted",
    }
}

/// What of n8n is not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The workflow's id.
    pub workflow: String,
    /// The workflow's name.
    pub name: String,
    /// The node's id and name, where it is about one.
    pub node: Option<(String, String)>,
    pub reason: LeftReason,
}

codes! {
    /// Why something is not touched.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum LeftReason {
        AlreadyThere => "already_there",
        DraftDiffers => "draft_differs",
        Archived => "archived",
        OtherProject => "other_project",
        LostRecord => "lost_record",
        OtherType => "other_type",
        Gateway => "gateway",
        InlineAgent => "inline_agent",
        Embedded => "embedded",
        TypedKey => "typed_key",
        TypedElsewhere => "typed_elsewhere",
        UnsureKey => "unsure_key",
        Unreadable => "unreadable",
    }
}

/// Everything that is to be done, and what is not touched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub tasks: Vec<Task>,
    pub left: Vec<Left>,
}

// === impl LeftReason ===

impl LeftReason {
    /// In words, behind the workflow or the node.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::AlreadyThere => "uses it already",
            Self::DraftDiffers => {
                "its draft is not what is published, and n8n publishes what is saved: publish or discard the draft, or have both \
                 changed with --drafts"
            }
            Self::Archived => "is archived, so n8n lets no one change it",
            Self::OtherProject => {
                "lies in a project that the credential is not shared with, so its nodes might fail: share it in n8n"
            }
            Self::LostRecord => {
                "another of its nodes names a credential that is gone, and n8n would give it another one of that name: choose one \
                 there by hand first"
            }
            Self::OtherType => {
                "sends to OpenAI with a credential of another type, and n8n does not tell what that holds: choose the OpenAI \
                 credential there by hand"
            }
            Self::Gateway => "has no credential, since n8n itself pays for it",
            Self::InlineAgent => "has an agent that stands in the node: choose the credential there by hand",
            Self::Embedded => "stands in a workflow that is typed into a node: change it there by hand",
            Self::TypedKey => "has a key typed into it: --typed-keys puts the credential in its place",
            Self::TypedElsewhere => {
                "has a key typed into it where no credential can take its place: take it out by hand"
            }
            Self::UnsureKey => "has a key typed into it that may be another vendor's: look at it by hand",
            Self::Unreadable => "is not written as n8n writes one, so it is left alone",
        }
    }

    /// Whether what was asked for is not reached by that.
    #[must_use]
    pub fn is_open(self) -> bool {
        !matches!(self, Self::AlreadyThere | Self::Archived | Self::Gateway)
    }
}

// === impl Task ===

impl Task {
    /// Its changes, and what of the workflow each of them is in.
    pub fn edits(&self) -> impl Iterator<Item = (&'static str, &Edit)> {
        let draft = match self.shape {
            Shape::Single | Shape::Unpublished | Shape::Published => "",
            Shape::Parted => "draft",
        };
        self.live.iter().map(|edit| ("published", edit)).chain(self.draft.iter().map(move |edit| (draft, edit)))
    }

    /// What takes it back. A key that was typed in comes back where n8n keeps versions.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let keeps = self.at.has_versions;
        let back = |edits: &[Edit]| edits.iter().filter_map(|edit| edit.reversed(keeps)).collect();
        Self { draft: back(&self.draft), live: back(&self.live), ..self.clone() }
    }

    /// The nodes whose typed key cannot come back.
    pub fn lost_keys(&self) -> impl Iterator<Item = &Edit> {
        self.draft.iter().filter(|edit| edit.typed == Typed::TakenOut && !self.at.has_versions)
    }
}

impl Edit {
    fn reversed(&self, keeps: bool) -> Option<Self> {
        let typed = match self.typed {
            Typed::None => Typed::None,
            Typed::TakenOut if keeps => Typed::PutBack,
            Typed::TakenOut | Typed::PutBack => return None,
        };
        Some(Self { before: self.after.clone(), after: self.before.clone(), typed, ..self.clone() })
    }

    /// The record that stood there, where the node was let in by one.
    #[must_use]
    pub fn record_before(&self) -> Option<&Reference> {
        self.before.as_ref().filter(|_| self.typed == Typed::None)
    }
}

// === impl Choice ===

impl Choice<'_> {
    /// Says what is to be done in those workflows, which are n8n's documents. Keys that stand in them are known by what
    /// `names_of` gives for them alone.
    #[must_use]
    pub fn plan(&self, workflows: &[Value], names_of: &dyn Fn(&[u8]) -> Names) -> Plan {
        let builder = Builder::new(names_of);
        let mut plan = Plan::default();
        for workflow in workflows {
            let Ok(document) = serde_json::from_value::<documents::Workflow>(workflow.clone()) else { continue };
            if self.workflows.is_none_or(|chosen| chosen.contains(&document.id)) {
                Draft { choice: self, builder: &builder, workflow, document: &document, left: Vec::new() }
                    .finish(&mut plan);
            }
        }
        plan.tasks.sort_by(|a, b| (&a.name, &a.workflow).cmp(&(&b.name, &b.workflow)));
        plan.left.sort_by(|a, b| (&a.name, &a.workflow, &a.node).cmp(&(&b.name, &b.workflow, &b.node)));
        plan
    }

    /// Whether a record is one that is to go.
    fn takes(&self, id: &str) -> bool {
        id != self.to.id && self.from.is_none_or(|from| from.contains(id))
    }

    /// Whether n8n would give the node another record when it saves it: one whose id is gone is looked for by its name.
    fn is_lost(&self, kind: &str, reference: &documents::CredentialReference) -> bool {
        let is_there = |record: &&CredentialRecord| Some(&record.id) == reference.id.as_ref();
        let named = |record: &&CredentialRecord| record.kind == kind && record.name == reference.name;
        !reference.is_gateway
            && !self.records.iter().any(|record| is_there(&record))
            && self.records.iter().filter(named).count() == 1
    }
}

/// What is to be done in one workflow, while it is found out.
struct Draft<'a> {
    choice: &'a Choice<'a>,
    builder: &'a Builder<'a>,
    workflow: &'a Value,
    document: &'a documents::Workflow,
    left: Vec<Left>,
}

impl Draft<'_> {
    fn finish(mut self, plan: &mut Plan) {
        let shape = self.shape();
        let live = &self.workflow["activeVersion"]["nodes"];
        let of_draft = self.edits(&self.workflow["nodes"]);
        let of_live = if shape == Shape::Parted { self.edits(live) } else { Vec::new() };
        self.left.sort_by(|a, b| (&a.node, a.reason.code()).cmp(&(&b.node, b.reason.code())));
        self.left.dedup();
        let is_empty = of_draft.is_empty() && of_live.is_empty();
        if let Some(reason) = self.fault(shape).filter(|_| !is_empty) {
            self.left.push(self.left_alone(None, reason));
        } else if !is_empty {
            let at = At {
                draft: self.version(),
                live: match &self.document.published {
                    Published::Version(version) => Some(version.clone()),
                    Published::Unversioned | Published::Nothing => None,
                },
                has_versions: shape != Shape::Single,
            };
            let (workflow, name) = (self.document.id.clone(), self.document.name.clone());
            plan.tasks.push(Task { workflow, name, shape, at, draft: of_draft, live: of_live });
        }
        plan.left.append(&mut self.left);
    }

    fn shape(&self) -> Shape {
        match (&self.document.published, &self.workflow["activeVersion"]) {
            (Published::Unversioned, _) => Shape::Single,
            (Published::Nothing, _) => Shape::Unpublished,
            (Published::Version(version), Value::Null) => {
                if self.document.version_id.as_ref() == Some(version) {
                    Shape::Published
                } else {
                    Shape::Parted
                }
            }
            (Published::Version(_), live) => {
                let is_same = |part: &str| live[part] == self.workflow[part];
                if is_same("nodes") && is_same("connections") { Shape::Published } else { Shape::Parted }
            }
        }
    }

    fn version(&self) -> String {
        let text = |name: &str| self.workflow[name].as_str().unwrap_or_default().to_owned();
        self.document.version_id.clone().unwrap_or_else(|| text("updatedAt"))
    }

    /// Why none of it may be changed.
    fn fault(&self, shape: Shape) -> Option<LeftReason> {
        let document = self.document;
        let target = self.choice.records.iter().find(|record| record.id == self.choice.to.id);
        let shares = |record: &CredentialRecord| {
            record.shared.iter().any(|with| document.shared.iter().any(|own| own.project_id == with.id))
        };
        let is_elsewhere =
            |record: &CredentialRecord| !record.shared.is_empty() && !document.shared.is_empty() && !shares(record);
        let running = document.running_nodes().iter().filter(|_| shape == Shape::Parted);
        let nodes = document.nodes.iter().chain(running);
        let is_lost = || {
            nodes.clone().filter(|node| !node.disabled).any(|node| {
                let is_ours = |kind: &str| kind == OPEN_AI_API && self.is_to_change(node);
                node.credentials.iter().any(|(kind, held)| !is_ours(kind) && self.choice.is_lost(kind, held))
            })
        };
        let mut ids = nodes.clone().map(|node| &node.id).chain([&document.id]);
        if ids.any(|id| holds_key(id)) {
            // An id is kept and shown.
            Some(LeftReason::Unreadable)
        } else if document.is_archived {
            Some(LeftReason::Archived)
        } else if shape == Shape::Parted && !self.choice.drafts {
            Some(LeftReason::DraftDiffers)
        } else if target.is_some_and(is_elsewhere) {
            Some(LeftReason::OtherProject)
        } else {
            is_lost().then_some(LeftReason::LostRecord)
        }
    }

    fn is_to_change(&self, node: &documents::Node) -> bool {
        matches!(self.judge(node), Some(Ok(_)))
    }

    /// The changes of those nodes; what is left alone is noted.
    fn edits(&mut self, nodes: &Value) -> Vec<Edit> {
        let mut edits = Vec::new();
        for raw in nodes.as_array().into_iter().flatten() {
            let Ok(node) = serde_json::from_value::<documents::Node>(raw.clone()) else { continue };
            let own = (node.id.clone(), node.name.clone());
            match self.judge(&node) {
                None => {}
                Some(Err(reason)) => self.left.push(self.left_alone(Some(own), reason)),
                Some(Ok(typed)) => edits.push(self.edit(&node, typed)),
            }
        }
        edits
    }

    fn left_alone(&self, node: Option<(String, String)>, reason: LeftReason) -> Left {
        Left { workflow: self.document.id.clone(), name: self.document.name.clone(), node, reason }
    }

    fn edit(&self, node: &documents::Node, typed: Typed) -> Edit {
        let to = self.choice.to;
        let reference = |own: &documents::CredentialReference| Reference { id: own.id.clone(), name: own.name.clone() };
        Edit {
            node: node.id.clone(),
            name: node.name.clone(),
            before: node.credentials.get(OPEN_AI_API).map(reference),
            after: Some(Reference { id: Some(to.id.clone()), name: to.name.clone() }),
            typed,
        }
    }

    /// Whether a node is to be changed, or why it is left alone; nothing where it has nothing to do with what is asked for.
    fn judge(&self, node: &documents::Node) -> Option<Result<Typed, LeftReason>> {
        let is_asked = |(workflow, id): (&str, &str)| {
            self.choice.seen.is_none_or(|seen| seen.contains(&(workflow.to_owned(), id.to_owned())))
        };
        let own = (&*self.document.id, &*node.id);
        let judged = is_asked(own).then(|| self.judge_own(node)).flatten();
        judged.or_else(|| self.holds_within(node, &is_asked).then_some(Err(LeftReason::Embedded)))
    }

    fn judge_own(&self, node: &documents::Node) -> Option<Result<Typed, LeftReason>> {
        self.builder.classify(node).iter().find_map(|found| self.judge_found(node, found))
    }

    fn judge_found(&self, node: &documents::Node, found: &inventory::Node) -> Option<Result<Typed, LeftReason>> {
        let is_any = self.choice.from.is_none();
        if found.is_gateway {
            return is_any.then_some(Err(LeftReason::Gateway));
        }
        if let Some(record) = found.record.as_ref().filter(|record| record.is_open_ai) {
            // The inventory masks ids that look like keys; the node's own is the one to know.
            let id = match found.kind {
                Kind::Agent => &*record.id,
                Kind::OpenAi | Kind::HttpRequest | Kind::Text => {
                    node.credentials.get(OPEN_AI_API).and_then(|own| own.id.as_deref()).unwrap_or_default()
                }
            };
            return match (id == self.choice.to.id, found.kind) {
                (true, _) => Some(Err(LeftReason::AlreadyThere)),
                (false, Kind::Agent) => self.choice.takes(id).then_some(Err(LeftReason::InlineAgent)),
                (false, _) => self.choice.takes(id).then_some(Ok(Typed::None)),
            };
        }
        if !found.keys.is_empty() {
            return self.judge_typed(node, found);
        }
        let is_other = found.kind == Kind::HttpRequest && found.record.is_some() && found.address == Address::OpenAi;
        (is_any && is_other).then_some(Err(LeftReason::OtherType))
    }

    fn judge_typed(&self, node: &documents::Node, found: &inventory::Node) -> Option<Result<Typed, LeftReason>> {
        if !self.choice.typed_keys {
            let is_known = found.keys.iter().any(|key| key.is_surely_open_ai) || found.address == Address::OpenAi;
            return (self.choice.from.is_none() && is_known).then_some(Err(LeftReason::TypedKey));
        }
        Some(match header_with_key(node) {
            None => Err(LeftReason::TypedElsewhere),
            Some(key) if OURS.iter().any(|mark| key.starts_with(mark)) => Ok(Typed::TakenOut),
            Some(_) if found.address == Address::OpenAi => Ok(Typed::TakenOut),
            Some(_) => Err(LeftReason::UnsureKey),
        })
    }

    /// Whether a workflow that stands in the node has a node with a record that is to go.
    fn holds_within(&self, node: &documents::Node, is_asked: &dyn Fn((&str, &str)) -> bool) -> bool {
        with_embedded(std::slice::from_ref(node)).iter().skip(1).any(|inner| {
            let named_by = inner.within.as_deref().unwrap_or(&self.document.id);
            let own = inner.credentials.get(OPEN_AI_API).filter(|own| !own.is_gateway);
            is_asked((named_by, &inner.id))
                && own.is_some_and(|own| self.choice.takes(own.id.as_deref().unwrap_or_default()))
        })
    }
}

/// The key in the one `Authorization` header of an HTTP Request that has no other way in. Before version 3 of the node, its
/// fields have other names; a tool of an Agent's has fields of its own.
fn header_with_key(node: &documents::Node) -> Option<&str> {
    let text = |name: &str| node.parameters[name].as_str().unwrap_or_default();
    let is_request = matches!(&*node.kind, "n8n-nodes-base.httpRequest" | "n8n-nodes-base.httpRequestTool");
    let is_plain = matches!(text("authentication"), "" | "none") && matches!(text("specifyHeaders"), "" | "keypair");
    if !is_request || !is_plain || node.type_version.unwrap_or(1.0) < 3.0 || node.parameters["sendHeaders"] != true {
        return None;
    }
    let listed = node.parameters["headerParameters"]["parameters"].as_array()?;
    let is_it =
        |header: &&Value| header["name"].as_str().is_some_and(|name| name.trim().eq_ignore_ascii_case("authorization"));
    let mut named = listed.iter().filter(is_it);
    let (Some(only), None) = (named.next(), named.next()) else { return None };
    let value = only["value"].as_str()?.trim();
    let (scheme, key) = value.strip_prefix('=').unwrap_or(value).trim().split_once(' ')?;
    let key = key.trim();
    let is_key = scheme.eq_ignore_ascii_case("bearer")
        && key.starts_with("sk-")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_key.then_some(key)
}

/// How the keys begin that OpenAI alone gives out to send requests with.
const OURS: [&str; 2] = ["sk-proj-", "sk-svcacct-"];

#[cfg(test)]
mod tests;
