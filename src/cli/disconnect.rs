//! `keyward n8n disconnect`: credential records of n8n's lead to where they led before.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::connect::{current_source, is_base_url};
use super::connected::{End, Outcome};
use super::output::{print_json, print_wrapped};
use super::prompt::{KeyFrom, can_ask};
use super::records::{Chosen, Side, in_words};
use super::setup::Setup;
use super::token;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::secret::Secret;
use crate::keys::state::StateFolder;
use crate::n8n::connect;
use crate::n8n::connections::{self, Connection};
use crate::n8n::documents::CredentialRecord;

/// What `keyward n8n disconnect` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Have credentials lead to where they led before `connect`", after_help = AFTER_HELP)]
pub(super) struct DisconnectArguments {
    #[command(flatten)]
    chosen: Chosen,
    #[arg(long, value_name = "URL", help = "Put this Base URL there [default: what `connect` kept]")]
    base_url: Option<String>,
    #[arg(
        long,
        value_name = "PLACE",
        help = "Put another key into it, from: prompt, stdin, file:<path>, env:<name>, or \
        current (the set's own); needed where it holds a token"
    )]
    key_from: Option<KeyFrom>,
}

/// A record and what is to be put back there.
struct Planned<'r> {
    record: &'r CredentialRecord,
    base_url: String,
    kept: Option<Connection>,
}

/// What all of them need.
struct Plan<'a> {
    setup: &'a Setup,
    side: Side,
    folder: StateFolder,
    key: Option<Secret>,
}

// === impl DisconnectArguments ===

impl DisconnectArguments {
    /// Says whether all of them lead to where they led before.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.chosen.config, environment)?;
        let side = Side::open(&setup, self.chosen.n8n.as_deref())?;
        let folder = setup.folder()?;
        let records = side.records()?;
        let chosen = records.select(&self.chosen.credentials)?.into_iter();
        let planned: Vec<_> = chosen.map(|record| self.plan(&folder, &side, record)).collect::<Result<_, _>>()?;
        let announced: Vec<_> = planned.iter().map(Planned::announce).collect();
        self.chosen.ask(&announced)?;
        let key = self.key(&setup, &side, planned.iter().any(Planned::holds_token))?;
        let plan = Plan { setup: &setup, side, folder, key };
        let mut outcomes = Vec::new();
        for planned in planned {
            let end = plan.put_back(&planned).unwrap_or_else(|error| End::Failed(format!("{error:#}")));
            let (record, users) = (planned.record, records.users(planned.record));
            let outcome = Outcome { record, users, end, seen: None };
            if !self.chosen.json {
                print_wrapped(&outcome.in_words());
            }
            outcomes.push(outcome);
        }
        if self.chosen.json {
            let credentials: Vec<_> = outcomes.iter().map(Outcome::in_json).collect();
            print_json(&json!({ "n8n": &*plan.side.instance.name, "credentials": credentials }));
        }
        Ok(outcomes.iter().all(|outcome| outcome.is_well(false)))
    }

    fn plan<'r>(&self, folder: &StateFolder, side: &Side, record: &'r CredentialRecord) -> anyhow::Result<Planned<'r>> {
        let kept = connections::find(folder, &side.address(), &record.id)?;
        let base_url = match (&self.base_url, &kept) {
            (Some(url), _) if is_base_url(url) => url.clone(),
            (Some(url), _) => bail!("--base-url begins with http:// or https://, not {url:?}"),
            (None, Some(kept)) => kept.was.clone(),
            (None, None) => bail!(
                "{} was not connected with this state folder, so nothing is known of what stood there: --base-url says what \
                 to put there",
                in_words(record)
            ),
        };
        Ok(Planned { record, base_url, kept })
    }

    /// Where a record holds a token, which keyward alone takes, a key has to take its place.
    fn key(&self, setup: &Setup, side: &Side, is_needed: bool) -> anyhow::Result<Option<Secret>> {
        let from = match &self.key_from {
            None if !is_needed => return Ok(None),
            None if can_ask() => &KeyFrom::Prompt,
            None => bail!(
                "nothing was changed: a token stands there, which keyward alone takes. --key-from says which key to put in \
                 its place (prompt, stdin, file:<path>, env:<name>, or current, the set's own)"
            ),
            Some(from) => from,
        };
        let set = side.instance.set.as_deref().unwrap_or("default");
        from.read(current_source(setup, set)).map(Some)
    }
}

// === impl Planned ===

impl Planned<'_> {
    fn holds_token(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.token.is_some())
    }

    fn announce(&self) -> String {
        let since = self.kept.as_ref().map_or_else(String::new, |kept| format!(" It was connected {}.", kept.since()));
        let changed = self.kept.as_ref().and_then(|kept| kept.changed).map(Timestamp::from_millis);
        let later = self.record.updated_at.filter(|at| changed.is_some_and(|changed| *at != changed));
        let later = later.map_or_else(String::new, |at| format!(" It was changed in n8n since, {at}."));
        format!(
            "{}: its Base URL becomes {}, and its custom header is switched off.{since}{later}",
            in_words(self.record),
            self.base_url
        )
    }
}

// === impl Plan ===

impl Plan<'_> {
    fn put_back(&self, planned: &Planned<'_>) -> anyhow::Result<End> {
        let id = &planned.record.id;
        let mut data = connect::disconnected(&planned.base_url);
        if let Some(key) = &self.key {
            data = connect::with_key(data, key)?;
        }
        if self.side.change(id, &data)?.is_none() {
            let has_header = self.side.has_header()?;
            return Ok(End::ByHand(connect::back_by_hand(&planned.base_url, has_header)));
        }
        connections::forget(&self.folder, &self.side.address(), id)?;
        if let Some(token) = planned.kept.as_ref().and_then(|kept| kept.token.as_deref()) {
            let fingerprint = token.parse().context("connections.json is damaged: a token has no fingerprint there")?;
            token::end(self.setup, fingerprint)?;
        }
        Ok(End::Disconnected { base_url: planned.base_url.clone(), tested: self.side.test(id)? })
    }
}

const AFTER_HELP: &str = "\
Puts the Base URL back that stood in the credential before `connect`, as it was told then, and
switches the custom header off. Key, organization and domains stay what they are; where `connect`
put a token in, --key-from says which key takes its place, and the token is revoked.

Example: keyward n8n disconnect OpenAI";
