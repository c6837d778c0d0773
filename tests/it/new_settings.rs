//! `keyward reload`: another configuration is taken whole or not at all, and no request fails meanwhile.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::client::{ask_with, request};
use crate::process::{Finished, Home, Keyward, events};
use crate::support::{API_KEY, Answering, Client, FakeN8n, FakeUpstream, Head, Over, eventually};

const FIRST: &str = "[keys.default]\npolicy = \"inject\"\ncurrent = { file = \"key\" }\n";

const BILLING: &str = "[keys.billing]\npolicy = \"inject\"\ncurrent = { file = \"billing\" }\n";

#[test]
fn a_new_set_admits_its_token_as_soon_as_it_is_taken() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let token = token(&home, &[FIRST, BILLING].concat(), "billing");
    assert_eq!(ask_with(keyward.listen, &token).status, 401, "there is no such set yet");
    let answer = reload(&keyward);
    assert_eq!(answer["result"], "taken", "{answer}");
    assert_eq!(answer["changed"], json!(["keys.billing"]));
    let asked = ask_with(keyward.listen, &token);
    assert_eq!((asked.status, asked.verdict()), (200, "token"), "{}", asked.text());
    let sent = upstream.received().pop().unwrap();
    assert_eq!(sent.head.header("authorization"), Some("Bearer sk-billing"));
    // By its name in the tag, in the API and in the metrics.
    let tagged = crate::process::client::ask(
        keyward.listen,
        "/v1/models",
        &[("Authorization", "Bearer sk-stray"), ("X-N8N-Tag", "wf=w1;node=n1;set=billing")],
    );
    assert_eq!(tagged.status, 401);
    let lines = keyward.exchanges(3);
    assert_eq!(lines.iter().filter(|line| line["set"] == "billing").count(), 2, "{lines:?}");
    let sets = keyward.admin("/api/v1/sets").json();
    let names: Vec<_> = sets["sets"].as_array().unwrap().iter().map(|set| set["set"].clone()).collect();
    assert_eq!(names, ["default", "billing"]);
    let metrics = keyward.admin("/metrics").text();
    assert!(metrics.contains("keyward_injected_total{set=\"billing\"} 1"), "{metrics}");
    assert!(metrics.contains("keyward_reloads_total{what=\"configuration\",result=\"ok\"} 1"), "{metrics}");
    let told = events(&keyward.log(), "reloaded");
    assert_eq!(told[0]["settings"], "keys.billing", "{told:?}");
    // A new key in the file of the new set is found as in all others.
    home.write("billing", "sk-first");
    eventually("the set's next key", || (ask_with(keyward.listen, &token).status == 200).then_some(()));
    assert_eq!(keyward.stop().code(), Some(0));
}

#[test]
fn a_set_that_goes_admits_no_token_any_more_and_comes_back_as_it_was() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let both = [FIRST, BILLING].concat();
    let token = token(&home, &both, "billing");
    let keyward = home.serve_for(&upstream).config(&both).start();
    let mut kept_alive = Client::connect(keyward.listen);
    let authorization = format!("Bearer {token}");
    let mut ask = || kept_alive.ask("/v1/models", &[("Authorization", &authorization)]);
    assert_eq!(ask().verdict(), "token");
    home.write("keyward.toml", FIRST);
    assert_eq!(reload(&keyward)["changed"], json!(["keys.billing"]));
    let refused = ask();
    assert_eq!((refused.status, refused.verdict()), (401, "unknown"), "also over a connection that was let in before");
    let sets = keyward.admin("/api/v1/sets").json();
    assert_eq!(sets["sets"].as_array().unwrap().len(), 1, "{sets}");
    let bindings = keyward.admin("/api/v1/bindings").json();
    let of_billing = bindings["bindings"].as_array().unwrap().iter().filter(|row| row["set"] == "billing").count();
    assert_eq!(of_billing, 1, "what was seen of it is remembered: {bindings}");
    home.write("keyward.toml", &both);
    assert_eq!(reload(&keyward)["result"], "taken");
    assert_eq!((ask().status, ask().verdict().to_owned()), (200, "token".to_owned()));
    keyward.stop();
}

