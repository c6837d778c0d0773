//! Clients that speak HTTP/2: the same judgement and the same care, for many requests side by side.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use keyward::keys::rules::Policy;
use keyward::net::limits::Limits;

use crate::support::http2::{
    CONTINUATION, DATA, END_STREAM, GOAWAY, HEADERS, Http2, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, channel, empty, fields, frame, full, get, head, next_frame, preface, run,
};
use crate::support::{Answering, CURRENT, Certificate, Client, FakeUpstream, Gate, TestProxy, UNLISTED, eventually};

#[test]
fn a_request_is_judged_attributed_and_carried_as_over_http_1() {
    let upstream = FakeUpstream::answering(Answering::with(200, "X-Twice: a\r\nX-Twice: b\r\n", "{}"));
    let certificate = Certificate::make();
    for is_secure in [false, true] {
        let builder = TestProxy::with(&upstream).current_key(CURRENT);
        let builder = if is_secure { builder.certificate(&certificate) } else { builder };
        let proxy = builder.start();
        let before = upstream.received().len();
        run(async {
            let client = if is_secure {
                Http2::secure(proxy.address(), &certificate).await
            } else {
                Http2::connect(proxy.address()).await
            };
            let request = get("/v1/chat/completions?a=1", CURRENT).method("POST");
            let request =
                request.header("x-n8n-tag", "wf=w1;ex=7;node=n1").header("x-twice", "1").header("x-twice", "2");
            let answer = client.send(request.header("cookie", "a=1").header("cookie", "b=2").body(full("{}")).unwrap());
            let answer = answer.await;
            assert_eq!((answer.status, &*answer.body), (200, &b"{}"[..]));
            assert_eq!(answer.headers["x-keyward-verdict"], "current");
            let twice: Vec<_> = answer.headers.get_all("x-twice").iter().collect();
            assert_eq!(twice, ["a", "b"]);
        });
        let received = &upstream.received()[before];
        let sent = &received.head;
        assert_eq!(sent.line, "POST /v1/chat/completions?a=1 HTTP/1.1");
        assert_eq!(sent.all("host").collect::<Vec<_>>(), [&*upstream.authority()]);
        assert_eq!(sent.all("x-twice").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(sent.all("cookie").collect::<Vec<_>>(), ["a=1; b=2"], "RFC 9113, 8.2.3");
        assert_eq!(sent.header("x-n8n-tag"), None);
        assert_eq!((&*received.body, sent.header("content-length")), (&b"{}"[..], Some("2")));
        let line = proxy.only_line();
        assert_eq!((&line["verdict"], &line["workflow_id"]), (&"current".into(), &"w1".into()));
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&2.into(), &2.into()));
    }
}

#[test]
fn streams_go_on_side_by_side_and_each_piece_comes_when_upstream_sends_it() {
    let gate = Gate::default();
    let next = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        visit.chunk("first");
        if visit.head.line.contains("slow") {
            next.pass();
        }
        visit.chunk("second");
        visit.chunk("");
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let slow = client.begin(get("/v1/slow", CURRENT).body(empty()).unwrap()).await.unwrap();
        let mut slow = slow.into_body();
        assert_eq!(slow.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        for _ in 0..50 {
            let answer = client.send(get("/v1/quick", CURRENT).body(empty()).unwrap()).await;
            assert_eq!(answer.body, b"firstsecond");
        }
        gate.open();
        assert_eq!(slow.collect().await.unwrap().to_bytes(), "second");
    });
    assert_eq!(proxy.lines_of(51).len(), 51);
    assert_eq!(proxy.exchanges("current", "success"), 51);
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    let body: Vec<u8> = (0_u32..2_000_000).flat_map(u32::to_le_bytes).collect();
    let sent = body.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        let is_up = visit.head.line.contains("up");
        visit.answer(&Answering::with(200, "", if is_up { &b"{}"[..] } else { &sent }));
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let up = client.send(get("/v1/up", CURRENT).method("POST").body(full(body.clone())).unwrap());
        let down = client.send(get("/v1/down", CURRENT).body(empty()).unwrap());
        let (up, down) = tokio::join!(up, down);
        assert_eq!(up.status, 200);
        assert!(down.body == body, "{} of {} bytes, or others", down.body.len(), body.len());
    });
    let received = upstream.received().into_iter().find(|received| received.head.line.contains("up")).unwrap();
    assert!(received.body == body);
}

