//! The stream of a connection to upstream in HTTP/1.1: it counts what is read, and still reads an answer after upstream has
//! stopped reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dead_peer::DeadPeerCheck;
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::UpstreamStream;

/// A stream that counts what is read of it.
///
/// What upstream no longer takes is thrown away, and the write succeeds: an upstream that does not want the rest of an upload
/// answers and closes, and its answer can still be read. Where there is no answer, reading fails.
pub struct UpstreamIo {
    stream: UpstreamStream,
    read: u64,
    is_closed_for_writing: bool,
    dead_peer: DeadPeerCheck,
}

impl UpstreamIo {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(stream: UpstreamStream, coarse_clock: CoarseClock) -> Self {
        Self { stream, read: 0, is_closed_for_writing: false, dead_peer: DeadPeerCheck::new(coarse_clock) }
    }

    /// How many bytes were read so far.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Whether upstream takes nothing more. Its answer still counts, but it gets no further request.
    #[must_use]
    pub fn is_closed_for_writing(&self) -> bool {
        self.is_closed_for_writing
    }

    /// The stream, without what was known of it.
    #[must_use]
    pub fn into_inner(self) -> UpstreamStream {
        self.stream
    }

    /// The result of a write of that much.
    fn settle<T>(&mut self, write: Poll<io::Result<T>>, all: T) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = &write else { return write };
        if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            self.is_closed_for_writing = true;
        }
        if self.is_closed_for_writing { Poll::Ready(Ok(all)) } else { write }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if poll.is_pending() {
            return this
                .dead_peer
                .check(this.stream.below().tcp())
                .map_or(Poll::Pending, |loss| Poll::Ready(Err(loss)));
        }
        this.read += (buffer.filled().len() - before) as u64;
        poll
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_closed_for_writing {
            return Poll::Ready(Ok(bytes.len()));
        }
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.settle(write, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = || slices.iter().map(|slice| slice.len()).sum();
        if self.is_closed_for_writing {
            return Poll::Ready(Ok(all()));
        }
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if matches!(write, Poll::Ready(Err(_))) { self.settle(write, all()) } else { write }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closed_for_writing {
            return Poll::Ready(Ok(()));
        }
        let flush = Pin::new(&mut self.stream).poll_flush(cx);
        self.settle(flush, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::stream::Stream;

    #[tokio::test]
    async fn an_upstream_that_takes_nothing_more_is_still_read_and_not_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (mut peer, _) = listener.accept().await.expect("a connection");
        let mut stream = UpstreamIo::new(Stream::Plain(Stream::Plain(stream)), CoarseClock::new());
        stream.write_all(b"unread").await.expect("it is there");
        assert!(!stream.is_closed_for_writing());
        peer.write_all(b"enough").await.expect("it is there");
        // With something unread, which resets the connection.
        drop(peer);
        while !stream.is_closed_for_writing() {
            stream.write_all(b"more").await.expect("it is thrown away");
        }
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.expect("what was said before");
        assert_eq!(&answer, b"enough");
    }
}
