//! *Can the old key go?* as people read it: the answer in a line, what bars the key, and what to do next.

use std::collections::BTreeSet;

use super::output::{Line, Tone};
use crate::answers::headline::{because, of_left_out, who, word};
use crate::answers::old_key::{CanGo, OldKeySummary, Reason, ReasonList};
use crate::answers::words::{ago, capitalised};
use crate::clock::Timestamp;
use crate::ledger::answer::{IF_GONE, OR_ACCEPT};
use crate::ledger::bar_kind::BarKind;
use crate::telemetry::local_clock::in_local_time;

/// The answer about each old key of a set, in a line. `of` is the name of the set, where there are several; a key is named
/// where there are several of those.
pub(super) fn headlines(old_keys: &[&OldKeySummary], of: Option<&str>, now: Timestamp) -> Vec<Line> {
    let set = of.map_or_else(String::new, |set| format!("{set}: "));
    let headline = |old: &&OldKeySummary| {
        let key = if old_keys.len() > 1 { format!(" {}", old.key) } else { String::new() };
        let (tone, word) = word(old.can_go.answer);
        let answer = format!("{}{}", word.to_uppercase(), because(old, now));
        Line::from(format!("{set}Can the old key{key} go?  ")).hanging(2).and_toned(tone, answer)
    };
    old_keys.iter().map(headline).collect()
}

/// What bars old keys: each reason once, however many keys it bars. `shown` are the bindings that stand in a table above.
pub(super) fn reasons(old_keys: &[&OldKeySummary], shown: &BTreeSet<&str>, now: Timestamp) -> Vec<Line> {
    let mut items: Vec<Item> = Vec::new();
    for old in old_keys {
        for mut item in items_of(&old.can_go, shown, now) {
            // While time alone bars it, to accept the rest changes nothing.
            if old.can_go.all_reasons().any(|reason| reason.code == "quiet") {
                item.numbers.clear();
            }
            match items.iter_mut().find(|known| known.is_alike(&item)) {
                Some(known) => known.numbers.extend(item.numbers),
                None => items.push(item),
            }
        }
    }
    tell_once(&mut items);
    let mut lines: Vec<_> = items.iter().flat_map(Item::lines).collect();
    if items.iter().any(|item| !item.numbers.is_empty()) {
        lines.push(Line::toned(Tone::Aside, ACCEPTING).hanging(2));
    }
    let assumes: BTreeSet<_> = old_keys.iter().flat_map(|old| old.can_go.assumes()).collect();
    lines.extend(assumes.into_iter().map(|what| Line::toned(Tone::Aside, format!("Assumes: {what}")).hanging(2)));
    lines
}

/// Tells once of each address what is to be done where it is gone.
fn tell_once(items: &mut [Item]) {
    let mut told: Vec<String> = Vec::new();
    for end in items.iter_mut().flat_map(|item| &mut item.ends) {
        let Some(begin) = end.find(IF_GONE) else { continue };
        let remark = end[begin..].trim_end_matches(OR_ACCEPT).to_owned();
        if told.contains(&remark) {
            *end = end.replace(&remark, "");
        } else {
            told.push(remark);
        }
    }
}

/// The same of keys that stay, without what is not proven beside that.
pub(super) fn reasons_of_no(old_keys: &[&OldKeySummary], shown: &BTreeSet<&str>, now: Timestamp) -> Vec<Line> {
    let without_doubts = |old: &&OldKeySummary| {
        let mut can_go = CanGo { doubts: Vec::new(), ..old.can_go.clone() };
        can_go.kinds.retain(|kind| kind.list != ReasonList::Doubts);
        OldKeySummary { can_go, ..(*old).clone() }
    };
    let old_keys: Vec<_> = old_keys.iter().map(without_doubts).collect();
    reasons(&old_keys.iter().collect::<Vec<_>>(), shown, now)
}

/// An old key that stays: the answer, and what makes it a *no*.
pub(super) fn that_stays(old: &OldKeySummary, now: Timestamp) -> Vec<Line> {
    let reasons = reasons_of_no(&[old], &BTreeSet::new(), now).into_iter().map(|line| line.within(2));
    let key = Line::from(format!("Old key {}, replaced {}.", old.key, ago(old.retired_by, now))).hanging(2);
    [key].into_iter().chain(headlines(&[old], None, now)).chain(reasons).collect()
}

