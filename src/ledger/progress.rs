//! Pure. How far a rotation is: how many bindings stand how.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rotation_row::Row;
use super::standing::{Silence, Standing};
use crate::telemetry::palette::Tone;

/// How many bindings stand how; the same in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub confirmed: usize,
    pub mixed: usize,
    /// Stale ones: they send an old key.
    pub stale: usize,
    /// Those that are not well for another reason.
    pub failing: usize,
    /// Silent ones that are due later.
    pub due_later: usize,
    /// Silent ones that are overdue.
    pub overdue: usize,
    /// Silent ones that you acknowledged.
    pub acknowledged: usize,
}

impl Progress {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut progress = Self::default();
        for row in rows {
            *match row.standing {
                Standing::Confirmed => &mut progress.confirmed,
                Standing::Mixed => &mut progress.mixed,
                Standing::Stale => &mut progress.stale,
                Standing::Failing { .. } => &mut progress.failing,
                Standing::Silent(Silence::DueLater { .. }) => &mut progress.due_later,
                Standing::Silent(Silence::Overdue { .. }) => &mut progress.overdue,
                Standing::Silent(Silence::Acknowledged { .. }) => &mut progress.acknowledged,
            } += 1;
        }
        progress
    }

    /// Whether nothing is left to do here: no binding is stale or failing, and none is silent but those that you acknowledged.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.mixed + self.stale + self.failing + self.due_later + self.overdue == 0
    }

    /// Whether no binding is stale, mixed or failing.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.mixed + self.stale + self.failing == 0
    }

    /// A bar of so many characters, in its pieces: what is well, what is not, and what is silent. While an old key is still
    /// sent or held, it is not full.
    #[must_use]
    pub fn bar(&self, length: usize, keeps_old: bool) -> [(Tone, String); 3] {
        let part = |count: usize| count * length / self.total().max(1);
        let well = self.confirmed + self.acknowledged;
        let (good, bad) = (part(well), part(well + self.mixed + self.stale + self.failing));
        let good = if keeps_old { good.min(length.saturating_sub(1)) } else { good };
        let bad = bad.max(good);
        [(Tone::Good, "█".repeat(good)), (Tone::Bad, "▓".repeat(bad - good)), (Tone::Aside, "░".repeat(length - bad))]
    }

    /// How many bindings there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.confirmed + self.mixed + self.stale + self.failing + self.due_later + self.overdue + self.acknowledged
    }
}

/// As people read it: `12 of 24 confirmed, 3 stale, 9 due later`. What there is none of is left out.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} confirmed", self.confirmed, self.total())?;
        let others = [
            (self.mixed, "mixed"),
            (self.stale, "stale"),
            (self.failing, "failing"),
            (self.overdue, "overdue"),
            (self.due_later, "due later"),
            (self.acknowledged, "acknowledged"),
        ];
        others
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, standing)| write!(f, ", {count} {standing}"))
    }
}
