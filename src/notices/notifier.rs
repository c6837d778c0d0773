//! The thread of the notices: it looks at what there is to tell, puts it into the outbox, and sends what waits there. One
//! message at a time is on its way to each receiver.

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::delivery::{self, Blame, DeliveryError, Parcel};
use super::message::{Message, test_body};
use super::outbox::{Outbox, ThreadId, Waiting};
use super::status::{Command, HeartbeatStatus, Notices, ReceiverStatus, Snapshot, message_id, random_hex};
use super::subject::Subject;
use super::thread::{Event, Step, Thread};
use super::{Receiver, ReceiverKind, Settings};
use crate::answers::notice::ReceiverState;
use crate::clock::{Clock, Timestamp};
use crate::problems::kind::ProblemKind;
use crate::server::Stage;
use crate::splitmix::SplitMix64;
use crate::telemetry::event::with_causes;

/// Finds out what there is to tell.
pub trait Observer: Send {
    /// Whether anything may have changed since it was asked last.
    fn has_news(&mut self) -> bool;

    /// All subjects that are there now.
    fn subjects(&mut self) -> Vec<Subject>;

    /// Whether a subject that was told of by an earlier process, and is not there, is certainly over. What keyward does not
    /// know yet after its start is not over.
    fn is_over(&self, subject: &Subject) -> bool;
}

/// Tells the receivers, until keyward has stopped.
pub struct Notifier {
    settings: Settings,
    observer: Box<dyn Observer>,
    outbox: Outbox,
    runs: HashMap<Box<str>, Run>,
    notices: Arc<Notices>,
    commands: mpsc::UnboundedReceiver<Command>,
    clock: Clock,
    page: Option<Box<str>>,
    random: SplitMix64,
    /// The subjects as they were seen last.
    seen: Vec<Subject>,
    looked: Option<Looked>,
    /// When the threads were written last.
    kept: Instant,
    /// Threads that have changed since, with nothing told.
    unkept: HashSet<ThreadId>,
}

#[derive(Clone, Copy)]
struct Looked {
    at: Instant,
    took: Duration,
}

/// How it goes with a receiver.
#[derive(Default)]
struct Run {
    on_its_way: Option<(Box<str>, Sending)>,
    beating: Option<Sending>,
    next_beat: Option<Timestamp>,
    heartbeat: HeartbeatStatus,
    /// Nothing but a test is sent before.
    pause_until: Option<Timestamp>,
    failures_in_a_row: u32,
    is_stopped: bool,
    trouble: Option<Box<str>>,
    sent: u64,
    failures: u64,
    last: Option<Timestamp>,
    tested: Vec<Box<str>>,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send>>;

enum Ended {
    Message(Box<str>, Result<(), DeliveryError>),
    Beat(Result<(), DeliveryError>),
}

// === impl Notifier ===

impl Notifier {
    /// With what the store in that file remembers. `seed` is a number that no other keyward has.
    #[must_use]
    pub fn new(
        settings: Settings,
        observer: Box<dyn Observer>,
        store: Option<PathBuf>,
        (notices, commands): (Arc<Notices>, mpsc::UnboundedReceiver<Command>),
        clock: Clock,
        (page, seed): (Option<Box<str>>, u64),
    ) -> Self {
        let outbox = Outbox::open(store);
        let mut notifier = Self {
            settings: Settings::default(),
            observer,
            outbox,
            runs: HashMap::new(),
            notices,
            commands,
            clock,
            page,
            random: SplitMix64::new(seed),
            seen: Vec::new(),
            looked: None,
            kept: Instant::now(),
            unkept: HashSet::new(),
        };
        notifier.take(settings);
        notifier
    }

    /// Works until keyward has stopped. What has not arrived then stays in the store.
    pub async fn run(mut self, mut stage: watch::Receiver<Stage>) {
        loop {
            let ended = tokio::select! {
                command = self.commands.recv() => {
                    let Some(command) = command else { return };
                    self.obey(command);
                    None
                }
                ended = next_ended(&mut self.runs) => Some(ended),
                () = tokio::time::sleep(TICK), if !self.settings.receivers.is_empty() => None,
                _ = stage.wait_for(|stage| *stage == Stage::Ended) => return,
            };
            if let Some((receiver, ended)) = ended {
                self.note(&receiver, ended);
            }
            self.turn();
        }
    }

