//! keyward stops in peace: what is open finishes, until the time for it is over.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Answering, CURRENT, Client, DEADLINE, FakeUpstream, Framing, Gate, TestProxy, eventually};

#[test]
fn nobody_is_let_in_any_more() {
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

/// The house is full, so that whoever comes waits in the kernel's queue.
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
    keyward::proxy::server::listen((Ipv4Addr::LOCALHOST, port).into()).expect("the port");
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

const CHUNKS: usize = 3;
