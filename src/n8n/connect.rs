//! Pure. What points a credential record of n8n's at keyward, and what puts it back.
//!
//! n8n's API never tells what stands in a record. It merges what it is sent into it, where it is told to
//! (`isPartialData`, seen in n8n 2.41.1; there since 2.3): so the key, the organization and the allowed domains of a
//! record stay what they are, and only what is written here is replaced.

use std::fmt;
use std::str::Utf8Error;

use serde_json::{Value, json};

use super::documents;
use super::inventory::{Address as Goes, Builder, Inventory, Node, Record, Workflow};
use crate::keys::fingerprint::FingerprintKey;
use crate::keys::secret::Secret;
use crate::keys::set::Names;
use crate::n8n::address::Address;
use crate::welcome;

/// The type of the credential records that are connected.
pub const CREDENTIAL_TYPE: &str = "openAiApi";

/// Where n8n's own records lead before that is changed.
pub const OPENAI: &str = "https://api.openai.com/v1";

/// Where n8n reaches keyward, without the `/v1` of a Base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance(Address);

/// What the requests of a record say of themselves beside workflow, execution and node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The key set, where it is declared.
    pub set: Option<Box<str>>,
    /// The n8n, where keyward knows several.
    pub instance: Option<Box<str>>,
}

/// A field of a credential record, as its form in n8n has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What the form calls it.
    pub name: &'static str,
    /// What to put there.
    pub value: String,
    /// Whether the field has to be switched to Expression for that.
    pub is_expression: bool,
}

/// A node that uses a credential record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub workflow_id: String,
    /// The workflow's name.
    pub workflow: String,
    pub node_id: String,
    /// The node's name.
    pub node: String,
    pub way: Way,
    pub place: Place,
}

/// Whether a node runs, as an audit counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It may run by itself.
    Runs,
    /// It stands in a draft that is not published.
    Draft,
    /// It is switched off, or its workflow is off or put away.
    Off,
}

/// Where a node's requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the record's Base URL.
    BaseUrl,
    /// To an address of the node's own, whatever the record says.
    Own,
    /// To OpenAI, since the node has no address of its own.
    OpenAi,
}

// === impl Entrance ===

impl Entrance {
    /// By an address with the `/v1` of a Base URL, or without a path.
    pub fn new(address: Address) -> Result<Self, &'static str> {
        let path = match &*address.path {
            "" => "",
            path => path.strip_suffix("/v1").ok_or("A Base URL ends in /v1.")?,
        };
        let takes_part = |part: &str| matches!(part, "n8n" | "set" | "v1");
        if path.split('/').any(takes_part) {
            return Err("It has a part that keyward reads as a tag: leave out all between the host and /v1.");
        }
        let path = path.into();
        Ok(Self(Address { path, ..address }))
    }

    /// The address without the `/v1` of a Base URL, so that a prefix can follow it.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0
    }

    /// The Base URL of a record that tags by its header.
    #[must_use]
    pub fn base_url(&self) -> String {
        welcome::base_url(&self.0.to_string())
    }

    /// The Base URL that tags by itself, an expression.
    #[must_use]
    pub fn tagging_base_url(&self, marks: &Marks) -> String {
        welcome::tagging_base_url(&format!("{}{}", self.0, marks.prefix()))
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base_url())
    }
}

// === impl Marks ===

impl Marks {
    /// The value of the tag header, an expression.
    #[must_use]
    pub fn tag(&self) -> String {
        let named = |name: &str, value: &Option<Box<str>>| {
            value.as_ref().map_or_else(String::new, |value| format!(";{name}={value}"))
        };
        format!("{}{}{}", welcome::TAG, named("set", &self.set), named("inst", &self.instance))
    }

    fn prefix(&self) -> String {
        self.set.as_ref().map_or_else(String::new, |set| format!("/set/{set}"))
    }
}

/// What is written into a record, and merged with what stands there.
#[must_use]
pub fn connected(entrance: &Entrance, marks: &Marks) -> Value {
    connected_with(&entrance.base_url(), &marks.tag())
}

/// The same with a Base URL and a tag that were written before.
#[must_use]
pub fn connected_with(base_url: &str, tag: &str) -> Value {
    json!({
        "url": base_url,
        "header": true,
        "headerName": welcome::TAG_HEADER,
        // What begins with `=` is an expression.
        "headerValue": format!("={tag}"),
    })
}

