//! The commands beside `serve`: tokens are made, listed and revoked, keys listed and revoked, a configuration checked; and
//! a running keyward heeds them at once.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::client::{ask, ask_with, request};
use crate::process::{Finished, Home, Keyward, events, files_below};
use crate::support::{Answer, Answering, Client, FakeUpstream, Gate, eventually};

const CURRENT: &str = "sk-proj-current-0123456789abcdefCuRr";
const OTHER: &str = "sk-proj-other-0123456789abcdefghijOtHr";

const INJECT: &str = "[keys.default]\npolicy = \"inject\"\ncurrent = { file = \"key\" }\n\
                      [keys.staging]\ncurrent = { file = \"other\" }\n";

#[test]
fn a_token_works_in_a_running_keyward_until_it_is_revoked() {
    let (home, upstream) = (home(), FakeUpstream::taking(&[CURRENT]));
    let keyward = home.serve_for(&upstream).config(INJECT).start();
    let token = make_token(&home, &["default", "--name", "n8n"]);
    let asked =
        eventually("the token's welcome", || Some(ask_with(keyward.listen, &token)).filter(|it| it.status == 200));
    assert_eq!(asked.verdict(), "token");
    let seen = upstream.wait_for(1).pop().unwrap();
    assert_eq!(seen.head.header("authorization"), Some(&*format!("Bearer {CURRENT}")));
    let line = line_of(&keyward, "token");
    assert_eq!((&line["action"], &line["diagnosis"], &line["level"]), (&"inject".into(), &"ok".into(), &"info".into()));

    let revoked = run(&home, &["token", "revoke", "n8n"]);
    assert!(revoked.stdout.contains("is revoked"), "{}", revoked.stdout);
    let refused = eventually("the refusal", || Some(ask_with(keyward.listen, &token)).filter(|it| it.status == 401));
    assert_eq!(code(&refused), "unlisted_key");
    assert!(refused.text().contains("which was revoked"), "{}", refused.text());
    let is_told = || changes(&keyward).iter().any(|said| said.contains("of set `default` was revoked"));
    eventually("the change in the log", || is_told().then_some(()));
    let again = run(&home, &["token", "revoke", &token]);
    assert!(again.stdout.contains("was revoked before"), "by the token itself: {}", again.stdout);
}

#[test]
fn a_rotated_token_is_admitted_until_its_grace_ends_and_told_of_all_the_while() {
    let (home, upstream) = (home(), FakeUpstream::taking(&[CURRENT]));
    let keyward = home.serve_for(&upstream).config(INJECT).start();
    let old = make_token(&home, &["default", "--name", "n8n"]);
    let ask = |token: &str, node: &str| {
        let (authorization, tag) = (format!("Bearer {token}"), format!("wf=w1;node={node}"));
        ask(keyward.listen, "/v1/models", &[("Authorization", &authorization), ("X-N8N-Tag", &tag)])
    };
    eventually("the token's welcome", || (ask(&old, "n1").status == 200).then_some(()));
    let rotated = run(&home, &["token", "rotate", "n8n", "--grace", "1h"]);
    let new = rotated.stdout.trim_end().to_owned();
    assert!(new.starts_with("kw_") && new != old && !rotated.stderr.contains(&new[3..20]), "{}", rotated.stderr);
    eventually("the new token's welcome", || (ask(&new, "n2").status == 200).then_some(()));
    let told = eventually("the old token's mark", || {
        assert_eq!(ask(&old, "n1").status, 200, "its grace runs");
        events(&keyward.log(), "exchange").into_iter().find(|line| line["diagnosis"] == "replaced_token")
    });
    assert_eq!((&told["level"], &told["verdict"], &told["node_id"]), (&"warn".into(), &"token".into(), &"n1".into()));
    assert!(told["message"].as_str().unwrap().contains("it is admitted until"), "{told}");
    let list = |arguments: &[&str]| {
        let launch = home.keyward(&[&["token", "list"], arguments].concat()).config(INJECT);
        launch.env("KEYWARD_ADMIN_LISTEN", &keyward.admin.to_string()).run().stdout
    };
    let listed = eventually("who sends it", || Some(list(&[])).filter(|listed| listed.contains("is still sent by")));
    assert!(listed.contains("old, admitted until ") && listed.contains("  w1, node n1, last "), "{listed}");
    assert!(!listed.contains("node n2"), "{listed}");
    let json: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let [was, is] = [&json["tokens"][0], &json["tokens"][1]];
    assert_eq!((&was["name"], &is["name"], &is["replaced"]), (&"n8n".into(), &"n8n".into(), &Value::Null));
    assert_eq!(was["senders"][0]["who"], "w1, node n1", "{json}");
    // The name means the new one now, and once more has to be clear which one is meant.
    let again = run(&home, &["token", "rotate", "n8n", "--yes"]);
    let refused = eventually("the refusal", || Some(ask(&new, "n2")).filter(|it| it.status == 401));
    assert_eq!((refused.verdict(), &*code(&refused)), ("outdated", "replaced_token"));
    let names = format!("kw_…{}", &new[42..]);
    assert!(refused.text().contains(&names) && refused.text().contains("it was admitted until"), "{}", refused.text());
    assert_eq!(ask(&old, "n1").status, 200, "the first one's grace still runs");
    assert_eq!(ask(again.stdout.trim_end(), "n3").status, 200);
    let sent: Vec<_> =
        upstream.received().iter().filter_map(|it| it.head.header("authorization").map(str::to_owned)).collect();
    assert!(sent.iter().all(|sent| *sent == format!("Bearer {CURRENT}")), "no token goes upstream");
    keyward.stop();
}

