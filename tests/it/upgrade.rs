//! What 0.1.0 left is taken over, and what it said is still said: its state folder is read without a loss, and its API, its
//! log, its metrics and its `--json` keep their fields, their types and their words.
//!
//! `tests/data/0.1.0` is what a walk with 0.1.0 left and what 0.1.0 then answered on it (its README says how it was
//! recorded). The same questions are put to the present binary, on a copy whose times are moved to now: so no age differs,
//! and nothing has been forgotten meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::process::client::request;
use crate::process::{Finished, Home, Keyward, events};
use crate::support::{Answering, Client, FakeUpstream, Head, Visit, eventually};

/// Words that came after 0.1.0: the field, and the word that may stand in it as well.
const ADDED: &[(&str, &str)] = &[
    ("code", "quiet"),
    ("code", "unsettled"),
    ("code", "record"),
    ("code", "record_without_node"),
    ("code", "record_holds_it"),
    ("code", "no_good_use"),
    ("code", "learning"),
    ("code", "waiting"),
    ("code", "running"),
    ("code", "unlisted_once"),
    ("code", "unlisted_workflow"),
    ("code", "unproven"),
    ("code", "scope_lacks"),
    ("code", "dormant"),
    ("code", "in_flight"),
    ("code", "room"),
    ("code", "clock"),
    ("code", "unclear_key"),
    ("code", "generic_auth"),
    ("code", "same_ids"),
    ("code", "gateway"),
    ("code", "asks_agent"),
    ("code", "not_looked_through"),
    ("code", "unknown_n8n"),
    ("code", "untold_executions"),
    ("state", "mixed"),
    ("state", "failing"),
    ("diagnosis", "mixed"),
    ("diagnosis", "wrong_path"),
    ("diagnosis", "gateway_key"),
    ("diagnosis", "other_project"),
    ("code", "mixed"),
];

/// What is no longer as 0.1.0 had it, on purpose: how its source begins (`GET status`, `command rotation`,
/// `exchange next key`, `log listening`, `metrics`; empty for all), the field, which stands for all below it, and why.
/// Both read as a failure of this test prints them.
const CHANGED: &[(&str, &str, &str)] = &[
    (
        "command n8n connect c3",
        "exit code",
        "no keyward saw its test, and nothing is known of what stood there: it is refused",
    ),
    ("command n8n connect c3", "", "the same: nothing is printed but the reason"),
];

#[test]
fn a_rotation_that_0_1_0_saw_goes_on() {
    let mut scene = Scene::start("rotation");
    scene.assert_nothing_is_lost();
    scene.assert_tokens_are_kept();
    scene.answers_as_before();
}

#[test]
fn what_0_1_0_learned_is_known() {
    let mut scene = Scene::start("learning");
    scene.assert_nothing_is_lost();
    scene.answers_as_before();
}

#[test]
fn a_field_that_is_gone_a_type_that_differs_and_a_new_word_are_found() {
    let old = json!({ "rows": [{ "id": "a", "due": null, "n": 1 }, { "id": "b", "due": "x", "n": 2 }], "note": "x" });
    let find = |new: &Value| -> Vec<String> {
        differences(&Shape::of([&old]), &Shape::of([new])).into_iter().map(|(path, what)| path + what).collect()
    };
    assert!(find(&old).is_empty());
    let more = json!({ "rows": [{ "id": "c", "due": 3, "n": null, "more": [] }], "note": null, "other": 1 });
    assert_eq!(find(&more), ["rows[].due has another type"]);
    assert_eq!(
        find(&json!({ "rows": [{ "id": "a", "due": null, "n": 1 }, { "id": "b", "due": null }] })),
        ["note is missing", "rows[].n is missing in places"]
    );
    assert_eq!(find(&json!({ "rows": [], "note": "x" })), ["rows has no entries"]);
    assert_eq!(find(&json!([])), [" has another type"]);
    let mut words = BTreeSet::new();
    words_in(&json!({ "a": [{ "state": "new", "id": "b" }] }), "", &mut words);
    assert_eq!(words.into_iter().collect::<Vec<_>>(), [("a[].state".to_owned(), "state".to_owned(), "new".to_owned())]);
}

// === The scene ===

