//! The key that keyward puts in stays out of what upstream, or a proxy before it, says of it.

use std::io::Write;
use std::time::Duration;

use keyward::keys::rules::Policy;

use crate::support::{Answer, Answering, CURRENT, FakeUpstream, TOKEN, TestProxy};

fn injecting(upstream: &FakeUpstream) -> TestProxy {
    TestProxy::with(upstream).current_key(CURRENT).token("default", TOKEN).policy(Policy::Inject, |_| {}).start()
}

/// Nothing of the key is in the answer.
#[track_caller]
fn check_clean(answer: &Answer) {
    let all = [&answer.head.raw[..], &answer.body].concat();
    let all = String::from_utf8_lossy(&all).replace("x-keyward", "");
    assert!(!all.contains(&CURRENT[..8]), "{all}");
}

fn error(shown: &str) -> String {
    format!("{{\"error\":{{\"message\":\"for {shown}\",\"type\":\"t\",\"param\":null,\"code\":\"of_upstream\"}}}}")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// One uncompressed block (RFC 7932, 9.2) and the empty one that ends the stream.
fn brotli(text: &[u8]) -> Vec<u8> {
    let head = 0xb | ((u32::try_from(text.len()).unwrap() - 1) << 7) | (1 << 23);
    [&head.to_le_bytes()[..3], text, &[3]].concat()
}

/// One raw block (RFC 8878, 3.1.1.2).
fn zstd(text: &[u8]) -> Vec<u8> {
    let block = (u32::try_from(text.len()).unwrap() << 3) | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50], &block.to_le_bytes()[..3], text].concat()
}

#[test]
fn an_error_that_shows_the_key_is_replaced_however_it_is_encoded() {
    type Encode = fn(&[u8]) -> Vec<u8>;
    let encodings: [(&str, Encode); 5] =
        [("identity", <[u8]>::to_vec), ("gzip", gzip), ("deflate", zlib), ("br", brotli), ("zstd", zstd)];
    for (name, encode) in encodings {
        for (status, shown) in [400, 403, 404, 429, 500, 503].into_iter().zip([CURRENT, &CURRENT[..8]].repeat(3)) {
            let headers =
                format!("Content-Type: application/json\r\nContent-Encoding: {name}\r\nRetry-After: 7\r\nETag: a\r\n");
            let body = encode(error(shown).as_bytes());
            let upstream = FakeUpstream::answering(Answering::with(status, &headers, body));
            let proxy = injecting(&upstream);
            let answer = proxy.post("/v1/responses").key(TOKEN).body("{}").send();
            check_clean(&answer);
            assert_eq!((answer.status, &*answer.error_code()), (status, "of_upstream"), "{name}");
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(
                message.contains(&format!("answered with {status}. keyward replaced upstream's error")),
                "{message}"
            );
            let head = &answer.head;
            assert_eq!(
                [head.header("retry-after"), head.header("content-type")],
                [Some("7"), Some("application/json")]
            );
            assert_eq!([head.header("content-encoding"), head.header("etag")], [None, None]);
            let line = proxy.line(&answer);
            assert_eq!(line["status"], status);
            let cause = "keyward replaced upstream's answer: it showed a part of the key that keyward had put in";
            assert_eq!((&line["cause"], &line["upstream_code"]), (&cause.into(), &"of_upstream".into()), "{line}");
        }
    }
}

