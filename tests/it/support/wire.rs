//! One side of an HTTP/1.1 connection as bytes, read by hand, so that nothing is taken for granted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::DEADLINE;

/// A stream with what was read of it too early.
pub struct Wire<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

/// A head, as bytes and as what they say.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub raw: Vec<u8>,
    /// The request line or the status line.
    pub line: String,
    pub headers: Vec<(String, String)>,
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or its end has been read.
    Ended,
    /// That many bytes are still to come.
    Length(usize),
    Chunked,
    UntilClose,
}

// === impl Wire ===

impl<S: Read + Write> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// The next head; nothing if the connection ended before one began.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(Head::parse(self.buffer.drain(..end + 4).collect())));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut_off()) };
            }
        }
    }

    /// What comes next of a body: some bytes of it, or a chunk as it was sent. Nothing at its end.
    pub fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        match *framing {
            Framing::Ended => Ok(None),
            Framing::Length(0) => {
                *framing = Framing::Ended;
                Ok(None)
            }
            Framing::Length(left) => {
                let piece = self.some(left)?.ok_or_else(cut_off)?;
                *framing = Framing::Length(left - piece.len());
                Ok(Some(piece))
            }
            Framing::UntilClose => self.some(usize::MAX),
            Framing::Chunked => {
                let chunk = self.chunk()?;
                if chunk.is_none() {
                    *framing = Framing::Ended;
                }
                Ok(chunk)
            }
        }
    }

    /// The rest of a body.
    pub fn body(&mut self, mut framing: Framing) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut framing)? {
            body.extend(piece);
        }
        Ok(body)
    }

    /// Waits until the other side has closed, and gives what it sent until then.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_ok_and(|read| read > 0) {}
        std::mem::take(&mut self.buffer)
    }

    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        let chunk = self.exactly(size)?;
        // Of the last chunk, what ends the body; trailers are not expected.
        assert_eq!(self.line()?, "");
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill()? == 0 {
                return Err(cut_off());
            }
        }
    }

    fn exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < size {
            if self.fill()? == 0 {
                return Err(cut_off());
            }
        }
        Ok(self.buffer.drain(..size).collect())
    }

    fn some(&mut self, most: usize) -> io::Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        let size = self.buffer.len().min(most);
        Ok(Some(self.buffer.drain(..size).collect()))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = vec![0; 64 * 1024];
        let read = self.stream.read(&mut piece);
        let is_late = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!read.as_ref().is_err_and(is_late), "nothing came within {DEADLINE:?}");
        let read = read?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

// === impl Head ===

impl Head {
    /// The value of the first header of that name.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Every value of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How the body behind it ends, if nothing is known but the head; without a length there is none.
    pub fn framing(&self) -> Framing {
        if self.header("transfer-encoding").is_some() {
            return Framing::Chunked;
        }
        self.header("content-length").map_or(Framing::Ended, |length| Framing::Length(length.parse().unwrap()))
    }

    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        };
        Self { raw, line, headers: lines.map(header).collect() }
    }
}

/// Nothing in a test waits for ever, and nothing is held back for company.
pub fn impatient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Writes up to `most` bytes, as long as some are taken within that time, and says how many were.
pub fn write_until_stuck(mut stream: &TcpStream, most: usize, patience: Duration) -> usize {
    let piece = vec![b'a'; 64 * 1024];
    stream.set_write_timeout(Some(patience)).unwrap();
    let mut sent = 0;
    while sent < most
        && let Ok(taken) = stream.write(&piece[..piece.len().min(most - sent)])
    {
        sent += taken;
    }
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    sent
}

fn cut_off() -> io::Error {
    io::Error::from(io::ErrorKind::UnexpectedEof)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
