//! A binding: what makes it one, what it remembers, and what opens and closes its incident.

use super::*;
use crate::caller::Caller;
use crate::codes::Coded;
use crate::keys::fingerprint::{FingerprintKey, KeyKind};
use crate::keys::set::Retired;
use crate::ledger::destination::Destination;
use crate::ledger::tests::{answered, seen};
use crate::outcome::Outcome;
use crate::outcome::{Ending, Proof, UpstreamError};
use crate::verdict::Judgement;
use crate::verdict::Outdated;
use crate::verdict::explain::{Diagnosis, Severity};
use std::net::Ipv4Addr;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn fingerprint(value: u64) -> Fingerprint {
    FingerprintKey::new(&[7; 32]).fingerprint(&value.to_le_bytes())
}

fn names(value: u64) -> Names {
    Names { fingerprint: fingerprint(value), hint: None }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn identity() -> Identity<'static> {
    let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, HOME, None);
    Identity { workflow: Some("w"), node: Some("n"), ..untagged }
}

fn binding() -> Binding {
    Binding::new(&identity(), "default")
}

/// An exchange with the right key, to which upstream said yes.
fn good(millis: i64) -> Seen<'static> {
    Seen { key: Some(names(1)), ..seen(at(millis), Diagnosis::Ok, answered(200)) }
}

/// An exchange with the key of yesterday.
fn bad(millis: i64) -> Seen<'static> {
    let retired = Retired { after: None, by: at(0) };
    let verdict = Verdict::Outdated(Outdated { retired, grace_until: at(0), in_grace: false, barred: None });
    let diagnosis = Diagnosis::StaleBinding { tolerated: false };
    Seen { key: Some(names(2)), verdict, diagnosis, outcome: answered(401), ..good(millis) }
}

fn of<'a>(execution: &'a str, seen: &Seen<'a>) -> Seen<'a> {
    Seen { execution: Some(execution), ..*seen }
}

/// The open incident: first and last bad sighting, and how many.
fn open(binding: &Binding) -> Option<(i64, i64, u64)> {
    let incident = binding.memory().incident?;
    Some((incident.opened.as_millis(), incident.last.as_millis(), incident.sightings))
}

/// The closed ones: first and last bad sighting, when they closed and by what.
fn closed(binding: &Binding) -> Vec<(i64, i64, i64, Coded<Closing>)> {
    let closed = binding.memory().unsaved.gathered.map(|gathered| gathered.closed).unwrap_or_default().into_iter().map(
        |(incident, _)| {
            let end = incident.closed.expect("an end");
            (incident.opened.as_millis(), incident.last.as_millis(), end.at.as_millis(), end.by)
        },
    );
    closed.collect()
}

#[test]
fn a_declared_workflow_stays_itself_whatever_key_or_client_it_uses() {
    let peer = |last| IpAddr::from([127, 0, 0, last]);
    let untagged = |last, key| Identity::untagged(SetIndex::DEFAULT, Family::Sdk, peer(last), Some(fingerprint(key)));
    let tagged = |last, key| Identity { workflow: Some("a"), ..untagged(last, key) };
    assert_eq!(tagged(1, 1), tagged(2, 2));
    assert_ne!(untagged(1, 1), untagged(1, 2), "untagged, the key is all that tells them apart");
    assert_ne!(untagged(1, 1), untagged(2, 1));
    assert_ne!(tagged(1, 1), Identity { node: Some("n"), ..tagged(1, 1) });
}

#[test]
fn ids_follow_the_identity_and_the_name_of_the_set() {
    let id = |identity: &Identity<'_>| BindingId::of(identity, "default");
    assert_eq!(id(&identity()), id(&Identity { family: Family::Other, key: Some(fingerprint(1)), ..identity() }));
    assert_ne!(id(&identity()), BindingId::of(&identity(), "staging"));
    let split = Identity { workflow: Some("wn"), node: Some(""), ..identity() };
    let other = [
        Identity { node: None, ..identity() },
        Identity { instance: Some("w"), workflow: Some("n"), node: None, ..identity() },
        Identity { holder: Holder::Editor, ..identity() },
        split,
    ];
    assert!(other.iter().all(|other| id(other) != id(&identity())));
    let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, HOME, Some(fingerprint(1)));
    let more =
        [identity(), untagged, Identity { key: None, ..untagged }, Identity { family: Family::Other, ..identity() }];
    for one in other.iter().chain(&more) {
        let binding = Binding::new(one, "default");
        assert_eq!(binding.identity().ties(), one.ties());
        for other in other.iter().chain(&more) {
            assert_eq!(binding.is(other), one == other, "{one:?} and {other:?}");
        }
    }
    assert_eq!(id(&identity()).to_hex(), "1630962bd8c5af08", "stored, so it may not change");
    assert!(id(&identity()).to_hex().starts_with(&id(&identity()).to_string()));
}

