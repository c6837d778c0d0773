//! Pure. Reading an answer beside its way to the client: what an error says, and whether a success is one.
//!
//! | answer | what is read |
//! |---|---|
//! | an error | its first 16 KiB, decoded |
//! | a success in JSON | the error at the top of its first 16 KiB, decoded |
//! | a stream of events | each line that begins like an error, to the stream's end; decoded, of its first 16 KiB |
//! | anything else | nothing |

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use memchr::memmem::Finder;

use super::encoding::{BOUND, Encoding};
use super::error::{ErrorBody, ErrorReading};
use super::event::{Event, Extent};

/// Reads one answer as it passes by.
#[derive(Debug)]
pub enum AnswerReader {
    Error(Box<ErrorBody>),
    /// Of a success whose beginning is gathered.
    Beginning(Beginning),
    /// Of a stream of events that are not encoded.
    Events(Box<EventStream>),
}

/// What a success consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `application/json`, and what is a kind of it.
    Json,
    /// `text/event-stream`.
    Events,
    /// What tells of no error.
    Other,
}

impl Content {
    /// From the value of `Content-Type`.
    #[must_use]
    pub fn read(value: Option<&[u8]>) -> Self {
        let value = value.unwrap_or_default();
        // Nearly all of OpenAI's.
        if value == b"application/json" {
            return Self::Json;
        }
        let kind = &value[..memchr::memchr(b';', value).unwrap_or(value.len())].trim_ascii();
        let ends_with =
            |name: &[u8]| kind.len().checked_sub(name.len()).is_some_and(|at| kind[at..].eq_ignore_ascii_case(name));
        match () {
            () if ends_with(b"/json") || ends_with(b"+json") => Self::Json,
            () if ends_with(b"/event-stream") => Self::Events,
            () => Self::Other,
        }
    }
}

impl AnswerReader {
    /// For an answer with that head; nothing where there is nothing to be read in it.
    #[must_use]
    pub fn new(status: StatusCode, content: Content, encoding: Encoding) -> Option<Self> {
        match (content, encoding) {
            _ if status.as_u16() >= 400 => Some(Self::Error(Box::new(ErrorBody::new(status, encoding)))),
            _ if !status.is_success() => None,
            (Content::Other, _) | (_, Encoding::Unknown) => None,
            (Content::Events, Encoding::Identity) => Some(Self::Events(Box::default())),
            (Content::Json | Content::Events, _) => {
                Some(Self::Beginning(Beginning { content, encoding, pieces: None }))
            }
        }
    }

    /// Takes the next piece, which may be known to be the last one.
    pub fn push(&mut self, piece: &Bytes, is_last: bool) {
        match self {
            Self::Error(error) => error.push(piece),
            Self::Beginning(beginning) => beginning.push(piece, is_last),
            Self::Events(events) => events.push(piece),
        }
    }

    /// Whether whatever else comes is not read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Error(error) => error.is_full(),
            Self::Beginning(beginning) => beginning.len() >= BOUND,
            Self::Events(_) => false,
        }
    }

    /// Whether upstream has said that nothing follows (`data: [DONE]`). Clients leave on that, before the body ends.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Error(_) | Self::Beginning(_) => false,
            Self::Events(events) => events.is_done,
        }
    }

    /// How a stream of events is encoded; nothing where the answer is none.
    #[must_use]
    pub fn events(&self) -> Option<Encoding> {
        match self {
            Self::Events(_) => Some(Encoding::Identity),
            Self::Beginning(Beginning { content: Content::Events, encoding, .. }) => Some(*encoding),
            Self::Beginning(_) | Self::Error(_) => None,
        }
    }

    /// The error that the answer is, as far as it came and can be decoded.
    #[must_use]
    pub fn error_text(&self) -> Option<Vec<u8>> {
        match self {
            Self::Error(error) => error.text(),
            Self::Beginning(_) | Self::Events(_) => None,
        }
    }

    /// What is wrong, if anything is said of it.
    #[must_use]
    pub fn finish(self) -> Option<ErrorReading> {
        match self {
            Self::Error(error) => Some(error.read()),
            Self::Beginning(beginning) => beginning.finish(),
            Self::Events(events) => events.finish(),
        }
    }
}

