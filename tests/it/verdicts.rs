//! What a credential is: every verdict, judged end to end, with what the answer and the log say of it.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answering, CURRENT, FakeUpstream, Gate, NEXT, OUTDATED, TestProxy, UNLISTED, Visit, eventually};

const GRACE: Duration = Duration::from_hours(1);

const STAGING: &str = "sk-proj-staging-0123456789abcdefgStAg";

#[test]
fn each_key_is_what_it_is_to_its_set() {
    let (_upstream, proxy) = rotated();
    check(&proxy, CURRENT, "current", "ok");
    check(&proxy, NEXT, "next", "ok");
    check(&proxy, OUTDATED, "outdated", "stale_binding");
    check(&proxy, UNLISTED, "unknown", "unlisted_key");
}

#[test]
fn an_outdated_key_is_a_warning_in_its_grace_and_an_error_after_it() {
    let (_upstream, proxy) = rotated();
    let tagged = proxy.get("/v1/models").key(OUTDATED).header("X-N8N-Tag", "wf=w1;node=n1;name=Weekly%20report");
    let line = tagged.logged();
    assert_eq!((&line["diagnosis"], &line["level"]), (&"stale_binding".into(), &"warn".into()));
    let message = line["message"].as_str().unwrap();
    assert!(
        message.starts_with("Workflow Weekly report, node n1 (from 127.0.0.1) still sends key sk-proj-…OuTd"),
        "{message}"
    );
    assert!(message.contains("still works for now") && message.contains("2026-11-23T08:00:00Z"), "{message}");
    assert!(line["remedy"].as_str().unwrap().starts_with("1. Open the node in n8n"), "{line}");

    let last_second = Duration::from_secs(1);
    proxy.advance(GRACE.saturating_sub(last_second));
    assert_eq!(tagged.logged()["level"], "warn");
    proxy.advance(last_second);
    let line = tagged.logged();
    assert_eq!((&line["verdict"], &line["level"]), (&"outdated".into(), &"error".into()));
    assert!(line["message"].as_str().unwrap().contains("its grace is over, though upstream still takes it"), "{line}");
}

#[test]
fn a_grace_ends_in_the_middle_of_a_connection_too() {
    let (_upstream, proxy) = rotated();
    let request = proxy.get("/v1/models").key(OUTDATED).bytes();
    let mut client = proxy.connect();
    client.send(&request);
    assert_eq!(proxy.line(&client.answer())["level"], "warn");
    proxy.advance(GRACE);
    client.send(&request);
    assert_eq!(proxy.line(&client.answer())["level"], "error");
}

#[test]
fn a_stale_key_that_upstream_refuses_is_an_error_even_in_its_grace() {
    let upstream = FakeUpstream::answering(refusal("invalid_api_key"));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED).grace(GRACE).start();
    let line = proxy.get("/v1/models").key(OUTDATED).logged();
    assert_eq!((&line["diagnosis"], &line["level"]), (&"stale_binding".into(), &"error".into()));
    assert_eq!((&line["upstream_code"], &line["status"]), (&"invalid_api_key".into(), &401.into()));
}

