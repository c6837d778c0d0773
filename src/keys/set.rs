//! Pure. Key sets and the key ring: one immutable snapshot of every key that keyward knows, and of the rules for them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::fingerprint::{Fingerprint, FingerprintKey, Hint, KeyKind};
use super::rules::{Rules, SetRules};
use super::secret::Secret;
use crate::clock::Timestamp;
use crate::codes::codes;

/// Which set, as its position in the ring. Positions are fixed for the life of the process: a set that is configured later
/// stands behind those of before, and one that goes keeps its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetIndex(u16);

impl SetIndex {
    /// The set `default`: the first of every ring.
    pub const DEFAULT: Self = Self(0);

    /// The set at that position.
    #[must_use]
    pub fn nth(position: usize) -> Option<Self> {
        u16::try_from(position).ok().map(Self)
    }

    /// As a position in a table with a row for each set.
    #[must_use]
    pub fn position(self) -> usize {
        usize::from(self.0)
    }
}

/// When a key stopped being current, as closely as keyward knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// It was still current then; nothing when keyward never saw it current.
    pub after: Option<Timestamp>,
    /// It was current no longer then.
    pub by: Timestamp,
}

/// What a key is to its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Current,
    Next,
    /// A previous key, and when its grace ends.
    Previous {
        /// When it was replaced.
        retired: Retired,
        /// Until when it is still good.
        grace_until: Timestamp,
    },
    /// A token of ours that stands for the set's current key.
    Token,
}

codes! {
    /// What a role is called: [`Role::kind`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RoleKind {
        Current => "current",
        Next => "next",
        Previous => "previous",
        Token => "token",
    }
}

impl Role {
    /// The role without its times, for lists and codes.
    #[must_use]
    pub fn kind(self) -> RoleKind {
        match self {
            Self::Current => RoleKind::Current,
            Self::Next => RoleKind::Next,
            Self::Previous { .. } => RoleKind::Previous,
            Self::Token => RoleKind::Token,
        }
    }

    /// Its name, as people and programs are shown it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.kind().code()
    }
}

codes! {
    /// What upstream says of a key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Word {
        Accepted => "accepted",
        /// It says that it is no key.
        Refused => "refused",
    }
}

/// A key whose value is known.
#[derive(Debug)]
pub struct KnownKey {
    pub secret: Secret,
    /// Whose it is and what for.
    pub owner: Owner,
    /// Its public names, made once.
    pub names: Names,
}

/// The public names of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Its keyed hash.
    pub fingerprint: Fingerprint,
    /// Kind and last four characters, if it is long enough to show them.
    pub hint: Option<Hint>,
}

impl Names {
    /// Those of a value.
    #[must_use]
    pub fn of(key: &FingerprintKey, value: &[u8]) -> Self {
        Self { fingerprint: key.fingerprint(value), hint: Hint::of(value) }
    }
}

/// As people recognise it: `sk-proj-…AbCd (1bf3ef9e)`, or the fingerprint alone.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint {
            Some(hint) => write!(f, "{hint} ({})", self.fingerprint),
            None => self.fingerprint.fmt(f),
        }
    }
}

/// A set that has a key, and the key's role in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub set: SetIndex,
    pub role: Role,
    /// Whether keyward learned this from traffic, rather than being told.
    pub learned: bool,
}

/// A set's current key as it goes upstream: the value of `Authorization`. Shows nothing, and is wiped when the last copy
/// of it is dropped.
#[derive(Clone)]
pub struct Bearer {
    value: HeaderValue,
    pub names: Names,
}

impl Bearer {
    /// Of a key. A key is visible ASCII, so that it is always fit for a header.
    #[must_use]
    pub fn new(secret: &Secret, names: Names) -> Option<Self> {
        let text = Zeroizing::new([SCHEME, secret.expose()].concat());
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
        value.set_sensitive(true);
        Some(Self { value, names })
    }

    /// Whether that text shows the key: its first eight characters, which OpenAI leaves unmasked when it quotes one, or the
    /// whole of a shorter key.
    #[must_use]
    pub fn is_shown_in(&self, text: &[u8]) -> bool {
        self.begins_in(text, SHOWN)
    }