/// The beginning of a body. Most come in one piece, which is not copied.
#[derive(Debug)]
pub struct Beginning {
    content: Content,
    encoding: Encoding,
    /// In a box, for most answers need none, and each is handed on half a dozen times.
    pieces: Option<Box<Pieces>>,
}

#[derive(Debug)]
enum Pieces {
    One(Bytes),
    Many(Vec<u8>),
    /// It came in one piece, and was read as it passed by.
    Read(ErrorReading),
}

impl Beginning {
    fn push(&mut self, piece: &Bytes, is_last: bool) {
        let room = BOUND - self.len();
        match self.pieces.as_deref_mut() {
            // What is encoded is decoded when the client has it.
            None if is_last && piece.len() <= BOUND && self.encoding == Encoding::Identity => {
                self.pieces = self.read(piece).map(|reading| Box::new(Pieces::Read(reading)));
            }
            _ if room == 0 || piece.is_empty() => {}
            None => self.pieces = Some(Box::new(Pieces::One(piece.slice(..piece.len().min(room))))),
            Some(pieces) => pieces.push(&piece[..piece.len().min(room)]),
        }
    }

    fn len(&self) -> usize {
        self.pieces.as_ref().map_or(0, |pieces| pieces.len())
    }

    fn finish(mut self) -> Option<ErrorReading> {
        match *self.pieces.take()? {
            Pieces::One(piece) => self.read(&piece),
            Pieces::Many(all) => self.read(&all),
            Pieces::Read(reading) => Some(reading),
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<ErrorReading> {
        let decoded;
        let text = if self.encoding == Encoding::Identity {
            bytes
        } else {
            decoded = self.encoding.decode(bytes);
            &decoded
        };
        if self.content == Content::Events {
            let mut events = EventStream::default();
            events.push(text);
            return events.finish();
        }
        if !names_error(text) {
            return None;
        }
        match Event::read(text, if text.len() < BOUND { Extent::Whole } else { Extent::Cut }) {
            Event::Error(reading) => Some(reading),
            Event::Other | Event::Unreadable => None,
        }
    }
}

impl Pieces {
    fn push(&mut self, piece: &[u8]) {
        match self {
            Self::One(first) => *self = Self::Many([first, piece].concat()),
            Self::Many(all) => all.extend_from_slice(piece),
            Self::Read(_) => {}
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Read(_) => 0,
            Self::One(piece) => piece.len(),
            Self::Many(all) => all.len(),
        }
    }
}

/// Whether there is an error in that JSON anywhere, but for one that is null, as in every response.
fn names_error(text: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
    let name = &*NAME;
    let mut rest = text;
    while let Some(at) = name.find(rest) {
        rest = &rest[at + name.needle().len()..];
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if !value.is_some_and(|value| value.starts_with(b"null")) {
            return true;
        }
    }
    false
}

/// Reads a stream of events (HTML Standard, 9.2) at the beginnings of its lines: OpenAI's errors are told there. Of an event
/// that begins like one, the text is gathered and read.
#[derive(Debug, Default)]
pub struct EventStream {
    line: Line,
    /// How its lines end, as far as the first one tells.
    ends: LineEnd,
    /// Whether the line before ended in a carriage return, which a line feed may follow.
    is_behind_return: bool,
    /// The beginning of a line that says nothing yet, where its piece ended there.
    held: Vec<u8>,
    /// The event that may be an error.
    suspect: Option<Box<Suspect>>,
    found: Option<ErrorReading>,
    /// How many events that might be errors have ended.
    suspects: u32,
    is_done: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LineEnd {
    #[default]
    Unknown,
    /// In a line feed, with or without a carriage return before it.
    Feed,
    /// In a carriage return alone.
    Return,
}

/// Where in a line the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Beginning,
    /// In one that says nothing of an error.
    Passing,
    /// In the text of an event that may be one.
    Gathering,
}

/// An event that may be an error, as far as it came.
#[derive(Debug, Default)]
struct Suspect {
    text: Vec<u8>,
    is_cut: bool,
    is_named: bool,
}

/// What the beginning of a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    None,
    /// Nothing yet.
    Short,
    /// Its event is named an error.
    Name,
    /// It is the text of an event, beginning there, that looks like an error.
    Text(usize),
    /// It is the text of an event, beginning there.
    More(usize),
    /// It says that no event follows.
    Done,
    /// The event ends.
    End,
}

impl EventStream {
    /// Takes the next piece of the body; an event may lie in several.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        loop {
            if self.ends == LineEnd::Feed && self.suspect.is_none() && self.held.is_empty() {
                rest = self.skip_silent(rest);
            }
            if rest.is_empty() {
                return;
            }
            rest = match self.line {
                Line::Beginning => self.begin_line(rest),
                Line::Passing => match self.find_end(rest) {
                    Some(end) => {
                        self.end_line(rest[end]);
                        &rest[end + 1..]
                    }
                    None => return,
                },
                Line::Gathering => self.gather(rest),
            };
        }
    }

    /// Skips lines that say nothing, as nearly all do. What has to be looked at more closely is left.
    fn skip_silent<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        loop {
            if self.line == Line::Passing {
                let Some(end) = memchr::memchr(b'\n', rest) else { return &[] };
                rest = &rest[end + 1..];
                self.line = Line::Beginning;
            }
            match rest.first() {
                Some(b'\n') => rest = &rest[1..],
                Some(_) if self.line == Line::Beginning && is_silent(rest) => self.line = Line::Passing,
                Some(_) | None => return rest,
            }
        }
    }

    /// Whether an event is under way that may be an error.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        self.suspect.is_some()
    }

    /// How many of the bytes that came last begin a line that may still be of an error.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.held.len()
    }

    /// How many events that might be errors have ended.
    #[must_use]
    pub fn suspects(&self) -> u32 {
        self.suspects
    }

    /// What is wrong, if anything is said of it.
    #[must_use]
    pub fn finish(mut self) -> Option<ErrorReading> {
        self.end_event();
        self.found
    }

    /// Takes as much as is needed to know what the line is.
    fn begin_line<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let is_of_suspect = self.suspect.is_some();
        if self.held.is_empty() {
            let sign = Sign::of(piece, is_of_suspect);
            if sign != Sign::Short {
                return self.follow_in(piece, sign);
            }
        }
        // One by one, for a line that is not known by then is a rarity.
        let (next, rest) = piece.split_at(1);
        self.held.extend_from_slice(next);
        let known = Sign::of(&self.held, is_of_suspect);
        if known == Sign::Short {
            return rest;
        }
        let taken = self.follow(known);
        let held = std::mem::take(&mut self.held);
        if self.line == Line::Gathering {
            self.gather(&held[taken..]);
        } else if let Some(end) = self.find_end(&held) {
            self.end_line(held[end]);
        }
        rest
    }

    /// Where a line ends.
    fn find_end(&self, text: &[u8]) -> Option<usize> {
        match self.ends {
            LineEnd::Feed => memchr::memchr(b'\n', text),
            LineEnd::Unknown | LineEnd::Return => memchr::memchr2(b'\n', b'\r', text),
        }
    }

    fn end_line(&mut self, with: u8) {
        self.line = Line::Beginning;
        self.is_behind_return = with == b'\r';
        self.ends = match (self.ends, with) {
            (LineEnd::Feed, _) | (LineEnd::Unknown | LineEnd::Return, b'\n') => LineEnd::Feed,
            // A line feed may follow: what comes next tells.
            (LineEnd::Unknown | LineEnd::Return, _) => LineEnd::Return,
        };
    }

    /// Says how much of the line is done with.
    fn follow(&mut self, sign: Sign) -> usize {
        match sign {
            Sign::None | Sign::Short => {
                self.line = Line::Passing;
                0
            }
            Sign::Name => {
                self.suspect.get_or_insert_default().is_named = true;
                self.line = Line::Passing;
                0
            }
            Sign::Done => {
                self.is_done = true;
                self.line = Line::Passing;
                0
            }
            Sign::Text(at) | Sign::More(at) => {
                self.suspect.get_or_insert_default();
                self.line = Line::Gathering;
                at
            }
            Sign::End => {
                self.end_event();
                1
            }
        }
    }

    fn follow_in<'a>(&mut self, piece: &'a [u8], sign: Sign) -> &'a [u8] {
        if sign == Sign::End {
            let is_rest_of_end = self.is_behind_return && piece[0] == b'\n';
            self.end_line(piece[0]);
            if is_rest_of_end {
                return &piece[1..];
            }
        }
        &piece[self.follow(sign)..]
    }

    /// Takes the text of a suspect to the end of its line.
    fn gather<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let end = self.find_end(piece);
        let (text, rest) = end.map_or((piece, &piece[piece.len()..]), |end| (&piece[..end], &piece[end + 1..]));
        if let Some(suspect) = &mut self.suspect {
            suspect.add(text);
            if let Some(end) = end {
                suspect.add(b"\n");
                self.end_line(piece[end]);
            }
        }
        rest
    }

    /// The first refusal counts, or else the first error.
    fn end_event(&mut self) {
        let Some(suspect) = self.suspect.take() else { return };
        self.suspects = self.suspects.wrapping_add(1);
        let Event::Error(reading) = suspect.read() else { return };
        let is_worse = self.found.as_ref().is_none_or(|found| !found.class.is_refusal() && reading.class.is_refusal());
        if is_worse {
            self.found = Some(reading);
        }
    }
}

