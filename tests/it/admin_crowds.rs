//! A crowd at the admin listener, slow ones and wrong tokens: traffic goes on, and a right token is let in.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::crowds::allow_many_files;
use crate::process::client::ask_with;
use crate::process::{Home, Keyward, events};
use crate::support::{self, Client, DEADLINE, FakeUpstream, TestProxy};

const KEY: &str = "sk-proj-current-0123456789abcdefCuRr";

/// More than ever come by themselves: the admin listener has room for an eighth of them.
const CROWD: usize = 2000;

#[test]
fn two_thousand_clients_that_never_finish_a_head_keep_no_other_out() {
    allow_many_files();
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key(KEY).start();
    // A scraper that was here before, between two of its requests.
    let mut scraper = Client::connect(keyward.admin);
    scrape(&keyward, &mut scraper);
    let mut crowd: Vec<_> = (0..CROWD).map(|_| begin(&keyward)).collect();
    for _ in 0..10 {
        assert_eq!(keyward.admin("/api/v1/status").status, 200);
        assert_eq!(ask_with(keyward.listen, KEY).verdict(), "current");
        scrape(&keyward, &mut scraper);
        // And more of them all the time.
        crowd.extend((0..100).map(|_| begin(&keyward)));
    }
    let sent_away = keyward.metric("keyward_admin_turned_away_total");
    assert!(sent_away >= (CROWD + 900 - 256) as u64, "{sent_away}");
    assert_eq!(keyward.metric("keyward_exchanges_total"), 10);
    drop(crowd);
}

/// A connection whose head never ends.
fn begin(keyward: &Keyward) -> TcpStream {
    let mut stream = TcpStream::connect(keyward.admin).unwrap();
    // It may have been sent away already.
    let _ = stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ");
    stream
}

#[track_caller]
fn scrape(keyward: &Keyward, scraper: &mut Client) {
    scraper.send(request("/metrics", &keyward.admin_token()).as_bytes());
    assert_eq!(scraper.read().status, 200, "one that has shown its token is never sent away");
}

fn request(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[test]
fn ten_thousand_wrong_tokens_are_refused_and_the_right_one_is_taken_meanwhile() {
    const GUESSERS: usize = 100;
    const GUESSES: usize = 100;
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key(KEY).start();
    let (refused, slowest) = thread::scope(|scope| {
        let guessers: Vec<_> = (0..GUESSERS).map(|_| scope.spawn(|| guess_on(&keyward, GUESSES))).collect();
        let mut slowest = Duration::ZERO;
        while !guessers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let asked = Instant::now();
            assert_eq!(keyward.admin("/api/v1/status").status, 200, "the right token is never kept out");
            slowest = slowest.max(asked.elapsed());
            assert_eq!(ask_with(keyward.listen, KEY).verdict(), "current");
        }
        (guessers.into_iter().map(|guesser| guesser.join().unwrap()).collect::<Vec<_>>(), slowest)
    });
    let answers: Vec<u16> = refused.into_iter().flatten().collect();
    let (plain, late) = (count(&answers, 401), count(&answers, 429));
    assert_eq!(plain + late, GUESSERS * GUESSES);
    assert!((10..1000).contains(&plain), "a few are mistakes: {plain}");
    assert!(slowest < DEADLINE, "{slowest:?}");
    assert_eq!(keyward.metric("keyward_admin_wrong_tokens_total"), (GUESSERS * GUESSES) as u64);
    let told = events(&keyward.log(), "wrong_admin_tokens");
    assert_eq!(told.len(), 1, "once for all of them: {told:?}");
    assert!(told[0]["peer"] == "127.0.0.1" && told[0]["level"] == "warn", "{}", told[0]);
    assert!(!keyward.log().contains("kw_admin_"), "and no token is told");
}

