//! `keyward bindings`, `keyward incidents` and `keyward ack`: who sends what, who is not well, and who is given up.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

use super::format::{
    WHO, ago, count, key, note, rhythm, sent_from, short_ago, short_id, short_key, short_who, state, text, who,
};
use super::output::{Table, print, print_json, print_lines, print_wrapped, remark};
use super::setup::{ConfigArgument, Setup};
use super::source::{Question, Source};
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
        let answer = Source::open(setup)?.ask(Question::Bindings, &self.choice.with(self.state.as_deref()))?;
        let rows = rows(&answer, "bindings");
        if self.json {
            print_json(&answer);
        } else {
            print(binding_table(rows, now));
        }
        Ok(rows.iter().all(|row| row["state"] != "stale" && row["state"] != "mixed"))
    }
}

impl IncidentsArguments {
    /// Says whether none of those that are listed is open.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let now = setup.now();
        let state = (!self.all).then_some("open");
        let answer = Source::open(setup)?.ask(Question::Incidents, &self.choice.with(state))?;
        let rows = rows(&answer, "incidents");
        if self.json {
            print_json(&answer);
        } else if rows.is_empty() {
            remark("There is none.");
        } else {
            print(incident_table(rows, now));
            let is_mixed = |row: &&Value| row["diagnosis"] == "mixed";
            rows.iter().filter(is_mixed).for_each(|row| print_wrapped(&of_mixed(row, now)));
        }
        Ok(rows.iter().all(|row| !row["closed"].is_null()))
    }
}

impl AckArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let told = Source::open(Setup::open(&self.config, environment)?)?.acknowledge(&self.binding)?;
        if self.json {
            print_json(&told);
        } else {
            print_lines(&[format!("{} ({}) is acknowledged", text(&told["who"]), short_id(&told))]);
            remark("That holds until it is seen again.");
        }
        Ok(())
    }
}

fn rows<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn binding_table(rows: &[Value], now: Timestamp) -> Table<9> {
    let mut table = Table::new(["STATE", "BINDING", "WHO", "KEY", "SEEN", "NOTE", "FROM", "SET", "USUALLY"]);
    for row in rows {
        let (seen, set) = (short_ago(&row["last"], now), text(&row["set"]).to_owned());
        let (state, usually) = (state(row).to_owned(), rhythm(&row["rhythm"]));
        let from = sent_from(row);
        table.row([state, short_id(row), who(row), short_key(row), seen, note(row, now), from, set, usually]);
        table.shorten(WHO, &short_who(row));
    }
    table
}

fn incident_table(rows: &[Value], now: Timestamp) -> Table<9> {
    let mut table = Table::new(["OPENED", "BINDING", "WHO", "DIAGNOSIS", "CLOSED", "KEY", "FROM", "SET", "SIGHTINGS"]);
    for row in rows {
        let closed = &row["closed"];
        let closed = if closed.is_null() {
            "open".to_owned()
        } else {
            format!("{} by {}", short_ago(&closed["at"], now), text(&closed["by"]).replace('_', " "))
        };
        let of = |name: &str| text(&row[name]).to_owned();
        let (opened, sightings) = (short_ago(&row["opened"], now), count(&row["sightings"]).to_string());
        let key = short_key(row);
        let from = sent_from(row);
        table.row([opened, short_id(row), who(row), of("diagnosis"), closed, key, from, of("set"), sightings]);
        table.shorten(WHO, &short_who(row));
    }
    table
}

/// Which keys a mixed binding sends from where, and what to do about that.
fn of_mixed(row: &Value, now: Timestamp) -> Vec<String> {
    let mut lines = vec![String::new(), format!("{} ({}) is mixed:", who(row), short_id(row))];
    for sender in row["senders"].as_array().into_iter().flatten() {
        let role = sender["role"].as_str().map_or_else(String::new, |role| format!("{role} key "));
        let address = sender["address"].as_str().unwrap_or("an address for which there was no room");
        let another = if sender["another_n8n"] == true { " (another n8n)" } else { "" };
        let (first, last) = (ago(&sender["first"], now), ago(&sender["last"], now));
        lines.push(format!("  - {role}{} from {address}{another}, first {first}, last {last}", key(sender)));
    }
    lines.push(format!("  {MEND_MIXED}"));
    lines
}

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
