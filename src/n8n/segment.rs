//! Pure. Into which groups the nodes that use `OpenAI` could be parted, each with a key set, a token and a credential record of its
//! own: then a rotation, or a key in the wrong hands, concerns one group alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::connect::users_of;
use super::documents;
use crate::caller::names::harmless;
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

/// What is asked for.
pub struct Asked<'a> {
    pub by: By,
    /// Only nodes with one of these records, by their ids.
    pub from: Option<&'a BTreeSet<String>>,
    pub known: &'a Known,
}

/// What is there already, so that a group gets the same key set each time and never that of something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The set of each group that was begun, by the group's id.
    pub groups: BTreeMap<String, String>,
    /// The same by the group's name, of groups that an earlier keyward began: it kept no ids.
    pub groups_by_name: BTreeMap<String, String>,
    /// What no other group may be called: other sets, and files in which keys stand.
    pub taken: BTreeSet<String>,
}

/// A group of workflows, and what it would have of its own. All of its names are made from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The id of the project, the tag or the workflow: it stays when that is renamed.
    pub id: String,
    /// What n8n calls it. Several may be called alike.
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
    /// The project that it lies in, by its id, where n8n says so.
    pub project: Option<String>,
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
    pub fn new(workflows: &[Value], asked: &Asked<'_>) -> Self {
        let mut segments = Self::default();
        let mut groups = BTreeMap::<Own, Vec<Member>>::new();
        for document in workflows {
            let workflow = documents::Workflow::deserialize(document).unwrap_or_default();
            let mut users = users_of(&workflow);
            users.retain(|(record, _)| asked.from.is_none_or(|from| from.contains(&*record.id)));
            if users.is_empty() || workflow.is_archived {
                continue;
            }
            let mut nodes = BTreeSet::new();
            for (record, user) in users {
                *segments.records.entry((record.id.to_string(), record.name.to_string())).or_default() += 1;
                nodes.insert((user.node_id, user.node));
            }
            let project = owner_of(document).and_then(|own| own["projectId"].as_str()).map(str::to_owned);
            let member = Member { id: workflow.id, name: workflow.name, project, nodes: nodes.into_iter().collect() };
            match group_of(document, &member, asked.by) {
                Ok(group) => groups.entry(group).or_default().push(member),
                Err(why) => segments.left.push((member, why)),
            }
        }
        segments.groups = named(groups, asked.known);
        segments
    }
}

// === impl Group ===

impl Group {
    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.members.iter().map(|member| member.nodes.len()).sum()
    }

    /// The project that all of its workflows lie in, by its id; nothing where they lie in several.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        let own = self.members.first()?.project.as_deref()?;
        self.members.iter().all(|member| member.project.as_deref() == Some(own)).then_some(own)
    }

    /// The file of its set's current key, in that folder.
    #[must_use]
    pub fn key_file(&self, folder: &Path) -> PathBuf {
        folder.join(&self.set)
    }

    /// The table of its set for the configuration, with its key files in that folder.
    #[must_use]
    pub fn table(&self, folder: &Path) -> String {
        // What JSON quotes, TOML reads alike.
        let quoted = |path: PathBuf| json!(path.to_string_lossy());
        let (current, next) = (self.key_file(folder), folder.join(format!("{}.next", self.set)));
        format!(
            "# {}\n[keys.{}]\npolicy = \"inject\"\ngrace = \"24h\"\ncurrent = {{ file = {} }}\nnext = {{ file = {} }}\n",
            harmless(&self.name, documents::LONGEST_NAME),
            self.set,
            quoted(current),
            quoted(next)
        )
    }
}

/// The project that a workflow lies in. Others are those that it is shared with.
fn owner_of(document: &Value) -> Option<&Value> {
    document["shared"].as_array().into_iter().flatten().find(|shared| shared["role"] == "workflow:owner")
}

/// A group's name and id: in the order of the names, so that they are listed in it.
type Own = (String, String);

/// The group of a workflow, or why it has none.
fn group_of(document: &Value, member: &Member, by: By) -> Result<Own, &'static str> {
    let name = |value: &Value| {
        let text = value["name"].as_str().filter(|name| !name.is_empty());
        text.map(|name| mask_and_cap(name, documents::LONGEST_NAME).into_owned())
    };
    let with_id = |value: &Value, id: &Value| {
        let name = name(value)?;
        Some((name.clone(), id.as_str().map_or(name, str::to_owned)))
    };
    match by {
        By::Workflow => Ok((member.name.clone(), member.id.clone())),
        By::Tag => {
            let tags = document["tags"].as_array().into_iter().flatten();
            let mut tags = tags.filter_map(|tag| with_id(tag, &tag["id"]));
            match (tags.next(), tags.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err("it has no tag"),
                (Some(_), Some(_)) => Err("it has several tags"),
            }
        }
        By::Project => {
            let own = owner_of(document).ok_or("n8n does not say in which project it lies")?;
            let unnamed = || own["projectId"].as_str().map(|id| (id.to_owned(), id.to_owned()));
            with_id(&own["project"], &own["projectId"]).or_else(unnamed).ok_or("its project has no name")
        }
    }
}