    /// Looks, composes, writes and sends: what is done again and again.
    fn turn(&mut self) {
        if self.settings.receivers.is_empty() {
            self.outbox.save();
        } else {
            let now = self.clock.now();
            self.end_mute(now);
            // What is told was looked at just before, for it may be over.
            if self.is_look_due() || self.is_anything_to_tell(now) {
                self.look(now);
            }
            self.compose(now);
            self.outbox.sweep(now);
            self.outbox.save();
            self.send(now);
            self.beat(now);
        }
        self.notices.show(self.snapshot());
    }

    // === What is asked ===

    fn obey(&mut self, command: Command) {
        match command {
            Command::Take(settings) => self.take(settings),
            Command::Mute(until) => self.outbox.mute(until),
            Command::Test { receiver, id } => self.add_test(&receiver, id),
        }
    }

    /// Other settings hold. A receiver that had stopped is tried again.
    fn take(&mut self, settings: Settings) {
        let is_there = |name: &str| settings.receivers.iter().any(|receiver| *receiver.name == *name);
        self.runs.retain(|name, _| is_there(name));
        for run in self.runs.values_mut() {
            (run.is_stopped, run.pause_until, run.failures_in_a_row) = (false, None, 0);
        }
        for receiver in &settings.receivers {
            let run = self.runs.entry(receiver.name.clone()).or_default();
            // It is told now, and not when there is something to tell.
            if let Some((_, fault)) = delivery::faults(receiver).first() {
                let (name, text) = (&*receiver.name, with_causes(fault));
                tracing::warn!(event = "notices", receiver = name, "notices cannot reach `{name}`: {text}");
                run.trouble = Some(text.into());
            }
        }
        let gone: Vec<_> = self
            .outbox
            .messages()
            .filter(|message| !is_there(&message.receiver))
            .map(|message| message.id.clone())
            .collect();
        for id in gone {
            self.outbox.remove(&id);
        }
        for id in self.outbox.thread_ids().iter().filter(|(receiver, _)| !is_there(receiver)) {
            self.outbox.forget_thread(id);
        }
        self.settings = settings;
        self.looked = None;
        self.notices.show(self.snapshot());
    }

    fn add_test(&mut self, name: &str, id: Box<str>) {
        let now = self.clock.now();
        let Some(receiver) = self.settings.receivers.iter().find(|receiver| *receiver.name == *name) else { return };
        let body = test_body(receiver.kind, name, now).into();
        let to = (name.into(), Box::default());
        self.outbox.add(Waiting::new(id, to, Event::Test, ("a test".into(), body), now));
    }

    // === Looking ===

    /// Looks take a fiftieth of one processor at most: 5 ms of each quarter of a second.
    fn is_look_due(&mut self) -> bool {
        let Some(Looked { at, took }) = self.looked else { return true };
        let since = at.elapsed();
        since >= (took * 49).min(LONGEST_PAUSE) && (since >= LOOK_ANYHOW || self.observer.has_news())
    }

    fn look(&mut self, now: Timestamp) {
        let at = Instant::now();
        self.seen = self.observer.subjects();
        self.looked = Some(Looked { at, took: at.elapsed() });
        for receiver in &self.settings.receivers {
            let mut missing: HashSet<ThreadId> = self
                .outbox
                .threads_of(&receiver.name)
                .map(|thread| (receiver.name.clone(), thread.subject.id.clone()))
                .collect();
            let is_wanted = |subject: &&Subject| {
                receiver.wants(subject.topic, subject.set.as_deref()) && !is_about(subject, receiver)
            };
            for subject in self.seen.iter().filter(is_wanted) {
                let id = (receiver.name.clone(), subject.id.clone());
                missing.remove(&id);
                let number = random_hex::<8>().unwrap_or_default();
                let thread = self.outbox.thread(id.clone(), || Thread::new(number.into(), subject, now));
                thread.see(subject, now);
                self.unkept.insert(id);
            }
            for id in missing {
                let Some(thread) = self.outbox.thread_mut(&id) else { continue };
                if !receiver.wants(thread.subject.topic, thread.subject.set.as_deref()) {
                    self.outbox.forget_thread(&id);
                } else if thread.is_seen() || self.observer.is_over(&thread.subject) {
                    thread.miss(now);
                    self.unkept.insert(id);
                }
            }
        }
    }

    // === Composing ===

