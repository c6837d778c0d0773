//! The ledger as a whole: its bounds, what its store gives back, a year of it, and random lives against a plain model.

use super::store::Bounds;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;

use http::StatusCode;
use proptest::prelude::*;

use super::answer::Answer;
use super::binding::{Binding, Memory, Unsaved};
use super::destination::Destination;
use super::incident::Closing;
use super::offline::Offline;
use super::query::{Filter, FindError, Query};
use super::rotation::RotationView;
use super::rotation_grounds::Audit;
use super::sqlite::Sqlite;
use super::standing::{Silence, Standing};
use super::store::{Batch, Change, Store};
use super::writer::Writer;
use super::*;
use crate::caller::Family;
use crate::clock::Clock;
use crate::keys::reloader::{Reload, Reloader};
use crate::keys::source::Source;
use crate::keys::{self, SetSettings, state};
use crate::outcome::{Ending, Outcome, Proof, UpstreamError};
use crate::verdict::credential::{Credential, Place, Presented};
use crate::verdict::explain::{self, Diagnosis, Sender};
use crate::verdict::{self, Verdict};

pub(in crate::ledger) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// 2026-11-23T08:00:00Z, a Monday.
pub(in crate::ledger) const START: i64 = 1_795_420_800_000;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn sets() -> Vec<Arc<str>> {
    vec!["default".into()]
}

fn workflow(id: &str) -> Identity<'_> {
    Identity { workflow: Some(id), ..Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None) }
}

pub(in crate::ledger) fn answered(status: u16) -> Outcome {
    Outcome {
        ending: Ending::Completed,
        status: StatusCode::from_u16(status).ok(),
        error: UpstreamError::None,
        proof: Proof::None,
    }
}

/// An exchange with the current key and without a key's name, that asked the API and has ended.
pub(in crate::ledger) fn seen(at: Timestamp, diagnosis: Diagnosis, outcome: Outcome) -> Seen<'static> {
    Seen {
        at,
        key: None,
        verdict: Verdict::Current,
        diagnosis,
        outcome,
        execution: None,
        name: None,
        client_version: None,
        destination: Destination::Api,
        told: None,
        was_sent: true,
        was_refused: false,
        peer: PEER,
        path: "/v1/chat/completions",
    }
}

/// A ledger with its keys and its store, and a clock that the test moves.
pub(in crate::ledger) struct Bench {
    pub(in crate::ledger) folder: tempfile::TempDir,
    pub(in crate::ledger) now: Arc<AtomicI64>,
    pub(in crate::ledger) ledger: Arc<Ledger>,
    pub(in crate::ledger) reloader: Reloader,
    pub(in crate::ledger) writer: Writer,
    pub(in crate::ledger) retention: Duration,
    pub(in crate::ledger) rotation: (proof::Settings, Vec<Configured>),
}

impl Bench {
    /// With that current key.
    fn new(key: &str) -> Self {
        Self::with_n8n(key, &[], proof::Settings::default())
    }

