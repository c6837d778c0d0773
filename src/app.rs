//! Puts the concerns together, starts them, and ends them in order.

mod observed;
mod pollers;
mod reload;
mod standing;
mod subjects;
mod systemd;
mod upkeep;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use ring::rand::{SecureRandom, SystemRandom};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::observed::Observed;
use self::pollers::Pollers;
pub use self::reload::Reread;
use self::reload::{Changeable, Reloading};
use self::standing::Standing;
use self::subjects::Subjects;
use self::systemd::Sockets;
use self::upkeep::{Readings, Upkeep};
use crate::access_log::Style;
use crate::access_log::repeats::Repeats;
use crate::admin::Admin;
use crate::admin::access::{Access, TokenError};
use crate::admin::exposition::{Exposition, Sources};
use crate::admin::looks::looks;
use crate::admin::reload::Wish;
use crate::admin::state::AdminState;
use crate::admin::viewer::Viewer;
use crate::admin::wrong_tokens::WrongTokens;
use crate::caller::registry::Registry;
use crate::check::gateways::gateways;
use crate::check::{self, Finding, Gravity};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::exchange::context::{Parts, Shared, WorkerContext};
use crate::keys::command;
use crate::keys::reloader::{Reloader, Trouble};
use crate::keys::state::{self, Hold, StateError, StateFolder};
use crate::ledger::Ledger;
use crate::ledger::binding::Binding;
use crate::ledger::query::Query;
use crate::ledger::writer::{Running, Status as StoreStatus, Writer};
use crate::metrics::{AdminCounts, Reloads, Shard};
use crate::net::client_tls;
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::{Connector, ProxyHop};
use crate::net::egress_proxy::EgressProxy;
use crate::net::origin::Scheme;
use crate::net::socket::{give_up_after, keep_alive};
use crate::notices::notifier::Notifier;
use crate::notices::status::{Command, Notices};
use crate::problems::Problems;
use crate::problems::recalled::Last;
use crate::recorder::Recorder;
use crate::server::Settings as ProxySettings;
use crate::server::Stage;
use crate::server::admission::Admission;
use crate::server::connections::Connections;
use crate::server::handshake::Handshake;
use crate::server::worker::Worker;
use crate::server::{lifecycle, listener};
use crate::telemetry::event::with_causes;
use crate::telemetry::masked::mask_keys;
use crate::telemetry::tap::Tap;
use crate::telemetry::writer::{Log, LogCounts};
use crate::telemetry::{Format, Settings as LogSettings};
use crate::upstream::dialer::Dialer;
use crate::upstream::open_connections::OpenConnections;
use crate::upstream::pool::Pool;
use crate::welcome;
use crate::{admin, n8n, tasks, telemetry};

/// Those who want the configuration taken anew.
type Wishes = mpsc::Receiver<Wish>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hello {
    /// It says where it listens, for whom, and what to put into n8n.
    Said,
    /// The caller says what there is to say.
    Left,
}

/// A keyward that runs: its workers, its admin listener, and all that goes on beside the requests.
pub struct Server {
    stage: watch::Sender<Stage>,
    workers: Vec<JoinHandle<()>>,
    /// The admin listener, the upkeep and who tells the receivers of notices.
    others: Vec<JoinHandle<()>>,
    pollers: Pollers,
    standing: Standing,
    shared: Arc<Shared>,
    readings: Readings,
    notices: Arc<Notices>,
    kept: KeptToTheEnd,
}

/// What ends when all the rest has.
struct KeptToTheEnd {
    ledger: Running,
    log: Log,
    /// Until all that writes to the state folder has ended.
    _hold: Option<Hold>,
}

/// Serves until a signal says to stop: the first drains, a second ends at once. SIGHUP reopens the log file, reads the keys
/// and the certificate again, and takes other receivers of notices from the settings.
pub fn serve(config: &Config, reread: &Reread) -> anyhow::Result<()> {
    leave_no_core_dump();
    // A debug build may be looked into: by a debugger, and by the tests that look for keys left in its memory.
    if !cfg!(debug_assertions) {
        keep_memory_private();
    }
    let sockets = Sockets::take()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    // Before the first line is said: a program that reads it may send a signal at once, and must not kill by it.
    let signals = runtime.block_on(async { Signals::catch() })?;
    let (mut server, wishes) = Server::start_on(sockets, config, Clock::System, Hello::Said)?;
    telemetry::report_panics();
    systemd::say_ready();
    runtime.block_on(server.heed(signals, wishes, Reloading::new(config, reread)));
    server.join();
    Ok(())
}

