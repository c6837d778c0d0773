//! Which nodes are changed and which are left alone, over many shapes of workflows.

use serde_json::json;

use super::*;
use crate::n8n::inventory::tests::names;

const KEY: &str = "sk-proj-0123456789abcdefghijAbCd";

fn record(id: &str, project: &str) -> CredentialRecord {
    serde_json::from_value(json!({ "id": id, "name": id, "type": "openAiApi", "shared": [{ "id": project }] }))
        .expect("a record")
}

fn node(id: &str, record: &str) -> Value {
    json!({ "id": id, "name": format!("Node {id}"), "type": "@n8n/n8n-nodes-langchain.openAi", "parameters": {},
        "credentials": { "openAiApi": { "id": record, "name": record } } })
}

fn request(id: &str, url: &str, parameters: &Value) -> Value {
    let mut node = json!({ "id": id, "name": id, "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2,
        "parameters": { "url": url, "sendHeaders": true } });
    node["parameters"].as_object_mut().expect("fields").extend(parameters.as_object().expect("fields").clone());
    node
}

fn header(value: &str) -> Value {
    json!({ "headerParameters": { "parameters": [{ "name": "Authorization", "value": value }, { "name": "X", "value": "1" }] } })
}

fn published(id: &str, nodes: &Value) -> Value {
    json!({ "id": id, "name": id, "active": true, "versionId": "v1", "activeVersionId": "v1", "connections": {}, "nodes": nodes,
        "activeVersion": { "nodes": nodes, "connections": {} }, "shared": [{ "projectId": "p" }] })
}

/// What is asked for in most of the tests.
struct Asked {
    to: Target,
    records: Vec<CredentialRecord>,
    from: Option<BTreeSet<String>>,
    seen: Option<HashSet<(String, String)>>,
    typed_keys: bool,
    drafts: bool,
}

fn asked() -> Asked {
    let records = vec![record("new", "p"), record("old", "p"), record("other", "p")];
    let to = Target { id: "new".into(), name: "New".into() };
    Asked { to, records, from: None, seen: None, typed_keys: false, drafts: false }
}

impl Asked {
    fn plan(&self, workflows: &[Value]) -> Plan {
        let Self { to, records, from, seen, typed_keys, drafts } = self;
        let choice = Choice {
            to,
            from: from.as_ref(),
            workflows: None,
            seen: seen.as_ref(),
            typed_keys: *typed_keys,
            drafts: *drafts,
            records,
        };
        choice.plan(workflows, &names)
    }

    /// What is changed of one workflow, each node with its place, and what is left alone.
    #[track_caller]
    fn check(&self, workflow: Value, changed: &[(&str, &str)], left: &[(&str, LeftReason)]) {
        let plan = self.plan(&[workflow]);
        let edits: Vec<_> = plan.tasks.iter().flat_map(Task::edits).map(|(place, edit)| (place, &*edit.node)).collect();
        assert_eq!(edits, changed);
        let node = |left: &Left| left.node.as_ref().map_or(String::new(), |(id, _)| id.clone());
        let found: Vec<_> = plan.left.iter().map(|left| (node(left), left.reason)).collect();
        let left: Vec<_> = left.iter().map(|(node, reason)| ((*node).to_owned(), *reason)).collect();
        assert_eq!(found, left);
    }
}

#[test]
fn nodes_of_every_record_but_the_target_are_changed_or_those_of_the_named_ones() {
    let all = json!([
        node("a", "old"),
        node("b", "other"),
        node("c", "new"),
        json!({ "id": "s", "name": "s", "type": "x.set" })
    ]);
    asked().check(published("w", &all), &[("", "a"), ("", "b")], &[("c", LeftReason::AlreadyThere)]);
    let from = Asked { from: Some(["other".to_owned()].into()), ..asked() };
    from.check(published("w", &all), &[("", "b")], &[("c", LeftReason::AlreadyThere)]);
    let seen =
        Asked { seen: Some([("w".to_owned(), "a".to_owned()), ("v".to_owned(), "b".to_owned())].into()), ..asked() };
    seen.check(published("w", &all), &[("", "a")], &[]);
}

#[test]
fn an_edit_names_what_stood_there_and_can_be_reversed() {
    let plan = asked().plan(&[published("w", &json!([node("a", "old")]))]);
    let task = &plan.tasks[0];
    assert_eq!((task.shape, &*task.at.draft, task.at.live.as_deref()), (Shape::Published, "v1", Some("v1")));
    let edit = &task.draft[0];
    let reference = |id: &str, name: &str| Reference { id: Some(id.to_owned()), name: name.to_owned() };
    assert_eq!(edit.record_before(), Some(&reference("old", "old")));
    assert_eq!(edit.after, Some(reference("new", "New")));
    let back = task.reversed();
    assert_eq!((&back.draft[0].before, &back.draft[0].after), (&edit.after, &edit.before));
}

