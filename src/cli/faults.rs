//! What is wrong now as people read it: problems, and open incidents by their diagnosis, each with what to do.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::explain::numbered;
use super::output::{Line, Tone};
use crate::answers::codebook::{meaning_of, steps_beside};
use crate::answers::incident::ListedIncident;
use crate::answers::key::PerhapsKey;
use crate::answers::sender::Sender;
use crate::answers::status::{OpenProblem, Set};
use crate::answers::who::Who;
use crate::answers::words::{ago, counted, incident_from, nodes_in_words, short_ago, short_node};
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::keys::set::RoleKind;
use crate::ledger::bar_kind::BarKind;
use crate::problems::kind::ProblemKind;
use crate::telemetry::local_clock::in_local_time;
use crate::verdict::explain::{DiagnosisKind, Severity};

/// What is known beside incidents, and how much is told of them.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// What is wrong beside single callers.
    pub(super) problems: &'a [OpenProblem],
    pub(super) sets: &'a [Set],
    /// What n8n's Base URL should be.
    pub(super) base_url: &'a str,
    /// How many callers of a kind are told.
    pub(super) most: usize,
    pub(super) now: Timestamp,
}

/// Each problem: what is wrong, since when, whom it hit, and what to do.
pub(super) fn of_problems(problems: &[OpenProblem], now: Timestamp) -> Vec<Line> {
    problems.iter().flat_map(|problem| of_problem(problem, now)).collect()
}

/// What to do next where a problem keeps requests from being answered.
pub(super) fn next_of_problems(problems: &[OpenProblem]) -> Option<String> {
    let first = problems.iter().find(|problem| problem.severity == Severity::Error)?;
    let after = match &first.code {
        Coded::Known(ProblemKind::UpstreamFailing) => "it is over after three good answers in a row",
        Coded::Known(_) | Coded::Unknown(_) => "`keyward status` says when it is over",
    };
    Some(format!("do what {} says above; {after}", first.code.code()))
}

fn of_problem(problem: &OpenProblem, now: Timestamp) -> Vec<Line> {
    let code = problem.code.code();
    let about = problem.about.as_ref().map_or_else(String::new, |about| format!(" ({about})"));
    let what = in_local_time(&problem.text, now).into_owned();
    let mut facts = vec![format!("began {}", short_ago(problem.since, now))];
    let callers = problem.bindings.map(|count| counted(count, "caller"));
    match (problem.requests, callers) {
        (Some(requests), callers) => {
            let requests = counted(usize::try_from(requests).unwrap_or(usize::MAX), "request");
            facts.push(requests + &callers.map_or_else(String::new, |callers| format!(" of {callers}")));
        }
        (None, Some(callers)) => facts.push(format!("{callers} before keyward was restarted")),
        (None, None) => {}
    }
    facts.extend(problem.last.map(|last| format!("the last {}", short_ago(last, now))));
    vec![
        Line::toned(tone(problem.severity), code).and(format!("{about}: {what}")).hanging(2),
        Line::from(facts.join(", ")).within(4),
        Line::from(format!("-> {}", problem.remedy)).within(2).hanging(3),
    ]
}

/// The same in a row for each problem, and for each kind of incident with some of those that it hits: where there is little room.
pub(super) fn in_brief(problems: &[OpenProblem], incidents: &[ListedIncident], around: &Around<'_>) -> Vec<Line> {
    let mut lines: Vec<_> = problems.iter().map(problem_in_brief).collect();
    let kind = |group: &Vec<&ListedIncident>| {
        let incident = &group.first()?.incident;
        let mut whos: Vec<_> = group.iter().map(|listed| listed.who.in_few_words()).collect();
        let more = whos.len().saturating_sub(MOST_IN_BRIEF);
        whos.truncate(MOST_IN_BRIEF);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let line = Line::toned(tone(incident.severity), incident.diagnosis.clone()).hanging(2);
        Some(line.and(format!(" ({}): {}{more}", group.len(), whos.join("; "))))
    };
    lines.extend(by_kind(incidents, around).iter().filter_map(kind));
    lines
}

