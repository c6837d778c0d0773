//! Notices: what reaches a receiver and what never does, how it is signed, repeated and given up, and that its URL and
//! secret are shown nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use keyward::keys::source::Source;
use keyward::notices::{Heartbeat, ReceiverKind, Timing, Topic};
use ring::hmac;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::client::ask;
use crate::process::{Finished, Home, Keyward, files_below};
use crate::support::{
    API_KEY, Answering, Builder, CURRENT, FakeN8n, FakeUpstream, OUTDATED, TestProxy, UNLISTED, eventually,
};

/// 30 bytes each, as `whsec_` and Base64.
const SECRETS: [&str; 2] =
    ["whsec_Y2FuYXJ5LXNlY3JldC1vbmUtMDEyMzQ1Njc4OS4u", "whsec_Y2FuYXJ5LXNlY3JldC10d28tMDEyMzQ1Njc4OS4u"];

/// A part of a receiver's URL.
const CANARY: &str = "canary-9f86d081884c7d65";

// === What is seen ===

/// A receiver that answers like that to each attempt, by its number from 0 on.
fn receiver_that(answers: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> FakeUpstream {
    FakeUpstream::scripted(move |visit| visit.answer(&answers(visit.number())))
}

/// One that takes everything.
fn receiver() -> FakeUpstream {
    receiver_that(|_| Answering::with(204, "", ""))
}

/// One that refuses so many attempts with that status before it takes all.
fn refusing(attempts: usize, status: u16, headers: &'static str) -> FakeUpstream {
    receiver_that(move |number| match number {
        number if number < attempts => Answering::with(status, headers, ""),
        _ => Answering::with(204, "", ""),
    })
}

/// A notice as it came.
#[derive(Clone, Debug)]
struct Notice {
    id: String,
    kind: String,
    body: Value,
}

impl Notice {
    fn title(&self) -> &str {
        self.body["data"]["title"].as_str().unwrap()
    }

    fn thread(&self) -> &str {
        self.body["data"]["thread"].as_str().unwrap()
    }
}

/// Every attempt up to now, those that were refused as well.
fn notices(receiver: &FakeUpstream) -> Vec<Notice> {
    let notice = |received: &crate::support::Received| {
        // One that is being read is not whole yet.
        let body: Value = serde_json::from_slice(&received.body).ok()?;
        let id = received.head.header("webhook-id").unwrap_or_default().to_owned();
        Some(Notice { id, kind: body["type"].as_str().unwrap_or_default().to_owned(), body })
    };
    receiver.received().iter().filter_map(notice).collect()
}

fn kinds(receiver: &FakeUpstream) -> Vec<String> {
    notices(receiver).into_iter().map(|notice| notice.kind).collect()
}

/// The first notice of that type.
#[track_caller]
fn notice(receiver: &FakeUpstream, kind: &str) -> Notice {
    eventually(kind, || notices(receiver).into_iter().find(|notice| notice.kind == kind))
}

/// Moves the clock on, second by second, until there are that many attempts, and gives all.
#[track_caller]
fn advance_until(proxy: &TestProxy, receiver: &FakeUpstream, count: usize) -> Vec<Notice> {
    eventually("notices", || {
        let all = notices(receiver);
        if all.len() >= count {
            return Some(all);
        }
        proxy.advance(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(10));
        None
    })
}

/// Asks for a test and waits until it arrives: what was due before it has been put on its way by then.
#[track_caller]
fn test_arrives(proxy: &TestProxy, receiver: &FakeUpstream) {
    let known = kinds(receiver).iter().filter(|kind| *kind == "test").count();
    assert_eq!(post(proxy, "/api/v1/notices/test").status, 202);
    let tests = || kinds(receiver).iter().filter(|kind| *kind == "test").count();
    eventually("a test", || (tests() > known).then_some(()));
}

fn post(proxy: &TestProxy, target: &str) -> crate::support::Answer {
    proxy.ask_admin("POST", target, &[("Authorization", &proxy.admin_bearer())])
}

/// What the API says of the only receiver.
fn state(proxy: &TestProxy) -> Value {
    all_states(proxy)["receivers"][0].clone()
}

fn all_states(proxy: &TestProxy) -> Value {
    serde_json::from_str(&proxy.admin("/api/v1/notices").text()).unwrap()
}

// === What happens ===

fn builder(upstream: &FakeUpstream) -> Builder {
    TestProxy::with(upstream).current_key(CURRENT).previous_key(OUTDATED)
}

/// A keyward that tells that receiver of incidents, as soon as there are some.
fn telling(upstream: &FakeUpstream, receiver: &FakeUpstream) -> TestProxy {
    builder(upstream).receiver_that("team", &receiver.url(), |team| team.topics = vec![Topic::Incident]).start()
}

/// A node sends a key, a second after whatever came before.
fn send(proxy: &TestProxy, node: &str, key: &str) {
    proxy.advance(Duration::from_secs(1));
    proxy.get("/v1/models").key(key).header("X-N8N-Tag", format!("wf=w1;node={node};name=Report")).logged();
}

#[track_caller]
fn open_incidents(proxy: &TestProxy, count: usize) {
    let open = || -> Value { serde_json::from_str(&proxy.admin("/api/v1/incidents?state=open").text()).unwrap() };
    eventually("incidents", || (open()["total"] == count).then_some(()));
}

// === Tests ===

#[test]
fn a_stale_request_is_told_within_a_second() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let timing = Timing { quiet: Duration::ZERO, every: Duration::ZERO, remind: Duration::ZERO };
    let proxy = builder(&upstream)
        .receiver_that("team", &receiver.url(), |team| (team.topics, team.timing) = (vec![Topic::Incident], timing))
        .start();
    let mut fastest = Duration::MAX;
    for node in 1..=5 {
        let begun = Instant::now();
        send(&proxy, &format!("n{node}"), OUTDATED);
        let is_told = || notices(&receiver).iter().any(|notice| notice.body["data"]["left"] == node);
        eventually("a notice", || is_told().then_some(()));
        fastest = fastest.min(begun.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    let first = &notices(&receiver)[0];
    assert_eq!((first.kind.as_str(), &first.body["data"]["code"]), ("incident.opened", &json!("stale_binding")));
    assert!(first.title().starts_with("The old key sk-proj-…OuTd ("), "{}", first.title());
    assert_eq!(first.body["data"]["callers"][0]["who"], "Report (w1), node n1");
}

#[test]
fn each_secret_gives_a_signature_of_id_time_and_body() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let builder = builder(&upstream);
    let secrets = SECRETS.map(|secret| Source::File(builder.file(&format!("secret-{}", &secret[20..30]), secret)));
    let proxy = builder.receiver_that("team", &receiver.url(), |team| team.secrets = secrets.to_vec()).start();
    test_arrives(&proxy, &receiver);
    let sent = receiver.received().into_iter().last().unwrap();
    let header = |name: &str| sent.head.header(name).unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-timestamp"), (TestProxy::START / 1000).to_string());
    let signed =
        [format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes(), sent.body].concat();
    let signatures = header("webhook-signature");
    let signatures: Vec<_> = signatures.split(' ').map(|signature| signature.strip_prefix("v1,").unwrap()).collect();
    assert_eq!(signatures.len(), 2);
    for (secret, signature) in SECRETS.iter().zip(signatures) {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let tag = BASE64_STANDARD.decode(signature).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &tag).unwrap();
    }
}

