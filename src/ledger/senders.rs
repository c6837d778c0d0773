//! Pure. Who sent which key, and from where: the evidence on which the answer to *can the old key go?* rests.
//!
//! A **sender** is a binding at an address in one n8n. One binding can stand for several of them: queue workers with
//! environments of their own, a staging clone with the same ids. So each use of a key is kept by binding *and* address, and
//! each address belongs to one n8n. A use waits until n8n was looked through after it ([`Look`]): only then it can be told
//! to which n8n its execution belongs ([`N8n`]), and which credential record its node named all the while. What is of no
//! workflow (programs of your own, the editor, Agents) is kept as a [`Client`].
//!
//! Nothing here decides: [`super::proof`] does.

use super::sent::{Execution, Sent};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::binding::Binding;
use super::identity::{BindingId, Holder};
use super::look::{LONGEST_UNTOLD, Look, Unfinished};
use super::rhythm;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;

/// The evidence of one set.
#[derive(Debug, Default)]
pub struct Senders {
    /// At most [`Senders::ADDRESSES`].
    pub(super) addresses: Vec<Address>,
    pub(super) uses: HashMap<BindingId, Box<[SenderUse]>>,
    pub(super) runs: BTreeMap<(RecordName, u16), Run>,
    pub(super) records: BTreeMap<RecordName, Record>,
    pub(super) clients: BTreeMap<Box<str>, Client>,
    pub(super) n8ns: BTreeMap<Box<str>, Executions>,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) next: u64,
    /// Good uses of executions that may still go on, of an n8n that lists them only when they are over. Lost by a restart:
    /// then they prove nothing.
    unlisted: VecDeque<Waiting>,
    /// When each of the last executions was last seen. Lost by a restart: then a pause that spans it is not seen.
    running: BTreeMap<(BindingId, Execution), Timestamp>,
    /// When a use last found no room, and was kept with less than is known of it.
    pub(super) cramped: Option<Timestamp>,
    /// What you accepted, by its number.
    pub(super) accepted: BTreeMap<u32, Acceptance>,
    pub(super) changed: BTreeSet<RowName>,
    /// The latest time that the clock has shown.
    latest: Option<Timestamp>,
    /// The same, while the clock shows an earlier one.
    put_back_from: Option<Timestamp>,
    /// When a look first showed that this machine's clock had been set ahead.
    set_ahead: Option<Timestamp>,
    /// When each n8n was looked through last, and which of all looks that was.
    looks: BTreeMap<Box<str>, (Timestamp, u64)>,
    rounds: u64,
}

/// To which n8n something belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum N8n {
    /// The one of that name; empty for the only one, where none is configured.
    Named(Box<str>),
    /// Another one: its executions fit into the order of no n8n that is known.
    Another,
}

/// An address of one n8n.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address; none for the place that stands for all those for which there was no room.
    pub peer: Option<IpAddr>,
    /// The n8n that the address belongs to.
    pub n8n: N8n,
    /// When it was first seen.
    pub first: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// The longest time between two requests from it.
    pub pause: Duration,
    /// How sure it is that it belongs to that n8n: three for each execution that n8n lists, one for each that merely fits.
    pub weight: u32,
    /// How many executions with that key came from other addresses of the n8n since its last request, for bindings that it
    /// served.
    pub since: Option<(Fingerprint, u32)>,
    /// An old key and a newer one came from it by turns.
    pub mixed: Option<Mixed>,
}

/// An old key and a newer one came by turns, in executions that began one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mixed {
    pub binding: BindingId,
    pub old: Fingerprint,
    pub new: Fingerprint,
    /// When the old one came last after the newer one.
    pub at: Timestamp,
}

/// How a sender used a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderUse {
    pub key: Fingerprint,
    pub first: Timestamp,
    pub last: Timestamp,
    /// When the execution began in which upstream last accepted it; nothing where it never did. Of several executions, the
    /// one that began last.
    pub begun: Option<Timestamp>,
    /// The position of the address.
    pub address: u16,
    /// The longest time between two requests of one execution with it.
    #[serde(default)]
    pub pause: Duration,
    /// How many requests came with it as a previous key; those of before this was counted are left out.
    #[serde(default)]
    pub outdated: u32,
}

/// A credential record, by its n8n and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    pub n8n: Box<str>,
    pub id: Box<str>,
}

/// What came through a record, from all addresses of its n8n.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub name: Box<str>,
    /// When n8n said that it was changed: the last of them at the end.
    pub changes: Vec<Timestamp>,
    /// Each key that came through it.
    pub keys: Vec<KeySpan>,
    /// The executions in a row with the key that came last.
    pub row: Option<Row>,
    /// What keyward's own press of n8n's test showed.
    pub pressed: Option<Press>,
    /// When n8n says that it was changed by a key that keyward itself put in: no environment decides then which one it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
}

/// What keyward's press of n8n's test of a record showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Press {
    /// When it was pressed.
    pub at: Timestamp,
    /// The key that arrived; nothing where none did, or it could not be told which one was the test's.
    pub key: Option<Fingerprint>,
}

/// What came through a record at one address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub keys: Vec<KeySpan>,
    /// The executions in a row with the key that came last.
    pub row: Option<Row>,
}

/// When a key came through something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpan {
    pub key: Fingerprint,
    pub first: Timestamp,
    pub last: Timestamp,
    /// When the execution began with which it came; of several, the one that began last.
    pub begun: Timestamp,
}

/// Executions in a row that sent one key, which upstream accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub key: Fingerprint,
    /// How many executions; counted up to 255.
    pub executions: u8,
    /// When the one began that began last; nothing before the first.
    pub begun: Option<Timestamp>,
    /// Those that were counted last, so that none is counted twice.
    known: Vec<u32>,
}

/// A sender that is of no workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub kind: ClientKind,
    /// Where it came from last.
    pub peer: Option<IpAddr>,
    /// When it was last seen.
    pub last: Timestamp,
    /// The longest time between two of its requests.
    pub pause: Duration,
    /// How it used each key.
    pub uses: Vec<ClientUse>,
}

/// How a client used a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientUse {
    pub key: Fingerprint,
    /// The binding that it came on: that of a program without a tag is another one for each key.
    pub binding: BindingId,
    pub last: Timestamp,
    /// When upstream last accepted it.
    pub accepted: Option<Timestamp>,
    /// The longest time between two requests with it: several programs can be one client, and each has a pause of its own.
    #[serde(default)]
    pub pause: Duration,
}