#[test]
fn a_client_that_resets_a_stream_cancels_it_upstream_and_no_other() {
    let gate = Gate::default();
    let next = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        if visit.head.line.contains("long") {
            visit.answer(Answering::STREAM.as_bytes());
            visit.chunk("first");
            visit.wait_until_left();
            next.open();
        } else {
            visit.answer(&Answering::json(200, "{}"));
        }
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let mut long = client.begin(get("/v1/long", CURRENT).body(empty()).unwrap()).await.unwrap().into_body();
        long.frame().await.unwrap().unwrap();
        drop(long);
        assert_eq!(client.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await.status, 200);
    });
    gate.pass();
    let lines = proxy.lines_of(2);
    let long = lines.iter().find(|line| line["path"] == "/v1/long").unwrap();
    assert_eq!(long["outcome"], "client_gone");
}

/// The body of a refused request is not waited for, and its client's other requests go on.
#[test]
fn a_refusal_comes_before_the_body_and_costs_its_stream_alone() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| {}).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let (mut sender, body) = channel();
        let request = get("/v1/files", UNLISTED).method("POST").body(body).unwrap();
        let answer = client.begin(request).await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers().get("connection"), None);
        let told = answer.into_body().collect().await.unwrap().to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["error"]["code"], "unlisted_key");
        // It may still send, and is not read.
        let _ = sender.send_data(Bytes::from_static(b"GET /v1/hidden HTTP/1.1\r\n\r\n")).await;
        assert_eq!(client.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await.status, 200);
        assert!(!client.is_closed());
    });
    assert_eq!(upstream.only_received().head.line, "GET /v1/models HTTP/1.1");
}

/// What a client sent of unread bodies takes no room from the bodies that come after them.
#[test]
fn unread_bodies_leave_room_for_others() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Enforce, |_| {}).start();
    let upload = |key| get("/v1/files", key).method("POST").body(full(vec![b'a'; 2_000_000])).unwrap();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        for _ in 0..20 {
            assert_eq!(client.begin(upload(UNLISTED)).await.unwrap().status(), 401);
        }
        assert_eq!(client.send(upload(CURRENT)).await.status, 200);
    });
    assert_eq!(upstream.only_received().body.len(), 2_000_000);
}

#[test]
fn what_belongs_to_http_1_alone_is_no_request() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    for trick in TRICKS {
        let mut client = proxy.connect();
        let probe = head(3, END_STREAM, &fields("/v1/probe", CURRENT));
        client.send([preface(), head(1, END_STREAM, trick), probe].concat());
        // Either the stream or the whole connection ends, or an answer says that it was no request.
        let mut was_refused = false;
        while let Some((kind, stream, _)) = next_frame(&mut client) {
            was_refused |= stream == 1 && matches!(kind, RST_STREAM | HEADERS) || kind == GOAWAY;
            if kind == GOAWAY || (kind == DATA && stream == 3) {
                break;
            }
        }
        assert!(was_refused, "{trick:?}");
        let seen: Vec<_> = upstream.received().into_iter().map(|received| received.head.line).collect();
        assert!(seen.iter().all(|line| line == "GET /v1/probe HTTP/1.1"), "{trick:?}: {seen:?}");
    }
}

/// A name in `host` and another in `:authority`: upstream hears neither.
#[test]
fn upstream_is_called_by_its_own_name_whatever_the_client_calls_it() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.connect();
    let named = [(":authority", "elsewhere.example"), (":path", "/v1/x"), ("host", "other.example")];
    let fields = [&[(":method", "GET"), (":scheme", "https")][..], &named].concat();
    client.send([preface(), head(1, END_STREAM, &fields)].concat());
    eventually("the request", || (!upstream.received().is_empty()).then_some(()));
    assert_eq!(upstream.only_received().head.all("host").collect::<Vec<_>>(), [&*upstream.authority()]);
}

