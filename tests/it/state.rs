//! The state folder and the places of keys: what outlives a restart, and that traffic comes first whatever is wrong there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::process::client::ask_with;
use crate::process::{Home, Keyward, Launch, events};
use crate::support::{FakeUpstream, eventually};

const STORE: &str = "KEYWARD_STORE_URL";

const FILE: &str = "[keys.default]\ncurrent = { file = \"key\" }\n";

#[test]
fn the_state_is_for_its_owner_alone() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).start();
    ask_with(keyward.listen, "sk-a");
    keyward.stop();
    assert_eq!(mode(&home.state()), 0o700);
    let files: Vec<_> = fs::read_dir(home.state()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "no drafts are left: {files:?}");
    for path in files {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(fs::read(home.state().join("fingerprint.key")).unwrap().len(), 32);
}

#[test]
fn a_second_keyward_on_one_state_folder_is_refused_and_the_commands_are_not() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let first = home.serve_for(&upstream).start();
    let second = home.keyward(&["serve", "--port", "0"]).run();
    assert_eq!(second.code(), Some(1), "{}", second.stderr);
    let folder = home.state().display().to_string();
    for said in ["another keyward runs on the state folder", &folder, "state.dir"] {
        assert!(second.stderr.contains(said), "{said}: {}", second.stderr);
    }
    assert_eq!(home.keyward(&["token", "new", "default"]).run().code(), Some(0));
    assert_eq!(ask_with(first.listen, "sk-a").verdict(), "unknown");
    // Killed, it leaves the file and no lock.
    first.signal(rustix::process::Signal::KILL);
    first.wait();
    home.serve_for(&upstream).start().stop();
}

#[test]
fn the_state_folder_can_be_chosen() {
    let home = Home::new();
    home.serve().env("KEYWARD_STATE_DIR", "a/b").start().stop();
    assert!(home.path("a/b/fingerprint.key").exists() && !home.state().exists());
    home.serve().env("XDG_STATE_HOME", home.path("xdg").to_str().unwrap()).start().stop();
    assert!(home.path("xdg/keyward/fingerprint.key").exists());
}

#[test]
fn a_key_that_was_replaced_while_keyward_was_down_is_outdated() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-old\n");
    let before = home.serve_for(&upstream).config(FILE).start();
    assert_eq!(ask_with(before.listen, "sk-old").verdict(), "current");
    let fingerprint = before.exchanges(1)[0]["fingerprint"].clone();
    before.stop();
    home.write("key", "sk-new\n");
    let after = home.serve_for(&upstream).config(FILE).start();
    assert_eq!(ask_with(after.listen, "sk-old").verdict(), "outdated");
    assert_eq!(ask_with(after.listen, "sk-new").verdict(), "current");
    let lines = after.exchanges(2);
    let stale = lines.iter().find(|line| line["verdict"] == "outdated").unwrap();
    assert_eq!((&stale["diagnosis"], &stale["fingerprint"]), (&"stale_binding".into(), &fingerprint));
    let message = stale["message"].as_str().unwrap();
    // Between two looks, which may fall into one second.
    let is_dated = message.contains("replaced between 2") || message.contains("replaced at 2");
    assert!(message.contains("a previous key of set `default`") && is_dated, "{message}");
}

#[test]
fn a_replaced_key_in_its_grace_is_a_warning() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let config = format!("{FILE}grace = \"24h\"\n");
    home.write("key", "sk-old");
    home.serve_for(&upstream).config(&config).start().stop();
    home.write("key", "sk-new");
    let keyward = home.serve_for(&upstream).config(&config).start();
    ask_with(keyward.listen, "sk-old");
    let line = &keyward.exchanges(1)[0];
    assert_eq!((&line["level"], &line["diagnosis"]), (&"warn".into(), &"stale_binding".into()), "{line}");
}

#[test]
fn what_was_learned_outlives_a_restart_and_a_kill() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let first = home.serve_for(&upstream).start();
    assert_eq!(verdicts(&first, &["sk-a", "sk-a"]), ["unknown", "current"]);
    // An untagged client is one binding for each key, so this is a second key in use and no switch.
    assert_eq!(verdicts(&first, &["sk-b"]), ["unknown"]);
    first.stop();
    let second = home.serve_for(&upstream).start();
    assert_eq!(verdicts(&second, &["sk-a", "sk-b", "sk-c"]), ["current", "current", "unknown"]);
    let fingerprint = second.exchanges(3).iter().find(|line| line["verdict"] == "unknown").unwrap().clone();
    wait_until_saved(&home, 3);
    second.signal(rustix::process::Signal::KILL);
    second.wait();
    let third = home.serve_for(&upstream).start();
    assert_eq!(verdicts(&third, &["sk-c"]), ["current"]);
    assert_eq!(third.exchanges(1)[0]["fingerprint"], fingerprint["fingerprint"]);
}

