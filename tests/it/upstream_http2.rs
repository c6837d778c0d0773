//! Upstream is spoken to in HTTP/2, where that is set and it takes it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use keyward::keys::rules::Policy;
use keyward::net::limits::Limits;
use keyward::net::origin::{Scheme, Upstream};
use rustls::pki_types::PrivateKeyDer;

use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, SETTINGS, channel, empty, frame, full, get, next_frame, run,
};
use crate::support::upstream2::{Reply, Upstream2};
use crate::support::{Answering, Builder, CURRENT, Client, FakeUpstream, Gate, TOKEN, TestProxy, eventually};

#[test]
fn a_request_reaches_upstream_as_http_2_words_it() {
    let (certificate, tls) = certified();
    for is_secure in [false, true] {
        let script = |_| Reply::Answer(b"{}".to_vec());
        let upstream =
            if is_secure { Upstream2::over_tls(Arc::clone(&tls), script) } else { Upstream2::scripted(script) };
        let proxy = towards(&upstream)
            .trusting(&certificate)
            .current_key(CURRENT)
            .token("default", TOKEN)
            .policy(Policy::Inject, |_| {})
            .start();
        let request = proxy.post("/n8n/w1/v1/chat/completions?a=1").key(TOKEN).header("Connection", "X-Hop");
        let answer = request.header("X-Hop", "1").header("TE", "trailers").body("{\"a\":1}").send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        let received = upstream.received().remove(0);
        let scheme = if is_secure { "https" } else { "http" };
        assert_eq!(received.uri, format!("{scheme}://{}/v1/chat/completions?a=1", upstream.authority()));
        assert_eq!((&*received.method, &*received.body), ("POST", &b"{\"a\":1}"[..]));
        let mut names: Vec<_> = received.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-length"]);
        assert_eq!(received.headers["authorization"], format!("Bearer {CURRENT}"));
        let line = proxy.line(&answer);
        assert_eq!((&line["outcome"], &line["bytes_in"]), (&"success".into(), &7.into()));
    }
}

#[test]
fn requests_share_a_connection_as_far_as_upstream_lets_them() {
    let upstream = Upstream2::with_room(5, |_| Reply::Begin);
    let proxy = towards(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let mut open = Vec::new();
        for _ in 0..20 {
            open.push(client.begin(get("/v1/events", CURRENT).body(empty()).unwrap()).await.unwrap());
        }
        assert_eq!(upstream.connections(), 4, "five at a time each");
    });
}

#[test]
fn a_burst_shares_the_connections_that_it_needs() {
    let upstream = Upstream2::scripted(|_| Reply::Answer(b"{}".to_vec()));
    let proxy = towards(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        assert_eq!(at_once(&client, 60).await, [200; 60]);
        assert_eq!(upstream.connections(), 1, "it has room for 64");
        assert_eq!(at_once(&client, 90).await, [200; 90]);
        assert!(upstream.connections() <= 2, "{}", upstream.connections());
    });
    assert_eq!(proxy.metric("keyward_upstream_connections_total"), upstream.connections() as u64);
}

#[test]
fn a_burst_spreads_over_as_many_as_upstream_wants() {
    let upstream = Upstream2::with_room(5, |_| Reply::Begin);
    let proxy = towards(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let open = begin_at_once(&client, 20).await;
        assert!(open.iter().all(|answer| answer.status() == 200));
        assert_eq!((upstream.connections(), upstream.asked()), (4, 20), "and none was refused");
    });
}

#[test]
fn a_burst_that_fails_fails_once_for_all_and_with_its_cause() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let open = silent.local_addr().unwrap().port();
    for (scheme, port, cause) in [
        (Scheme::Http, closed, format!("no connection to 127.0.0.1:{closed}")),
        (Scheme::Https, open, "no TLS session with 127.0.0.1 within 300ms (connect_timeout)".to_owned()),
        (
            Scheme::Http,
            open,
            "no HTTP/2 settings that allow a request from 127.0.0.1 within 300ms (connect_timeout)".to_owned(),
        ),
    ] {
        let origin = Upstream { scheme, host: "127.0.0.1".into(), port };
        let limits = |limits: &mut Limits| limits.connect_timeout = Duration::from_millis(300);
        let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).limits(limits).start();
        run(async {
            let client = Http2::connect(proxy.address()).await;
            assert_eq!(at_once(&client, 30).await, [502; 30]);
        });
        for line in proxy.lines_of(30) {
            assert_eq!(line["outcome"], "unreachable");
            assert!(line["cause"].as_str().unwrap().contains(&cause), "{cause}: {line}");
        }
        assert_eq!(proxy.metric("keyward_upstream_failures_total"), 1);
        assert_eq!(proxy.metric("keyward_upstream_connections_total"), 0);
    }
}

