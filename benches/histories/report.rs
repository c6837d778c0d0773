//! Pure. What came of the histories, as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::drive::{Course, Spelled};
use crate::history::History;
use crate::schedule::{ASKED_UNTIL, DAY, HOUR, MINUTE, Moment, NEVER};

/// What is kept of a history.
#[derive(Clone, Debug)]
pub struct Told {
    number: u64,
    scenario: &'static str,
    additions: Vec<&'static str>,
    faults: Vec<&'static str>,
    is_inside: bool,
    free: Option<Moment>,
    deserved: Option<Moment>,
    course: Course,
}

impl Told {
    /// Of a history, what a subject said in it.
    pub fn new(history: &History, course: Course) -> Self {
        Self {
            number: history.number,
            scenario: history.scenario,
            additions: history.additions.clone(),
            faults: history.world.faults.iter().copied().collect(),
            is_inside: history.world.outside.is_empty(),
            free: Some(history.truth.free).filter(|free| *free < NEVER),
            deserved: history.truth.deserved,
            course,
        }
    }

    /// How long after it was deserved *yes* came.
    fn late(&self) -> Option<i64> {
        Some((self.course.yes? - self.deserved?).max(0))
    }
}

/// What came of all histories.
#[derive(Debug, Default)]
pub struct Report {
    all: Vec<Told>,
}

impl Report {
    /// Of those, in the order of their numbers.
    pub fn new(mut all: Vec<Told>) -> Self {
        all.sort_by_key(|told| told.number);
        Self { all }
    }

    /// How many histories inside the assumptions had no wrong *yes*, and how many had one.
    pub fn count(&self) -> String {
        let inside = self.all.iter().filter(|told| told.is_inside);
        let (passed, failed): (Vec<_>, Vec<_>) = inside.partition(|told| told.course.wrong.is_none());
        format!("{} passed, {} failed", passed.len(), failed.len())
    }

    /// Whether there was no wrong *yes*, and *yes* in at least 95 % of those that deserved it.
    pub fn holds(&self) -> bool {
        let inside: Vec<&Told> = self.all.iter().filter(|told| told.is_inside).collect();
        let deserving: Vec<_> = inside.iter().filter(|told| told.deserved.is_some()).collect();
        let answered = deserving.iter().filter(|told| told.course.yes.is_some()).count();
        inside.iter().all(|told| told.course.wrong.is_none()) && answered * 100 >= deserving.len() * 95
    }

    /// Whether the histories are what they should be: a quarter of them clean, and each fault in at least 3 %.
    pub fn is_balanced(&self) -> bool {
        let rare = self.faults().into_iter().any(|(_, count)| count * 100 < self.all.len() * 3);
        let clean = self.all.iter().filter(|told| told.scenario == "clean").count();
        !rare && clean * 100 >= self.all.len() * 22
    }

