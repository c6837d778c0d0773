//! Pure. From answers to what people read, the same on the command line and on the page: times as spans, how a binding
//! stands, where a key came from.

use std::time::Duration;

use super::binding::{Rhythm, Row, Standing};
use super::incident::Incident;
use super::sender::Sender;
use super::who::Who;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::RoleKind;
use crate::ledger::span::Span;
use crate::ledger::standing::{SilenceKind, StandingKind};
use crate::verdict::explain::DiagnosisKind;

/// How long ago a moment was: `3 hours ago`.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    if is_now(at, now) { JUST_NOW.to_owned() } else { format!("{} ago", span(at, now)) }
}

/// The same in a column: `3h ago`.
#[must_use]
pub fn short_ago(at: Timestamp, now: Timestamp) -> String {
    if is_now(at, now) { JUST_NOW.to_owned() } else { format!("{} ago", short(now.since(at))) }
}

/// How long it is since a moment: `3 hours`.
#[must_use]
pub fn span(at: Timestamp, now: Timestamp) -> Span {
    Span(now.since(at))
}

/// How often a binding comes.
#[must_use]
pub fn rhythm(rhythm: Option<&Rhythm>) -> String {
    let every = |rhythm: &Rhythm| format!("every {}", short(Duration::from_secs(rhythm.median_seconds)));
    rhythm.map_or_else(|| "-".to_owned(), every)
}

/// How a binding stands, in words.
#[must_use]
pub fn state(standing: &Standing) -> &'static str {
    match (standing.state, standing.silence) {
        (Some(StandingKind::Mixed), _) => "mixed",
        (Some(StandingKind::Stale), _) => "stale",
        (Some(StandingKind::Failing), _) => "failing",
        (Some(StandingKind::Confirmed), _) => "confirmed",
        (Some(StandingKind::Silent), Some(SilenceKind::Overdue)) => "overdue",
        (Some(StandingKind::Silent), Some(SilenceKind::DueLater)) => "due later",
        (Some(StandingKind::Silent), Some(SilenceKind::Acknowledged)) => "acknowledged",
        (Some(StandingKind::Silent) | None, _) => "-",
    }
}

/// What is to be said of a binding beside how it stands.
#[must_use]
pub fn note(row: &Row, now: Timestamp) -> String {
    if let Some(incident) = &row.incident {
        return incident.diagnosis.clone();
    }
    if row.standing.state == Some(StandingKind::Mixed) {
        return "old key as well".to_owned();
    }
    // A node fails without an incident where its account is out of credit alone.
    if row.standing.state == Some(StandingKind::Failing) {
        return DiagnosisKind::Quota.code().to_owned();
    }
    match (row.standing.silence, row.standing.due) {
        (Some(SilenceKind::Overdue), Some(due)) => format!("due {} ago", short(now.since(due))),
        (Some(SilenceKind::DueLater), Some(due)) => format!("due in {}", short(due.since(now))),
        (_, _) => String::new(),
    }
}

/// From where the bad key of a binding came: that of its incident, or of a mixed one a previous key.
#[must_use]
pub fn sent_from(row: &Row) -> String {
    let key = row.incident.as_ref().map_or(row.key.fingerprint, |incident| incident.key.fingerprint);
    let is_mixed = row.standing.state == Some(StandingKind::Mixed);
    let is_bad = |sender: &Sender| {
        if is_mixed { sender.role == Some(RoleKind::Previous) } else { is_of(sender, key) }
    };
    addresses(&row.senders, is_bad)
}

/// From where the key of an incident came.
#[must_use]
pub fn incident_from(incident: &Incident, senders: &[Sender]) -> String {
    addresses(senders, |sender| is_of(sender, incident.key.fingerprint))
}

fn is_of(sender: &Sender, key: Option<Fingerprint>) -> bool {
    Some(sender.key.fingerprint) == key
}

