//! A client that does not take what is there for it, and how that is noticed although hyper does the writing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

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

    fn note<T>(&self, write: &Poll<T>) {
        let is_stalled = self.since.load(Ordering::Relaxed) != NONE;
        if is_stalled != write.is_pending() {
            let since = if is_stalled { NONE } else { self.pulse.millis() };
            self.since.store(since, Ordering::Relaxed);
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

/// No time of the pulse.
const NONE: u64 = u64::MAX;