/// A problem in a row: what it is called, and what is wrong.
pub(super) fn problem_in_brief(problem: &OpenProblem) -> Line {
    let title = match &problem.code {
        Coded::Known(kind) => format!(": {}", kind.title()),
        Coded::Unknown(_) => String::new(),
    };
    Line::toned(tone(problem.severity), problem.code.code()).and(title).hanging(2)
}

/// Every open incident: those of one kind together, and of those, the nodes of a workflow that have all else in common.
pub(super) fn in_words(incidents: &[ListedIncident], around: &Around<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for group in by_kind(incidents, around) {
        let Some(first) = group.first() else { continue };
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(title(first, group.len(), around));
        let explained = around.explains(first);
        if explained.is_some() && group.len() > around.most {
            lines.push(Line::from(format!("{}: `keyward incidents` lists them", crowd(&group))).within(2).hanging(2));
        } else {
            for same in grouped(&group[..group.len().min(around.most)], is_alike) {
                lines.extend(of_group(&same, around));
            }
            let more = group.len().saturating_sub(around.most);
            if more > 0 {
                lines.push(Line::from(format!("and {more} more: `keyward incidents` lists them")).within(2).hanging(2));
            }
        }
        let steps = explained.map_or_else(|| around.steps(first), |step| vec![step]);
        lines.extend(numbered(&steps).map(|step| step.within(2)));
    }
    lines
}

impl Around<'_> {
    /// What ends an incident that a problem explains; nothing where none does.
    fn explains(&self, listed: &ListedIncident) -> Option<String> {
        let is_open = |kind: ProblemKind| {
            self.problems.iter().any(|problem| problem.code == Coded::Known(kind) && is_about(problem, listed))
        };
        let (refused, unreadable) = (ProblemKind::CurrentKeyRefused, ProblemKind::KeyUnreadable);
        let is_strange = is(listed, DiagnosisKind::UnlistedKey) || is(listed, DiagnosisKind::UnknownKeyRejected);
        if is(listed, DiagnosisKind::CurrentKeyRejected) && !self.is_of_old_key(listed) && is_open(refused) {
            return Some(format!("see {} above", refused.code()));
        }
        if (is(listed, DiagnosisKind::StaleBinding) || listed.incident.diagnosis == MIXED) && is_open(refused) {
            return Some(format!(
                "do what {} says above first, and leave what sends the old key as it is until then: the current key does not work",
                refused.code()
            ));
        }
        (is_strange && !self.has_current_key(listed) && is_open(unreadable)).then(|| {
            format!(
                "do what {} says above first: keyward knows no current key, so that this key may well be the right one",
                unreadable.code()
            )
        })
    }

    /// What to do about it, step by step.
    fn steps(&self, listed: &ListedIncident) -> Vec<String> {
        if self.is_of_old_key(listed) && is(listed, DiagnosisKind::CurrentKeyRejected) {
            return vec![MEND_OLD_KEY.to_owned()];
        }
        let mut steps = steps_beside(&listed.incident.diagnosis, &listed.who.set, &listed.senders, &[]);
        if is(listed, DiagnosisKind::StaleBinding) && self.is_current_key_untried(listed) {
            steps.insert(0, TRY_FIRST.to_owned());
        }
        if is(listed, DiagnosisKind::WrongPath) {
            steps.push(format!(
                "The Base URL of this keyward is {} (from another machine, with its own name).",
                self.base_url
            ));
        }
        steps
    }

    /// Whether the key of an incident was replaced since.
    fn is_of_old_key(&self, listed: &ListedIncident) -> bool {
        let key = listed.incident.key.fingerprint;
        let mut keys = self.set_of(listed).flat_map(|set| &set.keys);
        keys.any(|known| known.role == RoleKind::Previous && Some(known.names.fingerprint) == key)
    }

    fn has_current_key(&self, listed: &ListedIncident) -> bool {
        self.set_of(listed).flat_map(|set| &set.keys).any(|known| known.role == RoleKind::Current)
    }

    /// When the old key of an incident was replaced.
    fn replaced(&self, listed: &ListedIncident) -> Option<Timestamp> {
        let key = listed.incident.key.fingerprint;
        let mut old = self.set_of(listed).flat_map(|set| &set.old_keys);
        old.find(|old| Some(old.key.fingerprint) == key).map(|old| old.retired_by)
    }

    /// Whether nothing shows yet that upstream takes the current key.
    fn is_current_key_untried(&self, listed: &ListedIncident) -> bool {
        let reasons = self.set_of(listed).flat_map(|set| &set.old_keys).flat_map(|old| old.can_go.all_reasons());
        let mut untried = reasons.filter(|reason| reason.code == BarKind::NoGoodUse.code());
        untried.any(|reason| reason.accepted.is_none())
    }

    fn set_of(&self, listed: &ListedIncident) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(|set| set.set == listed.who.set)
    }
}

