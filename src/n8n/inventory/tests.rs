//! Nodes of every kind, who calls whom, and workflows that n8n should not write.

#![expect(clippy::needless_pass_by_value, reason = "JSON that is written on the spot")]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::keys::fingerprint::{FingerprintKey, Hint};
use crate::n8n::documents::Page;

/// As a key ring names keys.
pub(in crate::n8n) fn names(value: &[u8]) -> Names {
    Names { fingerprint: FingerprintKey::new(&[7; 32]).fingerprint(value), hint: Hint::of(value) }
}

/// The inventory of workflows that are written down as JSON.
pub(in crate::n8n) fn inventory(workflows: &[Value]) -> Inventory {
    let mut builder = Builder::new(&names);
    for workflow in workflows {
        builder.add(&serde_json::from_value(workflow.clone()).expect("a workflow"));
    }
    builder.finish()
}

fn node(value: Value) -> Option<Node> {
    let workflow = json!({ "id": "w", "active": true, "nodes": [value] });
    inventory(&[workflow]).workflows.remove(0).nodes.pop()
}

fn sample(path: &str) -> Page<documents::Workflow> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/n8n").join(path);
    serde_json::from_str(&fs::read_to_string(path).expect("a sample")).expect("a page")
}

const KEY: &str = "sk-proj-0123456789abcdefghijAbCd";

#[test]
fn every_kind_of_node_sends_where_its_source_says() {
    #[track_caller]
    fn check(kind: &str, version: f64, parameters: Value, expected: Option<Address>) {
        let credentials = json!({ "openAiApi": { "id": "r", "name": "OpenAI" } });
        let found = node(json!({ "id": "n", "type": kind, "typeVersion": version, "parameters": parameters,
            "credentials": credentials }));
        assert_eq!(found.map(|node| node.address), expected, "{kind} {version}");
    }
    let own = |url: &str| json!({ "options": { "baseURL": url } });
    let host = |host: &str| Some(Address::Host(host.into()));
    let langchain = |name: &str| format!("@n8n/n8n-nodes-langchain.{name}");
    check("n8n-nodes-base.openAi", 1.1, json!({}), Some(Address::OfRecord));
    check(&langchain("openAi"), 2.0, own("https://api.openai.com/v1"), Some(Address::OfRecord));
    check(&langchain("openAiTool"), 2.3, json!({}), Some(Address::OfRecord));
    check(&langchain("lmChatOpenAi"), 1.3, own("https://elsewhere/v1"), Some(Address::OfRecord));
    check(&langchain("lmChatOpenAi"), 1.0, own("https://elsewhere/v1"), host("elsewhere"));
    check(&langchain("lmChatOpenAi"), 1.0, own(""), Some(Address::OfRecord));
    check(&langchain("embeddingsOpenAi"), 1.2, own("https://api.openai.com/v1"), Some(Address::OfRecord));
    check(&langchain("embeddingsOpenAi"), 1.1, own("https://api.openai.com/v1"), Some(Address::OpenAi));
    check(&langchain("lmOpenAi"), 1.0, json!({ "options": {} }), Some(Address::NoBaseUrl));
    check(&langchain("lmOpenAi"), 1.0, own(" "), Some(Address::NoBaseUrl));
    check(&langchain("lmOpenAi"), 1.0, own("http://keyward:8080/v1"), host("keyward:8080"));
    check(&langchain("openAiAssistant"), 1.1, json!(null), Some(Address::NoBaseUrl));
    check("n8n-nodes-community.superAi", 1.0, json!({}), Some(Address::OfRecord));
    check(
        "n8n-nodes-base.httpRequest",
        4.2,
        json!({ "url": "https://api.openai.com/v1/models" }),
        Some(Address::OpenAi),
    );
    check("n8n-nodes-base.httpRequestTool", 4.2, json!({ "url": "http://keyward/v1" }), host("keyward"));
    check(&langchain("toolHttpRequest"), 1.1, json!({ "url": "http://keyward/v1" }), host("keyward"));
    check("n8n-nodes-base.httpRequest", 4.2, json!({}), Some(Address::Unclear));
}

