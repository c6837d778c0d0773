//! The words of an answer that keyward makes itself, in the shape of OpenAI's errors.

use bytes::Bytes;
use serde::Serialize;

use crate::verdict::explain::{Diagnosis, Explanation};

/// What a refusal says, in the shape of OpenAI's errors.
#[must_use]
pub fn refusal_body(diagnosis: Diagnosis, explanation: &Explanation) -> Bytes {
    error_body(&explanation.in_short(LONGEST_MESSAGE), "keyward_refusal", diagnosis.code())
}

/// `{"error":{"message":…,"type":…,"param":null,"code":…}}`, the only shape whose message every n8n node shows.
#[must_use]
pub fn error_body(message: &str, r#type: &str, code: &str) -> Bytes {
    #[derive(Serialize)]
    struct Envelope<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        message: &'a str,
        r#type: &'a str,
        param: Option<&'a str>,
        code: &'a str,
    }
    // Serialising strings into memory cannot fail; an empty body would still carry the status.
    let text = serde_json::to_vec(&Envelope { error: Error { message, r#type, param: None, code } });
    text.unwrap_or_default().into()
}

/// The same as an event of a stream, in the shapes of both of OpenAI's APIs that stream (Chat Completions has `error` alone,
/// Responses the fields beside it).
#[must_use]
pub fn error_event(message: &str, r#type: &str, code: &str) -> Vec<u8> {
    let error = serde_json::json!({ "message": message, "type": r#type, "param": null, "code": code });
    let event = serde_json::json!({ "error": error, "type": "error", "code": code, "message": message, "param": null });
    format!("event: error\ndata: {event}\n\n").into_bytes()
}

/// What an n8n node shows of a message without cutting it, in bytes.
const LONGEST_MESSAGE: usize = 600;