fn is(listed: &ListedIncident, kind: DiagnosisKind) -> bool {
    listed.incident.diagnosis == kind.code()
}

fn is_about(problem: &OpenProblem, listed: &ListedIncident) -> bool {
    problem.about.as_ref().is_none_or(|about| *about == listed.who.set)
}

/// How many they are: `20 nodes in 20 workflows`.
fn crowd(group: &[&ListedIncident]) -> String {
    let workflows: BTreeSet<_> = group.iter().filter_map(|listed| listed.who.workflow_id.as_deref()).collect();
    match workflows.len() {
        0 => counted(group.len(), "caller"),
        some => format!("{} in {}", counted(group.len(), "node"), counted(some, "workflow")),
    }
}

fn title(first: &ListedIncident, count: usize, around: &Around<'_>) -> Line {
    let code = &first.incident.diagnosis;
    let line = Line::toned(tone(first.incident.severity), code.clone()).and(format!(" ({count})")).hanging(2);
    let meaning = match (DiagnosisKind::from_code(code), first.incident.severity) {
        (Some(DiagnosisKind::CurrentKeyRejected), _) if around.is_of_old_key(first) => OLD_KEY_REFUSED,
        (Some(DiagnosisKind::StaleBinding), Severity::Error) => STALE_AND_REFUSED,
        (Some(DiagnosisKind::StaleBinding), _) => STALE_AND_TAKEN,
        (Some(DiagnosisKind::UnlistedKey), _) => UNLISTED,
        _ => meaning_of(code),
    };
    if meaning.is_empty() { line } else { line.and(format!(": {meaning}")) }
}

