//! Frames of a WebSocket: the first byte chooses the extension, the second how the rest is split.

use keyward::openai::websocket::{Extension, FrameReader, Shown};
use keyward::telemetry::masked::holds_key;

use crate::pieces::Pieces;

/// Holds the reader of frames to its promises.
pub fn check(data: &[u8]) {
    let [choice, split, bytes @ ..] = data else { return };
    let extension = EXTENSIONS[usize::from(*choice) % EXTENSIONS.len()];
    let whole = read(extension, std::iter::once(bytes));
    assert!(whole.len() <= MOST_SHOWN, "four messages and a close: {whole:?}");
    for shown in &whole {
        if let Shown::Error(reading) = shown
            && let Some(code) = &reading.code
        {
            assert!((1..=64).contains(&code.len()) && !holds_key(code), "{code:?}");
        }
    }
    assert_eq!(read(extension, Pieces::new(bytes, *split)), whole, "split at {split}");
    assert_eq!(read(extension, bytes.chunks(1)), whole, "byte by byte");
    let _ = Extension::read(std::iter::once(bytes));
}

fn read<'a>(extension: Extension, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Shown> {
    let (mut reader, mut all) = (FrameReader::new(extension), Vec::new());
    pieces.for_each(|piece| reader.push(piece, |shown| all.push(shown)));
    all
}

const EXTENSIONS: [Extension; 4] = [
    Extension::None,
    Extension::Deflate { each_by_itself: false },
    Extension::Deflate { each_by_itself: true },
    Extension::Unknown,
];

const MOST_SHOWN: usize = 5;
