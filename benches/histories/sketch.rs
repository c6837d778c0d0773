//! Pure. The rule in a few lines, as it was first simulated: an oracle of the histories, not of keyward. Its rates of wrong and of timely
//! answers have been known from elsewhere, and have to come out here again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use keyward::clock::Timestamp;
use keyward::ledger::look::{Look, Unfinished};

use crate::observed::{Acknowledged, Key, Observed, Origin, Request, Said, Statements, Subject};
use crate::schedule::{DAY, HOUR, MINUTE};

const LONG_AGO: i64 = i64::MIN / 4;
const NEVER: i64 = i64::MAX / 4;

/// An address in one n8n; nothing stands for an n8n that cannot be told.
type Place = (IpAddr, Option<usize>);

/// A credential record of one n8n, or a binding for which none is known.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Through {
    Record(usize, Box<str>),
    Binding(usize),
}

/// A request, kept until the look that follows it.
#[derive(Clone)]
struct Kept {
    at: i64,
    binding: Named,
    execution: Option<u64>,
    peer: IpAddr,
    key: Key,
    good: bool,
}

/// `inst=`, workflow and node.
type Named = (Option<Box<str>>, Box<str>, Box<str>);

/// A sender, or a record at an address: its last old use, when the last execution with a good one was seen first, and the
/// first good use.
#[derive(Clone)]
struct Uses {
    old: i64,
    good: i64,
    first_good: Option<i64>,
    run: HashSet<u64>,
}

impl Default for Uses {
    fn default() -> Self {
        Self { old: LONG_AGO, good: LONG_AGO, first_good: None, run: HashSet::new() }
    }
}

/// What is known of a record in one n8n.
#[derive(Clone)]
struct Known {
    changes: Vec<i64>,
    pressed: Option<(i64, Key)>,
    nodes: usize,
    is_listed: bool,
    last_old: i64,
    last_good: i64,
    first_new: i64,
    good: HashSet<u64>,
}

impl Default for Known {
    fn default() -> Self {
        let good = HashSet::new();
        let (last_old, last_good) = (LONG_AGO, LONG_AGO);
        Self {
            changes: Vec::new(),
            pressed: None,
            nodes: 0,
            is_listed: false,
            last_old,
            last_good,
            first_new: NEVER,
            good,
        }
    }
}

/// What is known of an address.
#[derive(Clone)]
struct Seen {
    first: i64,
    last: i64,
    pause: i64,
    vouched: usize,
    elsewhere: usize,
    good: usize,
}

/// One configured n8n.
#[derive(Clone, Default)]
struct Instance {
    name: Box<str>,
    look: Option<Look>,
    listed: HashMap<u64, (Box<str>, i64, Option<i64>)>,
    /// Executions in the order in which they were seen first.
    rising: Vec<(i64, u64)>,
    records: BTreeMap<Box<str>, Known>,
    /// How many addresses it had in the week before the rotation.
    width: usize,
}

/// A client without a tag: keys by its family, address, path and model.
#[derive(Clone, Default)]
struct Client {
    old: Option<i64>,
    good: Option<i64>,
    last: Option<i64>,
    pause: i64,
}

/// The rule.
pub struct Sketch {
    statements: Statements,
    kept: Vec<Kept>,
    instances: Vec<Instance>,
    bindings: HashMap<Named, usize>,
    names: Vec<Named>,
    executions: HashMap<(Option<usize>, Box<str>, u64), i64>,
    senders: HashMap<(usize, Place), Uses>,
    through: HashMap<(Through, Place), Uses>,
    places: HashMap<Place, Seen>,
    served: HashMap<usize, BTreeSet<Place>>,
    here: HashMap<Option<usize>, Place>,
    alternating: HashSet<Option<usize>>,
    shared: HashSet<Place>,
    clients: HashMap<(String, IpAddr, String), Client>,
    nameless: HashMap<Origin, (i64, i64)>,
    open: BTreeSet<u64>,
    last_old: Option<i64>,
    began: i64,
    current: HashMap<Box<str>, Key>,
}