impl Suspect {
    fn add(&mut self, text: &[u8]) {
        let room = BOUND - self.text.len();
        self.is_cut |= text.len() > room;
        self.text.extend_from_slice(&text[..text.len().min(room)]);
    }

    fn read(&self) -> Event {
        let extent = if self.is_cut { Extent::Cut } else { Extent::Whole };
        if self.is_named { Event::read_named_error(&self.text, extent) } else { Event::read(&self.text, extent) }
    }
}

/// Whether a line surely says nothing of an error, and not that nothing follows: seen in a few steps.
fn is_silent(line: &[u8]) -> bool {
    if let Some(text) = line.strip_prefix(b"data: {\"") {
        return match text {
            // The id, with which nearly all chunks of a chat begin; or their choices, time or model.
            [b'i', ..] | [b'c', b'h' | b'r', ..] | [b'm', b'o', ..] => true,
            [b't', ..] => text.strip_prefix(b"type\":\"").is_some_and(is_silent_name),
            _ => !may_begin_error(text),
        };
    }
    line.strip_prefix(b"event: ").is_some_and(is_silent_name)
}

/// Whether the name of a first field, as far as it is there, may be one with which errors begin. Not inlined, so that it costs
/// nothing where it is not asked.
#[inline(never)]
fn may_begin_error(name: &[u8]) -> bool {
    let Some(first) = name.first() else { return true };
    let is_like = |field: &&[u8]| name.iter().zip(&field[1..]).all(|(one, other)| one == other);
    *first == b'o' || first_fields(*first).iter().any(is_like)
}

