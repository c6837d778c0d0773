//! `keyward n8n reconnect` and `undo`, against an n8n that keeps versions, publishes and refuses as 2.41.1 was seen to (and, where
//! it is asked to, as 1.100.1), and that fails in each way that was seen or reported: what it is sent, what it has afterwards,
//! and what a command that was killed leaves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::connect::press;
use crate::process::{Finished, Home, Launch, files_below};
use crate::support::{API_KEY, Answering, FakeUpstream, Received, Visit, eventually};

const TYPED: &str = "sk-proj-canary0123456789abcdefghTyPd";

#[test]
fn nodes_use_another_credential_and_nothing_else_is_sent_or_changed() {
    let scene = Scene::start(Release::second());
    scene.n8n.has(published("w1", "Report", &[node("Write", "old"), node("Read", "other"), node("Done", "new")]));
    scene.n8n.has(Workflow { live: None, active: false, ..published("w2", "Alone", &[node("Ask", "old")]) });
    let before = scene.n8n.workflow("w1");
    let done = scene.reconnect(&["--to", "New", "--from", "Old", "--yes"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    for said in [
        "2 nodes of 2 workflows will use New (new):",
        "Report (w1), published\n  Write: now Old (old)\n",
        "Alone (w2), which is not published\n  Ask: now Old (old)\n",
        "1 node uses it already.",
        "reconnected  Alone (w2): Ask\nreconnected  Report (w1): Write\n",
        "2 nodes of 2 workflows use New (new). To take it back: keyward n8n undo 2",
    ] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    let after = scene.n8n.workflow("w1");
    assert_eq!(after.records(), [("Write", "new"), ("Read", "other"), ("Done", "new")]);
    assert_eq!(after.live_records(), after.records());
    assert_eq!((after.active, after.triggers, &after.hidden), (true, 1, &before.hidden));
    let sent: Vec<Value> =
        scene.n8n.changes().iter().map(|change| serde_json::from_slice(&change.body).unwrap()).collect();
    for body in &sent {
        let fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["connections", "name", "nodes", "settings"], "{body}");
    }
    assert_eq!(sent.len(), 2, "each workflow was written once");
    let alone = scene.n8n.workflow("w2");
    assert_eq!((alone.active, alone.live.is_none(), alone.records()), (false, true, vec![("Ask", "new")]));
    scene.assert_no_secret(&done);

    let again = scene.reconnect(&["--to", "new", "--from", "Old", "--yes"]);
    assert_eq!((again.code(), scene.n8n.changes().len()), (Some(0), 2), "{}", again.stdout);
    assert!(again.stdout.contains("No node is to be reconnected to New (new)."), "{}", again.stdout);
}

#[test]
fn nothing_is_changed_without_a_yes_or_with_a_mistake_or_by_a_dry_run() {
    let scene = Scene::start(Release::second());
    scene.n8n.has(published("w1", "Report", &[node("Write", "old")]));
    scene.n8n.has(published("w2", "Report", &[node("Write", "other")]));
    #[rustfmt::skip]
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--to", "New"], 1, "--yes has to say that it may be"),
        (&["--to", "nope", "--yes"], 1, "there is no OpenAI credential with the id or the name `nope`"),
        (&["--to", "New", "--from", "nope", "--yes"], 1, "there is no OpenAI credential with the id or the name `nope`"),
        (&["--to", "New", "--workflow", "nope", "--yes"], 1, "n8n has no workflow with the id or the name \"nope\""),
        (&["--to", "New", "--workflow", "Report", "--yes"], 1, "several workflows are called \"Report\": choose by id, w1 or w2"),
        (&["--to", "New", "--stale", "--yes"], 1, "a keyward that runs has to say who sent an old key (--stale)"),
        (&["--resume", "--yes"], 1, "no run was broken off"),
        (&["--yes"], 2, "--to <CREDENTIAL>"),
        (&["--resume", "--to", "New"], 2, "cannot be used with"),
    ];
    for (arguments, code, said) in cases {
        let refused = scene.reconnect(arguments);
        assert_eq!(refused.code(), Some(code), "{arguments:?}");
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    assert!(scene.undo(&["--yes"]).stderr.contains("there is nothing to take back"));
    let dry = scene.reconnect(&["--to", "New", "--workflow", "w1", "--dry-run", "--json"]);
    assert_eq!(dry.code(), Some(0), "{}", dry.stderr);
    let told: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!((&told["run"], &told["to"]["id"], &told["fault"]), (&Value::Null, &"new".into(), &Value::Null));
    let node = json!({ "id": "Write", "name": "Write", "place": null, "typed_key": false, "before": { "id": "old", "name": "Old" } });
    assert_eq!(told["workflows"], json!([{ "id": "w1", "name": "Report", "shape": "published", "nodes": [node] }]));
    assert!(scene.n8n.changes().is_empty());
    assert!(scene.journals().is_empty());
}

#[test]
fn what_the_api_key_lacks_is_told_before_anything_is_written() {
    let scene = Scene::start(Release { scopes: &["workflow:update"], ..Release::second() });
    scene.n8n.has(published("w1", "Report", &[node("Write", "old")]));
    scene.n8n.has(Workflow { live: None, active: false, ..published("w2", "Alone", &[node("Ask", "other")]) });
    for arguments in [&["--to", "New", "--yes"][..], &["--to", "New", "--dry-run"]] {
        let refused = scene.reconnect(arguments);
        assert_eq!(refused.code(), Some(1));
        let said = "lacks the scope workflow:activate: 1 of the workflows are published";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert!(scene.n8n.changes().is_empty());
    // What does not run needs no such right.
    assert_eq!(scene.reconnect(&["--to", "New", "--workflow", "w2", "--yes"]).code(), Some(0));
    let scene = Scene::start(Release { scopes: &[], ..Release::second() });
    scene.n8n.has(published("w1", "Report", &[node("Write", "old")]));
    let refused = scene.reconnect(&["--to", "New", "--yes"]);
    assert!(
        refused.stderr.contains("lacks the scope workflow:update, so it changes no workflow"),
        "{}",
        refused.stderr
    );
}

#[test]
fn whatever_n8n_does_wrong_the_workflow_is_as_it_was_or_as_wanted() {
    for (trap, state, said) in [
        (Trap::SavesAndForbids, "put_back", "n8n refuses it to the API key (403)"),
        (Trap::Refuses, "not_done", "Install this node"),
        (Trap::FailsToPublish, "put_back", "a trigger could not be started"),
        (Trap::ChangesMore, "put_back", "n8n took the change, and has something else now: node Read"),
        (Trap::LosesItsWord, "reconnected", ""),
        (Trap::StaysLive, "put_back", "n8n took the change, and what runs is still what ran before"),
        (Trap::DropsTriggers, "put_back", "n8n took the change, and has 0 of its 1 triggers on"),
        (Trap::Breaks, "put_back", "n8n took the change, and has something else now"),
    ] {
        let scene = Scene::start(Release::second());
        scene.n8n.has(published("w1", "Report", &[node("Write", "old"), node("Read", "other")]));
        scene.n8n.trap(1, trap);
        let before = scene.n8n.workflow("w1");
        let done = scene.reconnect(&["--to", "New", "--from", "old", "--yes", "--json"]);
        let told: Value = serde_json::from_str(&done.stdout).unwrap();
        let told = &told["workflows"][0];
        assert_eq!(told["state"], state, "{trap:?}: {told}");
        let after = scene.n8n.workflow("w1");
        assert_eq!((after.active, after.triggers), (true, 1), "{trap:?}");
        if state == "reconnected" {
            assert_eq!((done.code(), after.live_records()), (Some(0), vec![("Write", "new"), ("Read", "other")]));
            continue;
        }
        assert_eq!(done.code(), Some(1), "{trap:?}");
        assert!(told["why"].as_str().unwrap().contains(said), "{trap:?}: {told}");
        assert_eq!(
            (after.draft.content(), after.live.unwrap().content()),
            (before.draft.content(), before.live.unwrap().content()),
            "{trap:?}"
        );
        assert!(scene.undo(&["--yes"]).stderr.contains("there is nothing to take back"), "{trap:?}");
    }
}

#[test]
fn a_first_release_is_changed_at_once_and_started_again_where_it_fails() {
    let scene = Scene::start(Release::first());
    scene.n8n.has(published("w1", "Report", &[node("Write", "old"), node("Done", "new")]));
    let done = scene.reconnect(&["--to", "New", "--yes"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.n8n.workflow("w1").records(), [("Write", "new"), ("Done", "new")]);
    assert_eq!(scene.undo(&["--yes"]).code(), Some(0));
    assert_eq!(scene.n8n.workflow("w1").records(), [("Write", "old"), ("Done", "new")]);

    // Its triggers are off then, and the API does not tell: another save starts them.
    let count = scene.n8n.changes().len();
    scene.n8n.trap(count + 1, Trap::Refuses);
    let done = scene.reconnect(&["--to", "New", "--yes", "--json"]);
    assert!(done.stdout.contains("put_back"), "{}", done.stdout);
    let last = scene.n8n.changes().pop().unwrap();
    assert!(scene.n8n.changes().len() == count + 2 && String::from_utf8_lossy(&last.body).contains("\"old\""));

    // A setting that this release does not take would be lost, so n8n refuses all of it.
    scene.n8n.change("w1", |workflow| workflow.settings["callerPolicy"] = "any".into());
    let refused = scene.reconnect(&["--to", "New", "--yes", "--json"]);
    assert!(refused.stdout.contains("must NOT have additional properties"), "{}", refused.stdout);
    assert_eq!(scene.n8n.workflow("w1").settings["callerPolicy"], "any");
    let unknown = scene.reconnect(&["--to", "Never used", "--yes"]);
    assert!(unknown.stderr.contains("choose the one that is meant in one node by hand first"), "{}", unknown.stderr);
}

#[test]
fn a_workflow_that_was_changed_since_the_plan_is_left_alone() {
    let scene = Scene::start(Release::second());
    scene.n8n.has(published("w1", "Report", &[node("Write", "old")]));
    scene.n8n.has(published("w2", "Weekly", &[node("Write", "old")]));
    scene.n8n.meanwhile(|workflows| {
        let workflow = workflows.get_mut("w1").unwrap();
        workflow.save(vec![node("Write", "old"), node("Fresh", "old")]);
    });
    let done = scene.reconnect(&["--to", "New", "--yes"]);
    assert_eq!(done.code(), Some(1));
    let said = "changed since  Report (w1): something else changed it, so it is left alone";
    assert!(done.stdout.contains(said), "{}", done.stdout);
    assert_eq!(scene.n8n.workflow("w1").records(), [("Write", "old"), ("Fresh", "old")]);
    assert_eq!(scene.n8n.workflow("w2").live_records(), [("Write", "new")]);
}

#[test]
fn a_draft_that_differs_and_what_is_published_are_each_changed_as_itself() {
    let scene = Scene::start(Release::second());
    scene.n8n.has(parted("w1"));
    let left = scene.reconnect(&["--to", "New", "--yes"]);
    assert_eq!(left.code(), Some(1), "it is left to do");
    assert!(left.stdout.contains("Report (w1): its draft is not what is published"), "{}", left.stdout);
    assert!(scene.n8n.changes().is_empty());
    let done = scene.reconnect(&["--to", "New", "--drafts", "--yes"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let after = scene.n8n.workflow("w1");
    assert_eq!(
        (after.records(), after.live_records()),
        (vec![("Write", "new"), ("Draft only", "new")], vec![("Write", "new"), ("Live only", "new")])
    );
    assert!(
        scene
            .n8n
            .changes()
            .iter()
            .all(|change| !change.head.line.starts_with("PUT") || change.head.line.contains("publishIfActive=false"))
    );
    assert_eq!(scene.undo(&["--yes"]).code(), Some(0));
    let back = scene.n8n.workflow("w1");
    assert_eq!(
        (back.records(), back.live_records()),
        (vec![("Write", "old"), ("Draft only", "other")], vec![("Write", "old"), ("Live only", "old")])
    );

    let scene = Scene::start(Release { holds_back: false, ..Release::second() });
    scene.n8n.has(parted("w1"));
    let refused = scene.reconnect(&["--to", "New", "--drafts", "--yes"]);
    assert!(
        refused.stderr.contains("this release of n8n publishes every draft that its API saves"),
        "{}",
        refused.stderr
    );
    assert!(scene.n8n.changes().is_empty());
}

#[test]
fn a_typed_key_gives_way_and_comes_back_and_is_shown_and_kept_nowhere() {
    let request = json!({
        "id": "r", "name": "Request", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2,
        "parameters": { "url": "https://api.openai.com/v1/models", "sendHeaders": true, "headerParameters": { "parameters": [
            { "name": "Authorization", "value": format!("Bearer {TYPED}") }, { "name": "X-Own", "value": "1" } ] } },
    });
    let scene = Scene::start(Release::second());
    scene.n8n.has(published("w1", "Typed", std::slice::from_ref(&request)));
    let left = scene.reconnect(&["--to", "New", "--yes"]);
    assert!(
        left.code() == Some(1) && left.stdout.contains("--typed-keys puts the credential in its place"),
        "{}",
        left.stdout
    );
    let done = scene.reconnect(&["--to", "New", "--typed-keys", "--yes"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let own = &scene.n8n.workflow("w1").live.unwrap().nodes[0];
    assert_eq!(
        (&own["parameters"]["authentication"], &own["parameters"]["nodeCredentialType"]),
        (&"predefinedCredentialType".into(), &"openAiApi".into())
    );
    assert_eq!(own["parameters"]["headerParameters"]["parameters"], json!([{ "name": "X-Own", "value": "1" }]));
    scene.assert_no_secret(&done);
    let back = scene.undo(&["--yes"]);
    assert_eq!((back.code(), &scene.n8n.workflow("w1").live.unwrap().nodes[0]), (Some(0), &request), "{}", back.stdout);
    scene.assert_no_secret(&back);
    // A version that n8n no longer keeps brings no key back.
    scene.reconnect(&["--to", "New", "--typed-keys", "--yes"]);
    scene.n8n.change("w1", |workflow| workflow.history.clear());
    let lost = scene.undo(&["--yes"]);
    assert!(
        lost.code() == Some(1) && lost.stdout.contains("n8n no longer has the version with what stood in node Request"),
        "{}",
        lost.stdout
    );

    let scene = Scene::start(Release::first());
    scene.n8n.has(published("w1", "Typed", &[request, node("Done", "new"), node("Write", "old")]));
    let done = scene.reconnect(&["--to", "New", "--typed-keys", "--yes"]);
    assert!(done.stdout.contains("undo cannot put a typed key back"), "{}", done.stdout);
    let back = scene.undo(&["--yes"]);
    assert_eq!(back.code(), Some(1), "{}", back.stdout);
    assert!(back.stdout.contains("but for the key that was typed into Request, which is not kept"), "{}", back.stdout);
    assert_eq!(scene.n8n.workflow("w1").records(), [("Request", "new"), ("Done", "new"), ("Write", "old")]);
    scene.assert_no_secret(&back);
}

#[test]
fn undo_takes_back_what_nothing_else_changed_and_says_what_differs_in_the_rest() {
    let scene = Scene::start(Release::second());
    for id in ["w1", "w2", "w3", "w4"] {
        scene.n8n.has(published(id, id, &[node("Write", "old"), node("Read", "old")]));
    }
    assert_eq!(scene.reconnect(&["--to", "New", "--yes"]).code(), Some(0));
    scene.n8n.change("w1", |workflow| workflow.save(vec![node("Write", "new"), node("Read", "other")]));
    scene.n8n.change("w2", |workflow| workflow.name = "Another name".to_owned());
    scene.n8n.change("w3", |workflow| (workflow.live, workflow.active) = (None, false));
    let unasked = scene.undo(&[]);
    assert!(unasked.stderr.contains("--yes has to say that it may be"), "{}", unasked.stderr);
    let done = scene.undo(&["--yes"]);
    assert_eq!(done.code(), Some(1));
    for said in [
        "changed since  w1 (w1): something else changed it, so it is left alone: node Read, node Read (published)",
        "changed since  w2 (w2): something else changed it, so it is left alone: its name",
        "as before  w3 (w3): Read, Write",
        "as before  w4 (w4): Read, Write",
        "4 nodes of 2 workflows are as they were before; 2 workflows not done.",
    ] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    assert_eq!(scene.n8n.workflow("w1").records(), [("Write", "new"), ("Read", "other")]);
    let third = scene.n8n.workflow("w3");
    assert_eq!(
        (third.records(), third.active, third.live.is_none()),
        (vec![("Write", "old"), ("Read", "old")], false, true)
    );
    assert!(scene.undo(&["nope", "--yes"]).stderr.contains("there is no run \"nope\"; there are: 2"));
}

#[test]
fn a_command_that_was_killed_at_any_step_goes_on_or_is_taken_back() {
    // One change of the first workflow, three of the one whose draft differs, one of the last.
    for (step, after) in (1..=5).flat_map(|step| [(step, false), (step, true)]) {
        for ends_with in ["resume", "undo"] {
            let what =
                format!("killed at step {step}, {}, then {ends_with}", if after { "after it" } else { "before it" });
            let scene = Scene::start(Release::second());
            scene.n8n.has(published("w0", "First", &[node("Write", "old")]));
            scene.n8n.has(parted("w1"));
            scene.n8n.has(published("w2", "Then", &[node("Write", "old")]));
            let stopped = scene.n8n.stop_at(step, after);
            let arguments = ["n8n", "reconnect", "--to", "New", "--drafts", "--yes"];
            let killed = scene.launch(&arguments).run_meanwhile();
            eventually("that step", || stopped.try_recv().ok());
            killed.signal(rustix::process::Signal::KILL);
            assert_eq!(killed.wait().code(), None, "{what}");
            scene.n8n.stop_at_nothing();
            let refused = scene.reconnect(&["--to", "New", "--drafts", "--yes"]);
            assert!(
                refused.stderr.contains("was broken off") || refused.stdout.contains("No node"),
                "{what}: {}",
                refused.stderr
            );
            let done =
                if ends_with == "resume" { scene.reconnect(&["--resume", "--yes"]) } else { scene.undo(&["--yes"]) };
            assert_eq!(done.code(), Some(0), "{what}: {}{}", done.stdout, done.stderr);
            let (own, others) = if ends_with == "resume" { ("new", "new") } else { ("old", "other") };
            for id in ["w0", "w2"] {
                let workflow = scene.n8n.workflow(id);
                assert_eq!(
                    (workflow.records(), workflow.live_records()),
                    (vec![("Write", own)], vec![("Write", own)]),
                    "{what}"
                );
            }
            let parted = scene.n8n.workflow("w1");
            assert_eq!(parted.records(), [("Write", own), ("Draft only", others)], "{what}");
            assert_eq!(parted.live_records(), [("Write", own), ("Live only", own)], "{what}");
            scene.assert_no_secret(&done);
        }
    }
}

#[test]
fn an_undo_that_was_killed_goes_on() {
    for (step, after) in (1..=4).flat_map(|step| [(step, false), (step, true)]) {
        let what = format!("killed at step {step}, {}", if after { "after it" } else { "before it" });
        let scene = Scene::start(Release::second());
        scene.n8n.has(published("w0", "First", &[node("Write", "old")]));
        scene.n8n.has(parted("w1"));
        assert_eq!(scene.reconnect(&["--to", "New", "--drafts", "--yes"]).code(), Some(0));
        let stopped = scene.n8n.stop_at(scene.n8n.changes().len() + step, after);
        let killed = scene.launch(&["n8n", "undo", "--yes"]).run_meanwhile();
        eventually("that step", || stopped.try_recv().ok());
        killed.signal(rustix::process::Signal::KILL);
        assert_eq!(killed.wait().code(), None, "{what}");
        scene.n8n.stop_at_nothing();
        let done = scene.undo(&["--yes"]);
        assert_eq!(done.code(), Some(0), "{what}: {}{}", done.stdout, done.stderr);
        assert_eq!(scene.n8n.workflow("w0").live_records(), [("Write", "old")], "{what}");
        let parted = scene.n8n.workflow("w1");
        assert_eq!(parted.records(), [("Write", "old"), ("Draft only", "other")], "{what}");
        assert_eq!(parted.live_records(), [("Write", "old"), ("Live only", "old")], "{what}");
    }
}

#[test]
fn what_is_not_known_is_said_and_found_out_later() {
    let scene = Scene::start(Release::second());
    scene.n8n.has(published("w1", "Report", &[node("Write", "old")]));
    scene.n8n.trap(1, Trap::GoesDown);
    let done = scene.reconnect(&["--to", "New", "--yes"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stdout.contains("not known  Report (w1): it is not known how it is now"), "{}", done.stdout);
    scene.n8n.comes_back();
    let resumed = scene.reconnect(&["--resume", "--yes"]);
    assert_eq!(resumed.code(), Some(0), "{}{}", resumed.stdout, resumed.stderr);
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "new")]);
}

#[test]
fn only_nodes_that_were_seen_with_an_old_key_are_changed_where_that_is_asked_for() {
    const CURRENT: &str = "sk-proj-canary-current-0123456789abCuRr";
    const OLD: &str = "sk-proj-canary-old-0123456789abcdefgOlD";
    let scene = Scene::start(Release::second());
    scene.n8n.has(published("w1", "Report", &[node("Write", "old"), node("Read", "old"), node("Never", "old")]));
    let upstream = FakeUpstream::taking(&[CURRENT, OLD]);
    scene.home.write("current", format!("{CURRENT}\n"));
    scene.home.write("previous", format!("{OLD}\n"));
    let serving = |listen: SocketAddr, admin: SocketAddr| {
        format!(
            "[proxy]\nupstream = \"{}\"\nlisten = \"{listen}\"\n[admin]\nlisten = \"{admin}\"\n[keys.default]\n\
             current = {{ file = \"current\" }}\nprevious = [{{ file = \"previous\" }}]\n{}",
            upstream.url(),
            scene.n8n_config()
        )
    };
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let keyward = scene.home.serve().config(&serving(nowhere, nowhere)).start();
    for (key, node) in [(OLD, "Write"), (CURRENT, "Read")] {
        let (bearer, tag) = (format!("Bearer {key}"), format!("wf=w1;ex=1;node={node}"));
        let asked = crate::process::client::ask(
            keyward.listen,
            "/v1/models",
            &[("Authorization", &bearer), ("X-N8N-Tag", &tag)],
        );
        assert_eq!(asked.status, 200);
    }
    let config = serving(keyward.listen, keyward.admin);
    let arguments = ["n8n", "reconnect", "--to", "New", "--stale", "--yes"];
    let admin = keyward.admin.to_string();
    let done = scene.home.keyward(&arguments).config(&config).env("KEYWARD_ADMIN_LISTEN", &admin).run();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "new"), ("Read", "old"), ("Never", "old")]);
}

#[test]
fn no_line_of_a_plan_is_wider_than_the_terminal_and_none_is_cut() {
    let scene = Scene::start(Release::second());
    let name = "A workflow with a name that is as long as people like to make them, and longer than a row";
    scene.n8n.has(Workflow { name: name.to_owned(), ..parted("w1") });
    let done = scene.launch(&["n8n", "reconnect", "--to", "New", "--drafts", "--dry-run"]).on_a_terminal_of(80).run();
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let rows: Vec<_> = done.stdout.lines().map(|row| row.trim_end_matches('\r')).collect();
    assert!(rows.iter().all(|row| row.chars().count() <= 80), "{}", done.stdout);
    let words = rows.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(&format!("{name} (w1), published, with a draft that differs Write (published): now Old (old)")),
        "{words}"
    );
}

/// A home with the configuration of an n8n.
struct Scene {
    home: Home,
    n8n: FakeN8n,
}

impl Scene {
    fn start(release: Release) -> Self {
        let home = Home::new();
        home.write("api-key", format!("{API_KEY}\n"));
        Self { home, n8n: FakeN8n::start(release) }
    }

    fn n8n_config(&self) -> String {
        format!("[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"api-key\" }}\npress = false\n", self.n8n.server.url())
    }

    /// A command for which no keyward runs.
    fn launch(&self, arguments: &[&str]) -> Launch {
        self.home.keyward(arguments).config(&format!("[admin]\nlisten = \"127.0.0.1:9\"\n{}", self.n8n_config()))
    }

    fn reconnect(&self, arguments: &[&str]) -> Finished {
        self.launch(&[&["n8n", "reconnect"], arguments].concat()).run()
    }

    fn undo(&self, arguments: &[&str]) -> Finished {
        self.launch(&[&["n8n", "undo"], arguments].concat()).run()
    }

    fn journals(&self) -> Vec<String> {
        let texts =
            files_below(&self.home.state()).into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(".jsonl"));
        texts.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    /// Neither in what was printed, nor in the state folder.
    #[track_caller]
    fn assert_no_secret(&self, done: &Finished) {
        self.home.assert_no_canary(&[&done.stdout, &done.stderr]);
    }
}

pub(crate) fn node(name: &str, record: &str) -> Value {
    let shown = record[..1].to_uppercase() + &record[1..];
    json!({ "id": name, "name": name, "type": "@n8n/n8n-nodes-langchain.openAi", "typeVersion": 1.8, "parameters": { "b": 1.5, "a": {} },
        "position": [0, 0], "credentials": { "openAiApi": { "id": record, "name": shown } } })
}

pub(crate) fn published(id: &str, name: &str, nodes: &[Value]) -> Workflow {
    let version =
        Version { id: format!("{id}-1"), nodes: nodes.to_vec(), connections: json!({ "Start": { "main": [] } }) };
    Workflow {
        id: id.to_owned(),
        name: name.to_owned(),
        settings: json!({ "executionOrder": "v1" }),
        live: Some(version.clone()),
        history: vec![version.clone()],
        draft: version,
        active: true,
        triggers: 1,
        saves: 1,
        hidden: json!({ "staticData": { "lastId": 7 }, "pinData": { "Write": [1] } }),
        project: None,
    }
}

/// One whose draft is not what is published.
fn parted(id: &str) -> Workflow {
    let mut workflow = published(id, "Report", &[node("Write", "old"), node("Live only", "old")]);
    workflow.save(vec![node("Write", "old"), node("Draft only", "other")]);
    workflow.live = workflow.history.first().cloned();
    workflow
}

/// What a release of n8n does, and what its API key may do.
#[derive(Clone, Copy)]
pub(crate) struct Release {
    is_first: bool,
    /// Whether it saves a draft without publishing it.
    holds_back: bool,
    scopes: &'static [&'static str],
}

