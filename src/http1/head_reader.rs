//! Pure. Reads the head of a message, and decides how its body is framed (RFC 9112, 2 to 6).
//!
//! What two readers could take for different messages is refused here or, where it takes a look at the whole request, in
//! the exchange's `ambiguity`.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use super::framing::{ConnectionOptions, Framing, ends_in_chunks, has_token, read_length};
use crate::field_lines::{FieldLines, LinesInPlace, Name};
use crate::message::{Answer, Request};
use crate::request_target::RequestTarget;

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    pub request: Request<()>,
    pub framing: Framing,
    /// Whether the client may send another request behind this one.
    pub persists: bool,
    /// Whether the client sends its body only when it is told to (RFC 9110, 10.1.1).
    pub expects_continue: bool,
    /// Whether it takes trailers (RFC 9110, 10.1.4).
    pub takes_trailers: bool,
}

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    pub answer: Answer<()>,
    pub framing: Framing,
    /// Whether the connection may carry another exchange behind this one.
    pub persists: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is no head of HTTP/1.1, or says of its body what cannot be.
    #[error("what came is no head of HTTP/1.1")]
    Unreadable,
    /// It is larger than heads may be, or has more than 100 fields.
    #[error("the head is too large")]
    TooLarge,
    /// Its target is longer than any may be.
    #[error("the target is too long")]
    TargetTooLong,
}

/// A head that was read, or `None` where its end has not come.
type Read<T> = Result<Option<T>, HeadError>;

/// Reads the head of a request at the beginning of `input` and takes it out. It may be `most` bytes long.
pub fn read_request(input: &mut Bytes, most: usize) -> Read<RequestHead> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(input, &mut room)? {
        httparse::Status::Complete(length) if length <= most => length,
        httparse::Status::Complete(_) => return Err(HeadError::TooLarge),
        httparse::Status::Partial => return is_partial(input, most),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Unreadable);
    };
    if target.len() > MOST_TARGET {
        return Err(HeadError::TargetTooLong);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_invalid| HeadError::Unreadable)?;
    let target = RequestTarget::read(input.slice_ref(target.as_bytes())).map_err(|_invalid| HeadError::Unreadable)?;
    let is_http_11 = version == 1;
    let (mut fields, mut lines) = (RequestFields::default(), LinesInPlace::new(input, parsed.headers.len()));
    for field in parsed.headers.iter() {
        fields.add(field, &mut lines, is_http_11)?;
    }
    let framing = fields.framing()?;
    let mut lines = lines.within(input.split_to(length));
    if fields.ends_in_chunks.is_some() {
        // Chunks overrule a length (RFC 9112, 6.3), so that nothing reads it any more.
        lines.remove(Name::ContentLength);
    }
    Ok(Some(RequestHead {
        request: Request { method, target, version: version_of(version), lines, body: () },
        framing,
        // Beside a length, chunks may have been a way to hide a request from another reader (RFC 9112, 6.1).
        persists: fields.options.persists(is_http_11) && !(fields.ends_in_chunks.is_some() && fields.has_length),
        expects_continue: fields.expects_continue && is_http_11 && framing != Framing::Length(0),
        takes_trailers: fields.takes_trailers,
    }))
}

/// What the fields of a request say of its body and its connection.
#[derive(Default)]
struct RequestFields {
    options: ConnectionOptions,
    length: Option<u64>,
    has_length: bool,
    /// Whether chunks are the last of its codings, where there are any.
    ends_in_chunks: Option<bool>,
    expects_continue: bool,
    takes_trailers: bool,
}

impl RequestFields {
    /// Notes what a field says, and keeps it among the lines.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most names mean nothing here")]
    fn add(
        &mut self,
        field: &httparse::Header<'_>,
        lines: &mut LinesInPlace,
        is_http_11: bool,
    ) -> Result<(), HeadError> {
        let (text, value) = (field.name.as_bytes(), field.value);
        let name = Name::of(text);
        match name {
            Name::TransferEncoding => {
                if !is_http_11 {
                    return Err(HeadError::Unreadable);
                }
                self.ends_in_chunks = Some(ends_in_chunks(value));
            }
            Name::ContentLength => {
                self.has_length = true;
                if self.ends_in_chunks.is_some() {
                    return Ok(());
                }
                let length = read_length(value).ok_or(HeadError::Unreadable)?;
                if let Some(before) = self.length.replace(length) {
                    // The same twice is one; two that differ are an attempt to be read in two ways.
                    return if before == length { Ok(()) } else { Err(HeadError::Unreadable) };
                }
            }
            Name::Connection => self.options.add(value),
            Name::Expect => self.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            Name::Te => self.takes_trailers |= has_token(value, "trailers"),
            _ => {}
        }
        lines.add(name, text, value);
        Ok(())
    }