/// They are few, and it tells so only later.
#[test]
fn no_more_streams_are_opened_than_upstream_is_about_to_allow() {
    let (told, may_tell) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin =
        Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let (gate, may) = (told.clone(), Arc::clone(&may_tell));
    let serving = std::thread::spawn(move || {
        let (mut most, mut peers) = (0, Vec::new());
        for connection in 0..5 {
            let mut peer = Client::over(listener.accept().unwrap().0);
            peer.take(24);
            if connection == 0 {
                gate.open();
                eventually("leave to tell", || may.load(Ordering::SeqCst).then_some(()));
            }
            // SETTINGS_MAX_CONCURRENT_STREAMS: two.
            peer.send(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2]));
            // What was sent before keyward heard of it comes before its word that it did.
            let mut open = Vec::new();
            let mut was_heard = false;
            while !was_heard || open.len() < 2 {
                let (kind, stream, payload) = next_frame(&mut peer).expect("requests");
                was_heard |= kind == SETTINGS && payload.is_empty();
                if kind == HEADERS {
                    open.push(stream);
                }
            }
            most = most.max(open.len());
            for stream in open {
                peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]));
            }
            peers.push(peer);
        }
        most
    });
    let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).workers(1).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let first = tokio::spawn({
            let client = client.clone();
            async move { client.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await.status }
        });
        tokio::task::spawn_blocking(move || told.pass()).await.unwrap();
        let others = tokio::spawn(async move { at_once(&client, 9).await });
        while proxy.metric("keyward_exchanges_open") < 10 {
            tokio::task::yield_now().await;
        }
        may_tell.store(true, Ordering::SeqCst);
        assert_eq!(first.await.unwrap(), 200);
        assert_eq!(others.await.unwrap(), [200; 9]);
    });
    assert_eq!(serving.join().unwrap(), 2);
}

/// It may be sending still when its connection ends, and must be able to read what it was told.
#[test]
fn an_early_answer_arrives_whole_under_a_large_upload() {
    let upstream = Upstream2::scripted(|_| Reply::Early(b"enough".to_vec()));
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let upload = proxy.post("/v1/files").key(CURRENT).body(vec![b'x'; 5 << 20]).bytes();
    for _ in 0..20 {
        let mut client = proxy.connect();
        client.try_send(&upload).expect("that all is taken");
        assert_eq!((client.answer().text().as_str(), client.rest()), ("enough", Vec::new()));
    }
}

/// The answer is whole, so that the rest of the request is not wanted.
#[test]
fn an_early_answer_ends_a_request_whose_body_never_does() {
    let upstream = Upstream2::scripted(|number| match number {
        0 => Reply::Early(b"enough".to_vec()),
        _ => Reply::Answer(b"{}".to_vec()),
    });
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Content-Length", "100").begin();
    client.send("half");
    assert_eq!(client.answer().text(), "enough");
    eventually("the request is taken back", || upstream.was_reset().then_some(()));
    client.end_sending();
    assert_eq!(client.rest(), b"", "its connection ends");
    assert_eq!(proxy.only_line()["outcome"], "success");
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn the_same_for_a_client_of_http_2() {
    let upstream = Upstream2::scripted(|number| match number {
        0 => Reply::Early(b"enough".to_vec()),
        _ => Reply::Answer(b"{}".to_vec()),
    });
    let proxy = towards(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let (mut sender, body) = channel();
        sender.send_data(Bytes::from_static(b"half")).await.unwrap();
        let answer = client.send(get("/v1/files", CURRENT).method("POST").body(body).unwrap()).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"enough"[..]));
        while !upstream.was_reset() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(client.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await.status, 200);
        drop(sender);
    });
    assert!(proxy.lines_of(2).iter().all(|line| line["outcome"] == "success"));
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn pieces_pass_as_they_come_and_a_client_that_leaves_takes_its_request_back() {
    let upstream = Upstream2::scripted(|number| if number == 0 { Reply::Begin } else { Reply::Answer(Vec::new()) });
    let proxy = towards(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let mut body = client.begin(get("/v1/events", CURRENT).body(empty()).unwrap()).await.unwrap().into_body();
        let mut come = Vec::new();
        while come != b"firstsecond" {
            come.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
    });
    eventually("it is taken back", || upstream.was_reset().then_some(()));
    assert_eq!(proxy.only_line()["outcome"], "client_gone");
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    assert_eq!(upstream.connections(), 1, "and the connection goes on");
}

