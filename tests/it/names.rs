//! What n8n calls its workflows and nodes: fetched beside the traffic, used everywhere, kept over restarts, and harmless.

use std::net::{Ipv4Addr, TcpListener};

use keyward::keys::rules::Policy;
use keyward::net::origin::{Scheme, Upstream};
use serde_json::Value;

use crate::support::{API_KEY, Answering, CURRENT, FakeN8n, FakeUpstream, TestProxy, UNLISTED, eventually};

/// A keyward that knows the names of that n8n.
fn knowing(upstream: &FakeUpstream, n8n: &FakeN8n) -> TestProxy {
    let proxy = TestProxy::with(upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY).start();
    eventually("the names", || (proxy.metric("keyward_n8n_up") == 1).then_some(()));
    proxy
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[track_caller]
fn tagged(proxy: &TestProxy, tag: &str) -> Value {
    let answer = proxy.request("POST", "/v1/chat/completions").key(CURRENT).header("X-N8N-Tag", tag).send();
    proxy.line(&answer)
}

#[test]
fn a_line_names_workflow_node_and_credential_and_says_where_they_are() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    let proxy = knowing(&upstream, &n8n);
    let line = tagged(&proxy, "wf=w1;ex=7;node=n1;name=Claimed");
    assert_eq!(line["workflow_name"], "Weekly report", "n8n's word counts more than the caller's");
    assert_eq!((&line["node_name"], &line["credential"]), (&"Summary".into(), &"Main key".into()));
    assert_eq!(line["instance"], "main");
    assert_eq!(line["link"], format!("{}/workflow/w1/executions/7", n8n.origin()));
    let row = json(&proxy.admin("/api/v1/bindings").text())["bindings"][0].clone();
    assert_eq!(row["who"], "workflow w1 (Weekly report), node n1 (Summary)");
    assert_eq!(row["link"], format!("{}/workflow/w1/n1", n8n.origin()));
    assert_eq!((&row["node_name"], &row["credential"]), (&"Summary".into(), &"Main key".into()));
}

#[test]
fn a_refusal_names_workflow_and_node() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY);
    let proxy = proxy.policy(Policy::Enforce, |_| {}).start();
    eventually("the names", || (proxy.metric("keyward_n8n_up") == 1).then_some(()));
    let tag = "wf=w1;ex=7;node=n1";
    let answer = proxy.request("POST", "/v1/chat/completions").key(UNLISTED).header("X-N8N-Tag", tag).send();
    assert_eq!(answer.status, 401);
    let message = json(&answer.text())["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Workflow Weekly report, node Summary"), "{message}");
    assert!(proxy.line(&answer)["message"].as_str().unwrap().contains("Workflow Weekly report, node Summary"));
}

#[test]
fn who_is_unknown_is_asked_for_at_once_and_in_vain_only_once() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    let proxy = knowing(&upstream, &n8n);
    n8n.has("w2", "New one", &[("n1", "Chat")]);
    assert!(tagged(&proxy, "wf=w2;ex=1;node=n1").get("node_name").is_none());
    eventually("the name", || (tagged(&proxy, "wf=w2;ex=1;node=n1")["node_name"] == "Chat").then_some(()));
    let asked = n8n.asked();
    assert_eq!(asked.iter().filter(|path| path.starts_with("workflows/")).count(), 1, "{asked:?}");
    assert_eq!(asked.iter().filter(|path| path.starts_with("workflows?")).count(), 1, "{asked:?}");
    for made_up in 0..50 {
        tagged(&proxy, &format!("wf=no{made_up};ex=1;node=n1"));
    }
    let of_workflows = |asked: &[String]| asked.iter().filter(|path| path.starts_with("workflows")).count();
    assert_eq!(of_workflows(&n8n.asked()), of_workflows(&asked), "made-up ids wait for their turn");
}

