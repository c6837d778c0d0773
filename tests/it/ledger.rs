//! The ledger's store: what it remembers over restarts and kills, and that traffic comes first whatever is wrong with it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Flock, FlockType, Signal, fcntl_getlk};

use crate::process::client::request;
use crate::process::{Home, Keyward, events};
use crate::support::{Answer, Answering, Client, FakeUpstream, eventually};

const SIGHTINGS: &str = "SELECT sum(sightings) FROM uses";

#[test]
fn what_a_binding_did_is_stored_and_known_again_after_a_restart() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&["sk-current"]));
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    ask(&keyward, "wf=a;ex=1;node=n;name=Report", Some("sk-current"));
    ask(&keyward, "wf=a;ex=2;node=n;name=Report", Some("sk-other"));
    ask(&keyward, "wf=b;ex=3;node=n", Some("sk-current"));
    keyward.exchanges(3);
    keyward.stop();
    assert_eq!(home.rows::<String>("SELECT workflow FROM bindings ORDER BY workflow"), ["a", "b"]);
    let uses = "SELECT diagnosis || ' ' || execution || ' ' || ifnull(word, '') FROM uses JOIN bindings \
                ON binding = id WHERE workflow = 'a' ORDER BY execution";
    assert_eq!(home.rows::<String>(uses), ["ok 1 accepted", "unknown_key_rejected 2 refused"]);
    assert_eq!(home.rows::<String>("SELECT workflow_name FROM bindings WHERE workflow = 'a'"), ["Report"]);
    let incidents = "SELECT diagnosis || ' ' || execution || ' ' || sightings FROM incidents WHERE closed IS NULL";
    assert_eq!(home.rows::<String>(incidents), ["unknown_key_rejected 2 1"]);
    assert_eq!(home.rows::<i64>("SELECT sum(exchanges) FROM hours"), [3]);
    assert_eq!(fs::metadata(home.store()).unwrap().permissions().mode() & 0o777, 0o600);

    let keyward = home.serve_for(&upstream).key("sk-current").start();
    // Nothing but its past tells that this client, of no known family, has lost its key.
    assert_eq!(diagnosis(&keyward, &ask(&keyward, "wf=a;ex=4;node=n", None)), "dropped_header");
    assert_eq!(diagnosis(&keyward, &ask(&keyward, "wf=c;ex=5;node=n", None)), "missing_header");
    ask(&keyward, "wf=a;ex=6;node=n", Some("sk-current"));
    keyward.stop();
    let incidents = "SELECT diagnosis || ' ' || sightings || ' ' || ifnull(closed_by || ' ' || closed_execution, 'open') \
                     FROM incidents ORDER BY sightings DESC";
    assert_eq!(home.rows::<String>(incidents), ["dropped_header 2 good_sighting 6", "missing_header 1 open"]);
    assert_eq!(home.rows::<i64>(SIGHTINGS), [6]);
}

#[test]
fn the_project_of_a_key_is_known_again_after_a_restart() {
    let upstream = FakeUpstream::scripted(|visit| {
        let is_new = visit.head.header("authorization") == Some("Bearer sk-new");
        let no_such_file = r#"{"error":{"message":"No such file","code":null}}"#;
        let (status, project, body) = if is_new { (404, "proj_new", no_such_file) } else { (200, "proj_old", "{}") };
        let headers = format!("Content-Type: application/json\r\nOpenAI-Project: {project}\r\n");
        visit.answer(&Answering::with(status, &headers, body));
    });
    let home = Home::new();
    let ask = |keyward: &Keyward, key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}")), ("X-N8N-Tag", "wf=a;ex=1;node=n")];
        Client::connect(keyward.listen).ask("/v1/files/file_1", &headers)
    };
    let keyward = home.serve_for(&upstream).key("sk-old").start();
    assert_eq!(ask(&keyward, "sk-old").status, 200);
    let stored = "SELECT project FROM projects";
    eventually("the project and the use in the store", || {
        (home.rows::<String>(stored) == ["proj_old"] && home.rows::<i64>(SIGHTINGS) == [1]).then_some(())
    });
    keyward.signal(Signal::KILL);
    keyward.wait();

    let keyward = home.serve_for(&upstream).key("sk-new").start();
    assert_eq!(diagnosis(&keyward, &ask(&keyward, "sk-new")), "other_project");
    keyward.stop();
    assert_eq!(home.rows::<String>(stored), ["proj_old"], "a key that was not found is of no project");
    let key = home.rows::<String>("SELECT key FROM projects");
    assert!(key[0].len() == 32 && key[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "a fingerprint: {key:?}");
}

