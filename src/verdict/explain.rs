//! Pure. The diagnosis: verdict and outcome together, in words, with the remedy.
//!
//! The texts are written for the person in front of n8n: first what happened and to whom, then what to do, step by step.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::OnceLock;

use http::StatusCode;

use super::credential::{Malformed, Place};
use super::{Barred, Judgement, Outdated, Verdict};
use crate::caller::Family;
use crate::caller::declared::Origin;
use crate::codes::codes;
use crate::keys::fingerprint::KeyKind;
use crate::outcome::{Ending, Outcome, Redirect, UpstreamError};
use crate::telemetry::json::{Json, name};

/// What is wrong with an exchange, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// Nothing.
    Ok,
    /// The right key, refused by upstream as invalid: revoked or wrong there; n8n is not at fault.
    CurrentKeyRejected,
    /// The announced next key, refused by upstream as invalid: it is wrong, and not the node.
    NextKeyRejected,
    /// The right key, without leave for this: permissions, not the binding.
    KeyScope,
    /// The right key, refused for a reason that keyward has no name for.
    KeyRefused,
    /// The account has no money or no allowance left.
    Quota,
    /// Too much at once.
    RateLimited,
    /// A previous key is still sent.
    StaleBinding {
        /// Whether its grace runs and upstream still took it.
        tolerated: bool,
    },
    /// The key of another set is sent.
    WrongSet,
    /// A key that no set has, and that upstream took or did not come to judge.
    UnlistedKey(KeyKind),
    /// A key that no set has, refused by upstream.
    UnknownKeyRejected,
    /// No credential, from a client that always sends one.
    DroppedHeader,
    /// No credential, from a client that may well have none.
    MissingHeader,
    /// No credential of OpenAI's, but that of a management gateway, which upstream took.
    GatewayKey,
    /// A credential that cannot be a key.
    Malformed(Malformed),
    /// The request itself was refused; the key is good.
    RequestError,
    /// Upstream has no such path: a Base URL that is too short or too long.
    WrongPath,
    /// Upstream does not find what the key before reached: the key that it saw belongs to another project.
    OtherProject,
    /// A browser asks whether a page may send what it wants to send, which it does without a key.
    Preflight,
    UpstreamError,
    /// Upstream could not be reached, or did not bring its answer to an end.
    UpstreamFailed,
    /// Upstream answered with a redirect.
    UpstreamRedirect,
    ClientGone,
    /// Neither side had anything to say for too long.
    Idle,
    /// keyward was stopped before the answer was whole.
    ShutDown,
    KeywardFailed,
    /// A token went upstream as it came, for its set only observes.
    TokenNotReplaced,
    /// A token that another one has replaced.
    ReplacedToken {
        /// Whether its grace ran, so that it was admitted.
        admitted: bool,
    },
    /// The set's key would have been put in, if it were clear which set that is.
    UnclearSet,
    /// A page sent a browser here that has no business here.
    OriginNotAllowed,
    /// A host was named by which keyward is not to be called.
    HostNotAllowed,
    /// Upstream was to send back what it gets, and with it the set's key.
    EchoNotAllowed,
}

codes! {
    /// How much a diagnosis matters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Severity {
        /// Nothing is to be done, or not by the one who keeps the keys.
        Fine => "fine",
        /// It works, but you should look.
        Warning => "warning",
        /// It does not work.
        Error => "error",
    }
}

codes! {
    /// What a diagnosis is called: [`Diagnosis::kind`]. Each kind of a malformed credential has a code of its own.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DiagnosisKind {
        Ok => "ok",
        CurrentKeyRejected => "current_key_rejected",
        NextKeyRejected => "next_key_rejected",
        KeyScope => "key_scope",
        KeyRefused => "key_refused",
        Quota => "quota",
        RateLimited => "rate_limited",
        StaleBinding => "stale_binding",
        WrongSet => "wrong_set",
        UnlistedKey => "unlisted_key",
        UnknownKeyRejected => "unknown_key_rejected",
        DroppedHeader => "dropped_header",
        MissingHeader => "missing_header",
        GatewayKey => "gateway_key",
        MalformedEmpty => "malformed_empty",
        MalformedScheme => "malformed_scheme",
        MalformedUndefined => "malformed_undefined",
        MalformedNull => "malformed_null",
        MalformedObject => "malformed_object",
        MalformedPlaceholder => "malformed_placeholder",
        MalformedQuoted => "malformed_quoted",
        MalformedDoubled => "malformed_doubled",
        MalformedWhitespace => "malformed_whitespace",
        MalformedDuplicate => "malformed_duplicate",
        MalformedUrl => "malformed_url",
        MalformedVariable => "malformed_variable",
        MalformedAssignment => "malformed_assignment",
        MalformedMasked => "malformed_masked",
        MalformedId => "malformed_id",
        MalformedEncoded => "malformed_encoded",
        MalformedRepeated => "malformed_repeated",
        MalformedOversized => "malformed_oversized",
        RequestError => "request_error",
        WrongPath => "wrong_path",
        OtherProject => "other_project",
        Preflight => "preflight",
        UpstreamError => "upstream_error",
        UpstreamFailed => "upstream_failed",
        UpstreamRedirect => "upstream_redirect",
        ClientGone => "client_gone",
        Idle => "idle",
        ShutDown => "shut_down",
        KeywardFailed => "keyward_failed",
        TokenNotReplaced => "token_not_replaced",
        ReplacedToken => "replaced_token",
        UnclearSet => "unclear_set",
        OriginNotAllowed => "origin_not_allowed",
        HostNotAllowed => "host_not_allowed",
        EchoNotAllowed => "echo_not_allowed",
    }
}

/// What a diagnosis must know of the sender beside the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub family: Family,
    /// Whether the same binding has sent a key before.
    pub sent_key_before: bool,
    /// Whether its set learns which key is current.
    pub learning: bool,
}