#[test]
fn the_log_line_has_every_field_and_no_key() {
    let (_upstream, proxy) = rotated();
    let tag = "wf=w1;ex=716;node=n1;name=W%C3%B6rkflow";
    let request = proxy.post("/v1/responses?stream=true").key(CURRENT).header("X-N8N-Tag", tag);
    let line = request.header("User-Agent", "OpenAI/JS 4.104.0").header("X-Stainless-Lang", "js").body("{}").logged();
    let expected = json!({
        "timestamp": "2026-11-23T08:00:00.000Z", "level": "info", "event": "exchange", "set": "default",
        "verdict": "current", "diagnosis": "ok", "action": "forward", "workflow_id": "w1", "execution_id": "716",
        "node_id": "n1", "workflow_name": "Wörkflow", "client": "sdk", "client_version": "4.104.0",
        "attribution": "tag", "hint": "sk-proj-…CuRr", "method": "POST", "path": "/v1/responses", "status": 200,
        "upstream_code": null, "outcome": "success", "bytes_in": 2, "bytes_out": 17,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(line.get(field), Some(value), "{field}");
    }
    assert!(["id", "fingerprint"].map(|field| line[field].as_str().unwrap().len()) == [16, 8], "{line}");
    assert!(line["ms"].as_f64().unwrap() >= line["ttfb_ms"].as_f64().unwrap());
    assert!(!proxy.log_text().contains(&CURRENT[8..30]), "{line}");
}

#[test]
fn every_answer_carries_its_number_and_its_verdict_and_never_anybody_elses() {
    let spoof = "X-Keyward-Id: spoofed\r\nx-keyward-verdict: current\r\nX-KEYWARD-Spoof: 1\r\nX-Request-Id: r\r\n";
    let upstream = FakeUpstream::answering(Answering::with(200, spoof, "ok"));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut numbers = Vec::new();
    for (key, verdict) in [(CURRENT, "current"), (UNLISTED, "unknown")] {
        let answer = proxy.get("/v1/models").key(key).send();
        let number: Vec<_> = answer.head.all("x-keyward-id").map(str::to_owned).collect();
        assert!(matches!(&number[..], [id] if id.len() == 16), "{number:?}");
        assert_eq!(answer.head.all("x-keyward-verdict").collect::<Vec<_>>(), [verdict]);
        assert_eq!((answer.header("x-keyward-spoof"), answer.header("x-keyward-note")), (None, None));
        assert_eq!(answer.header("x-request-id"), Some("r"), "what is upstream's own stays");
        numbers.extend(number);
    }
    assert_ne!(numbers[0], numbers[1]);
}

#[test]
fn kinds_that_come_and_go_by_design_are_named_and_no_alarm() {
    let (_upstream, proxy) = rotated();
    for (key, phrase) in [
        ("ek_0123456789abcdef01234567", "a short-lived client secret"),
        ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "an access token"),
        ("sk-admin-0123456789abcdef", "an admin key"),
    ] {
        let line = check(&proxy, key, "unknown", "unlisted_key");
        assert_eq!((&line["level"], &line["message"]), (&"info".into(), &Value::Null), "{phrase}");
    }
    for (key, phrase) in [
        (UNLISTED, "a project key"),
        ("sk-svcacct-0123456789abcdef", "a service account's key"),
        ("sk-0123456789abcdef0123", "a user key"),
        ("sess-0123456789abcdef", "a dashboard session"),
        ("another-upstreams-own-idea-of-a-key", "a key"),
    ] {
        let line = check(&proxy, key, "unknown", "unlisted_key");
        assert_eq!(line["level"], "warn");
        assert!(line["message"].as_str().unwrap().contains(&format!("sends {phrase} that no set has")), "{line}");
    }
}

#[test]
fn an_unknown_key_that_upstream_refuses_is_an_error() {
    let upstream = FakeUpstream::answering(refusal("invalid_api_key"));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let line = check(&proxy, UNLISTED, "unknown", "unknown_key_rejected");
    assert_eq!(line["level"], "error");
}