/// What puts a record back.
#[must_use]
pub fn disconnected(base_url: &str) -> Value {
    json!({ "url": base_url, "header": false, "headerName": "", "headerValue": "" })
}

/// What puts another key into a record.
pub fn key(secret: &Secret) -> Result<Value, Utf8Error> {
    with_key(json!({}), secret)
}

/// The same, with what else is put there.
pub fn with_key(mut data: Value, secret: &Secret) -> Result<Value, Utf8Error> {
    data["apiKey"] = std::str::from_utf8(secret.expose())?.into();
    Ok(data)
}

/// The body of a change that leaves alone what it does not name.
#[must_use]
pub fn change(data: &Value) -> Value {
    json!({ "data": data, "isPartialData": true })
}

/// The body that makes a record of that name, in that project or else in the one of the API key's owner.
#[must_use]
pub fn new_record(name: &str, data: &Value, project: Option<&str>) -> Value {
    let mut body = json!({ "name": name, "type": CREDENTIAL_TYPE, "data": data });
    if let Some(project) = project {
        body["projectId"] = project.into();
    }
    body
}

/// What you have to put into the form of a record where n8n's API cannot change one. Only newer releases have a custom
/// header.
#[must_use]
pub fn by_hand(entrance: &Entrance, marks: &Marks, has_header: bool) -> Vec<Field> {
    let expression = |name, value| Field { name, value, is_expression: true };
    if has_header {
        return vec![
            Field { name: "Base URL", value: entrance.base_url(), is_expression: false },
            Field { name: "Add Custom Header", value: "on".to_owned(), is_expression: false },
            Field { name: "Header Name", value: welcome::TAG_HEADER.to_owned(), is_expression: false },
            expression("Header Value", marks.tag()),
        ];
    }
    vec![
        expression("Base URL", entrance.tagging_base_url(marks)),
        expression("Organization ID", welcome::organization()),
    ]
}

/// The same, to have it lead elsewhere again: to that Base URL, where it is known.
#[must_use]
pub fn back_by_hand(base_url: Option<&str>, has_header: bool) -> Vec<Field> {
    let field = |name, value: &str| Field { name, value: value.to_owned(), is_expression: false };
    let base_url = base_url.map_or_else(|| format!("what stood there before; OpenAI's own is {OPENAI}"), str::to_owned);
    let rest = if has_header {
        field("Add Custom Header", "off")
    } else {
        field("Organization ID", "what stood there before, or nothing")
    };
    vec![field("Base URL", &base_url), rest]
}

/// The nodes that use a record for `OpenAI`, published or in a draft, each with its record. A node whose draft has another record
/// uses both.
#[must_use]
pub fn users(inventory: &Inventory) -> Vec<(Record, User)> {
    let mut found = Vec::new();
    for workflow in &inventory.workflows {
        for node in workflow.nodes.iter().chain(&workflow.redrafted) {
            let Some(record) = node.chosen().filter(|record| record.is_open_ai) else { continue };
            found.push((record.clone(), user(workflow, node)));
        }
    }
    found
}

/// The same of one workflow by itself.
#[must_use]
pub fn users_of(workflow: &documents::Workflow) -> Vec<(Record, User)> {
    // Which keys stand in nodes matters nothing here.
    let nameless = FingerprintKey::new(&[0; 32]);
    let names_of = |value: &[u8]| Names { fingerprint: nameless.fingerprint(value), hint: None };
    let mut builder = Builder::new(&names_of);
    builder.add(workflow);
    users(&builder.finish())
}

