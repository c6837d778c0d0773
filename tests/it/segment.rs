//! `keyward n8n segment`: which groups it proposes, what it makes of them in n8n and in a keyward that runs, what it refuses, and
//! that nothing is made twice.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::process::client::ask_with;
use crate::process::{Finished, Home, Keyward, Launch, files_below};
use crate::reconnect::{FakeN8n, Release, node, published};
use crate::support::{API_KEY, FakeUpstream};

const CURRENT: &str = "sk-proj-canary-current-0123456789abCuRr";
const SALES: &str = "sk-proj-canary-sales-0123456789abcSaLe";
const SUPPORT: &str = "sk-proj-canary-support-0123456789aSuPp";

#[test]
fn groups_are_proposed_with_what_each_would_have_and_nothing_is_changed() {
    let scene = Scene::start(Release::second());
    let done = scene.segment(&["--by", "workflow", "--dry-run"]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    for said in [
        "Now a rotation of Old (old) concerns 2 nodes.",
        "Report: 2 nodes of 1 workflow\n  key set report, token n8n-report, credential OpenAI, report\n  Report (w1): Read, Write\n",
    ] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    let told: Value = serde_json::from_str(&scene.segment(&["--by", "tag", "--dry-run", "--json"]).stdout).unwrap();
    assert_eq!((&told["groups"], &told["left"][1]["why"]), (&json!([]), &"it has no tag".into()));
    let chosen = scene.segment(&["--by", "project", "--from", "Other", "--dry-run", "--json"]);
    let told: Value = serde_json::from_str(&chosen.stdout).unwrap();
    let names: Vec<_> = told["groups"].as_array().unwrap().iter().map(|group| group["set"].clone()).collect();
    assert_eq!(names, ["support"], "the other group uses another credential");
    for (arguments, code, said) in [
        (&["--by", "folder", "--dry-run"][..], 2, "[possible values: project, tag, workflow]"),
        (&["--by", "project", "--json"], 2, "--dry-run"),
        (&["--by", "project", "--group", "nope"], 1, "there is no group \"nope\"; there are: Sales, Support"),
        (&["--by", "project", "--from", "nope"], 1, "no OpenAI credential with the id or the name `nope`"),
    ] {
        let refused = scene.segment(arguments);
        assert_eq!(refused.code(), Some(code), "{arguments:?}");
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    scene.assert_untouched();
}

#[test]
fn no_group_takes_the_key_file_of_another_set_nor_the_names_of_another_group() {
    let scene = Scene::start(Release::second());
    let mut workflow = published("w3", "Sales", &[node("Write", "old")]);
    workflow.project = Some(("p3", "Current"));
    scene.n8n.has(workflow);
    let sets = |by: &str| -> Vec<String> {
        let told = scene.segment(&["--by", by, "--dry-run", "--json"]);
        let told: Value = serde_json::from_str(&told.stdout).unwrap();
        told["groups"].as_array().unwrap().iter().map(|group| group["set"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        sets("project"),
        ["current-2", "sales", "support"],
        "the key of the set `default` is in the file `current`"
    );
    assert_eq!(sets("workflow"), ["report", "sales", "weekly"]);
    // Begun by project, the names are that group's, and no workflow gets them.
    assert_eq!(scene.segment(&["--by", "project", "--group", "Sales"]).code(), Some(1));
    assert_eq!(sets("workflow"), ["report", "sales-2", "weekly"]);
    assert_eq!(sets("project"), ["current-2", "sales", "support"]);
}

#[test]
fn each_group_gets_its_set_its_credential_and_its_nodes_and_none_of_it_twice() {
    let scene = Scene::start(Release::second());
    let refused = scene.segment(&["--by", "project", "--write-config", "--yes"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("put an OpenAI key into each file first: file sales: "), "{}", refused.stderr);
    scene.assert_untouched();
    scene.give_keys();
    let unasked = scene.segment(&["--by", "project", "--write-config"]);
    assert!(unasked.stderr.contains("--yes has to say that it may be"), "{}", unasked.stderr);
    scene.assert_untouched();

    let done = scene.segment(&["--by", "project", "--write-config", "--yes"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    for said in ["Sales: credential OpenAI, sales (made1) leads to keyward", "To take it back: keyward n8n undo "] {
        assert!(done.stdout.contains(said), "{said} is not in\n{}", done.stdout);
    }
    let records = scene.n8n.made();
    let told: Vec<_> = records.iter().map(|record| (record["name"].clone(), record["projectId"].clone())).collect();
    assert_eq!(told, [("OpenAI, sales".into(), "p1".into()), ("OpenAI, support".into(), "p2".into())]);
    let data = &records[0]["data"];
    assert_eq!(data["url"], format!("http://{}/v1", scene.keyward.listen));
    assert!(data["headerValue"].as_str().unwrap().ends_with("node={{ $nodeId }};set=sales"), "{data}");
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "made1"), ("Read", "made1")]);
    assert_eq!(scene.n8n.workflow("w2").live_records(), [("Write", "made2")]);
    let token = data["apiKey"].as_str().unwrap();
    let asked = ask_with(scene.keyward.listen, token);
    assert_eq!((asked.status, asked.verdict()), (200, "token"));
    let sent = scene.upstream.received().pop().unwrap();
    assert_eq!(sent.head.header("authorization"), Some(&*format!("Bearer {SALES}")));
    scene.assert_no_secret(&done);

    let config = scene.config_file();
    let again = scene.segment(&["--by", "project", "--yes"]);
    assert_eq!(again.code(), Some(0), "{}{}", again.stdout, again.stderr);
    assert_eq!((scene.n8n.made().len(), scene.config_file()), (2, config));
    assert_eq!(scene.n8n.changes().len(), 2, "each workflow was written once");
    // What `undo` takes back is one group.
    assert_eq!(scene.launch(&["n8n", "undo", "--yes"]).run().code(), Some(0));
    assert_eq!(scene.n8n.workflow("w2").live_records(), [("Write", "other")]);
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "made1"), ("Read", "made1")]);
}

#[test]
fn the_tables_are_given_to_be_put_in_by_hand_and_the_same_command_goes_on() {
    let scene = Scene::start(Release::second());
    let config = scene.config_file();
    let shown = scene.segment(&["--by", "project", "--group", "Sales", "--yes"]);
    assert_eq!(shown.code(), Some(1), "something is left to do: {}", shown.stderr);
    let table = "# Sales\n[keys.sales]\npolicy = \"inject\"\ngrace = \"24h\"\ncurrent = { file = \"sales\" }\n\
                 next = { file = \"sales.next\" }\n";
    assert!(shown.stdout.ends_with(table), "{}", shown.stdout);
    let written = scene.segment(&["--by", "project", "--keys-in", "/run/keys", "--tables", "tables.toml", "--yes"]);
    assert!(
        written.stderr.contains("The tables in tables.toml are to be put into the configuration"),
        "{}",
        written.stderr
    );
    let tables = fs::read_to_string(scene.home.path("tables.toml")).unwrap();
    assert!(tables.contains("[keys.support]") && tables.contains("\"/run/keys/sales\""), "{tables}");
    let refused = scene.segment(&["--by", "project", "--tables", "tables.toml", "--yes"]);
    assert!(refused.stderr.contains("tables.toml cannot be written"), "nothing is written over: {}", refused.stderr);
    scene.assert_untouched();
    assert_eq!(scene.config_file(), config);

    scene.give_keys();
    scene.home.write("keyward.toml", format!("{config}\n{table}"));
    let done = scene.segment(&["--by", "project", "--group", "Sales", "--yes"]);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "made1"), ("Read", "made1")]);
    assert_eq!(scene.n8n.workflow("w2").live_records(), [("Write", "other")], "it was not asked for");
}

