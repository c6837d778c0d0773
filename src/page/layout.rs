//! Pure. What stands around every page: its head, the navigation and the foot.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::parts;
use super::view::{Tab, View};
use crate::clock::Timestamp;
use crate::telemetry::local_clock::time_of_day;

/// A whole page, as of that moment.
#[must_use]
pub fn page(view: &View, now: Timestamp) -> String {
    let body = html! {
        main #main tabindex="-1" data-version=(format!("{:016x}", view.print())) { (PreEscaped(view.html())) }
    };
    let mark = html! {
        p #mark data-mark="still" { span.dot aria-hidden="true" {} span #mark-text { "as of " (time_of_day(now)) } }
    };
    document(&view.title, Some(view.tab), now, &html! {}, &mark, &body)
}

/// A page that says one thing, outside the navigation.
#[must_use]
pub fn message(title: &str, head: &Markup, said: &Markup) -> String {
    let body = html! {
        main #main tabindex="-1" {
            section.card.message { h1 { (title) } (said) }
        }
    };
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            (in_head(title, head))
            body { header.top { (brand()) } (body) }
        }
    };
    whole.into_string()
}

fn document(title: &str, tab: Option<Tab>, now: Timestamp, head: &Markup, mark: &Markup, body: &Markup) -> String {
    let whole = html! {
        (DOCTYPE)
        html lang="en" data-now=(now.as_millis()) {
            (in_head(title, head))
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    (brand())
                    nav aria-label="Pages" { ul { @for one in Tab::ALL { (link_to(one, tab == Some(one))) } } }
                    (mark)
                }
                (body)
                footer {
                    p { "keyward " (env!("CARGO_PKG_VERSION")) ". This page only looks: what changes anything is a command to copy." }
                    p #said aria-live="polite" {}
                }
            }
        }
    };
    whole.into_string()
}

fn in_head(title: &str, more: &Markup) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · keyward" }
            link rel="icon" href=(ICON.path()) type="image/svg+xml";
            link rel="stylesheet" href=(STYLE.path());
            script type="module" src=(SCRIPT.path()) {}
            (more)
        }
    }
}

fn brand() -> Markup {
    html! { a.brand href="/" { (parts::logo()) span { "keyward" } } }
}

fn link_to(tab: Tab, is_here: bool) -> Markup {
    html! { li { a href=(tab.path()) aria-current=[is_here.then_some("page")] { (tab.name()) } } }
}