/// What a sender is that is of no workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientKind {
    /// A program without a tag, at one address and for one part of the API.
    Untagged,
    /// n8n's editor, at one address.
    Editor,
    /// n8n's Agents, Instance AI and whatever else of n8n has no workflow, known by their traffic alone.
    Agents,
    /// Callers for whom there was no room.
    Overflow,
}

/// The name of a row of the evidence in its store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowName {
    /// An address, by its place.
    Address(u16),
    /// The uses of a binding.
    Uses(BindingId),
    /// A record at an address.
    Run(RecordName, u16),
    Record(RecordName),
    /// A client of no workflow.
    Client(Box<str>),
    /// The executions of an n8n.
    N8n(Box<str>),
    /// A use that waits, by its number.
    Waiting(u64),
    /// When something last found no room.
    Cramped,
    /// What you accepted, by its number.
    Accepted(u32),
}

/// The order of an n8n's executions, and where they ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executions {
    /// When each of the last ones was first seen.
    seen: BTreeMap<u64, Timestamp>,
    /// Whether earlier ones were forgotten.
    is_cut: bool,
    /// The address of the last one.
    pub(super) at: Option<u16>,
    /// Whether an address came back after another one had taken its place: so several serve side by side.
    pub(super) alternates: bool,
}

/// A use that waits for a look through n8n.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) binding: Arc<Binding>,
    pub(super) sent: Sent,
    /// The time that the clock had shown before it was put back, where it was.
    pub(super) before: Option<Timestamp>,
    /// How many looks there had been when it came.
    pub(super) round: u64,
}

/// A key that a binding sent, from where and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentFrom {
    /// The address; nothing where there was no room to know.
    pub address: Option<IpAddr>,
    /// Whether its executions fit into the order of no n8n that is known.
    pub is_another_n8n: bool,
    pub key: Fingerprint,
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many requests came with it as a previous key; of what has no workflow it is not counted.
    pub outdated: u32,
}

/// An n8n that is configured, as far as the evidence of one set is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub name: &'a str,
    /// How it was when it was looked through last.
    pub look: Option<&'a Look>,
}

// === impl Senders ===

impl Senders {
    /// How many addresses are told apart in one set.
    pub const ADDRESSES: usize = 256;

    /// Takes in what a binding handed on. What is of a workflow waits for [`Senders::settle`].
    pub fn take(&mut self, binding: &Arc<Binding>, sent: impl IntoIterator<Item = Sent>) {
        for sent in sent {
            let before = self.put_back_from;
            if is_of_workflow(binding) {
                self.next += 1;
                self.changed.insert(RowName::Waiting(self.next));
                let waiting = Waiting { binding: Arc::clone(binding), sent, before, round: self.rounds };
                self.waiting.insert(self.next, waiting);
            } else {
                self.note_client(binding, &sent, before);
            }
        }
    }

    /// Notes what the clock shows: what is taken in from now on came then. Where it was put back, what comes later is no
    /// earlier for that.
    pub fn tell_time(&mut self, now: Timestamp) {
        let remembered = || {
            let clients = self.clients.values().map(|client| client.last);
            self.addresses.iter().map(|address| address.last).chain(clients).max()
        };
        let latest = self.latest.or_else(remembered);
        self.latest = latest.max(Some(now));
        self.put_back_from = latest.filter(|latest| *latest > now.after(Look::SLACK));
    }