/// Makes the diagnosis. A fault of the credential outranks one of the transport: it will still be there tomorrow.
#[must_use]
pub fn diagnose(verdict: Verdict, outcome: Outcome, sender: Sender) -> Diagnosis {
    match verdict {
        Verdict::Next if diagnose_good_key(outcome) == Diagnosis::CurrentKeyRejected => Diagnosis::NextKeyRejected,
        Verdict::Current | Verdict::Next | Verdict::Token => diagnose_good_key(outcome),
        Verdict::Outdated(Outdated { in_grace, .. }) => {
            // Behind a switch of protocols the answer is still to come.
            Diagnosis::StaleBinding { tolerated: in_grace && (outcome.is_accepted() || outcome.is_open_switch()) }
        }
        Verdict::Foreign { .. } => Diagnosis::WrongSet,
        Verdict::Unknown(_) if outcome.true_status() == Some(401) => Diagnosis::UnknownKeyRejected,
        // A set that learns has just learned it, or learns it from an answer that is still to come.
        Verdict::Unknown(_) if sender.learning => diagnose_good_key(outcome),
        Verdict::Unknown(kind) => Diagnosis::UnlistedKey(kind),
        Verdict::Missing => match sender {
            Sender { family: Family::Sdk | Family::Vendor | Family::Agent, .. }
            | Sender { sent_key_before: true, .. } => Diagnosis::DroppedHeader,
            Sender { family: Family::Legacy | Family::HttpRequest | Family::Other, sent_key_before: false, .. } => {
                Diagnosis::MissingHeader
            }
        },
        Verdict::Malformed(kind) => Diagnosis::Malformed(kind),
    }
}

/// The diagnosis where the key is right, or was put in by keyward: only the outcome is left to tell of.
#[must_use]
pub fn diagnose_good_key(outcome: Outcome) -> Diagnosis {
    // A client that has read of a refusal leaves at once.
    if outcome.refuses_key() {
        return diagnose_answer(outcome);
    }
    match outcome.ending {
        Ending::Completed if outcome.is_accepted() => Diagnosis::Ok,
        Ending::Completed => diagnose_answer(outcome),
        Ending::ClientGone => Diagnosis::ClientGone,
        Ending::Unreachable | Ending::TimedOut | Ending::CutOff => Diagnosis::UpstreamFailed,
        Ending::Redirected => Diagnosis::UpstreamRedirect,
        // What refused it has said why; the key was not the reason.
        Ending::Refused => Diagnosis::RequestError,
        Ending::Failed => Diagnosis::KeywardFailed,
        Ending::ShutDown => Diagnosis::ShutDown,
        Ending::Idle => Diagnosis::Idle,
    }
}

fn diagnose_answer(outcome: Outcome) -> Diagnosis {
    match (outcome.true_status(), outcome.error) {
        (Some(401), UpstreamError::InvalidApiKey) => Diagnosis::CurrentKeyRejected,
        (Some(401 | 403), UpstreamError::Scope) => Diagnosis::KeyScope,
        (Some(401 | 403), _) => Diagnosis::KeyRefused,
        (Some(429), UpstreamError::Quota) => Diagnosis::Quota,
        (Some(429), _) => Diagnosis::RateLimited,
        (Some(400..=499), _) => Diagnosis::RequestError,
        (Some(500..), _) => Diagnosis::UpstreamError,
        (Some(_) | None, _) => Diagnosis::Ok,
    }
}

impl Diagnosis {
    /// The kind alone, without what its variant carries: it has the code.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table of kinds")]
    pub fn kind(self) -> DiagnosisKind {
        match self {
            Self::Ok => DiagnosisKind::Ok,
            Self::CurrentKeyRejected => DiagnosisKind::CurrentKeyRejected,
            Self::NextKeyRejected => DiagnosisKind::NextKeyRejected,
            Self::KeyScope => DiagnosisKind::KeyScope,
            Self::KeyRefused => DiagnosisKind::KeyRefused,
            Self::Quota => DiagnosisKind::Quota,
            Self::RateLimited => DiagnosisKind::RateLimited,
            Self::StaleBinding { .. } => DiagnosisKind::StaleBinding,
            Self::WrongSet => DiagnosisKind::WrongSet,
            Self::UnlistedKey(_) => DiagnosisKind::UnlistedKey,
            Self::UnknownKeyRejected => DiagnosisKind::UnknownKeyRejected,
            Self::DroppedHeader => DiagnosisKind::DroppedHeader,
            Self::MissingHeader => DiagnosisKind::MissingHeader,
            Self::GatewayKey => DiagnosisKind::GatewayKey,
            Self::Malformed(Malformed::Empty) => DiagnosisKind::MalformedEmpty,
            Self::Malformed(Malformed::Scheme) => DiagnosisKind::MalformedScheme,
            Self::Malformed(Malformed::Undefined) => DiagnosisKind::MalformedUndefined,
            Self::Malformed(Malformed::Null) => DiagnosisKind::MalformedNull,
            Self::Malformed(Malformed::Object) => DiagnosisKind::MalformedObject,
            Self::Malformed(Malformed::Placeholder) => DiagnosisKind::MalformedPlaceholder,
            Self::Malformed(Malformed::Quoted) => DiagnosisKind::MalformedQuoted,
            Self::Malformed(Malformed::Doubled) => DiagnosisKind::MalformedDoubled,
            Self::Malformed(Malformed::Whitespace) => DiagnosisKind::MalformedWhitespace,
            Self::Malformed(Malformed::Duplicate) => DiagnosisKind::MalformedDuplicate,
            Self::Malformed(Malformed::Url) => DiagnosisKind::MalformedUrl,
            Self::Malformed(Malformed::Variable) => DiagnosisKind::MalformedVariable,
            Self::Malformed(Malformed::Assignment) => DiagnosisKind::MalformedAssignment,
            Self::Malformed(Malformed::Masked) => DiagnosisKind::MalformedMasked,
            Self::Malformed(Malformed::Id) => DiagnosisKind::MalformedId,
            Self::Malformed(Malformed::Encoded) => DiagnosisKind::MalformedEncoded,
            Self::Malformed(Malformed::Repeated) => DiagnosisKind::MalformedRepeated,
            Self::Malformed(Malformed::Oversized) => DiagnosisKind::MalformedOversized,
            Self::RequestError => DiagnosisKind::RequestError,
            Self::WrongPath => DiagnosisKind::WrongPath,
            Self::OtherProject => DiagnosisKind::OtherProject,
            Self::Preflight => DiagnosisKind::Preflight,
            Self::UpstreamError => DiagnosisKind::UpstreamError,
            Self::UpstreamFailed => DiagnosisKind::UpstreamFailed,
            Self::UpstreamRedirect => DiagnosisKind::UpstreamRedirect,
            Self::ClientGone => DiagnosisKind::ClientGone,
            Self::Idle => DiagnosisKind::Idle,
            Self::ShutDown => DiagnosisKind::ShutDown,
            Self::KeywardFailed => DiagnosisKind::KeywardFailed,
            Self::TokenNotReplaced => DiagnosisKind::TokenNotReplaced,
            Self::ReplacedToken { .. } => DiagnosisKind::ReplacedToken,
            Self::UnclearSet => DiagnosisKind::UnclearSet,
            Self::OriginNotAllowed => DiagnosisKind::OriginNotAllowed,
            Self::HostNotAllowed => DiagnosisKind::HostNotAllowed,
            Self::EchoNotAllowed => DiagnosisKind::EchoNotAllowed,
        }
    }

