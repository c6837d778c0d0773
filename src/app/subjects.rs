//! What there is to tell now: open incidents, rotations and problems, as subjects of notices.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::viewer::{Recorded, Viewer};
use crate::admin::views;
use crate::answers::incident::ListedIncident;
use crate::answers::key::KeyNames;
use crate::answers::old_key::{CanGo, OldKeySummary, ReasonKind, ReasonList};
use crate::answers::status::Set;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::{Role, RoleKind};
use crate::ledger::answer::AnswerKind;
use crate::ledger::bar_kind::BarKind;
use crate::notices::Topic;
use crate::notices::notifier::Observer;
use crate::notices::subject::{CAN_FINISH, CANNOT_GO, Member, NOT_PROVEN, Subject, SubjectKind};
use crate::problems::Problem;
use crate::problems::kind::ProblemKind;
use crate::telemetry::masked::mask_keys;
use crate::verdict::explain::{DiagnosisKind, Severity};
use crate::verdict::meaning::{meaning, remedy};

/// Finds the subjects of notices: incidents, unknown keys, rotations and problems.
pub(super) struct Subjects {
    viewer: Arc<Viewer>,
    began: Timestamp,
    recorded: Option<Recorded>,
    /// When n8n was last asked to be looked through.
    wanted: Option<Instant>,
}

impl Subjects {
    pub(super) fn new(viewer: Arc<Viewer>) -> Self {
        let began = viewer.shared.clock.now();
        Self { viewer, began, recorded: None, wanted: None }
    }

    /// Whether a request went well after the start, in that set or in any.
    fn has_been_well(&self, set: &str) -> bool {
        let look = self.viewer.look();
        let index = look.sets().find(|(_, name)| &***name == set).map(|(index, _)| index);
        let mut has_been_well = false;
        look.each(|binding, memory, _| {
            let is_of_set = index.is_none_or(|index| index == binding.set());
            has_been_well |= is_of_set && memory.well.is_some_and(|well| well > self.began);
        });
        has_been_well
    }

    /// Whether a set of that name is still there.
    fn has_set(&self, name: &str) -> bool {
        self.viewer.shared.reloader.ring().find_set(name).is_some()
    }

    fn is_problem_over(&self, subject: &Subject) -> bool {
        match ProblemKind::from_code(&subject.code) {
            Some(ProblemKind::CurrentKeyRefused | ProblemKind::QuotaUsedUp) => {
                !self.has_set(&subject.about) || self.has_been_well(&subject.about)
            }
            Some(ProblemKind::UpstreamUnreachable | ProblemKind::UpstreamFailing) => self.has_been_well(""),
            Some(ProblemKind::N8nUnreachable | ProblemKind::N8nKeyUnusable) => {
                let n8n = self.viewer.n8n.now();
                n8n.find(&subject.about).is_none_or(|n8n| n8n.seen().is_up())
            }
            Some(_) | None => self.viewer.shared.clock.now().since(self.began) >= LOOKED_AT,
        }
    }
}

impl Observer for Subjects {
    fn has_news(&mut self) -> bool {
        let recorded = self.viewer.recorded();
        let is_same = self.recorded.as_ref().is_some_and(|before| before.is_same(&recorded));
        self.recorded = Some(recorded);
        !is_same
    }

    fn subjects(&mut self) -> Vec<Subject> {
        if self.wanted.is_none_or(|wanted| wanted.elapsed() >= LOOK_AT_N8N) {
            self.viewer.want_looks();
            self.wanted = Some(Instant::now());
        }
        let shared = &self.viewer.shared;
        let look = self.viewer.look_with_audits();
        let known = look.keys().iter().map(|key| key.names.fingerprint).collect();
        let mut subjects = of_incidents(&views::open_incidents(&look), &known);
        if look.keys().iter().any(|key| matches!(key.role, Role::Previous { .. })) {
            let sets = views::sets(&look, shared.reloader.ring().rules(), &shared.reloader.tokens());
            subjects.extend(sets.iter().flat_map(|set| set.old_keys.iter().map(|old| of_rotation(set, old))));
        }
        subjects.extend(shared.problems().iter().map(of_problem));
        subjects
    }

    fn is_over(&self, subject: &Subject) -> bool {
        match subject.kind {
            SubjectKind::Problem => self.is_problem_over(subject),
            SubjectKind::Incident | SubjectKind::UnknownKey | SubjectKind::Rotation => {
                self.viewer.shared.store.is_read()
            }
        }
    }
}

// === Incidents ===

/// One subject for each set and known key. All others are one, for a caller may send a thousand keys that it invents.
fn of_incidents(incidents: &[ListedIncident], known: &HashSet<Fingerprint>) -> Vec<Subject> {
    let mut groups: BTreeMap<String, Vec<&ListedIncident>> = BTreeMap::new();
    for row in incidents {
        let kind = if is_of_unknown_key(row) { SubjectKind::UnknownKey } else { SubjectKind::Incident };
        let key = row.incident.key.fingerprint.filter(|key| known.contains(key));
        let key = key.map_or_else(|| "none".to_owned(), |key| key.to_string());
        groups.entry(format!("{}/{}/{key}", kind.code(), row.who.set)).or_default().push(row);
    }
    groups.into_iter().filter_map(|(id, group)| of_group(&id, &group)).collect()
}