#[test]
fn what_rotates_no_token_is_told_and_changes_nothing() {
    let home = home();
    make_token(&home, &["default", "--name", "n8n"]);
    let check = |arguments: &[&str], said: &str| {
        let finished = home.keyward(&[&["token", "rotate"], arguments].concat()).config(INJECT).run();
        assert_eq!((finished.code(), &*finished.stdout), (Some(1), ""), "{}", finished.stderr);
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
    };
    check(&["nope", "--yes"], "there is no such token");
    check(&["n8n", "--grace", "soon"], "`soon` is no span of grace");
    check(&["n8n"], "--grace 1d leaves it time");
    run(&home, &["token", "revoke", "n8n"]);
    check(&["n8n", "--yes"], "that token was revoked");
    let json: Value = serde_json::from_str(&run(&home, &["token", "list", "--json"]).stdout).unwrap();
    assert_eq!(json["tokens"].as_array().unwrap().len(), 1, "{json}");
}

#[test]
fn a_token_is_printed_once_and_kept_nowhere() {
    let home = home();
    let token = make_token(&home, &["default"]);
    assert!(token.starts_with("kw_") && token.len() == 46, "{token}");
    let listed = run(&home, &["token", "list"]);
    assert!(listed.stdout.contains(&format!("kw_…{}", &token[42..])), "{}", listed.stdout);
    assert!(!listed.stdout.contains(&token[3..20]));
    for (path, bytes) in files_below(&home.state()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(&token[3..20]), "{}", path.display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is its owner's alone", path.display());
    }
}

#[test]
fn tokens_are_listed_for_people_and_for_programs() {
    let home = home();
    let empty = run(&home, &["token", "list"]);
    assert!(empty.stdout.contains("There are no tokens yet"), "{}", empty.stdout);
    make_token(&home, &["default", "--name", "n8n production"]);
    make_token(&home, &["staging"]);
    run(&home, &["token", "revoke", "n8n production"]);
    let listed = run(&home, &["token", "list"]).stdout;
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("TOKEN") && lines.len() == 3, "{listed}");
    assert!(lines[1].contains("n8n production") && lines[1].contains("revoked 20"), "{listed}");
    assert!(lines[2].contains("its set only observes"), "{listed}");
    let json: Value = serde_json::from_str(&run(&home, &["token", "list", "--json"]).stdout).unwrap();
    assert_eq!(json["tokens"][0]["name"], "n8n production");
    assert_eq!((&json["tokens"][1]["set"], &json["tokens"][1]["revoked"]), (&"staging".into(), &Value::Null));
    assert_eq!(json["tokens"][1]["fingerprint"].as_str().unwrap().len(), 32);
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_state_folder() {
    let home = home();
    make_token(&home, &["default"]);
    let owner = fs::metadata(home.state()).unwrap().uid();
    // Only root can give a folder away, and is who has to leave it files.
    let owner = if owner == 0 { 65532 } else { owner };
    chown(home.state(), Some(owner), None).unwrap();
    make_token(&home, &["staging"]);
    for name in ["access.json", "access.lock"] {
        let metadata = fs::metadata(home.state().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (owner, 0o600), "{name}");
    }
}

