//! What views cost where there are many bindings: the processor time of a view, how long health checks and a stop take meanwhile.
//!
//! `cargo bench --bench views` fills a store with 100,000 bindings (`-- --bindings` says how many), starts the real binary
//! on it, and asks: first one at a time, then with six watchers that ask again and again. `--stale` says how many of a
//! thousand bindings still send the old key; as many were not seen since. `--n8n` has an n8n beside it in which all of them
//! stand, so that each answer has an audit of it; `--records` says how many credential records they use there.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its figures, or fails")]

mod fill;
mod listener;
mod n8n;
mod opening;
#[path = "../compare/process.rs"]
#[expect(dead_code, reason = "another bench needs more of it")]
mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use self::listener::Listener;
use self::n8n::N8n;
use self::process::{Process, free_addresses};

#[derive(Parser)]
struct Arguments {
    /// How many bindings there are.
    #[arg(long, default_value_t = 100_000)]
    bindings: usize,
    /// How many of a thousand are stale, and how many are silent.
    #[arg(long, default_value_t = 1)]
    stale: usize,
    /// Whether there is an n8n in which the bindings stand.
    #[arg(long)]
    n8n: bool,
    /// How many credential records there are in it.
    #[arg(long, default_value_t = 100)]
    records: usize,
    /// For how long the watchers ask, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().expect("a folder");
    fill::fill(folder.path(), arguments.bindings, arguments.stale);
    println!("{} bindings, of a thousand {} stale and as many silent", arguments.bindings, arguments.stale);
    let Arguments { bindings, records, .. } = arguments;
    let n8n = arguments.n8n.then(|| N8n { bindings, records }.serve());
    if n8n.is_some() {
        println!("an n8n with {} workflows and {records} credential records", bindings.div_ceil(10));
    }
    let keyward = Keyward::start(folder.path(), n8n);
    if n8n.is_some() {
        let looked = millis(keyward.cpu_of(|name| name == N8N_THREAD));
        println!("{looked:>10.1} ms of processor time to look through n8n, which no view waits for");
    }
    for (what, target) in VIEWS {
        // What is drawn for all who ask within a second is drawn once here.
        thread::sleep(Duration::from_millis(1_500));
        let (before, began) = (keyward.cpu(), Instant::now());
        let size = keyward.listener.get(target).len();
        let (cpu, took) = (keyward.cpu().saturating_sub(before), began.elapsed());
        println!("{:>10.1} ms of processor time for {what} ({:.1} ms, {size} bytes)", millis(cpu), millis(took));
    }
    thread::sleep(Duration::from_millis(1_500));
    keyward.command(folder.path(), &["rotation", "default"]);
    keyward.command(folder.path(), &["rotation", "default", "--json"]);
    keyward.command(folder.path(), &["rotation", "default", "--can-go"]);
    keyward.command(folder.path(), &["status"]);
    println!("{:>10.1} ms for a health check, at the 99th percentile", millis(keyward.health(100)));
    let watched = keyward.watched(Duration::from_secs(arguments.seconds));
    println!("six watchers for {} seconds", arguments.seconds);
    println!("{:>10} views were told", watched.views);
    println!("{:>10.1} ms of processor time a second", millis(watched.cpu) / millis(watched.took) * 1e3);
    println!("{:>10.1} ms for a health check, at the 99th percentile", millis(watched.health));
    println!("{:>10.1} ms for the slowest of {}", millis(watched.slowest), watched.checks);
    println!("{:>10.1} ms to stop while a view is drawn", millis(keyward.stop()));
}

struct Keyward {
    process: Process,
    listener: Listener,
}

/// What the watchers saw.
struct Watched {
    views: u64,
    cpu: Duration,
    took: Duration,
    health: Duration,
    slowest: Duration,
    checks: usize,
}

impl Keyward {
    fn start(folder: &Path, n8n: Option<SocketAddr>) -> Self {
        let [address, admin] = free_addresses().expect("addresses");
        let token = folder.join("admin.token");
        fs::write(&token, TOKEN).expect("a file");
        let config = include_str!("keyward.toml")
            .replace("<dir>", &folder.display().to_string())
            .replace("<listen>", &address.to_string())
            .replace("<admin>", &admin.to_string());
        let n8n = n8n.map_or_else(String::new, |n8n| {
            fs::write(folder.join("n8n.key"), "n8n_api_0123456789abcdef0123456789abcdef").expect("a file");
            let key = folder.join("n8n.key").display().to_string();
            // Pressed tests would end at the upstream that there is not.
            format!("\n[n8n.main]\nurl = \"http://{n8n}\"\napi_key = {{ file = \"{key}\" }}\npress = false\n")
        });
        fs::write(folder.join("config"), config + &n8n).expect("a file");
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config"]).arg(folder.join("config"));
        let process = Process::start(&mut command, folder.join("output"), admin).expect("a keyward");
        let keyward = Self { process, listener: Listener { address: admin, token: TOKEN.to_owned() } };
        if !n8n.is_empty() {
            keyward.wait_until_n8n_is_read();
        }
        keyward
    }

