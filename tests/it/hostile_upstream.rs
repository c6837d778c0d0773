//! What upstream may do to keyward and, through it, to clients: none of it costs more than its own exchange.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use keyward::net::origin::{Scheme, Upstream};

use crate::process::Home;
use crate::process::client::get;
use crate::support::http2::{END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, next_frame};
use crate::support::{Answering, CURRENT, Client, FakeUpstream, Framing, Gate, TestProxy, Visit};

#[test]
fn a_head_without_end_is_given_up() {
    for (begin, again) in [
        ("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n"),
        ("HTTP/1.1 200 OK\r\nX-Long: ", "and longer"),
        ("HTTP/1.1 200 ", "words"),
        ("", "\r\n"),
        ("", "H"),
    ] {
        let upstream = FakeUpstream::scripted(move |visit| {
            let _ = visit.body();
            visit.send(begin);
            // Far more than keyward may read of a head.
            for _ in 0..1000 {
                visit.send(again.repeat(1000));
            }
            visit.wait_until_left();
        });
        check_failed(&upstream, begin);
    }
}

#[test]
fn an_answer_that_is_none_reaches_no_client() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>no head at all</html>\r\n\r\n",
        "garbageHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "GET /v1/models HTTP/1.1\r\nHost: k\r\n\r\n",
    ] {
        let upstream = FakeUpstream::scripted(move |visit| {
            visit.answer(bytes.as_bytes());
            visit.close();
        });
        check_failed(&upstream, bytes);
    }
}

/// What a status or a method leaves no room for is not taken for the next answer.
#[test]
fn a_body_where_none_may_be_reaches_no_client() {
    let forged = Answering::with(200, "X-Forged: yes\r\n", "forged");
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let forged = forged.clone();
        let upstream = FakeUpstream::scripted(move |visit| {
            if visit.head.line.contains("odd") {
                let head = format!("HTTP/1.1 {status} Odd\r\nContent-Length: {}\r\n\r\n", forged.len());
                visit.answer(&[head.as_bytes(), &forged].concat());
            } else {
                visit.answer(&Answering::json(200, "{}"));
            }
        });
        let proxy = TestProxy::with(&upstream).start();
        let mut client = proxy.request(method, "/v1/odd").begin();
        assert_eq!(client.answer_to_head().status, status);
        for _ in 0..3 {
            client.send(proxy.get("/v1/models").bytes());
            let answer = client.answer();
            assert_eq!((answer.header("x-forged"), answer.text()), (None, "{}".to_owned()), "{method} {status}");
        }
    }
}

/// Such a body may come later than its head, when the connection carries another request already.
#[test]
fn a_body_where_none_may_be_reaches_no_client_however_late_it_comes() {
    for (method, status, content) in [
        ("HEAD", 200, "Content-Length: 6\r\n"),
        ("HEAD", 200, "Transfer-Encoding: chunked\r\n"),
        ("GET", 204, "Content-Length: 6\r\n"),
        ("GET", 304, "Content-Length: 6\r\n"),
    ] {
        let upstream = FakeUpstream::scripted(move |visit| {
            if !visit.head.line.contains("odd") {
                return visit.answer(&Answering::json(200, "{}"));
            }
            visit.answer(format!("HTTP/1.1 {status} Odd\r\n{content}\r\n").as_bytes());
            if !visit.take(1).is_empty() {
                visit.send(Answering::with(200, "X-Forged: yes\r\n", "forged"));
            }
            visit.close();
        });
        let proxy = TestProxy::with(&upstream).start();
        let mut client = proxy.request(method, "/v1/odd").begin();
        assert_eq!(client.answer_to_head().status, status);
        client.send(proxy.post("/v1/responses").body("{}").bytes());
        let answer = client.answer();
        assert_eq!((answer.header("x-forged"), answer.text()), (None, "{}".to_owned()), "{method} {status}");
    }
}

#[test]
fn an_answer_without_content_costs_no_connection() {
    let upstream = FakeUpstream::scripted(|visit| visit.answer(b"HTTP/1.1 204 No Content\r\n\r\n"));
    let proxy = TestProxy::with(&upstream).start();
    for _ in 0..3 {
        assert_eq!(proxy.request("DELETE", "/v1/files/f").send().status, 204);
    }
    assert_eq!(upstream.connections(), 1);
}

