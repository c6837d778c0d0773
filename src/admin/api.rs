//! What the routes answer: health, metrics, how keyward is, what it knows of keys.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};

use super::call::Call;
use super::problem::{Kind, Problem, failed};
use super::response::{Drawn, JSON, Response, in_json, text};
use super::state::AdminState;
use super::views;
use crate::answers::audit::{Audit, Instance, Instances};
use crate::answers::key::ExpiryNoted;
use crate::answers::link::{Link, PressBegun, PressEnded};
use crate::answers::notice::{Muted, Notices, Tests};
use crate::answers::rotation::Rotation;
use crate::answers::status::{OpenProblems, Sets};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::Word;
use crate::ledger::expiry::Expiry;
use crate::ledger::query::{Query, find};
use crate::n8n::audit;
use crate::n8n::clearance;
use crate::n8n::status;
use crate::request_path::is_id;
use crate::server::Stage;
use crate::telemetry::masked::holds_key;

/// `/healthz`: 200 whenever the process can answer at all, while it drains as well.
pub fn health(_: &Arc<AdminState>, _: &Call) -> Result<Response, Problem> {
    Ok(text(StatusCode::OK, "text/plain; charset=utf-8", "alive\n"))
}

/// `/readyz`: 200 while new requests are taken, 503 from the moment keyward begins to stop.
pub fn readiness(admin: &Arc<AdminState>, _: &Call) -> Result<Response, Problem> {
    let stage = *admin.stage.borrow();
    let (status, said) = match stage {
        Stage::Running => (StatusCode::OK, "ready\n"),
        Stage::Draining | Stage::Ended => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    Ok(text(status, "text/plain; charset=utf-8", said))
}

/// The metrics, in the form that the scraper asks for.
pub fn metrics(admin: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    let accepted = call.head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (content_type, said) = admin.exposition.text(look, accepted).map_err(|error| failed(&error))?;
    Ok(Drawn { content_type, body: said.into() })
}

/// The description of the routes.
pub fn document(_: &Arc<AdminState>, _: &Call) -> Result<Response, Problem> {
    Ok(text(StatusCode::OK, JSON, DOCUMENT.replace("[version]", env!("CARGO_PKG_VERSION"))))
}

/// `/api/v1/status`: the version, the store, each n8n, the open problems and the key sets, as of one look.
pub fn status(admin: &AdminState, look: &Query<'_>, _: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&admin.status(look))
}

/// What is wrong now beside single callers.
pub fn problems(admin: &Arc<AdminState>, _: &Call) -> Result<Response, Problem> {
    in_json(StatusCode::OK, &OpenProblems { problems: admin.problems() })
}

/// The parameters of [`checked`].
pub const CHECKED: [&str; 2] = ["key", "word"];

/// Takes in what a check of a set's current key found, and says what is wrong then. A refusal counts, so that keyward knows of a
/// key that was never right before a node sends it. That a key is accepted takes back such a refusal and proves nothing else:
/// only a request that passes here does. Of a key that was accepted before, only requests tell.
pub fn checked(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let word = call.parameters.word("word", &[Word::Accepted.code(), Word::Refused.code()])?.and_then(Word::from_code);
    let key = call.parameters.value("key").and_then(|key| key.parse::<Fingerprint>().ok());
    let (Some(word), Some(key)) = (word, key) else {
        let text = "It takes `key`, the 32 hex digits of a current key's fingerprint, and `word`: accepted, refused.";
        return Err(Problem::new(Kind::BadQuery, text));
    };
    let shared = &admin.shared;
    let nothing = || Problem::new(Kind::NotFound, "There is no key set of that name, or it has another current key.");
    let ring = shared.reloader.ring();
    let set = ring.indexes().find(|set| &*ring.set(*set).name == call.text()).ok_or_else(nothing)?;
    let names = ring.current(set).filter(|current| current.fingerprint == key).ok_or_else(nothing)?;
    if shared.reloader.was_never_accepted(set, key) {
        match word {
            Word::Refused => shared.reloader.hear(set, key, Word::Refused),
            Word::Accepted => shared.reloader.forget_refusal(set, key),
        }
        shared.problems.note_check(set, names, word, shared.clock.now());
    }
    in_json(StatusCode::OK, &OpenProblems { problems: admin.problems() })
}

/// The parameters of [`note_expiry`].
pub const EXPIRY: [&str; 3] = ["id", "expires", "last_used"];

/// Takes in what OpenAI says of a key. It need be of no set yet: a new key is told of before it is announced.
pub fn note_expiry(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let Ok(key) = call.text().parse::<Fingerprint>() else {
        return Err(Problem::new(Kind::NotFound, "It takes all 32 hex digits of a key's fingerprint."));
    };
    let Some(id) = call.parameters.value("id").filter(|id| is_id(id) && !holds_key(id)) else {
        return Err(Problem::new(Kind::BadQuery, "`id` is the key's id at OpenAI: key_…"));
    };
    let moment = |name: &str| {
        let wrong = |_| Problem::new(Kind::BadQuery, format!("`{name}` is no moment, as 2026-11-25T22:14:12Z is one."));
        call.parameters.value(name).map(str::parse::<Timestamp>).transpose().map_err(wrong)
    };
    let (expires, last_used) = (moment("expires")?, moment("last_used")?);
    let shared = &admin.shared;
    shared.ledger.expiries.note(Expiry { key, id: id.into(), expires, last_used, read: shared.clock.now() });
    in_json(StatusCode::OK, &ExpiryNoted { stored: shared.store.is_on() })
}

/// Who is told by itself, what waits, and what did not arrive.
pub fn notices(admin: &Arc<AdminState>, _: &Call) -> Result<Response, Problem> {
    in_json(StatusCode::OK, &Notices::from(admin.notices.snapshot()))
}

/// Tells nothing for so many seconds; with none, tells again.
pub fn mute_notices(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let seconds = call.parameters.value("seconds").unwrap_or_default();
    let allowed = || {
        let text = format!("`seconds` says for how long: 0 to {LONGEST_MUTE}, where 0 ends it.");
        Problem::new(Kind::BadQuery, text)
    };
    let seconds = seconds.parse().ok().filter(|seconds| *seconds <= LONGEST_MUTE).ok_or_else(allowed)?;
    let muted_until = admin.notices.mute(Duration::from_secs(seconds));
    in_json(StatusCode::OK, &Muted { muted_until })
}

/// Sends a test to one receiver or to all.
pub fn test_notices(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let sent = admin.notices.test(call.parameters.value("receiver"));
    let sent = sent.map_err(|error| Problem::new(Kind::NotFound, sentence(&error.to_string())))?;
    in_json(StatusCode::ACCEPTED, &Tests { tests: sent })
}

/// The key sets, their keys and how far their rotations are.
pub fn sets(admin: &AdminState, look: &Query<'_>, _: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&Sets { sets: admin.sets(look) })
}

/// How far the rotation of a set is.
pub fn rotation(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    let rotation = views::rotation(look, call.text(), &call.parameters)?;
    Drawn::in_long_json(&rotation, expected_bytes(&rotation))
}

/// All that bars the old keys of a set, page by page.
pub fn reasons(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::reasons(look, call.text(), &call.parameters)?)
}

