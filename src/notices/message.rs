//! Pure. A notice in words, as each kind of receiver understands it. Names are those that users of n8n gave: they are shortened,
//! cleared of what looks like a key or steers a terminal, and escaped.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::ReceiverKind;
use super::subject::{CAN_FINISH, Member, SubjectKind};
use super::thread::{Event, Thread};
use crate::answers::moment;
use crate::caller::names::harmless;
use crate::clock::Timestamp;
use crate::verdict::explain::Severity;

/// A message to be sent.
pub struct Message<'a> {
    pub event: Event,
    pub thread: &'a Thread,
    pub at: Timestamp,
    /// Where keyward's page is, if it has one.
    pub page: Option<&'a str>,
}

/// The body of a message to a webhook. Fields are added to it, never taken away.
#[derive(Serialize)]
struct Body<'a> {
    /// What happened: `incident.opened`.
    #[serde(rename = "type")]
    kind: String,
    #[serde(with = "moment")]
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    /// The same in all messages about the same.
    thread: &'a str,
    /// One line.
    title: String,
    /// All of it in words.
    text: String,
    state: &'static str,
    severity: &'static str,
    code: &'a str,
    set: Option<&'a str>,
    about: Option<&'a str>,
    key: Option<Value>,
    #[serde(with = "moment")]
    since: Timestamp,
    remedy: Cow<'a, str>,
    command: &'a str,
    page: Option<&'a str>,
    /// How many callers it is about now, and how many it ever was.
    left: usize,
    total: usize,
    callers: Vec<Value>,
    /// How many callers are not named here.
    more: usize,
    /// What keeps an old key.
    reasons: Vec<Cow<'a, str>>,
}

