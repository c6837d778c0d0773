//! Pure. Reading the error body of an answer beside the stream: its code and class, whatever its shape and encoding.
//!
//! The message itself is never kept: it may quote a part of the key.

use std::io::Read;

use http::StatusCode;
use serde_json::Value;

use crate::outcome::UpstreamError;
use crate::telemetry::masked::mask_and_cap;

/// Gathers the beginning of an error body as it passes by.
#[derive(Debug)]
pub struct ErrorBody {
    status: StatusCode,
    encoding: Encoding,
    bytes: Vec<u8>,
}

/// How a body is encoded (RFC 9110, 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`: zlib, or raw as some send it.
    Deflate,
    /// `br`.
    Brotli,
    /// Something that keyward does not decode.
    Unknown,
}

/// What an error body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorReading {
    /// Its code, in visible ASCII and capped.
    pub code: Option<Box<str>>,
    /// What the code, or the message where there is none, stands for.
    pub class: UpstreamError,
}

impl Encoding {
    /// From the value of `Content-Encoding`.
    #[must_use]
    pub fn read(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Self::Identity };
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("identity") || value.is_empty() => Self::Identity,
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("br") => Self::Brotli,
            () => Self::Unknown,
        }
    }
}

impl ErrorBody {
    /// Of an answer with that status.
    #[must_use]
    pub fn new(status: StatusCode, encoding: Encoding) -> Self {
        Self { status, encoding, bytes: Vec::new() }
    }

    /// Takes the next piece; what goes beyond the bound passes by unread.
    pub fn push(&mut self, piece: &[u8]) {
        let room = BOUND - self.bytes.len();
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Whether whatever else comes is not read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BOUND
    }

    /// Reads what was gathered.
    #[must_use]
    pub fn read(&self) -> ErrorReading {
        let text = self.decoded();
        let Ok(value) = serde_json::from_slice::<Value>(&text) else {
            return ErrorReading { code: None, class: UpstreamError::None };
        };
        let said = Said::find(&value);
        ErrorReading { code: said.code.and_then(clean), class: classify(self.status, &said) }
    }

    /// The scopes that the error says are missing: OpenAI names them in the message alone.
    #[must_use]
    pub fn missing_scopes(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.decoded()).into_owned();
        let (_, scopes) = text.split_once("Missing scopes: ")?;
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | ',' | ' ');
        let end = scopes.find(|character| !is_part(character)).unwrap_or(scopes.len());
        // Behind the dot that ends the sentence another one begins.
        let scopes = scopes[..end.min(LONGEST_SCOPES)].split(". ").next()?.trim_end_matches(['.', ' ']);
        (!scopes.is_empty()).then(|| scopes.to_owned())
    }

    /// The decoder stops at the bound, so a bomb costs no more than any other body.
    fn decoded(&self) -> Vec<u8> {
        let bytes = &self.bytes[..];
        match self.encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Gzip => bounded(flate2::read::GzDecoder::new(bytes)),
            Encoding::Deflate => match bounded(flate2::read::ZlibDecoder::new(bytes)) {
                nothing if nothing.is_empty() => bounded(flate2::read::DeflateDecoder::new(bytes)),
                text => text,
            },
            // The decoder knows an extension of brotli whose window, made at once, has up to a gigabyte. No `br` has it
            // (RFC 7932, 9.1).
            Encoding::Brotli if bytes.first().is_some_and(|first| first & 0x7f == 0x11) => Vec::new(),
            Encoding::Brotli => bounded(brotli_decompressor::Decompressor::new(bytes, BOUND)),
            Encoding::Unknown => Vec::new(),
        }
    }
}

/// As far as it can be read: a cut body may still hold its code.
fn bounded(decoder: impl Read) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = decoder.take(BOUND as u64).read_to_end(&mut text);
    text
}

/// The parts of an error that matter, wherever they stand.
#[derive(Default)]
struct Said<'a> {
    code: Option<&'a str>,
    kind: Option<&'a str>,
    message: &'a str,
}

impl<'a> Said<'a> {
    /// `{"error":{…}}`, `{"error":"…"}`, or the fields without the envelope. Some gateways send a list of one.
    fn find(value: &'a Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").unwrap_or(value);
        if let Value::String(message) = error {
            return Self { message, ..Self::default() };
        }
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        Self { code: text("code"), kind: text("type"), message: text("message").unwrap_or_default() }
    }

    fn is_named(&self, names: &[&str]) -> bool {
        [self.code, self.kind].into_iter().flatten().any(|name| names.contains(&name))
    }
}

