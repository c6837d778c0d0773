//! Upstream fails, or the client leaves: what each side gets, and that the log and the metrics say it once.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use keyward::keys::rules::Policy;
use keyward::net::origin::{Scheme, Upstream};
use serde_json::Value;

use crate::support::{
    Answering, CURRENT, Client, DEADLINE, FakeUpstream, Framing, Gate, OUTDATED, TOKEN, TestProxy, UNLISTED, Visit,
    eventually,
};

#[test]
fn an_upstream_that_cannot_be_reached_is_a_502_in_openais_shape() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let upstream = Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port };
    let proxy = TestProxy::towards(upstream).current_key(CURRENT).start();
    let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    assert_eq!(answer.header("x-keyward-verdict"), Some("current"));
    let line = proxy.line(&answer);
    assert_eq!(
        (&line["diagnosis"], &line["level"], &line["status"]),
        (&"upstream_failed".into(), &"error".into(), &502.into())
    );
    assert_eq!(proxy.metric("keyward_upstream_failures_total"), 1);
    check_once(proxy, "unreachable");
}

#[test]
fn a_name_without_an_address_is_a_502_too() {
    let upstream = Upstream { scheme: Scheme::Http, host: "nowhere.invalid".into(), port: 80 };
    let proxy = TestProxy::towards(upstream).current_key(CURRENT).start();
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    check_once(proxy, "unreachable");
}

#[test]
fn a_connection_that_takes_too_long_is_given_up() {
    // It listens, and never says a word of TLS.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let upstream =
        Upstream { scheme: Scheme::Https, host: "127.0.0.1".into(), port: silent.local_addr().unwrap().port() };
    let proxy = TestProxy::towards(upstream)
        .current_key(CURRENT)
        .limits(|limits| limits.connect_timeout = Duration::from_millis(100))
        .start();
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    assert!(
        answer.text().contains("no TLS session with 127.0.0.1 within 100ms (connect_timeout)"),
        "{}",
        answer.text()
    );
    check_once(proxy, "unreachable");
}

#[test]
fn an_upstream_that_leaves_before_its_answer_is_a_502() {
    for with_reset in [false, true] {
        let upstream = FakeUpstream::scripted(move |visit| {
            let _ = visit.body();
            if with_reset { visit.reset() } else { visit.close() }
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
        assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
        assert_eq!(upstream.received().len(), 1, "what upstream may have begun is not sent again");
        check_once(proxy, "cut_off");
    }
}

#[test]
fn an_upstream_that_talks_nonsense_is_a_502() {
    for nonsense in ["", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nX: 1\r\nhalf a he"]
    {
        let upstream = FakeUpstream::scripted(move |visit| {
            visit.answer(nonsense.as_bytes());
            visit.close();
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.get("/v1/models").key(CURRENT).send();
        assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()), "{nonsense}");
        check_once(proxy, "cut_off");
    }
}

#[test]
fn an_answer_that_is_cut_off_ends_so_that_the_client_can_tell() {
    for (head, sent) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "half"),
        (Answering::STREAM, "4\r\nhalf\r\n"),
        (Answering::STREAM, "4\r\nhalf\r\nff\r\nonly"),
        (Answering::STREAM, "4\r\nhalf\r\nnonsense\r\n"),
    ] {
        let upstream = FakeUpstream::scripted(move |visit| {
            visit.answer(head.as_bytes());
            visit.send(sent);
            visit.close();
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let mut client = proxy.get("/v1/models").key(CURRENT).begin();
        let head = client.head();
        assert_eq!(head.line, "HTTP/1.1 200 OK");
        let mut framing = head.framing();
        assert_eq!(
            client.piece(&mut framing).unwrap().as_deref(),
            Some(&b"half"[..]),
            "what came belongs to the client"
        );
        assert!(client.body(&head).is_err(), "{sent:?} was taken for a whole answer");
        let line = proxy.only_line();
        assert_eq!((&line["status"], &line["diagnosis"]), (&200.into(), &"upstream_failed".into()));
        check_once(proxy, "cut_off");
    }
}

#[test]
fn an_upstream_that_is_silent_for_too_long_is_a_504() {
    let (upstream, left) = silent_upstream();
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .limits(|limits| limits.answer_timeout = Duration::from_millis(200))
        .start();
    let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
    assert_eq!((answer.status, answer.error_code()), (504, "upstream_failed".to_owned()));
    left.recv_timeout(DEADLINE).expect("the request is cancelled");
    check_once(proxy, "timed_out");
}

#[test]
fn an_upstream_that_switches_protocols_unasked_is_at_fault() {
    let upstream =
        FakeUpstream::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.status, &*answer.error_code()), (502, "upstream_failed"));
    let line = proxy.line(&answer);
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"cut_off".into(), &"upstream_failed".into()), "{line}");
}

