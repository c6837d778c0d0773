//! Whether an old key can go: each way in which a sender is done, each thing that must not be overlooked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use super::*;
use crate::caller::Family;
use crate::keys::set::SetIndex;
use crate::ledger::doubt_kind::DoubtKind;
use crate::ledger::identity::{Holder, Identity};
use crate::ledger::look::{AuditDoubt, Listed, Look, NamedRecord, Pressed, RecordState, Unfinished, Users, node_hash};
use crate::ledger::query::Filter;
use crate::ledger::rotation_grounds::Audit;
use crate::ledger::seen::Seen;
use crate::ledger::senders::Acceptance;
use crate::ledger::sent::Sent;
use crate::ledger::tests::{Bench, PEER, START, duration};

const OLD: &str = "sk-old";
const NEW: &str = "sk-new";

/// A ledger whose only n8n is looked through by hand.
struct Story {
    bench: Bench,
    nodes: Vec<(&'static str, &'static str, &'static str)>,
    changed: BTreeMap<&'static str, Timestamp>,
    pressed: BTreeMap<&'static str, Pressed>,
    without_node: Vec<&'static str>,
    unfinished: Vec<Unfinished>,
    executions: BTreeMap<u64, Listed>,
    before: Option<Look>,
    doubts: Vec<AuditDoubt>,
    /// How far n8n's clock is ahead of ours, in milliseconds.
    ahead: i64,
    is_first_generation: bool,
}

impl Story {
    fn new(settings: Settings) -> Self {
        let mut story = Self {
            bench: Bench::with_n8n(OLD, &["main"], settings),
            nodes: vec![("w", "n", "r"), ("v", "m", "r")],
            changed: BTreeMap::from([("r", Timestamp::from_millis(START - 86_400_000))]),
            pressed: BTreeMap::new(),
            without_node: Vec::new(),
            unfinished: Vec::new(),
            executions: BTreeMap::new(),
            before: None,
            doubts: Vec::new(),
            ahead: 0,
            is_first_generation: false,
        };
        story.look();
        story
    }

    fn pass(&mut self, seconds: u64) {
        self.bench.pass(Duration::from_secs(seconds));
    }

    /// A request of a node that n8n lists: it comes and ends, and its execution began with it.
    fn ask(&mut self, node: &'static str, number: u64, key: &str, peer: u8) {
        let (workflow, _, _) = *self.nodes.iter().find(|(_, known, _)| *known == node).expect("a node");
        let began = self.by_n8n();
        self.executions.insert(number, Listed { workflow: workflow.into(), began, ended: None, by_hand: false });
        self.ask_unlisted(node, number, key, peer);
    }

    fn ask_unlisted(&mut self, node: &'static str, number: u64, key: &str, peer: u8) {
        let (workflow, _, _) = *self.nodes.iter().find(|(_, known, _)| *known == node).expect("a node");
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None);
        let identity = Identity { workflow: Some(workflow), node: Some(node), ..untagged };
        self.sight(&identity, Some(number), key, peer);
    }

    fn sight(&mut self, identity: &Identity<'_>, number: Option<u64>, key: &str, peer: u8) {
        let execution = number.map(|number| number.to_string());
        let judged = self.bench.judged(Some(key), 200, self.bench.now(), false);
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, peer));
        let seen = Seen { execution: execution.as_deref(), peer, ..judged };
        self.bench.ledger.sight(&self.bench.ledger.binding(identity), &seen);
        self.bench.pass(duration(10));
    }

    fn by_n8n(&self) -> Timestamp {
        Timestamp::from_millis(self.bench.now().as_millis() + self.ahead)
    }

    /// Our clock is set; n8n's goes on as it did.
    fn set_clock(&mut self, millis: i64) {
        self.bench.now.fetch_add(millis, Ordering::Relaxed);
        self.ahead -= millis;
    }

    fn look(&mut self) {
        self.bench.writer.turn(&self.bench.reloader);
        self.bench.pass(duration(10));
        let at = self.bench.now();
        let node = |(workflow, node, record): &(&str, &str, &str)| {
            let name = (Box::from(*workflow), Box::from(*node));
            let before = self.before.as_ref().and_then(|look| look.nodes.get(&name));
            let since = before.filter(|named| *named.record == **record).map_or(at, |named| named.since);
            (name, NamedRecord { record: (*record).into(), since })
        };
        let record = |id: &&'static str| {
            let state = RecordState {
                name: format!("OpenAI {id}").into(),
                changed: self.changed.get(id).copied(),
                nodes: self.nodes.iter().filter(|(_, _, record)| record == id).count(),
                pressed: self.pressed.get(id).copied(),
            };
            (Box::from(*id), state)
        };
        let apart = Look::apart(self.by_n8n(), at);
        let named: BTreeSet<_> = self.nodes.iter().map(|(_, _, record)| *record).collect();
        let look = Look {
            instance: "main".into(),
            at,
            workflows: self.nodes.iter().map(|(workflow, _, _)| Box::from(*workflow)).collect(),
            nodes: self.nodes.iter().map(node).collect(),
            nodes_there: self.nodes.iter().map(|(workflow, node, _)| node_hash(workflow, node)).collect(),
            records: named.iter().chain(&self.without_node).map(record).collect(),
            lists_records: !self.is_first_generation,
            executions: self.executions.clone(),
            unfinished: self.unfinished.clone(),
            clocks_apart: [apart, self.before.as_ref().map_or(0, |look| look.clocks_apart[0])],
            users: Users::default(),
        };
        self.before = Some(look.clone());
        self.bench.ledger.look_came(&Arc::new(look));
        self.bench.pass(duration(10));
    }

    fn press(&mut self, record: &'static str, key: &str) {
        let key = Some(self.bench.reloader.ring().names(key.as_bytes()));
        self.pressed.insert(record, Pressed { at: self.bench.now(), key });
        self.bench.pass(duration(10));
    }

    fn change(&mut self, record: &'static str) {
        self.changed.insert(record, self.bench.now());
        self.bench.pass(duration(10));
    }

    fn answer(&self) -> Answer {
        let audit =
            Audit { at: self.before.as_ref().map(|look| look.at), doubts: self.doubts.clone(), ..Audit::default() };
        self.bench.can_go(audit)
    }

    /// The codes of what bars it, once n8n was looked through again.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        self.look();
        let answer = self.answer();
        let found: Vec<_> = answer.bars().iter().map(|bar| bar.kind.code()).collect();
        let bars: Vec<_> = answer.bars().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{answer}: {bars:#?}");
        assert_eq!(answer.code() == "yes", expected.is_empty());
    }

    fn rotate(&mut self) {
        self.pass(60);
        self.bench.flush();
        self.bench.rotate(NEW);
        self.pass(60);
    }
}

