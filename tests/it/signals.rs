//! Signals: keyward stops in peace, at the latest after the time for it, at once when told twice, and changes log files.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::process::client::{ask_with, get, request};
use crate::process::{Home, Keyward, events};
use crate::support::{Answering, Client, FakeUpstream, Gate, Head, eventually};

#[test]
fn sigterm_lets_open_exchanges_end_and_no_new_client_in() {
    stops_in_peace(Signal::TERM);
}

#[test]
fn sigint_lets_open_exchanges_end_and_no_new_client_in() {
    stops_in_peace(Signal::INT);
}

#[test]
fn a_stream_without_end_is_cut_when_the_time_for_draining_is_over() {
    let (home, upstream) = (Home::new(), endless(&Gate::default()));
    let keyward = home.serve_for(&upstream).config("[proxy]\ndrain_timeout = \"250ms\"\n").start();
    let (mut client, head) = open_stream(&keyward);
    keyward.signal(Signal::TERM);
    assert!(!client.read_body(head).whole, "the client can tell it from a good end");
    assert_was_cut(keyward);
}

#[test]
fn a_second_signal_ends_at_once() {
    let (home, upstream) = (Home::new(), endless(&Gate::default()));
    // Only the second signal can end it within the patience of this test.
    let keyward = home.serve_for(&upstream).config("[proxy]\ndrain_timeout = \"24h\"\n").start();
    let (mut client, head) = open_stream(&keyward);
    keyward.signal(Signal::TERM);
    wait_until_it_drains(&keyward);
    keyward.signal(Signal::INT);
    assert!(!client.read_body(head).whole);
    assert_was_cut(keyward);
}

#[test]
fn an_idle_keyward_ends_within_a_moment_although_clients_are_connected() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let mut keyward = home.serve_for(&upstream).start();
    let mut kept_alive = Client::connect(keyward.listen);
    assert_eq!(kept_alive.ask("/v1/models", &[]).status, 200);
    let silent = TcpStream::connect(keyward.listen).unwrap();
    eventually("both clients", || (keyward.metric("keyward_client_connections_open") == 2).then_some(()));
    keyward.signal(Signal::INT);
    // Far less than the 30 seconds that an open exchange would have.
    let begun = std::time::Instant::now();
    eventually("the end", || keyward.has_ended().then_some(()));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    drop(silent);
    assert_eq!(keyward.wait().code(), Some(0));
}

#[test]
fn a_signal_during_the_first_moments_is_a_clean_end_too() {
    let home = Home::new();
    let keyward = home.serve().start();
    assert_eq!(keyward.stop().code(), Some(0));
}

#[test]
fn a_moved_log_file_is_left_at_sighup_and_no_line_is_lost() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).log_file("log").start();
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let busy = keep_asking(&keyward, &done, &asked);
    for round in 1..=3 {
        ask_more(&asked);
        // A line is written a moment after its exchange; what is not yet written goes to the next file.
        wait_for_lines(&home);
        fs::rename(home.path("log"), home.path(&format!("log.{round}"))).unwrap();
        keyward.signal(Signal::HUP);
        eventually("a new file", || home.path("log").exists().then_some(()));
    }
    ask_more(&asked);
    wait_for_lines(&home);
    done.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!(keyward.stop().code(), Some(0));
    let lines = ["log.1", "log.2", "log.3", "log"].map(|name| fs::read_to_string(home.path(name)).unwrap());
    let counts = lines.each_ref().map(|log| events(log, "exchange").len());
    assert_eq!(counts.iter().sum::<usize>(), asked.load(Ordering::Relaxed), "{counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Not even where the umask would allow it; what an administrator made otherwise is left so, and told of.
#[test]
fn no_stranger_reads_a_log_file_that_keyward_makes() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    let keyward = home.serve_for(&upstream).log_file("log").start();
    assert_eq!(mode("log") & !0o640, 0, "{:o}", mode("log"));
    fs::rename(home.path("log"), home.path("log.1")).unwrap();
    keyward.signal(Signal::HUP);
    eventually("a new file", || home.path("log").exists().then_some(()));
    assert_eq!(mode("log") & !0o640, 0, "{:o}", mode("log"));
    keyward.stop();
    fs::set_permissions(home.path("log"), fs::Permissions::from_mode(0o644)).unwrap();
    let keyward = home.serve_for(&upstream).log_file("log").start();
    let told = eventually("a warning", || {
        let log = fs::read_to_string(home.path("log")).unwrap();
        events(&log, "check").into_iter().find(|event| event["message"].as_str().unwrap().starts_with("log.file: "))
    });
    assert_eq!((&told["level"], mode("log")), (&"warn".into(), 0o644), "{told}");
    keyward.stop();
}

