//! The ledger in an `SQLite` file: write-ahead log, one transaction for each batch.
//!
//! A process that is killed loses what it had not committed, and never the file: the log is synced before its pages move
//! into the file (`synchronous = NORMAL`). Only a machine that loses power may lose the last batches as well.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::types::FromSql;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params,
};
use rustix::fs::Access;

use super::binding::{Accepted, KeyUse, Latest, Memory};
use super::closed::ClosedIncidents;
use super::evidence::Stored;
use super::expiries;
use super::identity::BindingId;
use super::incident::{Closed, Closing, Incident, IncidentId, Retrying};
use super::projects::{self, KeyProjects};
use super::rhythm::Visits;
use super::seen::Finding;
use super::store::{
    Batch, Change, Fault, Limits, Remembered, RememberedBinding, Store, StoreError, StoredHour, UnknownInStore,
};
use crate::caller::Family;
use crate::clock::Timestamp;
use crate::codes::{Code, Coded, UnknownCode};
use crate::keys::fingerprint::{Fingerprint, Hint};
use crate::keys::history::History;
use crate::keys::set::{Names, Word};
use crate::keys::state;
use crate::verdict::explain::{DiagnosisKind, Severity};

/// The opened file, in the present shape unless it was opened to read.
pub struct Sqlite {
    pub(super) connection: Connection,
    path: PathBuf,
    /// Which file it is: device and number.
    file: (u64, u64),
    id: i64,
    is_new: bool,
}

impl Sqlite {
    /// Opens the file, makes it (mode 0600) where there is none, and brings it into the present shape after a copy of
    /// it was made.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let fail = |error| failure(path, error);
        make_private(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
        let version = version(&connection, path)?;
        migrate(&mut connection, path, version, &MIGRATIONS)?;
        let id = connection.query_row("SELECT id FROM store", [], |row| row.get(0)).map_err(fail)?;
        let file = identity(path).ok_or_else(|| error(path, Fault::Gone))?;
        Ok(Self { connection, path: path.into(), file, id, is_new: version == 0 })
    }

    /// Opens a file that is there to read from it, and changes nothing. Nothing where there is none.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, StoreError> {
        let Some(file) = identity(path) else { return Ok(None) };
        let fail = |error| failure(path, error);
        // What another keyward writes is read as well only where the shared index may be written.
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
        if version(&connection, path)? == 0 {
            return Ok(None);
        }
        let id = connection.query_row("SELECT id FROM store", [], |row| row.get(0)).map_err(fail)?;
        Ok(Some(Self { connection, path: path.into(), file, id, is_new: false }))
    }

    /// Opens a file that cannot be written, to read it. Only one of the present shape, for it cannot be given that.
    pub fn open_unwritable(path: &Path) -> Result<Self, StoreError> {
        let fail = |error| failure(path, error);
        let file = identity(path).ok_or_else(|| error(path, Fault::Gone))?;
        let look = |connection| version(&connection, path).map(|found| (connection, found));
        let as_usual = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(fail).and_then(look);
        let (connection, found) = match as_usual {
            // Where no log is left, nothing is missed by not looking for one, for which a file has to be made.
            Err(_) if !has_log(path) => connect_to_frozen(path).map_err(fail).and_then(look)?,
            read => read?,
        };
        if usize::try_from(found).ok() != Some(MIGRATIONS.len()) {
            return Err(error(path, Fault::ReadOnly));
        }
        let id = connection.query_row("SELECT id FROM store", [], |row| row.get(0)).map_err(fail)?;
        Ok(Self { connection, path: path.into(), file, id, is_new: false })
    }

    /// The file as it was opened; `SQLite` keeps others beside it (`-wal`, `-shm`).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A random number that another file has not.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Whether there was nothing in it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The histories of the sets' keys.
    pub fn history(&self) -> Result<History, StoreError> {
        self.read_history().map_err(|error| failure(&self.path, error))
    }

    fn read_history(&self) -> rusqlite::Result<History> {
        let mut statement = self.connection.prepare("SELECT name, history FROM sets")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut history = History::default();
        for row in rows {
            let (name, text) = row?;
            let set = state::decode_set(&text).map_err(|error| unreadable(1, error))?;
            history.sets.insert(name, set);
        }
        Ok(history)
    }
}

impl Store for Sqlite {
    fn is_named_by(&self, key: Option<Fingerprint>) -> Result<bool, StoreError> {
        let read = || {
            let named_by: Option<String> = self.connection.query_row(NAMED_BY, [], |row| row.get(0))?;
            match named_by {
                Some(digits) => Ok(key.is_some_and(|key| key.to_hex() == digits)),
                // An earlier keyward did not write it down.
                None => Ok(key.is_some() || self.connection.query_row(IS_BLANK, [], |row| row.get(0))?),
            }
        };
        read().map_err(|error| failure(&self.path, error))
    }