fn quick() -> Settings {
    Settings { quiet: Duration::ZERO, ..Settings::default() }
}

/// Both nodes at one address.
fn two_nodes(story: &mut Story, from: u64, key: &str) {
    story.ask("n", from, key, 2);
    story.ask("m", from + 1, key, 2);
}

#[test]
fn a_sender_is_done_when_it_later_sent_a_good_key_and_the_old_one_was_quiet_for_long_enough() {
    let mut story = Story::new(Settings::default());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&["quiet"]);
    story.pass(3_700);
    story.check(&[]);
    let Answer::Yes(basis) = story.answer() else { panic!("it is proven") };
    assert_eq!((basis.nodes, basis.senders, basis.accepted.len()), (2, 2, 0));
    assert_eq!(basis.assumes[0], "one process behind each address");
}

#[test]
fn what_waits_for_a_look_bars_it() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&[]);
    story.ask("n", 5, OLD, 2);
    story.bench.writer.turn(&story.bench.reloader);
    let codes: Vec<_> = story.answer().bars().iter().map(|bar| bar.kind.code()).collect();
    assert_eq!(codes, ["still_sent"], "it came after the key was replaced");
    let mut story = Story::new(quick());
    story.ask("n", 1, OLD, 2);
    story.look();
    story.ask("n", 2, OLD, 2);
    story.bench.rotate(NEW);
    two_nodes(&mut story, 3, NEW);
    let codes: Vec<_> = story.answer().bars().iter().map(|bar| bar.kind.code()).collect();
    assert!(codes.contains(&"unsettled"), "{codes:?}");
}

#[test]
fn a_worker_with_the_old_environment_is_a_sender_of_its_own() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.ask("n", 3, OLD, 3);
    story.rotate();
    two_nodes(&mut story, 4, NEW);
    story.ask("n", 6, OLD, 3);
    story.check(&["still_sent"]);
    let answer = story.answer();
    assert_eq!(answer.bars()[0].address, Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3))));
    assert!(answer.bars()[0].to_string().contains("from 10.0.0.3"), "{}", answer.bars()[0]);
    assert_eq!(story.bench.view().progress.mixed + story.bench.view().progress.stale, 1);
    story.pass(60);
    story.ask("n", 7, NEW, 3);
    story.check(&[]);
}

#[test]
fn behind_one_address_two_workers_have_to_show_many_good_executions() {
    let mut story = Story::new(Settings { workers: 2, ..quick() });
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    for number in 0..4 {
        story.ask("n", 10 + number, if number % 2 == 0 { NEW } else { OLD }, 2);
    }
    story.ask("n", 20, NEW, 2);
    story.ask("m", 21, NEW, 2);
    story.look();
    let answer = story.answer();
    let bar = answer.bars().iter().find(|bar| bar.kind.code() == "still_sent").expect("it came by turns");
    assert!(bar.to_string().contains("by turns with a newer key"), "{bar}");
    assert!(bar.end.contains("more executions in a row"), "{:?}", bar.end);
    for number in 0..18 {
        story.ask("n", 30 + number, NEW, 2);
    }
    story.check(&[]);
}

#[test]
fn an_execution_that_goes_on_with_the_old_key_proves_nothing() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    // It began before the last old use.
    story.ask("n", 5, OLD, 2);
    story.ask("m", 6, NEW, 2);
    story.ask_unlisted("n", 1, NEW, 2);
    story.look();
    let who = story.bench.ledger.binding(&Identity {
        workflow: Some("w"),
        node: Some("n"),
        ..Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None)
    });
    let answer = story.answer();
    assert!(answer.bars().iter().any(|bar| bar.binding == Some(who.id())), "{answer}");
}

#[test]
fn a_clone_at_the_same_address_is_another_n8n() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 5001, OLD);
    story.pass(600);
    story.ask("n", 5003, OLD, 2);
    story.pass(600);
    // Its numbers are those of long ago, and n8n lists other executions under them.
    story.ask_unlisted("n", 17, OLD, 2);
    story.rotate();
    story.pass(600);
    two_nodes(&mut story, 5004, NEW);
    story.check(&["silent"]);
    assert!(story.answer().bars()[0].to_string().contains("(another n8n)"), "{}", story.answer().bars()[0]);
    story.pass(600);
    story.ask_unlisted("n", 18, NEW, 2);
    story.check(&[]);
}

#[test]
fn a_record_that_n8n_says_was_changed_is_proven_for_all_its_senders() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.ask("m", 3, OLD, 2);
    story.rotate();
    story.pass(60);
    story.change("r");
    story.pass(60);
    story.ask("n", 4, NEW, 2);
    story.check(&[]);
    // Where keys come from the environment, the date of a record says nothing.
    let mut story = Story::new(Settings { env_keys: Some(true), ..quick() });
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    story.change("r");
    story.pass(60);
    story.ask("n", 3, NEW, 2);
    story.check(&["silent"]);
}

#[test]
fn where_addresses_alternate_a_changed_record_proves_all_of_them_only_where_no_environment_decides() {
    #[track_caller]
    fn check(env_keys: Option<bool>, is_written: bool, expected: &[&str]) {
        let mut story = Story::new(Settings { env_keys, ..quick() });
        for number in 0..6 {
            story.ask("n", number, OLD, 2 + u8::try_from(number % 2).expect("a small number"));
            story.pass(60);
        }
        story.rotate();
        story.change("r");
        if is_written {
            let changed = story.changed["r"];
            story.look();
            story.bench.ledger.key_was_written("main", "r", changed);
            story.bench.flush();
            story.bench.crash();
        }
        story.pass(60);
        two_nodes(&mut story, 10, NEW);
        story.check(expected);
        // keyward wrote the record, but it was changed again since.
        story.pass(60);
        story.change("r");
        story.pass(60);
        two_nodes(&mut story, 20, NEW);
        story.check(if env_keys == Some(false) { &[] } else { &["silent"] });
    }
    check(None, false, &["silent"]);
    check(Some(false), false, &[]);
    check(None, true, &[]);
    check(Some(true), true, &["silent"]);
}