    fn framing(&self) -> Result<Framing, HeadError> {
        match self.ends_in_chunks {
            Some(true) => Ok(Framing::Chunked),
            // Its end cannot be found (RFC 9112, 6.3).
            Some(false) => Err(HeadError::Unreadable),
            None => Ok(Framing::Length(self.length.unwrap_or(0))),
        }
    }
}

/// Reads the head of an answer to a request by `method` at the beginning of `input` and takes it out. It may be `most` bytes
/// long. An informational one (1xx but 101) is no answer yet, and has no body.
pub fn read_answer(input: &mut Bytes, most: usize, method: &Method) -> Read<AnswerHead> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut room)? {
        httparse::Status::Complete(length) if length <= most => length,
        httparse::Status::Complete(_) => return Err(HeadError::TooLarge),
        httparse::Status::Partial => return is_partial(input, most),
    };
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else { return Err(HeadError::Unreadable) };
    let status = StatusCode::from_u16(code).map_err(|_invalid| HeadError::Unreadable)?;
    let usual = status.canonical_reason();
    let reason =
        parsed.reason.filter(|reason| usual != Some(reason)).map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let (mut options, mut lines) = (ConnectionOptions::default(), LinesInPlace::new(input, parsed.headers.len()));
    for field in parsed.headers.iter() {
        let name = Name::of(field.name.as_bytes());
        if name == Name::Connection {
            options.add(field.value);
        }
        lines.add(name, field.name.as_bytes(), field.value);
    }
    let lines = lines.within(input.split_to(length));
    let framing = answer_framing(status, &lines, version == 1, method)?;
    let persists = options.persists(version == 1) && framing != Framing::UntilClose;
    Ok(Some(AnswerHead { answer: Answer { status, reason, lines, body: () }, framing, persists }))
}

/// RFC 9112, 6.3, for an answer.
fn answer_framing(
    status: StatusCode,
    lines: &FieldLines,
    is_http_11: bool,
    method: &Method,
) -> Result<Framing, HeadError> {
    let is_bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_bodiless || method == Method::HEAD {
        return Ok(Framing::Length(0));
    }
    if let Some(codings) = lines.all(Name::TransferEncoding).next_back() {
        return match (is_http_11, ends_in_chunks(codings)) {
            (false, _) => Err(HeadError::Unreadable),
            (true, true) => Ok(Framing::Chunked),
            (true, false) => Ok(Framing::UntilClose),
        };
    }
    let mut length = None;
    for value in lines.all(Name::ContentLength) {
        for element in value.split(|byte| *byte == b',') {
            let one = read_length(element.trim_ascii()).ok_or(HeadError::Unreadable)?;
            if length.replace(one).is_some_and(|other| other != one) {
                return Err(HeadError::Unreadable);
            }
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// Reads trailers, which end with an empty line.
pub fn read_trailers(lines: &Bytes) -> Result<HeaderMap, HeadError> {
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let httparse::Status::Complete((_, fields)) = httparse::parse_headers(lines, &mut room)? else {
        return Err(HeadError::Unreadable);
    };
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_invalid| HeadError::Unreadable)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_invalid| HeadError::Unreadable)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}

fn is_partial<T>(input: &Bytes, most: usize) -> Read<T> {
    if input.len() >= most { Err(HeadError::TooLarge) } else { Ok(None) }
}

fn version_of(minor: u8) -> Version {
    if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        if error == httparse::Error::TooManyHeaders { Self::TooLarge } else { Self::Unreadable }
    }
}

/// Whether a head that was partial when `seen` bytes of it had come may be whole now: an empty line has come since. It saves a
/// slow client's head from being read anew for each of its bytes.
#[must_use]
pub fn may_be_whole(input: &[u8], seen: usize) -> bool {
    let fresh = &input[seen.saturating_sub(3).min(input.len())..];
    let ends: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];
    ends.iter().any(|end| memchr::memmem::find(fresh, end).is_some())
}

/// How many fields a head may have.
const MOST_FIELDS: usize = 100;