#[test]
fn an_answer_that_stands_still_for_too_long_ends_so_that_the_client_can_tell() {
    let (upstream, left) = stalling_upstream();
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .limits(|limits| limits.idle_timeout = Duration::from_secs(1))
        .start();
    let mut client = proxy.get("/v1/models").key(CURRENT).begin();
    client.head();
    let mut framing = Framing::Chunked;
    assert_eq!(client.piece(&mut framing).unwrap().as_deref(), Some(&b"first"[..]));
    assert!(client.piece(&mut framing).is_err(), "it was taken for a whole answer");
    left.recv_timeout(DEADLINE).expect("the request is cancelled");
    check_once(proxy, "timed_out");
}

#[test]
fn a_client_that_does_not_bring_its_head_to_an_end_is_let_go() {
    let upstream = FakeUpstream::accepting();
    let proxy =
        TestProxy::with(&upstream).limits(|limits| limits.client_idle_timeout = Duration::from_millis(200)).start();
    let mut silent = proxy.connect();
    let mut slow = proxy.connect();
    slow.send("GET /v1/models HTTP/1.1\r\nHost: k\r\nX-Slow: ");
    let mut idle = proxy.get("/v1/models").begin();
    assert_eq!(idle.answer().status, 200);
    for client in [&mut silent, &mut slow, &mut idle] {
        assert!(!client.rest().starts_with(b"HTTP/1.1 2"));
    }
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(proxy.end().len(), 1);
}

#[test]
fn slow_bodies_are_no_fault_as_long_as_something_moves() {
    let next = Gate::default();
    let gate = next.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        for _ in 0..5 {
            gate.pass();
            visit.chunk("more");
        }
        visit.send("0\r\n\r\n");
    });
    let proxy = TestProxy::with(&upstream).limits(|limits| limits.idle_timeout = Duration::from_secs(3)).start();
    let mut client = proxy.get("/v1/models").begin();
    client.head();
    let begin = Instant::now();
    for step in 1..=5 {
        // All waits together are longer than the limit, which only a single one must not reach.
        eventually("its turn", || (begin.elapsed() > step * Duration::from_millis(700)).then_some(()));
        next.open();
        assert_eq!(client.chunk(), "more");
    }
    assert_eq!(client.piece(&mut Framing::Chunked).unwrap(), None);
    assert_eq!(proxy.only_line()["outcome"], "success");
}

