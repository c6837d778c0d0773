//! A rotation as people see it on the command line: who is stale, who has changed, whether the old key can go; from the
//! running keyward, and from its store when it is down.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::process::client::{ask, ask_with};
use crate::process::{Finished, Home, Keyward, Launch};
use crate::support::{Answering, FakeUpstream, eventually};

const OLD: &str = "sk-proj-old-0123456789abcdefghijklmnOlD1";
const NEW: &str = "sk-proj-new-0123456789abcdefghijklmnNeW1";

const CONFIG: &str = "[keys.default]\ncurrent = { file = \"key\" }\n";

/// A keyward whose key was changed from [`OLD`] to [`NEW`], and its home.
struct Scene {
    home: Home,
    keyward: Option<Keyward>,
    admin: String,
    config: &'static str,
}

impl Scene {
    /// Workflows `w1` and `w2` sent the old key; `w1` still does after the change, `w2` has not come again.
    fn new(upstream: &FakeUpstream) -> Self {
        Self::with(upstream, CONFIG)
    }

    fn with(upstream: &FakeUpstream, config: &'static str) -> Self {
        let home = Home::new();
        home.write("key", OLD);
        let keyward = home.serve_for(upstream).config(config).start();
        let admin = keyward.admin.to_string();
        let scene = Self { home, keyward: Some(keyward), admin, config };
        scene.send("wf=w1;node=n1;name=Report", OLD);
        scene.send("wf=w2;node=n2", OLD);
        scene.home.write("key", NEW);
        eventually("the new key", || (scene.send("wf=w3;node=n3", NEW) == "current").then_some(()));
        scene.send("wf=w1;node=n1;name=Report", OLD);
        scene
    }

    /// Gives the verdict.
    fn send(&self, tag: &str, key: &str) -> String {
        let headers = [("Authorization", &*format!("Bearer {key}")), ("X-N8N-Tag", tag)];
        let verdict = ask(self.keyward.as_ref().unwrap().listen, "/v1/models", &headers).verdict().to_owned();
        // What comes in the same millisecond is not later.
        std::thread::sleep(Duration::from_millis(3));
        verdict
    }

    fn launch(&self, arguments: &[&str]) -> Launch {
        self.home.keyward(arguments).config(self.config).env("KEYWARD_ADMIN_LISTEN", &self.admin)
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.launch(arguments).run()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{} {}", finished.stdout, finished.stderr))
    }

    fn binding(&self, workflow: &str) -> String {
        let bindings = self.json(&["bindings", "--workflow", workflow]);
        bindings["bindings"][0]["binding"].as_str().unwrap().to_owned()
    }

    fn stop(&mut self) {
        drop(self.keyward.take().unwrap().stop());
    }

    fn stop_once(&mut self) {
        drop(self.keyward.take().map(|keyward| keyward.stop()));
    }
}

#[track_caller]
fn assert_says(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{}{}", finished.stdout, finished.stderr);
    for text in said {
        assert!(finished.stdout.contains(text), "{text} is not in {}", finished.stdout);
    }
}

#[test]
fn the_rotation_says_who_still_sends_the_old_key_and_whether_it_can_go() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    let rotation = scene.run(&["rotation"]);
    let said = [
        "default: current key sk-proj-…NeW1 (",
        "1 of 3 confirmed, 1 stale, 1 due later",
        "\nstale      ",
        "Report: n1",
        "stale_binding",
        "\ndue later  ",
        "w2: n2",
        "due in ",
        "\nconfirmed  1 in w3\n",
        "the old key is still sent by workflow w1 (Report), node n1\n",
        "Run it with the current key",
    ];
    assert_says(&rotation, 1, &said);
    let first = "Can the old key go?  NO: 1 node still sends it\nNext: ";
    assert!(rotation.stdout.starts_with(first), "{}", rotation.stdout);
    assert!(!rotation.stdout.contains("accept"), "right after a use: {}", rotation.stdout);
    let status = scene.run(&["status"]);
    assert_says(
        &status,
        1,
        &[
            "is running, up for ",
            "bindings that it knows: 3",
            "default (observe): ",
            "1 incident is open: 1 stale_binding\n",
            "  1. Open the node in n8n and see which credential it uses",
        ],
    );
    assert!(status.stdout.starts_with(first.trim_end_matches("Next: ")), "{}", status.stdout);
    let incidents = scene.run(&["incidents"]);
    let said =
        ["1 incident is open: 1 stale_binding\n", "  Report: n1\n", "1 request, key sk-proj-…OlD1", "  2. Put the "];
    assert_says(&incidents, 1, &said);
    let bindings = scene.run(&["bindings", "--state", "confirmed"]);
    assert_says(&bindings, 0, &["w3, node n3", "confirmed"]);
    assert!(!bindings.stdout.contains("w1"), "{}", bindings.stdout);
}

