//! The frames of a connection to upstream in HTTP/2 (RFC 9113, 4.1), read as they come: they show what hyper does not tell.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::net::stream::write_through;

/// How much upstream may send before its answer's head is whole, in bytes: informational answers, as
/// many as it likes (RFC 9110, 15.2), and a head, whose limit is below that.
pub const MOST_BEFORE_ANSWER: u64 = 1024 * 1024;

/// A stream that follows the frames that are read from it. If upstream floods it, it ends with an error.
pub struct FrameWatch<S> {
    stream: S,
    frames: Frames,
    signs: Arc<FrameSigns>,
}

/// What the frames of a connection have shown.
#[derive(Default)]
pub struct FrameSigns {
    is_flooded: AtomicBool,
    heard: Notify,
}

impl FrameSigns {
    /// Whether upstream sent so much without an answer that keyward stops waiting for one.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.is_flooded.load(Ordering::Relaxed)
    }

    /// Waits until something was read since the last time, or the connection ended.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl<S> FrameWatch<S> {
    /// Returns its signs as well.
    pub fn new(stream: S) -> (Self, Arc<FrameSigns>) {
        let signs = Arc::new(FrameSigns::default());
        (Self { stream, frames: Frames::default(), signs: Arc::clone(&signs) }, signs)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameWatch<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if poll.is_pending() {
            return poll;
        }
        self.signs.heard.notify_one();
        if self.frames.read(&buffer.filled()[before..]).is_err() {
            self.signs.is_flooded.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::other(Flood)));
        }
        poll
    }
}

write_through!(FrameWatch);

/// Upstream sends without end what is no answer.
#[derive(Debug, thiserror::Error)]
#[error("upstream sent {MOST_BEFORE_ANSWER} bytes and no answer")]
struct Flood;

/// How far the frames of a connection are read.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    /// How much of the head is there.
    read: usize,
    /// How much of a payload is still to come.
    payload: usize,
    /// How much has come of the heads of each stream that has not ended, in bytes.
    heads: BTreeMap<u32, u64>,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let (head, rest) = bytes.split_at((HEAD - self.read).min(bytes.len()));
            self.head[self.read..self.read + head.len()].copy_from_slice(head);
            self.read += head.len();
            bytes = rest;
            if self.read == HEAD {
                self.read = 0;
                self.begin_frame()?;
            }
        }
        Ok(())
    }

    /// A head that does not end its stream is an informational one, or the answer's; trailers end it, and whatever else comes
    /// behind the answer's head does not come in HEADERS (RFC 9113, 8.1). hyper holds upstream to that.
    fn begin_frame(&mut self) -> Result<(), Flood> {
        let [length @ .., kind, flags, s1, s2, s3, s4] = self.head;
        let [l1, l2, l3] = length;
        let size = u32::from_be_bytes([0, l1, l2, l3]);
        let stream = u32::from_be_bytes([s1, s2, s3, s4]) & (u32::MAX >> 1);
        self.payload = size as usize;
        match kind {
            DATA | HEADERS if flags & END_STREAM != 0 => drop(self.heads.remove(&stream)),
            RST_STREAM => drop(self.heads.remove(&stream)),
            HEADERS | CONTINUATION => return self.count(stream, HEAD as u64 + u64::from(size)),
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, stream: u32, size: u64) -> Result<(), Flood> {
        let heads = self.heads.entry(stream).or_default();
        *heads += size;
        if *heads > MOST_BEFORE_ANSWER {
            return Err(Flood);
        }
        // keyward ends streams as well, which does not show here.
        if self.heads.len() > MOST_REMEMBERED {
            self.heads.pop_first();
        }
        Ok(())
    }
}

/// How long the head of a frame is, in bytes.
const HEAD: usize = 9;

/// For how many streams heads are counted: more than are open at a time.
const MOST_REMEMBERED: usize = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// A flag of DATA and HEADERS.
const END_STREAM: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, size: u32) -> Vec<u8> {
        let size_of = size.to_be_bytes();
        [&size_of[1..], &[kind, flags], &stream.to_be_bytes(), &vec![0xff; size as usize]].concat()
    }

    /// How many heads of that many bytes fit before an answer, and not one more.
    fn fit(size: u32) -> u64 {
        MOST_BEFORE_ANSWER / (HEAD as u64 + u64::from(size))
    }

    #[test]
    fn what_comes_before_an_answer_is_bounded_for_each_stream() {
        let mut frames = Frames::default();
        for number in 0..fit(1000) {
            let kind = if number % 2 == 0 { HEADERS } else { CONTINUATION };
            frames.read(&[frame(kind, 0, 1, 1000), frame(HEADERS, 0, 3, 10)].concat()).unwrap();
        }
        assert!(frames.read(&frame(HEADERS, 0, 1, 1000)).is_err());
    }

    #[test]
    fn bodies_and_answers_may_be_any_number() {
        let mut frames = Frames::default();
        for number in 0..3000 {
            let stream = 1 + 2 * number;
            frames.read(&frame(HEADERS, 0, stream, 1000)).unwrap();
            frames.read(&frame(DATA, 0, stream, 1000)).unwrap();
            let end =
                if number % 2 == 0 { frame(DATA, END_STREAM, stream, 1) } else { frame(RST_STREAM, 0, stream, 4) };
            frames.read(&end).unwrap();
            assert!(frames.heads.is_empty());
        }
    }

    #[test]
    fn it_does_not_matter_how_they_are_cut() {
        let flood = frame(HEADERS, 4, 5, 1).repeat(usize::try_from(fit(1)).unwrap());
        for size in [1, 2, 8, 9, 10, 11, 4096] {
            let mut frames = Frames::default();
            flood.chunks(size).for_each(|piece| frames.read(piece).unwrap());
            assert!(frames.read(&frame(HEADERS, 4, 5, 1)).is_err(), "{size}");
        }
    }

    #[test]
    fn streams_that_never_end_take_no_room() {
        let mut frames = Frames::default();
        (0..100_000).for_each(|number| frames.read(&frame(HEADERS, 0, 1 + 2 * number, 3)).unwrap());
        assert_eq!(frames.heads.len(), MOST_REMEMBERED);
    }
}
