//! `keyward rotate`, against an OpenAI whose admin API answers as its reference says (and as networks do: not at all, or with
//! an error after it has done what was asked), and an n8n that answers as 2.41.1 was seen to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::client::ask;
use crate::process::{Finished, Home, Keyward, Launch};
use crate::support::{API_KEY, Answering, FakeN8n, FakeUpstream, NODE, Visit, WORKFLOW, eventually};

const ADMIN: &str = "sk-admin-canary-0123456789abcdef";
const OLD: &str = "sk-svcacct-canary-old-0123456789abcdOLDk";

#[test]
fn one_command_replaces_a_key_and_ends_the_old_one() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let rotating = scene.rotate(&["--yes", "--all-scopes", "--report", "report.md"]).run_meanwhile();
    let new = eventually("the new key in n8n", || Some(scene.n8n.key_of("c1")).filter(|key| key != OLD));
    eventually("the switch", || (scene.read("current") == format!("{new}\n")).then_some(()));
    scene.uses(&new, 2);
    let done = rotating.wait();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    for step in [
        "1 ready    done",
        "2 new_key  done",
        "5 n8n      done",
        "6 current  done",
        "7 watch    done",
        "8 revoke   done",
    ] {
        assert!(done.stdout.contains(step), "{step} is not in\n{}", done.stdout);
    }
    let keys = scene.openai.keys();
    assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), ["key_1"], "the old one is deleted: {keys:?}");
    assert_eq!(keys["key_1"].value, new);
    assert!(!scene.home.path("next").exists() && !scene.home.path("current.previous").exists());
    let report = scene.read("report.md");
    for said in ["result | done", "key_old", "key_1", "Report (wf1)", "confirmed"] {
        assert!(report.contains(said), "{said} is not in\n{report}");
    }
    scene.assert_no_secret(&done);
    assert!(scene.openai.admin_keys_upstream().is_empty(), "the admin key went to the admin API alone");
    assert_eq!(scene.rotate(&["--last", "--report", "last.json"]).run().code(), Some(0));
    let last: Value = serde_json::from_str(&scene.read("last.json")).unwrap();
    assert_eq!((&last["result"], &last["new_key"]["id"]), (&"done".into(), &"key_1".into()));
    let confirmed = last["consumers"][0]["confirmed"].as_str().expect("a moment");
    assert!(last["began"].as_str().unwrap() <= confirmed, "{last}");
    let again = scene.rotate(&["--yes", "--all-scopes", "--until", "new_key", "--report", "second.json"]).run();
    assert_eq!(again.code(), Some(0), "{}{}", again.stdout, again.stderr);
    assert_eq!(scene.openai.keys().len(), 2, "another rotation begins: {}", scene.read("second.json"));
}

#[test]
fn what_openai_made_and_did_not_tell_of_is_found_by_its_name_and_deleted() {
    for trouble in [Trouble::CutOffAfterMint, Trouble::ErrorAfterMint, Trouble::ConflictAfterMint] {
        let scene = Scene::start(trouble);
        scene.until_record_is_known();
        let done = scene.rotate(&["--yes", "--all-scopes", "--until", "new_key"]).run();
        assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
        let keys = scene.openai.keys();
        assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), ["key_2", "key_old"], "{trouble:?}");
        assert_eq!(scene.read("next"), format!("{}\n", keys["key_2"].value));
        assert!(scene.read(".local/state/keyward/rotations.json").contains("key_2"));
        scene.assert_no_secret(&done);
    }
}

#[test]
fn a_list_that_is_not_whole_is_no_proof_of_anything() {
    let scene = Scene::start(Trouble::CutOffAfterMint);
    scene.openai.set(Trouble::PartialList);
    let refused = scene.rotate(&["--yes", "--all-scopes"]).run();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stdout.contains("admin_api") && refused.stdout.contains("is not whole"), "{}", refused.stdout);
    assert_eq!(scene.openai.keys().len(), 1, "nothing was made");
}

#[test]
fn stopped_at_any_step_it_goes_on_where_it_was() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let mut arguments = vec!["--yes", "--all-scopes", "--until"];
    for step in ["ready", "new_key", "probe", "next", "n8n", "current"] {
        let done = scene.rotate(&[&arguments[..], &[step]].concat()).run();
        assert_eq!(done.code(), Some(0), "{step}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.stdout.matches(" done ").count(), 1, "{}", done.stdout);
        arguments = vec!["--yes", "--all-scopes", "--resume", "--until"];
    }
    let again = scene.rotate(&["--yes"]).run();
    assert!(again.stderr.contains("--resume goes on, --abort takes it back"), "{}", again.stderr);
    assert_eq!(scene.openai.keys().len(), 2, "one key was made");
}

