//! Making tokens: `kw_` and 256 random bits, shown once and kept nowhere.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::state::StateError;

/// A new token: `kw_` and 43 characters that are fit for a header, a URL and an n8n credential.
pub fn make() -> Result<Secret, StateError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_unspecified| StateError::Random)?;
    let mut text = Zeroizing::new([0_u8; PREFIX.len() + ENCODED]);
    text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
    // The buffer is as long as 32 bytes become in Base64 without padding (RFC 4648, 5).
    let _ = BASE64_URL_SAFE_NO_PAD.encode_slice(&bytes[..], &mut text[PREFIX.len()..]);
    Ok(Secret::from_visible(&text[..]))
}

const PREFIX: &str = "kw_";

const ENCODED: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_random_and_fit_for_a_header() {
        let (one, other) = (make().expect("a token"), make().expect("a token"));
        assert_ne!(one.expose(), other.expose());
        for token in [one, other] {
            let text = std::str::from_utf8(token.expose()).expect("text");
            assert!(text.len() == 46 && text.starts_with("kw_"), "{}", text.len());
            assert!(text[3..].bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
        }
    }
}