#[test]
fn three_nodes_are_one_notice_that_changes_and_closes() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = builder(&upstream)
        .receiver_that("team", &receiver.url(), |team| {
            (team.topics, team.timing) = (vec![Topic::Incident], Timing::default());
        })
        .start();
    for node in ["n1", "n2", "n3"] {
        send(&proxy, node, OUTDATED);
    }
    open_incidents(&proxy, 3);
    let opened = advance_until(&proxy, &receiver, 1).remove(0);
    assert_eq!(opened.kind, "incident.opened");
    assert!(opened.title().ends_with(" is still sent: 3 callers"), "{}", opened.title());
    let who: Vec<_> = opened.body["data"]["callers"].as_array().unwrap().iter().map(|row| &row["who"]).collect();
    assert_eq!(who, ["Report (w1), node n1", "Report (w1), node n2", "Report (w1), node n3"]);
    send(&proxy, "n2", CURRENT);
    open_incidents(&proxy, 2);
    let changed = advance_until(&proxy, &receiver, 2).remove(1);
    assert_eq!((changed.kind.as_str(), changed.thread()), ("incident.changed", opened.thread()));
    assert!(changed.title().ends_with("2 of 3 callers left"), "{}", changed.title());
    for node in ["n1", "n3"] {
        send(&proxy, node, CURRENT);
    }
    open_incidents(&proxy, 0);
    let closed = advance_until(&proxy, &receiver, 3).remove(2);
    assert_eq!((closed.kind.as_str(), closed.thread()), ("incident.closed", opened.thread()));
    assert!(closed.title().starts_with("Over, all 3 callers are dealt with: "), "{}", closed.title());
    let ids: BTreeSet<_> = notices(&receiver).into_iter().map(|notice| notice.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| id.len() == 28 && id.starts_with("msg_")), "{ids:?}");
}