#[test]
fn a_journal_that_cannot_be_written_costs_no_key_and_it_goes_on_once_it_can() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    // Where the journal is written before it takes the place of the one of before.
    let draft = scene.home.state().join("rotations.json.new");
    let until = |step: &str, resumes: &[&str]| {
        let done = scene.rotate(&[&["--yes", "--all-scopes", "--until", step], resumes].concat()).run();
        scene.assert_no_secret(&done);
        done
    };
    let stopped = |step: &str, resumes: &[&str], head: &str| {
        std::fs::create_dir(&draft).unwrap();
        let done = until(step, resumes);
        assert_eq!(done.code(), Some(1), "{step}: {}{}", done.stdout, done.stderr);
        let told = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let said =
            format!("{head} stopped the journal cannot be written, and without it nothing more is done. Make room");
        assert!(told.contains(&said), "{said} is not in {told}");
        std::fs::remove_dir(&draft).unwrap();
        done
    };
    let done = stopped("new_key", &[], "1 ready");
    assert!(done.stderr.contains("Nothing is changed yet"), "{}", done.stderr);
    assert_eq!(until("ready", &[]).code(), Some(0));
    let done = stopped("new_key", &["--resume"], "2 new_key");
    assert!(done.stderr.contains("keyward rotate default --resume goes on here"), "{}", done.stderr);
    assert!(scene.openai.keys().len() == 1 && !scene.home.path("next").exists(), "no key was made");
    assert_eq!(until("next", &["--resume"]).code(), Some(0));
    stopped("n8n", &["--resume"], "5 n8n");
    assert_eq!(scene.n8n.key_of("c1"), OLD, "no credential was changed");
    let done = until("current", &["--resume"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.openai.keys().len(), 2, "one key was made");
    assert_eq!(scene.read("current").trim(), scene.n8n.key_of("c1"));
}

/// The first question names the deletion, so that one answer is enough where the proof rests on nothing else.
#[test]
fn one_answer_has_the_key_replaced_and_the_old_one_deleted() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let rotating = scene.rotate(&["--all-scopes", "--report", "report.md"]).answers("yes\nno\n").run_meanwhile();
    scene.switches(2);
    let done = rotating.wait();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.openai.keys().into_keys().collect::<Vec<_>>(), ["key_1"]);
    assert!(
        done.stderr.contains("and delete it at OpenAI once nothing sends it? [yes / keep / no]"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("for good?"), "{}", done.stderr);
    let told = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("delete it (key_old) for good") && told.contains("one process behind each address"),
        "{told}"
    );
    assert!(scene.read("report.md").contains("you agreed to the deletion of key_old"));
    scene.assert_no_secret(&done);
}

#[test]
fn who_keeps_the_old_key_is_asked_again_before_it_is_deleted() {
    for (first, options) in [("keep", &[][..]), ("y", &["--despite", "never_seen", "--because", "it is known"])] {
        let scene = Scene::start(Trouble::None);
        scene.uses(OLD, 1);
        scene.until_record_is_known();
        let rotating = scene.rotate(&[&["--all-scopes"], options].concat());
        let rotating = rotating.answers(&format!("{first}\nno\n")).run_meanwhile();
        scene.switches(2);
        let done = rotating.wait();
        assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains("(key_old) at OpenAI for good? [y/N]"), "{}", done.stderr);
        assert!(scene.openai.is_alive(OLD), "{first}");
        let done = scene.rotate(&["--resume"]).answers("y\n").run();
        assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
        assert!(!scene.openai.is_alive(OLD), "{first}");
    }
}

#[test]
fn what_is_no_whole_word_begins_nothing() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    for answers in ["no\n", "\n", "y\ny\ny\n"] {
        let done = scene.rotate(&["--all-scopes"]).answers(answers).run();
        assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains("nothing was begun"), "{}", done.stderr);
    }
    assert_eq!(scene.openai.keys().len(), 1);
    assert!(!scene.home.state().join("rotations.json").exists());
}

/// A proof that rests on what you accepted or acknowledged is another one than you agreed to.
#[test]
fn what_is_accepted_after_the_answer_has_it_ask_again() {
    for way in ["accepted", "acknowledged"] {
        let scene = Scene::start(Trouble::None);
        scene.uses(OLD, 1);
        let untagged = ask(scene.keyward.listen, "/v1/models", &[("Authorization", &format!("Bearer {OLD}"))]);
        assert_eq!(untagged.status, 200);
        scene.until_record_is_known();
        let rotating = scene.rotate(&["--all-scopes"]).answers("yes\nno\n").run_meanwhile();
        scene.switches(2);
        eventually("the question", || {
            let text = scene.keyward.admin("/api/v1/sets/default/rotation").text();
            let told: Value = serde_json::from_str(&text).unwrap();
            for reason in told["old_keys"][0]["can_go"]["reasons"].as_array().into_iter().flatten() {
                let path = match (way, &reason["binding"], &reason["doubt"]) {
                    ("acknowledged", Value::String(binding), _) => format!("/api/v1/bindings/{binding}/ack"),
                    ("accepted", Value::String(_), Value::String(doubt)) => {
                        format!("/api/v1/doubts/{doubt}/accept?reason=gone")
                    }
                    _ => continue,
                };
                scene.keyward.ask_admin("POST", &path);
            }
            rotating.stderr().contains("for good? [y/N]").then_some(())
        });
        let done = rotating.wait();
        assert_eq!(done.code(), Some(1), "{way}: {}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains(&format!("you {way}")), "{way}: {}", done.stderr);
        assert!(scene.openai.is_alive(OLD), "{way}");
    }
}

#[test]
fn killed_while_it_waits_the_answer_still_holds_and_only_for_that_key() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let rotating = scene.rotate(&["--all-scopes"]).answers("yes\n").run_meanwhile();
    scene.switches(2);
    eventually("the wait", || rotating.stderr().contains("Waiting until the old key can go").then_some(()));
    rotating.signal(rustix::process::Signal::KILL);
    rotating.wait();
    let path = scene.home.state().join("rotations.json");
    let journal = std::fs::read_to_string(&path).unwrap();
    let mut other: Value = serde_json::from_str(&journal).unwrap();
    if other["runs"][0]["ended"].is_null() {
        other["runs"][0]["deletion"]["id"] = "key_other".into();
        std::fs::write(&path, other.to_string()).unwrap();
        let done = scene.rotate(&["--resume"]).run();
        assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
        assert!(scene.openai.is_alive(OLD));
        std::fs::write(&path, journal).unwrap();
        let done = scene.rotate(&["--resume"]).run();
        assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    }
    assert!(!scene.openai.is_alive(OLD));
}

