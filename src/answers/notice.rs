//! Pure. The notices: who is told, what waits, and what did not arrive.

use serde::{Deserialize, Serialize};

use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::codes::codes;

/// The state of the notices as a whole, and of each receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// Until when nothing is told.
    #[serde(with = "moment::nullable")]
    pub muted_until: Option<Timestamp>,
    /// Why what waits would not outlive keyward; nothing where the store keeps it.
    #[serde(deserialize_with = "nullable")]
    pub in_memory: Option<String>,
    /// How many messages there was no room for, since the start.
    pub dropped: u64,
    /// Who is told, in the order of their names.
    pub receivers: Vec<Receiver>,
}

/// A receiver of notices, what it was sent, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its name in the configuration.
    pub receiver: String,
    pub kind: ReceiverKind,
    pub state: ReceiverState,
    /// What came of the last attempt, where it did not arrive.
    #[serde(deserialize_with = "nullable")]
    pub trouble: Option<String>,
    /// When the next attempt is made; nothing where nothing waits.
    #[serde(with = "moment::nullable")]
    pub next: Option<Timestamp>,
    /// Messages that arrived, since the start.
    pub sent: u64,
    /// Attempts that failed, since the start.
    pub failures: u64,
    /// When a message arrived last, since the start.
    #[serde(with = "moment::nullable")]
    pub last: Option<Timestamp>,
    /// What it was told of and is not over, each in a clause.
    pub open: Vec<String>,
    /// What it is yet to be sent, the oldest first.
    pub waiting: Vec<Message>,
    /// What did not arrive within a day, of the last seven days.
    pub given_up: Vec<Message>,
    /// The ids of the last tests that arrived.
    pub tested: Vec<String>,
    /// How its heartbeat is; nothing where it has none.
    #[serde(deserialize_with = "nullable")]
    pub heartbeat: Option<Beat>,
}

/// A message that has not arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The `webhook-id` that it is sent under.
    pub id: String,
    /// What it says, in a line.
    pub title: String,
    #[serde(with = "moment")]
    pub made: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of the last attempt.
    #[serde(deserialize_with = "nullable")]
    pub fault: Option<String>,
}

/// What came of the heartbeats of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// When its monitor took one last, since the start.
    #[serde(with = "moment::nullable")]
    pub last: Option<Timestamp>,
    /// Why it did not take the last one.
    #[serde(deserialize_with = "nullable")]
    pub trouble: Option<String>,
}

codes! {
    /// The format of the messages that a receiver takes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum ReceiverKind {
        /// JSON, signed as Standard Webhooks have it.
        #[default]
        Webhook => "webhook",
        /// Slack's incoming webhooks.
        Slack => "slack",
    }
}

codes! {
    /// Whether a receiver takes messages.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ReceiverState {
        /// Nothing is known against it.
        Ok => "ok",
        /// The last attempt failed; another is made.
        Retrying => "retrying",
        /// It answered 410 (Gone): nothing is sent to it until a test arrives, the configuration is read again, or keyward
        /// starts again.
        Stopped => "stopped",
    }
}

/// Until when nothing is told from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muted {
    /// Nothing where all is told.
    #[serde(with = "moment::nullable")]
    pub muted_until: Option<Timestamp>,
}

/// Tests that are on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tests {
    pub tests: Vec<Test>,
}

/// A test that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    pub receiver: String,
    /// The id of its message.
    pub id: String,
}