impl Message<'_> {
    /// As a receiver of that kind takes it: JSON.
    #[must_use]
    pub fn body(&self, kind: ReceiverKind) -> String {
        match kind {
            ReceiverKind::Webhook => self.for_webhook(),
            ReceiverKind::Slack => self.for_slack(),
        }
    }

    /// `incident.opened`; of a rotation its own words.
    #[must_use]
    pub fn kind(&self) -> String {
        let subject = &self.thread.subject;
        let event = match (subject.kind, self.event) {
            (SubjectKind::Rotation, Event::Opened | Event::Changed) => match &*subject.code {
                CAN_FINISH => CAN_FINISH,
                _ if self.event == Event::Changed => "cannot_finish_after_all",
                _ => "began",
            },
            (SubjectKind::Rotation, Event::Reminder) if &*subject.code == CAN_FINISH => CAN_FINISH,
            (SubjectKind::Rotation, Event::Reminder) if self.stands_still() => "stands_still",
            (SubjectKind::Rotation, Event::Reminder) => "goes_on",
            (SubjectKind::Rotation, Event::Closed) => "ended",
            (_, event) => event.code(),
        };
        format!("{}.{event}", subject.kind.code())
    }

    /// What happened, in a line.
    #[must_use]
    pub fn title(&self) -> String {
        let subject = &self.thread.subject;
        let headline = fitting(&subject.headline, ROOM_OF_HEADLINE);
        let callers = self.callers();
        match (subject.kind, self.event) {
            (SubjectKind::Rotation, Event::Closed) => format!("The rotation has ended: {headline}"),
            (SubjectKind::Rotation, Event::Changed) if &*subject.code != CAN_FINISH => {
                format!("DO NOT REVOKE YET. {headline}")
            }
            (SubjectKind::Rotation, Event::Reminder) if &*subject.code != CAN_FINISH => {
                let how = if self.stands_still() { "stands still" } else { "goes on" };
                format!("The rotation {how}. {headline}")
            }
            (SubjectKind::Problem, Event::Closed) => format!("Over: {headline}"),
            (_, Event::Closed) => format!("Over, {callers}: {headline}"),
            (SubjectKind::Incident | SubjectKind::UnknownKey, _) => {
                let again = if self.thread.is_back() && self.event == Event::Opened { "Again: " } else { "" };
                format!("{again}{headline}: {callers}")
            }
            (SubjectKind::Problem, Event::Reminder) => format!("Still: {headline}"),
            (SubjectKind::Problem, Event::Opened) if self.thread.is_back() => format!("Again: {headline}"),
            (SubjectKind::Problem | SubjectKind::Rotation, _) => headline.into_owned(),
        }
    }

    /// `3 callers`, `2 of 7 callers left`, `all 7 callers are dealt with`.
    fn callers(&self) -> String {
        let (left, total) = (self.thread.left(), self.thread.total());
        let noun = |count| if count == 1 { "caller" } else { "callers" };
        match (left, total) {
            (0, 1) => "the caller is dealt with".to_owned(),
            (0, total) => format!("all {total} callers are dealt with"),
            (left, total) if left == total => format!("{left} {}", noun(left)),
            (left, total) => format!("{left} of {total} {} left", noun(total)),
        }
    }

    /// Whether nothing about it has changed for as long as reminders are apart.
    fn stands_still(&self) -> bool {
        self.thread.is_unchanged_since_told()
    }

    /// The first of what keeps an old key, and how many there are beside these.
    fn reasons(&self) -> Vec<Cow<'_, str>> {
        let reasons = &self.thread.subject.reasons;
        let mut said: Vec<_> =
            reasons.iter().take(MOST_REASONS).map(|reason| fitting(reason, ROOM_OF_REASON)).collect();
        let all = reasons.len() + self.thread.subject.unnamed;
        if let Some(more) = all.checked_sub(MOST_REASONS).filter(|more| *more > 0) {
            said.push(Cow::Owned(format!("and {more} more")));
        }
        said
    }

    fn state(&self) -> &'static str {
        if self.event == Event::Closed { "closed" } else { "open" }
    }

    fn detail(&self) -> Cow<'_, str> {
        fitting(&self.thread.subject.detail, ROOM_OF_DETAIL)
    }

    fn remedy(&self) -> Cow<'_, str> {
        if self.event == Event::Closed {
            Cow::Borrowed("")
        } else {
            fitting(&self.thread.subject.remedy, ROOM_OF_REMEDY)
        }
    }

    /// The callers by name, as many as there is room for, and how many are left out. `size` is what one takes of the room.
    fn named(&self, room: usize, size: impl Fn(&Member) -> usize) -> (&[Member], usize) {
        let members = &self.thread.subject.members;
        let mut used = 0;
        let fits = |member: &&Member| {
            used += size(member);
            used <= room
        };
        let shown = members.iter().take(MOST_NAMED).take_while(fits).count();
        (&members[..shown], members.len() - shown)
    }

    // === Webhook ===

    fn for_webhook(&self) -> String {
        let subject = &self.thread.subject;
        let caller = |member: &Member| {
            json!({
                "who": name_of(member),
                "code": member.code,
                "since": member.since.map(|since| since.to_string()),
                "link": member.link,
            })
        };
        // Each stands in the text as well, in a line of its own.
        let size = |member: &Member| caller(member).to_string().len() + room_of(&name_of(member)) + "-  ,".len();
        let (named, more) = self.named(ROOM_IN_WEBHOOK, size);
        let body = Body {
            kind: self.kind(),
            timestamp: self.at,
            data: Data {
                thread: &self.thread.number,
                title: self.title(),
                text: self.text(named, more),
                state: self.state(),
                severity: subject.severity.code(),
                code: &subject.code,
                set: subject.set.as_deref(),
                about: Some(&*subject.about).filter(|about| !about.is_empty()),
                key: subject.key.as_ref().map(|key| json!(key)),
                since: subject.since,
                remedy: self.remedy(),
                command: &subject.command,
                page: self.page,
                left: self.thread.left(),
                total: self.thread.total(),
                callers: named.iter().map(caller).collect(),
                more,
                reasons: self.reasons(),
            },
        };
        // It has no map whose keys are no texts, and nothing that fails to be shown.
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// All of it in words, for a receiver that shows one text.
    fn text(&self, named: &[Member], more: usize) -> String {
        let subject = &self.thread.subject;
        let mut paragraphs = vec![self.title()];
        if self.event != Event::Closed {
            paragraphs.push(self.detail().into_owned());
            paragraphs.push(list(named, more, |member| format!("- {}", name_of(member))));
            paragraphs.push(self.reasons().iter().map(|reason| format!("- {reason}")).collect::<Vec<_>>().join("\n"));
            paragraphs.push(self.remedy().into_owned());
            let page = self.page.map_or_else(String::new, |page| format!(" or {page}"));
            paragraphs.push(format!("More: {}{page}", subject.command));
        }
        paragraphs.retain(|paragraph| !paragraph.is_empty());
        paragraphs.join("\n\n")
    }

    // === Slack ===

    /// <https://docs.slack.dev/reference/block-kit/blocks/section-block>
    fn for_slack(&self) -> String {
        let subject = &self.thread.subject;
        let line = |member: &Member| match &member.link {
            Some(link) => format!("• <{}|{}>", escaped(&link.replace('|', "%7C")), escaped(&name_of(member))),
            None => format!("• {}", escaped(&name_of(member))),
        };
        let (named, more) = self.named(ROOM_IN_SLACK, |member| line(member).chars().count() + 1);
        let mark = match (self.event, subject.code.as_ref()) {
            (Event::Closed, _) | (_, CAN_FINISH) => ":white_check_mark:",
            _ if subject.severity == Severity::Error => ":red_circle:",
            _ => ":large_yellow_circle:",
        };
        let title = escaped(&self.title());
        let mut sections = vec![format!("{mark} *{title}*")];
        if self.event != Event::Closed {
            sections.push(escaped(&self.detail()));
            sections.push(list(named, more, line));
            let reason = |reason: &Cow<'_, str>| format!("• {}", escaped(reason));
            sections.push(self.reasons().iter().map(reason).collect::<Vec<_>>().join("\n"));
            sections.push(escaped(&self.remedy()));
            let page = self.page.map_or_else(String::new, |page| format!("  |  {}", escaped(page)));
            sections.push(format!("`{}`{page}", escaped(&subject.command)));
        }
        sections.retain(|section| !section.is_empty());
        let block = |text: &String| {
            let text = json!({ "type": "mrkdwn", "text": shortened(text, LONGEST_SECTION), "verbatim": true });
            json!({ "type": "section", "text": text })
        };
        let blocks: Vec<_> = sections.iter().map(block).collect();
        json!({ "text": title, "blocks": blocks }).to_string()
    }
}

