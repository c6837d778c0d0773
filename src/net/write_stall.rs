//! A client that does not take what is there for it, and how that is noticed although hyper does the writing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::coarse_clock::{self, Pulse};

/// Since when a stream takes nothing of what is there for it.
#[derive(Clone)]
pub struct Stall {
    since: Arc<AtomicU64>,
    pulse: Pulse,
}

impl Stall {
    /// Not at all so far.
    #[must_use]
    pub fn new(pulse: Pulse) -> Self {
        Self { since: Arc::new(AtomicU64::new(NONE)), pulse }
    }

    /// Whether it has gone on for `limit`.
    #[must_use]
    pub fn is_past(&self, limit: Duration) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since != NONE && self.pulse.is_past(since, limit)
    }

    /// Waits until it has gone on for `limit`. For a stream whose pulse nobody else keeps going.
    pub async fn lasts(&self, limit: Duration) {
        while !self.is_past(limit) {
            tokio::time::sleep(coarse_clock::interval(limit)).await;
            self.pulse.tick();
        }
    }

    /// From now on.
    pub fn begin(&self) {
        self.since.store(self.pulse.millis(), Ordering::Relaxed);
    }

    /// No longer.
    pub fn end(&self) {
        self.since.store(NONE, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.since.load(Ordering::Relaxed) != NONE
    }

    fn note<T>(&self, write: &Poll<T>) {
        if self.is_on() != write.is_pending() {
            if write.is_pending() { self.begin() } else { self.end() }
        }
    }
}

/// A stream whose stall is noted.
pub struct Watched<S> {
    stream: S,
    stall: Stall,
}

impl<S> Watched<S> {
    /// Notes in `stall`.
    pub fn new(stream: S, stall: Stall) -> Self {
        Self { stream, stall }
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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

/// A stream on which something moves or not, and when it did last, in either direction.
pub struct Moving<S> {
    stream: S,
    pulse: Pulse,
    moved: Arc<AtomicU64>,
}

impl<S> Moving<S> {
    /// Gives that time of the pulse as well.
    pub fn new(stream: S, pulse: Pulse) -> (Self, Arc<AtomicU64>) {
        let moved = Arc::new(AtomicU64::new(pulse.millis()));
        (Self { stream, pulse, moved: Arc::clone(&moved) }, moved)
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        if poll.is_ready() {
            self.moved.store(self.pulse.millis(), Ordering::Relaxed);
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
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

/// No time of the pulse.
const NONE: u64 = u64::MAX;
