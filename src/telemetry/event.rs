//! keyward's own events as JSON lines, in the same shape as the line of an exchange.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::json::{Json, name};
use crate::clock::Clock;

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
