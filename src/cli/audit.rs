//! `keyward n8n audit`: which nodes of n8n pass keyward, and what a person does about those that do not.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, bail};
use clap::Args;
use serde::de::IgnoredAny;
use serde_json::json;

use super::answer::that_stays;
use super::output::{Palette, print, print_json, print_wrapped, remark};
use super::report::{headline, in_markdown, in_words, table};
use super::setup::{ConfigArgument, NO_N8N, Setup};
use super::source::Source;
use crate::answers;
use crate::answers::audit::Instance as AuditedInstance;
use crate::answers::binding::{Binding, Row};
use crate::answers::old_key::{OldKeyOfSet, OldKeySummary};
use crate::answers::status::Set;
use crate::clock::Timestamp;
use crate::config::Environment;
use crate::keys::fingerprint::{Fingerprint, FingerprintKey};
use crate::keys::set::{Names, RoleKind};
use crate::ledger::identity::{BindingId, Holder};
use crate::ledger::look::{Look, Users};
use crate::ledger::standing::{SilenceKind, StandingKind};
use crate::n8n::Instance;
use crate::n8n::audit::{Around, Audit, Grounds, KnownKey, Sighting, audit, suspects};
use crate::n8n::clearance::{hosts_in_settings, hosts_of};
use crate::n8n::client::{Bounds, Client, ClientError, encoded, scope};
use crate::n8n::connections::{self, Left};
use crate::n8n::documents::{CredentialRecord, Execution, Workflow};
use crate::n8n::inventory::{Builder, Inventory};
use crate::n8n::row::Standing;
use crate::telemetry::event::with_causes;
use crate::telemetry::local_clock::in_local_time;

/// What `keyward n8n audit` takes. The texts for users stand in attributes: they are no Markdown.
#[derive(Args, Debug)]
#[command(about = "Tell which nodes of n8n do not pass keyward, and what to do about them", after_help = AUDIT_HELP)]
pub(super) struct AuditArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[arg(long, value_name = "NAME", help = "Only the n8n of that name [default: all of them]")]
    n8n: Option<String>,
    #[arg(long, value_name = "SET", help = "Only those that may belong to that key set")]
    set: Option<String>,
    #[arg(long, conflicts_with = "md", help = "Print JSON")]
    json: bool,
    #[arg(long, help = "Print a report to keep, in Markdown")]
    md: bool,
}

impl AuditArguments {
    /// Says whether there is no fault.
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<bool> {
        let setup = Setup::open(&self.config, environment)?;
        let instances = self.choose(&setup)?;
        let folder = setup.folder()?;
        let (key, left) = (folder.fingerprint_key()?, connections::left(&folder)?);
        let seen = WhatWasSeen::ask(&setup, &Source::open(Setup::open(&self.config, environment)?)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let inventories: Vec<_> = instances
            .iter()
            .map(|instance| runtime.block_on(Found::of(instance, &key, &setup)))
            .collect::<anyhow::Result<_>>()?;
        let mut audits = Vec::new();
        for found in &inventories {
            audits.push(Told {
                instance: found.instance,
                audit: runtime.block_on(found.judge(&inventories, &seen, &left)),
                old_keys: seen.old_keys_of(found.instance),
            });
        }
        self.tell(&audits, setup.now());
        Ok(audits.iter().all(Told::is_clean))
    }

    fn choose(&self, setup: &Setup) -> anyhow::Result<Vec<Instance>> {
        let chosen = setup.n8n(self.n8n.as_deref())?;
        if chosen.is_empty() {
            bail!(NO_N8N);
        }
        if let Some(set) = self.set.as_deref().filter(|set| !setup.set_names().contains(set)) {
            bail!("there is no key set {set:?}; there are: {}", setup.set_names().join(", "));
        }
        let is_of_set = |instance: &&Instance| {
            let (wanted, own) = (self.set.as_deref(), instance.set.as_deref());
            wanted.is_none() || own.is_none() || wanted == own
        };
        let chosen: Vec<_> = chosen.iter().filter(is_of_set).cloned().collect();
        if chosen.is_empty() {
            bail!("none of the n8n that are configured or chosen belongs to that key set ([n8n.<name>] set)");
        }
        Ok(chosen)
    }

    fn tell(&self, audits: &[Told<'_>], now: Timestamp) {
        if self.json {
            print_json(&json!({ "instances": audits.iter().map(Told::answer).collect::<Vec<_>>() }));
            return;
        }
        for (number, told) in audits.iter().enumerate() {
            let Told { instance, audit, .. } = told;
            if number > 0 {
                print("");
            }
            if self.md {
                let kept = told.kept().flat_map(|old| that_stays(old, now));
                let kept: Vec<_> = kept.flat_map(|line| line.rows(usize::MAX, Palette::Plain)).collect();
                print(in_markdown(audit, &instance.name, &instance.url, &kept));
            } else {
                print_wrapped(&[in_local_time(&headline(audit, &instance.name, &instance.url), now).into_owned()]);
                if !audit.rows.is_empty() {
                    print(format_args!("\n{}", table(audit, now)));
                }
                for old in told.kept() {
                    print("");
                    print_wrapped(&that_stays(old, now));
                }
                let told = in_words(audit, &instance.url);
                print_wrapped(&told.iter().map(|line| in_local_time(line, now).into_owned()).collect::<Vec<_>>());
            }
        }
    }
}

/// An audit, and the old keys that may stand in that n8n.
struct Told<'a> {
    instance: &'a Instance,
    audit: Audit,
    old_keys: Vec<OldKeyOfSet>,
}

impl Told<'_> {
    /// The old keys that are still sent or held, wherever that is.
    fn kept(&self) -> impl Iterator<Item = &OldKeySummary> {
        self.old_keys.iter().map(|old| &old.summary).filter(|old| old.is_kept())
    }

