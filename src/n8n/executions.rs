//! The executions of one n8n, as its API lists them: which numbers are its own, and which of them have begun and not ended.
//!
//! Seen in n8n 2.41.1: the list comes newest first and has what has ended or waits; `status=running` lists what runs. So an
//! execution that runs for long enters the list below newer ones, and each look reads down to where the one before it began.
//! n8n 1.100.1 refuses `status=running`, and lists none for `status=waiting` though one waits: there one that ran across two
//! looks is known from the list alone, so each look reads down to those that began an hour ago.
//!
//! What an execution was given and made is passed over where it comes: it holds prompts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use super::client::{Client, ClientError, scope};
use super::connect::CREDENTIAL_TYPE;
use super::documents::{Execution, Snapshot, SnapshotNode};
use crate::clock::Timestamp;
use crate::ledger::look::{LONGEST_UNTOLD, Listed, Unfinished};
use crate::request_path::is_id;
use crate::telemetry::masked::mask_id;

/// The executions of one n8n, kept from one look to the next.
#[derive(Debug, Default)]
pub struct Executions {
    listed: BTreeMap<u64, Listed>,
    unfinished: Vec<Unfinished>,
    /// Those whose snapshot cannot be had.
    unreadable: HashSet<Box<str>>,
    /// Below it nothing new comes.
    floor: u64,
}

/// What of them cannot be known, in a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Why the list is not known, or not whole.
    pub list: Option<String>,
    /// Why it is not known which of them wait or run, or which records their snapshots name.
    pub unfinished: Option<String>,
}

impl Gaps {
    /// Nothing is known, for that reason.
    #[must_use]
    pub fn all(why: String) -> Self {
        Self { list: Some(why.clone()), unfinished: Some(why) }
    }
}

impl Executions {
    /// Those that n8n lists, by number.
    #[must_use]
    pub fn listed(&self) -> &BTreeMap<u64, Listed> {
        &self.listed
    }

    /// Those that have begun and not ended.
    #[must_use]
    pub fn unfinished(&self) -> &[Unfinished] {
        &self.unfinished
    }

    /// Asks n8n what is new. Where it does not tell, what was known stays, and the gap is told.
    pub async fn read(&mut self, client: &Client, now: Timestamp) -> Gaps {
        let mut gaps = Gaps::default();
        let mut open = Open { by_id: BTreeMap::new(), now };
        let running = running(client, &mut open).await;
        let tells_running = running.is_ok();
        match running {
            Ok(()) => {}
            // Then it does not list those that wait, either.
            Err(ClientError::Refused { .. }) => gaps.unfinished = Some(OLD_RELEASE.to_owned()),
            Err(error) => gaps.unfinished = Some(error.to_string()),
        }
        if let Err(error) = self.read_list(client, now, &mut open, tells_running).await {
            gaps.list = Some(error.to_string());
        }
        let is_whole = match waiting(client, &mut open).await {
            Ok(()) => gaps.unfinished.is_none(),
            Err(error) => {
                gaps.unfinished.get_or_insert_with(|| error.to_string());
                false
            }
        };
        if !is_whole {
            self.keep_open(&mut open);
        }
        if let Some(gap) = self.look_into(client, &mut open).await {
            gaps.unfinished.get_or_insert(gap);
        }
        self.take(open, now);
        gaps
    }