/// A connection that is not in use has nothing to say.
#[test]
fn an_answer_without_a_request_reaches_no_client() {
    let (told, gate) = (Gate::default(), Gate::default());
    let (tell, wait) = (told.clone(), gate.clone());
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(&Answering::json(200, "{}"));
        if visit.head.line.contains("first") {
            wait.pass();
            visit.send(Answering::with(200, "X-Forged: yes\r\n", "forged"));
            tell.open();
        }
    });
    let proxy = TestProxy::with(&upstream).start();
    assert_eq!(proxy.get("/v1/first").send().text(), "{}");
    gate.open();
    told.pass();
    for _ in 0..3 {
        let answer = proxy.get("/v1/models").send();
        assert_eq!((answer.header("x-forged"), answer.text()), (None, "{}".to_owned()));
    }
    assert_eq!(upstream.connections(), 2, "the connection that spoke out of turn is not used again");
}

/// Over HTTP/2: a few hints are none of anybody's business, a flood of them ends the connection.
#[test]
fn informational_answers_without_end_are_given_up_over_http_2_as_well() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin =
        Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut peer = Client::over(listener.accept().unwrap().0);
            peer.take(24);
            peer.send(frame(SETTINGS, 0, 0, b""));
            while let Some((kind, stream, payload)) = next_frame(&mut peer) {
                if kind != HEADERS {
                    continue;
                }
                // `:status: 103`, its name from the static table (RFC 7541, appendix A).
                let hints = frame(HEADERS, END_HEADERS, stream, &[8, 3, b'1', b'0', b'3']).repeat(50);
                peer.send(&hints);
                // Only one head is that long.
                let is_flood = payload.len() > 300;
                while is_flood && peer.try_send(&hints).is_ok() {}
                peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]));
            }
        }
    });
    let proxy = TestProxy::towards(origin).upstream_http2().current_key(CURRENT).start();
    assert_eq!(proxy.get("/v1/hints").key(CURRENT).send().status, 200);
    let long = "a".repeat(600);
    let answer = proxy.get("/v1/flood").header("X-Long", &long).key(CURRENT).send();
    assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()));
    let line = proxy.line(&answer);
    assert_eq!(line["outcome"], "cut_off");
    assert_eq!(line["cause"], "upstream sent 1048576 bytes and no answer");
    assert_eq!(proxy.get("/v1/hints").key(CURRENT).send().status, 200);
    proxy.end();
    serving.join().unwrap();
}

/// The error is read beside the stream, and its decoder is bounded.
#[test]
fn a_bomb_in_an_error_passes_untouched_in_constant_memory() {
    for (encoding, bomb) in [("gzip", gzip_bomb()), ("deflate", deflate_bomb()), ("br", BROTLI_BOMB.to_vec())] {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
        let upstream = FakeUpstream::answering(Answering::with(400, &headers, &bomb));
        let address = format!("http://{}", upstream.authority());
        // A process of its own: the others of this binary take memory, too.
        let home = Home::new();
        let keyward = home.serve().args(&["--upstream", &address]).start();
        get(keyward.listen, "/v1/models");
        let before = keyward.resident();
        for _ in 0..100 {
            let answer = get(keyward.listen, "/v1/models");
            assert_eq!((answer.status, &answer.body), (400, &bomb));
        }
        let grown = keyward.resident().saturating_sub(before);
        assert!(grown < BOMB as u64 / 4, "{encoding}: it grew by {grown} bytes");
    }
}

/// Libraries follow any of these as long as they say where to.
#[test]
fn no_redirect_leaves_whatever_it_is_called() {
    for status in [300, 301, 302, 303, 304, 305, 306, 307, 308, 399] {
        let upstream = FakeUpstream::answering(Answering::with(status, "Location: https://elsewhere.example/\r\n", ""));
        let proxy = TestProxy::with(&upstream).start();
        let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
        assert_eq!((answer.status, answer.header("location")), (400, None), "{status}");
        assert_eq!(answer.error_code(), "upstream_redirect");
    }
    // Where there is nothing to follow, 304 is an answer like any other.
    let upstream = FakeUpstream::answering("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n");
    let proxy = TestProxy::with(&upstream).start();
    let mut client = proxy.get("/v1/models").key(CURRENT).begin();
    assert_eq!(client.answer_to_head().status, 304);
}

