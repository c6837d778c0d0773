//! Pure. The answer to *can the old key go?*: what bars it, what would end each bar, and what a *yes* rests on.
//!
//! | it is | when |
//! |---|---|
//! | `no` | a sender still sends the key, a record or node holds it, another set needs it, or there is no good key in its place |
//! | `not_seen` (shown as *not proven*) | nothing of that is known, but something is not proven |
//! | `yes` | all is proven, or accepted by you |
//!
//! A bar is named by a number, which changes with what it rests on. You can accept it, with a reason: that holds as long.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PassThrough;
use super::bar_kind::BarKind;
use super::binding::Binding;
use super::doubt_kind::DoubtKind;
use super::identity::{BindingId, Holder, INSTANCE_AI};
use super::look::{AuditDoubt, Look};
use super::proof::{Case, Lack, Settings, Survey, Undone, Unproven};
use super::senders::{Acceptance, ClientKind, Mixed, N8n, RecordName, Senders};
use super::span::Span;
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::{Names, Retired};

/// Whether an old key can go, and what bars it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    No {
        /// Because of each of these.
        because: Vec<Bar>,
        /// What is not proven beside that.
        but: Vec<Bar>,
    },
    /// It has not been seen here for a while, but that proves nothing as long as these hold.
    NotProven {
        /// For how long: since its last use; where it was never seen, since it was replaced.
        span: Duration,
        /// What is not proven.
        but: Vec<Bar>,
    },
    Yes(Basis),
}

codes! {
    /// What an answer is called: [`Answer::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum AnswerKind {
        No => "no",
        NotProven => "not_seen",
        Yes => "yes",
    }
}

/// What a *yes* rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// How many nodes of n8n the audit looked at.
    pub nodes: usize,
    /// How many senders carried the key. All are done with it.
    pub senders: usize,
    /// When n8n was looked through.
    pub audited: Option<Timestamp>,
    /// When the key was used last; nothing where no use of it is remembered.
    pub quiet_since: Option<Timestamp>,
    pub accepted: Vec<Bar>,
    /// How many bindings are taken to be done because you acknowledged them.
    pub acknowledged: usize,
    /// What no observation can decide, and is taken to be so.
    pub assumes: Vec<&'static str>,
}

/// Something that bars an old key from going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What its acceptance is kept under: the same as long as it is about the same.
    pub number: u32,
    /// What kind of bar it is.
    pub kind: BarKind,
    /// Whether it makes the answer *no*, rather than *not proven*.
    pub is_no: bool,
    /// The binding that it is about.
    pub binding: Option<BindingId>,
    /// The address that the binding sent from.
    pub address: Option<IpAddr>,
    /// The credential record that it is about, or that the binding's node names.
    pub record: Option<Box<BarRecord>>,
    /// Who it is about, in words; empty where the rest says all.
    pub who: String,
    /// What is so, behind those words.
    pub what: String,
    /// What ends it. Most end alike, and there may be many.
    pub end: End,
    /// Why you accepted it, if you did.
    pub accepted: Option<Box<Acceptance>>,
    /// Whether you can accept it.
    pub can_accept: bool,
    pub(crate) state: u64,
}

/// What ends a bar, in words. Most end alike and there may be many, so that they share one text.
#[derive(Clone, Debug)]
pub enum End {
    /// As all of its kind do.
    OfKind(&'static str),
    /// As it is told here.
    Told(Arc<str>),
}

/// A credential record of n8n's that a bar is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BarRecord {
    pub name: RecordName,
    pub title: Box<str>,
}

/// What an answer is drawn from.
pub struct Grounds<'a> {
    pub old: Names,
    pub retired: Retired,
    /// The evidence of every set, each with the keys that are good there. The one that the key is an old one of stands first.
    pub evidence: &'a [Evidence<'a>],
    /// What else keeps it, that needs no proof: another set, no current key.
    pub known: Vec<Bar>,
    /// What is known of n8n; the doubts of its audit.
    pub audit: &'a Audited<'a>,
    /// The bindings by their ids.
    pub binding_of: &'a dyn Fn(BindingId) -> Option<Arc<Binding>>,
    /// The last use of the key that a binding remembers.
    pub last_use: Option<Timestamp>,
    /// Each binding that remembers a use of the key, and the last one.
    pub uses: &'a [(BindingId, Timestamp)],
    /// Whether upstream said last of a key that it takes it.
    pub is_taken: &'a dyn Fn(Fingerprint) -> bool,
    /// A number for the exchanges that carry the key upstream and are open ([`super::in_flight`]), if one is.
    pub in_flight: Option<u64>,
    /// What you said about your n8n.
    pub settings: &'a Settings,
    /// Whether the set learns which key is current.
    pub learning: bool,
    /// Whether upstream refused the key when it saw it last.
    pub is_refused: bool,
    pub now: Timestamp,
}