#[test]
fn policies_workflows_and_hosts_hold_from_the_next_request_on() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-stray"]),
    );
    let config = |policy: &str, rest: &str| {
        format!("[keys.default]\ncurrent = {{ file = \"key\" }}\npolicy = \"{policy}\"\n{rest}")
    };
    let keyward = home.serve_for(&upstream).config(&config("observe", "")).start();
    let mut client = Client::connect(keyward.listen);
    let mut ask = |tag: &str| client.ask("/v1/models", &[("Authorization", "Bearer sk-stray"), ("X-N8N-Tag", tag)]);
    assert_eq!(ask("wf=w1").status, 200);
    take(&home, &keyward, &config("observe", "workflows = { \"w1\" = { policy = \"enforce\" } }\n"));
    assert_eq!((ask("wf=w1").status, ask("wf=w2").status), (401, 200));
    take(&home, &keyward, &config("enforce", ""));
    assert_eq!(ask("wf=w2").status, 401);
    assert!(ask_page(&keyward).contains("enforce"), "the page for people says so as well");
    take(&home, &keyward, &config("enforce", "unknown = \"forward\"\n"));
    assert_eq!(ask("wf=w2").status, 200);
    take(&home, &keyward, &config("observe", "[proxy]\nallow_host = [\"elsewhere\"]\n"));
    assert_eq!(ask("wf=w2").status, 421);
    assert_eq!(keyward.metric("keyward_reloads_total{what=\"configuration\",result=\"ok\"}"), 4);
    keyward.stop();
}

#[test]
fn a_broken_file_changes_nothing_and_the_answer_says_where() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let page = ask_page(&keyward);
    for (broken, said) in [
        ("[keys.default]\npolicy = \"inject\"\ncurrent = { file = \"key\" }\ngrace = \"soon\"\n", "keys.default.grace"),
        ("[keys.default\n", "keyward.toml"),
        ("[keys.default]\npolicy = \"inject\"\ncurrent = { file = \"nowhere\" }\n", "nowhere"),
        ("[keys.default]\npolicy = \"inject\"\n", "keys.default"),
    ] {
        home.write("keyward.toml", broken);
        let answer = reload(&keyward);
        assert_eq!(answer["result"], "refused", "{answer}");
        let problems = answer["problems"].to_string();
        assert!(problems.contains(said) && !problems.contains("sk-"), "{problems}");
        assert_eq!(ask_with(keyward.listen, "sk-first").verdict(), "current");
        let finished = reload_by_command(&home, &keyward, &[]);
        let out = [finished.stdout.as_str(), finished.stderr.as_str()].concat();
        assert_eq!(finished.code(), Some(1), "{out}");
        assert!(out.contains(said), "{out}");
    }
    assert_eq!(ask_page(&keyward), page);
    let refusals = eventually("the refusals", || {
        let refusals = events(&keyward.log(), "reload_refused");
        (refusals.len() == 5).then_some(refusals)
    });
    assert_eq!(refusals[0]["level"], "error", "{refusals:?}");
    assert!(refusals[0]["message"].as_str().unwrap().contains("keys.default.grace"), "{refusals:?}");
    assert_eq!(keyward.metric("keyward_reloads_total{what=\"configuration\",result=\"ok\"}"), 0);
    // Mended, it is as it was.
    home.write("keyward.toml", FIRST);
    assert_eq!(reload(&keyward)["result"], "unchanged");
    keyward.stop();
}

