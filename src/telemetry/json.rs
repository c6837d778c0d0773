//! One JSON object as a line of the log, written a field at a time, straight into the lane.
//!
//! Not `serde_json`, which takes twice the time: here the names are literals with all that stands around them, and most
//! texts are known to need no escaping.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use crate::clock::Timestamp;

/// A field's name with all that stands before its value. A literal whose length is known is copied without a call.
macro_rules! name {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

pub(crate) use name;

/// An object that is being written. Each field's name comes from [`name!`].
pub struct Json<'a>(&'a mut Vec<u8>);

impl<'a> Json<'a> {
    /// The object begins with its time: RFC 3339 in UTC with milliseconds. The part down to the second is made once a
    /// second.
    pub fn begin(buffer: &'a mut Vec<u8>, at: Timestamp) -> Self {
        thread_local!(static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
        let (second, millis) = (at.as_millis().div_euclid(1000), at.as_millis().rem_euclid(1000));
        buffer.reserve(1024);
        buffer.extend_from_slice(b"{\"timestamp\":\"");
        SECOND.with_borrow_mut(|(cached, text)| {
            if *cached != second {
                *cached = second;
                text.clear();
                // `2026-11-23T08:15:00Z`, without the Z.
                let _ = write!(text, "{at}");
                text.pop();
            }
            buffer.extend_from_slice(text.as_bytes());
        });
        let [hundreds, tens, ones] = three_digits(u64::try_from(millis).unwrap_or(0));
        buffer.extend_from_slice(&[b'.', hundreds, tens, ones, b'Z', b'"']);
        Self(buffer)
    }

    /// More fields of an object that was begun elsewhere.
    pub fn go_on(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Fields that were written before, with [`Json::go_on`].
    pub fn fields(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// A literal, as it is.
    #[inline]
    pub fn put(&mut self, text: &'static str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A word that needs no escaping: one of our own, or one that was read as a name.
    #[inline]
    pub fn word(&mut self, name: &'static str, word: &str) {
        self.bytes(name, word.as_bytes());
    }

    /// As [`Json::word`], of visible ASCII.
    #[inline]
    pub fn bytes(&mut self, name: &'static str, text: &[u8]) {
        self.put(name);
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    /// A text that a client, n8n or upstream wrote.
    #[inline]
    pub fn text(&mut self, name: &'static str, text: Option<&str>) {
        self.put(name);
        match text {
            None => self.put("null"),
            Some(text) => self.quoted(text),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.0.push(b'"');
        if is_plain(text.as_bytes()) {
            self.0.extend_from_slice(text.as_bytes());
        } else {
            self.escaped(text);
        }
        self.0.push(b'"');
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\n' => self.put("\\n"),
                control if control.is_control() => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    /// A whole number, or null.
    #[inline]
    pub fn number(&mut self, name: &'static str, number: Option<u64>) {
        self.put(name);
        match number {
            None => self.put("null"),
            Some(number) => self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// A field in milliseconds with three decimals; `null` for nothing.
    pub fn millis(&mut self, name: &'static str, span: Option<Duration>) {
        let micros = span.map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        self.number(name, micros.map(|micros| micros / 1000));
        if let Some(micros) = micros {
            let [tenths, hundredths, thousandths] = three_digits(micros);
            self.0.extend_from_slice(&[b'.', tenths, hundredths, thousandths]);
        }
    }

    /// A piece of a text in visible ASCII: only a quotation mark or a backslash in it is trouble.
    pub fn quotable(&mut self, text: &[u8]) {
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(*byte);
        }
    }

    /// A value whose text needs no escaping.
    pub fn display(&mut self, name: &'static str, value: &dyn std::fmt::Display) {
        self.put(name);
        let _ = write!(self.0, "\"{value}\"");
    }

    /// A fact that is only told where it is one.
    pub fn yes(&mut self, name: &'static str) {
        self.put(name);
        self.put("true");
    }

    /// A text whose field is not known as a literal.
    pub fn named_text(&mut self, name: &str, text: &str) {
        let _ = write!(self.0, ",\"{name}\":");
        self.quoted(text);
    }

    /// A number or a truth value whose field is not known as a literal.
    pub fn named_plain(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let _ = write!(self.0, ",\"{name}\":{value}");
    }

    /// Ends the object and its line.
    pub fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }
}

/// Whether a text is all visible ASCII and spaces that need no escaping. Sixteen bytes are one step, without a branch.
fn is_plain(text: &[u8]) -> bool {
    let (sixteens, rest) = text.as_chunks::<16>();
    sixteens.iter().all(|bytes| !bytes.iter().fold(false, |odd, byte| odd | is_odd(*byte)))
        && !rest.iter().any(|byte| is_odd(*byte))
}

#[expect(clippy::needless_bitwise_bool, reason = "without branches many bytes are looked at in one step")]
fn is_odd(byte: u8) -> bool {
    !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\')
}

/// The last three digits of a number.
fn three_digits(number: u64) -> [u8; 3] {
    [100, 10, 1].map(|place| b'0' + u8::try_from(number / place % 10).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(write: impl FnOnce(&mut Json<'_>)) -> Value {
        let mut buffer = Vec::new();
        let mut json = Json::begin(&mut buffer, Timestamp::from_millis(1_790_000_000_042));
        write(&mut json);
        json.end();
        serde_json::from_slice(&buffer).unwrap()
    }

    #[test]
    fn every_kind_of_field() {
        let object = written(|json| {
            json.word(name!("word"), "exchange");
            json.text(name!("nothing"), None);
            json.number(name!("number"), Some(42));
            json.number(name!("no_number"), None);
            json.millis(name!("ms"), Some(Duration::from_micros(1_042_007)));
            json.display(name!("address"), &std::net::Ipv4Addr::LOCALHOST);
            json.yes(name!("fact"));
        });
        let expected = json!({
            "timestamp": "2026-09-21T14:13:20.042Z", "word": "exchange", "nothing": null, "number": 42,
            "no_number": null, "ms": 1042.007, "address": "127.0.0.1", "fact": true,
        });
        assert_eq!(object, expected);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was(text in any::<String>()) {
            prop_assert_eq!(&written(|json| json.text(name!("text"), Some(&text)))["text"], &json!(text));
        }

        #[test]
        fn any_visible_piece_comes_back_as_it_was(text in "[!-~]{0,8}") {
            let object = written(|json| {
                json.put(concat!(name!("text"), "\""));
                json.quotable(text.as_bytes());
                json.put("\"");
            });
            prop_assert_eq!(&object["text"], &json!(text));
        }
    }
}