/// The evidence of one set, with the keys that are good there.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    pub senders: &'a Senders,
    /// The current key, the next one, and the tokens, sorted.
    pub good: &'a [Fingerprint],
    /// Without the tokens.
    pub new: &'a [Fingerprint],
    /// The n8n of the set, as they were looked through last.
    pub looks: &'a [&'a Look],
}

/// What is known of n8n when an answer is drawn.
pub struct Audited<'a> {
    /// When all of them were looked through; nothing where one was not, or not of late.
    pub at: Option<Timestamp>,
    /// What keeps the audit from vouching for every node.
    pub doubts: &'a [AuditDoubt],
}

/// Draws the answer about one key, in one walk through the evidence of each set.
#[must_use]
pub fn answer(grounds: &Grounds<'_>) -> Answer {
    let node_of = |binding| {
        let binding = (grounds.binding_of)(binding)?;
        let identity = binding.identity();
        Some((identity.workflow?.into(), identity.node?.into()))
    };
    let cases: Vec<_> = grounds.evidence.iter().map(|set| case(grounds, set, &node_of)).collect();
    let surveys = grounds.evidence.iter().zip(&cases).map(|(set, case)| Survey::new(set.senders, case)).collect();
    let old = Hash::default().with(grounds.old.fingerprint.to_hex().as_bytes());
    let (bars, subject, ends) = (grounds.known.clone(), Subject::default(), Vec::new());
    let mut draft = Draft { grounds, old, surveys, bars, subject, ends, acknowledged: HashSet::new() };
    draft.add_set_itself();
    draft.add_senders();
    draft.add_records();
    draft.add_unfinished();
    draft.add_audit();
    draft.add_time();
    draft.finish()
}

struct Draft<'a> {
    grounds: &'a Grounds<'a>,
    /// Of all digits of the key.
    old: Hash,
    /// What the evidence of each set says of the key, in their order.
    surveys: Vec<Survey<'a>>,
    bars: Vec<Bar>,
    subject: Subject,
    /// What ends the bars of senders of workflows, by all that it is told from.
    ends: Vec<(EndGrounds, End)>,
    /// Bindings that would bar it, had you not acknowledged them.
    acknowledged: HashSet<BindingId>,
}

/// All that it is told from what ends a bar of a sender of a workflow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "it is compared as a whole, and nothing else is done with it")]
struct EndGrounds {
    address: Option<IpAddr>,
    is_another_n8n: bool,
    is_mixed: bool,
    later: bool,
    beside_good: bool,
    lacks: Lack,
    may_be_done: bool,
}

/// Who a bar of a sender is about, as it is hashed. There may be many, so that it is written into one piece of memory.
#[derive(Default)]
struct Subject {
    text: String,
    /// The place that the last one was about, in words.
    place: Option<(Option<IpAddr>, N8n, String)>,
}