    /// The code of its kind, which programs may match.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.kind().code()
    }

    /// Whether it tells of what came, rather than of what upstream made of it.
    fn is_of_credential(self) -> bool {
        matches!(
            self,
            Self::StaleBinding { .. }
                | Self::ReplacedToken { .. }
                | Self::WrongSet
                | Self::UnlistedKey(_)
                | Self::UnknownKeyRejected
                | Self::DroppedHeader
                | Self::MissingHeader
                | Self::Malformed(_)
        )
    }

    /// How much it matters to those who keep the keys.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            // Of the keys that no set has, those that come and go by design are named, but are no alarm.
            Self::Ok
            | Self::RequestError
            | Self::Preflight
            | Self::ClientGone
            | Self::Idle
            | Self::GatewayKey
            | Self::UnlistedKey(KeyKind::Ephemeral | KeyKind::AccessToken | KeyKind::Admin) => Severity::Fine,
            Self::UnlistedKey(_)
            | Self::StaleBinding { tolerated: true }
            | Self::ReplacedToken { admitted: true }
            | Self::RateLimited
            | Self::UpstreamError
            | Self::ShutDown => Severity::Warning,
            Self::CurrentKeyRejected
            | Self::NextKeyRejected
            | Self::KeyScope
            | Self::KeyRefused
            | Self::Quota
            | Self::StaleBinding { tolerated: false }
            | Self::WrongSet
            | Self::UnknownKeyRejected
            | Self::DroppedHeader
            | Self::MissingHeader
            | Self::Malformed(_)
            | Self::UpstreamFailed
            | Self::UpstreamRedirect
            | Self::WrongPath
            | Self::OtherProject
            | Self::KeywardFailed
            | Self::TokenNotReplaced
            | Self::ReplacedToken { admitted: false }
            | Self::UnclearSet
            | Self::OriginNotAllowed
            | Self::HostNotAllowed
            | Self::EchoNotAllowed => Severity::Error,
        }
    }
}

/// What the words may speak of. It has no room for a key.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The set's name.
    pub set: &'a str,
    /// The name of the set that the key belongs to, where it is another one.
    pub owner: Option<&'a str>,
    /// What keyward knows of the set's current key.
    pub current: CurrentKey,
    /// Whether n8n holds tokens of the set rather than its key.
    pub is_token_held: bool,
    /// The verdict and what it rests on.
    pub judgement: &'a Judgement,
    /// What keyward did about it.
    pub handling: Handling,
    /// The workflow's id.
    pub workflow: Option<&'a str>,
    /// The workflow's name, as n8n gives it, or else the caller.
    pub workflow_name: Option<&'a str>,
    /// The node's id.
    pub node: Option<&'a str>,
    /// The node's name, as n8n gives it.
    pub node_name: Option<&'a str>,
    pub family: Family,
    /// Whether the same binding sent a good key since its own was replaced.
    pub is_beside_good: bool,
    /// What in n8n made the request.
    pub origin: Origin,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// The status that the client got.
    pub status: Option<StatusCode>,
    /// The code in upstream's error body.
    pub upstream_code: Option<&'a str>,
    /// Why there is no whole answer.
    pub cause: Option<&'a str>,
    pub redirect: Option<Redirect>,
    /// Whether upstream could not be reached, or did not bring its answer to an end.
    pub has_failed: bool,
    /// The project of the key that upstream saw, and that of the one before it, where these differ and something was not found.
    pub projects: Option<[&'a str; 2]>,
}

/// What keyward knows of a set's current key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurrentKey {
    /// Its value, or it learns that key.
    Known,
    Unknown,
    /// That upstream refused it when it saw it last.
    Refused,
}

/// What keyward did about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It went upstream as it came.
    Forwarded,
    /// It went upstream with the set's current key.
    Injected,
    /// keyward answered it.
    Refused,
}

/// A diagnosis in words: what happened, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// One sentence: what happened, and to whom.
    pub message: String,
    /// What to do, a numbered step in each line.
    pub remedy: String,
    json: OnceLock<Vec<u8>>,
}

/// Puts a diagnosis into words.
#[must_use]
pub fn explain(diagnosis: Diagnosis, context: &Context<'_>) -> Explanation {
    let mut remedy = String::new();
    for (number, step) in (1..).zip(context.steps(diagnosis)) {
        let _ = write!(remedy, "{}{number}. ", if number == 1 { "" } else { "\n" });
        context.push_step(&mut remedy, step);
    }
    Explanation { message: context.message(diagnosis), remedy, json: OnceLock::new() }
}

