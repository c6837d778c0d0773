//! What the ledger knows, as the answers have it: the same for the API, the page and the command line, from a running keyward
//! or from its store.

use std::collections::HashSet;

use super::parameters::{Page, Parameters, quote};
use super::problem::{Kind, Problem};
use super::reasons;
use crate::answers::binding::{self as answers, Bindings, KeyUse, WholeBinding};
use crate::answers::execution::{Execution, PastExchange, RememberedUse};
use crate::answers::headline::Holds;
use crate::answers::incident::{Incidents, ListedIncident};
use crate::answers::key::{Key, KeyNames};
use crate::answers::old_key::{ListedReasons, OldKey, OldKeyOfSet, OldKeySummary, Reason, Traffic};
use crate::answers::rotation::{CurrentKey, RotatingBinding, Rotation};
use crate::answers::sender::Sender;
use crate::answers::status::Set;
use crate::answers::who::Who;
use crate::clock::Timestamp;
use crate::keys::access::Token;
use crate::keys::rules::Rules;
use crate::keys::set::{Names, SetIndex};
use crate::ledger::Ledger;
use crate::ledger::answer::Bar;
use crate::ledger::binding::Binding;
use crate::ledger::old_key;
use crate::ledger::query::{self, BindingRow, Filter, FindError, ListedBinding, Query};
use crate::ledger::recent::Past;
use crate::ledger::rotation::RotationView;
use crate::ledger::rotation_row::{FullRow, Row};
use crate::ledger::senders::{Acceptance, SentFrom};
use crate::ledger::standing::{Silence, Standing};
use crate::page::home::OfSet;
use crate::telemetry::masked::mask_keys;

/// How far the rotation of a set is and how it went, with those of its bindings that are worth a look: those that are not well first,
/// and those that were confirmed last.
#[must_use]
pub fn course(look: &Query<'_>, set: SetIndex, holds: Holds) -> OfSet {
    let view = look.rotation(set);
    let (well, open): (Vec<_>, Vec<_>) = view.rows.iter().partition(|row| row.standing == Standing::Confirmed);
    let room = ROOM.saturating_sub(open.len()).max(LEAST_WELL);
    let shown: Vec<_> = open.iter().take(MOST_OPEN).chain(well.iter().take(room)).copied().collect();
    let good: Vec<_> =
        view.current.iter().map(|key| key.names.fingerprint).chain(view.next.map(|key| key.fingerprint)).collect();
    let due = |row: &Row| match row.standing {
        Standing::Silent(Silence::DueLater { by }) => Some(by),
        Standing::Silent(_) | Standing::Confirmed | Standing::Mixed | Standing::Stale | Standing::Failing { .. } => {
            None
        }
    };
    OfSet {
        new_traffic: traffic(&look.traffic(set, &good)),
        first_confirmed: look.first_use(set, &good),
        due: view.rows.iter().filter_map(due).min(),
        incidents: look.open_incidents(set),
        rotation: rotation_of(look, &view, &shown, None),
        holds,
    }
}

/// A page of the bindings that have that text in a name or an id, those that were seen last first.
pub fn search(look: &Query<'_>, asked: &Parameters) -> Result<Bindings, Problem> {
    let Some(text) = asked.value("q").map(str::to_lowercase) else { return bindings(look, asked) };
    let has = |row: &BindingRow| {
        let is_in = |part: Option<&str>| part.is_some_and(|part| part.to_lowercase().contains(&text));
        let (identity, named) = (row.binding.identity(), look.named(&row.binding));
        let node = named.and_then(|named| named.node);
        is_in(named.map(|named| &*named.workflow.name))
            || is_in(node.map(|node| &*node.name))
            || is_in(node.and_then(|node| node.credential.as_deref()))
            || is_in(identity.workflow)
            || is_in(identity.node)
            || is_in(row.binding.memory().name.as_deref())
            || row.binding.id().to_hex().starts_with(&text)
            || is_in(Some(&identity.peer.to_string()))
            || is_in(Some(identity.family.code()))
    };
    bindings_that(look, asked, has)
}

