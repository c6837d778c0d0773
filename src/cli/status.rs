//! `keyward status`: whether all is well, and what to do where it is not.

use clap::Args;

use super::answer;
use super::faults;
use super::output::{Line, Tone, print_json, print_wrapped};
use super::rotation_view::{bar, current, next, of_old};
use super::setup::{ConfigArgument, Setup};
use super::source::{AnyStatus, Received, Source};
use super::start::Start;
use crate::answers::headline::{self, NOT_SEEN, WELL, WHY_NOT, problems_in_short};
use crate::answers::incident::ListedIncident;
use crate::answers::key::Key;
use crate::answers::status::{N8n, N8nState, Set, StoreState};
use crate::answers::words::{ago, counted, span};
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::set::RoleKind;
use crate::verdict::explain::Severity;

/// What `keyward status` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Tell whether all is well, and whether the old key can go", after_help = STATUS_HELP)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl StatusArguments {
    /// Says whether no problem and no incident is open.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let (now, start) = (setup.now(), Start::new(&setup));
        let source = Source::open(setup)?;
        let Received { json, answer: status } = source.status()?;
        if self.json {
            print_json(&json);
        } else {
            let any_is_open = status.sets().iter().any(|set| set.open_incidents > 0);
            let incidents =
                if any_is_open { source.incidents(&[("state", "open")])?.answer.incidents } else { Vec::new() };
            print_wrapped(&of_status(&status, &incidents, &start, now));
        }
        Ok(is_well(&status))
    }
}

/// The answer first, then what is wrong, what to do next, and how far each set is.
fn of_status(status: &AnyStatus, incidents: &[ListedIncident], start: &Start, now: Timestamp) -> Vec<Line> {
    let several = status.sets().len() > 1;
    let mut lines: Vec<Line> = Vec::new();
    for set in status.sets() {
        let of = several.then_some(&*set.set);
        lines.extend(answer::headlines(&set.old_keys.iter().collect::<Vec<_>>(), of, now));
    }
    if lines.is_empty() {
        lines.push(all_is_well(status, incidents));
    }
    lines.extend(faults::of_problems(status.problems(), now));
    if !incidents.is_empty() && status.sets().iter().any(|set| !set.old_keys.is_empty()) {
        lines.push(Line::toned(Tone::Bad, faults::in_short(incidents)).hanging(2));
    }
    lines.push(next(&next_of_status(status, incidents, start, now)));
    if !incidents.is_empty() {
        lines.push(Line::default());
        lines.extend(faults::in_words(incidents, now));
    }
    let kept: Vec<_> = status.sets().iter().flat_map(|set| &set.old_keys).filter(|old| old.is_kept()).collect();
    if !kept.is_empty() {
        let shown = incidents.iter().map(|listed| &*listed.who.binding).collect();
        lines.extend([Line::default(), Line::toned(Tone::Title, WHY_NOT)]);
        lines.extend(answer::reasons_of_no(&kept, &shown, now));
    }
    for set in status.sets() {
        lines.push(Line::default());
        lines.extend(of_set(set, now));
    }
    lines.push(Line::default());
    lines.extend(of_service(status, now));
    lines
}

/// Where there is no old key, that is not the question.
fn all_is_well(status: &AnyStatus, incidents: &[ListedIncident]) -> Line {
    let line = Line::from("Is all well?  ").hanging(2);
    let seen: usize = status.sets().iter().map(|set| set.progress.total()).sum();
    match (status.problems(), incidents) {
        ([], []) if seen == 0 => line.and_toned(Tone::Doubtful, format!("NOT KNOWN: {NOT_SEEN}")),
        ([], []) => line.and_toned(Tone::Good, format!("YES: {WELL}")),
        ([], incidents) => line.and_toned(Tone::Bad, format!("NO: {}", faults::in_short(incidents))),
        ([first, ..], _) => {
            let short = problems_in_short(status.problems()).unwrap_or_default();
            line.and_toned(faults::tone(first.severity), format!("NO: {short}"))
        }
    }
}