/// A step with the set's name in it, for a credential of n8n that holds the set's key.
pub(super) fn filled_in(step: &str, set: &str) -> String {
    let mut text = String::with_capacity(step.len());
    push_filled_in(&mut text, step, THE_KEY, set);
    text
}

/// `[key]` in a step stands for what n8n's credential should hold, `[set]` for the set's name.
fn push_filled_in(text: &mut String, step: &str, key: &str, set: &str) {
    for (number, part) in step.split("[key]").enumerate() {
        if number > 0 {
            push_with_set(text, key, set);
        }
        push_with_set(text, part, set);
    }
}

fn push_with_set(text: &mut String, step: &str, set: &str) {
    let mut parts = step.split("[set]");
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        text.push_str(set);
        text.push_str(part);
    }
}

impl Explanation {
    /// Both as fields of a JSON object, each with its comma: made once, however often they are written.
    #[must_use]
    pub fn in_json(&self) -> &[u8] {
        self.json.get_or_init(|| {
            let mut fields = Vec::with_capacity(self.message.len() + self.remedy.len() + 64);
            let mut json = Json::go_on(&mut fields);
            json.text(name!("message"), Some(&self.message));
            json.text(name!("remedy"), Some(&self.remedy));
            fields
        })
    }

    /// Both in one line of fewer than that many bytes, with as many whole steps as there is room for: what an n8n node
    /// shows of an error.
    #[must_use]
    pub fn in_short(&self, most: usize) -> String {
        let mut text = self.message.clone();
        for step in self.remedy.lines() {
            if text.len() + 1 + step.len() >= most {
                break;
            }
            text.push(' ');
            text.push_str(step);
        }
        text
    }
}

