//! What is wrong with an exchange, if anything is: the same for the log and for the client.

use http::StatusCode;

use crate::caller::names::{Directory, Named};
use crate::keys::fingerprint::KeyKind;
use crate::keys::set::{KeyRing, SetIndex, Word};
use crate::ledger::projects;
use crate::ledger::sighting::Exchange;
use crate::outcome::{Ending, Outcome};
use crate::policy::{ActionKind, Refusal};
use crate::verdict::explain::{self, Context, CurrentKey, Diagnosis, Explanation, Handling, Sender};
use crate::verdict::{Outdated, Verdict};

/// The diagnosis. Where keyward put its own key in and upstream refused that, the key of ours is at fault, whatever came.
#[must_use]
pub fn diagnose(exchange: &Exchange, outcome: Outcome, ring: &KeyRing) -> Diagnosis {
    let verdict = exchange.judgement.verdict;
    if exchange.is_preflight && exchange.refusal.is_none() {
        return Diagnosis::Preflight;
    }
    let was_denied = || matches!(outcome.true_status(), Some(401 | 403));
    match (exchange.refusal, exchange.injected) {
        (Some(Refusal::UnclearSet), _) => Diagnosis::UnclearSet,
        (Some(Refusal::Origin), _) => Diagnosis::OriginNotAllowed,
        (Some(Refusal::Host), _) => Diagnosis::HostNotAllowed,
        (Some(Refusal::Echo), _) => Diagnosis::EchoNotAllowed,
        (None, Some(_)) if was_denied() => explain::diagnose_good_key(outcome),
        (None, None) if verdict == Verdict::Token && was_denied() => Diagnosis::TokenNotReplaced,
        (Some(Refusal::Credential) | None, _) => {
            let sender = Sender {
                family: exchange.family,
                // Of interest only when no key came.
                sent_key_before: exchange.judgement.key.is_none() && exchange.binding.sent_key_before(),
                learning: ring.set(exchange.judgement.set).learning && !is_out_of_place(verdict, ring),
            };
            let diagnosis = explain::diagnose(verdict, outcome, sender);
            if diagnosis == Diagnosis::RequestError && is_wrong_path(exchange, outcome) {
                Diagnosis::WrongPath
            } else if diagnosis == Diagnosis::RequestError && is_of_other_project(exchange) {
                Diagnosis::OtherProject
            } else if exchange.judgement.is_replaced_token() {
                of_replaced_token(diagnosis)
            } else if exchange.has_gateway_key && exchange.action == ActionKind::Forward && outcome.is_accepted() {
                Diagnosis::GatewayKey
            } else {
                diagnosis
            }
        }
    }
}

/// A request that the old token brought through may have failed for another reason, which then matters more.
fn of_replaced_token(found: Diagnosis) -> Diagnosis {
    if found == Diagnosis::Ok {
        Diagnosis::ReplacedToken { admitted: true }
    } else if matches!(found, Diagnosis::StaleBinding { .. }) {
        Diagnosis::ReplacedToken { admitted: false }
    } else {
        found
    }
}

/// Whether a set that learns does not learn such a key, although it lasts.
fn is_out_of_place(verdict: Verdict, ring: &KeyRing) -> bool {
    matches!(verdict, Verdict::Unknown(kind) if !kind.is_short_lived() && !ring.may_learn(kind))
}

/// Whether upstream has no such path, rather than no such thing: by OpenAI's code, or where it gives none, outside of `/v1`.
fn is_wrong_path(exchange: &Exchange, outcome: Outcome) -> bool {
    let is_outside = || exchange.upstream_code().is_none() && !exchange.path().starts_with("/v1/");
    outcome.status == Some(StatusCode::NOT_FOUND) && (exchange.upstream_code() == Some("unknown_url") || is_outside())
}

/// Whether what is not found belongs to a project, and the key to another one than the key before it.
fn is_of_other_project(exchange: &Exchange) -> bool {
    let is_of_project =
        || exchange.upstream_code() == Some("model_not_found") || projects::is_of_project(exchange.path());
    exchange.projects().is_some() && is_of_project()
}

/// The diagnosis in words. `named` is what n8n calls the caller.
#[must_use]
pub fn explain(diagnosis: Diagnosis, exchange: &Exchange, ring: &KeyRing, named: Option<Named<'_>>) -> Explanation {
    let name = |set: SetIndex| &*ring.set(set).name;
    let judgement = &exchange.judgement;
    let owner = if let Verdict::Foreign { owner } = judgement.verdict { Some(name(owner)) } else { None };
    let handling = match (exchange.refusal, exchange.injected) {
        (Some(_), _) => Handling::Refused,
        (None, Some(_)) => Handling::Injected,
        (None, None) => Handling::Forwarded,
    };
    // Where keyward does not act, a token is worth nothing.
    let acts = handling != Handling::Forwarded;
    let shows_token = judgement.verdict == Verdict::Unknown(KeyKind::Token);
    explain::explain(
        diagnosis,
        &Context {
            set: name(judgement.set),
            owner,
            current: current_key(judgement.set, ring),
            is_beside_good: is_beside_good(exchange),
            is_token_held: acts && (shows_token || ring.has_token(judgement.set)),
            judgement,
            handling,
            workflow: exchange.workflow(),
            workflow_name: named.map(|named| &*named.workflow.name).or(exchange.workflow_name()),
            node: exchange.node(),
            node_name: named.and_then(|named| named.node).map(|node| &*node.name),
            family: exchange.family,
            origin: exchange.origin,
            peer: exchange.peer,
            status: exchange.status(),
            upstream_code: exchange.upstream_code(),
            cause: exchange.cause(),
            redirect: exchange.redirect(),
            has_failed: matches!(exchange.outcome().ending, Ending::Unreachable | Ending::TimedOut | Ending::CutOff),
            projects: exchange.projects(),
        },
    )
}

/// Whether the binding of a stale exchange sent another key as well after its own was replaced.
fn is_beside_good(exchange: &Exchange) -> bool {
    let Verdict::Outdated(Outdated { retired, .. }) = exchange.judgement.verdict else { return false };
    let key = exchange.judgement.key.map(|names| names.fingerprint);
    key.is_some_and(|key| exchange.binding.has_sent_another_since(key, retired.by))
}

fn current_key(set: SetIndex, ring: &KeyRing) -> CurrentKey {
    match ring.current(set) {
        Some(key) if ring.word(key.fingerprint) == Some(Word::Refused) => CurrentKey::Refused,
        None if !ring.set(set).learning => CurrentKey::Unknown,
        Some(_) | None => CurrentKey::Known,
    }
}

/// What n8n calls who sent it.
#[must_use]
pub fn look_up<'d>(exchange: &Exchange, directory: &'d Directory) -> Option<Named<'d>> {
    directory.find(exchange.instance(), exchange.workflow()?, exchange.node())
}
