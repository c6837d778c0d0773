//! `keyward token`: tokens that n8n holds in place of a key.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Table, moment, print, print_json, remark};
use super::prompt::{can_ask, says_yes};
use super::setup::{ConfigArgument, Setup};
use super::source::Source;
use crate::answers::binding::Binding;
use crate::answers::words::ago;
use crate::clock::Timestamp;
use crate::config::{self, Environment};
use crate::keys::access::{Access, Replaced, Token};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::rules::Policy;
use crate::keys::secret::Secret;
use crate::keys::set::Names;
use crate::keys::state::StateFolder;
use crate::keys::token;

/// What `keyward token` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Make, list, rotate and revoke tokens that n8n holds for a key", arg_required_else_help = true)]
#[command(after_help = "Example: keyward token new default --name n8n")]
pub(super) struct TokenArguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    #[command(about = "Make a token and print it, this once", after_help = NEW_HELP)]
    New {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(value_name = "SET", help = "The key set whose current key it stands for")]
        set: String,
        #[arg(long, value_name = "NAME", help = "What it is for, as lists show it")]
        name: Option<String>,
    },
    #[command(about = "List all tokens by fingerprint", after_help = "Example: keyward token list")]
    List {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(long, help = "Print JSON")]
        json: bool,
    },
    #[command(about = "Replace a token by a new one, which is printed once", after_help = ROTATE_HELP)]
    Rotate {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(value_name = "TOKEN", help = "Its name, at least 8 hex digits of its fingerprint, or the token itself")]
        token: String,
        #[arg(
            long,
            value_name = "SPAN",
            help = "How long the old one is still admitted, such as 1d [default: not at all]"
        )]
        grace: Option<String>,
        #[arg(long, help = "Do not ask before the old one is refused at once")]
        yes: bool,
    },
    #[command(about = "Revoke a token: it admits no request any more, at once", after_help = REVOKE_HELP)]
    Revoke {
        #[command(flatten)]
        config: ConfigArgument,
        #[arg(value_name = "TOKEN", help = "Its name, at least 8 hex digits of its fingerprint, or the token itself")]
        token: String,
    },
}

impl TokenArguments {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        match self.command {
            TokenCommand::New { config, set, name } => make(&Setup::open(&config, environment)?, &set, name),
            TokenCommand::List { config, json } => {
                let open = || Setup::open(&config, environment);
                list(&open()?, open, json)
            }
            TokenCommand::Rotate { config, token, grace, yes } => {
                rotate(&Setup::open(&config, environment)?, &token, grace.as_deref(), yes)
            }
            TokenCommand::Revoke { config, token } => revoke(&Setup::open(&config, environment)?, &token),
        }
    }
}

fn make(setup: &Setup, set: &str, name: Option<String>) -> anyhow::Result<()> {
    let name = name.map(|name| sound_name(&name)).transpose()?;
    let (secret, names, policy) = issue(setup, set, name.as_deref())?;
    if policy == Policy::Observe {
        remark(format_args!(
            "Set `{set}` only observes: the token would go upstream as it is, and be refused there. Set keys.{set}.policy to \
             \"inject\" or \"enforce\" before you paste it."
        ));
    }
    print_once(&secret);
    remark(format_args!(
        "Token {names} of set `{set}`. It is shown this once: paste it into n8n's OpenAI credential as the API Key."
    ));
    Ok(())
}

/// The one place that shows a token.
fn print_once(secret: &Secret) {
    print(String::from_utf8_lossy(secret.expose()));
}

/// A new token of that set, which is kept by its fingerprint alone; and what the set's policy is.
pub(super) fn issue(setup: &Setup, set: &str, name: Option<&str>) -> anyhow::Result<(Secret, Names, Policy)> {
    let secret = token::make()?;
    let (names, policy) = admit(setup, &secret, set, name)?;
    Ok((secret, names, policy))
}

