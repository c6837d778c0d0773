//! Pure. What looking through n8n says about whether an old key can go.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Instance;
use super::audit::{self, Around, Audit, Cleared, Grounds, KnownKey, Sighting};
use super::connect::Entrance;
use super::connections::Left;
use super::inventory::Inventory;
use crate::clock::Timestamp;
use crate::keys::fingerprint::Fingerprint;
use crate::keys::set::SetIndex;
use crate::ledger::binding::{Binding, Memory};
use crate::ledger::doubt_kind::DoubtKind;
use crate::ledger::identity::Holder;
use crate::ledger::look::{AuditDoubt, Look};
use crate::ledger::query::Query;
use crate::ledger::{rotation_grounds, standing};
use crate::n8n::row::Standing;

/// One n8n, as it was looked through last.
#[derive(Clone, Debug)]
pub struct Looked {
    pub name: Box<str>,
    /// The set that its credentials belong to; where that is not said, they may belong to each.
    pub set: Option<Box<str>>,
    /// How often it is looked through.
    pub refresh: Duration,
    /// What was wrong when that was tried last.
    pub trouble: Option<String>,
    /// The scopes that its API key lacks, of those that an audit needs.
    pub lacks: Vec<&'static str>,
    /// Why it is not known which executions run or wait, where that is so and may change.
    pub untold: Option<String>,
    /// What the ledger was told of it last.
    pub look: Option<Arc<Look>>,
    /// Its records that lead past keyward since keyward put another Base URL there.
    pub left: Vec<Left>,
    /// Where it reaches keyward, where that is said.
    pub entrance: Option<Entrance>,
    /// When it was, and what was there.
    pub found: Option<(Timestamp, Arc<Inventory>)>,
}

/// Audits each of them, by what keyward saw; and says what that means for each set, in the order of the ring. `hosts` are
/// the addresses under which keyward is reached.
#[must_use]
pub fn of_sets(look: &Query<'_>, instances: &[Looked], hosts: &[String]) -> Vec<rotation_grounds::Audit> {
    let audits = each(look, instances, hosts, audit::clear);
    let strangers = strangers(look, instances);
    let of_set = |set: &str| {
        let mut found = of_set(set, &audits, look.now());
        let strangers = strangers.iter().filter(|(of, _)| &**of == set);
        found.doubts.extend(strangers.map(|(_, instance)| not_configured(instance)));
        found
    };
    look.positions().map(|set| of_set(set)).collect()
}

/// Audits each of them; nothing for one that was never looked through.
#[must_use]
pub fn audits<'i>(look: &Query<'_>, instances: &'i [Looked], hosts: &[String]) -> Vec<(&'i Looked, Option<Audit>)> {
    each(look, instances, hosts, audit::audit)
}

/// Judges each of them in that way; nothing for one that was never looked through.
fn each<'i, T>(
    look: &Query<'_>,
    instances: &'i [Looked],
    hosts: &[String],
    judge: fn(&Grounds<'_>) -> T,
) -> Vec<(&'i Looked, Option<T>)> {
    let keys = known_keys(look);
    let audited = |looked: &'i Looked| {
        let (at, inventory) = looked.found.as_ref()?;
        let sightings = &sightings(look, &looked.name);
        let (keys, modes) = (&keys, HashMap::new());
        let others = others(looked, instances);
        let around = Around {
            instance: &looked.name,
            set: looked.set.as_deref(),
            lacks: &looked.lacks,
            others: &others,
            look: looked.look.as_deref(),
            left: &looked.left,
            entrance: looked.entrance.as_ref(),
        };
        Some(judge(&Grounds { inventory, sightings, hosts, keys, modes: &modes, at: *at, around }))
    };
    instances.iter().map(|looked| (looked, audited(looked))).collect()
}