    fn wait_until_n8n_is_read(&self) {
        let began = Instant::now();
        loop {
            let answer = self.listener.get("/api/v1/status");
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
            if status["n8n"][0]["state"] == "ok" {
                return;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "n8n is not read: {}", status["n8n"]);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What a command costs the keyward that runs.
    fn command(&self, folder: &Path, arguments: &[&str]) {
        let (before, began) = (self.cpu(), Instant::now());
        let mut command = Command::new(BINARY);
        let told = command.args(arguments).arg("--config").arg(folder.join("config")).output().expect("a command");
        let (cpu, took) = (self.cpu().saturating_sub(before), began.elapsed());
        let (name, size) = (arguments.join(" "), told.stdout.len());
        println!(
            "{:>10.1} ms of processor time for `keyward {name}` ({:.1} ms, {size} bytes)",
            millis(cpu),
            millis(took)
        );
    }

    /// The processor time of all its threads so far, but for the one that looks through n8n: it does so at times of its own.
    fn cpu(&self) -> Duration {
        self.cpu_of(|name| name != N8N_THREAD)
    }

    fn cpu_of(&self, is_one: impl Fn(&str) -> bool) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("Linux").flatten();
        let of_task = |task: fs::DirEntry| -> Option<u64> {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            is_one(name.trim_end()).then(|| stat.split(' ').next()?.parse().ok()).flatten()
        };
        Duration::from_nanos(tasks.filter_map(of_task).sum())
    }

    /// How long the slowest but one in a hundred of so many health checks takes.
    fn health(&self, count: usize) -> Duration {
        let mut checks: Vec<_> = (0..count).map(|number| self.check_health(number)).collect();
        percentile(&mut checks)
    }

    fn check_health(&self, number: usize) -> Duration {
        let began = Instant::now();
        self.listener.get(["/healthz", "/readyz"][number % 2]);
        let took = began.elapsed();
        thread::sleep(Duration::from_millis(5));
        took
    }

    /// What there is while six ask for views without a pause.
    fn watched(&self, span: Duration) -> Watched {
        let (is_over, views) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watch = |number: usize| {
            let (is_over, views, listener) = (Arc::clone(&is_over), Arc::clone(&views), self.listener.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    listener.get(WATCHED[number % WATCHED.len()]);
                    views.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(100));
                }
            })
        };
        let watchers: Vec<_> = (0..6).map(watch).collect();
        let (before, began) = (self.cpu(), Instant::now());
        let mut checks = Vec::new();
        while began.elapsed() < span {
            checks.push(self.check_health(checks.len()));
        }
        let (cpu, took) = (self.cpu().saturating_sub(before), began.elapsed());
        is_over.store(true, Ordering::Relaxed);
        for watcher in watchers {
            watcher.join().expect("a watcher");
        }
        let (count, slowest) = (checks.len(), checks.iter().max().copied().unwrap_or_default());
        Watched {
            views: views.load(Ordering::Relaxed),
            cpu,
            took,
            health: percentile(&mut checks),
            slowest,
            checks: count,
        }
    }

    /// How long it takes from SIGTERM to the end, while a view is being drawn.
    fn stop(self) -> Duration {
        thread::sleep(Duration::from_millis(1_500));
        let listener = self.listener.clone();
        let asked = thread::spawn(move || listener.try_get(WATCHED[0]));
        thread::sleep(Duration::from_millis(20));
        let began = Instant::now();
        drop(self.process);
        let took = began.elapsed();
        drop(asked.join().expect("a thread"));
        took
    }
}

/// The 99th.
fn percentile(checks: &mut [Duration]) -> Duration {
    checks.sort_unstable();
    checks.get(checks.len() * 99 / 100).copied().unwrap_or_default()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

const VIEWS: [(&str, &str); 7] = [
    ("a rotation", "/api/v1/sets/default/rotation?limit=100"),
    ("a rotation with 10,000 rows", "/api/v1/sets/default/rotation?limit=10000"),
    ("a status", "/api/v1/status"),
    ("a page", "/"),
    ("bindings", "/api/v1/bindings?limit=100"),
    ("incidents", "/api/v1/incidents?limit=100"),
    ("metrics", "/metrics"),
];

const WATCHED: [&str; 6] = [
    "/api/v1/sets/default/rotation?limit=10000",
    "/api/v1/status",
    "/api/v1/bindings?limit=100",
    "/",
    "/api/v1/incidents?limit=100",
    "/api/v1/sets/default/rotation?limit=100",
];

/// What the thread is called that looks through n8n.
const N8N_THREAD: &str = "n8n";

const TOKEN: &str = "kw-admin-0123456789abcdef0123456789abcdef";

const BINARY: &str = env!("CARGO_BIN_EXE_keyward");
