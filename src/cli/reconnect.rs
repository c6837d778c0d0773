//! `keyward n8n reconnect`: nodes of n8n's use one credential record.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use super::output::{Line, Palette, print_json, print_wrapped, remark};
use super::reconnected::{self, Outcome, Told};
use super::records::{Records, Side, ask};
use super::setup::{ConfigArgument, Setup};
use super::source::Source;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::fingerprint::FingerprintKey;
use crate::keys::set::Names;
use crate::keys::state::StateFolder;
use crate::ledger::standing::StandingKind;
use crate::n8n::client::scope;
use crate::n8n::journal::{self, Journal, Run, State};
use crate::n8n::reconnect::{Choice, Plan, Shape, Target, Task};
use crate::n8n::writer::{Basis, Writer};

/// What `keyward n8n reconnect` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(about = "Have nodes use another credential; `undo` takes it back", after_help = AFTER_HELP)]
pub(super) struct ReconnectArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(
        long,
        value_name = "CREDENTIAL",
        required_unless_present = "resume",
        help = "The OpenAI credential that the nodes are to use: its id, or its exact name"
    )]
    to: Option<String>,
    #[arg(
        long,
        value_name = "CREDENTIAL",
        help = "Only nodes that use this one; may be said several times [default: any other OpenAI credential]"
    )]
    from: Vec<String>,
    #[arg(
        long,
        value_name = "WORKFLOW",
        help = "Only this workflow, by its id or its exact name; may be said several times"
    )]
    workflow: Vec<String>,
    #[arg(long, help = "Only nodes that the running keyward saw with an old key")]
    stale: bool,
    #[arg(long, help = "Also HTTP Request nodes with an OpenAI key typed into their header, in place of that key")]
    typed_keys: bool,
    #[arg(long, help = "Also workflows whose draft is not what is published: both are changed, each as itself")]
    drafts: bool,
    #[arg(long, help = "Only say what would be done")]
    dry_run: bool,
    #[arg(
        long,
        help = "Go on with the last run, which was broken off",
        conflicts_with_all = ["to", "from", "workflow", "stale", "typed_keys", "drafts", "dry_run"]
    )]
    resume: bool,
    #[arg(long, value_name = "NAME", help = "Of this n8n [default: the only one that is configured]")]
    n8n: Option<String>,
    #[arg(long, help = "Do not ask before workflows are changed")]
    yes: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

// === impl ReconnectArguments ===