/// Rapid reset (CVE-2023-44487), by way of keyward: upstream sees resets of all clients on one connection, and ends it for all.
#[test]
fn a_client_that_takes_back_a_thousand_requests_costs_no_other_one_an_answer() {
    let upstream = Upstream2::impatient(100, |path| match path {
        "/v1/events" => Reply::Begin,
        _ => Reply::Answer(b"{}".to_vec()),
    });
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let mut slow = proxy.post("/v1/files").key(CURRENT).header("Content-Length", "8").begin();
    slow.send("half");
    eventually("the first request upstream", || (upstream.asked() == 1).then_some(()));
    // In ten parts, each with the time of a test.
    for _ in 0..10 {
        run(async {
            let (client, other) = (Http2::connect(proxy.address()).await, Http2::connect(proxy.address()).await);
            for number in 0..100 {
                let answer = client.begin(get("/v1/events", CURRENT).body(empty()).unwrap()).await.unwrap();
                assert_eq!(answer.status(), 200, "{number}");
                drop(answer);
                if number % 10 == 0 {
                    let answer = other.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await;
                    assert_eq!(answer.status, 200, "{number}");
                }
            }
        });
    }
    // The same of a client that has to end its connection for it.
    for _ in 0..200 {
        let mut client = proxy.get("/v1/events").key(CURRENT).begin();
        assert!(client.head().line.contains(" 200 "));
        client.reset();
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    }
    slow.send("half");
    assert_eq!(slow.answer().text(), "{}", "its connection got no new requests, and goes on with those that it had");
    let lines = proxy.lines_of(1501);
    let ended = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
    assert_eq!((ended("client_gone"), ended("success")), (1200, 301));
    let connections = upstream.connections();
    assert!((12..=100).contains(&connections), "sixteen or a few more on each: {connections}");
    eventually("none is kept that is of no use", || {
        (proxy.metric("keyward_upstream_connections_open") <= 2).then_some(())
    });
}

#[test]
fn what_upstream_has_not_looked_at_is_sent_again_with_its_body() {
    let upstream = Upstream2::scripted(|n| if n == 1 { Reply::Refuse } else { Reply::Answer(b"{}".to_vec()) });
    let proxy = towards(&upstream).current_key(CURRENT).start();
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    let answer = proxy.post("/v1/responses").key(CURRENT).body("{\"model\":\"gpt\"}").send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert_eq!(upstream.received()[1].body, b"{\"model\":\"gpt\"}");
    assert_eq!(upstream.asked(), 3);
    let line = proxy.line(&answer);
    assert_eq!((&line["outcome"], &line["bytes_in"]), (&"success".into(), &15.into()), "counted once");
    assert_eq!(proxy.lines().len(), 2);
}

/// A load balancer that goes says so in the middle of everything, and which request it has looked at last. The client
/// need not notice.
#[test]
fn a_request_that_comes_as_upstream_goes_is_sent_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin =
        Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let serving = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for is_last in [false, true] {
            let mut peer = Client::over(listener.accept().unwrap().0);
            peer.take(24);
            peer.send(frame(SETTINGS, 0, 0, b""));
            while let Some((kind, stream, payload)) = next_frame(&mut peer) {
                match (kind, stream) {
                    // 200, as the static table has it (RFC 7541, appendix A).
                    (HEADERS, 1) if !is_last => peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88])),
                    // The first request was the last that it has looked at.
                    (HEADERS, 3) => peer.send(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
                    (DATA, 1) if is_last => {
                        bodies.push(payload);
                        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]));
                    }
                    _ => {}
                }
            }
        }
        bodies
    });
    let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).start();
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    assert_eq!(proxy.post("/v1/responses").key(CURRENT).body("{\"model\":1}").send().status, 200);
    assert!(proxy.end().iter().all(|line| line["outcome"] == "success"));
    assert_eq!(serving.join().unwrap(), [b"{\"model\":1}"]);
}

