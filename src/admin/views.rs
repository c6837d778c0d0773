//! What the ledger knows, as JSON: the same for the API, the page and the command line, from a running keyward or from its
//! store.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::parameters::{Page, Parameters, quote};
use super::problem::{Kind, Problem};
use crate::clock::Timestamp;
use crate::keys::access::Token;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{Names, SetIndex, Word};
use crate::ledger::Ledger;
use crate::ledger::answer::{Answer, Bar, BarRecord, Basis};
use crate::ledger::binding::{Binding, KeyUse};
use crate::ledger::identity::BindingId;
use crate::ledger::incident::Incident;
use crate::ledger::query::{Filter, FindError, ListedBinding, ListedIncident, Query};
use crate::ledger::recent::Past;
use crate::ledger::rhythm::Rhythm;
use crate::ledger::rotation::{CurrentKey, FullRow, OldKey, Progress, RotationView, Row, Silence, Standing};
use crate::ledger::seen::Finding;
use crate::ledger::senders::{Acceptance, SentFrom};
use crate::policy::rules::Rules;
use crate::telemetry::masked::mask_keys;

/// The parameters of [`bindings`].
pub const BINDINGS: [&str; 5] = ["set", "workflow", "state", "limit", "cursor"];

/// The parameters of [`incidents`].
pub const INCIDENTS: [&str; 5] = ["set", "workflow", "state", "limit", "cursor"];

/// The parameters of [`rotation`].
pub const ROTATION: [&str; 2] = ["limit", "cursor"];

/// The parameter of [`accept`].
pub const ACCEPT: [&str; 1] = ["reason"];

/// The states of bindings, and what the silence of one means.
pub const STATES: [&str; 7] = ["confirmed", "mixed", "stale", "silent", "overdue", "due_later", "acknowledged"];

/// The key sets: their keys, and how far each rotation is.
#[must_use]
pub fn sets(look: &Query<'_>, rules: &Rules, tokens: &[Token]) -> Value {
    let describe = |(index, name): (SetIndex, &std::sync::Arc<str>)| {
        let view = look.rotation(index);
        let keys = look.keys().iter().filter(|entry| entry.set == index);
        let is_valid = |token: &&Token| *token.set == **name && token.revoked.is_none();
        json!({
            "set": &**name,
            "policy": rules.of_set(index).policy.name(),
            "learned": view.learned,
            "tokens": tokens.iter().filter(is_valid).count(),
            "keys": keys.map(Entry::in_json).collect::<Vec<_>>(),
            "done": view.is_done(),
            "progress": progress(view.progress),
            "open_incidents": look.open_incidents(index),
            "old_keys": view.old_keys.iter().map(|old| summary(look, old)).collect::<Vec<_>>(),
        })
    };
    look.sets().map(describe).collect()
}

/// A page of the bindings, those that were seen last first.
pub fn bindings(look: &Query<'_>, asked: &Parameters) -> Result<Value, Problem> {
    let standing = asked.word("state", &STATES)?.map(Box::from);
    let rows = look.bindings(&Filter { standing, ..filter(look, asked)? });
    let total = rows.len();
    let place = |row: &ListedBinding| [row.memory.last_seen().map_or(i64::MIN, before), 0, signed(row.binding.id().0)];
    let (rows, next) = asked.page()?.cut(rows, place);
    let is_bad = |row: &&ListedBinding| matches!(row.standing, Some(Standing::Stale | Standing::Mixed));
    let sent_from = look.sent_from(&rows.iter().filter(is_bad).map(|row| row.binding.id()).collect());
    let row =
        |row: &ListedBinding| binding_row(look, row, sent_from.get(&row.binding.id()).map_or(&[][..], Vec::as_slice));
    Ok(json!({ "bindings": rows.iter().map(row).collect::<Vec<_>>(), "total": total, "next": next }))
}

