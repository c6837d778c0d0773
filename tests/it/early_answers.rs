//! An answer that comes before the request is whole: it arrives, and nothing of the rest is taken for a request.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use keyward::keys::rules::Policy;
use keyward::net::origin::{Scheme, Upstream};

use crate::support::{
    Answer, Answering, CURRENT, Certificate, Client, FakeUpstream, Gate, TestProxy, UNLISTED, eventually,
};

#[test]
fn a_large_upload_with_a_refused_key_gets_the_whole_refusal() {
    let (upstream, proxy) = refusing();
    let upload = proxy.post("/v1/files").key(UNLISTED).body(vec![b'x'; LARGE]).bytes();
    for _ in 0..50 {
        check_refused(&mut proxy.connect(), &upload);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn over_tls_as_well() {
    let certificate = Certificate::make();
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| ());
    let proxy = proxy.certificate(&certificate).start();
    let upload = proxy.post("/v1/files").key(UNLISTED).body(vec![b'x'; LARGE]).bytes();
    for _ in 0..10 {
        check_refused(&mut proxy.connect_securely(&certificate), &upload);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn no_byte_of_a_refused_body_is_a_request() {
    for (framing, body) in [length(&evil()), chunked(&evil()), chunks_without_end(&evil()), length_of_more(&evil())] {
        let head = format!("POST /v1/files HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {UNLISTED}\r\n{framing}\r\n");
        // In one segment with the head.
        let (upstream, proxy) = refusing();
        let mut client = proxy.connect();
        client.send([head.as_bytes(), &body].concat());
        check_over(&upstream, &proxy, client);
        // Piece by piece, each of them once the answer is there.
        for piece in [1, 7, body.len()] {
            let (upstream, proxy) = refusing();
            let mut client = proxy.connect();
            client.send(&head);
            assert_eq!(client.answer().status, 401);
            body.chunks(piece).for_each(|piece| client.send(piece));
            client.end_sending();
            assert_eq!(client.rest(), b"", "{framing}");
            assert!(upstream.received().is_empty());
            assert_eq!(proxy.end().len(), 1);
        }
    }
}

/// keyward does not look for the end of such a body.
#[test]
fn nothing_behind_a_body_that_is_not_skipped_is_a_request() {
    for (framing, body) in [chunked(&evil()), chunks_without_end(&evil()), length(&evil().repeat(100))] {
        let head = format!("POST /v1/files HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {UNLISTED}\r\n{framing}\r\n");
        let (upstream, proxy) = refusing();
        let mut client = proxy.connect();
        client.send([head.as_bytes(), &body, &evil()].concat());
        check_over(&upstream, &proxy, client);
    }
}

#[test]
fn an_answer_says_whether_the_connection_is_over() {
    let (_upstream, proxy) = refusing();
    for (framing, connection) in [
        ("Content-Length: 5000\r\n", Some("close")),
        ("Transfer-Encoding: chunked\r\n", Some("close")),
        // Such a body is often there already, and then skipped.
        ("Content-Length: 50\r\n", None),
    ] {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {UNLISTED}\r\n{framing}\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (401, connection), "{framing}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_request_that_is_whole_costs_no_connection() {
    let (_upstream, proxy) = refusing();
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.send(proxy.get("/v1/models").key(UNLISTED).bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (401, None));
        client.send(proxy.post("/v1/responses").key(UNLISTED).body("{}").bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (401, None));
        client.send(proxy.post("/v1/responses").key(CURRENT).body("{}").bytes());
        assert_eq!(client.answer().status, 200);
        client.send([proxy_chunked().as_bytes(), b"2\r\n{}\r\n0\r\n\r\n"].concat());
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_told_no() {
    let (upstream, proxy) = refusing();
    let mut client = proxy.connect();
    client.send(format!(
        "POST /v1/files HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {UNLISTED}\r\nExpect: 100-continue\r\n\
         Content-Length: 5\r\n\r\n"
    ));
    assert_eq!(client.answer().status, 401, "and not 100 before");
    assert_eq!(client.rest(), b"");
    assert!(upstream.received().is_empty());
}

#[test]
fn answers_of_ours_arrive_wherever_they_come_from() {
    let (_upstream, proxy) = refusing();
    for (method, target, status) in [("GET", "/", 200), ("CONNECT", "api.openai.com:443", 405)] {
        let (mut client, answer) = upload(&proxy, &proxy.request(method, target).body(vec![b'x'; LARGE]).bytes());
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{method}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_large_upload_that_cannot_go_upstream_gets_the_whole_answer() {
    // Listened on for a moment only: every connection is refused.
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let upstream = Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: closed.port() };
    let proxy = TestProxy::towards(upstream).start();
    for _ in 0..10 {
        let (mut client, answer) = upload(&proxy, &proxy.post("/v1/files").body(vec![b'x'; LARGE]).bytes());
        assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_failed"));
        assert_eq!((answer.header("connection"), client.rest()), (Some("close"), Vec::new()));
    }
}

#[test]
fn a_redirect_is_told_whole_to_a_client_that_still_sends() {
    let proxy_and_upstream =
        answering_early(b"HTTP/1.1 307 Elsewhere\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n");
    for answer in early_answers(&proxy_and_upstream) {
        assert_eq!((answer.status, answer.error_code().as_str()), (400, "upstream_redirect"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
}

#[test]
fn an_early_answer_of_upstream_arrives_whole() {
    let proxy_and_upstream = answering_early(&Answering::json(413, TOO_LARGE));
    for answer in early_answers(&proxy_and_upstream) {
        assert_eq!((answer.status, answer.text().as_str()), (413, TOO_LARGE));
    }
}

/// The rest of the upload cannot be sent any more then, which is not what the client has to know.
#[test]
fn an_upstream_that_answers_and_leaves_in_the_middle_of_an_upload_has_answered() {
    for with_reset in [false, true] {
        let upstream = FakeUpstream::scripted(move |visit| {
            let _ = visit.piece_unkept();
            visit.send(Answering::json(400, TOO_LARGE));
            if with_reset { visit.reset() } else { visit.close() }
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let request = proxy.post("/v1/files").key(CURRENT).body(vec![b'x'; 2 * LARGE]).bytes();
        for _ in 0..20 {
            let (_client, answer) = upload(&proxy, &request);
            assert_eq!((answer.status, answer.text().as_str()), (400, TOO_LARGE));
            let line = proxy.line(&answer);
            assert_eq!((&line["outcome"], &line["upstream_code"]), (&"request_error".into(), &"c".into()), "{line}");
        }
    }
}

#[test]
fn an_upload_that_breaks_off_under_an_answer_is_no_fault_of_upstream() {
    let gate = Gate::default();
    let goes_on = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        let _ = visit.piece();
        visit.send("HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n");
        visit.chunk(&TOO_LARGE[..10]);
        goes_on.pass();
        visit.chunk(&TOO_LARGE[10..]);
        visit.send("0\r\n\r\n");
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    // It may also be that the rest of the answer comes first.
    for round in 1..=20 {
        let mut client = proxy.post("/v1/files").key(CURRENT).header("Content-Length", "100").begin();
        client.send("half");
        let mut framing = client.head().framing();
        assert_eq!(client.piece(&mut framing).unwrap().as_deref(), Some(&TOO_LARGE.as_bytes()[..10]));
        client.end_sending();
        gate.open();
        assert_eq!(client.piece(&mut framing).unwrap().as_deref(), Some(&TOO_LARGE.as_bytes()[10..]));
        assert_eq!(client.piece(&mut framing).unwrap(), None);
        let line = &proxy.lines_of(round)[round - 1];
        assert_eq!((&line["outcome"], &line["upstream_code"]), (&"request_error".into(), &"c".into()), "{line}");
    }
    eventually("the end of the half-used connection", || (upstream.open_connections() == 0).then_some(()));
}

/// Where its chunks break the protocol, what comes behind them is not known to be a request.
#[test]
fn nothing_behind_chunks_that_are_broken_under_an_answer_is_a_request() {
    let gate = Gate::default();
    let goes_on = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        let _ = visit.piece();
        visit.send("HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n");
        visit.chunk(&TOO_LARGE[..10]);
        goes_on.pass();
        visit.chunk(&TOO_LARGE[10..]);
        visit.send("0\r\n\r\n");
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    for round in 1..=5 {
        let mut client = proxy.post("/v1/files").key(CURRENT).header("Transfer-Encoding", "chunked").begin();
        client.send("4\r\nhalf\r\n");
        let mut framing = client.head().framing();
        assert_eq!(client.piece(&mut framing).unwrap().as_deref(), Some(&TOO_LARGE.as_bytes()[..10]));
        client.send([&b"5x\r\nhello\r\n0\r\n\r\n"[..], &evil()].concat());
        gate.open();
        assert_eq!(client.piece(&mut framing).unwrap().as_deref(), Some(&TOO_LARGE.as_bytes()[10..]));
        assert_eq!(client.piece(&mut framing).unwrap(), None);
        client.end_sending();
        assert_eq!(client.rest(), b"");
        assert_eq!(proxy.lines_of(round).len(), round);
    }
}

/// They are answered as soon as enough of them was seen.
#[test]
fn a_client_whose_head_cannot_be_read_is_told_so_while_it_still_sends() {
    let (upstream, proxy) = refusing();
    let large = "x".repeat(LARGE);
    for (head, status) in [
        (format!("GET /v1/models HTTP/1.1\r\nHost: k\r\nX-Large: {large}\r\n\r\n"), 431),
        (format!("POST /v1/files HTTP/1.1\r\nHost : k\r\nContent-Length: {LARGE}\r\n\r\n{large}"), 400),
    ] {
        for _ in 0..10 {
            let (mut client, answer) = upload(&proxy, head.as_bytes());
            assert_eq!((answer.status, client.rest()), (status, Vec::new()));
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_client_that_never_stops_is_cut_off() {
    let (_upstream, proxy) = refusing();
    let mut client = begin_endless(&proxy);
    assert_eq!(client.answer().status, 401);
    let sent = client.send_until_stuck(usize::MAX, Duration::from_secs(30));
    assert!((READ_ON..2 * READ_ON).contains(&sent), "{sent}");
    wait_until_left(&proxy);
}

/// It takes the two seconds that there are.
#[test]
fn a_client_that_goes_silent_is_not_waited_for() {
    let (_upstream, proxy) = refusing();
    let mut client = begin_endless(&proxy);
    assert_eq!(client.answer().status, 401);
    assert_eq!(client.rest(), b"", "keyward has said everything");
    wait_until_left(&proxy);
}

#[test]
fn a_client_that_still_sends_does_not_hold_up_the_end() {
    for stop in [keyward::app::Server::drain, keyward::app::Server::end] {
        let upstream = FakeUpstream::accepting();
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| ());
        let proxy = proxy.limits(|limits| limits.drain_timeout = Duration::from_hours(1)).start();
        let mut client = begin_endless(&proxy);
        assert_eq!(client.answer().status, 401);
        let begin = Instant::now();
        stop(proxy.server());
        let sending = std::thread::spawn(move || while client.send_until_stuck(1, Duration::from_secs(1)) > 0 {});
        assert_eq!(proxy.join().len(), 1);
        sending.join().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
}

fn refusing() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| ()).start();
    (upstream, proxy)
}

/// A client whose bytes are refused often gives up before it reads what came.
#[track_caller]
fn check_refused(client: &mut Client, upload: &[u8]) {
    client.try_send(upload).expect("that all is taken");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error_code().as_str()), (401, "unlisted_key"));
    assert_eq!((answer.header("connection"), client.rest()), (Some("close"), Vec::new()));
}

/// Sends all of it, and only then reads the answer.
#[track_caller]
fn upload(proxy: &TestProxy, bytes: &[u8]) -> (Client, Answer) {
    let mut client = proxy.connect();
    client.try_send(bytes).expect("that all is taken");
    let answer = client.answer();
    (client, answer)
}

/// One answer, and no more.
#[track_caller]
fn check_over(upstream: &FakeUpstream, proxy: &TestProxy, mut client: Client) {
    // A client that ends sending before has left in the midst of its request, and may get none.
    assert_eq!(client.answer().status, 401);
    client.end_sending();
    assert_eq!(client.rest(), b"");
    assert!(upstream.received().is_empty());
    assert_eq!(proxy.lines_of(1).len(), 1);
}

/// A request that no client sent, with a key that would be good.
fn evil() -> Vec<u8> {
    format!("GET /v1/evil HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {CURRENT}\r\n\r\n").into_bytes()
}

fn length(body: &[u8]) -> (String, Vec<u8>) {
    (format!("Content-Length: {}\r\n", body.len()), body.to_vec())
}

fn length_of_more(body: &[u8]) -> (String, Vec<u8>) {
    (format!("Content-Length: {LARGE}\r\n"), body.to_vec())
}

fn chunked(body: &[u8]) -> (String, Vec<u8>) {
    let (framing, chunks) = chunks_without_end(body);
    (framing, [&chunks[..], b"0\r\n\r\n"].concat())
}

fn chunks_without_end(body: &[u8]) -> (String, Vec<u8>) {
    let size = format!("{:x}\r\n", body.len());
    ("Transfer-Encoding: chunked\r\n".to_owned(), [size.as_bytes(), body, b"\r\n"].concat())
}

fn proxy_chunked() -> String {
    format!(
        "POST /v1/files HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {CURRENT}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
}

/// An upstream that answers at the head of the request, and takes nothing of its body until the gate is opened.
fn answering_early(answer: &[u8]) -> (TestProxy, FakeUpstream, Gate) {
    let (answer, gate) = (answer.to_vec(), Gate::default());
    let end = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.send(&answer);
        end.pass();
        visit.wait_until_left();
    });
    (TestProxy::with(&upstream).start(), upstream, gate)
}

fn early_answers((proxy, _upstream, gate): &(TestProxy, FakeUpstream, Gate)) -> Vec<Answer> {
    let ask = |_| {
        // More than the system keeps for an upstream that takes nothing: else all of it is sent, and the connection goes on.
        let (mut client, answer) = upload(proxy, &proxy.post("/v1/files").body(vec![b'x'; 8 * LARGE]).bytes());
        assert_eq!(client.rest(), b"");
        gate.open();
        answer
    };
    (0..10).map(ask).collect()
}

/// A refused request whose body never ends.
fn begin_endless(proxy: &TestProxy) -> Client {
    let mut client = proxy.connect();
    let length = u64::MAX / 4;
    client.send(format!(
        "POST /v1/files HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {UNLISTED}\r\nContent-Length: {length}\r\n\r\n"
    ));
    client
}

#[track_caller]
fn wait_until_left(proxy: &TestProxy) {
    let open = "keyward_client_connections_open{worker=\"0\"}";
    eventually("the client's seat", || (proxy.metric(open) == 0).then_some(()));
}

const LARGE: usize = 5 * 1024 * 1024;

/// What keyward reads on for at the most.
const READ_ON: usize = 64 * 1024 * 1024;

const TOO_LARGE: &str = "{\"error\":{\"message\":\"Too large.\",\"type\":\"t\",\"param\":null,\"code\":\"c\"}}";
