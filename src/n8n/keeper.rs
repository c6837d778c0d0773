//! Asks one n8n again and again, beside the traffic: for the names of workflows and nodes, and for the inventory of those that
//! can speak to OpenAI. It has a thread of its own, so that neither a slow n8n nor a large one holds anybody up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Instance;
use super::clearance::Looked;
use super::client::{Bounds, Client, ClientError, scope};
use super::documents::{self, CredentialRecord};
use super::inventory::{Builder, Inventory};
use crate::caller::names::{Known, Node, Workflow};
use crate::caller::registry::{Registry, Unknown};
use crate::clock::{Clock, Timestamp};
use crate::keys::keeper::Keeper as KeyKeeper;
use crate::keys::source::Source;
use crate::ledger::names;
use crate::proxy::server::Stage;
use crate::route::is_id;
use crate::telemetry::event::with_causes;
use crate::watch::Watch;

/// Who asks one n8n.
pub struct Keeper {
    instance: Instance,
    /// At which place it stands among the instances.
    position: usize,
    client: Client,
    registry: Arc<Registry>,
    keys: Arc<KeyKeeper>,
    status: Arc<Status>,
    /// The ledger's store, where there is one.
    store: Option<PathBuf>,
    clock: Clock,
    /// What the store has of it.
    stored: names::Workflows,
    /// Who was asked for in vain since the last whole list.
    missed: HashSet<Unknown>,
    /// When ids that nobody knew were asked for last.
    asked: Option<Instant>,
    /// How soon they may be asked for again.
    between: Duration,
    pause: Duration,
    said: Option<String>,
    said_of_store: bool,
}

/// How an n8n is, for whoever asks.
#[derive(Debug)]
pub struct Status {
    /// Its name.
    pub name: Box<str>,
    /// Where it is.
    pub url: Box<str>,
    /// The set that its credentials belong to, where that is said.
    pub set: Option<Box<str>>,
    /// How often it is asked.
    pub refresh: Duration,
    seen: Mutex<Seen>,
}

/// What came of asking an n8n.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What is wrong with it, since it was asked last.
    pub trouble: Option<String>,
    /// What its API key may not do that keyward would have it do: a sentence, where there is something.
    pub lacks: Option<String>,
    /// The scopes that it lacks for that.
    pub lacking: Vec<&'static str>,
    /// When the whole list was read last.
    pub read: Option<Timestamp>,
    /// How many workflows have names.
    pub workflows: usize,
    /// How many nodes have names.
    pub nodes: usize,
    /// How many nodes have none, for there was no room.
    pub left_out: usize,
    /// The nodes that can speak to OpenAI, as of then.
    pub inventory: Option<Arc<Inventory>>,
}

