//! Short ways to ask a keyward that is a process of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::support::{Answer, Client};

/// A `GET` on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, path, &[])
}

/// The same with headers.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    Client::connect(address).ask(path, headers)
}

/// The same with a key.
#[track_caller]
pub(crate) fn ask_with(address: SocketAddr, key: &str) -> Answer {
    ask(address, "/v1/models", &[("Authorization", &format!("Bearer {key}"))])
}

impl Client {
    /// A `GET`, and its answer as far as it comes.
    #[track_caller]
    pub(crate) fn ask(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, headers, b""));
        self.read()
    }
}

/// A request as a client writes it.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: keyward\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}
