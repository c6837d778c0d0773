//! Clients speak TLS: what they are shown, how it changes, and what becomes of those who speak something else.

use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Finished, Home, Keyward, events};
use crate::support::{Answering, CURRENT, Certificate, Client, FakeUpstream, Framing, Gate, TestProxy, eventually};

#[test]
fn requests_and_answers_pass_as_they_do_over_plain_http() {
    let (_upstream, certificate, proxy) = running();
    let mut client = proxy.connect_securely(&certificate);
    assert_eq!(client.protocol(), Some(&b"http/1.1"[..]), "the only one that the client offers");
    for _ in 0..2 {
        client.send(proxy.post("/v1/responses").key(CURRENT).body("{\"model\":\"gpt\"}").bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "{\"object\":\"list\"}"));
        assert_eq!(proxy.line(&answer)["outcome"], "success");
    }
}

#[test]
fn a_stream_passes_chunk_by_chunk() {
    let next = Gate::default();
    let certificate = Certificate::make();
    let upstream = streaming(&next);
    let proxy = TestProxy::with(&upstream).certificate(&certificate).start();
    let mut client = proxy.connect_securely(&certificate);
    client.send(proxy.post("/v1/responses").body("{\"stream\":true}").bytes());
    assert_eq!(client.head().header("content-type"), Some("text/event-stream"));
    for _ in 0..CHUNKS {
        next.open();
        assert_eq!(client.chunk(), "more");
    }
    assert_eq!(client.piece(&mut Framing::Chunked).unwrap(), None);
    assert_eq!(proxy.only_line()["outcome"], "success");
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    let body = vec![b'x'; 3 * 1024 * 1024];
    let certificate = Certificate::make();
    let upstream = FakeUpstream::answering(Answering::json(200, &body));
    let proxy = TestProxy::with(&upstream).certificate(&certificate).start();
    let mut client = proxy.connect_securely(&certificate);
    client.send(proxy.post("/v1/files").body(&body).header("Connection", "close").bytes());
    assert!(client.answer().body == body && client.rest().is_empty());
    assert!(upstream.only_received().body == body);
}

#[test]
fn another_certificate_in_the_files_is_shown_to_the_next_client() {
    let (old, new) = (Certificate::make(), Certificate::make());
    let next = Gate::default();
    let upstream = streaming(&next);
    let proxy = TestProxy::with(&upstream).certificate(&old).start();
    let mut open = proxy.connect_securely(&old);
    open.send(proxy.get("/v1/responses").bytes());
    open.head();
    proxy.swap("tls.key", &new.key);
    proxy.swap("tls.crt", &new.cert);
    eventually("the new certificate", || Client::secure(proxy.address(), &new).ok());
    assert!(Client::secure(proxy.address(), &old).is_err(), "the old one is not shown any more");
    for _ in 0..CHUNKS {
        next.open();
        assert_eq!(open.chunk(), "more", "what is open goes on");
    }
}

#[test]
fn a_certificate_without_its_private_key_is_not_shown_and_the_log_says_so_once() {
    let (old, new) = (Certificate::make(), Certificate::make());
    let (home, keyward) = serving(&old);
    swap(&home, "tls.crt", &new.cert);
    let complaints = || events(&keyward.log(), "tls");
    let complaint = eventually("the complaint", || complaints().first().cloned());
    let said = "the certificate stays as it was: the private key in tls.key is not that of the certificate in tls.crt";
    assert_eq!((&complaint["level"], &complaint["message"]), (&"error".into(), &said.into()));
    Client::secure(keyward.listen, &old).unwrap();
    // Several looks later it was still told once; a SIGHUP has it told again.
    keyward.signal(Signal::HUP);
    eventually("the second complaint", || (complaints().len() == 2).then_some(()));
    swap(&home, "tls.key", &new.key);
    eventually("the change", || complaints().iter().any(|line| line["level"] == "info").then_some(()));
    Client::secure(keyward.listen, &new).unwrap();
}

