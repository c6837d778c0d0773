//! Pure. What keyward can see of a history, and what it is asked: all that a subject under test ever gets.

#![expect(dead_code, reason = "this is all that there is to see, and no subject needs all of it")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use keyward::caller::Family;
use keyward::clock::Timestamp;
use keyward::keys::fingerprint::FingerprintKey;
use keyward::keys::set::Names;
use keyward::ledger::look::Look;

/// A key, by its place in the story of the set `default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The first one.
    Old,
    /// The one that replaces it.
    New,
    /// The one that replaces that.
    Newer,
    /// A key of no set.
    Other(u8),
    /// A token of keyward's, for which keyward puts the set's current key in.
    Token,
    /// No credential at all.
    Missing,
}

impl Key {
    /// Whether a use of it is a good one where it is asked whether `asked` can go: a key of the same story that came later.
    pub fn replaces(self, asked: Self) -> bool {
        match self {
            Self::New | Self::Newer => self > asked,
            Self::Token => true,
            Self::Old | Self::Other(_) | Self::Missing => false,
        }
    }

    /// Its public names; those of `Missing` stand for no key.
    pub fn names(self) -> Names {
        let place = match self {
            Self::Old => 0,
            Self::New => 1,
            Self::Newer => 2,
            Self::Token => 3,
            Self::Missing => 4,
            Self::Other(number) => 5 + usize::from(number),
        };
        NAMES[place]
    }

    /// The key with those names, if it is one of this story.
    pub fn named(names: &Names) -> Option<Self> {
        [Self::Old, Self::New, Self::Newer, Self::Token].into_iter().find(|key| key.names() == *names)
    }

    /// What stands for its value.
    pub fn value(self) -> String {
        format!("sk-history-{self:?}-0123456789")
    }
}

static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let key = FingerprintKey::new(&[7; FingerprintKey::LEN]);
    let told = [Key::Old, Key::New, Key::Newer, Key::Token, Key::Missing];
    let all = told.into_iter().chain((0..=u8::MAX).map(Key::Other));
    all.map(|name| Names { fingerprint: key.fingerprint(name.value().as_bytes()), hint: None }).collect()
});

/// Who sent a request, as far as its tag, path and client tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A node of a workflow.
    Workflow,
    /// The editor: its test button or list of models.
    Editor,
    /// An Agent: `editor/__UNKNOWN__/none` from an AI SDK client.
    Agent,
    /// Something without a tag.
    Untagged,
}

/// A request that came to its end, or that goes on for long.
#[derive(Clone, Copy, Debug)]
pub struct Request<'h> {
    /// When it came, by keyward's clock.
    pub at: Timestamp,
    pub exchange: u64,
    /// The key set that it was judged by.
    pub set: &'h str,
    /// `inst=` of its tag.
    pub instance: Option<&'h str>,
    /// `wf=` of its tag.
    pub workflow: Option<&'h str>,
    /// `node=` of its tag.
    pub node: Option<&'h str>,
    /// `ex=` of its tag.
    pub execution: Option<u64>,
    /// Where it came from.
    pub peer: IpAddr,
    /// The key that it carried.
    pub key: Key,
    /// The key that went upstream: another one only where it carried a token.
    pub upstream: Key,
    /// Whether OpenAI took the key.
    pub accepted: bool,
    /// The family of its client.
    pub client: Family,
    pub path: &'h str,
    /// The model that it asks for.
    pub model: &'h str,
    /// Who sent it.
    pub origin: Origin,
    /// Whether it still goes on: then [`Observed::Ended`] follows.
    pub is_open: bool,
}

/// A sender that a person says is done with.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged<'h> {
    /// When, by keyward's clock.
    pub at: Timestamp,
    /// `inst=` of its tag.
    pub instance: Option<&'h str>,
    pub workflow: Option<&'h str>,
    pub node: Option<&'h str>,
    /// Its address.
    pub peer: IpAddr,
    /// The family of its client.
    pub client: Family,
    pub origin: Origin,
}

/// One thing that keyward sees, in the order in which it does.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'h> {
    Request(Request<'h>),
    /// A request that went on for long has ended.
    Ended {
        at: Timestamp,
        exchange: u64,
    },
    /// keyward is back after a crash: what it heard in the 250 ms before `down` may be lost.
    Restarted {
        /// When it went.
        down: Timestamp,
        /// When it was back.
        at: Timestamp,
    },
    /// keyward's clock jumped.
    ClockJumped {
        /// What it showed before.
        before: Timestamp,
        /// What it shows now.
        after: Timestamp,
    },
    /// The next key of the set stands in its configuration.
    Announced {
        /// When it did.
        at: Timestamp,
        set: &'h str,
        next: Key,
    },
    /// The key file of the set holds another key.
    Rotated {
        /// The old one was current then for the last time that is known.
        after: Timestamp,
        /// The new one was current then.
        by: Timestamp,
        set: &'h str,
        /// What it holds now.
        current: Key,
    },
    /// A person says that a sender is done with.
    Acknowledged(Acknowledged<'h>),
    /// n8n was looked through.
    Looked(&'h Look),
    /// n8n did not answer.
    LookFailed {
        at: Timestamp,
        instance: &'h str,
    },
}

/// What the owner says, in configuration, and what is asked.
#[derive(Clone, Debug)]
pub struct Statements {
    /// The key that may go or not: a key of the set `default`.
    pub asked: Key,
    /// `[rotation] quiet`.
    pub quiet: Duration,
    /// `env_keys`, where it is said.
    pub env_keys: Option<bool>,
    /// `shared_address`.
    pub shared: BTreeSet<IpAddr>,
    /// `workers`, where it is said: one means that each address is one process.
    pub workers: Option<u32>,
    /// `press`.
    pub press: bool,
    /// The n8n that are configured.
    pub instances: Vec<&'static str>,
    /// The sets, each with the key that it begins with.
    pub sets: Vec<(&'static str, Key)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It can go.
    Yes,
    /// That is not proven; what stands in the way.
    NotProven(Vec<String>),
    /// It cannot; why.
    No(Vec<String>),
}

/// What is under test: it is told what keyward sees, and asked whether the old key can go.
pub trait Subject {
    /// Sees one thing.
    fn observe(&mut self, observed: &Observed<'_>);
    /// Answers, by keyward's clock.
    fn answer(&mut self, at: Timestamp) -> Said;
}
