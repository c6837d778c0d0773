//! A press of n8n's test that another program makes, and tells of before and after: `keyward n8n connect` tests a record
//! itself. Between the two, what arrives is held back as at a press of keyward's own.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::keys::set::Names;
use crate::ledger::Ledger;
use crate::ledger::press::Press;
use crate::locks::lock;
use crate::verdict::VerdictKind;

/// The press that is lent out, if one is.
#[derive(Default)]
pub struct Lent(Mutex<Option<Open>>);

/// What came of a test that was lent out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// The key of the test; nothing where none came, or it cannot be told which one did.
    pub key: Option<Names>,
    /// What was judged of the first request that can be the test's; nothing where none came.
    pub verdict: Option<VerdictKind>,
}

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

    /// Says that n8n has answered the test, and how; gives what came. Where the key cannot be told, what came counts as any
    /// exchange does.
    pub fn end(&self, ledger: &Ledger, record: &str, was_good: bool) -> Came {
        let Some(open) = self.lock().take_if(|open| &*open.record == record) else { return Came::default() };
        let verdict = open.press.verdict_since(open.since);
        let key = open.press.key_between(open.since, Instant::now(), was_good);
        let own = key.map(|key| open.press.own(key)).unwrap_or_default();
        for binding in &own {
            ledger.forget_unused(binding);
        }
        Came { key, verdict }
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
