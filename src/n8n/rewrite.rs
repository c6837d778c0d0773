//! Pure. A workflow of n8n's that goes back as it was written, but for the credential of some nodes.
//!
//! What n8n's API takes for a workflow is less than what it gives: name, nodes, connections and settings (seen in 1.100.1 and
//! 2.41.1). Data that is pinned, and what its triggers remember (`staticData`), is never sent, and so stays what it is. All
//! that is not changed keeps its text: the order of its fields, and every digit of a number.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::documents::LONGEST_NAME;
use super::inventory::OPEN_AI_API;
use crate::telemetry::masked::mask_and_cap;

/// A JSON object whose fields have kept their order and their text.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, Box<RawValue>)>);

/// A workflow, as far as it is written back.
#[derive(Clone, Debug)]
pub struct Content {
    name: Box<RawValue>,
    settings: Fields,
    /// What people edit; on n8n 1.x what runs.
    pub draft: Version,
    /// What runs, on n8n 2.x.
    pub live: Option<Version>,
    /// Whether its triggers are on.
    pub active: bool,
    /// How many of its triggers n8n counts.
    pub triggers: u64,
    /// By what it is known whether it was changed.
    pub at: At,
}

/// The nodes of one version of a workflow, and how they hang together.
#[derive(Clone, Debug)]
pub struct Version {
    nodes: Vec<Fields>,
    connections: Box<RawValue>,
    /// How nodes are framed in the editor; older releases have none.
    groups: Option<Box<RawValue>>,
}

/// Which versions a workflow has. n8n makes another id for each version that it saves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct At {
    /// That of the draft, or when it was changed last where n8n has none.
    pub draft: String,
    /// That of what runs, on n8n 2.x.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// Whether n8n tells what runs from the draft.
    pub has_versions: bool,
}

/// A change of one node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Edit {
    /// The node's id; empty where it has none.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its `OpenAI` record before; nothing where it had none.
    pub before: Option<Reference>,
    /// The one that it is to use.
    pub after: Option<Reference>,
    /// What becomes of a key that was typed into it.
    #[serde(default, skip_serializing_if = "stays")]
    pub typed: Typed,
}

/// A credential record as a node names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reference {
    /// Nothing where the node was imported and never connected.
    pub id: Option<String>,
    /// What the record was called when the node was saved. n8n puts in what it is called now.
    pub name: String,
}

/// What becomes of a key that was typed into a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Typed {
    /// It has none, or that stays.
    #[default]
    None,
    /// It is taken out, and the node let in by the credential.
    TakenOut,
    /// It comes back, with all fields of the node, from the version that n8n keeps.
    PutBack,
}

/// By what the parts of a workflow are known again, without what stands in them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Marks {
    pub name: String,
    pub settings: String,
    pub draft: VersionMarks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<VersionMarks>,
}

/// By what the parts of a version are known again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct VersionMarks {
    /// Each node by its name.
    pub nodes: BTreeMap<String, String>,
    pub connections: String,
}

/// Why a workflow cannot be written back as it is.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It has another shape than n8n gives it. The parser's words may quote it.
    #[error("what n8n sends of it cannot be read")]
    Unreadable,
    /// A node is not there, or it cannot be told which one is meant.
    #[error("its node {0} is no longer there, or there are two of them")]
    NoNode(String),
    /// A node holds something else than it did.
    #[error("its node {0} has another credential than before")]
    OtherCredential(String),
    /// The version that has a key that was typed into a node is gone.
    #[error("n8n no longer has the version with what stood in node {0}")]
    NoVersion(String),
}

/// Gives the public name of some bytes, by which they are known again.
pub type NameOf<'a> = dyn Fn(&[u8]) -> String + 'a;

impl Marks {
    /// Whether what people edit is something else than what runs.
    #[must_use]
    pub fn is_parted(&self) -> bool {
        self.live.as_ref().is_some_and(|live| *live != self.draft)
    }

