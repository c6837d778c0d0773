//! keyward presses n8n's test of each credential record and reads the key that arrives; its own presses are no use of a key,
//! and what a person tests meanwhile is not taken for one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyward::keys::rules::Policy;
use keyward::ledger::look::{Look, Pressed};
use serde_json::Value;

use crate::support::{API_KEY, Answering, CURRENT, Client, FakeN8n, FakeUpstream, OUTDATED, TestProxy, eventually};

const CHANGED: &str = "2026-11-23T07:00:00.000Z";

/// An upstream that takes the current key alone.
fn upstream() -> FakeUpstream {
    FakeUpstream::scripted(|visit| {
        let is_taken = visit.head.headers.iter().any(|(_, value)| value.ends_with(CURRENT));
        visit.answer(&if is_taken {
            Answering::json(200, r#"{"object":"list","data":[]}"#)
        } else {
            Answering::json(401, r#"{"error":{"code":"invalid_api_key","message":"no"}}"#)
        });
    })
}

fn started(upstream: &FakeUpstream, n8n: &FakeN8n) -> TestProxy {
    let builder = TestProxy::with(upstream).current_key(CURRENT).previous_key(OUTDATED);
    builder.n8n("main", n8n.origin(), API_KEY).start()
}

fn look(proxy: &TestProxy) -> Option<Arc<Look>> {
    proxy.server().ledger().looks().pop()
}

/// What the press of a record gave, once it was pressed.
#[track_caller]
fn pressed(proxy: &TestProxy, record: &str) -> Pressed {
    eventually("a press", || look(proxy)?.records.get(record)?.pressed)
}

fn hint(pressed: &Pressed) -> Option<String> {
    pressed.key.map(|key| key.to_string())
}

fn ends(key: &str) -> &str {
    &key[key.len() - 4..]
}

/// What a person sends who presses the test button of a record that holds that key.
fn test_by_hand(keyward: SocketAddr, key: &str) {
    let mut client = Client::connect(keyward);
    client.send(format!(
        "GET /v1/models HTTP/1.1\r\nAccept: application/json, text/plain, */*\r\nAuthorization: Bearer {key}\r\n\
         OpenAI-Organization: \r\nUser-Agent: n8n\r\nHost: keyward\r\nConnection: close\r\n\r\n"
    ));
    client.answer();
}

/// The key that each binding has used last, by its hint. One that was never seen stays until the ledger tidies up.
fn used(proxy: &TestProxy) -> Vec<String> {
    let bindings = proxy.admin("/api/v1/bindings").text();
    let bindings: Value = serde_json::from_str(&bindings).unwrap();
    let seen = bindings["bindings"].as_array().unwrap().iter().filter(|binding| binding["sightings"] != 0);
    seen.map(|binding| binding["hint"].to_string()).collect()
}

fn n8n_of(proxy: &TestProxy) -> Value {
    serde_json::from_str::<Value>(&proxy.admin("/api/v1/status").text()).unwrap()["n8n"][0].clone()
}

/// Looks again, as when it is time to.
fn look_again(proxy: &TestProxy) {
    proxy.swap("key-2", API_KEY);
}

#[test]
fn each_record_is_pressed_and_the_key_that_it_holds_is_known() {
    let (upstream, n8n) = (upstream(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = started(&upstream, &n8n);
    n8n.has_record("forgotten", CHANGED, proxy.address(), OUTDATED);
    n8n.has_record("mended", CHANGED, proxy.address(), CURRENT);
    n8n.has_record("untagged", CHANGED, proxy.address(), OUTDATED);
    n8n.tags("untagged", None);
    n8n.trouble(None);
    look_again(&proxy);
    for (record, key) in [("forgotten", OUTDATED), ("mended", CURRENT), ("untagged", OUTDATED)] {
        let hint = hint(&pressed(&proxy, record)).expect("a key");
        assert!(hint.contains(&format!("…{} ", ends(key))), "{record}: {hint}");
    }
    assert_eq!(used(&proxy), Vec::<String>::new(), "a press is no use of a key");
    let status: Value = serde_json::from_str(&proxy.admin("/api/v1/status").text()).unwrap();
    assert_eq!(status["incidents"].as_array().map_or(0, Vec::len), 0, "{status}");
    // Two of a good record, and four of each whose key is refused.
    let lines = proxy.lines_of(10);
    let count = |record: &str| lines.iter().filter(|line| line["pressed"] == record).count();
    assert_eq!([count("mended"), count("forgotten"), count("untagged")], [2, 4, 4]);
    assert_eq!(n8n_of(&proxy)["lacks"], Value::Null);
}

#[test]
fn a_record_is_pressed_again_when_it_or_the_current_key_was_changed_and_not_else() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = started(&upstream, &n8n);
    n8n.has_record("r", CHANGED, proxy.address(), OUTDATED);
    n8n.trouble(None);
    look_again(&proxy);
    let first = pressed(&proxy, "r");
    let presses = || n8n.asked().iter().filter(|path| path.ends_with("/test")).count();
    assert_eq!(presses(), 2);

    n8n.has_record("r", "2026-11-23T07:30:00.000Z", proxy.address(), CURRENT);
    proxy.advance(Duration::from_mins(2));
    look_again(&proxy);
    let second = eventually("another press", || look(&proxy)?.records["r"].pressed.filter(|now| now.at > first.at));
    assert!(hint(&second).unwrap().contains(ends(CURRENT)), "{second:?}");
    assert_eq!(presses(), 4);

    proxy.advance(Duration::from_mins(2));
    let looked = look(&proxy).unwrap().at;
    look_again(&proxy);
    eventually("another look", || (look(&proxy)?.at > looked).then_some(()));
    proxy.rotate(crate::support::UNLISTED);
    proxy.advance(Duration::from_mins(2));
    look_again(&proxy);
    let third =
        eventually("a press for the new key", || look(&proxy)?.records["r"].pressed.filter(|now| now.at > second.at));
    assert!(hint(&third).unwrap().contains(ends(CURRENT)), "{third:?}");
    assert_eq!(presses(), 6, "nothing was pressed in between");
}

#[test]
fn what_a_person_tests_in_that_very_moment_is_not_lost_and_proves_nothing() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = started(&upstream, &n8n);
    n8n.has_record("r", CHANGED, proxy.address(), CURRENT);
    let (keyward, once) = (proxy.address(), AtomicBool::new(true));
    n8n.meanwhile(move |_| {
        if once.swap(false, Ordering::Relaxed) {
            test_by_hand(keyward, OUTDATED);
        }
    });
    n8n.trouble(None);
    look_again(&proxy);
    assert_eq!(pressed(&proxy, "r").key, None, "it cannot be told which one it was");
    let used = eventually("the uses", || Some(used(&proxy)).filter(|used| used.len() == 2));
    assert!(used.iter().any(|keys| keys.contains(ends(OUTDATED))), "the old key was used by a person: {used:?}");
    // It is tried again, when it is time to.
    proxy.advance(Duration::from_mins(5));
    look_again(&proxy);
    eventually("a key", || look(&proxy)?.records["r"].pressed?.key);
}

#[test]
fn a_record_that_leads_elsewhere_takes_no_persons_key_for_its_own() {
    let (upstream, elsewhere, n8n) = (FakeUpstream::accepting(), FakeUpstream::accepting(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = started(&upstream, &n8n);
    n8n.has_record("r", CHANGED, elsewhere.address(), OUTDATED);
    let (keyward, once) = (proxy.address(), AtomicBool::new(true));
    n8n.meanwhile(move |_| {
        if once.swap(false, Ordering::Relaxed) {
            test_by_hand(keyward, CURRENT);
        }
    });
    n8n.trouble(None);
    look_again(&proxy);
    assert_eq!(pressed(&proxy, "r").key, None, "the second press gives none");
    assert_eq!(elsewhere.received().len(), 2);
    assert_eq!(used(&proxy).len(), 1);
}

#[test]
fn what_cannot_be_a_tests_counts_while_one_is_pressed() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = started(&upstream, &n8n);
    n8n.has_record("r", CHANGED, proxy.address(), CURRENT);
    let keyward = proxy.address();
    n8n.meanwhile(move |_| {
        let mut client = Client::connect(keyward);
        for (method, target, tag, agent) in [
            ("GET", "/v1/models", "wf=w1;ex=7;node=n1", "n8n"),
            ("GET", "/v1/models", "wf=editor;ex=__UNKNOWN__;node=;inst=other", "n8n"),
            ("GET", "/v1/files", "wf=editor;ex=__UNKNOWN__;node=", "n8n"),
            ("POST", "/v1/models", "wf=editor;ex=__UNKNOWN__;node=", "n8n"),
            ("GET", "/v1/models", "wf=editor;ex=__UNKNOWN__;node=", "curl/8"),
        ] {
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: keyward\r\nAccept: application/json, text/plain, */*\r\n\
                 User-Agent: {agent}\r\nAuthorization: Bearer {OUTDATED}\r\nX-N8N-Tag: {tag}\r\nContent-Length: 0\r\n\r\n"
            ));
            client.answer();
        }
    });
    n8n.trouble(None);
    look_again(&proxy);
    assert!(hint(&pressed(&proxy, "r")).unwrap().contains(ends(CURRENT)));
    let lines = proxy.lines_of(12);
    assert_eq!(lines.iter().filter(|line| line["pressed"] == "r").count(), 2, "{lines:?}");
    assert_eq!(used(&proxy).len(), 3, "a node, the editor, and the editor of another n8n");
}

#[test]
fn a_refusal_by_keyward_itself_shows_the_key_as_well() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let builder = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED).grace(Duration::ZERO);
    let proxy = builder.policy(Policy::Enforce, |_| {}).n8n("main", n8n.origin(), API_KEY).start();
    n8n.has_record("r", CHANGED, proxy.address(), OUTDATED);
    n8n.trouble(None);
    look_again(&proxy);
    assert!(hint(&pressed(&proxy, "r")).unwrap().contains(ends(OUTDATED)));
    assert_eq!(upstream.received().len(), 0);
    assert_eq!(used(&proxy), Vec::<String>::new());
}

#[test]
fn a_record_whose_test_fails_in_n8n_does_not_keep_the_others_from_being_pressed() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
    let proxy = started(&upstream, &n8n);
    n8n.has_record("a", CHANGED, proxy.address(), OUTDATED);
    n8n.has_record("b", CHANGED, proxy.address(), OUTDATED);
    n8n.fails_to_test("a");
    n8n.trouble(None);
    look_again(&proxy);
    assert!(pressed(&proxy, "b").key.is_some());
    assert_eq!(pressed(&proxy, "a").key, None);
    assert_eq!(n8n_of(&proxy)["lacks"], Value::Null);
}

/// What the admin listener says of a press that another program makes.
fn tell(proxy: &TestProxy, record: &str, said: &str) -> Value {
    let path = format!("/api/v1/n8n/main/credentials/{record}/press{said}");
    let bearer = proxy.admin_bearer();
    let answer = proxy.ask_admin("POST", &path, &[("Authorization", &bearer)]);
    serde_json::from_str(&answer.text()).unwrap()
}

#[test]
fn a_test_that_a_program_tells_of_is_no_use_of_a_key_and_any_other_is() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    let builder = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED);
    let proxy = builder.n8n("main", n8n.origin(), API_KEY).without_presses().start();
    assert_eq!(tell(&proxy, "r", "")["begun"], true);
    assert_eq!(tell(&proxy, "other", "")["begun"], false, "one at a time");
    let is_in_flight = || proxy.admin("/api/v1/sets/default/rotation").text().contains("\"in_flight\"");
    assert!(!is_in_flight());
    test_by_hand(proxy.address(), OUTDATED);
    assert_eq!(tell(&proxy, "other", "?said=ok")["key"], Value::Null, "it is not that one");
    assert!(is_in_flight(), "what is held back is known of no binding yet");
    let ended = tell(&proxy, "r", "?said=ok");
    assert!(!is_in_flight());
    assert_eq!(ended["verdict"], "outdated");
    let key = ended["key"].clone();
    assert_eq!(proxy.lines_of(1)[0]["pressed"], "r");
    assert!(key.as_str().unwrap().starts_with(proxy.lines()[0]["fingerprint"].as_str().unwrap()));
    assert_eq!(used(&proxy), Vec::<String>::new());
    // What n8n says of it is not what came here: it was another's.
    assert_eq!(tell(&proxy, "r", "")["begun"], true);
    test_by_hand(proxy.address(), OUTDATED);
    let ended = tell(&proxy, "r", "?said=error");
    assert_eq!((&ended["key"], &ended["verdict"]), (&Value::Null, &"outdated".into()));
    assert_eq!(used(&proxy).len(), 1);
    // The test went elsewhere.
    assert_eq!(tell(&proxy, "r", "")["begun"], true);
    assert_eq!(tell(&proxy, "r", "?said=ok")["verdict"], Value::Null);
    assert_eq!(tell(&proxy, "no%20id", "")["status"], 404);
}

#[test]
fn nothing_is_pressed_that_must_not_be() {
    let (upstream, n8n) = (FakeUpstream::accepting(), FakeN8n::start());
    n8n.has_record("r", CHANGED, upstream.address(), CURRENT);
    let has_looked = |proxy: &TestProxy| eventually("a look", || look(proxy).map(drop));
    let unwanted = TestProxy::with(&upstream).current_key(CURRENT).n8n("main", n8n.origin(), API_KEY).without_presses();
    let unwanted = unwanted.start();
    has_looked(&unwanted);
    let learning = TestProxy::with(&upstream).current_key(CURRENT).learning_set("apart");
    let learning = learning.n8n("main", n8n.origin(), API_KEY).start();
    has_looked(&learning);
    std::thread::sleep(Duration::from_millis(200));
    assert!(n8n.asked().iter().all(|path| !path.ends_with("/test")), "{:?}", n8n.asked());
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_missing_scope_and_an_old_release_are_gone_on_without_and_told() {
    let upstream = FakeUpstream::accepting();
    let n8n = FakeN8n::start();
    n8n.has_record("r", CHANGED, upstream.address(), CURRENT);
    n8n.forbids("credentials/");
    n8n.forbids("executions");
    let proxy = started(&upstream, &n8n);
    let lacks = eventually("the doubt", || {
        let lacks = n8n_of(&proxy)["lacks"].as_str().map(str::to_owned)?;
        lacks.contains("/test").then_some(lacks)
    });
    for scope in [
        "needs the scope execution:list",
        "credentials/r/test to this API key (403): it needs the scope credential:read",
    ] {
        assert!(lacks.contains(scope), "{lacks}");
    }
    assert_eq!(n8n_of(&proxy)["state"], "ok");

    let first = FakeN8n::of_first_release();
    first.has("w1", "Weekly report", &[("n1", "Summary")]);
    first.has_execution(serde_json::json!({ "id": "7", "workflowId": "w1", "startedAt": "2026-11-23T07:59:00.000Z",
        "stoppedAt": "2026-11-23T07:59:01.000Z" }));
    let proxy = started(&upstream, &first);
    let look = eventually("a look", || look(&proxy));
    assert_eq!((look.lists_records, look.records.len(), look.executions.len()), (false, 0, 1));
    let lacks = n8n_of(&proxy)["lacks"].as_str().unwrap().to_owned();
    assert!(lacks.contains("does not list the executions that run or wait"), "{lacks}");
    assert_eq!(n8n_of(&proxy)["state"], "ok");
}
