//! Pure. How a company's n8n stands and how its key is rotated: one of these is the ground of each history, and
//! [`crate::mixed`] puts more on it.

use std::net::{IpAddr, Ipv4Addr};

use crate::observed::Key;
use crate::schedule::{BEGINS, DAY, HOUR, MINUTE, Moment, NEVER, SECOND, Schedule};
use crate::world::{Binding, N8n, Run, Set, Steps, World};

/// A ground: its name, how often it comes beside the others, and how it is laid.
pub type Ground = (&'static str, usize, fn(&mut World));

/// All of them.
pub const GROUNDS: &[Ground] = &[
    ("one_container", 3, |world| single(world, &[])),
    ("address_changes", 4, |world| single(world, &["address_changes"])),
    ("env_key", 2, |world| single(world, &["env_key"])),
    ("forgotten", 4, forgotten),
    ("repointed", 4, repointed),
    ("queue_records", 2, |world| queue_records(world, None, 0)),
    ("queue_large", 1, |world| queue_records(world, None, 110)),
    ("queue_env", 2, |world| queue_env(world, None)),
    ("queue_env_edited", 4, queue_env_edited),
    ("worker_asleep", 4, worker_asleep),
    ("nat_records", 1, |world| queue_records(world, Some(Nat::Declared), 0)),
    ("nat_declared", 4, |world| queue_env(world, Some(Nat::Declared))),
    ("clone", 2, |world| clone(world, &[])),
    ("clone_same_address", 4, |world| clone(world, &["same_address"])),
    ("clone_inst", 3, |world| clone(world, &["inst"])),
    ("clone_removed", 4, |world| clone(world, &["removed"])),
    ("tokens", 4, tokens),
    ("second_rotation", 4, second_rotation),
    ("rollback", 4, rollback),
    ("address_room", 4, address_room),
];

/// Those that break an assumption.
pub const OUTSIDE: &[Ground] = &[
    ("nat_undeclared", 1, |world| queue_env(world, Some(Nat::Undeclared))),
    ("clone_unseen", 1, |world| clone(world, &["unseen"])),
    ("worker_asleep_for_long", 1, worker_asleep_for_long),
];

/// Whether workers behind one address are declared to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// `shared_address` and `workers` say so.
    Declared,
    /// It is not said.
    Undeclared,
}

/// The address of the container where there is one.
const CONTAINER: [u8; 4] = [172, 18, 0, 2];

/// Five workflows of a small company.
pub fn small_schedules(world: &mut World) -> Vec<Schedule> {
    let dice = &mut world.dice;
    let weekends = if dice.chance(500) { 0 } else { 300 };
    let mut pool = vec![
        Schedule::Every(15 * MINUTE),
        Schedule::Every(HOUR),
        Schedule::Calendar(DAY),
        Schedule::Business(dice.between(30, 300), weekends),
        Schedule::Calendar(7 * DAY),
        Schedule::Every(5 * MINUTE),
        Schedule::Business(dice.between(5, 30), 300),
    ];
    dice.shuffle(&mut pool);
    pool.truncate(5);
    if dice.chance(500) {
        let place = dice.below(5);
        pool[place] = Schedule::Calendar(7 * DAY);
    }
    pool
}

/// Workflows of a larger one.
fn larger_schedules(world: &mut World, count: usize) -> Vec<Schedule> {
    let one = |world: &mut World| {
        let dice = &mut world.dice;
        let business = [Schedule::Business(dice.between(10, 300), 200), Schedule::Business(dice.between(3, 20), 200)];
        let regular = [HOUR, HOUR / 2, 4 * HOUR].map(Schedule::Every);
        let calendar = [DAY, DAY, 7 * DAY].map(Schedule::Calendar);
        let all: Vec<_> =
            regular.into_iter().chain(calendar).chain(business).chain([Schedule::About(30 * DAY)]).collect();
        *dice.one_of(&all)
    };
    (0..count).map(|_| one(world)).collect()
}