impl Draft<'_> {
    fn add_set_itself(&mut self) {
        let grounds = self.grounds;
        if grounds.learning {
            self.push_kind(BarKind::Learning).not_to_be_accepted();
        }
        let Some(own) = grounds.evidence.first() else { return };
        if !self.surveys.first().is_some_and(|own| own.has_good) && !own.new.iter().any(|key| (grounds.is_taken)(*key))
        {
            let keys: String = own.new.iter().map(|key| key.to_hex()).collect();
            self.push_kind(BarKind::NoGoodUse).resting_on(&[keys.as_bytes()]);
        }
        if let Some(open) = grounds.in_flight {
            self.push(BarKind::InFlight, "", "a request that carries it is still open")
                .resting_on(&[&open.to_be_bytes()]);
        }
        if let Some(cramped) = grounds.evidence.iter().filter_map(|set| set.senders.cramped).max() {
            self.push_kind(BarKind::Room).resting_on(&[&cramped.as_millis().to_be_bytes()]);
        }
    }

    fn add_senders(&mut self) {
        let binding_of = self.grounds.binding_of;
        let all: Vec<_> = self.surveys.iter_mut().map(Survey::undone).collect();
        // There may be many, and a list that grows is copied each time.
        self.bars.reserve(all.iter().map(Vec::len).sum());
        for undone in all.into_iter().flatten() {
            let binding = binding_of(undone.binding);
            let (said, who) = binding.as_ref().map_or((None, None), |binding| {
                let memory = binding.lock();
                (memory.acknowledged, Some(binding.describe(memory.name.as_deref())))
            });
            if said.is_none_or(|at| at < undone.last) {
                let who = who.unwrap_or_else(|| "a binding that is forgotten".to_owned());
                self.add_sender(&undone, binding.as_deref(), who);
            } else {
                self.acknowledged.insert(undone.binding);
            }
        }
        self.add_unsettled();
    }

    /// Uses that are known, but not yet decided on: of those, too, a late one is a *no*.
    fn add_unsettled(&mut self) {
        let grounds = self.grounds;
        let (old, from) = (grounds.old.fingerprint, faulty_from(grounds.retired));
        let (undecided, waiting) = (self.undecided(), self.waiting_addresses());
        let mut told = HashSet::with_hasher(PassThrough);
        if !undecided.is_empty() {
            told.extend(self.bars.iter().filter(|bar| bar.is_no).filter_map(|bar| bar.binding));
        }
        for (binding, last) in undecided.iter().filter(|(binding, _)| !told.contains(binding)) {
            let Some(known) = (grounds.binding_of)(*binding) else { continue };
            let name = known.lock().name.clone();
            let is_late = *last > from && known.holder() == Holder::Caller;
            let address = waiting.get(binding).copied().filter(|_| !known.is_untagged());
            let (kind, what) = if is_late {
                (
                    BarKind::StillSent,
                    format!("still {}, last at {last}{}", known.says("sends it", "send it"), from_address(address)),
                )
            } else {
                (BarKind::Unsettled, format!("sent it at {last}; n8n is looked through next before that is decided on"))
            };
            let bar = self.push(kind, &format!("unsettled {}", binding.to_hex()), what);
            bar.not_to_be_accepted();
            (bar.is_no, bar.binding, bar.who) = (is_late, Some(*binding), known.describe(name.as_deref()));
            bar.address = address;
        }
        let is_told = self.bars.iter().any(|bar| matches!(bar.kind, BarKind::Unsettled | BarKind::StillSent));
        let waits = grounds.evidence.iter().filter_map(|set| set.senders.waits(old)).max();
        if let Some(last) = waits.filter(|_| !is_told) {
            self.push(BarKind::Unsettled, "", format!("a use of it at {last} waits for the next look through n8n"))
                .not_to_be_accepted();
        }
    }

    /// The uses that bindings remember and that are later than what was decided on.
    fn undecided(&self) -> Vec<(BindingId, Timestamp)> {
        let of_clients = self.surveys.iter().filter_map(|survey| survey.decided_of_clients).max();
        let mut decided: Vec<_> = self.surveys.iter().flat_map(|survey| survey.decided.iter().copied()).collect();
        decided.sort_unstable();
        let mut uses = self.grounds.uses.to_vec();
        uses.sort_unstable();
        // Both are in one order, so that each is walked through once: looking each one up takes longer than all the rest.
        let mut decided = decided.into_iter().peekable();
        uses.retain(|(binding, last)| {
            while decided.next_if(|(other, _)| other < binding).is_some() {}
            let mut latest = None;
            while let Some((_, at)) = decided.next_if(|(other, _)| other == binding) {
                latest = Some(at);
            }
            latest.or(of_clients) < Some(*last)
        });
        uses
    }

    /// Where those uses of the key came from last that are not decided on yet.
    fn waiting_addresses(&self) -> HashMap<BindingId, IpAddr> {
        let old = self.grounds.old.fingerprint;
        self.grounds.evidence.iter().flat_map(|set| set.senders.waiting_addresses(old)).collect()
    }

    fn add_sender(&mut self, undone: &Undone, binding: Option<&Binding>, who: String) {
        let old = self.grounds.old.fingerprint;
        let is_last = |binding: &Binding| binding.lock().latest.is_some_and(|latest| latest.key == Some(old));
        // A node that sent nothing since it was refused sends that key again when it runs next.
        let fails = self.grounds.is_refused && undone.kind.is_none() && binding.is_some_and(is_last);
        let undone = &Undone { later: undone.later || fails, ..undone.clone() };
        let refused = if fails { REFUSED } else { "" };
        let from = from(undone);
        let mut subject = std::mem::take(&mut self.subject);
        subject.write(undone);
        let (kind, is_no, what) = match (undone.kind, undone.later) {
            (Some(ClientKind::Editor), _) => {
                (BarKind::Edited, false, format!("tried it out at {}{from}: a credential holds it", undone.last))
            }
            (Some(ClientKind::Overflow), _) => (BarKind::Unattributed, false, format!("sent it at {}", undone.last)),
            (_, true) => {
                let sends = binding.map_or("sends it", |binding| binding.says("sends it", "send it"));
                let turns = by_turns(undone.mixed);
                let what = format_args!("still {sends}, last at {}{from}{turns}{refused}", undone.last);
                (BarKind::StillSent, true, text(what))
            }
            (_, false) => (
                BarKind::Silent,
                false,
                text(format_args!(
                    "sent it last at {}{from}, before it was replaced, and no later good key is proven",
                    undone.last
                )),
            ),
        };
        let end = self.end(undone, binding);
        let bar = self.push(kind, &subject.text, what).of(undone, who).ends_by(end);
        bar.is_no = is_no;
        bar.resting_on(&[&undone.last.as_millis().to_be_bytes()]);
        self.subject = subject;
    }

    fn end(&mut self, undone: &Undone, binding: Option<&Binding>) -> End {
        let may_be_done = self.may_be_done(undone.last);
        if undone.kind.is_some() {
            return end_of(undone, binding, may_be_done);
        }
        let Undone { address, later, beside_good, lacks, .. } = *undone;
        let (is_another_n8n, is_mixed) = (undone.n8n == N8n::Another, undone.mixed.is_some());
        let grounds = EndGrounds { address, is_another_n8n, is_mixed, later, beside_good, lacks, may_be_done };
        if let Some((_, end)) = self.ends.iter().find(|(known, _)| *known == grounds) {
            return end.clone();
        }
        let end = end_of(undone, binding, may_be_done);
        if self.ends.len() < MOST_ENDS {
            self.ends.push((grounds, end.clone()));
        }
        end
    }

    /// Whether so much time has passed since a use of the key that you may know more of it than keyward does.
    fn may_be_done(&self, last: Timestamp) -> bool {
        self.grounds.now >= last.after(self.grounds.settings.quiet)
    }

    fn add_records(&mut self) {
        let grounds = self.grounds;
        let mut unproven: Vec<Unproven> = Vec::new();
        let mut held: Vec<(RecordName, Box<str>, usize, Timestamp)> = Vec::new();
        for (position, (set, survey)) in grounds.evidence.iter().zip(&mut self.surveys).enumerate() {
            let found = survey.unproven();
            let holds = |one: &Unproven| Some((one.name.clone(), one.title.clone(), one.nodes, one.holds_old?));
            held.extend(found.iter().filter_map(holds));
            // A record that another set proves to hold a good key of its own holds no old one of this.
            if position == 0 {
                unproven = found;
            } else {
                let names: BTreeSet<_> = found.into_iter().map(|one| one.name).collect();
                unproven.retain(|one| {
                    names.contains(&one.name) || !set.looks.iter().any(|look| look.instance == one.name.n8n)
                });
            }
        }
        held.sort();
        held.dedup();
        for (name, title, nodes, at) in held {
            unproven.retain(|one| one.name != name);
            let bar = self
                .push(
                    BarKind::RecordHoldsIt,
                    &format!("{} {}", name.n8n, name.id),
                    format!("holds it: n8n's test of it, pressed by keyward at {at}, sent it"),
                )
                .not_to_be_accepted();
            bar.is_no = true;
            let users = if nodes == 0 { String::new() } else { format!(" ({})", self::nodes(nodes)) };
            bar.who = format!("credential {title}{users}");
            bar.record = Some(Box::new(BarRecord { name, title }));
        }
        for one in unproven {
            self.add_unproven(&one);
        }
    }

    fn add_unproven(&mut self, one: &Unproven) {
        let title = if one.title.is_empty() { &one.name.id } else { &one.title };
        let (kind, what) = if one.nodes == 0 {
            (
                BarKind::RecordWithoutNode,
                format!(
                    "n8n does not tell who uses credential {title}: Agents, Instance AI and Chat Hub are shown nowhere"
                ),
            )
        } else {
            (
                BarKind::Record,
                format!(
                    "credential {title} was not seen with a good key since it was changed last, and is used by {}",
                    nodes(one.nodes)
                ),
            )
        };
        let changed = one.changed.map_or(0, Timestamp::as_millis).to_be_bytes();
        let bar = self.push(kind, &format!("{} {}", one.name.n8n, one.name.id), what);
        bar.resting_on(&[&changed]);
        bar.record = Some(Box::new(BarRecord { name: one.name.clone(), title: one.title.clone() }));
    }

    /// Executions that may still hold what they began with.
    fn add_unfinished(&mut self) {
        let grounds = self.grounds;
        let Some(own) = grounds.evidence.first() else { return };
        let unproven = self.surveys.first_mut().map(Survey::unproven).unwrap_or_default();
        let unproven: BTreeSet<_> = unproven.into_iter().map(|one| one.name).collect();
        let last = self.last_use();
        for look in own.looks {
            for one in &look.unfinished {
                let is_unproven = |id: &str| {
                    let exists = !look.lists_records || look.records.contains_key(id);
                    exists && unproven.contains(&RecordName { n8n: look.instance.clone(), id: id.into() })
                };
                let may_hold = one.records.as_ref().is_none_or(|ids| ids.iter().any(|id| is_unproven(id)));
                let changed = one.records.iter().flatten().filter_map(|id| look.records.get(id)?.changed).max();
                let is_early = last.is_some_and(|last| one.began <= last) || changed.is_some_and(|at| one.began <= at);
                if (one.waits && may_hold) || (!one.waits && is_early) {
                    let (kind, does) = if one.waits { (BarKind::Waiting, "waits") } else { (BarKind::Running, "runs") };
                    let what = format!(
                        "execution {} of workflow {} {does} since {} with what it began with",
                        one.execution, one.workflow, one.began
                    );
                    self.push(kind, &format!("{} {}", look.instance, one.execution), what)
                        .resting_on(&[&one.began.as_millis().to_be_bytes()]);
                }
            }
        }
    }

    fn add_audit(&mut self) {
        let grounds = self.grounds;
        let own = grounds.evidence.first().map_or(&[][..], |own| own.looks);
        for found in grounds.audit.doubts.iter().filter(|found| !found.kind.is_decided_by_proof()) {
            let is_of_record = found.kind == DoubtKind::StaleRecord;
            let record = if is_of_record { record_named(own, &found.subject) } else { None };
            let bar =
                self.push(BarKind::Audit, &format!("{} {}", found.kind.code(), found.subject), found.text.clone());
            bar.ends_by(End::Told(found.end.as_str().into())).resting_on(&[&found.state.to_be_bytes()]);
            bar.record = record.map(Box::new);
        }
        let last = self.last_use();
        let is_since = |at: Timestamp| at > grounds.retired.by && last.is_none_or(|last| at > last);
        // Where one was not looked through, the doubt about that says why.
        let is_missing = match grounds.audit.at {
            Some(at) => !is_since(at),
            None => grounds.audit.doubts.is_empty(),
        };
        if is_missing {
            self.push_kind(BarKind::NotAudited).resting_on(&[&last.map_or(0, Timestamp::as_millis).to_be_bytes()]);
        }
    }

    fn add_time(&mut self) {
        let grounds = self.grounds;
        let Some(last) = self.last_use() else { return };
        // A span of a clock that was set ahead is no time that was observed.
        let set_ahead = grounds.evidence.iter().filter_map(|set| set.senders.set_ahead(grounds.now)).max();
        let set_ahead = set_ahead.filter(|at| *at > last);
        let quiet_at = set_ahead.unwrap_or(last).after(grounds.settings.quiet);
        let goes_on = self.may_go_on(quiet_at);
        let until = goes_on.unwrap_or(quiet_at);
        if grounds.now < until {
            let since = set_ahead.map_or_else(String::new, |at| format!(", the clock was set ahead until {at}"));
            let runs = if goes_on.is_some() {
                ", executions of its node go on after a long silence, their n8n does not tell what runs"
            } else {
                ""
            };
            self.push(
                BarKind::Quiet,
                "",
                format!("it was used at {last}{since}{runs}, and nothing is sure before {until}"),
            )
            .ends_by(End::Told(format!("wait until {until} (rotation.quiet)").into()))
            .not_to_be_accepted();
        }
        let latest = self.surveys.iter().filter_map(Survey::latest).max();
        if let Some(ahead) = latest.filter(|latest| *latest > grounds.now.after(AHEAD)) {
            self.push(
                BarKind::Clock,
                "",
                format!("what is remembered lies ahead of the clock, up to {ahead}: the clock was put back"),
            )
            .resting_on(&[&ahead.as_millis().to_be_bytes()]);
        }
    }

    /// Until when, later than that, an execution may go on with the key where n8n does not tell, of those that you did not
    /// acknowledge.
    fn may_go_on(&self, later_than: Timestamp) -> Option<Timestamp> {
        let going = self.surveys.iter().flat_map(|survey| &survey.going_on);
        let going =
            going.filter(|(binding, last, until)| *until > later_than && !self.is_acknowledged(*binding, *last));
        going.map(|(_, _, until)| *until).max()
    }

    /// Whether you acknowledged a binding after that use.
    fn is_acknowledged(&self, binding: BindingId, last: Timestamp) -> bool {
        let said = (self.grounds.binding_of)(binding).and_then(|binding| binding.lock().acknowledged);
        said.is_some_and(|at| at >= last)
    }

    fn last_use(&self) -> Option<Timestamp> {
        self.surveys.iter().filter_map(|survey| survey.last_use).chain(self.grounds.last_use).max()
    }

    fn finish(mut self) -> Answer {
        let grounds = self.grounds;
        if let Some(own) = grounds.evidence.first() {
            for bar in self.bars.iter_mut().filter(|bar| bar.can_accept) {
                bar.accepted = own.senders.acceptance(bar.number, bar.state).cloned().map(Box::new);
            }
        }
        if self.bars.iter().any(|bar| bar.kind == BarKind::CurrentKeyRefused) {
            let needs_key = |bar: &&mut Bar| bar.kind.ends_by_current_key();
            self.bars.iter_mut().filter(needs_key).for_each(|bar| bar.end = End::OfKind(AFTER_ANOTHER_KEY));
        }
        let last = self.last_use();
        let going_on = self.surveys.iter().flat_map(|survey| &survey.going_on);
        let going_on = going_on.filter(|(binding, last, _)| self.is_acknowledged(*binding, *last));
        let going_on: Vec<_> = going_on.map(|(binding, ..)| *binding).collect();
        self.acknowledged.extend(going_on);
        let mut but = self.bars;
        let accepted: Vec<_> = but.extract_if(.., |bar| bar.accepted.is_some()).collect();
        let mut because = Vec::with_capacity(but.iter().filter(|bar| bar.is_no).count());
        because.extend(but.extract_if(.., |bar| bar.is_no));
        if !because.is_empty() {
            return Answer::No { because, but };
        }
        if !but.is_empty() {
            return Answer::NotProven { span: grounds.now.since(last.unwrap_or(grounds.retired.by)), but };
        }
        let senders = self.surveys.iter().map(|survey| survey.carried).sum();
        let looks = grounds.evidence.first().map_or(&[][..], |own| own.looks);
        Answer::Yes(Basis {
            nodes: looks.iter().map(|look| look.nodes.len()).sum(),
            senders,
            audited: grounds.audit.at,
            quiet_since: last,
            accepted,
            acknowledged: self.acknowledged.len(),
            assumes: assumes(grounds, senders),
        })
    }

    /// Adds a bar that its kind says all of.
    fn push_kind(&mut self, kind: BarKind) -> &mut Bar {
        self.push(kind, "", kind.meaning())
    }

    /// Adds a bar, which ends as its kind does. What it rests on is said of it afterwards.
    fn push(&mut self, kind: BarKind, subject: &str, what: impl Into<String>) -> &mut Bar {
        let number = self.old.with(kind.code().as_bytes()).with(subject.as_bytes());
        let number = u32::try_from(number.0 >> 32).unwrap_or_default();
        self.bars.push(Bar { end: End::OfKind(kind.end()), ..Bar::new(number, kind, what.into()) });
        let place = self.bars.len() - 1;
        &mut self.bars[place]
    }
}