    /// Decides on the uses that wait, as far as the n8n that they may belong to were looked through since. Where none is
    /// configured, on all of them.
    pub fn settle(&mut self, candidates: &[Candidate<'_>]) {
        for look in looks(candidates) {
            self.note_records(look);
            self.note_look(look);
        }
        let surplus = self.waiting.len().saturating_sub(MOST_WAITING);
        let mut left = BTreeMap::new();
        for (place, (number, waiting)) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let fitting = fitting(candidates, &waiting);
            let is_ripe = |candidate: &Candidate<'_>| candidate.look.is_some_and(|look| self.is_after(look, &waiting));
            // What one of them lists is that one's, where the address is no other one's: the others need not be asked.
            let is_told = |one: &Candidate<'_>| {
                is_ripe(one) && is_listed(one.look, &waiting) && !self.is_others(&waiting, one.name, &fitting)
            };
            if place >= surplus && !fitting.iter().any(is_told) && !fitting.iter().all(is_ripe) {
                left.insert(number, waiting);
                continue;
            }
            let belongs = self.belongs(&waiting, &fitting);
            // One that runs for long is out of order, until it is listed.
            if place >= surplus && belongs.n8n == N8n::Another && looks(&fitting).any(|look| may_go_on(look, &waiting))
            {
                left.insert(number, waiting);
                continue;
            }
            self.changed.insert(RowName::Waiting(number));
            let mut dated = by_every_clock(&waiting, &fitting);
            dated.sent.accepted &= self.can_prove(&waiting, &fitting, &belongs);
            let may_prove = waiting.sent.accepted && !dated.sent.accepted;
            self.note(waiting.binding.id(), &dated, belongs);
            if may_prove && self.unlisted.len() < MOST_UNLISTED {
                // It is counted.
                let sent = Sent { outdated: 0, ..waiting.sent };
                self.unlisted.push_back(Waiting { sent, ..waiting });
            }
        }
        self.waiting = left;
        self.prove_late(candidates);
    }

    /// Lets the good uses prove their senders whose executions are listed by now.
    fn prove_late(&mut self, candidates: &[Candidate<'_>]) {
        for waiting in std::mem::take(&mut self.unlisted) {
            let fitting = fitting(candidates, &waiting);
            let belongs = self.belongs(&waiting, &fitting);
            if belongs.weight >= LISTED && self.can_prove(&waiting, &fitting, &belongs) {
                self.note_late(waiting.binding.id(), &by_every_clock(&waiting, &fitting), belongs);
            } else if looks(&fitting).any(|look| may_go_on(look, &waiting)) {
                self.unlisted.push_back(waiting);
            }
        }
    }

    fn note_look(&mut self, look: &Look) {
        if self.looks.get(&look.instance).is_none_or(|(at, _)| *at != look.at) {
            self.rounds += 1;
            if look.was_set_ahead() {
                self.set_ahead = self.set_ahead.max(Some(look.at));
            }
            self.looks.insert(look.instance.clone(), (look.at, self.rounds));
        }
    }

    /// Whether a look was begun after a use came. Where the clock was put back in between, the order in which both came says
    /// it.
    fn is_after(&self, look: &Look, waiting: &Waiting) -> bool {
        let is_newer = self.looks.get(&look.instance).is_some_and(|(_, round)| *round > waiting.round);
        look.at >= waiting.sent.last || (is_newer && waiting.sent.last > look.at.after(AN_AUDIT))
    }

    /// When this machine's clock was last seen to have been set ahead, where it was not put back since.
    #[must_use]
    pub fn set_ahead(&self, now: Timestamp) -> Option<Timestamp> {
        self.set_ahead.filter(|at| *at <= now)
    }

    /// The last use of a key that waits for a look, if any does.
    #[must_use]
    pub fn waits(&self, key: Fingerprint) -> Option<Timestamp> {
        let of_key = self.waiting.values().filter(|waiting| waiting.sent.key == key);
        of_key.map(|waiting| waiting.sent.last).max()
    }

    /// Where the uses of a key that wait for a look came from, each with its binding; of several, the last one comes last.
    pub fn waiting_addresses(&self, key: Fingerprint) -> impl Iterator<Item = (BindingId, IpAddr)> {
        let of_key = self.waiting.values().filter(move |waiting| waiting.sent.key == key);
        of_key.map(|waiting| (waiting.binding.id(), waiting.sent.peer))
    }

    /// What each of those bindings sent, from where and when: what came last comes first.
    #[must_use]
    pub fn sent_from(&self, bindings: &HashSet<BindingId>) -> HashMap<BindingId, Vec<SentFrom>> {
        let sent_from = |used: &SenderUse| {
            let address = &self.addresses[usize::from(used.address)];
            let is_another_n8n = address.n8n == N8n::Another;
            let SenderUse { key, first, last, outdated, .. } = *used;
            SentFrom { address: address.peer, is_another_n8n, key, first, last, outdated }
        };
        let of_binding = |id: &BindingId| Some((*id, self.uses.get(id)?.iter().map(sent_from).collect()));
        let mut found: HashMap<BindingId, Vec<SentFrom>> = bindings.iter().filter_map(of_binding).collect();
        for client in self.clients.values() {
            for used in client.uses.iter().filter(|used| bindings.contains(&used.binding)) {
                let (address, key, last) = (client.peer, used.key, used.last);
                let sent = SentFrom { address, is_another_n8n: false, key, first: last, last, outdated: 0 };
                found.entry(used.binding).or_default().push(sent);
            }
        }
        // To which n8n those belong that wait for a look is not known yet.
        for waiting in self.waiting.values().filter(|waiting| bindings.contains(&waiting.binding.id())) {
            let Sent { key, peer, first, last, outdated, .. } = waiting.sent;
            let all = found.entry(waiting.binding.id()).or_default();
            match all.iter_mut().find(|known| known.key == key && known.address == Some(peer)) {
                Some(known) => {
                    (known.first, known.last) = (known.first.min(first), known.last.max(last));
                    known.outdated = known.outdated.saturating_add(outdated);
                }
                None => {
                    all.push(SentFrom { address: Some(peer), is_another_n8n: false, key, first, last, outdated });
                }
            }
        }
        for all in found.values_mut() {
            all.sort_by_key(|sent| (-sent.last.as_millis(), sent.address));
        }
        found
    }

    /// The key that came through a record last, where nothing says that it has held another one since.
    #[must_use]
    pub fn last_key(&self, record: &RecordName) -> Option<Fingerprint> {
        let record = self.records.get(record)?;
        let span = record.keys.iter().max_by_key(|span| span.last)?;
        let is_changed = record.changes.last().is_some_and(|changed| *changed > span.last);
        let is_another = |press: &Press| press.at > span.last && press.key.is_some_and(|key| key != span.key);
        (!is_changed && !record.pressed.as_ref().is_some_and(is_another)).then_some(span.key)
    }

    /// The bindings whose uses wait for a look.
    pub fn waiting_bindings(&self) -> impl Iterator<Item = BindingId> {
        self.waiting.values().map(|waiting| waiting.binding.id())
    }

    /// Whether a use of that key by that binding is remembered.
    #[must_use]
    pub fn knows(&self, binding: BindingId, key: Fingerprint) -> bool {
        self.uses.get(&binding).is_some_and(|uses| uses.iter().any(|used| used.key == key))
    }

    /// Notes that you accept what bears that number.
    pub fn accept(&mut self, number: u32, acceptance: Acceptance) {
        self.accepted.insert(number, acceptance);
        self.changed.insert(RowName::Accepted(number));
    }

    /// Takes an acceptance back; says whether there was one.
    pub fn withdraw(&mut self, number: u32) -> bool {
        self.changed.insert(RowName::Accepted(number));
        self.accepted.remove(&number).is_some()
    }

    /// What you accepted under that number, if what it rests on is still the same.
    #[must_use]
    pub fn acceptance(&self, number: u32, state: u64) -> Option<&Acceptance> {
        self.accepted.get(&number).filter(|accepted| accepted.state == state)
    }

    /// Forgets the uses that are not kept, by their key and when it last came.
    pub fn keep_only(&mut self, is_kept: impl Fn(Fingerprint, Timestamp) -> bool) {
        let changed = &mut self.changed;
        self.uses.retain(|binding, uses| {
            if uses.iter().any(|used| !is_kept(used.key, used.last)) {
                let mut kept = std::mem::take(uses).into_vec();
                kept.retain(|used| is_kept(used.key, used.last));
                *uses = kept.into_boxed_slice();
                changed.insert(RowName::Uses(*binding));
            }
            !uses.is_empty()
        });
        self.clients.retain(|name, client| {
            let before = client.uses.len();
            client.uses.retain(|used| is_kept(used.key, used.last));
            if client.uses.len() < before {
                changed.insert(RowName::Client(name.clone()));
            }
            !client.uses.is_empty()
        });
    }

    /// The bindings that have used one of those keys, which are sorted.
    pub fn holds(&self, keys: &[Fingerprint]) -> impl Iterator<Item = BindingId> {
        let is_one = |key: Fingerprint| keys.binary_search(&key).is_ok();
        let of_workflows = self.uses.iter().filter(move |(_, uses)| uses.iter().any(|used| is_one(used.key)));
        let of_clients = self.clients.values().flat_map(|client| &client.uses).filter(move |used| is_one(used.key));
        of_workflows.map(|(binding, _)| *binding).chain(of_clients.map(|used| used.binding))
    }

    /// Takes in what a binding remembers from before there was evidence: where each key came from is known by the first
    /// address alone, and that a key was accepted proves nothing.
    pub fn seed(&mut self, binding: &Binding, uses: &[(Fingerprint, Timestamp, Timestamp)], n8n: &str) {
        if self.uses.contains_key(&binding.id()) || uses.is_empty() {
            return;
        }
        let (peer, instance) = (binding.identity().peer, binding.identity().instance);
        for (key, first, last) in uses {
            let (execution, endpoint) = (None, "other");
            let sent = Sent {
                key: *key,
                peer,
                execution,
                first: *first,
                last: *last,
                accepted: false,
                is_previous: false,
                outdated: 0,
                endpoint,
            };
            if is_of_workflow(binding) {
                let n8n = N8n::Named(instance.unwrap_or(n8n).into());
                let address = self.note_address(n8n, 0, &sent, false);
                self.note_use(binding.id(), address, &sent, Begun { earliest: *first, latest: *first });
            } else {
                self.note_client(binding, &sent, None);
            }
        }
    }

    // === Where a use belongs ===

    /// The n8n of a use, the record that its node named, and how sure that is.
    fn belongs(&self, waiting: &Waiting, fitting: &[Candidate<'_>]) -> Belongs {
        let identity = waiting.binding.identity();
        let another = Belongs { n8n: N8n::Another, record: None, weight: 0, orders: true };
        let Some(first) = fitting.first() else {
            // It names an n8n that is not configured, or none is.
            let name = identity.instance.unwrap_or_default();
            return if self.contradicts(name, None, waiting) {
                another
            } else {
                Belongs { n8n: N8n::Named(name.into()), record: None, weight: 1, orders: true }
            };
        };
        let mut listed = fitting.iter().filter(|candidate| is_listed(candidate.look, waiting));
        // Numbers of two n8n with the same workflows can be the same at one time: then the address decides.
        let of_address = listed.clone().find(|candidate| self.is_sure(waiting.sent.peer, candidate.name));
        let listed = of_address.or_else(|| listed.next());
        let only = || {
            let mut having = fitting.iter().filter(|candidate| has_workflow(candidate.look, &waiting.binding));
            let found =
                if fitting.len() == 1 { Some(first) } else { having.next().filter(|_| having.next().is_none()) };
            found.filter(|candidate| !self.contradicts(candidate.name, candidate.look, waiting))
        };
        let (Some(chosen), weight) = (match listed {
            Some(candidate) if self.is_others(waiting, candidate.name, fitting) => (Some(candidate), 1),
            Some(candidate) => (Some(candidate), LISTED),
            None => (only(), 1),
        }) else {
            return another;
        };
        let begun = self.begun(chosen, waiting);
        let record = chosen.look.and_then(|look| record_of(look, &waiting.binding, begun));
        // A number that was made up does not move the others: one from a new address takes no place among them yet.
        let is_first = !does_list(chosen.look) && !self.has_sure_address(chosen.name);
        let orders = is_first || weight >= LISTED || self.is_sure(waiting.sent.peer, chosen.name);
        Belongs { n8n: N8n::Named(chosen.name.into()), record, weight, orders }
    }

    /// Whether a good key in a use proves anything of its sender.
    fn can_prove(&self, waiting: &Waiting, fitting: &[Candidate<'_>], belongs: &Belongs) -> bool {
        let is_told = match &belongs.n8n {
            N8n::Named(name) => !self.is_others(waiting, name, fitting),
            N8n::Another => fitting.iter().all(|known| self.is_told_from_others(waiting, known)),
        };
        // What one n8n lists was not run by hand in another one.
        let is_its = |look: &&Look| belongs.weight < LISTED || is_named(&belongs.n8n, &look.instance);
        is_told && !looks(fitting).filter(is_its).any(|look| may_be_unsaved(look, waiting))
    }

    /// Whether what is of no known n8n is surely not that one's. By clocks that disagree, what an n8n lists looks like
    /// another one's; and where it lists nothing, the order of numbers alone would tell both apart, at an address of its own.
    fn is_told_from_others(&self, waiting: &Waiting, known: &Candidate<'_>) -> bool {
        let do_agree = known.look.is_none_or(Look::clocks_agree);
        do_agree && (does_list(known.look) || !self.is_sure(waiting.sent.peer, known.name))
    }

    fn has_sure_address(&self, n8n: &str) -> bool {
        let is_it = |address: &&Address| matches!(&address.n8n, N8n::Named(name) if **name == *n8n);
        self.addresses.iter().filter(is_it).any(Address::is_sure)
    }

    /// Whether the address of a use is known for that of another n8n than the named one, and not for its own.
    fn is_others(&self, waiting: &Waiting, n8n: &str, fitting: &[Candidate<'_>]) -> bool {
        let is_of = |name: &str| self.is_sure(waiting.sent.peer, name);
        !is_of(n8n) && fitting.iter().any(|other| is_of(other.name))
    }

    fn is_sure(&self, peer: IpAddr, n8n: &str) -> bool {
        let is_it = |address: &&Address| {
            address.peer == Some(peer) && matches!(&address.n8n, N8n::Named(name) if **name == *n8n)
        };
        self.addresses.iter().find(is_it).is_some_and(Address::is_sure)
    }

    /// Whether an execution cannot be one of that n8n: by the order of their numbers it would have begun long before it was
    /// first seen, or after that.
    fn contradicts(&self, name: &str, look: Option<&Look>, waiting: &Waiting) -> bool {
        let Some(Execution::Number(number)) = waiting.sent.execution else { return false };
        let at = waiting.sent.first;
        if let Some(look) = look {
            let before = look.executions.range(..number).next_back();
            let after = look.executions.range(number + 1..).next();
            let is_against = |at: Timestamp| {
                before.is_some_and(|(_, listed)| listed.began > at.after(SLACK))
                    || after.is_some_and(|(_, listed)| listed.began.after(SLACK) < at)
            };
            if look.by_each_clock(at).into_iter().all(is_against) {
                return true;
            }
            // Where n8n lists its executions, a number that was made up does not move the others.
            if !look.executions.is_empty() {
                return false;
            }
        }
        let own = self.n8ns.get(name);
        let after = own.and_then(|own| own.seen.range(number + 1..).next());
        // One that goes on does so where that n8n is known to run: a clone has the numbers of its original behind it as well.
        let goes_on = own.is_some_and(|own| own.seen.contains_key(&number)) && self.is_sure(waiting.sent.peer, name);
        !goes_on && after.is_some_and(|(_, seen)| seen.after(SLACK) < at)
    }

    /// When a use's execution began, as far as is known: never later than it did, but for executions that were never seen
    /// or listed.
    fn begun(&self, candidate: &Candidate<'_>, waiting: &Waiting) -> Timestamp {
        let first = waiting.sent.first;
        let first =
            candidate.look.map_or([first; 3], |look| look.by_each_clock(first)).into_iter().fold(first, Timestamp::min);
        let Some(Execution::Number(number)) = waiting.sent.execution else { return first };
        let listed = candidate.look.and_then(|look| look.executions.get(&number)).map(|listed| listed.began);
        let seen = self.n8ns.get(candidate.name).map_or(first, |own| own.begun(number, first));
        listed.map_or(seen, |listed| listed.min(seen))
    }

    // === What a use shows ===

    fn note(&mut self, binding: BindingId, sent: &Dated, belongs: Belongs) {
        let Dated { sent, is_sure } = sent;
        let (begun, is_new) = self.note_execution(&belongs, sent);
        let begun = Begun { earliest: begun, latest: if *is_sure { begun } else { sent.last } };
        let address = self.note_address(belongs.n8n, belongs.weight, sent, is_new);
        if is_new && sent.accepted && !sent.is_previous {
            self.count_elsewhere(binding, address, sent.key);
        }
        self.note_use(binding, address, sent, begun);
        if let Some(record) = belongs.record {
            self.note_record(record, address, sent, begun, binding);
        }
    }

    /// Notes once more what did not count yet, because its execution was not listed. What came since it was sent was noted
    /// without it, so it is looked for here whether an older key came after it.
    fn note_late(&mut self, binding: BindingId, sent: &Dated, belongs: Belongs) {
        let Dated { sent, is_sure } = sent;
        let (begun, _) = self.note_execution(&belongs, sent);
        let begun = Begun { earliest: begun, latest: if *is_sure { begun } else { sent.last } };
        let place = self.address(sent.peer, &belongs.n8n, sent.first);
        let address = &mut self.addresses[usize::from(place)];
        address.weight = address.weight.max(belongs.weight);
        self.changed.insert(RowName::Address(place));
        self.note_use(binding, place, sent, begun);
        let came_after = |other: &&SenderUse| {
            let is_other = other.address == place && other.key != sent.key && other.first < sent.first;
            is_other && other.begun.unwrap_or(other.last) > sent.first
        };
        if let Some(old) = self.uses.get(&binding).and_then(|uses| uses.iter().find(came_after)) {
            let mixed = Mixed { binding, old: old.key, new: sent.key, at: old.last };
            self.addresses[usize::from(place)].mixed = Some(mixed);
        }
        if let Some(record) = belongs.record {
            self.note_record(record, place, sent, begun, binding);
        }
    }

    /// Notes the execution; gives when it began, and whether it was never seen before.
    fn note_execution(&mut self, belongs: &Belongs, sent: &Sent) -> (Timestamp, bool) {
        let N8n::Named(name) = &belongs.n8n else { return (sent.first, true) };
        let own = self.n8ns.entry(name.clone()).or_default();
        self.changed.insert(RowName::N8n(name.clone()));
        match sent.execution {
            Some(Execution::Number(number)) => {
                let begun = own.begun(number, sent.first);
                (begun, !belongs.orders || own.note(number, sent.first))
            }
            Some(Execution::Text(_)) | None => (sent.first, true),
        }
    }

    fn note_address(&mut self, n8n: N8n, weight: u32, sent: &Sent, is_new: bool) -> u16 {
        let place = self.address(sent.peer, &n8n, sent.first);
        let address = &mut self.addresses[usize::from(place)];
        if sent.first > address.last {
            address.pause = address.pause.max(sent.first.since(address.last));
        }
        (address.first, address.last) = (address.first.min(sent.first), address.last.max(sent.last));
        address.weight = address.weight.saturating_add(if is_new { weight } else { 0 });
        address.since = None;
        self.changed.insert(RowName::Address(place));
        if let N8n::Named(name) = n8n
            && let Some(own) = self.n8ns.get_mut(&name)
            && own.at != Some(place)
        {
            // The first request from an address is no coming back.
            let is_back = address.first < sent.first;
            own.alternates |= is_back && own.at.is_some();
            own.at = Some(place);
        }
        place
    }

    /// The place of an address; where there is no room, the one for all others.
    fn address(&mut self, peer: IpAddr, n8n: &N8n, at: Timestamp) -> u16 {
        let is_it = |address: &Address| address.peer == Some(peer) && address.n8n == *n8n;
        if let Some(place) = self.addresses.iter().position(is_it) {
            return small(place);
        }
        let is_full = self.addresses.len() + 1 >= Self::ADDRESSES;
        if is_full && let Some(place) = self.free_address(at) {
            self.addresses[place] = Address::new(Some(peer), n8n.clone(), at);
            return small(place);
        }
        if is_full {
            self.cramped = Some(at);
            self.changed.insert(RowName::Cramped);
        }
        let peer = if is_full { None } else { Some(peer) };
        let n8n = if is_full { N8n::Another } else { n8n.clone() };
        let known = self.addresses.iter().position(|address| address.peer.is_none() && is_full);
        small(known.unwrap_or_else(|| {
            self.addresses.push(Address::new(peer, n8n, at));
            self.addresses.len() - 1
        }))
    }

    /// An address that can make room: no use from it is remembered, or it is gone. Of those that are, the one that was seen
    /// last the longest ago; its uses go with it, since they are done.
    fn free_address(&mut self, now: Timestamp) -> Option<usize> {
        let used: BTreeSet<_> = self.uses.values().flatten().map(|used| used.address).collect();
        let places = 0..self.addresses.len();
        if let Some(free) = places.clone().find(|place| !used.contains(&small(*place))) {
            return Some(free);
        }
        let gone = places.filter(|place| self.has_gone(&self.addresses[*place], now));
        let place = gone.min_by_key(|place| self.addresses[*place].last)?;
        let changed = &mut self.changed;
        self.uses.retain(|binding, uses| {
            if uses.iter().any(|used| used.address == small(place)) {
                let mut kept = std::mem::take(uses).into_vec();
                kept.retain(|used| used.address != small(place));
                *uses = kept.into_boxed_slice();
                changed.insert(RowName::Uses(*binding));
            }
            !uses.is_empty()
        });
        self.runs.retain(|(record, address), _| {
            let stays = *address != small(place);
            if !stays {
                changed.insert(RowName::Run(record.clone(), *address));
            }
            stays
        });
        Some(place)
    }

    /// Whether three executions of its nodes came from the address that took its place, or much later from others.
    fn has_gone(&self, address: &Address, now: Timestamp) -> bool {
        let N8n::Named(name) = &address.n8n else { return false };
        let alternates = self.n8ns.get(name).is_some_and(|own| own.alternates);
        let silent = now.since(address.last);
        let is_silent = if alternates { silent > LONG_SILENCE.max(address.pause) } else { silent > SHORT_SILENCE };
        is_silent && address.is_sure() && address.since.is_some_and(|(_, count)| count >= 3)
    }

    /// Counts an execution for the other addresses that have served its binding.
    fn count_elsewhere(&mut self, binding: BindingId, address: u16, key: Fingerprint) {
        let Some(uses) = self.uses.get(&binding) else { return };
        let others: BTreeSet<_> = uses.iter().map(|used| used.address).filter(|other| *other != address).collect();
        let n8n = self.addresses[usize::from(address)].n8n.clone();
        for other in others {
            let known = &mut self.addresses[usize::from(other)];
            if known.n8n == n8n {
                let before = known.since.filter(|(counted, _)| *counted == key).map_or(0, |(_, count)| count);
                known.since = Some((key, before.saturating_add(1)));
                self.changed.insert(RowName::Address(other));
            }
        }
    }

    fn note_use(&mut self, binding: BindingId, address: u16, sent: &Sent, begun: Begun) {
        let pause = self.note_running(binding, sent);
        let uses = self.uses.entry(binding).or_default();
        self.changed.insert(RowName::Uses(binding));
        let at = |used: &&mut SenderUse| used.key == sent.key && used.address == address;
        let accepted = sent.accepted.then_some(begun.earliest);
        let Some(known) = uses.iter_mut().find(at) else {
            let mut all = std::mem::take(uses).into_vec();
            if all.len() >= USES_PER_BINDING {
                self.cramped = Some(sent.last);
                self.changed.insert(RowName::Cramped);
                // Keys of no set make room first; what then goes is the use that was over first.
                let oldest = (0..all.len()).min_by_key(|place| all[*place].last).unwrap_or_default();
                all.swap_remove(oldest);
            }
            all.reserve_exact(1);
            let Sent { key, first, last, outdated, .. } = *sent;
            all.push(SenderUse { key, first, last, begun: accepted, address, pause, outdated });
            *uses = all.into_boxed_slice();
            return;
        };
        known.last = known.last.max(sent.last);
        // By clocks that disagree, what came later is no earlier for that.
        known.first = if begun.is_sure() { known.first.min(sent.first) } else { known.first };
        known.begun = known.begun.max(accepted);
        known.pause = known.pause.max(pause);
        known.outdated = known.outdated.saturating_add(sent.outdated);
        let first = known.first;
        if sent.is_previous {
            // A newer key came in between: its first use lies behind that of the old one, and before this execution.
            let newer = uses.iter().find(|other| {
                other.address == address && other.begun.is_some() && first < other.first && other.first < begun.latest
            });
            if let Some(newer) = newer {
                let mixed = Mixed { binding, old: sent.key, new: newer.key, at: sent.last };
                self.addresses[usize::from(address)].mixed = Some(mixed);
                self.changed.insert(RowName::Address(address));
            }
        }
    }

    /// For how long an execution had sent nothing.
    fn note_running(&mut self, binding: BindingId, sent: &Sent) -> Duration {
        let Some(execution) = sent.execution else { return Duration::ZERO };
        let name = (binding, execution);
        let last = self.running.get(&name).copied();
        self.running.insert(name, sent.last.max(last.unwrap_or(sent.last)));
        if self.running.len() > MOST_RUNNING {
            let mut all: Vec<_> = self.running.values().copied().collect();
            let (_, middle, _) = all.select_nth_unstable(MOST_RUNNING / 2);
            let newer = *middle;
            self.running.retain(|_, last| *last > newer);
        }
        last.map_or(Duration::ZERO, |last| sent.first.since(last))
    }

    fn note_record(&mut self, name: RecordName, address: u16, sent: &Sent, begun: Begun, binding: BindingId) {
        let is_sure = self.addresses[usize::from(address)].weight >= LISTED;
        let record = self.records.entry(name.clone()).or_default();
        note_span(&mut record.keys, sent, begun);
        if !sent.accepted || is_sure {
            note_row(&mut record.row, &record.keys, sent, begun);
        } else {
            // What may be another n8n's proves nothing, but breaks a row.
            note_row(&mut record.row, &record.keys, &Sent { accepted: false, ..sent.clone() }, begun);
        }
        let run = self.runs.entry((name.clone(), address)).or_default();
        note_span(&mut run.keys, sent, begun);
        note_row(&mut run.row, &run.keys, sent, begun);
        if sent.is_previous
            && let Some(own) = run.keys.iter().find(|span| span.key == sent.key)
            && let Some(newer) = run.keys.iter().find(|span| own.first < span.first && span.first < begun.latest)
        {
            let mixed = Mixed { binding, old: sent.key, new: newer.key, at: sent.last };
            self.addresses[usize::from(address)].mixed = Some(mixed);
            self.changed.insert(RowName::Address(address));
        }
        self.changed.insert(RowName::Run(name.clone(), address));
        self.changed.insert(RowName::Record(name));
    }

    /// What a look says of the records themselves.
    fn note_records(&mut self, look: &Look) {
        for (id, state) in &look.records {
            let name = RecordName { n8n: look.instance.clone(), id: id.clone() };
            let record = self.records.entry(name.clone()).or_default();
            let before = record.clone();
            record.name.clone_from(&state.name);
            let pressed =
                state.pressed.map(|press| Press { at: press.at, key: press.key.map(|names| names.fingerprint) });
            record.pressed = pressed.or(record.pressed);
            if let Some(changed) = state.changed.filter(|changed| record.changes.last() != Some(changed)) {
                record.changes.push(changed);
                record.changes.drain(..record.changes.len().saturating_sub(CHANGES_PER_RECORD));
            }
            if *record != before {
                self.changed.insert(RowName::Record(name));
            }
        }
    }

    /// Notes that n8n's date of a record is that of a key which keyward put in.
    pub fn note_written(&mut self, name: &RecordName, changed: Timestamp) {
        if let Some(record) = self.records.get_mut(name).filter(|record| record.written != Some(changed)) {
            record.written = Some(changed);
            self.changed.insert(RowName::Record(name.clone()));
        }
    }

    /// `before` is the time that the clock had shown before it was put back, where it was.
    fn note_client(&mut self, binding: &Binding, sent: &Sent, before: Option<Timestamp>) {
        let (name, kind) = client_name(binding, sent);
        let fresh = || Client { kind, peer: Some(sent.peer), last: sent.last, pause: Duration::ZERO, uses: Vec::new() };
        let client = self.clients.entry(name.clone()).or_insert_with(fresh);
        if sent.first > client.last {
            client.pause = client.pause.max(sent.first.since(client.last));
        }
        if sent.last >= client.last {
            (client.last, client.peer) = (sent.last, Some(sent.peer));
        }
        let (last, accepted) = (before.unwrap_or(sent.last), sent.accepted.then_some(sent.last));
        if let Some(used) = client.uses.iter_mut().find(|used| used.key == sent.key) {
            used.pause = used.pause.max(sent.first.since(used.last));
            used.last = used.last.max(last);
            used.accepted = used.accepted.max(accepted);
        } else {
            let pause = Duration::ZERO;
            client.uses.push(ClientUse { key: sent.key, binding: binding.id(), last, accepted, pause });
        }
        if client.uses.len() > KEYS_PER_CLIENT {
            let oldest = (0..client.uses.len()).min_by_key(|place| client.uses[*place].last).unwrap_or_default();
            client.uses.swap_remove(oldest);
            self.cramped = Some(sent.last);
            self.changed.insert(RowName::Cramped);
        }
        self.changed.insert(RowName::Client(name));
    }
}

/// What you accepted of what bars an old key from going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// A fingerprint of what it rested on then: it holds until that is another.
    pub state: u64,
    /// Why, in your words.
    pub reason: Box<str>,
    pub at: Timestamp,
}

/// To which n8n and record a use counts, and how sure that is.
struct Belongs {
    n8n: N8n,
    record: Option<RecordName>,
    weight: u32,
    /// Whether its number takes a place in the order of that n8n's executions.
    orders: bool,
}

/// When an execution began: both are the same but where clocks disagree.
#[derive(Clone, Copy)]
struct Begun {
    /// By the clock that is behind: what a good key proves, it proves from then on.
    earliest: Timestamp,
    /// By the clock that is ahead: so late an old key may have been in use.
    latest: Timestamp,
}

impl Begun {
    fn is_sure(self) -> bool {
        self.earliest == self.latest
    }
}

/// A use from the earliest to the latest time that it may have come, by every clock there is.
struct Dated {
    sent: Sent,
    /// Whether all clocks agree.
    is_sure: bool,
}

// === impl Address, Executions ===

impl Address {
    fn new(peer: Option<IpAddr>, n8n: N8n, at: Timestamp) -> Self {
        Self { peer, n8n, first: at, last: at, pause: Duration::ZERO, weight: 0, since: None, mixed: None }
    }

    /// Whether it surely belongs to its n8n.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.weight >= LISTED
    }
}

impl Executions {
    /// Notes that an execution was seen; says whether it was never seen before.
    fn note(&mut self, number: u64, at: Timestamp) -> bool {
        let mut is_new = false;
        let seen = self.seen.entry(number).or_insert_with(|| {
            is_new = true;
            at
        });
        *seen = (*seen).min(at);
        if self.seen.len() > EXECUTIONS_KEPT {
            self.seen.pop_first();
            self.is_cut = true;
        }
        is_new
    }

    /// When an execution began at the latest: when it was first seen, or a later one was.
    fn begun(&self, number: u64, at: Timestamp) -> Timestamp {
        let is_forgotten = self.is_cut && self.seen.first_key_value().is_some_and(|(first, _)| number < *first);
        if is_forgotten {
            return Timestamp::from_millis(0);
        }
        self.seen.range(number..).take(LATER_ONES).map(|(_, seen)| *seen).fold(at, Timestamp::min)
    }
}

// === Spans and rows ===

fn note_span(spans: &mut Vec<KeySpan>, sent: &Sent, begun: Begun) {
    match spans.iter_mut().find(|span| span.key == sent.key) {
        Some(span) => {
            span.last = span.last.max(sent.last);
            span.first = if begun.is_sure() { span.first.min(sent.first) } else { span.first };
            span.begun = span.begun.max(begun.latest);
        }
        None => {
            spans.push(KeySpan { key: sent.key, first: sent.first, last: sent.last, begun: begun.latest });
        }
    }
    if spans.len() > KEYS_PER_RECORD {
        let oldest = (0..spans.len()).min_by_key(|place| spans[*place].last).unwrap_or_default();
        spans.swap_remove(oldest);
    }
}

/// Counts the execution into the row of its key. Another key ends the row, unless it came by an execution that began before
/// the row did.
fn note_row(row: &mut Option<Row>, spans: &[KeySpan], sent: &Sent, begun: Begun) {
    let is_other = row.as_ref().is_none_or(|row| row.key != sent.key);
    if is_other {
        let span = row.as_ref().and_then(|row| spans.iter().find(|span| span.key == row.key));
        if span.is_some_and(|span| begun.latest < span.first) {
            return;
        }
        *row = Some(Row { key: sent.key, executions: 0, begun: None, known: Vec::new() });
    }
    let others = spans.iter().filter(|span| span.key != sent.key).map(|span| span.last).max();
    let Some(row) = row.as_mut().filter(|_| sent.accepted && others.is_none_or(|last| begun.earliest > last)) else {
        return;
    };
    row.begun = row.begun.max(Some(begun.earliest));
    let execution = match sent.execution {
        Some(Execution::Number(number)) => rhythm::hash(&number.to_string()),
        Some(Execution::Text(hash)) => hash,
        None => 0,
    };
    if execution == 0 || !row.known.contains(&execution) {
        row.executions = row.executions.saturating_add(1);
        row.known.push(execution);
        row.known.drain(..row.known.len().saturating_sub(EXECUTIONS_KNOWN));
    }
}

// === Candidates ===

/// The n8n that a use may belong to: the one that it names, or each that is configured.
fn fitting<'a>(candidates: &[Candidate<'a>], waiting: &Waiting) -> Vec<Candidate<'a>> {
    let named = waiting.binding.identity().instance;
    candidates.iter().filter(|candidate| named.is_none_or(|name| candidate.name == name)).copied().collect()
}

