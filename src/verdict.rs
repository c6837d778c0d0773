//! Pure. The verdict: what the credential of a request is, before anything is sent upstream.

pub mod credential;
pub mod explain;
pub mod meaning;
#[cfg(test)]
mod tests;

use std::fmt;

use self::credential::{Credential, Malformed, Place};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::fingerprint::KeyKind;
use crate::keys::set::{KeyRing, Names, Owner, Recognised, Retired, Role, SetIndex, Word};

/// What the credential of a request is, by the keys that keyward knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The set's current key.
    Current,
    /// The set's announced next key.
    Next,
    /// A valid token of the set.
    Token,
    /// A previous key of the set.
    Outdated(Outdated),
    /// A key of another set than the request declares.
    Foreign {
        /// The set whose key it is.
        owner: SetIndex,
    },
    /// Well-formed, and in no set.
    Unknown(KeyKind),
    /// No credential in any place.
    Missing,
    /// A credential that cannot be a key, and why.
    Malformed(Malformed),
}

codes! {
    /// What a verdict is called: [`Verdict::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum VerdictKind {
        Current => "current",
        Next => "next",
        Token => "token",
        Outdated => "outdated",
        Foreign => "foreign",
        Unknown => "unknown",
        Missing => "missing",
        Malformed => "malformed",
    }
}

/// Since when a key is outdated, and whether it is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated {
    pub retired: Retired,
    /// When its grace ends, or ended.
    pub grace_until: Timestamp,
    /// Whether the grace still ran when the request came.
    pub in_grace: bool,
    /// Why it admits no request, whatever its grace.
    pub barred: Option<Barred>,
}

/// Why a previous key admits no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// You revoked it: `keyward keys revoke`.
    Revoked,
    /// Upstream refused it when it saw it last: who holds it may be whom it was revoked for.
    Refused,
    /// Upstream never took it, and it was not declared: it may have stood in a key file by mistake, and be easy to guess.
    Unproven,
}

/// Judges a credential by the ring.
///
/// `declared` is the set that the request declares, if it declares one that exists; without one the set that owns the
/// key judges it, else `default`.
#[must_use]
pub fn judge(credential: &Credential<'_>, declared: Option<SetIndex>, ring: &KeyRing, now: Timestamp) -> Judgement {
    let set = declared.unwrap_or(SetIndex::DEFAULT);
    let without_key =
        |verdict| Judgement { verdict, set, key: None, place: None, learned: false, revoked: None, ends: None };
    let presented = match credential {
        Credential::Missing => return without_key(Verdict::Missing),
        Credential::Malformed(kind) => return without_key(Verdict::Malformed(*kind)),
        Credential::Key(presented) => presented,
    };
    let recognised = ring.recognise(&presented.value, declared);
    let (verdict, set) = match recognised.owner {
        None => (Verdict::Unknown(KeyKind::of(&presented.value)), set),
        Some(owner) if declared.is_some_and(|declared| declared != owner.set) => {
            (Verdict::Foreign { owner: owner.set }, set)
        }
        Some(owner) => (Verdict::of_own_key(owner, &recognised, now), owner.set),
    };
    let learned = recognised.owner.is_some_and(|owner| owner.learned);
    let (key, place) = (Some(recognised.names), Some(presented.place));
    Judgement { verdict, set, key, place, learned, revoked: recognised.revoked, ends: recognised.ends }
}

impl Judgement {
    /// The same judgement at a later time: only the end of a grace, and that of a replaced token, change with time.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.verdict {
            Verdict::Outdated(outdated) => {
                let in_grace = now < outdated.grace_until;
                Self { verdict: Verdict::Outdated(Outdated { in_grace, ..outdated }), ..self }
            }
            Verdict::Token => Self { verdict: self.ends.map_or(Verdict::Token, |end| of_token(end, now)), ..self },
            Verdict::Current
            | Verdict::Next
            | Verdict::Foreign { .. }
            | Verdict::Unknown(_)
            | Verdict::Missing
            | Verdict::Malformed(_) => self,
        }
    }

    /// Whether another token took the place of the one that came, whose grace may be over.
    #[must_use]
    pub fn is_replaced_token(&self) -> bool {
        match self.verdict {
            Verdict::Token | Verdict::Outdated(_) => self.ends.is_some() && self.revoked.is_none(),
            Verdict::Current
            | Verdict::Next
            | Verdict::Foreign { .. }
            | Verdict::Unknown(_)
            | Verdict::Missing
            | Verdict::Malformed(_) => false,
        }
    }
}

impl Verdict {
    /// The kind alone, without what its variant carries: it has the code.
    #[must_use]
    pub fn kind(self) -> VerdictKind {
        match self {
            Self::Current => VerdictKind::Current,
            Self::Next => VerdictKind::Next,
            Self::Token => VerdictKind::Token,
            Self::Outdated(_) => VerdictKind::Outdated,
            Self::Foreign { .. } => VerdictKind::Foreign,
            Self::Unknown(_) => VerdictKind::Unknown,
            Self::Missing => VerdictKind::Missing,
            Self::Malformed(_) => VerdictKind::Malformed,
        }
    }

    /// A revoked key is outdated from then on, whatever it was to its set.
    fn of_own_key(owner: Owner, recognised: &Recognised, now: Timestamp) -> Self {
        let outdated = |retired, grace_until, barred| {
            Self::Outdated(Outdated { retired, grace_until, in_grace: now < grace_until, barred })
        };
        match (owner.role, recognised.revoked) {
            (Role::Previous { retired, grace_until }, Some(revoked)) => {
                outdated(retired, grace_until.min(revoked), Some(Barred::Revoked))
            }
            (Role::Current | Role::Next | Role::Token, Some(revoked)) => {
                outdated(Retired { after: Some(revoked), by: revoked }, revoked, Some(Barred::Revoked))
            }
            (Role::Previous { retired, grace_until }, None) => outdated(retired, grace_until, bar_of(recognised)),
            (Role::Current, None) => Self::Current,
            (Role::Next, None) => Self::Next,
            (Role::Token, None) => recognised.ends.map_or(Self::Token, |end| of_token(end, now)),
        }
    }

    /// The stable code, as in logs, headers and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.kind().code()
    }
}

/// What a token is that ends then, since another one replaced it.
fn of_token(end: Timestamp, now: Timestamp) -> Verdict {
    if now < end {
        return Verdict::Token;
    }
    let retired = Retired { after: Some(end), by: end };
    Verdict::Outdated(Outdated { retired, grace_until: end, in_grace: false, barred: Some(Barred::Revoked) })
}

/// Why a previous key that is not revoked admits no request.
fn bar_of(key: &Recognised) -> Option<Barred> {
    match key.word {
        Some(Word::Accepted) => None,
        Some(Word::Refused) => Some(Barred::Refused),
        None => (!key.is_declared).then_some(Barred::Unproven),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The verdict with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The set that the request was judged by.
    pub set: SetIndex,
    /// The public names of the key that came, if one came.
    pub key: Option<Names>,
    /// Where that stood.
    pub place: Option<Place>,
    /// Whether the verdict rests on what keyward learned, rather than on what it was told.
    pub learned: bool,
    /// When the key or token that came was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// When the token that came ends, where another one replaced it.
    pub ends: Option<Timestamp>,
}
