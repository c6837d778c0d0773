//! What a rotation did, for those who ask later: Markdown, or JSON.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::output::remark;
use crate::clock::Timestamp;
use crate::rotate::journal::{End, Run};

/// Writes it into that file, by whose ending it is JSON or Markdown.
pub(super) fn write(run: &Run, path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let text = if is_json { serde_json::to_string_pretty(&in_json(run))? + "\n" } else { in_markdown(run) };
    std::fs::write(path, text).with_context(|| format!("the report cannot be written to {}", path.display()))?;
    remark(format_args!("The report stands in {}.", path.display()));
    Ok(())
}

fn in_json(run: &Run) -> serde_json::Value {
    let at = |millis: i64| Timestamp::from_millis(millis).to_string();
    serde_json::json!({
        "rotation": run.id,
        "set": run.set,
        "began": at(run.began),
        "ended": run.ended.map(|ended| at(ended.at)),
        "result": run.ended.map_or("open", |ended| ended.how.code()),
        "step": run.step.code(),
        "old_key": key(run.old.fingerprint.as_str(), run.old.hint.as_deref(), run.old.id.as_deref()),
        "new_key": run.new.as_ref().map(|new| key(&new.fingerprint, new.hint.as_deref(), new.id.as_deref())),
        "credentials": run.records.iter().map(|record| serde_json::json!({
            "n8n": record.n8n, "id": record.id, "name": record.name, "changed": record.changed.map(at),
        })).collect::<Vec<_>>(),
        "consumers": run.consumers.iter().map(|consumer| serde_json::json!({
            "who": consumer.who, "state": consumer.state, "confirmed": consumer.confirmed.map(at), "last": at(consumer.last),
        })).collect::<Vec<_>>(),
        "accepted": run.accepted.iter().map(|one| serde_json::json!({
            "code": one.what, "text": one.text, "reason": one.reason, "at": at(one.at),
        })).collect::<Vec<_>>(),
        "events": run.events.iter().map(|event| serde_json::json!({
            "at": at(event.at), "step": event.step.code(), "text": event.text,
        })).collect::<Vec<_>>(),
    })
}

fn key(fingerprint: &str, hint: Option<&str>, id: Option<&str>) -> serde_json::Value {
    serde_json::json!({ "fingerprint": fingerprint, "hint": hint, "id": id })
}

fn in_markdown(run: &Run) -> String {
    let at = |millis: i64| Timestamp::from_millis(millis).to_string();
    let mut text = format!("# Rotation of key set {}\n\n", run.set);
    let result = match run.ended {
        Some(ended) if ended.how == End::Done => format!("done {}", at(ended.at)),
        Some(ended) => format!("taken back {}", at(ended.at)),
        None => format!("not finished, at step {}", run.step.code()),
    };
    let new = run.new.as_ref().map_or_else(|| "none yet".to_owned(), |new| named(&new.to_string(), new.id.as_deref()));
    let _ = writeln!(
        text,
        "| | |\n|---|---|\n| began | {} |\n| result | {result} |\n| old key | {} |\n| new key | {new} |\n",
        at(run.began),
        named(&run.old.to_string(), run.old.id.as_deref())
    );
    table(
        &mut text,
        "n8n's credentials",
        ["credential", "n8n", "changed"],
        run.records.iter().map(|record| {
            [
                format!("{} ({})", record.name, record.id),
                record.n8n.clone(),
                record.changed.map_or_else(|| "no".to_owned(), at),
            ]
        }),
    );
    table(
        &mut text,
        "Consumers",
        ["who", "state", "sent the new key first", "seen last"],
        run.consumers.iter().map(|consumer| {
            let first = consumer.confirmed.map_or_else(|| "-".to_owned(), at);
            [consumer.who.clone(), consumer.state.clone(), first, at(consumer.last)]
        }),
    );
    table(
        &mut text,
        "Accepted",
        ["what", "why", "when"],
        run.accepted.iter().map(|one| [format!("{}: {}", one.what, one.text), one.reason.clone(), at(one.at)]),
    );
    table(
        &mut text,
        "What happened",
        ["when", "step", "what"],
        run.events.iter().map(|event| [at(event.at), event.step.code().to_owned(), event.text.clone()]),
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn named(key: &str, id: Option<&str>) -> String {
    id.map_or_else(|| key.to_owned(), |id| format!("{key}, {id}"))
}

/// A table under a title; nothing without rows.
fn table<const COLUMNS: usize>(
    text: &mut String,
    title: &str,
    head: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "## {title}\n\n| {} |\n|{}", head.join(" | "), "---|".repeat(COLUMNS));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).join(" | "));
    }
    text.push('\n');
}