/// Something that bars a key: what it is, what ends it, and by which numbers you accept it.
#[derive(Default)]
struct Item {
    what: Vec<String>,
    ends: Vec<String>,
    numbers: Vec<String>,
    accepted: Option<String>,
}

impl Item {
    fn is_alike(&self, other: &Self) -> bool {
        self.what == other.what && self.ends == other.ends && self.accepted == other.accepted
    }

    fn add(&mut self, reason: &Reason, now: Timestamp) {
        self.add_end(reason, now);
        self.add_number(reason);
    }

    fn add_end(&mut self, reason: &Reason, now: Timestamp) {
        let end = in_local_time(&reason.end, now).into_owned();
        if !end.is_empty() && !self.ends.contains(&end) {
            self.ends.push(end);
        }
    }

    fn add_number(&mut self, reason: &Reason) {
        let may_accept = reason.binding.is_none() || reason.end.contains("accept");
        self.numbers.extend(reason.doubt.clone().filter(|_| may_accept && reason.accepted.is_none()));
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (number, what) in self.what.iter().enumerate() {
            let is_first = number == 0;
            lines.push(if is_first { Line::from(format!("- {what}")) } else { Line::from(what.clone()).within(4) });
        }
        let last = lines.last_mut().map(std::mem::take).unwrap_or_default();
        let numbers = match (self.numbers.len(), self.numbers.len().saturating_sub(MOST_NUMBERS)) {
            (0, _) => String::new(),
            (_, 0) => format!("  [{}]", self.numbers.join(" ")),
            (_, more) => {
                let first = self.numbers[..MOST_NUMBERS].join(" ");
                format!("  [{first} and {more} more: `keyward rotation --json`]")
            }
        };
        let count = lines.len();
        lines.truncate(count.saturating_sub(1));
        lines.push(last.and_toned(Tone::Aside, numbers));
        if let Some(reason) = &self.accepted {
            lines.push(Line::from(format!("-> accepted: {reason}")).within(2).hanging(3));
        } else {
            lines.extend(
                self.ends.iter().map(|end| Line::from(format!("-> {}", capitalised(end))).within(2).hanging(3)),
            );
        }
        lines
    }
}

fn items_of(can_go: &CanGo, shown: &BTreeSet<&str>, now: Timestamp) -> Vec<Item> {
    let is_shown = |reason: &Reason| reason.binding.as_deref().is_some_and(|binding| shown.contains(binding));
    let (by_record, rest) = can_go.by_record();
    let mut items = Vec::new();
    for (record, reasons) in by_record {
        let own = reasons.iter().find(|reason| reason.code == BarKind::RecordHoldsIt.code());
        let ends = vec![own.map_or(BarKind::RecordHoldsIt.end(), |reason| &*reason.end).to_owned()];
        let mut item = Item { what: vec![record.text.clone()], ends, ..Item::default() };
        for reason in reasons {
            item.add_number(reason);
            // That such a record is not proven, or is a finding, says nothing more.
            if matches!(&*reason.code, "record" | "audit") {
                continue;
            }
            if *reason.end != *BarKind::StillSent.end() {
                item.add_end(reason, now);
            }
            if !is_shown(reason) {
                item.what.push(in_local_time(&reason.text, now).into_owned());
            }
        }
        items.push(item);
    }
    let (above, own): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|reason| is_shown(reason) && reason.accepted.is_none());
    items.extend(of_those_above(&above, now));
    for alike in alike(&own) {
        if alike.len() > MOST_NAMES && alike[0].binding.is_some() {
            items.push(of_alike(&alike, now));
        } else {
            items.extend(alike.iter().map(|reason| of_one(reason, now)));
        }
    }
    let left_out = can_go.left_out().map(|(kind, count)| format!("{}: {ALL_OF_THEM}", of_left_out(kind, count)));
    items.extend(left_out.map(|what| Item { what: vec![what], ..Item::default() }));
    items
}

fn of_one(reason: &Reason, now: Timestamp) -> Item {
    let accepted = reason.accepted.as_ref().map(|accepted| accepted.reason.clone());
    let mut item = Item { what: vec![in_local_time(&reason.text, now).into_owned()], accepted, ..Item::default() };
    item.add(reason, now);
    item
}

