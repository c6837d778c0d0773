//! Pure. What is so in a history, beside what anything says of it.
//!
//! - [`Truth::later_use`]: the key is still used after that moment. Each history is played 95 days further than it is asked
//!   about, and so a sender that holds the key and would use it does.
//! - [`Truth::free`]: from then on no sender holds it, or will use it.
//! - [`Truth::deserved`]: from then on the evidence that the rule asks for has been there to see. It is written from the words of the
//!   rule and shares nothing with keyward's engine.
//!
//! *Deserved* is drawn in hindsight, and errs towards later:
//! - it knows to which n8n an execution belongs;
//! - it takes an address for gone only in two of the rule's three ways, and only after its very last request;
//! - what was sent within ten minutes of a node's re-pointing counts for no record;
//! - one for which keys did not fit in a binding's room deserves nothing, since a doubt may stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::looks::REFRESH;
use crate::observed::{Key, Origin};
use crate::schedule::{ASKED_UNTIL, BEGINS, DAY, MINUTE, Moment, NEVER, SECOND, Schedule};
use crate::world::{Exchange, World};

/// What is so.
pub struct Truth {
    /// The moments at which the key was in use, in order.
    uses: Vec<Moment>,
    /// The spans in which it was the set's current key.
    current: Vec<(Moment, Moment)>,
    /// From when on no sender holds it or will use it; [`NEVER`] where there is no such moment.
    pub free: Moment,
    /// From when on a *yes* is deserved.
    pub deserved: Option<Moment>,
}

impl Truth {
    /// Of that world, once it is played.
    pub fn new(world: &World) -> Self {
        let asked = world.statements.asked;
        let uses_of = |exchange: &Exchange| [Some(exchange.at), exchange.ends];
        let of_asked = world.exchanges.iter().filter(|exchange| exchange.upstream == asked);
        let mut uses: Vec<Moment> = of_asked.flat_map(uses_of).flatten().collect();
        uses.sort_unstable();
        let current = current_spans(world, asked);
        let last_use = uses.last().copied().unwrap_or(2 * BEGINS);
        let replaced = current.last().map_or(2 * BEGINS, |(_, until)| *until);
        let free = last_use.max(world.done_by).max(replaced);
        let free = if free > ASKED_UNTIL { NEVER } else { free };
        let deserved = (free < NEVER).then(|| Evidence::new(world).deserved(replaced)).flatten().map(|at| at.max(free));
        Self { uses, current, free, deserved }
    }

    /// Whether a sender holds the key then that will not use it any more. A key that is taken back later is aside.
    pub fn is_held(&self, moment: Moment) -> bool {
        moment < self.free && !self.current.iter().any(|(from, _)| *from > moment)
    }

    /// The next use after an answer at that moment, which shows that *yes* was wrong. What comes in the same second is aside, and so
    /// is what comes once the owner has made the key the current one again: they would not have, had they revoked it.
    pub fn later_use(&self, moment: Moment) -> Option<Moment> {
        if let Some((_, until)) = self.current.iter().find(|(from, until)| (*from..*until).contains(&moment)) {
            return Some((*until).min(ASKED_UNTIL));
        }
        let again = self.current.iter().map(|(from, _)| *from).find(|from| *from > moment).unwrap_or(NEVER);
        let next = self.uses.partition_point(|at| *at <= moment + SECOND);
        self.uses.get(next).copied().filter(|at| *at < again)
    }
}

/// When that key was current.
fn current_spans(world: &World, asked: Key) -> Vec<(Moment, Moment)> {
    let file = &world.sets[0].file;
    let starts: Vec<Moment> = std::iter::once(2 * BEGINS).chain(file.changes()).collect();
    let ends = starts.iter().skip(1).copied().chain([NEVER]);
    starts.iter().copied().zip(ends).filter(|(from, _)| file.at(*from) == asked).collect()
}

/// A process's address, as it can be told: in one n8n.
type Place = (usize, IpAddr);

/// What there was to see, put together for *deserved*.
struct Evidence<'w> {
    world: &'w World,
    asked: Key,
    /// What keyward saw, in order.
    seen: Vec<&'w Exchange>,
    /// The same by the record that it came through, in order.
    by_record: HashMap<usize, Vec<&'w Exchange>>,
    /// The same at each place.
    by_place: HashMap<(usize, Place), Vec<&'w Exchange>>,
    /// Of each n8n, whether an address of it came back after another, and how many there were in the week before the rotation.
    addresses: Vec<(bool, usize)>,
    /// When each place was seen, in order.
    places: HashMap<Place, Vec<Moment>>,
    /// Those where several processes are, as far as can be told.
    shared: BTreeSet<Place>,
}

