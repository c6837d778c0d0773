//! Every diagnosis: a total table, and its words.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::keys::fingerprint::{FingerprintKey, Hint};
use crate::keys::set::{Names, Retired, SetIndex};
use crate::outcome::Proof;

const SDK: Sender = Sender { family: Family::Sdk, sent_key_before: false, learning: false };
const LEGACY: Sender = Sender { family: Family::Legacy, sent_key_before: false, learning: false };
const LEARNING: Sender = Sender { learning: true, ..SDK };

fn outdated(in_grace: bool) -> Verdict {
    let by = Timestamp::from_millis(1_790_000_000_000);
    Verdict::Outdated(Outdated { retired: Retired { after: None, by }, grace_until: by, in_grace, barred: None })
}

fn foreign() -> Verdict {
    Verdict::Foreign { owner: SetIndex::DEFAULT }
}

fn answered(status: u16, error: UpstreamError) -> Outcome {
    Outcome { ending: Ending::Completed, status: StatusCode::from_u16(status).ok(), error, proof: Proof::None }
}

fn ended(ending: Ending) -> Outcome {
    Outcome { ending, status: None, error: UpstreamError::None, proof: Proof::None }
}

#[track_caller]
fn check(verdict: Verdict, outcome: Outcome, sender: Sender, code: &str, severity: Severity) {
    let diagnosis = diagnose(verdict, outcome, sender);
    assert_eq!((diagnosis.code(), diagnosis.severity()), (code, severity));
}

#[test]
fn a_good_key_is_as_good_as_the_answer() {
    use Severity::{Error, Fine, Warning};
    use UpstreamError::{InvalidApiKey, None as Nothing, Other, Quota, Scope};
    for verdict in [Verdict::Current, Verdict::Next, Verdict::Token] {
        check(verdict, answered(200, Nothing), SDK, "ok", Fine);
        check(verdict, answered(101, Nothing), SDK, "ok", Fine);
        let refused = if verdict == Verdict::Next { "next_key_rejected" } else { "current_key_rejected" };
        check(verdict, answered(401, InvalidApiKey), SDK, refused, Error);
        check(verdict, answered(401, Scope), SDK, "key_scope", Error);
        check(verdict, answered(403, Scope), SDK, "key_scope", Error);
        check(verdict, answered(401, Other), SDK, "key_refused", Error);
        check(verdict, answered(403, Nothing), SDK, "key_refused", Error);
        check(verdict, answered(429, Quota), SDK, "quota", Error);
        check(verdict, answered(429, Other), SDK, "rate_limited", Warning);
        check(verdict, answered(404, Other), SDK, "request_error", Fine);
        check(verdict, answered(503, Nothing), SDK, "upstream_error", Warning);
        check(verdict, ended(Ending::Unreachable), SDK, "upstream_failed", Error);
        check(verdict, ended(Ending::TimedOut), SDK, "upstream_failed", Error);
        check(verdict, ended(Ending::CutOff), SDK, "upstream_failed", Error);
        check(verdict, ended(Ending::Redirected), SDK, "upstream_redirect", Error);
        check(verdict, ended(Ending::ClientGone), SDK, "client_gone", Fine);
        check(verdict, ended(Ending::Refused), SDK, "request_error", Fine);
        check(verdict, ended(Ending::Failed), SDK, "keyward_failed", Error);
        check(verdict, ended(Ending::ShutDown), SDK, "shut_down", Warning);
        check(
            verdict,
            Outcome { status: Some(StatusCode::SWITCHING_PROTOCOLS), ..ended(Ending::Idle) },
            SDK,
            "idle",
            Fine,
        );
    }
}

#[test]
fn an_error_inside_of_a_success_has_the_diagnosis_of_the_error() {
    use Severity::{Error, Fine, Warning};
    use UpstreamError::{Denied, InvalidApiKey, Other, Quota, Scope};
    for (status, ending) in [(200, Ending::Completed), (101, Ending::Completed), (200, Ending::ClientGone)] {
        let inside = |error| Outcome { ending, ..answered(status, error) };
        check(Verdict::Current, inside(InvalidApiKey), SDK, "current_key_rejected", Error);
        check(Verdict::Token, inside(Scope), SDK, "key_scope", Error);
        check(Verdict::Current, inside(Denied), SDK, "key_refused", Error);
        check(Verdict::Current, inside(Quota), SDK, "quota", Error);
        check(Verdict::Unknown(KeyKind::Project), inside(InvalidApiKey), SDK, "unknown_key_rejected", Error);
        check(outdated(true), inside(InvalidApiKey), SDK, "stale_binding", Error);
    }
    check(Verdict::Current, answered(200, Other), SDK, "ok", Fine);
    check(outdated(true), answered(101, UpstreamError::None), SDK, "stale_binding", Warning);
    let left = Outcome { ending: Ending::ClientGone, ..answered(401, InvalidApiKey) };
    check(Verdict::Current, left, SDK, "current_key_rejected", Error);
}

