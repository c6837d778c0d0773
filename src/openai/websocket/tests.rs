//! Frames as they were seen, and as they should not be.

use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;
use crate::outcome::UpstreamError::{self, Denied, InvalidApiKey, Quota};

const CREATED: &[u8] = br#"{"type":"session.created","session":{"id":"s"}}"#;
const REFUSED: &[u8] = br#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#;
const OTHER: &[u8] = br#"{"type":"error","error":{"type":"invalid_request_error","code":"unknown_parameter"}}"#;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let head = match length {
        0..=125 => vec![first, u8::try_from(length).expect("short")],
        126..=0xffff => [&[first, 126][..], &u16::try_from(length).expect("short").to_be_bytes()].concat(),
        _ => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&head[..], payload].concat()
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(FIN | TEXT, payload)
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn deflate(compress: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(payload.len() + 1000);
    compress.compress_vec(payload, &mut deflated, FlushCompress::Sync).expect("deflated");
    assert!(deflated.ends_with(&TAIL));
    deflated.truncate(deflated.len() - TAIL.len());
    deflated
}

fn read(extension: Extension, pieces: &[&[u8]]) -> Vec<Shown> {
    let (mut reader, mut all) = (FrameReader::new(extension), Vec::new());
    for piece in pieces {
        reader.push(piece, |shown| all.push(shown));
    }
    all
}

/// However the bytes are split, they show the same: a class for each error, nothing for an acceptance.
#[track_caller]
fn check(extension: Extension, frames: &[Vec<u8>], expected: &[Option<UpstreamError>]) {
    let classes = |pieces: &[&[u8]]| -> Vec<_> {
        let class = |shown| match shown {
            Shown::Accepted => None,
            Shown::Error(reading) => Some(reading.class),
        };
        read(extension, pieces).into_iter().map(class).collect()
    };
    let bytes = frames.concat();
    assert_eq!(classes(&[&bytes]), expected);
    for at in 0..bytes.len().min(500) {
        assert_eq!(classes(&[&bytes[..at], &bytes[at..]]), expected, "split at {at}");
    }
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(classes(&single), expected, "byte by byte");
}

const ACCEPTED: Option<UpstreamError> = None;
const DEFLATE: Extension = Extension::Deflate { each_by_itself: false };

#[test]
fn a_first_message_shows_whether_the_key_is_taken() {
    check(Extension::None, &[text(CREATED)], &[ACCEPTED]);
    check(Extension::None, &[frame(FIN | BINARY, CREATED)], &[ACCEPTED]);
    check(Extension::None, &[text(REFUSED)], &[Some(InvalidApiKey)]);
    check(Extension::None, &[text(OTHER), text(CREATED)], &[Some(UpstreamError::Other), ACCEPTED]);
    check(Extension::None, &[text(b"hello"), text(b""), text(CREATED)], &[ACCEPTED]);
    let ws_error = br#"{"type":"error","status":401,"error":{"type":"odd","code":"odd","message":"no"}}"#;
    check(Extension::None, &[text(ws_error)], &[Some(Denied)]);
}

#[test]
fn a_close_says_why() {
    check(Extension::None, &[close(3000, "invalid_api_key")], &[Some(InvalidApiKey)]);
    check(Extension::None, &[close(3000, "invalid_request_error.invalid_api_key")], &[Some(InvalidApiKey)]);
    check(Extension::None, &[close(1008, "invalid_api_key: revoked")], &[Some(InvalidApiKey)]);
    check(Extension::None, &[close(3000, "insufficient_quota")], &[Some(Quota)]);
    check(Extension::None, &[text(CREATED), close(3000, "invalid_api_key")], &[ACCEPTED, Some(InvalidApiKey)]);
    check(Extension::Unknown, &[close(3000, "invalid_api_key")], &[Some(InvalidApiKey)]);
    for nothing in
        [close(1000, "invalid_api_key"), close(3000, "bye"), frame(FIN | CLOSE, b""), frame(FIN | CLOSE, b"\x0b")]
    {
        check(Extension::None, &[nothing], &[]);
    }
    check(Extension::None, &[frame(FIN | CLOSE, b"\x0b\xb8\xffinvalid_api_key")], &[]);
    check(Extension::None, &[close(1000, ""), text(CREATED)], &[]);
}