#[test]
fn an_error_that_shows_nothing_passes_as_it_is() {
    let long = [error("x").into_bytes(), vec![b' '; 50_000]].concat();
    for body in [error(&CURRENT[..7]).into_bytes(), error(&CURRENT[8..]).into_bytes(), Vec::new(), long] {
        for status in [400, 404, 500] {
            let headers = "Content-Type: application/json\r\nX-Request-Id: r\r\n";
            let upstream = FakeUpstream::answering(Answering::with(status, headers, &body));
            let proxy = injecting(&upstream);
            let mut client = proxy.connect();
            for _ in 0..2 {
                client.send(proxy.post("/v1/responses").key(TOKEN).body("{}").bytes());
                let answer = client.answer();
                assert_eq!((answer.status, answer.head.header("x-request-id")), (status, Some("r")));
                assert!(answer.body == body, "{status} {}", answer.body.len());
                let line = proxy.line(&answer);
                assert_eq!((&line["bytes_out"], line.get("cause")), (&body.len().into(), None), "{line}");
            }
            assert_eq!(upstream.connections(), 1, "{} bytes", body.len());
        }
    }
    // A gzip that shows nothing is not touched, either.
    let body = gzip(error("x").as_bytes());
    let upstream = FakeUpstream::answering(Answering::with(400, "Content-Encoding: gzip\r\n", &body));
    let answer = injecting(&upstream).get("/v1/models").key(TOKEN).send();
    assert_eq!((answer.head.header("content-encoding"), &answer.body), (Some("gzip"), &body));
}

#[test]
fn only_keywards_own_key_is_looked_for() {
    let upstream = FakeUpstream::answering(Answering::with(400, "X-Echo: sk-proj-current-0123\r\n", error(CURRENT)));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Inject, |_| {}).start();
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.text(), answer.head.header("x-echo")), (error(CURRENT), Some("sk-proj-current-0123")));
}

#[test]
fn an_error_that_cannot_be_read_or_is_not_whole_is_replaced() {
    for (headers, body, why) in [
        ("Content-Encoding: compress\r\n", error(CURRENT).into_bytes(), "cannot decode it"),
        ("Content-Encoding: gzip\r\nContent-Encoding: br\r\n", error(CURRENT).into_bytes(), "cannot decode it"),
        ("Content-Encoding: gzip\r\n", error(CURRENT).into_bytes(), "cannot decode it"),
    ] {
        let upstream = FakeUpstream::answering(Answering::with(400, headers, body));
        let answer = injecting(&upstream).get("/v1/models").key(TOKEN).send();
        check_clean(&answer);
        assert_eq!((answer.status, &*answer.error_code()), (400, "error_replaced"));
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(b"HTTP/1.1 500 Odd\r\nContent-Length: 99\r\n\r\n{\"error\":");
        visit.close();
    });
    let answer = injecting(&upstream).get("/v1/models").key(TOKEN).send();
    assert_eq!((answer.status, &*answer.error_code()), (500, "error_replaced"));
    assert!(answer.text().contains("did not come whole"), "{}", answer.text());
}

#[test]
fn a_header_that_shows_the_key_is_replaced_with_whatever_status() {
    for status in [200, 404] {
        let headers =
            format!("X-Echo: Bearer {CURRENT}\r\nX-Two: a\r\nX-Two: b{}c\r\nX-Fine: proj-current\r\n", &CURRENT[..8]);
        let upstream = FakeUpstream::answering(Answering::with(status, &headers, "{}"));
        let proxy = injecting(&upstream);
        let answer = proxy.get("/v1/models").key(TOKEN).send();
        check_clean(&answer);
        let head = &answer.head;
        assert_eq!((head.header("x-echo"), head.header("x-fine")), (Some("[redacted]"), Some("proj-current")));
        assert_eq!(head.all("x-two").collect::<Vec<_>>(), ["a", "[redacted]"]);
        assert!(proxy.line(&answer)["cause"].as_str().unwrap().starts_with("a header of the answer showed a part"));
    }
    let phrase = format!("HTTP/1.1 400 Key {CURRENT}\r\nContent-Length: 2\r\n\r\n{{}}");
    let upstream = FakeUpstream::answering(phrase);
    let answer = injecting(&upstream).get("/v1/models").key(TOKEN).send();
    check_clean(&answer);
    assert_eq!(answer.text(), "{}");
}

#[test]
fn trailers_that_show_the_key_are_replaced() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(b"HTTP/1.1 200 OK\r\nTrailer: X-Echo\r\nTransfer-Encoding: chunked\r\n\r\n");
        visit.send(format!("2\r\n{{}}\r\n0\r\nX-Echo: {CURRENT}\r\n\r\n"));
    });
    let proxy = injecting(&upstream);
    let mut client = proxy.connect();
    client.send(proxy.get("/v1/models").key(TOKEN).header("TE", "trailers").header("Connection", "close, TE").bytes());
    let all = String::from_utf8(client.rest()).unwrap();
    assert!(all.contains("x-echo: [redacted]") && !all.contains(&CURRENT[..8]), "{all}");
}

