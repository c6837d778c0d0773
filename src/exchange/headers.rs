//! Edits of heads, in place: copying a head costs more than all the rest of judging a request.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::head::{API_KEY, Field, Fields, ORGANIZATION, PROTOCOL_WITH_KEY, Unforwarded};
use crate::keys::set::Bearer;
use crate::ledger::sighting::{Exchange, ExchangeId};
use crate::openai::answer::Content;
use crate::openai::encoding::Encoding;
use crate::verdict::Verdict;

/// What of a request's head ends here, noted while the head was only borrowed.
pub struct RequestEdit {
    unforwarded: Unforwarded,
    hops: Hops,
    takes_trailers: bool,
    organization_is_ours: bool,
}

/// The headers that `Connection` names.
enum Hops {
    /// As its only value names them.
    Named(Vec<HeaderName>),
    /// It stands there more than once, so all of them are read when the head is edited.
    InSeveralHeaders,
}

impl RequestEdit {
    /// From what the walk over the head found.
    #[must_use]
    pub fn new(fields: &Fields<'_>, organization_is_ours: bool) -> Self {
        let hops = match fields.connection {
            Field::Absent => Hops::Named(Vec::new()),
            Field::One(value) => Hops::Named(named_by(value)),
            Field::Repeated(_) => Hops::InSeveralHeaders,
        };
        let takes_trailers = fields.te.first().is_some_and(|te| listed(te).any(|coding| is_token(coding, "trailers")));
        Self { unforwarded: fields.unforwarded, hops, takes_trailers, organization_is_ours }
    }

    /// Removes what belongs to the client's connection or to keyward, and names upstream as the host. Gives the protocols
    /// that upstream is asked to switch to, where the client wants that and can.
    pub fn apply(self, headers: &mut HeaderMap, host: &HeaderValue, can_switch: bool) -> Option<HeaderValue> {
        let is_asked = can_switch && self.unforwarded.contains(&header::UPGRADE);
        let protocols = if is_asked { wanted_protocols(headers) } else { None };
        let hops = match self.hops {
            Hops::Named(names) => names,
            Hops::InSeveralHeaders => named_in(headers),
        };
        for name in self.unforwarded.names() {
            headers.remove(name);
        }
        for name in &hops {
            headers.remove(name);
        }
        if self.organization_is_ours {
            headers.remove(&ORGANIZATION);
        }
        headers.insert(header::HOST, host.clone());
        if let Some(protocols) = &protocols {
            ask_to_switch(headers, protocols.clone());
        }
        if self.takes_trailers {
            // It is said of this connection again (RFC 9110, 10.1.4).
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.append(header::CONNECTION, HeaderValue::from_static("te"));
        }
        protocols
    }
}

/// Whether the client sends its body only when it is told to (RFC 9110, 10.1.1).
#[must_use]
pub fn expects_to_be_told(fields: &Fields<'_>) -> bool {
    fields.expect.first().is_some_and(|expected| is_token(expected, "100-continue"))
}

/// HTTP/2 lets clients part their cookies, HTTP/1.1 does not (RFC 9113, 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // What were headers' values joined by text is fit for one.
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// The protocols that a client wants to switch to (RFC 9110, 7.8), as far as keyward can carry them as bytes. One that wraps
/// HTTP itself would let a client send requests that are not judged.
fn wanted_protocols(headers: &HeaderMap) -> Option<HeaderValue> {
    if !tokens(headers, header::CONNECTION).any(|name| is_token(name, "upgrade")) {
        return None;
    }
    let carried: Vec<_> = tokens(headers, header::UPGRADE).filter(|protocol| !wraps_http(protocol)).collect();
    // What was part of a header's value still is fit for one.
    HeaderValue::from_bytes(&carried.join(&b", "[..])).ok().filter(|protocols| !protocols.is_empty())
}

fn wraps_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    // One without a name may be any.
    ["h2c", "h2", "http", "spdy", "tls", ""].iter().any(|wrapping| is_token(name, wrapping))
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().flat_map(|value| listed(value.as_bytes()))
}

/// The elements of a list (RFC 9110, 5.6.1).
fn listed(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn is_token(bytes: &[u8], token: &str) -> bool {
    bytes.eq_ignore_ascii_case(token.as_bytes())
}

fn ask_to_switch(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocols);
}

