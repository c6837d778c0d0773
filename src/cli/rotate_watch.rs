//! The seventh step: the answer to *can the old key go?* is waited for, once for all credential records.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::answer::{headlines, reasons};
use super::client::Said;
use super::output::{print_wrapped, remark};
use super::rotate::{Done, Rotation};
use super::source::{Received, Source};
use crate::answers::binding::{KeyUse, WholeBinding};
use crate::answers::old_key::{CanGo, OldKeySummary};
use crate::answers::rotation::{RotatingBinding, Rotation as RotationAnswer};
use crate::answers::words::state;
use crate::clock::Timestamp;
use crate::ledger::answer::AnswerKind;
use crate::rotate::journal::{Accepted, Consumer};

impl Rotation {
    pub(super) fn watch(&mut self) -> anyhow::Result<Done> {
        remark(format_args!(
            "Waiting until the old key can go. Ctrl-C stops that and nothing else: keyward rotate {} --resume waits again.",
            self.run.set
        ));
        let mut told = None;
        let begun = Instant::now();
        loop {
            let view = self.look()?;
            let Some(old) = self.old_of(&view.answer) else {
                // Until keyward has read that it was replaced.
                if begun.elapsed() > UNTIL_KNOWN {
                    bail!("keyward does not know {} as an old key of this set", self.run.old);
                }
                std::thread::sleep(LOOK_AGAIN);
                continue;
            };
            if old.can_go.answer == AnswerKind::Yes {
                let text = old.can_go.text.clone();
                self.remember(&self.keyward.with_all_reasons(view)?.answer);
                return Ok(Done::Yes(format!("key {} can go: {text}", self.run.old)));
            }
            // What changes with the time alone is not told again.
            let reasons: Vec<_> = old.can_go.all_reasons().map(|reason| reason.text.clone()).collect();
            let state = (reasons, old.can_go.kinds.clone());
            if told.as_ref() != Some(&state) {
                tell(old, self.setup.now());
                told = Some(state);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The set's rotation, with its bindings.
    pub(super) fn look(&self) -> anyhow::Result<Received<RotationAnswer>> {
        self.keyward.beginning_of_rotation(&self.run.set, MOST_ROWS)
    }

    /// What keyward says of this rotation's old key.
    pub(super) fn old_of<'v>(&self, view: &'v RotationAnswer) -> Option<&'v OldKeySummary> {
        let is_old = |old: &&OldKeySummary| old.key.fingerprint.to_hex() == self.run.old.fingerprint;
        view.old_keys.iter().map(|old| &old.summary).find(is_old)
    }

    /// When a binding sent the new key first, in milliseconds since the Unix epoch.
    fn confirmed(&self, binding: &str) -> Option<i64> {
        let (Source::Running(keyward), Some(new)) = (&self.keyward, &self.run.new) else { return None };
        let Ok(Said::Answer(answer)) = keyward.get(&format!("/api/v1/bindings/{binding}")) else { return None };
        let whole: WholeBinding = keyward.read(&answer).ok()?;
        let is_new = |used: &&KeyUse| used.key.fingerprint.is_some_and(|key| key.to_hex() == new.fingerprint);
        whole.uses.iter().find(is_new).map(|used| used.first.as_millis())
    }

    /// What the report says of this rotation's end: who used the key, and what you accepted.
    pub(super) fn remember(&mut self, view: &RotationAnswer) {
        let consumer = |(number, binding): (usize, &RotatingBinding)| Consumer {
            who: binding.row.who.in_words(),
            state: state(&binding.row.standing).to_owned(),
            confirmed: (number < MOST_LOOKED_AT).then(|| self.confirmed(&binding.row.who.binding)).flatten(),
            last: binding.last.as_millis(),
        };
        self.run.consumers = view.bindings.iter().enumerate().map(consumer).collect();
        let accepted = |can_go: &CanGo| {
            let reasons = can_go.all_reasons().filter_map(|reason| Some((reason, reason.accepted.as_ref()?)));
            let accepted = reasons.map(|(reason, accepted)| Accepted {
                what: reason.code.clone().into_owned(),
                text: reason.text.clone(),
                reason: accepted.reason.clone(),
                at: accepted.at.as_millis(),
            });
            accepted.collect::<Vec<_>>()
        };
        for accepted in self.old_of(view).map(|old| accepted(&old.can_go)).unwrap_or_default() {
            if !self.run.accepted.contains(&accepted) {
                self.run.accepted.push(accepted);
            }
        }
    }
}

/// The answer and what bars the key, as `keyward rotation` says it.
fn tell(old: &OldKeySummary, now: Timestamp) {
    let reasons = reasons(&[old], &BTreeSet::new(), now);
    let lines = headlines(&[old], None, now).into_iter().chain(reasons);
    print_wrapped(&lines.map(|line| line.within(2)).collect::<Vec<_>>());
}

/// As many bindings as the admin API gives at once: they stand in the report.
const MOST_ROWS: usize = 10_000;

/// Of how many bindings the report says when they were confirmed: each is asked for by itself.
const MOST_LOOKED_AT: usize = 2_000;

const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long keyward may take until it knows the replaced key as an old one.
const UNTIL_KNOWN: Duration = Duration::from_secs(30);
