//! The way to upstream: by the machine's proxy where there is one, and which failures of it are told apart.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use keyward::net::origin::{Scheme, Upstream};

use crate::process::client::ask_with;
use crate::process::tunnels::{Manner, TunnelProxy};
use crate::process::{Home, Keyward, Launch, events};
use crate::support::{Answering, CURRENT, Certificate, FakeUpstream, TestProxy, Visit};

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_words() {
    let name = "127.0.0.1";
    for (shown, said) in [
        (Certificate::of(name, 2001..2002), "expired at 2002-01-01T00:00:00Z: it has to be renewed there"),
        (Certificate::of(name, 3001..3002), "is good only from 3001-01-01T00:00:00Z on: the clock"),
        (Certificate::of("api.example", 2001..3001), "is for api.example: another server answers there"),
    ] {
        check_distrusted(&shown, &shown, said);
    }
    let strangers =
        "is signed by no authority that keyward trusts: if it is the right one, add the one that signed it to";
    check_distrusted(&Certificate::make(), &Certificate::make(), strangers);
}

#[test]
fn an_upstream_that_speaks_no_tls_is_no_matter_of_certificates() {
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = plain.local_addr().unwrap().port();
    thread::spawn(move || plain.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    let origin = Upstream { scheme: Scheme::Https, host: "127.0.0.1".into(), port };
    let proxy = TestProxy::towards(origin).current_key(CURRENT).start();
    check_unreachable(&proxy, "no TLS session with 127.0.0.1: what answers there speaks no TLS: proxy.upstream begins");
}

#[test]
fn an_upstream_that_refuses_the_handshake_is_told_in_words() {
    // An alert of TLS (RFC 8446, 6), and an end without one.
    for (answer, said) in [
        (
            &b"\x15\x03\x03\0\x02\x02\x28"[..],
            "it refused the handshake (HandshakeFailure): it may speak neither TLS 1.2",
        ),
        (b"\x15\x03\x03\0\x02\x02\x70", "it serves no such name: look at proxy.upstream"),
        (b"\x15\x03\x03\0\x02\x02\x74", "it asks for a client's certificate, and keyward has none"),
        (b"", "it ended the connection in the middle of the handshake"),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let origin = Upstream { scheme: Scheme::Https, host: "127.0.0.1".into(), port };
        let proxy = TestProxy::towards(origin).current_key(CURRENT).start();
        check_unreachable(&proxy, &format!("no TLS session with 127.0.0.1: {said}"));
    }
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

#[test]
fn an_address_without_anybody_behind_it_is_named_when_the_time_is_over() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let hole = TcpListener::from(socket);
    let address = hole.local_addr().unwrap();
    // Linux does not answer a client that comes when the queue is full.
    let mut guests = Vec::new();
    while let Ok(guest) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        guests.push(guest);
    }
    let port = address.port();
    let proxy = TestProxy::towards(Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port })
        .current_key(CURRENT)
        .limits(|limits| limits.connect_timeout = Duration::from_millis(300))
        .start();
    check_unreachable(&proxy, &format!("no connection to 127.0.0.1:{port} within 300ms (connect_timeout)"));
}

#[test]
fn the_proxy_of_the_environment_leads_to_upstream_and_sees_nothing() {
    let (upstream, certificate) = upstream_by_name();
    let proxy = TunnelProxy::start(Manner::Opens(upstream.address()));
    let home = Home::new();
    let keyward = serve(&home, &certificate).env("HTTPS_PROXY", &proxy.url("")).start();
    for _ in 0..2 {
        assert_eq!(ask_with(keyward.listen, CURRENT).status, 200);
    }
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "a tunnel is used again");
    assert!(asked[0].starts_with("CONNECT api.example:443 HTTP/1.1\r\n"), "{asked:?}");
    let lines: HashSet<_> = asked[0].trim_end().lines().skip(1).map(str::to_ascii_lowercase).collect();
    let version = format!("user-agent: keyward/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["host: api.example:443".to_owned(), version].into(), "nothing else");
    assert_eq!(upstream.received().len(), 2);
    assert_eq!(upstream.received()[0].head.header("host"), Some("api.example"));
    let line = &events(&keyward.log(), "listening")[0];
    assert_eq!(line["via"], format!("through the proxy {} (HTTPS_PROXY)", proxy.url("")));
}