/// What upstream switches to, if it is among what it was asked for.
#[must_use]
pub fn agreed_protocols(answer: &HeaderMap, asked: &HeaderValue) -> Option<HeaderValue> {
    let asked: Vec<_> = listed(asked.as_bytes()).collect();
    let was_asked = |protocol: &[u8]| asked.iter().any(|asked| asked.eq_ignore_ascii_case(protocol));
    let agreed = answer.get(header::UPGRADE).filter(|agreed| !agreed.is_empty())?;
    tokens(answer, header::UPGRADE).all(was_asked).then(|| agreed.clone())
}

/// Edits the head by which upstream switches: what it switches to is told on, although it is the connection's own.
pub fn edit_switch(headers: &mut HeaderMap, marks: &Marks, agreed: HeaderValue) {
    edit_answer(headers, marks);
    ask_to_switch(headers, agreed);
}

/// The headers that `Connection` names are the connection's own as well (RFC 9110, 7.6.1), but for those without which
/// the request would mean something else: no client may strip a credential that way.
fn named_by(connection: &HeaderValue) -> Vec<HeaderName> {
    let names = connection.as_bytes();
    if names.eq_ignore_ascii_case(b"close") || names.eq_ignore_ascii_case(b"keep-alive") {
        return Vec::new();
    }
    listed(names)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect()
}

/// The same of every `Connection` in a head.
fn named_in(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.get_all(header::CONNECTION).iter().flat_map(named_by).collect()
}

/// What an answer tells of its exchange.
pub struct Marks {
    pub id: ExchangeId,
    pub verdict: Verdict,
    /// What had to be repaired about the path.
    pub note: Option<&'static str>,
    /// Whether upstream saw a key that the client may not know.
    pub is_key_lent: bool,
}

impl From<&Exchange> for Marks {
    fn from(exchange: &Exchange) -> Self {
        Self {
            id: exchange.id,
            verdict: exchange.judgement.verdict,
            note: exchange.note,
            is_key_lent: exchange.injected.is_some(),
        }
    }
}

