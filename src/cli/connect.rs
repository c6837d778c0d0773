//! `keyward n8n connect`: credential records of n8n's lead to keyward.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;

use super::client::Client;
use super::connected::Outcome;
use super::connecting::{NewKey, Plan, Planned};
use super::output::{print_json, remark};
use super::prompt::{KeyFrom, can_ask};
use super::records::{Chosen, Side, in_words};
use super::setup::Setup;
use super::telling::Told;
use super::wait::{self, Awaited, Seen};
use crate::answers::event::Line;
use crate::config::{Environment, keyward_entrance};
use crate::keys::rules::Policy;
use crate::keys::source::Source;
use crate::n8n::connect::{Entrance, Marks, OPENAI};
use crate::n8n::documents::CredentialRecord;

/// What `keyward n8n connect` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Have credentials lead to keyward, and with them tag every node that uses them")]
#[command(after_help = AFTER_HELP)]
pub(super) struct ConnectArguments {
    #[command(flatten)]
    chosen: Chosen,
    #[arg(long, value_name = "URL", help = "Where n8n reaches keyward [default: n8n.<name>.keyward]")]
    url: Option<String>,
    #[arg(
        long,
        value_name = "URL",
        help = "The Base URL that stands there now, to be put back [default: what keyward knows of it]"
    )]
    was: Option<String>,
    #[arg(long, value_name = "SET", help = "Declare this key set with each request")]
    set: Option<String>,
    #[arg(long, help = "Put a new token into the credential, in place of its key")]
    token: bool,
    #[arg(
        long,
        value_name = "PLACE",
        conflicts_with = "token",
        help = "Put another key into it, from: \
        prompt, stdin, file:<path>, env:<name>, or current (the set's own)"
    )]
    key_from: Option<KeyFrom>,
    #[arg(long, help = "Wait until keyward has seen n8n's test and one run, and say what it saw")]
    verify: bool,
    #[arg(long, value_name = "SECONDS", default_value_t = 300, help = "How long to wait for that")]
    within: u64,
}

// === impl ConnectArguments ===