#[test]
fn every_malformed_credential_is_told_by_its_kind() {
    let (upstream, proxy) = rotated();
    let oversized = format!("Bearer sk-{}", "a".repeat(5000));
    let cases: [(&str, &[u8]); 24] = [
        ("empty", b""),
        ("empty", b"Bearer"),
        ("empty", b"Bearer "),
        ("scheme", b"Basic Zm9v"),
        ("scheme", b"Basic %%%"),
        ("scheme", b"Token sk-proj-a"),
        ("scheme", CURRENT.as_bytes()),
        ("undefined", b"Bearer undefined"),
        ("null", b"bearer null"),
        ("object", b"Bearer [object Object]"),
        ("placeholder", b"Bearer __n8n_BLANK_VALUE_e5362baf-c777-4d57-a609-6eaf1f9e87f6"),
        ("placeholder", b"Bearer YOUR_API_KEY"),
        ("placeholder", b"Bearer sk-..."),
        ("quoted", b"Bearer \"sk-proj-0123456789abcdef\""),
        ("quoted", b"Bearer 'sk-proj-0123456789abcdef'"),
        ("doubled", b"Bearer Bearer sk-proj-0123456789abcdef"),
        ("doubled", b"BEARER bearer sk-proj-0123456789abcdef"),
        ("whitespace", b"Bearer sk-proj-0123 456789abcdef"),
        ("whitespace", b"Bearer sk-proj-0123456789abcdef\xa0"),
        ("whitespace", b"Bearer  sk-proj-0123456789abcdef"),
        ("whitespace", b"Bearer\tsk-proj-0123\t456789abcdef"),
        ("url", b"Bearer https://api.openai.com/v1"),
        ("url", b"Bearer HTTP://127.0.0.1:8080/v1"),
        ("oversized", oversized.as_bytes()),
    ];
    for (kind, authorization) in cases {
        let line = proxy.get("/v1/models").header("Authorization", authorization).logged();
        let shown = String::from_utf8_lossy(authorization);
        assert_eq!(
            (&line["verdict"], &line["diagnosis"]),
            (&"malformed".into(), &format!("malformed_{kind}").into()),
            "{shown}"
        );
        assert_eq!(
            (&line["level"], &line["fingerprint"], &line["hint"]),
            (&"error".into(), &Value::Null, &Value::Null)
        );
        assert!(line["remedy"].as_str().is_some_and(|remedy| remedy.starts_with("1. ")), "{line}");
        // It is observed, not corrected.
        let received = upstream.received().pop().unwrap();
        assert_eq!(received.head.all("authorization").count(), 1, "{shown}");
    }
}

#[test]
fn two_credentials_that_differ_are_one_fault_and_the_same_one_twice_is_none() {
    let (_upstream, proxy) = rotated();
    let with = |first: (&str, &str), second: (&str, &str)| {
        proxy.get("/v1/models").header(first.0, first.1).header(second.0, second.1).logged()
    };
    let bearer = format!("Bearer {CURRENT}");
    let authorization = ("Authorization", &*bearer);
    assert_eq!(
        with(authorization, authorization)["diagnosis"],
        "malformed_duplicate",
        "two headers, whatever they say"
    );
    assert_eq!(with(authorization, ("api-key", NEXT))["diagnosis"], "malformed_duplicate");
    assert_eq!(with(authorization, ("api-key", CURRENT))["verdict"], "current");
}

#[test]
fn a_key_is_judged_alike_in_every_place_where_openai_reads_it() {
    let (upstream, proxy) = rotated();
    let basic = |pair: &str| format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair));
    for (name, value) in [
        ("Authorization", format!("Bearer {CURRENT}")),
        ("authorization", format!("bEaReR {CURRENT}")),
        ("Authorization", basic(&format!(":{CURRENT}"))),
        ("Authorization", basic(&format!("someone:{CURRENT}"))),
        ("api-key", CURRENT.to_owned()),
        ("Sec-WebSocket-Protocol", format!("realtime, openai-insecure-api-key.{CURRENT}, openai-beta.realtime-v1")),
    ] {
        let line = proxy.get("/v1/realtime").header(name, &value).logged();
        assert_eq!((&line["verdict"], &line["hint"]), (&"current".into(), &"sk-proj-…CuRr".into()), "{name}: {value}");
        let received = upstream.received().pop().unwrap();
        assert_eq!(received.head.header(name), Some(&*value), "it goes on as it came");
    }
}

