//! `keyward n8n blame`: the story of one execution, by what n8n says of it and by what keyward saw of it.

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::format::{key, short_key, text, who};
use super::output::{Table, print, print_json, print_lines, remark};
use super::setup::{ConfigArgument, NO_N8N, Setup};
use super::source::{Question, Source};
use crate::caller::names::Directory;
use crate::config::Environment;
use crate::n8n::Instance;
use crate::n8n::client::{Bounds, Client};
use crate::n8n::documents::Execution;
use crate::request_path::is_id;
use crate::telemetry::event::with_causes;
use crate::telemetry::masked::holds_key;

/// What `keyward n8n blame` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Tell the story of one execution: its nodes, their keys, what was wrong and what to do", after_help = HELP)]
pub(super) struct BlameArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "EXECUTION", help = "The execution's id, as n8n shows it")]
    execution: String,
    #[arg(long = "n8n", value_name = "NAME", help = "Which n8n, where several are configured")]
    n8n: Option<String>,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl BlameArguments {
    /// Says whether nothing was wrong with any of its requests.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        if !is_id(&self.execution) || holds_key(&self.execution) {
            bail!("that is no execution's id: n8n shows it in the list of executions, and in the address of one");
        }
        let setup = Setup::open(&self.config, environment)?;
        let instance = setup.only_n8n(self.n8n.as_deref())?.cloned();
        let told = match &instance {
            Some(instance) => follow_up(instance, &self.execution)?,
            None => vec![(self.execution.clone(), Err(NO_N8N.to_owned()))],
        };
        let names = setup.names();
        let source = Source::open(setup)?;
        let mut chapters = Vec::new();
        for (id, said) in told {
            chapters.push(chapter(&source, &id, &said, instance.as_ref(), &names)?);
        }
        self.tell(&chapters);
        if chapters.iter().all(|chapter| chapter["n8n"].is_null() && rows_of(chapter).next().is_none()) {
            bail!("neither keyward nor n8n knows anything of execution {}", self.execution);
        }
        Ok(chapters.iter().flat_map(rows_of).all(|row| row["diagnosis"] == "ok"))
    }

    fn tell(&self, chapters: &[Value]) {
        if self.json {
            return print_json(&json!({ "executions": chapters }));
        }
        for (number, chapter) in chapters.iter().enumerate() {
            if number > 0 {
                print("");
            }
            tell_chapter(chapter);
        }
    }
}

type Said = Result<Execution, String>;

