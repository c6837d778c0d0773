//! Pure. What an audit of n8n finds, every five minutes, as keyward's would.
//!
//! Where nothing happens, and far from the rotation, looks that would repeat the one before are left out; before each
//! question there is one.

use std::collections::{BTreeMap, HashMap, HashSet};

use keyward::clock::Timestamp;
use keyward::ledger::look::{Listed, Look, NamedRecord, Pressed, RecordState, Unfinished, Users, node_hash};

use crate::schedule::{BEGINS, DAY, HOUR, MINUTE, Moment, SECOND, Schedule};
use crate::world::{World, stamp, true_stamp};

/// How many executions that a look listed the next ones still know.
const REMEMBERED: usize = 32;

/// How far audits are apart.
pub const REFRESH: i64 = 5 * MINUTE;

/// Looks through one n8n, again and again.
pub struct Onlooker<'w> {
    world: &'w World,
    n8n: usize,
    look: Look,
    /// The nodes that n8n lists.
    nodes: Vec<usize>,
    records: Vec<usize>,
    /// Its executions, in order.
    executions: Vec<usize>,
    /// How many of these had begun.
    begun: usize,
    /// Those that had not ended.
    open: Vec<usize>,
    /// When each record was pressed last, and whether that proved it.
    pressed: HashMap<usize, (Moment, bool)>,
}

impl<'w> Onlooker<'w> {
    /// For the n8n of that number, if it is configured.
    pub fn new(world: &'w World, n8n: usize) -> Option<Self> {
        let instance = world.n8ns[n8n].configured?;
        let is_node = |place: &usize| {
            world.bindings[*place].n8n == n8n && !matches!(world.bindings[*place].schedule, Schedule::Never)
        };
        let nodes: Vec<usize> = (0..world.bindings.len()).filter(is_node).collect();
        let records = (0..world.records.len()).filter(|place| world.records[*place].n8n == n8n).collect();
        let executions = (0..world.executions.len()).filter(|place| world.executions[*place].n8n == n8n).collect();
        let workflows: HashSet<Box<str>> = nodes.iter().map(|node| workflow_of(world, *node)).collect();
        let there = nodes.iter().filter_map(|node| world.bindings[*node].node.as_deref().map(|id| (node, id)));
        let nodes_there = there.map(|(node, id)| node_hash(&workflow_of(world, *node), id)).collect();
        let look = Look {
            instance: instance.into(),
            at: Timestamp::from_millis(0),
            workflows,
            nodes: HashMap::new(),
            nodes_there,
            records: BTreeMap::new(),
            lists_records: world.n8ns[n8n].is_second_generation,
            executions: BTreeMap::new(),
            unfinished: Vec::new(),
            clocks_apart: [0, 0],
            users: Users::default(),
        };
        Some(Self { world, n8n, look, nodes, records, executions, begun: 0, open: Vec::new(), pressed: HashMap::new() })
    }

    /// When it is worth a look: at each of these moments something may differ, or it is asked right after.
    pub fn moments(&self, questions: &[Moment]) -> Vec<Moment> {
        let world = self.world;
        let tick = |moment: Moment| moment.div_euclid(REFRESH) * REFRESH;
        let next = |moment: Moment| tick(moment) + REFRESH;
        let mut moments: Vec<Moment> = (BEGINS / (6 * HOUR)..-8).map(|step| step * 6 * HOUR).collect();
        moments.extend((-48..45 * 24).map(|hour| hour * HOUR));
        let dense = |moment: &Moment| (-2 * DAY..3 * DAY).contains(moment);
        let executions = self.executions.iter().map(|place| &world.executions[*place]);
        moments.extend(executions.flat_map(|execution| [execution.began, execution.ended]).filter(dense).map(next));
        let edits = self.records.iter().flat_map(|record| world.records[*record].changes.iter().copied());
        moments.extend(edits.filter(|at| *at > BEGINS).map(next));
        moments.extend(self.nodes.iter().flat_map(|node| world.bindings[*node].record.changes()).map(next));
        moments.extend(questions.iter().map(|moment| tick(*moment)));
        moments.sort_unstable();
        moments.dedup();
        moments.retain(|moment| !world.down.iter().any(|(from, to)| (*from..*to).contains(moment)));
        moments
    }

    /// Whether its API does not answer then.
    pub fn is_silent(&self, moment: Moment) -> bool {
        self.world.n8ns[self.n8n].silent.iter().any(|(from, to)| (*from..*to).contains(&moment))
    }

    /// What it finds then. Moments have to come in order.
    pub fn look(&mut self, moment: Moment) -> &Look {
        self.look.at = stamp(self.world, moment);
        let apart = Look::apart(true_stamp(moment), self.look.at);
        self.look.clocks_apart = [apart, self.look.clocks_apart[0]];
        self.name_records(moment);
        if self.look.lists_records {
            self.list_records(moment);
        }
        self.list_executions(moment);
        &self.look
    }