#[test]
fn an_address_is_read_as_far_as_it_can_be() {
    #[track_caller]
    fn check(url: &str, expected: &str) {
        let address = target(url);
        let found = if let Address::Host(host) = address { host.into_string() } else { format!("{address:?}") };
        assert_eq!(found, expected, "{url}");
    }
    check("https://api.openai.com/v1/chat/completions", "OpenAi");
    check("https://API.OpenAI.com:443", "OpenAi");
    check("https://api.openai.com./v1", "OpenAi");
    check("https://eu.api.openai.com/v1", "OpenAi");
    check("api.openai.com/v1", "OpenAi");
    check("https://user@api.openai.com/v1", "OpenAi");
    check("=https://api.openai.com/v1/{{ $json.path }}", "OpenAi");
    check("={{ 'https://api.openai.com/' + $json.path }}", "OpenAi");
    check("https://api.openai.com.evil.example/v1", "api.openai.com.evil.example");
    check("https://notapi.openai.com/v1", "notapi.openai.com");
    check("https://evil.example/?u=api.openai.com", "evil.example");
    check("https://api.openai.com@evil.example/v1", "evil.example");
    check("=http://127.0.0.1:8099/n8n/{{ $workflow.id }}/{{ $execution.id }}/v1/x", "127.0.0.1:8099");
    check("http://[::1]:8080/v1", "[::1]:8080");
    check("={{ $env.URL }}/v1", "Unclear");
    check("=https://{{ $json.host }}/v1", "Unclear");
    check("", "Unclear");
    check("https://", "Unclear");
    check(&format!("https://{}", "a".repeat(300)), "Unclear");
    check(&format!("https://sk-{}/v1", "0123456789abcdefABCD"), "sk-…[redacted]");
}

#[test]
fn a_request_has_the_record_that_its_authentication_names() {
    #[track_caller]
    fn check(parameters: Value, expected: Option<(&str, bool)>) {
        let found = node(
            json!({ "id": "n", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2, "parameters": parameters,
            "credentials": { "openAiApi": { "id": "o", "name": "" }, "httpHeaderAuth": { "id": "h", "name": "" } } }),
        );
        let record = found.expect("a node").record;
        assert_eq!(
            record.map(|record| (record.id.to_string(), record.is_open_ai)),
            expected.map(|(id, is)| (id.to_owned(), is))
        );
    }
    let predefined = |kind: &str| json!({ "authentication": "predefinedCredentialType", "nodeCredentialType": kind });
    let generic = |kind: &str| json!({ "authentication": "genericCredentialType", "genericAuthType": kind });
    check(predefined("openAiApi"), Some(("o", true)));
    check(predefined("slackApi"), None);
    check(generic("httpHeaderAuth"), Some(("h", false)));
    check(json!({ "authentication": "headerAuth" }), Some(("h", false)));
    check(json!({ "authentication": "none" }), None);
    check(json!({}), None);
}

#[test]
fn keys_that_are_typed_are_known_by_their_names_alone() {
    #[track_caller]
    fn check(kind: &str, parameters: Value, expected: &[(&str, bool)]) {
        let found = node(json!({ "id": "n", "type": format!("n8n-nodes-base.{kind}"), "parameters": parameters }));
        let found: Vec<_> = found.into_iter().flat_map(|node| node.keys).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, is_surely_open_ai)| TypedKey {
                names: names(key.as_bytes()),
                is_surely_open_ai: *is_surely_open_ai,
            })
            .collect();
        assert_eq!(found, expected, "{kind} {parameters}");
    }
    let header =
        |value: &str| json!({ "headerParameters": { "parameters": [{ "name": "authorization", "value": value }] } });
    let old = "sk-0123456789abcdefghijAbCd";
    check("httpRequest", header(&format!("Bearer {KEY}")), &[(KEY, true)]);
    check("httpRequest", header(&format!("=Bearer {old}")), &[(old, false)]);
    check("httpRequest", header("Bearer sk-proj-short"), &[("sk-proj-short", true)]);
    check("httpRequest", header(KEY), &[(KEY, true)]);
    check("httpRequest", header("=Bearer {{ $json.key }}"), &[]);
    check("httpRequest", header("Bearer "), &[]);
    check("httpRequest", header("Bearer kw_0123456789abcdefghijAbCd"), &[]);
    check("httpRequest", json!({ "jsonHeaders": format!("{{\"Authorization\": \"Bearer {KEY}\"}}") }), &[(KEY, true)]);
    check(
        "code",
        json!({ "jsCode": format!("const a = '{KEY}'; const b = \"{KEY}\" + `{old}`") }),
        &[(KEY, true), (old, false)],
    );
    check("set", json!({ "assignments": { "assignments": [{ "value": KEY }] } }), &[(KEY, true)]);
    check("stickyNote", json!({ "content": format!("the key is {KEY}") }), &[(KEY, true)]);
    check("stickyNote", json!({ "content": "see https://api.openai.com" }), &[]);
    check("code", json!({ "jsCode": "task-force-of-the-month-and-the-year" }), &[]);
}

