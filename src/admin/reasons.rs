//! What bars old keys from going, as the answers have it: of each kind how many there are and the first of them; and all of
//! them, page by page.
//!
//! Where thousands of nodes send an old key, each is a reason of its own. An answer that listed all would be many megabytes
//! long, and is asked for again and again. What it is, and what kinds of reasons there are, never depends on how many are
//! listed.

use std::collections::HashSet;

use super::parameters::{Parameters, quote};
use super::problem::{Kind, Problem};
use crate::answers::old_key::{
    Accepted, Basis, CanGo, ListedReason, ListedReasons, OfCredential, Reason, ReasonKind, ReasonList,
};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::SetIndex;
use crate::ledger::answer::{self, Answer, Bar, BarRecord, LOOK_FOR, REFUSED};
use crate::ledger::bar_kind::BarKind;
use crate::ledger::identity::BindingId;
use crate::ledger::query::Query;
use crate::ledger::senders::Acceptance;

/// Whether an old key can go, in words, with what bars it.
#[must_use]
pub fn can_go(look: &Query<'_>, old: Fingerprint, answer: &Answer) -> CanGo {
    let (mut kinds, mut told) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for (told, (list, bars)) in told.iter_mut().zip(lists(answer)) {
        let Told { first, kinds: of_list } = Told::of(list, bars);
        *told = first.into_iter().map(|bar| reason_of(look, bar)).collect();
        kinds.extend(of_list);
    }
    let [reasons, doubts, accepted] = told;
    CanGo {
        answer: answer.kind(),
        text: answer.to_string(),
        reasons,
        doubts,
        kinds,
        by_credential: look.by_credential(old, answer.bars()).into_iter().map(of_credential).collect(),
        basis: match answer {
            Answer::Yes(yes) => Some(basis_of(yes, accepted)),
            Answer::No { .. } | Answer::NotProven { .. } => None,
        },
    }
}

/// The parameters of [`listed`].
pub const PARAMETERS: [&str; 4] = ["key", "code", "limit", "cursor"];

/// A page of all that bars the old keys of a set, or one of them, or is of one kind.
pub fn listed(look: &Query<'_>, set: SetIndex, asked: &Parameters) -> Result<ListedReasons, Problem> {
    let (code, page) = (asked.word("code", &BarKind::CODES)?, asked.page()?);
    let view = look.rotation(set);
    let key = asked.value("key").map(|text| {
        let known = view.old_keys.iter().map(|old| old.names.fingerprint).find(|key| key.to_hex() == text);
        known.ok_or_else(|| {
            let detail = format!("`key` is {}. Allowed: the whole fingerprint of an old key of the set.", quote(text));
            Problem::new(Kind::BadQuery, detail)
        })
    });
    let key = key.transpose()?;
    let mut rows = Vec::new();
    for old in view.old_keys.iter().filter(|old| key.is_none_or(|key| old.names.fingerprint == key)) {
        for (list, bars) in lists(&old.can_go) {
            let wanted = bars.iter().filter(|bar| code.is_none_or(|code| bar.kind.code() == code));
            rows.extend(wanted.map(|bar| (place(old.names.fingerprint, bar), old.names.fingerprint, list, bar)));
        }
    }
    rows.sort_unstable_by_key(|(place, ..)| *place);
    let (shown, next) = page.cut(&rows, |(place, ..)| *place);
    let row = |(_, key, list, bar): &(_, Fingerprint, ReasonList, &Bar)| ListedReason {
        key: *key,
        list: *list,
        reason: reason_of(look, bar),
    };
    Ok(ListedReasons { reasons: shown.iter().map(row).collect(), total: rows.len(), next })
}

/// What an answer names, by the list that it stands in.
fn lists(answer: &Answer) -> [(ReasonList, &[Bar]); 3] {
    let [mut reasons, mut doubts, mut accepted] = [&[][..]; 3];
    match answer {
        Answer::No { because, but } => (reasons, doubts) = (because, but),
        Answer::NotProven { but, .. } => reasons = but,
        Answer::Yes(basis) => accepted = &basis.accepted,
    }
    [(ReasonList::Reasons, reasons), (ReasonList::Doubts, doubts), (ReasonList::Accepted, accepted)]
}

/// Where it stands among all of a set, whatever comes and goes. A number is a piece of a hash, and what cannot be accepted may
/// have none.
fn place(key: Fingerprint, bar: &Bar) -> [i64; 3] {
    let kind = i64::try_from(bar.kind as usize).unwrap_or_default();
    let text = answer::hash(&[key.to_hex().as_bytes(), bar.who.as_bytes(), bar.what.as_bytes()]);
    [kind, bar.number.into(), text.cast_signed()]
}

/// What is told of a list: of each kind the first ones and how many there are.
struct Told<'b> {
    first: Vec<&'b Bar>,
    kinds: Vec<ReasonKind>,
}

/// What was found of one kind so far.
struct Tally {
    kind: BarKind,
    listed: usize,
    /// Whether one of those listed sends the key beside good ones.
    has_mixed: bool,
    bindings: HashSet<Option<BindingId>>,
    counts: ReasonKind,
}