#[test]
fn uses_of_each_key_are_kept_apart_and_bounded() {
    let binding = binding();
    binding.sight(&Seen { key: None, verdict: Verdict::Missing, ..good(1) });
    assert!(!binding.sent_key_before());
    for key in 0..100 {
        binding.sight(&Seen { key: Some(names(key)), ..good(2) });
    }
    binding.sight(&of("e9", &Seen { key: Some(names(0)), name: Some("Report"), ..good(9) }));
    binding.sight(&of("e8", &Seen { key: Some(names(0)), verdict: Verdict::Next, ..good(8) }));
    let memory = binding.memory();
    assert!(binding.sent_key_before());
    assert_eq!(memory.uses.len(), KEYS_PER_BINDING);
    assert_eq!(memory.other_keys, 100 - (KEYS_PER_BINDING as u64 - 1));
    let first = &memory.uses[1];
    assert_eq!((first.key, first.first, first.last, first.sightings), (Some(names(0)), at(2), at(9), 3));
    assert_eq!((first.execution.as_deref(), memory.name.as_deref()), (Some("e9"), Some("Report")));
    assert_eq!(
        (first.finding.verdict(), first.word),
        ("current", Some(Word::Accepted)),
        "of the one that started last"
    );
}

#[test]
fn what_upstream_says_of_a_key_is_heard_only_where_it_saw_that_key() {
    let binding = binding();
    let word = || binding.memory().uses[0].word;
    binding.sight(&Seen { was_sent: false, ..good(1) });
    assert_eq!(word(), None);
    binding.sight(&good(2));
    assert_eq!(word(), Some(Word::Accepted));
    let refused = Outcome { error: UpstreamError::InvalidApiKey, ..answered(401) };
    binding.sight(&Seen { outcome: refused, diagnosis: Diagnosis::CurrentKeyRejected, ..good(3) });
    assert_eq!(word(), Some(Word::Refused));
    binding.sight(&Seen { outcome: answered(503), diagnosis: Diagnosis::UpstreamError, ..good(4) });
    assert_eq!(word(), Some(Word::Refused), "it said nothing of the key");
}

#[test]
fn nothing_is_concluded_where_many_share_a_binding() {
    let other = Identity::other(SetIndex::DEFAULT);
    let editor = Identity { holder: Holder::Editor, ..other };
    let workflow = Identity { holder: Holder::Caller, workflow: Some("w"), ..other };
    for identity in [other, editor, workflow] {
        let binding = Binding::new(&identity, "default");
        let accept = |key, millis| binding.accept(Accepted { key: fingerprint(key), at: at(millis), peer: HOME });
        assert_eq!((accept(1, 1), accept(2, 2)), (None, None));
        binding.sight(&bad(1));
        assert_eq!(binding.sent_key_before(), identity == workflow);
        assert_eq!(open(&binding).is_some(), identity == workflow, "the editor never opens one");
        assert_eq!(binding.memory().visits.is_empty(), identity != workflow);
    }
    assert_ne!(other, Identity { workflow: Some("other"), holder: Holder::Caller, ..other });
}

#[test]
fn a_switch_is_noticed_once() {
    let binding = binding();
    let (a, b) = (fingerprint(1), fingerprint(2));
    let accept = |key, millis, peer| binding.accept(Accepted { key, at: at(millis), peer });
    assert_eq!(accept(a, 1, HOME), None);
    assert_eq!(accept(a, 2, HOME), None);
    assert_eq!(accept(b, 5, HOME), Some(a));
    assert_eq!(accept(b, 6, HOME), None);
    assert_eq!(accept(a, 3, HOME), None, "its request came before the switch");
    let elsewhere = IpAddr::from([127, 0, 0, 2]);
    assert_eq!(accept(a, 7, elsewhere), None, "anybody may claim to be that node");
    assert_eq!(accept(b, 8, HOME), None);
}