impl Context<'_> {
    /// What happened, and what keyward did about it where that is not what it does by itself.
    fn message(&self, diagnosis: Diagnosis) -> String {
        let mut message = self.what_happened(diagnosis);
        match self.handling {
            Handling::Refused => message.push_str(" keyward refused it and sent nothing upstream."),
            Handling::Injected if diagnosis.is_of_credential() => message.push_str(" keyward put the current key in."),
            Handling::Injected | Handling::Forwarded => {}
        }
        if diagnosis.is_of_credential() && self.has_failed {
            let cause = self.cause.unwrap_or("its connection broke");
            let _ = write!(message, " It got no whole answer besides: {}.", cut(cause, LONGEST_CAUSE));
        }
        message
    }

    #[expect(clippy::too_many_lines, reason = "a table of texts")]
    fn what_happened(&self, diagnosis: Diagnosis) -> String {
        let (who, key, set, right_key) = (self.who(), self.key(), self.set, self.right_key());
        match diagnosis {
            Diagnosis::Ok => format!("{who} works with {key}."),
            Diagnosis::CurrentKeyRejected if self.handling == Handling::Injected => {
                format!("{who} {right_key}, that of set `{set}`, but upstream says that it is invalid.")
            }
            Diagnosis::CurrentKeyRejected => {
                format!("{who} sends {key}, which is right for set `{set}`, but upstream says that the key is invalid.")
            }
            Diagnosis::NextKeyRejected => {
                format!("{who} sends {key}, the next key of set `{set}`, but upstream says that the key is invalid.")
            }
            Diagnosis::KeyScope => {
                format!("{who} {right_key}, but it has no permission for this{}.", self.said())
            }
            Diagnosis::KeyRefused => format!("{who} {right_key}, but upstream refuses it{}.", self.said()),
            Diagnosis::Quota => {
                format!("{who} {right_key}, but its account is out of credit or limit{}.", self.said())
            }
            Diagnosis::RateLimited => format!("{who} {right_key}, but asks for too much at once{}.", self.said()),
            Diagnosis::StaleBinding { tolerated } => {
                let state = match self.status {
                    _ if self.judgement.revoked.is_some() => "it was marked as compromised",
                    _ if self.is_barred(Barred::Refused) => "upstream has refused it, so it admits no request",
                    _ if self.is_barred(Barred::Unproven) => "upstream never took it, so it admits no request",
                    _ if self.handling != Handling::Forwarded && !tolerated => "its grace is over",
                    _ if tolerated => "still works for now",
                    Some(status) if status.is_success() && self.upstream_code.is_none() => {
                        "its grace is over, though upstream still takes it"
                    }
                    Some(StatusCode::UNAUTHORIZED) => "upstream refuses it",
                    Some(_) | None => "its grace is over",
                };
                let (from, since) = (self.from(), self.since());
                format!("{who}{from} still sends {key}, a previous key of set `{set}`: {state}, replaced {since}.")
            }
            Diagnosis::WrongSet => {
                let owner = self.owner.unwrap_or(set);
                format!("{who} declares set `{set}` but sends {key} of set `{owner}`.")
            }
            Diagnosis::UnlistedKey(_) if self.judgement.revoked.is_some() => {
                format!("{who} sends {key}, which was revoked.")
            }
            Diagnosis::UnlistedKey(kind) => {
                format!("{who} sends {} that no set has: {key}.", kind.phrase())
            }
            Diagnosis::UnknownKeyRejected => {
                let kind = if let Verdict::Unknown(kind) = self.judgement.verdict
                    && self.is_of_vendor()
                {
                    format!("{}, ", kind.phrase())
                } else {
                    String::new()
                };
                format!("{who} sends {kind}{key}, which no set has, and upstream refuses it.")
            }
            Diagnosis::DroppedHeader => format!("{who} sent no key at all: its Authorization header was dropped."),
            Diagnosis::MissingHeader => format!("{who} sent no key at all."),
            Diagnosis::GatewayKey => {
                format!("{who} sent no key of OpenAI's, but that of a management gateway, which upstream took.")
            }
            Diagnosis::Malformed(kind) => format!("{who} sent {}.", malformed_words(kind).phrase),
            Diagnosis::RequestError => {
                format!("{who} sent the right key, but upstream refuses the request{}.", self.said())
            }
            Diagnosis::WrongPath => {
                format!("{who} sent the right key, but asks for a path that upstream does not have{}.", self.said())
            }
            Diagnosis::OtherProject => {
                let [new, old] = self.projects.unwrap_or(["another", "this one"]).map(capped);
                let (right_key, said) = (right_key, self.said());
                format!(
                    "{who} {right_key}, but it belongs to project {new}, and the key before it to {old}: what it asks for is not \
                     found there{said}."
                )
            }
            Diagnosis::Preflight => {
                format!("{who} is a browser that asks what a page may send; it does so without a key.")
            }
            Diagnosis::UpstreamError => format!("{who} met a failure of upstream{}.", self.said()),
            Diagnosis::UpstreamFailed => {
                format!("{who} got no whole answer: {}.", self.cause.unwrap_or("its connection broke"))
            }
            Diagnosis::UpstreamRedirect => format!("{who} got a redirect from upstream, which keyward holds back."),
            Diagnosis::ClientGone => format!("{who} left before the answer was whole."),
            Diagnosis::Idle => {
                let cause = self.cause.unwrap_or("nothing moved");
                format!(
                    "{who} and upstream had nothing more to say to each other, so keyward closed their connection: {cause}."
                )
            }
            Diagnosis::ShutDown => format!("{who} was still being answered when keyward was stopped."),
            Diagnosis::KeywardFailed => format!("{who} got no answer, for keyward itself failed."),
            Diagnosis::ReplacedToken { admitted } => {
                let (from, end) = (self.from(), self.judgement.ends);
                let state = if admitted { "it is admitted until" } else { "it was admitted until" };
                let end = end.map(|end| format!(": {state} {end}")).unwrap_or_default();
                format!("{who}{from} still sends {key}, a token of set `{set}` that another one has replaced{end}.")
            }
            Diagnosis::TokenNotReplaced => {
                format!(
                    "{who} sends {key}, but set `{set}` only observes: the token went upstream, which does not know it."
                )
            }
            Diagnosis::UnclearSet => {
                format!("{who} may have the key of a set, but what it declares does not tell which set.")
            }
            Diagnosis::OriginNotAllowed => {
                format!("{who} is a browser, sent by a page that is not allowed to use set `{set}`.")
            }
            Diagnosis::HostNotAllowed => format!("{who} calls keyward by a name that it does not go by."),
            Diagnosis::EchoNotAllowed => {
                format!("{who} sent TRACE, the answer to which would show the current key of set `{set}`.")
            }
        }
    }

    fn right_key(&self) -> &'static str {
        match self.handling {
            Handling::Injected => "got the current key from keyward",
            Handling::Forwarded | Handling::Refused => "sends the right key",
        }
    }

    fn is_barred(&self, by: Barred) -> bool {
        matches!(self.judgement.verdict, Verdict::Outdated(Outdated { barred, .. }) if barred == Some(by))
            && self.handling != Handling::Forwarded
    }

    /// What to do, with keyward's own part in it before all else.
    fn steps(&self, diagnosis: Diagnosis) -> impl Iterator<Item = &'static str> {
        let is_unlisted = matches!(diagnosis, Diagnosis::UnlistedKey(_) | Diagnosis::UnknownKeyRejected);
        let is_basic = self.judgement.place == Some(Place::Basic);
        let (first, rest) = match (diagnosis, self.handling) {
            (Diagnosis::UpstreamRedirect, _) => (None, redirect_steps(self.redirect.unwrap_or(Redirect::Elsewhere))),
            _ if is_unlisted && is_basic => (Some(BASIC_PASSWORD), steps(diagnosis)),
            (Diagnosis::UnlistedKey(KeyKind::Ephemeral), Handling::Refused) => (None, &SHORT_LIVED[..]),
            _ if is_unlisted && self.is_of_vendor() && !self.is_taken() => (None, &OF_VENDOR[..]),
            (Diagnosis::CurrentKeyRejected, Handling::Injected) => (None, &LENT_KEY_REJECTED[..]),
            (Diagnosis::StaleBinding { .. }, _) if self.current == CurrentKey::Refused => {
                (None, &STALE_BESIDE_REFUSED[..])
            }
            (Diagnosis::StaleBinding { .. }, _) if self.origin == Origin::InstanceAi => (None, &STALE_INSTANCE_AI[..]),
            (Diagnosis::StaleBinding { .. }, _) if self.is_agent() => (None, &STALE_AGENT[..]),
            (Diagnosis::StaleBinding { .. }, _) if self.is_beside_good => {
                let rest = steps(diagnosis);
                (Some(MEND_WORKER), &rest[..rest.len() - 1])
            }
            _ if is_unlisted && self.current == CurrentKey::Unknown => (Some(KEY_NOT_KNOWN), steps(diagnosis)),
            _ => (None, steps(diagnosis)),
        };
        let tag = (self.origin == Origin::InstanceAi).then_some(STATIC_TAG);
        let failed = (diagnosis.is_of_credential() && self.has_failed).then_some(FAILED_BESIDES);
        first.into_iter().chain(rest.iter().copied()).chain(tag).chain(failed)
    }

    fn is_of_vendor(&self) -> bool {
        matches!(self.judgement.verdict, Verdict::Unknown(KeyKind::OfVendor(_) | KeyKind::LikeAzure))
    }

    fn is_taken(&self) -> bool {
        self.status.is_some_and(|status| status.is_success()) && self.upstream_code.is_none()
    }

    /// Whether it runs beside n8n's workflows, or may: an AI SDK without a tag is an agent as well.
    fn is_agent(&self) -> bool {
        self.origin == Origin::Agent || (self.family == Family::Agent && self.workflow.is_none())
    }

    fn push_step(&self, text: &mut String, step: &str) {
        let key = if self.is_token_held { A_TOKEN } else { THE_KEY };
        push_filled_in(text, step, key, self.set);
    }

    /// `Workflow …, node …`, or what else is known.
    fn who(&self) -> String {
        let Some(workflow) = self.workflow_name.or(self.workflow) else {
            return match self.origin {
                Origin::Editor => "n8n's editor".to_owned(),
                Origin::Agent => "One of n8n's Agents".to_owned(),
                Origin::InstanceAi => "n8n's Instance AI".to_owned(),
                Origin::Workflow | Origin::Chat | Origin::Undeclared => {
                    format!("An untagged client at {} ({})", self.peer, family_phrase(self.family))
                }
            };
        };
        let mut who = format!("Workflow {}", capped(workflow));
        if let Some(node) = self.node_name.or(self.node) {
            let _ = write!(who, ", node {}", capped(node));
        }
        who
    }

    /// From where, where [`Context::who`] does not say it: of several workers, one may have the old key.
    fn from(&self) -> String {
        let is_told = self.workflow_name.or(self.workflow).is_none()
            && matches!(self.origin, Origin::Workflow | Origin::Chat | Origin::Undeclared);
        if is_told { String::new() } else { format!(" (from {})", self.peer) }
    }

    fn key(&self) -> String {
        self.judgement.key.map_or_else(|| "a key".to_owned(), |names| format!("key {names}"))
    }

    fn since(&self) -> String {
        let Verdict::Outdated(Outdated { retired, .. }) = self.judgement.verdict else { return String::new() };
        let by = retired.by.to_string();
        match retired.after.map(|after| after.to_string()) {
            Some(after) if after != by => format!("between {after} and {by}"),
            Some(_) => format!("at {by}"),
            None => format!("at {by} or before"),
        }
    }

    /// What upstream gave as its reason, as far as a code says it.
    fn said(&self) -> String {
        let status = self.status.map(|status| format!("{}", status.as_u16()));
        let code = self.upstream_code.map(|code| capped(code).to_owned());
        match [status, code].into_iter().flatten().collect::<Vec<_>>().join(" ") {
            said if said.is_empty() => said,
            said => format!(" ({said})"),
        }
    }
}

