//! Pure. What n8n's public API answers: workflows, executions and credential records, as far as keyward reads them.
//!
//! Written from what n8n 1.100.1 and 2.41.1 answer (`tests/data/n8n`). Versions between and after them differ, and anybody
//! who may write to n8n decides what stands in a workflow: so every field may be missing, null or of another type, and is
//! empty then, without the loss of what stands beside it. Fields of other names are passed over. Only what is no JSON at
//! all, or a page without its `data`, is an error.
//!
//! Names and parameters are anybody's text. A name is cut to [`LONGEST_NAME`] bytes, with what looks like a key masked, so
//! it may be kept; the parameters of a node may hold a key, and so are never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;

use crate::caller::names::harmless;
use crate::clock::Timestamp;
use crate::telemetry::masked::mask_and_cap;

/// One page of a list, `{"data":[…],"nextCursor":"…"}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de> + Default")]
pub struct Page<T> {
    /// What is listed. An entry that is no object is left out.
    #[serde(deserialize_with = "entries")]
    pub data: Vec<T>,
    /// Where the next page begins; nothing on the last one.
    #[serde(default, rename = "nextCursor", deserialize_with = "optional_id")]
    pub next_cursor: Option<String>,
}

/// A workflow, as n8n's API answers it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Workflow {
    /// Its id; empty where there was none.
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Whether its triggers are on.
    #[serde(deserialize_with = "flag")]
    pub active: bool,
    /// Whether it was archived: then nothing starts it.
    #[serde(deserialize_with = "flag")]
    pub is_archived: bool,
    /// On n8n 1.x the only nodes; on 2.x those of the draft.
    #[serde(deserialize_with = "list")]
    pub nodes: Vec<Node>,
    /// When it was last changed.
    #[serde(deserialize_with = "moment")]
    pub updated_at: Option<Timestamp>,
    /// The version of the draft.
    #[serde(deserialize_with = "optional_id")]
    pub version_id: Option<String>,
    #[serde(rename = "activeVersionId", deserialize_with = "published")]
    pub published: Published,
    /// What runs, on 2.x.
    #[serde(deserialize_with = "optional_object")]
    pub active_version: Option<ActiveVersion>,
    #[serde(deserialize_with = "object")]
    pub settings: Settings,
    /// How many of its triggers n8n counts; a sub-workflow has none.
    #[serde(deserialize_with = "number")]
    pub trigger_count: Option<f64>,
    /// The projects that it lies in or is shared with.
    #[serde(deserialize_with = "list")]
    pub shared: Vec<Shared>,
}

impl Workflow {
    /// The nodes that run when something triggers it or calls it.
    #[must_use]
    pub fn running_nodes(&self) -> &[Node] {
        match (&self.active_version, &self.published) {
            (Some(version), _) => &version.nodes,
            (None, Published::Nothing) => &[],
            // Where n8n leaves out what is published, the draft is the best guess.
            (None, Published::Unversioned | Published::Version(_)) => &self.nodes,
        }
    }

    /// When what runs was changed last.
    #[must_use]
    pub fn running_since(&self) -> Option<Timestamp> {
        self.active_version.as_ref().map_or(self.updated_at, |version| version.created_at.or(self.updated_at))
    }

    /// The nodes of a draft that is not what runs.
    #[must_use]
    pub fn draft_nodes(&self) -> Option<&[Node]> {
        let is_published = match &self.published {
            Published::Unversioned => true,
            Published::Nothing => false,
            Published::Version(id) => self.version_id.as_ref() == Some(id),
        };
        (!is_published).then_some(&self.nodes)
    }
}

/// Which version of a workflow runs: `activeVersionId`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Published {
    /// The only one there is: n8n 1.x has no drafts.
    #[default]
    Unversioned,
    /// None: it was never published, or is no longer.
    Nothing,
    Version(String),
}

/// The version of a workflow that runs, on n8n 2.x.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ActiveVersion {
    #[serde(deserialize_with = "optional_id")]
    pub version_id: Option<String>,
    /// When it was saved; it never changes.
    #[serde(deserialize_with = "moment")]
    pub created_at: Option<Timestamp>,
    #[serde(deserialize_with = "list")]
    pub nodes: Vec<Node>,
}

/// The settings of a workflow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Settings {
    /// The id of the workflow that is called when this one fails. `DEFAULT` means none of its own.
    #[serde(deserialize_with = "optional_id")]
    pub error_workflow: Option<String>,
}

