//! Pure. Puts a history together: a ground, perhaps one to three things more, what the owner says, and whether all of that is inside
//! the assumptions.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::dice::Dice;
use crate::drive::Plan;
use crate::mixed::{self, Addition};
use crate::observed::{Key, Origin, Statements};
use crate::scenarios::{self, GROUNDS, Ground};
use crate::schedule::{BEGINS, DAY, Moment};
use crate::truth::Truth;
use crate::world::{Exchange, World};

/// Which histories are wanted.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The seed of the run.
    pub seed: u64,
    /// Only these scenarios, in turn and unmixed; all where there is none.
    pub only: Vec<String>,
    /// Those outside the assumptions, rather than those inside.
    pub outside: bool,
    /// The owner says all that can be said.
    pub said: bool,
}

/// One history.
pub struct History {
    /// Its number in the run.
    pub number: u64,
    pub scenario: &'static str,
    /// What was put on it.
    pub additions: Vec<&'static str>,
    /// What happens in it.
    pub world: World,
    /// In order.
    pub plan: Plan,
    pub truth: Truth,
}

/// Every scenario by name: grounds, and additions on the plainest ground.
pub fn scenarios() -> impl Iterator<Item = &'static str> {
    let grounds = GROUNDS.iter().chain(scenarios::OUTSIDE).map(|(name, ..)| *name);
    grounds.chain(mixed::ADDITIONS.iter().chain(mixed::OUTSIDE).map(|(name, _)| *name))
}

impl History {
    /// The history of that number. What turns out on the other side of the assumptions is thrown again.
    pub fn new(number: u64, choice: &Choice) -> Self {
        let names_outside = |name: &String| is_outside(name);
        let wants_outside = choice.outside || !choice.only.is_empty() && choice.only.iter().all(names_outside);
        let mut attempt = 0;
        loop {
            let mut dice = Dice::new(choice.seed.wrapping_add(attempt << 40), number);
            let (scenario, parts) = choose(&mut dice, number, choice);
            let mut world = lay(dice, &parts, choice);
            world.play();
            if let Some(doubt) = unforeseeable(&world) {
                world.outside.insert(doubt);
            }
            if world.outside.is_empty() != wants_outside || attempt > 200 {
                let additions = parts.1.iter().map(|(name, _)| *name).filter(|name| *name != scenario).collect();
                let (plan, truth) = (Plan::new(&world), Truth::new(&world));
                return Self { number, scenario, additions, world, plan, truth };
            }
            attempt += 1;
        }
    }
}

fn is_outside(name: &str) -> bool {
    scenarios::OUTSIDE.iter().any(|(of, ..)| *of == name) || mixed::OUTSIDE.iter().any(|(of, _)| *of == name)
}

type Parts = (Ground, Vec<Addition>);

/// Which scenario it is, and what it is made of.
fn choose(dice: &mut Dice, number: u64, choice: &Choice) -> (&'static str, Parts) {
    let plain = GROUNDS[0];
    if !choice.only.is_empty() {
        let place = usize::try_from(number).unwrap_or(0) % choice.only.len();
        return named(&choice.only[place]);
    }
    if choice.outside {
        let places = scenarios::OUTSIDE.len() + mixed::OUTSIDE.len();
        let (name, mut parts) = match dice.below(places) {
            place if place < scenarios::OUTSIDE.len() => named(scenarios::OUTSIDE[place].0),
            place => named(mixed::OUTSIDE[place - scenarios::OUTSIDE.len()].0),
        };
        mix(dice, &mut parts);
        return (name, parts);
    }
    if dice.chance(250) {
        return ("clean", (plain, Vec::new()));
    }
    // What is put on is mixed in below as well, and so seldom the whole of a history.
    let grounds: Vec<&str> =
        GROUNDS.iter().skip(1).flat_map(|ground| std::iter::repeat_n(ground.0, ground.1)).collect();
    let place = dice.below(grounds.len());
    let name = if dice.chance(70) { dice.one_of(mixed::ADDITIONS).0 } else { grounds[place] };
    let (name, mut parts) = named(name);
    mix(dice, &mut parts);
    (name, parts)
}

/// Up to two things more.
fn mix(dice: &mut Dice, parts: &mut Parts) {
    for share in [800, 450] {
        if dice.chance(share) {
            let more = *dice.one_of(mixed::ADDITIONS);
            let is_new = parts.1.iter().all(|(name, _)| *name != more.0);
            parts.1.extend(is_new.then_some(more));
        }
    }
}

fn named(name: &str) -> (&'static str, Parts) {
    let ground = GROUNDS.iter().chain(scenarios::OUTSIDE).find(|ground| ground.0 == name);
    let addition = mixed::ADDITIONS.iter().chain(mixed::OUTSIDE).find(|addition| addition.0 == name);
    match (ground, addition) {
        (Some(ground), _) => (ground.0, (*ground, Vec::new())),
        (None, Some(addition)) => (addition.0, (GROUNDS[0], vec![*addition])),
        (None, None) => ("clean", (GROUNDS[0], Vec::new())),
    }
}

