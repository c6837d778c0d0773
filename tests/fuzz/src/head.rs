//! What a client sends, from its first byte on: the first byte of an input chooses the rules, the rest is sent.
//!
//! The bytes go through the readers of requests and bodies that keyward has, then through its own parts as in `exchange`, and,
//! if they may, through the writers that keyward has. What those wrote is read again here.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use keyward::caller::{Agreement, Caller, declared};
use keyward::exchange::headers::{RequestEdit, replace_credential};
use keyward::exchange::rewrite::new_target;
use keyward::field_lines::{FieldLines, Name, Names};
use keyward::head::{Head, UNFORWARDED};
use keyward::http1::body_reader::{BodyReader, Piece};
use keyward::http1::body_writer::BodyWriter;
use keyward::http1::framing::Framing;
use keyward::http1::head_reader::{RequestHead, read_request};
use keyward::http1::head_writer::{BodyLength, write_request};
use keyward::http1::output::Output;
use keyward::keys::rules::Policy;
use keyward::keys::set::SetIndex;
use keyward::message::Request;
use keyward::policy::{self, Action, Asked};
use keyward::request_path::RequestPath;
use keyward::request_target::RequestTarget;
use keyward::upstream::request_body::edit_trailers;
use keyward::verdict::credential::{Credential, Malformed};
use keyward::verdict::{Judgement, Outdated, Verdict, judge};

use crate::pieces::{Pieces, flush, read_head};
use crate::world::{CURRENT, NEXT, NOW, RING, Setting, TOKENS, TOLERATED, sets};

/// Holds the way of a head to its promises.
pub fn check(data: &[u8]) {
    let Some((number, sent)) = data.split_first() else { return };
    check_cuts(sent, *number);
    let trial = Trial { setting: Setting::of(*number), sent };
    if let Some(upstream) = trial.carry_first() {
        upstream.check(&trial);
    }
}

/// However the first head is cut, it is the same, and so is what is left behind it.
fn check_cuts(sent: &[u8], number: u8) {
    if sent.len() >= MAX_HEAD {
        // Why it is refused then depends on how much of it has come.
        return;
    }
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (head, rest) = read_head(pieces, MAX_HEAD, |input| read_request(input, MAX_HEAD));
        let lines = head.as_ref().ok().and_then(Option::as_ref).map(|head| head.request.lines.clone().into_map());
        (format!("{head:?} {lines:?}"), rest)
    };
    let whole = read(&mut std::iter::once(sent));
    assert_eq!(read(&mut Pieces::new(sent, number)), whole, "split at {number}");
    assert_eq!(read(&mut sent.chunks(1)), whole, "byte by byte");
}

/// One input on its way.
struct Trial<'a> {
    setting: Setting,
    sent: &'a [u8],
}

/// What came to upstream, and what was to come.
struct Upstream {
    written: Vec<u8>,
    body: Vec<u8>,
    lent: Option<SetIndex>,
    end_to_end: HeaderMap,
}

/// What is decided about a head, and on what grounds.
struct Judged {
    judgement: Judgement,
    /// The set's own, or the exception for the workflow that the request claims to come from.
    policy: Policy,
    action: Action,
    target: Option<RequestTarget>,
    edit: RequestEdit,
}

// === impl Trial ===

