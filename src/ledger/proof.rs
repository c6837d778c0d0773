//! Pure. Whether each sender that ever carried an old key is done with it.
//!
//! Silence proves nothing, and one binding can stand for several senders ([`super::senders`]). A sender is done when
//!
//! | | it is proven by |
//! |---|---|
//! | itself | it later sent a good key, in an execution that began after its last use of the old one |
//! | its record there | 20 executions in a row with a good key through its credential record at its address (3 where you said that the address is one process) |
//! | its record | n8n dates a change of the record, before which only the old key came through it and after which only good ones, with a good use or a press of its test since |
//! | its node is gone | it stands in its workflow no more, and no execution of that goes on |
//! | its address is gone | it is silent, and the addresses that took its place have served since |
//!
//! Where an old and a newer key came from one address by turns, or where you said that several processes share it, ten
//! executions in a row for each process have to show it. What is left is for a person to acknowledge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::identity::BindingId;
use super::look::{Look, RecordState, node_hash};
use super::senders::{
    Address, Client, ClientKind, ClientUse, KeySpan, Mixed, N8n, Record, RecordName, Run, SenderUse, Senders, is_named,
};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;

/// The settings under `[rotation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an old key must have been silent before it can go.
    pub quiet: Duration,
    /// Whether n8n's credentials take their keys from the environment (`{{ $env.… }}`), where that is said.
    pub env_keys: Option<bool>,
    /// Addresses behind which several processes of n8n stand, where that is said: then every other one is one process.
    pub shared_address: Option<Vec<IpNet>>,
    /// How many processes stand behind a shared address.
    pub workers: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { quiet: Duration::from_hours(1), env_keys: None, shared_address: None, workers: 5 }
    }
}

/// An old key, and what it is judged by.
pub struct Case<'a> {
    pub old: Fingerprint,
    /// The keys that are good in the evidence's set: the current one, the next one and its tokens. Sorted.
    pub good: &'a [Fingerprint],
    /// The current and the next key alone. Sorted.
    pub new: &'a [Fingerprint],
    /// When it was replaced: the earlier bound.
    pub replaced: Timestamp,
    /// From when on a use of it is a fault: when it was replaced, as closely as is known.
    pub faulty_from: Timestamp,
    pub now: Timestamp,
    /// What you said about your n8n.
    pub settings: &'a Settings,
    /// The n8n of the set, as they were looked through last.
    pub looks: &'a [&'a Look],
    /// The workflow and node of a binding.
    pub node_of: &'a dyn Fn(BindingId) -> Option<(Box<str>, Box<str>)>,
}

/// A sender that carried the old key and is not proven to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    pub binding: BindingId,
    /// What it is, where it is of no workflow.
    pub kind: Option<ClientKind>,
    /// Where it sent from; nothing where there was no room to know.
    pub address: Option<IpAddr>,
    /// The n8n that the address belongs to.
    pub n8n: N8n,
    /// When the old key came from it last.
    pub last: Timestamp,
    /// Whether that was after the key was replaced, or after the binding had sent a newer one.
    pub later: bool,
    /// Where both keys came from it by turns.
    pub mixed: Option<Mixed>,
    /// Whether a good key came from the same binding as well, be it from another address.
    pub beside_good: bool,
    /// What keeps it from being done.
    pub lacks: Lack,
}

/// What a sender lacks to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A good key in a later execution.
    GoodKey,
    /// So many more executions in a row with a good key through its record.
    Executions(u32),
    /// Time: for a program without a tag, until then.
    Silence(Timestamp),
    /// A good key from the editor or an Agent after the old one.
    GoodTest,
    /// Nothing that could be observed.
    Nothing,
}

/// A record that is not proven to hold a good key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    pub name: RecordName,
    pub title: Box<str>,
    /// How many nodes that may run name it.
    pub nodes: usize,
    /// When n8n says that it was changed last.
    pub changed: Option<Timestamp>,
    /// Whether keyward's press of its test found the old key in it.
    pub holds_old: Option<Timestamp>,
}

/// The evidence of one set with an old key to be judged.
struct Trial<'a> {
    senders: &'a Senders,
    case: &'a Case<'a>,
    /// When the rotation began: when a new key was first accepted, or the old one was replaced.
    began: Timestamp,
    records: BTreeMap<RecordName, Option<Change>>,
    gone: BTreeMap<u16, bool>,
    /// Of each address, whether a good key came from it: one that merely sends something serves no workflow.
    serving: Vec<bool>,
}

