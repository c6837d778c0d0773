//! Keys that commands give: run by a keyward that serves and by `check --online`, again and again, and never by anything else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::client::ask_with;
use crate::process::{Home, Keyward};
use crate::support::{FakeUpstream, eventually};

/// A home with a program that prints the file `key`, and ends with what stands in `code`. It counts how often it is run.
fn home() -> Home {
    let home = Home::with(&[("key", "sk-first"), ("code", "0")]);
    let folder = home.path("").display().to_string();
    let script =
        format!("#!/bin/sh\ncd {folder}\necho x >> runs\necho sk-canary-aside >&2\ncat key\nexit $(cat code)\n");
    let path = home.write("give", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    home
}

fn config(home: &Home, more: &str) -> String {
    let program = home.path("give").display().to_string();
    format!("[keys.default]\ncurrent = {{ command = [\"{program}\"], every = \"5s\", timeout = \"5s\" }}\n{more}")
}

fn runs(home: &Home) -> usize {
    fs::read_to_string(home.path("runs")).map_or(0, |runs| runs.lines().count())
}

fn problem(keyward: &Keyward) -> Option<Value> {
    let told: Value = serde_json::from_slice(&keyward.admin("/api/v1/problems").body).unwrap();
    told["problems"].as_array().unwrap().iter().find(|one| one["code"] == "key_unreadable").cloned()
}

#[test]
fn a_key_is_what_a_command_gives_and_another_one_when_it_gives_another() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(&config(&home, "grace = \"1h\"\n")).start();
    assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
    assert_eq!(runs(&home), 1, "once at the start");
    home.write("key", "sk-second");
    keyward.signal(Signal::HUP);
    eventually("the new key", || (ask_with(keyward.listen, "sk-second").verdict() == "current").then_some(()));
    assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "outdated");
    // By itself as well.
    home.write("key", "sk-third");
    eventually("the third key", || (ask_with(keyward.listen, "sk-third").verdict() == "current").then_some(()));
    assert!(!keyward.log().contains("canary"), "{}", keyward.log());
    home.assert_no_canary(&[]);
    keyward.stop();
}

#[test]
fn while_it_gives_none_the_key_from_before_stays_and_that_is_told() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(&config(&home, "")).start();
    home.write("code", "4");
    keyward.signal(Signal::HUP);
    let told = eventually("the problem", || problem(&keyward));
    let text = told["text"].as_str().unwrap();
    let program = home.path("give").display().to_string();
    let expected = format!("the key `current` of set `default` is not known: command {program}");
    assert!(text.contains(&expected) && text.contains("exit status: 4"), "{text}");
    assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
    home.write("code", "0");
    home.write("key", "NONE");
    eventually("what it gives", || problem(&keyward).filter(|told| told.to_string().contains("it holds")));
    assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
    home.write("key", "sk-first");
    eventually("its end", || problem(&keyward).is_none().then_some(()));
    assert!(!keyward.log().contains("canary"), "{}", keyward.log());
    keyward.stop();
}

#[test]
fn without_a_first_key_nothing_that_acts_is_started_and_commands_that_read_the_settings_run_nothing() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    home.write("code", "1");
    let refused = home.serve_for(&upstream).config(&config(&home, "policy = \"enforce\"\n")).run();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("it ended with exit status: 1"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("canary"), "{}", refused.stderr);
    let before = runs(&home);
    home.write("code", "0");
    let checked = home.keyward(&["check"]).config(&config(&home, "")).run();
    let said = "gives the key, and was not tried: it is run by `keyward serve` and `keyward check --online` alone";
    let one_line = checked.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(checked.code() == Some(0) && one_line.contains(said), "{}{}", checked.stdout, checked.stderr);
    home.keyward(&["keys", "list"]).config(&config(&home, "")).run();
    assert_eq!(runs(&home), before);
    let proxy = format!("[proxy]\nupstream = \"{}\"\n", upstream.url());
    let checked = home.keyward(&["check", "--online"]).config(&config(&home, &proxy)).run();
    assert!(checked.stdout.contains("current key"), "{}{}", checked.stdout, checked.stderr);
    assert_eq!(runs(&home), before + 1);
}

#[test]
fn a_reload_takes_another_command_and_runs_one_that_stays_once() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(&config(&home, "")).start();
    home.write("key", "sk-second");
    home.write("keyward.toml", config(&home, "grace = \"1h\"\n").replace("5s\" }", "6s\" }"));
    let answer = keyward.ask_admin("POST", "/api/v1/reload").json();
    assert_eq!(answer["result"], "taken", "{answer}");
    assert_eq!(ask_with(keyward.listen, "sk-second").verdict(), "current");
    keyward.stop();
}

#[test]
fn what_is_no_command_is_refused_with_what_is_allowed() {
    let home = Home::new();
    for (place, said) in [
        ("{ command = \"op read\" }", "are lists of texts: no shell reads them"),
        ("{ command = [] }", "The command is empty"),
        ("{ command = [\"op\"] }", "The program has to be an absolute path"),
        ("{ command = [\"/bin/op\", 3] }", "are lists of texts"),
        ("{ command = [\"/bin/op\"], every = \"1s\" }", "`every` is from 5s to 1d"),
        ("{ command = [\"/bin/op\"], timeout = \"2m\" }", "`timeout` is from 1s to 60s"),
        ("{ command = [\"/bin/op\"], pass = [\"A=b\"] }", "`pass` names environment variables"),
        ("{ command = [\"/bin/op\"], file = \"key\" }", "and nothing else"),
    ] {
        let refused = home.keyward(&["check"]).config(&format!("[keys.default]\ncurrent = {place}\n")).run();
        let told = [refused.stdout, refused.stderr].concat().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(said) && told.contains("keys.default.current"), "{place}: {told}");
    }
    let elsewhere = "[n8n.main]\nurl = \"http://n8n:5678\"\napi_key = { command = [\"/bin/op\"] }\n";
    let refused = home.keyward(&["check"]).config(elsewhere).run();
    let told = [refused.stdout, refused.stderr].concat().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("A command gives keys of sets alone"), "{told}");
}

#[test]
fn a_file_that_does_not_change_while_a_unit_runs_is_told_of() {
    let home = Home::new();
    let of_systemd = "[keys.default]\ncurrent = { file = \"/run/credentials/keyward.service/openai\" }\n";
    let checked = home.keyward(&["check"]).config(of_systemd).run();
    let told = [checked.stdout, checked.stderr].concat().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("when the unit starts: another key in it takes a restart."), "{told}");
}