fn add_nodes(world: &mut World, schedules: &[Schedule], records: &[usize]) -> Vec<usize> {
    let mut added = Vec::new();
    for schedule in schedules {
        let record = *world.dice.one_of(records);
        added.push(world.node(0, *schedule, record));
    }
    added
}

/// Edits those records one after another, from the moment at which n8n is told.
fn edit_all(world: &mut World, records: &[usize], key: Key, from: Moment) {
    let mut at = from;
    for record in records {
        world.records[*record].edit(at, key);
        world.holds_until(at);
        at += world.dice.between(30 * SECOND, 10 * MINUTE);
    }
}

fn address(number: usize) -> IpAddr {
    let octet = |value: usize| u8::try_from(value).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::new(172, 18, octet(number / 250), octet(number % 250)))
}

/// `docker compose up`: the container comes back at another address.
fn change_addresses(world: &mut World, before: i64, after: i64) {
    let mut moments: Vec<Moment> = (0..before).map(|_| world.dice.between(BEGINS, -HOUR)).collect();
    for change in 0..after {
        let soon = world.n8n_changed + world.dice.between(-10 * MINUTE, 15 * MINUTE);
        moments.push(if change == 0 { soon } else { world.dice.between(-HOUR / 2, 6 * DAY) });
    }
    moments.sort_unstable();
    for (number, at) in moments.into_iter().enumerate() {
        world.processes[0].address.set(at, address(number + 3));
    }
    world.faults.insert("address changes");
}

/// One container, with one record or two. `how`: `address_changes`, `env_key`.
pub fn single(world: &mut World, how: &[&str]) {
    let is_env = how.contains(&"env_key");
    let mut records = vec![world.record(0, is_env)];
    if !is_env && world.dice.chance(400) {
        records.push(world.record(0, false));
    }
    world.process(0, CONTAINER);
    let schedules = small_schedules(world);
    let nodes = add_nodes(world, &schedules, &records);
    for (node, record) in nodes.iter().zip(&records).filter(|_| records.len() > 1) {
        world.bindings[*node].record = Steps::new(*record);
    }
    let moves = how.contains(&"address_changes") || is_env && world.dice.chance(400);
    if moves {
        let (before, after) = (world.dice.between(0, 8), *world.dice.one_of(&[0, 1, 1, 2]));
        change_addresses(world, before, after);
    }
    let at = world.n8n_changed;
    if is_env {
        world.faults.insert("env keys");
        world.processes[0].environment.set(at, Key::New);
        if moves || world.dice.chance(667) {
            world.processes[0].address.set(at, address(99));
        }
        world.holds_until(at);
    } else {
        edit_all(world, &records, Key::New, at);
    }
}

/// One of several records is forgotten; perhaps it is found days later.
fn forgotten(world: &mut World) {
    world.faults.insert("forgotten record");
    let count = world.dice.below(3) + 2;
    let records: Vec<usize> = (0..count).map(|_| world.record(0, false)).collect();
    world.process(0, CONTAINER);
    let mut schedules = small_schedules(world);
    let more = world.dice.below(5);
    schedules.extend(small_schedules(world).into_iter().take(more));
    let nodes = add_nodes(world, &schedules, &records[..count - 1]);
    let forgotten = records[count - 1];
    let rhythms = [
        Schedule::Calendar(DAY),
        Schedule::Calendar(7 * DAY),
        Schedule::About(30 * DAY),
        Schedule::Rare(15 * DAY),
        Schedule::Business(10, 300),
        Schedule::Every(6 * HOUR),
    ];
    let node = *world.dice.one_of(&nodes);
    world.bindings[node].record = Steps::new(forgotten);
    world.bindings[node].schedule = *world.dice.one_of(&rhythms);
    edit_all(world, &records[..count - 1], Key::New, world.n8n_changed);
    if world.dice.chance(500) {
        let found = world.n8n_changed + world.dice.between(DAY / 10, 12 * DAY);
        edit_all(world, &[forgotten], Key::New, found);
    } else {
        world.holds_until(NEVER);
    }
    if world.dice.chance(300) {
        let (before, after) = (world.dice.between(0, 3), world.dice.between(0, 1));
        change_addresses(world, before, after);
    }
}

