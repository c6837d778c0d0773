//! Pure. Following a WebSocket's frames (RFC 6455, 5) as upstream sends them: whether it took the key.
//!
//! The frames' heads are followed to the end. Of what they carry, the first four messages and a close are read, each as far
//! as 16 KiB; the first message that is no error shows that upstream took the key. What breaks the protocol, or cannot be
//! read, shows nothing, and passes on all the same.

use flate2::{Decompress, FlushDecompress, Status};

use super::encoding::BOUND;
use super::error::ErrorReading;
use super::event::{Event, Extent};

/// Follows the frames that upstream sends on a WebSocket, until they show whether it takes the key.
#[derive(Debug)]
pub struct FrameReader {
    head: Head,
    /// How much of the frame's payload is still to come.
    left: u64,
    frame: Frame,
    extension: Extension,
    inflater: Inflater,
    /// The message that is on its way, if one is.
    message: Option<Message>,
    /// What a close carries.
    close: Vec<u8>,
    /// How many messages are still to be read.
    unread: u8,
    is_lost: bool,
}

/// What the frames have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Upstream took the key.
    Accepted,
    Error(ErrorReading),
}

/// What was agreed on about what messages carry, from the answer's `Sec-WebSocket-Extensions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// It is carried as it is.
    None,
    /// It may be deflated (RFC 7692).
    Deflate {
        /// Whether each message is deflated by itself, so that it can be inflated without the ones before.
        each_by_itself: bool,
    },
    /// Something that keyward does not know.
    Unknown,
}

impl Extension {
    /// From the values of all such fields.
    #[must_use]
    pub fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut extensions =
            values.flat_map(|value| value.split(|byte| *byte == b',')).filter(|one| !one.trim_ascii().is_empty());
        let (first, others) = (extensions.next(), extensions.next());
        let Some(first) = first else { return Self::None };
        let mut parts = first.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_deflate = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"permessage-deflate"));
        if !is_deflate || others.is_some() {
            return Self::Unknown;
        }
        Self::Deflate { each_by_itself: parts.any(|part| part.eq_ignore_ascii_case(b"server_no_context_takeover")) }
    }
}

impl FrameReader {
    /// From the first byte behind the answer on.
    #[must_use]
    pub fn new(extension: Extension) -> Self {
        Self {
            head: Head::default(),
            left: 0,
            frame: Frame::Skipped,
            extension,
            inflater: Inflater::None,
            message: None,
            close: Vec::new(),
            unread: MESSAGES,
            is_lost: false,
        }
    }