#[test]
fn no_credential_is_a_dropped_header_where_one_was_to_be_expected() {
    let (_upstream, proxy) = rotated();
    let diagnosis = |headers: &[(&str, &str)]| {
        let request =
            headers.iter().fold(proxy.get("/v1/models"), |request, (name, value)| request.header(name, value));
        let line = request.logged();
        assert_eq!((&line["verdict"], &line["level"]), (&"missing".into(), &"error".into()));
        line["diagnosis"].clone()
    };
    assert_eq!(diagnosis(&[("User-Agent", "OpenAI/JS 4.104.0"), ("X-Stainless-Lang", "js")]), "dropped_header");
    assert_eq!(diagnosis(&[("User-Agent", "n8n"), ("Accept", "application/json")]), "dropped_header");
    assert_eq!(diagnosis(&[("User-Agent", "curl/8.5.0")]), "missing_header");
    assert_eq!(diagnosis(&[("X-N8N-Tag", "wf=w1;node=n1")]), "missing_header");
    proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=w1;node=n1").logged();
    assert_eq!(diagnosis(&[("X-N8N-Tag", "wf=w1;node=n1")]), "dropped_header", "this node has sent a key before");
    assert_eq!(diagnosis(&[("X-N8N-Tag", "wf=w1;node=n2")]), "missing_header");
}

#[test]
fn the_set_is_the_declared_one_or_the_keys_own_or_the_default() {
    let (_upstream, proxy) = two_sets();
    let line = proxy.get("/set/staging/v1/models").key(STAGING).logged();
    assert_eq!((&line["set"], &line["verdict"]), (&"staging".into(), &"current".into()), "by path");
    let line = proxy.get("/v1/models").key(UNLISTED).header("X-N8N-Tag", "wf=w1;set=staging").logged();
    assert_eq!((&line["set"], &line["verdict"]), (&"staging".into(), &"unknown".into()), "by tag");
    let line = proxy.get("/v1/models").key(STAGING).logged();
    assert_eq!((&line["set"], &line["verdict"]), (&"staging".into(), &"current".into()), "by its key");
    let line = proxy.get("/v1/models").key(UNLISTED).logged();
    assert_eq!((&line["set"], &line["verdict"]), (&"default".into(), &"unknown".into()), "by nothing");
    let line = proxy.get("/v1/models").logged();
    assert_eq!((&line["set"], &line["verdict"]), (&"default".into(), &"missing".into()), "by nothing");
}

#[test]
fn a_key_of_another_set_than_the_declared_one_is_foreign() {
    let (_upstream, proxy) = two_sets();
    let by_path = proxy.get("/set/staging/n8n/w1/7/n1/v1/models");
    let by_tag = proxy.get("/v1/models").header("X-N8N-Tag", "wf=w1;node=n1;set=staging");
    for request in [by_path, by_tag] {
        let line = request.key(CURRENT).logged();
        assert_eq!(
            (&line["set"], &line["verdict"], &line["diagnosis"]),
            (&"staging".into(), &"foreign".into(), &"wrong_set".into())
        );
        assert_eq!(line["level"], "error");
        let message = line["message"].as_str().unwrap();
        assert!(message.contains("declares set `staging` but sends key sk-proj-…CuRr"), "{message}");
        assert!(message.ends_with("of set `default`."), "{message}");
    }
}

#[test]
fn sources_that_name_different_sets_are_noted_and_the_tag_counts() {
    let (_upstream, proxy) = two_sets();
    let line = proxy.get("/set/staging/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=w1;set=default").logged();
    assert_eq!((&line["set"], &line["verdict"]), (&"default".into(), &"current".into()));
    assert_eq!(line["sources_disagree"], true);
}

