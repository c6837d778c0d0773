//! HTTP/1.1 as bytes, for both ends: heads, and bodies piece by piece.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// What it goes over.
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Stream for server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// One end of a connection.
pub struct Connection(BufReader<Box<dyn Stream>>);

/// A head: its first line, and its fields with names in lower case.
pub struct Head {
    pub first_line: String,
    fields: Vec<(String, String)>,
}

/// A body that is being read.
pub struct Body {
    framing: Framing,
    left: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
}

impl Connection {
    pub fn new(stream: impl Stream + 'static, buffer: usize) -> Self {
        Self(BufReader::with_capacity(buffer, Box::new(stream)))
    }

    /// The next head, or nothing where the other side has closed.
    pub async fn read_head(&mut self) -> io::Result<Option<Head>> {
        let first_line = self.read_line().await?;
        if first_line.is_empty() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        loop {
            let line = self.read_line().await?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None if line == "\r\n" => return Ok(Some(Head { first_line, fields })),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Reads a piece of a body; false at its end.
    pub async fn read_piece(&mut self, body: &mut Body, piece: &mut Vec<u8>) -> io::Result<bool> {
        piece.clear();
        if body.left == 0 && (body.framing == Framing::Length || !self.read_chunk_size(body).await?) {
            return Ok(false);
        }
        let there = self.0.fill_buf().await?;
        let length = usize::try_from(body.left).unwrap_or(usize::MAX).min(there.len());
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.extend_from_slice(&there[..length]);
        self.0.consume(length);
        body.left -= length as u64;
        if body.left == 0 && body.framing == Framing::Chunked {
            self.expect_line_end().await?;
        }
        Ok(true)
    }

    /// The next chunk's size; false where it is the last one.
    async fn read_chunk_size(&mut self, body: &mut Body) -> io::Result<bool> {
        let line = self.read_line().await?;
        body.left = u64::from_str_radix(line.trim_end(), 16).map_err(|_not_hex| io::ErrorKind::UnexpectedEof)?;
        if body.left == 0 {
            self.expect_line_end().await?;
            // A second call gets the same answer.
            body.framing = Framing::Length;
        }
        Ok(body.left > 0)
    }

    async fn expect_line_end(&mut self) -> io::Result<()> {
        if self.read_line().await? == "\r\n" { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        Ok(line)
    }

    pub async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(bytes).await.map(drop)
    }

    /// Whether the other side has closed, with nothing more to read.
    pub async fn has_closed(&mut self) -> bool {
        self.0.fill_buf().await.is_ok_and(<[u8]>::is_empty)
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes).await?;
        self.0.get_mut().flush().await
    }

    pub async fn write_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await
    }

    pub async fn write_last_chunk(&mut self) -> io::Result<()> {
        self.write(b"0\r\n\r\n").await
    }

    /// Has the other side see a reset when this end is dropped.
    pub fn break_when_dropped(&self) -> io::Result<()> {
        socket2::SockRef::from(self.0.get_ref().socket()).set_linger(Some(std::time::Duration::ZERO))
    }
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer.
    pub fn status(&self) -> io::Result<u16> {
        let status = self.first_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::Error::other(format!("no status in {:?}", self.first_line)))
    }

    /// The body behind it.
    pub fn body(&self) -> Body {
        if self.field("transfer-encoding").is_some() {
            return Body { framing: Framing::Chunked, left: 0 };
        }
        let length = self.field("content-length").and_then(|length| length.parse().ok());
        Body { framing: Framing::Length, left: length.unwrap_or(0) }
    }

    /// Whether the connection ends with this message.
    pub fn is_last(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}