/// Whether n8n lists the execution: of that workflow, and under way when the use came.
fn is_listed(look: Option<&Look>, waiting: &Waiting) -> bool {
    let (Some(Execution::Number(number)), Some(look)) = (waiting.sent.execution, look) else { return false };
    let workflow = waiting.binding.identity().workflow;
    let is_it = |one: &Unfinished| one.execution.parse() == Ok(number) && workflow == Some(&*one.workflow);
    if look.unfinished.iter().any(is_it) {
        return true;
    }
    let Some(listed) = look.executions.get(&number) else { return false };
    let is_under_way =
        |at: Timestamp| listed.began <= at.after(SLACK) && listed.ended.is_none_or(|ended| ended.after(SLACK) >= at);
    workflow == Some(&*listed.workflow) && look.by_each_clock(waiting.sent.first).into_iter().any(is_under_way)
}

/// Whether an execution may have run what the editor showed, rather than what is saved: n8n 1.x does not tell them apart. Where
/// it saves executions, one that it does not list may be a run by hand that it does not save.
fn may_be_unsaved(look: &Look, waiting: &Waiting) -> bool {
    let Some(Execution::Number(number)) = waiting.sent.execution.filter(|_| !look.lists_records) else { return false };
    let workflow = waiting.binding.identity().workflow;
    match look.executions.get(&number).filter(|listed| workflow == Some(&*listed.workflow)) {
        Some(listed) => listed.by_hand,
        None => look.executions.values().any(|listed| !listed.by_hand),
    }
}