#[test]
fn a_look_at_what_stands_against_it_lists_the_keys_once() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let done = scene.rotate(&["--all-scopes", "--until", "ready"]).answers("y\n").run();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let lists = scene.openai.admin.received().iter().filter(|asked| asked.head.line.contains("/api_keys?")).count();
    assert_eq!(lists, 1);
    assert!(scene.read(".local/state/keyward/rotations.json").contains("key_old"), "its id is noted");
}

#[test]
fn killed_at_any_moment_no_live_key_is_missing_from_the_journal() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let mut options = vec!["--yes", "--all-scopes", "--until", "current"];
    for delay in (0..).map(|tens| Duration::from_millis(20 * tens)) {
        let rotating = scene.rotate(&options).run_meanwhile();
        std::thread::sleep(delay);
        rotating.signal(rustix::process::Signal::KILL);
        let done = rotating.wait();
        let journal = std::fs::read_to_string(scene.home.state().join("rotations.json")).unwrap_or_default();
        let next = std::fs::read_to_string(scene.home.path("next")).unwrap_or_default();
        for (id, key) in scene.openai.keys() {
            let is_ordered = !key.name.is_empty() && journal.contains(&key.name);
            let is_known = journal.contains(&id) || is_ordered || next.trim() == key.value;
            assert!(id == "key_old" || is_known, "{id} called {} is nowhere in {journal}", key.name);
        }
        let held = scene.n8n.key_of("c1");
        assert!(scene.openai.is_alive(&held), "n8n holds a key that OpenAI takes");
        assert!(scene.openai.is_alive(scene.read("current").trim()), "so does the key file");
        if done.code() == Some(0) {
            break;
        }
        if journal.contains("\"step\"") {
            options = vec!["--yes", "--all-scopes", "--resume", "--until", "current"];
        }
        assert!(delay < Duration::from_secs(20), "it never comes to its end");
    }
    let new = scene.read("current");
    assert_eq!((scene.n8n.key_of("c1"), scene.read("current.previous")), (new.trim().to_owned(), format!("{OLD}\n")));
    assert_eq!(scene.openai.keys().len(), 2, "{:?}", scene.openai.keys());
}

#[test]
fn killed_while_the_old_key_is_deleted_it_comes_to_its_end() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    assert_eq!(scene.rotate(&["--yes", "--all-scopes", "--until", "current"]).run().code(), Some(0));
    scene.uses(scene.read("current").trim(), 2);
    let watched = scene.rotate(&["--yes", "--resume", "--until", "watch"]).run();
    assert_eq!(watched.code(), Some(0), "{}{}", watched.stdout, watched.stderr);
    for delay in (0..).map(|tens| Duration::from_millis(10 * tens)) {
        let rotating = scene.rotate(&["--yes", "--resume"]).run_meanwhile();
        std::thread::sleep(delay);
        rotating.signal(rustix::process::Signal::KILL);
        let done = rotating.wait();
        assert!(scene.openai.is_alive(scene.read("current").trim()), "the last good key lives");
        assert!(scene.openai.keys().contains_key("key_1"), "{:?}", scene.openai.keys());
        if done.code() == Some(0) || done.stderr.contains("has no rotation that goes on") {
            break;
        }
        assert!(delay < Duration::from_secs(10), "it never comes to its end: {}{}", done.stdout, done.stderr);
    }
    assert!(!scene.openai.is_alive(OLD) && !scene.home.path("current.previous").exists());
    let journal: Value = serde_json::from_str(&scene.read(".local/state/keyward/rotations.json")).unwrap();
    assert_eq!(journal["runs"][0]["ended"]["how"], "done");
}

#[test]
fn an_api_key_of_n8n_that_may_not_change_records_is_told_before_anything_changes() {
    let scene = Scene::start(Trouble::None);
    scene.n8n.forbids("PATCH credentials/");
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let refused = scene.rotate(&["--yes", "--all-scopes"]).run();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stdout.contains("n8n_scope") && refused.stdout.contains("credential:update"), "{}", refused.stdout);
    assert_eq!(scene.openai.keys().len(), 1);
}

