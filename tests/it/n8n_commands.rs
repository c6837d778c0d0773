//! The commands that ask n8n: the story of an execution, by n8n's word and by what keyward saw; and `check --online`.

use serde_json::{Value, json};

use crate::process::client::ask;
use crate::process::{Finished, Home, Keyward};
use crate::support::{API_KEY, Answering, CURRENT, FakeN8n, FakeUpstream, OUTDATED, UNLISTED, eventually};

/// A keyward with an n8n in which execution 8, of a sub-workflow, was called by execution 7.
struct Scene {
    home: Home,
    n8n: FakeN8n,
    config: String,
    keyward: Option<Keyward>,
}

impl Scene {
    fn new(upstream: &FakeUpstream) -> Self {
        let n8n = FakeN8n::start();
        n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
        n8n.has("w2", "Translate", &[("n2", "Chat")]);
        n8n.has_execution(execution("7", "w1", "webhook", None));
        n8n.has_execution(execution("8", "w2", "integrated", Some("7")));
        let home = Home::new();
        home.write("key", CURRENT);
        home.write("old", OUTDATED);
        home.write("api", API_KEY);
        let config = format!(
            "[keys.default]\ncurrent = {{ file = \"key\" }}\nprevious = [{{ file = \"old\" }}]\n\
             [n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"api\" }}\n",
            n8n.origin()
        );
        let keyward = home.serve_for(upstream).config(&config).start();
        eventually("the names", || {
            keyward.admin("/metrics").text().contains("keyward_n8n_up{n8n=\"main\"} 1").then_some(())
        });
        let scene = Self { home, n8n, config, keyward: Some(keyward) };
        scene.send("wf=w1;ex=7;node=n1", CURRENT);
        scene.send("wf=w2;ex=8;node=n2", OUTDATED);
        scene.send("wf=w2;ex=9;node=n2", CURRENT);
        scene
    }

    fn send(&self, tag: &str, key: &str) {
        let headers = [("Authorization", &*format!("Bearer {key}")), ("X-N8N-Tag", tag)];
        ask(self.keyward.as_ref().unwrap().listen, "/v1/models", &headers);
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let admin = self.keyward.as_ref().map_or("127.0.0.1:1".to_owned(), |keyward| keyward.admin.to_string());
        self.home.keyward(arguments).config(&self.config).env("KEYWARD_ADMIN_LISTEN", &admin).run()
    }

    #[track_caller]
    fn story(&self, id: &str) -> Value {
        let finished = self.run(&["n8n", "blame", id, "--json"]);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{} {}", finished.stdout, finished.stderr))
    }
}

fn execution(id: &str, workflow: &str, mode: &str, parent: Option<&str>) -> Value {
    let parent = parent.map(|id| json!({ "executionId": id, "workflowId": "w1" }));
    json!({
        "id": id, "workflowId": workflow, "mode": mode, "status": "error",
        "startedAt": "2026-11-23T08:00:00.000Z", "stoppedAt": "2026-11-23T08:00:01.000Z",
        "data": { "parentExecution": parent },
    })
}

#[track_caller]
fn assert_says(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{}{}", finished.stdout, finished.stderr);
    for text in said {
        assert!(finished.stdout.contains(text), "{text} is not in {}", finished.stdout);
    }
    assert!(!finished.stdout.contains("canary") && !finished.stderr.contains("canary"));
}

