//! Very many streams at once, in which little happens: how late events come, and what a stream costs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{self, Order};
use crate::keyward::{self, Keyward, Vitals};
use crate::megabytes;
use crate::plan::{DONE, Plan};
use crate::tally::Verdict;
use crate::upstream::{Upstream, now};
use crate::wire::Connection;

/// Runs it. Whether no event was lost.
pub fn run(runtime: &Handle, streams: usize, span: Duration) -> io::Result<bool> {
    let upstream = Upstream::start(None, Duration::from_mins(1))?;
    upstream.seen.take_key(&keyward::key(0));
    let room = ("proxy", "max_connections = 100000\nmax_connections_per_peer = 100000".to_owned());
    let keyward = Keyward::start(&format!("http://{}", upstream.address), &[room])?;
    let before = keyward.settle(u64::MAX)?.1;
    let alive = Arc::new(AtomicUsize::new(0));
    let readers = runtime.block_on(open_all(keyward.address, streams, &alive))?;
    // The first moments belong to the crowd at the door.
    thread::sleep(EVENTS * 2);
    let full = watch(&keyward, &alive, span)?;
    upstream.seen.is_ending.store(true, Ordering::Relaxed);
    let results = runtime.block_on(readers.join_all());
    let (metrics, after) = keyward.settle(before.descriptors)?;
    thread::sleep(Duration::from_secs(5));
    let later = keyward.vitals()?;
    let mut verdict = Verdict::default();
    report_costs(streams, [before, full, after, later]);
    report_events(&mut verdict, results, upstream.seen.sent_events.load(Ordering::Relaxed));
    verdict.check(
        &format!("{} descriptors and nothing open at the end", after.descriptors),
        after.descriptors == before.descriptors && metrics.clients_open + metrics.exchanges_open == 0,
    );
    let (lines, output) = keyward.end()?;
    verdict.check(&format!("{lines} exchanges in the log"), lines == streams as u64);
    print!("{output}");
    Ok(verdict.end())
}

fn report_costs(streams: usize, [before, full, after, later]: [Vitals; 4]) {
    let each = full.pss.saturating_sub(before.pss) / streams.max(1) as u64;
    println!(
        "PSS {:.1} MB before, {:.1} MB with {streams} streams: {each} bytes for each",
        megabytes(before.pss),
        megabytes(full.pss)
    );
    println!("PSS {:.1} MB when all had gone, {:.1} MB five seconds later", megabytes(after.pss), megabytes(later.pss));
    println!(
        "{} descriptors before, {} with all streams, {} after",
        before.descriptors, full.descriptors, after.descriptors
    );
}

fn report_events(verdict: &mut Verdict, results: Vec<io::Result<Readings>>, sent: u64) {
    let streams = results.len();
    let mut all = Readings::default();
    let mut broken = 0;
    for result in results {
        match result {
            Ok(readings) => all.add(readings),
            Err(error) => {
                broken += 1;
                println!("a stream broke off: {error}");
            }
        }
    }
    let received = all.since_sent.len() as u64;
    print_spread("milliseconds from due to received", all.since_due);
    print_spread("milliseconds from sent to received", all.since_sent);
    verdict.check(&format!("{} of {streams} streams came to their end", streams - broken), broken == 0);
    verdict.check(&format!("{received} of {sent} events received"), received == sent);
}

fn print_spread(what: &str, mut micros: Vec<u32>) {
    micros.sort_unstable();
    let at = |part: usize| {
        let position = micros.len().saturating_sub(1) * part / 1000;
        f64::from(micros.get(position).copied().unwrap_or(0)) / 1000.0
    };
    println!("{what}: half {:.1}, 99 % {:.1}, 99.9 % {:.1}, all {:.1}", at(500), at(990), at(999), at(1000));
}

/// A line per minute. Gives the vitals with the most memory.
fn watch(keyward: &Keyward, alive: &AtomicUsize, span: Duration) -> io::Result<Vitals> {
    println!("| minute | streams alive | RSS MB | PSS MB | descriptors | threads | CPU % |");
    println!("|---|---|---|---|---|---|---|");
    let (begin, mut last, mut full) = (Instant::now(), keyward.vitals()?, Vitals::default());
    for minute in 1..=span.as_secs() / 60 {
        thread::sleep((begin + Duration::from_secs(60 * minute)).saturating_duration_since(Instant::now()));
        let vitals = keyward.vitals()?;
        println!(
            "| {minute} | {} | {:.1} | {:.1} | {} | {} | {:.1} |",
            alive.load(Ordering::Relaxed),
            megabytes(vitals.rss),
            megabytes(vitals.pss),
            vitals.descriptors,
            vitals.threads,
            vitals.cpu.saturating_sub(last.cpu).as_secs_f64() / 60.0 * 100.0,
        );
        last = vitals;
        full = if vitals.pss > full.pss { vitals } else { full };
    }
    Ok(full)
}

