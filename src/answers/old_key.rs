//! Pure. Old keys, and the answer to *can the old key go?*

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::key::KeyNames;
use super::{moment, nullable};
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::fingerprint::Fingerprint;
use crate::ledger::answer::{AnswerKind, End};

/// An old key, and whether it can go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKeySummary {
    /// What it is recognised by.
    #[serde(flatten)]
    pub key: KeyNames,
    /// When it was current no longer.
    #[serde(with = "moment")]
    pub retired_by: Timestamp,
    /// When the last request with it started; nothing where none is remembered.
    #[serde(with = "moment::nullable")]
    pub last_use: Option<Timestamp>,
    pub can_go: CanGo,
}

/// An old key with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKey {
    #[serde(flatten)]
    pub summary: OldKeySummary,
    /// It was still current then.
    #[serde(with = "moment::nullable")]
    pub retired_after: Option<Timestamp>,
    /// Until when it is still good.
    #[serde(with = "moment")]
    pub grace_until: Timestamp,
    /// Exchanges with it by the hour; hours without any are left out.
    pub traffic: Vec<Traffic>,
}

/// An old key with the name of its set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKeyOfSet {
    pub set: String,
    #[serde(flatten)]
    pub summary: OldKeySummary,
}

/// The exchanges of an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    #[serde(with = "moment")]
    pub hour: Timestamp,
    pub exchanges: u64,
}

/// Whether an old key can go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanGo {
    pub answer: AnswerKind,
    /// The answer in one sentence.
    pub text: String,
    /// What makes it a *no*, or what is not proven: of each kind the first hundred.
    pub reasons: Vec<Reason>,
    /// Of a *no*: what is not proven beside its reasons, in the same way.
    pub doubts: Vec<Reason>,
    /// Of each kind how many there are, listed or not.
    pub kinds: Vec<ReasonKind>,
    /// Of a *no*: the credential records that are shown to hold the key.
    pub by_credential: Vec<OfCredential>,
    /// What a *yes* rests on; nothing for another answer.
    #[serde(deserialize_with = "nullable")]
    pub basis: Option<Basis>,
}

/// Something that bars an old key from going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The code of its kind. A later keyward may have others.
    pub code: Cow<'static, str>,
    /// What it is, in one sentence.
    pub text: String,
    /// The binding that it is about: 16 hex digits.
    #[serde(deserialize_with = "nullable")]
    pub binding: Option<String>,
    /// Where it was sent from.
    #[serde(deserialize_with = "nullable")]
    pub address: Option<String>,
    /// The name of the credential record that it is about, or that its node names.
    #[serde(deserialize_with = "nullable")]
    pub credential: Option<String>,
    /// The id of the credential record that it is about.
    #[serde(deserialize_with = "nullable")]
    pub credential_id: Option<String>,
    /// The name of the workflow that it is about.
    #[serde(deserialize_with = "nullable")]
    pub workflow_name: Option<String>,
    /// What ends it; empty where nothing does.
    pub end: End,
    /// The number by which you can accept it: 8 hex digits; nothing where it cannot be accepted.
    #[serde(deserialize_with = "nullable")]
    pub doubt: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub accepted: Option<Accepted>,
}

/// How many things of one kind bar an old key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonKind {
    /// The code of the kind. A later keyward may have others.
    pub code: Cow<'static, str>,
    /// The list that the answer has them in.
    pub list: ReasonList,
    /// How many there are.
    pub total: usize,
    /// How many bindings they are about; 1 where they are about none.
    pub senders: usize,
    /// How many are about a node of a workflow.
    pub nodes: usize,
    /// How many are about a node whose key OpenAI refuses.
    pub refused: usize,
}

codes! {
    /// A list of what bars an old key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ReasonList {
        Reasons => "reasons",
        Doubts => "doubts",
        Accepted => "accepted",
    }
}

/// A page of all that bars the old keys of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedReasons {
    /// In the order of their kinds and numbers.
    pub reasons: Vec<ListedReason>,
    /// How many there are on all pages.
    pub total: usize,
    /// The cursor of the next page; nothing on the last one.
    #[serde(deserialize_with = "nullable")]
    pub next: Option<String>,
}

/// Something that bars an old key, with that key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedReason {
    /// The old key.
    pub key: Fingerprint,
    /// The list of the answer that it belongs to.
    pub list: ReasonList,
    pub reason: Reason,
}

/// That you accepted something that bars an old key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// Why, in your words.
    pub reason: String,
}

/// A credential record that is shown to hold an old key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfCredential {
    /// The record's name in n8n.
    pub credential: String,
    pub credential_id: String,
    /// The record with its nodes, in one sentence.
    pub text: String,
}

/// What a *yes* rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// How many nodes of n8n were looked at.
    pub nodes: usize,
    /// How many senders carried the key: bindings, each at an address.
    pub senders: usize,
    /// When n8n was looked through.
    #[serde(with = "moment::nullable")]
    pub audited: Option<Timestamp>,
    /// When the key was used last; nothing where no use of it is remembered.
    #[serde(with = "moment::nullable")]
    pub quiet_since: Option<Timestamp>,
    /// What you accepted: of each kind the first hundred.
    pub accepted: Vec<Reason>,
    /// How many bindings are taken to be done because you acknowledged them.
    pub acknowledged: usize,
    /// What no observation can decide.
    pub assumes: Vec<String>,
}

impl OldKeySummary {
    /// Whether the key is still sent or held.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.can_go.answer == AnswerKind::No
    }
}

impl CanGo {
    /// All that is listed, also what you accepted.
    pub fn all_reasons(&self) -> impl Iterator<Item = &Reason> {
        let accepted = self.basis.iter().flat_map(|basis| &basis.accepted);
        self.reasons.iter().chain(&self.doubts).chain(accepted)
    }

    /// Of each kind that is not listed in full, how many are left out.
    pub fn left_out(&self) -> impl Iterator<Item = (&ReasonKind, usize)> {
        let listed = |kind: &ReasonKind| {
            let list = match kind.list {
                ReasonList::Reasons => &self.reasons[..],
                ReasonList::Doubts => &self.doubts,
                ReasonList::Accepted => self.basis.as_ref().map_or(&[][..], |basis| &basis.accepted),
            };
            list.iter().filter(|reason| reason.code == kind.code).count()
        };
        self.kinds
            .iter()
            .map(move |kind| (kind, kind.total.saturating_sub(listed(kind))))
            .filter(|(_, count)| *count > 0)
    }

    /// Whether all that bars the key is listed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.left_out().next().is_none()
    }

    /// What no observation can decide, of a *yes*.
    #[must_use]
    pub fn assumes(&self) -> &[String] {
        self.basis.as_ref().map_or(&[], |basis| &basis.assumes)
    }

    /// Each credential record with all that is listed because of it, and then what is about none of them.
    #[must_use]
    pub fn by_record(&self) -> (Vec<(&OfCredential, Vec<&Reason>)>, Vec<&Reason>) {
        let mut rest: Vec<_> = self.all_reasons().collect();
        let own = |record| (record, rest.extract_if(.., |reason| reason.is_about(record)).collect());
        (self.by_credential.iter().map(own).collect(), rest)
    }
}

impl Reason {
    fn is_about(&self, record: &OfCredential) -> bool {
        let is_id = self.credential_id.as_ref() == Some(&record.credential_id);
        is_id && self.credential.as_ref() == Some(&record.credential)
    }
}
