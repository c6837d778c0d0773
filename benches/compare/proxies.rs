//! The proxies that are compared: started alike, on ports that are free, with the same work to do.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Haproxy,
    Keyward,
    /// keyward in valgrind, which counts its instructions from when it is told to.
    CountedKeyward,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Keyward | Self::CountedKeyward => "keyward",
        }
    }

    /// Whether the machine has it.
    pub fn is_there(self) -> bool {
        let version = |program: &str| Command::new(program).arg("-v").output().is_ok();
        match self {
            Self::Nginx => version("nginx"),
            Self::Haproxy => version("haproxy"),
            Self::Keyward | Self::CountedKeyward => true,
        }
    }

    /// Whether it tells HTTP/2 from HTTP/1.1 by what the client begins with.
    fn has_one_address(self) -> bool {
        matches!(self, Self::Keyward | Self::CountedKeyward)
    }

    fn template(self) -> &'static str {
        match self {
            Self::Nginx => include_str!("nginx.conf"),
            Self::Haproxy => include_str!("haproxy.cfg"),
            Self::Keyward | Self::CountedKeyward => include_str!("keyward.toml"),
        }
    }

    fn command(self, config: &Path, dir: &Path) -> Command {
        let mut command = match self {
            Self::Nginx => Command::new("nginx"),
            Self::Haproxy => Command::new("haproxy"),
            Self::Keyward => Command::new(KEYWARD),
            Self::CountedKeyward => Command::new("valgrind"),
        };
        match self {
            Self::Nginx => command.arg("-c").arg(config).arg("-p").arg(dir),
            Self::Haproxy => command.arg("-db").arg("-f").arg(config),
            Self::Keyward => command.arg("serve").arg("--config").arg(config),
            Self::CountedKeyward => command
                .args(["--tool=callgrind", "--instr-atstart=no"])
                .arg(format!("--callgrind-out-file={}", dir.join("callgrind").display()))
                .args([KEYWARD, "serve", "--config"])
                .arg(config),
        };
        command
    }
}

/// A proxy at work, with one worker. Dropping it ends it.
pub struct Proxy {
    pub kind: Kind,
    pub address: SocketAddr,
    /// Where it speaks HTTP/2: nginx 1.22 does so only at an address of its own.
    pub http2_address: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Proxy {
    /// Starts it in front of `upstream` and waits until it listens.
    pub fn start(kind: Kind, upstream: SocketAddr) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        // nginx's worker runs as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let (address, other_address) = free_addresses()?;
        let http2_address = if kind.has_one_address() { address } else { other_address };
        let config = write_config(kind, dir.path(), [address, http2_address, upstream])?;
        let out = fs::File::create(dir.path().join("output"))?;
        let child =
            kind.command(&config, dir.path()).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        let mut proxy = Self { kind, address, http2_address, child, dir };
        proxy.wait_until_it_listens()?;
        Ok(proxy)
    }

    /// Processor time of its processes so far.
    pub fn cpu(&self) -> Duration {
        self.processes().filter_map(|pid| cpu_of(&pid)).sum()
    }

    /// Memory of its processes, in bytes, as far as it is theirs alone.
    pub fn memory(&self) -> u64 {
        self.processes().filter_map(|pid| memory_of(&pid)).sum()
    }

    /// Has valgrind count from now on.
    pub fn count_instructions(&self) -> io::Result<()> {
        let told = Command::new("callgrind_control").args(["-i", "on", &self.child.id().to_string()]).output()?;
        if told.status.success() { Ok(()) } else { Err(io::Error::other("callgrind_control failed")) }
    }

    /// Has valgrind write down what it counted, and reads it.
    pub fn instructions(&self) -> io::Result<u64> {
        let pid = self.child.id().to_string();
        Command::new("callgrind_control").args(["-d", &pid]).output()?;
        let dump = fs::read_to_string(self.dir.path().join("callgrind.1"))?;
        let total = dump.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| io::Error::other("valgrind counted nothing"))
    }

    fn wait_until_it_listens(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(self.address).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let output = fs::read_to_string(self.dir.path().join("output"))?;
                return Err(io::Error::other(format!("{} did not start: {output}", self.kind.name())));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The process itself and its children: nginx's worker is one.
    fn processes(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.child.id().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        all.filter(move |pid| pid.ends_with(&own) || stat(pid).is_some_and(|stat| stat.get(1) == Some(&own)))
    }
}

impl Drop for Proxy {
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

/// As long as OpenAI's project keys.
pub fn key() -> String {
    format!("sk-proj-{}", "Qp7x".repeat(39))
}

/// Two at once, so that they differ.
fn free_addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?, other.local_addr()?))
}

fn write_config(kind: Kind, dir: &Path, [address, http2_address, upstream]: [SocketAddr; 3]) -> io::Result<PathBuf> {
    fs::write(dir.join("keys.map"), format!("{} current\n", key()))?;
    fs::write(dir.join("key"), key())?;
    let text = kind
        .template()
        .replace("[dir]", &dir.display().to_string())
        .replace("[port]", &address.port().to_string())
        .replace("[http2_port]", &http2_address.port().to_string())
        .replace("[upstream]", &upstream.to_string())
        .replace("[key]", &key());
    let path = dir.join("config");
    fs::write(&path, text)?;
    Ok(path)
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

const KEYWARD: &str = env!("CARGO_BIN_EXE_keyward");