#[test]
fn control_frames_stand_between_the_fragments_of_a_message() {
    let (first, rest) = REFUSED.split_at(20);
    let (second, third) = rest.split_at(7);
    let ping = frame(FIN | PING, CREATED);
    let fragments =
        [frame(TEXT, first), ping.clone(), frame(CONTINUATION, second), ping, frame(FIN | CONTINUATION, third)];
    check(Extension::None, &fragments, &[Some(InvalidApiKey)]);
    let empty = [frame(TEXT, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, CREATED)];
    check(Extension::None, &empty, &[ACCEPTED]);
    check(Extension::None, &[frame(TEXT, CREATED), close(3000, "invalid_api_key")], &[Some(InvalidApiKey)]);
}

#[test]
fn four_messages_are_read_and_no_fifth() {
    let junk = || text(b"junk");
    check(Extension::None, &[junk(), junk(), junk(), text(CREATED)], &[ACCEPTED]);
    check(Extension::None, &[junk(), junk(), junk(), junk(), text(CREATED)], &[]);
    let frames = [junk(), junk(), junk(), junk(), text(&vec![b'a'; 70_000]), close(3000, "invalid_api_key")];
    assert_eq!(read(Extension::None, &[&frames.concat()]).len(), 1, "the frames are followed all the same");
}

#[test]
fn what_comes_behind_the_messages_that_are_read_is_followed_to_a_close() {
    let read = || [b"1", b"2", b"3", b"4"].map(|message| text(message)).to_vec();
    let refusal = || close(3000, "invalid_api_key");
    let long = vec![b'a'; 300];
    let others = [
        text(CREATED),
        frame(FIN | BINARY, &long),
        frame(FIN | PING, b"p"),
        frame(TEXT, &long),
        frame(FIN | CONTINUATION, b""),
        text(b""),
    ];
    check(Extension::None, &[&read()[..], &others, &[refusal()]].concat(), &[Some(InvalidApiKey)]);
    let deflated = [frame(FIN | RSV1 | TEXT, &long), frame(FIN | RSV1 | BINARY, b"x"), text(b"y")];
    check(DEFLATE, &[&read()[..], &deflated, &[refusal()]].concat(), &[Some(InvalidApiKey)]);
    for broken in [
        frame(FIN | RSV1 | TEXT, CREATED),
        frame(FIN | CONTINUATION, CREATED),
        [&[FIN | TEXT, MASK | 4, 0, 0, 0, 0], &b"text"[..]].concat(),
        [&[FIN | BINARY, 126, 0, 47], CREATED].concat(),
    ] {
        check(Extension::None, &[&read()[..], &[text(b"x"), broken, refusal()]].concat(), &[]);
    }
}

