//! Pure. What there is in a history, and how it plays out: n8n, their processes and addresses, credential records, nodes, key
//! files. It knows the truth; only [`crate::drive`] tells a subject what of it can be seen.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use keyward::caller::Family;
use keyward::clock::Timestamp;

use crate::dice::Dice;
use crate::observed::{Key, Origin, Statements};
use crate::schedule::{BEGINS, DAY, HOUR, MINUTE, Moment, NEVER, SECOND, Schedule};

/// A value that changes at moments.
#[derive(Clone, Debug)]
pub struct Steps<T>(Vec<(Moment, T)>);

impl<T: Copy> Steps<T> {
    /// That value from the beginning on.
    pub fn new(value: T) -> Self {
        Self(vec![(2 * BEGINS, value)])
    }

    /// Another value from that moment until the next that is known.
    pub fn set(&mut self, at: Moment, value: T) {
        let place = self.0.partition_point(|(earlier, _)| *earlier <= at);
        self.0.insert(place, (at, value));
    }

    /// The value then.
    pub fn at(&self, moment: Moment) -> T {
        let after = self.0.partition_point(|(at, _)| *at <= moment);
        self.0[after.saturating_sub(1)].1
    }

    /// The moments of its changes, without its beginning.
    pub fn changes(&self) -> impl Iterator<Item = Moment> {
        self.0.iter().skip(1).map(|(at, _)| *at)
    }

    /// Its changes, without its beginning.
    pub fn steps(&self) -> &[(Moment, T)] {
        &self.0[1..]
    }
}

/// One n8n.
#[derive(Clone, Debug)]
pub struct N8n {
    /// Its name in keyward's configuration, if it is there.
    pub configured: Option<&'static str>,
    /// What its tags say in `inst=`.
    pub tag: Option<&'static str>,
    /// Whether its API lists records, with their dates, and presses their test: 2.x.
    pub is_second_generation: bool,
    /// Whether its workflows save their executions.
    pub saves: bool,
    /// The number of its last execution.
    pub counter: u64,
    /// When its API does not answer.
    pub silent: Vec<(Moment, Moment)>,
}

/// A credential record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its id in n8n. A clone has the same ones.
    pub id: Arc<str>,
    pub n8n: usize,
    /// Whether its key is `{{ $env.… }}`.
    pub is_env: bool,
    /// Its key where it is not.
    pub key: Steps<Key>,
    /// When n8n says that it was changed, in order.
    pub changes: Vec<Moment>,
    pub deleted: Moment,
}

impl Record {
    /// Puts a key in.
    pub fn edit(&mut self, at: Moment, key: Key) {
        self.key.set(at, key);
        self.touch(at);
    }

    /// Is saved, perhaps with the key that it had.
    pub fn touch(&mut self, at: Moment) {
        self.changes.push(at);
        self.changes.sort_unstable();
    }

    /// When it was changed last, as of that moment.
    pub fn changed(&self, moment: Moment) -> Moment {
        self.changes.iter().copied().rfind(|at| *at <= moment).unwrap_or(2 * BEGINS)
    }
}

/// One process of an n8n: its main one, or a queue worker.
#[derive(Clone, Debug)]
pub struct Process {
    pub n8n: usize,
    /// Where its requests come from.
    pub address: Steps<IpAddr>,
    /// The key in its environment.
    pub environment: Steps<Key>,
    /// When it does not run.
    pub asleep: Vec<(Moment, Moment)>,
}

/// A node of a workflow with its credential, or a client that only looks like one.
#[derive(Clone, Debug)]
pub struct Binding {
    pub workflow: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    pub n8n: usize,
    pub set: usize,
    pub origin: Origin,
    pub client: Family,
    pub path: &'static str,
    /// The model that it asks for.
    pub model: &'static str,
    /// When it runs.
    pub schedule: Schedule,
    /// The record that the version which runs names.
    pub record: Steps<usize>,
    /// From when until when its draft names another record than the version that runs.
    pub draft: Option<(Moment, Moment)>,
    /// Of a thousand executions so many wait.
    pub waits: i64,
    /// How long these wait, from and to.
    pub wait_length: (i64, i64),
    /// Of a thousand waiting ones so many send nothing before.
    pub waits_first: i64,
    /// Of a thousand so many are sent again and again.
    pub retries: i64,
    /// Of a thousand so many run for long, with the key that they began with.
    pub long: i64,
    /// How long these take at most.
    pub long_length: i64,
}