    fn load(&mut self, bindings: usize) -> Result<Remembered, StoreError> {
        let load = || {
            let history = self.read_history()?;
            let projects = read_projects(&self.connection)?;
            let expiries = expiries::read_all(&self.connection)?;
            Ok(Remembered { history, projects, expiries, ..read_rows(&self.connection, bindings)? })
        };
        load().map_err(|error| failure(&self.path, error))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let path = &self.path;
        let mut write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if !is_news(&transaction, batch)? {
                return Ok(true);
            }
            if !name(&transaction, batch.named_by)? {
                return Ok(false);
            }
            for change in &batch.bindings {
                write_binding(&transaction, change)?;
            }
            for (binding, incident, added) in &batch.incidents {
                write_incident(&transaction, *binding, incident, *added)?;
            }
            write_rest(&transaction, batch)?;
            transaction.commit()?;
            Ok(true)
        };
        let is_named_by_it = write().map_err(|error| failure(path, error))?;
        if is_named_by_it { Ok(()) } else { Err(error(path, Fault::NamedOtherwise)) }
    }

    fn forget(&mut self, limits: Limits, kept: &[Fingerprint]) -> Result<(), StoreError> {
        let path = &self.path;
        let keys = serde_json::to_string(kept).unwrap_or_default();
        let mut forget = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let [before, strangers] = [limits.before, limits.strangers_before].map(Timestamp::as_millis);
            let kept = i64::try_from(ClosedIncidents::TOTAL).unwrap_or(i64::MAX);
            transaction.execute(FORGET_BINDINGS, params![before, strangers, keys])?;
            transaction.execute("DELETE FROM uses WHERE last < ?1", [before])?;
            transaction.execute("DELETE FROM incidents WHERE closed < ?1", [before])?;
            transaction.execute(TRIM_INCIDENTS, [kept])?;
            transaction.execute("DELETE FROM hours WHERE hour < ?1 - 3600000", [before])?;
            transaction.execute("DELETE FROM writers WHERE seen < ?1", [before])?;
            transaction.commit()
        };
        forget().map_err(|error| failure(path, error))
    }

    fn rest(&self) {
        // What cannot be given back is only memory. The system keeps the file's pages at hand as well.
        let _ = self.connection.release_memory();
    }

    fn is_in_place(&self) -> bool {
        identity(&self.path) == Some(self.file)
    }
}

const NAMED_BY: &str = "SELECT named_by FROM store";

/// Whether no key is named in it.
const IS_BLANK: &str = "SELECT NOT EXISTS (SELECT 1 FROM bindings) AND NOT EXISTS (SELECT 1 FROM sets)";

/// Changes nothing where keys are named otherwise.
const NAME: &str = "UPDATE store SET named_by = ?1 WHERE ifnull(named_by, ?1) = ?1";

/// A binding stays as long as evidence of it does.
const FORGET_BINDINGS: &str = "DELETE FROM bindings WHERE (seen < ?1 OR (seen < ?2 AND well IS NULL)) AND NOT EXISTS \
  (SELECT 1 FROM evidence WHERE kind = 'uses' AND evidence.id = printf('%016x', bindings.id) \
   AND EXISTS (SELECT 1 FROM json_each(?3) AS kept WHERE instr(evidence.value, kept.value)))";

const TRIM_INCIDENTS: &str = "DELETE FROM incidents WHERE closed IS NOT NULL AND id NOT IN \
  (SELECT id FROM incidents WHERE closed IS NOT NULL ORDER BY closed DESC LIMIT ?1)";

// === Opening ===

/// The shapes that a store has had: each text makes the next one of the one before.
const MIGRATIONS: [&str; 8] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
    include_str!("migrations/8.sql"),
];

/// Tells keyward's files from those of other programs: `kwrd`.
const APPLICATION: i64 = 0x6b77_7264;

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // What is locked for longer is tried again with the next batch.
    connection.busy_timeout(Duration::from_millis(200))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Ids are hashes, so that what changes lies all over the file: 8 MB of it are kept at hand.
    connection.pragma_update(None, "cache_size", -8_000)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// A file that no process writes, as on a disk that may only be read: without its log, and without locks.
fn connect_to_frozen(path: &Path) -> rusqlite::Result<Connection> {
    let path = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)
}

/// Whether something may stand in the file's log alone.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0)
}

/// The version of the file's shape; 0 for an empty one.
fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let read = |pragma| read(pragma).map_err(|error| failure(path, error));
    let (application, version) = (read("application_id")?, read("user_version")?);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let is_empty = || {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        tables.map(|tables| tables == 0).map_err(|error| failure(path, error))
    };
    match (application, version) {
        (APPLICATION, found) if found > known => Err(error(path, Fault::Newer { found, known })),
        (APPLICATION, found) => Ok(found),
        (0, 0) if is_empty()? => Ok(0),
        _ => Err(error(path, Fault::Foreign)),
    }
}

/// Brings a file of that version into the present shape.
fn migrate(connection: &mut Connection, path: &Path, version: i64, shapes: &[&str]) -> Result<(), StoreError> {
    let fail = |error| failure(path, error);
    let done = usize::try_from(version).unwrap_or_default();
    if done == shapes.len() {
        return Ok(());
    }
    if version == 0 {
        connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    } else {
        copy_aside(connection, path, version)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(fail)?;
    for shape in &shapes[done..] {
        transaction.execute_batch(shape).map_err(fail)?;
    }
    if version == 0 {
        transaction.execute("INSERT INTO store (id) VALUES (random())", []).map_err(fail)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
    transaction.pragma_update(None, "user_version", i64::try_from(shapes.len()).unwrap_or(i64::MAX)).map_err(fail)?;
    transaction.commit().map_err(fail)
}

/// A copy of the file in its old shape, so that you can go back to an earlier keyward: `keyward.db.1`. One that is there
/// already was made by an attempt that failed, or on an earlier way back and forth, and is replaced. Gives the copy's path.
pub fn copy_aside(connection: &Connection, path: &Path, version: i64) -> Result<PathBuf, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{version}"));
    let copy = PathBuf::from(name);
    match std::fs::remove_file(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(closed(&copy, error)),
        Ok(()) | Err(_) => {}
    }
    make_private(&copy)?;
    let done = connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]);
    done.map_err(|error| failure(&copy, error))?;
    Ok(copy)
}

