//! *Can the old key go?* in one line, and what to do next: the same words on the command line and on the page.

use super::old_key::{OldKeySummary, Reason, ReasonKind, ReasonList};
use super::status::OpenProblem;
use super::words::{ago, counted, thousands};
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::keys::rules::Policy;
use crate::ledger::answer::{AnswerKind, IF_GONE, LOOK_FOR};
use crate::ledger::bar_kind::BarKind;
use crate::telemetry::local_clock::in_local_time;
use crate::telemetry::palette::Tone;

/// What an answer is called, and in which tone: `no`.
#[must_use]
pub fn word(answer: AnswerKind) -> (Tone, &'static str) {
    match answer {
        AnswerKind::No => (Tone::Bad, "no"),
        AnswerKind::NotProven => (Tone::Doubtful, "not proven"),
        AnswerKind::Yes => (Tone::Good, "yes"),
    }
}

/// What the answer rests on, as short as can be, to stand behind its word: `: 2 nodes still send it`.
#[must_use]
pub fn because(old: &OldKeySummary, now: Timestamp) -> String {
    let can_go = &old.can_go;
    match can_go.answer {
        AnswerKind::No | AnswerKind::NotProven => format!(": {}", in_a_breath(old, now)),
        AnswerKind::Yes => {
            let rest = can_go.text.strip_prefix("yes").unwrap_or(&can_go.text);
            in_local_time(rest, now).into_owned()
        }
    }
}

/// What is wrong beside single callers, as short as can be: `n8n does not answer, and 1 more problem`; nothing where nothing is.
#[must_use]
pub fn problems_in_short(problems: &[OpenProblem]) -> Option<String> {
    let (first, rest) = problems.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", counted(rest.len(), "problem")) };
    let title = match &first.code {
        Coded::Known(kind) => kind.title(),
        Coded::Unknown(code) => code.code(),
    };
    Some(format!("{title}{more}"))
}

/// What bars a key, counted by kind.
fn in_a_breath(old: &OldKeySummary, now: Timestamp) -> String {
    let mut kinds: Vec<_> = old.can_go.kinds.iter().filter(|kind| kind.list == ReasonList::Reasons).collect();
    // "since" is since that use.
    let is_audited = !kinds.iter().any(|kind| kind.code == BarKind::NotAudited.code());
    kinds.sort_by_key(|kind| is_audited || kind.code != BarKind::Quiet.code());
    let parts: Vec<_> = kinds.iter().map(|kind| of_kind(kind, old, now)).collect();
    let more = match parts.len().saturating_sub(MOST_PARTS) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}{more}", parts[..parts.len().min(MOST_PARTS)].join(", "))
}

fn of_kind(kind: &ReasonKind, old: &OldKeySummary, now: Timestamp) -> String {
    let (count, is_one) = (kind.total, kind.total == 1);
    let are = if is_one { "is" } else { "are" };
    match &*kind.code {
        "still_sent" if kind.refused == kind.total => {
            format!("{} {} a key that OpenAI refuses", senders(kind), if is_one { "sends" } else { "send" })
        }
        "still_sent" => format!("{} still {} it", senders(kind), if is_one { "sends" } else { "send" }),
        "record_holds_it" => {
            format!("{} {} it", counted(count, "credential"), if is_one { "holds" } else { "hold" })
        }
        "typed" => format!("it is typed into {}", counted(count, "node")),
        "silent" => format!("{} {} not proven to send the new one", senders(kind), are),
        "record" | "record_without_node" => format!("{} {are} not proven", counted(count, "credential")),
        "quiet" => {
            old.last_use.map_or_else(|| "it was used of late".to_owned(), |at| format!("it was used {}", ago(at, now)))
        }
        "audit" => format!("{} of n8n's audit {are} open", counted(count, "finding")),
        "not_audited" => "n8n was not looked through since".to_owned(),
        "waiting" | "running" => format!("{} may go on with it", counted(count, "execution")),
        _ => {
            let first = old.can_go.reasons.iter().find(|reason| reason.code == kind.code);
            first.map_or_else(String::new, |first| in_local_time(&first.text, now).into_owned())
        }
    }
}

