//! An exchange as it is remembered: a guard that closes itself with the outcome on every way out.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::bearing::Bearing;
use super::binding::Binding;
use super::destination::{self, Destination};
use crate::caller::declared::{Attribution, Origin};
use crate::caller::{Caller, Doubts, Family};
use crate::clock::Timestamp;
use crate::codes::listed;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::Names;
use crate::openai::error::ErrorReading;
use crate::outcome::{Ending, Outcome, Proof, Redirect, UpstreamError};
use crate::policy::{Action, ActionKind, Refusal};
use crate::telemetry::event::with_causes;
use crate::telemetry::masked::{holds_key, mask_and_cap};
use crate::verdict::Judgement;
use crate::verdict::explain::Explanation;

/// Who is told when an exchange ends.
pub trait Observer: Send + Sync {
    /// The exchange began. Called once, before it goes upstream; as quick as the end.
    fn exchange_began(&self, exchange: &Exchange);

    /// The exchange ended so. Called once, on the worker's thread, so it must not wait for anything.
    fn exchange_ended(&self, exchange: &Arc<Exchange>, outcome: Outcome);

    /// The exchange goes on in another protocol, perhaps for hours. Called when that begins, and once more when upstream
    /// has shown that it takes the key; before it ends, and as quick as the end.
    fn exchange_goes_on(&self, exchange: &Exchange);

    /// Whether keyward cuts off whatever is still open.
    fn is_shutting_down(&self) -> bool;
}

/// What is known of an exchange, and what comes to be known while it runs. Shared by the two bodies of the exchange;
/// everything that changes is a relaxed atomic, for only one thread at a time writes it.
pub struct Exchange {
    /// Its number: unique, and without meaning.
    pub id: ExchangeId,
    /// When its head came.
    pub at: Timestamp,
    /// The same, for measuring.
    pub started: Instant,
    pub binding: Arc<Binding>,
    pub judgement: Judgement,
    /// What keyward did about it.
    pub action: ActionKind,
    /// The key that went upstream in place of what came.
    pub injected: Option<Names>,
    /// Why keyward answered itself.
    pub refusal: Option<Refusal>,
    /// The method, or `OTHER` where it is longer than any.
    pub method: Method,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    pub family: Family,
    /// How the caller is known.
    pub attribution: Attribution,
    /// What in n8n made the request.
    pub origin: Origin,
    /// What was odd about the sources.
    pub doubts: Doubts,
    /// What had to be repaired about the path.
    pub note: Option<&'static str>,
    /// Whether it is a browser's question what a page may send: it shows nothing of a caller.
    pub is_preflight: bool,
    /// Whether it carries no credential that OpenAI reads, but that of a management gateway.
    pub has_gateway_key: bool,
    /// Which uses of a key count that are seen in it.
    pub destination: Destination,
    texts: Texts,
    moved: Moved,
    answered: OnceLock<Answered>,
    error: OnceLock<ErrorReading>,
    cause: OnceLock<Box<str>>,
    redirect: OnceLock<Redirect>,
    projects: OnceLock<Box<[Box<str>; 2]>>,
    explanation: OnceLock<Arc<Explanation>>,
    /// Nanoseconds from its head until it went upstream; 0 as long as it has not.
    handed_over: AtomicU64,
    ending: AtomicU8,
    refused_with: AtomicU16,
    is_proven: AtomicBool,
    /// What its binding was told; [`UNTOLD`] as long as it was told nothing.
    told: AtomicU8,
}

/// What the exchange has carried so far.
#[derive(Debug, Default)]
struct Moved {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    at: AtomicU64,
    took_all: AtomicBool,
    waits_for_client: AtomicBool,
}

/// The head of upstream's answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub status: StatusCode,
    /// When it came.
    pub at: Instant,
}

/// The facts that an exchange begins with.
pub struct Opening<'r> {
    pub id: ExchangeId,
    /// When its head came.
    pub at: Timestamp,
    /// The same, for measuring.
    pub started: Instant,
    pub judgement: Judgement,
    /// What keyward does about it.
    pub action: Acted,
    pub method: &'r Method,
    /// Upstream's path, without the query.
    pub path: &'r str,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// What had to be repaired about the path.
    pub note: Option<&'static str>,
    /// Whether it is a browser's question what a page may send.
    pub is_preflight: bool,
    /// Whether it carries no credential that OpenAI reads, but that of a management gateway.
    pub has_gateway_key: bool,
}