/// One binding, with each key that it sent.
pub fn binding(look: &Query<'_>, id: &str) -> Result<Value, Problem> {
    Ok(whole_binding(look, &look.find(id).map_err(|error| not_found(&error))?))
}

/// A page of the incidents, the one that opened last first.
pub fn incidents(look: &Query<'_>, asked: &Parameters) -> Result<Value, Problem> {
    let open = asked.word("state", &["open", "closed"])?.map(|state| state == "open");
    let rows = look.incidents(&Filter { open, ..filter(look, asked)? });
    let total = rows.len();
    let place = |row: &ListedIncident| [before(row.incident.opened), 0, signed(row.incident.id.0)];
    let (rows, next) = asked.page()?.cut(rows, place);
    Ok(
        json!({ "incidents": rows.iter().map(|row| incident_row(look, row)).collect::<Vec<_>>(), "total": total, "next": next }),
    )
}

/// How far the rotation of a set is, with a page of its bindings: stale ones first.
pub fn rotation(look: &Query<'_>, set: &str, asked: &Parameters) -> Result<Value, Problem> {
    let view = look.rotation(set_named(look, set, Kind::NotFound)?);
    Ok(rotation_view(look, view, asked.page()?))
}

/// Why something is accepted, in a person's words: bounded, and in one line.
pub fn reason(asked: &Parameters) -> Result<Box<str>, Problem> {
    let text = asked.value("reason").map(str::trim).unwrap_or_default();
    let is_fit = !text.is_empty() && text.len() <= LONGEST_REASON && !text.chars().any(char::is_control);
    let allowed = || format!("`reason` says why, in one line of at most {LONGEST_REASON} bytes.");
    if is_fit { Ok(mask_keys(text).into()) } else { Err(Problem::new(Kind::BadQuery, allowed())) }
}

/// Accepts what bars an old key under that number, or takes that back; gives it as it is then.
pub fn accept(
    look: &Query<'_>,
    ledger: &Ledger,
    number: &str,
    accepted: Option<(Box<str>, Timestamp)>,
) -> Result<Value, Problem> {
    let unknown = || {
        let text = "No doubt that can be accepted has this number now: `keyward rotation` shows those that there are.";
        Problem::new(Kind::NotFound, text)
    };
    let (set, bar) = look.bar(number).ok_or_else(unknown)?;
    let acceptance = accepted.map(|(reason, at)| Acceptance { state: bar.state(), reason, at });
    ledger.accept_bar(set, bar.number, acceptance.clone());
    Ok(self::bar(look, &Bar { accepted: acceptance, ..bar }))
}

/// What is known of an execution: each of its last exchanges, and for earlier ones the last with each key.
#[must_use]
pub fn execution(look: &Query<'_>, id: &str) -> Value {
    let (past, remembered) = look.execution(id);
    let uses = |row: &ListedBinding| {
        let of_it = |used: &&KeyUse| used.execution.as_deref() == Some(id);
        let tell = |used: &KeyUse| {
            let mut told = who(look, &row.binding, &row.set, row.memory.name.as_deref());
            add(&mut told, key_use(used));
            Value::Object(told)
        };
        row.memory.uses.iter().filter(of_it).map(tell).collect::<Vec<_>>()
    };
    let exchanges: Vec<_> = past.iter().map(|past| exchange(look, past)).collect();
    let remembered: Vec<_> = remembered.iter().flat_map(uses).collect();
    let named = exchanges.iter().chain(&remembered).find_map(|row| row["workflow_name"].as_str()).map(str::to_owned);
    json!({ "execution_id": id, "workflow_name": named, "exchanges": exchanges, "remembered": remembered })
}

/// What a name that stands for no binding is answered with.
#[must_use]
pub fn not_found(error: &FindError) -> Problem {
    let kind = match error {
        FindError::NoId | FindError::NotFound => Kind::NotFound,
        FindError::Several(_) => Kind::Ambiguous,
    };
    let text = error.to_string();
    let (first, rest) = text.split_at(text.char_indices().nth(1).map_or(text.len(), |(at, _)| at));
    Problem::new(kind, format!("{}{rest}.", first.to_uppercase()))
}

