//! The keyward that is under load: the real binary with two workers, watched from outside.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{self, Process};

/// A running one. Dropping it ends it.
pub struct Keyward {
    pub address: SocketAddr,
    admin: SocketAddr,
    process: Process,
    dir: TempDir,
    /// The files that the log has been moved to, as long as their lines are not counted.
    moved: Vec<PathBuf>,
    lines: u64,
}

/// What the system says of it.
#[derive(Clone, Copy, Default)]
pub struct Vitals {
    pub rss: u64,
    pub pss: u64,
    pub descriptors: u64,
    pub threads: u64,
    pub cpu: Duration,
}

/// What it says of itself.
#[derive(Clone, Copy, Default)]
pub struct Metrics {
    pub clients_open: u64,
    pub exchanges_open: u64,
    pub exchanges: u64,
    pub log_dropped: u64,
    pub panics: u64,
    pub turned_away: u64,
}

impl Keyward {
    /// Starts it in front of that upstream, with these settings more: each a whole line of a table in the config.
    pub fn start(upstream: &str, more: &[(&str, String)]) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let [address, admin] = process::free_addresses()?;
        fs::write(dir.path().join("key"), key(0))?;
        fs::write(dir.path().join("next"), key(9))?;
        let mut config = include_str!("keyward.toml")
            .replace("<dir>", &dir.path().display().to_string())
            .replace("<listen>", &address.to_string())
            .replace("<admin>", &admin.to_string())
            .replace("<upstream>", upstream);
        for (table, line) in more {
            let head = format!("[{table}]\n");
            if !config.contains(&head) {
                config.push_str(&head);
            }
            config = config.replace(&head, &format!("{head}{line}\n"));
        }
        fs::write(dir.path().join("config"), config)?;
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config"]).arg(dir.path().join("config"));
        let process = Process::start(&mut command, dir.path().join("output"), address)?;
        Ok(Self { address, admin, process, dir, moved: Vec::new(), lines: 0 })
    }

    /// Puts another key in place of the current one, as a person does it who knows that others read the file meanwhile.
    pub fn change_key(dir: &Path, key: &str) -> io::Result<()> {
        fs::write(dir.join("key.new"), key)?;
        fs::rename(dir.join("key.new"), dir.join("key"))
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Has it begin a new log file. Counts the lines of the one before the last: by now every line of it is written.
    pub fn rotate_log(&mut self) -> io::Result<()> {
        let log = self.dir.path().join("exchanges.log");
        self.count_moved()?;
        let moved = self.dir.path().join("moved.log");
        fs::rename(&log, &moved)?;
        self.moved.push(moved);
        Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status()?;
        until(Duration::from_secs(10), || Ok(log.exists().then_some(())))
    }

    /// How many exchanges were logged, once it has ended; and what it said besides.
    pub fn end(mut self) -> io::Result<(u64, String)> {
        drop(self.process);
        self.moved.push(self.dir.path().join("exchanges.log"));
        for log in self.moved.drain(..) {
            self.lines += count_exchanges(&log)?;
        }
        Ok((self.lines, fs::read_to_string(self.dir.path().join("output"))?))
    }

    fn count_moved(&mut self) -> io::Result<()> {
        for log in self.moved.drain(..) {
            self.lines += count_exchanges(&log)?;
            fs::remove_file(&log)?;
        }
        Ok(())
    }

    /// How large the files of its state are, in bytes.
    pub fn state_size(&self) -> io::Result<u64> {
        fs::read_dir(self.dir.path().join("state"))?.map(|entry| Ok(entry?.metadata()?.len())).sum()
    }

    pub fn vitals(&self) -> io::Result<Vitals> {
        let folder = PathBuf::from(format!("/proc/{}", self.process.id()));
        let status = fs::read_to_string(folder.join("status"))?;
        let number = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Vitals {
            rss: number("VmRSS") * 1024,
            pss: self.process.memory(),
            descriptors: fs::read_dir(folder.join("fd"))?.count() as u64,
            threads: number("Threads"),
            cpu: self.process.cpu(),
        })
    }

    /// Its memory alone, in bytes, which is quickly read.
    pub fn rss(&self) -> io::Result<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.process.id()))?;
        let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        Ok(pages.unwrap_or(0) * 4096)
    }

    pub fn metrics(&self) -> io::Result<Metrics> {
        let mut admin = TcpStream::connect(self.admin)?;
        admin.write_all(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        admin.read_to_string(&mut text)?;
        let sum = |name: &str| {
            let rows = text.lines().filter_map(|line| line.strip_prefix(name));
            let rows = rows.filter(|rest| rest.starts_with(['{', ' ']));
            rows.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        Ok(Metrics {
            clients_open: sum("keyward_client_connections_open"),
            exchanges_open: sum("keyward_exchanges_open"),
            exchanges: sum("keyward_exchanges_total"),
            log_dropped: sum("keyward_log_dropped_total"),
            panics: sum("keyward_panics_total"),
            turned_away: sum("keyward_client_connections_turned_away_total"),
        })
    }

    /// Waits until all clients have gone and all their connections are closed, but not for ever. Gives what is left.
    pub fn settle(&self, descriptors: u64) -> io::Result<(Metrics, Vitals)> {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let (metrics, vitals) = (self.metrics()?, self.vitals()?);
            let open = metrics.clients_open + metrics.exchanges_open;
            if (open == 0 && vitals.descriptors <= descriptors) || Instant::now() > deadline {
                return Ok((metrics, vitals));
            }
            thread::sleep(Duration::from_millis(500));
        }
    }
}

/// A key as long as OpenAI's project keys.
pub fn key(number: u64) -> String {
    format!("sk-proj-{}{number}", "Qp7x".repeat(39))
}

/// A new token of that name.
pub fn make_token(folder: &Path, name: &str) -> io::Result<String> {
    token(folder, &["new", "default", "--name", name]).map(|out| out.trim().to_owned())
}

pub fn revoke_token(folder: &Path, name: &str) -> io::Result<()> {
    token(folder, &["revoke", name]).map(drop)
}

fn token(folder: &Path, arguments: &[&str]) -> io::Result<String> {
    let mut command = Command::new(BINARY);
    let out = command.arg("token").args(arguments).arg("--config").arg(folder.join("config")).output()?;
    if out.status.success() {
        return String::from_utf8(out.stdout).map_err(io::Error::other);
    }
    Err(io::Error::other(format!("token {arguments:?}: {}", String::from_utf8_lossy(&out.stderr))))
}

/// Looks until there is something to be seen.
fn until<T>(patience: Duration, mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn count_exchanges(log: &Path) -> io::Result<u64> {
    Ok(memchr::memmem::find_iter(&fs::read(log)?, b"\"event\":\"exchange\"").count() as u64)
}

const BINARY: &str = env!("CARGO_BIN_EXE_keyward");