    /// Whether that text shows more of the key than its kind, which a model may speak of as well.
    #[must_use]
    pub fn is_quoted_in(&self, text: &[u8]) -> bool {
        self.begins_in(text, QUOTED)
    }

    /// Whether so many of the key's first characters stand in that text, or the whole of a shorter key.
    fn begins_in(&self, text: &[u8], count: usize) -> bool {
        let key = &self.value.as_bytes()[SCHEME.len()..];
        let head = &key[..key.len().min(count)];
        // Towards its end, the beginning of a key has characters that are rarer than those of its kind.
        let Some((at, byte)) = head.iter().enumerate().nth_back(1) else { return false };
        text.len() >= head.len()
            && memchr::memchr_iter(*byte, text)
                .any(|found| found.checked_sub(at).is_some_and(|begin| text[begin..].starts_with(head)))
    }

    /// `Bearer <key>`, marked sensitive. A test holds the list of the places that ask for it.
    #[must_use]
    pub fn expose_header(&self) -> HeaderValue {
        self.value.clone()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("names", &self.names).finish_non_exhaustive()
    }
}

/// How the value of `Authorization` begins.
const SCHEME: &[u8] = b"Bearer ";

/// How many characters of a key say which one it is.
const SHOWN: usize = 8;

/// As many characters as no kind of key begins with: 8 of the kind at most, and 16 of this key alone.
const QUOTED: usize = 24;

/// What holds for a whole set, whatever key came: its name, whether it learns, its grace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Its name, as in `[keys.<name>]`.
    pub name: Arc<str>,
    /// Whether it has no declared current key and learns which one is, from what upstream accepts.
    pub learning: bool,
    /// How long a previous key stays good.
    pub grace: Duration,
}

/// All sets, their rules and all keys. Never changes: whatever changes makes a new ring of the next generation.
pub struct KeyRing {
    generation: u64,
    sets: Vec<KeySet>,
    /// The sets that are configured no longer.
    gone: Vec<SetIndex>,
    rules: Arc<Rules>,
    /// Sorted by the fast hash of the value; keys of one hash stand in the order of their roles.
    known: Vec<(u64, Arc<KnownKey>)>,
    /// Keys known by their fingerprint alone: replaced while keyward was down, learned, or tokens.
    remembered: HashMap<Fingerprint, Vec<Owner>>,
    /// The current key of each set, ready to be put in.
    bearers: Vec<Option<Bearer>>,
    /// Keys and tokens that were revoked, and when: none of them is good for anything.
    revoked: HashMap<Fingerprint, Timestamp>,
    /// When the tokens end that others replaced.
    ends: HashMap<Fingerprint, Timestamp>,
    /// What upstream said last of the sets' own keys, the latest news at the end.
    heard: Vec<(Fingerprint, Word)>,
    fast_hash: RandomState,
    fingerprint_key: Arc<FingerprintKey>,
    takes_vendors: bool,
}

/// A presented value, as the ring knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognised {
    pub names: Names,
    /// Whose it is, if a set's: the preferred set's where several have it.
    pub owner: Option<Owner>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// When it ends, where it is a token that another one replaced.
    pub ends: Option<Timestamp>,
    /// What upstream said of it when it saw it last.
    pub word: Option<Word>,
    /// Whether it was declared, so that its value is known.
    pub is_declared: bool,
}

impl KeyRing {
    /// A ring of generation 0 without keys. The first of `sets` is `default`.
    #[must_use]
    pub fn new(sets: Vec<KeySet>, fingerprint_key: Arc<FingerprintKey>) -> Self {
        Self {
            generation: 0,
            bearers: vec![None; sets.len()],
            sets,
            gone: Vec::new(),
            rules: Arc::default(),
            known: Vec::new(),
            remembered: HashMap::new(),
            revoked: HashMap::new(),
            ends: HashMap::new(),
            heard: Vec::new(),
            fast_hash: RandomState::new(),
            fingerprint_key,
            takes_vendors: false,
        }
    }