pub(super) fn is_named(n8n: &N8n, name: &str) -> bool {
    matches!(n8n, N8n::Named(own) if **own == *name)
}

/// Whether an execution may go on, of an n8n that lists it only when it is over.
fn may_go_on(look: &Look, waiting: &Waiting) -> bool {
    let Some(Execution::Number(number)) = waiting.sent.execution.filter(|_| !look.lists_records) else { return false };
    let is_unlisted = !look.executions.is_empty() && !look.executions.contains_key(&number);
    is_unlisted && look.at.since(waiting.sent.last) <= LONGEST_UNTOLD
}

/// A use by the clocks of all n8n that it may belong to, and by the one that was put back.
fn by_every_clock(waiting: &Waiting, fitting: &[Candidate<'_>]) -> Dated {
    let mut sent = waiting.sent.clone();
    let by_all = |at: Timestamp| looks(fitting).flat_map(move |look| look.by_each_clock(at));
    sent.first = by_all(waiting.sent.first).fold(sent.first, Timestamp::min);
    sent.last = by_all(waiting.sent.last).chain(waiting.before).fold(sent.last, Timestamp::max);
    let is_sure = waiting.before.is_none() && looks(fitting).all(Look::clocks_agree);
    Dated { sent, is_sure }
}

fn looks<'a>(candidates: &[Candidate<'a>]) -> impl Iterator<Item = &'a Look> {
    candidates.iter().filter_map(|candidate| candidate.look)
}