/// A record went over from the old key to a good one.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// When n8n says that it was changed: the old key came through it before, and good ones after.
    at: Timestamp,
    /// When a good key was seen in it since its last change.
    proven: Timestamp,
}

/// What the evidence of one set says of an old key, found in one walk through it: there may be many senders.
pub struct Survey<'a> {
    trial: Trial<'a>,
    /// Uses of the old key that no later good key of the same sender outdates.
    open: Vec<OpenUse<'a>>,
    /// The bindings of workflows that carried it, and when each did last.
    pub(super) decided: Vec<(BindingId, Timestamp)>,
    /// When a client of no workflow carried it last.
    pub(super) decided_of_clients: Option<Timestamp>,
    /// How many senders ever carried it.
    pub(super) carried: usize,
    /// When it was last seen, of what was decided on and what waits.
    pub(super) last_use: Option<Timestamp>,
    /// The bindings that carried it in an n8n that does not tell what runs, with their last use there and until when one of
    /// their executions may go on with it, where that is not over: for twice as long as such a one was silent before it went
    /// on, a day at most.
    pub(super) going_on: Vec<(BindingId, Timestamp, Timestamp)>,
    /// Whether a good key was ever accepted.
    pub(super) has_good: bool,
}

/// A use of the old key by a sender, and all uses of its binding.
type OpenUse<'a> = (BindingId, &'a SenderUse, &'a [SenderUse]);

impl<'a> Survey<'a> {
    /// Walks through the evidence once, for the old key that `case` names.
    #[must_use]
    pub fn new(senders: &'a Senders, case: &'a Case<'a>) -> Self {
        let mut survey = Self {
            trial: Trial::new(senders, case),
            open: Vec::new(),
            decided: Vec::new(),
            decided_of_clients: None,
            carried: 0,
            last_use: senders.waits(case.old),
            going_on: Vec::new(),
            has_good: false,
        };
        let tells = senders.addresses.iter().map(|address| survey.trial.tells(&address.n8n)).collect::<Vec<_>>();
        let shared = senders.addresses.iter().map(|address| survey.trial.is_shared(address)).collect::<Vec<_>>();
        for (binding, uses) in &senders.uses {
            survey.walk(*binding, uses, &tells, &shared);
        }
        for client in senders.clients.values() {
            survey.walk_client(client);
        }
        survey
    }

    /// `tells` and `shared` say of each address whether its n8n tells what runs, and whether several processes may share it.
    fn walk(&mut self, binding: BindingId, uses: &'a [SenderUse], tells: &[bool], shared: &[bool]) {
        let (mut last, mut last_untold) = (None, None);
        for used in uses {
            if used.begun.is_some() {
                self.has_good |= self.trial.note_accepted(used);
            }
            if used.key != self.trial.case.old {
                continue;
            }
            let place = usize::from(used.address);
            self.carried += 1;
            last = last.max(Some(used.last));
            last_untold = if tells[place] { last_untold } else { last_untold.max(Some(used.last)) };
            let is_done =
                !shared[place] && self.trial.good_begun(used.address, uses).is_some_and(|begun| begun > used.last);
            if !is_done {
                self.open.push((binding, used, uses));
            }
        }
        self.decided.extend(last.map(|last| (binding, last)));
        self.last_use = self.last_use.max(last);
        if let Some(last) = last_untold {
            let silent = uses.iter().map(|used| used.pause).max().unwrap_or_default() * 2;
            let until = last.after(silent.min(A_DAY));
            if until > self.trial.case.now {
                self.going_on.push((binding, last, until));
            }
        }
    }

    fn walk_client(&mut self, client: &Client) {
        let of_old = client.uses.iter().filter(|used| used.key == self.trial.case.old);
        let last = of_old.map(|used| used.last).max();
        self.carried += usize::from(last.is_some());
        self.decided_of_clients = self.decided_of_clients.max(last);
        self.last_use = self.last_use.max(last);
        self.has_good |= client.uses.iter().any(|used| used.accepted.is_some() && self.trial.is_good(used.key));
    }

