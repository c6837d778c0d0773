//! What is kept, in which order it is sent, and what giving it up means.

use std::fs;
use std::path::Path;

use super::*;
use crate::notices::Topic;
use crate::notices::subject::{Subject, SubjectKind};
use crate::verdict::explain::Severity;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).after(Duration::from_secs(seconds))
}

fn message(id: &str, subject: &str, event: Event, made: u64) -> Waiting {
    Waiting::new(id.into(), ("team".into(), subject.into()), event, ("a title".into(), "{}".into()), at(made))
}

fn subject(id: &str) -> Subject {
    Subject {
        id: id.into(),
        topic: Topic::Incident,
        kind: SubjectKind::Incident,
        code: "stale_binding".into(),
        set: None,
        about: Box::default(),
        key: None,
        severity: Severity::Error,
        since: at(0),
        headline: String::new(),
        detail: String::new(),
        remedy: String::new(),
        command: Box::default(),
        members: Vec::new(),
        reasons: Vec::new(),
        unnamed: 0,
        left: 0,
        total: 0,
    }
}

fn id(subject: &str) -> ThreadId {
    ("team".into(), subject.into())
}

/// Tells the receiver of a subject, which is there or over.
fn tell(outbox: &mut Outbox, name: &str, event: Event, seconds: u64) {
    let thread = outbox.thread(id(name), || Thread::new("1".into(), &subject(name), at(seconds)));
    if event == Event::Closed {
        thread.miss(at(seconds));
    }
    let before = thread.note_told(at(seconds));
    outbox.keep_thread(&id(name));
    outbox.add(Waiting { before, ..message(&format!("{name}-{seconds}"), name, event, seconds) });
}

fn ids(outbox: &Outbox) -> Vec<&str> {
    outbox.messages().map(|message| &*message.id).collect()
}

#[test]
fn a_change_makes_way_for_a_newer_message_and_a_beginning_never_does() {
    let mut outbox = Outbox::open(None);
    outbox.add(message("opened", "a", Event::Opened, 0));
    outbox.add(message("changed", "a", Event::Changed, 1));
    outbox.add(message("other", "b", Event::Changed, 2));
    outbox.add(message("newer", "a", Event::Changed, 3));
    assert_eq!(ids(&outbox), ["opened", "other", "newer"]);
    outbox.message("newer").expect("it waits").attempts = 1;
    outbox.add(message("closed", "a", Event::Closed, 4));
    assert_eq!(ids(&outbox), ["opened", "other", "newer", "closed"], "one that was tried may have arrived");
}

#[test]
fn there_is_room_for_so_many_and_what_was_given_up_goes_first() {
    let mut outbox = Outbox::open(None);
    for number in 0..MOST_MESSAGES {
        outbox.add(message(&format!("{number}"), &format!("{number}"), Event::Opened, 0));
    }
    outbox.give_up("5", at(0));
    outbox.add(message("new", "new", Event::Opened, 0));
    assert_eq!((outbox.messages().count(), outbox.dropped()), (MOST_MESSAGES, 0));
    outbox.add(message("newer", "newer", Event::Opened, 0));
    assert_eq!((outbox.messages().count(), outbox.dropped()), (MOST_MESSAGES, 1));
    assert_eq!(ids(&outbox)[0], "1");
}

#[test]
fn no_message_comes_before_an_older_one_about_the_same() {
    let mut outbox = Outbox::open(None);
    outbox.add(message("opened", "a", Event::Opened, 0));
    outbox.add(message("closed", "a", Event::Closed, 1));
    let next = |outbox: &Outbox| outbox.next_for("team", at(10)).map(|message| message.id.to_string());
    assert_eq!(next(&outbox).as_deref(), Some("opened"));
    outbox.message("opened").expect("it waits").due = at(100);
    assert_eq!(next(&outbox), None);
    outbox.add(message("other", "b", Event::Opened, 2));
    assert_eq!(next(&outbox).as_deref(), Some("other"));
    outbox.message("other").expect("it waits").due = at(100);
    for test in ["test-1", "test-2"] {
        outbox.add(message(test, "", Event::Test, 3));
    }
    outbox.message("test-1").expect("it waits").due = at(100);
    assert_eq!(next(&outbox).as_deref(), Some("test-2"));
    assert_eq!(outbox.next_for("other", at(10)), None);
}

#[test]
fn a_beginning_that_is_given_up_was_never_told() {
    let mut outbox = Outbox::open(None);
    tell(&mut outbox, "a", Event::Opened, 0);
    outbox.give_up("a-0", at(5));
    assert!(!outbox.thread_mut(&id("a")).expect("a thread").is_told());
}

