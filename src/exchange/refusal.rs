//! Every answer that keyward makes itself, in the shape that OpenAI's clients read.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::ambiguity::Ambiguity;
use super::error_body::error_body;
use super::forward_error::ForwardError;
use super::lent_key::{self, KeptBack};
use super::response_body::ResponseBody;
use crate::field_lines::{FieldLines, Name};
use crate::message::Answer;
use crate::outcome::Ending;
use crate::outcome::Redirect;
use crate::policy::Refusal;
use crate::telemetry::event::with_causes;
use crate::verdict::explain::redirect_steps;

/// The answer to a request that the policy refuses. Its head takes the place of the request's lines, whose
/// room it needs.
#[must_use]
pub fn refused(refusal: Refusal, body: Bytes, mut lines: FieldLines) -> Answer<ResponseBody> {
    lines.clear();
    match refusal {
        Refusal::Credential | Refusal::UnclearSet => unauthorized(body, lines),
        // Not for browsers, and not for echoes.
        Refusal::Origin | Refusal::Echo => answer(StatusCode::FORBIDDEN, body, typed(JSON, lines)),
        // Not by that name (RFC 9110, 15.5.20).
        Refusal::Host => answer(StatusCode::MISDIRECTED_REQUEST, body, typed(JSON, lines)),
    }
}

/// The credential will not do, or the key that keyward put in: 401, which no client tries again, as OpenAI says it.
/// `lines` are empty.
#[must_use]
pub fn unauthorized(body: Bytes, lines: FieldLines) -> Answer<ResponseBody> {
    let mut lines = typed(JSON, lines);
    lines.add(Name::WwwAuthenticate, HeaderValue::from_static(CHALLENGE));
    answer(StatusCode::UNAUTHORIZED, body, lines)
}

/// Upstream did not answer: 502, or 504 where it took too long; 408 where the request stood still on its way. Clients try
/// these again, as they should.
#[must_use]
pub fn upstream_failed(error: &ForwardError, upstream: &str) -> Answer<ResponseBody> {
    let (status, what) = match error {
        ForwardError::Connect(cause) => {
            (StatusCode::BAD_GATEWAY, format!("keyward cannot reach {upstream}: {}", with_causes(cause)))
        }
        ForwardError::CutOff(_) => {
            (StatusCode::BAD_GATEWAY, format!("{upstream} ended the connection before its answer was whole"))
        }
        ForwardError::Upgraded => (StatusCode::BAD_GATEWAY, format!("{upstream} switched to another protocol unasked")),
        ForwardError::Chatter => {
            (StatusCode::BAD_GATEWAY, format!("{upstream} sent informational answers without end, and no other"))
        }
        ForwardError::TimedOut => {
            (StatusCode::GATEWAY_TIMEOUT, format!("{upstream} did not answer within keyward's answer_timeout"))
        }
        ForwardError::NotTaken { .. } => (
            StatusCode::GATEWAY_TIMEOUT,
            format!("{upstream} took nothing of the request's body for longer than keyward's idle_timeout"),
        ),
        ForwardError::StoodStill { .. } => (
            StatusCode::REQUEST_TIMEOUT,
            "the request's body stood still for longer than keyward's client_stall_timeout".to_owned(),
        ),
        ForwardError::RequestBody(_) => {
            (StatusCode::BAD_REQUEST, "the request's body ended before it was whole".to_owned())
        }
    };
    let code = if error.ending() == Ending::ClientGone { "client_gone" } else { "upstream_failed" };
    openai_error(status, &what, "keyward_error", code)
}

/// Upstream answered with a redirect: 400, which no client tries again. Clients that follow a redirect to another host
/// leave the credential behind.
#[must_use]
pub fn redirected(status: StatusCode, redirect: Redirect, upstream: &str) -> Answer<ResponseBody> {
    let message = format!(
        "{upstream} answered with a redirect ({}), which keyward does not pass on: a client that follows it loses its \
         key on the way. {}",
        status.as_u16(),
        redirect_steps(redirect)[0]
    );
    openai_error(StatusCode::BAD_REQUEST, &message, "keyward_refusal", "upstream_redirect")
}

