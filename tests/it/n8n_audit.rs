//! The audit of n8n: on the command line, in the admin API, and what it means for an old key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::process::client::ask as ask_it;
use crate::process::{Finished, Home, Keyward};
use crate::support::{API_KEY, Answering, CURRENT, FakeN8n, FakeUpstream, OUTDATED, TestProxy, UNLISTED, eventually};

/// A node that goes past keyward.
fn old_model() -> Value {
    json!({ "id": "l1", "name": "Old model", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "typeVersion": 1, "parameters": {},
        "credentials": { "openAiApi": { "id": "c1", "name": "Main key" } } })
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Whether the key that was replaced can go.
fn can_go(proxy: &TestProxy) -> Value {
    json_of(&proxy.admin("/api/v1/sets/default/rotation").text())["old_keys"][0]["can_go"].clone()
}

#[track_caller]
fn ask(proxy: &TestProxy, key: &str, execution: u32) {
    let tag = format!("wf=w1;ex={execution};node=n1");
    proxy.get("/v1/models").key(key).header("X-N8N-Tag", &tag).logged();
}

/// What bars it, in words.
fn reasons(proxy: &TestProxy) -> Vec<String> {
    let answer = can_go(proxy);
    let told = ["reasons", "doubts"].map(|list| answer[list].as_array().unwrap().clone());
    told.iter().flatten().map(|reason| reason["text"].as_str().unwrap().to_owned()).collect()
}

/// A keyward whose one node has changed to the new key, and an n8n that answers only then.
fn rotated(upstream: &FakeUpstream, n8n: &FakeN8n) -> TestProxy {
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = TestProxy::with(upstream).current_key(CURRENT).quiet(Duration::ZERO);
    let proxy = proxy.n8n("main", n8n.origin(), API_KEY).start();
    ask(&proxy, CURRENT, 7);
    proxy.advance(Duration::from_mins(1));
    proxy.rotate(UNLISTED);
    proxy.advance(Duration::from_mins(1));
    ask(&proxy, UNLISTED, 8);
    let trouble = || reasons(&proxy).into_iter().find(|text| text.contains("503"));
    let text = eventually("n8n's trouble", trouble);
    assert!(text.starts_with("n8n `main` was not looked through yet: "), "{text}");
    n8n.trouble(None);
    // A use counts for the credential of its node once n8n was looked through before and after it.
    let seen = || proxy.admin("/api/v1/n8n").text().contains("\"n1\"").then_some(());
    eventually("n8n's first look", seen);
    ask(&proxy, UNLISTED, 9);
    proxy
}

#[test]
fn an_old_key_can_go_once_n8n_shows_that_every_node_passes_here() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    let proxy = rotated(&upstream, &n8n);
    let answer = eventually("the answer", || Some(can_go(&proxy)).filter(|answer| answer["answer"] == "yes"));
    assert_eq!(
        answer["text"],
        "yes: 1 node and 1 sender looked at, n8n looked through at 2026-11-23T08:02:00Z, quiet since 2026-11-23T08:00:00Z"
    );
    proxy.advance(Duration::from_mins(11));
    let old = can_go(&proxy);
    assert_eq!((&old["answer"], &old["reasons"][0]["code"]), (&json!("not_seen"), &json!("audit")), "{old}");
}

#[test]
fn an_old_key_cannot_go_for_a_node_that_goes_past_keyward() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has_document(json!({ "id": "w2", "name": "Past", "active": true, "nodes": [old_model()] }));
    let proxy = rotated(&upstream, &n8n);
    let found = "node Old model of workflow Past sends past keyward: a node of its type does not look at the credential's \
                 Base URL, and it has none of its own";
    eventually("the finding", || reasons(&proxy).iter().any(|text| text == found).then_some(()));
    let audits = json_of(&proxy.admin("/api/v1/n8n").text());
    let audit = &audits["instances"][0];
    assert_eq!((&audit["instance"], &audit["clean"]), (&json!("main"), &json!(false)));
    assert_eq!(audit["faults"][0]["text"], found);
    assert_eq!(audit["faults"][0]["nodes"][0]["link"], format!("{}/workflow/w2/l1", n8n.origin()));
    let states: Vec<_> = audit["nodes"].as_array().unwrap().iter().map(|node| &node["state"]).collect();
    assert_eq!(states, ["bypasses", "passes"]);
}

