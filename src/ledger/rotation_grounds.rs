//! Pure. What the rotation view of a set is drawn from.

use std::sync::Arc;

use super::binding::Binding;
use super::hours::Hours;
use super::identity::BindingId;
use super::in_flight::InFlight;
use super::look::{AuditDoubt, Look};
use super::proof;
use super::senders::Senders;
use super::set_keys::GoodKeys;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::listing::Entry;
use crate::keys::set::{KeySet, Role, SetIndex};

/// What a view is drawn from.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    pub set: SetIndex,
    pub facts: &'a KeySet,
    /// The keys of all sets ([`crate::keys::reloader::Reloader::entries`]).
    pub keys: &'a [Entry],
    /// The tokens of the set that are valid.
    pub tokens: &'a [Fingerprint],
    pub bindings: &'a [Arc<Binding>],
    /// The same by their ids.
    pub binding_of: &'a dyn Fn(BindingId) -> Option<Arc<Binding>>,
    pub hours: &'a Hours,
    /// What is known of nodes that do not pass here.
    pub audit: &'a Audit,
    /// What each set knows of who sends which key, in the order of the sets.
    pub evidence: &'a [SetEvidence<'a>],
    /// What you said about rotations.
    pub settings: &'a proof::Settings,
    /// Whether upstream said last of a key that it takes it.
    pub is_taken: &'a dyn Fn(Fingerprint) -> bool,
    /// The keys that open exchanges carry upstream.
    pub in_flight: &'a InFlight,
    pub now: Timestamp,
}

/// What one set knows of who sends which key.
pub struct SetEvidence<'a> {
    pub senders: &'a Senders,
    /// The valid tokens of the set.
    pub tokens: Vec<Fingerprint>,
    /// The n8n of the set, as they were looked through last.
    pub looks: Vec<&'a Look>,
}

/// What is known of the nodes of n8n that do not pass here. By default nothing: n8n was not looked through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// When n8n was looked through; of several, the one that was so longest ago. Nothing where one of them was not, or not
    /// of late.
    pub at: Option<Timestamp>,
    /// The keys that stand in nodes themselves, each with where it does, in words.
    pub typed: Vec<(Fingerprint, String)>,
    /// What keeps it from saying that every node passes here with the right key.
    pub doubts: Vec<AuditDoubt>,
}

impl<'a> Grounds<'a> {
    /// The set's keys with their role, in the order of the list.
    pub(super) fn own(&self) -> impl Iterator<Item = &'a Entry> {
        let set = self.set;
        self.keys.iter().filter(move |entry| entry.set == set)
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = GoodKeys> {
        let set = |(position, own): (usize, &SetEvidence<'_>)| {
            SetIndex::nth(position).map(|set| GoodKeys::new(set, self.keys, &own.tokens))
        };
        self.evidence.iter().enumerate().filter_map(set)
    }

    pub(super) fn old_keys(&self) -> impl Iterator<Item = &'a Entry> {
        self.own().filter(|entry| matches!(entry.role, Role::Previous { .. }))
    }
}