fn filter(look: &Query<'_>, asked: &Parameters) -> Result<Filter, Problem> {
    let set = asked.value("set").map(|name| set_named(look, name, Kind::BadQuery)).transpose()?;
    Ok(Filter { set, workflow: asked.value("workflow").map(Box::from), ..Filter::default() })
}

fn set_named(look: &Query<'_>, name: &str, otherwise: Kind) -> Result<SetIndex, Problem> {
    let found = look.sets().find(|(_, known)| &***known == name).map(|(index, _)| index);
    found.ok_or_else(|| {
        let known: Vec<_> = look.sets().map(|(_, name)| &**name).collect();
        Problem::new(otherwise, format!("There is no key set {}; there are: {}.", quote(name), known.join(", ")))
    })
}

// === Bindings ===

fn binding_row(look: &Query<'_>, row: &ListedBinding, sent_from: &[SentFrom]) -> Value {
    let memory = &row.memory;
    let mut told = who(look, &row.binding, &row.set, memory.name.as_deref());
    let seen = memory.uses.iter().max_by_key(|used| used.last);
    let last = memory.latest.map(|latest| latest.finding).or(seen.map(|used| used.finding));
    let key = memory
        .latest
        .map_or(seen.and_then(|used| used.key), |latest| memory.of_key(latest.key).and_then(|used| used.key));
    add(&mut told, standing(row.standing));
    add(&mut told, public_names(key));
    add(
        &mut told,
        json!({
            "verdict": last.map(Finding::verdict),
            "diagnosis": last.map(Finding::diagnosis),
            "outcome": last.map(Finding::outcome),
            "first": memory.uses.iter().map(|used| used.first).min().map(|at| at.to_string()),
            "last": memory.last_seen().map(|at| at.to_string()),
            "sightings": memory.uses.iter().map(|used| used.sightings).sum::<u64>() + memory.other_keys,
            "execution_id": seen.and_then(|used| used.execution.as_deref()),
            "client_version": memory.client_version,
            "rhythm": rhythm(memory.visits.rhythm()),
            "incident": memory.incident.as_deref().map(incident),
            "senders": senders(look, sent_from),
        }),
    );
    Value::Object(told)
}

fn whole_binding(look: &Query<'_>, row: &ListedBinding) -> Value {
    let id = row.binding.id();
    let sent_from = look.sent_from(&HashSet::from([id])).remove(&id).unwrap_or_default();
    let mut told = binding_row(look, row, &sent_from);
    told["uses"] = row.memory.uses.iter().map(key_use).collect();
    told["other_keys"] = row.memory.other_keys.into();
    told
}

fn key_use(used: &KeyUse) -> Value {
    let mut told = names_of(used.key);
    add(
        &mut told,
        json!({
            "first": used.first.to_string(),
            "last": used.last.to_string(),
            "sightings": used.sightings,
            "verdict": used.finding.verdict(),
            "diagnosis": used.finding.diagnosis(),
            "outcome": used.finding.outcome(),
            "execution_id": used.execution,
            "upstream": used.word.map(Word::code),
        }),
    );
    Value::Object(told)
}

/// Whose it is: by the names that n8n has for it, or else the one that the caller gave.
fn who(look: &Query<'_>, binding: &Binding, set: &str, given: Option<&str>) -> Map<String, Value> {
    let (identity, named) = (binding.identity(), look.named(binding));
    let node = named.and_then(|named| named.node);
    let words = named.map_or_else(|| binding.describe(given), |named| binding.describe_named(&named));
    object(json!({
        "binding": binding.id().to_hex(),
        "set": set,
        "who": words,
        "holder": identity.holder.code(),
        "instance": identity.instance,
        "workflow_id": identity.workflow,
        "workflow_name": named.map(|named| &*named.workflow.name).or(given),
        "node_id": identity.node,
        "node_name": node.map(|node| &*node.name),
        "credential": node.and_then(|node| node.credential.as_deref()),
        "link": named.map(|named| named.link(None).to_string()),
        "client": identity.family.code(),
        "peer": identity.peer.to_string(),
    }))
}