#[test]
fn an_incident_lasts_from_the_first_bad_sighting_to_a_good_one_that_started_after_the_last() {
    let binding = binding();
    binding.sight(&good(1));
    assert_eq!(open(&binding), None);
    binding.sight(&bad(10));
    binding.sight(&bad(30));
    assert_eq!(open(&binding), Some((10, 30, 2)));
    binding.sight(&good(20));
    assert_eq!(open(&binding), Some((10, 30, 2)), "it started before the last bad one");
    binding.sight(&good(30));
    assert_eq!(open(&binding), Some((10, 30, 2)), "later, not at once");
    binding.sight(&good(40));
    assert_eq!(open(&binding), None);
    assert_eq!(closed(&binding), [(10, 30, 40, Closing::GoodSighting.into())]);
    binding.sight(&bad(50));
    assert_eq!(open(&binding), Some((50, 50, 1)), "another one");
}

#[test]
fn a_bad_sighting_that_started_earlier_moves_the_opening_back_and_no_further_than_a_good_one() {
    let binding = binding();
    binding.sight(&good(5));
    binding.sight(&of("late", &bad(20)));
    binding.sight(&of("early", &bad(10)));
    assert_eq!(open(&binding), Some((10, 20, 2)));
    let incident = binding.memory().incident.expect("open");
    assert_eq!(incident.execution.as_deref(), Some("late"), "the one that started last is told of");
    binding.sight(&bad(4));
    assert_eq!(open(&binding), Some((10, 20, 2)), "it was well after that");
}

#[test]
fn retries_that_began_before_the_fix_do_not_open_it_again() {
    let binding = binding();
    binding.sight(&of("e1", &bad(10)));
    binding.sight(&of("e2", &good(20)));
    assert_eq!(closed(&binding).len(), 1);
    // Of an exchange that began before the fix, and ended after it.
    binding.sight(&bad(15));
    // Of an execution that goes on with the key that it began with.
    binding.sight(&of("e1", &bad(30)));
    assert_eq!(open(&binding), None);
    let latest = binding.memory().latest.expect("a sighting");
    assert_eq!((latest.at, latest.key), (at(20), Some(fingerprint(1))), "nor do they say how it is now");
    binding.sight(&of("e3", &bad(40)));
    assert_eq!(open(&binding), Some((40, 40, 1)), "a new execution is no retry");
}

#[test]
fn an_execution_that_was_mended_itself_is_no_retry() {
    let binding = binding();
    binding.sight(&of("e1", &bad(10)));
    binding.sight(&of("e1", &good(20)));
    binding.sight(&of("e1", &bad(30)));
    assert_eq!(open(&binding), Some((30, 30, 1)));
}

#[test]
fn what_does_not_ask_the_api_opens_no_incident_and_closes_none() {
    let binding = binding();
    binding.sight(&Seen { destination: Destination::Page, ..bad(1) });
    assert_eq!(open(&binding), None);
    binding.sight(&bad(2));
    binding.sight(&Seen { destination: Destination::Page, ..good(3) });
    assert_eq!(open(&binding), Some((2, 2, 1)));
    assert_eq!(binding.memory().uses.len(), 2, "it is counted");
}

#[test]
fn where_it_is_unclear_what_is_asked_an_old_key_counts_and_a_good_one_does_not() {
    let binding = binding();
    binding.sight(&Seen { destination: Destination::Unclear, ..bad(1) });
    assert_eq!(open(&binding), Some((1, 1, 1)));
    binding.sight(&Seen { destination: Destination::Unclear, ..good(2) });
    assert_eq!(open(&binding), Some((1, 1, 1)));
    assert_eq!(binding.memory().latest.map(|latest| latest.at), Some(at(1)));
}

#[test]
fn more_of_an_exchange_that_goes_on_is_no_second_sighting() {
    let switched = |millis| Seen { outcome: answered(101), ..good(millis) };
    let proven = |seen: Seen<'static>| Seen {
        outcome: Outcome { proof: Proof::Message, ..seen.outcome },
        told: Some(bearing::bearing(seen.diagnosis, seen.outcome)),
        ..seen
    };
    let binding = binding();
    binding.sight(&bad(10));
    binding.sight(&switched(20));
    assert_eq!(open(&binding), Some((10, 10, 1)), "a switch alone shows nothing");
    binding.sight(&proven(switched(20)));
    assert_eq!(closed(&binding), [(10, 10, 20, Closing::GoodSighting.into())]);
    let memory = binding.memory();
    let used = memory.of_key(Some(fingerprint(1))).expect("a use");
    assert_eq!((used.sightings, used.word), (1, Some(Word::Accepted)));
    // A close that says that the key is none.
    let outcome = Outcome { error: UpstreamError::InvalidApiKey, proof: Proof::Message, ..answered(101) };
    let refused = Seen { outcome, diagnosis: Diagnosis::CurrentKeyRejected, told: Some(Bearing::Good), ..good(20) };
    binding.sight(&refused);
    assert_eq!(open(&binding), Some((20, 20, 1)));
    assert_eq!(binding.memory().of_key(Some(fingerprint(1))).and_then(|used| used.word), Some(Word::Refused));
}

