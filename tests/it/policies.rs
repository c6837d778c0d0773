//! What each policy does about a credential, through a running keyward: refusals, lent keys, and what clients get.

use std::io::Write;
use std::time::Duration;

use keyward::keys::rules::Policy;
use keyward::keys::rules::Unknown;
use serde_json::json;

use crate::support::{
    Answer, Answering, Builder, CURRENT, FakeUpstream, Gate, NEXT, OUTDATED, TOKEN, TestProxy, UNLISTED, Visit,
};

const GRACE: Duration = Duration::from_hours(1);

const TAG: &str = "wf=w1;ex=716;node=n1;name=Weekly%20report";

const STAGING: &str = "sk-proj-staging-0123456789abcdefgStAg";

/// The end of the current key, which no client may learn.
const LAST_FOUR: &str = "CuRr";

// === Refusals ===

#[test]
fn a_refusal_says_what_is_wrong_and_where_and_then_what_to_do() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let (upstream, proxy) = started(policy, |builder| builder.grace(Duration::ZERO));
        for (credential, code, words) in [
            (None, "missing_header", "sent no key at all."),
            (Some("Bearer"), "malformed_empty", "sent an empty key."),
            (Some("Bearer undefined"), "malformed_undefined", "sent the word `undefined` in place of a key."),
            (Some("Basic Zm9v"), "malformed_scheme", "sent an Authorization header that is neither"),
            (Some("Bearer Bearer sk-proj-0123456789abcdef"), "malformed_doubled", "sent `Bearer` twice."),
            (Some(&*bearer(OUTDATED)), "stale_binding", "a previous key of set `default`: its grace is over, replaced"),
            (Some(&*bearer(UNLISTED)), "unlisted_key", "sends a project key that no set has: key sk-proj-…UnLi"),
            (Some(&*bearer("kw_0123456789abcdef")), "unlisted_key", "sends a keyward token that no set has"),
            (Some(&*bearer("ek_0123456789abcdef")), "unlisted_key", "1. Set `keys.default.unknown` to \"forward\""),
        ] {
            let request = proxy.post("/v1/responses").header("X-N8N-Tag", TAG).body("{}");
            let request = match credential {
                Some(credential) => request.header("Authorization", credential),
                None => request,
            };
            let answer = request.send();
            let message = check_refusal(&answer, 401, code);
            assert!(message.starts_with("Workflow Weekly report, node n1 "), "{message}");
            assert!(message.contains(words), "{message}");
            let (what, steps) =
                message.split_once(" keyward refused it and sent nothing upstream. ").expect("a part of ours");
            assert!(!what.is_empty() && steps.starts_with("1. "), "{message}");
            let verdict = proxy.line(&answer)["verdict"].clone();
            assert_eq!(answer.header("x-keyward-verdict"), verdict.as_str());
            let no_whole_key = [OUTDATED, UNLISTED, CURRENT].iter().all(|key| !message.contains(&key[8..30]));
            assert!(no_whole_key, "{message}");
        }
        assert_eq!(upstream.connections(), 0);
    }
}

#[test]
fn a_key_of_another_set_is_refused_by_name_of_both() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let (upstream, proxy) = started(policy, |builder| builder);
        let answer = proxy.get("/set/staging/n8n/w1/716/n1/v1/models").key(CURRENT).send();
        let message = check_refusal(&answer, 401, "wrong_set");
        assert!(
            message.starts_with("Workflow w1, node n1 declares set `staging` but sends key sk-proj-…CuRr"),
            "{message}"
        );
        let answer = proxy.get("/set/default/v1/models").key(STAGING).send();
        let message = check_refusal(&answer, 401, "wrong_set");
        assert!(message.contains("declares set `default` but sends key sk-proj-…StAg"), "{message}");
        assert_eq!(upstream.connections(), 0);
    }
}

#[test]
fn a_refusal_says_who_it_was_even_without_a_tag() {
    let (_upstream, proxy) = started(Policy::Enforce, |builder| builder);
    let sdk = proxy.get("/v1/models").header("User-Agent", "OpenAI/JS 4.104.0").header("X-Stainless-Lang", "js");
    let message = check_refusal(&sdk.send(), 401, "dropped_header");
    assert!(message.starts_with("An untagged client at 127.0.0.1 (an OpenAI SDK, as in n8n's"), "{message}");
    let editor = proxy.get("/n8n/editor/__UNKNOWN__/none/v1/models").send();
    let message = check_refusal(&editor, 401, "missing_header");
    assert!(message.starts_with("n8n's editor sent no key at all."), "{message}");
}