#[test]
fn where_addresses_alternate_a_press_shows_the_environment_of_one_of_them() {
    #[track_caller]
    fn check(env_keys: Option<bool>, peers: [u8; 2], expected: &[&str]) {
        let mut story = Story::new(Settings { env_keys, ..quick() });
        // Its node never ran, as far as keyward remembers.
        story.nodes.push(("x", "seldom", "s"));
        story.changed.insert("s", Timestamp::from_millis(START - 86_400_000));
        let both = |story: &mut Story, from: u64, key: &str| {
            for round in 0..6_u64 {
                let peer = peers[usize::from(round % 2 == 1)];
                story.ask("n", from + 2 * round, key, peer);
                story.ask("m", from + 2 * round + 1, key, peer);
                story.pass(60);
            }
        };
        both(&mut story, 0, OLD);
        story.rotate();
        both(&mut story, 20, NEW);
        story.press("s", NEW);
        story.check(expected);
    }
    check(None, [2, 3], &["record"]);
    check(Some(true), [2, 3], &["record"]);
    check(Some(false), [2, 3], &[]);
    check(None, [2, 2], &[]);
}

#[test]
fn a_record_proves_nothing_of_what_came_before_it_was_known() {
    // It takes its key from the environment: each process of n8n has its own.
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    story.change("r");
    story.ask("m", 3, NEW, 2);
    story.pass(60);
    story.ask("n", 4, OLD, 2);
    // Only now does n8n answer keyward.
    story.before = None;
    story.look();
    story.press("r", NEW);
    story.check(&["still_sent"]);
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    story.ask("n", 3, NEW, 2);
    story.ask("n", 4, OLD, 2);
    story.change("r");
    story.before = None;
    story.look();
    story.press("r", NEW);
    story.check(&["still_sent"]);
}

#[test]
fn a_press_of_the_test_shows_what_a_record_holds() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.without_node.push("spare");
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&["record_without_node"]);
    story.press("spare", OLD);
    story.check(&["record_holds_it"]);
    story.change("spare");
    story.check(&["record_without_node"]);
    story.press("spare", NEW);
    story.check(&[]);
}

#[test]
fn a_record_that_was_changed_since_it_was_seen_is_unproven() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&[]);
    story.change("r");
    story.check(&["record"]);
    story.pass(10);
    two_nodes(&mut story, 5, NEW);
    story.check(&[]);
}

#[test]
fn an_address_is_gone_when_others_have_taken_its_place() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    for number in 3..6 {
        story.pass(60);
        story.ask("n", number, NEW, 9);
    }
    // The other node was never seen elsewhere, but its address is gone.
    story.check(&[]);
    // Where addresses serve by turns, silence is not enough.
    let mut story = Story::new(quick());
    for number in 0..6 {
        story.ask("n", number, OLD, 2 + u8::try_from(number % 2).expect("a small number"));
        story.pass(60);
    }
    story.rotate();
    for number in 10..14 {
        story.ask("n", number, NEW, 2);
        story.pass(60);
    }
    story.nodes = vec![("w", "n", "r")];
    story.check(&["silent"]);
}

#[test]
fn a_node_that_stands_in_its_workflow_no_more_is_done() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.nodes.push(("w", "judge", "r"));
    story.ask("judge", 3, OLD, 4);
    story.rotate();
    two_nodes(&mut story, 4, NEW);
    story.check(&["silent"]);
    story.nodes.pop();
    story.check(&[]);
}

#[test]
fn a_waiting_execution_is_a_doubt_while_its_record_is_unproven() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    let waits = |records: Option<&[&str]>| Unfinished {
        execution: "77".into(),
        workflow: "w".into(),
        began: Timestamp::from_millis(START),
        waits: true,
        records: records.map(|ids| ids.iter().copied().map(Box::from).collect()),
    };
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.unfinished = vec![waits(Some(&["r"]))];
    story.check(&[]);
    story.unfinished = vec![waits(Some(&["a record that was deleted"]))];
    story.check(&[]);
    story.unfinished = vec![waits(None)];
    story.check(&["waiting"]);
    story.unfinished = vec![Unfinished { waits: false, ..waits(Some(&["r"])) }];
    story.check(&["running"]);
    story.unfinished.clear();
    story.check(&[]);
}

#[test]
fn a_program_without_a_tag_is_done_after_eight_quiet_days() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    let key_of = |story: &Story, key: &str| Some(story.bench.reloader.ring().names(key.as_bytes()).fingerprint);
    let script = |key| Identity::untagged(SetIndex::DEFAULT, Family::Sdk, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 50)), key);
    let key = key_of(&story, OLD);
    story.sight(&script(key), None, OLD, 50);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&["silent"]);
    let key = key_of(&story, NEW);
    story.sight(&script(key), None, NEW, 50);
    story.check(&["silent"]);
    story.pass(8 * 86_400);
    two_nodes(&mut story, 5, NEW);
    // The quiet is over, but n8n was not looked through since: the key may be typed into a node by now.
    let codes = |answer: &Answer| answer.bars().iter().map(|bar| bar.kind.code()).collect::<Vec<_>>();
    assert_eq!(codes(&story.answer()), ["silent"]);
    story.check(&[]);
    // Of a look in which it stands in a node, the answer is no.
    let names = story.bench.reloader.ring().names(OLD.as_bytes());
    let typed = vec![(names.fingerprint, "node h of workflow x".to_owned())];
    let at = story.before.as_ref().map(|look| look.at);
    let answer = story.bench.can_go(Audit { at, typed, ..Audit::default() });
    assert_eq!((answer.code(), codes(&answer)), ("no", vec!["typed"]));
    assert_eq!(answer.bars()[0].to_string(), "node h of workflow x has it typed into it");
}

