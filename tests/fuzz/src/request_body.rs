//! Bodies of requests: the first byte chooses the framing, the second how the rest is split.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use keyward::field_lines::{FieldLines, Name};
use keyward::http1::body_reader::{BodyError, BodyReader, Piece};
use keyward::http1::body_writer::BodyWriter;
use keyward::http1::framing::Framing;
use keyward::http1::output::Output;

use crate::pieces::{Pieces, flush};

/// Holds the reader and the writer of bodies to their promises.
pub fn check(data: &[u8]) {
    let [choice, split, bytes @ ..] = data else { return };
    let framing = match choice {
        0..=127 => Framing::Chunked,
        128..=253 => Framing::Length(u64::from(choice - 128)),
        254 => Framing::Length(u64::MAX),
        255 => Framing::UntilClose,
    };
    let whole = read(framing, std::iter::once(bytes));
    assert_eq!(read(framing, Pieces::new(bytes, *split)), whole, "split at {split}");
    assert_eq!(read(framing, bytes.chunks(1)), whole, "byte by byte");
    check_end(framing, bytes, &whole);
    if whole.end.is_ok() {
        check_written(&whole, *split);
    }
}

/// What a body comes to, with what is left behind it.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    rest: Vec<u8>,
    end: Result<(), BodyError>,
}

/// What a body comes to when its connection ends behind these pieces.
fn read<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Body {
    let (mut reader, mut body) = (BodyReader::new(framing), Body::empty());
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while body.end.is_ok() {
            match reader.read(&mut input) {
                Ok(Some(piece)) => body.add(piece),
                Ok(None) => break,
                Err(error) => body.end = Err(error),
            }
        }
        // Where an error stands, nothing is read any more.
        if body.end.is_ok() {
            body.rest.extend_from_slice(&input);
        }
    }
    if body.end.is_ok() {
        body.end = reader.end();
    } else {
        body.rest.clear();
    }
    body
}

// === impl Body ===

impl Body {
    fn empty() -> Self {
        Self { data: Vec::new(), trailers: None, rest: Vec::new(), end: Ok(()) }
    }

    fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Data(data) => {
                assert!(!data.is_empty() && self.trailers.is_none(), "data behind the end");
                self.data.extend_from_slice(&data);
            }
            Piece::Trailers(trailers) => {
                assert!(self.trailers.replace(trailers).is_none(), "trailers twice");
            }
        }
    }
}

/// It ends where its framing says.
fn check_end(framing: Framing, bytes: &[u8], body: &Body) {
    let told = match framing {
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Framing::UntilClose => bytes.len(),
        Framing::Chunked => {
            assert!(body.end.is_err() || find_end(bytes) == Some(bytes.len() - body.rest.len()), "{body:?}");
            return;
        }
    };
    let (data, rest) = bytes.split_at(told.min(bytes.len()));
    let is_whole = framing == Framing::UntilClose || told <= bytes.len();
    assert_eq!((&*body.data, &*body.rest, &body.trailers), (data, rest, &None));
    assert_eq!(body.end, if is_whole { Ok(()) } else { Err(BodyError::Incomplete) });
}

/// Where a body in chunks ends, found by its sizes and line ends alone; nothing where another reader may end a line elsewhere.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line_at(bytes, at)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        at += size + 2;
    }
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
        if line.contains(&b'\r') || line.contains(&b'\n') {
            return None;
        }
    }
}

/// What stands there, up to CR LF.
fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.windows(2).position(|window| window == b"\r\n").map(|end| &rest[..end])
}

/// Written and read again, it is the same, but for trailers that mean something to a recipient.
fn check_written(body: &Body, split: u8) {
    let written = write(BodyWriter::Length(body.data.len() as u64), body, split);
    assert_eq!(written, body.data);
    let announced = announce(body.trailers.as_ref());
    let again = read(Framing::Chunked, std::iter::once(&*write(BodyWriter::chunked(&announced), body, split)));
    assert_eq!((&again.data, &*again.rest, again.end), (&body.data, &b""[..], Ok(())));
    let trailers = again.trailers.unwrap_or_default();
    for name in body.trailers.iter().flat_map(HeaderMap::keys) {
        let (came, expected) = (trailers.get_all(name), body.trailers.iter().flat_map(|all| all.get_all(name)));
        if BARRED.contains(&name.as_str()) {
            assert_eq!(came.iter().count(), 0, "{name}");
        } else {
            assert!(came.iter().eq(expected), "{name}");
        }
    }
    assert!(trailers.keys().all(|name| body.trailers.as_ref().is_some_and(|all| all.contains_key(name))));
    let unannounced =
        read(Framing::Chunked, std::iter::once(&*write(BodyWriter::Chunked(Box::default()), body, split)));
    assert_eq!((unannounced.data, unannounced.trailers), (body.data.clone(), None));
}

/// What `writer` makes of a body that comes in pieces.
fn write(mut writer: BodyWriter, body: &Body, split: u8) -> Vec<u8> {
    let (mut output, mut written) = (Output::default(), Vec::new());
    let pieces: Vec<_> = Pieces::new(&body.data, split).filter(|piece| !piece.is_empty()).collect();
    for (position, piece) in pieces.iter().enumerate() {
        let is_last = position + 1 == pieces.len() && body.trailers.is_none() && split.is_multiple_of(2);
        writer.write(Bytes::copy_from_slice(piece), is_last, &mut output);
        if !output.has_room() {
            flush(&mut output, &mut written);
        }
    }
    let ended = match &body.trailers {
        Some(trailers) => writer.end_with(trailers, &mut output),
        None => writer.end(&mut output),
    };
    assert_eq!(ended, Ok(()), "all of it was written");
    flush(&mut output, &mut written);
    written
}

/// A head that announces those trailers.
fn announce(trailers: Option<&HeaderMap>) -> FieldLines {
    let names = trailers.iter().flat_map(|trailers| trailers.keys());
    names.fold(FieldLines::default(), |mut lines, name| {
        lines.add(Name::Trailer, HeaderValue::from_str(name.as_str()).expect("a name is a value"));
        lines
    })
}

/// What says how a message is read, where it goes, or who sent it (RFC 9110, 6.5.1).
const BARRED: [&str; 12] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "host",
    "max-forwards",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
];
