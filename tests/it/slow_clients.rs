//! Clients that are slow or many: they are let go in time, and others are served meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http_body_util::BodyExt;
use keyward::keys::rules::Policy;
use keyward::net::limits::Limits;

use crate::support::http2::{
    DATA, END_STREAM, Http2, RST_STREAM, WINDOW_UPDATE, empty, fields, frame, get, head, next_frame,
    preface_with_window, run,
};
use crate::support::{Answering, CURRENT, Client, FakeUpstream, TestProxy, UNLISTED, eventually};

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let upstream = generous();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(impatient).start();
    let client = proxy.get("/v1/large").key(CURRENT).begin();
    let line = proxy.only_line();
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"client_gone".into(), &"client_gone".into()));
    assert_eq!(line["cause"], "the client took nothing of its answer for 200ms");
    eventually("upstream is left as well", || (upstream.open_connections() == 0).then_some(()));
    drop(client);
}

#[test]
fn a_stream_of_http_2_that_is_not_taken_ends_and_no_other() {
    let upstream = FakeUpstream::scripted(|visit| {
        let body = if visit.head.line.contains("large") { vec![b'a'; LARGE] } else { b"{}".to_vec() };
        visit.answer(&Answering::with(200, "", body));
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(impatient).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        // The connection has room for other streams, so only this one stands still.
        let answer = client.begin(get("/v1/large", CURRENT).body(empty()).unwrap()).await.unwrap();
        while proxy.lines().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(answer.into_body().collect().await.is_err(), "a part is not taken for the whole");
        assert_eq!(client.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await.body, b"{}");
    });
    let line = &proxy.lines_of(2)[0];
    assert_eq!(line["outcome"], "client_gone");
    assert_eq!(line["cause"], "the client took nothing of its answer for 200ms");
    assert_eq!(proxy.metric("keyward_client_connections_total"), 1);
    eventually("upstream is left as well", || (upstream.open_connections() == 1).then_some(()));
}

/// A client with no room for any answer, be it keyward's own.
#[test]
fn a_refusal_that_is_not_taken_ends_as_well_and_others_are_served_meanwhile() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .policy(Policy::Enforce, |_| {})
        .limits(|limits| (limits.client_stall_timeout, limits.client_idle_timeout) = (LIMIT, Duration::from_mins(5)))
        .start();
    let mut client = proxy.connect();
    let refused: Vec<_> = (0..10).flat_map(|n| head(1 + 2 * n, END_STREAM, &fields("/v1/x", UNLISTED))).collect();
    client.send([preface_with_window(0), refused].concat());
    let mut ended = 0;
    while ended < 10 {
        let (kind, _, payload) = next_frame(&mut client).expect("the connection goes on");
        assert_ne!(kind, DATA, "there was no room for it");
        if kind == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 8], "CANCEL");
            ended += 1;
        }
    }
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    // One that takes its answer after all.
    let room = frame(WINDOW_UPDATE, 0, 21, &[0, 0, 0x40, 0]);
    client.send([head(21, END_STREAM, &fields("/v1/x", UNLISTED)), room].concat());
    let told = loop {
        let (kind, stream, payload) = next_frame(&mut client).expect("the connection goes on");
        assert_ne!(kind, RST_STREAM);
        if (kind, stream) == (DATA, 21) {
            break payload;
        }
    };
    assert!(String::from_utf8(told).unwrap().contains("keyward_refusal"));
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let upstream = generous();
    let limits = |limits: &mut Limits| limits.client_stall_timeout = Duration::from_secs(1);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    let mut client = proxy.get("/v1/large").key(CURRENT).begin();
    let head = client.head();
    let mut framing = head.framing();
    let mut taken = 0;
    // Four times the limit in all, but never more than a quarter of it at once.
    while let Some(piece) = client.piece(&mut framing).unwrap() {
        let before = taken / (LARGE / 16);
        taken += piece.len();
        if taken / (LARGE / 16) > before {
            std::thread::sleep(Duration::from_millis(250));
        }
    }
    assert_eq!(taken, LARGE);
    assert_eq!(proxy.only_line()["outcome"], "success");
}

#[test]
fn a_client_whose_body_stands_still_is_let_go_and_upstream_is_told() {
    let upstream = FakeUpstream::scripted(|visit| {
        let _ = visit.body();
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(impatient).start();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Content-Length", "100").begin();
    client.send("half");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error_code()), (408, "client_gone".to_owned()));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("client_stall_timeout"));
    let line = proxy.only_line();
    assert_eq!((&line["outcome"], &line["status"]), (&"client_gone".into(), &408.into()));
    assert_eq!(line["cause"], "the request's body stood still for 200ms");
    eventually("the request is cancelled", || (upstream.open_connections() == 0).then_some(()));
}

/// That is upstream's fault, and its time is another one.
#[test]
fn an_upstream_that_takes_nothing_of_a_body_is_given_up() {
    let upstream = FakeUpstream::scripted(|visit| {
        // Its head was read, and that was all.
        std::thread::park_timeout(Duration::from_secs(2));
        visit.close();
    });
    let limits = |limits: &mut Limits| limits.idle_timeout = Duration::from_millis(300);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    let length = (1_u64 << 40).to_string();
    let mut client = proxy.post("/v1/files").key(CURRENT).header("Content-Length", &length).begin();
    client.send_until_stuck(usize::MAX, Duration::from_millis(100));
    let answer = client.answer();
    assert_eq!((answer.status, answer.error_code()), (504, "upstream_failed".to_owned()));
    let line = proxy.only_line();
    assert_eq!(line["outcome"], "timed_out");
    assert_eq!(line["cause"], "upstream took nothing of the request's body for 300ms");
}

#[test]
fn others_are_served_while_one_sends_its_body_in_a_hundred_thousand_chunks() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let (address, key) = (proxy.address(), CURRENT);
    let sending = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.send(format!(
            "POST /v1/files HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        for _ in 0..100 {
            client.send("1\r\nx\r\n".repeat(1000));
        }
        client.send("0\r\n\r\n");
        client.answer().status
    });
    let mut served = 0;
    while !sending.is_finished() {
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
        served += 1;
    }
    assert_eq!(sending.join().unwrap(), 200);
    assert!(served > 1, "{served} were served meanwhile");
    let bodies: Vec<_> = upstream.received().into_iter().map(|received| received.body.len()).collect();
    assert!(bodies.contains(&100_000), "{bodies:?}");
}

#[test]
fn a_peer_with_too_many_connections_is_turned_away_and_no_other() {
    let upstream = FakeUpstream::accepting();
    let limits = |limits: &mut Limits| limits.max_connections_per_peer = 3;
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    let mut flood: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    assert_eq!(proxy.connect().rest(), b"");
    let mut other = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), proxy.address());
    other.send(proxy.get("/v1/models").bytes());
    assert_eq!(other.answer().status, 200);
    assert_eq!(proxy.metric("keyward_client_connections_turned_away_total"), 1);
    flood.pop();
    eventually("a free place", || {
        let mut client = proxy.connect();
        client.send(proxy.get("/v1/models").header("Connection", "close").bytes());
        client.rest().starts_with(b"HTTP/1.1 200").then_some(())
    });
}

/// One that answers with more than the sockets of a connection hold.
fn generous() -> FakeUpstream {
    FakeUpstream::scripted(|visit| visit.answer(&Answering::with(200, "", vec![b'a'; LARGE])))
}

fn impatient(limits: &mut Limits) {
    limits.client_stall_timeout = LIMIT;
}

const LIMIT: Duration = Duration::from_millis(200);

const LARGE: usize = 64 * 1024 * 1024;
