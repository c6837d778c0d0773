//! Load balancers say whom they speak for, by the PROXY protocol; others are not believed.

use std::net::SocketAddr;
use std::time::Duration;

use keyward::keys::rules::Policy;

use crate::support::{Answer, CURRENT, Certificate, Client, FakeUpstream, TestProxy};

#[test]
fn the_address_that_a_load_balancer_names_is_the_peer() {
    for (header, peer) in [
        (text("TCP4 203.0.113.7 10.0.0.1 56324 443"), "203.0.113.7"),
        (text("TCP6 2001:db8::7 2001:db8::1 56324 443"), "2001:db8::7"),
        (text("TCP6 ::ffff:203.0.113.7 ::1 56324 443"), "203.0.113.7"),
        (binary(0x21, 0x11, &V4), "203.0.113.7"),
        (binary(0x21, 0x21, &v6([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])), "2001:db8::7"),
        (binary(0x21, 0x21, &v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7])), "203.0.113.7"),
        // With notes behind the addresses.
        (binary(0x21, 0x11, &[&V4[..], &[0x04, 0, 2, 0, 0], &[0x02, 0, 1, b'k']].concat()), "203.0.113.7"),
    ] {
        check_peer(&header, peer);
    }
}

#[test]
fn a_load_balancer_that_speaks_for_itself_or_for_no_client_is_the_peer() {
    for header in [
        text("UNKNOWN"),
        text("UNKNOWN 203.0.113.7 10.0.0.1 56324 443"),
        binary(0x20, 0x00, &[]),
        binary(0x20, 0x11, &V4),
        binary(0x21, 0x00, &V4),
        binary(0x21, 0x31, &[b'/'; 216]),
    ] {
        check_peer(&header, "127.0.0.1");
    }
}

#[test]
fn a_header_may_come_in_pieces() {
    for header in [text("TCP4 203.0.113.7 10.0.0.1 56324 443"), binary(0x21, 0x11, &V4)] {
        let (_upstream, proxy) = behind_a_load_balancer();
        let mut client = proxy.connect();
        for byte in &header {
            client.send([*byte]);
        }
        assert_eq!(proxy.line(&ask(&proxy, &mut client))["peer"], "203.0.113.7");
    }
}

#[test]
fn the_header_holds_for_all_requests_of_its_connection_and_for_no_other() {
    let (_upstream, proxy) = behind_a_load_balancer();
    let [mut one, mut other] = ["203.0.113.7", "203.0.113.8"].map(|source| {
        let mut client = proxy.connect();
        client.send(text(&format!("TCP4 {source} 10.0.0.1 56324 443")));
        client
    });
    for _ in 0..2 {
        assert_eq!(proxy.line(&ask(&proxy, &mut one))["peer"], "203.0.113.7");
        assert_eq!(proxy.line(&ask(&proxy, &mut other))["peer"], "203.0.113.8");
    }
}

#[test]
fn who_is_admitted_by_address_is_admitted_by_the_one_that_is_named() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).policy(Policy::Inject, |rules| {
        rules.allow_from = vec!["203.0.113.0/24".parse().unwrap()];
    });
    let proxy = proxy.balancers(&["127.0.0.1/32"]).start();
    for (source, status) in [
        ("TCP4 203.0.113.7 10.0.0.1 56324 443", 200),
        ("TCP6 ::ffff:203.0.113.7 ::1 56324 443", 200),
        ("TCP4 198.51.100.7 203.0.113.1 56324 443", 401),
        ("UNKNOWN 203.0.113.7 10.0.0.1 56324 443", 401),
    ] {
        let mut client = proxy.connect();
        client.send(text(source));
        assert_eq!(ask(&proxy, &mut client).status, status, "{source}");
    }
}

#[test]
fn the_header_comes_before_tls() {
    let certificate = Certificate::make();
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).balancers(&["127.0.0.0/8"]).certificate(&certificate).start();
    for header in [text("TCP4 203.0.113.7 10.0.0.1 56324 443"), binary(0x21, 0x11, &V4)] {
        let mut client = proxy.connect();
        client.send(header);
        let mut client = client.into_secure(&certificate).unwrap();
        assert_eq!(proxy.line(&ask(&proxy, &mut client))["peer"], "203.0.113.7");
    }
    assert!(proxy.connect().into_secure(&certificate).is_err(), "a handshake is no header");
    let mut client = proxy.connect();
    client.send(text("UNKNOWN"));
    let mut client = client.into_secure(&certificate).unwrap();
    client.send(text("TCP4 203.0.113.8 10.0.0.1 56324 443"));
    assert_eq!(client.answer().status, 400, "nor is there a second one, inside of TLS");
}

#[test]
fn from_anybody_else_it_is_garbage() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).balancers(&["10.0.0.0/8", "127.0.0.2/32", "::1/128"]).start();
    for header in [text("TCP4 10.0.0.7 10.0.0.1 56324 443"), binary(0x21, 0x11, &V4), binary(0x20, 0, &[])] {
        let mut client = proxy.connect();
        client.send([header, proxy.get("/v1/models").bytes()].concat());
        assert_eq!(client.answer().status, 400);
    }
    assert!(upstream.received().is_empty() && proxy.lines().is_empty());
    let line = proxy.get("/v1/models").header("X-Forwarded-For", "10.0.0.7").logged();
    assert_eq!(line["peer"], "127.0.0.1", "and without one, everything is as ever");
}

