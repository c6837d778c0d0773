//! `keyward n8n connect` and `disconnect`, against an n8n that answers as 2.41.1 was seen to (and, where it is asked to, as
//! 1.100.1): what it changes, what it leaves, what it puts back, and that no key is printed or kept.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::process::client::{ask, request};
use crate::process::{Finished, Home, Keyward, Launch};
use crate::support::{API_KEY, Answering, Client, FakeUpstream, NODE, Received, WORKFLOW, eventually};

const CURRENT: &str = "sk-proj-canary-current-0123456789abCuRr";
const OLD: &str = "sk-proj-canary-old-0123456789abcdefgOlD";

#[test]
fn a_credential_leads_to_keyward_with_its_tag_and_keeps_all_else() {
    let scene = Scene::start("observe");
    let done = scene.connect_knowing(&["OpenAI"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let data = scene.n8n.data("c1");
    assert_eq!(data["url"], format!("http://{}/v1", scene.keyward.listen));
    assert_eq!((&data["header"], &data["headerName"]), (&true.into(), &"X-N8N-Tag".into()));
    assert_eq!(
        data["headerValue"],
        "=wf={{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}"
    );
    assert_eq!((&data["apiKey"], &data["organizationId"]), (&CURRENT.into(), &"org-own".into()));
    for said in [
        "OpenAI (c1): leads to keyward",
        "leads to keyward, which saw n8n's test of it",
        &format!("(to be put back: {})", scene.was()),
        "to undo            keyward n8n disconnect c1\n",
        "stays as it was",
        "n8n's test         Connection successful!",
        "used by            3 nodes of 1 workflow\n",
        "Agents             save or publish those of n8n's Agents that use it",
        "Report, node Ask a model: goes to api.openai.com past keyward: give it the Base URL among its own options",
    ] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    let line = scene.keyward.exchanges(1).pop().unwrap();
    assert_eq!((&line["path"], &line["attribution"]), (&"/v1/models".into(), &"tag".into()), "n8n's test came here");
    assert_eq!(line["pressed"], "c1");
    scene.assert_no_secret(&done);
}

#[test]
fn to_connect_again_changes_nothing_and_forgets_nothing() {
    let scene = Scene::start("observe");
    assert_eq!(scene.connect_knowing(&["c1"]).code(), Some(0));
    let before = scene.n8n.data("c1");
    let again = scene.connect(&["OpenAI", "--yes"]);
    assert_eq!(again.code(), Some(0), "{}{}", again.stdout, again.stderr);
    assert!(again.stdout.contains("OpenAI (c1): leads to keyward, as it did since 20"), "{}", again.stdout);
    assert_eq!(scene.n8n.data("c1"), before);
    let gateway = "https://gateway.example/v1";
    let done = scene.disconnect(&["OpenAI", "--yes", "--base-url", gateway]);
    assert!(done.stdout.contains(gateway), "what stood there first: {}", done.stdout);
    assert_eq!(scene.n8n.data("c1")["url"], "https://gateway.example/v1");
}

#[test]
fn a_credential_that_is_disconnected_is_what_it_was() {
    let scene = Scene::start("observe");
    let before = scene.n8n.data("c1");
    let was = before["url"].as_str().unwrap().to_owned();
    assert_eq!(scene.connect(&["OpenAI", "--yes", "--was", &was]).code(), Some(0));
    assert_ne!(scene.n8n.data("c1"), before);
    let done = scene.disconnect(&["OpenAI", "--yes", "--json"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&told["credentials"][0]["state"], &told["credentials"][0]["base_url"]),
        (&"disconnected".into(), &was.into())
    );
    assert_eq!(scene.n8n.data("c1"), before);
    let again = scene.disconnect(&["OpenAI", "--yes"]);
    assert_eq!(again.code(), Some(1));
    assert!(again.stderr.contains("was not connected with this state folder"), "{}", again.stderr);
    scene.assert_no_secret(&done);
}

#[test]
fn a_token_takes_the_place_of_the_key_and_a_key_that_of_the_token() {
    let scene = Scene::start("inject");
    let done = scene.connect_knowing(&["OpenAI", "--token"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("keyward n8n disconnect c1 --key-from current"), "{}", done.stdout);
    let token = scene.n8n.data("c1")["apiKey"].as_str().unwrap().to_owned();
    assert!(token.starts_with("kw_") && !done.stdout.contains(&token) && !done.stderr.contains(&token));
    assert_eq!(scene.verdict_of(&token), "token");
    let again = scene.connect(&["OpenAI", "--yes", "--token"]);
    assert!(again.stdout.contains("already"), "{}", again.stdout);
    assert_eq!(scene.n8n.data("c1")["apiKey"], token);

    let refused = scene.disconnect(&["OpenAI", "--yes"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("--key-from current is the set's own"), "{}", refused.stderr);
    assert_eq!(scene.n8n.data("c1")["apiKey"], token, "nothing was changed");
    let done = scene.disconnect(&["OpenAI", "--yes", "--key-from", "current"]);
    assert_eq!(scene.n8n.data("c1")["apiKey"], CURRENT, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("the token that stood there is revoked"), "{}", done.stdout);
    assert_eq!(scene.n8n.data("c1")["url"], scene.was());
    eventually("the end of the token", || (scene.verdict_of(&token) != "token").then_some(()));
    scene.assert_no_secret(&done);
}

/// What the ledger remembers of record `c1`.
fn record_of(home: &Home) -> Option<Value> {
    let file = rusqlite::Connection::open(home.state().join("keyward.db")).ok()?;
    let of_record = "SELECT value FROM evidence WHERE kind = 'record' AND id = 'main c1'";
    let text: String = file.query_row(of_record, [], |row| row.get(0)).ok()?;
    serde_json::from_str(&text).ok()
}

#[test]
fn a_running_keyward_knows_which_credential_has_a_key_that_keyward_put_in() {
    let scene = Scene::start("inject");
    assert_eq!(scene.connect_knowing(&["OpenAI"]).code(), Some(0));
    let kept = || std::fs::read_to_string(scene.home.state().join("connections.json")).unwrap();
    assert!(!kept().contains("written"), "its key is what it was: {}", kept());
    assert_eq!(scene.connect(&["OpenAI", "--yes", "--token"]).code(), Some(0));
    let written: Value = serde_json::from_str(&kept()).unwrap();
    let written = &written["written"][0];
    // 2026-11-25T21:21:19.967Z, as n8n says.
    assert_eq!((&written["credential"], &written["changed"]), (&"c1".into(), &1_795_641_679_967_i64.into()));
    let Scene { home, keyward, n8n, upstream, policy } = scene;
    let (listen, admin) = (keyward.listen, keyward.admin);
    assert_eq!(keyward.stop().code(), Some(0));
    let again = home.serve().config(&config(&n8n, listen, admin, &upstream.url(), policy)).start();
    let record = eventually("the record", || record_of(&home).filter(|record| record["written"].is_i64()));
    assert_eq!(record["changes"], serde_json::json!([record["written"]]), "{record}");
    drop(again);
}

#[test]
fn a_token_that_n8n_took_without_a_word_is_known_all_the_same() {
    let scene = Scene::with("inject", Behaviour { loses_word: Some("kw_"), ..Behaviour::default() });
    let before = scene.n8n.data("c1");
    let done = scene.connect_knowing(&["OpenAI", "--token"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stdout.contains("the one that stood there stands there again"), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.n8n.data("c1"), before);
    scene.assert_no_secret(&done);
    // Where the word of what puts it back is lost as well, it is not known what stands there: perhaps the token.
    let scene = Scene::with("inject", Behaviour { loses_word: Some("apiKey"), ..Behaviour::default() });
    let done = scene.connect_knowing(&["OpenAI", "--token"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stdout.contains("and it cannot be put back"), "{}{}", done.stdout, done.stderr);
    let refused = scene.disconnect(&["OpenAI", "--yes"]);
    assert!(refused.stderr.contains("--key-from current is the set's own"), "{}", refused.stderr);
    scene.assert_no_secret(&done);
}

#[test]
fn a_key_comes_from_a_place_and_never_from_the_command_line() {
    let scene = Scene::start("observe");
    scene.home.write("new", format!("{OLD}\n"));
    let path = format!("file:{}", scene.home.path("new").display());
    assert_eq!(scene.connect_knowing(&["OpenAI", "--key-from", &path]).code(), Some(0));
    assert_eq!(scene.n8n.data("c1")["apiKey"], OLD);
    let from_stdin = scene.launch(&["n8n", "connect", "OpenAI", "--yes", "--key-from", "stdin"]);
    assert_eq!(from_stdin.input(&format!("{CURRENT}\n")).run().code(), Some(0));
    assert_eq!(scene.n8n.data("c1")["apiKey"], CURRENT);
    for (from, code, said) in [
        (CURRENT, 2, "it is never an argument"),
        ("env:KEYWARD_TEST_NEVER_SET", 1, "it is not set"),
        ("prompt", 1, "the key cannot be asked for"),
    ] {
        let refused = scene.connect(&["OpenAI", "--yes", "--key-from", from]);
        assert_eq!(refused.code(), Some(code), "{from}");
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        scene.assert_no_secret(&refused);
    }
}

#[test]
fn where_n8n_does_not_get_through_everything_is_put_back() {
    let scene = Scene::start("observe");
    let before = scene.n8n.data("c1");
    let was = before["url"].as_str().unwrap().to_owned();
    let done = scene.connect(&["OpenAI", "--yes", "--was", &was, "--url", "http://127.0.0.1:9"]);
    assert_eq!(done.code(), Some(1));
    for said in [
        "does not lead to keyward, and what stood there stands there again",
        "said: ECONNREFUSED",
        "n8n's test         Connection successful!",
        "does not reach keyward there",
    ] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    assert_eq!(scene.n8n.data("c1"), before);
    assert!(scene.disconnect(&["OpenAI", "--yes"]).stderr.contains("was not connected"), "nothing is left of it");
}

#[test]
fn another_server_that_answers_there_is_not_keyward() {
    let scene = Scene::start("observe");
    let (before, other) = (scene.n8n.data("c1"), FakeUpstream::accepting());
    let done = scene.connect_knowing(&["OpenAI", "--url", &other.url()]);
    assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("passes, but no request of it came to the keyward that runs here"), "{}", done.stdout);
    assert_eq!(scene.n8n.data("c1"), before);
    // The same once it is connected: then that stands there again.
    assert_eq!(scene.connect_knowing(&["OpenAI"]).code(), Some(0));
    let connected = scene.n8n.data("c1");
    let done = scene.connect(&["OpenAI", "--yes", "--set", "default", "--url", &other.url()]);
    assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.n8n.data("c1"), connected);
}

#[test]
fn a_key_that_keyward_refuses_is_put_back_with_all_else() {
    let scene = Scene::start("inject");
    scene.n8n.holds("c1", OLD);
    let before = scene.n8n.data("c1");
    let done = scene.connect_knowing(&["OpenAI"]);
    assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
    for said in ["came to keyward with a key that is `unknown`", "n8n says: Unauthorized", "--token or --key-from"] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    assert_eq!(scene.n8n.data("c1"), before);
    // One that is given is known to be refused before anything is changed.
    scene.home.write("old", format!("{OLD}\n"));
    let path = format!("file:{}", scene.home.path("old").display());
    let refused = scene.connect_knowing(&["OpenAI", "--key-from", &path]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("nothing was changed: keyward would refuse the given key"), "{}", refused.stderr);
    assert_eq!(scene.n8n.data("c1"), before);
    scene.assert_no_secret(&done);
}

#[test]
fn a_key_that_was_replaced_in_vain_stands_there_again() {
    let scene = Scene::start("observe");
    let before = scene.n8n.data("c1");
    scene.home.write("dead", "sk-proj-canary-dead-0123456789abcdefgDeAd\n");
    let path = format!("file:{}", scene.home.path("dead").display());
    let done = scene.connect_knowing(&["OpenAI", "--key-from", &path]);
    assert_eq!(done.code(), Some(1), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("the one that stood there stands there again"), "{}", done.stdout);
    assert_eq!(scene.n8n.data("c1"), before);
    // One that keyward does not know cannot be: that is said.
    scene.n8n.holds("c1", OLD);
    let done = scene.connect_knowing(&["OpenAI", "--key-from", &path]);
    assert!(done.stdout.contains("put it into the credential yourself"), "{}", done.stdout);
    assert_eq!(scene.n8n.data("c1")["url"], scene.was());
    scene.assert_no_secret(&done);
}

#[test]
fn a_guess_replaces_no_base_url() {
    let scene = Scene::start("observe");
    let before = scene.n8n.data("c1");
    let refused = scene.connect(&["OpenAI", "--yes"]);
    assert_eq!(refused.code(), Some(1));
    let said = "nothing was changed: n8n does not tell what Base URL stands in OpenAI (c1) now. What stands there could not be \
                put back: say it with --was";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert_eq!(scene.n8n.data("c1"), before);
    // What keyward put there is known, until it is changed in n8n.
    assert_eq!(scene.connect_knowing(&["OpenAI"]).code(), Some(0));
    assert_eq!(scene.disconnect(&["OpenAI", "--yes"]).code(), Some(0));
    assert_eq!(scene.n8n.data("c1"), before);
    let again = scene.connect(&["OpenAI", "--yes"]);
    assert_eq!(again.code(), Some(0), "{}{}", again.stdout, again.stderr);
    assert!(again.stdout.contains(&format!("(to be put back: {})", scene.was())), "{}", again.stdout);
    assert_eq!(scene.disconnect(&["OpenAI", "--yes"]).code(), Some(0));
    scene.n8n.is_edited("c1", &scene.was());
    let refused = scene.connect(&["OpenAI", "--yes"]);
    assert!(refused.stderr.contains("but the credential was changed in n8n since"), "{}", refused.stderr);
    // So is what was connected, until it leads elsewhere.
    assert_eq!(scene.connect_knowing(&["OpenAI"]).code(), Some(0));
    scene.n8n.is_edited("c1", &scene.was());
    let refused = scene.connect(&["OpenAI", "--yes"]);
    assert!(refused.stderr.contains("and leads elsewhere now"), "{}", refused.stderr);
}

#[test]
fn the_audit_names_the_nodes_of_what_was_disconnected() {
    let scene = Scene::start("observe");
    assert_eq!(scene.connect_knowing(&["OpenAI"]).code(), Some(0));
    let audit = || scene.launch(&["n8n", "audit"]).run().stdout;
    let says = |audit: &str| audit.contains("sends past keyward: its credential was disconnected at");
    assert!(!says(&audit()), "{}", audit());
    assert_eq!(scene.disconnect(&["OpenAI", "--yes"]).code(), Some(0));
    let told = audit();
    assert!(says(&told), "{told}");
    for node in ["Write it", "Read it"] {
        let said = format!("node {node} of workflow Report sends past keyward: its credential was disconnected");
        assert!(told.contains(&said), "{told}");
    }
    assert_eq!(told.matches("its credential was disconnected").count(), 2, "the others have another: {told}");
    assert_eq!(scene.connect(&["OpenAI", "--yes"]).code(), Some(0));
    assert!(!says(&audit()), "{}", audit());
}

#[test]
fn what_fails_without_keyward_is_not_disconnected_by_a_guess() {
    let scene = Scene::start("observe");
    assert_eq!(scene.connect(&["OpenAI", "--yes", "--was", "http://127.0.0.1:9/v1"]).code(), Some(0));
    let connected = scene.n8n.data("c1");
    let done = scene.disconnect(&["OpenAI", "--yes"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stdout.contains("was left as it was, and leads to keyward"), "{}", done.stdout);
    assert_eq!(scene.n8n.data("c1"), connected);
    // What you name is put there all the same.
    let done = scene.disconnect(&["OpenAI", "--yes", "--base-url", "http://127.0.0.1:9/v1"]);
    assert_eq!(done.code(), Some(1), "its test fails");
    assert_eq!(scene.n8n.data("c1")["url"], "http://127.0.0.1:9/v1");
    // What leads to keyward still is not disconnected.
    assert_eq!(scene.connect_knowing(&["OpenAI"]).code(), Some(0));
    let own = format!("http://{}/v1", scene.keyward.listen);
    let done = scene.disconnect(&["OpenAI", "--yes", "--base-url", &own]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stdout.contains("OpenAI (c1): still leads to keyward"), "{}", done.stdout);
}

#[test]
fn nothing_is_changed_without_a_yes_or_with_a_mistake() {
    let scene = Scene::start("observe");
    let before = scene.n8n.data("c1");
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 9] = [
        (&["OpenAI"], "--yes has to say that it may be"),
        (&["OpenAI", "none-such", "--yes"], "there is no OpenAI credential with the id or the name `none-such`; there are: OpenAI (c1), Twin (c2), Twin (c3)"),
        (&["Twin", "--yes"], "several credentials are called `Twin`: choose by id, c2 or c3"),
        (&["Header", "--yes"], "is no OpenAI credential, but one of the type httpHeaderAuth"),
        (&["OpenAI", "--yes", "--url", "http://keyward:8080/v2"], "A Base URL ends in /v1."),
        (&["OpenAI", "--yes", "--url", "keyward:8080"], "It has no scheme."),
        (&["OpenAI", "--yes", "--token"], "set `default` only observes"),
        (&["OpenAI", "--yes", "--set", "nope"], "there is no key set of that name (--set); the configuration has: default"),
        (&["OpenAI", "--yes", "--n8n", "nope"], "there is no n8n \"nope\"; there are: main"),
    ];
    for (arguments, said) in cases {
        let refused = scene.connect(arguments);
        assert_eq!(refused.code(), Some(1), "{arguments:?}");
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    let to_upstream = scene.connect(&["OpenAI", "--yes", "--url", &scene.upstream.url()]);
    assert!(to_upstream.stderr.contains("is where keyward itself sends requests"), "{}", to_upstream.stderr);
    assert_eq!(scene.n8n.data("c1"), before);
}

#[test]
fn a_scope_that_the_api_key_lacks_is_named_and_nothing_is_kept() {
    for (lacks, scope) in [("PATCH", "credential:update"), ("POST", "credential:read")] {
        let scene = Scene::with("observe", Behaviour { refuses: Some(lacks), ..Behaviour::default() });
        let before = scene.n8n.data("c1");
        let refused = scene.connect_knowing(&["OpenAI"]);
        assert_eq!(refused.code(), Some(1));
        assert!(refused.stderr.contains(&format!("it needs the scope {scope}")), "{}", refused.stderr);
        assert_eq!(scene.n8n.data("c1"), before);
        assert!(!scene.home.state().join("connections.json").exists(), "nothing is left of it");
    }
}

#[test]
fn an_n8n_that_cannot_change_credentials_leaves_it_to_people() {
    let scene = Scene::with("inject", Behaviour { is_first: true, ..Behaviour::default() });
    let done = scene.connect(&["OpenAI"]);
    assert_eq!(done.code(), Some(1), "it is not connected yet: {}{}", done.stdout, done.stderr);
    let origin = format!("http://{}", scene.keyward.listen);
    let values = [
        format!(
            "{origin}/n8n/{{{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}}}/{{{{ $execution.id \
             }}}}/{{{{ $nodeId || 'none' }}}}/v1"
        ),
        "n8n-{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}-{{ $execution.id }}".to_owned(),
    ];
    let lines: Vec<_> = done.stdout.lines().collect();
    for (name, value) in
        ["  Base URL, as an expression:", "  Organization ID, as an expression:"].into_iter().zip(values)
    {
        let at = lines.iter().position(|line| *line == name).unwrap_or_else(|| panic!("{name} in {}", done.stdout));
        assert_eq!(lines[at + 1], value, "it can be pasted as it stands");
    }
    // What it cannot do is refused, and nothing is asked for in vain.
    for (what, said) in
        [("--token", "`keyward token new SET --name n8n`"), ("--key-from=prompt", "leave --key-from out")]
    {
        let refused = scene.connect(&["OpenAI", "--yes", what]);
        assert_eq!(refused.code(), Some(1));
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    let back = scene.disconnect(&["OpenAI", "--yes"]);
    assert_eq!(back.code(), Some(1));
    assert!(
        back.stdout.contains("what stood there before; OpenAI's own is https://api.openai.com/v1"),
        "{}",
        back.stdout
    );
    let refused = scene.disconnect(&["OpenAI", "--yes", "--key-from", "prompt"]);
    assert!(refused.stderr.contains("leave --key-from out"), "{}", refused.stderr);
    assert!(scene.n8n.changes().iter().all(|change| change.head.line.contains("/credentials/0 ")));
}

#[test]
fn a_credential_that_you_change_by_hand_is_waited_for() {
    let scene = Scene::with("observe", Behaviour { is_first: true, ..Behaviour::default() });
    let waiting = scene.launch(&["n8n", "connect", "OpenAI", "c2", "--verify", "--within", "20"]).run_meanwhile();
    let bearer = format!("Bearer {CURRENT}");
    let run = |workflow: &str, node: &str| {
        let path = format!("/n8n/{workflow}/12/{node}/v1/chat/completions");
        assert_eq!(ask(scene.keyward.listen, &path, &[("Authorization", &bearer)]).status, 200);
    };
    let press = || {
        let path = "/n8n/editor/__UNKNOWN__/none/v1/models";
        assert_eq!(ask(scene.keyward.listen, path, &[("Authorization", &bearer)]).status, 200);
    };
    eventually("the wait", || waiting.stderr().contains("a press of the test button of OpenAI (c1)").then_some(()));
    press();
    eventually("the test", || waiting.stderr().contains("seen: test").then_some(()));
    run(WORKFLOW, NODE);
    eventually("its end", || waiting.stderr().contains("OpenAI (c1): leads to keyward").then_some(()));
    eventually("the next one", || waiting.stderr().contains("a press of the test button of Twin (c2)").then_some(()));
    press();
    run(WORKFLOW, "n4");
    let done = waiting.wait();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("Twin (c2): leads to keyward"), "{}", done.stderr);
}

#[test]
fn verifying_waits_for_the_test_and_a_run_and_says_who_it_was() {
    let scene = Scene::start("observe");
    let was = scene.was();
    let arguments = ["n8n", "connect", "OpenAI", "--yes", "--was", &was, "--verify", "--json"];
    let waiting = scene.launch(&arguments).run_meanwhile();
    eventually("n8n's test", || waiting.stderr().contains("seen: test: current").then_some(()));
    let tag = format!("wf={WORKFLOW};ex=12;node={NODE}");
    let bearer = format!("Bearer {CURRENT}");
    let other = [("Authorization", &*bearer), ("X-N8N-Tag", "wf=another;ex=11;node=n")];
    assert_eq!(ask(scene.keyward.listen, "/v1/chat/completions", &other).status, 200);
    let headers = [("Authorization", &*bearer), ("X-N8N-Tag", &*tag)];
    assert_eq!(ask(scene.keyward.listen, "/v1/chat/completions", &headers).status, 200);
    let done = waiting.wait();
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("workflow Report, node Write it, execution 12"), "{}", done.stderr);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    let seen = &told["credentials"][0]["seen"];
    assert_eq!((&seen["run"]["workflow_id"], &seen["run"]["verdict"]), (&WORKFLOW.into(), &"current".into()));
    scene.assert_no_secret(&done);
}

#[test]
fn verifying_does_not_wait_for_ever_and_a_wrong_key_is_not_well() {
    let scene = Scene::start("observe");
    let done = scene.connect_knowing(&["OpenAI", "--verify", "--within", "1"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stderr.contains("not seen: a run of a node that uses it"), "{}", done.stderr);
    assert!(done.stdout.contains("leads to keyward"), "it does all the same: {}", done.stdout);
    let Scene { keyward, home, n8n, .. } = scene;
    let config = config(&n8n, keyward.listen, keyward.admin, "http://127.0.0.1:9", "observe");
    keyward.stop();
    let unanswered = home.keyward(&["n8n", "connect", "OpenAI", "--yes", "--verify"]).config(&config).run();
    assert!(unanswered.stderr.contains("nothing was changed: that a credential leads"), "{}", unanswered.stderr);
    assert!(unanswered.stderr.contains("no keyward runs at 127.0.0.1:"), "{}", unanswered.stderr);
}

#[test]
fn the_tests_of_a_forgotten_copy_are_no_use_of_its_old_key() {
    let scene = Scene::start("observe");
    scene.n8n.holds("c1", OLD);
    let bindings = || {
        let told = scene.launch(&["bindings", "--json"]).run();
        serde_json::from_str::<Value>(&told.stdout).unwrap()["bindings"].as_array().unwrap().len()
    };
    let done = scene.connect_knowing(&["OpenAI"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    let line = scene.keyward.exchanges(1).pop().unwrap();
    assert_eq!((&line["pressed"], &line["path"]), (&"c1".into(), &"/v1/models".into()));
    assert_eq!(bindings(), 0, "it was connected, and not used");
    // A press of the button in n8n is.
    ask(scene.keyward.listen, "/v1/models", &[("Authorization", &format!("Bearer {OLD}"))]);
    assert_eq!(bindings(), 1);
    scene.assert_no_secret(&done);
}

/// A keyward in front of an upstream, and an n8n beside it.
struct Scene {
    home: Home,
    upstream: FakeUpstream,
    n8n: FakeN8n,
    keyward: Keyward,
    policy: &'static str,
}

impl Scene {
    fn start(policy: &'static str) -> Self {
        Self::with(policy, Behaviour::default())
    }

    fn with(policy: &'static str, behaviour: Behaviour) -> Self {
        let home = Home::new();
        home.write("current", format!("{CURRENT}\n"));
        home.write("api-key", format!("{API_KEY}\n"));
        let (upstream, n8n) = (FakeUpstream::taking(&[CURRENT, OLD]), FakeN8n::start(behaviour));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let config = config(&n8n, nowhere, nowhere, &upstream.url(), policy);
        let keyward = home.serve().config(&config).start();
        Self { home, upstream, n8n, keyward, policy }
    }

    /// A command with the same configuration, once it is known where keyward listens.
    fn launch(&self, arguments: &[&str]) -> Launch {
        let (listen, admin) = (self.keyward.listen, self.keyward.admin);
        let launch = self.home.keyward(arguments).env("KEYWARD_ADMIN_LISTEN", &admin.to_string());
        launch.config(&config(&self.n8n, listen, admin, &self.upstream.url(), self.policy))
    }

    fn connect(&self, arguments: &[&str]) -> Finished {
        self.launch(&[&["n8n", "connect"], arguments].concat()).run()
    }

    /// With what is needed for it to be done without a question.
    fn connect_knowing(&self, arguments: &[&str]) -> Finished {
        let was = self.was();
        self.connect(&[arguments, &["--yes", "--was", &was]].concat())
    }

    /// The Base URL that stands in each record at first.
    fn was(&self) -> String {
        format!("{}/v1", self.n8n.gateway.url())
    }

    fn disconnect(&self, arguments: &[&str]) -> Finished {
        self.launch(&[&["n8n", "disconnect"], arguments].concat()).run()
    }

    fn verdict_of(&self, key: &str) -> String {
        ask(self.keyward.listen, "/v1/models", &[("Authorization", &format!("Bearer {key}"))]).verdict().to_owned()
    }

    /// Neither in what was printed, nor in the log, nor in the state folder.
    #[track_caller]
    fn assert_no_secret(&self, done: &Finished) {
        self.home.assert_no_canary(&[&done.stdout, &done.stderr, &self.keyward.log()]);
    }
}

fn config(n8n: &FakeN8n, listen: SocketAddr, admin: SocketAddr, upstream: &str, policy: &str) -> String {
    let url = n8n.server.url();
    format!(
        "[proxy]\nupstream = \"{upstream}\"\nlisten = \"{listen}\"\n[admin]\nlisten = \"{admin}\"\n\
         [keys.default]\npolicy = \"{policy}\"\ncurrent = {{ file = \"current\" }}\n\
         [n8n.main]\nurl = \"{url}\"\napi_key = {{ file = \"api-key\" }}\nkeyward = \"http://{listen}\"\npress = false\n"
    )
}

/// An n8n's public API, as it was seen to answer.
struct FakeN8n {
    server: FakeUpstream,
    records: Arc<Mutex<Vec<Value>>>,
    /// Where the credential leads before it is connected.
    gateway: FakeUpstream,
}

/// How it differs from 2.41.1 with an API key of all scopes.
#[derive(Clone, Copy, Default)]
struct Behaviour {
    /// It is one of n8n 1: it lists no credentials, and changes and tests none.
    is_first: bool,
    /// It answers such requests for a credential with 403.
    refuses: Option<&'static str>,
    /// It takes what has that in it, and the answer to that gets lost.
    loses_word: Option<&'static str>,
}

impl FakeN8n {
    fn start(behaviour: Behaviour) -> Self {
        let gateway = FakeUpstream::accepting();
        let record = |id: &str, name: &str, kind: &str, data: Value| json!({ "id": id, "name": name, "type": kind, "data": data, "updatedAt": "2026-11-25T21:21:19.967Z" });
        let url = format!("{}/v1", gateway.url());
        let data = json!({
            "apiKey": CURRENT, "organizationId": "org-own", "url": url, "header": false, "headerName": "", "headerValue": "",
        });
        let records = Arc::new(Mutex::new(vec![
            record("c1", "OpenAI", "openAiApi", data.clone()),
            record("c2", "Twin", "openAiApi", data.clone()),
            record("c3", "Twin", "openAiApi", data),
            record("c4", "Header", "httpHeaderAuth", json!({})),
        ]));
        let kept = Arc::clone(&records);
        let server = FakeUpstream::scripted(move |visit| {
            let Ok(request) = visit.request() else { return };
            let (status, body) = respond(behaviour, &mut kept.lock().unwrap(), &request);
            let text = String::from_utf8_lossy(&request.body);
            if behaviour.loses_word.is_some_and(|lost| text.contains(lost)) {
                return visit.close();
            }
            visit.send(Answering::json(status, body.to_string()));
        });
        Self { server, records, gateway }
    }

    /// What stands in a record.
    fn data(&self, id: &str) -> Value {
        let records = self.records.lock().unwrap();
        records.iter().find(|record| record["id"] == id).unwrap()["data"].clone()
    }

    /// Has a record hold that key.
    fn holds(&self, id: &str, key: &str) {
        let mut records = self.records.lock().unwrap();
        records.iter_mut().find(|record| record["id"] == id).unwrap()["data"]["apiKey"] = key.into();
    }

    /// Has a person change where a record leads, in n8n.
    fn is_edited(&self, id: &str, url: &str) {
        let mut records = self.records.lock().unwrap();
        let record = records.iter_mut().find(|record| record["id"] == id).unwrap();
        record["data"]["url"] = url.into();
        record["data"]["header"] = false.into();
        record["updatedAt"] = "2026-11-26T09:00:00.000Z".into();
    }

    /// The requests that would change something.
    fn changes(&self) -> Vec<Received> {
        self.server.received().into_iter().filter(|request| request.head.line.starts_with("PATCH")).collect()
    }
}

fn respond(behaviour: Behaviour, records: &mut [Value], request: &Received) -> (u16, Value) {
    if request.head.header("x-n8n-api-key") != Some(API_KEY) {
        return (401, json!({ "message": "unauthorized" }));
    }
    let mut words = request.head.line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap().strip_prefix("/api/v1/").unwrap();
    let parts: Vec<_> = path.split('/').collect();
    if behaviour.refuses == Some(method) && parts.len() > 1 {
        return (403, json!({ "message": "Forbidden" }));
    }
    match (method, &parts[..]) {
        ("GET", ["workflows"]) => (200, json!({ "data": [workflow()], "nextCursor": null })),
        ("GET", ["credentials", "schema", "openAiApi"]) => (200, schema(behaviour)),
        ("GET" | "PATCH", ["credentials", ..]) if behaviour.is_first => {
            (405, json!({ "message": format!("{method} method not allowed") }))
        }
        ("POST", ["credentials", _, "test"]) if behaviour.is_first => (404, json!({ "message": "not found" })),
        ("GET", ["credentials"]) => {
            (200, json!({ "data": records.iter().map(public).collect::<Vec<_>>(), "nextCursor": null }))
        }
        ("PATCH", ["credentials", id]) => change(records, id, &serde_json::from_slice(&request.body).unwrap()),
        ("POST", ["credentials", id, "test"]) => {
            let record = records.iter().find(|record| record["id"] == *id).unwrap();
            (200, press(&record["data"]))
        }
        _ => (404, json!({ "message": "not found" })),
    }
}

/// Never the data.
fn public(record: &Value) -> Value {
    json!({ "id": record["id"], "name": record["name"], "type": record["type"], "updatedAt": record["updatedAt"] })
}

/// Merged only where that is asked for; complete data in any other case.
fn change(records: &mut [Value], id: &str, body: &Value) -> (u16, Value) {
    let Some(record) = records.iter_mut().find(|record| record["id"] == id) else {
        return (404, json!({ "message": "Credential not found" }));
    };
    if body["isPartialData"] == true {
        for (name, value) in body["data"].as_object().unwrap() {
            record["data"][name] = value.clone();
        }
    } else if body["data"]["apiKey"].is_null() {
        return (400, json!({ "message": "request.body.data requires property \"apiKey\"" }));
    } else {
        record["data"] = body["data"].clone();
    }
    record["updatedAt"] = "2026-11-25T21:21:19.967Z".into();
    (200, public(record))
}

/// As n8n's test button: with the key and the header, whose expressions find no workflow.
pub(crate) fn press(data: &Value) -> Value {
    let failed = |message: &str| json!({ "status": "Error", "message": message });
    let url = data["url"].as_str().unwrap();
    let Some(address) = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/v1")) else {
        return failed("ENOTFOUND");
    };
    if TcpStream::connect(address).is_err() {
        return failed("ECONNREFUSED");
    }
    let bearer = format!("Bearer {}", data["apiKey"].as_str().unwrap());
    let mut headers =
        vec![("Authorization", &*bearer), ("User-Agent", "n8n"), ("Accept", "application/json, text/plain, */*")];
    if data["header"] == true {
        headers.push((data["headerName"].as_str().unwrap(), "wf=editor;ex=__UNKNOWN__;node="));
    }
    let mut client = Client::connect(address.parse().unwrap());
    client.send(request("GET", "/v1/models", &headers, b""));
    match client.read().status {
        200 => json!({ "status": "OK", "message": "Connection successful!" }),
        401 => failed("Unauthorized"),
        status => failed(&format!("status {status}")),
    }
}

fn schema(behaviour: Behaviour) -> Value {
    let text = json!({ "type": "string" });
    let mut schema =
        json!({ "properties": { "apiKey": text, "organizationId": text, "url": text }, "required": ["apiKey"] });
    if !behaviour.is_first {
        schema["properties"]["header"] = json!({ "type": "boolean" });
    }
    schema
}

fn workflow() -> Value {
    let node = |id: &str, name: &str, kind: &str, record: &str| json!({ "id": id, "name": name, "type": kind, "typeVersion": 1, "parameters": {}, "credentials": { "openAiApi": { "id": record, "name": if record == "c1" { "OpenAI" } else { "Twin" } } } });
    let openai = "@n8n/n8n-nodes-langchain.openAi";
    json!({
        "id": WORKFLOW, "name": "Report", "active": true, "nodes": [
            node(NODE, "Write it", openai, "c1"),
            node("n2", "Read it", openai, "c1"),
            node("n3", "Ask a model", "@n8n/n8n-nodes-langchain.lmOpenAi", "c1"),
            node("n4", "Another", openai, "c2"),
        ],
    })
}
