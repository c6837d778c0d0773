//! What follows a switch to another protocol, a WebSocket above all: bytes pass in both directions as they come.
//!
//! It is the end of the client's HTTP, so the task of the client's connection carries it: it counts as that connection, is
//! waited for when keyward drains, and is cut with the rest.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::context::WorkerContext;
use crate::ledger::sighting::{Exchange, Sighting};
use crate::net::connect::UpstreamStream;
use crate::net::limits::Limits;
use crate::openai::websocket::{FrameReader, Shown};
use crate::outcome::{Ending, Proof};
use crate::upstream::dead_peer::DeadPeerCheck;
use crate::upstream::http1::SwitchedConnection;

/// An exchange that goes on in another protocol: upstream's end of it, until the client's end is there as well.
pub struct Upgraded {
    upstream: SwitchedConnection,
    worker: Arc<WorkerContext>,
    sighting: Sighting,
    frames: Option<FrameReader>,
}

/// Why it ended before both sides had closed it.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    /// The client's connection broke.
    #[error("the client's connection broke")]
    Client(#[source] io::Error),
    /// Upstream's connection broke.
    #[error("upstream's connection broke")]
    Upstream(#[source] io::Error),
    /// The client took nothing of what is there for it.
    #[error("the client took nothing for {limit:?}")]
    NotTaken {
        /// The limit.
        limit: Duration,
    },
    /// Upstream took nothing of what is there for it.
    #[error("upstream took nothing for {limit:?}")]
    NotTakenUpstream {
        /// The limit.
        limit: Duration,
    },
    /// One side has said all that it had to say, and the other one neither went on nor closed.
    #[error("one side has closed, and the other one did not within {limit:?}")]
    NoFarewell {
        /// The limit.
        limit: Duration,
    },
    /// Neither side said anything for too long.
    #[error("nothing moved for {limit:?} (idle_timeout)")]
    StoodStill {
        /// The limit.
        limit: Duration,
    },
}

impl Upgraded {
    /// Of an exchange that upstream has agreed to carry on in another protocol. `frames` follows what upstream says in it,
    /// where that is a protocol that keyward knows.
    #[must_use]
    pub fn new(
        upstream: SwitchedConnection,
        worker: Arc<WorkerContext>,
        sighting: Sighting,
        frames: Option<FrameReader>,
    ) -> Self {
        Self { upstream, worker, sighting, frames }
    }

    /// Passes bytes until both sides have closed. `sent` is what the client sent behind its request.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, client: S, sent: Bytes) {
        let Self { upstream: SwitchedConnection { stream: upstream, early, open: _open }, worker, sighting, frames } =
            self;
        sighting.touch(worker.coarse_clock.millis());
        sighting.goes_on();
        let mut dead_peer = DeadPeerCheck::new(worker.coarse_clock.clone());
        let mut observer = frames.map(|frames| KeyObserver { frames, sighting: &sighting });
        if let Some(observer) = &mut observer {
            observer.hear(&early);
        }
        let mut passage = Passage { client, upstream, up: Half::new(sent), down: Half::new(early), observer };
        let ended = poll_fn(|context| {
            if let Poll::Ready(ended) = passage.poll(&sighting, worker.coarse_clock.millis(), context) {
                return Poll::Ready(ended);
            }
            if let Some(loss) = dead_peer.check(passage.upstream.below().tcp()) {
                return Poll::Ready(Err(UpgradeError::Upstream(loss)));
            }
            let (limit, error) = passage.patience(worker.limits());
            let stood_still = worker.coarse_clock.is_past(sighting.moved_at(), limit);
            if stood_still { Poll::Ready(Err(error(limit))) } else { Poll::Pending }
        })
        .await;
        drop(passage);
        sighting.end(ended.as_ref().map_or_else(UpgradeError::ending, |()| Ending::Completed));
        if let Err(error) = &ended {
            sighting.failed_because(error);
        }
    }
}

impl UpgradeError {
    fn ending(&self) -> Ending {
        match self {
            Self::Client(_) | Self::NotTaken { .. } => Ending::ClientGone,
            Self::Upstream(_) => Ending::CutOff,
            Self::NotTakenUpstream { .. } => Ending::TimedOut,
            // What there was to say has arrived.
            Self::NoFarewell { .. } => Ending::Completed,
            Self::StoodStill { .. } => Ending::Idle,
        }
    }
}

/// Hears what upstream says, on its way to the client, and notes what it says of the key.
struct KeyObserver<'a> {
    frames: FrameReader,
    sighting: &'a Sighting,
}

impl KeyObserver<'_> {
    fn hear(&mut self, bytes: &[u8]) {
        let sighting = self.sighting;
        self.frames.push(bytes, |shown| match shown {
            Shown::Accepted if sighting.outcome().proof == Proof::None => sighting.goes_on_proven(),
            // An error that is no refusal shows nothing, and a message that comes later may still.
            Shown::Error(reading) if reading.class.is_refusal() => sighting.error_read(reading),
            Shown::Accepted | Shown::Error(_) => {}
        });
    }
}