fn user(workflow: &Workflow, node: &Node) -> User {
    User {
        workflow_id: workflow.named_by(node).to_owned(),
        workflow: workflow.name.to_string(),
        node_id: node.id.to_string(),
        node: node.name.to_string(),
        way: match node.address {
            Goes::OfRecord => Way::BaseUrl,
            Goes::NoBaseUrl => Way::OpenAi,
            Goes::OpenAi | Goes::Host(_) | Goes::Unclear => Way::Own,
        },
        place: match node {
            node if workflow.runs(node) => Place::Runs,
            node if node.is_draft => Place::Draft,
            _ => Place::Off,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::n8n::inventory::tests::inventory;
    use crate::net::origin::{Scheme, Upstream};

    fn entrance(path: &str) -> Result<Entrance, &'static str> {
        let origin = Upstream { scheme: Scheme::Http, host: "keyward".into(), port: 8080 };
        Entrance::new(Address { origin, path: path.into() })
    }

    fn marks(set: Option<&str>, instance: Option<&str>) -> Marks {
        Marks { set: set.map(Box::from), instance: instance.map(Box::from) }
    }

    #[test]
    fn a_base_url_ends_in_v1_and_has_no_tag_in_it() {
        for (path, expected) in [("", "http://keyward:8080/v1"), ("/v1", "http://keyward:8080/v1")] {
            assert_eq!(entrance(path).expect("an entrance").base_url(), expected);
        }
        assert_eq!(
            entrance("/behind/nginx/v1").expect("an entrance").base_url(),
            "http://keyward:8080/behind/nginx/v1"
        );
        for path in ["/v2", "/v1/chat", "/n8n/editor/v1", "/set/staging/v1", "/v1/v1", "/"] {
            assert!(entrance(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_written_tags_every_node_and_names_nothing_else() {
        let data = connected(&entrance("").expect("an entrance"), &marks(None, None));
        assert_eq!(data["url"], "http://keyward:8080/v1");
        assert_eq!(data["headerValue"], format!("={}", welcome::TAG));
        let names: Vec<_> = data.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(names, ["header", "headerName", "headerValue", "url"], "the key and the rest stay as they are");
        assert_eq!(change(&data)["isPartialData"], true);
        let back = disconnected(OPENAI);
        assert_eq!((&back["header"], &back["headerName"]), (&Value::Bool(false), &"".into()));
    }

    #[test]
    fn set_and_instance_are_declared_where_they_are_known() {
        assert!(marks(Some("staging"), Some("main")).tag().ends_with("node={{ $nodeId }};set=staging;inst=main"));
        let fields = by_hand(&entrance("").expect("an entrance"), &marks(Some("staging"), None), false);
        assert!(fields[0].value.starts_with("http://keyward:8080/set/staging/n8n/{{ $execution.id == "));
        assert_eq!(fields[1].value, welcome::organization());
        assert!(fields.iter().all(|field| field.is_expression));
        let fields = by_hand(&entrance("").expect("an entrance"), &marks(None, None), true);
        assert_eq!(fields.iter().map(|field| field.is_expression).collect::<Vec<_>>(), [false, false, false, true]);
    }

    #[test]
    fn the_nodes_that_use_a_record_are_found_in_what_runs_and_in_the_draft() {
        let node = |id: &str, kind: &str, credential: &str| {
            json!({ "id": id, "name": id, "type": format!("@n8n/n8n-nodes-langchain.{kind}"), "typeVersion": 2, "parameters": {},
                    "credentials": { CREDENTIAL_TYPE: { "id": credential } } })
        };
        let mut own = node("m", "lmOpenAi", "c");
        own["parameters"] = json!({ "options": { "baseURL": "http://a" } });
        let mut off = node("f", "openAi", "c");
        off["disabled"] = true.into();
        let workflow = json!({
            "id": "w", "active": true, "versionId": "2", "activeVersionId": "1",
            "nodes": [node("a", "openAi", "c"), node("b", "openAi", "c"), own, off, node("e", "openAi", "c")],
            "activeVersion": { "nodes": [node("a", "openAi", "c"), node("d", "lmOpenAi", "c"), off, node("e", "openAi", "other")] },
        });
        let found: Vec<_> = users(&inventory(&[workflow]))
            .into_iter()
            .filter(|(record, _)| &*record.id == "c")
            .map(|(_, user)| (user.node_id, user.way, user.place))
            .collect();
        let expected = [
            ("a", Way::BaseUrl, Place::Runs),
            ("d", Way::OpenAi, Place::Runs),
            ("f", Way::BaseUrl, Place::Off),
            ("b", Way::BaseUrl, Place::Draft),
            ("m", Way::Own, Place::Draft),
            ("e", Way::BaseUrl, Place::Draft),
        ];
        assert_eq!(found, expected.map(|(id, way, place)| (id.to_owned(), way, place)));
    }
}
