//! What is told of a problem: problem details (RFC 9457), and a page where a person asked.

use http::{HeaderValue, header};

use super::problem::{Kind, Problem};
use super::response::{HTML, Response, text};
use super::wrong_tokens::EACH;
use crate::answers::problem::ProblemDetails;
use crate::page::layout;
use maud::html;

/// As a program reads it.
#[must_use]
pub fn json(problem: &Problem) -> Response {
    let details = ProblemDetails {
        kind: format!("urn:keyward:problem:{}", problem.kind().code()),
        title: problem.kind().title().to_owned(),
        status: problem.kind().status().as_u16(),
        detail: problem.detail().to_owned(),
    };
    // Four texts and numbers cannot fail to be JSON.
    let body = serde_json::to_value(details).unwrap_or_default();
    answer(problem, "application/problem+json", format!("{body}\n"))
}

/// As a person reads it.
#[must_use]
pub fn page(problem: &Problem) -> Response {
    let page = layout::message(problem.kind().title(), &html! {}, &html! { p { (problem.detail()) } });
    answer(problem, HTML, page)
}

fn answer(problem: &Problem, content_type: &'static str, body: String) -> Response {
    let mut answer = text(problem.kind().status(), content_type, body);
    let headers = answer.headers_mut();
    if let Some(allowed) = problem.allowed() {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    match problem.kind() {
        Kind::TokenMissing | Kind::LinkUnknown => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="keyward""#));
        }
        Kind::TokenUnknown => {
            let challenge = r#"Bearer realm="keyward", error="invalid_token""#;
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Kind::TooManyWrongTokens => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(EACH.as_secs()));
        }
        Kind::BadQuery
        | Kind::ReadOnly
        | Kind::HostNotAllowed
        | Kind::OriginNotAllowed
        | Kind::NotFound
        | Kind::Ambiguous
        | Kind::MethodNotAllowed
        | Kind::Failed
        | Kind::Unavailable => {}
    }
    answer
}
