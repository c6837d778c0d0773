//! Views of many bindings: health checks and a stop do not wait for them, and no answer is older than its question.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::StatusCode;
use keyward::caller::Family;
use keyward::clock::Timestamp;
use keyward::keys::set::SetIndex;
use keyward::ledger::destination::Destination;
use keyward::ledger::identity::Identity;
use keyward::ledger::seen::Seen;
use keyward::outcome::{Ending, Outcome, Proof, UpstreamError};
use keyward::verdict::Verdict;
use keyward::verdict::explain::Diagnosis;
use serde_json::Value;

use crate::support::{CURRENT, FakeUpstream, TestProxy};

/// How many bindings there are where there are many: as many as may pass in a debug build in little time.
const MANY: usize = 20_000;

const ROTATION: &str = "/api/v1/sets/default/rotation";

const NEXT: &str = "sk-proj-next-0123456789abcdefghijklmNeXt";

/// A keyward that knows many bindings, and has seen a rotation.
fn crowded(upstream: &FakeUpstream) -> TestProxy {
    let proxy = TestProxy::with(upstream).without_store().current_key(CURRENT).start();
    fill(&proxy);
    proxy.rotate(NEXT);
    proxy
}

fn fill(proxy: &TestProxy) {
    let (ledger, at) = (proxy.server().ledger(), Timestamp::from_millis(TestProxy::START));
    let key = Some(proxy.server().query(at).keys()[0].names);
    let outcome = Outcome {
        ending: Ending::Completed,
        status: Some(StatusCode::OK),
        error: UpstreamError::None,
        proof: Proof::None,
    };
    for number in 0..MANY {
        // A peer may begin a part of all bindings.
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(number / 4_000).unwrap()));
        let (workflow, node) = (format!("w{}", number / 10), format!("n{number}"));
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, peer, None);
        let binding = ledger.binding(&Identity { workflow: Some(&workflow), node: Some(&node), ..untagged });
        let seen = Seen {
            at,
            key,
            verdict: Verdict::Current,
            diagnosis: Diagnosis::Ok,
            outcome,
            execution: Some("7"),
            name: None,
            client_version: None,
            destination: Destination::Api,
            told: None,
            was_sent: true,
            was_refused: false,
            peer,
            path: "/v1/chat/completions",
        };
        ledger.sight(&binding, &seen);
    }
}

fn rotation(proxy: &TestProxy, query: &str) -> Value {
    serde_json::from_str(&proxy.admin(&format!("{ROTATION}{query}")).text()).unwrap()
}

#[test]
fn a_health_check_waits_for_no_view() {
    let upstream = FakeUpstream::accepting();
    let proxy = crowded(&upstream);
    let began = Instant::now();
    assert_eq!(rotation(&proxy, "")["total"], MANY);
    let alone = began.elapsed();
    let is_over = AtomicBool::new(false);
    let mut checks: Vec<_> = thread::scope(|scope| {
        let watch = || {
            while !is_over.load(Ordering::Relaxed) {
                proxy.admin(ROTATION);
                // So that the next one cannot have the same look.
                proxy.request("GET", "/v1/models").key(NEXT).send();
            }
        };
        (0..6).for_each(|_| drop(scope.spawn(watch)));
        let check = |number: usize| {
            thread::sleep(Duration::from_millis(10));
            let began = Instant::now();
            let answer = proxy.ask_admin("GET", ["/healthz", "/readyz"][number % 2], &[]);
            assert_eq!(answer.status, 200);
            began.elapsed()
        };
        let checks = (0..200).map(check).collect();
        is_over.store(true, Ordering::Relaxed);
        checks
    });
    checks.sort_unstable();
    let most = checks[checks.len() * 95 / 100];
    assert!(most < alone / 2, "{most:?} for a check, and {alone:?} for a view");
}

#[test]
fn a_stop_waits_for_no_view() {
    let upstream = FakeUpstream::accepting();
    let proxy = crowded(&upstream);
    let began = Instant::now();
    rotation(&proxy, "");
    let alone = began.elapsed();
    let bearer = proxy.admin_bearer();
    let ask = |number: usize| {
        let mut client = proxy.admin_client();
        let target = format!("/api/v1/bindings?limit={}", 9_000 + number);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\r\n"));
        client
    };
    let clients: Vec<_> = (0..12).map(ask).collect();
    thread::sleep(Duration::from_millis(20));
    let began = Instant::now();
    proxy.server().drain();
    proxy.join();
    let (took, most) = (began.elapsed(), Duration::from_secs(1).max(3 * alone));
    assert!(took < most, "{took:?} to stop, and {alone:?} for a view");
    drop(clients);
}

#[test]
fn those_who_ask_within_a_second_share_a_view_and_it_is_never_older_than_what_was_recorded() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let send = |node: &str| {
        let tag = format!("wf=w1;node={node}");
        proxy.request("GET", "/v1/models").key(CURRENT).header("X-N8N-Tag", &tag).send();
    };
    (0..3).for_each(|node| send(&format!("n{node}")));
    // A look is shared once what was recorded is taken over, a quarter of a second later.
    let mut is_shared = false;
    for _ in 0..100 {
        let first = rotation(&proxy, "?limit=2");
        proxy.advance(Duration::from_millis(1));
        let second = rotation(&proxy, "?limit=2");
        if first["at"] == second["at"] {
            is_shared = true;
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(is_shared, "each of a hundred pairs of questions had two looks");
    for round in 0..20 {
        proxy.advance(Duration::from_millis(1));
        let before = rotation(&proxy, "?limit=2");
        send(&format!("later{round}"));
        assert_eq!(rotation(&proxy, "?limit=2")["total"], before["total"].as_u64().unwrap() + 1);
    }
    // Time passes, and nothing is recorded: an answer is hardly older than its question.
    let before = rotation(&proxy, "");
    proxy.advance(Duration::from_secs(2));
    assert_ne!(rotation(&proxy, "")["at"], before["at"]);
}

#[test]
fn later_pages_belong_to_the_view_of_the_first_one() {
    let upstream = FakeUpstream::accepting();
    let proxy = TestProxy::with(&upstream).current_key(CURRENT).start();
    let send = |node: usize| {
        let tag = format!("wf=w1;node=n{node}");
        proxy.request("GET", "/v1/models").key(CURRENT).header("X-N8N-Tag", &tag).send();
    };
    (0..4).for_each(send);
    // Where a second passes in between, it is another view.
    let is_one_view = (0..20).any(|round| {
        let first = rotation(&proxy, "?limit=3");
        send(10 + round);
        proxy.advance(Duration::from_millis(1));
        let second = rotation(&proxy, &format!("?limit=3&cursor={}", first["next"].as_str().unwrap()));
        first["at"] == second["at"] && first["total"] == second["total"]
    });
    assert!(is_one_view);
}