fn of_group(same: &[&ListedIncident], around: &Around<'_>) -> Vec<Line> {
    let Some(first) = same.first() else { return Vec::new() };
    let now = around.now;
    let whos: Vec<_> = same.iter().map(|listed| &listed.who).collect();
    let incidents = same.iter().map(|listed| &listed.incident);
    let opened = incidents.clone().map(|incident| incident.opened).min().unwrap_or(now);
    let last = incidents.clone().map(|incident| incident.last).max().unwrap_or(now);
    let is_mixed = first.incident.diagnosis == MIXED;
    let mut facts = vec![format!("first {}", short_ago(opened, now))];
    let requests: u64 = incidents.clone().map(|incident| incident.sightings).sum();
    facts.push(counted(usize::try_from(requests).unwrap_or(usize::MAX), "request"));
    if last > opened {
        facts.push(format!("the last {}", short_ago(last, now)));
    }
    let key = first.incident.key.short();
    facts.push(match first.incident.key.fingerprint {
        Some(_) if is_mixed => match good_key(first) {
            Some(good) => format!("key {good}, old key {key} as well"),
            None => format!("old key {key} beside a good one"),
        },
        Some(_) => format!("key {key}"),
        None if first.incident.diagnosis.starts_with("malformed") => "a key that cannot be read".to_owned(),
        None => "no key".to_owned(),
    });
    facts.extend(first.incident.path.as_ref().map(|path| format!("for {path}")));
    facts.extend((first.who.set != DEFAULT).then(|| format!("set {}", first.who.set)));
    let mut lines = vec![
        Line::toned(Tone::Title, nodes_in_words(&whos)).within(2).hanging(2),
        Line::from(facts.join(", ")).within(4),
    ];
    lines.extend(places(&whos, &from(first)).into_iter().map(|place| place.within(4)));
    if is_mixed {
        let replaced = around.replaced(first);
        let counts = |sender: &&Sender| replaced.is_none_or(|replaced| sender.last >= replaced);
        let senders = same.iter().flat_map(|listed| &listed.senders).filter(counts);
        lines.extend(senders.map(|sender| of_sender(sender, now).within(4)));
    }
    lines
}

/// The good key that a mixed binding sent last.
fn good_key(listed: &ListedIncident) -> Option<String> {
    let is_good = |sender: &&Sender| matches!(sender.role, Some(RoleKind::Current | RoleKind::Next | RoleKind::Token));
    let last = listed.senders.iter().filter(is_good).max_by_key(|sender| sender.last)?;
    Some(PerhapsKey { fingerprint: Some(last.key.fingerprint), hint: last.key.hint.clone() }.short())
}

/// From where an incident came: what sent no key that can be told apart, from where its binding was seen.
fn from(listed: &ListedIncident) -> String {
    match listed.incident.key.fingerprint {
        Some(_) => incident_from(&listed.incident, &listed.senders),
        None => listed.who.peer.clone(),
    }
}

/// Where to find them: the credential, from where they sent, the bindings by which `keyward ack` takes them, and the links
/// to n8n's editor.
pub(super) fn places(whos: &[&Who], from: &str) -> Vec<Line> {
    let first = whos.first();
    let credential = first.and_then(|who| who.credential.as_ref());
    let mut found = Line::default().hanging(2);
    if let Some(credential) = credential {
        found = found.and(format!("credential {credential}  "));
    }
    if !from.is_empty() {
        found = found.and(format!("from {from}  "));
    }
    let ids: Vec<_> = whos.iter().map(|who| who.short_id()).collect();
    let found = found.and_toned(Tone::Aside, format!("[{}]", ids.join(" ")));
    [found].into_iter().chain(links(whos)).collect()
}

/// A link for each node, in the order in which [`nodes_in_words`] names them: with its name, where there are several. Of
/// many, how many more there are.
fn links(whos: &[&Who]) -> Vec<Line> {
    let mut linked: Vec<(&str, &Who)> = Vec::new();
    for who in whos.iter().copied().rev() {
        if let Some(link) = who.link.as_deref()
            && linked.iter().all(|(known, _)| *known != link)
        {
            linked.push((link, who));
        }
    }
    if let [(link, _)] = *linked {
        return vec![Line::from(link.to_owned())];
    }
    let named = |(link, who): &(&str, &Who)| {
        let label = short_node(who).map_or_else(String::new, |node| format!("{node}: "));
        Line::from(format!("{label}{link}")).hanging(2)
    };
    let more = linked.len().saturating_sub(MOST_LINKS);
    let more = (more > 0).then(|| Line::from(format!("and {more} more {}", if more == 1 { "node" } else { "nodes" })));
    linked.iter().take(MOST_LINKS).map(named).chain(more).collect()
}