#[test]
fn a_load_balancer_without_a_header_that_can_be_read_gets_no_answer() {
    let (upstream, proxy) = behind_a_load_balancer();
    let request = proxy.get("/v1/models").bytes();
    let long_line = format!("UNKNOWN {}", "a".repeat(107));
    for beginning in [
        request.clone(),
        text("TCP4 203.0.113.7 10.0.0.1 56324"),
        text("TCP4 203.0.113.777 10.0.0.1 56324 443"),
        text("TCP4 2001:db8::7 2001:db8::1 56324 443"),
        text(&long_line),
        b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\n".to_vec(),
        b" PROXY UNKNOWN\r\n".to_vec(),
        b"proxy UNKNOWN\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00".to_vec(),
        binary(0x31, 0x11, &V4),
        binary(0x23, 0x11, &V4),
        binary(0x21, 0x51, &V4),
        binary(0x21, 0x11, &V4[..8]),
        binary(0x21, 0x11, &[0; 5000]),
    ] {
        let mut client = proxy.connect();
        client.send([&beginning[..], &request[..]].concat());
        client.end_sending();
        assert_eq!(client.rest(), b"", "{}", String::from_utf8_lossy(&beginning));
    }
    assert!(upstream.received().is_empty() && proxy.lines().is_empty());
}

#[test]
fn a_header_that_breaks_off_gets_no_answer() {
    let (_upstream, proxy) = behind_a_load_balancer();
    for header in [text("TCP4 203.0.113.7 10.0.0.1 56324 443"), binary(0x21, 0x11, &V4)] {
        for end in 0..header.len() {
            let mut client = proxy.connect();
            client.send(&header[..end]);
            client.end_sending();
            assert_eq!(client.rest(), b"", "after {end} bytes");
        }
    }
    assert!(proxy.lines().is_empty());
}

#[test]
fn a_header_that_does_not_come_holds_up_neither_others_nor_the_end() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).balancers(&["127.0.0.1/32"]).limits(|limits| {
        limits.drain_timeout = Duration::from_hours(1);
    });
    let proxy = proxy.start();
    let mut slow: Vec<_> = ["", "PRO", "PROXY TCP4 203.0.113.7", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"]
        .map(|beginning| {
            let mut client = proxy.connect();
            client.send(beginning);
            client
        })
        .into();
    assert_eq!(peer_of(&proxy, &text("TCP4 203.0.113.7 10.0.0.1 56324 443")), "203.0.113.7");
    proxy.server().drain();
    for client in &mut slow {
        assert_eq!(client.rest(), b"", "they are sent off");
    }
    assert_eq!(proxy.join().len(), 1);
}

/// It takes the five seconds that there are.
#[test]
fn a_header_that_does_not_come_in_time_is_not_waited_for() {
    let (_upstream, proxy) = behind_a_load_balancer();
    let mut slow: Vec<_> = ["", "PROXY TCP4 203.0.113.7"]
        .map(|beginning| {
            let mut client = proxy.connect();
            client.send(beginning);
            client
        })
        .into();
    for client in &mut slow {
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_peer_on_a_socket_for_both_families_has_its_own_address() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).listen("[::]:0".parse().unwrap()).balancers(&["127.0.0.2/32"]).start();
    let address = SocketAddr::from(([127, 0, 0, 1], proxy.address().port()));
    let mut client = Client::connect(address);
    assert_eq!(proxy.line(&ask(&proxy, &mut client))["peer"], "127.0.0.1");
}

fn behind_a_load_balancer() -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).balancers(&["10.0.0.0/8", "127.0.0.0/8"]).start();
    (upstream, proxy)
}

/// Header and request in one segment: nothing behind the header belongs to it, and nothing of it to the request.
#[track_caller]
fn check_peer(header: &[u8], peer: &str) {
    let (upstream, proxy) = behind_a_load_balancer();
    assert_eq!(peer_of(&proxy, header), peer, "{}", String::from_utf8_lossy(header));
    assert_eq!(upstream.only_received().body, b"{}");
}

#[track_caller]
fn peer_of(proxy: &TestProxy, header: &[u8]) -> String {
    let mut client = proxy.connect();
    client.send([header, &proxy.post("/v1/responses").body("{}").bytes()].concat());
    proxy.line(&client.answer())["peer"].as_str().unwrap().to_owned()
}

#[track_caller]
fn ask(proxy: &TestProxy, client: &mut Client) -> Answer {
    client.send(proxy.get("/v1/models").bytes());
    client.answer()
}

fn text(addresses: &str) -> Vec<u8> {
    format!("PROXY {addresses}\r\n").into_bytes()
}

fn binary(version_and_command: u8, family_and_protocol: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[version_and_command, family_and_protocol], &length, rest].concat()
}

fn v6(source: [u8; 16]) -> Vec<u8> {
    [&source[..], &[0; 16], &[220, 4, 1, 187]].concat()
}

/// From 203.0.113.7 to 10.0.0.1.
const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 220, 4, 1, 187];