/// What asks a receiver whether a message arrives.
#[must_use]
pub fn test_body(kind: ReceiverKind, receiver: &str, at: Timestamp) -> String {
    let title = format!("A test of keyward's notices: `{receiver}` is reached");
    match kind {
        ReceiverKind::Webhook => json!({
            "type": "test",
            "timestamp": at.to_string(),
            "data": { "title": title, "text": title, "state": "open", "severity": Severity::Fine.code() },
        }),
        ReceiverKind::Slack => json!({ "text": escaped(&title) }),
    }
    .to_string()
}

fn name_of(member: &Member) -> Box<str> {
    harmless(&member.who, LONGEST_NAME)
}

fn list(named: &[Member], more: usize, show: impl Fn(&Member) -> String) -> String {
    let mut lines: Vec<_> = named.iter().map(show).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// How many bytes a text takes in JSON, without its quotation marks.
fn room_of(text: &str) -> usize {
    text.chars().map(room_of_character).sum()
}

/// <https://www.rfc-editor.org/rfc/rfc8259#section-7>
fn room_of_character(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' => 2,
        character if character.is_ascii_control() => 6,
        character => character.len_utf8(),
    }
}

/// As much of a text as takes no more room in JSON than that.
fn fitting(text: &str, room: usize) -> Cow<'_, str> {
    if room_of(text) <= room {
        return Cow::Borrowed(text);
    }
    let mut used = '…'.len_utf8();
    let fits = |character: &char| {
        used += room_of_character(*character);
        used <= room
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    Cow::Owned(short)
}

/// Slack's three control characters (<https://docs.slack.dev/messaging/formatting-message-text>).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            character => escaped.push(character),
        }
    }
    escaped
}

/// At most so many characters, without half an escape at the end.
fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(longest - 1).collect();
    if let Some(begun) = short.rfind('&').filter(|begun| !short[*begun..].contains(';')) {
        short.truncate(begun);
    }
    short.push('…');
    short
}

/// How much of what keeps an old key a message says.
const MOST_REASONS: usize = 6;

/// How many callers a message names.
const MOST_NAMED: usize = 50;

/// How long a name may be, in characters.
const LONGEST_NAME: usize = 160;

/// How many bytes the callers may take. Standard Webhooks want bodies of less than 20 kB, in which the headline, the remedy
/// and the reasons stand twice.
const ROOM_IN_WEBHOOK: usize = 9_000;

const ROOM_OF_HEADLINE: usize = 500;

const ROOM_OF_DETAIL: usize = 1_500;

const ROOM_OF_REMEDY: usize = 1_500;

/// Of each of them.
const ROOM_OF_REASON: usize = 330;

/// How many characters the callers may take, so that their list fits in one section.
const ROOM_IN_SLACK: usize = 2_900;

/// Slack refuses a section with more characters.
const LONGEST_SECTION: usize = 3_000;

#[cfg(test)]
mod tests;