#[test]
fn what_makes_no_token_is_told() {
    #[track_caller]
    fn check(arguments: &[&str], said: &str) {
        let home = home();
        make_token(&home, &["default", "--name", "taken"]);
        let finished = home.keyward(arguments).config(INJECT).run();
        assert_eq!(finished.code(), Some(1), "{arguments:?}");
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    }
    check(
        &["token", "new", "nope"],
        "no key set of that name; the configuration has: default, staging (--config names another one)",
    );
    check(&["token", "new", "default", "--name", "taken"], "a token of that name already");
    check(&["token", "new", "default", "--name", "\u{1b}[31m"], "a token's name has");
    check(&["token", "revoke", "nope"], "there is no such token");
    check(&["token", "revoke", ""], "there is no such token");
    check(&["token", "revoke", "kw_short"], "there is no such token");
    check(&["keys", "revoke", "1bf3"], "8 to 32 hex digits");
    check(&["keys", "revoke", "00000000"], "no key that keyward knows");
}

#[test]
fn a_token_for_a_set_that_observes_is_made_with_a_warning() {
    let home = home();
    let finished = home.keyward(&["token", "new", "staging"]).config(INJECT).run();
    assert_eq!(finished.code(), Some(0));
    assert!(finished.stderr.contains("Set `staging` only observes"), "{}", finished.stderr);
}

#[test]
fn many_tokens_made_at_once_are_all_kept() {
    let home = home();
    make_token(&home, &["default"]);
    let names: Vec<_> = (0..8).map(|number| format!("n{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let launch = home.keyward(&["token", "new", "default", "--name", name]);
                assert_eq!(launch.env("KEYWARD_CONFIG", "keyward.toml").run().code(), Some(0));
            });
        }
    });
    let listed = run(&home, &["token", "list"]).stdout;
    assert!(names.iter().all(|name| listed.contains(name.as_str())), "{listed}");
}

#[test]
fn keys_are_listed_by_their_public_names() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    home.serve_for(&upstream).config(INJECT).start().stop();
    home.write("key", OTHER);
    let keyward = home.serve_for(&upstream).config(INJECT).start();
    assert_eq!(ask_with(keyward.listen, OTHER).verdict(), "current");
    keyward.stop();
    let listed = run(&home, &["keys", "list"]).stdout;
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["SET", "ROLE", "KEY", "FINGERPRINT"]);
    assert_eq!(rows[1][..3], ["default", "current", "sk-proj-…OtHr"]);
    assert_eq!(rows[2][..3], ["default", "previous", "sk-proj-…CuRr"], "its value is long gone");
    assert_eq!(rows[3][..2], ["staging", "current"]);
    let json: Value = serde_json::from_str(&run(&home, &["keys", "list", "--json"]).stdout).unwrap();
    let fingerprint = json["keys"][0]["fingerprint"].as_str().unwrap();
    assert_eq!((fingerprint.len(), &fingerprint[..8]), (32, rows[1][3]));
    assert!(!listed.contains("0123456789") && !json.to_string().contains("0123456789"));
}

#[test]
fn a_key_on_standard_input_has_the_fingerprint_that_the_log_shows() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(INJECT).start();
    ask_with(keyward.listen, CURRENT);
    let logged = keyward.exchanges(1)[0]["fingerprint"].as_str().unwrap().to_owned();
    let printed = home.keyward(&["keys", "fingerprint"]).config(INJECT).input(&format!("{CURRENT}\n")).run();
    assert!(printed.stdout.starts_with(&logged), "{} {logged}", printed.stdout);
    assert!(printed.stdout.trim_end().ends_with("sk-proj-…CuRr"), "{}", printed.stdout);
    for (input, said) in [("", "the key is empty"), ("sk-canary two", "not visible ASCII at position 9")] {
        let refused = home.keyward(&["keys", "fingerprint"]).config(INJECT).input(input).run();
        assert_eq!(refused.code(), Some(1));
        assert!(refused.stderr.contains(said) && !refused.stderr.contains("canary"), "{}", refused.stderr);
    }
}

