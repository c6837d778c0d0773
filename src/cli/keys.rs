//! `keyward keys`: which keys keyward knows, what a key's public name is, and revoking one.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::expiring::ExpiringArguments;
use super::output::{Table, moment, print, print_json, remark};
use super::setup::{ConfigArgument, Setup};
use crate::answers::key::KeyOfSet;
use crate::config::Environment;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::rules::Policy;
use crate::keys::secret::Secret;
use crate::keys::set::{Names, Role};

/// What `keyward keys` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "See which keys keyward knows, when they expire, and revoke one", arg_required_else_help = true)]
#[command(after_help = "Example: keyward keys revoke 1bf3ef9e")]
pub(super) struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    #[command(about = "List the keys of all sets by fingerprint and hint", after_help = LIST_HELP)]
    List {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    Expiring(ExpiringArguments),
    #[command(about = "Read a key from standard input and print its fingerprint and hint", after_help = FINGERPRINT_HELP)]
    Fingerprint {
        #[command(flatten)]
        config: ConfigArgument,
    },
    #[command(about = "Mark a key as compromised: it never admits again, at once", after_help = REVOKE_HELP)]
    Revoke {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(value_name = "FINGERPRINT", help = "At least 8 hex digits, as lists and log lines show them")]
        fingerprint: String,
    },
}

impl KeysArguments {
    /// Says whether all is well.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        match self.command {
            KeysCommand::Expiring(arguments) => return arguments.run(environment),
            KeysCommand::List { config, json } => list(&Setup::open(&config, environment)?, json),
            KeysCommand::Fingerprint { config } => print_fingerprint(&Setup::open(&config, environment)?),
            KeysCommand::Revoke { config, fingerprint } => revoke(&Setup::open(&config, environment)?, &fingerprint),
        }?;
        Ok(true)
    }
}

fn list(setup: &Setup, as_json: bool) -> anyhow::Result<()> {
    let reloader = setup.reloader()?;
    let ring = reloader.ring();
    let entries = reloader.entries();
    let set = |entry: &Entry| ring.set(entry.set).name.to_string();
    if as_json {
        let keys: Vec<_> = entries.iter().map(|entry| KeyOfSet { set: set(entry), key: entry.into() }).collect();
        print_json(&json!({ "keys": keys }));
        return Ok(());
    }
    let mut table = Table::new(["SET", "ROLE", "KEY", "FINGERPRINT", "SINCE", "NOTE"]);
    for entry in &entries {
        let hint = entry.names.hint.map_or_else(|| "-".to_owned(), |hint| hint.to_string());
        let fingerprint = entry.names.fingerprint.to_string();
        table.row([set(entry), entry.role.name().to_owned(), hint, fingerprint, moment(entry.begin()), note(entry)]);
    }
    if entries.is_empty() {
        print("keyward knows no key yet: a set without a declared one learns it from what upstream accepts.");
    } else {
        print(&table);
    }
    Ok(())
}