/// n8n's Agents take a 404, a 405 or a page on `/responses` for an API without it, and go by another one for minutes.
#[test]
fn nothing_of_keywards_own_makes_an_agent_leave_responses() {
    #[track_caller]
    fn check(proxy: &TestProxy, key: &str, expected: u16) {
        let path = "/n8n/editor/__UNKNOWN__/none/v1/responses";
        let agent = "ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.81 node.js/24";
        let answer = proxy.post(path).key(key).header("User-Agent", agent).body("{}").send();
        assert_eq!(answer.status, expected, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
        assert_eq!(proxy.line(&answer)["client"], "agent");
    }
    let redirecting =
        FakeUpstream::answering(Answering::with(307, "Location: https://elsewhere.example/\r\n", "moved"));
    check(&TestProxy::with(&redirecting).current_key(CURRENT).start(), CURRENT, 400);
    let leaving = FakeUpstream::scripted(|visit| {
        let _ = visit.body();
        visit.close();
    });
    check(&TestProxy::with(&leaving).current_key(CURRENT).start(), CURRENT, 502);
    let (silent, _left) = silent_upstream();
    let limited = TestProxy::with(&silent).current_key(CURRENT);
    check(&limited.limits(|limits| limits.answer_timeout = Duration::from_millis(200)).start(), CURRENT, 504);
    let accepting = FakeUpstream::accepting();
    check(&TestProxy::with(&accepting).current_key(CURRENT).policy(Policy::Enforce, |_| {}).start(), OUTDATED, 401);
    check(&TestProxy::with(&accepting).current_key(CURRENT).policy(Policy::Inject, |_| {}).start(), OUTDATED, 401);
}

#[test]
fn a_redirect_never_leaves() {
    for status in [301, 302, 303, 307, 308] {
        let location = "Location: https://elsewhere.example/v1/models\r\n";
        let upstream = FakeUpstream::answering(Answering::with(status, location, "moved"));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.get("/v1/models").key(CURRENT).send();
        assert_eq!((answer.status, answer.error_code()), (400, "upstream_redirect".to_owned()), "{status}");
        assert_eq!((answer.header("location"), answer.header("x-keyward-verdict")), (None, Some("current")));
        assert!(!answer.text().contains("elsewhere"), "{}", answer.text());
        assert_eq!(proxy.line(&answer)["diagnosis"], "upstream_redirect");
        check_once(proxy, "redirected");
    }
}

#[test]
fn a_client_that_leaves_before_the_first_token_cancels_upstream() {
    let (upstream, left) = silent_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let client = proxy.post("/v1/responses").key(CURRENT).body("{}").begin();
    eventually("the request upstream", || upstream.received().first().filter(|seen| !seen.body.is_empty()).cloned());
    check_cancelled(client, &left);
    assert_eq!(proxy.only_line()["status"], Value::Null);
    check_once(proxy, "client_gone");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_stream_cancels_upstream() {
    let (upstream, left) = stalling_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.post("/v1/responses").key(CURRENT).body("{}").begin();
    client.head();
    assert_eq!(client.chunk(), "first");
    check_cancelled(client, &left);
    let line = proxy.only_line();
    assert_eq!((&line["status"], &line["bytes_out"], &line["level"]), (&200.into(), &5.into(), &"info".into()));
    check_once(proxy, "client_gone");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_upload_cancels_upstream() {
    let (upstream, left) = silent_upstream();
    for framing in [("Content-Length", "100", "half"), ("Transfer-Encoding", "chunked", "4\r\nhalf\r\n")] {
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let mut client = proxy.post("/v1/files").key(CURRENT).header(framing.0, framing.1).begin();
        client.send(framing.2);
        eventually("the upload", || upstream.received().pop().filter(|seen| seen.body == b"half"));
        check_cancelled(client, &left);
        check_once(proxy, "client_gone");
    }
}

#[test]
fn a_client_that_leaves_with_one_exchange_leaves_the_others_alone() {
    let (next, (told, left)) = (Gate::default(), mpsc::channel());
    let gate = next.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        if visit.head.line.contains("leaves") {
            visit.wait_until_left();
            told.send(Instant::now()).unwrap();
        } else {
            gate.pass();
            visit.answer(&Answering::json(200, "{}"));
        }
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut stays = proxy.get("/v1/stays").key(CURRENT).begin();
    let leaves = proxy.get("/v1/leaves").key(CURRENT).begin();
    eventually("both upstream", || (upstream.received().len() == 2).then_some(()));
    check_cancelled(leaves, &left);
    next.open();
    assert_eq!(stays.answer().status, 200);
}

#[test]
fn an_early_answer_reaches_a_client_that_still_uploads() {
    let upstream = FakeUpstream::scripted(|visit| {
        let _ = visit.piece();
        visit.send(Answering::json(413, r#"{"error":{"code":"too_large"}}"#));
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Content-Length", "100000000").begin();
    client.send("the first of many");
    let answer = client.answer();
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (413, &"too_large".into()));
    let line = proxy.line(&answer);
    assert_eq!((&line["outcome"], &line["upstream_code"]), (&"request_error".into(), &"too_large".into()));
    assert_eq!(proxy.lines().len(), 1);
    eventually("the end of the half-used connection", || (upstream.open_connections() == 0).then_some(()));
}

/// Upstream closes a kept connection just as it is used again: who asks for something that may be done twice gets it, and
/// nothing else is ever sent twice.
#[test]
fn a_kept_connection_that_ends_under_a_request_is_replaced_where_that_is_safe() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.number() % 3 == 1 {
            let _ = visit.body();
            visit.close();
        } else {
            visit.answer(&Answering::json(200, "{}"));
        }
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    for _ in 0..2 {
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    }
    assert_eq!((upstream.received().len(), upstream.connections()), (3, 2));
    assert_eq!(proxy.exchanges("current", "success"), 2);
    let upload = proxy.post("/v1/responses").key(CURRENT).body("{}");
    assert_eq!(upload.send().status, 200);
    let answer = upload.send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    assert_eq!(upstream.received().len(), 5, "it was sent once");
}

#[test]
fn what_follows_an_answer_on_upstreams_connection_reaches_no_client() {
    let stray = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(&[Answering::json(200, "{}"), stray.into()].concat());
    });
    let proxy = TestProxy::with(&upstream).start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/v1/models").send().text(), "{}");
    }
}

/// A machine that vanishes says nothing, so the system has to ask for it. Asking takes minutes; that it is asked can be seen.
#[test]
#[cfg(target_os = "linux")]
fn both_sides_are_asked_whether_they_are_still_there() {
    let (upstream, _left) = silent_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let client = proxy.get("/v1/models").begin();
    let from_client = client.address().port();
    let to_upstream = upstream.origin().port;
    eventually("a timer of both connections", || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let sockets: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        // Fields of proc(5): the other side's address, the state (01 is open), and the kind of timer (02 is keepalive).
        let is_asked = |port: u16| {
            let other = format!(":{port:04X}");
            sockets
                .iter()
                .any(|socket| socket[2].ends_with(&other) && socket[3] == "01" && socket[5].starts_with("02:"))
        };
        (is_asked(from_client) && is_asked(to_upstream)).then_some(())
    });
}

/// One that reads requests and never answers, and says when keyward has left it.
fn silent_upstream() -> (FakeUpstream, Receiver<Instant>) {
    let (told, heard) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        let _ = visit.body();
        visit.wait_until_left();
        told.send(Instant::now()).unwrap();
    });
    (upstream, heard)
}

