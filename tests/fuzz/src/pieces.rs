//! Bytes as they may come: in pieces of uneven length.

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