#[test]
fn with_n8n_down_there_are_the_names_of_before_and_ids_and_traffic() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("keyward.db");
    let described = || TestProxy::with(&upstream).current_key(CURRENT).store(&store).fingerprint_key([7; 32]);
    let first = described().n8n("main", n8n.origin(), API_KEY).start();
    eventually("the names in the store", || {
        keyward::ledger::names::read(&store, "main").is_ok_and(|names| names.contains_key("w1")).then_some(())
    });
    first.end();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let gone = Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port };
    let second = described().n8n("main", gone, API_KEY).start();
    let line = tagged(&second, "wf=w1;ex=7;node=n1");
    assert_eq!((&line["workflow_name"], &line["node_name"]), (&"Weekly report".into(), &"Summary".into()));
    assert_eq!(tagged(&second, "wf=w9;ex=7;node=n1")["workflow_id"], "w9");
    let status = eventually("the trouble", || {
        let status = json(&second.admin("/api/v1/status").text())["n8n"][0].clone();
        (status["state"] == "troubled").then_some(status)
    });
    assert!(status["trouble"].as_str().unwrap().contains("is it up"), "{status}");
    assert_eq!(second.metric("keyward_n8n_up"), 0);
    assert_eq!(second.metric("keyward_n8n_workflows"), 1);
}

#[test]
fn a_key_that_is_refused_is_told_and_another_one_taken_at_once() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has("w1", "Weekly report", &[]);
    let builder = TestProxy::with(&upstream).current_key(CURRENT);
    let proxy = builder.n8n("main", n8n.origin(), "eyJhbGciOiJIUzI1NiJ9.another-canary-key").start();
    let state = || json(&proxy.admin("/api/v1/status").text())["n8n"][0].clone();
    let status = eventually("the trouble", || Some(state()).filter(|state| state["state"] == "troubled"));
    assert!(status["trouble"].as_str().unwrap().contains("refuses the API key (401)"), "{status}");
    assert!(!status.to_string().contains("canary"));
    proxy.swap("key-1", API_KEY);
    eventually("the names", || (state()["state"] == "ok").then_some(()));
    assert_eq!(state()["trouble"], Value::Null);
}

#[test]
fn no_name_does_harm_wherever_it_is_shown() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    let long = format!("<script>\x1b[2J\r\n\u{202e}evil\u{2066}{}", "x".repeat(100_000));
    n8n.has("w1", &long, &[("n1", &long), ("n2", UNLISTED)]);
    n8n.has_document(serde_json::json!({ "id": 7, "name": ["no", "text"], "nodes": { "no": "list" } }));
    let proxy = knowing(&upstream, &n8n);
    let line = tagged(&proxy, "wf=w1;ex=7;node=n1");
    let name = line["node_name"].as_str().unwrap();
    assert!(name.starts_with("<script>\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}evil\u{fffd}xxx"), "{name}");
    assert_eq!(name.chars().count(), 128);
    assert!(!proxy.log_text().contains(['\x1b', '\u{202e}']));
    let answer = proxy.admin("/api/v1/bindings").text();
    assert!(answer.len() < 10_000 && !answer.contains(['\x1b', '\u{202e}', '\u{2066}']), "{answer}");
    assert!(!tagged(&proxy, "wf=w1;ex=7;node=n2").to_string().contains(UNLISTED));
}

#[test]
fn an_n8n_in_any_trouble_holds_no_request_up() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    for trouble in [
        Answering::json(200, "{\"data\":[{"),
        Answering::with(200, "Content-Type: text/html\r\n", "<html></html>"),
        Answering::with(302, "Location: http://127.0.0.1:1/\r\n", ""),
        Answering::json(500, r#"{"message":"canary"}"#),
        Answering::json(200, r#"{"data":{"w1":"canary"}}"#),
    ] {
        n8n.trouble(Some(trouble));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY).start();
        let line = tagged(&proxy, "wf=w1;ex=7;node=n1");
        assert_eq!((&line["verdict"], &line["status"]), (&"current".into(), &200.into()));
        eventually("the trouble", || {
            (json(&proxy.admin("/api/v1/status").text())["n8n"][0]["state"] == "troubled").then_some(())
        });
        assert!(!proxy.log_text().contains(API_KEY));
    }
}
