//! Pure. From answers to what people read: times as spans, rows as tables.

use std::time::Duration;

use super::output::Table;
use crate::answers::binding::{Rhythm, Row, Standing};
use crate::answers::incident::Incident;
use crate::answers::old_key::{CanGo, OfCredential, OldKeySummary, Reason};
use crate::answers::rotation::RotatingBinding;
use crate::answers::sender::Sender;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::RoleKind;
use crate::ledger::progress::Progress;
use crate::ledger::span::Span;
use crate::ledger::standing::{SilenceKind, StandingKind};

/// How long ago a moment was: `3 hours ago`.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(at, now))
}

/// The same in a column: `3h ago`.
pub(super) fn short_ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", short(now.since(at)))
}

/// How long it is since a moment: `3 hours`.
pub(super) fn span(at: Timestamp, now: Timestamp) -> Span {
    Span(now.since(at))
}

/// How often a binding comes.
pub(super) fn rhythm(rhythm: Option<&Rhythm>) -> String {
    let every = |rhythm: &Rhythm| format!("every {}", short(Duration::from_secs(rhythm.median_seconds)));
    rhythm.map_or_else(|| "-".to_owned(), every)
}

/// How a binding stands, in words.
pub(super) fn state(standing: &Standing) -> &'static str {
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
pub(super) fn note(row: &Row, now: Timestamp) -> String {
    if let Some(incident) = &row.incident {
        return incident.diagnosis.clone();
    }
    if row.standing.state == Some(StandingKind::Mixed) {
        return "old key as well".to_owned();
    }
    match (row.standing.silence, row.standing.due) {
        (Some(SilenceKind::Overdue), Some(due)) => format!("due {} ago", short(now.since(due))),
        (Some(SilenceKind::DueLater), Some(due)) => format!("due in {}", short(due.since(now))),
        (_, _) => String::new(),
    }
}

/// From where the bad key of a binding came: that of its incident, or of a mixed one a previous key.
pub(super) fn sent_from(row: &Row) -> String {
    let key = row.incident.as_ref().map_or(row.key.fingerprint, |incident| incident.key.fingerprint);
    let is_mixed = row.standing.state == Some(StandingKind::Mixed);
    let is_bad = |sender: &Sender| {
        if is_mixed { sender.role == Some(RoleKind::Previous) } else { is_of(sender, key) }
    };
    addresses(&row.senders, is_bad)
}