/// Lets no core dump hold a key. Where the system does not allow that, keyward serves all the same.
fn leave_no_core_dump() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
}

/// Lets no other process of the same user read a key out of the memory, nor a program that takes core dumps, which is called
/// whatever the limit is (core(5)). Where the system does not allow that, keyward serves all the same.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The signals that keyward heeds, caught from now on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Server {
    /// Opens everything first, so that whatever is wrong is said before anything runs.
    pub fn start(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        Ok(Self::start_on(Sockets::default(), config, clock, Hello::Said)?.0)
    }

    /// As [`Server::start`], without a hello: the one who shows this keyward says what it is. The clock is that of a story, so links
    /// and sessions of browsers last by the machine's own.
    pub fn start_silently(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        Ok(Self::start_on(Sockets::default(), config, clock, Hello::Left)?.0)
    }

    /// With the server come the wishes for other settings. Without one who hears them, the settings stay as they are.
    fn start_on(sockets: Sockets, config: &Config, clock: Clock, hello: Hello) -> anyhow::Result<(Self, Wishes)> {
        let config = &sockets.settle(config)?;
        let log = open_log(config)?;
        telemetry::install(&config.log, log.lane(config.proxy.workers), clock.clone());
        let bound = Bound::bind(config, sockets)?;
        let hold = hold_folder(&config.state)?;
        let (ledger, mut writer) = open_ledger(config, &clock)?;
        let history = writer.open(state::fingerprint_key_name(&config.state.dir));
        command::run_all(config.keys.commands());
        let (reloader, troubles) =
            Reloader::open(&config.keys, &config.state, history, check::fault_of_key, clock.clone())?;
        let clock_of_doors = if hello == Hello::Left { Clock::System } else { clock.clone() };
        let open_access = || Access::open(&config.admin, &config.state, clock_of_doors);
        let access = bound.admin.as_ref().map(|_| open_access()).transpose().context("admin.token_file")?;
        let (access, no_token) = access.unzip();
        let no_token = no_token.flatten();
        let gateways = gateways();
        refuse_to_start(&check::reasons_not_to_start(config, &troubles, &gateways))?;
        let reloader = reloader.with_rules(config.rules.clone());
        reloader.know_sets(&ledger.sets());
        let standing = Standing { listen: bound.listen, admin: bound.admin_address, handed_over: bound.handed_over };
        if hello == Hello::Said {
            standing.say_welcome(config, &reloader, &log);
        }
        let page = standing.page(config, &reloader);
        let findings = check::examine(config, &gateways, clock.now());
        let few = check::few_descriptors(&config.proxy.limits, getrlimit(Resource::Nofile).current);
        tell_troubles(config, &troubles, no_token.as_ref(), findings.iter().chain(&few));
        upkeep::save(&reloader, true);
        let shared = Arc::new(share(config, reloader, ledger, writer.status(), clock, page)?);
        recall_problems(&shared);
        let (notices, asked) = Notices::new(shared.clock.clone());
        let notices = Arc::new(notices);
        let readings = readings(&shared, &bound, access);
        let (stage, watched) = watch::channel(Stage::Running);
        let store = config.store.file(&config.state.dir);
        let hosts = n8n::clearance::hosts_of(bound.listen);
        let mut pollers = Pollers::new(&shared, store, watched, hosts);
        pollers.take(&config.n8n)?;
        let upkeep = Upkeep::new(
            readings.clone(),
            &troubles,
            no_token.as_ref(),
            observed(&shared, &log, &pollers, &readings, &notices),
        );
        let kept = KeptToTheEnd { ledger: writer.start(Arc::clone(&shared.reloader))?, log, _hold: hold };
        let concerns = Concerns { readings, upkeep, kept, pollers, standing, stage, notices: (notices, asked) };
        Self::run(config, &shared, bound, concerns)
    }

    fn run(config: &Config, shared: &Arc<Shared>, bound: Bound, concerns: Concerns) -> anyhow::Result<(Self, Wishes)> {
        let Concerns { readings, upkeep, kept, pollers, standing, stage, notices: (notices, commands) } = concerns;
        let watched = stage.subscribe();
        let tap = Tap::new();
        let team = Team::new(config, shared, &bound, &kept.log, &tap)?;
        let counts = Arc::<AdminCounts>::default();
        let viewer = Arc::new(Viewer { shared: Arc::clone(shared), n8n: pollers.asked() });
        let (reloads, wishes) = admin::reload::Reloads::new();
        let notifier = notifier(config, &viewer, bound.admin_address, (Arc::clone(&notices), commands))?;
        let admin = |access: &Arc<Access>| AdminState {
            settings: config.admin.clone(),
            access: Arc::clone(access),
            wrong_tokens: WrongTokens::new(Arc::clone(&counts), shared.clock.clone()),
            exposition: Exposition::new(Sources {
                n8n: pollers.asked(),
                ..team.sources(shared, kept.log.counts(), &tap, &readings.reloads, (&counts, &notices))
            }),
            counts: Arc::clone(&counts),
            stage: watched.clone(),
            shared: Arc::clone(shared),
            tap: tap.clone(),
            log: kept.log.counts(),
            reloads: reloads.clone(),
            viewer: Arc::clone(&viewer),
            notices: Arc::clone(&notices),
            base_url: welcome::base_url(&welcome::origin(config.proxy.tls.scheme().name(), bound.listen)),
            began: shared.clock.now(),
        };
        let admin = bound.admin.zip(readings.access.as_ref().map(admin));
        let admin = admin.map(|(listener, admin)| Admin { listener, admin: Arc::new(admin) });
        let admin = admin.map(|admin| answer(admin, &watched)).transpose()?;
        let workers = team.start(&bound.listener, &watched)?;
        let notifier = tasks::run("notices".into(), {
            let watched = watched.clone();
            move || notifier.run(watched)
        })?;
        let upkeep = tasks::run("upkeep".into(), move || upkeep.run(watched))?;
        let others = admin.into_iter().chain([notifier, upkeep]).collect();
        let shared = Arc::clone(shared);
        Ok((Self { stage, workers, others, pollers, standing, shared, readings, notices, kept }, wishes))
    }

    /// A link that shows this keyward in a browser, once; nothing where no browser could be let in.
    #[must_use]
    pub fn page_link(&self) -> Option<String> {
        let secret = self.readings.access.as_ref()?.make_own_link().ok()??;
        Some(format!("http://{}/open/{}", self.standing.admin?, &*secret))
    }

    /// The address on which it listens for clients, with the port that it got.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.standing.listen
    }

    /// Where the admin listener is.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.standing.admin
    }

    /// Asks the ledger, as of that moment.
    #[must_use]
    pub fn query(&self, now: Timestamp) -> Query<'_> {
        Query::new(&self.shared.ledger, &self.shared.reloader, now).with_names(self.shared.names.snapshot())
    }

    /// What is remembered of callers.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// The log, for what is said beside the exchanges.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.kept.log
    }

    /// Reads keys, tokens and the certificate again now, and says what is wrong with them.
    pub fn reload(&self) {
        self.readings.look_again();
    }

    /// No new clients; those that are here finish, within the time for it.
    pub fn drain(&self) {
        self.stage.send_if_modified(|stage| {
            let is_running = *stage == Stage::Running;
            if is_running {
                *stage = Stage::Draining;
            }
            is_running
        });
    }

    /// Cuts the connections that are still open; [`Server::drain`] lets them finish.
    pub fn end(&self) {
        self.stage.send_replace(Stage::Ended);
    }

    /// Waits for the workers to finish, then ends the rest. The log comes last: it has the last word.
    pub fn join(self) {
        let log = self.finish();
        tracing::info!(event = "stopped", "keyward has stopped");
        log.close(LAST_WORDS);
    }

    /// As [`Server::join`], without a farewell.
    pub fn join_silently(self) {
        self.finish().close(LAST_WORDS);
    }

    fn finish(self) -> Log {
        for worker in self.workers {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
        self.stage.send_replace(Stage::Ended);
        for other in self.others {
            let _ = other.join();
        }
        self.pollers.join();
        upkeep::save(&self.readings.reloader, true);
        self.kept.ledger.close(LAST_WRITES);
        self.kept.log
    }

    async fn heed(&mut self, mut signals: Signals, mut wishes: Wishes, mut reloading: Reloading<'_>) {
        let sets_at_start = self.shared.ledger.sets().len();
        while !self.workers.iter().all(JoinHandle::is_finished) {
            tokio::select! {
                _ = signals.terminate.recv() => self.stop(),
                _ = signals.interrupt.recv() => self.stop(),
                _ = signals.hang_up.recv() => {
                    self.kept.log.counts().reopen();
                    self.reload();
                    reloading.take_receivers(&self.notices);
                }
                Some(wish) = wishes.recv() => {
                    let mut changeable = Changeable {
                        shared: &self.shared,
                        readings: &self.readings,
                        notices: &self.notices,
                        pollers: &mut self.pollers,
                        standing: &self.standing,
                        sets_at_start,
                    };
                    // One that has gone meanwhile is answered by the log.
                    let _ = wish.answer.send(reloading.reload(wish.is_dry_run, &mut changeable));
                }
                () = tokio::time::sleep(LOOK_FOR_THE_END), if *self.stage.borrow() != Stage::Running => {}
            }
        }
    }

    fn stop(&self) {
        if *self.stage.borrow() == Stage::Running {
            tracing::info!(event = "draining", "no new clients; a second signal ends at once");
            systemd::say_stopping();
            self.drain();
        } else {
            tracing::warn!(event = "ending", "a second signal: what is open is cut");
            self.end();
        }
    }
}

