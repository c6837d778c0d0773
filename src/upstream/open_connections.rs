//! How many connections to upstream a worker has open, wherever they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A count that is shared by all who open and close connections of one worker.
#[derive(Clone, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// How many are open now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one as open for as long as what this gives lasts.
    #[must_use]
    pub fn note(&self) -> OpenConnection {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.0))
    }
}

/// Counts a connection as open, as long as it is kept.
pub struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
