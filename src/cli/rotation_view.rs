//! How far rotations are, as people read it: the answers, what is wrong, what to do next, and then who stands how.

use std::collections::BTreeSet;

use super::answer;
use super::faults::{self, grouped, places};
use super::format::progress;
use super::output::{Line, Palette, Table, Tone};
use super::source::Runs;
use super::start::Start;
use crate::answers::binding::{Row, Standing};
use crate::answers::headline;
use crate::answers::key::KeyNames;
use crate::answers::old_key::OldKeySummary;
use crate::answers::rotation::{RotatingBinding, Rotation};
use crate::answers::status::OpenProblem;
use crate::answers::words::{capitalised, nodes_in_words, note, rhythm, sent_from, short_ago, span, state};
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::ledger::progress::Progress;
use crate::ledger::standing::{SilenceKind, StandingKind};
use crate::problems::kind::ProblemKind;

/// What is shown, and where.
pub(super) struct View<'v> {
    /// The rotation of each set.
    pub(super) sets: &'v [&'v Rotation],
    pub(super) runs: Runs,
    /// What is wrong beside single callers.
    pub(super) problems: &'v [OpenProblem],
    /// What those do who begin.
    pub(super) start: &'v Start,
    pub(super) now: Timestamp,
    /// How wide the terminal is.
    pub(super) columns: usize,
    pub(super) palette: Palette,
}

