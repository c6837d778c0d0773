//! Error answers: the first byte chooses encoding, status and distance, the second how the rest is split.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::StatusCode;
use keyward::openai::encoding::Encoding;
use keyward::openai::error::{ErrorBody, ErrorReading};
use keyward::telemetry::masked::holds_key;

use crate::pieces::Pieces;

/// Holds the reader of error bodies to its promises.
pub fn check(data: &[u8]) {
    let [choice, split, body @ ..] = data else { return };
    let encoding = ENCODINGS[usize::from(choice & 7) % ENCODINGS.len()];
    let status = STATUSES[usize::from(choice >> 3) % STATUSES.len()];
    // So far from the beginning that only half of it is read.
    let distance = if choice & FAR == 0 { 0 } else { BOUND.saturating_sub(body.len() / 2) };
    let body = &[&[b' '; BOUND][..distance], body].concat()[..];
    let whole = Told::of(status, encoding, std::iter::once(body));
    whole.check();
    assert_eq!(Told::of(status, encoding, Pieces::new(body, *split)), whole, "split at {split}");
    assert_eq!(Told::of(status, encoding, body.chunks(1)), whole, "byte by byte");
    // What is told of a text is told of it encoded.
    if encoding == Encoding::Identity && body.len() < BOUND {
        for (encoding, encoded) in encode(body) {
            if encoded.len() <= BOUND {
                assert_eq!(Told::of(status, encoding, std::iter::once(&encoded[..])), whole, "{encoding:?}");
            }
        }
    }
    let _ = Encoding::read(Some(body));
}

/// Everything that is made of a body.
#[derive(Debug, PartialEq)]
struct Told {
    reading: ErrorReading,
    scopes: Option<String>,
    is_full: bool,
}

impl Told {
    fn of<'a>(status: StatusCode, encoding: Encoding, pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut body = ErrorBody::new(status, encoding);
        pieces.for_each(|piece| body.push(piece));
        let is_full = encoding == Encoding::Identity && body.is_full();
        Self { reading: body.read(), scopes: body.missing_scopes(), is_full }
    }

    fn check(&self) {
        if let Some(code) = &self.reading.code {
            let is_shown = |character: char| character.is_ascii_graphic() || character == '…';
            assert!((1..=64).contains(&code.len()) && code.chars().all(is_shown) && !holds_key(code), "{code:?}");
        }
        if let Some(scopes) = &self.scopes {
            let is_shown = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b',' | b' ');
            assert!((1..=200).contains(&scopes.len()) && scopes.bytes().all(is_shown), "{scopes:?}");
        }
    }
}

fn encode(text: &[u8]) -> [(Encoding, Vec<u8>); 3] {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
    for encoder in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
        encoder.write_all(text).expect("memory");
    }
    [
        (Encoding::Gzip, gzip.finish().expect("memory")),
        (Encoding::Deflate, zlib.finish().expect("memory")),
        (Encoding::Deflate, raw.finish().expect("memory")),
    ]
}

const ENCODINGS: [Encoding; 6] =
    [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Unknown, Encoding::Zstd];

const STATUSES: [StatusCode; 4] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR];

/// The bit of the first byte that puts the body across the bound.
const FAR: u8 = 0x80;

/// No more of a body is read.
const BOUND: usize = 16 * 1024;