#[test]
fn what_a_person_did_is_stored_while_keyward_runs() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    for _ in 0..20 {
        ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current"));
    }
    eventually("all of it in the store", || (home.rows::<i64>(SIGHTINGS) == [20]).then_some(()));
    assert_eq!(home.rows::<i64>("SELECT count(*) FROM uses"), [1]);
}

#[test]
fn without_a_store_nothing_is_written() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key("sk-current").env("KEYWARD_STORE_URL", "off").start();
    assert_eq!(events(&keyward.log(), "listening")[0]["store"], "off");
    assert_eq!(ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current")).status, 200);
    assert_eq!(keyward.stop().code(), Some(0));
    assert!(!home.store().exists());
}

#[test]
fn the_store_can_be_anywhere() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).env("KEYWARD_STORE_URL", "sqlite:elsewhere/ledger.db").start();
    ask(&keyward, "wf=a;ex=1;node=n", Some("sk-a"));
    keyward.stop();
    assert!(home.path("elsewhere/ledger.db").exists() && !home.store().exists());
}

/// As many rounds as `KEYWARD_CRASHES` says: a few here, where the machine may be busy, and more in `tests/crash/run`.
#[test]
fn a_kill_costs_one_interval_at_most_and_never_the_file() {
    // How late the writer may be on a machine that does other things as well.
    let allowance = Duration::from_millis(250 + number_from("KEYWARD_CRASH_SLACK_MS", 2_000));
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let (mut stored, mut worst) = (0, Kill::default());
    let rounds = number_from("KEYWARD_CRASHES", 5);
    for round in 0..rounds {
        // Somewhere between the first request and some flushes later.
        let kill = kill_under_load(&home, &upstream, Duration::from_millis(100 + (round * 137) % 700));
        assert_eq!(home.rows::<String>("PRAGMA integrity_check"), ["ok"]);
        let now = u64::try_from(home.rows::<i64>("SELECT ifnull(sum(sightings), 0) FROM uses")[0]).unwrap();
        let kept = now - stored;
        assert!(kept <= kill.sent, "round {round}: {kept} are counted, of {} that were sent", kill.sent);
        let lost = kill.ages.get(usize::try_from(kept).unwrap()).copied().unwrap_or_default();
        assert!(lost <= allowance, "round {round}: an exchange that ended {lost:?} before the kill is lost");
        stored = now;
        worst.oldest_lost = worst.oldest_lost.max(lost);
        worst.start = worst.start.max(kill.start);
    }
    let last = home.serve_for(&upstream).key("sk-current").start();
    assert!(events(&last.log(), "store").is_empty(), "{}", last.log());
    assert!(stored > 0);
    // `tests/crash/run` shows what the tests print.
    let Kill { start, oldest_lost, .. } = worst;
    let text = format!(
        "{rounds} kills: {stored} exchanges kept; the oldest that was lost had ended {oldest_lost:?} before the kill; the \
         slowest start took {start:?}"
    );
    writeln!(io::stdout(), "{text}").unwrap();
}

