//! Pure. What an audit of each n8n says: findings by when you have to do something, and every node that can speak to OpenAI.

use maud::{Markup, html};

use super::parts::{self, Sign, badge, perhaps_ago};
use super::view::{Section, Tab, View};
use crate::answers::audit::{AuditedNode, Finding, Instance, NamedNode};
use crate::answers::words::counted;
use crate::clock::Timestamp;
use crate::n8n::finding_kind::Urgency;
use crate::n8n::row::Passage;
use crate::telemetry::local_clock::in_local_time;
use crate::telemetry::palette::Tone;

/// The page. `is_asked` says whether any n8n is configured.
#[must_use]
pub fn audit(instances: &[Instance], is_asked: bool, now: Timestamp) -> View {
    let mut sections = Vec::new();
    if instances.is_empty() {
        sections.push(Section::whole("none", none(is_asked)));
    }
    for (number, instance) in instances.iter().enumerate() {
        let id = |part: &str| format!("{part}-{number}");
        sections.push(Section::whole(id("n8n"), head(instance, &id("n8n"), now)));
        sections.push(Section::whole(id("findings"), findings(instance, &id("findings"), now)));
        sections.push(Section::whole(id("doubts"), doubts(instance, &id("doubts"), now)));
        sections.push(Section::whole(id("nodes"), nodes(instance, &id("nodes"), now)));
    }
    View { title: "Audit".to_owned(), tab: Tab::Audit, sections }
}

fn none(is_asked: bool) -> Markup {
    let text = if is_asked {
        "n8n was not looked through yet."
    } else {
        "No n8n is configured. With one, keyward knows the names of workflows and nodes, and which of them do not pass here."
    };
    html! {
        section #none.card {
            h1 { "Audit of n8n" }
            (parts::empty(text))
            @if !is_asked { p { "The section [n8n.<name>] of the configuration names its address and the file of an API key." } }
        }
    }
}

fn head(instance: &Instance, id: &str, now: Timestamp) -> Markup {
    let audit = &instance.audit;
    let (tone, sign, said) = if audit.clean {
        (Tone::Good, Sign::Tick, "Clean: there is no fault.".to_owned())
    } else if audit.faults.is_empty() {
        (Tone::Bad, Sign::Cross, "An old key is still sent or held.".to_owned())
    } else {
        (Tone::Bad, Sign::Cross, format!("{} to be mended.", counted(audit.faults.len(), "fault")))
    };
    html! {
        section.card.answer.(parts::class(tone)) id=(id) {
            h1 { (badge(tone, sign, "")) " n8n " (parts::name(&audit.instance)) }
            p.said { (said) }
            p.facts {
                (counted(audit.workflows, "workflow")) ", " (counted(audit.records, "credential")) " and "
                (counted(audit.nodes.len(), "node")) " that can speak to OpenAI, looked through " (parts::ago(audit.read, now)) "."
            }
            p { "Look through it anew: " (parts::command("keyward n8n audit")) }
        }
    }
}

fn findings(instance: &Instance, id: &str, now: Timestamp) -> Markup {
    let audit = &instance.audit;
    let all = || audit.faults.iter().chain(&audit.information);
    html! {
        div id=(id) {
            @for urgency in [Urgency::Now, Urgency::Then, Urgency::Never] {
                @let of_it: Vec<_> = all().filter(|finding| finding.when == urgency).collect();
                @if !of_it.is_empty() {
                    section.card {
                        h2 { (title(urgency)) " " span.aside { (of_it.len()) } }
                        ul.findings { @for finding in of_it.iter().take(MOST) { li { (of_finding(finding, now)) } } }
                        (more(of_it.len()))
                    }
                }
            }
        }
    }
}

fn title(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Now => "To be mended now",
        Urgency::Then => "To look at",
        Urgency::Never => "Good to know",
    }
}

fn of_finding(finding: &Finding, now: Timestamp) -> Markup {
    html! {
        p { b { (parts::sentence(&in_local_time(&finding.text, now))) } " " code { (finding.code) } }
        @if !finding.step.is_empty() { p.end { "→ " (parts::sentence(&in_local_time(&finding.step, now))) } }
        @if let Some(workflow) = &finding.workflow {
            p.end { a href=(workflow.link) target="_blank" rel="noreferrer noopener" { (parts::name(&workflow.workflow_name)) } }
        }
        @if !finding.nodes.is_empty() {
            p.end {
                @for (place, node) in finding.nodes.iter().take(MOST_NODES).enumerate() {
                    @if place > 0 { ", " } (in_n8n(node))
                }
                @if finding.nodes.len() > MOST_NODES { " and " (finding.nodes.len() - MOST_NODES) " more" }
            }
        }
    }
}

fn in_n8n(node: &NamedNode) -> Markup {
    html! {
        a href=(node.link) target="_blank" rel="noreferrer noopener" {
            (parts::name(&node.workflow_name)) ", " (parts::name(&node.node_name))
        }
    }
}

fn doubts(instance: &Instance, id: &str, now: Timestamp) -> Markup {
    let doubts = &instance.audit.doubts;
    html! {
        section.card id=(id) hidden[doubts.is_empty()] {
            h2 { "What it cannot vouch for" }
            ul.findings {
                @for doubt in doubts.iter().take(MOST) {
                    li { p { b { (parts::sentence(&in_local_time(&doubt.text, now))) } } p.end { "→ " (parts::sentence(&in_local_time(&doubt.end, now))) } }
                }
            }
            (more(doubts.len()))
        }
    }
}

fn nodes(instance: &Instance, id: &str, now: Timestamp) -> Markup {
    let nodes = &instance.audit.nodes;
    html! {
        section.card id=(id) hidden[nodes.is_empty()] {
            h2 { "Nodes that can speak to OpenAI" }
            table {
                thead {
                    tr {
                        th scope="col" { "Node" } th scope="col" { "State" } th.wide scope="col" { "Credential" }
                        th.wide scope="col" { "Key" } th scope="col" { "Seen" }
                    }
                }
                tbody { @for node in nodes.iter().take(MOST) { (row(node, now)) } }
            }
            (more(nodes.len()))
        }
    }
}

fn row(node: &AuditedNode, now: Timestamp) -> Markup {
    let (tone, sign) = match node.state {
        Passage::Passes | Passage::Covered => (Tone::Good, Sign::Tick),
        Passage::Bypasses | Passage::Stale => (Tone::Bad, Sign::Cross),
        Passage::NeverSeen | Passage::Unclear | Passage::Unproven => (Tone::Doubtful, Sign::Question),
        Passage::Off => (Tone::Aside, Sign::Dash),
    };
    html! {
        tr {
            th scope="row" {
                @match &node.binding {
                    Some(binding) => a href=(format!("/nodes/{binding}")) { (parts::name(&node.node.workflow_name)) ", " (parts::name(&node.node.node_name)) },
                    None => (in_n8n(&node.node)),
                }
            }
            td { (badge(tone, sign, &node.state.code().replace('_', " "))) }
            td.wide { @match &node.record { Some(record) => (parts::name(&record.name)), None => (parts::nothing()) } }
            td.wide { @match &node.key { Some(key) => code.key { (key.short()) }, None => (parts::nothing()) } }
            td { (perhaps_ago(node.last, now)) }
        }
    }
}

fn more(count: usize) -> Markup {
    html! { @if count > MOST { p { "And " (parts::thousands(count - MOST)) " more: " (parts::command("keyward n8n audit")) } } }
}

/// How many rows are shown of each list.
const MOST: usize = 200;

/// How many nodes are named with a finding.
const MOST_NODES: usize = 12;
