//! The log's writer: a thread of its own behind bounded buffers, so that a blocked pipe or a full disk stalls no request.
//!
//! Each worker appends to a lane of its own, under a lock that only the writer ever shares. The writer wakes for the
//! first line, waits a moment for company, and writes all that came in one go. What a full lane cannot take is counted;
//! a line about trouble still finds room where an ordinary one no longer does, and one about a rejection none where ordinary
//! ones need it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::columns;
use super::masked::mask_keys;
use crate::locks::lock;

/// The log, as its owner holds it.
pub struct Log {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Log {
    /// Opens the log file, or standard output, and starts the writer with `lanes` lanes.
    pub fn start(file: Option<PathBuf>, lanes: usize) -> io::Result<Self> {
        let sink = Sink::open(file)?;
        let shared = Arc::new(Shared::new(lanes.max(1)));
        let writer = Writer { shared: Arc::clone(&shared), sink, cut: false, said_why: false, spare: Vec::new() };
        let thread = thread::Builder::new().name("log".into()).spawn(move || writer.run())?;
        Ok(Self { shared, thread })
    }

    /// The lane with that number; where there are fewer, some are shared.
    #[must_use]
    pub fn lane(&self, number: usize) -> Lane {
        Lane { shared: Arc::clone(&self.shared), number: number % self.shared.lanes.len() }
    }

    /// What others may know of the log.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        LogCounts(Arc::clone(&self.shared))
    }

    /// Writes what is left and ends the writer, unless its sink takes longer than `patience`.
    pub fn close(self, patience: Duration) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake();
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Counts of the log, and the one thing one may ask of it from outside.
#[derive(Clone)]
pub struct LogCounts(Arc<Shared>);

impl LogCounts {
    /// Lines that were dropped, because a lane was full or the sink refused them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Has the log file opened anew before the next line, for logrotate.
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Release);
        self.0.wake();
    }
}

/// How dear a line is when there is little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Tells of a client that was refused unjudged; there may be a flood of them; dropped first.
    Rejection,
    /// All is well; dropped next.
    Ordinary,
    /// Tells of trouble; kept as long as there is any room.
    Trouble,
}

impl Rank {
    /// A line is taken while its lane holds less than this, in bytes.
    fn limit(self) -> usize {
        match self {
            Self::Rejection => LANE_BYTES / 4,
            Self::Ordinary => LANE_BYTES / 4 * 3,
            Self::Trouble => LANE_BYTES,
        }
    }
}

/// One worker's way into the log.
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
    number: usize,
}

impl Lane {
    /// Appends the whole line that `render` writes, or drops it, but never waits for the sink.
    pub fn append(&self, rank: Rank, render: impl FnOnce(&mut Vec<u8>)) {
        let waiting = {
            let mut buffer = lock(&self.shared.lanes[self.number]);
            if buffer.len() >= rank.limit() {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            render(&mut buffer);
            buffer.len()
        };
        if self.shared.asleep.load(Ordering::Relaxed) {
            self.shared.wake();
        } else if waiting >= BATCH_BYTES && self.shared.batching.load(Ordering::Relaxed) {
            Shared::rouse(&self.shared.batching, &self.shared.writer);
        }
    }
}

struct Shared {
    lanes: Vec<Mutex<Vec<u8>>>,
    dropped: AtomicU64,
    reopen: AtomicBool,
    closing: AtomicBool,
    /// Whether the writer waits for a first line.
    asleep: AtomicBool,
    /// Whether it waits for company for that line.
    batching: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Shared {
    fn new(lanes: usize) -> Self {
        Self {
            lanes: (0..lanes).map(|_| Mutex::new(Vec::new())).collect(),
            dropped: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            batching: AtomicBool::new(false),
            writer: OnceLock::new(),
        }
    }

    fn wake(&self) {
        Self::rouse(&self.asleep, &self.writer);
    }

    /// Ends one of the writer's waits, if it is in that one.
    fn rouse(wait: &AtomicBool, writer: &OnceLock<Thread>) {
        if wait.swap(false, Ordering::AcqRel)
            && let Some(writer) = writer.get()
        {
            writer.unpark();
        }
    }

    fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lock(lane).is_empty())
    }
}

struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    /// Whether the sink took only a part of its last line.
    cut: bool,
    said_why: bool,
    spare: Vec<u8>,
}

impl Writer {
    fn run(mut self) {
        let _ = self.shared.writer.set(thread::current());
        while !self.shared.closing.load(Ordering::Acquire) {
            self.sleep_until_something_came();
            self.reopen_if_asked();
            self.write_all_lanes();
        }
        self.write_all_lanes();
    }

