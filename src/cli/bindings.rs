//! `keyward bindings`, `keyward incidents` and `keyward ack`: who sends what, who is not well, and who is given up.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::format::{WHO, ago, incident_from, note, rhythm, sent_from, short_ago, state};
use super::output::{Table, print, print_json, print_lines, print_wrapped, remark};
use super::setup::{ConfigArgument, Setup};
use super::source::{Received, Source};
use crate::answers::binding::Binding;
use crate::answers::incident::{Closed, ListedIncident};
use crate::answers::sender::Sender;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::ledger::standing::StandingKind;

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
#[command(about = "List who is not well, and since when", after_help = INCIDENTS_HELP)]
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
#[command(about = "Say that a binding is dead, or that its incident is dealt with", after_help = ACK_HELP)]
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
            print(binding_table(&answer.bindings, now));
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
        let Received { json, answer } = Source::open(setup)?.incidents(&self.choice.with(state))?;
        let incidents = &answer.incidents;
        if self.json {
            print_json(&json);
        } else if incidents.is_empty() {
            remark("There is none.");
        } else {
            print(incident_table(incidents, now));
            let mixed = incidents.iter().filter(|listed| listed.incident.diagnosis == MIXED);
            mixed.for_each(|listed| print_wrapped(&of_mixed(listed, now)));
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
            print_lines(&[format!("{} ({}) is acknowledged", who.who, who.short_id())]);
            remark("That holds until it is seen again.");
        }
        Ok(())
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

fn incident_table(incidents: &[ListedIncident], now: Timestamp) -> Table<9> {
    let mut table = Table::new(["OPENED", "BINDING", "WHO", "DIAGNOSIS", "CLOSED", "KEY", "FROM", "SET", "SIGHTINGS"]);
    for ListedIncident { who, incident, senders } in incidents {
        let closed =
            |closed: &Closed| format!("{} by {}", short_ago(closed.at, now), closed.by.code().replace('_', " "));
        table.row([
            short_ago(incident.opened, now),
            who.short_id().to_owned(),
            who.in_words(),
            incident.diagnosis.clone(),
            incident.closed.as_ref().map_or_else(|| "open".to_owned(), closed),
            incident.key.short(),
            incident_from(incident, senders),
            who.set.clone(),
            incident.sightings.to_string(),
        ]);
        table.shorten(WHO, &who.in_few_words());
    }
    table
}

/// Which keys a mixed binding sends from where, and what to do about that.
fn of_mixed(listed: &ListedIncident, now: Timestamp) -> Vec<String> {
    let who = &listed.who;
    let mut lines = vec![String::new(), format!("{} ({}) is mixed:", who.in_words(), who.short_id())];
    lines.extend(listed.senders.iter().map(|sender| of_sender(sender, now)));
    lines.push(format!("  {MEND_MIXED}"));
    lines
}

fn of_sender(sender: &Sender, now: Timestamp) -> String {
    let role = sender.role.map_or_else(String::new, |role| format!("{} key ", role.code()));
    let address = sender.address.as_deref().unwrap_or("an address for which there was no room");
    let another = if sender.another_n8n { " (another n8n)" } else { "" };
    let (first, last) = (ago(sender.first, now), ago(sender.last, now));
    format!("  - {role}{} from {address}{another}, first {first}, last {last}", sender.key)
}

/// The diagnosis of a binding that is well, but behind which another sender still sends an old key.
const MIXED: &str = StandingKind::Mixed.code();

const MEND_MIXED: &str =
    "Look for a worker with an older environment, a clone of n8n or a waiting execution, and mend it.";

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