    fn is_clean(&self) -> bool {
        self.audit.faults().next().is_none() && self.kept().next().is_none()
    }

    fn answer(&self) -> answers::audit::Audit {
        answers::audit::Audit::new(&self.audit, &self.instance.name, &self.instance.url, self.old_keys.clone())
    }
}

struct WhatWasSeen {
    bindings: Vec<Binding>,
    keys: HashMap<Fingerprint, KnownKey>,
    hosts: Vec<String>,
    /// What a running keyward knows of each n8n by its presses, by name.
    looks: HashMap<String, Look>,
    /// The old keys of each set.
    old_keys: Vec<OldKeyOfSet>,
}

impl WhatWasSeen {
    fn ask(setup: &Setup, source: &Source) -> anyhow::Result<Self> {
        let bindings = source.bindings(&[])?.answer.bindings;
        let status = source.status()?.answer;
        let looks = source.n8n()?.instances.into_iter().map(look_of).collect();
        let mut hosts = hosts_of(setup.config().proxy.listen);
        hosts.extend(hosts_in_settings(&setup.config().n8n.instances));
        let (keys, old_keys) = (known_keys(status.sets()), old_keys(status.sets()));
        Ok(Self { bindings, keys, hosts, looks, old_keys })
    }

    /// The old keys that may stand in that n8n.
    fn old_keys_of(&self, instance: &Instance) -> Vec<OldKeyOfSet> {
        let is_of = |old: &&OldKeyOfSet| instance.set.as_deref().is_none_or(|set| old.set == set);
        self.old_keys.iter().filter(is_of).cloned().collect()
    }

    fn sightings(&self, instance: &str) -> Vec<Sighting<'_>> {
        self.bindings.iter().filter_map(|binding| sighting(binding, instance)).collect()
    }
}

/// A binding as the API tells of it: nothing where it is another n8n's, or stands for no single caller.
fn sighting<'b>(binding: &'b Binding, instance: &str) -> Option<Sighting<'b>> {
    let Binding { row, .. } = binding;
    let who = &row.who;
    if who.holder != Holder::Caller || who.instance.as_ref().is_some_and(|own| own != instance) {
        return None;
    }
    let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
    Some(Sighting {
        binding: BindingId(u64::from_str_radix(&who.binding, 16).ok()?),
        set: &who.set,
        instance: who.instance.as_deref(),
        is_single: row.rhythm.is_none(),
        is_acknowledged: row.standing.acknowledged.is_some(),
        workflow: who.workflow_id.as_deref(),
        node: who.node_id.as_deref(),
        at: binding.last?,
        key: row.key.names().map(|names| names.to_names()),
        execution: boxed(&binding.execution_id),
        client: &who.client,
        client_version: boxed(&binding.client_version),
        standing: standing(row),
    })
}

fn standing(row: &Row) -> Standing {
    let diagnosis = row.incident.as_ref().map(|incident| incident.diagnosis.as_str());
    match (row.standing.state, row.standing.silence) {
        (Some(StandingKind::Confirmed), _) => Standing::Well,
        (Some(StandingKind::Mixed), _) => Standing::Mixed,
        (Some(StandingKind::Stale | StandingKind::Failing), _) => Standing::of_failing(diagnosis),
        (Some(StandingKind::Silent), Some(SilenceKind::Acknowledged)) => Standing::Dead,
        // A key of no set proves nothing.
        (Some(StandingKind::Silent) | None, _) => Standing::Silent,
    }
}

fn known_keys(sets: &[Set]) -> HashMap<Fingerprint, KnownKey> {
    let of_set = |set: &Set| {
        let known = |role: RoleKind| KnownKey { set: set.set.as_str().into(), role: role.code().into() };
        set.keys.iter().map(|key| (key.names.fingerprint, known(key.role))).collect::<Vec<_>>()
    };
    sets.iter().flat_map(of_set).collect()
}

/// The old keys of all sets, each with its set.
fn old_keys(sets: &[Set]) -> Vec<OldKeyOfSet> {
    let of_set = |set: &Set| {
        let tell = |old: &OldKeySummary| OldKeyOfSet { set: set.set.clone(), summary: old.clone() };
        set.old_keys.iter().map(tell).collect::<Vec<_>>()
    };
    sets.iter().flat_map(of_set).collect()
}