    /// The same with those n8n, and what was said about them.
    pub(in crate::ledger) fn with_n8n(key: &str, names: &[&str], settings: proof::Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), key).expect("a file");
        let now = Arc::new(AtomicI64::new(START));
        let configured: Vec<_> = names.iter().map(|name| Configured { name: (*name).into(), set: None }).collect();
        let rotation = (settings, configured);
        let (ledger, reloader, writer) = Self::open(folder.path(), &now, 90 * DAY, &rotation);
        Self { folder, now, ledger, reloader, writer, retention: 90 * DAY, rotation }
    }

    fn open(
        folder: &std::path::Path,
        now: &Arc<AtomicI64>,
        retention: Duration,
        rotation: &(proof::Settings, Vec<Configured>),
    ) -> (Arc<Ledger>, Reloader, Writer) {
        let clock = Clock::Chosen(Arc::clone(now));
        let (said, configured) = rotation.clone();
        let ledger = Arc::new(Ledger::new(Bounds::default(), sets()).with_rotation(said, configured));
        let (path, number) = (folder.join("keyward.db"), rand());
        let mut writer = Writer::new(Arc::clone(&ledger), Some(path), retention, clock.clone(), number);
        let kept = writer.open(state::fingerprint_key_name(folder));
        let current = Some(Source::File(folder.join("key")));
        let settings = keys::Settings {
            sets: vec![SetSettings { current, ..SetSettings::learning("default") }],
            takes_vendors: false,
        };
        let state = state::Settings { dir: folder.to_owned() };
        let (reloader, troubles) = Reloader::open(&settings, &state, kept, |_| None, clock).expect("a reloader");
        assert!(troubles.is_empty(), "{troubles:?}");
        (ledger, reloader, writer)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keyward.db")
    }

    pub(in crate::ledger) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    pub(in crate::ledger) fn pass(&self, span: Duration) {
        self.now.fetch_add(i64::try_from(span.as_millis()).expect("a span"), Ordering::Relaxed);
    }

    /// Has another key in the file, and the reloader know of it.
    pub(in crate::ledger) fn rotate(&self, key: &str) {
        std::fs::write(self.folder.path().join("key"), key).expect("a file");
        assert!(!matches!(self.reloader.reload(), Reload::Failed(_)));
    }

    /// The store is told of everything, and the sweep is due.
    pub(in crate::ledger) fn flush(&mut self) {
        self.pass(Duration::from_secs(61));
        self.writer.turn(&self.reloader);
    }

    /// Ends without a last word, and begins again.
    pub(in crate::ledger) fn crash(&mut self) {
        (self.ledger, self.reloader, self.writer) =
            Self::open(self.folder.path(), &self.now, self.retention, &self.rotation);
    }

    /// An exchange with that key that started then, and to which upstream gave that status.
    pub(in crate::ledger) fn judged(
        &self,
        key: Option<&str>,
        status: u16,
        at: Timestamp,
        sent_key_before: bool,
    ) -> Seen<'static> {
        let credential = key.map_or(Credential::Missing, |key| {
            Credential::Key(Presented { value: key.as_bytes().into(), place: Place::Bearer })
        });
        let judgement = verdict::judge(&credential, None, &self.reloader.ring(), at);
        let (outcome, sender) = (answered(status), Sender { family: Family::Sdk, sent_key_before, learning: false });
        let diagnosis = explain::diagnose(judgement.verdict, outcome, sender);
        Seen { key: judgement.key, verdict: judgement.verdict, ..seen(at, diagnosis, outcome) }
    }

    /// An exchange that started then, and ends now.
    fn sight(&self, exchange: Asked<'_>) -> Arc<Binding> {
        let key = exchange.key.map(|key| self.reloader.ring().names(key.as_bytes()).fingerprint);
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, key);
        let identity = exchange.workflow.map_or(untagged, |workflow| Identity { workflow: Some(workflow), ..untagged });
        let binding = self.ledger.binding(&identity);
        let judged = self.judged(exchange.key, exchange.status, exchange.at, binding.sent_key_before());
        let seen = Seen { execution: exchange.execution, ..judged };
        self.ledger.sight(&binding, &seen);
        binding
    }

    /// One of that workflow with that key, now.
    fn ask(&self, workflow: &str, key: &str) -> Arc<Binding> {
        let workflow = Some(workflow);
        self.sight(Asked { workflow, key: Some(key), at: self.now(), execution: None, status: 200 })
    }

    pub(in crate::ledger) fn query(&self) -> Query<'_> {
        Query::new(&self.ledger, &self.reloader, self.now())
    }

    pub(in crate::ledger) fn view(&self) -> Arc<RotationView> {
        self.query().rotation(SetIndex::DEFAULT)
    }

    /// The answer to whether the key that was replaced last can go.
    pub(in crate::ledger) fn can_go(&self, audit: Audit) -> Answer {
        let view = self.query().with_audits(vec![audit]).rotation(SetIndex::DEFAULT);
        view.old_keys.first().expect("an old key").can_go.clone()
    }

    fn standing(&self, workflow: &str) -> Option<Standing> {
        let view = self.view();
        let row = view.rows.iter().find(|row| row.binding.identity().workflow == Some(workflow));
        row.map(|row| row.standing)
    }

    /// What is remembered of every binding, but for what is not stored.
    fn memories(&self) -> Vec<(BindingId, Memory)> {
        let stored = |binding: &Arc<Binding>| {
            let mut memory = Memory { unsaved: Unsaved::default(), ..binding.memory() };
            memory.uses.sort_by_key(|used| used.key.map(|names| names.fingerprint));
            memory.uses.iter_mut().for_each(|used| used.unsaved = 0);
            (binding.id(), memory)
        };
        let mut memories: Vec<_> = self.ledger.bindings().iter().map(stored).collect();
        memories.sort_by_key(|(id, _)| *id);
        memories
    }
}

/// What a caller does.
#[derive(Clone, Copy)]
struct Asked<'a> {
    workflow: Option<&'a str>,
    key: Option<&'a str>,
    at: Timestamp,
    execution: Option<&'a str>,
    status: u16,
}

/// A number that no other writer has.
fn rand() -> u64 {
    RandomState::new().hash_one(0)
}