fn case<'a>(
    grounds: &'a Grounds<'_>,
    set: &'a Evidence<'_>,
    node_of: &'a dyn Fn(BindingId) -> Option<(Box<str>, Box<str>)>,
) -> Case<'a> {
    Case {
        old: grounds.old.fingerprint,
        good: set.good,
        new: set.new,
        replaced: grounds.retired.after.unwrap_or(grounds.retired.by),
        faulty_from: faulty_from(grounds.retired),
        now: grounds.now,
        settings: grounds.settings,
        looks: set.looks,
        node_of,
    }
}

/// While keyward runs it looks at its keys once a minute at the least, so that the later bound is right to a moment.
fn faulty_from(retired: Retired) -> Timestamp {
    retired.after.filter(|after| retired.by.since(*after) > LOOKS_APART).unwrap_or(retired.by)
}

fn assumes(grounds: &Grounds<'_>, senders: usize) -> Vec<&'static str> {
    let carries = |kind| {
        let old = grounds.old.fingerprint;
        let of_kind = |set: &Evidence<'_>| {
            set.senders.clients.values().any(|one| one.kind == kind && one.uses.iter().any(|used| used.key == old))
        };
        grounds.evidence.iter().any(of_kind)
    };
    let lists_records = grounds.evidence.first().is_some_and(|own| own.looks.iter().any(|look| look.lists_records));
    let all = [
        (senders > 0 && grounds.settings.shared_address.is_none(), ONE_PROCESS),
        (carries(ClientKind::Untagged), "for clients without a tag: yes for what runs at least every 8 days"),
        (lists_records, BY_TRAFFIC),
    ];
    all.into_iter().filter(|(matters, _)| *matters).map(|(_, text)| text).collect()
}

