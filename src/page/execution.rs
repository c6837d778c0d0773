//! Pure. One execution of n8n's: what was sent in it, what was wrong, and what to do.

use maud::{Markup, html};

use super::parts::{self, Sign, badge};
use super::view::{Section, Tab, View};
use crate::answers::execution::{Execution, PastExchange, RememberedUse};
use crate::answers::words::counted;
use crate::clock::Timestamp;
use crate::telemetry::local_clock::{in_local_time, time_of_day};
use crate::telemetry::palette::Tone;
use crate::verdict::explain::DiagnosisKind;

/// The page; without an execution, what to ask for one.
#[must_use]
pub fn execution(told: Option<&Execution>, now: Timestamp) -> View {
    let id = told.map_or("", |told| &told.execution_id);
    let mut sections = vec![Section::whole("search", search(id))];
    if let Some(told) = told {
        sections.push(Section::whole("said", said(told)));
        sections.push(Section::whole("exchanges", exchanges(&told.exchanges)));
        sections.push(Section::whole("faults", faults(&told.exchanges, now)));
        sections.push(Section::whole("remembered", remembered(&told.remembered, now)));
    }
    let title = if id.is_empty() { "Execution".to_owned() } else { format!("Execution {id}") };
    View { title, tab: Tab::Execution, sections }
}

fn search(id: &str) -> Markup {
    html! {
        section #search.card {
            h1 { "What was sent in an execution" }
            form.search role="search" action="/execution" {
                label { "Its id, as n8n shows it" input type="search" name="id" value=(id) required maxlength="100"; }
                button { "Search" }
            }
        }
    }
}

/// Whether anything was wrong, in one sentence.
fn said(told: &Execution) -> Markup {
    let remembered = told.remembered.iter().map(|row| row.used.diagnosis.as_str());
    let all: Vec<_> = told.exchanges.iter().map(|row| row.diagnosis.as_str()).chain(remembered).collect();
    let bad = all.iter().filter(|diagnosis| **diagnosis != DiagnosisKind::Ok.code()).count();
    let (tone, sign, text) = match (bad, all.len()) {
        (_, 0) => (
            Tone::Doubtful,
            Sign::Question,
            "No request of it was seen, or it is forgotten: it asked OpenAI nothing, or not through keyward."
                .to_owned(),
        ),
        (0, all) => (Tone::Good, Sign::Tick, format!("Nothing was wrong with its {}.", counted(all, "request"))),
        (bad, all) => (Tone::Bad, Sign::Cross, format!("{bad} of {} went wrong.", counted(all, "request"))),
    };
    html! {
        section #said.card.answer.(parts::class(tone)) {
            h2 {
                (badge(tone, sign, "")) " Execution " (parts::name(&told.execution_id))
                @if let Some(workflow) = &told.workflow_name { " of " (parts::name(workflow)) }
            }
            p.said { (text) }
            p { "With what n8n says of it: " (parts::command(&format!("keyward blame {}", told.execution_id))) }
        }
    }
}

fn exchanges(exchanges: &[PastExchange]) -> Markup {
    html! {
        section #exchanges.card hidden[exchanges.is_empty()] aria-label="Requests" {
            table {
                thead {
                    tr {
                        th scope="col" { "At" } th scope="col" { "Who" } th scope="col" { "Status" }
                        th scope="col" { "Diagnosis" } th.wide scope="col" { "Key" } th.wide scope="col" { "Verdict" }
                    }
                }
                tbody {
                    @for row in exchanges {
                        tr {
                            th scope="row" { (time_of_day(row.at)) } td { (parts::who(&row.who)) }
                            td { @match row.status { Some(status) => (status), None => (parts::nothing()) } }
                            td { (parts::diagnosis(&row.diagnosis)) } td.wide { (parts::key(&row.key)) } td.wide { (row.verdict) }
                        }
                    }
                }
            }
        }
    }
}

/// What was wrong, each once, and what to do.
fn faults(exchanges: &[PastExchange], now: Timestamp) -> Markup {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for row in exchanges {
        if let (Some(message), Some(remedy)) = (&row.message, &row.remedy)
            && !told.contains(&(message, remedy))
        {
            told.push((message, remedy));
        }
    }
    html! {
        section #faults.card hidden[told.is_empty()] aria-labelledby="faults-title" {
            h2 #faults-title { "What was wrong, and what to do" }
            @for (message, remedy) in told {
                p { b { (in_local_time(message, now)) } }
                ol.steps { @for step in remedy.lines() { li { (without_number(step)) } } }
            }
        }
    }
}

/// A step without its number, which the list has.
fn without_number(step: &str) -> &str {
    let rest = step.trim_start_matches(|character: char| character.is_ascii_digit());
    rest.strip_prefix(". ").filter(|_| rest.len() < step.len()).unwrap_or(step)
}

fn remembered(remembered: &[RememberedUse], now: Timestamp) -> Markup {
    html! {
        section #remembered.card hidden[remembered.is_empty()] aria-labelledby="remembered-title" {
            h2 #remembered-title { "Of earlier requests, the last with each key" }
            ul.plain {
                @for RememberedUse { who, used } in remembered {
                    li { (parts::who(who)) ": " (parts::diagnosis(&used.diagnosis)) " with " (parts::key(&used.key)) " at " (parts::moment(used.last, now)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lose_the_number_that_the_list_gives_them() {
        for (step, expected) in
            [("1. Open it.", "Open it."), ("12. Save", "Save"), ("Open it.", "Open it."), ("2 of", "2 of")]
        {
            assert_eq!(without_number(step), expected);
        }
    }
}
