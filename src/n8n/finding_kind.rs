//! Pure. The kinds of findings: the code of each, what you do about it, and whether it keeps an audit from vouching.

use crate::codes::codes;

codes! {
    /// What a person does next about a finding.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Urgency {
        /// It is a fault: now.
        Now => "now",
        /// It is none, but wants looking at.
        Then => "then",
        /// Nothing.
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
        self.meaning().1
    }

    fn meaning(self) -> (Urgency, bool) {
        match self {
            Self::Bypass | Self::NeverSeen | Self::StaleRecord | Self::StaleNode | Self::DraftDiffers => {
                (Urgency::Now, true)
            }
            Self::TypedKey | Self::Mixed | Self::Deactivated => (Urgency::Now, false),
            Self::ChangedSince
            | Self::UnclearAddress
            | Self::UnclearCall
            | Self::Mentions
            | Self::Dormant
            | Self::GenericAuth
            | Self::UnclearKey
            | Self::RecordWithoutNode
            | Self::ScopeLacks
            | Self::UnlistedWorkflows
            | Self::UnlistedOnce
            | Self::SameIds => (Urgency::Then, true),
            Self::PerhapsDeactivated => (Urgency::Then, false),
            Self::SeveralRecords
            | Self::OlderVersion
            | Self::OlderClient
            | Self::NobodyCalls
            | Self::Disabled
            | Self::Archived
            | Self::Gateway
            | Self::AsksAgent => (Urgency::Never, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::bar_kind::BarKind;
    use crate::ledger::look::RECORD_WITHOUT_NODE;

    /// The ledger, which knows no findings, looks for the doubt by this code.
    #[test]
    fn a_record_without_node_has_one_code() {
        assert_eq!(FindingKind::RecordWithoutNode.code(), RECORD_WITHOUT_NODE);
        assert_eq!(BarKind::RecordWithoutNode.code(), RECORD_WITHOUT_NODE);
    }
}