/// What every *yes* on requests of n8n's takes to be so.
pub const ONE_PROCESS: &str = "one process behind each address";

/// What every *yes* takes to be so where n8n has features whose use of a credential its API does not show.
pub const BY_TRAFFIC: &str = "Agents, Instance AI and Chat Hub are known by their traffic alone";

/// The record that a doubt of an audit is about: its id, and where there are several n8n, the name of its own before that.
fn record_named(looks: &[&Look], subject: &str) -> Option<BarRecord> {
    looks.iter().find_map(|look| {
        let prefix = format!("{}:", look.instance);
        let id = if looks.len() > 1 { subject.strip_prefix(&prefix)? } else { subject };
        let (id, state) = look.records.get_key_value(id.strip_prefix(&prefix).unwrap_or(id))?;
        let name = RecordName { n8n: look.instance.clone(), id: id.clone() };
        Some(BarRecord { name, title: state.name.clone() })
    })
}

// === impl End ===

impl Deref for End {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::OfKind(text) => text,
            Self::Told(text) => text,
        }
    }
}

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for End {}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::Told(text.into()))
    }
}

// === impl Subject ===

impl Subject {
    fn write(&mut self, undone: &Undone) {
        let is_last = |(address, n8n, _): &(_, _, String)| (*address, n8n) == (undone.address, &undone.n8n);
        if !self.place.as_ref().is_some_and(is_last) {
            let text = format!("{:?} {:?}", undone.address, undone.n8n);
            self.place = Some((undone.address, undone.n8n.clone(), text));
        }
        let place = self.place.as_ref().map_or("", |(_, _, text)| text);
        self.text.clear();
        let _ = write!(self.text, "{:016x} {place}", undone.binding.0);
    }
}

