//! A store of many bindings, which have lived through a rotation.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use keyward::caller::Family;
use keyward::clock::{Clock, Timestamp};
use keyward::keys::set::{Names, Retired, SetIndex};
use keyward::ledger::Ledger;
use keyward::ledger::identity::Identity;
use keyward::ledger::seen::Seen;
use keyward::verdict::explain::Diagnosis;
use keyward::verdict::{Outdated, Verdict};

use super::opening::{answered, good, key, open, open_keys};

/// Ten nodes have a workflow. Each came three times with the old key, in executions of its own. Then the key was changed:
/// of a thousand so many went on with the old one, as many were silent, and the rest came with the current one.
pub fn fill(folder: &Path, count: usize, stale: usize) {
    let now = Arc::new(AtomicI64::new(now() - 5 * HOUR));
    let clock = Clock::Chosen(Arc::clone(&now));
    let (ledger, mut writer) = open(folder, clock.clone(), count);
    let reloader = open_keys(folder, clock, &mut writer);
    let [old, new] = [0, 1].map(|number| reloader.ring().names(key(number).as_bytes()));
    for visit in 0..VISITS {
        let at = Timestamp::from_millis(now.load(Ordering::Relaxed));
        for number in 0..count {
            let names = if visit == VISITS - 1 {
                match number % 1_000 {
                    place if place < stale => (old, outdated(at)),
                    place if place < 2 * stale => continue,
                    _ => (new, Verdict::Current),
                }
            } else {
                (old, Verdict::Current)
            };
            see(&ledger, number, visit, at, names);
        }
        writer.turn(&reloader);
        assert_eq!(writer.status().trouble(), None);
        now.fetch_add(HOUR, Ordering::Relaxed);
        if visit == VISITS - 2 {
            fs::write(folder.join("key"), key(1)).expect("a file");
            drop(reloader.reload());
        }
    }
    reloader.save(true).expect("a history");
    writer.turn(&reloader);
}

fn see(ledger: &Ledger, number: usize, visit: usize, at: Timestamp, (key, verdict): (Names, Verdict)) {
    let (workflow, node) = (workflow_id(number / 10), node_id(number));
    let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, PEER, None);
    let binding = ledger.binding(&Identity { workflow: Some(&workflow), node: Some(&node), ..untagged });
    let execution = execution_id(visit, number / 10);
    let is_stale = matches!(verdict, Verdict::Outdated(_));
    let diagnosis = if is_stale { Diagnosis::StaleBinding { tolerated: false } } else { Diagnosis::Ok };
    let status = if is_stale { 401 } else { 200 };
    let at = Timestamp::from_millis(at.as_millis() + i64::try_from(number / 100).expect("few"));
    let seen = Seen { verdict, diagnosis, outcome: answered(status), ..good(at, key, &execution, PEER) };
    ledger.sight(&binding, &seen);
}

/// What n8n calls a workflow.
pub fn workflow_id(number: usize) -> String {
    format!("wF{number:014}")
}

/// What n8n calls a node; ten have a workflow.
pub fn node_id(number: usize) -> String {
    format!("9f3cbd3a-1f6b-4d2e-8a57-{number:012}")
}

/// What n8n calls the execution of a workflow in which its nodes came for that time.
pub fn execution_id(visit: usize, workflow: usize) -> String {
    (visit * 1_000_000 + workflow).to_string()
}

fn outdated(at: Timestamp) -> Verdict {
    let retired = Retired { after: None, by: at };
    Verdict::Outdated(Outdated { retired, grace_until: at, in_grace: false, barred: None })
}

fn now() -> i64 {
    Clock::System.now().as_millis()
}

/// How often each node came, an hour apart: the first time five hours ago.
pub const VISITS: usize = 4;

const HOUR: i64 = 3_600_000;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