#[test]
fn a_program_without_a_tag_whose_pauses_are_long_has_to_be_quiet_for_longer() {
    let mut story = Story::new(quick());
    let script = |story: &Story, key: &str| {
        let key = Some(story.bench.reloader.ring().names(key.as_bytes()).fingerprint);
        Identity::untagged(SetIndex::DEFAULT, Family::Sdk, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 50)), key)
    };
    two_nodes(&mut story, 1, OLD);
    story.sight(&script(&story, OLD), None, OLD, 50);
    story.look();
    story.pass(5 * 86_400);
    // Another program there, with a key of its own: it does not shorten the pauses of the first one.
    story.sight(&script(&story, "sk-other"), None, "sk-other", 50);
    story.pass(5 * 86_400);
    story.sight(&script(&story, OLD), None, OLD, 50);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.sight(&script(&story, NEW), None, NEW, 50);
    story.pass(14 * 86_400);
    story.check(&["silent"]);
    story.pass(2 * 86_400);
    story.check(&[]);
}

#[test]
fn an_old_key_that_was_tried_out_in_the_editor_is_in_some_credential() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    let editor =
        Identity { holder: Holder::Editor, ..Identity::untagged(SetIndex::DEFAULT, Family::Legacy, PEER, None) };
    story.sight(&editor, None, OLD, 2);
    story.check(&["edited"]);
    story.pass(1);
    story.sight(&editor, None, NEW, 2);
    story.check(&[]);
}

#[test]
fn what_you_accept_holds_until_it_changes_and_over_a_restart() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.ask("m", 3, OLD, 7);
    story.rotate();
    two_nodes(&mut story, 4, NEW);
    story.check(&["silent"]);
    let bar = story.answer().bars()[0].clone();
    let acceptance = Acceptance { state: bar.state(), reason: "that worker is gone".into(), at: story.bench.now() };
    story.bench.ledger.accept_bar(SetIndex::DEFAULT, bar.number, Some(acceptance));
    story.check(&[]);
    let Answer::Yes(basis) = story.answer() else { panic!("it is accepted") };
    assert_eq!(&*basis.accepted[0].accepted.as_ref().expect("a reason").reason, "that worker is gone");
    assert!(basis.to_string().starts_with("yes, with 1 accepted by you"), "{basis}");
    story.bench.flush();
    story.bench.crash();
    story.check(&[]);
    story.pass(60);
    story.ask("m", 6, OLD, 7);
    story.check(&["still_sent"]);
}

#[test]
fn the_number_of_what_was_read_accepts_nothing_that_came_to_be_since() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.ask("m", 3, OLD, 7);
    story.rotate();
    two_nodes(&mut story, 4, NEW);
    story.look();
    let audit = || Audit { at: story.before.as_ref().map(|look| look.at), ..Audit::default() };
    let bar = story.answer().bars()[0].clone();
    let digits = format!("{:08x}", bar.shown_number());
    let found = story.bench.query().with_audits(vec![audit()]).bar(&digits);
    assert_eq!(found.map(|(_, found)| found.number), Some(bar.number));
    story.ask("m", 6, OLD, 7);
    story.look();
    let audit = || Audit { at: story.before.as_ref().map(|look| look.at), ..Audit::default() };
    assert!(story.bench.query().with_audits(vec![audit()]).bar(&digits).is_none());
}

/// What makes a doubt, and what changes that on which it rests.
type Doubt = (&'static str, fn(&mut Story), fn(&mut Story));

fn shared(holder: Holder) -> Identity<'static> {
    Identity { holder, ..Identity::untagged(SetIndex::DEFAULT, Family::Legacy, PEER, None) }
}

fn unfinished(story: &mut Story, waits: bool, execution: &str) {
    let (execution, began, workflow) = (execution.into(), Timestamp::from_millis(START), "w".into());
    story.unfinished = vec![Unfinished { execution, workflow, began, waits, records: None }];
}

fn in_flight(story: &Story) {
    story.bench.ledger.in_flight.begin(story.bench.reloader.ring().names(OLD.as_bytes()).fingerprint);
}

fn crowd(story: &Story, first: u16) {
    let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None);
    for number in first..first + 300 {
        let workflow = format!("x{number}");
        let binding = story.bench.ledger.binding(&Identity { workflow: Some(&workflow), ..untagged });
        let [high, low] = number.to_be_bytes();
        let peer = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
        story.bench.ledger.take_sent(&binding, vec![sent(story, OLD, peer)]);
    }
}

fn doubt(story: &mut Story, state: u64) {
    let (kind, subject, text) = (DoubtKind::Bypass, "l".into(), "it goes past".into());
    story.doubts = vec![AuditDoubt { kind, subject, text, end: "mend it".into(), state }];
}

fn nothing(_: &mut Story) {}

const DOUBTS: [Doubt; 13] = [
    ("silent", |story| story.ask("m", 30, OLD, 7), |story| story.ask("m", 31, OLD, 7)),
    (
        "still_sent",
        |story| {
            story.rotate();
            two_nodes(story, 40, NEW);
            story.ask("m", 42, OLD, 7);
        },
        |story| story.ask("m", 43, OLD, 7),
    ),
    (
        "edited",
        |story| story.sight(&shared(Holder::Editor), None, OLD, 2),
        |story| story.sight(&shared(Holder::Editor), None, OLD, 2),
    ),
    (
        "unattributed",
        |story| story.sight(&Identity::other(SetIndex::DEFAULT), None, OLD, 2),
        |story| story.sight(&Identity::other(SetIndex::DEFAULT), None, OLD, 2),
    ),
    ("record", |story| story.nodes.push(("w", "o", "other")), |story| story.change("other")),
    ("record_without_node", |story| story.without_node.push("spare"), |story| story.change("spare")),
    ("waiting", |story| unfinished(story, true, "70"), |story| unfinished(story, true, "71")),
    ("running", |story| unfinished(story, false, "70"), |story| unfinished(story, false, "71")),
    ("in_flight", |story| in_flight(story), |story| in_flight(story)),
    // Another current key, which was not seen either; the old one stands behind the one in between now.
    ("no_good_use", nothing, |story| story.bench.rotate("sk-newest")),
    ("room", |story| crowd(story, 0), |story| crowd(story, 400)),
    ("audit", |story| doubt(story, 1), |story| doubt(story, 2)),
    ("clock", nothing, |story| {
        story.bench.now.fetch_add(4 * 3_600_000, Ordering::Relaxed);
        story.ask("n", 60, NEW, 2);
        story.look();
        story.bench.now.fetch_sub(3_600_000, Ordering::Relaxed);
    }),
];