impl Trial<'_> {
    /// Carries the first request that goes upstream; those before it are answered by keyward itself.
    fn carry_first(&self) -> Option<Upstream> {
        let mut input = Bytes::copy_from_slice(self.sent);
        while let Ok(Some(head)) = read_request(&mut input, MAX_HEAD) {
            let (framing, persists) = (head.framing, head.persists);
            if let Some(upstream) = self.carry(head, &mut input) {
                return Some(upstream);
            }
            let mut body = BodyReader::new(framing);
            while let Ok(Some(_)) = body.read(&mut input) {}
            if !persists || !body.is_done() {
                break;
            }
        }
        None
    }

    fn carry(&self, head: RequestHead, input: &mut Bytes) -> Option<Upstream> {
        let RequestHead { request, framing, .. } = head;
        // keyward answers these itself, unjudged.
        if request.method == Method::CONNECT {
            return None;
        }
        let judged = judge_head(&self.setting, &request.method, &request.target, &request.lines);
        self.check_action(&judged, &request);
        self.check_claims(&judged, &request);
        let Action::Forward(permit) = judged.action else { return None };
        let mut head = request;
        let end_to_end = head.lines.clone().into_map();
        head.target = judged.target.unwrap_or(head.target);
        let can_switch = head.version == Version::HTTP_11 && framing == Framing::Length(0);
        head.version = Version::HTTP_11;
        let asked = judged.edit.apply(&mut head.lines, &HeaderValue::from_static(HOST), can_switch);
        assert!(asked.is_none() || can_switch, "a switch to {asked:?}, where none can be");
        if let Some(bearer) = permit.injected() {
            replace_credential(&mut head.lines, bearer);
        }
        let lent = permit.injected().map(|_| judged.judgement.set);
        let (written, body) = send(&head, framing, input);
        Some(Upstream { written, body, lent, end_to_end })
    }

    /// A client gets a key of ours only with a key that admits, or from an address that does.
    fn check_action(&self, judged: &Judged, request: &Request<()>) {
        let Action::Forward(permit) = &judged.action else { return };
        let judgement = &judged.judgement;
        let Some(lent) = permit.injected() else { return };
        assert_eq!(Some(lent.names), RING.current(judgement.set), "the key of the very set");
        let policy = judged.policy;
        let admitting: &[&str] = match policy {
            Policy::Observe => &[],
            Policy::Enforce => &TOKENS,
            Policy::Inject => &[TOKENS[0], TOKENS[1], NEXT, TOLERATED],
        };
        // In Basic a key is not to be seen as such.
        let may_hide_one = policy != Policy::Observe && find(&self.sent.to_ascii_lowercase(), b"basic");
        let is_admitted = may_hide_one || admitting.iter().any(|key| find(self.sent, key.as_bytes()));
        assert!(is_admitted || self.is_admitted_by_address(policy, request), "{judgement:?} by {:?}", self.setting);
        let verdict_admits = match judgement.verdict {
            Verdict::Token => true,
            Verdict::Next | Verdict::Missing | Verdict::Malformed(Malformed::Empty) => policy == Policy::Inject,
            Verdict::Outdated(Outdated { in_grace, barred, .. }) => {
                policy == Policy::Inject && in_grace && barred.is_none()
            }
            Verdict::Current | Verdict::Foreign { .. } | Verdict::Unknown(_) | Verdict::Malformed(_) => false,
        };
        assert!(verdict_admits && request.method != Method::TRACE, "{judgement:?}");
    }

    fn is_admitted_by_address(&self, policy: Policy, request: &Request<()>) -> bool {
        let headers = request.lines.clone().into_map();
        let is_relayed =
            ["via", "forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name));
        let is_foreign_page =
            headers.get_all(header::ORIGIN).iter().any(|origin| !origin.as_bytes().eq_ignore_ascii_case(ORIGIN));
        policy == Policy::Inject
            && self.setting.peer.to_string().starts_with("10.1.2.")
            && !is_relayed
            && !is_foreign_page
    }

    /// What a request says of its sender may tighten what is done about it, and never loosen it.
    fn check_claims(&self, judged: &Judged, request: &Request<()>) {
        let mut lines = request.lines.clone();
        for name in UNFORWARDED.iter().filter(|name| name.text().starts_with("x-n8n-")) {
            lines.remove(*name);
        }
        if declared::is_our_organization(
            Head::new(&request.method, request.target.path(), &request.lines).fields.organization,
        ) {
            lines.remove(Name::OpenAiOrganization);
        }
        let target = judged.target.as_ref().unwrap_or(&request.target);
        let unclaimed = judge_head(&self.setting, &request.method, target, &lines);
        // Where it was sent in absolute form, its authority is gone by now; no rule here asks for it.
        assert!(
            judged.rank() <= unclaimed.rank(),
            "{:?} by claim, otherwise {:?}: {:?} {:?}",
            judged.action,
            unclaimed.action,
            judged.judgement,
            self.setting
        );
    }
}

// === impl Judged ===

impl Judged {
    /// The more, the more is granted. A token speaks for itself: it stands for its set's key, which a client that shows it may have.
    fn rank(&self) -> u8 {
        match &self.action {
            Action::Refuse(_) => 0,
            Action::Forward(permit) if permit.injected().is_none() || self.judgement.verdict == Verdict::Token => 1,
            Action::Forward(_) => 2,
        }
    }
}

/// The way of a head, as `exchange` has it.
fn judge_head(setting: &Setting, method: &Method, target: &RequestTarget, lines: &FieldLines) -> Judged {
    let head = Head::new(method, target.path(), lines);
    let read = RequestPath::read(head.path);
    let mut caller = Caller::identify(&head, &read);
    let declared_set = declared_set(&mut caller, setting);
    let judgement = judge(&Credential::read(&head.fields), declared_set, &RING, NOW);
    let asked = Asked {
        judgement: &judgement,
        head: &head,
        authority: target.authority(),
        workflow: caller.workflow,
        set_is_unclear: caller.doubts.unknown_set || caller.doubts.agreement == Agreement::SetsDiffer,
        peer: setting.peer,
        now: NOW,
    };
    let action = policy::decide(&asked, &setting.rules, &RING);
    let policy = setting.rules.of_set(judgement.set.position()).policy_for(caller.workflow);
    let new_target = new_target(target, &read.target(target.path_and_query()));
    let is_ours = declared::is_our_organization(head.fields.organization);
    let edit = RequestEdit::new(&head.fields, is_ours);
    Judged { judgement, policy, action, target: new_target, edit }
}

