//! Pure. One node, or another client: how it stands, what to do, which keys it sent from where, its incidents and executions.

use maud::{Markup, html};

use super::incidents;
use super::parts::{self, ago, perhaps_ago};
use super::view::{Section, Tab, View};
use crate::answers::binding::{KeyUse, WholeBinding};
use crate::answers::codebook::{meaning_of, steps_beside};
use crate::answers::incident::ListedIncident;
use crate::answers::sender::Sender;
use crate::answers::words::{capitalised, note, rhythm, state};
use crate::clock::Timestamp;
use crate::ledger::standing::StandingKind;

/// The page. `incidents` are its own, the one that opened last first; `refused` are the sets whose current key upstream refuses.
#[must_use]
pub fn node(whole: &WholeBinding, incidents: &[ListedIncident], refused: &[String], now: Timestamp) -> View {
    let row = &whole.binding.row;
    let sections = vec![
        Section::whole("node", head(whole, now)),
        Section::whole("todo", todo(whole, refused)),
        Section::whole("keys", keys(&whole.uses, whole.other_keys, now)),
        Section::whole("senders", senders(&row.senders, now)),
        Section::whole("incidents", past(incidents, now)),
        Section::whole("executions", executions(whole, now)),
    ];
    View { title: row.who.in_few_words().chars().take(LONGEST_TITLE).collect(), tab: Tab::Nodes, sections }
}

fn head(whole: &WholeBinding, now: Timestamp) -> Markup {
    let binding = &whole.binding;
    let row = &binding.row;
    let (who, note) = (&row.who, note(row, now));
    html! {
        section #node.card.answer.(parts::class(parts::tone_of(&row.standing))) data-state=(state(&row.standing)) {
            p.crumb { a href="/nodes" { "Nodes" } @if let Some(workflow) = &who.workflow_id {
                " / " a href=(format!("/nodes?workflow={}", parts::encoded(workflow))) {
                    (parts::name(who.workflow_name.as_ref().unwrap_or(workflow)))
                }
            } }
            h1 {
                (parts::name(who.node_name.as_ref().or(who.node_id.as_ref()).unwrap_or(&who.who))) " "
                (parts::editor(who.link.as_deref(), &who.in_few_words()))
            }
            p.said { (parts::state(&row.standing)) @if !note.is_empty() { " " (note) } }
            dl.facts {
                (fact("Key sent last", &parts::key(&row.key)))
                (fact("Seen", &perhaps_ago(binding.last, now)))
                (fact("First seen", &perhaps_ago(binding.first, now)))
                (fact("Usually", &html! { (rhythm(row.rhythm.as_ref())) }))
                (fact("Requests", &html! { (binding.sightings) }))
                (fact("Key set", &html! { (who.set) }))
                @if let Some(credential) = &who.credential { (fact("Credential in n8n", &parts::name(credential))) }
                @if let Some(instance) = &who.instance { (fact("n8n", &parts::name(instance))) }
                @if let Some(node) = &who.node_id { (fact("Node id", &parts::name(node))) }
                (fact("Client", &html! {
                    (who.client) @if let Some(version) = &binding.client_version { " " (parts::name(version)) }
                }))
                (fact("Address", &html! { (who.peer) }))
                (fact("Binding", &html! { code { (who.short_id()) } }))
            }
        }
    }
}

fn fact(what: &str, value: &Markup) -> Markup {
    html! { div { dt { (what) } dd { (value) } } }
}

