//! A ledger with its store, and the keys of a set, in a folder: what benches begin with.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use keyward::clock::{Clock, Timestamp};
use keyward::keys::reloader::Reloader;
use keyward::keys::set::Names;
use keyward::keys::source::Source;
use keyward::keys::{self, SetSettings, state};
use keyward::ledger::destination::Destination;
use keyward::ledger::seen::Seen;
use keyward::ledger::writer::Writer;
use keyward::ledger::{Ledger, store::Bounds};
use keyward::outcome::{Ending, Outcome, Proof, UpstreamError};
use keyward::verdict::Verdict;
use keyward::verdict::explain::Diagnosis;

/// A ledger of one set with room for so many bindings, and what writes it.
pub fn open(folder: &Path, clock: Clock, bindings: usize) -> (Arc<Ledger>, Writer) {
    let bounds = Bounds { per_peer: bindings, total: bindings };
    let ledger = Arc::new(Ledger::new(bounds, vec!["default".into()]));
    let (path, retention) = (folder.join("keyward.db"), Duration::from_hours(90 * 24));
    let writer = Writer::new(Arc::clone(&ledger), Some(path), retention, clock, 1);
    (ledger, writer)
}

/// What the set's keys are read with, from a file that holds the first of them.
pub fn open_keys(folder: &Path, clock: Clock, writer: &mut Writer) -> Reloader {
    fs::write(folder.join("key"), key(0)).expect("a file");
    let kept = writer.open(state::fingerprint_key_name(folder));
    let current = Some(Source::File(folder.join("key")));
    let settings = keys::Settings {
        sets: vec![SetSettings { current, ..SetSettings::learning("default") }],
        takes_vendors: false,
    };
    let (reloader, troubles) =
        Reloader::open(&settings, &state::Settings { dir: folder.into() }, kept, |_| None, clock).expect("a reloader");
    assert!(troubles.is_empty(), "{troubles:?}");
    reloader
}

/// The keys of the set, one after the other.
pub fn key(number: usize) -> String {
    format!("sk-proj-{number:016}")
}

/// A chat completion with the current key, which upstream took.
pub fn good(at: Timestamp, key: Names, execution: &str, peer: IpAddr) -> Seen<'_> {
    Seen {
        at,
        key: Some(key),
        verdict: Verdict::Current,
        diagnosis: Diagnosis::Ok,
        outcome: answered(200),
        execution: Some(execution),
        name: Some("Weekly report"),
        client_version: Some("6.49.0"),
        destination: Destination::Api,
        told: None,
        was_sent: true,
        was_refused: false,
        peer,
        path: "/v1/chat/completions",
    }
}

/// What upstream answered.
pub fn answered(status: u16) -> Outcome {
    Outcome {
        ending: Ending::Completed,
        status: StatusCode::from_u16(status).ok(),
        error: UpstreamError::None,
        proof: Proof::None,
    }
}