fn of_group(id: &str, group: &[&ListedIncident]) -> Option<Subject> {
    let first = group.iter().min_by_key(|row| row.incident.opened)?;
    let code = most_frequent(group);
    let set = &first.who.set;
    let only = first.incident.key.fingerprint;
    let only = only.filter(|_| group.iter().all(|row| row.incident.key.fingerprint == only));
    let key = only.map(|fingerprint| {
        // A binding may have had no room for the hint.
        let hint = group.iter().find_map(|row| row.incident.key.hint.clone());
        KeyNames { fingerprint, hint }
    });
    let is_unknown = is_of_unknown_key(first);
    let mut members: Vec<_> = group.iter().map(|row| member(row)).collect();
    members.sort_by_key(|member| (member.since, member.number));
    // A mixed binding is one of whose senders one is stale.
    let kind = DiagnosisKind::from_code(if code == "mixed" { "stale_binding" } else { code });
    let steps = kind.map(|kind| remedy(kind, set)).unwrap_or_default();
    Some(Subject {
        id: id.into(),
        topic: if is_unknown { Topic::Key } else { Topic::Incident },
        kind: if is_unknown { SubjectKind::UnknownKey } else { SubjectKind::Incident },
        code: code.into(),
        set: Some(set.as_str().into()),
        about: Box::default(),
        severity: group.iter().map(|row| row.incident.severity).max().unwrap_or(Severity::Error),
        since: first.incident.opened,
        headline: headline(code, set, key.as_ref(), is_unknown),
        detail: kind.map(|kind| sentence(meaning(kind))).unwrap_or_default(),
        remedy: numbered(&steps),
        command: "keyward incidents".into(),
        key,
        members,
        reasons: Vec::new(),
        unnamed: 0,
        left: 0,
        total: 0,
    })
}

fn headline(code: &str, set: &str, key: Option<&KeyNames>, is_unknown: bool) -> String {
    let named = key.map(|key| format!(" {key}")).unwrap_or_default();
    if is_unknown {
        let keys = if key.is_some() { "a key that it does not know," } else { "keys that it does not know" };
        return format!("Set `{set}` gets {keys}{named}");
    }
    if matches!(code, "stale_binding" | "mixed") {
        return format!("The old key{named} of set `{set}` is still sent");
    }
    match DiagnosisKind::from_code(code) {
        Some(kind) => {
            let clause = meaning(kind).split(['.', ':']).next().unwrap_or_default();
            let with = key.map(|key| format!(" with {key}")).unwrap_or_default();
            format!("Requests to set `{set}`{with} fail ({clause})")
        }
        None => format!("Requests to set `{set}` are not well ({code})"),
    }
}

fn most_frequent<'i>(group: &[&'i ListedIncident]) -> &'i str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in group {
        *counts.entry(&row.incident.diagnosis).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or("", |(code, _)| code)
}

fn is_of_unknown_key(row: &ListedIncident) -> bool {
    let kind = DiagnosisKind::from_code(&row.incident.diagnosis);
    matches!(kind, Some(DiagnosisKind::UnlistedKey | DiagnosisKind::UnknownKeyRejected))
}

fn member(row: &ListedIncident) -> Member {
    Member {
        number: u64::from_str_radix(&row.who.binding, 16).unwrap_or_default(),
        who: row.who.in_words(),
        code: row.incident.diagnosis.clone(),
        since: Some(row.incident.opened),
        link: row.who.link.clone(),
    }
}

// === Rotations ===

fn of_rotation(set: &Set, old: &OldKeySummary) -> Subject {
    let name = &set.set;
    let current = set.keys.iter().find(|key| key.role == RoleKind::Current).map(|key| key.names.to_string());
    let current = current.unwrap_or_else(|| "no key".to_owned());
    let (code, headline) = match old.can_go.answer {
        AnswerKind::Yes => (CAN_FINISH, format!("The old key {} of set `{name}` can go", old.key)),
        answer @ (AnswerKind::No | AnswerKind::NotProven) => {
            let code = if answer == AnswerKind::No { CANNOT_GO } else { NOT_PROVEN };
            (code, format!("Set `{name}`: {current} has replaced {}, which cannot go yet", old.key))
        }
    };
    let mut detail = format!("{}. Can the old key go? {}", set.progress, sentence(&old.can_go.text));
    for assumed in old.can_go.assumes() {
        let _ = write!(detail, "\nIt is assumed: {assumed}");
    }
    let first = old.can_go.reasons.first().map(|reason| sentence(&reason.end)).unwrap_or_default();
    let remedy = match code {
        CAN_FINISH => format!("Revoke {} in OpenAI's dashboard.", old.key),
        _ => first,
    };
    Subject {
        id: format!("rotation/{name}/{}", old.key.fingerprint).into(),
        topic: Topic::Rotation,
        kind: SubjectKind::Rotation,
        code: code.into(),
        set: Some(name.as_str().into()),
        about: Box::default(),
        key: Some(old.key.clone()),
        severity: if code == CAN_FINISH { Severity::Fine } else { Severity::Warning },
        since: old.retired_by,
        headline,
        detail,
        remedy,
        command: format!("keyward rotation {name}").into(),
        members: Vec::new(),
        reasons: in_words(&old.can_go),
        unnamed: old.can_go.left_out().filter(|(kind, _)| is_named(kind)).map(|(_, count)| count).sum(),
        left: set.progress.total() - set.progress.confirmed - set.progress.acknowledged,
        total: set.progress.total(),
    }
}

