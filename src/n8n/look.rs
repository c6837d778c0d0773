//! Pure. What the ledger is told of one n8n that was looked through: which credential record each node names, and since when.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::inventory::{Inventory, Kind, Node, OPEN_AI_API};
use crate::clock::Timestamp;
use crate::ledger::look::{Look, NamedRecord, RecordState, Users};

/// The look by what was found at a moment, with what is still true of the look before. It knows of no executions: those are
/// asked for by themselves. `apart` is how far n8n's clock was ahead then ([`Look::apart`]).
#[must_use]
pub fn look(inventory: &Inventory, before: Option<&Look>, instance: &str, at: Timestamp, apart: i64) -> Look {
    let by_n8n = Timestamp::from_millis(at.as_millis().saturating_add(apart));
    Look {
        instance: instance.into(),
        at,
        workflows: workflows(inventory),
        nodes: nodes(inventory, before, at.max(by_n8n)),
        nodes_there: inventory.nodes_there.clone(),
        records: records(inventory, before),
        lists_records: inventory.lists_records,
        executions: BTreeMap::new(),
        unfinished: Vec::new(),
        clocks_apart: [apart, before.map_or(0, |before| before.clocks_apart[0])],
        users: Users::default(),
    }
}

/// The ids that requests of this n8n may name: those of workflows that stand in nodes as well.
fn workflows(inventory: &Inventory) -> HashSet<Box<str>> {
    let inside = inventory.workflows.iter().flat_map(|workflow| &workflow.nodes).filter_map(|node| node.within.clone());
    inventory.workflows.iter().map(|workflow| workflow.id.clone()).chain(inside).collect()
}

/// The nodes with a record, but for those that ask an agent: its requests never come with their ids. A node whose draft names
/// another record has none: run by hand, the draft sends that one's key by the ids of the node that is published.
fn nodes(inventory: &Inventory, before: Option<&Look>, at: Timestamp) -> HashMap<(Box<str>, Box<str>), NamedRecord> {
    let mut nodes = HashMap::new();
    for workflow in &inventory.workflows {
        let differs = |node: &Node| workflow.changes.iter().any(|change| change.node == node.id);
        for node in workflow.nodes.iter().filter(|node| node.kind != Kind::Agent && !differs(node)) {
            let Some(record) = node.chosen() else { continue };
            let ids = (Box::from(workflow.named_by(node)), node.id.clone());
            let known = before.and_then(|before| before.nodes.get(&ids)).filter(|known| known.record == record.id);
            let since = known.map_or(at, |known| known.since);
            // What runs stands before what is new in a draft.
            nodes.entry(ids).or_insert_with(|| NamedRecord { record: record.id.clone(), since });
        }
    }
    nodes
}