impl Sketch {
    /// With what the owner says.
    pub fn new(statements: &Statements) -> Self {
        let instance = |name: &&str| Instance { name: (*name).into(), width: 1, ..Instance::default() };
        Self {
            instances: statements.instances.iter().map(instance).collect(),
            current: statements.sets.iter().map(|(set, key)| ((*set).into(), *key)).collect(),
            statements: statements.clone(),
            kept: Vec::new(),
            bindings: HashMap::new(),
            names: Vec::new(),
            executions: HashMap::new(),
            senders: HashMap::new(),
            through: HashMap::new(),
            places: HashMap::new(),
            served: HashMap::new(),
            here: HashMap::new(),
            alternating: HashSet::new(),
            shared: HashSet::new(),
            clients: HashMap::new(),
            nameless: HashMap::new(),
            open: BTreeSet::new(),
            last_old: None,
            began: NEVER,
        }
    }

    fn begin(&mut self, at: i64) {
        if at >= self.began {
            return;
        }
        self.began = at;
        for (place, instance) in self.instances.iter_mut().enumerate() {
            let recent = self.places.iter().filter(|((_, of), seen)| *of == Some(place) && seen.last >= at - 7 * DAY);
            instance.width = recent.count().max(1);
        }
    }

    fn hear(&mut self, request: &Request<'_>) {
        let at = request.at.as_millis();
        let is_old = request.key == self.statements.asked;
        let good = request.accepted && request.key.replaces(self.statements.asked);
        if request.is_open && request.upstream == self.statements.asked {
            self.open.insert(request.exchange);
        }
        if is_old {
            self.last_old = Some(self.last_old.map_or(at, |last| last.max(at)));
        } else if good && request.key != Key::Token {
            self.begin(at);
        }
        match request.origin {
            Origin::Untagged => self.hear_client(request, is_old, good),
            Origin::Agent | Origin::Editor => {
                let uses = self.nameless.entry(request.origin).or_insert((LONG_AGO, LONG_AGO));
                if is_old {
                    uses.0 = at;
                } else if good {
                    uses.1 = at;
                }
            }
            Origin::Workflow => {
                let of = |text: Option<&str>| text.unwrap_or_default().into();
                let binding = (request.instance.map(Into::into), of(request.workflow), of(request.node));
                let (execution, peer, key) = (request.execution, request.peer, request.key);
                self.kept.push(Kept { at, binding, execution, peer, key, good });
            }
        }
    }

    fn hear_client(&mut self, request: &Request<'_>, is_old: bool, good: bool) {
        let at = request.at.as_millis();
        let asks = format!("{} {}", request.path, request.model);
        let client = self.clients.entry((format!("{:?}", request.client), request.peer, asks)).or_default();
        client.pause = client.last.map_or(0, |last| client.pause.max(at - last));
        client.last = Some(at);
        if is_old {
            client.old = Some(at);
        } else if good {
            client.good = Some(at);
        }
    }

    fn look(&mut self, look: &Look) {
        let Some(place) = self.instances.iter().position(|instance| instance.name == look.instance) else { return };
        let instance = &mut self.instances[place];
        for (number, listed) in &look.executions {
            let ended = listed.ended.map(Timestamp::as_millis);
            instance.listed.insert(*number, (listed.workflow.clone(), listed.began.as_millis(), ended));
        }
        for known in instance.records.values_mut() {
            known.is_listed = false;
        }
        for (id, state) in &look.records {
            let known = instance.records.entry(id.clone()).or_default();
            (known.is_listed, known.nodes) = (true, state.nodes);
            let changed = state.changed.map_or(LONG_AGO, Timestamp::as_millis);
            if known.changes.last() != Some(&changed) {
                known.changes.push(changed);
            }
            let names = state.pressed.and_then(|pressed| Some((pressed.at.as_millis(), pressed.key?)));
            known.pressed = names.and_then(|(at, names)| Some((at, Key::named(&names)?)));
        }
        instance.look = Some(look.clone());
        let kept = std::mem::take(&mut self.kept);
        for request in kept {
            self.see(&request);
        }
    }