/// Rapid reset (CVE-2023-44487): streams that are opened and reset at once cost the client that does it, and no other.
#[test]
fn a_client_that_opens_streams_only_to_reset_them_is_sent_off() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.head.line.contains("models") {
            visit.answer(&Answering::json(200, "{}"));
        } else {
            visit.wait_until_left();
        }
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut hostile = proxy.connect();
    hostile.send(preface());
    let fields = fields("/v1/x", CURRENT);
    for burst in 0..200_u32 {
        let streams = (0..50).map(|number| 1 + 2 * (burst * 50 + number));
        let frames: Vec<_> = streams
            .flat_map(|stream| {
                [head(stream, END_STREAM, &fields), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            })
            .collect();
        if hostile.try_send(frames).is_err() {
            break;
        }
    }
    let mut reason = None;
    while let Some((kind, _, payload)) = next_frame(&mut hostile) {
        if kind == GOAWAY {
            reason = Some(payload[7]);
        }
    }
    assert_eq!(reason, Some(0xb), "ENHANCE_YOUR_CALM (RFC 9113, 7)");
    assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200);
    eventually("nothing is left of it", || (upstream.open_connections() <= 1).then_some(()));
}

/// `MadeYouReset` (CVE-2025-8671): the same, where the client has keyward reset them.
#[test]
fn a_client_that_has_its_streams_reset_is_sent_off() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.head.line.contains("models") {
            visit.answer(&Answering::json(200, "{}"));
        } else {
            visit.wait_until_left();
        }
    });
    let itself = |stream: u32| [&stream.to_be_bytes()[..], &[0]].concat();
    let trick = |number, stream| match number {
        0 => ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        1 => ("a window beyond all bounds", frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])),
        2 => ("a body behind the end", frame(DATA, 0, stream, b"more")),
        3 => ("a head behind the end", head(stream, END_STREAM, &[("x-a", "b")])),
        4 => ("a stream that depends on itself", frame(PRIORITY, 0, stream, &itself(stream))),
        _ => ("a priority without its length", frame(PRIORITY, 0, stream, &[0; 4])),
    };
    for number in 0..6 {
        let (what, _) = trick(number, 1);
        let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
        let mut hostile = proxy.connect();
        hostile.send(preface());
        let fields = fields("/v1/x", CURRENT);
        for burst in 0..200_u32 {
            let streams = (0..50).map(|number| 1 + 2 * (burst * 50 + number));
            let frames =
                streams.flat_map(|stream| [head(stream, END_STREAM, &fields), trick(number, stream).1].concat());
            if hostile.try_send(frames.collect::<Vec<_>>()).is_err() {
                break;
            }
        }
        let frames = std::iter::from_fn(|| next_frame(&mut hostile));
        let resets = frames.filter(|(kind, ..)| *kind == RST_STREAM).count();
        assert!(resets < 2000, "{what}: {resets} of 10000");
        let open = "keyward_client_connections_open{worker=\"0\"}";
        eventually(what, || (proxy.metric(open) == 0).then_some(()));
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200, "{what}");
        check_account(&proxy);
    }
    eventually("nothing is left of it", || (upstream.open_connections() <= 1).then_some(()));
}