/// What is remembered of an action.
#[derive(Clone, Copy, Debug)]
pub struct Acted {
    kind: ActionKind,
    injected: Option<Names>,
    refusal: Option<Refusal>,
}

impl Acted {
    /// Of an action that is about to be taken.
    #[must_use]
    pub fn of(action: &Action) -> Self {
        let (injected, refusal) = match action {
            Action::Forward(permit) => (permit.injected().map(|bearer| bearer.names), None),
            Action::Refuse(refusal) => (None, Some(*refusal)),
        };
        Self { kind: action.kind(), injected, refusal }
    }
}

impl Exchange {
    /// Copies what must outlive the request's head, in a single piece.
    fn begin(opening: &Opening<'_>, caller: &Caller<'_>, binding: Arc<Binding>) -> Arc<Self> {
        Arc::new(Self {
            id: opening.id,
            at: opening.at,
            started: opening.started,
            binding,
            judgement: opening.judgement,
            action: opening.action.kind,
            injected: opening.action.injected,
            refusal: opening.action.refusal,
            method: shown(opening.method),
            peer: opening.peer,
            family: caller.client.family,
            attribution: caller.attribution,
            origin: caller.origin,
            doubts: caller.doubts,
            note: opening.note,
            is_preflight: opening.is_preflight,
            has_gateway_key: opening.has_gateway_key,
            destination: destination::read(opening.method, opening.path, opening.judgement.verdict),
            texts: Texts::of(opening.path, caller),
            moved: Moved::default(),
            answered: OnceLock::new(),
            error: OnceLock::new(),
            cause: OnceLock::new(),
            redirect: OnceLock::new(),
            projects: OnceLock::new(),
            explanation: OnceLock::new(),
            handed_over: AtomicU64::new(0),
            ending: AtomicU8::new(NO_ENDING),
            refused_with: AtomicU16::new(0),
            is_proven: AtomicBool::new(false),
            told: AtomicU8::new(UNTOLD),
        })
    }

    /// Upstream's path, without prefix and query, capped.
    #[must_use]
    pub fn path(&self) -> &str {
        self.texts.at(Text::Path).unwrap_or_default()
    }

    /// The workflow's id, if the request declared one; masked and capped.
    #[must_use]
    pub fn workflow(&self) -> Option<&str> {
        self.texts.at(Text::Workflow)
    }

    /// The execution's id, if the request declared one; masked and capped.
    #[must_use]
    pub fn execution(&self) -> Option<&str> {
        self.texts.at(Text::Execution)
    }

