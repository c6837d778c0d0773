//! All that is not changed keeps its text, and what n8n fills in is no change.

use serde_json::json;

use super::*;

/// As n8n writes it, with fields in no order, a number of many digits, and what is never sent.
const WORKFLOW: &str = r#"{"id":"w","name":"Report ☕","active":true,"versionId":"v2","activeVersionId":"v1","triggerCount":1,
    "nodes":[{"zeta":1.10,"id":"n1","name":"Ask","type":"x.openAi","parameters":{"b":{"y":0.1000000000000000055,"a":1},"a":2},
        "credentials":{"openAiApi":{"id":"c1","name":"Old"}}},
      {"id":"n2","name":"Other","parameters":{}}],
    "connections":{"zz":{},"aa":{}},"settings":{"executionOrder":"v1","timezone":"DEFAULT","binaryMode":"combined"},
    "staticData":{"lastId":1},"pinData":{"Ask":[1]},"nodeGroups":[{"id":"g"}],
    "activeVersion":{"nodes":[{"id":"n1","name":"Ask","credentials":{"openAiApi":{"id":"c1","name":"Older name"}},"parameters":{}}],
      "connections":{}}}"#;

fn name_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn content(text: &str) -> Content {
    Content::read(text.as_bytes()).expect("a workflow")
}

fn edit(node: &str, name: &str, before: &str, after: &str) -> Edit {
    let record =
        |id: &str| Reference { id: Some(id.to_owned()), name: (if id == "c1" { "Old" } else { "New" }).to_owned() };
    Edit {
        node: node.to_owned(),
        name: name.to_owned(),
        before: Some(record(before)),
        after: Some(record(after)),
        typed: Typed::None,
    }
}

#[test]
fn nothing_but_the_credential_changes_and_all_else_keeps_its_text() {
    let content = content(WORKFLOW);
    let version = content.draft.with(&[edit("n1", "Ask", "c1", "c2")], None).expect("a version");
    let body = content.body(&version).expect("a body");
    assert_eq!(
        body,
        r#"{"name":"Report ☕","nodes":[{"zeta":1.10,"id":"n1","name":"Ask","type":"x.openAi","parameters":{"b":{"y":0.1000000000000000055,"a":1},"a":2},"credentials":{"openAiApi":{"id":"c2","name":"New"}}},{"id":"n2","name":"Other","parameters":{}}],"connections":{"zz":{},"aa":{}},"settings":{"executionOrder":"v1"},"nodeGroups":[{"id":"g"}]}"#
    );
    assert!(content.marks(&name_of).is_parted());
    let live = content.live.as_ref().expect("what runs").with(&[], None).expect("a version");
    assert!(!content.body(&live).expect("a body").contains("nodeGroups"));
}

#[test]
fn a_first_release_is_sent_all_settings_that_mean_something() {
    let text = r#"{"name":"W","active":false,"updatedAt":"2026-11-30T19:26:09.371Z","nodes":[],"connections":{},
        "settings":{"callerPolicy":"any","errorWorkflow":null,"executionTimeout":-1}}"#;
    let content = content(text);
    assert!(!content.at.has_versions && content.live.is_none());
    assert_eq!(content.at.draft, "2026-11-30T19:26:09.371Z");
    let body = content.body(&content.draft).expect("a body");
    assert_eq!(body, r#"{"name":"W","nodes":[],"connections":{},"settings":{"callerPolicy":"any"}}"#);
}

#[test]
fn a_change_that_does_not_fit_is_refused() {
    let content = content(WORKFLOW);
    let refusal = |edit: Edit| content.draft.with(&[edit], None).expect_err("no version").to_string();
    assert!(refusal(edit("n9", "Ask", "c1", "c2")).contains("no longer there"));
    assert!(refusal(edit("n1", "Ask", "c3", "c2")).contains("another credential than before"));
    let back = Edit { typed: Typed::PutBack, ..edit("n1", "Ask", "c1", "c2") };
    assert!(refusal(back).contains("no longer has the version"));
    for broken in [
        r#"{"name":"W","nodes":[1],"connections":{}}"#,
        "[]",
        "{",
        r#"{"nodes":[],"connections":{}}"#,
        r#"{"name":"W","nodes":[],"connections":{},"versionId":"v2","activeVersionId":"v1"}"#,
    ] {
        let refused = Content::read(broken.as_bytes()).expect_err(broken);
        assert_eq!(refused.to_string(), "what n8n sends of it cannot be read");
    }
}