#[test]
fn a_binding_that_sends_an_old_and_a_good_key_by_turns_is_an_incident_with_addresses_keys_and_times() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::with(&upstream, AT_ONCE);
    let tags =
        ["wf=w1;ex=21;node=n1;name=Report", "wf=w1;ex=22;node=n1;name=Report", "wf=w1;ex=23;node=n1;name=Report"];
    for (tag, key) in tags.into_iter().zip([NEW, OLD, NEW]) {
        scene.send(tag, key);
    }
    let told =
        eventually("the incident", || Some(scene.run(&["incidents"])).filter(|told| told.stdout.contains("mixed")));
    assert_says(
        &told,
        1,
        &[
            "  Report: n1\n",
            "mixed (1): the node sends a good key, and another sender behind it still sends an old one",
            "    - previous key sk-proj-…OlD1 (",
            "    - current key sk-proj-…NeW1 (",
            " from 127.0.0.1, first ",
            "restart it with the new one",
        ],
    );
    let incident = scene.json(&["incidents"])["incidents"][0].clone();
    assert_eq!((&incident["diagnosis"], &incident["closed"]), (&"mixed".into(), &Value::Null), "{incident}");
    assert_eq!(incident["senders"][0]["address"], "127.0.0.1", "{incident}");
    let rotation = scene.run(&["rotation"]);
    assert_says(
        &rotation,
        1,
        &["1 mixed", "\nmixed      ", "old key as well", "127.0.0.1", "Look for a worker with an older environment"],
    );
    assert_says(&scene.run(&["bindings"]), 1, &["\nmixed      ", "127.0.0.1"]);
    assert_eq!(scene.run(&["status"]).code(), Some(1));
    let page = scene.keyward.as_ref().unwrap().admin("/").text();
    assert!(page.contains("<b>1</b>mixed") && page.contains("data-state=\"mixed\""), "{page}");
    scene.stop();
    assert_says(&scene.run(&["incidents"]), 1, &["\nmixed (1): "]);
}

/// An Agent has no row in the rotation.
#[test]
fn an_open_incident_of_what_is_no_node_is_not_well_either() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    scene.send("wf=w1;node=n1;name=Report", NEW);
    eventually("nothing stale", || (scene.run(&["status"]).code() == Some(0)).then_some(()));
    let (agent, tag) = ("ai-sdk-openai/4.0.118 node.js/24", "wf=editor;ex=__UNKNOWN__;node=none");
    let key = "Bearer sk-proj-unlisted-0123456789abcdefghij";
    let headers = [("Authorization", key), ("User-Agent", agent), ("X-N8N-Tag", tag)];
    ask(scene.keyward.as_ref().unwrap().listen, "/v1/models", &headers);
    let told = eventually("the incident", || Some(scene.run(&["status"])).filter(|told| told.code() == Some(1)));
    assert!(told.stdout.contains("1 incident is open: 1 unlisted_key\n"), "{}", told.stdout);
    assert_says(&scene.run(&["incidents"]), 1, &["n8n's Agents", "unlisted_key"]);
    assert!(scene.keyward.as_ref().unwrap().admin("/").text().contains("<b>1</b>open incident</a>"));
}

#[test]
fn lines_and_rows_of_what_is_stale_name_its_address() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    assert_says(&scene.run(&["rotation"]), 1, &["stale_binding", "           from 127.0.0.1  ["]);
    assert_says(&scene.run(&["rotation", "--can-go"]), 1, &["still sends it, last at ", " from 127.0.0.1\n"]);
    assert_says(&scene.run(&["incidents"]), 1, &["    from 127.0.0.1  ["]);
    let log = scene.keyward.as_ref().unwrap().log();
    assert!(log.contains("Workflow Report, node n1 (from 127.0.0.1) still sends key sk-proj-…OlD1"), "{log}");
}