/// One that begins a stream, and then says no more.
fn stalling_upstream() -> (FakeUpstream, Receiver<Instant>) {
    let (told, heard) = mpsc::channel();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        visit.chunk("first");
        visit.wait_until_left();
        told.send(Instant::now()).unwrap();
    });
    (upstream, heard)
}

/// The client leaves: upstream sees it within a second.
#[track_caller]
fn check_cancelled(client: Client, left: &Receiver<Instant>) {
    let leaves = Instant::now();
    drop(client);
    let seen = left.recv_timeout(DEADLINE).expect("the end of upstream's connection");
    let took = seen.saturating_duration_since(leaves);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}

/// The only exchange, with the current key, ended so: in the metrics, and once in the log.
#[track_caller]
fn check_once(proxy: TestProxy, outcome: &str) {
    eventually("the exchange in the metrics", || (proxy.exchanges("current", outcome) == 1).then_some(()));
    assert_eq!(proxy.metric("keyward_exchanges_open"), 0);
    let lines = proxy.end();
    let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, [outcome]);
}

// === Faults that are named for what they are ===

#[test]
fn a_redirect_names_what_to_change() {
    for (location, step) in [
        ("Location: /v1/embeddings\r\n", "slash at the end of the path"),
        ("Location: /v2/embeddings/\r\n", "on the same host"),
        ("Location: https://files.example/x?sig=secret\r\n", "signed address"),
        ("Location: https://elsewhere.example/v1/embeddings/\r\n", "Set `proxy.upstream`"),
    ] {
        let upstream = FakeUpstream::answering(Answering::with(307, location, "moved"));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.post("/v1/embeddings/").key(CURRENT).body("{}").send();
        assert_eq!((answer.status, answer.header("location")), (400, None));
        let line = proxy.line(&answer);
        let (remedy, body) = (line["remedy"].as_str().unwrap_or_default(), answer.text());
        assert!(remedy.contains(step) && body.contains(step), "{location}: {remedy} {body}");
        assert!(!body.contains("secret") && !line.to_string().contains("secret"), "{body} {line}");
    }
}

