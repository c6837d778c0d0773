//! What is wrong with upstream, a key, or keyward itself is told of by the admin API and its metrics: from when on, whom it
//! hit, and what to do. It is gone once it is mended.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::client::{ask, ask_with, request};
use crate::process::{Home, Keyward, events};
use crate::support::{API_KEY, Answering, Certificate, Client, FakeN8n, FakeUpstream, eventually};

const FILE: &str = "[keys.default]\ncurrent = { file = \"key\" }\n";

fn problems(keyward: &Keyward) -> Vec<Value> {
    let answer: Value = serde_json::from_slice(&keyward.admin("/api/v1/problems").body).unwrap();
    answer["problems"].as_array().unwrap().clone()
}

/// The problem of that code, once it is there.
#[track_caller]
fn problem(keyward: &Keyward, code: &str) -> Value {
    eventually(code, || problems(keyward).into_iter().find(|problem| problem["code"] == code))
}

#[track_caller]
fn over(keyward: &Keyward, code: &str) {
    eventually(&format!("{code} to be over"), || {
        (!problems(keyward).iter().any(|problem| problem["code"] == code)).then_some(())
    });
}

#[track_caller]
fn says(problem: &Value, field: &str, expected: &str) {
    let text = problem[field].as_str().unwrap();
    assert!(text.contains(expected), "{problem:#}");
}

#[test]
fn a_current_key_that_upstream_refuses_is_told_of_until_there_is_another_and_beyond_a_restart() {
    let (home, upstream) = (home("sk-revoked"), FakeUpstream::taking(&["sk-good"]));
    let keyward = home.serve_for(&upstream).config(FILE).start();
    assert_eq!(problems(&keyward), [] as [Value; 0]);
    for _ in 0..3 {
        assert_eq!(ask_with(keyward.listen, "sk-revoked").status, 401);
    }
    let told = problem(&keyward, "current_key_refused");
    assert_eq!((&told["severity"], &told["about"]), (&"error".into(), &"default".into()));
    assert_eq!((&told["requests"], &told["bindings"]), (&3.into(), &1.into()));
    says(&told, "text", "refuses the current key");
    says(&told, "remedy", "Make a new key");
    assert!(!told.to_string().contains("sk-revoked"), "{told}");
    assert_eq!(keyward.metric("keyward_problems_open{problem=\"current_key_refused\"}"), 1);
    let status: Value = serde_json::from_slice(&keyward.admin("/api/v1/status").body).unwrap();
    assert_eq!(status["problems"], Value::from(vec![told]));
    let page = keyward.admin("/").text();
    let (wrong, rest) = page.split_once("id=\"answer-0\"").unwrap();
    assert!(wrong.contains("refuses the current key") && wrong.contains("Make a new key"), "{page}");
    assert!(rest.contains("<b>No</b>: upstream refuses the current key"), "the answer names it: {page}");
    assert_eq!(rest.matches("refuses the current key").count(), 1, "and nothing else below it does: {page}");
    keyward.stop();
    let keyward = home.serve_for(&upstream).config(FILE).start();
    let remembered = problem(&keyward, "current_key_refused");
    assert_eq!((&remembered["requests"], &remembered["bindings"]), (&Value::Null, &1.into()));
    home.write("key", "sk-good");
    over(&keyward, "current_key_refused");
    assert_eq!(keyward.metric("keyward_problems_open"), 0);
}

#[test]
fn a_set_that_learns_and_whose_only_key_is_revoked_is_told_of() {
    let is_revoked = Arc::new(AtomicUsize::new(0));
    let revoked = Arc::clone(&is_revoked);
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(&match revoked.load(Ordering::Relaxed) {
            0 => Answering::json(200, "{\"ok\":true}"),
            _ => Answering::json(401, "{\"error\":{\"code\":\"invalid_api_key\"}}"),
        });
    });
    let home = Home::new();
    let keyward = home.serve_for(&upstream).start();
    assert_eq!(ask_with(keyward.listen, "sk-only").status, 200);
    is_revoked.store(1, Ordering::Relaxed);
    for _ in 0..2 {
        ask_with(keyward.listen, "sk-only");
    }
    assert_eq!(problem(&keyward, "current_key_refused")["requests"], 2);
    keyward.stop();
    let keyward = home.serve_for(&upstream).start();
    problem(&keyward, "current_key_refused");
    is_revoked.store(0, Ordering::Relaxed);
    ask_with(keyward.listen, "sk-new");
    over(&keyward, "current_key_refused");
}

