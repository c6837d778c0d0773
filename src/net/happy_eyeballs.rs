//! A TCP connection to the first address of a name that answers.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

/// Tries each address in turn and leaves none behind: where one is silent, the next one is tried beside it (as in RFC
/// 8305), so that an address that does not answer costs a moment and not all of the time there is.
pub async fn connect_first(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        attempts.extend(waiting.next().map(|address| -> Attempt { Box::pin(TcpStream::connect(address)) }));
        if attempts.is_empty() {
            return Err(last);
        }
        match tokio::time::timeout(HEAD_START, poll_fn(|context| poll_any(&mut attempts, context))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => {}
        }
    }
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The first attempt that has ended, which is then no longer among them.
fn poll_any(attempts: &mut Vec<Attempt>, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
    for position in 0..attempts.len() {
        if let Poll::Ready(ended) = attempts[position].as_mut().poll(context) {
            drop(attempts.swap_remove(position));
            return Poll::Ready(ended);
        }
    }
    Poll::Pending
}

/// How long an address has for itself (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Instant;

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test]
    async fn an_address_without_an_answer_does_not_use_up_the_time() -> Outcome {
        let (hole, _guests) = black_hole()?;
        let (other_hole, _other_guests) = black_hole()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let begin = Instant::now();
        let addresses = [hole.local_addr()?, other_hole.local_addr()?, listener.local_addr()?];
        let stream = tokio::time::timeout(Duration::from_secs(20), connect_first(addresses)).await??;
        assert_eq!(stream.peer_addr()?, listener.local_addr()?);
        assert!(begin.elapsed() >= 2 * HEAD_START, "the first ones had their time");
        Ok(())
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_at_once() -> Outcome {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = connect_first([closed, listener.local_addr()?]).await?;
        assert_eq!(stream.peer_addr()?, listener.local_addr()?);
        Ok(())
    }

    #[tokio::test]
    async fn the_last_failure_is_told_and_so_is_it_that_there_is_no_address() -> Outcome {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let kind = |reached: io::Result<TcpStream>| reached.map_err(|error| error.kind()).map(drop);
        assert_eq!(kind(connect_first([closed, closed]).await), Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(kind(connect_first([]).await), Err(io::ErrorKind::AddrNotAvailable));
        Ok(())
    }

    #[tokio::test]
    async fn an_address_may_answer_late() -> Outcome {
        let (hole, clients) = black_hole()?;
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let late = async {
            // Its turn is over, and the other one has refused: now there is room in the queue.
            tokio::time::sleep(2 * HEAD_START).await;
            drop(clients);
            while let Ok((client, _)) = hole.accept() {
                drop(client);
                tokio::task::yield_now().await;
            }
        };
        hole.set_nonblocking(true)?;
        let addresses = [hole.local_addr()?, closed];
        let reaching = tokio::time::timeout(Duration::from_secs(20), connect_first(addresses));
        let (reached, ()) = tokio::join!(reaching, late);
        assert_eq!(reached??.peer_addr()?, hole.local_addr()?);
        Ok(())
    }

    /// A listener whose queue is full: Linux does not answer further clients then.
    fn black_hole() -> io::Result<(TcpListener, Vec<std::net::TcpStream>)> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(0)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let mut clients = Vec::new();
        while let Ok(client) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            clients.push(client);
        }
        Ok((listener, clients))
    }
}
