//! Cases of the corpus on their way through one keyward, and what each side made of them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::corpus::{Case, Filling, Run};
use super::proxy::{Builder, CURRENT};
use super::strict::{StrictUpstream, Whole};
use super::wire::impatient;

/// In which pieces the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    Whole,
    /// A piece ends behind each carriage return and behind each line feed.
    Lines,
    Bytes,
}

/// What a trial is about.
pub struct Trial<'a> {
    pub cases: &'a [Case],
    pub pieces: Pieces,
    /// The key that clients send.
    pub key: &'a str,
    /// Whether it is good enough for what clients send to go upstream.
    pub is_welcome: bool,
}

/// An answer that a client got.
struct Heard {
    status: String,
    id: Option<String>,
    saw: Option<String>,
}

impl Trial<'_> {
    /// Sends all cases to such a keyward, several at a time, and gives what went otherwise than it has to.
    pub fn differences(&self, proxy: Builder, upstream: &StrictUpstream) -> Vec<String> {
        let proxy = proxy.start();
        let heard = self.send_all(proxy.address());
        let lines = proxy.end();
        let mut records = Records::new(&lines, upstream.whole());
        let mut differences: Vec<_> =
            heard.iter().enumerate().flat_map(|(number, heard)| records.compare(self, number, heard)).collect();
        differences
            .extend(upstream.faults().into_iter().map(|fault| format!("upstream got what is no request: {fault}")));
        differences.extend(records.left());
        differences.extend(records.check_heads(&upstream.authority()));
        differences
    }

    fn send_all(&self, address: SocketAddr) -> Vec<Vec<Heard>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let number = next.fetch_add(1, Ordering::Relaxed)
                && number < self.cases.len()
            {
                done.push((number, send(address, &self.run(number), self.pieces)));
            }
            done
        };
        let mut all: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, heard)| heard).collect()
    }

    /// The case of that number, with what tells it from all others.
    fn run(&self, number: usize) -> Run {
        let case = &self.cases[number];
        let marks = format!("X-N8N-Tag: wf=case;ex={number}\r\nX-Case: {number}\r\n");
        let request =
            |path| format!("GET {path} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {CURRENT}\r\n{marks}\r\n");
        let filling = Filling {
            key: format!("Authorization: Bearer {}\r\n{marks}", self.key),
            evil: request("/v1/evil"),
            next: request("/v1/next"),
        };
        let mut run = case.fill(&filling);
        if !self.is_welcome {
            run.expected.iter_mut().flatten().filter(|step| is_refused(step)).for_each(|step| *step = "401".into());
        }
        run
    }
}

/// Whether it takes a good key to come so far. An honest request and a hidden one have one.
fn is_refused(step: &str) -> bool {
    let has_own_key = step.starts_with("GET /v1/next ") || step.starts_with("GET /v1/evil ");
    !has_own_key && step.parse::<u16>().is_err()
}

// === Records ===

/// What the log and upstream say, by case.
struct Records<'a> {
    lines: BTreeMap<String, &'a Value>,
    whole: Vec<Whole>,
    taken: Vec<bool>,
}

impl<'a> Records<'a> {
    fn new(lines: &'a [Value], whole: Vec<Whole>) -> Self {
        let lines = lines.iter().map(|line| (text(line, "id"), line)).collect();
        let taken = vec![false; whole.len()];
        Self { lines, whole, taken }
    }

    /// What became of a case, against what had to. Takes the lines and the requests that belong to it.
    fn compare(&mut self, trial: &Trial<'_>, number: usize, heard: &[Heard]) -> Vec<String> {
        let (mut steps, mut differences) = (Vec::new(), Vec::new());
        for answer in heard {
            let line = answer.id.as_ref().and_then(|id| self.lines.remove(id));
            let step = step(answer, line);
            if let Some(saw) = &answer.saw {
                if !self.take(number, saw) {
                    differences.push(format!("upstream answered {saw:?}, which it did not get from there"));
                }
                if without_query(saw) != step {
                    differences.push(format!("the log says {step:?}, upstream saw {saw:?}"));
                }
            }
            steps.push(step);
        }
        let unanswered = self.lines.extract_if(.., |_, line| text(line, "execution_id") == number.to_string());
        steps.extend(unanswered.map(|(_, line)| outcome(line)));
        let expected = trial.run(number).expected;
        if !expected.iter().any(|way| is_way(&steps, way, trial.is_welcome)) {
            differences.push(format!("it went {steps:?}, not {expected:?}"));
        }
        let name = &trial.cases[number].name;
        differences.into_iter().map(|difference| format!("{name} ({:?}): {difference}", trial.pieces)).collect()
    }

    /// Whether upstream got that request, with that case's mark, and it is not taken yet.
    fn take(&mut self, number: usize, saw: &str) -> bool {
        let mark = number.to_string();
        let is_it = |(place, whole): (usize, &Whole)| {
            !self.taken[place] && whole.told() == saw && whole.all("x-case") == [mark.as_str()]
        };
        let place = self.whole.iter().enumerate().position(is_it);
        place.map(|place| self.taken[place] = true).is_some()
    }

