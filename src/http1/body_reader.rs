//! Pure. Reads a body out of the bytes that come: its framing ends where RFC 9112, 6 and 7 say, and nowhere else.

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Frame;

use super::framing::Framing;
use super::head_reader::{self, HeadError};

/// Reads one body.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
}

#[derive(Debug)]
enum State {
    Done,
    Length(u64),
    UntilClose,
    Chunked(Box<Chunks>),
    /// Where it ends is not known any more, and nothing behind it is another message.
    Broken(BodyError),
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes of it, at least one.
    Data(Bytes),
    /// The fields behind its last chunk.
    Trailers(HeaderMap),
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection ended.
    #[error("the connection ended before the body did")]
    Incomplete,
    /// The line of a chunk's size has no hexadecimal number at its beginning, or something behind it that may not be there.
    #[error("a chunk does not begin with its size")]
    ChunkSize,
    /// A chunk's size does not fit 64 bits.
    #[error("a chunk is larger than any body")]
    ChunkTooLarge,
    /// A line of the framing, a chunk or a trailer does not end with CR LF.
    #[error("a chunk, its size or a trailer does not end with CR LF")]
    LineEnd,
    /// Chunk extensions, which mean nothing here, are longer than 16 KiB in all.
    #[error("the extensions of its chunks are longer than 16 KiB")]
    Extensions,
    /// The trailers are longer than 16 KiB, or more than 100.
    #[error("the trailers are longer than 16 KiB, or more than 100")]
    TrailersTooLong,
    /// The trailers are no fields.
    #[error("the trailers are no fields")]
    Trailers,
}

/// Where in a chunked body the next byte stands (RFC 9112, 7.1).
#[derive(Debug)]
struct Chunks {
    place: Place,
    /// What is left of the chunk, in bytes; while its size is read, the size so far.
    left: u64,
    /// How many bytes of extensions have come in all.
    extensions: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first digit of a chunk's size.
    SizeStart,
    Size,
    /// Blanks behind the size (7.1.1, BWS).
    SizeBlank,
    Extension,
    /// LF behind the size and its extensions.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or CR of the empty line.
    TrailerStart,
    Trailer,
    /// LF behind a trailer.
    TrailerLf,
    /// LF of the empty line.
    EndLf,
}

impl BodyReader {
    /// Before its first byte.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => State::Chunked(Box::new(Chunks {
                place: Place::SizeStart,
                left: 0,
                extensions: 0,
                trailers: Vec::new(),
            })),
        };
        Self { state }
    }

    /// Of a message without a body.
    #[must_use]
    pub fn none() -> Self {
        Self { state: State::Done }
    }

    /// Whether its last byte was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How much is to come, in bytes, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            State::UntilClose | State::Chunked(_) | State::Broken(_) => None,
        }
    }

    /// Takes the next piece out of `input`: nothing where all of that is used up, or the body is at its end. What stands
    /// behind the body stays in `input`.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<Piece>, BodyError> {
        match &mut self.state {
            State::Done => Ok(None),
            State::Length(left) => {
                let data = take(input, left);
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(data)
            }
            State::UntilClose => {
                let data = std::mem::take(input);
                Ok((!data.is_empty()).then_some(Piece::Data(data)))
            }
            State::Chunked(chunks) => match chunks.read(input) {
                Ok(Step::Piece(piece)) => Ok(Some(piece)),
                Ok(Step::MoreToCome) => Ok(None),
                Ok(Step::End(trailers)) => {
                    self.state = State::Done;
                    Ok(trailers.map(Piece::Trailers))
                }
                Err(error) => {
                    self.state = State::Broken(error);
                    Err(error)
                }
            },
            State::Broken(error) => Err(*error),
        }
    }

    /// The connection has ended. Only a body that goes on until then ends with it.
    pub fn end(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(BodyError::Incomplete),
            State::Broken(error) => Err(error),
        }
    }
}

enum Step {
    Piece(Piece),
    MoreToCome,
    End(Option<HeaderMap>),
}

impl Chunks {
    fn read(&mut self, input: &mut Bytes) -> Result<Step, BodyError> {
        loop {
            if self.place == Place::Data {
                let Some(data) = take(input, &mut self.left) else { return Ok(Step::MoreToCome) };
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                return Ok(Step::Piece(data));
            }
            let Some(byte) = input.first().copied() else { return Ok(Step::MoreToCome) };
            input.advance(1);
            if self.step(byte)? {
                return self.end();
            }
        }
    }