/// The code of an error may be what shows it.
#[test]
fn a_code_that_shows_the_key_is_no_code() {
    for status in [400, 401, 403] {
        let body = error("x").replace("of_upstream", &CURRENT[..15]);
        let upstream = FakeUpstream::answering(Answering::json(status, body));
        let proxy = injecting(&upstream);
        let answer = proxy.get("/v1/models").key(TOKEN).send();
        check_clean(&answer);
        assert_eq!(proxy.line(&answer)["upstream_code"], serde_json::Value::Null);
    }
}

fn event(shown: &str) -> String {
    format!("event: error\r\ndata: {}\r\n\r\n", error(shown))
}

/// An event before it that speaks of keys, as a model may, and one behind it.
fn stream(errors: &str) -> String {
    format!(
        "data: {{\"id\":\"a\",\"text\":\"keys begin with sk-proj-\"}}\n\n{errors}data: {{\"id\":\"b\"}}\n\ndata: [DONE]\n\n"
    )
}

#[test]
fn an_error_event_that_shows_the_key_is_replaced_wherever_it_is_cut() {
    let telltales = [
        event(CURRENT),
        format!("data: {}\n\n", error(CURRENT)),
        format!("data: {{\"type\":\"error\",\"code\":\"of_upstream\",\"message\":\"{CURRENT}\"}}\n\n"),
        format!(
            "data: {{\"type\":\"response.failed\",\"response\":{{\"error\":{{\"code\":\"of_upstream\",\"message\":\"{CURRENT}\"}}}}}}\n\n"
        ),
        format!("event: error\ndata: {{\"code\":\"of_upstream\",\ndata: \"message\":\"{CURRENT}\"}}\n\n"),
        format!("event: error\ndata: {{\"id\":\"e\",\"code\":\"of_upstream\",\"message\":\"{CURRENT}\"}}\n\n"),
        format!("data: {{\"code\":\"of_upstream\",\"message\":\"{CURRENT}\",\"param\":null,\"type\":\"error\"}}\n\n"),
        format!("data: {{\"status\":401,\"error\":{{\"code\":\"of_upstream\",\"message\":\"{CURRENT}\"}}}}\n\n"),
    ];
    for telltale in telltales {
        let text = stream(&telltale);
        // In one piece with a length, in two wherever they are parted, and byte by byte.
        let length = Answering::with(200, "Content-Type: text/event-stream\r\n", &text);
        check_stream(&telltale, &FakeUpstream::answering(length));
        for at in (0..text.len()).step_by(13).chain([text.len() - 1]) {
            let (first, second) = (text[..at].to_owned(), text[at..].to_owned());
            check_stream(&telltale, &chunked(vec![first, second]));
        }
        check_stream(&telltale, &chunked(text.chars().map(String::from).collect()));
    }
}

fn chunked(pieces: Vec<String>) -> FakeUpstream {
    FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            visit.chunk(piece);
        }
        visit.send("0\r\n\r\n");
    })
}

#[track_caller]
fn check_stream(telltale: &str, upstream: &FakeUpstream) {
    let proxy = injecting(upstream);
    let answer = proxy.post("/v1/responses").key(TOKEN).body("{}").send();
    let text = answer.text();
    assert!(!text.contains("current"), "{telltale}: {text}");
    let (before, rest) = text.split_once("event: error\ndata: ").unwrap_or_else(|| panic!("{telltale}: {text}"));
    let (own, behind) = rest.split_once("\n\n").unwrap();
    let own: serde_json::Value = serde_json::from_str(own).unwrap();
    assert_eq!([&own["code"], &own["error"]["code"]], ["of_upstream"; 2], "{own}");
    // The line feed of an end that was parted is one more empty line.
    let around = format!("{before}{}", behind.trim_start_matches('\n'));
    assert_eq!(around, stream(""), "{telltale}");
    let line = proxy.line(&answer);
    assert_eq!((&line["upstream_code"], &line["bytes_out"]), (&"of_upstream".into(), &text.len().into()), "{line}");
}

