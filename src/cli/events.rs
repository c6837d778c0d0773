//! `keyward events`: each exchange of the running keyward, as it ends.

use std::ops::ControlFlow;

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use super::format::{key, text};
use super::output::{print, print_lines, remark, trouble};
use super::setup::{ConfigArgument, Setup};
use super::source::{Source, query};
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::telemetry::time_of_day;
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
        let client = Source::open(Setup::open(&self.config, environment)?)?.running()?;
        let choice = [("workflow", &self.workflow), ("verdict", &self.verdict), ("set", &self.set)];
        let choice: Vec<_> = choice.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
        let end = client.follow(&format!("/api/v1/events{}", query(&choice)), |event, data| self.tell(event, data))?;
        match end {
            Some(End::OutputClosed) => Ok(()),
            Some(End::Told(reason)) => bail!("the stream of events has ended: {}", reason.replace('_', " ")),
            None => bail!("the stream of events has ended: keyward stopped"),
        }
    }

    fn tell(&self, event: &str, data: &str) -> ControlFlow<End> {
        let value: Value = serde_json::from_str(data).unwrap_or_default();
        match event {
            "end" => return ControlFlow::Break(End::Told(text(&value["reason"]).to_owned())),
            "lost" => remark(format_args!("{} exchanges came too fast to be told", value["lost"])),
            _ if self.json => print(data),
            _ => print_lines(&in_words(&value)),
        }
        if trouble().is_some() { ControlFlow::Break(End::OutputClosed) } else { ControlFlow::Continue(()) }
    }
}

/// Why following ends.
enum End {
    /// keyward says so, and why.
    Told(String),
    /// What is told goes nowhere.
    OutputClosed,
}

/// One line, and for a bad exchange what to do about it.
fn in_words(line: &Value) -> Vec<String> {
    let at = line["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let at = at.map_or_else(String::new, |at| time_of_day(Timestamp::from_millis(at.as_millisecond())));
    let mut words = vec![format!(
        "{at}  {:<10}  {}  {}  {}  {} {} {}",
        text(&line["verdict"]),
        text(&line["diagnosis"]),
        who(line),
        key(line),
        text(&line["method"]),
        text(&line["path"]),
        line["status"]
    )];
    if let Some(message) = line["message"].as_str() {
        words.push(format!("    {message}"));
        words.extend(text(&line["remedy"]).lines().map(|step| format!("    {step}")));
    }
    words
}

fn who(line: &Value) -> String {
    let called = |name: &str, id: &str| line[name].as_str().or(line[id].as_str());
    match (called("workflow_name", "workflow_id"), called("node_name", "node_id")) {
        (Some(workflow), Some(node)) => format!("workflow {workflow}, node {node}"),
        (Some(workflow), None) => format!("workflow {workflow}"),
        (None, _) => format!("{} client at {}", text(&line["client"]), text(&line["peer"])),
    }
}

const AFTER_HELP: &str = "\
A reader that is too slow loses events and is told how many; no request waits for it.

Example: keyward events --follow --verdict outdated";
