//! The executions that n8n lists, as the ledger is told of them: numbers, those that wait or run with the records of their
//! snapshots, and what an n8n that is slow, large or hostile costs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keyward::ledger::look::{Look, Unfinished};
use serde_json::{Value, json};

use crate::support::{API_KEY, Answering, CURRENT, FakeN8n, FakeUpstream, TestProxy, eventually};

const PROMPT: &str = "canary: a prompt of a customer";

fn proxy(upstream: &FakeUpstream, n8n: &FakeN8n) -> TestProxy {
    TestProxy::with(upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY).start()
}

/// An execution with its snapshot, whose nodes name those records.
fn execution(id: &str, status: &str, began: &str, records: &[&str]) -> Value {
    let node =
        |record: &&str| json!({ "name": record, "credentials": { "openAiApi": { "id": record, "name": "a name" } } });
    let ended = (status != "running").then_some("2026-11-23T07:59:30.000Z");
    json!({
        "id": id, "status": status, "workflowId": "w1", "startedAt": began, "stoppedAt": ended,
        "data": { "resultData": { "runData": { "a": [PROMPT] } } },
        "workflowData": { "nodes": records.iter().map(node).collect::<Vec<_>>() },
    })
}

fn look(proxy: &TestProxy) -> Option<Arc<Look>> {
    proxy.server().ledger().looks().pop()
}

#[track_caller]
fn first_look(proxy: &TestProxy) -> Arc<Look> {
    eventually("a look", || look(proxy))
}

/// The next look, a minute later.
#[track_caller]
fn next_look(proxy: &TestProxy) -> Arc<Look> {
    proxy.advance(Duration::from_mins(1));
    let before = look(proxy).unwrap().at;
    proxy.swap("key-1", API_KEY);
    eventually("another look", || look(proxy).filter(|look| look.at > before))
}

fn unfinished<'l>(look: &'l Look, id: &str) -> &'l Unfinished {
    look.unfinished.iter().find(|one| &*one.execution == id).unwrap()
}

fn numbers(look: &Look) -> Vec<u64> {
    look.executions.keys().copied().collect()
}

fn records(ids: &[&str]) -> BTreeSet<Box<str>> {
    ids.iter().map(|id| Box::from(*id)).collect()
}

#[test]
fn what_waits_and_what_runs_is_known_with_the_records_of_its_snapshot() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has_execution(execution("1", "waiting", "2026-11-20T07:59:00.000Z", &["c1", "c2"]));
    n8n.has_execution(execution("2", "success", "2026-11-23T07:59:00.000Z", &["c1"]));
    let mut inline = execution("3", "running", "2026-11-23T07:59:10.000Z", &["c3"]);
    let nodes = inline["workflowData"]["nodes"].as_array_mut().unwrap();
    nodes.push(json!({ "disabled": true, "credentials": { "openAiApi": { "id": "off" } } }));
    nodes.push(json!({ "credentials": { "httpHeaderAuth": { "id": "other" } } }));
    nodes
        .push(json!({ "parameters": { "inlineAgent": { "config": { "credential": "c4", "instructions": PROMPT } } } }));
    n8n.has_execution(inline);
    let proxy = proxy(&upstream, &n8n);
    let look = first_look(&proxy);
    assert_eq!(numbers(&look), [1, 2, 3]);
    assert!(look.executions[&2].ended.is_some(), "it has ended");
    assert_eq!((look.executions[&1].ended, look.executions[&3].ended), (None, None));
    assert_eq!(look.unfinished.len(), 2);
    let (waiting, running) = (unfinished(&look, "1"), unfinished(&look, "3"));
    assert_eq!((waiting.waits, &waiting.records), (true, &Some(records(&["c1", "c2"]))));
    assert_eq!((running.waits, &running.records), (false, &Some(records(&["c3", "c4"]))));
    assert_eq!(&*waiting.workflow, "w1");
    assert!(!format!("{look:?}").contains("canary") && !proxy.log_text().contains("canary"));
}

#[test]
fn a_snapshot_is_asked_for_once_and_what_has_ended_waits_no_longer() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has_execution(execution("7", "waiting", "2026-11-23T07:59:00.000Z", &["c1"]));
    n8n.has_execution(execution("8", "running", "2026-11-23T07:59:00.000Z", &["c1"]));
    let proxy = proxy(&upstream, &n8n);
    first_look(&proxy);
    let look = next_look(&proxy);
    assert_eq!(unfinished(&look, "7").records, Some(records(&["c1"])));
    let asked = || n8n.asked().iter().filter(|path| path.starts_with("executions/")).count();
    assert_eq!(asked(), 2);
    n8n.forgets_executions();
    // It was not saved, and so has no end that n8n would tell; a newer one came first.
    n8n.has_execution(execution("9", "success", "2026-11-23T08:00:30.000Z", &["c1"]));
    n8n.has_execution(execution("7", "success", "2026-11-23T07:59:00.000Z", &["c1"]));
    let look = next_look(&proxy);
    assert_eq!((numbers(&look), look.unfinished.len()), (vec![7, 8, 9], 0));
    assert!(look.executions.values().all(|listed| listed.ended.is_some()), "{:?}", look.executions);
}

#[test]
fn one_that_enters_the_list_below_newer_ones_is_seen() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::of_first_release());
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    n8n.has_execution(execution("100", "success", "2026-11-23T07:59:00.000Z", &[]));
    let proxy = proxy(&upstream, &n8n);
    assert_eq!(numbers(&first_look(&proxy)), [100]);
    n8n.has_execution(execution("102", "success", "2026-11-23T08:00:10.000Z", &[]));
    assert_eq!(numbers(&next_look(&proxy)), [100, 102]);
    next_look(&proxy);
    assert_eq!(numbers(&next_look(&proxy)), [100, 102], "it still runs");
    n8n.has_execution(execution("101", "success", "2026-11-23T08:00:00.000Z", &[]));
    assert_eq!(numbers(&next_look(&proxy)), [100, 101, 102]);
}

