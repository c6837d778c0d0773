//! Pure. Who sent a request: n8n instance, workflow, execution, node, client family and version, and how we know each.

pub mod declared;
pub mod inferred;
pub mod names;
pub mod registry;

use crate::caller::declared::{Attribution, Origin};
use std::borrow::Cow;
use std::fmt;

use self::declared::{Declared, Ids, Sender};
use crate::codes::codes;
use crate::head::Head;
use crate::request_path::RequestPath;

/// The sender, as far as the request's head tells. Borrows from the head; nothing is copied to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller<'r> {
    /// Which n8n, if the tag says so (`inst=`).
    pub instance: Option<&'r str>,
    /// The workflow's id.
    pub workflow: Option<&'r str>,
    /// The execution's id.
    pub execution: Option<&'r str>,
    /// The node's id.
    pub node: Option<&'r str>,
    /// The workflow's name, percent-decoded.
    pub workflow_name: Option<Cow<'r, str>>,
    /// The key set that tag or path declares.
    pub set: Option<&'r str>,
    /// Which source the ids came from: the strongest that gave any.
    pub attribution: Attribution,
    /// Whether a workflow ran, or a person worked in the editor.
    pub origin: Origin,
    pub client: Client<'r>,
    /// What was odd about the sources.
    pub doubts: Doubts,
}

/// The client software, as far as its headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'r> {
    pub family: Family,
    /// Its version, as it says.
    pub version: Option<&'r str>,
}

codes! {
    /// Families of clients that fail in the same way.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Family {
        /// n8n's built-in OpenAI node and the credential's test button.
        Legacy => "legacy",
        /// The OpenAI node of n8n's LangChain package.
        Vendor => "vendor",
        /// Whatever uses an OpenAI SDK: n8n's chat model and embeddings nodes, or a program of one's own.
        Sdk => "sdk",
        /// n8n's HTTP Request node.
        HttpRequest => "http-request",
        /// An AI SDK: n8n's Agents, its Message an Agent node and its Instance AI, or a program of one's own.
        Agent => "agent",
        Other => "other",
    }
}

/// Facts about the sources that a person should know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// A tag that is invalid as a whole: a repeated, unknown or unreadable field, or an expression that was not resolved.
    pub invalid_tag: bool,
    /// Whether two sources name different senders or sets.
    pub agreement: Agreement,
    /// A declared set that does not exist. Only the key ring can tell.
    pub unknown_set: bool,
}

/// How far the sources say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agreement {
    /// As far as each says anything.
    #[default]
    Full,
    /// Two name different workflows, executions or nodes.
    SendersDiffer,
    SetsDiffer,
}

// === impl Caller ===

impl<'r> Caller<'r> {
    /// Finds out who sent a request.
    ///
    /// The ids come from the strongest source that gives any, since ids of two runs must not mix; a weaker source may
    /// complete them only if it names the same workflow. A set counts wherever it stands: it narrows what a key may be.
    #[must_use]
    pub fn identify(head: &Head<'r>, path: &RequestPath<'r>) -> Self {
        let client = Client::infer(&head.fields);
        if declared::is_anything_declared(&head.fields, path) {
            Sources::read(head, path).combine(client)
        } else {
            Self::undeclared(client)
        }
    }

    fn undeclared(client: Client<'r>) -> Self {
        Self {
            instance: None,
            workflow: None,
            execution: None,
            node: None,
            workflow_name: None,
            set: None,
            attribution: Attribution::None,
            origin: Origin::Undeclared,
            client,
            doubts: Doubts::default(),
        }
    }
}

/// What each source declares that is there, in the order of [`SOURCES`]. Most requests have one of them.
struct Sources<'r> {
    declared: [Option<Declared<'r>>; 4],
    invalid_tag: bool,
    /// The source in which n8n's expression stands as it was written.
    unresolved: Option<Attribution>,
}

// === impl Sources ===

