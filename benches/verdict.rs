//! What judging a key costs, for each way that a key is recognised.  `cargo bench --bench verdict`

#![expect(clippy::expect_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use http::{HeaderValue, Method, Uri};
use keyward::clock::Timestamp;
use keyward::field_lines::{FieldLines, Name};
use keyward::head::Head;
use keyward::keys::fingerprint::FingerprintKey;
use keyward::keys::set::{KeyRing, KeySet, Owner, Retired, Role, SetIndex};
use keyward::verdict::credential::Credential;
use keyward::verdict::judge;

fn main() {
    divan::main();
}

/// From the header to the verdict, as on the first request of a connection.
#[divan::bench(args = ["current", "previous", "remembered", "unknown", "malformed", "missing"])]
fn verdict(bencher: Bencher<'_, '_>, kind: &str) {
    let (ring, uri, lines) = (ring(), Uri::from_static("/v1/chat/completions"), lines(kind));
    bencher.bench_local(|| {
        let head = Head::new(&Method::POST, black_box(uri.path()), black_box(&lines));
        judge(&Credential::read(&head.fields), None, &ring, NOW)
    });
}

fn lines(kind: &str) -> FieldLines {
    let value = match kind {
        "missing" => return FieldLines::default(),
        "malformed" => "Bearer undefined".to_owned(),
        kind => format!("Bearer {}", key(kind)),
    };
    let mut lines = FieldLines::default();
    lines.add(Name::Authorization, HeaderValue::from_str(&value).expect("text"));
    lines
}

/// As long as a project key of OpenAI: 164 characters.
fn key(kind: &str) -> String {
    format!("sk-proj-{kind:x<156}")
}

fn ring() -> KeyRing {
    let set = KeySet { name: "default".into(), learning: false, grace: Duration::ZERO };
    let fingerprints = Arc::new(FingerprintKey::new(&[7; 32]));
    let previous = Role::Previous { retired: Retired { after: None, by: NOW }, grace_until: NOW };
    let remembered = fingerprints.fingerprint(key("remembered").as_bytes());
    KeyRing::new(vec![set], fingerprints)
        .with_key(key("current").parse().expect("a key"), SetIndex::DEFAULT, Role::Current)
        .with_key(key("previous").parse().expect("a key"), SetIndex::DEFAULT, previous)
        .with_remembered(remembered, Owner { set: SetIndex::DEFAULT, role: previous, learned: false })
}

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
