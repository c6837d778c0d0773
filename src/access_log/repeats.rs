//! What was told in full a short time ago: the same remedy under every line of a node that runs each minute hides the rest.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::identity::BindingId;
use crate::locks::lock;
use crate::verdict::explain::DiagnosisKind;

/// When each diagnosis of each binding was told in full. Its room is bounded: where there is none, all is told.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<(BindingId, &'static str), Timestamp>>);

impl Repeats {
    /// When the same was told in full less than [`AGAIN_AFTER`] before. Where it was not, it is now.
    pub fn told_at(&self, binding: BindingId, diagnosis: DiagnosisKind, now: Timestamp) -> Option<Timestamp> {
        let mut told = lock(&self.0);
        let is_fresh = |at: Timestamp| at <= now && now.since(at) < AGAIN_AFTER;
        if let Some(at) = told.get(&(binding, diagnosis.code())).copied().filter(|at| is_fresh(*at)) {
            return Some(at);
        }
        if told.len() >= MOST {
            told.retain(|_, at| is_fresh(*at));
        }
        if told.len() < MOST {
            told.insert((binding, diagnosis.code()), now);
        }
        None
    }
}

/// After so long, it is told in full again.
const AGAIN_AFTER: Duration = Duration::from_mins(10);

/// Of how many it is remembered.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_of_one_binding_is_told_in_full_once_in_ten_minutes() {
        let repeats = Repeats::default();
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let told = |number, kind, minute| repeats.told_at(BindingId(number), kind, at(minute));
        assert_eq!(told(1, DiagnosisKind::Quota, 0), None);
        assert_eq!(told(1, DiagnosisKind::Quota, 9), Some(at(0)));
        assert_eq!(told(1, DiagnosisKind::StaleBinding, 9), None, "another diagnosis");
        assert_eq!(told(2, DiagnosisKind::Quota, 9), None, "another binding");
        assert_eq!(told(1, DiagnosisKind::Quota, 10), None);
        assert_eq!(told(1, DiagnosisKind::Quota, 11), Some(at(10)));
        assert_eq!(told(1, DiagnosisKind::Quota, 5), None, "the clock was put back");
    }

    #[test]
    fn its_room_is_bounded_and_made_free_again() {
        let repeats = Repeats::default();
        let now = Timestamp::from_millis(0);
        for number in 0..10_000 {
            assert_eq!(repeats.told_at(BindingId(number), DiagnosisKind::Quota, now), None);
        }
        assert_eq!(lock(&repeats.0).len(), MOST);
        let later = now.after(AGAIN_AFTER);
        assert_eq!(repeats.told_at(BindingId(0), DiagnosisKind::Quota, later), None);
        assert_eq!(lock(&repeats.0).len(), 1);
    }
}
