//! WebSockets and other protocols: nothing passes before upstream has agreed, and everything as it is from then on.

use std::sync::mpsc;
use std::time::Duration;

use keyward::keys::rules::Policy;

use crate::support::{
    Answer, Answering, CURRENT, Client, FakeUpstream, Gate, OUTDATED, TOKEN, TestProxy, Visit, eventually,
};

#[test]
fn bytes_pass_in_both_directions_from_upstreams_agreement_on() {
    let upstream = FakeUpstream::scripted(|visit| {
        // The first bytes of the other protocol come with the answer itself.
        visit.send([AGREED, b"hello"].concat());
        assert_eq!(visit.take(4), b"ping");
        visit.send(b"pong");
        assert_eq!(visit.wait_until_left(), b"bye");
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.connect();
    // The client may not speak the other protocol yet, but if it does, nothing is lost.
    client.send([websocket(CURRENT).as_bytes(), b"ping"].concat());
    let head = client.head();
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!((head.header("upgrade"), head.header("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.header("x-keyward-verdict"), Some("current"));
    assert_eq!(client.take(9), b"hellopong");
    client.send(b"bye");
    client.end_sending();
    assert_eq!(client.rest(), b"", "upstream has closed as well");
    let line = proxy.only_line();
    assert_eq!((&line["status"], &line["outcome"], &line["diagnosis"]), (&101.into(), &"success".into(), &"ok".into()));
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&7.into(), &9.into()));
    assert_eq!(line["workflow_id"], "w1");
    let sent = upstream.only_received().head;
    assert_eq!(sent.line, "GET /v1/realtime?model=gpt-realtime HTTP/1.1");
    assert_eq!((sent.header("upgrade"), sent.header("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(sent.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn a_caller_is_seen_when_its_websocket_opens_and_counted_once() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send(AGREED);
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED).start();
    let binding = || {
        let bindings: serde_json::Value = serde_json::from_str(&proxy.admin("/api/v1/bindings").text()).unwrap();
        bindings["bindings"][0].clone()
    };
    let told =
        |binding: &serde_json::Value| ["sightings", "state", "diagnosis", "outcome"].map(|name| binding[name].clone());
    let client = open(&proxy, &websocket(OUTDATED));
    let seen = eventually("a sighting", || Some(binding()).filter(|binding| binding["sightings"] == 1));
    let expected = serde_json::json!([1, "stale", "stale_binding", "success"]);
    assert_eq!(serde_json::json!(told(&seen)), expected, "{seen}");
    assert!(proxy.lines().is_empty(), "its line is written when it ends");
    drop(client);
    proxy.only_line();
    assert_eq!(told(&binding()), told(&seen));
}

/// CVE-2026-2833 of another proxy: it took what came behind the request for the other protocol, before anybody had agreed.
#[test]
fn where_upstream_does_not_agree_what_follows_is_a_request_and_is_judged() {
    let upstream = FakeUpstream::scripted(|visit| {
        let status = if visit.head.line.contains("realtime") { 426 } else { 200 };
        visit.answer(&Answering::json(status, "{}"));
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| {}).start();
    let mut client = proxy.connect();
    let next = "GET /v1/models HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer sk-proj-wrong-0123456789abcdef\r\n\r\n";
    client.send([websocket(CURRENT).as_bytes(), next.as_bytes()].concat());
    assert_eq!(client.answer().status, 426);
    assert_eq!(client.answer().status, 401);
    assert_eq!(upstream.received().len(), 1, "the second request was refused");
}

#[test]
fn a_switch_without_a_request_for_it_is_no_answer() {
    let upstream = FakeUpstream::scripted(|visit| visit.answer(AGREED));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let h2c = "GET /v1/models HTTP/1.1\r\nHost: k\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let other = websocket(CURRENT).replace("Upgrade: websocket", "Upgrade: foo");
    let unnamed = websocket(CURRENT).replace("Connection: keep-alive, Upgrade", "Connection: keep-alive");
    let old = websocket(CURRENT).replace("HTTP/1.1", "HTTP/1.0");
    let with_body = websocket(CURRENT).replace("Upgrade: websocket", "Content-Length: 2\r\nUpgrade: websocket") + "{}";
    for request in ["GET /v1/models HTTP/1.1\r\nHost: k\r\n\r\n", h2c, &other, &unnamed, &old, &with_body] {
        let mut client = proxy.connect();
        client.send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()), "{request}");
        let line = proxy.line(&answer);
        assert_eq!((&line["outcome"], &line["status"]), (&"cut_off".into(), &502.into()), "{request}");
    }
    let sent = upstream.received();
    for received in sent.iter().filter(|received| received.head.header("sec-websocket-key").is_none()) {
        assert!(received.head.header("upgrade").is_none() && received.head.header("http2-settings").is_none());
    }
}

/// A realtime session brings its key in a subprotocol, since browsers cannot set a header.
#[test]
fn the_key_of_a_websocket_is_judged_refused_and_replaced_like_any_other() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send(AGREED);
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .previous_key(OUTDATED)
        .token("default", TOKEN)
        .policy(Policy::Inject, |_| {})
        .start();
    let by_protocol = |key: &str| {
        websocket("x").replace(
            "Authorization: Bearer x",
            &format!("Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{key}, openai-beta.realtime-v1"),
        )
    };
    let refused = ask(&proxy, &by_protocol(OUTDATED)).err().expect("a refusal");
    assert_eq!((refused.status, refused.error_code()), (401, "stale_binding".to_owned()));
    assert!(upstream.received().is_empty());
    let client = ask(&proxy, &by_protocol(TOKEN));
    assert!(client.is_ok());
    let head = upstream.only_received().head;
    assert_eq!(head.header("authorization"), Some(&*format!("Bearer {CURRENT}")));
    assert_eq!(head.header("sec-websocket-protocol"), Some("realtime, openai-beta.realtime-v1"));
    drop(client);
    let lines = proxy.lines_of(2);
    assert_eq!((&lines[1]["verdict"], &lines[1]["action"]), (&"token".into(), &"inject".into()));
}

#[test]
fn either_side_may_close_first_and_still_hear_the_rest() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send(AGREED);
        if visit.head.line.contains("client") {
            assert_eq!(visit.take(4), b"over");
            assert_eq!(visit.take(1), b"", "the client's end arrives");
            visit.send(b"the rest");
            visit.close();
        } else {
            visit.send(b"over");
            visit.end_sending();
            assert_eq!(visit.wait_until_left(), b"the rest");
        }
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let request = websocket(CURRENT);
    let mut client = open(&proxy, &request.replace("realtime", "client"));
    client.send(b"over");
    client.end_sending();
    assert_eq!(client.rest(), b"the rest");
    let mut client = open(&proxy, &request.replace("realtime", "upstream"));
    assert_eq!((client.take(4), client.rest()), (b"over".to_vec(), Vec::new()));
    client.send(b"the rest");
    client.end_sending();
    for line in proxy.lines_of(2) {
        assert_eq!((&line["outcome"], &line["status"]), (&"success".into(), &101.into()));
    }
}

#[test]
fn the_side_that_breaks_an_upgraded_connection_is_named() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send(AGREED);
        if visit.head.line.contains("upstream") {
            visit.reset();
        } else {
            visit.wait_until_left();
        }
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = open(&proxy, &websocket(CURRENT).replace("realtime", "upstream"));
    client.rest();
    let line = proxy.only_line();
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"cut_off".into(), &"upstream_failed".into()));
    assert!(line["cause"].as_str().unwrap().starts_with("upstream's connection broke: "), "{line}");
    open(&proxy, &websocket(CURRENT)).reset();
    let line = &proxy.lines_of(2)[1];
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"client_gone".into(), &"client_gone".into()));
    eventually("upstream is left too", || (upstream.open_connections() == 0).then_some(()));
}