fn does_list(look: Option<&Look>) -> bool {
    look.is_some_and(|look| !look.executions.is_empty())
}

fn has_workflow(look: Option<&Look>, binding: &Binding) -> bool {
    let workflow = binding.identity().workflow;
    look.zip(workflow).is_some_and(|(look, workflow)| look.workflows.contains(workflow))
}

/// The record that a binding's node named from before the execution began until the look.
fn record_of(look: &Look, binding: &Binding, begun: Timestamp) -> Option<RecordName> {
    let identity = binding.identity();
    let node = (Box::from(identity.workflow?), Box::from(identity.node?));
    let named = look.nodes.get(&node).filter(|named| named.since <= begun)?;
    Some(RecordName { n8n: look.instance.clone(), id: named.record.clone() })
}

fn is_of_workflow(binding: &Binding) -> bool {
    binding.holder() == Holder::Caller && !binding.is_untagged()
}

/// Programs without a tag are told apart by client, address and part of the API; the editor by address; Agents not at all.
fn client_name(binding: &Binding, sent: &Sent) -> (Box<str>, ClientKind) {
    let identity = binding.identity();
    let instance = identity.instance.unwrap_or_default();
    match binding.holder() {
        Holder::Caller => {
            let name = format!("client {} {} {}", identity.family.code(), sent.peer, sent.endpoint);
            (name.into(), ClientKind::Untagged)
        }
        Holder::Editor => (format!("editor {instance} {}", sent.peer).into(), ClientKind::Editor),
        Holder::Agent => {
            let name = format!("agents {instance} {}", identity.workflow.unwrap_or_default());
            (name.into(), ClientKind::Agents)
        }
        Holder::Other => ("overflow".into(), ClientKind::Overflow),
    }
}

