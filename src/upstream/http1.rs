//! A connection to upstream in HTTP/1.1, which carries one exchange at a time.
//!
//! It has no task of its own: the task of its exchange polls it. While it is idle no task does, so its readiness is checked
//! when it is taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::frames::MOST_BEFORE_ANSWER;
use super::open_connections::{OpenConnection, OpenConnections};
use super::request_body::{RequestBody, RequestBodyError};
use super::upstream_io::UpstreamIo;
use crate::http1::body_reader::{BodyError, BodyReader, Piece};
use crate::http1::body_writer::{BodyWriter, TooShort};
use crate::http1::head_reader::{self, AnswerHead, HeadError};
use crate::http1::head_writer::{self, BodyLength};
use crate::http1::input::Input;
use crate::http1::output::Output;
use crate::message::{Answer, Request};
use crate::net::coarse_clock::CoarseClock;
use crate::net::connect::UpstreamStream;

/// A connection that carries one exchange at a time.
pub struct Http1Connection {
    io: UpstreamIo,
    input: Input,
    output: Output,
    /// The request, until all of it was handed on.
    sending: Option<Box<Request<RequestBody>>>,
    writer: BodyWriter,
    /// That of the request, which says whether its answer has a body.
    method: Method,
    /// The largest head of an answer, in bytes.
    max_head: usize,
    /// How much had been read when the exchange began.
    read_before: u64,
    reader: BodyReader,
    /// Whether it may carry another exchange, as far as the last answer says.
    persists: bool,
    /// When its last exchange ended.
    pub idle_since: u64,
    open: OpenConnection,
}

