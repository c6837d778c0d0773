//! `keyward status`: whether all is well, and what to do where it is not.

use std::collections::BTreeSet;

use anyhow::bail;
use clap::Args;

use super::answer;
use super::faults::{self, Around};
use super::output::{Line, Tone, print_json, print_with_gist};
use super::rotation_view::{bar, current, next, of_old};
use super::setup::{ConfigArgument, Setup};
use super::source::{AnyStatus, Received, Runs, Source};
use super::start::Start;
use crate::answers::headline::{self, Holds, NOT_SEEN, WELL, WHY_NOT, problems_in_short};
use crate::answers::incident::ListedIncident;
use crate::answers::key::Key;
use crate::answers::old_key::{OldKeySummary, Reason};
use crate::answers::status::{N8n, N8nState, OpenProblem, Set, StoreState};
use crate::answers::words::{ago, counted, span};
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::set::RoleKind;
use crate::ledger::progress::Progress;
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
        let source = Source::open_for(setup, self.json)?;
        let runs = source.runs();
        let Received { json, answer: status } = source.status()?;
        if self.json {
            print_json(&json);
        } else {
            let any_is_open = status.sets().iter().any(|set| set.open_incidents > 0);
            let incidents =
                if any_is_open { source.incidents(&[("state", "open")])?.answer.incidents } else { Vec::new() };
            let seen = Seen { runs, status: &status, incidents: &incidents, start: &start, now };
            print_with_gist(&of_status(&seen), &gist(&seen));
        }
        if runs == Runs::CannotBeAsked {
            bail!("whether keyward runs cannot be told while its admin listener is off (admin.listen)");
        }
        Ok(runs == Runs::Yes && is_well(&status))
    }
}

/// What is told.
struct Seen<'s> {
    runs: Runs,
    status: &'s AnyStatus,
    /// The open ones.
    incidents: &'s [ListedIncident],
    start: &'s Start,
    now: Timestamp,
}

/// The answer first, then what is wrong, what to do next, and how far each set is.
fn of_status(seen: &Seen<'_>) -> Vec<Line> {
    let &Seen { status, incidents, start, now, .. } = seen;
    let mut lines = seen.answers();
    let has_old_keys = status.sets().iter().any(|set| !set.old_keys.is_empty());
    lines.extend(faults::of_problems(status.problems(), now));
    if has_old_keys && !seen.comes_first() {
        lines.extend(seen.beside_old_keys().map(|text| Line::toned(Tone::Bad, text).hanging(2)));
    }
    lines.extend(start.rotations(now).map(|text| Line::toned(Tone::Doubtful, text).hanging(2)));
    lines.push(next(&seen.next_step()));
    if !incidents.is_empty() {
        lines.push(Line::default());
        lines.extend(faults::in_words(incidents, &seen.around()));
    }
    let kept: Vec<_> = status.sets().iter().flat_map(|set| &set.old_keys).filter(|old| old.is_kept()).collect();
    let shown: BTreeSet<_> = incidents.iter().map(|listed| &*listed.who.binding).collect();
    // The incidents above say what is to be done about their senders.
    let is_told = |reason: &Reason| reason.binding.as_deref().is_some_and(|binding| shown.contains(binding));
    let says_more = |old: &&&OldKeySummary| {
        let can_go = &old.can_go;
        !can_go.by_credential.is_empty() || !can_go.is_whole() || !can_go.reasons.iter().all(is_told)
    };
    let kept: Vec<_> = kept.iter().filter(says_more).copied().collect();
    if !kept.is_empty() {
        lines.extend([Line::default(), Line::toned(Tone::Title, WHY_NOT)]);
        lines.extend(answer::reasons_of_no(&kept, &shown, now));
    }
    for set in status.sets() {
        lines.push(Line::default());
        lines.extend(of_set(set, status.problems(), now));
    }
    lines.push(Line::default());
    lines.extend(of_service(status, now));
    lines
}

/// The answers, what is wrong in a row each, and what to do next, which are all where there is little room.
fn gist(seen: &Seen<'_>) -> Vec<Line> {
    let mut lines = seen.answers();
    lines.extend(faults::in_brief(seen.status.problems(), seen.incidents, &seen.around()));
    lines.push(next(&seen.next_step()));
    lines
}