#[test]
fn what_is_over_before_it_was_told_is_never_told() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = builder(&upstream)
        .receiver_that("team", &receiver.url(), |team| {
            (team.topics, team.timing) = (vec![Topic::Incident], Timing::default());
        })
        .start();
    send(&proxy, "n1", OUTDATED);
    open_incidents(&proxy, 1);
    test_arrives(&proxy, &receiver);
    send(&proxy, "n1", CURRENT);
    open_incidents(&proxy, 0);
    for _ in 0..3 {
        proxy.advance(Duration::from_mins(10));
        test_arrives(&proxy, &receiver);
    }
    assert_eq!(kinds(&receiver), ["test"; 4]);
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_until_a_test_arrives_and_is_then_told_what_is_still_so() {
    let upstream = FakeUpstream::accepting();
    let receiver = refusing(1, 410, "");
    let other = self::receiver();
    let proxy = builder(&upstream)
        .receiver_that("a-team", &receiver.url(), |team| team.topics = vec![Topic::Incident])
        .receiver_that("other", &other.url(), |other| other.topics = vec![Topic::Keyward])
        .start();
    send(&proxy, "n1", OUTDATED);
    let told = notice(&other, "problem.opened");
    assert_eq!(
        (&told.body["data"]["code"], &told.body["data"]["about"]),
        (&json!("notices_failing"), &json!("a-team"))
    );
    let stopped = state(&proxy);
    assert_eq!((&stopped["state"], &stopped["waiting"]), (&json!("stopped"), &json!([])));
    assert_eq!(stopped["given_up"][0]["id"], notices(&receiver)[0].id);
    assert!(stopped["trouble"].as_str().unwrap().contains("answers 410 (Gone)"), "{stopped}");
    assert_eq!(proxy.metric("keyward_problems_open{problem=\"notices_failing\"}"), 1);
    assert_eq!(notices(&receiver).len(), 1);
    // Its end is told only to one that knows of its beginning: so the beginning comes once more.
    assert_eq!(post(&proxy, "/api/v1/notices/test?receiver=a-team").status, 202);
    let again = eventually("what is still so", || {
        notices(&receiver).into_iter().skip(1).find(|notice| notice.kind == "incident.opened")
    });
    assert_eq!(again.thread(), notices(&receiver)[0].thread());
    assert_ne!(again.id, notices(&receiver)[0].id);
    send(&proxy, "n1", CURRENT);
    notice(&receiver, "incident.closed");
    assert_eq!(kinds(&receiver), ["incident.opened", "test", "incident.opened", "incident.closed"]);
    notice(&other, "problem.closed");
    assert_eq!(state(&proxy)["state"], "ok");
}

#[test]
fn an_end_is_not_told_to_a_receiver_that_gave_the_beginning_back() {
    let (upstream, receiver) = (FakeUpstream::accepting(), refusing(1, 410, ""));
    let proxy = telling(&upstream, &receiver);
    send(&proxy, "n1", OUTDATED);
    eventually("its stop", || (state(&proxy)["state"] == "stopped").then_some(()));
    send(&proxy, "n1", CURRENT);
    open_incidents(&proxy, 0);
    for _ in 0..3 {
        test_arrives(&proxy, &receiver);
        proxy.advance(Duration::from_mins(10));
    }
    assert_eq!(kinds(&receiver), ["incident.opened", "test", "test", "test"]);
}

#[test]
fn a_receiver_that_asks_for_a_pause_gets_it_and_the_same_id_then() {
    let (upstream, receiver) = (FakeUpstream::accepting(), refusing(1, 429, "Retry-After: 120\r\n"));
    let proxy = telling(&upstream, &receiver);
    send(&proxy, "n1", OUTDATED);
    let now = TestProxy::START + 1000;
    let waits = eventually("the refusal", || Some(state(&proxy)).filter(|state| state["state"] == "retrying"));
    assert_eq!(waits["waiting"][0]["attempts"], 1);
    let next: jiff::Timestamp = waits["next"].as_str().unwrap().parse().unwrap();
    assert_eq!(next.as_millisecond(), now + 120_000);
    proxy.advance(Duration::from_secs(119));
    // A test is sent all the same, so what is due has been looked for.
    test_arrives(&proxy, &receiver);
    let all = advance_until(&proxy, &receiver, 3);
    let of_incident: Vec<_> = all.iter().filter(|notice| notice.kind == "incident.opened").collect();
    assert_eq!(of_incident.len(), 2);
    assert_eq!(of_incident[0].id, of_incident[1].id);
}

#[test]
fn a_receiver_that_asks_for_no_pause_is_left_alone_for_a_second() {
    let (upstream, receiver) = (FakeUpstream::accepting(), refusing(usize::MAX, 503, "Retry-After: 0\r\n"));
    let proxy = telling(&upstream, &receiver);
    send(&proxy, "n1", OUTDATED);
    let waits = eventually("the refusal", || Some(state(&proxy)).filter(|state| state["failures"] == 1));
    let next: jiff::Timestamp = waits["next"].as_str().unwrap().parse().unwrap();
    assert_eq!(next.as_millisecond(), TestProxy::START + 2_000);
    proxy.advance(Duration::from_secs(1));
    let waits = eventually("the second one", || Some(state(&proxy)).filter(|state| state["failures"] == 2));
    let next: jiff::Timestamp = waits["next"].as_str().unwrap().parse().unwrap();
    let pause = next.as_millisecond() - TestProxy::START - 2_000;
    assert!((4_000..=6_000).contains(&pause), "{pause}");
}