/// What a kill found.
#[derive(Default)]
struct Kill {
    /// How long keyward took to listen.
    start: Duration,
    sent: u64,
    /// How long before the kill each exchange ended, the oldest first.
    ages: Vec<Duration>,
    oldest_lost: Duration,
}

fn kill_under_load(home: &Home, upstream: &FakeUpstream, after: Duration) -> Kill {
    let begun = Instant::now();
    let keyward = home.serve_for(upstream).key("sk-current").start();
    let start = begun.elapsed();
    let load = Load::default();
    let killed = thread::scope(|scope| {
        for client in 0..4 {
            let (load, connection) = (&load, Client::connect(keyward.listen));
            scope.spawn(move || load.run(connection, client));
        }
        eventually("an answer", || (!load.answered.lock().unwrap().is_empty()).then_some(()));
        thread::sleep(after);
        keyward.signal(Signal::KILL);
        load.is_over.store(true, Ordering::Relaxed);
        Instant::now()
    });
    keyward.wait();
    let (sent, mut answered) = (load.sent.into_inner(), load.answered.into_inner().unwrap());
    answered.sort_unstable();
    let ages = answered.into_iter().map(|at| killed.saturating_duration_since(at)).collect();
    Kill { start, sent, ages, ..Kill::default() }
}

#[test]
fn a_store_that_another_program_has_locked_costs_nothing() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current"));
    eventually("the first one", || (home.rows::<i64>(SIGHTINGS) == [1]).then_some(()));
    let other = Connection::open(home.store()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current")).status, 200);
    }
    let said = store_event(&keyward, "error");
    assert!(said.contains("is locked by another program") && said.contains("kept in memory"), "{said}");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(store_event(&keyward, "info").contains("is written again"));
    eventually("the rest", || (home.rows::<i64>(SIGHTINGS) == [11]).then_some(()));
    assert_eq!(home.rows::<i64>("SELECT sum(exchanges) FROM hours"), [11], "nothing twice");
}

/// The notices open the store beside the ledger. When a process closes any descriptor of a file, it gives up all its
/// locks on that file (<https://sqlite.org/howtocorrupt.html>, 2.2), so that to make sure of the file it must not open
/// it: another program finds no lock then, takes the write-ahead log away when it leaves, and what is written from then
/// on is lost. `SQLite` 3.40.1 was seen to do so, and 3.54.1, which these tests read with, was not: so this other
/// process looks at the lock itself.
#[test]
fn a_keyward_that_runs_has_a_lock_on_its_store_for_other_processes() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    let lock = || {
        let (store, wanted) = (fs::File::open(home.store()).unwrap(), Flock::from(FlockType::WriteLock));
        fcntl_getlk(store, &wanted).unwrap().map(|lock| lock.typ)
    };
    assert_eq!(lock(), Some(FlockType::ReadLock), "when both have opened it");
    ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current"));
    eventually("what is written", || (home.rows::<i64>(SIGHTINGS) == [1]).then_some(()));
    assert_eq!(lock(), Some(FlockType::ReadLock), "after a write");
    keyward.stop();
    assert_eq!(lock(), None);
}

#[test]
fn a_store_that_is_locked_at_the_start_is_read_later() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-old");
    let config = "[keys.default]\ncurrent = { file = \"key\" }\n";
    let before = home.serve_for(&upstream).config(config).start();
    ask(&before, "wf=a;ex=1;node=n", Some("sk-old"));
    before.exchanges(1);
    before.stop();
    home.write("key", "sk-new");
    let other = Connection::open(home.store()).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let keyward = home.serve_for(&upstream).config(config).start();
    assert!(store_event(&keyward, "error").contains("is locked by another program"));
    assert_eq!(ask(&keyward, "wf=a;ex=2;node=n", Some("sk-new")).verdict(), "current");
    drop(other);
    store_event(&keyward, "info");
    let ask_old = || ask(&keyward, "wf=b;ex=3;node=n", Some("sk-old"));
    eventually("the rotation that it slept through", || (ask_old().verdict() == "outdated").then_some(()));
    keyward.stop();
    let sightings = "SELECT sum(sightings) FROM uses JOIN bindings ON binding = id WHERE workflow = 'a'";
    assert_eq!(home.rows::<i64>(sightings), [2], "before and after");
}