/// How it stands: nothing where its set's rotations are not its own.
fn standing(standing: Option<Standing>) -> Value {
    let (mut due, mut acknowledged) = (None, None);
    match standing {
        Some(Standing::Silent(Silence::Overdue { since })) => due = Some(since),
        Some(Standing::Silent(Silence::DueLater { by })) => due = Some(by),
        Some(Standing::Silent(Silence::Acknowledged { at })) => acknowledged = Some(at),
        Some(Standing::Mixed | Standing::Stale | Standing::Confirmed) | None => {}
    }
    json!({
        "state": standing.map(Standing::code),
        "silence": standing.and_then(Standing::silence),
        "due": due.map(|at: Timestamp| at.to_string()),
        "acknowledged": acknowledged.map(|at: Timestamp| at.to_string()),
    })
}

fn rhythm(rhythm: Option<Rhythm>) -> Value {
    rhythm.map_or(Value::Null, |rhythm| {
        json!({
            "median_seconds": rhythm.median.as_secs(),
            "longest_seconds": rhythm.longest.as_secs(),
            "visits": rhythm.visits,
        })
    })
}

fn exchange(look: &Query<'_>, past: &Past) -> Value {
    let given = past.binding.memory().name;
    let mut told = who(look, &past.binding, look.set_of(&past.binding), given.as_deref());
    add(&mut told, public_names(past.key));
    let [message, remedy] =
        past.told.as_deref().map_or([None, None], |[message, remedy]| [Some(message), Some(remedy)]);
    add(
        &mut told,
        json!({
            "id": past.id.to_string(),
            "at": past.at.to_string(),
            "verdict": past.verdict,
            "diagnosis": past.diagnosis,
            "outcome": past.outcome,
            "action": past.action,
            "status": past.status,
            "message": message,
            "remedy": remedy,
        }),
    );
    Value::Object(told)
}

// === Incidents ===

fn incident_row(look: &Query<'_>, row: &ListedIncident) -> Value {
    let mut told = who(look, &row.binding, &row.set, row.workflow_name.as_deref());
    add(&mut told, incident(&row.incident));
    told.insert("senders".to_owned(), senders(look, &row.sent_from));
    Value::Object(told)
}

fn incident(incident: &Incident) -> Value {
    let mut told = names_of(incident.key);
    let closed = incident
        .closed
        .as_ref()
        .map(|closed| json!({ "at": closed.at.to_string(), "by": closed.by.code(), "execution_id": closed.execution }));
    add(
        &mut told,
        json!({
            "incident": incident.id.to_string(),
            "diagnosis": incident.diagnosis,
            "severity": incident.severity.code(),
            "opened": incident.opened.to_string(),
            "last": incident.last.to_string(),
            "sightings": incident.sightings,
            "execution_id": incident.execution,
            "closed": closed,
        }),
    );
    Value::Object(told)
}

// === The rotation ===

fn rotation_view(look: &Query<'_>, view: RotationView, page: Page) -> Value {
    let is_done = view.is_done();
    let place = |row: &Row| {
        let (rank, before, id) = row.place();
        [rank.into(), before, signed(id.0)]
    };
    let (rows, next) = page.cut(view.rows, place);
    let row = |row: &Row| {
        let sent_from = view.sent_from.get(&row.binding.id()).map_or(&[][..], Vec::as_slice);
        rotation_row(look, &row.in_full(), &view.name, sent_from)
    };
    json!({
        "set": &*view.name,
        "at": view.at.to_string(),
        "learned": view.learned,
        "current": view.current.iter().map(current_key).collect::<Vec<_>>(),
        "next_key": view.next.map(|names| names_of(Some(names))),
        "done": is_done,
        "progress": progress(view.progress),
        "bindings": rows.iter().map(row).collect::<Vec<_>>(),
        "old_keys": view.old_keys.iter().map(|old| old_key(look, old)).collect::<Vec<_>>(),
        "total": view.progress.total(),
        "next": next,
    })
}

