//! Headers in an input: a line each, its first letter saying which header it is.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Reads lines of `<letter><value>`, whose letters stand for those names. Lines that can be no header are left out.
#[must_use]
pub fn read(data: &[u8], names: &[(u8, HeaderName)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(MOST) {
        let Some((letter, value)) = line.split_first() else { continue };
        let known = names.iter().find(|(known, _)| known == letter);
        if let (Some((_, name)), Ok(value)) = (known, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// As many as keyward takes.
const MOST: usize = 100;