#[test]
fn a_credential_whose_answer_was_lost_is_known_by_its_token_and_not_made_again() {
    let scene = Scene::start(Release::second());
    scene.give_keys();
    scene.n8n.loses_records(true);
    let arguments = ["--by", "project", "--group", "Sales", "--write-config", "--yes"];
    let lost = scene.segment(&arguments);
    assert_eq!((lost.code(), scene.n8n.made().len()), (Some(1), 1));
    assert!(lost.stderr.contains("n8n did not make credential OpenAI, sales"), "{}", lost.stderr);
    scene.n8n.loses_records(false);
    let done = scene.segment(&arguments);
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(scene.n8n.made().len(), 1);
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "made1"), ("Read", "made1")]);
    // Whether one was deleted, or this API key may not see it, cannot be told: its token is not ended.
    let token = scene.n8n.made()[0]["data"]["apiKey"].as_str().unwrap().to_owned();
    scene.n8n.deletes_made();
    let refused = scene.segment(&arguments);
    let said = "n8n does not list credential OpenAI, sales (made1), which was made for the group";
    assert!(refused.code() == Some(1) && refused.stderr.contains(said), "{}", refused.stderr);
    assert_eq!(ask_with(scene.keyward.listen, &token).verdict(), "token");
    // Once you have said that it was, another one is made.
    assert_eq!(scene.launch(&["token", "revoke", "n8n-sales"]).run().code(), Some(0));
    let anew = scene.segment(&arguments);
    assert_eq!((anew.code(), scene.n8n.made().len()), (Some(0), 1), "{}{}", anew.stdout, anew.stderr);
    assert_eq!(ask_with(scene.keyward.listen, &token).verdict(), "unknown", "{}", scene.keyward.log());
    scene.assert_no_secret(&anew);
}

