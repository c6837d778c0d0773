//! `keyward status` and `keyward rotation`: how keyward is, and how far each rotation is.

use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::format::{ago, old_key, progress, rotation_table, span};
use super::output::{clear_screen, print, print_json, print_wrapped, trouble};
use super::setup::{ConfigArgument, Setup};
use super::source::{AnyStatus, Received, Source};
use crate::answers::key::{Key, KeyNames};
use crate::answers::old_key::OldKeySummary;
use crate::answers::rotation::Rotation;
use crate::answers::status::{N8n, N8nState, Set, Status, StoreState};
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::set::RoleKind;
use crate::ledger::answer::AnswerKind;
use crate::ledger::progress::Progress;

/// What `keyward status` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Tell how keyward is, and whether anybody still sends an old key", after_help = STATUS_HELP)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

/// What `keyward rotation` takes.
#[derive(Args, Debug)]
#[command(about = "Show who has changed to the current key, and whether the old one can go", after_help = ROTATION_HELP)]
pub(super) struct RotationArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "SET", help = "The key set [default: all of them]", value_parser = NonEmptyStringValueParser::new())]
    set: Option<String>,
    #[arg(long, help = "Go on until nothing is left to do: on a terminal, the table is drawn anew")]
    watch: bool,
    #[arg(long, help = "Tell alone whether the old keys can go, and end accordingly", conflicts_with = "watch")]
    can_go: bool,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

impl StatusArguments {
    /// Says whether no problem and no incident is open.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let now = setup.now();
        let Received { json, answer: status } = Source::open(setup)?.status()?;
        if self.json {
            print_json(&json);
        } else {
            print_wrapped(&of_status(&status, now));
        }
        Ok(is_well(&status))
    }
}

