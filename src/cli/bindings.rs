//! `keyward bindings`, `keyward incidents` and `keyward ack`: who sends what, who is not well, and who is given up.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::faults::{self, Around};
use super::format::WHO;
use super::output::{Line, Table, Tone, print, print_json, print_with_gist, print_wrapped, remark};
use super::setup::{ConfigArgument, Setup};
use super::source::{Received, Runs, Source};
use super::start::Start;
use crate::answers::binding::Binding;
use crate::answers::incident::{Closed, ListedIncident};
use crate::answers::words::{counted, nodes_in_words, note, rhythm, sent_from, short_ago, state};
use crate::clock::Timestamp;
use crate::config::Environment;

/// What `keyward bindings` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "List who sends what: workflows, nodes and other clients", after_help = BINDINGS_HELP)]
pub(super) struct BindingsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    choice: ChoiceArguments,
    #[arg(long, value_name = "STATE", help = "Only those that stand so", value_parser = crate::admin::views::STATES)]
    state: Option<String>,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

/// What `keyward incidents` takes.
#[derive(Args, Debug)]
#[command(about = "List what is wrong, since when, and what to do", after_help = INCIDENTS_HELP)]
pub(super) struct IncidentsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    choice: ChoiceArguments,
    #[arg(long, help = "Those that are over as well")]
    all: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

/// What `keyward ack` takes.
#[derive(Args, Debug)]
#[command(about = "Acknowledge a binding that is gone, or a fault that is dealt with", after_help = ACK_HELP)]
pub(super) struct AckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "BINDING", help = "Its hex digits, as lists show them", value_parser = NonEmptyStringValueParser::new())]
    binding: String,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

#[derive(Args, Debug)]
struct ChoiceArguments {
    #[arg(long, value_name = "SET", help = "Only of that key set")]
    set: Option<String>,
    #[arg(long, value_name = "WORKFLOW", help = "Only of the workflow with that id")]
    workflow: Option<String>,
}

impl ChoiceArguments {
    fn with<'c>(&'c self, state: Option<&'c str>) -> Vec<(&'static str, &'c str)> {
        let choice = [("set", self.set.as_deref()), ("workflow", self.workflow.as_deref()), ("state", state)];
        choice.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl BindingsArguments {
    /// Says whether none of those that are listed is stale or mixed.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let now = setup.now();
        let Received { json, answer } = Source::open(setup)?.bindings(&self.choice.with(self.state.as_deref()))?;
        if self.json {
            print_json(&json);
        } else {
            tell_bindings(&answer.bindings, now);
        }
        Ok(!answer.bindings.iter().any(|binding| binding.row.standing.is_bad()))
    }
}

impl IncidentsArguments {
    /// Says whether none of those that are listed is open.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let now = setup.now();
        let state = (!self.all).then_some("open");
        let start = Start::new(&setup);
        let source = Source::open_for(setup, self.json)?;
        let runs = source.runs();
        let Received { json, answer } = source.incidents(&self.choice.with(state))?;
        let status = source.status()?.answer;
        let incidents = &answer.incidents;
        if self.json {
            print_json(&json);
        } else {
            let (problems, sets, base_url) = (status.problems(), status.sets(), start.base_url());
            let around = Around { problems, sets, base_url, most: usize::MAX, now };
            tell_incidents(incidents, runs, &around);
            if self.all {
                tell_closed(incidents, now);
            }
        }
        let is_closed = |listed: &ListedIncident| listed.incident.closed.is_some();
        Ok(runs == Runs::Yes && status.problems().is_empty() && incidents.iter().all(is_closed))
    }
}

impl AckArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let Received { json, answer } =
            Source::open(Setup::open(&self.config, environment)?)?.acknowledge(&self.binding)?;
        if self.json {
            print_json(&json);
        } else {
            let who = &answer.binding.row.who;
            print_wrapped(&[format!("{} ({}) is acknowledged", who.who, who.short_id())]);
            remark("That holds until it is seen again.");
        }
        Ok(())
    }
}

fn tell_bindings(bindings: &[Binding], now: Timestamp) {
    if bindings.is_empty() {
        print("No binding is listed: none was seen, or none of those that you chose.");
    } else {
        print(binding_table(bindings, now));
    }
}