fn classify(status: StatusCode, said: &Said<'_>) -> UpstreamError {
    // An unknown model is 404 with the same code; only as 403 it speaks of the project's leave.
    let model_is_barred = status == StatusCode::FORBIDDEN && said.code == Some("model_not_found");
    if said.is_named(&["invalid_api_key"]) {
        UpstreamError::InvalidApiKey
    } else if model_is_barred || said.is_named(&SCOPE) {
        UpstreamError::Scope
    } else if said.is_named(&QUOTA) {
        UpstreamError::Quota
    } else if said.code.is_some() {
        UpstreamError::Other
    } else {
        classify_message(said.message)
    }
}

/// Where there is no code, OpenAI's own words have to do.
fn classify_message(message: &str) -> UpstreamError {
    if message.starts_with("Incorrect API key provided") {
        UpstreamError::InvalidApiKey
    } else if message.contains("insufficient permissions") || message.contains("Missing scopes") {
        UpstreamError::Scope
    } else if message.is_empty() {
        UpstreamError::None
    } else {
        UpstreamError::Other
    }
}

fn clean(code: &str) -> Option<Box<str>> {
    let clean: String = code.chars().filter(char::is_ascii_graphic).collect();
    (!clean.is_empty()).then(|| mask_and_cap(&clean, LONGEST_CODE).into())
}

/// Codes and types that say: the key is good, its permissions are not (OpenAI's error guide, and bodies seen until
/// September 2026).
const SCOPE: [&str; 13] = [
    "missing_scope",
    "insufficient_permissions",
    "mismatched_organization",
    "invalid_organization",
    "mismatched_project",
    "invalid_project",
    "not_authorized_invalid_project",
    "not_authorized_invalid_key_type",
    "ip_not_authorized",
    "organization_membership_required",
    "unsupported_country_region_territory",
    "account_deactivated",
    "invalid_issuer",
];

/// Codes and types that speak of money, not of speed.
const QUOTA: [&str; 7] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
];

/// How much of a body is read, before and after decoding, in bytes.
const BOUND: usize = 16 * 1024;

const LONGEST_CODE: usize = 64;