/// Makes an empty file for its owner alone, where there is none. `SQLite` gives its log the same mode.
///
/// One that is there is only asked whether it may be written: to open and close it beside `SQLite` ends the locks of all
/// connections that this process has to it (<https://sqlite.org/howtocorrupt.html>, 2.2), and another process may then take its
/// log away.
fn make_private(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| closed(path, error))?;
    }
    let made = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_empty) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            rustix::fs::access(path, Access::WRITE_OK).map_err(io::Error::from)
        }
        Err(error) => Err(error),
    };
    made.map_err(|error| closed(path, error))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

// === Writing ===

/// Says by which fingerprint key keys are known from now on, unless they are known by another one. Says whether they are by this.
pub(super) fn name(transaction: &Transaction<'_>, key: Fingerprint) -> rusqlite::Result<bool> {
    Ok(transaction.prepare_cached(NAME)?.execute([key.to_hex()])? > 0)
}

/// Records the batch. Not news: it was written before.
fn is_news(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<bool> {
    let (writer, sequence) = (batch.writer.cast_signed(), i64::try_from(batch.sequence).unwrap_or(i64::MAX));
    let mut record = transaction.prepare_cached(
        "INSERT INTO writers VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET sequence = ?2, seen = ?3 \
         WHERE sequence < ?2",
    )?;
    Ok(record.execute(params![writer, sequence, batch.at.as_millis()])? == 1)
}

fn write_binding(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let (binding, memory) = (&change.binding, &change.delta);
    let (id, identity) = (binding.id().0.cast_signed(), binding.identity());
    let visits = merged_visits(transaction, id, memory)?;
    let latest = memory.latest;
    transaction.prepare_cached(WRITE_BINDING)?.execute(named_params! {
        ":id": id,
        ":set_name": &*change.set,
        ":holder": identity.holder.code(),
        ":instance": identity.instance,
        ":workflow": identity.workflow,
        ":node": identity.node,
        ":family": identity.family.code(),
        ":peer": identity.peer.to_string(),
        ":key": hex(identity.key),
        ":workflow_name": memory.name,
        ":seen": memory.last_seen().map_or(0, Timestamp::as_millis),
        ":visits": visits,
        ":latest_at": latest.map(|latest| latest.at.as_millis()),
        ":latest_key": latest.map(|latest| hex(latest.key)),
        ":latest_verdict": latest.map(|latest| latest.finding.verdict()),
        ":latest_diagnosis": latest.map(|latest| latest.finding.diagnosis()),
        ":latest_outcome": latest.map(|latest| latest.finding.outcome()),
        ":latest_severity": latest.map(|latest| latest.finding.severity.code()),
        ":well": memory.well.map(Timestamp::as_millis),
        ":acknowledged": memory.acknowledged.map(Timestamp::as_millis),
        ":accepted_at": memory.accepted.as_ref().map(|accepted| accepted.at.as_millis()),
        ":accepted_key": memory.accepted.as_ref().map(|accepted| accepted.key.to_hex()),
        ":accepted_peer": memory.accepted.as_ref().map(|accepted| accepted.peer.to_string()),
        ":other_keys": number(memory.other_keys),
        ":retrying": memory.retrying.to_bytes(),
        ":client_version": memory.client_version,
    })?;
    memory.uses.iter().try_for_each(|used| write_use(transaction, id, used))
}

/// Of two facts, the one that started later stands; of the executions, those that were told last. The `max` of two is null
/// where one of them is.
const WRITE_BINDING: &str = "\
INSERT INTO bindings VALUES (:id, :set_name, :holder, :instance, :workflow, :node, :family, :peer, :key, :workflow_name,
  :seen, ifnull(:visits, x''), :latest_at, :latest_key, :latest_verdict, :latest_diagnosis, :latest_outcome,
  :latest_severity, :well, :acknowledged, :accepted_at, :accepted_key, :accepted_peer, :other_keys, :retrying,
  :client_version)
ON CONFLICT (id) DO UPDATE SET
  workflow_name = CASE WHEN :seen >= seen THEN ifnull(:workflow_name, workflow_name) ELSE workflow_name END,
  client_version = CASE WHEN :seen >= seen THEN ifnull(:client_version, client_version) ELSE client_version END,
  seen = max(seen, :seen),
  visits = ifnull(:visits, visits),
  latest_key = CASE WHEN :latest_at >= ifnull(latest_at, 0) THEN :latest_key ELSE latest_key END,
  latest_verdict = CASE WHEN :latest_at >= ifnull(latest_at, 0) THEN :latest_verdict ELSE latest_verdict END,
  latest_diagnosis = CASE WHEN :latest_at >= ifnull(latest_at, 0) THEN :latest_diagnosis ELSE latest_diagnosis END,
  latest_outcome = CASE WHEN :latest_at >= ifnull(latest_at, 0) THEN :latest_outcome ELSE latest_outcome END,
  latest_severity = CASE WHEN :latest_at >= ifnull(latest_at, 0) THEN :latest_severity ELSE latest_severity END,
  latest_at = max(ifnull(latest_at, :latest_at), ifnull(:latest_at, latest_at)),
  well = max(ifnull(well, :well), ifnull(:well, well)),
  acknowledged = max(ifnull(acknowledged, :acknowledged), ifnull(:acknowledged, acknowledged)),
  accepted_key = CASE WHEN :accepted_at >= ifnull(accepted_at, 0) THEN :accepted_key ELSE accepted_key END,
  accepted_peer = CASE WHEN :accepted_at >= ifnull(accepted_at, 0) THEN :accepted_peer ELSE accepted_peer END,
  accepted_at = max(ifnull(accepted_at, :accepted_at), ifnull(:accepted_at, accepted_at)),
  other_keys = other_keys + :other_keys,
  retrying = :retrying";