/// What n8n says of the execution and of those that called it, the first caller first.
fn follow_up(instance: &Instance, id: &str) -> anyhow::Result<Vec<(String, Said)>> {
    let client = Client::new(instance, Bounds::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let mut told: Vec<(String, Said)> = Vec::new();
    let mut next = Some(id.to_owned());
    // n8n may well say that one is its own ancestor.
    while let Some(id) =
        next.take().filter(|id| is_id(id) && told.len() < MOST_CALLERS && told.iter().all(|(known, _)| known != id))
    {
        let said = runtime.block_on(client.execution::<Execution>(&id)).map_err(|error| with_causes(&error));
        next = said.as_ref().ok().and_then(|said| said.data.parent_execution.clone()).map(|parent| parent.execution_id);
        told.push((id, said));
    }
    told.reverse();
    Ok(told)
}

fn chapter(
    source: &Source,
    id: &str,
    said: &Said,
    instance: Option<&Instance>,
    names: &Directory,
) -> anyhow::Result<Value> {
    let mut chapter = source.ask(Question::Execution(id), &[])?;
    let of_n8n = said.as_ref().ok().map(|said| {
        let moment = |at: Option<crate::clock::Timestamp>| at.map(|at| at.to_string());
        json!({
            "instance": instance.map(|instance| &*instance.name),
            "workflow_id": said.workflow_id,
            "mode": said.mode,
            "status": said.status,
            "started": moment(said.started_at),
            "stopped": moment(said.stopped_at),
            "retry_of": said.retry_of,
            "called_by": said.data.parent_execution.as_ref().map(|parent| &parent.execution_id),
        })
    });
    let workflow = said.as_ref().ok().and_then(|said| said.workflow_id.as_deref());
    if let (Some(instance), Some(workflow)) = (instance, workflow)
        && let Some(named) = names.find(Some(&instance.name), workflow, None)
    {
        chapter["workflow_name"] = (*named.workflow.name).into();
        chapter["link"] = named.link(Some(id)).to_string().into();
    }
    chapter["n8n"] = of_n8n.into();
    chapter["trouble"] = said.as_ref().err().cloned().into();
    Ok(chapter)
}

/// Everything that keyward has of it.
fn rows_of(chapter: &Value) -> impl Iterator<Item = &Value> {
    ["exchanges", "remembered"].into_iter().flat_map(|name| chapter[name].as_array().into_iter().flatten())
}

fn tell_chapter(chapter: &Value) {
    print_lines(&head(chapter));
    let exchanges = chapter["exchanges"].as_array().map_or(&[][..], Vec::as_slice);
    if !exchanges.is_empty() {
        let mut table = Table::new(["AT", "STATUS", "VERDICT", "DIAGNOSIS", "KEY", "WHO"]);
        for row in exchanges {
            let of = |name: &str| text(&row[name]).to_owned();
            table.row([of("at"), row["status"].to_string(), of("verdict"), of("diagnosis"), short_key(row), who(row)]);
        }
        print(table);
    }
    print_lines(&faults(exchanges));
    let remembered = chapter["remembered"].as_array().map_or(&[][..], Vec::as_slice);
    if !remembered.is_empty() {
        print_lines(&["Of earlier requests, the last with each key is remembered:".to_owned()]);
        let line = |row: &Value| {
            format!(
                "  {}: {}, {} with {} at {}",
                who(row),
                text(&row["verdict"]),
                text(&row["diagnosis"]),
                key(row),
                text(&row["last"])
            )
        };
        print_lines(&remembered.iter().map(line).collect::<Vec<_>>());
    }
    if rows_of(chapter).next().is_none() {
        remark("keyward saw no request of it, or has forgotten them: it asked OpenAI nothing, or not through keyward.");
    }
}

fn head(chapter: &Value) -> Vec<String> {
    let (id, n8n) = (text(&chapter["execution_id"]), &chapter["n8n"]);
    if n8n.is_null() {
        return vec![format!("Execution {id}: n8n says nothing of it ({})", text(&chapter["trouble"]))];
    }
    let mut head = format!(
        "Execution {id} of workflow {}: {}, started by {} at {}",
        chapter["workflow_name"].as_str().unwrap_or(text(&n8n["workflow_id"])),
        text(&n8n["status"]),
        text(&n8n["mode"]),
        text(&n8n["started"]),
    );
    for (field, word) in
        [("stopped", "ended at"), ("called_by", "called by execution"), ("retry_of", "a retry of execution")]
    {
        if let Some(value) = n8n[field].as_str() {
            let _ = write!(head, ", {word} {value}");
        }
    }
    let link = chapter["link"].as_str().map(|link| format!("  {link}"));
    [head].into_iter().chain(link).collect()
}

/// What was wrong and what to do, each once.
fn faults(exchanges: &[Value]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in exchanges {
        let Some(message) = row["message"].as_str().map(|message| format!("  {message}")) else { continue };
        if !lines.contains(&message) {
            lines.push(message);
            lines.extend(text(&row["remedy"]).lines().map(|step| format!("    {step}")));
        }
    }
    lines
}

/// How many executions may have called one another.
const MOST_CALLERS: usize = 16;

const HELP: &str = "\
Asks n8n for the execution, and for those that called it where it is one of a sub-workflow; and the
keyward that runs, or else its store, for what was sent in each. Without an answer of n8n's it tells
what keyward saw.
Ends with 0 if nothing was wrong with any request, with 1 if something was, and with 3 if neither
knows anything of it.

Example: keyward n8n blame 1234";