/// The addresses of bad senders; since a good key came as well, if that is so. Of several addresses, those that came last.
fn addresses(senders: &[Sender], is_bad: impl Fn(&Sender) -> bool) -> String {
    let is_good = |sender: &&Sender| matches!(sender.role, Some(RoleKind::Current | RoleKind::Next | RoleKind::Token));
    let good = senders.iter().filter(is_good).map(|sender| sender.first).min();
    // Where no good one came since, all that sent it did.
    let is_late = |sender: &Sender| good.is_some_and(|good| sender.last > good);
    let any_is_late = senders.iter().any(|sender| is_bad(sender) && is_late(sender));
    let chosen = senders.iter().filter(|sender| is_bad(sender) && (!any_is_late || is_late(sender)));
    let mut addresses: Vec<&str> = Vec::new();
    for address in chosen.filter_map(|sender| sender.address.as_deref()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let shown = addresses.iter().take(MOST_ADDRESSES).copied().collect::<Vec<_>>().join(", ");
    match addresses.len().saturating_sub(MOST_ADDRESSES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Those who share a workflow: `Inbox triage: Classify, Draft reply`. Where there is no name, its id stands, a node's in short.
#[must_use]
pub fn nodes_in_words(whos: &[&Who]) -> String {
    let Some(first) = whos.first() else { return String::new() };
    let Some(workflow) = first.workflow_name.as_ref().or(first.workflow_id.as_ref()) else { return first.in_words() };
    let mut nodes: Vec<String> = Vec::new();
    // Those that were seen last stand first in lists, but people read nodes as they run.
    for node in whos.iter().rev().filter_map(|who| short_node(who)) {
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    if nodes.is_empty() { workflow.clone() } else { format!("{workflow}: {}", nodes.join(", ")) }
}

/// The name of a node, or the first characters of its id.
#[must_use]
pub fn short_node(who: &Who) -> Option<String> {
    match (&who.node_name, &who.node_id) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(id)) => Some(id.chars().take(SHORT_NODE).collect()),
        (None, None) => None,
    }
}

/// How many of something: `1 node`, `2 nodes`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// A number as people read it: `50,000`.
#[must_use]
pub fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text as a sentence begins.
#[must_use]
pub fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn is_now(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < Duration::from_secs(1)
}

const JUST_NOW: &str = "just now";

/// A span by its largest unit, in as few characters as there may be.
fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let (unit, length) = units.into_iter().find(|(_, length)| seconds >= *length).unwrap_or(("s", 1));
    format!("{}{unit}", seconds / length)
}

/// How many characters of a node's id are shown, where it has no name.
const SHORT_NODE: usize = 8;

/// How many addresses a column names.
const MOST_ADDRESSES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::key::{KeyNames, PerhapsKey};
    use crate::ledger::identity::Holder;

    const NOW: Timestamp = Timestamp::from_millis(1_795_420_800_000);

    fn before(span: Duration) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() - i64::try_from(span.as_millis()).expect("a span"))
    }

    fn row() -> Row {
        let known = |text: &str| Some(text.to_owned());
        Row {
            who: Who {
                binding: "1bf3ef9e07aabbcc".to_owned(),
                set: "default".to_owned(),
                who: "sdk client".to_owned(),
                holder: Holder::Caller,
                instance: None,
                workflow_id: known("7bK2"),
                workflow_name: known("Report"),
                node_id: known("9f3c"),
                node_name: None,
                credential: None,
                link: None,
                client: "sdk".to_owned(),
                peer: "127.0.0.1".to_owned(),
            },
            standing: Standing {
                state: Some(StandingKind::Silent),
                silence: Some(SilenceKind::Overdue),
                due: Some(before(Duration::from_mins(2))),
                acknowledged: None,
            },
            key: PerhapsKey::default(),
            rhythm: Some(Rhythm { median_seconds: 300, longest_seconds: 400, visits: 3 }),
            incident: None,
            senders: Vec::new(),
        }
    }

    #[test]
    fn a_row_as_people_read_it() {
        let row = row();
        assert_eq!(ago(before(Duration::from_hours(3)), NOW), "3 hours ago");
        assert_eq!((ago(NOW, NOW), short_ago(NOW, NOW)), ("just now".to_owned(), "just now".to_owned()));
        assert_eq!((rhythm(row.rhythm.as_ref()).as_str(), rhythm(None).as_str()), ("every 5m", "-"));
        assert_eq!(row.who.short_id(), "1bf3ef9e07");
        assert_eq!(
            (row.who.in_words(), row.who.in_few_words()),
            ("Report (7bK2), node 9f3c".into(), "Report, 9f3c".into())
        );
        let client = Who { workflow_id: None, workflow_name: None, node_id: None, ..row.who.clone() };
        assert_eq!((client.in_words().as_str(), client.in_few_words().as_str()), ("sdk client", "sdk client"));
        assert_eq!((state(&row.standing), note(&row, NOW)), ("overdue", "due 2m ago".to_owned()));
    }

    fn sender(role: RoleKind, address: &str, first: i64, last: i64) -> Sender {
        let fingerprint = format!("{:032x}", role.position()).parse().expect("a fingerprint");
        Sender {
            address: Some(address.to_owned()),
            another_n8n: false,
            key: KeyNames { fingerprint, hint: None },
            role: Some(role),
            first: Timestamp::from_millis(first),
            last: Timestamp::from_millis(last),
        }
    }

    #[test]
    fn a_bad_key_came_from_where_it_came_last_beside_a_good_one() {
        #[track_caller]
        fn check(senders: Vec<Sender>, expected: &str) {
            let standing = Standing { state: Some(StandingKind::Mixed), ..Standing::default() };
            assert_eq!(sent_from(&Row { standing, senders, ..row() }), expected);
        }
        let old = |address, last| sender(RoleKind::Previous, address, 0, last);
        let good = sender(RoleKind::Current, "10.0.0.9", 50, 90);
        check(vec![old("10.0.0.2", 70), old("10.0.0.1", 40), good.clone()], "10.0.0.2");
        check(vec![old("10.0.0.2", 30), old("10.0.0.1", 20), good], "10.0.0.2, 10.0.0.1");
        let many = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"].map(|address| old(address, 9));
        check(many.into(), "10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more");
    }

    #[test]
    fn the_key_of_a_binding_that_is_not_mixed_came_from_where_just_that_key_did() {
        let senders = vec![sender(RoleKind::Previous, "10.0.0.1", 0, 9), sender(RoleKind::Next, "10.0.0.2", 50, 90)];
        let key = PerhapsKey { fingerprint: Some(senders[0].key.fingerprint), hint: None };
        let keyless = Row { senders, ..row() };
        assert_eq!(sent_from(&keyless), "");
        assert_eq!(sent_from(&Row { key, ..keyless }), "10.0.0.1");
    }
}