/// The same with a token that was made before.
pub(super) fn admit(setup: &Setup, secret: &Secret, set: &str, name: Option<&str>) -> anyhow::Result<(Names, Policy)> {
    let Some(policy) = setup.policy(set) else {
        bail!(
            "there is no key set of that name; the configuration has: {} (--config names another one)",
            setup.set_names().join(", ")
        );
    };
    let folder = setup.folder()?;
    let names = folder.names(secret)?;
    let is_taken = |access: &Access| {
        name.is_some() && access.tokens.iter().any(|token| token.name.as_deref() == name && token.is_current())
    };
    let made = folder.change_access(|access| {
        if is_taken(access) {
            return false;
        }
        access.tokens.push(Token {
            fingerprint: names.fingerprint,
            hint: names.hint,
            set: set.into(),
            name: name.map(Box::from),
            made: setup.now(),
            revoked: None,
            replaced: None,
        });
        true
    })?;
    if !made {
        bail!("there is a token of that name already: revoke it first, or choose another name");
    }
    Ok((names, policy))
}

/// Ends the token of that fingerprint, if it has not ended.
pub(super) fn end(setup: &Setup, fingerprint: Fingerprint) -> anyhow::Result<()> {
    let now = setup.now();
    setup.folder()?.change_access(|access| {
        let meant = access.tokens.iter_mut().find(|token| token.fingerprint == fingerprint);
        meant.map(|token| token.revoked.get_or_insert(now));
    })?;
    Ok(())
}

/// Short, and nothing that could steer a terminal or be a key.
pub(super) fn sound_name(name: &str) -> anyhow::Result<Box<str>> {
    let is_plain =
        |character: char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_' | '.' | ':' | '/');
    let is_sound = (1..=64).contains(&name.len()) && name.trim() == name && name.chars().all(is_plain);
    if !is_sound || name.starts_with("kw_") || name.starts_with("sk-") {
        bail!("a token's name has up to 64 letters, digits, spaces and . - _ : /, and is neither a token nor a key");
    }
    Ok(name.into())
}

/// Puts a new token in the place of that one, under the same name.
fn rotate(setup: &Setup, asked: &str, grace: Option<&str>, yes: bool) -> anyhow::Result<()> {
    let grace = grace.map_or(Ok(Duration::ZERO), |text| {
        config::span(text).with_context(|| format!("`{text}` is no span of grace: allowed is one such as 30m or 1d"))
    })?;
    let folder = setup.folder()?;
    let old = find_current(&folder, asked)?;
    let old_names = Names { fingerprint: old.fingerprint, hint: old.hint };
    ensure!(setup.policy(&old.set).is_some(), "its set `{}` is not configured", old.set);
    if grace.is_zero() && !yes {
        ensure!(can_ask(), "the old token would be refused at once: --grace 1d leaves it time, --yes means it");
        let question = format!(
            "Token {old_names} of set `{}` is refused at once: the nodes that hold it fail until the new one is in their \
             credential. Go on?",
            old.set
        );
        ensure!(says_yes(&question)?, "nothing was changed");
    }
    let secret = token::make()?;
    let (names, now) = (folder.names(&secret)?, setup.now());
    let replaced = Replaced { at: now, until: now.after(grace) };
    let is_done = folder.change_access(|access| {
        let is_old = |token: &&mut Token| token.fingerprint == old.fingerprint && token.is_current();
        let Some(meant) = access.tokens.iter_mut().find(is_old) else { return false };
        meant.replaced = Some(replaced);
        let Names { fingerprint, hint } = names;
        access.tokens.push(Token { fingerprint, hint, made: now, replaced: None, ..old.clone() });
        true
    })?;
    ensure!(is_done, "the token was replaced or revoked meanwhile: see `keyward token list`");
    print_once(&secret);
    remark(format_args!(
        "Token {names} of set `{}` takes the place of {old_names}. It is shown this once: paste it into n8n's OpenAI credential \
         as the API Key.",
        old.set
    ));
    if grace.is_zero() {
        remark("The old one is refused from now on.");
    } else {
        remark(format_args!(
            "The old one is admitted until {}. `keyward token list` shows who still sends it.",
            replaced.until
        ));
    }
    Ok(())
}

