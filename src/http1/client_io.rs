//! A client's end of a connection in HTTP/1.1, shared by the task of the connection and the body of the request that is under
//! way: the task reads heads and writes answers, the body reads itself, when upstream asks for it.
//!
//! Both are polled by the same task, but for a body that goes upstream in HTTP/2, whose task runs on the same thread. Only one
//! of them reads at a time: the body until its end, then the task.

use std::cell::RefMut;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body_reader::{BodyError, BodyReader, Piece};
use super::framing::Framing;
use super::head_reader::{HeadError, RequestHead, read_request};
use super::head_writer::CONTINUE;
use super::input::Input;
use super::output::Output;
use crate::confined::Confined;
use crate::net::stream::ClientStream;
use crate::net::write_stall::WriteStall;

/// A client's end of a connection.
pub struct ClientIo(Confined<State>);

struct State {
    /// Until the connection's HTTP/1.1 is over.
    stream: Option<ClientStream>,
    input: Input,
    output: Output,
    /// Notes whether the client takes what is written.
    stall: WriteStall,
    body: BodyReader,
    body_use: BodyUse,
    /// How many requests have come. A body that outlives its request reads nothing of the next one.
    requests: u64,
    /// Whether the client has yet to be told to send its body.
    owes_continue: bool,
    /// The task of the connection, where it waits for the body's end to read on.
    task: Option<Waker>,
}

/// What becomes of the body of the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyUse {
    /// It is read when it is asked for.
    Wanted,
    /// Its reader is gone: there is none, it is read, or it is not read any further.
    Dropped,
}

/// How waiting for a request ended.
pub enum Next {
    Request(Box<RequestHead>),
    /// The client begins with the preface of HTTP/2 (RFC 9113, 3.4).
    Http2,
    /// The client has closed the connection, and no request is lost by that.
    Closed,
}

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The client closed the connection within a head.
    #[error("the connection ended within the head of a request")]
    Incomplete,
}

/// Why the body of a request did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    #[error("the client's connection broke")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Its request was answered, and the rest of it is not wanted.
    #[error("the request was over before its body")]
    Over,
}

impl ClientIo {
    /// Before the first byte was read. `stall` notes whether the client takes what is written.
    #[must_use]
    pub fn new(stream: ClientStream, stall: WriteStall) -> Self {
        Self(Confined::new(State {
            stream: Some(stream),
            input: Input::default(),
            output: Output::default(),
            stall,
            body: BodyReader::none(),
            body_use: BodyUse::Dropped,
            requests: 0,
            owes_continue: false,
            task: None,
        }))
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.get()
    }

