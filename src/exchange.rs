//! The way of a request: look at its head, find out who sent it, judge its key, decide, remember, act.
//!
//! | step | where |
//! |---|---|
//! | what a request needs of its worker, and of its client's connection | [`context`], [`session`] |
//! | a request that others could read otherwise, and what is refused before there is an exchange | [`ambiguity`], [`rejections`] |
//! | the request as upstream gets it | [`rewrite`], [`headers`] |
//! | to upstream and back | [`forward`](mod@forward), [`forward_error`] |
//! | the answer's body, or what follows a switch of protocols | [`response_body`], [`upgrade`] |
//! | a key that keyward put in, and upstream quotes | [`lent_key`] |
//! | what is wrong with an exchange, and answers of keyward's own | [`diagnosis`], [`refusal`], [`error_body`], [`last_refusal`] |

pub mod ambiguity;
pub mod context;
pub mod diagnosis;
pub mod error_body;
pub mod forward;
pub mod forward_error;
pub mod headers;
pub mod last_refusal;
pub mod lent_key;
pub mod refusal;
pub mod rejections;
pub mod response_body;
pub mod rewrite;
pub mod session;
pub mod upgrade;

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use self::ambiguity::Ambiguity;
use self::error_body::refusal_body;
use self::forward::forward;
use self::forward_error::ForwardError;
use self::headers::Marks;
use self::lent_key::KeptBack;
use self::response_body::{ResponseBody, UpstreamBody};
use self::rewrite::{Rewrite, path_of};
use self::session::Session;
use self::upgrade::Upgraded;
use crate::caller::{Agreement, Caller};
use crate::early_refusal::EarlyRefusal;
use crate::field_lines::{FieldLines, Name, Names};
use crate::head::{self, Head};
use crate::keys::set::{Bearer, KeyRing, Owner, RoleKind, SetIndex, Word};
use crate::ledger::identity::Identity;
use crate::ledger::sighting::{Acted, Exchange, Opening, Sighting};
use crate::message::{Answer, Request};
use crate::net::protocol::Protocol;
use crate::openai::answer::AnswerReader;
use crate::openai::websocket::{Extension, FrameReader};
use crate::outcome::{Ending, Redirect};
use crate::policy::{self, Action, Asked, Permit, Refusal};
use crate::request_path::{Repair, RequestPath};
use crate::upstream::connection::AnswerBody;
use crate::upstream::request_body::{ClientBody, RequestBody};
use crate::verdict::Verdict;

/// Carries one exchange up to the head of its answer; its body goes on by itself.
pub async fn exchange(session: Arc<Session>, request: Request<ClientBody>) -> Result<Answer<ResponseBody>, Infallible> {
    let Departure { permit, request, asked, sighting } = match prepare(&session, request) {
        ControlFlow::Continue(departure) => departure,
        ControlFlow::Break(answer) => return Ok(answer),
    };
    let worker = &session.worker;
    // A switch to another protocol is one of HTTP/1.1 alone.
    let protocol = if asked.is_some() { Protocol::Http1 } else { worker.pool.protocol() };
    let lent = permit.injected();
    Ok(match forward(&permit, request, protocol, &sighting, worker).await {
        // In a box each, since few exchanges need the room for these.
        Ok(answer) if answer.status == StatusCode::SWITCHING_PROTOCOLS => {
            switch_protocols(answer, asked.as_ref(), sighting, lent, &session)
        }
        Ok(answer) if lent.is_some() && answer.status == StatusCode::UNAUTHORIZED => {
            Box::pin(answer_for_our_key(answer, sighting, lent, &session)).await
        }
        Ok(answer) => {
            let answer = pass_on(answer, sighting, &session);
            match lent {
                None => answer,
                Some(key) => Box::pin(look_at(answer, key, &session)).await,
            }
        }
        Err(error) => answer_failure(&error, &sighting, &session),
    })
}