/// The one token that is meant, of those that are neither revoked nor replaced.
fn find_current(folder: &StateFolder, asked: &str) -> anyhow::Result<Token> {
    let whole = whole_token(folder, asked)?;
    let tokens = folder.access()?.tokens;
    let meant: Vec<_> = tokens.iter().filter(|token| is_meant(token, asked, whole)).collect();
    let current: Vec<_> = meant.iter().filter(|token| token.is_current()).collect();
    match (&current[..], meant.last()) {
        ([token], _) => Ok((**token).clone()),
        ([_, _, ..], _) => bail!("more than one token is meant: give more digits of its fingerprint"),
        ([], None) => bail!("there is no such token: see `keyward token list`"),
        ([], Some(Token { revoked: Some(at), .. })) => {
            bail!("that token was revoked at {at}: `keyward token new` makes another")
        }
        ([], Some(_)) => bail!("another token has taken its place already: see `keyward token list`"),
    }
}

fn list(setup: &Setup, open: impl Fn() -> anyhow::Result<Setup>, as_json: bool) -> anyhow::Result<()> {
    let tokens = setup.folder()?.access()?.tokens;
    let any_is_old = tokens.iter().any(|token| token.replaced.is_some() && token.revoked.is_none());
    // Without a keyward that runs or a store, it is not known who sends one.
    let bindings = if any_is_old { senders(open()?) } else { Vec::new() };
    let senders_of = |token: &Token| -> Vec<&Binding> {
        let is_sender = |binding: &&Binding| binding.row.key.fingerprint == Some(token.fingerprint);
        if token.replaced.is_some() { bindings.iter().filter(is_sender).collect() } else { Vec::new() }
    };
    let state = |token: &Token| match (token.revoked, token.replaced, setup.policy(&token.set)) {
        (Some(at), ..) => format!("revoked {at}"),
        (None, Some(replaced), _) if setup.now() < replaced.until => format!("old, admitted until {}", replaced.until),
        (None, Some(replaced), _) => format!("old, ended {}", replaced.until),
        (None, None, None) => "its set is not configured".to_owned(),
        (None, None, Some(Policy::Observe)) => "its set only observes".to_owned(),
        (None, None, Some(Policy::Enforce | Policy::Inject)) => "valid".to_owned(),
    };
    if as_json {
        let tokens: Vec<_> = tokens.iter().map(|token| in_json(token, &senders_of(token))).collect();
        print_json(&json!({ "tokens": tokens }));
        return Ok(());
    }
    let mut table = Table::new(["TOKEN", "FINGERPRINT", "SET", "NAME", "MADE", "STATE"]);
    for token in &tokens {
        let hint = token.hint.map_or_else(|| "-".to_owned(), |hint| hint.to_string());
        let name = token.name.as_deref().unwrap_or("-").to_owned();
        let fingerprint = token.fingerprint.to_string();
        table.row([hint, fingerprint, token.set.to_string(), name, moment(Some(token.made)), state(token)]);
    }
    if tokens.is_empty() {
        print("There are no tokens yet: keyward token new default --name n8n");
    } else {
        print(&table);
    }
    for token in tokens.iter().filter(|token| token.replaced.is_some() && token.revoked.is_none()) {
        tell_senders(token, &senders_of(token), setup.now());
    }
    Ok(())
}

/// Every binding, as a running keyward knows them, or else its store.
fn senders(setup: Setup) -> Vec<Binding> {
    let asked = Source::open_for(setup, false).and_then(|source| source.bindings(&[]));
    asked.map(|received| received.answer.bindings).unwrap_or_default()
}

/// Who sent a replaced token last.
fn tell_senders(token: &Token, senders: &[&Binding], now: Timestamp) {
    let names = Names { fingerprint: token.fingerprint, hint: token.hint };
    if senders.is_empty() {
        print(format_args!("\nOld token {names}: keyward knows of no node that sent it last."));
        return;
    }
    print(format_args!("\nOld token {names} is still sent by:"));
    for binding in senders.iter().take(SENDERS) {
        let last = binding.last.map_or_else(|| "at an unknown time".to_owned(), |last| ago(last, now));
        print(format_args!("  {}, last {last}", binding.row.who.in_words()));
    }
    if senders.len() > SENDERS {
        print(format_args!("  and {} more: keyward token list --json", senders.len() - SENDERS));
    }
}