#[test]
fn what_the_store_remembers_of_a_set_that_comes_back_holds_from_the_reload_on() {
    let billing = BILLING.replace("inject", "observe");
    let (home, upstream) = (Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]), FakeUpstream::accepting());
    let both = [FIRST, &billing].concat();
    let keyward = home.serve_for(&upstream).config(&both).start();
    let tag = [("Authorization", "Bearer sk-billing"), ("X-N8N-Tag", "wf=w1;ex=1;node=n1")];
    assert_eq!(crate::process::client::ask(keyward.listen, "/v1/models", &tag).verdict(), "current");
    home.write("billing", "sk-other");
    eventually("the new key", || (ask_with(keyward.listen, "sk-other").verdict() == "current").then_some(()));
    keyward.stop();
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let rows = || -> Vec<Value> {
        let told = keyward.admin("/api/v1/bindings").json();
        told["bindings"].as_array().unwrap().iter().filter(|row| row["set"] == "billing").cloned().collect()
    };
    assert_eq!(rows().len(), 2, "what is known of a set that is configured no longer may bar a key of another one");
    home.write("keyward.toml", &both);
    assert_eq!(reload(&keyward)["result"], "taken");
    let of_node = |row: &Value| row["node_id"] == "n1";
    let known = rows();
    assert_eq!(known.iter().filter(|row| of_node(row)).count(), 1, "{known:?}");
    assert_eq!(known.iter().find(|row| of_node(row)).unwrap()["state"], "silent", "{known:?}");
    let rotation = keyward.admin("/api/v1/sets/billing/rotation").text();
    assert!(rotation.contains("\"n1\"") && !rotation.contains("\"answer\":\"yes\""), "{rotation}");
    // Once more changes nothing of it.
    home.write("keyward.toml", FIRST);
    assert_eq!(reload(&keyward)["result"], "taken");
    home.write("keyward.toml", &both);
    assert_eq!(reload(&keyward)["result"], "taken");
    assert_eq!(rows(), known);
    keyward.stop();
}

#[test]
fn what_takes_a_restart_is_named_and_then_nothing_is_taken() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let token = token(&home, &[FIRST, BILLING].concat(), "billing");
    let other = "[proxy]\nworkers = 7\nmax_head = 32768\n[log]\nlevel = \"debug\"\n[store]\nretention = \"1d\"\n";
    home.write("keyward.toml", [FIRST, BILLING, other].concat());
    let answer = reload(&keyward);
    assert_eq!(answer["result"], "refused");
    let restart = json!(["proxy.workers", "proxy.max_head", "log.level", "store.retention"]);
    assert_eq!((&answer["needs_restart"], &answer["changed"]), (&restart, &json!(["keys.billing"])), "{answer}");
    assert_eq!(ask_with(keyward.listen, &token).status, 401, "not even what could have been taken");
    let finished = reload_by_command(&home, &keyward, &[]);
    assert_eq!(finished.code(), Some(1));
    let said = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "The configuration was refused: nothing has changed.",
        "proxy.workers takes a restart: keyward keeps what it started with",
        "log.level takes a restart: keyward keeps what it started with",
        "Nothing of the file holds, not even what needs no restart: put back what takes one",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let finished = reload_by_command(&home, &keyward, &["--json"]);
    let told: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((finished.code(), &told["needs_restart"]), (Some(1), &restart));
    keyward.stop();
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let token = token(&home, &[FIRST, BILLING].concat(), "billing");
    let finished = reload_by_command(&home, &keyward, &["--dry-run"]);
    assert_eq!(finished.code(), Some(0));
    let expected = "The configuration would be taken. It would change:\n  keys.billing\n";
    assert_eq!(finished.stdout, expected, "{}", finished.stderr);
    assert_eq!(ask_with(keyward.listen, &token).status, 401);
    assert!(events(&keyward.log(), "reloaded").is_empty());
    let finished = reload_by_command(&home, &keyward, &[]);
    assert_eq!(
        (finished.code(), &*finished.stdout),
        (Some(0), "The configuration was taken. Changed:\n  keys.billing\n")
    );
    assert_eq!(ask_with(keyward.listen, &token).status, 200);
    keyward.stop();
}

#[test]
fn it_takes_a_token_that_may_write() {
    let (home, upstream) = (Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]), FakeUpstream::accepting());
    let config = [FIRST, "[admin]\nread_token_file = \"read\"\n"].concat();
    home.write("read", "a-token-that-may-only-read-0123456789abcdef");
    let keyward = home.serve_for(&upstream).config(&config).start();
    let may_read = keyward.ask_admin_with("POST", "/api/v1/reload", "a-token-that-may-only-read-0123456789abcdef");
    assert_eq!(may_read.status, 403, "{}", may_read.text());
    assert_eq!(keyward.ask_admin_with("POST", "/api/v1/reload", "nothing").status, 401);
    assert_eq!(keyward.admin("/api/v1/reload").status, 405);
    assert!(events(&keyward.log(), "reloaded").is_empty());
    keyward.stop();
}

