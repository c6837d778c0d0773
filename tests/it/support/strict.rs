//! An upstream that forgives nothing: whatever it gets must be one request after the other, and each must be readable in
//! one way only.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use keyward::net::origin::{Scheme, Upstream};

use super::wire::impatient;

/// A running upstream. It answers each request, once it is whole, by saying in `X-Saw` what it was.
///
/// It is not a [`FakeUpstream`](super::FakeUpstream), whose reader forgives what this one has to find: it is a second
/// opinion on where a request ends, written from the RFC alone.
pub struct StrictUpstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    stopped: Arc<AtomicBool>,
}

/// A request that came whole.
#[derive(Clone, Debug)]
pub struct Whole {
    pub method: String,
    pub target: String,
    /// Their names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    whole: Mutex<Vec<Whole>>,
    faults: Mutex<Vec<String>>,
}

/// Why what came is no request: it can become one, or it cannot.
enum Unread {
    NotYet,
    Never(String),
}

type Reading<T> = Result<T, Unread>;

impl StrictUpstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stopped) = (Arc::new(Seen::default()), Arc::new(AtomicBool::default()));
        let (served, is_over) = (Arc::clone(&seen), Arc::clone(&stopped));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept()
                && !is_over.load(Ordering::SeqCst)
            {
                let seen = Arc::clone(&served);
                thread::spawn(move || seen.serve(&impatient(stream)));
            }
        });
        Self { address, seen, stopped }
    }

    /// Where it is.
    pub fn origin(&self) -> Upstream {
        Upstream { scheme: Scheme::Http, host: "127.0.0.1".into(), port: self.address.port() }
    }

    /// What `Host` must say.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// All requests that came whole, up to now.
    pub fn whole(&self) -> Vec<Whole> {
        self.seen.whole.lock().unwrap().clone()
    }

    /// What came that is no request.
    pub fn faults(&self) -> Vec<String> {
        self.seen.faults.lock().unwrap().clone()
    }
}

impl Drop for StrictUpstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

// === impl Seen ===

impl Seen {
    fn serve(&self, mut stream: &TcpStream) {
        let (mut unread, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            unread.extend_from_slice(&piece[..count]);
            loop {
                match read(&unread) {
                    Ok((whole, length)) => {
                        unread.drain(..length);
                        let answer = whole.answer();
                        self.whole.lock().unwrap().push(whole);
                        let _ = stream.write_all(answer.as_bytes());
                    }
                    Err(Unread::NotYet) => break,
                    Err(Unread::Never(fault)) => {
                        let shown = String::from_utf8_lossy(&unread[..unread.len().min(400)]).into_owned();
                        return self.faults.lock().unwrap().push(format!("{fault}: {shown:?}"));
                    }
                }
            }
        }
    }
}

// === impl Whole ===

impl Whole {
    /// What it was, in a line.
    pub fn told(&self) -> String {
        format!("{} {} {}", self.method, self.target, self.body.len())
    }

    /// Every value of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    fn answer(&self) -> String {
        let body = if self.method == "HEAD" { "" } else { "{}" };
        format!("HTTP/1.1 200 OK\r\nX-Saw: {}\r\nContent-Length: 2\r\n\r\n{body}", self.told())
    }
}

/// Reads the request at the beginning, and says how long it is (RFC 9112, without whatever a reader may forgive).
fn read(bytes: &[u8]) -> Reading<(Whole, usize)> {
    let (line, mut at) = line(bytes, 0)?;
    let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(never("no request line"));
    };
    check(!method.is_empty() && method.bytes().all(is_token), "no method")?;
    check(!target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic()), "no target")?;
    let mut whole = Whole { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() };
    (whole.headers, at) = headers(bytes, at)?;
    check(whole.all("host").len() == 1, "not one host")?;
    let (lengths, codings) = (whole.all("content-length"), whole.all("transfer-encoding"));
    let (body, end) = match (&lengths[..], &codings[..]) {
        ([], []) => (Vec::new(), at),
        ([length], []) => {
            check(!length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()), "no length")?;
            let end = at + length.parse::<usize>().map_err(|_| never("no length"))?;
            (bytes.get(at..end).ok_or(Unread::NotYet)?.to_vec(), end)
        }
        ([], ["chunked"]) => chunks(bytes, at)?,
        _ => return Err(never("not one framing")),
    };
    whole.body = body;
    Ok((whole, end))
}

fn headers(bytes: &[u8], mut at: usize) -> Reading<(Vec<(String, String)>, usize)> {
    let mut headers = Vec::new();
    loop {
        let (text, next) = line(bytes, at)?;
        at = next;
        if text.is_empty() {
            return Ok((headers, at));
        }
        let (name, value) = text.split_once(':').ok_or_else(|| never("no colon"))?;
        check(!name.is_empty() && name.bytes().all(is_token), "no name")?;
        headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn chunks(bytes: &[u8], mut at: usize) -> Reading<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let (size, data) = line(bytes, at)?;
        check(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "no chunk size")?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| never("no chunk size"))?;
        if size == 0 {
            let (trailers, end) = headers(bytes, data)?;
            let bad = ["content-length", "transfer-encoding", "host", "authorization", "api-key", "x-n8n-tag"];
            check(trailers.iter().all(|(name, _)| !bad.contains(&name.as_str())), "a trailer that frames or admits")?;
            return Ok((body, end));
        }
        let behind = data + size;
        body.extend_from_slice(bytes.get(data..behind).ok_or(Unread::NotYet)?);
        let end = bytes.get(behind..behind + 2).ok_or(Unread::NotYet)?;
        check(end == b"\r\n", "no end of a chunk")?;
        at = behind + 2;
    }
}

/// The line that begins there, a sign for each byte, and where the next one does.
fn line(bytes: &[u8], at: usize) -> Reading<(String, usize)> {
    let rest = &bytes[at..];
    let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Unread::NotYet)?;
    let line = &rest[..end];
    check(line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)), "a control byte")?;
    Ok((line.iter().copied().map(char::from).collect(), at + end + 2))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check(holds: bool, fault: &str) -> Reading<()> {
    if holds { Ok(()) } else { Err(never(fault)) }
}

fn never(fault: &str) -> Unread {
    Unread::Never(fault.to_owned())
}
