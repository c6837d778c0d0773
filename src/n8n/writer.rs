//! Changes workflows in n8n, one after the other, and looks at each afterwards: whether what runs has the change, and whether it
//! is as it was but for that. What fails is put back.
//!
//! n8n's answer to a change proves nothing: it was seen to answer 403 although a draft was saved, and is reported to answer 200
//! although another version runs on. So what n8n has is read before and after each change, and judged by that.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, ClientError, Publish};
use super::journal::{Begun, Journal, Snapshot};
use super::reconnect::Task;
use super::rewrite::{Content, Edit, Marks, NameOf, RewriteError, Typed, Version, VersionMarks};
use crate::keys::state::StateError;
use crate::telemetry::event::with_causes;

/// Changes workflows of one n8n.
pub struct Writer<'a> {
    pub client: &'a Client,
    pub journal: &'a Journal<'a>,
    /// What parts of a workflow are known by.
    pub name_of: &'a NameOf<'a>,
}

/// What came of one workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is as it was wanted, as n8n has it now.
    Done,
    /// Something else changed it, so it was left alone: what is different.
    ChangedSince(Vec<String>),
    /// It is as it was before, because of that.
    AsBefore(String),
    /// It was changed, not as it should be, and put back.
    PutBack(String),
    /// It is not known how it is, or it could not be put back.
    Lost(String),
}

/// What has to be so, that a workflow may be changed.
#[derive(Clone, Copy)]
pub enum Basis<'a> {
    /// It has the versions of the plan.
    Versions,
    /// It is as it was then.
    Marks(&'a Marks),
}

/// Why a change is not known to be made.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("n8n did not keep it as a draft, but has it run already, or another change came between")]
    NotHeldBack,
}

/// A change that n8n is asked for.
struct Change<'a> {
    task: &'a Task,
    back: bool,
    /// The workflow as it was read.
    was: &'a Snapshot,
    then: &'a Marks,
}

// === impl Writer ===