/// The bindings that an audit of the n8n of that name looks at.
fn sightings<'l>(look: &'l Query<'_>, instance: &str) -> Vec<Sighting<'l>> {
    // There may be many, and a list that grows is copied each time.
    let mut found = Vec::with_capacity(look.all().len());
    look.each(|binding, memory, standing| {
        found.extend(sighting(binding, look.set_of(binding), memory, standing, instance));
    });
    found
}

/// The other n8n whose credentials may belong to the same set, as far as they were looked through.
fn others<'i>(looked: &Looked, instances: &'i [Looked]) -> Vec<(&'i str, &'i Inventory)> {
    let is_other = |other: &&Looked| {
        let is_of_set = looked.set.is_none() || other.set.is_none() || looked.set == other.set;
        other.name != looked.name && is_of_set
    };
    let found = instances.iter().filter(is_other);
    found.filter_map(|other| Some((&*other.name, &**other.found.as_ref().map(|(_, found)| found)?))).collect()
}

/// The n8n that tags name and that nothing is configured of, each with the set of its keys. Where none is configured, no audit
/// vouches for anything.
fn strangers(look: &Query<'_>, instances: &[Looked]) -> BTreeSet<(Box<str>, Box<str>)> {
    if instances.is_empty() {
        return BTreeSet::new();
    }
    let mut strangers = BTreeSet::new();
    look.each(|binding, memory, _| {
        let instance = binding.identity().instance;
        let stranger = instance.filter(|name| instances.iter().all(|known| *known.name != **name));
        if let Some(name) = stranger.filter(|_| memory.last_seen().is_some() && memory.acknowledgement().is_none()) {
            strangers.insert(((&**look.set_of(binding)).into(), name.into()));
        }
    });
    strangers
}