/// A new record is made, and the nodes are pointed to it one by one; perhaps one is missed.
fn repointed(world: &mut World) {
    world.faults.insert("re-pointed");
    let old = world.record(0, false);
    let new = world.record(0, false);
    world.records[new].key = Steps::new(Key::New);
    world.records[new].changes = vec![world.n8n_changed - MINUTE];
    world.process(0, CONTAINER);
    let schedules = small_schedules(world);
    let mut nodes = add_nodes(world, &schedules, &[old]);
    let waits = *world.dice.one_of(&[0, 30, 100]);
    if world.dice.chance(500) {
        let rare =
            [Schedule::Rare(30 * DAY), Schedule::About(30 * DAY), Schedule::Rare(60 * DAY), Schedule::About(91 * DAY)];
        let schedule = *world.dice.one_of(&rare);
        nodes.push(world.node(0, schedule, old));
    }
    let misses = world.dice.chance(400);
    let mut at = world.n8n_changed;
    for (place, node) in nodes.iter().enumerate() {
        world.bindings[*node].waits = waits;
        if misses && place == nodes.len() - 1 {
            miss(world, *node, new);
        } else {
            world.bindings[*node].record.set(at, new);
            world.holds_until(at);
            at += world.dice.between(20 * SECOND, 200 * SECOND);
        }
    }
    // The old record still holds the old key: that one is free only once the record is gone.
    if world.dice.chance(600) {
        let from = if world.done_by < NEVER { at.max(world.done_by) } else { at };
        let deleted = from + world.dice.between(MINUTE, 2 * DAY);
        let all_moved = world.done_by < NEVER;
        if all_moved {
            world.records[old].deleted = deleted;
            world.holds_until(deleted);
        }
    } else {
        world.holds_until(NEVER);
    }
}

fn miss(world: &mut World, node: usize, new: usize) {
    if world.dice.chance(400) {
        let found = world.n8n_changed + world.dice.between(DAY / 5, 10 * DAY);
        world.bindings[node].record.set(found, new);
        world.holds_until(found);
    } else {
        world.holds_until(NEVER);
    }
}

/// Two to five workers, each at an address of its own or all behind one.
fn add_workers(world: &mut World, nat: Option<Nat>) -> usize {
    let count = world.dice.below(4) + 2;
    for worker in 0..count {
        let last = u8::try_from(worker + 1).unwrap_or(1);
        world.process(0, if nat.is_some() { [10, 0, 1, 1] } else { [10, 0, 1, last] });
    }
    world.faults.insert("queue mode");
    match nat {
        Some(Nat::Declared) => {
            world.faults.insert("shared address, declared");
            world.statements.shared.insert(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)));
            world.statements.workers = u32::try_from(count).ok();
        }
        Some(Nat::Undeclared) => {
            world.outside.insert("several processes share an address, and it is not said");
        }
        None => {}
    }
    count
}

/// Queue mode with the key in records.
fn queue_records(world: &mut World, nat: Option<Nat>, workflows: usize) {
    let count = add_workers(world, nat);
    let amount = world.dice.below(4) + 1;
    let records: Vec<usize> = (0..amount).map(|_| world.record(0, false)).collect();
    let nodes = if workflows > 0 { workflows } else { world.dice.below(16) + 10 };
    let schedules = larger_schedules(world, nodes);
    let nodes = add_nodes(world, &schedules, &records);
    for (node, record) in nodes.iter().zip(&records) {
        world.bindings[*node].record = Steps::new(*record);
        world.bindings[*node].schedule = Schedule::Every(HOUR);
    }
    if nat.is_none() && world.dice.chance(600) {
        world.faults.insert("address changes");
        for worker in 0..count {
            for number in 0..world.dice.below(5) {
                let at = world.dice.between(BEGINS, 5 * DAY);
                world.processes[worker].address.set(at, address(250 + worker * 20 + number));
            }
        }
    }
    edit_all(world, &records, Key::New, world.n8n_changed);
}