#[test]
fn an_upgraded_connection_in_which_nothing_moves_is_closed_and_one_in_which_something_does_is_not() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send(AGREED);
        for _ in 0..20 {
            visit.send(b".");
            std::thread::sleep(Duration::from_millis(100));
        }
        visit.wait_until_left();
    });
    let limit = Duration::from_secs(1);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.idle_timeout = limit).start();
    let mut client = open(&proxy, &websocket(CURRENT));
    assert_eq!(client.rest(), [b'.'; 20], "twice the limit of moving bytes, then silence");
    let line = proxy.only_line();
    assert_eq!(
        (&line["outcome"], &line["diagnosis"], &line["level"]),
        (&"idle".into(), &"idle".into(), &"info".into())
    );
    assert_eq!((&line["status"], &line["cause"]), (&101.into(), &"nothing moved for 1s (idle_timeout)".into()));
    assert_eq!(proxy.exchanges("current", "idle"), 1);
}

#[test]
fn a_side_that_says_no_farewell_is_no_failure_of_the_other_one() {
    let over = Gate::default();
    let gate = over.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.send(AGREED);
        if visit.head.line.contains("upstream") {
            visit.end_sending();
        }
        gate.pass();
        visit.close();
    });
    let limit = Duration::from_millis(200);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.idle_timeout = limit).start();
    let open_until_left = |side: &str| open(&proxy, &websocket(CURRENT).replace("realtime", side));
    let (ends, mut stays) = (open_until_left("client"), open_until_left("upstream"));
    ends.end_sending();
    assert_eq!(stays.rest(), b"");
    for line in proxy.lines_of(2) {
        let cause = "one side has closed, and the other one did not within 200ms";
        assert_eq!((&line["outcome"], &line["cause"]), (&"success".into(), &cause.into()));
        over.open();
    }
}

