//! What the commands beside `serve` work on: the configuration, the state folder, the keys.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;

use super::output::remark;
use crate::caller::names::Directory;
use crate::check::fault_of_key;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Environment, Overrides};
use crate::keys::history::History;
use crate::keys::reloader::{Kept, Reloader};
use crate::keys::rules::Policy;
use crate::keys::state::StateFolder;
use crate::ledger::offline;
use crate::n8n::{self, Instance};
use crate::telemetry::event::with_causes;

/// Which config file a command reads.
#[derive(Args, Debug)]
pub(super) struct ConfigArgument {
    #[arg(
        long,
        value_name = "FILE",
        help = "Read settings from this file (or from the one that KEYWARD_CONFIG names)"
    )]
    pub(super) config: Option<PathBuf>,
}

/// A configuration, as `serve` would have it.
pub(super) struct Setup {
    config: Config,
    clock: Clock,
}

impl Setup {
    pub(super) fn open(argument: &ConfigArgument, environment: &Environment) -> anyhow::Result<Self> {
        let config = Config::load(argument.config.as_deref(), environment, Overrides::default())?;
        Ok(Self { config, clock: Clock::System })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state folder, made where there is none.
    pub(super) fn folder(&self) -> anyhow::Result<StateFolder> {
        StateFolder::open(&self.config.state).context("the state folder cannot be used (state.dir)")
    }

    /// All keys, as `serve` would know them. What cannot be read is told, and left out.
    pub(super) fn reloader(&self) -> anyhow::Result<Reloader> {
        let kept = offline::history(&self.config.store, &self.config.state.dir).unwrap_or_else(|error| {
            remark(format_args!("keyward: rotations of before are not known: {}", with_causes(&error)));
            Kept::InStore(History::default())
        });
        let (reloader, troubles) =
            Reloader::open(&self.config.keys, &self.config.state, kept, fault_of_key, self.clock.clone())?;
        for trouble in troubles {
            remark(format_args!("keyward: {}", with_causes(&trouble)));
        }
        Ok(reloader)
    }

    /// What n8n calls its workflows and nodes, as far as the store has it.
    pub(super) fn names(&self) -> Arc<Directory> {
        let store = self.config.store.file(&self.config.state.dir);
        Arc::new(n8n::remembered(&self.config.n8n, store.as_deref()))
    }

    /// The policy of the set of that name, if there is one.
    pub(super) fn policy(&self, set: &str) -> Option<Policy> {
        let position = self.config.keys.sets.iter().position(|known| &*known.name == set)?;
        self.config.rules.sets.get(position).map(|rules| rules.policy)
    }

    /// Every n8n that is configured, or the one of that name.
    pub(super) fn n8n(&self, name: Option<&str>) -> anyhow::Result<&[Instance]> {
        let all = &self.config.n8n.instances;
        let Some(name) = name else { return Ok(all) };
        match all.iter().position(|instance| &*instance.name == name) {
            Some(at) => Ok(&all[at..=at]),
            None if all.is_empty() => bail!(NO_N8N),
            None => bail!("there is no n8n {name:?}; there are: {}", names_of(all)),
        }
    }

    /// The n8n of that name, or the only one; nothing where none is configured.
    pub(super) fn only_n8n(&self, name: Option<&str>) -> anyhow::Result<Option<&Instance>> {
        match self.n8n(name)? {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            several => bail!("several n8n are configured: --n8n chooses one of {}", names_of(several)),
        }
    }

    pub(super) fn set_names(&self) -> Vec<&str> {
        self.config.keys.sets.iter().map(|set| &*set.name).collect()
    }
}

fn names_of(instances: &[Instance]) -> String {
    instances.iter().map(|instance| &*instance.name).collect::<Vec<_>>().join(", ")
}

/// For what cannot be done without n8n.
pub(super) const NO_N8N: &str = "no n8n is configured: [n8n.<name>] has its url and api_key, or KEYWARD_N8N_<NAME>_URL and \
                                _API_KEY_FILE (config/reference.toml)";
