//! Successes that may be errors: the first byte chooses content and encoding, the second how the rest is split.

use bytes::Bytes;
use http::StatusCode;
use keyward::openai::answer::{AnswerReader, Content};
use keyward::openai::encoding::{BOUND, Encoding};
use keyward::openai::error::ErrorReading;
use keyward::telemetry::masked::holds_key;

use crate::pieces::Pieces;

/// Holds the reader of successes to its promises.
pub fn check(data: &[u8]) {
    let [choice, split, body @ ..] = data else { return };
    let content = if choice & 1 == 0 { Content::Json } else { Content::Events };
    let encoding = ENCODINGS[usize::from(choice >> 1) % ENCODINGS.len()];
    let whole = read(content, encoding, std::iter::once(body));
    if let Some(code) = whole.1.as_ref().and_then(|reading| reading.code.as_deref()) {
        assert!((1..=64).contains(&code.len()) && !holds_key(code), "{code:?}");
    }
    assert_eq!(read(content, encoding, Pieces::new(body, *split)), whole, "split at {split}");
    assert_eq!(read(content, encoding, body.chunks(1)), whole, "byte by byte");
    assert!(encoding.decode(body).len() <= BOUND, "{encoding:?}");
    let _ = Content::read(Some(body));
}

/// Whether it says that nothing follows, and what is wrong.
fn read<'a>(
    content: Content,
    encoding: Encoding,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (bool, Option<ErrorReading>) {
    let Some(mut reader) = AnswerReader::new(StatusCode::OK, content, encoding) else { return (false, None) };
    pieces.for_each(|piece| reader.push(&Bytes::copy_from_slice(piece), false));
    (reader.is_done(), reader.finish())
}

const ENCODINGS: [Encoding; 6] =
    [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd, Encoding::Unknown];
