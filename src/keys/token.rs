//! Making tokens: a mark and 256 random bits. Those for n8n are shown once and kept nowhere.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::state::StateError;

/// A new token: `kw_` and 43 characters that are fit for a header, a URL and an n8n credential.
pub fn make() -> Result<Secret, StateError> {
    with_mark("kw_")
}

/// A new token for the admin listener: `kw_admin_` and 43 such characters.
pub fn make_for_admin() -> Result<Secret, StateError> {
    with_mark("kw_admin_")
}

/// 256 random bits in 43 characters that are fit for a header and a URL.
pub fn random_text() -> Result<Zeroizing<String>, StateError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_unspecified| StateError::Random)?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
}

fn with_mark(mark: &str) -> Result<Secret, StateError> {
    let random = random_text()?;
    // As large at once as it becomes, so that no copy of it is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(mark.len() + random.len()));
    text.push_str(mark);
    text.push_str(&random);
    Ok(Secret::from_visible(text.as_bytes()))
}

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
        let admin = make_for_admin().expect("a token");
        assert!(admin.expose().starts_with(b"kw_admin_") && admin.expose().len() == 52);
    }
}