/// What wrong tokens get on one connection, one after the other.
fn guess_on(keyward: &Keyward, guesses: usize) -> Vec<u16> {
    let mut client = Client::connect(keyward.admin);
    let mut guess = |number: usize| {
        client.send(request("/api/v1/status", &format!("kw_admin_{number:043}")).as_bytes());
        let answer = client.read();
        assert!(answer.status == 401 || answer.header("retry-after") == Some("1"), "{:?}", answer.head);
        answer.status
    };
    (0..guesses).map(&mut guess).collect()
}

fn count(answers: &[u16], status: u16) -> usize {
    answers.iter().filter(|answer| **answer == status).count()
}

#[test]
fn too_many_wrong_tokens_are_told_no_more_than_that_until_they_are_forgotten() {
    let proxy = TestProxy::with(&FakeUpstream::accepting()).start();
    let wrong = || proxy.ask_admin("GET", "/api/v1/status", &[("Authorization", "Bearer wrong")]);
    for _ in 0..10 {
        assert_eq!(wrong().status, 401);
    }
    let refused = wrong();
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    let problem: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(problem["type"], "urn:keyward:problem:too_many_wrong_tokens");
    assert_eq!(proxy.ask_admin("GET", "/open/nothing", &[]).status, 429, "a wrong link is one more");
    assert_eq!(proxy.ask_admin("GET", "/api/v1/status", &[]).status, 401, "none at all is no wrong one");
    assert_eq!(proxy.admin("/api/v1/status").status, 200, "the right one is taken at any time");
    proxy.advance(Duration::from_secs(1));
    assert_eq!((wrong().status, wrong().status), (401, 429));
    assert_eq!(proxy.metric("keyward_admin_wrong_tokens_total"), 14);
}

#[test]
fn a_crowd_makes_room_for_others_and_not_others_for_it() {
    allow_many_files();
    let proxy = TestProxy::with(&FakeUpstream::accepting()).start();
    let (owner, crowd) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let mut quiet = Client::connect_from(owner, proxy.admin_address());
    quiet.send(request);
    assert_eq!(quiet.answer().status, 200);
    let others: Vec<_> = (0..400).map(|_| Client::connect_from(crowd, proxy.admin_address())).collect();
    support::eventually("the crowd makes room for itself", || {
        (proxy.metric("keyward_admin_turned_away_total") >= 145).then_some(())
    });
    quiet.send(request);
    assert_eq!(quiet.answer().status, 200, "it is still here");
    drop(others);
}

/// The limits of the proxy's clients hold here as well.
#[test]
fn a_slow_client_is_let_go() {
    let limit = Duration::from_millis(200);
    let proxy = TestProxy::with(&FakeUpstream::accepting())
        .limits(|limits| (limits.client_idle_timeout, limits.client_stall_timeout) = (limit, limit))
        .start();
    let mut slow_head = proxy.admin_client();
    slow_head.send("GET /healthz HTTP/1.1\r\nHost: 127");
    assert_eq!(slow_head.rest(), b"");
    let mut idle = proxy.admin_client();
    idle.send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    assert_eq!(idle.rest(), b"");
    // Answers to all of these are more than the system holds for one that does not read.
    let metrics = request("/metrics", proxy.admin_bearer().trim_start_matches("Bearer ")).repeat(5_000);
    let mut slow_reader = proxy.admin_client();
    while slow_reader.try_send(&metrics).is_ok() {}
    assert_eq!(proxy.admin("/healthz").status, 200);
}

#[test]
fn an_unwanted_body_does_not_cost_its_sender_the_answer() {
    let proxy = TestProxy::with(&FakeUpstream::accepting()).start();
    let mut client = proxy.admin_client();
    let (bearer, length) = (proxy.admin_bearer(), 8 << 20);
    client.send(format!(
        "POST /api/v1/links HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {bearer}\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.send(vec![b'a'; length]);
    assert_eq!(client.answer().status, 201);
    assert_eq!(client.rest(), b"", "and nothing of it is taken for a request");
    let mut client = proxy.admin_client();
    client.send(format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)));
    assert_eq!(client.answer().status, 431);
}