/// Events that are named no error and say none, but begin as errors of other upstreams do.
#[test]
fn an_event_that_may_be_an_error_is_replaced_where_it_shows_the_key() {
    for object in [
        format!("{{\"detail\":\"no {CURRENT}\"}}"),
        format!("{{\"message\":\"no {CURRENT}\",\"statusCode\":401}}"),
        format!("{{ \"success\": false, \"errors\": [{{\"message\":\"{CURRENT}\"}}]}}"),
    ] {
        let text = stream(&format!("data: {object}\n\n"));
        for pieces in [vec![text.clone()], text.chars().map(String::from).collect()] {
            let answer = injecting(&chunked(pieces)).post("/v1/responses").key(TOKEN).body("{}").send();
            let text = answer.text();
            assert!(!text.contains("current") && text.contains("error_replaced"), "{object}: {text}");
            assert!(text.ends_with("data: {\"id\":\"b\"}\n\ndata: [DONE]\n\n"), "{object}: {text}");
        }
    }
    let others = stream("data: {\"message\":\"hello\"}\n\ndata: {\"code\":1}\n\n");
    let answer = injecting(&chunked(vec![others.clone()])).post("/v1/responses").key(TOKEN).body("{}").send();
    assert_eq!(answer.text(), others);
}

#[test]
fn a_stream_that_shows_nothing_in_an_error_passes_as_it_is_and_at_once() {
    let first = stream(&event("x"));
    let long = format!("data: {{\"error\":null,\"text\":\"sk-proj-{}\"}}\n\n", "a".repeat(40_000));
    let upstream = chunked(vec![first.clone(), long.clone(), long[..20].to_owned(), long[20..].to_owned()]);
    let answer = injecting(&upstream).post("/v1/responses").key(TOKEN).body("{}").send();
    assert!(answer.text() == format!("{first}{long}{long}"), "{}", answer.text());

    // What is said does not wait for what follows, nor does what ends in the middle of a line.
    let upstream = FakeUpstream::scripted(|visit| {
        visit.answer(Answering::STREAM.as_bytes());
        visit.chunk("data: {\"id\":\"a\"}\n\n");
        visit.wait_until_left();
    });
    let proxy = injecting(&upstream);
    let mut client = proxy.post("/v1/responses").key(TOKEN).body("{}").begin();
    client.head();
    assert_eq!(client.chunk(), "data: {\"id\":\"a\"}\n\n");
}

#[test]
fn a_long_error_event_is_replaced_whole() {
    let long = format!(
        "data: {{\"error\":{{\"message\":\"{CURRENT} {}\",\"code\":\"of_upstream\"}}}}\n\n",
        "b".repeat(40_000)
    );
    let text = stream(&long);
    let pieces = text.as_bytes().chunks(1000).map(|piece| String::from_utf8(piece.to_vec()).unwrap()).collect();
    let answer = injecting(&chunked(pieces)).post("/v1/responses").key(TOKEN).body("{}").send();
    let text = answer.text();
    assert!(!text.contains("current") && !text.contains("bbb") && text.contains("error_replaced"), "{text}");
    assert!(text.ends_with("data: {\"id\":\"b\"}\n\ndata: [DONE]\n\n"), "{text}");
}

/// Nothing can be put in its place, so that it ends there.
#[test]
fn an_encoded_stream_ends_before_an_error_that_shows_the_key() {
    for (errors, is_whole) in [(event(CURRENT), false), (event("x"), true), (String::new(), true)] {
        let body = gzip(stream(&errors).as_bytes());
        let headers = "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n";
        let upstream = FakeUpstream::answering(Answering::with(200, headers, &body));
        let proxy = injecting(&upstream);
        let mut client = proxy.post("/v1/responses").key(TOKEN).body("{}").begin();
        let head = client.head();
        let came = client.body(&head);
        assert_eq!(came.is_ok(), is_whole, "{errors}");
        if !is_whole {
            assert!(proxy.only_line()["cause"].as_str().unwrap().contains("broke the answer off"));
        }
    }
}