    /// Takes the next bytes, and tells what they show, piece by piece.
    pub fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(Shown)) {
        let mut bytes = self.skip_messages(bytes);
        while !self.is_lost && !bytes.is_empty() {
            if self.left > 0 {
                bytes = self.take_payload(bytes);
            } else {
                bytes = match self.head.take(bytes) {
                    Some(rest) => rest,
                    None => return,
                };
                self.begin_frame();
            }
            if self.left == 0 && !self.is_lost {
                self.end_frame(&mut tell);
            }
        }
    }

    /// Skips messages that are not read, as nearly all are.
    fn skip_messages<'a>(&self, mut bytes: &'a [u8]) -> &'a [u8] {
        if self.unread == 0 && self.left == 0 && self.head.length == 0 && self.message.is_none() {
            while let Some(rest) = self.behind_message(bytes) {
                bytes = rest;
            }
        }
        bytes
    }

    /// What follows a message that is there whole, in one frame. What has to be looked at more closely is none.
    fn behind_message<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let mut head = Head::default();
        let payload = head.take(bytes)?;
        let [first, second, ..] = head.bytes;
        let may_be_deflated = matches!(self.extension, Extension::Deflate { .. });
        let kind = if may_be_deflated { first & !RSV1 } else { first };
        if !matches!(kind, WHOLE_TEXT | WHOLE_BINARY) || second & MASK != 0 {
            return None;
        }
        payload.get(usize::try_from(head.payload()?).ok()?..)
    }

    /// Whether a message was read, or none will be.
    #[must_use]
    pub fn has_read(&self) -> bool {
        self.unread < MESSAGES || self.is_lost
    }

    /// Whether all that came are whole frames, and none of them the beginning of a message.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.left == 0 && self.head.length == 0 && self.message.is_none()
    }

    fn take_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(count);
        self.left -= count as u64;
        match (self.frame, &mut self.message) {
            (Frame::OfMessage { .. }, Some(message)) => message.add(payload),
            (Frame::Close, _) => self.close.extend_from_slice(payload),
            (Frame::OfMessage { .. } | Frame::Skipped, _) => {}
        }
        rest
    }

    fn begin_frame(&mut self) {
        match self.read_head() {
            Some((frame, length)) => (self.frame, self.left) = (frame, length),
            // Nothing tells where a next frame would begin, or whether it would be read like this by the client.
            None => self.lose(),
        }
    }

    /// What the frame is, and how long; nothing where no server may send it.
    fn read_head(&mut self) -> Option<(Frame, u64)> {
        let head = std::mem::take(&mut self.head);
        let [first, second] = [head.bytes[0], head.bytes[1]];
        let (is_last, is_masked) = (first & FIN != 0, second & MASK != 0);
        let length = head.payload()?;
        if is_masked {
            return None;
        }
        let is_deflated = match (first & 0x70, self.extension) {
            (0, _) | (_, Extension::Unknown) => false,
            (RSV1, Extension::Deflate { .. }) => true,
            (_, Extension::Deflate { .. } | Extension::None) => return None,
        };
        let is_control = first & 0x08 != 0;
        if is_control && (!is_last || length > LONGEST_CONTROL || is_deflated) {
            return None;
        }
        let of_message = Frame::OfMessage { is_last };
        match (first & 0x0f, &self.message) {
            (CONTINUATION, Some(_)) if !is_deflated => Some((of_message, length)),
            (TEXT | BINARY, None) => {
                self.message = Some(Message { is_deflated, is_wanted: self.unread > 0, ..Message::default() });
                Some((of_message, length))
            }
            (CLOSE, _) => Some((Frame::Close, length)),
            (PING | PONG, _) => Some((Frame::Skipped, length)),
            _ => None,
        }
    }

    fn end_frame(&mut self, tell: &mut impl FnMut(Shown)) {
        match std::mem::replace(&mut self.frame, Frame::Skipped) {
            Frame::OfMessage { is_last: true } => {
                let message = self.message.take();
                if let Some(shown) = message.filter(|message| message.is_wanted).and_then(|message| self.read(message))
                {
                    tell(shown);
                }
            }
            Frame::Close => {
                if let Some(reading) = read_close(&self.close) {
                    tell(Shown::Error(reading));
                }
                // Nothing comes behind it.
                self.lose();
            }
            Frame::OfMessage { is_last: false } | Frame::Skipped => {}
        }
    }

    fn read(&mut self, message: Message) -> Option<Shown> {
        self.unread -= 1;
        let (text, extent) = self.plain(message);
        if self.unread == 0 {
            self.inflater = Inflater::None;
        }
        match Event::read(&text, extent) {
            Event::Error(reading) => Some(Shown::Error(reading)),
            Event::Other => Some(Shown::Accepted),
            Event::Unreadable => None,
        }
    }

    /// What a message carries; nothing of what cannot be read.
    fn plain(&mut self, message: Message) -> (Vec<u8>, Extent) {
        let extent = if message.is_cut { Extent::Cut } else { Extent::Whole };
        match self.extension {
            Extension::Deflate { each_by_itself } if message.is_deflated => {
                self.inflater.inflate(message.text, extent, each_by_itself)
            }
            // One that is not deflated is no part of what later ones look back to.
            Extension::None | Extension::Deflate { .. } => (message.text, extent),
            Extension::Unknown => (Vec::new(), Extent::Cut),
        }
    }

    fn lose(&mut self) {
        self.is_lost = true;
        self.message = None;
        self.inflater = Inflater::None;
    }
}

/// What comes of a close that says why (RFC 6455, 5.5.1). OpenAI closes with 3000, or as any server may for what breaks its
/// policy.
fn read_close(payload: &[u8]) -> Option<ErrorReading> {
    let (code, reason) = payload.split_first_chunk()?;
    let is_meant = matches!(u16::from_be_bytes(*code), 1008 | 3000);
    let reason = str::from_utf8(reason).ok().filter(|_| is_meant)?;
    ErrorReading::of_reason(reason)
}