/// What keeps an old key. That many callers are silent is said once: those who are still to come are in the list of the command.
fn in_words(can_go: &CanGo) -> Vec<String> {
    let is_silent = |code: &str| code == BarKind::Silent.code();
    let silent = can_go.kinds.iter().filter(|kind| kind.list == ReasonList::Reasons && is_silent(&kind.code));
    let others = can_go.reasons.iter().filter(|reason| !is_silent(&reason.code));
    let others = others.map(|reason| mask_keys(&reason.text).into_owned());
    let silent = match silent.map(|kind| kind.total).sum::<usize>() {
        0 => None,
        1 => Some("1 caller is not proven to send the new key yet".to_owned()),
        count => Some(format!("{count} callers are not proven to send the new key yet")),
    };
    others.chain(silent).collect()
}

/// Whether the reasons of that kind are named one by one.
fn is_named(kind: &ReasonKind) -> bool {
    kind.list == ReasonList::Reasons && kind.code != BarKind::Silent.code()
}

// === Problems ===

fn of_problem(problem: &Problem) -> Subject {
    let kind = problem.kind;
    let topic = match kind {
        ProblemKind::CurrentKeyRefused
        | ProblemKind::QuotaUsedUp
        | ProblemKind::KeyUnreadable
        | ProblemKind::KeyExpires
        | ProblemKind::TokensUnreadable
        | ProblemKind::FingerprintKeyLost => Topic::Key,
        ProblemKind::UpstreamUnreachable
        | ProblemKind::UpstreamFailing
        | ProblemKind::StateUnusable
        | ProblemKind::StoreFailing
        | ProblemKind::N8nUnreachable
        | ProblemKind::N8nKeyUnusable
        | ProblemKind::CertificateUnreadable
        | ProblemKind::CertificateEnds
        | ProblemKind::AdminTokenUnreadable
        | ProblemKind::LogFailing
        | ProblemKind::NoticesFailing
        | ProblemKind::BindingsFull
        | ProblemKind::TagUnreadable => Topic::Keyward,
    };
    let hit = problem.hit.map(|hit| match hit.requests {
        Some(requests) => format!("It hit {requests} requests of {} callers.", hit.bindings),
        None => format!("It hit {} callers.", hit.bindings),
    });
    Subject {
        id: format!("problem/{}/{}", kind.code(), problem.about).into(),
        topic,
        kind: SubjectKind::Problem,
        code: kind.code().into(),
        set: is_of_set(kind).then(|| problem.about.clone()).filter(|set| !set.is_empty()),
        about: problem.about.clone(),
        key: None,
        severity: kind.severity(),
        since: problem.since,
        headline: problem.what.trim_end_matches('.').to_owned(),
        detail: hit.unwrap_or_default(),
        remedy: problem.remedy.clone(),
        command: "keyward status".into(),
        members: Vec::new(),
        reasons: Vec::new(),
        unnamed: 0,
        left: 0,
        total: 0,
    }
}

/// Whether problems of that kind are about a set.
fn is_of_set(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::CurrentKeyRefused
            | ProblemKind::QuotaUsedUp
            | ProblemKind::KeyUnreadable
            | ProblemKind::TagUnreadable
    )
}

// === Words ===

/// A clause as a sentence.
fn sentence(clause: &str) -> String {
    let mut chars = clause.chars();
    let Some(first) = chars.next() else { return String::new() };
    let text = format!("{}{}", first.to_uppercase(), chars.as_str());
    if text.ends_with(['.', '!', '?']) { text } else { text + "." }
}

fn numbered(steps: &[String]) -> String {
    let line = |(number, step): (usize, &String)| format!("{number}. {step}");
    (1..).zip(steps).map(line).collect::<Vec<_>>().join("\n")
}

/// How often n8n is asked to be looked through while an old key is there.
const LOOK_AT_N8N: Duration = Duration::from_mins(1);

/// After that long, everything that needs no request was looked at.
const LOOKED_AT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