/// The doubts of the first n8n's audit, by code and subject.
fn doubts(audits: &Value) -> Vec<(String, String)> {
    let doubts = audits["instances"][0]["doubts"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    doubts.iter().map(|doubt| (text(&doubt["code"]), text(&doubt["subject"]))).collect()
}

/// Acknowledges the only binding of that workflow.
#[track_caller]
fn acknowledge(proxy: &TestProxy, workflow: &str) {
    let listed = json_of(&proxy.admin(&format!("/api/v1/bindings?workflow={workflow}")).text());
    let id = listed["bindings"][0]["binding"].as_str().unwrap();
    let target = format!("/api/v1/bindings/{id}/ack");
    let answer = proxy.ask_admin("POST", &target, &[("Authorization", &proxy.admin_bearer())]);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_workflow_that_the_api_key_does_not_see_keeps_an_old_key() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    let proxy = rotated(&upstream, &n8n);
    eventually("the answer", || (can_go(&proxy)["answer"] == "yes").then_some(()));
    let secret = proxy.get("/v1/models").key(UNLISTED).header("X-N8N-Tag", "wf=SECRET;ex=9;node=s1");
    assert_eq!(secret.logged()["verdict"], "current");
    let old = can_go(&proxy);
    let told = "requests come from workflow SECRET, which n8n's API does not list to this API key";
    assert_eq!((&old["answer"], &old["reasons"][0]["text"]), (&json!("not_seen"), &json!(told)), "{old}");
    let audits = json_of(&proxy.admin("/api/v1/n8n").text());
    assert_eq!(doubts(&audits), [("unlisted_workflow".to_owned(), "main".to_owned())]);
    proxy.advance(Duration::from_secs(1));
    acknowledge(&proxy, "SECRET");
    assert_eq!(can_go(&proxy)["answer"], "yes");
}

#[test]
fn requests_of_an_n8n_that_is_not_configured_keep_an_old_key() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    let proxy = rotated(&upstream, &n8n);
    eventually("the answer", || (can_go(&proxy)["answer"] == "yes").then_some(()));
    proxy.get("/v1/models").key(UNLISTED).header("X-N8N-Tag", "wf=w9;ex=9;node=n1;inst=staging").logged();
    let told = "requests come from n8n `staging`, which keyward is not told where to look through";
    assert_eq!(can_go(&proxy)["reasons"][0]["text"], told);
    proxy.advance(Duration::from_secs(1));
    acknowledge(&proxy, "w9");
    assert_eq!(can_go(&proxy)["answer"], "yes");
}

#[test]
fn an_http_request_whose_address_and_credential_say_nothing_keeps_an_old_key() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has_document(json!({ "id": "w2", "name": "Blind", "active": true, "nodes": [{
        "id": "h1", "name": "Ask", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2,
        "parameters": { "url": "={{ $vars.OPENAI_URL }}/chat/completions", "method": "POST",
            "authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth" },
        "credentials": { "httpHeaderAuth": { "id": "RH", "name": "Header" } } }] }));
    let proxy = rotated(&upstream, &n8n);
    let told = "node Ask of workflow Blind may lead to OpenAI or to keyward, with a credential of type httpHeaderAuth: n8n does \
                not tell what that holds";
    eventually("the doubt", || (can_go(&proxy)["reasons"][0]["text"] == told).then_some(()));
    // Its path tags it, and it sends the new key.
    proxy.get("/n8n/w2/9/h1/v1/models").key(UNLISTED).logged();
    eventually("the answer", || (can_go(&proxy)["answer"] == "yes").then_some(()));
}

#[test]
fn a_scope_that_the_api_key_lacks_is_a_doubt_and_no_fault() {
    let n8n = FakeN8n::start();
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    let home = home(&n8n);
    n8n.forbid(&["executions", "credentials"]);
    let told = audit(&home, &n8n, &["--json"]);
    assert_eq!(told.code(), Some(0), "{}", told.stderr);
    let scopes = ["credential:list", "execution:list"];
    let found = doubts(&json_of(&told.stdout));
    assert_eq!(found, scopes.map(|scope| ("scope_lacks".to_owned(), scope.to_owned())));
    let told = audit(&home, &n8n, &[]);
    assert!(told.stdout.contains("* Give n8n's API key the scope execution:list:"), "{}", told.stdout);
    n8n.forbid(&[]);
    assert_eq!(doubts(&json_of(&audit(&home, &n8n, &["--json"]).stdout)), []);
}

