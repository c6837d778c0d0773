//! What stands around a body: the leave to send it, informational answers before the real one, trailers behind it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyward::keys::rules::Policy;
use keyward::net::limits::Limits;

use crate::support::http2::{Http2, channel, get, run};
use crate::support::{Answering, CURRENT, FakeUpstream, Gate, TOKEN, TestProxy, UNLISTED};

#[test]
fn a_client_is_told_to_send_its_body_when_upstream_wants_it_and_not_before() {
    let gate = Gate::default();
    let next = gate.clone();
    let (told, heard) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        assert_eq!(visit.head.header("expect"), Some("100-Continue"));
        next.pass();
        told.send(()).unwrap();
        visit.send("HTTP/1.1 100 Continue\r\n\r\n");
        visit.answer(&Answering::json(200, "{}"));
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client =
        proxy.post("/v1/files").key(CURRENT).header("Expect", "100-Continue").header("Content-Length", "5").begin();
    gate.open();
    assert_eq!(client.head().line, "HTTP/1.1 100 Continue");
    assert!(heard.try_recv().is_ok(), "upstream has said so before");
    client.send("hello");
    assert_eq!(client.answer().status, 200);
    assert_eq!(upstream.only_received().body, b"hello");
    assert_eq!(proxy.only_line()["bytes_in"], 5);
}

/// By upstream or by keyward: what a refused client would have sent stays where it is.
#[test]
fn a_client_that_is_refused_is_not_told_to_send_its_body() {
    let upstream = FakeUpstream::scripted(|visit| visit.send(Answering::json(401, "{\"error\":{\"code\":null}}")));
    for policy in [Policy::Observe, Policy::Enforce] {
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(policy, |_| {}).start();
        let expecting =
            proxy.post("/v1/files").key(UNLISTED).header("Expect", "100-continue").header("Content-Length", "5");
        let mut client = expecting.begin();
        assert_eq!(client.answer().status, 401, "the first that comes, {policy:?}");
        // A client that does not wait any longer: its body is not read.
        client.send("hello");
        client.end_sending();
        assert_eq!(client.rest(), b"");
        assert_eq!(proxy.only_line()["bytes_in"], 0);
    }
    assert!(upstream.only_received().body.is_empty());
}

#[test]
fn an_upstream_that_knows_nothing_of_it_gets_the_body_all_the_same() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let begin = Instant::now();
    let mut client = proxy.post("/v1/files").header("Expect", "100-continue").header("Content-Length", "5").begin();
    assert_eq!(client.head().line, "HTTP/1.1 100 Continue");
    assert!(begin.elapsed() >= Duration::from_millis(900), "it had its chance");
    client.send("hello");
    assert_eq!(client.answer().status, 200);
    assert_eq!(upstream.only_received().body, b"hello");
}

#[test]
fn without_a_body_there_is_nothing_to_wait_for() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    assert_eq!(proxy.get("/v1/models").header("Expect", "100-continue").send().status, 200);
    assert_eq!(upstream.only_received().head.header("expect"), None);
}

/// There is nothing to tell it by: hyper sends an HTTP/2 client no informational answer. It sends its body when it has
/// waited for long enough, as it has to (RFC 9110, 10.1.1), and then nothing holds it up any further.
#[test]
fn a_client_of_http_2_that_waits_to_be_told_is_not_held_up() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.head.line.contains("refused") {
            visit.send(Answering::json(401, "{\"error\":{\"code\":null}}"));
            visit.wait_until_left();
        } else {
            visit.answer(&Answering::json(200, "{}"));
        }
    });
    let limits = |limits: &mut Limits| limits.client_stall_timeout = Duration::from_millis(400);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let expecting = |path, body| {
            let request = get(path, CURRENT).method("POST").header("expect", "100-continue");
            request.header("content-length", "5").body(body).unwrap()
        };
        let (mut sender, body) = channel();
        let (answer, ()) = tokio::join!(client.send(expecting("/v1/files", body)), async {
            while upstream.received().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            sender.send_data(Bytes::from_static(b"hello")).await.unwrap();
            drop(sender);
        });
        assert_eq!(answer.status, 200);
        let received = upstream.only_received();
        assert_eq!((received.head.header("expect"), &*received.body), (None, &b"hello"[..]));
        // What upstream says at once is heard at once, and who never sends it is let go.
        let (_sender, body) = channel();
        assert_eq!(client.send(expecting("/v1/refused", body)).await.status, 401);
        let (_sender, body) = channel();
        assert_eq!(client.send(expecting("/v1/never", body)).await.status, 408);
    });
}

#[test]
fn informational_answers_are_not_the_answer_and_may_not_go_on_for_ever() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.head.line.contains("hints") {
            for _ in 0..50 {
                visit.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            }
            return visit.answer(&Answering::json(200, "{}"));
        }
        let many = "HTTP/1.1 102 Processing\r\nX-More: to come\r\n\r\n".repeat(500);
        while visit.try_send(&many).is_ok() {}
        visit.close();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    assert_eq!(proxy.get("/v1/hints").key(CURRENT).send().status, 200);
    let answer = proxy.get("/v1/endless").key(CURRENT).send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    let line = proxy.line(&answer);
    assert_eq!(line["outcome"], "cut_off");
    assert_eq!(line["cause"], "upstream sent 1048576 bytes and no answer");
}

#[test]
fn the_trailers_of_an_answer_reach_a_client_that_takes_them() {
    let upstream = FakeUpstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Keyward-Verdict, OpenAI-Project\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 7\r\nX-Unannounced: 1\r\nX-Keyward-Verdict: forged\r\nOpenAI-Project: proj_a\r\n\r\n",
    );
    let proxy =
        TestProxy::with(&upstream).current_key(CURRENT).token("default", TOKEN).policy(Policy::Inject, |_| {}).start();
    let takes = proxy.get("/v1/a").key(TOKEN).header("TE", "trailers").header("Connection", "TE, close");
    let mut client = takes.begin();
    client.head();
    let rest = String::from_utf8(client.rest()).unwrap();
    assert_eq!(rest, "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n", "what is announced, and nothing of ours or of our key");
    let sent = upstream.only_received().head;
    assert_eq!((sent.header("te"), sent.header("connection")), (Some("trailers"), Some("te")));
    let mut client = proxy.get("/v1/b").key(TOKEN).header("Connection", "close").begin();
    client.head();
    assert_eq!(client.rest(), b"5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(upstream.received()[1].head.header("te"), None);
}

#[test]
fn the_trailers_of_a_request_reach_upstream_but_no_credential_and_no_tag_by_them() {
    let upstream = FakeUpstream::scripted(|visit| {
        // The end of the body is for the test to see: chunks are read by hand.
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.extend(visit.take(1));
        }
        visit.send(Answering::json(200, String::from_utf8(seen).unwrap()));
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.connect();
    let trailers = format!("X-Sum: 7\r\nAuthorization: Bearer {CURRENT}\r\nApi-Key: {CURRENT}\r\nX-N8N-Tag: wf=w1\r\n");
    client.send(format!(
        "POST /v1/files HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, Authorization, Api-Key, X-N8N-Tag\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    ));
    let answer = client.answer();
    assert_eq!(answer.text(), "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
    let line = proxy.line(&answer);
    assert_eq!((&line["verdict"], &line["attribution"]), (&"missing".into(), &"none".into()));
}