#[test]
fn each_version_is_changed_as_itself_and_only_if_that_is_asked_for() {
    let mut workflow = published("w", &json!([node("a", "old"), node("b", "old")]));
    workflow["nodes"] = json!([node("a", "old"), node("c", "other")]);
    workflow["versionId"] = "v2".into();
    asked().check(workflow.clone(), &[], &[("", LeftReason::DraftDiffers)]);
    let drafts = Asked { drafts: true, ..asked() };
    drafts.check(workflow.clone(), &[("published", "a"), ("published", "b"), ("draft", "a"), ("draft", "c")], &[]);
    // Another version with the same content is no other draft.
    workflow["nodes"] = workflow["activeVersion"]["nodes"].clone();
    asked().check(workflow.clone(), &[("", "a"), ("", "b")], &[]);
    workflow["activeVersionId"] = Value::Null;
    workflow["activeVersion"] = Value::Null;
    workflow["active"] = false.into();
    let plan = asked().plan(std::slice::from_ref(&workflow));
    assert_eq!(plan.tasks[0].shape, Shape::Unpublished);
    workflow.as_object_mut().expect("fields").retain(|name, _| !name.starts_with("activeV"));
    assert_eq!(asked().plan(&[workflow]).tasks[0].shape, Shape::Single);
    let mut untold = published("w", &json!([node("a", "old")]));
    untold["activeVersion"] = Value::Null;
    asked().check(untold.clone(), &[("", "a")], &[]);
    untold["versionId"] = "v2".into();
    asked().check(untold, &[], &[("", LeftReason::DraftDiffers)]);
}

#[test]
fn a_workflow_that_may_not_be_changed_is_left_alone_with_its_reason() {
    let mut archived = published("w", &json!([node("a", "old")]));
    archived["isArchived"] = true.into();
    asked().check(archived, &[], &[("", LeftReason::Archived)]);
    let mut elsewhere = published("w", &json!([node("a", "old")]));
    elsewhere["shared"] = json!([{ "projectId": "q" }]);
    asked().check(elsewhere.clone(), &[], &[("", LeftReason::OtherProject)]);
    // n8n 1.x does not say with whom a record is shared.
    Asked { records: Vec::new(), ..asked() }.check(elsewhere, &[("", "a")], &[]);
    let mut lost = node("b", "gone");
    lost["credentials"] = json!({ "httpHeaderAuth": { "id": "gone", "name": "Twin" } });
    let workflow = published("w", &json!([node("a", "old"), lost]));
    asked().check(workflow.clone(), &[("", "a")], &[]);
    let mut twin = asked();
    twin.records.push(CredentialRecord {
        id: "t".into(),
        name: "Twin".into(),
        kind: "httpHeaderAuth".into(),
        ..record("t", "p")
    });
    twin.check(workflow, &[], &[("", LeftReason::LostRecord)]);
    let keyed = published("w", &json!([node(KEY, "old")]));
    asked().check(keyed, &[], &[("", LeftReason::Unreadable)]);
    // Nothing is to be done there, so nothing stands in the way.
    let mut done = published("w", &json!([node("a", "new")]));
    done["isArchived"] = true.into();
    asked().check(done, &[], &[("a", LeftReason::AlreadyThere)]);
}

#[test]
fn a_node_that_takes_no_credential_is_left_alone_with_its_reason() {
    let gateway = json!({ "id": "g", "name": "g", "type": "@n8n/n8n-nodes-langchain.openAi", "credentials": { "openAiApi": { "__aiGatewayManaged": true } } });
    let agent = |record: &str| {
        json!({ "id": "m", "name": "m", "type": "n8n-nodes-base.messageAnAgent",
        "parameters": { "agentSource": "inline", "inlineAgent": { "config": { "credential": record } } } })
    };
    let inside = json!({ "nodes": [node("i", "old")] }).to_string();
    let embedded = json!({ "id": "e", "name": "e", "type": "n8n-nodes-base.executeWorkflow",
        "parameters": { "source": "parameter", "workflowJson": inside } });
    let openai = "https://api.openai.com/v1/x";
    let mut other = request(
        "o",
        openai,
        &json!({ "authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth" }),
    );
    other["credentials"] = json!({ "httpHeaderAuth": { "id": "h", "name": "h" } });
    for (node, id, reason) in [
        (gateway, "g", LeftReason::Gateway),
        (agent("old"), "m", LeftReason::InlineAgent),
        (agent("new"), "m", LeftReason::AlreadyThere),
        (embedded.clone(), "e", LeftReason::Embedded),
        (other.clone(), "o", LeftReason::OtherType),
    ] {
        asked().check(published("w", &json!([node])), &[], &[(id, reason)]);
    }
    let from = Asked { from: Some(["third".to_owned()].into()), ..asked() };
    from.check(published("w", &json!([agent("old"), embedded, other])), &[], &[]);
    // A credential that is chosen, and that the node does not use now.
    let mut unused = request("u", openai, &json!({ "authentication": "none" }));
    unused["credentials"] = json!({ "openAiApi": { "id": "old", "name": "old" } });
    asked().check(published("w", &json!([unused])), &[], &[]);
}