#[test]
fn a_notice_is_given_up_after_a_day_and_what_is_still_so_is_told_anew() {
    let (upstream, receiver) = (FakeUpstream::accepting(), refusing(usize::MAX, 500, ""));
    let proxy = telling(&upstream, &receiver);
    send(&proxy, "n1", OUTDATED);
    eventually("the refusal", || (state(&proxy)["failures"] == 1).then_some(()));
    proxy.advance(Duration::from_hours(25));
    let given_up = eventually("the end of it", || Some(state(&proxy)).filter(|state| state["given_up"][0].is_object()));
    assert_eq!((&given_up["given_up"][0]["attempts"], &given_up["state"]), (&json!(2), &json!("retrying")));
    proxy.advance(Duration::from_hours(2));
    eventually("another notice", || notices(&receiver).into_iter().find(|again| again.id != notices(&receiver)[0].id));
}

#[test]
fn a_heartbeat_is_made_again_and_again_and_its_failures_are_told() {
    let (upstream, team, monitor) = (FakeUpstream::accepting(), receiver(), refusing(1, 404, ""));
    let builder = builder(&upstream);
    let to = Source::File(builder.file("monitor", &format!("{}/ping/{CANARY}", monitor.url())));
    let proxy = builder
        .receiver_that("team", &team.url(), |team| {
            team.heartbeat = Some(Heartbeat { every: Duration::from_mins(5), to });
        })
        .start();
    let beat = |proxy: &TestProxy| state(proxy)["heartbeat"].clone();
    let failed = eventually("a failure", || Some(beat(&proxy)).filter(|beat| beat["trouble"].is_string()));
    assert!(failed["trouble"].as_str().unwrap().ends_with(" answers 404"), "{failed}");
    proxy.advance(Duration::from_mins(5));
    let taken = eventually("a beat", || Some(beat(&proxy)).filter(|beat| beat["last"].is_string()));
    assert_eq!(taken, json!({ "last": "2026-11-23T08:05:00Z", "trouble": null }));
    assert_eq!(monitor.received()[1].head.line, format!("GET /ping/{CANARY} HTTP/1.1"));
    assert_eq!(monitor.received().len(), 2);
}

#[test]
fn a_redirect_is_not_followed() {
    let (upstream, elsewhere) = (FakeUpstream::accepting(), receiver());
    let location = format!("Location: {}/{CANARY}\r\n", elsewhere.url());
    let receiver = receiver_that(move |_| Answering::with(307, &location, ""));
    let proxy = telling(&upstream, &receiver);
    send(&proxy, "n1", OUTDATED);
    let waits = eventually("the refusal", || Some(state(&proxy)).filter(|state| state["state"] == "retrying"));
    assert!(waits["trouble"].as_str().unwrap().contains("redirects (307), which is not followed"), "{waits}");
    assert!(!waits.to_string().contains(CANARY), "{waits}");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_receiver_is_told_of_what_it_asked_for_alone() {
    let upstream = FakeUpstream::accepting();
    let [all, problems, staging] = [receiver(), receiver(), receiver()];
    let proxy = builder(&upstream)
        .learning_set("staging")
        .receiver_that("all", &all.url(), |all| all.topics = vec![Topic::Incident])
        .receiver_that("problems", &problems.url(), |problems| problems.topics = vec![Topic::Keyward])
        .receiver_that("staging", &staging.url(), |staging| staging.sets = vec!["staging".into()])
        .start();
    send(&proxy, "n1", OUTDATED);
    notice(&all, "incident.opened");
    assert_eq!(post(&proxy, "/api/v1/notices/test").status, 202);
    notice(&problems, "test");
    notice(&staging, "test");
    assert_eq!([kinds(&problems), kinds(&staging)], [["test"], ["test"]]);
}

#[test]
fn while_muted_nothing_is_told_and_afterwards_what_is_still_so() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = telling(&upstream, &receiver);
    assert_eq!(post(&proxy, "/api/v1/notices/mute?seconds=7200").status, 200);
    eventually("the mute", || all_states(&proxy)["muted_until"].is_string().then_some(()));
    send(&proxy, "n1", OUTDATED);
    send(&proxy, "n2", OUTDATED);
    send(&proxy, "n2", CURRENT);
    open_incidents(&proxy, 1);
    test_arrives(&proxy, &receiver);
    proxy.advance(Duration::from_mins(115));
    test_arrives(&proxy, &receiver);
    assert_eq!(kinds(&receiver), ["test", "test"]);
    proxy.advance(Duration::from_mins(5));
    let opened = notice(&receiver, "incident.opened");
    assert!(opened.title().contains(" is still sent: 1"), "{}", opened.title());
    test_arrives(&proxy, &receiver);
    assert_eq!(kinds(&receiver), ["test", "test", "incident.opened", "test"]);
    assert_eq!(all_states(&proxy)["muted_until"], Value::Null);
}