#[test]
fn more_of_a_bad_sighting_counts_it_once_and_tells_how_bad_it_is_now() {
    let binding = binding();
    let tolerated = Diagnosis::StaleBinding { tolerated: true };
    binding.sight(&Seen { outcome: answered(101), diagnosis: tolerated, ..bad(10) });
    let refused = Seen { told: Some(Bearing::Bad), ..bad(10) };
    binding.sight(&refused);
    assert_eq!(open(&binding), Some((10, 10, 1)));
    assert_eq!(binding.memory().incident.map(|incident| incident.severity), Some(Severity::Error));
    assert_eq!(binding.memory().uses[0].sightings, 1);
}

#[test]
fn an_acknowledgement_closes_the_incident_and_holds_until_it_is_seen_again() {
    let binding = binding();
    binding.sight(&bad(10));
    binding.acknowledge(at(20));
    assert_eq!(closed(&binding), [(10, 10, 20, Closing::Acknowledged.into())]);
    assert_eq!(binding.memory().acknowledgement(), Some(at(20)));
    binding.sight(&bad(15));
    assert_eq!(binding.memory().acknowledgement(), Some(at(20)), "what was meant by it");
    binding.sight(&bad(30));
    assert_eq!((open(&binding), binding.memory().acknowledgement()), (Some((30, 30, 1)), None));
}

#[test]
fn what_each_diagnosis_means_for_the_incident() {
    #[track_caller]
    fn check(diagnosis: Diagnosis, outcome: Outcome, expected: Bearing) {
        assert_eq!(bearing::bearing(diagnosis, outcome), expected, "{}", diagnosis.code());
    }
    let ended = |ending| Outcome { ending, ..answered(200) };
    let nothing = |ending| Outcome { ending, status: None, error: UpstreamError::None, proof: Proof::None };
    check(Diagnosis::Ok, answered(200), Bearing::Good);
    check(Diagnosis::WrongPath, answered(404), Bearing::Bad);
    let about_request = Outcome { error: UpstreamError::Request, ..answered(400) };
    check(Diagnosis::Ok, answered(101), Bearing::None);
    check(Diagnosis::Ok, Outcome { proof: Proof::Message, ..answered(101) }, Bearing::Good);
    check(Diagnosis::Idle, Outcome { proof: Proof::Message, ending: Ending::Idle, ..answered(101) }, Bearing::Good);
    check(Diagnosis::Ok, Outcome { error: UpstreamError::Other, ..answered(200) }, Bearing::None);
    check(Diagnosis::RequestError, about_request, Bearing::Good);
    for status in [400, 404, 405, 409, 413, 415, 422] {
        check(Diagnosis::RequestError, answered(status), Bearing::None);
    }
    check(Diagnosis::RequestError, nothing(Ending::Refused), Bearing::None);
    check(Diagnosis::RateLimited, answered(429), Bearing::None);
    check(Diagnosis::Quota, answered(429), Bearing::None);
    check(Diagnosis::ClientGone, ended(Ending::ClientGone), Bearing::Good);
    check(Diagnosis::ClientGone, nothing(Ending::ClientGone), Bearing::None);
    check(Diagnosis::UpstreamFailed, ended(Ending::CutOff), Bearing::Good);
    check(Diagnosis::UpstreamFailed, nothing(Ending::Unreachable), Bearing::None);
    check(Diagnosis::UpstreamError, answered(500), Bearing::None);
    check(Diagnosis::KeywardFailed, nothing(Ending::Failed), Bearing::None);
    check(Diagnosis::OriginNotAllowed, nothing(Ending::Refused), Bearing::None);
    check(Diagnosis::CurrentKeyRejected, answered(401), Bearing::Bad);
    check(Diagnosis::KeyScope, answered(403), Bearing::Bad);
    check(Diagnosis::StaleBinding { tolerated: true }, answered(200), Bearing::Bad);
    check(Diagnosis::UnlistedKey(KeyKind::Project), answered(200), Bearing::Bad);
    check(Diagnosis::UnlistedKey(KeyKind::Ephemeral), answered(200), Bearing::None);
    check(Diagnosis::DroppedHeader, answered(401), Bearing::Bad);
}

