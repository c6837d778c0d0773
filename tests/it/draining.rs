//! keyward stops in peace: what is open finishes, until the time for it is over.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use keyward::keys::rules::Policy;

use crate::support::http2::{
    DATA, END_STREAM, HEADERS, PREFACE, WINDOW_UPDATE, fields, frame, head, next_frame, preface, preface_with_window,
};
use crate::support::{
    Answering, CURRENT, Client, DEADLINE, FakeUpstream, Framing, Gate, TestProxy, UNLISTED, eventually,
};

#[test]
fn no_client_is_let_in_any_more() {
    let (upstream, next) = streaming_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(2).start();
    let mut client = begun(&proxy);
    proxy.server().drain();
    eventually("the listener closed", || TcpStream::connect(proxy.address()).is_err().then_some(()));
    next.open();
    assert_eq!(client.chunk(), "more");
}

#[test]
fn an_open_stream_goes_on_to_its_end() {
    let (upstream, next) = streaming_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = begun(&proxy);
    proxy.server().drain();
    for _ in 0..CHUNKS {
        next.open();
        assert_eq!(client.chunk(), "more");
    }
    assert_eq!(client.piece(&mut Framing::Chunked).unwrap(), None);
    assert_eq!(client.rest(), b"", "its connection ends with it");
    let lines = proxy.join();
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &"success".into()));
}

#[test]
fn a_request_that_waits_for_its_answer_gets_it() {
    let end = Gate::default();
    let gate = end.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        gate.pass();
        visit.answer(&Answering::json(200, "{}"));
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.post("/v1/responses").key(CURRENT).body("{}").begin();
    eventually("the request upstream", || (upstream.received().len() == 1).then_some(()));
    let mut idle = proxy.connect();
    proxy.server().drain();
    assert_eq!(idle.rest(), b"", "by now everybody has been asked to leave");
    end.open();
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(proxy.join()[0]["outcome"], "success");
}

/// keyward is full, so that new clients wait in the kernel's queue.
#[test]
fn what_waits_in_the_queue_is_served() {
    let (upstream, next) = streaming_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.max_connections = 1).start();
    let mut inside = begun(&proxy);
    let mut waiting: Vec<_> = (0..3).map(|_| proxy.get("/v1/models").key(CURRENT).begin()).collect();
    proxy.server().drain();
    for client in &mut waiting {
        assert_eq!(client.head().line, "HTTP/1.1 200 OK");
    }
    (0..4 * CHUNKS).for_each(|_| next.open());
    for client in waiting.iter_mut().chain([&mut inside]) {
        assert_eq!(client.rest().windows(4).filter(|window| window == b"more").count(), CHUNKS);
    }
    let lines = proxy.join();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line["outcome"] == "success"), "{lines:?}");
}

#[test]
fn idle_connections_are_closed_at_once() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).workers(2).start();
    let mut used = proxy.get("/v1/models").begin();
    used.answer();
    let mut fresh = proxy.connect();
    eventually("both inside", || (proxy.metric("keyward_client_connections_total") == 2).then_some(()));
    proxy.server().drain();
    assert_eq!((used.rest(), fresh.rest()), (vec![], vec![]));
    assert_eq!(proxy.join().len(), 1);
}

/// They neither read what they are told nor say that they heard it.
#[test]
fn frozen_clients_of_http_2_without_a_request_do_not_hold_it_up() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(patient).start();
    let mut served = proxy.connect();
    served.send([preface(), head(1, END_STREAM, &fields("/v1/models", CURRENT))].concat());
    while next_frame(&mut served).expect("an answer").0 != DATA {}
    let begun: Vec<_> = [&PREFACE[..10], PREFACE, &preface()]
        .map(|begin| {
            let mut client = proxy.connect();
            client.send(begin);
            client
        })
        .into();
    eventually("all inside", || (proxy.metric("keyward_client_connections_total") == 4).then_some(()));
    check_drains(proxy);
    drop((served, begun));
}

/// A refusal for which there is no room, one that fits but for its end, and a stream of upstream's.
#[test]
fn clients_of_http_2_that_take_nothing_do_not_hold_it_up_for_long() {
    let (upstream, next) = streaming_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| {}).limits(patient).start();
    let clients: Vec<_> = [(0, UNLISTED), (1, UNLISTED), (0, CURRENT), (1, CURRENT)]
        .map(|(room, key)| {
            let mut client = proxy.connect();
            let key = format!("Bearer {key}");
            client.send([preface_with_window(room), head(1, END_STREAM, &fields("/v1/x", &key))].concat());
            while next_frame(&mut client).expect("an answer").0 != HEADERS {}
            client
        })
        .into();
    (0..2 * CHUNKS).for_each(|_| next.open());
    let lines = check_drains(proxy);
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert!(!outcomes.contains(&"shut_down"), "{outcomes:?}");
    let stalled = lines.iter().find(|line| line["outcome"] == "client_gone").unwrap();
    assert_eq!(stalled["cause"], "the client took nothing of its answer for 2s");
    drop(clients);
}

