//! The two bodies of an exchange, streamed and counted as they pass, never collected and never changed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::headers;
use super::upstream::Connection;
use super::worker::{Session, Worker};
use crate::ledger::sighting::{Exchange, Sighting};
use crate::openai::error::ErrorBody;
use crate::outcome::Ending;

/// The request's body on its way upstream.
pub struct ClientBody {
    source: Source,
    exchange: Arc<Exchange>,
    session: Arc<Session>,
    hold: Option<Hold>,
    kept: Option<Arc<Mutex<Kept>>>,
    is_read: bool,
}

enum Source {
    /// As it comes from the client.
    Client(Incoming),
    /// As it came before.
    Again(VecDeque<Bytes>),
}

/// A short body that may have to be sent again, as far as it went by.
#[derive(Default)]
struct Kept {
    pieces: VecDeque<Bytes>,
    size: usize,
    is_whole: bool,
}

/// What is kept of a body, in case that it has to be sent again.
pub struct Keepsake {
    kept: Arc<Mutex<Kept>>,
    exchange: Arc<Exchange>,
    session: Arc<Session>,
}

impl Keepsake {
    /// The body once more, if all of it was kept.
    #[must_use]
    pub fn into_body(self) -> Option<ClientBody> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let is_all = kept.is_whole && kept.size <= MOST_KEPT;
        is_all.then(|| ClientBody::of(Source::Again(kept.pieces), self.exchange, self.session))
    }
}

/// A body that is not asked for before upstream wants it (RFC 9110, 10.1.1): its client waits to be told, and hyper tells
/// it when the body is read.
struct Hold {
    is_wanted: Arc<AtomicBool>,
    patience: Pin<Box<Sleep>>,
}

impl ClientBody {
    /// Counts for that exchange.
    #[must_use]
    pub fn new(incoming: Incoming, exchange: Arc<Exchange>, session: Arc<Session>) -> Self {
        Self::of(Source::Client(incoming), exchange, session)
    }

    fn of(source: Source, exchange: Arc<Exchange>, session: Arc<Session>) -> Self {
        Self { source, exchange, session, hold: None, kept: None, is_read: false }
    }

    /// Keeps what goes by, as long as it is short.
    #[must_use]
    pub fn keep(&mut self) -> Keepsake {
        let kept = Arc::new(Mutex::new(Kept { is_whole: self.is_end_stream(), ..Kept::default() }));
        self.kept = Some(Arc::clone(&kept));
        Keepsake { kept, exchange: Arc::clone(&self.exchange), session: Arc::clone(&self.session) }
    }

    fn keep_piece(&self, piece: Option<&Bytes>) {
        let Some(kept) = &self.kept else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = piece {
            kept.size += piece.len();
            if kept.size <= MOST_KEPT {
                kept.pieces.push_back(piece.clone());
            } else {
                kept.pieces.clear();
            }
        }
        kept.is_whole = self.is_end_stream();
    }

    /// Holds the body back until what this gives is true, but not for long: upstream may know nothing of it.
    #[must_use]
    pub fn hold(&mut self) -> Arc<AtomicBool> {
        let is_wanted = Arc::new(AtomicBool::new(false));
        let patience = Box::pin(sleep(WORTH_THE_WAIT));
        self.hold = Some(Hold { is_wanted: Arc::clone(&is_wanted), patience });
        is_wanted
    }

