//! Pure. How a binding stands in the rotation of its set.
//!
//! | a binding is | when |
//! |---|---|
//! | `mixed` | its last word was good, but another sender behind it still sends an old key ([`super::answer`]) |
//! | `stale` | it has an open incident ([`super::incident`]), and sent an old key last |
//! | `failing` | it has an open incident of another kind: no key, one that is none or no set's, one that upstream refuses; or its last request found the account of its key out of credit |
//! | `confirmed` | its last sighting carried the current key, the next one or a valid token |
//! | `silent` | neither: it has not been seen since the key that it sent last was replaced |
//! | not in the view | it never asked the API, or never with a key of the set: nothing of it rotates |
//!
//! A `silent` one is *due later*, *overdue* (silent for longer than its rhythm allows: [`rhythm::patience`]) or
//! *acknowledged dead*.

use super::binding::Memory;
use super::rhythm;
use super::set_keys::RotationKeys;
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::verdict::explain::DiagnosisKind;

/// How a binding stands in a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is well, but another sender behind it still sends an old key.
    Mixed,
    /// It sends an old key.
    Stale,
    /// It is not well for another reason.
    Failing {
        /// Whether it sent what it should all the same, and upstream took it before: its account is out of credit by now.
        has_right_key: bool,
    },
    /// It has not been seen since its key was replaced.
    Silent(Silence),
    /// It sends what it should.
    Confirmed,
}

/// What the silence of a binding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It should have come by then.
    Overdue {
        /// When it was due at the latest.
        since: Timestamp,
    },
    /// By its rhythm, it need not have come yet.
    DueLater {
        /// When it is due at the latest.
        by: Timestamp,
    },
    /// You said that it is dead.
    Acknowledged { at: Timestamp },
}

codes! {
    /// What a standing is called: [`Standing::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StandingKind {
        Confirmed => "confirmed",
        Mixed => "mixed",
        Stale => "stale",
        Failing => "failing",
        Silent => "silent",
    }
}

codes! {
    /// What a silence is called: [`Silence::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SilenceKind {
        Overdue => "overdue",
        DueLater => "due_later",
        Acknowledged => "acknowledged",
    }
}

// === impl Standing ===

impl Standing {
    /// How a binding stands, if its set's rotations are its own.
    #[must_use]
    pub fn of(memory: &Memory, keys: &RotationKeys, now: Timestamp) -> Option<Self> {
        let latest = memory.latest?;
        if let Some(incident) = &memory.incident {
            let is_stale = incident.diagnosis == DiagnosisKind::StaleBinding.code();
            return Some(if is_stale { Self::Stale } else { Self::Failing { has_right_key: false } });
        }
        // What only failed at upstream shows nothing of the key.
        let was_good =
            |key| memory.of_key(Some(key)).is_none_or(|used| memory.well.is_some_and(|well| well >= used.first));
        let confirming = latest.key.filter(|key| keys.confirms(*key));
        let is_proven = confirming.is_some_and(was_good);
        if confirming.is_some() && latest.finding.diagnosis() == DiagnosisKind::Quota.code() {
            return Some(Self::Failing { has_right_key: is_proven });
        }
        if is_proven {
            return Some(Self::Confirmed);
        }
        // Upstream took a key of no set, or did not come to judge it.
        let is_strange = latest.finding.verdict() == "unknown" && !latest.key.is_some_and(|key| keys.is_previous(key));
        if is_strange {
            return None;
        }
        let due = latest.at.after(rhythm::patience(memory.visits.rhythm()));
        Some(Self::Silent(match memory.acknowledgement() {
            Some(at) => Silence::Acknowledged { at },
            None if due < now => Silence::Overdue { since: due },
            None => Silence::DueLater { by: due },
        }))
    }

    /// What is to be done comes first.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Stale | Self::Mixed | Self::Failing { .. } => 0,
            Self::Silent(Silence::Overdue { .. }) => 1,
            Self::Silent(Silence::DueLater { .. }) => 2,
            Self::Silent(Silence::Acknowledged { .. }) => 3,
            Self::Confirmed => 4,
        }
    }

    /// The kind alone, without what its variant carries.
    #[must_use]
    pub fn kind(self) -> StandingKind {
        match self {
            Self::Mixed => StandingKind::Mixed,
            Self::Stale => StandingKind::Stale,
            Self::Failing { .. } => StandingKind::Failing,
            Self::Silent(_) => StandingKind::Silent,
            Self::Confirmed => StandingKind::Confirmed,
        }
    }

    /// Whether it sends what it should, so that only another sender behind it may send an old key.
    #[must_use]
    pub fn has_right_key(self) -> bool {
        matches!(self, Self::Confirmed | Self::Failing { has_right_key: true })
    }

    /// Whether it does not work, or will not once the old key is gone.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Stale | Self::Mixed | Self::Failing { .. })
    }

    /// The code of its kind, which programs may match.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.kind().code()
    }

    /// What the silence means; nothing for a binding that is not silent.
    #[must_use]
    pub fn silence_kind(self) -> Option<SilenceKind> {
        match self {
            Self::Silent(silence) => Some(silence.kind()),
            Self::Mixed | Self::Stale | Self::Failing { .. } | Self::Confirmed => None,
        }
    }

    /// The same by its stable code.
    #[must_use]
    pub fn silence(self) -> Option<&'static str> {
        self.silence_kind().map(SilenceKind::code)
    }
}

// === impl Silence ===

impl Silence {
    /// The kind alone, without what its variant carries.
    #[must_use]
    pub fn kind(self) -> SilenceKind {
        match self {
            Self::Overdue { .. } => SilenceKind::Overdue,
            Self::DueLater { .. } => SilenceKind::DueLater,
            Self::Acknowledged { .. } => SilenceKind::Acknowledged,
        }
    }
}
