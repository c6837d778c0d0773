//! Pure. Sources that declare the caller: tag header, single headers, path prefix, organisation.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode;

use crate::codes::codes;
use crate::field_lines::visible_text;
use crate::head::{Field, Fields};
use crate::request_path::{RequestPath, is_blank, is_id, is_placeholder};

codes! {
    /// How keyward knows the caller; the earlier, the surer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Attribution {
        /// `X-N8N-Tag`.
        Tag => "tag",
        /// `X-N8N-Workflow-Id` and its kin.
        Header => "header",
        /// The prefix of the path.
        Path => "path",
        /// `OpenAI-Organization: n8n-<workflow>-<execution>`.
        Organization => "organization",
        /// Nothing: client family and peer address stand in.
        None => "none",
    }
}

/// What in n8n made the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A run of a workflow, by its declaration.
    Workflow,
    /// The editor's test button or a model list: never an incident of a workflow.
    Editor,
    /// One of n8n's Agents, which run outside of workflows: their client is an AI SDK, and what they resolve of a credential's
    /// expressions is what the editor does.
    Agent,
    /// n8n's Instance AI, or an agent like it: it resolves no expression, so that a tag came as n8n has it stored.
    InstanceAi,
    /// A chat of n8n's Chat Hub: a workflow that is made for one turn of it and then gone, told by its name.
    Chat,
    /// Nothing was declared.
    Undeclared,
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What one source says. Nothing in it can end a line or hide what follows it, in a log or on a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared<'r> {
    pub ids: Ids<'r>,
    /// The workflow's name, decoded.
    pub name: Option<Cow<'r, str>>,
    pub instance: Option<&'r str>,
    pub set: Option<&'r str>,
}

/// The ids of a sender: they come from one source together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids<'r> {
    /// The workflow, or the editor.
    pub sender: Option<Sender<'r>>,
    /// The execution's id.
    pub execution: Option<&'r str>,
    /// The node's id.
    pub node: Option<&'r str>,
}

/// A workflow, or a person in n8n's editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<'r> {
    /// The workflow with this id.
    Workflow(&'r str),
    /// A person in the editor. There is no workflow, execution or node then.
    Editor,
}

/// A source that is there and cannot be read: it says nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Whether any source could say something. Most untagged requests are done with this.
#[must_use]
pub fn is_anything_declared(fields: &Fields<'_>, path: &RequestPath<'_>) -> bool {
    let organization = fields.organization.first().unwrap_or_default();
    path.begins > 0 || organization.starts_with(b"n8n-") || fields.tag.is_present() || has_headers(fields)
}

/// Reads `X-N8N-Tag: wf=…;ex=…;node=…[;set=…][;inst=…][;name=…]`; a tag that is not there declares nothing.
pub fn read_tag(tag: Field<'_>) -> Result<Declared<'_>, Unreadable> {
    let Some(text) = read_text(tag)? else {
        return Ok(Declared::default());
    };
    if text.len() > LONGEST_TAG || is_unresolved(text) {
        return Err(Unreadable);
    }
    let mut parts = Parts::default();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let end = memchr::memchr(b';', text.as_bytes());
        parts.add(text[..end.unwrap_or(text.len())].trim_ascii())?;
        rest = end.map(|end| &text[end + 1..]);
    }
    parts.declare()
}

/// In which source an expression stands as it is written into a credential of n8n's, since nothing has resolved it.
#[must_use]
pub fn find_unresolved(fields: &Fields<'_>, path: &RequestPath<'_>) -> Option<Attribution> {
    if is_raw(fields.tag) {
        Some(Attribution::Tag)
    } else if has_raw_header(fields) {
        Some(Attribution::Header)
    } else {
        path.unresolved.then_some(Attribution::Path)
    }
}