#[test]
fn a_typed_key_gives_way_only_if_that_is_asked_for_and_only_where_it_can() {
    let openai = "https://api.openai.com/v1/x";
    let good = request("r", openai, &header(&format!("Bearer {KEY}")));
    asked().check(published("w", &json!([good.clone()])), &[], &[("r", LeftReason::TypedKey)]);
    let from = Asked { from: Some(["old".to_owned()].into()), ..asked() };
    from.check(published("w", &json!([good.clone()])), &[], &[]);
    let typed = Asked { typed_keys: true, ..from };
    typed.check(published("w", &json!([good.clone()])), &[("", "r")], &[]);
    let plan = typed.plan(&[published("w", &json!([good.clone()]))]);
    assert!(
        !format!("{plan:?}{}", serde_json::to_string(&plan.tasks).expect("JSON")).contains("0123456789"),
        "no key is in a plan"
    );
    assert_eq!(plan.tasks[0].draft[0].typed, Typed::TakenOut);
    assert_eq!(plan.tasks[0].reversed().draft[0].typed, Typed::PutBack);
    let mut first = plan.tasks[0].clone();
    first.at.has_versions = false;
    assert!(first.reversed().draft.is_empty() && first.lost_keys().count() == 1);

    let code = json!({ "id": "r", "name": "r", "type": "n8n-nodes-base.code", "parameters": { "jsCode": format!("fetch(x, '{KEY}')") } });
    let mut old = good.clone();
    old["typeVersion"] = 2.into();
    let legacy = "sk-0123456789abcdefghijAbCdEfGhIj";
    for (node, expected) in [
        (code, Err(LeftReason::TypedElsewhere)),
        (old, Err(LeftReason::TypedElsewhere)),
        (
            request(
                "r",
                openai,
                &json!({ "jsonHeaders": format!("{{\"Authorization\":\"Bearer {KEY}\"}}"), "specifyHeaders": "json" }),
            ),
            Err(LeftReason::TypedElsewhere),
        ),
        (request("r", openai, &header(&format!("=Bearer {{{{ $json.key }}}}{KEY}"))), Err(LeftReason::TypedElsewhere)),
        (request("r", openai, &header(&format!("={KEY}"))), Err(LeftReason::TypedElsewhere)),
        (request("r", openai, &header(&format!("Bearer {legacy}"))), Ok(())),
        (request("r", "http://keyward:8080/v1/x", &header(&format!("Bearer {KEY}"))), Ok(())),
        (request("r", "http://other.example/v1/x", &header(&format!("Bearer {legacy}"))), Err(LeftReason::UnsureKey)),
    ] {
        match expected {
            Ok(()) => typed.check(published("w", &json!([node])), &[("", "r")], &[]),
            Err(reason) => typed.check(published("w", &json!([node])), &[], &[("r", reason)]),
        }
    }
}

#[test]
fn what_is_no_workflow_is_passed_over() {
    let broken =
        [Value::Null, json!([]), json!({ "id": "w", "nodes": [1, { "credentials": 3 }] }), json!({ "nodes": {} })];
    assert_eq!(asked().plan(&broken), Plan::default());
}

#[test]
fn every_reason_has_words_and_says_whether_something_is_left_to_do() {
    for reason in LeftReason::ALL {
        assert!(!reason.words().is_empty());
    }
    let open: Vec<_> = LeftReason::ALL.into_iter().filter(|reason| !reason.is_open()).map(LeftReason::code).collect();
    assert_eq!(open, ["already_there", "archived", "gateway"]);
}

#[test]
fn a_key_in_a_name_is_neither_shown_nor_kept() {
    let mut own = node("a", "old");
    own["name"] = format!("Ask with {KEY}").into();
    own["credentials"]["openAiApi"]["name"] = format!("Record of {KEY}").into();
    let mut workflow = published("w", &json!([own]));
    workflow["name"] = format!("Workflow of {KEY}").into();
    let plan = asked().plan(&[workflow]);
    assert_eq!(plan.tasks.len(), 1);
    assert!(!serde_json::to_string(&plan.tasks).expect("JSON").contains("0123456789"), "{plan:?}");
}