    /// The senders that carried the old key and are not done with it.
    #[must_use]
    pub fn undone(&mut self) -> Vec<Undone> {
        let trial = &mut self.trial;
        let mut undone = Vec::with_capacity(self.open.len());
        for (binding, used, uses) in &self.open {
            undone.extend(trial.lack(*binding, used, uses).map(|lacks| trial.tell(*binding, used, uses, lacks)));
        }
        undone.extend(trial.senders.clients.values().filter_map(|client| trial.client(client)));
        // There may be many, and to move them again and again takes long.
        undone.sort_by_cached_key(|one| (-one.last.as_millis(), one.binding, one.address));
        undone
    }

    /// The latest time that is remembered of the key: it is ahead of a clock that went back.
    #[must_use]
    pub fn latest(&self) -> Option<Timestamp> {
        self.trial.senders.addresses.iter().map(|address| address.last).chain(self.last_use).max()
    }

    /// The records of those n8n that are not proven to hold a good key since they were changed last.
    #[must_use]
    pub fn unproven(&mut self) -> Vec<Unproven> {
        let trial = &mut self.trial;
        let mut unproven = Vec::new();
        for look in trial.case.looks {
            for (id, state) in records_of(look) {
                let name = RecordName { n8n: look.instance.clone(), id: id.clone() };
                let holds_old = trial.holds_old(&name);
                if holds_old.is_some() || !trial.is_proven(&name, state.nodes) {
                    let (title, nodes, changed) = (state.name.clone(), state.nodes, state.changed);
                    unproven.push(Unproven { name, title, nodes, changed, holds_old });
                }
            }
        }
        unproven
    }
}

/// The records that an n8n lists; of one that lists none, those that its nodes name.
fn records_of(look: &Look) -> Vec<(Box<str>, RecordState)> {
    if look.lists_records {
        return look.records.iter().map(|(id, state)| (id.clone(), state.clone())).collect();
    }
    let named: BTreeSet<_> = look.nodes.values().map(|named| named.record.clone()).collect();
    let state = |id: Box<str>| {
        let nodes = look.nodes.values().filter(|named| named.record == id).count();
        (id.clone(), RecordState { name: id, changed: None, nodes, pressed: None })
    };
    named.into_iter().map(state).collect()
}

impl<'a> Trial<'a> {
    /// Before the uses are walked through.
    fn new(senders: &'a Senders, case: &'a Case<'a>) -> Self {
        let (began, serving) = (case.replaced, vec![false; senders.addresses.len()]);
        Self { senders, case, began, records: BTreeMap::new(), gone: BTreeMap::new(), serving }
    }

    /// Takes in a use that upstream accepted; says whether its key is good.
    fn note_accepted(&mut self, used: &SenderUse) -> bool {
        let is_good = self.is_good(used.key);
        if is_good {
            self.serving[usize::from(used.address)] = true;
            if self.case.new.contains(&used.key) {
                self.began = self.began.min(used.first);
            }
        }
        is_good
    }

    /// Whether an n8n tells what runs.
    fn tells(&self, n8n: &N8n) -> bool {
        self.case.looks.iter().any(|look| look.lists_records && is_named(n8n, &look.instance))
    }

    fn is_good(&self, key: Fingerprint) -> bool {
        self.case.good.binary_search(&key).is_ok()
    }

    /// What a sender lacks; nothing where it is done.
    fn lack(&mut self, binding: BindingId, used: &SenderUse, others: &[SenderUse]) -> Option<Lack> {
        let address = &self.senders.addresses[usize::from(used.address)];
        let record = self.record_of(binding, address);
        let run = record.clone().and_then(|record| self.senders.runs.get(&(record, used.address)));
        let executions = run.map_or(0, |run| self.good_executions(run, used));
        let shared = self.is_shared(address);
        let wanted = self.wanted(address, shared);
        let by_record_there = executions >= wanted;
        let by_itself = self.good_begun(used.address, others).is_some_and(|begun| begun > used.last);
        if (by_itself && !shared) || by_record_there {
            return None;
        }
        let by_record = record.is_some_and(|record| self.is_done_by_record(&record, address, used, others));
        if by_record || self.is_gone(used.address) || self.is_node_gone(binding, address, used) {
            return None;
        }
        Some(if shared { Lack::Executions(wanted - executions) } else { Lack::GoodKey })
    }