    /// The node's id, if the request declared one; masked and capped.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.texts.at(Text::Node)
    }

    /// The workflow's name, as the caller gave it.
    #[must_use]
    pub fn workflow_name(&self) -> Option<&str> {
        self.texts.at(Text::WorkflowName)
    }

    /// Which n8n it came from, if the tag says so.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.texts.at(Text::Instance)
    }

    /// The client's version, as it says.
    #[must_use]
    pub fn client_version(&self) -> Option<&str> {
        self.texts.at(Text::ClientVersion)
    }

    /// The head of upstream's answer, once it came.
    #[must_use]
    pub fn answered(&self) -> Option<Answered> {
        self.answered.get().copied()
    }

    /// The status that the client got, if it got one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        let ours = StatusCode::from_u16(self.refused_with.load(Ordering::Relaxed)).ok();
        ours.or_else(|| self.answered().map(|answered| answered.status))
    }

    /// The code in upstream's error body.
    #[must_use]
    pub fn upstream_code(&self) -> Option<&str> {
        self.error.get().and_then(|reading| reading.code.as_deref())
    }

    /// Why upstream gave no whole answer, where it is known.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.get().map(|cause| &**cause)
    }

    /// Body bytes that came from the client.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.moved.bytes_in.load(Ordering::Relaxed)
    }

    /// Body bytes that went to the client.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.moved.bytes_out.load(Ordering::Relaxed)
    }

    /// Notes body bytes from the client, at that time of the pulse.
    pub fn took(&self, bytes: usize, pulse: u64) {
        add(&self.moved.bytes_in, bytes as u64);
        self.moved.at.store(pulse, Ordering::Relaxed);
    }

    /// Notes that the client's body is at its end, or that no more of it is taken.
    pub fn took_all(&self) {
        self.moved.took_all.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more of the client's body goes upstream.
    #[must_use]
    pub fn has_taken_all(&self) -> bool {
        self.moved.took_all.load(Ordering::Relaxed)
    }

    /// Notes whether it is the client who has yet to send more of its body.
    pub fn waits_for_client(&self, waits: bool) {
        self.moved.waits_for_client.store(waits, Ordering::Relaxed);
    }

    /// Whether it is the client who has yet to send more of its body, rather than upstream who takes none.
    #[must_use]
    pub fn is_waiting_for_client(&self) -> bool {
        self.moved.waits_for_client.load(Ordering::Relaxed)
    }

    /// Notes body bytes to the client, at that time of the pulse.
    pub fn gave(&self, bytes: usize, pulse: u64) {
        add(&self.moved.bytes_out, bytes as u64);
        self.moved.at.store(pulse, Ordering::Relaxed);
    }

    /// Notes at that time of the pulse that something moved without bytes of a body: a head.
    pub fn touch(&self, pulse: u64) {
        self.moved.at.store(pulse, Ordering::Relaxed);
    }

    /// The time of the pulse at which something last moved in either direction.
    #[must_use]
    pub fn moved_at(&self) -> u64 {
        self.moved.at.load(Ordering::Relaxed)
    }

    /// Notes that it goes upstream now. The first time counts.
    pub fn goes_upstream(&self) {
        if self.handed_over.load(Ordering::Relaxed) == 0 {
            let span = self.started.elapsed();
            let nanos = span.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(span.subsec_nanos()));
            self.handed_over.store(nanos.max(1), Ordering::Relaxed);
        }
    }

    /// How long it took until it went upstream, if it did.
    #[must_use]
    pub fn added_latency(&self) -> Option<Duration> {
        let nanos = self.handed_over.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// How long it took until the head of upstream's answer came, if it came.
    #[must_use]
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        self.answered().map(|answered| answered.at - self.started)
    }

    /// Notes the head of upstream's answer.
    pub fn answer_came(&self, status: StatusCode) {
        let _ = self.answered.set(Answered { status, at: Instant::now() });
    }

    /// Notes what upstream's words say is wrong: an error body, or an error inside of an answer. The first word counts.
    pub fn error_read(&self, reading: ErrorReading) {
        let _ = self.error.set(reading);
    }

    /// Notes why upstream gave no whole answer: an error with all its causes. One of them may be what upstream said in HTTP/2
    /// as it closed the connection (RFC 9113, 6.8).
    pub fn failed_because(&self, error: &dyn Error) {
        let _ = self.cause.set(mask_and_cap(&with_causes(error), CAUSE_BYTES).into());
    }

    /// Notes where upstream redirects to.
    pub fn redirected(&self, redirect: Redirect) {
        let _ = self.redirect.set(redirect);
    }

    /// Notes that the key that upstream saw belongs to the first project, and the one before it to the second.
    pub fn changed_project(&self, new: &str, old: &str) {
        let _ = self.projects.set(Box::new([new, old].map(|project| mask_and_cap(project, PROJECT_BYTES).into())));
    }

    /// The projects of the key that upstream saw and of the one before it, where something was not found and these differ.
    #[must_use]
    pub fn projects(&self) -> Option<[&str; 2]> {
        self.projects.get().map(|projects| projects.each_ref().map(|project| &**project))
    }

    /// Where upstream redirects to, if it does.
    #[must_use]
    pub fn redirect(&self) -> Option<Redirect> {
        self.redirect.get().copied()
    }

    /// Notes what the client is told, so that the log says the same.
    pub fn explained(&self, explanation: Arc<Explanation>) {
        let _ = self.explanation.set(explanation);
    }

    /// What the client was told.
    #[must_use]
    pub fn explanation(&self) -> Option<&Explanation> {
        self.explanation.get().map(|explanation| &**explanation)
    }

    /// What was done about the request, by its stable code.
    #[must_use]
    pub fn action(&self) -> &'static str {
        self.action.code()
    }

    /// The key that upstream saw.
    #[must_use]
    pub fn sent_key(&self) -> Option<Names> {
        self.injected.or(self.judgement.key)
    }

    /// The key that upstream sees, where the exchange is forwarded.
    #[must_use]
    pub fn key_upstream(&self) -> Option<Names> {
        self.sent_key().filter(|_| self.refusal.is_none())
    }

    /// The keys that are in use while the exchange is open: the one that upstream sees, and the client's own where keyward put
    /// another in its place.
    pub fn keys_in_use(&self) -> impl Iterator<Item = Fingerprint> {
        let upstream = self.key_upstream().map(|names| names.fingerprint);
        let own =
            self.judgement.key.map(|names| names.fingerprint).filter(|own| upstream.is_some_and(|key| key != *own));
        upstream.into_iter().chain(own)
    }

    /// Notes that the client gets an answer of ours with that status.
    pub fn answered_by_us(&self, status: StatusCode) {
        self.refused_with.store(status.as_u16(), Ordering::Relaxed);
    }

    /// Notes that upstream has shown, behind a switch of protocols, that it takes the key.
    pub fn proven(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Notes what its binding was told, although it goes on.
    pub fn told(&self, bearing: Bearing) {
        self.told.store(bearing as u8, Ordering::Relaxed);
    }

    /// What its binding was told, if it was told anything.
    #[must_use]
    pub fn was_told(&self) -> Option<Bearing> {
        Bearing::ALL.get(usize::from(self.told.load(Ordering::Relaxed))).copied()
    }

    /// Notes how the exchange ended. The first word counts.
    pub fn end(&self, ending: Ending) {
        let _ = self.ending.compare_exchange(NO_ENDING, ending as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The outcome. An exchange without an end was dropped: by a panic, or because the client left.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let noted = Ending::ALL.get(usize::from(self.ending.load(Ordering::Relaxed))).copied();
        let ending = noted.unwrap_or(if thread::panicking() { Ending::Failed } else { Ending::ClientGone });
        let status = self.answered().map(|answered| answered.status);
        let error = self.error.get().map_or(UpstreamError::None, |reading| reading.class);
        let proof = if self.is_proven.load(Ordering::Relaxed) { Proof::Message } else { Proof::None };
        Outcome { ending, status, error, proof }
    }
}

/// A method of a caller's own may be as long as a head; the longest registered one has 17 letters.
fn shown(method: &Method) -> Method {
    match method.as_str().len() {
        ..=17 => method.clone(),
        _ => Method::from_bytes(b"OTHER").unwrap_or_default(),
    }
}

/// Only one thread at a time adds, so that a load and a store will do.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

/// The exchange's only owner that may end it. Dropping it tells the observer, so that no way out forgets to.
pub struct Sighting {
    exchange: Arc<Exchange>,
    observer: Arc<dyn Observer>,
}

impl Sighting {
    /// The sighting of an exchange that begins.
    #[must_use]
    pub fn open(
        opening: &Opening<'_>,
        caller: &Caller<'_>,
        binding: Arc<Binding>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let exchange = Exchange::begin(opening, caller, binding);
        observer.exchange_began(&exchange);
        Self { exchange, observer }
    }

    /// For the request's body, which counts what it carries but does not keep the exchange open.
    #[must_use]
    pub fn share(&self) -> Arc<Exchange> {
        Arc::clone(&self.exchange)
    }

    /// Notes that it goes on in another protocol: its caller is seen now, and not first when that ends.
    pub fn goes_on(&self) {
        self.observer.exchange_goes_on(&self.exchange);
    }

    /// Notes that upstream has shown that it takes the key of what goes on.
    pub fn goes_on_proven(&self) {
        self.exchange.proven();
        self.observer.exchange_goes_on(&self.exchange);
    }
}

impl std::ops::Deref for Sighting {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        &self.exchange
    }
}