/// Fields with which errors begin and chunks of an answer do not, as their names begin, by the first letter: where fields stand
/// in the order of the alphabet, as in OpenAI's own library, `code` does; other upstreams have others.
fn first_fields(first: u8) -> &'static [&'static [u8]] {
    match first {
        b'c' => &[b"\"code"],
        b'd' => &[b"\"detail"],
        b'e' => &[b"\"error\"", b"\"event_id"],
        b'm' => &[b"\"message", b"\"msg"],
        b'p' => &[b"\"param"],
        b'r' => &[b"\"request_id"],
        b's' => &[b"\"status", b"\"success"],
        _ => &[],
    }
}

fn is_silent_name(name: &[u8]) -> bool {
    match name.strip_prefix(b"response.") {
        Some([b'f', ..] | []) => false,
        Some([_, ..]) => true,
        None => !matches!(name, [] | [b'e' | b'r' | b' ' | b'\t', ..]),
    }
}

impl Sign {
    /// What a line says, by its beginning, which may be all that is there of it. Of a suspect, every text is more.
    fn of(line: &[u8], is_of_suspect: bool) -> Self {
        let begin = &line[..line.len().min(LONGEST_SIGN)];
        match sign(begin, is_of_suspect) {
            // So much room in front of a text is odd enough.
            Self::Short if begin.len() == LONGEST_SIGN && begin.starts_with(DATA) => Self::Text(DATA.len()),
            Self::Short if begin.len() == LONGEST_SIGN => Self::None,
            sign @ (Self::None | Self::Short | Self::Name | Self::Text(_) | Self::More(_) | Self::Done | Self::End) => {
                sign
            }
        }
    }
}

