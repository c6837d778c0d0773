//! Pure. What keyward does about a verdict. Only this module can make a [`Permit`], and forwarding takes one: a request
//! that was not judged cannot go upstream, and none gets a key of ours that was not admitted.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use http::Method;

use crate::clock::Timestamp;
use crate::codes::codes;
use crate::head::{Field, Head};
use crate::keys::fingerprint::KeyKind;
use crate::keys::rules::{Policy, Rules, SetRules, Unknown};
use crate::keys::set::{Bearer, KeyRing, SetIndex};
use crate::verdict::credential::Malformed;
use crate::verdict::{Judgement, Outdated, Verdict};

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    Forward(Permit),
    /// keyward answers it, and nothing goes upstream.
    Refuse(Refusal),
}

codes! {
    /// What an action is called: [`Action::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ActionKind {
        /// The request goes upstream as it came.
        Forward => "forward",
        /// It goes upstream with the set's current key.
        Inject => "inject",
        Refuse => "refuse",
    }
}

impl Action {
    /// The kind alone: a permit that puts in the set's current key is [`ActionKind::Inject`].
    #[must_use]
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Forward(Permit { instead: None }) => ActionKind::Forward,
            Self::Forward(Permit { instead: Some(_) }) => ActionKind::Inject,
            Self::Refuse(_) => ActionKind::Refuse,
        }
    }

    /// The stable code, as in logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }
}

/// Leave to send one request upstream.
#[derive(Debug)]
pub struct Permit {
    instead: Option<Bearer>,
}

impl Permit {
    /// The set's current key, which goes upstream in place of every credential that came; nothing where the request goes
    /// as it is.
    #[must_use]
    pub fn injected(&self) -> Option<&Bearer> {
        self.instead.as_ref()
    }
}

/// Why keyward answers a request itself, and sends nothing upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For its credential: the verdict says what is wrong with it.
    Credential,
    /// It would get the set's current key, but what it declares leaves open which set that is.
    UnclearSet,
    /// A browser sends it, by order of a page that is not in `allow_origin`.
    Origin,
    /// It names a host that is not in `allow_host`.
    Host,
    /// It asks upstream to send back what it gets (TRACE), which would be the set's current key.
    Echo,
}

/// What a decision rests on beside the rules: all of it from one look at the head and one ring.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    pub judgement: &'r Judgement,
    pub head: &'r Head<'r>,
    /// The authority in the request's target, which outranks `Host` (RFC 9112, 3.2.2).
    pub authority: Option<&'r str>,
    /// The workflow that it claims to come from.
    pub workflow: Option<&'r str>,
    /// Whether it declares sets that disagree, or one that there is not.
    pub set_is_unclear: bool,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// When it came.
    pub now: Timestamp,
}

/// Decides what is done about a request.
#[must_use]
pub fn decide(asked: &Asked<'_>, rules: &Rules, ring: &KeyRing) -> Action {
    if !rules.allows_host(asked.authority, asked.head.fields.host) {
        return Action::Refuse(Refusal::Host);
    }
    if asked.is_preflight() {
        return asked.preflight(rules);
    }
    let set = rules.of_set(asked.judgement.set.position());
    match set.policy_for(asked.workflow) {
        Policy::Observe => asked.observe(rules),
        // An exception: what its set refuses stays refused, or naming a workflow would open what is closed.
        Policy::Enforce if set.policy == Policy::Inject => match asked.inject(set, rules, ring) {
            Action::Forward(_) => asked.enforce(set, rules, ring),
            refused @ Action::Refuse(_) => refused,
        },
        Policy::Enforce => asked.enforce(set, rules, ring),
        Policy::Inject => asked.inject(set, rules, ring),
    }
}

// === impl Asked ===

