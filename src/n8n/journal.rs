//! What `keyward n8n reconnect` was about to do, and what came of it: one file of lines for each run, in the state folder. Each
//! line is on the disk before n8n is asked for what it says, so that a run that was ended at any point can go on or be taken
//! back. No key and no token is in it: what stands in a workflow is known by the names that the fingerprint key gives it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reconnect::{Target, Task};
use super::rewrite::{At, Marks};
use crate::clock::Timestamp;
use crate::keys::state::{StateError, StateFolder};

/// A line of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Run(Beginning),
    /// n8n is about to be asked to change that workflow, or to take it back.
    Begin {
        workflow: String,
        back: bool,
        was: Box<Snapshot>,
        then: Box<Marks>,
    },
    /// n8n has saved what is to be published as that version, and nothing of it runs yet.
    Saved {
        workflow: String,
        version: String,
    },
    /// It is done, and this is how n8n has it now.
    Done {
        workflow: String,
        back: bool,
        marks: Marks,
    },
    /// It is not done, and it is known that n8n has it as before.
    Left {
        workflow: String,
        back: bool,
        why: String,
    },
    /// It is not known how n8n has it, or it could not be put back.
    Lost {
        workflow: String,
        back: bool,
        why: String,
    },
    /// Everything was tried, and it is known what came of it.
    End,
}

/// What a run is about.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Beginning {
    version: FormatVersion,
    /// Its id, by which you name it.
    pub run: String,
    /// The n8n: the address of its editor.
    pub n8n: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub at: i64,
    pub to: Target,
    /// What is to be done.
    pub tasks: Vec<Task>,
}

/// A workflow before it is changed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Snapshot {
    /// Which versions it has.
    pub at: At,
    /// Whether its triggers are on.
    pub active: bool,
    /// How many of its triggers n8n counts.
    pub triggers: u64,
    pub marks: Marks,
}

/// A run, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub beginning: Beginning,
    /// How far each of its tasks is.
    pub states: Vec<State>,
    /// Whether it is known what came of every task.
    pub is_ended: bool,
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// n8n was not asked for it.
    Waits,
    /// n8n was asked, and what came of it was not written down.
    Begun(Box<Begun>),
    Done(Box<Marks>),
    /// n8n has it as it was before the run.
    AsBefore(Option<String>),
}

/// A task that n8n was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// Whether it was to be taken back.
    pub back: bool,
    pub was: Snapshot,
    /// How it is when it is done.
    pub then: Marks,
    /// The version that was saved to be published.
    pub saved: Option<String>,
    /// Why it is not known how n8n has it, where that was found out.
    pub lost: Option<String>,
}

/// The file of a run.
pub struct Journal<'f> {
    folder: &'f StateFolder,
    name: String,
}

// === impl Journal ===

impl<'f> Journal<'f> {
    /// Begins a run. Those of long ago are removed.
    pub fn begin(
        folder: &'f StateFolder,
        (n8n, to): (String, Target),
        at: Timestamp,
        tasks: Vec<Task>,
    ) -> Result<(Self, Run), StateError> {
        remove_old(folder, at)?;
        let taken = folder.names_of_lines(BEGINNING)?;
        let moment: String =
            at.to_string().chars().filter(char::is_ascii_alphanumeric).take("20261130T190000".len()).collect();
        let numbered = (2..).map(|number| format!("{moment}-{number}"));
        let is_free = |run: &String| !taken.contains(&file_of(run));
        let run = std::iter::once(moment.clone()).chain(numbered).find(is_free).unwrap_or_default();
        let journal = Self { folder, name: file_of(&run) };
        let states = tasks.iter().map(|_| State::Waits).collect();
        let beginning = Beginning { version: FormatVersion::One, run, n8n, at: at.as_millis(), to, tasks };
        journal.write(&Line::Run(beginning.clone()))?;
        Ok((journal, Run { beginning, states, is_ended: false }))
    }

    /// Goes on with a run.
    #[must_use]
    pub fn of(folder: &'f StateFolder, run: &Run) -> Self {
        Self { folder, name: file_of(&run.beginning.run) }
    }

    /// Notes that n8n is about to be asked.
    pub fn note_begin(&self, workflow: &str, back: bool, was: &Snapshot, then: &Marks) -> Result<(), StateError> {
        let (workflow, was, then) = (workflow.to_owned(), Box::new(was.clone()), Box::new(then.clone()));
        self.write(&Line::Begin { workflow, back, was, then })
    }

    /// Notes the version that is to be published.
    pub fn note_saved(&self, workflow: &str, version: &str) -> Result<(), StateError> {
        self.write(&Line::Saved { workflow: workflow.to_owned(), version: version.to_owned() })
    }

    /// Notes that it is done.
    pub fn note_done(&self, workflow: &str, back: bool, marks: &Marks) -> Result<(), StateError> {
        self.write(&Line::Done { workflow: workflow.to_owned(), back, marks: marks.clone() })
    }