fn sign(line: &[u8], is_of_suspect: bool) -> Sign {
    match line.first() {
        None => Sign::Short,
        Some(b'\n' | b'\r') => Sign::End,
        Some(b'd') => match Match::of(line, DATA) {
            Match::Yes(text) if is_of_suspect => Sign::More(line.len() - text.len()),
            Match::Yes(text) => sign_of_text(line, text),
            Match::Short => Sign::Short,
            Match::No => Sign::None,
        },
        Some(b'e') => match Match::of(line, b"event:").then_any(&[b"error", b"response.failed"]).then_end() {
            Match::Yes(_) => Sign::Name,
            Match::Short => Sign::Short,
            Match::No => Sign::None,
        },
        // The mark of UTF-8 may stand before the first line.
        Some(0xef) => match Match::of(line, b"\xef\xbb\xbf") {
            Match::Yes(rest) => match sign(rest, is_of_suspect) {
                Sign::Text(at) => Sign::Text(at + 3),
                Sign::More(at) => Sign::More(at + 3),
                // It is not told how much of that line is done with.
                Sign::End => Sign::None,
                sign @ (Sign::None | Sign::Short | Sign::Name | Sign::Done) => sign,
            },
            Match::Short => Sign::Short,
            Match::No => Sign::None,
        },
        Some(_) => Sign::None,
    }
}

fn sign_of_text(line: &[u8], text: &[u8]) -> Sign {
    let begins = Sign::Text(line.len() - text.len());
    let object = match Match::Yes(text).then(b"{") {
        Match::Yes(object) => object.trim_ascii_start_in_line(),
        Match::Short => return Sign::Short,
        Match::No => return Match::Yes(text).then(b"[DONE]").then_end().sign(Sign::Done),
    };
    match object {
        [] | [b'"'] => Sign::Short,
        // It goes on in another line.
        [b'\n' | b'\r', ..] => begins,
        [b'"', b't', ..] => {
            let value = Match::of(object, b"\"type\"").then(b":");
            value.then_any(&[b"\"error\"", b"\"response.failed\""]).sign(begins)
        }
        [b'"', b'o', ..] => Match::of(object, b"\"object\"").then(b":").then(b"\"error\"").sign(begins),
        [b'"', first, ..] => Match::Yes(object).then_any(first_fields(*first)).sign(begins),
        _ => Sign::None,
    }
}

/// Whether a text begins with another one.
#[derive(Clone, Copy)]
enum Match<'a> {
    /// It does; what follows.
    Yes(&'a [u8]),
    /// As far as it goes.
    Short,
    No,
}

impl<'a> Match<'a> {
    fn of(text: &'a [u8], name: &[u8]) -> Self {
        match text.strip_prefix(name) {
            Some(rest) => Self::Yes(rest),
            None if name.starts_with(text) => Self::Short,
            None => Self::No,
        }
    }

    /// What follows has to begin with that, behind any room.
    fn then(self, name: &[u8]) -> Self {
        match self {
            Self::Yes(text) => Self::of(text.trim_ascii_start_in_line(), name),
            Self::Short | Self::No => self,
        }
    }

    fn then_any(self, names: &[&[u8]]) -> Self {
        let all = names.iter().map(|name| self.then(name));
        all.reduce(|found, other| match (found, other) {
            (Self::Yes(rest), _) | (_, Self::Yes(rest)) => Self::Yes(rest),
            (Self::Short, _) | (_, Self::Short) => Self::Short,
            (Self::No, Self::No) => Self::No,
        })
        .unwrap_or(Self::No)
    }

    /// The line has to end there.
    fn then_end(self) -> Self {
        match self {
            Self::Yes([]) => Self::Short,
            Self::Yes([b'\n' | b'\r' | b' ', ..]) | Self::Short => self,
            Self::Yes(_) | Self::No => Self::No,
        }
    }

