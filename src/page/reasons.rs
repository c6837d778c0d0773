//! Pure. What bars old keys from going, what ends that, and by which command you accept it.

use std::collections::HashMap;

use maud::{Markup, html};

use super::parts;
use crate::answers::headline::{of_left_out, title_of_reasons, who};
use crate::answers::old_key::{CanGo, OfCredential, OldKeySummary, Reason, ReasonKind};
use crate::answers::rotation::Rotation;
use crate::clock::Timestamp;
use crate::telemetry::local_clock::in_local_time;

/// Of each old key of a set.
#[must_use]
pub fn section(rotation: &Rotation, id: &str, now: Timestamp) -> Markup {
    let names = Names::of(rotation);
    let old_keys: Vec<_> = rotation.old_keys.iter().map(|old| &old.summary).collect();
    let is_empty =
        old_keys.iter().all(|old| old.can_go.all_reasons().next().is_none() && old.can_go.assumes().is_empty());
    html! {
        section.card.reasons id=(id) hidden[is_empty] aria-labelledby=(format!("{id}-title")) {
            h2 id=(format!("{id}-title")) { (title_of_reasons(&old_keys)) }
            @for old in &old_keys {
                @if old_keys.len() > 1 { h3 { "Old key " (parts::key_names(&old.key)) } }
                (of_key(old, &names, now))
            }
        }
    }
}

/// What the bindings that are shown are called in few words.
struct Names<'r> {
    set: &'r str,
    by_binding: HashMap<&'r str, String>,
}

impl<'r> Names<'r> {
    fn of(rotation: &'r Rotation) -> Self {
        let whos = rotation.bindings.iter().map(|binding| &binding.row.who);
        Self { set: &rotation.set, by_binding: whos.map(|who| (&*who.binding, who.in_few_words())).collect() }
    }

    fn name(&self, binding: &str, reason: &Reason) -> String {
        self.by_binding.get(binding).cloned().unwrap_or_else(|| who(reason))
    }
}

fn of_key(old: &OldKeySummary, known: &Names<'_>, now: Timestamp) -> Markup {
    let can_go = &old.can_go;
    let (by_record, rest) = can_go.by_record();
    let groups = alike(&rest);
    let left_out = groups.len().saturating_sub(MOST_GROUPS);
    html! {
        ul.reasons {
            @for (record, reasons) in &by_record { (of_record(record, reasons, known, now)) }
            @for group in groups.iter().take(MOST_GROUPS) { (of_group(group, can_go, known, now)) }
            @for (kind, count) in can_go.left_out() { (of_those_left_out(kind, count, known)) }
            @for what in can_go.assumes() { li.aside { "Assumes: " (what) } }
        }
        @if left_out > 0 { p { "And " (left_out) " more: " (parts::command(&format!("keyward rotation {}", known.set))) } }
    }
}

fn of_record(record: &OfCredential, reasons: &[&Reason], known: &Names<'_>, now: Timestamp) -> Markup {
    let about: Vec<_> = reasons.iter().copied().filter(|reason| reason.binding.is_some()).collect();
    html! {
        li {
            b { (record.text) }
            (names(&about, known))
            (end(crate::ledger::bar_kind::BarKind::RecordHoldsIt.end(), now))
        }
    }
}

/// How many of a kind are not listed, and what lists them.
fn of_those_left_out(kind: &ReasonKind, count: usize, known: &Names<'_>) -> Markup {
    let command = parts::command(&format!("keyward rotation {} --json", known.set));
    html! { li { (parts::sentence(&of_left_out(kind, count))) " All of them: " (command) } }
}

/// Those that bar it alike: what it is, who they are, what ends it.
fn of_group(group: &[&Reason], can_go: &CanGo, known: &Names<'_>, now: Timestamp) -> Markup {
    let Some(first) = group.first() else { return html! {} };
    html! {
        li {
            @if let [only] = group {
                b { (parts::sentence(&in_local_time(&only.text, now))) }
                @if let Some(binding) = &only.binding { " " a href=(format!("/nodes/{binding}")) { "its page" } }
            } @else if first.binding.is_some() {
                b { (what_of(&first.code)) } (names(group, known))
            } @else {
                @for reason in group.iter().take(MOST_NAMES) { b { (parts::sentence(&in_local_time(&reason.text, now))) } br; }
                (more(group.len().saturating_sub(MOST_NAMES)))
            }
            @match &first.accepted {
                Some(accepted) => p.end { "Accepted: " (parts::name(&accepted.reason)) }
                None => { (end(&first.end, now)) (accept(group, can_go)) }
            }
        }
    }
}

fn end(text: &str, now: Timestamp) -> Markup {
    html! { @if !text.is_empty() { p.end { "→ " (parts::sentence(&in_local_time(text, now))) } } }
}

/// By which command you accept it. While time alone bars a key, to accept the rest changes nothing.
fn accept(group: &[&Reason], can_go: &CanGo) -> Markup {
    let waits = can_go.all_reasons().any(|reason| reason.code == "quiet");
    let may_accept = |reason: &&&Reason| reason.binding.is_none() || reason.end.contains("accept");
    let numbers = group.iter().filter(may_accept).filter_map(|reason| reason.doubt.as_ref());
    html! {
        @if !waits {
            @for number in numbers.take(MOST_COMMANDS) {
                p.end { "If you know better: " (parts::command(&format!("keyward accept {number} --reason \"\""))) }
            }
        }
    }
}

/// Who they are, each with a link to its page: the first ones, and how many more there are.
fn names(reasons: &[&Reason], known: &Names<'_>) -> Markup {
    let mut named: Vec<(&str, String)> = Vec::new();
    let mut rest = reasons.iter().filter_map(|reason| Some((reason.binding.as_deref()?, reason)));
    for (binding, reason) in rest.by_ref() {
        let name = known.name(binding, reason);
        if !named.iter().any(|(_, known)| *known == name) {
            named.push((binding, name));
        }
        if named.len() == MOST_NAMES {
            break;
        }
    }
    html! {
        @for (place, (binding, name)) in named.iter().enumerate() {
            @if place > 0 { ", " } @else { " " }
            a href=(format!("/nodes/{binding}")) { (parts::name(name)) }
        }
        (more(rest.count()))
    }
}

fn more(count: usize) -> Markup {
    html! { @if count > 0 { " and " (parts::thousands(count)) " more" } }
}

fn what_of(code: &str) -> &'static str {
    match code {
        "still_sent" => "The old key is still sent by",
        "silent" => "The old key was the last one, and no later good one is proven, of",
        "edited" => "The old key was tried out by",
        _ => "The old key was sent by",
    }
}

/// Those of one kind that end alike, in the order in which the first of each came.
fn alike<'r>(reasons: &[&'r Reason]) -> Vec<Vec<&'r Reason>> {
    let mut groups: Vec<Vec<&Reason>> = Vec::new();
    for reason in reasons.iter().copied() {
        let is_alike = |same: &[&Reason]| {
            same.first().is_some_and(|first| {
                first.code == reason.code && first.end == reason.end && first.accepted == reason.accepted
            })
        };
        match groups.iter_mut().find(|group| is_alike(group)) {
            Some(group) => group.push(reason),
            None => groups.push(vec![reason]),
        }
    }
    groups
}

/// How many kinds of reasons are told of.
const MOST_GROUPS: usize = 12;

/// How many of those that bar a key alike are named.
const MOST_NAMES: usize = 8;

/// For how many of those there is a command.
const MOST_COMMANDS: usize = 3;
