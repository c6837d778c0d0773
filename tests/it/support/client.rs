//! A client that writes bytes and reads bytes.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::certificate::Certificate;
use super::stream::Stream;
use super::wire::{Framing, Head, Wire, impatient, write_until_stuck};

/// One connection to keyward.
pub struct Client(Wire<Stream<ClientConnection>>);

/// An answer, as far as it came.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 0 if none came.
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    /// Whether it came to its end, by length or last chunk; or, without either, to the end of its connection.
    pub whole: bool,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// One side of that connection.
    pub fn over(stream: TcpStream) -> Self {
        Self(Wire::new(Stream::Plain(impatient(stream))))
    }

    /// One over TLS, with a server that shows that certificate.
    pub fn secure(address: SocketAddr, certificate: &Certificate) -> io::Result<Self> {
        Self::connect(address).into_secure(certificate)
    }

    /// Speaks TLS from now on, with a server that shows that certificate.
    pub fn into_secure(self, certificate: &Certificate) -> io::Result<Self> {
        let Stream::Plain(mut tcp) = self.0.stream else { panic!("TLS is spoken already") };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut session = ClientConnection::new(Arc::new(certificate.client(&[b"http/1.1"])), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Self(Wire::new(Stream::tls(session, tcp))))
    }

    /// What both sides agreed to speak over TLS.
    pub fn protocol(&self) -> Option<&[u8]> {
        match &self.0.stream {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.conn.alpn_protocol(),
        }
    }

    /// The same, from that address of this machine.
    pub fn connect_from(own: IpAddr, address: SocketAddr) -> Self {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self(Wire::new(Stream::Plain(impatient(socket.into()))))
    }

    /// Sends these bytes. That the other side has closed already is for the answer to show.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    /// Sends these bytes. The other side has to take all of them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write(bytes)
    }

    /// Sends up to `most` bytes, as long as some are taken within that time, and says how many were.
    pub fn send_until_stuck(&self, most: usize, patience: Duration) -> usize {
        write_until_stuck(self.0.stream.tcp(), most, patience)
    }

    /// The head of the next answer, informational ones included.
    pub fn head(&mut self) -> Head {
        self.0.head().unwrap().expect("an answer")
    }

    /// The next piece of the answer's body: a chunk as it came.
    pub fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        self.0.piece(framing)
    }

    /// The next chunk, as text.
    pub fn chunk(&mut self) -> String {
        String::from_utf8(self.0.piece(&mut Framing::Chunked).unwrap().expect("a chunk")).unwrap()
    }

    /// The body that this head announces, or where it broke off.
    pub fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        self.0.body(answer_framing(head))
    }

    /// The next answer, whole.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let body = self.body(&head).expect("a whole body");
        Answer { status: status(&head), head, body, whole: true }
    }

    /// The next answer, as far as it comes.
    pub fn read(&mut self) -> Answer {
        match self.0.head() {
            Ok(Some(head)) => self.read_body(head),
            Ok(None) | Err(_) => Answer::default(),
        }
    }

    /// The rest of an answer whose head was read, as far as it comes.
    pub fn read_body(&mut self, head: Head) -> Answer {
        let (mut framing, mut body) = (answer_framing(&head), Vec::new());
        let whole = loop {
            match self.0.piece(&mut framing) {
                Ok(Some(piece)) => body.extend(piece),
                Ok(None) => break true,
                Err(_) => break framing == Framing::UntilClose,
            }
        };
        Answer { status: status(&head), head, body, whole }
    }

    /// The next answer, to HEAD: without a body, whatever its head says.
    pub fn answer_to_head(&mut self) -> Answer {
        let head = self.head();
        Answer { status: status(&head), head, body: Vec::new(), whole: true }
    }

    /// The next bytes, that many, whatever they are.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.0.body(Framing::Length(count)).expect("as many bytes")
    }

    /// The same; nothing if the connection ends before.
    pub fn try_take(&mut self, count: usize) -> Option<Vec<u8>> {
        self.0.body(Framing::Length(count)).ok()
    }

    /// Breaks the connection off, so that the other side gets an error.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(self.0.stream.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Waits until keyward closes the connection, and gives what it sent until then.
    pub fn rest(&mut self) -> Vec<u8> {
        self.0.rest()
    }

    /// The address of this side.
    pub fn address(&self) -> SocketAddr {
        self.0.stream.tcp().local_addr().unwrap()
    }

    /// Says that nothing more comes from here.
    pub fn end_sending(&self) {
        let _ = self.0.stream.tcp().shutdown(Shutdown::Write);
    }
}

impl Answer {
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.head.header(name)
    }

    /// What keyward judged the key to be.
    pub fn verdict(&self) -> &str {
        self.header("x-keyward-verdict").unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The code of an error in OpenAI's shape, whose every part has to be there.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let json = self.json();
        let error = json["error"].as_object().expect("an error");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(error["message"].is_string() && error["type"].is_string() && error["param"].is_null(), "{json}");
        error["code"].as_str().expect("a code").to_owned()
    }
}

fn status(head: &Head) -> u16 {
    head.line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn answer_framing(head: &Head) -> Framing {
    let has_none = matches!(status(head), 100..=199 | 204 | 304);
    match head.framing() {
        _ if has_none => Framing::Ended,
        Framing::Ended => Framing::UntilClose,
        told @ (Framing::Length(_) | Framing::Chunked | Framing::UntilClose) => told,
    }
}
