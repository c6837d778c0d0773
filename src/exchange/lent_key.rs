//! Pure. Keeps the key that keyward put in out of what comes back: upstream, or a proxy before it, may quote it.
//!
//! | what comes back | what is looked at | where the key shows |
//! |---|---|---|
//! | a head, trailers | every value | the value is replaced |
//! | a body of status 400 and above | its first 16 KiB, decoded, before any of it goes out | an answer of keyward's own, with the same status |
//! | what may be an error in a stream of events ([`EventStream`]) | its first 16 KiB, before any of it goes out | an error of keyward's own |
//! | the same in an encoded stream | that of its first 16 KiB, decoded | the answer breaks off |
//! | anything else | nothing | it goes out |
//!
//! An error that cannot be decoded, or does not come whole, is replaced as well.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;

use super::error_body::error_event;
use crate::field_lines::FieldLines;
use crate::keys::set::Bearer;
use crate::openai::answer::EventStream;
use crate::openai::encoding::{BOUND, Encoding};

/// Why keyward keeps something of an answer back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptBack {
    /// A header shows the key.
    #[error("a header of the answer showed a part of the key that keyward had put in, so keyward replaced it")]
    Header,
    /// An error shows it.
    #[error("it showed a part of the key that keyward had put in")]
    Shown,
    /// An error cannot be decoded.
    #[error("keyward cannot decode it, so it might show a part of the key that keyward had put in")]
    Unreadable,
    /// An error did not come whole.
    #[error("it did not come whole, so it might show a part of the key that keyward had put in")]
    NotWhole,
}

/// Replaces each value that shows the key. Says whether there was one.
pub fn redact(lines: &mut FieldLines, key: &Bearer) -> bool {
    lines.replace_values(|value| key.is_shown_in(value), &HeaderValue::from_static("[redacted]")) > 0
}

/// Whether an error shows the key; nothing where all of it may go out.
#[must_use]
pub fn judge_error(text: Option<&[u8]>, key: &Bearer) -> Option<KeptBack> {
    match text {
        None => Some(KeptBack::Unreadable),
        Some(text) => key.is_shown_in(text).then_some(KeptBack::Shown),
    }
}

/// Holds back what may be an error in a stream of events, and lets it out when it is known not to show the key.
#[derive(Debug)]
pub struct EventGuard {
    key: Bearer,
    waiting: Vec<u8>,
    /// How many events that might be errors had ended when it looked last.
    suspects: u32,
    passing: Passing,
    has_replaced: bool,
}

/// What becomes of the event that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// It is held back, if it may be an error.
    Held,
    /// It is longer than what is looked at, and its beginning was replaced.
    Dropped,
    /// It is longer than what is looked at, and its beginning may go out.
    Cleared,
}

impl EventGuard {
    /// Before anything of a stream has come.
    #[must_use]
    pub fn new(key: Bearer) -> Self {
        Self { key, waiting: Vec::new(), suspects: 0, passing: Passing::Held, has_replaced: false }
    }

    /// What of the stream goes out now that `piece` has come, which `events` has read already; nothing where that is the
    /// piece as it is.
    pub fn filter(&mut self, piece: &[u8], events: &EventStream) -> Option<Bytes> {
        let is_over = !events.is_suspicious();
        let has_ended = events.suspects() != self.suspects;
        self.suspects = events.suspects();
        if is_over && !has_ended && events.undecided() == 0 && self.waiting.is_empty() && self.passing == Passing::Held
        {
            return None;
        }
        let fresh = match (std::mem::replace(&mut self.passing, Passing::Held), is_over) {
            (passing @ (Passing::Cleared | Passing::Dropped), false) => {
                self.passing = passing;
                return Some(Bytes::copy_from_slice(if passing == Passing::Cleared { piece } else { &[] }));
            }
            // The end of the event stands in this piece, with what may follow it.
            (Passing::Dropped, true) => &piece[end_of_event(piece).unwrap_or(piece.len())..],
            (Passing::Held | Passing::Cleared, _) => piece,
        };
        self.waiting.extend_from_slice(fresh);
        Some(if is_over { self.release(events.undecided(), has_ended) } else { self.release_if_long() })
    }

