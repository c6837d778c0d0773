//! Pure. Incidents: each from a binding's first bad request until what closed it.

use serde::{Deserialize, Serialize};

use super::key::PerhapsKey;
use super::sender::Sender;
use super::who::Who;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::ledger::incident::{self, Closing};
use crate::verdict::explain::Severity;

/// A page of the incidents, the one that opened last first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    pub incidents: Vec<ListedIncident>,
    /// How many there are on all pages.
    pub total: usize,
    /// The cursor of the next page; nothing on the last one.
    #[serde(deserialize_with = "nullable")]
    pub next: Option<String>,
}

/// An incident in that list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedIncident {
    #[serde(flatten)]
    pub who: Who,
    #[serde(flatten)]
    pub incident: Incident,
    /// While it is open: which keys its binding sent, from where; the last ones.
    pub senders: Vec<Sender>,
}

/// A time in which a binding is or was not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number: 16 hex digits.
    pub incident: String,
    /// The key of the last bad sighting.
    #[serde(flatten)]
    pub key: PerhapsKey,
    /// What is wrong, by the last bad sighting: its code.
    pub diagnosis: String,
    pub severity: Severity,
    /// When the first bad sighting started.
    #[serde(with = "moment")]
    pub opened: Timestamp,
    /// When the last bad sighting started.
    #[serde(with = "moment")]
    pub last: Timestamp,
    /// How many bad sightings there were.
    pub sightings: u64,
    /// The execution of the last bad sighting.
    #[serde(deserialize_with = "nullable")]
    pub execution_id: Option<String>,
    /// The path of the last bad sighting, where it is the path that is wrong: without the query, at most 120 bytes.
    #[serde(deserialize_with = "nullable")]
    pub path: Option<String>,
    /// What closed it; nothing while it is open.
    #[serde(deserialize_with = "nullable")]
    pub closed: Option<Closed>,
}

/// The end of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When: the start of the good sighting, or the moment at which the rest was found.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What closed it. The store may have the word of a later keyward.
    pub by: Coded<Closing>,
    /// The execution of the good sighting.
    #[serde(deserialize_with = "nullable")]
    pub execution_id: Option<String>,
}

impl From<&incident::Incident> for Incident {
    fn from(incident: &incident::Incident) -> Self {
        Self {
            incident: incident.id.to_string(),
            key: incident.key.into(),
            diagnosis: incident.diagnosis.to_owned(),
            severity: incident.severity,
            opened: incident.opened,
            last: incident.last,
            sightings: incident.sightings,
            execution_id: incident.execution.as_deref().map(str::to_owned),
            path: incident.path.as_deref().map(str::to_owned),
            closed: incident.closed.as_ref().map(Closed::from),
        }
    }
}

impl From<&incident::Closed> for Closed {
    fn from(closed: &incident::Closed) -> Self {
        Self { at: closed.at, by: closed.by, execution_id: closed.execution.as_deref().map(str::to_owned) }
    }
}