    /// Notes that n8n has it as before.
    pub fn note_left(&self, workflow: &str, back: bool, why: &str) -> Result<(), StateError> {
        self.write(&Line::Left { workflow: workflow.to_owned(), back, why: why.to_owned() })
    }

    /// Notes that it is not known how n8n has it.
    pub fn note_lost(&self, workflow: &str, back: bool, why: &str) -> Result<(), StateError> {
        self.write(&Line::Lost { workflow: workflow.to_owned(), back, why: why.to_owned() })
    }

    /// Notes that it is known what came of everything.
    pub fn note_end(&self) -> Result<(), StateError> {
        self.write(&Line::End)
    }

    fn write(&self, line: &Line) -> Result<(), StateError> {
        self.folder.append(&self.name, line)
    }
}

/// Keeps other commands from changing workflows, until what it gives is dropped.
pub fn hold(folder: &StateFolder) -> Result<std::fs::File, StateError> {
    folder.lock("reconnect.lock")
}

/// Every run, the last one last.
pub fn runs(folder: &StateFolder) -> Result<Vec<Run>, StateError> {
    let mut runs = Vec::new();
    for name in folder.names_of_lines(BEGINNING)? {
        runs.extend(read(folder.lines(&name)?));
    }
    runs.sort_by(|a: &Run, b| (a.beginning.at, &a.beginning.run).cmp(&(b.beginning.at, &b.beginning.run)));
    Ok(runs)
}

/// Removes the runs whose outcome is known and that are neither among the last
/// [`KEPT`] nor younger than [`KEPT_FOR`].
fn remove_old(folder: &StateFolder, now: Timestamp) -> Result<(), StateError> {
    let runs = runs(folder)?;
    let old = runs.len().saturating_sub(KEPT);
    let is_old = |run: &&Run| run.is_ended && now.since(Timestamp::from_millis(run.beginning.at)) > KEPT_FOR;
    runs[..old].iter().filter(is_old).try_for_each(|run| folder.remove_lines(&file_of(&run.beginning.run)))
}

/// A run by its lines. One whose first line was cut off never asked n8n for anything.
fn read(lines: Vec<Line>) -> Option<Run> {
    let mut lines = lines.into_iter();
    let Some(Line::Run(beginning)) = lines.next() else { return None };
    let states = beginning.tasks.iter().map(|_| State::Waits).collect();
    let mut run = Run { beginning, states, is_ended: false };
    lines.for_each(|line| run.take(line));
    Some(run)
}

// === impl Run ===

impl Run {
    fn take(&mut self, line: Line) {
        match line {
            Line::Run(_) => {}
            Line::Begin { workflow, back, was, then } => {
                self.set(
                    &workflow,
                    State::Begun(Box::new(Begun { back, was: *was, then: *then, saved: None, lost: None })),
                );
            }
            Line::Saved { workflow, version } => {
                if let Some(State::Begun(begun)) = self.state(&workflow) {
                    begun.saved = Some(version);
                }
            }
            Line::Done { workflow, back: false, marks } => self.set(&workflow, State::Done(Box::new(marks))),
            Line::Done { workflow, back: true, .. } => self.set(&workflow, State::AsBefore(None)),
            Line::Left { workflow, back: false, why } => self.set(&workflow, State::AsBefore(Some(why))),
            Line::Left { workflow, back: true, why } => match self.state(&workflow) {
                // It was not taken back, so it is what it was when that was tried.
                Some(state @ State::Begun(_)) => {
                    if let State::Begun(begun) = state {
                        *state = State::Done(Box::new(begun.was.marks.clone()));
                    }
                }
                // There is nothing of it that could be taken back.
                Some(state) => *state = State::AsBefore(Some(why)),
                None => {}
            },
            Line::Lost { workflow, why, .. } => {
                if let Some(State::Begun(begun)) = self.state(&workflow) {
                    begun.lost = Some(why);
                }
            }
            Line::End => self.is_ended = true,
        }
    }

    fn state(&mut self, workflow: &str) -> Option<&mut State> {
        let at = self.beginning.tasks.iter().position(|task| task.workflow == workflow)?;
        self.states.get_mut(at)
    }

    fn set(&mut self, workflow: &str, to: State) {
        if let Some(state) = self.state(workflow) {
            *state = to;
        }
    }

    /// Each task, and how far it is.
    pub fn tasks(&self) -> impl Iterator<Item = (&Task, &State)> {
        self.beginning.tasks.iter().zip(&self.states)
    }

    /// Whether something of it may be taken back.
    #[must_use]
    pub fn may_be_taken_back(&self) -> bool {
        self.states.iter().any(|state| matches!(state, State::Begun(_) | State::Done(_)))
    }
}

fn file_of(run: &str) -> String {
    format!("{BEGINNING}{run}")
}

/// The shape's version. A file of a later one is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum FormatVersion {
    #[serde(rename = "1")]
    One,
}

const BEGINNING: &str = "reconnect-";

/// How many runs are kept whatever their age.
const KEPT: usize = 20;

/// How long a run is kept at least.
const KEPT_FOR: Duration = Duration::from_hours(90 * 24);

#[cfg(test)]
mod tests;
