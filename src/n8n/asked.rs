//! Which n8n are asked now. A reload may bring others, so that those who want to know look anew each time.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::status::Status;

/// Those that are asked now.
#[derive(Debug, Default)]
pub struct Asked(ArcSwap<Snapshot>);

/// Those that were asked at a moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// How each is, in the order of the configuration.
    pub statuses: Vec<Arc<Status>>,
    /// The addresses under which keyward is reached, as far as its own machine knows.
    pub hosts: Vec<String>,
}

impl Asked {
    /// From now on those are asked.
    pub fn put(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }

    /// Those that are asked now.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

impl Snapshot {
    /// The n8n of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Status>> {
        self.statuses.iter().find(|status| *status.name == *name)
    }
}