#[test]
fn a_running_keyward_says_which_scopes_its_api_key_lacks() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.forbid(&["executions"]);
    let proxy = rotated(&upstream, &n8n);
    let reason = eventually("the doubt", || {
        let reasons = can_go(&proxy)["reasons"].clone();
        reasons[0]["text"].as_str().filter(|text| text.contains("lacks the scope")).map(str::to_owned)
    });
    assert!(reason.starts_with("n8n's API key lacks the scope execution:list: "), "{reason}");
    let status = json_of(&proxy.admin("/api/v1/status").text());
    assert!(status["n8n"][0]["lacks"].as_str().unwrap().contains("execution:list"), "{status}");
}

/// A credential was copied before the rotation, and none of the six nodes that use the copy has run since; another node has
/// the key typed into it. Gives upstream, a keyward that runs there, and its configuration.
fn with_a_copy(n8n: &FakeN8n, home: &Home) -> (FakeUpstream, Keyward, String) {
    let node = |id: &str, record: &str| {
        json!({ "id": id, "name": id, "type": "n8n-nodes-base.openAi", "parameters": {},
            "credentials": { "openAiApi": { "id": record, "name": record } } })
    };
    let typed = json!({ "id": "h1", "name": "Typed", "type": "n8n-nodes-base.code",
        "parameters": { "jsCode": format!("const key = '{OUTDATED}'") } });
    let of_copy = |ids: [&str; 3]| ids.map(|id| node(id, "copy"));
    for (id, name, nodes) in [
        ("w1", "Weekly report", vec![node("n1", "main"), typed]),
        ("w2", "FAQ bot", of_copy(["a", "b", "c"]).to_vec()),
        ("w3", "Sub: enrich customer", of_copy(["d", "e", "f"]).to_vec()),
    ] {
        n8n.has_document(json!({ "id": id, "name": name, "active": true, "nodes": nodes }));
    }
    home.write("key", CURRENT);
    home.write("old", OUTDATED);
    home.write("n8n-key", API_KEY);
    let config = config(n8n).replace("\n[n8n", "\nprevious = [{ file = \"old\" }]\n[n8n") + "refresh = \"10s\"\n";
    let upstream = FakeUpstream::taking(&[CURRENT]);
    let keyward = home.serve_for(&upstream).config(&config).start();
    for (record, key) in [("main", CURRENT), ("copy", OUTDATED)] {
        n8n.has_record(record, "2026-11-23T07:00:00.000Z", keyward.listen, key);
    }
    (upstream, keyward, config)
}

#[test]
fn the_answer_the_audit_and_the_rotation_agree_about_a_copy_that_never_ran() {
    let (n8n, home) = (FakeN8n::start(), Home::new());
    let (_upstream, keyward, config) = with_a_copy(&n8n, &home);
    let headers = [("Authorization", &*format!("Bearer {CURRENT}")), ("X-N8N-Tag", "wf=w1;ex=7;node=n1")];
    assert_eq!(ask_it(keyward.listen, "/v1/models", &headers).verdict(), "current");
    let run = |arguments: &[&str]| {
        home.keyward(arguments).config(&config).env("KEYWARD_ADMIN_LISTEN", &keyward.admin.to_string()).run()
    };
    let copy = "Record copy: old key, 6 nodes in FAQ bot, Sub: enrich customer";
    eventually("the press of the copy", || run(&["status"]).stdout.contains(copy).then_some(()));
    let typed = "node Typed of workflow Weekly report has it typed into it";
    for arguments in
        [&["rotation"][..], &["rotation", "--can-go"], &["status"], &["n8n", "audit"], &["n8n", "audit", "--md"]]
    {
        let told = run(arguments);
        assert_eq!(told.code(), Some(1), "{arguments:?}: {}{}", told.stdout, told.stderr);
        for said in [
            "Can the old key go?  NO: ",
            copy,
            typed,
            "credential Record copy (6 nodes in FAQ bot, Sub: enrich customer) holds it",
        ] {
            assert!(told.stdout.contains(said), "{arguments:?}: {said}: {}", told.stdout);
        }
        assert!(!told.stdout.contains("████████████████████████"), "no full bar: {}", told.stdout);
    }
    let told = run(&["rotation"]).stdout;
    assert!(told.contains("███████████████████████▓  1 of 1 confirmed; an old key is still sent or held"), "{told}");
    let page = keyward.admin("/").text();
    assert!(
        page.contains(copy)
            && page.contains(&typed.replace("node Typed", "Node Typed"))
            && page.contains("<b>No</b>: "),
        "{page}"
    );
    let of_api = |path: &str| json_of(&keyward.admin(path).text());
    assert_eq!(of_api("/api/v1/sets/default/rotation")["done"], false);
    assert_eq!(of_api("/api/v1/sets")["sets"][0]["done"], false);
    let command = json_of(&run(&["n8n", "audit", "--json"]).stdout);
    for audits in [command, of_api("/api/v1/n8n")] {
        let audit = &audits["instances"][0];
        let found: Vec<_> = audit["faults"].as_array().unwrap().iter().map(|fault| fault["code"].clone()).collect();
        assert_eq!(found, ["typed_key", "stale_record"], "{audit}");
        assert_eq!((&audit["clean"], &audit["old_keys"][0]["can_go"]["answer"]), (&json!(false), &json!("no")));
    }
}