/// Each exchange that began has ended, and has a line of its own.
fn check_account(proxy: &TestProxy) {
    eventually("all ends", || (proxy.metric("keyward_exchanges_open") == 0).then_some(()));
    let text = proxy.admin("/metrics").text();
    let counts = text.lines().filter(|line| line.starts_with("keyward_exchanges_total{"));
    let ended: usize = counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum();
    assert_eq!(proxy.lines_of(ended).len(), ended);
    let mut ids: Vec<_> = proxy.lines().into_iter().map(|line| line["id"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ended);
}

/// CONTINUATION without end (CVE-2024-27316), and heads that are small only as they come (RFC 7541, 7.3).
#[test]
fn a_head_without_end_is_cut_and_others_are_served() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let begin = frame(HEADERS, END_STREAM, 1, &[0x82]);
    // A field of four bytes, again and again; nothing; and a large one that is named by a single byte each time.
    let small = [0, 1, b'a', 0].repeat(4000);
    let large = [&[0x40, 1, b'a', 0x7f, 0xe1, 0x1e][..], &[b'b'; 4000]].concat();
    for (what, first, next) in [
        ("fields", begin.clone(), frame(CONTINUATION, 0, 1, &small)),
        ("nothing", begin, frame(CONTINUATION, 0, 1, b"")),
        ("repetitions", frame(HEADERS, END_STREAM, 1, &large), frame(CONTINUATION, 0, 1, &[0xbe; 16_000])),
    ] {
        let mut hostile = proxy.connect();
        hostile.send([preface(), first].concat());
        let piece = next.repeat(100_000 / next.len());
        let sent = (0..1000).take_while(|_| hostile.try_send(&piece).is_ok()).count();
        assert!(sent < 1000, "{what}: it took all of {} bytes", sent * piece.len());
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200, "{what}");
    }
    check_account(&proxy);
    assert_eq!(upstream.received().len(), 3);
}

/// What has to be answered is not taken while its client takes no answers.
#[test]
fn a_client_that_asks_without_listening_is_cut_off() {
    let upstream = FakeUpstream::accepting();
    let limits = |limits: &mut Limits| limits.client_stall_timeout = Duration::from_millis(200);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    for (what, asking) in [
        ("PING", frame(PING, 0, 0, b"12345678")),
        ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
        ("HEADERS", head(1, END_STREAM, &fields("/v1/x", CURRENT))),
    ] {
        let mut hostile = deaf(&proxy);
        hostile.send(preface());
        let sent = if asking[3] == HEADERS {
            // A client that is refused a stream is told so.
            let piece = |n: u32| (0..500).flat_map(move |m| head(1 + 2 * (n * 500 + m), 0, &fields("/v1/x", CURRENT)));
            (0..1000).take_while(|n| hostile.try_send(piece(*n).collect::<Vec<_>>()).is_ok()).count()
        } else {
            let piece = asking.repeat(5000);
            (0..1000).take_while(|_| hostile.try_send(&piece).is_ok()).count()
        };
        assert!(sent < 1000, "{what}: it took them all");
        assert_eq!(proxy.get("/v1/models").key(CURRENT).send().status, 200, "{what}");
    }
    eventually("it is gone", || (proxy.metric("keyward_client_connections_open{worker=\"0\"}") == 0).then_some(()));
    check_account(&proxy);
}

/// A client that has next to no room for what it does not read.
fn deaf(proxy: &TestProxy) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&proxy.address().into()).unwrap();
    Client::over(socket.into())
}

/// What a client opens and leaves open is bounded: whatever is above is refused without being looked at.
#[test]
fn a_client_has_only_so_many_streams_at_once() {
    let upstream = FakeUpstream::scripted(|visit| {
        visit.wait_until_left();
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let mut client = proxy.connect();
    let heads: Vec<_> = (0..150).flat_map(|n| head(1 + 2 * n, END_STREAM, &fields("/v1/x", CURRENT))).collect();
    client.send([preface(), heads].concat());
    let mut refused = 0;
    while refused < 50 {
        let (kind, _, payload) = next_frame(&mut client).expect("the connection goes on");
        if kind == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 7], "REFUSED_STREAM: it may be tried again");
            refused += 1;
        }
    }
    eventually("the others", || (upstream.received().len() == 100).then_some(()));
}

