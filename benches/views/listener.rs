//! The admin listener of the keyward that is asked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

#[derive(Clone)]
pub struct Listener {
    pub address: SocketAddr,
    pub token: String,
}

impl Listener {
    /// The answer to that, which has to be a good one.
    pub fn get(&self, target: &str) -> String {
        let answer = self.try_get(target).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {}", answer.lines().next().unwrap_or_default());
        answer
    }

    /// What comes, whatever it is.
    pub fn try_get(&self, target: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let (address, token) = (self.address, &self.token);
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