#[test]
fn whatever_else_is_wrong_with_the_files_keeps_the_old_certificate() {
    let (old, other) = (Certificate::make(), Certificate::make());
    let (home, keyward) = serving(&old);
    let canary = canary(&other);
    let half = &other.key[..other.key.len() / 2];
    for (name, text, said) in [
        ("tls.crt", "", "tls.crt holds no certificate (PEM)"),
        (
            "tls.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "the certificate in tls.crt cannot",
        ),
        ("tls.key", "", "tls.key holds no private key (PEM)"),
        ("tls.key", &other.cert, "tls.key holds no private key (PEM)"),
        ("tls.key", half, "tls.key is damaged PEM"),
        (
            "tls.key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "the private key in tls.key cannot",
        ),
    ] {
        swap(&home, name, text);
        let told = || events(&keyward.log(), "tls").iter().any(|line| line["message"].as_str().unwrap().contains(said));
        eventually(said, || told().then_some(()));
        Client::secure(keyward.listen, &old).unwrap();
        swap(&home, "tls.crt", &old.cert);
        swap(&home, "tls.key", &old.key);
    }
    assert!(!keyward.log().contains(canary), "no error quotes what is in the file");
}

#[test]
fn a_certificate_that_cannot_be_shown_is_told_at_the_start() {
    let (one, other) = (Certificate::make(), Certificate::make());
    let home = Home::new();
    home.write("one.crt", &one.cert);
    home.write("one.key", &one.key);
    home.write("other.key", &other.key);
    home.write("half.key", &one.key[..one.key.len() / 2]);
    home.write("empty", "");
    for (cert, key, said) in [
        ("missing", "one.key", "missing cannot be read"),
        ("one.crt", "missing", "missing cannot be read"),
        ("empty", "one.key", "empty holds no certificate (PEM)"),
        ("one.key", "one.key", "one.key holds no certificate (PEM)"),
        ("one.crt", "empty", "empty holds no private key (PEM)"),
        ("one.crt", "half.key", "half.key is damaged PEM"),
        ("one.crt", "other.key", "the private key in other.key is not that of the certificate in one.crt"),
    ] {
        let finished = home.serve().env("KEYWARD_TLS_CERT", cert).env("KEYWARD_TLS_KEY", key).run();
        check_failed_start(&finished, said);
        assert!(!finished.stderr.contains(canary(&one)), "{}", finished.stderr);
        assert!(!home.state().exists(), "nothing was begun");
    }
}

#[test]
fn a_check_tells_it_before_the_start() {
    let (one, other) = (Certificate::make(), Certificate::make());
    let home = Home::new();
    home.write("one.crt", &one.cert);
    home.write("other.key", &other.key);
    let check = home.keyward(&["check"]).env("KEYWARD_TLS_CERT", "one.crt").env("KEYWARD_TLS_KEY", "other.key").run();
    let said = "tls: cannot speak TLS to clients (tls.cert, tls.key): the private key in other.key is not that of";
    assert_eq!(check.code(), Some(1));
    assert!(check.stdout.contains(said), "{}", check.stdout);
}

#[test]
fn every_url_that_a_newcomer_reads_says_https() {
    let certificate = Certificate::make();
    let (_home, keyward) = serving(&certificate);
    let origin = format!("https://{}", keyward.listen);
    let line = &events(&keyward.log(), "listening")[0];
    assert_eq!(line["base_url"], format!("{origin}/v1"));
    assert!(line["tagging_base_url"].as_str().unwrap().starts_with(&format!("{origin}/n8n/")), "{line}");
    assert!(line["message"].as_str().unwrap().contains(&format!("listens on {origin} ")), "{line}");
    let mut client = Client::secure(keyward.listen, &certificate).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: keyward\r\n\r\n");
    let page = client.answer().text();
    assert!(page.contains(&origin) && !page.contains(&format!("http://{}", keyward.listen)), "{page}");
}