    /// Waits for the next request, whose head may be `most` bytes long. Pending also where the client has begun with a part of
    /// the preface of HTTP/2, if it `may_be_http2`.
    pub fn poll_next(
        &self,
        most: usize,
        may_be_http2: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Next, NextError>> {
        let state = &mut *self.state();
        loop {
            let is_preface_begun = may_be_http2 && state.has_part_of_preface() && !state.input.has_ended();
            if may_be_http2 && state.input.bytes.starts_with(PREFACE) {
                return Poll::Ready(Ok(Next::Http2));
            }
            if !is_preface_begun && let Some(head) = state.input.take_head(most, |bytes| read_request(bytes, most))? {
                return Poll::Ready(Ok(Next::Request(Box::new(head))));
            }
            if ready!(state.poll_fill(context))? == 0 && !is_preface_begun {
                let is_between = state.input.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                return Poll::Ready(if is_between { Ok(Next::Closed) } else { Err(NextError::Incomplete) });
            }
        }
    }

    /// Whether nothing of a request has come; a part of the preface of HTTP/2 is none.
    pub fn is_between_requests(&self) -> bool {
        let state = self.state();
        state.input.bytes.is_empty() || state.has_part_of_preface()
    }

    /// The body of the request whose head was read last.
    #[must_use]
    pub fn body(self: &Arc<Self>, head: &RequestHead) -> IncomingBody {
        let mut state = self.state();
        state.body = BodyReader::new(head.framing);
        state.owes_continue = head.expects_continue;
        state.requests += 1;
        if head.framing == Framing::Length(0) {
            state.body_use = BodyUse::Dropped;
            return IncomingBody(None);
        }
        state.body_use = BodyUse::Wanted;
        IncomingBody(Some(Coming { io: Arc::clone(self), request: state.requests }))
    }

    /// Waits for the client to leave while its request is under way. To be called by the task of the connection alone.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.state();
        if !state.output.is_empty() && state.poll_flush(context).is_err() {
            return Poll::Ready(());
        }
        if !state.body.is_done() {
            // The body reads, or what is left of it stands in the way of whatever comes behind it.
            if state.body_use == BodyUse::Wanted
                && !state.task.as_ref().is_some_and(|task| task.will_wake(context.waker()))
            {
                state.task = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        if !state.input.bytes.is_empty() {
            return Poll::Pending;
        }
        match state.poll_fill(context) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            // It has sent another request already.
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// How much of the request's body is left that will not be asked for any more, in bytes, where that is known; 0 where
    /// nothing is left, or it still is asked for.
    pub fn unread(&self) -> Option<u64> {
        let state = self.state();
        if state.body_use == BodyUse::Wanted { Some(0) } else { state.body.left() }
    }

    /// Ends the request's body behind its answer, whether it is still asked for or not: reads over what is left of it, as far as
    /// that has come. Says whether that was all, so that the next request can be told from it.
    pub fn skip_rest(&self, context: &mut Context<'_>) -> bool {
        let state = &mut *self.state();
        state.body_use = BodyUse::Dropped;
        let mut may_read = true;
        loop {
            while let Ok(Some(_)) = state.body.read(&mut state.input.bytes) {}
            if state.body.is_done() || !may_read || !matches!(state.poll_fill(context), Poll::Ready(Ok(1..))) {
                return state.body.is_done();
            }
            may_read = false;
        }
    }

    /// Whether the client has sent more than was read. Closing its connection would reset it then.
    pub fn has_more(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.state();
        !state.input.bytes.is_empty() || matches!(state.poll_fill(context), Poll::Ready(Ok(1..)))
    }

    /// Adds to what is to be written, which has room for it.
    pub fn write<T>(&self, add: impl FnOnce(&mut Output) -> T) -> T {
        let mut state = self.state();
        state.owes_continue = false;
        add(&mut state.output)
    }

    /// Whether something may be added before what waits is written.
    pub fn has_room(&self) -> bool {
        self.state().output.has_room()
    }

    /// Writes what waits.
    pub fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().poll_flush_all(context)
    }

    /// The stream, and what was read from it and not used. Nothing is read or written from here on, though a body that goes
    /// upstream in HTTP/2 may still be there.
    pub fn take_parts(&self) -> Option<(ClientStream, Bytes)> {
        let mut state = self.state();
        let input = std::mem::take(&mut state.input.bytes);
        state.stream.take().map(|stream| (stream, input))
    }
}

impl State {
    fn has_part_of_preface(&self) -> bool {
        let bytes = &self.input.bytes;
        !bytes.is_empty() && bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        self.input.poll_fill(stream, context)
    }

    fn poll_flush_all(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let flush = self.output.poll_flush(stream, context);
        self.stall.note(&flush);
        flush
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.poll_flush_all(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Piece>, IncomingError>> {
        loop {
            if let Some(piece) = self.body.read(&mut self.input.bytes)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(None));
            }
            if std::mem::take(&mut self.owes_continue) {
                self.output.front().extend_from_slice(CONTINUE);
                self.poll_flush(context)?;
            }
            if ready!(self.poll_fill(context))? == 0 {
                self.body.end()?;
            }
        }
    }

    /// Has the task of the connection read on, where that is another one.
    fn wake_task(&mut self, context: Option<&Context<'_>>) {
        if let Some(task) = self.task.take()
            && !context.is_some_and(|context| task.will_wake(context.waker()))
        {
            task.wake();
        }
    }
}

/// The body of a request, which comes from its client as it is asked for. Nothing where there is none.
pub struct IncomingBody(Option<Coming>);

struct Coming {
    io: Arc<ClientIo>,
    /// The number of its request on that connection.
    request: u64,
}

impl Coming {
    /// What it is read from, as long as its request is under way.
    fn state(&self) -> Option<RefMut<'_, State>> {
        let state = self.io.state();
        (state.requests == self.request && state.body_use == BodyUse::Wanted).then_some(state)
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        let Some(coming) = &self.0 else { return Poll::Ready(None) };
        let Some(mut state) = coming.state() else { return Poll::Ready(Some(Err(IncomingError::Over))) };
        let read = ready!(state.poll_body(context));
        if state.body.is_done() {
            state.wake_task(Some(context));
        }
        Poll::Ready(read.transpose().map(|piece| piece.map(Frame::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|coming| coming.state().is_some_and(|state| state.body.is_done()))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.0.as_ref().map_or(Some(0), |coming| coming.state()?.body.left());
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        if let Some(mut state) = self.0.as_ref().and_then(Coming::state) {
            state.body_use = BodyUse::Dropped;
            state.wake_task(None);
        }
    }
}

/// How a client begins that speaks HTTP/2 unasked (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
