//! Frames of a WebSocket (RFC 6455, 5.2), for both ends.

use std::io;

use crate::wire::Connection;

pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// Sends a frame: a client masks it.
pub async fn write(to: &mut Connection, opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> io::Result<()> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(masked | u8::try_from(length).map_err(io::Error::other)?),
        length => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    to.write(&frame).await
}

/// The next frame: its opcode and its payload, unmasked.
pub async fn read(from: &mut Connection) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head).await?;
    let mut long = [0; 8];
    match head[1] & 0x7f {
        127 => from.read_exact(&mut long).await?,
        126 => from.read_exact(&mut long[6..]).await?,
        short => long[7] = short,
    }
    let mut key = [0; 4];
    if head[1] & 0x80 != 0 {
        from.read_exact(&mut key).await?;
    }
    let mut payload = vec![0; usize::try_from(u64::from_be_bytes(long)).map_err(io::Error::other)?];
    from.read_exact(&mut payload).await?;
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok((head[0] & 0x0f, payload))
}
