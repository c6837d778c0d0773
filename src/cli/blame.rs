//! `keyward blame`, and by its longer name `keyward n8n blame`: the story of one execution, by what n8n says of it and by what keyward saw of it.

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::events::status;
use super::faults::{grouped, places};
use super::format::WHO;
use super::output::{Line, Table, Tone, print, print_json, print_wrapped, remark};
use super::setup::{ConfigArgument, NO_N8N, Setup};
use super::source::{Received, Source};
use crate::answers::execution::{self, PastExchange, RememberedUse};
use crate::answers::words::counted;
use crate::caller::names::Directory;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::n8n::Instance;
use crate::n8n::client::{Bounds, Client};
use crate::n8n::documents::Execution;
use crate::request_path::is_id;
use crate::telemetry::event::with_causes;
use crate::telemetry::local_clock::{in_local_time, time_of_day};
use crate::telemetry::masked::holds_key;
use crate::verdict::explain::DiagnosisKind;

/// What `keyward blame` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Tell the story of one execution: keys, faults and what to do", after_help = HELP)]
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
        let (names, now) = (setup.names(), setup.now());
        let source = Source::open(setup)?;
        let mut chapters = Vec::new();
        for (id, said) in told {
            chapters.push(chapter(&source, &id, &said, instance.as_ref(), &names)?);
        }
        self.tell(&chapters, now);
        if chapters.iter().all(|chapter| chapter.n8n.is_none() && chapter.is_empty()) {
            bail!("neither keyward nor n8n knows anything of execution {}", self.execution);
        }
        Ok(chapters.iter().flat_map(Chapter::diagnoses).all(|diagnosis| diagnosis == DiagnosisKind::Ok.code()))
    }

    fn tell(&self, chapters: &[Chapter], now: Timestamp) {
        if self.json {
            return print_json(&json!({ "executions": chapters.iter().map(Chapter::in_json).collect::<Vec<_>>() }));
        }
        for (number, chapter) in chapters.iter().enumerate() {
            if number > 0 {
                print("");
            }
            tell_chapter(chapter, now);
        }
    }
}

type Said = Result<Execution, String>;

/// What is known of one execution.
struct Chapter {
    /// What keyward saw of it.
    told: Received<execution::Execution>,
    /// What n8n calls its workflow.
    workflow_name: Option<String>,
    /// Where it is in n8n's editor.
    link: Option<String>,
    /// What n8n says of it.
    n8n: Option<OfN8n>,
    /// Why n8n says nothing.
    trouble: Option<String>,
}

/// What n8n says of an execution.
#[derive(Serialize)]
struct OfN8n {
    instance: Option<String>,
    workflow_id: Option<String>,
    mode: Option<String>,
    status: Option<String>,
    started: Option<String>,
    stopped: Option<String>,
    retry_of: Option<String>,
    called_by: Option<String>,
}

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
) -> anyhow::Result<Chapter> {
    let told = source.execution(id)?;
    let workflow = said.as_ref().ok().and_then(|said| said.workflow_id.as_deref());
    let found = instance.zip(workflow).and_then(|(instance, id)| names.find(Some(&instance.name), id, None));
    let workflow_name = found.map(|found| found.workflow.name.to_string());
    Ok(Chapter {
        workflow_name: workflow_name.or_else(|| told.answer.workflow_name.clone()),
        link: found.map(|found| found.link(Some(id)).to_string()),
        n8n: said.as_ref().ok().map(|said| OfN8n::new(said, instance)),
        trouble: said.as_ref().err().cloned(),
        told,
    })
}

// === impl OfN8n, Chapter ===

impl OfN8n {
    fn new(said: &Execution, instance: Option<&Instance>) -> Self {
        Self {
            instance: instance.map(|instance| instance.name.to_string()),
            workflow_id: said.workflow_id.clone(),
            mode: said.mode.clone(),
            status: said.status.clone(),
            started: said.started_at.map(|at| at.to_string()),
            stopped: said.stopped_at.map(|at| at.to_string()),
            retry_of: said.retry_of.clone(),
            called_by: said.data.parent_execution.as_ref().map(|parent| parent.execution_id.clone()),
        }
    }
}

impl Chapter {
    /// Whether keyward has nothing of it.
    fn is_empty(&self) -> bool {
        self.diagnoses().next().is_none()
    }

    /// The diagnosis of everything that keyward has of it.
    fn diagnoses(&self) -> impl Iterator<Item = &str> {
        let execution = &self.told.answer;
        let remembered = execution.remembered.iter().map(|row| row.used.diagnosis.as_str());
        execution.exchanges.iter().map(|row| row.diagnosis.as_str()).chain(remembered)
    }

    /// What keyward told, with what n8n says beside it.
    fn in_json(&self) -> Value {
        let mut json = self.told.json.clone();
        if let Some(fields) = json.as_object_mut() {
            let beside = [
                ("n8n", json!(self.n8n)),
                ("trouble", json!(self.trouble)),
                ("workflow_name", json!(self.workflow_name)),
            ];
            let link = self.link.as_ref().map(|link| ("link", json!(link)));
            fields.extend(beside.into_iter().chain(link).map(|(name, value)| (name.to_owned(), value)));
        }
        json
    }
}