/// Puts that key in and takes every other credential away, wherever OpenAI would look for one. WebSocket subprotocols
/// that carry no key stay.
pub fn replace_credential(headers: &mut HeaderMap, bearer: &Bearer) {
    headers.insert(header::AUTHORIZATION, bearer.expose_header());
    headers.remove(&API_KEY);
    if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        let kept: Vec<_> = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(without_key).collect();
        headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
        for value in kept {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

/// A list of subprotocols without the one that carries a key; nothing where no other is left.
fn without_key(protocols: &HeaderValue) -> Option<HeaderValue> {
    let others: Vec<_> =
        listed(protocols.as_bytes()).filter(|protocol| !protocol.starts_with(PROTOCOL_WITH_KEY.as_bytes())).collect();
    // What was part of a header's value still is fit for one.
    HeaderValue::from_bytes(&others.join(&b", "[..])).ok().filter(|value| !value.is_empty())
}

/// Removes from upstream's head what belongs to upstream's connection, what speaks of upstream's address rather than
/// ours, and whatever passes for keyward's own; then puts keyward's own in. The owner of a lent key is not told. Gives
/// what it says of its body.
pub fn edit_answer(headers: &mut HeaderMap, marks: &Marks) -> Carried {
    let carried = strip_answer(headers, marks.is_key_lent);
    mark(headers, marks);
    carried
}

/// What the head of an answer says of its body.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// What it consists of.
    pub content: Content,
    pub encoding: Encoding,
}

/// The same without keyward's own: for trailers.
pub fn strip_answer(headers: &mut HeaderMap, is_key_lent: bool) -> Carried {
    let carried = remove_unwanted(headers);
    if is_key_lent {
        headers.remove(&ORGANIZATION);
        headers.remove(&PROJECT);
    }
    carried
}

/// The project of the key, as upstream tells it in the head of an answer.
#[must_use]
pub fn project(headers: &HeaderMap) -> Option<&str> {
    headers.get(&PROJECT)?.to_str().ok()
}

/// Puts keyward's own headers in, which is all that an answer of keyward's own needs.
pub fn mark(headers: &mut HeaderMap, marks: &Marks) {
    headers.insert(ID, hex(marks.id));
    headers.insert(VERDICT, HeaderValue::from_static(marks.verdict.code()));
    if let Some(note) = marks.note {
        headers.insert(NOTE, HeaderValue::from_static(note));
    }
}

fn hex(id: ExchangeId) -> HeaderValue {
    // Hex digits are a valid value, so the alternative is never taken.
    HeaderValue::from_bytes(&id.digits()).unwrap_or(HeaderValue::from_static(""))
}

/// One walk finds what is there, and what the body is; most answers have one such header or none.
fn remove_unwanted(headers: &mut HeaderMap) -> Carried {
    let mut found = 0_u16;
    let mut unwelcome = Vec::new();
    let mut carried = Carried { content: Content::Other, encoding: Encoding::Identity };
    for (name, value) in headers.iter() {
        match name.as_str() {
            "content-type" => carried.content = Content::read(Some(value.as_bytes())),
            "content-encoding" if carried.encoding == Encoding::Identity => {
                carried.encoding = Encoding::read(Some(value.as_bytes()));
            }
            // It is encoded twice.
            "content-encoding" => carried.encoding = Encoding::Unknown,
            "connection" => found |= 1,
            "keep-alive" => found |= 1 << 1,
            "proxy-connection" => found |= 1 << 2,
            "transfer-encoding" => found |= 1 << 3,
            "upgrade" => found |= 1 << 4,
            "alt-svc" => found |= 1 << 5,
            "strict-transport-security" => found |= 1 << 6,
            "set-cookie" => found |= 1 << 7,
            other if other.starts_with("x-keyward-") => unwelcome.push(name.clone()),
            _ => {}
        }
    }
    if found & 1 != 0 {
        unwelcome.extend(named_in(headers));
    }
    if found & (1 << 3) != 0 {
        // The chunks overrule a length beside them (RFC 9112, 6.3), which would cut the answer short on its way out.
        headers.remove(header::CONTENT_LENGTH);
    }
    for (bit, name) in UNWANTED.iter().enumerate() {
        if found & (1 << bit) != 0 {
            headers.remove(name);
        }
    }
    for name in unwelcome {
        headers.remove(name);
    }
    if found & (1 << 7) != 0 {
        remove_foreign_cookies(headers);
    }
    carried
}

/// A cookie with a domain is upstream's: keyward's own host is not in it, so that a client had to ignore it anyhow (RFC
/// 6265, 5.3).
fn remove_foreign_cookies(headers: &mut HeaderMap) {
    let has_domain = |cookie: &&HeaderValue| {
        let mut attributes = cookie.as_bytes().split(|byte| *byte == b';').skip(1);
        attributes.any(|attribute| {
            let name = attribute.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"domain")
        })
    };
    let cookies: Vec<_> =
        headers.get_all(header::SET_COOKIE).iter().filter(|cookie| !has_domain(cookie)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Whether an answer is a redirect that a client would follow, away from here and without its key: clients drop the
/// credential on the way to another host (seen in n8n 1.100.1 and 2.41.1), so it must not leave the proxy. Some clients
/// follow these statuses alone, others (follow-redirects, which axios uses) any of its class that says where to.
#[must_use]
pub fn is_redirect(status: StatusCode, headers: &HeaderMap) -> bool {
    status.is_redirection()
        && (matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) || headers.contains_key(header::LOCATION))
}

/// Whether the head speaks of content, be it that there is none behind it: of an answer to HEAD, and by mistake where the
/// status leaves no room for any (RFC 9110, 6.4.1).
#[must_use]
pub fn announces_content(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length.as_bytes() != b"0") || headers.contains_key(header::TRANSFER_ENCODING)
}

/// The places of a credential, and what says what the message is.
static END_TO_END: [HeaderName; 6] = [
    header::AUTHORIZATION,
    API_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
];

/// In the order of the bits in [`remove_unwanted`].
static UNWANTED: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
];