fn not_configured(instance: &str) -> AuditDoubt {
    let kind = DoubtKind::UnknownN8n;
    AuditDoubt {
        kind,
        subject: instance.into(),
        text: format!("requests come from n8n `{instance}`, which keyward is not told where to look through"),
        end: format!("add [n8n.{instance}] to keyward's configuration, or acknowledge its bindings (keyward ack)"),
        state: AuditDoubt::state_of([kind.code(), instance]),
    }
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

/// The addresses under which the configuration says that an n8n reaches it.
pub fn hosts_in_settings(instances: &[Instance]) -> impl Iterator<Item = String> {
    let entrances = instances.iter().filter_map(|instance| instance.keyward.as_ref());
    entrances.map(|entrance| entrance.address().origin.authority().to_ascii_lowercase())
}

fn of_set(set: &str, audits: &[(&Looked, Option<Cleared>)], now: Timestamp) -> rotation_grounds::Audit {
    let mut found = rotation_grounds::Audit::default();
    // A key is known wherever it stands, also in an n8n whose credentials belong to another set.
    for (looked, audit) in audits {
        let typed = audit.iter().flat_map(|audit| &audit.typed);
        found.typed.extend(typed.map(|(key, node)| (*key, in_which(looked, audits, node.clone()))));
    }
    let of_set = audits.iter().filter(|(looked, _)| looked.set.as_deref().is_none_or(|own| own == set));
    let mut oldest: Option<Timestamp> = None;
    let mut is_recent = true;
    for (looked, audit) in of_set {
        let read = audit.as_ref().map(|audit| audit.at);
        if let Some(why) = why_not_recent(looked, read, now) {
            is_recent = false;
            found.doubts.push(not_looked_through(looked, read, why));
        }
        found.doubts.extend(looked.untold.as_ref().map(|why| untold(looked, why)));
        let Some(audit) = audit else { continue };
        oldest = Some(oldest.map_or(audit.at, |oldest| oldest.min(audit.at)));
        found.doubts.extend(audit.doubts.iter().map(|doubt| AuditDoubt {
            subject: if audits.len() > 1 {
                format!("{}:{}", looked.name, doubt.subject).into()
            } else {
                doubt.subject.clone()
            },
            text: in_which(looked, audits, doubt.text.clone()),
            ..doubt.clone()
        }));
    }
    rotation_grounds::Audit { at: oldest.filter(|_| is_recent), ..found }
}

/// A sentence, with the n8n that it is about where there are several.
fn in_which(looked: &Looked, audits: &[(&Looked, Option<Cleared>)], text: String) -> String {
    if audits.len() > 1 { format!("{text} (n8n `{}`)", looked.name) } else { text }
}

fn untold(looked: &Looked, why: &str) -> AuditDoubt {
    let kind = DoubtKind::UntoldExecutions;
    let text = format!("it is not known which executions of n8n `{}` run or wait: {why}", looked.name);
    let end = "see that n8n answers keyward: it is asked again by itself (keyward status)".to_owned();
    AuditDoubt {
        kind,
        subject: looked.name.clone(),
        text,
        end,
        state: AuditDoubt::state_of([kind.code(), &looked.name]),
    }
}

fn not_looked_through(looked: &Looked, read: Option<Timestamp>, text: String) -> AuditDoubt {
    let kind = DoubtKind::NotLookedThrough;
    let read = read.map_or_else(String::new, |read| read.to_string());
    let end = "see that n8n answers keyward: it is asked again by itself (keyward status)".to_owned();
    let state = AuditDoubt::state_of([kind.code(), &looked.name, &read]);
    AuditDoubt { kind, subject: looked.name.clone(), text, end, state }
}

/// Why what is known of an n8n proves nothing any more: after twice the time between two looks, much may have been
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

/// A binding, as far as an audit of the n8n of that name looks at it: nothing where it is another's, or of no n8n.
fn sighting<'l>(
    binding: &'l Binding,
    set: &'l str,
    memory: &Memory,
    standing: Option<standing::Standing>,
    instance: &str,
) -> Option<Sighting<'l>> {
    let identity = binding.identity();
    let is_own = identity.instance.is_none_or(|own| own == instance);
    let used = memory.uses.iter().max_by_key(|used| used.last)?;
    if !is_own || identity.holder != Holder::Caller {
        return None;
    }
    let latest = memory.latest;
    let key = latest.map_or(used.key, |latest| memory.of_key(latest.key).and_then(|used| used.key));
    Some(Sighting {
        binding: binding.id(),
        set,
        instance: identity.instance,
        is_single: is_single(memory),
        is_acknowledged: memory.acknowledgement().is_some(),
        workflow: identity.workflow,
        node: identity.node,
        at: latest.map_or(used.last, |latest| latest.at),
        key,
        execution: used.execution.clone(),
        client: identity.family.code(),
        client_version: memory.client_version.clone(),
        standing: in_words(standing, memory),
    })
}

/// Whether all that it sent may be of one execution.
fn is_single(memory: &Memory) -> bool {
    let executions: BTreeSet<_> = memory.uses.iter().filter_map(|used| used.execution.as_deref()).collect();
    executions.len() <= 1 && memory.visits.rhythm().is_none()
}

