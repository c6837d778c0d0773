//! The log line of an exchange: one for each, rendered on the worker's thread and written by the log's own.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::keys::keeper::Keeper;
use crate::keys::set::Names;
use crate::ledger::sighting::{Exchange, Witness};
use crate::metrics::Shard;
use crate::outcome::Outcome;
use crate::telemetry::writer::{Lane, Rank};
use crate::telemetry::{Format, Level};
use crate::verdict::Verdict;
use crate::verdict::explain::{Context, Diagnosis, Explanation, Sender, Severity, diagnose, explain};

/// A field's name with all that stands before its value. A literal whose length is known is copied without a call.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Takes down each exchange of one worker when it ends: on its binding, in the counters, for learning, in the log.
pub struct Recorder {
    /// The sets' names, by position.
    pub sets: Arc<[Arc<str>]>,
    /// The worker's counters.
    pub counters: Arc<Shard>,
    /// The worker's lane into the log.
    pub lane: Lane,
    /// How lines look.
    pub style: Style,
    /// Learns from answers, for the sets that have no declared key.
    pub keeper: Arc<Keeper>,
    /// Whether whatever ends now is cut by the shutdown.
    pub shutting_down: Arc<AtomicBool>,
}

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// For people or for programs.
    pub format: Format,
    /// The least important level that is written.
    pub level: Level,
    /// Whether there are colours.
    pub coloured: bool,
}

impl Witness for Recorder {
    fn exchange_ended(&self, exchange: &Exchange, outcome: &Outcome) {
        let judgement = &exchange.judgement;
        let key = judgement.key.map(|names| names.fingerprint);
        let sender = self.sender(exchange);
        let diagnosis = diagnose(judgement.verdict, outcome, sender);
        exchange.binding.sight(key, exchange.at);
        self.learn(exchange, outcome);
        self.counters.ended(judgement.set, judgement.verdict, outcome);
        self.counters.bytes_in.add(exchange.bytes_in());
        self.counters.bytes_out.add(exchange.bytes_out());
        self.log(&Line { exchange, outcome, diagnosis, set: &self.sets[judgement.set.position()] });
    }

    fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }
}

impl Recorder {
    fn sender(&self, exchange: &Exchange) -> Sender {
        Sender {
            family: exchange.family,
            // Of interest only when no key came.
            sent_key_before: exchange.judgement.key.is_none() && exchange.binding.sent_key_before(),
            learning: self.keeper.learns(exchange.judgement.set),
        }
    }

    fn learn(&self, exchange: &Exchange, outcome: &Outcome) {
        let set = exchange.judgement.set;
        let Some(names) = exchange.judgement.key.filter(|_| self.keeper.learns(set)) else { return };
        if outcome.is_accepted() {
            let before = exchange.binding.accept(names.fingerprint);
            let is_news = before.is_some() || exchange.judgement.verdict != Verdict::Current;
            if is_news {
                self.keeper.accept(set, names.fingerprint, before);
            }
        } else if outcome.is_invalid_key() {
            self.keeper.refuse(set, names.fingerprint);
        }
    }

    fn log(&self, line: &Line<'_>) {
        let (level, rank) = match line.diagnosis.severity() {
            Severity::Fine => (Level::Info, Rank::Ordinary),
            Severity::Warning => (Level::Warn, Rank::Trouble),
            Severity::Error => (Level::Error, Rank::Trouble),
        };
        if level > self.style.level {
            return;
        }
        // Rendering the explanation allocates, so it is done only for lines that carry one, and outside the lane's lock.
        let explanation = (level < Level::Info).then(|| self.explain(line));
        self.lane.append(rank, |buffer| match self.style.format {
            Format::Json => line.write_json(buffer, level, explanation.as_ref()),
            Format::Human => line.write_human(buffer, self.style.coloured, level, explanation.as_ref()),
        });
    }

    fn explain(&self, line: &Line<'_>) -> Explanation {
        let exchange = line.exchange;
        explain(
            line.diagnosis,
            &Context {
                set: line.set,
                sets: &self.sets,
                judgement: &exchange.judgement,
                workflow: exchange.workflow(),
                workflow_name: exchange.workflow_name(),
                node: exchange.node(),
                family: exchange.family,
                origin: exchange.origin,
                peer: exchange.peer,
                status: exchange.status(),
                upstream_code: exchange.upstream_code(),
            },
        )
    }
}

/// An exchange that is to be written down.
struct Line<'a> {
    exchange: &'a Exchange,
    outcome: &'a Outcome,
    diagnosis: Diagnosis,
    set: &'a str,
}

