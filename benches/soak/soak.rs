//! The soak: the mixture for as long as it is told to, and a look at keyward every second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::keyward::{self, Keyward, Metrics, Vitals};
use crate::megabytes;
use crate::mixture::{self, World};
use crate::tally::{Count, Verdict};
use crate::upstream::Upstream;

/// Runs it. Whether everything was as it has to be.
pub fn run(runtime: &Handle, span: Duration) -> io::Result<bool> {
    let upstream = Upstream::start(None, Duration::from_secs(4))?;
    upstream.seen.take_key(&keyward::key(0));
    let mut keyward = Keyward::start(&format!("http://{}", upstream.address), &[])?;
    let world = Arc::new(World::new(&keyward, upstream)?);
    let (before, state_before) = (keyward.settle(u64::MAX)?.1, keyward.state_size()?);
    let clients = runtime.block_on(async {
        world.is_known().await?;
        io::Result::Ok(mixture::start(&world))
    })?;
    let minutes = watch(&mut keyward, &world, span)?;
    world.is_over.store(true, Ordering::Relaxed);
    let are_gone = runtime.block_on(async { tokio::time::timeout(LAST_WORDS, clients.join_all()).await.is_ok() });
    let (metrics, after) = keyward.settle(before.descriptors)?;
    print_kinds(&world);
    let mut verdict = Verdict::default();
    verdict.check("all clients came to an end", are_gone);
    check_what_was_done(&mut verdict, &world);
    check_flatness(&mut verdict, &minutes);
    let state_after = keyward.state_size()?;
    println!("{state_before} bytes of state before, {state_after} after");
    check_the_end(&mut verdict, &world, keyward, [before, after], metrics)?;
    Ok(verdict.end())
}

/// What keyward looked like in a minute, on average.
#[derive(Default)]
struct Minute {
    /// The least of the minute: bodies on their way come and go, and what leaks does not.
    pss: u64,
    descriptors: u64,
    threads: u64,
    tasks: u64,
}

