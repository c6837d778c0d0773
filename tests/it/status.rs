//! `keyward status` alone names each fault and the next step, as you need it when something has just stopped working.

use std::fs;

use crate::process::client::{ask, ask_with};
use crate::process::{Home, Keyward};
use crate::support::{Answering, FakeUpstream, eventually};

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

    /// In front of an upstream that nothing is heard of.
    fn at(url: &str, upstream: Option<FakeUpstream>) -> Self {
        let home = Home::new();
        home.write("key", "sk-current");
        home.write("old", "sk-old");
        let config = format!("{FILE}[proxy]\nupstream = \"{url}\"\n");
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

    /// What status says, once it says the first of that, and that it says all of it and ends with 1.
    #[track_caller]
    fn says(&self, expected: &[&str]) {
        let run = || {
            let admin = self.keyward.admin.to_string();
            self.home.keyward(&["status"]).config(&self.config).env("KEYWARD_ADMIN_LISTEN", &admin).run()
        };
        // Lines are wrapped wherever there is no room.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = eventually(expected[0], || Some(run()).filter(|told| words(&told.stdout).contains(expected[0])));
        for said in expected {
            assert!(words(&told.stdout).contains(said), "{said}:\n{}", told.stdout);
        }
        assert_eq!(told.code(), Some(1), "{}", told.stdout);
    }
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
    scene.send("/v1/models", "Bearer sk-current");
    scene.says(&["Weekly report", "127.0.0.1", "an older environment"]);
}
