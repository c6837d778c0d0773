//! The ledger as its store has it, for commands beside a running keyward or without one.

use std::path::Path;
use std::sync::Arc;

use super::Ledger;
use super::sqlite::Sqlite;
use super::store::{Settings, Store, StoreError};
use super::writer::Writer;
use crate::clock::Clock;
use crate::keys::history::History;
use crate::keys::reloader::{Kept, Reloader};
use crate::keys::state;

/// A ledger that was read from its store and is used by nothing else here. Another keyward may write to the store meanwhile.
pub struct Offline {
    pub ledger: Arc<Ledger>,
    /// What the store remembers of the sets' keys: for [`Reloader::open`].
    pub kept: Kept,
    writer: Writer,
}

impl Offline {
    /// Reads the store of those settings into a ledger that is empty. Nothing where the store is off, or where no keyward
    /// has written to it yet. `number` is one that no other writer has.
    pub fn open(
        ledger: Ledger,
        settings: &Settings,
        state: &Path,
        clock: Clock,
        number: u64,
    ) -> Result<Option<Self>, StoreError> {
        let Some(path) = settings.file(state).filter(|path| path.exists()) else { return Ok(None) };
        let ledger = Arc::new(ledger);
        let mut writer = Writer::new(Arc::clone(&ledger), Some(path), settings.retention, clock, number);
        let kept = Kept::InStore(writer.read(state::fingerprint_key_name(state))?);
        Ok(Some(Self { ledger, kept, writer }))
    }

    /// Writes what was changed here, such as an acknowledgement. A keyward that runs does not learn of it: ask that one.
    pub fn save(self, reloader: &Reloader) -> Result<(), StoreError> {
        self.writer.write_once(reloader)
    }
}

/// Makes room for those sets in a ledger that is in use, by position. What the store remembers of sets that were unknown until now
/// is taken in: without it, an old key might seem to be sent by nothing. Where it cannot be read, nothing is changed.
pub fn make_room(ledger: &Ledger, settings: &Settings, state: &Path, sets: Vec<Arc<str>>) -> Result<(), StoreError> {
    let new: Vec<_> = sets.iter().filter(|set| ledger.find_set(set).is_none()).cloned().collect();
    let path = settings.file(state).filter(|_| !new.is_empty());
    let store = path.map(|path| Sqlite::open_to_read(&path)).transpose()?.flatten();
    let mut remembered = None;
    if let Some(mut store) = store
        && store.is_named_by(state::fingerprint_key_name(state))?
    {
        remembered = Some(store.load(ledger.bounds.total)?);
    }
    ledger.make_room(sets);
    if let Some(remembered) = remembered {
        ledger.absorb_sets(remembered, &new);
    }
    Ok(())
}

/// What the store of those settings remembers of the sets' keys. Changes nothing, and makes no file.
pub fn history(settings: &Settings, state: &Path) -> Result<Kept, StoreError> {
    let Some(path) = settings.file(state) else { return Ok(Kept::InFile) };
    let Some(store) = Sqlite::open_to_read(&path)? else { return Ok(Kept::InStore(History::default())) };
    if !store.is_named_by(state::fingerprint_key_name(state))? {
        return Ok(Kept::NamedOtherwise(path));
    }
    Ok(Kept::InStore(store.history()?))
}