    /// What is left when the stream is at its end.
    pub fn finish(&mut self) -> Option<Bytes> {
        let rest = self.release(0, true);
        (!rest.is_empty()).then_some(rest)
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether an error has shown the key, or one that is under way does.
    pub fn has_seen_key(&mut self) -> bool {
        let waiting = self.waiting.clone();
        let _ = self.rewrite(waiting);
        self.has_replaced
    }

    /// All but what may still begin an error.
    fn release(&mut self, undecided: usize, has_suspect: bool) -> Bytes {
        let rest = self.waiting.split_off(self.waiting.len().saturating_sub(undecided));
        let out = std::mem::replace(&mut self.waiting, rest);
        if has_suspect { self.rewrite(out) } else { out.into() }
    }

    /// Nothing, unless what is under way is longer than what is looked at.
    fn release_if_long(&mut self) -> Bytes {
        if self.waiting.len() <= BOUND {
            return Bytes::new();
        }
        let had_replaced = std::mem::take(&mut self.has_replaced);
        let out = self.release(0, true);
        self.passing = if self.has_replaced { Passing::Dropped } else { Passing::Cleared };
        self.has_replaced |= had_replaced;
        out
    }

    /// Puts an error of keyward's own in the place of each that shows the key.
    fn rewrite(&mut self, text: Vec<u8>) -> Bytes {
        if !self.key.is_shown_in(&text) {
            return text.into();
        }
        let mut out = Vec::with_capacity(text.len());
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (event, others) = rest.split_at(end_of_event(rest).unwrap_or(rest.len()));
            rest = others;
            match self.code_of_telltale(event) {
                None => out.extend_from_slice(event),
                Some(code) => {
                    self.has_replaced = true;
                    out.extend_from_slice(&error_event(&told(KeptBack::Shown), ERROR, &code));
                }
            }
        }
        out.into()
    }

    /// What the error in the place of that event is called, if the event is an error that shows the key, or may be one and
    /// quotes the key.
    fn code_of_telltale(&self, event: &[u8]) -> Option<Cow<'static, str>> {
        if !self.key.is_shown_in(event) {
            return None;
        }
        let mut events = EventStream::default();
        // Without its end, for then it is known whether it may be one.
        events.push(event.trim_ascii_end());
        if !events.is_suspicious() {
            return None;
        }
        let reading = events.finish();
        if reading.is_none() && !self.key.is_quoted_in(event) {
            return None;
        }
        let code = reading.and_then(|reading| reading.code);
        let code = code.filter(|code| !self.key.is_shown_in(code.as_bytes()));
        Some(code.map_or(Cow::Borrowed(CODE), |code| Cow::Owned(code.into())))
    }
}

/// Follows a stream of events that is encoded, as far as it is decoded: nothing can be put in its place.
#[derive(Debug)]
pub struct EncodedGuard {
    encoding: Encoding,
    bytes: Vec<u8>,
    decoded: usize,
    events: EventStream,
    guard: EventGuard,
}

impl EncodedGuard {
    /// Before anything of a stream has come.
    #[must_use]
    pub fn new(key: Bearer, encoding: Encoding) -> Self {
        let (events, guard) = (EventStream::default(), EventGuard::new(key));
        Self { encoding, bytes: Vec::new(), decoded: 0, events, guard }
    }

    /// Takes the next piece. Says whether an error that shows the key is in it, as far as it can be decoded by now.
    pub fn is_shown_by(&mut self, piece: &[u8]) -> bool {
        let room = BOUND - self.bytes.len();
        if room == 0 {
            return false;
        }
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        let text = self.encoding.decode(&self.bytes);
        let fresh = &text[self.decoded.min(text.len())..];
        self.events.push(fresh);
        let _ = self.guard.filter(fresh, &self.events);
        self.decoded = text.len();
        self.guard.has_seen_key()
    }
}

/// Behind the empty line that ends the first event of a stream (HTML Standard, 9.2.6).
fn end_of_event(text: &[u8]) -> Option<usize> {
    let ends: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
    ends.into_iter().filter_map(|end| memchr::memmem::find(text, end).map(|at| at + end.len())).min()
}

/// What the client is told in place of an error.
#[must_use]
pub fn told(why: KeptBack) -> String {
    format!("keyward replaced upstream's error: {why}. keyward's log has what else is known of it.")
}

/// What an error in the place of upstream's is called, where upstream's own code is not known.
pub const CODE: &str = "error_replaced";

/// The type of an error of keyward's own.
pub const ERROR: &str = "keyward_error";
