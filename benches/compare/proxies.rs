//! The proxies that are compared: started alike, on ports that are free, with the same work to do.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, free_addresses};

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
            // The store's thread works by the clock, not by the request, and under valgrind the clock runs away: what it costs
            // is told by `cargo bench --bench ledger`.
            Self::CountedKeyward => command
                .env("KEYWARD_STORE_URL", "off")
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
    pub address: SocketAddr,
    /// Where it speaks HTTP/2: nginx 1.22 does so only at an address of its own.
    pub http2_address: SocketAddr,
    process: Process,
    dir: TempDir,
}

impl Proxy {
    /// Starts it in front of `upstream` and waits until it listens.
    pub fn start(kind: Kind, upstream: SocketAddr) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        // nginx's worker runs as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let [address, other_address] = free_addresses()?;
        let http2_address = if kind.has_one_address() { address } else { other_address };
        let config = write_config(kind, dir.path(), [address, http2_address, upstream])?;
        let process = Process::start(&mut kind.command(&config, dir.path()), dir.path().join("output"), address)
            .map_err(|error| io::Error::other(format!("{}: {error}", kind.name())))?;
        Ok(Self { address, http2_address, process, dir })
    }

    /// Processor time of its processes so far.
    pub fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    /// Memory of its processes, in bytes, as far as it is theirs alone.
    pub fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// Has valgrind count from now on.
    pub fn count_instructions(&self) -> io::Result<()> {
        let told = Command::new("callgrind_control").args(["-i", "on", &self.process.id().to_string()]).output()?;
        if told.status.success() { Ok(()) } else { Err(io::Error::other("callgrind_control failed")) }
    }

    /// Has valgrind write down what it counted, and reads it.
    pub fn instructions(&self) -> io::Result<u64> {
        let pid = self.process.id().to_string();
        Command::new("callgrind_control").args(["-d", &pid]).output()?;
        let dump = fs::read_to_string(self.dir.path().join("callgrind.1"))?;
        let total = dump.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| io::Error::other("valgrind counted nothing"))
    }
}

/// As long as OpenAI's project keys.
pub fn key() -> String {
    format!("sk-proj-{}", "Qp7x".repeat(39))
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

const KEYWARD: &str = env!("CARGO_BIN_EXE_keyward");