impl View<'_> {
    /// All of it, row by row.
    pub(super) fn whole(&self) -> Vec<String> {
        let mut rows = self.in_rows(&self.head());
        for set in self.sets {
            rows.push(String::new());
            rows.extend(self.in_rows(&self.measure(set)));
            let (entries, shown) = self.entries(set, Depth::Whole);
            if !entries.is_empty() {
                rows.push(String::new());
                rows.extend(entries.concat());
            }
            let old_keys: Vec<_> = old_keys(set).collect();
            let reasons = answer::reasons(&old_keys, &shown, self.now);
            if !reasons.is_empty() {
                rows.push(String::new());
                rows.extend(self.in_rows(&[Line::toned(Tone::Title, headline::title_of_reasons(&old_keys))]));
                rows.extend(self.in_rows(&reasons));
            }
        }
        rows
    }

    /// The answers and what to do next, which are all where there is little room.
    pub(super) fn gist(&self) -> Vec<String> {
        let mut lines = self.answers();
        lines.push(next(&self.next_step()));
        self.in_rows(&lines)
    }

    /// As much as stands in so many rows: the answers and the bars, and then those rows that matter most; with where each
    /// came from and the first reasons, where there is room for all of that.
    pub(super) fn within(&self, most: usize) -> Vec<String> {
        let whole = self.whole();
        if whole.len() <= most {
            return whole;
        }
        let with_places = self.up_to(most, Depth::Whole);
        if with_places.len() <= most { with_places } else { self.up_to(most, Depth::RowsAlone) }
    }

    /// The rows of that depth: with places, all of them; without, as many as there is room for.
    fn up_to(&self, most: usize, depth: Depth) -> Vec<String> {
        let mut rows = self.in_rows(&self.head());
        // The rows of nodes matter more than all that there is to say of problems.
        if depth == Depth::RowsAlone && rows.len() > most / 3 {
            rows = self.in_rows(&self.head_in_brief());
        }
        let measures: Vec<_> = self.sets.iter().map(|set| self.in_rows(&self.measure(set))).collect();
        // A blank row before and in each set, and one that says how much is left out.
        let taken = rows.len() + measures.iter().map(|measure| measure.len() + 3).sum::<usize>();
        let mut room = if depth == Depth::Whole { usize::MAX } else { most.saturating_sub(taken) };
        for (set, measure) in self.sets.iter().zip(measures) {
            rows.push(String::new());
            rows.extend(measure);
            let (entries, _) = self.entries(set, depth);
            if entries.is_empty() {
                continue;
            }
            rows.push(String::new());
            let (mut shown, count) = (0, entries.len());
            for entry in entries {
                if entry.len() > room {
                    break;
                }
                room -= entry.len();
                shown += 1;
                rows.extend(entry);
            }
            if shown < count {
                rows.push(format!("and {} more: keyward rotation {}", count - shown, set.set));
            }
        }
        if depth == Depth::Whole {
            rows.extend(self.first_reasons(most.saturating_sub(rows.len())));
        } else {
            rows.truncate(most);
        }
        rows
    }

    /// What bars the old keys: as many whole reasons as there is room for.
    fn first_reasons(&self, room: usize) -> Vec<String> {
        let old_keys: Vec<_> = self.sets.iter().flat_map(|set| old_keys(set)).collect();
        let shown = self.sets.iter().flat_map(|set| &set.bindings).map(|binding| &*binding.row.who.binding).collect();
        let title = self.in_rows(&[Line::default(), Line::toned(Tone::Title, headline::title_of_reasons(&old_keys))]);
        let reasons = self.in_rows(&answer::reasons(&old_keys, &shown, self.now));
        let room = room.saturating_sub(title.len()).min(reasons.len());
        // A reason ends where the next one begins.
        let is_end = |at: &usize| reasons.get(*at).is_none_or(|row| row.starts_with("- "));
        match (1..=room).rev().find(is_end) {
            Some(end) => title.into_iter().chain(reasons.into_iter().take(end)).collect(),
            None => Vec::new(),
        }
    }

    fn in_rows(&self, lines: &[Line]) -> Vec<String> {
        lines.iter().flat_map(|line| line.rows(self.columns, self.palette)).collect()
    }

    /// The answer of each set, what is wrong, and what to do next.
    fn head(&self) -> Vec<Line> {
        let mut lines = self.answers();
        lines.extend(faults::of_problems(self.problems, self.now));
        lines.push(next(&self.next_step()));
        lines
    }

    /// The same with a row for each problem.
    fn head_in_brief(&self) -> Vec<Line> {
        let mut lines = self.answers();
        lines.extend(self.problems.iter().map(faults::problem_in_brief));
        let of_problems =
            faults::next_of_problems(self.problems).map(|_| "do what `keyward status` says of that".to_owned());
        lines.push(next(&of_problems.unwrap_or_else(|| self.next_step())));
        lines
    }

    fn answers(&self) -> Vec<Line> {
        let runs = self.runs.in_words().map(|text| Line::toned(Tone::Bad, text).hanging(2));
        let mut lines: Vec<_> = runs.into_iter().collect();
        for set in self.sets {
            let of = (self.sets.len() > 1).then_some(&*set.set);
            let old_keys: Vec<_> = old_keys(set).collect();
            if old_keys.is_empty() {
                lines.push(no_old_key(set.total, of));
            } else {
                lines.extend(answer::headlines(&old_keys, of, self.now));
            }
        }
        lines
    }

    fn next_step(&self) -> String {
        let of_problems = faults::next_of_problems(self.problems);
        let of_old_keys = || {
            let old = headline::most_pressing(self.sets.iter().flat_map(|set| old_keys(set)))?;
            let mut sets = self.sets.iter();
            let own = sets.find(|set| old_keys(set).any(|known| std::ptr::eq(known, old)));
            let set = own.map_or("", |set| &*set.set);
            Some(headline::next_step(old, self.start.holds(set), self.now))
        };
        let of_start = || {
            let seen = self.sets.iter().map(|set| set.total).sum();
            self.start.next_step(self.sets.first().map_or("", |set| &*set.set), seen)
        };
        of_problems.or_else(of_old_keys).unwrap_or_else(of_start)
    }

    /// The keys of a set, and how far its rotation is.
    fn measure(&self, set: &Rotation) -> Vec<Line> {
        let keys: Vec<_> = set.current.iter().map(|key| (&key.key, key.since)).collect();
        let current = current(&keys, set.next_key.as_ref(), set.learned, self.now);
        let mut lines = vec![Line::from(format!("{}: {current}", set.set)).hanging(2)];
        lines.extend(old_keys(set).map(|old| of_old(old, self.now)));
        lines.extend(bar(&set.progress, old_keys(set).any(OldKeySummary::is_kept), self.problems));
        lines
    }

    /// The rows of those of whom there is something to say, the worst first, and of the others how many there are; with the
    /// bindings that have rows of their own.
    fn entries<'r>(&self, set: &'r Rotation, depth: Depth) -> (Vec<Vec<String>>, BTreeSet<&'r str>) {
        let is_open = |binding: &&RotatingBinding| binding.row.standing.state != Some(StandingKind::Confirmed);
        let open: Vec<_> = set.bindings.iter().filter(is_open).collect();
        let mut groups = grouped(&open, share_a_row);
        groups.sort_by_key(|group| group.first().map(|first| rank(&first.row.standing)));
        let mut table = Table::new(["STATE", "WHO", "KEY", "WHY", "SEEN", "USUALLY"]);
        for group in &groups {
            table.row(cells(group, self.now));
            if let Some(first) = group.first() {
                table.tone(tone(&first.row.standing));
            }
        }
        let mut rows = if groups.is_empty() { Vec::new() } else { table.entries(self.columns, self.palette) };
        let states = groups.iter().filter_map(|group| group.first()).map(|first| state(&first.row.standing).len());
        let who = 2 + states.chain(["STATE".len()]).max().unwrap_or(0);
        let with_details = groups.iter().zip(rows.iter_mut().skip(1)).filter(|_| depth == Depth::Whole);
        for (group, rows) in with_details {
            let details: Vec<_> = details(group).into_iter().map(|line| line.within(who)).collect();
            rows.extend(self.in_rows(&details));
        }
        let confirmed: Vec<_> = set.bindings.iter().filter(|binding| !is_open(binding)).collect();
        rows.extend(of_confirmed(&confirmed, who).map(|line| self.in_rows(&[line])));
        (rows, open.iter().map(|binding| &*binding.row.who.binding).collect())
    }
}