    fn tell(&self, binding: BindingId, used: &SenderUse, others: &[SenderUse], lacks: Lack) -> Undone {
        let address = &self.senders.addresses[usize::from(used.address)];
        let first_good = others.iter().filter(|other| other.begun.is_some() && self.is_good(other.key));
        let first_good = first_good.map(|other| other.first).min();
        let from = first_good.map_or(self.case.faulty_from, |first| first.min(self.case.faulty_from));
        Undone {
            binding,
            kind: None,
            address: address.peer,
            n8n: address.n8n.clone(),
            last: used.last,
            later: used.last > from,
            mixed: address.mixed.filter(|mixed| mixed.old == self.case.old && mixed.binding == binding),
            beside_good: first_good.is_some(),
            lacks,
        }
    }

    /// When the execution began, of those with a good key from that address that began last.
    fn good_begun(&self, address: u16, uses: &[SenderUse]) -> Option<Timestamp> {
        let there = uses.iter().filter(|used| used.address == address && self.is_good(used.key));
        there.filter_map(|used| used.begun).max()
    }

    /// Executions in a row with a good key through a record at an address, since the old key came there last.
    fn good_executions(&self, run: &Run, used: &SenderUse) -> u32 {
        let Some(row) = run.row.as_ref().filter(|row| self.is_good(row.key)) else { return 0 };
        let last = span(&run.keys, self.case.old).map_or(used.last, |span| span.last.max(used.last));
        if row.begun.is_some_and(|begun| begun > last) { u32::from(row.executions) } else { 0 }
    }

    fn is_shared(&self, address: &Address) -> bool {
        let is_said = |peer: IpAddr| {
            let said = self.case.settings.shared_address.iter().flatten();
            said.into_iter().any(|net| net.contains(&peer))
        };
        address.mixed.is_some_and(|mixed| mixed.old == self.case.old) || address.peer.is_none_or(is_said)
    }

    /// How many executions in a row it takes at an address.
    fn wanted(&self, address: &Address, shared: bool) -> u32 {
        let settings = self.case.settings;
        match (shared, settings.shared_address.is_some() && address.peer.is_some()) {
            (true, _) => 10 * u32::from(settings.workers.max(1)).min(25),
            (false, true) => 3,
            (false, false) => 20,
        }
    }

    /// The record that a binding's node names now, where the address is one of the same n8n.
    fn record_of(&self, binding: BindingId, address: &Address) -> Option<RecordName> {
        let N8n::Named(name) = &address.n8n else { return None };
        let look = self.case.looks.iter().find(|look| look.instance == *name)?;
        let named = look.nodes.get(&(self.case.node_of)(binding)?)?;
        Some(RecordName { n8n: name.clone(), id: named.record.clone() })
    }

    /// Whether its node stands in no version of its workflow any more, as that of an evaluation does once it is over: then only
    /// an execution that goes on could send for it, and every record has to be proven anyway.
    fn is_node_gone(&self, binding: BindingId, address: &Address, used: &SenderUse) -> bool {
        let N8n::Named(name) = &address.n8n else { return false };
        let look = self.case.looks.iter().find(|look| look.instance == *name && look.at > used.last);
        let Some((look, (workflow, node))) = look.zip((self.case.node_of)(binding)) else { return false };
        let goes_on = look.unfinished.iter().any(|one| one.workflow == workflow);
        look.workflows.contains(&workflow) && !look.nodes_there.contains(&node_hash(&workflow, &node)) && !goes_on
    }

    /// Whether the record's change is behind all that the sender sent.
    fn is_done_by_record(
        &mut self,
        name: &RecordName,
        address: &Address,
        used: &SenderUse,
        others: &[SenderUse],
    ) -> bool {
        let Some(change) = self.changed_over(name).filter(|_| address.is_sure()) else { return false };
        let is_counted = |span: &&KeySpan| (span.first..=span.last).contains(&used.last);
        let counted = self.senders.records.get(name).and_then(|record| span(&record.keys, self.case.old));
        // What came before keyward knew the node's record was not counted for it, so that it has to lie before the change.
        let begun = counted.filter(is_counted).map(|span| span.begun);
        let is_parted = begun.is_some() || used.last <= change.at;
        // It had sent a good key before: then it is not its record that says which one it sends.
        let was_good = others.iter().any(|other| {
            let is_of_now = other.begun.is_some() && other.last > self.began;
            self.is_good(other.key) && is_of_now && other.first.max(self.began) < begun.unwrap_or(used.last)
        });
        is_parted && !was_good && change.proven > used.last
    }