    /// Which configured n8n an execution belongs to.
    fn instance_of(&self, request: &Kept) -> Option<usize> {
        let (tag, workflow, _) = &request.binding;
        if let Some(tag) = tag {
            return self.instances.iter().position(|instance| instance.name == *tag);
        }
        let number = request.execution?;
        let waits = |instance: &Instance| {
            let unfinished = instance.look.iter().flat_map(|look| &look.unfinished);
            let mut same = unfinished.filter(|unfinished| unfinished.workflow == *workflow);
            same.any(|unfinished| unfinished.execution.parse() == Ok(number))
        };
        let lists = |instance: &Instance| instance.look.as_ref().is_some_and(|look| look.workflows.contains(workflow));
        let is_listed_somewhere = self.instances.iter().any(lists);
        let fits = |instance: &Instance| {
            if is_listed_somewhere && !lists(instance) {
                return false;
            }
            waits(instance)
                || match instance.listed.get(&number) {
                    Some((of, began, ended)) if of == workflow => {
                        let is_over = ended.is_some_and(|ended| request.at > ended + 2 * MINUTE);
                        let is_new = request.at <= began + 2 * MINUTE || self.instances.len() == 1;
                        !is_over && is_new
                    }
                    _ => {
                        let earlier = instance.rising.partition_point(|(at, _)| *at < request.at - 2 * MINUTE);
                        let floor = instance.rising[..earlier].iter().rev().take(8).map(|(_, id)| *id).max();
                        floor.is_none_or(|floor| floor < number && number < floor + 400)
                    }
                }
        };
        self.instances.iter().position(fits)
    }

    /// Throw-away ids fold into one binding; so do node ids that n8n does not list.
    fn fold(&self, request: &Kept, instance: Option<usize>) -> Named {
        let (tag, workflow, node) = &request.binding;
        let Some(look) = instance.and_then(|place| self.instances[place].look.as_ref()) else {
            return request.binding.clone();
        };
        if !look.workflows.contains(workflow) {
            return (tag.clone(), "chat".into(), "chat".into());
        }
        let is_node = look.nodes.contains_key(&(workflow.clone(), node.clone()));
        let node = if is_node { node.clone() } else { "thrown away".into() };
        (tag.clone(), workflow.clone(), node)
    }

    fn see(&mut self, request: &Kept) {
        let known = self.instances.iter().enumerate().map(|(place, _)| Some(place)).chain([None]);
        let number = request.execution.unwrap_or_default();
        let key = |instance| (instance, request.binding.1.clone(), number);
        let continued = known.into_iter().find(|instance| {
            let is_over = instance.is_some_and(|place| {
                let listed = self.instances[place].listed.get(&number);
                listed.is_some_and(|(_, _, ended)| ended.is_some_and(|ended| request.at > ended + 2 * MINUTE))
            });
            !is_over && request.binding.0.is_none() && self.executions.contains_key(&key(*instance))
        });
        let instance = continued.unwrap_or_else(|| self.instance_of(request));
        let is_new = !self.executions.contains_key(&key(instance));
        let first = *self.executions.entry(key(instance)).or_insert(request.at);
        let place = (request.peer, instance);
        if let Some(of) = instance.filter(|_| is_new) {
            self.instances[of].rising.push((first, number));
        }
        let named = self.fold(request, instance);
        let next = self.names.len();
        let binding = *self.bindings.entry(named.clone()).or_insert(next);
        if binding == next {
            self.names.push(named.clone());
        }
        self.note_place(request, place, is_new, binding);
        self.note_use(request, (first, number), place, binding);
    }

