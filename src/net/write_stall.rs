//! Detects a peer that does not take what is written to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::coarse_clock::{self, CoarseClock};

/// Since when a stream takes nothing of what is to be written.
#[derive(Clone)]
pub struct WriteStall {
    since: Arc<AtomicU64>,
    coarse_clock: CoarseClock,
}

impl WriteStall {
    /// Not at all so far.
    #[must_use]
    pub fn new(coarse_clock: CoarseClock) -> Self {
        Self { since: Arc::new(AtomicU64::new(NONE)), coarse_clock }
    }

    /// Whether it has gone on for `limit`.
    #[must_use]
    pub fn is_past(&self, limit: Duration) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since != NONE && self.coarse_clock.is_past(since, limit)
    }

    /// Waits until it has gone on for `limit`, and ticks the clock meanwhile. For a stream outside of the workers.
    pub async fn lasts(&self, limit: Duration) {
        while !self.is_past(limit) {
            tokio::time::sleep(coarse_clock::interval(limit)).await;
            self.coarse_clock.tick();
        }
    }

    /// A write waits from now on.
    pub fn begin(&self) {
        self.since.store(self.coarse_clock.millis(), Ordering::Relaxed);
    }

    /// No write waits any longer.
    pub fn end(&self) {
        self.since.store(NONE, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.since.load(Ordering::Relaxed) != NONE
    }

    /// Notes how a write went.
    pub fn note<T>(&self, write: &Poll<T>) {
        if self.is_on() != write.is_pending() {
            if write.is_pending() { self.begin() } else { self.end() }
        }
    }
}

/// A stream that notes in a [`WriteStall`] whether its writes go through.
pub struct StallWatch<S> {
    stream: S,
    stall: WriteStall,
}

impl<S> StallWatch<S> {
    /// Notes in `stall` when a write of `stream` waits, and when it goes on.
    pub fn new(stream: S, stall: WriteStall) -> Self {
        Self { stream, stall }
    }

    /// The stream, no longer watched.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallWatch<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallWatch<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.stall.note(&write);
        write
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.stall.note(&write);
        write
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream that notes when a byte last moved on it, in either direction.
pub struct ActivityWatch<S> {
    stream: S,
    coarse_clock: CoarseClock,
    moved: Arc<AtomicU64>,
}

impl<S> ActivityWatch<S> {
    /// Gives that time as well, by the coarse clock.
    pub fn new(stream: S, coarse_clock: CoarseClock) -> (Self, Arc<AtomicU64>) {
        let moved = Arc::new(AtomicU64::new(coarse_clock.millis()));
        (Self { stream, coarse_clock, moved: Arc::clone(&moved) }, moved)
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_ready() {
            self.moved.store(self.coarse_clock.millis(), Ordering::Relaxed);
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ActivityWatch<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ActivityWatch<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// No time of the clock.
const NONE: u64 = u64::MAX;