#[test]
fn a_compromised_key_is_refused_at_once_while_tokens_go_on() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(INJECT).start();
    let token = make_token(&home, &["default"]);
    eventually("the token's welcome", || (ask_with(keyward.listen, &token).status == 200).then_some(()));
    assert_eq!(ask_with(keyward.listen, CURRENT).verdict(), "current");
    let fingerprint = line_of(&keyward, "current")["fingerprint"].clone();
    let revoked = run(&home, &["keys", "revoke", fingerprint.as_str().unwrap()]);
    assert!(revoked.stdout.contains("it never admits again"), "{}", revoked.stdout);
    assert!(revoked.stderr.contains("It is the current key of set `default`"), "{}", revoked.stderr);
    let refused = eventually("the refusal", || Some(ask_with(keyward.listen, CURRENT)).filter(|it| it.status == 401));
    assert_eq!((refused.verdict(), code(&refused).as_str()), ("outdated", "stale_binding"));
    assert!(refused.text().contains("it was marked as compromised"), "{}", refused.text());
    assert_eq!(ask_with(keyward.listen, &token).status, 200);
    keyward.stop();
    let keyward = home.serve_for(&upstream).config(INJECT).start();
    assert_eq!(ask_with(keyward.listen, CURRENT).status, 401, "it outlives a restart");
}

#[test]
fn a_set_that_acts_does_not_start_without_its_current_key_but_one_that_observes_does() {
    let home = home();
    for policy in ["enforce", "inject"] {
        let config = format!("[keys.default]\npolicy = \"{policy}\"\ncurrent = {{ file = \"missing\" }}\n");
        let finished = home.serve().config(&config).run();
        assert_eq!(finished.code(), Some(1));
        for said in
            ["would not be safe to start", "`current` of set `default`", "file missing", "`keyward check` tells"]
        {
            assert!(finished.stderr.contains(said), "{said} is not in {}", finished.stderr);
        }
        assert!(events(&finished.stdout, "listening").is_empty(), "{}", finished.stdout);
    }
    let exception = "[keys.default]\ncurrent = { file = \"missing\" }\nworkflows.w1.policy = \"enforce\"\n";
    assert_eq!(home.serve().config(exception).run().code(), Some(1), "a set with an exception acts as well");
    let upstream = FakeUpstream::accepting();
    let keyward = home.serve_for(&upstream).config("[keys.default]\ncurrent = { file = \"missing\" }\n").start();
    assert_eq!(ask_with(keyward.listen, CURRENT).status, 200);
    let line = &keyward.exchanges(1)[0];
    assert!(line["remedy"].as_str().unwrap().starts_with("1. keyward could not read the current key"), "{line}");
}

#[test]
fn without_knowing_what_was_revoked_a_set_that_acts_does_not_start() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    make_token(&home, &["default"]);
    fs::write(home.state().join("access.json"), "{").unwrap();
    let finished = home.serve_for(&upstream).config(INJECT).run();
    assert_eq!(finished.code(), Some(1));
    assert!(finished.stderr.contains("access.json is damaged"), "{}", finished.stderr);
    let refused = home.keyward(&["token", "new", "default"]).config(INJECT).run();
    assert_eq!(refused.code(), Some(1), "nothing is written over it");
    assert_eq!(fs::read_to_string(home.state().join("access.json")).unwrap(), "{");
    let keyward = home.serve_for(&upstream).config("[keys.default]\ncurrent = { file = \"key\" }\n").start();
    assert_eq!(ask_with(keyward.listen, CURRENT).status, 200, "who only observes goes on");
}

#[test]
fn without_the_key_of_its_fingerprints_nothing_revoked_is_known_and_no_new_one_is_made() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    make_token(&home, &["default"]);
    fs::remove_file(home.state().join("fingerprint.key")).unwrap();
    for arguments in [&["check"][..], &["token", "new", "default"], &["keys", "list"]] {
        let finished = home.keyward(arguments).config(INJECT).run();
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains("fingerprint.key is missing"), "{arguments:?}: {said}");
    }
    let finished = home.serve_for(&upstream).config(INJECT).run();
    assert_eq!(finished.code(), Some(1));
    assert!(finished.stderr.contains("put it back, or delete both"), "{}", finished.stderr);
    assert!(!home.state().join("fingerprint.key").exists());
}

