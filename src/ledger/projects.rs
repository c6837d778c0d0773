//! Which of OpenAI's projects each key belongs to, as upstream says in `openai-project`: a key of another project does not
//! find what the one before it made.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use crate::keys::fingerprint::Fingerprint;
use crate::locks::lock;
use crate::telemetry::masked::holds_key;

/// Keys with their projects, those that were noted last at the end.
pub type KeyProjects = Vec<(Fingerprint, Box<str>)>;

/// The projects of the last keys that upstream took. A request reads and notes them without a lock.
#[derive(Debug, Default)]
pub struct Projects {
    known: ArcSwap<KeyProjects>,
    /// What the store has. Locked by the ledger's own thread alone.
    stored: Mutex<Arc<KeyProjects>>,
}

impl Projects {
    /// Notes what upstream says of a key that it took. What it says of one that is known already changes nothing, for a key never
    /// moves.
    pub fn note(&self, key: Fingerprint, project: &str) {
        // An upstream that puts a key there has it neither kept nor stored.
        if has(&self.known.load(), key) || project.is_empty() || project.len() > LONGEST || holds_key(project) {
            return;
        }
        self.known.rcu(|known| {
            if has(known, key) {
                return Arc::clone(known);
            }
            let kept = known.iter().skip((known.len() + 1).saturating_sub(MOST));
            Arc::new(kept.cloned().chain([(key, project.into())]).collect())
        });
    }

    /// Takes in what a store remembers, as older than what was noted meanwhile.
    pub(super) fn recall(&self, stored: KeyProjects) {
        self.known.rcu(|known| {
            let news = known.iter().filter(|(key, _)| !has(&stored, *key));
            let all: KeyProjects = stored.iter().chain(news).cloned().collect();
            let surplus = all.len().saturating_sub(MOST);
            all[surplus..].to_vec()
        });
        *lock(&self.stored) = Arc::new(stored);
    }

    /// What the store does not have; counts as stored from now on.
    pub(super) fn take_news(&self) -> KeyProjects {
        let known = self.known.load_full();
        let mut stored = lock(&self.stored);
        if Arc::ptr_eq(&known, &stored) {
            return Vec::new();
        }
        let news = known.iter().filter(|(key, _)| !has(&stored, *key)).cloned().collect();
        *stored = known;
        news
    }

    /// Has all of them stored anew.
    pub(super) fn untell(&self) {
        *lock(&self.stored) = Arc::default();
    }

    /// The project of a key, where it is known.
    #[must_use]
    pub fn of(&self, key: Fingerprint) -> Option<Box<str>> {
        self.known.load().iter().find(|(other, _)| *other == key).map(|(_, project)| project.clone())
    }
}

fn has(projects: &[(Fingerprint, Box<str>)], key: Fingerprint) -> bool {
    projects.iter().any(|(other, _)| *other == key)
}

/// Whether that path names something that belongs to a project, by its id.
#[must_use]
pub fn is_of_project(path: &str) -> bool {
    let mut segments = path.strip_prefix("/v1/").unwrap_or_default().split('/');
    let kind = segments.next().is_some_and(|kind| KINDS.contains(&kind));
    kind && segments.next().is_some_and(|id| !id.is_empty())
}

/// What OpenAI keeps for a project, as its paths begin.
const KINDS: [&str; 14] = [
    "assistants",
    "threads",
    "files",
    "vector_stores",
    "models",
    "batches",
    "uploads",
    "fine_tuning",
    "responses",
    "conversations",
    "containers",
    "evals",
    "videos",
    "chatkit",
];

/// More keys than are in use at a time.
pub(super) const MOST: usize = 64;

/// Longer than any id of a project, in bytes.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::FingerprintKey;

    #[test]
    fn the_first_word_of_each_key_counts_and_the_last_keys_are_kept() {
        let key = |number: u8| FingerprintKey::new(&[7; 32]).fingerprint(&[number]);
        let projects = Projects::default();
        projects.note(key(0), "proj_a");
        projects.note(key(0), "proj_b");
        projects.note(key(1), "");
        projects.note(key(2), &"p".repeat(65));
        assert_eq!([0, 1, 2].map(|number| projects.of(key(number)).as_deref() == Some("proj_a")), [true, false, false]);
        for number in 1..=64 {
            projects.note(key(number), "proj_c");
        }
        assert_eq!((projects.of(key(0)), projects.of(key(64)).as_deref()), (None, Some("proj_c")));
        assert_eq!(projects.known.load().len(), MOST);
    }

    #[test]
    fn what_upstream_puts_there_that_looks_like_a_key_is_not_kept() {
        let key = FingerprintKey::new(&[7; 32]).fingerprint(&[0]);
        let projects = Projects::default();
        projects.note(key, "sk-proj-0123456789abcdef0123456789abcdef");
        assert_eq!((projects.of(key), projects.take_news()), (None, Vec::new()));
    }

    #[test]
    fn the_store_is_told_each_project_once_and_all_again_where_it_is_a_new_one() {
        let key = |number: u8| FingerprintKey::new(&[7; 32]).fingerprint(&[number]);
        let of = |number: u8, project: &str| (key(number), Box::from(project));
        let projects = Projects::default();
        projects.note(key(1), "proj_late");
        projects.note(key(2), "proj_2");
        projects.recall(vec![of(0, "proj_0"), of(1, "proj_1")]);
        assert_eq!(
            [0, 1, 2].map(|number| projects.of(key(number))),
            ["proj_0", "proj_1", "proj_2"].map(|p| Some(p.into()))
        );
        assert_eq!((projects.take_news(), projects.take_news()), (vec![of(2, "proj_2")], Vec::new()));
        projects.note(key(3), "proj_3");
        assert_eq!(projects.take_news(), [of(3, "proj_3")]);
        projects.untell();
        assert_eq!(projects.take_news().len(), 4);
    }

    #[test]
    fn what_belongs_to_a_project_is_named_by_its_id() {
        for path in ["/v1/assistants/asst_1", "/v1/threads/t/runs", "/v1/models/ft:gpt-4o:a", "/v1/files/f/content"] {
            assert!(is_of_project(path), "{path}");
        }
        for path in ["/v1/assistants", "/v1/files/", "/v1/chat/completions", "/assistants/a", "", "/v1/"] {
            assert!(!is_of_project(path), "{path}");
        }
    }
}
