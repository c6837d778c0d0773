//! What is wrong now as people read it: problems, and open incidents by their diagnosis, each with what to do.

use std::cmp::Reverse;

use super::explain::numbered;
use super::output::{Line, Tone};
use crate::answers::codebook::{meaning_of, steps_of};
use crate::answers::incident::ListedIncident;
use crate::answers::sender::Sender;
use crate::answers::status::OpenProblem;
use crate::answers::who::Who;
use crate::answers::words::{ago, counted, incident_from, nodes_in_words, short_ago, short_node};
use crate::clock::Timestamp;
use crate::telemetry::local_clock::in_local_time;
use crate::verdict::explain::Severity;

/// Each problem: what is wrong, since when, whom it hit, and what to do.
pub(super) fn of_problems(problems: &[OpenProblem], now: Timestamp) -> Vec<Line> {
    problems.iter().flat_map(|problem| of_problem(problem, now)).collect()
}

fn of_problem(problem: &OpenProblem, now: Timestamp) -> Vec<Line> {
    let code = problem.code.code();
    let about = problem.about.as_ref().map_or_else(String::new, |about| format!(" ({about})"));
    let what = in_local_time(&problem.text, now).into_owned();
    let mut facts = vec![format!("since {}", short_ago(problem.since, now))];
    if let Some(requests) = problem.requests {
        let requests = counted(usize::try_from(requests).unwrap_or(usize::MAX), "request");
        let bindings = problem.bindings.map_or_else(String::new, |count| format!(" of {}", counted(count, "caller")));
        facts.push(format!("{requests}{bindings}"));
    }
    facts.extend(problem.last.map(|last| format!("the last {}", short_ago(last, now))));
    vec![
        Line::toned(tone(problem.severity), code).and(format!("{about}: {what}")).hanging(2),
        Line::from(facts.join(", ")).within(4),
        Line::from(format!("-> {}", problem.remedy)).within(2).hanging(3),
    ]
}

/// Every open incident: those of one kind together, and of those, the nodes of a workflow that have all else in common.
pub(super) fn in_words(incidents: &[ListedIncident], now: Timestamp) -> Vec<Line> {
    let mut lines = Vec::new();
    for group in by_kind(incidents) {
        let Some(first) = group.first() else { continue };
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(title(first, group.len()));
        for same in grouped(&group, is_alike) {
            lines.extend(of_group(&same, now));
        }
        let steps = steps_of(&first.incident.diagnosis, &first.who.set);
        lines.extend(numbered(&steps).map(|step| step.within(2)));
    }
    lines
}

fn title(first: &ListedIncident, count: usize) -> Line {
    let code = &first.incident.diagnosis;
    let line = Line::toned(tone(first.incident.severity), code.clone()).and(format!(" ({count})")).hanging(2);
    match meaning_of(code) {
        "" => line,
        meaning => line.and(format!(": {meaning}")),
    }
}

fn of_group(same: &[&ListedIncident], now: Timestamp) -> Vec<Line> {
    let Some(first) = same.first() else { return Vec::new() };
    let whos: Vec<_> = same.iter().map(|listed| &listed.who).collect();
    let incidents = same.iter().map(|listed| &listed.incident);
    let opened = incidents.clone().map(|incident| incident.opened).min().unwrap_or(now);
    let last = incidents.clone().map(|incident| incident.last).max().unwrap_or(now);
    let requests: u64 = incidents.clone().map(|incident| incident.sightings).sum();
    let mut facts = vec![
        format!("first {}", short_ago(opened, now)),
        counted(usize::try_from(requests).unwrap_or(usize::MAX), "request"),
    ];
    if last > opened {
        facts.push(format!("the last {}", short_ago(last, now)));
    }
    facts.push(match first.incident.key.fingerprint {
        Some(_) => format!("key {}", first.incident.key.short()),
        None => "no key".to_owned(),
    });
    facts.extend((first.who.set != DEFAULT).then(|| format!("set {}", first.who.set)));
    let mut lines = vec![
        Line::toned(Tone::Title, nodes_in_words(&whos)).within(2).hanging(2),
        Line::from(facts.join(", ")).within(4),
    ];
    lines.extend(
        places(&whos, &incident_from(&first.incident, &first.senders)).into_iter().map(|place| place.within(4)),
    );
    if first.incident.diagnosis == MIXED {
        lines.extend(same.iter().flat_map(|listed| &listed.senders).map(|sender| of_sender(sender, now).within(4)));
    }
    lines
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
        let from = incident_from(&listed.incident, &listed.senders);
        (who.workflow_id.clone(), who.instance.clone(), who.set.clone(), who.credential.clone(), from)
    };
    let is_of_workflow = one.who.workflow_id.is_some();
    is_of_workflow && about(one) == about(other) && one.incident.key == other.incident.key
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
    let kinds = by_kind(incidents);
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
fn by_kind(incidents: &[ListedIncident]) -> Vec<Vec<&ListedIncident>> {
    let all: Vec<_> = incidents.iter().collect();
    let mut kinds = grouped(&all, |one, other| one.incident.diagnosis == other.incident.diagnosis);
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

/// How many nodes of a row are linked to.
const MOST_LINKS: usize = 8;

/// The set that needs no name.
const DEFAULT: &str = "default";

/// The diagnosis of a binding that is well, but behind which another sender still sends an old key.
const MIXED: &str = crate::ledger::standing::StandingKind::Mixed.code();