/// The visits as they are to be stored, where they are others.
fn merged_visits(transaction: &Transaction<'_>, id: i64, memory: &Memory) -> rusqlite::Result<Option<Vec<u8>>> {
    if !memory.unsaved.visited {
        return Ok(None);
    }
    let mut read = transaction.prepare_cached("SELECT visits FROM bindings WHERE id = ?1")?;
    let stored: Option<Vec<u8>> = read.query_row([id], |row| row.get(0)).optional()?;
    let mut visits = stored.map(|bytes| Visits::from_bytes(&bytes)).unwrap_or_default();
    visits.merge(&memory.visits);
    Ok(Some(visits.to_bytes()))
}

fn write_use(transaction: &Transaction<'_>, binding: i64, used: &KeyUse) -> rusqlite::Result<()> {
    let hint = used.key.and_then(|names| names.hint);
    transaction.prepare_cached(WRITE_USE)?.execute(named_params! {
        ":binding": binding,
        ":key": hex(used.key.map(|names| names.fingerprint)),
        ":hint_kind": hint.map(|hint| hint.prefix()),
        ":hint_last": hint.map(last_of),
        ":first": used.first.as_millis(),
        ":last": used.last.as_millis(),
        ":sightings": number(used.unsaved),
        ":verdict": used.finding.verdict(),
        ":diagnosis": used.finding.diagnosis(),
        ":outcome": used.finding.outcome(),
        ":severity": used.finding.severity.code(),
        ":execution": used.execution,
        ":word": used.word.map(Word::code),
    })?;
    Ok(())
}

const WRITE_USE: &str = "\
INSERT INTO uses VALUES (:binding, :key, :hint_kind, :hint_last, :first, :last, :sightings, :verdict, :diagnosis, :outcome,
  :severity, :execution, :word)
ON CONFLICT (binding, key) DO UPDATE SET
  first = min(first, :first),
  sightings = sightings + :sightings,
  verdict = CASE WHEN :last >= last THEN :verdict ELSE verdict END,
  diagnosis = CASE WHEN :last >= last THEN :diagnosis ELSE diagnosis END,
  outcome = CASE WHEN :last >= last THEN :outcome ELSE outcome END,
  severity = CASE WHEN :last >= last THEN :severity ELSE severity END,
  execution = CASE WHEN :last >= last THEN ifnull(:execution, execution) ELSE execution END,
  word = CASE WHEN :last >= last THEN ifnull(:word, word) ELSE word END,
  last = max(last, :last)";

fn write_incident(
    transaction: &Transaction<'_>,
    binding: BindingId,
    incident: &Incident,
    added: u64,
) -> rusqlite::Result<()> {
    let hint = incident.key.and_then(|names| names.hint);
    let closed = incident.closed.as_ref();
    transaction.prepare_cached(WRITE_INCIDENT)?.execute(named_params! {
        ":id": incident.id.0.cast_signed(),
        ":binding": binding.0.cast_signed(),
        ":opened": incident.opened.as_millis(),
        ":last": incident.last.as_millis(),
        ":sightings": number(added),
        ":diagnosis": incident.diagnosis,
        ":severity": incident.severity.code(),
        ":key": hex(incident.key.map(|names| names.fingerprint)),
        ":hint_kind": hint.map(|hint| hint.prefix()),
        ":hint_last": hint.map(last_of),
        ":execution": incident.execution,
        ":closed": closed.map(|closed| closed.at.as_millis()),
        ":closed_by": closed.map(|closed| closed.by.code()),
        ":closed_execution": closed.and_then(|closed| closed.execution.as_deref()),
        ":path": incident.path,
    })?;
    if closed.is_some() {
        let kept = i64::try_from(ClosedIncidents::PER_BINDING).unwrap_or(i64::MAX);
        transaction.prepare_cached(TRIM_INCIDENTS_OF_BINDING)?.execute([binding.0.cast_signed(), kept])?;
    }
    Ok(())
}

/// So that what flaps makes the file no larger.
const TRIM_INCIDENTS_OF_BINDING: &str = "DELETE FROM incidents WHERE id IN \
  (SELECT id FROM incidents WHERE binding = ?1 AND closed IS NOT NULL ORDER BY closed DESC LIMIT -1 OFFSET ?2)";

/// A binding that was forgotten meanwhile has no incidents. What is closed stays closed.
const WRITE_INCIDENT: &str = "\
INSERT INTO incidents SELECT :id, :binding, :opened, :last, :sightings, :diagnosis, :severity, :key, :hint_kind, :hint_last,
  :execution, :closed, :closed_by, :closed_execution, :path