fn tell_chapter(chapter: &Chapter, now: Timestamp) {
    print_wrapped(&head(chapter, now));
    let execution = &chapter.told.answer;
    if !execution.exchanges.is_empty() {
        let mut table = Table::new(["AT", "STATUS", "WHO", "DIAGNOSIS", "KEY", "VERDICT"]);
        for row in &execution.exchanges {
            table.row(cells(row));
            table.shorten(WHO, &row.who.in_few_words());
        }
        print(table);
    }
    print_wrapped(&faults(&execution.exchanges, now));
    if !execution.remembered.is_empty() {
        print_wrapped(&["Of earlier requests, the last with each key is remembered:".to_owned()]);
        print_wrapped(&execution.remembered.iter().map(|row| of_use(row, now)).collect::<Vec<_>>());
    }
    if chapter.is_empty() {
        remark("keyward saw no request of it, or has forgotten them: it asked OpenAI nothing, or not through keyward.");
    }
}

fn cells(row: &PastExchange) -> [String; 6] {
    let (verdict, diagnosis) = (row.verdict.clone(), row.diagnosis.clone());
    [time_of_day(row.at), status(row.status), row.who.in_words(), diagnosis, row.key.short(), verdict]
}

fn of_use(RememberedUse { who, used }: &RememberedUse, now: Timestamp) -> Line {
    let at = used.last.to_string();
    let at = in_local_time(&at, now);
    let told = format!("{}: {}, {} with {} at {at}", who.in_words(), used.verdict, used.diagnosis, used.key);
    Line::from(told).within(2).hanging(2)
}

/// What was wrong, in a line; then what n8n says of the execution.
fn head(chapter: &Chapter, now: Timestamp) -> Vec<Line> {
    let (id, known) =
        (&chapter.told.answer.execution_id, |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned()));
    let of = |workflow: Option<&String>| workflow.map_or_else(String::new, |name| format!(" of workflow {name}"));
    let Some(n8n) = &chapter.n8n else {
        let title = answer(chapter, format!("Execution {id}{}: ", of(chapter.workflow_name.as_ref())));
        let nothing = format!("n8n says nothing of it ({})", known(&chapter.trouble));
        return vec![title, Line::from(nothing).within(2)];
    };
    let workflow = chapter.workflow_name.as_ref().or(n8n.workflow_id.as_ref());
    let title = answer(chapter, format!("Execution {id}{}: ", of(workflow)));
    let mut said = format!("{}, started by {} at {}", known(&n8n.status), known(&n8n.mode), known(&n8n.started));
    for (value, word) in
        [(&n8n.stopped, "ended at"), (&n8n.called_by, "called by execution"), (&n8n.retry_of, "a retry of execution")]
    {
        if let Some(value) = value {
            let _ = write!(said, ", {word} {value}");
        }
    }
    let link = chapter.link.as_ref().map(|link| Line::from(link.clone()).within(2));
    [title, Line::from(&*in_local_time(&said, now)).within(2)].into_iter().chain(link).collect()
}

/// Whether anything was wrong with its requests.
fn answer(chapter: &Chapter, title: String) -> Line {
    let mut bad: Vec<&str> = chapter.diagnoses().filter(|diagnosis| *diagnosis != DiagnosisKind::Ok.code()).collect();
    let (count, all) = (bad.len(), chapter.diagnoses().count());
    bad.sort_unstable();
    bad.dedup();
    let line = Line::from(title).hanging(2);
    match (count, all) {
        (_, 0) => line.and_toned(Tone::Doubtful, "no request was seen"),
        (0, _) => line.and_toned(Tone::Good, format!("nothing was wrong with its {}", counted(all, "request"))),
        (_, _) => line.and_toned(Tone::Bad, format!("{count} of {} bad ({})", counted(all, "request"), bad.join(", "))),
    }
}

/// What was wrong and where, each once, and under those that it is alike for, what to do.
fn faults(exchanges: &[PastExchange], now: Timestamp) -> Vec<Line> {
    let bad: Vec<_> = exchanges.iter().filter(|row| row.message.is_some()).collect();
    let mut lines = Vec::new();
    for alike in grouped(&bad, |one, other| one.remedy == other.remedy) {
        for row in grouped(&alike, |one, other| one.message == other.message).iter().filter_map(|same| same.first()) {
            let message = row.message.as_deref().unwrap_or_default();
            lines.push(Line::from(&*in_local_time(message, now)).within(2).hanging(2));
            lines.extend(places(&[&row.who], "").into_iter().map(|place| place.within(4)));
        }
        let remedy = alike.first().and_then(|row| row.remedy.as_deref()).unwrap_or_default();
        lines.extend(remedy.lines().map(|step| Line::from(step).within(4).hanging(3)));
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

Example: keyward blame 1234";
