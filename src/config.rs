//! All settings: read from the file, the environment and the command line, and either valid as a whole or refused with
//! every problem at once.
//!
//! Later overrides earlier: default, file, `KEYWARD_…`, command line. What is wrong is told wherever it stands, also
//! where something later overrides it.

mod accounts;
mod change;
mod env;
mod instances;
mod parse;
mod problem;
mod proxy_env;
mod raw;
mod receivers;
mod schema;
mod sets;
mod units;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::change::{Change, Taken};
pub use self::env::Environment;
pub use self::problem::{Place, Problem, Problems};
pub use self::schema::{SETTINGS, Setting};

use self::instances::Instances;
use self::parse::Unfit;
use self::raw::{Given, Value};
use self::receivers::Receivers;
use self::schema::Reading;
use self::sets::Sets;
use crate::keys::rules::Policy;
use crate::keys::rules::Rules;
use crate::keys::source::Source;
use crate::keys::{self, state};
use crate::ledger::{Configured, proof, store};
use crate::n8n::connect::Entrance;
use crate::net::egress_proxy::EgressProxyChoice;
use crate::net::origin;
use crate::{admin, n8n, notices, rotate, server, telemetry};

/// Reads where an n8n reaches keyward, as `n8n.<name>.keyward` says it; or tells what is allowed.
pub fn keyward_entrance(text: &str) -> Result<Entrance, String> {
    let allowed = || format!("allowed is {}", schema::BASE_URL);
    parse::entrance(text).map_err(|unfit| match unfit {
        Unfit::NotAllowed => allowed(),
        Unfit::Because(why) => format!("{} {}", why, allowed()),
    })
}

/// Reads a span as settings have it: `2h`, `1h30m`.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    parse::span(text).ok()
}

/// The settings of every concern, all of them valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[proxy]`
    pub proxy: server::Settings,
    /// `[keys.<set>]`
    pub keys: keys::Settings,
    /// `keys.<set>.admin`
    pub accounts: rotate::account::Settings,
    /// `[n8n.<name>]`
    pub n8n: n8n::Settings,
    /// `[notices.<name>]`
    pub notices: notices::Settings,
    /// `[log]`
    pub log: telemetry::Settings,
    /// `[admin]`
    pub admin: admin::Settings,
    /// What is done about requests: a set's rules stand where the set stands in `keys`. `proxy.allow_host` and
    /// `proxy.allow_origin` are among them, since a decision is made by them, and by nothing else of `[proxy]`.
    pub rules: Rules,
    /// `[state]`
    pub state: state::Settings,
    /// `[store]`
    pub store: store::Settings,
    /// `[rotation]`
    pub rotation: proof::Settings,
    /// Variables of the environment that begin with `KEYWARD_` and are no settings: worth a warning.
    pub ignored: Vec<Box<str>>,
}

/// The values of single settings, as far as they have been read. Sets, n8ns and receivers are gathered beside it.
struct Draft {
    proxy: server::Settings,
    log: telemetry::Settings,
    admin: admin::Settings,
    rules: Rules,
    state: state::Settings,
    store: store::Settings,
    rotation: proof::Settings,
    /// `proxy.policy`, of sets that have none of their own.
    policy: Policy,
    /// `proxy.via`, of upstream and of each n8n that has none of its own. Which proxy that is depends on the address.
    via: EgressProxyChoice,
}

/// What there may be several of, each in a table of its own.
#[derive(Debug, Default)]
struct Tables {
    sets: Sets,
    instances: Instances,
    receivers: Receivers,
}

/// What the command line sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`, over `proxy.listen`.
    pub listen: Option<String>,
    /// `--upstream`, over `proxy.upstream`.
    pub upstream: Option<String>,
    /// `--log`, over `log.format`.
    pub log: Option<String>,
}

impl Config {
    /// What the ledger is told of rotations and of n8n.
    #[must_use]
    pub fn rotation(&self) -> (proof::Settings, Vec<Configured>) {
        let configured = self.n8n.instances.iter();
        let configured = configured.map(|one| Configured { name: one.name.clone(), set: one.set.clone() }).collect();
        (self.rotation.clone(), configured)
    }

    /// Reads all that is set. `file` is what the command line names; otherwise `KEYWARD_CONFIG` may name one.
    pub fn load(file: Option<&Path>, environment: &Environment, overrides: Overrides) -> Result<Self, Problems> {
        let read = |problems: &mut Problems| match config_file(file, environment) {
            Some((path, place)) => read_file(&path, place, problems),
            None => Some(Vec::new()),
        };
        Self::assemble(read, environment, overrides)
    }

