//! The n8n side: what n8n's public API says is configured, beside what keyward sees being sent.

pub mod address;
pub mod asked;
pub mod audit;
pub mod clearance;
pub mod client;
pub mod connect;
pub mod connections;
pub mod documents;
pub mod doubt;
pub mod editor;
pub mod executions;
pub mod finding;
pub mod finding_kind;
pub mod inventory;
pub mod journal;
pub mod lent;
pub mod look;
pub mod poller;
pub mod pressed;
pub mod presser;
pub mod reconnect;
pub mod rewrite;
pub mod row;
pub mod segment;
pub mod segment_journal;
pub mod status;
pub mod writer;

use crate::n8n::address::Address;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::caller::names::{Directory, Known};
use crate::keys::source::Source;
use crate::ledger::names;
use crate::net::egress_proxy::EgressProxy;

/// The settings under `[n8n]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub instances: Vec<Instance>,
}

/// The settings under `[n8n.<name>]`: one n8n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What callers name it by in their tag (`inst=`).
    pub name: Box<str>,
    /// Where its editor and its API are.
    pub url: Address,
    /// Where the key of its API stands.
    pub api_key: Source,
    /// The key set that its credential belongs to, where that is said.
    pub set: Option<Box<str>>,
    /// How often it is asked.
    pub refresh: Duration,
    /// Where it reaches keyward, where that is said.
    pub keyward: Option<connect::Entrance>,
    /// Whether keyward presses the tests of its credential records.
    pub press: bool,
    /// The proxy that leads there, which the environment names.
    pub via: Option<EgressProxy>,
}

// === impl Settings ===

impl Settings {
    /// The instance of that name.
    #[must_use]
    pub fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| &*instance.name == name)
    }
}

// === impl Instance ===

impl Instance {
    /// How often it is asked, by default.
    pub const REFRESH: Duration = Duration::from_mins(5);
}

/// What each n8n calls its workflows and nodes, as far as the ledger's store in that file has it. What is wrong with the store
/// is for the ledger to tell.
#[must_use]
pub fn remembered(settings: &Settings, store: Option<&Path>) -> Directory {
    let known = |instance: &Instance| {
        let workflows = store.and_then(|path| names::read(path, &instance.name).ok()).unwrap_or_default();
        Arc::new(Known { workflows, ..Known::nothing(&instance.name, &instance.url.to_string()) })
    };
    Directory::new(settings.instances.iter().map(known).collect())
}