#[test]
fn it_can_be_taken_back_until_the_old_key_is_deleted() {
    for step in ["new_key", "n8n", "current"] {
        let scene = Scene::start(Trouble::None);
        scene.uses(OLD, 1);
        scene.until_record_is_known();
        assert_eq!(scene.rotate(&["--yes", "--all-scopes", "--until", step]).run().code(), Some(0));
        let done = scene.rotate(&["--yes", "--abort"]).run();
        assert_eq!(done.code(), Some(0), "{step}: {}{}", done.stdout, done.stderr);
        assert_eq!((scene.n8n.key_of("c1"), scene.read("current")), (OLD.to_owned(), format!("{OLD}\n")));
        assert!(!scene.home.path("next").exists() && !scene.home.path("current.previous").exists(), "{step}");
        assert_eq!(scene.openai.keys().into_keys().collect::<Vec<_>>(), ["key_old"], "{step}");
        scene.assert_no_secret(&done);
    }
}

#[test]
fn what_sends_the_old_key_past_keyward_keeps_it_alive() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let rotating = scene.rotate(&["--yes", "--all-scopes", "--until", "watch"]).run_meanwhile();
    let new = eventually("the new key in n8n", || Some(scene.n8n.key_of("c1")).filter(|key| key != OLD));
    eventually("the switch", || (scene.read("current") == format!("{new}\n")).then_some(()));
    scene.uses(&new, 2);
    let done = rotating.wait();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    scene.openai.used("key_old", jiff::Timestamp::now().as_second() + 3600);
    let refused = scene.rotate(&["--yes", "--resume"]).run();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stdout.contains("something sends it past keyward"), "{}", refused.stdout);
    assert!(scene.openai.is_alive(OLD));
}

#[test]
fn what_sends_the_old_key_while_you_are_asked_keeps_it_alive() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let rotating = scene.rotate(&["--yes", "--all-scopes", "--until", "watch"]).run_meanwhile();
    let new = eventually("the new key in n8n", || Some(scene.n8n.key_of("c1")).filter(|key| key != OLD));
    eventually("the switch", || (scene.read("current") == format!("{new}\n")).then_some(()));
    scene.uses(&new, 2);
    let done = rotating.wait();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    scene.openai.has_late_sender(scene.keyward.listen);
    let refused = scene.rotate(&["--yes", "--resume"]).run();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stdout.contains("the old key cannot go any more"), "{}{}", refused.stdout, refused.stderr);
    assert!(scene.openai.is_alive(OLD));
}

#[test]
fn without_an_account_you_make_and_delete_the_keys() {
    const NEW: &str = "sk-proj-canary-new-0123456789abcdeNEWk";
    let scene = Scene::with(Trouble::None, false);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    let nothing = scene.rotate(&["--yes"]).run();
    assert!(nothing.stdout.contains("no_new_key"), "{}{}", nothing.stdout, nothing.stderr);
    scene.openai.make("key_mine", NEW, "mine");
    let rotating = scene.rotate(&["--yes", "--new-key", "stdin"]).input(&format!("{NEW}\n")).run_meanwhile();
    eventually("the switch", || (scene.read("current") == format!("{NEW}\n")).then_some(()));
    scene.uses(NEW, 2);
    let done = rotating.wait();
    assert_eq!(done.code(), Some(1));
    let told = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("8 revoke not yet delete key sk-svcacct-…OLDk"), "{}{}", done.stdout, done.stderr);
    scene.openai.delete("key_old");
    let done = scene.rotate(&["--yes", "--resume"]).run();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(!scene.home.path("current.previous").exists());
    scene.assert_no_secret(&done);
}

#[test]
fn a_key_of_another_project_or_with_fewer_rights_is_told_before_anything_changes() {
    let scene = Scene::start(Trouble::None);
    scene.uses(OLD, 1);
    scene.until_record_is_known();
    scene.openai.state.lock().unwrap().new_project = "proj_other".to_owned();
    scene.openai.state.lock().unwrap().new_refused = vec!["/v1/embeddings".to_owned()];
    let refused = scene.rotate(&["--yes", "--all-scopes"]).run();
    assert_eq!(refused.code(), Some(1));
    for code in ["other_project", "fewer_rights", "embeddings"] {
        assert!(refused.stdout.contains(code), "{code} is not in\n{}", refused.stdout);
    }
    assert_eq!((scene.n8n.key_of("c1"), scene.read("current")), (OLD.to_owned(), format!("{OLD}\n")));
    let despite = ["--despite", "other_project", "--despite", "fewer_rights", "--because", "no embeddings are made"];
    let done = scene.rotate(&[&["--yes", "--resume", "--until", "probe"], &despite[..]].concat()).run();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_mistyped_new_key_can_be_put_right_and_status_knows_of_the_rotation() {
    const NEW: &str = "sk-proj-canary-new-0123456789abcdeNEWk";
    const MISTYPED: &str = "sk-proj-canary-new-0123456789abcdeXXXX";
    let scene = Scene::with(Trouble::None, false);
    scene.openai.make("key_mine", NEW, "mine");
    scene.home.write("mine", format!("{MISTYPED}\n"));
    let done = scene.rotate(&["--yes", "--new-key", "file:mine", "--until", "new_key"]).run();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let status = scene.launch(&["status"]).run();
    assert!(
        status.stdout.contains("stands at step probe: keyward rotate default --resume goes on"),
        "{}",
        status.stdout
    );
    let late = scene.rotate(&["--yes", "--resume", "--new-key", "file:mine"]).run();
    assert!(late.stderr.contains("--new-key comes too late"), "{}", late.stderr);
    let waiting = scene.rotate(&["--yes", "--resume", "--until", "next"]).run_meanwhile();
    eventually("a word on the key", || waiting.stderr().contains("mistyped").then_some(()));
    waiting.signal(rustix::process::Signal::KILL);
    waiting.wait();
    scene.home.write("next", format!("{NEW}\n"));
    let done = scene.rotate(&["--yes", "--resume", "--until", "next"]).run();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("keyward takes sk-proj-…NEWk"), "{}", done.stdout);
    scene.home.write("next", format!("{MISTYPED}\n"));
    let other = scene.rotate(&["--yes", "--resume", "--until", "current"]).run();
    assert_eq!(other.code(), Some(1), "{}{}", other.stdout, other.stderr);
    assert_eq!(scene.read("current"), format!("{OLD}\n"));
    scene.assert_no_secret(&done);
}

