//! New keys are taken without a restart: found by themselves or at SIGHUP, whole or not at all, and no request fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::process::client::ask_with;
use crate::process::{Home, Keyward, events};
use crate::support::{Client, FakeUpstream, Over, eventually};

const UNREADABLE_SINCE: &str = "keyward_keys_unreadable_since_timestamp_seconds";

const FILE: &str = "[keys.default]\ncurrent = { file = \"key\" }\nprevious = [{ file = \"old\" }]\n";

#[test]
fn a_new_key_in_the_file_is_current_and_the_old_one_outdated_since_then() {
    let (home, upstream) = (Home::with(&[("key", "sk-first"), ("old", "sk-old")]), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(FILE).start();
    // A connection that is kept remembers what its key was judged to be, and must look again.
    let mut kept = Client::connect(keyward.listen);
    let mut ask = |key: &str| kept.ask("/v1/models", &[("Authorization", &format!("Bearer {key}"))]);
    assert_eq!(ask("sk-first").verdict(), "current");
    home.write("key", "sk-second");
    wait_for_change(&keyward, 1);
    assert_eq!(ask("sk-first").verdict(), "outdated");
    assert_eq!(ask("sk-second").verdict(), "current");
    let told = &events(&keyward.log(), "keys")[0];
    assert!(told["message"].as_str().unwrap().starts_with("set `default` has a new current key: "), "{told}");
}

#[test]
fn a_file_that_is_swapped_by_a_link_is_read_anew() {
    let (home, upstream) = (Home::with(&[("key", "sk-first"), ("old", "sk-old")]), FakeUpstream::accepting());
    // As Kubernetes and Docker change a secret: a link to a folder is replaced by another.
    for (version, key) in [("v1", "sk-first"), ("v2", "sk-second")] {
        fs::create_dir(home.path(version)).unwrap();
        home.write(&format!("{version}/key"), key);
    }
    symlink("v1", home.path("now")).unwrap();
    let config = "[keys.default]\ncurrent = { file = \"now/key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
    symlink("v2", home.path("next")).unwrap();
    fs::rename(home.path("next"), home.path("now")).unwrap();
    wait_for_change(&keyward, 1);
    assert_eq!(ask_with(keyward.listen, "sk-second").verdict(), "current");
}

#[test]
fn a_reload_that_fails_keeps_all_keys_and_says_why_once() {
    let (home, upstream) = (Home::with(&[("key", "sk-first"), ("old", "sk-old")]), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(FILE).start();
    fs::remove_file(home.path("old")).unwrap();
    // At one go: a look at half a file would be another complaint.
    let put = |name: &str, text: &str| {
        home.write("draft", text);
        fs::rename(home.path("draft"), home.path(name)).unwrap();
    };
    put("key", "sk-second");
    let complaints = || events(&keyward.log(), "keys");
    eventually("the complaint", || (!complaints().is_empty()).then_some(()));
    assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
    assert_eq!(ask_with(keyward.listen, "sk-second").verdict(), "unknown");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 60..=now).contains(&keyward.metric(UNREADABLE_SINCE)));
    // Traffic comes first: the keys from before are as good as they were.
    assert_eq!(keyward.admin("/readyz").status, 200);
    let message = complaints()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the keys stay as they were: the key `previous` of set `default`"), "{message}");
    // Several looks later it was still told once; a SIGHUP has it told again.
    keyward.signal(Signal::HUP);
    eventually("the second complaint", || (complaints().len() == 2).then_some(()));
    put("old", "sk-old");
    eventually("the change and the all-clear", || (complaints().len() == 4).then_some(()));
    assert_eq!(complaints()[3]["message"], "all keys can be read again");
    assert_eq!(ask_with(keyward.listen, "sk-second").verdict(), "current");
    assert_eq!(keyward.metric(UNREADABLE_SINCE), 0);
}

#[test]
fn no_request_fails_in_a_thousand_reloads_and_each_is_judged_by_one_ring() {
    let (home, upstream) =
        (Home::with(&[("key", "sk-first"), ("old", "sk-old")]), FakeUpstream::taking(&["sk-even", "sk-uneven"]));
    let config = "[keys.default]\npolicy = \"inject\"\ngrace = \"1h\"\ncurrent = { file = \"key\" }\n";
    home.write("key", "sk-uneven");
    let token = home.keyward(&["token", "new", "default"]).config(config).run().stdout.trim_end().to_owned();
    let keyward = home.serve_for(&upstream).config(config).log_file("exchanges.log").start();
    let is_over = AtomicBool::new(false);
    let memory = thread::scope(|scope| {
        let ask = || {
            let mut client = Client::connect(keyward.listen);
            while !is_over.load(Ordering::Relaxed) {
                let verdicts = ["sk-even", "sk-uneven", &token].map(|key| {
                    let answer = client.ask("/v1/models", &[("Authorization", &format!("Bearer {key}"))]);
                    // Upstream takes these two keys alone: half a ring would lend none, or a third one.
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answer.verdict().to_owned()
                });
                let is_known = |verdict: &String| ["current", "outdated"].contains(&verdict.as_str());
                assert!(is_known(&verdicts[0]) && is_known(&verdicts[1]) && verdicts[2] == "token", "{verdicts:?}");
            }
        };
        // Both keys are proven: one that upstream never took admits no client, and before the first change one is in no set.
        prove(&keyward, "sk-uneven");
        home.write("key", "sk-even");
        wait_for_change(&keyward, 1);
        prove(&keyward, "sk-even");
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        let over = Over(&is_over);
        let mut memory = Vec::new();
        for round in 1..=1000 {
            home.write("draft", if round % 2 == 0 { "sk-even" } else { "sk-uneven" });
            fs::rename(home.path("draft"), home.path("key")).unwrap();
            keyward.signal(Signal::HUP);
            let key = if round % 2 == 0 { "sk-even" } else { "sk-uneven" };
            let is_current = || ask_with(keyward.listen, key).verdict() == "current";
            eventually("the change of keys", || is_current().then_some(()));
            if round % 250 == 0 {
                memory.push(keyward.resident());
            }
        }
        drop(over);
        for thread in asking {
            thread.join().unwrap();
        }
        memory
    });
    let (settled, last) = (memory[0], memory[memory.len() - 1]);
    assert!(last < settled + settled / 4 + (4 << 20), "memory stays flat: {memory:?}");
}