    /// For an upstream that may take other vendors' keys.
    #[must_use]
    pub fn taking_vendors(self, takes_vendors: bool) -> Self {
        Self { takes_vendors, ..self }
    }

    /// With a key whose value is known. Add a set's current key before its previous ones: the first role wins.
    #[must_use]
    pub fn with_key(mut self, secret: Secret, set: SetIndex, role: Role) -> Self {
        let names = self.names(secret.expose());
        if role == Role::Current {
            self.bearers[set.position()] = Bearer::new(&secret, names);
        }
        let hash = self.fast_hash.hash_one(secret.expose());
        let key = KnownKey { secret, names, owner: Owner { set, role, learned: false } };
        let position = self.known.partition_point(|(other, _)| *other <= hash);
        self.known.insert(position, (hash, Arc::new(key)));
        self
    }

    /// With a key known by its fingerprint alone.
    #[must_use]
    pub fn with_remembered(mut self, fingerprint: Fingerprint, owner: Owner) -> Self {
        self.remembered.entry(fingerprint).or_default().push(owner);
        self
    }

    /// With a token that another one replaced, which admits until then.
    #[must_use]
    pub fn with_end(mut self, token: Fingerprint, end: Timestamp) -> Self {
        self.ends.insert(token, end);
        self
    }

    /// With a revoked key or token of any set.
    #[must_use]
    pub fn with_revoked(mut self, fingerprint: Fingerprint, at: Timestamp) -> Self {
        self.revoked.insert(fingerprint, at);
        self
    }

    /// With what upstream said last of a key.
    #[must_use]
    pub fn with_word(mut self, fingerprint: Fingerprint, word: Word) -> Self {
        self.heard.retain(|(key, _)| *key != fingerprint);
        self.heard.push((fingerprint, word));
        self
    }

    /// The next generation, with the same sets and no keys.
    #[must_use]
    pub fn without_keys(&self) -> Self {
        self.succeeded_by(self.sets.clone(), self.gone.clone(), Arc::clone(&self.rules))
    }

    /// The next generation, with those sets and rules, and no keys. The sets of this one stand first, in their order, with
    /// those that are configured no longer.
    #[must_use]
    pub fn succeeded_by(&self, sets: Vec<KeySet>, gone: Vec<SetIndex>, rules: Arc<Rules>) -> Self {
        let empty = Self::new(sets, Arc::clone(&self.fingerprint_key));
        Self { generation: self.generation + 1, gone, rules, takes_vendors: self.takes_vendors, ..empty }
    }

    /// The next generation, by whose rules requests are decided: those of a set stand at its position. Sets behind those are
    /// configured no longer, and have the rules of such.
    #[must_use]
    pub fn ruled_by(&self, mut rules: Rules) -> Self {
        let count = self.sets.len().max(rules.sets.len());
        rules.sets.resize_with(count, SetRules::closed);
        Self { rules: Arc::new(rules), ..self.next_generation() }
    }

    /// The next generation, with sets behind those of this one that are configured no longer.
    #[must_use]
    pub fn with_gone(&self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut next = self.next_generation();
        for name in names {
            next.gone.extend(SetIndex::nth(next.sets.len()));
            next.sets.push(KeySet { name, learning: false, grace: Duration::ZERO });
            next.bearers.push(None);
        }
        next.ruled_by(Rules::clone(&self.rules))
    }

    /// The next generation, with what `set` has learned replaced by `learned`.
    #[must_use]
    pub fn relearned(&self, set: SetIndex, learned: impl IntoIterator<Item = (Fingerprint, Role)>) -> Self {
        let mut remembered = self.remembered.clone();
        for owners in remembered.values_mut() {
            owners.retain(|owner| !(owner.learned && owner.set == set));
        }
        for (fingerprint, role) in learned {
            remembered.entry(fingerprint).or_default().push(Owner { set, role, learned: true });
        }
        remembered.retain(|_, owners| !owners.is_empty());
        Self { remembered, ..self.next_generation() }
    }

