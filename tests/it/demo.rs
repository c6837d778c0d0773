//! `keyward demo`: every mistake in its story is named for what it is, nothing else is called one, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use keyward::demo::story::{self, Event, Kind, Means, Release};
use keyward::demo::{KEYS, n8n};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Finished, Home, Launch, events};
use crate::support::{eventually, recording};

/// Faster than it can be.
const AT_ONCE: &str = "1000000000";

/// What is wrong in the story: workflow, node, what it is called, and the hours of the day in which it is.
const MISTAKES: [(&str, &str, &str, [u32; 2]); 14] = [
    // Before the main credential is edited.
    ("demo-support-inbox", "classify", "stale_binding", [10, 11]),
    ("demo-support-inbox", "remember", "stale_binding", [10, 11]),
    ("demo-support-inbox", "answer", "stale_binding", [10, 11]),
    // A credential of its own, forgotten.
    ("demo-sub-translate", "detect", "stale_binding", [11, 12]),
    ("demo-sub-translate", "translate", "stale_binding", [11, 12]),
    ("demo-sub-translate", "review", "stale_binding", [11, 12]),
    // A draft that is not published for hours.
    ("demo-sub-moderate", "flag", "stale_binding", [11, 17]),
    ("demo-sub-moderate", "reason", "stale_binding", [11, 17]),
    ("demo-sub-moderate", "note", "stale_binding", [11, 17]),
    // A key that was pasted without its end.
    ("demo-sub-extract", "fields", "unknown_key_rejected", [10, 12]),
    ("demo-sub-extract", "verify", "unknown_key_rejected", [10, 12]),
    ("demo-sub-extract", "store", "unknown_key_rejected", [10, 12]),
    // A redirect, behind which the nodes of the SDK lose their header; the third node puts it in again.
    ("demo-sub-summary", "summarise", "dropped_header", [10, 17]),
    ("demo-sub-summary", "embed", "dropped_header", [10, 17]),
];

#[test]
fn every_mistake_is_named_and_nothing_else_is_called_one() {
    let finished = Place::new().told(&[]);
    let exchanges = finished.exchanges();
    let mut named = BTreeMap::new();
    for line in exchanges.iter().filter(|line| line["diagnosis"] != "ok") {
        let hours =
            named.entry((text(line, "workflow_id"), text(line, "node_id"), text(line, "diagnosis"))).or_default();
        BTreeSet::insert(hours, hour(line));
    }
    // The node into which the key was typed sends no tag, so it is known by its kind alone.
    let typed = named.remove(&(String::new(), String::new(), "stale_binding".to_owned()));
    assert_eq!(typed, Some(BTreeSet::from([11, 13])));
    let expected = MISTAKES.map(|(workflow, node, diagnosis, _)| [workflow, node, diagnosis].map(str::to_owned));
    let found: BTreeSet<_> =
        named.keys().cloned().map(|(workflow, node, diagnosis)| [workflow, node, diagnosis]).collect();
    assert_eq!(found, BTreeSet::from(expected));
    for (workflow, node, diagnosis, [from, to]) in MISTAKES {
        let hours = &named[&(workflow.to_owned(), node.to_owned(), diagnosis.to_owned())];
        assert!(hours.iter().all(|hour| (from..to).contains(hour)), "{workflow} {node}: {hours:?}");
    }
    let from_the_typed = exchanges.iter().filter(|line| line["attribution"] == "none");
    assert!(from_the_typed.clone().count() > 2 && from_the_typed.clone().all(|line| line["client"] == "http-request"));
}

#[test]
fn old_keys_are_a_warning_in_their_grace_and_an_error_after_it() {
    let exchanges = Place::new().told(&[]).exchanges();
    for line in exchanges.iter().filter(|line| line["diagnosis"] == "stale_binding") {
        assert_eq!(line["level"], if hour(line) < 14 { "warn" } else { "error" }, "{line}");
        assert_eq!(line["status"], 200, "upstream still takes it: {line}");
    }
    let rejected = exchanges.iter().find(|line| line["diagnosis"] == "unknown_key_rejected").unwrap();
    assert_eq!((&rejected["status"], &rejected["upstream_code"]), (&401.into(), &"invalid_api_key".into()));
}