impl<'r> Sources<'r> {
    fn read(head: &Head<'r>, path: &RequestPath<'r>) -> Self {
        let fields = &head.fields;
        let tag = fields.tag.is_present().then(|| declared::read_tag(fields.tag)).transpose();
        let headers = declared::has_headers(fields).then(|| declared::read_headers(fields)).transpose();
        let invalid_tag = tag.is_err() || headers.is_err() || path.unresolved;
        let unresolved = if invalid_tag { declared::find_unresolved(fields, path) } else { None };
        Self {
            declared: [
                tag.unwrap_or_default(),
                headers.unwrap_or_default(),
                declared::read_path(path),
                declared::read_organization(fields.organization),
            ],
            invalid_tag,
            unresolved,
        }
    }

    fn doubts(&self) -> Doubts {
        let agreement = if self.each().nth(1).is_none() {
            Agreement::Full
        } else if differ(self.each().map(|source| source.set)) {
            Agreement::SetsDiffer
        } else if self.senders_differ() {
            Agreement::SendersDiffer
        } else {
            Agreement::Full
        };
        Doubts { invalid_tag: self.invalid_tag, agreement, unknown_set: false }
    }

    fn senders_differ(&self) -> bool {
        differ(self.each().map(|source| source.ids.sender))
            || differ(self.each().map(|source| source.ids.execution))
            || differ(self.each().map(|source| source.ids.node))
    }

    fn combine(mut self, client: Client<'r>) -> Caller<'r> {
        let (attribution, ids) = self.strongest();
        let workflow_name = self.take_name(ids.sender);
        let (attribution, origin) = match (ids.origin(), self.unresolved) {
            (Origin::Undeclared, Some(source)) => (source, Origin::InstanceAi),
            (Origin::Editor, _) if client.family == Family::Agent => (attribution, Origin::Agent),
            (Origin::Workflow, _) if workflow_name.as_deref().is_some_and(is_of_chat) => (attribution, Origin::Chat),
            (origin, _) => (attribution, origin),
        };
        let same_sender = |source: &&Declared<'r>| source.ids.sender.is_some() && source.ids.sender == ids.sender;
        Caller {
            instance: self.each().find_map(|source| source.instance),
            workflow: ids.sender.and_then(Sender::workflow),
            execution: ids
                .execution
                .or_else(|| self.each().filter(same_sender).find_map(|source| source.ids.execution)),
            node: ids.node.or_else(|| self.each().filter(same_sender).find_map(|source| source.ids.node)),
            set: self.each().find_map(|source| source.set),
            attribution,
            origin,
            client,
            doubts: self.doubts(),
            workflow_name,
        }
    }

    fn strongest(&self) -> (Attribution, Ids<'r>) {
        let sources = SOURCES.into_iter().zip(&self.declared);
        let mut ids = sources.filter_map(|(attribution, source)| Some((attribution, source.as_ref()?.ids)));
        ids.find(|(_, ids)| ids.name_someone()).unwrap_or((Attribution::None, Ids::default()))
    }

    /// The name of that sender, or one that stands beside no ids at all.
    fn take_name(&mut self, sender: Option<Sender<'r>>) -> Option<Cow<'r, str>> {
        let fitting = |source: &&mut Declared<'r>| source.ids.sender == sender || !source.ids.name_someone();
        self.declared.iter_mut().flatten().filter(fitting).find_map(|source| source.name.take())
    }

    fn each(&self) -> impl Iterator<Item = &Declared<'r>> {
        self.declared.iter().flatten()
    }
}

// === impl Attribution ===

// === impl Family ===

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Whether n8n's Chat Hub calls its workflows so: `Chat` and a UUID, and what else it makes for that chat, as in
/// `Chat 4cc2… (Title Generation)`.
fn is_of_chat(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("Chat ") else { return false };
    let uuid = rest.split_once(" (").map_or(rest, |(uuid, _)| uuid);
    let is_of_uuid = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    uuid.len() == 36 && uuid.bytes().enumerate().all(is_of_uuid)
}

/// What can declare a caller, the surest first.
const SOURCES: [Attribution; 4] = [Attribution::Tag, Attribution::Header, Attribution::Path, Attribution::Organization];

/// Whether two of the values that are there are different.
fn differ<T: PartialEq>(values: impl Iterator<Item = Option<T>>) -> bool {
    let mut named = values.flatten();
    named.next().is_some_and(|first| named.any(|other| other != first))
}

#[cfg(test)]
mod tests;