impl ConnectArguments {
    /// Says whether all of them lead to keyward now, and were seen if that was asked for.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.chosen.config, environment)?;
        let plan = self.plan(&setup)?;
        let form = self.form(&plan.side)?;
        // What cannot be had is told before anything is changed.
        if form.is_none() {
            refuse_unseen(&plan.told)?;
        }
        let watcher = self.watcher(&setup, form)?;
        let plan = self.with_key(plan)?;
        let records = plan.side.records()?;
        let chosen = records.select(&self.chosen.credentials)?;
        let mut outcomes = Vec::new();
        let planned = if form.is_none() { self.agree(&plan, &chosen)? } else { Vec::new() };
        for (at, record) in chosen.into_iter().enumerate() {
            let end = match form {
                None => plan.connect(&planned[at]),
                Some(has_header) => plan.by_hand(has_header),
            };
            let mut outcome = Outcome { record, users: records.users(record), end, seen: None };
            if !self.chosen.json {
                outcome.print();
            }
            if let Some(client) = watcher.as_ref().filter(|_| outcome.may_be_seen()) {
                outcome.seen = Some(self.watch(client, &plan, &outcome)?);
                outcome.remark_end();
            }
            outcomes.push(outcome);
        }
        if self.chosen.json {
            let credentials: Vec<_> = outcomes.iter().map(Outcome::in_json).collect();
            print_json(&json!({ "n8n": &*plan.side.instance.name, "credentials": credentials }));
        }
        Ok(outcomes.iter().all(|outcome| outcome.is_well(self.verify)))
    }

    fn plan<'a>(&self, setup: &'a Setup) -> anyhow::Result<Plan<'a>> {
        let side = Side::open(setup, self.chosen.n8n.as_deref())?;
        let entrance = entrance(setup, &side, self.url.as_deref())?;
        let set = self.set(setup, &side)?;
        let several = setup.config().n8n.instances.len() > 1;
        let instance = several.then(|| side.instance.name.clone());
        let marks = Marks { set: self.set.as_deref().map(Box::from), instance };
        if let Some(was) = self.was.as_ref().filter(|was| !is_base_url(was)) {
            bail!("--was is a Base URL as it stands in n8n, which begins with http:// or https://, not {was:?}");
        }
        Ok(Plan {
            setup,
            side,
            told: Told::new(setup),
            folder: setup.folder()?,
            entrance,
            marks,
            set,
            key: NewKey::Kept,
            was: self.was.clone(),
        })
    }

    /// The plan with the key that is to be put in, once it is known that one can be.
    fn with_key<'a>(&self, plan: Plan<'a>) -> anyhow::Result<Plan<'a>> {
        let key = match &self.key_from {
            None if self.token => NewKey::Token,
            None => NewKey::Kept,
            Some(from) => NewKey::Given(from.read(current_source(plan.setup, &plan.set))?),
        };
        let is_observed = plan.setup.policy(&plan.set) == Some(Policy::Observe);
        let plan = Plan { key, ..plan };
        plan.refuse_given(is_observed)?;
        Ok(plan)
    }

    /// Where n8n's API cannot change credentials, whether its form has a custom header; nothing where it can.
    fn form(&self, side: &Side) -> anyhow::Result<Option<bool>> {
        let has_header = side.has_header()?;
        if has_header && side.can_change()? {
            return Ok(None);
        }
        if self.token || self.key_from.is_some() {
            bail!(
                "this n8n's API cannot change credentials, so that keyward can put neither a token nor a key into one ({}): \
                 leave {} out, and put it into the credential's API Key yourself{}",
                side.address(),
                if self.token { "--token" } else { "--key-from" },
                if self.token { ". `keyward token new SET --name n8n` makes one and shows it once" } else { "" }
            );
        }
        Ok(Some(has_header))
    }

    /// Who waits for what keyward sees. Where you have to put something into a form, you are waited for.
    fn watcher(&self, setup: &Setup, form: Option<bool>) -> anyhow::Result<Option<Client>> {
        if self.verify {
            return running(setup).map(Some);
        }
        let is_waited_for = form.is_some() && can_ask() && !self.chosen.json;
        Ok(if is_waited_for { running(setup).ok() } else { None })
    }

    /// What is known of each record, with your consent to change it.
    fn agree<'r>(&self, plan: &Plan<'_>, chosen: &[&'r CredentialRecord]) -> anyhow::Result<Vec<Planned<'r>>> {
        let planned = chosen.iter().map(|record| plan.look_at(record)).collect::<anyhow::Result<Vec<_>>>()?;
        let unknown: Vec<_> = planned.iter().filter_map(Planned::unknown).collect();
        if self.chosen.is_agreed() && !unknown.is_empty() {
            bail!(
                "nothing was changed: {}. What stands there could not be put back: say it with --was, as n8n shows it in the \
                 credential ({OPENAI} is OpenAI's own)",
                unknown.join("; ")
            );
        }
        self.chosen.ask(&planned.iter().map(|planned| plan.announce(planned)).collect::<Vec<_>>())?;
        Ok(planned)
    }

    /// The set whose key or token is put in: the declared one, or else the only one.
    fn set(&self, setup: &Setup, side: &Side) -> anyhow::Result<String> {
        let names = setup.set_names();
        let only = if let [only] = names[..] { only } else { "default" };
        let set = self.set.as_deref().or(side.instance.set.as_deref()).unwrap_or(only);
        let Some(policy) = setup.policy(set) else {
            bail!("there is no key set of that name (--set); the configuration has: {}", names.join(", "));
        };
        if self.token && policy == Policy::Observe {
            bail!(
                "set `{set}` only observes, so a token would go upstream as it is: set keys.{set}.policy to \"inject\" or \
                 \"enforce\", or leave --token out"
            );
        }
        Ok(set.to_owned())
    }

    fn watch(&self, client: &Client, plan: &Plan<'_>, outcome: &Outcome<'_>) -> anyhow::Result<Seen> {
        let record = outcome.record;
        let presses = outcome.is_tested();
        // What nothing uses is not run.
        let wants_run = self.verify && !outcome.users.is_empty();
        let press = async {
            remark(format_args!(
                "Waiting, {} s at most, for {}{} (Ctrl-C leaves everything as it is now) …",
                self.within,
                if presses {
                    "n8n's test".to_owned()
                } else {
                    format!("a press of the test button of {}", in_words(record))
                },
                if wants_run {
                    format!(" and for a run of a workflow that uses {}", in_words(record))
                } else {
                    String::new()
                },
            ));
            if presses {
                // What is wrong with it was told above, or is seen by keyward.
                let test = async || plan.side.tested(&record.id).await;
                let _ = plan.told.of_test(&plan.side.instance.name, &record.id, test).await;
            }
        };
        let tell = |what: &str, line: &Line| {
            remark(format_args!("  seen: {what}: {}", wait::in_words(outcome.users, line)));
        };
        let awaited = Awaited { users: outcome.users, wants_run };
        let seen = wait::watch(client, &awaited, Duration::from_secs(self.within), press, tell)?;
        for what in seen.missing(&awaited) {
            remark(format_args!("  not seen: {what}"));
        }
        Ok(seen)
    }
}