    fn end_mute(&mut self, now: Timestamp) {
        if self.outbox.muted_until().is_some_and(|until| until <= now) {
            self.outbox.mute(None);
        }
    }

    /// What is due of each subject that is told to that receiver.
    fn steps<'a>(&'a self, receiver: &'a Receiver, now: Timestamp) -> impl Iterator<Item = (&'a Thread, Step)> {
        self.outbox.threads_of(&receiver.name).map(move |thread| (thread, thread.next(&receiver.timing, now)))
    }

    fn is_held(&self, receiver: &Receiver) -> bool {
        self.outbox.muted_until().is_some() || self.runs.get(&receiver.name).is_some_and(|run| run.is_stopped)
    }

    fn is_anything_to_tell(&self, now: Timestamp) -> bool {
        let tells = |receiver: &Receiver| self.steps(receiver, now).any(|(_, step)| matches!(step, Step::Tell(_)));
        self.settings.receivers.iter().any(|receiver| !self.is_held(receiver) && tells(receiver))
    }

    fn compose(&mut self, now: Timestamp) {
        for receiver in &self.settings.receivers {
            let is_held = self.is_held(receiver);
            let steps: Vec<_> = self
                .steps(receiver, now)
                .filter(|(_, step)| *step != Step::Wait)
                .map(|(thread, step)| ((receiver.name.clone(), thread.subject.id.clone()), step))
                .collect();
            for (id, step) in steps {
                match step {
                    // Its last message may yet be given up.
                    Step::Forget if !self.outbox.is_to_be_told(&id) => self.outbox.forget_thread(&id),
                    Step::Tell(event) if !is_held => {
                        tell(&mut self.outbox, receiver, &id, event, now, self.page.as_deref());
                    }
                    Step::Forget | Step::Tell(_) | Step::Wait => {}
                }
            }
        }
        if self.kept.elapsed() >= KEEP_THREADS {
            self.unkept.drain().for_each(|id| self.outbox.keep_thread(&id));
            self.kept = Instant::now();
        }
    }

    // === Sending ===

    fn send(&mut self, now: Timestamp) {
        let is_muted = self.outbox.muted_until().is_some();
        for receiver in &self.settings.receivers {
            let Some(run) = self.runs.get_mut(&receiver.name) else { continue };
            if run.on_its_way.is_some() {
                continue;
            }
            let is_held = is_muted || run.is_stopped || run.pause_until.is_some_and(|until| now < until);
            let next = if is_held {
                self.outbox
                    .waiting_for(&receiver.name)
                    .find(|message| message.event == Event::Test && message.attempts == 0)
            } else {
                self.outbox.next_for(&receiver.name, now)
            };
            let Some(message) = next else { continue };
            let parcel = Parcel { id: message.id.clone(), body: message.body.clone(), at: now };
            let (receiver, proxies) = (receiver.clone(), self.settings.proxies.clone());
            let sending = async move { delivery::post(&receiver, &proxies, &parcel).await };
            run.on_its_way = Some((message.id.clone(), Box::pin(sending)));
        }
    }

    fn beat(&mut self, now: Timestamp) {
        for receiver in &self.settings.receivers {
            let (Some(heartbeat), Some(run)) = (&receiver.heartbeat, self.runs.get_mut(&receiver.name)) else {
                continue;
            };
            if run.beating.is_some() || run.next_beat.is_some_and(|next| now < next) {
                continue;
            }
            run.next_beat = Some(now.after(heartbeat.every));
            let (to, proxies) = (heartbeat.to.clone(), self.settings.proxies.clone());
            run.beating = Some(Box::pin(async move { delivery::beat(&to, &proxies).await }));
        }
    }

    fn note(&mut self, receiver: &str, ended: Ended) {
        let now = self.clock.now();
        let (id, result) = match ended {
            Ended::Message(id, result) => (id, result),
            Ended::Beat(result) => return self.note_beat(receiver, &result, now),
        };
        match result {
            Ok(()) => self.note_arrived(receiver, &id, now),
            Err(error) => self.note_failed(receiver, &id, &error, now),
        }
    }

