//! Pure. What looking through n8n says about whether an old key can go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::audit::{self, Audit, Grounds, KnownKey, Sighting, Standing};
use super::inventory::Inventory;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::SetIndex;
use crate::ledger::binding::Holder;
use crate::ledger::look::AuditDoubt;
use crate::ledger::query::{Filter, ListedBinding, Query};
use crate::ledger::rotation;

/// One n8n, as it was looked through last.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Its name.
    pub name: Box<str>,
    /// The set that its credentials belong to; where nobody says, they may belong to each.
    pub set: Option<Box<str>>,
    /// How often it is looked through.
    pub refresh: Duration,
    /// What was wrong when that was tried last.
    pub trouble: Option<String>,
    /// When it was, and what was there.
    pub found: Option<(Timestamp, Arc<Inventory>)>,
}

/// Audits each of them, by what keyward saw; and says what that means for each set, in the order of the ring. `hosts` are
/// the addresses under which keyward is reached.
#[must_use]
pub fn of_sets(look: &Query<'_>, instances: &[Looked], hosts: &[String]) -> Vec<rotation::Audit> {
    let audits = audits(look, instances, hosts);
    look.sets().map(|(_, set)| of_set(set, &audits, look.now())).collect()
}

/// Audits each of them; nothing for one that was never looked through.
#[must_use]
pub fn audits<'i>(look: &Query<'_>, instances: &'i [Looked], hosts: &[String]) -> Vec<(&'i Looked, Option<Audit>)> {
    let (bindings, keys) = (look.bindings(&Filter::default()), known_keys(look));
    let audited = |looked: &'i Looked| {
        let (at, inventory) = looked.found.as_ref()?;
        let sightings: Vec<_> = bindings.iter().filter_map(|binding| sighting(binding, &looked.name)).collect();
        let modes = HashMap::new();
        let (sightings, keys) = (&sightings, &keys);
        Some(audit::audit(&Grounds { inventory, sightings, hosts, keys, modes: &modes, at: *at }))
    };
    instances.iter().map(|looked| (looked, audited(looked))).collect()
}