fn is_alike(one: &ListedIncident, other: &ListedIncident) -> bool {
    let about = |listed: &ListedIncident| {
        let who = &listed.who;
        let from = from(listed);
        (who.workflow_id.clone(), who.instance.clone(), who.set.clone(), who.credential.clone(), from)
    };
    let is_of_workflow = one.who.workflow_id.is_some();
    let of_path = |listed: &ListedIncident| (listed.incident.key.clone(), listed.incident.path.clone());
    is_of_workflow && about(one) == about(other) && of_path(one) == of_path(other)
}

fn of_sender(sender: &Sender, now: Timestamp) -> Line {
    let role = sender.role.map_or_else(String::new, |role| format!("{} key ", role.code()));
    let address = sender.address.as_deref().unwrap_or("an address for which there was no room");
    let another = if sender.another_n8n { " (another n8n)" } else { "" };
    let (first, last) = (ago(sender.first, now), ago(sender.last, now));
    Line::from(format!("- {role}{} from {address}{another}, first {first}, last {last}", sender.key))
}

/// How many incidents there are of each kind: `2 incidents are open: 1 stale_binding, 1 quota`.
pub(super) fn in_short(incidents: &[ListedIncident]) -> String {
    let all: Vec<_> = incidents.iter().collect();
    let kinds = in_order(grouped(&all, |one, other| one.incident.diagnosis == other.incident.diagnosis));
    let of_kind = |kind: &Vec<&ListedIncident>| {
        kind.first().map_or_else(String::new, |first| format!("{} {}", kind.len(), first.incident.diagnosis))
    };
    let kinds: Vec<_> = kinds.iter().map(of_kind).collect();
    let are = if incidents.len() == 1 { "is" } else { "are" };
    format!("{} {are} open: {}", counted(incidents.len(), "incident"), kinds.join(", "))
}

/// The tone of what matters so much.
pub(super) fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Doubtful,
        Severity::Fine => Tone::Good,
    }
}

/// Those of one diagnosis together: what matters most first, and of that what hits most.
fn by_kind<'l>(incidents: &'l [ListedIncident], around: &Around<'_>) -> Vec<Vec<&'l ListedIncident>> {
    let all: Vec<_> = incidents.iter().collect();
    let kind = |listed: &ListedIncident| {
        let incident = &listed.incident;
        (incident.diagnosis.clone(), incident.severity, around.is_of_old_key(listed), around.explains(listed))
    };
    in_order(grouped(&all, |one, other| kind(one) == kind(other)))
}

fn in_order(mut kinds: Vec<Vec<&ListedIncident>>) -> Vec<Vec<&ListedIncident>> {
    kinds.sort_by_key(|kind| Reverse((kind.first().map(|first| first.incident.severity), kind.len())));
    kinds
}

/// Those that are alike together, in the order in which the first of each came.
pub(super) fn grouped<'l, T>(listed: &[&'l T], is_alike: impl Fn(&T, &T) -> bool) -> Vec<Vec<&'l T>> {
    let mut groups: Vec<Vec<&'l T>> = Vec::new();
    for one in listed.iter().copied() {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| is_alike(first, one))) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// How many callers of a kind are named in a row.
const MOST_IN_BRIEF: usize = 3;

/// How many nodes of a row are linked to.
const MOST_LINKS: usize = 8;

/// The set that needs no name.
const DEFAULT: &str = "default";

/// The diagnosis of a binding that is well, but behind which another sender still sends an old key.
const MIXED: &str = crate::ledger::standing::StandingKind::Mixed.code();

const OLD_KEY_REFUSED: &str = "the old key, which OpenAI refuses";

const MEND_OLD_KEY: &str = "Put the new key into n8n's credential, and run a node that uses it.";

const TRY_FIRST: &str = "Try the current key first, which was never seen to work: `keyward check --online`.";

const STALE_AND_TAKEN: &str = "the node sends a previous key, which OpenAI still takes";

const STALE_AND_REFUSED: &str = "the node sends a previous key, which brought no good answer, or whose grace is over";

const UNLISTED: &str = "the key is in no set, and OpenAI takes it";