    /// The flag goes up before the lanes are looked at, and a lane's lock orders the two: a line appended after the look
    /// sees the flag and wakes the writer.
    fn sleep_until_something_came(&self) {
        self.shared.asleep.store(true, Ordering::Release);
        while self.shared.is_empty() && self.shared.asleep.load(Ordering::Acquire) {
            thread::park();
        }
        self.shared.asleep.store(false, Ordering::Release);
        if !self.shared.closing.load(Ordering::Acquire) {
            self.wait_for_company();
        }
    }

    /// A batch is written when its time is over, or sooner where it is large: lanes are not to fill up in a storm.
    fn wait_for_company(&self) {
        let deadline = Instant::now() + BATCHING;
        self.shared.batching.store(true, Ordering::Release);
        while self.shared.batching.load(Ordering::Acquire)
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            thread::park_timeout(left);
        }
        self.shared.batching.store(false, Ordering::Release);
    }

    fn reopen_if_asked(&mut self) {
        if !self.shared.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        self.cut = false;
        if let Err(error) = self.sink.reopen() {
            complain(&format!("keyward: the log file could not be opened again, the old one stays in use: {error}"));
        }
    }

    fn write_all_lanes(&mut self) {
        for number in 0..self.shared.lanes.len() {
            let mut lines = std::mem::take(&mut self.spare);
            {
                let mut lane = lock(&self.shared.lanes[number]);
                std::mem::swap(&mut *lane, &mut lines);
            }
            self.write(&lines);
            lines.clear();
            // A burst must not pin its buffer for ever.
            if lines.capacity() <= LANE_BYTES / 4 {
                self.spare = lines;
            }
        }
    }

    /// A sink that takes nothing (a full disk, a closed pipe) costs the lines that it refuses, and nothing else.
    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let (taken, result) = self.sink.write_all(if self.cut { b"\n" } else { b"" }, lines);
        self.cut = if taken == 0 { self.cut } else { lines[taken - 1] != b'\n' };
        columns::look_again();
        let Err(error) = result else {
            self.said_why = false;
            return;
        };
        let lost = memchr::memchr_iter(b'\n', &lines[taken..]).count();
        self.shared.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        if !self.said_why {
            self.said_why = true;
            complain(&format!("keyward: the log cannot be written, lines are dropped and counted: {error}"));
        }
    }
}

/// Standard error is the last resort of a log that cannot be written; if that is gone too, nothing can be told.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

enum Sink {
    Stdout(io::Stdout),
    File { file: File, path: PathBuf },
}

impl Sink {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        Ok(match path {
            None => Self::Stdout(io::stdout()),
            Some(path) => Self::File { file: open_append(&path)?, path },
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(_) => Ok(()),
            Self::File { file, path } => {
                *file = open_append(path)?;
                Ok(())
            }
        }
    }

    /// Writes `before`, then `lines`; says how much of `lines` was taken.
    fn write_all(&mut self, before: &[u8], lines: &[u8]) -> (usize, io::Result<()>) {
        let out: &mut dyn Write = match self {
            Self::Stdout(stdout) => stdout,
            Self::File { file, .. } => file,
        };
        let mut taken = 0;
        let mut write = || {
            out.write_all(before)?;
            while taken < lines.len() {
                match out.write(&lines[taken..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(some) => taken += some,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            out.flush()
        };
        let result = write();
        (taken, result)
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    // It says who calls whom, which is no matter of every user of the machine. One that is there is left as it is.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Makes `tracing`'s formatter write whole events into a lane.
pub struct LaneWriter {
    lane: Lane,
}

impl LaneWriter {
    /// Writes each event of `tracing` into `lane` as a whole.
    #[must_use]
    pub fn new(lane: Lane) -> Self {
        Self { lane }
    }
}

impl<'a> MakeWriter<'a> for LaneWriter {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { lane: &self.lane, rank: Rank::Ordinary }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        let rank = if meta.target() == REJECTIONS {
            Rank::Rejection
        } else if *meta.level() <= tracing::Level::WARN {
            Rank::Trouble
        } else {
            Rank::Ordinary
        };
        EventWriter { lane: &self.lane, rank }
    }
}

/// One event on its way into a lane. The formatter hands over the event in a single write. An error in it may quote what
/// either side said in HTTP/2 as it closed its connection (RFC 9113, 6.8), and that a key.
pub struct EventWriter<'a> {
    lane: &'a Lane,
    rank: Rank,
}

impl Write for EventWriter<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.lane.append(self.rank, |buffer| buffer.extend_from_slice(mask_keys(&text).as_bytes()));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much a lane holds at most, in bytes: some thousand lines.
const LANE_BYTES: usize = 2 * 1024 * 1024;

/// With that much in a lane, in bytes, the writer waits for no more.
const BATCH_BYTES: usize = LANE_BYTES / 8;

/// How long the writer waits for company after the first line of a batch. It is not noticed, and saves a write for each line.
const BATCHING: Duration = Duration::from_millis(20);

/// The target of events about people who are not known yet, of whom there may be any number.
pub const REJECTIONS: &str = "keyward::rejections";

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "{what} did not happen");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn lines_of_all_lanes_arrive_and_close_writes_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let log = Log::start(Some(path.clone()), 2).expect("a log");
        log.lane(0).append(Rank::Ordinary, |line| line.extend_from_slice(b"one\n"));
        wait_until("the first line", || read(&path) == "one\n");
        log.lane(1).append(Rank::Trouble, |line| line.extend_from_slice(b"two\n"));
        log.close(Duration::from_secs(10));
        assert_eq!(read(&path), "one\ntwo\n");
    }

