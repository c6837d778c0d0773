//! What makes two sightings belong to one binding, and the name that follows from it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::caller::declared::Origin;
use crate::caller::{Caller, Family};
use crate::codes::codes;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::SetIndex;
use crate::telemetry::masked::mask_id;
use crate::verdict::Judgement;

/// What makes two sightings belong to one binding: instance, workflow and node where they are declared, client family,
/// peer and fingerprint where nothing is.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub set: SetIndex,
    /// Whether it stands for one caller.
    pub holder: Holder,
    pub instance: Option<&'a str>,
    /// The workflow's id.
    pub workflow: Option<&'a str>,
    /// The node's id.
    pub node: Option<&'a str>,
    pub family: Family,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// The key, for a caller that nothing else tells from others.
    pub key: Option<Fingerprint>,
}

codes! {
    /// Whether an identity stands for one caller, of whom things can be concluded, or for many.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Holder {
        /// One workflow, node or untagged client.
        Caller => "caller",
        /// n8n's editor, which tries out one credential after the other.
        Editor => "editor",
        /// What n8n runs beside its workflows: its Agents, its Instance AI or its chats. Nothing tells one agent from another.
        Agent => "agent",
        /// Everybody for whom there was no room.
        Other => "other",
    }
}

impl<'a> Identity<'a> {
    /// The identity of a request's sender.
    #[must_use]
    pub fn of(caller: &Caller<'a>, judgement: &Judgement, peer: IpAddr) -> Self {
        let key = judgement.key.map(|names| names.fingerprint);
        let untagged = Self::untagged(judgement.set, caller.client.family, peer, key);
        match caller.origin {
            Origin::Workflow => {
                let [instance, workflow, node] =
                    [caller.instance, caller.workflow, caller.node].map(|id| id.map(mask_id));
                Self { instance, workflow, node, ..untagged }
            }
            // The editor's test button belongs to no workflow, but must not be taken for an untagged program either.
            Origin::Editor => Self { holder: Holder::Editor, instance: caller.instance.map(mask_id), ..untagged },
            // Another client that sends such a tag is no agent: it is told apart as any client without a tag.
            Origin::Agent if caller.client.family == Family::Agent => {
                Self { holder: Holder::Agent, instance: caller.instance.map(mask_id), ..untagged }
            }
            // Its credential is in no list, so that what an agent sends must not speak for it.
            Origin::InstanceAi if caller.client.family == Family::Agent => {
                let instance = caller.instance.map(mask_id);
                Self { holder: Holder::Agent, instance, workflow: Some(INSTANCE_AI), ..untagged }
            }
            Origin::Chat => {
                let instance = caller.instance.map(mask_id);
                Self { holder: Holder::Agent, instance, workflow: Some(CHATS), ..untagged }
            }
            Origin::Agent | Origin::InstanceAi | Origin::Undeclared => untagged,
        }
    }

    /// The identity of a sender of whom nothing is declared.
    #[must_use]
    pub fn untagged(set: SetIndex, family: Family, peer: IpAddr, key: Option<Fingerprint>) -> Self {
        Self { set, holder: Holder::Caller, instance: None, workflow: None, node: None, family, peer, key }
    }

    /// The identity under which a set counts callers for whom there was no room.
    #[must_use]
    pub fn other(set: SetIndex) -> Self {
        let no_address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { holder: Holder::Other, ..Self::untagged(set, Family::Other, no_address, None) }
    }

    /// A declared workflow is the same one whichever client, key or address its requests come with.
    pub(super) fn ties(&self) -> Ties<'a> {
        let is_untagged = self.holder == Holder::Caller && self.workflow.is_none();
        let untagged = is_untagged.then_some((self.family, self.peer, self.key));
        (self.set, self.holder, [self.instance, self.workflow, self.node], untagged)
    }
}

type Ties<'a> = (SetIndex, Holder, [Option<&'a str>; 3], Option<Untagged>);

type Untagged = (Family, IpAddr, Option<Fingerprint>);

impl Hash for Identity<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ties().hash(state);
    }
}

impl PartialEq for Identity<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.ties() == other.ties()
    }
}

impl Eq for Identity<'_> {}

/// The stable name of a binding, the same after a restart and in every proxy that shares a store: 64 bits of a hash of its
/// identity. Displays as its first ten hex digits, by which people name it; [`BindingId::to_hex`] is the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BindingId(pub u64);

impl BindingId {
    /// Of an identity in the set of that name.
    #[must_use]
    pub fn of(identity: &Identity<'_>, set: &str) -> Self {
        let (_, holder, declared, untagged) = identity.ties();
        let mut hash = Context::new(&SHA256);
        let mut part = |text: Option<&str>| {
            // Each with its length before it, so that no two identities are one text.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            hash.update(&length.to_be_bytes());
            hash.update(text.unwrap_or_default().as_bytes());
        };
        part(Some(set));
        part(Some(holder.code()));
        declared.into_iter().for_each(&mut part);
        if let Some((family, peer, key)) = untagged {
            part(Some(family.code()));
            part(Some(&peer.to_string()));
            part(key.map(Fingerprint::to_hex).as_deref());
        }
        let digest = hash.finish();
        Self(digest.as_ref().first_chunk().map_or(0, |eight| u64::from_be_bytes(*eight)))
    }

    /// All sixteen hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        // A view has many, and the formatter takes a lot longer.
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
        self.0.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect()
    }
}

impl fmt::Display for BindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}", self.0 >> 24)
    }
}

/// The workflow's id of n8n's chats: n8n makes a new workflow for each turn, so that their own ids say nothing.
const CHATS: &str = "chats";

/// The same for n8n's Instance AI, and for what resolves no expression like it.
pub(super) const INSTANCE_AI: &str = "instance-ai";
