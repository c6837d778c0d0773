//! What was read from a stream and not used yet. It holds a buffer only where there is something in it.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::head_reader::{HeadError, may_be_whole};

/// What was read and not used yet.
#[derive(Debug)]
pub struct Input {
    /// What comes next.
    pub bytes: Bytes,
    /// How much the next read may take, in bytes: the more, the more the last ones had to give.
    room: usize,
    /// How much of a head had come when it was found not to be whole.
    seen: usize,
    has_ended: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self { bytes: Bytes::new(), room: PIECE, seen: 0, has_ended: false }
    }
}

impl Input {
    /// Reads once, and gives the number of bytes that came: none at the end of the stream.
    ///
    /// What comes is read to the stack and copied to where it has just the room that it needs, since most pieces are small and
    /// wait for nothing. Where a lot comes, it is read to where it stays.
    pub fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.has_ended {
            return Poll::Ready(Ok(0));
        }
        let read =
            ready!(if self.room > PIECE { self.poll_bulk(stream, context) } else { self.poll_piece(stream, context) })?;
        self.has_ended = read == 0;
        if read >= self.room {
            self.room = (self.room * 4).min(BULK);
        } else if read < PIECE {
            self.room = PIECE;
        }
        Poll::Ready(Ok(read))
    }

    fn poll_piece(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        self.append(read);
        Poll::Ready(Ok(read.len()))
    }

    fn poll_bulk(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = BytesMut::with_capacity(self.room);
        let read = ready!(pin!(stream.read_buf(&mut room)).poll(context))?;
        // A large buffer is not kept for a few bytes.
        if read >= PIECE && self.bytes.is_empty() {
            self.bytes = room.freeze();
        } else {
            self.append(&room);
        }
        Poll::Ready(Ok(read))
    }

    fn append(&mut self, read: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes = Bytes::copy_from_slice(read);
        } else {
            self.bytes = [&self.bytes, read].concat().into();
        }
    }

    /// Takes a head out by `read`, where it is whole. One that is not is looked at again when its end may have come, or more than
    /// `most` bytes have: a slow one is not read anew for each of its bytes.
    pub fn take_head<T>(
        &mut self,
        most: usize,
        read: impl FnOnce(&mut Bytes) -> Result<Option<T>, HeadError>,
    ) -> Result<Option<T>, HeadError> {
        let is_worth_it = self.seen == 0 || self.bytes.len() >= most || may_be_whole(&self.bytes, self.seen);
        if self.bytes.is_empty() || !is_worth_it {
            return Ok(None);
        }
        let head = read(&mut self.bytes)?;
        self.seen = if head.is_some() { 0 } else { self.bytes.len() };
        Ok(head)
    }

    /// Whether the stream is at its end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }
}

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// How much where a lot comes, in bytes: what a client that takes nothing can have keyward hold of its answer.
const BULK: usize = 256 * 1024;