/// What runs beside the workers, before it does.
struct Concerns {
    readings: Readings,
    upkeep: Upkeep,
    kept: KeptToTheEnd,
    pollers: Pollers,
    standing: Standing,
    stage: watch::Sender<Stage>,
    notices: (Arc<Notices>, mpsc::UnboundedReceiver<Command>),
}

/// The listeners, where they came to listen, and the way to upstream.
struct Bound {
    admission: Arc<Admission>,
    connector: Connector,
    listener: std::net::TcpListener,
    listen: SocketAddr,
    admin: Option<std::net::TcpListener>,
    admin_address: Option<SocketAddr>,
    /// Which of them were not opened here.
    handed_over: Option<&'static str>,
}

impl Bound {
    fn bind(config: &Config, mut sockets: Sockets) -> anyhow::Result<Self> {
        let admission = Arc::new(Admission::new(handshake(&config.proxy)?, config.proxy.limits));
        let connector = connector(&config.proxy)?;
        let handed_over = sockets.describe();
        let listener = sockets.clients(|| bind(config.proxy.listen, "proxy.listen"))?;
        // Of a listener that was handed over as well.
        keep_alive(&listener);
        give_up_after(&listener, config.proxy.limits.client_stall_timeout);
        let open_admin = || config.admin.listen.map(|address| bind(address, "admin.listen")).transpose();
        let admin = sockets.admin(open_admin)?;
        let listen = listener.local_addr()?;
        let admin_address = admin.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
        Ok(Self { admission, connector, listener, listen, admin, admin_address, handed_over })
    }
}

