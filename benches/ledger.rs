//! What the ledger costs: a sighting, many bindings in memory and on disk, a long time of exchanges.
//!
//! `cargo bench --bench ledger` prints every figure as it is measured, times as processor time; `-- quick` leaves the
//! million bindings out.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its figures, or fails")]

#[path = "views/opening.rs"]
mod opening;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keyward::caller::Family;
use keyward::clock::{Clock, Timestamp};
use keyward::keys::reloader::Reloader;
use keyward::keys::set::{Names, SetIndex};
use keyward::keys::state;
use keyward::ledger::Ledger;
use keyward::ledger::binding::Binding;
use keyward::ledger::identity::Identity;
use keyward::ledger::query::Query;
use keyward::ledger::seen::Seen;
use keyward::ledger::writer::Writer;
use keyward::verdict::explain::Diagnosis;

use self::opening::{answered, good, key, open, open_keys};

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "quick");
    weigh_a_sighting();
    weigh_bindings(100_000);
    if !is_quick {
        weigh_bindings(1_000_000);
    }
    weigh_a_long_time();
}

/// Of one binding, over and over: as an exchange that ends does it.
fn weigh_a_sighting() {
    const ROUNDS: u32 = 2_000_000;
    let mut bench = Bench::new(1);
    let binding = bench.binding(0);
    let before = cpu();
    for _ in 0..ROUNDS {
        bench.ledger.sight(&binding, &bench.good("1042"));
    }
    println!("{:>10.0} ns for a sighting", since(before).as_secs_f64() * 1e9 / f64::from(ROUNDS));
    let before = cpu();
    bench.turn();
    println!("{:>10.1} µs for a flush of one binding", since(before).as_secs_f64() * 1e6);
    for count in [60, 1_000] {
        let mut bench = Bench::new(count);
        for round in 0..2 {
            for number in 0..count {
                bench.ledger.sight(&bench.binding(number), &bench.good("1042"));
            }
            let before = cpu();
            bench.turn();
            if round == 1 {
                let each = since(before).as_secs_f64() * 1e6 / f64::from(u32::try_from(count).expect("few"));
                println!("{each:>10.1} µs for each of {count} bindings in a flush");
            }
        }
    }
}

/// Each with an id as n8n makes them, two keys and four visits; one in ten is stale, one in ten silent. The store is told
/// after each visit, as it is a quarter of a second after any.
fn weigh_bindings(count: usize) {
    println!("{count} bindings");
    let before = resident();
    let mut bench = Bench::new(count);
    for visit in 0..4 {
        for number in (0..count).filter(|number| visit < 3 || number % 10 != 9) {
            let seen = if visit == 3 && number % 10 == 8 { bench.bad("1043") } else { bench.good("1042") };
            bench.ledger.sight(&bench.binding(number), &seen);
        }
        let told = cpu();
        bench.turn();
        if visit == 0 {
            println!("{:>10.1} ms to write all of them at once", millis(since(told)));
        }
        if visit == 2 {
            bench.rotate();
        }
        bench.now.fetch_add(3_600_000, Ordering::Relaxed);
    }
    println!("{:>10.1} MB on disk", megabytes(size(&bench.path())));
    println!("{:>10.1} MB of memory", megabytes(resident() - before));
    let drawn = cpu();
    let view = Query::new(&bench.ledger, &bench.reloader, bench.time()).rotation(SetIndex::DEFAULT);
    println!("{:>10.1} ms for the rotation view ({} rows)", millis(since(drawn)), view.rows.len());
    drop(view);
    let read = cpu();
    let again = bench.again(count);
    println!("{:>10.1} ms to read them at a start", millis(since(read)));
    assert_eq!(again.len(), count);
}

