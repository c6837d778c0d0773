//! Heads of answers: the first byte chooses the request that they answer and how long they may be, the second how the rest is
//! split.

use http::header::{self, HeaderMap};
use http::{Method, StatusCode, Version};
use keyward::exchange::headers::strip_answer;
use keyward::http1::body_reader::BodyReader;
use keyward::http1::framing::Framing;
use keyward::http1::head_reader::{AnswerHead, HeadError, read_answer};
use keyward::http1::head_writer::{Asked, BodyLength, write_answer};

use crate::pieces::{Pieces, read_head};

/// Holds the reader and the writer of answers' heads to their promises.
pub fn check(data: &[u8]) {
    let [choice, split, bytes @ ..] = data else { return };
    let choice = Choice::of(*choice);
    let (whole, rest) = choice.read(std::iter::once(bytes));
    let told = choice.tell(&whole);
    for (pieces, how) in [
        (&mut Pieces::new(bytes, *split) as &mut dyn Iterator<Item = &[u8]>, "in pieces"),
        (&mut bytes.chunks(1), "byte by byte"),
    ] {
        let (cut, cut_rest) = choice.read(pieces);
        assert_eq!((choice.tell(&cut), cut_rest), (told.clone(), rest.clone()), "{how}, by {split}");
    }
    if let Ok(Some(head)) = whole {
        assert!(bytes.len() - rest.len() <= choice.most, "longer than it may be");
        let came = if says_http_11(bytes) { Version::HTTP_11 } else { Version::HTTP_10 };
        check_framing(&head, came, &choice.method);
        check_written(head, &choice);
    }
}

/// What a head answers, and how long it may be.
struct Choice {
    method: Method,
    version: Version,
    takes_trailers: bool,
    most: usize,
}

/// What was read in place of a head.
type Found = Result<Option<AnswerHead>, HeadError>;

// === impl Choice ===

impl Choice {
    fn of(choice: u8) -> Self {
        let has = |bit: u8| choice & bit != 0;
        Self {
            method: if has(1) { Method::HEAD } else { Method::POST },
            version: if has(2) { Version::HTTP_10 } else { Version::HTTP_11 },
            takes_trailers: has(4),
            most: if has(8) { SHORT } else { MAX_HEAD },
        }
    }

    fn read<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> (Found, Vec<u8>) {
        read_head(pieces, self.most, |input| read_answer(input, self.most, &self.method))
    }

    /// All of what was read. Where a head may be too long, it depends on how much of it has come why it is refused.
    fn tell(&self, found: &Found) -> String {
        let head = found.as_ref().ok().and_then(Option::as_ref);
        match found {
            Err(_) if self.most == SHORT => "refused".to_owned(),
            Ok(_) | Err(_) => format!("{found:?} {:?}", head.map(map_of)),
        }
    }
}

/// There is one way to read where its body ends, and that is the one.
fn check_framing(head: &AnswerHead, version: Version, method: &Method) {
    let (status, headers) = (head.answer.status, map_of(head));
    let codings: Vec<_> = headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let mut lengths: Vec<_> = headers.get_all(header::CONTENT_LENGTH).iter().flat_map(elements).collect();
    lengths.dedup();
    let expected = if is_bodiless(status) || *method == Method::HEAD {
        Framing::Length(0)
    } else if let Some(last) = codings.last() {
        assert_eq!(version, Version::HTTP_11, "HTTP/1.0 knows no codings of transfer");
        let is_chunked = elements(last).last().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if is_chunked { Framing::Chunked } else { Framing::UntilClose }
    } else {
        assert!(lengths.len() <= 1, "{lengths:?}");
        lengths.first().map_or(Framing::UntilClose, |length| {
            assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{length:?}");
            Framing::Length(length.parse().expect("a length"))
        })
    };
    assert_eq!(head.framing, expected, "{head:?}");
    let says = |word| {
        let mut options = headers.get_all(header::CONNECTION).iter().flat_map(elements);
        options.any(|option| option.eq_ignore_ascii_case(word))
    };
    let is_kept = version == Version::HTTP_11 || says("keep-alive");
    assert_eq!(head.persists, is_kept && !says("close") && expected != Framing::UntilClose, "{head:?}");
}

/// What a client gets of it has one framing, too: the same, or chunks in place of the end of upstream's connection.
fn check_written(head: AnswerHead, choice: &Choice) {
    let AnswerHead { mut answer, framing, persists } = head;
    let status = answer.status;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        // It goes no further.
        return;
    }
    strip_answer(&mut answer.lines, false);
    let Choice { method, version, takes_trailers, .. } = choice;
    let asked = Asked { method: method.clone(), version: *version, takes_trailers: *takes_trailers };
    let length = match BodyReader::new(framing).left() {
        Some(0) => BodyLength::None,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Unknown,
    };
    let mut written = Vec::new();
    write_answer(&answer, &asked, length, persists, &mut written);
    let lines = count_framing(&written);
    assert!(lines <= 1, "{lines} framings: {}", String::from_utf8_lossy(&written));
    let (again, rest) =
        read_head(std::iter::once(&*written), usize::MAX, |input| read_answer(input, usize::MAX, method));
    let Ok(Some(again)) = again else { panic!("{again:?} in {:?}", String::from_utf8_lossy(&written)) };
    assert!(rest.is_empty() && again.answer.status == status);
    assert_eq!(says_http_11(&written), *version == Version::HTTP_11);
    let expected = match framing {
        Framing::Length(_) => framing,
        Framing::Chunked | Framing::UntilClose if *version == Version::HTTP_11 => Framing::Chunked,
        Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
    };
    assert_eq!(again.framing, expected, "{}", String::from_utf8_lossy(&written));
    assert_eq!(again.persists, persists && expected != Framing::UntilClose, "{}", String::from_utf8_lossy(&written));
    check_headers(&answer.lines.into_map(), &map_of(&again));
}

/// Every header that is not of the framing or the connection goes on as it is.
fn check_headers(came: &HeaderMap, written: &HeaderMap) {
    let is_ours = |name: &header::HeaderName| OURS.contains(name);
    for name in came.keys().filter(|name| !is_ours(name)) {
        assert!(came.get_all(name).iter().eq(written.get_all(name)), "{name}");
    }
    assert!(written.keys().all(|name| is_ours(name) || came.contains_key(name)), "{written:?}");
}

/// The lines of a head, as a library has them.
fn map_of(head: &AnswerHead) -> HeaderMap {
    head.answer.lines.clone().into_map()
}

/// Whether the head says that it is of HTTP/1.1.
fn says_http_11(head: &[u8]) -> bool {
    let begin = b"HTTP/1.";
    let at = head.windows(begin.len()).position(|window| window == begin);
    at.is_some_and(|at| head.get(at + begin.len()) == Some(&b'1'))
}

/// How many lines of a head say where its body ends.
fn count_framing(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    text.split("\r\n")
        .filter(|line| line.starts_with("content-length:") || line.starts_with("transfer-encoding:"))
        .count()
}

/// The parts of a list, which need not be text.
fn elements(list: &header::HeaderValue) -> Vec<String> {
    list.as_bytes()
        .split(|byte| *byte == b',')
        .map(|part| String::from_utf8_lossy(part.trim_ascii()).into_owned())
        .collect()
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

/// What keyward says in place of upstream.
static OURS: [header::HeaderName; 5] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::DATE, header::TRAILER, header::TRANSFER_ENCODING];

/// As keyward has it.
const MAX_HEAD: usize = 64 * 1024;

/// As short as a fuzzer's heads are.
const SHORT: usize = 64;
