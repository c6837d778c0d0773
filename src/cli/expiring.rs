//! `keyward keys expiring`: age, expiry and last use of the keys at OpenAI, by the admin keys that the configuration names. A
//! keyward that runs is told of them, so that it warns.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::client::{Client, Said, something_listens};
use super::output::{Table, Tone, moment, print, print_json, remark};
use super::setup::{ConfigArgument, Setup};
use crate::answers::key::ExpiryNoted;
use crate::answers::words::short_ago;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::secret::Secret;
use crate::keys::set::Names;
use crate::keys::state::StateError;
use crate::ledger::expiry::{Expiry, warning};
use crate::ledger::offline;
use crate::rotate::account::Account;
use crate::rotate::admin_api::{AdminApi, ProjectKey};
use crate::rotate::redacted;

/// What `keyward keys expiring` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Ask OpenAI how old each key is, when it expires and when it was used", after_help = HELP)]
pub(super) struct ExpiringArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(value_name = "SET", help = "The key set [default: each that has an account]", value_parser = NonEmptyStringValueParser::new())]
    set: Option<String>,
    #[arg(long, help = "Print JSON")]
    json: bool,
}

/// A key at OpenAI, with what it is to a set.
struct Found {
    set: Box<str>,
    key: ProjectKey,
    /// Its role and public names, where a file of the set holds it.
    held: Option<(&'static str, Names)>,
}

impl ExpiringArguments {
    /// Says whether no key that a set holds expires within a month.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let accounts = self.accounts(&setup)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let mut found = Vec::new();
        for account in accounts {
            let keys = runtime.block_on(AdminApi::new(account)?.keys());
            let keys = keys.with_context(|| format!("the keys of set `{}` are not known", account.set))?;
            found.extend(of_set(&setup, account, keys)?);
        }
        let now = setup.now();
        if self.json {
            print_json(&json!({ "keys": found.iter().map(Found::in_json).collect::<Vec<_>>() }));
        } else {
            tell(&found, now);
        }
        keep(&setup, &known(&found, now)).context("no keyward will warn of it")?;
        Ok(!found.iter().any(|found| found.held.is_some() && found.warning(now).is_some()))
    }

    fn accounts<'s>(&self, setup: &'s Setup) -> anyhow::Result<Vec<&'s Account>> {
        let all = &setup.config().accounts;
        let Some(set) = &self.set else {
            if all.accounts.is_empty() {
                bail!("no set names an account at OpenAI, where its keys could be asked for (keys.<set>.admin)");
            }
            return Ok(all.accounts.iter().collect());
        };
        if !setup.set_names().contains(&&**set) {
            bail!("there is no key set `{set}`; the configuration has: {}", setup.set_names().join(", "));
        }
        Ok(vec![all.of(set).with_context(|| format!("set `{set}` names no account at OpenAI (keys.{set}.admin)"))?])
    }
}