    /// Reads the list down to what the look before this one has seen, or a day back; where n8n does not tell what runs, down
    /// to what may have ended since.
    async fn read_list(
        &mut self,
        client: &Client,
        now: Timestamp,
        open: &mut Open,
        tells: bool,
    ) -> Result<(), ClientError> {
        let floor = if tells { self.floor } else { self.floor.min(self.begun_before(now, LONGEST_UNTOLD)) };
        let begun = open.newest().max(self.listed.last_key_value().map_or(0, |(number, _)| *number));
        let mut newest = None;
        let take = |execution: Execution| {
            let Some(number) = number(&execution) else { return ControlFlow::Continue(()) };
            newest.get_or_insert(number);
            let is_old = floor == 0 && execution.started_at.is_some_and(|began| now.since(began) > A_DAY);
            if number <= floor || is_old {
                return ControlFlow::Break(());
            }
            match state(&execution) {
                State::Ended => self.end(number, &execution, open),
                state @ (State::Runs | State::Waits) => open.add(&execution, state),
            }
            ControlFlow::Continue(())
        };
        client.list_at_most("executions?", scope::EXECUTION_LIST, MOST_PAGES, take).await?;
        // Where its numbers have begun anew, the next look begins anew as well.
        self.floor = if newest.is_some_and(|newest| newest < floor) { 0 } else { begun };
        Ok(())
    }

    /// The newest that began longer ago than that; 0 where there is none.
    fn begun_before(&self, now: Timestamp, ago: Duration) -> u64 {
        let is_older = |listed: &Listed| now.since(listed.began) > ago;
        self.listed.iter().rev().find(|(_, listed)| is_older(listed)).map_or(0, |(number, _)| *number)
    }

    fn end(&mut self, number: u64, execution: &Execution, open: &mut Open) {
        open.by_id.remove(&*execution.id);
        if let (Some(workflow), Some(began)) = (workflow(execution), execution.started_at) {
            let by_hand = execution.mode.as_deref() == Some(BY_HAND);
            self.listed.insert(number, Listed { workflow, began, ended: execution.stopped_at, by_hand });
        }
    }

    /// Those of the last look that are not known to have ended.
    fn keep_open(&self, open: &mut Open) {
        let is_open = |one: &&Unfinished| {
            let listed = one.execution.parse().ok().and_then(|number: u64| self.listed.get(&number));
            listed.is_none_or(|listed| listed.ended.is_none())
        };
        for one in self.unfinished.iter().filter(is_open) {
            open.by_id.entry(one.execution.clone()).or_insert_with(|| one.clone());
        }
    }

    /// Asks for the snapshots of those that are new. Says why not, where they cannot be had.
    async fn look_into(&mut self, client: &Client, open: &mut Open) -> Option<String> {
        let known: BTreeMap<_, _> = self.unfinished.iter().map(|one| (&one.execution, &one.records)).collect();
        for one in open.by_id.values_mut() {
            one.records = known.get(&one.execution).copied().cloned().flatten();
        }
        self.unreadable.retain(|id| open.by_id.contains_key(id));
        let is_new = |one: &&mut Unfinished| one.records.is_none() && !self.unreadable.contains(&one.execution);
        let mut unreadable = Vec::new();
        let mut gap = None;
        for one in open.by_id.values_mut().filter(is_new).take(MOST_SNAPSHOTS) {
            match client.execution::<Execution>(&one.execution).await {
                Ok(execution) => one.records = execution.workflow_data.as_ref().map(records),
                // It has ended since it was listed, and was not saved.
                Err(ClientError::NotFound { .. }) => {}
                Err(ClientError::TooBig { .. } | ClientError::Json { .. }) => unreadable.push(one.execution.clone()),
                Err(error) => {
                    gap = Some(error.to_string());
                    break;
                }
            }
        }
        self.unreadable.extend(unreadable);
        gap
    }

    /// What was open and is no longer has ended by now.
    fn take(&mut self, open: Open, now: Timestamp) {
        for listed in self.listed.values_mut().filter(|listed| listed.ended.is_none()) {
            listed.ended = Some(now);
        }
        for one in open.by_id.values() {
            if let Ok(number) = one.execution.parse() {
                let (workflow, began) = (one.workflow.clone(), one.began);
                let listed = Listed { workflow, began, ended: None, by_hand: false };
                self.listed.insert(number, listed);
            }
        }
        while self.listed.len() > MOST_LISTED {
            self.listed.pop_first();
        }
        self.unfinished = open.by_id.into_values().collect();
    }
}

