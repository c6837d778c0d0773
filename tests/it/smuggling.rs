//! Only what one parser can read in one way goes upstream; everything else is refused before anybody is asked.

use keyward::keys::rules::Policy;

use crate::support::{
    Answer, Answering, CURRENT, Case, FakeUpstream, Pieces, StrictUpstream, TOKEN, TestProxy, Trial, UNLISTED, corpus,
};

#[test]
fn every_case_of_the_corpus_has_one_meaning() {
    check_corpus(Policy::Observe, CURRENT, Pieces::Whole, |_| true);
}

#[test]
fn every_case_of_the_corpus_has_the_same_meaning_line_by_line() {
    check_corpus(Policy::Observe, CURRENT, Pieces::Lines, |case| !case.is_swept);
}

#[test]
fn every_case_of_the_corpus_has_the_same_meaning_byte_by_byte() {
    check_corpus(Policy::Observe, CURRENT, Pieces::Bytes, |case| !case.is_swept && !case.is_large());
}

#[test]
fn nothing_behind_a_refusal_is_anything_but_the_next_request() {
    check_corpus(Policy::Enforce, UNLISTED, Pieces::Whole, |_| true);
    check_corpus(Policy::Enforce, UNLISTED, Pieces::Lines, |case| !case.is_swept);
}

#[test]
fn a_lent_key_goes_with_one_request_alone() {
    check_corpus(Policy::Inject, TOKEN, Pieces::Whole, Case::has_key);
}

#[test]
fn two_lengths_that_differ_never_reach_upstream() {
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
    ] {
        check_refused(
            &format!("POST /v1/files HTTP/1.1\r\nHost: k\r\n{lengths}\r\nhelloGET /v1/stolen HTTP/1.1\r\n\r\n"),
            400,
        );
    }
}

