//! A connection in memory: what one side says is there from the beginning, and what the other side says is kept.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};

/// One end of a connection.
pub struct Wire {
    incoming: Vec<u8>,
    read: usize,
    ending: Ending,
    /// Everything that was written to it.
    pub written: Rc<RefCell<Vec<u8>>>,
}

/// What comes behind the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The end of the connection.
    Close,
    /// Nothing, for ever.
    Silence,
}

impl Wire {
    /// An end at which these bytes arrive.
    #[must_use]
    pub fn new(incoming: &[u8], ending: Ending) -> Self {
        Self { incoming: incoming.to_vec(), read: 0, ending, written: Rc::default() }
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut room: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let rest = &self.incoming[self.read..];
        if rest.is_empty() && self.ending == Ending::Silence {
            return Poll::Pending;
        }
        let count = rest.len().min(room.remaining());
        room.put_slice(&rest[..count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls a future until it is done or nothing is left that could wake it.
pub fn drive(future: impl Future) {
    let mut future = std::pin::pin!(future);
    let alarm = Arc::new(Alarm(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&alarm));
    let mut context = Context::from_waker(&waker);
    while alarm.0.swap(false, Ordering::Relaxed) {
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
}

struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
