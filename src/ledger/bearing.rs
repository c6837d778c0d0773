//! Pure. What a sighting says about its binding: whether it is well.

use crate::codes::listed;
use crate::outcome::Outcome;
use crate::verdict::explain::{Diagnosis, Severity};

listed! {
    /// What a sighting says about its binding.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Bearing {
        /// It is not well: an incident opens, or goes on.
        Bad,
        /// Its key is right and upstream took it: an incident that began before closes.
        Good,
        None,
    }
}

/// Which diagnoses open an incident, and which close one. Only sightings of one caller come here, each where it counts
/// (see [`super::destination`]).
///
/// - **Bad**: every fault of the credential (stale, of another set, unlisted, unknown and rejected, dropped, missing,
///   malformed), and a right key that upstream refuses, whether as invalid, for what it may do or for an unknown reason.
///   A token that went upstream as it came, one whose time is over, an unclear set, a path that upstream does not have, and something of another
///   project than the key's are faults of what the binding sends as well.
/// - **Good**: upstream took the key ([`Outcome::took_key`]): a success, a WebSocket that has said something, or a
///   complaint about the request itself that comes after the look at the key; also where a replaced token brought it through.
/// - **Neither**: whatever says nothing of the key. There is no money, or too much was asked at once, which may be said in
///   front of the API; there is no such thing (404), which is found out before; upstream failed, or the client left before
///   an answer; a page, host or method was refused, which strangers can bring about; or a key that comes and goes by
///   design.
#[must_use]
pub fn bearing(diagnosis: Diagnosis, outcome: Outcome) -> Bearing {
    match diagnosis {
        Diagnosis::UnlistedKey(_) if diagnosis.severity() == Severity::Fine => Bearing::None,
        Diagnosis::CurrentKeyRejected
        | Diagnosis::NextKeyRejected
        | Diagnosis::KeyScope
        | Diagnosis::KeyRefused
        | Diagnosis::StaleBinding { .. }
        | Diagnosis::WrongSet
        | Diagnosis::UnlistedKey(_)
        | Diagnosis::UnknownKeyRejected
        | Diagnosis::DroppedHeader
        | Diagnosis::MissingHeader
        | Diagnosis::Malformed(_)
        | Diagnosis::TokenNotReplaced
        | Diagnosis::ReplacedToken { admitted: false }
        | Diagnosis::UnclearSet
        | Diagnosis::WrongPath
        | Diagnosis::OtherProject => Bearing::Bad,
        Diagnosis::Ok
        | Diagnosis::ReplacedToken { admitted: true }
        | Diagnosis::RequestError
        | Diagnosis::ClientGone
        | Diagnosis::Idle
        | Diagnosis::ShutDown
        | Diagnosis::UpstreamFailed => good_if(outcome.took_key()),
        Diagnosis::Preflight
        | Diagnosis::GatewayKey
        | Diagnosis::Quota
        | Diagnosis::RateLimited
        | Diagnosis::UpstreamError
        | Diagnosis::UpstreamRedirect
        | Diagnosis::KeywardFailed
        | Diagnosis::OriginNotAllowed
        | Diagnosis::HostNotAllowed
        | Diagnosis::EchoNotAllowed => Bearing::None,
    }
}

fn good_if(took_key: bool) -> Bearing {
    if took_key { Bearing::Good } else { Bearing::None }
}
