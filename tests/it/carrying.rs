//! Heads and bodies pass as they are, in both directions, as soon as they come.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ring::digest::{Context, Digest, SHA256};
use rustls::pki_types::PrivateKeyDer;

use crate::support::{Answering, CURRENT, Client, DEADLINE, FakeUpstream, Framing, Gate, TestProxy, Visit, eventually};

#[test]
fn bodies_pass_byte_for_byte_in_both_directions() {
    let reply = b"{ \"a\" :\t1,\r\n\"\xff\x00\":\"\xc3\"}".to_vec();
    let upstream = FakeUpstream::answering(Answering::json(200, &reply));
    let proxy = TestProxy::with(&upstream).start();
    let request = b"{\"model\" : \"gpt\",\n \"\xfe\x00\": [1.0e5, 1.00]}";
    let answer = proxy.post("/v1/responses").key(CURRENT).body(request).send();
    assert_eq!((answer.status, answer.body.clone()), (200, reply));
    assert_eq!(upstream.only_received().body, request);
    let line = proxy.line(&answer);
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&request.len().into(), &answer.body.len().into()));
}

#[test]
fn a_client_that_keeps_its_connection_may_use_it_again_and_again() {
    let (upstream, proxy) = running();
    let mut client = proxy.connect();
    for number in 0..5 {
        client.send(proxy.post("/v1/responses").key(CURRENT).body(format!("{number}")).bytes());
        assert_eq!(client.answer().status, 200);
    }
    let bodies: Vec<_> = upstream.received().into_iter().map(|received| received.body).collect();
    assert_eq!(bodies, [b"0", b"1", b"2", b"3", b"4"]);
    assert_eq!(upstream.connections(), 1, "upstream's connection is used again too");
    assert_eq!(proxy.metric("keyward_client_connections_total"), 1);
}

#[test]
fn connection_close_ends_the_clients_connection_and_not_upstreams() {
    let (upstream, proxy) = running();
    for _ in 0..3 {
        let mut client = proxy.get("/v1/models").header("Connection", "close").begin();
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(client.rest(), b"");
    }
    assert!(upstream.received().iter().all(|received| received.head.header("connection").is_none()));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn each_event_of_a_stream_arrives_before_upstream_sends_the_next() {
    let next = Gate::default();
    let upstream = FakeUpstream::scripted(stream(next.clone()));
    check_streams(&TestProxy::with(&upstream).start(), &next);
}

#[test]
fn each_event_of_a_stream_arrives_as_soon_over_tls() {
    let (next, (certificate, tls)) = (Gate::default(), certified("127.0.0.1"));
    let upstream = FakeUpstream::over_tls(tls, stream(next.clone()));
    check_streams(&TestProxy::with(&upstream).trusting(&certificate).start(), &next);
}

#[test]
fn an_upload_in_chunks_reaches_upstream_before_the_client_has_sent_its_end() {
    let (told, heard) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        while let Ok(Some(piece)) = visit.piece() {
            told.send(String::from_utf8(piece).unwrap()).unwrap();
        }
        visit.send(Answering::json(200, "{}"));
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Transfer-Encoding", "chunked").begin();
    for part in ["first", "second", "third"] {
        client.send(format!("{:x}\r\n{part}\r\n", part.len()));
        assert_eq!(heard.recv_timeout(DEADLINE).unwrap(), part);
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!(upstream.only_received().body, b"firstsecondthird");
}

#[test]
fn a_large_upload_and_a_large_download_pass_whole_in_constant_memory() {
    let (told, heard) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        let mut hash = Context::new(&SHA256);
        while let Ok(Some(piece)) = visit.piece_unkept() {
            hash.update(&piece);
        }
        told.send(hash.finish()).unwrap();
        visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        large_body().for_each(|piece| visit.send(piece));
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Content-Length", LARGE.to_string()).begin();
    let mut memory = Growth::begin();
    for piece in large_body() {
        client.send(piece);
        memory.look();
    }
    assert_eq!(heard.recv_timeout(DEADLINE).unwrap().as_ref(), large_hash().as_ref());
    let (received, size) = hash_body(&mut client, &mut memory);
    assert_eq!((received.as_ref(), size), (large_hash().as_ref(), LARGE));
    assert!(memory.most < 48 * 1024, "it grew by {} KiB", memory.most);
    let line = proxy.only_line();
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&LARGE.into(), &LARGE.into()));
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    let end = Gate::default();
    let gate = end.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        gate.pass();
        visit.close();
    });
    let proxy = TestProxy::with(&upstream).start();
    let client = proxy.post("/v1/files").header("Content-Length", LARGE.to_string()).begin();
    let sent = client.send_until_stuck(LARGE, Duration::from_secs(1));
    assert!(sent < LARGE / 2, "{sent} bytes were taken, though the other side reads none");
    end.open();
}

