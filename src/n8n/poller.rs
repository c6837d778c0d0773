//! Asks one n8n again and again, beside the traffic: for the names of workflows and nodes, and for the inventory of those that
//! can speak to OpenAI. It has a thread of its own, so that neither a slow n8n nor a large one holds a request up.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Instance;
use super::client::{Bounds, Client, ClientError};
use super::connect::CREDENTIAL_TYPE;
use super::connections::{self, Left};
use super::documents::{self, CredentialRecord};
use super::executions::{Executions, Gaps};
use super::inventory::{Builder, Inventory};
use super::lent::{self};
use super::look::look;
use super::presser::Presser;
use super::status::{Gap, Status, Untold};
use crate::caller::names::{Known, Node, Workflow};
use crate::caller::registry::{Registry, Unknown};
use crate::clock::{Clock, Timestamp};
use crate::keys::reloader::Reloader;
use crate::keys::source::Source;
use crate::ledger::Ledger;
use crate::ledger::look::Look;
use crate::ledger::names;
use crate::request_path::is_id;
use crate::server::Stage;
use crate::telemetry::event::with_causes;
use crate::watch::Watch;

/// Asks one n8n again and again: its workflows, its executions, and its tests of records where that is wanted.
pub struct Poller {
    instance: Instance,
    client: Client,
    /// For the executions, with tighter bounds.
    aside: Client,
    executions: Executions,
    /// Who presses the tests of its credential records, where that is wanted.
    presser: Option<Presser>,
    registry: Arc<Registry>,
    keys: Arc<Reloader>,
    ledger: Arc<Ledger>,
    status: Arc<Status>,
    /// The ledger's store, where there is one.
    store: Option<PathBuf>,
    clock: Clock,
    /// What the store has of it.
    stored: names::Workflows,
    /// Who was asked for in vain since the last whole list.
    missed: HashSet<Unknown>,
    /// When ids without a name were asked for last.
    asked: Option<Instant>,
    /// How soon they may be asked for again.
    between: Duration,
    pause: Duration,
    /// How long the last look took.
    took: Duration,
    said: Option<String>,
    said_of_store: bool,
}

/// What a poller needs of others.
pub struct Surroundings {
    /// Where names go.
    pub registry: Arc<Registry>,
    /// By whose fingerprints keys in nodes are known.
    pub keys: Arc<Reloader>,
    /// Who hears what it is like.
    pub ledger: Arc<Ledger>,
    /// The ledger's store, where there is one.
    pub store: Option<PathBuf>,
    /// Where the time comes from.
    pub clock: Clock,
}

impl Poller {
    /// For that instance. Nothing is asked yet.
    pub fn new(instance: &Instance, around: Surroundings) -> Result<Self, ClientError> {
        let Surroundings { registry, keys, ledger, store, clock } = around;
        let client = Client::new(instance, Bounds::default())?;
        let aside = Client::new(instance, ASIDE)?;
        let known = registry.snapshot();
        let stored = known
            .instances()
            .iter()
            .find(|known| known.name == instance.name)
            .map(|known| known.workflows.clone())
            .unwrap_or_default();
        let status = Arc::new(Status::new(instance));
        status.count(&stored, 0);
        let presser = |client| Presser::new(client, &ledger, &keys, &status, &clock);
        let presser = instance.press.then(|| Client::new(instance, ASIDE).map(presser)).transpose()?;
        Ok(Self {
            instance: instance.clone(),
            client,
            aside,
            executions: Executions::default(),
            presser,
            registry,
            keys,
            ledger,
            status,
            store,
            clock,
            stored,
            missed: HashSet::new(),
            asked: None,
            between: BETWEEN,
            pause: FIRST_PAUSE,
            took: Duration::ZERO,
            said: None,
            said_of_store: false,
        })
    }

