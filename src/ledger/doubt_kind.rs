//! Pure. The kinds of doubts: what keeps an audit of n8n from vouching that every node passes here with the right key.

use crate::codes::codes;

codes! {
    /// What a doubt is about ([`AuditDoubt`](super::look::AuditDoubt)). Those of an audit are findings, but for one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DoubtKind {
        /// A node sends past keyward.
        Bypass => "bypass",
        /// No node that uses a record was ever seen.
        NeverSeen => "never_seen",
        /// The nodes that use a record were seen with a wrong key last.
        StaleRecord => "stale_record",
        /// A node without a record was seen with a wrong key last.
        StaleNode => "stale_node",
        /// A draft would send otherwise than what runs.
        DraftDiffers => "draft_differs",
        /// A record was changed since any of its nodes was seen.
        ChangedSince => "changed_since",
        /// Nodes were not seen since a change, and no finding tells that.
        Unproven => "unproven",
        /// Only a run can tell the address of a node.
        UnclearAddress => "unclear_address",
        /// Only a run can tell which workflow a node calls.
        UnclearCall => "unclear_call",
        /// An expression gives the key of a node.
        UnclearKey => "unclear_key",
        /// A credential of a type that may hold anything lets a node in.
        GenericAuth => "generic_auth",
        /// A node of another kind names OpenAI's host.
        Mentions => "mentions",
        /// Only a person starts the workflows that use a record.
        Dormant => "dormant",
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
        /// Requests come from an n8n that is not configured.
        UnknownN8n => "unknown_n8n",
        /// An n8n does not tell all that runs.
        UntoldExecutions => "untold_executions",
        /// An n8n was not looked through, or not of late.
        NotLookedThrough => "not_looked_through",
    }
}

impl DoubtKind {
    /// Whether an audit has it. The others are about n8n that could not be audited.
    #[must_use]
    pub fn is_of_audit(self) -> bool {
        !matches!(self, Self::UnknownN8n | Self::UntoldExecutions | Self::NotLookedThrough)
    }

    /// Whether [`super::proof`] decides it: of records, the evidence knows more than an audit.
    #[must_use]
    pub fn is_decided_by_proof(self) -> bool {
        matches!(self, Self::RecordWithoutNode | Self::ChangedSince)
    }
}