impl Drop for Sighting {
    fn drop(&mut self) {
        if self.observer.is_shutting_down() {
            self.exchange.end(Ending::ShutDown);
        }
        let outcome = self.exchange.outcome();
        self.observer.exchange_ended(&self.exchange, outcome);
    }
}

/// The number of an exchange: sixteen hex digits, as in `x-keyward-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(u64);

impl ExchangeId {
    /// From a number that is used once.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its sixteen hex digits, as ASCII.
    #[must_use]
    pub fn digits(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 16];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

listed! {
    /// A text of a request that is kept.
    #[derive(Clone, Copy)]
    enum Text {
        Path,
        Workflow,
        Execution,
        Node,
        WorkflowName,
        Instance,
        ClientVersion,
    }
}

/// Several short texts in one allocation that is just as long as they are. An empty text is none.
struct Texts {
    all: Box<str>,
    ends: [u16; Text::COUNT],
}

impl Texts {
    fn of(path: &str, caller: &Caller<'_>) -> Self {
        let text = |text| match text {
            Text::Path => Some(path),
            Text::Workflow => caller.workflow,
            Text::Execution => caller.execution,
            Text::Node => caller.node,
            Text::WorkflowName => caller.workflow_name.as_deref(),
            Text::Instance => caller.instance,
            Text::ClientVersion => caller.client.version,
        };
        Self::new(Text::ALL.map(|which| text(which).unwrap_or_default()))
    }

