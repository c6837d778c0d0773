//! The log line of an exchange as people read it on a terminal: aligned, coloured, the remedy under a bad one.

use std::fmt::Write as _;
use std::io::Write as _;

use super::line::Line;
use crate::caller::{Agreement, Doubts};
use crate::keys::set::Names;
use crate::ledger::sighting::Exchange;
use crate::outcome::Ending;
use crate::telemetry::{Level, time_of_day};
use crate::verdict::explain::Explanation;

/// Writes the line, and under a bad one what to do.
pub(super) fn write(out: &mut Vec<u8>, line: &Line<'_>, paint: Paint, explanation: Option<&Explanation>) {
    out.extend_from_slice(summary(line, paint).as_bytes());
    let Some(Explanation { message, remedy, .. }) = explanation else { return };
    let (on, off) = (paint.tone(), paint.off());
    let _ = writeln!(out, "{MARGIN}{on}{} {}{off}  {}", paint.mark(), line.diagnosis.code(), printable(message));
    for step in steps(remedy) {
        let _ = writeln!(out, "{MARGIN}  {}", printable(step));
    }
}

fn summary(line: &Line<'_>, paint: Paint) -> String {
    let (named, exchange, is_pressed) = (who(line), line.exchange, line.pressed.is_some());
    let judgement = &exchange.judgement;
    let mut line = String::with_capacity(200);
    let status = exchange.status().map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
    let verdict = judgement.verdict.code();
    let (tone, dim, off) = (paint.tone(), paint.dim(), paint.off());
    let _ = write!(line, "{dim}{}{off}  {tone}{status}  {verdict:<9}{off}  ", time_of_day(exchange.at));
    let _ = write!(line, "{:<4} {:<24}  ", exchange.method.as_str(), printable(exchange.path()));
    let _ = write!(line, "{:>7} ms  {:<12}  ", exchange.started.elapsed().as_millis(), exchange.family.code());
    let _ = write!(line, "{dim}{:<16}{off}  {}", judgement.key.map_or_else(String::new, recognisable), named);
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

/// The colours of a line.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    /// Whether there are any.
    pub(super) coloured: bool,
    /// What the line is about.
    pub(super) level: Level,
}

impl Paint {
    fn tone(self) -> &'static str {
        match (self.coloured, self.level) {
            (false, _) => "",
            (true, Level::Error) => "\x1b[1;31m",
            (true, Level::Warn) => "\x1b[33m",
            (true, Level::Info | Level::Debug | Level::Trace) => "\x1b[32m",
        }
    }

    fn dim(self) -> &'static str {
        if self.coloured { "\x1b[2m" } else { "" }
    }

    fn off(self) -> &'static str {
        if self.coloured { "\x1b[0m" } else { "" }
    }

    fn mark(self) -> &'static str {
        if self.level == Level::Error { "✗" } else { "!" }
    }
}

/// Text of a caller as a terminal may show it: nothing in it can steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Where the lines under a bad one begin: below its status.
const MARGIN: &str = "              ";