#[test]
fn a_client_that_does_not_read_holds_upstream_back() {
    let (told, heard) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        told.send(visit.send_until_stuck(LARGE, Duration::from_secs(1))).unwrap();
        visit.close();
    });
    let proxy = TestProxy::with(&upstream).start();
    let _client = proxy.get("/v1/files/f/content").begin();
    let sent = heard.recv_timeout(DEADLINE).unwrap();
    assert!(sent < LARGE / 2, "{sent} bytes were taken, though the other side reads none");
}

#[test]
fn answers_without_a_body_end_where_they_end() {
    let upstream = FakeUpstream::scripted(|visit| {
        let answer = match visit.head.line.split(' ').next().unwrap() {
            "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            "DELETE" => "HTTP/1.1 204 No Content\r\n\r\n",
            _ => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        };
        visit.answer(answer.as_bytes());
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.connect();
    client.send(proxy.request("HEAD", "/v1/models").bytes());
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("1234")));
    client.send(proxy.request("DELETE", "/v1/files/f").bytes());
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("content-length"), answer.header("transfer-encoding")), (204, None, None));
    client.send(proxy.get("/v1/models").bytes());
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("etag")), (304, Some("\"a\"")));
    assert_eq!(upstream.connections(), 2, "none is used again behind an answer to HEAD");
    assert!(proxy.lines_of(3).iter().all(|line| line["outcome"] == "success"));
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\nwhatever came");
        visit.close();
    });
    let proxy = TestProxy::with(&upstream).start();
    let answer = proxy.get("/v1/audio").send();
    assert_eq!(answer.text(), "whatever came");
    assert_eq!(proxy.line(&answer)["outcome"], "success");
}

#[test]
fn a_connection_that_upstream_has_closed_is_not_used_again() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(&Answering::json(200, "{}"));
        visit.close();
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.connect();
    for number in 1..=5 {
        client.send(proxy.post("/v1/responses").key(CURRENT).body("{}").bytes());
        assert_eq!(client.answer().status, 200);
        eventually("the end of upstream's connection", || (upstream.open_connections() == 0).then_some(()));
        assert_eq!(upstream.connections(), number);
    }
    assert_eq!(upstream.received().len(), 5, "each request was sent once");
}