/// A run that a scenario plans, or that a schedule does.
#[derive(Clone, Debug)]
pub struct Run {
    pub at: Moment,
    /// The binding that runs.
    pub binding: usize,
    /// With that record in place of its own: a draft.
    pub record: Option<usize>,
    /// With that key in place of the record's: a key by expression.
    pub key: Option<Key>,
    /// With throw-away ids of workflow and node.
    pub ids: Option<(Arc<str>, Arc<str>)>,
    /// Whether n8n lists the execution.
    pub is_listed: bool,
    /// Whether a person started it in the editor.
    pub by_hand: bool,
}

impl Run {
    /// One as scheduled.
    pub fn new(at: Moment, binding: usize) -> Self {
        Self { at, binding, record: None, key: None, ids: None, is_listed: true, by_hand: false }
    }
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub at: Moment,
    /// When it ended, if it went on for long.
    pub ends: Option<Moment>,
    pub binding: usize,
    /// Its ids where they are not the binding's.
    pub ids: Option<(Arc<str>, Arc<str>)>,
    pub peer: IpAddr,
    pub execution: Option<u64>,
    /// When the first request of that execution was seen.
    pub first_seen: Moment,
    /// The key that it carried.
    pub key: Key,
    /// The key that went upstream.
    pub upstream: Key,
    /// The record that the key came from.
    pub record: Option<usize>,
    /// Whether OpenAI took it.
    pub accepted: bool,
    /// Whether it is of a run by hand, of an n8n that does not tell what is saved from what the editor shows.
    pub is_of_editor: bool,
    /// Whether keyward still knows of it: what it heard right before a crash it does not.
    pub is_seen: bool,
}

/// An execution of a workflow.
#[derive(Clone, Debug)]
pub struct Execution {
    pub n8n: usize,
    /// Its number.
    pub number: u64,
    pub workflow: Arc<str>,
    pub began: Moment,
    pub ended: Moment,
    /// Whether it waits for most of that time.
    pub waits: bool,
    /// The record that its snapshot names.
    pub record: usize,
    /// Whether n8n lists it.
    pub is_listed: bool,
    /// Whether a person started it in the editor.
    pub by_hand: bool,
}

/// A key set.
#[derive(Clone, Debug)]
pub struct Set {
    pub name: &'static str,
    /// What stands in its key file.
    pub file: Steps<Key>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    /// Chance.
    pub dice: Dice,
    /// How much of its week had passed at moment zero.
    pub monday: i64,
    /// The n8n; the first one is the owner's own.
    pub n8ns: Vec<N8n>,
    pub records: Vec<Record>,
    pub processes: Vec<Process>,
    pub bindings: Vec<Binding>,
    /// Runs beside the scheduled ones.
    pub runs: Vec<Run>,
    /// What was sent; in order once it is played.
    pub exchanges: Vec<Exchange>,
    /// The executions, in order once it is played.
    pub executions: Vec<Execution>,
    /// The key sets; the first one is `default`.
    pub sets: Vec<Set>,
    /// When the next key was announced, and which one.
    pub announced: Option<(Moment, Key)>,
    /// When the key file was changed first.
    pub file_changed: Moment,
    /// When n8n was told of the new key first.
    pub n8n_changed: Moment,
    /// The moment from which no sender holds the old key, as far as its scenario knows; [`NEVER`] where one always will.
    pub done_by: Moment,
    pub down: Vec<(Moment, Moment)>,
    /// How far keyward's clock is from the truth.
    pub clock: Steps<i64>,
    /// When a person said of a binding at an address that it is done with.
    pub acknowledged: Vec<(Moment, usize, IpAddr)>,
    /// What the owner says.
    pub statements: Statements,
    /// What is out of the ordinary.
    pub faults: BTreeSet<&'static str>,
    /// Which assumptions it breaks.
    pub outside: BTreeSet<&'static str>,
}

