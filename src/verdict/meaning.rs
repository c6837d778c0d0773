//! Pure. What the code of a diagnosis stands for, and what to do: for a reader who has only the code.

use super::credential::Malformed;
use super::explain::{Diagnosis, DiagnosisKind, steps};
use crate::keys::fingerprint::KeyKind;

/// What happened, in words that need no more than the code. The same words stand in docs/log.md.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table of texts")]
pub fn meaning(kind: DiagnosisKind) -> &'static str {
    match kind {
        DiagnosisKind::Ok => "nothing is wrong",
        DiagnosisKind::CurrentKeyRejected => {
            "the right key, and OpenAI says that it is invalid: revoked or wrong there. n8n is not at fault"
        }
        DiagnosisKind::NextKeyRejected => {
            "the announced next key (`keys.<set>.next`), and OpenAI says that it is invalid: the node sends what was announced"
        }
        DiagnosisKind::KeyScope => "the right key, without the permission for this",
        DiagnosisKind::KeyRefused => "the right key, refused for a reason that keyward has no name for",
        DiagnosisKind::Quota => "the right key; its account is out of credit or limit",
        DiagnosisKind::RateLimited => "the right key, with too many requests at once",
        DiagnosisKind::StaleBinding => {
            "the node sends a previous key. It is a warning while the grace runs and OpenAI still takes the key"
        }
        DiagnosisKind::WrongSet => "the request declares one set and carries the key of another",
        DiagnosisKind::UnlistedKey => {
            "the key is in no set, and OpenAI takes it (info for short-lived and admin keys). The message names the kind: a project key, an admin key, a key of Anthropic's"
        }
        DiagnosisKind::UnknownKeyRejected => "the key is in no set, and OpenAI refuses it",
        DiagnosisKind::DroppedHeader => "no key came, from a client that always sends one",
        DiagnosisKind::MissingHeader => "no key came",
        DiagnosisKind::GatewayKey => {
            "no key that OpenAI reads came, but that of a management gateway (`Ocp-Apim-Subscription-Key`, `cf-aig-authorization`, `x-api-key` …), and the answer is a success"
        }
        DiagnosisKind::MalformedEmpty => "the key is empty",
        DiagnosisKind::MalformedScheme => "the header is neither `Bearer <key>` nor Basic with a key as its password",
        DiagnosisKind::MalformedUndefined => "the key is the word `undefined`",
        DiagnosisKind::MalformedNull => "the key is the word `null`",
        DiagnosisKind::MalformedObject => "the key is `[object Object]`, `[object Promise]` or the like",
        DiagnosisKind::MalformedPlaceholder => {
            "the key is a placeholder: the credential was imported without its key, or an example was left in"
        }
        DiagnosisKind::MalformedQuoted => "the key is in quotation marks",
        DiagnosisKind::MalformedDoubled => "the key begins with `Bearer`, which n8n adds by itself",
        DiagnosisKind::MalformedWhitespace => "the key has white space or an invisible character in it",
        DiagnosisKind::MalformedDuplicate => "two credentials came at once, in two places or joined in one header",
        DiagnosisKind::MalformedUrl => "the key is an address",
        DiagnosisKind::MalformedVariable => {
            "the key is the name of a variable that was not replaced: `${X}`, `$env.X`, `process.env.X`, `%X%`"
        }
        DiagnosisKind::MalformedAssignment => "the key is a line of an environment file: `NAME=sk-…`",
        DiagnosisKind::MalformedMasked => {
            "the key has stars or dots in its middle: it was copied from a page that hides a part of it"
        }
        DiagnosisKind::MalformedId => "the key is an id of OpenAI's: `org-…`, `proj_…`, `asst_…`",
        DiagnosisKind::MalformedEncoded => "the key is in base64",
        DiagnosisKind::MalformedRepeated => "the key stands there twice in a row",
        DiagnosisKind::MalformedOversized => "the key is longer than any key",
        DiagnosisKind::RequestError => "the right key; OpenAI refuses the request itself",
        DiagnosisKind::WrongPath => {
            "the right key, for a path that OpenAI does not have: the Base URL ends before `/v1`, or names an endpoint"
        }
        DiagnosisKind::OtherProject => {
            "the right key, of another project than the one before it: an assistant, thread, file, vector store or model that the old key reached is not found. keyward remembers `openai-project` of the last 64 keys, over restarts too"
        }
        DiagnosisKind::Preflight => {
            "a browser asks what a page may send (`OPTIONS` with `Access-Control-Request-Method`); it does so without a key, and is no binding"
        }
        DiagnosisKind::UpstreamError => "OpenAI failed",
        DiagnosisKind::UpstreamFailed => "OpenAI could not be reached, or its answer broke off",
        DiagnosisKind::UpstreamRedirect => "OpenAI's address answered with a redirect, which keyward holds back",
        DiagnosisKind::ClientGone => "the client left before the answer was whole",
        DiagnosisKind::Idle => "a WebSocket on which neither side said anything was closed",
        DiagnosisKind::ShutDown => "keyward stopped before the answer was whole",
        DiagnosisKind::KeywardFailed => "keyward itself failed: report the panic message in the log",
        DiagnosisKind::TokenNotReplaced => "a token went to OpenAI as it came, because its set only observes",
        DiagnosisKind::ReplacedToken => {
            "the node sends a token that another one has replaced. It is a warning until the old one ends, and refused from then on"
        }
        DiagnosisKind::UnclearSet => "what the request declares leaves open which set it belongs to",
        DiagnosisKind::OriginNotAllowed => "a browser sends it, for a page that is not in `allow_origin`",
        DiagnosisKind::HostNotAllowed => "it calls keyward by a name that is not in `allow_host`",
        DiagnosisKind::EchoNotAllowed => "it is a TRACE, and the answer would show the key",
    }
}