#[test]
fn an_unused_connection_to_upstream_is_closed_in_time() {
    let (upstream, _) = running();
    let proxy =
        TestProxy::with(&upstream).limits(|limits| limits.pool_idle_timeout = Duration::from_millis(100)).start();
    proxy.get("/v1/models").send();
    eventually("the end of the connection", || (upstream.open_connections() == 0).then_some(()));
    assert_eq!(proxy.get("/v1/models").send().status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn upstream_over_tls_is_trusted_by_the_given_certificates_alone() {
    let (trusted, other, misnamed) = (certified("127.0.0.1"), certified("127.0.0.1"), certified("api.example"));
    let upstream = FakeUpstream::over_tls(trusted.1, ok);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).trusting(&trusted.0).start();
    for _ in 0..2 {
        let answer = proxy.post("/v1/responses").key(CURRENT).body("over TLS").send();
        assert_eq!((answer.status, answer.text()), (200, "{}".to_owned()));
    }
    assert_eq!((upstream.received()[0].body.as_slice(), upstream.connections()), (&b"over TLS"[..], 1));

    let misnamed_upstream = FakeUpstream::over_tls(misnamed.1, ok);
    for (upstream, certificate) in [(&upstream, &other.0), (&misnamed_upstream, &misnamed.0)] {
        let proxy = TestProxy::with(upstream).current_key(CURRENT).trusting(certificate).start();
        let answer = proxy.get("/v1/models").key(CURRENT).send();
        assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
        assert_eq!(proxy.line(&answer)["outcome"], "unreachable");
    }
    assert_eq!((upstream.received().len(), misnamed_upstream.received().len()), (2, 0), "no key went to a stranger");
}

#[test]
fn a_large_body_passes_over_tls() {
    let (certificate, tls) = certified("127.0.0.1");
    let upstream = FakeUpstream::over_tls(tls, |visit| {
        visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Ok(Some(piece)) = visit.piece_unkept() {
            visit.chunk(piece);
        }
        visit.send("0\r\n\r\n");
    });
    let proxy = TestProxy::with(&upstream).trusting(&certificate).start();
    let body: Vec<u8> = large_body().take(32).flatten().collect();
    let answer = proxy.post("/v1/files").body(&body).send();
    assert!(answer.body == body, "{} of {} bytes came back", answer.body.len(), body.len());
}

#[test]
fn headers_of_the_connection_stay_behind_in_both_directions() {
    let headers = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                   Upgrade: h2c\r\nAlt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=1\r\nX-End: 2\r\n";
    let upstream = FakeUpstream::answering(Answering::with(200, headers, "ok"));
    let proxy = TestProxy::with(&upstream).start();
    let answer = proxy
        .post("/v1/responses")
        .header("Connection", "keep-alive, X-Hop")
        .header("Connection", "X-Other-Hop")
        .header("X-Hop", "1")
        .header("X-Other-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic c2VjcmV0OnNlY3JldA==")
        .header("TE", "gzip")
        .header("Upgrade", "h2c")
        .header("X-End", "2")
        .body("{}")
        .send();
    assert_eq!(names(&upstream.only_received().head.headers), ["content-length", "host", "x-end"]);
    let left = ["content-length", "date", "x-end", "x-keyward-id", "x-keyward-verdict"];
    assert_eq!(names(&answer.head.headers), left);
}

#[test]
fn no_client_strips_a_credential_by_naming_it_a_hop() {
    let (upstream, proxy) = running();
    let protocol = format!("realtime, openai-insecure-api-key.{CURRENT}");
    for (name, value) in [("Authorization", "Bearer sk-a"), ("api-key", CURRENT), ("Sec-WebSocket-Protocol", &protocol)]
    {
        proxy.get("/v1/models").header(name, value).header("Connection", format!("close, {name}")).send();
        assert_eq!(upstream.received().pop().unwrap().head.header(name), Some(value));
    }
}

#[test]
fn the_host_is_upstreams() {
    let (upstream, proxy) = running();
    proxy.get("/v1/models").header("X-Forwarded-Host", "keyward").send();
    let head = upstream.only_received().head;
    assert_eq!(head.all("host").collect::<Vec<_>>(), [upstream.authority()]);
    assert_eq!(head.line, "GET /v1/models HTTP/1.1");
}

#[test]
fn a_client_of_http_1_0_gets_an_answer_it_can_read() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.connect();
    client.send("GET /v1/models HTTP/1.0\r\n\r\n");
    let head = client.head();
    assert_eq!((head.line.as_str(), head.header("transfer-encoding")), ("HTTP/1.0 200 OK", None));
    assert_eq!(client.rest(), b"onetwo");
    assert_eq!(upstream.only_received().head.line, "GET /v1/models HTTP/1.1");
}

/// The end of such an answer is that of the connection, whatever the client asked for. What it sent behind is no part of it.
#[test]
fn an_answer_that_ends_with_its_connection_ends_it() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    });
    let proxy = TestProxy::with(&upstream).start();
    for behind in ["", "GET /v1/files HTTP/1.0\r\n\r\n"] {
        let mut client = proxy.connect();
        client.send(format!("GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{behind}"));
        let head = client.head();
        assert_eq!((head.header("connection"), head.header("content-length")), (Some("close"), None));
        assert_eq!(client.rest(), b"onetwo", "behind it {behind:?}");
    }
}