    /// What differs from those of another time, in words.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.name != other.name {
            found.push("its name".to_owned());
        }
        if self.settings != other.settings {
            found.push("its settings".to_owned());
        }
        found.extend(self.draft.differences(&other.draft));
        match (&self.live, &other.live) {
            (Some(own), Some(other)) => {
                found.extend(own.differences(other).into_iter().map(|what| format!("{what} (published)")));
            }
            (None, None) => {}
            (Some(_), None) => found.push("it is no longer published".to_owned()),
            (None, Some(_)) => found.push("it is published".to_owned()),
        }
        found.dedup();
        found
    }
}

impl VersionMarks {
    fn differences(&self, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<_> = self.nodes.keys().chain(other.nodes.keys()).collect();
        let differs = |name: &&&String| self.nodes.get(**name) != other.nodes.get(**name);
        let mut found: Vec<_> = names.iter().filter(differs).map(|name| format!("node {name}")).collect();
        if self.connections != other.connections {
            found.push("its connections".to_owned());
        }
        found
    }
}

// === impl Fields ===

impl Fields {
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    fn text(&self, name: &str) -> String {
        self.value(name).as_str().unwrap_or_default().to_owned()
    }

    fn value(&self, name: &str) -> Value {
        self.get(name).map(value_of).unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| own != name);
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsWritten;

        impl<'de> Visitor<'de> for AsWritten {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(AsWritten)
    }
}

// === impl Content ===

impl Content {
    /// As n8n's API answers it.
    pub fn read(text: &[u8]) -> Result<Self, RewriteError> {
        let whole: Fields = serde_json::from_slice(text).map_err(|_quotes| RewriteError::Unreadable)?;
        let live = whole.get("activeVersion").filter(|raw| raw.get() != "null");
        let live = live.map(|raw| parse::<Fields>(raw).and_then(|live| Version::read(&live))).transpose()?;
        let draft = Version::read(&whole)?;
        let version = Some(whole.text("versionId")).filter(|version| !version.is_empty());
        let at = At {
            draft: version.unwrap_or_else(|| whole.text("updatedAt")),
            live: Some(whole.text("activeVersionId")).filter(|version| !version.is_empty()),
            has_versions: whole.get("activeVersionId").is_some(),
        };
        let settings = whole.get("settings").filter(|raw| raw.get() != "null").map(parse).transpose()?;
        Ok(Self {
            name: whole.get("name").ok_or(RewriteError::Unreadable)?.to_owned(),
            settings: settings.unwrap_or_default(),
            live: match (live, &at.live) {
                (_, None) => None,
                (Some(live), Some(_)) => Some(live),
                // Where n8n leaves out what runs, it is the draft or not known.
                (None, Some(version)) if *version == at.draft => Some(draft.clone()),
                (None, Some(_)) => return Err(RewriteError::Unreadable),
            },
            draft,
            active: whole.value("active") == true,
            triggers: whole.value("triggerCount").as_u64().unwrap_or_default(),
            at,
        })
    }

    /// By what its parts are known again.
    #[must_use]
    pub fn marks(&self, name_of: &NameOf<'_>) -> Marks {
        Marks {
            name: name_of(self.name.get().as_bytes()),
            settings: name_of(self.settings_in_effect().to_string().as_bytes()),
            draft: self.draft.marks(name_of),
            live: self.live.as_ref().map(|live| live.marks(name_of)),
        }
    }

    /// What n8n's API takes, with that version of its nodes.
    pub fn body(&self, version: &Version) -> Result<String, RewriteError> {
        let mut body = Fields::default();
        body.set("name", self.name.clone());
        body.set("nodes", raw(&version.nodes)?);
        body.set("connections", version.connections.clone());
        let mut settings = self.settings.clone();
        settings
            .0
            .retain(|(name, value)| !is_default(name, value) && (!self.at.has_versions || TAKEN.contains(&&**name)));
        body.set("settings", raw(&settings)?);
        // A release that has groups keeps those of the draft where none are named.
        if let Some(groups) = version.groups.as_ref().filter(|_| self.at.has_versions) {
            body.set("nodeGroups", groups.clone());
        }
        raw(&body).map(|body| body.get().to_owned())
    }

