//! Pure. The rules by which requests are decided: a policy for each set, its exceptions, and whom it admits. They are part of
//! the key ring, so that a request never meets the keys of one configuration and the rules of another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::clock::Timestamp;
use crate::codes::codes;
use crate::field_lines::visible_text;
use crate::head::Field;

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

/// The rules of all sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// In the order of the sets; a [`super::set::SetIndex`] is a position in it.
    pub sets: Vec<SetRules>,
    /// Origins of pages (RFC 6454) whose browsers an injecting set serves, in lower case.
    pub allow_origin: Vec<Box<str>>,
    /// Hosts that requests may name; any where it is empty.
    pub allow_host: Vec<AllowedHost>,
}

/// The rules of one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetRules {
    /// What is done about verdicts.
    pub policy: Policy,
    /// What is done about keys that no set has, where not all is forwarded.
    pub unknown: Unknown,
    /// Until when a previous key admits; nothing where its grace says so.
    pub inject_until: Option<Timestamp>,
    /// Addresses from which a request without a credential is admitted.
    pub allow_from: Vec<IpNet>,
    /// Whether you vouch that no stranger can have one of them.
    pub allow_from_is_safe: bool,
    /// Policies for single workflows of this set, by id. None is looser than the set's own.
    pub workflows: HashMap<Box<str>, Policy>,
}

/// What is done about a well-formed key that no set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    #[default]
    Refuse,
    /// It goes upstream as it came.
    Forward,
}

impl FromStr for Unknown {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "forward" => Ok(Self::Forward),
            _ => Err(()),
        }
    }
}

/// A host that requests may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// A name in lower case or an address, an IPv6 one in its brackets.
    pub host: Box<str>,
    /// The port; any where there is none.
    pub port: Option<u16>,
}

// === impl Rules ===

impl Rules {
    /// The rules of the set at that position.
    #[must_use]
    pub fn of_set(&self, position: usize) -> &SetRules {
        &self.sets[position]
    }

    /// The position of the set in whose `workflows` that workflow stands.
    #[must_use]
    pub fn set_of_workflow(&self, workflow: &str) -> Option<usize> {
        self.sets.iter().position(|set| set.workflows.contains_key(workflow))
    }

    /// Whether a page of that origin may use an injecting set.
    #[must_use]
    pub fn allows_origin(&self, origin: &[u8]) -> bool {
        self.allow_origin.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
    }

    /// Whether a request to that host is served. The target's authority counts where there is one (RFC 9112, 3.2.2).
    #[must_use]
    pub fn allows_host(&self, authority: Option<&str>, host: Field<'_>) -> bool {
        if self.allow_host.is_empty() {
            return true;
        }
        let named = match (authority, host) {
            (Some(authority), _) => Some(authority),
            (None, Field::One(host)) => visible_text(host),
            (None, Field::Absent | Field::Repeated(_)) => None,
        };
        named.is_some_and(|named| self.allow_host.iter().any(|allowed| allowed.is(named)))
    }
}

// === impl SetRules ===

impl SetRules {
    /// Of a set that is configured no longer: no request is judged to be of it, and none would be let in.
    #[must_use]
    pub fn closed() -> Self {
        Self { policy: Policy::Enforce, ..Self::default() }
    }

    /// Whether anything but observing may be done about a request of the set.
    #[must_use]
    pub fn act(&self) -> bool {
        [self.policy].iter().chain(self.workflows.values()).any(|policy| *policy != Policy::Observe)
    }

    /// What is done about the requests of a workflow.
    #[must_use]
    pub fn policy_for(&self, workflow: Option<&str>) -> Policy {
        if self.workflows.is_empty() {
            return self.policy;
        }
        workflow.and_then(|workflow| self.workflows.get(workflow)).copied().unwrap_or(self.policy)
    }

    /// Whether that address is admitted without a credential.
    #[must_use]
    pub fn allows_from(&self, peer: IpAddr) -> bool {
        self.allow_from.iter().any(|range| range.contains(&peer))
    }
}

// === impl AllowedHost ===

impl AllowedHost {
    /// Whether a request that names its host so means this one.
    #[must_use]
    pub fn is(&self, named: &str) -> bool {
        let Some(rest) = named
            .get(..self.host.len())
            .filter(|start| start.eq_ignore_ascii_case(&self.host))
            .map(|_| &named[self.host.len()..])
        else {
            return false;
        };
        match (rest.strip_prefix(':'), self.port) {
            (None, port) => rest.is_empty() && port.is_none(),
            (Some(named), port) => named.parse::<u16>().is_ok_and(|named| port.is_none_or(|port| port == named)),
        }
    }
}
