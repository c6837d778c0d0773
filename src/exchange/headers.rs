//! Edits of heads, in place: copying a head costs more than all the rest of judging a request.

use http::StatusCode;
use http::header::HeaderValue;

use crate::field_lines::{FieldLines, Name, Names, visible_text};
use crate::head::{Field, Fields, PROTOCOL_WITH_KEY, UNFORWARDED};
use crate::keys::set::Bearer;
use crate::ledger::sighting::{Exchange, ExchangeId};
use crate::openai::answer::Content;
use crate::openai::encoding::Encoding;
use crate::verdict::Verdict;

/// What of a request's head ends here, noted while the head was only borrowed.
pub struct RequestEdit {
    asks_for_upgrade: bool,
    names_hops: bool,
    takes_trailers: bool,
    ends_here: Names,
}

impl RequestEdit {
    /// From what the walk over the head found.
    #[must_use]
    pub fn new(fields: &Fields<'_>, organization_is_ours: bool) -> Self {
        let names_hops = match fields.connection {
            Field::Absent => false,
            Field::One(value) => !is_common(value),
            Field::Repeated(_) => true,
        };
        let takes_trailers = fields.te.first().is_some_and(|te| listed(te).any(|coding| is_token(coding, "trailers")));
        let ends_here = if organization_is_ours { ENDS_HERE.and(Name::OpenAiOrganization) } else { ENDS_HERE };
        Self { asks_for_upgrade: fields.asks_for_upgrade, names_hops, takes_trailers, ends_here }
    }

