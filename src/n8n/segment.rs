//! Pure. Into which groups the nodes that use `OpenAI` could be parted, each with a key set, a token and a credential record of its
//! own: then a rotation, or a key in the wrong hands, concerns one group alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::connect::users_of;
use super::documents;
use crate::codes::codes;
use crate::telemetry::masked::mask_and_cap;

codes! {
    /// By what workflows are grouped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum By {
        Project => "project",
        Tag => "tag",
        Workflow => "workflow",
    }
}

/// A group of workflows, and what it would have of its own. All of its names are made from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What n8n calls it.
    pub name: String,
    /// The key set.
    pub set: String,
    /// The token.
    pub token: String,
    /// The credential record.
    pub record: String,
    pub members: Vec<Member>,
}

/// A workflow with nodes that use a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub name: String,
    /// The nodes, by id and name.
    pub nodes: Vec<(String, String)>,
}

/// The groups, and what is in none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    pub groups: Vec<Group>,
    /// Workflows that are in no group, and why.
    pub left: Vec<(Member, &'static str)>,
    /// How many nodes use each record now, by its id and name: a rotation of it concerns them all.
    pub records: BTreeMap<(String, String), usize>,
}

// === impl Segments ===

impl Segments {
    /// Of those workflows, which are n8n's documents. An archived one runs no more, and has no part in it.
    #[must_use]
    pub fn new(workflows: &[Value], by: By) -> Self {
        let mut segments = Self::default();
        let mut groups = BTreeMap::<String, Vec<Member>>::new();
        for document in workflows {
            let workflow = documents::Workflow::deserialize(document).unwrap_or_default();
            let users = users_of(&workflow);
            if users.is_empty() || workflow.is_archived {
                continue;
            }
            let mut nodes = BTreeSet::new();
            for (record, user) in users {
                *segments.records.entry((record.id.to_string(), record.name.to_string())).or_default() += 1;
                nodes.insert((user.node_id, user.node));
            }
            let member = Member { id: workflow.id, name: workflow.name, nodes: nodes.into_iter().collect() };
            match group_of(document, &member, by) {
                Ok(group) => groups.entry(group).or_default().push(member),
                Err(why) => segments.left.push((member, why)),
            }
        }
        segments.groups = named(groups);
        segments
    }
}

/// What the group of a workflow is called, or why it has none.
fn group_of(document: &Value, member: &Member, by: By) -> Result<String, &'static str> {
    let name = |value: &Value| {
        let text = value["name"].as_str().filter(|name| !name.is_empty());
        text.map(|name| mask_and_cap(name, documents::LONGEST_NAME).into_owned())
    };
    match by {
        By::Workflow => Ok(member.name.clone()),
        By::Tag => {
            let mut names = document["tags"].as_array().into_iter().flatten().filter_map(name);
            match (names.next(), names.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err("it has no tag"),
                (Some(_), Some(_)) => Err("it has several tags"),
            }
        }
        By::Project => {
            // Others are those that it is shared with.
            let mut shared = document["shared"].as_array().into_iter().flatten();
            let own = shared.find(|shared| shared["role"] == "workflow:owner");
            let own = own.ok_or("n8n does not say in which project it lies")?;
            name(&own["project"])
                .or_else(|| own["projectId"].as_str().map(str::to_owned))
                .ok_or("its project has no name")
        }
    }
}

/// Each group with names that no other has.
fn named(groups: BTreeMap<String, Vec<Member>>) -> Vec<Group> {
    let mut taken = BTreeSet::new();
    let mut free = |name: &str| {
        let plain = plain(name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let free =
            std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(free.clone());
        free
    };
    let group = |(name, members): (String, Vec<Member>)| {
        let set = free(&name);
        Group { token: format!("n8n-{set}"), record: format!("OpenAI, {set}"), name, set, members }
    };
    groups.into_iter().map(group).collect()
}

/// A name that may stand in the configuration, in a tag and in a variable: letters, digits and hyphens.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for character in name.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            plain.push(character);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
        if plain.len() >= LONGEST {
            break;
        }
    }
    let plain = plain.trim_end_matches('-');
    if plain.is_empty() { "group".to_owned() } else { plain.to_owned() }
}

/// Short enough for the name of a set with a number behind it, in bytes.
const LONGEST: usize = 28;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workflow(id: &str, more: &Value) -> Value {
        let node = |id: &str, record: &str| json!({ "id": id, "name": id, "credentials": { "openAiApi": { "id": record, "name": record } } });
        let mut workflow = json!({ "id": id, "name": format!("Workflow {id}"), "nodes": [node("a", "r"), node("b", "s"), { "id": "c" }] });
        workflow.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        workflow
    }

    fn project(name: &str) -> Value {
        json!({ "shared": [{ "role": "workflow:editor", "project": { "name": "Guests" } }, { "role": "workflow:owner", "projectId": "p1", "project": { "name": name } }] })
    }

    #[test]
    fn workflows_are_grouped_and_every_group_has_names_of_one_scheme() {
        let all = [
            workflow("1", &project("Sales & Marketing")),
            workflow("2", &project("Sales & Marketing")),
            workflow("3", &project("sales-marketing")),
            workflow("4", &json!({})),
            workflow("5", &json!({ "isArchived": true, "nodes": [] })),
        ];
        let segments = Segments::new(&all, By::Project);
        let told: Vec<_> =
            segments.groups.iter().map(|group| (&*group.name, &*group.set, group.members.len())).collect();
        assert_eq!(told, [("Sales & Marketing", "sales-marketing", 2), ("sales-marketing", "sales-marketing-2", 1)]);
        let first = &segments.groups[0];
        assert_eq!((&*first.token, &*first.record), ("n8n-sales-marketing", "OpenAI, sales-marketing"));
        assert_eq!(first.members[0].nodes.len(), 2);
        assert_eq!(
            segments.left.iter().map(|(member, why)| (&*member.id, *why)).collect::<Vec<_>>(),
            [("4", "n8n does not say in which project it lies")]
        );
        assert_eq!(segments.records[&("r".to_owned(), "r".to_owned())], 4);
    }

    #[test]
    fn a_workflow_with_no_tag_or_several_is_in_no_group() {
        let tags =
            |names: &[&str]| json!({ "tags": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });
        let all = [
            workflow("1", &tags(&["☕"])),
            workflow("2", &tags(&[])),
            workflow("3", &tags(&["a", "b"])),
            workflow("4", &json!({ "tags": 3 })),
        ];
        let segments = Segments::new(&all, By::Tag);
        assert_eq!(segments.groups.iter().map(|group| &*group.set).collect::<Vec<_>>(), ["group"]);
        let why: Vec<_> = segments.left.iter().map(|(_, why)| *why).collect();
        assert_eq!(why, ["it has no tag", "it has several tags", "it has no tag"]);
        assert_eq!(Segments::new(&all, By::Workflow).groups.len(), 4);
        assert_eq!(Segments::new(&[Value::Null, json!([1])], By::Workflow), Segments::default());
    }
}
