//! Clients that are sent away before there is an exchange: one line in the log, a number in the metrics, and no flood.

use std::net::SocketAddr;

use serde_json::Value;

use crate::process::{Home, Keyward, events};
use crate::support::http2::{END_STREAM, fields, head, preface};
use crate::support::{Certificate, Client, FakeUpstream, eventually};

/// A secret, where a head has room for one.
const CANARY: &str = "sk-proj-Canary0123456789abcdefCaNa";

#[test]
fn each_request_that_is_refused_unjudged_has_a_line_and_a_number() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).start();
    let auth = format!("Authorization: Bearer {CANARY}\r\n");
    let long = "x".repeat(70_000);
    for (request, status, reason) in [
        (format!("GET /v1/models HTTP/1.1\r\n{auth}\r\n"), 400, "ambiguous_host"),
        (format!("GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n{auth}\r\n"), 400, "ambiguous_host"),
        (format!("GET http://{CANARY}@k/v1/models HTTP/1.1\r\nHost: k\r\n\r\n"), 400, "ambiguous_target"),
        (format!("CONNECT api.openai.com:443 HTTP/1.1\r\nHost: k\r\n{auth}\r\n"), 405, "not_a_proxy"),
        (
            format!("POST /v1/files HTTP/1.1\r\nHost: k\r\n{auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            501,
            "transfer_coding",
        ),
        (format!("GET /v1/models HTTP/1.1\r\nHost: k\r\n{auth} folded: {CANARY}\r\n\r\n"), 400, "unreadable_head"),
        (format!("{CANARY}\r\n\r\n"), 400, "unreadable_head"),
        (format!("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}{CANARY}\r\n\r\n"), 400, "unreadable_head"),
        (format!("GET /v1/models HTTP/1.1\r\nHost: k\r\n{auth}X: {long}\r\n\r\n"), 431, "oversized_head"),
    ] {
        let (lines, number) = (refused(&keyward).len(), counted(&keyward, reason));
        assert_eq!(send(keyward.listen, &request), status, "{reason}");
        let line = eventually("a line", || refused(&keyward).into_iter().nth(lines));
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()), "{line}");
        assert_eq!((&line["peer"], &line["level"]), (&"127.0.0.1".into(), &"warn".into()), "{line}");
        assert!(line["message"].as_str().is_some_and(|message| message.len() > 20), "{line}");
        assert_eq!(counted(&keyward, reason), number + 1, "{reason}");
    }
    assert!(refused(&keyward).len() == 9 && keyward.log().lines().all(|line| line.len() < 1000), "{}", keyward.log());
    assert!(!keyward.log().contains("Canary"), "{}", keyward.log());
    assert!(keyward.exchanges(0).is_empty());
}

#[test]
fn on_a_terminal_a_person_reads_it() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).args(&["--log", "human"]).start();
    assert_eq!(send(keyward.listen, "GET /v1/models HTTP/1.1\r\n\r\n"), 400);
    eventually("a line", || {
        let log = keyward.log();
        log.contains("a request named no host, or several: it has to have a single Host header").then_some(())
    });
}

/// A scanner can make any number of connections.
#[test]
fn connections_that_never_get_in_are_told_of_a_few_times_and_then_by_their_number() {
    let (home, upstream, certificate) = (Home::new(), FakeUpstream::accepting(), Certificate::make());
    home.write("tls.crt", &certificate.cert);
    home.write("tls.key", &certificate.key);
    let keyward = home.serve_for(&upstream).config("[tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n");
    let keyward = keyward.env("KEYWARD_PROXY_WORKERS", "1").start();
    for _ in 0..50 {
        send(keyward.listen, "GET /v1/models HTTP/1.1\r\nHost: k\r\n\r\n");
    }
    eventually("their number", || (counted(&keyward, "tls_handshake") == 50).then_some(()));
    let lines = eventually("the rest", || Some(refused(&keyward)).filter(|lines| lines.iter().any(is_about_more)));
    let (rest, told): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_about_more);
    assert!((5..=10).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|line| line["reason"] == "tls_handshake" && line["peer"] == "127.0.0.1"), "{told:?}");
    assert!(told[0]["cause"].as_str().is_some_and(|cause| cause.starts_with("no TLS session: ")), "{told:?}");
    let left_out: u64 = rest.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert_eq!(left_out + told.len() as u64, 50, "{rest:?}");
}

