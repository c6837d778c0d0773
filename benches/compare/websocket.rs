//! What both ends of a WebSocket need of RFC 6455: the words of the opening, and frames.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Writes one whole text message at once: with a mask where a client does it, without where a server does (RFC 6455, 5.1).
pub async fn send(stream: &mut BufReader<TcpStream>, text: &[u8], mask: Option<[u8; 4]>) -> io::Result<()> {
    let length = u16::try_from(text.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(8 + text.len());
    frame.push(FINAL | TEXT);
    frame.push(if mask.is_some() { MASKED | TWO_BYTES } else { TWO_BYTES });
    frame.extend(length.to_be_bytes());
    frame.extend(mask.iter().flatten());
    let begin = frame.len();
    frame.extend(text);
    apply(mask, &mut frame[begin..]);
    stream.get_mut().write_all(&frame).await
}

/// Reads one message such as [`send`] writes; `text` has it then.
pub async fn receive(stream: &mut BufReader<TcpStream>, text: &mut Vec<u8>) -> io::Result<()> {
    let head = [stream.read_u8().await?, stream.read_u8().await?];
    if head[0] != FINAL | TEXT || head[1] & !MASKED != TWO_BYTES {
        return Err(io::Error::other(format!("a frame begins with {head:02x?}")));
    }
    text.resize(stream.read_u16().await?.into(), 0);
    let mut mask = None;
    if head[1] & MASKED != 0 {
        stream.read_exact(mask.insert([0; 4])).await?;
    }
    stream.read_exact(text).await?;
    apply(mask, text);
    Ok(())
}

fn apply(mask: Option<[u8; 4]>, text: &mut [u8]) {
    for (byte, mask) in text.iter_mut().zip(mask.iter().flatten().cycle()) {
        *byte ^= mask;
    }
}

/// The nonce of RFC 6455, 1.3, and what a server says to it.
pub const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const FINAL: u8 = 0x80;

const TEXT: u8 = 1;

const MASKED: u8 = 0x80;

/// The length follows in two bytes: it is above 125 and below 65,536.
const TWO_BYTES: u8 = 126;
