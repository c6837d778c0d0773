//! Pure. The kinds of findings: the code of each, what you do about it, and whether it keeps an audit from vouching.

use crate::codes::codes;
use crate::ledger::doubt_kind::DoubtKind;

codes! {
    /// What a person does next about a finding.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Urgency {
        /// It is a fault: now.
        Now => "now",
        /// It is none, but wants looking at.
        Then => "then",
        Never => "never",
    }
}

codes! {
    /// What a finding is called: [`Finding::kind`](super::finding::Finding::kind).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FindingKind {
        /// A node sends past keyward.
        Bypass => "bypass",
        /// No node that uses a record was ever seen.
        NeverSeen => "never_seen",
        /// A key stands in a node itself.
        TypedKey => "typed_key",
        /// The nodes that use a record were seen with a wrong key last.
        StaleRecord => "stale_record",
        /// A node without a record was seen with a wrong key last.
        StaleNode => "stale_node",
        /// Another sender behind a node still sends an old key.
        Mixed => "mixed",
        /// A draft would send otherwise than what runs.
        DraftDiffers => "draft_differs",
        /// A workflow that ran by itself is off now.
        Deactivated => "deactivated",
        /// A workflow that was seen is off now, perhaps as ever.
        PerhapsDeactivated => "perhaps_deactivated",
        /// A record was changed since any of its nodes was seen.
        ChangedSince => "changed_since",
        /// Only a run can tell the address of a node.
        UnclearAddress => "unclear_address",
        /// Only a run can tell which workflow a node calls.
        UnclearCall => "unclear_call",
        /// Several records hold the keys of one set.
        SeveralRecords => "several_records",
        /// Nodes are of an older version than others of their type.
        OlderVersion => "older_version",
        /// Nodes sent last by an older client package.
        OlderClient => "older_client",
        /// A workflow waits for calls and is called by none.
        NobodyCalls => "nobody_calls",
        /// Nodes are switched off.
        Disabled => "disabled",
        /// A workflow is put away.
        Archived => "archived",
        /// A node of another kind names OpenAI's host.
        Mentions => "mentions",
        /// Only a person starts the workflows that use a record.
        Dormant => "dormant",
        /// A credential of a type that may hold anything lets a node in.
        GenericAuth => "generic_auth",
        /// An expression gives the key of a node.
        UnclearKey => "unclear_key",
        /// No node that may run uses a record.
        RecordWithoutNode => "record_without_node",
        /// n8n's API key lacks a scope.
        ScopeLacks => "scope_lacks",
        /// Requests come from workflows that n8n's API does not list.
        UnlistedWorkflows => "unlisted_workflow",
        /// Each such workflow came in one execution alone.
        UnlistedOnce => "unlisted_once",
        /// Workflows of two n8n have the same ids.
        SameIds => "same_ids",
        /// n8n itself pays for nodes.
        Gateway => "gateway",
        /// A node asks an agent that stands elsewhere.
        AsksAgent => "asks_agent",
    }
}

impl FindingKind {
    /// What you do about one, if nothing more is known of it.
    #[must_use]
    pub fn urgency(self) -> Urgency {
        self.meaning().0
    }

    /// Whether it keeps an audit from vouching that every node sends the right key. A key that is typed into a node is told
    /// by itself, and of a workflow that was switched off only what its credentials hold matters.
    #[must_use]
    pub fn is_doubt(self) -> bool {
        self.doubt().is_some()
    }

    /// The doubt that it is, where it is one.
    #[must_use]
    pub fn doubt(self) -> Option<DoubtKind> {
        self.meaning().1
    }

    fn meaning(self) -> (Urgency, Option<DoubtKind>) {
        let now = |doubt| (Urgency::Now, Some(doubt));
        let then = |doubt| (Urgency::Then, Some(doubt));
        match self {
            Self::Bypass => now(DoubtKind::Bypass),
            Self::NeverSeen => now(DoubtKind::NeverSeen),
            Self::StaleRecord => now(DoubtKind::StaleRecord),
            Self::StaleNode => now(DoubtKind::StaleNode),
            Self::DraftDiffers => now(DoubtKind::DraftDiffers),
            Self::TypedKey | Self::Mixed | Self::Deactivated => (Urgency::Now, None),
            Self::ChangedSince => then(DoubtKind::ChangedSince),
            Self::UnclearAddress => then(DoubtKind::UnclearAddress),
            Self::UnclearCall => then(DoubtKind::UnclearCall),
            Self::Mentions => then(DoubtKind::Mentions),
            Self::Dormant => then(DoubtKind::Dormant),
            Self::GenericAuth => then(DoubtKind::GenericAuth),
            Self::UnclearKey => then(DoubtKind::UnclearKey),
            Self::RecordWithoutNode => then(DoubtKind::RecordWithoutNode),
            Self::ScopeLacks => then(DoubtKind::ScopeLacks),
            Self::UnlistedWorkflows => then(DoubtKind::UnlistedWorkflows),
            Self::UnlistedOnce => then(DoubtKind::UnlistedOnce),
            Self::SameIds => then(DoubtKind::SameIds),
            Self::PerhapsDeactivated => (Urgency::Then, None),
            Self::SeveralRecords
            | Self::OlderVersion
            | Self::OlderClient
            | Self::NobodyCalls
            | Self::Disabled
            | Self::Archived
            | Self::Gateway
            | Self::AsksAgent => (Urgency::Never, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_has_the_code_of_its_finding() {
        for kind in FindingKind::ALL {
            assert!(kind.doubt().is_none_or(|doubt| doubt.code() == kind.code()), "{kind:?}");
        }
    }
}