    /// What it has found out so far, for those who tell it: it changes while the poller runs.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Asks again and again, until keyward stops.
    pub async fn run(mut self, mut stop: watch::Receiver<Stage>) {
        let presser = self.presser.take();
        let status = Arc::clone(&self.status);
        let ending = async {
            loop {
                tokio::time::sleep(lent::PATIENCE).await;
                status.lent.end_what_is_late();
            }
        };
        let pressing = async {
            match presser {
                Some(presser) => presser.run().await,
                None => std::future::pending().await,
            }
        };
        let work = async {
            let mut watch = Watch::new(match &self.instance.api_key {
                Source::File(path) => vec![path.clone()],
                Source::Env(_) | Source::Command(_) => Vec::new(),
            });
            loop {
                let next = Instant::now() + self.refresh().await;
                self.wait_for_reason(next, &mut watch).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = pressing => {}
            () = ending => {}
            _ = stop.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }

    /// Asks for those without a name, until the whole list is to be read again: because it is time, the key is another, or
    /// an answer wants to know more.
    async fn wait_for_reason(&mut self, next: Instant, watch: &mut Watch) {
        let (looked, between) = (Instant::now(), BETWEEN_LOOKS.max(self.took * PART_OF_THE_TIME));
        loop {
            let may_ask = self.asked.map_or_else(Instant::now, |asked| asked + self.between);
            let demanded = async {
                if !self.status.is_wanted.load(Ordering::Relaxed) {
                    self.status.again.notified().await;
                }
                tokio::time::sleep_until(looked + between).await;
            };
            let registry = Arc::clone(&self.registry);
            let unknown_caller = async {
                registry.wait_for_unknown(&self.instance.name).await;
                tokio::time::sleep_until(may_ask).await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => return,
                () = watch.changed() => return,
                () = demanded => return,
                () = unknown_caller => {}
            }
            let unknown = registry.take_unknown(&self.instance.name);
            if self.said.is_none() && self.ask_for(&unknown).await.is_err() {
                return;
            }
        }
    }

    /// Reads the whole list; gives how long to wait before the next time.
    async fn refresh(&mut self) -> Duration {
        // The whole list has those as well who were noted before it.
        let _ = self.registry.take_unknown(&self.instance.name);
        self.status.is_wanted.store(false, Ordering::Relaxed);
        let began = Instant::now();
        let read = self.read().await;
        self.took = began.elapsed();
        self.status.rounds.send_modify(|rounds| *rounds += 1);
        match read {
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
        // What it says holds for this moment at the least: what is sent while n8n answers may have changed by then.
        let now = self.clock.now();
        let ring = self.keys.ring().clone();
        let names_of = |value: &[u8]| ring.names(value);
        let (mut inventory, mut workflows) = (Builder::new(&names_of), Gathered::default());
        let take = |workflow: documents::Workflow| {
            inventory.add(&workflow);
            workflows.add(&workflow);
        };
        self.client.workflows(take).await?;
        let apart = self.client.date().map_or(0, |date| Look::apart(date, self.clock.now()));
        let mut gaps = self.read_records(&mut inventory).await?;
        let inventory = Arc::new(inventory.finish());
        self.missed.clear();
        self.know(workflows.found, workflows.left_out);
        gaps.extend(self.read_executions().await);
        let look = self.look(&inventory, now, apart);
        self.ledger.look_came(&look);
        self.tell_written();
        let left = self.left();
        let mut seen = self.status.lock();
        // What the presses lack is told by themselves.
        gaps.extend(seen.gaps.drain(..).filter(|gap| gap.what == Untold::Keys));
        (seen.gaps, seen.read, seen.inventory, seen.look) = (gaps, Some(now), Some(inventory), Some(look));
        seen.left = left;
        Ok(())
    }

    /// The records' names stand in the nodes as well, so it goes on without. Gives what the key lacks.
    async fn read_records(&self, inventory: &mut Builder<'_>) -> Result<Vec<Gap>, ClientError> {
        match self.client.credentials(|record: CredentialRecord| inventory.add_record(&record)).await {
            Ok(()) => {
                inventory.note_records_listed();
                Ok(Vec::new())
            }
            Err(error @ (ClientError::NotInThisVersion { .. } | ClientError::ScopeLacks { .. })) => {
                Ok(vec![Gap { what: Untold::Records, why: error.to_string() }])
            }
            Err(error) => Err(error),
        }
    }

    /// Names do not depend on the executions, so it goes on without them, and does not wait for them for long.
    async fn read_executions(&mut self) -> Vec<Gap> {
        let now = self.clock.now();
        let read = tokio::time::timeout(EXECUTIONS_WITHIN, self.executions.read(&self.aside, now)).await;
        let late = |_elapsed| format!("n8n did not tell its executions within {EXECUTIONS_WITHIN:?}");
        let Gaps { list, unfinished } = read.unwrap_or_else(|elapsed| Gaps::all(late(elapsed)));
        let gap = |what, why: Option<String>| why.map(|why| Gap { what, why });
        [gap(Untold::Executions, list), gap(Untold::Unfinished, unfinished)].into_iter().flatten().collect()
    }

    /// Which records have a key that `keyward n8n connect` put in. Where that cannot be read, it proves nothing.
    fn tell_written(&self) {
        let Some(folder) = self.keys.folder() else { return };
        let written = connections::written(folder).unwrap_or_default();
        for one in written.iter().filter(|one| *one.n8n == *self.status.url) {
            self.ledger.key_was_written(&self.status.name, &one.credential, Timestamp::from_millis(one.changed));
        }
    }

    /// Which records `keyward n8n disconnect` had lead past keyward. Where that cannot be read, requests show it.
    fn left(&self) -> Vec<Left> {
        let left = self.keys.folder().and_then(|folder| connections::left(folder).ok()).unwrap_or_default();
        left.into_iter().filter(|one| *one.n8n == *self.status.url).collect()
    }

    /// What of all that matters to the ledger.
    fn look(&self, inventory: &Inventory, at: Timestamp, apart: i64) -> Arc<Look> {
        let before = self.status.look();
        let mut look = look(inventory, before.as_deref(), &self.status.name, at, apart);
        look.executions.clone_from(self.executions.listed());
        look.unfinished = self.executions.unfinished().to_vec();
        self.status.with_presses(|presses| presses.put_into(&mut look));
        Arc::new(look)
    }

    /// Asks for each workflow that a request named and that has no name yet. Fails where the whole list has to be read for
    /// it, or n8n is in trouble.
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
        self.registry.put_back(&self.instance.name, &later);
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
        let mut seen = self.status.lock();
        seen.lacks_key = matches!(error, ClientError::Key { .. } | ClientError::KeyRefused { .. });
        seen.trouble = Some(text.clone());
        drop(seen);
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
    /// An id that no request can name needs no name.
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
    let record = node.credentials.get(CREDENTIAL_TYPE).or_else(|| node.credentials.values().next());
    let record = record.map(|record| record.name.as_str()).filter(|name| !name.is_empty());
    Node::new(&node.id, &node.name, &node.kind, record)
}

/// What the executions and the presses are asked for within: less than all workflows take.
const ASIDE: Bounds = Bounds {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(10),
    list: Duration::from_secs(20),
    answer_size: 16 << 20,
    list_size: 64 << 20,
    pages: 100,
};

/// How long one look waits for the executions.
const EXECUTIONS_WITHIN: Duration = Duration::from_secs(30);

/// How soon n8n is looked at again for an answer, at the least, and in times of what a look takes.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
const PART_OF_THE_TIME: u32 = 20;

/// How soon ids without a name are asked for again.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::source::Source;
    use crate::n8n::address::Address;
    use crate::n8n::status::Seen;
    use crate::net::origin::{Scheme, Upstream};

    fn status() -> Status {
        let origin = Upstream { scheme: Scheme::Http, host: "n8n".into(), port: 80 };
        Status::new(&Instance {
            name: "main".into(),
            url: Address { origin, path: "".into() },
            api_key: Source::Env("N8N_API_KEY".into()),
            set: None,
            refresh: Duration::from_mins(5),
            keyward: None,
            press: true,
            via: None,
        })
    }

    #[test]
    fn who_wants_to_know_more_waits_for_the_next_look_and_not_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let status = status();
        runtime.block_on(async {
            let looking = async {
                status.again.notified().await;
                // One that had begun before ends first.
                status.rounds.send_modify(|rounds| *rounds += 1);
                tokio::task::yield_now().await;
                status.is_wanted.store(false, Ordering::Relaxed);
                status.rounds.send_modify(|rounds| *rounds += 1);
            };
            tokio::join!(status.look_again(Duration::from_hours(1)), looking);
            assert!(status.takes_demand() && !status.takes_demand(), "its tests are pressed once for that");
            status.look_again(Duration::from_millis(1)).await;
        });
    }

    #[test]
    fn what_is_not_told_is_said_once() {
        let gap = |what, why: &str| Gap { what, why: why.to_owned() };
        let gaps = vec![gap(Untold::Executions, "late"), gap(Untold::Unfinished, "late"), gap(Untold::Records, "old")];
        assert_eq!(Seen { gaps, ..Seen::default() }.lacks().as_deref(), Some("late; old"));
        assert_eq!(Seen::default().lacks(), None);
        let status = status();
        status.say_of_presses(Some("no scope".to_owned()));
        status.say_of_presses(Some("no scope".to_owned()));
        assert_eq!(status.seen().lacks().as_deref(), Some("no scope"));
        status.say_of_presses(None);
        assert_eq!(status.seen().lacks(), None);
    }
}