#[test]
fn a_proxy_may_be_spoken_to_over_tls_and_be_told_a_password() {
    let (upstream, certificate) = upstream_by_name();
    let of_proxy = Certificate::make();
    let proxy = TunnelProxy::over_tls(of_proxy.server(), Manner::Opens(upstream.address()));
    let home = Home::new();
    let system = home.write("system.pem", &of_proxy.cert);
    let launch = || serve(&home, &certificate).env("https_proxy", &proxy.url("n8n:p%40ss@"));
    let keyward = launch().env("SSL_CERT_FILE", system.to_str().unwrap()).start();
    assert_eq!(ask_with(keyward.listen, CURRENT).status, 200);
    let expected = format!("proxy-authorization: Basic {}\r\n", BASE64_STANDARD.encode("n8n:p@ss"));
    assert!(proxy.asked()[0].contains(&expected), "{:?}", proxy.asked());
    assert_eq!(upstream.only_received().head.header("proxy-authorization"), None);

    drop(keyward);
    let stranger = home.write("stranger.pem", &Certificate::make().cert);
    let keyward = launch().env("SSL_CERT_FILE", stranger.to_str().unwrap()).start();
    let said =
        format!("the proxy {} is not reached: the certificate of 127.0.0.1 is signed by no authority", proxy.url(""));
    check_told(&keyward, &said);
    assert_eq!(proxy.asked().len(), 1, "no password goes to a stranger");
}

#[test]
fn an_upstream_of_plain_http_is_reached_through_a_tunnel_too() {
    let upstream = FakeUpstream::accepting();
    let proxy = TunnelProxy::start(Manner::Opens(upstream.address()));
    let home = Home::new();
    let launch = home.serve().args(&["--upstream", "http://api.example:8000"]);
    let keyward = launch.env("http_proxy", &proxy.url("")).env("HTTP_PROXY", "http://127.0.0.1:1").start();
    assert_eq!(ask_with(keyward.listen, CURRENT).status, 200);
    assert!(proxy.asked()[0].starts_with("CONNECT api.example:8000 HTTP/1.1\r\n"), "{:?}", proxy.asked());
}