/// The incidents of a binding, the one that opened last first.
pub fn incidents_of(look: &Query<'_>, id: &str) -> Result<Vec<ListedIncident>, Problem> {
    let found = look.find(id).map_err(|error| not_found(&error))?.binding.id();
    let own = look.incidents(&Filter::default()).into_iter().filter(|row| row.binding.id() == found);
    Ok(own.take(MOST_INCIDENTS).map(|row| incident_row(look, &row)).collect())
}

/// The parameters of [`bindings`].
pub const BINDINGS: [&str; 5] = ["set", "workflow", "state", "limit", "cursor"];

/// The parameters of [`incidents`].
pub const INCIDENTS: [&str; 5] = ["set", "workflow", "state", "limit", "cursor"];

/// The parameters of [`rotation()`].
pub const ROTATION: [&str; 2] = ["limit", "cursor"];

/// The parameter of [`accept`].
pub const ACCEPT: [&str; 1] = ["reason"];

/// The states of bindings, and what the silence of one means.
pub const STATES: [&str; 8] =
    ["confirmed", "mixed", "stale", "failing", "silent", "overdue", "due_later", "acknowledged"];

/// The key sets: their keys, and how far each rotation is.
#[must_use]
pub fn sets(look: &Query<'_>, rules: &Rules, tokens: &[Token]) -> Vec<Set> {
    let describe = |(index, name): (SetIndex, &std::sync::Arc<str>)| {
        let view = look.rotation(index);
        let keys = look.keys().iter().filter(|entry| entry.set == index);
        let is_valid = |token: &&Token| *token.set == **name && token.is_valid(look.now());
        Set {
            set: name.to_string(),
            policy: rules.of_set(index.position()).policy,
            learned: view.learned,
            tokens: tokens.iter().filter(is_valid).count(),
            keys: keys.map(Key::from).collect(),
            done: view.is_done(),
            progress: view.progress,
            open_incidents: look.open_incidents(index),
            old_keys: view.old_keys.iter().map(|old| summary(look, old)).collect(),
        }
    };
    look.sets().map(describe).collect()
}

/// A page of the bindings, those that were seen last first.
pub fn bindings(look: &Query<'_>, asked: &Parameters) -> Result<Bindings, Problem> {
    bindings_that(look, asked, |_| true)
}

fn bindings_that(
    look: &Query<'_>,
    asked: &Parameters,
    is_one: impl Fn(&BindingRow) -> bool,
) -> Result<Bindings, Problem> {
    let standing = asked.word("state", &STATES)?.map(Box::from);
    let page = asked.page()?;
    let mut rows = look.rows(&Filter { standing, ..filter(look, asked)? });
    rows.retain(is_one);
    let place = |row: &BindingRow| [before(row.last), 0, signed(row.binding.id().0)];
    let (shown, next) = page.cut(&rows, place);
    let total = rows.len();
    let rows: Vec<_> = shown.iter().map(|row| look.in_full(row)).collect();
    let is_bad = |row: &&ListedBinding| row.standing.is_some_and(Standing::is_bad);
    let sent_from = look.sent_from(&rows.iter().filter(is_bad).map(|row| row.binding.id()).collect());
    let row = |row: &ListedBinding| binding_row(look, row, sent_from.get(&row.binding.id()).map_or(&[], Vec::as_slice));
    Ok(Bindings { bindings: rows.iter().map(row).collect(), total, next })
}

/// One binding, with each key that it sent.
pub fn binding(look: &Query<'_>, id: &str) -> Result<WholeBinding, Problem> {
    Ok(whole_binding(look, &look.find(id).map_err(|error| not_found(&error))?))
}