#[test]
fn what_has_nothing_to_do_with_open_ai_is_not_kept() {
    assert_eq!(node(json!({ "id": "n", "type": "n8n-nodes-base.set", "parameters": { "a": "b" } })), None);
    assert_eq!(
        node(json!({ "id": "n", "type": "n8n-nodes-base.stickyNote", "parameters": { "content": "api.openai.com" } })),
        None
    );
    assert_eq!(node(json!({})), None);
    let code = node(
        json!({ "id": "n", "type": "n8n-nodes-base.code", "parameters": { "jsCode": "fetch('https://api.openai.com')" } }),
    );
    assert_eq!(code.map(|node| node.kind), Some(Kind::Text));
}

/// The lives of workflows that call one another: `a>b` for a call, `*` for one that is active, `s` for a sub-workflow.
#[test]
fn who_calls_whom_decides_who_runs() {
    #[track_caller]
    fn check(calls: &[(&str, &str)], expected: &[(&str, &str)]) {
        let node = |called: &str| match called {
            "?" => {
                json!({ "id": "c", "name": "c", "type": "n8n-nodes-base.executeWorkflow", "parameters": { "workflowId": "={{ $json.id }}" } })
            }
            called => json!({ "id": "c", "name": "c", "type": "@n8n/n8n-nodes-langchain.toolWorkflow",
                "parameters": { "workflowId": { "__rl": true, "mode": "list", "value": called } } }),
        };
        let workflows: Vec<_> = expected
            .iter()
            .map(|(workflow, _)| {
                let id = workflow.trim_end_matches(['*', 's']);
                let mut nodes: Vec<_> = calls.iter().filter(|(from, _)| *from == id).map(|(_, to)| node(to)).collect();
                if workflow.ends_with('s') {
                    nodes.push(json!({ "id": "t", "type": "n8n-nodes-base.executeWorkflowTrigger" }));
                }
                json!({ "id": id, "active": workflow.ends_with('*'), "nodes": nodes })
            })
            .collect();
        let found = inventory(&workflows);
        let lives: Vec<_> = found.workflows.iter().map(|workflow| workflow.life.code()).collect();
        assert_eq!(lives, expected.iter().map(|(_, life)| *life).collect::<Vec<_>>(), "{calls:?}");
    }
    check(&[("a", "b"), ("b", "c")], &[("a*", "active"), ("b", "called"), ("c", "called")]);
    check(&[("a", "b"), ("b", "a")], &[("a", "off"), ("b", "off")]);
    check(
        &[("a", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "b")],
        &[("a*", "active"), ("b", "called"), ("c", "called")],
    );
    check(&[("b", "c")], &[("a*", "active"), ("b", "off"), ("c", "off")]);
    check(
        &[("a", "?"), ("b", "c")],
        &[("a*", "active"), ("bs", "perhaps_called"), ("c", "perhaps_called"), ("d", "off")],
    );
    check(&[("a", "?")], &[("a", "off"), ("bs", "off")]);
    check(&[("a", "nowhere")], &[("a*", "active")]);
}

#[test]
fn a_workflow_is_called_in_many_ways() {
    #[track_caller]
    fn check(called: Value, expected: &[usize]) {
        let mut workflow = json!({ "id": "a", "active": true });
        for (name, value) in called.as_object().expect("an object") {
            workflow[name] = value.clone();
        }
        let found = inventory(&[workflow, json!({ "id": "7", "nodes": [] })]);
        assert_eq!(found.workflows[1].callers, expected, "{called}");
    }
    let by = |parameters: Value| json!({ "nodes": [{ "type": "n8n-nodes-base.executeWorkflow", "parameters": parameters }] });
    check(by(json!({ "workflowId": "7" })), &[0]);
    check(by(json!({ "workflowId": 7 })), &[0]);
    check(by(json!({ "workflowId": "=7" })), &[0]);
    check(by(json!({ "workflowId": { "mode": "url", "value": "http://n8n/workflow/7/x" } })), &[0]);
    check(by(json!({ "source": "parameter", "workflowJson": "{}" })), &[]);
    check(by(json!({ "workflowId": [] })), &[]);
    check(json!({ "settings": { "errorWorkflow": "7" } }), &[0]);
    check(json!({ "settings": { "errorWorkflow": "DEFAULT" } }), &[]);
    check(
        json!({ "nodes": [{ "type": "n8n-nodes-base.executeWorkflow", "disabled": true, "parameters": { "workflowId": "7" } }] }),
        &[],
    );
}