    fn note_arrived(&mut self, receiver: &str, id: &str, now: Timestamp) {
        let message = self.outbox.messages().find(|message| *message.id == *id);
        let is_test = message.is_some_and(|message| message.event == Event::Test);
        self.outbox.remove(id);
        let gap = self.settings.receivers.iter().find(|known| *known.name == *receiver).map_or(Duration::ZERO, gap);
        let Some(run) = self.runs.get_mut(receiver) else { return };
        if is_test {
            run.tested.push(id.into());
            run.tested.drain(..run.tested.len().saturating_sub(MOST_TESTS));
            self.outbox.forget_failed_tests(receiver);
        }
        if run.trouble.take().is_some() {
            tracing::info!(event = "notices", receiver, "the receiver `{receiver}` takes notices again");
        }
        (run.sent, run.last, run.failures_in_a_row, run.is_stopped) = (run.sent + 1, Some(now), 0, false);
        run.pause_until = (!gap.is_zero()).then(|| now.after(gap));
    }

    fn note_failed(&mut self, receiver: &str, id: &str, error: &DeliveryError, now: Timestamp) {
        let text: Box<str> = with_causes(error).into();
        let Some(run) = self.runs.get_mut(receiver) else { return };
        run.failures += 1;
        if run.trouble.as_ref() != Some(&text) {
            tracing::warn!(event = "notices", receiver, "a notice did not reach `{receiver}`: {text}");
        }
        run.trouble = Some(text.clone());
        let share = u32::try_from(self.random.draw_below(SHARES.into())).unwrap_or_default();
        if let Some(message) = self.outbox.message(id) {
            message.attempts += 1;
            message.fault = Some(text.clone());
            let pause = |attempts| pause(error.retry_after(), attempts, share);
            match error.blame() {
                Blame::Gone => run.is_stopped = true,
                Blame::Message => message.due = now.after(pause(message.attempts)),
                Blame::Receiver => {
                    run.failures_in_a_row += 1;
                    run.pause_until = Some(now.after(pause(run.failures_in_a_row)));
                }
            }
            // A test is for the one who waits for it.
            if now.since(message.made) >= LONGEST || message.event == Event::Test {
                self.outbox.give_up(id, now);
            }
        }
        if error.blame() == Blame::Gone {
            self.give_up_all(receiver, &text, now);
        }
    }

    /// Nothing waits for a receiver that wants nothing.
    fn give_up_all(&mut self, receiver: &str, why: &str, now: Timestamp) {
        let ids: Vec<_> = self.outbox.waiting_for(receiver).map(|message| message.id.clone()).collect();
        for id in ids {
            if let Some(message) = self.outbox.message(&id) {
                message.fault = Some(why.into());
            }
            self.outbox.give_up(&id, now);
        }
        tracing::error!(event = "notices", receiver, "`{receiver}` answers 410 (Gone): it is sent nothing any more");
    }

    fn note_beat(&mut self, receiver: &str, result: &Result<(), DeliveryError>, now: Timestamp) {
        let Some(run) = self.runs.get_mut(receiver) else { return };
        match result {
            Ok(()) => run.heartbeat = HeartbeatStatus { last: Some(now), trouble: None },
            Err(error) => {
                let text: Box<str> = with_causes(error).into();
                if run.heartbeat.trouble.as_ref() != Some(&text) {
                    tracing::warn!(event = "notices", receiver, "the heartbeat of `{receiver}` was not taken: {text}");
                }
                run.heartbeat.trouble = Some(text);
            }
        }
    }

    // === Telling how it goes ===

    fn snapshot(&self) -> Snapshot {
        let in_memory = match self.outbox.trouble() {
            Some(trouble) => Some(trouble.into()),
            None if !self.outbox.has_store() => Some("the store is off (store.url)".into()),
            None => None,
        };
        let receivers = self.settings.receivers.iter().filter_map(|receiver| self.status(receiver)).collect();
        Snapshot { muted_until: self.outbox.muted_until(), in_memory, dropped: self.outbox.dropped(), receivers }
    }

