//! The log line of an exchange: one for each, rendered on the worker's thread and written by the log's own.

pub mod human;
pub mod json;
pub mod line;
pub mod repeats;

use std::sync::Arc;

use self::line::Line;
use crate::telemetry::columns::Columns;
use crate::telemetry::palette::Palette;
use crate::telemetry::tap::Told;
use crate::telemetry::{Format, Level};
use crate::verdict::explain::Explanation;

/// How the lines of the access log look, and from which level on they are written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// For people or for programs.
    pub format: Format,
    /// The least important level that is written.
    pub level: Level,
    /// In which colours, if any.
    pub palette: Palette,
    /// How wide the terminal is.
    pub columns: Columns,
}

/// Writes the line in the format that is asked for.
pub fn write(buffer: &mut Vec<u8>, style: Style, line: &Line<'_>, level: Level, explanation: Option<&Explanation>) {
    match style.format {
        Format::Json => json::write(buffer, line, level, explanation),
        Format::Human => human::write(buffer, line, style, level, explanation),
    }
}

/// The line for those who follow.
#[must_use]
pub fn told(line: &Line<'_>, level: Level, explanation: Option<&Explanation>) -> Told {
    let mut text = Vec::new();
    json::write(&mut text, line, level, explanation);
    let verdict = line.exchange.judgement.verdict.code();
    Told { set: Arc::clone(line.set), verdict, workflow: line.exchange.workflow().map(Box::from), line: text }
}