/// Each open request costs a connection to upstream, so that few connections of one client could take what all others need.
#[test]
fn a_client_with_too_many_requests_at_a_time_leaves_others_their_places() {
    let gate = Gate::default();
    let upstream = holding_back(&gate);
    let limits = |limits: &mut Limits| limits.max_connections_per_peer = 10;
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).workers(2).start();
    let mut clients = [proxy.connect(), proxy.connect()];
    for client in &mut clients {
        client.send([preface(), heads(0..20, "/v1/held")].concat());
    }
    // Two connections and eight requests have all ten places.
    eventually("the others are refused", || (proxy.metric(TOO_MANY) == 32).then_some(()));
    assert_eq!(proxy.connect().rest(), b"", "a connection more is closed");
    let mut other = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), proxy.address());
    other.send(proxy.get("/v1/models").key(CURRENT).bytes());
    assert_eq!(other.answer().status, 200, "another client is served");
    (0..100).for_each(|_| gate.open());
    let answers: Vec<_> = clients.iter_mut().flat_map(|client| bodies(client, 20)).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|body| body == "{}");
    assert_eq!((served.len(), refused.len()), (8, 32));
    assert!(refused.iter().all(|body| body.contains(r#""code":"too_many_requests""#)), "{refused:?}");
    eventually("there is room again", || {
        let refused = proxy.metric(TOO_MANY);
        let mut client = proxy.connect();
        client.send([preface(), heads(0..5, "/v1/held")].concat());
        bodies(&mut client, 5);
        (proxy.metric(TOO_MANY) == refused).then_some(())
    });
}

#[test]
fn all_clients_together_have_only_so_many_places() {
    let gate = Gate::default();
    let upstream = holding_back(&gate);
    let limits = |limits: &mut Limits| limits.max_connections = 5;
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    let mut client = proxy.connect();
    client.send([preface(), heads(0..10, "/v1/held")].concat());
    eventually("the others are refused", || (proxy.metric(TOO_MANY) == 6).then_some(()));
    let mut waiting = proxy.connect();
    waiting.send(proxy.get("/v1/models").key(CURRENT).bytes());
    (0..100).for_each(|_| gate.open());
    assert_eq!(waiting.answer().status, 200, "it was accepted when there was room");
    assert_eq!(bodies(&mut client, 10).iter().filter(|body| *body == "{}").count(), 4);
}

/// One whose answers to `/v1/held` wait.
fn holding_back(gate: &Gate) -> FakeUpstream {
    let held = gate.clone();
    FakeUpstream::scripted(move |visit| {
        if visit.head.line.contains("held") {
            held.pass();
        }
        visit.answer(&Answering::json(200, "{}"));
    })
}

/// That many requests, from the first of a connection on.
fn heads(numbers: std::ops::Range<u32>, path: &str) -> Vec<u8> {
    numbers.flat_map(|number| head(1 + 2 * number, END_STREAM, &fields(path, CURRENT))).collect()
}

/// The bodies of that many answers.
fn bodies(client: &mut Client, count: usize) -> Vec<String> {
    let frames =
        std::iter::from_fn(|| next_frame(client)).filter(|(kind, _, payload)| *kind == DATA && !payload.is_empty());
    frames.take(count).map(|(_, _, payload)| String::from_utf8(payload).unwrap()).collect()
}

const TOO_MANY: &str = "keyward_refused_early_total{reason=\"too_many_requests\"}";

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(|limits| limits.max_head = 4096).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let long = client.send(get("/v1/models", CURRENT).header("x-long", "a".repeat(5000)).body(empty()).unwrap());
        assert_eq!(long.await.status, 431);
        let short = client.send(get("/v1/models", CURRENT).header("x-long", "a".repeat(3000)).body(empty()).unwrap());
        assert_eq!(short.await.status, 200);
        let far_beyond = get("/v1/models", CURRENT).header("x-long", "a".repeat(50_000)).body(empty()).unwrap();
        assert_eq!(client.send(far_beyond).await.status, 431, "which the library says, and keyward does not hear of");
    });
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(proxy.metric("keyward_refused_early_total{reason=\"oversized_head\"}"), 1);
}