/// How long events took, in microseconds.
#[derive(Default)]
struct Readings {
    since_due: Vec<u32>,
    since_sent: Vec<u32>,
    /// What came of an event that is not there in whole.
    rest: String,
}

impl Readings {
    fn add(&mut self, other: Self) {
        self.since_due.extend(other.since_due);
        self.since_sent.extend(other.since_sent);
    }

    /// Takes down the events in there. True at the end of the stream.
    fn read(&mut self, piece: &[u8]) -> io::Result<bool> {
        self.rest.push_str(&String::from_utf8_lossy(piece));
        while let Some(end) = self.rest.find("\n\n") {
            let event: String = self.rest.drain(..end + 2).collect();
            if event == DONE {
                return Ok(true);
            }
            self.take_down(&event)?;
        }
        Ok(false)
    }

    /// `data: <number> <due> <sent>`, which has to be the next one.
    fn take_down(&mut self, event: &str) -> io::Result<()> {
        let mut words = event.trim_start_matches("data: ").split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(number)), Some(Ok(due)), Some(Ok(sent))) = (words.next(), words.next(), words.next()) else {
            return Err(io::Error::other(format!("no event: {event:?}")));
        };
        if number != self.since_due.len() as u64 {
            return Err(io::Error::other(format!("event {number} came instead of {}", self.since_due.len())));
        }
        let now = now();
        let since = |then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        self.since_due.push(since(due));
        self.since_sent.push(since(sent));
        Ok(())
    }
}

/// Opens all streams, a few at a time: nine in ten have a connection of their own, a hundred of the rest share one.
async fn open_all(
    proxy: SocketAddr,
    streams: usize,
    alive: &Arc<AtomicUsize>,
) -> io::Result<JoinSet<io::Result<Readings>>> {
    let mut readers = JoinSet::new();
    let mut shared = client::open_http2(client::connect(proxy, None).await?).await?;
    for number in 0..streams {
        let alive = Arc::clone(alive);
        if number % 10 == 0 {
            if number % 1000 == 0 {
                shared = client::open_http2(client::connect(proxy, None).await?).await?;
            }
            readers.spawn(read_shared(shared.clone(), order(number), alive));
        } else {
            readers.spawn(read_own(proxy, number, alive));
        }
        if number % 20 == 0 {
            sleep(Duration::from_millis(40)).await;
        }
    }
    Ok(readers)
}

/// From one of many addresses: one has not so many ports.
async fn read_own(proxy: SocketAddr, number: usize, alive: Arc<AtomicUsize>) -> io::Result<Readings> {
    let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number % 50).unwrap_or(0));
    let stream = client::connect(proxy, Some(IpAddr::V4(from))).await?;
    let mut proxy = Connection::new(stream, 512);
    client::send_request(&mut proxy, &order(number)).await?;
    let head = proxy.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    check_status(head.status()?)?;
    let _place = Place::take(alive);
    let (mut body, mut piece, mut readings) = (head.body(), Vec::new(), Readings::default());
    let mut is_done = false;
    while proxy.read_piece(&mut body, &mut piece).await? {
        is_done |= readings.read(&piece)?;
    }
    if is_done { Ok(readings) } else { Err(io::Error::other("the stream ended before its end")) }
}

async fn read_shared(mut proxy: Http2, order: Order, alive: Arc<AtomicUsize>) -> io::Result<Readings> {
    let body = http_body_util::Full::new(order.body.clone().into()).boxed();
    let answer = proxy.send_request(client::request(&order, body)?).await.map_err(io::Error::other)?;
    check_status(answer.status().as_u16())?;
    let _place = Place::take(alive);
    let (mut body, mut readings) = (answer.into_body(), Readings::default());
    let mut is_done = false;
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame.map_err(io::Error::other)?.data_ref() {
            is_done |= readings.read(piece)?;
        }
    }
    if is_done { Ok(readings) } else { Err(io::Error::other("the stream ended before its end")) }
}

fn order(number: usize) -> Order {
    #[expect(clippy::cast_possible_truncation, reason = "two seconds")]
    let plan = Plan::Clocked { millis: EVENTS.as_millis() as u64 };
    Order::new(plan, keyward::key(0), number as u64 % 100)
}

fn check_status(status: u16) -> io::Result<()> {
    if status == 200 { Ok(()) } else { Err(io::Error::other(format!("the answer was {status}"))) }
}

/// One of the streams that are alive.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(alive: Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self(alive)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Http2 = hyper::client::conn::http2::SendRequest<client::Body>;

/// The time between two events of a stream.
const EVENTS: Duration = Duration::from_secs(2);