#[test]
fn a_refusal_stays_short_whatever_the_caller_writes() {
    let (_upstream, proxy) = started(Policy::Enforce, |builder| builder.grace(Duration::ZERO));
    let long = "%F0%9F%98%80".repeat(60);
    let tag = format!("wf={};node={};name={long}", "w".repeat(128), "n".repeat(128));
    for request in [
        proxy.get("/v1/models").header("X-N8N-Tag", &tag).key(OUTDATED),
        proxy.get("/v1/models").header("X-N8N-Tag", &tag).key(UNLISTED),
        proxy.get("/v1/models").header("X-N8N-Tag", &tag),
        proxy.get("/v1/models").header("X-N8N-Tag", format!("{tag};set=staging")).key(CURRENT),
        proxy.get("/v1/models").header("X-N8N-Tag", "wf=w1;name=%22%0d%0aSet-Cookie:%20a%00%3Cscript%3E").key(UNLISTED),
    ] {
        let answer = request.send();
        let code = answer.error_code();
        let message = check_refusal(&answer, 401, &code);
        assert!(message.chars().all(|character| !character.is_control()), "{message:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn a_refusal_tells_nothing_of_the_current_key() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let (_upstream, proxy) = started(policy, |builder| builder.grace(Duration::ZERO).revoked_key(NEXT));
        let fingerprint = proxy.get("/v1/models").key(CURRENT).logged()["fingerprint"].as_str().unwrap().to_owned();
        for request in [
            proxy.get("/v1/models"),
            proxy.get("/v1/models").key(OUTDATED),
            proxy.get("/v1/models").key(NEXT),
            proxy.get("/v1/models").key(UNLISTED),
            proxy.get("/v1/models").key("undefined"),
            proxy.get("/v1/models").key(STAGING).header("X-N8N-Tag", "wf=w1;set=default"),
            proxy.get("/set/nowhere/v1/models").key(TOKEN),
            proxy.get("/v1/models").key(TOKEN).header("api-key", CURRENT),
        ] {
            let answer = request.send();
            assert_eq!(answer.status, 401);
            check_nothing_of_ours(&answer, &fingerprint);
        }
    }
}

#[test]
fn a_refusal_is_in_the_log_as_one() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let (_upstream, proxy) = started(policy, |builder| builder);
        let answer = proxy.post("/v1/responses").header("X-N8N-Tag", TAG).key(UNLISTED).body("{}").send();
        let line = proxy.line(&answer);
        let expected = json!({
            "level": "error", "set": "default", "verdict": "unknown", "diagnosis": "unlisted_key", "action": "refuse",
            "outcome": "refused", "status": 401, "upstream_code": null, "workflow_id": "w1", "node_id": "n1",
            "hint": "sk-proj-…UnLi", "path": "/v1/responses", "ttfb_ms": null,
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(line.get(field), Some(value), "{field}: {line}");
        }
        assert!(line["remedy"].as_str().unwrap().starts_with("1. "), "{line}");
        let message = check_refusal(&answer, 401, "unlisted_key");
        assert!(message.starts_with(line["message"].as_str().unwrap()), "the client and the log are told the same");
        assert_eq!(counted(&proxy, "default", "unknown", "refuse", "refused"), 1);
    }
}

#[test]
fn kinds_that_are_no_alarm_are_an_error_once_they_are_refused() {
    let (_upstream, proxy) = started(Policy::Enforce, |builder| builder);
    let line = proxy.get("/v1/models").key("ek_0123456789abcdef01234567").logged();
    assert_eq!((&line["level"], &line["action"]), (&"error".into(), &"refuse".into()));
}

#[test]
fn an_answer_to_head_says_it_in_its_head_alone() {
    let (_upstream, proxy) = started(Policy::Enforce, |builder| builder);
    let mut client = proxy.request("HEAD", "/v1/models").begin();
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"OpenAI API\"")));
    client.send(proxy.get("/v1/models").key(CURRENT).bytes());
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_page_and_a_host_that_are_not_allowed_are_told_so() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    let answer = proxy.get("/v1/models").key(TOKEN).header("Origin", "https://evil.example").send();
    let message = check_refusal(&answer, 403, "origin_not_allowed");
    assert!(message.contains("`proxy.allow_origin`"), "{message}");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    drop(proxy);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT);
    let proxy = proxy.rules(|rules| rules.allow_host = vec![allowed_host("proxy.example")]).start();
    let message = check_refusal(&proxy.get("/v1/models").key(CURRENT).send(), 421, "host_not_allowed");
    assert!(message.contains("`proxy.allow_host`"), "{message}");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn the_connection_stays_usable_after_a_refusal() {
    let (upstream, proxy) = started(Policy::Enforce, |builder| builder);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(proxy.post("/v1/responses").key(UNLISTED).body("{\"input\":\"GET /v1/stolen HTTP/1.1\"}").bytes());
        assert_eq!(client.answer().status, 401);
        client.send(proxy.get("/v1/models").key(CURRENT).bytes());
        assert_eq!(client.answer().status, 200);
    }
    assert!(upstream.received().iter().all(|received| received.head.line.starts_with("GET /v1/models ")));
    assert_eq!((upstream.received().len(), upstream.connections()), (3, 1));
}

