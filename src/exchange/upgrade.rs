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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::context::WorkerContext;
use crate::keys::set::Bearer;
use crate::ledger::sighting::{Exchange, Sighting};
use crate::net::connect::UpstreamStream;
use crate::net::limits::Limits;
use crate::openai::encoding::BOUND;
use crate::openai::websocket::{FrameReader, Shown};
use crate::outcome::{Ending, Proof, UpstreamError};
use crate::upstream::dead_peer::DeadPeerCheck;
use crate::upstream::http1::SwitchedConnection;

/// An exchange that goes on in another protocol: upstream's end of it, until the client's end is there as well.
pub struct Upgraded {
    upstream: SwitchedConnection,
    worker: Arc<WorkerContext>,
    sighting: Sighting,
    frames: Option<FrameReader>,
    lent: Option<Bearer>,
}

/// Why it ended before both sides had closed it.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error("the client's connection broke")]
    Client(#[source] io::Error),
    #[error("upstream's connection broke")]
    Upstream(#[source] io::Error),
    /// The client took nothing of what is there for it.
    #[error("the client took nothing for {limit:?}")]
    NotTaken { limit: Duration },
    /// Upstream took nothing of what is there for it.
    #[error("upstream took nothing for {limit:?}")]
    NotTakenUpstream { limit: Duration },
    /// Upstream's first message refuses the key that keyward put in, or shows it.
    #[error("upstream refused the key that keyward had put in, so keyward closed the connection in its own words")]
    KeyRefused,
    /// One side has said all that it had to say, and the other one neither went on nor closed.
    #[error("one side has closed, and the other one did not within {limit:?}")]
    NoFarewell { limit: Duration },
    /// Neither side said anything for too long.
    #[error("nothing moved for {limit:?} (idle_timeout)")]
    StoodStill { limit: Duration },
}

impl Upgraded {
    /// Of an exchange that upstream has agreed to carry on in another protocol. `frames` follows what upstream says in it,
    /// where that is a protocol that keyward knows; `lent` is the key that keyward put in.
    #[must_use]
    pub fn new(
        upstream: SwitchedConnection,
        worker: Arc<WorkerContext>,
        sighting: Sighting,
        frames: Option<FrameReader>,
        lent: Option<&Bearer>,
    ) -> Self {
        Self { upstream, worker, sighting, frames, lent: lent.cloned() }
    }

    /// Passes bytes until both sides have closed. `sent` is what the client sent behind its request.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, client: S, sent: Bytes) {
        let Self { upstream, worker, sighting, frames, lent } = self;
        let SwitchedConnection { stream: upstream, early, open: _open } = upstream;
        sighting.touch(worker.coarse_clock.millis());
        sighting.goes_on();
        let mut dead_peer = DeadPeerCheck::new(worker.coarse_clock.clone());
        let mut passage = Passage::new(client, upstream, sent, &sighting);
        match (frames, lent) {
            (Some(frames), Some(key)) => passage.hold_back(frames, key, &early),
            (frames, _) => passage.hear(frames, early),
        }
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
        if matches!(ended, Err(UpgradeError::KeyRefused)) {
            // By the time of the system: the exchange's own is over.
            let _ = tokio::time::timeout(LAST_WORDS, say_refused(&mut passage.client)).await;
        }
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
            Self::NoFarewell { .. } | Self::KeyRefused => Ending::Completed,
            Self::StoodStill { .. } => Ending::Idle,
        }
    }
}

/// Hears what upstream says, on its way to the client, and notes what it says of the key.
struct KeyObserver<'a> {
    frames: FrameReader,
    sighting: &'a Sighting,
    is_error: bool,
    is_key_invalid: bool,
}

impl<'a> KeyObserver<'a> {
    fn new(frames: FrameReader, sighting: &'a Sighting) -> Self {
        Self { frames, sighting, is_error: false, is_key_invalid: false }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Self { frames, sighting, is_error, is_key_invalid } = self;
        frames.push(bytes, |shown| match shown {
            Shown::Accepted if sighting.outcome().proof == Proof::None => sighting.goes_on_proven(),
            Shown::Accepted => {}
            Shown::Error(reading) => {
                *is_error = true;
                *is_key_invalid |= reading.class == UpstreamError::InvalidApiKey;
                // An error that is no refusal shows nothing, and a message that comes later may still.
                if reading.class.is_refusal() {
                    sighting.error_read(reading);
                }
            }
        });
    }
}

/// Holds upstream's first message back: it may refuse the key that keyward put in, and quote it.
struct Gate {
    key: Bearer,
    held: Vec<u8>,
}

/// What becomes of what is held back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// More has to come.
    Still,
    /// It goes out, and what comes next is held back.
    Out,
    /// It goes out, and so does all that follows.
    Open,
    /// It must not go out.
    Refused,
}

impl Gate {
    fn judge(&self, observer: &KeyObserver<'_>) -> Held {
        if observer.is_key_invalid || (observer.is_error && self.key.is_shown_in(&self.held)) {
            Held::Refused
        } else if observer.frames.has_read() || self.held.len() > BOUND {
            Held::Open
        } else if observer.frames.is_between_messages() {
            // Pings, which upstream waits to have answered.
            Held::Out
        } else {
            Held::Still
        }
    }
}

/// Both ends and both directions.
struct Passage<'a, S> {
    client: S,
    upstream: UpstreamStream,
    sighting: &'a Sighting,
    up: Half,
    down: Half,
    observer: Option<KeyObserver<'a>>,
    gate: Option<Box<Gate>>,
}