fn declared_set(caller: &mut Caller<'_>, setting: &Setting) -> Option<SetIndex> {
    let declared = caller.set.and_then(|name| RING.find_set(name));
    caller.doubts.unknown_set = caller.set.is_some() && declared.is_none();
    let listed = caller.workflow.and_then(|workflow| setting.rules.set_of_workflow(workflow));
    let listed = listed.map(|position| sets(&RING)[position]);
    if caller.set.is_some() && listed.is_some() && listed != declared {
        caller.doubts.agreement = Agreement::SetsDiffer;
    }
    declared.or(listed)
}

/// Sends a request as far as its body comes. Gives what was written, and what was read of the body.
fn send(request: &Request<()>, framing: Framing, input: &mut Bytes) -> (Vec<u8>, Vec<u8>) {
    let length = match framing {
        Framing::Length(0) => BodyLength::None,
        Framing::Length(length) => BodyLength::Known(length),
        Framing::Chunked => BodyLength::Unknown,
        Framing::UntilClose => panic!("a request cannot end with its connection"),
    };
    let mut output = Output::default();
    let mut writer = write_request(request, length, output.front());
    let (mut written, mut body) = (Vec::new(), Vec::new());
    flush(&mut output, &mut written);
    pass_body(&mut writer, BodyReader::new(framing), input, |output, data| {
        body.extend_from_slice(data);
        flush(output, &mut written);
    });
    (written, body)
}

/// Passes a body on piece by piece, with its trailers as they are edited on the way. What broke off is not ended.
fn pass_body(
    writer: &mut BodyWriter,
    mut reader: BodyReader,
    input: &mut Bytes,
    mut pass: impl FnMut(&mut Output, &[u8]),
) {
    let mut output = Output::default();
    while let Ok(Some(piece)) = reader.read(input) {
        match piece {
            Piece::Data(data) => {
                writer.write(Bytes::clone(&data), reader.is_done(), &mut output);
                pass(&mut output, &data);
            }
            Piece::Trailers(mut trailers) => {
                edit_trailers(&mut trailers);
                writer.end_with(&trailers, &mut output).expect("a body in chunks has no length");
            }
        }
    }
    if reader.is_done() {
        writer.end(&mut output).expect("all of it");
    }
    pass(&mut output, b"");
}

// === impl Upstream ===

impl Upstream {
    /// Reads what upstream got in the plainest way there is.
    fn check(&self, trial: &Trial<'_>) {
        let written = &self.written;
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(length)) = request.parse(written) else {
            panic!("half a head: {:?}", String::from_utf8_lossy(written));
        };
        let target = request.path.expect("a target");
        assert!(target.starts_with('/') || target == "*", "{target:?}");
        let head = Written { headers: request.headers };
        head.check_hops(&self.end_to_end);
        self.check_credential(&head, written, trial);
        head.check_body(&written[length..], &self.body);
    }

    /// Ours alone where it was lent, and nowhere else.
    fn check_credential(&self, head: &Written<'_, '_>, written: &[u8], trial: &Trial<'_>) {
        if let Some(set) = self.lent {
            let ours = format!("Bearer {}", CURRENT[set.position()]);
            assert_eq!(head.all("authorization"), [ours.as_bytes()]);
            assert!(head.all("api-key").is_empty());
            let protocols = head.all("sec-websocket-protocol").join(&b',');
            let mut protocols = protocols.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            assert!(!protocols.any(|protocol| protocol.starts_with(b"openai-insecure-api-key.")));
        }
        for (position, key) in CURRENT.iter().enumerate() {
            let is_lent = self.lent.is_some_and(|set| set.position() == position);
            assert!(
                is_lent || find(trial.sent, key.as_bytes()) || !find(written, key.as_bytes()),
                "no client sent {key}"
            );
        }
    }
}

/// The headers that upstream got.
struct Written<'a, 'b> {
    headers: &'a [httparse::Header<'b>],
}