#[test]
fn whom_no_proxy_names_is_reached_directly() {
    let upstream = FakeUpstream::accepting();
    let unused = TunnelProxy::start(Manner::Silent);
    for (name, value) in [
        ("NO_PROXY", "example.com, 127.0.0.0/8"),
        ("no_proxy", "*"),
        ("KEYWARD_PROXY_VIA", "none"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
    ] {
        let home = Home::new();
        let variable = if name == "HTTP_PROXY" { "HTTPS_PROXY" } else { "http_proxy" };
        let keyward = home.serve_for(&upstream).env(variable, &unused.url("")).env(name, value).start();
        assert_eq!(ask_with(keyward.listen, CURRENT).status, 200, "{name}");
        assert!(events(&keyward.log(), "listening")[0].get("via").is_none(), "{}", keyward.log());
    }
    assert!(unused.asked().is_empty());
}

#[test]
fn a_proxy_of_the_configuration_needs_no_environment_and_heeds_none() {
    let upstream = FakeUpstream::accepting();
    let proxy = TunnelProxy::start(Manner::Opens(upstream.address()));
    let home = Home::new();
    let config = format!("[proxy]\nvia = \"{}\"\n", proxy.url("user:pass@"));
    let launch = home.serve_for(&upstream).config(&config).env("NO_PROXY", "*");
    let keyward = launch.env("http_proxy", "socks5://127.0.0.1:1").start();
    assert_eq!(ask_with(keyward.listen, CURRENT).status, 200);
    assert_eq!(proxy.asked().len(), 1);
    let line = &events(&keyward.log(), "listening")[0];
    assert_eq!(line["via"], format!("through the proxy {} (proxy.via)", proxy.url("")));
}

#[test]
fn what_a_proxy_does_in_place_of_a_tunnel_is_told() {
    let says = |text: &str| Manner::Says(text.into());
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    for (user, manner, said) in [
        ("", says("HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\nwho are you"), "name a user and password in its URL"),
        ("u:p@", says("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"), "it does not take the user and password"),
        ("", says("HTTP/1.1 403 Forbidden\r\n\r\nblocked by policy"), "it answered 403 Forbidden"),
        ("", says("HTTP/1.1 502 Oh\r\nContent-Length: 0\r\n\r\n"), "it answered 502 Bad Gateway"),
        ("", says("HTTP/1.1 302 Found\r\nLocation: http://login\r\n\r\n"), "it answered 302 Found"),
        (
            "",
            says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "it answered 101 Switching Protocols",
        ),
        ("", says("SSH-2.0-OpenSSH_9.6\r\n\r\n"), "it gave no answer that can be read"),
        ("", says(""), "it gave no answer that can be read"),
        ("", says(&large), "it gave no answer that can be read"),
        ("", says("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), "it sent something of its own into the tunnel"),
    ] {
        let proxy = TunnelProxy::start(manner);
        let home = Home::new();
        let launch = home.serve().args(&["--upstream", "http://api.example"]);
        let keyward = launch.env("http_proxy", &proxy.url(user)).start();
        check_told(&keyward, &format!("the proxy {} opens no tunnel to api.example:80: ", proxy.url("")));
        assert!(keyward.log().contains(said), "{said} is not in {}", keyward.log());
        assert_eq!(proxy.asked().len(), 1);
    }
}

#[test]
fn a_proxy_that_waits_for_another_try_is_not_waited_for() {
    for said in
        ["Content-Length: 0\r\n\r\n", "Content-Length: 3\r\n\r\nwho", "Transfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n"]
    {
        let proxy = TunnelProxy::start(Manner::Awaits(format!("HTTP/1.1 407 No\r\n{said}").into()));
        let home = Home::new();
        let launch = home.serve().env("KEYWARD_PROXY_CONNECT_TIMEOUT", "1h").env("HTTPS_PROXY", &proxy.url(""));
        check_told(&launch.start(), "it answered 407 (Proxy Authentication Required): name a user and password");
    }
}

#[test]
fn a_proxy_that_is_silent_has_as_long_as_an_upstream_that_is() {
    let silent = TunnelProxy::start(Manner::Silent);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for (url, said) in [
        (silent.url(""), format!("no answer from the proxy {} within 200ms (connect_timeout)", silent.url(""))),
        (format!("http://{closed}"), format!("the proxy http://{closed} is not reached: no connection to {closed}")),
    ] {
        let home = Home::new();
        let launch = home.serve().env("KEYWARD_PROXY_CONNECT_TIMEOUT", "200ms").env("all_proxy", &url);
        check_told(&launch.start(), &said);
    }
}

#[test]
fn a_proxy_that_cannot_be_one_is_told_at_the_start() {
    for (value, said) in [
        (
            "socks5h://user:canary@proxy:1080",
            "keyward asks its proxy for a tunnel in HTTP (CONNECT) and speaks no SOCKS.",
        ),
        ("http://user:canary", "Its port is not a number from 1 to 65535."),
        ("ftp://proxy", "A proxy is spoken to by http or https."),
    ] {
        for (name, allowed) in [
            ("ALL_PROXY", "Allowed: a URL such as http://proxy:3128 or https://user:password@proxy; with proxy.via"),
            ("KEYWARD_PROXY_VIA", "Allowed: environment, none, or a URL such as http://proxy:3128"),
        ] {
            let finished = Home::new().serve().env(name, value).run();
            assert_eq!(finished.code(), Some(1));
            for said in [&format!("environment {name}: proxy.via\n"), said, allowed] {
                assert!(finished.stderr.contains(said), "{said} is not in {}", finished.stderr);
            }
            assert!(!finished.stderr.contains("canary"), "{}", finished.stderr);
        }
    }
}

#[test]
fn a_check_goes_the_same_way() {
    let (upstream, certificate) = upstream_by_name();
    let proxy = TunnelProxy::start(Manner::Opens(upstream.address()));
    let home = Home::new();
    let ca = home.write("ca.pem", &certificate.cert);
    let launch = home.keyward(&["check", "--online"]).key(CURRENT).env("HTTPS_PROXY", &proxy.url("user:canary@"));
    let launch = launch.env("KEYWARD_PROXY_UPSTREAM", "https://api.example");
    let finished = launch.env("KEYWARD_PROXY_UPSTREAM_CA", ca.to_str().unwrap()).run();
    let named =
        format!("ok       proxy.via: https://api.example is reached through the proxy {} (HTTPS_PROXY)", proxy.url(""));
    for said in [&named, "is alive: upstream takes it"] {
        assert!(finished.stdout.contains(said), "{said} is not in {}", finished.stdout);
    }
    assert_eq!((finished.code(), proxy.asked().len(), upstream.received().len()), (Some(0), 1, 1));
    assert!(!finished.stdout.contains("canary"), "{}", finished.stdout);
}

/// An upstream over TLS that only the proxy can find, for its name has no address; and its certificate.
fn upstream_by_name() -> (FakeUpstream, Certificate) {
    let certificate = Certificate::of("api.example", 2001..3001);
    let ok = |visit: &mut Visit<'_>| visit.answer(&Answering::json(200, "{\"object\":\"list\"}"));
    (FakeUpstream::over_tls(certificate.server(), ok), certificate)
}

fn serve(home: &Home, certificate: &Certificate) -> Launch {
    let ca = home.write("ca.pem", &certificate.cert);
    let launch = home.serve().args(&["--upstream", "https://api.example"]).env("KEYWARD_PROXY_WORKERS", "1");
    launch.env("KEYWARD_PROXY_UPSTREAM_CA", ca.to_str().unwrap())
}

/// A request fails: its client, the log and the metrics are told.
#[track_caller]
fn check_told(keyward: &Keyward, said: &str) {
    let answer = ask_with(keyward.listen, CURRENT);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains(said), "{said} is not in {}", answer.text());
    let line = &keyward.exchanges(1)[0];
    assert_eq!((&line["outcome"], &line["diagnosis"]), (&"unreachable".into(), &"upstream_failed".into()));
    assert!(line["cause"].as_str().unwrap().contains(said), "{line}");
    assert_eq!(keyward.metric("keyward_upstream_failures_total"), 1);
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
