//! Pure. The rotation view as the demo shows it: who stands how, and whether the old key can go.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::answer::{Answer, Bar};
use crate::ledger::bar_kind::BarKind;
use crate::ledger::old_key::OldKey;
use crate::ledger::rotation::RotationView;
use crate::ledger::rotation_row::{FullRow, Row};
use crate::ledger::span::Span;
use crate::ledger::standing::Standing;
use crate::telemetry::palette::{Palette, Tone};
use crate::telemetry::rows::Line;

/// The view for people: a line for each workflow that is not done. Bindings that are confirmed are many and well, so they
/// are only counted. `open` are its [`open_rows`]; `clock` says moments.
pub(super) fn text(
    view: &RotationView,
    open: &[FullRow],
    palette: Palette,
    columns: usize,
    clock: fn(Timestamp) -> String,
) -> String {
    let mut text = String::new();
    push(&mut text, bar(view), columns, palette);
    text.push('\n');
    let mut lines: Vec<(Standing, [String; COLUMNS])> = Vec::new();
    for row in open {
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
    // Where a row has no room, its cells stand one behind the other.
    let is_wide = MARGIN.len() + BEHIND_WORD + widths.iter().map(|width| width + 2).sum::<usize>() <= columns;
    for (standing, cells) in &lines {
        let mut line = word(*standing);
        for (cell, width) in cells.iter().zip(widths).filter(|(cell, _)| is_wide || !cell.is_empty()) {
            let width = if is_wide { width } else { 0 };
            line = line.and(format!("  {cell:<width$}"));
        }
        push(&mut text, line.hanging(BEHIND_WORD), columns, palette);
    }
    let confirmed = word(Standing::Confirmed).and(format!("  {} more", view.progress.confirmed));
    push(&mut text, confirmed, columns, palette);
    for line in view.old_keys.iter().flat_map(|old| answer(old, clock)) {
        push(&mut text, line, columns, palette);
    }
    text + "\n"
}

fn push(text: &mut String, line: Line, columns: usize, palette: Palette) {
    for row in line.within(MARGIN.len()).rows(columns, palette) {
        text.push_str(&row);
        text.push('\n');
    }
}

/// The bindings that there is something to say of.
pub(super) fn open_rows(view: &RotationView) -> Vec<FullRow> {
    view.rows.iter().filter(|row| row.standing != Standing::Confirmed).map(Row::in_full).collect()
}

/// Why its standing is what it is: the diagnosis of its incident, or what its silence means.
pub(super) fn reason(row: &FullRow) -> &'static str {
    match (&row.incident, row.standing.silence()) {
        (Some(incident), _) => incident.diagnosis,
        (None, silence) => silence.unwrap_or_default(),
    }
}

fn bar(view: &RotationView) -> Line {
    let pieces = view.progress.bar(BAR, view.keeps_old()).into_iter().filter(|(_, piece)| !piece.is_empty());
    let bar = pieces.fold(Line::default(), |line, (tone, piece)| line.and_toned(tone, piece));
    bar.and(format!("  {}", view.progress)).hanging(BAR + 2)
}