/// A connection that is closed with unread bytes is reset, and its client may lose the answer that it has not read yet.
#[test]
fn a_client_that_sends_more_than_it_may_is_not_reset() {
    let (_upstream, proxy) = running();
    for (behind, size) in [(2, 2), (60_000, 100)] {
        let mut client = proxy.connect();
        client.send("GET /v1/models HTTP/1.1\r\nHost: k\r\nConnection: close\r\nX-Key: 1\r\n\r\n");
        // Its last part comes on its own.
        for piece in vec![b'.'; behind].chunks(size.max(behind / 2)) {
            client.send(piece);
        }
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.piece(&mut Framing::UntilClose).expect("no reset"), None, "{behind} bytes behind it");
    }
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let upstream = FakeUpstream::scripted(|visit| {
        let path = visit.head.line.split(' ').nth(1).unwrap().to_owned();
        visit.answer(&Answering::json(200, path));
    });
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.connect();
    let requests: Vec<u8> =
        (0..10).flat_map(|number| proxy.post(&format!("/v1/{number}")).body(format!("{number}")).bytes()).collect();
    client.send(requests);
    for number in 0..10 {
        assert_eq!(client.answer().text(), format!("/v1/{number}"));
    }
    assert_eq!(proxy.lines_of(10).len(), 10);
}

fn running() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    (upstream, proxy)
}

fn ok(visit: &mut Visit<'_>) {
    visit.answer(&Answering::json(200, "{}"));
}

/// Sends an event for each time that the gate is opened.
fn stream(next: Gate) -> impl Fn(&mut Visit<'_>) {
    move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        for number in 0..EVENTS {
            next.pass();
            visit.chunk(format!("data: {number}\n\n"));
        }
        visit.send("0\r\n\r\n");
    }
}

#[track_caller]
fn check_streams(proxy: &TestProxy, next: &Gate) {
    let mut client = proxy.post("/v1/responses").key(CURRENT).body("{\"stream\":true}").begin();
    let head = client.head();
    assert_eq!(head.header("content-type"), Some("text/event-stream"), "the head comes before the first event");
    for number in 0..EVENTS {
        next.open();
        assert_eq!(client.chunk(), format!("data: {number}\n\n"));
    }
    assert_eq!(client.piece(&mut Framing::Chunked).unwrap(), None);
    assert_eq!(proxy.only_line()["outcome"], "success");
}

/// A certificate for that name (PEM), and a TLS server that has it.
fn certified(name: &str) -> (String, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    (made.cert.pem(), Arc::new(config.unwrap()))
}

fn names(headers: &[(String, String)]) -> Vec<String> {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names
}

/// A body of [`LARGE`] bytes. No two pieces are the same.
fn large_body() -> impl Iterator<Item = Vec<u8>> {
    (0..LARGE / PIECE).map(|number| number.to_le_bytes().repeat(PIECE / size_of::<usize>()))
}

fn large_hash() -> Digest {
    let mut hash = Context::new(&SHA256);
    large_body().for_each(|piece| hash.update(&piece));
    hash.finish()
}

/// The hash of the answer's body, and how long it is.
fn hash_body(client: &mut Client, memory: &mut Growth) -> (Digest, usize) {
    let mut framing = client.head().framing();
    let (mut hash, mut size) = (Context::new(&SHA256), 0);
    while let Some(piece) = client.piece(&mut framing).unwrap() {
        hash.update(&piece);
        size += piece.len();
        memory.look();
    }
    (hash.finish(), size)
}

/// How much the process's memory grew, in KiB.
struct Growth {
    before: usize,
    most: usize,
}

impl Growth {
    fn begin() -> Self {
        Self { before: resident(), most: 0 }
    }

    fn look(&mut self) {
        self.most = self.most.max(resident().saturating_sub(self.before));
    }
}

/// The process's resident memory in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

const EVENTS: usize = 4;

const LARGE: usize = 64 * 1024 * 1024;

const PIECE: usize = 64 * 1024;
