//! A request as a test says it: `proxy.post("/v1/responses").key(CURRENT).body("{}").send()`.

use super::client::{Answer, Client};
use super::proxy::TestProxy;

/// A request that is still being written.
pub struct Request<'a> {
    proxy: &'a TestProxy,
    method: &'a str,
    target: &'a str,
    headers: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl TestProxy {
    pub fn get<'a>(&'a self, target: &'a str) -> Request<'a> {
        self.request("GET", target)
    }

    pub fn post<'a>(&'a self, target: &'a str) -> Request<'a> {
        self.request("POST", target)
    }

    pub fn request<'a>(&'a self, method: &'a str, target: &'a str) -> Request<'a> {
        Request { proxy: self, method, target, headers: Vec::new(), body: None }
    }
}

impl Request<'_> {
    /// With that key, as every client sends it.
    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", format!("Bearer {key}"))
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.extend([name.as_bytes(), b": ", value.as_ref(), b"\r\n"].concat());
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: keyward\r\n", self.method, self.target).into_bytes();
        bytes.extend(&self.headers);
        if let Some(body) = &self.body {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it over a connection of its own, and gives the connection.
    pub fn begin(&self) -> Client {
        let mut client = self.proxy.connect();
        client.send(self.bytes());
        client
    }

    /// Sends it over a connection of its own, and gives the answer.
    #[track_caller]
    pub fn send(&self) -> Answer {
        self.begin().answer()
    }

    /// Sends it, and gives the exchange's line in the log.
    #[track_caller]
    pub fn logged(&self) -> serde_json::Value {
        self.proxy.line(&self.send())
    }
}