#[test]
fn an_outdated_key_is_a_stale_binding_whatever_came_of_it() {
    check(outdated(true), answered(200, UpstreamError::None), SDK, "stale_binding", Severity::Warning);
    check(outdated(true), answered(401, UpstreamError::InvalidApiKey), SDK, "stale_binding", Severity::Error);
    check(outdated(false), answered(200, UpstreamError::None), SDK, "stale_binding", Severity::Error);
    check(outdated(false), ended(Ending::Unreachable), SDK, "stale_binding", Severity::Error);
}

#[test]
fn a_key_that_no_set_has() {
    let unknown = |kind| Verdict::Unknown(kind);
    check(unknown(KeyKind::Project), answered(200, UpstreamError::None), SDK, "unlisted_key", Severity::Warning);
    check(unknown(KeyKind::Ephemeral), answered(200, UpstreamError::None), SDK, "unlisted_key", Severity::Fine);
    check(unknown(KeyKind::Project), ended(Ending::Unreachable), SDK, "unlisted_key", Severity::Warning);
    check(unknown(KeyKind::Project), answered(401, UpstreamError::Other), SDK, "unknown_key_rejected", Severity::Error);
    check(unknown(KeyKind::Project), answered(200, UpstreamError::None), LEARNING, "ok", Severity::Fine);
    check(unknown(KeyKind::Project), ended(Ending::Unreachable), LEARNING, "upstream_failed", Severity::Error);
    let rejected = answered(401, UpstreamError::InvalidApiKey);
    check(unknown(KeyKind::Project), rejected, LEARNING, "unknown_key_rejected", Severity::Error);
}

#[test]
fn who_dropped_a_header_and_who_never_had_one() {
    let refused = answered(401, UpstreamError::Other);
    let family = |family| Sender { family, ..SDK };
    check(Verdict::Missing, refused, SDK, "dropped_header", Severity::Error);
    check(Verdict::Missing, refused, family(Family::Vendor), "dropped_header", Severity::Error);
    check(Verdict::Missing, refused, Sender { sent_key_before: true, ..LEGACY }, "dropped_header", Severity::Error);
    check(Verdict::Missing, refused, LEGACY, "missing_header", Severity::Error);
    check(Verdict::Missing, refused, family(Family::Agent), "dropped_header", Severity::Error);
    check(Verdict::Missing, refused, family(Family::HttpRequest), "missing_header", Severity::Error);
    check(Verdict::Missing, refused, family(Family::Other), "missing_header", Severity::Error);
}

#[test]
fn a_fault_of_the_credential_outranks_one_of_the_transport() {
    for ending in Ending::ALL {
        check(foreign(), ended(ending), SDK, "wrong_set", Severity::Error);
        check(Verdict::Malformed(Malformed::Null), ended(ending), SDK, "malformed_null", Severity::Error);
        check(Verdict::Missing, ended(ending), LEGACY, "missing_header", Severity::Error);
    }
}

#[test]
fn every_code_is_that_of_a_diagnosis() {
    let codes: BTreeSet<_> = DiagnosisKind::CODES.into_iter().collect();
    let known: BTreeSet<_> = every_diagnosis().into_iter().map(Diagnosis::code).collect();
    assert_eq!((codes.len(), codes), (DiagnosisKind::COUNT, known));
}

fn every_verdict() -> Vec<Verdict> {
    let plain = [Verdict::Current, Verdict::Next, Verdict::Token, outdated(true), outdated(false), foreign()];
    let unknown = ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-", "sess-", "ek_", "eyJ", "kw_", "gsk_", "?"]
        .map(|prefix| Verdict::Unknown(KeyKind::of(prefix.as_bytes())));
    let malformed = Malformed::ALL.map(Verdict::Malformed);
    [&plain[..], &unknown[..], &malformed[..], &[Verdict::Missing]].concat()
}

fn every_outcome() -> Vec<Outcome> {
    use UpstreamError::{Denied, InvalidApiKey, None as Nothing, Other, Quota, Request, Scope};
    let errors = [Nothing, InvalidApiKey, Scope, Quota, Denied, Request, Other];
    let statuses = [302, 400, 401, 403, 404, 429, 500, 503, 101, 200];
    let with_errors = statuses.into_iter().flat_map(|status| errors.map(|error| answered(status, error)));
    [answered(200, Nothing)].into_iter().chain(with_errors).chain(Ending::ALL.map(ended)).collect()
}