// === impl Bar ===

impl Bar {
    fn new(number: u32, kind: BarKind, what: String) -> Self {
        Self {
            number,
            kind,
            is_no: false,
            binding: None,
            address: None,
            record: None,
            who: String::new(),
            what,
            end: End::OfKind(""),
            accepted: None,
            can_accept: true,
            state: 0,
        }
    }

    /// One that needs no proof: it makes the answer *no*, and cannot be accepted.
    #[must_use]
    pub fn known(kind: BarKind) -> Self {
        let bar = Self::new(0, kind, kind.meaning().to_owned());
        Self { is_no: true, can_accept: false, end: End::OfKind(kind.end()), ..bar }
    }

    /// The same about that one, and what is so of it, in words.
    #[must_use]
    pub fn about(self, who: &str, what: &str) -> Self {
        Self { who: who.to_owned(), what: what.to_owned(), ..self }
    }

    /// All of it in one sentence.
    #[must_use]
    pub fn in_one_sentence(&self) -> String {
        if self.who.is_empty() { self.what.clone() } else { [&*self.who, " ", &*self.what].concat() }
    }

    /// A fingerprint of what it rests on.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.state
    }

    /// The number that people accept it by. It is another one as soon as what it rests on changes, so that you accept what you have
    /// read, and nothing that came to be since.
    #[must_use]
    pub fn shown_number(&self) -> u32 {
        let [upper, lower] = [self.state >> 32, self.state & u64::from(u32::MAX)];
        self.number ^ u32::try_from(upper ^ lower).unwrap_or_default()
    }

    fn of(&mut self, undone: &Undone, who: String) -> &mut Self {
        (self.binding, self.address, self.who) = (Some(undone.binding), undone.address, who);
        self
    }

    fn ends_by(&mut self, end: End) -> &mut Self {
        self.end = end;
        self
    }

    fn resting_on(&mut self, facts: &[&[u8]]) -> &mut Self {
        self.state = hash(facts);
        self
    }

    fn not_to_be_accepted(&mut self) -> &mut Self {
        self.can_accept = false;
        self
    }
}