#[test]
fn an_acknowledged_incident_is_over() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = telling(&upstream, &receiver);
    send(&proxy, "n1", OUTDATED);
    notice(&receiver, "incident.opened");
    let bindings: Value = serde_json::from_str(&proxy.admin("/api/v1/bindings").text()).unwrap();
    let id = bindings["bindings"][0]["binding"].as_str().unwrap();
    proxy.advance(Duration::from_secs(1));
    assert_eq!(post(&proxy, &format!("/api/v1/bindings/{id}/ack")).status, 200);
    notice(&receiver, "incident.closed");
}

#[test]
fn keys_that_no_set_has_are_one_notice_however_many_there_are() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let timing = Timing { quiet: Duration::from_mins(2), ..Timing::default() };
    let proxy = builder(&upstream).receiver_that("team", &receiver.url(), |team| team.timing = timing).start();
    for number in 0..40 {
        send(&proxy, &format!("n{number}"), &format!("sk-proj-invented-0123456789abcdef{number:04}"));
    }
    open_incidents(&proxy, 40);
    let opened = eventually("the notice", || {
        proxy.advance(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(10));
        notices(&receiver).into_iter().find(|notice| notice.kind == "unknown_key.opened")
    });
    assert_eq!(opened.title(), "Set `default` gets keys that it does not know: 40 callers");
    assert_eq!(opened.body["data"]["key"], Value::Null);
    test_arrives(&proxy, &receiver);
    assert_eq!(kinds(&receiver).iter().filter(|kind| kind.starts_with("unknown_key")).count(), 1);
}

#[test]
fn one_key_that_no_set_has_is_named_by_its_hint() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = builder(&upstream).receiver("team", &receiver.url()).start();
    send(&proxy, "n1", UNLISTED);
    let opened = notice(&receiver, "unknown_key.opened");
    assert!(
        opened.title().starts_with("Set `default` gets a key that it does not know, sk-proj-…UnLi ("),
        "{opened:?}"
    );
    assert!(!opened.body.to_string().contains(UNLISTED));
}

#[test]
fn a_rotation_is_told_from_its_beginning_and_a_yes_that_does_not_hold_is_taken_back_at_once() {
    let (upstream, receiver, n8n) = (FakeUpstream::accepting(), receiver(), FakeN8n::start());
    n8n.has("w1", "Weekly report", &[("n1", "Summary")]);
    let proxy = TestProxy::with(&upstream)
        .current_key(CURRENT)
        .quiet(Duration::ZERO)
        .n8n("main", n8n.origin(), API_KEY)
        .receiver_that("team", &receiver.url(), |team| team.topics = vec![Topic::Rotation])
        .start();
    let of_n1 = |key: &str, execution: u32| {
        let tag = format!("wf=w1;ex={execution};node=n1");
        proxy.get("/v1/models").key(key).header("X-N8N-Tag", tag).logged();
    };
    of_n1(CURRENT, 7);
    proxy.advance(Duration::from_mins(1));
    proxy.rotate(UNLISTED);
    let began = notice(&receiver, "rotation.began");
    assert!(began.title().contains(" has replaced sk-proj-…CuRr ("), "{}", began.title());
    assert_eq!(began.body["data"]["command"], "keyward rotation default");
    proxy.advance(Duration::from_mins(1));
    of_n1(UNLISTED, 8);
    let seen = || proxy.admin("/api/v1/n8n").text().contains("\"n1\"").then_some(());
    eventually("n8n's first look", seen);
    of_n1(UNLISTED, 9);
    let yes = notice(&receiver, "rotation.can_finish");
    assert!(yes.title().starts_with("The old key sk-proj-…CuRr ("), "{}", yes.title());
    assert_eq!((yes.thread(), &yes.body["data"]["severity"]), (began.thread(), &json!("fine")));
    assert!(yes.body["data"]["remedy"].as_str().unwrap().starts_with("Revoke sk-proj-…CuRr ("), "{yes:?}");
    proxy.advance(Duration::from_secs(1));
    of_n1(CURRENT, 10);
    let no = notice(&receiver, "rotation.cannot_finish_after_all");
    assert!(no.title().starts_with("DO NOT REVOKE YET. "), "{}", no.title());
    assert_eq!(kinds(&receiver), ["rotation.began", "rotation.can_finish", "rotation.cannot_finish_after_all"]);
}