WHERE EXISTS (SELECT 1 FROM bindings WHERE id = :binding)
ON CONFLICT (id) DO UPDATE SET
  opened = min(opened, :opened),
  sightings = sightings + :sightings,
  diagnosis = CASE WHEN :last >= last THEN :diagnosis ELSE diagnosis END,
  severity = CASE WHEN :last >= last THEN :severity ELSE severity END,
  path = CASE WHEN :last >= last THEN :path ELSE path END,
  key = CASE WHEN :last >= last THEN :key ELSE key END,
  hint_kind = CASE WHEN :last >= last THEN :hint_kind ELSE hint_kind END,
  hint_last = CASE WHEN :last >= last THEN :hint_last ELSE hint_last END,
  execution = CASE WHEN :last >= last THEN :execution ELSE execution END,
  last = max(last, :last),
  closed_by = CASE WHEN closed IS NULL THEN :closed_by ELSE closed_by END,
  closed_execution = CASE WHEN closed IS NULL THEN :closed_execution ELSE closed_execution END,
  closed = ifnull(closed, :closed)";

fn write_rest(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut hours = transaction.prepare_cached(
        "INSERT INTO hours VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO UPDATE SET exchanges = exchanges + excluded.exchanges",
    )?;
    for (set, hour, exchanges) in &batch.hours {
        let (begin, key) = (hour.begin().as_millis(), hex(hour.key));
        hours.execute(params![begin, &**set, key, hour.verdict(), hour.outcome(), number(*exchanges)])?;
    }
    let mut sets = transaction.prepare_cached("INSERT OR REPLACE INTO sets VALUES (?1, ?2)")?;
    for (name, history) in &batch.histories {
        sets.execute(params![name, state::encode_set(history)])?;
    }
    let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO evidence VALUES (?1, ?2, ?3, ?4)")?;
    let mut remove =
        transaction.prepare_cached("DELETE FROM evidence WHERE set_name = ?1 AND kind = ?2 AND id = ?3")?;
    for (set, row) in &batch.evidence {
        match &row.value {
            Some(value) => put.execute(params![&**set, row.kind, row.id, value])?,
            None => remove.execute(params![&**set, row.kind, row.id])?,
        };
    }
    write_projects(transaction, &batch.projects)?;
    expiries::write_all(transaction, &batch.expiries)
}

/// The first word of a key stands, and those that came last are kept.
fn write_projects(transaction: &Transaction<'_>, projects: &[(Fingerprint, Box<str>)]) -> rusqlite::Result<()> {
    if projects.is_empty() {
        return Ok(());
    }
    for (key, project) in projects {
        transaction.execute(WRITE_PROJECT, params![key.to_hex(), project])?;
    }
    transaction.execute(TRIM_PROJECTS, [i64::try_from(projects::MOST).unwrap_or(i64::MAX)]).map(drop)
}

const WRITE_PROJECT: &str = "INSERT OR IGNORE INTO projects (key, project) VALUES (?1, ?2)";

const TRIM_PROJECTS: &str =
    "DELETE FROM projects WHERE id IN (SELECT id FROM projects ORDER BY id DESC LIMIT -1 OFFSET ?1)";

// === Reading ===

fn read_rows(connection: &Connection, most: usize) -> rusqlite::Result<Remembered> {
    let unknown = Unknown::default();
    let mut bindings = read_bindings(connection, most, &unknown)?;
    read_uses(connection, &mut bindings, &unknown)?;
    let closed = read_incidents(connection, &mut bindings, &unknown)?;
    let hours = read_hours(connection, &unknown)?;
    let evidence = read_evidence(connection)?;
    let (bindings, unknown) = (bindings.in_order, unknown.into_inner());
    Ok(Remembered { bindings, closed, hours, evidence, unknown, ..Remembered::default() })
}

/// Bindings as they are put together.
struct Bindings {
    in_order: Vec<RememberedBinding>,
    by_id: HashMap<i64, usize>,
}

impl Bindings {
    fn memory(&mut self, id: i64) -> Option<&mut Memory> {
        let position = *self.by_id.get(&id)?;
        self.in_order.get_mut(position).map(|binding| &mut binding.memory)
    }
}

