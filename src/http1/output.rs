//! What waits to be written to a stream: a head and small pieces in one buffer, and at most one large piece as it came. It holds
//! a buffer only while something waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::spares::Spares;

/// What waits to be written, in three parts: what was put together, a large piece as it came, and what ends that.
#[derive(Debug, Default)]
pub struct Output {
    front: Vec<u8>,
    /// How much of `front` is written.
    at: usize,
    piece: Bytes,
    back: &'static [u8],
    /// Whether the stream below may hold something back.
    is_dirty: bool,
}

impl Output {
    /// Where a head, or a few bytes, are put together. Only where [`Output::has_room`].
    pub fn front(&mut self) -> &mut Vec<u8> {
        if self.front.capacity() == 0 {
            self.front = Spares::take(&FRONTS);
        }
        &mut self.front
    }

    /// Adds a piece and what ends it. A small one is copied, so that others may follow it. Only where [`Output::has_room`].
    pub fn push(&mut self, piece: Bytes, back: &'static [u8]) {
        if piece.len() <= SMALL {
            let front = self.front();
            front.extend_from_slice(&piece);
            front.extend_from_slice(back);
        } else {
            (self.piece, self.back) = (piece, back);
        }
    }

    /// Whether something may be added before what waits is written.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.piece.is_empty() && self.back.is_empty() && self.front.len() < ENOUGH
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.piece.is_empty() && self.back.is_empty() && self.at == self.front.len()
    }

    /// Writes what waits. Ready when all of it has been handed on, to the socket.
    pub fn poll_flush(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = ready!(self.poll_write(stream, context))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_dirty = true;
            self.advance(written);
        }
        if self.is_dirty {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.is_dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, stream: &mut (impl AsyncWrite + Unpin), context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let front = &self.front[self.at..];
        if self.piece.is_empty() && self.back.is_empty() {
            return Pin::new(stream).poll_write(context, front);
        }
        let slices = [front, &self.piece, self.back].map(io::IoSlice::new);
        Pin::new(stream).poll_write_vectored(context, &slices)
    }

    fn advance(&mut self, mut written: usize) {
        let of_front = written.min(self.front.len() - self.at);
        self.at += of_front;
        if self.at == self.front.len() {
            // Whatever comes next may be long in coming.
            Spares::put(&FRONTS, std::mem::take(&mut self.front));
            self.at = 0;
        }
        written -= of_front;
        let of_piece = written.min(self.piece.len());
        self.piece.advance(of_piece);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
        }
        self.back = &self.back[(written - of_piece).min(self.back.len())..];
    }
}

thread_local!(static FRONTS: Spares<u8> = const { Spares::new() });

/// What is copied for less than a list of slices costs, in bytes.
pub const SMALL: usize = 4096;

/// How much is put together before it is written, in bytes.
const ENOUGH: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// What arrives of some pieces over a stream that takes `room` bytes at a time.
    async fn passed(pieces: &[(usize, &'static [u8])], room: usize) -> Vec<u8> {
        let (mut stream, mut other) = tokio::io::duplex(room);
        let mut output = Output::default();
        let writing = async {
            for (size, back) in pieces {
                while !output.has_room() {
                    poll_fn(|context| output.poll_flush(&mut stream, context)).await.unwrap();
                }
                output.front().extend_from_slice(b"[");
                output.push(vec![b'.'; *size].into(), back);
            }
            poll_fn(|context| output.poll_flush(&mut stream, context)).await.unwrap();
            assert!(output.is_empty() && output.has_room() && output.front.capacity() == 0);
            drop(stream);
        };
        let mut read = Vec::new();
        let reading = async { other.read_to_end(&mut read).await.unwrap() };
        tokio::join!(writing, reading);
        read
    }

    #[tokio::test]
    async fn everything_arrives_in_order_however_it_is_cut() {
        let pieces: &[(usize, &'static [u8])] =
            &[(1, b"]"), (SMALL, b"]"), (SMALL + 1, b"]"), (3 * SMALL, b""), (2, b"]]")];
        let whole: Vec<u8> =
            pieces.iter().flat_map(|(size, back)| [b"[", &vec![b'.'; *size][..], back].concat()).collect();
        for room in [1, 7, SMALL, 1 << 20] {
            assert_eq!(passed(pieces, room).await, whole, "{room}");
        }
    }
}