#[test]
fn without_a_store_notices_are_told_and_that_they_are_in_memory_alone() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = builder(&upstream)
        .without_store()
        .receiver_that("team", &receiver.url(), |team| team.topics = vec![Topic::Incident])
        .start();
    send(&proxy, "n1", OUTDATED);
    notice(&receiver, "incident.opened");
    assert_eq!(all_states(&proxy)["in_memory"], "the store is off (store.url)");
}

#[test]
fn with_a_store_that_cannot_be_used_notices_are_told_and_why_they_are_in_memory_alone() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let builder = builder(&upstream);
    let store = builder.file("no-store.db", "this is no database, and long enough to be read as one");
    let proxy = builder.store(&store).receiver("team", &receiver.url()).start();
    send(&proxy, "n1", OUTDATED);
    notice(&receiver, "incident.opened");
    let told = eventually("the problem", || {
        notices(&receiver).into_iter().find(|notice| notice.body["data"]["code"] == "store_failing")
    });
    assert_eq!(told.kind, "problem.opened");
    assert!(all_states(&proxy)["in_memory"].as_str().unwrap().contains("no-store.db"), "{}", all_states(&proxy));
}

#[test]
fn slack_gets_names_that_can_do_nothing_in_it() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let proxy = builder(&upstream)
        .receiver_that("team", &receiver.url(), |team| {
            (team.topics, team.kind) = (vec![Topic::Incident], ReceiverKind::Slack);
        })
        .start();
    let name = "%3C%21channel%3E%20%26%20%3Chttp%3A%2F%2Fevil%7Cgo%3E";
    let tag = format!("wf=w1;node=n1;name={name}");
    proxy.get("/v1/models").key(OUTDATED).header("X-N8N-Tag", tag).logged();
    let body = eventually("the notice", || notices(&receiver).pop()).body;
    let text = body.to_string();
    assert!(!text.contains("<!channel>") && !text.contains("<http"), "{body:#}");
    assert!(text.contains("&lt;!channel&gt; &amp; &lt;http://evil|go&gt;"), "{body:#}");
    assert!(body["text"].as_str().unwrap().starts_with("The old key sk-proj-…OuTd ("), "{body:#}");
    assert!(body["blocks"].as_array().unwrap().len() <= 50);
    let head = &receiver.received()[0].head;
    assert_eq!(head.header("webhook-id"), None, "Slack takes no such headers");
}

// === The real binary ===

const KEYS: &str = "[keys.default]\ncurrent = { file = \"key\" }\nprevious = [{ file = \"old\" }]\n";

/// A home with keys, and a receiver's URL in the file of that name.
fn home(receivers: &[(&str, &FakeUpstream)]) -> Home {
    let home = Home::new();
    home.write("key", CURRENT);
    home.write("old", OUTDATED);
    home.write("secret", SECRETS[0]);
    for (name, receiver) in receivers {
        home.write(name, format!("{}/{CANARY}?{CANARY}=1\n", receiver.url()));
    }
    home
}

/// The configuration of a receiver whose URL stands in the file of its name.
fn table(name: &str) -> String {
    format!(
        "[notices.{name}]\nto = {{ file = \"{name}\" }}\nsecret = {{ file = \"secret\" }}\nquiet = \"0s\"\nabout = [\"incident\", \"keyward\"]\n"
    )
}

fn send_to(keyward: &Keyward, node: &str, key: &str) {
    let headers = [("Authorization", &*format!("Bearer {key}")), ("X-N8N-Tag", &*format!("wf=w1;node={node}"))];
    ask(keyward.listen, "/v1/models", &headers);
}

fn run(home: &Home, keyward: &Keyward, config: &str, arguments: &[&str]) -> Finished {
    home.keyward(arguments).config(config).env("KEYWARD_ADMIN_LISTEN", &keyward.admin.to_string()).run()
}

#[test]
fn what_waits_outlives_a_restart_under_the_same_id_and_nothing_is_told_twice() {
    let is_well = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&is_well);
    let receiver =
        receiver_that(move |_| Answering::with(if seen.load(Ordering::Relaxed) == 0 { 500 } else { 204 }, "", ""));
    let (upstream, home) = (FakeUpstream::accepting(), home(&[("team", &receiver)]));
    let config = format!("{KEYS}{}", table("team"));
    let keyward = home.serve_for(&upstream).config(&config).start();
    send_to(&keyward, "n1", OUTDATED);
    let first = notice(&receiver, "incident.opened");
    keyward.stop();
    is_well.store(1, Ordering::Relaxed);
    let keyward = home.serve_for(&upstream).config(&config).start();
    let again = eventually("the notice again", || notices(&receiver).into_iter().nth(1));
    assert_eq!((again.id, again.body), (first.id, first.body));
    let tested = run(&home, &keyward, &config, &["notices", "test"]);
    assert_eq!(tested.code(), Some(0), "{}{}", tested.stdout, tested.stderr);
    keyward.stop();
    let before = notices(&receiver).len();
    let keyward = home.serve_for(&upstream).config(&config).start();
    let shown = run(&home, &keyward, &config, &["notices"]);
    assert!(shown.stdout.contains("told and not over: The old key sk-proj-…OuTd ("), "{}", shown.stdout);
    let tested = run(&home, &keyward, &config, &["notices", "test"]);
    assert_eq!(tested.code(), Some(0), "{}{}", tested.stdout, tested.stderr);
    assert_eq!(kinds(&receiver)[before..], ["test"]);
    send_to(&keyward, "n1", CURRENT);
    notice(&receiver, "incident.closed");
}

