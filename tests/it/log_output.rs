//! The log: one line for each exchange in either format, whatever callers send and whatever becomes of where it goes.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::process::client::{ask, ask_with, get, request};
use crate::process::{Home, Keyward, events};
use crate::support::{Client, FakeUpstream, eventually};

/// What every line of an exchange has.
const FIELDS: [&str; 27] = [
    "timestamp",
    "level",
    "event",
    "id",
    "set",
    "verdict",
    "diagnosis",
    "action",
    "workflow_id",
    "execution_id",
    "node_id",
    "workflow_name",
    "client",
    "client_version",
    "attribution",
    "fingerprint",
    "hint",
    "method",
    "path",
    "status",
    "upstream_code",
    "outcome",
    "ttfb_ms",
    "ms",
    "bytes_in",
    "bytes_out",
    "peer",
];

const KEY: &str = "sk-proj-0123456789abcdefAbCd";

#[test]
fn a_good_exchange_is_one_line_with_all_the_fields_and_no_other() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key(KEY).start();
    let tag = [("X-N8N-Tag", "wf=a;ex=7;node=n;name=Daily%20report"), ("Authorization", &bearer(KEY))];
    let answer = ask(keyward.listen, "/v1/models?limit=1", &tag);
    let lines = keyward.stop().exchanges();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    // The peer is told only where nothing else says who it was.
    assert_eq!(names(line), FIELDS.into_iter().filter(|name| *name != "peer").collect());
    for (name, expected) in [("level", "info"), ("set", "default"), ("verdict", "current"), ("diagnosis", "ok")]
        .into_iter()
        .chain([("action", "forward"), ("workflow_id", "a"), ("execution_id", "7"), ("node_id", "n")])
        .chain([("workflow_name", "Daily report"), ("attribution", "tag"), ("hint", "sk-proj-…AbCd")])
        .chain([("method", "GET"), ("path", "/v1/models"), ("outcome", "success"), ("client", "other")])
        .chain([("id", answer.header("x-keyward-id").unwrap())])
    {
        assert_eq!(line[name], expected, "{name}");
    }
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&200.into(), &0.into(), &17.into()));
}

#[test]
fn a_bad_exchange_says_in_the_same_line_what_to_do() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&[KEY]));
    let keyward = home.serve_for(&upstream).key(KEY).start();
    ask_with(keyward.listen, "sk-wrong");
    let lines = keyward.stop().exchanges();
    let line = &lines[0];
    assert_eq!(names(line), FIELDS.into_iter().chain(["message", "remedy"]).collect());
    assert_eq!((&line["level"], &line["diagnosis"]), (&"error".into(), &"unknown_key_rejected".into()));
    assert_eq!((&line["status"], &line["upstream_code"]), (&401.into(), &"invalid_api_key".into()));
    assert!(line["remedy"].as_str().unwrap().starts_with("1. "), "{line}");
}

#[test]
fn a_request_that_upstream_never_sees_has_its_line_too() {
    let home = Home::new();
    let keyward = home.serve().args(&["--upstream", "http://127.0.0.1:1"]).key(KEY).start();
    assert_eq!(ask_with(keyward.listen, KEY).status, 502);
    let lines = keyward.stop().exchanges();
    assert_eq!((&lines[0]["diagnosis"], &lines[0]["outcome"]), (&"upstream_failed".into(), &"unreachable".into()));
    assert_eq!((&lines[0]["status"], &lines[0]["ttfb_ms"]), (&502.into(), &Value::Null));
}

#[test]
fn every_line_of_a_hostile_run_is_json() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let launch = home.serve_for(&upstream).config("[proxy]\nmax_head = \"256KiB\"\n[log]\nlevel = \"trace\"\n");
    let keyward = launch.log_file("log").start();
    let requests = hostile_requests();
    let answered = requests.iter().filter(|request| answers_as_an_exchange(&keyward, request)).count();
    assert!(answered >= 12, "most of them are taken: {answered}");
    assert_eq!(keyward.stop().code(), Some(0));
    let log = fs::read(home.path("log")).unwrap();
    assert!(log.ends_with(b"\n"));
    let lines: Vec<_> = log.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
    for line in &lines {
        let parsed = serde_json::from_slice::<Value>(line);
        assert!(parsed.is_ok_and(|line| line.is_object()), "{}", String::from_utf8_lossy(line));
        assert!(line.len() < 8 * 1024, "caller text is capped: {} bytes", line.len());
        assert!(!line.iter().any(u8::is_ascii_control), "{}", String::from_utf8_lossy(line));
    }
    assert_eq!(events(&String::from_utf8(log.clone()).unwrap(), "exchange").len(), answered);
}