#[test]
fn a_node_without_an_id_is_known_by_its_name_and_two_of_one_id_are_not_mixed_up() {
    let nodes = r#"[{"name":"A","credentials":{"openAiApi":{"id":"c1","name":"Old"}}},
        {"id":"d","name":"B","credentials":{"openAiApi":{"id":"c1","name":"Old"}}},
        {"id":"d","name":"C","credentials":{"openAiApi":{"id":"c1","name":"Old"}}}]"#;
    let text = format!(r#"{{"name":"W","nodes":{nodes},"connections":{{}}}}"#);
    let version = content(&text).draft.with(&[edit("", "A", "c1", "c2"), edit("d", "C", "c1", "c2")], None);
    let ids: Vec<_> = version
        .expect("a version")
        .nodes
        .iter()
        .map(|node| node.value("credentials")["openAiApi"]["id"].clone())
        .collect();
    assert_eq!(ids, ["c2", "c1", "c2"]);
}

#[test]
fn a_typed_key_gives_way_and_the_other_headers_stay() {
    let with = |headers: &str| {
        format!(
            r#"{{"name":"W","nodes":[{{"id":"n","name":"N","parameters":{{"url":"u","sendHeaders":true,"headerParameters":{{"parameters":[{headers}]}},"x":1}}}}],"connections":{{}}}}"#
        )
    };
    let after = Some(Reference { id: Some("c2".into()), name: "New".into() });
    let taken = Edit { node: "n".into(), name: "N".into(), before: None, after, typed: Typed::TakenOut };
    let key = r#"{"name":"AUTHORIZATION","value":"Bearer sk-canary"}"#;
    let parameters = |text: &str| {
        let version = content(text).draft.with(std::slice::from_ref(&taken), None).expect("a version");
        assert_eq!(version.nodes[0].value("credentials"), json!({ "openAiApi": { "id": "c2", "name": "New" } }));
        version.nodes[0].get("parameters").expect("parameters").get().to_owned()
    };
    assert_eq!(
        parameters(&with(key)),
        r#"{"url":"u","sendHeaders":false,"x":1,"authentication":"predefinedCredentialType","nodeCredentialType":"openAiApi"}"#
    );
    let two = with(&format!(r#"{{"name":"X-Own","value":"1"}},{key}"#));
    let kept = parameters(&two);
    assert!(
        kept.contains(r#""sendHeaders":true,"headerParameters":{"parameters":[{"name":"X-Own","value":"1"}]}"#),
        "{kept}"
    );

    let changed = content(&two).draft.with(std::slice::from_ref(&taken), None).expect("a version");
    let back = Edit { before: taken.after.clone(), after: None, typed: Typed::PutBack, ..taken.clone() };
    let restored = changed.with(&[back], Some(&content(&two).draft)).expect("a version");
    assert_eq!(restored.marks(&name_of), content(&two).draft.marks(&name_of));
}

#[test]
fn what_n8n_fills_in_when_it_saves_is_no_difference_and_all_else_is() {
    let marks = |text: &str| content(text).marks(&name_of);
    let own = marks(WORKFLOW);
    let saved = WORKFLOW
        .replace(r#""name":"Old"}"#, r#""name":"Renamed since"}"#)
        .replace(r#"{"id":"n2","#, r#"{"webhookId":"11","id":"n2","#)
        .replace(r#""timezone":"DEFAULT","#, "")
        .replace(r#""lastId":1"#, r#""lastId":2"#);
    assert_eq!(own.differences(&marks(&saved)), Vec::<String>::new());
    for (from, to, what) in [
        ("Report", "Reports", "its name"),
        (r#""executionOrder":"v1""#, r#""executionOrder":"v0""#, "its settings"),
        (r#""name":"Other","parameters":{}"#, r#""name":"Other","parameters":{"a":1}"#, "node Other"),
        (r#"{"zz":{},"#, r#"{"zy":{},"#, "its connections"),
        (r#""id":"c1","name":"Older"#, r#""id":"c9","name":"Older"#, "node Ask (published)"),
        (r#""activeVersionId":"v1""#, r#""activeVersionId":null"#, "it is no longer published"),
    ] {
        assert_eq!(own.differences(&marks(&WORKFLOW.replace(from, to))), [what]);
    }
}

#[test]
fn what_else_a_node_uses_keeps_its_text_and_a_name_with_a_key_is_masked_in_marks() {
    const KEY: &str = "sk-proj-0123456789abcdefghijAbCd";
    let text = format!(
        r#"{{"name":"W","nodes":[{{"id":"n","name":"N {KEY}","credentials":{{"httpQueryAuth":{{"id":"q","name":"Q"}},"openAiApi":{{"id":5,"name":"Old"}}}}}}],"connections":{{}}}}"#
    );
    let content = content(&text);
    let changed = content.draft.with(&[edit("n", "N", "5", "c2")], None).expect("a version");
    let credentials = changed.nodes[0].get("credentials").expect("credentials").get().to_owned();
    assert_eq!(credentials, r#"{"httpQueryAuth":{"id":"q","name":"Q"},"openAiApi":{"id":"c2","name":"New"}}"#);
    let names: Vec<_> = changed.marks(&name_of).nodes.into_keys().collect();
    assert_eq!(names, ["N sk-…[redacted]"]);
}