/// What bars an old key under that number, if it can be accepted.
pub fn doubt(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::doubt(look, call.text())?)
}

/// About how long a rotation is in JSON.
fn expected_bytes(rotation: &Rotation) -> usize {
    let reasons: usize = rotation.old_keys.iter().map(|old| old.summary.can_go.all_reasons().count()).sum();
    rotation.bindings.len() * ROW_BYTES + reasons * REASON_BYTES
}

/// What an audit says of each n8n, by how it was when it was looked through last.
pub fn n8n_audits(admin: &AdminState, look: &Query<'_>, _: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&instances(admin, look))
}

/// The same as a type.
#[must_use]
pub fn instances(admin: &AdminState, look: &Query<'_>) -> Instances {
    let looked = admin.looked();
    let n8n = admin.viewer.n8n.now();
    let audits = clearance::audits(look, &looked, &n8n.hosts);
    let instance = |audit: &audit::Audit, status: &status::Status| {
        let old_keys = views::old_keys(look, status.set.as_deref());
        Instance::new(Audit::new(audit, &status.name, &status.url, old_keys), status.look().as_deref())
    };
    let audited = |(looked, audit): &(&_, Option<audit::Audit>)| {
        let looked: &clearance::Looked = looked;
        Some(instance(audit.as_ref()?, n8n.find(&looked.name)?))
    };
    Instances { instances: audits.iter().filter_map(audited).collect() }
}