    /// Takes the next byte of the framing. Says whether it was the last of the body.
    fn step(&mut self, byte: u8) -> Result<bool, BodyError> {
        self.place = match (self.place, byte) {
            (Place::Size | Place::SizeBlank | Place::Extension, b'\r') => Place::SizeLf,
            (Place::Size | Place::SizeBlank, b' ' | b'\t') => Place::SizeBlank,
            (Place::Size | Place::SizeBlank, b';') => Place::Extension,
            (Place::SizeStart | Place::Size, byte) => {
                self.add_digit(byte)?;
                Place::Size
            }
            (Place::SizeBlank, _) => return Err(BodyError::ChunkSize),
            // Some readers end a line there, and would see other chunks, or a request, behind it.
            (Place::Extension | Place::TrailerStart | Place::Trailer, b'\n') => return Err(BodyError::LineEnd),
            (Place::Extension, _) => {
                self.extensions += 1;
                if self.extensions >= MOST_EXTENSIONS {
                    return Err(BodyError::Extensions);
                }
                Place::Extension
            }
            (Place::SizeLf, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::SizeStart,
            (Place::TrailerStart, b'\r') => Place::EndLf,
            (Place::TrailerStart | Place::Trailer, byte) => {
                self.keep_trailer(byte)?;
                if byte == b'\r' { Place::TrailerLf } else { Place::Trailer }
            }
            (Place::TrailerLf, b'\n') => {
                self.keep_trailer(byte)?;
                Place::TrailerStart
            }
            (Place::EndLf, b'\n') => return Ok(true),
            (Place::SizeLf | Place::Data | Place::DataCr | Place::DataLf | Place::TrailerLf | Place::EndLf, _) => {
                return Err(BodyError::LineEnd);
            }
        };
        Ok(false)
    }

    fn add_digit(&mut self, byte: u8) -> Result<(), BodyError> {
        let digit = char::from(byte).to_digit(16).ok_or(BodyError::ChunkSize)?;
        let shifted = self.left.checked_mul(16).ok_or(BodyError::ChunkTooLarge)?;
        self.left = shifted + u64::from(digit);
        Ok(())
    }

    fn keep_trailer(&mut self, byte: u8) -> Result<(), BodyError> {
        if self.trailers.len() >= MOST_TRAILERS {
            return Err(BodyError::TrailersTooLong);
        }
        self.trailers.push(byte);
        Ok(())
    }

    fn end(&mut self) -> Result<Step, BodyError> {
        if self.trailers.is_empty() {
            return Ok(Step::End(None));
        }
        self.trailers.extend_from_slice(b"\r\n");
        let lines = Bytes::from(std::mem::take(&mut self.trailers));
        let trailers = head_reader::read_trailers(&lines).map_err(|error| match error {
            HeadError::TooLarge | HeadError::TargetTooLong => BodyError::TrailersTooLong,
            HeadError::Unreadable => BodyError::Trailers,
        })?;
        Ok(Step::End(Some(trailers)))
    }
}

/// As many bytes of `input` as there are, and no more than `left`, which falls by as many.
fn take(input: &mut Bytes, left: &mut u64) -> Option<Piece> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= count as u64;
    (count > 0).then(|| Piece::Data(input.split_to(count)))
}

/// How long the extensions of a body's chunks may be in all, in bytes.
const MOST_EXTENSIONS: usize = 16 * 1024;