/// Both ends and both directions.
struct Passage<'a, S> {
    client: S,
    upstream: UpstreamStream,
    up: Half,
    down: Half,
    observer: Option<KeyObserver<'a>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Passage<'_, S> {
    fn poll(&mut self, exchange: &Exchange, now: u64, context: &mut Context<'_>) -> Poll<Result<(), UpgradeError>> {
        let took = |count| exchange.took(count, now);
        let up = self.up.pass(&mut self.client, &mut self.upstream, took, |_| {}, context);
        let up = up.map_err(|error| error.blame(UpgradeError::Client, UpgradeError::Upstream));
        let gave = |count| exchange.gave(count, now);
        let hear = |bytes: &[u8]| self.observer.iter_mut().for_each(|observer| observer.hear(bytes));
        let down = self.down.pass(&mut self.upstream, &mut self.client, gave, hear, context);
        let down = down.map_err(|error| error.blame(UpgradeError::Upstream, UpgradeError::Client));
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Err(error @ UpgradeError::Upstream(_)))) => Poll::Ready(Err(error)),
            // A side that has sent all that it had to send may leave without reading the rest.
            (Poll::Ready(Ok(())), Poll::Ready(_)) | (Poll::Ready(_), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    /// How long nothing may move, and who is to blame if nothing does.
    fn patience(&self, limits: &Limits) -> (Duration, fn(Duration) -> UpgradeError) {
        let is_ending = self.up.has_ended() || self.down.has_ended();
        let limit = if is_ending { limits.idle_timeout.min(FAREWELL) } else { limits.idle_timeout };
        if !self.down.waiting.is_empty() {
            (limits.client_stall_timeout, |limit| UpgradeError::NotTaken { limit })
        } else if !self.up.waiting.is_empty() {
            (limit, |limit| UpgradeError::NotTakenUpstream { limit })
        } else if is_ending {
            (limit, |limit| UpgradeError::NoFarewell { limit })
        } else {
            (limit, |limit| UpgradeError::StoodStill { limit })
        }
    }
}

/// One direction.
struct Half {
    /// What was read and could not be written yet: nothing, as long as the other side takes what comes.
    waiting: Bytes,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// There is no more to read. What waits is still to be written, then the other side is told.
    Ending,
    Ended,
}

/// Which end of a direction broke.
enum PassError {
    Read(io::Error),
    Write(io::Error),
}

impl PassError {
    fn blame(
        self,
        reading: impl FnOnce(io::Error) -> UpgradeError,
        writing: impl FnOnce(io::Error) -> UpgradeError,
    ) -> UpgradeError {
        match self {
            Self::Read(error) => reading(error),
            Self::Write(error) => writing(error),
        }
    }
}

impl Half {
    fn new(waiting: Bytes) -> Self {
        Self { waiting, state: State::Open }
    }

    fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Passes on what is there, as far as `to` takes it; ready when `from` has closed and `to` was told. Nothing more is
    /// read while something waits, so a slow side slows the other one down. `hear` is shown what is read.
    fn pass(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        note: impl Fn(usize),
        mut hear: impl FnMut(&[u8]),
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        loop {
            ready!(self.write_waiting(to, &note, context)).map_err(PassError::Write)?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(PassError::Write)?;
                    self.state = State::Ended;
                }
                State::Open => match self.read(from, to, &note, &mut hear, context) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => {
                        // Nothing is held back while nothing comes.
                        ready!(Pin::new(&mut *to).poll_flush(context)).map_err(PassError::Write)?;
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    fn write_waiting(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        note: impl Fn(usize),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            note(written);
            self.waiting.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what it can of that at once: only a rest is copied. A direction that stands still has no buffer.
    fn read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        note: impl Fn(usize),
        mut hear: impl FnMut(&[u8]),
        context: &mut Context<'_>,
    ) -> Poll<Result<(), PassError>> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut piece);
        match ready!(Pin::new(from).poll_read(context, &mut buffer)) {
            // TLS that ends without a word: the protocol inside has words of its own for its end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read.map_err(PassError::Read)?,
        }
        let read = buffer.filled();
        if read.is_empty() {
            self.state = State::Ending;
            // The other side has its time from now on.
            note(0);
            return Poll::Ready(Ok(()));
        }
        let written = match Pin::new(to).poll_write(context, read) {
            Poll::Ready(written) => written.map_err(PassError::Write)?,
            Poll::Pending => 0,
        };
        note(written);
        // It is on its way already.
        hear(read);
        if written < read.len() {
            self.waiting = Bytes::copy_from_slice(&read[written..]);
        }
        Poll::Ready(Ok(()))
    }
}

/// How long the other side may take when one has closed. Bytes that still come begin that time anew.
const FAREWELL: Duration = Duration::from_mins(1);

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;
