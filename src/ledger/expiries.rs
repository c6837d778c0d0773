//! What OpenAI says of keys: in memory, for a keyward that warns from it, and in the store.
//!
//! Commands ask OpenAI, since `serve` has no admin key. They hand it to the keyward that serves, and write the store themselves
//! only where none does.

use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, Transaction, params};
use serde::Deserialize;

use super::expiry::Expiry;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::state::{StateError, StateFolder};
use crate::locks::lock;

/// What OpenAI said of keys, what was noted last at the end.
#[derive(Debug, Default)]
pub struct Expiries(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    expiry: Expiry,
    is_stored: bool,
}

impl Expiries {
    /// Notes what OpenAI says of a key, in place of what it said before.
    pub fn note(&self, expiry: Expiry) {
        self.put(Known { expiry, is_stored: false });
    }

    /// Takes in what a store remembers.
    pub(super) fn recall(&self, stored: Vec<Expiry>) {
        for expiry in stored {
            self.put(Known { expiry, is_stored: true });
        }
    }

    /// Takes in what stands in the file that an earlier keyward kept beside its store. Says whether there is one.
    pub fn import(&self, folder: &StateFolder) -> Result<bool, StateError> {
        let Imported { keys } = folder.read(FILE)?;
        let are_any = !keys.is_empty();
        for key in keys {
            self.note(key.into());
        }
        Ok(are_any)
    }

    /// What is known of a key.
    #[must_use]
    pub fn of(&self, key: Fingerprint) -> Option<Expiry> {
        self.known().iter().find(|known| known.expiry.key == key).map(|known| known.expiry.clone())
    }

    /// What the store does not have; counts as stored from now on.
    pub(super) fn take_news(&self) -> Vec<Expiry> {
        let mut known = self.known();
        let news = known.iter_mut().filter(|known| !known.is_stored);
        let told = news.map(|known| {
            known.is_stored = true;
            known.expiry.clone()
        });
        told.collect()
    }

    /// Has all of them stored anew.
    pub(super) fn untell(&self) {
        self.known().iter_mut().for_each(|known| known.is_stored = false);
    }

    /// What OpenAI said later stands.
    fn put(&self, news: Known) {
        let mut known = self.known();
        if known.iter().any(|known| known.expiry.key == news.expiry.key && known.expiry.read > news.expiry.read) {
            return;
        }
        known.retain(|known| known.expiry.key != news.expiry.key);
        known.push(news);
        let surplus = known.len().saturating_sub(MOST);
        known.drain(..surplus);
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        lock(&self.0)
    }
}

// === The store ===

pub(super) fn write_all(transaction: &Transaction<'_>, news: &[Expiry]) -> rusqlite::Result<()> {
    if news.is_empty() {
        return Ok(());
    }
    for Expiry { key, id, expires, last_used, read } in news {
        let [expires, last_used] = [expires, last_used].map(|at| at.map(Timestamp::as_millis));
        transaction.execute(WRITE, params![key.to_hex(), id, expires, last_used, read.as_millis()])?;
    }
    transaction.execute(TRIM, [i64::try_from(MOST).unwrap_or(i64::MAX)]).map(drop)
}

/// What is no fingerprint is left out.
pub(super) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Expiry>> {
    let mut statement = connection.prepare("SELECT key, id, expires, last_used, read FROM expiries ORDER BY read")?;
    let rows = statement.query_map([], |row| {
        let moment = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis));
        let key: String = row.get(0)?;
        let (id, read) = (row.get(1)?, Timestamp::from_millis(row.get(4)?));
        let (expires, last_used) = (moment(2)?, moment(3)?);
        Ok(key.parse().ok().map(|key| Expiry { key, id, expires, last_used, read }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

const WRITE: &str = "INSERT INTO expiries (key, id, expires, last_used, read) VALUES (?1, ?2, ?3, ?4, ?5) \
  ON CONFLICT (key) DO UPDATE SET id = excluded.id, expires = excluded.expires, last_used = excluded.last_used, \
  read = excluded.read WHERE excluded.read >= read";

const TRIM: &str = "DELETE FROM expiries WHERE key IN (SELECT key FROM expiries ORDER BY read DESC LIMIT -1 OFFSET ?1)";

// === The file of before ===

/// `expiries.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Imported {
    keys: Vec<ImportedKey>,
}

/// Times are in milliseconds since the Unix epoch.
#[derive(Deserialize)]
struct ImportedKey {
    fingerprint: Fingerprint,
    id: Box<str>,
    #[serde(default)]
    expires: Option<i64>,
    #[serde(default)]
    last_used: Option<i64>,
    read: i64,
}

impl From<ImportedKey> for Expiry {
    fn from(key: ImportedKey) -> Self {
        let [expires, last_used] = [key.expires, key.last_used].map(|at| at.map(Timestamp::from_millis));
        Self { key: key.fingerprint, id: key.id, expires, last_used, read: Timestamp::from_millis(key.read) }
    }
}

/// The file's name in the state folder, without its ending.
pub const FILE: &str = "expiries";

/// More keys than are in use at a time.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::state::Settings;

    fn key(number: u16) -> Fingerprint {
        FingerprintKey::new(&[7; 32]).fingerprint(&number.to_be_bytes())
    }

    fn said(number: u16, expires: i64, read: i64) -> Expiry {
        let (expires, read) = (Some(Timestamp::from_millis(expires)), Timestamp::from_millis(read));
        Expiry { key: key(number), id: format!("key_{number}").into(), expires, last_used: None, read }
    }

    #[test]
    fn what_openai_said_last_of_a_key_counts_and_the_store_is_told_it_once() {
        let expiries = Expiries::default();
        expiries.note(said(1, 5, 10));
        expiries.recall(vec![said(1, 4, 9), said(2, 6, 9)]);
        assert_eq!([1, 2].map(|number| expiries.of(key(number))), [Some(said(1, 5, 10)), Some(said(2, 6, 9))]);
        assert_eq!((expiries.take_news(), expiries.take_news()), (vec![said(1, 5, 10)], Vec::new()));
        expiries.note(said(2, 7, 11));
        assert_eq!(expiries.take_news(), [said(2, 7, 11)]);
        expiries.untell();
        assert_eq!(expiries.take_news().len(), 2);
        for number in 3..300 {
            expiries.note(said(number, 1, 12));
        }
        assert_eq!((expiries.of(key(1)), expiries.known().len()), (None, MOST));
    }

    #[test]
    fn the_file_of_before_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings { dir: folder.path().into() };
        let state = StateFolder::open(&settings).expect("a folder");
        let expiries = Expiries::default();
        assert!(!expiries.import(&state).expect("no file"));
        let text = format!(
            r#"{{"version":"1","keys":[{{"fingerprint":"{}","id":"key_1","expires":5,"last_used":null,"read":10}}]}}"#,
            key(1).to_hex()
        );
        std::fs::write(folder.path().join("expiries.json"), text).expect("written");
        assert!(expiries.import(&state).expect("a file"));
        assert_eq!(expiries.take_news(), [said(1, 5, 10)]);
    }
}
