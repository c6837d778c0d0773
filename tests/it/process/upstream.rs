//! An upstream of a test's own: a thread for each connection, an answer by script, and every request as it came.

use crate::support::{DEADLINE, eventually};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// How a request is answered: whatever is written to the stream is the answer. An error ends the connection.
type Script = dyn Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A fake upstream. Its threads end with the test's process.
pub(crate) struct Upstream {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Upstream {
    /// Answers every request with a small success.
    pub(crate) fn start() -> Self {
        Self::answering(|_, stream| stream.write_all(&answer("200 OK", b"{\"ok\":true}")))
    }

    /// Takes those keys and refuses any other, as OpenAI does.
    pub(crate) fn taking(keys: &'static [&'static str]) -> Self {
        Self::answering(move |request, stream| {
            let is_known = keys.iter().any(|key| request.header("authorization") == Some(format!("Bearer {key}")));
            stream.write_all(&if is_known {
                answer("200 OK", b"{\"ok\":true}")
            } else {
                answer("401 Unauthorized", REFUSAL)
            })
        })
    }

    /// Answers by script.
    pub(crate) fn answering(
        script: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, heard): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                thread::spawn(move || serve(stream, &*script, &heard));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came, once there are that many requests.
    #[track_caller]
    pub(crate) fn requests(&self, count: usize) -> Vec<Request> {
        eventually("requests upstream", || {
            Some(self.requests.lock().unwrap().clone()).filter(|requests| requests.len() >= count)
        })
    }
}

impl Request {
    /// The first header of that name, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let head = String::from_utf8_lossy(&self.head);
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// An answer whose length is said.
pub(crate) fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The head of an answer that comes chunk by chunk.
pub(crate) const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// One chunk of such an answer.
pub(crate) const CHUNK: &[u8] = b"6\r\ndata: \r\n";

/// Its end.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What OpenAI says of a key that it does not know.
pub(crate) const REFUSAL: &[u8] =
    br#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;

/// Holds threads until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, 2 * DEADLINE, |open| !*open).unwrap());
    }
}

/// The connection ends with the first thing that goes wrong on it.
fn serve(mut stream: TcpStream, script: &Script, heard: &Mutex<Vec<Request>>) {
    while let Some(request) = read_request(&mut stream) {
        heard.lock().unwrap().push(request.clone());
        if script(&request, &mut stream).is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend_from_slice(&byte);
    }
    let mut request = Request { head, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}