#[test]
fn blame_tells_the_story_from_the_first_caller_on() {
    let upstream = FakeUpstream::accepting();
    let mut scene = Scene::new(&upstream);
    let said = [
        "Execution 7 of workflow Weekly report: nothing was wrong with its 1 request\n",
        "\n  error, started by webhook at 2026-11-23 08:00 ",
        "Execution 8 of workflow Translate: 1 of 1 request bad (stale_binding)\n",
        "\n  error, started by integrated at ",
        ", called by execution 7",
        "outdated",
        "stale_binding",
        "Translate (w2), node Chat (n2)",
        "sk-proj-…OuTd",
        "Workflow Translate, node Chat",
        "    1. ",
    ];
    assert_says(&scene.run(&["n8n", "blame", "8"]), 1, &said);
    assert_says(&scene.run(&["blame", "8"]), 1, &said);
    let place = format!("\n    {}/workflow/w2/n2\n", scene.n8n.origin());
    assert_says(&scene.run(&["blame", "8"]), 1, &["\n    credential Main key  [", &place]);
    let story = scene.story("8");
    let ids: Vec<_> = story["executions"].as_array().unwrap().iter().map(|one| one["execution_id"].clone()).collect();
    assert_eq!(ids, ["7", "8"]);
    assert_eq!(story["executions"][0]["exchanges"][0]["verdict"], "current");
    assert_eq!(story["executions"][1]["n8n"]["called_by"], "7");
    assert_says(&scene.run(&["n8n", "blame", "7"]), 0, &["Weekly report", "current"]);
    // What n8n does not know, keyward may have seen; and the other way round.
    assert_says(
        &scene.run(&["n8n", "blame", "9"]),
        0,
        &["Execution 9 of workflow Translate: nothing was wrong", "n8n says nothing of it (n8n at", "Translate (w2)"],
    );
    assert_eq!(scene.run(&["n8n", "blame", "404"]).code(), Some(3));
    assert_eq!(scene.run(&["n8n", "blame", "7", "--n8n", "other"]).code(), Some(3));
    drop(scene.keyward.take().unwrap().stop());
    let stored = scene.run(&["n8n", "blame", "8"]);
    assert_says(
        &stored,
        1,
        &["Of earlier requests", "Translate (w2), node Chat (n2): outdated, stale_binding with sk-proj-…OuTd"],
    );
}

#[test]
fn each_node_of_a_row_is_linked_to_and_of_many_it_is_told_how_many_more_there_are() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    let nodes: Vec<_> = (0..11).map(|number| (format!("m{number}"), format!("Step {number}"))).collect();
    let named: Vec<_> = nodes.iter().map(|(id, name)| (&**id, &**name)).collect();
    scene.n8n.has("w4", "One step", &named[..1]);
    scene.n8n.has("w5", "Two steps", &named[..2]);
    scene.n8n.has("w6", "Many steps", &named);
    for (workflow, count) in [("w4", 1), ("w5", 2), ("w6", 11)] {
        for (id, _) in &nodes[..count] {
            scene.send(&format!("wf={workflow};ex=7;node={id}"), OUTDATED);
        }
    }
    let keyward = scene.keyward.as_ref().unwrap();
    let link = |workflow: &str, node: &str| format!("{}/workflow/{workflow}/{node}", scene.n8n.origin());
    let rows = eventually("the names", || {
        let rows = keyward.admin("/api/v1/bindings").json()["bindings"].as_array().unwrap().clone();
        rows.iter().all(|row| !row["node_name"].is_null()).then_some(rows)
    });
    for row in rows {
        let [workflow, node] = ["workflow_id", "node_id"].map(|field| row[field].as_str().unwrap().to_owned());
        assert_eq!(row["link"], link(&workflow, &node));
    }
    for command in ["rotation", "incidents"] {
        let told = scene.run(&[command]).stdout;
        for (node, name) in &named[..2] {
            assert!(told.contains(&format!("{name}: {}\n", link("w5", node))), "{told}");
        }
        let of_many = told.lines().filter(|line| line.contains("/workflow/w6/")).count();
        assert_eq!(of_many, 8, "{told}");
        assert!(told.contains("and 3 more nodes\n"), "{told}");
        // A row of one node has its link alone.
        assert!(told.lines().any(|line| line.trim() == link("w4", "m0")), "{told}");
    }
}

#[test]
fn executions_that_call_one_another_in_a_circle_are_told_once() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    scene.n8n.has_execution(execution("20", "w1", "integrated", Some("21")));
    scene.n8n.has_execution(execution("21", "w1", "integrated", Some("20")));
    scene.n8n.has_execution(execution("22", "w1", "integrated", Some("no id")));
    for number in 100..200 {
        scene.n8n.has_execution(execution(&number.to_string(), "w1", "integrated", Some(&(number + 1).to_string())));
    }
    let told = |id: &str| scene.story(id)["executions"].as_array().unwrap().len();
    assert_eq!((told("20"), told("22"), told("100")), (2, 1, 16));
}