    /// Whether a record went over from the old key to a good one with a change that n8n dates.
    fn changed_over(&mut self, name: &RecordName) -> Option<Change> {
        if let Some(known) = self.records.get(name) {
            return *known;
        }
        let found = self.senders.records.get(name).and_then(|record| self.find_change(name, record));
        self.records.insert(name.clone(), found);
        found
    }

    fn find_change(&self, name: &RecordName, record: &Record) -> Option<Change> {
        if self.case.settings.env_keys == Some(true) {
            return None;
        }
        let since = before(self.began, CLOCKS_APART);
        let changes = || record.changes.iter().copied().filter(|changed| *changed >= since);
        let last = changes().next_back()?;
        let old = span(&record.keys, self.case.old).map(|span| span.begun);
        let good = record.keys.iter().filter(|span| self.is_good(span.key) && span.last > self.began);
        let first_good = good.map(|span| span.first.max(self.began)).min();
        let row = record.row.as_ref().filter(|row| self.is_good(row.key));
        let proven = row.and_then(|row| row.begun).max(self.good_press(record)).filter(|proven| *proven > last)?;
        let parts = |changed: &Timestamp| {
            old.is_none_or(|old| old <= *changed) && first_good.is_none_or(|first| *changed <= first)
        };
        let at = changes().rfind(parts)?;
        self.holds_everywhere(name, record).then_some(Change { at, proven })
    }

    /// Whether the key that one process of an n8n takes from a record is that of them all: where several addresses serve, the
    /// record may name each one's environment.
    fn holds_everywhere(&self, name: &RecordName, record: &Record) -> bool {
        let row = record.row.as_ref().filter(|row| self.is_good(row.key));
        match self.case.settings.env_keys {
            Some(takes_from_environment) => !takes_from_environment,
            None => {
                !self.alternates(&name.n8n)
                    || record.changes.last().is_some_and(|last| record.written == Some(*last))
                    || row.is_some_and(|row| u32::from(row.executions) >= self.for_each_address(&name.n8n))
            }
        }
    }

    /// When keyward's press of the record's test found a good key.
    fn good_press(&self, record: &Record) -> Option<Timestamp> {
        let press = record.pressed.filter(|press| press.key.is_some_and(|key| self.is_good(key)))?;
        record.changes.last().is_none_or(|changed| *changed <= press.at).then_some(press.at)
    }

    fn holds_old(&self, name: &RecordName) -> Option<Timestamp> {
        let record = self.senders.records.get(name)?;
        let press = record.pressed.filter(|press| press.key == Some(self.case.old))?;
        record.changes.last().is_none_or(|changed| *changed <= press.at).then_some(press.at)
    }

    /// Whether a record is proven to hold a good key. What no node names is proven by its test or its change alone.
    fn is_proven(&mut self, name: &RecordName, nodes: usize) -> bool {
        if self.changed_over(name).is_some() {
            return true;
        }
        let Some(record) = self.senders.records.get(name) else { return false };
        // A test shows the environment of the process that presses it, and not those of its workers.
        if self.good_press(record).is_some() && (nodes == 0 || self.holds_everywhere(name, record)) {
            return true;
        }
        let row = record.row.as_ref().filter(|row| self.is_good(row.key)).and_then(|row| row.begun);
        let old = span(&record.keys, self.case.old).map(|span| span.last);
        let since = before(self.began, CLOCKS_APART).max(record.changes.last().copied().unwrap_or(EARLIEST));
        nodes > 0 && row.is_some_and(|begun| begun > since && old.is_none_or(|old| begun > old))
    }

    fn alternates(&self, n8n: &str) -> bool {
        self.senders.n8ns.get(n8n).is_some_and(|own| own.alternates)
    }

    /// Ten executions for each address of the last seven days before the rotation, two addresses at the least.
    fn for_each_address(&self, n8n: &str) -> u32 {
        (10 * u32::try_from(self.width(n8n).max(2)).unwrap_or(u32::MAX)).min(250)
    }

    /// How many addresses of an n8n served in the seven days before the rotation began.
    fn width(&self, n8n: &str) -> usize {
        let since = before(self.began, WEEK);
        let served = |address: &&Address| address.first < self.began && address.last >= since;
        self.own_addresses(n8n).filter(served).count()
    }

