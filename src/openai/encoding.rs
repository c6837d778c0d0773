//! Pure. The beginning of an encoded body, decoded within bounds: a bomb costs no more than any other body.

use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How a body is encoded (RFC 9110, 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    Gzip,
    /// `deflate`: zlib, or raw as some send it.
    Deflate,
    /// `br`.
    Brotli,
    Zstd,
    /// Something that keyward does not decode.
    Unknown,
}

impl Encoding {
    /// From the value of `Content-Encoding`.
    #[must_use]
    pub fn read(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Self::Identity };
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("identity") || value.is_empty() => Self::Identity,
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("br") => Self::Brotli,
            () if is("zstd") => Self::Zstd,
            () => Self::Unknown,
        }
    }

    /// As far as it can be read, and no further than [`BOUND`]: a cut body may still hold what matters.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Identity => bytes[..bytes.len().min(BOUND)].to_vec(),
            Self::Gzip => bounded(flate2::read::GzDecoder::new(bytes)),
            Self::Deflate => match bounded(flate2::read::ZlibDecoder::new(bytes)) {
                nothing if nothing.is_empty() => bounded(flate2::read::DeflateDecoder::new(bytes)),
                text => text,
            },
            Self::Brotli => decode_brotli(bytes),
            Self::Zstd => decode_zstd(bytes).unwrap_or_default(),
            Self::Unknown => Vec::new(),
        }
    }
}

fn bounded(decoder: impl Read) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = decoder.take(BOUND as u64).read_to_end(&mut text);
    text
}

/// The decoder makes its whole window at once: up to 16 MiB, and in an extension that no `br` has (RFC 7932, 9.1) up to a
/// gigabyte. Nothing in the first 16 KiB looks back further than these, so that a wider window is opened as one of 1 MiB.
fn decode_brotli(bytes: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = bytes.split_first() else { return Vec::new() };
    if first & 0x7f == LARGE_WINDOW {
        return Vec::new();
    }
    // Four bits that begin with a one say from 18 (the next three are 1) to 24 (they are 7).
    let is_wider = first & 1 == 1 && (first >> 1) & 7 > MIB_WINDOW;
    let first = if is_wider { (first & !0xf) | (MIB_WINDOW << 1) | 1 } else { *first };
    bounded(brotli_decompressor::Decompressor::new((&[first][..]).chain(rest), BOUND))
}

/// The decoder's memory grows with what is decoded, whatever the window, and a block is no longer than 128 KiB.
fn decode_zstd(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW);
    decoder.init(&mut bytes).ok()?;
    if !matches!(decoder.decode_blocks(&mut bytes, BlockDecodingStrategy::UptoBytes(BOUND)), Ok(true)) {
        // It lets nothing out that a later block may look back to; so there comes a last and empty one (with a checksum,
        // should there have to be one).
        decoder.decode_blocks(&LAST_BLOCK[..], BlockDecodingStrategy::All).ok()?;
    }
    let mut text = decoder.collect()?;
    text.truncate(BOUND);
    Some(text)
}

/// How much of a body is read, before and after decoding, in bytes.
pub const BOUND: usize = 16 * 1024;

/// How a stream of brotli begins that has a window wider than any of RFC 7932.
const LARGE_WINDOW: u8 = 0x11;

/// The three bits of a window of 1 MiB.
const MIB_WINDOW: u8 = 3;

/// No wider window is needed in HTTP (RFC 9659, 3).
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

