//! The credential records of one n8n, as its API tells of them, and who uses each.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::output::remark;
use super::prompt::{can_ask, says_yes};
use super::setup::{ConfigArgument, NO_N8N, Setup};
use super::telling::{Test, Told};
use crate::caller::names::harmless;
use crate::keys::fingerprint::FingerprintKey;
use crate::keys::set::Names;
use crate::n8n::Instance;
use crate::n8n::client::{Bounds, Client, ClientError, encoded, scope};
use crate::n8n::connect::{self, CREDENTIAL_TYPE, User};
use crate::n8n::documents::{CredentialRecord, Tested, Workflow};
use crate::n8n::inventory::Builder;

/// Which credentials, and in which n8n. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
pub(super) struct Chosen {
    #[command(flatten)]
    pub(super) config: ConfigArgument,
    #[arg(value_name = "CREDENTIAL", required = true, help = "Its id, or its exact name")]
    pub(super) credentials: Vec<String>,
    #[arg(long, value_name = "NAME", help = "Of this n8n [default: the only one that is configured]")]
    pub(super) n8n: Option<String>,
    #[arg(long, help = "Do not ask before a credential is changed")]
    yes: bool,
    #[arg(long, help = "Print JSON")]
    pub(super) json: bool,
}

/// An n8n that is asked, and what a command asks it by.
pub(super) struct Side {
    pub(super) instance: Instance,
    pub(super) client: Client,
    runtime: Runtime,
}

/// All records of an n8n.
pub(super) struct Records {
    all: Vec<CredentialRecord>,
    users: BTreeMap<String, Vec<User>>,
    /// What the nodes call those that they name, by id, with those that are gone.
    named: BTreeMap<String, String>,
    /// Whether n8n lists them: 1.x does not.
    is_listed: bool,
}

// === impl Chosen ===

impl Chosen {
    /// Whether it was said already that what will be done may be.
    pub(super) fn is_agreed(&self) -> bool {
        self.yes
    }

    /// Lets a person agree to what will be done, unless that was said already.
    pub(super) fn ask(&self, what: &[String]) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        what.iter().for_each(remark);
        ask("Change that?")
    }
}

/// Lets a person agree to what was told.
pub(super) fn ask(question: &str) -> anyhow::Result<()> {
    if !can_ask() {
        bail!("nothing was changed: standard input is no terminal, so --yes has to say that it may be");
    }
    if says_yes(question)? { Ok(()) } else { bail!("nothing was changed") }
}

// === impl Side ===

impl Side {
    /// The n8n of that name, or the only one.
    pub(super) fn open(setup: &Setup, name: Option<&str>) -> anyhow::Result<Self> {
        let instance = setup.only_n8n(name)?.context(NO_N8N)?;
        let client = Client::new(instance, Bounds::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self { instance: instance.clone(), client, runtime })
    }

    /// Where the n8n is, as it is kept and shown.
    pub(super) fn address(&self) -> String {
        self.client.address().to_string()
    }

    /// Its records and who uses them.
    pub(super) fn records(&self) -> Result<Records, ClientError> {
        self.records_and(drop)
    }

    /// The same, with each workflow that was read for it.
    pub(super) fn records_and(&self, mut keep: impl FnMut(Value)) -> Result<Records, ClientError> {
        self.runtime.block_on(async {
            // Which keys stand in nodes matters nothing here.
            let nameless = FingerprintKey::new(&[0; 32]);
            let names_of = |value: &[u8]| Names { fingerprint: nameless.fingerprint(value), hint: None };
            let mut builder = Builder::new(&names_of);
            let take = |document: Value| {
                builder.add(&Workflow::deserialize(&document).unwrap_or_default());
                keep(document);
            };
            self.client.workflows(take).await?;
            let (mut users, mut named) = (BTreeMap::<String, Vec<User>>::new(), BTreeMap::new());
            for (record, user) in connect::users(&builder.finish()) {
                let id = record.id.to_string();
                named.entry(id.clone()).or_insert(record.name.to_string());
                users.entry(id).or_default().push(user);
            }
            let (mut records, mut is_listed) = (Vec::new(), true);
            match self.client.credentials(|record: CredentialRecord| records.push(record)).await {
                // Older releases list none, but their workflows name those that are used.
                Err(ClientError::NotInThisVersion { .. }) => {
                    records = named.clone().into_iter().map(used).collect();
                    is_listed = false;
                }
                listed => listed?,
            }
            Ok(Records { all: records, users, named, is_listed })
        })
    }

    /// Whether its records can have a custom header.
    pub(super) fn has_header(&self) -> Result<bool, ClientError> {
        Ok(self.fields()?["header"].is_object())
    }

    /// The fields of its records.
    fn fields(&self) -> Result<Value, ClientError> {
        let path = format!("credentials/schema/{CREDENTIAL_TYPE}");
        let mut schema: Value = self.runtime.block_on(self.client.get(&path, scope::CREDENTIAL_LIST))?;
        Ok(schema["properties"].take())
    }

    /// Makes a record of that name, in that project or else in the one of the API key's owner.
    pub(super) fn make(
        &self,
        name: &str,
        mut data: Value,
        project: Option<&str>,
    ) -> Result<CredentialRecord, ClientError> {
        // What is left out has no default here, and another field depends on it.
        if self.fields()?["allowedHttpRequestDomains"].is_object() {
            data["allowedHttpRequestDomains"] = "all".into();
        }
        let body = connect::new_record(name, &data, project);
        self.runtime.block_on(self.client.post("credentials", scope::CREDENTIAL_CREATE, &body))
    }

