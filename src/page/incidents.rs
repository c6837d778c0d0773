//! Pure. Incidents: who is or was not well, since when, and what to do about each kind.

use maud::{Markup, html};

use super::parts::{self, Sign, ago, badge};
use super::view::{Piece, Section, Tab, View};
use crate::answers::codebook::{meaning_of, steps_beside};
use crate::answers::incident::{Incident, Incidents, ListedIncident};
use crate::answers::words::{capitalised, counted, incident_from};
use crate::clock::Timestamp;
use crate::telemetry::palette::Tone;
use crate::telemetry::rows::shown;

/// The page. `state` is the one that was chosen, `refused` are the sets whose current key upstream refuses, `path` gives the address of the next page for a cursor.
#[must_use]
pub fn incidents(
    list: &Incidents,
    state: Option<&str>,
    refused: &[String],
    path: impl Fn(&str) -> String,
    now: Timestamp,
) -> View {
    let pieces = list.incidents.iter().map(|listed| piece(listed, now)).collect();
    let next = list.next.as_deref().map(path);
    let shown = list.incidents.len();
    let sections = vec![
        Section::whole("choice", choice(list, state)),
        Section::around("list", pieces, |rows| table(&rows, shown)),
        Section::whole("remedies", remedies(&list.incidents, refused)),
        Section::whole("pages", html! { div #pages { (parts::pager(shown, list.total, next.as_deref())) } }),
    ];
    View { title: "Incidents".to_owned(), tab: Tab::Incidents, sections }
}

fn choice(list: &Incidents, state: Option<&str>) -> Markup {
    let link = |name: &str, path: &str, is_here: bool| {
        html! { li { a href=(path) aria-current=[is_here.then_some("true")] { (name) } } }
    };
    html! {
        section #choice.card {
            h1 { "Incidents" }
            ul.choice {
                (link("Open", "/incidents?state=open", state == Some("open")))
                (link("Closed", "/incidents?state=closed", state == Some("closed")))
                (link("All", "/incidents", state.is_none()))
            }
            p aria-live="polite" { b { (parts::thousands(list.total)) } " found" }
        }
    }
}

fn table(rows: &Markup, shown: usize) -> Markup {
    html! {
        section #list.card aria-label="Incidents" {
            @if shown == 0 { (parts::empty("There is none: all is well.")) } @else {
                table {
                    thead {
                        tr {
                            th scope="col" { "Who" } th scope="col" { "What is wrong" } th.wide scope="col" { "Key" }
                            th scope="col" { "Since" } th.wide scope="col" { "Requests" } th scope="col" { "It is" }
                        }
                    }
                    tbody #rows data-keep { (rows) }
                }
            }
        }
    }
}

fn piece(listed: &ListedIncident, now: Timestamp) -> Piece {
    let incident = &listed.incident;
    let (id, from) = (
        format!("i-{}", incident.incident),
        parts::where_they_differ(&listed.senders, || incident_from(incident, &listed.senders)),
    );
    let (tone, _) = parts::of_severity(incident.severity);
    let html = html! {
        tr id=(id) data-state=(if incident.closed.is_some() { "closed" } else { "open" }) {
            th scope="row" { (parts::who(&listed.who)) " " (parts::editor(listed.who.link.as_deref(), &listed.who.in_few_words())) }
            td {
                (parts::code_in(tone, &incident.diagnosis))
                @if !from.is_empty() { " " span.note { "from " (from) } }
                @if let Some(path) = &incident.path { " " span.note { "for " code { (shown(path)) } } }
            }
            td.wide { (parts::key(&incident.key)) }
            td { (ago(incident.opened, now)) }
            td.wide { (incident.sightings) }
            td { (end(incident, now)) }
        }
    };
    Piece { id, html: html.into_string() }
}

/// Whether it is open, or what closed it.
fn end(incident: &Incident, now: Timestamp) -> Markup {
    let (tone, sign) = parts::of_severity(incident.severity);
    match &incident.closed {
        None => badge(tone, sign, "open"),
        Some(closed) => html! {
            (badge(Tone::Good, Sign::Tick, "closed")) " " span.note { (ago(closed.at, now)) " by " (closed.by.code().replace('_', " ")) }
        },
    }
}

/// An incident on the page of its node.
#[must_use]
pub fn in_a_line(incident: &Incident, now: Timestamp) -> Markup {
    let requests = counted(usize::try_from(incident.sightings).unwrap_or(usize::MAX), "request");
    html! {
        (parts::diagnosis(&incident.diagnosis)) " since " (ago(incident.opened, now)) ", " (requests) " with " (parts::key(&incident.key))
        @if let Some(path) = &incident.path { " for " code { (shown(path)) } }
        @if let Some(id) = &incident.execution_id { ", the last in " (parts::execution(id)) }
        ". " (end(incident, now))
    }
}

/// What each kind means and what to do about it: what matters most first.
fn remedies(listed: &[ListedIncident], refused: &[String]) -> Markup {
    let mut kinds: Vec<(&Incident, &str)> = Vec::new();
    for one in listed.iter().filter(|one| one.incident.closed.is_none()) {
        if !kinds.iter().any(|(known, _)| known.diagnosis == one.incident.diagnosis) {
            kinds.push((&one.incident, &one.who.set));
        }
    }
    kinds.sort_by_key(|(incident, _)| std::cmp::Reverse(incident.severity));
    html! {
        section #remedies hidden[kinds.is_empty()] aria-label="What to do" {
            @for (incident, set) in kinds {
                article.card {
                    h2 { (parts::severity(incident.severity)) " " code { (incident.diagnosis) } }
                    p { (capitalised(meaning_of(&incident.diagnosis))) "." }
                    (parts::steps(&steps_beside(&incident.diagnosis, set, &[], refused)))
                }
            }
        }
    }
}