/// A story with that doubt in it, which could go otherwise.
fn with_doubt(code: &str, begin: fn(&mut Story)) -> Story {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    begin(&mut story);
    story.rotate();
    if code != "no_good_use" {
        two_nodes(&mut story, 50, NEW);
    }
    story.look();
    if code == "clock" {
        story.bench.now.fetch_sub(3_600_000, Ordering::Relaxed);
    }
    story
}

#[test]
fn each_doubt_names_its_end_and_an_acceptance_holds_until_what_it_names_changes() {
    for (code, begin, change) in DOUBTS {
        let mut story = with_doubt(code, begin);
        let found = |story: &Story| {
            story.answer().all_bars().filter(|bar| bar.kind.code() == code).cloned().collect::<Vec<_>>()
        };
        let bars = found(&story);
        assert!(!bars.is_empty() && bars.iter().all(|bar| !bar.end.is_empty() && bar.can_accept), "{code}: {bars:#?}");
        for bar in &bars {
            let acceptance = Acceptance { state: bar.state(), reason: "why".into(), at: story.bench.now() };
            story.bench.ledger.accept_bar(SetIndex::DEFAULT, bar.number, Some(acceptance));
        }
        assert!(found(&story).iter().all(|bar| bar.accepted.is_some()), "{code}: {}", story.answer());
        story.pass(60);
        change(&mut story);
        if code != "clock" && code != "no_good_use" {
            story.look();
        }
        let again = if code == "silent" { "still_sent" } else { code };
        let (view, old) = (story.bench.view(), story.bench.reloader.ring().names(OLD.as_bytes()).fingerprint);
        let of_key = view.old_keys.iter().find(|key| key.names.fingerprint == old).expect("it").can_go.clone();
        let answer = if code == "no_good_use" { of_key } else { story.answer() };
        let mut open = answer.all_bars().filter(|bar| bar.accepted.is_none());
        assert!(open.any(|bar| bar.kind.code() == again), "{code}: {answer}");
    }
}

#[test]
fn what_ends_by_itself_or_by_a_deed_alone_cannot_be_accepted() {
    #[track_caller]
    fn check(answer: &Answer, code: &str) {
        let bars: Vec<_> = answer.all_bars().filter(|bar| bar.kind.code() == code).collect();
        assert!(!bars.is_empty(), "{code}: {answer}");
        assert!(bars.iter().all(|bar| !bar.can_accept && !bar.end.is_empty()), "{code}: {bars:#?}");
    }
    let mut story = Story::new(Settings::default());
    two_nodes(&mut story, 1, OLD);
    story.look();
    story.ask("n", 3, OLD, 2);
    story.bench.rotate(NEW);
    check(&story.answer(), "unsettled");
    check(&story.answer(), "quiet");
    story.pass(60);
    story.ask("n", 4, OLD, 2);
    check(&story.answer(), "still_sent");
    story.press("r", OLD);
    story.look();
    check(&story.answer(), "record_holds_it");
}

#[test]
fn a_learning_set_never_says_yes_whatever_is_accepted() {
    let story = Story::new(quick());
    let (ring, now) = (story.bench.reloader.ring(), story.bench.now());
    let (senders, settings) = (Senders::default(), quick());
    let good = [ring.names(NEW.as_bytes()).fingerprint];
    let evidence = [Evidence { senders: &senders, good: &good, new: &good, looks: &[] }];
    let answer = answer(&Grounds {
        old: ring.names(OLD.as_bytes()),
        retired: Retired { after: None, by: Timestamp::from_millis(START) },
        evidence: &evidence,
        known: Vec::new(),
        audit: &Audited { at: Some(now.after(Duration::from_hours(1))), doubts: &[] },
        binding_of: &|_| None,
        last_use: None,
        uses: &[],
        is_taken: &|_| true,
        is_refused: false,
        in_flight: None,
        settings: &settings,
        learning: true,
        now,
    });
    let bars: Vec<_> = answer.bars().iter().map(|bar| (bar.kind.code(), bar.can_accept)).collect();
    assert_eq!((answer.code(), bars), ("not_seen", vec![("learning", false)]));
}

#[test]
fn several_are_said_to_send_it_and_the_remedy_for_two_senders_of_one_binding_names_workers() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Agent, PEER, None);
    let agents = Identity { holder: Holder::Agent, ..untagged };
    story.rotate();
    story.sight(&agents, None, OLD, 2);
    two_nodes(&mut story, 3, NEW);
    story.look();
    let told = |story: &Story| story.answer().bars().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(told(&story)[0].starts_with("n8n's Agents still send it, last at "), "{:?}", told(&story));
    story.sight(&agents, None, NEW, 2);
    // A worker with the old environment, whose use waits for the next look at first.
    story.ask("n", 6, OLD, 3);
    let waiting = told(&story);
    story.look();
    for told in [waiting, told(&story)] {
        assert!(told[0].contains(" still sends it, last at ") && told[0].contains(" from 10.0.0.3"), "{told:?}");
    }
    let end = story.answer().bars()[0].end.clone();
    assert!(
        end.contains("a worker with an older environment or a clone of n8n and restart it with the new one"),
        "{end:?}"
    );
    story.ask("n", 7, NEW, 2);
    story.look();
    // Its last word is good, and one of its senders sends the old key: an incident with addresses, keys and times.
    let (query, open) = (story.bench.query(), Filter { open: Some(true), ..Filter::default() });
    let incidents = query.incidents(&open);
    let [mixed] = &incidents[..] else { panic!("{incidents:#?}") };
    assert_eq!(
        (mixed.incident.diagnosis, mixed.incident.sightings),
        ("mixed", 1),
        "what came before the rotation is none"
    );
    let addresses: Vec<_> = mixed.sent_from.iter().filter_map(|sent| sent.address).collect();
    assert_eq!(addresses, [2, 3, 2].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))));
    assert!(mixed.sent_from.is_sorted_by_key(|sent| -sent.last.as_millis()));
    assert!(mixed.incident.opened <= mixed.incident.last && mixed.incident.opened > Timestamp::from_millis(START));
    let listed = query.bindings(&Filter { standing: Some("mixed".into()), ..Filter::default() });
    assert_eq!(listed.len(), 1, "bindings, incidents and rotation agree");
    assert_eq!((story.bench.view().progress.mixed, story.bench.view().is_done()), (1, false));
    story.ask("n", 8, OLD, 3);
    story.ask("n", 9, NEW, 2);
    let sightings =
        |story: &Story| story.bench.query().incidents(&open).iter().map(|row| row.incident.sightings).sum::<u64>();
    story.look();
    assert_eq!(sightings(&story), 2);
    story.ask("n", 10, NEW, 3);
    story.look();
    assert_eq!(story.bench.query().incidents(&open).len(), 0, "it is done");
}