#[test]
fn a_damaged_store_is_left_as_it_is_until_it_is_removed() {
    for damage in [Damage::NoDatabase, Damage::Pages] {
        let (home, upstream) = (Home::new(), FakeUpstream::accepting());
        let keyward = home.serve_for(&upstream).key("sk-current").start();
        for number in 0..200 {
            ask(&keyward, &format!("wf=w{number};ex=1;node=n"), Some("sk-current"));
        }
        keyward.exchanges(200);
        keyward.stop();
        let bytes = damage.done_to(fs::read(home.store()).unwrap());
        fs::write(home.store(), &bytes).unwrap();
        let keyward = home.serve_for(&upstream).key("sk-current").start();
        let said = store_event(&keyward, "error");
        assert!(said.contains("keyward.db is damaged") && said.contains("kept in memory"), "{said}");
        for _ in 0..3 {
            assert_eq!(ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current")).verdict(), "current");
        }
        assert!(fs::read(home.store()).unwrap() == bytes, "you may mend it");
        fs::remove_file(home.store()).unwrap();
        assert!(store_event(&keyward, "info").contains("is written again"));
        assert_eq!(home.rows::<i64>(SIGHTINGS), [3]);
        assert_eq!(events(&keyward.log(), "store").len(), 2, "{}", keyward.log());
    }
}

#[test]
fn a_store_that_is_removed_is_made_anew_with_all_that_is_known() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&["sk-current"]));
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    ask(&keyward, "wf=a;ex=1;node=n", Some("sk-other"));
    ask(&keyward, "wf=a;ex=2;node=n", Some("sk-current"));
    ask(&keyward, "wf=b;ex=3;node=n", Some("sk-other"));
    eventually("the first three", || (home.rows::<i64>(SIGHTINGS) == [3]).then_some(()));
    for end in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{end}", home.store().display())).unwrap();
    }
    ask(&keyward, "wf=a;ex=4;node=n", Some("sk-current"));
    eventually("all of it", || (home.rows::<i64>(SIGHTINGS) == [4]).then_some(()));
    assert!(store_event(&keyward, "warn").contains("was removed or replaced"));
    keyward.stop();
    assert_eq!(home.rows::<i64>("SELECT sum(exchanges) FROM hours"), [4]);
    let incidents = "SELECT sightings || ifnull(closed_by, 'open') FROM incidents ORDER BY opened";
    assert_eq!(home.rows::<String>(incidents), ["1good_sighting", "1open"]);
    assert_eq!(home.rows::<i64>("SELECT count(*) FROM sets"), [1]);
}

#[test]
fn a_store_of_a_later_keyward_or_another_program_is_not_touched() {
    for (change, said) in [
        ("PRAGMA user_version = 99", "was written by a later keyward (its version is 99, this one knows 8)"),
        ("PRAGMA application_id = 1", "is a database of another program"),
    ] {
        let (home, upstream) = (Home::new(), FakeUpstream::accepting());
        home.serve_for(&upstream).start().stop();
        Connection::open(home.store()).unwrap().execute_batch(change).unwrap();
        let before = (fs::read(home.store()).unwrap(), fs::metadata(home.store()).unwrap().ino());
        let keyward = home.serve_for(&upstream).key("sk-current").start();
        assert_eq!(ask(&keyward, "wf=a;ex=1;node=n", Some("sk-current")).verdict(), "current");
        let text = store_event(&keyward, "error");
        assert!(text.contains(said), "{text}");
        assert_eq!(keyward.stop().code(), Some(0));
        let after = (fs::read(home.store()).unwrap(), fs::metadata(home.store()).unwrap().ino());
        assert!(after == before, "{said}");
        let list = home.keyward(&["keys", "list"]).run();
        assert!(list.stderr.contains(said), "{}", list.stderr);
    }
}

