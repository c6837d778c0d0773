//! Pure. What a head says of how its body is framed, and of its connection.

/// How a body is framed, as the head before it says (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// That many bytes, which may be none.
    Length(u64),
    /// In chunks, maybe with trailers behind them.
    Chunked,
    /// Everything up to the end of the connection: of an answer alone.
    UntilClose,
}

/// What the `Connection` lines of a head say of what comes behind its message (RFC 9112, 9.3).
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionOptions {
    closes: bool,
    keeps_alive: bool,
}

impl ConnectionOptions {
    /// Reads one more `Connection` line.
    pub fn add(&mut self, value: &[u8]) {
        // What nearly all of them say is compared once.
        let only_keeps_alive = value.eq_ignore_ascii_case(b"keep-alive");
        self.closes |= !only_keeps_alive && has_token(value, "close");
        self.keeps_alive |= only_keeps_alive || has_token(value, "keep-alive");
    }

    /// Whether another message may follow. HTTP/1.1 closes where it says so, HTTP/1.0 goes on where it says so.
    #[must_use]
    pub fn persists(self, is_http_11: bool) -> bool {
        !self.closes && (is_http_11 || self.keeps_alive)
    }
}

/// Whether a list (RFC 9110, 5.6.1) has that token, which compares without case.
#[must_use]
pub fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether chunks are the last coding of a `Transfer-Encoding`, so that the body's end can be found (RFC 9112, 6.1).
#[must_use]
pub fn ends_in_chunks(codings: &[u8]) -> bool {
    let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// A `Content-Length`: digits and nothing else (RFC 9110, 8.6). One that only an unsigned number holds, and others may take for
/// a negative one, is none.
#[must_use]
pub fn read_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut length: i64 = 0;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        length = length.checked_mul(10)?.checked_add(digit)?;
    }
    length.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_persists_unless_one_line_says_otherwise() {
        #[track_caller]
        fn check(lines: &[&'static str], http_11: bool, http_10: bool) {
            let mut options = ConnectionOptions::default();
            for line in lines {
                options.add(line.as_bytes());
            }
            assert_eq!((options.persists(true), options.persists(false)), (http_11, http_10), "{lines:?}");
        }
        check(&[], true, false);
        check(&["keep-alive"], true, true);
        check(&["te, Keep-Alive"], true, true);
        check(&["close"], false, false);
        check(&["te ,Close"], false, false);
        check(&["close", "keep-alive"], false, false);
        check(&["closed"], true, false);
    }

    #[test]
    fn lengths_are_digits_alone() {
        assert_eq!(read_length(b"0"), Some(0));
        assert_eq!(read_length(b"09223372036854775807"), Some(i64::MAX as u64));
        for text in ["", "+1", "-1", "1 ", "0x1", "1,1", "9223372036854775808"] {
            assert_eq!(read_length(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn chunks_are_the_last_coding_or_not_at_all() {
        for (codings, expected) in
            [("chunked", true), ("gzip, Chunked", true), ("chunked, gzip", false), ("chunked,", false)]
        {
            assert_eq!(ends_in_chunks(codings.as_bytes()), expected, "{codings}");
        }
    }
}