/// The workers before they run.
struct Team {
    workers: Arc<[Arc<Worker>]>,
    inboxes: Vec<mpsc::Receiver<(std::net::TcpStream, std::net::IpAddr)>>,
}

fn style(settings: &LogSettings) -> Style {
    Style {
        format: settings.resolved_format(),
        level: settings.level,
        palette: settings.palette(),
        columns: settings.columns(),
    }
}

impl Team {
    fn new(config: &Config, shared: &Arc<Shared>, bound: &Bound, log: &Log, tap: &Tap) -> anyhow::Result<Self> {
        let sets = shared.ledger.sets().len();
        let style = style(&config.log);
        let repeats = Arc::new(Repeats::default());
        let mut inboxes = Vec::new();
        let mut workers = Vec::new();
        for number in 0..config.proxy.workers {
            let (inbox, receiver) = mpsc::channel(INBOX);
            let counters = Arc::new(Shard::new(sets));
            let shutting_down = Arc::new(AtomicBool::new(false));
            let recorder = Recorder {
                counters: Arc::clone(&counters),
                ledger: Arc::clone(&shared.ledger),
                lane: log.lane(number),
                style,
                repeats: Arc::clone(&repeats),
                tap: tap.clone(),
                names: Arc::clone(&shared.names),
                problems: Arc::clone(&shared.problems),
                clock: shared.clock.clone(),
                reloader: Arc::clone(&shared.reloader),
                shutting_down: Arc::clone(&shutting_down),
            };
            let coarse_clock = CoarseClock::new();
            let dialer = Dialer {
                connector: bound.connector.clone(),
                limits: config.proxy.limits,
                counters: Arc::clone(&counters),
                coarse_clock: coarse_clock.clone(),
                open: OpenConnections::default(),
            };
            let pool = Pool::new(dialer, config.proxy.upstream_protocol());
            let parts = Parts {
                pool,
                counters,
                coarse_clock,
                observer: Arc::new(recorder),
                shutting_down,
                seed: random_number()?,
            };
            let context = Arc::new(WorkerContext::new(Arc::clone(shared), parts));
            let connections = Arc::new(Connections::new(Arc::clone(&context), Arc::clone(&bound.admission)));
            workers.push(Arc::new(Worker { context, connections, inbox }));
            inboxes.push(receiver);
        }
        Ok(Self { workers: workers.into(), inboxes })
    }