fn cells(row: &FullRow, clock: fn(Timestamp) -> String) -> [String; COLUMNS] {
    let identity = row.binding.identity();
    let who = match row.workflow_name.as_deref().or(identity.workflow) {
        Some(workflow) => workflow.to_owned(),
        None => format!("{} client at {}", identity.family, identity.peer),
    };
    let key = row.key.and_then(|key| key.hint).map_or_else(|| "no key".to_owned(), |hint| hint.to_string());
    let rhythm = row.rhythm.map_or_else(|| "once".to_owned(), |rhythm| format!("every {}", about(rhythm.median)));
    // A workflow may be known without its node, and a client without either.
    let kind = if identity.workflow.is_some() { identity.family.code() } else { "" };
    let node = identity.node.unwrap_or(kind).to_owned();
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

fn answer(old: &OldKey, clock: fn(Timestamp) -> String) -> Vec<Line> {
    let (tone, points) = match &old.can_go {
        Answer::No { because, .. } => (Tone::Bad, reasons_in_words(because, old, clock)),
        Answer::NotProven { but, .. } => (Tone::Doubtful, doubts_in_words(but)),
        Answer::Yes(_) => (Tone::Good, Vec::new()),
    };
    let question = Line::from(format!("Can the old key {} go?  ", old.names)).hanging(2);
    let points = points.into_iter().map(|point| Line::from(format!("- {point}")));
    [Line::default(), question.and_toned(tone, old.can_go.to_string())].into_iter().chain(points).collect()
}

/// Those who stand in the lines above are only counted.
fn reasons_in_words(reasons: &[Bar], old: &OldKey, clock: fn(Timestamp) -> String) -> Vec<String> {
    let is_above = |reason: &&Bar| reason.kind == BarKind::StillSent;
    let count = reasons.iter().filter(is_above).count();
    let last = old.last_use.map(clock).unwrap_or_default();
    let above = (count > 0).then(|| format!("{count} of those above still send it, last at {last}"));
    above.into_iter().chain(reasons.iter().filter(|reason| !is_above(reason)).map(ToString::to_string)).collect()
}

fn doubts_in_words(doubts: &[Bar]) -> Vec<String> {
    let is_above = |doubt: &&Bar| doubt.kind == BarKind::Silent;
    let count = doubts.iter().filter(is_above).count();
    let above = (count > 0).then(|| format!("{count} of those above sent it last, and have been silent since"));
    above.into_iter().chain(doubts.iter().filter(|doubt| !is_above(doubt)).map(ToString::to_string)).collect()
}

/// The code of a standing, in its colour and as wide as the widest.
fn word(standing: Standing) -> Line {
    Line::toned(tone(standing), format!("{:<9}", standing.code()))
}

fn tone(standing: Standing) -> Tone {
    match standing {
        Standing::Mixed | Standing::Stale | Standing::Failing { .. } => Tone::Bad,
        Standing::Silent(_) => Tone::Doubtful,
        Standing::Confirmed => Tone::Good,
    }
}

const WHO: usize = 0;

const NODE: usize = 1;

const KEY: usize = 2;

const REASON: usize = 3;

const COLUMNS: usize = 5;

/// The width of the bar.
const BAR: usize = 40;

/// How wide the code of a standing and the space behind it are.
const BEHIND_WORD: usize = 11;

/// As under a chapter's title.
pub(super) const MARGIN: &str = "          ";

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use super::*;
    use crate::caller::Family;
    use crate::keys::fingerprint::{FingerprintKey, Hint};
    use crate::keys::set::{Names, Retired, SetIndex};
    use crate::ledger::binding::Binding;
    use crate::ledger::identity::Identity;
    use crate::ledger::progress::Progress;
    use crate::ledger::rhythm::Rhythm;
    use crate::ledger::rotation::OldDrafts;
    use crate::ledger::standing::Silence;

    const KEY: &[u8] = b"sk-demo-this-is-no-key-OLD";

    fn names() -> Names {
        Names { fingerprint: FingerprintKey::new(&[7; 32]).fingerprint(KEY), hint: Hint::of(KEY) }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * 60_000)
    }

    fn clock(at: Timestamp) -> String {
        let minutes = at.as_millis() / 60_000;
        format!("{:02}:{:02}:00", minutes / 60, minutes % 60)
    }

    fn row(workflow: Option<&str>, node: Option<&str>, standing: Standing) -> FullRow {
        let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::HttpRequest, home, None);
        let rhythm = Rhythm { median: Duration::from_secs(7_190), longest: Duration::from_secs(7_300), visits: 3 };
        FullRow {
            binding: Arc::new(Binding::new(&Identity { workflow, node, ..untagged }, "demo")),
            workflow_name: None,
            standing,
            seen: at(70),
            key: Some(names()),
            rhythm: workflow.map(|_| rhythm),
            incident: None,
        }
    }

    fn open() -> Vec<FullRow> {
        let silent = |workflow, node| row(workflow, node, Standing::Silent(Silence::DueLater { by: at(900) }));
        let workflow = Some("report");
        vec![
            silent(workflow, Some("write")),
            silent(workflow, None),
            silent(workflow, Some("read")),
            silent(None, None),
        ]
    }

    fn view(can_go: Answer) -> RotationView {
        let retired = Retired { after: None, by: at(60) };
        let old = OldKey { names: names(), retired, grace_until: at(60), last_use: None, traffic: Vec::new(), can_go };
        RotationView {
            set: SetIndex::DEFAULT,
            name: "demo".into(),
            at: at(100),
            learned: false,
            current: Vec::new(),
            next: None,
            rows: Arc::default(),
            progress: Progress { confirmed: 1, due_later: 4, ..Progress::default() },
            open_incidents: 0,
            old_keys: vec![old],
            drafts: OldDrafts::default(),
        }
    }

    #[test]
    fn nodes_of_a_workflow_that_stand_alike_share_a_line() {
        let view =
            view(Answer::NotProven { span: Duration::from_hours(1), but: vec![Bar::known(BarKind::NotAudited)] });
        let text = text(&view, &open(), Palette::Plain, usize::MAX, clock)
            .replace(&names().fingerprint.to_string(), "[fingerprint]");
        insta::assert_snapshot!(text, @r"
                  ████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  1 of 5 confirmed, 4 due later

                  silent     report                            read, http-request, write  sk-…-OLD  due_later  seen at 01:10, every 2 hours
                  silent     http-request client at 127.0.0.1                             sk-…-OLD  due_later  seen at 01:10, once
                  confirmed  1 more

                  Can the old key sk-…-OLD ([fingerprint]) go?  not proven: not seen here for 60 minutes, but that proves nothing
                  - keyward cannot see nodes that do not pass here: n8n was not looked through since
        ");
    }

    #[test]
    fn colours_are_there_only_where_they_are_wanted() {
        let view = view(Answer::No { because: vec![Bar::known(BarKind::NoCurrentKey)], but: Vec::new() });
        assert!(!text(&view, &open(), Palette::Plain, usize::MAX, clock).contains('\x1b'));
        let coloured = text(&view, &open(), Palette::Coloured, usize::MAX, clock);
        assert!(coloured.contains("\x1b[33msilent   \x1b[0m  report"), "{coloured}");
        assert!(coloured.contains("go?  \x1b[1;31mno\x1b[0m\n"), "{coloured}");
    }
}