/// From where the key of an incident came.
pub(super) fn incident_from(incident: &Incident, senders: &[Sender]) -> String {
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

/// The bindings of a rotation.
pub(super) fn rotation_table(bindings: &[RotatingBinding], now: Timestamp) -> Table<8> {
    let mut table = Table::new(["STATE", "BINDING", "WHO", "KEY", "SEEN", "NOTE", "FROM", "USUALLY"]);
    for RotatingBinding { row, last } in bindings {
        table.row([
            state(&row.standing).to_owned(),
            row.who.short_id().to_owned(),
            row.who.in_words(),
            row.key.short(),
            short_ago(*last, now),
            note(row, now),
            sent_from(row),
            rhythm(row.rhythm.as_ref()),
        ]);
        table.shorten(WHO, &row.who.in_few_words());
    }
    table
}

/// How far a rotation is: `[######------] 12 of 24 confirmed, 3 stale, 9 due later`. While an old key is still sent or held,
/// the bar is not full.
pub(super) fn progress(progress: &Progress, keeps_old: bool) -> String {
    let full = (progress.confirmed + progress.acknowledged) * BAR / progress.total().max(1);
    let full = if keeps_old { full.min(BAR - 1) } else { full };
    let kept = if keeps_old { "; an old key is still sent or held" } else { "" };
    format!("[{}{}] {progress}{kept}", "#".repeat(full), "-".repeat(BAR - full))
}

/// Whether an old key can go, and why not: a sentence, then a line for each reason.
pub(super) fn old_key(old: &OldKeySummary, now: Timestamp) -> Vec<String> {
    let last =
        old.last_use.map_or_else(|| "never seen".to_owned(), |last_use| format!("last seen {}", ago(last_use, now)));
    let mut lines = vec![format!(
        "Old key {}, replaced {}, {last}. Can it go? {}",
        old.key,
        ago(old.retired_by, now),
        old.can_go.text
    )];
    let (by_record, rest) = old.can_go.by_record();
    lines.extend(by_record.iter().flat_map(|(record, reasons)| of_credential(record, reasons)));
    lines.extend(rest.into_iter().flat_map(of_reason));
    lines.extend(old.can_go.assumes().iter().map(|what| format!("  assumes: {what}")));
    lines
}

/// The same of a `no`, without what is not proven beside its reasons.
pub(super) fn old_key_that_stays(old: &OldKeySummary, now: Timestamp) -> Vec<String> {
    let can_go = CanGo { doubts: Vec::new(), ..old.can_go.clone() };
    old_key(&OldKeySummary { can_go, ..old.clone() }, now)
}

/// What bars an old key because of one credential: all that shows it, then what ends it.
fn of_credential(record: &OfCredential, reasons: &[&Reason]) -> Vec<String> {
    let mut lines = vec![format!("  - {}", record.text)];
    lines.extend(reasons.iter().map(|reason| format!("      {}", reason.text)));
    let mut ends: Vec<&str> = Vec::new();
    for end in reasons.iter().map(|reason| reason.end.as_str()) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    lines.extend(ends.into_iter().map(|end| format!("      ends: {end}")));
    let numbers: Vec<_> = reasons.iter().filter_map(|reason| reason.doubt.as_deref()).collect();
    if !numbers.is_empty() {
        lines.push(format!("      accept: keyward accept {} --reason …", numbers.join(" | ")));
    }
    lines
}

/// What bars an old key, what ends that, and how you accept it.
fn of_reason(reason: &Reason) -> Vec<String> {
    let mut lines = vec![format!("  - {}", reason.text)];
    if let Some(accepted) = &reason.accepted {
        lines.push(format!("      accepted: {}", accepted.reason));
        return lines;
    }
    if !reason.end.is_empty() {
        lines.push(format!("      ends: {}", reason.end));
    }
    if let Some(number) = &reason.doubt {
        lines.push(format!("      accept: keyward accept {number} --reason …"));
    }
    lines
}

/// A span by its largest unit, in as few characters as there may be.
fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let (unit, length) = units.into_iter().find(|(_, length)| seconds >= *length).unwrap_or(("s", 1));
    format!("{}{unit}", seconds / length)
}

/// How long the bar of a rotation is, in characters.
const BAR: usize = 24;

/// Where that column stands in each table.
pub(super) const WHO: usize = 2;

/// How many addresses a column names.
const MOST_ADDRESSES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::key::{KeyNames, PerhapsKey};
    use crate::answers::who::Who;
    use crate::ledger::identity::Holder;

    const NOW: Timestamp = Timestamp::from_millis(1_795_420_800_000);

    fn before(span: Duration) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() - i64::try_from(span.as_millis()).expect("a span"))
    }

    #[test]
    fn the_bar_is_full_when_nothing_is_left_to_do() {
        #[track_caller]
        fn check(counts: [usize; 5], keeps_old: bool, expected: &str) {
            let [confirmed, stale, due_later, overdue, acknowledged] = counts;
            let told = Progress { confirmed, mixed: 0, stale, failing: 0, due_later, overdue, acknowledged };
            assert_eq!(progress(&told, keeps_old), expected);
        }
        check([0; 5], false, "[------------------------] 0 of 0 confirmed");
        check([6, 3, 2, 0, 1], false, "[##############----------] 6 of 12 confirmed, 3 stale, 2 due later, 1 dead");
        check([3, 0, 0, 0, 1], false, "[########################] 3 of 4 confirmed, 1 dead");
        check([1, 0, 0, 0, 0], true, "[#######################-] 1 of 1 confirmed; an old key is still sent or held");
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