impl Release {
    pub(crate) fn second() -> Self {
        Self {
            is_first: false,
            holds_back: true,
            scopes: &["workflow:update", "workflow:activate", "credential:create"],
        }
    }

    pub(crate) fn with_scopes(scopes: &'static [&'static str]) -> Self {
        Self { scopes, ..Self::second() }
    }

    pub(crate) fn first() -> Self {
        Self { is_first: true, holds_back: false, ..Self::second() }
    }
}

/// What goes wrong with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trap {
    /// The draft is saved, and the answer is 403.
    SavesAndForbids,
    /// It is refused as a whole.
    Refuses,
    /// The draft is saved, and where it is published n8n switches the workflow off.
    FailsToPublish,
    /// Another node is changed as well.
    ChangesMore,
    /// It is done, and the answer gets lost.
    LosesItsWord,
    /// The answer is 200, and what runs stays what it was.
    StaysLive,
    /// It is done, and its triggers are not on.
    DropsTriggers,
    /// The node loses its credential.
    Breaks,
    /// It is done, and n8n answers nothing from then on.
    GoesDown,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    id: String,
    nodes: Vec<Value>,
    connections: Value,
}

impl Version {
    fn content(&self) -> (&[Value], &Value) {
        (&self.nodes, &self.connections)
    }

