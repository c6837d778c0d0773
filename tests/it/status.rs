//! `keyward status` alone names each fault and the next step, as you need it when something has just stopped working.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::process::client::{ask, ask_with, request};
use crate::process::{Finished, Home, Keyward};
use crate::support::{Answering, Client, FakeUpstream, eventually};

/// A set with one key.
const SOLE: &str = "[keys.default]\ncurrent = { file = \"key\" }\n";

/// With an old key besides.
const FILE: &str = "[keys.default]\ncurrent = { file = \"key\" }\nprevious = [{ file = \"old\" }]\n";

struct Scene {
    home: Home,
    keyward: Keyward,
    config: String,
    _upstream: Option<FakeUpstream>,
}

impl Scene {
    fn new(upstream: FakeUpstream) -> Self {
        let url = upstream.url();
        Self::at(&url, Some(upstream))
    }

    /// With one key.
    fn sole(upstream: FakeUpstream) -> Self {
        let url = upstream.url();
        Self::with(SOLE, &url, Some(upstream))
    }

    /// In front of an upstream that nothing is heard of.
    fn at(url: &str, upstream: Option<FakeUpstream>) -> Self {
        Self::with(FILE, url, upstream)
    }

    fn with(keys: &str, url: &str, upstream: Option<FakeUpstream>) -> Self {
        let home = Home::new();
        home.write("key", "sk-current");
        home.write("old", "sk-old");
        let config = format!("{keys}[proxy]\nupstream = \"{url}\"\n");
        let keyward = home.serve().config(&config).start();
        Self { home, keyward, config, _upstream: upstream }
    }

    /// A request of a node with that in its `Authorization`.
    fn send(&self, path: &str, authorization: &str) {
        let tag = ("X-N8N-Tag", "wf=w1;ex=7;node=n1");
        ask(
            self.keyward.listen,
            path,
            &[("Authorization", authorization), tag, ("X-N8N-Workflow-Name", "Weekly report")],
        );
    }

    /// A node's request that costs.
    fn post(&self, node: &str, key: &str) {
        let mut client = Client::connect(self.keyward.listen);
        let (authorization, tag) = (format!("Bearer {key}"), format!("wf=w1;ex=7;node={node}"));
        let headers = [
            ("Authorization", &*authorization),
            ("X-N8N-Tag", &tag),
            ("X-N8N-Workflow-Name", "Weekly report"),
            ("Content-Type", "application/json"),
        ];
        client.send(request("POST", "/v1/chat/completions", &headers, b"{}"));
        client.read();
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let admin = self.keyward.admin.to_string();
        self.home.keyward(arguments).config(&self.config).env("KEYWARD_ADMIN_LISTEN", &admin).run()
    }

    /// What a command says, once it says all of that; it ends with 1 then. An exchange is remembered a moment after its answer.
    #[track_caller]
    fn tells(&self, command: &str, expected: &[&str]) -> String {
        let told = eventually(&expected.join(" … "), || {
            let told = self.run(&[command]);
            expected.iter().all(|said| words(&told.stdout).contains(said)).then_some(told)
        });
        assert_eq!(told.code(), Some(1), "{}", told.stdout);
        words(&told.stdout)
    }

    #[track_caller]
    fn says(&self, expected: &[&str]) -> String {
        self.tells("status", expected)
    }

    /// Stops keyward, and starts it with another key file and upstream.
    fn restarted(self, upstream: FakeUpstream) -> Self {
        let Self { home, keyward, .. } = self;
        keyward.stop();
        let config = format!("{}[proxy]\nupstream = \"{}\"\n", SOLE, upstream.url());
        let keyward = home.serve().config(&config).start();
        Self { home, keyward, config, _upstream: Some(upstream) }
    }
}

/// Lines are wrapped wherever there is no room.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_only_key_was_revoked() {
    let scene = Scene::new(FakeUpstream::taking(&[]));
    scene.send("/v1/models", "Bearer sk-current");
    scene.says(&["refuses the current key", "Make a new key"]);
}

