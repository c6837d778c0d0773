//! The ledger as its store has it, for commands beside a running keyward or without one.

use std::path::Path;
use std::sync::Arc;

use rusqlite::TransactionBehavior;

use super::Ledger;
use super::expiries;
use super::expiry::Expiry;
use super::sqlite::{self, Sqlite, failure};
use super::store::{Fault, Settings, Store, StoreError};
use super::writer::Writer;
use crate::clock::Clock;
use crate::keys::fingerprint::Fingerprint;
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

/// Writes what OpenAI says of keys into the store of those settings. Says whether there is one. Only for a command beside which no
/// keyward serves: one that does would not learn of it, and may be of another version.
pub fn write_expiries(
    settings: &Settings,
    state: &Path,
    named_by: Fingerprint,
    news: &[Expiry],
) -> Result<bool, StoreError> {
    let Some(path) = settings.file(state) else { return Ok(false) };
    let mut store = Sqlite::open(&path)?;
    let mut write = || {
        let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !sqlite::name(&transaction, named_by)? {
            return Ok(false);
        }
        expiries::write_all(&transaction, news)?;
        transaction.commit().map(|()| true)
    };
    let is_named_by_it = write().map_err(|error| failure(&path, error))?;
    if is_named_by_it { Ok(true) } else { Err(StoreError { path, fault: Fault::NamedOtherwise, source: None }) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::keys::fingerprint::FingerprintKey;

    fn key(number: u16) -> Fingerprint {
        FingerprintKey::new(&[7; 32]).fingerprint(&number.to_be_bytes())
    }

    fn said(number: u16, expires: i64, read: i64) -> Expiry {
        let (expires, read) = (Some(Timestamp::from_millis(expires)), Timestamp::from_millis(read));
        Expiry { key: key(number), id: format!("key_{number}").into(), expires, last_used: None, read }
    }

    #[test]
    fn a_store_has_what_openai_said_last_and_no_more_than_there_is_room_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyward.db");
        let (settings, named_by) = (Settings::default(), FingerprintKey::new(&[7; 32]).name());
        let write = |named_by, news: &[Expiry]| write_expiries(&settings, folder.path(), named_by, news);
        let read = || Sqlite::open(&path).expect("a store").load(0).expect("rows").expiries;
        write(named_by, &[said(1, 5, 10), said(2, 6, 11)]).expect("written");
        write(named_by, &[said(1, 4, 9), said(2, 7, 12)]).expect("written");
        assert_eq!(read(), [said(1, 5, 10), said(2, 7, 12)]);
        let other = write(FingerprintKey::new(&[8; 32]).name(), &[said(3, 5, 20)]).expect_err("another key");
        assert_eq!(other.fault, Fault::NamedOtherwise);
        write(named_by, &(10..300).map(|number| said(number, 1, 20)).collect::<Vec<_>>()).expect("written");
        assert_eq!((read().len(), read().iter().any(|expiry| expiry.key == key(1))), (256, false));
    }
}
