//! The end of a connection whose client is still sending. Closing a socket with unread bytes resets it, and a client that
//! is reset may lose the answer that it has not read yet: the very one that says what is wrong.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stream::ClientStream;

/// Reads what a client still sends and throws it away, until it stops or its time is over; then closes. For a connection
/// after its last answer: nothing that comes is looked at, so nothing of it can become a request.
pub async fn linger(mut stream: ClientStream) {
    let until_it_stops = async {
        stream.shutdown().await?;
        let mut stream = stream.into_tcp();
        let mut left = MOST;
        while left > 0
            && let Ok(Ok(count @ 1..)) = timeout(SILENCE, discard(&mut stream)).await
        {
            left = left.saturating_sub(count);
        }
        io::Result::Ok(())
    };
    // A connection that breaks meanwhile is at its end as well.
    let _ = timeout(LONGEST, until_it_stops).await;
}

/// Throws away some bytes, and says how many. None at the end.
async fn discard(stream: &mut TcpStream) -> io::Result<usize> {
    poll_fn(|context| {
        // On the stack for a moment: a crowd of such clients should not hold a buffer each.
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// How long nothing may come. A client that is still sending sends more often, and one that has read the answer closes.
const SILENCE: Duration = Duration::from_secs(2);

/// How long it may take in all: long enough for an answer to arrive wherever the client is.
const LONGEST: Duration = Duration::from_secs(10);

/// How much may come in all, in bytes: more than the largest upload of a file that n8n sends in one request.
const MOST: usize = 64 * 1024 * 1024;

const PIECE: usize = 16 * 1024;
