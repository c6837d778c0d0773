//! A key's value from the output of a command, such as that of a password manager. It is run beside all requests and by no shell:
//! what is read is what it gave last.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::locks::lock;

/// A command whose output is a key, and what it gave last. Copies share that.
#[derive(Clone)]
pub struct Command {
    settings: Arc<Settings>,
    last: Arc<Mutex<Last>>,
}

/// What is run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// An absolute path: nothing is looked for along `PATH`.
    pub program: PathBuf,
    pub arguments: Vec<Box<str>>,
    /// How soon it is run again.
    pub every: Duration,
    /// How long it may take. It is killed then, with all that it started.
    pub timeout: Duration,
    /// The environment variables that it gets, of keyward's own: it has no others.
    pub pass: Vec<Box<str>>,
}

#[derive(Default)]
struct Last {
    given: Option<(Instant, Result<Zeroizing<String>, CommandError>)>,
    is_running: bool,
    /// Whether it is to be run again whenever that was.
    is_due: bool,
}

/// Why a command gave no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The system did not start it.
    #[error("it cannot be run: {0}")]
    NotStarted(String),
    /// It ended with a fault. What it said of that is not read: it may be the key.
    #[error("it ended with {0}: run it by hand to see what it says")]
    Failed(ExitStatus),
    #[error("it did not end within {0:?}, and was killed")]
    TimedOut(Duration),
    #[error("its output is longer than {MOST} bytes")]
    TooLong,
    #[error("its output is no text")]
    NotText,
    #[error("its output cannot be read: {0}")]
    Unread(String),
}

impl Command {
    /// One that was not run yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), last: Arc::default() }
    }

    /// What it gave last; nothing where it was never run. Where that is long enough ago, it is run again meanwhile.
    #[must_use]
    pub fn given(&self) -> Option<Result<Zeroizing<String>, CommandError>> {
        let mut last = lock(&self.last);
        let (at, given) = last.given.clone()?;
        if (at.elapsed() >= self.settings.every || last.is_due) && !last.is_running {
            let again = self.clone();
            let started = thread::Builder::new().name("key command".into()).spawn(move || again.run());
            (last.is_running, last.is_due) = (started.is_ok(), started.is_err());
        }
        Some(given)
    }

    /// Runs it, and waits for its end.
    pub fn run(&self) {
        let given = output(&self.settings);
        let mut last = lock(&self.last);
        (last.given, last.is_running) = (Some((Instant::now(), given)), false);
    }

    /// Has it run again soon, where it ever was.
    pub fn want_again(&self) {
        lock(&self.last).is_due = true;
    }

    /// Whether it was never run.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        lock(&self.last).given.is_none()
    }

    /// Takes what another one gave last for its own, if it is the same command.
    pub fn share(&mut self, other: &Self) {
        if self == other {
            self.last = Arc::clone(&other.last);
        }
    }
}

/// Runs them side by side, and waits for all of them.
pub fn run_all<'c>(commands: impl Iterator<Item = &'c Command>) {
    let commands: Vec<_> = commands.collect();
    for some in commands.chunks(AT_ONCE) {
        thread::scope(|scope| {
            for command in some {
                scope.spawn(|| command.run());
            }
        });
    }
}

/// What it gave is no part of what it is.
impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Command {}

/// Without what it gave.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// By its program alone: arguments may tell more than a log should.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {}", self.settings.program.display())
    }
}

