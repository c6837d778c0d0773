//! Pure. The keys and tokens of each set, by what they are recognised by.

use maud::{Markup, html};

use super::parts::{self, Sign, ago, badge, perhaps_ago};
use super::view::{Section, Tab, View};
use crate::answers::key::Key;
use crate::answers::status::Set;
use crate::answers::words::counted;
use crate::clock::Timestamp;
use crate::keys::access::Token;
use crate::keys::set::RoleKind;
use crate::telemetry::palette::Tone;

/// The page Keys and tokens: of each set its keys and its tokens, none with its value.
#[must_use]
pub fn keys(sets: &[Set], tokens: &[Token], now: Timestamp) -> View {
    let mut sections = vec![Section::whole("about", about())];
    for (number, set) in sets.iter().enumerate() {
        let id = format!("set-{number}");
        let own: Vec<_> = tokens.iter().filter(|token| *token.set == *set.set).collect();
        sections.push(Section::whole(id.clone(), of_set(set, &own, &id, now)));
    }
    View { title: "Keys and tokens".to_owned(), tab: Tab::Keys, sections }
}

fn about() -> Markup {
    html! {
        section #about.card {
            h1 { "Keys and tokens" }
            p {
                "A key is shown by its hint, its kind and last four characters, and by its fingerprint, a keyed hash. "
                "Its value is nowhere on this page."
            }
        }
    }
}

fn of_set(set: &Set, tokens: &[&Token], id: &str, now: Timestamp) -> Markup {
    let learned = if set.learned { ", its key learned from what upstream accepts" } else { "" };
    html! {
        section.card id=(id) {
            div.head {
                h2 { "Key set " (set.set) }
                a href=(format!("/nodes?set={}", parts::encoded(&set.set))) { (counted(set.progress.total(), "node")) }
            }
            p { "Policy " b { (set.policy.name()) } (learned) "." }
            @if set.keys.is_empty() { (parts::empty("No key is known yet.")) } @else {
                table {
                    thead {
                        tr {
                            th scope="col" { "Key" } th scope="col" { "It is" } th.wide scope="col" { "Fingerprint" }
                            th.wide scope="col" { "Since" } th scope="col" { "To know" }
                        }
                    }
                    tbody { @for key in &set.keys { (row(key, now)) } }
                }
            }
            @if !tokens.is_empty() {
                h3 { "Tokens" }
                table {
                    thead {
                        tr { th scope="col" { "Token" } th scope="col" { "For" } th scope="col" { "Made" } th scope="col" { "It is" } }
                    }
                    tbody { @for token in tokens { (of_token(token, now)) } }
                }
            }
            p.aside { "A key that others may know: " (parts::command("keyward keys revoke FINGERPRINT")) " A new token: " (parts::command(&format!("keyward token new {} --name NAME", set.set))) }
        }
    }
}

fn row(key: &Key, now: Timestamp) -> Markup {
    let (tone, sign) = match key.role {
        RoleKind::Current => (Tone::Good, Sign::Tick),
        RoleKind::Next => (Tone::Aside, Sign::Clock),
        RoleKind::Previous => (Tone::Doubtful, Sign::Dash),
        RoleKind::Token => (Tone::Aside, Sign::Dash),
    };
    html! {
        tr {
            th scope="row" { @match &key.names.hint { Some(hint) => code.key { (hint) }, None => (parts::nothing()) } }
            td { (badge(tone, sign, key.role.code())) }
            td.wide { code { (key.names.fingerprint) } }
            td.wide { (perhaps_ago(key.since, now)) }
            td {
                @if key.refused_by_upstream { (badge(Tone::Bad, Sign::Cross, "refused by upstream")) " " }
                @if let Some(at) = key.revoked { (badge(Tone::Bad, Sign::Dash, "revoked")) " " (ago(at, now)) " " }
                @if let Some(until) = key.grace_until {
                    @if until > now { "good until " (parts::moment(until, now)) } @else { "its grace is over" }
                }
            }
        }
    }
}

fn of_token(token: &Token, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" {
                code.key { @match token.hint { Some(hint) => (hint), None => (token.fingerprint) } }
            }
            td { @match &token.name { Some(name) => (parts::name(name)), None => (parts::nothing()) } }
            td { (ago(token.made, now)) }
            td {
                @match (token.revoked, token.replaced) {
                    (Some(at), _) => { (badge(Tone::Bad, Sign::Dash, "revoked")) " " (ago(at, now)) },
                    (None, Some(replaced)) if now < replaced.until => {
                        (badge(Tone::Doubtful, Sign::Dash, "replaced")) " " (ago(replaced.at, now))
                    },
                    (None, Some(replaced)) => { (badge(Tone::Bad, Sign::Dash, "ended")) " " (ago(replaced.until, now)) },
                    (None, None) => (badge(Tone::Good, Sign::Tick, "valid")),
                }
            }
        }
    }
}