    fn note_place(&mut self, request: &Kept, place: Place, is_new: bool, binding: usize) {
        let is_known = self.places.contains_key(&place);
        let fresh = Seen { first: request.at, last: request.at, pause: 0, vouched: 0, elsewhere: 0, good: 0 };
        let seen = self.places.entry(place).or_insert(fresh);
        seen.pause = seen.pause.max(request.at - seen.last);
        seen.last = request.at;
        seen.elsewhere = 0;
        seen.good += usize::from(request.good);
        if is_new {
            let listed = place
                .1
                .is_some_and(|of| self.instances[of].listed.contains_key(&request.execution.unwrap_or_default()));
            seen.vouched += if listed { 3 } else { 1 };
        }
        if self.here.get(&place.1) != Some(&place) {
            if is_known {
                self.alternating.insert(place.1);
            }
            self.here.insert(place.1, place);
        }
        let served = self.served.entry(binding).or_default();
        if is_new && request.good {
            for other in served.iter().filter(|other| **other != place && other.1 == place.1) {
                if let Some(seen) = self.places.get_mut(other) {
                    seen.elsewhere += 1;
                }
            }
        }
        served.insert(place);
    }

    /// The record that the node names, where the audits before and after agree.
    fn record_of(&self, binding: usize, instance: Option<usize>, first: i64) -> Option<Box<str>> {
        let look = self.instances[instance?].look.as_ref()?;
        let (_, workflow, node) = &self.names[binding];
        let named = look.nodes.get(&(workflow.clone(), node.clone()))?;
        (named.since.as_millis() <= first).then(|| named.record.clone())
    }

    fn note_use(&mut self, request: &Kept, (first, number): (i64, u64), place: Place, binding: usize) {
        let record = self.record_of(binding, place.1, first);
        let way = match (&record, place.1) {
            (Some(record), Some(of)) => Through::Record(of, record.clone()),
            _ => Through::Binding(binding),
        };
        let vouched = self.places.get(&place).is_some_and(|seen| seen.vouched >= 3);
        let began = self.began;
        let is_old = request.key == self.statements.asked;
        let sender = self.senders.entry((binding, place)).or_default();
        let through = self.through.entry((way, place)).or_default();
        let known = place.1.zip(record).map(|(of, record)| self.instances[of].records.entry(record).or_default());
        if is_old {
            if through.first_good.is_some_and(|good| first > good) {
                self.shared.insert(place);
            }
            (sender.old, through.old) = (request.at, request.at);
            through.run.clear();
            if let Some(known) = known.filter(|known| first > known.last_old) {
                known.last_old = first;
                known.good.clear();
            }
        } else if request.good {
            sender.good = sender.good.max(first);
            through.good = through.good.max(first);
            through.first_good.get_or_insert(request.at);
            if first > through.old {
                through.run.insert(number);
            }
            if let Some(known) = known {
                if request.at > began && known.first_new == NEVER {
                    known.first_new = request.at;
                }
                if vouched && first > known.last_good {
                    known.last_good = first;
                    known.good.insert(number);
                }
            }
        }
    }

    fn acknowledge(&mut self, said: &Acknowledged<'_>) {
        let kept = std::mem::take(&mut self.kept);
        for request in kept {
            self.see(&request);
        }
        let of = |text: Option<&str>| text.unwrap_or_default().into();
        let named: Named = (said.instance.map(Into::into), of(said.workflow), of(said.node));
        let Some(binding) = self.bindings.get(&named) else { return };
        for ((of, place), uses) in &mut self.senders {
            if of == binding && place.0 == said.peer {
                uses.old = LONG_AGO;
            }
        }
    }

