//! `keyward status` and `keyward rotation`: how keyward is, and how far each rotation is.

use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};

use super::format::{ago, count, keeps_old, key, old_key, progress, rotation_table, span, text};
use super::output::{clear_screen, print, print_json, print_wrapped, trouble};
use super::setup::{ConfigArgument, Setup};
use super::source::{Question, Source};
use crate::clock::Timestamp;
use crate::config::Environment;

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
        let status = Source::open(setup)?.ask(Question::Status, &[])?;
        if self.json {
            print_json(&status);
        } else {
            print_wrapped(&of_status(&status, now));
        }
        Ok(is_well(&status))
    }
}

impl RotationArguments {
    /// Says whether nothing is stale.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let source = Source::open(Setup::open(&self.config, environment)?)?;
        let names = match &self.set {
            Some(set) => vec![set.clone()],
            None => source.sets()?,
        };
        if self.watch {
            return self.watch(&Source::Running(source.running()?), &names, environment);
        }
        let views = views(&source, &names)?;
        let now = Setup::open(&self.config, environment)?.now();
        if self.can_go {
            return self.tell_answers(&views, now);
        }
        self.tell(&views, now);
        Ok(views.iter().all(is_fresh))
    }

    /// Returns when all is done.
    fn watch(&self, source: &Source, names: &[String], environment: &Environment) -> anyhow::Result<bool> {
        let mut told = Value::Null;
        loop {
            let views = views(source, names)?;
            let answers = |view: &Value| view.pointer("/old_keys").map(answers_of);
            let state: Value = views.iter().map(|view| json!([view["progress"], answers(view)])).collect();
            if clear_screen() || state != told {
                self.tell(&views, Setup::open(&self.config, environment)?.now());
                told = state;
            }
            if views.iter().all(|view| view["done"] == true) {
                return Ok(true);
            }
            if trouble().is_some() {
                return Ok(views.iter().all(is_fresh));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Says whether all old keys can go; what is not proven is no answer.
    fn tell_answers(&self, views: &[Value], now: Timestamp) -> anyhow::Result<bool> {
        let old_keys: Vec<_> =
            views.iter().flat_map(|view| view["old_keys"].as_array().into_iter().flatten()).collect();
        if self.json {
            let of_set = |view: &Value| json!({ "set": view["set"], "old_keys": view["old_keys"] });
            print_json(&json!({ "sets": views.iter().map(of_set).collect::<Vec<_>>() }));
        } else if old_keys.is_empty() {
            print("There is no old key.");
        } else {
            for old in &old_keys {
                print_wrapped(&old_key(old, now));
            }
        }
        let is = |answer: &str| old_keys.iter().any(|old| old["can_go"]["answer"] == answer);
        match (is("no"), is("not_seen")) {
            (true, _) => Ok(false),
            (false, true) => bail!("it is not proven that the old key can go"),
            (false, false) => Ok(true),
        }
    }

    fn tell(&self, views: &[Value], now: Timestamp) {
        match (self.json, views) {
            (true, [only]) if self.set.is_some() => print_json(only),
            (true, views) => print_json(&json!({ "sets": views })),
            (false, views) => {
                for (number, view) in views.iter().enumerate() {
                    if number > 0 {
                        print("");
                    }
                    tell_view(view, now);
                }
            }
        }
    }
}

/// Whether each of those old keys can go.
fn answers_of(old_keys: &Value) -> Vec<Value> {
    old_keys.as_array().into_iter().flatten().map(|old| old["can_go"]["answer"].clone()).collect()
}

fn views(source: &Source, names: &[String]) -> anyhow::Result<Vec<Value>> {
    names.iter().map(|name| source.ask(Question::Rotation(name), &[])).collect()
}

fn tell_view(view: &Value, now: Timestamp) {
    print_wrapped(&[format!("{}: {}", text(&view["set"]), current(view, now)), progress(view)]);
    let rows = view["bindings"].as_array().map_or(&[][..], Vec::as_slice);
    if !rows.is_empty() {
        print(format_args!("\n{}", rotation_table(rows, now)));
    }
    for old in view["old_keys"].as_array().into_iter().flatten() {
        print("");
        print_wrapped(&old_key(old, now));
    }
}

/// The key that is to be sent.
fn current(view: &Value, now: Timestamp) -> String {
    let learned = if view["learned"] == true { ", learned from what upstream accepts" } else { "" };
    let next = if view["next_key"].is_null() { String::new() } else { format!("; next {}", key(&view["next_key"])) };
    match view["current"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => format!("no current key is known{learned}{next}"),
        [only] if only["since"].is_null() => format!("current key {}{learned}{next}", key(only)),
        [only] => format!("current key {} for {}{learned}{next}", key(only), span(&only["since"], now)),
        several => {
            let keys: Vec<_> = several.iter().map(key).collect();
            format!("{} keys are in use, which is current? {}{learned}", keys.len(), keys.join(", "))
        }
    }
}

fn of_status(status: &Value, now: Timestamp) -> Vec<String> {
    let began =
        if status["began"].is_null() { String::new() } else { format!(", up for {}", span(&status["began"], now)) };
    let mut lines = vec![format!(
        "keyward {} is {}{began}; bindings that it knows: {}",
        text(&status["version"]),
        text(&status["stage"]),
        count(&status["bindings"])
    )];
    let store = &status["store"];
    if store["state"] == "troubled" {
        lines.push(format!("The store is in trouble: {}", text(&store["trouble"])));
    }
    lines.extend(status["n8n"].as_array().into_iter().flatten().map(|n8n| of_n8n(n8n, now)));
    if count(&status["log_dropped"]) > 0 {
        lines.push(format!("{} log lines were dropped", count(&status["log_dropped"])));
    }
    for set in sets_of(status) {
        lines.push(String::new());
        lines.extend(of_set(set, now));
    }
    lines
}

fn of_n8n(n8n: &Value, now: Timestamp) -> String {
    let known = format!("{} workflows and {} nodes have names", count(&n8n["workflows"]), count(&n8n["nodes"]));
    let lacks = n8n["lacks"].as_str().map_or_else(String::new, |lacks| format!("; {lacks}"));
    let state = match n8n["state"].as_str() {
        Some("troubled") => format!("in trouble: {}", text(&n8n["trouble"])),
        Some("ok") => format!("asked {}", ago(&n8n["read"], now)),
        _ => "not asked yet".to_owned(),
    };
    format!("n8n {} at {}: {known}; {state}{lacks}", text(&n8n["instance"]), text(&n8n["url"]))
}

fn of_set(set: &Value, now: Timestamp) -> Vec<String> {
    let keys = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
    let in_role = |role: &str| keys.iter().filter(|key| key["role"] == role).cloned().collect::<Vec<_>>();
    let mut view = json!({ "learned": set["learned"], "current": in_role("current") });
    view["next_key"] = in_role("next").into_iter().next().unwrap_or_default();
    let mut lines =
        vec![format!("{} ({}): {}", text(&set["set"]), text(&set["policy"]), current(&view, now)), progress(set)];
    match count(&set["open_incidents"]) {
        0 => {}
        1 => lines.push("1 incident is open: keyward incidents".to_owned()),
        open => lines.push(format!("{open} incidents are open: keyward incidents")),
    }
    lines.extend(set["old_keys"].as_array().into_iter().flatten().flat_map(|old| old_key(old, now)));
    lines
}

fn sets_of(status: &Value) -> &[Value] {
    status["sets"].as_array().map_or(&[][..], Vec::as_slice)
}

/// Whether no binding is stale or mixed, and no old key is still sent or held.
fn is_fresh(view: &Value) -> bool {
    count(&view["progress"]["stale"]) + count(&view["progress"]["mixed"]) == 0 && !keeps_old(view)
}

/// Whether nothing is wrong now: no incident, no old key that is still sent or held, no trouble with the store or an n8n.
fn is_well(status: &Value) -> bool {
    let n8n_is_well = status["n8n"].as_array().is_none_or(|all| all.iter().all(|n8n| n8n["state"] != "troubled"));
    let is_quiet = |set: &Value| is_fresh(set) && count(&set["open_incidents"]) == 0;
    status["store"]["state"] != "troubled" && n8n_is_well && sets_of(status).iter().all(is_quiet)
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