fn old_keys(set: &Rotation) -> impl Iterator<Item = &OldKeySummary> {
    set.old_keys.iter().map(|old| &old.summary)
}

fn no_old_key(seen: usize, of: Option<&str>) -> Line {
    let set = of.map_or_else(String::new, |set| format!("{set}: "));
    let known = if seen == 0 { "no node was seen yet, and no old key is known." } else { "no old key is known." };
    Line::from(format!("{set}Can the old key go?  ")).hanging(2).and_toned(Tone::Doubtful, capitalised(known))
}

pub(super) fn next(step: &str) -> Line {
    Line::toned(Tone::Title, "Next:").and(format!(" {step}.")).hanging(6)
}

/// How far a rotation is; nothing where no binding was seen. While upstream fails, it is what was so before.
pub(super) fn bar(told: &Progress, keeps_old: bool, problems: &[OpenProblem]) -> Option<Line> {
    let is_of_upstream = |problem: &OpenProblem| {
        matches!(problem.code, Coded::Known(ProblemKind::UpstreamUnreachable | ProblemKind::UpstreamFailing))
    };
    let before = if problems.iter().any(is_of_upstream) { ", before upstream failed" } else { "" };
    (told.total() > 0).then(|| progress(told, keeps_old).and(before))
}

/// Since when an old key is one, and when it came last.
pub(super) fn of_old(old: &OldKeySummary, now: Timestamp) -> Line {
    let last =
        old.last_use.map_or_else(|| "never seen".to_owned(), |last| format!("last seen {}", short_ago(last, now)));
    Line::from(format!("old key {}, replaced {}, {last}", old.key, short_ago(old.retired_by, now))).hanging(2)
}

/// The key that is to be sent, since when it is, and the one after it.
pub(super) fn current(
    keys: &[(&KeyNames, Option<Timestamp>)],
    next: Option<&KeyNames>,
    learned: bool,
    now: Timestamp,
) -> String {
    let learned = if learned { ", learned from what upstream accepts" } else { "" };
    let next = next.map_or_else(String::new, |next| format!("; next {next}"));
    match keys {
        [] => format!("no current key is known{learned}{next}"),
        [(key, None)] => format!("current key {key}{learned}{next}"),
        [(key, Some(since))] => format!("current key {key} for {}{learned}{next}", span(*since, now)),
        several => {
            let keys: Vec<_> = several.iter().map(|(key, _)| key.to_string()).collect();
            format!("{} keys are in use, which is current? {}{learned}", keys.len(), keys.join(", "))
        }
    }
}