const LONGEST_SCOPES: usize = 200;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn read(status: u16, encoding: Encoding, body: &[u8]) -> ErrorReading {
        let mut error = ErrorBody::new(StatusCode::from_u16(status).expect("a status"), encoding);
        body.chunks(7).for_each(|piece| error.push(piece));
        error.read()
    }

    #[track_caller]
    fn check(status: u16, body: &str, code: Option<&str>, class: UpstreamError) {
        let reading = read(status, Encoding::Identity, body.as_bytes());
        assert_eq!((reading.code.as_deref(), reading.class), (code, class));
    }

    const INVALID: &str = r#"{
  "error": {
    "message": "Incorrect API key provided: sk-proj-********AbCd. You can find your API key at https://platform.openai.com/account/api-keys.",
    "type": "invalid_request_error",
    "param": null,
    "code": "invalid_api_key"
  }
}"#;

    #[test]
    fn the_bodies_that_openai_sends() {
        use UpstreamError::{InvalidApiKey, None as Nothing, Other, Quota, Scope};
        check(401, INVALID, Some("invalid_api_key"), InvalidApiKey);
        check(401, r#"{"error":{"message":"Incorrect API key provided: ''.","code":null}}"#, None, InvalidApiKey);
        check(401, r#"{"error":{"message":"Missing bearer authentication in header","code":null}}"#, None, Other);
        check(
            403,
            r#"{"error":"You have insufficient permissions for this operation. Missing scopes: api.model.read."}"#,
            None,
            Scope,
        );
        check(401, r#"{"error":{"message":"…","code":"missing_scope"}}"#, Some("missing_scope"), Scope);
        check(
            401,
            r#"{"error":{"message":"Your IP …","type":"ip_not_authorized","code":"ip_not_authorized"}}"#,
            Some("ip_not_authorized"),
            Scope,
        );
        check(403, r#"{"error":{"message":"…","code":"model_not_found"}}"#, Some("model_not_found"), Scope);
        check(404, r#"{"error":{"message":"…","code":"model_not_found"}}"#, Some("model_not_found"), Other);
        check(
            429,
            r#"{"error":{"type":"insufficient_quota","code":"credit_balance_exhausted"}}"#,
            Some("credit_balance_exhausted"),
            Quota,
        );
        check(429, r#"{"error":{"type":"insufficient_quota","code":null}}"#, None, Quota);
        check(429, r#"{"error":{"type":"tokens","code":"rate_limit_exceeded"}}"#, Some("rate_limit_exceeded"), Other);
        check(400, r#"{"message":"no envelope","code":"odd"}"#, Some("odd"), Other);
        check(400, r#"[{"error":{"code":"in_a_list"}}]"#, Some("in_a_list"), Other);
        check(400, r#"{"error":{"code":42,"message":"a number"}}"#, None, Other);
        check(404, "", None, Nothing);
        check(403, "<html><body>Cloudflare</body></html>", None, Nothing);
        check(500, "null", None, Nothing);
    }

    #[test]
    fn the_scopes_that_are_missing_are_named() {
        #[track_caller]
        fn check(body: &str, expected: Option<&str>) {
            let mut error = ErrorBody::new(StatusCode::FORBIDDEN, Encoding::Identity);
            error.push(body.as_bytes());
            assert_eq!(error.missing_scopes().as_deref(), expected);
        }
        check(
            r#"{"error":"You have insufficient permissions for this operation. Missing scopes: api.model.read. Check that …"}"#,
            Some("api.model.read"),
        );
        check(r#"{"error":"Missing scopes: model.request, api.files.read."}"#, Some("model.request, api.files.read"));
        check(r#"{"error":"Missing scopes: "}"#, None);
        check(r#"{"error":{"message":"Incorrect API key provided: sk-a"}}"#, None);
    }

    #[test]
    fn a_code_is_safe_to_show() {
        let body = r#"{"error":{"code":"no:sk-0123456789abcdef0123"}}"#;
        assert_eq!(read(400, Encoding::Identity, body.as_bytes()).code.as_deref(), Some("no:sk-…[redacted]"));
        let body = format!(r#"{{"error":{{"code":"a\u001b[31m b\n{}"}}}}"#, "c".repeat(200));
        let code = read(400, Encoding::Identity, body.as_bytes()).code.expect("a code");
        assert!(code.starts_with("a[31mbccc") && code.len() == LONGEST_CODE);
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn encoded_bodies_are_read_within_bounds() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(INVALID.as_bytes()).expect("memory");
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        raw.write_all(INVALID.as_bytes()).expect("memory");
        for (encoding, body) in [
            (Encoding::Gzip, gzip(INVALID.as_bytes())),
            (Encoding::Deflate, zlib.finish().expect("memory")),
            (Encoding::Deflate, raw.finish().expect("memory")),
        ] {
            assert_eq!(read(401, encoding, &body).class, UpstreamError::InvalidApiKey, "{encoding:?}");
        }
        // What `brotli -c` makes of `{"error":{"code":"invalid_api_key"}}`.
        let head = [139, 17, 128];
        let brotli = [&head[..], br#"{"error":{"code":"invalid_api_key"}}"#, &[3]].concat();
        assert_eq!(read(401, Encoding::Brotli, &brotli).class, UpstreamError::InvalidApiKey);
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert_eq!(read(401, Encoding::Gzip, &bomb), ErrorReading::default());
        let mut long = ErrorBody::new(StatusCode::BAD_REQUEST, Encoding::Identity);
        (0..100).for_each(|_| long.push(&[b' '; 1000]));
        assert_eq!(long.bytes.len(), BOUND);
    }

    #[test]
    fn a_window_that_no_br_has_is_not_opened() {
        #[track_caller]
        fn check(spaces: &[u8], expected: usize) {
            let mut body = ErrorBody::new(StatusCode::BAD_REQUEST, Encoding::Brotli);
            body.push(spaces);
            assert_eq!(body.decoded().len(), expected);
        }
        // Thirty million spaces, with a window of 16 MiB and with one of a gigabyte.
        check(b"\xcf\xff\xff\x7f\xf8%@\xe2\xb1@ \xf7\xfe?\xff\x86\x93\xf1K\0\xc4a\x01\x80\xcen2", BOUND);
        check(
            b"\x11\x1e\xff\xff\xff\xe1\x97\0\x89\xc7\x02\x01\xb9\xf7\xff\xf97\x9c\x8c_\x02 \x0e\x0b\0\xe8\xec&\x03",
            0,
        );
    }

    #[test]
    fn encodings() {
        #[track_caller]
        fn check(value: Option<&str>, expected: Encoding) {
            assert_eq!(Encoding::read(value.map(str::as_bytes)), expected);
        }
        check(None, Encoding::Identity);
        check(Some("GZIP"), Encoding::Gzip);
        check(Some("x-gzip"), Encoding::Gzip);
        check(Some("deflate"), Encoding::Deflate);
        check(Some(" br "), Encoding::Brotli);
        check(Some("zstd"), Encoding::Unknown);
        check(Some("gzip, br"), Encoding::Unknown);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
            for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Unknown] {
                let _ = read(401, encoding, &body);
                let _ = read(401, encoding, &INVALID.as_bytes()[..cut.min(INVALID.len())]);
            }
        }
    }
}
