//! Pure. An event of upstream's, in JSON: whether it is an error, and what that says. It may be cut behind its beginning.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::error::ErrorReading;

/// What an event tells of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Error(ErrorReading),
    Other,
    /// Nothing that can be read.
    Unreadable,
}

/// How much of an event is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// Its beginning.
    Cut,
}

impl Event {
    /// Reads one. Errors are `{"error":{…}}`, with a type or without one, `{"type":"error",…}` and
    /// `{"object":"error",…}` with the fields beside it, and a response that failed.
    #[must_use]
    pub fn read(text: &[u8], extent: Extent) -> Self {
        // Some gateways send a list of one.
        let object = text.trim_ascii_start();
        let object = object.strip_prefix(b"[").unwrap_or(object).trim_ascii_start();
        if !object.starts_with(b"{") {
            return Self::Unreadable;
        }
        let status = number(object, "status");
        if let Some(reading) = member(object, "error").and_then(|error| read_error(error, status)) {
            return Self::Error(reading);
        }
        let names = [word(object, "type"), word(object, "object")];
        if names.contains(&Some(b"error")) {
            return Self::Error(read_flat(object, status));
        }
        if names[0] == Some(b"response.failed") {
            let error = member(object, "response").and_then(|response| member(response, "error"));
            return Self::Error(error.and_then(|error| read_error(error, None)).unwrap_or_else(ErrorReading::unnamed));
        }
        let is_readable = match extent {
            Extent::Whole => serde_json::from_slice::<IgnoredAny>(text).is_ok(),
            Extent::Cut => names[0].is_some(),
        };
        if is_readable { Self::Other } else { Self::Unreadable }
    }

    /// Reads one that is named an error beside its text.
    #[must_use]
    pub fn read_named_error(text: &[u8], extent: Extent) -> Self {
        match Self::read(text, extent) {
            error @ Self::Error(_) => error,
            Self::Other => Self::Error(read_flat(text.trim_ascii_start(), None)),
            Self::Unreadable => Self::Error(ErrorReading::unnamed()),
        }
    }
}

/// Reads one value, whatever follows; nothing where it says that there is no error. What is no whole value is an error all
/// the same.
fn read_error(value: &[u8], beside: Option<u16>) -> Option<ErrorReading> {
    match first_value(value) {
        Some(value) => ErrorReading::inside(&value, beside),
        None => Some(ErrorReading::unnamed()),
    }
}

/// Reads an error whose fields stand in the event itself.
fn read_flat(object: &[u8], status: Option<u16>) -> ErrorReading {
    let fields = ["code", "message"].map(|name| (name.to_owned(), member(object, name).and_then(first_value)));
    let error = fields.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    ErrorReading::inside(&Value::Object(error), status).unwrap_or_else(ErrorReading::unnamed)
}

fn first_value(text: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(text).into_iter().next()?.ok()
}

fn number(object: &[u8], name: &str) -> Option<u16> {
    first_value(member(object, name)?)?.as_u64().and_then(|number| u16::try_from(number).ok())
}

/// The text of a member, where it is one without escapes.
fn word<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let text = member(object, name)?.strip_prefix(b"\"")?;
    Some(&text[..memchr::memchr2(b'"', b'\\', text)?])
}

/// Where the value of a member of that object begins, and all that follows. The object may be cut, and what is no JSON is
/// read as far as it looks like some.
fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = object.strip_prefix(b"{")?.trim_ascii_start();
    loop {
        let text = rest.strip_prefix(b"\"")?;
        let end = end_of_string(text)?;
        let value = text[end + 1..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        if &text[..end] == name.as_bytes() {
            return Some(value);
        }
        rest = behind_value(value)?.trim_ascii_start().strip_prefix(b",")?.trim_ascii_start();
    }
}

