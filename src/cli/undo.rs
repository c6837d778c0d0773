//! `keyward n8n undo`: takes back what `reconnect` did.

use anyhow::{anyhow, bail};
use clap::Args;

use super::output::Line;
use super::reconnect::{namer, tell_beside};
use super::reconnected::{Outcome, Told, counted, names_of_nodes};
use super::records::{Side, ask};
use super::setup::{ConfigArgument, Setup};
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::state::StateError;
use crate::n8n::Instance;
use crate::n8n::journal::{self, Journal, Run, State};
use crate::n8n::reconnect::Task;
use crate::n8n::rewrite::Marks;
use crate::n8n::writer::{Basis, End, Writer};

/// What `keyward n8n undo` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Take back what `reconnect` did, but for what was changed since", after_help = AFTER_HELP)]
pub(super) struct UndoArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "RUN", help = "The run, as `reconnect` named it [default: the last one]")]
    run: Option<String>,
    #[arg(long, help = "Do not ask before workflows are changed")]
    yes: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

// === impl UndoArguments ===

impl UndoArguments {
    /// Says whether everything is as it was before.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let folder = setup.folder()?;
        let _held = journal::hold(&folder)?;
        let runs = journal::runs(&folder)?;
        let run = self.choose(&runs)?;
        let side = side_of(&setup, run)?;
        let to = run.beginning.to.clone();
        let told = Told { to: &to, instance: &side.instance.name, json: self.json };
        if !self.yes {
            announced(&runs, run).iter().for_each(tell_beside);
            ask("Take that back?")?;
        }
        let journal = Journal::of(&folder, run);
        let name_of = namer(folder.fingerprint_key()?);
        let writer = Writer { client: &side.client, journal: &journal, name_of: &name_of };
        let mut outcomes = Vec::new();
        for (task, state) in run.tasks() {
            let end = match state {
                State::Waits | State::AsBefore(_) => continue,
                State::Done(marks) => side.block_on(undo(&writer, task, marks))?,
                State::Begun(begun) if begun.back => side.block_on(writer.go_on(&task.reversed(), begun))?,
                State::Begun(begun) => side.block_on(writer.take_back(task, begun))?,
            };
            let outcome = Outcome { task, end, back: true };
            told.tell(&outcome);
            outcomes.push(outcome);
        }
        if outcomes.iter().all(Outcome::is_known) {
            journal.note_end()?;
        }
        told.tell_all(run, &outcomes);
        Ok(outcomes.iter().all(Outcome::is_done))
    }

    fn choose<'r>(&self, runs: &'r [Run]) -> anyhow::Result<&'r Run> {
        if let Some(id) = &self.run {
            let found = runs.iter().find(|run| run.beginning.run == *id);
            let found = found.ok_or_else(|| anyhow!("there is no run {id:?}; there are: {}", names_of(runs)))?;
            return if found.may_be_taken_back() {
                Ok(found)
            } else {
                bail!("run {id} has nothing left that could be taken back");
            };
        }
        runs.iter().rfind(|run| run.may_be_taken_back()).ok_or_else(|| {
            anyhow!("there is nothing to take back: with this state folder, no run of `reconnect` changed anything that still stands")
        })
    }
}

/// A workflow with nothing but a key that cannot come back is left as it is.
async fn undo(writer: &Writer<'_>, task: &Task, marks: &Marks) -> Result<End, StateError> {
    let reversed = task.reversed();
    if reversed.edits().next().is_none() {
        writer.journal.note_left(&task.workflow, true, KEY_NOT_KEPT)?;
        return Ok(End::AsBefore(KEY_NOT_KEPT.to_owned()));
    }
    writer.carry_out(&reversed, true, Basis::Marks(marks)).await
}

/// The n8n that a run was of.
fn side_of(setup: &Setup, run: &Run) -> anyhow::Result<Side> {
    let is_it = |instance: &&Instance| instance.url.to_string() == run.beginning.n8n;
    let Some(instance) = setup.config().n8n.instances.iter().find(is_it) else {
        bail!(
            "run {} was of the n8n at {}, which is no longer configured ([n8n.<name>] url)",
            run.beginning.run,
            run.beginning.n8n
        );
    };
    Side::open(setup, Some(&instance.name))
}

/// What would be taken back, and which other runs there are.
fn announced(runs: &[Run], run: &Run) -> Vec<Line> {
    let others = runs.iter().filter(|other| *other != run && other.may_be_taken_back());
    let mut lines: Vec<_> = others.map(|other| Line::from(format!("Beside it: run {}", in_words(other)))).collect();
    lines.push(Line::from(format!("Run {}:", in_words(run))));
    for (task, state) in run.tasks() {
        if matches!(state, State::Done(_) | State::Begun(_)) {
            let text = format!("{} ({}): {}", task.name, task.workflow, names_of_nodes(task));
            lines.push(Line::from(text).within(2).hanging(2));
        }
    }
    lines
}

fn in_words(run: &Run) -> String {
    let beginning = &run.beginning;
    let at = Timestamp::from_millis(beginning.at);
    let (to, count) = (&beginning.to, counted(beginning.tasks.len(), "workflow"));
    format!("{} of {at}, {count} to {} ({})", beginning.run, to.name, to.id)
}

fn names_of(runs: &[Run]) -> String {
    let names: Vec<_> = runs.iter().map(|run| &*run.beginning.run).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

const KEY_NOT_KEPT: &str = "the key that was typed into it is not kept, so put it back by hand";

const AFTER_HELP: &str = "\
Puts back the credential of each node that a run of `reconnect` changed, where the workflow is as that
run left it: name, nodes, connections and settings. It lists the others with what differs, and leaves
them alone. A key that was typed into a node comes back from the versions that n8n 2.x keeps; 1.x keeps
none. Without RUN it takes back the last run that still stands, and asks; `reconnect` needs the same
scopes. Ends with 1 if a workflow is not as it was before.

Example: keyward n8n undo";
