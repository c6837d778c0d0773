//! One caller towards one key set: the thing that can be stale.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use crate::caller::{Caller, Family, Origin};
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::SetIndex;
use crate::telemetry::masked::mask_id;
use crate::verdict::Judgement;

/// What makes two sightings belong to one binding: instance, workflow and node where they are declared, client family,
/// peer and fingerprint where nothing is.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The key set.
    pub set: SetIndex,
    /// Whether it stands for one caller.
    pub holder: Holder,
    /// Which n8n.
    pub instance: Option<&'a str>,
    /// The workflow's id.
    pub workflow: Option<&'a str>,
    /// The node's id.
    pub node: Option<&'a str>,
    /// The client family.
    pub family: Family,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// The key, for a caller that nothing else tells from others.
    pub key: Option<Fingerprint>,
}

/// Whether an identity stands for one caller, of whom things can be concluded, or for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// One workflow, node or untagged client.
    Caller,
    /// n8n's editor, which tries out one credential after the other.
    Editor,
    /// Everybody for whom there was no room.
    Other,
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
            // The editor's test button is nobody's binding, but must not be taken for an untagged program either.
            Origin::Editor => Self { holder: Holder::Editor, instance: caller.instance.map(mask_id), ..untagged },
            Origin::Undeclared => untagged,
        }
    }

    /// The identity of a sender of whom nothing is declared.
    #[must_use]
    pub fn untagged(set: SetIndex, family: Family, peer: IpAddr, key: Option<Fingerprint>) -> Self {
        Self { set, holder: Holder::Caller, instance: None, workflow: None, node: None, family, peer, key }
    }

    /// The identity under which a set counts whoever found no room.
    #[must_use]
    pub fn other(set: SetIndex) -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { holder: Holder::Other, ..Self::untagged(set, Family::Other, nobody, None) }
    }

    /// A declared workflow is the same one whichever client, key or address its requests come with.
    fn ties(&self) -> Ties<'a> {
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

/// A binding as it lives in memory.
#[derive(Debug)]
pub struct Binding {
    set: SetIndex,
    holder: Holder,
    instance: Option<Box<str>>,
    workflow: Option<Box<str>>,
    node: Option<Box<str>>,
    family: Family,
    peer: IpAddr,
    key: Option<Fingerprint>,
    memory: Mutex<Memory>,
}

/// What is remembered of a binding.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// One entry for each key that it sent, and one for none; bounded by [`KEYS_PER_BINDING`].
    pub keys: Vec<KeyUse>,
    /// Sightings with a key that found no room in `keys`.
    pub other_keys: u64,
    /// The key that upstream accepted last.
    pub accepted: Option<Accepted>,
}

/// A request whose key upstream accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The key.
    pub key: Fingerprint,
    /// When the request came.
    pub at: Timestamp,
    /// From where.
    pub peer: IpAddr,
}

/// How one binding used one key, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key; nothing for requests without a usable one.
    pub key: Option<Fingerprint>,
    /// The first sighting.
    pub first: Timestamp,
    /// The last sighting.
    pub last: Timestamp,
    /// How many sightings.
    pub sightings: u64,
}

impl Binding {
    /// New, without sightings.
    #[must_use]
    pub fn new(identity: &Identity<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(Box::from);
        Self {
            set: identity.set,
            holder: identity.holder,
            instance: owned(identity.instance),
            workflow: owned(identity.workflow),
            node: owned(identity.node),
            family: identity.family,
            peer: identity.peer,
            key: identity.key,
            memory: Mutex::default(),
        }
    }

    /// Whose binding it is.
    #[must_use]
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            set: self.set,
            holder: self.holder,
            instance: self.instance.as_deref(),
            workflow: self.workflow.as_deref(),
            node: self.node.as_deref(),
            family: self.family,
            peer: self.peer,
            key: self.key,
        }
    }

    /// Whether it is the binding of `identity`.
    #[must_use]
    pub fn is(&self, identity: &Identity<'_>) -> bool {
        self.identity() == *identity
    }

    /// Whether this caller ever sent a key: then a request without one has lost it.
    #[must_use]
    pub fn sent_key_before(&self) -> bool {
        self.holder == Holder::Caller && self.lock().keys.iter().any(|used| used.key.is_some())
    }

    /// Adds a sighting.
    pub fn sight(&self, key: Option<Fingerprint>, now: Timestamp) {
        let mut memory = self.lock();
        if let Some(used) = memory.keys.iter_mut().find(|used| used.key == key) {
            used.last = used.last.max(now);
            used.sightings += 1;
        } else if memory.keys.len() < KEYS_PER_BINDING {
            memory.keys.push(KeyUse { key, first: now, last: now, sightings: 1 });
        } else {
            memory.other_keys += 1;
        }
    }

    /// Notes that upstream accepted `key` in a request that came then and from there, and returns the key from which this
    /// caller switched with it.
    ///
    /// A switch is one node's, seen at one address, in the order of its requests. Two nodes of a workflow may well use
    /// two keys, a tag can be made up elsewhere, and a long answer ends after one to a later request.
    pub fn accept(&self, key: Fingerprint, at: Timestamp, peer: IpAddr) -> Option<Fingerprint> {
        let mut memory = self.lock();
        if memory.accepted.is_some_and(|last| at < last.at) {
            return None;
        }
        let before = memory.accepted.replace(Accepted { key, at, peer })?;
        let is_switch = self.node.is_some() && before.peer == peer && before.key != key;
        is_switch.then_some(before.key)
    }

    /// What is remembered now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many keys of one binding are told apart.
