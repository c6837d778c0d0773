//! `keyward rotate`: a set's key is replaced, step by step; each is written down before the next one rests on it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use tokio::runtime::Runtime;

use super::client::Client;
use super::output::{Line, Tone, print_wrapped, remark};
use super::prompt::{KeyFrom, can_ask, says_yes};
use super::rotate_report;
use super::setup::{ConfigArgument, Setup};
use super::source::{AnyStatus, Source};
use crate::answers::status::{Set, Status};
use crate::app;
use crate::caller::names::harmless;
use crate::check::fault_of_key;
use crate::check::online::{ProbeError, Rights, rights};
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::secret::Secret;
use crate::keys::set::{Bearer, Names, RoleKind};
use crate::keys::source;
use crate::keys::state::{Hold, StateFolder};
use crate::n8n::finding_kind::FindingKind;
use crate::net::connect::Connector;
use crate::problems::kind::ProblemKind;
use crate::rotate::account::Account;
use crate::rotate::admin_api::{AdminApi, AdminError};
use crate::rotate::journal::{Accepted, Event, Journal, Run, Step};

/// What `keyward rotate` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(about = "Replace a set's OpenAI key, until the old one is deleted", after_help = HELP)]
pub(super) struct RotateArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "SET", help = "The key set", default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    pub(super) set: String,
    #[arg(long, help = "Only show what would be done, and what stands against it")]
    pub(super) plan: bool,
    #[arg(long, value_name = "STEP", help = "Stop once this step is done", value_parser = steps())]
    pub(super) until: Option<Step>,
    #[arg(long, help = "Go on with the rotation that was begun", conflicts_with = "plan")]
    pub(super) resume: bool,
    #[arg(long, help = "Take it back: the old key goes back everywhere, as long as it is not deleted", conflicts_with_all = ["plan", "until", "resume"])]
    pub(super) abort: bool,
    #[arg(
        long,
        value_name = "PLACE",
        help = "Take the new key from: prompt, stdin, file:<path> or env:<name> [default: OpenAI makes it]"
    )]
    pub(super) new_key: Option<KeyFrom>,
    #[arg(long, help = "Let the new key do everything, where keys.<set>.admin names no scopes")]
    pub(super) all_scopes: bool,
    #[arg(long, value_name = "ID", help = "The old key's id at OpenAI, where it cannot be found by its value")]
    pub(super) old_key_id: Option<String>,
    #[arg(
        long,
        value_name = "CODE",
        help = "Go on although this stands against it; --plan shows each with its code",
        requires = "because"
    )]
    pub(super) despite: Vec<String>,
    #[arg(long, value_name = "TEXT", help = "Why you go on despite that, in your words: the report keeps it")]
    pub(super) because: Option<String>,
    #[arg(long, value_name = "FILE", help = "Write what was done into this file: Markdown, or JSON by its ending")]
    pub(super) report: Option<PathBuf>,
    #[arg(
        long,
        requires = "report",
        conflicts_with_all = ["plan", "until", "resume", "abort"],
        help = "Do nothing but write the report of the last rotation, with --report"
    )]
    last: bool,
    #[arg(long, help = "Ask nothing, not even before the old key is deleted")]
    pub(super) yes: bool,
}

/// A rotation that is under way.
pub(super) struct Rotation {
    pub(super) arguments: RotateArguments,
    pub(super) setup: Setup,
    pub(super) folder: StateFolder,
    /// The keyward that serves.
    pub(super) keyward: Source,
    /// The file of the current key.
    pub(super) current: PathBuf,
    /// The file of the next one.
    pub(super) next: PathBuf,
    pub(super) account: Option<(AdminApi, Account)>,
    /// Whether this command has looked for the old key among those at OpenAI.
    pub(super) has_listed: bool,
    upstream: Connector,
    runtime: Runtime,
    pub(super) run: Run,
    _hold: Hold,
}

/// What came of a step.
pub(super) enum Done {
    /// It is done: what is told of it.
    Yes(String),
    /// It is not, and goes on with `--resume` once you have done what is told.
    NotYet(String),
}