#[test]
fn a_set_that_does_not_exist_is_noted_and_declares_nothing() {
    let (_upstream, proxy) = two_sets();
    let by_path = proxy.get("/set/nowhere/v1/models");
    let by_tag = proxy.get("/v1/models").header("X-N8N-Tag", "wf=w1;set=nowhere");
    for request in [by_path, by_tag] {
        let line = request.key(STAGING).logged();
        assert_eq!((&line["set"], &line["verdict"]), (&"staging".into(), &"current".into()));
        assert_eq!(line["unknown_set"], true, "{line}");
    }
    assert_eq!(proxy.get("/set/staging/v1/models").key(STAGING).logged()["unknown_set"], Value::Null);
}

#[test]
fn a_set_without_a_key_learns_the_current_one_from_what_upstream_accepts() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    let line = check(&proxy, CURRENT, "unknown", "ok");
    assert_eq!(line["level"], "info", "what is new to a learning set is no alarm");
    let line = check(&proxy, CURRENT, "current", "ok");
    assert_eq!((&line["learned"], &line["set"]), (&true.into(), &"default".into()));
}

#[test]
fn two_keys_in_use_without_a_switch_are_both_current() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    for (workflow, key) in [("wf=w1", CURRENT), ("wf=w2", NEXT)] {
        proxy.get("/v1/models").key(key).header("X-N8N-Tag", workflow).logged();
    }
    for (workflow, key) in [("wf=w1", CURRENT), ("wf=w2", NEXT)] {
        let line = proxy.get("/v1/models").key(key).header("X-N8N-Tag", workflow).logged();
        assert_eq!((&line["verdict"], &line["diagnosis"]), (&"current".into(), &"ok".into()));
    }
}

#[test]
fn who_tries_out_credentials_in_the_editor_switches_nothing() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    for key in [CURRENT, NEXT, CURRENT, NEXT] {
        proxy.get("/n8n/editor/__UNKNOWN__/none/v1/models").key(key).logged();
    }
    for key in [CURRENT, NEXT] {
        check(&proxy, key, "current", "ok");
    }
}

#[test]
fn an_answer_that_ends_late_does_not_undo_a_switch() {
    let end = Gate::default();
    let gate = end.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        if visit.head.line.contains("slow") {
            gate.pass();
        }
        visit.answer(&Answering::json(200, "{}"));
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut slow = proxy.get("/v1/slow").key(OUTDATED).header("X-N8N-Tag", "wf=w1;node=n").begin();
    eventually("the slow request upstream", || (upstream.received().len() == 1).then_some(()));
    proxy.advance(Duration::from_secs(1));
    proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", "wf=w1;node=n").logged();
    end.open();
    let answer = slow.answer();
    proxy.line(&answer);
    check(&proxy, CURRENT, "current", "ok");
}

#[test]
fn the_switch_of_one_binding_makes_the_old_key_outdated_for_everybody() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    let send = |workflow: &str, key| proxy.get("/v1/models").key(key).header("X-N8N-Tag", workflow).logged();
    send("wf=w1;node=n", OUTDATED);
    send("wf=w2;node=n", OUTDATED);
    send("wf=w1;node=n", CURRENT);
    assert_eq!(send("wf=w1;node=n", CURRENT)["verdict"], "current");
    let line = send("wf=w2;node=n", OUTDATED);
    assert_eq!((&line["verdict"], &line["diagnosis"]), (&"outdated".into(), &"stale_binding".into()));
    assert_eq!((&line["learned"], &line["workflow_id"]), (&true.into(), &"w2".into()));
    assert_eq!(send("wf=w3;node=n", OUTDATED)["verdict"], "outdated");
    assert_eq!(send("wf=w3;node=n", CURRENT)["verdict"], "current", "the switch back was no second rotation");
}