pub(super) fn small(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(u16::MAX)
}

/// How far n8n's clock and ours may be apart, and a request behind the beginning of its execution, for an execution that n8n
/// does not list.
const SLACK: Duration = Look::SLACK;

/// How long an audit of n8n may take.
const AN_AUDIT: Duration = Duration::from_mins(10);

/// How long an address is silent at the least before it makes room for another one.
const SHORT_SILENCE: Duration = Duration::from_hours(1);

/// The same where several addresses serve by turns.
const LONG_SILENCE: Duration = Duration::from_hours(8 * 24);

/// How much an execution that n8n lists counts for its address.
pub(super) const LISTED: u32 = 3;

/// How many uses wait for a look at a time. What goes over is decided on without one.
const MOST_WAITING: usize = 65_536;

/// How many good uses wait for their executions to be listed at a time.
const MOST_UNLISTED: usize = 4096;

/// Of how many executions it is remembered when they were last seen.
const MOST_RUNNING: usize = 8192;

/// How many uses one binding has: keys times addresses.
const USES_PER_BINDING: usize = 512;

const KEYS_PER_CLIENT: usize = 16;

const KEYS_PER_RECORD: usize = 16;

const CHANGES_PER_RECORD: usize = 16;

const EXECUTIONS_KEPT: usize = 4096;

const EXECUTIONS_KNOWN: usize = 8;

/// How many later executions are looked at to tell when one began.
const LATER_ONES: usize = 8;