impl<'w> Evidence<'w> {
    fn new(world: &'w World) -> Self {
        let asked = world.statements.asked;
        let in_time = |exchange: &&Exchange| exchange.is_seen && exchange.at <= ASKED_UNTIL;
        let seen: Vec<&Exchange> = world.exchanges.iter().filter(in_time).collect();
        let (mut by_record, mut by_place) =
            (HashMap::<usize, Vec<&Exchange>>::new(), HashMap::<_, Vec<&Exchange>>::new());
        let mut places = HashMap::<Place, Vec<Moment>>::new();
        for exchange in &seen {
            let n8n = world.bindings[exchange.binding].n8n;
            places.entry((n8n, exchange.peer)).or_default().push(exchange.at);
            if let Some(record) = exchange.record.filter(|record| is_listed(world, exchange, *record)) {
                by_record.entry(record).or_default().push(*exchange);
                by_place.entry((record, (n8n, exchange.peer))).or_default().push(*exchange);
            }
        }
        let (addresses, shared) = (Vec::new(), BTreeSet::new());
        let mut evidence = Self { world, asked, seen, by_record, by_place, addresses, places, shared };
        let count = |n8n| (evidence.alternates(n8n), evidence.addresses_before(n8n));
        evidence.addresses = (0..world.n8ns.len()).map(count).collect();
        evidence.shared = evidence.find_shared();
        evidence
    }

    /// The earliest moment at which everything that bars *yes* has ended; nothing where something does not.
    fn deserved(&self, replaced: Moment) -> Option<Moment> {
        if self.world.faults.contains("room for keys") {
            return None;
        }
        let mut at = self.quiet_from().max(replaced).max(self.other_sets()?).max(self.executions_end());
        at = at.max(self.records()?);
        for senders in self.senders().values() {
            at = at.max(self.sender(senders)?);
        }
        Some(self.answering(at + REFRESH)).filter(|at| *at <= ASKED_UNTIL - DAY)
    }

    fn n8n(&self, exchange: &Exchange) -> usize {
        self.world.bindings[exchange.binding].n8n
    }

    fn place(&self, exchange: &Exchange) -> Place {
        (self.n8n(exchange), exchange.peer)
    }

    /// What came through a record, as far as that can be told.
    fn through(&self, record: usize) -> &[&'w Exchange] {
        self.by_record.get(&record).map_or(&[], Vec::as_slice)
    }

    /// When something seemed to be, by keyward's clock: that is all that can put it in order.
    fn seeming(&self, moment: Moment) -> Moment {
        moment + self.world.clock.at(moment)
    }

