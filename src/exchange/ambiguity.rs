//! What the readers of heads let pass although another reader may read it otherwise. Such a request is refused before it is judged.

use http::{Method, Version};
use http_body::Body;

use crate::early_refusal::EarlyRefusal;
use crate::field_lines::{FieldLines, Name};
use crate::message::Request;
use crate::request_target::RequestTarget;

/// Why a request may mean one thing here and another thing upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// Its target has no path, as only that of CONNECT may (RFC 9112, 3.2.3; RFC 9113, 8.3.1), or names a user (RFC 9110,
    /// 4.2.4), or has bytes above ASCII, which no URI has (RFC 3986, 2) and whose encoding is not known.
    Target,
    /// It names no host, or several (RFC 9112, 3.2). A proxy in front of keyward may have gone by another one.
    Host,
    /// Its body is in more than chunks. keyward takes the chunks off and nothing else, so upstream would take what is left,
    /// which is still encoded, for the content.
    TransferCoding,
}

impl Ambiguity {
    /// The first that there is.
    #[must_use]
    pub fn find<B: Body>(request: &Request<B>) -> Option<Self> {
        if is_odd(&request.target, &request.method) {
            return Some(Self::Target);
        }
        if !has_one_host(&request.lines, request.version) {
            return Some(Self::Host);
        }
        // A body of known length is in no coding, which saves most requests the look-up.
        let is_encoded = request.body.size_hint().exact().is_none() && !is_in_chunks_alone(&request.lines);
        is_encoded.then_some(Self::TransferCoding)
    }
}

impl From<Ambiguity> for EarlyRefusal {
    fn from(ambiguity: Ambiguity) -> Self {
        match ambiguity {
            Ambiguity::Target => Self::AmbiguousTarget,
            Ambiguity::Host => Self::AmbiguousHost,
            Ambiguity::TransferCoding => Self::TransferCoding,
        }
    }
}

fn is_odd(target: &RequestTarget, method: &Method) -> bool {
    let RequestTarget::Other(target) = target else { return false };
    let has_no_path = method != Method::CONNECT && !target.path().starts_with(['/', '*']);
    let names_a_user = target.authority().is_some_and(|authority| authority.as_str().contains('@'));
    has_no_path || names_a_user || !target.path_and_query().is_none_or(|text| text.as_str().is_ascii())
}

/// Before HTTP/1.1 there need not be one, and since HTTP/2 it stands elsewhere.
fn has_one_host(lines: &FieldLines, version: Version) -> bool {
    let mut hosts = lines.all(Name::Host);
    (hosts.next().is_some() || version != Version::HTTP_11) && hosts.next().is_none()
}

fn is_in_chunks_alone(lines: &FieldLines) -> bool {
    let mut codings = lines.all(Name::TransferEncoding);
    let is_chunked = codings.next().is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    is_chunked && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    /// A body whose length is not known.
    struct Streamed;

    impl Body for Streamed {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            std::task::Poll::Ready(None)
        }
    }

    #[track_caller]
    fn check(method: &str, target: &str, codings: &[&str], expected: Option<Ambiguity>) {
        let mut request = http::Request::builder().method(method).uri(target).header(header::HOST, "keyward");
        for coding in codings {
            request = request.header(header::TRANSFER_ENCODING, *coding);
        }
        assert_eq!(
            Ambiguity::find(&request.body(Streamed).expect("a request").into()),
            expected,
            "{target} {codings:?}"
        );
    }

    #[test]
    fn a_target_is_read_in_one_way_by_every_server() {
        for target in ["/v1/models", "/v1/models?a=%C3%A9", "http://elsewhere.example/v1/models", "*"] {
            check("GET", target, &[], None);
        }
        check("CONNECT", "elsewhere.example:443", &[], None);
        for target in
            ["elsewhere.example:443", "http://user@k/v1/models", "http://a:b@k/v1", "/v1/\u{e9}", "/v1?\u{e9}"]
        {
            check("GET", target, &[], Some(Ambiguity::Target));
        }
    }

    #[test]
    fn there_is_one_host_where_there_has_to_be_one() {
        #[track_caller]
        fn check(version: Version, hosts: &[&'static str], expected: Option<Ambiguity>) {
            let mut request = http::Request::builder().version(version).uri("/v1/models");
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            assert_eq!(
                Ambiguity::find(&request.body(Streamed).expect("a request").into()),
                expected,
                "{version:?} {hosts:?}"
            );
        }
        check(Version::HTTP_11, &["k"], None);
        check(Version::HTTP_11, &[""], None);
        check(Version::HTTP_11, &[], Some(Ambiguity::Host));
        check(Version::HTTP_10, &[], None);
        check(Version::HTTP_2, &[], None);
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            check(version, &["k", "k"], Some(Ambiguity::Host));
        }
    }

    #[test]
    fn chunks_are_the_only_coding() {
        for codings in [&[][..], &["chunked"], &["Chunked"]] {
            check("POST", "/v1/files", codings, None);
        }
        for codings in
            [&["gzip, chunked"][..], &["chunked, chunked"], &[",chunked"], &["gzip", "chunked"], &["chunked", ""]]
        {
            check("POST", "/v1/files", codings, Some(Ambiguity::TransferCoding));
        }
    }
}