fn family_phrase(family: Family) -> &'static str {
    match family {
        Family::Legacy => "n8n's built-in OpenAI node, or the credential's test",
        Family::Vendor => "n8n's OpenAI node",
        Family::Sdk => "an OpenAI SDK, as in n8n's chat model and embeddings nodes",
        Family::HttpRequest => "n8n's HTTP Request node",
        Family::Agent => "an AI SDK, as in n8n's Agents and Instance AI",
        Family::Other => "no client that n8n uses",
    }
}

/// What to do, with the places that [`push_filled_in`] fills in.
#[expect(clippy::too_many_lines, reason = "a table of texts")]
pub(super) fn steps(diagnosis: Diagnosis) -> &'static [&'static str] {
    match diagnosis {
        Diagnosis::ReplacedToken { .. } => &[
            "Open the credential that this node uses: it holds the old token (a copy, another record, or a token typed into the node).",
            "Put the new one in, which `keyward token rotate` printed; `keyward token new [set]` makes another one.",
        ],
        Diagnosis::TokenNotReplaced => &[
            "Set `keys.[set].policy` to \"enforce\" or \"inject\" in keyward's configuration, so that the token is replaced by the current key.",
        ],
        Diagnosis::UnclearSet => {
            &["Let the tag, the Base URL and keyward's `workflows` name the same set, and one that there is."]
        }
        Diagnosis::OriginNotAllowed => &[
            "Add the page's origin to `proxy.allow_origin` if it may use the key, which every visitor of the page can then do.",
        ],
        Diagnosis::HostNotAllowed => &["Use one of the names in `proxy.allow_host`, or add the one that you use."],
        Diagnosis::EchoNotAllowed => &["Use another method: no client of n8n sends this one."],
        Diagnosis::CurrentKeyRejected => &[
            "Look in OpenAI's dashboard whether the current key of set `[set]` was revoked, has expired or belongs to a deleted project.",
            "Make a new key, put it where keyward reads the set's current key, and into n8n's credential.",
        ],
        Diagnosis::NextKeyRejected => &[
            "Put the set's current key back into that credential: it is the next key that does not work, not the node.",
            "Look in OpenAI's dashboard whether the next key of set `[set]` is whole, was revoked, has expired or belongs to a deleted project. Put the right one where keyward reads `keys.[set].next`, and then into n8n's credential.",
        ],
        Diagnosis::KeyScope => &[
            "Give the key the permission that the code names: scope, model, project, IP address or country.",
            "Leave n8n's credential as it is: it sends the right key.",
        ],
        Diagnosis::KeyRefused => &[
            "Look up OpenAI's code in its error guide, and the key in OpenAI's dashboard.",
            "Leave n8n's credential as it is: it sends the right key.",
        ],
        Diagnosis::Quota => {
            &["Add credit, or raise the limit of the project or organization, in OpenAI's billing settings."]
        }
        Diagnosis::RateLimited => &["Spread the load, or ask OpenAI for a higher rate limit. Retries make it worse."],
        Diagnosis::StaleBinding { .. } => &[
            "Open the node in n8n and see which credential it uses: it is one with the old key (a copy, another record, or a key typed into the node).",
            "Put [key] into that credential, or choose the credential that has it.",
            "Publish the workflow (n8n 2.x). An execution that waits or is retried with its original workflow keeps the old credential.",
            "If good keys come from it as well: restart the workers of n8n that have an older environment, and look for a clone of this n8n.",
        ],
        Diagnosis::WrongSet => {
            &["Choose the credential of set `[set]` in this node, or correct the set in the tag or in the Base URL."]
        }
        Diagnosis::UnlistedKey(KeyKind::Token) => &[
            "Open the credential that this node uses: its token was revoked, is another keyward's, or is not whole.",
            "Put [key] in.",
        ],
        Diagnosis::UnlistedKey(_) => &[
            "Find out whose key it is. If it is your old one, name it under `keys.[set].previous`; if it is meant to be used, add it to a set of keyward's configuration.",
            "Otherwise put [key] into the credential that this node uses.",
        ],
        Diagnosis::UnknownKeyRejected => &[
            "Put [key] into the credential that this node uses.",
            "If the key was made a moment ago, wait: OpenAI may take some minutes to know it.",
        ],
        Diagnosis::DroppedHeader => &[
            "See that n8n's Base URL is keyward's own final address: a redirect on the way (http to https, another host) makes clients drop the key.",
            "Open the node's credential: its API key may be empty, or an expression that gives nothing.",
            "Update n8n if it is old: nodes of some versions lost the header of the credential.",
        ],
        Diagnosis::MissingHeader => &[
            "Choose an OpenAI credential in this node, or add the header `Authorization: Bearer <key>`.",
            "If the credential has a key, look for a redirect between n8n and keyward: clients drop the key on the way.",
        ],
        Diagnosis::UpstreamError => &["Try again later, and look at OpenAI's status page. The key is not at fault."],
        Diagnosis::UpstreamFailed => &[
            "See whether keyward's machine reaches upstream (name, route, proxy, firewall, certificate). The key is not at fault.",
        ],
        Diagnosis::UpstreamRedirect => redirect_steps(Redirect::Elsewhere),
        Diagnosis::WrongPath => &[
            "Look at the Base URL of the credential or node: it ends with `/v1`, and names no endpoint behind that, which the node adds by itself. The path that came is told beside this (`path` in the log).",
        ],
        Diagnosis::OtherProject => &[
            "Make the new key in the project of the old one: assistants, threads, files, vector stores, batches and fine-tuned models belong to a project, and a key reaches those of its own alone.",
            "Or make them anew in the project of the new key, and put their ids into the node. A model that is missing may have to be allowed to that project.",
        ],
        Diagnosis::Idle => &[
            "Nothing, if both were done. A longer `idle_timeout` keeps such connections open, and so does a ping now and then.",
        ],
        Diagnosis::ShutDown => {
            &["Nothing, if keyward was meant to stop. A longer `drain_timeout` lets such answers end."]
        }
        Diagnosis::KeywardFailed => &["Report the panic message in this log: it is a fault of keyward."],
        Diagnosis::RequestError => {
            &["Read upstream's answer: it says what is wrong with the request. The key is good."]
        }
        Diagnosis::Malformed(kind) => malformed_words(kind).steps,
        Diagnosis::GatewayKey => &[
            "Nothing, if a gateway (Azure API Management, Cloudflare, Kong …) is upstream. keyward does not know that key, and says nothing of its rotation.",
        ],
        Diagnosis::Ok | Diagnosis::ClientGone | Diagnosis::Preflight => &["Nothing."],
    }
}

