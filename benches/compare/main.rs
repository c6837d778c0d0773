//! keyward beside nginx and `HAProxy`, one worker each, with the same work: processor time for each request, chunk,
//! message and megabyte, and memory for each open stream.
//!
//! - `cargo bench --bench compare` prints the table. The proxies take turns in slices of a second, so that whatever
//!   else the machine does hits all of them; a figure is the median of all slices, a ratio that of all turns, with its
//!   least and its greatest. nginx and `HAProxy` have to be installed.
//! - `cargo bench --bench compare -- --only WebSocket` prints the rows whose titles have that word, which is quicker.
//! - `cargo bench --bench compare -- --instructions` counts keyward's instructions for each request with valgrind,
//!   which repeats to a few in a thousand. `--instructions gate` fails where they are 3 % above the figure in
//!   `benches/compare/instructions.txt`, and `--instructions land` writes them there.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is how it tells")]

mod http2;
mod load;
mod messages;
mod process;
mod proxies;
mod upstream;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::runtime::Runtime;

use self::load::Load;
use self::proxies::{Kind, Proxy};

#[derive(Parser)]
struct Arguments {
    /// Count keyward's instructions for each request, and do that with the figure.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "print")]
    instructions: Option<Figure>,
    /// How often the proxies take turns.
    #[arg(long, default_value_t = 8)]
    turns: usize,
    /// Only the rows whose titles have these words.
    #[arg(long, default_value = "")]
    only: String,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What to do with a figure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Nothing more than printing it.
    Print,
    /// Fail where it is 3 % above the one that landed last.
    Gate,
    /// Keep it as what later ones are held against.
    Land,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.instructions {
        Some(figure) => count_instructions(figure),
        None => compare(arguments.turns, &arguments.only),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

// === the table ===

fn compare(turns: usize, only: &str) -> io::Result<ExitCode> {
    let kinds = [Kind::Nginx, Kind::Haproxy, Kind::Keyward];
    if let Some(missing) = kinds.iter().find(|kind| !kind.is_there()) {
        return Err(io::Error::other(format!("{} is not installed", missing.name())));
    }
    let runtime = runtime()?;
    let upstream = upstream::start()?;
    print_head(kinds);
    for load in Load::ALL.into_iter().filter(|load| load.title().contains(only)) {
        print_row(load.title(), &costs(&runtime, load, &kinds, upstream, turns)?);
    }
    if MEMORY.contains(only) {
        let memory: io::Result<Vec<_>> =
            kinds.iter().map(|kind| Ok(vec![memory(&runtime, *kind, upstream)?])).collect();
        print_row(MEMORY, &memory?);
    }
    Ok(ExitCode::SUCCESS)
}

/// For each kind the cost of a unit in each turn, in microseconds of processor time.
fn costs(
    runtime: &Runtime,
    load: Load,
    kinds: &[Kind],
    upstream: SocketAddr,
    turns: usize,
) -> io::Result<Vec<Vec<f64>>> {
    let proxies: Vec<_> = kinds.iter().map(|kind| Proxy::start(*kind, upstream)).collect::<io::Result<_>>()?;
    let mut costs = vec![Vec::new(); kinds.len()];
    for turn in 0..=turns {
        for (proxy, costs) in proxies.iter().zip(&mut costs) {
            let before = proxy.cpu();
            let units = runtime.block_on(load.run(proxy, load::in_a_while(SLICE)))?;
            let cost = proxy.cpu().saturating_sub(before).as_secs_f64() * 1e6 / units;
            // The first turn only warms up.
            costs.extend((turn > 0).then_some(cost));
        }
    }
    Ok(costs)
}

/// What one more open stream takes, in kilobytes.
fn memory(runtime: &Runtime, kind: Kind, upstream: SocketAddr) -> io::Result<f64> {
    const STREAMS: usize = 2000;
    let proxy = Proxy::start(kind, upstream)?;
    runtime.block_on(load::in_turn(proxy.address, 100))?;
    let before = proxy.memory();
    let streams = runtime.block_on(load::hold(proxy.address, STREAMS))?;
    let grown = proxy.memory().saturating_sub(before);
    drop(streams);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    Ok(grown as f64 / 1024.0 / STREAMS as f64)
}

fn print_head(kinds: [Kind; 3]) {
    let [nginx, haproxy, keyward] = kinds.map(Kind::name);
    println!("| | {nginx} | {haproxy} | {keyward} | {keyward} to {nginx} | {keyward} to {haproxy} |");
    println!("|---|---|---|---|---|---|");
}

fn print_row(title: &str, costs: &[Vec<f64>]) {
    print!("| {title} |");
    for costs in costs {
        print!(" {:.1} |", median(costs.clone()));
    }
    let (others, keyward) = costs.split_at(costs.len() - 1);
    for other in others {
        let ratios: Vec<_> = keyward.iter().flatten().zip(other).map(|(keyward, other)| keyward / other).collect();
        print!(" {} |", with_range(ratios));
    }
    println!();
}

/// The median, and the least and the greatest where there are several.
fn with_range(figures: Vec<f64>) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = figures.iter().copied().fold(0.0, f64::max);
    let is_alone = figures.len() == 1;
    let median = median(figures);
    if is_alone { format!("{median:.2}") } else { format!("{median:.2} ({least:.2}–{greatest:.2})") }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

// === instructions ===

fn count_instructions(figure: Figure) -> io::Result<ExitCode> {
    const REQUESTS: u64 = 500;
    let runtime = runtime()?;
    let proxy = Proxy::start(Kind::CountedKeyward, upstream::start()?)?;
    runtime.block_on(load::in_turn(proxy.address, 200))?;
    proxy.count_instructions()?;
    runtime.block_on(load::in_turn(proxy.address, 500))?;
    let now = proxy.instructions()? / REQUESTS;
    println!("{now} instructions for each request");
    match figure {
        Figure::Print => Ok(ExitCode::SUCCESS),
        Figure::Gate => hold_gate(now),
        Figure::Land => std::fs::write(LANDED, format!("{now}\n")).map(|()| ExitCode::SUCCESS),
    }
}

fn hold_gate(now: u64) -> io::Result<ExitCode> {
    let landed: u64 = std::fs::read_to_string(LANDED)?.trim().parse().map_err(io::Error::other)?;
    let limit = landed + landed * 3 / 100;
    println!("{landed} landed, {limit} allowed");
    if now <= limit {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("a request has become dearer: see what it is, or land the new figure with its reason");
    Ok(ExitCode::FAILURE)
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

const SLICE: Duration = Duration::from_secs(1);

const MEMORY: &str = "KB of memory per open stream";

const LANDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/instructions.txt");