#[test]
fn a_client_of_http_2_that_takes_its_answer_in_small_pieces_gets_all_of_it() {
    let size = 200_000;
    let upstream = FakeUpstream::answering(Answering::with(200, "", vec![b'a'; size]));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(patient).start();
    let mut client = proxy.connect();
    client.send([preface_with_window(16_000), head(1, END_STREAM, &fields("/v1/x", CURRENT))].concat());
    let mut taken = 0;
    while taken < size {
        let (kind, _, payload) = next_frame(&mut client).expect("the connection goes on");
        if kind == DATA {
            if taken == 0 {
                proxy.server().drain();
            }
            let before = taken / 20_000;
            taken += payload.len();
            // Three seconds in all, which is longer than a client that stands still may hold it up.
            if taken / 20_000 > before {
                std::thread::sleep(Duration::from_millis(300));
            }
            let room = u32::try_from(payload.len()).unwrap().to_be_bytes();
            client.send([frame(WINDOW_UPDATE, 0, 1, &room), frame(WINDOW_UPDATE, 0, 0, &room)].concat());
        }
    }
    drop(client);
    assert_eq!(proxy.join()[0]["outcome"], "success");
}

/// A client of HTTP/1.1 as well.
#[test]
fn a_client_that_takes_nothing_does_not_hold_it_up_for_long() {
    let upstream = FakeUpstream::scripted(|visit| visit.answer(&Answering::with(200, "", vec![b'a'; 64 << 20])));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(patient).start();
    let mut client = proxy.get("/v1/large").key(CURRENT).begin();
    client.head();
    let lines = check_drains(proxy);
    assert_eq!(lines[0]["cause"], "the client took nothing of its answer for 2s");
    drop(client);
}

#[test]
fn what_is_still_open_at_the_deadline_is_cut_and_told_apart() {
    let (upstream, _next) = streaming_upstream();
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .limits(|limits| limits.drain_timeout = Duration::from_millis(300))
        .start();
    let mut client = begun(&proxy);
    let begin = Instant::now();
    proxy.server().drain();
    assert!(client.piece(&mut Framing::Chunked).is_err(), "it was taken for a whole answer");
    assert!(begin.elapsed() >= Duration::from_millis(300), "it had less time than was promised");
    let lines = proxy.join();
    assert_eq!((&lines[0]["outcome"], &lines[0]["diagnosis"]), (&"shut_down".into(), &"shut_down".into()));
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &"warn".into()));
}

#[test]
fn a_second_signal_cuts_at_once() {
    let (upstream, _next) = streaming_upstream();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(2).start();
    let mut streaming = begun(&proxy);
    let mut waiting = proxy.post("/v1/silent").key(CURRENT).body("{}").begin();
    eventually("both upstream", || (upstream.received().len() == 2).then_some(()));
    proxy.server().drain();
    proxy.server().end();
    let begin = Instant::now();
    let lines = proxy.join();
    assert!(begin.elapsed() < DEADLINE, "it waited for the drain's own deadline");
    assert!(streaming.piece(&mut Framing::Chunked).is_err());
    assert_eq!(waiting.rest(), b"");
    let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["shut_down", "shut_down"]);
}

#[test]
fn the_port_is_free_when_it_has_stopped() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.get("/v1/models").begin();
    client.answer();
    let port = proxy.address().port();
    proxy.end();
    keyward::server::listener::listen((Ipv4Addr::LOCALHOST, port).into()).expect("the port");
}

/// One that sends a chunk for each time that the gate is opened, [`CHUNKS`] in all; to `/v1/silent` it says nothing.
fn streaming_upstream() -> (FakeUpstream, Gate) {
    let next = Gate::default();
    let gate = next.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        if visit.head.line.contains("silent") {
            visit.wait_until_left();
            return;
        }
        visit.answer(Answering::STREAM.as_bytes());
        for _ in 0..CHUNKS {
            gate.pass();
            visit.chunk("more");
        }
        visit.send("0\r\n\r\n");
    });
    (upstream, next)
}

/// A client whose stream has begun.
fn begun(proxy: &TestProxy) -> Client {
    let mut client = proxy.get("/v1/models").key(CURRENT).begin();
    assert_eq!(client.head().line, "HTTP/1.1 200 OK");
    client
}

/// A quarter of it is what those have who take nothing.
fn patient(limits: &mut keyward::net::limits::Limits) {
    limits.drain_timeout = Duration::from_secs(8);
}

/// It is over before its time is.
#[track_caller]
fn check_drains(proxy: TestProxy) -> Vec<serde_json::Value> {
    let begin = Instant::now();
    proxy.server().drain();
    let lines = proxy.join();
    assert!(begin.elapsed() < Duration::from_secs(8), "it took all the time that there is");
    lines
}

const CHUNKS: usize = 3;