#[test]
fn a_load_balancer_without_its_header_is_told_of_and_one_that_looks_whether_the_port_is_open_is_not() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config("[proxy]\nproxy_protocol_from = [\"127.0.0.1\"]\n").start();
    drop(Client::connect(keyward.listen));
    assert_eq!(send(keyward.listen, &format!("GET /v1/models HTTP/1.1\r\nAuthorization: {CANARY}\r\n\r\n")), 0);
    let line = eventually("a line", || refused(&keyward).into_iter().next());
    assert_eq!((&line["reason"], &line["peer"]), (&"proxy_header".into(), &"127.0.0.1".into()), "{line}");
    assert_eq!(counted(&keyward, "proxy_header"), 1);
    assert!(!keyward.log().contains("Canary"), "{}", keyward.log());
}

/// Over HTTP/2 one client can make many at once.
#[test]
fn what_is_wrong_with_clients_of_http_2_is_told_as_well() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config("[proxy]\nmax_connections_per_peer = 1\nmax_head = \"8KiB\"\n");
    let keyward = keyward.env("KEYWARD_PROXY_WORKERS", "1").start();
    let crowd: Vec<_> = (0..50).flat_map(|n| head(1 + 2 * n, END_STREAM, &fields("/v1/models", CANARY))).collect();
    let long = "x".repeat(120);
    let large = [fields("/v1/models", CANARY), vec![("x-long", &*long); 70]].concat();
    let large = head(1, END_STREAM, &large);
    // A stream of an even number is not a client's to begin (RFC 9113, 5.1.1).
    let broken = head(2, END_STREAM, &fields("/v1/models", CANARY));
    for (request, reason, count) in
        [(crowd, "too_many_requests", 50), (large, "oversized_head", 1), (broken, "broken_http2", 1)]
    {
        let mut client = Client::connect(keyward.listen);
        client.send([preface(), request].concat());
        eventually("it counts", || (counted(&keyward, reason) == count).then_some(()));
        let lines = || refused(&keyward).into_iter().filter(|line| line["reason"] == reason && !is_about_more(line));
        let told = eventually("a line", || Some(lines().collect::<Vec<_>>()).filter(|told| !told.is_empty()));
        assert!(told.iter().all(|line| line["peer"] == "127.0.0.1" && line["level"] == "warn"), "{told:?}");
        drop(client);
        eventually("it is gone", || {
            (keyward.metric("keyward_client_connections_open{worker=\"0\"}") == 0).then_some(())
        });
    }
    let told = refused(&keyward);
    let of =
        |reason: &str| told.iter().filter(|line| line["reason"] == reason && !is_about_more(line)).collect::<Vec<_>>();
    assert!(of("too_many_requests").len() == 5 && of("too_many_requests")[0]["status"] == 503, "{told:?}");
    assert_eq!(of("oversized_head")[0]["status"], 431);
    assert!(of("broken_http2")[0]["cause"].as_str().is_some_and(|cause| cause.contains("protocol error")), "{told:?}");
    assert!(!keyward.log().contains("Canary") && keyward.exchanges(0).is_empty(), "{}", keyward.log());
}

fn is_about_more(line: &Value) -> bool {
    !line["left_out"].is_null()
}

/// The status of the answer, 0 where none came.
fn send(address: SocketAddr, request: &str) -> u16 {
    let mut client = Client::connect(address);
    client.send(request.as_bytes());
    client.read().status
}

fn refused(keyward: &Keyward) -> Vec<Value> {
    events(&keyward.log(), "refused_early")
}

#[track_caller]
fn counted(keyward: &Keyward, reason: &str) -> u64 {
    keyward.metric(&format!("keyward_refused_early_total{{reason=\"{reason}\"}}"))
}