#[test]
fn a_client_that_breaks_the_rules_is_told_of_and_one_that_leaves_is_not() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let broken = "keyward_refused_early_total{reason=\"broken_http2\"}";
    let mut hostile = proxy.connect();
    // A stream of an even number is not a client's to begin (RFC 9113, 5.1.1).
    hostile.send([preface(), head(2, END_STREAM, &fields("/v1/x", CURRENT))].concat());
    hostile.rest();
    eventually("it counts", || (proxy.metric(broken) == 1).then_some(()));
    let mut leaving = proxy.connect();
    leaving.send([preface(), head(1, END_STREAM, &fields("/v1/x", CURRENT))].concat());
    eventually("an answer", || next_frame(&mut leaving).filter(|(kind, ..)| *kind == HEADERS));
    leaving.reset();
    eventually("it is gone", || (proxy.metric("keyward_client_connections_open{worker=\"0\"}") == 0).then_some(()));
    assert_eq!(proxy.metric(broken), 1);
}

#[test]
fn a_silent_upstream_is_not_waited_for_beyond_the_limit() {
    let upstream = FakeUpstream::scripted(|visit| {
        if visit.head.line.contains("begins") {
            visit.answer(Answering::STREAM.as_bytes());
            visit.chunk("first");
        }
        visit.wait_until_left();
    });
    let limit = Duration::from_millis(200);
    let proxy = TestProxy::with(&upstream)
        .limits(|limits| (limits.answer_timeout, limits.idle_timeout) = (limit, limit))
        .start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        assert_eq!(client.send(get("/v1/silent", CURRENT).body(empty()).unwrap()).await.status, 504);
        let begun = client.begin(get("/v1/begins", CURRENT).body(empty()).unwrap()).await.unwrap();
        assert!(begun.into_body().collect().await.is_err(), "a part is not taken for the whole");
    });
    assert!(proxy.lines_of(2).iter().all(|line| line["outcome"] == "timed_out"));
}

#[test]
fn an_idle_client_is_sent_off_and_one_that_never_begins_as_well() {
    let upstream = FakeUpstream::accepting();
    let limit = Duration::from_millis(200);
    let proxy = TestProxy::with(&upstream).limits(|limits| limits.client_idle_timeout = limit).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        assert_eq!(client.send(get("/v1/models", CURRENT).body(empty()).unwrap()).await.status, 200);
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // One that says nothing at all behind the preface, and one that does not answer when it is sent off.
    for begin in [preface()[..24].to_vec(), preface()] {
        let mut client = proxy.connect();
        client.send(begin);
        client.rest();
    }
    let open = "keyward_client_connections_open{worker=\"0\"}";
    eventually("empty seats", || (proxy.metric(open) == 0).then_some(()));
    assert_eq!(proxy.metric("keyward_client_connections_total"), 3);
}

#[test]
fn open_streams_finish_when_keyward_drains() {
    let gate = Gate::default();
    let next = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        visit.chunk("first");
        next.pass();
        visit.chunk("second");
        visit.chunk("");
    });
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let mut open = client.begin(get("/v1/slow", CURRENT).body(empty()).unwrap()).await.unwrap().into_body();
        assert_eq!(open.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        proxy.server().drain();
        while client.begin(get("/v1/late", CURRENT).body(empty()).unwrap()).await.is_ok() {
            gate.open();
        }
        gate.open();
        assert_eq!(open.collect().await.unwrap().to_bytes(), "second");
    });
    assert!(proxy.join().iter().all(|line| line["outcome"] != "shut_down"));
}

#[test]
fn connect_and_broken_prefaces_lead_nowhere() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    run(async {
        let client = Http2::connect(proxy.address()).await;
        let request = http::Request::builder().method("CONNECT").uri("api.openai.com:443").body(empty()).unwrap();
        assert_eq!(client.begin(request).await.unwrap().status(), 405);
    });
    for broken in ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "PRI /v1/models HTTP/2.0\r\n\r\n"] {
        let mut client: Client = proxy.connect();
        client.send(broken);
        client.end_sending();
        let answer = client.rest();
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{broken}: {}", String::from_utf8_lossy(&answer));
    }
    assert!(upstream.received().is_empty());
}