#[test]
fn no_caller_steers_a_terminal_or_makes_up_a_line() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).args(&["--log", "human"]).log_file("log").start();
    let answered = hostile_requests().iter().filter(|request| answers_as_an_exchange(&keyward, request)).count();
    keyward.stop();
    let log = fs::read_to_string(home.path("log")).unwrap();
    assert!(!log.contains(|character: char| character.is_control() && character != '\n'), "{log:?}");
    let sent_away = log.lines().filter(|line| line.contains("event=\"refused_early\"")).count();
    assert!(answered + sent_away <= hostile_requests().len(), "{log}");
    let lines = log.lines().filter(|line| begins_with_a_time(line)).count();
    assert_eq!(lines, answered + sent_away + 2, "and the last words: {log}");
}

#[test]
fn the_human_format_is_aligned_with_the_remedy_under_a_bad_line() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&[KEY]));
    let keyward = home.serve_for(&upstream).key(KEY).args(&["--log", "human"]).start();
    ask_with(keyward.listen, KEY);
    ask_with(keyward.listen, "sk-wrong");
    get(keyward.listen, "/v1/a/path/that/is/longer/than/its/column");
    let log = keyward.stop().stdout;
    assert!(!log.contains('\x1b'), "no colours without a terminal: {log}");
    let lines: Vec<_> = log.lines().filter(|line| begins_with_a_time(line) && line.contains("GET")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines.iter().all(|line| line.find("GET") == lines[0].find("GET")), "aligned: {log}");
    // Columns are counted in characters, not bytes.
    let short = lines.iter().filter(|line| !line.contains("longer")).map(|line| line.replace('…', "."));
    let columns: BTreeSet<_> = short.map(|line| (line.find(" ms "), line.find("from "))).collect();
    assert_eq!(columns.len(), 1, "aligned: {log}");
    let below = log.split("401  unknown").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(below.starts_with("              ✗ unknown_key_rejected  An untagged client at 127.0.0.1"), "{below}");
    assert!(log.contains("\n                1. Put the current key of set `default` into the credential"), "{log}");
}

#[test]
fn on_a_terminal_the_log_is_for_people_and_coloured_unless_they_say_no() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let lines = |variable: &str| {
        let keyward = home.serve_for(&upstream).key(KEY).env(variable, "1").on_a_terminal().start();
        ask_with(keyward.listen, KEY);
        keyward.stop().stdout
    };
    let coloured = lines("COLORTERM");
    assert!(coloured.starts_with("keyward ") && coloured.contains("\x1b[32m200  current"), "{coloured}");
    let plain = lines("NO_COLOR");
    assert!(plain.contains("200  current") && !plain.contains('\x1b'), "{plain}");
}

#[test]
fn the_level_parts_what_is_written_from_what_is_not() {
    #[track_caller]
    fn check(level: &str, expected: &[&str]) {
        let (home, upstream) = (Home::new(), FakeUpstream::accepting());
        let launch = home.serve_for(&upstream).key(KEY).env("KEYWARD_LOG_LEVEL", level);
        let keyward = launch.args(&["--log", "human"]).start();
        ask_with(keyward.listen, KEY);
        ask_with(keyward.listen, "sk-another-one");
        get(keyward.listen, "/v1/models");
        let log = keyward.stop().stdout;
        let lines: Vec<_> = log.lines().filter(|line| begins_with_a_time(line) && line.contains("GET")).collect();
        let found: BTreeSet<_> = lines.iter().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
        assert_eq!(found, expected.iter().copied().collect(), "{level}: {log}");
        assert_eq!(log.contains("keyward has stopped"), expected.contains(&"current"), "{level}: {log}");
    }
    check("info", &["current", "unknown", "missing"]);
    check("warn", &["unknown", "missing"]);
    check("error", &["missing"]);
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_no_request() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let path = home.path("log");
    let keyward = home.serve_for(&upstream).log_file("log").start();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    keyward.signal(rustix::process::Signal::HUP);
    let mut client = Client::connect(keyward.listen);
    eventually("dropped lines", || {
        assert_eq!(client.ask("/v1/models", &[]).status, 200);
        (keyward.metric("keyward_log_dropped_total") >= 100).then_some(())
    });
    let stderr = keyward.stderr();
    assert_eq!(stderr.matches("the log cannot be written").count(), 1, "it is said once, not for each line: {stderr}");
    assert!(stderr.contains("lines are dropped and counted"), "{stderr}");
    let finished = keyward.stop();
    assert_eq!(finished.code(), Some(0));
}

