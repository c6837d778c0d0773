//! The real binary as a process of its own: started in a home made for it, heard on all its outputs, ended by its id.

pub(crate) mod client;
pub(crate) mod tunnels;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::support::{Answer, Client, FakeUpstream, eventually};

/// A user's home, where a keyward finds what an earlier one left. Gone with the test.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with those files, each with its text.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let home = Self::new();
        for (name, text) in files {
            home.write(name, text);
        }
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// No canary key is in what was told, nor in the state folder.
    #[track_caller]
    pub(crate) fn assert_no_canary(&self, told: &[&str]) {
        let kept =
            files_below(&self.state()).into_iter().map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned());
        for text in told.iter().map(|text| (*text).to_owned()).chain(kept) {
            assert!(!text.contains("canary"), "{text}");
        }
    }

    /// A file of that name with that text.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Where keyward keeps its state unless it is told otherwise.
    pub(crate) fn state(&self) -> PathBuf {
        self.path(".local/state/keyward")
    }

    /// Where the ledger is kept unless keyward is told otherwise.
    pub(crate) fn store(&self) -> PathBuf {
        self.state().join("keyward.db")
    }

    /// The first column of what the store answers; nothing where there is none, or where it is locked.
    pub(crate) fn rows<T: rusqlite::types::FromSql>(&self, query: &str) -> Vec<T> {
        let read = || {
            let store =
                rusqlite::Connection::open_with_flags(self.store(), rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            let mut statement = store.prepare(query)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let rows: rusqlite::Result<Vec<T>> = read();
        rows.unwrap_or_default()
    }

    /// The binary with those arguments, and nothing in its environment but a home and a free port for the admin listener.
    pub(crate) fn keyward(&self, arguments: &[&str]) -> Launch {
        self.launch(Command::new(env!("CARGO_BIN_EXE_keyward"))).args(arguments)
    }

    /// `keyward serve` on a free port.
    pub(crate) fn serve(&self) -> Launch {
        self.keyward(&["serve", "--listen", "127.0.0.1:0"])
    }

    /// The same, in front of that upstream.
    pub(crate) fn serve_for(&self, upstream: &FakeUpstream) -> Launch {
        self.serve().upstream(upstream)
    }

    /// As [`Home::serve`], started by a shell that first runs those commands: so a limit is set for keyward alone.
    pub(crate) fn serve_after(&self, commands: &str) -> Launch {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_keyward")]);
        self.launch(shell).args(&["serve", "--listen", "127.0.0.1:0"])
    }

    /// `keyward serve` with that many sockets: see [`Launch::sockets`].
    pub(crate) fn serve_on_sockets(&self, count: usize) -> Launch {
        self.serve_after(&format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec 3<&0 4<&1 </dev/null"))
    }

    fn launch(&self, mut command: Command) -> Launch {
        command.env_clear().env("HOME", self.0.path()).env("KEYWARD_ADMIN_LISTEN", "127.0.0.1:0");
        command.current_dir(self.0.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Launch { command, home: self.0.path().to_owned(), log_file: None, terminal: None, input: None, asked: None }
    }
}

/// A keyward that is about to be started.
pub(crate) struct Launch {
    command: Command,
    home: PathBuf,
    log_file: Option<PathBuf>,
    terminal: Option<File>,
    input: Option<String>,
    asked: Option<File>,
}

impl Launch {
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn upstream(self, upstream: &FakeUpstream) -> Self {
        self.args(&["--upstream", &upstream.url()])
    }

    /// With `OPENAI_API_KEY`.
    pub(crate) fn key(self, value: &str) -> Self {
        self.env("OPENAI_API_KEY", value)
    }

    /// With a config file.
    pub(crate) fn config(self, text: &str) -> Self {
        fs::write(self.home.join("keyward.toml"), text).unwrap();
        self.args(&["--config", "keyward.toml"])
    }

    /// With the log in that file of the home.
    pub(crate) fn log_file(mut self, name: &str) -> Self {
        let path = self.home.join(name);
        self = self.env("KEYWARD_LOG_FILE", path.to_str().unwrap());
        self.log_file = Some(path);
        self
    }

    /// With that listener as its socket 3 and perhaps another one as socket 4, as a service manager hands them over; the
    /// names are what it calls them. Its log goes to a file then.
    pub(crate) fn sockets(mut self, names: &str, first: &TcpListener, second: Option<&TcpListener>) -> Self {
        let copy = |listener: &TcpListener| OwnedFd::from(listener.try_clone().unwrap());
        self.command.stdin(copy(first));
        second.map(|second| self.command.stdout(copy(second)));
        self.env("LISTEN_FDNAMES", names).log_file("log")
    }

    /// With that on its standard input.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(text.to_owned());
        self
    }

    /// With a terminal to print to.
    pub(crate) fn on_a_terminal(mut self) -> Self {
        let (ours, theirs) = terminal();
        self.command.stdout(theirs);
        self.terminal = Some(ours);
        self
    }

    /// With a terminal to ask at, where those lines are typed already.
    pub(crate) fn answers(mut self, lines: &str) -> Self {
        let (mut ours, theirs) = terminal();
        ours.write_all(lines.as_bytes()).unwrap();
        self.command.stdin(theirs);
        self.asked = Some(ours);
        self
    }

    /// The same, with that many columns.
    pub(crate) fn on_a_terminal_of(self, columns: u16) -> Self {
        let launch = self.on_a_terminal();
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(launch.terminal.as_ref().unwrap(), size).unwrap();
        launch
    }

    /// Starts it and lets it run.
    pub(crate) fn run_meanwhile(self) -> Keyward {
        self.spawn()
    }

    /// Starts it and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Keyward {
        let mut keyward = self.spawn();
        let addresses = eventually("the first lines", || {
            keyward.assert_running();
            read_addresses(&keyward.log())
        });
        (keyward.listen, keyward.admin) = addresses;
        keyward
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        self.spawn().wait()
    }

    /// Starts it.
    pub(crate) fn spawn(mut self) -> Keyward {
        let mut child = self.command.spawn().unwrap();
        if let Some(input) = &self.input {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        }
        let stdout = match (self.terminal.take(), child.stdout.take()) {
            (Some(terminal), _) => Heard::listen(terminal),
            (None, Some(pipe)) => Heard::listen(pipe),
            (None, None) => Heard::listen(io::empty()),
        };
        let stderr = Heard::listen(child.stderr.take().unwrap());

        let (log_file, home, asked) = (self.log_file, self.home, self.asked);
        let events = Heard::listen(io::empty());
        Keyward { child, stdout, stderr, log_file, home, events, listen: NOWHERE, admin: NOWHERE, _asked: asked }
    }
}

/// A terminal: our end and that of a program.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(ours), theirs)
}