/// How long a target may be, in bytes: as long as `http` takes one.
const MOST_TARGET: usize = u16::MAX as usize - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Result<Option<(RequestHead, Bytes)>, HeadError> {
        let mut input = Bytes::copy_from_slice(head.as_bytes());
        Ok(read_request(&mut input, 1024)?.map(|head| (head, input)))
    }

    fn answer(head: &str, method: &Method) -> Result<Option<AnswerHead>, HeadError> {
        read_answer(&mut Bytes::copy_from_slice(head.as_bytes()), 1024, method)
    }

    #[test]
    fn a_head_is_whole_or_not_there_and_what_is_behind_it_stays() {
        let whole = "POST /v1/files HTTP/1.1\r\nHost: k\r\nContent-Length: 3\r\nX-Empty:\r\n\r\nabc";
        let end = whole.len() - 3;
        for cut in 0..end {
            assert!(request(&whole[..cut]).expect("no fault").is_none(), "{cut}");
        }
        let (head, rest) = request(whole).expect("a head").expect("all of it");
        assert_eq!((&head.request.method, head.request.target.path()), (&Method::POST, "/v1/files"));
        assert_eq!((head.framing, head.persists, &rest[..]), (Framing::Length(3), true, &b"abc"[..]));
        assert_eq!(
            head.request.lines.iter().last().map(|line| (line.text, line.value)),
            Some((&b"X-Empty"[..], &b""[..]))
        );
    }

    #[test]
    fn the_framing_of_a_request_is_the_one_that_every_reader_sees() {
        #[track_caller]
        fn check(lines: &str, expected: Result<(Framing, bool), HeadError>) {
            let head = request(&format!("POST / HTTP/1.1\r\nHost: k\r\n{lines}\r\n"));
            let framing = head.map(|head| head.map(|(head, _)| (head.framing, head.persists)).expect("all of it"));
            assert_eq!(framing, expected, "{lines:?}");
        }
        check("", Ok((Framing::Length(0), true)));
        check("Content-Length: 5\r\n", Ok((Framing::Length(5), true)));
        check("Content-Length: 5\r\nContent-Length: 5\r\n", Ok((Framing::Length(5), true)));
        check("Content-Length: 5\r\nContent-Length: 6\r\n", Err(HeadError::Unreadable));
        check("Content-Length: 5, 5\r\n", Err(HeadError::Unreadable));
        check("Transfer-Encoding: chunked\r\n", Ok((Framing::Chunked, true)));
        check("Transfer-Encoding: gzip\r\n", Err(HeadError::Unreadable));
        check("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Ok((Framing::Chunked, false)));
        check("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", Ok((Framing::Chunked, false)));
        check("Connection: close\r\n", Ok((Framing::Length(0), false)));
    }

    #[test]
    fn a_length_beside_chunks_is_gone_wherever_it_stood() {
        for lines in
            ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
        {
            let (head, _) =
                request(&format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n")).expect("a head").expect("all of it");
            assert!(!head.request.lines.contains(Name::ContentLength), "{lines}");
        }
    }

    #[test]
    fn the_framing_of_an_answer_depends_on_its_request_and_its_status() {
        #[track_caller]
        fn check(method: &Method, head: &str, expected: Result<(Framing, bool), HeadError>) {
            let head = answer(&format!("HTTP/1.{head}\r\n\r\n"), method);
            assert_eq!(head.map(|head| head.map(|head| (head.framing, head.persists)).expect("all of it")), expected);
        }
        let get = &Method::GET;
        check(get, "1 200 OK\r\nContent-Length: 5", Ok((Framing::Length(5), true)));
        check(get, "1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5", Ok((Framing::Length(5), true)));
        check(get, "1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6", Err(HeadError::Unreadable));
        check(get, "1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", Ok((Framing::Chunked, true)));
        check(get, "1 200 OK\r\nTransfer-Encoding: gzip", Ok((Framing::UntilClose, false)));
        check(get, "1 200 OK", Ok((Framing::UntilClose, false)));
        check(get, "0 200 OK\r\nContent-Length: 5", Ok((Framing::Length(5), false)));
        check(get, "0 200 OK\r\nTransfer-Encoding: chunked", Err(HeadError::Unreadable));
        check(&Method::HEAD, "1 200 OK\r\nContent-Length: 5", Ok((Framing::Length(0), true)));
        for status in ["204 No Content", "304 Not Modified", "100 Continue", "101 Switching Protocols"] {
            check(get, &format!("1 {status}\r\nContent-Length: 5"), Ok((Framing::Length(0), true)));
        }
    }

    #[test]
    fn a_head_that_is_too_large_is_told_from_one_that_is_none() {
        for head in
            ["GET\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno field\r\n\r\n"]
        {
            assert_eq!(request(head).map(|_| ()), Err(HeadError::Unreadable), "{head:?}");
        }
        let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(count));
        assert!(request(&fields(MOST_FIELDS)).is_ok_and(|head| head.is_some()));
        assert_eq!(request(&fields(MOST_FIELDS + 1)).map(|_| ()), Err(HeadError::TooLarge));
        for head in [
            format!("GET / HTTP/1.1\r\na: {}", "a".repeat(1024)),
            format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(1024)),
        ] {
            assert_eq!(request(&head).map(|_| ()), Err(HeadError::TooLarge));
        }
    }

    #[test]
    fn a_value_that_the_reader_lets_pass_is_one() {
        for byte in 0..=u8::MAX {
            let head = [b"GET / HTTP/1.1\r\na: x", &[byte][..], b"x\r\n\r\n"].concat();
            let read = read_request(&mut Bytes::from(head), 1024);
            let is_valid = HeaderValue::from_bytes(&[b'x', byte, b'x']).is_ok();
            assert_eq!(read.is_ok_and(|head| head.is_some()), is_valid, "{byte}");
        }
    }
}
