//! The keys and rules that inputs are judged by.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use keyward::clock::Timestamp;
use keyward::keys::fingerprint::FingerprintKey;
use keyward::keys::rules::Policy;
use keyward::keys::rules::{Rules, SetRules, Unknown};
use keyward::keys::set::{KeyRing, KeySet, Owner, Retired, Role, SetIndex};

/// The current keys of `default` and `staging`: a client that was not admitted gets neither.
pub const CURRENT: [&str; 2] = ["sk-proj-c4nary-of-default-Zq81", "sk-proj-c4nary-of-staging-Yw92"];

/// The announced next key of `default`.
pub const NEXT: &str = "sk-proj-next";

/// A previous key of `default` whose grace runs.
pub const TOLERATED: &str = "sk-proj-tolerated";

/// A previous key of `default` whose grace is over.
pub const LAPSED: &str = "sk-proj-lapsed";

/// A previous key of `default` that was revoked while its grace ran.
pub const REVOKED: &str = "sk-proj-revoked";

/// The tokens of `default` and `staging`.
pub const TOKENS: [&str; 2] = ["kw_of_default", "kw_of_staging"];

/// When everything happens.
pub const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// The ring. It never changes, so that an input means the same each time.
pub static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let set = |name: &str| KeySet { name: name.into(), learning: false, grace: Duration::ZERO };
    let fingerprints = Arc::new(FingerprintKey::new(&[7; 32]));
    let ring = KeyRing::new(vec![set("default"), set("staging")], fingerprints);
    let [default, staging] = sets(&ring);
    let secret = |text: &str| text.parse().expect("a key");
    let previous = |grace_until| Role::Previous { retired: Retired { after: None, by: NOW }, grace_until };
    let later = NOW.after(Duration::from_secs(1));
    let remembered = |ring: KeyRing, text: &str, set| {
        let fingerprint = ring.names(text.as_bytes()).fingerprint;
        ring.with_remembered(fingerprint, Owner { set, role: Role::Token, learned: false })
    };
    let ring = ring
        .with_key(secret(CURRENT[0]), default, Role::Current)
        .with_key(secret(CURRENT[1]), staging, Role::Current)
        .with_key(secret(NEXT), default, Role::Next)
        .with_key(secret(TOLERATED), default, previous(later))
        .with_key(secret(LAPSED), default, previous(NOW))
        .with_key(secret(REVOKED), default, previous(later));
    let revoked = ring.names(REVOKED.as_bytes()).fingerprint;
    let ring = remembered(ring.with_revoked(revoked, NOW), TOKENS[0], default);
    remembered(ring, TOKENS[1], staging)
});

/// The positions of both sets.
#[must_use]
pub fn sets(ring: &KeyRing) -> [SetIndex; 2] {
    ["default", "staging"].map(|name| ring.find_set(name).expect("a set"))
}

/// By what rules an input is decided, and where it comes from.
#[derive(Debug)]
pub struct Setting {
    /// The rules of both sets. Workflow `w1` of `default` is an exception.
    pub rules: Rules,
    /// Who is at the other end.
    pub peer: IpAddr,
}

impl Setting {
    /// Whatever the number, there is a setting for it.
    #[must_use]
    pub fn of(mut number: u8) -> Self {
        let mut choose = |count: u8| {
            let chosen = number % count;
            number /= count;
            usize::from(chosen)
        };
        let policies = [Policy::Observe, Policy::Enforce, Policy::Inject];
        let unknowns = [Unknown::Refuse, Unknown::Forward];
        let (of_default, of_staging) = (policies[choose(3)], policies[choose(3)]);
        let peer = [Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(192, 0, 2, 1)][choose(2)];
        let exceptions = HashMap::from([("w1".into(), Policy::Enforce)]);
        let default = SetRules {
            policy: of_default,
            unknown: unknowns[choose(2)],
            allow_from: vec!["10.1.2.0/24".parse().expect("a range")],
            workflows: exceptions,
            ..SetRules::default()
        };
        let staging = SetRules { policy: of_staging, unknown: unknowns[choose(2)], ..SetRules::default() };
        let rules = Rules {
            sets: vec![default, staging],
            allow_origin: vec!["https://app.example".into()],
            ..Rules::default()
        };
        Self { rules, peer: peer.into() }
    }
}