impl<'b> Written<'_, 'b> {
    fn all(&self, name: &str) -> Vec<&'b [u8]> {
        self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value).collect()
    }

    /// Nothing that ends at this proxy goes on, and what must go on does.
    fn check_hops(&self, came: &HeaderMap) {
        assert_eq!(self.all("host"), [HOST.as_bytes()]);
        for name in UNFORWARDED.iter().filter(|name| !SAID_AGAIN.contains(**name)) {
            assert!(self.all(name.text()).is_empty(), "{}", name.text());
        }
        self.check_said_again();
        let organizations = self.all("openai-organization");
        assert!(!(organizations.len() == 1 && is_our_tag(organizations[0])), "{organizations:?}");
        let named =
            came.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let named: Vec<_> = named.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect();
        for name in came.keys().map(header::HeaderName::as_str) {
            let stays = named.iter().any(|named| named == name && name != "close")
                || UNFORWARDED.iter().any(|other| other.text() == name);
            let goes_on = ["authorization", "api-key", "content-type"].contains(&name);
            let is_bodys = ["host", "content-length", "openai-organization", "sec-websocket-protocol"].contains(&name)
                || SAID_AGAIN.contains(Name::of(name.as_bytes()));
            if !is_bodys && stays && !goes_on {
                assert!(self.all(name).is_empty(), "{name} was the connection's own");
            } else if !is_bodys && !stays {
                assert!(name == "api-key" || !self.all(name).is_empty(), "{name} got lost");
            }
        }
    }

    /// What keyward says of its own connection, in the only words that it has for it.
    fn check_said_again(&self) {
        let (connection, upgrade, te) = (self.all("connection"), self.all("upgrade"), self.all("te"));
        assert!(connection.iter().all(|word| [&b"upgrade"[..], b"te"].contains(word)), "{connection:?}");
        assert_eq!(connection.contains(&&b"upgrade"[..]), !upgrade.is_empty());
        assert_eq!(connection.contains(&&b"te"[..]), !te.is_empty());
        assert!(te.is_empty() || te == [b"trailers"], "{te:?}");
        for protocol in upgrade.iter().flat_map(|protocols| protocols.split(|byte| *byte == b',')) {
            let name = protocol.trim_ascii().split(|byte| *byte == b'/').next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            assert!(!["h2c", "h2", "http", "tls", ""].contains(&&*name), "a switch to what wraps HTTP: {name}");
        }
    }

    /// There is one way to tell where the body ends, and it ends there.
    fn check_body(&self, written: &[u8], read: &[u8]) {
        let (lengths, encodings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (&lengths[..], &encodings[..]) {
            ([], []) => assert!(written.is_empty(), "a body that was not announced"),
            ([length], []) => {
                assert!(length.iter().all(u8::is_ascii_digit), "{length:?}");
                let length: usize = std::str::from_utf8(length).expect("text").parse().unwrap_or(usize::MAX);
                assert!(written.len() <= length && read.starts_with(written));
            }
            ([], [encoding]) => {
                assert!(encoding.eq_ignore_ascii_case(b"chunked"), "{encoding:?}");
                check_chunks(written, read);
            }
            _ => panic!("its end can be told in two ways: {lengths:?} {encodings:?}"),
        }
    }
}

/// The chunks hold what was read, and behind the last one comes nothing.
fn check_chunks(mut chunks: &[u8], read: &[u8]) {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&chunks[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let rest = &chunks[end + 2..];
        if size == 0 {
            check_trailers(rest);
            break;
        }
        let data = &rest[..size.min(rest.len())];
        body.extend_from_slice(data);
        chunks = rest.get(size + 2..).unwrap_or_default();
    }
    assert!(read.starts_with(&body));
}

/// Behind the last chunk there are trailers at most, and none that ends at this proxy or says who sends it.
fn check_trailers(rest: &[u8]) {
    let mut trailers = [httparse::EMPTY_HEADER; 128];
    let Ok(httparse::Status::Complete((length, trailers))) = httparse::parse_headers(rest, &mut trailers) else {
        panic!("no end of trailers: {:?}", String::from_utf8_lossy(rest));
    };
    assert_eq!(length, rest.len(), "another request");
    for trailer in trailers {
        let name = trailer.name.to_ascii_lowercase();
        let says_who = ["authorization", "api-key", "openai-organization", "sec-websocket-protocol"];
        assert!(!says_who.contains(&&*name) && UNFORWARDED.iter().all(|barred| barred.text() != name), "{name}");
    }
}

/// What may stand in a head again although it ends at this proxy: what keyward says of its own connection.
const SAID_AGAIN: Names = Names::of(&[Name::Connection, Name::Te, Name::TransferEncoding, Name::Upgrade]);

/// `n8n-<workflow>-<number>`, as n8n 1.x sends it.
fn is_our_tag(organization: &[u8]) -> bool {
    let text = std::str::from_utf8(organization).unwrap_or_default();
    let parts = text.strip_prefix("n8n-").and_then(|rest| rest.rsplit_once('-'));
    parts.is_some_and(|(workflow, number)| {
        let is_plain = !workflow.is_empty() && workflow.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_plain
            && workflow.len() <= 128
            && (1..=128).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// As keyward has it.
const MAX_HEAD: usize = 64 * 1024;

const HOST: &str = "upstream.example";

const ORIGIN: &[u8] = b"https://app.example";
