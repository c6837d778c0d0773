//! The way to upstream: which failures of it are told apart, and how.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use keyward::proxy::{Scheme, Upstream};

use crate::support::{Answering, CURRENT, Certificate, FakeUpstream, TestProxy};

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_words() {
    let name = "127.0.0.1";
    for (shown, said) in [
        (Certificate::of(name, 2001..2002), "expired at 2002-01-01T00:00:00Z: whoever runs it has to renew it"),
        (Certificate::of(name, 3001..3002), "is good only from 3001-01-01T00:00:00Z on: the clock"),
        (Certificate::of("api.example", 2001..3001), "is for api.example: another server answers there"),
    ] {
        check_distrusted(&shown, &shown, said);
    }
    let strangers = "is signed by nobody whom keyward trusts: if it is the right one, add whoever signed it to";
    check_distrusted(&Certificate::make(), &Certificate::make(), strangers);
}

#[test]
fn an_upstream_that_speaks_no_tls_is_no_matter_of_certificates() {
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = plain.local_addr().unwrap().port();
    thread::spawn(move || plain.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    let origin = Upstream { scheme: Scheme::Https, host: "127.0.0.1".into(), port };
    let proxy = TestProxy::towards(origin).current_key(CURRENT).start();
    check_unreachable(&proxy, "no TLS session with 127.0.0.1: received corrupt message");
}

#[test]
fn a_failure_to_connect_names_the_addresses_that_were_tried() {
    let closed = FakeUpstream::accepting().origin();
    let by_name = Upstream { host: "localhost".into(), ..closed.clone() };
    let proxy = TestProxy::towards(by_name).current_key(CURRENT).start();
    check_unreachable(&proxy, &format!("no connection to localhost:{} (at ", closed.port));
    let proxy = TestProxy::towards(closed.clone()).current_key(CURRENT).start();
    check_unreachable(&proxy, &format!("no connection to 127.0.0.1:{}: Connection refused", closed.port));
}

#[track_caller]
fn check_distrusted(shown: &Certificate, trusted: &Certificate, said: &str) {
    let upstream = FakeUpstream::over_tls(shown.server(), |visit| visit.answer(&Answering::json(200, "{}")));
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).trusting(&trusted.cert).start();
    check_unreachable(&proxy, &format!("the certificate of 127.0.0.1 {said}"));
    assert!(upstream.received().is_empty(), "no key goes to a stranger");
}

/// The client and the log are told the same.
#[track_caller]
fn check_unreachable(proxy: &TestProxy, said: &str) {
    let answer = proxy.get("/v1/models").key(CURRENT).send();
    assert_eq!((answer.status, &*answer.error_code()), (502, "upstream_failed"));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("keyward cannot reach http") && message.contains(said), "{message}");
    let line = proxy.line(&answer);
    assert_eq!(line["outcome"], "unreachable");
    assert!(line["cause"].as_str().unwrap().contains(said), "{line}");
}