/// A body that keyward did not ask for must not become the next request, and its sender must get the answer.
#[test]
fn a_client_that_sends_a_large_body_still_reads_why_it_is_refused() {
    let (upstream, proxy) = started(Policy::Enforce, |builder| builder);
    let mut client = proxy.connect();
    let request = "GET /v1/stolen HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer ";
    let body = format!("{request}{CURRENT}\r\n\r\n").repeat(40_000);
    let length = body.len();
    client.send(format!("POST /v1/files HTTP/1.1\r\nHost: k\r\nContent-Length: {length}\r\n\r\n"));
    client.send(&body[..length / 2]);
    assert_eq!(client.answer().error_code(), "missing_header");
    client.send(&body[length / 2..]);
    assert_eq!(client.rest(), b"");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn no_client_is_asked_for_a_body_that_is_refused() {
    let (upstream, proxy) = started(Policy::Enforce, |builder| builder);
    let request = proxy.post("/v1/files").header("Expect", "100-continue").header("Content-Length", "5");
    let mut client = request.begin();
    let answer = client.answer();
    assert_eq!((answer.status, answer.error_code().as_str()), (401, "missing_header"));
    assert_eq!(client.rest(), b"");
    assert_eq!(upstream.connections(), 0);
}

// === What goes upstream ===

#[test]
fn what_enforce_lets_pass_passes_as_it_came() {
    let (upstream, proxy) = started(Policy::Enforce, |builder| builder);
    for (key, diagnosis) in [(CURRENT, "ok"), (NEXT, "ok"), (OUTDATED, "stale_binding")] {
        for (name, value) in places(key) {
            let line = proxy.get("/v1/realtime").header(name, &value).logged();
            assert_eq!((&line["action"], &line["diagnosis"]), (&"forward".into(), &diagnosis.into()), "{line}");
            assert_eq!(credentials(&upstream), [(name.to_ascii_lowercase(), value)]);
        }
    }
    let line = proxy.get("/v1/models").key(OUTDATED).logged();
    assert_eq!(line["level"], "warn", "it works, and you have to know");
    let mut kept = proxy.get("/v1/models").key(OUTDATED).begin();
    assert_eq!(kept.answer().status, 200);
    proxy.advance(GRACE);
    kept.send(proxy.get("/v1/models").key(OUTDATED).bytes());
    assert_eq!(kept.answer().error_code(), "stale_binding", "not a moment longer, on whatever connection");
}

#[test]
fn unknown_keys_pass_as_they_came_where_that_is_wanted() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let upstream = FakeUpstream::accepting();
        let builder = TestProxy::with(&upstream).current_key(CURRENT).revoked_key(NEXT);
        let proxy = builder.policy(policy, |set| set.unknown = Unknown::Forward).start();
        let line = proxy.get("/v1/models").key(UNLISTED).logged();
        assert_eq!((&line["action"], &line["diagnosis"]), (&"forward".into(), &"unlisted_key".into()));
        assert_eq!(credentials(&upstream), [("authorization".to_owned(), bearer(UNLISTED))]);
        assert_eq!(proxy.get("/v1/models").key(NEXT).send().error_code(), "unlisted_key", "compromised");
        assert_eq!(upstream.received().len(), 1);
    }
}

#[test]
fn a_lent_key_replaces_the_credential_and_nothing_else() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    for key in [TOKEN, NEXT, OUTDATED] {
        let request = proxy.post("/n8n/w1/716/n1/v1/responses?x=1&key=a%2F..").header("Authorization", bearer(key));
        let request = request.header("OpenAI-Organization", "org-mine").header("OpenAI-Project", "proj_mine");
        let request = request.header("X-Custom", b"\xe9t\xe9").header("X-Custom", "second").header("Cookie", "a=b");
        let body = b"{\"input\": \"\xf0\x9f\x98\x80 \0\"}";
        assert_eq!(request.body(body).send().status, 200);
        let received = upstream.received().pop().unwrap();
        let mut expected = format!(
            "POST /v1/responses?x=1&key=a%2F.. HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {CURRENT}\r\n\
             OpenAI-Organization: org-mine\r\nOpenAI-Project: proj_mine\r\n",
            upstream.authority()
        )
        .into_bytes();
        expected.extend(b"X-Custom: \xe9t\xe9\r\nX-Custom: second\r\nCookie: a=b\r\n");
        expected.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
        assert_eq!(sorted_lines(&received.head.raw), sorted_lines(&expected));
        assert_eq!(received.body, body);
    }
}

