//! Upstream is spoken to in HTTP/2, where that is set and it takes it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use http_body_util::BodyExt;
use keyward::policy::Policy;
use keyward::proxy::{Scheme, Upstream};
use rustls::pki_types::PrivateKeyDer;

use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, SETTINGS, empty, frame, full, get, next_frame, run,
};
use crate::support::upstream2::{Reply, Upstream2};
use crate::support::{Answering, Builder, CURRENT, Client, FakeUpstream, TOKEN, TestProxy, eventually};

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

/// A load balancer that goes says so in the middle of everything, and which request it has looked at last. Nobody but
/// keyward has to notice.
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
fn what_upstream_has_looked_at_or_nobody_has_kept_is_not_sent_again() {
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
