//! Presses n8n's test of each credential record for `OpenAI`, beside the traffic, and reads the key that arrives here: what a
//! record holds is told by nothing else, for n8n shows no key.
//!
//! A record is pressed once it is first seen, and again after it was changed, or after a current key of the sets that it may
//! hold was. Where nothing could be concluded it is tried again, ever less often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, ClientError};
use super::pressed::Due;
use super::status::Status;
use crate::clock::{Clock, Timestamp};
use crate::keys::fingerprint::Fingerprint;
use crate::keys::reloader::Reloader;
use crate::keys::set::{KeyRing, Names, SetIndex};
use crate::ledger::Ledger;
use crate::ledger::look::Pressed;
use crate::ledger::press::is_same;
use crate::telemetry::event::with_causes;

/// Who presses the tests of one n8n.
pub struct Presser {
    client: Client,
    ledger: Arc<Ledger>,
    keys: Arc<Reloader>,
    status: Arc<Status>,
    clock: Clock,
    /// What is wrong, as the log has it: it is said once.
    said: Option<String>,
}

// === impl Presser ===

impl Presser {
    /// For the n8n of that status. Nothing is pressed yet.
    pub fn new(
        client: Client,
        ledger: &Arc<Ledger>,
        keys: &Arc<Reloader>,
        status: &Arc<Status>,
        clock: &Clock,
    ) -> Self {
        let (ledger, keys, status) = (Arc::clone(ledger), Arc::clone(keys), Arc::clone(status));
        Self { client, ledger, keys, status, clock: clock.clone(), said: None }
    }

    /// Presses what is due after each look, without end.
    pub async fn run(mut self) {
        let mut rounds = self.status.rounds();
        while rounds.changed().await.is_ok() {
            self.press_what_is_due().await;
        }
    }

    async fn press_what_is_due(&mut self) {
        let Some(look) = self.status.look() else { return };
        let Some(currents) = currents(&self.status, &self.keys.ring()) else { return };
        let (is_demanded, now) = (self.status.takes_demand(), self.clock.now());
        let due = self.status.with_presses(|presses| {
            presses.forget_others(&look.records.keys().cloned().collect());
            presses.due(&look, &currents, is_demanded, now)
        });
        let until = Instant::now() + ROUND;
        for due in due {
            if Instant::now() > until || !self.press_one(due).await {
                return;
            }
        }
    }

    /// Says whether there is any use in pressing another.
    async fn press_one(&mut self, due: Due) -> bool {
        let apart = self.status.look().map_or(0, |look| look.clocks_apart[0]);
        let now = self.clock.now();
        // n8n dates the changes of its records: by a clock that is behind, they come after it.
        let at = now.min(Timestamp::from_millis(now.as_millis().saturating_add(apart)));
        let pressed = tokio::time::timeout(PATIENCE, self.press(&due.record)).await;
        let key = match pressed {
            Ok(Ok(Answer::Key(key))) => Some(key),
            // Some records lead to where nothing answers, or cannot be tested.
            Ok(
                Ok(Answer::Unclear)
                | Err(ClientError::TooSlow { .. } | ClientError::Refused { .. } | ClientError::Json { .. }),
            )
            | Err(_) => None,
            Ok(Ok(Answer::CannotBeAsked)) => {
                self.status
                    .say_of_presses(Some("this version of n8n does not test a credential by its API".to_owned()));
                return false;
            }
            Ok(Err(error)) => {
                self.note_trouble(&error);
                return false;
            }
        };
        self.status.say_of_presses(None);
        self.said = None;
        self.status.with_presses(|presses| presses.note(due, Pressed { at, key }));
        if let Some(look) = self.status.renew_presses() {
            self.ledger.look_came(&look);
        }
        true
    }

    /// Has n8n test a record twice, and gives the key that came both times.
    async fn press(&self, record: &str) -> Result<Answer, ClientError> {
        let press = self.ledger.presses.begin(&self.status.name, record).await;
        let mut first: Option<Names> = None;
        for _ in 0..2 {
            let began = Instant::now();
            let Some(tested) = self.client.test_credential(record).await? else { return Ok(Answer::CannotBeAsked) };
            let Some(key) = press.key_since(began, tested.is_good()).await else { return Ok(Answer::Unclear) };
            if first.is_some_and(|first| !is_same(first, key)) {
                return Ok(Answer::Unclear);
            }
            first = Some(key);
        }
        let Some(key) = first else { return Ok(Answer::Unclear) };
        for binding in press.own(key) {
            self.ledger.forget_unused(&binding);
        }
        Ok(Answer::Key(key))
    }

    fn note_trouble(&mut self, error: &ClientError) {
        let text = with_causes(error);
        self.status.say_of_presses(matches!(error, ClientError::ScopeLacks { .. }).then(|| error.to_string()));
        if self.said.as_ref() != Some(&text) {
            let instance = &*self.status.name;
            tracing::warn!(
                event = "n8n",
                instance,
                "which key each credential holds is known by its use alone: {text}"
            );
        }
        self.said = Some(text);
    }
}

/// What came of a press.
enum Answer {
    /// This key came.
    Key(Names),
    /// None came, or it cannot be told which one it was.
    Unclear,
    /// n8n's API has no test.
    CannotBeAsked,
}

/// The current keys of the sets whose keys the records of an n8n may hold. Nothing where one of them learns: it would take what
/// a test sends for a key in use.
fn currents(status: &Status, ring: &KeyRing) -> Option<Vec<Option<Fingerprint>>> {
    let declared = status.set.as_deref().and_then(|name| ring.find_set(name));
    let sets: Vec<SetIndex> = declared.map_or_else(|| ring.indexes().collect(), |set| vec![set]);
    if sets.iter().any(|set| ring.set(*set).learning) {
        return None;
    }
    Some(sets.into_iter().map(|set| ring.current(set).map(|names| names.fingerprint)).collect())
}

/// How long one record may take, both tests of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long those of one look may take in all.
const ROUND: Duration = Duration::from_mins(2);