/// Senders that stand in the table: what is so of them is told once for those that it is told of alike.
fn of_those_above(reasons: &[&Reason], now: Timestamp) -> Vec<Item> {
    alike(reasons).iter().map(|alike| of_alike(alike, now)).collect()
}

/// Those of one kind that end alike, in the order in which the first of each came.
fn alike<'r>(reasons: &[&'r Reason]) -> Vec<Vec<&'r Reason>> {
    let mut alike: Vec<Vec<&Reason>> = Vec::new();
    for reason in reasons.iter().copied() {
        let is_alike = |same: &&mut Vec<&Reason>| {
            let first = same[0];
            first.code == reason.code && first.end == reason.end && first.accepted == reason.accepted
        };
        match alike.iter_mut().find(is_alike) {
            Some(same) => same.push(reason),
            None => alike.push(vec![reason]),
        }
    }
    alike
}

/// Senders that the same is told of.
fn of_alike(same: &[&Reason], now: Timestamp) -> Item {
    let accepted = same.first().and_then(|first| first.accepted.as_ref()).map(|accepted| accepted.reason.clone());
    let (mut names, mut item) = (Vec::new(), Item { accepted, ..Item::default() });
    for reason in same {
        let name = who(reason);
        if !names.contains(&name) {
            names.push(name);
        }
        item.add(reason, now);
    }
    let code = same.first().map_or("", |reason| &*reason.code);
    let what = match code {
        "still_sent" => "the old key is still sent by",
        "silent" => "the old key was the last one, and no later good one is proven, of",
        "edited" => "the old key was tried out by",
        _ => "the old key was sent by",
    };
    let more = match names.len().saturating_sub(MOST_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more (`keyward rotation` lists them)"),
    };
    names.truncate(MOST_NAMES);
    Item { what: vec![format!("{what} {}{more}", names.join("; "))], ..item }
}

/// Where all of a kind are told that is cut short.
const ALL_OF_THEM: &str = "`keyward rotation --json` lists them";

/// How many of those that are alike are named.
const MOST_NAMES: usize = 6;

/// How many numbers stand in brackets.
const MOST_NUMBERS: usize = 8;

const ACCEPTING: &str =
    "Where you know more than keyward does: keyward accept NUMBER --reason TEXT, with a number in brackets.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::Palette;

    /// A node of a workflow that still sends an old key.
    fn reason(number: usize, end: &str) -> Reason {
        let reason = json!({
            "code": "still_sent", "text": format!("workflow w{number}, node n1 still sends it, last at 2026-01-01T00:00:00Z"),
            "binding": format!("{number:016x}"), "address": "127.0.0.1", "credential": null, "credential_id": null,
            "workflow_name": format!("Report {number}"), "end": end, "doubt": format!("{number:08x}"), "accepted": null,
        });
        serde_json::from_value(reason).expect("a reason")
    }

    #[test]
    fn of_many_that_are_alike_a_handful_is_named_and_the_others_are_counted() {
        let reasons: Vec<_> = (0..46).map(|number| reason(number, "run it; or accept it")).collect();
        let items = of_those_above(&reasons.iter().collect::<Vec<_>>(), Timestamp::from_millis(0));
        let lines: Vec<_> =
            items.iter().flat_map(Item::lines).flat_map(|line| line.rows(200, Palette::Plain)).collect();
        let names =
            "Report 0; Report 1; Report 2; Report 3; Report 4; Report 5 and 40 more (`keyward rotation` lists them)";
        assert!(lines[0].starts_with(&format!("- the old key is still sent by {names}")), "{lines:?}");
        assert!(lines.join(" ").contains("00000007 and 38 more: `keyward rotation --json`]"), "{lines:?}");
        assert!(lines.len() <= 5, "{lines:?}");
    }

    #[test]
    fn what_is_done_where_a_sender_is_gone_is_told_once() {
        let gone = "run it. If 10.0.0.1 is silent for good, remove it";
        let ends = [gone, &format!("{gone}; or accept it"), "run it. If 10.0.0.2 is silent for good, remove it"];
        let item = |end: &str| Item { ends: vec![end.to_owned()], ..Item::default() };
        let mut items: Vec<_> = ends.into_iter().map(item).collect();
        tell_once(&mut items);
        let ends: Vec<_> = items.iter().map(|item| &*item.ends[0]).collect();
        assert_eq!(ends, [gone, "run it; or accept it", "run it. If 10.0.0.2 is silent for good, remove it"]);
    }
}