#[test]
fn what_cannot_be_accepted_or_is_no_code_is_refused() {
    let scene = Scene::start(Trouble::None);
    for (code, said) in [
        ("bogus", "nothing of that code stands against a rotation"),
        ("no_new_key", "nothing can be done despite that"),
    ] {
        let refused = scene.rotate(&["--plan", "--despite", code, "--because", "x"]).run();
        assert_eq!(refused.code(), Some(1));
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    let unreadable = scene.rotate(&["--plan", "--new-key", "file:none"]).run();
    assert!(unreadable.stdout.contains("unreadable_new_key"), "{}", unreadable.stdout);
    assert_eq!(
        scene.rotate(&["--plan", "--all-scopes", "--despite", "stale_record", "--because", "x"]).run().code(),
        Some(0)
    );
    let checked = scene.launch(&["check"]).run();
    assert_eq!(checked.code(), Some(0), "a next key that is not there is not announced: {}", checked.stdout);
    let none = scene.rotate(&["defalt", "--plan"]).run();
    assert!(none.stderr.contains("there is no key set `defalt`"), "{}", none.stderr);
    assert!(!scene.home.state().join("rotation-defalt.lock").exists());
}

#[test]
fn a_plan_changes_nothing_and_says_what_stands_against_it() {
    let scene = Scene::start(Trouble::None);
    let plan = scene.rotate(&["--plan"]).run();
    assert_eq!(plan.code(), Some(1));
    for said in ["2 new_key  have OpenAI make a key on svc_acct_1 of proj_1", "no_scopes", "--all-scopes"] {
        assert!(plan.stdout.contains(said), "{said} is not in\n{}", plan.stdout);
    }
    assert_eq!(scene.rotate(&["--plan", "--all-scopes"]).run().code(), Some(0));
    assert!(!scene.home.state().join("rotations.json").exists());
    for (arguments, said) in [
        (&["nope", "--plan"][..], "there is no key set `nope`"),
        (&["--resume"], "has no rotation that goes on"),
        (&["--abort"], "has no rotation that goes on"),
        (&["--all-scopes"], "--yes has to say that it may be"),
    ] {
        let refused = scene.rotate(arguments).run();
        assert_eq!(refused.code(), Some(1));
        assert!(refused.stderr.contains(said), "{said} is not in {}", refused.stderr);
    }
}

#[test]
fn a_key_that_expires_is_told_of_before_it_does() {
    let scene = Scene::start(Trouble::None);
    let expiring = || scene.launch(&["keys", "expiring"]).run();
    let done = expiring();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("key_old") && done.stdout.contains("current"), "{}", done.stdout);
    scene.openai.expires("key_old", jiff::Timestamp::now().as_second() + 3 * 86_400);
    let done = expiring();
    assert_eq!(done.code(), Some(1));
    assert!(
        done.stdout.contains("The current key sk-svcacct-…OLDk") && done.stdout.contains("within 7 days"),
        "{}",
        done.stdout
    );
    let told = scene.problem("key_expires");
    assert_eq!(told["about"], "default");
    assert!(told["text"].as_str().unwrap().contains("expires within 7 days, at "), "{told}");
    let stored = eventually("it in the ledger", || scene.home.rows::<String>("SELECT id FROM expiries").pop());
    assert_eq!(stored, "key_old");
    scene.openai.set(Trouble::PartialList);
    let refused = expiring();
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("is not whole"), "{}", refused.stderr);
    scene.assert_no_secret(&done);
}