#[test]
fn a_redirect_with_a_stream_behind_it_is_told_at_once() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(
            b"HTTP/1.1 307 Moved\r\nLocation: https://elsewhere.example/\r\nContent-Type: text/event-stream\r\n\
              Transfer-Encoding: chunked\r\n\r\n",
        );
        visit.chunk("data: and so on\n\n");
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).start();
    let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
    assert_eq!((answer.status, answer.error_code()), (400, "upstream_redirect".to_owned()));
}

/// The client stands before keyward's address, and only that very host may set a cookie for it (RFC 6265, 5.3).
#[test]
fn cookies_for_other_hosts_stay_behind() {
    let headers = "Set-Cookie: __cf_bm=a; path=/; domain=.api.openai.com; HttpOnly; Secure\r\n\
                   Set-Cookie: kept=1; Path=/\r\n\
                   Set-Cookie: spaced=2; Secure;  DOMAIN = openai.com\r\n\
                   Set-Cookie: domain=in-the-name; HttpOnly\r\n\
                   Set-Cookie: empty=3; Domain\r\n";
    let upstream = FakeUpstream::answering(Answering::with(200, headers, "ok"));
    let proxy = TestProxy::with(&upstream).start();
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    let cookies: Vec<_> = answer.head.all("set-cookie").collect();
    assert_eq!(cookies, ["kept=1; Path=/", "domain=in-the-name; HttpOnly"]);
    let foreign = "Set-Cookie: a=1; Domain=openai.com\r\nX-End: 1\r\n";
    let proxy_of_one = FakeUpstream::answering(Answering::with(200, foreign, "ok"));
    let answer = TestProxy::with(&proxy_of_one).start().get("/v1/models").send();
    assert_eq!((answer.header("set-cookie"), answer.header("x-end")), (None, Some("1")));
}

/// A stream whose chunks are odd is broken off where it gets odd.
#[test]
fn chunks_that_are_none_end_the_answer() {
    for odd in ["5;a\nhello\r\n", "-5\r\nhello\r\n", "5\r\nhelloX", "ffffffffffffffffff\r\n", " 5\r\nhello\r\n", "\r\n"]
    {
        let upstream = FakeUpstream::scripted(move |visit: &mut Visit<'_>| {
            visit.answer(Answering::STREAM.as_bytes());
            visit.chunk("first");
            visit.send(odd);
            visit.wait_until_left();
        });
        let proxy = TestProxy::with(&upstream).start();
        let mut client = proxy.get("/v1/models").key(CURRENT).begin();
        assert_eq!(client.head().line, "HTTP/1.1 200 OK");
        let mut framing = Framing::Chunked;
        let mut text = Vec::new();
        let end = loop {
            match client.piece(&mut framing) {
                Ok(Some(piece)) => text.extend(piece),
                end => break end,
            }
        };
        assert!(end.is_err(), "{odd:?} was taken for the end of a whole answer");
        assert!(text.starts_with(b"first"), "{odd:?}");
    }
}

/// The client gets 502, the log says so once, and the connection is not used again.
#[track_caller]
fn check_failed(upstream: &FakeUpstream, what: &str) {
    let proxy = TestProxy::with(upstream).limits(|limits| limits.answer_timeout = Duration::from_secs(10)).start();
    for _ in 0..2 {
        let answer = proxy.get("/v1/models").key(CURRENT).send();
        assert_eq!((answer.status, answer.error_code()), (502, "upstream_failed".to_owned()), "{what:?}");
        assert_eq!(proxy.line(&answer)["outcome"], "cut_off", "{what:?}");
    }
    assert_eq!(upstream.connections(), 2, "{what:?}");
}

fn gzip_bomb() -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; BOMB]).unwrap();
    gzip.finish().unwrap()
}

fn deflate_bomb() -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&vec![b' '; BOMB]).unwrap();
    zlib.finish().unwrap()
}

const BOMB: usize = 30_000_000;

/// As many spaces, with the largest window that there is.
const BROTLI_BOMB: &[u8] =
    b"\xcf\xff\xff\x7f\xf8\x25\x40\xe2\xb1\x40\x20\xf7\xfe\x3f\xff\x86\x93\xf1\x4b\x00\xc4\x61\x01\x80\xce\x6e\x32";