/// Something that stands against a rotation.
pub(super) struct Obstacle {
    /// By what you accept it.
    pub(super) code: String,
    pub(super) text: String,
    /// What mends it.
    pub(super) remedy: String,
}

fn steps() -> impl TypedValueParser<Value = Step> {
    PossibleValuesParser::new(Step::CODES).map(|code| Step::from_code(&code).unwrap_or(Step::Revoke))
}

// === impl RotateArguments ===

impl RotateArguments {
    /// Says whether what was asked for is done.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        if !setup.set_names().contains(&&*self.set) {
            bail!("there is no key set `{}`; the configuration has: {}", self.set, setup.set_names().join(", "));
        }
        check_codes(&self.despite)?;
        let folder = setup.folder()?;
        let Some(hold) = folder.hold_rotation(&self.set)? else {
            bail!("another `keyward rotate` is at work on set `{}`", self.set);
        };
        let journal = Journal::read(&folder)?;
        if self.last {
            let last = journal.last(&self.set).with_context(|| format!("set `{}` had no rotation yet", self.set))?;
            return rotate_report::write(last, self.report.as_deref()).map(|()| true);
        }
        let open = journal.open(&self.set).cloned();
        let begun = open.is_some();
        let run = match open {
            Some(run) if self.resume || self.abort || self.plan => Some(run),
            Some(run) => bail!(
                "set `{}` has a rotation that began {} and is at step {}: --resume goes on, --abort takes it back",
                self.set,
                Timestamp::from_millis(run.began),
                run.step.code()
            ),
            None if self.resume || self.abort => bail!("set `{}` has no rotation that goes on", self.set),
            None => None,
        };
        let mut rotation = Rotation::open(self, setup, folder, hold, run)?;
        if rotation.arguments.abort {
            return rotation.abort();
        }
        if rotation.arguments.plan {
            return rotation.plan();
        }
        rotation.go_on(begun)
    }
}

// === impl Rotation ===

impl Rotation {
    fn open(
        arguments: RotateArguments,
        setup: Setup,
        folder: StateFolder,
        hold: Hold,
        run: Option<Run>,
    ) -> anyhow::Result<Self> {
        let set = &*arguments.set;
        let Some(settings) = setup.config().keys.sets.iter().find(|known| &*known.name == set) else {
            bail!("there is no key set `{set}`; the configuration has: {}", setup.set_names().join(", "));
        };
        let current = file_of(settings.current.as_ref(), set, "current")?;
        let next = file_of(settings.next.as_ref(), set, "next")?;
        let account = setup.config().accounts.of(set).cloned();
        let account = account.map(|account| AdminApi::new(&account).map(|api| (api, account))).transpose()?;
        let upstream = app::connector(&setup.config().proxy)?;
        let keyward = Client::new(&setup)?;
        if !keyward.is_answered() {
            bail!(
                "a rotation is done with the keyward that serves, and none answers at {} (admin.listen): keyward serve",
                keyward.address()
            );
        }
        let keyward = Source::Running(keyward);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let run = if let Some(run) = run {
            run
        } else {
            let old = read_key(&current)?;
            let id = format!("{:08x}", app::random_number()? >> 32);
            Run::new(id, set, folder.names(&old)?, setup.now())
        };
        Ok(Self {
            arguments,
            setup,
            folder,
            keyward,
            current,
            next,
            account,
            has_listed: false,
            upstream,
            runtime,
            run,
            _hold: hold,
        })
    }

