//! `keyward rotation`: how far each rotation is, and whether the old keys can go.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::answer;
use super::output::{
    OtherScreen, is_longer_than_terminal, palette, print, print_json, print_wrapped, size_of_terminal, trouble,
    width_of_terminal,
};
use super::rotation_view::View;
use super::setup::{ConfigArgument, Setup};
use super::source::{Received, Source};
use super::start::Start;
use crate::answers::old_key::OldKeySummary;
use crate::answers::rotation::Rotation;
use crate::clock::{Clock, Timestamp};
use crate::config::Environment;
use crate::ledger::answer::AnswerKind;
use crate::ledger::progress::Progress;

/// What `keyward rotation` takes.
#[derive(Args, Debug)]
#[command(about = "Show who has changed to the new key, and if the old one can go", after_help = ROTATION_HELP)]
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

impl RotationArguments {
    /// Says whether nothing is stale.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let (start, clock) = (Start::new(&setup), setup.clock());
        let source =
            if self.watch { Source::Running(Source::running(&setup)?) } else { Source::open_for(setup, self.json)? };
        let names = match &self.set {
            Some(set) => vec![set.clone()],
            None => source.sets()?,
        };
        if self.watch {
            return self.watch(&source, &names, &start, &clock);
        }
        let views = self.views(&source, &names)?;
        if self.can_go {
            if let Some(text) = source.runs().in_words().filter(|_| !self.json) {
                print_wrapped(&[text]);
            }
            return self.tell_answers(&views, clock.now());
        }
        self.tell(&source, &views, &start, clock.now())?;
        Ok(views.iter().all(|view| is_fresh(&view.answer)))
    }

    /// With as many bindings as are told: a program is told all of them.
    fn views(&self, source: &Source, names: &[String]) -> anyhow::Result<Vec<Received<Rotation>>> {
        let view = |name: &String| match (self.can_go, self.json) {
            (true, _) => source.beginning_of_rotation(name, 1),
            (false, true) => source.rotation(name),
            (false, false) => source.beginning_of_rotation(name, MOST_ROWS),
        };
        names.iter().map(view).collect()
    }

    /// Returns when all is done, or when you interrupt it. The last picture stays on the terminal's first screen.
    fn watch(&self, source: &Source, names: &[String], start: &Start, clock: &Clock) -> anyhow::Result<bool> {
        let mut waiting = Waiting::new()?;
        let screen = OtherScreen::enter();
        let mut told = None;
        let (views, is_well) = loop {
            let views = self.views(source, names)?;
            let state: Vec<_> = views.iter().map(|view| state_of(&view.answer)).collect();
            screen.iter().for_each(OtherScreen::clear);
            if screen.is_some() || told.as_ref() != Some(&state) {
                self.tell(source, &views, start, clock.now())?;
                told = Some(state);
            }
            if views.iter().all(|view| view.answer.done) {
                break (views, true);
            }
            if trouble().is_some() {
                let is_well = views.iter().all(|view| is_fresh(&view.answer));
                break (views, is_well);
            }
            if waiting.is_interrupted_within(LOOK_AGAIN) {
                break (views, false);
            }
        };
        if screen.is_some() {
            drop(screen);
            self.tell(source, &views, start, clock.now())?;
        }
        Ok(is_well)
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
            for view in views {
                let of = (views.len() > 1).then_some(&*view.answer.set);
                print_wrapped(&answer::headlines(&self::old_keys(&view.answer).collect::<Vec<_>>(), of, now));
            }
            print_wrapped(&answer::reasons(&old_keys, &BTreeSet::new(), now));
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

    fn tell(&self, source: &Source, views: &[Received<Rotation>], start: &Start, now: Timestamp) -> anyhow::Result<()> {
        match (self.json, views) {
            (true, [only]) if self.set.is_some() => print_json(&only.json),
            (true, views) => {
                print_json(&json!({ "sets": views.iter().map(|view| &view.json).collect::<Vec<_>>() }));
            }
            (false, views) => {
                let status = source.status()?.answer;
                let sets: Vec<_> = views.iter().map(|view| &view.answer).collect();
                let (columns, palette) = (width_of_terminal(), palette());
                let (runs, problems) = (source.runs(), status.problems());
                let view = View { sets: &sets, runs, problems, start, now, columns, palette };
                let most = size_of_terminal().filter(|_| self.watch).map(|(_, rows)| rows.saturating_sub(1));
                let rows = most.map_or_else(|| view.whole(), |most| view.within(most));
                let is_long = !self.watch && is_longer_than_terminal(rows.len());
                print(rows.join("\n"));
                for set in sets.iter().filter(|_| !self.watch) {
                    let more = set.total.saturating_sub(set.bindings.len());
                    if more > 0 {
                        let what = format!(
                            "and {more} more of {}, to which less is to be done: --json lists them all",
                            set.set
                        );
                        print_wrapped(&[what]);
                    }
                }
                if is_long {
                    print(format_args!("\n{}", view.gist().join("\n")));
                }
            }
        }
        Ok(())
    }
}

/// Waiting that an interrupt or a termination ends, so that the terminal is left as it was found.
struct Waiting {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Waiting {
    fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let within = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(within);
        Ok(Self { runtime, interrupt, terminate })
    }

    fn is_interrupted_within(&mut self, span: Duration) -> bool {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep(span) => false,
            }
        })
    }
}

/// How many bindings a person is told: what is to be done stands first.
const MOST_ROWS: usize = 1_000;

/// It is no *yes*: a key that was replaced before keyward ran is not known for an old one.
const NO_OLD_KEY: &str = "keyward knows of no old key, so it cannot say that one can go: if you rotated before keyward \
                          ran, name the old key (keys.<set>.previous)";

/// What is told anew where it is another: how many bindings stand how, and whether each of the old keys can go.
fn state_of(view: &Rotation) -> (Progress, Vec<AnswerKind>) {
    (view.progress, old_keys(view).map(|old| old.can_go.answer).collect())
}

fn old_keys(view: &Rotation) -> impl Iterator<Item = &OldKeySummary> {
    view.old_keys.iter().map(|old| &old.summary)
}

/// Whether no binding is stale or mixed, and no old key is still sent or held.
fn is_fresh(view: &Rotation) -> bool {
    view.progress.is_fresh() && !old_keys(view).any(OldKeySummary::is_kept)
}

/// How often a rotation that is watched is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const ROTATION_HELP: &str = "\
Counts the nodes that sent a key of the set, and each client without a tag at one address. A node is
confirmed when it has sent the current key, mixed when another sender behind it still sends an old one,
stale when it sent the old one last, failing when it fails for another reason, and silent when it was
not seen since its key was replaced: due later, overdue by its usual rhythm, or acknowledged by you.
Where no keyward runs, its store answers, and the codes below are about what that remembers.
Ends with 0 if no node is stale or mixed and no old key is still sent or held, with 1 otherwise, and
with 3 if that cannot be told. With --watch it ends when that is so and none is silent any more. With
--can-go it ends with 0 if the old keys can go, with 1 if one cannot, and with 3 if that is not proven
or cannot be told, so that a script can wait: until keyward rotation default --can-go; do sleep 60; done

Example: keyward rotation default --watch";