/// How long trailers may be in all, in bytes.
const MOST_TRAILERS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Its data, its trailers, what is left behind it, and whether it is at its end.
    type Body = (Vec<u8>, Option<HeaderMap>, Vec<u8>, bool);

    /// What a body comes to when `bytes` come in pieces of `size`.
    fn read(framing: Framing, bytes: &[u8], size: usize) -> Result<Body, BodyError> {
        let mut reader = BodyReader::new(framing);
        let (mut data, mut trailers, mut behind) = (Vec::new(), None, Vec::new());
        for piece in bytes.chunks(size) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(piece) = reader.read(&mut input)? {
                match piece {
                    Piece::Data(piece) => data.extend_from_slice(&piece),
                    Piece::Trailers(fields) => trailers = Some(fields),
                }
            }
            behind.extend_from_slice(&input);
        }
        Ok((data, trailers, behind, reader.is_done()))
    }

    #[track_caller]
    fn check(framing: Framing, bytes: &str, data: &str, behind: &str) {
        for size in 1..=bytes.len().max(1) {
            let (read, trailers, rest, is_done) = read(framing, bytes.as_bytes(), size).expect("a body");
            assert_eq!((read, rest), (data.into(), behind.into()), "in pieces of {size}");
            assert!(is_done && trailers.is_none());
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        check(Framing::Length(5), "helloGET", "hello", "GET");
        check(Framing::Length(0), "GET", "", "GET");
        check(Framing::Chunked, "5\r\nhello\r\n0\r\n\r\nGET", "hello", "GET");
        check(Framing::Chunked, "A \t;a=\"b\"\r\n0123456789\r\n1;\r\n!\r\n000\r\n\r\n", "0123456789!", "");
    }

    #[test]
    fn a_body_until_the_close_ends_with_it_and_no_other_does() {
        let mut reader = BodyReader::new(Framing::UntilClose);
        let mut input = Bytes::from_static(b"all");
        assert_eq!(reader.read(&mut input), Ok(Some(Piece::Data(Bytes::from_static(b"all")))));
        assert!(!reader.is_done());
        reader.end().expect("its end");
        assert!(reader.is_done());
        for framing in [Framing::Length(1), Framing::Chunked] {
            assert_eq!(BodyReader::new(framing).end(), Err(BodyError::Incomplete));
        }
    }

    #[test]
    fn trailers_are_fields_behind_the_last_chunk() {
        let bytes = b"1\r\n!\r\n0\r\nx-sum: 1\r\nX-Other:2\r\n\r\nGET";
        for size in 1..=bytes.len() {
            let (data, trailers, behind, is_done) = read(Framing::Chunked, bytes, size).expect("a body");
            assert_eq!((data, behind, is_done), (b"!".to_vec(), b"GET".to_vec(), true));
            let trailers = trailers.expect("trailers");
            assert_eq!((&trailers["x-sum"], &trailers["x-other"]), (&"1".parse().unwrap(), &"2".parse().unwrap()));
        }
    }

    #[test]
    fn nothing_is_read_behind_a_fault() {
        let mut reader = BodyReader::new(Framing::Chunked);
        let mut input = Bytes::from_static(b"1!\r\n!\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        for _ in 0..3 {
            assert_eq!(reader.read(&mut input), Err(BodyError::ChunkSize));
            assert_eq!((reader.is_done(), reader.left(), reader.end()), (false, None, Err(BodyError::ChunkSize)));
        }
    }

    #[test]
    fn what_two_readers_may_take_for_different_chunks_is_refused() {
        #[track_caller]
        fn check(bytes: &str, expected: BodyError) {
            for size in [1, 2, bytes.len()] {
                assert_eq!(read(Framing::Chunked, bytes.as_bytes(), size), Err(expected), "{bytes:?}");
            }
        }
        check("x\r\n", BodyError::ChunkSize);
        check("\r\n", BodyError::ChunkSize);
        check("+1\r\n", BodyError::ChunkSize);
        check("0x1\r\n", BodyError::ChunkSize);
        check("1 1\r\n", BodyError::ChunkSize);
        check("1\n!", BodyError::ChunkSize);
        check("1;a\n!", BodyError::LineEnd);
        check("1\r!", BodyError::LineEnd);
        check("1\r\n!!\r\n", BodyError::LineEnd);
        check("1\r\n!\n0", BodyError::LineEnd);
        check("10000000000000000\r\n", BodyError::ChunkTooLarge);
        check("0\r\n\rX", BodyError::LineEnd);
        check("0\r\na: b\rX", BodyError::LineEnd);
        check("0\r\na: b\nc: d\r\n\r\n", BodyError::LineEnd);
        check("0\r\n\nGET / HTTP/1.1\r\n\r\n", BodyError::LineEnd);
        check("0\r\na: b\n\r\nGET / HTTP/1.1\r\n\r\n", BodyError::LineEnd);
        check("0\r\nno field\r\n\r\n", BodyError::Trailers);
        check(&format!("1;{}", "a".repeat(MOST_EXTENSIONS)), BodyError::Extensions);
        check(&format!("0\r\na: {}", "a".repeat(MOST_TRAILERS)), BodyError::TrailersTooLong);
        check(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(101)), BodyError::TrailersTooLong);
    }
}
