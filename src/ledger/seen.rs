//! An exchange that ended, as its binding remembers it.

use std::net::IpAddr;

use super::bearing::Bearing;
use super::destination::Destination;
use crate::clock::Timestamp;
use crate::codes::Coded;
use crate::keys::set::{Names, Word};
use crate::outcome::{Outcome, OutcomeKind};
use crate::verdict::explain::{Diagnosis, DiagnosisKind, Severity};
use crate::verdict::{Verdict, VerdictKind};

/// Verdict, diagnosis and outcome of a sighting, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    verdict: Coded<VerdictKind>,
    diagnosis: Coded<DiagnosisKind>,
    outcome: Coded<OutcomeKind>,
    /// How much the diagnosis matters.
    pub severity: Severity,
}

/// An exchange that ended, as far as its binding remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When it started.
    pub at: Timestamp,
    /// The key that came.
    pub key: Option<Names>,
    pub verdict: Verdict,
    pub diagnosis: Diagnosis,
    pub outcome: Outcome,
    /// The execution that it belongs to.
    pub execution: Option<&'a str>,
    /// The workflow's name, as the caller gives it.
    pub name: Option<&'a str>,
    /// The client's version, as it says.
    pub client_version: Option<&'a str>,
    /// Which uses of a key count that are seen in it: what strangers and browsers send beside the API opens no incident,
    /// and closes none.
    pub destination: Destination,
    /// What its binding was told of it when it began, where it went on since: the same exchange, with more known of it.
    pub told: Option<Bearing>,
    /// Whether upstream saw that very key: a refused request never got there, and an injected one carried another key.
    pub was_sent: bool,
    pub was_refused: bool,
    /// Where it came from.
    pub peer: IpAddr,
    /// The path that it asked for.
    pub path: &'a str,
}

impl Finding {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        Self {
            verdict: seen.verdict.kind().into(),
            diagnosis: seen.diagnosis.kind().into(),
            outcome: seen.outcome.kind().into(),
            severity: seen.diagnosis.severity(),
        }
    }

    /// As the store has it: codes that this version does not know stay as they are.
    #[must_use]
    pub fn read(
        verdict: Coded<VerdictKind>,
        diagnosis: Coded<DiagnosisKind>,
        outcome: Coded<OutcomeKind>,
        severity: Severity,
    ) -> Self {
        Self { verdict, diagnosis, outcome, severity }
    }

    /// How the credential was judged, by its stable code.
    #[must_use]
    pub fn verdict(self) -> &'static str {
        self.verdict.code()
    }

    /// What was wrong, by its stable code; `ok` where nothing was.
    #[must_use]
    pub fn diagnosis(self) -> &'static str {
        self.diagnosis.code()
    }

    /// How the exchange ended, by its stable code.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        self.outcome.code()
    }
}

impl Seen<'_> {
    /// What upstream says of the key that came.
    pub(super) fn word(&self) -> Option<Word> {
        if !self.was_sent {
            None
        } else if self.outcome.is_accepted() {
            Some(Word::Accepted)
        } else {
            self.outcome.is_invalid_key().then_some(Word::Refused)
        }
    }
}