fn records(inventory: &Inventory, before: Option<&Look>) -> BTreeMap<Box<str>, RecordState> {
    let mut used: HashMap<&str, usize> = HashMap::new();
    for workflow in &inventory.workflows {
        let nodes = workflow.nodes.iter().filter(|node| workflow.may_run(node));
        for record in nodes.filter_map(Node::chosen) {
            *used.entry(&record.id).or_default() += 1;
        }
    }
    let of_open_ai = inventory.records.iter().filter(|(_, facts)| &*facts.kind == OPEN_AI_API);
    let state = |(id, facts): (&String, &super::inventory::RecordFacts)| {
        let known = before.and_then(|before| before.records.get(&**id));
        let pressed = known.filter(|known| known.changed == facts.updated).and_then(|known| known.pressed);
        let nodes = used.get(&**id).copied().unwrap_or_default();
        (id.as_str().into(), RecordState { name: facts.name.clone(), changed: facts.updated, nodes, pressed })
    };
    of_open_ai.map(state).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::look::Pressed;
    use crate::n8n::inventory::Builder;
    use crate::n8n::inventory::tests::names;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_795_420_800_000 + minute * 60_000)
    }

    fn node(id: &str, record: &str) -> Value {
        json!({ "id": id, "name": id, "type": "n8n-nodes-base.openAi", "parameters": {},
            "credentials": { "openAiApi": { "id": record, "name": record } } })
    }

    fn record(id: &str, kind: &str, minute: i64) -> Value {
        json!({ "id": id, "name": format!("{id} of today"), "type": kind, "updatedAt": at(minute).to_string() })
    }

    fn found(workflows: &[Value], records: &[Value]) -> Inventory {
        let mut builder = Builder::new(&names);
        for workflow in workflows {
            builder.add(&serde_json::from_value(workflow.clone()).expect("a workflow"));
        }
        for record in records {
            builder.add_record(&serde_json::from_value(record.clone()).expect("a record"));
        }
        builder.finish()
    }

    #[test]
    fn nodes_and_records_are_told_with_what_is_known_since_before() {
        let off = json!({ "id": "b", "active": false, "nodes": [node("m", "r"), node("l", "s")] });
        let archived = json!({ "id": "c", "active": false, "isArchived": true, "nodes": [node("k", "r")] });
        let workflow = |nodes: &[Value]| json!({ "id": "a", "active": true, "nodes": nodes });
        let agent = json!({ "id": "g", "type": "n8n-nodes-base.messageAnAgent",
            "parameters": { "agentSource": "inline", "inlineAgent": { "config": { "credential": "r" } } } });
        let records = [record("r", "openAiApi", 1), record("t", "openAiApi", 2), record("h", "httpHeaderAuth", 2)];
        let first = found(&[workflow(&[node("n", "r"), agent.clone()]), off.clone(), archived.clone()], &records);
        let mut first = look(&first, None, "main", at(10), 0);
        assert_eq!((&*first.instance, first.at, first.lists_records), ("main", at(10), true));
        let mut workflows: Vec<_> = first.workflows.iter().map(|id| &**id).collect();
        workflows.sort_unstable();
        assert_eq!(workflows, ["a", "b", "c"]);
        let named = |look: &Look, workflow: &str, node: &str| {
            look.nodes.get(&(workflow.into(), node.into())).map(|named| (named.record.to_string(), named.since))
        };
        assert_eq!(named(&first, "a", "n"), Some(("r".to_owned(), at(10))));
        assert_eq!(named(&first, "a", "g"), None, "an agent's requests never name it");
        let of = |look: &Look| -> Vec<_> {
            look.records.iter().map(|(id, state)| (id.to_string(), state.changed, state.nodes)).collect()
        };
        assert_eq!(of(&first), [("r".to_owned(), Some(at(1)), 3), ("t".to_owned(), Some(at(2)), 0)]);
        assert_eq!(&*first.records["r"].name, "r of today");
        assert!(first.executions.is_empty() && first.unfinished.is_empty());

        let pressed = Some(Pressed { at: at(11), key: Some(names(b"sk-proj-0123456789abcdefghijNeww")) });
        for state in first.records.values_mut() {
            state.pressed = pressed;
        }
        // One node has another record since, and one record was changed.
        let records = [record("r", "openAiApi", 12), record("t", "openAiApi", 2)];
        let second = found(&[workflow(&[node("n", "t")]), off, archived], &records);
        let second = look(&second, Some(&first), "main", at(20), 0);
        assert_eq!(named(&second, "a", "n"), Some(("t".to_owned(), at(20))));
        assert_eq!(named(&second, "b", "m"), Some(("r".to_owned(), at(10))));
        assert_eq!((second.records["r"].pressed, second.records["t"].pressed), (None, pressed));
    }

    #[test]
    fn an_n8n_that_lists_no_records_is_told_from_one_that_has_none() {
        let empty = |is_listed| {
            let mut builder = Builder::new(&names);
            if is_listed {
                builder.note_records_listed();
            }
            look(&builder.finish(), None, "main", at(0), 0).lists_records
        };
        assert_eq!((empty(true), empty(false)), (true, false));
    }
}