#[test]
fn no_client_teaches_a_set_a_key_that_upstream_has_not_looked_at() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    let send = |method: &str, path: &str, key: &str| {
        proxy.request(method, path).key(key).header("X-N8N-Tag", "wf=victim;node=n").logged()
    };
    send("GET", "/v1/models", CURRENT);
    // OpenAI answers the preflight of a browser without a look at the key, and pages outside the API likewise.
    let long = format!("/v1/{}/../../robots.txt", "a".repeat(600));
    for (method, path) in [
        ("OPTIONS", "/v1/models"),
        ("GET", "/robots.txt"),
        ("TRACE", "/v1/models"),
        // Which upstream reads as the page above.
        ("GET", "/v1/../robots.txt"),
        ("GET", "/v1/%2e%2E/robots.txt"),
        ("GET", "/v1/models/..%2f..%2f..%2frobots.txt"),
        ("GET", "/v1/models/..\\..\\..\\robots.txt"),
        ("GET", "/v1/..;/robots.txt"),
        ("GET", &long),
    ] {
        for _ in 0..2 {
            assert_eq!(send(method, path, UNLISTED)["verdict"], "unknown", "{method} {path}");
        }
    }
    assert_eq!(send("GET", "/v1/models", CURRENT)["verdict"], "current");
    for _ in 0..2 {
        assert_eq!(send("GET", "/v1/models", "ek_0123456789abcdef01234567")["verdict"], "unknown", "it never lasts");
    }
    assert_eq!(send("GET", "/v1/models", CURRENT)["verdict"], "current");
}

#[test]
fn two_nodes_of_a_workflow_may_use_two_keys() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    for key in [CURRENT, NEXT, CURRENT, NEXT] {
        proxy.get("/v1/models").key(key).header("OpenAI-Organization", "n8n-w1-7").logged();
    }
    for key in [CURRENT, NEXT] {
        check(&proxy, key, "current", "ok");
    }
}

#[test]
fn a_set_does_not_learn_the_key_of_another() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).learning_set("staging").start();
    for _ in 0..3 {
        let line = proxy.get("/set/staging/v1/models").key(CURRENT).logged();
        assert_eq!((&line["verdict"], &line["diagnosis"]), (&"foreign".into(), &"wrong_set".into()));
    }
}

#[test]
fn a_learned_key_that_upstream_refuses_later_is_outdated_once_there_is_another() {
    let upstream = FakeUpstream::scripted(|visit| {
        let is_revoked = visit.head.line.contains("revoked");
        visit.answer(&if is_revoked { refusal("invalid_api_key") } else { Answering::json(200, "{}") });
    });
    let proxy = TestProxy::with(&upstream).start();
    proxy.get("/v1/models").key(OUTDATED).logged();
    for _ in 0..2 {
        let line = proxy.get("/v1/revoked").key(OUTDATED).logged();
        assert_eq!((&line["verdict"], &line["diagnosis"]), (&"current".into(), &"current_key_rejected".into()));
    }
    proxy.get("/v1/models").key(CURRENT).logged();
    let line = proxy.get("/v1/revoked").key(OUTDATED).logged();
    assert_eq!((&line["verdict"], &line["diagnosis"]), (&"outdated".into(), &"stale_binding".into()));
    let line = proxy.get("/v1/revoked").key(UNLISTED).logged();
    assert_eq!((&line["verdict"], &line["diagnosis"]), (&"unknown".into(), &"unknown_key_rejected".into()));
}

#[test]
fn a_refusal_of_the_current_key_is_told_apart_and_passes_on_untouched() {
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-proj-********CuRr.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body.as_bytes()).unwrap();
    let json = "Content-Type: application/json\r\n";
    let zipped = format!("{json}Content-Encoding: gzip\r\n");
    for (headers, body) in [(json, body.as_bytes().to_vec()), (&zipped, gzip.finish().unwrap())] {
        let upstream = FakeUpstream::answering(Answering::with(401, headers, &body));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.get("/v1/models").key(CURRENT).send();
        assert_eq!((answer.status, answer.body.clone()), (401, body));
        let line = proxy.line(&answer);
        assert_eq!((&line["diagnosis"], &line["level"]), (&"current_key_rejected".into(), &"error".into()));
        assert_eq!((&line["upstream_code"], &line["outcome"]), (&"invalid_api_key".into(), &"auth_error".into()));
        assert!(!proxy.log_text().contains("****"), "upstream's message may quote the key, and is not kept");
    }
}

