//! Pure. The rotation view as the demo shows it: who stands how, and whether the old key can go.

use std::fmt::Write as _;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::rotation::{Answer, Doubt, OldKey, Reason, RotationView, Row, Span, Standing};

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

/// The view for people: a line for each workflow that is not done. Bindings that are confirmed are many and well, so they
/// are only counted. `clock` says moments.
pub(super) fn text(view: &RotationView, paint: Paint, clock: fn(Timestamp) -> String) -> String {
    let mut text = format!("{}\n\n", bar(view, paint));
    let mut lines: Vec<(Standing, [String; COLUMNS])> = Vec::new();
    for row in open_rows(view) {
        let cells = cells(row, clock);
        match lines.last_mut() {
            // Nodes that were seen later come first in the view, but people read them as they run.
            Some((_, above)) if is_same_line(above, &cells) => {
                above[NODE] = format!("{}, {}", cells[NODE], above[NODE]);
            }
            _ => lines.push((row.standing, cells)),
        }
    }
    let width = |column: usize| lines.iter().map(|(_, cells)| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for (standing, cells) in &lines {
        let mut line = paint.word(*standing);
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(line, "  {cell:<width$}");
        }
        let _ = writeln!(text, "{MARGIN}{}", line.trim_end());
    }
    let _ = writeln!(text, "{MARGIN}{}  {} others", paint.word(Standing::Confirmed), view.progress.confirmed);
    view.old_keys.iter().for_each(|old| text.push_str(&answer(old, paint, clock)));
    text + "\n"
}

/// The bindings of which there is something to say.
pub(super) fn open_rows(view: &RotationView) -> impl Iterator<Item = &Row> {
    view.rows.iter().filter(|row| row.standing != Standing::Confirmed)
}

/// How many bindings stand how.
pub(super) fn summary(view: &RotationView) -> String {
    let progress = view.progress;
    let counts = [
        (progress.stale, "stale"),
        (progress.overdue, "overdue"),
        (progress.due_later, "due later"),
        (progress.acknowledged, "acknowledged to be dead"),
    ];
    let mut text = format!("{} of {} confirmed", progress.confirmed, progress.total());
    for (count, standing) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {standing}");
    }
    text
}

/// Why its standing is what it is: the diagnosis of its incident, or what its silence means.
pub(super) fn reason(row: &Row) -> &'static str {
    match (&row.incident, row.standing.silence()) {
        (Some(incident), _) => incident.diagnosis,
        (None, silence) => silence.unwrap_or_default(),
    }
}

fn bar(view: &RotationView, paint: Paint) -> String {
    let progress = view.progress;
    let part = |count: usize| count * BAR / progress.total().max(1);
    let (good, bad) = (part(progress.confirmed), part(progress.confirmed + progress.stale));
    let pieces = [(Standing::Confirmed, good), (Standing::Stale, bad - good)];
    let mut bar = MARGIN.to_owned();
    for (standing, length) in pieces.into_iter().filter(|(_, length)| *length > 0) {
        let _ = write!(bar, "{}{}{}", paint.tone(standing), "█".repeat(length), paint.off());
    }
    bar + &"░".repeat(BAR - bad) + "  " + &summary(view)
}

fn cells(row: &Row, clock: fn(Timestamp) -> String) -> [String; COLUMNS] {
    let identity = row.binding.identity();
    let who = match row.workflow_name.as_deref().or(identity.workflow) {
        Some(workflow) => workflow.to_owned(),
        None => format!("{} client at {}", identity.family, identity.peer),
    };
    let key = row.key.and_then(|key| key.hint).map_or_else(|| "no key".to_owned(), |hint| hint.to_string());
    let rhythm = row.rhythm.map_or_else(|| "once".to_owned(), |rhythm| format!("every {}", about(rhythm.median)));
    let node = identity.node.unwrap_or_default().to_owned();
    // To the minute: the nodes of a run come within one.
    let minute = clock(row.seen).chars().take("08:15".len()).collect::<String>();
    [who, node, key, reason(row).to_owned(), format!("seen at {minute}, {rhythm}")]
}

/// The span to the nearest five minutes, since no run begins on the second.
fn about(span: Duration) -> Span {
    Span(Duration::from_secs((span.as_secs() + 150) / 300 * 300))
}

/// Whether two nodes differ in nothing but their names and the moments of one run.
fn is_same_line(above: &[String; COLUMNS], below: &[String; COLUMNS]) -> bool {
    [WHO, KEY, REASON].into_iter().all(|column| above[column] == below[column])
}

fn answer(old: &OldKey, paint: Paint, clock: fn(Timestamp) -> String) -> String {
    let (tone, points) = match &old.can_go {
        Answer::No(reasons) => (RED, reasons_in_words(reasons, old, clock)),
        Answer::NotSeen { but, .. } => (YELLOW, doubts_in_words(but)),
        Answer::Yes { .. } => (GREEN, Vec::new()),
    };
    let (on, off) = if paint.0 { (tone, OFF) } else { ("", "") };
    let mut text = format!("\n{MARGIN}Can the old key {} go?  {on}{}{off}\n", old.names, old.can_go);
    for point in points {
        let _ = writeln!(text, "{MARGIN}- {point}");
    }
    text
}

/// Those who stand in the lines above are only counted.
fn reasons_in_words(reasons: &[Reason], old: &OldKey, clock: fn(Timestamp) -> String) -> Vec<String> {
    let is_above = |reason: &&Reason| matches!(reason, Reason::StillSent { .. });
    let count = reasons.iter().filter(is_above).count();
    let last = old.last_use.map(clock).unwrap_or_default();
    let above = (count > 0).then(|| format!("{count} of those above still send it, last at {last}"));
    above.into_iter().chain(reasons.iter().filter(|reason| !is_above(reason)).map(ToString::to_string)).collect()
}

fn doubts_in_words(doubts: &[Doubt]) -> Vec<String> {
    let is_above = |doubt: &&Doubt| matches!(doubt, Doubt::Silent { .. });
    let count = doubts.iter().filter(is_above).count();
    let above = (count > 0).then(|| format!("{count} of those above sent it last, and have been silent since"));
    above.into_iter().chain(doubts.iter().filter(|doubt| !is_above(doubt)).map(ToString::to_string)).collect()
}

impl Paint {
    /// The code of a standing, in its colour and as wide as the widest.
    fn word(self, standing: Standing) -> String {
        format!("{}{:<9}{}", self.tone(standing), standing.code(), self.off())
    }

    fn tone(self, standing: Standing) -> &'static str {
        match (self.0, standing) {
            (false, _) => "",
            (true, Standing::Stale) => RED,
            (true, Standing::Silent(_)) => YELLOW,
            (true, Standing::Confirmed) => GREEN,
        }
    }

    fn off(self) -> &'static str {
        if self.0 { OFF } else { "" }
    }
}

const RED: &str = "\x1b[1;31m";

const YELLOW: &str = "\x1b[33m";

const GREEN: &str = "\x1b[32m";

const OFF: &str = "\x1b[0m";

const WHO: usize = 0;

const NODE: usize = 1;

const KEY: usize = 2;

const REASON: usize = 3;

const COLUMNS: usize = 5;

/// The width of the bar.
const BAR: usize = 40;

/// As under a chapter's title.
pub(super) const MARGIN: &str = "          ";
