//! Conversations in messages, as with OpenAI's Realtime API: each side sends when it has heard the other.

use std::io;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::load::{Client, head};
use crate::websocket::{self, NONCE};

/// Opens a WebSocket and has upstream echo messages; counts messages, one that goes there and comes back twice.
pub async fn messages(proxy: SocketAddr, end: Instant) -> io::Result<f64> {
    let mut client = Client::connect(proxy).await?;
    let opening = format!("upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {NONCE}\r\n");
    client.send(&head("GET", "/v1/realtime?model=gpt-realtime", "Upgrade", &opening, 0), b"").await?;
    client.read_head_of("101").await?;
    let mut heard = Vec::new();
    let mut done = 0.0;
    while Instant::now() < end {
        websocket::send(&mut client.0, MESSAGE.as_bytes(), Some(MASK)).await?;
        websocket::receive(&mut client.0, &mut heard).await?;
        if heard != MESSAGE.as_bytes() {
            return Err(io::Error::other("a message came back as another one"));
        }
        done += 2.0;
    }
    Ok(done)
}

/// A piece of an answer, of 200 bytes.
const MESSAGE: &str = "{\"type\":\"response.output_text.delta\",\"event_id\":\"event_4f2a9c1e7b\",\"response_id\":\"resp_0c1d2e3f4a5b\",\"item_id\":\"item_7a8b9c0d1e2f\",\"output_index\":0,\"content_index\":0,\"delta\":\" the quick brown fox is\"}";

/// Always the same: masks protect caches from scripts, and here are neither.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
