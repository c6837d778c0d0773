//! Pure. A span of time in words.

use std::fmt;
use std::time::Duration;

/// A span as people say it, by its largest unit: `3 hours`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
        let (unit, length) = units.into_iter().find(|(_, length)| seconds >= 2 * length).unwrap_or(("second", 1));
        let count = seconds / length;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}