#[test]
fn a_draft_is_compared_by_what_matters() {
    let node = |id: &str, record: &str| {
        json!({ "id": id, "name": id, "type": "n8n-nodes-base.openAi", "parameters": { "prompt": record },
        "credentials": { "openAiApi": { "id": record, "name": record } } })
    };
    let workflow = |draft: Value| {
        let workflow = json!({ "id": "w", "active": true, "versionId": "2", "activeVersionId": "1", "nodes": draft,
            "activeVersion": { "versionId": "1", "nodes": [node("a", "r"), node("b", "r")] } });
        inventory(&[workflow]).workflows.remove(0)
    };
    let changes = |draft: Value| -> Vec<_> {
        workflow(draft).changes.into_iter().map(|change| (change.node.into_string(), change.what)).collect()
    };
    assert_eq!(changes(json!([node("b", "r"), node("a", "r"), { "id": "s", "type": "n8n-nodes-base.set" }])), []);
    assert_eq!(changes(json!([node("a", "r"), node("b", "new")])), [("b".to_owned(), Difference::Record)]);
    let moved = changes(json!([node("a", "r"), node("c", "r")]));
    assert_eq!(moved, [("b".to_owned(), Difference::Removed), ("c".to_owned(), Difference::Added)]);
    let nodes = workflow(json!([node("a", "r"), node("c", "r")])).nodes;
    assert_eq!(
        nodes.iter().map(|node| (&*node.id, node.is_draft)).collect::<Vec<_>>(),
        [("a", false), ("b", false), ("c", true)]
    );
    // What was never published runs nowhere, and differs from nothing.
    let never =
        json!({ "id": "w", "active": false, "versionId": "1", "activeVersionId": null, "nodes": [node("a", "r")] });
    let never = inventory(&[never]).workflows.remove(0);
    assert_eq!((never.life, never.changes.len(), never.nodes[0].is_draft), (Life::Unpublished, 0, true));
}

#[test]
fn the_samples_of_both_versions() {
    for (path, expected) in [
        ("1.100.1/workflows-list-page1.json", [0, 1]),
        ("1.100.1/workflows-list-page2.json", [1, 1]),
        ("2.41.1/workflows-list-page1.json", [1, 1]),
        ("2.41.1/workflows-list-page2.json", [1, 0]),
    ] {
        let mut builder = Builder::new(&names);
        sample(path).data.iter().for_each(|workflow| builder.add(workflow));
        let found: Vec<_> = builder.finish().workflows.iter().map(|workflow| workflow.nodes.len()).collect();
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn twenty_thousand_calls_in_circles_are_followed_once() {
    let workflows: Vec<_> = (0..200)
        .map(|number| {
            let call = |step: usize| {
                json!({ "type": "n8n-nodes-base.executeWorkflow",
                "parameters": { "workflowId": ((number + step) % 200).to_string() } })
            };
            json!({ "id": number.to_string(), "active": number == 0, "nodes": (0..100).map(call).collect::<Vec<_>>() })
        })
        .collect();
    let found = inventory(&workflows);
    assert!(
        found.workflows.iter().skip(1).all(|workflow| workflow.life == Life::Called && workflow.callers.len() == 100)
    );
}

fn any_parameters() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("https://api.openai.com/v1".to_owned()),
        Just(format!("Bearer {KEY}")),
        Just("={{ $json.x }}".to_owned()),
        "(sk-proj-)?[a-zA-Z0-9\u{1b}\u{202e}/:@{}=.-]{0,40}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    let name = "url|options|baseURL|headerParameters|parameters|name|value|authentication|workflowId|source|nodeCredentialType";
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_parameters_break_it_or_let_a_key_out(
        parameters in prop::collection::vec(any_parameters(), 0..6),
        kinds in prop::collection::vec("n8n-nodes-base\\.(openAi|httpRequest|executeWorkflow|code)|@n8n/n8n-nodes-langchain\\.(lmOpenAi|toolWorkflow)|\\PC{0,8}", 6),
    ) {
        let nodes: Vec<_> = parameters.iter().zip(kinds).enumerate()
            .map(|(id, (parameters, kind))| json!({ "id": id, "name": format!("{KEY} {id}"), "type": kind, "parameters": parameters,
                "credentials": { "openAiApi": { "id": KEY, "name": KEY } } }))
            .collect();
        let found = inventory(&[json!({ "id": KEY, "name": KEY, "active": true, "nodes": nodes })]);
        prop_assert!(!format!("{found:?}").contains("0123456789abcdefghij"), "{found:?}");
    }
}