#[test]
fn upstreams_refusals_are_told_apart_by_status_and_code() {
    let upstream = FakeUpstream::scripted(answer_as_the_path_says);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    for (target, diagnosis, outcome, level) in [
        ("/v1/401/missing_scope", "key_scope", "auth_error", "error"),
        ("/v1/403/model_not_found", "key_scope", "auth_error", "error"),
        ("/v1/403/unsupported_country_region_territory", "key_scope", "auth_error", "error"),
        ("/v1/401/something_new", "key_refused", "auth_error", "error"),
        ("/v1/429/insufficient_quota", "quota", "limited", "error"),
        ("/v1/429/rate_limit_exceeded", "rate_limited", "limited", "warn"),
        ("/v1/404/model_not_found", "request_error", "request_error", "info"),
        ("/v1/400/context_length_exceeded", "request_error", "request_error", "info"),
        ("/v1/500/server_error", "upstream_error", "upstream_error", "warn"),
        ("/v1/503/overloaded", "upstream_error", "upstream_error", "warn"),
    ] {
        let line = proxy.get(target).key(CURRENT).logged();
        assert_eq!((&line["diagnosis"], &line["outcome"]), (&diagnosis.into(), &outcome.into()), "{target}");
        assert_eq!((&line["level"], &line["upstream_code"]), (&level.into(), &target[8..].into()), "{target}");
    }
}

#[test]
fn what_a_management_gateway_lets_in_by_its_own_header_is_no_error() {
    let (_upstream, proxy) = rotated();
    for name in ["Ocp-Apim-Subscription-Key", "cf-aig-authorization", "x-api-key"] {
        let line = proxy.get("/v1/models").header(name, "0123456789abcdef").logged();
        let told = [&line["verdict"], &line["diagnosis"], &line["level"]];
        assert_eq!(told, ["missing", "gateway_key", "info"], "{name}");
    }
    assert_eq!(proxy.get("/v1/models").header("x-api-key", "").logged()["diagnosis"], "missing_header");
    let upstream = FakeUpstream::answering(refusal("invalid_api_key"));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let line = proxy.get("/v1/models").header("Ocp-Apim-Subscription-Key", "0123456789abcdef").logged();
    assert_eq!((&line["diagnosis"], &line["level"]), (&"missing_header".into(), &"error".into()));
}

/// An upstream that takes every key, and a proxy in the middle of a rotation.
fn rotated() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).next_key(NEXT).previous_key(OUTDATED).grace(GRACE);
    let proxy = proxy.start();
    (upstream, proxy)
}

fn two_sets() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).current_key_of("staging", STAGING).start();
    (upstream, proxy)
}

/// Sends a request with that key, and gives its line in the log.
#[track_caller]
fn check(proxy: &TestProxy, key: &str, verdict: &str, diagnosis: &str) -> Value {
    let answer = proxy.get("/v1/models").key(key).send();
    assert_eq!(answer.header("x-keyward-verdict"), Some(verdict));
    let line = proxy.line(&answer);
    assert_eq!((&line["verdict"], &line["diagnosis"]), (&verdict.into(), &diagnosis.into()), "{line}");
    line
}

fn refusal(code: &str) -> Vec<u8> {
    Answering::json(401, format!(r#"{{"error":{{"message":"…","type":"invalid_request_error","code":"{code}"}}}}"#))
}

/// `/v1/<status>/<code>`.
fn answer_as_the_path_says(visit: &mut Visit<'_>) {
    let path = visit.head.line.split(' ').nth(1).unwrap().to_owned();
    let (status, code) = path["/v1/".len()..].split_once('/').unwrap();
    visit.answer(&Answering::json(status.parse().unwrap(), format!(r#"{{"error":{{"code":"{code}"}}}}"#)));
}