#[test]
fn a_lent_key_replaces_the_credential_in_every_place() {
    for (policy, keys) in [(Policy::Inject, &[TOKEN, NEXT, OUTDATED][..]), (Policy::Enforce, &[TOKEN])] {
        let (upstream, proxy) = started(policy, |builder| builder);
        for key in keys {
            for (name, value) in places(key) {
                let request = proxy.get("/v1/realtime").header(name, &value);
                check_lent(&upstream, &request.send());
                if name != "API-Key" {
                    // The same in a second place is no second credential.
                    check_lent(&upstream, &request.header("api-key", key).send());
                }
            }
        }
        assert_eq!(upstream.connections(), 1);
    }
}

#[test]
fn other_subprotocols_stay_when_their_key_is_replaced() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    let key = format!("openai-insecure-api-key.{TOKEN}");
    for (came, left) in [
        (vec![format!("realtime, {key}, openai-beta.realtime-v1")], vec!["realtime, openai-beta.realtime-v1"]),
        (vec![key.clone()], vec![]),
        (vec![format!(" ,{key} ,realtime,, ")], vec!["realtime"]),
        (
            vec!["realtime".to_owned(), key.clone(), "openai-beta.realtime-v1".to_owned()],
            vec!["realtime", "openai-beta.realtime-v1"],
        ),
    ] {
        let request = came
            .iter()
            .fold(proxy.get("/v1/realtime"), |request, value| request.header("Sec-WebSocket-Protocol", value));
        check_lent(&upstream, &request.send());
        let received = upstream.received().pop().unwrap();
        assert_eq!(received.head.all("sec-websocket-protocol").collect::<Vec<_>>(), left, "{came:?}");
    }
}

#[test]
fn the_current_key_itself_goes_on_as_it_came() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    for (name, value) in places(CURRENT) {
        let line = proxy.get("/v1/realtime").header(name, &value).logged();
        assert_eq!((&line["action"], &line["verdict"]), (&"forward".into(), &"current".into()));
        assert_eq!(credentials(&upstream), [(name.to_ascii_lowercase(), value)]);
    }
}

#[test]
fn each_set_lends_its_own_key() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    for (key, lent, set) in [(TOKEN, CURRENT, "default"), (STAGING_TOKEN, STAGING, "staging")] {
        for target in ["/v1/models".to_owned(), format!("/set/{set}/v1/models")] {
            let line = proxy.get(&target).key(key).logged();
            assert_eq!((&line["set"], &line["verdict"]), (&set.into(), &"token".into()));
            assert_eq!(credentials(&upstream), [("authorization".to_owned(), bearer(lent))]);
        }
    }
}

#[test]
fn where_n8n_holds_tokens_a_remedy_is_a_token() {
    let (key, token) =
        ("the current key of set `default`", "a token of set `default` (`keyward token new default` makes one)");
    let with_token = |builder: Builder| builder.token("default", TOKEN);
    let revoked = |builder: Builder| builder.revoked_token("default", TOKEN);
    let elsewhere = |builder: Builder| builder.current_key_of("staging", STAGING).token("staging", TOKEN);
    let check = |policy, holding: fn(Builder) -> Builder, credential: &str, wanted: &str| {
        let builder = TestProxy::with(&FakeUpstream::accepting()).current_key(CURRENT).previous_key(OUTDATED);
        let proxy = holding(builder.grace(Duration::ZERO)).policy(policy, |_| {}).start();
        let line = proxy.get("/v1/models").header("Authorization", credential).logged();
        let remedy = line["remedy"].as_str().unwrap();
        assert!(remedy.contains(&format!("ut {wanted} in")), "{line}");
    };
    for policy in [Policy::Enforce, Policy::Inject] {
        for credential in [&*bearer(OUTDATED), &bearer(UNLISTED), "Bearer undefined", "Bearer YOUR_API_KEY", "Bearer"] {
            check(policy, with_token, credential, token);
            check(policy, |builder| builder, credential, key);
            check(policy, revoked, credential, key);
            check(policy, elsewhere, credential, key);
        }
        // A client that shows a token, good or not, is meant to hold one.
        check(policy, revoked, &bearer(TOKEN), token);
        check(policy, |builder| builder, &bearer("kw_0123456789abcdef"), token);
    }
    // There, a token is worth nothing.
    check(Policy::Observe, with_token, &bearer(OUTDATED), key);
}