/// A node of a workflow.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// Its id, unique in its workflow unless it was written by hand; empty where there was none.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Its name, unique in its workflow.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// What it is: `n8n-nodes-base.openAi`.
    #[serde(rename = "type", deserialize_with = "id")]
    pub kind: String,
    #[serde(deserialize_with = "number")]
    pub type_version: Option<f64>,
    /// What stands in its fields. May hold keys.
    pub parameters: Value,
    /// The credential record for each type of credential that it uses.
    #[serde(deserialize_with = "map")]
    pub credentials: BTreeMap<String, CredentialReference>,
    /// Whether it is passed over when the workflow runs.
    #[serde(deserialize_with = "flag")]
    pub disabled: bool,
    /// The id of a workflow that stands in a node of another, where this is one of its nodes and it has an id.
    #[serde(skip)]
    pub within: Option<String>,
}

/// Without the parameters, which may hold keys.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Which credential record a node uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CredentialReference {
    /// The record's id; nothing where the node was imported and never connected.
    #[serde(deserialize_with = "optional_id")]
    pub id: Option<String>,
    /// The record's name when the node was saved.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Whether there is no record, since n8n itself pays for what the node asks and sends it by a gateway of its own.
    #[serde(rename = "__aiGatewayManaged", deserialize_with = "flag")]
    pub is_gateway: bool,
}

/// A credential record as n8n 2.x lists them: never its data.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CredentialRecord {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Its type: `openAiApi`.
    #[serde(rename = "type", deserialize_with = "id")]
    pub kind: String,
    /// When it was last changed.
    #[serde(deserialize_with = "moment")]
    pub updated_at: Option<Timestamp>,
    /// The projects whose workflows may use it; none where n8n does not say.
    #[serde(deserialize_with = "list")]
    pub shared: Vec<Shared>,
}

/// A project that something is shared with: of a workflow it is the one that it lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Shared {
    /// The project, as a credential record tells it.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The project, as a workflow tells it.
    #[serde(deserialize_with = "id")]
    pub project_id: String,
}

/// An execution, as n8n's API lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Execution {
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// What started it: `webhook`, `trigger`, `manual`, `retry`, or `integrated` for a sub-workflow.
    #[serde(deserialize_with = "optional_id")]
    pub mode: Option<String>,
    /// How it ended. Lists of n8n 1.x do not say.
    #[serde(deserialize_with = "optional_id")]
    pub status: Option<String>,
    /// When it was made: in queue mode it starts later. Lists do not say.
    #[serde(deserialize_with = "moment")]
    pub created_at: Option<Timestamp>,
    #[serde(deserialize_with = "moment")]
    pub started_at: Option<Timestamp>,
    #[serde(deserialize_with = "moment")]
    pub stopped_at: Option<Timestamp>,
    #[serde(deserialize_with = "optional_id")]
    pub workflow_id: Option<String>,
    /// Which execution it tries again.
    #[serde(deserialize_with = "optional_id")]
    pub retry_of: Option<String>,
    /// What happened in it, where that was asked for (`includeData=true`).
    #[serde(deserialize_with = "object")]
    pub data: ExecutionData,
    /// The workflow as it was when the execution began, where that was asked for as well: what it goes on with.
    #[serde(deserialize_with = "optional_object")]
    pub workflow_data: Option<Snapshot>,
}

/// A workflow as an execution keeps it, with nothing of what its nodes are told to send.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Snapshot {
    #[serde(deserialize_with = "list")]
    pub nodes: Vec<SnapshotNode>,
}

/// A node of a workflow as an execution keeps it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SnapshotNode {
    /// The credential record for each type of credential that it uses.
    #[serde(deserialize_with = "map")]
    pub credentials: BTreeMap<String, CredentialReference>,
    /// Whether it is passed over.
    #[serde(deserialize_with = "flag")]
    pub disabled: bool,
    /// Of its fields, the agent that stands in it (*Message an Agent* of n8n 2.x), which has a record of its own.
    #[serde(deserialize_with = "object")]
    pub parameters: SnapshotParameters,
}

/// Of a node's fields, the agent that stands in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SnapshotParameters {
    #[serde(deserialize_with = "object")]
    pub inline_agent: InlineAgent,
}

/// An agent that stands in a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InlineAgent {
    /// How it is set up.
    #[serde(deserialize_with = "object")]
    pub config: InlineAgentConfig,
}

/// How an agent is set up that stands in a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InlineAgentConfig {
    /// The id of its credential record.
    #[serde(deserialize_with = "optional_id")]
    pub credential: Option<String>,
}

/// What n8n says of a credential record that it has tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tested {
    /// `OK` or `Error`.
    #[serde(deserialize_with = "id")]
    pub status: String,
    /// In its own words.
    #[serde(deserialize_with = "name")]
    pub message: String,
}