impl Seen<'_> {
    fn around(&self) -> Around<'_> {
        let &Self { status, start, now, .. } = self;
        let (problems, sets, base_url) = (status.problems(), status.sets(), start.base_url());
        Around { problems, sets, base_url, most: MOST_CALLERS, now }
    }

    fn answers(&self) -> Vec<Line> {
        let several = self.status.sets().len() > 1;
        let mut lines: Vec<Line> = Vec::new();
        for set in self.status.sets() {
            let of = several.then_some(&*set.set);
            lines.extend(answer::headlines(&set.old_keys.iter().collect::<Vec<_>>(), of, self.now));
        }
        if lines.is_empty() || self.comes_first() {
            lines.insert(0, self.all_is_well());
        }
        lines
    }

    /// Whether it matters more than whether an old key can go: then requests are not answered.
    fn comes_first(&self) -> bool {
        let is_error = |problem: &OpenProblem| problem.severity == Severity::Error;
        self.runs != Runs::Yes || self.status.problems().iter().any(is_error)
    }

    /// Whether all is well, which is the question where there is no old key.
    fn all_is_well(&self) -> Line {
        let (tone, answer) = self.answer();
        Line::from("Is all well?  ").hanging(2).and_toned(tone, answer)
    }

    fn answer(&self) -> (Tone, String) {
        let no = |what: String| (Tone::Bad, format!("NO: {what}"));
        match self.runs {
            Runs::Yes => {}
            Runs::No(address) => {
                return no(format!(
                    "keyward does not run (nothing answers at {address}), so n8n's OpenAI nodes fail. What stands below is what \
                     its store remembers"
                ));
            }
            Runs::CannotBeAsked => {
                let text = "NOT KNOWN: the admin listener is off (admin.listen), so that keyward cannot be asked. What stands \
                            below is what its store remembers";
                return (Tone::Doubtful, text.to_owned());
            }
        }
        let problems = self.status.problems();
        if let Some((first, short)) = problems.first().zip(problems_in_short(problems)) {
            return (faults::tone(first.severity), format!("NO: {short}"));
        }
        let told: Vec<_> = self.beside_old_keys().collect();
        if told.is_empty() { self.of_nodes() } else { no(told.join("; ")) }
    }

    /// What is wrong with single callers, whatever becomes of old keys.
    fn beside_old_keys(&self) -> impl Iterator<Item = String> {
        let incidents = (!self.incidents.is_empty()).then(|| faults::in_short(self.incidents));
        let without = match self.failing_without_incident() {
            0 => None,
            1 => Some("1 node fails (quota)".to_owned()),
            several => Some(format!("{several} nodes fail (quota)")),
        };
        incidents.into_iter().chain(without)
    }

    /// How many nodes fail without an incident: their account was out of credit when they ran last.
    fn failing_without_incident(&self) -> usize {
        let failing: usize = self.status.sets().iter().map(|set| set.progress.failing).sum();
        let is_failing = |listed: &&ListedIncident| !matches!(&*listed.incident.diagnosis, "stale_binding" | "mixed");
        failing.saturating_sub(self.incidents.iter().filter(is_failing).count())
    }

    /// How all nodes are that were seen, where nothing is wrong with any.
    fn of_nodes(&self) -> (Tone, String) {
        let count = |of: fn(&Progress) -> usize| self.status.sets().iter().map(|set| of(&set.progress)).sum::<usize>();
        let silent = count(|progress| progress.overdue + progress.due_later);
        let acknowledged = count(|progress| progress.acknowledged);
        let confirmed = count(|progress| progress.confirmed);
        let dead = match acknowledged {
            0 => String::new(),
            dead => format!("; {dead} acknowledged as dead"),
        };
        match (confirmed, silent) {
            (0, 0) if acknowledged == 0 => (Tone::Doubtful, format!("NOT KNOWN: {NOT_SEEN}")),
            (_, 0) => (Tone::Good, format!("YES: {WELL}{dead}")),
            (_, silent) => {
                let was = if silent == 1 { "was" } else { "were" };
                let nodes = counted(silent, "node");
                (Tone::Doubtful, format!("NOT KNOWN: {nodes} {was} not seen with a good key since{dead}"))
            }
        }
    }

    /// The next thing that a person does, in a sentence.
    fn next_step(&self) -> String {
        let &Self { status, incidents, start, now, .. } = self;
        match self.runs {
            Runs::Yes => {}
            Runs::No(_) => return "start it (`keyward serve`, with the same configuration)".to_owned(),
            Runs::CannotBeAsked => return "set `admin.listen`, and restart keyward".to_owned(),
        }
        if let Some(step) = faults::next_of_problems(status.problems()) {
            return step;
        }
        let pressing = headline::most_pressing(status.sets().iter().flat_map(|set| &set.old_keys));
        match (incidents, pressing) {
            (_, Some(old)) if old.is_kept() || (incidents.is_empty() && self.failing_without_incident() == 0) => {
                let is_its = |set: &&Set| set.old_keys.iter().any(|known| std::ptr::eq(known, old));
                let set = status.sets().iter().find(is_its);
                let holds = set.map_or(Holds::Key, |set| set.policy.into());
                format!("{}; `keyward rotation` shows who has changed", headline::next_step(old, holds, now))
            }
            ([], _) if self.failing_without_incident() > 0 => {
                "run what fails once more: its account was out of credit when it ran last; `keyward rotation` names it"
                    .to_owned()
            }
            ([_, ..], _) => "do what stands below each fault; `keyward incidents` shows them alone".to_owned(),
            ([], _) => {
                let seen = status.sets().iter().map(|set| set.progress.total()).sum();
                start.next_step(status.sets().first().map_or("", |set| &*set.set), seen)
            }
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

fn of_set(set: &Set, problems: &[OpenProblem], now: Timestamp) -> Vec<Line> {
    let in_role = |role: RoleKind| set.keys.iter().filter(move |key| key.role == role);
    let keys: Vec<_> = in_role(RoleKind::Current).map(|key: &Key| (&key.names, key.since)).collect();
    let next = in_role(RoleKind::Next).next().map(|key| &key.names);
    let own = format!("{} ({}): {}", set.set, set.policy.name(), current(&keys, next, set.learned, now));
    let mut lines = vec![Line::from(own).hanging(2)];
    lines.extend(set.old_keys.iter().map(|old| of_old(old, now)));
    lines.extend(bar(&set.progress, set.keeps_old(), problems));
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

/// How many callers of a kind are told: the others are counted.
const MOST_CALLERS: usize = 5;

const STATUS_HELP: &str = "\
Asks the keyward that runs, and where none does, what its store remembers.
Ends with 0 if no problem and no incident is open, with 1 if one is or keyward does not run, and with 3
if that cannot be told: without a configuration that can be read, a store or an admin listener.

Example: keyward status";
