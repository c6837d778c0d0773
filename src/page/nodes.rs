//! Pure. Every node and other client: searched, chosen by how they stand, a page at a time.

use maud::{Markup, html};

use super::parts::{self, ago};
use super::view::{Piece, Section, Tab, View};
use crate::answers::binding::{Binding, Bindings};
use crate::answers::words::{note, rhythm, state};
use crate::clock::Timestamp;

/// What was asked for, as it stands in the address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// A part of a name or an id.
    pub search: Option<&'a str>,
    /// The code of how they stand.
    pub state: Option<&'a str>,
    pub set: Option<&'a str>,
    /// The workflow's id.
    pub workflow: Option<&'a str>,
}

impl Asked<'_> {
    /// The address of the list, from that place on.
    fn path(&self, cursor: &str) -> String {
        let all = [("q", self.search), ("state", self.state), ("set", self.set), ("workflow", self.workflow)];
        let chosen = all.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let pairs = chosen.chain([("cursor", cursor)]).map(|(name, value)| format!("{name}={}", parts::encoded(value)));
        format!("/nodes?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}

/// The page. `sets` and `states` are those that can be chosen.
#[must_use]
pub fn nodes(list: &Bindings, asked: Asked<'_>, sets: &[String], states: &[&str], now: Timestamp) -> View {
    let pieces = list.bindings.iter().map(|binding| piece(binding, sets.len() > 1, now)).collect();
    let next = list.next.as_ref().map(|cursor| asked.path(cursor));
    let shown = list.bindings.len();
    let sections = vec![
        Section::whole("search", search(asked, sets, states, list.total)),
        Section::around("list", pieces, |rows| table(&rows, shown, sets.len() > 1)),
        Section::whole("pages", html! { div #pages { (parts::pager(shown, list.total, next.as_deref())) } }),
    ];
    View { title: "Nodes".to_owned(), tab: Tab::Nodes, sections }
}

fn search(asked: Asked<'_>, sets: &[String], states: &[&str], total: usize) -> Markup {
    html! {
        section #search.card {
            h1 { "Nodes and other clients" }
            form.search role="search" action="/nodes" {
                label { "Workflow, node, credential or id" input type="search" name="q" value=[asked.search] maxlength="200"; }
                label { "State" (select("state", asked.state, states)) }
                @if sets.len() > 1 {
                    label { "Key set" (select("set", asked.set, &sets.iter().map(String::as_str).collect::<Vec<_>>())) }
                }
                button { "Search" }
            }
            p aria-live="polite" { b { (parts::thousands(total)) } " found" }
        }
    }
}

/// A choice among words, or of all. What is not chosen is not sent.
fn select(name: &str, chosen: Option<&str>, words: &[&str]) -> Markup {
    html! {
        select name=(name) {
            option value="" { "all" }
            @for word in words {
                option value=(word) selected[chosen == Some(*word)] { (word.replace('_', " ")) }
            }
        }
    }
}

fn table(rows: &Markup, shown: usize, with_sets: bool) -> Markup {
    html! {
        section #list.card aria-label="Nodes" {
            @if shown == 0 { (parts::empty("There is none of that kind.")) } @else {
                table.nodes {
                    thead {
                        tr {
                            th scope="col" { "Workflow and node" } th scope="col" { "State" }
                            @if with_sets { th.wide scope="col" { "Set" } }
                            th.wide scope="col" { "Key" } th scope="col" { "Seen" } th.wide scope="col" { "Usually" }
                            th scope="col" { span.unseen { "In n8n" } }
                        }
                    }
                    tbody #rows data-keep { (rows) }
                }
            }
        }
    }
}

fn piece(binding: &Binding, with_sets: bool, now: Timestamp) -> Piece {
    let row = &binding.row;
    let (id, note) = (format!("b-{}", row.who.binding), note(row, now));
    let html = html! {
        tr id=(id) data-state=(state(&row.standing)) {
            th scope="row" { (parts::who(&row.who)) }
            td {
                (parts::state(&row.standing))
                @if !note.is_empty() { " " span.note { (parts::breakable(&note)) } }
            }
            @if with_sets { td.wide { (row.who.set) } }
            td.wide { (parts::key(&row.key)) }
            td { @match binding.last { Some(last) => (ago(last, now)), None => (parts::nothing()) } }
            td.wide { (rhythm(row.rhythm.as_ref())) }
            td.end { (parts::editor(row.who.link.as_deref(), &row.who.in_few_words())) }
        }
    };
    Piece { id, html: html.into_string() }
}