/// Queue mode with the key in each worker's environment; the last one may be forgotten.
fn queue_env(world: &mut World, nat: Option<Nat>) {
    world.faults.insert("env keys");
    let count = add_workers(world, nat);
    let mut records = vec![world.record(0, true)];
    if world.dice.chance(400) {
        records.push(world.record(0, false));
    }
    let amount = world.dice.below(15) + 6;
    let schedules = larger_schedules(world, amount);
    let nodes = add_nodes(world, &schedules, &records);
    world.bindings[nodes[0]].record = Steps::new(records[0]);
    world.bindings[nodes[amount - 1]].record = Steps::new(records[records.len() - 1]);
    if world.dice.chance(300) {
        make_env_rare(world, &nodes, records[0]);
    }
    let mut at = world.n8n_changed;
    let forgets = world.dice.chance(400);
    for worker in 0..count {
        if forgets && worker == count - 1 {
            world.faults.insert("old worker");
            if world.dice.chance(500) {
                world.holds_until(NEVER);
                break;
            }
            at = world.n8n_changed + world.dice.between(DAY / 5, 9 * DAY);
        }
        world.processes[worker].environment.set(at, Key::New);
        if nat.is_none() && world.dice.chance(700) {
            world.processes[worker].address.set(at, address(500 + worker));
        }
        world.holds_until(at);
        at += world.dice.between(10 * SECOND, 400 * SECOND);
    }
    let changed = world.n8n_changed;
    for record in records.into_iter().skip(1) {
        world.records[record].edit(changed, Key::New);
    }
}

/// Few runs use the key of the environment.
fn make_env_rare(world: &mut World, nodes: &[usize], env_record: usize) {
    for node in nodes {
        if world.bindings[*node].record.at(0) == env_record {
            let rare = [Schedule::Calendar(DAY), Schedule::Business(10, 200), Schedule::Calendar(7 * DAY)];
            world.bindings[*node].schedule = *world.dice.one_of(&rare);
        }
    }
    world.bindings[nodes[0]].schedule = Schedule::Calendar(DAY);
}

/// The record whose key comes from the environment is saved in the same hour, unchanged.
fn queue_env_edited(world: &mut World) {
    queue_env(world, None);
    world.faults.insert("env record edited");
    let at = world.n8n_changed + world.dice.between(-15 * MINUTE, 30 * MINUTE);
    world.records[0].touch(at);
}

/// A worker sleeps while the others get the new environment, and comes back with the old one.
fn worker_asleep(world: &mut World) {
    fall_asleep(world, DAY / 5, 5 * DAY);
}

fn worker_asleep_for_long(world: &mut World) {
    world.outside.insert("a pause longer than 8 days and than any before");
    fall_asleep(world, 9 * DAY, 25 * DAY);
}

fn fall_asleep(world: &mut World, least: i64, most: i64) {
    queue_env(world, None);
    world.faults.insert("worker asleep");
    let changed = world.n8n_changed;
    let back = changed + world.dice.between(least, most);
    let went = changed - world.dice.between(0, 6 * HOUR);
    let sleeper = world.processes.len() - 1;
    let worker = &mut world.processes[sleeper];
    worker.environment = Steps::new(Key::Old);
    worker.address = Steps::new(worker.address.at(BEGINS));
    worker.asleep = vec![(went, back)];
    if world.dice.chance(500) {
        let mended = back + world.dice.between(HOUR, 2 * DAY);
        world.processes[sleeper].environment.set(mended, Key::New);
        world.done_by = if world.done_by < NEVER { world.done_by.max(mended) } else { mended };
    } else {
        world.holds_until(NEVER);
    }
    if world.dice.chance(500) {
        for week in 0..8 {
            let from = (week * 7 - 56) * DAY;
            let until = from + world.dice.between(DAY / 3, 3 * DAY);
            world.processes[sleeper].asleep.push((from, until));
        }
    }
}

