//! Verdicts: one key ring, and what each credential is judged to be by it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::credential::{Place, Presented};
use super::*;
use crate::keys::fingerprint::FingerprintKey;
use crate::keys::rules::Rules;
use crate::keys::set::KeySet;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const RETIRED: Retired = Retired { after: None, by: Timestamp::from_millis(900_000) };

fn ring() -> KeyRing {
    let set = |name: &str| KeySet { name: name.into(), learning: false, grace: Duration::ZERO };
    let previous = |until| Role::Previous { retired: RETIRED, grace_until: Timestamp::from_millis(until) };
    let add = |ring: KeyRing, value: &str, set, role| ring.with_key(value.parse().expect("a key"), set, role);
    let ring = KeyRing::new(vec![set("default"), set("staging")], Arc::new(FingerprintKey::new(&[7; 32])));
    let staging = ring.find_set("staging").expect("a set");
    let ring = add(ring, "sk-current", SetIndex::DEFAULT, Role::Current);
    let ring = add(ring, "sk-next", SetIndex::DEFAULT, Role::Next);
    let ring = add(ring, "sk-in-grace", SetIndex::DEFAULT, previous(1_000_001));
    let ring = add(ring, "sk-too-old", SetIndex::DEFAULT, previous(1_000_000));
    let ring = add(ring, "kw_token", SetIndex::DEFAULT, Role::Token);
    add(ring, "sk-staging", staging, Role::Current)
}

fn key(value: &str) -> Credential<'_> {
    Credential::Key(Presented { value: Cow::Borrowed(value.as_bytes()), place: Place::Bearer })
}

#[track_caller]
fn check(credential: &Credential<'_>, declared: Option<&str>, verdict: &str, set: &str) -> Judgement {
    let ring = ring();
    let declared = declared.map(|name| ring.find_set(name).expect("a set"));
    let judgement = judge(credential, declared, &ring, NOW);
    assert_eq!((judgement.verdict.code(), &*ring.set(judgement.set).name), (verdict, set));
    judgement
}

#[test]
fn every_verdict() {
    check(&key("sk-current"), None, "current", "default");
    check(&key("sk-next"), None, "next", "default");
    check(&key("kw_token"), None, "token", "default");
    check(&key("sk-in-grace"), None, "outdated", "default");
    check(&key("sk-staging"), None, "current", "staging");
    check(&key("sk-staging"), Some("staging"), "current", "staging");
    check(&key("sk-staging"), Some("default"), "foreign", "default");
    check(&key("sk-in-grace"), Some("staging"), "foreign", "staging");
    check(&key("sk-unlisted"), None, "unknown", "default");
    check(&key("sk-unlisted"), Some("staging"), "unknown", "staging");
    check(&Credential::Missing, Some("staging"), "missing", "staging");
    check(&Credential::Malformed(Malformed::Empty), None, "malformed", "default");
}

#[test]
fn a_replaced_token_ends_at_its_moment_also_for_a_judgement_that_was_remembered() {
    let ring = ring();
    let token = ring.names(b"kw_replaced-token-of-default").fingerprint;
    let owner = Owner { set: SetIndex::DEFAULT, role: Role::Token, learned: false };
    let ring = ring.with_remembered(token, owner).with_end(token, NOW);
    let before = Timestamp::from_millis(NOW.as_millis() - 1);
    let judged = judge(&key("kw_replaced-token-of-default"), None, &ring, before);
    assert_eq!((judged.verdict.code(), judged.is_replaced_token()), ("token", true));
    for ended in [judged.at(NOW), judge(&key("kw_replaced-token-of-default"), None, &ring, NOW)] {
        assert_eq!((ended.verdict.code(), ended.is_replaced_token()), ("outdated", true));
        let Verdict::Outdated(outdated) = ended.verdict else { panic!("it has ended") };
        assert_eq!((outdated.in_grace, outdated.barred), (false, Some(Barred::Revoked)));
    }
    assert!(!judge(&key("kw_token"), None, &ring, NOW).is_replaced_token());
    // A revocation holds at once, whatever the clock says later.
    let revoked = ring.ruled_by(Rules::default()).with_revoked(token, Timestamp::from_millis(NOW.as_millis() + 1));
    let judged = judge(&key("kw_replaced-token-of-default"), None, &revoked, before);
    assert_eq!((judged.verdict.code(), judged.is_replaced_token()), ("outdated", false));
    assert!(!judge(&key("sk-too-old"), None, &ring, NOW).is_replaced_token());
}

#[test]
fn grace_ends_at_its_moment_also_for_a_judgement_that_was_remembered() {
    let outdated = |judgement: Judgement| {
        let Verdict::Outdated(outdated) = judgement.verdict else { panic!("{}", judgement.verdict) };
        outdated
    };
    let good = check(&key("sk-in-grace"), None, "outdated", "default");
    assert!(outdated(good).in_grace);
    assert_eq!(outdated(good).retired, RETIRED);
    assert!(!outdated(good.at(Timestamp::from_millis(1_000_001))).in_grace);
    assert!(!outdated(check(&key("sk-too-old"), None, "outdated", "default")).in_grace);
}

#[test]
fn a_judgement_names_the_key_that_came_and_only_then() {
    let ring = ring();
    let named = check(&key("sk-unlisted"), None, "unknown", "default").key.expect("names");
    assert_eq!(named.fingerprint, ring.names(b"sk-unlisted").fingerprint);
    assert_eq!(check(&Credential::Missing, None, "missing", "default").key, None);
}