/// The keys of a set's account, or of all of its project where a person owns them.
fn of_set(setup: &Setup, account: &Account, keys: Vec<ProjectKey>) -> anyhow::Result<Vec<Found>> {
    let settings = setup.config().keys.sets.iter().find(|set| set.name == account.set);
    let roles = settings.into_iter().flat_map(|set| [("current", set.current.as_ref()), ("next", set.next.as_ref())]);
    let folder = setup.folder()?;
    let mut held: Vec<(&'static str, Secret, Names)> = Vec::new();
    for (role, source) in roles {
        // A next key that is not there is not announced.
        if let Some(secret) = source.and_then(|source| source.read().ok()) {
            let names = folder.names(&secret)?;
            held.push((role, secret, names));
        }
    }
    let is_of_account =
        |key: &ProjectKey| account.service_account.is_none() || key.owner() == account.service_account.as_deref();
    let found = keys.into_iter().filter_map(|key| {
        let holder = held.iter().find(|(_, secret, _)| redacted::may_be(&key.redacted_value, secret));
        let held = holder.map(|(role, _, names)| (*role, *names));
        (held.is_some() || is_of_account(&key)).then(|| Found { set: account.set.clone(), key, held })
    });
    Ok(found.collect())
}

/// What OpenAI says of the keys that files of ours hold. Of two that look like one it is not known which one is meant.
fn known(found: &[Found], read: Timestamp) -> Vec<Expiry> {
    let expiry = |one: &Found| {
        let (_, names) = one.held?;
        let alike = found.iter().filter(|other| other.held.is_some_and(|(_, other)| other == names)).count();
        let (id, expires, last_used) = (one.key.id.clone(), one.key.expires(), one.key.last_used());
        (alike == 1).then_some(Expiry { key: names.fingerprint, id, expires, last_used, read })
    };
    found.iter().filter_map(expiry).collect()
}

/// Tells it the keyward that runs. Where none does, it is written into the store that the next one reads.
fn keep(setup: &Setup, expiries: &[Expiry]) -> anyhow::Result<()> {
    if expiries.is_empty() {
        return Ok(());
    }
    let config = setup.config();
    match config.admin.listen.map(|_| Client::new(setup)).transpose() {
        Ok(Some(keyward)) if keyward.is_answered() => return hand_over(&keyward, expiries),
        // It would not be true that none runs.
        Err(error) if something_listens(setup) => return Err(error),
        // A keyward that was never started has no token.
        Ok(_) | Err(_) => {}
    }
    let folder = setup.folder()?;
    let _hold = match folder.hold() {
        Err(StateError::Held { dir }) => bail!(
            "a keyward runs on the state folder {} and does not answer, so that it cannot be told: is its admin listener on, and \
             at the address of this configuration (admin.listen)?",
            dir.display()
        ),
        hold => hold?,
    };
    let named_by = folder.fingerprint_key()?.name();
    let kept = offline::write_expiries(&config.store, &config.state.dir, named_by, expiries);
    if !kept.context("it cannot be kept (store.url)")? {
        remark("The store is off (store.url), and no keyward runs: none will warn of it.");
    }
    Ok(())
}

/// Tells a keyward that runs what OpenAI says of keys.
pub(super) fn hand_over(keyward: &Client, expiries: &[Expiry]) -> anyhow::Result<()> {
    for Expiry { key, id, expires, last_used, read: _ } in expiries {
        let mut path = format!("/api/v1/keys/{}/expiry?id={}", key.to_hex(), utf8_percent_encode(id, NON_ALPHANUMERIC));
        for (name, at) in [("expires", expires), ("last_used", last_used)] {
            if let Some(at) = at {
                let _ = write!(path, "&{name}={at}");
            }
        }
        let Said::Answer(answer) = keyward.post(&path)? else { bail!("the keyward that ran has stopped") };
        let ExpiryNoted { stored: _ } = keyward.read(&answer)?;
    }
    Ok(())
}

fn tell(found: &[Found], now: Timestamp) {
    if found.is_empty() {
        print("OpenAI has no key there.");
        return;
    }
    let mut table = Table::new(["SET", "KEY", "ID", "ROLE", "AGE", "LAST USED", "EXPIRES"]);
    for one in found {
        let key = &one.key;
        let used = key.last_used().map_or_else(|| "never".to_owned(), |at| short_ago(at, now));
        let expires = key.expires().map_or_else(|| "never".to_owned(), |at| moment(Some(at)));
        let role = one.held.map_or_else(|| "-".to_owned(), |(role, _)| role.to_owned());
        table.row([
            one.set.to_string(),
            key.redacted_value.to_string(),
            key.id.to_string(),
            role,
            short_ago(key.created(), now),
            used,
            expires,
        ]);
        if one.held.is_some() && one.warning(now).is_some() {
            table.tone(Tone::Bad);
        }
    }
    print(&table);
    for one in found {
        if let (Some((role, names)), Some(warning)) = (one.held, one.warning(now)) {
            print(format_args!(
                "The {role} key {names} of set {} {warning}. keyward rotate {} --plan says how to replace it.",
                one.set, one.set
            ));
        }
    }
}

impl Found {
    fn warning(&self, now: Timestamp) -> Option<String> {
        warning(self.key.expires()?, now)
    }

    fn in_json(&self) -> Value {
        let key = &self.key;
        let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
        json!({
            "set": self.set,
            "id": key.id,
            "name": key.name,
            "redacted": key.redacted_value,
            "role": self.held.map(|(role, _)| role),
            "fingerprint": self.held.map(|(_, names)| names.fingerprint.to_hex()),
            "created": key.created().to_string(),
            "last_used": at(key.last_used()),
            "expires": at(key.expires()),
        })
    }
}

const HELP: &str = "\
Reads the admin key that keys.<set>.admin names, and asks OpenAI's admin API. The keyward that runs is
told what it says of the keys that a set's files hold, and warns a month, a week and a day ahead; where
none runs, it is written into the ledger. Let a timer run it once a day.

Ends with 0 if no key that a set holds expires within 30 days, and with 1 otherwise or where OpenAI
cannot be asked.

Example: keyward keys expiring";