const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let head = match payload.len() {
        short @ 0..126 => vec![0x80 | kind, u8::try_from(short).unwrap()],
        long => [&[0x80 | kind, 126][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
    };
    [&head, payload].concat()
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(8, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn websocket() -> String {
    format!(
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[test]
fn a_websocket_whose_first_message_refuses_the_key_is_closed_in_keywards_words() {
    let invalid = format!(
        "{{\"type\":\"error\",\"error\":{{\"code\":\"invalid_api_key\",\"message\":\"Incorrect API key provided: {}****CuRr\"}}}}",
        &CURRENT[..8]
    );
    let shown = format!("{{\"type\":\"error\",\"error\":{{\"code\":\"odd\",\"message\":\"{CURRENT}\"}}}}");
    for (said, is_with_head) in [
        (frame(1, invalid.as_bytes()), true),
        (frame(1, invalid.as_bytes()), false),
        (frame(1, shown.as_bytes()), false),
        ([frame(9, b"ping"), frame(1, invalid.as_bytes())].concat(), false),
        (close(3000, &format!("invalid_request_error.invalid_api_key {}", &CURRENT[..8])), false),
    ] {
        let upstream = FakeUpstream::scripted(move |visit| {
            if is_with_head {
                visit.send([AGREED, &said].concat());
            } else {
                visit.send(AGREED);
                for byte in &said {
                    visit.send([*byte]);
                }
            }
            visit.wait_until_left();
        });
        let proxy = injecting(&upstream);
        let mut client = proxy.connect();
        client.send(websocket());
        assert!(client.head().line.contains(" 101 "));
        client.end_sending();
        let rest = client.rest();
        let rest = rest.strip_prefix(&frame(9, b"ping")[..]).unwrap_or(&rest);
        let text = String::from_utf8_lossy(rest).into_owned();
        assert_eq!((rest[0], usize::from(rest[1]), &rest[2..4]), (0x88, rest.len() - 2, &3000_u16.to_be_bytes()[..]));
        assert!(
            text.contains("keyward: upstream refuses the key that keyward put in") && !text.contains("sk-"),
            "{text}"
        );
        let line = proxy.only_line();
        assert_eq!(line["status"], 101);
        assert!(line["cause"].as_str().unwrap().contains("closed the connection in its own words"), "{line}");
    }
}

#[test]
fn a_websocket_whose_first_message_is_fine_loses_nothing_of_it() {
    let created = frame(1, b"{\"type\":\"session.created\"}");
    let odd = frame(1, b"{\"type\":\"error\",\"error\":{\"code\":\"odd\",\"message\":\"no\"}}");
    for first in [created.clone(), odd, frame(1, b"no json"), close(1000, "bye"), frame(2, &vec![b'x'; 30_000])] {
        let said = [frame(9, b"ping"), first, created.clone()].concat();
        let expected = said.clone();
        let upstream = FakeUpstream::scripted(move |visit| {
            visit.send(AGREED);
            assert_eq!(visit.take(4), b"more");
            said.chunks(500).for_each(|piece| visit.send(piece));
            visit.close();
        });
        let proxy = injecting(&upstream);
        let mut client = proxy.connect();
        client.send(websocket());
        client.head();
        client.send(b"more");
        assert!(client.rest() == expected);
    }
}

/// Upstream pings before it says anything, and closes where no pong comes.
#[test]
fn a_ping_is_not_held_back() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.send(AGREED);
        visit.send(frame(9, b"ping"));
        assert_eq!(visit.take(4), b"pong");
        visit.send(frame(1, b"{\"type\":\"session.created\"}"));
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .token("default", TOKEN)
        .policy(Policy::Inject, |_| {})
        .limits(|limits| limits.idle_timeout = Duration::from_secs(20))
        .start();
    let mut client = proxy.connect();
    client.send(websocket());
    client.head();
    assert_eq!(client.take(6), frame(9, b"ping"));
    client.send(b"pong");
    let created = frame(1, b"{\"type\":\"session.created\"}");
    assert_eq!(client.take(created.len()), created);
}
