//! Whether keyward stays correct and flat: for long, with thousands of streams, with bodies larger than memory.
//!
//! - `cargo bench --bench soak` (or `-- soak --minutes 30`): a mixture of everything that n8n does, with an upstream that
//!   breaks off, resets, is silent, refuses and goes away, with keys, tokens and log files that change. Every client knows
//!   what it has to get; anything else fails the run. Each second the process is looked at, each minute a line is printed:
//!   memory, descriptors and threads have to be at the end what they were after the first minutes, everything that is open
//!   has to close, and every exchange has to be in the log. Of memory the least of each minute counts, for bodies on their way
//!   come and go, and what leaks stays.
//! - `-- streams --streams 10000 --minutes 10`: so many streams at once, an event every two seconds in each, nine in ten over
//!   a connection of their own and the rest over HTTP/2. None may be lost; how late they come, and what they cost, is printed.
//! - `-- bodies --gigabytes 8`: large bodies up and down, hashed on both sides, at full speed and with a side that is slow
//!   for a while. How far the fast side runs ahead of the slow one shows whether the slow one holds it back; keyward's
//!   memory shows whether anything is collected on the way.
//!
//! keyward is the real binary with two workers; clients and upstream share this process, which counts for nothing.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is how it tells")]

mod bodies;
mod client;
mod content;
mod keyward;
mod mixture;
mod plan;
#[path = "../compare/process.rs"]
mod process;
mod soak;
mod streams;
mod tally;
mod upstream;
mod websocket;
mod wire;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Handle;

#[derive(Parser)]
struct Arguments {
    /// What to do.
    #[arg(value_enum, default_value = "soak")]
    run: Run,
    /// For how long, in minutes: 30 for a soak, 10 for streams.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many streams there are.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// How large the largest bodies are.
    #[arg(long, default_value_t = 8)]
    gigabytes: u64,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Run {
    Soak,
    Streams,
    Bodies,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    raise_descriptor_limit();
    let minutes = |default| Duration::from_secs(60 * arguments.minutes.unwrap_or(default));
    let done = runtime().and_then(|runtime| match arguments.run {
        Run::Soak => soak::run(&runtime, minutes(30)),
        Run::Streams => streams::run(&runtime, arguments.streams, minutes(10)),
        Run::Bodies => bodies::run(&runtime, arguments.gigabytes),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The clients run on a thread of their own, beside the one that looks at keyward.
fn runtime() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, the streams say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Bytes as people read them.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