fn current_key(key: &CurrentKey) -> Value {
    let mut told = names_of(Some(key.names));
    add(&mut told, json!({ "since": key.since.map(|at| at.to_string()), "refused_by_upstream": key.is_refused }));
    Value::Object(told)
}

fn progress(progress: Progress) -> Value {
    json!({
        "confirmed": progress.confirmed,
        "mixed": progress.mixed,
        "stale": progress.stale,
        "due_later": progress.due_later,
        "overdue": progress.overdue,
        "acknowledged": progress.acknowledged,
    })
}

fn rotation_row(look: &Query<'_>, row: &FullRow, set: &str, sent_from: &[SentFrom]) -> Value {
    let mut told = who(look, &row.binding, set, row.workflow_name.as_deref());
    add(&mut told, standing(Some(row.standing)));
    add(&mut told, public_names(row.key));
    add(
        &mut told,
        json!({
            "last": row.seen.to_string(),
            "rhythm": rhythm(row.rhythm),
            "incident": row.incident.as_deref().map(incident),
            "senders": senders(look, sent_from),
        }),
    );
    Value::Object(told)
}

/// Which keys came from where, and when: what came last comes first.
fn senders(look: &Query<'_>, sent_from: &[SentFrom]) -> Value {
    let sender = |sent: &SentFrom| {
        let known = look.keys().iter().find(|key| key.names.fingerprint == sent.key);
        let mut told = names_of(Some(known.map_or(Names { fingerprint: sent.key, hint: None }, |key| key.names)));
        add(
            &mut told,
            json!({
                "address": sent.address.map(|address| address.to_string()),
                "another_n8n": sent.is_another_n8n,
                "role": known.map(|key| key.role.name()),
                "first": sent.first.to_string(),
                "last": sent.last.to_string(),
            }),
        );
        Value::Object(told)
    };
    sent_from.iter().take(MOST_SENDERS).map(sender).collect()
}

/// An old key, with all that is known of it.
fn old_key(look: &Query<'_>, key: &OldKey) -> Value {
    let traffic =
        key.traffic.iter().map(|(hour, exchanges)| json!({ "hour": hour.to_string(), "exchanges": exchanges }));
    let mut told = object(summary(look, key));
    add(
        &mut told,
        json!({
            "retired_after": key.retired.after.map(|at| at.to_string()),
            "grace_until": key.grace_until.to_string(),
            "traffic": traffic.collect::<Vec<_>>(),
        }),
    );
    Value::Object(told)
}

/// An old key, and whether it can go.
fn summary(look: &Query<'_>, key: &OldKey) -> Value {
    let mut told = names_of(Some(key.names));
    add(
        &mut told,
        json!({
            "retired_by": key.retired.by.to_string(),
            "last_use": key.last_use.map(|at| at.to_string()),
            "can_go": answer(look, key.names.fingerprint, &key.can_go),
        }),
    );
    Value::Object(told)
}

/// Whether an old key can go, in words, with what bars it.
fn answer(look: &Query<'_>, old: Fingerprint, answer: &Answer) -> Value {
    let bars = |bars: &[Bar]| bars.iter().map(|one| bar(look, one)).collect::<Vec<_>>();
    let (mut doubts, mut basis) = (Vec::new(), Value::Null);
    match answer {
        Answer::No { but, .. } => doubts = bars(but),
        Answer::NotProven { .. } => {}
        Answer::Yes(yes) => basis = self::basis(yes, &bars(&yes.accepted)),
    }
    json!({
        "answer": answer.code(),
        "text": answer.to_string(),
        "reasons": bars(answer.bars()),
        "doubts": doubts,
        "by_credential": look.by_credential(old, answer.bars()).iter().map(by_credential).collect::<Vec<_>>(),
        "basis": basis,
    })
}