#[test]
fn a_script_can_wait_until_nothing_is_stale() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::new(&upstream);
    assert_eq!(scene.run(&["status"]).code(), Some(1));
    let watched = scene.launch(&["rotation", "default", "--watch"]).run_meanwhile();
    scene.send("wf=w1;node=n1;name=Report", NEW);
    eventually("nothing stale", || (scene.run(&["status"]).code() == Some(0)).then_some(()));
    assert_eq!(scene.run(&["incidents"]).code(), Some(0));
    assert_says(&scene.run(&["incidents", "--all"]), 0, &["by good sighting"]);
    let dead = scene.binding("w2");
    let done = scene.run(&["ack", &dead[..8]]);
    assert_says(&done, 0, &["workflow w2, node n2", "is acknowledged"]);
    let finished = watched.wait();
    assert_says(&finished, 0, &["████████████████████████  2 of 3 confirmed, 1 acknowledged"]);
    scene.stop();
    assert_eq!(scene.run(&["status"]).code(), Some(1), "what does not run is not well");
}

#[test]
fn the_json_is_that_of_the_api() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    let keyward = scene.keyward.as_ref().unwrap();
    let of_api = |path: &str| -> Value { serde_json::from_slice(&keyward.admin(path).body).unwrap() };
    // The ledger's own thread counts by the hour, a fifth of a second later.
    let traffic = || of_api("/api/v1/sets/default/rotation")["old_keys"][0]["traffic"][0]["exchanges"].clone();
    eventually("all that was sent with the old key", || (traffic() == 3).then_some(()));
    for (arguments, path) in [
        (&["status"][..], "/api/v1/status"),
        (&["rotation", "default"], "/api/v1/sets/default/rotation"),
        (&["bindings"], "/api/v1/bindings"),
        (&["incidents", "--all"], "/api/v1/incidents"),
    ] {
        let (mut told, mut api) = (scene.json(arguments), of_api(path));
        for value in [&mut told, &mut api] {
            let value = value.as_object_mut().unwrap();
            // When it was asked, and where its next page is.
            value.remove("at");
            value.remove("next");
            value.remove("store");
        }
        assert_eq!(told, api, "{path}");
    }
}

#[test]
fn when_keyward_is_down_its_store_answers() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::new(&upstream);
    let before = eventually("what was sent is taken into account", || {
        let told = scene.json(&["rotation", "default"]);
        let reasons = told.pointer("/old_keys/0/can_go/doubts").and_then(Value::as_array).unwrap();
        reasons.iter().all(|reason| reason["code"] != "unsettled").then_some(told)
    });
    scene.stop();
    let rotation = scene.run(&["rotation", "default"]);
    assert_says(&rotation, 1, &["1 of 3 confirmed, 1 stale, 1 due later", "Report: n1"]);
    assert!(rotation.stdout.starts_with("No keyward runs here"), "{}", rotation.stdout);
    let after = scene.json(&["rotation", "default"]);
    for field in ["/progress", "/old_keys/0/can_go", "/current", "/done", "/total"] {
        assert_eq!(before.pointer(field), after.pointer(field), "{field}");
    }
    assert_says(&scene.run(&["status"]), 1, &["is stopped", "bindings that it knows: 3"]);
    assert_says(&scene.run(&["ack", &scene.binding("w1")]), 0, &["is acknowledged"]);
    assert!(scene.run(&["incidents"]).stdout.contains("No incident is open."), "what was said is kept");
    let watched = scene.run(&["rotation", "--watch"]);
    assert_eq!(watched.code(), Some(3));
    assert!(
        watched.stderr.contains("follows a keyward that runs") && !watched.stderr.contains("store"),
        "{}",
        watched.stderr
    );
}

#[test]
fn what_cannot_be_told_does_not_look_like_something_stale() {
    let home = Home::new();
    for command in ["status", "rotation", "incidents", "bindings"] {
        let finished = home.keyward(&[command]).run();
        assert_eq!(finished.code(), Some(3), "{command}: {}", finished.stderr);
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty());
    }
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    let unknown = scene.run(&["rotation", "nowhere"]);
    assert_eq!(unknown.code(), Some(3));
    assert!(unknown.stderr.contains("There is no key set"), "{}", unknown.stderr);
    assert_eq!(scene.run(&["bindings", "--state", "asleep"]).code(), Some(2));
    for (binding, said) in [("nothex", "at least 6"), ("0000000000", "no such binding")] {
        let finished = scene.run(&["ack", binding]);
        assert_eq!(finished.code(), Some(1));
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
    }
}

