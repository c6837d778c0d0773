//! An audit of n8n as people read it: on a terminal, or as a report to keep.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use super::output::Table;
use crate::clock::Timestamp;
use crate::ledger::span::Span;
use crate::n8n::audit::Audit;
use crate::n8n::editor::{link_to_node, link_to_workflow};
use crate::n8n::finding::{Finding, NodeName};
use crate::n8n::finding_kind::Urgency;
use crate::n8n::row::{Passage, Row};
use crate::telemetry::rows::is_harmful;

/// Every node, the ones with most to say first.
pub(super) fn table(audit: &Audit, now: Timestamp) -> Table<6> {
    let mut table = Table::new(["STATE", "WORKFLOW", "NODE", "CREDENTIAL", "SEEN", "KEY"]);
    let mut rows: Vec<_> = audit.rows.iter().collect();
    rows.sort_by_key(|row| row.passage);
    for row in rows {
        let seen = row.seen.map_or_else(|| "never".to_owned(), |at| format!("{} ago", Span(now.since(at))));
        let record = row.record.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let key = row.key.map_or_else(|| "-".to_owned(), |key| key.to_string());
        table.row([row.passage.code().replace('_', " "), name_of(row), row.node.name.to_string(), record, seen, key]);
    }
    table
}

/// What was found, by what a person does next.
pub(super) fn in_words(audit: &Audit, url: &dyn fmt::Display) -> Vec<String> {
    let mut lines = Vec::new();
    for urgency in Urgency::ALL {
        let findings: Vec<_> = audit.findings.iter().filter(|finding| finding.urgency() == urgency).collect();
        if findings.is_empty() {
            continue;
        }
        lines.extend([String::new(), format!("{} ({})", heading(urgency), findings.len())]);
        for (step, findings) in by_step(&findings) {
            if urgency != Urgency::Never {
                lines.push(format!("* {}:", capitalised(&step)));
            }
            for finding in findings {
                lines.push(format!("  - {finding}"));
                let places = places(finding, url);
                lines.extend(places.iter().take(MOST_PLACES).map(|place| format!("      {place}")));
                if places.len() > MOST_PLACES {
                    lines.push(format!("      and {} more: see the table", places.len() - MOST_PLACES));
                }
            }
        }
    }
    lines.push(String::new());
    lines.push(summary(&audit.rows));
    lines
}

/// The same in Markdown, with every node; `old_keys` tells of those that are still sent or held.
pub(super) fn in_markdown(audit: &Audit, instance: &str, url: &dyn fmt::Display, old_keys: &[String]) -> String {
    let mut text = format!("# Audit of n8n {}\n\n{}\n", plain(instance), plain(&headline(audit, instance, url)));
    for line in old_keys {
        let (indent, words) = line.split_at(line.len() - line.trim_start().len());
        let (mark, words) = words.strip_prefix("- ").map_or(("", words), |words| ("- ", words));
        let _ = writeln!(text, "{}{indent}{mark}{}", if indent.is_empty() { "\n" } else { "" }, plain(words));
        if indent.is_empty() {
            text.push('\n');
        }
    }
    for urgency in Urgency::ALL {
        let findings: Vec<_> = audit.findings.iter().filter(|finding| finding.urgency() == urgency).collect();
        if findings.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n## {} ({})", heading(urgency), findings.len());
        for (step, findings) in by_step(&findings) {
            let _ = writeln!(text, "\n{}:\n", plain(&capitalised(&step)));
            for finding in findings {
                let _ = writeln!(text, "- [ ] {}", plain(&finding.to_string()));
                for Place { label, link } in places(finding, url) {
                    let label = label.map_or_else(String::new, |label| format!("{}: ", plain(&label)));
                    let _ = writeln!(text, "  - {label}<{link}>");
                }
            }
        }
    }
    let _ = writeln!(text, "\n## Every node\n\n{}\n\n{}", plain(&summary(&audit.rows)), TABLE_HEAD);
    for row in &audit.rows {
        let seen = row.seen.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let key = row.key.map_or_else(String::new, |key| key.to_string());
        let record = row.record.as_ref().map_or_else(String::new, ToString::to_string);
        let cells = [name_of(row), row.node.name.to_string(), record, state(row).to_owned(), seen, key];
        let _ = writeln!(text, "| {} |", cells.map(|cell| plain(&cell)).join(" | "));
    }
    text
}