#[test]
fn a_used_up_quota_and_a_failing_upstream_are_told_of_and_logged() {
    let health = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&health);
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(&match now.load(Ordering::Relaxed) {
            0 => Answering::json(429, "{\"error\":{\"code\":\"insufficient_quota\"}}"),
            1 => Answering::json(503, "{}"),
            _ => Answering::json(200, "{\"ok\":true}"),
        });
    });
    let home = home("sk-good");
    let keyward = home.serve_for(&upstream).config(FILE).start();
    ask_with(keyward.listen, "sk-good");
    says(&problem(&keyward, "quota_used_up"), "remedy", "billing");
    let state = |keyward: &Keyward| {
        let answer: Value = serde_json::from_slice(&keyward.admin("/api/v1/sets/default/rotation").body).unwrap();
        (answer["bindings"][0]["state"].as_str().unwrap_or_default().to_owned(), answer["progress"]["failing"].clone())
    };
    assert_eq!(state(&keyward), ("failing".to_owned(), 1.into()));
    health.store(2, Ordering::Relaxed);
    ask_with(keyward.listen, "sk-good");
    assert_eq!(state(&keyward), ("confirmed".to_owned(), 0.into()));
    health.store(0, Ordering::Relaxed);
    ask_with(keyward.listen, "sk-good");
    assert_eq!(state(&keyward), ("failing".to_owned(), 1.into()));
    health.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        ask_with(keyward.listen, "sk-good");
    }
    says(&problem(&keyward, "upstream_failing"), "text", "answers with 503");
    assert_eq!(problems(&keyward)[0]["code"], "quota_used_up", "what began first");
    health.store(2, Ordering::Relaxed);
    for _ in 0..3 {
        ask_with(keyward.listen, "sk-good");
    }
    over(&keyward, "upstream_failing");
    assert_eq!(problems(&keyward)[0]["code"], "quota_used_up", "a list of models is free");
    let mut client = Client::connect(keyward.listen);
    let key = [("Authorization", "Bearer sk-good"), ("Content-Type", "application/json")];
    client.send(request("POST", "/v1/chat/completions", &key, b"{}"));
    client.read();
    over(&keyward, "quota_used_up");
    let told = eventually("both ends in the log", || {
        let told: Vec<_> = events(&keyward.log(), "problem").iter().map(|line| line["problem"].clone()).collect();
        (told.len() == 4).then_some(told)
    });
    assert_eq!(told, ["quota_used_up", "upstream_failing", "upstream_failing", "quota_used_up"]);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_told_of_with_the_reason() {
    let home = home("sk-good");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keyward = home.serve().config(FILE).args(&["--upstream", &format!("http://{closed}")]).start();
    assert_eq!(ask_with(keyward.listen, "sk-good").status, 502);
    says(&problem(&keyward, "upstream_unreachable"), "text", "refused");
    let unnamed = home.serve().config(FILE).args(&["--upstream", "http://no-such-host.invalid"]);
    let keyward = unnamed.env("KEYWARD_STATE_DIR", home.path("other").to_str().unwrap()).start();
    assert_eq!(ask_with(keyward.listen, "sk-good").status, 502);
    let told = serde_json::from_slice::<Value>(
        &keyward
            .ask_admin_with("GET", "/api/v1/problems", &fs::read_to_string(home.path("other/admin.token")).unwrap())
            .body,
    )
    .unwrap();
    says(&told["problems"][0], "text", "the name no-such-host.invalid cannot be resolved");
}