    /// Does step after step. What is done is not done again.
    fn go_on(&mut self, begun: bool) -> anyhow::Result<bool> {
        if begun {
            self.check_resumed()?;
        } else {
            self.begin()?;
        }
        loop {
            let step = self.run.step;
            let done = match step {
                Step::Ready => self.ready(),
                Step::NewKey => self.new_key(),
                Step::Probe => self.probe(),
                Step::Next => self.next(),
                Step::N8n => self.n8n(),
                Step::Current => self.current(),
                Step::Watch => self.watch(),
                Step::Revoke => self.revoke(),
            };
            let text = match done {
                Ok(Done::Yes(text)) => text,
                Ok(Done::NotYet(text)) => {
                    tell(step, Tone::Doubtful, "not yet", &text);
                    self.write_report()?;
                    return Ok(false);
                }
                Err(error) => return Ok(self.stopped(step, &error)),
            };
            self.note(step, &text);
            match step.next() {
                Some(next) => self.run.step = next,
                None => self.end(),
            }
            // A step that is not written down is not done: nothing may rest on it.
            if let Err(error) = self.keep() {
                return Ok(self.stopped(step, &error));
            }
            tell(step, Tone::Good, "done", &text);
            if self.run.ended.is_some() || self.arguments.until == Some(step) {
                self.write_report()?;
                return Ok(true);
            }
        }
    }

    /// Tells why a step is not done, and how to go on. Says that it is not.
    fn stopped(&self, step: Step, error: &anyhow::Error) -> bool {
        tell(step, Tone::Bad, "stopped", &format!("{error:#}"));
        if step == Step::Ready {
            remark("Nothing is changed yet. Once that is mended, give the same command again.");
        } else {
            remark(format_args!(
                "What is done stays done. keyward rotate {} --resume goes on here, --abort takes it back.",
                self.run.set
            ));
        }
        false
    }

    /// A new key that is given too late would be passed over.
    fn check_resumed(&self) -> anyhow::Result<()> {
        if self.arguments.new_key.is_some() && self.run.step > Step::NewKey {
            bail!(
                "--new-key comes too late: the rotation is at step {}. Up to step probe, put another key into {} and --resume; from \
                 then on, --abort and begin again",
                self.run.step.code(),
                self.next.display()
            );
        }
        Ok(())
    }

    /// Asks once for all that follows. That the old key may be deleted has to be said in a word of its own.
    fn begin(&mut self) -> anyhow::Result<()> {
        if self.arguments.yes {
            return Ok(());
        }
        self.print_plan();
        let obstacles = self.obstacles()?;
        self.overcome(&obstacles)?;
        if !can_ask() {
            bail!("nothing was begun: standard input is no terminal, so --yes has to say that it may be");
        }
        let replace = format!("Replace key {} of set `{}`", self.run.old, self.run.set);
        let may_be = match self.deletion_to_ask_for() {
            None => says_yes(&format!("{replace}?"))?,
            Some(id) => self.asks_for_both(&replace, id)?,
        };
        if may_be { Ok(()) } else { bail!("nothing was begun") }
    }

    /// The running keyward takes the new key as good: it reads the file of the next one by itself.
    fn next(&mut self) -> anyhow::Result<Done> {
        let new = self.new_names()?;
        self.announced_new()?;
        self.wait_for_role(new, &[RoleKind::Next, RoleKind::Current])?;
        Ok(Done::Yes(format!("keyward takes {new} as well as the current key")))
    }

    /// The old key makes way in its file. Where the new one stands there already, that was done before.
    fn current(&mut self) -> anyhow::Result<Done> {
        let new = self.new_names()?;
        let there = self.folder.names(&read_key(&self.current)?)?;
        if there.fingerprint.to_hex() == self.run.old.fingerprint {
            let key = self.announced_new()?;
            crate::rotate::key_file::switch(&self.current, &key)?;
            // Up to now a press of n8n's test may have sent it as well.
            self.run.probed_old = Some(self.setup.now().as_millis());
            self.keep()?;
        } else if there.fingerprint != new.fingerprint {
            bail!(
                "{} holds {there}, which is neither the old key nor the new one: it was changed meanwhile",
                self.current.display()
            );
        }
        self.wait_for_role(new, &[RoleKind::Current])?;
        crate::rotate::key_file::remove(&self.next)?;
        Ok(Done::Yes(format!("{new} is the current key; the old one stays in {} until the end", self.kept().display())))
    }

