//! One request in HTTP/1.1 over a connection of its own, for what keyward asks by itself: n8n, upstream and its own admin
//! listener.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::response::Parts;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer whose head is there. Its body comes as it is asked for.
pub struct Answer<S: AsyncRead + AsyncWrite + Unpin> {
    pub head: Parts,
    body: Incoming,
    connection: Connection<S>,
}

/// Sends the request over `stream`, and waits for the head of its answer.
pub async fn send<S>(stream: S, request: Request<String>) -> hyper::Result<Answer<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Connection { moving: Some(connection), fault: None };
    let (head, body) = connection.during(sender.send_request(request)).await?.into_parts();
    Ok(Answer { head, body, connection })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Answer<S> {
    /// The next bytes of the body, or nothing at its end. Trailers are passed over.
    pub async fn next_piece(&mut self) -> hyper::Result<Option<Bytes>> {
        self.connection.during(next_data(&mut self.body)).await
    }

    /// Reads the body to its end, but stops once it has more than `enough` bytes.
    pub async fn read_body(&mut self, enough: usize) -> hyper::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() <= enough
            && let Some(piece) = self.next_piece().await?
        {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

// === Connection ===

/// What moves the bytes while an answer is waited for.
struct Connection<S: AsyncRead + AsyncWrite + Unpin> {
    /// Until it has ended. That may be a moment before what came over it is read to its end.
    moving: Option<http1::Connection<TokioIo<S>, String>>,
    /// Why it has ended, if not well.
    fault: Option<hyper::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits for what comes over the connection. Where both fail, the connection knows why.
    async fn during<T>(&mut self, coming: impl Future<Output = hyper::Result<T>>) -> hyper::Result<T> {
        let mut coming = pin!(coming);
        let came = poll_fn(|context| {
            self.advance(context);
            coming.as_mut().poll(context)
        })
        .await;
        came.map_err(|error| self.fault.take().unwrap_or(error))
    }

    fn advance(&mut self, context: &mut Context<'_>) {
        let Some(moving) = &mut self.moving else { return };
        if let Poll::Ready(ended) = Pin::new(moving).poll(context) {
            (self.moving, self.fault) = (None, ended.err());
        }
    }
}

async fn next_data(body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// What keyward calls itself in a request of its own.
pub const USER_AGENT: &str = concat!("keyward/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// A listener takes a request and says those words, one after the other.
    async fn asked<T>(words: &[&[u8]], ask: impl AsyncFnOnce(TcpStream) -> T) -> io::Result<T> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let asking = async { io::Result::Ok(ask(TcpStream::connect(address).await?).await) };
        let answering = async {
            let (mut client, _) = listener.accept().await?;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                client.read_buf(&mut request).await?;
            }
            for word in words {
                // A client that has read enough is gone.
                if client.write_all(word).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            io::Result::Ok(())
        };
        let (asked, answered) = tokio::join!(asking, answering);
        answered.and(asked)
    }

    /// Status and body; so much of the body is enough.
    async fn read(stream: TcpStream, enough: usize) -> hyper::Result<(u16, Vec<u8>)> {
        let mut answer = send(stream, Request::new(String::new())).await?;
        Ok((answer.head.status.as_u16(), answer.read_body(enough).await?))
    }

    async fn whole(words: &[&[u8]]) -> io::Result<hyper::Result<(u16, Vec<u8>)>> {
        asked(words, async |stream| read(stream, usize::MAX).await).await
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_however_it_comes() -> Outcome {
        let counted: &[&[u8]] = &[b"HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\nab", b"cd", b"ef"];
        let until_closed: &[&[u8]] = &[b"HTTP/1.1 404 Not Found\r\n", b"\r\nabc", b"def"];
        let with_trailers: &[&[u8]] = &[
            b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n3\r\nabc\r\n",
            b"3\r\ndef\r\n0\r\nx: y\r\n\r\n",
        ];
        for words in [counted, until_closed, with_trailers] {
            assert_eq!(whole(words).await??, (404, b"abcdef".to_vec()));
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_came_is_read_though_the_connection_has_ended() -> Outcome {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\nconnection: close\r\n\r\n";
        let large = [head.as_slice(), &vec![b'a'; 300_000]];
        let read = asked(&large, async |stream| {
            let mut answer = send(stream, Request::new(String::new())).await?;
            let mut count = 0;
            while let Some(piece) = answer.next_piece().await? {
                // The listener closes meanwhile.
                tokio::task::yield_now().await;
                count += piece.len();
            }
            hyper::Result::Ok((count, answer.connection.moving.is_none(), answer.next_piece().await?))
        });
        assert_eq!(read.await??, (300_000, true, None));
        Ok(())
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none() -> Outcome {
        let in_a_body = whole(&[b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc"]).await?;
        let in_a_chunk = whole(&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabc"]).await?;
        let in_the_head = whole(&[b"HTTP/1.1 200 OK\r\ncontent-le"]).await?;
        let before_it = whole(&[]).await?;
        let no_http = whole(&[b"SSH-2.0-OpenSSH_9.6\r\n\r\n"]).await?;
        assert!(in_a_body.is_err() && in_a_chunk.is_err(), "{in_a_body:?} {in_a_chunk:?}");
        assert!(in_the_head.is_err_and(|error| error.is_incomplete_message()));
        assert!(before_it.is_err_and(|error| error.is_incomplete_message()));
        assert!(no_http.is_err_and(|error| error.is_parse()));
        Ok(())
    }

    #[tokio::test]
    async fn what_came_before_a_break_is_there_piece_by_piece() -> Outcome {
        let words: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc"];
        let pieces = asked(words, async |stream| {
            let mut answer = send(stream, Request::new(String::new())).await?;
            let first = answer.next_piece().await?;
            hyper::Result::Ok((first, answer.next_piece().await.is_err()))
        });
        assert_eq!(pieces.await??, (Some(Bytes::from_static(b"abc")), true));
        Ok(())
    }

    #[tokio::test]
    async fn a_body_is_read_no_further_than_is_enough() -> Outcome {
        let endless = [b"1000\r\n".to_vec(), vec![b'a'; 0x1000], b"\r\n".to_vec()].concat();
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let words: Vec<_> = std::iter::once(head.as_slice()).chain((0..10_000).map(|_| endless.as_slice())).collect();
        let (_, bytes) = asked(&words, async |stream| read(stream, 100_000).await).await??;
        assert!((100_001..1_000_000).contains(&bytes.len()), "{}", bytes.len());
        let exact: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef"];
        assert_eq!(asked(exact, async |stream| read(stream, 6).await).await??.1, b"abcdef");
        assert_eq!(asked(exact, async |stream| read(stream, 0).await).await??.1, b"abcdef", "the first piece");
        Ok(())
    }
}