#[test]
fn events_are_followed_until_keyward_stops() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::new(&upstream);
    let all = scene.launch(&["events", "--follow"]).run_meanwhile();
    let outdated = scene.launch(&["events", "--follow", "--json", "--verdict", "outdated", "--workflow", "w1"]);
    let outdated = outdated.run_meanwhile();
    // A follower that begins after an exchange ended is not told of it.
    eventually("both to be told", || {
        scene.send("wf=w1;node=n1", OLD);
        scene.send("wf=w9", NEW);
        let told = all.log().contains("workflow w1, node n1") && all.log().contains("workflow w9");
        (told && outdated.log().contains("\"w1\"")).then_some(())
    });
    scene.stop();
    let (all, outdated) = (all.wait(), outdated.wait());
    assert_says(&all, 1, &["stale_binding", "GET /v1/models 200", "    1. "]);
    assert!(all.stderr.contains("the stream of events has ended"), "{}", all.stderr);
    for line in outdated.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["verdict"], &line["workflow_id"]), (&"outdated".into(), &"w1".into()));
    }
}

#[test]
fn names_that_others_gave_cannot_steer_the_terminal_and_lines_fit_it() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    let name = "%1b%5b2J%1b%5d0;evil%07%e2%80%ae".to_owned() + &"%e5%90%8d".repeat(40);
    scene.send(&format!("wf=w4;node=n4;name={name}"), OLD);
    for arguments in [&["rotation"][..], &["bindings"], &["incidents"], &["status"]] {
        let wide = scene.run(arguments);
        assert!(!wide.stdout.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{:?}", wide.stdout);
        let narrow = scene.launch(arguments).on_a_terminal_of(60).run();
        assert!(!narrow.stdout.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{:?}", narrow.stdout);
        for line in narrow.stdout.lines() {
            assert!(line.trim_end().width() <= 60, "{arguments:?}: {line}");
        }
        assert!(narrow.stdout.contains('…'), "{}", narrow.stdout);
    }
}

#[test]
fn without_a_token_no_command_says_that_no_keyward_runs_while_one_does() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::new(&upstream);
    scene.home.write(".local/state/keyward/admin.token", "");
    for arguments in [&["status"][..], &["bindings"], &["ack", "0123456789"]] {
        let finished = scene.run(arguments);
        let expected = if arguments == ["ack", "0123456789"] { 1 } else { 3 };
        assert_eq!(finished.code(), Some(expected));
        for said in ["there is no admin token to ask with", "it is empty"] {
            assert!(finished.stderr.contains(said), "{}", finished.stderr);
        }
        assert!(!finished.stderr.contains("No keyward runs"), "{}", finished.stderr);
    }
    scene.stop();
    assert!(scene.run(&["status"]).stdout.contains("keyward does not run"), "its store answers");
}

#[test]
fn an_empty_name_or_an_answer_of_another_program_is_told_as_that() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    for arguments in [["rotation", ""], ["ack", ""]] {
        let finished = scene.run(&arguments);
        assert!(finished.code() == Some(2) && finished.stderr.contains("a value is required"), "{}", finished.stderr);
    }
    let proxy = scene.keyward.as_ref().unwrap().listen.to_string();
    // It answers everything with a success, which is not one.
    let finished = scene.launch(&["status"]).env("KEYWARD_ADMIN_LISTEN", &proxy).run();
    assert!(
        finished.code() == Some(3) && finished.stderr.contains("gave no answer of keyward's"),
        "{}",
        finished.stderr
    );
}