/// A page of the incidents, the one that opened last first.
pub fn incidents(look: &Query<'_>, asked: &Parameters) -> Result<Incidents, Problem> {
    let open = asked.word("state", &["open", "closed"])?.map(|state| state == "open");
    let page = asked.page()?;
    let rows = look.incidents(&Filter { open, ..filter(look, asked)? });
    let place = |row: &query::ListedIncident| [before(row.incident.opened), 0, signed(row.incident.id.0)];
    let (shown, next) = page.cut(&rows, place);
    let incidents = shown.iter().map(|row| incident_row(look, row)).collect();
    Ok(Incidents { incidents, total: rows.len(), next })
}

/// All incidents that are open, the one that opened last first.
#[must_use]
pub fn open_incidents(look: &Query<'_>) -> Vec<ListedIncident> {
    let rows = look.incidents(&Filter { open: Some(true), ..Filter::default() });
    rows.iter().map(|row| incident_row(look, row)).collect()
}

/// How far the rotation of a set is, with a page of its bindings: stale ones first.
pub fn rotation(look: &Query<'_>, set: &str, asked: &Parameters) -> Result<Rotation, Problem> {
    let (set, page) = (set_named(look, set, Kind::NotFound)?, asked.page()?);
    Ok(rotation_view(look, &look.rotation(set), page))
}

/// A page of all that bars the old keys of a set.
pub fn reasons(look: &Query<'_>, set: &str, asked: &Parameters) -> Result<ListedReasons, Problem> {
    reasons::listed(look, set_named(look, set, Kind::NotFound)?, asked)
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
) -> Result<Reason, Problem> {
    let (set, bar) = look.bar(number).ok_or_else(no_such_doubt)?;
    let acceptance = accepted.map(|(reason, at)| Acceptance { state: bar.state(), reason, at });
    ledger.accept_bar(set, bar.number, acceptance.clone());
    Ok(reasons::reason_of(look, &Bar { accepted: acceptance.map(Box::new), ..bar }))
}

/// What bars an old key under that number, if you can accept it.
pub fn doubt(look: &Query<'_>, number: &str) -> Result<Reason, Problem> {
    look.bar(number).map(|(_, bar)| reasons::reason_of(look, &bar)).ok_or_else(no_such_doubt)
}

fn no_such_doubt() -> Problem {
    let text = "No doubt that can be accepted has this number now. A number changes with what its doubt rests on, such as \
                another use of the old key: `keyward rotation` shows those that there are.";
    Problem::new(Kind::NotFound, text)
}