fn every_sender() -> impl Iterator<Item = Sender> {
    Family::ALL.into_iter().flat_map(|family| {
        [(false, false), (true, false), (false, true), (true, true)].map(|(sent_key_before, learning)| Sender {
            family,
            sent_key_before,
            learning,
        })
    })
}

/// Every diagnosis that can come of anything, once.
fn every_diagnosis() -> Vec<Diagnosis> {
    let mut all = Vec::new();
    for verdict in every_verdict() {
        for outcome in every_outcome() {
            for sender in every_sender() {
                let diagnosis = diagnose(verdict, outcome, sender);
                if !all.contains(&diagnosis) {
                    all.push(diagnosis);
                }
            }
        }
    }
    all.extend([
        Diagnosis::WrongPath,
        Diagnosis::OtherProject,
        Diagnosis::Preflight,
        Diagnosis::GatewayKey,
        Diagnosis::TokenNotReplaced,
        Diagnosis::ReplacedToken { admitted: true },
        Diagnosis::ReplacedToken { admitted: false },
        Diagnosis::UnclearSet,
        Diagnosis::OriginNotAllowed,
        Diagnosis::HostNotAllowed,
        Diagnosis::EchoNotAllowed,
    ]);
    all
}

fn judgement(diagnosis: Diagnosis) -> Judgement {
    let verdict = if diagnosis == Diagnosis::WrongSet {
        foreign()
    } else if diagnosis.code() == "stale_binding" {
        outdated(false)
    } else {
        Verdict::Current
    };
    let fingerprint = FingerprintKey::new(&[7; 32]).fingerprint(KEY);
    let key = Some(Names { fingerprint, hint: Hint::of(KEY) });
    Judgement { verdict, set: SetIndex::DEFAULT, key, place: None, learned: false, revoked: None, ends: None }
}

const KEY: &[u8] = b"sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaAbCd";

fn context<'a>(judgement: &'a Judgement, text: Option<&'a str>) -> Context<'a> {
    Context {
        set: "production",
        owner: Some("staging"),
        current: CurrentKey::Known,
        is_beside_good: false,
        is_token_held: false,
        judgement,
        handling: Handling::Forwarded,
        workflow: text,
        workflow_name: None,
        node: text,
        node_name: None,
        family: Family::Sdk,
        origin: if text.is_some() { Origin::Workflow } else { Origin::Undeclared },
        peer: Ipv4Addr::LOCALHOST.into(),
        status: Some(StatusCode::FORBIDDEN),
        upstream_code: text,
        cause: Some("no connection to 127.0.0.1:9: Connection refused (os error 111)"),
        redirect: None,
        has_failed: false,
        projects: Some(["proj_new", "proj_old"]),
    }
}

#[test]
fn the_texts() {
    let mut texts = Vec::new();
    for diagnosis in every_diagnosis() {
        let judgement = judgement(diagnosis);
        let of_key = context(&judgement, Some("Sales"));
        let of_token = Context { is_token_held: true, handling: Handling::Refused, ..of_key };
        let Explanation { message, remedy, .. } = explain(diagnosis, &of_key);
        texts.push(format!("{} ({:?})\n{message}\n{remedy}\n", diagnosis.code(), diagnosis.severity()));
        let told = explain(diagnosis, &of_token).remedy;
        let where_tokens = format!("{}, where n8n holds tokens\n{told}\n", diagnosis.code());
        if told != remedy && !texts.contains(&where_tokens) {
            texts.push(where_tokens);
        }
    }
    insta::with_settings!({ snapshot_path => "../../../tests/data", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("diagnoses", texts.join("\n"));
    });
}

#[test]
fn a_sender_without_a_tag_is_told_by_its_address_and_its_client() {
    let judgement = judgement(Diagnosis::MissingHeader);
    let context = context(&judgement, None);
    let message = explain(Diagnosis::MissingHeader, &context).message;
    let client = "an OpenAI SDK, as in n8n's chat model and embeddings nodes";
    assert_eq!(message, format!("An untagged client at 127.0.0.1 ({client}) sent no key at all."));
    let editor = Context { origin: Origin::Editor, ..context };
    assert_eq!(explain(Diagnosis::MissingHeader, &editor).message, "n8n's editor sent no key at all.");
}