/// A keyward that runs. It is killed when the test lets go of it.
pub(crate) struct Keyward {
    child: Child,
    stdout: Heard,
    stderr: Heard,
    log_file: Option<PathBuf>,
    home: PathBuf,
    events: Heard,
    /// The terminal at which it asks, as long as it runs.
    _asked: Option<File>,
    /// Where clients connect to.
    pub(crate) listen: SocketAddr,
    /// Where the admin listener is.
    pub(crate) admin: SocketAddr,
}

impl Keyward {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads no more of what it prints, so that its pipe fills.
    pub(crate) fn stop_reading(&self) {
        self.stdout.deaf.store(true, Ordering::Relaxed);
    }

    /// A `GET` from the admin listener, with the admin token.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Answer {
        self.ask_admin("GET", path)
    }

    /// A request to the admin listener, with the admin token.
    #[track_caller]
    pub(crate) fn ask_admin(&self, method: &str, path: &str) -> Answer {
        self.ask_admin_with(method, path, &self.admin_token())
    }

    /// The same, with another token than the one that it made.
    #[track_caller]
    pub(crate) fn ask_admin_with(&self, method: &str, path: &str, token: &str) -> Answer {
        let mut client = Client::connect(self.admin);
        client.send(self.admin_request(method, path, token).as_bytes());
        client.read()
    }

    fn admin_request(&self, method: &str, path: &str, token: &str) -> String {
        let host = self.admin;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )
    }

    /// Hears every event from now on: they stand in what is left when it has ended.
    #[track_caller]
    pub(crate) fn hear_events(&mut self) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(self.admin_request("GET", "/api/v1/events", &self.admin_token()).as_bytes()).unwrap();
        self.events = Heard::listen(stream);
        eventually("the stream of events", || self.events.text().contains("retry: ").then_some(()));
    }

    /// The token that it made for its admin listener.
    pub(crate) fn admin_token(&self) -> String {
        fs::read_to_string(self.home.join(".local/state/keyward/admin.token")).unwrap_or_default()
    }

    /// The value of that metric now, its labels added up.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").text();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values: Vec<u64> =
            text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "no {name} in {text}");
        values.iter().sum()
    }

    /// One of its limits as the system has it: the soft one and the hard one.
    pub(crate) fn limit(&self, name: &str) -> [String; 2] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut values = line.split_whitespace().map(str::to_owned);
        [values.next().unwrap(), values.next().unwrap()]
    }

    /// How much memory it has, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        kilobytes.unwrap().trim().parse::<u64>().unwrap() * 1024
    }

    /// How much memory the system keeps for it alone, in bytes: what it would get back by its end.
    pub(crate) fn private(&self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let kilobytes = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")?.trim().strip_suffix(" kB"));
        kilobytes.unwrap().trim().parse::<u64>().unwrap() * 1024
    }

    /// Whether those bytes stand anywhere in what it may write to: the heap, the stacks, its own data.
    pub(crate) fn memory_holds(&self, bytes: &[u8]) -> bool {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        let open = |name: &str| File::open(format!("/proc/{}/{name}", self.child.id())).unwrap();
        let (memory, pages) = (open("mem"), open("pagemap"));
        let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|may| may.starts_with("rw")));
        let ranges = writable.filter_map(|line| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
        });
        ranges.into_iter().any(|(from, to)| range_holds(&memory, &pages, from, to, bytes))
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        match &self.log_file {
            Some(path) => fs::read_to_string(path).unwrap_or_default(),
            None => self.stdout.text(),
        }
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The JSON lines of exchanges, as soon as there are that many.
    #[track_caller]
    pub(crate) fn exchanges(&self, count: usize) -> Vec<Value> {
        eventually("lines of exchanges", || {
            let lines = events(&self.log(), "exchange");
            (lines.len() >= count).then_some(lines)
        })
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it in peace.
    #[track_caller]
    pub(crate) fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Finished {
        let status = eventually("the end of keyward", || self.child.try_wait().unwrap());
        Finished {
            status,
            log: self.log_file.take(),
            stdout: self.stdout.hear_the_end(),
            stderr: self.stderr.hear_the_end(),
            events: self.events.hear_the_end(),
        }
    }

    #[track_caller]
    fn assert_running(&mut self) {
        assert!(!self.has_ended(), "it ended: {}{}", self.stdout.text(), self.stderr.text());
    }
}