/// A request that goes upstream.
struct Departure {
    permit: Permit,
    request: Box<Request<RequestBody>>,
    /// The protocols that upstream is asked to switch to.
    asked: Option<HeaderValue>,
    sighting: Sighting,
}

/// All that is done before a request goes upstream, or the answer of ours that it gets. None of it waits, so that the future of
/// its exchange, which is moved as a whole, has no room for it.
fn prepare(session: &Arc<Session>, request: Request<ClientBody>) -> ControlFlow<Answer<ResponseBody>, Departure> {
    if let Some(answer) = answer_outside_the_api(session, &request) {
        return ControlFlow::Break(answer);
    }
    session.worker.counters.begun.increment();
    let Judged { sighting, way } = judge(session, &request);
    match way {
        Way::Upstream(permit, rewrite) => {
            let (request, asked) = rewrite.apply(request, &permit, &sighting, session);
            ControlFlow::Continue(Departure { permit, request, asked, sighting })
        }
        Way::Back(refusal) => ControlFlow::Break(refuse(refusal, request, &sighting, session)),
    }
}

/// What is decided about a request while its head is only borrowed.
struct Judged {
    sighting: Sighting,
    way: Way,
}

/// Where the request goes from here.
enum Way {
    Upstream(Permit, Rewrite),
    Back(Refusal),
}

/// Everything that needs the head happens here, in one look.
fn judge(session: &Session, request: &Request<ClientBody>) -> Judged {
    let worker = &session.worker;
    let shared = &worker.shared;
    let (started, now) = (Instant::now(), shared.clock.now());
    let head = Head::new(&request.method, request.target.path(), &request.lines);
    let path = RequestPath::read(head.path);
    let mut caller = Caller::identify(&head, &path);
    let ring = shared.reloader.ring();
    let declared_set = declared_set(&mut caller, &ring);
    let judgement = session.judge(&head.fields, declared_set, &ring, now);
    let asked = Asked {
        judgement: &judgement,
        head: &head,
        authority: request.target.authority(),
        workflow: caller.workflow,
        set_is_unclear: caller.doubts.unknown_set || caller.doubts.agreement == Agreement::SetsDiffer,
        peer: session.peer,
        now,
    };
    let action = policy::decide(&asked, ring.rules(), &ring);
    let (identity, is_preflight) = (Identity::of(&caller, &judgement, session.peer), asked.is_preflight());
    let binding = if is_preflight { Arc::new(shared.ledger.unkept(&identity)) } else { session.binding(&identity) };
    let path_and_query = request.target.path_and_query();
    let target = path.target(path_and_query);
    let shown = path_of(&target, path_and_query, path_and_query.len().saturating_sub(head.path.len()));
    // By whichever name a client calls upstream's API, it is one.
    let in_api = shared.base_path.as_ref().and_then(|base| base.strip(shown)).map(|rest| format!("/v1{rest}"));
    let opening = Opening {
        id: worker.next_id(),
        at: now,
        started,
        judgement,
        action: Acted::of(&action),
        method: head.method,
        path: in_api.as_deref().unwrap_or(shown),
        peer: session.peer,
        note: path.repair.map(Repair::note),
        is_preflight,
        has_gateway_key: judgement.verdict == Verdict::Missing && head::has_gateway_key(&request.lines),
    };
    let sighting = Sighting::open(&opening, &caller, binding, Arc::clone(&worker.observer));
    let target = shared.base_path.iter().fold(target, |target, base| base.put_in(target, path_and_query));
    let way = match action {
        Action::Forward(permit) => Way::Upstream(permit, Rewrite::new(&head.fields, &request.target, &target)),
        Action::Refuse(refusal) => Way::Back(refusal),
    };
    Judged { sighting, way }
}