#[test]
fn a_no_names_all_that_bars_it_by_credential_and_the_rotation_is_not_done_beside_it() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    for (node, workflow) in [("c1", "faq"), ("c2", "faq"), ("c3", "sub")] {
        story.nodes.push((workflow, node, "copy"));
    }
    story.look();
    story.ask("c1", 3, OLD, 2);
    story.rotate();
    two_nodes(&mut story, 4, NEW);
    story.ask("c1", 6, OLD, 2);
    story.look();
    let told = |story: &Story| {
        let (query, old) = (story.bench.query(), story.bench.reloader.ring().names(OLD.as_bytes()).fingerprint);
        let told = query.by_credential(old, story.answer().bars());
        told.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&story),
        ["OpenAI copy: old key, 3 nodes in faq, sub"],
        "one of them has run, and its record is theirs"
    );
    story.press("copy", OLD);
    story.look();
    let at = story.before.as_ref().map(|look| look.at);
    let names = story.bench.reloader.ring().names(OLD.as_bytes());
    let typed = vec![(names.fingerprint, "node h of workflow x".to_owned())];
    let query = story.bench.query().with_audits(vec![Audit { at, typed, ..Audit::default() }]);
    let view = query.named_rotation(SetIndex::DEFAULT);
    let answer = &view.old_keys[0].can_go;
    let codes: BTreeSet<_> = answer.bars().iter().map(|bar| bar.kind.code()).collect();
    assert_eq!((answer.code(), codes), ("no", BTreeSet::from(["record_holds_it", "still_sent", "typed"])));
    assert_eq!(told(&story), ["OpenAI copy: old key, 3 nodes in faq, sub"]);
    let held = answer.bars().iter().find(|bar| bar.kind.code() == "record_holds_it").expect("it").to_string();
    assert!(held.starts_with("credential OpenAI copy (3 nodes in faq, sub) holds it: n8n's test of it"), "{held}");
    // Where all senders are well, but a record holds the key, nothing is done either.
    story.ask("c1", 7, NEW, 2);
    story.look();
    assert_eq!(told(&story), ["OpenAI copy: old key, 3 nodes in faq, sub"]);
    let view = story.bench.query().with_audits(vec![Audit { at, ..Audit::default() }]).rotation(SetIndex::DEFAULT);
    assert_eq!((view.progress.is_done(), view.is_done()), (true, false));
}

#[test]
fn evidence_outlives_a_restart() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.look();
    story.ask("n", 3, OLD, 3);
    story.bench.flush();
    story.bench.crash();
    story.rotate();
    two_nodes(&mut story, 4, NEW);
    story.check(&["silent"]);
    assert_eq!(story.answer().bars()[0].address, Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3))));
}

#[test]
fn what_a_set_knew_that_is_configured_no_longer_is_evidence_after_a_restart() {
    let mut story = Story::new(quick());
    let sets = || vec![Arc::from("default"), Arc::from("marketing")];
    assert!(story.bench.ledger.make_room(sets()));
    story.bench.reloader.know_sets(&sets());
    two_nodes(&mut story, 1, OLD);
    let key = Some(story.bench.reloader.ring().names(OLD.as_bytes()).fingerprint);
    let marketing = SetIndex::nth(1).expect("a set");
    let script = Identity::untagged(marketing, Family::Sdk, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 50)), key);
    story.sight(&script, None, OLD, 50);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&["silent"]);
    story.bench.flush();
    // The settings have the one set alone.
    story.bench.crash();
    assert_eq!(**story.bench.ledger.sets(), sets());
    story.bench.reloader.know_sets(&story.bench.ledger.sets());
    assert_eq!(story.bench.query().sets().count(), 1);
    story.check(&["silent"]);
    // One that comes later stands behind it, and not in its place.
    assert!(!story.bench.ledger.make_room(vec![Arc::from("default"), Arc::from("staging")]));
    let later = ["default", "marketing", "staging"].map(Arc::from);
    assert!(story.bench.ledger.make_room(later.to_vec()));
}

#[test]
fn a_key_of_two_sets_goes_when_both_are_done_and_a_clock_that_went_back_is_a_doubt() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&[]);
    story.bench.now.fetch_sub(3_600_000, Ordering::Relaxed);
    let answer = story.answer();
    assert!(answer.bars().iter().any(|bar| bar.kind.code() == "clock"), "{answer}");
}

#[test]
fn by_a_clock_that_is_behind_the_executions_of_an_n8n_are_not_taken_for_those_of_its_clone() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 100, OLD);
    story.pass(600);
    // A clone with the same ids, at the same address.
    story.ask_unlisted("n", 10, OLD, 2);
    story.rotate();
    two_nodes(&mut story, 102, NEW);
    story.check(&["silent"]);
    story.set_clock(-3 * 3_600_000);
    story.look();
    two_nodes(&mut story, 104, NEW);
    story.look();
    story.set_clock(3 * 3_600_000);
    story.pass(3_600);
    story.check(&["silent"]);
    story.ask_unlisted("n", 12, NEW, 2);
    story.check(&[]);
}

#[test]
fn by_a_clock_that_was_put_back_what_comes_later_is_no_earlier() {
    let mut story = Story::new(quick());
    let agent = Identity { holder: Holder::Agent, ..Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None) };
    two_nodes(&mut story, 1, OLD);
    story.sight(&agent, None, OLD, 2);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.sight(&agent, None, NEW, 2);
    story.check(&[]);
    story.set_clock(-3 * 3_600_000);
    story.sight(&agent, None, OLD, 2);
    story.look();
    story.set_clock(3 * 3_600_000);
    story.pass(600);
    story.check(&["still_sent"]);
    story.sight(&agent, None, NEW, 2);
    story.check(&[]);
}

