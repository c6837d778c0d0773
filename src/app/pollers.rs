//! Those who ask each n8n, each on a thread of its own. A reload brings others, and ends those of before.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::{oneshot, watch};

use crate::exchange::context::Shared;
use crate::n8n::asked::{Asked, Snapshot};
use crate::n8n::poller::{Poller, Surroundings};
use crate::n8n::{self, Instance};
use crate::server::Stage;
use crate::tasks;

/// Those who ask each n8n.
pub(super) struct Pollers {
    shared: Arc<Shared>,
    store: Option<std::path::PathBuf>,
    stage: watch::Receiver<Stage>,
    /// The addresses under which keyward is reached on its own machine.
    own_hosts: Vec<String>,
    asked: Arc<Asked>,
    running: Vec<Running>,
    /// The threads that were told to leave.
    leaving: Vec<JoinHandle<()>>,
}

struct Running {
    instance: Instance,
    status: Arc<n8n::status::Status>,
    thread: JoinHandle<()>,
    /// Dropped to have it leave.
    _stay: oneshot::Sender<()>,
}

impl Pollers {
    /// Without any yet.
    pub(super) fn new(
        shared: &Arc<Shared>,
        store: Option<std::path::PathBuf>,
        stage: watch::Receiver<Stage>,
        own_hosts: Vec<String>,
    ) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, store, stage, own_hosts, asked: Arc::default(), running: Vec::new(), leaving: Vec::new() }
    }

    /// Which n8n are asked.
    pub(super) fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked)
    }

    /// From now on those are asked. One that is as before goes on as it was.
    pub(super) fn take(&mut self, settings: &n8n::Settings) -> anyhow::Result<()> {
        let mut before = std::mem::take(&mut self.running);
        let mut failed = Ok(());
        for instance in &settings.instances {
            let known = before.iter().position(|running| running.instance == *instance);
            match known.map_or_else(|| self.start(instance), |position| Ok(before.swap_remove(position))) {
                Ok(running) => self.running.push(running),
                Err(error) => failed = Err(error),
            }
        }
        self.leaving.retain(|thread| !thread.is_finished());
        // With the sender of each, its thread is told to leave.
        self.leaving.extend(before.into_iter().map(|running| running.thread));
        self.asked.put(Snapshot {
            statuses: self.running.iter().map(|running| Arc::clone(&running.status)).collect(),
            hosts: [self.own_hosts.clone(), n8n::clearance::hosts_in_settings(&settings.instances).collect()].concat(),
        });
        failed
    }

    /// Waits for all of them, once keyward has ended.
    pub(super) fn join(self) {
        for thread in self.running.into_iter().map(|running| running.thread).chain(self.leaving) {
            let _ = thread.join();
        }
    }

    fn start(&self, instance: &Instance) -> anyhow::Result<Running> {
        let shared = &self.shared;
        let around = Surroundings {
            registry: Arc::clone(&shared.names),
            keys: Arc::clone(&shared.reloader),
            ledger: Arc::clone(&shared.ledger),
            store: self.store.clone(),
            clock: shared.clock.clone(),
        };
        let poller = Poller::new(instance, around).with_context(|| format!("n8n.{}.url", instance.name))?;
        let status = poller.status();
        let (stay, left) = oneshot::channel();
        let thread = ask(poller, self.stage.clone(), left)?;
        Ok(Running { instance: instance.clone(), status, thread, _stay: stay })
    }
}

/// Asks until keyward ends, or the other end of `left` is dropped.
fn ask(poller: Poller, stage: watch::Receiver<Stage>, left: oneshot::Receiver<()>) -> io::Result<JoinHandle<()>> {
    tasks::run("n8n".into(), async move || {
        tokio::select! {
            () = poller.run(stage) => {}
            _ = left => {}
        }
    })
}