/// What is known of an execution: each of its last exchanges, and for earlier ones the last with each key.
#[must_use]
pub fn execution(look: &Query<'_>, id: &str) -> Execution {
    let (past, remembered) = look.execution(id);
    let uses = |row: &ListedBinding| {
        let who = who(look, &row.binding, &row.set, row.memory.name.as_deref());
        let of_it = row.memory.uses.iter().filter(|used| used.execution.as_deref() == Some(id));
        of_it.map(|used| RememberedUse { who: who.clone(), used: used.into() }).collect::<Vec<_>>()
    };
    let exchanges: Vec<_> = past.iter().map(|past| exchange(look, past)).collect();
    let remembered: Vec<_> = remembered.iter().flat_map(uses).collect();
    let mut all = exchanges.iter().map(|row| &row.who).chain(remembered.iter().map(|row| &row.who));
    let workflow_name = all.find_map(|who| who.workflow_name.clone());
    Execution { execution_id: id.to_owned(), workflow_name, exchanges, remembered }
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

fn binding_row(look: &Query<'_>, row: &ListedBinding, sent_from: &[SentFrom]) -> answers::Binding {
    let memory = &row.memory;
    let seen = memory.uses.iter().max_by_key(|used| used.last);
    let last = memory.latest.map(|latest| latest.finding).or(seen.map(|used| used.finding));
    let key = memory
        .latest
        .map_or(seen.and_then(|used| used.key), |latest| memory.of_key(latest.key).and_then(|used| used.key));
    answers::Binding {
        row: answers::Row {
            who: who(look, &row.binding, &row.set, memory.name.as_deref()),
            standing: row.standing.into(),
            key: key.into(),
            rhythm: memory.visits.rhythm().map(Into::into),
            incident: memory.incident.as_deref().map(Into::into),
            senders: senders(look, sent_from),
        },
        verdict: last.map(|last| last.verdict().to_owned()),
        diagnosis: last.map(|last| last.diagnosis().to_owned()),
        outcome: last.map(|last| last.outcome().to_owned()),
        first: memory.uses.iter().map(|used| used.first).min(),
        last: memory.last_seen(),
        sightings: memory.uses.iter().map(|used| used.sightings).sum::<u64>() + memory.other_keys,
        execution_id: seen.and_then(|used| used.execution.as_deref()).map(str::to_owned),
        client_version: memory.client_version.as_deref().map(str::to_owned),
    }
}

fn whole_binding(look: &Query<'_>, row: &ListedBinding) -> WholeBinding {
    let id = row.binding.id();
    let sent_from = look.sent_from(&HashSet::from([id])).remove(&id).unwrap_or_default();
    WholeBinding {
        binding: binding_row(look, row, &sent_from),
        uses: row.memory.uses.iter().map(KeyUse::from).collect(),
        other_keys: row.memory.other_keys,
    }
}

/// Whose it is: by the names that n8n has for it, or else the one that the caller gave.
fn who(look: &Query<'_>, binding: &Binding, set: &str, given: Option<&str>) -> Who {
    let (identity, named) = (binding.identity(), look.named(binding));
    let node = named.and_then(|named| named.node);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Who {
        binding: binding.id().to_hex(),
        set: set.to_owned(),
        who: named.map_or_else(|| binding.describe(given), |named| binding.describe_named(&named)),
        holder: identity.holder,
        instance: owned(identity.instance),
        workflow_id: owned(identity.workflow),
        workflow_name: owned(named.map(|named| &*named.workflow.name).or(given)),
        node_id: owned(identity.node),
        node_name: owned(node.map(|node| &*node.name)),
        credential: owned(node.and_then(|node| node.credential.as_deref())),
        link: named.map(|named| named.link(None).to_string()),
        client: identity.family.code().to_owned(),
        peer: identity.peer.to_string(),
    }
}

fn exchange(look: &Query<'_>, past: &Past) -> PastExchange {
    let given = past.binding.memory().name;
    let [message, remedy] = past.told.as_deref().cloned().map_or([None, None], |told| told.map(Some));
    PastExchange {
        who: who(look, &past.binding, look.set_of(&past.binding), given.as_deref()),
        key: past.key.into(),
        id: past.id.to_string(),
        at: past.at,
        verdict: past.verdict.to_owned(),
        diagnosis: past.diagnosis.to_owned(),
        outcome: past.outcome.to_owned(),
        action: past.action.to_owned(),
        status: past.status,
        message,
        remedy,
    }
}

// === Incidents ===

fn incident_row(look: &Query<'_>, row: &query::ListedIncident) -> ListedIncident {
    ListedIncident {
        who: who(look, &row.binding, &row.set, row.workflow_name.as_deref()),
        incident: (&row.incident).into(),
        senders: senders(look, &row.sent_from),
    }
}

// === The rotation ===

fn rotation_view(look: &Query<'_>, view: &RotationView, page: Page) -> Rotation {
    let place = |row: &Row| {
        let (rank, before, id) = row.place();
        [rank.into(), before, signed(id.0)]
    };
    let (rows, next) = page.cut(&view.rows, place);
    rotation_of(look, view, &rows.iter().collect::<Vec<_>>(), next)
}

fn rotation_of(look: &Query<'_>, view: &RotationView, rows: &[&Row], next: Option<String>) -> Rotation {
    let sent_from = look.sent_from(&rows.iter().filter(|row| row.standing.is_bad()).map(|row| row.id).collect());
    let row = |row: &&Row| {
        let sent_from = sent_from.get(&row.id).map_or(&[][..], Vec::as_slice);
        rotation_row(look, &row.in_full(), &view.name, sent_from)
    };
    Rotation {
        set: view.name.to_string(),
        at: view.at,
        learned: view.learned,
        current: view.current.iter().map(CurrentKey::from).collect(),
        next_key: view.next.map(KeyNames::from),
        done: view.is_done(),
        progress: view.progress,
        bindings: rows.iter().map(row).collect(),
        old_keys: view.old_keys.iter().map(|old| old_key(look, old)).collect(),
        total: view.progress.total(),
        next,
    }
}

fn rotation_row(look: &Query<'_>, row: &FullRow, set: &str, sent_from: &[SentFrom]) -> RotatingBinding {
    RotatingBinding {
        row: answers::Row {
            who: who(look, &row.binding, set, row.workflow_name.as_deref()),
            standing: Some(row.standing).into(),
            key: row.key.into(),
            rhythm: row.rhythm.map(Into::into),
            incident: row.incident.as_deref().map(Into::into),
            senders: senders(look, sent_from),
        },
        last: row.seen,
    }
}

/// Which keys came from where, and when: what came last comes first.
fn senders(look: &Query<'_>, sent_from: &[SentFrom]) -> Vec<Sender> {
    let sender = |sent: &SentFrom| {
        let known = look.keys().iter().find(|key| key.names.fingerprint == sent.key);
        let names = known.map_or(Names { fingerprint: sent.key, hint: None }, |key| key.names);
        Sender {
            address: sent.address.map(|address| address.to_string()),
            another_n8n: sent.is_another_n8n,
            key: names.into(),
            role: known.map(|key| key.role.kind()),
            first: sent.first,
            last: sent.last,
        }
    };
    sent_from.iter().take(MOST_SENDERS).map(sender).collect()
}

/// An old key, with all that is known of it.
fn old_key(look: &Query<'_>, key: &old_key::OldKey) -> OldKey {
    OldKey {
        summary: summary(look, key),
        retired_after: key.retired.after,
        grace_until: key.grace_until,
        traffic: traffic(&key.traffic),
    }
}

fn traffic(hours: &[(Timestamp, u64)]) -> Vec<Traffic> {
    hours.iter().map(|(hour, exchanges)| Traffic { hour: *hour, exchanges: *exchanges }).collect()
}

/// An old key, and whether it can go.
fn summary(look: &Query<'_>, key: &old_key::OldKey) -> OldKeySummary {
    OldKeySummary {
        key: key.names.into(),
        retired_by: key.retired.by,
        last_use: key.last_use,
        can_go: reasons::can_go(look, key.names.fingerprint, &key.can_go),
    }
}

/// The old keys that may stand in an n8n of that set, or of any where none is said, each with the answer.
#[must_use]
pub fn old_keys(look: &Query<'_>, of: Option<&str>) -> Vec<OldKeyOfSet> {
    let of_set = |(set, name): (SetIndex, &std::sync::Arc<str>)| {
        let tell = |old: &old_key::OldKey| OldKeyOfSet { set: name.to_string(), summary: summary(look, old) };
        look.rotation(set).old_keys.iter().map(tell).collect::<Vec<_>>()
    };
    look.sets().filter(|(_, name)| of.is_none_or(|of| of == &***name)).flat_map(of_set).collect()
}

// === Places in a list ===

/// The later, the further to the front.
fn before(at: Timestamp) -> i64 {
    -at.as_millis()
}

/// In the order of the numbers.
fn signed(id: u64) -> i64 {
    (id ^ (1 << 63)).cast_signed()
}

/// How many of those that are not well stand on the page of the rotation.
const MOST_OPEN: usize = 100;

/// How many of those that are well stand there even so.
const LEAST_WELL: usize = 12;

/// Up to how many in all, those that are well fill it up.
const ROOM: usize = 40;

/// How many incidents of a binding are told of.
const MOST_INCIDENTS: usize = 50;

/// How many senders of a binding are told of.
const MOST_SENDERS: usize = 32;

/// How long a reason may be, in bytes.
const LONGEST_REASON: usize = 500;
