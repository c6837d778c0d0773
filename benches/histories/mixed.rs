//! Pure. What is put on the ground of a history: who else sends, and what goes wrong beside. Each leaves what it does not fit.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use keyward::caller::Family;

use crate::observed::{Key, Origin};
use crate::scenarios::{add_set, by_hand, small_schedules};
use crate::schedule::{BEGINS, DAY, ENDS, HOUR, MINUTE, Moment, NEVER, SECOND, Schedule};
use crate::world::{Exchange, N8n, Run, Steps, World};

/// Something more: its name, and what puts it in.
pub type Addition = (&'static str, fn(&mut World));

/// All of them.
pub const ADDITIONS: &[Addition] = &[
    ("scripts", |world| scripts(world, false)),
    ("agents", agents),
    ("rare_workflows", rare_workflows),
    ("waits", waits),
    ("long_runs", long_runs),
    ("draft", draft),
    ("editor_tests", editor_tests),
    ("chat_hub", chat_hub),
    ("evaluations", evaluations),
    ("stranger", stranger),
    ("key_room", key_room),
    ("two_sets", two_sets),
    ("second_n8n", second_n8n),
    ("crashes", crashes),
    ("rotated_while_down", rotated_while_down),
    ("clock_jumps", clock_jumps),
    ("api_down", api_down),
    ("first_generation", first_generation),
    ("announced", announced),
];

/// Those that break an assumption.
pub const OUTSIDE: &[Addition] = &[("scripts_rare", |world| scripts(world, true))];

/// A client that no n8n runs, or that is known by its traffic alone: it has no schedule of its own.
fn client(world: &mut World, origin: Origin, client: Family, path: &'static str, model: &'static str) -> usize {
    let number = world.node(0, Schedule::Never, 0);
    let binding = &mut world.bindings[number];
    (binding.workflow, binding.node) = (None, None);
    (binding.origin, binding.client, binding.path, binding.model) = (origin, client, path, model);
    number
}

/// A request beside executions.
fn sent(world: &World, at: Moment, binding: usize, peer: IpAddr, key: Key) -> Exchange {
    let upstream = if key == Key::Token { world.sets[world.bindings[binding].set].file.at(at) } else { key };
    let (ends, ids, execution, record) = (None, None, None, None);
    let accepted = !matches!(key, Key::Missing);
    Exchange {
        at,
        ends,
        binding,
        ids,
        peer,
        execution,
        first_seen: at,
        key,
        upstream,
        record,
        accepted,
        is_of_editor: false,
        is_seen: true,
    }
}

/// Programs without a tag, at one address or at several; `rare` ones run each month.
fn scripts(world: &mut World, rare: bool) {
    world.faults.insert("scripts without a tag");
    if rare {
        world.outside.insert("an untagged client that pauses for more than 8 days");
    }
    for script in 0..=world.dice.below(3) {
        let last = if world.dice.chance(500) { 1 } else { u8::try_from(script + 2).unwrap_or(9) };
        let peer = IpAddr::V4(Ipv4Addr::new(10, 5, 0, last));
        let family = *world.dice.one_of(&[Family::Sdk, Family::Other]);
        let asks = [("/v1/chat/completions", "gpt-4o"), ("/v1/chat/completions", "mini"), ("/v1/embeddings", "embed")];
        let (path, model) = *world.dice.one_of(&asks);
        let period = if rare { 30 * DAY } else { *world.dice.one_of(&[HOUR, DAY, 7 * DAY, 7 * DAY]) };
        let binding = client(world, Origin::Untagged, family, path, model);
        let switched = match world.dice.below(10) {
            0..6 => world.n8n_changed + world.dice.between(0, 6 * HOUR),
            6 | 7 => world.n8n_changed + world.dice.between(DAY, 15 * DAY),
            _ => NEVER,
        };
        world.holds_until(switched);
        let mut at = BEGINS + world.dice.between(0, period);
        while at < ENDS {
            let key = if at >= switched { Key::New } else { Key::Old };
            let exchange = sent(world, at, binding, peer, key);
            world.exchanges.push(exchange);
            at += period * world.dice.between(980, 1_020) / 1000;
        }
    }
}

/// Agents, which keep the key of an edited credential until they are saved or idle for half an hour.
fn agents(world: &mut World) {
    world.faults.insert("agents");
    let binding = client(world, Origin::Agent, Family::Sdk, "/n8n/editor/__UNKNOWN__/none/v1/responses", "gpt-4o");
    let mut shared = None;
    for _ in 0..=world.dice.below(3) {
        let own = world.dice.chance(400) || world.records[0].is_env || world.records[0].n8n != 0;
        let record = if own { *shared.get_or_insert_with(|| agents_record(world)) } else { 0 };
        if own && world.dice.chance(300) {
            shared = None;
        }
        agent(world, binding, record);
    }
}

/// A record that no node names, and that is edited, or forgotten.
fn agents_record(world: &mut World) -> usize {
    let record = world.record(0, false);
    if world.dice.chance(700) {
        let at = world.n8n_changed + world.dice.between(0, 15 * MINUTE);
        world.records[record].edit(at, Key::New);
        world.holds_until(at);
    } else {
        world.holds_until(NEVER);
    }
    record
}

fn agent(world: &mut World, binding: usize, record: usize) {
    let period = *world.dice.one_of(&[5 * MINUTE, 20 * MINUTE, HOUR, DAY, 7 * DAY]);
    let late = if world.dice.chance(600) { (MINUTE, 20 * MINUTE) } else { (DAY / 5, 6 * DAY) };
    let saved = world.n8n_changed + world.dice.between(late.0, late.1);
    let dense_until = 10 * DAY;
    let (mut cached, mut last, mut is_saved, mut number) = (None, 2 * BEGINS, false, 0);
    let mut at = if period < DAY { -10 * DAY } else { BEGINS } + world.dice.between(0, period);
    while at < if period < DAY { 52 * DAY } else { ENDS } {
        if !is_saved && at >= saved {
            (cached, is_saved) = (None, true);
        }
        if at - last > 30 * MINUTE {
            cached = None;
        }
        let key = cached.or_else(|| world.key_of(record, None, at));
        (cached, last, number) = (key, at, number + 1);
        // Far from the rotation most of what frequent ones send would tell nothing more; the floor has to hear of them still.
        let is_told = (-2 * DAY..dense_until).contains(&at) || number % (40 * MINUTE / period).max(1) == 0;
        if let Some(key) = key.filter(|_| is_told) {
            let exchange = sent(world, at, binding, world.main_address(0, at), key);
            world.exchanges.push(exchange);
        }
        at += period * world.dice.between(970, 1_030) / 1000;
    }
    if period < 30 * MINUTE {
        world.holds_until(saved);
    }
}

/// Workflows that run each month, each quarter, or when a person starts them; some with a record of their own.
fn rare_workflows(world: &mut World) {
    world.faults.insert("rare workflows");
    let rhythms = [20 * DAY, 45 * DAY].map(Schedule::Rare).into_iter();
    let rhythms =
        rhythms.chain([30 * DAY, 30 * DAY, 91 * DAY].map(Schedule::About)).chain([Schedule::Calendar(7 * DAY)]);
    let rhythms: Vec<_> = rhythms.collect();
    let mut last = 0;
    for _ in 0..=world.dice.below(3) {
        let schedule = *world.dice.one_of(&rhythms);
        last = world.node(0, schedule, 0);
        // Where nodes were pointed to another record, these were as well.
        world.bindings[last].record = world.bindings[0].record.clone();
        let token = world.records[0].key.at(0) == Key::Token;
        if !token && world.statements.asked == Key::Old && world.dice.chance(120) {
            let record = agents_record(world);
            world.bindings[last].record = Steps::new(record);
        }
    }
    world.bindings[last].long = 0;
}

/// Waiting executions, and requests that are sent again.
fn waits(world: &mut World) {
    world.faults.insert("waits and retries");
    for binding in 0..world.bindings.len() {
        let waits = *world.dice.one_of(&[0, 20, 100, 300]);
        let binding = &mut world.bindings[binding];
        if binding.origin == Origin::Workflow && binding.waits == 0 {
            (binding.waits, binding.retries, binding.wait_length) = (waits, 30, (10 * MINUTE, 6 * DAY));
        }
    }
}

/// Executions that run for most of a day with the key that their node read when it began.
fn long_runs(world: &mut World) {
    world.faults.insert("long executions");
    for _ in 0..3 {
        let place = world.dice.below(world.bindings.len());
        let binding = &mut world.bindings[place];
        if binding.origin == Origin::Workflow {
            (binding.long, binding.long_length) = (200, 20 * HOUR);
        }
    }
}

/// A node is pointed to a new record in the editor, and tried there; the version that runs gets it only when it is published.
fn draft(world: &mut World) {
    if world.n8ns.iter().any(cannot_tell_runs_by_hand) {
        return;
    }
    world.faults.insert("draft published later");
    let (old, new) = (world.record(0, false), world.record(0, false));
    let tried_from = world.n8n_changed;
    world.records[new].key = Steps::new(Key::New);
    world.records[new].changes = vec![tried_from - MINUTE];
    let schedule = *world.dice.one_of(&[Schedule::Every(HOUR), Schedule::Calendar(DAY), Schedule::Calendar(7 * DAY)]);
    let node = world.node(0, schedule, old);
    let published = tried_from + world.dice.between(10 * MINUTE, 4 * DAY);
    for _ in 0..=world.dice.below(4) {
        let run = by_hand(world, node, tried_from, published);
        world.runs.push(Run { record: Some(new), ..run });
    }
    world.bindings[node].draft = Some((tried_from - MINUTE, published));
    world.bindings[node].record.set(published, new);
    world.holds_until(published);
    if world.dice.chance(850) {
        let deleted = published + world.dice.between(MINUTE, DAY);
        world.records[old].deleted = deleted;
        world.holds_until(deleted);
    } else {
        world.holds_until(NEVER);
    }
}

/// A person presses the test button of records, before and after.
fn editor_tests(world: &mut World) {
    world.faults.insert("editor tests");
    let binding = client(world, Origin::Editor, Family::Legacy, "/v1/models", "");
    let own: Vec<usize> = (0..world.records.len()).filter(|record| world.records[*record].n8n == 0).collect();
    let mut moments = Vec::new();
    for _ in 0..world.dice.below(6) + 3 {
        moments.push((*world.dice.one_of(&own), world.dice.between(-20 * DAY, 2 * DAY)));
    }
    for record in own {
        let edits: Vec<Moment> = world.records[record].key.changes().collect();
        for edit in edits {
            if world.dice.chance(800) {
                moments.push((record, edit + world.dice.between(MINUTE, 10 * MINUTE)));
            }
        }
    }
    let main = world.processes.iter().position(|process| process.n8n == 0);
    for (record, at) in moments {
        if let Some(key) = world.key_of(record, main, at).filter(|_| at >= world.records[record].changes[0]) {
            let exchange = sent(world, at, binding, world.main_address(0, at), key);
            world.exchanges.push(exchange);
        }
    }
}

/// Each turn of a chat is two workflows that are thrown away, with a record that no node names.
fn chat_hub(world: &mut World) {
    world.faults.insert("chat hub");
    let binding = client(world, Origin::Workflow, Family::Sdk, "/v1/chat/completions", "gpt-4o");
    let record = agents_record(world);
    world.bindings[binding].record = Steps::new(record);
    world.bindings[binding].long = 0;
    let mean = *world.dice.one_of(&[DAY / 2, 2 * DAY]);
    let moments = Schedule::Sessions(mean).moments(&mut world.dice, world.monday);
    for (turn, at) in moments.into_iter().filter(|at| (-20 * DAY..60 * DAY).contains(at)).enumerate() {
        for (part, delay) in [("answer", 0), ("title", 2 * SECOND)] {
            let ids = Some((Arc::from(format!("chat{turn}{part}")), Arc::from(format!("turn{turn}{part}"))));
            world.runs.push(Run { ids, is_listed: false, ..Run::new(at + delay, binding) });
        }
    }
}

/// An evaluation of a workflow: a real execution of it, with a node that only exists in this run.
fn evaluations(world: &mut World) {
    world.faults.insert("evaluations");
    let target = world.dice.below(world.bindings.len());
    let Some(workflow) = world.bindings[target].workflow.clone().filter(|_| world.bindings[target].n8n == 0) else {
        return;
    };
    let mut at = -15 * DAY + world.dice.wait(3 * DAY);
    let mut number = 0;
    while at < 30 * DAY {
        for case in 0..world.dice.between(5, 20) {
            let ids = Some((workflow.clone(), Arc::from(format!("judge{number}"))));
            world.runs.push(Run { ids, ..Run::new(at + case * 20 * SECOND, target) });
            number += 1;
        }
        at += world.dice.wait(5 * DAY);
    }
}

/// A stranger with tags of nodes of ours: without a key, or with a valid one of their own.
fn stranger(world: &mut World) {
    world.faults.insert("a tagged stranger");
    let target = world.dice.below(world.bindings.len());
    let copy = world.bindings[target].clone();
    if copy.origin != Origin::Workflow {
        return;
    }
    let binding = client(world, Origin::Workflow, copy.client, copy.path, copy.model);
    (world.bindings[binding].workflow, world.bindings[binding].node) = (copy.workflow, copy.node);
    let key = *world.dice.one_of(&[Key::Missing, Key::Other(200)]);
    let peer = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    for _ in 0..world.dice.between(5, 60) {
        let at = world.dice.between(-2 * DAY, 10 * DAY);
        let mut exchange = sent(world, at, binding, peer, key);
        exchange.execution = Some(world.dice.between(1, 20_000).cast_unsigned());
        world.exchanges.push(exchange);
    }
}

/// A node with its key by expression, that sends those of many customers beside ours.
fn key_room(world: &mut World) {
    world.faults.insert("room for keys");
    let binding = world.dice.below(world.bindings.len());
    if world.bindings[binding].origin != Origin::Workflow {
        return;
    }
    let keys = world.dice.between(17, 40);
    for number in 0..keys {
        for _ in 0..world.dice.between(1, 4) {
            let run = by_hand(world, binding, -20 * DAY, 10 * DAY);
            world.runs.push(Run { key: u8::try_from(number).ok().map(Key::Other), ..run });
        }
    }
}

/// Another set has the same key, for nodes of its own.
fn two_sets(world: &mut World) {
    world.faults.insert("a key in two sets");
    let rotated = world.dice.chance(700).then(|| world.n8n_changed + world.dice.between(HOUR, 6 * DAY));
    let set = add_set(world, "marketing", rotated);
    let record = world.record(0, false);
    for schedule in small_schedules(world).into_iter().take(2) {
        let node = world.node(0, schedule, record);
        world.bindings[node].set = set;
        world.bindings[node].path = "/set/marketing/v1/chat/completions";
    }
    world.holds_until(rotated.unwrap_or(NEVER));
    if let Some(at) = rotated {
        let edited = at + world.dice.between(MINUTE, HOUR);
        world.records[record].edit(edited, Key::New);
        world.holds_until(edited);
    }
}

/// Another n8n that is configured as well: its tags say which one it is, or do not.
fn second_n8n(world: &mut World) {
    world.faults.insert("two n8n");
    let tag = world.dice.chance(600).then_some("second");
    let counter = world.dice.between(500, 9_000).cast_unsigned();
    let second = N8n { configured: Some("second"), tag, counter, ..world.n8ns[0].clone() };
    world.n8ns.push(second);
    let n8n = world.n8ns.len() - 1;
    world.statements.instances.push("second");
    world.process(n8n, [172, 19, 0, 2]);
    let record = world.record(n8n, false);
    let has_the_same_ids = world.dice.chance(300);
    for (place, schedule) in small_schedules(world).into_iter().take(3).enumerate() {
        let node = world.node(n8n, schedule, record);
        if has_the_same_ids {
            let (workflow, id) = (world.bindings[place].workflow.clone(), world.bindings[place].node.clone());
            (world.bindings[node].workflow, world.bindings[node].node) = (workflow, id);
        }
    }
    let late = if world.dice.chance(600) { HOUR } else { 8 * DAY };
    let edited = world.n8n_changed + world.dice.between(MINUTE, late);
    if world.dice.chance(800) {
        world.records[record].edit(edited, Key::New);
        world.holds_until(edited);
    } else {
        world.holds_until(NEVER);
    }
}

/// keyward crashes once or more.
fn crashes(world: &mut World) {
    world.faults.insert("restarts");
    for _ in 0..=world.dice.below(4) {
        // Some of them right after the last use of the old key.
        let at = world.n8n_changed
            + if world.dice.chance(500) {
                world.dice.between(-HOUR, HOUR)
            } else {
                world.dice.between(-2 * DAY, 3 * DAY)
            };
        let length = world.dice.between(2 * SECOND, 20 * SECOND);
        world.down.push((at, at + length));
    }
}

/// The key file is changed while keyward is down: it learns of it later.
fn rotated_while_down(world: &mut World) {
    world.faults.insert("rotated while down");
    let (from, until) = (world.dice.between(5 * SECOND, 20 * MINUTE), world.dice.between(5 * SECOND, 20 * MINUTE));
    world.down.push((world.file_changed - from, world.file_changed + until));
}

/// keyward's clock goes wrong, and is set right.
fn clock_jumps(world: &mut World) {
    world.faults.insert("clock jumps");
    let at = world.dice.between(-6 * HOUR, 2 * DAY);
    let ahead = if world.dice.chance(500) {
        world.dice.between(5 * MINUTE, 3 * DAY)
    } else {
        -world.dice.between(5 * MINUTE, DAY)
    };
    world.clock.set(at, ahead);
    let right = at + world.dice.between(MINUTE, 12 * HOUR);
    world.clock.set(right, 0);
}

/// n8n's API does not answer for a while.
fn api_down(world: &mut World) {
    world.faults.insert("api down");
    for _ in 0..=world.dice.below(3) {
        let from = world.dice.between(-DAY, 4 * DAY);
        let length = world.dice.between(20 * MINUTE, 2 * DAY);
        world.n8ns[0].silent.push((from, from + length));
    }
}

/// n8n 1.x: no list of records, no dates, no test that an API presses.
fn first_generation(world: &mut World) {
    let has_draft = world.bindings.iter().any(|binding| binding.draft.is_some());
    if has_draft && world.n8ns.iter().any(|n8n| !n8n.saves) {
        return;
    }
    world.faults.insert("n8n 1.x");
    for n8n in &mut world.n8ns {
        n8n.is_second_generation = false;
    }
}

/// Whether it shows neither drafts nor which executions were run by hand.
fn cannot_tell_runs_by_hand(n8n: &N8n) -> bool {
    !n8n.is_second_generation && !n8n.saves
}

/// The next key is announced in keyward's configuration before anything else.
fn announced(world: &mut World) {
    world.faults.insert("next announced");
    let before = world.dice.between(MINUTE, 2 * DAY);
    world.announced = Some((world.began() - before, Key::New));
}