#[test]
fn numbers_of_two_n8n_that_are_the_same_by_chance_are_told_apart_by_their_address() {
    let mut story = Story::new(quick());
    story.bench = Bench::with_n8n(OLD, &["main", "second"], quick());
    let look_second = |story: &mut Story, number: u64| {
        let began = story.bench.now();
        story.pass(1);
        story.bench.writer.turn(&story.bench.reloader);
        let listed = Listed { workflow: "w".into(), began, ended: None, by_hand: false };
        let (instance, at) = ("second".into(), story.bench.now());
        let executions = BTreeMap::from([(number, listed)]);
        let look = Look { instance, at, executions, ..story.before.clone().expect("a look") };
        story.bench.ledger.look_came(&Arc::new(look));
    };
    let owners = |story: &Story, peer: u8| {
        let peer = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, peer)));
        let of = |address: &&crate::ledger::senders::Address| address.peer == peer && address.is_sure();
        story.bench.ledger.with_senders(|all| {
            all[0].addresses.iter().filter(of).map(|address| address.n8n.clone()).collect::<Vec<_>>()
        })
    };
    story.ask("n", 100, OLD, 2);
    story.ask_unlisted("n", 50, OLD, 9);
    story.look();
    look_second(&mut story, 50);
    assert_eq!(owners(&story, 9), [N8n::Named("second".into())]);
    // Both are at the same number.
    story.ask_unlisted("n", 101, OLD, 9);
    story.ask("n", 101, OLD, 2);
    story.look();
    look_second(&mut story, 102);
    assert_eq!(owners(&story, 9), [N8n::Named("second".into())]);
    assert_eq!(owners(&story, 2), [N8n::Named("main".into())]);
}

#[test]
fn an_exchange_that_took_long_is_no_clock_that_was_put_back() {
    let mut story = Story::new(quick());
    let agent = Identity { holder: Holder::Agent, ..Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None) };
    two_nodes(&mut story, 1, OLD);
    story.sight(&agent, None, OLD, 2);
    let long = sent(&story, OLD, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
    story.rotate();
    story.pass(600);
    two_nodes(&mut story, 3, NEW);
    story.sight(&agent, None, NEW, 2);
    story.check(&[]);
    // A stream that began before ends now.
    story.bench.ledger.take_sent(&story.bench.ledger.binding(&agent), vec![long]);
    story.check(&[]);
}

#[test]
fn a_number_that_was_made_up_makes_no_clone_of_the_executions_that_n8n_does_not_list() {
    let mut story = Story::new(quick());
    for number in 100..103 {
        story.ask_unlisted("n", number, OLD, 2);
        story.ask_unlisted("m", 10 * number, OLD, 2);
    }
    story.pass(600);
    story.ask_unlisted("n", 10, OLD, 2);
    story.rotate();
    story.look();
    story.ask_unlisted("n", 90_000, "sk-strange", 9);
    story.pass(600);
    story.look();
    story.ask_unlisted("m", 2_000, NEW, 2);
    story.ask_unlisted("n", 2_001, NEW, 2);
    story.check(&["silent"]);
    assert!(story.answer().bars()[0].to_string().contains("another n8n"), "the clone's");
    // At the address of both, where n8n lists nothing, a good key is not told to be the clone's.
    story.ask_unlisted("n", 11, NEW, 2);
    story.check(&["silent"]);
}

#[test]
fn a_run_by_hand_on_n8n_1_does_not_prove_what_is_saved() {
    let mut story = Story::new(quick());
    story.is_first_generation = true;
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    story.ask("m", 3, NEW, 2);
    story.ask("n", 4, NEW, 2);
    if let Some(run) = story.executions.get_mut(&4) {
        run.by_hand = true;
    }
    story.check(&["silent"]);
    // One that n8n does not list, while it lists others, may be such a run that it did not save.
    story.ask_unlisted("n", 5, NEW, 2);
    story.check(&["silent"]);
    story.ask("n", 6, NEW, 2);
    story.check(&[]);
}

/// A rotation on n8n 1.x, after which execution 4 began to send the new key; and when it began.
fn with_one_that_goes_on() -> (Story, Timestamp) {
    let mut story = Story::new(quick());
    story.is_first_generation = true;
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    story.ask("m", 3, NEW, 2);
    let began = story.by_n8n();
    story.ask_unlisted("n", 4, NEW, 2);
    (story, began)
}

#[test]
fn a_long_execution_on_n8n_1_counts_once_it_is_listed() {
    for (by_hand, bars) in [(false, &[][..]), (true, &["silent"][..])] {
        let (mut story, began) = with_one_that_goes_on();
        story.check(&["silent"]);
        story.pass(600);
        let ended = Some(story.by_n8n());
        story.executions.insert(4, Listed { workflow: "w".into(), began, ended, by_hand });
        story.check(bars);
    }
}

#[test]
fn an_old_key_that_came_after_a_long_execution_on_n8n_1_began_shows_two_processes() {
    let (mut story, began) = with_one_that_goes_on();
    // It is never known which record the node named, so nothing is known of a record there.
    for (record, number, key) in [("s", 5, OLD), ("r", 6, NEW)] {
        story.nodes[0].2 = record;
        story.look();
        story.pass(60);
        story.ask("n", number, key, 2);
        story.nodes[0].2 = "t";
        story.look();
        story.pass(60);
    }
    let ended = Some(story.by_n8n());
    story.executions.insert(4, Listed { workflow: "w".into(), began, ended, by_hand: false });
    story.check(&["still_sent"]);
    assert!(
        story.answer().bars()[0].to_string().ends_with("by turns with a newer key"),
        "{}",
        story.answer().bars()[0]
    );
}