#[test]
fn a_key_may_end_in_white_space_in_its_file() {
    for text in ["sk-of-file", "sk-of-file\n", " sk-of-file\r\n\n", "\u{feff}sk-of-file\r\n"] {
        let (home, upstream) = (Home::new(), FakeUpstream::accepting());
        home.write("key", text);
        let keyward = home.serve_for(&upstream).config(FILE).start();
        assert_eq!(ask_with(keyward.listen, "sk-of-file").verdict(), "current", "{text:?}");
        assert!(events(&keyward.log(), "keys").is_empty());
    }
}

#[test]
fn a_key_that_cannot_be_had_is_told_with_its_reason_and_traffic_goes_on() {
    let missing = Home::new();
    check_unknown_key(&missing, missing.serve().config(FILE), &["file key", "No such file or directory"]);
    for (text, said) in [
        ("", "the key is empty"),
        ("\n", "the key is empty"),
        ("two words", "a key with white space"),
        ("sk-é", "at position 3"),
    ] {
        let home = Home::new();
        home.write("key", text);
        check_unknown_key(&home, home.serve().config(FILE), &["file key", said]);
    }
    let binary = Home::new();
    binary.write("key", [0xff, 0xfe, 0]);
    check_unknown_key(&binary, binary.serve().config(FILE), &["file key", "UTF-8"]);
    let folder = Home::new();
    fs::create_dir(folder.path("key")).unwrap();
    check_unknown_key(&folder, folder.serve().config(FILE), &["file key", "no regular file"]);
}

#[test]
fn a_variable_that_is_not_set_is_told_and_traffic_goes_on() {
    let config = "[keys.default]\ncurrent = { env = \"MY_KEY\" }\n";
    let home = Home::new();
    check_unknown_key(&home, home.serve().config(config), &["environment variable MY_KEY", "it is not set"]);
    let empty = Home::new();
    check_unknown_key(&empty, empty.serve().config(config).env("MY_KEY", ""), &["MY_KEY", "the key is empty"]);
}

#[test]
fn a_state_folder_that_cannot_be_used_costs_the_memory_and_no_request() {
    let home = Home::new();
    home.write("in-the-way", "");
    serves_without_state(home.serve().env("KEYWARD_STATE_DIR", "in-the-way"), &["in-the-way", "cannot be made"]);
    let nowhere = Home::new();
    let said = ["/proc/keyward", "cannot be made"];
    serves_without_state(nowhere.serve().env("KEYWARD_STATE_DIR", "/proc/keyward"), &said);
}

#[test]
fn a_disk_that_is_full_from_the_start_costs_the_memory_and_no_request_and_is_forgiven_later() {
    let home = Home::new();
    // No file may have a byte for the one keyward that this shell starts.
    let launch = home.serve_after("trap '' XFSZ; ulimit -f 0");
    serves_without_state(launch, &["fingerprint.key", "cannot be written", "File too large"]).stop();
    let later = home.serve().key("sk-current").start();
    assert!(events(&later.log(), "keys").is_empty(), "nothing half-made is left behind: {}", later.log());
}

#[test]
fn without_a_store_a_disk_that_fills_later_is_said_and_costs_no_request() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.serve_for(&upstream).env(STORE, "off").start().stop();
    let before = fs::read(home.state().join("history.json")).unwrap();
    symlink("/dev/full", home.state().join("history.json.new")).unwrap();
    let keyward = home.serve_for(&upstream).env(STORE, "off").start();
    assert_eq!(verdicts(&keyward, &["sk-a", "sk-a"]), ["unknown", "current"]);
    let said = eventually("the trouble", || events(&keyward.log(), "state").first().cloned());
    assert_eq!(said["level"], "error", "{said}");
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("history.json") && message.contains("No space left on device"), "{message}");
    assert_eq!(keyward.stop().code(), Some(0));
    assert_eq!(fs::read(home.state().join("history.json")).unwrap(), before, "the old one is whole");
}