/// Whether one of the single headers is there.
#[must_use]
pub fn has_headers(fields: &Fields<'_>) -> bool {
    let all = [fields.workflow_id, fields.execution_id, fields.node_id, fields.workflow_name];
    all.into_iter().any(Field::is_present)
}

/// Reads `X-N8N-Workflow-Id`, `-Execution-Id`, `-Node-Id` and `-Workflow-Name`.
pub fn read_headers<'r>(fields: &Fields<'r>) -> Result<Declared<'r>, Unreadable> {
    if has_raw_header(fields) {
        return Err(Unreadable);
    }
    let parts = Parts {
        workflow: read_text(fields.workflow_id)?,
        execution: read_text(fields.execution_id)?,
        node: read_text(fields.node_id)?,
        name: read_bytes(fields.workflow_name)?,
        instance: None,
        set: None,
    };
    parts.declare()
}

/// What the path's prefix declares, if it has one.
#[must_use]
pub fn read_path<'r>(path: &RequestPath<'r>) -> Option<Declared<'r>> {
    if path.begins == 0 {
        return None;
    }
    let sender = if path.editor { Some(Sender::Editor) } else { path.workflow.map(Sender::Workflow) };
    let ids = Ids { sender, execution: path.execution, node: path.node };
    Some(Declared { ids, set: path.set, ..Declared::default() })
}

/// Reads `OpenAI-Organization: n8n-<workflow>-<execution>`. Executions are numbers, so that a user's own organisation
/// is not taken for ours; only in the editor, which has none, a placeholder stands there.
#[must_use]
pub fn read_organization(organization: Field<'_>) -> Option<Declared<'_>> {
    let Field::One(value) = organization else { return None };
    let (workflow, execution) = visible_text(value)?.strip_prefix("n8n-")?.rsplit_once('-')?;
    let is_number = is_id(execution) && execution.bytes().all(|byte| byte.is_ascii_digit());
    let ids = if is_placeholder(workflow) && (is_number || is_placeholder(execution)) {
        Ids { sender: Some(Sender::Editor), execution: None, node: None }
    } else if is_id(workflow) && is_number {
        Ids { sender: Some(Sender::Workflow(workflow)), execution: Some(execution), node: None }
    } else {
        return None;
    };
    Some(Declared { ids, ..Declared::default() })
}

/// Whether the organisation is our tag, and must not reach upstream; any other value is the user's.
#[must_use]
pub fn is_our_organization(organization: Field<'_>) -> bool {
    read_organization(organization).is_some()
}

// === impl Ids ===

impl Ids<'_> {
    /// Whether there is any id, or the editor.
    #[must_use]
    pub fn name_someone(&self) -> bool {
        self.sender.is_some() || self.execution.is_some() || self.node.is_some()
    }

    /// What they make of the request's origin.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.sender {
            Some(Sender::Editor) => Origin::Editor,
            Some(Sender::Workflow(_)) => Origin::Workflow,
            None if self.name_someone() => Origin::Workflow,
            None => Origin::Undeclared,
        }
    }
}

// === impl Sender ===

impl<'r> Sender<'r> {
    /// The workflow's id, unless it is the editor.
    #[must_use]
    pub fn workflow(self) -> Option<&'r str> {
        match self {
            Self::Workflow(id) => Some(id),
            Self::Editor => None,
        }
    }
}

/// The fields of a tag as they came, before it is known whether all of them are sound.
#[derive(Default)]
struct Parts<'r> {
    workflow: Option<&'r str>,
    execution: Option<&'r str>,
    node: Option<&'r str>,
    set: Option<&'r str>,
    instance: Option<&'r str>,
    name: Option<&'r [u8]>,
}

// === impl Parts ===