/// Each group with names that no other has.
fn named(groups: BTreeMap<Own, Vec<Member>>, known: &Known) -> Vec<Group> {
    let begun = known.groups.values().chain(known.groups_by_name.values());
    let mut taken: BTreeSet<String> = known.taken.iter().chain(begun).cloned().collect();
    let is_only = |name: &String| groups.keys().filter(|(other, _)| other == name).count() == 1;
    let of_before = |(name, id): &Own| {
        known.groups.get(id).or_else(|| known.groups_by_name.get(name).filter(|_| is_only(name))).cloned()
    };
    let begun: Vec<_> = groups.keys().map(of_before).collect();
    let mut free = |name: &str| {
        let plain = plain(name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let free =
            std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(free.clone());
        free
    };
    let group = |(((name, id), members), begun): ((Own, Vec<Member>), Option<String>)| {
        let set = begun.unwrap_or_else(|| free(&name));
        Group { token: format!("n8n-{set}"), record: format!("OpenAI, {set}"), id, name, set, members }
    };
    groups.into_iter().zip(begun).map(group).collect()
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

    fn grouped(workflows: &[Value], by: By) -> Segments {
        Segments::new(workflows, &Asked { by, from: None, known: &Known::default() })
    }

    fn project(name: &str) -> Value {
        project_of("p1", name)
    }

    fn project_of(id: &str, name: &str) -> Value {
        json!({ "shared": [{ "role": "workflow:editor", "project": { "name": "Guests" } }, { "role": "workflow:owner", "projectId": id, "project": { "name": name } }] })
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
        let segments = grouped(&all, By::Project);
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
    fn a_group_keeps_the_set_that_it_was_begun_with_and_takes_none_that_is_there() {
        let all = [workflow("1", &project("Sales")), workflow("2", &project("Support"))];
        let known = Known {
            groups_by_name: BTreeMap::from([("Support".to_owned(), "helpdesk".to_owned())]),
            taken: BTreeSet::from(["sales".to_owned()]),
            ..Known::default()
        };
        let from = BTreeSet::from(["s".to_owned()]);
        let segments = Segments::new(&all, &Asked { by: By::Project, from: Some(&from), known: &known });
        let told: Vec<_> = segments.groups.iter().map(|group| (&*group.set, group.nodes(), group.project())).collect();
        assert_eq!(told, [("sales-2", 1, Some("p1")), ("helpdesk", 1, Some("p1"))]);
    }

    #[test]
    fn groups_of_one_name_are_several_and_one_that_is_renamed_keeps_its_set() {
        let all = [workflow("1", &project_of("p1", "Sales")), workflow("2", &project_of("p2", "Sales"))];
        let sets = |all: &[Value], known: &Known| {
            let segments = Segments::new(all, &Asked { by: By::Project, from: None, known });
            segments.groups.into_iter().map(|group| (group.id, group.set)).collect::<Vec<_>>()
        };
        let of = |id: &str, set: &str| (id.to_owned(), set.to_owned());
        assert_eq!(sets(&all, &Known::default()), [of("p1", "sales"), of("p2", "sales-2")]);
        let known = Known { groups: BTreeMap::from([of("p1", "sales"), of("p2", "sales-2")]), ..Known::default() };
        let renamed = [workflow("1", &project_of("p1", "Support")), workflow("2", &project_of("p2", "Sales"))];
        assert_eq!(sets(&renamed, &known), [of("p2", "sales-2"), of("p1", "sales")]);
        // Which of the two an earlier keyward meant is not known.
        let known = Known { groups_by_name: BTreeMap::from([of("Sales", "sales")]), ..Known::default() };
        assert_eq!(sets(&all, &known), [of("p1", "sales-2"), of("p2", "sales-3")]);
        let same = [workflow("3", &json!({ "name": "Copy" })), workflow("4", &json!({ "name": "Copy" }))];
        assert_eq!(grouped(&same, By::Workflow).groups.len(), 2);
    }

    #[test]
    fn the_table_of_a_group_reads_as_configuration_whatever_it_is_called() {
        let group = &grouped(&[workflow("1", &project("A \"b\"\nc\u{1b}[31m"))], By::Project).groups[0];
        let table = group.table(Path::new("/keys/of \"us\""));
        let expected = "# A \"b\"�c�[31m\n[keys.a-b-c-31m]\npolicy = \"inject\"\ngrace = \"24h\"\n\
                        current = { file = \"/keys/of \\\"us\\\"/a-b-c-31m\" }\n\
                        next = { file = \"/keys/of \\\"us\\\"/a-b-c-31m.next\" }\n";
        assert_eq!(table, expected);
        assert!(toml::de::DeTable::parse(&table).is_ok());
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
        let segments = grouped(&all, By::Tag);
        assert_eq!(segments.groups.iter().map(|group| &*group.set).collect::<Vec<_>>(), ["group"]);
        let why: Vec<_> = segments.left.iter().map(|(_, why)| *why).collect();
        assert_eq!(why, ["it has no tag", "it has several tags", "it has no tag"]);
        assert_eq!(grouped(&all, By::Workflow).groups.len(), 4);
        assert_eq!(grouped(&[Value::Null, json!([1])], By::Workflow), Segments::default());
    }
}
