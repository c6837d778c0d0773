//! A program under measure: its output in a file, its cost read from `/proc`. Dropping it ends it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts it, and waits until it listens on that address.
    pub fn start(command: &mut Command, output: PathBuf, address: SocketAddr) -> io::Result<Self> {
        let out = fs::File::create(&output)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let mut process = Self { child, output };
        process.wait_until_it_listens(address)?;
        Ok(process)
    }

    /// The number by which the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far, with that of its children.
    pub fn cpu(&self) -> Duration {
        self.family().filter_map(|pid| cpu_of(&pid)).sum()
    }

    /// Memory in bytes, with that of its children, as far as it is theirs alone.
    pub fn memory(&self) -> u64 {
        self.family().filter_map(|pid| memory_of(&pid)).sum()
    }

    fn wait_until_it_listens(&mut self, address: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let output = fs::read_to_string(&self.output)?;
                return Err(io::Error::other(format!("it did not start: {output}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The process itself and its children: nginx's worker is one.
    fn family(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.child.id().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        all.filter(move |pid| pid.ends_with(&own) || stat(pid).is_some_and(|stat| stat.get(1) == Some(&own)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx's master ends its worker when it is asked to end, and not when it is killed.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && !matches!(self.child.try_wait(), Ok(Some(_))) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free addresses on loopback, all chosen at once, so that they differ.
pub fn free_addresses<const COUNT: usize>() -> io::Result<[SocketAddr; COUNT]> {
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); COUNT];
    let listeners: io::Result<Vec<_>> = addresses.iter().map(TcpListener::bind).collect();
    for (address, listener) in addresses.iter_mut().zip(listeners?) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

/// The fields of `/proc/<pid>/stat` from the third on (proc(5)); the second may hold blanks.
fn stat(pid: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(pid.join("stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// User and system time, in ticks of a hundredth of a second.
fn cpu_of(pid: &Path) -> Option<Duration> {
    let stat = stat(pid)?;
    let ticks = |field: usize| stat.get(field)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

fn memory_of(pid: &Path) -> Option<u64> {
    let text = fs::read_to_string(pid.join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
