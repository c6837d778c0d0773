//! What those do who begin: where they point n8n to, and where a new key goes.

use super::setup::Setup;
use crate::keys::SetSettings;
use crate::welcome::{base_url, origin};

/// What those do who begin: where they point n8n to, and where a new key goes.
pub(super) struct Start {
    base_url: String,
    /// Where each set reads its current key from; nothing where it learns.
    sources: Vec<(String, Option<String>)>,
}

impl Start {
    pub(super) fn new(setup: &Setup) -> Self {
        let proxy = &setup.config().proxy;
        let scheme = if proxy.tls.files().is_some() { "https" } else { "http" };
        let sources = setup.config().keys.sets.iter();
        let source = |set: &SetSettings| (set.name.to_string(), set.current.as_ref().map(ToString::to_string));
        Self { base_url: base_url(&origin(scheme, proxy.listen)), sources: sources.map(source).collect() }
    }

    /// What n8n's Base URL should be.
    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What to do before anything was seen.
    fn first_step(&self) -> String {
        format!(
            "set the Base URL of n8n's OpenAI credential to {} (keyward n8n connect does it), and run a workflow",
            self.base_url
        )
    }

    /// How a rotation begins.
    fn rotate(&self, set: &str) -> String {
        match self.sources.iter().find(|(name, _)| name == set).and_then(|(_, source)| source.as_ref()) {
            Some(source) => format!("to rotate, put the new key into {source} and into n8n's credential"),
            None => "to rotate, put the new key into n8n's credential".to_owned(),
        }
    }

    /// What to do where no old key is known.
    pub(super) fn next_step(&self, set: &str, seen: usize) -> String {
        if seen == 0 { self.first_step() } else { self.rotate(set) }
    }
}