/// Where n8n reaches keyward: at `url`, or where the configuration says.
pub(super) fn entrance(setup: &Setup, side: &Side, url: Option<&str>) -> anyhow::Result<Entrance> {
    let entrance = match url {
        Some(url) => keyward_entrance(url).map_err(|why| anyhow!("--url cannot be used: {why}"))?,
        None => side.instance.keyward.clone().with_context(|| {
            format!(
                "where does n8n reach keyward? Say it once, n8n.{}.keyward = \"http://keyward:8080\", or with --url. It is \
                 not guessed, since it depends on where n8n runs",
                side.instance.name
            )
        })?,
    };
    if entrance.address().origin == setup.config().proxy.upstream {
        bail!("{entrance} is where keyward itself sends requests (proxy.upstream), and not keyward");
    }
    Ok(entrance)
}

/// That a record leads to keyward is said of what the running keyward saw alone.
fn refuse_unseen(told: &Told) -> anyhow::Result<()> {
    told.why_not().map_or(Ok(()), |why| {
        bail!(
            "nothing was changed: that a credential leads to keyward is said only once the keyward that runs has seen n8n's \
             test of it, and it cannot be asked: {why}"
        )
    })
}

fn running(setup: &Setup) -> anyhow::Result<Client> {
    let client = Client::new(setup)?;
    if client.is_answered() { Ok(client) } else { bail!("no keyward runs here that could see anything (--verify)") }
}

/// Where the set's own current key stands, if it is declared.
pub(super) fn current_source<'s>(setup: &'s Setup, set: &str) -> Option<&'s Source> {
    setup.config().keys.sets.iter().find(|known| &*known.name == set)?.current.as_ref()
}

pub(super) fn is_base_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

const AFTER_HELP: &str = "\
Writes keyward's Base URL and the tag header into the credential, through n8n's API. What is not named
here stays: its key (unless --token or --key-from says otherwise), organization and domains. n8n tests
it, and it leads to keyward once the keyward that runs has seen that test; where it does not, what stood
there is put back. n8n never tells what that is: keyward knows what it put there itself, --was says
anything else, and with --yes nothing is changed that is not known. n8n's API key needs the scopes
workflow:list, credential:list, credential:read and credential:update. Where n8n's API cannot change
credentials (1.x), it prints what to put where and changes nothing; on a terminal, or with --verify, it
waits for each credential until keyward has seen its test. Ends with 1 where one does not lead to keyward.

Example: keyward n8n connect OpenAI --url http://keyward:8080 --was https://api.openai.com/v1 --verify";