#[test]
fn an_n8n_is_asked_from_then_on_and_asked_no_more_when_it_goes() {
    let (home, upstream) =
        (Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]), FakeUpstream::taking(&["sk-first"]));
    let n8n = FakeN8n::start();
    n8n.has("w1", "Weather", &[("n1", "Ask")]);
    home.write("api", API_KEY);
    let with_n8n = format!("{FIRST}[n8n.main]\nurl = \"{}\"\napi_key = {{ file = \"api\" }}\n", n8n.origin());
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    take(&home, &keyward, &with_n8n);
    eventually("names", || (keyward.metric("keyward_n8n_workflows") == 1).then_some(()));
    let mut client = Client::connect(keyward.listen);
    let mut ask = || client.ask("/v1/models", &[("Authorization", "Bearer sk-first"), ("X-N8N-Tag", "wf=w1;node=n1")]);
    ask();
    assert_eq!(keyward.exchanges(1)[0]["workflow_name"], "Weather");
    let asked = n8n.asked().len();
    take(&home, &keyward, &format!("{with_n8n}refresh = \"1h\"\n"));
    eventually("the poller of the other settings", || (n8n.asked().len() > asked).then_some(()));
    take(&home, &keyward, FIRST);
    assert_eq!(keyward.admin("/api/v1/status").json()["n8n"], json!([]));
    ask();
    let lines = keyward.exchanges(2);
    assert_eq!(lines.iter().filter(|line| line["workflow_name"] == "Weather").count(), 1, "{lines:?}");
    assert_eq!(keyward.stop().code(), Some(0));
}

#[test]
fn receivers_of_notices_are_taken_with_the_rest() {
    let (home, upstream) =
        (Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]), FakeUpstream::taking(&["sk-first"]));
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    home.write("url", upstream.url());
    take(&home, &keyward, &[FIRST, "[notices.team]\nto = { file = \"url\" }\n"].concat());
    let receivers = || keyward.admin("/api/v1/notices").json()["receivers"].as_array().unwrap().len();
    eventually("the receiver", || (receivers() == 1).then_some(()));
    take(&home, &keyward, FIRST);
    eventually("no receiver", || (receivers() == 0).then_some(()));
    keyward.stop();
}

#[test]
fn sighup_still_takes_no_sets() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let token = token(&home, &[FIRST, BILLING].concat(), "billing");
    keyward.signal(rustix::process::Signal::HUP);
    eventually("the warning", || (!events(&keyward.log(), "config").is_empty()).then_some(()));
    assert_eq!(ask_with(keyward.listen, &token).status, 401);
    // What a signal only told of is still news for a reload.
    assert_eq!(reload(&keyward)["changed"], json!(["keys.billing"]));
    assert_eq!(ask_with(keyward.listen, &token).status, 200);
    keyward.stop();
}

#[test]
fn two_reloads_at_once_are_done_one_after_the_other() {
    let (home, upstream) = (
        Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]),
        FakeUpstream::taking(&["sk-first", "sk-billing"]),
    );
    let keyward = home.serve_for(&upstream).config(FIRST).start();
    let token = token(&home, &[FIRST, BILLING].concat(), "billing");
    let results = thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| reload(&keyward)["result"].clone())).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let count = |wanted: &str| results.iter().filter(|result| *result == wanted).count();
    assert_eq!((count("taken"), count("unchanged")), (1, 3), "{results:?}");
    assert_eq!(ask_with(keyward.listen, &token).status, 200);
    keyward.stop();
}