    fn own_addresses(&self, n8n: &str) -> impl Iterator<Item = &'a Address> {
        let senders = self.senders;
        senders.addresses.iter().filter(move |address| matches!(&address.n8n, N8n::Named(name) if **name == *n8n))
    }

    fn is_gone(&mut self, place: u16) -> bool {
        if let Some(known) = self.gone.get(&place) {
            return *known;
        }
        let found = self.find_gone(&self.senders.addresses[usize::from(place)]);
        self.gone.insert(place, found);
        found
    }

    /// Whether nothing comes from an address any more: it is silent, and others have taken its place.
    fn find_gone(&self, address: &Address) -> bool {
        let N8n::Named(name) = &address.n8n else { return false };
        let silent = self.case.now.since(address.last);
        if silent <= self.case.settings.quiet || !address.is_sure() || address.peer.is_none() {
            return false;
        }
        let elsewhere = address.since.filter(|(key, _)| self.is_good(*key)).map_or(0, |(_, count)| count);
        let is_long_silent = silent > EIGHT_DAYS.max(address.pause);
        if !self.alternates(name) {
            elsewhere >= 3
        } else if elsewhere >= self.for_each_address(name) {
            self.serving_since(address, name) >= self.width(name) || is_long_silent
        } else {
            is_long_silent && elsewhere >= 3
        }
    }

    /// How many addresses serve together, of those that came after that one was seen last.
    fn serving_since(&self, address: &Address, n8n: &str) -> usize {
        let is_live = |place: &usize| {
            let other = &self.senders.addresses[*place];
            let is_own = matches!(&other.n8n, N8n::Named(name) if **name == *n8n);
            is_own && other.is_sure() && other.last > address.last && self.serving[*place]
        };
        let live = (0..self.senders.addresses.len()).filter(is_live).map(|place| &self.senders.addresses[place]);
        let live: Vec<_> = live.collect();
        let Some(newest) = live.iter().map(|other| other.first).max() else { return 0 };
        live.iter().filter(|other| other.last >= newest).count()
    }

    // === What is of no workflow ===

    fn client(&self, client: &Client) -> Option<Undone> {
        let used = client.uses.iter().find(|used| used.key == self.case.old)?;
        let last = used.last;
        let good = client.uses.iter().filter(|used| self.is_good(used.key)).filter_map(|used| used.accepted).max();
        let lacks = match client.kind {
            ClientKind::Untagged => self.lack_of_program(used, client.pause, good)?,
            ClientKind::Editor | ClientKind::Agents if good.is_some_and(|good| good > last) => return None,
            ClientKind::Editor | ClientKind::Agents => Lack::GoodTest,
            ClientKind::Overflow => Lack::Nothing,
        };
        Some(Undone {
            binding: used.binding,
            kind: Some(client.kind),
            address: client.peer.filter(|_| client.kind != ClientKind::Overflow),
            n8n: N8n::Another,
            last,
            later: last > self.case.faulty_from,
            mixed: None,
            beside_good: good.is_some(),
            lacks,
        })
    }

    /// A program without a tag is done when a good key came from it and the old one was quiet for longer than it ever is.
    fn lack_of_program(&self, used: &ClientUse, pause: Duration, good: Option<Timestamp>) -> Option<Lack> {
        let until = used.last.after(EIGHT_DAYS.max(pause.max(used.pause) * 3 / 2));
        match good {
            None => Some(Lack::GoodKey),
            Some(_) if self.case.now < until => Some(Lack::Silence(until)),
            // The audit that found it typed nowhere came after that.
            Some(_) if self.case.looks.iter().any(|look| look.at < until) => Some(Lack::Silence(until)),
            Some(_) => None,
        }
    }
}

fn span(spans: &[KeySpan], key: Fingerprint) -> Option<&KeySpan> {
    spans.iter().find(|span| span.key == key)
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

/// How far n8n's clock may be behind ours.
const CLOCKS_APART: Duration = Duration::from_mins(2);

const A_DAY: Duration = Duration::from_hours(24);

const WEEK: Duration = Duration::from_hours(7 * 24);

const EIGHT_DAYS: Duration = Duration::from_hours(8 * 24);

const EARLIEST: Timestamp = Timestamp::from_millis(i64::MIN);
