//! Pure. What one receiver was told of one subject, and what it is to be told next.
//!
//! | the subject | it was told | the next message |
//! |---|---|---|
//! | is there | never | `opened`, when it has lasted for `quiet` |
//! | is there, and has changed | that it is there | `changed`, `every` after the last message; at once where it cannot wait |
//! | is there | that it is there | `reminder`, `remind` after the last message |
//! | is there again | that it is over, less than an hour ago | `opened` again, `every` after the last message |
//! | is over | never | none |
//! | is over | that it is there | `closed`, when it has been over for `quiet`; after it came back, not before `every` |
//!
//! What is over for an hour, and told, is forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timing;
use super::subject::{Subject, SubjectKind, Turn};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::verdict::explain::Severity;

/// What a receiver was told of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// The same in all messages of it: 16 hex digits.
    pub number: Box<str>,
    /// As it was seen last.
    pub subject: Subject,
    /// When it was first seen.
    began: Timestamp,
    pub changed: Timestamp,
    /// Since when it is over; nothing while it is there.
    over: Option<Timestamp>,
    /// How often it came back after the receiver was told that it is over.
    returns: u32,
    /// Each caller that it was ever about.
    ever: BTreeSet<u64>,
    /// Those that it is about now.
    now: BTreeSet<u64>,
    told: Option<Told>,
    /// Whether this process has seen it there.
    #[serde(skip)]
    is_seen: bool,
}

/// The state of the subject that the last message told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    at: Timestamp,
    is_open: bool,
    code: Box<str>,
    severity: Severity,
    members: BTreeSet<u64>,
}

codes! {
    /// What a message says of its subject.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Event {
        Opened => "opened",
        Changed => "changed",
        /// It is as it was.
        Reminder => "reminder",
        Closed => "closed",
        /// You asked for a message, to see whether it arrives.
        Test => "test",
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    Tell(Event),
    /// There is nothing left to tell.
    Forget,
}

impl Thread {
    /// Begins with a subject that is there. `number` is one that no other thread has.
    #[must_use]
    pub fn new(number: Box<str>, subject: &Subject, now: Timestamp) -> Self {
        let mut thread = Self {
            number,
            subject: subject.clone(),
            began: now,
            changed: now,
            over: None,
            returns: 0,
            ever: BTreeSet::new(),
            now: BTreeSet::new(),
            told: None,
            is_seen: true,
        };
        thread.see(subject, now);
        thread
    }

    /// Takes over how the subject is.
    pub fn see(&mut self, subject: &Subject, now: Timestamp) {
        let members: BTreeSet<_> = subject.members.iter().map(|member| member.number).take(MOST_MEMBERS).collect();
        if self.over.take().is_some() && self.told.as_ref().is_some_and(|told| !told.is_open) {
            self.returns += 1;
        }
        let is_new = members != self.now || subject.code != self.subject.code;
        if is_new || subject.measure() != self.subject.measure() {
            self.changed = now;
        }
        let room = MOST_MEMBERS.saturating_sub(self.ever.len());
        let new: Vec<_> = members.difference(&self.ever).copied().take(room).collect();
        self.ever.extend(new);
        self.now = members;
        self.subject = subject.clone();
        self.is_seen = true;
    }

    /// Notes that the subject is not there, where that is certain.
    pub fn miss(&mut self, now: Timestamp) {
        if self.over.is_none() {
            (self.over, self.changed) = (Some(now), now);
            self.now.clear();
            (self.subject.left, self.subject.reasons, self.subject.members) = (0, Vec::new(), Vec::new());
            self.subject.unnamed = 0;
        }
    }

    /// Whether this process has seen the subject there: only then does its absence say that it is over.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// What is to be done now.
    #[must_use]
    pub fn next(&self, timing: &Timing, now: Timestamp) -> Step {
        match (&self.told, self.over) {
            (None, None) => tell(Event::Opened, now.since(self.began) >= timing.quiet),
            (None, Some(_)) => Step::Forget,
            (Some(told), None) => self.next_while_there(told, timing, now),
            (Some(told), Some(over)) if told.is_open => {
                let is_due = self.returns == 0 || now.since(told.at) >= timing.every;
                tell(Event::Closed, is_due && now.since(over) >= timing.quiet)
            }
            (Some(_), Some(over)) if now.since(over) >= SAME => Step::Forget,
            (Some(_), Some(_)) => Step::Wait,
        }
    }

    fn next_while_there(&self, told: &Told, timing: &Timing, now: Timestamp) -> Step {
        let since = now.since(told.at);
        if !told.is_open {
            return tell(Event::Opened, since >= timing.every);
        }
        let is_news = match self.subject.turn(&told.code) {
            Turn::Urgent => return Step::Tell(Event::Changed),
            Turn::News => now.since(self.changed) >= timing.every,
            Turn::None => told.members != self.now || self.is_worse_than(told),
        };
        if is_news && since >= timing.every {
            return Step::Tell(Event::Changed);
        }
        tell(Event::Reminder, !timing.remind.is_zero() && since >= timing.remind)
    }

    /// Of a rotation, a turn says all.
    fn is_worse_than(&self, told: &Told) -> bool {
        self.subject.kind != SubjectKind::Rotation && self.subject.severity > told.severity
    }

    /// Notes that it is told, as it is now. Gives what was told last.
    pub fn note_told(&mut self, now: Timestamp) -> Option<Told> {
        let is_open = self.over.is_none();
        let Subject { code, severity, .. } = &self.subject;
        let told = Told { at: now, is_open, code: code.clone(), severity: *severity, members: self.now.clone() };
        self.told.replace(told)
    }

    /// Notes that the message of that moment will not arrive: `before` it is what the receiver knows, if it is the last one.
    pub fn take_back(&mut self, at: Timestamp, before: Option<&Told>) {
        if self.told.as_ref().is_some_and(|told| told.at == at) {
            self.told = before.cloned();
        }
    }

    /// Whether the receiver was told of it: only then is it worth keeping.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Whether the receiver believes that it is there.
    #[must_use]
    pub fn is_told_open(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.is_open)
    }

    /// Whether nothing has changed since the last message.
    #[must_use]
    pub fn is_unchanged_since_told(&self) -> bool {
        self.told.as_ref().is_some_and(|told| self.changed <= told.at)
    }

    /// How many callers it was ever about.
    #[must_use]
    pub fn total(&self) -> usize {
        self.ever.len().max(self.subject.total)
    }

    /// How many it is about now.
    #[must_use]
    pub fn left(&self) -> usize {
        self.now.len().max(self.subject.left)
    }

    /// Whether it came back after the receiver was told that it is over.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.returns > 0
    }
}

fn tell(event: Event, is_due: bool) -> Step {
    if is_due { Step::Tell(event) } else { Step::Wait }
}

/// What comes back within an hour is the same.
const SAME: Duration = Duration::from_hours(1);

/// How many callers of a subject are told apart.
pub const MOST_MEMBERS: usize = 10_000;

#[cfg(test)]
mod tests;