    /// Changes what is named of a record; nothing where the release cannot.
    pub(super) fn change(&self, record: &str, data: &Value) -> Result<Option<CredentialRecord>, ClientError> {
        let (path, body) = (path_of(record), connect::change(data));
        match self.runtime.block_on(self.client.patch(&path, scope::CREDENTIAL_UPDATE, &body)) {
            Err(ClientError::NotInThisVersion { .. }) => Ok(None),
            changed => changed.map(Some),
        }
    }

    /// Whether its API key may change records: asked of one that there is not.
    pub(super) fn try_change(&self) -> Result<(), ClientError> {
        match self.change("0", &json!({})) {
            Err(error @ ClientError::ScopeLacks { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits for what n8n is asked.
    pub(super) fn block_on<T>(&self, asking: impl Future<Output = T>) -> T {
        self.runtime.block_on(asking)
    }

    /// Whether its API changes records at all, with this API key: asked of one that there is not.
    pub(super) fn can_change(&self) -> Result<bool, ClientError> {
        match self.change("0", &json!({})) {
            Ok(changed) => Ok(changed.is_some()),
            // There is no such record, or it takes more than nothing.
            Err(ClientError::NotFound { .. } | ClientError::Refused { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// As [`Side::tested`], with a running keyward told of it, and nothing else meanwhile.
    pub(super) fn test_and_tell(&self, record: &str, told: &Told) -> Result<Test, ClientError> {
        self.runtime.block_on(told.of_test(&self.instance.name, record, async || self.tested(record).await))
    }

    /// Has n8n test a record, as its own button does; nothing where the release cannot.
    pub(super) async fn tested(&self, record: &str) -> Result<Option<Tested>, ClientError> {
        self.client.test_credential(record).await
    }
}

fn path_of(record: &str) -> String {
    format!("credentials/{}", encoded(record))
}

fn used((id, name): (String, String)) -> CredentialRecord {
    CredentialRecord { id, name, kind: CREDENTIAL_TYPE.to_owned(), ..CredentialRecord::default() }
}

// === impl Records ===

impl Records {
    /// The records of those ids or exact names, each once. Whatever is wrong with any of them is told, with all that is.
    pub(super) fn select(&self, asked: &[String]) -> anyhow::Result<Vec<&CredentialRecord>> {
        let (mut chosen, mut seen, mut wrong) = (Vec::new(), BTreeSet::new(), Vec::new());
        for asked in asked {
            match self.find(asked) {
                Ok(record) if seen.insert(&record.id) => chosen.push(record),
                Ok(_again) => {}
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() { Ok(chosen) } else { bail!("nothing was changed: {}", wrong.join("; ")) }
    }

    /// The record of that id or exact name.
    pub(super) fn select_one(&self, asked: &str) -> anyhow::Result<&CredentialRecord> {
        self.find(asked).map_err(|why| anyhow!("nothing was changed: {why}"))
    }

    /// Those that n8n lists; none where it lists none.
    pub(super) fn listed(&self) -> &[CredentialRecord] {
        if self.is_listed { &self.all } else { &[] }
    }

    /// The ids of what nodes use: of records, and of those that are gone and that nodes name all the same.
    pub(super) fn select_used(&self, asked: &[String]) -> anyhow::Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for asked in asked {
            let gone = |(id, name): &(&String, &String)| {
                (*id == asked || *name == asked) && self.all.iter().all(|record| record.id != **id)
            };
            let gone: Vec<_> = self.named.iter().filter(gone).map(|(id, _)| id.clone()).collect();
            match (self.find(asked), gone.is_empty()) {
                (Ok(record), true) => drop(ids.insert(record.id.clone())),
                (Err(why), true) => bail!("nothing was changed: {why}"),
                (found, false) => {
                    ids.extend(gone);
                    ids.extend(found.ok().map(|record| record.id.clone()));
                }
            }
        }
        Ok(ids)
    }

    /// Who uses a record.
    pub(super) fn users(&self, record: &CredentialRecord) -> &[User] {
        self.users.get(&record.id).map_or(&[], Vec::as_slice)
    }

    fn find(&self, asked: &str) -> Result<&CredentialRecord, String> {
        let of_type = |record: &&CredentialRecord| record.kind == CREDENTIAL_TYPE;
        let by_id = self.all.iter().find(|record| record.id == asked);
        let by_name: Vec<_> = self.all.iter().filter(|record| record.name == asked).collect();
        let shown = harmless(asked, LONGEST_SHOWN);
        if let Some(record) = by_id.or_else(|| by_name.first().copied().filter(|_| by_name.len() == 1)) {
            let other = || {
                format!(
                    "`{shown}` is no OpenAI credential, but one of the type {}",
                    harmless(&record.kind, LONGEST_SHOWN)
                )
            };
            return Some(record).filter(of_type).ok_or_else(other);
        }
        let ids: Vec<_> =
            by_name.into_iter().filter(of_type).map(|record| harmless(&record.id, LONGEST_SHOWN)).collect();
        if !ids.is_empty() {
            return Err(format!("several credentials are called `{shown}`: choose by id, {}", ids.join(" or ")));
        }
        let names: Vec<_> = self.all.iter().filter(of_type).map(in_words).take(MOST_SHOWN).collect();
        let known =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        Err(format!("there is no OpenAI credential with the id or the name `{shown}`; {known}"))
    }
}

/// A record as people know it: `OpenAI (5jOWncPdPD6rKz4T)`.
pub(super) fn in_words(record: &CredentialRecord) -> String {
    format!("{} ({})", harmless(&record.name, LONGEST_SHOWN), harmless(&record.id, LONGEST_SHOWN))
}

const LONGEST_SHOWN: usize = 100;

/// Of all records, when none was meant.
const MOST_SHOWN: usize = 20;