fn read_bindings(connection: &Connection, most: usize, unknown: &Unknown) -> rusqlite::Result<Bindings> {
    let mut statement = connection.prepare("SELECT * FROM bindings ORDER BY seen DESC LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut bindings = Bindings { in_order: Vec::new(), by_id: HashMap::new() };
    while let Some(row) = rows.next()? {
        let Some(binding) = read_binding(&mut Columns::of(row, unknown))? else { continue };
        bindings.by_id.insert(binding.id.0.cast_signed(), bindings.in_order.len());
        bindings.in_order.push(binding);
    }
    Ok(bindings)
}

/// Nothing where its id cannot be made again, as that of an untagged binding of an unknown family.
fn read_binding(columns: &mut Columns<'_>) -> rusqlite::Result<Option<RememberedBinding>> {
    let (id, set): (i64, Box<str>) = (columns.next()?, columns.next()?);
    let Some(holder) = columns.known("holder of a binding", LEFT_OUT)? else { return Ok(None) };
    let declared: [Option<Box<str>>; 3] = [columns.next()?, columns.next()?, columns.next()?];
    let is_tagged = declared.iter().any(Option::is_some);
    let family =
        columns.known("client family of a binding", if is_tagged { "it counts as `other`" } else { LEFT_OUT })?;
    let Some(family) = family.or(is_tagged.then_some(Family::Other)) else { return Ok(None) };
    let (peer, key) = (columns.peer()?, columns.key()?);
    let name = columns.next()?;
    let _seen: i64 = columns.next()?;
    let visits = Visits::from_bytes(columns.bytes()?);
    let latest = (columns.moment()?, columns.key()?, columns.finding()?);
    let (well, acknowledged) = (columns.moment()?, columns.moment()?);
    let accepted = (columns.moment()?, columns.key()?, columns.optional_peer()?);
    let (other_keys, retrying) = (columns.count()?, Retrying::from_bytes(columns.bytes()?));
    let client_version = columns.next()?;
    Ok(Some(RememberedBinding {
        id: BindingId(id.cast_unsigned()),
        set,
        holder,
        declared,
        family,
        peer,
        key,
        memory: Memory {
            other_keys,
            accepted: match accepted {
                (Some(at), Some(key), Some(peer)) => Some(Box::new(Accepted { key, at, peer })),
                _ => None,
            },
            name,
            client_version,
            visits,
            latest: latest.0.zip(latest.2).map(|(at, finding)| Latest { at, key: latest.1, finding }),
            well,
            acknowledged,
            retrying,
            ..Memory::default()
        },
    }))
}

fn read_uses(connection: &Connection, bindings: &mut Bindings, unknown: &Unknown) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT * FROM uses")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row, unknown);
        let Some(memory) = bindings.memory(columns.next()?) else { continue };
        if let Some(used) = read_use(&mut columns)? {
            memory.add_use(used);
        }
    }
    Ok(())
}

fn read_use(columns: &mut Columns<'_>) -> rusqlite::Result<Option<KeyUse>> {
    let key = columns.names()?;
    let (Some(first), Some(last)) = (columns.moment()?, columns.moment()?) else { return Ok(None) };
    let sightings = columns.count()?;
    let Some(finding) = columns.finding()? else { return Ok(None) };
    let (execution, word) = (columns.next()?, columns.known("word of upstream's on a key", "it counts as none")?);
    Ok(Some(KeyUse { key, first, last, sightings, finding, execution, word, unsaved: 0, is_revised: false }))
}

/// Puts open incidents where they belong, and gives back those that are over.
fn read_incidents(
    connection: &Connection,
    bindings: &mut Bindings,
    unknown: &Unknown,
) -> rusqlite::Result<Vec<(BindingId, Incident)>> {
    let mut closed = Vec::new();
    let mut statement = connection.prepare("SELECT * FROM incidents ORDER BY closed")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row, unknown);
        let (id, binding): (i64, i64) = (columns.next()?, columns.next()?);
        let Some(memory) = bindings.memory(binding) else { continue };
        match read_incident(id, &mut columns)? {
            Some(incident) if incident.closed.is_some() => closed.push((BindingId(binding.cast_unsigned()), incident)),
            Some(incident) => memory.incident = Some(Box::new(incident)),
            None => {}
        }
    }
    Ok(closed)
}

fn read_incident(id: i64, columns: &mut Columns<'_>) -> rusqlite::Result<Option<Incident>> {
    let (Some(opened), Some(last)) = (columns.moment()?, columns.moment()?) else { return Ok(None) };
    let sightings = columns.count()?;
    let Some(diagnosis) = columns.coded::<DiagnosisKind>("diagnosis of an incident")? else { return Ok(None) };
    let severity = columns.severity()?.unwrap_or(Severity::Error);
    let (key, execution, closed) = (columns.names()?, columns.next()?, columns.moment()?);
    let (by, end) = (columns.coded::<Closing>("end of an incident")?, columns.next()?);
    let path = columns.next()?;
    Ok(Some(Incident {
        id: IncidentId(id.cast_unsigned()),
        opened,
        last,
        sightings,
        diagnosis: diagnosis.code(),
        severity,
        key,
        execution,
        path,
        closed: closed.zip(by).map(|(at, by)| Closed { at, by, execution: end }),
    }))
}

fn read_hours(connection: &Connection, unknown: &Unknown) -> rusqlite::Result<Vec<(Box<str>, StoredHour)>> {
    let mut statement = connection.prepare("SELECT * FROM hours ORDER BY hour DESC LIMIT ?1")?;
    let most = i64::try_from(super::hours::ROWS).unwrap_or(i64::MAX);
    let rows = statement.query_map([most], |row| {
        let mut columns = Columns::of(row, unknown);
        let (begin, set) = (columns.moment()?.unwrap_or(Timestamp::from_millis(0)), columns.next()?);
        let key = columns.key()?;
        let (verdict, outcome) = (columns.coded("verdict of an hour")?, columns.coded("outcome of an hour")?);
        let exchanges = columns.count()?;
        Ok(verdict.zip(outcome).map(|(verdict, outcome)| (set, StoredHour { begin, key, verdict, outcome, exchanges })))
    })?;
    rows.filter_map(Result::transpose).collect()
}

fn read_evidence(connection: &Connection) -> rusqlite::Result<Vec<(Box<str>, Stored)>> {
    let mut statement = connection.prepare("SELECT * FROM evidence")?;
    let rows = statement.query_map([], |row| {
        let unknown = Unknown::default();
        let mut columns = Columns::of(row, &unknown);
        let set = columns.next()?;
        Ok((set, Stored { kind: columns.next()?, id: columns.next()?, value: columns.next()? }))
    })?;
    rows.collect()
}

