//! Pure. Bindings: who sends what, and how each stands in its set's rotation.

use serde::{Deserialize, Serialize};

use super::incident::Incident;
use super::key::PerhapsKey;
use super::sender::Sender;
use super::who::Who;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::keys::set::Word;
use crate::ledger::binding;
use crate::ledger::rhythm;
use crate::ledger::standing::{self, Silence, SilenceKind, StandingKind};

/// A page of the bindings, those that were seen last first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bindings {
    pub bindings: Vec<Binding>,
    /// How many there are on all pages.
    pub total: usize,
    /// The cursor of the next page; nothing on the last one.
    #[serde(deserialize_with = "nullable")]
    pub next: Option<String>,
}

/// What every list of bindings says of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    #[serde(flatten)]
    pub who: Who,
    #[serde(flatten)]
    pub standing: Standing,
    /// The key that it sent last.
    #[serde(flatten)]
    pub key: PerhapsKey,
    /// How often it comes; nothing before its second visit.
    #[serde(deserialize_with = "nullable")]
    pub rhythm: Option<Rhythm>,
    #[serde(deserialize_with = "nullable")]
    pub incident: Option<Incident>,
    /// Which keys came from where, the one that came last first. In a list, of stale and mixed ones alone.
    pub senders: Vec<Sender>,
}

/// A binding in the list of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Whose it is and how it stands.
    #[serde(flatten)]
    pub row: Row,
    /// The verdict of the sighting that started last, by its code.
    #[serde(deserialize_with = "nullable")]
    pub verdict: Option<String>,
    /// The diagnosis of that sighting, by its code.
    #[serde(deserialize_with = "nullable")]
    pub diagnosis: Option<String>,
    /// The outcome of that sighting, by its code.
    #[serde(deserialize_with = "nullable")]
    pub outcome: Option<String>,
    /// When the first sighting started.
    #[serde(with = "moment::nullable")]
    pub first: Option<Timestamp>,
    /// When the last sighting started.
    #[serde(with = "moment::nullable")]
    pub last: Option<Timestamp>,
    /// How many sightings there were.
    pub sightings: u64,
    /// The last execution that was named.
    #[serde(deserialize_with = "nullable")]
    pub execution_id: Option<String>,
    /// The version of the client, as it said last.
    #[serde(deserialize_with = "nullable")]
    pub client_version: Option<String>,
}

/// A binding with each key that it sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeBinding {
    #[serde(flatten)]
    pub binding: Binding,
    /// Each key that it sent.
    pub uses: Vec<KeyUse>,
    /// Sightings with keys that found no room in `uses`.
    pub other_keys: u64,
}

/// How a binding used one key, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    #[serde(flatten)]
    pub key: PerhapsKey,
    /// When the first sighting started.
    #[serde(with = "moment")]
    pub first: Timestamp,
    /// When the last sighting started.
    #[serde(with = "moment")]
    pub last: Timestamp,
    /// How many sightings there were.
    pub sightings: u64,
    /// The verdict of the last one, by its code.
    pub verdict: String,
    /// The diagnosis of the last one, by its code.
    pub diagnosis: String,
    /// The outcome of the last one, by its code.
    pub outcome: String,
    /// The last execution that was named with it.
    #[serde(deserialize_with = "nullable")]
    pub execution_id: Option<String>,
    /// What upstream said last of the key.
    #[serde(deserialize_with = "nullable")]
    pub upstream: Option<Word>,
}

/// How a binding stands in its set's rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How it stands; nothing where it takes no part.
    #[serde(deserialize_with = "nullable")]
    pub state: Option<StandingKind>,
    /// What its silence means; nothing where it is not silent.
    #[serde(deserialize_with = "nullable")]
    pub silence: Option<SilenceKind>,
    /// By when it is due, or since when it is overdue.
    #[serde(with = "moment::nullable")]
    pub due: Option<Timestamp>,
    /// When you said that it is dead.
    #[serde(with = "moment::nullable")]
    pub acknowledged: Option<Timestamp>,
}

/// How often a binding comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// Between half of its visits there was less, in seconds.
    pub median_seconds: u64,
    /// The longest time between two visits, in seconds.
    pub longest_seconds: u64,
    /// How many visits that rests on.
    pub visits: usize,
}

// === impl Standing ===

impl Standing {
    /// Whether it does not work, or will not once the old key is gone.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        matches!(self.state, Some(StandingKind::Stale | StandingKind::Mixed | StandingKind::Failing))
    }
}

impl From<Option<standing::Standing>> for Standing {
    fn from(standing: Option<standing::Standing>) -> Self {
        let (mut due, mut acknowledged) = (None, None);
        match standing {
            Some(standing::Standing::Silent(Silence::Overdue { since })) => due = Some(since),
            Some(standing::Standing::Silent(Silence::DueLater { by })) => due = Some(by),
            Some(standing::Standing::Silent(Silence::Acknowledged { at })) => acknowledged = Some(at),
            Some(_) | None => {}
        }
        Self {
            state: standing.map(standing::Standing::kind),
            silence: standing.and_then(standing::Standing::silence_kind),
            due,
            acknowledged,
        }
    }
}

// === impl Rhythm, KeyUse ===

impl From<rhythm::Rhythm> for Rhythm {
    fn from(rhythm: rhythm::Rhythm) -> Self {
        Self {
            median_seconds: rhythm.median.as_secs(),
            longest_seconds: rhythm.longest.as_secs(),
            visits: rhythm.visits,
        }
    }
}

impl From<&binding::KeyUse> for KeyUse {
    fn from(used: &binding::KeyUse) -> Self {
        Self {
            key: used.key.into(),
            first: used.first,
            last: used.last,
            sightings: used.sightings,
            verdict: used.finding.verdict().to_owned(),
            diagnosis: used.finding.diagnosis().to_owned(),
            outcome: used.finding.outcome().to_owned(),
            execution_id: used.execution.as_deref().map(str::to_owned),
            upstream: used.word,
        }
    }
}
