//! The answer's body on its way to the client, streamed and counted as it passes, never collected and never changed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::context::WorkerContext;
use super::headers;
use super::session::Session;
use crate::ledger::sighting::Sighting;
use crate::net::deferred_waker;
use crate::openai::answer::AnswerReader;
use crate::outcome::Ending;
use crate::upstream::connection::Connection;

/// The answer's body on its way to the client.
pub enum ResponseBody {
    /// keyward's own words.
    Ours(Option<Bytes>),
    /// Upstream's. In a box, since an answer is moved half a dozen times before it is sent.
    Upstream(Box<UpstreamBody>),
}

/// Upstream's body, with all that must last as long as it does.
pub struct UpstreamBody {
    incoming: Incoming,
    connection: Option<Connection>,
    session: Arc<Session>,
    sighting: Sighting,
    reader: Option<AnswerReader>,
    broken: Option<ResponseBodyError>,
    is_swallowed: bool,
    /// Whether the client has yet to take what was handed on last.
    waits_for_client: bool,
}

/// Why the answer broke off. hyper ends the client's connection on it, so that the client does not take the answer for whole.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
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
    /// The body of an answer that came over `connection`, unless all of it has come and nothing is to follow on that.
    /// `reader` reads along, where there is anything to be read.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        connection: Option<Connection>,
        session: Arc<Session>,
        sighting: Sighting,
        reader: Option<AnswerReader>,
    ) -> Self {
        Self {
            incoming,
            connection,
            session,
            sighting,
            reader,
            broken: None,
            is_swallowed: false,
            waits_for_client: false,
        }
    }

    fn worker(&self) -> &WorkerContext {
        &self.session.worker
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

    /// What came already is handed on first; only when there is nothing is the connection polled.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        // hyper asks for more as soon as the client has room for it.
        self.waits_for_client = false;
        let mut frame = self.take(cx);
        if frame.is_pending()
            && let Some(connection) = &mut self.connection
        {
            connection.drive(cx);
            frame = self.take(cx);
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

    /// What came. A connection in HTTP/1.1 is driven right here, so that no other task brings the next piece, and none has to
    /// be woken for it; and the task that takes a piece asks for more, so that it need not be woken because there is room.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut incoming = Pin::new(&mut self.incoming);
        if !matches!(self.connection, Some(Connection::Http1(_))) {
            return incoming.poll_frame(cx);
        }
        let unwoken = &mut Context::from_waker(Waker::noop());
        let (frame, _) = deferred_waker::defer(|| incoming.as_mut().poll_frame(unwoken));
        frame
    }

    /// hyper throws away what it has not yet written when a body breaks off. What came before belongs to the client, so
    /// hyper writes it first.
    fn break_off<T>(&mut self, error: hyper::Error, cx: &Context<'_>) -> Poll<T> {
        self.broken = Some(self.fail(Ending::CutOff, ResponseBodyError::CutOff(error)));
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
            headers::strip_answer(trailers, self.sighting.injected.is_some());
        }
        let Some(data) = frame.data_ref() else { return };
        let now = self.worker().coarse_clock.millis();
        if self.is_swallowed {
            self.sighting.touch(now);
        } else {
            self.sighting.gave(data.len(), now);
            self.waits_for_client = true;
        }
        if let Some(reader) = &mut self.reader {
            reader.push(data, self.incoming.is_end_stream());
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

    /// The answer is whole: its connection may serve the next exchange, unless the request is still on its way. Then
    /// the rest of it is not waited for, and the connection ends here.
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
            if self.reader.as_ref().is_some_and(AnswerReader::is_done) {
                // The client has all that there is, and need not wait for the body's end.
                self.sighting.end(Ending::Completed);
            }
        }
        if let Some(reading) = self.reader.take().and_then(AnswerReader::finish) {
            self.sighting.error_read(reading);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
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

/// How long a client waits, without a word from upstream, for the rest of an error that it will not see.
const PATIENCE: Duration = Duration::from_secs(3);