#[test]
fn a_lent_key_hides_no_fault() {
    let upstream = FakeUpstream::accepting();
    let builder = TestProxy::with(&upstream).current_key(CURRENT).next_key(NEXT).previous_key(OUTDATED).grace(GRACE);
    let builder = builder.token("default", TOKEN);
    let allow = |range: &str| vec![range.parse().unwrap()];
    let proxy = builder.policy(Policy::Inject, |set| set.allow_from = allow("127.0.0.1/32")).start();
    for (authorization, verdict, diagnosis, level) in [
        (Some(bearer(TOKEN)), "token", "ok", "info"),
        (Some(bearer(NEXT)), "next", "ok", "info"),
        (Some(bearer(OUTDATED)), "outdated", "stale_binding", "warn"),
        (None, "missing", "missing_header", "error"),
        (Some("Bearer ".to_owned()), "malformed", "malformed_empty", "error"),
    ] {
        let request = proxy.get("/v1/models");
        let line = match &authorization {
            Some(value) => request.header("Authorization", value).logged(),
            None => request.logged(),
        };
        let told = [&line["verdict"], &line["diagnosis"], &line["level"], &line["action"], &line["outcome"]];
        assert_eq!(told, [verdict, diagnosis, level, "inject", "success"], "{line}");
        assert_eq!(counted(&proxy, "default", verdict, "inject", "success"), 1);
        if level != "info" {
            assert!(line["message"].as_str().unwrap().ends_with("keyward put the current key in."), "{line}");
        }
        assert_ne!(line["hint"], "sk-proj-…CuRr", "the key in the line is the one that came");
    }
}

// === What comes back ===

#[test]
fn upstreams_refusal_of_a_lent_key_is_told_in_our_words() {
    for (code, diagnosis) in [
        ("invalid_api_key", "current_key_rejected"),
        ("missing_scope", "key_scope"),
        ("ip_not_authorized", "key_scope"),
        ("account_deactivated", "key_scope"),
        ("something_new", "key_refused"),
    ] {
        for gzipped in [false, true] {
            let upstream = FakeUpstream::answering(quoting_refusal(401, code, gzipped));
            let proxy = injecting(&upstream).start();
            let answer = proxy.get("/v1/models").header("X-N8N-Tag", TAG).key(TOKEN).send();
            let message = check_401(&answer, diagnosis);
            assert!(
                message.starts_with("Workflow Weekly report, node n1 got the current key from keyward"),
                "{message}"
            );
            check_nothing_of_upstreams(&answer);
            let line = proxy.line(&answer);
            let told = [&line["action"], &line["verdict"], &line["diagnosis"], &line["outcome"], &line["level"]];
            assert_eq!(told, ["inject", "token", diagnosis, "auth_error", "error"], "{line}");
            assert_eq!((&line["status"], &line["upstream_code"]), (&401.into(), &code.into()));
            assert_eq!(line["bytes_out"], 0, "nothing of upstream's body went out");
            assert!(!line.to_string().contains(LAST_FOUR), "{line}");
            assert_eq!(counted(&proxy, "default", "token", "inject", "auth_error"), 1);
        }
    }
}

#[test]
fn a_refusal_of_a_lent_key_in_any_shape_is_told_in_our_words() {
    let with = |headers: &str, body: &str| Answering::with(401, headers, body);
    let json = "Content-Type: application/json\r\n";
    let quoted = format!("{{\"error\":\"Incorrect API key provided: sk-proj-****{LAST_FOUR}\"}}");
    for bytes in [
        with("", ""),
        with("Content-Type: text/html\r\n", &format!("<html>{CURRENT}</html>")),
        with(json, &quoted),
        with(&format!("{json}Content-Encoding: br\r\n"), &quoted),
        with(&format!("{json}Content-Encoding: zstd\r\n"), &quoted),
        with(&format!("{json}Content-Encoding: gzip\r\n"), "no gzip"),
        format!("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{quoted}\r\n0\r\n\r\n", quoted.len())
            .into(),
        format!("HTTP/1.1 401 {CURRENT}\r\nContent-Length: 0\r\nX-Key: {CURRENT}\r\nSet-Cookie: {LAST_FOUR}\r\n\r\n")
            .into(),
    ] {
        let upstream = FakeUpstream::answering(bytes);
        let proxy = injecting(&upstream).start();
        let answer = proxy.get("/v1/models").key(TOKEN).send();
        let code = answer.error_code();
        assert!(["key_refused", "current_key_rejected"].contains(&&*code), "{code}");
        check_401(&answer, &code);
        check_nothing_of_upstreams(&answer);
    }
}