/// In one sentence.
impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.who.is_empty() { f.write_str(&self.what) } else { write!(f, "{} {}", self.who, self.what) }
    }
}

// === Words ===

impl Answer {
    /// The answer without what it rests on.
    #[must_use]
    pub fn kind(&self) -> AnswerKind {
        match self {
            Self::No { .. } => AnswerKind::No,
            Self::NotProven { .. } => AnswerKind::NotProven,
            Self::Yes(_) => AnswerKind::Yes,
        }
    }

    /// The stable code: `no`, `not_seen`, `yes`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// What bars it: of a *no* what makes it one.
    #[must_use]
    pub fn bars(&self) -> &[Bar] {
        match self {
            Self::No { because, .. } => because,
            Self::NotProven { but, .. } => but,
            Self::Yes(_) => &[],
        }
    }

    /// All that it names, also what you accepted, to be changed.
    pub fn all_bars_mut(&mut self) -> impl Iterator<Item = &mut Bar> {
        let (first, second) = match self {
            Self::No { because, but } => (because, Some(but)),
            Self::NotProven { but, .. } => (but, None),
            Self::Yes(basis) => (&mut basis.accepted, None),
        };
        first.iter_mut().chain(second.into_iter().flatten())
    }

    /// The same, to be read.
    pub fn all_bars(&self) -> impl Iterator<Item = &Bar> {
        let (first, second) = match self {
            Self::No { because, but } => (because, Some(but)),
            Self::NotProven { but, .. } => (but, None),
            Self::Yes(basis) => (&basis.accepted, None),
        };
        first.iter().chain(second.into_iter().flatten())
    }
}

/// In one sentence, without what bars it.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No { .. } => f.write_str("no"),
            Self::NotProven { span, .. } => {
                write!(f, "not proven: not seen here for {}, but that proves nothing", Span(*span))
            }
            Self::Yes(basis) => basis.fmt(f),
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("yes")?;
        if !self.accepted.is_empty() {
            write!(f, ", with {} accepted by you", self.accepted.len())?;
        }
        write!(f, ": {} and {} looked at", nodes(self.nodes), senders(self.senders))?;
        self.audited.map_or(Ok(()), |at| write!(f, ", n8n looked through at {at}"))?;
        match self.quiet_since {
            Some(since) => write!(f, ", quiet since {since}"),
            None => f.write_str(", no sender ever sent it here"),
        }
    }
}

/// A text that grows is copied each time.
fn text(words: fmt::Arguments<'_>) -> String {
    let mut text = String::with_capacity(128);
    let _ = text.write_fmt(words);
    text
}

fn from(undone: &Undone) -> String {
    match (undone.address, &undone.n8n) {
        (Some(address), N8n::Another) if undone.kind.is_none() => format!(" from {address} (another n8n)"),
        (address, _) if undone.kind != Some(ClientKind::Untagged) => from_address(address),
        (_, _) => String::new(),
    }
}

fn from_address(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" from {address}"))
}

fn by_turns(mixed: Option<Mixed>) -> &'static str {
    if mixed.is_some() { ", by turns with a newer key" } else { "" }
}

/// How the end of a bar begins behind which another process sends the old key than the node that sends good ones.
pub const LOOK_FOR: &str = "look for a worker ";

/// How the bar of a node ends whose key upstream refused when it ran last.
pub const REFUSED: &str = ", and OpenAI refuses it";

const RUN_IT: &str = "run it with the current key";