#[test]
fn a_key_that_was_replaced_is_nowhere_in_memory() {
    // Not one that has any part in common with another, or with a text of keyward's.
    const RETIRED: &str = "sk-proj-Zq7vWm3Xk9Lp2Rt8Yb5Nc1Hd6Jf4Gs0";
    const CURRENT: &str = "sk-proj-Tn4uBe8Oc2Iw6Ax0Vz3Mq7Kj1Ph5Fy9";
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", RETIRED);
    let config = "[keys.default]\npolicy = \"inject\"\ngrace = \"1h\"\ncurrent = { file = \"key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    assert!(keyward.memory_holds(RETIRED.as_bytes()), "as long as it is current it has to be there");
    home.write("key", CURRENT);
    wait_for_change(&keyward, 1);
    assert!(keyward.memory_holds(CURRENT.as_bytes()));
    assert!(!keyward.memory_holds(RETIRED.as_bytes()), "it is wiped, and known by its fingerprint alone");
    assert_eq!(ask_with(keyward.listen, RETIRED).verdict(), "outdated");
}

#[test]
fn what_stood_in_the_key_file_by_mistake_admits_no_client() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&["sk-first", "sk-second"]));
    home.write("key", "sk-first");
    let config = "[keys.default]\npolicy = \"inject\"\ngrace = \"24h\"\ncurrent = { file = \"key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    prove(&keyward, "sk-first");
    // As a shell truncates and writes it, and as a person mistypes it.
    for (number, written) in ["s", "sk-sec", "sk-second"].into_iter().enumerate() {
        home.write("key", written);
        wait_for_change(&keyward, number + 1);
    }
    for mistake in ["s", "sk-sec"] {
        let refused = ask_with(keyward.listen, mistake);
        assert_eq!((refused.status, refused.verdict()), (401, "outdated"), "{mistake}");
    }
    assert_eq!(ask_with(keyward.listen, "sk-first").status, 200, "upstream took that one");
    keyward.stop();
    let keyward = home.serve_for(&upstream).config(config).start();
    assert_eq!(["s", "sk-sec", "sk-first"].map(|key| ask_with(keyward.listen, key).status), [401, 401, 200]);
}

#[test]
fn what_can_be_no_key_takes_no_good_keys_place() {
    let (home, upstream) = (Home::with(&[("key", "sk-first"), ("old", "sk-old")]), FakeUpstream::accepting());
    let config = "[keys.default]\npolicy = \"enforce\"\ncurrent = { file = \"key\" }\n";
    let keyward = home.serve_for(&upstream).config(config).start();
    home.write("key", "undefined");
    // The file may be read before the word is in it, and told of as empty besides.
    let complaint = |event: &serde_json::Value| {
        event["message"].as_str().unwrap().ends_with("it holds the word `undefined` in place of a key")
    };
    let told = eventually("the complaint", || events(&keyward.log(), "keys").into_iter().find(complaint));
    assert_eq!((&told["level"], ask_with(keyward.listen, "sk-first").status), (&"error".into(), 200));
    keyward.stop();
    let finished = home.serve_for(&upstream).config(config).run();
    assert_eq!(finished.code(), Some(1), "nor does a set that acts start with it");
    assert!(finished.stderr.contains("it holds the word `undefined`"), "{}", finished.stderr);
}

/// Has upstream take a key, and waits until keyward has heard of it: the first exchange of a connection is over when the
/// second one is answered.
fn prove(keyward: &Keyward, key: &str) {
    let mut client = Client::connect(keyward.listen);
    for _ in 0..2 {
        assert_eq!(client.ask("/v1/models", &[("Authorization", &format!("Bearer {key}"))]).status, 200);
    }
}

fn wait_for_change(keyward: &Keyward, count: usize) {
    // A file that is just being written may be told of as empty besides.
    let changes = || events(&keyward.log(), "keys").into_iter().filter(|event| event["level"] == "info").count();
    eventually("the change of keys", || (changes() >= count).then_some(()));
}