impl Tested {
    /// Whether the service took the key.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == "OK"
    }

    /// Whether the key was refused: then n8n has reached what its Base URL says.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(&*self.message, "Unauthorized" | "Forbidden")
    }

    /// What n8n says, cut short and without what could harm a terminal.
    #[must_use]
    pub fn shown(&self) -> Box<str> {
        harmless(&self.message, LONGEST_SHOWN)
    }
}

/// What happened in an execution.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExecutionData {
    /// Which execution called it, if it is one of a sub-workflow.
    #[serde(deserialize_with = "optional_object")]
    pub parent_execution: Option<ParentExecution>,
}

/// The execution that called a sub-workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentExecution {
    #[serde(deserialize_with = "id")]
    pub execution_id: String,
    #[serde(deserialize_with = "id")]
    pub workflow_id: String,
}

/// Names are cut to that many bytes.
pub const LONGEST_NAME: usize = 256;

/// How much of what n8n says of a test is shown, in characters.
const LONGEST_SHOWN: usize = 100;

// === What stands for a value of the wrong type ===

/// A JSON value that is no list and no object, as far as it can be one of our fields.
enum Scalar {
    Text(String),
    Integer(i128),
    Number(f64),
    Flag(bool),
    /// Null, a list or an object.
    Nothing,
}

fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    optional_id(from).map(Option::unwrap_or_default)
}

/// Text or a whole number, as older versions have them. An empty one is none.
fn optional_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match from.deserialize_any(AnyScalar)? {
        Scalar::Text(text) => Some(text).filter(|text| !text.is_empty()),
        Scalar::Integer(number) => Some(number.to_string()),
        Scalar::Number(_) | Scalar::Flag(_) | Scalar::Nothing => None,
    })
}

/// Whether the field is there at all tells n8n 2.x from 1.x.
fn published<'de, D: Deserializer<'de>>(from: D) -> Result<Published, D::Error> {
    Ok(optional_id(from)?.map_or(Published::Nothing, Published::Version))
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(mask_and_cap(&id(from)?, LONGEST_NAME).into_owned())
}

fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(matches!(from.deserialize_any(AnyScalar)?, Scalar::Flag(true)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "versions and counts are small; a wrong digit of a huge one is no matter"
)]
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(match from.deserialize_any(AnyScalar)? {
        Scalar::Text(text) => text.parse().ok(),
        Scalar::Integer(number) => Some(number as f64),
        Scalar::Number(number) => Some(number),
        Scalar::Flag(_) | Scalar::Nothing => None,
    })
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let Scalar::Text(text) = from.deserialize_any(AnyScalar)? else { return Ok(None) };
    let moment: Option<jiff::Timestamp> = text.parse().ok();
    Ok(moment.map(|moment| Timestamp::from_millis(moment.as_millisecond())))
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    optional_object(from).map(Option::unwrap_or_default)
}

fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(AnyObject(PhantomData))
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(AnyList(PhantomData))
}

/// Of a page: what has none is no page.
fn entries<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(ListOnly(PhantomData))
}

fn map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<BTreeMap<String, T>, D::Error> {
    let found: Option<BTreeMap<String, Lenient<T>>> = optional_object(from)?;
    Ok(found.into_iter().flatten().filter_map(|(name, value)| Some((name, value.0?))).collect())
}

/// An object, or nothing where there is something else.
struct Lenient<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        optional_object(from).map(Self)
    }
}

/// The methods of a visitor that takes scalars of all types for the same thing.
macro_rules! scalars_as {
    ($what:expr) => {
        fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($what)
        }

        fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($what)
        }

        fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($what)
        }

        fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($what)
        }

        fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok($what)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok($what)
        }
    };
}

struct AnyScalar;

impl<'de> Visitor<'de> for AnyScalar {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Scalar, A::Error> {
        pass_over(&mut entries)?;
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Scalar, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
}

struct AnyObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnyObject<T> {
    type Value = Option<T>;

    scalars_as!(None);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Option<T>, A::Error> {
        pass_over(&mut entries)?;
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Some)
    }
}

struct AnyList<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnyList<T> {
    type Value = Vec<T>;

    scalars_as!(Vec::new());

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, entries: A) -> Result<Vec<T>, A::Error> {
        ListOnly(PhantomData).visit_seq(entries)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Vec::new())
    }
}

struct ListOnly<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOnly<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(Lenient(entry)) = entries.next_element()? {
            list.extend(entry);
        }
        Ok(list)
    }
}

fn pass_over<'de, A: SeqAccess<'de>>(entries: &mut A) -> Result<(), A::Error> {
    while entries.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