/// What to do about it in that set, step by step.
#[must_use]
pub fn remedy(kind: DiagnosisKind, set: &str) -> Vec<String> {
    steps(plain(kind)).iter().map(|step| super::explain::filled_in(step, set)).collect()
}

/// The diagnosis with that code, where its remedy hangs on nothing else.
#[expect(clippy::too_many_lines, reason = "a table of kinds")]
fn plain(kind: DiagnosisKind) -> Diagnosis {
    match kind {
        DiagnosisKind::Ok => Diagnosis::Ok,
        DiagnosisKind::CurrentKeyRejected => Diagnosis::CurrentKeyRejected,
        DiagnosisKind::NextKeyRejected => Diagnosis::NextKeyRejected,
        DiagnosisKind::KeyScope => Diagnosis::KeyScope,
        DiagnosisKind::KeyRefused => Diagnosis::KeyRefused,
        DiagnosisKind::Quota => Diagnosis::Quota,
        DiagnosisKind::RateLimited => Diagnosis::RateLimited,
        DiagnosisKind::StaleBinding => Diagnosis::StaleBinding { tolerated: false },
        DiagnosisKind::WrongSet => Diagnosis::WrongSet,
        DiagnosisKind::UnlistedKey => Diagnosis::UnlistedKey(KeyKind::Other),
        DiagnosisKind::UnknownKeyRejected => Diagnosis::UnknownKeyRejected,
        DiagnosisKind::DroppedHeader => Diagnosis::DroppedHeader,
        DiagnosisKind::MissingHeader => Diagnosis::MissingHeader,
        DiagnosisKind::GatewayKey => Diagnosis::GatewayKey,
        DiagnosisKind::MalformedEmpty => Diagnosis::Malformed(Malformed::Empty),
        DiagnosisKind::MalformedScheme => Diagnosis::Malformed(Malformed::Scheme),
        DiagnosisKind::MalformedUndefined => Diagnosis::Malformed(Malformed::Undefined),
        DiagnosisKind::MalformedNull => Diagnosis::Malformed(Malformed::Null),
        DiagnosisKind::MalformedObject => Diagnosis::Malformed(Malformed::Object),
        DiagnosisKind::MalformedPlaceholder => Diagnosis::Malformed(Malformed::Placeholder),
        DiagnosisKind::MalformedQuoted => Diagnosis::Malformed(Malformed::Quoted),
        DiagnosisKind::MalformedDoubled => Diagnosis::Malformed(Malformed::Doubled),
        DiagnosisKind::MalformedWhitespace => Diagnosis::Malformed(Malformed::Whitespace),
        DiagnosisKind::MalformedDuplicate => Diagnosis::Malformed(Malformed::Duplicate),
        DiagnosisKind::MalformedUrl => Diagnosis::Malformed(Malformed::Url),
        DiagnosisKind::MalformedVariable => Diagnosis::Malformed(Malformed::Variable),
        DiagnosisKind::MalformedAssignment => Diagnosis::Malformed(Malformed::Assignment),
        DiagnosisKind::MalformedMasked => Diagnosis::Malformed(Malformed::Masked),
        DiagnosisKind::MalformedId => Diagnosis::Malformed(Malformed::Id),
        DiagnosisKind::MalformedEncoded => Diagnosis::Malformed(Malformed::Encoded),
        DiagnosisKind::MalformedRepeated => Diagnosis::Malformed(Malformed::Repeated),
        DiagnosisKind::MalformedOversized => Diagnosis::Malformed(Malformed::Oversized),
        DiagnosisKind::RequestError => Diagnosis::RequestError,
        DiagnosisKind::WrongPath => Diagnosis::WrongPath,
        DiagnosisKind::OtherProject => Diagnosis::OtherProject,
        DiagnosisKind::Preflight => Diagnosis::Preflight,
        DiagnosisKind::UpstreamError => Diagnosis::UpstreamError,
        DiagnosisKind::UpstreamFailed => Diagnosis::UpstreamFailed,
        DiagnosisKind::UpstreamRedirect => Diagnosis::UpstreamRedirect,
        DiagnosisKind::ClientGone => Diagnosis::ClientGone,
        DiagnosisKind::Idle => Diagnosis::Idle,
        DiagnosisKind::ShutDown => Diagnosis::ShutDown,
        DiagnosisKind::KeywardFailed => Diagnosis::KeywardFailed,
        DiagnosisKind::TokenNotReplaced => Diagnosis::TokenNotReplaced,
        DiagnosisKind::ReplacedToken => Diagnosis::ReplacedToken { admitted: false },
        DiagnosisKind::UnclearSet => Diagnosis::UnclearSet,
        DiagnosisKind::OriginNotAllowed => Diagnosis::OriginNotAllowed,
        DiagnosisKind::HostNotAllowed => Diagnosis::HostNotAllowed,
        DiagnosisKind::EchoNotAllowed => Diagnosis::EchoNotAllowed,
    }
}
