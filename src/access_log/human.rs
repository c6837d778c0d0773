//! The log line of an exchange as people read it on a terminal: aligned, coloured, the remedy under a bad one.

use std::fmt::Write as _;
use std::io::Write as _;

use super::line::Line;
use crate::caller::{Agreement, Doubts};
use crate::keys::set::Names;
use crate::ledger::sighting::Exchange;
use crate::outcome::Ending;
use crate::telemetry::Level;
use crate::telemetry::local_clock::time_of_day;
use crate::telemetry::palette::{Palette, Tone};
use crate::verdict::explain::Explanation;

/// Writes the line, and under a bad one what to do.
pub(super) fn write(
    out: &mut Vec<u8>,
    line: &Line<'_>,
    palette: Palette,
    level: Level,
    explanation: Option<&Explanation>,
) {
    out.extend_from_slice(summary(line, palette, level).as_bytes());
    let Some(Explanation { message, remedy, .. }) = explanation else { return };
    let (tone, end) = (palette.begin(tone(level)), palette.end());
    let _ = writeln!(out, "{MARGIN}{tone}{} {}{end}  {}", mark(level), line.diagnosis.code(), printable(message));
    for step in steps(remedy) {
        let _ = writeln!(out, "{MARGIN}  {}", printable(step));
    }
}

fn summary(line: &Line<'_>, palette: Palette, level: Level) -> String {
    let (named, exchange, is_pressed) = (who(line), line.exchange, line.pressed.is_some());
    let judgement = &exchange.judgement;
    let mut line = String::with_capacity(200);
    let status = exchange.status().map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
    let verdict = judgement.verdict.code();
    let (tone, aside, end) = (palette.begin(tone(level)), palette.begin(Tone::Aside), palette.end());
    let _ = write!(line, "{aside}{}{end}  {tone}{status}  {verdict:<9}{end}  ", time_of_day(exchange.at));
    let _ = write!(line, "{:<4} {:<24}  ", exchange.method.as_str(), printable(exchange.path()));
    let _ = write!(line, "{:>7} ms  {:<12}  ", exchange.started.elapsed().as_millis(), exchange.family.code());
    let _ = write!(line, "{aside}{:<16}{end}  {}", judgement.key.map_or_else(String::new, recognisable), named);
    line.extend(oddities(exchange, is_pressed));
    line.push('\n');
    line
}

/// What is odd about an exchange that is no fault of its key.
fn oddities(exchange: &Exchange, is_pressed: bool) -> impl Iterator<Item = &'static str> {
    let Doubts { invalid_tag, agreement, unknown_set } = exchange.doubts;
    [
        (invalid_tag, "  (its tag cannot be read: is the field an expression?)"),
        (agreement != Agreement::Full, "  (its tags disagree)"),
        (unknown_set, "  (it declares a set that there is not)"),
        (exchange.judgement.learned, "  (learned)"),
        (is_pressed, "  (keyward pressed n8n's test)"),
        (exchange.injected.is_some(), "  (current key put in)"),
        (exchange.refusal.is_some(), "  (refused by keyward)"),
        (exchange.outcome().ending == Ending::ClientGone, "  (the client left)"),
    ]
    .into_iter()
    .filter_map(|(is_so, text)| is_so.then_some(text))
}

/// The hint is what people recognise a key by; a short one has none.
fn recognisable(key: Names) -> String {
    key.hint.map_or_else(|| key.fingerprint.to_string(), |hint| hint.to_string())
}

fn who(line: &Line<'_>) -> String {
    let exchange = line.exchange;
    let Some(workflow) = exchange.workflow() else { return format!("from {}", exchange.peer) };
    let mut who = format!("workflow {}", printable(line.workflow_name().unwrap_or(workflow)));
    for (name, id) in [("execution", exchange.execution()), ("node", line.node_name().or(exchange.node()))] {
        if let Some(id) = id {
            let _ = write!(who, " {name} {}", printable(id));
        }
    }
    who
}

/// The steps of a remedy, each to stand on a line of its own.
fn steps(remedy: &str) -> impl Iterator<Item = &str> {
    remedy.lines().map(str::trim).filter(|step| !step.is_empty())
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Error => Tone::Bad,
        Level::Warn => Tone::Doubtful,
        Level::Info | Level::Debug | Level::Trace => Tone::Good,
    }
}

fn mark(level: Level) -> &'static str {
    if level == Level::Error { "✗" } else { "!" }
}

/// Text of a caller as a terminal may show it: nothing in it can steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Where the lines under a bad one begin: below its status.
const MARGIN: &str = "              ";