#[test]
fn trouble_that_goes_on_over_a_restart_is_not_told_as_over() {
    let health = Arc::new(AtomicUsize::new(503));
    let now = Arc::clone(&health);
    let upstream = FakeUpstream::scripted(move |visit| {
        visit.answer(&Answering::json(u16::try_from(now.load(Ordering::Relaxed)).unwrap(), "{}"));
    });
    let receiver = receiver();
    let home = home(&[("team", &receiver)]);
    let config = format!("{KEYS}{}", table("team"));
    let keyward = home.serve_for(&upstream).config(&config).start();
    (0..3).for_each(|_| send_to(&keyward, "n1", CURRENT));
    let opened = notice(&receiver, "problem.opened");
    assert_eq!(opened.body["data"]["code"], "upstream_failing");
    keyward.stop();
    let keyward = home.serve_for(&upstream).config(&config).start();
    for _ in 0..2 {
        assert_eq!(run(&home, &keyward, &config, &["notices", "test"]).code(), Some(0));
    }
    assert!(!kinds(&receiver).contains(&"problem.closed".to_owned()), "{:?}", kinds(&receiver));
    health.store(200, Ordering::Relaxed);
    (0..3).for_each(|_| send_to(&keyward, "n1", CURRENT));
    let closed = notice(&receiver, "problem.closed");
    assert_eq!(closed.thread(), opened.thread());
    assert!(closed.title().starts_with("Over: "), "{}", closed.title());
}

#[test]
fn a_reload_takes_another_receiver_and_says_which_settings_it_does_not_take() {
    let (upstream, team, more) = (FakeUpstream::accepting(), receiver(), receiver());
    let home = home(&[("team", &team), ("more", &more)]);
    let config = format!("{KEYS}{}", table("team"));
    let keyward = home.serve_for(&upstream).config(&config).start();
    home.write("keyward.toml", "[notices.more]\nto = \"elsewhere\"\n");
    keyward.signal(Signal::HUP);
    eventually("the complaint", || keyward.log().contains("the settings stay as they were").then_some(()));
    let config = format!("{config}{}[rotation]\nquiet = \"2h\"\n", table("more"));
    home.write("keyward.toml", &config);
    keyward.signal(Signal::HUP);
    eventually("the new receiver", || keyward.log().contains("2 receivers of notices from now on").then_some(()));
    eventually("the warning", || keyward.log().contains("settings other than [notices] have changed").then_some(()));
    send_to(&keyward, "n1", OUTDATED);
    notice(&team, "incident.opened");
    notice(&more, "incident.opened");
}

