//! Pure. The value of a key: never printed, never serialised, wiped when dropped.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use zeroize::Zeroizing;

/// A key's value. Its `Debug` says nothing and it has no `Display`; code that needs the bytes calls [`Secret::expose`],
/// and a test holds the list of the places that do.
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Of bytes that are visible ASCII already.
    pub(super) fn from_visible(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(Box::from(bytes)))
    }

    /// The value, for the few places that need it: `tests/it/tidy.rs` lists them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `presented` is this secret, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        is_same(&self.0, presented)
    }
}

/// Whether both are the same, in a time that does not depend on where they differ: the differences of all bytes are collected
/// before anybody looks. `subtle` looks at each byte by itself, which takes fifty times as long for a key.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |found, (one, other)| found | (one ^ other));
    one.len() == other.len() && black_box(differences) == 0
}

impl FromStr for Secret {
    type Err = ParseSecretError;

    /// White space around the value is dropped: key files end in a newline.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An editor of Windows may put a byte order mark in front.
        let trimmed = text.trim_start_matches('\u{feff}').trim();
        if trimmed.is_empty() {
            return Err(ParseSecretError::Empty);
        }
        if let Some(position) = trimmed.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(ParseSecretError::NotVisibleAscii { position });
        }
        Ok(Self(Zeroizing::new(Box::from(trimmed.as_bytes()))))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is no key. Never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSecretError {
    /// Nothing, or white space alone.
    #[error("the key is empty")]
    Empty,
    /// A key travels in a header, so it is visible ASCII (RFC 9110, 5.5).
    #[error("the key has a character that is not visible ASCII at position {position}")]
    NotVisibleAscii {
        /// Zero-based byte position in the trimmed text.
        position: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_may_end_in_a_newline() {
        let secret: Secret = "sk-proj-abc\r\n".parse().expect("a key");
        assert_eq!(secret.expose(), b"sk-proj-abc");
        assert!(secret.matches(b"sk-proj-abc"));
        assert!(!secret.matches(b"sk-proj-abd"));
        assert!(!secret.matches(b"sk-proj-ab"));
    }

    #[test]
    fn errors_and_debug_never_show_the_value() {
        let error = "sk-canary key".parse::<Secret>().expect_err("a space inside");
        assert_eq!(error, ParseSecretError::NotVisibleAscii { position: 9 });
        assert!(!error.to_string().contains("canary"));
        assert_eq!("\n".parse::<Secret>().expect_err("empty"), ParseSecretError::Empty);
        let secret: Secret = "sk-canary".parse().expect("a key");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