#[test]
fn what_upstream_has_looked_at_or_was_not_kept_is_not_sent_again() {
    let upstream = Upstream2::scripted(|_| Reply::Break);
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    assert_eq!((upstream.asked(), proxy.line(&answer)["outcome"].clone()), (1, "cut_off".into()));

    let upstream = Upstream2::scripted(|_| Reply::Refuse);
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let answer = proxy.post("/v1/files").key(CURRENT).body(vec![b'a'; 200_000]).send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    assert_eq!(upstream.asked(), 1, "too long to be kept");
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.status, upstream.asked()), (502, 3), "and once more is enough");
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    let body: Vec<u8> = (0_u32..2_000_000).flat_map(u32::to_le_bytes).collect();
    let sent = body.clone();
    let upstream = Upstream2::scripted(move |_| Reply::Answer(sent.clone()));
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let answer = proxy.post("/v1/files").key(CURRENT).body(&body).send();
    assert!(answer.body == body, "{} of {} bytes, or others", answer.body.len(), body.len());
    assert!(upstream.received()[0].body == body);
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let request = get("/v1/files", CURRENT).method("POST").body(full(body.clone())).unwrap();
        assert!(client.send(request).await.body == body, "over HTTP/2 on both sides");
    });
}

#[test]
fn an_upstream_that_does_not_agree_is_spoken_to_in_http_1() {
    let (certificate, tls) = certified();
    let mut tls = rustls::ServerConfig::clone(&tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let upstream =
        FakeUpstream::over_tls(Arc::new(tls), |visit| visit.answer(&Answering::json(200, "{\"object\":\"list\"}")));
    let proxy = TestProxy::with(&upstream).trusting(&certificate).upstream_http2().current_key(CURRENT).start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    run(async {
        let client = Http2::connect(proxy.address()).await;
        assert_eq!(at_once(&client, 20).await, [200; 20]);
    });
}

/// hyper does not hear upstream's leave in HTTP/2; the body goes all the same, a moment later.
#[test]
fn a_client_that_waits_to_be_told_is_told_in_any_case() {
    let upstream = Upstream2::scripted(|_| Reply::Answer(b"{}".to_vec()));
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let mut client =
        proxy.post("/v1/files").key(CURRENT).header("Expect", "100-continue").header("Content-Length", "5").begin();
    assert_eq!(client.head().line, "HTTP/1.1 100 Continue");
    client.send("hello");
    assert_eq!(client.answer().status, 200);
    assert_eq!(upstream.received()[0].body, b"hello");
}

/// A client that leaves while a connection is made does not cost another its own.
#[test]
fn a_connection_is_made_for_those_who_still_wait() {
    let (listener, told, leave) =
        (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), Gate::default(), Gate::default());
    let origin =
        Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let (tell, may_go) = (told.clone(), leave.clone());
    let serving = std::thread::spawn(move || {
        let mut peer = Client::over(listener.accept().unwrap().0);
        peer.take(24);
        tell.open();
        may_go.pass();
        peer.send(frame(SETTINGS, 0, 0, b""));
        let mut served = 0;
        while let Some((kind, stream, _)) = next_frame(&mut peer) {
            if kind == HEADERS {
                served += 1;
                peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]));
            }
        }
        served
    });
    let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).start();
    let first = proxy.get("/v1/first").key(CURRENT).begin();
    told.pass();
    let mut second = proxy.get("/v1/second").key(CURRENT).begin();
    eventually("both are there", || (proxy.metric("keyward_exchanges_open") == 2).then_some(()));
    first.reset();
    eventually("the first has left", || (proxy.metric("keyward_exchanges_open") == 1).then_some(()));
    leave.open();
    assert_eq!(second.answer_to_head().status, 200);
    assert_eq!(proxy.end().len(), 2);
    assert_eq!(serving.join().unwrap(), 1, "and nothing was sent for the one who left");
}

#[test]
fn a_websocket_goes_over_http_1_in_any_case() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        assert_eq!(visit.take(4), b"ping");
        visit.send("pong");
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).upstream_http2().current_key(CURRENT).start();
    let request = proxy.get("/v1/realtime").key(CURRENT).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let mut client = request.begin();
    assert_eq!(client.head().line, "HTTP/1.1 101 Switching Protocols");
    client.send("ping");
    assert_eq!(client.take(4), b"pong");
}

#[test]
fn an_upstream_that_has_left_is_connected_to_anew() {
    let upstream = Upstream2::scripted(|number| match number % 3 {
        2 => Reply::Leave(b"{}".to_vec()),
        _ => Reply::Answer(b"{}".to_vec()),
    });
    let proxy = towards(&upstream).current_key(CURRENT).start();
    for _ in 0..10 {
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    }
    assert!(upstream.connections() > 3, "{}", upstream.connections());
}