pub const KEYS_PER_BINDING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn fingerprint(value: u64) -> Fingerprint {
        FingerprintKey::new(&[7; 32]).fingerprint(&value.to_le_bytes())
    }

    fn binding() -> Binding {
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, HOME, None);
        Binding::new(&Identity { workflow: Some("w"), node: Some("n"), ..untagged })
    }

    #[test]
    fn a_declared_workflow_stays_itself_whatever_key_or_client_it_uses() {
        let peer = |last| IpAddr::from([127, 0, 0, last]);
        let untagged =
            |last, key| Identity::untagged(SetIndex::DEFAULT, Family::Sdk, peer(last), Some(fingerprint(key)));
        let tagged = |last, key| Identity { workflow: Some("a"), ..untagged(last, key) };
        assert_eq!(tagged(1, 1), tagged(2, 2));
        assert_ne!(untagged(1, 1), untagged(1, 2), "untagged, the key is all that tells them apart");
        assert_ne!(untagged(1, 1), untagged(2, 1));
        assert_ne!(tagged(1, 1), Identity { node: Some("n"), ..tagged(1, 1) });
    }

    #[test]
    fn uses_of_each_key_are_kept_apart_and_bounded() {
        let binding = binding();
        let at = Timestamp::from_millis;
        binding.sight(None, at(1));
        assert!(!binding.sent_key_before());
        for key in 0..100 {
            binding.sight(Some(fingerprint(key)), at(2));
        }
        binding.sight(Some(fingerprint(0)), at(9));
        binding.sight(Some(fingerprint(0)), at(8));
        let memory = binding.memory();
        assert!(binding.sent_key_before());
        assert_eq!(memory.keys.len(), KEYS_PER_BINDING);
        assert_eq!(memory.other_keys, 100 - (KEYS_PER_BINDING as u64 - 1));
        let first = KeyUse { key: Some(fingerprint(0)), first: at(2), last: at(9), sightings: 3 };
        assert_eq!(memory.keys[1], first);
    }

    #[test]
    fn nothing_is_concluded_where_many_share_a_binding() {
        let other = Identity::other(SetIndex::DEFAULT);
        let editor = Identity { holder: Holder::Editor, ..other };
        let workflow = Identity { holder: Holder::Caller, workflow: Some("w"), ..other };
        for identity in [other, editor, workflow] {
            let binding = Binding::new(&identity);
            let accept = |key, at| binding.accept(fingerprint(key), Timestamp::from_millis(at), HOME);
            assert_eq!((accept(1, 1), accept(2, 2)), (None, None));
            binding.sight(Some(fingerprint(1)), Timestamp::from_millis(1));
            assert_eq!(binding.sent_key_before(), identity == workflow);
        }
        assert_ne!(other, Identity { workflow: Some("other"), holder: Holder::Caller, ..other });
    }

    #[test]
    fn a_switch_is_noticed_once() {
        let binding = binding();
        let (a, b) = (fingerprint(1), fingerprint(2));
        let accept = |key, at, peer| binding.accept(key, Timestamp::from_millis(at), peer);
        assert_eq!(accept(a, 1, HOME), None);
        assert_eq!(accept(a, 2, HOME), None);
        assert_eq!(accept(b, 5, HOME), Some(a));
        assert_eq!(accept(b, 6, HOME), None);
        assert_eq!(accept(a, 3, HOME), None, "its request came before the switch");
        let elsewhere = IpAddr::from([127, 0, 0, 2]);
        assert_eq!(accept(a, 7, elsewhere), None, "anybody may claim to be that node");
        assert_eq!(accept(b, 8, HOME), None);
    }
}