#[test]
fn a_damaged_history_is_said_kept_and_costs_no_request() {
    for damaged in ["", "{\"version\":\"1\",\"sets\":{", "{\"version\":\"2\",\"sets\":{}}", "\u{0}\u{0}"] {
        let (home, upstream) = (Home::new(), FakeUpstream::accepting());
        let first = home.serve_for(&upstream).key("sk-current").start();
        ask_with(first.listen, "sk-current");
        let fingerprint = first.exchanges(1)[0]["fingerprint"].clone();
        first.stop();
        fs::write(home.state().join("history.json"), damaged).unwrap();
        let keyward = serves_and_says(home.serve(), &["rotations of before are not known", "history.json", "damaged"]);
        assert_eq!(keyward.exchanges(1)[0]["fingerprint"], fingerprint, "the fingerprint key is sound");
        keyward.stop();
        assert_eq!(fs::read_to_string(home.state().join("history.json")).unwrap(), damaged, "you may mend it");
    }
}

#[test]
fn without_a_store_a_file_remembers_rotations_and_a_store_takes_it_over_once() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-old\n");
    home.serve_for(&upstream).config(FILE).env(STORE, "off").start().stop();
    assert!(home.state().join("history.json").exists() && !home.store().exists());
    home.write("key", "sk-new\n");
    let keyward = home.serve_for(&upstream).config(FILE).start();
    assert_eq!(verdicts(&keyward, &["sk-old", "sk-new"]), ["outdated", "current"]);
    keyward.stop();
    let aside = home.state().join("history.json.imported");
    assert!(aside.exists() && !home.state().join("history.json").exists(), "a copy is kept aside");
    fs::remove_file(aside).unwrap();
    let keyward = home.serve_for(&upstream).config(FILE).start();
    assert_eq!(verdicts(&keyward, &["sk-old", "sk-new"]), ["outdated", "current"]);
}

#[test]
fn a_damaged_fingerprint_key_is_said_kept_and_costs_no_request() {
    for length in [0, 31, 33] {
        let home = Home::new();
        fs::create_dir_all(home.state()).unwrap();
        fs::write(home.state().join("fingerprint.key"), vec![7; length]).unwrap();
        let said = ["fingerprint.key", "damaged", "32 bytes"];
        serves_without_state(home.serve(), &said).stop();
        assert_eq!(fs::read(home.state().join("fingerprint.key")).unwrap().len(), length);
    }
}

#[test]
fn without_a_home_the_state_folder_has_to_be_named() {
    let home = Home::new();
    let named = home.serve().env("HOME", "").env("KEYWARD_STATE_DIR", "state").start();
    assert_eq!(named.stop().code(), Some(0));
}

/// With a key that is not to be had: said loudly, and everybody is served.
#[track_caller]
fn check_unknown_key(home: &Home, launch: Launch, said: &[&str]) {
    let upstream = FakeUpstream::accepting();
    let keyward = launch.upstream(&upstream).start();
    assert_eq!(verdicts(&keyward, &["sk-a"]), ["unknown"]);
    assert!(events(&keyward.log(), "listening")[0]["keys"].as_str().unwrap().contains("current key NOT KNOWN"));
    assert_trouble(&keyward, &[&["the key `current` of set `default` is not known"], said].concat());
    keyward.stop();
    assert!(home.store().exists());
}

/// Starts it: the trouble is said loudly, and everybody is served and judged.
#[track_caller]
fn serves_without_state(launch: Launch, said: &[&str]) -> Keyward {
    serves_and_says(launch, &[&["the state cannot be used, so rotations are forgotten"], said].concat())
}

#[track_caller]
fn serves_and_says(launch: Launch, said: &[&str]) -> Keyward {
    let upstream = FakeUpstream::accepting();
    let keyward = launch.upstream(&upstream).key("sk-current").start();
    assert_eq!(verdicts(&keyward, &["sk-current"]), ["current"]);
    assert_trouble(&keyward, said);
    keyward
}

#[track_caller]
fn assert_trouble(keyward: &Keyward, said: &[&str]) {
    let troubles = eventually("the trouble", || Some(events(&keyward.log(), "keys")).filter(|all| !all.is_empty()));
    assert_eq!((troubles.len(), &troubles[0]["level"]), (1, &"error".into()), "{troubles:?}");
    let message = troubles[0]["message"].as_str().unwrap();
    for text in said {
        assert!(message.contains(text), "{text} is not in {message}");
    }
}

#[track_caller]
fn verdicts(keyward: &Keyward, keys: &[&str]) -> Vec<String> {
    let verdict = |key: &&str| {
        let answer = ask_with(keyward.listen, key);
        assert_eq!(answer.status, 200, "traffic comes first");
        answer.verdict().to_owned()
    };
    keys.iter().map(verdict).collect()
}

#[track_caller]
fn wait_until_saved(home: &Home, keys: usize) {
    eventually("a saved history", || {
        let history: Vec<String> = home.rows("SELECT history FROM sets");
        (history.first()?.matches("\"since\"").count() == keys).then_some(())
    });
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