/// Ten million exchanges on a thousand bindings in ninety days, with a rotation every month.
fn weigh_a_long_time() {
    const HOURS: usize = 90 * 24;
    const EXCHANGES: usize = 10_000_000;
    let mut bench = Bench::new(1_000);
    let bindings: Vec<_> = (0..1_000).map(|number| bench.binding(number)).collect();
    let begun = cpu();
    for hour in 0..HOURS {
        if hour % 720 == 719 {
            bench.rotate();
        }
        for number in 0..EXCHANGES / HOURS {
            let binding = &bindings[(number * 7 + hour) % 1_000];
            let seen = match number % 100 {
                0..90 => bench.good("1042"),
                90..97 => bench.bad("1042"),
                _ => Seen { outcome: answered(429), diagnosis: Diagnosis::RateLimited, ..bench.good("1042") },
            };
            bench.ledger.sight(binding, &seen);
        }
        bench.turn();
        bench.now.fetch_add(3_600_000, Ordering::Relaxed);
    }
    println!("{EXCHANGES} exchanges on 1000 bindings in {HOURS} hours");
    println!("{:>10.1} s in all", since(begun).as_secs_f64());
    let log = size(&bench.path().with_extension("db-wal"));
    println!("{:>10.1} MB on disk, and {:.1} MB of its log", megabytes(size(&bench.path())), megabytes(log));
    println!("{:>10} rows of hours", bench.ledger.with_hours(|hours| hours.iter().count()));
}

struct Bench {
    folder: tempfile::TempDir,
    now: Arc<AtomicI64>,
    ledger: Arc<Ledger>,
    reloader: Reloader,
    writer: Writer,
    keys: usize,
    /// Making them is no part of what is weighed.
    names: Vec<Names>,
}

impl Bench {
    fn new(bindings: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Arc::new(AtomicI64::new(1_795_420_800_000));
        let clock = Clock::Chosen(Arc::clone(&now));
        let (ledger, mut writer) = open(folder.path(), clock.clone(), bindings);
        let reloader = open_keys(folder.path(), clock, &mut writer);
        let names = (0..8).map(|number| reloader.ring().names(key(number).as_bytes())).collect();
        Self { folder, now, ledger, reloader, writer, keys: 0, names }
    }

    fn again(&self, bindings: usize) -> Arc<Ledger> {
        let (ledger, mut writer) = open(self.folder.path(), Clock::Chosen(Arc::clone(&self.now)), bindings);
        writer.read(state::fingerprint_key_name(self.folder.path())).expect("read");
        ledger
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("keyward.db")
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    fn turn(&mut self) {
        self.writer.turn(&self.reloader);
        assert_eq!(self.writer.status().trouble(), None);
    }

    fn rotate(&mut self) {
        self.keys += 1;
        fs::write(self.folder.path().join("key"), key(self.keys)).expect("a file");
        drop(self.reloader.reload());
    }

    /// A workflow's node, as n8n names them.
    fn binding(&self, number: usize) -> Arc<Binding> {
        let (workflow, node) = (format!("wF{number:014}"), format!("9f3cbd3a-1f6b-4d2e-8a57-{number:012}"));
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, IpAddr::V4(Ipv4Addr::LOCALHOST), None);
        self.ledger.binding(&Identity { workflow: Some(&workflow), node: Some(&node), ..untagged })
    }

    fn good(&self, execution: &'static str) -> Seen<'static> {
        good(self.time(), self.names(self.keys), execution, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// With the key of before.
    fn bad(&self, execution: &'static str) -> Seen<'static> {
        let diagnosis = Diagnosis::StaleBinding { tolerated: false };
        let key = Some(self.names(self.keys.saturating_sub(1)));
        Seen { key, diagnosis, outcome: answered(401), ..self.good(execution) }
    }

    fn names(&self, number: usize) -> Names {
        self.names[number]
    }
}

/// The processor time of this thread so far: what the machine does besides is no part of it.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

fn since(before: Duration) -> Duration {
    cpu().saturating_sub(before)
}

/// How much memory this process has, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).expect("a line");
    line.trim().parse::<u64>().expect("a number") * 1024
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
