//! `keyward n8n connect`: credential records of n8n's lead to keyward.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;

use super::client::Client;
use super::connected::{End, Outcome};
use super::output::{print_json, print_wrapped, remark};
use super::prompt::KeyFrom;
use super::records::{Chosen, Side, in_words};
use super::setup::Setup;
use super::telling::Told;
use super::token;
use super::wait::{self, Seen};
use crate::answers::event::Line;
use crate::clock::Timestamp;
use crate::config::{Environment, keyward_entrance};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::rules::Policy;
use crate::keys::secret::Secret;
use crate::keys::set::Names;
use crate::keys::source::Source;
use crate::keys::state::StateFolder;
use crate::n8n::client::ClientError;
use crate::n8n::connect::{self, Entrance, Marks, OPENAI};
use crate::n8n::connections::{self, Connection, Written};
use crate::n8n::documents::{CredentialRecord, Tested};

/// What `keyward n8n connect` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Have credentials lead to keyward, and with them tag every node that uses them")]
#[command(after_help = AFTER_HELP)]
pub(super) struct ConnectArguments {
    #[command(flatten)]
    chosen: Chosen,
    #[arg(long, value_name = "URL", help = "Where n8n reaches keyward [default: n8n.<name>.keyward]")]
    url: Option<String>,
    #[arg(long, value_name = "URL", help = "The Base URL that stands there now [default: OpenAI's own]")]
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

/// What is known before a record is changed.
struct Plan<'a> {
    setup: &'a Setup,
    side: Side,
    /// The running keyward, which hears of each test.
    told: Told,
    folder: StateFolder,
    entrance: Entrance,
    marks: Marks,
    /// Whose current key or token is meant.
    set: String,
    key: NewKey,
    /// The Base URL that is to be put back, where that was said.
    was: Option<String>,
}

/// What becomes of a record's key.
enum NewKey {
    /// It stays as it is.
    Kept,
    /// A token of the set takes its place.
    Token,
    /// This one does.
    Given(Secret),
}

// === impl ConnectArguments ===