#[test]
fn all_kinds_of_nodes_and_all_kinds_of_tags_take_part() {
    let exchanges = Place::new().told(&[]).exchanges();
    let all = |field: &str| exchanges.iter().map(|line| text(line, field)).collect::<BTreeSet<_>>();
    assert_eq!(all("client"), ["http-request", "legacy", "sdk", "vendor"].map(str::to_owned).into());
    assert_eq!(all("attribution"), ["none", "organization", "path", "tag"].map(str::to_owned).into());
    assert_eq!(all("workflow_id").iter().filter(|id| id.starts_with("demo-")).count(), 20);
    let nodes: BTreeSet<_> = exchanges.iter().map(|line| (text(line, "workflow_id"), text(line, "node_id"))).collect();
    // Sixty, the editor, and the one that sends no tag; on n8n 1.x, HTTP Requests do not say which node they are.
    assert_eq!(nodes.len(), 61, "{nodes:?}");
}

#[test]
fn what_remains_at_the_end_cannot_be_known() {
    let lines = events(&Place::new().told(&[]).stdout, "demo");
    let end = lines.last().unwrap();
    assert_eq!((&end["title"], &end["can_go"]), (&"The rotation".into(), &"not_seen".into()));
    assert_eq!(end["message"], "57 of 61 confirmed, 3 due later, 1 acknowledged");
    let left = lines.iter().rev().skip(1).take_while(|line| line["standing"].is_string());
    let left: BTreeSet<_> = left.map(|line| [text(line, "workflow_id"), text(line, "reason")]).collect();
    let expected = [["demo-monthly-close", "due_later"], ["", "acknowledged"]].map(|row| row.map(str::to_owned));
    assert_eq!(left, expected.into());
}

#[test]
fn every_line_says_that_it_is_a_demo_and_none_has_a_key() {
    for format in ["json", "human"] {
        let finished = Place::new().told(&["--log", format]);
        let all = finished.stdout.clone() + &finished.stderr;
        for key in KEYS {
            let windows = (0..key.len() - 12).map(|start| &key[start..start + 12]);
            windows.for_each(|window| assert!(!all.contains(window), "{window} in the {format} log"));
        }
        assert_eq!(finished.stderr, "");
        let is_marked = |line: &str| line.contains("demo") || line.contains("from 127.0.0.1");
        let mut lines = all.lines().filter(|line| line.starts_with(['{', '0', '1', '2']));
        assert!(lines.all(is_marked), "{all}");
    }
}

#[test]
fn a_story_is_the_same_for_the_same_seed() {
    let told = |seed: &str| {
        let exchanges = Place::new().told(&["--seed", seed]).exchanges();
        let fields = ["timestamp", "workflow_id", "node_id", "execution_id", "verdict", "diagnosis", "path", "message"];
        let without_fingerprints = |text: String| text.split(" (").next().unwrap_or_default().to_owned();
        exchanges.iter().map(|line| fields.map(|field| without_fingerprints(text(line, field)))).collect::<Vec<_>>()
    };
    let first = told("7");
    assert!(first.len() > 300, "{}", first.len());
    assert_eq!(first, told("7"));
    assert_ne!(first, told("8"));
}

#[test]
fn nothing_of_the_users_is_looked_at_and_nothing_is_left_behind() {
    let place = Place::new();
    let launch = place.demo(&["--speed", AT_ONCE, "--log", "json"]);
    let finished = launch
        .key("sk-proj-0123456789abcdefAbCd")
        .env("KEYWARD_PROXY_LISTEN", "nonsense")
        .env("KEYWARD_CONFIG", "/nowhere/keyward.toml")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(!finished.stdout.contains("AbCd") && !finished.stdout.contains("nowhere"));
    place.assert_empty();
}

#[test]
fn ctrl_c_ends_it_with_the_view_so_far() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        // So slow that it would take hours.
        let demo = place.demo(&["--speed", "10", "--log", "json"]).spawn();
        eventually("the story's beginning", || (events(&demo.log(), "demo").len() >= 2).then_some(()));
        demo.signal(signal);
        let finished = demo.wait();
        assert_eq!((finished.code(), &*finished.stderr), (Some(0), ""));
        let last = events(&finished.stdout, "demo").pop().unwrap();
        assert_eq!(last["title"], "The rotation");
        place.assert_empty();
    }
}

#[test]
fn it_ends_when_its_reader_is_gone() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["demo", "--speed", "20000"]).env_clear().env("TMPDIR", place.home.path("tmp"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("demo"), "{line}");
    let status = eventually("the end of the demo", || child.try_wait().unwrap());
    assert!(status.success());
    place.assert_empty();
}