/// An error of upstream's that must not go out: the same status, so that clients try again where they would have, with
/// upstream's own code where it is known.
#[must_use]
pub fn replaced(status: StatusCode, why: KeptBack, code: Option<&str>, upstream: &str) -> Answer<ResponseBody> {
    let message = format!("{upstream} answered with {}. {}", status.as_u16(), lent_key::told(why));
    openai_error(status, &message, lent_key::ERROR, code.unwrap_or(lent_key::CODE))
}

/// A request that is none for an origin server, such as CONNECT: 405.
#[must_use]
pub fn not_a_proxy() -> Answer<ResponseBody> {
    let message = "keyward stands in for the API's own address: set it as the base URL, not as an HTTP proxy.";
    openai_error(StatusCode::METHOD_NOT_ALLOWED, message, "keyward_refusal", "not_a_proxy")
}

/// A request that others may read otherwise: 400, or 501 for a coding that keyward does not take off (RFC 9112, 6.1).
#[must_use]
pub fn ambiguous(ambiguity: Ambiguity) -> Answer<ResponseBody> {
    let (status, message) = match ambiguity {
        Ambiguity::Target => (
            StatusCode::BAD_REQUEST,
            "the request's target is not one that every server reads alike: send a path, without a user and with all but \
             ASCII percent-encoded.",
        ),
        Ambiguity::Host => (StatusCode::BAD_REQUEST, "the request has to name one host: send a single Host header."),
        Ambiguity::TransferCoding => (
            StatusCode::NOT_IMPLEMENTED,
            "keyward takes `Transfer-Encoding: chunked`, and no other coding beside it: send compressed content with \
             Content-Encoding.",
        ),
    };
    openai_error(status, message, "keyward_refusal", "ambiguous_request")
}

/// More requests than that peer may have at a time: 503, which clients try again a little later.
#[must_use]
pub fn too_many_requests() -> Answer<ResponseBody> {
    let message = "keyward carries as many requests as it may for this address (max_connections_per_peer) or in all \
                   (max_connections). Try again when some of them are done.";
    let mut answer = openai_error(StatusCode::SERVICE_UNAVAILABLE, message, "keyward_refusal", "too_many_requests");
    answer.lines.add(Name::RetryAfter, HeaderValue::from_static("1"));
    answer
}

/// A head that is larger than heads may be: 431 (RFC 6585, 5).
#[must_use]
pub fn oversized_head() -> Answer<ResponseBody> {
    let message = "the head of the request is larger than keyward's max_head.";
    openai_error(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message, "keyward_refusal", "oversized_head")
}

/// A 500 for a request in which keyward itself failed.
#[must_use]
pub fn failed() -> Answer<ResponseBody> {
    let message = "keyward failed while it carried this request. Its log says where.";
    openai_error(StatusCode::INTERNAL_SERVER_ERROR, message, "keyward_error", "keyward_failed")
}

/// The page for people who open the Base URL in a browser.
#[must_use]
pub fn page(html: Bytes) -> Answer<ResponseBody> {
    answer(StatusCode::OK, html, typed(HeaderValue::from_static("text/html; charset=utf-8"), FieldLines::default()))
}

fn openai_error(status: StatusCode, message: &str, r#type: &str, code: &str) -> Answer<ResponseBody> {
    answer(status, error_body(message, r#type, code), typed(JSON, FieldLines::default()))
}

/// The field lines of an answer with that type of content.
fn typed(content_type: HeaderValue, mut lines: FieldLines) -> FieldLines {
    lines.add(Name::ContentType, content_type);
    lines
}

fn answer(status: StatusCode, text: Bytes, lines: FieldLines) -> Answer<ResponseBody> {
    Answer { lines, ..Answer::new(status, ResponseBody::Ours(Some(text))) }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// OpenAI's own, for clients that look at it (seen in answers of its API until September 2026).
const CHALLENGE: &str = "Bearer realm=\"OpenAI API\"";
