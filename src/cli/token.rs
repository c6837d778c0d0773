//! `keyward token`: tokens that n8n holds in place of a key.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Table, moment, print, print_json, remark};
use super::setup::{ConfigArgument, Setup};
use crate::config::Environment;
use crate::keys::access::{Access, Token};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::rules::Policy;
use crate::keys::secret::Secret;
use crate::keys::set::Names;
use crate::keys::token;

/// What `keyward token` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Make, list and revoke tokens, which n8n holds in place of a key", arg_required_else_help = true)]
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
            TokenCommand::List { config, json } => list(&Setup::open(&config, environment)?, json),
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
    print(String::from_utf8_lossy(secret.expose()));
    remark(format_args!(
        "Token {names} of set `{set}`. It is shown this once: paste it into n8n's OpenAI credential as the API Key."
    ));
    Ok(())
}

/// A new token of that set, which is kept by its fingerprint alone; and what the set's policy is.
pub(super) fn issue(setup: &Setup, set: &str, name: Option<&str>) -> anyhow::Result<(Secret, Names, Policy)> {
    let Some(policy) = setup.policy(set) else {
        bail!(
            "there is no key set of that name; the configuration has: {} (--config names another one)",
            setup.set_names().join(", ")
        );
    };
    let secret = token::make()?;
    let folder = setup.folder()?;
    let names = folder.names(&secret)?;
    let is_taken = |access: &Access| {
        name.is_some() && access.tokens.iter().any(|token| token.name.as_deref() == name && token.revoked.is_none())
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
        });
        true
    })?;
    if !made {
        bail!("there is a token of that name already: revoke it first, or choose another name");
    }
    Ok((secret, names, policy))
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

fn list(setup: &Setup, as_json: bool) -> anyhow::Result<()> {
    let tokens = setup.folder()?.access()?.tokens;
    let state = |token: &Token| match (token.revoked, setup.policy(&token.set)) {
        (Some(at), _) => format!("revoked {at}"),
        (None, None) => "its set is not configured".to_owned(),
        (None, Some(Policy::Observe)) => "its set only observes".to_owned(),
        (None, Some(Policy::Enforce | Policy::Inject)) => "valid".to_owned(),
    };
    if as_json {
        let tokens: Vec<_> = tokens.iter().map(in_json).collect();
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
    Ok(())
}

fn in_json(token: &Token) -> serde_json::Value {
    json!({
        "fingerprint": token.fingerprint.to_hex(),
        "hint": token.hint.map(|hint| hint.to_string()),
        "set": token.set,
        "name": token.name,
        "made": token.made.to_string(),
        "revoked": token.revoked.map(|at| at.to_string()),
    })
}

fn revoke(setup: &Setup, asked: &str) -> anyhow::Result<()> {
    let folder = setup.folder()?;
    // Who finds a token has nothing else of it.
    let whole = if asked.starts_with("kw_") { Some(folder.names(&asked.parse()?)?.fingerprint) } else { None };
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

fn is_meant(token: &Token, asked: &str, whole: Option<Fingerprint>) -> bool {
    let by_digits = asked.len() >= 8 && token.fingerprint.begins_with(asked);
    whole.map_or(by_digits || token.name.as_deref() == Some(asked), |whole| token.fingerprint == whole)
}

const NEW_HELP: &str = "\
The token goes into n8n's OpenAI credential as the API Key. Where the set's policy is inject or
enforce, keyward puts the set's current key in its place, so n8n never holds OpenAI's key and a
rotation does not touch it. keyward keeps only the token's hash.

Example: keyward token new default --name n8n";

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