    fn name_records(&mut self, moment: Moment) {
        for node in &self.nodes {
            let binding = &self.world.bindings[*node];
            let record: Box<str> = self.world.records[binding.record.at(moment)].id.as_ref().into();
            let place = (workflow_of(self.world, *node), binding.node.as_deref().unwrap_or_default().into());
            let tells_drafts = self.world.n8ns[self.n8n].is_second_generation;
            let is_drafted = tells_drafts && binding.draft.is_some_and(|(from, until)| (from..until).contains(&moment));
            if is_drafted {
                self.look.nodes.remove(&place);
                continue;
            }
            let is_known = self.look.nodes.get(&place).is_some_and(|named| named.record == record);
            if !is_known {
                self.look.nodes.insert(place, NamedRecord { record, since: self.look.at.max(true_stamp(moment)) });
            }
        }
    }

    fn list_records(&mut self, moment: Moment) {
        for place in self.records.clone() {
            let record = &self.world.records[place];
            let exists = record.changes[0] <= moment && moment < record.deleted;
            if !exists {
                self.look.records.remove(record.id.as_ref());
                continue;
            }
            let nodes = self.nodes.iter().filter(|node| self.world.bindings[**node].record.at(moment) == place).count();
            let pressed = self.press(place, moment);
            let changed = Some(true_stamp(record.changed(moment)));
            let known = self.look.records.entry(record.id.as_ref().into()).or_insert_with(|| RecordState {
                name: format!("OpenAI {}", record.id).into(),
                changed,
                nodes,
                pressed: None,
            });
            (known.changed, known.nodes) = (changed, nodes);
            known.pressed = pressed.or(known.pressed);
        }
    }

    /// Presses the record's test where its last word is not the newest: since its change, or since a key file's.
    fn press(&mut self, place: usize, moment: Moment) -> Option<Pressed> {
        let world = self.world;
        let knows = world.announced.is_some_and(|(at, _)| at <= moment) || moment >= world.file_changed;
        if !world.statements.press || !knows {
            return None;
        }
        if let Some((at, is_proof)) = self.pressed.get(&place) {
            let changed = world.records[place].changed(moment) > *at;
            let rotated = world.sets.iter().flat_map(|set| set.file.changes()).any(|step| *at < step && step <= moment);
            if !changed && !rotated && (*is_proof || moment < at + HOUR) {
                return None;
            }
        }
        let main = world.processes.iter().position(|process| process.n8n == self.n8n);
        // Now and then the test's request cannot be told from others.
        let is_told = !(moment / REFRESH + i64::try_from(place).unwrap_or(0)).rem_euclid(53).eq(&0);
        let key = world.key_of(place, main, moment).filter(|_| is_told);
        self.pressed.insert(place, (moment, key.is_some_and(|key| key.replaces(world.statements.asked))));
        Some(Pressed { at: self.look.at.min(true_stamp(moment)), key: key.map(crate::observed::Key::names) })
    }

    fn list_executions(&mut self, moment: Moment) {
        let world = self.world;
        // keyward remembers thousands; a few are enough here.
        while self.look.executions.len() > REMEMBERED {
            self.look.executions.pop_first();
        }
        while let Some(place) =
            self.executions.get(self.begun).filter(|place| world.executions[**place].began <= moment)
        {
            self.open.push(*place);
            self.begun += 1;
        }
        // n8n 1.x lists an execution only when it is over.
        let is_shown =
            |place: &&usize| world.n8ns[self.n8n].is_second_generation || world.executions[**place].ended <= moment;
        for place in self.open.iter().filter(|place| world.executions[**place].is_listed).filter(is_shown) {
            let execution = &world.executions[*place];
            let ended = (execution.ended <= moment).then(|| true_stamp(execution.ended));
            let (workflow, began) = (execution.workflow.as_ref().into(), true_stamp(execution.began));
            let listed = Listed { workflow, began, ended, by_hand: execution.by_hand };
            self.look.executions.insert(execution.number, listed);
        }
        self.open.retain(|place| world.executions[*place].ended > moment);
        let shows_snapshots = self.look.lists_records;
        let unfinished = self.open.iter().filter(is_shown).map(|place| {
            let execution = &world.executions[*place];
            let record: Box<str> = world.records[execution.record].id.as_ref().into();
            Unfinished {
                execution: execution.number.to_string().into(),
                workflow: execution.workflow.as_ref().into(),
                began: true_stamp(execution.began),
                waits: execution.waits && moment - execution.began > 10 * SECOND,
                records: shows_snapshots.then(|| [record].into()),
            }
        });
        self.look.unfinished = unfinished.collect();
    }
}

fn workflow_of(world: &World, node: usize) -> Box<str> {
    world.bindings[node].workflow.as_deref().unwrap_or_default().into()
}