    #[test]
    fn a_full_lane_drops_ordinary_lines_first_and_counts_them() {
        let shared = Arc::new(Shared::new(1));
        let lane = Lane { shared: Arc::clone(&shared), number: 0 };
        let text = [b'x'; 1024];
        let push = |rank| lane.append(rank, |buffer| buffer.extend_from_slice(&text));
        for _ in 0..LANE_BYTES / 1024 {
            push(Rank::Ordinary);
        }
        let dropped = shared.dropped.load(Ordering::Relaxed);
        assert_eq!(dropped, (LANE_BYTES / 1024 / 4) as u64);
        push(Rank::Trouble);
        assert_eq!(shared.dropped.load(Ordering::Relaxed), dropped, "trouble still finds room");
        for _ in 0..LANE_BYTES / 1024 {
            push(Rank::Trouble);
        }
        assert!(shared.lanes[0].lock().expect("a lock").len() <= LANE_BYTES + 1024, "the lane is bounded");
    }

    #[test]
    fn a_flood_of_rejections_leaves_most_of_the_room_to_others() {
        let shared = Arc::new(Shared::new(1));
        let lane = Lane { shared: Arc::clone(&shared), number: 0 };
        let text = [b'x'; 1024];
        let dropped = || shared.dropped.load(Ordering::Relaxed);
        for _ in 0..LANE_BYTES / 1024 {
            lane.append(Rank::Rejection, |buffer| buffer.extend_from_slice(&text));
        }
        let of_rejections = dropped();
        assert_eq!(of_rejections, (LANE_BYTES / 1024 / 4 * 3) as u64);
        for _ in 0..LANE_BYTES / 1024 / 2 {
            lane.append(Rank::Ordinary, |buffer| buffer.extend_from_slice(&text));
        }
        assert_eq!(dropped(), of_rejections, "half of it is there for exchanges all the same");
    }

    #[test]
    fn no_event_takes_a_key_along() {
        let shared = Arc::new(Shared::new(1));
        let lane = Lane { shared: Arc::clone(&shared), number: 0 };
        let writer = LaneWriter::new(lane);
        writer.make_writer().write_all(b"(b\"who is sk-proj-0123456789abcdefABCDEF?\")").expect("room");
        let lane = shared.lanes[0].lock().expect("a lock");
        assert_eq!(String::from_utf8_lossy(&lane), "(b\"who is sk-\u{2026}[redacted]?\")");
    }

    #[test]
    fn a_full_disk_costs_lines_and_no_time() {
        let log = Log::start(Some("/dev/full".into()), 1).expect("a log");
        log.lane(0).append(Rank::Ordinary, |line| line.extend_from_slice(b"one\ntwo\n"));
        let counts = log.counts();
        wait_until("the count", || counts.dropped() == 2);
        log.close(Duration::from_secs(10));
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = Log::start(Some(path.clone()), 1).expect("a log");
        log.lane(0).append(Rank::Ordinary, |line| line.extend_from_slice(b"one\n"));
        wait_until("the first line", || read(&path) == "one\n");
        std::fs::rename(&path, &rotated).expect("a rename");
        log.counts().reopen();
        wait_until("a new file", || path.exists());
        log.lane(0).append(Rank::Ordinary, |line| line.extend_from_slice(b"two\n"));
        wait_until("the second line", || read(&path) == "two\n");
        assert_eq!(read(&rotated), "one\n");
        log.close(Duration::from_secs(10));
    }
}
