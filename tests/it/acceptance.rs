//! What proves that upstream takes a key, and what proves nothing: behind a switch of protocols, inside of a success, by a
//! refusal of something else, and at which paths.

use std::io::Write;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use keyward::keys::rules::Policy;
use serde_json::{Value, json};

use crate::support::{Answering, CURRENT, Client, FakeUpstream, OUTDATED, TestProxy, UNLISTED, eventually};

// === WebSockets ===

#[test]
fn a_switch_of_protocols_closes_no_incident_and_the_first_message_does() {
    for (name, bytes, is_proven) in [
        ("nothing", Vec::new(), false),
        ("an error", text(&error("unknown_parameter")), false),
        ("no JSON", text("hello"), false),
        ("a masked frame", masked(CREATED), false),
        ("a ping", frame(FIN | PING, CREATED.as_bytes()), false),
        ("half a message", frame(TEXT, CREATED.as_bytes()), false),
        ("a message", text(CREATED), true),
        ("fragments", fragments(CREATED), true),
        ("an error and a message", [text(&error("unknown_parameter")), text(CREATED)].concat(), true),
    ] {
        let (told, expected) = (bytes.clone(), bytes.len());
        let upstream = speaking(move |_key| told.clone(), "");
        let proxy = rotated(&upstream);
        stale(&proxy);
        let mut client = open(&proxy, CURRENT);
        assert_eq!(client.take(expected), bytes, "{name}: it passes untouched");
        if is_proven {
            // While the connection is open.
            eventually(name, || (incidents(&proxy, "closed") == 1).then_some(()));
        }
        drop(client);
        let line = &proxy.lines_of(2)[1];
        assert_eq!((&line["diagnosis"], &line["status"]), (&"ok".into(), &101.into()), "{name}: {line}");
        assert_eq!(incidents(&proxy, "open"), u64::from(!is_proven), "{name}");
    }
}

#[test]
fn another_protocol_proves_nothing_whatever_is_said_in_it() {
    let agreed = AGREED.replace("Upgrade: websocket", "Upgrade: chat");
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(agreed.as_bytes());
        visit.send(text(CREATED));
        visit.wait_until_left();
    });
    let proxy = rotated(&upstream);
    stale(&proxy);
    let mut client = proxy.connect();
    client.send(request(CURRENT).replace("Upgrade: websocket", "Upgrade: chat"));
    assert!(client.head().line.contains(" 101 "));
    assert_eq!(client.take(text(CREATED).len()), text(CREATED));
    drop(client);
    proxy.lines_of(2);
    assert_eq!(incidents(&proxy, "open"), 1);
}

#[test]
fn an_old_key_is_stale_as_soon_as_its_websocket_opens_and_counted_once() {
    let upstream = speaking(|_key| text(CREATED), "");
    let proxy = rotated(&upstream);
    let mut client = open(&proxy, OUTDATED);
    client.take(text(CREATED).len());
    let incident = eventually("an incident", || {
        let listed = listed(&proxy, "incidents?state=open", "incidents");
        listed.first().cloned()
    });
    assert_eq!((&incident["diagnosis"], &incident["sightings"]), (&"stale_binding".into(), &1.into()), "{incident}");
    drop(client);
    proxy.only_line();
    let incident = &listed(&proxy, "incidents?state=open", "incidents")[0];
    assert_eq!(incident["sightings"], 1, "{incident}");
    assert_eq!(listed(&proxy, "bindings", "bindings")[0]["sightings"], 1);
}