/// What is no fingerprint is left out.
fn read_projects(connection: &Connection) -> rusqlite::Result<KeyProjects> {
    let mut statement = connection.prepare("SELECT key, project FROM projects ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    rows.filter_map(|row| row.map(|(key, project)| Some((key.parse().ok()?, project))).transpose()).collect()
}

/// The columns of a row, in the order in which the table has them: looking each one up by its name would take longer than
/// all the rest.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
    unknown: &'r Unknown,
}

/// The codes that were read and are not known.
type Unknown = RefCell<BTreeSet<UnknownInStore>>;

impl<'r> Columns<'r> {
    fn of(row: &'r Row<'r>, unknown: &'r Unknown) -> Self {
        Self { row, next: 0, unknown }
    }

    fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn bytes(&mut self) -> rusqlite::Result<&'r [u8]> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_bytes_or_null()?.unwrap_or_default())
    }

    fn text(&mut self) -> rusqlite::Result<Option<&'r str>> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_str_or_null()?)
    }

    fn count(&mut self) -> rusqlite::Result<u64> {
        Ok(u64::try_from(self.next::<i64>()?).unwrap_or_default())
    }

    fn moment(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    /// What is no fingerprint is none.
    fn key(&mut self) -> rusqlite::Result<Option<Fingerprint>> {
        Ok(self.text()?.and_then(|digits| digits.parse().ok()))
    }

    fn names(&mut self) -> rusqlite::Result<Option<Names>> {
        let (key, kind, last) = (self.key()?, self.text()?, self.text()?);
        let hint = kind.zip(last).and_then(|(kind, last)| Hint::from_parts(kind, last));
        Ok(key.map(|fingerprint| Names { fingerprint, hint }))
    }

    /// A code, which is kept where it is not known.
    fn coded<T: Code>(&mut self, what: &'static str) -> rusqlite::Result<Option<Coded<T>>> {
        let code = self.text()?.map(Coded::read);
        if let Some(Coded::Unknown(code)) = code {
            self.note(what, code, "it is kept as it is");
        }
        Ok(code)
    }

    /// What has that code; nothing, and `instead` becomes of it, where it is not known.
    fn known<T: Code>(&mut self, what: &'static str, instead: &'static str) -> rusqlite::Result<Option<T>> {
        let Some(code) = self.text()? else { return Ok(None) };
        let known = T::from_code(code);
        if known.is_none() {
            self.note(what, UnknownCode::keep(code), instead);
        }
        Ok(known)
    }

    fn note(&self, what: &'static str, code: UnknownCode, instead: &'static str) {
        self.unknown.borrow_mut().insert(UnknownInStore { what, code: code.code(), instead });
    }

    fn severity(&mut self) -> rusqlite::Result<Option<Severity>> {
        self.known("severity of a diagnosis", "it counts as `error`")
    }

    fn finding(&mut self) -> rusqlite::Result<Option<Finding>> {
        let (verdict, diagnosis) = (self.coded("verdict of a sighting")?, self.coded("diagnosis of a sighting")?);
        let (outcome, severity) = (self.coded("outcome of a sighting")?, self.severity()?.unwrap_or(Severity::Error));
        let finding = || Some(Finding::read(verdict?, diagnosis?, outcome?, severity));
        Ok(finding())
    }

    fn optional_peer(&mut self) -> rusqlite::Result<Option<IpAddr>> {
        self.text()?.map(|text| text.parse().map_err(|error| unreadable(self.next - 1, error))).transpose()
    }

    fn peer(&mut self) -> rusqlite::Result<IpAddr> {
        self.optional_peer()?.ok_or(rusqlite::Error::InvalidQuery)
    }
}

// === Columns ===

/// What becomes of a binding that cannot be known again.
const LEFT_OUT: &str = "the binding is left out, and stays in the store";

/// All digits of a fingerprint; nothing for none.
fn hex(key: Option<Fingerprint>) -> String {
    key.map_or_else(String::new, Fingerprint::to_hex)
}

fn last_of(hint: Hint) -> String {
    String::from_utf8_lossy(hint.last()).into_owned()
}

/// No count comes near the end of the numbers that `SQLite` has.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

// === Errors ===

fn error(path: &Path, fault: Fault) -> StoreError {
    StoreError { path: path.into(), fault, source: None }
}

fn closed(path: &Path, source: io::Error) -> StoreError {
    let fault = if source.kind() == io::ErrorKind::StorageFull { Fault::Full } else { Fault::Closed };
    StoreError { path: path.into(), fault, source: Some(Box::new(source)) }
}