    /// What is in the log or reached upstream, and belongs to no answer.
    fn left(&self) -> Vec<String> {
        let lines = self.lines.values().map(|line| format!("in the log, and not sent: {line}"));
        let untaken = self.whole.iter().zip(&self.taken).filter(|(_, taken)| !**taken);
        lines.chain(untaken.map(|(whole, _)| format!("upstream saw what was not answered: {whole:?}"))).collect()
    }

    /// Whether each head is what it has to be: upstream's host, one good key, and nothing of ours or of a connection's own.
    fn check_heads(&self, authority: &str) -> Vec<String> {
        let key = format!("Bearer {CURRENT}");
        let is_sound = |whole: &&Whole| {
            whole.all("host") == [authority]
                && whole.all("authorization") == [key.as_str()]
                && OF_THE_CONNECTION.iter().all(|name| whole.all(name).is_empty())
                // What keyward says of its own connection, where the client asked for it.
                && whole.all("connection").iter().all(|said| ["te", "upgrade"].contains(said))
                && whole.all("te").iter().all(|said| *said == "trailers")
        };
        self.whole.iter().filter(|whole| !is_sound(whole)).map(|whole| format!("an odd head: {whole:?}")).collect()
    }
}

/// What became of the request that got that answer.
fn step(answer: &Heard, line: Option<&Value>) -> String {
    match (line, &answer.saw) {
        (Some(line), Some(_)) => {
            format!("{} {} {}", text(line, "method"), text(line, "path"), line["bytes_in"])
        }
        (Some(line), None) if line["outcome"] != "refused" => outcome(line),
        (Some(_) | None, _) => answer.status.clone(),
    }
}

/// What the log says of a request that came to no answer of upstream's.
fn outcome(line: &Value) -> String {
    if line["outcome"] == "client_gone" { "cut".to_owned() } else { line.to_string() }
}

/// Whether it went that way. Behind a refusal the connection may end.
fn is_way(steps: &[String], way: &[String], is_welcome: bool) -> bool {
    let is_same = |(step, expected): (&String, &String)| step == expected || (step == "cut" && expected == "open");
    let ended = !is_welcome && steps.last().is_some_and(|last| last == "401");
    let is_long_enough = steps.len() == way.len() || (ended && steps.len() < way.len());
    is_long_enough && steps.iter().zip(way).all(is_same)
}

fn without_query(saw: &str) -> String {
    let Some((before, length)) = saw.rsplit_once(' ') else { return saw.to_owned() };
    format!("{} {length}", before.split('?').next().unwrap())
}

fn text(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap_or_default().to_owned()
}

// === The client ===

/// Sends a case over a connection of its own, and gives all answers until keyward closes it. The client says that it has
/// sent everything when it has all the answers that there may be, but where keyward has to close the connection by itself.
fn send(address: SocketAddr, run: &Run, pieces: Pieces) -> Vec<Heard> {
    let mut stream = impatient(TcpStream::connect(address).unwrap());
    for piece in cut(&run.bytes, pieces) {
        // keyward may have heard enough.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    let enough = answers_until_the_client_leaves(run);
    loop {
        if enough.is_some_and(|enough| parse(&heard).len() >= enough) {
            let _ = stream.shutdown(Shutdown::Write);
        }
        match stream.read(&mut piece) {
            Ok(count @ 1..) => heard.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let stuck = Heard { status: "stuck".into(), id: None, saw: None };
                return parse(&heard).into_iter().chain([stuck]).collect();
            }
            Ok(0) | Err(_) => return parse(&heard),
        }
    }
}

fn answers_until_the_client_leaves(run: &Run) -> Option<usize> {
    let leaves = |way: &Vec<String>| match way.last().map(String::as_str) {
        Some("open") => Some(way.len() - 1),
        Some("cut" | "400" | "405" | "414" | "417" | "431" | "501") => None,
        Some(_) | None => Some(way.len()),
    };
    run.expected.iter().map(leaves).max().flatten()
}

fn cut(bytes: &[u8], pieces: Pieces) -> Vec<&[u8]> {
    match pieces {
        Pieces::Whole => vec![bytes],
        Pieces::Lines => bytes.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')).collect(),
        Pieces::Bytes => bytes.chunks(1).collect(),
    }
}

/// The answers in these bytes, but for informational ones.
fn parse(mut bytes: &[u8]) -> Vec<Heard> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let header = |name: &str| {
            let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
            lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        let saw = header("x-saw");
        let behind = &bytes[end + 4..];
        // Behind the head of an answer to HEAD comes the next one. keyward's own answers come in one piece.
        let is_bare = match &saw {
            Some(saw) => saw.starts_with("HEAD "),
            None => behind.is_empty() || behind.starts_with(b"HTTP/1.1 "),
        };
        let length = header("content-length").filter(|_| !is_bare).map_or(0, |length| length.parse().unwrap());
        if behind.len() < length {
            break;
        }
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if !status.starts_with('1') {
            answers.push(Heard { status, id: header("x-keyward-id"), saw });
        }
        bytes = &behind[length..];
    }
    answers
}

/// How many clients send at the same time: their requests share upstream's connections.
const CLIENTS: usize = 4;

const OF_THE_CONNECTION: [&str; 5] = ["keep-alive", "proxy-connection", "x-n8n-tag", "x-keyward-id", "api-key"];