    fn status(&self, receiver: &Receiver) -> Option<ReceiverStatus> {
        let run = self.runs.get(&receiver.name)?;
        let name = &receiver.name;
        let state = match &run.trouble {
            _ if run.is_stopped => ReceiverState::Stopped,
            Some(_) => ReceiverState::Retrying,
            None => ReceiverState::Ok,
        };
        let waiting: Vec<_> = self.outbox.waiting_for(name).cloned().collect();
        let due = waiting.iter().map(|message| message.due).min();
        let given_up = self.outbox.messages().filter(|message| message.receiver == *name && message.given_up.is_some());
        let open = self.outbox.threads_of(name).filter(|thread| thread.is_told_open());
        Some(ReceiverStatus {
            name: name.clone(),
            kind: receiver.kind,
            state,
            trouble: run.trouble.clone(),
            failures_in_a_row: run.failures_in_a_row,
            next: due.map(|due| run.pause_until.map_or(due, |until| until.max(due))).filter(|_| !run.is_stopped),
            sent: run.sent,
            failures: run.failures,
            last: run.last,
            open: open.map(|thread| thread.subject.headline.as_str().into()).collect(),
            given_up: given_up.cloned().collect(),
            waiting,
            tested: run.tested.clone(),
            heartbeat: receiver.heartbeat.as_ref().map(|_| run.heartbeat.clone()),
        })
    }
}

/// Whether a subject says that notices do not reach that very receiver.
fn is_about(subject: &Subject, receiver: &Receiver) -> bool {
    *subject.code == *ProblemKind::NoticesFailing.code() && subject.about == receiver.name
}

/// Puts a message into the outbox.
fn tell(outbox: &mut Outbox, receiver: &Receiver, id: &ThreadId, event: Event, now: Timestamp, page: Option<&str>) {
    let Some(message_id) = message_id() else { return };
    let Some(thread) = outbox.thread_mut(id) else { return };
    let message = Message { event, thread, at: now, page };
    let (title, body) = (message.title().into(), message.body(receiver.kind).into());
    let before = thread.note_told(now);
    outbox.keep_thread(id);
    let waiting = Waiting::new(message_id, id.clone(), event, (title, body), now);
    outbox.add(Waiting { before, ..waiting });
}

/// Waits for the next thing on its way that has ended.
async fn next_ended(runs: &mut HashMap<Box<str>, Run>) -> (Box<str>, Ended) {
    poll_fn(|context| {
        for (name, run) in runs.iter_mut() {
            if let Some((id, sending)) = &mut run.on_its_way
                && let Poll::Ready(result) = sending.as_mut().poll(context)
            {
                let id = std::mem::take(id);
                run.on_its_way = None;
                return Poll::Ready((name.clone(), Ended::Message(id, result)));
            }
            if let Some(beating) = &mut run.beating
                && let Poll::Ready(result) = beating.as_mut().poll(context)
            {
                run.beating = None;
                return Poll::Ready((name.clone(), Ended::Beat(result)));
            }
        }
        Poll::Pending
    })
    .await
}

/// How long after a message the next one may be sent: Slack takes one a second
/// (<https://docs.slack.dev/apis/web-api/rate-limits>).
fn gap(receiver: &Receiver) -> Duration {
    match receiver.kind {
        ReceiverKind::Webhook => Duration::ZERO,
        ReceiverKind::Slack => Duration::from_millis(1_100),
    }
}

/// How long to wait after that many failures. A receiver that asks for a pause is left alone for that long at least; one that
/// goes on asking for short ones, longer.
fn pause(asked: Option<Duration>, failures: u32, share: u32) -> Duration {
    match asked {
        None => back_off(failures, share),
        Some(asked) if failures <= 1 => asked.max(SHORTEST_PAUSE),
        Some(asked) => asked.max(back_off(failures - 1, share)),
    }
}

/// How long to wait after that many failures: 5 s, 15 s, 45 s and so on up to an hour, each a fifth more or less.
fn back_off(failures: u32, share: u32) -> Duration {
    let exact = FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(failures.saturating_sub(1).min(12))).min(LAST_PAUSE);
    exact * 4 / 5 + exact * share / (SHARES * 5 / 2)
}

/// Into how many parts the spread of a pause is cut.
const SHARES: u32 = 1_000;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

const FIRST_PAUSE: Duration = Duration::from_secs(5);

const LAST_PAUSE: Duration = Duration::from_hours(1);

/// After that long, a message is given up.
const LONGEST: Duration = Duration::from_hours(24);

/// How often there is a look whether anything is to be done.
const TICK: Duration = Duration::from_millis(250);

/// What changes by time alone is seen after that long.
const LOOK_ANYHOW: Duration = Duration::from_secs(10);

/// A look that takes long is taken this seldom at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often threads are written to which nothing was told.
const KEEP_THREADS: Duration = Duration::from_secs(10);

/// How many tests that arrived are remembered.
const MOST_TESTS: usize = 20;