/// A present keyward on a copy of what 0.1.0 left.
struct Scene {
    folder: PathBuf,
    home: Home,
    keyward: Option<Keyward>,
    /// They listen as long as this is.
    _others: [(&'static str, FakeUpstream); 3],
    admin: String,
    /// By how much all times were moved, in milliseconds.
    shift: i64,
    /// The words of 0.1.0, by field.
    words: BTreeSet<(String, String)>,
    /// What differs: where it was said, the field, and how.
    found: Vec<[String; 3]>,
}

impl Scene {
    #[track_caller]
    fn start(name: &str) -> Self {
        let folder = recordings().join(name);
        let home = Home::new();
        let shift = shift_to_now(&folder);
        let others = start_others();
        set_up(&folder, &home, shift, &others);
        let keyward = home.keyward(&["serve", "--config", "keyward.toml"]).start();
        let admin = keyward.admin.to_string();
        let words = known_words(&folder);
        let scene =
            Self { folder, home, keyward: Some(keyward), _others: others, admin, shift, words, found: Vec::new() };
        eventually("n8n to be read", || {
            let status = scene.ask("GET status");
            status["body"]["n8n"].as_array().unwrap().iter().all(|n8n| n8n["state"] == "ok").then_some(())
        });
        scene
    }

    fn recorded(&self, file: &str) -> Value {
        read_json(&self.folder.join(file))
    }

    /// Asks the API as the recorder did: `GET status`, and perhaps ` without a token`.
    fn ask(&self, question: &str) -> Value {
        let (method, path) = question.split_once(' ').unwrap();
        let keyward = self.keyward.as_ref().unwrap();
        let told = match path.strip_suffix(" without a token") {
            Some(path) => {
                let mut client = Client::connect(keyward.admin);
                let headers = [("Host", &*self.admin), ("Connection", "close")];
                client.send(own_host(&request(method, &format!("/api/v1/{path}"), &headers, b"")));
                client.read()
            }
            None => keyward.ask_admin(method, &format!("/api/v1/{path}")),
        };
        json!({ "status": told.status, "body": serde_json::from_slice::<Value>(&told.body).unwrap() })
    }

    fn run(&self, command: &str) -> Finished {
        let arguments: Vec<_> = command.split(' ').chain(["--json", "--config", "keyward.toml"]).collect();
        self.home.keyward(&arguments).env("KEYWARD_ADMIN_LISTEN", &self.admin).run()
    }

    /// That moment of the recording, as it is here.
    fn moved(&self, moment: &Value) -> Value {
        moment.as_str().map_or(Value::Null, |text| {
            let at: jiff::Timestamp = text.parse().unwrap();
            jiff::Timestamp::from_millisecond(at.as_millisecond() + self.shift).unwrap().to_string().into()
        })
    }
}

// === Nothing is lost ===

impl Scene {
    #[track_caller]
    fn assert_nothing_is_lost(&self) {
        self.assert_store_is_kept();
        let answers = self.recorded("api.json");
        let mut bindings = 0;
        for (question, old) in answers.as_object().unwrap() {
            if question.starts_with("GET bindings/") && old["status"] == 200 {
                self.assert_binding_is_kept(&old["body"], &self.ask(question)["body"]);
                bindings += 1;
            }
        }
        assert!(bindings > 3, "there are bindings to be kept");
        let incidents = &self.ask("GET incidents?limit=1000")["body"]["incidents"];
        for old in answers["GET incidents"]["body"]["incidents"].as_array().unwrap() {
            let new = find(incidents, "incident", &old["incident"]);
            assert_eq!((&new["binding"], &new["opened"]), (&old["binding"], &self.moved(&old["opened"])), "{new}");
            if !old["closed"].is_null() {
                assert_eq!(new["closed"]["at"], self.moved(&old["closed"]["at"]), "{new}");
                assert_eq!(new["closed"]["by"], old["closed"]["by"], "{new}");
            }
        }
        for old in answers["GET sets"]["body"]["sets"].as_array().unwrap() {
            let new = self.ask("GET sets")["body"]["sets"].clone();
            self.assert_set_is_kept(old, find(&new, "set", &old["set"]));
        }
    }

    /// Its shape is the one that it had, or it was brought into a later one and lies beside as it was.
    #[track_caller]
    fn assert_store_is_kept(&self) {
        let version = |path: &Path| {
            let store = Connection::open(path).unwrap();
            store.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
        };
        let aside = self.home.state().join(format!("keyward.db.{VERSION}"));
        if version(&self.home.store()) == VERSION {
            assert!(!aside.exists());
            return;
        }
        assert_eq!((version(&aside), fs::metadata(&aside).unwrap().permissions().mode() & 0o777), (VERSION, 0o600));
        let ids = |path: &Path| ids_of(&Connection::open(path).unwrap(), "bindings");
        assert_eq!(ids(&aside), ids(&self.folder.join("state/keyward.db")));
    }

    /// What was seen since is written into what was there.
    #[track_caller]
    fn assert_store_is_written(&self) {
        let store = eventually("all to be written", || {
            let store = self.ask("GET status")["body"]["store"].clone();
            (store["waiting"] == 0).then_some(store)
        });
        assert_eq!((&store["state"], &store["lost"]), (&json!("ok"), &json!(0)), "{store}");
    }

    #[track_caller]
    fn assert_binding_is_kept(&self, old: &Value, new: &Value) {
        for field in ["binding", "set", "holder", "instance", "workflow_id", "node_id", "client", "peer"] {
            assert_eq!(new[field], old[field], "{field} of {new}");
        }
        assert_eq!(new["acknowledged"], self.moved(&old["acknowledged"]), "{new}");
        for used in old["uses"].as_array().unwrap() {
            let kept = find(&new["uses"], "fingerprint", &used["fingerprint"]);
            assert_eq!((&kept["first"], &kept["last"]), (&self.moved(&used["first"]), &self.moved(&used["last"])));
            assert_eq!((&kept["sightings"], &kept["hint"]), (&used["sightings"], &used["hint"]), "{kept}");
        }
    }

    #[track_caller]
    fn assert_set_is_kept(&self, old: &Value, new: &Value) {
        for key in old["keys"].as_array().unwrap() {
            let kept = find(&new["keys"], "fingerprint", &key["fingerprint"]);
            assert_eq!((&kept["role"], &kept["hint"]), (&key["role"], &key["hint"]), "{kept}");
        }
        for key in old["old_keys"].as_array().unwrap() {
            let kept = find(&new["old_keys"], "fingerprint", &key["fingerprint"]);
            assert_eq!(kept["retired_by"], self.moved(&key["retired_by"]), "{kept}");
            assert_eq!(kept["last_use"], self.moved(&key["last_use"]), "{kept}");
        }
        assert_eq!((&new["learned"], &new["tokens"]), (&old["learned"], &old["tokens"]));
    }

    #[track_caller]
    fn assert_tokens_are_kept(&self) {
        let access = self.recorded("state/access.json");
        let listed: Value = serde_json::from_str(&self.run("token list").stdout).unwrap();
        for old in access["tokens"].as_array().unwrap() {
            let new = find(&listed["tokens"], "fingerprint", &old["key"]);
            assert_eq!((&new["set"], &new["name"]), (&old["set"], &old["name"]), "{new}");
            assert_eq!(new["revoked"].is_null(), old["revoked"].is_null(), "{new}");
        }
        let keys: Value = serde_json::from_str(&self.run("keys list").stdout).unwrap();
        let revoked = find(&keys["keys"], "fingerprint", &access["revoked_keys"][0]["key"]);
        assert!(!revoked["revoked"].is_null(), "{revoked}");
    }
}

// === It answers as before ===

impl Scene {
    /// Does what the recorder did, in its order, and fails with all that differs.
    #[track_caller]
    fn answers_as_before(&mut self) {
        self.compare_answers("api.json");
        self.keyward.as_mut().unwrap().hear_events();
        let commands = self.recorded("commands.json");
        let (running, down): (Vec<_>, Vec<_>) =
            commands.as_array().unwrap().iter().partition(|command| command["running"] == true);
        // The last ones were run after the exchanges.
        let first_late = running.iter().position(|command| is_of(command, "ack")).unwrap();
        self.compare_commands(&running[..first_late]);
        let lines = self.compare_exchanges();
        self.compare_answers("api-later.json");
        self.be_turned_away();
        self.compare_commands(&running[first_late..]);
        self.compare_metrics();
        self.replace_key();
        self.assert_store_is_written();
        let finished = self.keyward.take().unwrap().stop();
        "127.0.0.1:1".clone_into(&mut self.admin);
        self.compare_log(&finished.log());
        self.compare_events(&finished.events, &lines);
        self.compare_commands(&down);
        self.assert_only_what_changed_on_purpose();
    }

    fn compare_answers(&mut self, file: &str) {
        for (question, old) in self.recorded(file).as_object().unwrap() {
            let new = self.ask(question);
            self.compare(question, &old["body"], &new["body"]);
            self.check(new["status"] == old["status"], question, "status", format!("is {}", new["status"]));
        }
    }

    fn compare_commands(&mut self, commands: &[&Value]) {
        for old in commands {
            let command = old["command"].as_str().unwrap();
            let finished = self.run(command);
            let is_running = if old["running"] == true { "" } else { " without a running keyward" };
            let source = format!("command {command}{is_running}");
            let code = finished.code();
            self.check(old["code"] == json!(code), &source, "exit code", format!("is {code:?}: {}", finished.stderr));
            let new = serde_json::from_str(&finished.stdout).unwrap_or(Value::Null);
            self.check(new.is_null() == old["json"].is_null(), &source, "", format!("prints {new}"));
            self.compare(&source, &old["json"], &new);
        }
    }

    /// Sends one request of each kind; gives the lines.
    fn compare_exchanges(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        for old in self.recorded("exchanges.json").as_array().unwrap() {
            let keyward = self.keyward.as_ref().unwrap();
            let headers: Vec<_> = old["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (&**name, value.as_str().unwrap()))
                .collect();
            let mut client = Client::connect(keyward.listen);
            client.send(request("POST", old["path"].as_str().unwrap(), &headers, b"{}"));
            let told = client.read();
            let id = told.header("x-keyward-id").unwrap().to_owned();
            let line =
                eventually("the line", || events(&keyward.log(), "exchange").into_iter().find(|line| line["id"] == id));
            let ours: Vec<_> = old["ours"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|name| told.header(name.as_str().unwrap()).is_some())
                .collect();
            let said =
                if line["action"] == "refuse" { serde_json::from_slice(&told.body).unwrap() } else { Value::Null };
            let new = json!({ "status": told.status, "ours": ours, "answer": said, "line": line });
            let source = format!("exchange {}", old["kind"].as_str().unwrap());
            for field in ["status", "ours"] {
                self.check(new[field] == old[field], &source, field, format!("is {}", new[field]));
            }
            self.compare(&source, &old["line"], &line);
            self.compare(&source, &old["answer"], &new["answer"]);
            lines.push(line);
        }
        lines
    }

    /// Every series that there was is there, and is what it was.
    fn compare_metrics(&mut self) {
        let told = self.keyward.as_ref().unwrap().admin("/metrics").text();
        let new: BTreeSet<_> = told.lines().map(series).collect();
        for old in fs::read_to_string(self.folder.join("metrics.txt")).unwrap().lines() {
            self.check(new.contains(old), "metrics", old, "is missing".to_owned());
        }
    }

    /// For every event that was logged, its fields.
    fn compare_log(&mut self, log: &str) {
        for old in self.recorded("log.json").as_array().unwrap() {
            let event = old["event"].as_str().unwrap();
            let new = events(log, event);
            let source = format!("log {event}");
            self.check(!new.is_empty(), &source, "", "is missing".to_owned());
            if !new.is_empty() {
                self.note(&source, differences(&Shape::of([old]), &Shape::of(&new)));
            }
        }
    }

    /// The stream tells of the first and the last exchange what it told.
    fn compare_events(&mut self, stream: &str, lines: &[Value]) {
        let told: Vec<Value> =
            stream.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        let old = self.recorded("events.json");
        for (old, line) in [(&old[0], lines.first()), (&old[1], lines.last())] {
            let id = &line.unwrap()["id"];
            match told.iter().find(|told| told["id"] == *id) {
                Some(new) => self.compare("event", old, new),
                None => self.check(false, "event", "", format!("of {id} is missing")),
            }
        }
    }

    fn be_turned_away(&self) {
        let keyward = self.keyward.as_ref().unwrap();
        let mut client = Client::connect(keyward.listen);
        client.send(request("CONNECT", "api.openai.com:443", &[], b""));
        assert_eq!(client.read().status, 405);
        eventually("its line", || events(&keyward.log(), "refused_early").pop());
    }

    /// As a rotation does; where the key is learned, there is none to be replaced.
    fn replace_key(&self) {
        if self.home.path("keys/default").exists() {
            self.home.write("keys/default", "sk-proj-example-default-newer-0123456789abNEW5\n");
            eventually("the new key", || events(&self.keyward.as_ref().unwrap().log(), "keys").pop());
        }
    }

    fn compare(&mut self, source: &str, old: &Value, new: &Value) {
        self.note(source, differences(&Shape::of([old]), &Shape::of([new])));
        let mut said = BTreeSet::new();
        words_in(new, "", &mut said);
        for (path, field, word) in said {
            let is_added = ADDED.contains(&(&*field, &*word));
            let is_known = is_added || self.words.contains(&(field, word.clone()));
            self.check(is_known, source, &path, format!("has the new word {word}"));
        }
    }

    fn note(&mut self, source: &str, differences: Vec<(String, &str)>) {
        let differences = differences.into_iter();
        self.found.extend(differences.map(|(path, what)| [source.to_owned(), path, what.trim().to_owned()]));
    }

    fn check(&mut self, is_well: bool, source: &str, path: &str, what: String) {
        if !is_well {
            self.found.push([source.to_owned(), path.to_owned(), what]);
        }
    }

    #[track_caller]
    fn assert_only_what_changed_on_purpose(&self) {
        let is_on_purpose = |[source, path, _]: &&[String; 3]| {
            CHANGED.iter().any(|(of, field, _why)| {
                let below = path.strip_prefix(field);
                source.starts_with(of) && below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        };
        let found: Vec<_> =
            self.found.iter().filter(|found| !is_on_purpose(found)).map(|found| found.join(" | ")).collect();
        assert!(found.is_empty(), "not as 0.1.0 had it:\n{}", found.join("\n"));
    }
}

// === Shapes ===

/// What several values have in common, and what differs among them.
#[derive(Default)]
struct Shape {
    /// The types, but for null.
    types: BTreeSet<&'static str>,
    objects: usize,
    /// The fields of the objects, with the number of objects that have each.
    fields: BTreeMap<String, (usize, Shape)>,
    /// The entries of the lists.
    entries: Option<Box<Shape>>,
}

impl Shape {
    fn of<'v>(values: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut shape = Self::default();
        values.into_iter().for_each(|value| shape.add(value));
        shape
    }

    fn add(&mut self, value: &Value) {
        self.types.extend(type_of(value));
        if let Value::Object(object) = value {
            self.objects += 1;
            for (name, value) in object {
                let (count, of_field) = self.fields.entry(name.clone()).or_default();
                *count += 1;
                of_field.add(value);
            }
        }
        for entry in value.as_array().into_iter().flatten() {
            self.entries.get_or_insert_default().add(entry);
        }
    }
}

/// Nothing for null, which may stand in every place.
fn type_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("boolean"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("list"),
        Value::Object(_) => Some("object"),
    }
}

/// What of the old shape is not in the new one: fields, and what of them.
fn differences(old: &Shape, new: &Shape) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    differ("", old, new, &mut found);
    found
}

fn differ(path: &str, old: &Shape, new: &Shape, found: &mut Vec<(String, &'static str)>) {
    if !old.types.is_empty() && !new.types.is_subset(&old.types) {
        found.push((path.to_owned(), " has another type"));
        return;
    }
    for (name, (count, old_field)) in &old.fields {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match new.fields.get(name) {
            // Null stands for the whole object.
            None if new.objects == 0 => {}
            None => found.push((field, " is missing")),
            Some((new_count, _)) if *count == old.objects && *new_count < new.objects => {
                found.push((field, " is missing in places"));
            }
            Some((_, new_field)) => differ(&field, old_field, new_field, found),
        }
    }
    match (&old.entries, &new.entries) {
        (Some(old), Some(new)) => differ(&format!("{path}[]"), old, new, found),
        (Some(_), None) if !new.types.is_empty() => found.push((path.to_owned(), " has no entries")),
        (Some(_) | None, _) => {}
    }
}

/// Every word in the value: its path, its field and itself.
fn words_in(value: &Value, path: &str, found: &mut BTreeSet<(String, String, String)>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let Some(word) = value.as_str().filter(|_| WORDS.contains(&&**name)) {
            found.insert((field.clone(), name.clone(), word.to_owned()));
        }
        words_in(value, &field, found);
    }
    let below = format!("{path}[]");
    value.as_array().into_iter().flatten().for_each(|entry| words_in(entry, &below, found));
}

/// The words that 0.1.0 said in all of the recording, and those that its document of the API has.
fn known_words(folder: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for file in ["api.json", "api-later.json", "commands.json", "exchanges.json", "events.json"] {
        words_in(&read_json(&folder.join(file)), "", &mut found);
    }
    let mut words: BTreeSet<_> = found.into_iter().map(|(_, field, word)| (field, word)).collect();
    for (field, listed) in read_json(&recordings().join("words.json")).as_object().unwrap() {
        words.extend(listed.as_array().unwrap().iter().map(|word| (field.clone(), word.as_str().unwrap().to_owned())));
    }
    words
}

// === The copy ===

/// Upstream and both n8n, each with what stands for its address in the recording.
fn start_others() -> [(&'static str, FakeUpstream); 3] {
    let rules = read_json(&recordings().join("upstream.json"));
    let n8n = read_json(&recordings().join("n8n.json"));
    let upstream = FakeUpstream::scripted(move |visit| {
        let (_, path) = asked(&visit.head);
        let bearer = visit.head.header("authorization").unwrap_or_default().to_owned();
        let fits = |rule: &&Value| {
            let [of_path, key] = [0, 1].map(|part| rule[part].as_str().unwrap());
            path.starts_with(of_path) && (key.is_empty() || bearer == format!("Bearer {key}"))
        };
        let rule = rules.as_array().unwrap().iter().find(fits).unwrap();
        tell(visit, &rule[2], &rule[3]);
    });
    let start = |name: &str| {
        let told = n8n[name].clone();
        FakeUpstream::scripted(move |visit| {
            if visit.head.header("x-n8n-api-key") != told["api_key"].as_str() {
                return tell(visit, &json!(401), &json!({ "message": "unauthorized" }));
            }
            let (method, path) = asked(&visit.head);
            match told["answers"].get(format!("{method} {}", path.trim_start_matches("/api/v1/"))) {
                Some(answer) => tell(visit, &answer[0], &answer[1]),
                None => tell(visit, &json!(404), &json!({ "message": "Not Found" })),
            }
        })
    };
    [("@UPSTREAM@", upstream), ("@N8N_MAIN@", start("main")), ("@N8N_LAB@", start("lab"))]
}

/// The method, and the path without its query.
fn asked(head: &Head) -> (String, String) {
    let mut words = head.line.split(' ');
    let method = words.next().unwrap().to_owned();
    (method, words.next().unwrap().split('?').next().unwrap().to_owned())
}

/// The status 0 ends the connection without a word.
fn tell(visit: &mut Visit<'_>, status: &Value, body: &Value) {
    match u16::try_from(status.as_u64().unwrap()).unwrap() {
        0 => {
            let _ = visit.body();
            visit.close();
        }
        status => visit.answer(&Answering::json(status, body.to_string())),
    }
}

/// Puts config, keys and state there.
fn set_up(folder: &Path, home: &Home, shift: i64, others: &[(&str, FakeUpstream)]) {
    let fill = |text: String| others.iter().fold(text, |text, (mark, other)| text.replace(mark, &other.url()));
    for name in ["keys", ".local/state/keyward"] {
        fs::create_dir_all(home.path(name)).unwrap();
    }
    home.write("keyward.toml", fill(fs::read_to_string(folder.join("keyward.toml")).unwrap()));
    for (from, into) in [("keys", "keys"), ("state", ".local/state/keyward")] {
        let Ok(files) = fs::read_dir(folder.join(from)) else { continue };
        for file in files.map(|file| file.unwrap().path()) {
            let name = format!("{into}/{}", file.file_name().unwrap().to_str().unwrap());
            let mut bytes = fs::read(&file).unwrap();
            if file.extension().is_some_and(|end| end == "json") {
                let mut value = serde_json::from_slice(&bytes).unwrap();
                move_times(&mut value, shift);
                bytes = fill(value.to_string()).into_bytes();
            }
            let path = home.write(&name, bytes);
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    move_store(&Connection::open(home.store()).unwrap(), shift);
}

/// From when it was recorded until now, in whole seconds.
fn shift_to_now(folder: &Path) -> i64 {
    let line = read_json(&folder.join("log.json"))[0]["timestamp"].as_str().unwrap().to_owned();
    let recorded: jiff::Timestamp = line.parse().unwrap();
    (jiff::Timestamp::now().as_second() - recorded.as_second()) * 1000
}

/// The store's times, in the shape that it had in 0.1.0.
fn move_store(store: &Connection, shift: i64) {
    assert_eq!(store.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), VERSION);
    for (table, columns) in [
        ("writers", &["seen"][..]),
        ("bindings", &["seen", "latest_at", "well", "acknowledged", "accepted_at"]),
        ("uses", &["first", "last"]),
        ("incidents", &["opened", "last", "closed"]),
    ] {
        for column in columns {
            store.execute(&format!("UPDATE {table} SET {column} = {column} + ?1"), [shift]).unwrap();
        }
    }
    // An hour begins with an hour. Those of one recording are few and follow one another, so none becomes another one.
    store.execute("UPDATE hours SET hour = (hour + ?1) / 3600000 * 3600000", [shift]).unwrap();
    for id in ids_of(store, "bindings") {
        let mut visits: Vec<u8> =
            store.query_row("SELECT visits FROM bindings WHERE id = ?1", [id], |row| row.get(0)).unwrap();
        for (place, four) in visits.chunks_exact_mut(4).enumerate() {
            // The last request, then each visit's beginning and a hash.
            if place == 0 || place % 2 == 1 {
                let seconds = i64::from(u32::from_le_bytes(four.try_into().unwrap())) + shift / 1000;
                four.copy_from_slice(&u32::try_from(seconds).unwrap().to_le_bytes());
            }
        }
        store.execute("UPDATE bindings SET visits = ?2 WHERE id = ?1", (id, visits)).unwrap();
    }
    let mut sets = store.prepare("SELECT name, history FROM sets").unwrap();
    let sets: Vec<(String, String)> =
        sets.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    for (name, history) in sets {
        let mut history: Value = serde_json::from_str(&history).unwrap();
        move_times(&mut history, shift);
        store.execute("UPDATE sets SET history = ?2 WHERE name = ?1", (name, history.to_string())).unwrap();
    }
}

/// Every number that is a time in milliseconds, of this century.
fn move_times(value: &mut Value, shift: i64) {
    match value {
        Value::Number(number) => {
            if let Some(at) = number.as_i64().filter(|at| *at > 1_500_000_000_000) {
                *value = (at + shift).into();
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| move_times(entry, shift)),
        Value::Object(object) => object.values_mut().for_each(|value| move_times(value, shift)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn ids_of(store: &Connection, table: &str) -> BTreeSet<i64> {
    let mut statement = store.prepare(&format!("SELECT id FROM {table}")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

// === Parts ===

/// The entry of a list that has that value in that field.
#[track_caller]
fn find<'v>(list: &'v Value, field: &str, value: &Value) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|entry| entry[field] == *value);
    found.unwrap_or_else(|| panic!("{field} {value} is not in {list}"))
}

fn is_of(command: &Value, name: &str) -> bool {
    command["command"].as_str().unwrap().split(' ').next() == Some(name)
}

/// A line of the metrics without its value, and without the labels of buckets and workers.
fn series(line: &str) -> String {
    if line.starts_with('#') {
        return line.to_owned();
    }
    let (name, _) = line.rsplit_once(' ').unwrap();
    let Some((name, labels)) = name.split_once('{') else { return name.to_owned() };
    let labels = labels.trim_end_matches('}').split(',');
    let kept: Vec<_> = labels.filter(|label| !label.starts_with("le=") && !label.starts_with("worker=")).collect();
    format!("{name}{{{}}}", kept.join(","))
}

/// The admin listener heeds the host.
fn own_host(request: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(request).replacen("Host: keyward\r\n", "", 1).into_bytes()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/0.1.0")
}

/// The version of the store's shape in 0.1.0.
const VERSION: i64 = 3;

/// The fields whose values are words of a closed list.
const WORDS: [&str; 19] = [
    "action",
    "answer",
    "attribution",
    "by",
    "client",
    "code",
    "diagnosis",
    "holder",
    "level",
    "outcome",
    "policy",
    "role",
    "severity",
    "silence",
    "stage",
    "state",
    "verdict",
    "when",
    "workflow_state",
];