/// What follows a value.
fn behind_value(text: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match text.get(at)? {
            b'"' => at += 1 + end_of_string(&text[at + 1..])?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return Some(&text[at..]),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// Where the quote stands that ends a string.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::outcome::UpstreamError::{self, Denied, InvalidApiKey, Other, Quota, Scope};

    #[track_caller]
    fn check(text: &str, expected: UpstreamError) {
        for extent in [Extent::Whole, Extent::Cut] {
            let Event::Error(reading) = Event::read(text.as_bytes(), extent) else { panic!("no error: {text}") };
            assert_eq!(reading.class, expected, "{text}");
        }
    }

    #[test]
    fn errors_as_they_were_seen() {
        check(r#"{"error":{"message":"…","type":"invalid_request_error","code":"invalid_api_key"}}"#, InvalidApiKey);
        check(
            r#"{"type":"error","event_id":"e","error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#,
            InvalidApiKey,
        );
        check(r#"{"type":"error","status":401,"error":{"type":"invalid_request_error","code":"odd"}}"#, Denied);
        check(
            r#"{"type": "error", "code": "invalid_api_key", "message": "…", "param": null, "sequence_number": 3}"#,
            InvalidApiKey,
        );
        check(r#"{"type":"error","message":"Incorrect API key provided: sk-a"}"#, InvalidApiKey);
        check(r#"{"type":"error"}"#, Other);
        check(r#"{"object":"error","message":"…","code":40101}"#, Other);
        check(
            r#"{"type":"response.failed","sequence_number":1,"response":{"id":"r","error":{"code":"insufficient_quota"}}}"#,
            Quota,
        );
        check(r#"{"type":"response.failed","response":{"error":null}}"#, Other);
        check(r#"{"error":{"message":"User not found.","code":401}}"#, Denied);
        check(r#"[{"error":{"code":"missing_scope"}}]"#, Scope);
        check(r#"{ "a" : [1,{"b":"}\"]"}] , "error" : "You have insufficient permissions for this." }"#, Scope);
    }

    #[test]
    fn everything_else_is_none() {
        for text in [
            r#"{"type":"session.created","session":{"error":{"code":"invalid_api_key"}}}"#,
            r#"{"type":"response.created","response":{"error":null}}"#,
            r#"{"type":"x","error":null}"#,
            r#"{"type":"x","error":{}}"#,
            r#"{"type":"x","text":"\"error\":{\"code\":\"invalid_api_key\"}"}"#,
            r#"{"type":"errors"}"#,
        ] {
            for extent in [Extent::Whole, Extent::Cut] {
                assert_eq!(Event::read(text.as_bytes(), extent), Event::Other, "{text}");
            }
        }
        assert_eq!(Event::read(b"{}", Extent::Whole), Event::Other);
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for text in ["", "hello", "{", r#"{"type":"session.created""#, "\u{0}", "[[1]]", "42", r#"{"a":1}}"#] {
            assert_eq!(Event::read(text.as_bytes(), Extent::Whole), Event::Unreadable, "{text}");
        }
        assert_eq!(Event::read(br#"{"a":"b"#, Extent::Cut), Event::Unreadable, "its type may still come");
        assert_eq!(Event::read(br#"{"type":"session.created","a":"b"#, Extent::Cut), Event::Other);
    }

    #[test]
    fn an_event_may_be_named_beside_its_text() {
        let class = |text: &str| match Event::read_named_error(text.as_bytes(), Extent::Whole) {
            Event::Error(reading) => reading.class,
            Event::Other | Event::Unreadable => panic!("no error: {text}"),
        };
        assert_eq!(class(r#"{"code":"invalid_api_key","message":"…"}"#), InvalidApiKey);
        assert_eq!(class(r#"{"message":"Incorrect API key provided: x"}"#), InvalidApiKey);
        assert_eq!(class("no"), Other);
    }

    proptest! {
        #[test]
        fn a_member_is_the_one_that_a_parser_finds(
            names in prop::collection::vec("[a-c\\\\\"]{0,2}", 0..4),
            values in prop::collection::vec(value(), 4),
        ) {
            let object: serde_json::Map<_, _> = names.iter().cloned().zip(values).collect();
            let text = Value::Object(object.clone()).to_string();
            for name in ["a", "b", "c", "ab"] {
                let found = member(text.as_bytes(), name).and_then(first_value);
                prop_assert_eq!(found.as_ref(), object.get(name), "{}", text);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\",:\\\\ a]{0,30}") {
            for extent in [Extent::Whole, Extent::Cut] {
                let _ = Event::read(&bytes, extent);
                let _ = Event::read_named_error(text.as_bytes(), extent);
                let _ = Event::read(format!("{{\"error\":{text}").as_bytes(), extent);
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],:]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
