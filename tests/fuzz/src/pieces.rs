//! Bytes as they may come: in pieces of uneven length.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use keyward::http1::head_reader::{HeadError, may_be_whole};
use keyward::http1::output::Output;

/// Pieces of uneven length, chosen by one byte.
pub struct Pieces<'a> {
    rest: &'a [u8],
    state: u8,
}

impl<'a> Pieces<'a> {
    /// Of those bytes, by that choice.
    #[must_use]
    pub fn new(bytes: &'a [u8], choice: u8) -> Self {
        Self { rest: bytes, state: choice }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.state = self.state.wrapping_mul(13).wrapping_add(7);
        let (piece, rest) = self.rest.split_at(usize::from(self.state).min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

/// Reads a head as keyward's connections do: when the first piece has come, then whenever a piece may have brought its end.
/// Gives the head, or why it is refused, and what is left of all pieces.
pub fn read_head<'a, T>(
    pieces: impl Iterator<Item = &'a [u8]>,
    most: usize,
    mut read: impl FnMut(&mut Bytes) -> Result<Option<T>, HeadError>,
) -> (Result<Option<T>, HeadError>, Vec<u8>) {
    let (mut came, mut seen, mut found) = (Vec::new(), 0, Ok(None));
    for piece in pieces {
        came.extend_from_slice(piece);
        let is_in_vain = seen > 0 && came.len() < most && !may_be_whole(&came, seen);
        if matches!(found, Ok(None)) && !came.is_empty() && !is_in_vain {
            seen = came.len();
            found = read_once(&mut came, &mut read);
        }
    }
    // What is refused for what has come already is refused at the next empty line, or never whole.
    if matches!(found, Ok(None)) {
        found = read_once(&mut came, &mut read);
    }
    (found, came)
}

fn read_once<T>(
    came: &mut Vec<u8>,
    read: impl FnOnce(&mut Bytes) -> Result<Option<T>, HeadError>,
) -> Result<Option<T>, HeadError> {
    let mut input = Bytes::copy_from_slice(came);
    let found = read(&mut input);
    *came = input.into();
    found
}

/// Writes all that waits.
pub fn flush(output: &mut Output, written: &mut Vec<u8>) {
    let flushed = output.poll_flush(written, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(flushed, Poll::Ready(Ok(()))), "memory takes everything: {flushed:?}");
}