/// How much is told of each row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Where it came from and where it is in n8n, too.
    Whole,
    /// The row itself.
    RowsAlone,
}

/// From where a row came, and where it is in n8n.
fn details(group: &[&RotatingBinding]) -> Vec<Line> {
    let whos: Vec<_> = group.iter().map(|binding| &binding.row.who).collect();
    places(&whos, &group.first().map(|first| sent_from(&first.row)).unwrap_or_default())
}

/// Those that are well are many, so they are counted by their workflows.
fn of_confirmed(confirmed: &[&RotatingBinding], hang: usize) -> Option<Line> {
    let mut names: Vec<String> = Vec::new();
    for binding in confirmed {
        let who = &binding.row.who;
        let name = who.workflow_name.as_ref().or(who.workflow_id.as_ref()).unwrap_or(&who.who).clone();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(MOST_CONFIRMED);
    names.truncate(MOST_CONFIRMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let line = Line::toned(Tone::Good, "confirmed").hanging(hang);
    (!confirmed.is_empty()).then(|| line.and(format!("  {} in {}{more}", confirmed.len(), names.join(", "))))
}

/// Nodes of one workflow that differ in nothing but their names and the moments of one run.
fn share_a_row(one: &RotatingBinding, other: &RotatingBinding) -> bool {
    let about = |binding: &RotatingBinding| {
        let Row { who, standing, key, incident, .. } = &binding.row;
        let diagnosis = incident.as_ref().map(|incident| incident.diagnosis.clone());
        let record = (who.instance.clone(), who.workflow_id.clone(), who.credential.clone());
        (record, state(standing), key.clone(), diagnosis, sent_from(&binding.row))
    };
    one.row.who.workflow_id.is_some() && about(one) == about(other)
}

fn cells(group: &[&RotatingBinding], now: Timestamp) -> [String; 6] {
    let Some(first) = group.first() else { return Default::default() };
    let whos: Vec<_> = group.iter().map(|binding| &binding.row.who).collect();
    let last = group.iter().map(|binding| binding.last).max().unwrap_or(first.last);
    let row = &first.row;
    let (state, key) = (state(&row.standing).to_owned(), row.key.short());
    [state, nodes_in_words(&whos), key, note(row, now), short_ago(last, now), rhythm(row.rhythm.as_ref())]
}

/// What sends the old key matters most here, then what fails, then what is late.
fn rank(standing: &Standing) -> u8 {
    match (standing.state, standing.silence) {
        (Some(StandingKind::Stale | StandingKind::Mixed), _) => 0,
        (Some(StandingKind::Failing), _) => 1,
        (Some(StandingKind::Silent), Some(SilenceKind::Overdue)) => 2,
        (Some(StandingKind::Silent), Some(SilenceKind::DueLater) | None) => 3,
        (Some(StandingKind::Silent), Some(SilenceKind::Acknowledged)) => 4,
        (Some(StandingKind::Confirmed) | None, _) => 5,
    }
}

fn tone(standing: &Standing) -> Tone {
    match (standing.state, standing.silence) {
        (Some(StandingKind::Mixed | StandingKind::Stale | StandingKind::Failing), _) => Tone::Bad,
        (Some(StandingKind::Silent), Some(SilenceKind::Overdue | SilenceKind::DueLater) | None) => Tone::Doubtful,
        (Some(StandingKind::Confirmed), _) => Tone::Good,
        (Some(StandingKind::Silent), Some(SilenceKind::Acknowledged)) | (None, _) => Tone::Aside,
    }
}

/// How many workflows whose nodes are well are named.
const MOST_CONFIRMED: usize = 6;