/// A raw block without content that is the last one (RFC 8878, 3.1.1.2), and room for a checksum.
const LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = br#"{"error":{"code":"invalid_api_key"}}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn what_is_encoded_is_read() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(TEXT).expect("memory");
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        raw.write_all(TEXT).expect("memory");
        for (encoding, body) in [
            (Encoding::Identity, TEXT.to_vec()),
            (Encoding::Gzip, gzip(TEXT)),
            (Encoding::Deflate, zlib.finish().expect("memory")),
            (Encoding::Deflate, raw.finish().expect("memory")),
            // What `brotli -c` makes of it, which opens 4 MiB.
            (Encoding::Brotli, [&[139, 17, 128], TEXT, &[3]].concat()),
            (Encoding::Zstd, ZSTD.to_vec()),
            (Encoding::Zstd, ZSTD_CHECKED.to_vec()),
            (Encoding::Zstd, ZSTD_CUT.to_vec()),
        ] {
            assert_eq!(encoding.decode(&body), TEXT, "{encoding:?}");
        }
        assert_eq!(Encoding::Unknown.decode(TEXT), b"");
        let events = Encoding::Zstd.decode(ZSTD_EVENTS);
        assert!(
            events.starts_with(b"data: {\"id\":\"a\",\"delta\":\"0\"}\n\n")
                && events.ends_with(&[TEXT, b"\n\n"].concat())
        );
        assert_eq!((events.len(), Encoding::Zstd.decode(&ZSTD_EVENTS[..150])), (1274, Vec::new()), "no block is whole");
    }

    #[test]
    fn a_bomb_is_read_as_far_as_anything_else() {
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert_eq!(Encoding::Gzip.decode(&bomb).len(), BOUND);
        // Blocks that repeat one byte 128 KiB times, each of them four bytes long.
        let block = [&[0x02, 0x00, 0x10][..], b" "].concat();
        let bomb = [&ZSTD_FRAME[..], &[0x50], &block.repeat(4000)].concat();
        assert_eq!(Encoding::Zstd.decode(&bomb), [b' '; BOUND]);
    }

    #[test]
    fn a_window_that_no_encoding_has_is_not_opened() {
        // Thirty million spaces, with a window of 16 MiB and with one of a gigabyte.
        let wide = b"\xcf\xff\xff\x7f\xf8%@\xe2\xb1@ \xf7\xfe?\xff\x86\x93\xf1K\0\xc4a\x01\x80\xcen2";
        assert_eq!(Encoding::Brotli.decode(wide), [b' '; BOUND]);
        let too_wide =
            b"\x11\x1e\xff\xff\xff\xe1\x97\0\x89\xc7\x02\x01\xb9\xf7\xff\xf97\x9c\x8c_\x02 \x0e\x0b\0\xe8\xec&\x03";
        assert_eq!(Encoding::Brotli.decode(too_wide), b"");
        let text = [&[0x21, 0x00, 0x00][..], b"text"].concat();
        for (window, expected) in [(0x50, &b"text"[..]), (0x68, b"text"), (0x69, b""), (0xf8, b"")] {
            assert_eq!(Encoding::Zstd.decode(&[&ZSTD_FRAME[..], &[window], &text].concat()), expected, "{window:x}");
        }
    }

    #[test]
    fn encodings() {
        #[track_caller]
        fn check(value: Option<&str>, expected: Encoding) {
            assert_eq!(Encoding::read(value.map(str::as_bytes)), expected);
        }
        check(None, Encoding::Identity);
        check(Some("GZIP"), Encoding::Gzip);
        check(Some("x-gzip"), Encoding::Gzip);
        check(Some("deflate"), Encoding::Deflate);
        check(Some(" br "), Encoding::Brotli);
        check(Some("zstd"), Encoding::Zstd);
        check(Some("compress"), Encoding::Unknown);
        check(Some("gzip, br"), Encoding::Unknown);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for encoding in
                [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd, Encoding::Unknown]
            {
                prop_assert!(encoding.decode(&bytes).len() <= BOUND);
                prop_assert!(encoding.decode(&[&ZSTD_FRAME[..], &[0x50], &bytes].concat()).len() <= BOUND);
            }
        }
    }

    /// A frame whose head has a window and nothing else.
    const ZSTD_FRAME: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0x00];

    /// What `zstd` makes of the text: a raw block, with a checksum behind it, and as the beginning of a stream.
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x20\x24\x21\x01\x00{\"error\":{\"code\":\"invalid_api_key\"}}";
    const ZSTD_CHECKED: &[u8] =
        b"\x28\xb5\x2f\xfd\x04\x58\x21\x01\x00{\"error\":{\"code\":\"invalid_api_key\"}}\x94\x97\x76\x40";
    const ZSTD_CUT: &[u8] =
        b"\x28\xb5\x2f\xfd\x04\x58\x20\x01\x00{\"error\":{\"code\":\"invalid_api_key\"}}\x24\x00\x00half";

    /// The same of forty events and one that is an error: a compressed block.
    const ZSTD_EVENTS: &[u8] = b"\
        \x28\xb5\x2f\xfd\x00\x58\x0d\x05\x00\x82\xc6\x14\x18\x90\x2b\x1d\x88\x4f\x4c\xfc\xc3\x6a\xd6\
        \x7e\x99\xbb\xeb\xa9\xae\x9b\x4d\xc9\x88\xa9\xeb\x1e\xe8\xc6\xac\x45\x07\x52\x20\x89\x71\xc8\
        \x49\xc9\x35\x16\x89\x46\x74\x94\x04\x1f\x46\xa5\x28\x85\xfe\xff\xff\x7f\xdb\xb6\x6d\xbb\x6d\
        \xdb\xb6\x88\x83\xa1\x40\x18\xdc\x35\x66\x51\x40\xe3\x2d\x09\x3a\x0c\xf0\x68\x3c\x89\x0f\x80\
        \xdd\x72\x27\x28\x20\x80\x33\x4a\x0f\x87\x88\x57\x64\xa2\x10\x4f\x64\x45\x11\x8f\xc8\x44\x21\
        \x9e\xc8\x88\x22\x9e\xc8\x8a\x22\x1e\x91\x89\xb2\x78\x39\x8a\x0c\x47\x51\x6e\x14\xcf\x46\x91\
        \xd5\x28\x0a\x8d\xe2\xcd\x28\x32\x19\x45\x89\x51\x04\x18\xcd\xdd\xcc\x2d\xf7\xb9\xd9\x2d\xee\
        \xbb\xd9\x2d\xfd\xbe\x86\x25\x3a\x01";
}