#[test]
fn numbers_that_begin_anew_are_seen() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has_execution(execution("5000", "success", "2026-11-23T07:59:00.000Z", &[]));
    let proxy = proxy(&upstream, &n8n);
    first_look(&proxy);
    next_look(&proxy);
    n8n.forgets_executions();
    n8n.has_execution(execution("1", "success", "2026-11-23T08:01:00.000Z", &[]));
    next_look(&proxy);
    assert_eq!(numbers(&next_look(&proxy)), [1, 5000]);
}

/// Answers the lists of executions by that, and all else as an n8n without workflows.
fn n8n_with(script: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> FakeUpstream {
    FakeUpstream::scripted(move |visit| {
        let target = visit.head.line.split(' ').nth(1).unwrap().trim_start_matches("/api/v1/").to_owned();
        match script(&target) {
            Some(answer) => visit.answer(&answer),
            None if target.starts_with("executions") => drop(visit.wait_until_left()),
            None => visit.answer(&Answering::json(200, r#"{"data":[]}"#)),
        }
    })
}

#[test]
fn no_more_is_read_than_a_day_back_and_ten_pages() {
    let page = |target: &str| {
        let first: u64 = target.split("cursor=").nth(1).map_or(1_000_000, |cursor| cursor.parse().unwrap());
        let one = |id: u64| {
            json!({ "id": id.to_string(), "workflowId": "w1", "status": "success",
            "startedAt": "2026-11-23T07:00:00.000Z", "stoppedAt": "2026-11-23T07:00:01.000Z" })
        };
        let data: Vec<_> = (first - 249..=first).rev().map(one).collect();
        Answering::json(200, json!({ "data": data, "nextCursor": (first - 250).to_string() }).to_string())
    };
    let n8n = n8n_with(move |target| match target {
        list if list.starts_with("executions?limit") => Some(page(list)),
        list if list.starts_with("executions?") => Some(Answering::json(200, r#"{"data":[]}"#)),
        _ => None,
    });
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY).start();
    let look = first_look(&proxy);
    assert_eq!((look.executions.len(), look.executions.first_key_value().unwrap().0), (2500, &997_501));
    let asked = n8n.received().iter().filter(|received| received.head.line.contains("executions?limit")).count();
    assert_eq!(asked, 10);
}

#[test]
fn an_n8n_that_sends_odd_executions_is_gone_on_with() {
    let snapshot = "x".repeat(17 << 20);
    let n8n = n8n_with(move |target| {
        Some(match target {
            "executions/1?includeData=true" => Answering::json(200, format!(r#"{{"id":"1","data":"{snapshot}"}}"#)),
            "executions/2?includeData=true" => Answering::json(200, r#"{"id":"2","workflowData":["no"]}"#),
            "executions/3?includeData=true" => Answering::json(200, "{"),
            "executions/12?includeData=true" => Answering::json(404, r#"{"message":"Not Found"}"#),
            list if list.contains("status=waiting") => {
                let one = |id: Value| json!({ "id": id, "workflowId": "w1", "status": "waiting", "startedAt": "2026-11-23T07:00:00.000Z" });
                let data =
                    [one("1".into()), one(2.into()), one("3".into()), one("../x y".into()), one(Value::Null), json!(7)];
                Answering::json(200, json!({ "data": data }).to_string())
            }
            list if list.starts_with("executions?") => {
                let data = [
                    json!({ "id": "-3", "workflowId": "w1", "status": "success", "startedAt": "2026-11-23T07:00:00.000Z" }),
                    json!({ "id": "18446744073709551615", "workflowId": "<script>", "status": "success", "startedAt": "2026-11-23T07:00:00.000Z" }),
                    json!({ "id": "12", "workflowId": "w1", "status": ["success"], "startedAt": 7, "stoppedAt": {} }),
                    json!({ "id": "11", "workflowId": "w1", "status": "error", "startedAt": "2026-11-23T07:00:00.000Z" }),
                ];
                Answering::json(200, json!({ "data": data }).to_string())
            }
            _ => return None,
        })
    });
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY).start();
    let look = first_look(&proxy);
    assert!(look.executions.contains_key(&11) && !look.executions.contains_key(&u64::MAX), "{:?}", look.executions);
    let ids: Vec<_> = look.unfinished.iter().filter(|one| one.waits).map(|one| &*one.execution).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert!(look.unfinished.iter().all(|one| one.records.is_none()), "{:?}", look.unfinished);
    next_look(&proxy);
    let asked = n8n.received().iter().filter(|received| received.head.line.contains("executions/1?")).count();
    assert_eq!(asked, 1, "what is too large is not asked for again");
}

#[test]
fn with_the_executions_out_of_reach_the_rest_is_known() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    n8n.has_execution(execution("2", "waiting", "2026-11-23T07:59:00.000Z", &["c1"]));
    let proxy = proxy(&upstream, &n8n);
    assert_eq!(first_look(&proxy).unfinished.len(), 1);
    n8n.forbids("executions");
    let look = next_look(&proxy);
    assert_eq!((look.unfinished.len(), look.workflows.len()), (1, 1), "what was known stays");
    assert_eq!(unfinished(&look, "2").records, Some(records(&["c1"])));
    let status: Value = serde_json::from_str(&proxy.admin("/api/v1/status").text()).unwrap();
    assert_eq!(status["n8n"][0]["state"], "ok");
    assert!(status["n8n"][0]["lacks"].as_str().unwrap().contains("needs the scope execution:list"), "{status}");
}