#[test]
fn a_client_that_speaks_plain_http_harms_no_other() {
    let (upstream, certificate, proxy) = running();
    let mut open = proxy.connect_securely(&certificate);
    for bytes in [&proxy.get("/v1/models").key(CURRENT).bytes(), &b"\x16\x03\x01\xff\xff"[..], &[0; 8_000]] {
        let mut stranger = proxy.connect();
        stranger.send(bytes);
        stranger.end_sending();
        assert!(!stranger.rest().starts_with(b"HTTP"), "nothing is answered in plain");
    }
    assert!(upstream.received().is_empty() && proxy.lines().is_empty());
    for client in [&mut open, &mut proxy.connect_securely(&certificate)] {
        client.send(proxy.get("/v1/models").bytes());
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_client_that_says_nothing_holds_up_neither_others_nor_the_end() {
    let certificate = Certificate::make();
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).certificate(&certificate).limits(|limits| {
        limits.drain_timeout = Duration::from_hours(1);
    });
    let proxy = proxy.start();
    let mut silent: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    silent[0].send(b"\x16\x03\x01");
    for _ in 0..4 {
        let mut client = proxy.connect_securely(&certificate);
        client.send(proxy.get("/v1/models").bytes());
        assert_eq!(client.answer().status, 200);
    }
    proxy.server().drain();
    for client in &mut silent {
        assert_eq!(client.rest(), b"", "they are sent off");
    }
    assert_eq!(proxy.join().len(), 4);
}

#[test]
fn a_handshake_has_as_long_as_the_head_of_a_request() {
    let certificate = Certificate::make();
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).certificate(&certificate).limits(|limits| {
        limits.client_idle_timeout = Duration::from_millis(50);
    });
    let proxy = proxy.start();
    let mut slow = proxy.connect();
    slow.send(b"\x16\x03\x01");
    assert_eq!(slow.rest(), b"");
}

fn running() -> (FakeUpstream, Certificate, TestProxy) {
    let (upstream, certificate) = (FakeUpstream::accepting(), Certificate::make());
    let proxy = TestProxy::with(&upstream).certificate(&certificate).start();
    (upstream, certificate, proxy)
}

/// The real binary, with that certificate in `tls.crt` and `tls.key`.
fn serving(certificate: &Certificate) -> (Home, Keyward) {
    let home = Home::new();
    home.write("tls.crt", &certificate.cert);
    home.write("tls.key", &certificate.key);
    let keyward = home.serve().env("KEYWARD_TLS_CERT", "tls.crt").env("KEYWARD_TLS_KEY", "tls.key").start();
    (home, keyward)
}

/// In one stroke: a file that is being written is one that breaks off, and told as such.
fn swap(home: &Home, name: &str, text: &str) {
    let draft = home.write("draft", text);
    std::fs::rename(draft, home.path(name)).unwrap();
}

/// Sends a chunk for each time that the gate is opened.
fn streaming(next: &Gate) -> FakeUpstream {
    let gate = next.clone();
    FakeUpstream::scripted(move |visit| {
        visit.answer(Answering::STREAM.as_bytes());
        for _ in 0..CHUNKS {
            gate.pass();
            visit.chunk("more");
        }
        visit.send("0\r\n\r\n");
    })
}

/// A line out of the private key.
fn canary(certificate: &Certificate) -> &str {
    certificate.key.lines().nth(1).unwrap()
}

#[track_caller]
fn check_failed_start(finished: &Finished, said: &str) {
    assert_eq!(finished.code(), Some(1));
    for text in ["cannot speak TLS to clients (tls.cert, tls.key)", said] {
        assert!(finished.stderr.contains(text), "{text} is not in {}", finished.stderr);
    }
    assert!(finished.stdout.is_empty(), "{}", finished.stdout);
}

const CHUNKS: usize = 3;