#[test]
fn a_state_folder_that_may_not_be_looked_into_is_not_taken_for_an_empty_one() {
    let (home, upstream) = (home(), FakeUpstream::accepting());
    make_token(&home, &["default"]);
    // What leave is missing to look into, for root as well: a link that leads to itself.
    let state = home.state();
    fs::rename(&state, home.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(&state, &state).unwrap();
    let finished = home.serve_for(&upstream).config(INJECT).run();
    assert_eq!(finished.code(), Some(1), "{}", finished.stdout);
    assert!(finished.stderr.contains("tokens and revoked keys are not known"), "{}", finished.stderr);
}

#[test]
fn health_is_good_until_keyward_stops() {
    let (home, gate) = (Home::new(), Gate::default());
    let held = gate.clone();
    let upstream = FakeUpstream::scripted(move |visit| {
        held.pass();
        visit.answer(&Answering::json(200, "{}"));
    });
    let keyward = home.serve_for(&upstream).start();
    let admin = keyward.admin.to_string();
    let ask = || home.keyward(&["health"]).env("KEYWARD_ADMIN_LISTEN", &admin).run();
    let good = ask();
    assert_eq!((good.code(), good.stdout.as_str()), (Some(0), "keyward lives and takes requests\n"), "{}", good.stderr);
    let mut client = Client::connect(keyward.listen);
    client.send(request("GET", "/v1/models", &[], b""));
    upstream.wait_for(1);
    keyward.signal(Signal::TERM);
    eventually("the draining", || (keyward.admin("/readyz").status == 503).then_some(()));
    let draining = ask();
    assert_eq!(draining.code(), Some(1), "{}", draining.stdout);
    assert!(
        draining.stderr.contains(&format!("takes no requests, says http://{admin}/readyz: draining")),
        "{}",
        draining.stderr
    );
    gate.open();
    assert_eq!(client.read().status, 200);
    assert_eq!(keyward.wait().code(), Some(0));
    let gone = ask();
    assert_eq!(gone.code(), Some(1), "{}", gone.stdout);
    assert!(gone.stderr.contains("does keyward run, and with these settings?"), "{}", gone.stderr);
}

#[test]
fn health_says_why_it_gets_no_answer_of_keyward() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&[CURRENT]));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = FakeUpstream::answering("SSH-2.0-OpenSSH_9.6\r\n\r\n");
    for (admin, said) in [
        ("off", "there is no listener to ask, because admin.listen is off: give it an address"),
        ("127.0.0.1:0", "the port of admin.listen is 0"),
        (&upstream.address().to_string(), "answers with 401: is that keyward's admin listener (admin.listen)?"),
        (&silent.local_addr().unwrap().to_string(), "with these settings?: timed out"),
        (&other.address().to_string(), "with these settings?: what came is no answer"),
    ] {
        let finished = home.keyward(&["health"]).env("KEYWARD_ADMIN_LISTEN", admin).run();
        assert_eq!(finished.code(), Some(1), "{}", finished.stdout);
        assert!(finished.stderr.contains(said), "{said} is not in {}", finished.stderr);
    }
}

#[test]
fn a_sound_configuration_passes_the_check() {
    let home = home();
    let finished = home.keyward(&["check"]).config(INJECT).run();
    assert_eq!(finished.code(), Some(0), "{}{}", finished.stdout, finished.stderr);
    let said = "ok       keys.default: policy inject, current key sk-proj-…CuRr (";
    assert!(finished.stdout.contains(said), "{}", finished.stdout);
    assert!(finished.stdout.ends_with("The configuration is sound.\n"), "{}", finished.stdout);
}