/// What to do about a redirect, which depends on where it leads.
#[must_use]
pub fn redirect_steps(redirect: Redirect) -> &'static [&'static str] {
    match redirect {
        Redirect::Slash => &[
            "Change the slash at the end of the path: upstream has the same path with one where it came without, or without one where it came with. See the Base URL of the credential or node.",
        ],
        Redirect::SameHost => &[
            "See the Base URL of the credential or node: upstream has moved that path on the same host. Set `proxy.upstream` to https where it stands with http.",
        ],
        Redirect::SignedFile => &[
            "Fetch the file without keyward: upstream lends a signed address at another host, which needs no key. Point the Base URL of the node that downloads straight to upstream.",
        ],
        Redirect::Elsewhere => &["Set `proxy.upstream` to the address that upstream redirects to."],
    }
}

/// Where an unknown key came as the password of a Basic credential.
const BASIC_PASSWORD: &str = "Look where it stands: it came as a password, so a user and a password stand in the Base URL (`https://user:password@…`), or the node has a Basic credential in place of the OpenAI one. Take them out.";

/// Where a key of another vendor's came, and upstream does not take it.
const OF_VENDOR: [&str; 2] = [
    "Open the credential that this node uses and put [key] in: what it holds is another vendor's.",
    "If the node is to call that vendor, give it that vendor's own Base URL, or choose the vendor's own node.",
];

/// Where upstream failed besides, so that mending the key alone brings no answer.
const FAILED_BESIDES: &str =
    "See besides whether keyward's machine reaches upstream (name, route, proxy, firewall, certificate).";

/// Where a set that acts refuses a client secret of the Realtime API.
const SHORT_LIVED: [&str; 2] = [
    "Set `keys.[set].unknown` to \"forward\" in keyward's configuration, if such secrets are meant to be used: they come and go by design, so no set can have them. Well-formed keys that no set has then pass as they come.",
    "Otherwise put [key] into the credential that this node uses.",
];

/// Where the set's current key could not be read.
const KEY_NOT_KNOWN: &str = "keyward could not read the current key of set `[set]`, so it cannot tell which keys are right: see the beginning of its log.";

/// What n8n's credential should hold. A token is shown once, so that another node needs another one.
const THE_KEY: &str = "the current key of set `[set]`";
const A_TOKEN: &str = "a token of set `[set]` (`keyward token new [set]` makes one)";

/// What comes first where a node sends good keys as well.
pub const MEND_WORKER: &str = "Good keys come from it as well, so look for a worker of n8n with an older environment, or a clone of this n8n, and restart it \
                               with the new one.";

/// A node that works is not to be given a key that does not.
const STALE_BESIDE_REFUSED: [&str; 1] = [
    "Leave n8n's credential as it is until the set has a key that OpenAI takes: it refuses the current key of set `[set]`. `keyward status` says what to do about that.",
];

/// An agent keeps the credential that it read for as long as it is used, half an hour after its last run.
const STALE_AGENT: [&str; 2] = [
    "Put [key] into the credential that the agent uses. Nothing names the agent: look at n8n's Agents, and at its Message an Agent nodes.",
    "Save or publish the agent, even unchanged (an edited credential alone does not reach it), or restart n8n.",
];