/// How many senders of an old token are listed.
const SENDERS: usize = 20;

fn in_json(token: &Token, senders: &[&Binding]) -> serde_json::Value {
    let of_sender = |binding: &&Binding| {
        json!({
            "binding": binding.row.who.binding,
            "who": binding.row.who.in_words(),
            "last": binding.last.map(|at| at.to_string()),
        })
    };
    json!({
        "fingerprint": token.fingerprint.to_hex(),
        "hint": token.hint.map(|hint| hint.to_string()),
        "set": token.set,
        "name": token.name,
        "made": token.made.to_string(),
        "revoked": token.revoked.map(|at| at.to_string()),
        "replaced": token.replaced.map(|replaced| replaced.at.to_string()),
        "admitted_until": token.replaced.map(|replaced| replaced.until.to_string()),
        "senders": senders.iter().map(of_sender).collect::<Vec<_>>(),
    })
}

fn revoke(setup: &Setup, asked: &str) -> anyhow::Result<()> {
    let folder = setup.folder()?;
    let whole = whole_token(&folder, asked)?;
    let (now, matches) = (setup.now(), |token: &Token| is_meant(token, asked, whole));
    let done = folder.change_access(|access| {
        let mut meant: Vec<&mut Token> = access.tokens.iter_mut().filter(|token| matches(token)).collect();
        // A name may have been used before, by a token that is revoked already.
        if meant.len() > 1 {
            meant.retain(|token| token.revoked.is_none());
        }
        match &mut meant[..] {
            [] => Err("there is no such token: see `keyward token list`"),
            [token] => {
                let before = token.revoked.replace(token.revoked.unwrap_or(now));
                Ok((Names { fingerprint: token.fingerprint, hint: token.hint }, before))
            }
            [..] => Err("more than one token is meant: give more digits of its fingerprint"),
        }
    })?;
    match done {
        Ok((names, None)) => print(format_args!("token {names} is revoked: it admits no request any more")),
        Ok((names, Some(at))) => print(format_args!("token {names} was revoked before, at {at}")),
        Err(reason) => bail!(reason),
    }
    remark("A running keyward with this state folder knows it within seconds.");
    Ok(())
}

/// The fingerprint, where the token itself is given: a person who finds one has nothing else of it.
fn whole_token(folder: &StateFolder, asked: &str) -> anyhow::Result<Option<Fingerprint>> {
    Ok(if asked.starts_with("kw_") { Some(folder.names(&asked.parse()?)?.fingerprint) } else { None })
}

fn is_meant(token: &Token, asked: &str, whole: Option<Fingerprint>) -> bool {
    let by_digits = asked.len() >= 8 && token.fingerprint.begins_with(asked);
    whole.map_or(by_digits || token.name.as_deref() == Some(asked), |whole| token.fingerprint == whole)
}

const NEW_HELP: &str = "\
The token goes into n8n's OpenAI credential as the API Key. Where the set's policy is inject or
enforce, keyward puts the set's current key in its place, so n8n never holds OpenAI's key and a
rotation does not touch it. keyward keeps only the token's hash.

Example: keyward token new default --name n8n";

const ROTATE_HELP: &str = "\
Paste the new token into n8n's OpenAI credential as the API Key. It has the set and the name of the old one; OpenAI's keys stay
as they are (`keyward rotate` replaces those). A running keyward with this state folder knows both within seconds. With
--grace the old one is admitted until that is over, and `keyward token list` shows which nodes still send it; without, it is
refused at once.

Example: keyward token rotate n8n --grace 1d";

const REVOKE_HELP: &str = "Example: keyward token revoke n8n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_steer_no_terminal_and_is_no_key() {
        for good in ["n8n", "n8n production", "team-a/staging", "Büro", &"a".repeat(64)] {
            assert!(sound_name(good).is_ok(), "{good}");
        }
        for bad in ["", " a", "a\nb", "\u{1b}[31m", "\u{202e}a", "kw_canary", "sk-canary", &"a".repeat(65)] {
            let error = sound_name(bad).expect_err("no name").to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