/// A sender that no audit of n8n's nodes shows sends the old key.
#[test]
fn no_audit_is_clean_beside_a_no() {
    let n8n = FakeN8n::start();
    let home = home(&n8n);
    assert_eq!(json_of(&audit(&home, &n8n, &["--json"]).stdout)["instances"][0]["clean"], true);
    home.write("key", UNLISTED);
    let upstream = FakeUpstream::accepting();
    let keyward = home.serve_for(&upstream).config(&config(&n8n)).start();
    let agent = [
        ("Authorization", &*format!("Bearer {CURRENT}")),
        ("User-Agent", "ai-sdk-openai/4.0.118 node.js/24"),
        ("X-N8N-Tag", EDITOR),
    ];
    eventually("the new key", || (ask_it(keyward.listen, "/v1/models", &agent).verdict() == "outdated").then_some(()));
    let audit = || {
        let admin = keyward.admin.to_string();
        home.keyward(&["n8n", "audit", "--json"]).config(&config(&n8n)).env("KEYWARD_ADMIN_LISTEN", &admin).run()
    };
    let told = eventually("no", || Some(audit()).filter(|told| told.code() == Some(1)));
    let told = &json_of(&told.stdout)["instances"][0];
    assert_eq!((&told["faults"], &told["clean"]), (&json!([]), &json!(false)), "{told}");
    let reason = &told["old_keys"][0]["can_go"]["reasons"][0]["text"];
    assert!(reason.as_str().unwrap().starts_with("n8n's Agents still send it"), "{reason}");
}

/// The tag as n8n's editor and its Agents send it.
const EDITOR: &str = "wf=editor;ex=__UNKNOWN__;node=none";

/// The command, towards that n8n.
fn audit(home: &Home, n8n: &FakeN8n, arguments: &[&str]) -> Finished {
    home.keyward(&[&["n8n", "audit"], arguments].concat()).config(&config(n8n)).run()
}

fn config(n8n: &FakeN8n) -> String {
    format!(
        "[keys.default]\ncurrent = {{ file = \"key\" }}\n[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"n8n-key\" }}\n",
        n8n.origin()
    )
}

/// A home with a store, since a keyward has run there and has seen one node.
fn home(n8n: &FakeN8n) -> Home {
    let home = Home::new();
    home.write("key", format!("{CURRENT}\n"));
    home.write("n8n-key", format!("{API_KEY}\n"));
    let upstream = FakeUpstream::taking(&[CURRENT]);
    let keyward = home.serve_for(&upstream).config(&config(n8n)).start();
    let headers = [("Authorization", &*format!("Bearer {CURRENT}")), ("X-N8N-Tag", "wf=w1;ex=7;node=n1")];
    assert_eq!(ask_it(keyward.listen, "/v1/models", &headers).verdict(), "current");
    assert_eq!(keyward.stop().code(), Some(0));
    home
}