/// What a keeper needs of others.
pub struct Surroundings {
    /// Where names go.
    pub registry: Arc<Registry>,
    /// By whose fingerprints keys in nodes are known.
    pub keys: Arc<KeyKeeper>,
    /// The ledger's store, where there is one.
    pub store: Option<PathBuf>,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Keeper {
    /// For the instance at that place of the settings. Nothing is asked yet.
    pub fn new(instance: &Instance, position: usize, around: Surroundings) -> Result<Self, ClientError> {
        let Surroundings { registry, keys, store, clock } = around;
        let client = Client::new(instance, Bounds::default())?;
        let known = registry.snapshot();
        let stored = known.instances().get(position).map(|known| known.workflows.clone()).unwrap_or_default();
        let (name, url) = (instance.name.clone(), instance.url.to_string().into());
        let (set, refresh) = (instance.set.clone(), instance.refresh);
        let status = Arc::new(Status { name, url, set, refresh, seen: Mutex::default() });
        status.count(&stored, 0);
        Ok(Self {
            instance: instance.clone(),
            position,
            client,
            registry,
            keys,
            status,
            store,
            clock,
            stored,
            missed: HashSet::new(),
            asked: None,
            between: BETWEEN,
            pause: FIRST_PAUSE,
            said: None,
            said_of_store: false,
        })
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Asks until keyward ends.
    pub async fn run(mut self, mut stop: watch::Receiver<Stage>) {
        let work = async {
            let mut watch = Watch::new(match &self.instance.api_key {
                Source::File(path) => vec![path.clone()],
                Source::Env(_) => Vec::new(),
            });
            loop {
                let next = Instant::now() + self.refresh().await;
                self.wait_for_reason(next, &mut watch).await;
            }
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }

    /// Asks for those whom nobody knows, until the whole list is to be read again: because it is time, or the key is another.
    async fn wait_for_reason(&mut self, next: Instant, watch: &mut Watch) {
        loop {
            let may_ask = self.asked.map_or_else(Instant::now, |asked| asked + self.between);
            let registry = Arc::clone(&self.registry);
            let somebody = async {
                registry.somebody_is_unknown(self.position).await;
                tokio::time::sleep_until(may_ask).await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => return,
                () = watch.changed() => return,
                () = somebody => {}
            }
            let unknown = registry.take_unknown(self.position);
            if self.said.is_none() && self.ask_for(&unknown).await.is_err() {
                return;
            }
        }
    }

    /// Reads the whole list; gives how long to wait before the next time.
    async fn refresh(&mut self) -> Duration {
        // The whole list has those as well who were noted before it.
        let _ = self.registry.take_unknown(self.position);
        match self.read().await {
            Ok(()) => {
                self.note_success();
                self.instance.refresh
            }
            Err(error) => {
                self.note_trouble(&error);
                let pause = self.pause.min(self.instance.refresh);
                self.pause = 2 * pause;
                pause
            }
        }
    }

    async fn read(&mut self) -> Result<(), ClientError> {
        let ring = self.keys.ring().clone();
        let names_of = |value: &[u8]| ring.names(value);
        let (mut inventory, mut workflows) = (Builder::new(&names_of), Gathered::default());
        let take = |workflow: documents::Workflow| {
            inventory.add(&workflow);
            workflows.add(&workflow);
        };
        self.client.workflows(take).await?;
        let refused = [self.read_records(&mut inventory).await?, self.try_executions().await?];
        let refused: Vec<_> = refused.into_iter().flatten().collect();
        let lacks = refused.first().map(ToString::to_string);
        let lacking = refused.iter().filter_map(ClientError::scope).collect();
        let (now, inventory) = (self.clock.now(), Arc::new(inventory.finish()));
        self.missed.clear();
        self.know(workflows.found, workflows.left_out);
        let mut seen = self.status.lock();
        (seen.lacks, seen.lacking, seen.read, seen.inventory) = (lacks, lacking, Some(now), Some(inventory));
        Ok(())
    }

    /// The records' names stand in the nodes as well, so it goes on without. Gives the refusal where the key lacks a scope.
    async fn read_records(&self, inventory: &mut Builder<'_>) -> Result<Option<ClientError>, ClientError> {
        match self.client.credentials(|record: CredentialRecord| inventory.add_record(&record)).await {
            Ok(()) => {
                inventory.note_records_listed();
                Ok(None)
            }
            Err(ClientError::NotInThisVersion { .. }) => Ok(None),
            Err(error @ ClientError::ScopeLacks { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// Gives the refusal where the key may not list executions. Without them, n8n does not tell what waits or runs.
    async fn try_executions(&self) -> Result<Option<ClientError>, ClientError> {
        match self.client.get::<IgnoredAny>("executions?limit=1", scope::EXECUTION_LIST).await {
            Err(error @ ClientError::ScopeLacks { .. }) => Ok(Some(error)),
            // What else is amiss shows where they are needed.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Asks for each workflow that somebody named and nobody knows. Fails where the whole list has to be read for it, or n8n
    /// is in trouble.
    async fn ask_for(&mut self, unknown: &[Unknown]) -> Result<(), ()> {
        let directory = self.registry.snapshot();
        let is_known = |unknown: &Unknown| {
            let found = directory.find(unknown.instance.as_deref(), &unknown.workflow, unknown.node.as_deref());
            found.is_some_and(|named| named.node.is_some() || unknown.node.is_none())
        };
        let wanted = unknown.iter().filter(|one| !is_known(one) && !self.missed.contains(one));
        let ids: BTreeSet<&str> = wanted.clone().map(|unknown| &*unknown.workflow).take(AT_A_TIME).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let (wanted, later): (Vec<_>, Vec<_>) = wanted.cloned().partition(|one| ids.contains(&*one.workflow));
        self.registry.put_back(self.position, &later);
        self.asked = Some(Instant::now());
        let mut found = Gathered::default();
        for id in &ids {
            match self.client.workflow::<documents::Workflow>(id).await {
                Ok(workflow) => found.add(&workflow),
                Err(ClientError::NotFound { .. }) => {}
                Err(ClientError::ScopeLacks { .. }) => {
                    // With the list alone names come as well, but it costs n8n more.
                    self.between = BETWEEN_LISTS;
                    return Err(());
                }
                Err(_error) => return Err(()),
            }
        }
        if self.missed.len() < MOST_MISSED {
            self.missed.extend(wanted);
        }
        if !found.found.is_empty() {
            let mut workflows = self.stored.clone();
            workflows.extend(found.found);
            self.know(workflows, self.status.seen().left_out);
        }
        Ok(())
    }

    /// Has everybody know these names, and the store as well.
    fn know(&mut self, workflows: names::Workflows, left_out: usize) {
        self.status.count(&workflows, left_out);
        if workflows == self.stored {
            return;
        }
        let (name, url) = (self.status.name.clone(), self.status.url.clone());
        self.registry.put(&Arc::new(Known { name, url, workflows: workflows.clone() }));
        let before = std::mem::replace(&mut self.stored, workflows);
        let Some(path) = &self.store else { return };
        match names::write(path, &self.instance.name, &before, &self.stored) {
            Ok(()) => self.said_of_store = false,
            Err(error) if !self.said_of_store => {
                self.said_of_store = true;
                let text = with_causes(&error);
                tracing::warn!(event = "n8n", "a start while n8n is down will know fewer names: {text}");
            }
            Err(_) => {}
        }
    }

    fn note_success(&mut self) {
        let instance = &*self.instance.name;
        if self.said.take().is_some() {
            tracing::info!(event = "n8n", instance, "n8n {instance} answers again");
        }
        self.status.lock().trouble = None;
        self.pause = FIRST_PAUSE;
    }

    /// Said once, until it is another one.
    fn note_trouble(&mut self, error: &ClientError) {
        let text = with_causes(error);
        if self.said.as_ref() != Some(&text) {
            let instance = &*self.instance.name;
            tracing::warn!(
                event = "n8n",
                instance,
                "callers go by the names that are known already, or by ids: {text}"
            );
        }
        self.status.lock().trouble = Some(text.clone());
        self.said = Some(text);
    }
}

/// The workflows that have names, as they come.
#[derive(Default)]
struct Gathered {
    found: names::Workflows,
    nodes: usize,
    left_out: usize,
}

impl Gathered {
    /// Whoever has an id that no request can name needs no name.
    fn add(&mut self, workflow: &documents::Workflow) {
        if !is_id(&workflow.id) {
            return;
        }
        let room = if self.found.len() < MOST_WORKFLOWS { MOST_NODES - self.nodes } else { 0 };
        // What runs has the first word on a node that the draft has as well.
        let nodes: Vec<_> =
            workflow.running_nodes().iter().chain(workflow.draft_nodes().into_iter().flatten()).collect();
        self.left_out += nodes.len().saturating_sub(room);
        let nodes = nodes.into_iter().filter(|node| is_id(&node.id)).take(room).map(node).collect();
        if self.found.len() < MOST_WORKFLOWS {
            let named = Workflow::new(&workflow.name, nodes);
            self.nodes += named.nodes().len();
            self.found.insert(workflow.id.as_str().into(), Arc::new(named));
        }
    }
}

/// Its credential record is the one for OpenAI, or the only one.
fn node(node: &documents::Node) -> Node {
    let record = node.credentials.get(OPENAI).or_else(|| node.credentials.values().next());
    let record = record.map(|record| record.name.as_str()).filter(|name| !name.is_empty());
    Node::new(&node.id, &node.name, &node.kind, record)
}

// === impl Status ===

impl Status {
    /// What came of asking it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// What was found when it was looked through last.
    #[must_use]
    pub fn looked(&self) -> Looked {
        let Seen { trouble, lacking, read, inventory, .. } = self.seen();
        let (name, set, lacks) = (self.name.clone(), self.set.clone(), lacking);
        Looked { name, set, refresh: self.refresh, trouble, lacks, look: None, found: read.zip(inventory) }
    }

    fn count(&self, workflows: &HashMap<Box<str>, Arc<Workflow>>, left_out: usize) {
        let mut seen = self.lock();
        seen.workflows = workflows.len();
        seen.nodes = workflows.values().map(|workflow| workflow.nodes().len()).sum();
        seen.left_out = left_out;
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether it answered when it was asked last.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.trouble.is_none() && self.read.is_some()
    }
}

/// The type of the credential records for OpenAI.
const OPENAI: &str = "openAiApi";

/// How soon ids that nobody knows are asked for again.
const BETWEEN: Duration = Duration::from_secs(10);

/// The same, where that takes the whole list.
const BETWEEN_LISTS: Duration = Duration::from_mins(1);

/// How many of them at a time.
const AT_A_TIME: usize = 8;

/// How many that were asked for in vain are remembered.
const MOST_MISSED: usize = 4096;

/// How many workflows of one n8n have names.
const MOST_WORKFLOWS: usize = 50_000;

/// How many nodes of one n8n have names: some tens of megabytes.
const MOST_NODES: usize = 200_000;

/// How soon an n8n in trouble is asked again; then after twice that, and so on up to `refresh`.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