impl RotationArguments {
    /// Says whether nothing is stale.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let source = if self.watch { Source::Running(Source::running(&setup)?) } else { Source::open(setup)? };
        let names = match &self.set {
            Some(set) => vec![set.clone()],
            None => source.sets()?,
        };
        if self.watch {
            return self.watch(&source, &names, environment);
        }
        let views = views(&source, &names)?;
        let now = Setup::open(&self.config, environment)?.now();
        if self.can_go {
            return self.tell_answers(&views, now);
        }
        self.tell(&views, now);
        Ok(views.iter().all(|view| is_fresh(&view.answer)))
    }

    /// Returns when all is done.
    fn watch(&self, source: &Source, names: &[String], environment: &Environment) -> anyhow::Result<bool> {
        let mut told = None;
        loop {
            let views = views(source, names)?;
            let state: Vec<_> = views.iter().map(|view| state_of(&view.answer)).collect();
            if clear_screen() || told.as_ref() != Some(&state) {
                self.tell(&views, Setup::open(&self.config, environment)?.now());
                told = Some(state);
            }
            if views.iter().all(|view| view.answer.done) {
                return Ok(true);
            }
            if trouble().is_some() {
                return Ok(views.iter().all(|view| is_fresh(&view.answer)));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Says whether all old keys can go; what is not proven is no answer.
    fn tell_answers(&self, views: &[Received<Rotation>], now: Timestamp) -> anyhow::Result<bool> {
        let old_keys: Vec<_> = views.iter().flat_map(|view| old_keys(&view.answer)).collect();
        if self.json {
            // As they came, with fields that only a later keyward knows.
            let of_set =
                |view: &Received<Rotation>| json!({ "set": view.answer.set, "old_keys": view.json["old_keys"] });
            print_json(&json!({ "sets": views.iter().map(of_set).collect::<Vec<_>>() }));
        } else {
            for old in &old_keys {
                print_wrapped(&old_key(old, now));
            }
        }
        if old_keys.is_empty() {
            bail!(NO_OLD_KEY);
        }
        let is = |answer: AnswerKind| old_keys.iter().any(|old| old.can_go.answer == answer);
        match (is(AnswerKind::No), is(AnswerKind::NotProven)) {
            (true, _) => Ok(false),
            (false, true) => bail!("it is not proven that the old key can go"),
            (false, false) => Ok(true),
        }
    }

    fn tell(&self, views: &[Received<Rotation>], now: Timestamp) {
        match (self.json, views) {
            (true, [only]) if self.set.is_some() => print_json(&only.json),
            (true, views) => {
                print_json(&json!({ "sets": views.iter().map(|view| &view.json).collect::<Vec<_>>() }));
            }
            (false, views) => {
                for (number, view) in views.iter().enumerate() {
                    if number > 0 {
                        print("");
                    }
                    tell_view(&view.answer, now);
                }
            }
        }
    }
}

/// It is no *yes*: a key that was replaced before keyward ran is not known for an old one.
const NO_OLD_KEY: &str = "keyward knows of no old key, so it cannot say that one can go: if you rotated before keyward \
                          ran, name the old key (keys.<set>.previous)";

fn views(source: &Source, names: &[String]) -> anyhow::Result<Vec<Received<Rotation>>> {
    names.iter().map(|name| source.rotation(name)).collect()
}

/// What is told anew where it is another: how many bindings stand how, and whether each of the old keys can go.
fn state_of(view: &Rotation) -> (Progress, Vec<AnswerKind>) {
    (view.progress, old_keys(view).map(|old| old.can_go.answer).collect())
}

fn old_keys(view: &Rotation) -> impl Iterator<Item = &OldKeySummary> {
    view.old_keys.iter().map(|old| &old.summary)
}

fn tell_view(view: &Rotation, now: Timestamp) {
    let keys: Vec<_> = view.current.iter().map(|key| (&key.key, key.since)).collect();
    print_wrapped(&[
        format!("{}: {}", view.set, current(&keys, view.next_key.as_ref(), view.learned, now)),
        progress(&view.progress, old_keys(view).any(OldKeySummary::is_kept)),
    ]);
    if !view.bindings.is_empty() {
        print(format_args!("\n{}", rotation_table(&view.bindings, now)));
    }
    for old in old_keys(view) {
        print("");
        print_wrapped(&old_key(old, now));
    }
}

/// The key that is to be sent, since when it is, and the one after it.
fn current(keys: &[(&KeyNames, Option<Timestamp>)], next: Option<&KeyNames>, learned: bool, now: Timestamp) -> String {
    let learned = if learned { ", learned from what upstream accepts" } else { "" };
    let next = next.map_or_else(String::new, |next| format!("; next {next}"));
    match keys {
        [] => format!("no current key is known{learned}{next}"),
        [(key, None)] => format!("current key {key}{learned}{next}"),
        [(key, Some(since))] => format!("current key {key} for {}{learned}{next}", span(*since, now)),
        several => {
            let keys: Vec<_> = several.iter().map(|(key, _)| key.to_string()).collect();
            format!("{} keys are in use, which is current? {}{learned}", keys.len(), keys.join(", "))
        }
    }
}

fn of_status(status: &AnyStatus, now: Timestamp) -> Vec<String> {
    let mut lines = match status {
        AnyStatus::Running(status) => of_running(status, now),
        AnyStatus::Stored(status) => {
            let (version, stage, bindings) = (&status.version, status.stage.code(), status.bindings);
            vec![format!("keyward {version} is {stage}; bindings that it knows: {bindings}")]
        }
    };
    for set in status.sets() {
        lines.push(String::new());
        lines.extend(of_set(set, now));
    }
    lines
}

fn of_running(status: &Status, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!(
        "keyward {} is {}, up for {}; bindings that it knows: {}",
        status.version,
        status.stage.code(),
        span(status.began, now),
        status.bindings
    )];
    if status.store.state == StoreState::Troubled {
        lines.push(format!("The store is in trouble: {}", status.store.trouble.as_deref().unwrap_or("-")));
    }
    lines.extend(status.n8n.iter().map(|n8n| of_n8n(n8n, now)));
    if status.log_dropped > 0 {
        lines.push(format!("{} log lines were dropped", status.log_dropped));
    }
    lines
}

fn of_n8n(n8n: &N8n, now: Timestamp) -> String {
    let known = format!("{} workflows and {} nodes have names", n8n.workflows, n8n.nodes);
    let lacks = n8n.lacks.as_ref().map_or_else(String::new, |lacks| format!("; {lacks}"));
    let state = match (n8n.state, n8n.read) {
        (N8nState::Troubled, _) => format!("in trouble: {}", n8n.trouble.as_deref().unwrap_or("-")),
        (N8nState::Ok, Some(read)) => format!("asked {}", ago(read, now)),
        (N8nState::Ok | N8nState::NotAsked, _) => "not asked yet".to_owned(),
    };
    format!("n8n {} at {}: {known}; {state}{lacks}", n8n.instance, n8n.url)
}

fn of_set(set: &Set, now: Timestamp) -> Vec<String> {
    let in_role = |role: RoleKind| set.keys.iter().filter(move |key| key.role == role);
    let keys: Vec<_> = in_role(RoleKind::Current).map(|key: &Key| (&key.names, key.since)).collect();
    let next = in_role(RoleKind::Next).next().map(|key| &key.names);
    let mut lines = vec![
        format!("{} ({}): {}", set.set, set.policy.name(), current(&keys, next, set.learned, now)),
        progress(&set.progress, set.keeps_old()),
    ];
    match set.open_incidents {
        0 => {}
        1 => lines.push("1 incident is open: keyward incidents".to_owned()),
        open => lines.push(format!("{open} incidents are open: keyward incidents")),
    }
    lines.extend(set.old_keys.iter().flat_map(|old| old_key(old, now)));
    lines
}

/// Whether no binding is stale or mixed, and no old key is still sent or held.
fn is_fresh(view: &Rotation) -> bool {
    view.progress.is_fresh() && !old_keys(view).any(OldKeySummary::is_kept)
}

/// Whether nothing is wrong now: no incident, no old key that is still sent or held, no trouble with the store or an n8n.
fn is_well(status: &AnyStatus) -> bool {
    let is_quiet = |set: &Set| set.progress.is_fresh() && !set.keeps_old() && set.open_incidents == 0;
    let runs_well = match status {
        AnyStatus::Running(status) => {
            let n8n_is_well = status.n8n.iter().all(|n8n| n8n.state != N8nState::Troubled);
            status.store.state != StoreState::Troubled && n8n_is_well
        }
        AnyStatus::Stored(_) => true,
    };
    runs_well && status.sets().iter().all(is_quiet)
}

/// How often a rotation that is watched is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const STATUS_HELP: &str = "\
Asks the keyward that runs, and where none does, what its store remembers.
Ends with 0 if no problem and no incident is open, with 1 if one is, and with 3 if that cannot be told.

Example: keyward status";

const ROTATION_HELP: &str = "\
A binding is confirmed when it has sent the current key, mixed when another sender behind it still
sends an old one, stale when its last word was bad, and silent when it was not seen since its key was
replaced: due later, overdue by its usual rhythm, or acknowledged to be dead.
Ends with 0 if no binding is stale or mixed and no old key is still sent or held, with 1 otherwise, and
with 3 if that cannot be told. With --watch it ends when that is so and none is silent any more. With
--can-go it ends with 0 if the old keys can go, with 1 if one cannot, and with 3 if that is not proven
or cannot be told, so that a script can wait: until keyward rotation default --can-go; do sleep 60; done

Example: keyward rotation default --watch";