#[test]
fn fewer_descriptors_than_connections_need_are_told_of_at_start_and_by_the_check() {
    let home = home();
    let many = "[proxy]\nmax_connections = 400000000\n";
    let said =
        "proxy.max_connections: 400000000 needs 800000000 file descriptors, two for each connection, and this process";
    let finished = home.keyward(&["check"]).config(many).run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains(&format!("warning  {said}")), "{}", finished.stdout);
    let keyward = home.serve_for(&FakeUpstream::accepting()).config(many).start();
    let log = keyward.stop().log();
    assert!(log.contains(said), "{log}");
    let finished = home.keyward(&["check"]).config("[proxy]\nmax_connections = 10\n").run();
    assert!(!finished.stdout.contains("file descriptors"), "{}", finished.stdout);
}

#[test]
fn the_check_tells_all_that_is_wrong_and_all_that_is_unsafe_at_once() {
    let home = home();
    home.write("quoted", format!("\"{CURRENT}\""));
    home.write("token", "kw_0123456789012345678901234567890123456789012");
    fs::set_permissions(home.path("quoted"), fs::Permissions::from_mode(0o644)).unwrap();
    let config = "[proxy]\nlisten = \"0.0.0.0:0\"\nupstream = \"http://10.255.255.1:9\"\n[admin]\nlisten = \"0.0.0.0:0\"\n\
        [keys.default]\npolicy = \"inject\"\ncurrent = { file = \"quoted\" }\nnext = { file = \"missing\" }\n\
        previous = [{ file = \"token\" }]\ninject_until = 2025-01-01T00:00:00Z\nallow_from = [\"10.0.0.0/8\"]\n\
        allow_from_is_safe = true\n[keys.staging]\ncurrent = { file = \"other\" }\nnext = { file = \"other\" }\n\
        allow_from = [\"10.1.2.3\"]\n";
    let launch = home
        .keyward(&["check"])
        .config(config)
        .env("http_proxy", "http://user:canary@proxy:3128")
        .env("KEYWARD_ZZZ_PORT", "1");
    let finished = launch.env("KEYWARD_ADMIN_LISTEN", "").run();
    assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
    for said in [
        "problem  keys.default.current: file quoted holds its key in quotation marks.",
        "ok       keys.default.next: file missing is not there, so that no next key is announced",
        "problem  keys.default.previous: file token holds a token of keyward's",
        "warning  keys.default.current: every user of this machine can read quoted (mode 644)",
        "warning  keys.default.allow_from: everything that can connect from one of these addresses",
        "warning  keys.default.inject_until: it is over since 2025-01-01T00:00:00Z",
        "warning  keys.staging.next: this is the current key",
        "warning  keys.staging.allow_from: it has no effect with policy observe",
        "warning  proxy.allow_host: a browser with an address in allow_from",
        "warning  proxy.listen: 0.0.0.0:0 is reached from other machines without TLS",
        "warning  proxy.policy: everything that reaches 0.0.0.0:0 has a way to OpenAI with any key (set staging)",
        "warning  admin.listen: 0.0.0.0:0 is reached from other machines",
        "warning  proxy.upstream: http://10.255.255.1:9 is plain HTTP: the current keys that keyward puts in can be read on the way, by the \
         proxy http://proxy:3128 too",
        "ok       proxy.via: http://10.255.255.1:9 is reached through the proxy http://proxy:3128 (http_proxy)",
        "warning  environment: KEYWARD_ZZZ_PORT is no setting",
        "2 problems and 12 warnings: see above.",
    ] {
        assert!(finished.stdout.contains(said), "{said} is not in\n{}", finished.stdout);
    }
    assert!(!finished.stdout.contains("canary") && !finished.stdout.contains("0123456789"), "{}", finished.stdout);
    let json = home.keyward(&["check", "--json"]).config(config).run();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["findings"][0]["gravity"], "problem");
}

#[test]
fn a_configuration_that_cannot_be_read_fails_the_check_as_it_fails_the_start() {
    let home = Home::new();
    let finished = home.keyward(&["check"]).config("[proxy]\nlisen = 1\n[keys.default]\npolicy = \"strict\"\n").run();
    assert_eq!(finished.code(), Some(1));
    assert!(
        finished.stderr.contains("proxy.lisen") && finished.stderr.contains("keys.default.policy"),
        "{}",
        finished.stderr
    );
    for (path, looked_for) in [("/nowhere/keyward.toml", false), ("nowhere.toml", true)] {
        let finished = home.keyward(&["check", "--config", path]).run();
        assert_eq!(finished.code(), Some(2));
        let folder = format!("It is looked for in {}.", home.path("").canonicalize().unwrap().display());
        assert_eq!(finished.stderr.contains(&folder), looked_for, "{}", finished.stderr);
    }
}