/// What a running keyward knows of the records of an n8n: which key its test of each showed.
fn look_of(told: AuditedInstance) -> (String, Look) {
    let AuditedInstance { audit, credentials, .. } = told;
    let look = Look {
        instance: audit.instance.as_str().into(),
        at: audit.read,
        workflows: HashSet::new(),
        nodes: HashMap::new(),
        nodes_there: HashSet::new(),
        records: credentials.iter().map(|record| (record.id.as_str().into(), record.to_state())).collect(),
        lists_records: true,
        executions: BTreeMap::new(),
        unfinished: Vec::new(),
        clocks_apart: [0, 0],
        users: Users::default(),
    };
    (audit.instance, look)
}

/// An n8n, as it was looked through now.
struct Found<'a> {
    instance: &'a Instance,
    client: Client,
    at: Timestamp,
    inventory: Inventory,
    lacks: Vec<&'static str>,
}

impl<'a> Found<'a> {
    async fn of(instance: &'a Instance, key: &FingerprintKey, setup: &Setup) -> anyhow::Result<Self> {
        let failed = || format!("n8n `{}` cannot be looked through", instance.name);
        let client = Client::new(instance, Bounds::default()).with_context(failed)?;
        let at = setup.now();
        let (inventory, lacks) = take_inventory(&client, key).await.with_context(failed)?;
        Ok(Self { instance, client, at, inventory, lacks })
    }

    async fn judge(&self, all: &[Self], seen: &WhatWasSeen, left: &[Left]) -> Audit {
        let (name, set) = (&*self.instance.name, self.instance.set.as_deref());
        let sightings = seen.sightings(name);
        let modes = modes_of(&self.client, suspects(&self.inventory, &sightings)).await;
        let is_other = |other: &&Self| {
            let own = other.instance.set.as_deref();
            *other.instance.name != *name && (set.is_none() || own.is_none() || set == own)
        };
        let others: Vec<_> =
            all.iter().filter(is_other).map(|other| (&*other.instance.name, &other.inventory)).collect();
        let url = self.client.address().to_string();
        let left: Vec<_> = left.iter().filter(|left| left.n8n == url).cloned().collect();
        let around = Around {
            instance: name,
            set,
            lacks: &self.lacks,
            others: &others,
            look: seen.looks.get(name),
            left: &left,
            entrance: self.instance.keyward.as_ref(),
        };
        let (inventory, sightings, hosts, keys) = (&self.inventory, &sightings, &seen.hosts, &seen.keys);
        audit(&Grounds { inventory, sightings, hosts, keys, modes: &modes, at: self.at, around })
    }
}

/// What is configured, and the scopes that the API key lacks for all of it.
async fn take_inventory(client: &Client, key: &FingerprintKey) -> Result<(Inventory, Vec<&'static str>), ClientError> {
    let names_of = |value: &[u8]| Names::of(key, value);
    let mut builder = Builder::new(&names_of);
    client.workflows(|workflow: Workflow| builder.add(&workflow)).await?;
    let mut lacks = Vec::new();
    match client.credentials(|record: CredentialRecord| builder.add_record(&record)).await {
        Ok(()) => builder.note_records_listed(),
        // Then the nodes tell what their records are called; when they were changed is not known.
        Err(ClientError::NotInThisVersion { .. }) => {}
        Err(error @ ClientError::ScopeLacks { .. }) => {
            lacks.extend(error.scope());
            remark(format_args!("keyward: {}", with_causes(&error)));
        }
        Err(error) => return Err(error),
    }
    let executions = client.get::<IgnoredAny>("executions?limit=1", scope::EXECUTION_LIST).await;
    lacks.extend(executions.err().as_ref().and_then(ClientError::scope));
    Ok((builder.finish(), lacks))
}

/// What started those executions. n8n forgets them after a while; for those it is not known.
async fn modes_of(client: &Client, executions: Vec<Box<str>>) -> HashMap<Box<str>, Box<str>> {
    let mut modes = HashMap::new();
    for id in executions.into_iter().take(MOST_EXECUTIONS) {
        let path = format!("executions/{}?includeData=false", encoded(&id));
        match client.get::<Execution>(&path, scope::EXECUTION_READ).await {
            Ok(execution) => {
                modes.extend(execution.mode.map(|mode| (id, mode.into())));
            }
            Err(ClientError::NotFound { .. }) => {}
            Err(error) => {
                remark(format_args!("keyward: {}", with_causes(&error)));
                break;
            }
        }
    }
    modes
}

/// How many executions n8n is asked for, one after the other.
const MOST_EXECUTIONS: usize = 100;

const AUDIT_HELP: &str = "\
Asks n8n for all workflows, published and drafts, and sets each node that can speak to OpenAI beside what
keyward saw of it: the keyward that runs, and where none does, its store. n8n does not show what stands in
a credential, so one leads here if a request of a node with it came here since both were changed last.
Ends with 0 if there is no fault and no old key is still sent or held, with 1 otherwise, and with 3 if
that cannot be told.

Example: keyward n8n audit --md > audit.md";