impl Asked<'_> {
    fn observe(&self, rules: &Rules) -> Action {
        if self.claim_loosens(rules) { Action::Refuse(Refusal::Credential) } else { as_it_came() }
    }

    fn enforce(&self, set: &SetRules, rules: &Rules, ring: &KeyRing) -> Action {
        match self.judgement.verdict {
            Verdict::Current | Verdict::Next | Verdict::Outdated(Outdated { in_grace: true, .. }) => as_it_came(),
            Verdict::Token => self.lend(ring),
            Verdict::Unknown(_) => self.forward_unknown(set, rules),
            Verdict::Outdated(Outdated { in_grace: false, .. })
            | Verdict::Foreign { .. }
            | Verdict::Missing
            | Verdict::Malformed(_) => Action::Refuse(Refusal::Credential),
        }
    }

    /// Denies by default: a request that is not admitted here gets no key of ours.
    fn inject(&self, set: &SetRules, rules: &Rules, ring: &KeyRing) -> Action {
        if self.is_barred_page(rules) {
            return Action::Refuse(Refusal::Origin);
        }
        match self.judgement.verdict {
            // It is the very key that would be put in.
            Verdict::Current => as_it_came(),
            Verdict::Next | Verdict::Token => self.lend(ring),
            Verdict::Outdated(outdated) if still_admits(&outdated, set, self.now) => self.lend(ring),
            Verdict::Missing | Verdict::Malformed(Malformed::Empty) if self.is_admitted_by_address(set) => {
                self.lend(ring)
            }
            Verdict::Unknown(_) => self.forward_unknown(set, rules),
            Verdict::Outdated(_) | Verdict::Foreign { .. } | Verdict::Missing | Verdict::Malformed(_) => {
                Action::Refuse(Refusal::Credential)
            }
        }
    }

    fn lend(&self, ring: &KeyRing) -> Action {
        if *self.head.method == Method::TRACE {
            return Action::Refuse(Refusal::Echo);
        }
        match ring.bearer(self.judgement.set) {
            Some(bearer) if !self.set_is_unclear => Action::Forward(Permit { instead: Some(bearer.clone()) }),
            Some(_) | None => Action::Refuse(Refusal::UnclearSet),
        }
    }

    fn forward_unknown(&self, set: &SetRules, rules: &Rules) -> Action {
        let is_compromised = self.judgement.revoked.is_some();
        // One of keyward's own, mistyped or of another keyward: upstream is not to see it.
        let is_token = self.judgement.verdict == Verdict::Unknown(KeyKind::Token);
        if set.unknown == Unknown::Refuse || is_compromised || is_token || self.claim_loosens(rules) {
            return Action::Refuse(Refusal::Credential);
        }
        as_it_came()
    }

    /// The address of a request that came through another proxy does not count: it is the proxy's, and may be anyone's.
    fn is_admitted_by_address(&self, set: &SetRules) -> bool {
        !self.head.fields.is_relayed && set.allows_from(self.peer)
    }

    /// Whether a browser sends it, by order of a page that may not use an injecting set.
    fn is_barred_page(&self, rules: &Rules) -> bool {
        match self.head.fields.origin {
            Field::Absent => false,
            Field::One(origin) => !rules.allows_origin(origin),
            Field::Repeated(_) => true,
        }
    }

    /// Whether a browser asks whether a page may send what it wants to send (Fetch Standard, CORS-preflight request): never with
    /// a credential.
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        *self.head.method == Method::OPTIONS
            && self.head.fields.asks_for_page
            && self.head.fields.origin.is_present()
            && self.judgement.verdict == Verdict::Missing
    }

    /// It goes on for a page that may call keyward, and for any other where nothing is guarded. No key is put in: the request that
    /// follows is judged by its own.
    fn preflight(&self, rules: &Rules) -> Action {
        let policy = rules.of_set(self.judgement.set.position()).policy_for(self.workflow);
        let is_open = policy == Policy::Observe && !self.claim_loosens(rules);
        if is_open || !self.is_barred_page(rules) { as_it_came() } else { Action::Refuse(Refusal::Origin) }
    }

    /// Whether the request would be refused if it did not claim to belong to its set. A claim may tighten what is done,
    /// never loosen it.
    fn claim_loosens(&self, rules: &Rules) -> bool {
        let unclaimed = match self.judgement.verdict {
            Verdict::Missing | Verdict::Malformed(_) | Verdict::Unknown(_) => SetIndex::DEFAULT,
            Verdict::Foreign { owner } => owner,
            Verdict::Current | Verdict::Next | Verdict::Token | Verdict::Outdated(_) => return false,
        };
        let unclaimed = rules.of_set(unclaimed.position());
        let is_welcome = matches!(self.judgement.verdict, Verdict::Unknown(kind) if kind != KeyKind::Token)
            && self.judgement.revoked.is_none()
            && unclaimed.unknown == Unknown::Forward;
        let is_barred = unclaimed.policy == Policy::Inject && self.is_barred_page(rules);
        is_barred || (unclaimed.policy_for(self.workflow) != Policy::Observe && !is_welcome)
    }
}

/// Whether a previous key still admits.
fn still_admits(key: &Outdated, set: &SetRules, now: Timestamp) -> bool {
    let until = set.inject_until.unwrap_or(key.grace_until);
    key.barred.is_none() && now < until
}

fn as_it_came() -> Action {
    Action::Forward(Permit { instead: None })
}
