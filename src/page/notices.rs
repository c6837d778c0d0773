//! Pure. Notices: who is told by itself, what of it is not over, what waits, and what did not arrive.

use maud::{Markup, html};

use super::parts::{self, Sign, ago, badge};
use super::view::{Piece, Section, Tab, View};
use crate::answers::notice::{Beat, Message, Notices, Receiver, ReceiverState};
use crate::answers::words::counted;
use crate::clock::Timestamp;
use crate::telemetry::local_clock::in_local_time;
use crate::telemetry::palette::Tone;

/// The page.
#[must_use]
pub fn notices(notices: &Notices, now: Timestamp) -> View {
    let pieces = notices.receivers.iter().enumerate().map(|(number, receiver)| piece(number, receiver, now)).collect();
    let sections = vec![
        Section::whole("about", about(notices, now)),
        Section::around("receivers", pieces, |receivers| html! { div #receivers { (receivers) } }),
    ];
    View { title: "Notices".to_owned(), tab: Tab::Notices, sections }
}

fn about(notices: &Notices, now: Timestamp) -> Markup {
    html! {
        section #about.card {
            h1 { "Notices" }
            @if notices.receivers.is_empty() {
                (parts::empty("No receiver of notices is configured: there is no table [notices.<name>]. config/reference.toml shows one."))
            } @else {
                p { "What keyward tells by itself, and to which receivers. Each message arrives at least once." }
            }
            @if let Some(until) = notices.muted_until {
                p { (badge(Tone::Doubtful, Sign::Dash, "muted")) " until " (parts::moment(until, now)) ": what is to be told waits." }
            }
            @if let Some(why) = &notices.in_memory {
                p { (badge(Tone::Doubtful, Sign::Dash, "in memory")) " What waits is lost when keyward stops: " (parts::name(why)) "." }
            }
            @if notices.dropped > 0 {
                p { (badge(Tone::Bad, Sign::Cross, "dropped")) " " (count(notices.dropped, "notice")) " had no room and will not be sent." }
            }
            @if !notices.receivers.is_empty() {
                p.aside { "To try it: " (parts::command("keyward notices test")) " To tell nothing for a while: " (parts::command("keyward notices mute 2h")) }
            }
        }
    }
}

fn piece(number: usize, receiver: &Receiver, now: Timestamp) -> Piece {
    let id = format!("receiver-{number}");
    let html = html! {
        section.card id=(id) aria-labelledby=(format!("{id}-title")) {
            div.head {
                h2 id=(format!("{id}-title")) { (parts::name(&receiver.receiver)) }
                span.note { (receiver.kind.code()) }
            }
            p {
                (state(receiver.state)) " "
                @match receiver.last {
                    Some(last) => { (count(receiver.sent, "message")) " sent since the start, the last " (ago(last, now)) "." },
                    None => "Nothing sent since the start.",
                }
                @if receiver.failures > 0 { " " (count(receiver.failures, "attempt")) " failed." }
            }
            @if let Some(trouble) = &receiver.trouble { p { "Last fault: " (parts::name(trouble)) } }
            @if let Some(next) = receiver.next.filter(|next| *next > now) { p { "Next attempt at " (parts::moment(next, now)) "." } }
            @if let Some(beat) = &receiver.heartbeat { p { (heartbeat(beat, now)) } }
            (told(&receiver.open, now))
            (messages("Waits", &receiver.waiting, now))
            (messages("Did not arrive", &receiver.given_up, now))
        }
    };
    Piece { id, html: html.into_string() }
}

fn state(state: ReceiverState) -> Markup {
    match state {
        ReceiverState::Ok => badge(Tone::Good, Sign::Tick, "ok"),
        ReceiverState::Retrying => badge(Tone::Bad, Sign::Cross, "does not take notices"),
        ReceiverState::Stopped => badge(Tone::Bad, Sign::Dash, "stopped: it wants no more"),
    }
}

fn heartbeat(beat: &Beat, now: Timestamp) -> Markup {
    match (&beat.trouble, beat.last) {
        (Some(trouble), _) => {
            html! { (badge(Tone::Bad, Sign::Cross, "heartbeat not taken")) " " (parts::name(trouble)) }
        }
        (None, Some(last)) => html! { (badge(Tone::Good, Sign::Tick, "heartbeat taken")) " " (ago(last, now)) },
        (None, None) => badge(Tone::Aside, Sign::Clock, "heartbeat not sent yet"),
    }
}

/// What it was told of and is not over.
fn told(open: &[String], now: Timestamp) -> Markup {
    html! {
        @if !open.is_empty() {
            h3 { "Told, and not over" }
            ul.told { @for one in open { li { (parts::name(&in_local_time(one, now))) } } }
        }
    }
}

fn messages(title: &str, messages: &[Message], now: Timestamp) -> Markup {
    html! {
        @if !messages.is_empty() {
            h3 { (title) }
            table {
                thead {
                    tr { th scope="col" { "Message" } th scope="col" { "Made" } th scope="col" { "Attempts" } th.wide scope="col" { "Fault" } }
                }
                tbody {
                    @for message in messages {
                        tr {
                            th scope="row" { (parts::name(&message.title)) }
                            td { (ago(message.made, now)) }
                            td { (message.attempts) }
                            td.wide { @match &message.fault { Some(fault) => (parts::name(fault)), None => (parts::nothing()) } }
                        }
                    }
                }
            }
        }
    }
}

fn count(number: u64, what: &str) -> String {
    counted(usize::try_from(number).unwrap_or(usize::MAX), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::notice::ReceiverKind;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    #[test]
    fn the_page_tells_what_each_receiver_was_told_what_waits_and_what_failed() {
        let message = |title: &str, fault: Option<&str>| Message {
            id: "msg_1".to_owned(),
            title: title.to_owned(),
            made: at(10),
            attempts: 3,
            fault: fault.map(str::to_owned),
        };
        let receiver = Receiver {
            receiver: "a-team".to_owned(),
            kind: ReceiverKind::Slack,
            state: ReceiverState::Retrying,
            trouble: Some("it answered 503".to_owned()),
            next: Some(at(30)),
            sent: 2,
            failures: 1,
            last: Some(at(5)),
            open: vec!["2 nodes <b>stale</b>".to_owned()],
            waiting: vec![message("a rotation began", Some("it answered 503"))],
            given_up: vec![message("an incident", None)],
            tested: Vec::new(),
            heartbeat: Some(Beat { last: None, trouble: Some("timed out".to_owned()) }),
        };
        let all = Notices { muted_until: None, in_memory: None, dropped: 1, receivers: vec![receiver] };
        let html = notices(&all, at(20)).html();
        for said in [
            "does not take notices",
            "2 messages sent since the start",
            "1 attempt failed",
            "it answered 503",
            "a rotation began",
            "an incident",
            "<td>3</td>",
            "heartbeat not taken",
            "1 notice had no room",
            "2 nodes &lt;b&gt;stale&lt;/b&gt;",
        ] {
            assert!(html.contains(said), "{said} is not in {html}");
        }
        let none = Notices { receivers: Vec::new(), dropped: 0, ..all };
        assert!(notices(&none, at(20)).html().contains("No receiver of notices is configured"));
    }
}