    fn sources(
        &self,
        shared: &Arc<Shared>,
        log: LogCounts,
        tap: &Tap,
        reloads: &Arc<Reloads>,
        (admin, notices): (&Arc<AdminCounts>, &Arc<Notices>),
    ) -> Sources {
        Sources {
            workers: Arc::clone(&self.workers),
            shared: Arc::clone(shared),
            log,
            tap: tap.clone(),
            reloads: Arc::clone(reloads),
            admin: Arc::clone(admin),
            n8n: Arc::default(),
            notices: Arc::clone(notices),
        }
    }

    fn start(
        self,
        listener: &std::net::TcpListener,
        stage: &watch::Receiver<Stage>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let start = |(number, inbox)| {
            let (workers, stage, listener) = (Arc::clone(&self.workers), stage.clone(), listener.try_clone()?);
            let worker = Arc::clone(&workers[number]);
            let run = async move || match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => lifecycle::run(worker, workers, listener, inbox, stage).await,
                Err(error) => tracing::error!(%error, "a worker cannot listen"),
            };
            Ok(tasks::run(format!("worker-{number}"), run)?)
        };
        self.inboxes.into_iter().enumerate().map(start).collect()
    }
}

/// Starts the admin listener, and beside it those who draw its answers. Nothing waits for them at the end: what they draw then
/// is for no client.
fn answer(admin: Admin, stage: &watch::Receiver<Stage>) -> io::Result<JoinHandle<()>> {
    let (looks, looking) = looks(&admin.admin);
    let stage = stage.clone();
    drop(tasks::run("looks".into(), move || looking.run(stage))?);
    tasks::run("admin".into(), move || admin.run(looks))
}

/// Who tells the receivers of notices. It runs where there is none as well: a reload may bring one.
fn notifier(
    config: &Config,
    viewer: &Arc<Viewer>,
    admin: Option<SocketAddr>,
    notices: (Arc<Notices>, mpsc::UnboundedReceiver<Command>),
) -> anyhow::Result<Notifier> {
    let page = admin.map(|address| format!("http://{address}/").into());
    let store = config.store.file(&config.state.dir);
    let observer = Box::new(Subjects::new(Arc::clone(viewer)));
    let clock = viewer.shared.clock.clone();
    Ok(Notifier::new(config.notices.clone(), observer, store, notices, clock, (page, random_number()?)))
}