    fn faults(&self) -> BTreeMap<&'static str, usize> {
        let mut faults = BTreeMap::new();
        for fault in self.all.iter().flat_map(|told| &told.faults) {
            *faults.entry(*fault).or_default() += 1;
        }
        faults
    }

    /// The tables.
    pub fn write(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:24} {:>6} {:>6} {:>6} {:>8} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8}  barred most often",
            "scenario", "count", "wrong", "free", "deserve", "1 h %", "1 d %", "7 d %", "ever %", "median", "of free"
        );
        let mut scenarios = BTreeMap::<&str, Vec<&Told>>::new();
        for told in &self.all {
            scenarios.entry(told.scenario).or_default().push(told);
        }
        for (scenario, told) in &scenarios {
            write_row(&mut text, scenario, told);
        }
        write_row(&mut text, "all", &self.all.iter().collect::<Vec<_>>());
        let _ = writeln!(text, "\n{:32} {:>8} {:>6} {:>6}", "with", "count", "%", "wrong");
        for (fault, count) in self.faults() {
            let wrong =
                self.all.iter().filter(|told| told.faults.contains(&fault) && told.course.wrong.is_some()).count();
            let _ = writeln!(text, "{fault:32} {count:>8} {:>6} {wrong:>6}", percent(count, self.all.len()));
        }
        let early = self.all.iter().filter(|told| told.course.early).count();
        let _ = writeln!(text, "\nyes while a sender still held the key that did not use it again: {early}");
        text
    }

    /// Each wrong *yes*, up to that many, with what plays it again.
    pub fn wrong(&self, seed: u64, most: usize) -> String {
        let mut text = String::new();
        let wrong = self.all.iter().filter_map(|told| told.course.wrong.map(|wrong| (told, wrong)));
        for (told, (at, later)) in wrong.take(most) {
            let side = if told.is_inside { "inside" } else { "outside" };
            let _ = writeln!(
                text,
                "wrong ({side}): {} with {:?}: yes at {}, used again at {}; --seed {seed} --history {} --trace",
                told.scenario,
                told.additions,
                Spelled(at),
                Spelled(later),
                told.number
            );
        }
        text
    }

    /// Those that deserved *yes* and never got it, up to that many.
    pub fn denied(&self, seed: u64, most: usize) -> String {
        let mut text = String::new();
        let denied = |told: &&Told| told.deserved.is_some() && told.course.yes.is_none();
        for told in self.all.iter().filter(denied).take(most) {
            let from = Spelled(told.deserved.unwrap_or_default());
            let bars = most_often([told].into_iter());
            let _ = writeln!(
                text,
                "denied: {} with {:?}: deserved from {from}, barred by {bars}; --seed {seed} --history {} --trace",
                told.scenario, told.additions, told.number
            );
        }
        text
    }
}

fn write_row(text: &mut String, name: &str, told: &[&Told]) {
    let wrong = told.iter().filter(|told| told.course.wrong.is_some()).count();
    let free = told.iter().filter(|told| told.free.is_some()).count();
    let deserving: Vec<&&Told> = told.iter().filter(|told| told.deserved.is_some()).collect();
    let mut late: Vec<i64> = deserving.iter().filter_map(|told| told.late()).collect();
    let within = |span: i64| percent(late.iter().filter(|late| **late <= span).count(), deserving.len());
    // From the moment of freedom on, which no one can see: how the rule's first simulation told it.
    let freed: Vec<&&Told> =
        told.iter().filter(|told| told.free.is_some_and(|free| free < ASKED_UNTIL - 8 * DAY)).collect();
    let mut since: Vec<i64> = freed.iter().filter_map(|told| Some(told.course.yes? - told.free?)).collect();
    let of_free = middle(&mut since, freed.len());
    let (hour, day, week) = (within(HOUR + 10 * MINUTE), within(DAY), within(7 * DAY));
    let ever = percent(late.len(), deserving.len());
    let median = middle(&mut late, deserving.len());
    let bars = most_often(deserving.iter().map(|told| **told));
    let _ = writeln!(
        text,
        "{name:24} {:>6} {wrong:>6} {free:>6} {:>8} {hour:>6} {day:>6} {week:>6} {ever:>6} {median:>8} {of_free:>8}  {bars}",
        told.len(),
        deserving.len(),
    );
}

/// The median of that many; those that never came are the latest.
fn middle(spans: &mut [i64], count: usize) -> String {
    spans.sort_unstable();
    if count == 0 { "-".to_owned() } else { spans.get(count / 2).map_or("never".into(), |span| spell(*span)) }
}

/// What barred *yes* in the most histories while it was deserved.
fn most_often<'t>(told: impl Iterator<Item = &'t Told>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for told in told {
        let bars: std::collections::BTreeSet<&str> =
            told.course.barred.iter().map(|bar| bar.split(':').next().unwrap_or_default()).collect();
        for bar in bars {
            *counts.entry(bar).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(bar, count)| (std::cmp::Reverse(*count), *bar));
    let first = counts.into_iter().take(3).map(|(bar, count)| format!("{bar} {count}"));
    first.collect::<Vec<_>>().join(", ")
}

fn percent(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = (part * 1000 + whole / 2) / whole;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn spell(span: i64) -> String {
    if span < 2 * DAY {
        format!("{}.{} h", span / HOUR, span % HOUR * 10 / HOUR)
    } else {
        format!("{}.{} d", span / DAY, span % DAY * 10 / DAY)
    }
}