    /// The next generation, in which upstream says that of a key.
    #[must_use]
    pub fn hearing(&self, fingerprint: Fingerprint, word: Word) -> Self {
        self.next_generation().with_word(fingerprint, word)
    }

    /// The next generation, where upstream has said nothing of that key.
    #[must_use]
    pub fn without_word(&self, fingerprint: Fingerprint) -> Self {
        let mut next = self.next_generation();
        next.heard.retain(|(key, _)| *key != fingerprint);
        next
    }

    fn next_generation(&self) -> Self {
        Self {
            generation: self.generation + 1,
            sets: self.sets.clone(),
            gone: self.gone.clone(),
            rules: Arc::clone(&self.rules),
            known: self.known.clone(),
            remembered: self.remembered.clone(),
            bearers: self.bearers.clone(),
            revoked: self.revoked.clone(),
            ends: self.ends.clone(),
            heard: self.heard.clone(),
            fast_hash: self.fast_hash.clone(),
            fingerprint_key: Arc::clone(&self.fingerprint_key),
            takes_vendors: self.takes_vendors,
        }
    }

    /// Whether a set that learns may take keys of that kind for its own: keys that last, for upstream's API, and nothing
    /// that stands for one.
    #[must_use]
    pub fn may_learn(&self, kind: KeyKind) -> bool {
        let is_odd = matches!(kind, KeyKind::Admin | KeyKind::Token) || kind.is_short_lived();
        !is_odd && (self.takes_vendors || !kind.is_of_vendor())
    }

    /// Grows with every change, so that a judgement that was remembered can be told to be old.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What is done about requests.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All sets, those that are configured no longer among them; a [`SetIndex`] is a position in it.
    #[must_use]
    pub fn sets(&self) -> &[KeySet] {
        &self.sets
    }

    /// The facts of a set.
    #[must_use]
    pub fn set(&self, set: SetIndex) -> &KeySet {
        &self.sets[set.position()]
    }

    /// The configured set of that name.
    #[must_use]
    pub fn find_set(&self, name: &str) -> Option<SetIndex> {
        let found = SetIndex::nth(self.sets.iter().position(|set| &*set.name == name)?);
        found.filter(|set| self.is_configured(*set))
    }

    /// Whether that set is configured still.
    #[must_use]
    pub fn is_configured(&self, set: SetIndex) -> bool {
        !self.gone.contains(&set)
    }

    /// The positions of all sets, those that are configured no longer among them.
    pub fn indexes(&self) -> impl Iterator<Item = SetIndex> + use<> {
        (0..self.sets.len()).filter_map(SetIndex::nth)
    }

    /// The public names of a set's current key, if its value is known.
    #[must_use]
    pub fn current(&self, set: SetIndex) -> Option<Names> {
        self.bearer(set).map(|bearer| bearer.names)
    }

    /// A set's current key as it goes upstream, if its value is known.
    #[must_use]
    pub fn bearer(&self, set: SetIndex) -> Option<&Bearer> {
        self.bearers[set.position()].as_ref()
    }

    /// Every key and what it is to its set; one may stand there more than once.
    pub fn owners(&self) -> impl Iterator<Item = (Names, Owner)> {
        let known = self.known.iter().map(|(_, key)| (key.names, key.owner));
        let remembered = self.remembered.iter().flat_map(|(fingerprint, owners)| {
            owners.iter().map(|owner| (Names { fingerprint: *fingerprint, hint: None }, *owner))
        });
        known.chain(remembered)
    }

    /// When that token ends, if another one replaced it.
    #[must_use]
    pub fn end(&self, token: Fingerprint) -> Option<Timestamp> {
        self.ends.get(&token).copied()
    }

    /// When that key or token was revoked, if it was.
    #[must_use]
    pub fn revoked(&self, fingerprint: Fingerprint) -> Option<Timestamp> {
        self.revoked.get(&fingerprint).copied()
    }

    /// What upstream said of that key when it saw it last.
    #[must_use]
    pub fn word(&self, fingerprint: Fingerprint) -> Option<Word> {
        self.heard.iter().rev().find(|(key, _)| *key == fingerprint).map(|(_, word)| *word)
    }