fn share(
    config: &Config,
    reloader: Reloader,
    ledger: Arc<Ledger>,
    status: Arc<StoreStatus>,
    clock: Clock,
    page: Bytes,
) -> anyhow::Result<Shared> {
    let (store, sets) = (config.store.file(&config.state.dir), reloader.ring().sets().len());
    Ok(Shared {
        reloader: Arc::new(reloader),
        ledger,
        names: Arc::new(Registry::new(n8n::remembered(&config.n8n, store.as_deref()))),
        store: status,
        problems: Arc::new(Problems::new(sets)),
        clock,
        host: HeaderValue::from_str(&config.proxy.upstream.authority()).context("proxy.upstream")?,
        base_path: config.proxy.base_path.clone(),
        upstream: config.proxy.upstream.to_string().into(),
        page: ArcSwap::from_pointee(page),
        limits: config.proxy.limits,
    })
}

/// What is read again while keyward runs.
fn readings(shared: &Shared, bound: &Bound, access: Option<Access>) -> Readings {
    let readings = Readings {
        reloader: Arc::clone(&shared.reloader),
        problems: Arc::clone(&shared.problems),
        clock: shared.clock.clone(),
        certificate: bound.admission.handshake.certificate().cloned(),
        access: access.map(Arc::new),
        reloads: Arc::default(),
        files_changed: Arc::default(),
    };
    readings.reloads.began_with(shared.clock.now());
    readings
}

/// What upstream said, and whether it was there, before the start.
fn recall_problems(shared: &Shared) {
    for (set, key, since) in shared.reloader.refused_currents() {
        shared.problems.recall_refused(set, key, since);
    }
    let bindings = shared.ledger.bindings();
    let last = |binding: &Arc<Binding>| {
        let latest = binding.memory().latest?;
        Some(Last { binding: binding.id(), set: binding.set(), latest })
    };
    let last: Vec<_> = bindings.iter().filter_map(last).collect();
    let failed = |since| shared.ledger.with_hours(|hours| hours.failed_since(since));
    shared.problems.recall_last(&last, &shared.reloader.entries(), failed);
}

/// What upkeep looks at beside what it reads.
fn observed(shared: &Shared, log: &Log, pollers: &Pollers, readings: &Readings, notices: &Arc<Notices>) -> Observed {
    Observed {
        store: Arc::clone(&shared.store),
        ledger: Arc::clone(&shared.ledger),
        log: log.counts(),
        n8n: pollers.asked(),
        certificate: readings.certificate.clone(),
        notices: Arc::clone(notices),
        keys: Arc::clone(&shared.reloader),
    }
}

/// The ledger, and what brings it into its store. The sets stand in the order of the settings, as in the ring.
fn open_ledger(config: &Config, clock: &Clock) -> anyhow::Result<(Arc<Ledger>, Writer)> {
    let sets = config.keys.sets.iter().map(|set| Arc::from(&*set.name)).collect();
    let (settings, configured) = config.rotation();
    let ledger = Arc::new(Ledger::new(config.store.bounds, sets).with_rotation(settings, configured));
    let (file, number) = (config.store.file(&config.state.dir), random_number()?);
    let writer = Writer::new(Arc::clone(&ledger), file, config.store.retention, clock.clone(), number);
    Ok((ledger, writer))
}

/// Takes the state folder for this keyward alone. Where the folder cannot be used, that is told by what needs it.
fn hold_folder(settings: &state::Settings) -> Result<Option<Hold>, StateError> {
    let begun = Instant::now();
    let hold = loop {
        match StateFolder::open(settings).and_then(|folder| folder.hold()) {
            // A command that writes the store holds the folder for a moment.
            Err(StateError::Held { .. }) if begun.elapsed() < MOMENT => std::thread::sleep(MOMENT / 20),
            hold => break hold,
        }
    };
    match hold {
        Ok(hold) => Ok(Some(hold)),
        Err(error @ StateError::Held { .. }) => Err(error),
        Err(error) => {
            if matches!(error, StateError::Io { action: "locked", .. }) {
                let why = with_causes(&error);
                tracing::warn!(event = "state", "nothing keeps a second keyward from this state folder: {why}");
            }
            Ok(None)
        }
    }
}

