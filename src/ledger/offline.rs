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
        remembered = Some(store.load_sets(&new, ledger.bounds.total)?);
    }
    ledger.make_room(sets);
    if let Some(remembered) = remembered {
        ledger.absorb_sets(remembered);
    }
    Ok(())
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

    /// A store in which every so many bindings, each with a use, an incident, an hour and evidence, are of set `small`, the others
    /// of `large`.
    fn filled(path: &Path, count: i64, every: i64) -> Sqlite {
        let mut store = Sqlite::open(path).expect("a store");
        let transaction = store.connection.transaction().expect("a transaction");
        for number in 0..count {
            let set = if number % every == 0 { "small" } else { "large" };
            let of_it = rusqlite::params![number, set];
            for row in ROWS {
                transaction.prepare_cached(row).expect("a table").execute(of_it).expect("a row");
            }
        }
        transaction.commit().expect("written");
        store
    }

    const ROWS: [&str; 5] = [
        "INSERT INTO bindings VALUES (?1, ?2, 'caller', NULL, 'w' || ?1, 'node', 'sdk', '127.0.0.1', '', 'A workflow', ?1, \
         zeroblob(120), ?1, '', 'current', 'ok', 'success', 'fine', 4, NULL, NULL, NULL, NULL, 3, x'', '1.0')",
        "INSERT INTO uses SELECT ?1, '0123456789abcdef0123456789abcdef', 'sk-', 'abcd', 1, 2, 3, 'current', 'ok', 'success', \
         'fine', '7', 'accepted' WHERE ?2 IS NOT NULL",
        "INSERT INTO incidents SELECT ?1, ?1, 1, 2, 1, 'stale_binding', 'error', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         WHERE ?2 IS NOT NULL",
        "INSERT INTO hours VALUES (?1 * 3600000, ?2, '', 'current', 'success', 1)",
        "INSERT INTO evidence VALUES (?2, 'uses', printf('%016x', ?1), '[]')",
    ];

    #[test]
    fn of_a_set_that_comes_only_its_own_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = filled(&folder.path().join("keyward.db"), 12, 4);
        let small = store.load_sets(&[Arc::from("small"), Arc::from("none")], 100).expect("read");
        let of_all: Vec<_> = small.bindings.iter().map(|binding| (binding.id.0, &*binding.set)).collect();
        assert_eq!(of_all, [(8, "small"), (4, "small"), (0, "small")]);
        assert!(small.bindings.iter().all(|one| one.memory.uses.len() == 1 && one.memory.incident.is_some()));
        assert_eq!((small.hours.len(), small.evidence.len()), (3, 3));
        assert!(small.evidence.iter().all(|(set, _)| &**set == "small"));
        let all = store.load(100).expect("read");
        assert_eq!((all.bindings.len(), all.hours.len(), all.evidence.len()), (12, 12, 12));
    }
}