impl Line<'_> {
    fn write_json(&self, buffer: &mut Vec<u8>, level: Level, explanation: Option<&Explanation>) {
        let exchange = self.exchange;
        let judgement = &exchange.judgement;
        let mut json = Json::begin(buffer, exchange.at);
        json.word(name!("level"), level.name());
        json.word(name!("event"), "exchange");
        json.bytes(name!("id"), &exchange.id.digits());
        json.word(name!("set"), self.set);
        json.word(name!("verdict"), judgement.verdict.code());
        json.word(name!("diagnosis"), self.diagnosis.code());
        json.word(name!("action"), exchange.action);
        json.text(name!("workflow_id"), exchange.workflow());
        json.text(name!("execution_id"), exchange.execution());
        json.text(name!("node_id"), exchange.node());
        json.text(name!("workflow_name"), exchange.workflow_name());
        json.word(name!("client"), exchange.family.code());
        json.text(name!("client_version"), exchange.client_version());
        json.word(name!("attribution"), exchange.attribution.code());
        json.key(judgement.key);
        json.word(name!("method"), exchange.method.as_str());
        json.text(name!("path"), Some(exchange.path()));
        json.number(name!("status"), exchange.status().map(|status| u64::from(status.as_u16())));
        json.text(name!("upstream_code"), exchange.upstream_code());
        json.word(name!("outcome"), self.outcome.code());
        json.millis(name!("ttfb_ms"), exchange.answered().map(|answered| answered.at - exchange.started));
        json.millis(name!("ms"), Some(exchange.started.elapsed()));
        json.number(name!("bytes_in"), Some(exchange.bytes_in()));
        json.number(name!("bytes_out"), Some(exchange.bytes_out()));
        self.write_rarities(&mut json);
        if let Some(explanation) = explanation {
            json.text(name!("message"), Some(&explanation.message));
            json.text(name!("remedy"), Some(&explanation.remedy));
        }
        json.end();
    }

    /// Fields that most lines do without: who it was where nothing else says so, and what was odd.
    fn write_rarities(&self, json: &mut Json<'_>) {
        let exchange = self.exchange;
        if exchange.workflow().is_none() {
            json.display(name!("peer"), &exchange.peer);
        }
        if exchange.instance().is_some() {
            json.text(name!("instance"), exchange.instance());
        }
        if exchange.judgement.learned {
            json.yes(name!("learned"));
        }
        if exchange.doubts.invalid_tag {
            json.yes(name!("invalid_tag"));
        }
        if exchange.doubts.sources_disagree {
            json.yes(name!("sources_disagree"));
        }
        if exchange.note.is_some() {
            json.text(name!("note"), exchange.note);
        }
    }

    fn write_human(&self, out: &mut Vec<u8>, coloured: bool, level: Level, explanation: Option<&Explanation>) {
        let paint = Paint { coloured, level };
        let text = self.human_line(paint);
        out.extend_from_slice(text.as_bytes());
        let Some(Explanation { message, remedy }) = explanation else { return };
        let (on, off) = (paint.tone(), paint.off());
        let _ = writeln!(out, "{MARGIN}{on}{} {}{off}  {}", paint.mark(), self.diagnosis.code(), printable(message));
        for step in steps(remedy) {
            let _ = writeln!(out, "{MARGIN}  {}", printable(step));
        }
    }

    fn human_line(&self, paint: Paint) -> String {
        let exchange = self.exchange;
        let judgement = &exchange.judgement;
        let mut line = String::with_capacity(200);
        let status = exchange.status().map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string());
        let verdict = judgement.verdict.code();
        let (tone, dim, off) = (paint.tone(), paint.dim(), paint.off());
        let _ = write!(line, "{dim}{}{off}  {tone}{status}  {verdict:<9}{off}  ", local_time(exchange.at));
        let _ = write!(line, "{:<4} {:<24}  ", exchange.method, printable(exchange.path()));
        let _ = write!(line, "{:>7} ms  {:<12}  ", exchange.started.elapsed().as_millis(), exchange.family.code());
        let _ = write!(line, "{}", self.who());
        if let Some(names) = judgement.key {
            let _ = write!(line, "  {dim}{}", names.fingerprint);
            if let Some(hint) = names.hint {
                let _ = write!(line, " {hint}");
            }
            line.push_str(off);
        }
        line.push('\n');
        line
    }

    fn who(&self) -> String {
        let exchange = self.exchange;
        let Some(workflow) = exchange.workflow() else { return format!("from {}", exchange.peer) };
        let mut who = format!("workflow {}", printable(exchange.workflow_name().unwrap_or(workflow)));
        for (name, id) in [("execution", exchange.execution()), ("node", exchange.node())] {
            if let Some(id) = id {
                let _ = write!(who, " {name} {}", printable(id));
            }
        }
        who
    }
}