#[test]
fn a_code_that_only_a_later_keyward_knows_is_told_and_kept() {
    let (home, upstream) = (Home::new(), FakeUpstream::taking(&["sk-current"]));
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    ask(&keyward, "wf=a;ex=1;node=n", Some("sk-other"));
    keyward.exchanges(1);
    keyward.stop();
    let change = "UPDATE incidents SET diagnosis = 'malformed_newer'";
    Connection::open(home.store()).unwrap().execute_batch(change).unwrap();
    let keyward = home.serve_for(&upstream).key("sk-current").start();
    let said = store_event(&keyward, "warn");
    assert!(said.contains("the diagnosis of an incident in the store is `malformed_newer`"), "{said}");
    assert!(said.ends_with("it is kept as it is"), "{said}");
    assert_eq!(events(&keyward.log(), "store").len(), 1, "{}", keyward.log());
    ask(&keyward, "wf=a;ex=2;node=n", Some("sk-current"));
    keyward.exchanges(1);
    keyward.stop();
    let incidents = "SELECT diagnosis || ' ' || closed_by FROM incidents";
    assert_eq!(home.rows::<String>(incidents), ["malformed_newer good_sighting"]);
}

#[test]
fn a_disk_that_takes_no_more_costs_nothing_but_what_a_kill_would_lose() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.serve_for(&upstream).key("sk-current").start().stop();
    // The file is there, and its log may not grow beyond some kilobytes.
    let launch = home.serve_after("trap '' XFSZ; ulimit -f 24");
    let keyward = launch.upstream(&upstream).key("sk-current").start();
    for number in 0..300 {
        assert_eq!(ask(&keyward, &format!("wf=w{number};ex=1;node=n"), Some("sk-current")).status, 200);
    }
    let said = store_event(&keyward, "error");
    assert!(said.contains("kept in memory until its store can be used"), "{said}");
    assert_eq!(keyward.stop().code(), Some(0));
    assert_eq!(home.rows::<String>("PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn a_store_that_cannot_be_written_at_the_start_is_read_all_the_same() {
    let (home, upstream) = (Home::new(), FakeUpstream::accepting());
    home.write("key", "sk-old");
    let config = "[keys.default]\ncurrent = { file = \"key\" }\n";
    let before = home.serve_for(&upstream).config(config).start();
    ask(&before, "wf=a;ex=1;node=n", Some("sk-old"));
    before.exchanges(1);
    before.stop();
    home.write("key", "sk-new");
    // No file may have a byte more.
    let launch = home.serve_after("trap '' XFSZ; ulimit -f 0");
    let keyward = launch.upstream(&upstream).config(config).start();
    let said = store_event(&keyward, "error");
    assert!(said.contains("what happens is kept in memory until its store can be used"), "{said}");
    assert_eq!(ask(&keyward, "wf=b;ex=2;node=n", Some("sk-old")).verdict(), "outdated");
    assert_eq!(diagnosis(&keyward, &ask(&keyward, "wf=a;ex=3;node=n", None)), "dropped_header", "it sent a key before");
    assert_eq!(keyward.stop().code(), Some(0));
    assert_eq!(home.rows::<i64>(SIGHTINGS), [1]);
}

#[test]
fn what_another_fingerprint_key_named_is_mixed_with_nothing() {
    for other in [None, Some([7; 32])] {
        let (home, upstream) = (Home::new(), FakeUpstream::accepting());
        home.write("key", "sk-current");
        let config = "[keys.default]\ncurrent = { file = \"key\" }\n";
        let start = || home.serve_for(&upstream).config(config).start();
        let before = start();
        ask(&before, "wf=a;ex=1;node=n", Some("sk-current"));
        before.exchanges(1);
        before.stop();
        let path = home.state().join("fingerprint.key");
        let lost = fs::read(&path).unwrap();
        match other {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let said = "fingerprint.key is not the one by which";
        let keyward = start();
        assert_eq!(ask(&keyward, "wf=a;ex=2;node=n", Some("sk-current")).verdict(), "current");
        let text = events(&keyward.log(), "keys")[0]["message"].as_str().unwrap().to_owned();
        assert!(text.contains(said) && text.contains("put that one back"), "{text}");
        let text = store_event(&keyward, "error");
        assert!(text.contains("keyward.db knows keys by another fingerprint.key"), "{text}");
        keyward.stop();
        assert_eq!(fs::read(&path).ok(), other.map(Vec::from), "none is made in its place");
        let acting = home.serve_for(&upstream).config(&format!("{config}policy = \"enforce\"\n")).run();
        assert_eq!(acting.code(), Some(1));
        assert!(acting.stderr.contains(said), "{}", acting.stderr);
        let checked = home.keyward(&["check"]).config(config).run();
        assert!((checked.stdout + &checked.stderr).contains(said));
        assert_eq!(home.rows::<i64>(SIGHTINGS), [1]);
        fs::write(&path, lost).unwrap();
        let keyward = start();
        ask(&keyward, "wf=a;ex=3;node=n", Some("sk-current"));
        keyward.exchanges(1);
        keyward.stop();
        assert_eq!(home.rows::<i64>("SELECT sightings FROM uses"), [2], "one key of one binding");
    }
}

/// What is done to a store.
#[derive(Clone, Copy)]
enum Damage {
    /// It is something else altogether.
    NoDatabase,
    /// Its first page is whole, and the others are not.
    Pages,
}

impl Damage {
    fn done_to(self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::NoDatabase => b"this is no database, it only stands in its place, and is longer than a head".to_vec(),
            Self::Pages => {
                bytes[4096..].fill(0xa5);
                bytes
            }
        }
    }
}

/// Clients that ask until the server is gone.
#[derive(Default)]
struct Load {
    sent: AtomicU64,
    answered: Mutex<Vec<Instant>>,
    is_over: AtomicBool,
}

impl Load {
    fn run(&self, mut connection: Client, client: u64) {
        for number in 0_u64.. {
            let tag = format!("wf=w{};ex={client}-{number};node=n", number % 7);
            self.sent.fetch_add(1, Ordering::Relaxed);
            let request = request("GET", "/v1/models", &headers(&tag, "Bearer sk-current"), b"");
            connection.send(request);
            if !connection.read().whole {
                return;
            }
            self.answered.lock().unwrap().push(Instant::now());
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

fn headers<'a>(tag: &'a str, authorization: &'a str) -> [(&'a str, &'a str); 2] {
    [("X-N8N-Tag", tag), ("Authorization", authorization)]
}

#[track_caller]
fn ask(keyward: &Keyward, tag: &str, key: Option<&str>) -> Answer {
    let authorization = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("X-N8N-Tag", tag)];
    headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    Client::connect(keyward.listen).ask("/v1/models", &headers)
}

/// What the log says of an exchange.
#[track_caller]
fn diagnosis(keyward: &Keyward, answer: &Answer) -> String {
    let id = answer.header("x-keyward-id").unwrap();
    let line = eventually("its line", || {
        events(&keyward.log(), "exchange").into_iter().find(|line| line["id"].as_str() == Some(id))
    });
    line["diagnosis"].as_str().unwrap().to_owned()
}

/// What keyward says of its store at that level, as soon as it does.
#[track_caller]
fn store_event(keyward: &Keyward, level: &str) -> String {
    eventually("a word on the store", || {
        let said = events(&keyward.log(), "store").into_iter().find(|line| line["level"] == level)?;
        Some(said["message"].as_str()?.to_owned())
    })
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