/// Those that have begun and not ended, by id.
#[derive(Debug)]
struct Open {
    by_id: BTreeMap<Box<str>, Unfinished>,
    now: Timestamp,
}

impl Open {
    fn add(&mut self, execution: &Execution, state: State) {
        let Some(workflow) = workflow(execution).filter(|_| self.by_id.len() < MOST_OPEN) else { return };
        // In queue mode one whose turn is to come has not begun.
        let began = execution.started_at.or(execution.created_at).unwrap_or(self.now);
        let (execution, waits) = (Box::from(&*execution.id), state == State::Waits);
        let one = Unfinished { execution, workflow, began, waits, records: None };
        self.by_id.insert(one.execution.clone(), one);
    }

    fn newest(&self) -> u64 {
        self.by_id.keys().filter_map(|id| id.parse().ok()).max().unwrap_or(0)
    }
}

/// What an execution does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ended,
    Runs,
    /// It waits for something: a time, a call, or, in queue mode, its turn.
    Waits,
}

async fn running(client: &Client, open: &mut Open) -> Result<(), ClientError> {
    let take = |execution: Execution| {
        // Some servers do not look at what they are asked for.
        if state(&execution) == State::Runs {
            open.add(&execution, State::Runs);
        }
        ControlFlow::Continue(())
    };
    client.list_at_most("executions?status=running", scope::EXECUTION_LIST, MOST_PAGES, take).await.map(drop)
}

async fn waiting(client: &Client, open: &mut Open) -> Result<(), ClientError> {
    let take = |execution: Execution| {
        if state(&execution) == State::Waits {
            open.add(&execution, State::Waits);
        }
        ControlFlow::Continue(())
    };
    client.list_at_most("executions?status=waiting", scope::EXECUTION_LIST, MOST_PAGES, take).await.map(drop)
}

/// Lists of n8n 1.x have no status. What waits has a time at which it stopped, too.
fn state(execution: &Execution) -> State {
    match execution.status.as_deref() {
        Some("waiting" | "new") => State::Waits,
        Some("running") => State::Runs,
        None if execution.stopped_at.is_none() => State::Runs,
        Some(_) | None => State::Ended,
    }
}

fn number(execution: &Execution) -> Option<u64> {
    execution.id.parse().ok()
}

/// Its workflow, where both ids are fit to be shown.
fn workflow(execution: &Execution) -> Option<Box<str>> {
    let workflow = execution.workflow_id.as_deref()?;
    (is_id(workflow) && is_id(&execution.id)).then(|| mask_id(workflow).into())
}

/// The credential records for `OpenAI` that a snapshot names.
fn records(snapshot: &Snapshot) -> BTreeSet<Box<str>> {
    let of_node = |node: &SnapshotNode| {
        let named = node.credentials.get(CREDENTIAL_TYPE).and_then(|record| record.id.clone());
        [named, node.parameters.inline_agent.config.credential.clone()]
    };
    let nodes = snapshot.nodes.iter().filter(|node| !node.disabled);
    nodes.flat_map(of_node).flatten().filter(|id| is_id(id)).map(Box::from).take(MOST_RECORDS).collect()
}

/// What n8n 1.x does not tell.
pub const OLD_RELEASE: &str = "this version of n8n does not list the executions that run or wait; 2.x does";

/// The mode of an execution that a person started in the editor.
const BY_HAND: &str = "manual";

/// How far back the first look goes.
const A_DAY: Duration = Duration::from_hours(24);

/// How many are remembered.
const MOST_LISTED: usize = 20_000;

/// How many pages of 250 one look reads of each list.
const MOST_PAGES: usize = 10;

/// How many that have begun and not ended are known.
const MOST_OPEN: usize = 2_000;

/// How many snapshots one look asks for: each is an answer of its own, and may be large.
const MOST_SNAPSHOTS: usize = 50;

/// How many records one snapshot names.
const MOST_RECORDS: usize = 64;