#[test]
fn a_binding_is_small() {
    // A hundred thousand of them are to take less than 100 MB with all that hangs on them: `cargo bench --bench ledger`.
    assert!(size_of::<Binding>() <= 256, "{}", size_of::<Binding>());
    assert!(size_of::<KeyUse>() <= 80, "{}", size_of::<KeyUse>());
}

/// The binding of a request with that path, tag and client.
fn bound(path: &str, tag: Option<&'static str>, agent: &'static str) -> Binding {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static(agent));
    headers.extend(tag.map(|tag| (http::HeaderName::from_static("x-n8n-tag"), http::HeaderValue::from_static(tag))));
    let lines = headers.into();
    let uri: http::Uri = path.parse().expect("a path");
    let head = crate::head::Head::new(&http::Method::POST, uri.path(), &lines);
    let caller = Caller::identify(&head, &crate::request_path::RequestPath::read(head.path));
    let judgement = Judgement {
        verdict: Verdict::Current,
        set: SetIndex::DEFAULT,
        key: Some(names(1)),
        place: None,
        learned: false,
        revoked: None,
        ends: None,
    };
    Binding::new(&Identity::of(&caller, &judgement, HOME), "default")
}

#[test]
fn agents_are_one_binding_for_each_n8n_and_chats_another() {
    let sdk = "ai-sdk-openai/4.0.118 ai-sdk-provider-utils/5.0.81 node.js/24";
    let core = "ai/7.0.173 ai-sdk-provider-utils/5.0.81 node.js/24";
    let raw = Some("=wf={{ $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}");
    let path = "/n8n/editor/__UNKNOWN__/none/v1/responses";
    let agents = bound(path, None, sdk);
    assert_eq!((agents.holder(), &*agents.describe(None)), (Holder::Agent, "n8n's Agents"));
    assert_eq!(agents.id(), bound(path, None, core).id());
    // No list of credentials shows that of Instance AI.
    let instance_ai = bound("/v1/responses", raw, sdk);
    assert_eq!((instance_ai.holder(), &*instance_ai.describe(None)), (Holder::Agent, "n8n's Instance AI"));
    assert_ne!(agents.id(), instance_ai.id());
    let main = bound("/v1/responses", Some("wf=editor;inst=main"), sdk);
    assert_eq!(&*main.describe(None), "n8n's Agents of main");
    let editor = bound(path, None, "undici");
    assert_eq!(editor.holder(), Holder::Editor);
    assert!(agents.id() != main.id() && agents.id() != editor.id());
    // A client of another kind with such a tag stays the untagged client that it is.
    assert!(bound("/v1/responses", raw, "n8n").is_untagged());
    let untagged = bound("/v1/responses", None, sdk);
    assert!(untagged.is_untagged() && &*untagged.describe(None) == "agent client at 127.0.0.1");
    // Each turn of a chat is a workflow of its own.
    let one = "wf=21FYybvGctNHMY9c;ex=6;node=n;name=Chat%204cc2d2d1-089b-4d80-b7e8-09fae1bc24a4";
    let other = "wf=y6RSYp92UDO5Ef81;ex=7;node=m;name=Chat%206b02f926-5b96-4427-8c04-6adfcfcc04f1";
    let langchain = "langchainjs-openai/1.0.0 ((node/v24.21.0; linux; x64))";
    let chats = bound("/v1/responses", Some(one), langchain);
    assert_eq!((chats.holder(), &*chats.describe(None)), (Holder::Agent, "n8n's chats"));
    assert_eq!(chats.id(), bound("/v1/responses", Some(other), langchain).id());
    assert_ne!(chats.id(), agents.id());
    assert_eq!(chats.identity().ties(), bound("/v1/responses", Some(one), langchain).identity().ties());
}

#[test]
fn an_agent_with_the_old_key_opens_an_incident() {
    let agents = bound("/n8n/editor/v1/x", None, "ai-sdk-openai/4.0.118");
    agents.sight(&bad(5));
    assert_eq!(open(&agents), Some((5, 5, 1)));
    agents.sight(&good(6));
    assert_eq!(open(&agents), None);
}