#[test]
fn what_a_command_learned_while_no_keyward_ran_is_known_to_the_next_one() {
    let mut scene = Scene::start(Trouble::None);
    let in_days = |days: i64| jiff::Timestamp::now().as_second() + days * 86_400;
    scene.openai.expires("key_old", in_days(3));
    scene.stop();
    assert_eq!(scene.launch(&["keys", "expiring"]).run().code(), Some(1));
    assert_eq!(scene.home.rows::<String>("SELECT id FROM expiries"), ["key_old"]);
    scene.start_again();
    assert!(scene.problem("key_expires")["text"].as_str().unwrap().contains("within 7 days"));
    scene.openai.expires("key_old", in_days(90));
    assert_eq!(scene.launch(&["keys", "expiring"]).run().code(), Some(0));
    eventually("no word of it", || {
        let told = scene.keyward.admin("/api/v1/problems").text();
        (!told.contains("key_expires")).then_some(())
    });
}

#[test]
fn a_keyward_that_runs_and_cannot_be_told_has_its_store_to_itself() {
    let scene = Scene::start(Trouble::None);
    let launch = scene.launch(&["keys", "expiring"]).env("KEYWARD_ADMIN_LISTEN", "off");
    let done = launch.run();
    assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("key_old"), "{}", done.stdout);
    assert!(done.stderr.contains("no keyward will warn of it: a keyward runs on the state folder"), "{}", done.stderr);
    assert!(scene.home.rows::<String>("SELECT id FROM expiries").is_empty());
}

#[test]
fn what_an_earlier_keyward_kept_in_a_file_is_taken_into_the_ledger() {
    let mut scene = Scene::start(Trouble::None);
    let sets = scene.keyward.admin("/api/v1/sets").text();
    let sets: Value = serde_json::from_str(&sets).unwrap();
    let key = &sets["sets"][0]["keys"][0]["fingerprint"];
    scene.stop();
    let now = jiff::Timestamp::now().as_millisecond();
    let known = json!({ "fingerprint": key, "id": "key_old", "expires": now + 3_600_000, "read": now });
    scene.home.write(".local/state/keyward/expiries.json", json!({ "version": "1", "keys": [known] }).to_string());
    scene.start_again();
    assert!(scene.problem("key_expires")["text"].as_str().unwrap().contains("within a day"));
    let file = |name: &str| scene.home.state().join(name).exists();
    eventually("the file to be put aside", || (!file("expiries.json") && file("expiries.json.imported")).then_some(()));
    assert_eq!(scene.home.rows::<String>("SELECT id FROM expiries"), ["key_old"]);
}

/// A keyward, an n8n and an OpenAI.
struct Scene {
    home: Home,
    openai: FakeOpenAi,
    n8n: FakeN8n,
    keyward: Keyward,
    has_account: bool,
}

impl Scene {
    fn start(trouble: Trouble) -> Self {
        Self::with(trouble, true)
    }