    /// Removes what belongs to the client's connection or to keyward, and names upstream as the host. Gives the protocols
    /// that upstream is asked to switch to, where the client wants that and can.
    pub fn apply(self, lines: &mut FieldLines, host: &HeaderValue, can_switch: bool) -> Option<HeaderValue> {
        let protocols = if can_switch && self.asks_for_upgrade { wanted_protocols(lines) } else { None };
        if self.names_hops {
            remove_hops(lines);
        }
        lines.remove_all(self.ends_here);
        lines.set(Name::Host, host.clone());
        if let Some(protocols) = &protocols {
            ask_to_switch(lines, protocols.clone());
        }
        if self.takes_trailers {
            // It is said of this connection again (RFC 9110, 10.1.4).
            lines.set(Name::Te, HeaderValue::from_static("trailers"));
            lines.add(Name::Connection, HeaderValue::from_static("te"));
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
pub fn join_cookies(lines: &mut FieldLines) {
    let parts: Vec<_> = lines.all(Name::Cookie).collect();
    // What were headers' values joined by text is fit for one.
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        lines.set(Name::Cookie, joined);
    }
}

/// The protocols that a client wants to switch to (RFC 9110, 7.8), as far as keyward can carry them as bytes. One that wraps
/// HTTP itself would let a client send requests that are not judged.
fn wanted_protocols(lines: &FieldLines) -> Option<HeaderValue> {
    if !tokens(lines, Name::Connection).any(|name| is_token(name, "upgrade")) {
        return None;
    }
    let carried: Vec<_> = tokens(lines, Name::Upgrade).filter(|protocol| !wraps_http(protocol)).collect();
    // What was part of a header's value still is fit for one.
    HeaderValue::from_bytes(&carried.join(&b", "[..])).ok().filter(|protocols| !protocols.is_empty())
}

fn wraps_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    // One without a name may be any.
    ["h2c", "h2", "http", "spdy", "tls", ""].iter().any(|wrapping| is_token(name, wrapping))
}

fn tokens(lines: &FieldLines, name: Name) -> impl Iterator<Item = &[u8]> {
    lines.all(name).flat_map(listed)
}

/// The elements of a list (RFC 9110, 5.6.1).
fn listed(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

fn is_token(bytes: &[u8], token: &str) -> bool {
    bytes.eq_ignore_ascii_case(token.as_bytes())
}

fn ask_to_switch(lines: &mut FieldLines, protocols: HeaderValue) {
    lines.set(Name::Connection, HeaderValue::from_static("upgrade"));
    lines.set(Name::Upgrade, protocols);
}

/// What upstream switches to, if it is among what it was asked for.
#[must_use]
pub fn agreed_protocols(answer: &FieldLines, asked: &HeaderValue) -> Option<HeaderValue> {
    let asked: Vec<_> = listed(asked.as_bytes()).collect();
    let was_asked = |protocol: &[u8]| asked.iter().any(|asked| asked.eq_ignore_ascii_case(protocol));
    let agreed = answer.first_value(Name::Upgrade).filter(|agreed| !agreed.is_empty())?;
    tokens(answer, Name::Upgrade).all(was_asked).then_some(agreed)
}

/// Edits the head by which upstream switches: what it switches to is told on, although it is the connection's own.
pub fn edit_switch(lines: &mut FieldLines, marks: &Marks, agreed: HeaderValue) {
    edit_answer(lines, marks);
    ask_to_switch(lines, agreed);
}

/// Whether a `Connection` names no other header, as nearly all of them.
fn is_common(connection: &[u8]) -> bool {
    is_token(connection, "close") || is_token(connection, "keep-alive")
}

/// Removes the lines that `Connection` names: they are the connection's own as well (RFC 9110, 7.6.1), but for those without
/// which the request would mean something else: no client may strip a credential that way.
fn remove_hops(lines: &mut FieldLines) {
    let hops: Vec<_> = tokens(lines, Name::Connection).map(<[u8]>::to_vec).collect();
    let is_hop = |text: &[u8]| hops.iter().any(|hop| hop.eq_ignore_ascii_case(text));
    lines.remove_if(|line| !END_TO_END.contains(line.name) && is_hop(line.text));
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
pub fn replace_credential(lines: &mut FieldLines, bearer: &Bearer) {
    lines.set(Name::Authorization, bearer.expose_header());
    lines.remove(Name::ApiKey);
    if lines.contains(Name::SecWebSocketProtocol) {
        let kept: Vec<_> = lines.all(Name::SecWebSocketProtocol).filter_map(without_key).collect();
        lines.remove(Name::SecWebSocketProtocol);
        for value in kept {
            lines.add(Name::SecWebSocketProtocol, value);
        }
    }
}

/// A list of subprotocols without the one that carries a key; nothing where no other is left.
fn without_key(protocols: &[u8]) -> Option<HeaderValue> {
    let others: Vec<_> =
        listed(protocols).filter(|protocol| !protocol.starts_with(PROTOCOL_WITH_KEY.as_bytes())).collect();
    // What was part of a header's value still is fit for one.
    HeaderValue::from_bytes(&others.join(&b", "[..])).ok().filter(|value| !value.is_empty())
}

/// Removes from upstream's head what belongs to upstream's connection, what speaks of upstream's address rather than
/// ours, and whatever passes for keyward's own; then puts keyward's own in. The owner of a lent key is not told. Gives
/// what it says of its body.
pub fn edit_answer(lines: &mut FieldLines, marks: &Marks) -> Carried {
    let carried = strip_answer(lines, marks.is_key_lent);
    mark(lines, marks);
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
pub fn strip_answer(lines: &mut FieldLines, is_key_lent: bool) -> Carried {
    let carried = read_carried(lines);
    if !lines.all(Name::Connection).all(is_common) {
        remove_hops(lines);
    }
    if lines.contains(Name::TransferEncoding) {
        // The chunks overrule a length beside them (RFC 9112, 6.3), which would cut the answer short on its way out.
        lines.remove(Name::ContentLength);
    }
    lines.remove_all(UNWANTED);
    if is_key_lent {
        lines.remove_all(OWNER);
    }
    remove_foreign_cookies(lines);
    carried
}

fn read_carried(lines: &FieldLines) -> Carried {
    let encoding = lines.all(Name::ContentEncoding).fold(Encoding::Identity, |before, value| {
        // Otherwise it is encoded twice.
        if before == Encoding::Identity { Encoding::read(Some(value)) } else { Encoding::Unknown }
    });
    Carried { content: Content::read(lines.all(Name::ContentType).next_back()), encoding }
}

/// The project of the key, as upstream tells it in the head of an answer.
#[must_use]
pub fn project(lines: &FieldLines) -> Option<&str> {
    visible_text(lines.first(Name::OpenAiProject)?)
}

/// Puts keyward's own headers in, which is all that an answer of keyward's own needs.
pub fn mark(lines: &mut FieldLines, marks: &Marks) {
    lines.set(Name::KeywardId, hex(marks.id));
    lines.set(Name::KeywardVerdict, HeaderValue::from_static(marks.verdict.code()));
    if let Some(note) = marks.note {
        lines.set(Name::KeywardNote, HeaderValue::from_static(note));
    }
}

fn hex(id: ExchangeId) -> HeaderValue {
    // Hex digits are a valid value, so the alternative is never taken.
    HeaderValue::from_bytes(&id.digits()).unwrap_or(HeaderValue::from_static(""))
}

/// A cookie with a domain is upstream's: keyward's own host is not in it, so that a client had to ignore it anyhow (RFC
/// 6265, 5.3).
fn remove_foreign_cookies(lines: &mut FieldLines) {
    let has_domain = |cookie: &[u8]| {
        let mut attributes = cookie.split(|byte| *byte == b';').skip(1);
        attributes.any(|attribute| {
            let name = attribute.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"domain")
        })
    };
    if lines.contains(Name::SetCookie) {
        lines.remove_if(|line| line.name == Name::SetCookie && has_domain(line.value));
    }
}

/// Whether an answer is a redirect that a client would follow, away from here and without its key: clients drop the
/// credential on the way to another host (seen in n8n 1.100.1 and 2.41.1), so it must not leave the proxy. Some clients
/// follow these statuses alone, others (follow-redirects, which axios uses) any of its class that says where to.
#[must_use]
pub fn is_redirect(status: StatusCode, lines: &FieldLines) -> bool {
    status.is_redirection()
        && (matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) || lines.contains(Name::Location))
}

/// Whether the head speaks of content, be it that there is none behind it: of an answer to HEAD, and by mistake where the
/// status leaves no room for any (RFC 9110, 6.4.1).
#[must_use]
pub fn announces_content(lines: &FieldLines) -> bool {
    lines.first(Name::ContentLength).is_some_and(|length| length != b"0") || lines.contains(Name::TransferEncoding)
}

/// What never goes upstream.
const ENDS_HERE: Names = Names::of(&UNFORWARDED);

/// The places of a credential, and what says what the message is.
const END_TO_END: Names = Names::of(&[
    Name::Authorization,
    Name::ApiKey,
    Name::SecWebSocketProtocol,
    Name::Host,
    Name::ContentLength,
    Name::ContentType,
]);

/// What of an answer never goes out.
const UNWANTED: Names = Names::of(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::AltSvc,
    Name::StrictTransportSecurity,
    Name::KeywardId,
    Name::KeywardVerdict,
    Name::KeywardNote,
    Name::OtherOfKeyward,
]);

/// Whose key it is.
const OWNER: Names = Names::of(&[Name::OpenAiOrganization, Name::OpenAiProject]);

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};

    use super::*;
    use crate::head::Head;
    use crate::keys::fingerprint::FingerprintKey;
    use crate::keys::set::{KeyRing, KeySet, Role, SetIndex};

    fn lines(lines: &[(&'static str, &'static str)]) -> FieldLines {
        let lines = lines.iter();
        let map: HeaderMap =
            lines.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        map.into()
    }

    fn read(lines: &FieldLines) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).expect("text");
        lines.iter().map(|line| (text(line.text), text(line.value))).collect()
    }

    #[track_caller]
    fn check(came: &[(&'static str, &'static str)], expected: &[(&'static str, &'static str)]) {
        let mut lines = lines(came);
        let fields = Head::new(&http::Method::GET, "/v1/models", &lines).fields;
        let edit = RequestEdit::new(&fields, false);
        let asked = edit.apply(&mut lines, &HeaderValue::from_static("api.openai.com"), true);
        assert_eq!(asked, lines.first_value(Name::Upgrade));
        assert_eq!(read(&lines), expected);
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
            let answer = lines(&[("upgrade", answered)]);
            let asked = HeaderValue::from_static("websocket, foo/2");
            assert_eq!(agreed_protocols(&answer, &asked).is_some(), is_agreed, "{answered}");
        }
        check("websocket", true);
        check("WebSocket", true);
        check("foo/2", true);
        check("foo/1", false);
        check("websocket, h2c", false);
        assert_eq!(agreed_protocols(&FieldLines::default(), &HeaderValue::from_static("websocket")), None);
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
        let mut lines = lines(&[
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
        edit_answer(&mut lines, &marks);
        let mut left = read(&lines);
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
        let mut lines = lines(&[
            ("authorization", "Basic OnNrLWE="),
            ("authorization", "Bearer sk-a"),
            ("api-key", "sk-a"),
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-a, openai-beta.realtime-v1"),
            ("sec-websocket-protocol", "openai-insecure-api-key.sk-b"),
        ]);
        replace_credential(&mut lines, ring.bearer(SetIndex::DEFAULT).expect("a current key"));
        let mut left = read(&lines);
        left.sort_unstable();
        let protocols = ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1");
        assert_eq!(left, [("authorization", "Bearer sk-ours"), protocols]);
        assert!(lines.first_value(Name::Authorization).is_some_and(|value| value.is_sensitive()));
    }
}