/// The set that tag or path declares, else the one that has the workflow by the rules. Notes where they disagree.
fn declared_set(caller: &mut Caller<'_>, ring: &KeyRing) -> Option<SetIndex> {
    let declared = caller.set.and_then(|name| ring.find_set(name));
    caller.doubts.unknown_set = caller.set.is_some() && declared.is_none();
    let listed = caller.workflow.and_then(|workflow| ring.rules().set_of_workflow(workflow));
    let listed = listed.and_then(SetIndex::nth);
    if caller.set.is_some() && listed.is_some() && listed != declared {
        caller.doubts.agreement = Agreement::SetsDiffer;
    }
    declared.or(listed)
}

/// The answer goes to the client as it is, but for the head's edits. A redirect is never passed on.
fn pass_on(mut answer: Answer<AnswerBody>, sighting: Sighting, session: &Arc<Session>) -> Answer<ResponseBody> {
    let worker = &session.worker;
    let status = answer.status;
    sighting.answer_came(status);
    sighting.touch(worker.coarse_clock.millis());
    if headers::is_redirect(status, &answer.lines) {
        sighting.end(Ending::Redirected);
        let location = answer.lines.first(Name::Location).unwrap_or_default();
        let (host, base_path) = (worker.shared.host.to_str().unwrap_or_default(), worker.shared.base_path.as_ref());
        let redirect = Redirect::read(location, host, sighting.path(), base_path);
        sighting.redirected(redirect);
        // The answer's body is dropped, and its connection with what that still had to take of the request.
        return marked(refusal::redirected(status, redirect, &worker.shared.upstream), &sighting);
    }
    note_project(&answer, &sighting, session);
    // Where upstream sends that content all the same, it would be taken for the next answer.
    let may_be_kept = !(answer.body.is_end_stream() && headers::announces_content(&answer.lines));
    let carried = headers::edit_answer(&mut answer.lines, &Marks::from(&*sighting));
    let reader = AnswerReader::new(status, carried.content, carried.encoding);
    answer.map(|body| {
        let body = UpstreamBody::new(body, may_be_kept, Arc::clone(session), sighting, reader);
        ResponseBody::Upstream(Box::new(body))
    })
}

/// Looks at an answer to a request that keyward put its key into, before any of it goes out.
async fn look_at(answer: Answer<ResponseBody>, key: &Bearer, session: &Session) -> Answer<ResponseBody> {
    let Answer { status, reason, lines, body } = answer;
    let mut body = match body {
        ResponseBody::Upstream(body) => body,
        ours @ (ResponseBody::Ours(_) | ResponseBody::Held(_)) => return Answer { status, reason, lines, body: ours },
    };
    let exchange = body.exchange();
    let mut answer = Answer { status, reason, lines, body: ResponseBody::Ours(None) };
    redact_head(&mut answer, key, &exchange);
    if body.lend(key) {
        // What is replaced may be shorter or longer.
        answer.lines.remove(Name::ContentLength);
    }
    if status.as_u16() < 400 {
        answer.body = ResponseBody::Upstream(body);
        return answer;
    }
    match body.hold().await {
        Ok(clean) => answer.body = ResponseBody::Held(Box::new(clean)),
        Err(why) => {
            let code = exchange.upstream_code().map(str::to_owned);
            replace(&mut answer, why, code.as_deref(), &session.worker.shared.upstream);
        }
    }
    answer
}

/// The head stays, for what it says of limits and of when to try again.
fn replace(answer: &mut Answer<ResponseBody>, why: KeptBack, code: Option<&str>, upstream: &str) {
    let ours = refusal::replaced(answer.status, why, code, upstream);
    answer.lines.remove_all(SAYS_OF_BODY);
    for line in ours.lines.iter() {
        if let Some(value) = ours.lines.first_value(line.name) {
            answer.lines.set(line.name, value);
        }
    }
    answer.body = ours.body;
}

/// What a head says of a body, which another one makes untrue.
const SAYS_OF_BODY: Names =
    Names::of(&[Name::ContentType, Name::ContentLength, Name::ContentEncoding, Name::Trailer, Name::Etag]);