    /// Puts all sources together. `read_file` gives nothing where the file is not known as a whole.
    fn assemble(
        read_file: impl FnOnce(&mut Problems) -> Option<Vec<Given>>,
        environment: &Environment,
        overrides: Overrides,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let of_file = read_file(&mut problems);
        let whole = of_file.is_some();
        let of_file = of_file.unwrap_or_default();
        let of_environment = env::read(environment, &of_file, &mut problems);
        let given = of_file.into_iter().chain(of_environment.given).chain(overrides.into_given());

        let mut draft = Draft::unset(environment);
        let mut tables = Tables::default();
        given.for_each(|given| draft.apply(given, &mut tables, &mut problems));
        let Tables { sets, instances, receivers } = tables;
        if whole {
            // With half a file, fields may seem to be missing that stand in the other half.
            let has_fallback = environment.value(OPENAI_VARIABLE).is_some();
            sets.check(draft.policy, has_fallback, &mut problems);
            instances.check(&sets.names(), &mut problems);
            receivers.check(&sets.names(), &mut problems);
            draft.check(&mut problems);
        }
        let Draft { mut proxy, log, admin, mut rules, state, store, rotation, policy, via } = draft;
        let fallback = environment.value(OPENAI_VARIABLE).map(|_| Source::Env(OPENAI_VARIABLE.into()));
        let accounts = sets.accounts(&via, environment, &mut problems);
        let mut keys;
        (keys, rules.sets) = sets.into_settings(fallback, policy);
        keys.takes_vendors = proxy.base_path.is_some() || !is_for_openai(&proxy.upstream);
        proxy.via = proxy_env::resolve(&via, &proxy.upstream, environment, &mut problems);
        let n8n = instances.into_settings(&via, environment, &mut problems);
        let notices = receivers.into_settings(&via, environment, &mut problems);
        let ignored = of_environment.ignored;
        let config = Self { proxy, keys, accounts, n8n, notices, log, admin, rules, state, store, rotation, ignored };
        if problems.is_empty() { Ok(config) } else { Err(problems.sorted()) }
    }
}

/// Whether only OpenAI's keys make sense there: OpenAI itself, in whatever region, or what stands for it on this machine.
fn is_for_openai(upstream: &origin::Upstream) -> bool {
    let host = &*upstream.host;
    let is_openai = host == "openai.com" || host.ends_with(".openai.com");
    is_openai || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

// === impl Draft ===

impl Draft {
    /// The defaults. The state's folder stays empty where the platform has none, which [`Draft::check`] refuses.
    fn unset(environment: &Environment) -> Self {
        let dir = environment.state_folder().map_or_else(PathBuf::new, |folder| folder.join("keyward"));
        Self {
            proxy: server::Settings::default(),
            log: telemetry::Settings::default(),
            admin: admin::Settings::default(),
            rules: Rules::default(),
            state: state::Settings { dir },
            store: store::Settings::default(),
            rotation: proof::Settings::default(),
            policy: Policy::default(),
            via: EgressProxyChoice::default(),
        }
    }

    fn apply(&mut self, given: Given, tables: &mut Tables, problems: &mut Problems) {
        match given.value {
            Value::OfSet(name, value) => tables.sets.apply(&name, value, given.place, problems),
            Value::OfInstance(name, value) => tables.instances.apply(&name, value, given.place, problems),
            Value::OfReceiver(name, value) => tables.receivers.apply(&name, value, given.place, problems),
            Value::Text(setting, text) => {
                let (Reading::Value(read) | Reading::List(read)) = setting.reading else { return };
                if let Err(unfit) = read(self, &text) {
                    let problem = Problem::misfit(given.place, setting.key, unfit, setting.allowed);
                    problems.push(if setting.key == proxy_env::VIA { problem } else { problem.quoting(&text) });
                }
            }
        }
    }

    /// What no value can show alone.
    fn check(&self, problems: &mut Problems) {
        if self.state.dir.as_os_str().is_empty() && !problems.iter().any(|problem| problem.key == STATE_DIR) {
            let text = "This user has no home, so there is no folder to choose: set it, or KEYWARD_STATE_DIR.";
            problems.push(Problem::new(Place::Nowhere, STATE_DIR, text));
        }
        let missing = match (&self.proxy.tls.cert, &self.proxy.tls.key) {
            (Some(_), None) => Some("tls.key"),
            (None, Some(_)) => Some("tls.cert"),
            (Some(_), Some(_)) | (None, None) => None,
        };
        if let Some(missing) = missing {
            problems.push(Problem::new(Place::Nowhere, missing, "A certificate and its private key go together."));
        }
    }
}

impl Overrides {
    fn into_given(self) -> impl Iterator<Item = Given> {
        let options = [
            ("--listen", "proxy", "listen", self.listen),
            ("--upstream", "proxy", "upstream", self.upstream),
            ("--log", "log", "format", self.log),
        ];
        options.into_iter().filter_map(|(option, table, name, text)| {
            let value = Value::Text(schema::find(table, name)?, text?);
            Some(Given { place: Place::CommandLine(option), value })
        })
    }
}

/// The file that settings are read from, where one is named.
#[must_use]
pub fn file(argument: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    config_file(argument, environment).map(|(path, _)| path)
}

fn config_file(file: Option<&Path>, environment: &Environment) -> Option<(PathBuf, Place)> {
    let named = file.map(|path| (path.to_owned(), Place::CommandLine("--config")));
    named.or_else(|| {
        let path = environment.value(schema::CONFIG_VARIABLE)?;
        Some((path.into(), Place::Environment(schema::CONFIG_VARIABLE.into())))
    })
}

fn read_file(path: &Path, place: Place, problems: &mut Problems) -> Option<Vec<Given>> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => raw::read(&shown, &text, problems),
        Err(error) => {
            let folder = std::env::current_dir().ok().filter(|_| path.is_relative());
            let folder = folder.map(|folder| format!(" It is looked for in {}.", folder.display())).unwrap_or_default();
            let text = format!("The file cannot be read: {error}.{folder}");
            problems.push(Problem::new(place, "config file", text).quoting(&shown));
            None
        }
    }
}

/// Where every `OpenAI` client looks for its key; keyward does too, where no key set `default` is declared.
const OPENAI_VARIABLE: &str = "OPENAI_API_KEY";

const STATE_DIR: &str = "state.dir";