fn note(entry: &Entry) -> String {
    let grace = match entry.role {
        Role::Previous { retired, grace_until } if grace_until > retired.by => {
            Some(format!("grace until {grace_until}"))
        }
        Role::Previous { .. } | Role::Current | Role::Next | Role::Token => None,
    };
    let revoked = entry.revoked.map(|at| format!("revoked {at}"));
    let refused = entry.is_refused().then(|| "upstream refuses it".to_owned());
    let learned = entry.learned.then(|| "learned".to_owned());
    [revoked, refused, learned, grace].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn print_fingerprint(setup: &Setup) -> anyhow::Result<()> {
    let secret = read_secret()?;
    let names = setup.folder()?.names(&secret)?;
    print(format_args!(
        "{}  {}",
        names.fingerprint.to_hex(),
        names.hint.map_or_else(|| "-".to_owned(), |hint| hint.to_string())
    ));
    Ok(())
}

/// From standard input, up to the end of its first line or of it all.
fn read_secret() -> anyhow::Result<Secret> {
    if io::stdin().is_terminal() {
        remark("Paste the key and press Enter, then Ctrl-D:");
    }
    // As large at once as it may become, so that no copy of it is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    io::stdin().lock().take(LONGEST as u64).read_to_string(&mut text).context("standard input cannot be read")?;
    text.parse().context("standard input holds no key (keyward keys fingerprint < FILE)")
}

fn revoke(setup: &Setup, digits: &str) -> anyhow::Result<()> {
    let reloader = setup.reloader()?;
    let entries = reloader.entries();
    let fingerprint = find(digits, &entries)?;
    if reloader.tokens().iter().any(|token| token.fingerprint == fingerprint) {
        bail!("{digits} is a token: keyward token revoke {digits}");
    }
    let is_news = setup.folder()?.change_access(|access| access.revoke_key(fingerprint, setup.now()))?;
    let entry = entries.iter().find(|entry| entry.names.fingerprint == fingerprint);
    let names = entry.map_or(Names { fingerprint, hint: None }, |entry| entry.names);
    print(format_args!(
        "key {names} {}",
        if is_news { "is revoked: it never admits again" } else { "was revoked before" }
    ));
    if setup.config().rules.sets.iter().any(|set| set.policy == Policy::Observe) {
        remark("A set with policy observe goes on forwarding it, as it does with every request: revoke it at OpenAI.");
    }
    remark("A running keyward with this state folder knows it within seconds.");
    if let Some(entry) =
        entries.iter().find(|entry| entry.names.fingerprint == fingerprint && entry.role == Role::Current)
    {
        let ring = reloader.ring();
        let set = &ring.set(entry.set).name;
        remark(format_args!(
            "It is the current key of set `{set}`: with enforce and inject every request with it is refused from now on, while \
             tokens still get it. Put another key in its place, and delete this one at OpenAI."
        ));
    }
    Ok(())
}

/// The only key whose fingerprint begins so. All 32 digits stand for themselves, known or not.
fn find(digits: &str, entries: &[Entry]) -> anyhow::Result<Fingerprint> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(8..=32).contains(&digits.len()) {
        bail!("a fingerprint is 8 to 32 hex digits, as `keyward keys list` shows them");
    }
    let mut found: Vec<_> =
        entries.iter().map(|entry| entry.names.fingerprint).filter(|key| key.begins_with(digits)).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [only] => Ok(only),
        [] => digits.parse().map_err(|_short| {
            anyhow::anyhow!(
                "no key that keyward knows has the fingerprint {digits}: see `keyward keys list`, or give all 32 digits, \
                 which `keyward keys fingerprint` prints of a key"
            )
        }),
        [..] => bail!("more than one key has a fingerprint that begins with {digits}: give more digits"),
    }
}

/// Longer than any key.
const LONGEST: usize = 8192;

const LIST_HELP: &str = "\
Keys that were replaced are known by their fingerprints alone, so they have no hint.

Example: keyward keys list --config keyward.toml";

const FINGERPRINT_HELP: &str = "\
The key stays out of the command line, where other users could see it.

Example: keyward keys fingerprint < /run/secrets/openai-key";

const REVOKE_HELP: &str = "\
With enforce and inject, keyward refuses every request that carries it, also where it is still current or in its
grace. It does not revoke the key at OpenAI.

Example: keyward keys revoke 1bf3ef9e";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::set::SetIndex;

    #[test]
    fn a_fingerprint_is_found_by_its_beginning() {
        let names = |key: &[u8]| Names { fingerprint: FingerprintKey::new(&[7; 32]).fingerprint(key), hint: None };
        let entry = |names| Entry {
            set: SetIndex::DEFAULT,
            names,
            role: Role::Current,
            since: None,
            learned: false,
            revoked: None,
            word: None,
            never_accepted: false,
        };
        let (a, b) = (names(b"sk-a"), names(b"sk-b"));
        let entries = [entry(a), entry(b), entry(a)];
        assert_eq!(find(&a.fingerprint.to_string(), &entries).expect("found"), a.fingerprint);
        assert_eq!(find(&a.fingerprint.to_hex().to_uppercase(), &entries).expect("found"), a.fingerprint);
        let stranger = names(b"sk-c").fingerprint;
        assert_eq!(find(&stranger.to_hex(), &entries).expect("all digits"), stranger);
        for wrong in ["", "1bf3ef9", "sk-proj-canary", &stranger.to_string(), &format!("{}0", stranger.to_hex())] {
            let error = find(wrong, &entries).expect_err("no key").to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