/// Notes which project the key belongs to; and where something is not found, whether that is another one than the key had
/// by which this caller found it before.
fn note_project(answer: &Answer<AnswerBody>, sighting: &Sighting, session: &Session) {
    let status = answer.status;
    if status == StatusCode::NOT_FOUND {
        compare_projects(&answer.lines, sighting, session);
    } else if status.is_success()
        && let Some(names) = sighting.sent_key()
        && session.is_other_key(names.fingerprint)
        && let Some(project) = headers::project(&answer.lines)
    {
        session.worker.shared.ledger.projects.note(names.fingerprint, project);
    }
}

fn compare_projects(lines: &FieldLines, sighting: &Sighting, session: &Session) {
    let shared = &session.worker.shared;
    let projects = &shared.ledger.projects;
    let (Some(names), Some(new)) = (sighting.sent_key(), headers::project(lines)) else { return };
    let before: Vec<_> = if sighting.injected.is_some() {
        let ring = shared.reloader.ring();
        let is_before = |owner: &Owner| owner.set == sighting.judgement.set && owner.role.kind() == RoleKind::Previous;
        ring.owners().filter(|(_, owner)| is_before(owner)).map(|(names, _)| names.fingerprint).collect()
    } else {
        let uses = sighting.binding.memory().uses;
        let taken = uses.iter().filter(|used| used.word == Some(Word::Accepted));
        taken.filter_map(|used| used.key).map(|names| names.fingerprint).collect()
    };
    let others = before.into_iter().filter(|key| *key != names.fingerprint).filter_map(|key| projects.of(key));
    if let Some(old) = others.last().filter(|old| **old != *new) {
        sighting.changed_project(new, &old);
    }
}

/// Replaces what shows the key in the head of an answer.
fn redact_head(answer: &mut Answer<ResponseBody>, key: &Bearer, exchange: &Exchange) {
    let is_phrase = answer.reason.as_deref().is_some_and(|phrase| key.is_shown_in(phrase));
    if is_phrase {
        answer.reason = None;
    }
    if lent_key::redact(&mut answer.lines, key) || is_phrase {
        exchange.failed_because(&KeptBack::Header);
    }
}

/// Upstream speaks another protocol from here on. If it was asked to, the client is told, and both connections
/// become one behind that answer; not a byte passes before.
fn switch_protocols(
    answer: Answer<AnswerBody>,
    asked: Option<&HeaderValue>,
    sighting: Sighting,
    lent: Option<&Bearer>,
    session: &Session,
) -> Answer<ResponseBody> {
    let Some(agreed) = asked.and_then(|asked| headers::agreed_protocols(&answer.lines, asked)) else {
        return answer_failure(&ForwardError::Upgraded, &sighting, session);
    };
    let Answer { status, reason, lines, body } = answer;
    let Some(switched) = body.switch() else {
        return answer_failure(&ForwardError::Upgraded, &sighting, session);
    };
    let worker = &session.worker;
    sighting.answer_came(status);
    let mut answer = Answer { status, reason, lines, body: ResponseBody::Ours(None) };
    let frames = frame_reader(&agreed, &answer.lines);
    headers::edit_switch(&mut answer.lines, &Marks::from(&*sighting), agreed);
    if let Some(key) = lent {
        redact_head(&mut answer, key, &sighting);
    }
    session.upgrade_to(Upgraded::new(switched, Arc::clone(worker), sighting, frames, lent));
    answer
}

