//! The PROXY protocol, over a real connection: the first byte says where the rest is split, the rest is what comes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::Duration;

use keyward::server::proxy_protocol::{HeaderError, read_source};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Holds the reader of PROXY headers to its promises.
pub fn check(data: &[u8]) {
    let Some((split, sent)) = data.split_first() else { return };
    // More than that is none of a header's business, and might not fit into what the kernel keeps.
    let sent = &sent[..sent.len().min(8 << 10)];
    let (source, rest) = SURROUNDINGS.runtime.block_on(exchange(usize::from(*split), sent));
    let header = &sent[..sent.len() - rest.len()];
    assert!(sent.ends_with(&rest), "what stands behind the header is left as it came");
    match source {
        Ok(source) => check_source(source, header, sent),
        Err(HeaderError::Missing) => assert!(!sent.starts_with(BINARY) && !sent.starts_with(b"PROXY ")),
        Err(HeaderError::TooLong) => assert!(sent.len() >= 16),
        Err(HeaderError::Malformed) => assert!(sent.len() >= 15),
        Err(HeaderError::BrokenOff(_)) => assert!(rest.is_empty(), "all of it was read"),
    }
}

fn check_source(source: Option<IpAddr>, header: &[u8], sent: &[u8]) {
    if sent.starts_with(BINARY) {
        let length = usize::from(u16::from_be_bytes([sent[14], sent[15]]));
        assert_eq!(header.len(), 16 + length, "as long as it says");
        let expected = match sent[12..14] {
            [0x21, 0x10..=0x12] => Some(Ipv4Addr::from(*sent[16..].first_chunk::<4>().expect("an address")).into()),
            [0x21, 0x20..=0x22] => Some(Ipv6Addr::from(*sent[16..].first_chunk::<16>().expect("an address")).into()),
            _ => None,
        };
        assert_eq!(source, expected);
    } else {
        let line = std::str::from_utf8(header).expect("a line of text");
        let line = line.strip_suffix("\r\n").filter(|line| !line.contains(['\r', '\n'])).expect("one whole line");
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["PROXY", "TCP4", address, _, _, _] => assert_eq!(source, address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)),
            ["PROXY", "TCP6", address, _, _, _] => assert_eq!(source, address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
            ["PROXY", "UNKNOWN", ..] => assert_eq!(source, None),
            _ => panic!("{line:?} is no header"),
        }
    }
}

/// Sends the bytes in two pieces, and gives what was read as well as what was left.
async fn exchange(split: usize, sent: &[u8]) -> (Result<Option<IpAddr>, HeaderError>, Vec<u8>) {
    let (mut client, mut server) = connect().await;
    let (first, second) = sent.split_at(split.min(sent.len()));
    let speak = async {
        client.write_all(first).await.expect("room");
        tokio::task::yield_now().await;
        client.write_all(second).await.expect("room");
        client.shutdown().await.expect("an open connection");
    };
    let listen = async {
        let source = read_source(&mut server).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("an end");
        (source, rest)
    };
    tokio::join!(listen, speak).0
}

async fn connect() -> (TcpStream, TcpStream) {
    let listener = &SURROUNDINGS.listener;
    let address = listener.local_addr().expect("an address");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (client, (server, _)) = (client.expect("a client"), server.expect("a server"));
    // Otherwise the kernel would remember each connection for a minute, and soon have no ports left.
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    client.set_nodelay(true).expect("an option");
    (client, server)
}

struct Surroundings {
    runtime: Runtime,
    listener: TcpListener,
}

static SURROUNDINGS: LazyLock<Surroundings> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    Surroundings { runtime, listener }
});

/// What a binary header begins with.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