    /// Whether that key is the current or next one of that set, and not revoked.
    #[must_use]
    pub fn is_good(&self, set: SetIndex, fingerprint: Fingerprint) -> bool {
        let is_good = |(names, owner): (Names, Owner)| {
            let has_role = matches!(owner.role, Role::Current | Role::Next);
            names.fingerprint == fingerprint && owner.set == set && has_role
        };
        self.revoked(fingerprint).is_none() && self.owners().any(is_good)
    }

    /// Whether that set has a token that is not revoked.
    #[must_use]
    pub fn has_token(&self, set: SetIndex) -> bool {
        let is_token = |(names, owner): (Names, Owner)| {
            owner.set == set && owner.role == Role::Token && self.revoked(names.fingerprint).is_none()
        };
        self.owners().any(is_token)
    }

    /// The previous keys that may still be of use to those who send them: neither revoked, nor refused by upstream. Sorted.
    #[must_use]
    pub fn previous_alive(&self) -> Vec<Fingerprint> {
        let previous = self.owners().filter(|(_, owner)| matches!(owner.role, Role::Previous { .. }));
        let alive = |key: &Fingerprint| self.revoked(*key).is_none() && self.word(*key) != Some(Word::Refused);
        let mut keys: Vec<_> = previous.map(|(names, _)| names.fingerprint).filter(alive).collect();
        keys.sort_unstable();
        keys
    }

    /// The public name of the fingerprint key by which all fingerprints here were made.
    #[must_use]
    pub fn named_by(&self) -> Fingerprint {
        self.fingerprint_key.name()
    }

    /// The public names of a value.
    #[must_use]
    pub fn names(&self, value: &[u8]) -> Names {
        Names::of(&self.fingerprint_key, value)
    }

    /// Finds out whose key `value` is. A known key costs a fast hash and a constant-time comparison; only a value that
    /// is not known is fingerprinted.
    #[must_use]
    pub fn recognise(&self, value: &[u8], preferred: Option<SetIndex>) -> Recognised {
        let prefers = |owner: &Owner| preferred.is_none_or(|set| owner.set == set);
        let known = || self.known_as(value);
        let key = known().find(|key| prefers(&key.owner)).or_else(|| known().next());
        if let Some(key) = key
            && (prefers(&key.owner) || self.remembered.is_empty())
        {
            return self.recognised(key.names, Some(key.owner), true);
        }
        let names = key.map_or_else(|| self.names(value), |key| key.names);
        let remembered = self.remembered.get(&names.fingerprint).map_or(&[][..], Vec::as_slice);
        let owner = remembered.iter().find(|owner| prefers(owner)).copied();
        let owner = owner.or(key.map(|key| key.owner)).or_else(|| remembered.first().copied());
        self.recognised(names, owner, key.is_some())
    }

    fn recognised(&self, names: Names, owner: Option<Owner>, is_declared: bool) -> Recognised {
        let revoked = if self.revoked.is_empty() { None } else { self.revoked.get(&names.fingerprint).copied() };
        let ends = if self.ends.is_empty() { None } else { self.end(names.fingerprint) };
        Recognised { names, owner, revoked, ends, word: self.word(names.fingerprint), is_declared }
    }

    fn known_as<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = &'a KnownKey> {
        let hash = self.fast_hash.hash_one(value);
        let first = self.known.partition_point(|(other, _)| *other < hash);
        self.known[first..]
            .iter()
            .take_while(move |(other, _)| *other == hash)
            .map(|(_, key)| &**key)
            .filter(move |key| key.secret.matches(value))
    }
}

