//! Rewrites a request for upstream: its target, its head, and how its body is sent.

use bytes::Bytes;
use http::{HeaderValue, Version};
use http_body::Body;

use super::headers::{self, RequestEdit};
use super::session::Session;
use crate::caller::declared;
use crate::field_lines::Name;
use crate::head::Fields;
use crate::ledger::sighting::Sighting;
use crate::message::Request;
use crate::policy::Permit;
use crate::request_path::Target;
use crate::request_target::RequestTarget;
use crate::upstream::request_body::{ClientBody, RequestBody};

/// What has to change in a request before it goes upstream.
pub struct Rewrite {
    target: Option<RequestTarget>,
    edit: RequestEdit,
    /// Whether the client sends its body only when it is told to.
    waits_for_continue: bool,
}

impl Rewrite {
    /// What has to change, noted while the head is only borrowed.
    #[must_use]
    pub fn new(fields: &Fields<'_>, came: &RequestTarget, target: &Target<'_>) -> Self {
        let is_ours = declared::is_our_organization(fields.organization);
        Self {
            target: new_target(came, target),
            edit: RequestEdit::new(fields, is_ours),
            waits_for_continue: headers::expects_to_be_told(fields),
        }
    }

    /// Edits the head in place and puts the counting body in. Gives the protocols that upstream is asked to switch to.
    pub fn apply(
        self,
        request: Request<ClientBody>,
        permit: &Permit,
        sighting: &Sighting,
        session: &Session,
    ) -> (Box<Request<RequestBody>>, Option<HeaderValue>) {
        let Self { target, edit, waits_for_continue } = self;
        // In a box, since every future that a request is passed to has room for it.
        let clock = session.worker.coarse_clock.clone();
        let mut request = Box::new(request.map(|body| RequestBody::new(body, sighting.share(), clock)));
        if let Some(target) = target {
            request.target = target;
        }
        // HTTP/1.0 knows of no other protocols (RFC 9110, 7.8), and behind a body it would not be clear where they begin.
        let can_switch = request.version == Version::HTTP_11 && request.body.is_end_stream();
        let is_http2 = request.version == Version::HTTP_2;
        if is_http2 {
            headers::join_cookies(&mut request.lines);
        }
        request.version = Version::HTTP_11;
        let asked = edit.apply(&mut request.lines, &session.worker.shared.host, can_switch);
        if let Some(bearer) = permit.injected() {
            headers::replace_credential(&mut request.lines, bearer);
        }
        if waits_for_continue && is_http2 {
            // hyper passes no informational answer on to such a client. The client sends its body before long, told or not, and
            // what upstream answers without it is read at once; so nothing has to wait.
            request.lines.remove(Name::Expect);
        } else if waits_for_continue {
            hold_body_until_continue(&mut request);
        }
        (request, asked)
    }
}

/// Upstream's path, without the query, which is as long as it was.
#[must_use]
pub fn path_of<'a>(target: &'a Target<'_>, came: &'a str, query: usize) -> &'a str {
    let text = match target {
        Target::AsItCame => came,
        Target::Suffix(suffix) => suffix,
        Target::Repaired(text) => text,
    };
    &text[..text.len().saturating_sub(query)]
}

/// The target in origin form, where it is not what came already (RFC 9112, 3.2.1).
#[must_use]
pub fn new_target(came: &RequestTarget, target: &Target<'_>) -> Option<RequestTarget> {
    match target {
        Target::AsItCame if came.authority().is_none() => None,
        Target::AsItCame => Some(in_origin_form(came.path_and_query())),
        Target::Suffix(suffix) => Some(came.cut_to(suffix)),
        Target::Repaired(text) => Some(in_origin_form(text)),
    }
}

/// An absolute target may have a query and no path (RFC 9112, 3.2.1).
fn in_origin_form(text: &str) -> RequestTarget {
    let slash = if text.starts_with('/') { "" } else { "/" };
    RequestTarget::read_part(Bytes::from([slash, text].concat()))
}

/// Holds the body back until upstream asks for it with 100 (RFC 9110, 10.1.1). Without a body there is nothing to wait for, which
/// not every upstream knows.
fn hold_body_until_continue(request: &mut Request<RequestBody>) {
    if request.body.is_end_stream() {
        request.lines.remove(Name::Expect);
        return;
    }
    request.body.hold();
}
