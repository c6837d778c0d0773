//! `keyward n8n disconnect`: credential records of n8n's lead to where they led before.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::connect::{current_source, is_base_url};
use super::connected::{End, Outcome};
use super::output::print_json;
use super::prompt::{KeyFrom, can_ask};
use super::records::{Chosen, Side, in_words};
use super::setup::Setup;
use super::telling::{Test, Told};
use super::token;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::secret::Secret;
use crate::keys::state::StateFolder;
use crate::n8n::connect::{self, User};
use crate::n8n::connections::{self, Connection, Left};
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
    told: Told,
    folder: StateFolder,
    key: Option<Secret>,
    /// Whether you said which Base URL is to stand there.
    is_said: bool,
}

// === impl DisconnectArguments ===

impl DisconnectArguments {
    /// Says whether all of them lead to where they led before.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.chosen.config, environment)?;
        let side = Side::open(&setup, self.chosen.n8n.as_deref())?;
        if let Some(url) = self.base_url.as_ref().filter(|url| !is_base_url(url)) {
            bail!("--base-url begins with http:// or https://, not {url:?}");
        }
        let has_header = side.has_header()?;
        let can_change = has_header && side.can_change()?;
        let records = side.records()?;
        let chosen = records.select(&self.chosen.credentials)?;
        let mut outcomes = Vec::new();
        if can_change {
            let plan = Plan {
                setup: &setup,
                told: Told::new(&setup),
                folder: setup.folder()?,
                key: None,
                is_said: self.base_url.is_some(),
                side,
            };
            let planned = chosen.iter().map(|record| self.plan(&plan, record)).collect::<anyhow::Result<Vec<_>>>()?;
            let plan = self.agree(plan, &planned)?;
            for planned in planned {
                let end = plan.put_back(&planned).unwrap_or_else(|error| End::Failed(format!("{error:#}")));
                outcomes.push(self.told(planned.record, records.users(planned.record), end));
            }
        } else {
            self.refuse_key(&side)?;
            for record in chosen {
                let end = End::ByHand(connect::back_by_hand(self.base_url.as_deref(), has_header));
                outcomes.push(self.told(record, records.users(record), end));
            }
        }
        if self.chosen.json {
            let credentials: Vec<_> = outcomes.iter().map(Outcome::in_json).collect();
            print_json(&json!({ "n8n": self.n8n_name(&setup)?, "credentials": credentials }));
        }
        Ok(outcomes.iter().all(|outcome| outcome.is_well(false)))
    }

    fn told<'r>(&self, record: &'r CredentialRecord, users: &'r [User], end: End) -> Outcome<'r> {
        let outcome = Outcome { record, users, end, seen: None };
        if !self.chosen.json {
            outcome.print();
        }
        outcome
    }

    fn n8n_name(&self, setup: &Setup) -> anyhow::Result<String> {
        Ok(setup.only_n8n(self.chosen.n8n.as_deref())?.map_or_else(String::new, |instance| instance.name.to_string()))
    }

    fn plan<'r>(&self, plan: &Plan<'_>, record: &'r CredentialRecord) -> anyhow::Result<Planned<'r>> {
        let kept = connections::find(&plan.folder, &plan.side.address(), &record.id)?;
        let base_url = match (&self.base_url, &kept) {
            (Some(url), _) => url.clone(),
            (None, Some(kept)) => kept.was.clone(),
            (None, None) => bail!(
                "{} was not connected with this state folder, so nothing is known of what stood there: --base-url says what \
                 to put there",
                in_words(record)
            ),
        };
        Ok(Planned { record, base_url, kept })
    }

    /// Has you agree, and asks for the key that takes a token's place: only keyward takes a token.
    fn agree<'a>(&self, plan: Plan<'a>, planned: &[Planned<'_>]) -> anyhow::Result<Plan<'a>> {
        let of_token = planned.iter().find(|planned| planned.holds_token());
        let from = match (&self.key_from, of_token) {
            (Some(from), _) => Some(from),
            (None, None) => None,
            (None, Some(_)) if can_ask() => Some(&KeyFrom::Prompt),
            (None, Some(planned)) => bail!(
                "nothing was changed: a token stands in {}, which keyward alone takes. --key-from says which key takes its \
                 place: --key-from current is the set's own (or prompt, stdin, file:<path>, env:<name>)",
                in_words(planned.record)
            ),
        };
        let announced: Vec<_> = planned.iter().map(|planned| planned.announce(from)).collect();
        self.chosen.ask(&announced)?;
        let kept = of_token.or(planned.first()).and_then(|planned| planned.kept.as_ref());
        let set = set_of(&plan, kept);
        let key = from.map(|from| from.read(current_source(plan.setup, &set))).transpose()?;
        Ok(Plan { key, ..plan })
    }

    /// What n8n's API cannot put there is not asked for.
    fn refuse_key(&self, side: &Side) -> anyhow::Result<()> {
        if self.key_from.is_none() {
            return Ok(());
        }
        bail!(
            "this n8n's API cannot change credentials ({}), so that keyward can put no key into one: leave --key-from out, and \
             put it into the credential's API Key yourself",
            side.address()
        )
    }
}