#[test]
fn on_a_terminal_it_is_for_people() {
    let place = Place::new();
    let finished = place.demo(&["--speed", AT_ONCE]).on_a_terminal().run();
    assert_eq!(finished.code(), Some(0));
    for said in ["demo: a day with keyward", "Everything here is invented", "The key is rotated", "✗ dropped_header"]
    {
        assert!(finished.stdout.contains(said), "{said}");
    }
    let (_, end) = finished.stdout.rsplit_once("The rotation at the end of the day").unwrap();
    let end = end.replace('\r', "");
    assert!(end.contains("\x1b[33msilent   \x1b[0m  Monthly close (demo)"), "{end}");
    assert!(end.contains("explain, tables, letter"), "{end}");
    assert!(end.trim_end().ends_with("n8n was not looked through since"), "{end}");
}

#[test]
fn its_n8n_sends_what_real_n8n_was_seen_to_send() {
    let mut compared = BTreeSet::new();
    for scene in story::scenes(1) {
        let Event::Sent(sent) = scene.event else { continue };
        let recorded = recording(&name_of_recording(&sent));
        let request = n8n::request(&sent, Some(KEYS[0])).unwrap();
        assert_eq!(request.method().as_str(), recorded.method);
        assert!(request.uri().path().ends_with(&recorded.target), "{}", recorded.name);
        assert_eq!(request.body().as_bytes(), recorded.body, "{}", recorded.name);
        // What belongs to the connection, the credential and its tag is the demo's own.
        let own = ["host", "content-length", "authorization", "openai-organization", "x-n8n-tag"];
        let others = |headers: Vec<(String, String)>| {
            let others = headers.into_iter().filter(|(name, _)| !own.contains(&name.as_str()));
            others.collect::<BTreeSet<_>>()
        };
        let was_sent =
            recorded.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let is_sent =
            request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        assert_eq!(others(is_sent.collect()), others(was_sent), "{}", recorded.name);
        let has = |name: &str| recorded.headers.iter().any(|(recorded, _)| recorded.eq_ignore_ascii_case(name));
        for name in ["openai-organization", "authorization"] {
            assert_eq!(request.headers().contains_key(name), has(name), "{}: {name}", recorded.name);
        }
        compared.insert(recorded.name);
    }
    assert!(compared.len() >= 16, "{compared:?}");
}

fn name_of_recording(sent: &story::Request) -> String {
    let kind = match (sent.node.kind, sent.means) {
        (Kind::LegacyChat, _) => "legacy_chat",
        (Kind::LegacyText, _) => "legacy_text",
        (Kind::Message, _) => "lc_text_message",
        (Kind::Image, _) => "lc_image_generate",
        (Kind::Transcription, _) => "lc_audio_transcribe",
        (Kind::AgentStream, _) if sent.workflow.release() == Release::Two => "agent_stream",
        (Kind::Agent | Kind::AgentStream, _) => "agent",
        (Kind::Chain, _) => "chain_chat",
        (Kind::Embeddings, _) => "embeddings",
        (Kind::HttpRequest, Means::Credential) => "http_predefined",
        (Kind::HttpRequest, Means::Typed) => "http_hardcoded",
    };
    format!("{}/{kind}", if sent.workflow.release() == Release::One { "1.100.1" } else { "2.41.1" })
}

/// A home, and a folder for temporary files in it.
struct Place {
    home: Home,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        fs::create_dir(home.path("tmp")).unwrap();
        Self { home }
    }

    fn demo(&self, arguments: &[&str]) -> Launch {
        let folder = self.home.path("tmp");
        self.home.keyward(&["demo"]).args(arguments).env("TMPDIR", folder.to_str().unwrap()).env("TZ", "UTC")
    }

    /// The whole story.
    #[track_caller]
    fn told(&self, arguments: &[&str]) -> Finished {
        let finished = self.demo(&["--speed", AT_ONCE]).args(arguments).run();
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        self.assert_empty();
        finished
    }

    #[track_caller]
    fn assert_empty(&self) {
        let left = |folder: &str| fs::read_dir(self.home.path(folder)).unwrap().count();
        assert_eq!((left("tmp"), left(".")), (0, 1), "the folder for temporary files alone, and nothing in it");
    }
}

fn text(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap_or_default().to_owned()
}

/// The hour of the day, where it is UTC.
fn hour(line: &Value) -> u32 {
    text(line, "timestamp")[11..13].parse().unwrap()
}
