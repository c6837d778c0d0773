//! The answer's body on its way to the client, streamed and counted as it passes, and changed nowhere but
//! where it shows a key that keyward put in ([`lent_key`](super::lent_key)).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::context::WorkerContext;
use super::headers;
use super::lent_key::{EncodedGuard, EventGuard, KeptBack, judge_error, redact};
use super::session::Session;
use crate::field_lines::FieldLines;
use crate::keys::set::Bearer;
use crate::ledger::sighting::{Exchange, Sighting};
use crate::openai::answer::AnswerReader;
use crate::openai::encoding::Encoding;
use crate::openai::error::ErrorReading;
use crate::outcome::Ending;
use crate::upstream::connection::{AnswerBody, AnswerError};

/// The answer's body on its way to the client.
pub enum ResponseBody {
    /// keyward's own words.
    Ours(Option<Bytes>),
    /// Upstream's. In a box, since an answer is moved half a dozen times before it is sent.
    Upstream(Box<UpstreamBody>),
    /// Upstream's, whose beginning was looked at before any of it goes out.
    Held(Box<Held>),
}

/// What was held back of an answer, and its rest.
pub struct Held {
    frames: VecDeque<Frame<Bytes>>,
    rest: Box<UpstreamBody>,
}

/// Upstream's body, with all that must last as long as it does.
pub struct UpstreamBody {
    /// Until the answer is over.
    body: Option<AnswerBody>,
    /// Whether what it comes over may serve another exchange.
    may_be_kept: bool,
    session: Arc<Session>,
    sighting: Sighting,
    reader: Option<AnswerReader>,
    /// The key that keyward put in.
    lent: Option<Bearer>,
    guard: Option<Box<Guard>>,
    broken: Option<ResponseBodyError>,
    is_swallowed: bool,
    /// Whether the client has yet to take what was handed on last.
    waits_for_client: bool,
}

/// What looks at a stream of events for the key that keyward put in.
enum Guard {
    Plain(EventGuard),
    Encoded(EncodedGuard),
}

/// Why the answer broke off. The client's connection ends on it, so that the client does not take the answer for whole.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
    /// The connection to upstream ended, or broke the protocol.
    #[error("upstream's answer was cut off")]
    CutOff(#[source] AnswerError),
    /// Upstream stood still for too long.
    #[error("upstream's answer stood still for too long")]
    TimedOut,
    /// It shows the key that keyward put in, and nothing can be put in its place.
    #[error("keyward broke the answer off: {0}")]
    KeptBack(KeptBack),
    /// The client stood still for too long.
    #[error("the client took nothing of its answer for {limit:?}")]
    NotTaken { limit: Duration },
}

impl UpstreamBody {
    /// The body of an answer, with what it comes over, which may serve another exchange only where `may_be_kept`. `reader` reads
    /// along, where there is anything to be read.
    #[must_use]
    pub fn new(
        body: AnswerBody,
        may_be_kept: bool,
        session: Arc<Session>,
        sighting: Sighting,
        reader: Option<AnswerReader>,
    ) -> Self {
        Self {
            body: Some(body),
            may_be_kept,
            session,
            sighting,
            reader,
            lent: None,
            guard: None,
            broken: None,
            is_swallowed: false,
            waits_for_client: false,
        }
    }

    fn worker(&self) -> &WorkerContext {
        &self.session.worker
    }

    /// Notes that it answers a request that keyward put that key into. Says whether the length of the body may change.
    pub fn lend(&mut self, key: &Bearer) -> bool {
        self.lent = Some(key.clone());
        self.guard = self
            .reader
            .as_ref()
            .and_then(|reader| match reader.events()? {
                Encoding::Identity => Some(Guard::Plain(EventGuard::new(key.clone()))),
                encoding @ (Encoding::Gzip
                | Encoding::Deflate
                | Encoding::Brotli
                | Encoding::Zstd
                | Encoding::Unknown) => Some(Guard::Encoded(EncodedGuard::new(key.clone(), encoding))),
            })
            .map(Box::new);
        matches!(self.guard.as_deref(), Some(Guard::Plain(_)))
    }

    /// The exchange that it belongs to.
    #[must_use]
    pub fn exchange(&self) -> Arc<Exchange> {
        self.sighting.share()
    }

