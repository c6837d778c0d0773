//! Bytes that say where they stand, so that none can be missing, doubled or out of turn unnoticed.

use std::fmt::Write;

use ::keyward::splitmix::{SplitMix64, spread};
use ring::digest::{Context, SHA256};

/// A body of that length.
pub fn make(length: u64) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "what is held in memory is small")]
    let mut bytes = vec![0; length as usize];
    fill(0, &mut bytes);
    bytes
}

/// The bytes that stand from `position` on, which is a multiple of eight.
pub fn fill(position: u64, bytes: &mut [u8]) {
    for (number, word) in (position / 8..).zip(bytes.chunks_mut(8)) {
        let value = spread(number.wrapping_add(1)).to_le_bytes();
        word.copy_from_slice(&value[..word.len()]);
    }
}

/// The hash of a body, in hex.
pub fn digest(bytes: &[u8]) -> String {
    let mut hash = Hash::new();
    hash.update(bytes);
    hash.finish()
}

/// The hash of a body that comes in pieces.
pub struct Hash(Context);

impl Hash {
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hex.
    pub fn finish(self) -> String {
        self.0.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Numbers that look random, and come again for the same seed.
pub struct Dice(SplitMix64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// From 0 to below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0.draw_below(sides)
    }
}