#[test]
fn an_old_key_late_in_a_long_execution_on_n8n_1_is_no_other_n8n() {
    let mut story = Story::new(quick());
    story.is_first_generation = true;
    let began = story.by_n8n();
    story.pass(60);
    two_nodes(&mut story, 5, OLD);
    story.pass(600);
    story.ask_unlisted("n", 4, OLD, 2);
    story.rotate();
    two_nodes(&mut story, 7, NEW);
    story.check(&["unsettled"]);
    let ended = Some(story.by_n8n());
    story.executions.insert(4, Listed { workflow: "w".into(), began, ended, by_hand: false });
    story.check(&[]);
    // One that is not listed for an hour is not its own.
    story.ask_unlisted("n", 3, OLD, 2);
    story.pass(1_800);
    two_nodes(&mut story, 9, NEW);
    story.check(&["still_sent"]);
    assert!(!story.answer().bars()[0].to_string().contains("another n8n"), "{}", story.answer().bars()[0]);
    story.pass(2_000);
    two_nodes(&mut story, 11, NEW);
    story.look();
    let answer = story.answer();
    assert!(answer.bars().iter().any(|bar| bar.to_string().contains("another n8n")), "{answer}");
}

#[test]
fn what_one_n8n_1_lists_was_not_run_by_hand_in_another_one() {
    let mut story = Story::new(quick());
    story.is_first_generation = true;
    story.bench = Bench::with_n8n(OLD, &["main", "second"], quick());
    let look_second = |story: &mut Story| {
        let began = story.bench.now();
        let listed = Listed { workflow: "another".into(), began, ended: None, by_hand: false };
        story.look();
        let (instance, at) = ("second".into(), story.bench.now());
        let (workflows, nodes) = ([Box::from("another")].into(), HashMap::new());
        let executions = BTreeMap::from([(50, listed)]);
        let before = story.before.clone().expect("a look");
        let look = Look { instance, at, workflows, nodes, executions, ..before };
        story.bench.ledger.look_came(&Arc::new(look));
    };
    two_nodes(&mut story, 101, OLD);
    look_second(&mut story);
    story.rotate();
    let began = story.by_n8n();
    story.ask_unlisted("n", 103, NEW, 2);
    look_second(&mut story);
    // Nor is it another one's because it is listed late.
    story.executions.insert(103, Listed { workflow: "w".into(), began, ended: None, by_hand: false });
    for number in 104..124 {
        story.ask("m", number, NEW, 2);
    }
    look_second(&mut story);
    story.check(&[]);
    let row = story.bench.ledger.with_senders(|all| {
        let rows = all[0].runs.values().filter_map(|run| run.row.as_ref());
        rows.map(|row| row.executions).collect::<Vec<_>>()
    });
    assert_eq!(row, [21], "each counts once");
}

#[test]
fn the_hours_by_which_the_clock_was_set_ahead_are_no_silence() {
    let mut story = Story::new(Settings::default());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.check(&["quiet"]);
    story.set_clock(14 * 3_600_000);
    story.check(&["quiet"]);
    assert!(story.answer().bars()[0].to_string().contains("the clock was set ahead"), "{}", story.answer());
    story.pass(3_000);
    story.check(&["quiet"]);
    story.pass(700);
    story.check(&[]);
}

#[test]
fn an_open_exchange_keeps_the_key_it_carries() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    let key = story.bench.reloader.ring().names(OLD.as_bytes()).fingerprint;
    story.bench.ledger.in_flight.begin(key);
    story.check(&["in_flight"]);
    story.bench.ledger.in_flight.end(key);
    story.check(&[]);
}

#[test]
fn without_a_good_use_or_a_look_nothing_is_proven() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.rotate();
    story.look();
    let answer = story.answer();
    let codes: BTreeSet<_> = answer.bars().iter().map(|bar: &Bar| bar.kind.code()).collect();
    assert!(codes.contains("no_good_use") && codes.contains("silent") && codes.contains("record"), "{codes:?}");
    two_nodes(&mut story, 3, NEW);
    story.check(&[]);
    let answer = story.bench.can_go(Audit::default());
    assert_eq!(answer.bars().iter().map(|bar| bar.kind.code()).collect::<Vec<_>>(), ["not_audited"]);
    let doubt =
        AuditDoubt { kind: DoubtKind::Bypass, subject: "l".into(), text: "it".into(), end: String::new(), state: 1 };
    story.doubts = vec![doubt];
    story.check(&["audit"]);
}

#[test]
fn more_addresses_than_there_is_room_for_are_a_doubt() {
    let mut story = Story::new(quick());
    two_nodes(&mut story, 1, OLD);
    story.look();
    let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None);
    for number in 0..300_u16 {
        let workflow = format!("x{number}");
        let identity = Identity { workflow: Some(&workflow), node: Some("n"), ..untagged };
        let [high, low] = number.to_be_bytes();
        let peer = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
        let binding = story.bench.ledger.binding(&identity);
        story.bench.ledger.take_sent(&binding, vec![sent(&story, OLD, peer)]);
    }
    story.rotate();
    two_nodes(&mut story, 3, NEW);
    story.look();
    let answer = story.answer();
    let Answer::NotProven { but, .. } = &answer else { panic!("{answer}") };
    assert!(but.iter().any(|bar| bar.kind.code() == "room") && but.len() > 300, "{}", but.len());
}

fn sent(story: &Story, key: &str, peer: IpAddr) -> Sent {
    let (key, now) = (story.bench.reloader.ring().names(key.as_bytes()).fingerprint, story.bench.now());
    Sent {
        key,
        peer,
        execution: None,
        first: now,
        last: now,
        accepted: true,
        is_previous: false,
        outdated: 0,
        endpoint: "other",
    }
}

#[test]
fn an_execution_that_was_silent_for_long_and_went_on_may_do_so_again_where_n8n_does_not_tell_what_runs() {
    for (is_first_generation, after_an_hour) in [(true, &["quiet"][..]), (false, &[])] {
        let mut story = Story { is_first_generation, ..Story::new(Settings::default()) };
        two_nodes(&mut story, 1, OLD);
        story.look();
        story.pass(5_400);
        story.ask_unlisted("n", 1, OLD, 2);
        story.rotate();
        two_nodes(&mut story, 3, NEW);
        story.check(&["quiet"]);
        story.pass(3_700);
        story.check(after_an_hour);
        let is_told = story.answer().bars().iter().any(|bar| bar.to_string().contains("go on after a long silence"));
        assert_eq!(is_told, is_first_generation, "{}", story.answer());
        story.pass(2 * 5_400 - 3_700);
        story.check(&[]);
    }
}
