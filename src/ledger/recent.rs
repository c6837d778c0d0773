//! The last exchanges of executions, to tell what happened in one. In memory alone, and bounded: what a restart or
//! later exchanges push out is still remembered on its binding, as far as it was the last of its key.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use super::binding::Binding;
use super::sighting::{Exchange, ExchangeId};
use crate::clock::Timestamp;
use crate::keys::set::Names;
use crate::locks::lock;
use crate::outcome::Outcome;
use crate::verdict::explain::{Diagnosis, Explanation};

/// Rings of them, parted by execution so that workers seldom meet at one lock.
#[derive(Debug, Default)]
pub struct Recent([Mutex<VecDeque<Past>>; RINGS]);

/// An exchange that is over.
#[derive(Clone, Debug)]
pub struct Past {
    pub id: ExchangeId,
    /// When it started.
    pub at: Timestamp,
    pub binding: Arc<Binding>,
    /// The key that came.
    pub key: Option<Names>,
    /// The verdict's code.
    pub verdict: &'static str,
    /// The diagnosis's code.
    pub diagnosis: &'static str,
    /// The outcome's code.
    pub outcome: &'static str,
    /// The action's code.
    pub action: &'static str,
    /// The status that the client got.
    pub status: Option<u16>,
    /// Of a bad one: what happened, and what to do.
    pub told: Option<Box<[String; 2]>>,
    execution: u64,
}

impl Recent {
    /// Takes an exchange down, if it belongs to an execution. The oldest of its ring makes room.
    pub fn note(&self, exchange: &Exchange, diagnosis: Diagnosis, outcome: Outcome, told: Option<&Explanation>) {
        let Some(execution) = exchange.execution().map(hash) else { return };
        let past = Past {
            id: exchange.id,
            at: exchange.at,
            binding: Arc::clone(&exchange.binding),
            key: exchange.judgement.key,
            verdict: exchange.judgement.verdict.code(),
            diagnosis: diagnosis.code(),
            outcome: outcome.code(),
            action: exchange.action(),
            status: exchange.status().map(|status| status.as_u16()),
            told: told.map(|told| Box::new([told.message.clone(), told.remedy.clone()])),
            execution,
        };
        let mut ring = self.ring(execution);
        let oldest = if ring.len() == RING { ring.pop_front() } else { None };
        ring.push_back(past);
        drop(ring);
        // What goes may free more than a moment's worth of memory.
        drop(oldest);
    }

    /// Those of one execution, as they started.
    #[must_use]
    pub fn of(&self, execution: &str) -> Vec<Past> {
        let execution = hash(execution);
        let mut found: Vec<_> =
            self.ring(execution).iter().filter(|past| past.execution == execution).cloned().collect();
        found.sort_by_key(|past| past.at);
        found
    }

    fn ring(&self, execution: u64) -> MutexGuard<'_, VecDeque<Past>> {
        let number = usize::try_from(execution % RINGS as u64).unwrap_or_default();
        lock(&self.0[number])
    }
}

/// Known by this alone: 64 bits, so that one is taken for another only by intent.
fn hash(execution: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    execution.hash(&mut hasher);
    hasher.finish()
}

const RINGS: usize = 16;

/// How many exchanges each of them holds: some megabytes in all, where all of them are bad.
const RING: usize = 512;
