//! How long it takes to judge a wrong key says nothing of where it goes wrong.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward::keys::fingerprint::FingerprintKey;
use keyward::keys::set::{KeyRing, KeySet, Owner, Role, SetIndex};

/// As long as a key may be, so that a comparison that ends early would show most.
const LENGTH: usize = 4000;

/// A difference below this part of what an early end makes is none.
const PART: u32 = 4;

/// How often a busy machine may spoil a measurement. A comparison that ends early shows every time.
const TRIALS: usize = 5;

#[test]
fn a_wrong_key_takes_as_long_wherever_it_goes_wrong() {
    let key = "a".repeat(LENGTH);
    let wrong = Wrong::than(&key);
    let with_key = ring().with_key(key.parse().unwrap(), SetIndex::DEFAULT, Role::Current);
    let fingerprint = with_key.names(key.as_bytes()).fingerprint;
    let token = Owner { set: SetIndex::DEFAULT, role: Role::Token, learned: false };
    let with_token = ring().with_remembered(fingerprint, token);
    for ring in [&with_key, &with_token] {
        assert!(ring.recognise(key.as_bytes(), None).owner.is_some());
        assert!(wrong.is_hidden_by(&key, |value| ring.recognise(value, None).owner.is_some()));
    }
    // What the measurement has to find.
    let leaks = |value: &[u8]| with_key.recognise(value, None).owner.is_some() | ends_early(value, key.as_bytes());
    assert!(!wrong.is_hidden_by(&key, leaks), "the test itself is blind");
}

/// Values that are as long as a key and differ from it in one byte: the first or the last.
struct Wrong {
    first: Vec<Vec<u8>>,
    last: Vec<Vec<u8>>,
}

impl Wrong {
    fn than(key: &str) -> Self {
        let with = |at: usize| {
            let changed = |byte| {
                let mut value = key.as_bytes().to_vec();
                value[at] = byte;
                value
            };
            (b'b'..=b'e').map(changed).collect()
        };
        Self { first: with(0), last: with(key.len() - 1) }
    }

    /// Whether the place makes a small part of the difference that a comparison makes which ends early.
    fn is_hidden_by(&self, key: &str, finds: impl Fn(&[u8]) -> bool) -> bool {
        (0..TRIALS).any(|_| {
            let early = self.difference(|value| ends_early(value, key.as_bytes()));
            self.difference(&finds) * PART < early
        })
    }

    /// How far the medians of many batches are apart. The two kinds take turns, so that a machine that is busy for a
    /// while is busy with both.
    fn difference(&self, finds: impl Fn(&[u8]) -> bool) -> Duration {
        let time = |values: &[Vec<u8>]| {
            let begin = Instant::now();
            assert!(values.iter().all(|value| !black_box(finds(black_box(value)))));
            begin.elapsed()
        };
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            first.push(time(&self.first));
            last.push(time(&self.last));
            last.push(time(&self.last));
            first.push(time(&self.first));
        }
        median(first).abs_diff(median(last))
    }
}

fn ring() -> KeyRing {
    let set = KeySet { name: "default".into(), learning: false, grace: Duration::ZERO };
    KeyRing::new(vec![set], Arc::new(FingerprintKey::new(&[7; 32])))
}

/// How a secret must not be compared.
fn ends_early(value: &[u8], key: &[u8]) -> bool {
    value.len() == key.len() && value.iter().zip(key).all(|(one, other)| black_box(one) == black_box(other))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