#[test]
fn the_quota_is_used_up() {
    let used_up = Answering::json(429, r#"{"error":{"code":"insufficient_quota"}}"#);
    let scene = Scene::new(FakeUpstream::scripted(move |visit| visit.answer(&used_up)));
    scene.send("/v1/models", "Bearer sk-current");
    scene.says(&["out of credit, or at its limit", "Add credit"]);
}

/// The check sees what a key is worth, and a keyward that runs has seen what the list of models does not show.
#[test]
fn the_check_begins_with_what_a_running_keyward_says() {
    let used_up = Answering::json(429, r#"{"error":{"code":"insufficient_quota"}}"#);
    let scene = Scene::new(FakeUpstream::scripted(move |visit| visit.answer(&used_up)));
    scene.send("/v1/models", "Bearer sk-current");
    scene.says(&["out of credit, or at its limit"]);
    let admin = scene.keyward.admin.to_string();
    let check = scene.home.keyward(&["check", "--online"]).config(&scene.config).env("KEYWARD_ADMIN_LISTEN", &admin);
    let told = check.run();
    assert_eq!(told.code(), Some(1), "{}", told.stdout);
    let first = told.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with("problem  the keyward that runs: The account of the current key"), "{}", told.stdout);
    assert!(first.ends_with("Leave the keys as they are."), "{}", told.stdout);
}

#[test]
fn the_check_tells_one_fault_once_and_does_not_advise_itself() {
    let scene = Scene::new(FakeUpstream::taking(&[]));
    scene.send("/v1/models", "Bearer sk-current");
    scene.says(&["refuses the current key"]);
    let told = scene.run(&["check", "--online"]);
    assert_eq!(told.stdout.matches("problem  ").count(), 1, "{}", told.stdout);
    assert!(told.stdout.contains("Make a new key and put it into file key"), "{}", told.stdout);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = Scene::at(&format!("http://{closed}"), None);
    ask_with(scene.keyward.listen, "sk-current");
    scene.says(&["cannot be reached"]);
    let told = scene.run(&["check", "--online"]);
    assert_eq!(told.stdout.matches("problem  ").count(), 1, "{}", told.stdout);
    assert!(told.stdout.contains("cannot be reached") && !told.stdout.contains("--online"), "{}", told.stdout);
}

#[test]
fn the_check_that_reaches_upstream_again_says_so_together_with_the_problem() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = Scene::at(&format!("http://{closed}"), None);
    ask_with(scene.keyward.listen, "sk-current");
    scene.says(&["cannot be reached"]);
    let upstream = FakeUpstream::taking(&["sk-current"]);
    let config = scene.config.replace(&closed.to_string(), upstream.url().trim_start_matches("http://"));
    let admin = scene.keyward.admin.to_string();
    let check = scene.home.keyward(&["check", "--online"]).config(&config).env("KEYWARD_ADMIN_LISTEN", &admin).run();
    let said = words(&check.stdout);
    assert_eq!((check.code(), said.matches("problem ").count()), (Some(0), 1), "{said}");
    assert!(said.contains("did not reach upstream; this command reaches it now"), "{said}");
    assert!(said.contains("is over with the next request that is answered"), "{said}");
}

#[test]
fn upstream_is_down() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = Scene::at(&format!("http://{closed}"), None);
    ask_with(scene.keyward.listen, "sk-current");
    scene.says(&["cannot be reached", "refused", "See whether keyward's machine reaches upstream"]);
}

#[test]
fn the_name_of_upstream_cannot_be_resolved() {
    let scene = Scene::at("http://no-such-host.invalid", None);
    ask_with(scene.keyward.listen, "sk-current");
    scene.says(&["the name no-such-host.invalid cannot be resolved", "See whether keyward's machine reaches upstream"]);
}

#[test]
fn a_key_file_is_gone() {
    let scene = Scene::new(FakeUpstream::accepting());
    fs::remove_file(scene.home.path("key")).unwrap();
    scene.says(&["the key `current` of set `default` is not known", "Put the key there"]);
}