/// Hears that a program has n8n test a credential from now on; or where it says what n8n has said, that this is over.
pub fn press(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let [instance, credential] = &call.texts[..] else {
        return Err(Problem::new(Kind::NotFound, "It takes an n8n and a credential."));
    };
    let nothing = || Problem::new(Kind::NotFound, "There is no n8n of that name, or it has no such credential.");
    let n8n = admin.viewer.n8n.now();
    let status = n8n.find(instance).ok_or_else(nothing)?;
    if !is_id(credential) {
        return Err(nothing());
    }
    let ledger = &admin.shared.ledger;
    match call.parameters.word("said", &["ok", "error"])? {
        None => {
            let begun = status.lent.begin(ledger, instance, credential).is_some();
            in_json(StatusCode::OK, &PressBegun { begun })
        }
        Some(said) => {
            let came = status.lent.end(ledger, credential, said == "ok");
            let key = came.key.map(|names| names.fingerprint);
            let verdict = came.verdict.map(|verdict| verdict.code().to_owned());
            in_json(StatusCode::OK, &PressEnded { key, verdict })
        }
    }
}

/// `/api/v1/bindings`: a page of the list, those that were seen last first.
pub fn bindings(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::bindings(look, &call.parameters)?)
}

/// `/api/v1/bindings/{binding}`: one binding by how its id begins; 404 where none does so, 409 where several do.
pub fn binding(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::binding(look, call.text())?)
}

/// `/api/v1/executions/{execution}`: what was sent in an execution, as far as it is remembered.
pub fn execution(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::execution(look, call.text()))
}

/// `/api/v1/incidents`: a page of the list, the one that opened last first.
pub fn incidents(_: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::incidents(look, &call.parameters)?)
}

/// Notes that you say that a binding is dead, or its incident dealt with.
pub fn acknowledge(admin: &AdminState, _: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    let ledger = &admin.shared.ledger;
    let binding = find(ledger, call.text()).map_err(|error| views::not_found(&error))?;
    ledger.acknowledge(&binding, admin.shared.clock.now());
    Drawn::in_json(&views::binding(&admin.look(), &binding.id().to_hex())?)
}

/// Accepts what bars an old key from going.
pub fn accept(admin: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    let accepted = Some((views::reason(&call.parameters)?, admin.shared.clock.now()));
    Drawn::in_json(&views::accept(look, &admin.shared.ledger, call.text(), accepted)?)
}

/// Takes back the acceptance of what bars an old key: it bars the key again.
pub fn withdraw(admin: &AdminState, look: &Query<'_>, call: &Call) -> Result<Drawn, Problem> {
    Drawn::in_json(&views::accept(look, &admin.shared.ledger, call.text(), None)?)
}

/// The parameter of [`reload`].
pub const RELOAD: [&str; 1] = ["dry_run"];

/// Takes the configuration anew, or says what that would do.
pub async fn reload(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let is_dry_run = call.parameters.word("dry_run", &["true", "false"])? == Some("true");
    in_json(StatusCode::OK, &admin.reloads.ask(is_dry_run).await?)
}

/// A link that begins a session.
pub fn make_link(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let pass = call.pass.ok_or_else(|| Problem::new(Kind::TokenMissing, "A link takes a token."))?;
    let (link, until) = admin.access.make_link(&pass).map_err(|error| failed(&error))?;
    in_json(StatusCode::CREATED, &Link { path: format!("/open/{}", &*link), until })
}

fn sentence(clause: &str) -> String {
    let (first, rest) = clause.split_at(clause.char_indices().nth(1).map_or(clause.len(), |(at, _)| at));
    format!("{}{rest}.", first.to_uppercase())
}

/// A year, in seconds.
const LONGEST_MUTE: u64 = 365 * 24 * 60 * 60;

/// What a binding takes in JSON, and a reason, rounded up.
const ROW_BYTES: usize = 1_200;
const REASON_BYTES: usize = 600;

/// <https://spec.openapis.org/oas/v3.1.1.html>
const DOCUMENT: &str = include_str!("openapi.json");