/// It reads its credential anew with each run, but the environment wins over that.
const STALE_INSTANCE_AI: [&str; 2] = [
    "Put [key] into the credential that n8n's settings have for Instance AI: no list of credentials shows it.",
    "Where N8N_INSTANCE_AI_MODEL_API_KEY is set in n8n's environment, it comes first: change it there, and restart n8n.",
];

/// What lets keyward tell Instance AI from others.
const STATIC_TAG: &str = "Give Instance AI's credential a static tag and a static Base URL: it resolves no expressions, so that its tag says nothing.";

/// Where upstream refuses the key that keyward put in.
const LENT_KEY_REJECTED: [&str; 3] = [
    "Nothing is wrong in n8n: keyward has to be given another key.",
    "Look in OpenAI's dashboard whether the current key of set `[set]` was revoked, has expired or belongs to a deleted project.",
    "Make a new key and put it where keyward reads the set's current key.",
];

/// Where an expression gives nothing.
const NO_VALUE: [&str; 2] = [
    "Open the credential that this node uses: its API key is an expression that gives no value, such as an unset $env or $vars.",
    "Set the variable (and restart n8n if it is one of the environment), or put [key] in.",
];

/// What is told of a kind of malformed credential.
pub struct MalformedWords {
    /// What was sent in place of a key, as a person would say it.
    pub phrase: &'static str,
    /// What to do about it, by what gives this value in n8n (seen in n8n 1.100.1 and 2.41.1).
    steps: &'static [&'static str],
}

/// One row for each kind.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table of texts")]
pub fn malformed_words(kind: Malformed) -> MalformedWords {
    match kind {
        Malformed::Empty => MalformedWords {
            phrase: "an empty key",
            steps: &[
                "Open the credential that this node uses: its API key is empty, or an expression that gives nothing (n8n 1.x).",
                "Put [key] in.",
            ],
        },
        Malformed::Scheme => MalformedWords {
            phrase: "an Authorization header that is neither `Bearer <key>` nor Basic with a key as its password",
            steps: &[
                "Send the key as `Authorization: Bearer <key>`. In an HTTP Request node, choose the predefined OpenAI credential.",
            ],
        },
        Malformed::Undefined => MalformedWords { phrase: "the word `undefined` in place of a key", steps: &NO_VALUE },
        Malformed::Null => MalformedWords { phrase: "the word `null` in place of a key", steps: &NO_VALUE },
        Malformed::Object => MalformedWords {
            phrase: "the name of an object (`[object Object]`, `[object Promise]`) in place of a key",
            steps: &[
                "Open the credential that this node uses: its API key is an expression that gives an object or a promise. Choose the field that holds the key.",
            ],
        },
        Malformed::Placeholder => MalformedWords {
            phrase: "a placeholder in place of a key",
            steps: &[
                "Open the credential that this node uses: it was imported or copied without its key, or an example was left in.",
                "Put [key] in.",
            ],
        },
        Malformed::Quoted => MalformedWords {
            phrase: "its key in quotation marks",
            steps: &["Open the credential that this node uses and take the quotation marks away from the API key."],
        },
        Malformed::Doubled => MalformedWords {
            phrase: "`Bearer` twice",
            steps: &[
                "Open the credential that this node uses: its API key begins with `Bearer`. n8n adds that word by itself; take it away.",
            ],
        },
        Malformed::Whitespace => MalformedWords {
            phrase: "a key with white space or an invisible character in it",
            steps: &[
                "Open the credential that this node uses and type or paste the API key again, without spaces or line ends around it.",
            ],
        },
        Malformed::Duplicate => MalformedWords {
            phrase: "two credentials at once",
            steps: &[
                "Take one of the two away: a header typed into the node stands beside the one of its credential, or a proxy on the way adds its own.",
            ],
        },
        Malformed::Url => MalformedWords {
            phrase: "an address in place of a key",
            steps: &["Open the credential that this node uses: the Base URL stands in the field of the API key."],
        },
        Malformed::Variable => MalformedWords {
            phrase: "the name of a variable in place of a key",
            steps: &[
                "Open the credential that this node uses: its API key names a variable, and nothing put its value there. In n8n an expression is written `{{ $env.NAME }}`, and the field has to be switched to Expression.",
                "Put [key] in.",
            ],
        },
        Malformed::Assignment => MalformedWords {
            phrase: "a line of an environment file (`NAME=sk-…`) in place of a key",
            steps: &["Open the credential that this node uses and leave of its API key what stands behind the `=`."],
        },
        Malformed::Masked => MalformedWords {
            phrase: "a masked key, with stars or dots in its middle",
            steps: &[
                "Open the credential that this node uses: its API key was copied from a page that hides a part of it. OpenAI shows a key once, when it is made.",
                "Put [key] in.",
            ],
        },
        Malformed::Id => MalformedWords {
            phrase: "an id of OpenAI's (an organization, a project, an assistant) in place of a key",
            steps: &[
                "Open the credential that this node uses: its API key is an id. An organization's id has a field of its own.",
                "Put [key] in.",
            ],
        },
        Malformed::Encoded => MalformedWords {
            phrase: "a key in base64",
            steps: &[
                "Open the credential that this node uses: its API key is in base64, as a Kubernetes secret has it. Put the decoded key in.",
            ],
        },
        Malformed::Repeated => MalformedWords {
            phrase: "the same key twice in a row",
            steps: &[
                "Open the credential that this node uses: its API key was pasted twice. Take one of the two away.",
            ],
        },
        Malformed::Oversized => MalformedWords {
            phrase: "a credential that is longer than any key",
            steps: &["Open the credential that this node uses: its API key is longer than any key. Paste it again."],
        },
    }
}

/// Whatever a caller wrote stays a small part of the sentence.
fn capped(text: &str) -> &str {
    cut(text, 64)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// How much of a cause stands beside another fault, in bytes.
const LONGEST_CAUSE: usize = 160;

#[cfg(test)]
mod tests;