impl World {
    /// With one n8n, and a rotation that begins at zero: in the key file or in n8n.
    pub fn new(mut dice: Dice, statements: Statements) -> Self {
        let monday = dice.between(0, 4) * DAY + dice.between(8 * HOUR, 18 * HOUR);
        let (mut file_changed, mut n8n_changed) = (0, 0);
        if dice.chance(500) {
            n8n_changed =
                if dice.chance(667) { dice.between(MINUTE, 30 * MINUTE) } else { dice.between(HOUR / 2, 8 * HOUR) };
        } else {
            file_changed =
                if dice.chance(500) { dice.between(MINUTE, 30 * MINUTE) } else { dice.between(10 * MINUTE, 2 * HOUR) };
        }
        let mut file = Steps::new(Key::Old);
        file.set(file_changed, Key::New);
        let own = N8n {
            configured: Some("main"),
            tag: None,
            is_second_generation: true,
            saves: dice.chance(850),
            counter: 5_000,
            silent: Vec::new(),
        };
        Self {
            dice,
            monday,
            n8ns: vec![own],
            records: Vec::new(),
            processes: Vec::new(),
            bindings: Vec::new(),
            runs: Vec::new(),
            exchanges: Vec::new(),
            executions: Vec::new(),
            sets: vec![Set { name: "default", file }],
            announced: None,
            file_changed,
            n8n_changed,
            done_by: 0,
            down: Vec::new(),
            clock: Steps::new(0),
            acknowledged: Vec::new(),
            statements,
            faults: BTreeSet::new(),
            outside: BTreeSet::new(),
        }
    }

    /// Adds a record with the old key, of its n8n's own id.
    pub fn record(&mut self, n8n: usize, is_env: bool) -> usize {
        let id = format!("cred{:02}", self.records.len());
        self.record_named(&id, n8n, is_env)
    }

    /// Adds a record with the old key, by that id.
    pub fn record_named(&mut self, id: &str, n8n: usize, is_env: bool) -> usize {
        let key = Steps::new(Key::Old);
        self.records.push(Record { id: id.into(), n8n, is_env, key, changes: vec![2 * BEGINS], deleted: NEVER });
        self.records.len() - 1
    }

    /// Adds a process at an address, with the old key in its environment.
    pub fn process(&mut self, n8n: usize, address: [u8; 4]) -> usize {
        let address = Steps::new(IpAddr::V4(Ipv4Addr::from(address)));
        self.processes.push(Process { n8n, address, environment: Steps::new(Key::Old), asleep: Vec::new() });
        self.processes.len() - 1
    }

    /// Adds a node of a workflow of its own.
    pub fn node(&mut self, n8n: usize, schedule: Schedule, record: usize) -> usize {
        let number = self.bindings.len();
        let client = *self.dice.one_of(&[Family::Legacy, Family::Vendor, Family::Sdk, Family::HttpRequest]);
        self.bindings.push(Binding {
            workflow: Some(format!("workflow{number:03}").into()),
            node: Some(format!("node{number:03}").into()),
            n8n,
            set: 0,
            origin: Origin::Workflow,
            client,
            path: "/v1/chat/completions",
            model: "gpt-4o",
            schedule,
            record: Steps::new(record),
            draft: None,
            waits: 0,
            wait_length: (HOUR, 5 * DAY),
            waits_first: 300,
            retries: 10,
            long: 10,
            long_length: 25 * MINUTE,
        });
        number
    }

    /// Says of a new key holder when it lets go of the old key.
    pub fn holds_until(&mut self, moment: Moment) {
        self.done_by = self.done_by.max(moment);
    }

    /// The first act of the rotation.
    pub fn began(&self) -> Moment {
        self.file_changed.min(self.n8n_changed)
    }

