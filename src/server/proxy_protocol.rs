//! The PROXY protocol, versions 1 and 2: a load balancer says where a connection comes from, before anything else.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a header may take. A load balancer sends it with the first packet, which may get lost a time or two.
pub const TIME_FOR_HEADER: Duration = Duration::from_secs(5);

/// Why a connection has no header that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It begins with something else.
    #[error("no PROXY header at the beginning")]
    Missing,
    /// It is longer than any that makes sense.
    #[error("the PROXY header is too long")]
    TooLong,
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The connection ended or broke before the header was whole.
    #[error("the PROXY header broke off")]
    BrokenOff(#[source] io::Error),
}

/// Reads a header, and not a byte behind it. Gives the address of the source; nothing where the load balancer speaks for
/// itself, or where the source has none.
pub async fn read_source(stream: &mut TcpStream) -> Result<Option<IpAddr>, HeaderError> {
    let mut header = Vec::new();
    read_more(stream, &mut header, SHORTEST).await?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        read_rest(stream, &mut header).await?;
        source_of_binary(&header)
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        read_line(stream, &mut header).await?;
        source_of_text(&header)
    } else {
        Err(HeaderError::Missing)
    }
}

/// A binary header says how long it is.
async fn read_rest(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), HeaderError> {
    read_more(stream, header, FIXED_PART - SHORTEST).await?;
    let length = header.last_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    if length > LONGEST_REST {
        return Err(HeaderError::TooLong);
    }
    read_more(stream, header, length).await
}

/// A text header ends with its line. What has come is looked at first, and read only as far as it belongs to the line.
async fn read_line(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), HeaderError> {
    while !header.ends_with(b"\n") {
        let mut ahead = [0; LONGEST_LINE];
        let ahead = &mut ahead[..LONGEST_LINE.saturating_sub(header.len())];
        if ahead.is_empty() {
            return Err(HeaderError::TooLong);
        }
        let came = stream.peek(ahead).await.map_err(HeaderError::BrokenOff)?;
        let of_the_line = memchr::memchr(b'\n', &ahead[..came]).map_or(came, |end| end + 1);
        // Nothing came: the connection has ended, which reading one more says as well.
        read_more(stream, header, of_the_line.max(1)).await?;
    }
    Ok(())
}

async fn read_more(stream: &mut TcpStream, header: &mut Vec<u8>, count: usize) -> Result<(), HeaderError> {
    let before = header.len();
    header.resize(before + count, 0);
    stream.read_exact(&mut header[before..]).await.map_err(HeaderError::BrokenOff)?;
    Ok(())
}

fn source_of_text(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    // The parser does not tell a space from a carriage return. There is one of these, at the end (version 1, section 2.1).
    if memchr::memchr(b'\r', header) != header.len().checked_sub(2) {
        return Err(HeaderError::Malformed);
    }
    let header = v1::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Unknown => None,
    })
}

fn source_of_binary(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let header = v2::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
        // A check of the load balancer's own, or a source that no address range could name.
        (v2::Command::Local, _) | (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

/// No header of either version is shorter: `PROXY UNKNOWN` and the end of the line.
const SHORTEST: usize = 15;

/// What every binary header has: at its end stands the length of the rest.
const FIXED_PART: usize = 16;

/// The longest text header there can be.
const LONGEST_LINE: usize = 107;

/// The most that a binary header may announce behind its fixed part: addresses take up to 216, the rest are notes of
/// the load balancer, which are skipped.
const LONGEST_REST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_text_headers() {
        #[track_caller]
        fn check(header: &str, expected: Option<&str>) {
            let source = source_of_text(header.as_bytes()).expect("a header");
            assert_eq!(source, expected.map(|address| address.parse().expect("an address")), "{header}");
        }
        check("PROXY TCP4 203.0.113.7 10.0.0.1 65535 443\r\n", Some("203.0.113.7"));
        check("PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n", Some("2001:db8::7"));
        check("PROXY UNKNOWN\r\n", None);
        check("PROXY UNKNOWN 203.0.113.7 10.0.0.1 65535 443\r\n", None);
    }

    #[test]
    fn malformed_text_headers() {
        for header in [
            "PROXY \n",
            "PROXY UNKNOWN\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 65535\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.07 10.0.0.1 1 443\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 443\r\n",
            "PROXY TCP6 203.0.113.7 10.0.0.1 1 443\r\n",
            "PROXY  TCP4 203.0.113.7 10.0.0.1 1 443\r\n",
            "PROXY TCP5 203.0.113.7 10.0.0.1 1 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 443 \r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 443 \n",
            "PROXY UNKNOWN \n",
            "PROXY TCP4\r203.0.113.7 10.0.0.1 1 443\r\n",
            "PROXY TCP4 203.0.113.\u{fc} 10.0.0.1 1 443\r\n",
            "PROXYTCP4 203.0.113.7 10.0.0.1 1 443\r\n",
            "PROXY \r\nPROXY UNKNOWN\r\n",
        ] {
            assert!(matches!(source_of_text(header.as_bytes()), Err(HeaderError::Malformed)), "{header:?}");
        }
    }

    #[test]
    fn binary_headers() {
        #[track_caller]
        fn check(command_and_family: [u8; 2], expected: &str) {
            let rest = [[10; 4], [20; 4], [0; 4]].concat();
            let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
            let header = [v2::PROTOCOL_PREFIX, &command_and_family, &length, &rest].concat();
            let source = match source_of_binary(&header) {
                Ok(source) => source.map_or("itself".to_owned(), |source| source.to_string()),
                Err(error) => error.to_string(),
            };
            assert_eq!(source, expected, "{command_and_family:x?}");
        }
        check([0x21, 0x11], "10.10.10.10");
        check([0x20, 0x11], "itself");
        check([0x21, 0x00], "itself");
        // Not long enough for such addresses.
        check([0x21, 0x21], "the PROXY header is malformed");
        check([0x21, 0x31], "the PROXY header is malformed");
        // No such version, command, family and protocol.
        for unknown in [[0x11, 0x11], [0x22, 0x11], [0x21, 0x41], [0x21, 0x13]] {
            check(unknown, "the PROXY header is malformed");
        }
    }
}