/// It is the client's fault, whatever upstream is spoken to in.
#[test]
fn a_body_that_breaks_off_is_its_clients_fault() {
    let upstream = Upstream2::scripted(|_| Reply::Answer(b"{}".to_vec()));
    let proxy = towards(&upstream).current_key(CURRENT).start();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Transfer-Encoding", "chunked").begin();
    client.send("4\r\nhalf\r\n");
    eventually("the request", || (upstream.asked() == 1).then_some(()));
    client.send("no size\r\n");
    client.rest();
    let line = proxy.only_line();
    assert_eq!(line["outcome"], "client_gone", "{line}");
    assert!(line["cause"].as_str().unwrap().starts_with("the request's body broke off"), "{line}");
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    assert_eq!(upstream.connections(), 1);
}

/// Upstream may say anything as it goes (RFC 9113, 6.8), and quote the key that it does not like.
#[test]
fn a_key_that_upstream_quotes_as_it_goes_is_not_logged() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin =
        Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let farewell = [&[0, 0, 0, 0, 0, 0, 0, 2][..], format!("who is {CURRENT}?").as_bytes()].concat();
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut peer = Client::over(listener.accept().unwrap().0);
            peer.take(24);
            peer.send(frame(SETTINGS, 0, 0, b""));
            while let Some((kind, _, _)) = next_frame(&mut peer) {
                if kind == HEADERS {
                    peer.send(frame(GOAWAY, 0, 0, &farewell));
                }
            }
        }
    });
    let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).start();
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    let line = proxy.line(&answer);
    assert_eq!(line["outcome"], "cut_off");
    assert!(!line.to_string().contains(CURRENT), "{line}");
    assert!(!answer.text().contains(CURRENT));
    assert!(!proxy.log_text().contains(CURRENT));
    drop(proxy);
    serving.join().unwrap();
}

/// A client that comes and goes while upstream cannot be reached has no more connections made than one that waits.
#[test]
fn those_who_have_left_have_no_connections_made() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: silent.local_addr().unwrap().port() };
    let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).workers(1).start();
    for _ in 0..200 {
        let client = proxy.get("/v1/models").key(CURRENT).begin();
        eventually("it waits", || (proxy.metric("keyward_exchanges_open") == 1).then_some(()));
        client.reset();
        eventually("it has left", || (proxy.metric("keyward_exchanges_open") == 0).then_some(()));
    }
    silent.set_nonblocking(true).unwrap();
    let made = std::iter::from_fn(|| silent.accept().ok()).count();
    assert_eq!(made, 1);
}

/// What upstream sent of abandoned answers takes no room from the answers that come after them.
#[test]
fn untaken_answers_leave_room_for_others() {
    let upstream = Upstream2::scripted(|_| Reply::Answer(vec![b'a'; 2_000_000]));
    let proxy = towards(&upstream).current_key(CURRENT).start();
    for _ in 0..150 {
        let mut client = proxy.get("/v1/files").key(CURRENT).begin();
        client.head();
        client.reset();
    }
    assert_eq!(proxy.get("/v1/files").key(CURRENT).send().body.len(), 2_000_000);
    assert!(upstream.connections() <= 10, "each is used until sixteen were broken off: {}", upstream.connections());
}

/// Sends so many requests side by side, and gives the heads of their answers.
async fn begin_at_once(client: &Http2, count: usize) -> Vec<http::Response<hyper::body::Incoming>> {
    let ask = |_| {
        let client = client.clone();
        tokio::spawn(async move { client.begin(get("/v1/models", CURRENT).body(empty()).unwrap()).await.unwrap() })
    };
    let asking: Vec<_> = (0..count).map(ask).collect();
    let mut answers = Vec::new();
    for answer in asking {
        answers.push(answer.await.unwrap());
    }
    answers
}

/// The same, and gives their status as soon as they are whole.
async fn at_once(client: &Http2, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for answer in begin_at_once(client, count).await {
        statuses.push(answer.status().as_u16());
        answer.into_body().collect().await.unwrap();
    }
    statuses
}

fn towards(upstream: &Upstream2) -> Builder {
    TestProxy::towards(upstream.origin()).upstream_http2()
}

/// A certificate, and how a server shows it that prefers HTTP/2.
fn certified() -> (String, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (made.cert.pem(), Arc::new(config))
}