#[test]
fn a_pipe_without_a_reader_costs_lines_that_are_counted_and_no_request() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key(KEY).config("[proxy]\nworkers = 1\n").start();
    keyward.stop_reading();
    let path = format!("/v1/{}", "x".repeat(500));
    let mut client = Client::connect(keyward.listen);
    let name = "é".repeat(60);
    let headers = [("Authorization", bearer(KEY)), ("X-N8N-Workflow-Name", name)];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    eventually("dropped lines", || {
        for _ in 0..100 {
            assert_eq!(client.ask(&path, &headers).status, 200);
        }
        (keyward.metric("keyward_log_dropped_total") > 0).then_some(())
    });
    assert_eq!(client.ask(&path, &headers).verdict(), "current", "and on it goes");
    assert_eq!(keyward.admin("/readyz").status, 200);
    let finished = keyward.stop();
    assert_eq!(finished.code(), Some(0), "it does not wait for the reader for ever");
}

#[test]
fn a_closed_pipe_does_not_end_it() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    // The shell's own output is the pipe that the test reads; keyward's goes to a reader that leaves after a line.
    let launch = home.serve_after("exec 3>&1; mkfifo p; head -n 1 p >&3 & exec >p");
    let keyward = launch.upstream(&upstream).env("PATH", "/usr/bin:/bin").start();
    eventually("dropped lines", || {
        assert_eq!(get(keyward.listen, "/v1/models").status, 200);
        (keyward.metric("keyward_log_dropped_total") > 0).then_some(())
    });
    assert_eq!(keyward.stop().code(), Some(0));
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_at_the_start() {
    let home = Home::new();
    let finished = home.serve().log_file("no/such/folder/log").run();
    assert_eq!(finished.code(), Some(1));
    for said in ["no/such/folder/log", "log.file", "No such file or directory"] {
        assert!(finished.stderr.contains(said), "{said} is not in {}", finished.stderr);
    }
    assert!(finished.stdout.is_empty() && !home.state().exists());
}

/// Requests of people who would like to be something else in the log.
fn hostile_requests() -> Vec<Vec<u8>> {
    let with = |name: &str, value: &[u8]| {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: k\r\nConnection: close\r\n{name}: ");
        [head.as_bytes(), value, b"\r\n\r\n"].concat()
    };
    let forged = b"x\",\"verdict\":\"current\",\"a\":\"\\";
    let long = "u".repeat(100 * 1024);
    vec![
        with("User-Agent", forged),
        with("User-Agent", b"n8n\xff\xfe\x80"),
        with("User-Agent", long.as_bytes()),
        with("User-Agent", b"\x1b[2J\x07"),
        with("User-Agent", b"OpenAI/JS 4.1\x08\x08"),
        with("User-Agent", b"OpenAI/JS 9\"9"),
        with("X-Stainless-Package-Version", forged),
        with("X-N8N-Tag", b"wf=a\"b;ex=\\;node=\xc3\xa9"),
        with("X-N8N-Tag", b"wf=a;name=%22%0a%1b%5b31m%e2%80%ae%ff%00%7f"),
        with("X-N8N-Workflow-Name", b"W\xf6rkflow \"quoted\" \\ \t tab"),
        with("X-N8N-Workflow-Name", long.as_bytes()),
        with("X-N8N-Workflow-Name", b"%0d%0a{\"event\":\"exchange\"}"),
        with("Authorization", b"Bearer sk-\xff\xfe quoted\""),
        with("Authorization", b"Bearer 0123456789abcdef\"\\\"\\"),
        with("OpenAI-Organization", b"n8n-\"\\-7"),
        request("GET", "/v1/a\"b\\c|d{e}", &[("Connection", "close")], b""),
        request("GET", "/v1/%0a%0d%1b%22%00", &[("Connection", "close")], b""),
        request("GET", "/n8n/a%22/b%0a/c%1b/v1/models", &[("Connection", "close")], b""),
        request("GET", "/set/%22/n8n/a/v1/models", &[("Connection", "close")], b""),
        request("B\u{7f}D", "/v1/models", &[("Connection", "close")], b""),
        request("!#$%&'*+-.^_`|~", "/v1/models", &[("Connection", "close")], b""),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        [b"GET /v1/".as_slice(), &[0xff, 0xfe], b" HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n"].concat(),
        b"GET / v1 HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

/// Sends the bytes, and says whether keyward took them for a request and answered with its mark.
fn answers_as_an_exchange(keyward: &Keyward, request: &[u8]) -> bool {
    let mut client = Client::connect(keyward.listen);
    client.send(request);
    client.read().header("x-keyward-id").is_some()
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn names(line: &Value) -> BTreeSet<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

/// `08:15:00` of an exchange, or a whole date of keyward's own words.
fn begins_with_a_time(line: &str) -> bool {
    let digits = line.bytes().take_while(|byte| byte.is_ascii_digit() || b":-T".contains(byte)).count();
    digits >= 8
}
