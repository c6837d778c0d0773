//! Pure. Subjects that are wrong, which shows that the histories can tell.

use keyward::clock::Timestamp;

use crate::observed::{Key, Observed, Said, Subject};

/// Always says *yes*.
pub struct AlwaysYes;

impl Subject for AlwaysYes {
    fn observe(&mut self, _observed: &Observed<'_>) {}

    fn answer(&mut self, _at: Timestamp) -> Said {
        Said::Yes
    }
}

/// Says *yes* after an hour without a use of the old key.
pub struct Quiet {
    asked: Key,
    last: Option<Timestamp>,
}

impl Quiet {
    /// For the key that is asked about.
    pub fn new(asked: Key) -> Self {
        Self { asked, last: None }
    }
}

impl Subject for Quiet {
    fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::Request(request) = observed
            && request.key == self.asked
        {
            self.last = Some(request.at);
        }
    }

    fn answer(&mut self, at: Timestamp) -> Said {
        match self.last {
            Some(last) if at.since(last).as_secs() < 3_600 => Said::NotProven(vec!["floor".to_owned()]),
            _ => Said::Yes,
        }
    }
}