#[test]
fn a_path_that_upstream_does_not_have_is_a_fault_of_the_base_url() {
    let unknown = r#"{"error":{"message":"Unknown request URL","type":"invalid_request_error","code":"unknown_url"}}"#;
    let no_model = r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#;
    for (path, body, expected) in [
        ("/v1/responses/responses", unknown, "wrong_path"),
        ("/chat/completions", unknown, "wrong_path"),
        ("/chat/completions", "404 page not found", "wrong_path"),
        ("/v1/files/file-gone", "404 page not found", "request_error"),
        ("/v1/chat/completions", no_model, "request_error"),
        ("/openai/deployments/x/chat/completions", no_model, "request_error"),
    ] {
        let upstream = FakeUpstream::answering(Answering::with(404, "Content-Type: application/json\r\n", body));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let line = proxy.post(path).key(CURRENT).body("{}").logged();
        assert_eq!(line["diagnosis"], expected, "{path} {body}");
        let names_it = line["remedy"].as_str().is_some_and(|remedy| remedy.contains("Base URL"));
        assert_eq!(names_it, expected == "wrong_path", "{line}");
    }
}

#[test]
fn an_incident_of_a_wrong_path_keeps_the_path_without_what_may_be_secret() {
    let unknown = r#"{"error":{"message":"Unknown request URL","type":"invalid_request_error","code":"unknown_url"}}"#;
    let upstream = FakeUpstream::answering(Answering::with(404, "Content-Type: application/json\r\n", unknown));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let long = format!("/v1/responses/responses/{CURRENT}/{}?q=secret", "a".repeat(300));
    for (path, expected) in [
        ("/v1/responses/responses?q=secret", "/v1/responses/responses"),
        (&*long, "/v1/responses/responses/sk-…[redacted]/a"),
    ] {
        proxy.post(path).key(CURRENT).header("X-N8N-Tag", "wf=w;ex=1;node=n").body("{}").send();
        let path = eventually("the path", || {
            let listed: Value = serde_json::from_str(&proxy.admin("/api/v1/incidents?state=open").text()).unwrap();
            let path = listed["incidents"][0]["path"].as_str()?.to_owned();
            path.starts_with(expected).then_some(path)
        });
        assert!(path.len() <= 120 && !path.contains("secret"), "{path}");
        let page = proxy.admin("/incidents").text();
        assert!(page.contains(&format!("<code>{path}</code>")), "{page}");
    }
}