#[test]
fn a_refusal_of_a_lent_key_without_end_delays_no_client() {
    let upstream = FakeUpstream::scripted(|visit| {
        let _ = visit.body();
        if visit.head.line.contains("endless") {
            visit.send("HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n");
            visit.send(format!("{:x}\r\n", 1_usize << 40));
            visit.send_until_stuck(usize::MAX, Duration::from_secs(5));
        } else if visit.head.line.contains("huge") {
            visit.send(format!("HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n", 1_usize << 40));
            visit.send_until_stuck(usize::MAX, Duration::from_secs(5));
        } else if visit.head.line.contains("bomb") {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(&vec![b' '; 30_000_000]).unwrap();
            let headers = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
            visit.send(Answering::with(401, headers, gzip.finish().unwrap()));
            // It may have come whole, and its connection be kept.
            return;
        } else if visit.head.line.contains("silent") {
            visit.send(format!("HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n{LAST_FOUR}"));
        } else {
            visit.send(format!("HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n{LAST_FOUR}"));
            visit.reset();
            return;
        }
        visit.wait_until_left();
    });
    // By default a body may stand still for hours: keyward does not wait so long for one that is not passed on. The limit for
    // unused connections has the worker look often.
    let proxy = injecting(&upstream).limits(|limits| limits.pool_idle_timeout = Duration::from_secs(1)).start();
    for target in ["/v1/endless", "/v1/huge", "/v1/bomb", "/v1/silent", "/v1/reset"] {
        let answer = proxy.get(target).key(TOKEN).send();
        check_401(&answer, "key_refused");
        check_nothing_of_upstreams(&answer);
        let line = proxy.line(&answer);
        assert_eq!((&line["outcome"], &line["level"]), (&"auth_error".into(), &"error".into()), "{target}");
    }
}

#[test]
fn connections_to_upstream_are_used_again_after_a_refusal_of_a_lent_key() {
    for gzipped in [false, true] {
        let upstream = FakeUpstream::answering(quoting_refusal(401, "invalid_api_key", gzipped));
        let proxy = injecting(&upstream).start();
        let mut client = proxy.connect();
        for _ in 0..5 {
            client.send(proxy.post("/v1/responses").key(TOKEN).body("{}").bytes());
            assert_eq!(client.answer().error_code(), "current_key_rejected");
        }
        assert_eq!((upstream.received().len(), upstream.connections()), (5, 1));
    }
}

#[test]
fn no_client_has_a_lent_key_sent_back() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let upstream = FakeUpstream::scripted(|visit| {
            let head = visit.head.raw.clone();
            visit.answer(&Answering::with(200, "Content-Type: message/http\r\n", head));
        });
        let builder = TestProxy::with(&upstream).current_key(CURRENT).token("default", TOKEN);
        let proxy = builder.policy(policy, |_| {}).start();
        let answer = proxy.request("TRACE", "/v1/models").key(TOKEN).send();
        check_refusal(&answer, 403, "echo_not_allowed");
        assert_eq!(upstream.connections(), 0);
        let own = proxy.request("TRACE", "/v1/models").key(CURRENT).send();
        assert!(own.text().contains(CURRENT), "what the caller knows already");
    }
}

#[test]
fn whom_a_lent_key_belongs_to_is_not_told_whatever_the_answer() {
    let upstream = FakeUpstream::scripted(|visit| {
        let status = visit.head.line.split('/').nth(2).unwrap()[..3].parse().unwrap();
        let headers = "OpenAI-Organization: org-secret\r\nopenai-project: proj_secret\r\nOPENAI-PROJECT: proj_other\r\n\
                       X-Request-Id: r\r\n";
        visit.answer(&Answering::with(status, headers, "{}"));
    });
    let proxy = injecting(&upstream).start();
    for status in [200, 201, 400, 401, 403, 404, 429, 500, 503] {
        let target = format!("/v1/{status}");
        let answer = proxy.get(&target).key(TOKEN).send();
        assert_eq!(answer.status, status);
        assert_eq!((answer.header("openai-organization"), answer.header("openai-project")), (None, None), "{status}");
        let own = proxy.get(&target).key(CURRENT).send();
        assert_eq!(own.header("openai-organization"), Some("org-secret"), "{status}");
        assert_eq!(own.head.all("openai-project").collect::<Vec<_>>(), ["proj_secret", "proj_other"]);
        assert_eq!(own.header("x-request-id"), Some("r"));
    }
}

#[test]
fn what_upstream_says_of_a_key_that_the_caller_sent_passes_as_it_came() {
    for policy in [Policy::Enforce, Policy::Inject] {
        for gzipped in [false, true] {
            let bytes = quoting_refusal(401, "invalid_api_key", gzipped);
            let upstream = FakeUpstream::answering(bytes.clone());
            let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(policy, |_| {}).start();
            let answer = proxy.get("/v1/models").key(CURRENT).send();
            assert_eq!(answer.status, 401);
            assert!(bytes.ends_with(&answer.body) && !answer.body.is_empty());
            assert_eq!(answer.header("openai-organization"), Some("org-secret"));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"theirs\""));
        }
    }
}