    fn records(&self) -> Vec<(&str, &str)> {
        self.nodes.iter().map(|node| (text(&node["name"]), text(&node["credentials"]["openAiApi"]["id"]))).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[derive(Clone)]
pub(crate) struct Workflow {
    id: String,
    name: String,
    settings: Value,
    draft: Version,
    pub(crate) live: Option<Version>,
    history: Vec<Version>,
    pub(crate) active: bool,
    triggers: u64,
    /// How many versions there were.
    saves: usize,
    /// What is never sent.
    hidden: Value,
    /// The project that it lies in, by its id and name.
    pub(crate) project: Option<(&'static str, &'static str)>,
}

impl Workflow {
    fn records(&self) -> Vec<(&str, &str)> {
        self.draft.records()
    }

    pub(crate) fn live_records(&self) -> Vec<(&str, &str)> {
        self.live.as_ref().map(Version::records).unwrap_or_default()
    }

    /// Saves a version as n8n does, and has it run.
    fn save(&mut self, nodes: Vec<Value>) {
        let connections = self.draft.connections.clone();
        self.keep(nodes, connections);
        self.live = self.live.as_ref().map(|_| self.draft.clone());
    }

    fn keep(&mut self, nodes: Vec<Value>, connections: Value) {
        if nodes != self.draft.nodes || connections != self.draft.connections {
            self.saves += 1;
            self.draft = Version { id: format!("{}-{}", self.id, self.saves), nodes, connections };
            self.history.push(self.draft.clone());
        }
    }

    fn document(&self, release: Release) -> Value {
        let mut document = json!({
            "id": self.id, "name": self.name, "active": self.active, "isArchived": false, "settings": self.settings,
            "versionId": self.draft.id, "nodes": self.draft.nodes, "connections": self.draft.connections,
            "triggerCount": self.triggers, "updatedAt": "2026-11-30T19:26:09.371Z",
            "staticData": self.hidden["staticData"], "pinData": self.hidden["pinData"],
        });
        if let Some((id, name)) = self.project {
            let own = json!({ "role": "workflow:owner", "projectId": id, "project": { "id": id, "name": name } });
            document["shared"] = json!([own]);
        }
        if !release.is_first {
            document["activeVersionId"] = self.live.as_ref().map(|live| live.id.clone()).into();
            document["activeVersion"] = self.live.as_ref().map_or(
                Value::Null,
                |live| json!({ "versionId": live.id, "nodes": live.nodes, "connections": live.connections }),
            );
        }
        document
    }
}

/// Something that happens between the plan and the first change.
type Meanwhile = Box<dyn FnOnce(&mut BTreeMap<String, Workflow>) + Send>;

struct State {
    release: Release,
    workflows: BTreeMap<String, Workflow>,
    /// How many changes of workflows were asked for.
    changes: usize,
    traps: BTreeMap<usize, Trap>,
    meanwhile: Option<Meanwhile>,
    is_down: bool,
    /// The records that it was asked to make, with what stands in them.
    records: Vec<Value>,
    /// Whether a record is made and the answer gets lost.
    loses_record: bool,
    /// At which change, and whether after it, the answer never comes; and who is told.
    stop: Option<(usize, bool, Sender<()>)>,
}

/// An n8n's public API.
pub(crate) struct FakeN8n {
    pub(crate) server: FakeUpstream,
    state: Arc<Mutex<State>>,
}

impl FakeN8n {
    pub(crate) fn start(release: Release) -> Self {
        let state = State {
            release,
            workflows: BTreeMap::new(),
            changes: 0,
            traps: BTreeMap::new(),
            meanwhile: None,
            is_down: false,
            records: Vec::new(),
            loses_record: false,
            stop: None,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = FakeUpstream::scripted(move |visit| answer(&shared, visit));
        Self { server, state }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn has(&self, workflow: Workflow) {
        self.lock().workflows.insert(workflow.id.clone(), workflow);
    }

    pub(crate) fn workflow(&self, id: &str) -> Workflow {
        self.lock().workflows[id].clone()
    }

    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Workflow)) {
        change(self.lock().workflows.get_mut(id).unwrap());
    }

    fn trap(&self, number: usize, trap: Trap) {
        self.lock().traps.insert(number, trap);
    }

    fn meanwhile(&self, happens: impl FnOnce(&mut BTreeMap<String, Workflow>) + Send + 'static) {
        self.lock().meanwhile = Some(Box::new(happens));
    }

    /// The records that it was asked to make, with what stands in them.
    pub(crate) fn made(&self) -> Vec<Value> {
        self.lock().records.clone()
    }

    /// Has something else delete those records.
    pub(crate) fn deletes_made(&self) {
        self.lock().records.clear();
    }

    /// Whether it makes records, and its answers to that get lost.
    pub(crate) fn loses_records(&self, loses: bool) {
        self.lock().loses_record = loses;
    }

    fn comes_back(&self) {
        self.lock().is_down = false;
    }

    fn stop_at(&self, number: usize, after: bool) -> Receiver<()> {
        let (told, stopped) = channel();
        self.lock().stop = Some((number, after, told));
        stopped
    }

    fn stop_at_nothing(&self) {
        self.lock().stop = None;
    }

    /// The requests that changed something, or would have.
    pub(crate) fn changes(&self) -> Vec<Received> {
        let is_change = |request: &Received| {
            let line = &request.head.line;
            (line.starts_with("PUT") || line.starts_with("POST"))
                && !line.contains("keyward-asks")
                && !line.contains("/credentials")
        };
        self.server.received().into_iter().filter(is_change).collect()
    }
}

fn answer(state: &Mutex<State>, visit: &mut Visit<'_>) {
    let Ok(request) = visit.request() else { return };
    let mut state = state.lock().unwrap();
    if state.is_down {
        return visit.close();
    }
    let mut words = request.head.line.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let parts: Vec<_> = path.strip_prefix("/api/v1/").unwrap().split('/').collect();
    let (status, body) = if request.head.header("x-n8n-api-key") != Some(API_KEY) {
        (401, json!({ "message": "unauthorized" }))
    } else if method == "GET" {
        state.read(&parts)
    } else if let ["credentials", id, "test"] = parts[..] {
        let made = state.records.iter().find(|record| record["id"] == id).cloned();
        return test(state, made.as_ref(), visit);
    } else if parts == ["credentials"] {
        let made = state.make_record(&serde_json::from_slice(&request.body).unwrap());
        if state.loses_record {
            return visit.close();
        }
        made
    } else if parts[0] == "credentials" {
        (404, json!({ "message": "Credential not found" }))
    } else {
        let body = serde_json::from_slice(&request.body).unwrap();
        let is_real = state.workflows.contains_key(parts[1]);
        state.changes += usize::from(is_real);
        let number = state.changes;
        let stops = |state: &State, after: bool| {
            is_real && matches!(&state.stop, Some((at, when, _)) if (*at, *when) == (number, after))
        };
        if stops(&state, false) {
            return hold(state, visit);
        }
        let answered = state.write(&method, &parts, query, &body);
        if stops(&state, true) {
            return hold(state, visit);
        }
        match state.traps.get(&number).filter(|_| is_real) {
            Some(Trap::LosesItsWord) => return visit.close(),
            Some(Trap::GoesDown) => {
                state.is_down = true;
                return visit.close();
            }
            _ => answered,
        }
    };
    drop(state);
    visit.send(Answering::json(status, body.to_string()));
}

/// Not with the lock held: what the test meets may ask this n8n for something.
fn test(state: std::sync::MutexGuard<'_, State>, record: Option<&Value>, visit: &mut Visit<'_>) {
    drop(state);
    let not_found = (404, json!({ "message": "Not Found" }));
    let (status, body) = record.map_or(not_found, |record| (200, press(&record["data"])));
    visit.send(Answering::json(status, body.to_string()));
}

/// Never answers, until the client is gone.
fn hold(mut state: std::sync::MutexGuard<'_, State>, visit: &mut Visit<'_>) {
    let (_, _, told) = state.stop.take().unwrap();
    drop(state);
    told.send(()).unwrap();
    visit.wait_until_left();
    visit.close();
}

impl State {
    fn read(&self, parts: &[&str]) -> (u16, Value) {
        let not_found = (404, json!({ "message": "Not Found" }));
        match parts {
            ["workflows"] => {
                let all: Vec<_> = self.workflows.values().map(|workflow| workflow.document(self.release)).collect();
                (200, json!({ "data": all, "nextCursor": null }))
            }
            ["workflows", id] => {
                self.workflows.get(*id).map_or(not_found, |workflow| (200, workflow.document(self.release)))
            }
            ["workflows", id, "versions", version] => {
                let history = self.workflows.get(*id).map(|workflow| &workflow.history);
                let found = history.and_then(|history| history.iter().find(|kept| kept.id == *version));
                found.map_or(not_found, |kept| {
                    (200, json!({ "versionId": kept.id, "nodes": kept.nodes, "connections": kept.connections }))
                })
            }
            ["credentials"] if self.release.is_first => (405, json!({ "message": "GET method not allowed" })),
            ["credentials"] => {
                let record = |id: &str, name: &str| json!({ "id": id, "name": name, "type": "openAiApi" });
                let mut all = vec![record("old", "Old"), record("new", "New"), record("other", "Other")];
                for made in &self.records {
                    all.push(record(text(&made["id"]), text(&made["name"])));
                }
                (200, json!({ "data": all, "nextCursor": null }))
            }
            ["credentials", "schema", "openAiApi"] if self.release.is_first => (200, json!({ "properties": {} })),
            ["credentials", "schema", "openAiApi"] => {
                let fields =
                    json!({ "header": { "type": "boolean" }, "allowedHttpRequestDomains": { "type": "string" } });
                (200, json!({ "properties": fields }))
            }
            _ => not_found,
        }
    }

    /// As 2.41.1 does: a field that others depend on has no default.
    fn make_record(&mut self, body: &Value) -> (u16, Value) {
        if !self.release.scopes.contains(&"credential:create") {
            return (403, json!({ "message": "Forbidden" }));
        }
        if body["data"]["allowedHttpRequestDomains"].is_null() {
            return (400, json!({ "message": "request.body.data requires property \"allowedDomains\"" }));
        }
        let mut record = body.clone();
        record["id"] = format!("made{}", self.records.len() + 1).into();
        record["updatedAt"] = "2026-11-30T19:26:09.371Z".into();
        self.records.push(record.clone());
        record.as_object_mut().unwrap().remove("data");
        (200, record)
    }

    fn write(&mut self, method: &str, parts: &[&str], query: &str, body: &Value) -> (u16, Value) {
        let may = |scope: &str| self.release.is_first || self.release.scopes.contains(&scope);
        let forbidden = (403, json!({ "message": "Forbidden" }));
        let scope = if method == "PUT" { "workflow:update" } else { "workflow:activate" };
        if !may(scope) {
            return forbidden;
        }
        if let Some(message) = self.fault(query, body) {
            return (400, json!({ "message": message }));
        }
        if let Some(happens) = self.meanwhile.take() {
            happens(&mut self.workflows);
        }
        let (release, trap) = (self.release, self.traps.get(&self.changes).copied());
        let may_publish = may("workflow:activate");
        let Some(workflow) = self.workflows.get_mut(parts[1]) else {
            return (404, json!({ "message": "You do not have permission to update this workflow." }));
        };
        match (method, parts.get(2)) {
            ("PUT", None) => {
                let publishes = query != "publishIfActive=false";
                put(workflow, release, body, (publishes, may_publish), trap)
            }
            ("POST", Some(&"publish")) => {
                let Some(version) = workflow.history.iter().find(|kept| *kept.id == body["versionId"]) else {
                    return (404, json!({ "message": "Version not found" }));
                };
                (workflow.live, workflow.active, workflow.triggers) = (Some(version.clone()), true, 1);
                (200, workflow.document(release))
            }
            ("POST", Some(&"activate")) => {
                workflow.active = true;
                (200, workflow.document(release))
            }
            _ => (404, json!({ "message": "not found" })),
        }
    }

    /// What is wrong with a request before anything is done.
    fn fault(&self, query: &str, body: &Value) -> Option<String> {
        if query.starts_with("publishIfActive=") && !self.release.holds_back {
            return Some("Unknown query parameter 'publishIfActive'".to_owned());
        }
        if query == "publishIfActive=perhaps" {
            return Some("request/query/publishIfActive Invalid enum value.".to_owned());
        }
        let is_known = |name: &String| self.release.is_first && name != "executionOrder";
        let settings = body["settings"].as_object();
        let is_refused = settings.is_some_and(|settings| settings.keys().any(is_known));
        is_refused.then(|| "request/body/settings must NOT have additional properties".to_owned())
    }
}

fn put(
    workflow: &mut Workflow,
    release: Release,
    body: &Value,
    (publishes, may_publish): (bool, bool),
    trap: Option<Trap>,
) -> (u16, Value) {
    if trap == Some(Trap::Refuses) {
        return (400, json!({ "message": "Install this node to use it" }));
    }
    let mut nodes = body["nodes"].as_array().unwrap().clone();
    match trap {
        Some(Trap::ChangesMore) => nodes[1]["parameters"]["more"] = 1.into(),
        Some(Trap::Breaks) => nodes[0]["credentials"] = json!({}),
        _ => {}
    }
    text(&body["name"]).clone_into(&mut workflow.name);
    workflow.keep(nodes, body["connections"].clone());
    if release.is_first {
        workflow.settings = body["settings"].clone();
        return (200, workflow.document(release));
    }
    let is_live = publishes && workflow.live.is_some();
    match trap {
        Some(Trap::SavesAndForbids) => return (403, json!({ "message": "Your change was saved as a draft." })),
        Some(Trap::FailsToPublish) => {
            (workflow.live, workflow.active) = (None, false);
            return (400, json!({ "message": "a trigger could not be started" }));
        }
        Some(Trap::StaysLive) => return (200, workflow.document(release)),
        _ if is_live && !may_publish => return (403, json!({ "message": "Your change was saved as a draft." })),
        _ if is_live => {
            workflow.live = Some(workflow.draft.clone());
            workflow.triggers = u64::from(trap != Some(Trap::DropsTriggers));
        }
        _ => {}
    }
    (200, workflow.document(release))
}