/// How many senders, or nodes where that is what they are.
fn senders(kind: &ReasonKind) -> String {
    counted(kind.senders, if kind.nodes == kind.total { "node" } else { "sender" })
}

/// What so many of a kind do that an answer does not list, beside those that it lists: `9,900 more still send it`.
#[must_use]
pub fn of_left_out(kind: &ReasonKind, count: usize) -> String {
    let (more, is_one) = (thousands(count), count == 1);
    let are = if is_one { "is" } else { "are" };
    match &*kind.code {
        "still_sent" => format!("{more} more still {} it", if is_one { "sends" } else { "send" }),
        "record_holds_it" => format!("{more} more {} it", if is_one { "credential holds" } else { "credentials hold" }),
        "typed" => format!("it is typed into {more} more"),
        "silent" => format!("{more} more {are} not proven to send the new one"),
        "record" | "record_without_node" => format!("{more} more {are} not proven"),
        "audit" => format!("{more} more of n8n's audit {are} open"),
        "waiting" | "running" => format!("{more} more may go on with it"),
        code => format!("{more} more of the kind `{code}`"),
    }
}

/// The old key that you do something about first: one that stays before one that is not proven, and that before one that can go.
#[must_use]
pub fn most_pressing<'o>(old_keys: impl Iterator<Item = &'o OldKeySummary>) -> Option<&'o OldKeySummary> {
    old_keys.max_by_key(|old| (old.is_kept(), old.can_go.answer != AnswerKind::Yes))
}

/// What n8n's credentials of a set hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The set's key itself.
    Key,
    /// A token of keyward's, which puts the key in: another key takes no change in n8n.
    Token,
}

impl From<Policy> for Holds {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Inject => Self::Token,
            Policy::Observe | Policy::Enforce => Self::Key,
        }
    }
}

/// How a rotation begins in a set whose key is read from there; nothing where it learns its key.
#[must_use]
pub fn to_rotate(source: Option<&str>, holds: Holds) -> String {
    match (source, holds) {
        (Some(source), Holds::Token) => {
            format!("to rotate, put the new key into {source}; n8n's credentials hold tokens and stay as they are")
        }
        (Some(source), Holds::Key) => format!("to rotate, put the new key into {source} and into n8n's credential"),
        (None, _) => "to rotate, put the new key into n8n's credential".to_owned(),
    }
}

/// What is to be done next about an old key, in a sentence, where n8n's credentials hold that.
#[must_use]
pub fn next_step(old: &OldKeySummary, holds: Holds, now: Timestamp) -> String {
    let can_go = &old.can_go;
    if can_go.answer == AnswerKind::Yes {
        return format!("revoke {} in OpenAI's dashboard", old.key);
    }
    if can_go.all_reasons().any(|reason| reason.code == BarKind::NoGoodUse.code() && reason.accepted.is_none()) {
        let then = match holds {
            Holds::Key => "put it into n8n's credential, and run a node",
            Holds::Token => "run a node, whose credential holds a token",
        };
        return format!(
            "try the current key first, which was never seen to work: `keyward check --online`; then {then}"
        );
    }
    // Behind a binding that sends good keys as well, the credential is not at fault.
    let mixed = can_go.reasons.iter().find(|reason| reason.end.starts_with(LOOK_FOR));
    if let Some(address) = mixed.and_then(|reason| reason.address.as_ref()) {
        return format!("{address} still sends the old key: restart that worker (or clone) with the new environment");
    }
    if let Some(record) = can_go.by_credential.first().filter(|_| mixed.is_none()) {
        let again = if can_go.by_credential.len() > 1 { ", and likewise the others below" } else { "" };
        let what = match holds {
            Holds::Key => "the current key",
            Holds::Token => "a token (`keyward token new`)",
        };
        let credential = &record.credential;
        return format!("put {what} into n8n's credential {credential}, and run one of its nodes{again}");
    }
    let is_time = |reason: &&Reason| reason.code == "quiet" || reason.code == "unsettled";
    let first = mixed.or_else(|| can_go.reasons.iter().find(|reason| !is_time(reason))).or(can_go.reasons.first());
    first.map_or_else(String::new, |reason| {
        let about = if reason.binding.is_some() { format!("{}: ", who(reason)) } else { String::new() };
        let end = reason.end.split(IF_GONE).next().unwrap_or_default();
        format!("{about}{}", in_local_time(end, now))
    })
}

