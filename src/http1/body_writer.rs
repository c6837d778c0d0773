//! Pure. Writes a body in the framing that its head announced (RFC 9112, 6 and 7).

use std::io::Write;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};

use super::output::Output;
use crate::field_lines::{FieldLines, Name};

/// Writes one body.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyWriter {
    /// That many bytes are still to be written.
    Length(u64),
    /// In chunks. Trailers go out where the head has announced them, and the other side takes them.
    Chunked(Box<[HeaderName]>),
    /// Everything up to the end of the connection (answers to HTTP/1.0 alone).
    UntilClose,
}

/// A body that ended before it was as long as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body ended {missing} bytes before its Content-Length")]
pub struct TooShort {
    missing: u64,
}

impl BodyWriter {
    /// In chunks, with the trailers that the head announces.
    #[must_use]
    pub fn chunked(head: &FieldLines) -> Self {
        let listed = head.all(Name::Trailer).flat_map(|names| names.split(|byte| *byte == b','));
        let names = listed.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        Self::Chunked(names.filter(may_be_a_trailer).collect())
    }

    /// Adds a piece, at least one byte long; what is more than the announced length is left out. `is_last` saves a write.
    pub fn write(&mut self, mut piece: Bytes, is_last: bool, output: &mut Output) {
        match self {
            Self::Length(left) => {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
                output.push(piece, b"");
            }
            Self::UntilClose => output.push(piece, b""),
            Self::Chunked(_) => {
                // Writing into memory cannot fail.
                let _ = write!(output.front(), "{:x}\r\n", piece.len());
                output.push(piece, if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" });
                if is_last {
                    *self = Self::Length(0);
                }
            }
        }
    }

    /// Ends the body.
    pub fn end(&mut self, output: &mut Output) -> Result<(), TooShort> {
        match std::mem::replace(self, Self::Length(0)) {
            Self::Length(0) | Self::UntilClose => Ok(()),
            Self::Length(missing) => Err(TooShort { missing }),
            Self::Chunked(_) => {
                output.front().extend_from_slice(b"0\r\n\r\n");
                Ok(())
            }
        }
    }

    /// Ends the body with those of these trailers that its head has announced, if it is one that can have any.
    pub fn end_with(&mut self, trailers: &HeaderMap, output: &mut Output) -> Result<(), TooShort> {
        if let Self::Chunked(announced) = self {
            let front = output.front();
            front.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name)) {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    front.extend_from_slice(part);
                }
            }
            front.extend_from_slice(b"\r\n");
            *self = Self::Length(0);
            return Ok(());
        }
        self.end(output)
    }
}

/// Not what says how a message is read, where it goes, or who sent it (RFC 9110, 6.5.1).
fn may_be_a_trailer(name: &HeaderName) -> bool {
    ![
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(mut writer: BodyWriter, pieces: &[&'static str], expected: Result<&str, TooShort>) {
        let mut output = Output::default();
        for piece in pieces {
            writer.write(Bytes::from_static(piece.as_bytes()), false, &mut output);
        }
        let ended = writer.end(&mut output);
        assert_eq!(
            ended.map(|()| String::from_utf8(output.front().clone()).expect("text")),
            expected.map(str::to_owned)
        );
    }

    #[test]
    fn a_body_is_as_long_as_announced_or_ends_with_an_empty_chunk() {
        check(BodyWriter::Length(5), &["hel", "lo!"], Ok("hello"));
        check(BodyWriter::Length(0), &[], Ok(""));
        check(BodyWriter::Length(6), &["hello"], Err(TooShort { missing: 1 }));
        check(
            BodyWriter::chunked(&FieldLines::default()),
            &["hello, ", "world"],
            Ok("7\r\nhello, \r\n5\r\nworld\r\n0\r\n\r\n"),
        );
        check(BodyWriter::UntilClose, &["hello"], Ok("hello"));
    }

    #[test]
    fn the_last_piece_brings_the_end_along() {
        let (mut writer, mut output) = (BodyWriter::chunked(&FieldLines::default()), Output::default());
        writer.write(Bytes::from_static(b"!"), true, &mut output);
        assert_eq!(writer.end(&mut output), Ok(()));
        assert_eq!(output.front(), b"1\r\n!\r\n0\r\n\r\n");
    }

    #[test]
    fn only_trailers_that_were_announced_and_mean_nothing_else_go_out() {
        let mut head = FieldLines::default();
        head.add(Name::Trailer, HeaderValue::from_static("X-Sum, authorization"));
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "x-other", "authorization"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let mut output = Output::default();
        BodyWriter::chunked(&head).end_with(&trailers, &mut output).expect("an end");
        assert_eq!(output.front(), b"0\r\nx-sum: 1\r\n\r\n");
    }
}