    fn with(trouble: Trouble, has_account: bool) -> Self {
        let home = Home::new();
        home.write("current", format!("{OLD}\n"));
        home.write("api-key", format!("{API_KEY}\n"));
        home.write("admin-key", format!("{ADMIN}\n"));
        let (openai, n8n) = (FakeOpenAi::start(trouble), FakeN8n::start());
        n8n.trouble(Some(Answering::json(503, r#"{"message":"starting"}"#)));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let keyward = home.serve().config(&config(&openai, &n8n, nowhere, has_account)).start();
        n8n.has_record("c1", "2026-11-20T07:00:00.000Z", keyward.listen, OLD);
        n8n.has(WORKFLOW, "Report", &[(NODE, "Write it")]);
        n8n.trouble(None);
        Self { home, openai, n8n, keyward, has_account }
    }

    fn stop(&mut self) {
        self.keyward.signal(rustix::process::Signal::TERM);
        eventually("its end", || self.keyward.has_ended().then_some(()));
    }

    fn start_again(&mut self) {
        let listen = self.keyward.listen;
        self.keyward = self.home.serve().config(&config(&self.openai, &self.n8n, listen, self.has_account)).start();
    }

    fn rotate(&self, arguments: &[&str]) -> Launch {
        self.launch(&[&["rotate"], arguments].concat())
    }

    fn launch(&self, arguments: &[&str]) -> Launch {
        let launch = self.home.keyward(arguments);
        let launch = launch.env("KEYWARD_ADMIN_LISTEN", &self.keyward.admin.to_string());
        launch.config(&config(&self.openai, &self.n8n, self.keyward.listen, self.has_account))
    }

    /// The node sends that key in an execution of that number, which has ended then.
    fn uses(&self, key: &str, execution: u32) {
        let tag = format!("wf={WORKFLOW};ex={execution};node={NODE}");
        let headers = [("Authorization", &*format!("Bearer {key}")), ("X-N8N-Tag", &*tag)];
        assert_eq!(ask(self.keyward.listen, "/v1/chat/completions", &headers).status, 200);
        let now = jiff::Timestamp::now().to_string();
        self.n8n.has_execution(json!({
            "id": execution.to_string(), "workflowId": WORKFLOW, "status": "success", "mode": "webhook", "finished": true,
            "startedAt": now, "stoppedAt": now,
        }));
    }

    /// Once the new key is the current one, the node sends it in an execution of that number.
    fn switches(&self, execution: u32) {
        let new = eventually("the new key in n8n", || Some(self.n8n.key_of("c1")).filter(|key| key != OLD));
        eventually("the switch", || (self.read("current") == format!("{new}\n")).then_some(()));
        self.uses(&new, execution);
    }

    /// Until keyward knows which key n8n's record holds.
    fn until_record_is_known(&self) {
        eventually("a press of the record", || {
            let told: Value = serde_json::from_str(&self.keyward.admin("/api/v1/n8n").text()).ok()?;
            let pressed = &told["instances"][0]["credentials"][0]["pressed"];
            pressed["fingerprint"].is_string().then_some(())
        });
    }

    /// What is told of a problem of that code.
    fn problem(&self, code: &str) -> Value {
        eventually("the problem", || {
            let told: Value = serde_json::from_str(&self.keyward.admin("/api/v1/problems").text()).ok()?;
            told["problems"].as_array()?.iter().find(|problem| problem["code"] == code).cloned()
        })
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path(name)).unwrap_or_default()
    }

    /// Neither in what was printed, nor in the log, nor in the state folder.
    #[track_caller]
    fn assert_no_secret(&self, done: &Finished) {
        self.home.assert_no_canary(&[&done.stdout, &done.stderr, &self.keyward.log()]);
    }
}

fn config(openai: &FakeOpenAi, n8n: &FakeN8n, listen: SocketAddr, has_account: bool) -> String {
    let account = format!(
        "admin = {{ project = \"proj_1\", service_account = \"svc_acct_1\", key = {{ file = \"admin-key\" }}, url = \"{}\" }}\n",
        openai.admin.url()
    );
    format!(
        "[proxy]\nupstream = \"{}\"\nlisten = \"{listen}\"\n\
         [keys.default]\ncurrent = {{ file = \"current\" }}\nnext = {{ file = \"next\" }}\n{}\
         [n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"api-key\" }}\nkeyward = \"http://{listen}\"\nrefresh = \"10s\"\n\
         [rotation]\nquiet = \"1s\"\n",
        openai.upstream.url(),
        if has_account { &account } else { "" },
        n8n.origin(),
    )
}

/// What goes wrong at OpenAI: each once, after what was asked for is done.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    CutOffAfterMint,
    ErrorAfterMint,
    ConflictAfterMint,
    /// The list of keys says that there is more, and gives nothing.
    PartialList,
}

/// OpenAI: an upstream that takes the keys that live, and the admin API at an address of its own.
struct FakeOpenAi {
    upstream: FakeUpstream,
    admin: FakeUpstream,
    state: Arc<Mutex<OpenAi>>,
}

struct OpenAi {
    keys: BTreeMap<String, Key>,
    made: usize,
    trouble: Trouble,
    new_project: String,
    new_refused: Vec<String>,
    /// The keyward through which the old key is sent once more, as soon as the key is looked up.
    late_sender: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    value: String,
    created: i64,
    used: Option<i64>,
    expires: Option<i64>,
}

impl FakeOpenAi {
    fn start(trouble: Trouble) -> Self {
        let new_project = "proj_1".to_owned();
        let state =
            OpenAi { keys: BTreeMap::new(), made: 0, trouble, new_project, new_refused: Vec::new(), late_sender: None };
        let state = Arc::new(Mutex::new(state));
        let (of_upstream, of_admin) = (Arc::clone(&state), Arc::clone(&state));
        let upstream = FakeUpstream::scripted(move |visit| visit.answer(&of_upstream.lock().unwrap().serve(visit)));
        let admin = FakeUpstream::scripted(move |visit| {
            let Ok(request) = visit.request() else { return };
            let late_sender = of_admin.lock().unwrap().late_sender.take();
            if let Some(keyward) = late_sender.filter(|_| request.head.line.contains("/api_keys/key_old")) {
                ask(keyward, "/v1/models", &[("Authorization", &format!("Bearer {OLD}"))]);
            }
            let answer = of_admin.lock().unwrap().administer(
                &request.head.line,
                request.head.header("authorization"),
                &request.body,
            );
            match answer {
                Some((status, body)) => visit.send(Answering::json(status, body.to_string())),
                None => visit.close(),
            }
        });
        let openai = Self { upstream, admin, state };
        openai.make("key_old", OLD, "n8n");
        openai
    }

    fn make(&self, id: &str, value: &str, name: &str) {
        let created = jiff::Timestamp::now().as_second() - 86_400;
        let key = Key { name: name.to_owned(), value: value.to_owned(), created, used: None, expires: None };
        self.state.lock().unwrap().keys.insert(id.to_owned(), key);
    }

    fn keys(&self) -> BTreeMap<String, Key> {
        self.state.lock().unwrap().keys.clone()
    }

    fn is_alive(&self, value: &str) -> bool {
        self.keys().values().any(|key| key.value == value)
    }

    fn has_late_sender(&self, keyward: SocketAddr) {
        self.state.lock().unwrap().late_sender = Some(keyward);
    }

    fn set(&self, trouble: Trouble) {
        self.state.lock().unwrap().trouble = trouble;
    }

    fn used(&self, id: &str, at: i64) {
        self.state.lock().unwrap().keys.get_mut(id).unwrap().used = Some(at);
    }