/// Why an exchange over a connection did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Http1Error {
    #[error("the connection to upstream broke")]
    Io(#[from] io::Error),
    #[error("upstream closed the connection")]
    Closed,
    #[error("upstream's answer has no head of HTTP/1.1")]
    Head(#[from] HeadError),
    #[error("upstream's answer breaks off or is not framed as HTTP/1.1 is")]
    Body(#[from] BodyError),
    /// The fault of the client.
    #[error("the request's body did not come whole")]
    Request(#[source] RequestBodyError),
    /// The same: it ended too soon.
    #[error(transparent)]
    TooShort(#[from] TooShort),
    #[error("upstream sent {MOST_BEFORE_ANSWER} bytes and no answer")]
    Flooded,
}

impl Http1Connection {
    /// Of a stream over which nothing has passed yet. Heads of answers may be `max_head` bytes long.
    #[must_use]
    pub fn new(
        stream: UpstreamStream,
        max_head: usize,
        coarse_clock: &CoarseClock,
        open: &OpenConnections,
    ) -> Box<Self> {
        Box::new(Self {
            io: UpstreamIo::new(stream, coarse_clock.clone()),
            input: Input::default(),
            output: Output::default(),
            sending: None,
            writer: BodyWriter::Length(0),
            method: Method::GET,
            max_head,
            read_before: 0,
            reader: BodyReader::none(),
            persists: true,
            idle_since: 0,
            open: open.note(),
        })
    }

    /// Whether it can take a request now: its last exchange is over, and upstream has neither closed it nor sent anything since.
    pub fn is_usable(&mut self) -> bool {
        let unwoken = &mut Context::from_waker(Waker::noop());
        self.may_be_kept() && self.input.poll_fill(&mut self.io, unwoken).is_pending()
    }

    /// Whether it may carry another exchange behind the one that is over.
    #[must_use]
    pub fn may_be_kept(&self) -> bool {
        let is_over = self.sending.is_none() && self.output.is_empty() && self.reader.is_done();
        is_over && self.persists && self.input.bytes.is_empty() && !self.io.is_closed_for_writing()
    }

    /// Begins an exchange. Nothing goes out before [`Http1Connection::poll_head`].
    pub fn send(&mut self, request: Box<Request<RequestBody>>) {
        let length = BodyLength::of(&request.body);
        self.method.clone_from(&request.method);
        self.writer = head_writer::write_request(&request, length, self.output.front());
        self.read_before = self.io.read();
        self.sending = (length != BodyLength::None).then_some(request);
    }

    /// Waits for the head of the answer, and sends the request meanwhile.
    pub fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer<()>, Http1Error>> {
        loop {
            self.poll_send(context)?;
            while let Some(head) = self.read_head()? {
                let AnswerHead { answer, framing, persists } = head;
                if answer.status == StatusCode::CONTINUE
                    && let Some(request) = &self.sending
                {
                    request.body.release();
                }
                if answer.status.is_informational() && answer.status != StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                (self.reader, self.persists) = (BodyReader::new(framing), persists);
                return Poll::Ready(Ok(answer));
            }
            if self.has_read_in_exchange() > MOST_BEFORE_ANSWER {
                return Poll::Ready(Err(Http1Error::Flooded));
            }
            if ready!(self.input.poll_fill(&mut self.io, context))? == 0 {
                return Poll::Ready(Err(Http1Error::Closed));
            }
        }
    }

    /// Whether upstream has answered nothing at all in this exchange, not even a part of a head.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.has_read_in_exchange() == 0
    }

    fn has_read_in_exchange(&self) -> u64 {
        self.io.read() - self.read_before
    }

    fn read_head(&mut self) -> Result<Option<AnswerHead>, HeadError> {
        let Self { input, max_head, method, .. } = self;
        input.take_head(*max_head, |bytes| head_reader::read_answer(bytes, *max_head, method))
    }

    /// The next piece of the answer's body, or nothing at its end. What is left of the request goes out meanwhile.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        self.poll_piece(context).map(|piece| piece.transpose().map(|piece| piece.map(Frame::from)))
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Piece>, Http1Error>> {
        self.poll_send(context)?;
        loop {
            if let Some(piece) = self.reader.read(&mut self.input.bytes)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.reader.is_done() {
                return Poll::Ready(Ok(None));
            }
            if ready!(self.input.poll_fill(&mut self.io, context))? == 0 {
                self.reader.end()?;
            }
        }
    }

    /// Whether the answer's body was handed on to its end.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        self.reader.is_done()
    }

    /// How much of the answer's body is to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        self.reader.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Hands on what there is of the request, as far as upstream takes it.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<(), Http1Error> {
        while let Some(request) = &mut self.sending {
            if !self.output.has_room() {
                match self.output.poll_flush(&mut self.io, context) {
                    Poll::Ready(flushed) => flushed?,
                    Poll::Pending => return Ok(()),
                }
            }
            let is_over = match Pin::new(&mut request.body).poll_frame(context) {
                Poll::Pending => break,
                Poll::Ready(None) => {
                    self.writer.end(&mut self.output)?;
                    true
                }
                Poll::Ready(Some(frame)) => match frame.map_err(Http1Error::Request)?.into_data() {
                    Ok(data) if data.is_empty() => false,
                    Ok(data) => {
                        let is_last = request.body.is_end_stream();
                        self.writer.write(data, is_last, &mut self.output);
                        is_last && self.writer.end(&mut self.output).map(|()| true)?
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.writer.end_with(&trailers, &mut self.output)?;
                        true
                    }
                },
            };
            if is_over {
                self.sending = None;
            }
        }
        match self.output.poll_flush(&mut self.io, context) {
            Poll::Ready(flushed) => Ok(flushed?),
            Poll::Pending => Ok(()),
        }
    }

    /// What is left where upstream has switched to another protocol.
    #[must_use]
    pub fn switch(self: Box<Self>) -> SwitchedConnection {
        SwitchedConnection { stream: self.io.into_inner(), early: self.input.bytes, open: self.open }
    }
}

/// What is left of a connection on which upstream has switched to another protocol.
pub struct SwitchedConnection {
    pub stream: UpstreamStream,
    /// What upstream sent right behind its answer.
    pub early: Bytes,
    /// Counts it still.
    pub open: OpenConnection,
}
