//! Pure. What keyward does about a verdict. Only this module can make a [`Permit`], and forwarding takes one: a request
//! that was not judged cannot go upstream, and none gets a key of ours that was not admitted.

pub mod rules;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::str::FromStr;

use http::Method;

use self::rules::{Rules, SetRules, Unknown};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::head::{Field, Head};
use crate::keys::fingerprint::KeyKind;
use crate::keys::set::{Bearer, KeyRing, SetIndex};
use crate::verdict::credential::Malformed;
use crate::verdict::{Judgement, Outdated, Verdict};

/// What happens to a request.
#[derive(Debug)]
pub enum Action {
    /// It goes upstream.
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
        /// keyward answers it.
        Refuse => "refuse",
    }
}

impl Action {
    /// What has the code.
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

/// Why keyward answers itself.
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

codes! {
    /// What a set wants done about verdicts.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Policy {
        /// Forward what came, whatever it is, and say what it is.
        #[default]
        Observe => "observe",
        /// Forward good keys, refuse the rest.
        Enforce => "enforce",
        /// Put the current key in for requests that are admitted, refuse the rest.
        Inject => "inject",
    }
}

impl Policy {
    /// The policy's name, as in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.code()
    }

    /// Whether a workflow's exception may replace this one. Whose workflow it is, is a claim of the caller, so that it may
    /// only tighten: never send what would be refused, never lend a key that would not be lent.
    #[must_use]
    pub fn may_tighten_to(self, exception: Self) -> bool {
        exception == self || exception == Self::Enforce
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        [Self::Observe, Self::Enforce, Self::Inject]
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or(UnknownPolicy)
    }
}

/// The text names no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy is observe, enforce or inject")]
pub struct UnknownPolicy;

/// What a decision rests on beside the rules: all of it from one look at the head and one ring.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// What the credential is.
    pub judgement: &'r Judgement,
    /// The request's head.
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
    let set = rules.of_set(asked.judgement.set);
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
        if self.head.fields.origin.is_present() && self.is_preflight() {
            return as_it_came();
        }
        match self.judgement.verdict {
            // It is the very key that would be put in.
            Verdict::Current => as_it_came(),
            Verdict::Next | Verdict::Token => self.lend(ring),
            Verdict::Outdated(outdated) if set.admits(&outdated, self.now) => self.lend(ring),
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

    /// Nobody's address counts whose request came through another proxy: then it is the proxy's, and anybody's.
    fn is_admitted_by_address(&self, set: &SetRules) -> bool {
        !self.head.fields.is_relayed && set.allows_from(self.peer)
    }

    /// Whether a browser sends it, by order of a page that may not use an injecting set.
    fn is_barred_page(&self, rules: &Rules) -> bool {
        match self.head.fields.origin {
            Field::Absent => false,
            Field::One(origin) => !rules.allows_origin(origin.as_bytes()),
            Field::Repeated(_) => true,
        }
    }

    /// What pages ask before they ask (Fetch Standard, CORS-preflight request): never with a credential.
    fn is_preflight(&self) -> bool {
        *self.head.method == Method::OPTIONS && self.judgement.verdict == Verdict::Missing
    }

    /// Whether the request would be refused if it did not claim to belong to its set. A claim may tighten what is done,
    /// never loosen it.
    fn claim_loosens(&self, rules: &Rules) -> bool {
        let unclaimed = match self.judgement.verdict {
            Verdict::Missing | Verdict::Malformed(_) | Verdict::Unknown(_) => SetIndex::DEFAULT,
            Verdict::Foreign { owner } => owner,
            Verdict::Current | Verdict::Next | Verdict::Token | Verdict::Outdated(_) => return false,
        };
        let unclaimed = rules.of_set(unclaimed);
        let is_welcome = matches!(self.judgement.verdict, Verdict::Unknown(kind) if kind != KeyKind::Token)
            && self.judgement.revoked.is_none()
            && unclaimed.unknown == Unknown::Forward;
        let is_barred = unclaimed.policy == Policy::Inject && self.is_barred_page(rules);
        is_barred || (unclaimed.policy_for(self.workflow) != Policy::Observe && !is_welcome)
    }
}

fn as_it_came() -> Action {
    Action::Forward(Permit { instead: None })
}