#[test]
fn online_each_key_is_asked_for_and_its_standing_said_in_words() {
    const RESTRICTED: &str = "sk-proj-restricted-0123456789abcdefReSt";
    const DEAD: &str = "sk-proj-dead-0123456789abcdefghijkldEaD";
    let home = home();
    home.write("restricted", RESTRICTED);
    home.write("dead", DEAD);
    let upstream = FakeUpstream::scripted(|visit| {
        let key = visit.head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let (status, body) = match key {
            Some(CURRENT) => (200, "{\"object\":\"list\"}".to_owned()),
            Some(RESTRICTED) => (
                403,
                "{\"error\":\"You have insufficient permissions. Missing scopes: api.model.read. Check that\"}"
                    .to_owned(),
            ),
            _ => (
                401,
                format!(
                    "{{\"error\":{{\"message\":\"Incorrect API key provided: {DEAD}\",\"code\":\"invalid_api_key\"}}}}"
                ),
            ),
        };
        visit.answer(&Answering::json(status, body));
    });
    let sets = "[keys.default]\ncurrent = { file = \"key\" }\nnext = { file = \"restricted\" }\n";
    let config = format!("[proxy]\nupstream = \"{}\"\n{sets}", upstream.url());
    let finished = home.keyward(&["check", "--online"]).config(&config).run();
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    for said in [
        "ok       keys.default.current: key sk-proj-…CuRr (",
        ") is alive: upstream takes it",
        ") is restricted: upstream knows it, but not for the list of models (api.model.read)",
    ] {
        assert!(finished.stdout.contains(said), "{said} is not in\n{}", finished.stdout);
    }
    let seen = upstream.wait_for(2);
    assert!(seen.iter().all(|request| request.head.line == "GET /v1/models HTTP/1.1"), "it costs nothing");

    let dead = config.replace("file = \"restricted\"", "file = \"dead\"");
    let finished = home.keyward(&["check", "--online"]).config(&dead).run();
    assert_eq!(finished.code(), Some(1));
    assert!(finished.stdout.contains(") is dead: upstream says that it is no key"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("0123456789"), "{}", finished.stdout);

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("[proxy]\nupstream = \"http://{closed}\"\n{sets}");
    let finished = home.keyward(&["check", "--online"]).config(&gone).run();
    assert_eq!(finished.code(), Some(1));
    let said = "could not be asked for: upstream cannot be reached: no connection to 127.0.0.1:";
    assert!(finished.stdout.contains(said), "{}", finished.stdout);
}

/// A set that learns has no key to ask with.
#[test]
fn without_a_declared_key_the_check_sees_whether_upstream_is_there() {
    let (home, upstream) = (home(), FakeUpstream::taking(&[CURRENT]));
    let check = |upstream: &str| {
        home.keyward(&["check", "--online"]).config(&format!("[proxy]\nupstream = \"{upstream}\"\n")).run()
    };
    let finished = check(&upstream.url());
    assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
    assert!(finished.stdout.contains(" answers (with 401 to a request without a key)"), "{}", finished.stdout);
    let seen = upstream.wait_for(1);
    assert_eq!((seen.len(), seen[0].head.header("authorization")), (1, None));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let finished = check(&format!("http://{closed}"));
    assert_eq!(finished.code(), Some(1), "{}", finished.stdout);
    let said = " gives no answer: upstream cannot be reached: no connection to 127.0.0.1:";
    assert!(finished.stdout.contains(said), "{}", finished.stdout);
}

#[test]
fn a_code_is_explained_and_an_unknown_one_is_told_with_those_like_it() {
    let home = Home::new();
    let told = |arguments: &[&str]| home.keyward(arguments).run();
    let all = told(&["explain"]);
    for code in ["stale_binding", "malformed_url", "record_without_node", "draft_differs", "current_key_refused"] {
        assert!(all.stdout.contains(&format!("\n{code} ")), "{code}: {}", all.stdout);
    }
    let one = told(&["explain", "url", "--set", "team"]);
    assert_eq!(one.code(), Some(0));
    assert!(
        one.stdout.starts_with("malformed_url (diagnosis)\n  The key is an address\n  -> Open the"),
        "{}",
        one.stdout
    );
    let unknown = told(&["explain", "stale_bindings"]);
    assert_eq!((unknown.code(), &*unknown.stdout), (Some(1), ""));
    assert!(unknown.stderr.contains("there is no code `stale_bindings` (like it: stale_binding"), "{}", unknown.stderr);
    let json: Value = serde_json::from_str(&told(&["explain", "quiet", "--json"]).stdout).unwrap();
    assert_eq!((&json["codes"][0]["code"], &json["codes"][0]["kind"]), (&"quiet".into(), &"reason".into()));
}

#[test]
fn what_is_unsafe_is_said_at_each_start_too() {
    let home = home();
    fs::set_permissions(home.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let keyward = home.serve().config(INJECT).start();
    let said = eventually("the warnings", || Some(events(&keyward.log(), "check")).filter(|said| !said.is_empty()));
    assert!(said.iter().all(|line| line["level"] == "warn"), "{said:?}");
    assert!(said[0]["message"].as_str().unwrap().contains("can read key (mode 644)"), "{said:?}");
}

fn home() -> Home {
    let home = Home::new();
    for (name, key) in [("key", CURRENT), ("other", OTHER)] {
        home.write(name, format!("{key}\n"));
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    home
}

/// Makes a token and gives it.
#[track_caller]
fn make_token(home: &Home, arguments: &[&str]) -> String {
    run(home, &[&["token", "new"], arguments].concat()).stdout.trim_end().to_owned()
}

/// Runs a command that has to work.
#[track_caller]
fn run(home: &Home, arguments: &[&str]) -> Finished {
    let finished = home.keyward(arguments).config(INJECT).run();
    assert_eq!(finished.code(), Some(0), "{arguments:?}: {}", finished.stderr);
    finished
}

/// The line of an exchange with that verdict.
#[track_caller]
fn line_of(keyward: &Keyward, verdict: &str) -> Value {
    let is_it = |line: &Value| line["verdict"] == verdict;
    eventually("the line", || events(&keyward.log(), "exchange").into_iter().find(is_it))
}

fn changes(keyward: &Keyward) -> Vec<String> {
    events(&keyward.log(), "keys").iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

fn code(answer: &Answer) -> String {
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    json["error"]["code"].as_str().unwrap().to_owned()
}

/// A question that cannot be asked ends with 3, whatever is wrong with the configuration.
#[test]
fn a_configuration_that_cannot_be_read_or_makes_no_sense_leaves_every_question_open() {
    let home = Home::new();
    home.write("wrong.toml", "[keys.default]\ncurrent = { flie = \"key\" }\n");
    for command in ["status", "incidents", "rotation", "bindings"] {
        let wrong = home.keyward(&[command, "--config", "wrong.toml"]).run();
        let missing = home.keyward(&[command, "--config", "missing.toml"]).run();
        assert_eq!((wrong.code(), missing.code()), (Some(3), Some(3)), "{}{}", wrong.stderr, missing.stderr);
        assert!(wrong.stderr.contains("Did you mean `file`?"), "{}", wrong.stderr);
    }
    let nothing = home.keyward(&["status"]).env("KEYWARD_ADMIN_LISTEN", "127.0.0.1:1").run();
    assert_eq!(nothing.code(), Some(3));
    for said in ["no keyward runs at 127.0.0.1:1 (admin.listen)", "--config or KEYWARD_CONFIG"] {
        assert!(nothing.stderr.contains(said), "{}", nothing.stderr);
    }
}

#[test]
fn a_code_is_found_in_any_case_and_a_command_that_is_nearly_one_is_named() {
    let home = Home::new();
    let told = home.keyward(&["explain", "Stale_Binding"]).run();
    assert!(told.code() == Some(0) && told.stdout.starts_with("stale_binding (diagnosis)"), "{}", told.stderr);
    for arguments in [&["statsu"][..], &["help", "statsu"]] {
        let told = home.keyward(arguments).run();
        assert_eq!(told.code(), Some(2));
        assert!(told.stderr.contains("a similar subcommand exists: 'status'"), "{}", told.stderr);
    }
}
