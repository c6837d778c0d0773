//! A client of a test's own: it sends bytes as they are given and tells a whole answer from one that was cut.

use crate::support::DEADLINE;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection to keyward.
pub(crate) struct Client(TcpStream);

/// An answer, as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether it came to its end, by length or last chunk.
    pub(crate) whole: bool,
}

/// A `GET` on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, path, &[])
}

/// The same with headers.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    Client::connect(address).ask(path, headers)
}

/// The same with a key.
#[track_caller]
pub(crate) fn ask_with(address: SocketAddr, key: &str) -> Answer {
    ask(address, "/v1/models", &[("Authorization", &format!("Bearer {key}"))])
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    /// A `GET`, and its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(&request("GET", path, headers, b""));
        self.read()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A server that has said its answer may close before it read everything; then the answer tells.
        let _ = self.0.write_all(bytes);
    }

    /// The head of an answer.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.read_some(1).as_slice() {
                [] => break,
                byte => head.extend_from_slice(byte),
            }
        }
        String::from_utf8_lossy(&head).into_owned()
    }

    /// An answer to its end, whichever that is. One that never came has the status 0.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Answer {
        let head = self.read_head();
        self.read_body(head)
    }

    /// The rest of an answer whose head was read.
    #[track_caller]
    pub(crate) fn read_body(&mut self, head: String) -> Answer {
        let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        let mut answer = Answer { status, head, body: Vec::new(), whole: true };
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        match length {
            Some(length) => answer.whole = self.read_exactly(length, &mut answer.body),
            None if answer.header("transfer-encoding").is_some() => answer.whole = self.read_chunks(&mut answer.body),
            None if status == 0 => answer.whole = false,
            None => while self.read_exactly(1, &mut answer.body) {},
        }
        answer
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                if !self.read_exactly(1, &mut line) {
                    return false;
                }
            }
            let length = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            if !self.read_exactly(length, body) || !self.read_exactly(2, &mut Vec::new()) {
                return false;
            }
            if length == 0 {
                return true;
            }
        }
    }

    fn read_exactly(&mut self, length: usize, into: &mut Vec<u8>) -> bool {
        let wanted = into.len() + length;
        while into.len() < wanted {
            match self.read_some(wanted - into.len()).as_slice() {
                [] => return false,
                some => into.extend_from_slice(some),
            }
        }
        true
    }

    /// What came, up to that much; nothing at the end, which a reset is as well.
    #[track_caller]
    fn read_some(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most.min(64 * 1024)];
        loop {
            match self.0.read(&mut bytes) {
                Ok(count) => return bytes[..count].to_vec(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer in time"),
                Err(_) => return Vec::new(),
            }
        }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// What keyward judged the key to be.
    pub(crate) fn verdict(&self) -> &str {
        self.header("x-keyward-verdict").unwrap_or_default()
    }
}

/// A request as a client writes it.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: keyward\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}