    fn poll_hold(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(hold) = &mut self.hold
            && !hold.is_wanted.load(Ordering::Relaxed)
        {
            ready!(hold.patience.as_mut().poll(context));
        }
        self.hold = None;
        Poll::Ready(())
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.exchange.took(data.len(), self.session.worker.pulse.millis());
        } else if let Some(trailers) = frame.trailers_mut() {
            headers::edit_trailers(trailers);
            // Behind them comes nothing.
            self.is_read = true;
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if this.hold.is_some() {
            ready!(this.poll_hold(cx));
        }
        let incoming = match &mut this.source {
            Source::Client(incoming) => incoming,
            Source::Again(pieces) => return Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        };
        let frame = Pin::new(incoming).poll_frame(cx);
        this.exchange.waits_for_client(frame.is_pending());
        let mut frame = ready!(frame);
        match &mut frame {
            None => this.is_read = true,
            Some(Ok(frame)) => this.pass(frame),
            Some(Err(_)) => {}
        }
        if this.kept.is_some() {
            this.keep_piece(frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Client(incoming) => incoming.is_end_stream(),
            Source::Again(pieces) => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Client(incoming) => incoming.size_hint(),
            Source::Again(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl Drop for ClientBody {
    /// hyper lets go of a body as soon as it has sent its end. One that is let go of before is not read any further.
    fn drop(&mut self) {
        self.exchange.took_all();
        if !self.is_read
            && let Source::Client(incoming) = &self.source
            && !incoming.is_end_stream()
        {
            self.session.leave_unread(incoming.size_hint().exact());
        }
    }
}

/// The answer's body on its way to the client.
pub enum AnswerBody {
    /// keyward's own words.
    Ours(Option<Bytes>),
    /// Upstream's.
    Upstream(UpstreamBody),
}

/// Upstream's body, with all that must last as long as it does.
pub struct UpstreamBody {
    incoming: Incoming,
    connection: Option<Connection>,
    session: Arc<Session>,
    sighting: Sighting,
    error: Option<Box<ErrorBody>>,
    broken: Option<AnswerError>,
    is_swallowed: bool,
    /// Whether the client has yet to take what was handed on last.
    waits_for_client: bool,
    waiting: Option<usize>,
}

/// Why the answer broke off. hyper ends the client's connection on it, so that nobody takes the answer for whole.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection to upstream ended, or broke the protocol.
    #[error("upstream's answer was cut off")]
    CutOff(#[source] hyper::Error),
    /// Upstream stood still for too long.
    #[error("upstream's answer stood still for too long")]
    TimedOut,
    /// The client stood still for too long.
    #[error("the client took nothing of its answer for {limit:?}")]
    NotTaken {
        /// The limit.
        limit: Duration,
    },
}

impl UpstreamBody {
    /// The body of an answer that came over `connection`. `error` reads along if the answer is an error.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        connection: Connection,
        session: Arc<Session>,
        sighting: Sighting,
        error: Option<Box<ErrorBody>>,
    ) -> Self {
        Self {
            incoming,
            connection: Some(connection),
            session,
            sighting,
            error,
            broken: None,
            is_swallowed: false,
            waits_for_client: false,
            waiting: None,
        }
    }

    fn worker(&self) -> &Worker {
        &self.session.worker
    }

    /// Reads the error that the body is, as far as anybody reads errors, and lets nothing of it out.
    pub async fn swallow(mut self) {
        self.is_swallowed = true;
        while let Some(Ok(_)) = poll_fn(|context| self.poll(context)).await {
            if self.error.as_ref().is_none_or(|error| error.is_full()) {
                break;
            }
        }
    }

    /// What came already is handed on first; only when there is nothing is the connection polled.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        self.client_takes();
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending()
            && let Some(connection) = &mut self.connection
        {
            connection.drive(cx);
            frame = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        match frame {
            Poll::Pending => self.check_for_standstill(),
            Poll::Ready(Some(Ok(mut frame))) => {
                self.pass(&mut frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.break_off(error, cx),
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    /// hyper throws away what it has not yet written when a body breaks off. What came before belongs to the client, so
    /// hyper gets to write it first.
    fn break_off<T>(&mut self, error: hyper::Error, cx: &Context<'_>) -> Poll<T> {
        self.broken = Some(self.fail(Ending::CutOff, AnswerError::CutOff(error)));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn check_for_standstill<T>(&self) -> Poll<Option<Result<T, AnswerError>>> {
        let limit = self.worker().limits().idle_timeout;
        let limit = if self.is_swallowed { limit.min(PATIENCE) } else { limit };
        if self.worker().pulse.is_past(self.sighting.moved_at(), limit) {
            return Poll::Ready(Some(Err(self.fail(Ending::TimedOut, AnswerError::TimedOut))));
        }
        Poll::Pending
    }

    fn fail(&self, ending: Ending, error: AnswerError) -> AnswerError {
        self.sighting.end(ending);
        self.sighting.failed_because(&error);
        error
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_mut() {
            headers::strip_answer(trailers, self.sighting.injected.is_some());
        }
        let Some(data) = frame.data_ref() else { return };
        let pulse = self.worker().pulse.millis();
        if self.is_swallowed {
            self.sighting.touch(pulse);
        } else {
            self.sighting.gave(data.len(), pulse);
            self.waits_for_client = true;
            self.waiting = self.session.waits(pulse);
        }
        if let Some(error) = &mut self.error {
            error.push(data);
        }
    }

    /// hyper asks for more as soon as the client has room for it.
    fn client_takes(&mut self) {
        self.waits_for_client = false;
        if let Some(number) = self.waiting.take() {
            self.session.waits_no_longer(number);
        }
    }

    /// Says so where the client, rather than leave, was let go because it did not take its answer.
    fn note_stall(&self) {
        let limit = self.worker().limits().client_stall_timeout;
        if self.waits_for_client && self.worker().pulse.is_past(self.sighting.moved_at(), limit) {
            self.fail(Ending::ClientGone, AnswerError::NotTaken { limit });
        }
    }

    /// The answer is whole: its connection may serve the next exchange, unless the request is still on its way. Then
    /// nobody waits for the rest of it, and the connection ends here.
    fn finish(&mut self) {
        self.sighting.end(Ending::Completed);
        if let Some(connection) = self.connection.take()
            && self.sighting.has_taken_all()
        {
            self.worker().pool.put(connection);
        }
    }
}

impl Drop for UpstreamBody {
    /// hyper does not poll a body to its end when it knows the length: such a body is whole too. Any other that is
    /// dropped was abandoned, and its connection with it, which is what tells upstream to stop.
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        } else {
            self.note_stall();
        }
        self.client_takes();
        if let Some(error) = self.error.take() {
            self.sighting.error_read(error.read());
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::Ours(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Upstream(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(text) => text.is_none(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

/// The most that is kept of a body in case that it has to be sent again, in bytes: more than most prompts have.
const MOST_KEPT: usize = 64 * 1024;

/// How long a client waits, without a word from upstream, for the rest of an error that it will not see.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long upstream may take to want a body: as long as clients commonly wait to be told before they send it anyhow.
const WORTH_THE_WAIT: Duration = Duration::from_secs(1);