fn watch(keyward: &mut Keyward, world: &World, span: Duration) -> io::Result<Vec<Minute>> {
    println!(
        "| minute | done | away | raced | unexpected | RSS MB | PSS MB | least | descriptors | threads | clients | exchanges | CPU % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let begin = Instant::now();
    let mut minutes = Vec::new();
    while begin.elapsed() < span {
        let minute = watch_a_minute(keyward, world, minutes.len() + 1)?;
        minutes.push(minute);
    }
    Ok(minutes)
}

fn watch_a_minute(keyward: &mut Keyward, world: &World, number: usize) -> io::Result<Minute> {
    let (done_before, cpu_before, begin) = (world.tally.total(), keyward.vitals()?.cpu, Instant::now());
    let mut samples = Vec::new();
    for second in 1..=60 {
        thread::sleep((begin + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        samples.push((keyward.vitals()?, keyward.metrics()?));
        if second % 30 == 0 {
            keyward.rotate_log()?;
        }
    }
    let done = world.tally.total();
    let cpu = keyward.vitals()?.cpu.saturating_sub(cpu_before).as_secs_f64() / begin.elapsed().as_secs_f64();
    print_minute(number, &samples, [done_before, done], cpu);
    let mean = |of: fn(&(Vitals, Metrics)) -> u64| samples.iter().map(of).sum::<u64>() / samples.len() as u64;
    Ok(Minute {
        pss: samples.iter().map(|(vitals, _)| vitals.pss).min().unwrap_or(0),
        descriptors: mean(|(vitals, _)| vitals.descriptors),
        threads: mean(|(vitals, _)| vitals.threads),
        tasks: mean(|(_, metrics)| metrics.clients_open + metrics.exchanges_open),
    })
}

/// The most of each figure in the minute.
fn print_minute(number: usize, samples: &[(Vitals, Metrics)], [before, done]: [Count; 2], cpu: f64) {
    let most = |of: fn(&(Vitals, Metrics)) -> u64| samples.iter().map(of).max().unwrap_or(0);
    println!(
        "| {number} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} | {:.1} |",
        done.done - before.done,
        done.away - before.away,
        done.raced - before.raced,
        done.unexpected - before.unexpected,
        megabytes(most(|(vitals, _)| vitals.rss)),
        megabytes(most(|(vitals, _)| vitals.pss)),
        megabytes(samples.iter().map(|(vitals, _)| vitals.pss).min().unwrap_or(0)),
        most(|(vitals, _)| vitals.descriptors),
        most(|(vitals, _)| vitals.threads),
        most(|(_, metrics)| metrics.clients_open),
        most(|(_, metrics)| metrics.exchanges_open),
        cpu * 100.0,
    );
}

fn print_kinds(world: &World) {
    println!("| kind | done | away | raced | unexpected |");
    println!("|---|---|---|---|---|");
    for (kind, Count { done, away, raced, unexpected }) in world.tally.counts() {
        println!("| {kind} | {done} | {away} | {raced} | {unexpected} |");
    }
}

fn check_what_was_done(verdict: &mut Verdict, world: &World) {
    let total = world.tally.total();
    let (strangers, last) = world.upstream.seen.strangers();
    verdict.check(&format!("nothing unexpected in {} things done", total.done), total.unexpected == 0);
    verdict.check(&format!("no key but ours came upstream ({strangers} did {last})"), strangers == 0);
    let open = world.upstream.seen.open.load(Ordering::Relaxed);
    verdict.check(&format!("upstream was told of every client that left ({open} exchanges open there)"), open == 0);
}

/// Compares the last minutes with those after the first ones, which warm up.
fn check_flatness(verdict: &mut Verdict, minutes: &[Minute]) {
    let part = (minutes.len() / 3).min(3);
    if part == 0 {
        return println!("too short to tell whether anything grows");
    }
    let (first, last) = (&minutes[part..2 * part], &minutes[minutes.len() - part..]);
    let mut compare = |what: &str, of: fn(&Minute) -> u64, slack: u64| {
        let mean = |minutes: &[Minute]| minutes.iter().map(of).sum::<u64>() / minutes.len().max(1) as u64;
        let (first, last) = (mean(first), mean(last));
        verdict.check(&format!("{what} flat: {first} at first, {last} at last"), last <= first + first / 20 + slack);
    };
    compare("memory (PSS, bytes)", |minute| minute.pss, 500_000);
    compare("descriptors", |minute| minute.descriptors, 3);
    compare("threads", |minute| minute.threads, 0);
    compare("tasks (clients and exchanges open)", |minute| minute.tasks, 3);
}

fn check_the_end(
    verdict: &mut Verdict,
    world: &World,
    keyward: Keyward,
    [before, after]: [Vitals; 2],
    metrics: Metrics,
) -> io::Result<()> {
    println!(
        "PSS {:.1} MB before the first client, {:.1} MB after the last",
        megabytes(before.pss),
        megabytes(after.pss)
    );
    verdict.check(
        &format!("all is closed ({} clients, {} exchanges)", metrics.clients_open, metrics.exchanges_open),
        metrics.clients_open + metrics.exchanges_open == 0,
    );
    verdict.check(
        &format!("{} descriptors and {} threads as in the beginning", after.descriptors, after.threads),
        (after.descriptors, after.threads) == (before.descriptors, before.threads),
    );
    let begun = world.begun.load(Ordering::Relaxed);
    verdict.check(&format!("{begun} exchanges begun, {} counted", metrics.exchanges), begun == metrics.exchanges);
    verdict.check(&format!("{} log lines dropped", metrics.log_dropped), metrics.log_dropped == 0);
    verdict.check(&format!("{} panics", metrics.panics), metrics.panics == 0);
    verdict.check(&format!("{} clients turned away", metrics.turned_away), metrics.turned_away == 0);
    let (lines, output) = keyward.end()?;
    verdict.check(&format!("{lines} of them in the log"), lines == metrics.exchanges);
    print!("{output}");
    Ok(())
}

/// How long clients may take to finish what they are at.
const LAST_WORDS: Duration = Duration::from_secs(90);
