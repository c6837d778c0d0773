//! `keyward bindings`, `keyward incidents` and `keyward ack`: who sends what, who is not well, and who is given up.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::faults;
use super::format::WHO;
use super::output::{Line, Table, Tone, print, print_json, print_wrapped, remark};
use super::setup::{ConfigArgument, Setup};
use super::source::{Received, Source};
use crate::answers::binding::Binding;
use crate::answers::incident::{Closed, ListedIncident};
use crate::answers::words::{nodes_in_words, note, rhythm, sent_from, short_ago, state};
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
        let source = Source::open(setup)?;
        let Received { json, answer } = source.incidents(&self.choice.with(state))?;
        let incidents = &answer.incidents;
        if self.json {
            print_json(&json);
        } else {
            print_wrapped(&faults::of_problems(source.status()?.answer.problems(), now));
            tell_incidents(incidents, self.all, now);
        }
        Ok(incidents.iter().all(|listed| listed.incident.closed.is_some()))
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

/// Those that are open with what to do, and then those that are over.
fn tell_incidents(incidents: &[ListedIncident], with_closed: bool, now: Timestamp) {
    let (open, closed): (Vec<_>, Vec<_>) =
        incidents.iter().cloned().partition(|listed| listed.incident.closed.is_none());
    if open.is_empty() {
        print_wrapped(&[Line::toned(Tone::Good, "No incident is open.")]);
    } else {
        print_wrapped(&[Line::toned(Tone::Bad, faults::in_short(&open)).hanging(2), Line::default()]);
        print_wrapped(&faults::in_words(&open, now));
    }
    if with_closed && closed.is_empty() {
        print("None is over.");
    } else if with_closed {
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
Ends with 0 if none of those that are listed is open, with 1 if one is, and with 3 if that cannot be
told.

Example: keyward incidents --all --json";

const ACK_HELP: &str = "\
For a workflow that was deleted, or an incident that was dealt with elsewhere. It holds until the
binding is seen again.

Example: keyward ack 1bf3ef9e07";
