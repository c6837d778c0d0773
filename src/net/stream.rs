//! A stream with or without TLS around it, to a client or to upstream.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client;
use tokio_rustls::server::TlsStream;

use super::protocol::{HTTP_2, Protocol};

/// A stream to a client.
pub type ClientStream = Stream<TlsStream<TcpStream>>;

/// Plain or TLS, by the stream of that side: a server's or a client's. Below it is TCP, or what a proxy leads through.
pub enum Stream<T, P = TcpStream> {
    Plain(P),
    /// TLS, boxed since it is forty times as large.
    Tls(Box<T>),
}

impl ClientStream {
    /// The TCP connection below it.
    pub fn into_tcp(self) -> TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.into_inner().0,
        }
    }

    /// Whether the client and keyward have agreed on HTTP/2 (RFC 7301).
    pub fn is_for_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
        }
    }
}

impl Stream<client::TlsStream<TcpStream>> {
    /// The TCP connection below it.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl<P> Stream<client::TlsStream<P>, P> {
    /// The stream that the bytes go over as they are on the wire.
    pub fn below(&self) -> &P {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The protocol that both sides have agreed on, or `wanted` where there was no TLS to agree in.
    pub fn protocol(&self, wanted: Protocol) -> Protocol {
        match self {
            Self::Plain(_) => wanted,
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) => Protocol::Http2,
            Self::Tls(_) => Protocol::Http1,
        }
    }
}

impl<T: AsyncRead + Unpin, P: AsyncRead + Unpin> AsyncRead for Stream<T, P> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<T: AsyncWrite + Unpin, P: AsyncWrite + Unpin> AsyncWrite for Stream<T, P> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => {
                let mut room = [MaybeUninit::uninit(); SMALL];
                match join(slices, &mut ReadBuf::uninit(&mut room)) {
                    Some(bytes) => Pin::new(stream).poll_write(cx, bytes),
                    None => Pin::new(stream).poll_write_vectored(cx, slices),
                }
            }
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

// === RewoundStream ===

/// A stream with bytes that were read already, to be read again.
pub struct RewoundStream<S> {
    read: Bytes,
    stream: S,
}

impl<S> RewoundStream<S> {
    /// A stream that gives `read` first, and then what comes over `stream`.
    pub fn new(read: Bytes, stream: S) -> Self {
        Self { read, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RewoundStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// Implements writing for a stream that changes only how it is read.
macro_rules! write_through {
    ($wrapper:ident) => {
        impl<S: AsyncWrite + Unpin> AsyncWrite for $wrapper<S> {
            fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.stream).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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
    };
}

pub(crate) use write_through;

write_through!(RewoundStream);

/// Slices that are small together, as one: a head and a short body. Sending one costs the kernel less than a list of two.
fn join<'b>(slices: &[io::IoSlice<'_>], room: &'b mut ReadBuf<'_>) -> Option<&'b [u8]> {
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > room.remaining() {
        return None;
    }
    for slice in slices {
        room.put_slice(slice);
    }
    Some(room.filled())
}

/// What is copied for less than a list of slices costs, in bytes.
const SMALL: usize = 2048;

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    #[test]
    fn only_what_is_small_together_is_joined() {
        let joined = |slices: &[&[u8]]| {
            let slices: Vec<_> = slices.iter().map(|bytes| IoSlice::new(bytes)).collect();
            join(&slices, &mut ReadBuf::new(&mut [0; SMALL])).map(<[u8]>::to_vec)
        };
        assert_eq!(joined(&[b"head", b"", b"body"]).as_deref(), Some(&b"headbody"[..]));
        assert_eq!(joined(&[&[b'a'; SMALL - 1], b"b"]).map(|bytes| bytes.len()), Some(SMALL));
        assert_eq!(joined(&[&[b'a'; SMALL], b"b"]), None);
    }
}
