//! What those do who begin: where they point n8n to, and where a new key goes.

use super::setup::Setup;
use crate::answers::headline::{Holds, to_rotate};
use crate::answers::words::ago;
use crate::clock::Timestamp;
use crate::keys::SetSettings;
use crate::keys::rules::SetRules;
use crate::keys::state::StateFolder;
use crate::rotate::journal::{Journal, Run};
use crate::welcome::{base_url, origin};

/// What those do who begin: where they point n8n to, and where a new key goes.
pub(super) struct Start {
    base_url: String,
    sets: Vec<Way>,
    /// The rotations that go on.
    rotations: Vec<Run>,
}

/// How a set gets another key.
struct Way {
    set: String,
    /// Where it reads its current key from; nothing where it learns.
    source: Option<String>,
    holds: Holds,
}

impl Start {
    pub(super) fn new(setup: &Setup) -> Self {
        let proxy = &setup.config().proxy;
        let scheme = if proxy.tls.files().is_some() { "https" } else { "http" };
        let way = |(set, rules): (&SetSettings, &SetRules)| Way {
            set: set.name.to_string(),
            source: set.current.as_ref().map(ToString::to_string),
            holds: rules.policy.into(),
        };
        let sets = setup.config().keys.sets.iter().zip(&setup.config().rules.sets);
        Self {
            base_url: base_url(&origin(scheme, proxy.listen)),
            sets: sets.map(way).collect(),
            rotations: rotations(setup),
        }
    }

    /// What n8n's Base URL should be.
    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What to do before anything was seen.
    fn first_step(&self) -> String {
        format!(
            "set the Base URL of n8n's OpenAI credential to {} (keyward n8n connect does it), and run a workflow",
            self.base_url
        )
    }

    /// What there is to say of the rotations that `keyward rotate` began and that go on, a sentence for each.
    pub(super) fn rotations(&self, now: Timestamp) -> impl Iterator<Item = String> {
        self.rotations.iter().map(move |run| {
            format!(
                "Set `{0}` is being rotated, which began {1}, and stands at step {2}: keyward rotate {0} --resume goes on, --abort takes it \
                 back.",
                run.set,
                ago(Timestamp::from_millis(run.began), now),
                run.step.code()
            )
        })
    }

    /// How a rotation begins.
    fn rotate(&self, set: &str) -> String {
        if self.rotations.iter().any(|run| run.set == set) {
            return format!("go on with the rotation (keyward rotate {set} --resume), or take it back (--abort)");
        }
        let way = self.sets.iter().find(|way| way.set == set);
        to_rotate(way.and_then(|way| way.source.as_deref()), self.holds(set))
    }

    /// What n8n's credentials of a set hold.
    pub(super) fn holds(&self, set: &str) -> Holds {
        self.sets.iter().find(|way| way.set == set).map_or(Holds::Key, |way| way.holds)
    }

    /// What to do where no old key is known.
    pub(super) fn next_step(&self, set: &str, seen: usize) -> String {
        if seen == 0 { self.first_step() } else { self.rotate(set) }
    }
}

/// The rotations that go on. What cannot be read is told by `keyward rotate`.
fn rotations(setup: &Setup) -> Vec<Run> {
    let state = &setup.config().state;
    if !state.dir.exists() {
        return Vec::new();
    }
    let journal = StateFolder::open(state).and_then(|folder| Journal::read(&folder)).unwrap_or_default();
    setup.set_names().into_iter().filter_map(|set| journal.open(set).cloned()).collect()
}
