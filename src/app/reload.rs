//! Takes another configuration while keyward runs: whole or not at all. What is wrong with it is found before anything is
//! touched; then the ring with its rules is swapped, which is all that a request looks at.

use std::sync::Arc;

use super::pollers::Pollers;
use super::standing::Standing;
use super::upkeep::Readings;
use crate::answers::reload::{Reload, ReloadResult};
use crate::caller::names::{Directory, Known};
use crate::check::gateways::gateways;
use crate::check::{self, Gravity};
use crate::config::{Change, Config, Problems, Taken};
use crate::exchange::context::Shared;
use crate::keys::command;
use crate::keys::reloader::Trouble;
use crate::metrics::LATER_SETS;
use crate::n8n;
use crate::n8n::client::{Bounds, Client};
use crate::notices::status::Notices;
use crate::telemetry::event::with_causes;

/// Reads all settings again.
pub type Reread = Box<dyn Fn() -> Result<Config, Problems>>;

/// The configuration that holds, and how another one is read.
pub(super) struct Reloading<'r> {
    config: Config,
    reread: &'r Reread,
    /// The other settings that were told last: only a reload or a start takes them.
    told_of: Option<Config>,
}

/// What another configuration changes.
pub(super) struct Changeable<'s> {
    pub(super) shared: &'s Arc<Shared>,
    pub(super) readings: &'s Readings,
    pub(super) notices: &'s Notices,
    pub(super) pollers: &'s mut Pollers,
    /// What of the page for people stays as it is.
    pub(super) standing: &'s Standing,
    /// How many sets there were at the start.
    pub(super) sets_at_start: usize,
}

/// Why another configuration is not taken.
struct Refused {
    changed: Vec<String>,
    needs_restart: Vec<String>,
    problems: Vec<String>,
}

impl<'r> Reloading<'r> {
    /// After a start with that configuration.
    pub(super) fn new(config: &Config, reread: &'r Reread) -> Self {
        Self { config: config.clone(), reread, told_of: None }
    }

    /// Takes the configuration as it reads now, or where it is a dry run, says what that would do.
    pub(super) fn reload(&mut self, is_dry_run: bool, changeable: &mut Changeable<'_>) -> Reload {
        let outcome = self.judge(changeable).and_then(|(config, changed)| {
            if !is_dry_run {
                self.take(config, &changed, changeable).map_err(|problems| Refused {
                    changed: changed.clone(),
                    needs_restart: Vec::new(),
                    problems,
                })?;
            }
            Ok(changed)
        });
        if !is_dry_run {
            tell(&outcome);
            let now = changeable.shared.clock.now();
            changeable.readings.reloads.configured(outcome.is_ok().then_some(now));
        }
        answer(outcome, is_dry_run)
    }

    /// SIGHUP: takes the receivers of notices. What else has changed is told, once.
    pub(super) fn take_receivers(&mut self, notices: &Notices) {
        let read = match (self.reread)() {
            Ok(read) => read,
            Err(problems) => {
                tracing::error!(event = "config", "the settings stay as they were: {problems}");
                return;
            }
        };
        if read.notices != self.config.notices {
            tracing::info!(event = "notices", "{} receivers of notices from now on", read.notices.receivers.len());
        }
        // The same ones as well: one that had stopped is tried again.
        notices.take(read.notices.clone());
        self.config.notices = read.notices.clone();
        if read != self.config && self.told_of.as_ref() != Some(&read) {
            tracing::warn!(
                event = "config",
                "settings other than [notices] have changed: they hold after `keyward reload` or a restart"
            );
            self.told_of = Some(read);
        }
    }

    /// Reads the configuration and finds all that speaks against it; gives it, and the names of what it changes.
    fn judge(&self, changeable: &Changeable<'_>) -> Result<(Config, Vec<String>), Refused> {
        let mut config = (self.reread)().map_err(|problems| Refused {
            changed: Vec::new(),
            needs_restart: Vec::new(),
            problems: problems.iter().map(|problem| unindented(&problem.to_string())).collect(),
        })?;
        config.keys.share_commands(&self.config.keys);
        command::run_all(config.keys.commands().filter(|command| command.is_fresh()));
        let differences = config.changes_since(&self.config);
        let of = |taken| {
            let names = differences.iter().filter(move |change: &&Change| change.taken == taken);
            names.map(|change| change.setting.clone()).collect::<Vec<_>>()
        };
        let (changed, needs_restart) = (of(Taken::ByReload), of(Taken::AtStart));
        let problems = problems(&config, changeable);
        if needs_restart.is_empty() && problems.is_empty() {
            Ok((config, changed))
        } else {
            Err(Refused { changed, needs_restart, problems })
        }
    }