/// Says how many keys it holds and nothing of them.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("generation", &self.generation)
            .field("sets", &self.sets)
            .field("known", &self.known.len())
            .field("remembered", &self.remembered.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGING: SetIndex = SetIndex(1);

    fn ring() -> KeyRing {
        let set = |name: &str| KeySet { name: name.into(), learning: false, grace: Duration::ZERO };
        KeyRing::new(vec![set("default"), set("staging")], Arc::new(FingerprintKey::new(&[7; 32])))
    }

    fn secret(text: &str) -> Secret {
        text.parse().expect("a key")
    }

    fn owner(set: SetIndex, role: Role) -> Owner {
        Owner { set, role, learned: false }
    }

    #[test]
    fn a_key_is_found_by_value_and_by_fingerprint() {
        let ring = ring().with_key(secret("sk-a"), SetIndex::DEFAULT, Role::Current);
        let forgotten = ring.names(b"sk-b").fingerprint;
        let ring = ring.with_remembered(forgotten, owner(STAGING, Role::Next));
        assert_eq!(ring.recognise(b"sk-a", None).owner, Some(owner(SetIndex::DEFAULT, Role::Current)));
        assert_eq!(ring.recognise(b"sk-b", None).owner, Some(owner(STAGING, Role::Next)));
        assert_eq!(ring.recognise(b"sk-c", None).owner, None);
        assert_eq!(ring.recognise(b"sk-a", None).names, ring.names(b"sk-a"));
    }

    #[test]
    fn a_key_of_two_sets_belongs_to_the_one_that_the_request_declares() {
        let ring = ring().with_key(secret("sk-a"), SetIndex::DEFAULT, Role::Current).with_key(
            secret("sk-a"),
            STAGING,
            Role::Next,
        );
        let forgotten = ring.names(b"sk-b").fingerprint;
        let ring = ring
            .with_remembered(forgotten, owner(SetIndex::DEFAULT, Role::Next))
            .with_remembered(forgotten, owner(STAGING, Role::Current));
        assert_eq!(ring.recognise(b"sk-a", None).owner, Some(owner(SetIndex::DEFAULT, Role::Current)));
        assert_eq!(ring.recognise(b"sk-a", Some(STAGING)).owner, Some(owner(STAGING, Role::Next)));
        assert_eq!(ring.recognise(b"sk-b", Some(STAGING)).owner, Some(owner(STAGING, Role::Current)));
    }

    #[test]
    fn a_key_of_another_set_is_still_told_to_be_its() {
        let ring = ring().with_key(secret("sk-a"), SetIndex::DEFAULT, Role::Current);
        assert_eq!(ring.recognise(b"sk-a", Some(STAGING)).owner, Some(owner(SetIndex::DEFAULT, Role::Current)));
    }

    #[test]
    fn the_first_role_of_a_key_in_its_set_wins() {
        let retired = Retired { after: None, by: Timestamp::from_millis(1) };
        let previous = Role::Previous { retired, grace_until: Timestamp::from_millis(2) };
        let ring = ring().with_key(secret("sk-a"), SetIndex::DEFAULT, Role::Current).with_key(
            secret("sk-a"),
            SetIndex::DEFAULT,
            previous,
        );
        assert_eq!(ring.recognise(b"sk-a", None).owner, Some(owner(SetIndex::DEFAULT, Role::Current)));
    }

    #[test]
    fn learning_again_replaces_what_that_set_had_learned_and_nothing_else() {
        let ring = ring().with_key(secret("sk-a"), STAGING, Role::Current);
        let (b, c) = (ring.names(b"sk-b").fingerprint, ring.names(b"sk-c").fingerprint);
        let first = ring.relearned(SetIndex::DEFAULT, [(b, Role::Current)]);
        let second = first.relearned(SetIndex::DEFAULT, [(c, Role::Current)]);
        assert_eq!(first.recognise(b"sk-b", None).owner.map(|owner| owner.learned), Some(true));
        assert_eq!(second.recognise(b"sk-b", None).owner, None);
        assert_eq!(second.recognise(b"sk-c", None).owner.map(|owner| owner.set), Some(SetIndex::DEFAULT));
        assert_eq!(second.recognise(b"sk-a", None).owner, Some(owner(STAGING, Role::Current)));
        assert_eq!((first.generation(), second.generation()), (1, 2));
    }

    #[test]
    fn debug_shows_no_key() {
        let ring = ring().with_key(secret("sk-canary"), STAGING, Role::Current);
        assert!(!format!("{ring:?}").contains("canary"));
    }
}