fn in_words(standing: Option<standing::Standing>, memory: &Memory) -> Standing {
    match standing {
        Some(standing::Standing::Confirmed | standing::Standing::Failing { has_right_key: true }) => Standing::Well,
        Some(standing::Standing::Mixed) => Standing::Mixed,
        Some(standing::Standing::Stale | standing::Standing::Failing { has_right_key: false }) => {
            Standing::of_failing(memory.incident.as_ref().map(|incident| incident.diagnosis))
        }
        Some(standing::Standing::Silent(standing::Silence::Acknowledged { .. })) => Standing::Dead,
        // A key of no set proves nothing.
        Some(standing::Standing::Silent(_)) | None => Standing::Silent,
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

    fn looked(name: &str, set: Option<&str>, minute: Option<i64>) -> (Looked, Option<Cleared>) {
        let cleared = |at| Cleared { at, typed: Vec::new(), doubts: Vec::new() };
        let looked = Looked {
            name: name.into(),
            set: set.map(Box::from),
            refresh: Duration::from_mins(5),
            trouble: minute.is_none().then(|| "it is down".to_owned()),
            lacks: Vec::new(),
            untold: None,
            look: None,
            left: Vec::new(),
            entrance: None,
            found: None,
        };
        (looked, minute.map(|minute| cleared(at(minute))))
    }

    /// Of an n8n with one workflow of those nodes. None was seen.
    fn audited(nodes: &serde_json::Value) -> Cleared {
        let inventory = inventory(&[json!({ "id": "a", "name": "a", "active": true, "nodes": nodes })]);
        let (keys, modes) = (HashMap::new(), HashMap::new());
        audit::clear(&Grounds {
            inventory: &inventory,
            sightings: &[],
            hosts: &[],
            keys: &keys,
            modes: &modes,
            at: at(15),
            around: Around::default(),
        })
    }

    #[test]
    fn where_n8n_reaches_keyward_is_what_the_settings_say() {
        let origin = |host: &str, port| crate::net::origin::Upstream {
            scheme: crate::net::origin::Scheme::Http,
            host: host.into(),
            port,
        };
        let address = |host: &str, port| super::super::Address { origin: origin(host, port), path: "/v1".into() };
        let instance = |keyward: Option<super::super::Address>| Instance {
            name: "main".into(),
            url: address("n8n", 5678),
            api_key: crate::keys::source::Source::Env("KEY".into()),
            set: None,
            press: true,
            refresh: Instance::REFRESH,
            keyward: keyward.map(|address| Entrance::new(address).expect("an entrance")),
            via: None,
        };
        let hosts: Vec<_> = hosts_in_settings(&[
            instance(None),
            instance(Some(address("Keyward", 8080))),
            instance(Some(address("k", 80))),
        ])
        .collect();
        assert_eq!(hosts, ["keyward:8080", "k"]);
    }

    #[test]
    fn every_n8n_of_a_set_has_to_have_been_looked_through_of_late() {
        #[track_caller]
        fn check(instances: &[(Looked, Option<Cleared>)], expected: Option<i64>, doubts: &[&str]) {
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
        let audit = audited(&json!([node]));
        let (looked, _) = looked("main", None, Some(15));
        let found = of_set("default", &[(&looked, Some(audit))], at(16));
        assert_eq!(found.at, Some(at(15)));
        assert!(found.doubts[0].text.starts_with("node l of workflow a sends past keyward: "), "{:?}", found.doubts);
    }

    #[test]
    fn a_typed_key_is_told_for_each_set_wherever_it_stands() {
        let typed = json!({ "id": "h", "name": "h", "type": "n8n-nodes-base.code",
            "parameters": { "jsCode": "'sk-proj-0123456789abcdefghijOldd'" } });
        let old_model = json!({ "id": "l", "name": "l", "type": "@n8n/n8n-nodes-langchain.lmOpenAi", "parameters": {},
            "credentials": { "openAiApi": { "id": "r", "name": "r" } } });
        let audit = audited(&json!([typed, old_model]));
        let (eu, _) = looked("eu", Some("staging"), Some(15));
        let (main, clean) = looked("main", Some("default"), Some(15));
        let audits = [(&eu, Some(audit)), (&main, clean)];
        let found = of_set("default", &audits, at(16));
        let typed: Vec<_> = found.typed.iter().map(|(_, who)| &**who).collect();
        assert_eq!((typed, found.doubts), (vec!["node h of workflow a (n8n `eu`)"], vec![]));
        // What is doubtful of one n8n stands with its name, so that it can be accepted for that one alone.
        let found = of_set("staging", &audits, at(16));
        let subjects: Vec<_> = found.doubts.iter().map(|doubt| (doubt.kind, &*doubt.subject)).collect();
        assert_eq!(subjects, [(DoubtKind::Bypass, "eu:a/l")]);
        assert!(found.doubts[0].text.ends_with(" (n8n `eu`)"), "{}", found.doubts[0].text);
    }
}
