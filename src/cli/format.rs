//! Pure. From the answers' JSON to what people read: times as spans, rows as tables, and nothing that could steer a terminal.

use std::time::Duration;

use serde_json::Value;

use super::output::Table;
use crate::admin::views::is_of_record;
use crate::clock::Timestamp;
use crate::ledger::rotation::Progress;
use crate::ledger::span::Span;
use crate::n8n::report::is_kept;

/// A field's text; `-` where there is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// A field's number.
pub(super) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// How long ago a moment was: `3 hours ago`.
pub(super) fn ago(value: &Value, now: Timestamp) -> String {
    moment(value).map_or_else(|| "-".to_owned(), |at| format!("{} ago", Span(now.since(at))))
}

/// The same in a column: `3h ago`.
pub(super) fn short_ago(value: &Value, now: Timestamp) -> String {
    moment(value).map_or_else(|| "-".to_owned(), |at| format!("{} ago", short(now.since(at))))
}

/// How long it is since a moment: `3 hours`.
pub(super) fn span(value: &Value, now: Timestamp) -> String {
    moment(value).map_or_else(|| "-".to_owned(), |at| Span(now.since(at)).to_string())
}

/// Whose a binding is, what is known best first: `Report (7bK2), node Summary (9f3c)`.
pub(super) fn who(row: &Value) -> String {
    let Some(id) = row["workflow_id"].as_str() else { return text(&row["who"]).to_owned() };
    let workflow = row["workflow_name"].as_str().map_or_else(|| id.to_owned(), |name| format!("{name} ({id})"));
    match (row["node_name"].as_str(), row["node_id"].as_str()) {
        (Some(name), Some(node)) => format!("{workflow}, node {name} ({node})"),
        (None, Some(node)) => format!("{workflow}, node {node}"),
        (_, None) => workflow,
    }
}

/// A key in a column: its hint, or else the beginning of its fingerprint.
pub(super) fn short_key(names: &Value) -> String {
    let short = || names["fingerprint"].as_str().and_then(|digits| digits.get(..8));
    names["hint"].as_str().or_else(short).unwrap_or("none").to_owned()
}

/// A key by what it is recognised by.
pub(super) fn key(names: &Value) -> String {
    let short = names["fingerprint"].as_str().and_then(|digits| digits.get(..8));
    match (names["hint"].as_str(), short) {
        (Some(hint), Some(short)) => format!("{hint} ({short})"),
        (None, Some(short)) => short.to_owned(),
        (_, None) => "no key".to_owned(),
    }
}

/// How often a binding comes.
pub(super) fn rhythm(rhythm: &Value) -> String {
    let span = |seconds| format!("every {}", short(Duration::from_secs(seconds)));
    rhythm["median_seconds"].as_u64().map_or_else(|| "-".to_owned(), span)
}

/// How a binding stands, in words.
pub(super) fn state(row: &Value) -> &'static str {
    match (row["state"].as_str(), row["silence"].as_str()) {
        (Some("mixed"), _) => "mixed",
        (Some("stale"), _) => "stale",
        (Some("confirmed"), _) => "confirmed",
        (_, Some("overdue")) => "overdue",
        (_, Some("due_later")) => "due later",
        (_, Some("acknowledged")) => "acknowledged",
        (_, _) => "-",
    }
}

/// The digits by which people name a binding.
pub(super) fn short_id(row: &Value) -> String {
    row["binding"].as_str().and_then(|id| id.get(..10)).unwrap_or("-").to_owned()
}

/// What is to be said of a binding beside how it stands.
pub(super) fn note(row: &Value, now: Timestamp) -> String {
    if let Some(diagnosis) = row["incident"]["diagnosis"].as_str() {
        return diagnosis.to_owned();
    }
    if row["state"] == "mixed" {
        return "old key as well".to_owned();
    }
    match (row["silence"].as_str(), moment(&row["due"])) {
        (Some("overdue"), Some(due)) => format!("due {} ago", short(now.since(due))),
        (Some("due_later"), Some(due)) => format!("due in {}", short(due.since(now))),
        (_, _) => String::new(),
    }
}