#[test]
fn url_and_secret_are_shown_nowhere() {
    let [good, redirecting, refusing] = [
        receiver(),
        receiver_that(|_| Answering::with(302, &format!("Location: http://127.0.0.1/{CANARY}\r\n"), CANARY)),
        receiver_that(|_| Answering::with(500, "", CANARY)),
    ];
    let upstream = FakeUpstream::accepting();
    let home = home(&[("good", &good), ("redirecting", &redirecting), ("refusing", &refusing)]);
    home.write("broken", format!("htp://{CANARY}/{CANARY}"));
    // An address that no other test listens at.
    let closed = std::net::TcpListener::bind("127.0.0.77:0").unwrap().local_addr().unwrap();
    home.write("closed", format!("http://user:{CANARY}@{closed}/{CANARY}"));
    let names = ["good", "redirecting", "refusing", "broken", "closed"];
    let config = format!("{KEYS}{}[log]\nlevel = \"debug\"\n", names.map(table).concat());
    let keyward = home.serve_for(&upstream).config(&config).start();
    send_to(&keyward, "n1", OUTDATED);
    notice(&good, "incident.opened");
    let mut shown = vec![keyward.admin("/").text()];
    let commands: [&[&str]; 7] = [
        &["notices", "test"],
        &["notices"],
        &["notices", "--json"],
        &["status"],
        &["status", "--json"],
        &["check"],
        &["check", "--online"],
    ];
    for arguments in commands {
        let finished = run(&home, &keyward, &config, arguments);
        shown.push(finished.stdout);
        shown.push(finished.stderr);
    }
    for path in ["/api/v1/notices", "/api/v1/status", "/api/v1/problems", "/metrics"] {
        shown.push(keyward.admin(path).text());
    }
    assert!(shown[1].contains("arrived") && shown[1].contains("answers 500"), "{}", shown[1]);
    let finished = keyward.stop();
    shown.push(finished.stderr.clone());
    shown.push(finished.log());
    for text in &shown {
        for secret in [CANARY, &SECRETS[0][6..], CURRENT, OUTDATED] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    for (path, content) in files_below(&home.state()) {
        let holds = |secret: &str| memchr::memmem::find(&content, secret.as_bytes()).is_some();
        assert!(![CANARY, &SECRETS[0][6..], OUTDATED].into_iter().any(holds), "{}", path.display());
    }
}

#[test]
fn a_test_that_failed_is_shown_until_one_arrives() {
    let (upstream, receiver) = (FakeUpstream::accepting(), receiver());
    let home = home(&[]);
    let config = format!("{KEYS}{}", table("team"));
    let keyward = home.serve_for(&upstream).config(&config).start();
    eventually("the warning at its start", || {
        keyward.log().contains("notices cannot reach `team`: its URL cannot be read from file team").then_some(())
    });
    let failed = run(&home, &keyward, &config, &["notices", "test", "team"]);
    assert_eq!(failed.code(), Some(1), "{}", failed.stderr);
    assert!(
        failed.stdout.starts_with("team  did not arrive: its URL cannot be read from file team"),
        "{}",
        failed.stdout
    );
    let shown = run(&home, &keyward, &config, &["notices"]);
    assert_eq!(shown.code(), Some(1));
    assert!(shown.stdout.contains("given up: a test ("), "{}", shown.stdout);
    home.write("team", receiver.url());
    let arrived = run(&home, &keyward, &config, &["notices", "test", "team"]);
    assert_eq!((arrived.code(), arrived.stdout.as_str()), (Some(0), "team  arrived\n"));
    let shown = run(&home, &keyward, &config, &["notices"]);
    assert_eq!(shown.code(), Some(0), "{}", shown.stdout);
    assert!(
        shown.stdout.starts_with("team (webhook)  ok, 1 sent") && !shown.stdout.contains("given up"),
        "{}",
        shown.stdout
    );
    let unknown = run(&home, &keyward, &config, &["notices", "test", "others"]);
    assert!(unknown.stderr.contains("No receiver has that name; there are: team"), "{}", unknown.stderr);
    for (span, code) in [("2h", Some(0)), ("0s", Some(1)), ("soon", Some(1))] {
        let muted = run(&home, &keyward, &config, &["notices", "mute", span]);
        assert_eq!(muted.code(), code, "{span}: {}{}", muted.stdout, muted.stderr);
    }
    assert!(run(&home, &keyward, &config, &["notices"]).stdout.starts_with("Muted until "));
    assert_eq!(run(&home, &keyward, &config, &["notices", "unmute"]).stdout, "Notices are told again.\n");
}

#[test]
fn the_check_finds_receivers_that_cannot_be_told() {
    let home = Home::new();
    home.write("key", CURRENT);
    for (name, text) in [("url", "https://hooks.example/x"), ("no-url", CANARY), ("no-secret", "whsec_short")] {
        home.write(name, text);
    }
    let check = |tables: &str| {
        home.keyward(&["check"]).config(&format!("[keys.default]\ncurrent = {{ file = \"key\" }}\n{tables}")).run()
    };
    let found = check(
        "[notices.a]\nto = { file = \"missing\" }\n[notices.b]\nto = { file = \"no-url\" }\nheartbeat = { to = { env = \"NONE\" } }\n\
         [notices.c]\nto = { file = \"url\" }\nsecret = { file = \"no-secret\" }\n",
    );
    assert_eq!(found.code(), Some(1), "{}", found.stdout);
    for said in [
        "problem  notices.a.to: notices do not arrive: its URL cannot be read from file missing: ",
        "problem  notices.b.to: notices do not arrive: file no-url cannot be used: it holds no URL that begins with https:// or",
        "problem  notices.b.heartbeat: notices do not arrive: its URL cannot be read from environment variable NONE: ",
        "problem  notices.c.secret: notices do not arrive: file no-secret cannot be used: it holds no signing secret",
    ] {
        assert!(found.stdout.contains(said), "{said} is not in {}", found.stdout);
    }
    assert!(!found.stdout.contains(CANARY), "{}", found.stdout);
    let sound = check("[notices.c]\nto = { file = \"url\" }\n");
    assert_eq!(sound.code(), Some(0), "{}", sound.stdout);
    assert!(sound.stdout.contains("ok       notices.c.secret: notices are not signed"), "{}", sound.stdout);
}
