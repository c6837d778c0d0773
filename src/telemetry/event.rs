//! keyward's own events, in the same shape as the line of an exchange: as JSON lines, or as rows for people.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::columns::Columns;
use super::json::{Json, name};
use super::local_clock::time_of_day;
use super::palette::{Palette, Tone};
use super::rows::Line;
use crate::clock::{Clock, Timestamp};

/// Writes each event as one JSON object: `timestamp`, `level` and the event's own fields, its text as `message`.
pub(super) struct JsonEvents(pub(super) Clock);

impl<S, N> FormatEvent<S, N> for JsonEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Vec::new();
        let mut json = Json::begin(&mut line, self.0.now());
        json.word(name!("level"), &event.metadata().level().as_str().to_ascii_lowercase());
        event.record(&mut Fields(&mut json));
        json.end();
        out.write_str(&String::from_utf8_lossy(&line))
    }
}

/// Writes each event as rows for people: the time of day, the level, the text and then the event's other fields. A row goes on
/// below where the terminal ends, and no word of it is broken.
pub(super) struct HumanEvents {
    pub(super) clock: Clock,
    pub(super) columns: Columns,
    pub(super) palette: Palette,
}

impl<S, N> FormatEvent<S, N> for HumanEvents
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let lines = words.lines(self.clock.now(), *event.metadata().level());
        for row in lines.iter().flat_map(|line| line.rows(self.columns.now(), self.palette)) {
            out.write_str(&row)?;
            out.write_char('\n')?;
        }
        Ok(())
    }
}

/// An error with all its causes, the outermost first.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

struct Fields<'j, 'b>(&'j mut Json<'b>);

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        self.0.named_text(field.name(), text);
    }

    fn record_u64(&mut self, field: &Field, number: u64) {
        self.0.named_plain(field.name(), &number);
    }

    fn record_i64(&mut self, field: &Field, number: i64) {
        self.0.named_plain(field.name(), &number);
    }

    fn record_bool(&mut self, field: &Field, fact: bool) {
        self.0.named_plain(field.name(), &fact);
    }

    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        self.0.named_text(field.name(), &with_causes(error));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.named_text(field.name(), &format!("{value:?}"));
    }
}

/// An event as people read it.
#[derive(Default)]
struct Words {
    message: String,
    /// The other fields, as `name=value`.
    fields: String,
}

impl Words {
    /// The rest of a text of several lines stands below its first one.
    fn lines(&self, at: Timestamp, level: Level) -> Vec<Line> {
        let mut texts = self.message.lines();
        let first = Line::toned(Tone::Aside, time_of_day(at))
            .and(" ")
            .and_toned(tone(level), format!("{level:>5}"))
            .and(" ")
            .and(texts.next().unwrap_or_default())
            .hanging(MARGIN);
        let below = texts.map(|text| Line::from(text).within(MARGIN));
        let mut lines: Vec<_> = std::iter::once(first).chain(below).collect();
        if !self.fields.is_empty() {
            lines[0] = std::mem::take(&mut lines[0]).and_toned(Tone::Aside, self.fields.as_str());
        }
        lines
    }

    fn add(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Visit for Words {
    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        self.add(field, &format_args!("{}", with_causes(error)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, value);
    }
}

fn tone(level: Level) -> Tone {
    match level {
        Level::ERROR => Tone::Bad,
        Level::WARN => Tone::Doubtful,
        Level::INFO => Tone::Good,
        _ => Tone::Aside,
    }
}

/// Where a row goes on: below the level, as that of an exchange goes on below its status.
const MARGIN: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_hangs_below_its_level_and_breaks_between_words() {
        #[track_caller]
        fn check(message: &str, fields: &str, most: usize, expected: &[&str]) {
            let words = Words { message: message.to_owned(), fields: fields.to_owned() };
            let at = Timestamp::from_millis(0);
            let lines = words.lines(at, Level::ERROR);
            let rows: Vec<_> = lines.iter().flat_map(|line| line.rows(most, Palette::Plain)).collect();
            let expected: Vec<_> = expected.iter().map(|row| row.replace("00:00:00", &time_of_day(at))).collect();
            assert_eq!(rows, expected);
        }
        let (text, fields) = ("the store is locked by another program", " event=\"store\" path=/a/b");
        check(
            text,
            fields,
            usize::MAX,
            &["00:00:00 ERROR the store is locked by another program event=\"store\" path=/a/b"],
        );
        let narrow =
            ["00:00:00 ERROR the store is locked", "         by another program", "         event=\"store\" path=/a/b"];
        check(text, fields, 36, &narrow);
        check("one\n  two", "", 80, &["00:00:00 ERROR one", "           two"]);
        check("a\x1b[2Jb", "", 80, &["00:00:00 ERROR a\u{fffd}[2Jb"]);
    }
}