#[test]
fn blame_does_without_n8n() {
    let upstream = FakeUpstream::accepting();
    let scene = Scene::new(&upstream);
    scene.n8n.trouble(Some(Answering::with(200, "Content-Type: text/html\r\n", "<html></html>")));
    let blamed = scene.run(&["n8n", "blame", "8"]);
    assert_says(
        &blamed,
        1,
        &[
            "Execution 8 of workflow Translate: 1 of",
            "n8n says nothing of it (there is no n8n API at",
            "Translate (w2), node",
        ],
    );
    let nonsense = scene.run(&["n8n", "blame", UNLISTED]);
    assert!(
        nonsense.stderr.contains("no execution's id") || nonsense.stderr.contains("knows anything"),
        "{}",
        nonsense.stderr
    );
    assert!(!nonsense.stderr.contains(&UNLISTED[8..]));
}

#[test]
fn the_check_says_which_scopes_the_key_lacks() {
    let n8n = FakeUpstream::scripted(|visit| {
        let allowed = visit.head.line.contains("/workflows?") || visit.head.line.contains("/executions/999999999");
        visit.answer(&match allowed {
            true if visit.head.line.contains('?') => Answering::json(200, r#"{"data":[]}"#),
            true => Answering::json(404, r#"{"message":"Not Found"}"#),
            false => Answering::json(403, r#"{"message":"Forbidden"}"#),
        });
    });
    let home = Home::new();
    home.write("api", API_KEY);
    let config = format!("[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"api\" }}\n", n8n.origin());
    let check = |config: &str| {
        home.keyward(&["check", "--online"])
            .config(config)
            .env("KEYWARD_PROXY_UPSTREAM", &n8n.origin().to_string())
            .run()
    };
    let checked = check(&config);
    let said = [
        "warning  n8n.main.api_key: n8n at http://127.0.0.1:",
        "takes it, but it lacks workflow:read: workflows that are new are known with the next list alone; it lacks \
         execution:list: which executions wait or run with what they began with is not known; it lacks credential:list: which \
         credentials there are, and when they were changed, is not known; it lacks credential:read: which key a credential \
         holds is known by requests of its nodes alone. Make one as n8n's owner or an admin, with the scopes workflow:list, \
         workflow:read, execution:list, execution:read, credential:list, credential:read; none of them changes anything. \
         Without credential:update, keyward n8n connect, disconnect and rotate change no credential",
    ];
    assert_says(&checked, 0, &said);
    let without_presses = format!("{config}press = false\n");
    let checked = check(&without_presses);
    assert!(!checked.stdout.contains("credential:read"), "{}", checked.stdout);
    let said =
        "with the scopes workflow:list, workflow:read, execution:list, execution:read, credential:list; none of them";
    assert_says(&checked, 0, &["warning  n8n.main.api_key: n8n at http://127.0.0.1:", said]);
    home.write("api", CURRENT);
    let checked = home.keyward(&["check"]).config(&config).run();
    assert_says(&checked, 1, &["problem  n8n.main.api_key: n8n cannot be asked: of file api, it holds an OpenAI key"]);
}

#[test]
fn the_check_says_which_scopes_an_old_release_takes() {
    let n8n = FakeUpstream::scripted(|visit| {
        let line = &visit.head.line;
        visit.answer(&match () {
            () if line.contains("/credentials") => Answering::json(405, r#"{"message":"GET method not allowed"}"#),
            () if line.contains('?') => Answering::json(200, r#"{"data":[]}"#),
            () => Answering::json(404, r#"{"message":"Not Found"}"#),
        });
    });
    let home = Home::new();
    home.write("api", API_KEY);
    let config = format!("[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"api\" }}\n", n8n.origin());
    let origin = n8n.origin().to_string();
    let checked = home.keyward(&["check", "--online"]).config(&config).env("KEYWARD_PROXY_UPSTREAM", &origin).run();
    let said = "takes it. It is n8n 1.x, or 2.x before 2.3: its API changes no credential. 1.x does not look at scopes, takes a new \
                key with workflow:list, workflow:read, execution:list, execution:read alone, and answers `Invalid scopes for \
                user role` to any other";
    assert_says(&checked, 0, &["ok       n8n.main.api_key: n8n at http://127.0.0.1:", said]);
}
