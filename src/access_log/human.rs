//! The log line of an exchange as people read it: in one row where nothing is wrong, with what to do under it where something is.
//!
//! A row goes on below where the terminal ends. A narrow terminal has no room for the method, the whole hint of the key and whole
//! ids; names are never cut.

use super::Style;
use super::line::Line as Exchanged;
use crate::caller::{Agreement, Doubts};
use crate::keys::set::Names;
use crate::ledger::sighting::Exchange;
use crate::outcome::Ending;
use crate::telemetry::Level;
use crate::telemetry::local_clock::{in_local_time, time_of_day};
use crate::telemetry::palette::{Palette, Tone};
use crate::telemetry::rows::Line;
use crate::verdict::explain::Explanation;

/// Writes the line, and under a bad one what to do.
pub(super) fn write(
    out: &mut Vec<u8>,
    line: &Exchanged<'_>,
    style: Style,
    level: Level,
    explanation: Option<&Explanation>,
) {
    let columns = style.columns.now();
    let width = Width::of(columns);
    let mut lines = vec![summary(line, width, level, line.exchange.path())];
    // Of a good one, who it was matters more than what was asked for.
    if explanation.is_none() && lines[0].rows(columns, Palette::Plain).len() > 1 {
        lines = vec![summary(line, width, level, "")];
    }
    if let Some(explanation) = explanation {
        let remedy = remedy(line, level, explanation);
        lines.extend(remedy.into_iter().map(|line| line.within(width.margin())));
    }
    for row in lines.iter().flat_map(|line| line.rows(columns, style.palette)) {
        out.extend_from_slice(row.as_bytes());
        out.push(b'\n');
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// For a terminal of 80 columns.
    Narrow,
    /// For all that there is to say of a good exchange.
    Wide,
}

impl Width {
    fn of(columns: usize) -> Self {
        if columns < WIDE { Self::Narrow } else { Self::Wide }
    }

    /// Where the lines under a bad one begin: below its status.
    fn margin(self) -> usize {
        match self {
            Self::Narrow => 9,
            Self::Wide => 14,
        }
    }
}

fn summary(line: &Exchanged<'_>, width: Width, level: Level, path: &str) -> Line {
    let exchange = line.exchange;
    let judgement = &exchange.judgement;
    let (time, milliseconds) = (time_of_day(exchange.at), exchange.started.elapsed().as_millis());
    let status = exchange.status().map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
    let verdict = judgement.verdict.code();
    let mut told = match width {
        Width::Narrow => Line::toned(Tone::Aside, time)
            .and(" ")
            .and_toned(tone(level), format!("{status} {verdict:<7}"))
            .and(format!(" {:>6} ", format!("{milliseconds}ms")))
            .and_toned(Tone::Aside, format!("{:<5} ", judgement.key.map_or_else(String::new, last_of)))
            .and(if path.is_empty() {
                String::new()
            } else {
                format!("{} ", path.strip_prefix("/v1/").unwrap_or(path))
            }),
        Width::Wide => Line::toned(Tone::Aside, time)
            .and("  ")
            .and_toned(tone(level), format!("{status}  {verdict:<9}"))
            .and(format!("  {:<4} {path:<24}  {milliseconds:>7} ms  ", exchange.method.as_str()))
            .and_toned(Tone::Aside, format!("{:<16}  ", judgement.key.map_or_else(String::new, recognisable))),
    };
    told = told.and(who(line, width));
    for oddity in oddities(exchange, line.pressed.is_some()) {
        told = told.and(format!(" ({oddity})"));
    }
    told.hanging(width.margin())
}

/// What is wrong and what to do; where that was told of the same binding a short time ago, what it is called.
fn remedy(line: &Exchanged<'_>, level: Level, explanation: &Explanation) -> Vec<Line> {
    let code = line.diagnosis.code();
    let title = Line::toned(tone(level), format!("{} {code}", mark(level))).hanging(2);
    if let Some(at) = line.told_at {
        return vec![title.and(format!("  as at {} (keyward explain)", time_of_day(at)))];
    }
    let message = in_local_time(&explanation.message, line.exchange.at);
    let steps = explanation.remedy.lines().map(str::trim).filter(|step| !step.is_empty());
    let steps = steps.map(|step| Line::from(step).within(2).hanging(3));
    [title.and(format!("  {message}"))].into_iter().chain(place(line)).chain(steps).collect()
}

/// The credential that is at fault, and where it is in n8n's editor.
fn place(line: &Exchanged<'_>) -> Vec<Line> {
    let Some(named) = line.named else { return Vec::new() };
    let credential = named.node.and_then(|node| node.credential.as_deref());
    let credential = credential.map(|credential| Line::from(format!("credential {credential}")).hanging(2).within(2));
    let editor = Line::from(named.link(line.exchange.execution()).to_string()).within(2);
    credential.into_iter().chain([editor]).collect()
}

/// What is odd about an exchange that is no fault of its key.
fn oddities(exchange: &Exchange, is_pressed: bool) -> impl Iterator<Item = &'static str> {
    let Doubts { invalid_tag, agreement, unknown_set } = exchange.doubts;
    [
        (invalid_tag, "its tag cannot be read: is the field an expression?"),
        (agreement != Agreement::Full, "its tags disagree"),
        (unknown_set, "it declares a set that there is not"),
        (exchange.judgement.learned, "learned"),
        (is_pressed, "keyward pressed n8n's test"),
        (exchange.injected.is_some(), "current key put in"),
        (exchange.refusal.is_some(), "refused by keyward"),
        (exchange.outcome().ending == Ending::ClientGone, "the client left"),
    ]
    .into_iter()
    .filter_map(|(is_so, text)| is_so.then_some(text))
}

/// The hint is what people recognise a key by; a short one has none.
fn recognisable(key: Names) -> String {
    key.hint.map_or_else(|| key.fingerprint.to_string(), |hint| hint.to_string())
}

/// The last characters of it alone.
fn last_of(key: Names) -> String {
    key.hint.map_or_else(|| key.fingerprint.to_string(), |hint| format!("…{}", String::from_utf8_lossy(hint.last())))
}

/// `Inbox triage: Classify #1234`; of a client without a tag, what it is and from where.
fn who(line: &Exchanged<'_>, width: Width) -> String {
    let exchange = line.exchange;
    let Some(workflow) = exchange.workflow() else {
        return format!("from {} ({})", exchange.peer, exchange.family.code());
    };
    let of_workflow = || if width == Width::Narrow { short(workflow) } else { workflow.to_owned() };
    let workflow = line.workflow_name().map_or_else(of_workflow, str::to_owned);
    let node = line.node_name().map(str::to_owned).or_else(|| exchange.node().map(short));
    let node = node.map_or_else(String::new, |node| format!(": {node}"));
    let execution = exchange.execution().map_or_else(String::new, |id| format!(" #{id}"));
    format!("{workflow}{node}{execution}")
}

/// The beginning of an id that n8n made; one that a person chose is as short as it may be.
fn short(id: &str) -> String {
    if id.len() > LONGEST_CHOSEN { id.chars().take(SHORT_ID).collect() } else { id.to_owned() }
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

/// From so many columns on, a row has room for all.
const WIDE: usize = 120;

/// n8n's own ids have 16 characters and more.
const LONGEST_CHOSEN: usize = 15;

/// How many characters of an id tell it from the others of one n8n, most of the time.
const SHORT_ID: usize = 8;