    /// Until OpenAI takes the new key, and lets it do what the old one may.
    fn probe(&mut self) -> anyhow::Result<Done> {
        let new = read_key(&self.next)?;
        let names = self.folder.names(&new)?;
        // Another key was put there, for one that was mistyped, say: nothing has it yet.
        if names.fingerprint != self.new_names()?.fingerprint {
            self.adopt(&new)?;
            self.keep()?;
        }
        let rights = self.wait_until_taken(&new, names)?;
        // From here on OpenAI's last use of the old key may be ours.
        self.run.probed_old = Some(self.setup.now().as_millis());
        self.keep()?;
        let old = read_key(&self.current)?;
        let before = self.rights(&old, self.folder.names(&old)?)?;
        let mut obstacles = Vec::new();
        if let (Some(project), Some(other)) = (&before.project, &rights.project)
            && project != other
        {
            obstacles.push(Obstacle {
                code: "other_project".to_owned(),
                text: format!(
                    "The new key belongs to project {other}, the old one to {project}: files, assistants and \
                               fine-tuned models of that project are not found with it."
                ),
                remedy: format!("Make the key in project {project}."),
            });
        }
        let lost: Vec<_> = rights.refused.difference(&before.refused).copied().collect();
        if before.standing.is_sound() && !lost.is_empty() {
            obstacles.push(Obstacle {
                code: "fewer_rights".to_owned(),
                text: format!("The new key may not do what the old one may: {}.", lost.join(", ")),
                remedy: "Give it the scopes for that.".to_owned(),
            });
        }
        self.overcome(&obstacles)?;
        Ok(Done::Yes(format!("OpenAI takes {names}, and it may do what the old key may")))
    }

    fn wait_until_taken(&self, key: &Secret, names: Names) -> anyhow::Result<Rights> {
        let begun = std::time::Instant::now();
        let mut told = String::new();
        loop {
            let asked = self.rights(key, names);
            let why = match &asked {
                Ok(rights) if rights.standing.is_sound() => return asked.map_err(Into::into),
                Ok(rights) => format!("key {names} {}", rights.standing),
                Err(error) => crate::telemetry::event::with_causes(error),
            };
            if begun.elapsed() >= UNTIL_TAKEN {
                bail!("{why}, and that for {} minutes", UNTIL_TAKEN.as_secs() / 60);
            }
            if told != why {
                remark(format_args!(
                    "Waiting, {} minutes at most, until OpenAI takes the new key: {why}. If it is mistyped, stop this (Ctrl-C), put the \
                     right one into {} and --resume.",
                    UNTIL_TAKEN.as_secs() / 60,
                    self.next.display()
                ));
                told = why;
            }
            std::thread::sleep(BETWEEN_PROBES);
        }
    }

    pub(super) fn rights(&self, key: &Secret, names: Names) -> Result<Rights, ProbeError> {
        let Some(bearer) = Bearer::new(key, names) else { return Err(ProbeError::TimedOut) };
        let proxy = &self.setup.config().proxy;
        self.runtime.block_on(rights(&self.upstream, proxy.base_path.as_ref(), &bearer, proxy.limits.connect_timeout))
    }