/// The addresses under which a listener is reached on its own machine. How it is called elsewhere, requests show.
#[must_use]
pub fn hosts_of(listen: SocketAddr) -> Vec<String> {
    let (own, port) = (listen.to_string(), listen.port());
    if listen.ip().is_unspecified() || listen.ip().is_loopback() {
        vec![own, format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
    } else {
        vec![own]
    }
}

fn of_set(set: &str, audits: &[(&Looked, Option<Audit>)], now: Timestamp) -> rotation::Audit {
    let mut found = rotation::Audit::default();
    let of_set = audits.iter().filter(|(looked, _)| looked.set.as_deref().is_none_or(|own| own == set));
    let mut oldest: Option<Timestamp> = None;
    let mut is_recent = true;
    for (looked, audit) in of_set {
        let read = audit.as_ref().map(|audit| audit.at);
        if let Some(why) = why_not_recent(looked, read, now) {
            is_recent = false;
            found.doubts.push(in_words(looked, why));
        }
        let Some(audit) = audit else { continue };
        oldest = Some(oldest.map_or(audit.at, |oldest| oldest.min(audit.at)));
        found.typed.extend(audit.typed_keys().map(|(key, node)| (key, node.to_string())));
        found.doubts.extend(audit.doubts().into_iter().map(|text| in_words(looked, text)));
    }
    rotation::Audit { at: oldest.filter(|_| is_recent), ..found }
}

/// A doubt that is known by its words alone.
fn in_words(looked: &Looked, text: String) -> AuditDoubt {
    AuditDoubt { code: "audit", subject: looked.name.clone(), text, end: String::new(), state: 0 }
}

/// Why what is known of an n8n proves nothing any more: after twice the time between two looks, nobody knows what was
/// changed there.
fn why_not_recent(looked: &Looked, read: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let trouble = looked.trouble.as_ref().map_or_else(String::new, |trouble| format!(": {trouble}"));
    match read {
        None => Some(format!("n8n `{}` was not looked through yet{trouble}", looked.name)),
        Some(read) if now.since(read) > 2 * looked.refresh => {
            Some(format!("n8n `{}` was not looked through since {read}{trouble}", looked.name))
        }
        Some(_) => None,
    }
}

/// A binding, as far as an audit of the n8n of that name looks at it: nothing where it is another's, or nobody's.
#[must_use]
pub fn sighting(row: &ListedBinding, instance: &str) -> Option<Sighting> {
    let identity = row.binding.identity();
    let is_own = identity.instance.is_none_or(|own| own == instance);
    let used = row.memory.uses.iter().max_by_key(|used| used.last)?;
    if !is_own || identity.holder != Holder::Caller {
        return None;
    }
    let latest = row.memory.latest;
    let key = latest.map_or(used.key, |latest| row.memory.of_key(latest.key).and_then(|used| used.key));
    Some(Sighting {
        binding: row.binding.id().to_hex().into(),
        set: (&*row.set).into(),
        workflow: identity.workflow.map(Box::from),
        node: identity.node.map(Box::from),
        at: latest.map_or(used.last, |latest| latest.at),
        key,
        execution: used.execution.clone(),
        client: identity.family.code().into(),
        client_version: row.memory.client_version.clone(),
        standing: standing(row),
    })
}

fn standing(row: &ListedBinding) -> Standing {
    match row.standing {
        Some(rotation::Standing::Confirmed) => Standing::Well,
        Some(rotation::Standing::Mixed) => Standing::Stale("stale_binding".into()),
        Some(rotation::Standing::Stale) => {
            Standing::Stale(row.memory.incident.as_ref().map_or("stale_binding", |incident| incident.diagnosis).into())
        }
        Some(rotation::Standing::Silent(rotation::Silence::Acknowledged { .. })) => Standing::Dead,
        // A key that nobody knows proves nothing.
        Some(rotation::Standing::Silent(_)) | None => Standing::Silent,
    }
}

fn known_keys(look: &Query<'_>) -> HashMap<Fingerprint, KnownKey> {
    let names: HashMap<SetIndex, _> = look.sets().map(|(index, name)| (index, &**name)).collect();
    let known = |set| names.get(&set).copied().unwrap_or_default();
    let keys = look.keys().iter();
    keys.map(|key| (key.names.fingerprint, KnownKey { set: known(key.set).into(), role: key.role.name().into() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::n8n::inventory::tests::inventory;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_795_420_800_000 + minute * 60_000)
    }

    fn looked(name: &str, set: Option<&str>, minute: Option<i64>) -> (Looked, Option<Audit>) {
        let audit = |at| Audit { at, workflows: 0, rows: Vec::new(), records: 0, findings: Vec::new() };
        let looked = Looked {
            name: name.into(),
            set: set.map(Box::from),
            refresh: Duration::from_mins(5),
            trouble: minute.is_none().then(|| "it is down".to_owned()),
            found: None,
        };
        (looked, minute.map(|minute| audit(at(minute))))
    }

    #[test]
    fn every_n8n_of_a_set_has_to_have_been_looked_through_of_late() {
        #[track_caller]
        fn check(instances: &[(Looked, Option<Audit>)], expected: Option<i64>, doubts: &[&str]) {
            let audits: Vec<_> = instances.iter().map(|(looked, audit)| (looked, audit.clone())).collect();
            let found = of_set("default", &audits, at(20));
            let texts: Vec<_> = found.doubts.iter().map(|doubt| &*doubt.text).collect();
            assert_eq!((found.at, &texts[..]), (expected.map(at), doubts));
        }
        check(&[], None, &[]);
        check(&[looked("main", None, Some(10))], Some(10), &[]);
        check(&[looked("main", None, Some(15)), looked("eu", Some("default"), Some(12))], Some(12), &[]);
        check(&[looked("main", None, Some(15)), looked("eu", Some("staging"), None)], Some(15), &[]);
        check(&[looked("eu", Some("staging"), Some(15))], None, &[]);
        check(
            &[looked("main", None, Some(9))],
            None,
            &["n8n `main` was not looked through since 2026-11-23T08:09:00Z"],
        );
        check(&[looked("main", None, None)], None, &["n8n `main` was not looked through yet: it is down"]);
        check(
            &[looked("main", None, Some(15)), looked("eu", None, None)],
            None,
            &["n8n `eu` was not looked through yet: it is down"],
        );
    }

    #[test]
    fn what_was_found_stands_in_the_way() {
        let node = json!({ "id": "l", "name": "l", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "parameters": {},
            "credentials": { "openAiApi": { "id": "r", "name": "r" } } });
        let inventory = Arc::new(inventory(&[json!({ "id": "a", "name": "a", "active": true, "nodes": [node] })]));
        let (keys, modes) = (HashMap::new(), HashMap::new());
        let audit = audit::audit(&Grounds {
            inventory: &inventory,
            sightings: &[],
            hosts: &[],
            keys: &keys,
            modes: &modes,
            at: at(15),
        });
        let (looked, _) = looked("main", None, Some(15));
        let found = of_set("default", &[(&looked, Some(audit))], at(16));
        assert_eq!(found.at, Some(at(15)));
        assert!(found.doubts[0].text.starts_with("node l of workflow a sends past keyward: "), "{:?}", found.doubts);
    }
}