#[test]
fn a_stream_for_a_lent_key_arrives_event_by_event() {
    let next = Gate::default();
    let passed = next.clone();
    let upstream = FakeUpstream::scripted(move |visit: &mut Visit<'_>| {
        let _ = visit.body();
        visit.send(Answering::STREAM);
        for event in ["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"] {
            visit.chunk(event);
            passed.pass();
        }
        visit.send("0\r\n\r\n");
    });
    let proxy = injecting(&upstream).start();
    let mut client = proxy.post("/v1/responses").key(TOKEN).body("{\"stream\":true}").begin();
    assert_eq!(client.head().header("content-type"), Some("text/event-stream"));
    for event in ["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"] {
        assert_eq!(client.chunk(), event, "it comes before upstream sends the next");
        next.open();
    }
    assert_eq!(credentials(&upstream), [("authorization".to_owned(), bearer(CURRENT))]);
}

// === One connection, several credentials ===

#[test]
fn each_request_of_a_connection_is_judged_for_itself() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    let mut client = proxy.connect();
    let mut expected = Vec::new();
    for round in 0..3 {
        for (authorization, lent) in [
            (bearer(TOKEN), Some(CURRENT)),
            (bearer(UNLISTED), None),
            (bearer(STAGING_TOKEN), Some(STAGING)),
            (bearer(&TOKEN[..TOKEN.len() - 1]), None),
            (bearer(TOKEN), Some(CURRENT)),
            (String::new(), None),
            (bearer(CURRENT), Some(CURRENT)),
        ] {
            let target = format!("/v1/models?{round}");
            let request = proxy.get(&target);
            let request =
                if authorization.is_empty() { request } else { request.header("Authorization", &authorization) };
            client.send(request.bytes());
            assert_eq!(client.answer().status, if lent.is_some() { 200 } else { 401 }, "{authorization}");
            expected.extend(lent.map(bearer));
        }
    }
    let sent = upstream.received();
    let sent: Vec<_> = sent.iter().map(|received| received.head.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, expected);
}

#[test]
fn what_was_judged_once_is_decided_anew_for_each_request() {
    let upstream = FakeUpstream::accepting();
    let builder = TestProxy::with(&upstream).current_key(CURRENT).current_key_of("staging", STAGING);
    let builder = builder.previous_key(OUTDATED).grace(GRACE).token("default", TOKEN);
    let proxy = builder.policy(Policy::Inject, |_| {}).start();
    let mut client = proxy.connect();
    let mut status = |request: crate::support::Request<'_>| {
        client.send(request.bytes());
        client.answer().status
    };
    let token = || proxy.get("/v1/models").key(TOKEN);
    assert_eq!(status(token()), 200);
    assert_eq!(status(token().header("Origin", "https://evil.example")), 403);
    assert_eq!(status(token().header("api-key", UNLISTED)), 401);
    assert_eq!(status(token().header("X-N8N-Tag", "wf=w1;set=staging")), 401);
    assert_eq!(status(proxy.get("/set/nowhere/v1/models").key(TOKEN)), 401);
    assert_eq!(status(token()), 200);
    assert_eq!(status(proxy.get("/v1/models").key(OUTDATED)), 200);
    proxy.advance(GRACE);
    assert_eq!(status(proxy.get("/v1/models").key(OUTDATED)), 401);
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn requests_in_one_packet_are_judged_each_for_itself() {
    let (upstream, proxy) = started(Policy::Inject, |builder| builder);
    let mut client = proxy.connect();
    let (good, bad) = (proxy.get("/v1/models").key(TOKEN).bytes(), proxy.get("/v1/models").key(UNLISTED).bytes());
    client.send([&good[..], &bad, &good, &bad].concat());
    for status in [200, 401, 200, 401] {
        assert_eq!(client.answer().status, status);
    }
    assert_eq!(upstream.received().len(), 2);
}

// === Helpers ===

const STAGING_TOKEN: &str = "kw_abcdefghijklmnopqrstuvwxyz0123456789-_StToK";

/// Two sets in the middle of a rotation, a token of each.
fn started(policy: Policy, change: impl FnOnce(Builder) -> Builder) -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let builder = TestProxy::with(&upstream).current_key(CURRENT).next_key(NEXT).previous_key(OUTDATED).grace(GRACE);
    let builder = builder.current_key_of("staging", STAGING).token("default", TOKEN).token("staging", STAGING_TOKEN);
    let proxy = change(builder).policy(policy, |_| {}).start();
    (upstream, proxy)
}

