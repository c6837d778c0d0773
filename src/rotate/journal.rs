//! Which rotations were begun and how far each came: `rotations.json` in the state folder. What is done is noted before
//! anything rests on it, so that a rotation that was stopped goes on where it was. No key is in it, but for public names.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::codes::codes;
use crate::keys::set::Names;
use crate::keys::state::{StateError, StateFolder};

codes! {
    /// What a rotation does, in this order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Step {
        /// Nothing is wrong, and all that it will need is there.
        Ready => "ready",
        /// The new key is made or taken in, and stands in the file of the next one.
        NewKey => "new_key",
        /// OpenAI takes it, and lets it do what the old one may.
        Probe => "probe",
        /// The running keyward takes it as good.
        Next => "next",
        /// n8n's credential records get it.
        N8n => "n8n",
        /// It takes the old one's place in the file of the current key.
        Current => "current",
        /// Every sender of the old key is waited for.
        Watch => "watch",
        /// The old key is deleted, and is shown to be dead.
        Revoke => "revoke",
    }
}

codes! {
    /// How a rotation ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum End {
        /// The old key is gone.
        Done => "done",
        /// All that could be put back was.
        Aborted => "aborted",
    }
}

/// One rotation of a set. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// 8 hex digits.
    pub id: String,
    pub set: String,
    pub began: i64,
    /// The step that it is at; the last one of those that are done where it has ended.
    pub step: Step,
    /// The key that is to go.
    pub old: PublicKey,
    /// The key that takes its place, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<PublicKey>,
    /// An order for a key, from just before it went out until its key stands in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The deletion of the old key, where you agreed to it at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Agreed>,
    /// Until when keyward itself may have sent the old key: by a probe, or by having n8n test a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed_old: Option<i64>,
    /// The credential records that got the new key, or will.
    #[serde(default)]
    pub records: Vec<RecordChange>,
    /// What you accepted, by its code, and why.
    #[serde(default)]
    pub accepted: Vec<Accepted>,
    /// The consumers of the key, once the old one can go.
    #[serde(default)]
    pub consumers: Vec<Consumer>,
    /// What happened, in order.
    #[serde(default)]
    pub events: Vec<Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// A key by its public names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// 32 hex digits.
    pub fingerprint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Its id at OpenAI: `key_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it expires, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

/// An order for a new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The name that the key has at OpenAI, which no other key has.
    pub name: String,
    pub at: i64,
}

/// That a key may be deleted once it is proven that nothing sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// The key's id at OpenAI.
    pub id: String,
    pub at: i64,
}

/// A credential record of n8n's that gets the new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChange {
    /// The n8n's name in the configuration.
    pub n8n: String,
    pub id: String,
    pub name: String,
    /// When the new key was put there; nothing where that is still to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<i64>,
    /// When you were told to put it there, where n8n's API cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<i64>,
}

/// Something that stood against the rotation, and that you accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub what: String,
    pub text: String,
    pub reason: String,
    pub at: i64,
}

/// One that used the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// Workflow and node, or what else it is known by.
    pub who: String,
    /// How it stands, by its code.
    pub state: String,
    /// When it sent the new key first; nothing where it did not, or sends a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<i64>,
    /// When its last request began.
    pub last: i64,
}

/// Something that happened in a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub at: i64,
    pub step: Step,
    pub text: String,
}

/// When and how a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub at: i64,
    pub how: End,
}

/// All rotations that are remembered: of each set the last few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    version: Version,
    runs: Vec<Run>,
}

/// The shape's version. A file of a later one is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "1")]
    One,
}

// === impl Step ===

impl Step {
    /// The one that comes next; nothing after the last one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::ALL.get(self.position() + 1).copied()
    }
}

// === impl Run ===

impl Run {
    /// One that begins now.
    #[must_use]
    pub fn new(id: String, set: &str, old: Names, now: Timestamp) -> Self {
        Self {
            id,
            set: set.to_owned(),
            began: now.as_millis(),
            step: Step::Ready,
            old: old.into(),
            new: None,
            order: None,
            deletion: None,
            probed_old: None,
            records: Vec::new(),
            accepted: Vec::new(),
            consumers: Vec::new(),
            events: Vec::new(),
            ended: None,
        }
    }

    /// Writes it down, in place of what was noted of it before.
    pub fn keep(&self, folder: &StateFolder) -> Result<(), StateError> {
        folder.change(FILE, |journal: &mut Journal| journal.keep(self.clone()))
    }
}

impl From<Names> for PublicKey {
    fn from(names: Names) -> Self {
        let hint = names.hint.map(|hint| hint.to_string());
        Self { fingerprint: names.fingerprint.to_hex(), hint, id: None, expires: None }
    }
}

impl std::fmt::Display for PublicKey {
    /// `sk-proj-…AbCd (01234567)`, as keys are named everywhere.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = self.fingerprint.get(..8).unwrap_or(&self.fingerprint);
        match &self.hint {
            Some(hint) => write!(f, "{hint} ({short})"),
            None => f.write_str(short),
        }
    }
}

// === impl Journal ===

impl Journal {
    /// What is kept in that folder.
    pub fn read(folder: &StateFolder) -> Result<Self, StateError> {
        folder.read(FILE)
    }

    /// The rotation of a set that has not ended.
    #[must_use]
    pub fn open(&self, set: &str) -> Option<&Run> {
        self.of(set).find(|run| run.ended.is_none())
    }

    /// The last rotation of a set, whether it has ended or not.
    #[must_use]
    pub fn last(&self, set: &str) -> Option<&Run> {
        self.of(set).max_by_key(|run| run.began)
    }

    fn of(&self, set: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.set == set)
    }

    fn keep(&mut self, run: Run) {
        self.runs.retain(|known| known.id != run.id);
        let surplus = self.of(&run.set).count().saturating_sub(MOST - 1);
        let mut oldest: Vec<_> = self.of(&run.set).map(|known| (known.began, known.id.clone())).collect();
        oldest.sort_unstable();
        let gone: Vec<_> = oldest.into_iter().take(surplus).map(|(_, id)| id).collect();
        self.runs.retain(|known| !gone.contains(&known.id));
        self.runs.push(run);
    }
}

const FILE: &str = "rotations";

/// How many rotations of a set are remembered.
const MOST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::{FingerprintKey, Hint};
    use crate::keys::state::Settings;

    fn run(id: &str, set: &str, began: i64) -> Run {
        let key = b"sk-proj-canary-0123456789";
        let names = Names { fingerprint: FingerprintKey::new(&[7; 32]).fingerprint(key), hint: Hint::of(key) };
        Run::new(id.to_owned(), set, names, Timestamp::from_millis(began))
    }

    #[test]
    fn a_rotation_is_kept_in_place_of_itself_and_the_last_few_of_each_set() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = StateFolder::open(&Settings { dir: home.path().into() }).expect("a state folder");
        for began in 0..15 {
            let ended = Some(Ended { at: began, how: End::Done });
            Run { ended, ..run(&format!("{began}"), "default", began) }.keep(&folder).expect("kept");
        }
        run("other", "staging", 1).keep(&folder).expect("kept");
        let mut last = run("20", "default", 20);
        last.keep(&folder).expect("kept");
        last.step = Step::Watch;
        last.keep(&folder).expect("kept");
        let journal = Journal::read(&folder).expect("read");
        assert_eq!((journal.of("default").count(), journal.of("staging").count()), (MOST, 1));
        assert_eq!(journal.open("default"), Some(&last));
        assert_eq!(journal.last("default"), Some(&last));
        assert_eq!(journal.of("default").map(|run| run.began).min(), Some(6), "the oldest ones are gone");
        let text = std::fs::read_to_string(home.path().join("rotations.json")).expect("a file");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn steps_follow_each_other() {
        let mut steps = vec![Step::Ready];
        while let Some(next) = steps[steps.len() - 1].next() {
            steps.push(next);
        }
        assert_eq!(steps, Step::ALL);
    }
}