impl ReconnectArguments {
    /// Says whether all that was asked for is done.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let side = Side::open(&setup, self.n8n.as_deref())?;
        let folder = setup.folder()?;
        if self.resume {
            return self.go_on(&side, &folder);
        }
        let (plan, to) = self.plan(&setup, &side, &folder)?;
        let told = Told { to: &to, instance: &side.instance.name, json: self.json };
        let is_asked = !self.yes && !self.dry_run && !plan.tasks.is_empty();
        match (self.json, is_asked) {
            (false, _) => print_wrapped(&reconnected::plan_in_words(&plan, &to)),
            (true, true) => reconnected::plan_in_words(&plan, &to).iter().for_each(tell_beside),
            (true, false) => {}
        }
        let fault = fault(&side, &plan)?;
        if self.dry_run || plan.tasks.is_empty() {
            if self.json {
                print_json(&told.plan(&plan, fault.as_deref()));
            }
            return match fault {
                Some(fault) => bail!("it cannot be done: {fault}"),
                None => Ok(self.dry_run || !plan.left.iter().any(|left| left.reason.is_open())),
            };
        }
        if let Some(fault) = fault {
            bail!("nothing was changed: {fault}");
        }
        if is_asked {
            ask("Change that?")?;
        }
        let _held = journal::hold(&folder)?;
        let is_open = plan.left.iter().any(|left| left.reason.is_open());
        let is_done = begin(&side, &folder, &told, setup.now(), plan.tasks)?;
        Ok(is_done && !is_open)
    }

    fn plan(&self, setup: &Setup, side: &Side, folder: &StateFolder) -> anyhow::Result<(Plan, Target)> {
        // What needs a keyward that runs is told before n8n is asked.
        let seen = self.stale.then(|| stale_nodes(setup, side)).transpose()?;
        let mut workflows = Vec::new();
        let records = side.records_and(|workflow| workflows.push(workflow))?;
        let to = self.target(&records)?;
        let from = if self.from.is_empty() { None } else { Some(records.select_used(&self.from)?) };
        let chosen = if self.workflow.is_empty() { None } else { Some(select(&workflows, &self.workflow)?) };
        let key = folder.fingerprint_key()?;
        let names_of = |value: &[u8]| Names::of(&key, value);
        let choice = Choice {
            to: &to,
            from: from.as_ref(),
            workflows: chosen.as_ref(),
            seen: seen.as_ref(),
            typed_keys: self.typed_keys,
            drafts: self.drafts,
            records: records.listed(),
        };
        Ok((choice.plan(&workflows, &names_of), to))
    }

    fn target(&self, records: &Records) -> anyhow::Result<Target> {
        let mut found = records.select_one(self.to.as_deref().unwrap_or_default());
        if records.listed().is_empty() {
            found = found
                .context("this n8n lists no credentials (1.x): choose the one that is meant in one node by hand first");
        }
        found.map(|record| Target { id: record.id.clone(), name: record.name.clone() })
    }

    fn go_on(&self, side: &Side, folder: &StateFolder) -> anyhow::Result<bool> {
        let _held = journal::hold(folder)?;
        let mut runs = journal::runs(folder)?;
        let is_of = |run: &Run| run.beginning.n8n == side.address() && !run.is_ended;
        let Some(at) = runs.iter().rposition(is_of) else {
            bail!("no run was broken off, so there is nothing to go on with (--resume)");
        };
        let run = runs.swap_remove(at);
        let to = run.beginning.to.clone();
        let told = Told { to: &to, instance: &side.instance.name, json: self.json };
        if !self.yes {
            remark(told.unfinished(&run));
            ask("Go on with it?")?;
        }
        let journal = Journal::of(folder, &run);
        carry_out(side, folder, &journal, &run, &told)
    }
}

/// Why n8n would not let it be done.
pub(super) fn fault(side: &Side, plan: &Plan) -> anyhow::Result<Option<String>> {
    if plan.tasks.is_empty() {
        return Ok(None);
    }
    let lacks = side.block_on(side.client.lacks_for_changes())?;
    let is_live = |task: &&Task| matches!(task.shape, Shape::Published | Shape::Parted);
    let live = plan.tasks.iter().filter(is_live).count();
    if lacks.contains(&scope::WORKFLOW_UPDATE) {
        return Ok(Some(format!(
            "n8n's API key lacks the scope {}, so it changes no workflow",
            scope::WORKFLOW_UPDATE
        )));
    }
    if lacks.contains(&scope::WORKFLOW_ACTIVATE) && live > 0 {
        return Ok(Some(format!(
            "n8n's API key lacks the scope {}: {live} of the workflows are published, and the change would be saved as a draft \
             that does not run",
            scope::WORKFLOW_ACTIVATE
        )));
    }
    let is_parted = plan.tasks.iter().any(|task| task.shape == Shape::Parted);
    if is_parted && !side.block_on(side.client.can_hold_back())? {
        return Ok(Some(
            "this release of n8n publishes every draft that its API saves, so a draft that is not what is published cannot be \
             changed (--drafts)"
                .to_owned(),
        ));
    }
    Ok(None)
}

/// Begins a run with those tasks, and says whether all of it is done.
pub(super) fn begin(
    side: &Side,
    folder: &StateFolder,
    told: &Told<'_>,
    now: Timestamp,
    tasks: Vec<Task>,
) -> anyhow::Result<bool> {
    refuse_beside_unfinished(folder)?;
    let (journal, run) = Journal::begin(folder, (side.address(), told.to.clone()), now, tasks)?;
    carry_out(side, folder, &journal, &run, told)
}