impl<'r> Parts<'r> {
    fn add(&mut self, part: &'r str) -> Result<(), Unreadable> {
        // The fields' names are short.
        let at = part.bytes().position(|byte| byte == b'=').ok_or(Unreadable)?;
        let (field, value) = (&part[..at], &part[at + 1..]);
        let is_repeated = match field {
            "wf" => self.workflow.replace(value).is_some(),
            "ex" => self.execution.replace(value).is_some(),
            "node" => self.node.replace(value).is_some(),
            "set" => self.set.replace(value).is_some(),
            "inst" => self.instance.replace(value).is_some(),
            "name" => self.name.replace(value.as_bytes()).is_some(),
            _unknown => true,
        };
        if is_repeated { Err(Unreadable) } else { Ok(()) }
    }

    fn declare(self) -> Result<Declared<'r>, Unreadable> {
        let ids = Ids {
            sender: read_sender(self.workflow)?,
            execution: read_id(self.execution)?.filter(|id| !is_placeholder(id)),
            node: read_id(self.node)?.filter(|id| !is_placeholder(id)),
        };
        Ok(Declared {
            ids: if ids.sender == Some(Sender::Editor) { Ids { execution: None, node: None, ..ids } } else { ids },
            name: read_name(self.name)?,
            instance: read_id(self.instance)?,
            set: read_id(self.set)?,
        })
    }
}

/// A header's text, if it came and is the only one of its name.
fn read_text(field: Field<'_>) -> Result<Option<&str>, Unreadable> {
    match field {
        Field::Absent => Ok(None),
        Field::One(value) => visible_text(value).map(Some).ok_or(Unreadable),
        Field::Repeated(_) => Err(Unreadable),
    }
}

/// The same for a header that n8n fills with a raw name: its nodes cut "Wörkflow" to Latin-1 and send that.
fn read_bytes(field: Field<'_>) -> Result<Option<&[u8]>, Unreadable> {
    match field {
        Field::Absent => Ok(None),
        Field::One(value) => Ok(Some(value)),
        Field::Repeated(_) => Err(Unreadable),
    }
}

/// Unlike in a path, where a segment has to stand, a blank here is a field that was left out.
fn read_sender(workflow: Option<&str>) -> Result<Option<Sender<'_>>, Unreadable> {
    let sender = |id| {
        if is_placeholder(id) { Sender::Editor } else { Sender::Workflow(id) }
    };
    Ok(read_id(workflow)?.map(sender))
}

fn read_id(value: Option<&str>) -> Result<Option<&str>, Unreadable> {
    match value {
        Some(id) if is_blank(id) => Ok(None),
        Some(id) if is_id(id) => Ok(Some(id)),
        Some(_) => Err(Unreadable),
        None => Ok(None),
    }
}

fn has_raw_header(fields: &Fields<'_>) -> bool {
    [fields.workflow_id, fields.execution_id, fields.node_id].into_iter().any(is_raw)
}

fn is_raw(field: Field<'_>) -> bool {
    field.is_present() && field.text().is_some_and(is_unresolved)
}

/// n8n stores an expression with `=` before it, and writes `{{ … }}` around what is to be resolved. Most texts have no brace.
fn is_unresolved(text: &str) -> bool {
    text.starts_with('=') || (memchr::memchr(b'{', text.as_bytes()).is_some() && text.contains("{{"))
}

/// Decodes a name. It is for people alone, so what cannot be shown in it is replaced and costs no more than itself.
fn read_name(encoded: Option<&[u8]>) -> Result<Option<Cow<'_, str>>, Unreadable> {
    let name = encoded.map(|encoded| make_showable(percent_decode(encoded).decode_utf8_lossy()));
    match name {
        Some(name) if name.len() > LONGEST_NAME => Err(Unreadable),
        name => Ok(name.filter(|name| !is_blank(name))),
    }
}

fn make_showable(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.contains(is_misleading) { Cow::Owned(name.replace(is_misleading, "\u{fffd}")) } else { name }
}

/// Control characters, what ends a line, and what turns the direction of the text around it.
fn is_misleading(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const LONGEST_TAG: usize = 1024;

const LONGEST_NAME: usize = 256;