/// Values are never part of what `SQLite` says of a failure.
pub(super) fn failure(path: &Path, source: rusqlite::Error) -> StoreError {
    let fault = match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Locked,
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Fault::ReadOnly,
        Some(ErrorCode::CannotOpen) => Fault::Closed,
        // Without a code, it is a value that keyward cannot have written.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => Fault::Damaged,
        Some(_) => Fault::Other,
    };
    StoreError { path: path.into(), fault, source: Some(Box::new(source)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::keys::fingerprint::FingerprintKey;

    #[test]
    fn a_store_of_an_earlier_shape_is_copied_before_it_is_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyward.db");
        let store = Sqlite::open(&path).expect("a new store");
        let (id, is_new) = (store.id(), store.is_new());
        assert!(is_new);
        store.connection.execute("INSERT INTO sets VALUES ('default', '{}')", []).expect("a row");
        drop(store);
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("opened");
        let known = i64::try_from(MIGRATIONS.len()).expect("a small number");
        let next = "ALTER TABLE sets ADD COLUMN extra TEXT; UPDATE sets SET extra = name";
        let shapes: Vec<_> = MIGRATIONS.into_iter().chain([next]).collect();
        for _ in 0..2 {
            let found = connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
            migrate(&mut connection, &path, found, &shapes).expect("the next shape, and nothing the second time");
        }
        let extra: String = connection.query_row("SELECT extra FROM sets", [], |row| row.get(0)).expect("a row");
        assert_eq!(extra, "default");
        drop(connection);
        let fault = Sqlite::open(&path).err().map(|error| error.fault);
        assert_eq!(fault, Some(Fault::Newer { found: known + 1, known }));
        let copy = folder.path().join(format!("keyward.db.{known}"));
        assert_eq!(std::fs::metadata(&copy).expect("a copy").permissions().mode() & 0o777, 0o600);
        let old = Sqlite::open(&copy).expect("a whole store of the old shape");
        assert_eq!((old.id(), old.is_new()), (id, false));
        let sets: i64 = old.connection.query_row("SELECT count(*) FROM sets", [], |row| row.get(0)).expect("rows");
        assert_eq!(sets, 1);
    }

    #[test]
    fn a_store_of_the_first_shape_is_taken_over_and_named_by_the_first_batch() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyward.db");
        make_private(&path).expect("a file");
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("opened");
        migrate(&mut connection, &path, 0, &MIGRATIONS[..1]).expect("the first shape");
        connection
            .execute_batch(
                "INSERT INTO bindings VALUES (7, 'default', 'caller', NULL, 'w', 'n', 'sdk', '127.0.0.1', '', NULL, 5, x'', \
                 NULL, NULL, NULL, NULL, NULL, NULL, 4, NULL, NULL, NULL, NULL, 3)",
            )
            .expect("a row");
        drop(connection);
        let mut store = Sqlite::open(&path).expect("the present shape");
        let remembered = store.load(10).expect("read").bindings;
        let memory = &remembered[0].memory;
        assert_eq!((memory.well, memory.other_keys), (Some(Timestamp::from_millis(4)), 3));
        assert_eq!(memory.retrying, Retrying::default());
        assert!(folder.path().join("keyward.db.1").exists());
        let key = |byte| FingerprintKey::new(&[byte; 32]).name();
        let is_named_by = |store: &Sqlite, key| store.is_named_by(key).expect("read");
        assert!(!is_named_by(&store, None), "something is named in it, and by no key that is here");
        assert!(
            is_named_by(&store, Some(key(1))) && is_named_by(&store, Some(key(2))),
            "it is not written down by whom"
        );
        let batch = |sequence, byte| Batch {
            writer: 1,
            sequence,
            at: Timestamp::from_millis(9),
            named_by: key(byte),
            bindings: Vec::new(),
            incidents: Vec::new(),
            hours: Vec::new(),
            histories: Vec::new(),
            evidence: Vec::new(),
            projects: Vec::new(),
            expiries: Vec::new(),
        };
        store.write(&batch(1, 1)).expect("written");
        assert!(is_named_by(&store, Some(key(1))) && !is_named_by(&store, Some(key(2))) && !is_named_by(&store, None));
        let fault = store.write(&batch(2, 2)).err().map(|error| error.fault);
        assert_eq!(fault, Some(Fault::NamedOtherwise));
        store.write(&batch(2, 1)).expect("nothing of the other one was recorded");
    }

    #[test]
    fn a_store_is_read_without_writing_beside_who_writes_it_and_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a # strange % name.db");
        let store = Sqlite::open(&path).expect("a new store");
        store
            .connection
            .execute("INSERT INTO sets VALUES ('default', '{\"previous\":[],\"learned\":[]}')", [])
            .expect("a row");
        let beside = Sqlite::open_unwritable(&path).expect("readable");
        assert_eq!((beside.id(), beside.history().expect("read").sets.len()), (store.id(), 1));
        assert!(beside.connection.execute("DELETE FROM sets", []).is_err());
        drop((beside, store));
        let frozen = connect_to_frozen(&path).expect("readable");
        let sets: i64 = frozen.query_row("SELECT count(*) FROM sets", [], |row| row.get(0)).expect("a row");
        assert_eq!(sets, 1);
        assert!(frozen.execute("DELETE FROM sets", []).is_err());
        let nowhere = Sqlite::open_unwritable(&folder.path().join("none.db")).err().map(|error| error.fault);
        assert_eq!(nowhere, Some(Fault::Gone));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyward.db");
        drop(Sqlite::open(&path).expect("a new store"));
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("opened");
        let known = i64::try_from(MIGRATIONS.len()).expect("a small number");
        let shapes: Vec<_> =
            MIGRATIONS.into_iter().chain(["ALTER TABLE sets ADD COLUMN extra TEXT; SELECT nonsense"]).collect();
        assert!(migrate(&mut connection, &path, known, &shapes).is_err());
        drop(connection);
        Sqlite::open(&path).expect("as it was");
    }
}