#[test]
fn what_n8n_or_keyward_refuses_leaves_every_node_where_it_was() {
    let scene = Scene::start(Release::with_scopes(&["workflow:update", "workflow:activate"]));
    scene.give_keys();
    let refused = scene.segment(&["--by", "project", "--write-config", "--yes"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("it needs the scope credential:create"), "{}", refused.stderr);
    let tokens = scene.launch(&["token", "list"]).run();
    assert_eq!(tokens.stdout.matches("revoked").count(), 1, "no token is left behind: {}", tokens.stdout);
    assert!(scene.n8n.made().is_empty() && scene.n8n.changes().is_empty());

    // A key that OpenAI refuses: the test of the credential fails, so no node is moved.
    let scene = Scene::start(Release::second());
    scene.home.write("sales", "sk-proj-canary-wrong-0123456789abcdWrOn\n");
    scene.home.write("support", format!("{SUPPORT}\n"));
    let refused = scene.segment(&["--by", "project", "--write-config", "--yes"]);
    assert_eq!(refused.code(), Some(1), "{}", refused.stdout);
    let said = "Sales: credential OpenAI, sales (made1) does not lead to keyward with a token of set sales, so no node was moved to it";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert_eq!(scene.n8n.workflow("w1").live_records(), [("Write", "old"), ("Read", "old")]);
    assert_eq!(scene.n8n.made().len(), 1, "what fails for one group is not tried with the next one");
    assert_eq!(scene.n8n.workflow("w2").live_records(), [("Write", "other")]);
    scene.assert_no_secret(&refused);
    scene.give_keys();
    let mended = scene.segment(&["--by", "project", "--yes"]);
    assert_eq!((mended.code(), scene.n8n.made().len()), (Some(0), 2), "{}{}", mended.stdout, mended.stderr);

    let scene = Scene::start(Release::first());
    let refused = scene.segment(&["--by", "workflow", "--yes"]);
    assert!(refused.stderr.contains("cannot test credentials (1.x)"), "{}", refused.stderr);
    let Scene { keyward, home, n8n, upstream } = Scene::start(Release::second());
    let config = config(&n8n, keyward.listen, keyward.admin, &upstream.url());
    keyward.stop();
    let refused = home.keyward(&["n8n", "segment", "--by", "workflow", "--yes"]).config(&config).run();
    assert!(refused.stderr.contains("no keyward runs at 127.0.0.1:"), "{}", refused.stderr);
}

/// A keyward in front of an upstream, and an n8n with a workflow in each of two projects.
struct Scene {
    home: Home,
    upstream: FakeUpstream,
    n8n: FakeN8n,
    keyward: Keyward,
}

impl Scene {
    fn start(release: Release) -> Self {
        let home = Home::new();
        home.write("api-key", format!("{API_KEY}\n"));
        home.write("current", format!("{CURRENT}\n"));
        let (upstream, n8n) = (FakeUpstream::taking(&[CURRENT, SALES, SUPPORT]), FakeN8n::start(release));
        let workflow = |id, name, nodes: &[Value], project| {
            let mut workflow = published(id, name, nodes);
            workflow.project = Some(project);
            workflow
        };
        n8n.has(workflow("w1", "Report", &[node("Write", "old"), node("Read", "old")], ("p1", "Sales")));
        n8n.has(workflow("w2", "Weekly", &[node("Write", "other")], ("p2", "Support")));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let keyward = home.serve().config(&config(&n8n, nowhere, nowhere, &upstream.url())).start();
        home.write("keyward.toml", config(&n8n, keyward.listen, keyward.admin, &upstream.url()));
        Self { home, upstream, n8n, keyward }
    }

    /// A command that reads the configuration as it is now.
    fn launch(&self, arguments: &[&str]) -> Launch {
        let admin = self.keyward.admin.to_string();
        self.home.keyward(arguments).args(&["--config", "keyward.toml"]).env("KEYWARD_ADMIN_LISTEN", &admin)
    }

    fn segment(&self, arguments: &[&str]) -> Finished {
        self.launch(&[&["n8n", "segment"], arguments].concat()).run()
    }

    fn give_keys(&self) {
        self.home.write("sales", format!("{SALES}\n"));
        self.home.write("support", format!("{SUPPORT}\n"));
    }

    fn config_file(&self) -> String {
        fs::read_to_string(self.home.path("keyward.toml")).unwrap()
    }

    /// Nothing in n8n, no set, no token.
    #[track_caller]
    fn assert_untouched(&self) {
        assert!(self.n8n.changes().is_empty() && self.n8n.made().is_empty());
        assert!(!self.config_file().contains("sales"));
        assert!(!self.home.state().join("access.json").exists());
    }

    /// Neither in what was printed, nor in the log, nor in the state folder.
    #[track_caller]
    fn assert_no_secret(&self, done: &Finished) {
        self.home.assert_no_canary(&[&done.stdout, &done.stderr, &self.keyward.log()]);
        for made in self.n8n.made() {
            let token = made["data"]["apiKey"].as_str().unwrap().to_owned();
            for text in [&done.stdout, &done.stderr, &self.keyward.log()] {
                assert!(!text.contains(&token), "{text}");
            }
            let kept = files_below(&self.home.state());
            assert!(!kept.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&token)), "it is kept");
        }
    }
}

fn config(n8n: &FakeN8n, listen: SocketAddr, admin: SocketAddr, upstream: &str) -> String {
    let url = n8n.server.url();
    format!(
        "[proxy]\nupstream = \"{upstream}\"\nlisten = \"{listen}\"\n[admin]\nlisten = \"{admin}\"\n\
         [keys.default]\ncurrent = {{ file = \"current\" }}\n\
         [n8n.main]\nurl = \"{url}\"\napi_key = {{ file = \"api-key\" }}\nkeyward = \"http://{listen}\"\npress = false\n"
    )
}