    fn expires(&self, id: &str, at: i64) {
        self.state.lock().unwrap().keys.get_mut(id).unwrap().expires = Some(at);
    }

    fn delete(&self, id: &str) {
        self.state.lock().unwrap().keys.remove(id);
    }

    /// Requests upstream that carried the admin key.
    fn admin_keys_upstream(&self) -> Vec<String> {
        let received = self.upstream.received();
        let carries =
            |request: &crate::support::Received| request.head.headers.iter().any(|(_, value)| value.contains(ADMIN));
        received.into_iter().filter(carries).map(|request| request.head.line).collect()
    }
}

impl OpenAi {
    fn serve(&mut self, visit: &Visit<'_>) -> Vec<u8> {
        let refusal = |status, code: &str| {
            Answering::json(
                status,
                json!({ "error": { "message": "No.", "type": "invalid_request_error", "code": code } }).to_string(),
            )
        };
        let given =
            visit.head.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let is_new = given != OLD;
        let Some(key) = self.keys.values_mut().find(|key| key.value == given) else {
            return refusal(401, "invalid_api_key");
        };
        key.used = Some(jiff::Timestamp::now().as_second());
        let path = visit.head.line.split(' ').nth(1).unwrap();
        if is_new && self.new_refused.iter().any(|refused| refused == path) {
            return Answering::json(
                403,
                r#"{"error":"You have insufficient permissions for this operation. Missing scopes: model.request"}"#,
            );
        }
        let project = if is_new { &self.new_project } else { "proj_1" };
        let header = format!("Content-Type: application/json\r\nopenai-project: {project}\r\n");
        if path == "/v1/models"
            || visit.head.header("x-n8n-tag").is_some()
            || path == "/v1/chat/completions" && visit.head.line.starts_with("GET")
        {
            return Answering::with(200, &header, r#"{"object":"list","data":[]}"#);
        }
        Answering::with(
            400,
            &header,
            r#"{"error":{"message":"You must provide a model parameter","type":"invalid_request_error"}}"#,
        )
    }

    /// Nothing where the answer gets lost.
    fn administer(&mut self, line: &str, bearer: Option<&str>, body: &[u8]) -> Option<(u16, Value)> {
        if bearer != Some(&format!("Bearer {ADMIN}")) {
            return Some((401, json!({ "error": { "message": "Incorrect API key provided: sk-admin-canary-****" } })));
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.split('?').next()?.strip_prefix("/v1/organization/projects/proj_1/")?;
        let parts: Vec<_> = path.split('/').collect();
        let not_found = (404, json!({ "error": { "message": "No such key." } }));
        Some(match (method, &parts[..]) {
            ("GET", ["api_keys"]) if self.trouble == Trouble::PartialList => {
                (200, json!({ "object": "list", "data": [], "has_more": true }))
            }
            ("GET", ["api_keys"]) => {
                let keys: Vec<_> = self.keys.iter().map(|(id, key)| key.public(id)).collect();
                (200, json!({ "object": "list", "data": keys, "has_more": false }))
            }
            ("GET", ["api_keys", id]) => self.keys.get(*id).map_or(not_found, |key| (200, key.public(id))),
            ("DELETE", ["api_keys", id]) => match self.keys.remove(*id) {
                Some(_) => {
                    (200, json!({ "object": "organization.project.api_key.deleted", "id": id, "deleted": true }))
                }
                None => not_found,
            },
            ("POST", ["service_accounts", "svc_acct_1", "api_keys"]) => return self.mint(body),
            _ => (404, json!({ "error": { "message": "Unknown request URL." } })),
        })
    }

    fn mint(&mut self, body: &[u8]) -> Option<(u16, Value)> {
        let order: Value = serde_json::from_slice(body).unwrap();
        self.made += 1;
        let (id, value) =
            (format!("key_{}", self.made), format!("sk-svcacct-canary-new-{}-0123456789abcdef", self.made));
        let (name, created) = (order["name"].as_str().unwrap().to_owned(), jiff::Timestamp::now().as_second());
        self.keys
            .insert(id.clone(), Key { name: name.clone(), value: value.clone(), created, used: None, expires: None });
        let error = |status| Some((status, json!({ "error": { "message": "The server had an error." } })));
        match std::mem::replace(&mut self.trouble, Trouble::None) {
            Trouble::CutOffAfterMint => None,
            Trouble::ErrorAfterMint => error(500),
            Trouble::ConflictAfterMint => error(409),
            Trouble::None | Trouble::PartialList => Some((
                200,
                json!({
                    "object": "organization.project.service_account.api_key", "id": id, "name": name, "value": value,
                    "created_at": created, "expires_at": null,
                }),
            )),
        }
    }
}

impl Key {
    fn public(&self, id: &str) -> Value {
        let (begin, end) = (&self.value[..11], &self.value[self.value.len() - 4..]);
        json!({
            "object": "organization.project.api_key", "id": id, "name": self.name, "redacted_value": format!("{begin}...{end}"),
            "created_at": self.created, "last_used_at": self.used, "expires_at": self.expires, "owner_project_access": "active",
            "owner": { "type": "service_account", "service_account": { "id": "svc_acct_1", "name": "n8n", "role": "member" } },
        })
    }
}
