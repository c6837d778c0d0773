//! What n8n calls its workflows and nodes, as the store keeps it: for a start while n8n is down.
//!
//! It is written beside the ledger's own thread, by the thread that asks n8n, a few workflows at a time: so that the ledger never
//! finds the store locked for long.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{TransactionBehavior, params};

use super::sqlite::{Sqlite, failure};
use super::store::StoreError;
use crate::caller::names::{Node, Workflow};

/// The workflows of one n8n, by id.
pub type Workflows = HashMap<Box<str>, Arc<Workflow>>;

/// The workflows of that n8n as the store in that file has them. A file that is not there, or is of an earlier keyward, has
/// none.
pub fn read(path: &Path, instance: &str) -> Result<Workflows, StoreError> {
    let Some(store) = Sqlite::open_to_read(path)? else { return Ok(Workflows::new()) };
    let read = || {
        let has_table = "SELECT count(*) FROM sqlite_schema WHERE name = 'n8n_workflows'";
        if store.connection.query_row(has_table, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(Workflows::new());
        }
        let mut statement =
            store.connection.prepare("SELECT id, name, nodes FROM n8n_workflows WHERE instance = ?1 LIMIT ?2")?;
        let rows = statement.query_map(params![instance, MOST_WORKFLOWS], |row| {
            Ok((row.get::<_, Box<str>>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| row.map(|(id, name, nodes)| (id, Arc::new(Workflow::new(&name, decoded(&nodes)))))).collect()
    };
    read().map_err(|error| failure(path, error))
}

/// Brings what the store in that file has of that n8n from `before` to `now`.
pub fn write(path: &Path, instance: &str, before: &Workflows, now: &Workflows) -> Result<(), StoreError> {
    let gone: Vec<_> = before.keys().filter(|id| !now.contains_key(*id)).map(|id| (id, None)).collect();
    let news = now.iter().filter(|(id, workflow)| before.get(*id) != Some(*workflow));
    let news: Vec<_> = news.map(|(id, workflow)| (id, Some(workflow))).collect();
    if gone.is_empty() && news.is_empty() {
        return Ok(());
    }
    let mut store = Sqlite::open(path)?;
    let changes: Vec<_> = gone.into_iter().chain(news).collect();
    changes
        .chunks(AT_A_TIME)
        .try_for_each(|changes| write_some(&mut store, instance, changes).map_err(|error| failure(path, error)))
}

type Change<'w> = (&'w Box<str>, Option<&'w Arc<Workflow>>);

fn write_some(store: &mut Sqlite, instance: &str, changes: &[Change<'_>]) -> rusqlite::Result<()> {
    let transaction = store.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (id, workflow) in changes {
        match workflow {
            Some(workflow) => transaction
                .prepare_cached("INSERT OR REPLACE INTO n8n_workflows VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![instance, id, workflow.name, encoded(workflow.nodes())])?,
            None => transaction
                .prepare_cached("DELETE FROM n8n_workflows WHERE instance = ?1 AND id = ?2")?
                .execute(params![instance, id])?,
        };
    }
    transaction.commit()
}

/// `[id, name, type, credential record]`.
type Row<'n> = (&'n str, &'n str, &'n str, Option<&'n str>);

fn encoded(nodes: &[Node]) -> String {
    let row = |node: &Node| -> serde_json::Value {
        let row: Row<'_> = (&node.id, &node.name, &node.kind, node.credential.as_deref());
        serde_json::json!([row.0, row.1, row.2, row.3])
    };
    nodes.iter().map(row).collect::<serde_json::Value>().to_string()
}

/// What cannot be read has no nodes: n8n is asked again soon.
fn decoded(text: &str) -> Vec<Node> {
    let rows: Vec<(String, String, String, Option<String>)> = serde_json::from_str(text).unwrap_or_default();
    rows.iter().map(|(id, name, kind, credential)| Node::new(id, name, kind, credential.as_deref())).collect()
}

/// How many are written in one transaction.
const AT_A_TIME: usize = 200;

/// As many as are ever kept in memory.
const MOST_WORKFLOWS: i64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(name: &str, nodes: usize) -> Arc<Workflow> {
        let node =
            |number: usize| Node::new(&format!("n{number}"), "Ask \"it\"", "type", (number > 0).then_some("Key"));
        Arc::new(Workflow::new(name, (0..nodes).map(node).collect()))
    }

    #[test]
    fn what_was_written_is_read_and_what_is_gone_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keyward.db");
        assert!(read(&path, "main").expect("no file").is_empty());
        let many: Workflows = (0..500).map(|id| (id.to_string().into(), workflow("Many", 2))).collect();
        write(&path, "main", &Workflows::new(), &many).expect("written");
        write(&path, "other", &Workflows::new(), &many).expect("written");
        assert_eq!(read(&path, "main").expect("read"), many);
        let mut fewer = many.clone();
        fewer.retain(|id, _| id.len() < 3);
        fewer.insert("7".into(), workflow("Renamed", 3));
        write(&path, "main", &many, &fewer).expect("written");
        assert_eq!(read(&path, "main").expect("read"), fewer);
        assert_eq!(read(&path, "other").expect("read"), many);
    }
}
