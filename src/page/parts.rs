//! Pure. What several pages show alike: states, moments, keys, commands to copy, lists in pages.

use maud::{Markup, PreEscaped, html};

use crate::answers::binding::Standing;
use crate::answers::codebook::meaning_of;
use crate::answers::key::{KeyNames, PerhapsKey};
use crate::answers::sender::Sender;
use crate::answers::who::Who;
pub use crate::answers::words::thousands;
use crate::answers::words::{self, short_ago};
use crate::clock::Timestamp;
use crate::ledger::standing::{SilenceKind, StandingKind};
use crate::telemetry::local_clock::in_local_time;
use crate::telemetry::palette::Tone;
use crate::verdict::explain::{DiagnosisKind, Severity};

// === States ===

/// How a binding stands: a sign and a word, so that no colour has to be told from another.
#[must_use]
pub fn state(standing: &Standing) -> Markup {
    let tone = tone_of(standing);
    let sign = match (standing.state, standing.silence) {
        (Some(StandingKind::Confirmed), _) => Sign::Tick,
        (Some(StandingKind::Stale), _) => Sign::Alarm,
        (Some(StandingKind::Mixed), _) => Sign::Half,
        (Some(StandingKind::Failing), _) => Sign::Cross,
        (Some(StandingKind::Silent), Some(SilenceKind::Acknowledged)) | (None, _) => Sign::Dash,
        (Some(StandingKind::Silent), Some(SilenceKind::Overdue | SilenceKind::DueLater) | None) => Sign::Clock,
    };
    badge(tone, sign, words::state(standing))
}

/// The tone of how a binding stands.
#[must_use]
pub fn tone_of(standing: &Standing) -> Tone {
    match (standing.state, standing.silence) {
        (Some(StandingKind::Mixed | StandingKind::Stale | StandingKind::Failing), _) => Tone::Bad,
        (Some(StandingKind::Silent), Some(SilenceKind::Overdue)) => Tone::Doubtful,
        (Some(StandingKind::Confirmed), _) => Tone::Good,
        (Some(StandingKind::Silent), Some(SilenceKind::DueLater | SilenceKind::Acknowledged) | None) | (None, _) => {
            Tone::Aside
        }
    }
}

/// A word with the sign and the colour of its tone.
#[must_use]
pub fn badge(tone: Tone, sign: Sign, word: &str) -> Markup {
    html! { span.badge.(class(tone)) { (icon(sign)) (word) } }
}

/// The code of a severity, with its sign and the colour of its tone.
#[must_use]
pub fn severity(severity: Severity) -> Markup {
    let (tone, sign) = of_severity(severity);
    badge(tone, sign, severity.code())
}

/// The tone and the sign of what matters so much.
#[must_use]
pub fn of_severity(severity: Severity) -> (Tone, Sign) {
    match severity {
        Severity::Error => (Tone::Bad, Sign::Alarm),
        Severity::Warning => (Tone::Doubtful, Sign::Alarm),
        Severity::Fine => (Tone::Good, Sign::Tick),
    }
}

/// The class of a tone in the style sheet.
#[must_use]
pub fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Doubtful => "doubt",
        Tone::Bad => "bad",
        Tone::Aside | Tone::Title => "aside",
    }
}

// === Signs ===

/// A sign that stands before a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Tick,
    Cross,
    Alarm,
    Half,
    Clock,
    Dash,
    Question,
    Leave,
}