    fn sign(self, yes: Sign) -> Sign {
        match self {
            Self::Yes(_) => yes,
            Self::Short => Sign::Short,
            Self::No => Sign::None,
        }
    }
}

trait InLine {
    /// Without the room at the beginning, as far as the line goes.
    fn trim_ascii_start_in_line(&self) -> &Self;
}

impl InLine for [u8] {
    fn trim_ascii_start_in_line(&self) -> &Self {
        let room = self.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        &self[room..]
    }
}

/// How a line with the text of an event begins.
const DATA: &[u8] = b"data:";

/// Where the beginning of a line is longer than this and says nothing, its event is gathered.
const LONGEST_SIGN: usize = 128;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::outcome::UpstreamError::{self, InvalidApiKey, Other, Quota, Scope};

    fn read(content: Content, encoding: Encoding, pieces: &[&[u8]]) -> Option<ErrorReading> {
        let mut reader = AnswerReader::new(StatusCode::OK, content, encoding)?;
        for piece in pieces {
            reader.push(&Bytes::copy_from_slice(piece), false);
        }
        let told = reader.finish();
        if let [whole] = pieces {
            let mut reader = AnswerReader::new(StatusCode::OK, content, encoding)?;
            reader.push(&Bytes::copy_from_slice(whole), true);
            assert_eq!(reader.finish(), told, "it is known to be the last piece");
        }
        told
    }

    /// However its bytes are split, it says the same.
    #[track_caller]
    fn check(content: Content, text: &str, expected: Option<UpstreamError>) {
        let class = |pieces: &[&[u8]]| read(content, Encoding::Identity, pieces).map(|reading| reading.class);
        let text = text.as_bytes();
        assert_eq!(class(&[text]), expected, "{}", String::from_utf8_lossy(text));
        for at in 0..text.len() {
            assert_eq!(class(&[&text[..at], &text[at..]]), expected, "split at {at}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(class(&bytes), expected, "byte by byte");
    }

    const CHUNK: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[]}\n\n";

    #[test]
    fn errors_in_streams() {
        for (event, expected) in [
            (r#"data: {"error":{"message":"…","code":"invalid_api_key"}}"#, InvalidApiKey),
            (r#"data:{ "error" : {"code":"invalid_api_key"} }"#, InvalidApiKey),
            (r#"data: {"type":"error","code":"invalid_api_key","message":"…"}"#, InvalidApiKey),
            (r#"data: {"type": "error", "error": {"code": "missing_scope"}}"#, Scope),
            ("event: error\ndata: {\"code\":\"invalid_api_key\"}", InvalidApiKey),
            ("event: error\r\ndata: {\"message\":\"…\",\"code\":\"invalid_api_key\"}\r", InvalidApiKey),
            ("event:error\ndata: no", Other),
            (
                "data: {\ndata:   \"error\": {\ndata:     \"code\": \"invalid_api_key\"\ndata:   }\ndata: }",
                InvalidApiKey,
            ),
            (
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"insufficient_quota\"}}}",
                Quota,
            ),
            ("id: 7\n: a comment\nevent: error\nretry: 1\ndata: {\"code\":\"invalid_api_key\"}", InvalidApiKey),
            (r#"data: {"object":"error","code":"invalid_api_key"}"#, InvalidApiKey),
            (
                r#"data: {"code":"invalid_api_key","message":"…","param":null,"sequence_number":3,"type":"error"}"#,
                InvalidApiKey,
            ),
            (r#"data: {"event_id":"e","type":"error","error":{"code":"invalid_api_key"}}"#, InvalidApiKey),
            (r#"data:{"status_code": 401, "error":{"code":"odd"}}"#, Other),
            (r#"data: {"message":"…","object":"error","code":"invalid_api_key"}"#, InvalidApiKey),
        ] {
            check(Content::Events, &format!("{event}\n\n"), Some(expected));
            check(Content::Events, &format!("{CHUNK}{event}\n\n{CHUNK}data: [DONE]\n\n"), Some(expected));
            check(Content::Events, &format!("\u{feff}{event}"), Some(expected));
        }
        let room = " ".repeat(2 * LONGEST_SIGN);
        check(
            Content::Events,
            &format!("data:{room}{{\"error\":{{\"code\":\"invalid_api_key\"}}}}\n"),
            Some(InvalidApiKey),
        );
        let returns = format!("{CHUNK}event: error\ndata: {{\"code\":\"invalid_api_key\"}}\n\n").replace('\n', "\r");
        check(Content::Events, &returns, Some(InvalidApiKey));
        check(Content::Events, &returns.replace('\r', "\r\n"), Some(InvalidApiKey));
        let server = "data: {\"error\":{\"code\":\"server_error\"}}\n\n";
        let invalid = "data: {\"error\":{\"code\":\"invalid_api_key\"}}\n\n";
        check(Content::Events, &format!("{server}{invalid}{server}"), Some(InvalidApiKey));
        check(Content::Events, server, Some(Other));
    }

    #[test]
    fn streams_without_an_error() {
        let room = " ".repeat(2 * LONGEST_SIGN);
        for text in [
            &*format!("event:{room}error\ndata: {{}}\n\n"),
            &format!("data:{room}{{\"id\":1}}\n\n"),
            CHUNK,
            "data: [DONE]\n\n",
            "data: {\"error\":null}\n\n",
            "event: errors\ndata: {\"code\":\"invalid_api_key\"}\n\n",
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n",
            // Said by the model.
            "data: {\"delta\":\"data: {\\\"error\\\":{\\\"code\\\":\\\"invalid_api_key\\\"}}\"}\n\n",
            "\n\n\r\n",
            "data",
            "",
        ] {
            check(Content::Events, text, None);
        }
    }

    #[test]
    fn only_what_begins_like_an_error_is_gathered() {
        let suspects = |text: &str| {
            let gathered = |pieces: &mut dyn Iterator<Item = &[u8]>| {
                let mut events = EventStream::default();
                pieces.for_each(|piece| events.push(piece));
                events.suspects()
            };
            let text = text.as_bytes();
            let whole = gathered(&mut [b"\n", text].into_iter());
            assert_eq!(gathered(&mut text.chunks(1)), whole);
            whole
        };
        for first in [
            "id",
            "choices",
            "created",
            "model",
            "delta",
            "content_index",
            "sequence_number",
            "response",
            "provider",
            "s",
            "",
        ] {
            assert_eq!(suspects(&format!("data: {{\"{first}\":1}}\n\n")), 0, "{first}");
        }
        for first in
            ["error", "code", "message", "msg", "detail", "details", "status", "status_code", "param", "success"]
        {
            assert_eq!(suspects(&format!("data: {{\"{first}\":1}}\n\n")), 1, "{first}");
            assert_eq!(suspects(&format!("data:{{ \"{first}\":1}}\n\n")), 1, "{first}");
        }
    }

    #[test]
    fn errors_in_json() {
        check(Content::Json, r#"{"error":{"message":"…","code":"invalid_api_key"}}"#, Some(InvalidApiKey));
        check(Content::Json, r#"{"id":"r","status":"failed","error":{"code":"insufficient_quota"}}"#, Some(Quota));
        check(Content::Json, r#"{"error":{"message":"User not found.","code":401}}"#, Some(UpstreamError::Denied));
        check(Content::Json, r#"{"id":"r","error": null,"output":[{"text":"the \"error\":{}"}]}"#, None);
        check(Content::Json, r#"{"output":[{"error":{"code":"invalid_api_key"}}]}"#, None);
        check(Content::Json, r#"{"id":"r"}"#, None);
        check(Content::Json, "", None);
        let long = format!(r#"{{"error":{{"code":"invalid_api_key"}},"text":"{}"}}"#, "a".repeat(2 * BOUND));
        let halves = [&long.as_bytes()[..BOUND - 7], &long.as_bytes()[BOUND - 7..]];
        let reading = read(Content::Json, Encoding::Identity, &halves);
        assert_eq!(reading.map(|reading| reading.class), Some(InvalidApiKey));
        let late = format!(r#"{{"text":"{}","error":{{"code":"invalid_api_key"}}}}"#, "a".repeat(BOUND));
        assert_eq!(read(Content::Json, Encoding::Identity, &[late.as_bytes()]), None);
    }

    #[test]
    fn of_encoded_answers_the_beginning_is_read() {
        let gzip = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        };
        let error = "data: {\"error\":{\"code\":\"invalid_api_key\"}}\n\n";
        let text = format!("{}{error}", CHUNK.repeat(100));
        let class = |content, body: &[u8]| {
            let pieces: Vec<_> = body.chunks(7).collect();
            read(content, Encoding::Gzip, &pieces).map(|reading| reading.class)
        };
        assert_eq!(class(Content::Events, &gzip(text.as_bytes())), Some(InvalidApiKey));
        let text = format!("{}{error}", CHUNK.repeat(1000));
        assert_eq!(class(Content::Events, &gzip(text.as_bytes())), None, "it is too far off");
        assert_eq!(class(Content::Json, &gzip(br#"{"error":{"code":"invalid_api_key"}}"#)), Some(InvalidApiKey));
    }

    #[test]
    fn what_is_read_of_each_answer() {
        let reads = |status: u16, content, encoding| {
            AnswerReader::new(StatusCode::from_u16(status).expect("a status"), content, encoding).is_some()
        };
        assert!(reads(401, Content::Other, Encoding::Unknown) && reads(200, Content::Json, Encoding::Brotli));
        assert!(!reads(200, Content::Other, Encoding::Identity) && !reads(200, Content::Events, Encoding::Unknown));
        assert!(!reads(304, Content::Json, Encoding::Identity));
        for (value, expected) in [
            ("application/json", Content::Json),
            ("Application/JSON; charset=utf-8", Content::Json),
            ("application/problem+json", Content::Json),
            ("text/event-stream", Content::Events),
            ("text/event-stream;charset=UTF-8", Content::Events),
            ("audio/mpeg", Content::Other),
            ("", Content::Other),
        ] {
            assert_eq!(Content::read(Some(value.as_bytes())), expected, "{value}");
        }
    }

    #[test]
    fn a_stream_says_that_nothing_follows() {
        for (text, expected) in [
            ("data: [DONE]\n\n", true),
            ("data:[DONE]\r\n\r\n", true),
            ("data: [DONE]", false),
            ("data: [DONE]!\n\n", false),
            ("data: \"[DONE]\"\n\n", false),
            (CHUNK, false),
        ] {
            for at in 0..text.len() {
                let mut reader =
                    AnswerReader::new(StatusCode::OK, Content::Events, Encoding::Identity).expect("a reader");
                for piece in [CHUNK, &text[..at], &text[at..]] {
                    reader.push(&Bytes::copy_from_slice(piece.as_bytes()), false);
                }
                assert_eq!(reader.is_done(), expected, "{text} split at {at}");
            }
        }
    }

    #[test]
    fn an_endless_line_takes_no_room() {
        for begin in ["data: {\"id\":\"", "data:", "event:", "data: {\"error\":\"", "event: error\ndata: "] {
            let mut events = EventStream::default();
            events.push(begin.as_bytes());
            (0..1000).for_each(|_| events.push(&[b' '; 1000]));
            let text = events.suspect.as_ref().map_or(0, |suspect| suspect.text.len());
            assert!(events.held.len() <= LONGEST_SIGN && text <= BOUND, "{begin}: {} {text}", events.held.len());
        }
    }

    proptest! {
        #[test]
        fn a_stream_says_the_same_however_it_is_split(
            lines in prop::collection::vec(line(), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = lines.concat();
            let whole = read(Content::Events, Encoding::Identity, &[text.as_bytes()]);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|ends| &text.as_bytes()[ends[0]..ends[1]]).collect();
            prop_assert_eq!(read(Content::Events, Encoding::Identity, &pieces), whole);
        }
    }

    fn line() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "\n",
            "\r\n",
            "data: {\"error\":{\"code\":\"invalid_api_key\"}}\n",
            "data: {\"type\":\"error\"}\n",
            "data: {\"type\" : \"response.failed\"}\r\n",
            "data: {\"type\":\"other\"}\n",
            "data: {\n",
            "data: \"error\":{\"code\":\"insufficient_quota\"}}\n",
            "data:\n",
            "event: error\n",
            "event: error\r",
            "\r",
            "event: err\n",
            "event:",
            "da",
            "x\n",
        ])
    }
}