fn output(settings: &Settings) -> Result<Zeroizing<String>, CommandError> {
    let mut child = start(settings).map_err(|error| CommandError::NotStarted(error.to_string()))?;
    let (status, output) = wait(&mut child, settings.timeout).inspect_err(|_| end(&mut child))?;
    if !status.success() {
        return Err(CommandError::Failed(status));
    }
    let text = std::str::from_utf8(&output).map_err(|_not_text| CommandError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// In a process group of its own, so that all of it can be ended, and with nothing of keyward's but those variables.
fn start(settings: &Settings) -> io::Result<Child> {
    let passed = settings.pass.iter().filter_map(|name| Some((&**name, std::env::var_os(&**name)?)));
    std::process::Command::new(&settings.program)
        .args(settings.arguments.iter().map(|argument| &**argument))
        .env_clear()
        .envs(passed)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Reads its output to the end and waits for its own. The pipe is closed then, also where something that it started holds the
/// other end open.
fn wait(child: &mut Child, timeout: Duration) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), CommandError> {
    let deadline = Instant::now() + timeout;
    let unread = |error: io::Error| CommandError::Unread(error.to_string());
    let mut pipe = child.stdout.take();
    if let Some(pipe) = &pipe {
        fcntl_setfl(pipe, OFlags::NONBLOCK).map_err(|error| unread(error.into()))?;
    }
    let (mut kept, mut piece) = (Zeroizing::new(Vec::with_capacity(MOST)), Zeroizing::new([0; 1024]));
    loop {
        match pipe.as_mut().map(|pipe| pipe.read(&mut piece[..])) {
            Some(Ok(count @ 1..)) if kept.len() + count > MOST => return Err(CommandError::TooLong),
            Some(Ok(count @ 1..)) => {
                kept.extend_from_slice(&piece[..count]);
                continue;
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
            Some(Err(error)) => return Err(unread(error)),
            Some(Ok(0)) => pipe = None,
            None => {
                if let Some(status) = child.try_wait().map_err(unread)? {
                    return Ok((status, kept));
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(CommandError::TimedOut(timeout));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Kills it and what it started, and takes its end in, so that no zombie is left.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// How long its output may be, in bytes: far longer than any key.
const MOST: usize = 64 * 1024;

/// How many are run side by side.
const AT_ONCE: usize = 8;

/// How soon it is looked for its end again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let arguments = vec!["-c".into(), script.into()];
        let (every, timeout) = (Duration::from_mins(1), Duration::from_secs(10));
        Command::new(Settings { program: "/bin/sh".into(), arguments, every, timeout, pass: vec!["HOME".into()] })
    }

    fn given(command: &Command) -> Result<String, String> {
        assert!(command.given().is_none() && command.is_fresh());
        command.run();
        command.given().expect("it was run").map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn its_output_is_what_it_gives() {
        assert_eq!(given(&shell("echo sk-a")), Ok("sk-a\n".to_owned()));
        assert_eq!(given(&shell("echo said >&2; printf ''")), Ok(String::new()));
    }

    #[test]
    fn what_goes_wrong_is_named_and_what_it_says_is_not_told() {
        let refused = given(&shell("echo sk-canary; echo sk-canary >&2; exit 3"));
        assert_eq!(refused, Err("it ended with exit status: 3: run it by hand to see what it says".to_owned()));
        assert_eq!(given(&shell("yes")), Err("its output is longer than 65536 bytes".to_owned()));
        assert_eq!(given(&shell("yes | head -c 70000")), Err("its output is longer than 65536 bytes".to_owned()));
        assert_eq!(given(&shell("printf '\\377'")), Err("its output is no text".to_owned()));
        let gone = Command::new(Settings { program: "/nowhere/op".into(), ..Settings::clone(&shell("").settings) });
        assert!(given(&gone).is_err_and(|error| error.starts_with("it cannot be run: No such file")));
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let command = shell(&format!("sleep 60 & echo $! > {}; wait", file.display()));
        let settings = Settings { timeout: Duration::from_millis(400), ..Settings::clone(&command.settings) };
        let begun = Instant::now();
        assert_eq!(given(&Command::new(settings)), Err("it did not end within 400ms, and was killed".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(20));
        let pid: i32 = std::fs::read_to_string(file).expect("its number").trim().parse().expect("a number");
        let gone = || !std::path::Path::new(&format!("/proc/{pid}/fd")).exists() || is_zombie(pid);
        let until = Instant::now() + Duration::from_secs(10);
        while !gone() && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
        }
        assert!(gone());
    }

    #[test]
    fn a_child_that_keeps_the_output_open_keeps_nothing_of_keyward() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pipe");
        let command = shell(&format!(
            "exec 3>&1; readlink /proc/$$/fd/3 > {}; exec 3>&-; setsid sleep 3 & echo sk-a",
            file.display()
        ));
        let settings = Settings { timeout: Duration::from_millis(400), ..Settings::clone(&command.settings) };
        assert_eq!(given(&Command::new(settings)), Err("it did not end within 400ms, and was killed".to_owned()));
        let pipe = std::fs::read_to_string(file).expect("its output");
        let open = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
        let links: Vec<_> = open.filter_map(|one| std::fs::read_link(one.path()).ok()).collect();
        assert!(pipe.starts_with("pipe:") && !links.iter().any(|link| *link == *pipe.trim()), "{pipe}");
    }

    /// Its parent is gone, and the one that took its place may not have looked yet.
    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn it_has_the_named_variables_and_no_others() {
        let environment = given(&shell("env")).expect("its environment");
        let names: Vec<_> = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        let home = usize::from(std::env::var_os("HOME").is_some());
        assert_eq!(names.iter().filter(|name| **name == "HOME").count(), home);
        assert!(names.iter().all(|name| ["HOME", "PWD", "_", "SHLVL", "OLDPWD"].contains(name)), "{names:?}");
    }

    #[test]
    fn copies_share_what_it_gave_and_it_is_run_again_when_that_is_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = format!("echo x >> {0}/n; wc -l < {0}/n", folder.path().display());
        let settings = Settings { every: Duration::ZERO, ..Settings::clone(&shell(&count).settings) };
        let (command, mut other) = (Command::new(settings.clone()), Command::new(settings));
        run_all([&command].into_iter());
        other.share(&command);
        let text = || other.given().and_then(Result::ok).map(|text| text.trim().to_owned());
        let begun = Instant::now();
        assert_eq!(text().as_deref(), Some("1"));
        while text().is_none_or(|text| text == "1") {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not run again");
            thread::sleep(LOOK_AGAIN);
        }
    }
}