fn by_credential((record, text): &(BarRecord, String)) -> Value {
    json!({ "credential": &*record.title, "credential_id": &*record.name.id, "text": text })
}

/// Whether what bars an old key is about that credential.
#[must_use]
pub fn is_of_record(bar: &Value, record: &Value) -> bool {
    bar["credential_id"].is_string() && ["credential", "credential_id"].iter().all(|name| bar[name] == record[name])
}

/// The old keys that may stand in an n8n of that set, or of any where none is said, each with the answer.
#[must_use]
pub fn old_keys(look: &Query<'_>, of: Option<&str>) -> Vec<Value> {
    let of_set = |(set, name): (SetIndex, &std::sync::Arc<str>)| {
        let view = look.rotation(set);
        let tell = |old: &OldKey| {
            let mut told = object(summary(look, old));
            told.insert("set".to_owned(), (&**name).into());
            Value::Object(told)
        };
        view.old_keys.iter().map(tell).collect::<Vec<_>>()
    };
    look.sets().filter(|(_, name)| of.is_none_or(|of| of == &***name)).flat_map(of_set).collect()
}

/// Something that bars an old key from going.
#[must_use]
pub fn bar(look: &Query<'_>, bar: &Bar) -> Value {
    let node = bar.binding.and_then(|id| look.find(&id.to_hex()).ok()).and_then(|row| {
        let named = look.named(&row.binding)?;
        Some((
            named.workflow.name.to_string(),
            named.node.and_then(|node| node.credential.as_deref()).map(str::to_owned),
        ))
    });
    let (workflow, credential) = node.map_or((None, None), |(workflow, credential)| (Some(workflow), credential));
    let record = bar.record.as_ref();
    let credential = record.map(|record| record.title.to_string()).or(credential);
    let accepted = bar.accepted.as_ref();
    json!({
        "code": bar.code,
        "text": bar.to_string(),
        "binding": bar.binding.map(BindingId::to_hex),
        "address": bar.address.map(|address| address.to_string()),
        "credential": credential,
        "credential_id": record.map(|record| &*record.name.id),
        "workflow_name": workflow,
        "end": bar.end,
        "doubt": bar.can_accept.then(|| format!("{:08x}", bar.number)),
        "accepted": accepted.map(|one| json!({ "at": one.at.to_string(), "reason": &*one.reason })),
    })
}

fn basis(basis: &Basis, accepted: &[Value]) -> Value {
    json!({
        "nodes": basis.nodes,
        "senders": basis.senders,
        "audited": basis.audited.map(|at| at.to_string()),
        "quiet_since": basis.quiet_since.map(|at| at.to_string()),
        "accepted": accepted,
        "assumes": basis.assumes,
    })
}

// === Parts ===

fn public_names(names: Option<Names>) -> Value {
    Value::Object(names_of(names))
}

/// What a key is recognised by; nothing where none came.
fn names_of(names: Option<Names>) -> Map<String, Value> {
    object(json!({
        "fingerprint": names.map(|names| names.fingerprint.to_hex()),
        "hint": names.and_then(|names| names.hint).map(|hint| hint.to_string()),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}

fn add(object: &mut Map<String, Value>, more: Value) {
    object.extend(self::object(more));
}

/// The later, the further to the front.
fn before(at: Timestamp) -> i64 {
    -at.as_millis()
}

/// In the order of the numbers.
fn signed(id: u64) -> i64 {
    (id ^ (1 << 63)).cast_signed()
}

/// How many senders of a binding are told of.
const MOST_SENDERS: usize = 32;

/// How long a reason may be, in bytes.
const LONGEST_REASON: usize = 500;
