//! What the store keeps for [`crate::notices`]: documents by kind and id, each of them whole. They are written by those who
//! send notices, over a connection of their own, for a message must stand in the store before it is sent.

use rusqlite::{TransactionBehavior, params};

use super::sqlite::{Sqlite, failure};
use super::store::StoreError;

/// One row of what is kept of the notices, to be written or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// `message`, `thread` or `mute`.
    pub kind: &'static str,
    /// Its name among those of its kind.
    pub id: Box<str>,
    /// JSON; nothing where it is to be removed.
    pub value: Option<String>,
}

impl Sqlite {
    /// All documents of that kind.
    pub fn notices(&self, kind: &'static str) -> Result<Vec<Kept>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT id, value FROM notices WHERE kind = ?1")?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok(Kept { kind, id: row.get::<_, String>(0)?.into(), value: Some(row.get(1)?) })
            };
            statement.query_map([kind], row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| failure(self.path(), error))
    }

    /// Writes all of these, or none.
    pub fn write_notices(&mut self, changes: &[Kept]) -> Result<(), StoreError> {
        let path = self.path().to_owned();
        let mut write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for Kept { kind, id, value } in changes {
                match value {
                    Some(value) => transaction.prepare_cached(PUT)?.execute(params![kind, id, value])?,
                    None => transaction.prepare_cached(REMOVE)?.execute(params![kind, id])?,
                };
            }
            transaction.commit()
        };
        write().map_err(|error| failure(&path, error))
    }
}

const PUT: &str = "INSERT INTO notices (kind, id, value) VALUES (?1, ?2, ?3) \
  ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value";

const REMOVE: &str = "DELETE FROM notices WHERE kind = ?1 AND id = ?2";
