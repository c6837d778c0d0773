//! What a client begins with, where that comes in pieces: it is HTTP/1.1 or the preface of HTTP/2 (RFC 9113, 3.4), and the
//! first few bytes of one may be the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::stream::write_through;

/// A stream that holds its first bytes back until they are the whole preface, or cannot become it any more. hyper refuses a
/// part of the preface as a broken head.
pub struct PrefaceStream<S> {
    stream: S,
    is_plain: bool,
    held: Vec<u8>,
}

impl<S> PrefaceStream<S> {
    /// For a stream that was not read from yet.
    pub fn new(stream: S) -> Self {
        Self { stream, is_plain: false, held: Vec::new() }
    }

    /// The stream itself. What was held back is lost; nothing is once something was handed on.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> PrefaceStream<S> {
    /// What comes first mostly comes whole, so it is read to where it has to go and looked at there.
    fn poll_first(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.held.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let came = &buffer.filled()[before..];
            if !is_part(came) {
                self.is_plain = true;
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(came);
            buffer.set_filled(before);
        }
        while is_part(&self.held) {
            let mut room = [0; PREFACE.len()];
            let mut more = ReadBuf::new(&mut room[self.held.len()..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut more))?;
            if more.filled().is_empty() {
                break;
            }
            self.held.extend_from_slice(more.filled());
        }
        self.hand_on(buffer);
        Poll::Ready(Ok(()))
    }

    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.held.len().min(buffer.remaining());
        buffer.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.is_plain = self.held.is_empty();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_plain { Pin::new(&mut self.stream).poll_read(cx, buffer) } else { self.poll_first(cx, buffer) }
    }
}

write_through!(PrefaceStream);

/// Whether these bytes are a part of the preface, and more are to come.
fn is_part(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Written in these pieces, the first read gives at least that.
    async fn check(pieces: &[&[u8]], first: &[u8]) {
        let (mut client, stream) = tokio::io::duplex(64);
        let mut stream = PrefaceStream::new(stream);
        let writing = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let mut room = [0; 256];
        let reading = async { stream.read(&mut room).await.unwrap() };
        let ((), count) = tokio::join!(writing, reading);
        assert!(room[..count].starts_with(first), "{pieces:?}: {:?}", &room[..count]);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!([&room[..count], &rest].concat(), pieces.concat(), "nothing is lost");
    }

    #[tokio::test]
    async fn the_preface_is_whole_and_everything_else_comes_at_once() {
        for at in 1..PREFACE.len() {
            let (begin, end) = PREFACE.split_at(at);
            check(&[begin, end, b"more"], PREFACE).await;
            check(&[begin, b"?", b"more"], &[begin, b"?"].concat()).await;
            check(&[begin], begin).await;
        }
        check(&[PREFACE], PREFACE).await;
        check(&[b"POST / HTTP/1.1\r\n\r\n", b"more"], b"POST / HTTP/1.1\r\n\r\n").await;
        check(&[b"P", b"UT / HTTP/1.1\r\n\r\n"], b"PUT / HTTP/1.1\r\n\r\n").await;
        check(&[b"G", b"ET"], b"G").await;
        check(&[], b"").await;
    }
}
