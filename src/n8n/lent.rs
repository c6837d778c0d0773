//! A press of n8n's test that another program makes, and tells of before and after: `keyward n8n connect` tests a record
//! itself. Between the two, what arrives is held back as at a press of keyward's own.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::keys::set::Names;
use crate::ledger::Ledger;
use crate::ledger::press::Press;
use crate::locks::lock;

/// The press that is lent out, if one is.
#[derive(Default)]
pub struct Lent(Mutex<Option<Open>>);

struct Open {
    press: Press,
    record: Box<str>,
    since: Instant,
}

impl Lent {
    /// Says that the test of that record is pressed from now on. Nothing where another is pressed already.
    #[must_use]
    pub fn begin(&self, ledger: &Ledger, instance: &str, record: &str) -> Option<()> {
        // One that was begun and whose end was not told is over.
        self.end_what_is_late();
        let press = ledger.presses.try_begin(instance, record)?;
        *self.lock() = Some(Open { press, record: record.into(), since: Instant::now() });
        Some(())
    }

    /// Says that n8n has answered the test, and how; gives the key that came. Nothing where it cannot be told, and then what
    /// came counts as any exchange does.
    pub fn end(&self, ledger: &Ledger, record: &str, was_good: bool) -> Option<Names> {
        let open = self.lock().take_if(|open| &*open.record == record)?;
        let key = open.press.key_between(open.since, Instant::now(), was_good)?;
        for binding in open.press.own(key) {
            ledger.forget_unused(&binding);
        }
        Some(key)
    }

    /// Lets what is held back count, where no end was told in time.
    pub fn end_what_is_late(&self) {
        drop(self.lock().take_if(|open| open.since.elapsed() > PATIENCE));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        lock(&self.0)
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}

/// How long one test may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
