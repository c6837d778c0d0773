//! Pure. Exchanges as they end. The script fills the table from the stream of events; without it, a command shows the same.

use maud::{Markup, html};

use super::parts;
use super::view::{Section, Tab, View};
use crate::verdict::VerdictKind;

/// The page. `sets` are those that can be chosen.
#[must_use]
pub fn live(sets: &[String]) -> View {
    let sections = vec![Section::whole("events", events(sets))];
    View { title: "Live".to_owned(), tab: Tab::Live, sections }
}

fn events(sets: &[String]) -> Markup {
    html! {
        section #events.card data-events="/api/v1/events" {
            h1 { "Requests as they end" }
            form #filters.search {
                label { "Workflow id" input name="workflow" maxlength="200" autocomplete="off"; }
                label { "Verdict" select name="verdict" { option value="" { "all" } @for code in VerdictKind::CODES { option { (code) } } } }
                label { "Key set" select name="set" { option value="" { "all" } @for set in sets { option { (set) } } } }
                label.check { input type="checkbox" name="bad"; "Only what went wrong" }
                button type="submit" { "Filter" }
                button #pause type="button" aria-pressed="false" { "Pause" }
            }
            p.still { "In a terminal: " (parts::command("keyward events")) }
            p #events-said aria-live="polite" { "Nothing came yet." }
            table {
                thead {
                    tr {
                        th scope="col" { "At" } th scope="col" { "Who" } th scope="col" { "Diagnosis" } th scope="col" { "Status" }
                        th.wide scope="col" { "Key" } th.wide scope="col" { "Request" }
                    }
                }
                tbody #rows {}
            }
        }
    }
}