    /// n8n leaves out what is as everywhere when it saves.
    fn settings_in_effect(&self) -> Value {
        let kept = self.settings.0.iter().filter(|(name, value)| !is_default(name, value));
        kept.map(|(name, raw)| (name.clone(), value_of(raw))).collect()
    }
}

/// Whether a setting says that it is as everywhere.
fn is_default(name: &str, value: &RawValue) -> bool {
    let is_no_timeout = name == "executionTimeout" && value.get().starts_with('-');
    matches!(value.get(), "null" | "\"DEFAULT\"") || is_no_timeout
}

/// What a text says that was found to be JSON already.
fn value_of(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn raw<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, RewriteError> {
    to_raw_value(value).map_err(|_quotes| RewriteError::Unreadable)
}

fn parse<T: for<'de> Deserialize<'de>>(raw: &RawValue) -> Result<T, RewriteError> {
    serde_json::from_str(raw.get()).map_err(|_quotes| RewriteError::Unreadable)
}

// === impl Version ===

impl Version {
    fn read(fields: &Fields) -> Result<Self, RewriteError> {
        let groups = fields.get("nodeGroups").filter(|raw| !matches!(raw.get(), "null" | "[]"));
        Ok(Self {
            nodes: parse(fields.get("nodes").ok_or(RewriteError::Unreadable)?)?,
            connections: fields.get("connections").ok_or(RewriteError::Unreadable)?.to_owned(),
            groups: groups.map(RawValue::to_owned),
        })
    }

    /// A version that n8n keeps, as its API answers it.
    pub fn of_history(text: &[u8]) -> Result<Self, RewriteError> {
        let fields: Fields = serde_json::from_slice(text).map_err(|_quotes| RewriteError::Unreadable)?;
        Self::read(&fields)
    }

    /// With those changes of its nodes. `kept` is the version with the keys that are put back.
    pub fn with(&self, edits: &[Edit], kept: Option<&Self>) -> Result<Self, RewriteError> {
        let mut version = self.clone();
        for edit in edits {
            let at = version.position(edit)?;
            let node = &mut version.nodes[at];
            let mut credentials: Fields = node.get("credentials").map(parse).transpose()?.unwrap_or_default();
            if !is_reference(credentials.get(OPEN_AI_API), edit.before.as_ref()) {
                return Err(RewriteError::OtherCredential(edit.name.clone()));
            }
            match edit.typed {
                Typed::None => {}
                Typed::TakenOut => take_key_out(node)?,
                Typed::PutBack => {
                    let lost = || RewriteError::NoVersion(edit.name.clone());
                    let kept = kept.ok_or_else(lost)?;
                    let there = &kept.nodes[kept.position(edit)?];
                    node.set("parameters", there.get("parameters").ok_or_else(lost)?.to_owned());
                }
            }
            match &edit.after {
                None => credentials.remove(OPEN_AI_API),
                Some(after) => credentials.set(OPEN_AI_API, raw(after)?),
            }
            if credentials.0.is_empty() {
                node.remove("credentials");
            } else {
                node.set("credentials", raw(&credentials)?);
            }
        }
        Ok(version)
    }

    fn position(&self, edit: &Edit) -> Result<usize, RewriteError> {
        let lost = || RewriteError::NoNode(edit.name.clone());
        let found = |is_it: &dyn Fn(&Fields) -> bool| -> Vec<usize> {
            (0..self.nodes.len()).filter(|at| is_it(&self.nodes[*at])).collect()
        };
        let by_id = found(&|node| !edit.node.is_empty() && node.text("id") == edit.node);
        if let [only] = by_id[..] {
            return Ok(only);
        }
        let named = found(&|node| node.text("id") == edit.node && node.text("name") == edit.name);
        if let [only] = named[..] { Ok(only) } else { Err(lost()) }
    }

    /// By what its parts are known again.
    #[must_use]
    pub fn marks(&self, name_of: &NameOf<'_>) -> VersionMarks {
        let connections = value_of(&self.connections);
        let mut nodes = BTreeMap::<String, String>::new();
        for node in &self.nodes {
            // A name is anybody's text; two that look alike without their keys share a mark.
            let name = mask_and_cap(&node.text("name"), LONGEST_NAME).into_owned();
            nodes.entry(name).or_default().push_str(&name_of(in_effect(node).to_string().as_bytes()));
        }
        VersionMarks { nodes, connections: name_of(connections.to_string().as_bytes()) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn stays(typed: &Typed) -> bool {
    *typed == Typed::None
}

/// A node without what n8n itself fills in when it saves: ids, and what the records are called now.
fn in_effect(node: &Fields) -> Value {
    let mut value: serde_json::Map<String, Value> =
        node.0.iter().map(|(name, raw)| (name.clone(), value_of(raw))).collect();
    value.remove("id");
    value.remove("webhookId");
    if value.get("credentials").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
        value.remove("credentials");
    }
    let references = value.get_mut("credentials").and_then(Value::as_object_mut);
    for reference in references.into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(fields) = reference.as_object_mut().filter(|fields| fields.get("id").is_some_and(Value::is_string))
        {
            fields.remove("name");
        }
    }
    Value::Object(value)
}

/// Whether a node names that record, whatever the record is called.
fn is_reference(own: Option<&RawValue>, known: Option<&Reference>) -> bool {
    let id = |value: &Value| match value {
        Value::String(id) => Some(id.clone()).filter(|id| !id.is_empty()),
        Value::Number(id) => Some(id.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match (own.map(value_of), known) {
        (Some(own), Some(known)) => id(&own["id"]) == known.id,
        (own, known) => own.is_none() && known.is_none(),
    }
}

/// Takes the header with the key out of an HTTP Request, and has it let in by its `OpenAI` credential. Its other headers stay.
fn take_key_out(node: &mut Fields) -> Result<(), RewriteError> {
    let mut parameters: Fields = parse(node.get("parameters").ok_or(RewriteError::Unreadable)?)?;
    parameters.set("authentication", raw("predefinedCredentialType")?);
    parameters.set("nodeCredentialType", raw(OPEN_AI_API)?);
    let mut headers: Fields = parameters.get("headerParameters").map(parse).transpose()?.unwrap_or_default();
    let mut listed: Vec<Fields> = headers.get("parameters").map(parse).transpose()?.unwrap_or_default();
    listed.retain(|header| !header.text("name").trim().eq_ignore_ascii_case("authorization"));
    if listed.is_empty() {
        parameters.set("sendHeaders", raw(&false)?);
        parameters.remove("headerParameters");
    } else {
        headers.set("parameters", raw(&listed)?);
        parameters.set("headerParameters", raw(&headers)?);
    }
    node.set("parameters", raw(&parameters)?);
    Ok(())
}

/// The settings that n8n 2.41.1 takes; those that it is not sent stay what they are there. 1.x keeps none that it is not sent, and
/// refuses what it does not take.
const TAKEN: [&str; 15] = [
    "saveExecutionProgress",
    "saveManualExecutions",
    "saveDataErrorExecution",
    "saveDataSuccessExecution",
    "executionTimeout",
    "errorWorkflow",
    "timezone",
    "executionOrder",
    "callerPolicy",
    "callerIds",
    "timeSavedMode",
    "timeSavedPerExecution",
    "redactionPolicy",
    "availableInMCP",
    "customTelemetryTags",
];

#[cfg(test)]
mod tests;