/// A keyward of another version: its answers lack fields, and no missing field may be taken for none or nothing.
#[test]
fn an_answer_of_another_version_is_told_as_that_and_nothing_is_read_into_it() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    let recorded = include_str!("../data/0.1.0/rotation/api.json");
    let mut answers: Value = serde_json::from_str(recorded).unwrap();
    answers["GET status"]["body"]["version"] = "0.0.9".into();
    let other = FakeUpstream::scripted(move |visit| {
        let path = visit.head.line.split([' ', '?']).nth(1).unwrap().trim_start_matches("/api/v1/");
        let body = match path {
            "events" => "event: exchange\ndata: {\"verdict\":\"current\"}\n\n".to_owned(),
            _ => answers[format!("GET {path}")]["body"].to_string(),
        };
        visit.answer(&Answering::json(200, body));
    });
    for (arguments, code, missing) in [
        (&["status"][..], 3, "address"),
        (&["status", "--json"], 3, "address"),
        (&["rotation"], 3, "address"),
        (&["rotation", "default"], 3, "path"),
        (&["rotation", "default", "--can-go"], 3, "path"),
        (&["bindings"], 3, "path"),
        (&["incidents"], 3, "senders"),
        (&["events", "--follow"], 1, "timestamp"),
    ] {
        let finished = scene.launch(arguments).env("KEYWARD_ADMIN_LISTEN", &other.address().to_string()).run();
        assert_eq!((finished.code(), &*finished.stdout), (Some(code), ""), "{arguments:?}: {}", finished.stderr);
        let own = env!("CARGO_PKG_VERSION");
        for said in [
            format!("has version 0.0.9, and this command ({own}) cannot read its answer: missing field `{missing}`"),
            "Restart it if it was upgraded".to_owned(),
        ] {
            assert!(finished.stderr.contains(&said), "{arguments:?}: {}", finished.stderr);
        }
    }
}

/// `/dev/full` is a disk that is.
#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_no_answer() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    for arguments in [&["bindings", "--json"][..], &["status"], &["rotation"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = command(&scene, arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(3) && said.contains("could not be written: No space left"), "{said}");
    }
}

#[test]
fn events_and_a_watched_rotation_end_when_their_reader_is_gone() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    for arguments in [&["events", "--follow"][..], &["rotation", "--watch"]] {
        let mut child = command(&scene, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = eventually("its end", || {
            scene.send("wf=w1;node=n1", OLD);
            child.try_wait().unwrap()
        });
        assert_eq!(ended.code(), Some(i32::from(arguments[0] == "rotation")), "{arguments:?}");
    }
}

/// The binary, with its outputs to choose.
fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(arguments).args(["--config", "keyward.toml"]).current_dir(scene.home.path(""));
    command.env_clear().env("HOME", scene.home.path("")).env("KEYWARD_ADMIN_LISTEN", &scene.admin);
    command
}

const AT_ONCE: &str = "[keys.default]\ncurrent = { file = \"key\" }\n[rotation]\nquiet = \"0s\"\n";

/// The numbers of what can be accepted, with its texts.
fn doubts(scene: &Scene) -> Vec<(String, String)> {
    let told = scene.json(&["rotation", "default", "--can-go"]);
    let can_go = &told["sets"][0]["old_keys"][0]["can_go"];
    let lists = [&can_go["reasons"], &can_go["doubts"]].map(|list| list.as_array().unwrap().clone());
    let text = |bar: &Value, field: &str| bar[field].as_str().map(str::to_owned);
    let all = lists.into_iter().flatten();
    all.filter_map(|bar| Some((text(&bar, "doubt")?, text(&bar, "text")?))).collect()
}

#[test]
fn a_script_waits_until_the_old_key_can_go_and_a_person_accepts_what_cannot_be_proven() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::with(&upstream, AT_ONCE);
    assert_says(
        &scene.run(&["rotation", "default", "--can-go"]),
        1,
        &["Can the old key go?  NO: 1 node still sends it", "w1 (Report)", "still sends it"],
    );
    scene.send("wf=w1;node=n1;name=Report", NEW);
    let waiting = eventually("w1 to be done", || {
        Some(scene.run(&["rotation", "default", "--can-go"])).filter(|finished| finished.code() == Some(3))
    });
    assert!(waiting.stdout.contains("workflow w2, node n2 sent it last"), "{}", waiting.stdout);
    assert!(waiting.stdout.contains("keyward accept NUMBER --reason TEXT"), "{}", waiting.stdout);
    let unknown = scene.run(&["accept", "00000000", "--reason", "none"]);
    assert_eq!(unknown.code(), Some(1), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("No doubt that can be accepted has this number"), "{}", unknown.stderr);
    assert_eq!(scene.run(&["accept", "00000000"]).code(), Some(2), "a reason is wanted");
    let all = doubts(&scene);
    assert_eq!(all.len(), 2, "{all:?}");
    let (number, text) = &all[0];
    assert_says(&scene.run(&["accept", number, "--reason", "it was deleted"]), 0, &["accepted: ", text]);
    // The other one while keyward is down.
    scene.stop();
    assert_says(&scene.run(&["accept", &all[1].0, "--reason", "I looked myself"]), 0, &["accepted: "]);
    let answer = scene.run(&["rotation", "default", "--can-go"]);
    assert_says(&answer, 0, &["YES, with 2 accepted by you", "accepted: it was deleted", "accepted: I looked myself"]);
    assert_says(&scene.run(&["accept", number, "--withdraw"]), 0, &["taken back: "]);
    assert_eq!(scene.run(&["rotation", "default", "--can-go"]).code(), Some(3));
}