/// Who or what a reason is about, for people: its workflow where that has a name.
#[must_use]
pub fn who(reason: &Reason) -> String {
    let whole = || reason.text.split(" still send").next().and_then(|text| text.split(" sent it").next());
    reason.workflow_name.clone().unwrap_or_else(|| whole().unwrap_or_default().to_owned())
}

/// What stands above the reasons of old keys.
#[must_use]
pub fn title_of_reasons(old_keys: &[&OldKeySummary]) -> &'static str {
    if old_keys.iter().any(|old| old.is_kept()) {
        WHY_NOT
    } else if old_keys.iter().any(|old| old.can_go.answer == AnswerKind::NotProven) {
        WHAT_REMAINS
    } else {
        ACCEPTED
    }
}

/// Of how many kinds a headline tells.
const MOST_PARTS: usize = 3;

/// The headline of a key set none of whose nodes was seen.
pub const NOT_SEEN: &str = "no node was seen yet";

/// Where nothing is wrong and no old key is known.
pub const WELL: &str = "every node that was seen sends a good key";

/// Above what bars an old key.
pub const WHY_NOT: &str = "Why it cannot go, and what ends that:";

const WHAT_REMAINS: &str = "What would prove it:";

const ACCEPTED: &str = "What that rests on:";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_n8n_holds_tokens_nothing_is_changed_in_n8n() {
        let source = Some("file /run/key");
        assert_eq!(
            to_rotate(source, Holds::Key),
            "to rotate, put the new key into file /run/key and into n8n's credential"
        );
        let injects = to_rotate(source, Policy::Inject.into());
        assert_eq!(
            injects,
            "to rotate, put the new key into file /run/key; n8n's credentials hold tokens and stay as they are"
        );
        let reason = json!({
            "code": "no_good_use", "text": "", "binding": null, "address": null, "credential": null, "credential_id": null,
            "workflow_name": null, "end": "", "doubt": null, "accepted": null,
        });
        let can_go = json!({
            "answer": "not_seen", "text": "", "reasons": [reason], "doubts": [], "kinds": [], "by_credential": [], "basis": null,
        });
        let old = json!({
            "fingerprint": "0".repeat(32), "hint": null, "retired_by": "2026-01-01T00:00:00Z", "last_use": null,
            "can_go": can_go,
        });
        let old: OldKeySummary = serde_json::from_value(old).expect("an old key");
        let now = Timestamp::from_millis(0);
        assert!(next_step(&old, Holds::Key, now).ends_with("then put it into n8n's credential, and run a node"));
        assert!(next_step(&old, Holds::Token, now).ends_with("then run a node, whose credential holds a token"));
    }

    #[test]
    fn what_is_not_listed_is_counted_in_the_words_of_its_kind() {
        #[track_caller]
        fn check(code: &'static str, count: usize, expected: &str) {
            let kind =
                json!({ "code": code, "list": "reasons", "total": 20_000, "senders": 0, "nodes": 0, "refused": 0 });
            let kind: ReasonKind = serde_json::from_value(kind).expect("a kind");
            assert_eq!(of_left_out(&kind, count), expected);
        }
        check("still_sent", 9_900, "9,900 more still send it");
        check("still_sent", 1, "1 more still sends it");
        check("silent", 1, "1 more is not proven to send the new one");
        check("record_holds_it", 2, "2 more credentials hold it");
        check("later_kind", 2, "2 more of the kind `later_kind`");
    }
}