#[test]
fn a_transfer_encoding_that_hides_the_end_never_reaches_upstream() {
    for encoding in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
    ] {
        check_refused(&format!("POST /v1/files HTTP/1.1\r\nHost: k\r\n{encoding}\r\n0\r\n\r\n"), 400);
    }
    check_refused("POST /v1/files HTTP/1.0\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

/// RFC 9112, 6.3: a reader may go by the chunks alone. Upstream must not see the length, or it could go by that.
#[test]
fn a_length_beside_chunks_does_not_reach_upstream() {
    for headers in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"]
    {
        let (upstream, proxy) = running();
        let mut client = proxy.connect();
        let hidden = "0\r\n\r\nGET /v1/hidden HTTP/1.1\r\nX: ";
        let chunks = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        client.send(format!("POST /v1/files HTTP/1.1\r\nHost: k\r\n{headers}\r\n{chunks}"));
        assert_eq!(client.answer().status, 200);
        let received = upstream.only_received();
        assert_eq!(received.head.header("content-length"), None, "{headers}");
        assert_eq!(String::from_utf8(received.body).unwrap(), hidden, "the body is one body");
    }
}

/// A trailer is no header: neither a credential nor a tag may come in by it, nor go on.
#[test]
fn trailers_declare_nothing_and_do_not_go_on() {
    let (upstream, proxy) = running();
    let mut client = proxy.connect();
    client.send(format!(
        "POST /v1/files HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nAuthorization: Bearer {CURRENT}\r\nX-N8N-Tag: wf=w1\r\n\r\n"
    ));
    let line = proxy.line(&client.answer());
    assert_eq!((&line["verdict"], &line["attribution"]), (&"missing".into(), &"none".into()));
    assert_eq!(upstream.only_received().body, b"hello");
}

#[test]
fn an_answer_whose_end_can_be_read_in_two_ways_reaches_no_client_so() {
    let answer = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    for lengths in ["Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: 2, 3\r\n", "Content-Length: x\r\n"] {
        let upstream = FakeUpstream::answering(answer(lengths, "one"));
        let proxy = TestProxy::with(&upstream).start();
        assert_eq!(proxy.get("/v1/models").send().status, 502, "{lengths}");
    }
    let (length, chunked) = ("Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n");
    for headers in [[length, chunked].concat(), [chunked, length].concat()] {
        let upstream = FakeUpstream::answering(answer(&headers, "5\r\nhello\r\n0\r\n\r\n"));
        let proxy = TestProxy::with(&upstream).start();
        let answer = proxy.get("/v1/models").send();
        assert_eq!((answer.header("content-length"), answer.text()), (None, "hello".to_owned()), "{headers}");
    }
}

#[test]
fn broken_chunks_are_not_passed_on_as_a_whole_body() {
    for chunks in ["5\r\nhelloX\r\n0\r\n\r\n", "G\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\nhello"] {
        let (upstream, proxy) = running();
        let mut client = proxy.connect();
        client.send(format!("POST /v1/files HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        let answer = client.rest();
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{chunks}: {}", String::from_utf8_lossy(&answer));
        let lines = proxy.end();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["outcome"], "client_gone", "{chunks}");
        assert!(upstream.received().iter().all(|received| !received.body.ends_with(b"X")));
    }
}

#[test]
fn heads_that_are_read_differently_by_others_are_refused() {
    for head in [
        "GET /v1/models HTTP/1.1\r\nHost: k\r\nX-A: 1\r\n X-Folded: 2\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: k\r\nX A: 1\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: k\r\nX-A: a\0b\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: k\r\nX-A: a\rb\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: k\r\n: nothing\r\n\r\n",
        "GET  /v1/models HTTP/1.1\r\nHost: k\r\n\r\n",
        "GET /v1/models HTTP/3.7\r\nHost: k\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ] {
        check_refused(head, 400);
    }
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let long = "a".repeat(70 * 1024);
    check_refused(&format!("GET /v1/models HTTP/1.1\r\nHost: k\r\nX-Long: {long}\r\n\r\n"), 431);
    check_refused(&format!("GET /v1/{long} HTTP/1.1\r\nHost: k\r\n\r\n"), 431);
    let many = "X-One-Of-Many: 1\r\n".repeat(200);
    check_refused(&format!("GET /v1/models HTTP/1.1\r\nHost: k\r\n{many}\r\n"), 431);
}

#[test]
fn the_limit_of_a_head_is_the_one_that_is_set() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).limits(|limits| limits.max_head = 4096).start();
    assert_eq!(proxy.get("/v1/models").header("X-Long", "a".repeat(3000)).send().status, 200);
    assert_eq!(proxy.get("/v1/models").header("X-Long", "a".repeat(5000)).send().status, 431);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn the_limit_holds_for_the_heads_of_answers_too() {
    let upstream = FakeUpstream::scripted(|visit| {
        let long = "a".repeat(if visit.head.line.contains("long") { 5000 } else { 3000 });
        visit.answer(&Answering::with(200, &format!("X-Long: {long}\r\n"), "ok"));
    });
    let proxy = TestProxy::with(&upstream).limits(|limits| limits.max_head = 4096).start();
    assert_eq!(proxy.get("/v1/models").send().status, 200);
    let answer = proxy.get("/v1/long").send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
}

#[test]
fn a_head_up_to_the_limit_passes() {
    let (upstream, proxy) = running();
    let long = "a".repeat(60 * 1024);
    assert_eq!(proxy.get("/v1/models").header("X-Long", &long).send().status, 200);
    assert_eq!(upstream.only_received().head.header("x-long"), Some(&*long));
}

#[test]
fn a_client_that_takes_keyward_for_an_http_proxy_is_told() {
    let (_upstream, proxy) = running();
    let mut client = proxy.connect();
    client.send("CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error_code()), (405, "not_a_proxy".to_owned()));
    // Not before: a client that ends its side while a request without a body is answered has left.
    client.end_sending();
    assert_eq!(client.rest(), b"");
    assert_eq!(proxy.get("/v1/alive").send().status, 200);
}

/// RFC 9112, 3.2.2: a server takes the absolute form too. It goes to upstream all the same, wherever it points.
#[test]
fn a_target_in_absolute_form_goes_to_upstream_in_origin_form() {
    let (upstream, proxy) = running();
    let line = proxy.get("http://elsewhere.example/n8n/w1/v1/models?a=1").key(CURRENT).logged();
    let head = upstream.only_received().head;
    assert_eq!(
        (head.line.as_str(), head.header("host")),
        ("GET /v1/models?a=1 HTTP/1.1", Some(&*upstream.authority()))
    );
    assert_eq!((&line["workflow_id"], &line["path"]), (&"w1".into(), &"/v1/models".into()));
    assert_eq!(proxy.get("http://elsewhere.example/v1/models?a=1").logged()["path"], "/v1/models");
    assert_eq!(upstream.received()[1].head.line, "GET /v1/models?a=1 HTTP/1.1");
}

/// Sends the cases that are picked, and each of them has to go one of the ways that it may.
#[track_caller]
fn check_corpus(policy: Policy, key: &str, pieces: Pieces, pick: impl Fn(&Case) -> bool) {
    let mut cases = corpus();
    cases.retain(|case| pick(case));
    let upstream = StrictUpstream::start();
    let proxy = TestProxy::towards(upstream.origin()).current_key(CURRENT).token("default", TOKEN);
    let trial = Trial { cases: &cases, pieces, key, is_welcome: key != UNLISTED };
    let differences = trial.differences(proxy.policy(policy, |_| ()), &upstream);
    let shown = differences.iter().take(40).map(|difference| difference.chars().take(600).collect());
    let shown: Vec<String> = shown.collect();
    assert!(differences.is_empty(), "{} of {} cases:\n{}", differences.len(), cases.len(), shown.join("\n"));
}

fn running() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    (upstream, proxy)
}

/// Sends these bytes: they get that status, the connection ends, and nothing of them goes upstream.
#[track_caller]
fn check_refused(request: &str, status: u16) -> Answer {
    let (upstream, proxy) = running();
    let mut client = proxy.connect();
    client.send(request);
    client.end_sending();
    let shown = &request[..request.len().min(200)];
    let answer = client.answer();
    assert_eq!(answer.status, status, "{shown}");
    assert_eq!(client.rest(), b"", "{shown}");
    assert_eq!(proxy.get("/v1/alive").send().status, 200);
    assert_eq!(upstream.only_received().head.line, "GET /v1/alive HTTP/1.1", "{shown}");
    answer
}