/// Kept-alive and new connections, and answers that go on all the while.
#[test]
fn no_request_fails_in_a_thousand_reloads_and_memory_stays_flat() {
    let (home, are_streams_over) =
        (Home::with(&[("key", "sk-first"), ("billing", "sk-billing")]), Arc::new(AtomicBool::new(false)));
    let upstream = streaming(&are_streams_over);
    let both = [FIRST, BILLING].concat();
    let (token, own) = (token(&home, &both, "billing"), token(&home, FIRST, "default"));
    home.write("one", [FIRST, "grace = \"1h\"\n[proxy]\nallow_origin = [\"https://one.example.com\"]\n"].concat());
    home.write("two", &both);
    let keyward = home.serve_for(&upstream).config(&both).log_file("exchanges.log").start();
    let mut streams: Vec<_> = (0..8).map(|_| open_stream(&keyward, &token)).collect();
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let memory = thread::scope(|scope| {
        for keeps_alive in [true, false, true, false] {
            let (is_over, keyward, own, asked) = (&is_over, &keyward, &own, &asked);
            scope.spawn(move || ask_until(is_over, keyward, own, (keeps_alive, asked)));
        }
        let _over = Over(&is_over);
        let mut memory = Vec::new();
        for round in 1..=1000 {
            swap(&home, if round % 2 == 0 { "two" } else { "one" });
            let answer = reload(&keyward);
            assert_eq!(answer["result"], "taken", "{answer}");
            if round % 250 == 0 {
                memory.push(keyward.resident());
            }
        }
        memory
    });
    are_streams_over.store(true, Ordering::Relaxed);
    for (client, head) in &mut streams {
        let answer = client.read_body(head.clone());
        assert!(answer.whole && answer.text().contains("the end"), "{}", answer.text());
    }
    assert!(asked.load(Ordering::Relaxed) > 1000, "{asked:?} requests went by");
    let (settled, last) = (memory[0], memory[memory.len() - 1]);
    assert!(last < settled + settled / 4 + (4 << 20), "memory stays flat: {memory:?}");
    keyward.stop();
}

/// A client in the midst of an answer.
fn open_stream(keyward: &Keyward, token: &str) -> (Client, Head) {
    let mut client = Client::connect(keyward.listen);
    client.send(request("GET", "/v1/stream", &[("Authorization", &format!("Bearer {token}"))], b""));
    let head = client.head();
    assert!(head.line.starts_with("HTTP/1.1 200 "), "{}", head.line);
    (client, head)
}

/// Asks over one connection or over a new one each time, and counts.
fn ask_until(is_over: &AtomicBool, keyward: &Keyward, token: &str, (keeps_alive, asked): (bool, &AtomicUsize)) {
    let authorization = format!("Bearer {token}");
    let mut client = Client::connect(keyward.listen);
    while !is_over.load(Ordering::Relaxed) {
        if !keeps_alive {
            client = Client::connect(keyward.listen);
        }
        let answer = client.ask("/v1/models", &[("Authorization", &authorization)]);
        assert_eq!((answer.status, answer.verdict()), (200, "token"), "{}", answer.text());
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers each request, and `/v1/stream` bit by bit until that is over.
fn streaming(is_over: &Arc<AtomicBool>) -> FakeUpstream {
    let is_over = Arc::clone(is_over);
    FakeUpstream::scripted(move |visit| {
        if !visit.head.line.contains("/v1/stream") {
            visit.answer(&Answering::json(200, "{}"));
            return;
        }
        visit.send(Answering::STREAM);
        while !is_over.load(Ordering::Relaxed) {
            visit.chunk("data: more\n\n");
            thread::sleep(Duration::from_millis(20));
        }
        visit.chunk("data: the end\n\n");
        visit.chunk("");
    })
}

/// Makes that the configuration, at once as an editor does.
fn swap(home: &Home, name: &str) {
    fs::copy(home.path(name), home.path("draft")).unwrap();
    fs::rename(home.path("draft"), home.path("keyward.toml")).unwrap();
}

/// A new token of that set, which the configuration then has.
fn token(home: &Home, config: &str, set: &str) -> String {
    let made = home.keyward(&["token", "new", set]).config(config).run();
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    made.stdout.trim_end().to_owned()
}

#[track_caller]
fn take(home: &Home, keyward: &Keyward, config: &str) {
    home.write("keyward.toml", config);
    let answer = reload(keyward);
    assert_eq!(answer["result"], "taken", "{answer}");
}

#[track_caller]
fn reload(keyward: &Keyward) -> Value {
    let answer = keyward.ask_admin("POST", "/api/v1/reload");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn reload_by_command(home: &Home, keyward: &Keyward, arguments: &[&str]) -> Finished {
    let arguments = [&["reload", "--config", "keyward.toml"], arguments].concat();
    home.keyward(&arguments).env("KEYWARD_ADMIN_LISTEN", &keyward.admin.to_string()).run()
}

fn ask_page(keyward: &Keyward) -> String {
    crate::process::client::get(keyward.listen, "/").text()
}
