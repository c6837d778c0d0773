//! Samples of what real n8n answers, and what no n8n should answer.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn sample(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/n8n").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read<T: for<'de> Deserialize<'de>>(text: &str) -> T {
    serde_json::from_str(text).expect("a document")
}

fn workflow(value: &Value) -> Workflow {
    read(&value.to_string())
}

#[test]
fn workflows_as_both_versions_list_them() {
    #[track_caller]
    fn check(path: &str, expected: &[(&str, &str, bool, usize)]) {
        let page: Page<Workflow> = read(&sample(path));
        let found: Vec<_> = page
            .data
            .iter()
            .map(|workflow| (&*workflow.id, &*workflow.name, workflow.active, workflow.nodes.len()))
            .collect();
        assert_eq!(found, expected, "{path}");
        assert!(page.next_cursor.is_some_and(|cursor| cursor.starts_with("eyJ")), "{path}");
        assert!(page.data.iter().all(|workflow| workflow.updated_at.is_some() && workflow.version_id.is_some()));
    }
    check(
        "1.100.1/workflows-list-page1.json",
        &[("0Bn1Tujd2tyqLX3A", "execute_workflow", true, 2), ("5pgvls0B67y3fEFZ", "Sample lc_text_message", true, 2)],
    );
    check(
        "1.100.1/workflows-list-page2.json",
        &[("ABa5ZOTDmLTZOSBg", "Sample http_hardcoded", true, 2), ("AlxJJPYvJV2nAFgu", "Sample sub", false, 2)],
    );
    check(
        "2.41.1/workflows-list-page1.json",
        &[("003YLU1btL6FBntY", "http_hardcoded", false, 2), ("0CRnutZFYoPoZikd", "http_predefined", false, 2)],
    );
    check(
        "2.41.1/workflows-list-page2.json",
        &[("0DrHKNCnpkqmHlUY", "embeddings", false, 4), ("0KFwSkFWqzRzL6pJ", "Sample execute_workflow", true, 2)],
    );
}

#[test]
fn the_nodes_that_run_are_the_published_ones() {
    let old: Workflow = read(&sample("1.100.1/workflow-sub.json"));
    assert_eq!((&old.published, old.active, old.running_nodes().len()), (&Published::Unversioned, false, 2));
    assert!(old.draft_nodes().is_none());
    let new: Workflow = read(&sample("2.41.1/workflow-sub.json"));
    assert_eq!(new.published, Published::Version("63965b40-5adc-4229-a17e-45084820a358".to_owned()));
    assert_eq!((new.running_nodes().len(), new.draft_nodes().is_none()), (2, true));
    let [draft, published] =
        [["a", "b"].as_slice(), &["a"]].map(|ids| ids.iter().map(|id| json!({ "id": id })).collect::<Value>());
    let edited = workflow(&json!({ "versionId": "2", "activeVersionId": "1", "nodes": draft,
        "activeVersion": { "versionId": "1", "nodes": published } }));
    assert_eq!((edited.running_nodes().len(), edited.draft_nodes().map(<[Node]>::len)), (1, Some(2)));
    let unpublished = workflow(&json!({ "versionId": "2", "activeVersionId": null, "nodes": draft }));
    assert_eq!((unpublished.running_nodes().len(), unpublished.draft_nodes().map(<[Node]>::len)), (0, Some(2)));
}

#[test]
fn a_node_names_its_credential_record_and_keeps_its_key_to_itself() {
    let found: Workflow = read(&sample("2.41.1/workflow-lc_text_message.json"));
    let node = &found.running_nodes()[1];
    assert_eq!((&*node.kind, node.type_version), ("@n8n/n8n-nodes-langchain.openAi", Some(2.0)));
    assert_eq!(node.credentials["openAiApi"].id.as_deref(), Some("Ph5mPjsmf3gefOFu"));
    assert_eq!(node.credentials["openAiApi"].name, "OpenAI sample");
    let found: Workflow = read(&sample("1.100.1/workflow-http_hardcoded.json"));
    let header = &found.nodes[1].parameters["headerParameters"]["parameters"][0]["value"];
    assert_eq!(header, "Bearer sk-proj-NEWKEYxxxxxxxx");
    assert!(!format!("{found:?}").contains("NEWKEY"));
}

