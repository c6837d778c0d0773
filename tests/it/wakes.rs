//! No task is woken for what it does itself, and each is woken for the rest: no exchange waits for a tick of the clock to go on.
//!
//! A wake that gets lost costs an exchange up to five seconds, or for ever. So many exchanges of each shape follow each other
//! that the time for all of them is over long before, were it lost in one shape.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::support::http2::{Http2, channel, empty, full, get, run};
use crate::support::upstream2::{Reply, Upstream2};
use crate::support::{Answering, CURRENT, Certificate, Client, FakeUpstream, TestProxy, Visit};

#[test]
fn in_turns() {
    let upstream = FakeUpstream::scripted(follow);
    for workers in [1, 2] {
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(workers).start();
        in_time(|| side_by_side(|seed| converse(seed, &SHAPES, &|| proxy.connect())));
    }
}

#[test]
fn in_turns_over_tls() {
    let certificate = Certificate::make();
    let upstream = FakeUpstream::over_tls(certificate.server(), follow);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).trusting(&certificate.cert);
    let proxy = proxy.certificate(&certificate).workers(2).start();
    in_time(|| side_by_side(|seed| converse(seed, &SHAPES[1..], &|| proxy.connect_securely(&certificate))));
}

/// Each stream has a task of its own, and takes connections that the tasks of others have driven.
#[test]
fn in_streams_towards_an_upstream_in_turns() {
    let upstream = FakeUpstream::scripted(follow);
    for workers in [1, 2] {
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).workers(workers).start();
        in_time(|| {
            run(async {
                let client = Http2::connect(proxy.address()).await;
                for _ in 0..ROUNDS {
                    let streams: Vec<_> =
                        STREAMED.iter().map(|shape| tokio::spawn(stream(client.clone(), shape))).collect();
                    // In turns, it drives connections that streams have driven, and the other way round.
                    let mut client = proxy.connect();
                    tokio::task::spawn_blocking(move || exchange(&mut client, "whole")).await.unwrap();
                    for stream in streams {
                        stream.await.unwrap();
                    }
                }
            });
        });
    }
}

#[test]
fn in_turns_towards_an_upstream_in_streams() {
    let upstream = Upstream2::scripted(|number| match number % 4 {
        0 => Reply::Answer(vec![b'a'; MUCH]),
        1 => Reply::Early(vec![b'a'; SOME]),
        _ => Reply::Answer(Vec::new()),
    });
    let proxy = TestProxy::towards(upstream.origin()).current_key(CURRENT).upstream_http2().start();
    in_time(|| {
        for number in 0..ROUNDS * 8 {
            let request = proxy.post("/v1/whole").key(CURRENT);
            let request = if number % 2 == 0 { request.body(vec![b'a'; SOME]) } else { request };
            assert_eq!(request.send().status, 200);
        }
    });
}

/// The client begins to read when keyward takes no more of what it sends.
#[test]
fn where_both_directions_are_stuck_both_go_on() {
    let upstream = FakeUpstream::scripted(follow);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    in_time(|| {
        for _ in 0..2 {
            let stream = TcpStream::connect(proxy.address()).unwrap();
            let mut client = Client::over(stream.try_clone().unwrap());
            client.send(head("echo", &format!("Content-Length: {STUCK}\r\n")));
            let sent = client.send_until_stuck(STUCK, Duration::from_millis(100));
            let mut writing = Client::over(stream);
            let writer = thread::spawn(move || writing.try_send(vec![b'a'; STUCK - sent]).unwrap());
            let answer = client.answer();
            assert_eq!((answer.status, answer.body.len()), (200, STUCK));
            writer.join().unwrap();
            assert_eq!(exchange(&mut client, "whole"), SOME, "the connection is as good as new");
        }
    });
}

// === Both ends ===

/// What upstream does, by the last part of the path.
fn follow(visit: &mut Visit<'_>) {
    let shape =
        visit.head.line.split(['/', ' ']).rfind(|part| SHAPES.contains(part) || ["echo", "trailers"].contains(part));
    let whole = Answering::json(200, vec![b'a'; SOME]);
    match shape.unwrap() {
        "empty" => visit.answer(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "nothing" => visit.answer(&Answering::json(200, "")),
        "large" => visit.answer(&Answering::json(200, vec![b'a'; MUCH])),
        "pieces" => {
            let _ = visit.body();
            visit.send(Answering::STREAM);
            (0..SOME / 8).for_each(|_| visit.chunk("aaaaaaaa"));
            visit.send("0\r\n\r\n");
        }
        "trailers" => {
            let _ = visit.body();
            visit.send(Answering::STREAM);
            visit.chunk(vec![b'a'; SOME]);
            visit.send("0\r\nX-Sum: 1\r\n\r\n");
        }
        "hints" => visit.answer(&[&b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3), &*whole].concat()),
        "told" => {
            visit.send("HTTP/1.1 100 Continue\r\n\r\n");
            visit.answer(&whole);
        }
        "head" => visit.send("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"),
        "early" => {
            let _ = visit.piece_unkept();
            visit.send(&whole);
        }
        "echo" => {
            visit.send(Answering::STREAM);
            while let Ok(Some(piece)) = visit.piece_unkept() {
                visit.chunk(piece);
            }
            visit.send("0\r\n\r\n");
        }
        "last" => {
            visit.answer(&Answering::with(200, "Connection: close\r\n", vec![b'a'; SOME]));
            visit.close();
        }
        "unending" => {
            visit.answer(&[&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &[b'a'; SOME]].concat());
            visit.close();
        }
        _ => visit.answer(&whole),
    }
}