fn binding_table(bindings: &[Binding], now: Timestamp) -> Table<9> {
    let mut table = Table::new(["STATE", "BINDING", "WHO", "KEY", "SEEN", "NOTE", "FROM", "SET", "USUALLY"]);
    for Binding { row, last, .. } in bindings {
        table.row([
            state(&row.standing).to_owned(),
            row.who.short_id().to_owned(),
            row.who.in_words(),
            row.key.short(),
            last.map_or_else(|| "-".to_owned(), |last| short_ago(last, now)),
            note(row, now),
            sent_from(row),
            row.who.set.clone(),
            rhythm(row.rhythm.as_ref()),
        ]);
        table.shorten(WHO, &row.who.in_few_words());
    }
    table
}

/// The answer first, then what is wrong with what to do; where that is longer than the terminal, the answer again.
fn tell_incidents(incidents: &[ListedIncident], runs: Runs, around: &Around<'_>) {
    let is_open = |listed: &&ListedIncident| listed.incident.closed.is_none();
    let open: Vec<_> = incidents.iter().filter(is_open).cloned().collect();
    let answer = answer(&open, around);
    let mut lines: Vec<_> = runs.in_words().map(|text| Line::toned(Tone::Bad, text).hanging(2)).into_iter().collect();
    lines.push(answer.clone());
    lines.extend(faults::of_problems(around.problems, around.now));
    if !open.is_empty() {
        lines.push(Line::default());
        lines.extend(faults::in_words(&open, around));
    }
    print_with_gist(&lines, &[answer]);
}

fn answer(open: &[ListedIncident], around: &Around<'_>) -> Line {
    let count = around.problems.len();
    let are = if count == 1 { "is" } else { "are" };
    let problems = (count > 0).then(|| format!("{} {are} open", counted(count, "problem")));
    match (open, problems) {
        ([], None) => Line::toned(Tone::Good, "No incident is open."),
        ([], Some(problems)) => {
            Line::toned(Tone::Bad, format!("No incident of a single caller is open, but {problems}."))
        }
        (open, problems) => {
            let problems = problems.map_or_else(String::new, |problems| format!("; {problems}"));
            Line::toned(Tone::Bad, format!("{}{problems}", faults::in_short(open))).hanging(2)
        }
    }
}

fn tell_closed(incidents: &[ListedIncident], now: Timestamp) {
    let closed: Vec<_> = incidents.iter().filter(|listed| listed.incident.closed.is_some()).cloned().collect();
    if closed.is_empty() {
        print("None is over.");
    } else {
        print(format_args!("\n{}", closed_table(&closed, now)));
    }
}

fn closed_table(incidents: &[ListedIncident], now: Timestamp) -> Table<8> {
    let mut table = Table::new(["CLOSED", "WHO", "DIAGNOSIS", "KEY", "OPENED", "BINDING", "SET", "SIGHTINGS"]);
    for ListedIncident { who, incident, .. } in incidents {
        let closed =
            |closed: &Closed| format!("{} by {}", short_ago(closed.at, now), closed.by.code().replace('_', " "));
        table.row([
            incident.closed.as_ref().map_or_else(String::new, closed),
            nodes_in_words(&[who]),
            incident.diagnosis.clone(),
            incident.key.short(),
            short_ago(incident.opened, now),
            who.short_id().to_owned(),
            who.set.clone(),
            incident.sightings.to_string(),
        ]);
    }
    table
}

const BINDINGS_HELP: &str = "\
Asks the keyward that runs, and where none does, what its store remembers.
Ends with 0 if none of those that are listed is stale or mixed, with 1 if one is, and with 3 if that
cannot be told.

Example: keyward bindings --state stale";

const INCIDENTS_HELP: &str = "\
An incident is open from a binding's first bad request until a good one that started later closes it;
one that is mixed as long as one of its senders still sends an old key beside a good one.
Ends with 0 if none of those that are listed is open, with 1 if one is, if a problem is open or keyward
does not run, and with 3 if that cannot be told.

Example: keyward incidents --all --json";

const ACK_HELP: &str = "\
For a workflow that was deleted, or an incident that was dealt with elsewhere. It holds until the
binding is seen again.

Example: keyward ack 1bf3ef9e07";