#[test]
fn an_end_that_is_given_up_is_told_again() {
    let mut outbox = Outbox::open(None);
    tell(&mut outbox, "a", Event::Opened, 0);
    outbox.remove("a-0");
    tell(&mut outbox, "a", Event::Closed, 1);
    assert!(outbox.is_to_be_told(&id("a")));
    outbox.give_up("a-1", at(5));
    assert!(!outbox.is_to_be_told(&id("a")));
    assert!(outbox.thread_mut(&id("a")).expect("a thread").is_told_open());
}

#[test]
fn with_beginning_and_end_given_up_nothing_was_told() {
    let mut outbox = Outbox::open(None);
    tell(&mut outbox, "a", Event::Opened, 0);
    tell(&mut outbox, "a", Event::Changed, 1);
    tell(&mut outbox, "a", Event::Closed, 2);
    assert_eq!(ids(&outbox), ["a-0", "a-2"]);
    outbox.give_up("a-0", at(5));
    assert!(outbox.thread_mut(&id("a")).expect("a thread").is_told(), "its end is on its way");
    outbox.give_up("a-2", at(5));
    assert!(!outbox.thread_mut(&id("a")).expect("a thread").is_told());
}

#[test]
fn what_was_given_up_is_shown_for_a_week() {
    let mut outbox = Outbox::open(None);
    outbox.add(message("a", "a", Event::Opened, 0));
    outbox.give_up("a", at(0));
    outbox.sweep(at(7 * 24 * 60 * 60 - 1));
    assert_eq!(ids(&outbox), ["a"]);
    outbox.sweep(at(7 * 24 * 60 * 60));
    assert_eq!(ids(&outbox), [] as [&str; 0]);
}

/// Puts a folder where the store should be, which is aside meanwhile.
fn take_away(store: &Path) {
    fs::rename(store, store.with_extension("aside")).expect("the store");
    fs::create_dir(store).expect("a folder");
}

fn bring_back(store: &Path) {
    fs::remove_dir(store).expect("a folder");
    fs::rename(store.with_extension("aside"), store).expect("the store");
}

#[test]
fn with_a_store_that_comes_late_what_stood_there_and_what_came_meanwhile_are_both_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("keyward.db");
    let mut earlier = Outbox::open(Some(store.clone()));
    tell(&mut earlier, "a", Event::Opened, 0);
    earlier.mute(Some(at(1_000)));
    earlier.save();
    assert_eq!(earlier.trouble(), None);
    drop(earlier);

    take_away(&store);
    let mut outbox = Outbox::open(Some(store.clone()));
    assert!(outbox.trouble().is_some());
    tell(&mut outbox, "b", Event::Opened, 5);
    outbox.save();
    assert!(outbox.trouble().is_some());
    bring_back(&store);
    outbox.save();
    assert_eq!((outbox.trouble(), ids(&outbox)), (None, vec!["a-0", "b-5"]));
    drop(outbox);

    let later = Outbox::open(Some(store));
    assert_eq!((ids(&later), later.muted_until()), (vec!["a-0", "b-5"], Some(at(1_000))));
    assert_eq!(later.threads_of("team").map(|thread| &*thread.subject.id).collect::<Vec<_>>(), ["a", "b"]);
    assert!(later.threads_of("team").all(Thread::is_told_open));
}

#[test]
fn a_store_that_was_lost_is_written_anew_also_after_a_time_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("keyward.db");
    let mut outbox = Outbox::open(Some(store.clone()));
    tell(&mut outbox, "a", Event::Opened, 0);
    outbox.save();
    take_away(&store);
    outbox.save();
    assert!(outbox.trouble().is_some());
    fs::remove_dir(&store).expect("a folder");
    outbox.save();
    assert_eq!(outbox.trouble(), None);
    drop(outbox);
    let later = Outbox::open(Some(store));
    assert_eq!((ids(&later), later.threads_of("team").count()), (vec!["a-0"], 1));
}

#[test]
fn what_is_removed_is_gone_from_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("keyward.db");
    let mut outbox = Outbox::open(Some(store.clone()));
    tell(&mut outbox, "a", Event::Opened, 0);
    outbox.save();
    outbox.remove("a-0");
    outbox.forget_thread(&id("a"));
    outbox.save();
    drop(outbox);
    let later = Outbox::open(Some(store));
    assert_eq!((later.messages().count(), later.threads_of("team").count()), (0, 0));
}