/// A thousand nodes that send the old key are a thousand reasons. An answer lists the first of each kind and counts all; the
/// others are had page by page, and the answer is the same however many are listed.
#[test]
fn of_many_reasons_the_first_are_listed_all_are_counted_and_all_can_be_had() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::with(&upstream, AT_ONCE);
    for number in 0..119 {
        scene.send(&format!("wf=m{number};node=n1;name=Many%20{number}"), OLD);
    }
    let keyward = scene.keyward.as_ref().unwrap();
    let of_api = |path: &str| -> Value { serde_json::from_slice(&keyward.admin(path).body).unwrap() };
    let can_go = || of_api("/api/v1/sets/default/rotation")["old_keys"][0]["can_go"].clone();
    let kind = |can_go: &Value, code: &str| {
        can_go["kinds"].as_array().unwrap().iter().find(|kind| kind["code"] == code).cloned().unwrap_or_default()
    };
    let told = eventually("all of them", || Some(can_go()).filter(|told| kind(told, "still_sent")["total"] == 120));
    let still_sent = kind(&told, "still_sent");
    assert_eq!(
        (&still_sent["senders"], &still_sent["nodes"], &still_sent["list"]),
        (&json!(120), &json!(120), &json!("reasons"))
    );
    assert_eq!((&told["answer"], told["reasons"].as_array().unwrap().len()), (&json!("no"), 100));
    assert_eq!(kind(&told, "silent")["total"], 1, "no kind is left out for another: {told}");
    // Page by page, each once.
    let (mut numbers, mut next) = (BTreeSet::new(), String::new());
    loop {
        let page = of_api(&format!("/api/v1/sets/default/reasons?code=still_sent&limit=50{next}"));
        assert_eq!(page["total"], 120);
        let rows = page["reasons"].as_array().unwrap();
        numbers.extend(rows.iter().map(|row| row["reason"]["doubt"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(numbers.len(), 120);
    // Programs have all of them, people have how many there are. One that is not listed is found by its number.
    for is_running in [true, false] {
        let whole = scene.json(&["rotation", "default"]);
        let reasons = whole["old_keys"][0]["can_go"]["reasons"].as_array().unwrap();
        let own: BTreeSet<_> =
            reasons.iter().filter_map(|reason| reason["doubt"].as_str().map(str::to_owned)).collect();
        assert_eq!((reasons.len(), &own), (120, &numbers), "running: {is_running}");
        let said = scene.run(&["rotation", "default", "--can-go"]);
        assert_says(
            &said,
            1,
            &["NO: 120 nodes still send it", "and 94 more", "20 more still send it: `keyward rotation --json`"],
        );
        assert!(said.stdout.lines().count() < 20, "{}", said.stdout);
        scene.stop_once();
    }
}

#[test]
fn without_an_old_key_there_is_no_yes() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-proj-current-0123456789abcdefgCuRr");
    let keyward = home.serve_for(&upstream).config("[keys.default]\ncurrent = { file = \"key\" }\n").start();
    // Rotated before keyward ran: the old key is one that no set has.
    ask_with(keyward.listen, "sk-proj-old-0123456789abcdefghijOlDd");
    let asked = home.keyward(&["rotation", "--can-go", "--config", "keyward.toml"]).run();
    assert_eq!(asked.code(), Some(3), "{} {}", asked.stdout, asked.stderr);
    assert!(asked.stderr.contains("knows of no old key") && asked.stderr.contains("previous"), "{}", asked.stderr);
}