/// From where a bad key came: that of an incident, or of a mixed row a previous one; since a good one came as well, if that is so.
/// Of several addresses, those that came last.
pub(super) fn sent_from(row: &Value) -> String {
    let senders = || row["senders"].as_array().into_iter().flatten();
    let key = if row["incident"].is_object() { &row["incident"]["fingerprint"] } else { &row["fingerprint"] };
    let is_bad = |sender: &Value| match row["state"].as_str() {
        Some("mixed") => sender["role"] == "previous",
        Some(_) | None => sender["fingerprint"] == *key,
    };
    let is_good = |sender: &&Value| matches!(sender["role"].as_str(), Some("current" | "next" | "token"));
    let good = senders().filter(is_good).filter_map(|sender| moment(&sender["first"])).min();
    // Where no good one came since, all that sent it did.
    let is_late = |sender: &Value| good.is_some_and(|good| moment(&sender["last"]).is_some_and(|last| last > good));
    let any_is_late = senders().any(|sender| is_bad(sender) && is_late(sender));
    let chosen = senders().filter(|sender| is_bad(sender) && (!any_is_late || is_late(sender)));
    let mut addresses: Vec<&str> = Vec::new();
    for address in chosen.filter_map(|sender| sender["address"].as_str()) {
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

/// The same in a column that is too narrow for it: `Report, Summary`.
pub(super) fn short_who(row: &Value) -> String {
    let name = |name: &str, id: &str| row[name].as_str().or(row[id].as_str()).map(str::to_owned);
    match (name("workflow_name", "workflow_id"), name("node_name", "node_id")) {
        (Some(workflow), Some(node)) => format!("{workflow}, {node}"),
        (Some(workflow), None) => workflow,
        (None, _) => who(row),
    }
}

/// The bindings of a rotation.
pub(super) fn rotation_table(rows: &[Value], now: Timestamp) -> Table<8> {
    let mut table = Table::new(["STATE", "BINDING", "WHO", "KEY", "SEEN", "NOTE", "FROM", "USUALLY"]);
    for row in rows {
        let (seen, usually) = (short_ago(&row["last"], now), rhythm(&row["rhythm"]));
        let from = sent_from(row);
        table.row([
            state(row).to_owned(),
            short_id(row),
            who(row),
            short_key(row),
            seen,
            note(row, now),
            from,
            usually,
        ]);
        table.shorten(WHO, &short_who(row));
    }
    table
}

/// How far a rotation is: `[######------] 12 of 24 confirmed, 3 stale, 9 due later`. While an old key is still sent or held,
/// the bar is not full.
pub(super) fn progress(view: &Value) -> String {
    let of = |name: &str| usize::try_from(count(&view["progress"][name]).min(MOST)).unwrap_or_default();
    let progress = Progress {
        confirmed: of("confirmed"),
        mixed: of("mixed"),
        stale: of("stale"),
        due_later: of("due_later"),
        overdue: of("overdue"),
        acknowledged: of("acknowledged"),
    };
    let full = (progress.confirmed + progress.acknowledged) * BAR / progress.total().max(1);
    let is_kept = keeps_old(view);
    let full = if is_kept { full.min(BAR - 1) } else { full };
    let kept = if is_kept { "; an old key is still sent or held" } else { "" };
    format!("[{}{}] {progress}{kept}", "#".repeat(full), "-".repeat(BAR - full))
}

/// Whether an old key of a set is still sent or held.
pub(super) fn keeps_old(set: &Value) -> bool {
    set["old_keys"].as_array().is_some_and(|keys| keys.iter().any(is_kept))
}

/// Whether an old key can go, and why not: a sentence, then a line for each reason.
pub(super) fn old_key(old: &Value, now: Timestamp) -> Vec<String> {
    let can_go = &old["can_go"];
    let last = if old["last_use"].is_null() {
        "never seen".to_owned()
    } else {
        format!("last seen {}", ago(&old["last_use"], now))
    };
    let mut lines = vec![format!(
        "Old key {}, replaced {}, {last}. Can it go? {}",
        key(old),
        ago(&old["retired_by"], now),
        text(&can_go["text"])
    )];
    let all = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let mut bars = [&can_go["reasons"], &can_go["doubts"], &can_go["basis"]["accepted"]].map(all).concat();
    for record in can_go["by_credential"].as_array().into_iter().flatten() {
        let own: Vec<_> = bars.extract_if(.., |bar| is_of_record(bar, record)).collect();
        lines.extend(of_credential(text(&record["text"]), &own));
    }
    lines.extend(bars.iter().flat_map(of_bar));
    let assumes = can_go["basis"]["assumes"].as_array().into_iter().flatten();
    lines.extend(assumes.map(|what| format!("  assumes: {}", text(what))));
    lines
}

/// The same of a `no`, without what is not proven beside its reasons.
pub(super) fn old_key_that_stays(old: &Value, now: Timestamp) -> Vec<String> {
    let mut told = old.clone();
    told["can_go"]["doubts"] = Value::Null;
    old_key(&told, now)
}

/// What bars an old key because of one credential: all that shows it, then what ends it.
fn of_credential(credential: &str, bars: &[Value]) -> Vec<String> {
    let mut lines = vec![format!("  - {credential}")];
    lines.extend(bars.iter().map(|bar| format!("      {}", text(&bar["text"]))));
    let mut ends: Vec<&str> = Vec::new();
    for end in bars.iter().map(|bar| text(&bar["end"])) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    lines.extend(ends.into_iter().map(|end| format!("      ends: {end}")));
    let numbers: Vec<_> = bars.iter().filter_map(|bar| bar["doubt"].as_str()).collect();
    if !numbers.is_empty() {
        lines.push(format!("      accept: keyward accept {} --reason …", numbers.join(" | ")));
    }
    lines
}

/// What bars an old key, what ends that, and how you accept it.
fn of_bar(bar: &Value) -> Vec<String> {
    let mut lines = vec![format!("  - {}", text(&bar["text"]))];
    if let Some(why) = bar["accepted"]["reason"].as_str() {
        lines.push(format!("      accepted: {why}"));
        return lines;
    }
    if let Some(end) = bar["end"].as_str().filter(|end| !end.is_empty()) {
        lines.push(format!("      ends: {end}"));
    }
    if let Some(number) = bar["doubt"].as_str() {
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

/// A moment as JSON has it.
pub(super) fn moment(value: &Value) -> Option<Timestamp> {
    let moment: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

/// How long the bar of a rotation is, in characters.
const BAR: usize = 24;

/// Where that column stands in each table.
pub(super) const WHO: usize = 2;

/// How many addresses a column names.
const MOST_ADDRESSES: usize = 3;

/// More bindings than there can be: whatever is told, it can be added up.
const MOST: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bar_is_full_when_nothing_is_left_to_do() {
        #[track_caller]
        fn check(counts: [u64; 5], expected: &str) {
            let [confirmed, stale, due_later, overdue, acknowledged] = counts;
            let told = json!({ "confirmed": confirmed, "stale": stale, "due_later": due_later, "overdue": overdue,
                "acknowledged": acknowledged });
            assert_eq!(progress(&json!({ "progress": told })), expected);
        }
        check([0; 5], "[------------------------] 0 of 0 confirmed");
        check([6, 3, 2, 0, 1], "[##############----------] 6 of 12 confirmed, 3 stale, 2 due later, 1 dead");
        check([3, 0, 0, 0, 1], "[########################] 3 of 4 confirmed, 1 dead");
    }

    #[test]
    fn spans_and_keys_as_people_say_them() {
        let now = Timestamp::from_millis(1_795_420_800_000);
        assert_eq!(ago(&json!("2026-11-23T05:00:00Z"), now), "3 hours ago");
        assert_eq!(ago(&Value::Null, now), "-");
        assert_eq!(key(&json!({ "fingerprint": "0123456789abcdef", "hint": "sk-…AbCd" })), "sk-…AbCd (01234567)");
        assert_eq!(key(&json!({ "fingerprint": null, "hint": null })), "no key");
        assert_eq!(rhythm(&json!({ "median_seconds": 300 })), "every 5m");
        assert_eq!(
            (short_key(&json!({ "fingerprint": "0123456789abcdef" })).as_str(), short_key(&json!({})).as_str()),
            ("01234567", "none")
        );
        let row = json!({ "workflow_id": "7bK2", "workflow_name": "Report", "node_id": "9f3c", "who": "…" });
        assert_eq!(
            (who(&row).as_str(), who(&json!({ "who": "sdk client" })).as_str()),
            ("Report (7bK2), node 9f3c", "sdk client")
        );
        let late = json!({ "state": "silent", "silence": "overdue", "due": "2026-11-23T07:58:00Z", "incident": null });
        assert_eq!((state(&late), note(&late, now)), ("overdue", "due 2m ago".to_owned()));
    }
}