/// The set whose own key is meant: the one that it was connected for.
fn set_of(plan: &Plan<'_>, kept: Option<&Connection>) -> String {
    let names = plan.setup.set_names();
    let only = if let [only] = names[..] { only } else { "default" };
    let set = kept.and_then(|kept| kept.set.as_deref()).or(plan.side.instance.set.as_deref());
    set.unwrap_or(only).to_owned()
}

// === impl Planned ===

impl Planned<'_> {
    fn holds_token(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.token.is_some())
    }

    fn announce(&self, from: Option<&KeyFrom>) -> String {
        let since = self.kept.as_ref().map_or_else(String::new, |kept| format!(" It was connected {}.", kept.since()));
        let changed = self.kept.as_ref().and_then(|kept| kept.changed).map(Timestamp::from_millis);
        let later = self.record.updated_at.filter(|at| changed.is_some_and(|changed| *at != changed));
        let later = later.map_or_else(String::new, |at| format!(" It was changed in n8n since, {at}."));
        let key = match (from, self.holds_token()) {
            (None, _) => "Its key stays.",
            (Some(KeyFrom::Current), true) => {
                "The set's own current key takes the place of its token, which is revoked."
            }
            (Some(_), true) => {
                "The key that you give takes the place of its token, which is revoked (--key-from current is the set's own)."
            }
            (Some(KeyFrom::Current), false) => "The set's own current key takes the place of its key.",
            (Some(_), false) => "The key that you give takes the place of its key.",
        };
        format!(
            "{}: its Base URL becomes {}, and its custom header is switched off. {key}{since}{later}",
            in_words(self.record),
            self.base_url
        )
    }
}

// === impl Plan ===

impl Plan<'_> {
    fn put_back(&self, planned: &Planned<'_>) -> anyhow::Result<End> {
        let id = &planned.record.id;
        let before = self.side.test_and_tell(id, &self.told)?;
        let mut data = connect::disconnected(&planned.base_url);
        if let Some(key) = &self.key {
            data = connect::with_key(data, key)?;
        }
        let changed = self.side.change(id, &data)?.context("this n8n's API cannot change credentials")?;
        let test = self.side.test_and_tell(id, &self.told)?;
        if let Some(end) = self.keep_connected(planned, &before, &test)? {
            return Ok(end);
        }
        connections::leave(
            &self.folder,
            Left {
                n8n: self.side.address(),
                credential: id.clone(),
                url: planned.base_url.clone(),
                at: self.setup.now().as_millis(),
                changed: changed.updated_at.map(Timestamp::as_millis),
            },
        )?;
        let mut key = if self.key.is_some() { "is the given one" } else { "stays as it was" };
        if let Some(token) = planned.kept.as_ref().and_then(|kept| kept.token.as_deref()) {
            let fingerprint = token.parse().context("connections.json is damaged: a token has no fingerprint there")?;
            token::end(self.setup, fingerprint)?;
            key = "is the given one; the token that stood there is revoked";
        }
        Ok(End::Disconnected { base_url: planned.base_url.clone(), key: key.to_owned(), test })
    }

    /// Puts keyward's address back where n8n's test passed with it and fails with another that you did not name now: that one
    /// may be a guess.
    fn keep_connected(&self, planned: &Planned<'_>, before: &Test, test: &Test) -> anyhow::Result<Option<End>> {
        let Some(kept) = planned.kept.as_ref().filter(|_| !self.is_said && self.key.is_none()) else { return Ok(None) };
        let (Some(true), Some(said)) = (before.is_good(), test.said.as_ref().filter(|said| !said.is_good())) else {
            return Ok(None);
        };
        let Some(tag) = kept.tag.as_deref() else { return Ok(None) };
        let why = format!(
            "n8n's test at {} said: {}. --base-url says what to put there, whatever comes of its test",
            planned.base_url,
            said.shown()
        );
        let data = connect::connected_with(&kept.url, tag);
        let changed = self.side.change(&planned.record.id, &data)?.context("it cannot be put back")?;
        let changed = changed.updated_at.map(Timestamp::as_millis);
        connections::keep(&self.folder, Connection { changed, ..kept.clone() })?;
        Ok(Some(End::Kept { tried: planned.base_url.clone(), base_url: kept.url.clone(), why }))
    }
}

const AFTER_HELP: &str = "\
Puts the Base URL back that stood in the credential before `connect`, as it was told then, and switches
the custom header off. Key, organization and domains stay what they are; where `connect` put a token in,
--key-from says which key takes its place (--key-from current: the set's own), and the token is revoked.
Where n8n's test passed with keyward and fails with what is put back, keyward's address stays there,
unless --base-url named the other one.

Example: keyward n8n disconnect OpenAI --key-from current";
