//! Pure. Reading the error body of an answer beside the stream: its code and class, whatever its shape and encoding.
//!
//! The message itself is never kept: it may quote a part of the key.

use http::StatusCode;
use serde_json::Value;

use super::encoding::{BOUND, Encoding};
use crate::outcome::UpstreamError;
use crate::telemetry::masked::mask_and_cap;

/// Gathers the beginning of an error body as it passes by.
#[derive(Debug)]
pub struct ErrorBody {
    status: StatusCode,
    encoding: Encoding,
    bytes: Vec<u8>,
}

/// What an error body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorReading {
    /// Its code, in visible ASCII and capped.
    pub code: Option<Box<str>>,
    /// What the code, or the message where there is none, stands for.
    pub class: UpstreamError,
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

    /// What was gathered, decoded; nothing where it cannot be.
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        let text = self.encoding.decode(&self.bytes);
        (self.bytes.is_empty() || !text.is_empty()).then_some(text)
    }

    /// Reads what was gathered as an error of OpenAI's; without a code and class where it is no JSON.
    #[must_use]
    pub fn read(&self) -> ErrorReading {
        let text = self.encoding.decode(&self.bytes);
        let Ok(value) = serde_json::from_slice::<Value>(&text) else {
            return ErrorReading { code: None, class: UpstreamError::None };
        };
        let said = Said::find(&value);
        ErrorReading { code: said.code.and_then(clean), class: classify(Some(self.status), &said) }
    }

    /// The scopes that the error says are missing: OpenAI names them in the message alone.
    #[must_use]
    pub fn missing_scopes(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.encoding.decode(&self.bytes)).into_owned();
        let (_, scopes) = text.split_once("Missing scopes: ")?;
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | ',' | ' ');
        let end = scopes.find(|character| !is_part(character)).unwrap_or(scopes.len());
        // Behind the dot that ends the sentence another one begins.
        let scopes = scopes[..end.min(LONGEST_SCOPES)].split(". ").next()?.trim_end_matches(['.', ' ']);
        (!scopes.is_empty()).then(|| scopes.to_owned())
    }
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
        Self::of(value.get("error").unwrap_or(value))
    }

    fn of(error: &'a Value) -> Self {
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

impl ErrorReading {
    /// Of an error inside of an answer that began as a success, in a stream or in a message; nothing where it is no error.
    /// Where the error has a status of its own, or one stands beside it, that counts.
    #[must_use]
    pub(super) fn inside(error: &Value, beside: Option<u16>) -> Option<Self> {
        let is_empty = match error {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Object(fields) => fields.values().all(Value::is_null),
            Value::Array(items) => items.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        if is_empty {
            return None;
        }
        let own = |name: &str| error.get(name).and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
        let status = own("code").or_else(|| own("status")).or(beside);
        let said = Said::of(error);
        let class = classify(status.and_then(|status| StatusCode::from_u16(status).ok()), &said);
        let is_denied = matches!(status, Some(401 | 403)) || said.is_named(&DENIED);
        let class = match (class.is_refusal(), is_denied) {
            (true, _) => class,
            (false, true) => UpstreamError::Denied,
            (false, false) => UpstreamError::Other,
        };
        let code = said.code.and_then(clean).or_else(|| own("code").map(|code| code.to_string().into()));
        Some(Self { code, class })
    }

    /// An error that cannot be read.
    pub(super) fn unnamed() -> Self {
        Self { code: None, class: UpstreamError::Other }
    }

    /// Of the reason that a connection was closed for: a code that may stand behind its type and a dot.
    pub(super) fn of_reason(reason: &str) -> Option<Self> {
        let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
        reason.split(|character| !is_part(character)).find_map(|code| {
            let said = Said { code: Some(code), ..Said::default() };
            let class = classify(None, &said);
            class.is_refusal().then(|| Self { code: clean(code), class })
        })
    }
}

fn classify(status: Option<StatusCode>, said: &Said<'_>) -> UpstreamError {
    // An unknown model is 404 with the same code; only as 403 it speaks of the project's leave.
    let model_is_barred = status == Some(StatusCode::FORBIDDEN) && said.code == Some("model_not_found");
    if said.is_named(&["invalid_api_key"]) {
        UpstreamError::InvalidApiKey
    } else if model_is_barred || said.is_named(&SCOPE) {
        UpstreamError::Scope
    } else if said.is_named(&QUOTA) {
        UpstreamError::Quota
    } else {
        let class = if said.code.is_some() { UpstreamError::Other } else { classify_message(said.message) };
        let is_about_request = status == Some(StatusCode::BAD_REQUEST) && said.kind == Some("invalid_request_error");
        // Upstreams that refuse keys with 400 give no such type.
        if class == UpstreamError::Other && is_about_request { UpstreamError::Request } else { class }
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

/// Types that say that the key is refused, and not why.
const DENIED: [&str; 4] = ["authentication_error", "permission_error", "permission_denied", "access_terminated_error"];

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

    #[test]
    fn encoded_bodies_are_read_within_bounds() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(INVALID.as_bytes()).expect("memory");
        let body = encoder.finish().expect("memory");
        assert_eq!(read(401, Encoding::Gzip, &body).class, UpstreamError::InvalidApiKey);
        let mut long = ErrorBody::new(StatusCode::BAD_REQUEST, Encoding::Identity);
        (0..100).for_each(|_| long.push(&[b' '; 1000]));
        assert_eq!(long.bytes.len(), BOUND);
    }

    #[test]
    fn a_complaint_about_the_request_is_told_from_a_refusal_with_the_same_status() {
        use UpstreamError::{InvalidApiKey, Other, Request};
        let complaint = r#"{"error":{"message":"…","type":"invalid_request_error","code":null}}"#;
        check(400, complaint, None, Request);
        check(
            400,
            r#"{"error":{"type":"invalid_request_error","code":"unknown_parameter"}}"#,
            Some("unknown_parameter"),
            Request,
        );
        check(404, complaint, None, Other);
        check(
            400,
            r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#,
            None,
            Other,
        );
        check(400, INVALID, Some("invalid_api_key"), InvalidApiKey);
    }

    #[test]
    fn errors_inside_of_an_answer() {
        #[track_caller]
        fn check(error: &str, beside: Option<u16>, expected: Option<(Option<&str>, UpstreamError)>) {
            let reading = ErrorReading::inside(&serde_json::from_str(error).expect("JSON"), beside);
            let told = reading.as_ref().map(|reading| (reading.code.as_deref(), reading.class));
            assert_eq!(told, expected, "{error}");
        }
        use UpstreamError::{Denied, InvalidApiKey, Other, Quota, Scope};
        check(r#"{"code":"invalid_api_key"}"#, None, Some((Some("invalid_api_key"), InvalidApiKey)));
        check(r#""Incorrect API key provided: sk-a""#, None, Some((None, InvalidApiKey)));
        check(r#"{"message":"User not found.","code":401}"#, None, Some((Some("401"), Denied)));
        check(r#"{"message":"…","type":"authentication_error"}"#, None, Some((None, Denied)));
        check(r#"{"message":"…","type":"invalid_request_error"}"#, Some(401), Some((None, Denied)));
        check(r#"{"code":"model_not_found"}"#, Some(403), Some((Some("model_not_found"), Scope)));
        check(r#"{"code":"missing_scope"}"#, Some(400), Some((Some("missing_scope"), Scope)));
        check(r#"{"type":"insufficient_quota","code":null}"#, None, Some((None, Quota)));
        check(r#"{"code":"server_error"}"#, None, Some((Some("server_error"), Other)));
        check(r#"{"type":"invalid_request_error","message":"…"}"#, Some(400), Some((None, Other)));
        check("true", None, Some((None, Other)));
        for nothing in ["null", "{}", "false", r#""""#, "[]", r#"{"code":null,"message":null}"#] {
            check(nothing, None, None);
        }
    }

    #[test]
    fn reasons_of_a_close() {
        #[track_caller]
        fn check(reason: &str, expected: Option<UpstreamError>) {
            assert_eq!(ErrorReading::of_reason(reason).map(|reading| reading.class), expected, "{reason}");
        }
        check("invalid_api_key", Some(UpstreamError::InvalidApiKey));
        check("invalid_request_error.invalid_api_key", Some(UpstreamError::InvalidApiKey));
        check("invalid_api_key: Incorrect API key provided", Some(UpstreamError::InvalidApiKey));
        check("insufficient_quota", Some(UpstreamError::Quota));
        check("missing_scope.", Some(UpstreamError::Scope));
        check("", None);
        check("websocket_connection_limit_reached", None);
        check("not_invalid_api_keys", None);
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