    /// Nothing is wrong with it but what came to be since it was judged, and then nothing is taken.
    fn take(&mut self, config: Config, changed: &[String], changeable: &mut Changeable<'_>) -> Result<(), Vec<String>> {
        if !changed.is_empty() {
            take_sets(&config, changeable)?;
            if config.n8n != self.config.n8n {
                take_n8n(&config, changeable);
            }
            if config.notices != self.config.notices {
                changeable.notices.take(config.notices.clone());
            }
            tell_warnings(&self.config, &config, changeable);
            self.config = config;
        }
        changeable.readings.look_again();
        Ok(())
    }
}

/// What a start with that configuration would refuse, and what cannot be taken while keyward runs.
fn problems(config: &Config, changeable: &Changeable<'_>) -> Vec<String> {
    let troubles = changeable.shared.reloader.troubles(&config.keys);
    let mut problems = told(&troubles);
    problems.extend(check::reasons_not_to_start(config, &[], &gateways()));
    for instance in &config.n8n.instances {
        let opened = Client::new(instance, Bounds::default());
        problems.extend(opened.err().map(|error| format!("n8n.{}.url: {}", instance.name, with_causes(&error))));
    }
    let sets = changeable.shared.reloader.positions(&config.keys).len();
    if sets > changeable.sets_at_start + LATER_SETS {
        problems
            .push(format!("keys: more than {LATER_SETS} sets came since the start. Restart keyward to take others."));
    }
    problems
}

fn unindented(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

fn told(troubles: &[Trouble]) -> Vec<String> {
    troubles.iter().map(|trouble| with_causes(trouble)).collect()
}

/// First the room for the sets, for a request may be of one as soon as the ring has it.
fn take_sets(config: &Config, changeable: &Changeable<'_>) -> Result<(), Vec<String>> {
    let shared = changeable.shared;
    let sets = shared.reloader.positions(&config.keys);
    shared.problems.make_room(sets.len());
    if !shared.ledger.make_room(sets) {
        return Err(vec!["keys: the store was read only now, and knows of other sets: reload once more".into()]);
    }
    shared.reloader.adopt(&config.keys, &config.rules).map_err(|troubles| told(&troubles))?;
    let (rotation, n8n) = config.rotation();
    shared.ledger.configure(rotation, n8n);
    shared.page.store(Arc::new(changeable.standing.page(config, &shared.reloader)));
    changeable.readings.files_changed.notify_one();
    Ok(())
}

/// What is called how is kept of those that stay; of new ones it is what the store has.
fn take_n8n(config: &Config, changeable: &mut Changeable<'_>) {
    let (names, store) = (&changeable.shared.names, config.store.file(&config.state.dir));
    let (before, stored) = (names.snapshot(), n8n::remembered(&config.n8n, store.as_deref()));
    let known = |stored: &Arc<Known>| {
        let kept = before.instances().iter().find(|known| known.name == stored.name && known.url == stored.url);
        Arc::clone(kept.unwrap_or(stored))
    };
    names.renew(Directory::new(stored.instances().iter().map(known).collect()));
    if let Err(error) = changeable.pollers.take(&config.n8n) {
        tracing::error!(event = "n8n", "an n8n is not asked: {error:#}");
    }
}

/// What a start would warn of, unless it did before.
fn tell_warnings(before: &Config, now: &Config, changeable: &Changeable<'_>) {
    let (gateways, at) = (gateways(), changeable.shared.clock.now());
    let known = check::examine(before, &gateways, at);
    let findings = check::examine(now, &gateways, at);
    for finding in findings.iter().filter(|finding| finding.gravity == Gravity::Warning && !known.contains(finding)) {
        tracing::warn!(event = "check", "{finding}");
    }
}

fn tell(outcome: &Result<Vec<String>, Refused>) {
    match outcome {
        Ok(changed) if changed.is_empty() => {
            tracing::info!(event = "reloaded", "the configuration is as it was: keys and tokens were read again");
        }
        Ok(changed) => {
            let settings = changed.join(", ");
            tracing::info!(event = "reloaded", settings, "another configuration holds from now on: {settings}");
        }
        Err(Refused { needs_restart, problems, .. }) => {
            let restart = needs_restart.iter().map(|setting| format!("{setting} needs a restart"));
            let why = restart.chain(problems.iter().cloned()).collect::<Vec<_>>().join("\n");
            tracing::error!(event = "reload_refused", "the configuration stays as it was: {why}");
        }
    }
}

fn answer(outcome: Result<Vec<String>, Refused>, dry_run: bool) -> Reload {
    match outcome {
        Ok(changed) => {
            let result = if changed.is_empty() { ReloadResult::Unchanged } else { ReloadResult::Taken };
            Reload { result, dry_run, changed, needs_restart: Vec::new(), problems: Vec::new() }
        }
        Err(Refused { changed, needs_restart, problems }) => {
            Reload { result: ReloadResult::Refused, dry_run, changed, needs_restart, problems }
        }
    }
}