    /// Since when a record is proven to hold a good key itself, if it is.
    fn literal(&self, of: usize, id: &str) -> Option<i64> {
        let instance = &self.instances[of];
        let known = instance.records.get(id)?;
        let last = known.changes.last().copied().filter(|last| *last >= self.began - 8 * HOUR)?;
        if self.statements.env_keys == Some(true) || known.changes.is_empty() {
            return None;
        }
        let pressed = known
            .pressed
            .filter(|(at, key)| key.replaces(self.statements.asked) && *at > last)
            .map_or(LONG_AGO, |(at, _)| at);
        let good = known.last_good.max(pressed);
        let is_turn =
            |change: &&i64| **change >= self.began - 8 * HOUR && (known.last_old..=known.first_new).contains(*change);
        known.changes.iter().find(is_turn)?;
        let width = 10 * instance.width.max(2);
        let is_enough =
            !self.alternating.contains(&Some(of)) || self.statements.env_keys.is_some() || known.good.len() >= width;
        (good > last && is_enough).then_some(good)
    }

    /// Whether its test, pressed since its last change, found a good key.
    fn is_pressed_well(&self, of: usize, id: &str) -> bool {
        let Some(known) = self.instances[of].records.get(id) else { return false };
        let is_newer = |at: i64| known.changes.last().is_none_or(|last| *last < at);
        known.pressed.is_some_and(|(at, key)| key.replaces(self.statements.asked) && is_newer(at))
    }

    fn is_proven(&self, of: usize, id: &str) -> bool {
        let held = Through::Record(of, id.into());
        let ways = self.through.iter().filter(|((way, _), _)| *way == held);
        let (old, good) =
            ways.fold((LONG_AGO, LONG_AGO), |(old, good), (_, uses)| (old.max(uses.old), good.max(uses.good)));
        self.is_pressed_well(of, id) || self.literal(of, id).is_some() || good > old && good > self.began - 2 * MINUTE
    }

    fn is_gone(&self, place: Place, now: i64) -> bool {
        let Some(seen) = self.places.get(&place) else { return false };
        let quiet = now - seen.last;
        if quiet <= HOUR || seen.vouched < 3 {
            return false;
        }
        let is_long = quiet > (8 * DAY).max(seen.pause);
        match place.1 {
            Some(_) if !self.alternating.contains(&place.1) => seen.elsewhere >= 3,
            None => false,
            Some(of) => {
                let width = self.instances[of].width;
                if seen.elsewhere < 10 * width.max(2) {
                    return is_long && seen.elsewhere >= 3;
                }
                let others = self
                    .places
                    .iter()
                    .filter(|((_, other), later)| *other == place.1 && later.last > seen.last && later.good > 0);
                let living: Vec<&Seen> = others.map(|(_, seen)| seen).collect();
                let from = living.iter().map(|seen| seen.first).max().unwrap_or(now);
                living.iter().filter(|seen| seen.last >= from).count() >= width || is_long
            }
        }
    }

    fn is_done(&self, binding: usize, place: Place, uses: &Uses, now: i64) -> bool {
        let is_shared = self.shared.contains(&place) || self.statements.shared.contains(&place.0);
        let workers = usize::try_from(self.statements.workers.unwrap_or(5)).unwrap_or(5);
        let record = self.record_of(binding, place.1, now);
        let way = match (&record, place.1) {
            (Some(record), Some(of)) => Through::Record(of, record.clone()),
            _ => Through::Binding(binding),
        };
        let there = self.through.get(&(way, place));
        let runs = there.map_or(0, |there| there.run.len());
        let pool = if self.statements.workers == Some(1) { 3 } else { 20 };
        let needed = if is_shared { 10 * workers } else { pool };
        let itself = uses.good > uses.old && (!is_shared || runs >= needed);
        let there =
            there.is_some_and(|there| record.is_some() && there.good > uses.old.max(there.old) && runs >= needed);
        let literal = place.1.zip(record).is_some_and(|(of, record)| {
            let changed = self.instances[of].records.get(&record).and_then(|known| known.changes.last());
            let vouched = self.places.get(&place).is_some_and(|seen| seen.vouched >= 3);
            vouched
                && self
                    .literal(of, &record)
                    .is_some_and(|good| good > uses.old || changed.is_some_and(|at| uses.old < *at))
        });
        itself || there || literal || self.is_gone(place, now)
    }