/// Does what a run has not done yet, and says whether all of it is done.
fn carry_out(
    side: &Side,
    folder: &StateFolder,
    journal: &Journal<'_>,
    run: &Run,
    told: &Told<'_>,
) -> anyhow::Result<bool> {
    let name_of = namer(folder.fingerprint_key()?);
    let writer = Writer { client: &side.client, journal, name_of: &name_of };
    let mut outcomes = Vec::new();
    for (task, state) in run.tasks() {
        let end = match state {
            State::Waits => side.block_on(writer.carry_out(task, false, Basis::Versions))?,
            State::Begun(begun) if !begun.back => side.block_on(writer.go_on(task, begun))?,
            State::Begun(_) | State::Done(_) | State::AsBefore(_) => continue,
        };
        let outcome = Outcome { task, end, back: false };
        told.tell(&outcome);
        outcomes.push(outcome);
    }
    let is_done = outcomes.iter().all(Outcome::is_done);
    // What is not known is for --resume or undo to find out.
    if outcomes.iter().all(Outcome::is_known) {
        journal.note_end()?;
    }
    told.tell_all(run, &outcomes);
    Ok(is_done)
}

/// Gives the public names of what stands in workflows.
pub(super) fn namer(key: FingerprintKey) -> impl Fn(&[u8]) -> String {
    move |bytes| key.fingerprint(bytes).to_hex()
}

/// A run that was broken off may have left a workflow half done.
pub(super) fn refuse_beside_unfinished(folder: &StateFolder) -> anyhow::Result<()> {
    match journal::runs(folder)?.iter().rfind(|run| !run.is_ended) {
        Some(run) => bail!(
            "nothing was changed: run {} was broken off. `keyward n8n reconnect --resume` goes on with it, and \
             `keyward n8n undo {}` takes it back",
            run.beginning.run,
            run.beginning.run
        ),
        None => Ok(()),
    }
}

/// The ids of the workflows that are called that, or have that id.
fn select(workflows: &[Value], asked: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let text = |workflow: &Value, name: &str| match &workflow[name] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let mut ids = BTreeSet::new();
    for asked in asked {
        let of = |name: &str| -> Vec<_> {
            let is_it = |workflow: &&Value| text(workflow, name) == *asked;
            workflows.iter().filter(is_it).map(|workflow| text(workflow, "id")).collect()
        };
        let by_id = of("id");
        let found = if by_id.is_empty() { of("name") } else { by_id };
        match &found[..] {
            [] => bail!("nothing was changed: n8n has no workflow with the id or the name {asked:?}"),
            [only] => drop(ids.insert(only.clone())),
            several => {
                bail!(
                    "nothing was changed: several workflows are called {asked:?}: choose by id, {}",
                    several.join(" or ")
                )
            }
        }
    }
    Ok(ids)
}

/// The nodes that the running keyward saw with an old key last, by the ids of workflow and node.
fn stale_nodes(setup: &Setup, side: &Side) -> anyhow::Result<HashSet<(String, String)>> {
    let client = Source::running(setup).context("a keyward that runs has to say who sent an old key (--stale)")?;
    let bindings = Source::Running(client).bindings(&[])?.answer.bindings;
    let is_stale = |state: Option<StandingKind>| matches!(state, Some(StandingKind::Stale | StandingKind::Mixed));
    let mut nodes = HashSet::new();
    for row in bindings.into_iter().map(|binding| binding.row).filter(|row| is_stale(row.standing.state)) {
        let is_of = row.who.instance.as_deref().is_none_or(|instance| instance == &*side.instance.name);
        if let (true, Some(workflow), Some(node)) = (is_of, row.who.workflow_id, row.who.node_id) {
            nodes.insert((workflow, node));
        }
    }
    Ok(nodes)
}

/// Tells something beside the answer; [`remark`] breaks it.
pub(super) fn tell_beside(line: &Line) {
    line.rows(usize::MAX, Palette::Plain).into_iter().for_each(remark);
}

const AFTER_HELP: &str = "\
Reads all workflows, and says which nodes would use the credential, what stands there now, and what is
left alone and why. Then it changes one workflow after the other: the credential of those nodes alone,
in the draft and in what is published, and looks at each afterwards: what runs has the credential, and
all else is as before. What is not is put back. A workflow that was changed since the plan is left alone.
Before each change it writes down what stood there, in the state folder, without any key: `keyward n8n
undo` takes it back, and --resume goes on where it was broken off.
n8n's API key needs the scopes workflow:list, workflow:read, workflow:update, workflow:activate and
credential:list. Ends with 1 if a node is not reconnected that could be.

Example: keyward n8n reconnect --to \"OpenAI, by keyward\" --stale --dry-run";