#[test]
fn a_key_file_that_holds_no_key_is_told_of_and_the_key_from_before_stays() {
    let (home, upstream) = (home("sk-first"), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(FILE).start();
    for wrong in ["NONE", "export OPENAI_API_KEY=sk-second\n", "\n"] {
        home.write("key", wrong);
        let told = problem(&keyward, "key_unreadable");
        says(&told, "text", "the key `current` of set `default` is not known");
        says(&told, "remedy", "the keys that it read before");
        assert_eq!((&told["about"], &told["requests"]), (&"default".into(), &Value::Null));
        assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
        home.write("key", "sk-first");
        over(&keyward, "key_unreadable");
    }
    fs::remove_file(home.path("key")).unwrap();
    problem(&keyward, "key_unreadable");
}

#[test]
fn state_store_and_fingerprint_key_in_trouble_are_told_of() {
    let (home, upstream) = (home("sk-good"), FakeUpstream::accepting());
    home.serve_for(&upstream).config(FILE).start().stop();
    fs::write(home.store(), "this is no database, and long enough to be read as one").unwrap();
    let keyward = home.serve_for(&upstream).config(FILE).start();
    says(&problem(&keyward, "store_failing"), "text", "The store cannot be used");
    keyward.stop();
    // A state folder that is a file: keyward serves all the same, and has no token of its own.
    fs::write(home.path("in-the-way"), "").unwrap();
    fs::write(home.path("token"), "a-token-that-is-long-enough-for-an-admin-0123456789").unwrap();
    let config =
        format!("{FILE}[admin]\ntoken_file = \"token\"\n[state]\ndir = \"in-the-way\"\n[store]\nurl = \"off\"\n");
    let keyward = home.serve_for(&upstream).config(&config).start();
    let token = fs::read_to_string(home.path("token")).unwrap();
    let told: Value = serde_json::from_slice(&keyward.ask_admin_with("GET", "/api/v1/problems", &token).body).unwrap();
    assert!(told["problems"].as_array().unwrap().iter().any(|told| told["code"] == "state_unusable"), "{told:#}");
}

#[test]
fn an_n8n_that_does_not_answer_and_one_that_refuses_its_key_are_told_apart() {
    let (home, upstream, n8n) = (home("sk-good"), FakeUpstream::accepting(), FakeN8n::start());
    home.write("n8n-key", "n8n-api-key-that-was-deleted-0123456789");
    let config = format!(
        "{FILE}[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"n8n-key\" }}\nrefresh = \"10s\"\n",
        n8n.origin()
    );
    n8n.trouble(Some(Answering::json(503, "{}")));
    let keyward = home.serve_for(&upstream).config(&config).start();
    let told = problem(&keyward, "n8n_unreachable");
    assert_eq!((&told["about"], &told["severity"]), (&"main".into(), &"warning".into()));
    keyward.stop();
    n8n.trouble(Some(Answering::json(401, r#"{"message":"unauthorized"}"#)));
    let keyward = home.serve_for(&upstream).config(&config).start();
    says(&problem(&keyward, "n8n_key_unusable"), "remedy", "Make a new API key in n8n");
    assert_eq!(problems(&keyward).len(), 1);
    home.write("n8n-key", "");
    let text = |keyward: &Keyward| problem(keyward, "n8n_key_unusable")["text"].as_str().unwrap().to_owned();
    eventually("the empty file", || text(&keyward).contains("cannot be read").then_some(()));
    n8n.trouble(None);
    home.write("n8n-key", API_KEY);
    over(&keyward, "n8n_key_unusable");
}

#[test]
fn a_certificate_near_its_end_a_room_that_is_full_and_dropped_lines_are_told_of() {
    let (home, upstream) = (home("sk-good"), FakeUpstream::accepting());
    let put = |certificate: &Certificate| {
        home.write("tls.crt", &certificate.cert);
        home.write("tls.key", &certificate.key);
    };
    put(&Certificate::of("127.0.0.1", 1975..2020));
    let config = format!("{FILE}[tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n");
    let keyward = home.serve_for(&upstream).config(&config).start();
    says(&problem(&keyward, "certificate_ends"), "text", "ended at 2020-01-01");
    home.write("tls.key", "");
    says(&problem(&keyward, "certificate_unreadable"), "text", "tls.key holds no private key");
    put(&Certificate::make());
    over(&keyward, "certificate_ends");
    over(&keyward, "certificate_unreadable");
    keyward.stop();
    let config = format!("{FILE}[store]\nmax_bindings = 1\n");
    let keyward = home.serve_for(&upstream).config(&config).log_file("log").start();
    // From here on the disk is full.
    fs::remove_file(home.path("log")).unwrap();
    std::os::unix::fs::symlink("/dev/full", home.path("log")).unwrap();
    keyward.signal(Signal::HUP);
    for node in ["a", "b", "c"] {
        let tag = format!("wf=w;ex=1;node={node}");
        ask(keyward.listen, "/v1/models", &[("Authorization", "Bearer sk-good"), ("X-N8N-Tag", &tag)]);
    }
    says(&problem(&keyward, "bindings_full"), "remedy", "store.max_bindings");
    says(&problem(&keyward, "log_failing"), "text", "Log lines are dropped");
}

#[test]
fn a_tag_that_n8n_did_not_fill_in_is_told_of_until_a_good_one_comes_from_there() {
    let (home, upstream) = (home("sk-good"), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).config(FILE).start();
    let tagged = |tag: &str, agent: &str| {
        let fields = [("Authorization", "Bearer sk-good"), ("X-N8N-Tag", tag), ("User-Agent", agent)];
        assert_eq!(ask(keyward.listen, "/v1/models", &fields).status, 200);
    };
    let as_written = "wf={{ $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}";
    // n8n's Instance AI resolves none, so that nothing can be mended there.
    tagged(as_written, "ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.0");
    tagged("wf=a;ex=1;node=b", "OpenAI/JS 6.1.0");
    tagged(as_written, "OpenAI/JS 6.1.0");
    tagged(as_written, "OpenAI/JS 6.1.0");
    let told = eventually("both", || {
        let told = problems(&keyward).into_iter().find(|told| told["code"] == "tag_unreadable")?;
        (told["requests"] == 2).then_some(told)
    });
    assert_eq!(
        (&told["about"], &told["severity"], &told["bindings"]),
        (&"default".into(), &"warning".into(), &1.into())
    );
    says(&told, "text", "carry n8n's expression as it is written (`{{ … }}`)");
    says(&told, "text", "those of the sdk client at 127.0.0.1.");
    says(&told, "remedy", "to Expression");
    tagged("wf=a;ex=2;node=b", "OpenAI/JS 6.1.0");
    over(&keyward, "tag_unreadable");
    // With two credentials the good one says nothing of the other.
    tagged("wf=a;wf=b", "OpenAI/JS 6.1.0");
    tagged("wf=a;ex=3;node=b", "OpenAI/JS 6.1.0");
    says(&problem(&keyward, "tag_unreadable"), "text", "the sdk client");
}

#[test]
fn tokens_that_cannot_be_read_again_are_told_of() {
    let (home, upstream) = (home("sk-good"), FakeUpstream::accepting());
    let token = |home: &Home| home.keyward(&["token", "new", "default"]).config(FILE).run();
    assert_eq!(token(&home).code(), Some(0));
    let keyward = home.serve_for(&upstream).config(FILE).start();
    let access = home.state().join("access.json");
    let whole = fs::read_to_string(&access).unwrap();
    fs::write(&access, "{").unwrap();
    says(&problem(&keyward, "tokens_unreadable"), "remedy", "the tokens and revocations that were read before");
    fs::write(&access, whole).unwrap();
    over(&keyward, "tokens_unreadable");
    fs::write(home.state().join("admin.token"), "").unwrap();
    eventually("no token is accepted", || (keyward.admin("/api/v1/problems").status == 401).then_some(()));
}

/// A home with that key in a file.
fn home(key: &str) -> Home {
    let home = Home::new();
    home.write("key", key);
    home
}