    /// When the last old one of those seemed to be.
    fn last_old<'e>(&self, sent: impl IntoIterator<Item = &'e &'e Exchange>) -> Option<Moment> {
        let old = sent.into_iter().filter(|exchange| self.is_old(exchange));
        old.map(|exchange| self.seeming(exchange.at)).max()
    }

    /// Whether it is a good one in an execution that seemed to be seen first after that.
    fn is_good_after(&self, exchange: &Exchange, seeming: Moment) -> bool {
        self.is_good(exchange) && self.seeming(exchange.first_seen) > seeming
    }

    fn is_old(&self, exchange: &Exchange) -> bool {
        exchange.key == self.asked
    }

    fn is_good(&self, exchange: &Exchange) -> bool {
        exchange.accepted && exchange.key.replaces(self.asked) && !exchange.is_of_editor
    }

    /// The floor, and whatever carries the key and is still open. Where only keyward ever held it, there is no floor.
    fn quiet_from(&self) -> Moment {
        let quiet = i64::try_from(self.world.statements.quiet.as_millis()).unwrap_or(NEVER);
        let upstream = self.seen.iter().filter(|exchange| exchange.upstream == self.asked);
        let ends = upstream.filter_map(|exchange| exchange.ends).max().unwrap_or(BEGINS);
        self.last_old(&self.seen).map_or(ends, |last| ends.max(last + quiet))
    }

    /// Until the key is replaced in the other sets that have it.
    fn other_sets(&self) -> Option<Moment> {
        let mut at = BEGINS;
        for set in self.world.sets.iter().skip(1) {
            let (last, key) = set.file.steps().last().copied()?;
            at = at.max(last);
            if key == self.asked {
                return None;
            }
        }
        Some(at)
    }

    /// Executions that sent it, or that began before their record was changed, go on for a while.
    fn executions_end(&self) -> Moment {
        let old = self.seen.iter().filter(|exchange| self.is_old(exchange));
        let last = old.clone().map(|exchange| exchange.at).max().unwrap_or(BEGINS);
        let carriers: BTreeSet<_> =
            old.filter_map(|exchange| Some((self.n8n(exchange), exchange.execution?))).collect();
        let holds = |execution: &&crate::world::Execution| {
            let changed = self.world.records[execution.record].changed(ASKED_UNTIL);
            // Where n8n does not show a snapshot, a waiting one may hold anything.
            let is_shown = self.world.n8ns[execution.n8n].is_second_generation;
            let runs = !(execution.waits && is_shown) && execution.began <= last.max(changed);
            runs && self.is_configured(execution.n8n) || carriers.contains(&(execution.n8n, execution.number))
        };
        self.world.executions.iter().filter(holds).map(|execution| execution.ended + REFRESH).max().unwrap_or(BEGINS)
    }

    fn is_configured(&self, n8n: usize) -> bool {
        self.world.n8ns[n8n].configured.is_some()
    }

    /// When the last of the listed records is proven or gone.
    fn records(&self) -> Option<Moment> {
        let listed =
            self.world.records.iter().enumerate().filter(|(_, record)| {
                self.is_configured(record.n8n) && self.world.n8ns[record.n8n].is_second_generation
            });
        listed
            .map(|(place, record)| Some(self.proven(place)?.min(record.deleted)))
            .try_fold(BEGINS, |at, proven| Some(at.max(proven?)))
    }

    /// When a record was proven since its last change: by a good use of a node that n8n lists, or by its test.
    fn proven(&self, place: usize) -> Option<Moment> {
        let record = &self.world.records[place];
        let of_it = self.through(place);
        let since = record.changed(ASKED_UNTIL).max(self.last_old(of_it).unwrap_or(BEGINS));
        let counts = |exchange: &&&Exchange| self.is_good_after(exchange, since) && !self.nears_repointing(exchange);
        let by_use = of_it.iter().find(counts).map(|exchange| exchange.at);
        let pressed = self.pressed(place);
        [by_use, pressed].into_iter().flatten().min().or((record.deleted < NEVER).then_some(record.deleted))
    }

    /// When keyward's press of its test finds a good key there for good.
    fn pressed(&self, place: usize) -> Option<Moment> {
        let record = &self.world.records[place];
        let main = self.world.processes.iter().position(|process| process.n8n == record.n8n);
        if !self.world.statements.press || !self.world.n8ns[record.n8n].is_second_generation {
            return None;
        }
        let environment =
            main.map_or(BEGINS, |main| self.world.processes[main].environment.changes().last().unwrap_or(BEGINS));
        let from = record.changed(ASKED_UNTIL).max(self.world.file_changed).max(if record.is_env {
            environment
        } else {
            BEGINS
        });
        let key = self.world.key_of(place, main, from)?;
        // A test whose request could not be told, or that found the old key, is pressed again within the hour.
        key.replaces(self.asked).then_some(from + if record.is_env { 75 * MINUTE } else { REFRESH })
    }

    fn nears_repointing(&self, exchange: &Exchange) -> bool {
        let around = exchange.first_seen - 2 * REFRESH..exchange.at + 2 * REFRESH;
        self.world.bindings[exchange.binding].record.changes().any(|at| around.contains(&at))
    }

    /// Where one binding, or one record, sent old and good keys by turns in later executions; and what is said to be shared.
    fn find_shared(&self) -> BTreeSet<Place> {
        let shared = &self.world.statements.shared;
        let mut found: BTreeSet<_> = self.places.keys().filter(|(_, peer)| shared.contains(peer)).copied().collect();
        let (mut by_binding, mut by_record) = (HashMap::new(), HashMap::new());
        for exchange in &self.seen {
            let place = self.place(exchange);
            let (binding, record) = ((exchange.binding, place), (exchange.record, place));
            if self.is_good(exchange) {
                by_binding.entry(binding).or_insert(exchange.at);
                by_record.entry(record).or_insert(exchange.at);
            } else if self.is_old(exchange) {
                let first = by_binding.get(&binding).into_iter().chain(by_record.get(&record)).min();
                if first.is_some_and(|first| exchange.first_seen > *first) {
                    found.insert(place);
                }
            }
        }
        found
    }

    /// Everything that ever carried the key: what it sent, in order. What has throw-away ids folds into one beside its binding.
    fn senders(&self) -> BTreeMap<(usize, bool, Place), Vec<&'w Exchange>> {
        let mut senders = BTreeMap::<_, Vec<&Exchange>>::new();
        for exchange in &self.seen {
            let binding = &self.world.bindings[exchange.binding];
            // Agents are one binding, wherever they run.
            let place = if binding.origin == Origin::Agent {
                (binding.n8n, IpAddr::from([0; 4]))
            } else {
                self.place(exchange)
            };
            senders.entry((exchange.binding, exchange.ids.is_some(), place)).or_default().push(*exchange);
        }
        senders.retain(|_, sent| sent.iter().any(|exchange| self.is_old(exchange)));
        senders
    }

    /// When a sender is done: in the first of the ways that the rule has for it.
    fn sender(&self, sent: &[&Exchange]) -> Option<Moment> {
        let old = sent.iter().rev().find(|exchange| self.is_old(exchange))?;
        let last = self.last_old(sent)?;
        let good = sent.iter().filter(|exchange| self.is_good_after(exchange, last));
        let first_good = good.map(|exchange| exchange.at).min();
        let acknowledged = self.acknowledged(old);
        let ways = match self.world.bindings[old.binding].origin {
            Origin::Untagged => vec![self.long_quiet(sent, last), acknowledged],
            Origin::Agent | Origin::Editor => vec![first_good, acknowledged],
            Origin::Workflow => {
                let itself = self.itself(old, first_good);
                vec![itself, self.its_record_there(old), self.its_record(old), self.its_address(old), acknowledged]
            }
        };
        ways.into_iter().flatten().min()
    }

    /// A good key was seen, and the old one was quiet for 8 days and 1.5 times its longest pause.
    fn long_quiet(&self, sent: &[&Exchange], last: Moment) -> Option<Moment> {
        let good = sent.iter().find(|exchange| self.is_good(exchange))?.at;
        let pause = longest_pause(sent.iter().map(|exchange| exchange.at));
        Some(good.max(last + (8 * DAY).max(pause * 3 / 2)))
    }

    fn acknowledged(&self, old: &Exchange) -> Option<Moment> {
        let of_it = |(_, binding, peer): &&(Moment, usize, IpAddr)| *binding == old.binding && *peer == old.peer;
        let said = self.world.acknowledged.iter().filter(of_it).map(|(at, ..)| *at);
        said.filter(|at| *at > old.at).min()
    }

    /// How many processes an address has to be taken for.
    fn width(&self, place: Place) -> usize {
        let workers = self.world.statements.workers.unwrap_or(5).max(1);
        if self.shared.contains(&place) { 10 * usize::try_from(workers).unwrap_or(5) } else { 1 }
    }

    /// (a) It sent a good key itself in a later execution; at a shared address that does not prove enough.
    fn itself(&self, old: &Exchange, first_good: Option<Moment>) -> Option<Moment> {
        let width = self.width(self.place(old));
        let good = first_good?;
        if width == 1 { Some(good) } else { Some(good.max(self.nth_there(old, width)?)) }
    }

    /// (a2) Enough good executions came through its record at its address: the one of that use, or the one that its node names now.
    fn its_record_there(&self, old: &Exchange) -> Option<Moment> {
        let width = self.width(self.place(old));
        let pool = if self.world.statements.workers == Some(1) { 3 } else { 20 };
        self.nth_there(old, if width == 1 { pool } else { width })
    }

    /// When that many good executions had come through its record at its address, since the last old use there.
    fn nth_there(&self, old: &Exchange, count: usize) -> Option<Moment> {
        let before = old.record.filter(|record| is_listed(self.world, old, *record))?;
        let named = &self.world.bindings[old.binding].record;
        let moved = named.changes().last().unwrap_or(BEGINS);
        let ways = [(before, BEGINS), (named.at(ASKED_UNTIL), moved)];
        ways.into_iter().filter_map(|(record, since)| self.nth_through(record, self.place(old), (since, count))).min()
    }

    fn nth_through(&self, record: usize, place: Place, (since, count): (Moment, usize)) -> Option<Moment> {
        let there: &[&Exchange] = self.by_place.get(&(record, place)).map_or(&[], Vec::as_slice);
        let last = self.last_old(there).map_or(since, |old| old.max(since));
        self.nth(there.iter().filter(|exchange| !self.nears_repointing(exchange)).copied(), last, count)
    }

    /// What came through the record of that use, if that can be told.
    fn listed(&self, old: &Exchange) -> Option<&[&'w Exchange]> {
        let record = old.record.filter(|record| is_listed(self.world, old, *record))?;
        Some(self.through(record))
    }

    /// When the so many-th good execution that began after that moment came.
    fn nth<'e>(&self, sent: impl Iterator<Item = &'e Exchange>, since: Moment, count: usize) -> Option<Moment> {
        let mut executions = BTreeSet::new();
        for exchange in sent.filter(|exchange| self.is_good_after(exchange, since)) {
            executions.insert(exchange.execution);
            if executions.len() >= count {
                return Some(exchange.at);
            }
        }
        None
    }

    /// (a3) n8n dates a change of its record before which only old and after which only good keys came through it.
    fn its_record(&self, old: &Exchange) -> Option<Moment> {
        let (place, n8n) = (old.record?, self.n8n(old));
        let said = self.world.statements.env_keys;
        let record = &self.world.records[place];
        let is_dated = self.is_configured(n8n) && self.world.n8ns[n8n].is_second_generation && record.n8n == n8n;
        if said == Some(true) || !is_dated {
            return None;
        }
        let through = self.listed(old)?;
        let is_turn = |change: &&Moment| {
            let is_after = |exchange: &Exchange| exchange.first_seen >= **change;
            **change >= self.world.began()
                && !through.iter().any(|exchange| {
                    self.is_old(exchange) && is_after(exchange) || self.is_good(exchange) && exchange.at < **change
                })
        };
        record.changes.iter().find(is_turn)?;
        let last = record.changed(ASKED_UNTIL);
        let proven = self.proven(place)?.max(last);
        let (alternates, width) = self.addresses[n8n];
        if said == Some(false) || !alternates {
            return Some(proven);
        }
        let enough = self.nth(through.iter().copied(), last, 10 * width.max(2))?;
        Some(proven.max(enough))
    }

    /// How many addresses of an n8n there were in the seven days before the rotation.
    fn addresses_before(&self, n8n: usize) -> usize {
        let began = self.world.began();
        let week = |moments: &Vec<Moment>| moments.iter().any(|at| (began - 7 * DAY..began).contains(at));
        self.places.iter().filter(|((of, _), moments)| *of == n8n && week(moments)).count()
    }

    /// Whether an address of that n8n came back after another.
    fn alternates(&self, n8n: usize) -> bool {
        let mut spans: Vec<_> =
            self.places.iter().filter(|((of, _), _)| *of == n8n).map(|(_, moments)| span(moments)).collect();
        spans.sort_unstable();
        spans.windows(2).any(|pair| pair[0].1 > pair[1].0)
    }

    /// (b) Its address is gone: never for an n8n that no API shows.
    fn its_address(&self, old: &Exchange) -> Option<Moment> {
        let (n8n, place) = (self.n8n(old), self.place(old));
        if !self.is_configured(n8n) {
            return None;
        }
        let moments = self.places.get(&place)?;
        let (_, last) = span(moments);
        let later = self.seen.partition_point(|exchange| exchange.at <= last);
        let elsewhere =
            self.seen[later..].iter().filter(|exchange| self.n8n(exchange) == n8n && exchange.peer != old.peer);
        let third = self.nth(elsewhere.copied(), last, 3)?;
        let quiet = self.world.statements.quiet.max(Duration::from_millis(1));
        let quiet = i64::try_from(quiet.as_millis()).unwrap_or(NEVER);
        let silence =
            if self.addresses[n8n].0 { (8 * DAY).max(longest_pause(moments.iter().copied())) + MINUTE } else { quiet };
        Some(third.max(last + silence))
    }

    /// The first moment from then on at which n8n can be asked.
    fn answering(&self, moment: Moment) -> Moment {
        let mut at = moment;
        let outages: Vec<_> = self
            .world
            .n8ns
            .iter()
            .flat_map(|n8n| n8n.silent.iter().copied())
            .chain(self.world.down.iter().copied())
            .collect();
        while let Some((_, until)) = outages.iter().find(|(from, until)| (*from..*until).contains(&at)) {
            at = *until + REFRESH;
        }
        at
    }
}

/// Whether it came from a node that n8n lists, with the record that the running version of its workflow names.
fn is_listed(world: &World, exchange: &Exchange, record: usize) -> bool {
    let binding = &world.bindings[exchange.binding];
    let is_node = exchange.ids.is_none() && !matches!(binding.schedule, Schedule::Never);
    is_node && binding.record.at(exchange.first_seen) == record
}

fn span(moments: &[Moment]) -> (Moment, Moment) {
    (moments.first().copied().unwrap_or(BEGINS), moments.last().copied().unwrap_or(BEGINS))
}

fn longest_pause(moments: impl Iterator<Item = Moment> + Clone) -> i64 {
    let later = moments.clone().skip(1);
    moments.zip(later).map(|(one, other)| other - one).max().unwrap_or(0)
}