/// The steps of a remedy, each to stand on a line of its own.
fn steps(remedy: &str) -> impl Iterator<Item = &str> {
    remedy.lines().map(str::trim).filter(|step| !step.is_empty())
}

/// Where the lines under a bad one begin: below its status.
const MARGIN: &str = "              ";

#[derive(Clone, Copy)]
struct Paint {
    coloured: bool,
    level: Level,
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

/// The time of day where keyward runs.
fn local_time(at: Timestamp) -> String {
    let zoned = jiff::Timestamp::from_millisecond(at.as_millis())
        .map(|moment| moment.to_zoned(jiff::tz::TimeZone::system()))
        .unwrap_or_default();
    zoned.strftime("%H:%M:%S").to_string()
}

/// Writes one JSON object, a field at a time, straight into the lane.
struct Json<'a>(&'a mut Vec<u8>);

impl<'a> Json<'a> {
    /// The object begins with its time: RFC 3339 in UTC with milliseconds. The part down to the second is made once a
    /// second.
    fn begin(buffer: &'a mut Vec<u8>, at: Timestamp) -> Self {
        thread_local!(static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
        let (second, millis) = (at.as_millis().div_euclid(1000), at.as_millis().rem_euclid(1000));
        buffer.reserve(1024);
        buffer.extend_from_slice(b"{\"timestamp\":\"");
        SECOND.with_borrow_mut(|(cached, text)| {
            if *cached != second {
                *cached = second;
                text.clear();
                // `2026-11-23T08:15:00Z`, without the Z.
                let _ = write!(text, "{at}");
                text.pop();
            }
            buffer.extend_from_slice(text.as_bytes());
        });
        let [hundreds, tens, ones] = three_digits(u64::try_from(millis).unwrap_or(0));
        buffer.extend_from_slice(&[b'.', hundreds, tens, ones, b'Z', b'"']);
        Self(buffer)
    }

    #[inline(always)]
    fn put(&mut self, text: &'static str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A word that needs no escaping: one of our own, or one that was read as a name.
    #[inline(always)]
    fn word(&mut self, name: &'static str, word: &str) {
        self.bytes(name, word.as_bytes());
    }

    #[inline(always)]
    fn bytes(&mut self, name: &'static str, text: &[u8]) {
        self.put(name);
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    /// A text of anybody's.
    #[inline(always)]
    fn text(&mut self, name: &'static str, text: Option<&str>) {
        self.put(name);
        match text {
            None => self.put("null"),
            Some(text) => self.quoted(text),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.0.push(b'"');
        // No early end: so the whole text is looked at in a few steps.
        let is_odd = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte >= 0x7f);
        if text.bytes().fold(false, |odd, byte| odd | is_odd(byte)) {
            self.escaped(text);
        } else {
            self.0.extend_from_slice(text.as_bytes());
        }
        self.0.push(b'"');
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\n' => self.put("\\n"),
                control if control.is_control() => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    #[inline(always)]
    fn number(&mut self, name: &'static str, number: Option<u64>) {
        self.put(name);
        match number {
            None => self.put("null"),
            Some(number) => self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// Milliseconds with three decimals.
    fn millis(&mut self, name: &'static str, span: Option<Duration>) {
        let micros = span.map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        self.number(name, micros.map(|micros| micros / 1000));
        if let Some(micros) = micros {
            let [tenths, hundredths, thousandths] = three_digits(micros);
            self.0.extend_from_slice(&[b'.', tenths, hundredths, thousandths]);
        }
    }

    /// The public names of the key that came.
    fn key(&mut self, names: Option<Names>) {
        match names {
            Some(names) => self.bytes(name!("fingerprint"), &names.fingerprint.short()),
            None => self.put(concat!(name!("fingerprint"), "null")),
        }
        match names.and_then(|names| names.hint) {
            Some(hint) => {
                self.put(concat!(name!("hint"), "\""));
                self.0.extend_from_slice(hint.prefix().as_bytes());
                self.put("…");
                self.quotable(hint.last());
                self.0.push(b'"');
            }
            None => self.put(concat!(name!("hint"), "null")),
        }
    }

    /// Visible ASCII, of which a quotation mark or a backslash is the only trouble.
    fn quotable(&mut self, text: &[u8]) {
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(*byte);
        }
    }

    fn display(&mut self, name: &'static str, value: &dyn std::fmt::Display) {
        self.put(name);
        let _ = write!(self.0, "\"{value}\"");
    }

    fn yes(&mut self, name: &'static str) {
        self.put(name);
        self.put("true");
    }

    fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

/// The last three digits of a number.
fn three_digits(number: u64) -> [u8; 3] {
    [100, 10, 1].map(|place| b'0' + u8::try_from(number / place % 10).unwrap_or(0))
}