/// The network may cut it anywhere.
#[test]
fn a_preface_that_comes_in_pieces_is_one() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let request = [preface(), head(1, END_STREAM, &fields("/v1/models", CURRENT))].concat();
    let mut cuts: Vec<_> = (1..PREFACE.len()).map(|at| vec![at]).collect();
    cuts.push((1..=PREFACE.len()).collect());
    for (number, cuts) in cuts.into_iter().enumerate() {
        let mut client = proxy.connect();
        let mut sent = 0;
        for at in cuts {
            client.send(&request[sent..at]);
            sent = at;
            // It has its time to arrive alone.
            assert!(proxy.metric("keyward_client_connections_total") <= number as u64 + 1);
        }
        client.send(&request[sent..]);
        let answered = loop {
            let (kind, stream, _) = next_frame(&mut client).expect("an answer in HTTP/2");
            if (kind, stream) == (DATA, 1) {
                break kind;
            }
        };
        assert_eq!(answered, DATA);
    }
    assert_eq!(proxy.lines_of(PREFACE.len()).len(), PREFACE.len());
}

#[test]
fn what_only_begins_like_a_preface_is_read_as_http_1() {
    let upstream = FakeUpstream::accepting();
    let limits = |limits: &mut Limits| limits.client_idle_timeout = Duration::from_millis(500);
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).limits(limits).start();
    let request = proxy.post("/v1/responses").key(CURRENT).body("{}").bytes();
    for at in 1..5 {
        let mut client = proxy.connect();
        client.send(&request[..at]);
        proxy.metric("keyward_client_connections_total");
        client.send(&request[at..]);
        assert_eq!(client.answer().status, 200);
    }
    for at in [1, 3, 14, 16, 20, 23] {
        let mut client = proxy.connect();
        client.send(&PREFACE[..at]);
        proxy.metric("keyward_client_connections_total");
        client.send("\0 and more of it");
        assert!(client.rest().starts_with(b"HTTP/1.1 400 "), "{at}");
        // One that never goes on is let go in time.
        let mut client = proxy.connect();
        client.send(&PREFACE[..at]);
        client.rest();
    }
    assert_eq!(upstream.received().len(), 4);
}

/// Heads that mean nothing in HTTP/2 (RFC 9113, 8.2 and 8.3), and something else wherever they were written out.
const TRICKS: &[&[(&str, &str)]] = &[
    &[(":method", "GET"), (":method", "POST"), (":scheme", "http"), (":path", "/v1/x")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), (":path", "/v1/y")],
    &[(":method", "GET"), (":scheme", "http")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "v1/x")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x HTTP/1.1\r\nX-A: b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x y")],
    &[(":method", "GET /v1/y HTTP/1.1\r\n\r\n"), (":scheme", "http"), (":path", "/v1/x")],
    &[(":method", "G T"), (":scheme", "http"), (":path", "/v1/x")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), (":status", "200")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), (":unknown", "1")],
    &[(":method", "GET"), (":scheme", "http"), ("x-a", "b"), (":path", "/v1/x")],
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a b"), (":path", "/v1/x")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("transfer-encoding", "chunked")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("connection", "authorization")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("upgrade", "websocket")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("keep-alive", "1")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("te", "gzip")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("X-Upper", "1")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("x-a", "b\r\nx-c: d")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("x-a", "b\nx-c: d")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("x-a", "b\0")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("x a", "b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("x-a:", "b")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), ("", "b")],
    &[(":method", "POST"), (":scheme", "http"), (":path", "/v1/x"), ("content-length", "5")],
    &[(":method", "POST"), (":scheme", "http"), (":path", "/v1/x"), ("content-length", "x")],
    &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/x"), (":protocol", "websocket")],
    &[(":method", "CONNECT"), (":scheme", "http"), (":authority", "k"), (":path", "/v1/x"), (":protocol", "websocket")],
];