const PROJECT: HeaderName = HeaderName::from_static("openai-project");
const ID: HeaderName = HeaderName::from_static("x-keyward-id");
const VERDICT: HeaderName = HeaderName::from_static("x-keyward-verdict");
const NOTE: HeaderName = HeaderName::from_static("x-keyward-note");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::set::{KeyRing, KeySet, Role, SetIndex};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[track_caller]
    fn check(lines: &[(&'static str, &'static str)], expected: &[(&'static str, &'static str)]) {
        let mut headers = headers(lines);
        let uri = http::Uri::from_static("/v1/models");
        let fields = Head::new(&http::Method::GET, &uri, &headers).fields;
        let edit = RequestEdit::new(&fields, false);
        let asked = edit.apply(&mut headers, &HeaderValue::from_static("api.openai.com"), true);
        assert_eq!(asked.as_ref(), headers.get(header::UPGRADE));
        let left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        assert_eq!(left, expected);
    }

    const HOST: (&str, &str) = ("host", "api.openai.com");

    #[test]
    fn what_belongs_to_the_connection_or_to_keyward_stays_here() {
        check(&[("connection", "close"), ("te", "deflate"), ("x-n8n-tag", "wf=a")], &[HOST]);
        check(&[("host", "keyward:8080"), ("accept", "*/*")], &[HOST, ("accept", "*/*")]);
        check(&[("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("x-end", "2")], &[("x-end", "2"), HOST]);
        check(&[("upgrade", "websocket"), ("keep-alive", "timeout=5"), ("transfer-encoding", "chunked")], &[HOST]);
    }

    #[test]
    fn a_switch_to_another_protocol_is_asked_for_again_but_never_to_one_that_wraps_http() {
        check(
            &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")],
            &[("sec-websocket-version", "13"), HOST, ("connection", "upgrade"), ("upgrade", "websocket")],
        );
        check(
            &[("connection", "upgrade"), ("upgrade", "h2c, WebSocket,, HTTP/3.0, TLS/1.2, /t")],
            &[HOST, ("connection", "upgrade"), ("upgrade", "WebSocket")],
        );
        check(
            &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")],
            &[HOST],
        );
        check(&[("upgrade", "websocket")], &[HOST]);
    }

    #[test]
    fn upstream_switches_to_what_it_was_asked_for_and_to_nothing_else() {
        #[track_caller]
        fn check(answered: &'static str, is_agreed: bool) {
            let answer = headers(&[("upgrade", answered)]);
            let asked = HeaderValue::from_static("websocket, foo/2");
            assert_eq!(agreed_protocols(&answer, &asked).is_some(), is_agreed, "{answered}");
        }
        check("websocket", true);
        check("WebSocket", true);
        check("foo/2", true);
        check("foo/1", false);
        check("websocket, h2c", false);
        assert_eq!(agreed_protocols(&HeaderMap::new(), &HeaderValue::from_static("websocket")), None);
    }

    #[test]
    fn trailers_are_asked_for_where_the_client_takes_them() {
        let asked = [HOST, ("te", "trailers"), ("connection", "te")];
        check(&[("connection", "TE"), ("te", "gzip;q=0.5, Trailers")], &asked);
        check(&[("connection", "TE"), ("te", "gzip")], &[HOST]);
    }

    #[test]
    fn a_credential_is_not_stripped_by_naming_it() {
        check(
            &[("connection", "authorization"), ("authorization", "Bearer sk-a")],
            &[("authorization", "Bearer sk-a"), HOST],
        );
    }

    #[test]
    fn an_answer_carries_our_marks_and_never_those_of_another() {
        let mut headers = headers(&[
            ("x-keyward-verdict", "current"),
            ("x-keyward-spoof", "1"),
            ("alt-svc", "h3"),
            ("x-request-id", "r"),
            ("openai-organization", "org-a"),
            ("openai-project", "proj_a"),
        ]);
        let marks = Marks {
            id: ExchangeId::new(1),
            verdict: Verdict::Missing,
            note: Some("path: repaired"),
            is_key_lent: true,
        };
        edit_answer(&mut headers, &marks);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        left.sort_unstable();
        let expected = [
            ("x-keyward-id", "0000000000000001"),
            ("x-keyward-note", "path: repaired"),
            ("x-keyward-verdict", "missing"),
            ("x-request-id", "r"),
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_key_that_is_put_in_replaces_every_credential_and_leaves_other_subprotocols() {
        let set = KeySet { name: "default".into(), learning: false, grace: std::time::Duration::ZERO };
        let ring = KeyRing::new(vec![set], std::sync::Arc::new(FingerprintKey::new(&[7; 32])));
        let ring = ring.with_key("sk-ours".parse().expect("a key"), SetIndex::DEFAULT, Role::Current);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Basic OnNrLWE="),
            ("authorization", "Bearer sk-a"),
            ("api-key", "sk-a"),
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-a, openai-beta.realtime-v1"),
            ("sec-websocket-protocol", "openai-insecure-api-key.sk-b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        replace_credential(&mut headers, ring.bearer(SetIndex::DEFAULT).expect("a current key"));
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        left.sort_unstable();
        let protocols = ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1");
        assert_eq!(left, [("authorization", "Bearer sk-ours"), protocols]);
        assert!(headers[header::AUTHORIZATION].is_sensitive());
    }
}