#[test]
fn executions_and_credential_records() {
    let one: Execution = read(&sample("1.100.1/execution-one.json"));
    assert_eq!((&*one.id, one.mode.as_deref(), one.status.as_deref()), ("649", Some("webhook"), Some("success")));
    assert_eq!(one.started_at, Some(Timestamp::from_millis(1_795_412_105_855)));
    assert_eq!(one.workflow_id.as_deref(), Some("k3cIt3w0VpziPxn2"));
    let list: Page<Execution> = read(&sample("1.100.1/executions-list.json"));
    assert_eq!((list.data.len(), list.data[1].mode.as_deref(), &list.data[1].status), (2, Some("integrated"), &None));
    let parent =
        json!({ "id": 132, "retryOf": 7, "data": { "parentExecution": { "executionId": "131", "workflowId": "w" } } });
    let sub: Execution = read(&parent.to_string());
    let called_by = ParentExecution { execution_id: "131".to_owned(), workflow_id: "w".to_owned() };
    assert_eq!((&*sub.id, sub.retry_of.as_deref(), sub.data.parent_execution), ("132", Some("7"), Some(called_by)));
    let records: Page<CredentialRecord> = read(&sample("2.41.1/credentials-list.json"));
    assert_eq!((records.data.len(), &*records.data[0].kind), (2, "openAiApi"));
    assert!(records.data[0].updated_at.is_some());
}

/// Every sample there is: a file that is added without a thought is read all the same.
#[test]
fn every_sample_is_read() {
    for version in ["1.100.1", "2.41.1"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/n8n").join(version);
        for entry in fs::read_dir(folder).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            let text = sample(&format!("{version}/{name}"));
            let id = match name.split('-').next() {
                Some("workflows") => read::<Page<Workflow>>(&text).data[0].id.clone(),
                Some("workflow") => read::<Workflow>(&text).id,
                Some("executions") => read::<Page<Execution>>(&text).data[0].id.clone(),
                Some("execution") => read::<Execution>(&text).id,
                Some("credentials") => read::<Page<CredentialRecord>>(&text).data[0].id.clone(),
                Some("credential") => read::<CredentialRecord>(&text).id,
                other => panic!("what is {other:?}?"),
            };
            assert!(!id.is_empty(), "{name}");
        }
    }
}

#[test]
fn a_field_of_another_type_is_empty_and_takes_nothing_with_it() {
    let odd = workflow(
        &json!({ "id": 17, "name": null, "active": "yes", "isArchived": 1, "settings": [], "updatedAt": "soon",
        "triggerCount": "3", "activeVersion": "none", "versionId": {}, "nodes": [
            null, "text", 5, [{ "id": "hidden" }],
            { "id": "n", "type": "t", "typeVersion": "1.2", "disabled": "true", "parameters": 7,
              "credentials": { "openAiApi": { "id": null, "name": 5 }, "other": "by name" } },
            { "id": true, "credentials": [], "parameters": null } ] }),
    );
    assert_eq!((&*odd.id, &*odd.name, odd.active, odd.is_archived), ("17", "", false, false));
    assert_eq!((odd.updated_at, odd.trigger_count, odd.version_id), (None, Some(3.0), None));
    let nodes: Vec<_> = odd.nodes.iter().map(|node| (&*node.id, node.type_version, node.disabled)).collect();
    assert_eq!(nodes, [("n", Some(1.2), false), ("", None, false)]);
    let reference = CredentialReference { id: None, name: "5".to_owned(), is_gateway: false };
    assert_eq!(odd.nodes[0].credentials, BTreeMap::from([("openAiApi".to_owned(), reference)]));
    assert!(workflow(&json!({ "nodes": { "id": "n" } })).nodes.is_empty());
    let page: Page<Workflow> = read(r#"{"data":[1,{"id":"w"},null],"nextCursor":null}"#);
    assert_eq!((page.data.len(), page.next_cursor), (1, None));
}

#[test]
fn what_is_no_page_is_an_error() {
    for text in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{}}"#,
        r#"{"message":"unauthorized"}"#,
        r#"{"data":[{"#,
    ] {
        assert!(serde_json::from_str::<Page<Workflow>>(text).is_err(), "{text}");
    }
}

#[test]
fn names_are_short_and_hold_no_key() {
    let found = workflow(&json!({ "name": format!("old sk-proj-{}", "0123456789abcdefABCD"), "id": "w" }));
    assert_eq!(found.name, "old sk-…[redacted]");
    assert_eq!(workflow(&json!({ "name": "é".repeat(100_000) })).name.len(), LONGEST_NAME);
}

#[test]
fn what_is_passed_over_may_be_as_deep_as_it_likes() {
    let deep = format!(r#"{{"id":"w","pinData":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read::<Workflow>(&deep).id, "w");
    // What is kept may not: reading it would take a stack without end.
    let deep = format!(r#"{{"nodes":[{{"parameters":{}1{}}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Workflow>(&deep).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let name = "id|name|active|nodes|type|typeVersion|parameters|credentials|openAiApi|settings|errorWorkflow|activeVersion|\
                activeVersionId|versionId|data|nextCursor|parentExecution|updatedAt";
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..8).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn every_object_is_a_workflow_and_an_execution(mut value in any_json()) {
        if !value.is_object() {
            value = json!({ "nodes": [value.clone()], "data": value });
        }
        prop_assert!(serde_json::from_value::<Workflow>(value.clone()).is_ok());
        prop_assert!(serde_json::from_value::<CredentialRecord>(value.clone()).is_ok());
        prop_assert!(serde_json::from_value::<Execution>(value).is_ok());
    }
}