/// The keys are in its memory.
#[test]
fn a_keyward_that_serves_leaves_no_core_dump() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).start();
    assert_eq!(keyward.limit("Max core file size"), ["0", "0"]);
    keyward.stop();
}

#[test]
fn sighup_without_a_log_file_changes_nothing() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).start();
    keyward.signal(Signal::HUP);
    assert_eq!(get(keyward.listen, "/v1/models").status, 200);
    assert_eq!(keyward.stop().exchanges().len(), 1);
}

#[test]
fn a_killed_keyward_starts_again_as_if_nothing_had_been() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let first = home.serve_for(&upstream).key("sk-current").start();
    assert_eq!(ask_with(first.listen, "sk-current").verdict(), "current");
    let fingerprint = first.exchanges(1)[0]["fingerprint"].clone();
    let listen = first.listen.to_string();
    first.signal(Signal::KILL);
    assert_eq!(first.wait().code(), None);
    let again = home.keyward(&["serve", "--listen", &listen, "--upstream", &upstream.url()]).key("sk-current").start();
    assert_eq!(ask_with(again.listen, "sk-current").verdict(), "current");
    assert_eq!(again.exchanges(1)[0]["fingerprint"], fingerprint);
    assert!(events(&again.log(), "keys").is_empty() && events(&again.log(), "state").is_empty());
}

#[track_caller]
fn stops_in_peace(signal: Signal) {
    let (home, gate) = (Home::new(), Gate::default());
    let upstream = endless(&gate);
    let keyward = home.serve_for(&upstream).start();
    let (mut client, head) = open_stream(&keyward);
    assert_eq!(keyward.admin("/readyz").status, 200);
    keyward.signal(signal);
    wait_until_it_drains(&keyward);
    eventually("a closed door", || TcpStream::connect(keyward.listen).is_err().then_some(()));
    assert_eq!(keyward.admin("/healthz").status, 200, "it lives until it is done");
    gate.open();
    assert!(client.read_body(head).whole);
    let finished = keyward.wait();
    assert_eq!((finished.code(), finished.stderr.as_str()), (Some(0), ""));
    let exchanges = finished.exchanges();
    assert_eq!((exchanges.len(), &exchanges[0]["outcome"]), (1, &"success".into()));
    assert_eq!(events(&finished.stdout, "draining").len(), 1);
    assert!(finished.stdout.lines().last().unwrap().contains(r#""event":"stopped""#), "{}", finished.stdout);
}

/// Begins a stream at once, and ends it when the gate opens.
fn endless(gate: &Gate) -> FakeUpstream {
    let gate = gate.clone();
    FakeUpstream::scripted(move |visit| {
        visit.send(Answering::STREAM);
        visit.chunk("data: ");
        gate.pass();
        visit.chunk("");
    })
}

/// A client in the midst of an answer: its head was read.
#[track_caller]
fn open_stream(keyward: &Keyward) -> (Client, Head) {
    let mut client = Client::connect(keyward.listen);
    client.send(request("GET", "/v1/stream", &[("Authorization", "Bearer sk-a")], b""));
    let head = client.head();
    assert!(head.line.starts_with("HTTP/1.1 200 "));
    (client, head)
}

#[track_caller]
fn wait_until_it_drains(keyward: &Keyward) {
    eventually("a readiness that has turned", || (keyward.admin("/readyz").status == 503).then_some(()));
}

#[track_caller]
fn assert_was_cut(keyward: Keyward) {
    let finished = keyward.wait();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let lines = finished.exchanges();
    assert_eq!(
        (lines.len(), &lines[0]["outcome"], &lines[0]["diagnosis"]),
        (1, &"shut_down".into(), &"shut_down".into())
    );
}

fn keep_asking(keyward: &Keyward, done: &Arc<AtomicBool>, asked: &Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    let (listen, done, asked) = (keyward.listen, Arc::clone(done), Arc::clone(asked));
    thread::spawn(move || {
        let mut client = Client::connect(listen);
        while !done.load(Ordering::Relaxed) {
            assert_eq!(client.ask("/v1/models", &[]).status, 200);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Waits until the log file of the moment holds an exchange.
fn wait_for_lines(home: &Home) {
    let written = || events(&fs::read_to_string(home.path("log")).unwrap(), "exchange").len();
    eventually("lines in the log", || (written() > 0).then_some(()));
}

/// Waits until some more were asked.
fn ask_more(asked: &AtomicUsize) {
    let wanted = asked.load(Ordering::Relaxed) + 50;
    eventually("more requests", || (asked.load(Ordering::Relaxed) >= wanted).then_some(()));
}