#[test]
fn what_n8n_runs_beside_its_workflows_has_remedies_of_its_own() {
    let stale = Diagnosis::StaleBinding { tolerated: false };
    let judgement = judgement(stale);
    let of = |origin| Context { origin, family: Family::Agent, ..context(&judgement, None) };
    let agent = explain(stale, &of(Origin::Agent));
    assert!(agent.message.starts_with("One of n8n's Agents "), "{}", agent.message);
    assert!(agent.remedy.contains("Save or publish the agent"), "{}", agent.remedy);
    assert!(agent.remedy.contains("an edited credential alone does not reach it), or restart n8n"), "{}", agent.remedy);
    assert_eq!(explain(stale, &of(Origin::Undeclared)).remedy, agent.remedy, "an AI SDK without a tag may be one");
    let instance = explain(stale, &of(Origin::InstanceAi));
    assert!(instance.message.starts_with("n8n's Instance AI "), "{}", instance.message);
    assert!(instance.remedy.contains("static tag and a static Base URL"), "{}", instance.remedy);
    let fine = explain(Diagnosis::Ok, &of(Origin::InstanceAi)).remedy;
    assert!(fine.contains("static tag and a static Base URL"), "{fine}");
    // A node of a workflow is told of what else may hold the old key.
    let node = Context { family: Family::Agent, ..context(&judgement, Some("Sales")) };
    let told = explain(stale, &node).remedy;
    for word in ["restart", "worker", "environment", "clone", "waits"] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn only_a_malformed_credential_or_one_of_two_graces_shares_a_code() {
    let all = every_diagnosis();
    let codes: BTreeSet<&str> = all.iter().map(|diagnosis| diagnosis.code()).collect();
    let same = |diagnosis: &&Diagnosis| {
        matches!(
            diagnosis,
            Diagnosis::UnlistedKey(_)
                | Diagnosis::StaleBinding { tolerated: true }
                | Diagnosis::ReplacedToken { admitted: true }
        )
    };
    assert_eq!(codes.len(), all.iter().filter(|diagnosis| !same(diagnosis)).count() + 1);
}

proptest! {
    #[test]
    fn no_caller_makes_a_text_long(text in "\\PC{0,300}") {
        for diagnosis in every_diagnosis() {
            let judgement = judgement(diagnosis);
            let context = Context { is_token_held: true, ..context(&judgement, Some(&text)) };
            let Explanation { message, remedy, .. } = explain(diagnosis, &context);
            prop_assert!(message.len() < 450, "{} {message}", message.len());
            prop_assert!(remedy.len() < 600, "{} {remedy}", remedy.len());
        }
    }
}

#[test]
fn a_redirect_and_a_password_have_remedies_of_their_own() {
    let judgement = judgement(Diagnosis::Ok);
    let remedy = |diagnosis, context: &Context<'_>| explain(diagnosis, context).remedy;
    let known = context(&judgement, Some("Sales"));
    for (redirect, expected) in [
        (Some(Redirect::Slash), "slash"),
        (Some(Redirect::SameHost), "on the same host"),
        (Some(Redirect::SignedFile), "signed address"),
        (Some(Redirect::Elsewhere), "Set `proxy.upstream`"),
        (None, "Set `proxy.upstream`"),
    ] {
        let told = remedy(Diagnosis::UpstreamRedirect, &Context { redirect, ..known });
        assert!(told.contains(expected), "{redirect:?}: {told}");
    }
    for (place, is_told) in [(Place::Basic, true), (Place::Bearer, false)] {
        let judgement = Judgement { place: Some(place), ..judgement };
        let told = remedy(Diagnosis::UnknownKeyRejected, &Context { judgement: &judgement, ..known });
        assert_eq!(told.contains("a user and a password stand in the Base URL"), is_told, "{told}");
    }
}

#[test]
fn where_upstream_fails_a_bad_key_is_told_with_it() {
    let judgement = judgement(Diagnosis::Ok);
    let context = Context { has_failed: true, ..context(&judgement, Some("Sales")) };
    for diagnosis in [Diagnosis::MissingHeader, Diagnosis::UnlistedKey(KeyKind::Project)] {
        let Explanation { message, remedy, .. } = explain(diagnosis, &context);
        assert!(message.ends_with(
            "It got no whole answer besides: no connection to 127.0.0.1:9: Connection refused (os error 111)."
        ));
        assert!(
            remedy.lines().last().is_some_and(|step| step.contains("whether keyward's machine reaches upstream")),
            "{remedy}"
        );
    }
    let alone = explain(Diagnosis::UpstreamFailed, &context).message;
    assert!(!alone.contains("besides"), "{alone}");
}
