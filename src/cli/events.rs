//! `keyward events`: each exchange of the running keyward, as it ends.

use std::ops::ControlFlow;

use anyhow::bail;
use clap::Args;
use serde::de::DeserializeOwned;

use super::output::{self, Tone, print, print_wrapped, remark, trouble};
use super::setup::{ConfigArgument, Setup};
use super::source::{Source, query};
use crate::answers::event::{self, Line, Lost};
use crate::config::Environment;
use crate::telemetry::local_clock::{in_local_time, time_of_day};
use crate::verdict::VerdictKind;

/// What `keyward events` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Follow the exchanges of the running keyward as they end", after_help = AFTER_HELP)]
pub(super) struct EventsArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, required = true, help = "Go on until stopped; events of before are not kept")]
    follow: bool,
    #[arg(long, value_name = "WORKFLOW", help = "Only of the workflow with that id")]
    workflow: Option<String>,
    #[arg(long, value_name = "VERDICT", help = "Only with that verdict", value_parser = VerdictKind::CODES)]
    verdict: Option<String>,
    #[arg(long, value_name = "SET", help = "Only of that key set")]
    set: Option<String>,
    #[arg(long, help = "Print JSON, a line for each event")]
    json: bool,
}

impl EventsArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        let client = Source::running(&Setup::open(&self.config, environment)?)?;
        let choice = [("workflow", &self.workflow), ("verdict", &self.verdict), ("set", &self.set)];
        let choice: Vec<_> = choice.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
        let end = client.follow(&format!("/api/v1/events{}", query(&choice)), |event, data| self.tell(event, data))?;
        match end {
            Some(End::OutputClosed) => Ok(()),
            Some(End::Unreadable(error)) => Err(client.unreadable(&error)),
            Some(End::Told(reason)) => bail!("the stream of events has ended: {}", reason.replace('_', " ")),
            None => bail!("the stream of events has ended: keyward stopped"),
        }
    }

    fn tell(&self, event: &str, data: &str) -> ControlFlow<End> {
        match event {
            "end" => return ControlFlow::Break(End::Told(read::<event::End>(data)?.reason)),
            "lost" => remark(format_args!("{} exchanges came too fast to be told", read::<Lost>(data)?.lost)),
            _ if self.json => print(data),
            _ => print_wrapped(&in_words(&read(data)?)),
        }
        if trouble().is_some() { ControlFlow::Break(End::OutputClosed) } else { ControlFlow::Continue(()) }
    }
}

/// What an event says; the end where it cannot be read.
fn read<T: DeserializeOwned>(data: &str) -> ControlFlow<End, T> {
    match serde_json::from_str(data) {
        Ok(event) => ControlFlow::Continue(event),
        Err(error) => ControlFlow::Break(End::Unreadable(error)),
    }
}

/// Why following ends.
enum End {
    /// keyward says so, and why.
    Told(String),
    /// An event cannot be read.
    Unreadable(serde_json::Error),
    /// What is told goes nowhere.
    OutputClosed,
}

/// One line, and for a bad exchange what to do about it.
fn in_words(line: &Line) -> Vec<output::Line> {
    let tone = if line.is_good() { Tone::Good } else { Tone::Bad };
    let told = output::Line::toned(Tone::Aside, time_of_day(line.timestamp)).and("  ");
    let told = told.and_toned(tone, format!("{:<10}", line.verdict)).and(format!(
        "  {}  {}  {}  {} {} {}",
        line.diagnosis,
        who(line),
        line.key,
        line.method,
        line.path,
        status(line.status)
    ));
    let mut words = vec![told.hanging(BELOW)];
    if let Some(message) = &line.message {
        words.push(output::Line::from(&*in_local_time(message, line.timestamp)).within(BELOW));
        let steps = line.remedy.iter().flat_map(|remedy| remedy.lines());
        words.extend(steps.map(|step| output::Line::from(step).within(BELOW).hanging(3)));
    }
    words
}

/// The status that a client got; `null` where it got none.
pub(super) fn status(status: Option<u16>) -> String {
    status.map_or_else(|| "null".to_owned(), |status| status.to_string())
}

fn who(line: &Line) -> String {
    let workflow = line.workflow_name.as_ref().or(line.workflow_id.as_ref());
    let node = line.node_name.as_ref().or(line.node_id.as_ref());
    match (workflow, node) {
        (Some(workflow), Some(node)) => format!("workflow {workflow}, node {node}"),
        (Some(workflow), None) => format!("workflow {workflow}"),
        (None, _) => format!("{} client at {}", line.client, line.peer.as_deref().unwrap_or("-")),
    }
}

/// How far in the lines below the first begin.
const BELOW: usize = 4;

const AFTER_HELP: &str = "\
A reader that is too slow loses events and is told how many; no request waits for it.

Example: keyward events --follow --verdict outdated";