    /// The address of the main process of that n8n.
    pub fn main_address(&self, n8n: usize, moment: Moment) -> IpAddr {
        let main = self.processes.iter().find(|process| process.n8n == n8n);
        main.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |process| process.address.at(moment))
    }

    /// What the key of that record is for that process.
    pub fn key_of(&self, record: usize, process: Option<usize>, moment: Moment) -> Option<Key> {
        let held = &self.records[record];
        let environment = || process.map_or(Key::Missing, |process| self.processes[process].environment.at(moment));
        (moment < held.deleted).then(|| if held.is_env { environment() } else { held.key.at(moment) })
    }

    /// Plays it out: everything that runs sends what it sends.
    pub fn play(&mut self) {
        let mut runs = std::mem::take(&mut self.runs);
        for binding in 0..self.bindings.len() {
            let schedule = self.bindings[binding].schedule;
            let moments = schedule.moments(&mut self.dice, self.monday);
            runs.extend(moments.into_iter().map(|at| Run::new(at, binding)));
        }
        runs.sort_by_key(|run| (run.at, run.binding));
        let mut turns = vec![0; self.n8ns.len()];
        for run in &runs {
            self.run(run, &mut turns);
        }
        self.lose();
        self.exchanges.sort_by_key(|exchange| exchange.at);
        self.find_first_seen();
    }

    fn find_first_seen(&mut self) {
        let mut first = HashMap::new();
        for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.is_seen) {
            if let Some(number) = exchange.execution {
                exchange.first_seen = *first.entry((exchange.binding, number)).or_insert(exchange.at);
            }
        }
    }

    /// One of the processes that run then: by turns, or by chance.
    fn pick(&mut self, n8n: usize, moment: Moment, turns: &mut [usize]) -> Option<usize> {
        let runs = |process: &Process| {
            process.n8n == n8n && !process.asleep.iter().any(|(from, to)| (*from..*to).contains(&moment))
        };
        let count = self.processes.iter().filter(|process| runs(process)).count();
        // The next one after the last, so that no rhythm of the runs always meets the same process.
        let by_chance = count > 1 && self.dice.chance(500);
        turns[n8n] = if by_chance { self.dice.below(count) } else { (turns[n8n] + 1) % count.max(1) };
        let turn = turns[n8n];
        let running = self.processes.iter().enumerate().filter(|(_, process)| runs(process));
        running.map(|(place, _)| place).nth(turn)
    }

    fn run(&mut self, run: &Run, turns: &mut [usize]) {
        let n8n = self.bindings[run.binding].n8n;
        let Some(process) = self.pick(n8n, run.at, turns) else { return };
        self.n8ns[n8n].counter += self.dice.between(1, 3).cast_unsigned();
        let number = self.n8ns[n8n].counter;
        let record = run.record.unwrap_or_else(|| self.bindings[run.binding].record.at(run.at));
        let waits = self.dice.chance(self.bindings[run.binding].waits);
        let is_silent_first = waits && self.dice.chance(self.bindings[run.binding].waits_first);
        let key = run.key.or_else(|| self.key_of(record, Some(process), run.at));
        let mut ended = run.at + 5 * SECOND;
        if let Some(key) = key.filter(|_| !is_silent_first) {
            let at = run.at + SECOND + self.dice.between(0, SECOND);
            self.send(run, (number, record), (at, process), key);
            ended = ended.max(self.retry(run, (number, record), process, key));
            ended = ended.max(self.go_on(run, (number, record), process, key));
        }
        if waits {
            ended = self.resume(run, (number, record), turns).unwrap_or(ended);
        }
        let is_listed = run.is_listed && self.n8ns[n8n].saves;
        let known = self.bindings[run.binding].workflow.as_ref();
        let workflow = run.ids.as_ref().map(|(workflow, _)| workflow).or(known).cloned().unwrap_or_default();
        let began = run.at;
        let by_hand = run.by_hand;
        self.executions.push(Execution { n8n, number, workflow, began, ended, waits, record, is_listed, by_hand });
    }

    /// Goes on after its wait, wherever a process is free then.
    fn resume(&mut self, run: &Run, (number, record): (u64, usize), turns: &mut [usize]) -> Option<Moment> {
        let (least, most) = self.bindings[run.binding].wait_length;
        let resumed = run.at + self.dice.between(least, most);
        let process = self.pick(self.bindings[run.binding].n8n, resumed, turns)?;
        if let Some(key) = self.key_of(record, Some(process), resumed) {
            self.send(run, (number, record), (resumed + SECOND, process), key);
        }
        Some(resumed + 5 * SECOND)
    }

    /// Sends it again and again, as after an error.
    fn retry(&mut self, run: &Run, execution: (u64, usize), process: usize, key: Key) -> Moment {
        let mut at = run.at + SECOND;
        if self.dice.chance(self.bindings[run.binding].retries) {
            let times = self.dice.below(5) + 1;
            for pause in [3, 6, 10, 25, 55].into_iter().take(times) {
                at += pause * SECOND;
                self.send(run, execution, (at, process), key);
            }
        }
        at
    }

    /// Goes on for long, with the key that the node read when it began: an agent that calls its tools.
    fn go_on(&mut self, run: &Run, execution: (u64, usize), process: usize, key: Key) -> Moment {
        let (share, most) = (self.bindings[run.binding].long, self.bindings[run.binding].long_length);
        if !self.dice.chance(share) {
            return run.at;
        }
        let until = run.at + self.dice.between(MINUTE, most);
        // A process that stops takes what it runs with it.
        let stops = self.processes[process].asleep.iter().map(|(from, _)| *from).filter(|from| *from > run.at);
        let until = stops.min().map_or(until, |stops| until.min(stops));
        let step = (most / 25).max(MINUTE);
        let mut at = run.at + self.dice.between(MINUTE, step);
        while at < until {
            self.send(run, execution, (at, process), key);
            at += self.dice.between(MINUTE, 2 * step);
        }
        self.send(run, execution, (until, process), key);
        until
    }

    fn send(&mut self, run: &Run, (number, record): (u64, usize), (at, process): (Moment, usize), key: Key) {
        let set = self.bindings[run.binding].set;
        let upstream = if key == Key::Token { self.sets[set].file.at(at) } else { key };
        let accepted = !self.dice.chance(5) && key != Key::Missing;
        // A WebSocket, or a stream that takes its time.
        let is_long = self.dice.chance(if key == Key::Token { 20 } else { 2 });
        let ends = is_long.then(|| at + self.dice.between(5 * MINUTE, 6 * HOUR));
        let peer = self.processes[process].address.at(at);
        let ids = run.ids.clone();
        let (binding, execution, first_seen, record) = (run.binding, Some(number), at, Some(record));
        let is_of_editor = run.by_hand && !self.n8ns[self.bindings[run.binding].n8n].is_second_generation;
        self.exchanges.push(Exchange {
            at,
            ends,
            binding,
            ids,
            peer,
            execution,
            first_seen,
            key,
            upstream,
            record,
            accepted,
            is_of_editor,
            is_seen: true,
        });
    }

    /// While keyward is down nothing passes it; of what it heard in its last quarter of a second it knows nothing.
    fn lose(&mut self) {
        let down = std::mem::take(&mut self.down);
        let passes = |exchange: &Exchange| !down.iter().any(|(from, to)| (*from..*to).contains(&exchange.at));
        self.exchanges.retain(passes);
        for exchange in &mut self.exchanges {
            exchange.is_seen = !down.iter().any(|(from, _)| (from - 250..*from).contains(&exchange.at));
            let cut = down.iter().map(|(from, _)| *from).filter(|from| *from > exchange.at).min();
            exchange.ends = exchange.ends.map(|ends| cut.map_or(ends, |cut| ends.min(cut)));
        }
        self.down = down;
    }
}

/// Where moment zero lies.
const ZERO: i64 = 1_790_000_000_000;

/// A moment by a clock that is right, as n8n's is.
pub fn true_stamp(moment: Moment) -> Timestamp {
    Timestamp::from_millis(ZERO + moment)
}

/// A moment by keyward's clock.
pub fn stamp(world: &World, moment: Moment) -> Timestamp {
    Timestamp::from_millis(ZERO + moment + world.clock.at(moment))
}