/// A staging clone with the same ids, which no n8n API of the configuration shows. `how`: `same_address`, `inst` (its tags say so), `removed`
/// (and acknowledged), `unseen` (it wakes only after the rotation).
fn clone(world: &mut World, how: &[&str]) {
    let is_here = how.contains(&"same_address");
    world.faults.insert(if is_here { "clone at the same address" } else { "clone" });
    let moves = !is_here && world.dice.chance(300);
    single(world, if moves { &["address_changes"] } else { &[] });
    let tag = how.contains(&"inst").then_some("stage");
    let stage = add_clone(world, if is_here { CONTAINER } else { [10, 9, 9, 9] }, tag);
    let often = Schedule::Sessions(*world.dice.one_of(&[14 * HOUR, 2 * DAY, 4 * DAY]));
    let copies: Vec<usize> = copy_nodes(world, stage, often);
    let changed = world.n8n_changed;
    let at = if world.dice.chance(400) {
        changed + world.dice.between(-3 * HOUR, 2 * DAY)
    } else {
        changed + world.dice.between(2 * DAY, 12 * DAY)
    };
    if how.contains(&"removed") {
        remove(world, stage, &copies, at);
    } else if world.dice.chance(700) {
        let records: Vec<usize> =
            (0..world.records.len()).filter(|record| world.records[*record].n8n == stage).collect();
        for record in records {
            world.records[record].edit(at, Key::New);
        }
        world.holds_until(at);
    } else {
        world.holds_until(NEVER);
    }
    if how.contains(&"unseen") {
        world.outside.insert("a living sender that was never seen, in an n8n that no API lists");
        let wakes = changed + world.dice.between(3 * HOUR, 5 * DAY);
        let last = world.processes.len() - 1;
        world.processes[last].asleep.push((2 * BEGINS, wakes));
    }
}

/// An n8n that no configuration knows, with one process: a copy of the database of before.
fn add_clone(world: &mut World, address: [u8; 4], tag: Option<&'static str>) -> usize {
    let counter = 5_000 - world.dice.between(0, 3_000).cast_unsigned();
    let stage = N8n { configured: None, tag, counter, ..world.n8ns[0].clone() };
    world.n8ns.push(stage);
    let number = world.n8ns.len() - 1;
    world.process(number, address);
    number
}

/// Seven in ten nodes run in the clone as well: by hand, or each day.
fn copy_nodes(world: &mut World, stage: usize, often: Schedule) -> Vec<usize> {
    let owned: Vec<Binding> = world.bindings.iter().filter(|binding| binding.n8n == 0).cloned().collect();
    let mut copies = Vec::new();
    for binding in owned {
        if world.dice.chance(300) {
            continue;
        }
        let id = world.records[binding.record.at(BEGINS)].id.clone();
        let known = world.records.iter().position(|record| record.n8n == stage && record.id == id);
        let record = known.unwrap_or_else(|| world.record_named(&id, stage, false));
        let schedule = if world.dice.chance(700) { often } else { Schedule::Calendar(DAY) };
        world.bindings.push(Binding { n8n: stage, schedule, record: Steps::new(record), ..binding });
        copies.push(world.bindings.len() - 1);
    }
    copies
}

/// The clone is taken down for good, and a person says so.
fn remove(world: &mut World, stage: usize, copies: &[usize], at: Moment) {
    world.faults.insert("acknowledged");
    let place = world.processes.iter().position(|process| process.n8n == stage).unwrap_or_default();
    world.processes[place].asleep.push((at, NEVER));
    world.holds_until(at);
    // What waits or runs for long there has gone with it.
    for copy in copies {
        world.bindings[*copy].waits = 0;
        world.bindings[*copy].long = 0;
        let said = at + world.dice.between(5 * MINUTE, 3 * HOUR);
        world.acknowledged.push((said, *copy, world.processes[place].address.at(at)));
    }
}