impl Writer<'_> {
    /// Changes a workflow by a task, or takes that back (`back`, with the task reversed).
    pub async fn carry_out(&self, task: &Task, back: bool, basis: Basis<'_>) -> Result<End, StateError> {
        let content = match self.read(task).await {
            Ok(content) => content,
            Err(error) => return self.left(task, back, End::AsBefore(in_words(&error))),
        };
        let marks = content.marks(self.name_of);
        let differences = basis.differences(task, &content, &marks);
        if !differences.is_empty() {
            return self.left(task, back, End::ChangedSince(differences));
        }
        let (draft, live) = match self.wanted(task, &content, &marks).await {
            Ok(wanted) => wanted,
            Err(error) => return self.left(task, back, End::AsBefore(in_words(&error))),
        };
        let then = Marks {
            draft: draft.marks(self.name_of),
            live: match (&marks.live, &live) {
                (None, _) => None,
                (Some(_), Some(live)) => Some(live.marks(self.name_of)),
                (Some(own), None) if marks.is_parted() => Some(own.clone()),
                (Some(_), None) => Some(draft.marks(self.name_of)),
            },
            ..marks.clone()
        };
        let was = Snapshot { at: content.at.clone(), active: content.active, triggers: content.triggers, marks };
        self.journal.note_begin(&task.workflow, back, &was, &then)?;
        let change = Change { task, back, was: &was, then: &then };
        let asked = self.ask(&change, &content, &draft, live.as_ref()).await;
        if let Err(WriteError::State(error)) = asked {
            return Err(error);
        }
        let end = self.judge(&change, asked, Some(&content)).await;
        self.note(&change, end)
    }

    /// Goes on with a task that was begun, by how n8n has the workflow now.
    pub async fn go_on(&self, task: &Task, begun: &Begun) -> Result<End, StateError> {
        let change = Change { task, back: begun.back, was: &begun.was, then: &begun.then };
        let now = match self.read(task).await {
            Ok(now) => now,
            Err(error) => return Ok(End::Lost(in_words(&error))),
        };
        let marks = now.marks(self.name_of);
        if self.is_as(&now, &begun.then, change.was) {
            return self.note(&change, End::Done);
        }
        if marks == begun.was.marks && now.active == begun.was.active {
            return self.carry_out(task, begun.back, Basis::Marks(&begun.was.marks)).await;
        }
        if marks.live != begun.was.marks.live || !change.holds(&marks) {
            return Ok(End::ChangedSince(begun.then.differences(&marks)));
        }
        let asked = self.finish(&change, begun, &now, &marks).await;
        if let Err(WriteError::State(error)) = asked {
            return Err(error);
        }
        let end = self.judge(&change, asked, None).await;
        self.note(&change, end)
    }

    /// Takes back a task that was begun, by how n8n has the workflow now.
    pub async fn take_back(&self, task: &Task, begun: &Begun) -> Result<End, StateError> {
        let now = match self.read(task).await {
            Ok(now) => now,
            Err(error) => return Ok(End::Lost(in_words(&error))),
        };
        let marks = now.marks(self.name_of);
        // To take it back is a change of its own, which ends as it was.
        let change = Change { task, back: true, was: &begun.was, then: &begun.was.marks };
        if self.is_as(&now, change.then, change.was) {
            return self.note(&change, End::Done);
        }
        if marks == begun.then {
            return self.carry_out(&task.reversed(), true, Basis::Marks(&begun.then)).await;
        }
        let begun_change = Change { then: &begun.then, ..change };
        if !begun_change.holds(&marks) {
            return Ok(End::ChangedSince(begun.then.differences(&marks)));
        }
        let asked = self.put_back_from_history(&change, &now, &marks).await;
        let end = self.judge(&change, asked.map(|()| None), None).await;
        self.note(&change, end)
    }

    async fn read(&self, task: &Task) -> Result<Content, WriteError> {
        let text = self.client.whole_workflow(&task.workflow).await?;
        Ok(Content::read(&text)?)
    }

    /// The draft with the changes, and what runs with its own, where that is something else and has any.
    async fn wanted(
        &self,
        task: &Task,
        content: &Content,
        marks: &Marks,
    ) -> Result<(Version, Option<Version>), WriteError> {
        let kept = self.kept(task, &task.draft, Some(&task.at.draft)).await?;
        let draft = content.draft.with(&task.draft, kept.as_ref())?;
        let live = content.live.as_ref().filter(|_| marks.is_parted() && !task.live.is_empty());
        let Some(live) = live else { return Ok((draft, None)) };
        let kept = self.kept(task, &task.live, task.at.live.as_ref()).await?;
        Ok((draft, Some(live.with(&task.live, kept.as_ref())?)))
    }

    /// The version that n8n keeps with what is put back, where any change needs one.
    async fn kept(&self, task: &Task, edits: &[Edit], version: Option<&String>) -> Result<Option<Version>, WriteError> {
        let is_needed = edits.iter().any(|edit| edit.typed == Typed::PutBack);
        let Some(version) = version.filter(|_| is_needed) else { return Ok(None) };
        match self.client.whole_version(&task.workflow, version).await {
            Ok(text) => Ok(Some(Version::of_history(&text)?)),
            // Which node it is about is told where it is looked for.
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Has n8n change it, and gives the version that the draft has by that.
    async fn ask(
        &self,
        change: &Change<'_>,
        content: &Content,
        draft: &Version,
        live: Option<&Version>,
    ) -> Result<Option<String>, WriteError> {
        let Change { task, was, then, .. } = change;
        if !was.marks.is_parted() {
            return self.put(task, content, draft, Publish::WhereActive).await;
        }
        let Some(live) = live else { return self.put(task, content, draft, Publish::Never).await };
        // What is to run is saved first and published last: so what runs is whole at any time, and the draft is never published.
        self.put(task, content, live, Publish::Never).await?;
        let saved = self.read(task).await?;
        let marks = saved.marks(self.name_of);
        if marks.live != was.marks.live || Some(&marks.draft) != then.live.as_ref() {
            return Err(WriteError::NotHeldBack);
        }
        self.journal.note_saved(&task.workflow, &saved.at.draft)?;
        let version = self.put(task, content, draft, Publish::Never).await?;
        self.client.publish(&task.workflow, &saved.at.draft).await?;
        Ok(version)
    }

    /// Saves a version, and gives its id as n8n answers it.
    async fn put(
        &self,
        task: &Task,
        content: &Content,
        version: &Version,
        publish: Publish,
    ) -> Result<Option<String>, WriteError> {
        let body = content.body(version)?;
        let saved = self.client.put_workflow(&task.workflow, publish, body).await?;
        Ok(saved["versionId"].as_str().map(str::to_owned))
    }

    /// Does what is left of a change whose beginning n8n has.
    async fn finish(
        &self,
        change: &Change<'_>,
        begun: &Begun,
        now: &Content,
        marks: &Marks,
    ) -> Result<Option<String>, WriteError> {
        let Change { task, was, then, .. } = change;
        let is_saved = Some(&marks.draft) == then.live.as_ref() && marks.draft != then.draft;
        let version = if is_saved {
            let text = self.client.whole_version(&task.workflow, &was.at.draft).await?;
            let kept = self.kept(task, &task.draft, Some(&task.at.draft)).await?;
            let draft = Version::of_history(&text)?.with(&task.draft, kept.as_ref())?;
            self.journal.note_saved(&task.workflow, &now.at.draft)?;
            self.put(task, now, &draft, Publish::Never).await?;
            &now.at.draft
        } else {
            begun.saved.as_ref().filter(|_| was.marks.is_parted()).unwrap_or(&now.at.draft)
        };
        if was.marks.live.is_some() {
            self.client.publish(&task.workflow, version).await?;
        }
        Ok(None)
    }

    /// Whether n8n has it as wanted, and it runs as before.
    fn is_as(&self, now: &Content, wanted: &Marks, was: &Snapshot) -> bool {
        now.marks(self.name_of) == *wanted && now.active == was.active && (!was.active || now.triggers >= was.triggers)
    }

    /// Looks until n8n has it as wanted; where that does not come, puts it back if `original` says how it was.
    async fn judge(
        &self,
        change: &Change<'_>,
        asked: Result<Option<String>, WriteError>,
        original: Option<&Content>,
    ) -> End {
        let deadline = Instant::now() + PATIENCE;
        let is_refused = asked.as_ref().is_err_and(WriteError::is_refusal);
        let now = loop {
            let now = self.read(change.task).await;
            if now.as_ref().is_ok_and(|now| self.is_as(now, change.then, change.was)) {
                return End::Done;
            }
            if is_refused || Instant::now() >= deadline {
                break now;
            }
            sleep(BETWEEN_LOOKS).await;
        };
        let now = match now {
            Ok(now) => now,
            Err(error) => return End::Lost(in_words(&error)),
        };
        let marks = now.marks(self.name_of);
        let saved = asked.as_ref().ok().cloned().flatten();
        let why = match &asked {
            Err(error) => in_words(error),
            Ok(_) => change.complaint(&now, &marks),
        };
        match original {
            None => End::Lost(why),
            // A release that has no versions stops the triggers before it saves (read in 1.100.1).
            Some(original) if marks == change.was.marks && now.active == change.was.active => {
                if !now.at.has_versions && now.active && !why.contains(OF_SCHEMA) {
                    self.restore(change, original, why).await
                } else {
                    End::AsBefore(why)
                }
            }
            // What n8n itself made of the change has the version that it gave for it.
            Some(_) if !change.holds(&marks) && saved.as_ref() != Some(&now.at.draft) => End::Lost(format!(
                "{why}; something else changed it meanwhile: {}",
                change.then.differences(&marks).join(", ")
            )),
            Some(original) => self.restore(change, original, why).await,
        }
    }

    /// Puts a workflow back as it was read.
    async fn restore(&self, change: &Change<'_>, original: &Content, why: String) -> End {
        let publish = if change.was.marks.is_parted() { Publish::Never } else { Publish::WhereActive };
        // What comes of it is seen below.
        let put = self.put(change.task, original, &original.draft, publish).await;
        let back = self.run_as_before(change).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.read(change.task).await;
            if now.as_ref().is_ok_and(|now| self.is_as(now, &change.was.marks, change.was)) {
                return End::PutBack(why);
            }
            if Instant::now() >= deadline {
                let error = put.and(back).and(now.map(drop)).err();
                let error = error.map_or_else(String::new, |error| format!(" ({})", in_words(&error)));
                return End::Lost(format!("{why}; and it could not be put back{error}"));
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Has run what ran before.
    async fn run_as_before(&self, change: &Change<'_>) -> Result<(), WriteError> {
        let now = self.read(change.task).await?;
        let marks = now.marks(self.name_of);
        let id = &change.task.workflow;
        match &change.was.marks.live {
            Some(live) if marks.live.as_ref() != Some(live) => {
                let version = if marks.draft == *live { Some(&now.at.draft) } else { change.was.at.live.as_ref() };
                if let Some(version) = version {
                    self.client.publish(id, version).await?;
                }
            }
            None if change.was.active && !now.active => drop(self.client.activate(id).await?),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Puts a draft back from the version that n8n keeps of it.
    async fn put_back_from_history(&self, change: &Change<'_>, now: &Content, marks: &Marks) -> Result<(), WriteError> {
        let was = change.was;
        if marks.draft != was.marks.draft && was.at.has_versions {
            let text = self.client.whole_version(&change.task.workflow, &was.at.draft).await?;
            let publish = if was.marks.is_parted() { Publish::Never } else { Publish::WhereActive };
            let put = self.put(change.task, now, &Version::of_history(&text)?, publish).await;
            // Without the right to publish, the draft is saved all the same.
            if let Err(error) = put
                && !error.is_refusal()
            {
                return Err(error);
            }
        }
        self.run_as_before(change).await
    }

    fn note(&self, change: &Change<'_>, end: End) -> Result<End, StateError> {
        let (workflow, back) = (&change.task.workflow, change.back);
        match &end {
            End::Done => self.journal.note_done(workflow, back, change.then)?,
            End::AsBefore(why) | End::PutBack(why) => self.journal.note_left(workflow, back, why)?,
            End::Lost(why) => self.journal.note_lost(workflow, back, why)?,
            End::ChangedSince(_) => {}
        }
        Ok(end)
    }

    /// Notes that n8n was not asked for it.
    fn left(&self, task: &Task, back: bool, end: End) -> Result<End, StateError> {
        let why = match &end {
            End::ChangedSince(what) => format!("changed since: {}", what.join(", ")),
            End::AsBefore(why) | End::PutBack(why) | End::Lost(why) => why.clone(),
            End::Done => String::new(),
        };
        if !back {
            self.journal.note_left(&task.workflow, back, &why)?;
        }
        Ok(end)
    }
}

// === impl Basis, Change, WriteError ===

impl Basis<'_> {
    fn differences(self, task: &Task, content: &Content, marks: &Marks) -> Vec<String> {
        match self {
            Self::Versions if content.at == task.at => Vec::new(),
            Self::Versions => vec!["it has another version than when this was planned".to_owned()],
            Self::Marks(known) => {
                // What is no longer published is put back as a draft.
                let live = known.live.clone().filter(|_| marks.live.is_some());
                Marks { live, ..known.clone() }.differences(marks)
            }
        }
    }
}

impl Change<'_> {
    /// Whether nothing but this change is in what n8n has, though not all of it.
    fn holds(&self, marks: &Marks) -> bool {
        let (was, then) = (&self.was.marks, self.then);
        let known = |version: &VersionMarks| {
            *version == was.draft
                || *version == then.draft
                || Some(version) == was.live.as_ref()
                || Some(version) == then.live.as_ref()
        };
        marks.name == was.name
            && marks.settings == was.settings
            && known(&marks.draft)
            && marks.live.as_ref().is_none_or(known)
    }

    /// What is not as it should be, though n8n said that all went well.
    fn complaint(&self, now: &Content, marks: &Marks) -> String {
        let live = |marks: &Marks| marks.live.clone();
        if self.was.active && !now.active {
            "n8n took the change, and switched the workflow off".to_owned()
        } else if !self.was.active && now.active {
            "n8n took the change, and switched the workflow on".to_owned()
        } else if marks.draft == self.then.draft
            && live(marks) == live(&self.was.marks)
            && live(marks) != live(self.then)
        {
            "n8n took the change, and what runs is still what ran before".to_owned()
        } else if *marks == *self.then {
            format!("n8n took the change, and has {} of its {} triggers on", now.triggers, self.was.triggers)
        } else {
            format!("n8n took the change, and has something else now: {}", self.then.differences(marks).join(", "))
        }
    }
}

impl WriteError {
    /// Whether n8n surely does no more of it.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Client(error) => error.is_refusal(),
            Self::Rewrite(_) | Self::State(_) | Self::NotHeldBack => true,
        }
    }
}

fn in_words(error: &WriteError) -> String {
    match error {
        WriteError::Client(ClientError::ScopeLacks { .. }) => {
            "n8n refuses it to the API key (403): it lacks a scope (workflow:update, or workflow:activate for what is published), \
             or its owner may not change this workflow"
                .to_owned()
        }
        WriteError::Client(ClientError::NotFound { .. }) => {
            "n8n has no such workflow, or does not let the owner of the API key change it".to_owned()
        }
        WriteError::Client(_) | WriteError::Rewrite(_) | WriteError::State(_) | WriteError::NotHeldBack => {
            with_causes(error)
        }
    }
}

/// How n8n's words begin where a body is not what its API takes: then nothing was done.
const OF_SCHEMA: &str = "request/body";

/// How long n8n may take until what it has said it did can be seen. It publishes after it has answered.
const PATIENCE: Duration = Duration::from_secs(10);

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