#[test]
fn a_long_message_is_read_as_far_as_its_beginning() {
    let long = |begin: &[u8]| [begin, &vec![b'a'; 100_000], b"\"}"].concat();
    let typed = text(&long(br#"{"type":"session.created","instructions":""#));
    assert_eq!(read(Extension::None, &[&typed]), [Shown::Accepted]);
    let untyped = text(&long(br#"{"instructions":""#));
    assert_eq!(read(Extension::None, &[&untyped, &text(REFUSED)]).len(), 1, "the next one is found");
}

#[test]
fn what_no_server_may_send_shows_nothing() {
    let masked = {
        let mut frame = text(CREATED);
        frame[1] |= 0x80;
        frame
    };
    for broken in [
        masked,
        frame(FIN | CONTINUATION, CREATED),
        frame(FIN | 0x20 | TEXT, CREATED),
        frame(FIN | RSV1 | TEXT, CREATED),
        frame(FIN | 0x3, CREATED),
        frame(FIN | 0xb, CREATED),
        frame(PING, b""),
        frame(FIN | PING, &[0; 126]),
        [frame(TEXT, b"{"), text(CREATED)].concat(),
        // Lengths in more bytes than they need, and one that is none.
        [&[FIN | TEXT, 126, 0, 47], CREATED].concat(),
        [&[FIN | TEXT, 127, 0, 0, 0, 0, 0, 0, 0, 47], CREATED].concat(),
        [&[FIN | TEXT, 127, 0xff, 0, 0, 0, 0, 0, 0, 47], CREATED].concat(),
    ] {
        check(Extension::None, &[broken, text(CREATED), close(3000, "invalid_api_key")], &[]);
    }
    let huge = [FIN | TEXT, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let mut reader = FrameReader::new(Extension::None);
    for piece in [&huge[..], &vec![b' '; 100_000], &text(CREATED)] {
        reader.push(piece, |shown| panic!("{shown:?}"));
    }
    assert!(reader.message.is_some_and(|message| message.text.len() == BOUND));
}

#[test]
fn deflated_messages_are_inflated() {
    let fresh = || Compress::new(Compression::default(), false);
    let deflated = |compress: &mut Compress, payload: &[u8]| frame(FIN | RSV1 | TEXT, &deflate(compress, payload));
    let by_itself = Extension::Deflate { each_by_itself: true };
    let mut takeover = fresh();
    let frames = [OTHER, OTHER, REFUSED].map(|message| deflated(&mut takeover, message));
    assert!(frames[1].len() < frames[0].len() / 2, "it looks back to the first one");
    let others = [Some(UpstreamError::Other), Some(UpstreamError::Other)];
    check(DEFLATE, &frames, &[others[0], others[1], Some(InvalidApiKey)]);
    check(by_itself, &[OTHER, CREATED].map(|message| deflated(&mut fresh(), message)), &[others[0], ACCEPTED]);
    // A message may well be sent as it is.
    let mut takeover = fresh();
    let first = deflated(&mut takeover, OTHER);
    check(
        DEFLATE,
        &[first, text(OTHER), deflated(&mut takeover, REFUSED)],
        &[others[0], others[1], Some(InvalidApiKey)],
    );
    let halves = deflate(&mut fresh(), REFUSED);
    let (first, rest) = halves.split_at(9);
    let fragments = [frame(RSV1 | TEXT, first), frame(FIN | PING, b""), frame(FIN | CONTINUATION, rest)];
    check(DEFLATE, &fragments, &[Some(InvalidApiKey)]);
    check(Extension::None, &[deflated(&mut fresh(), CREATED)], &[]);
    check(Extension::Unknown, &[text(CREATED), text(REFUSED)], &[]);
}

#[test]
fn a_bomb_is_inflated_as_far_as_anything_else_and_what_looks_back_to_it_is_not_read() {
    let mut takeover = Compress::new(Compression::best(), false);
    let bomb = deflate(&mut takeover, &vec![b' '; 10_000_000]);
    let next = deflate(&mut takeover, CREATED);
    let frames = [&bomb, &next].map(|payload| frame(FIN | RSV1 | TEXT, payload));
    assert_eq!(read(DEFLATE, &[&frames.concat()]), []);
    let own = deflate(&mut Compress::new(Compression::best(), false), CREATED);
    let frames = [&bomb, &own].map(|payload| frame(FIN | RSV1 | TEXT, payload));
    assert_eq!(read(Extension::Deflate { each_by_itself: true }, &[&frames.concat()]), [Shown::Accepted]);
}

#[test]
fn extensions() {
    #[track_caller]
    fn check(values: &[&str], expected: Extension) {
        assert_eq!(Extension::read(values.iter().map(|value| value.as_bytes())), expected, "{values:?}");
    }
    check(&[], Extension::None);
    check(&["", " , "], Extension::None);
    check(&["permessage-deflate"], DEFLATE);
    check(&["Permessage-Deflate; server_max_window_bits=12; client_no_context_takeover"], DEFLATE);
    check(&["permessage-deflate;SERVER_no_context_takeover"], Extension::Deflate { each_by_itself: true });
    check(&["permessage-deflate, x"], Extension::Unknown);
    check(&["permessage-deflate", "x"], Extension::Unknown);
    check(&["x-webkit-deflate-frame"], Extension::Unknown);
}

proptest! {
    #[test]
    fn however_it_is_cut_and_fragmented_a_conversation_shows_the_same(
        messages in prop::collection::vec(prop::sample::select(vec![CREATED, REFUSED, OTHER, b"junk"]), 1..6),
        fragments in prop::collection::vec((1_usize..40, any::<bool>()), 1..8),
        cuts in prop::collection::vec(1_usize..30, 1..8),
    ) {
        let whole: Vec<u8> = messages.iter().flat_map(|message| text(message)).collect();
        let mut in_fragments = Vec::new();
        for message in messages {
            let (mut rest, mut opcode) = (message, TEXT);
            for (length, with_ping) in fragments.iter().cycle() {
                let (piece, others) = rest.split_at((*length).min(rest.len()));
                let fin = if others.is_empty() { FIN } else { 0 };
                in_fragments.extend(frame(fin | opcode, piece));
                if others.is_empty() {
                    break;
                }
                if *with_ping {
                    in_fragments.extend(frame(FIN | PONG, b"p"));
                }
                (rest, opcode) = (others, CONTINUATION);
            }
        }
        let (mut pieces, mut rest) = (Vec::new(), &in_fragments[..]);
        for cut in cuts.iter().cycle() {
            let (piece, others) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(Extension::None, &pieces), read(Extension::None, &[&whole]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
        for extension in [Extension::None, DEFLATE, Extension::Unknown] {
            let (first, rest) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(read(extension, &[first, rest]), read(extension, &[&bytes]));
            let _ = read(extension, &[&frame(FIN | RSV1 | TEXT, &bytes), &text(CREATED)]);
        }
    }
}