/// Upstream refused the key that keyward put in. Its answer quotes a part of that key, so the client gets ours.
async fn answer_for_our_key(
    mut answer: Answer<AnswerBody>,
    sighting: Sighting,
    lent: Option<&Bearer>,
    session: &Arc<Session>,
) -> Answer<ResponseBody> {
    let worker = &session.worker;
    sighting.answer_came(answer.status);
    sighting.touch(worker.coarse_clock.millis());
    // Upstream has said no. That is how it ended, however the rest of its words comes.
    sighting.end(Ending::Completed);
    let exchange = sighting.share();
    let carried = headers::strip_answer(&mut answer.lines, true);
    let reader = AnswerReader::new(answer.status, carried.content, carried.encoding);
    let mut body = UpstreamBody::new(answer.body, true, Arc::clone(session), sighting, reader);
    if let Some(key) = lent {
        body.lend(key);
    }
    body.swallow().await;
    let ring = worker.shared.reloader.ring();
    let diagnosis = diagnosis::diagnose(&exchange, exchange.outcome(), &ring);
    let directory = worker.shared.names.directory();
    let named = directory.as_deref().and_then(|directory| diagnosis::look_up(&exchange, directory));
    let explanation = diagnosis::explain(diagnosis, &exchange, &ring, named);
    let body = refusal_body(diagnosis, &explanation);
    marked(refusal::unauthorized(body, FieldLines::default()), &exchange)
}

/// keyward answers itself: why, and what to do about it, for the person who reads n8n's execution.
fn refuse(
    refusal: Refusal,
    request: Request<ClientBody>,
    sighting: &Sighting,
    session: &Session,
) -> Answer<ResponseBody> {
    sighting.end(Ending::Refused);
    let lines = request.lines;
    let ring = session.worker.shared.reloader.ring();
    let diagnosis = diagnosis::diagnose(sighting, sighting.outcome(), &ring);
    let registry = &session.worker.shared.names;
    let explain = || {
        let directory = registry.directory();
        let named = directory.as_deref().and_then(|directory| diagnosis::look_up(sighting, directory));
        diagnosis::explain(diagnosis, sighting, &ring, named)
    };
    let generations = [ring.generation(), registry.generation()];
    let told = session.last_refusal.tell(diagnosis, sighting, generations, explain);
    sighting.explained(told.explanation);
    marked(refusal::refused(refusal, told.body, lines), sighting)
}

/// Follows what upstream says in a WebSocket. Of any other protocol nothing is known.
fn frame_reader(agreed: &HeaderValue, answer: &FieldLines) -> Option<FrameReader> {
    let is_websocket = agreed.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    is_websocket.then(|| FrameReader::new(Extension::read(answer.all(Name::SecWebSocketExtensions))))
}

fn answer_failure(error: &ForwardError, sighting: &Sighting, session: &Session) -> Answer<ResponseBody> {
    sighting.end(error.ending());
    sighting.failed_because(error);
    marked(refusal::upstream_failed(error, &session.worker.shared.upstream), sighting)
}

/// Marks an answer of ours as the answer to that exchange.
fn marked(mut answer: Answer<ResponseBody>, exchange: &Exchange) -> Answer<ResponseBody> {
    exchange.answered_by_us(answer.status);
    headers::mark(&mut answer.lines, &Marks::from(exchange));
    answer
}

/// After such a request it is not known where the next one begins.
fn refuse_early(why: EarlyRefusal, mut answer: Answer<ResponseBody>, session: &Session) -> Answer<ResponseBody> {
    if session.protocol == Protocol::Http1 {
        answer.lines.set(Name::Connection, HeaderValue::from_static("close"));
    }
    session.worker.rejections.refuse(why, answer.status, session.peer);
    answer
}

/// Requests that are not for the API: the page for people, clients that take keyward for an HTTP proxy, and requests that
/// others may read otherwise.
fn answer_outside_the_api(session: &Session, request: &Request<ClientBody>) -> Option<Answer<ResponseBody>> {
    let is_page = request.target.is_root() && matches!(request.method, Method::GET | Method::HEAD);
    if request.method == Method::CONNECT {
        // What a client sends behind it may be meant for a tunnel.
        Some(refuse_early(EarlyRefusal::NotAProxy, refusal::not_a_proxy(), session))
    } else if let Some(ambiguity) = Ambiguity::find(request) {
        Some(refuse_early(ambiguity.into(), refusal::ambiguous(ambiguity), session))
    } else {
        is_page.then(|| refusal::page(Bytes::clone(&session.worker.shared.page.load())))
    }
}
