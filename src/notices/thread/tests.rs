//! A thread, walked through by the second.

use super::*;
use crate::notices::Topic;
use crate::notices::subject::{CAN_FINISH, CANNOT_GO, Member, NOT_PROVEN, SubjectKind};

/// Looks at one thread at chosen moments.
struct Walk {
    thread: Option<Thread>,
    timing: Timing,
    now: u64,
}

impl Walk {
    fn new() -> Self {
        Self { thread: None, timing: Timing::default(), now: 0 }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).after(Duration::from_secs(self.now))
    }

    /// So many seconds later the subject is like that; gives what is told then.
    fn later(&mut self, seconds: u64, subject: Option<&Subject>) -> Option<Event> {
        self.now += seconds;
        let now = self.time();
        match (&mut self.thread, subject) {
            (Some(thread), Some(subject)) => thread.see(subject, now),
            (Some(thread), None) => thread.miss(now),
            (none, Some(subject)) => *none = Some(Thread::new("1".into(), subject, now)),
            (None, None) => return None,
        }
        match self.thread.as_ref()?.next(&self.timing, now) {
            Step::Wait => None,
            Step::Forget => {
                self.thread = None;
                None
            }
            Step::Tell(event) => {
                self.thread.as_mut()?.note_told(now);
                Some(event)
            }
        }
    }
}

fn subject(kind: SubjectKind, code: &str, members: &[u64]) -> Subject {
    let member = |number: &u64| Member {
        number: *number,
        who: format!("node {number}"),
        code: "stale_binding".into(),
        since: None,
        link: None,
    };
    // Of a rotation they are how many are left.
    Subject {
        id: "incident/default/1".into(),
        topic: Topic::Incident,
        kind,
        code: code.into(),
        set: Some("default".into()),
        about: Box::default(),
        key: None,
        severity: Severity::Error,
        since: Timestamp::from_millis(0),
        headline: "The old key is still sent".into(),
        detail: String::new(),
        remedy: String::new(),
        command: "keyward incidents".into(),
        members: if kind == SubjectKind::Rotation { Vec::new() } else { members.iter().map(member).collect() },
        reasons: Vec::new(),
        unnamed: 0,
        left: members.len(),
        total: members.len(),
    }
}

fn incident(members: &[u64]) -> Subject {
    subject(SubjectKind::Incident, "stale_binding", members)
}

fn rotation(code: &str) -> Subject {
    subject(SubjectKind::Rotation, code, &[1])
}

#[test]
fn a_group_is_told_once_after_the_quiet_and_then_as_a_whole() {
    let mut walk = Walk::new();
    assert_eq!(walk.later(0, Some(&incident(&[1]))), None);
    assert_eq!(walk.later(19, Some(&incident(&[1, 2]))), None);
    assert_eq!(walk.later(1, Some(&incident(&[1, 2, 3]))), Some(Event::Opened));
    assert_eq!(walk.later(299, Some(&incident(&[3, 4]))), None, "not before `every`");
    assert_eq!(walk.later(1, Some(&incident(&[3, 4]))), Some(Event::Changed));
    assert_eq!(walk.thread.as_ref().map(Thread::total), Some(4));
    assert_eq!(walk.later(3_600, Some(&incident(&[3, 4]))), None, "nothing has changed");
    assert_eq!(walk.later(24 * 3_600, Some(&incident(&[3, 4]))), Some(Event::Reminder));
    assert_eq!(walk.later(60, None), None, "it may come back");
    assert_eq!(walk.later(20, None), Some(Event::Closed));
    assert_eq!(walk.later(3_600, None), None);
    assert!(walk.thread.is_none(), "it is forgotten");
}

#[test]
fn what_is_over_before_it_was_told_is_never_told() {
    let mut walk = Walk::new();
    assert_eq!(walk.later(0, Some(&incident(&[1]))), None);
    assert_eq!(walk.later(10, None), None);
    assert!(walk.thread.is_none());
    assert_eq!(walk.later(10, Some(&incident(&[1]))), None, "the quiet begins anew");
    assert_eq!(walk.later(20, Some(&incident(&[1]))), Some(Event::Opened));
}