impl<'a, S> Passage<'a, S> {
    fn new(client: S, upstream: UpstreamStream, sent: Bytes, sighting: &'a Sighting) -> Self {
        let (up, down) = (Half::new(sent), Half::new(Bytes::new()));
        Self { client, upstream, sighting, up, down, observer: None, gate: None }
    }

    /// Follows what upstream says, if that can be followed, from what came already on.
    fn hear(&mut self, frames: Option<FrameReader>, early: Bytes) {
        self.observer = frames.map(|frames| KeyObserver::new(frames, self.sighting));
        self.observer.iter_mut().for_each(|observer| observer.hear(&early));
        self.down.waiting = early;
    }

    /// The same, and lets out nothing before it is known that upstream does not refuse that key.
    fn hold_back(&mut self, frames: FrameReader, key: Bearer, early: &[u8]) {
        self.observer = Some(KeyObserver::new(frames, self.sighting));
        self.gate = Some(Box::new(Gate { key, held: Vec::new() }));
        self.pass_gate(early);
    }

    /// Says whether it may not go out.
    fn pass_gate(&mut self, piece: &[u8]) -> bool {
        let (Some(gate), Some(observer)) = (&mut self.gate, &mut self.observer) else { return false };
        observer.hear(piece);
        gate.held.extend_from_slice(piece);
        let held = gate.judge(observer);
        if matches!(held, Held::Out | Held::Open) {
            self.down.waiting = std::mem::take(&mut gate.held).into();
        }
        if held == Held::Open {
            self.gate = None;
        }
        held == Held::Refused
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Passage<'_, S> {
    fn poll(&mut self, exchange: &Exchange, now: u64, context: &mut Context<'_>) -> Poll<Result<(), UpgradeError>> {
        let took = |count| exchange.took(count, now);
        let up = self.up.pass(&mut self.client, &mut self.upstream, took, |_| {}, context);
        let up = up.map_err(|error| error.blame(UpgradeError::Client, UpgradeError::Upstream));
        let gave = |count| exchange.gave(count, now);
        let hear = |bytes: &[u8]| self.observer.iter_mut().for_each(|observer| observer.hear(bytes));
        let down = match self.gate {
            None => self.down.pass(&mut self.upstream, &mut self.client, gave, hear, context),
            Some(_) => match self.open_gate(gave, context) {
                Poll::Ready(Ok(true)) => return Poll::Ready(Err(UpgradeError::KeyRefused)),
                Poll::Ready(Ok(false)) => self.down.pass(&mut self.upstream, &mut self.client, gave, |_| {}, context),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
        };
        let down = down.map_err(|error| error.blame(UpgradeError::Upstream, UpgradeError::Client));
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Err(error @ UpgradeError::Upstream(_)))) => Poll::Ready(Err(error)),
            // A side that has sent all that it had to send may leave without reading the rest.
            (Poll::Ready(Ok(())), Poll::Ready(_)) | (Poll::Ready(_), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    }

    /// Reads until it is known what becomes of upstream's first message. Says whether that refuses the key.
    fn open_gate(&mut self, gave: impl Fn(usize), context: &mut Context<'_>) -> Poll<Result<bool, PassError>> {
        while self.gate.is_some() {
            if self.is_refused() {
                return Poll::Ready(Ok(true));
            }
            ready!(self.down.write_waiting(&mut self.client, &gave, context)).map_err(PassError::Write)?;
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut buffer = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut self.upstream).poll_read(context, &mut buffer) {
                Poll::Ready(read) => tolerate_sudden_end(read).map_err(PassError::Read)?,
                Poll::Pending => {
                    ready!(Pin::new(&mut self.client).poll_flush(context)).map_err(PassError::Write)?;
                    return Poll::Pending;
                }
            }
            gave(0);
            if buffer.filled().is_empty() {
                // A message that is not whole is none.
                self.down.waiting = self.gate.take().map(|gate| gate.held.into()).unwrap_or_default();
            } else if self.pass_gate(buffer.filled()) {
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }

    fn is_refused(&self) -> bool {
        let parts = self.gate.as_ref().zip(self.observer.as_ref());
        parts.is_some_and(|(gate, observer)| gate.judge(observer) == Held::Refused)
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

/// One direction of an upgraded connection: from the client, or from upstream.
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
        tolerate_sudden_end(ready!(Pin::new(from).poll_read(context, &mut buffer))).map_err(PassError::Read)?;
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

/// TLS that ends without a word: the protocol inside has words of its own for its end.
fn tolerate_sudden_end(read: io::Result<()>) -> io::Result<()> {
    read.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) })
}

/// Closes a WebSocket as OpenAI does that refuses a key, in words that show nothing of it; then waits for the client's
/// own close, since a client may lose what it has not read when its connection is reset.
async fn say_refused(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let reason = "keyward: upstream refuses the key that keyward put in (invalid_api_key). See keyward's log.";
    // Short enough for a control frame (RFC 6455, 5.5).
    let length = u8::try_from(reason.len() + 2).unwrap_or(u8::MAX);
    let [first, second] = REFUSED.to_be_bytes();
    client.write_all(&[&[0x88, length, first, second], reason.as_bytes()].concat()).await?;
    client.shutdown().await?;
    let mut piece = [0; 1024];
    while client.read(&mut piece).await? > 0 {}
    Ok(())
}

/// OpenAI's own code for a close that refuses a key.
const REFUSED: u16 = 3000;

/// How long a client may take to close a connection that keyward has closed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the other side may take when one has closed. Bytes that still come begin that time anew.
const FAREWELL: Duration = Duration::from_mins(1);

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;