    /// Reads the error that the body is, as far as errors are read, before any of it is passed on; why it must not be
    /// passed on, where that is so.
    pub async fn hold(mut self: Box<Self>) -> Result<Held, KeptBack> {
        self.is_swallowed = true;
        let (mut frames, mut is_whole) = (VecDeque::new(), true);
        while let Some(frame) = poll_fn(|context| self.poll(context)).await {
            let Ok(frame) = frame else {
                is_whole = false;
                break;
            };
            frames.push_back(frame);
            if self.reader.as_ref().is_none_or(AnswerReader::is_full) {
                break;
            }
        }
        self.is_swallowed = false;
        let text = self.reader.as_ref().and_then(AnswerReader::error_text);
        let shown = self.lent.as_ref().and_then(|key| judge_error(text.as_deref(), key));
        match shown.or((!is_whole).then_some(KeptBack::NotWhole)) {
            None => Ok(Held { frames, rest: self }),
            Some(why) => {
                self.sighting
                    .answered_by_us(self.sighting.answered().map_or(StatusCode::BAD_GATEWAY, |head| head.status));
                self.sighting.end(Ending::Completed);
                self.sighting.failed_because(&Replaced(why));
                Err(why)
            }
        }
    }

    /// Reads the error that the body is, as far as errors are read, and passes nothing of it on.
    pub async fn swallow(mut self) {
        self.is_swallowed = true;
        while let Some(Ok(_)) = poll_fn(|context| self.poll(context)).await {
            if self.reader.as_ref().is_none_or(AnswerReader::is_full) {
                break;
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        // More is asked for as soon as the client has room for it.
        self.waits_for_client = false;
        let frame = self.body.as_mut().map_or(Poll::Ready(None), |body| body.poll_frame(cx));
        match frame {
            Poll::Pending => self.check_for_standstill(),
            Poll::Ready(Some(Ok(mut frame))) => {
                self.pass(&mut frame);
                match self.guard {
                    None => Poll::Ready(Some(Ok(frame))),
                    Some(_) => self.pass_guarded(frame, cx),
                }
            }
            Poll::Ready(Some(Err(error))) => self.break_off(ResponseBodyError::CutOff(error), cx),
            Poll::Ready(None) => {
                if let Some(rest) = self.guard.as_deref_mut().and_then(Guard::finish) {
                    self.give(rest.len());
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    /// What of a stream goes out, now that `frame` has come.
    fn pass_guarded(
        &mut self,
        frame: Frame<Bytes>,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let Some(guard) = self.guard.as_deref_mut() else { return Poll::Ready(Some(Ok(frame))) };
        let frame = match (guard, frame.data_ref(), &self.reader) {
            (Guard::Plain(guard), Some(data), Some(AnswerReader::Events(events))) => {
                guard.filter(data, events).map_or(frame, Frame::data)
            }
            // What is still held back goes out in place of trailers, which no stream of events has.
            (Guard::Plain(guard), None, _) => guard.finish().map_or(frame, Frame::data),
            (Guard::Encoded(guard), Some(data), _) => {
                if guard.is_shown_by(data) {
                    return self.break_off(ResponseBodyError::KeptBack(KeptBack::Shown), cx);
                }
                frame
            }
            (Guard::Plain(_), Some(_), _) | (Guard::Encoded(_), None, _) => frame,
        };
        match frame.data_ref().map(Bytes::len) {
            Some(0) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            length => {
                self.give(length.unwrap_or_default());
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Notes what goes to the client.
    fn give(&mut self, length: usize) {
        self.sighting.gave(length, self.worker().coarse_clock.millis());
        self.waits_for_client = true;
    }

    /// In HTTP/2, what is not yet written is thrown away when a body breaks off. What came before belongs to the client, so it
    /// is written first.
    fn break_off<T>(&mut self, error: ResponseBodyError, cx: &Context<'_>) -> Poll<T> {
        self.broken = Some(self.fail(Ending::CutOff, error));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn check_for_standstill<T>(&self) -> Poll<Option<Result<T, ResponseBodyError>>> {
        let limit = self.worker().limits().idle_timeout;
        let limit = if self.is_swallowed { limit.min(PATIENCE) } else { limit };
        if self.worker().coarse_clock.is_past(self.sighting.moved_at(), limit) {
            return Poll::Ready(Some(Err(self.fail(Ending::TimedOut, ResponseBodyError::TimedOut))));
        }
        Poll::Pending
    }

    fn fail(&self, ending: Ending, error: ResponseBodyError) -> ResponseBodyError {
        self.sighting.end(ending);
        self.sighting.failed_because(&error);
        error
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_mut() {
            let mut lines = FieldLines::from(std::mem::take(trailers));
            headers::strip_answer(&mut lines, self.sighting.injected.is_some());
            if let Some(key) = &self.lent {
                redact(&mut lines, key);
            }
            *trailers = lines.into_map();
        }
        let Some(data) = frame.data_ref() else { return };
        let now = self.worker().coarse_clock.millis();
        if self.is_swallowed || self.guard.is_some() {
            self.sighting.touch(now);
        } else {
            self.sighting.gave(data.len(), now);
            self.waits_for_client = true;
        }
        if let Some(reader) = &mut self.reader {
            let is_last = self.body.as_ref().is_none_or(AnswerBody::is_end_stream);
            reader.push(data, is_last);
        }
    }

    /// Notes it where the client did not leave, but was dropped because it did not take its answer.
    fn note_stall(&self) {
        let limit = self.worker().client_patience();
        let is_past = self.session.is_given_up() || self.worker().coarse_clock.is_past(self.sighting.moved_at(), limit);
        if self.waits_for_client && is_past {
            self.fail(Ending::ClientGone, ResponseBodyError::NotTaken { limit });
        }
    }

    fn note_error(&self, mut reading: ErrorReading) {
        if let Some(key) = &self.lent {
            reading.code = reading.code.filter(|code| !key.is_shown_in(code.as_bytes()));
        }
        self.sighting.error_read(reading);
    }

    fn is_end_stream(&self) -> bool {
        self.has_come() && self.guard.as_deref().is_none_or(Guard::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self.guard.as_deref() {
            // What is replaced may be shorter or longer.
            Some(Guard::Plain(_)) => SizeHint::default(),
            Some(Guard::Encoded(_)) | None => {
                self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), AnswerBody::size_hint)
            }
        }
    }

    /// The answer is whole: its connection may serve the next exchange, unless the request is still on its way. Then
    /// the rest of it is not waited for, and the connection ends here.
    fn finish(&mut self) {
        self.sighting.end(Ending::Completed);
        if let Some(body) = self.body.take()
            && self.may_be_kept
            && self.sighting.has_taken_all()
        {
            self.worker().pool.put(body.into_connection());
        }
    }

    fn has_come(&self) -> bool {
        self.body.as_ref().is_none_or(AnswerBody::is_end_stream)
    }
}

impl Drop for UpstreamBody {
    /// A body is not polled to its end where its length is known: such a body is whole too. Any other that is
    /// dropped was abandoned, and its connection with it, which is what tells upstream to stop.
    fn drop(&mut self) {
        if self.has_come() {
            self.finish();
        } else {
            self.note_stall();
            if self.reader.as_ref().is_some_and(AnswerReader::is_done) {
                // The client has all that there is, and need not wait for the body's end.
                self.sighting.end(Ending::Completed);
            }
        }
        if let Some(reading) = self.reader.take().and_then(AnswerReader::finish) {
            self.note_error(reading);
        }
    }
}

impl Guard {
    fn finish(&mut self) -> Option<Bytes> {
        match self {
            Self::Plain(guard) => guard.finish(),
            Self::Encoded(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Plain(guard) => guard.is_empty(),
            Self::Encoded(_) => true,
        }
    }
}

impl Held {
    /// What was held back comes first.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let Some(frame) = self.frames.pop_front() else { return self.rest.poll(cx) };
        self.rest.give(frame.data_ref().map_or(0, Bytes::len));
        Poll::Ready(Some(Ok(frame)))
    }

    fn size_hint(&self) -> SizeHint {
        let held: usize = self.frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        let (rest, held) = (self.rest.size_hint(), held as u64);
        let mut hint = SizeHint::new();
        if let Some(most) = rest.upper() {
            hint.set_upper(most + held);
        }
        hint.set_lower(rest.lower() + held);
        hint
    }
}

/// Why keyward answered in place of upstream.
#[derive(Debug, thiserror::Error)]
#[error("keyward replaced upstream's answer: {0}")]
struct Replaced(KeptBack);

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match self.get_mut() {
            Self::Ours(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Upstream(body) => body.poll(cx),
            Self::Held(held) => held.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(text) => text.is_none(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Held(held) => held.frames.is_empty() && held.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Upstream(body) => body.size_hint(),
            Self::Held(held) => held.size_hint(),
        }
    }
}

/// How long a client waits, without a word from upstream, for the rest of an error that it will not see.
const PATIENCE: Duration = Duration::from_secs(3);