#[test]
fn a_key_that_is_refused_behind_the_switch_is_no_key_like_one_that_is_refused_before() {
    let long = error("invalid_api_key").replace(":{", &format!(":{{\"message\":\"{}\",", "a".repeat(5_000)));
    for (name, bytes, code) in [
        ("an event", text(&error("invalid_api_key")), "current_key_rejected"),
        ("a long event", text(&long), "current_key_rejected"),
        ("fragments", fragments(&error("invalid_api_key")), "current_key_rejected"),
        ("a close", close(3000, "invalid_request_error.invalid_api_key"), "current_key_rejected"),
        ("a close by policy", close(1008, "invalid_api_key"), "current_key_rejected"),
        ("a close behind a message", [text(CREATED), close(3000, "invalid_api_key")].concat(), "current_key_rejected"),
        ("a scope", text(&error("missing_scope")), "key_scope"),
        ("a quota", text(&error("insufficient_quota")), "quota"),
        (
            "a status",
            text(r#"{"type":"error","status":401,"error":{"type":"invalid_request_error","code":"odd"}}"#),
            "key_refused",
        ),
    ] {
        let (told, expected) = (bytes.clone(), bytes.len());
        let upstream = speaking(move |_key| told.clone(), "");
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let mut client = open(&proxy, CURRENT);
        assert_eq!(client.take(expected), bytes, "{name}: it passes untouched");
        drop(client);
        let line = proxy.only_line();
        assert_eq!((&line["diagnosis"], &line["status"]), (&code.into(), &101.into()), "{name}: {line}");
        assert!(line["upstream_code"].as_str().is_some(), "{name}: {line}");
        assert_eq!(incidents(&proxy, "open"), u64::from(code != "quota"), "{name}");
        let bindings = listed(&proxy, "bindings", "bindings");
        assert_eq!((&bindings[0]["sightings"], &bindings[0]["diagnosis"]), (&1.into(), &code.into()), "{name}");
    }
}

#[test]
fn deflated_messages_are_inflated_and_pass_as_they_are() {
    let mut takeover = Compress::new(Compression::default(), false);
    let [other, refused] = [error("unknown_parameter"), error("invalid_api_key")].map(|text| {
        let mut deflated = Vec::with_capacity(1000);
        takeover.compress_vec(text.as_bytes(), &mut deflated, FlushCompress::Sync).unwrap();
        frame(FIN | RSV1 | TEXT, &deflated[..deflated.len() - 4])
    });
    let bytes = [other, refused].concat();
    for (extension, expected) in [
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15\r\n", "current_key_rejected"),
        // The client did not offer it, or upstream did not agree.
        ("", "ok"),
        ("Sec-WebSocket-Extensions: x-unknown\r\n", "ok"),
    ] {
        let told = bytes.clone();
        let upstream = speaking(move |_key| told.clone(), extension);
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let mut client = open(&proxy, CURRENT);
        assert_eq!(client.take(bytes.len()), bytes);
        drop(client);
        assert_eq!(proxy.only_line()["diagnosis"], expected, "{extension}");
    }
}

/// None of it costs more than its own exchange, and none of it proves anything.
#[test]
fn hostile_frames_pass_and_prove_nothing() {
    let mut best = Compress::new(Compression::best(), false);
    let mut bomb = Vec::with_capacity(100_000);
    best.compress_vec(&vec![b' '; 50_000_000], &mut bomb, FlushCompress::Sync).unwrap();
    let huge = [&[FIN | TEXT, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255][..], &vec![b' '; 300_000]].concat();
    for (name, bytes) in [
        ("a bomb", frame(FIN | RSV1 | TEXT, &bomb)),
        ("a huge length", huge),
        ("an endless row of fragments", [frame(TEXT, b"{"), frame(0, b"").repeat(50_000)].concat()),
        ("an endless row of pings", frame(FIN | PING, b"").repeat(50_000)),
        ("a head cut off", vec![FIN | TEXT, 127, 0]),
        ("noise", (0..=255_u8).cycle().take(100_000).collect()),
    ] {
        let told = bytes.clone();
        let upstream = speaking(move |_key| told.clone(), "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        let proxy = rotated(&upstream);
        stale(&proxy);
        let mut client = open(&proxy, CURRENT);
        assert_eq!(client.take(bytes.len()), bytes, "{name}");
        drop(client);
        assert_eq!(proxy.lines_of(2)[1]["diagnosis"], "ok", "{name}");
        assert_eq!(incidents(&proxy, "open"), 1, "{name}");
    }
}

#[test]
fn a_set_learns_a_key_from_what_is_said_behind_the_switch_and_not_from_the_switch() {
    let upstream = speaking(|key| if key == CURRENT { text(CREATED) } else { text(&error("invalid_api_key")) }, "");
    let proxy = TestProxy::with(&upstream).start();
    for (key, expected) in [(UNLISTED, "unknown"), (CURRENT, "current")] {
        let mut client = open(&proxy, key);
        client.take(2);
        drop(client);
        proxy.lines_of(1);
        eventually("what it learns of the answer", || {
            let line = probe(&proxy, key);
            (line["verdict"] == expected).then_some(())
        });
    }
}

#[test]
fn a_key_that_opened_a_websocket_and_no_more_admits_no_client_in_its_grace() {
    for is_proven in [false, true] {
        let upstream = FakeUpstream::scripted(move |visit| {
            if visit.head.header("upgrade").is_none() {
                return visit.answer(&Answering::json(200, "{}"));
            }
            visit.answer(AGREED.as_bytes());
            visit.send(if is_proven { text(CREATED) } else { frame(FIN | PING, b"ping") });
            visit.wait_until_left();
        });
        let hour = Duration::from_hours(1);
        let proxy = TestProxy::with(&upstream).current_key(OUTDATED).grace(hour).policy(Policy::Inject, |_| {}).start();
        let mut client = open(&proxy, OUTDATED);
        client.take(2);
        drop(client);
        proxy.only_line();
        proxy.rotate(CURRENT);
        let answer = proxy.get("/v1/models").key(OUTDATED).send();
        assert_eq!(answer.status, if is_proven { 200 } else { 401 }, "{}", answer.text());
    }
}

// === Errors inside of a success ===

#[test]
fn a_stream_that_tells_of_a_refused_key_is_no_success() {
    let chunk = "data: {\"id\":\"chatcmpl-1\",\"choices\":[]}\n\n";
    for (events, expected) in [
        (
            "data: {\"error\":{\"message\":\"…\",\"code\":\"invalid_api_key\"}}\n\n",
            ["auth_error", "current_key_rejected"],
        ),
        ("event: error\ndata: {\"type\":\"error\",\"code\":\"missing_scope\"}\n\n", ["auth_error", "key_scope"]),
        (
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"insufficient_quota\"}}}\n\n",
            ["limited", "quota"],
        ),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\n", ["success", "ok"]),
    ] {
        let upstream = FakeUpstream::scripted(move |visit| {
            visit.answer(Answering::STREAM.as_bytes());
            (0..2000).for_each(|_| visit.chunk(chunk));
            let (first, rest) = events.split_at(11);
            visit.chunk(first);
            std::thread::sleep(Duration::from_millis(20));
            visit.chunk(rest);
            visit.chunk("data: [DONE]\n\n");
            visit.send("0\r\n\r\n");
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.post("/v1/chat/completions").key(CURRENT).body("{}").send();
        assert_eq!(answer.text(), format!("{}{events}data: [DONE]\n\n", chunk.repeat(2000)), "it passes untouched");
        let line = proxy.line(&answer);
        assert_eq!([&line["outcome"], &line["diagnosis"]], expected, "{line}");
        assert_eq!(line["status"], 200);
    }
}

#[test]
fn a_client_that_leaves_when_it_has_read_of_the_refusal_hides_nothing() {
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        visit.chunk("data: {\"error\":{\"code\":\"invalid_api_key\"}}\n\n");
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.post("/v1/responses").key(CURRENT).body("{}").begin();
    client.head();
    assert!(client.chunk().contains("invalid_api_key"));
    drop(client);
    let line = proxy.only_line();
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"client_gone".into(), &"current_key_rejected".into()));
    assert_eq!(incidents(&proxy, "open"), 1);
}

/// As OpenAI's own libraries do, on what says that nothing follows.
#[test]
fn a_client_that_leaves_at_the_end_of_its_stream_has_all_of_it() {
    for (last, expected) in [("data: [DONE]\n\n", "success"), ("data: {\"choices\":[]}\n\n", "client_gone")] {
        let upstream = FakeUpstream::scripted(move |visit| {
            visit.answer(Answering::STREAM.as_bytes());
            visit.chunk("data: {\"id\":\"chatcmpl-1\"}\n\n");
            visit.chunk(last);
            visit.wait_until_left();
        });
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let mut client = proxy.post("/v1/chat/completions").key(CURRENT).body("{}").begin();
        client.head();
        let mut came = String::new();
        while !came.ends_with(last) {
            came.push_str(&client.chunk());
        }
        drop(client);
        assert_eq!(proxy.only_line()["outcome"], expected, "{last}");
    }
}

#[test]
fn json_that_is_an_error_is_no_success() {
    for (body, expected) in [
        (r#"{"error":{"message":"…","code":"invalid_api_key"}}"#, ["auth_error", "current_key_rejected"]),
        (r#"{"error":{"message":"User not found.","code":401}}"#, ["auth_error", "key_refused"]),
        (r#"{"id":"r","error":{"code":"insufficient_quota"},"output":[]}"#, ["limited", "quota"]),
        (r#"{"id":"r","error":null,"output":[{"error":{"code":"invalid_api_key"}}]}"#, ["success", "ok"]),
    ] {
        for encoding in ["", "Content-Encoding: gzip\r\n"] {
            let sent = if encoding.is_empty() { body.as_bytes().to_vec() } else { gzip(body.as_bytes()) };
            let headers = format!("Content-Type: application/json; charset=utf-8\r\n{encoding}");
            let upstream = FakeUpstream::answering(Answering::with(200, &headers, &sent));
            let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
            let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
            assert_eq!((answer.status, &answer.body), (200, &sent), "it passes untouched");
            let line = proxy.line(&answer);
            assert_eq!([&line["outcome"], &line["diagnosis"]], expected, "{line}");
        }
    }
}

#[test]
fn the_beginning_of_an_encoded_stream_is_read_whatever_it_is_encoded_with() {
    let error = b"data: {\"error\":{\"code\":\"invalid_api_key\"}}\n\n";
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(error).unwrap();
        encoder.finish().unwrap()
    };
    // Stored as it is: in brotli with a window of 4 MiB, in a frame of zstd that goes on.
    let length = u8::try_from(error.len() - 1).unwrap();
    let brotli = [&[0x8b, length << 7 | 0x01, 0x80 | length >> 1][..], error, &[3]].concat();
    let block = u32::try_from(error.len()).unwrap() << 3;
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58][..], &block.to_le_bytes()[..3], error].concat();
    for (encoding, body) in [("gzip", gzip(error)), ("deflate", zlib), ("br", brotli), ("zstd", zstd)] {
        let headers = format!("Content-Type: text/event-stream\r\nContent-Encoding: {encoding}\r\n");
        let upstream = FakeUpstream::answering(Answering::with(200, &headers, &body));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let answer = proxy.post("/v1/responses").key(CURRENT).body("{}").send();
        assert_eq!(answer.body, body, "{encoding}: it passes untouched");
        assert_eq!(proxy.line(&answer)["diagnosis"], "current_key_rejected", "{encoding}");
    }
}

#[test]
fn a_set_does_not_learn_a_key_from_a_success_that_refuses_it() {
    let upstream = FakeUpstream::answering(Answering::json(200, r#"{"error":{"code":"invalid_api_key"}}"#));
    let proxy = TestProxy::with(&upstream).start();
    for _ in 0..3 {
        let line = probe(&proxy, UNLISTED);
        assert_eq!((&line["verdict"], &line["diagnosis"]), (&"unknown".into(), &"unknown_key_rejected".into()));
    }
}

// === Refusals of something else ===

#[test]
fn of_refusals_only_a_complaint_about_the_request_closes_an_incident() {
    let complaint = r#"{"error":{"message":"…","type":"invalid_request_error","param":"model","code":null}}"#;
    for (status, body, closes) in [
        (200, "{}", true),
        (400, complaint, true),
        (400, r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#, false),
        (400, "<html>Bad Request</html>", false),
        (404, complaint, false),
        (404, "", false),
        (405, complaint, false),
        (409, complaint, false),
        (413, complaint, false),
        (415, complaint, false),
        (422, complaint, false),
        (429, r#"{"error":{"type":"tokens","code":"rate_limit_exceeded"}}"#, false),
        (429, r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#, false),
        (500, "{}", false),
        (503, complaint, false),
    ] {
        let upstream = FakeUpstream::answering(Answering::json(status, body));
        let proxy = rotated(&upstream);
        stale(&proxy);
        proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", TAG).logged();
        let open = incidents(&proxy, "open");
        assert_eq!(open, u64::from(!closes), "{status} {body}");
    }
}

#[test]
fn neither_a_quota_nor_a_rate_opens_an_incident() {
    for body in [r#"{"error":{"code":"insufficient_quota"}}"#, r#"{"error":{"code":"rate_limit_exceeded"}}"#] {
        let upstream = FakeUpstream::answering(Answering::json(429, body));
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        proxy.get("/v1/models").key(CURRENT).header("X-N8N-Tag", TAG).logged();
        assert_eq!(incidents(&proxy, "open"), 0);
    }
}

// === Paths ===

#[test]
fn an_old_key_is_seen_wherever_it_is_sent_and_a_good_one_at_the_api_alone() {
    let long = format!("/v1/files/{}", "a".repeat(700));
    for (path, opens, closes) in [
        ("/v1/models", true, true),
        ("/v1/models/ft%3Agpt-4o-mini%3Aacme%3A%3Aabc123", true, true),
        ("/v1/vector_stores/vs_1/files/a%20b", true, true),
        (&*long, true, true),
        ("/v1", true, false),
        ("/chat/completions", true, false),
        ("/v1/../robots.txt", true, false),
        ("/v1/%2e%2e/robots.txt", true, false),
        ("/v1/models/a%2fb", true, false),
        ("/robots.txt", false, false),
        ("/favicon.ico", false, false),
        ("/.well-known/security.txt", false, false),
    ] {
        let upstream = FakeUpstream::accepting();
        let proxy = rotated(&upstream);
        proxy.get(path).key(OUTDATED).header("X-N8N-Tag", TAG).logged();
        assert_eq!(incidents(&proxy, "open"), u64::from(opens), "{path}");
        let proxy = rotated(&upstream);
        stale(&proxy);
        proxy.get(path).key(CURRENT).header("X-N8N-Tag", TAG).logged();
        assert_eq!(incidents(&proxy, "open"), u64::from(!closes), "{path}");
    }
    let upstream = FakeUpstream::accepting();
    let proxy = rotated(&upstream);
    proxy.request("OPTIONS", "/v1/models").key(OUTDATED).logged();
    for path in ["/v1", "/wp-login.php", "/robots.txt", "/v1/%2e%2e/robots.txt"] {
        proxy.get(path).logged();
    }
    assert_eq!(incidents(&proxy, "open"), 0, "strangers without a key, and what is answered without a look at it");
}

// === what they are made of ===

const TAG: &str = "wf=w1;ex=7;node=n1";

const CREATED: &str = r#"{"type":"session.created","event_id":"e","session":{"id":"s","model":"gpt-realtime"}}"#;

/// The answer of an upstream that agrees (RFC 6455, 1.3).
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TEXT: u8 = 0x1;
const PING: u8 = 0x9;
const CLOSE: u8 = 0x8;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let head = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => vec![first, length],
        (_, Ok(length)) => [&[first, 126][..], &length.to_be_bytes()].concat(),
        (_, Err(_)) => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&head[..], payload].concat()
}

fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

fn masked(payload: &str) -> Vec<u8> {
    let mut frame = text(payload);
    frame[1] |= 0x80;
    // With a mask of zeros it reads the same.
    frame.splice(2..2, [0; 4]);
    frame
}

/// With control frames in between.
fn fragments(payload: &str) -> Vec<u8> {
    let (first, rest) = payload.split_at(payload.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    let ping = frame(FIN | PING, b"ping");
    let all = [frame(TEXT, first.as_bytes()), frame(0, second.as_bytes()), frame(FIN, third.as_bytes())];
    all.join(&ping[..])
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn error(code: &str) -> String {
    json!({"type": "error", "event_id": "e", "error": {"type": "invalid_request_error", "code": code}}).to_string()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// An upstream that agrees to every WebSocket, with these extensions, and says what it has to say to that key; every other
/// request it accepts.
fn speaking(say: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, extensions: &'static str) -> FakeUpstream {
    FakeUpstream::scripted(move |visit| {
        if visit.head.header("upgrade").is_none() {
            return visit.answer(&Answering::json(404, "{}"));
        }
        let authorization = visit.head.header("authorization").unwrap_or_default().to_owned();
        let agreed = AGREED.replace("\r\n\r\n", &format!("\r\n{extensions}\r\n"));
        let said = say(authorization.trim_start_matches("Bearer "));
        // The first bytes come with the answer itself, the others later.
        let (first, later) = said.split_at(said.len().min(3));
        visit.answer(&[agreed.as_bytes(), first].concat());
        visit.send(later);
        visit.wait_until_left();
    })
}

fn rotated(upstream: &FakeUpstream) -> TestProxy {
    TestProxy::with(upstream).current_key(CURRENT).previous_key(OUTDATED).start()
}

/// The node sends the old key, whatever comes of it.
fn stale(proxy: &TestProxy) {
    proxy.get("/v1/models").key(OUTDATED).header("X-N8N-Tag", TAG).logged();
    assert_eq!(incidents(proxy, "open"), 1);
    proxy.advance(Duration::from_secs(1));
}

/// How upstream judges the key is not told by this: it answers 404.
fn probe(proxy: &TestProxy, key: &str) -> Value {
    proxy.get("/v1/models").key(key).header("X-N8N-Tag", TAG).logged()
}

fn request(key: &str) -> String {
    format!(
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {key}\r\nX-N8N-Tag: {TAG}\r\n\
         Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The connection, upgraded.
#[track_caller]
fn open(proxy: &TestProxy, key: &str) -> Client {
    let mut client = proxy.connect();
    client.send(request(key));
    let head = client.head();
    assert!(head.line.contains(" 101 "), "{}", head.line);
    client
}

fn listed(proxy: &TestProxy, target: &str, name: &str) -> Vec<Value> {
    let answer = proxy.admin(&format!("/api/v1/{target}")).json();
    answer[name].as_array().cloned().unwrap_or_default()
}

fn incidents(proxy: &TestProxy, state: &str) -> u64 {
    proxy.admin(&format!("/api/v1/incidents?state={state}")).json()["total"].as_u64().unwrap()
}