/// The next thing that a person does, in a sentence.
fn next_of_status(status: &AnyStatus, incidents: &[ListedIncident], start: &Start, now: Timestamp) -> String {
    let old_keys = status.sets().iter().flat_map(|set| &set.old_keys);
    let pressing = headline::most_pressing(old_keys);
    if status.problems().iter().any(|problem| problem.severity == Severity::Error) {
        return "mend that first; `keyward status` says when it is over".to_owned();
    }
    match (incidents, pressing) {
        (_, Some(old)) if old.is_kept() || incidents.is_empty() => {
            format!("{}; `keyward rotation` shows who has changed", headline::next_step(old, now))
        }
        ([_, ..], _) => "do what stands below each fault; `keyward incidents` shows them alone".to_owned(),
        ([], _) => {
            let seen = status.sets().iter().map(|set| set.progress.total()).sum();
            start.next_step(status.sets().first().map_or("", |set| &*set.set), seen)
        }
    }
}

/// The process, and each n8n that it asks.
fn of_service(status: &AnyStatus, now: Timestamp) -> Vec<Line> {
    match status {
        AnyStatus::Stored(status) => {
            let (version, stage, bindings) = (&status.version, status.stage.code(), status.bindings);
            vec![Line::from(format!("keyward {version} is {stage}; bindings that it knows: {bindings}")).hanging(2)]
        }
        AnyStatus::Running(status) => {
            let own = format!(
                "keyward {} is {}, up for {}; bindings that it knows: {}",
                status.version,
                status.stage.code(),
                span(status.began, now),
                status.bindings
            );
            let n8n = status.n8n.iter().filter(|n8n| n8n.state != N8nState::Troubled);
            [own].into_iter().chain(n8n.map(|n8n| of_n8n(n8n, now))).map(|line| Line::from(line).hanging(2)).collect()
        }
    }
}

fn of_n8n(n8n: &N8n, now: Timestamp) -> String {
    let known = format!("{} and {} have names", counted(n8n.workflows, "workflow"), counted(n8n.nodes, "node"));
    let lacks = n8n.lacks.as_ref().map_or_else(String::new, |lacks| format!("; {lacks}"));
    let state = n8n.read.map_or_else(|| "not asked yet".to_owned(), |read| format!("asked {}", ago(read, now)));
    format!("n8n {} at {}: {known}; {state}{lacks}", n8n.instance, n8n.url)
}

fn of_set(set: &Set, now: Timestamp) -> Vec<Line> {
    let in_role = |role: RoleKind| set.keys.iter().filter(move |key| key.role == role);
    let keys: Vec<_> = in_role(RoleKind::Current).map(|key: &Key| (&key.names, key.since)).collect();
    let next = in_role(RoleKind::Next).next().map(|key| &key.names);
    let own = format!("{} ({}): {}", set.set, set.policy.name(), current(&keys, next, set.learned, now));
    let mut lines = vec![Line::from(own).hanging(2)];
    lines.extend(set.old_keys.iter().map(|old| of_old(old, now)));
    lines.extend(bar(&set.progress, set.keeps_old()));
    lines
}

/// Whether nothing is wrong now: no problem, no incident, no old key that is still sent or held, no trouble with the store or an n8n.
fn is_well(status: &AnyStatus) -> bool {
    let is_quiet = |set: &Set| set.progress.is_fresh() && !set.keeps_old() && set.open_incidents == 0;
    let runs_well = match status {
        AnyStatus::Running(status) => {
            let n8n_is_well = status.n8n.iter().all(|n8n| n8n.state != N8nState::Troubled);
            status.store.state != StoreState::Troubled && n8n_is_well && status.problems.is_empty()
        }
        AnyStatus::Stored(_) => true,
    };
    runs_well && status.sets().iter().all(is_quiet)
}

const STATUS_HELP: &str = "\
Asks the keyward that runs, and where none does, what its store remembers.
Ends with 0 if no problem and no incident is open, with 1 if one is, and with 3 if that cannot be told.

Example: keyward status";