#[test]
fn the_command_tells_what_to_do_next() {
    let n8n = FakeN8n::start();
    let typed = json!({ "id": "h1", "name": "Typed", "type": "n8n-nodes-base.httpRequest", "parameters": {
        "url": "https://api.openai.com/v1/models",
        "headerParameters": { "parameters": [{ "name": "Authorization", "value": format!("Bearer {OUTDATED}") }] } } });
    n8n.has_document(json!({ "id": "w2", "name": "Past", "active": true, "nodes": [old_model(), typed] }));
    let home = home(&n8n);
    let told = audit(&home, &n8n, &[]);
    assert_eq!(told.code(), Some(1), "{}", told.stderr);
    for line in [
        "STATE     WORKFLOW",
        "Fix now (3)",
        "* Take the key out of the node",
        "  - node Typed of workflow Past has key sk-",
    ] {
        assert!(told.stdout.contains(line), "{line}: {}", told.stdout);
    }
    let report = audit(&home, &n8n, &["--md"]);
    assert!(
        report.stdout.contains("\n## Fix now (3)\n")
            && report.stdout.contains("\n| Past | Old model | Main key | goes past keyward |"),
        "{}",
        report.stdout
    );
    let found = json_of(&audit(&home, &n8n, &["--json"]).stdout);
    assert_eq!((&found["instances"][0]["workflows"], &found["instances"][0]["clean"]), (&json!(1), &json!(false)));
    for said in [&told.stdout, &told.stderr, &report.stdout, &found.to_string()] {
        assert!(!said.contains(OUTDATED) && !said.contains(API_KEY), "{said}");
    }
}

#[test]
fn the_command_ends_well_where_nothing_is_wrong_and_says_what_it_cannot_tell() {
    let n8n = FakeN8n::start();
    let home = home(&n8n);
    let told = audit(&home, &n8n, &[]);
    assert_eq!((told.code(), told.stdout.contains("No node can speak to OpenAI.")), (Some(0), true), "{}", told.stdout);
    let wrong = |arguments: &[&str], code, said: &str| {
        let told = audit(&home, &n8n, arguments);
        assert_eq!((told.code(), told.stderr.contains(said)), (Some(code), true), "{}", told.stderr);
    };
    wrong(&["--n8n", "other"], 3, "there is no n8n \"other\"; there are: main");
    wrong(&["--set", "other"], 3, "there is no key set \"other\"; there are: default");
    wrong(&["--json", "--md"], 2, "cannot be used with");
    n8n.trouble(Some(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_vec()));
    wrong(&[], 3, "n8n `main` cannot be looked through");
}

#[test]
fn a_workflow_that_ran_by_itself_and_is_off_is_told() {
    let n8n = FakeN8n::start();
    let node = json!({ "id": "n1", "name": "Summary", "type": "n8n-nodes-base.openAi", "parameters": {},
        "credentials": { "openAiApi": { "id": "c1", "name": "Main key" } } });
    n8n.has_document(json!({ "id": "w1", "name": "Weekly report", "active": false, "nodes": [node] }));
    let home = home(&n8n);
    let told = audit(&home, &n8n, &[]);
    assert!(told.code() == Some(0) && told.stdout.contains("Look at next (1)"), "{}", told.stdout);
    n8n.has_execution(json!({ "id": "7", "mode": "webhook", "workflowId": "w1" }));
    let told = audit(&home, &n8n, &[]);
    let found = "workflow Weekly report is off, but ran by itself (webhook) at ";
    assert!(told.code() == Some(1) && told.stdout.contains(found), "{}", told.stdout);
}

#[test]
fn no_name_in_n8n_steers_a_terminal_or_a_report() {
    let n8n = FakeN8n::start();
    let name = format!("\x1b[2J\u{202e}| <img src=x> [a](b)\n# {}", "名".repeat(100_000));
    let mut node = old_model();
    node["name"] = name.clone().into();
    n8n.has_document(json!({ "id": "w2\x1b[31m/../x", "name": name, "active": true, "nodes": [node] }));
    let home = home(&n8n);
    for arguments in [&[][..], &["--md"], &["--json"]] {
        let told = audit(&home, &n8n, arguments).stdout;
        assert!(told.len() < 20_000 && !told.contains(['\x1b', '\u{202e}']), "{told}");
        assert!(arguments != ["--md"] || !told.replace("\\<", "").contains("<img"), "{told}");
    }
}