#[test]
fn a_base_url_is_wrong() {
    let missing = Answering::json(404, r#"{"error":{"code":"unknown_url"}}"#);
    let scene = Scene::new(FakeUpstream::scripted(move |visit| visit.answer(&missing)));
    scene.send("/v1/v1/models", "Bearer sk-current");
    scene.says(&["Weekly report", "Look at the Base URL"]);
}

#[test]
fn a_key_is_in_quotation_marks() {
    let scene = Scene::new(FakeUpstream::taking(&["sk-current"]));
    scene.send("/v1/models", "Bearer \"sk-current\"");
    scene.says(&["Weekly report", "malformed_quoted", "take the quotation marks away"]);
}

#[test]
fn a_worker_has_an_older_environment() {
    let scene = Scene::new(FakeUpstream::taking(&["sk-current", "sk-old"]));
    for _ in 0..3 {
        scene.send("/v1/models", "Bearer sk-current");
        scene.send("/v1/models", "Bearer sk-old");
    }
    // What began in the same millisecond has no order.
    std::thread::sleep(Duration::from_millis(20));
    scene.send("/v1/models", "Bearer sk-current");
    scene.says(&[
        "Next: 127.0.0.1 still sends the old key: restart that worker (or clone) with the new environment",
        "Weekly report",
        "old key",
        "restart it with the new one",
    ]);
}

/// An upstream that answers every request with what `mode` says then.
fn changing(mode: &Arc<AtomicUsize>) -> FakeUpstream {
    let mode = Arc::clone(mode);
    FakeUpstream::scripted(move |visit| {
        visit.answer(&match mode.load(Ordering::Relaxed) {
            WELL => Answering::json(200, r#"{"ok":true}"#),
            QUOTA => Answering::json(429, r#"{"error":{"code":"insufficient_quota"}}"#),
            FAILING => Answering::json(503, "{}"),
            _ => Answering::json(401, r#"{"error":{"code":"invalid_api_key"}}"#),
        });
    })
}

const WELL: usize = 0;
const QUOTA: usize = 1;
const FAILING: usize = 2;
const REVOKED: usize = 3;

#[test]
fn keyward_does_not_run() {
    let scene = Scene::sole(FakeUpstream::accepting());
    scene.post("n1", "sk-current");
    let Scene { home, keyward, config, _upstream: _running } = scene;
    let admin = keyward.admin.to_string();
    keyward.stop();
    let run = |arguments: &[&str]| home.keyward(arguments).config(&config).env("KEYWARD_ADMIN_LISTEN", &admin).run();
    let status = run(&["status"]);
    let said = words(&status.stdout);
    assert!(said.starts_with(&format!("Is all well? NO: keyward does not run (nothing answers at {admin})")), "{said}");
    assert!(said.contains("Next: start it (`keyward serve`"), "{said}");
    assert_eq!(status.code(), Some(1));
    for (arguments, code) in [(&["incidents"][..], 1), (&["rotation"], 0), (&["rotation", "--can-go"], 3)] {
        let told = run(arguments);
        let first = format!("No keyward runs here (nothing answers at {admin}): this is what its store remembers.");
        assert!(words(&told.stdout).starts_with(&first), "{}", told.stdout);
        assert_eq!(told.code(), Some(code), "{arguments:?}");
    }
    let silent = home.keyward(&["status"]).config(&config).env("KEYWARD_ADMIN_LISTEN", "off").run();
    assert!(
        words(&silent.stdout).starts_with("Is all well? NOT KNOWN: the admin listener is off"),
        "{}",
        silent.stdout
    );
    assert_eq!(silent.code(), Some(3), "{}", silent.stderr);
}

#[test]
fn a_node_whose_account_is_out_of_credit_is_no_yes_and_its_rotation_says_why() {
    let mode = Arc::new(AtomicUsize::new(QUOTA));
    let scene = Scene::sole(changing(&mode));
    scene.post("n1", "sk-current");
    scene.says(&["Is all well? NO: the account of the current key is out of credit"]);
    scene.tells("incidents", &["No incident of a single caller is open, but 1 problem is open", "quota_used_up"]);
    scene.tells("rotation", &["Next: do what quota_used_up says above"]);
    // Another node shows that the account can pay, and the first has not run since.
    mode.store(WELL, Ordering::Relaxed);
    scene.post("n2", "sk-current");
    scene.says(&[
        "Is all well? NO: 1 node fails (quota)",
        "Next: run what fails once more",
        "1 of 2 confirmed, 1 failing",
    ]);
    let rotation = scene.run(&["rotation"]);
    let row = rotation.stdout.lines().find(|row| row.starts_with("failing")).unwrap_or_default();
    assert!(row.contains("quota"), "{}", rotation.stdout);
}

#[test]
fn what_was_wrong_when_keyward_was_stopped_is_not_well_after_a_restart() {
    let mode = Arc::new(AtomicUsize::new(WELL));
    for (wrong, title, text) in [
        (QUOTA, "out of credit, or at its limit", "2 callers before keyward was restarted"),
        (FAILING, "upstream fails", "failed before keyward was restarted"),
        (REVOKED, "upstream refuses the current key", "2 callers before keyward was restarted"),
    ] {
        mode.store(WELL, Ordering::Relaxed);
        let scene = Scene::sole(changing(&mode));
        scene.post("n1", "sk-current");
        mode.store(wrong, Ordering::Relaxed);
        for node in ["n1", "n2", "n2"] {
            scene.post(node, "sk-current");
        }
        scene.says(&[title]);
        let scene = scene.restarted(changing(&mode));
        scene.says(&[
            &format!("Is all well? NO: {}", if wrong == QUOTA { "the account of" } else { title }),
            title,
            text,
        ]);
        mode.store(WELL, Ordering::Relaxed);
        for node in ["n1", "n2", "n1"] {
            scene.post(node, "sk-current");
        }
        eventually("it is over", || {
            let told = scene.run(&["status"]);
            (words(&told.stdout).starts_with("Is all well? YES") && told.code() == Some(0)).then_some(())
        });
    }
}

#[test]
fn an_upstream_that_was_not_there_before_a_restart_is_told_of_until_it_answers() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = Scene::with(SOLE, &format!("http://{closed}"), None);
    scene.post("n1", "sk-current");
    scene.says(&["upstream cannot be reached"]);
    let scene = scene.restarted(FakeUpstream::accepting());
    scene.says(&["could not be reached before keyward was restarted", "1 caller before keyward was restarted"]);
    scene.post("n1", "sk-current");
    eventually("it is over", || words(&scene.run(&["status"]).stdout).starts_with("Is all well? YES").then_some(()));
}

#[test]
fn a_key_that_never_worked_is_tried_before_it_goes_into_n8n() {
    let scene = Scene::sole(FakeUpstream::taking(&["sk-current"]));
    scene.post("n1", "sk-current");
    scene.home.write("key", "sk-dead");
    eventually("the dead key is current", || {
        scene.post("n1", "sk-current");
        words(&scene.run(&["status"]).stdout).contains("1 node still sends it").then_some(())
    });
    for command in ["status", "rotation"] {
        scene.tells(
            command,
            &["Next: try the current key first, which was never seen to work: `keyward check --online`"],
        );
    }
    scene.post("n2", "sk-dead");
    scene.tells("rotation", &["current_key_refused", "Next: do what current_key_refused says above"]);
}

#[test]
fn nodes_that_sent_nothing_since_their_key_was_refused_are_a_no() {
    let scene = Scene::sole(FakeUpstream::taking(&["sk-new"]));
    for node in ["n1", "n2", "n3", "n4", "n5"] {
        scene.post(node, "sk-current");
    }
    scene.says(&["current_key_refused", "5 callers"]);
    scene.home.write("key", "sk-new");
    eventually("the new key is current", || {
        scene.post("n5", "sk-new");
        (!words(&scene.run(&["status"]).stdout).contains("current_key_refused")).then_some(())
    });
    for command in ["status", "rotation"] {
        let said = scene.tells(command, &["NO: 4 nodes send a key that OpenAI refuses"]);
        assert!(!said.contains("NOT PROVEN"), "{said}");
    }
    assert_eq!(scene.run(&["rotation", "--can-go"]).code(), Some(1));
    scene.post("n1", "sk-new");
    scene.says(&["NO: 3 nodes send a key that OpenAI refuses"]);
}

#[test]
fn a_worker_that_sent_the_old_key_last_is_restarted_first() {
    let scene = Scene::new(FakeUpstream::taking(&["sk-current", "sk-old"]));
    for key in ["sk-old", "sk-current", "sk-old"] {
        scene.post("n1", key);
        // What began in the same millisecond has no order.
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.says(&["stale_binding (1)", "1. Good keys come from it as well, so look for a worker of n8n"]);
    let log = scene.keyward.log();
    assert!(log.contains("\"remedy\":\"1. Open the node in n8n and see which credential"), "the first one: {log}");
    assert!(log.contains("\"remedy\":\"1. Good keys come from it as well"), "{log}");
}

#[test]
fn on_a_terminal_of_24_rows_the_answer_and_every_kind_of_fault_are_in_sight() {
    let scene = Scene::new(FakeUpstream::taking(&["sk-current", "sk-old"]));
    scene.post("n1", "sk-old");
    for (node, key) in [("n2", "sk-stranger"), ("n3", "undefined"), ("n4", "\"sk-current\"")] {
        scene.post(node, key);
    }
    scene.says(&["4 incidents are open"]);
    let admin = scene.keyward.admin.to_string();
    let status = scene.home.keyward(&["status"]).config(&scene.config).env("KEYWARD_ADMIN_LISTEN", &admin);
    let told = status.on_a_terminal_of(100).run().stdout;
    let rows: Vec<_> = told.lines().collect();
    let sight = words(&rows[rows.len().saturating_sub(23)..].join(" "));
    for part in [
        "Can the old key go?",
        "stale_binding",
        "unknown_key_rejected",
        "malformed_undefined",
        "malformed_quoted",
        "Next:",
    ] {
        assert!(sight.contains(part), "{part}: {told}");
    }
}

/// A key file with a wrong key, well-formed, while nodes work with the key before it.
fn wrongly_rotated() -> Scene {
    let scene = Scene::sole(FakeUpstream::taking(&["sk-current"]));
    scene.post("n1", "sk-current");
    scene.home.write("key", "sk-wrong");
    eventually("the wrong key is current", || {
        scene.post("n1", "sk-current");
        words(&scene.run(&["status"]).stdout).contains("1 node still sends it").then_some(())
    });
    scene
}

#[track_caller]
fn says_that_the_key_in_the_file_is_wrong(scene: &Scene) {
    for page in ["/", "/incidents?state=open"] {
        let page = scene.keyward.admin(page).text();
        assert!(!page.contains("Put the current key of set"), "{page}");
    }
    for command in ["status", "rotation"] {
        let said = scene.tells(
            command,
            &[
                "refuses the current key",
                "and never accepted it. The key before it,",
                "was accepted when it was sent last.",
                "See whether the key in file key is whole and the right one. Put the right one there, or put",
                "Next: do what current_key_refused says above",
            ],
        );
        for advice in ["Put the current key of set", "ut the current key into its credential", "n8n's credential c"] {
            assert!(!said.contains(advice), "{advice}: {said}");
        }
    }
    let said = scene.says(&["stale_binding (1)"]);
    assert!(said.contains("o what current_key_refused says above first, and leave what sends the old key"), "{said}");
    assert_eq!(scene.run(&["rotation", "--can-go"]).code(), Some(1));
}

#[test]
fn a_wrong_key_in_the_file_that_a_request_shows_is_told_with_the_one_before_that_works() {
    let scene = wrongly_rotated();
    let said = scene.says(&["stale_binding (1)"]);
    assert!(said.contains("1. Try the current key first, which was never seen to work"), "{said}");
    scene.post("n2", "sk-wrong");
    says_that_the_key_in_the_file_is_wrong(&scene);
    scene.post("n1", "sk-current");
    let line = eventually("the line of the stale node", || {
        let log = scene.keyward.log();
        let line = log.lines().rfind(|line| line.contains("\"stale_binding\""))?;
        line.contains("\"remedy\":\"1. Leave n8n's credential as it is until").then(|| line.to_owned())
    });
    assert!(!line.contains("sk-current"), "{line}");
}

#[test]
fn a_wrong_key_in_the_file_that_the_check_shows_is_told_by_status_and_beyond_a_restart() {
    let scene = wrongly_rotated();
    assert!(!words(&scene.run(&["status"]).stdout).contains("current_key_refused"));
    let told = scene.run(&["check", "--online"]);
    assert_eq!((told.code(), told.stdout.matches("problem  ").count()), (Some(1), 1), "{}", told.stdout);
    assert!(words(&told.stdout).contains("never accepted it. The key before it,"), "{}", told.stdout);
    says_that_the_key_in_the_file_is_wrong(&scene);
    let Scene { home, keyward, config, _upstream: upstream } = scene;
    keyward.stop();
    let keyward = home.serve().config(&config).start();
    let scene = Scene { home, keyward, config, _upstream: upstream };
    says_that_the_key_in_the_file_is_wrong(&scene);
    scene.home.write("key", "sk-current");
    eventually("the key before is back", || {
        (!words(&scene.run(&["status"]).stdout).contains("current_key_refused")).then_some(())
    });
}

#[test]
fn what_the_check_says_of_a_key_counts_only_against_one_that_was_never_accepted() {
    let scene = Scene::sole(FakeUpstream::taking(&["sk-current"]));
    let sets: serde_json::Value = serde_json::from_slice(&scene.keyward.admin("/api/v1/sets").body).unwrap();
    let key = sets["sets"][0]["keys"][0]["fingerprint"].as_str().unwrap().to_owned();
    let say = |key: &str, word: &str| {
        let path = format!("/api/v1/sets/default/checked?key={key}&word={word}");
        let answer = scene.keyward.ask_admin("POST", &path);
        (answer.status, answer.text().contains("current_key_refused"))
    };
    assert_eq!(say(&key, "refused"), (200, true));
    assert_eq!(say(&key, "accepted"), (200, false), "it takes the refusal back");
    scene.post("n1", "sk-current");
    eventually("the key is known to work", || (say(&key, "refused") == (200, false)).then_some(()));
    assert_eq!(say(&"0".repeat(32), "refused").0, 404);
    assert_eq!((say("1bf3ef9e", "refused").0, say(&key, "fine").0), (400, 400));
}

#[test]
fn a_next_key_that_upstream_refuses_is_told_as_the_next_key() {
    let keys = format!("{SOLE}next = {{ file = \"next\" }}\n");
    let upstream = FakeUpstream::taking(&["sk-current"]);
    let url = upstream.url();
    let home = Home::new();
    home.write("key", "sk-current");
    home.write("next", "sk-next");
    let config = format!("{keys}[proxy]\nupstream = \"{url}\"\n");
    let keyward = home.serve().config(&config).start();
    let scene = Scene { home, keyward, config, _upstream: Some(upstream) };
    scene.post("n1", "sk-next");
    let said = scene.says(&["next_key_rejected (1): the announced next key", "Put the set's current key back"]);
    assert!(!said.contains("current_key"), "{said}");
}

#[test]
fn keyward_was_started_while_its_key_file_was_missing() {
    let scene = Scene::sole(FakeUpstream::accepting());
    fs::remove_file(scene.home.path("key")).unwrap();
    let scene = scene.restarted(FakeUpstream::accepting());
    scene.post("n1", "sk-right");
    let said = scene.says(&[
        "unlisted_key (1): the key is in no set, and OpenAI takes it",
        "keyward knows no current key, and cannot tell which keys are right: leave n8n's credentials as they are",
        "Do what key_unreadable says above first",
    ]);
    for untrue in ["the keys that it read before", "Find out whose key it is", "The message names the kind"] {
        assert!(!said.contains(untrue), "{said}");
    }
}

#[test]
fn a_set_that_learns_whose_only_key_is_revoked_has_one_fault_and_one_way_out() {
    let mode = Arc::new(AtomicUsize::new(WELL));
    let upstream = changing(&mode);
    let url = upstream.url();
    let scene = Scene::with("", &url, Some(upstream));
    scene.post("n1", "sk-current");
    scene.post("n2", "sk-current");
    mode.store(REVOKED, Ordering::Relaxed);
    scene.post("n1", "sk-current");
    scene.post("n2", "sk-current");
    let said = scene.says(&[
        "Is all well? NO: upstream refuses the current key",
        "Make a new key and put it into n8n's credential.",
        "current_key_rejected (2)",
        "See current_key_refused above",
        "2 failing",
    ]);
    for untrue in ["stale_binding", "Can the old key go?", "replaced", "where the set's `current` says"] {
        assert!(!said.contains(untrue), "{said}");
    }
    mode.store(WELL, Ordering::Relaxed);
    scene.post("n1", "sk-new");
    scene.says(&["Can the old key go? NO"]);
    // The old one is good again where upstream takes it again before there is another.
    let said = words(&scene.run(&["incidents"]).stdout);
    assert!(said.contains("current_key_rejected (1): the old key, which OpenAI refuses"), "{said}");
    assert!(said.contains("Put the new key into n8n's credential, and run a node that uses it"), "{said}");
}

#[test]
fn a_set_that_learns_has_its_key_back_when_upstream_takes_it_again() {
    let mode = Arc::new(AtomicUsize::new(WELL));
    let upstream = changing(&mode);
    let url = upstream.url();
    let scene = Scene::with("", &url, Some(upstream));
    scene.post("n1", "sk-current");
    mode.store(REVOKED, Ordering::Relaxed);
    scene.post("n1", "sk-current");
    scene.says(&["refuses the current key"]);
    mode.store(WELL, Ordering::Relaxed);
    scene.post("n1", "sk-current");
    eventually("it is over", || words(&scene.run(&["status"]).stdout).starts_with("Is all well? YES").then_some(()));
    // Beyond a restart as well.
    let Scene { home, keyward, config, _upstream: upstream } = scene;
    keyward.stop();
    let keyward = home.serve().config(&config).start();
    let scene = Scene { home, keyward, config, _upstream: upstream };
    let told = scene.run(&["status"]);
    assert!(words(&told.stdout).starts_with("Is all well? YES"), "{}", told.stdout);
}

#[test]
fn an_upstream_that_fails_keeps_the_bar_for_the_time_before() {
    let mode = Arc::new(AtomicUsize::new(WELL));
    let scene = Scene::sole(changing(&mode));
    scene.post("n1", "sk-current");
    mode.store(FAILING, Ordering::Relaxed);
    for _ in 0..3 {
        scene.post("n1", "sk-current");
    }
    for command in ["status", "rotation"] {
        let told = eventually("it is told of", || {
            let told = words(&scene.run(&[command]).stdout);
            told.contains("upstream_failing").then_some(told)
        });
        assert!(told.contains("1 of 1 confirmed, before upstream failed"), "{told}");
        assert!(told.contains("it is over after three good answers in a row"), "{told}");
    }
}

#[test]
fn many_callers_of_one_fault_are_counted() {
    let scene = Scene::sole(FakeUpstream::taking(&[]));
    for number in 0..8 {
        let tag = format!("wf=w{number};ex=7;node=n{number}");
        ask(scene.keyward.listen, "/v1/models", &[("Authorization", "Bearer sk-current"), ("X-N8N-Tag", &tag)]);
        ask(scene.keyward.listen, "/v1/models", &[("Authorization", "Bearer"), ("X-N8N-Tag", &format!("{tag}x"))]);
    }
    let said =
        scene.says(&["8 nodes in 8 workflows: `keyward incidents` lists them", "and 3 more: `keyward incidents`"]);
    assert!(said.contains("a key that cannot be read from 127.0.0.1"), "{said}");
    scene.tells("incidents", &["w7: n7", "w0: n0"]);
}

#[test]
fn what_was_acknowledged_is_told_beside_a_yes() {
    let scene = Scene::sole(FakeUpstream::accepting());
    scene.post("n1", "sk-current");
    scene.post("n2", "");
    scene.says(&["Is all well? NO: 1 incident is open: 1 malformed_empty"]);
    let told: serde_json::Value = serde_json::from_str(&scene.run(&["bindings", "--json"]).stdout).unwrap();
    let rows = told["bindings"].as_array().unwrap();
    let bad = rows.iter().find(|row| row["node_id"] == "n2").unwrap()["binding"].as_str().unwrap();
    assert_eq!(scene.run(&["ack", bad]).code(), Some(0));
    let status = scene.run(&["status"]);
    let expected = "Is all well? YES: every node that was seen sends a good key; 1 acknowledged as dead";
    assert!(words(&status.stdout).starts_with(expected), "{}", status.stdout);
    assert_eq!(status.code(), Some(0));
}