pub(super) fn headline(audit: &Audit, instance: &str, url: &dyn fmt::Display) -> String {
    let drafts = audit.rows.iter().filter(|row| row.is_draft).count();
    let [workflows, nodes, records] =
        [(audit.workflows, "workflow"), (audit.rows.len() - drafts, "node"), (audit.records, "credential")]
            .map(counted);
    let drafts = if drafts == 0 { String::new() } else { format!(" ({drafts} more in drafts)") };
    format!("n8n {instance} at {url}, {}: {workflows}, {nodes} that can speak to OpenAI{drafts}, {records}", audit.at)
}

fn counted((count, what): (usize, &str)) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn heading(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Now => "Fix now",
        Urgency::Then => "Look at next",
        Urgency::Never => "Good to know",
    }
}

/// Findings with one step together, in the order in which the first of each came.
fn by_step<'f>(findings: &[&'f Finding]) -> Vec<(Cow<'static, str>, Vec<&'f Finding>)> {
    let mut steps: Vec<(Cow<'static, str>, Vec<&'f Finding>)> = Vec::new();
    for finding in findings.iter().copied() {
        match steps.iter_mut().find(|(step, _)| *step == finding.step()) {
            Some((_, same)) => same.push(finding),
            None => steps.push((finding.step(), vec![finding])),
        }
    }
    steps
}

/// Where to look in n8n's editor.
struct Place {
    /// Which of several it is.
    label: Option<String>,
    link: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label.as_ref().map_or(Ok(()), |label| write!(f, "{label}: "))?;
        f.write_str(&self.link)
    }
}

fn places(finding: &Finding, url: &dyn fmt::Display) -> Vec<Place> {
    let nodes = finding.nodes();
    let of_node = |node: &NodeName| {
        let label = format!("{} / {}", node.workflow.name, node.name);
        Place { label: (nodes.len() > 1).then_some(label), link: link_to_node(url, node) }
    };
    let workflow = finding.workflow().filter(|_| nodes.is_empty());
    let of_workflow = workflow.map(|workflow| Place { label: None, link: link_to_workflow(url, workflow) });
    nodes.iter().map(of_node).chain(of_workflow).collect()
}

/// How many nodes are how.
fn summary(rows: &[Row]) -> String {
    let all = [
        (Passage::Passes, "with the right key"),
        (Passage::Covered, "not seen yet, whose credential was"),
        (Passage::Unproven, "not seen with the right key since a change"),
        (Passage::Unclear, "only a run can tell"),
        (Passage::NeverSeen, "with a credential that was never seen"),
        (Passage::Stale, "with a wrong key"),
        (Passage::Bypasses, "past keyward"),
        (Passage::Off, "not running"),
    ];
    let count = |passage| rows.iter().filter(|row| row.passage == passage && !row.is_draft).count();
    let drafts = rows.iter().filter(|row| row.is_draft).count();
    let parts = all.into_iter().map(|(passage, words)| (count(passage), words)).chain([(drafts, "in drafts alone")]);
    let parts: Vec<_> =
        parts.filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
    if parts.is_empty() { "No node can speak to OpenAI.".to_owned() } else { format!("Nodes: {}.", parts.join(", ")) }
}

fn state(row: &Row) -> &'static str {
    match row.passage {
        Passage::Passes => "passes",
        Passage::Covered => "not seen yet, its credential was",
        Passage::Unproven => "not seen since it was changed",
        Passage::Unclear => "only a run can tell",
        Passage::NeverSeen => "credential never seen",
        Passage::Stale => "wrong key",
        Passage::Bypasses => "goes past keyward",
        Passage::Off => "does not run",
    }
}

fn name_of(row: &Row) -> String {
    let callers: Vec<_> = row.called_by.iter().take(MOST_CALLERS).map(|caller| caller.name.to_string()).collect();
    let name = &row.node.workflow.name;
    if callers.is_empty() { name.to_string() } else { format!("{name} (called by {})", callers.join(", ")) }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A text of anybody's as Markdown shows it, on one line: nothing in it begins a link, a picture, a cell or HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' | '&' | '~' => {
                plain.extend(['\\', character]);
            }
            harmful if is_harmful(harmful) => plain.push('\u{fffd}'),
            other => plain.push(other),
        }
    }
    plain
}

/// How many places a finding shows on a terminal.
const MOST_PLACES: usize = 5;

/// How many callers of a workflow the table names.
const MOST_CALLERS: usize = 3;

const TABLE_HEAD: &str = "| workflow | node | credential | state | last seen | key |\n|---|---|---|---|---|---|";