/// Says in the log what is wrong and does not keep keyward from starting.
fn tell_troubles<'a>(
    config: &Config,
    troubles: &[Trouble],
    no_token: Option<&TokenError>,
    findings: impl Iterator<Item = &'a Finding>,
) {
    for name in &config.ignored {
        let variable = &*mask_keys(name);
        tracing::warn!(event = "environment", variable, "the variable {variable} is no setting and is ignored");
    }
    for trouble in troubles {
        tracing::error!(event = "keys", "{}", with_causes(trouble));
    }
    if let Some(trouble) = no_token {
        tracing::error!(event = "admin", "the admin listener accepts no token: {}", with_causes(trouble));
    }
    // A key that cannot be read was told above.
    for finding in findings.filter(|finding| finding.gravity == Gravity::Warning) {
        tracing::warn!(event = "check", "{finding}");
    }
}

fn refuse_to_start(reasons: &[String]) -> anyhow::Result<()> {
    ensure!(
        reasons.is_empty(),
        "it would not be safe to start:\n  {}\nPut that right (`keyward check` tells of all the rest as well), or let the set observe",
        reasons.join("\n  ")
    );
    Ok(())
}

fn open_log(config: &Config) -> anyhow::Result<Log> {
    let lanes = match config.log.resolved_format() {
        Format::Json => config.proxy.workers + 1,
        // One lane keeps the lines of all workers in their order, which people follow.
        Format::Human => 1,
    };
    Log::start(config.log.file.clone(), lanes).with_context(|| match &config.log.file {
        Some(path) => format!("cannot write the log to {} (log.file)", path.display()),
        None => "cannot write the log".to_owned(),
    })
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<std::net::TcpListener> {
    listener::listen(address).map_err(|error| {
        let is = |kind| error.kind() == kind;
        let hint = if is(io::ErrorKind::AddrInUse) {
            "; is another keyward, or another program, there already?"
        } else if is(io::ErrorKind::PermissionDenied) {
            "; a port below 1024 may need a privilege"
        } else if is(io::ErrorKind::AddrNotAvailable) {
            "; this machine has no such address"
        } else {
            ""
        };
        anyhow::Error::new(error).context(format!("cannot listen on {address} ({setting}){hint}"))
    })
}

/// The way in for clients.
pub fn handshake(proxy: &ProxySettings) -> anyhow::Result<Handshake> {
    Handshake::open(proxy).context("cannot speak TLS to clients (tls.cert, tls.key)")
}

/// What makes connections to upstream. Fails where TLS to upstream, or to the proxy on the way, cannot be set up.
pub fn connector(proxy: &ProxySettings) -> anyhow::Result<Connector> {
    let tls = match proxy.upstream.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            Some(client_tls::client(&proxy.upstream, proxy.upstream_ca.as_deref()).with_context(|| {
                format!("cannot speak TLS to {} (proxy.upstream, proxy.upstream_ca)", proxy.upstream)
            })?)
        }
    };
    let via = proxy.via.as_ref().map(hop).transpose()?;
    Ok(Connector { origin: proxy.upstream.clone(), tls, via })
}

fn hop(via: &EgressProxy) -> anyhow::Result<ProxyHop> {
    ProxyHop::new(via).with_context(|| format!("cannot speak TLS to the proxy {via} ({})", via.named_by))
}

/// A number that no other keyward has.
pub fn random_number() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// How many clients may be on their way from one worker to another.
const INBOX: usize = 1024;

/// How long a command may hold the state folder.
const MOMENT: Duration = Duration::from_secs(1);

/// How often a stopping keyward looks whether its workers are done.
const LOOK_FOR_THE_END: Duration = Duration::from_millis(10);

/// How long the store may take for what is left.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// How long the log may take for its last lines.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_program_reads_keys_out_of_the_memory() {
        leave_no_core_dump();
        keep_memory_private();
        assert_eq!(rustix::process::dumpable_behavior().expect("linux"), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
