//! Writes heads (RFC 9112, 3 to 6), with the framing that fits the body and the other side.

use std::cell::RefCell;
use std::io::Write;
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::Body;

use super::body_writer::BodyWriter;
use super::framing::{has_token, read_length};
use super::output::SMALL;
use crate::field_lines::{FieldLines, Name, Names};
use crate::message::{Answer, Request};

/// How long a body is, as far as that is known before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// In bytes.
    Known(u64),
    Unknown,
}

impl BodyLength {
    /// That of a body that nothing was read from.
    #[must_use]
    pub fn of(body: &impl Body) -> Self {
        match body.size_hint().exact() {
            _ if body.is_end_stream() => Self::None,
            Some(length) => Self::Known(length),
            None => Self::Unknown,
        }
    }

    /// How much of it stands behind its head in one buffer, as far as that is known, in bytes.
    fn room(self) -> usize {
        match self {
            Self::Known(length) => usize::try_from(length).ok().filter(|length| *length <= SMALL).unwrap_or(0),
            Self::None | Self::Unknown => 0,
        }
    }
}

/// Writes the head of a request in origin form (RFC 9112, 3.2.1), and gives what its body is to be written by.
pub fn write_request<B>(request: &Request<B>, length: BodyLength, out: &mut Vec<u8>) -> BodyWriter {
    let lines = &request.lines;
    out.reserve(ROOM + lines.len() * ROOM_FOR_FIELD + length.room());
    for part in [request.method.as_str().as_bytes(), b" ", request.target.as_bytes(), b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    let announced = lines.first(Name::ContentLength).and_then(read_length);
    // This side decides on chunks itself.
    let left_out = Names::of(&[Name::TransferEncoding]);
    lines.write(if announced.is_some() { left_out } else { left_out.and(Name::ContentLength) }, out);
    let writer = match (length, announced) {
        (BodyLength::None, _) => BodyWriter::Length(0),
        (_, Some(length)) => BodyWriter::Length(length),
        (BodyLength::Known(length), None) => {
            write_length(length, out);
            BodyWriter::Length(length)
        }
        (BodyLength::Unknown, None) => {
            out.extend_from_slice(CHUNKED);
            BodyWriter::chunked(lines)
        }
    };
    out.extend_from_slice(b"\r\n");
    writer
}

/// What of a request its answer depends on.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub version: Version,
    /// Whether the client takes trailers.
    pub takes_trailers: bool,
}

/// Writes the head of an answer, and gives what its body is to be written by. `persists` says whether another request may
/// follow.
pub fn write_answer<B>(
    answer: &Answer<B>,
    asked: &Asked,
    length: BodyLength,
    persists: bool,
    out: &mut Vec<u8>,
) -> BodyWriter {
    let (status, lines) = (answer.status, &answer.lines);
    out.reserve(ROOM + lines.len() * ROOM_FOR_FIELD + length.room());
    let is_http_11 = asked.version == Version::HTTP_11;
    write_status(answer, is_http_11, out);
    let is_bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_head = asked.method == Method::HEAD;
    let announced = lines.first(Name::ContentLength);
    let left_out = Names::of(&[Name::TransferEncoding, Name::ContentLength]);
    let may_have_trailers = is_http_11 && !is_bodiless && !is_head;
    lines.write(if may_have_trailers { left_out } else { left_out.and(Name::Trailer) }, out);
    let writer = write_framing(announced, length, is_bodiless, is_head, is_http_11, out).unwrap_or_else(|| {
        out.extend_from_slice(CHUNKED);
        if asked.takes_trailers { BodyWriter::chunked(lines) } else { BodyWriter::Chunked(Box::default()) }
    });
    if !lines.contains(Name::Date) {
        DATE.with_borrow_mut(|date| out.extend_from_slice(date.line()));
    }
    write_persistence(lines, persists && writer != BodyWriter::UntilClose, is_http_11, out);
    out.extend_from_slice(b"\r\n");
    writer
}

fn write_status<B>(answer: &Answer<B>, is_http_11: bool, out: &mut Vec<u8>) {
    let status = answer.status;
    out.extend_from_slice(if is_http_11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let usual = status.canonical_reason().unwrap_or("<none>");
    out.extend_from_slice(answer.reason.as_deref().unwrap_or(usual.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// Writes how the body is framed; nothing where it has to go in chunks.
fn write_framing(
    announced: Option<&[u8]>,
    length: BodyLength,
    is_bodiless: bool,
    is_head: bool,
    is_http_11: bool,
    out: &mut Vec<u8>,
) -> Option<BodyWriter> {
    if is_bodiless {
        return Some(BodyWriter::Length(0));
    }
    if is_head {
        // What a GET would have (RFC 9110, 9.3.2).
        if let Some(announced) = announced {
            write_field(b"content-length", announced, out);
        } else if let BodyLength::Known(length) = length {
            write_length(length, out);
        }
        return Some(BodyWriter::Length(0));
    }
    let length = match length {
        BodyLength::None => Some(0),
        BodyLength::Known(length) => Some(length),
        BodyLength::Unknown => announced.and_then(read_length),
    };
    match length {
        Some(length) => {
            write_length(length, out);
            Some(BodyWriter::Length(length))
        }
        None => (!is_http_11).then_some(BodyWriter::UntilClose),
    }
}

/// HTTP/1.1 goes on unless it is told otherwise, HTTP/1.0 only where it is told to (RFC 9112, 9.3).
fn write_persistence(lines: &FieldLines, persists: bool, is_http_11: bool, out: &mut Vec<u8>) {
    let word = match (persists, is_http_11) {
        (true, true) => return,
        (true, false) => "keep-alive",
        (false, _) => "close",
    };
    if !lines.all(Name::Connection).any(|options| has_token(options, word)) {
        write_field(b"connection", word.as_bytes(), out);
    }
}

/// The answer to a head that cannot be read, with which the connection ends.
#[must_use]
pub fn answer_to_unread(status: StatusCode) -> Bytes {
    let (mut out, answer) = (Vec::new(), Answer::new(status, ()));
    let asked = Asked { method: Method::GET, version: Version::HTTP_11, takes_trailers: false };
    write_answer(&answer, &asked, BodyLength::None, false, &mut out);
    out.into()
}

/// The answer that has a client send its body (RFC 9110, 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    // Writing into memory cannot fail.
    let _ = write!(out, "content-length: {length}\r\n");
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

thread_local! {
    static DATE: RefCell<DateLine> = const { RefCell::new(DateLine { second: 0, text: Vec::new() }) };
}

/// The `Date` of answers that have none (RFC 9110, 6.6.1), made once a second.
struct DateLine {
    second: u64,
    text: Vec<u8>,
}

impl DateLine {
    fn line(&mut self) -> &[u8] {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = format!("date: {}\r\n", httpdate::fmt_http_date(now)).into();
        }
        &self.text
    }
}

/// How much room the lines take that every head has, in bytes.
const ROOM: usize = 160;

/// How much room a field takes, in bytes: most take less.
const ROOM_FOR_FIELD: usize = 48;