/// The sign as a drawing, which readers pass over: the word beside it says the same.
#[must_use]
pub fn icon(sign: Sign) -> Markup {
    let drawing = match sign {
        Sign::Tick => r#"<circle cx="8" cy="8" r="7"/><path d="m4.8 8.3 2.2 2.2 4.2-4.6"/>"#,
        Sign::Cross => r#"<circle cx="8" cy="8" r="7"/><path d="m5.5 5.5 5 5m0-5-5 5"/>"#,
        Sign::Alarm => r#"<path d="M8 1.6 15 14H1Z"/><path d="M8 6v4m0 1.8v.2"/>"#,
        Sign::Half => r#"<circle cx="8" cy="8" r="7"/><path class="fill" d="M8 1a7 7 0 0 1 0 14Z"/>"#,
        Sign::Clock => r#"<circle cx="8" cy="8" r="7"/><path d="M8 4v4.2l2.6 1.6"/>"#,
        Sign::Dash => r#"<circle cx="8" cy="8" r="7"/><path d="M5 8h6"/>"#,
        Sign::Question => {
            r#"<circle cx="8" cy="8" r="7"/><path d="M6 6.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.7-.9 1.4m0 2.1v.2"/>"#
        }
        Sign::Leave => r#"<path d="M6 3H3v10h10v-3M9 3h4v4m0-4L7 9"/>"#,
    };
    html! { svg.icon viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" { (PreEscaped(drawing)) } }
}

/// What stands before the name of the page's program.
#[must_use]
pub fn logo() -> Markup {
    let drawing = concat!(
        r#"<rect class="ground" width="32" height="32" rx="8"/><circle cx="16" cy="13" r="5.5"/>"#,
        r#"<path d="M16 18.5V27M16 23h4.5"/>"#
    );
    html! { svg.logo viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" { (PreEscaped(drawing)) } }
}

// === Moments ===

/// How long ago a moment was, which the script keeps up to date. Under the pointer it stands as a moment.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) title=(in_local_time(&at.to_string(), now)) { (short_ago(at, now)) } }
}

/// The same, where there may be none.
#[must_use]
pub fn perhaps_ago(at: Option<Timestamp>, now: Timestamp) -> Markup {
    at.map_or_else(nothing, |at| ago(at, now))
}

/// A moment by the clock where keyward runs.
#[must_use]
pub fn moment(at: Timestamp, now: Timestamp) -> Markup {
    html! { (in_local_time(&at.to_string(), now)) }
}

/// In place of what is not known.
#[must_use]
pub fn nothing() -> Markup {
    html! { span.none { "–" } }
}

// === Names ===

/// A key by its hint, with its fingerprint under the pointer.
#[must_use]
pub fn key(key: &PerhapsKey) -> Markup {
    html! {
        @match key.names() {
            Some(names) => code.key title=(format!("fingerprint {}", names.fingerprint)) { (names.short()) },
            None => span.none { "no key" },
        }
    }
}

/// A key by its hint and its fingerprint.
#[must_use]
pub fn key_names(names: &KeyNames) -> Markup {
    html! { code.key { (names) } }
}

/// A text of others, which may be in a script that runs from right to left, and may be very long.
#[must_use]
pub fn name(text: &str) -> Markup {
    let shown: String = text.chars().take(LONGEST_NAME).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    html! { bdi { (shown) (more) } }
}

/// Whose something is, with a link to the page of the node.
#[must_use]
pub fn who(who: &Who) -> Markup {
    html! { a.who href=(path_of(who)) { (name(&who.in_few_words())) } }
}

/// A diagnosis by its code, with what it means under the pointer.
#[must_use]
pub fn diagnosis(code: &str) -> Markup {
    let tone = if code == DiagnosisKind::Ok.code() { Tone::Good } else { Tone::Bad };
    code_in(tone, code)
}

/// The same in another tone.
#[must_use]
pub fn code_in(tone: Tone, code: &str) -> Markup {
    html! { code.(class(tone)) title=(meaning_of(code)) { (breakable(code)) } }
}

/// A code that may go on in the next row behind each part of it.
#[must_use]
pub fn breakable(code: &str) -> Markup {
    html! { @for part in code.split_inclusive('_') { (part) @if part.ends_with('_') { wbr; } } }
}

/// Where the page of a node is.
#[must_use]
pub fn path_of(who: &Who) -> String {
    format!("/nodes/{}", who.binding)
}

/// From where a key came, where there are several addresses: what they have in common says nothing.
pub fn where_they_differ(senders: &[Sender], from: impl FnOnce() -> String) -> String {
    let mut addresses: Vec<_> = senders.iter().filter_map(|sender| sender.address.as_deref()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() > 1 { from() } else { String::new() }
}

/// Where something is in n8n's editor. No page but n8n's own learns where the click came from.
#[must_use]
pub fn editor(link: Option<&str>, named: &str) -> Markup {
    html! {
        @if let Some(link) = link {
            a.out href=(link) target="_blank" rel="noreferrer noopener" {
                (icon(Sign::Leave)) span.unseen { "Open " (name(named)) " in n8n" }
            }
        }
    }
}

/// An execution, with a link to its page.
#[must_use]
pub fn execution(id: &str) -> Markup {
    html! { a href=(format!("/execution?id={}", encoded(id))) { "#" (name(id)) } }
}

/// A text as it stands in the query of an address.
#[must_use]
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

// === What to do ===

/// A text as a sentence begins, unless a name that is written small begins it.
#[must_use]
pub fn sentence(text: &str) -> String {
    let is_name = ["keyward", "n8n"].iter().any(|name| text.starts_with(name));
    if is_name { text.to_owned() } else { words::capitalised(text) }
}

/// A command to copy. The button is there where the script is.
#[must_use]
pub fn command(command: &str) -> Markup {
    html! {
        span.command {
            code { (command) }
            button.copy type="button" data-copy=(command) { "Copy" span.unseen { " " (command) } }
        }
    }
}

/// The steps of a remedy as a numbered list; nothing where there is none.
#[must_use]
pub fn steps(steps: &[String]) -> Markup {
    html! {
        @if !steps.is_empty() {
            ol.steps { @for step in steps { li { (words::capitalised(step)) } } }
        }
    }
}

// === Lists ===

/// How many there are of each kind, and a link to those.
#[derive(Clone, Debug)]
pub struct Count<'c> {
    pub what: &'c str,
    pub count: usize,
    /// Where they are listed.
    pub path: String,
    pub tone: Tone,
    pub sign: Sign,
}

/// How many there are of each kind; kinds without any are left out.
#[must_use]
pub fn counts(counts: &[Count<'_>]) -> Markup {
    html! {
        ul.counts {
            @for one in counts.iter().filter(|one| one.count > 0) {
                li.(class(one.tone)) {
                    a href=(one.path) { (icon(one.sign)) b { (thousands(one.count)) } (one.what) }
                }
            }
        }
    }
}

/// How many of a list are shown, and where the next ones are.
#[must_use]
pub fn pager(shown: usize, total: usize, next: Option<&str>) -> Markup {
    html! {
        @if shown < total {
            p.pager {
                (thousands(shown)) " of " (thousands(total)) " on this page. "
                @if let Some(next) = next { a.next rel="next" href=(next) { "Next page" } } @else { "These are the last." }
            }
        }
    }
}

/// What is said where a list is empty.
#[must_use]
pub fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}

/// How many characters of a name are shown. The names that keyward keeps are shorter; this bounds a page all the same.
const LONGEST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_bounded() {
        assert_eq!(name("<b>&\"").into_string(), "<bdi>&lt;b&gt;&amp;&quot;</bdi>");
        let long = name(&"ä".repeat(100_000)).into_string();
        assert_eq!(long.chars().count(), LONGEST_NAME + "<bdi>…</bdi>".len() - "…".len() + 1);
    }

    #[test]
    fn numbers_are_read_by_thousands() {
        for (count, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(count), expected);
        }
    }
}