/// What ends it. That you accept it is offered only where it may be done: right after a use it would be another guess.
fn end_of(undone: &Undone, binding: Option<&Binding>, may_be_done: bool) -> End {
    let is_mixed = undone.mixed.is_some() || (undone.later && undone.beside_good && undone.kind.is_none());
    let remedy = if is_mixed {
        &*[
            LOOK_FOR,
            "with an older environment or a clone of n8n and restart it with the new one, or for an execution that waits \
             with the old key and stop it; then ",
        ]
        .concat()
    } else {
        ""
    };
    let end = match undone.lacks {
        Lack::GoodKey if undone.n8n == N8n::Another && undone.kind.is_none() => {
            End::OfKind("give that n8n the current key and run the node there")
        }
        Lack::GoodKey => match undone.address {
            Some(address) if undone.kind.is_none() => {
                let first = match (undone.later, undone.beside_good) {
                    // It ran with the current key, elsewhere or in an execution that began before.
                    (_, true) => {
                        &*format!("run it with the current key from {address}, in an execution that begins from now on")
                    }
                    (true, false) => "put the current key into its credential, and run it",
                    (false, false) => RUN_IT,
                };
                End::Told(format!("{first}{}", if_it_is_gone(address)).into())
            }
            Some(_) | None => End::OfKind(RUN_IT),
        },
        Lack::Executions(1) => {
            let why = why_so_many(undone);
            End::Told(format!("1 more execution with the current key through its credential{why}").into())
        }
        Lack::Executions(more) => {
            let why = why_so_many(undone);
            let what = "more executions in a row with the current key through its credential";
            End::Told(format!("{more} {what}{why}").into())
        }
        Lack::Silence(until) => End::Told(format!("wait until {until} for what runs less often").into()),
        Lack::GoodTest if undone.kind == Some(ClientKind::Agents) => {
            End::OfKind(binding.map_or("use the current key there once", end_beside_workflows))
        }
        Lack::GoodTest => End::OfKind("use the current key there once"),
        Lack::Nothing => End::OfKind(BarKind::Unattributed.end()),
    };
    let accept = if may_be_done && undone.lacks != Lack::Nothing { OR_ACCEPT } else { "" };
    if remedy.is_empty() && accept.is_empty() { end } else { End::Told([remedy, &*end, accept].concat().into()) }
}

/// What is done where nothing at an address will send a good key: it ends the bar no sooner, but keeps the old key from coming back.
fn if_it_is_gone(address: IpAddr) -> String {
    if address.is_loopback() {
        format!(
            "{IF_GONE}what sent it on keyward's own machine ({address}) is gone for good, see that nothing starts it again: it would \
             send the old key"
        )
    } else {
        format!(
            "{IF_GONE}{address} is silent for good, remove the container or machine that had it: started again, it sends the old key"
        )
    }
}

/// How an end goes on that you can also accept.
pub const OR_ACCEPT: &str = "; or accept it";

/// How a remark begins on a sender that is gone: one of each address is enough.
pub const IF_GONE: &str = ". If ";

/// Why a single good execution does not show it.
fn why_so_many(undone: &Undone) -> &'static str {
    if undone.mixed.is_some() {
        ": both keys came from there by turns, so that several processes may share the address (rotation.workers)"
    } else {
        ": several processes may share the address (rotation.shared_address, rotation.workers)"
    }
}

/// What makes that send the current key which n8n runs beside its workflows.
fn end_beside_workflows(binding: &Binding) -> &'static str {
    match binding.identity().workflow {
        None => {
            "save or publish each Agent, even unchanged (an edited credential alone does not reach it), and run it once"
        }
        Some(INSTANCE_AI) => {
            "put the current key into its connection in n8n's settings, or into N8N_INSTANCE_AI_MODEL_API_KEY where that is \
             set, and ask it something"
        }
        Some(_) => "put the current key into the credential of the chats, and send a message in one of them",
    }
}

fn nodes(count: usize) -> String {
    format!("{count} node{}", if count == 1 { "" } else { "s" })
}

fn senders(count: usize) -> String {
    format!("{count} sender{}", if count == 1 { "" } else { "s" })
}

/// A hash of several parts: FNV-1a of 64 bits.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> u64 {
    parts.iter().fold(Hash::default(), |hash, part| hash.with(part)).0
}

/// FNV-1a over parts, each with its length before it. It is stored, so it must not change.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// With another part.
    fn with(self, part: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let length = (part.len() as u64).to_be_bytes().iter().fold(self.0, add);
        Self(part.iter().fold(length, add))
    }
}

/// What ends a bar that the current key would end, while upstream refuses that key: no node is to be given it.
const AFTER_ANOTHER_KEY: &str = "leave it as it is until the set has a key that OpenAI takes";

/// How many ways to end are told from one another; what is told of others is put together each time.
const MOST_ENDS: usize = 64;

/// Bounds that are further apart than this mean that keyward was down between them.
const LOOKS_APART: Duration = Duration::from_mins(3);

/// How far ahead of the clock what is remembered may lie without a word.
const AHEAD: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
