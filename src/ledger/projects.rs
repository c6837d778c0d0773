//! Which of OpenAI's projects each key belongs to, as upstream says in `openai-project`: a key of another project does not
//! find what the one before it made.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::keys::fingerprint::Fingerprint;

/// The projects of the last keys that upstream took. Read without a lock; forgotten at the end of the process.
#[derive(Debug, Default)]
pub struct Projects {
    known: ArcSwap<Vec<(Fingerprint, Box<str>)>>,
}

impl Projects {
    /// Notes what upstream says of a key that it took. What it says of one that is known already changes nothing, for a key never
    /// moves.
    pub fn note(&self, key: Fingerprint, project: &str) {
        let is_known = |known: &[(Fingerprint, Box<str>)]| known.iter().any(|(other, _)| *other == key);
        if is_known(&self.known.load()) || project.is_empty() || project.len() > LONGEST {
            return;
        }
        self.known.rcu(|known| {
            if is_known(known) {
                return Arc::clone(known);
            }
            let kept = known.iter().skip((known.len() + 1).saturating_sub(MOST));
            Arc::new(kept.cloned().chain([(key, project.into())]).collect())
        });
    }

    /// The project of a key, where it is known.
    #[must_use]
    pub fn of(&self, key: Fingerprint) -> Option<Box<str>> {
        self.known.load().iter().find(|(other, _)| *other == key).map(|(_, project)| project.clone())
    }
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
const MOST: usize = 64;

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
    fn what_belongs_to_a_project_is_named_by_its_id() {
        for path in ["/v1/assistants/asst_1", "/v1/threads/t/runs", "/v1/models/ft:gpt-4o:a", "/v1/files/f/content"] {
            assert!(is_of_project(path), "{path}");
        }
        for path in ["/v1/assistants", "/v1/files/", "/v1/chat/completions", "/assistants/a", "", "/v1/"] {
            assert!(!is_of_project(path), "{path}");
        }
    }
}
