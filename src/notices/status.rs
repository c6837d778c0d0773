//! How the notices are, to be told, and what may be asked of them while keyward runs.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use super::Settings;
use super::outbox::Waiting;
use crate::answers::notice::{self as answers, ReceiverKind, ReceiverState, Test};
use crate::clock::{Clock, Timestamp};
use crate::locks::lock;

/// The notices of a running keyward: how they are, and what is asked of them.
#[derive(Debug)]
pub struct Notices {
    snapshot: Mutex<Snapshot>,
    commands: mpsc::UnboundedSender<Command>,
    clock: Clock,
}

/// How the notices are at a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub muted_until: Option<Timestamp>,
    /// Why nothing of this outlives the process; nothing where the store keeps it.
    pub in_memory: Option<Box<str>>,
    /// How many messages there was no room for.
    pub dropped: u64,
    pub receivers: Vec<ReceiverStatus>,
}

/// What came of the messages to one receiver.
#[derive(Clone, Debug)]
pub struct ReceiverStatus {
    pub name: Box<str>,
    pub kind: ReceiverKind,
    pub state: ReceiverState,
    /// What came of the last attempt, where it did not arrive.
    pub trouble: Option<Box<str>>,
    /// How many attempts have failed since the last one that did not.
    pub failures_in_a_row: u32,
    /// When the next attempt is made.
    pub next: Option<Timestamp>,
    /// Messages that arrived, since the start.
    pub sent: u64,
    /// Attempts that failed, since the start.
    pub failures: u64,
    /// When the last message arrived.
    pub last: Option<Timestamp>,
    /// What the receiver was told of, and is not over.
    pub open: Vec<Box<str>>,
    pub waiting: Vec<Waiting>,
    pub given_up: Vec<Waiting>,
    /// The ids of tests that arrived.
    pub tested: Vec<Box<str>>,
    pub heartbeat: Option<HeartbeatStatus>,
}

/// How a receiver's heartbeat is.
#[derive(Clone, Debug, Default)]
pub struct HeartbeatStatus {
    /// When the monitor last took one.
    pub last: Option<Timestamp>,
    pub trouble: Option<Box<str>>,
}

/// What is asked of the notices.
#[derive(Debug)]
pub enum Command {
    /// Other settings hold.
    Take(Settings),
    /// Tell nothing until then; or again.
    Mute(Option<Timestamp>),
    /// Send that receiver a test under that id.
    Test { receiver: Box<str>, id: Box<str> },
}

/// Why a test cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    #[error("no notices are configured: there is no table [notices.<name>]")]
    NoReceivers,
    #[error("no receiver has that name; there are: {0}")]
    Unknown(String),
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl Notices {
    /// With the other end of what is asked.
    #[must_use]
    pub fn new(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, asked) = mpsc::unbounded_channel();
        (Self { snapshot: Mutex::default(), commands, clock }, asked)
    }

    /// The state as the notifier showed it last.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        lock(&self.snapshot).clone()
    }

    pub(super) fn show(&self, snapshot: Snapshot) {
        *lock(&self.snapshot) = snapshot;
    }

    /// Has the notifier go on with other settings.
    pub fn take(&self, settings: Settings) {
        self.ask(Command::Take(settings));
    }

    /// Tells nothing for so long, not at all where it is zero: gives until when.
    pub fn mute(&self, span: Duration) -> Option<Timestamp> {
        let until = (!span.is_zero()).then(|| self.clock.now().after(span));
        self.ask(Command::Mute(until));
        lock(&self.snapshot).muted_until = until;
        until
    }

    /// Sends a test to that receiver, or to each: gives each one's name and the id of its message.
    pub fn test(&self, name: Option<&str>) -> Result<Vec<Test>, TestError> {
        let known: Vec<_> = lock(&self.snapshot).receivers.iter().map(|receiver| receiver.name.clone()).collect();
        if known.is_empty() {
            return Err(TestError::NoReceivers);
        }
        let asked: Vec<_> = known.iter().filter(|known| name.is_none_or(|name| ***known == *name)).cloned().collect();
        if asked.is_empty() {
            return Err(TestError::Unknown(known.join(", ")));
        }
        let test = |receiver: Box<str>| {
            let id = message_id().ok_or(TestError::NoRandom)?;
            self.ask(Command::Test { receiver: receiver.clone(), id: id.clone() });
            Ok(Test { receiver: receiver.into(), id: id.into() })
        };
        asked.into_iter().map(test).collect()
    }

    fn ask(&self, command: Command) {
        // At the end of keyward there is nothing left to ask.
        let _ = self.commands.send(command);
    }
}

/// An id that no other message has.
#[must_use]
pub fn message_id() -> Option<Box<str>> {
    Some(format!("msg_{}", random_hex::<12>()?).into())
}

/// Random bytes in hex digits.
pub(super) fn random_hex<const BYTES: usize>() -> Option<String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let mut digits = String::with_capacity(2 * BYTES);
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    Some(digits)
}

// === As the API tells it ===

impl From<Snapshot> for answers::Notices {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            muted_until: snapshot.muted_until,
            in_memory: snapshot.in_memory.map(Into::into),
            dropped: snapshot.dropped,
            receivers: snapshot.receivers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ReceiverStatus> for answers::Receiver {
    fn from(status: ReceiverStatus) -> Self {
        let messages = |waiting: Vec<Waiting>| waiting.into_iter().map(Into::into).collect();
        let texts = |texts: Vec<Box<str>>| texts.into_iter().map(Into::into).collect();
        Self {
            receiver: status.name.into(),
            kind: status.kind,
            state: status.state,
            trouble: status.trouble.map(Into::into),
            next: status.next,
            sent: status.sent,
            failures: status.failures,
            last: status.last,
            open: texts(status.open),
            waiting: messages(status.waiting),
            given_up: messages(status.given_up),
            tested: texts(status.tested),
            heartbeat: status
                .heartbeat
                .map(|beat| answers::Beat { last: beat.last, trouble: beat.trouble.map(Into::into) }),
        }
    }
}

impl From<Waiting> for answers::Message {
    fn from(message: Waiting) -> Self {
        Self {
            id: message.id.into(),
            title: message.title.into(),
            made: message.made,
            attempts: message.attempts,
            fault: message.fault.map(Into::into),
        }
    }
}