/// One that lends its current key for a token.
fn injecting(upstream: &FakeUpstream) -> Builder {
    TestProxy::with(upstream).current_key(CURRENT).token("default", TOKEN).policy(Policy::Inject, |_| {})
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn allowed_host(host: &str) -> keyward::keys::rules::AllowedHost {
    keyward::keys::rules::AllowedHost { host: host.into(), port: None }
}

/// Every place in which a client may bring a key.
fn places(key: &str) -> Vec<(&'static str, String)> {
    let basic = |pair: String| format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair));
    vec![
        ("Authorization", bearer(key)),
        ("authorization", format!("bEaReR {key}")),
        ("Authorization", basic(format!(":{key}"))),
        ("Authorization", basic(format!("someone:{key}"))),
        ("API-Key", key.to_owned()),
        ("Sec-WebSocket-Protocol", format!("realtime, openai-insecure-api-key.{key}")),
    ]
}

/// Each credential of upstream's last request: name in lower case, and value.
fn credentials(upstream: &FakeUpstream) -> Vec<(String, String)> {
    let received = upstream.received().pop().unwrap();
    let names = ["authorization", "api-key", "sec-websocket-protocol"];
    let headers = received.head.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    headers.filter(|(name, _)| names.contains(&&**name)).collect()
}

/// Upstream got the current key, once, and nothing else that could be a credential.
#[track_caller]
fn check_lent(upstream: &FakeUpstream, answer: &Answer) {
    assert_eq!(answer.status, 200);
    let received = upstream.received().pop().unwrap();
    let head = String::from_utf8_lossy(&received.head.raw).into_owned();
    assert_eq!(received.head.all("authorization").collect::<Vec<_>>(), [bearer(CURRENT)]);
    assert!(head.contains(&format!("authorization: Bearer {CURRENT}\r\n")), "{head}");
    assert_eq!((head.matches(CURRENT).count(), received.head.header("api-key")), (1, None), "{head}");
    for other in [TOKEN, NEXT, OUTDATED, "openai-insecure-api-key", "Basic"] {
        assert!(!head.contains(other), "{head}");
    }
}

/// A refusal by keyward, in OpenAI's shape and no other. Gives its message.
#[track_caller]
fn check_refusal(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/json")));
    let challenge = (status == 401).then_some("Bearer realm=\"OpenAI API\"");
    assert_eq!(answer.header("www-authenticate"), challenge);
    let json = answer.json();
    let message = json["error"]["message"].as_str().expect("a message").to_owned();
    let expected = json!({"error": {"message": message, "type": "keyward_refusal", "param": null, "code": code}});
    assert_eq!(json, expected);
    assert!(message.len() < 600, "{}: {message}", message.len());
    message
}

/// The same, where keyward stands in for upstream.
#[track_caller]
fn check_401(answer: &Answer, code: &str) -> String {
    check_refusal(answer, 401, code)
}

#[track_caller]
fn check_nothing_of_ours(answer: &Answer, fingerprint: &str) {
    let all = [&answer.head.raw[..], &answer.body].concat();
    let all = String::from_utf8_lossy(&all);
    for secret in [fingerprint, LAST_FOUR, &CURRENT[8..24]] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[track_caller]
fn check_nothing_of_upstreams(answer: &Answer) {
    let all = [&answer.head.raw[..], &answer.body].concat();
    let all = String::from_utf8_lossy(&all);
    for upstreams in [LAST_FOUR, "****", "Incorrect API key", "org-secret", "proj_secret", "req_secret", "theirs"] {
        assert!(!all.contains(upstreams), "{upstreams}: {all}");
    }
    assert_eq!(answer.header("content-encoding"), None);
}

/// A refusal as OpenAI writes it: it quotes a part of the key, and its head says whose that is.
fn quoting_refusal(status: u16, code: &str, gzipped: bool) -> Vec<u8> {
    let message = format!("Incorrect API key provided: sk-proj-************{LAST_FOUR}.");
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": code});
    let mut body = json!({ "error": error }).to_string().into_bytes();
    let headers = "Content-Type: application/json\r\nOpenAI-Organization: org-secret\r\nopenai-project: proj_secret\r\n\
                   X-Request-Id: req_secret\r\nWWW-Authenticate: Bearer realm=\"theirs\"\r\n";
    let mut headers = headers.to_owned();
    if gzipped {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&body).unwrap();
        body = gzip.finish().unwrap();
        headers.push_str("Content-Encoding: gzip\r\n");
    }
    Answering::with(status, &headers, body)
}

/// How many exchanges of a set ended so.
fn counted(proxy: &TestProxy, set: &str, verdict: &str, action: &str, outcome: &str) -> u64 {
    let labels = format!("set=\"{set}\",verdict=\"{verdict}\",action=\"{action}\",outcome=\"{outcome}\"");
    proxy.metric(&format!("keyward_exchanges_total{{{labels}}}"))
}

/// The lines of a head: upstream may get its headers in any order.
fn sorted_lines(head: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<_> = head.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines[1..].sort();
    lines
}