    fn new(texts: [&str; Text::COUNT]) -> Self {
        if texts.iter().all(|text| text.len() <= TEXT_BYTES && !holds_key(text)) {
            return Self::pack(texts);
        }
        let texts = texts.map(|text| mask_and_cap(text, TEXT_BYTES));
        Self::pack(texts.each_ref().map(|text| &**text))
    }

    fn pack(texts: [&str; Text::COUNT]) -> Self {
        let mut all = String::with_capacity(texts.iter().map(|text| text.len()).sum());
        let mut ends = [0; Text::COUNT];
        for (text, end) in texts.iter().zip(&mut ends) {
            all.push_str(text);
            // Seven times the cap is far below the largest u16.
            *end = u16::try_from(all.len()).unwrap_or(u16::MAX);
        }
        Self { all: all.into_boxed_str(), ends }
    }

    fn at(&self, text: Text) -> Option<&str> {
        let position = text.position();
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = self.ends[position];
        if start == end {
            return None;
        }
        self.all.get(usize::from(start)..usize::from(end))
    }
}

/// No text of a caller is kept beyond this, in bytes.
const TEXT_BYTES: usize = 512;

/// The same for the id of a project.
const PROJECT_BYTES: usize = 64;

/// The same for a cause.
const CAUSE_BYTES: usize = 1024;

const NO_ENDING: u8 = u8::MAX;

const UNTOLD: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_share_one_piece_and_are_capped() {
        let long = "é".repeat(TEXT_BYTES);
        let texts = Texts::new(["/v1/models", "", "e", "", &long, "", "4.1"]);
        assert_eq!(texts.at(Text::Path), Some("/v1/models"));
        assert_eq!(texts.at(Text::Workflow), None);
        assert_eq!(texts.at(Text::Execution), Some("e"));
        assert_eq!(texts.at(Text::WorkflowName).map(str::len), Some(TEXT_BYTES));
        assert_eq!(texts.at(Text::ClientVersion), Some("4.1"));
    }

    #[test]
    fn texts_hold_no_key() {
        let key = "sk-proj-0123456789abcdef";
        let texts = Texts::new([&format!("/v1/{key}"), key, "", "", &format!("a {key} b"), "", ""]);
        assert_eq!(texts.at(Text::Path), Some("/v1/sk-…[redacted]"));
        assert_eq!(texts.at(Text::Workflow), Some("sk-…[redacted]"));
        assert_eq!(texts.at(Text::WorkflowName), Some("a sk-…[redacted] b"));
    }

    #[test]
    fn an_endless_method_is_not_kept() {
        let method = |text: &str| shown(&Method::from_bytes(text.as_bytes()).expect("a method"));
        assert_eq!(method("UPDATEREDIRECTREF").as_str(), "UPDATEREDIRECTREF");
        assert_eq!(method(&"A".repeat(18)).as_str(), "OTHER");
    }

    #[test]
    fn the_digits_are_the_number() {
        let id = ExchangeId::new(0x0123_4567_89ab_cdef);
        assert_eq!(&id.digits(), b"0123456789abcdef");
        assert_eq!(id.to_string(), "0123456789abcdef");
    }
}