impl ConnectArguments {
    /// Says whether all of them lead to keyward now, and were seen if that was asked for.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.chosen.config, environment)?;
        // What cannot be had is told before anything is changed.
        let watcher = self.verify.then(|| running(&setup)).transpose()?;
        let plan = self.plan(&setup)?;
        let records = plan.side.records()?;
        let chosen = records.select(&self.chosen.credentials)?;
        let has_header = plan.side.has_header()?;
        if has_header {
            let changes: Vec<_> = chosen.iter().map(|record| plan.announce(record)).collect();
            self.chosen.ask(&changes)?;
        }
        let mut outcomes = Vec::new();
        for record in chosen {
            let end = if has_header { plan.connect(record) } else { plan.by_hand(false) };
            let mut outcome = Outcome { record, users: records.users(record), end, seen: None };
            if !self.chosen.json {
                print_wrapped(&outcome.in_words());
            }
            if let Some(client) = watcher.as_ref().filter(|_| outcome.may_be_seen()) {
                outcome.seen = Some(self.watch(client, &plan, &outcome)?);
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
        let entrance = self.entrance(setup, &side)?;
        let set = self.set(setup, &side)?;
        let key = match &self.key_from {
            None if self.token => NewKey::Token,
            None => NewKey::Kept,
            Some(from) => NewKey::Given(from.read(current_source(setup, &set))?),
        };
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
            key,
            was: self.was.clone(),
        })
    }

    fn entrance(&self, setup: &Setup, side: &Side) -> anyhow::Result<Entrance> {
        let entrance = match &self.url {
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
        let presses = matches!(outcome.end, End::Connected { .. });
        let press = async {
            remark(format_args!(
                "Waiting, {} s at most, for {} and for a run of a workflow that uses {} (Ctrl-C leaves everything as it is now) …",
                self.within,
                if presses { "n8n's test" } else { "a press of the credential's test button" },
                in_words(record)
            ));
            if presses {
                // What is wrong with it was told above, or is seen by keyward.
                let _ = plan.told.of_test(&plan.side.instance.name, &record.id, plan.side.tested(&record.id)).await;
            }
        };
        let tell = |what: &str, line: &Line| {
            remark(format_args!("  seen: {what}: {}", wait::in_words(outcome.users, line)));
        };
        let seen = wait::watch(client, outcome.users, Duration::from_secs(self.within), press, tell)?;
        for what in seen.missing() {
            remark(format_args!("  not seen: {what}"));
        }
        Ok(seen)
    }
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

// === impl Plan ===

impl Plan<'_> {
    fn announce(&self, record: &CredentialRecord) -> String {
        let key = match self.key {
            NewKey::Kept => "Its key, organization and domains stay.",
            NewKey::Token => {
                "A token takes the place of its key, which keyward does not keep; organization and domains stay."
            }
            NewKey::Given(_) => {
                "The given key takes the place of its own, which keyward does not keep; the rest stays."
            }
        };
        format!(
            "{}: its Base URL becomes {}, and its custom header the tag. n8n does not tell what stands there now: \
             `disconnect` will put back {} and no header. {key}",
            in_words(record),
            self.entrance,
            self.was.as_deref().unwrap_or(OPENAI)
        )
    }

    fn by_hand(&self, has_header: bool) -> End {
        End::ByHand(connect::by_hand(&self.entrance, &self.marks, has_header))
    }

    fn connect(&self, record: &CredentialRecord) -> End {
        self.try_connect(record).unwrap_or_else(|error| End::Failed(format!("{error:#}")))
    }

    /// First where it leads, and its key once n8n has got through: what was there before can be put back until then.
    fn try_connect(&self, record: &CredentialRecord) -> anyhow::Result<End> {
        let before = self.test(record)?;
        let known = connections::find(&self.folder, &self.side.address(), &record.id)?;
        let mut connection = self.connection(record, known.as_ref());
        // Kept first: whatever happens from here on, it is known what to put back.
        connections::keep(&self.folder, connection.clone())?;
        let changed = self.side.change(&record.id, &connect::connected(&self.entrance, &self.marks));
        if known.is_none() && !matches!(changed, Ok(Some(_))) {
            connections::forget(&self.folder, &self.side.address(), &record.id)?;
        }
        let Some(mut changed) = changed? else { return Ok(self.by_hand(true)) };
        let mut tested = self.test(record)?;
        if let Some(failed) = tested.clone().filter(|tested| self.is_lost(before.as_ref(), tested)) {
            return self.put_back(record, known, failed);
        }
        let (key, was_put) = self.change_key(record, &mut changed, &mut connection)?;
        if !matches!(self.key, NewKey::Kept) {
            tested = self.test_until_known(record)?;
        }
        connection.changed = changed.updated_at.map(Timestamp::as_millis);
        connections::keep(&self.folder, connection.clone())?;
        self.note_written(record, &changed, was_put)?;
        let tag = format!("{} (an expression)", self.marks.tag());
        Ok(End::Connected { url: self.entrance.base_url(), tag, was: connection.was, key, tested })
    }

    /// Remembers that keyward put the key into the record, as long as the record is not changed by anything else: a running keyward
    /// then knows that the key is no expression.
    fn note_written(&self, record: &CredentialRecord, changed: &CredentialRecord, was_put: bool) -> anyhow::Result<()> {
        let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
        let (n8n, credential) = (self.side.address(), record.id.clone());
        let was_written = || -> anyhow::Result<bool> {
            let is_it = |one: &Written| {
                one.n8n == n8n && one.credential == credential && Some(one.changed) == millis(record.updated_at)
            };
            Ok(connections::written(&self.folder)?.iter().any(is_it))
        };
        if let Some(changed) = millis(changed.updated_at)
            && (was_put || was_written()?)
        {
            connections::note_written(&self.folder, Written { n8n, credential, changed })?;
        }
        Ok(())
    }

    /// What n8n's test of a record says.
    fn test(&self, record: &CredentialRecord) -> Result<Option<Tested>, ClientError> {
        self.side.test_and_tell(&record.id, &self.told)
    }

    /// What became of the key, in words, and whether another one was put in.
    fn change_key(
        &self,
        record: &CredentialRecord,
        changed: &mut CredentialRecord,
        connection: &mut Connection,
    ) -> anyhow::Result<(String, bool)> {
        match &self.key {
            NewKey::Kept => return Ok(("stays as it was".to_owned(), false)),
            NewKey::Given(secret) => {
                *changed = self.put_key(record, secret)?;
                return Ok(("is the given one".to_owned(), true));
            }
            NewKey::Token => {}
        }
        if let Some(standing) = self.standing_token(connection)? {
            return Ok((format!("is token {standing} already"), false));
        }
        let (made, names) = self.put_token(record, connection)?;
        *changed = made;
        Ok((format!("is token {names} now"), true))
    }

    /// What is kept of it: what stood there before the first time, unless something else is said now.
    fn connection(&self, record: &CredentialRecord, known: Option<&Connection>) -> Connection {
        let was = self.was.clone().or_else(|| known.map(|known| known.was.clone()));
        Connection {
            n8n: self.side.address(),
            credential: record.id.clone(),
            name: record.name.clone(),
            url: self.entrance.base_url(),
            was: was.unwrap_or_else(|| OPENAI.to_owned()),
            at: known.map_or_else(|| self.setup.now().as_millis(), |known| known.at),
            changed: None,
            token: known.and_then(|known| known.token.clone()),
        }
    }

    /// Whether n8n's test fails now for what was changed. A key that is about to be replaced may be refused.
    fn is_lost(&self, before: Option<&Tested>, tested: &Tested) -> bool {
        let is_replaced = !matches!(self.key, NewKey::Kept);
        before.is_some_and(Tested::is_good) && !tested.is_good() && !(is_replaced && tested.is_refusal())
    }

    fn put_back(&self, record: &CredentialRecord, known: Option<Connection>, failed: Tested) -> anyhow::Result<End> {
        let (data, base_url) = if let Some(known) = &known {
            // It led to keyward already, and got through.
            (json!({ "url": known.url }), known.url.clone())
        } else {
            let was = self.was.as_deref().unwrap_or(OPENAI);
            (connect::disconnected(was), was.to_owned())
        };
        self.side.change(&record.id, &data).context("n8n's test fails now, and the record cannot be put back")?;
        match known {
            Some(known) => connections::keep(&self.folder, known)?,
            None => connections::forget(&self.folder, &self.side.address(), &record.id)?,
        }
        let now = self.test(record)?;
        Ok(End::PutBack { url: self.entrance.base_url(), base_url, tested: failed, now })
    }

    fn put_key(&self, record: &CredentialRecord, secret: &Secret) -> anyhow::Result<CredentialRecord> {
        let data = connect::key(secret)?;
        self.side.change(&record.id, &data)?.context("n8n took the address, and would not take the key")
    }

    /// A token that was put into the record before, and is good still.
    fn standing_token(&self, connection: &Connection) -> anyhow::Result<Option<Names>> {
        let Some(fingerprint) = connection.token.as_deref().and_then(|token| token.parse::<Fingerprint>().ok()) else {
            return Ok(None);
        };
        let tokens = self.folder.access()?.tokens;
        let standing = tokens.iter().find(|token| token.fingerprint == fingerprint && token.revoked.is_none());
        Ok(standing.map(|token| Names { fingerprint, hint: token.hint }))
    }

    /// The token is kept before it is put in: n8n may take it and its answer get lost, and then a key has to take its place.
    fn put_token(
        &self,
        record: &CredentialRecord,
        connection: &mut Connection,
    ) -> anyhow::Result<(CredentialRecord, Names)> {
        let name = token::sound_name(&format!("n8n {} {}", self.side.instance.name, record.id)).ok();
        let (secret, names, _) = token::issue(self.setup, &self.set, name.as_deref())?;
        connection.token = Some(names.fingerprint.to_hex());
        connections::keep(&self.folder, connection.clone())?;
        let put = self.put_key(record, &secret);
        if put.is_err() {
            token::end(self.setup, names.fingerprint)?;
        }
        Ok((put?, names))
    }

    /// A running keyward hears of a token within seconds.
    fn test_until_known(&self, record: &CredentialRecord) -> anyhow::Result<Option<Tested>> {
        let deadline = Instant::now() + UNTIL_KNOWN;
        loop {
            let tested = self.test(record)?;
            if Instant::now() > deadline || tested.as_ref().is_none_or(|tested| !tested.is_refusal()) {
                return Ok(tested);
            }
            std::thread::sleep(BETWEEN_TESTS);
        }
    }
}

/// Twice as long as a running keyward takes where the system cannot watch files.
const UNTIL_KNOWN: Duration = Duration::from_secs(10);

const BETWEEN_TESTS: Duration = Duration::from_millis(250);

const AFTER_HELP: &str = "\
Writes keyward's Base URL and the tag header into the credential, through n8n's API. n8n never tells
what stands in a credential; what is not named here stays: its key (unless --token or --key-from says
otherwise), organization and domains. n8n tests it before and after, and where only the test after
fails, everything is put back. n8n's API key needs the scopes workflow:list, credential:list,
credential:read and credential:update. Where n8n's API cannot change credentials (1.x), it prints what
to put where, changes nothing and ends with 1, unless --verify sees that it was done.

Example: keyward n8n connect OpenAI --url http://keyward:8080 --verify";