impl Drop for Keyward {
    fn drop(&mut self) {
        // One that has ended already is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A keyward that has ended.
pub(crate) struct Finished {
    status: ExitStatus,
    log: Option<PathBuf>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What the stream of events said, where it was followed.
    pub(crate) events: String,
}

impl Finished {
    /// The exit code; nothing where a signal killed it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        self.log.as_ref().map_or_else(|| self.stdout.clone(), |path| fs::read_to_string(path).unwrap())
    }

    /// The JSON lines of exchanges.
    pub(crate) fn exchanges(&self) -> Vec<Value> {
        events(&self.log(), "exchange")
    }
}

/// One of a process's outputs, read as it comes.
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    deaf: Arc<AtomicBool>,
    /// Gives the output back, so that an unread pipe stays open.
    reader: Option<JoinHandle<Box<dyn Read + Send>>>,
}

impl Heard {
    fn listen(output: impl Read + Send + 'static) -> Self {
        let (bytes, deaf) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, until) = (Arc::clone(&bytes), Arc::clone(&deaf));
        let reader = Some(thread::spawn(move || listen(Box::new(output), &into, &until)));
        Self { bytes, deaf, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Everything, now that the process has closed it.
    fn hear_the_end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            drop(reader.join().unwrap());
        }
        self.text()
    }
}

fn listen(mut output: Box<dyn Read + Send>, into: &Mutex<Vec<u8>>, deaf: &AtomicBool) -> Box<dyn Read + Send> {
    let mut chunk = vec![0; 64 * 1024];
    while !deaf.load(Ordering::Relaxed) {
        match output.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => into.lock().unwrap().extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // How a terminal ends whose last writer is gone.
            Err(_) => break,
        }
    }
    output
}

/// The JSON lines of a log with that event. A line that is still being written is left out.
pub(crate) fn events(log: &str, event: &str) -> Vec<Value> {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let parsed = whole.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["event"] == event).collect()
}

/// Where it listens and where its admin listener is, by its first lines of either format.
fn read_addresses(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    if let Some(line) = events(log, "listening").first() {
        let address = |name: &str| line[name].as_str()?.parse().ok();
        return Some((address("address")?, address("admin").unwrap_or(NOWHERE)));
    }
    let after = |mark: &str| log.split_once(mark)?.1.split_once([' ', '/', '\n'])?.0.parse().ok();
    let listen = after("listens on http://").or_else(|| after("listens on https://"));
    Some((listen?, after("admin     http://").unwrap_or(NOWHERE)))
}

/// Looks at the pages that are there alone, for much of an address space is reserved and empty.
fn range_holds(memory: &File, pages: &File, from: u64, to: u64, bytes: &[u8]) -> bool {
    const PAGE: u64 = 4096;
    let mut entries = vec![0; usize::try_from((to - from) / PAGE * 8).unwrap()];
    pages.read_exact_at(&mut entries, from / PAGE * 8).unwrap();
    let entries = entries.chunks_exact(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap()));
    // Present, or swapped out (proc_pid_pagemap(5)).
    let present: Vec<bool> = entries.map(|entry| entry >> 62 != 0).collect();
    let mut at = from;
    present.chunk_by(|one, other| one == other).any(|run| {
        let (begin, length) = (at, run.len() as u64 * PAGE);
        at += length;
        let mut held = vec![0; if run[0] { usize::try_from(length).unwrap() } else { 0 }];
        memory.read_exact_at(&mut held, begin).is_ok() && memchr::memmem::find(&held, bytes).is_some()
    })
}

/// Every file below a folder, with what it holds.
pub(crate) fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let below =
        |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![(path.clone(), fs::read(path).unwrap())] };
    paths.flat_map(below).collect()
}

/// Until it is known, and where there is none.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