impl<'b> Told<'b> {
    fn of(list: ReasonList, bars: &'b [Bar]) -> Self {
        let (mut first, mut tallies) = (Vec::new(), Vec::<Tally>::new());
        for bar in bars {
            let place = tallies.iter().position(|tally| tally.kind == bar.kind).unwrap_or_else(|| {
                tallies.push(Tally::new(bar.kind, list));
                tallies.len() - 1
            });
            if tallies[place].lists(bar) {
                first.push(bar);
            }
        }
        Self { first, kinds: tallies.into_iter().map(Tally::finish).collect() }
    }
}

impl Tally {
    fn new(kind: BarKind, list: ReasonList) -> Self {
        let counts = ReasonKind { code: kind.code().into(), list, total: 0, senders: 0, nodes: 0, refused: 0 };
        Self { kind, listed: 0, has_mixed: false, bindings: HashSet::new(), counts }
    }

    /// Counts it, and says whether it is listed. The first of a worker or a clone of n8n is in any case: what is to be done
    /// about that comes before all else.
    fn lists(&mut self, bar: &Bar) -> bool {
        self.counts.total += 1;
        self.counts.nodes += usize::from(bar.who.starts_with("workflow "));
        self.counts.refused += usize::from(bar.what.ends_with(REFUSED));
        self.bindings.insert(bar.binding);
        let is_mixed = bar.end.starts_with(LOOK_FOR);
        let is_listed = self.listed < MOST_OF_A_KIND || (is_mixed && !self.has_mixed);
        self.listed += usize::from(is_listed);
        self.has_mixed |= is_mixed;
        is_listed
    }

    fn finish(self) -> ReasonKind {
        ReasonKind { senders: self.bindings.len(), ..self.counts }
    }
}

/// Something that bars an old key from going.
#[must_use]
pub fn reason_of(look: &Query<'_>, bar: &Bar) -> Reason {
    let bar = look.named_bar(bar);
    let binding = bar.binding.filter(|_| look.has_names()).and_then(|id| look.binding(id));
    let node = binding.and_then(|binding| {
        let named = look.named(binding)?;
        Some((
            named.workflow.name.to_string(),
            named.node.and_then(|node| node.credential.as_deref()).map(str::to_owned),
        ))
    });
    let (workflow_name, credential) = node.map_or((None, None), |(workflow, credential)| (Some(workflow), credential));
    let record = bar.record.as_ref();
    let accepted = |one: &Acceptance| Accepted { at: one.at, reason: one.reason.to_string() };
    Reason {
        code: bar.kind.code().into(),
        text: bar.in_one_sentence(),
        binding: bar.binding.map(BindingId::to_hex),
        address: bar.address.map(|address| address.to_string()),
        credential: record.map(|record| record.title.to_string()).or(credential),
        credential_id: record.map(|record| record.name.id.to_string()),
        workflow_name,
        end: bar.end.clone(),
        doubt: bar.can_accept.then(|| format!("{:08x}", bar.shown_number())),
        accepted: bar.accepted.as_deref().map(accepted),
    }
}

fn of_credential((record, text): (BarRecord, String)) -> OfCredential {
    OfCredential { credential: record.title.into(), credential_id: record.name.id.into(), text }
}

fn basis_of(basis: &answer::Basis, accepted: Vec<Reason>) -> Basis {
    Basis {
        nodes: basis.nodes,
        senders: basis.senders,
        audited: basis.audited,
        quiet_since: basis.quiet_since,
        accepted,
        acknowledged: basis.acknowledged,
        assumes: basis.assumes.iter().map(ToString::to_string).collect(),
    }
}

/// How many of one kind an answer lists.
pub const MOST_OF_A_KIND: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(kind: BarKind, count: u64, end: &'static str) -> Vec<Bar> {
        let bar = |number| Bar {
            binding: Some(BindingId(number)),
            end: answer::End::OfKind(end),
            ..Bar::known(kind).about("workflow a, node b", "still sends it")
        };
        (0..count).map(bar).collect()
    }

    #[test]
    fn of_many_of_a_kind_the_first_are_told_and_all_are_counted() {
        let mut all = bars(BarKind::StillSent, 10_000, "run it");
        all.extend(bars(BarKind::Typed, 1, "take it out"));
        all.extend(bars(BarKind::StillSent, 3, "look for a worker with"));
        let Told { first, kinds } = Told::of(ReasonList::Reasons, &all);
        let of = |kind| first.iter().filter(|bar| bar.kind == kind).count();
        assert_eq!((of(BarKind::StillSent), of(BarKind::Typed)), (MOST_OF_A_KIND + 1, 1));
        assert!(first.last().is_some_and(|last| last.end.starts_with(LOOK_FOR)), "that is to be done first");
        let told: Vec<_> = kinds.iter().map(|kind| (&*kind.code, kind.total, kind.senders, kind.nodes)).collect();
        assert_eq!(told, [("still_sent", 10_003, 10_000, 10_003), ("typed", 1, 1, 1)]);
    }

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        let key: Fingerprint = "07".repeat(16).parse().expect("a fingerprint");
        let typed = |who| Bar::known(BarKind::Typed).about(who, "has it typed into it");
        assert_ne!(place(key, &typed("node a")), place(key, &typed("node b")), "neither has a number");
        assert!(place(key, &Bar::known(BarKind::StillSent)) < place(key, &typed("node a")));
    }
}