    /// The first thing that bars *yes*.
    fn bar(&self, now: i64) -> Option<&'static str> {
        let asked = self.statements.asked;
        if self.current.values().any(|key| *key == asked) {
            return Some("current");
        }
        if !self.open.is_empty() {
            return Some("in flight");
        }
        if self.last_old.is_some_and(|last| now - last < HOUR) {
            return Some("floor");
        }
        let open = |((binding, place), uses): (&(usize, Place), &Uses)| {
            uses.old > LONG_AGO && !self.is_done(*binding, *place, uses, now)
        };
        if self.senders.iter().any(open) {
            return Some("sender");
        }
        let loud = |client: &Client| {
            client.old.is_some_and(|old| client.good.is_none() || now - old < (8 * DAY).max(client.pause * 3 / 2))
        };
        if self.clients.values().any(loud) {
            return Some("untagged");
        }
        if self.nameless.values().any(|(old, good)| *old > LONG_AGO && good < old) {
            return Some("agent");
        }
        (0..self.instances.len()).find_map(|of| self.bar_of_instance(of))
    }

    fn bar_of_instance(&self, of: usize) -> Option<&'static str> {
        let instance = &self.instances[of];
        let Some(look) = &instance.look else { return Some("no audit") };
        for (id, known) in instance.records.iter().filter(|(_, known)| known.is_listed) {
            if known.pressed.is_some_and(|(at, key)| {
                key == self.statements.asked && known.changes.last().is_none_or(|last| *last < at)
            }) {
                return Some("pressed: old");
            }
            if known.nodes == 0 && self.literal(of, id).is_none() && !self.is_pressed_well(of, id) {
                return Some("record without node");
            }
            if !self.is_proven(of, id) {
                return Some("record unproven");
            }
        }
        if !look.lists_records && look.nodes.values().any(|named| !self.is_proven(of, &named.record)) {
            return Some("record unproven");
        }
        let holds = |unfinished: &Unfinished| {
            let Some(records) = &unfinished.records else {
                return unfinished.began.as_millis() <= self.last_old.unwrap_or(LONG_AGO);
            };
            let listed =
                records.iter().filter_map(|id| Some((id, instance.records.get(id).filter(|known| known.is_listed)?)));
            let mut listed = listed.peekable();
            if unfinished.waits {
                return listed.any(|(id, _)| !self.is_proven(of, id));
            }
            let changed = listed.filter_map(|(_, known)| known.changes.last().copied()).max().unwrap_or(LONG_AGO);
            unfinished.began.as_millis() <= changed.max(self.last_old.unwrap_or(LONG_AGO))
        };
        look.unfinished.iter().any(holds).then_some("unfinished")
    }
}

impl Subject for Sketch {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Request(request) => self.hear(request),
            Observed::Ended { exchange, .. } => {
                self.open.remove(exchange);
            }
            Observed::Restarted { .. } => self.open.clear(),
            Observed::ClockJumped { .. } | Observed::Announced { .. } | Observed::LookFailed { .. } => {}
            Observed::Rotated { after, set, current, .. } => {
                self.current.insert((*set).into(), *current);
                if *set == "default" {
                    self.begin(after.as_millis());
                }
            }
            Observed::Acknowledged(said) => self.acknowledge(said),
            Observed::Looked(look) => self.look(look),
        }
    }

    fn answer(&mut self, at: Timestamp) -> Said {
        match self.bar(at.as_millis()) {
            Some(bar @ ("pressed: old" | "current")) => Said::No(vec![bar.to_owned()]),
            Some(bar) => Said::NotProven(vec![bar.to_owned()]),
            None => Said::Yes,
        }
    }
}