#[test]
fn what_comes_back_within_an_hour_is_the_same_and_does_not_flap() {
    let mut walk = Walk::new();
    walk.later(0, Some(&incident(&[1])));
    assert_eq!(walk.later(20, Some(&incident(&[1]))), Some(Event::Opened));
    assert_eq!(walk.later(0, None), None);
    assert_eq!(walk.later(20, None), Some(Event::Closed));
    // It comes and goes each minute from now on.
    let mut told = Vec::new();
    for round in 0..60 {
        let there = incident(&[1]);
        told.extend(walk.later(60, (round % 2 == 0).then_some(&there)));
    }
    let opened = told.iter().filter(|event| **event == Event::Opened).count();
    let closed = told.iter().filter(|event| **event == Event::Closed).count();
    assert!(opened <= 6 && closed <= 6 && told.len() <= 12, "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
    assert!(walk.thread.as_ref().is_some_and(Thread::is_back));
}

#[test]
fn a_blip_of_a_told_subject_is_not_told() {
    let mut walk = Walk::new();
    walk.later(0, Some(&incident(&[1])));
    assert_eq!(walk.later(20, Some(&incident(&[1]))), Some(Event::Opened));
    for _ in 0..20 {
        assert_eq!(walk.later(5, None), None);
        assert_eq!(walk.later(5, Some(&incident(&[1]))), None);
    }
}

#[test]
fn a_thousand_incidents_in_a_minute_are_three_messages() {
    let mut walk = Walk::new();
    let mut told = Vec::new();
    for count in 1..=1_000 {
        let members: Vec<_> = (0..count).collect();
        if count % 16 == 0 {
            told.extend(walk.later(1, Some(&incident(&members))));
        }
    }
    let all: Vec<_> = (0..1_000).collect();
    for _ in 0..400 {
        told.extend(walk.later(1, Some(&incident(&all))));
    }
    for _ in 0..30 {
        told.extend(walk.later(1, None));
    }
    assert_eq!(told, [Event::Opened, Event::Changed, Event::Closed]);
    assert_eq!(walk.thread.as_ref().map(Thread::total), Some(1_000));
}

#[test]
fn that_an_old_key_can_go_or_no_longer_may_not_wait() {
    let mut walk = Walk::new();
    walk.later(0, Some(&rotation(CANNOT_GO)));
    assert_eq!(walk.later(20, Some(&rotation(CANNOT_GO))), Some(Event::Opened));
    assert_eq!(walk.later(1, Some(&rotation(NOT_PROVEN))), None, "that is no news");
    assert_eq!(walk.later(1, Some(&rotation(CAN_FINISH))), Some(Event::Changed));
    assert_eq!(walk.later(1, Some(&rotation(CANNOT_GO))), Some(Event::Changed), "at once");
    assert_eq!(walk.later(1, Some(&rotation(CAN_FINISH))), Some(Event::Changed));
}

#[test]
fn what_is_merely_not_proven_any_more_is_told_when_it_lasts() {
    let mut walk = Walk::new();
    walk.later(0, Some(&rotation(CAN_FINISH)));
    assert_eq!(walk.later(20, Some(&rotation(CAN_FINISH))), Some(Event::Opened));
    // n8n is away for a minute, long after.
    assert_eq!(walk.later(40_000, Some(&rotation(NOT_PROVEN))), None);
    assert_eq!(walk.later(60, Some(&rotation(CAN_FINISH))), None);
    // It stays away.
    assert_eq!(walk.later(60, Some(&rotation(NOT_PROVEN))), None);
    assert_eq!(walk.later(299, Some(&rotation(NOT_PROVEN))), None);
    assert_eq!(walk.later(1, Some(&rotation(NOT_PROVEN))), Some(Event::Changed));
}

#[test]
fn a_rotation_is_reminded_of_and_not_told_for_each_caller() {
    let mut walk = Walk::new();
    walk.later(0, Some(&rotation(CANNOT_GO)));
    assert_eq!(walk.later(20, Some(&rotation(CANNOT_GO))), Some(Event::Opened));
    let fewer = subject(SubjectKind::Rotation, CANNOT_GO, &[]);
    assert_eq!(walk.later(4_000, Some(&fewer)), None);
    assert!(!walk.thread.as_ref().is_some_and(Thread::is_unchanged_since_told));
    assert_eq!(walk.later(24 * 3_600, Some(&fewer)), Some(Event::Reminder));
    assert_eq!(walk.later(24 * 3_600, Some(&fewer)), Some(Event::Reminder));
    assert!(walk.thread.as_ref().is_some_and(Thread::is_unchanged_since_told), "it stands still");
}

#[test]
fn what_becomes_worse_is_news() {
    let mut walk = Walk::new();
    let mild = Subject { severity: Severity::Warning, ..incident(&[1]) };
    walk.later(0, Some(&mild));
    assert_eq!(walk.later(20, Some(&mild)), Some(Event::Opened));
    assert_eq!(walk.later(400, Some(&mild)), None);
    assert_eq!(walk.later(1, Some(&incident(&[1]))), Some(Event::Changed));
}

#[test]
fn reminders_may_be_off() {
    let mut walk = Walk::new();
    walk.timing.remind = Duration::ZERO;
    walk.later(0, Some(&incident(&[1])));
    assert_eq!(walk.later(20, Some(&incident(&[1]))), Some(Event::Opened));
    assert_eq!(walk.later(400 * 24 * 3_600, Some(&incident(&[1]))), None);
}

#[test]
fn a_thread_is_the_same_after_it_was_written_and_read() {
    let mut walk = Walk::new();
    walk.later(0, Some(&incident(&[1, 2])));
    walk.later(20, Some(&incident(&[1, 2])));
    let thread = walk.thread.clone().expect("a thread");
    let text = serde_json::to_string(&thread).expect("JSON");
    let mut read: Thread = serde_json::from_str(&text).expect("the same");
    assert!(!read.is_seen() && read.is_told_open(), "another process has not seen it yet");
    read.see(&incident(&[1, 2]), walk.time());
    assert_eq!(read, thread);
}