    /// Waits until the running keyward has that key in one of those roles.
    pub(super) fn wait_for_role(&self, key: Names, roles: &[RoleKind]) -> anyhow::Result<()> {
        let begun = std::time::Instant::now();
        loop {
            let set = self.set()?;
            if set.keys.iter().any(|known| known.names.fingerprint == key.fingerprint && roles.contains(&known.role)) {
                return Ok(());
            }
            if begun.elapsed() > UNTIL_READ {
                bail!("the keyward that runs does not see the key in that file: does it run with this configuration?");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        match self.keyward.status()?.answer {
            AnyStatus::Running(status) => Ok(status),
            AnyStatus::Stored(_) => bail!("no keyward runs any more"),
        }
    }

    fn set(&self) -> anyhow::Result<Set> {
        let found = self.status()?.sets.into_iter().find(|set| set.set == self.run.set);
        found.with_context(|| format!("the keyward that runs has no set `{}`", self.run.set))
    }

    /// Whatever stands against going on, unless you said to do so despite it.
    pub(super) fn overcome(&mut self, obstacles: &[Obstacle]) -> anyhow::Result<()> {
        let mut left = Vec::new();
        for obstacle in obstacles {
            if self.run.accepted.iter().any(|known| known.what == obstacle.code && known.text == obstacle.text) {
                continue;
            }
            let may_be = !NOT_TO_ACCEPT.contains(&&*obstacle.code) && self.arguments.despite.contains(&obstacle.code);
            match self.arguments.because.clone().filter(|_| may_be) {
                Some(reason) => self.run.accepted.push(Accepted {
                    what: obstacle.code.clone(),
                    text: obstacle.text.clone(),
                    reason,
                    at: self.setup.now().as_millis(),
                }),
                None => left.push(obstacle),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        print_wrapped(&left.iter().flat_map(|obstacle| obstacle.lines()).collect::<Vec<_>>());
        bail!(
            "{} against it: mend it, or go on --despite CODE --because TEXT",
            match left.len() {
                1 => "one thing stands".to_owned(),
                several => format!("{several} things stand"),
            }
        )
    }

    /// Whether you agree: by `--yes`, or asked now. Where nothing can be asked, you do not.
    pub(super) fn agrees(&self, question: &str) -> anyhow::Result<bool> {
        Ok(self.arguments.yes || can_ask() && says_yes(question)?)
    }

    pub(super) fn new_names(&self) -> anyhow::Result<Names> {
        let new = self.run.new.as_ref().context("the journal names no new key")?;
        let fingerprint = new.fingerprint.parse().context("rotations.json is damaged: a key has no fingerprint")?;
        let hint = new.hint.as_deref().and_then(|hint| hint.split_once('…'));
        let hint = hint.and_then(|(prefix, last)| crate::keys::fingerprint::Hint::from_parts(prefix, last));
        Ok(Names { fingerprint, hint })
    }

    /// The new key, which stands in the file of the next one until it is current. An error where another one stands there.
    pub(super) fn announced_new(&self) -> anyhow::Result<Secret> {
        let (key, new) = (read_key(&self.next)?, self.new_names()?);
        let there = self.folder.names(&key)?;
        if there.fingerprint != new.fingerprint {
            bail!(
                "{} holds {there}, and this rotation goes on with {new}: put that one back, or --abort and begin again",
                self.next.display()
            );
        }
        Ok(key)
    }

    /// Where the old key's value is kept until the end.
    pub(super) fn kept(&self) -> PathBuf {
        crate::rotate::key_file::previous(&self.current)
    }

    pub(super) fn note(&mut self, step: Step, text: &str) {
        self.run.events.push(Event { at: self.setup.now().as_millis(), step, text: text.to_owned() });
    }

    pub(super) fn keep(&self) -> anyhow::Result<()> {
        self.run.keep(&self.folder).with_context(|| {
            format!(
                "the journal cannot be written, and without it nothing more is done. Make room on the disk of {}, and let this user \
                 write there",
                self.setup.config().state.dir.display()
            )
        })
    }

    fn end(&mut self) {
        let at = self.setup.now().as_millis();
        self.run.ended = Some(crate::rotate::journal::Ended { at, how: crate::rotate::journal::End::Done });
    }

    pub(super) fn write_report(&self) -> anyhow::Result<()> {
        if self.arguments.report.is_some() {
            rotate_report::write(&self.run, self.arguments.report.as_deref())
        } else {
            Ok(())
        }
    }

    /// Asks the admin API, where there is an account.
    pub(super) fn ask<'s, T>(
        &'s self,
        ask: impl AsyncFnOnce(&'s AdminApi, &'s Account) -> Result<T, AdminError>,
    ) -> Option<Result<T, AdminError>> {
        let (api, account) = self.account.as_ref()?;
        Some(self.runtime.block_on(ask(api, account)))
    }
}

impl Obstacle {
    pub(super) fn lines(&self) -> [Line; 2] {
        let first = Line::toned(Tone::Bad, &*self.code).and(format!(" {}", self.text)).hanging(2);
        [first, Line::from(format!("  {}", self.remedy)).hanging(2)]
    }
}

/// Refuses what is no code of anything that can stand against a rotation.
fn check_codes(codes: &[String]) -> anyhow::Result<()> {
    let own = NOT_TO_ACCEPT.iter().chain(&TO_ACCEPT);
    let known: Vec<_> = own.copied().chain(ProblemKind::CODES).chain(FindingKind::CODES).collect();
    if let Some(code) = codes.iter().find(|code| NOT_TO_ACCEPT.contains(&&***code)) {
        bail!("--despite {code}: nothing can be done despite that");
    }
    match codes.iter().find(|code| !known.contains(&&***code)) {
        Some(code) => bail!(
            "--despite {}: nothing of that code stands against a rotation; --plan shows what does",
            harmless(code, 40)
        ),
        None => Ok(()),
    }
}

/// What has to be mended before a rotation goes on.
const NOT_TO_ACCEPT: [&str; 5] =
    ["not_writable", "no_new_key", "no_service_account", "no_scopes", "unreadable_new_key"];

/// What stands against a rotation beside problems and an audit's findings.
const TO_ACCEPT: [&str; 5] = ["admin_api", "old_key_id", "n8n_scope", "other_project", "fewer_rights"];

/// A line for a step: `3 probe    done     OpenAI takes sk-proj-…WXYZ`.
pub(super) fn tell(step: Step, tone: Tone, state: &str, text: &str) {
    let head = format!("{} {:<8} ", step.position() + 1, step.code());
    let hang = head.len() + STATE + 1;
    let line = Line::from(head).and_toned(tone, state).and(format!("{:1$}{text}", "", STATE + 1 - state.len()));
    print_wrapped(&[line.hanging(hang)]);
}

/// The file that holds a key of the set, which has to be one so that it can be written.
fn file_of(source: Option<&source::Source>, set: &str, role: &str) -> anyhow::Result<PathBuf> {
    match source {
        Some(source::Source::File(path)) => Ok(path.clone()),
        Some(source::Source::Env(name)) => bail!(
            "keys.{set}.{role} is the environment variable {name}, which no command can change for a keyward that runs: name \
             a file there, {role} = {{ file = \"…\" }}"
        ),
        Some(source::Source::Command(command)) => bail!(
            "keys.{set}.{role} is the output of {command}, which this cannot change: put the new key where that takes it from, or name \
             a file there, {role} = {{ file = \"…\" }}"
        ),
        None => bail!(
            "keys.{set}.{role} is not set: a rotation needs a file for it, {role} = {{ file = \"…\" }}, in a folder that this \
             user may write to. Then `keyward reload`"
        ),
    }
}

pub(super) fn read_key(path: &std::path::Path) -> anyhow::Result<Secret> {
    let source = source::Source::File(path.to_owned());
    source.read_key(fault_of_key).with_context(|| format!("no key can be read from {source}"))
}

/// How wide the state of a step is: `not yet`.
const STATE: usize = 7;

/// How long OpenAI may take until it knows a new key: its own documentation says that changes take up to 15 minutes.
const UNTIL_TAKEN: Duration = Duration::from_mins(15);

const BETWEEN_PROBES: Duration = Duration::from_secs(5);

/// keyward reads its key files every five seconds, if nothing tells it earlier.
const UNTIL_READ: Duration = Duration::from_secs(30);

const LOOK_AGAIN: Duration = Duration::from_millis(200);

const HELP: &str = "\
Eight steps: ready looks whether anything stands against it, new_key puts the new key into its file,
probe asks OpenAI until it takes that key, next has keyward take both keys, n8n puts the new one into
n8n's credentials, current makes it the current key, watch waits until the old key can go, and revoke
deletes the old key at OpenAI and sees that it is dead.

It asks once, before anything is changed: yes has it delete the old key too, once keyward has proved
that nothing sends it; keep has it ask again before that. It also asks again where the proof rests on
anything that you accepted or acknowledged.

Each step is written into the state folder before the next one begins. So it can be stopped at any
point: --resume goes on, --abort takes it back.

keys.<set>.current and keys.<set>.next have to be files that this user may write. OpenAI makes and
deletes keys where keys.<set>.admin names the account; without it, --new-key takes the one that you
made, and at the end you are told which one to delete.

Ends with 0 if what was asked for is done, and with 1 where it stopped.

Example: keyward rotate default --plan";
