//! Notices: what keyward tells by itself, so that you need not look.
//!
//! What may be told is a [`subject::Subject`]: nodes that send one old key, a rotation, a problem. Beside the data path a thread
//! of its own looks again and again at how they are ([`notifier`]), remembers for each receiver what it was told
//! ([`thread`]), and puts what is news into an outbox ([`outbox`]), which the store keeps: what stands there is sent at least
//! once ([`delivery`]), under the same id however often it is tried.
//!
//! | rule | |
//! |---|---|
//! | one message for a group | incidents are told by set and key, with all that are open |
//! | `quiet` | what is over before it was told is never told |
//! | `every` | a group that changes is told of no more often, but for what cannot wait: that an old key can go, or no longer |
//! | no end without a beginning | that something is over is told to a receiver that was told of it, and to no other |
//! | no flapping | what comes back within an hour is the same thread, and waits for `every` |
//! | `remind` | what stays as it is, is told again after that long |
//!
//! No request waits for any of this, and no notice holds a key, a body or a header of a caller.

pub mod delivery;
pub mod destination;
pub mod message;
pub mod notifier;
pub mod outbox;
pub mod status;
pub mod subject;
pub mod thread;

use std::time::Duration;

pub use crate::answers::notice::ReceiverKind;
use crate::codes::codes;
use crate::keys::source::Source;
use crate::net::egress_proxy::EnvironmentProxies;

/// The settings under `[notices]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who is told, by name.
    pub receivers: Vec<Receiver>,
    /// How the receivers are reached.
    pub proxies: EnvironmentProxies,
}

/// A receiver of notices: `[notices.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub name: Box<str>,
    /// Where its URL stands, which is a secret.
    pub to: Source,
    pub kind: ReceiverKind,
    /// Where the secrets stand that messages are signed with; two while one is replaced by the other.
    pub secrets: Vec<Source>,
    /// What it is told of.
    pub topics: Vec<Topic>,
    /// The key sets that it is told of; all, where none is named.
    pub sets: Vec<Box<str>>,
    pub timing: Timing,
    pub heartbeat: Option<Heartbeat>,
}

/// When a receiver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long something must last before it is told, or be over before that is told.
    pub quiet: Duration,
    /// How long after a message the next one about the same comes at the earliest.
    pub every: Duration,
    /// After how long what stays as it is, is told again; never, where it is zero.
    pub remind: Duration,
}

/// A request made again and again, for a monitor that raises the alarm when it stays away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub every: Duration,
    /// Where its URL stands, which is a secret.
    pub to: Source,
}

codes! {
    /// What a notice is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Topic {
        /// Callers that are not well.
        Incident => "incident",
        /// A key that was replaced, and whether the old one can go.
        Rotation => "rotation",
        /// What is wrong with a key, and keys that no set has.
        Key => "key",
        /// What is wrong with keyward itself, with upstream or with n8n.
        Keyward => "keyward",
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(20), every: Duration::from_mins(5), remind: Duration::from_hours(24) }
    }
}

impl Receiver {
    /// Whether it is told of what has that topic, in that set.
    #[must_use]
    pub fn wants(&self, topic: Topic, set: Option<&str>) -> bool {
        let wants_set = |set: &str| self.sets.is_empty() || self.sets.iter().any(|known| **known == *set);
        self.topics.contains(&topic) && set.is_none_or(wants_set)
    }
}