/// One client's exchanges, over one connection where it lasts: behind an answer that comes early, it need not.
fn converse(seed: usize, shapes: &[&str], connect: &dyn Fn() -> Client) {
    let mut client = connect();
    for number in 0..ROUNDS * shapes.len() {
        // In an order in which each comes behind each.
        let shape = shapes[(number * 5 + number / shapes.len() * seed) % shapes.len()];
        let mut own = (shape == "early").then(connect);
        exchange(own.as_mut().unwrap_or(&mut client), shape);
        if number % 7 == 6 {
            // One that leaves before its answer is there, and one whose answer is on its way.
            let mut leaving = connect();
            leaving.send(head("large", ""));
            if seed.is_multiple_of(2) {
                leaving.head();
            }
            leaving.reset();
        }
    }
}

/// Gives the length of the last answer.
fn exchange(client: &mut Client, shape: &str) -> usize {
    let length = |length: usize| head(shape, &format!("Content-Length: {length}\r\n"));
    match shape {
        "head" => {
            client.send(head(shape, "").replacen("POST", "HEAD", 1));
            return client.answer_to_head().body.len();
        }
        "pipelined" => {
            client.send([&*head(shape, ""), &*length(3), "aaa", &*head(shape, "")].concat());
            assert_eq!((client.answer().status, client.answer().status), (200, 200));
        }
        "told" => {
            client.send(length(5).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
            assert_eq!(client.head().line, "HTTP/1.1 100 Continue");
            client.send("hello");
        }
        "chunked" => {
            client.send(head(shape, "Transfer-Encoding: chunked\r\n"));
            (0..50).for_each(|_| client.send("8\r\naaaaaaaa\r\n"));
            client.send("0\r\n\r\n");
        }
        "dribbled" => {
            client.send(length(50));
            (0..50).for_each(|_| client.send("a"));
        }
        "uploaded" | "early" => client.send([length(MUCH).as_bytes(), &vec![b'a'; MUCH]].concat()),
        "whole" => client.send([length(SOME).as_bytes(), &vec![b'a'; SOME]].concat()),
        _ => client.send(head(shape, "")),
    }
    let head = client.head();
    let body = client.body(&head).unwrap_or_else(|error| panic!("{shape}: {error}"));
    assert!(["HTTP/1.1 200 ", "HTTP/1.1 204 "].iter().any(|begin| head.line.starts_with(begin)), "{shape}: {head:?}");
    body.len()
}

async fn stream(client: Http2, shape: &'static str) {
    let request = get(&format!("/v1/{shape}"), CURRENT).method("POST");
    let (mut sender, pieces) = channel();
    let body = match shape {
        "whole" => full(vec![b'a'; SOME]),
        "uploaded" | "early" => full(vec![b'a'; MUCH]),
        "chunked" => pieces,
        _ => empty(),
    };
    tokio::spawn(async move {
        for _ in 0..20 {
            if sender.send_data(Bytes::from_static(b"aaaaaaaa")).await.is_err() {
                break; // The other side does not take the pieces of another shape.
            }
        }
    });
    assert!(matches!(client.send(request.body(body).unwrap()).await.status, 200 | 204), "{shape}");
}

fn head(shape: &str, headers: &str) -> String {
    format!("POST /v1/{shape} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {CURRENT}\r\n{headers}\r\n")
}

/// Three clients at once.
fn side_by_side(act: impl Fn(usize) + Sync) {
    let act = &act;
    thread::scope(|scope| {
        for seed in 1..=3 {
            scope.spawn(move || act(seed));
        }
    });
}

/// On an idle machine, all of it takes a second or two.
#[track_caller]
fn in_time(act: impl FnOnce()) {
    let begin = Instant::now();
    act();
    assert!(begin.elapsed() < ALL, "something was waited for: {:?}", begin.elapsed());
}

/// What a client and upstream do that is not the same as what the others do. The first ends with its connection, which is no
/// end over TLS.
const SHAPES: [&str; 16] = [
    "unending",
    "whole",
    "empty",
    "nothing",
    "large",
    "pieces",
    "chunked",
    "dribbled",
    "uploaded",
    "early",
    "hints",
    "told",
    "head",
    "pipelined",
    "last",
    "plain",
];

/// Those of them that can be told apart in a stream, and the trailers, which a client by hand does not read.
const STREAMED: [&str; 11] =
    ["whole", "empty", "nothing", "large", "pieces", "trailers", "chunked", "uploaded", "early", "hints", "last"];

/// How often each comes from each client.
const ROUNDS: usize = 20;

/// For all exchanges of a test: far less than a tick for each exchange of one shape.
const ALL: Duration = Duration::from_secs(90);

/// Bytes of a body that goes in one piece.
const SOME: usize = 400;

/// Bytes of a body that goes in many.
const MUCH: usize = 300_000;

/// Bytes of a body that fills the buffers on its way, and commonly more than all of them hold.
const STUCK: usize = 48 * 1024 * 1024;