/// Lays the ground, puts on it what fits, and has the owner speak.
fn lay(mut dice: Dice, (ground, additions): &Parts, choice: &Choice) -> World {
    let statements = Statements {
        asked: Key::Old,
        quiet: Duration::from_hours(1),
        env_keys: None,
        shared: BTreeSet::new(),
        workers: None,
        press: choice.said || dice.chance(850),
        instances: vec!["main"],
        sets: Vec::new(),
    };
    let says = choice.said || dice.chance(667);
    let mut world = World::new(dice, statements);
    ground.2(&mut world);
    for (name, add) in additions {
        if fits(name, &world) {
            add(&mut world);
        }
    }
    if says {
        speak(&mut world);
    }
    world.statements.sets = world.sets.iter().map(|set| (set.name, set.file.at(BEGINS))).collect();
    if !world.n8ns[0].saves {
        world.faults.insert("executions not saved");
    }
    if !world.statements.press {
        world.faults.insert("no presses");
    }
    world
}

/// Where it is asked of the second key, those do not fit that would keep it for good; and n8n 1.x has no Agents, Chat Hub or
/// evaluations.
fn fits(name: &str, world: &World) -> bool {
    const ABOUT_THE_FIRST: [&str; 7] =
        ["scripts", "agents", "draft", "chat_hub", "two_sets", "second_n8n", "scripts_rare"];
    const OF_SECOND_GENERATION: [&str; 3] = ["agents", "chat_hub", "evaluations"];
    let is_second = world.n8ns[0].is_second_generation;
    let has_newer = ["agents", "chat hub", "evaluations"].iter().any(|fault| world.faults.contains(fault));
    let is_of_its_time = match name {
        "first_generation" => !has_newer,
        _ => is_second || !OF_SECOND_GENERATION.contains(&name),
    };
    is_of_its_time && (world.statements.asked == Key::Old || !ABOUT_THE_FIRST.contains(&name))
}

/// The owner says truly where keys come from, and that an address is one process where it is.
fn speak(world: &mut World) {
    let of_owner = |n8n: usize| world.n8ns[n8n].configured.is_some();
    world.statements.env_keys = Some(world.records.iter().any(|record| record.is_env && of_owner(record.n8n)));
    let mut addresses = BTreeSet::new();
    let is_lone = world.processes.iter().all(|process| addresses.insert(process.address.at(BEGINS)));
    if is_lone && world.statements.workers.is_none() {
        world.statements.workers = Some(1);
    }
}

/// What makes it impossible to foresee a use of the key from anything that was seen: then the history is outside the assumptions.
fn unforeseeable(world: &World) -> Option<&'static str> {
    let mut foresight = Foresight::default();
    world.exchanges.iter().filter(|exchange| exchange.is_seen).find_map(|exchange| foresight.meet(world, exchange))
}

/// What could be foreseen from what was seen so far.
#[derive(Default)]
struct Foresight {
    known: BTreeSet<usize>,
    /// When each address was seen last, its longest pause, and whether it paused for longer than ever and 8 days.
    places: HashMap<(usize, IpAddr), (Moment, i64, bool)>,
    /// The good executions through a record at a declared address since its last old one.
    runs: HashMap<(usize, IpAddr), BTreeSet<Option<u64>>>,
}

impl Foresight {
    fn meet(&mut self, world: &World, exchange: &Exchange) -> Option<&'static str> {
        let binding = &world.bindings[exchange.binding];
        let is_late = exchange.key == world.statements.asked && exchange.at > world.began();
        let is_known = !self.known.insert(exchange.binding);
        if binding.origin != Origin::Workflow {
            return None;
        }
        if world.n8ns[binding.n8n].configured.is_none() {
            let is_news = is_late && !is_known;
            return is_news.then_some("a living sender that was never seen, in an n8n that no API lists");
        }
        let is_of_snapshot = exchange.record.is_some_and(|record| record != binding.record.at(exchange.at));
        if is_late && is_of_snapshot && !world.n8ns[binding.n8n].is_second_generation {
            return Some(
                "a waiting execution of n8n 1.x, which lists none, with a record that its node names no longer",
            );
        }
        let place = self.places.entry((binding.n8n, exchange.peer)).or_insert((exchange.at, 0, false));
        let pause = exchange.at - place.0;
        place.2 |= exchange.at > world.began() && pause > (8 * DAY).max(place.1);
        (place.0, place.1) = (exchange.at, place.1.max(pause));
        if is_late && place.2 {
            return Some("a pause longer than 8 days and than any before");
        }
        self.starves(world, exchange, is_late)
            .then_some("a process that gets less than its share behind a shared address")
    }

    /// Whether a process at a declared address shows itself only after ten times as many executions as there are processes.
    fn starves(&mut self, world: &World, exchange: &Exchange, is_late: bool) -> bool {
        let Some(record) = exchange.record.filter(|_| world.statements.shared.contains(&exchange.peer)) else {
            return false;
        };
        let run = self.runs.entry((record, exchange.peer)).or_default();
        let count = u32::try_from(run.len()).unwrap_or(u32::MAX);
        if exchange.key.replaces(world.statements.asked) {
            run.insert(exchange.execution);
        } else if is_late {
            run.clear();
        }
        is_late && count >= 10 * world.statements.workers.unwrap_or(5)
    }
}