/// n8n holds a token; keyward alone holds the key. In some, n8n held the key itself until weeks ago, or one record still does.
fn tokens(world: &mut World) {
    world.faults.insert("tokens");
    single(world, &[]);
    let records: Vec<usize> = (0..world.records.len()).collect();
    let kind = world.dice.below(10);
    let since = world.dice.between(-40 * DAY, -15 * DAY);
    for record in &records {
        let held = &mut world.records[*record];
        held.changes = vec![2 * BEGINS];
        held.key = Steps::new(if kind < 3 { Key::Old } else { Key::Token });
        if kind < 3 {
            held.edit(since, Key::Token);
        }
    }
    world.done_by = world.file_changed;
    if kind == 9 {
        let record = world.record(0, false);
        let node = world.dice.below(world.bindings.len());
        world.bindings[node].record = Steps::new(record);
        world.faults.insert("forgotten record");
        world.holds_until(NEVER);
    }
}

/// The new key is replaced soon after, too. It is asked of the first one or of the second.
fn second_rotation(world: &mut World) {
    world.faults.insert("second rotation");
    single(world, &[]);
    let again = world.began() + world.dice.between(9 * HOUR, 3 * DAY);
    let records: Vec<usize> = (0..world.records.len()).collect();
    let asks_second = world.dice.chance(500);
    if asks_second {
        world.done_by = 0;
        world.statements.asked = Key::New;
    }
    let before = world.done_by;
    let edited = again + world.dice.between(-HOUR, HOUR);
    edit_all(world, &records, Key::Newer, edited);
    world.sets[0].file.set(again, Key::Newer);
    if !asks_second {
        world.done_by = before;
    }
}

/// The rotation is taken back, and perhaps done again.
fn rollback(world: &mut World) {
    world.faults.insert("rollback");
    single(world, &[]);
    let records: Vec<usize> = (0..world.records.len()).collect();
    let back = world.file_changed.max(world.done_by) + world.dice.between(10 * MINUTE, 2 * DAY);
    world.sets[0].file.set(back, Key::Old);
    let edited = back + world.dice.between(MINUTE, 20 * MINUTE);
    edit_all(world, &records, Key::Old, edited);
    if world.dice.chance(700) {
        let again = back + world.dice.between(2 * HOUR, 5 * DAY);
        world.sets[0].file.set(again, Key::New);
        let edited = again + world.dice.between(MINUTE, HOUR);
        edit_all(world, &records, Key::New, edited);
    } else {
        world.holds_until(NEVER);
    }
}

/// More addresses than keyward remembers of a set: a container that comes back elsewhere several times a day.
fn address_room(world: &mut World) {
    world.faults.insert("room for addresses");
    single(world, &[]);
    let mut at = BEGINS;
    let mut number = 3;
    let step = 60 * DAY / world.dice.between(270, 330);
    while at < 20 * DAY {
        world.processes[0].address.set(at, address(number));
        number += 1;
        at += world.dice.between(step / 2, step * 3 / 2);
    }
    // One that is frequent enough to be heard from every address.
    world.bindings[0].schedule = Schedule::Every(HOUR);
}

/// A second set, untouched by the rotation of the first.
pub fn add_set(world: &mut World, name: &'static str, rotated: Option<Moment>) -> usize {
    let mut file = Steps::new(Key::Old);
    if let Some(at) = rotated {
        file.set(at, Key::New);
    }
    world.sets.push(Set { name, file });
    world.sets.len() - 1
}

/// A run by hand.
pub fn by_hand(world: &mut World, binding: usize, from: Moment, until: Moment) -> Run {
    Run { by_hand: true, ..Run::new(world.dice.between(from, until), binding) }
}