#[test]
fn an_upstream_that_takes_nothing_is_to_blame() {
    let over = Gate::default();
    let gate = over.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.send(AGREED);
        gate.pass();
        visit.close();
    });
    let limit = Duration::from_millis(500);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.idle_timeout = limit).start();
    let client = open(&proxy, &websocket(CURRENT));
    client.send_until_stuck(MANY, Duration::from_secs(10));
    let line = proxy.only_line();
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"timed_out".into(), &"upstream_failed".into()), "{line}");
    assert_eq!(line["cause"], "upstream took nothing for 500ms");
    over.open();
}

/// Back-pressure: keyward holds no more than the sockets do.
#[test]
fn a_client_that_does_not_read_stops_upstream() {
    let (told, sent) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.send(AGREED);
        told.send(visit.send_until_stuck(MANY, Duration::from_millis(300))).unwrap();
        visit.close();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = open(&proxy, &websocket(CURRENT));
    let sent = sent.recv().unwrap();
    assert!(sent < MANY, "all {sent} bytes were taken");
    assert_eq!(client.rest().len(), sent, "and none is lost");
}

#[test]
fn an_upgraded_connection_is_waited_for_when_keyward_drains_and_cut_when_the_time_is_over() {
    let echo = || {
        FakeUpstream::scripted(|visit: &mut Visit<'_>| {
            visit.send(AGREED);
            while let Some(byte) = visit.take(1).first().copied() {
                visit.send([byte]);
            }
            visit.close();
        })
    };
    let upstream = echo();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = open(&proxy, &websocket(CURRENT));
    proxy.server().drain();
    eventually("draining", || (proxy.admin("/readyz").status == 503).then_some(()));
    client.send(b"x");
    assert_eq!(client.take(1), b"x", "it goes on");
    client.end_sending();
    assert_eq!(client.rest(), b"");
    assert_eq!(proxy.join()[0]["outcome"], "success");

    let upstream = echo();
    let time = Duration::from_millis(200);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.drain_timeout = time).start();
    let mut client = open(&proxy, &websocket(CURRENT));
    proxy.server().drain();
    assert_eq!(client.rest(), b"");
    assert_eq!(proxy.join()[0]["outcome"], "shut_down");
}

/// The answer of an upstream that agrees (RFC 6455, 1.3).
const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// More than the sockets of a connection hold.
const MANY: usize = 64 * 1024 * 1024;

fn websocket(key: &str) -> String {
    format!(
        "GET /n8n/w1/v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {key}\r\n\
         Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The connection, which has to be upgraded.
#[track_caller]
fn open(proxy: &TestProxy, request: &str) -> Client {
    ask(proxy, request).unwrap_or_else(|answer| panic!("no upgrade: {answer:?}"))
}

/// The connection, if it was upgraded, else the answer.
fn ask(proxy: &TestProxy, request: &str) -> Result<Client, Answer> {
    let mut client = proxy.connect();
    client.send(request);
    let head = client.head();
    if head.line.contains(" 101 ") {
        return Ok(client);
    }
    let body = client.body(&head).unwrap();
    let status = head.line.split(' ').nth(1).unwrap().parse().unwrap();
    Err(Answer { status, head, body, whole: true })
}