/// What is wrong now and what to do, and by which command you say that it is dealt with.
fn todo(whole: &WholeBinding, refused: &[String]) -> Markup {
    let row = &whole.binding.row;
    let mixed = row.standing.state == Some(StandingKind::Mixed);
    let code = row.incident.as_ref().map(|incident| incident.diagnosis.as_str());
    let code = code.or(mixed.then_some(StandingKind::Mixed.code()));
    let is_silent = row.standing.state == Some(StandingKind::Silent) && row.standing.acknowledged.is_none();
    html! {
        section #todo.card hidden[code.is_none() && !is_silent] {
            @if let Some(code) = code {
                h2 { "What is wrong, and what to do" }
                p { b { (capitalised(meaning_of(code))) } " " code { (code) } }
                (parts::steps(&steps_beside(code, &row.who.set, &row.senders, refused)))
                p { "Dealt with elsewhere, or the workflow is gone: " (parts::command(&ack(whole))) }
            } @else if is_silent {
                h2 { "What to do" }
                p { "Run it in n8n: its next request shows which key it sends." }
                p { "The workflow is gone: " (parts::command(&ack(whole))) }
            }
        }
    }
}

fn ack(whole: &WholeBinding) -> String {
    format!("keyward ack {}", whole.binding.row.who.short_id())
}

fn keys(uses: &[KeyUse], others: u64, now: Timestamp) -> Markup {
    html! {
        section #keys.card aria-labelledby="keys-title" {
            h2 #keys-title { "Keys that it sent" }
            table {
                thead {
                    tr {
                        th scope="col" { "Key" } th scope="col" { "Verdict" } th.wide scope="col" { "Diagnosis" }
                        th.wide scope="col" { "First" } th scope="col" { "Last" } th.wide scope="col" { "Requests" }
                    }
                }
                tbody {
                    @for used in uses {
                        tr {
                            th scope="row" { (parts::key(&used.key)) }
                            td { (used.verdict) } td.wide { (parts::diagnosis(&used.diagnosis)) }
                            td.wide { (ago(used.first, now)) } td { (ago(used.last, now)) } td.wide { (used.sightings) }
                        }
                    }
                }
            }
            @if others > 0 { p { "And " (others) " with other keys, for which there was no room." } }
        }
    }
}

fn senders(senders: &[Sender], now: Timestamp) -> Markup {
    html! {
        section #senders.card hidden[senders.is_empty()] aria-labelledby="senders-title" {
            h2 #senders-title { "From where" }
            table {
                thead {
                    tr {
                        th scope="col" { "Address" } th scope="col" { "Key" } th scope="col" { "It is" }
                        th.wide scope="col" { "First" } th scope="col" { "Last" }
                    }
                }
                tbody { @for sender in senders { (of_sender(sender, now)) } }
            }
        }
    }
}

fn of_sender(sender: &Sender, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" {
                (sender.address.as_deref().unwrap_or("an address for which there was no room"))
                @if sender.another_n8n { " (another n8n)" }
            }
            td { code.key { (sender.key.short()) } }
            td { (sender.role.map_or("not known", |role| role.code())) }
            td.wide { (ago(sender.first, now)) } td { (ago(sender.last, now)) }
        }
    }
}

fn past(incidents: &[ListedIncident], now: Timestamp) -> Markup {
    html! {
        section #incidents.card hidden[incidents.is_empty()] aria-labelledby="incidents-title" {
            h2 #incidents-title { "Incidents" }
            ul.plain { @for listed in incidents { li { (incidents::in_a_line(&listed.incident, now)) } } }
        }
    }
}

/// The executions that are remembered: the last one with each key.
fn executions(whole: &WholeBinding, now: Timestamp) -> Markup {
    let mut uses: Vec<_> = whole.uses.iter().filter_map(|used| Some((used, used.execution_id.as_ref()?))).collect();
    uses.sort_by_key(|(used, _)| std::cmp::Reverse(used.last));
    html! {
        section #executions.card hidden[uses.is_empty()] aria-labelledby="executions-title" {
            h2 #executions-title { "Last executions, of each key" }
            ul.plain {
                @for (used, id) in uses {
                    li { (parts::execution(id)) " " (ago(used.last, now)) " with " (parts::key(&used.key)) ": " (parts::diagnosis(&used.diagnosis)) }
                }
            }
        }
    }
}

/// How many characters of a name stand in a title.
const LONGEST_TITLE: usize = 80;