#[test]
fn a_slash_is_told_where_upstream_has_its_api_elsewhere() {
    for location in ["/openai/v1/embeddings", "http://HOST/openai/v1/embeddings"] {
        let upstream = FakeUpstream::scripted(move |visit| {
            let host = visit.head.header("host").unwrap().to_owned();
            let location = location.replace("HOST", &host);
            visit.answer(&Answering::with(307, &format!("Location: {location}\r\n"), ""));
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).base_path("/openai/v1").start();
        let line = proxy.post("/v1/embeddings/").key(CURRENT).body("{}").logged();
        assert!(line["remedy"].as_str().is_some_and(|remedy| remedy.contains("Change the slash")), "{line}");
    }
}

#[test]
fn where_upstream_fails_a_bad_key_is_told_as_well() {
    let closed = FakeUpstream::accepting().origin();
    let proxy = TestProxy::towards(closed).current_key(CURRENT).previous_key(OUTDATED).start();
    for (key, diagnosis) in [(OUTDATED, "stale_binding"), (UNLISTED, "unlisted_key")] {
        let line = proxy.get("/v1/models").header("X-N8N-Tag", "wf=w;ex=1;node=n").key(key).logged();
        assert_eq!((&line["diagnosis"], &line["outcome"]), (&diagnosis.into(), &"unreachable".into()));
        let message = line["message"].as_str().unwrap();
        assert!(
            message.contains("It got no whole answer besides: upstream cannot be reached: no connection to 127"),
            "{message}"
        );
        assert!(line["remedy"].as_str().unwrap().contains("See besides whether keyward's machine reaches upstream"));
        let binding = &proxy.admin("/api/v1/bindings").json()["bindings"][0];
        assert_eq!((&binding["diagnosis"], &binding["outcome"]), (&diagnosis.into(), &"unreachable".into()));
    }
}

/// The keys of two projects: each finds its own things alone.
fn of_projects(visit: &mut Visit<'_>) {
    let is_new = visit.head.header("authorization") == Some(&*format!("Bearer {CURRENT}"));
    let project = if is_new { "proj_new" } else { "proj_old" };
    let is_found = !is_new || !visit.head.line.contains("_old");
    let (status, body) = match (is_found, visit.head.line.contains("chat")) {
        (true, _) => (200, "{}"),
        (false, true) => (404, r#"{"error":{"message":"no","type":"invalid_request_error","code":"model_not_found"}}"#),
        (false, false) => (404, r#"{"error":{"message":"No such thing","type":"invalid_request_error","code":null}}"#),
    };
    let headers = format!("Content-Type: application/json\r\nOpenAI-Project: {project}\r\n");
    visit.answer(&Answering::with(status, &headers, body));
}

#[test]
fn what_the_old_key_found_and_the_new_one_does_not_is_of_another_project() {
    const TAG: &str = "wf=w;ex=1;node=n";
    let upstream = FakeUpstream::scripted(of_projects);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED).start();
    let ask = |path: &str, tag: &str, key: &str| proxy.get(path).header("X-N8N-Tag", tag).key(key).logged();
    ask("/v1/assistants/asst_old", "wf=w;ex=1;node=n", OUTDATED);
    for path in
        ["/v1/assistants/asst_old", "/v1/vector_stores/vs_old/files", "/v1/files/file_old", "/v1/chat/model_old"]
    {
        let line = ask(path, TAG, CURRENT);
        assert_eq!((&line["diagnosis"], &line["level"]), (&"other_project".into(), &"error".into()), "{line}");
        let message = line["message"].as_str().unwrap();
        assert!(message.contains("belongs to project proj_new, and the key before it to proj_old"), "{message}");
        assert!(line["remedy"].as_str().unwrap().contains("in the project of the old one"), "{line}");
    }
    // Another node never reached it, and a list belongs to no project.
    assert_eq!(ask("/v1/assistants/asst_old", "wf=w;ex=1;node=other", CURRENT)["diagnosis"], "request_error");
    assert_eq!(ask("/v1/assistants?after=_old", TAG, CURRENT)["diagnosis"], "request_error");
    assert_eq!(ask("/v1/assistants/asst_new", TAG, CURRENT)["diagnosis"], "ok");
}

#[test]
fn a_key_that_keyward_puts_in_is_told_from_the_one_before_by_its_project() {
    let upstream = FakeUpstream::scripted(of_projects);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).previous_key(OUTDATED).grace(Duration::from_hours(1));
    let proxy = proxy.token("default", TOKEN).policy(Policy::Enforce, |_| {}).start();
    assert_eq!(proxy.get("/v1/files/file_old").key(OUTDATED).logged()["diagnosis"], "stale_binding");
    let answer = proxy.get("/v1/files/file_old").key(TOKEN).send();
    assert_eq!((answer.status, answer.header("openai-project")), (404, None));
    let line = proxy.line(&answer);
    assert_eq!((&line["diagnosis"], &line["action"]), (&"other_project".into(), &"inject".into()), "{line}");
}

#[test]
fn a_preflight_is_no_node_that_lost_its_key() {
    const PAGE: &str = "https://chat.example.com";
    for (policy, status) in [(Policy::Observe, 200), (Policy::Enforce, 200), (Policy::Inject, 200)] {
        let upstream = FakeUpstream::answering(Answering::with(200, "Access-Control-Allow-Origin: *\r\n", ""));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(policy, |_| {});
        let proxy = proxy.rules(|rules| rules.allow_origin = vec![PAGE.into()]).start();
        let flight = proxy.request("OPTIONS", "/v1/models").header("Origin", PAGE);
        let answer = flight.header("Access-Control-Request-Method", "GET").send();
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, Some("*")));
        let line = proxy.line(&answer);
        assert_eq!((&line["diagnosis"], &line["level"]), (&"preflight".into(), &"info".into()), "{line}");
        assert_eq!(upstream.only_received().head.header("authorization"), None);
        let bindings = proxy.admin("/api/v1/bindings").json();
        assert_eq!(bindings["total"], 0, "it is no binding: {bindings}");
    }
}

#[test]
fn a_password_that_is_no_key_is_told_from_where_it_came() {
    let upstream = FakeUpstream::answering(Answering::with(401, "", r#"{"error":{"code":"invalid_api_key"}}"#));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    // `n8n:Sommer2024!`
    let line = proxy.post("/v1/responses").header("Authorization", "Basic bjhuOlNvbW1lcjIwMjQh").body("{}").logged();
    assert_eq!(line["diagnosis"], "unknown_key_rejected");
    assert!(line["remedy"].as_str().is_some_and(|remedy| remedy.contains("Base URL")), "{line}");
    assert!(!line.to_string().contains("Sommer"), "{line}");
}
