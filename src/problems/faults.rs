//! Pure. What is wrong beside the traffic: files, the store, the log, each n8n. Each is looked at again and again, and is
//! open from the first look that finds it until the first that does not.

use std::time::Duration;

use super::kind::ProblemKind;
use crate::clock::Timestamp;

/// What was found wrong, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: ProblemKind,
    /// What it is about: a set, an n8n; empty where there is one of its kind alone.
    pub about: Box<str>,
    /// What is wrong, without a full stop.
    pub what: String,
    /// When it was found first.
    pub since: Timestamp,
}

/// All that is wrong, kind by kind.
#[derive(Debug, Default)]
pub struct Faults {
    open: Vec<Fault>,
    counts: Vec<Count>,
}

/// A number that grows while something is wrong.
#[derive(Debug)]
struct Count {
    kind: ProblemKind,
    total: u64,
    grew: Option<Timestamp>,
}

impl Faults {
    /// All of them, in the order in which they were found.
    #[must_use]
    pub fn open(&self) -> &[Fault] {
        &self.open
    }

    /// All that there is of a kind now: what it is about, and what is wrong.
    pub fn set(&mut self, kind: ProblemKind, found: Vec<(Box<str>, String)>, now: Timestamp) {
        let before: Vec<_> = self.open.extract_if(.., |fault| fault.kind == kind).collect();
        self.open.extend(found.into_iter().map(|(about, what)| {
            let since = before.iter().find(|fault| fault.about == about).map_or(now, |fault| fault.since);
            Fault { kind, about, what, since }
        }));
    }

    /// What a number is now that grows while something is wrong: that is so until it has not grown for a while.
    pub fn count(&mut self, kind: ProblemKind, total: u64, what: &str, now: Timestamp) {
        let position = self.counts.iter().position(|count| count.kind == kind).unwrap_or_else(|| {
            self.counts.push(Count { kind, total: 0, grew: None });
            self.counts.len() - 1
        });
        let count = &mut self.counts[position];
        if total > count.total {
            (count.total, count.grew) = (total, Some(now));
        }
        let is_growing = count.grew.is_some_and(|grew| now.since(grew) < STILL_GROWING);
        let found = is_growing.then(|| (Box::default(), format!("{what} ({total} since the start)")));
        self.set(kind, found.into_iter().collect(), now);
    }
}

/// How long a number that grew has to stand still until all is well.
const STILL_GROWING: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn found(about: &[&str]) -> Vec<(Box<str>, String)> {
        about.iter().map(|about| ((*about).into(), format!("something with {about}"))).collect()
    }

    #[test]
    fn a_fault_is_as_old_as_the_first_look_that_found_it() {
        let mut faults = Faults::default();
        faults.set(ProblemKind::KeyUnreadable, found(&["a"]), at(1));
        faults.set(ProblemKind::StoreFailing, found(&[""]), at(2));
        faults.set(ProblemKind::KeyUnreadable, found(&["a", "b"]), at(3));
        let open: Vec<_> = faults.open().iter().map(|fault| (fault.kind, &*fault.about, fault.since)).collect();
        let expected = [
            (ProblemKind::StoreFailing, "", at(2)),
            (ProblemKind::KeyUnreadable, "a", at(1)),
            (ProblemKind::KeyUnreadable, "b", at(3)),
        ];
        assert_eq!(open, expected);
        faults.set(ProblemKind::KeyUnreadable, Vec::new(), at(4));
        faults.set(ProblemKind::KeyUnreadable, found(&["a"]), at(5));
        assert_eq!(faults.open()[1].since, at(5), "it was well in between");
    }

    #[test]
    fn a_number_that_grows_is_a_fault_until_it_has_stood_still_for_ten_minutes() {
        let mut faults = Faults::default();
        let mut look = |total, minutes| {
            faults.count(ProblemKind::LogFailing, total, "Log lines are dropped", at(minutes));
            faults.open().first().map(|fault| (fault.since, fault.what.clone()))
        };
        assert_eq!(look(0, 0), None);
        assert_eq!(look(3, 1), Some((at(1), "Log lines are dropped (3 since the start)".to_owned())));
        assert_eq!(look(4, 10).map(|(since, _)| since), Some(at(1)));
        assert!(look(4, 19).is_some());
        assert_eq!(look(4, 20), None);
        assert_eq!(look(5, 30).map(|(since, _)| since), Some(at(30)));
    }
}