pub(in crate::ledger) fn duration(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// === Bounds ===

#[test]
fn a_caller_has_one_binding_and_another_caller_another() {
    let ledger = Ledger::new(Bounds::default(), sets());
    let first = ledger.binding(&workflow("a"));
    assert!(Arc::ptr_eq(&first, &ledger.binding(&workflow("a"))));
    assert!(!Arc::ptr_eq(&first, &ledger.binding(&workflow("b"))));
    assert_eq!(ledger.len(), 2);
}

#[test]
fn made_up_ids_fill_their_senders_share_and_are_counted_under_other() {
    let ledger = Ledger::new(Bounds { per_peer: 2, total: 4 }, sets());
    let ids: Vec<String> = (0..10).map(|id| id.to_string()).collect();
    for id in &ids {
        let _ = ledger.binding(&workflow(id));
    }
    assert_eq!((ledger.len(), ledger.overflowed()), (3, 8), "two of their own, and `other`");
    let elsewhere = Identity { peer: IpAddr::from([127, 0, 0, 2]), ..workflow("11") };
    assert!(ledger.binding(&elsewhere).is(&elsewhere), "another peer still has room");
    assert!(ledger.binding(&workflow("0")).is(&workflow("0")), "who was seen before stays known");
}

#[test]
fn the_bound_over_all_holds() {
    let ledger = Ledger::new(Bounds { per_peer: 100, total: 3 }, sets());
    for peer in 0..50 {
        let _ = ledger.binding(&Identity { peer: IpAddr::from([127, 0, 0, peer]), ..workflow("a") });
    }
    assert!(ledger.len() <= 4, "the total, and `other`: {}", ledger.len());
}

#[test]
fn a_binding_is_found_by_the_beginning_of_its_id() {
    let bench = Bench::new("sk-a");
    let id = bench.ask("w", "sk-a").id();
    let query = bench.query();
    for digits in [id.to_string(), id.to_hex(), id.to_hex()[..6].to_uppercase()] {
        assert_eq!(query.find(&digits).expect("found").binding.id(), id, "{digits}");
    }
    let unused = if id.to_hex().starts_with("000000") { "111111" } else { "000000" };
    assert_eq!(query.find(unused).err(), Some(FindError::NotFound));
    for none in ["", "abcde", "what is it", "0123456789abcdef0"] {
        assert_eq!(query.find(none).err(), Some(FindError::NoId), "{none}");
    }
}

// === The store ===

#[test]
fn a_batch_that_comes_again_is_not_counted_twice() {
    let bench = Bench::new("sk-a");
    let binding = bench.ask("w", "sk-a");
    let path = bench.folder.path().join("other.db");
    let mut store = Sqlite::open(&path).expect("a store");
    let batch = |writer, sequence| {
        let mut delta = binding.memory();
        delta.uses[0].unsaved = 3;
        let change = Change { binding: Arc::clone(&binding), set: "default".into(), delta };
        let (at, incidents, hours, histories) = (bench.now(), Vec::new(), Vec::new(), Vec::new());
        let named_by = bench.reloader.ring().named_by();
        Batch {
            writer,
            sequence,
            at,
            named_by,
            bindings: vec![change],
            incidents,
            hours,
            histories,
            evidence: Vec::new(),
            projects: Vec::new(),
            expiries: Vec::new(),
        }
    };
    for (writer, sequence, sum) in [(1, 1, 3), (1, 1, 3), (1, 2, 6), (1, 1, 6), (2, 1, 9), (2, 1, 9)] {
        store.write(&batch(writer, sequence)).expect("written");
        let remembered = store.load(10).expect("read");
        assert_eq!(remembered.bindings[0].memory.uses[0].sightings, sum, "batch {sequence} of writer {writer}");
    }
}

/// After a restart with a store in which a later keyward has written codes of its own: workflow `open` is not well, `over`
/// was not and is again. With the store itself.
fn after_a_later_keyward() -> (Bench, rusqlite::Connection) {
    let mut bench = Bench::new("sk-a");
    bench.ask("open", "sk-other");
    bench.ask("over", "sk-other");
    bench.pass(HOUR);
    bench.ask("over", "sk-a");
    bench.flush();
    let store = rusqlite::Connection::open(bench.path()).expect("a store");
    store
        .execute_batch(
            "UPDATE uses SET verdict = 'v_new', diagnosis = 'd_new', outcome = 'o_new', severity = 's_new', word = 'w_new';
             UPDATE bindings SET latest_verdict = 'v_new', latest_diagnosis = 'd_new', family = 'f_new';
             UPDATE incidents SET diagnosis = 'd_new';
             UPDATE incidents SET closed_by = 'c_new' WHERE closed IS NOT NULL;
             UPDATE hours SET verdict = 'v_new' WHERE key <> '';
             INSERT INTO bindings SELECT 7, set_name, 'h_new', instance, 'strange', node, family, peer, key, workflow_name,
               seen, visits, latest_at, latest_key, latest_verdict, latest_diagnosis, latest_outcome, latest_severity,
               well, acknowledged, accepted_at, accepted_key, accepted_peer, other_keys, retrying, client_version
             FROM bindings WHERE workflow = 'open'",
        )
        .expect("changed");
    bench.crash();
    (bench, store)
}

#[test]
fn codes_of_a_later_keyward_are_kept_and_told() {
    let (bench, _) = after_a_later_keyward();
    let told = Sqlite::open(&bench.path()).expect("a store").load(10).expect("read").unknown;
    let codes: BTreeSet<_> = told.iter().map(|unknown| unknown.code).collect();
    assert_eq!(codes, ["c_new", "d_new", "f_new", "h_new", "o_new", "s_new", "v_new", "w_new"].into());

    let (open, over) = (bench.ledger.binding(&workflow("open")), bench.ledger.binding(&workflow("over")));
    let incident = open.memory().incident.expect("it is not closed by what cannot be read");
    assert_eq!((incident.diagnosis, incident.sightings), ("d_new", 1));
    let finding = open.memory().uses[0].finding;
    assert_eq!(
        (finding.diagnosis(), finding.outcome(), finding.severity),
        ("d_new", "o_new", explain::Severity::Error)
    );
    let latest = over.memory().latest.expect("the last sighting").finding;
    assert_eq!((latest.verdict(), latest.diagnosis(), latest.outcome()), ("v_new", "d_new", "success"));
    assert_eq!(over.memory().incident, None, "what was closed stays closed");
    let closed = bench.query().incidents(&Filter { open: Some(false), ..Filter::default() });
    let by: Vec<_> = closed.iter().filter_map(|listed| Some(listed.incident.closed.as_ref()?.by.code())).collect();
    assert_eq!(by, ["c_new"]);
    let hours = bench.ledger.past().hours.iter().map(|(_, exchanges)| exchanges).sum::<u64>();
    assert_eq!((bench.memories().len(), hours), (2, 3), "none is missing, and none is made up");
}

#[test]
fn codes_of_a_later_keyward_are_written_again_until_others_replace_them() {
    let (mut bench, store) = after_a_later_keyward();
    bench.ask("over", "sk-a");
    bench.ledger.acknowledge(&bench.ledger.binding(&workflow("open")), bench.now());
    bench.flush();
    let stored = |query: &str| -> Vec<String> {
        let mut statement = store.prepare(query).expect("a query");
        statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a text")).collect()
    };
    let incidents = "SELECT diagnosis || ' ' || closed_by FROM incidents ORDER BY closed_by";
    assert_eq!(stored(incidents), ["d_new acknowledged", "d_new c_new"]);
    let uses = "SELECT diagnosis FROM uses JOIN bindings ON id = binding ORDER BY workflow, diagnosis";
    assert_eq!(stored(uses), ["d_new", "d_new", "ok"]);
    assert_eq!(stored("SELECT holder FROM bindings WHERE workflow = 'strange'"), ["h_new"]);
}

#[test]
fn a_store_that_comes_to_light_late_is_added_to_what_was_seen_since() {
    let mut bench = Bench::new("sk-old");
    bench.ask("a", "sk-old");
    bench.ask("b", "sk-other");
    bench.ask("c", "sk-other");
    bench.flush();
    bench.rotate("sk-new");
    let hidden = bench.folder.path().join("hidden");
    for end in ["", "-wal", "-shm"] {
        let name = format!("{}{end}", bench.path().display());
        std::fs::rename(name, format!("{}{end}", hidden.display())).expect("moved");
    }
    // A folder in its place cannot be opened.
    std::fs::create_dir(bench.path()).expect("a folder");
    bench.crash();
    assert!(bench.writer.status().trouble().is_some() && bench.ledger.is_empty());
    bench.ask("a", "sk-old");
    bench.ask("b", "sk-new");
    std::fs::remove_dir(bench.path()).expect("removed");
    for end in ["", "-wal", "-shm"] {
        std::fs::rename(format!("{}{end}", hidden.display()), format!("{}{end}", bench.path().display()))
            .expect("moved");
    }
    std::thread::sleep(duration(300));
    bench.flush();
    assert_eq!(bench.writer.status().trouble(), None);
    let before = bench.memories();
    assert_eq!(bench.ledger.binding(&workflow("a")).memory().uses[0].sightings, 2);
    assert_eq!(bench.view().old_keys.len(), 1, "the rotation that it slept through");
    bench.crash();
    assert_eq!(bench.memories(), before, "as the store has it");
    let incidents = bench.query().incidents(&Filter::default());
    let closings: Vec<_> =
        incidents.iter().map(|listed| listed.incident.closed.as_ref().map(|end| end.by.code())).collect();
    assert_eq!(closings.iter().filter(|by| **by == Some(Closing::GoodSighting.code())).count(), 1, "{incidents:?}");
    assert_eq!(closings.iter().filter(|by| by.is_none()).count(), 2, "{incidents:?}");
}

#[test]
fn what_is_acknowledged_beside_a_stopped_keyward_is_known_when_it_starts_again() {
    let mut bench = Bench::new("sk-old");
    let binding = bench.ask("dead", "sk-other").id();
    bench.flush();
    bench.pass(HOUR);
    let settings = store::Settings { url: store::Url::Sqlite(bench.path()), ..store::Settings::default() };
    let clock = Clock::Chosen(Arc::clone(&bench.now));
    let offline = Offline::open(Ledger::new(settings.bounds, sets()), &settings, bench.folder.path(), clock, rand())
        .expect("read")
        .expect("a store");
    let found = query::find(&offline.ledger, &binding.to_string()).expect("found");
    offline.ledger.acknowledge(&found, bench.now());
    offline.save(&bench.reloader).expect("written");
    bench.crash();
    let memory = query::find(&bench.ledger, &binding.to_string()).expect("found").memory();
    assert_eq!((memory.acknowledgement(), memory.incident), (Some(bench.now()), None));
    let nowhere = store::Settings { url: store::Url::Sqlite(bench.folder.path().join("none.db")), ..settings };
    let nothing =
        Offline::open(Ledger::new(nowhere.bounds, sets()), &nowhere, bench.folder.path(), Clock::System, rand())
            .expect("nothing to read");
    assert!(nothing.is_none() && !bench.folder.path().join("none.db").exists());
}

#[test]
fn a_retry_that_began_before_the_fix_opens_nothing_after_a_restart_either() {
    let mut bench = Bench::new("sk-current");
    let ask = |bench: &Bench, key, execution| {
        let (workflow, key, execution) = (Some("w"), Some(key), Some(execution));
        bench.sight(Asked { workflow, key, at: bench.now(), execution, status: 401 })
    };
    ask(&bench, "sk-wrong", "e1");
    bench.pass(HOUR);
    bench.ask("w", "sk-current");
    bench.flush();
    bench.crash();
    let binding = ask(&bench, "sk-wrong", "e1");
    assert_eq!(binding.memory().incident, None);
    ask(&bench, "sk-wrong", "e2");
    assert!(binding.memory().incident.is_some(), "a new execution is no retry");
}

#[test]
fn an_old_key_is_told_by_its_hint_after_a_restart() {
    let (old, new) = ("sk-proj-0123456789abcdef-OldK", "sk-proj-0123456789abcdef-NewK");
    let mut bench = Bench::new(old);
    bench.flush();
    bench.crash();
    bench.rotate(new);
    bench.flush();
    bench.crash();
    let view = bench.view();
    assert_eq!(view.old_keys[0].names.hint.map(|hint| hint.to_string()).as_deref(), Some("sk-proj-…OldK"));
    for key in ["sk-short", "sk-shorter"] {
        bench.pass(HOUR);
        bench.rotate(key);
    }
    let hints: Vec<_> = bench.view().old_keys.iter().map(|old| old.names.hint.is_some()).collect();
    assert_eq!(hints, [false, true, true], "of a short key it would say too much");
}

// === Time ===
#[test]
fn a_weekly_workflow_is_silent_until_it_is_due_and_its_incident_is_open_until_it_comes() {
    let mut bench = Bench::new("sk-old");
    for _ in 0..5 {
        bench.ask("weekly", "sk-old");
        bench.ask("daily", "sk-old");
        for _ in 0..7 {
            bench.pass(DAY);
            bench.ask("daily", "sk-old");
        }
        bench.flush();
    }
    bench.rotate("sk-new");
    bench.pass(HOUR);
    assert!(matches!(bench.standing("daily"), Some(Standing::Silent(Silence::DueLater { .. }))));
    bench.pass(2 * DAY);
    assert!(matches!(bench.standing("daily"), Some(Standing::Silent(Silence::Overdue { .. }))));
    assert!(matches!(bench.standing("weekly"), Some(Standing::Silent(Silence::DueLater { .. }))));
    bench.ask("weekly", "sk-old");
    for _ in 0..6 {
        bench.pass(DAY);
        bench.flush();
        bench.crash();
        assert_eq!(bench.standing("weekly"), Some(Standing::Stale), "silence proves nothing");
    }
    bench.ask("weekly", "sk-new");
    assert_eq!(bench.standing("weekly"), Some(Standing::Confirmed));
}

#[test]
fn an_untagged_binding_does_not_flap_and_closes_by_silence_acknowledgement_or_its_key() {
    let mut bench = Bench::new("sk-old");
    let untagged = |bench: &Bench, key| {
        bench.sight(Asked { workflow: None, key: Some(key), at: bench.now(), execution: None, status: 200 })
    };
    let old = untagged(&bench, "sk-old");
    bench.rotate("sk-new");
    bench.pass(HOUR);
    untagged(&bench, "sk-old");
    let new = untagged(&bench, "sk-new");
    assert_ne!(old.id(), new.id());
    bench.flush();
    assert!(old.memory().incident.is_some(), "another client's good key says nothing of this one");
    bench.pass(7 * DAY);
    bench.flush();
    assert!(old.memory().incident.is_some(), "it may come once a week");
    bench.pass(2 * DAY);
    bench.flush();
    let closed = |bench: &Bench| {
        let incidents = bench.query().incidents(&Filter { open: Some(false), ..Filter::default() });
        incidents.first().and_then(|listed| listed.incident.closed.as_ref()).map(|end| end.by.code())
    };
    assert_eq!((old.memory().incident, closed(&bench)), (None, Some(Closing::Silence.code())));
    bench.pass(HOUR);
    untagged(&bench, "sk-old");
    bench.pass(HOUR);
    bench.ledger.acknowledge(&old, bench.now());
    assert_eq!((old.memory().incident, closed(&bench)), (None, Some(Closing::Acknowledged.code())));
    bench.pass(HOUR);
    untagged(&bench, "sk-old");
    bench.pass(HOUR);
    bench.rotate("sk-old");
    bench.flush();
    assert_eq!((old.memory().incident, closed(&bench)), (None, Some(Closing::KeyIsGoodAgain.code())));
}

#[test]
fn an_incident_ends_when_its_set_is_configured_no_longer() {
    let mut bench = Bench::new("sk-a");
    let sets = [Arc::from("default"), Arc::from("gone")];
    assert!(bench.ledger.make_room(sets.to_vec()));
    let of_gone = Identity { set: SetIndex::nth(1).expect("a set"), ..workflow("w") };
    let binding = bench.ledger.binding(&of_gone);
    bench.ledger.sight(&binding, &bench.judged(Some("sk-unknown"), 401, bench.now(), true));
    bench.flush();
    assert!(binding.memory().incident.is_some());
    bench.reloader.know_sets(&sets);
    bench.flush();
    assert!(binding.memory().incident.is_none());
    let closed = bench.query().incidents(&Filter { open: Some(false), ..Filter::default() });
    let ends: Vec<_> = closed.iter().filter_map(|one| one.incident.closed.as_ref()).map(|end| end.by.code()).collect();
    assert_eq!(ends, [Closing::SetRemoved.code()]);
}

#[test]
fn a_year_leaves_behind_what_its_last_ninety_days_left() {
    let mut bench = Bench::new("sk-0");
    for day in 0..365_u32 {
        if day.is_multiple_of(30) {
            bench.rotate(&format!("sk-{}", day / 30));
        }
        for hour in 0..4 {
            // Two workflows change with each key, the second one a day late.
            bench.ask("always", &format!("sk-{}", day / 30));
            bench.ask("late", &format!("sk-{}", day.saturating_sub(1) / 30));
            if day < 100 {
                bench.ask("given-up", &format!("sk-{}", day / 30));
            }
            if hour == 0 {
                // A stranger makes up workflows, with a key that no set has.
                bench.ask(&format!("made-up-{day}"), "sk-unlisted");
            }
            bench.pass(6 * HOUR);
        }
        bench.flush();
    }
    let remembered = |bench: &Bench| {
        let mut workflows: Vec<_> = bench
            .ledger
            .bindings()
            .iter()
            .map(|binding| {
                binding.identity().workflow.unwrap_or_default().split('-').next().unwrap_or_default().to_owned()
            })
            .collect();
        workflows.sort();
        workflows
    };
    let known = remembered(&bench);
    let made_up = known.iter().filter(|workflow| *workflow == "made").count();
    assert_eq!(
        known.len() - made_up,
        3,
        "the one that was given up has sent an old key that may still work: {known:?}"
    );
    assert!((14..=16).contains(&made_up), "{made_up}");
    let uses = bench.ledger.binding(&workflow("always")).memory().uses;
    assert!((3..=4).contains(&uses.len()), "so are keys: {}", uses.len());
    let oldest = bench.ledger.with_hours(|hours| hours.iter().next().map(|(hour, _)| hour.begin()));
    assert!(oldest.is_some_and(|oldest| bench.now().since(oldest) <= 90 * DAY + 2 * HOUR));
    let incidents = bench.query().incidents(&Filter { open: Some(false), ..Filter::default() });
    assert_eq!(incidents.len(), 3, "one for each rotation that is remembered");
    let before = (known, bench.memories());
    bench.crash();
    assert_eq!((remembered(&bench), bench.memories()), before, "the store has forgotten the same");
    let rows = bench.ledger.with_hours(|hours| hours.iter().count());
    let size = std::fs::metadata(bench.path()).expect("a file").len();
    assert!(rows < 3_000 && size < 1 << 20, "{rows} rows, {size} bytes");
}

#[test]
fn who_flaps_forgets_its_own_past_alone_and_its_store_as_well() {
    let mut bench = Bench::new("sk-0");
    let flap = |bench: &Bench, workflow: &str| {
        bench.ask(workflow, "sk-unlisted");
        bench.pass(Duration::from_secs(1));
        bench.ask(workflow, "sk-0");
        bench.pass(Duration::from_secs(1));
    };
    (0..3).for_each(|_| flap(&bench, "quiet"));
    for _ in 0..20 {
        (0..10).for_each(|_| flap(&bench, "flapping"));
        bench.flush();
    }
    let closed = |bench: &Bench, workflow: &str| {
        let all = bench.query().incidents(&Filter { open: Some(false), ..Filter::default() });
        let of_it = all.iter().filter(|listed| listed.binding.identity().workflow == Some(workflow));
        of_it.map(|listed| listed.incident.opened).collect::<Vec<_>>()
    };
    let (quiet, flapping) = (closed(&bench, "quiet"), closed(&bench, "flapping"));
    assert!(quiet.len() == 3 && (16..=24).contains(&flapping.len()), "{} and {}", quiet.len(), flapping.len());
    bench.crash();
    assert_eq!(
        (closed(&bench, "quiet"), closed(&bench, "flapping")),
        (quiet, flapping[..16].to_vec()),
        "the last ones"
    );
}

// === Random lives against a plain model ===

/// What may happen. Numbers name workflows, keys and executions.
#[derive(Clone, Debug)]
enum Step {
    /// An exchange that ends now and started so many seconds ago.
    Exchange {
        workflow: Option<u8>,
        key: Option<u8>,
        ago: i64,
        execution: Option<u8>,
        status: u16,
    },
    Rotate(u8),
    Pass(u64),
    Acknowledge(u8),
    Flush,
    Restart,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let exchange = (
        prop::option::weighted(0.8, 0..3_u8),
        prop::option::weighted(0.9, 0..4_u8),
        prop_oneof![4 => Just(0), 1 => 0..200_i64],
        prop::option::weighted(0.8, 0..5_u8),
        prop::sample::select(vec![200, 200, 200, 401, 429, 500]),
    );
    prop_oneof![
        12 => exchange.prop_map(|(workflow, key, ago, execution, status)| {
            Step::Exchange { workflow, key, ago, execution, status }
        }),
        2 => (0..4_u8).prop_map(Step::Rotate),
        3 => (1..10_000_u64).prop_map(Step::Pass),
        1 => (0..3_u8).prop_map(Step::Acknowledge),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// The ledger by its definitions alone, with nothing bounded and nothing stored.
#[derive(Clone, Debug, Default)]
struct Model {
    current: u8,
    previous: BTreeSet<u8>,
    lives: BTreeMap<(Option<u8>, Option<u8>), Life>,
}

/// One binding. Times are milliseconds.
#[derive(Clone, Debug, Default)]
struct Life {
    /// By key: first, last, how many, the verdict of the last.
    uses: BTreeMap<Option<u8>, (i64, i64, u64, &'static str)>,
    well: Option<i64>,
    open: Option<Trouble>,
    /// Executions that were seen bad since the last incident opened.
    bad: BTreeSet<u8>,
    closed: Vec<(Trouble, i64, Closing)>,
    latest: Option<(i64, Option<u8>, &'static str)>,
    acknowledged: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    opened: i64,
    last: i64,
    sightings: u64,
    diagnosis: &'static str,
    key: Option<u8>,
}

impl Model {
    fn exchange(&mut self, workflow: Option<u8>, key: Option<u8>, at: i64, execution: Option<u8>, status: u16) {
        let verdict = match key {
            None => "missing",
            Some(key) if key == self.current => "current",
            Some(key) if self.previous.contains(&key) => "outdated",
            Some(_) => "unknown",
        };
        let bad = match (verdict, status) {
            ("missing", _) => Some("dropped_header"),
            ("outdated", _) => Some("stale_binding"),
            ("unknown", 401) => Some("unknown_key_rejected"),
            ("unknown", _) => Some("unlisted_key"),
            (_, 401) => Some("key_refused"),
            _ => None,
        };
        let who = (workflow, if workflow.is_none() { key } else { None });
        let life = self.lives.entry(who).or_default();
        life.count(key, at, verdict);
        let counts = match bad {
            Some(diagnosis) => life.be_bad(Trouble { opened: at, last: at, sightings: 1, diagnosis, key }, execution),
            None if status != 200 => true,
            None => life.be_good(at, execution),
        };
        if counts && life.latest.is_none_or(|(last, ..)| last <= at) {
            life.latest = Some((at, key, verdict));
        }
    }

    fn rotate(&mut self, key: u8) {
        self.previous.insert(self.current);
        self.current = key;
        self.previous.remove(&key);
    }

    fn sweep(&mut self, now: i64) {
        for life in self.lives.values_mut() {
            let is_over = life.open.is_some_and(|open| {
                ["stale_binding", "unlisted_key"].contains(&open.diagnosis) && open.key == Some(self.current)
            });
            if is_over {
                life.close(now, Closing::KeyIsGoodAgain);
            }
        }
    }
}

impl Life {
    fn count(&mut self, key: Option<u8>, at: i64, verdict: &'static str) {
        let used = self.uses.entry(key).or_insert((at, at, 0, verdict));
        used.0 = used.0.min(at);
        used.2 += 1;
        if at >= used.1 {
            (used.1, used.3) = (at, verdict);
        }
    }

    fn be_good(&mut self, at: i64, execution: Option<u8>) -> bool {
        self.well = self.well.max(Some(at));
        if self.open.is_some_and(|open| open.last < at) {
            self.close(at, Closing::GoodSighting);
            execution.map(|execution| self.bad.remove(&execution));
        }
        true
    }

    fn be_bad(&mut self, trouble: Trouble, execution: Option<u8>) -> bool {
        let at = trouble.last;
        let is_retry = self.open.is_none() && execution.is_some_and(|execution| self.bad.contains(&execution));
        if self.well.is_some_and(|well| at <= well) || is_retry {
            return false;
        }
        let Some(open) = &mut self.open else {
            self.bad = execution.into_iter().collect();
            self.open = Some(trouble);
            return true;
        };
        self.bad.extend(execution);
        let (opened, sightings) = (open.opened.min(at), open.sightings + 1);
        *open = Trouble { opened, sightings, ..if at >= open.last { trouble } else { *open } };
        true
    }

    fn close(&mut self, at: i64, by: Closing) {
        if let Some(open) = self.open.take() {
            self.closed.push((open, at, by));
            self.well = self.well.max(Some(at));
        }
    }
}

/// The bench and its model, side by side.
struct Pair {
    bench: Bench,
    model: Model,
    saved: Model,
    names: Vec<Fingerprint>,
}

const KEYS: [&str; 4] = ["sk-0", "sk-1", "sk-2", "sk-3"];
const WORKFLOWS: [&str; 3] = ["w0", "w1", "w2"];
const EXECUTIONS: [&str; 5] = ["e0", "e1", "e2", "e3", "e4"];

impl Pair {
    fn new() -> Self {
        let bench = Bench::new(KEYS[0]);
        let names = KEYS.map(|key| bench.reloader.ring().names(key.as_bytes()).fingerprint).to_vec();
        let mut pair = Self { bench, model: Model::default(), saved: Model::default(), names };
        pair.flush();
        pair
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Exchange { workflow, key, ago, execution, status } => {
                let at = self.bench.now().as_millis() - ago * 1000;
                self.model.exchange(workflow, key, at, execution, status);
                let name = |names: &[&'static str], number: Option<u8>| number.map(|number| names[usize::from(number)]);
                let (workflow, key) = (name(&WORKFLOWS, workflow), name(&KEYS, key));
                let (at, execution) = (Timestamp::from_millis(at), name(&EXECUTIONS, execution));
                self.bench.sight(Asked { workflow, key, at, execution, status });
            }
            Step::Rotate(key) => {
                self.model.rotate(key);
                self.bench.rotate(KEYS[usize::from(key)]);
            }
            Step::Pass(seconds) => self.bench.pass(Duration::from_secs(seconds)),
            Step::Acknowledge(number) => {
                let now = self.bench.now().as_millis();
                if let Some(life) = self.model.lives.get_mut(&(Some(number), None)) {
                    life.acknowledged = Some(now);
                    life.close(now, Closing::Acknowledged);
                    let binding = self.bench.ledger.binding(&workflow(WORKFLOWS[usize::from(number)]));
                    self.bench.ledger.acknowledge(&binding, self.bench.now());
                }
            }
            Step::Flush => self.flush(),
            Step::Restart => {
                self.flush();
                let before = self.bench.memories();
                self.bench.crash();
                for (stored, known) in self.bench.memories().into_iter().zip(before) {
                    assert!(stored == known, "what was stored comes back as it was: {stored:?} was {known:?}");
                }
            }
            Step::Crash => {
                self.bench.crash();
                let key = self.model.current;
                self.model = self.saved.clone();
                if key != self.model.current {
                    self.model.rotate(key);
                }
            }
        }
    }

    fn flush(&mut self) {
        self.bench.flush();
        self.model.sweep(self.bench.now().as_millis());
        self.saved = self.model.clone();
    }

    fn number(&self, key: Option<Fingerprint>) -> Option<u8> {
        let position = self.names.iter().position(|name| Some(*name) == key);
        position.and_then(|position| u8::try_from(position).ok())
    }

    fn trouble(&self, incident: &Incident) -> Trouble {
        Trouble {
            opened: incident.opened.as_millis(),
            last: incident.last.as_millis(),
            sightings: incident.sightings,
            diagnosis: incident.diagnosis,
            key: self.number(incident.key.map(|names| names.fingerprint)),
        }
    }

    fn compare(&self) {
        let view = self.bench.view();
        assert_eq!(self.bench.ledger.len(), self.model.lives.len());
        for (who, life) in &self.model.lives {
            let untagged =
                Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, who.1.map(|key| self.names[usize::from(key)]));
            let name = who.0.map(|number| WORKFLOWS[usize::from(number)]);
            let binding = self.bench.ledger.binding(&Identity { workflow: name, ..untagged });
            self.compare_life(life, &binding.memory());
            let row = view.rows.iter().find(|row| row.binding.id() == binding.id());
            assert_eq!(row.map(|row| word(row.standing)), self.standing(life), "{who:?}: {life:?}");
        }
        self.compare_incidents();
        self.compare_old_keys(&view);
    }

    fn compare_life(&self, life: &Life, memory: &Memory) {
        let used = |used: &KeyUse| {
            let key = self.number(used.key.map(|names| names.fingerprint));
            (key, (used.first.as_millis(), used.last.as_millis(), used.sightings, used.finding.verdict()))
        };
        assert_eq!(memory.uses.iter().map(used).collect::<BTreeMap<_, _>>(), life.uses);
        assert_eq!(memory.incident.as_deref().map(|incident| self.trouble(incident)), life.open);
        let latest =
            memory.latest.map(|latest| (latest.at.as_millis(), self.number(latest.key), latest.finding.verdict()));
        assert_eq!(latest, life.latest);
    }

    fn standing(&self, life: &Life) -> Option<&'static str> {
        let (at, key, verdict) = life.latest?;
        if let Some(open) = life.open {
            Some(if open.diagnosis == "stale_binding" { "stale" } else { "failing" })
        } else if key == Some(self.model.current) && life.uses.get(&key).is_some_and(|used| life.well >= Some(used.0)) {
            Some("confirmed")
        } else if verdict == "unknown" && key.is_none_or(|key| !self.model.previous.contains(&key)) {
            None
        } else if life.acknowledged.is_some_and(|acknowledged| at <= acknowledged) {
            Some("acknowledged")
        } else {
            Some("silent")
        }
    }

    fn compare_incidents(&self) {
        let listed = self.bench.query().incidents(&Filter { open: Some(false), ..Filter::default() });
        let end = |incident: &Incident| incident.closed.clone().map(|end| (end.at.as_millis(), end.by.code()));
        let mut found: Vec<_> =
            listed.iter().map(|listed| (self.trouble(&listed.incident), end(&listed.incident))).collect();
        let closed = self.model.lives.values().flat_map(|life| &life.closed);
        let mut expected: Vec<_> = closed.map(|(trouble, at, by)| (*trouble, Some((*at, by.code())))).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    fn compare_old_keys(&self, view: &RotationView) {
        let found: BTreeMap<_, _> = view
            .old_keys
            .iter()
            .map(|old| {
                assert_ne!(old.can_go.code(), "yes", "n8n was never looked through");
                let is_no = old.can_go.code() == "no";
                (self.number(Some(old.names.fingerprint)), (old.last_use.map(Timestamp::as_millis), is_no))
            })
            .collect();
        let expected = self.model.previous.iter().map(|key| {
            let lives = || self.model.lives.values();
            let last = lives().filter_map(|life| life.uses.get(&Some(*key))).map(|used| used.1).max();
            let is_no = found.get(&Some(*key)).is_some_and(|(_, is_no)| *is_no);
            assert!(!is_no || last.is_some(), "no binding ever sent it");
            (Some(*key), (last, is_no))
        });
        assert_eq!(found, expected.collect::<BTreeMap<_, _>>());
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Stale => "stale",
        Standing::Failing { .. } => "failing",
        // The model knows bindings, and not who stands behind them.
        Standing::Mixed | Standing::Confirmed => "confirmed",
        Standing::Silent(Silence::Acknowledged { .. }) => "acknowledged",
        Standing::Silent(Silence::DueLater { .. } | Silence::Overdue { .. }) => "silent",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_random_life_is_as_its_model_has_it(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
            pair.compare();
        }
    }
}