/// The head of a frame, as far as it came.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Head {
    /// Without a mask, which no server sends.
    const LONGEST: usize = 10;

    /// What follows the head; nothing where it is not whole.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.length == 0
            && let Some(whole) = bytes.first_chunk()
        {
            self.bytes = *whole;
            self.length = 2;
            self.length = self.needed();
            return Some(&bytes[self.length..]);
        }
        let mut rest = bytes;
        while self.length < self.needed() {
            let (next, others) = rest.split_first()?;
            self.bytes[self.length] = *next;
            self.length += 1;
            rest = others;
        }
        Some(rest)
    }

    fn needed(&self) -> usize {
        match self.bytes[1] & 0x7f {
            _ if self.length < 2 => 2,
            126 => 4,
            127 => Self::LONGEST,
            _ => 2,
        }
    }

    /// How much follows; nothing where that is no number or not the shortest way to write it.
    fn payload(&self) -> Option<u64> {
        let [_, second, long @ ..] = self.bytes;
        match second & 0x7f {
            126 => Some(u64::from(u16::from_be_bytes([long[0], long[1]]))).filter(|length| *length > 125),
            127 => {
                let length = u64::from_be_bytes(long);
                (u64::from(u16::MAX) + 1..1 << 63).contains(&length).then_some(length)
            }
            short => Some(u64::from(short)),
        }
    }
}

/// What becomes of a frame's payload.
#[derive(Clone, Copy, Debug)]
enum Frame {
    OfMessage { is_last: bool },
    Close,
    Skipped,
}

/// A message, as far as it came.
#[derive(Debug, Default)]
struct Message {
    text: Vec<u8>,
    is_deflated: bool,
    is_wanted: bool,
    is_cut: bool,
}

impl Message {
    fn add(&mut self, payload: &[u8]) {
        if self.is_wanted {
            let room = BOUND - self.text.len();
            self.is_cut |= payload.len() > room;
            self.text.extend_from_slice(&payload[..payload.len().min(room)]);
        }
    }
}

/// Inflates messages, each in turn.
#[derive(Debug)]
enum Inflater {
    /// It has not begun, or begins anew with each message.
    None,
    /// It knows what later messages look back to.
    Knows(Box<Decompress>),
    /// A message was not read to its end, so that later ones cannot be.
    Lost,
}

impl Inflater {
    /// The tail of every message stays away (RFC 7692, 7.2.1).
    fn inflate(&mut self, mut deflated: Vec<u8>, extent: Extent, each_by_itself: bool) -> (Vec<u8>, Extent) {
        let mut decompress = match std::mem::replace(self, Self::None) {
            Self::None => Box::new(Decompress::new(false)),
            Self::Knows(decompress) => decompress,
            Self::Lost => {
                *self = Self::Lost;
                return (Vec::new(), Extent::Cut);
            }
        };
        if extent == Extent::Whole {
            deflated.extend_from_slice(&TAIL);
        }
        let mut text = Vec::with_capacity(BOUND);
        let begun = decompress.total_in();
        let inflated = decompress.decompress_vec(&deflated, &mut text, FlushDecompress::Sync);
        let took_all = decompress.total_in() - begun == deflated.len() as u64;
        // What has filled its room may have more to say.
        let is_all = extent == Extent::Whole && text.len() < BOUND;
        let is_whole = is_all && took_all && matches!(inflated, Ok(Status::Ok | Status::BufError));
        // A last block ends what the deflater knows (RFC 7692, 7.2.3.4); such a message is read, and no other.
        let has_ended = is_all && matches!(inflated, Ok(Status::StreamEnd));
        if !each_by_itself {
            *self = if is_whole { Self::Knows(decompress) } else { Self::Lost };
        }
        (text, if is_whole || has_ended { Extent::Whole } else { Extent::Cut })
    }
}

/// How many messages are read: OpenAI says in its first one whether it takes the key.
const MESSAGES: u8 = 4;

/// RFC 6455, 5.5.
const LONGEST_CONTROL: u64 = 125;

/// The bits beside a frame's kind and length (RFC 6455, 5.2).
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASK: u8 = 0x80;

const WHOLE_TEXT: u8 = FIN | TEXT;
const WHOLE_BINARY: u8 = FIN | BINARY;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// What a deflater that flushes ends with.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

#[cfg(test)]
mod tests;
