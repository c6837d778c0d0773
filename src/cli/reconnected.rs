//! What is to be reconnected, and what came of it: in words and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::output::{Line, Tone, print_json, print_wrapped};
use crate::n8n::journal::{Run, State};
use crate::n8n::reconnect::{Left, LeftReason, Plan, Shape, Target, Task};
use crate::n8n::rewrite::{Edit, Reference, Typed};
use crate::n8n::writer::End;

/// Whom something is told of.
pub(super) struct Told<'a> {
    pub(super) to: &'a Target,
    /// The n8n, by its name in the configuration.
    pub(super) instance: &'a str,
    pub(super) json: bool,
}

/// What came of one workflow.
pub(super) struct Outcome<'a> {
    pub(super) task: &'a Task,
    pub(super) end: End,
    /// Whether it was to be taken back.
    pub(super) back: bool,
}

/// The plan, workflow by workflow, and what is left alone.
pub(super) fn plan_in_words(plan: &Plan, to: &Target) -> Vec<Line> {
    let nodes = plan.tasks.iter().map(nodes_of).sum();
    let mut lines = vec![Line::from(match plan.tasks.len() {
        0 => format!("No node is to be reconnected to {} ({}).", to.name, to.id),
        workflows => format!(
            "{} of {} will use {} ({}):",
            counted(nodes, "node"),
            counted(workflows, "workflow"),
            to.name,
            to.id
        ),
    })];
    for task in &plan.tasks {
        lines.push(Line::default());
        lines.push(Line::from(format!("{}{}", in_words(task), shape_in_words(task.shape))));
        lines.extend(task.edits().map(|(place, edit)| edit_in_words(place, edit).within(2).hanging(2)));
    }
    lines.extend(key_remarks(plan).into_iter().flat_map(|text| [Line::default(), Line::from(text)]));
    lines.extend(left_in_words(&plan.left));
    lines
}

fn edit_in_words(place: &str, edit: &Edit) -> Line {
    let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
    let before = match (edit.typed, edit.record_before()) {
        (Typed::TakenOut | Typed::PutBack, _) => "a key that is typed into it, which is taken out".to_owned(),
        (Typed::None, Some(Reference { id: Some(id), name })) => format!("{name} ({id})"),
        (Typed::None, Some(Reference { id: None, name })) => format!("{name}, which was never connected"),
        (Typed::None, None) => "no credential".to_owned(),
    };
    Line::from(format!("{}{place}: now {before}", edit.name))
}

/// What is to be known of keys that are taken out.
fn key_remarks(plan: &Plan) -> Vec<String> {
    let has = |versions: bool| {
        let mut of = plan.tasks.iter().filter(|task| task.at.has_versions == versions);
        of.any(|task| task.edits().any(|(_, edit)| edit.typed == Typed::TakenOut))
    };
    let mut lines = Vec::new();
    if has(true) {
        lines.push(
            "A key that is taken out stays in the versions that n8n keeps, from which undo puts it back: revoke it at OpenAI."
                .to_owned(),
        );
    }
    if has(false) {
        lines
            .push("This n8n keeps no versions, and keyward keeps no key: undo cannot put a typed key back.".to_owned());
    }
    lines
}

pub(super) fn left_in_words(left: &[Left]) -> Vec<Line> {
    let is_there = |left: &&Left| left.reason == LeftReason::AlreadyThere;
    let there = left.iter().filter(is_there).count();
    let others: Vec<_> = left.iter().filter(|left| left.reason != LeftReason::AlreadyThere).collect();
    let mut lines = Vec::new();
    if !others.is_empty() {
        lines.extend([Line::default(), Line::from(format!("Not touched ({}):", others.len()))]);
        let in_words = |left: &&Left| {
            let node = left.node.as_ref().map_or_else(String::new, |(_, name)| format!(", node {name}"));
            let text = format!("{} ({}){node}: {}", left.name, left.workflow, left.reason.words());
            Line::from(text).within(2).hanging(2)
        };
        lines.extend(others.iter().map(in_words));
    }
    match there {
        0 => {}
        1 => lines.extend([Line::default(), Line::from("1 node uses it already.")]),
        several => lines.extend([Line::default(), Line::from(format!("{several} nodes use it already."))]),
    }
    lines
}

// === impl Told ===

impl Told<'_> {
    /// Tells what came of one workflow, as soon as that is known.
    pub(super) fn tell(&self, outcome: &Outcome<'_>) {
        if !self.json {
            print_wrapped(&[outcome.in_words()]);
        }
    }

    /// Tells what came of all of it.
    pub(super) fn tell_all(&self, run: &Run, outcomes: &[Outcome<'_>]) {
        let id = &run.beginning.run;
        if self.json {
            let workflows: Vec<_> = outcomes.iter().map(Outcome::in_json).collect();
            print_json(&json!({ "n8n": self.instance, "run": id, "to": self.to, "workflows": workflows }));
            return;
        }
        let is_back = outcomes.iter().any(|outcome| outcome.back);
        let of = |is_done: bool| outcomes.iter().filter(move |outcome| outcome.is_done() == is_done);
        let (done, others) = (of(true).count(), of(false).count());
        let nodes = of(true).map(|outcome| nodes_of(outcome.task)).sum();
        let what = if is_back {
            "are as they were before".to_owned()
        } else {
            format!("use {} ({})", self.to.name, self.to.id)
        };
        let mut text = format!("{} of {} {what}", counted(nodes, "node"), counted(done, "workflow"));
        if others > 0 {
            let _ = write!(text, "; {} not done", counted(others, "workflow"));
        }
        text.push('.');
        if !is_back && done > 0 {
            let _ = write!(text, " To take it back: keyward n8n undo {id}");
        }
        if outcomes.iter().any(|outcome| !outcome.is_known()) {
            let _ = write!(
                text,
                " Of some it is not known how they are: keyward n8n reconnect --resume looks again, keyward n8n undo {id} takes it back."
            );
        }
        print_wrapped(&[Line::default(), Line::from(text)]);
    }

    /// The plan, where nothing more is done.
    pub(super) fn plan(&self, plan: &Plan, fault: Option<&str>) -> Value {
        json!({
            "n8n": self.instance,
            "run": null,
            "to": self.to,
            "fault": fault,
            "workflows": plan.tasks.iter().map(task_in_json).collect::<Vec<_>>(),
            "left": plan.left.iter().map(left_in_json).collect::<Vec<_>>(),
        })
    }

    /// What is known of a run that was broken off.
    pub(super) fn unfinished(&self, run: &Run) -> String {
        let open = run.states.iter().filter(|state| matches!(state, State::Waits | State::Begun(_))).count();
        format!(
            "Run {} to {} ({}) was broken off: {} of {} are not done.",
            run.beginning.run,
            self.to.name,
            self.to.id,
            counted(open, "workflow"),
            run.states.len()
        )
    }
}

// === impl Outcome ===

impl Outcome<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.end == End::Done && !(self.back && self.task.lost_keys().next().is_some())
    }

    pub(super) fn is_known(&self) -> bool {
        !matches!(self.end, End::Lost(_))
    }

    fn in_words(&self) -> Line {
        let line = match &self.end {
            End::Done => Line::toned(Tone::Good, self.code().replace('_', " ")),
            End::ChangedSince(_) | End::AsBefore(_) | End::PutBack(_) | End::Lost(_) => {
                Line::toned(Tone::Bad, self.code().replace('_', " "))
            }
        };
        let what = match &self.end {
            End::Done => {
                let lost: Vec<_> = self.task.lost_keys().filter(|_| self.back).map(|edit| &*edit.name).collect();
                if lost.is_empty() {
                    names_of_nodes(self.task)
                } else {
                    format!("but for the key that was typed into {}, which is not kept", lost.join(", "))
                }
            }
            End::ChangedSince(what) => format!("something else changed it, so it is left alone: {}", what.join(", ")),
            End::AsBefore(why) => why.clone(),
            End::PutBack(why) => format!("it is as it was again: {why}"),
            End::Lost(why) => format!("it is not known how it is now: {why}"),
        };
        line.and(format!("  {}: {what}", in_words(self.task))).hanging(2)
    }

    fn code(&self) -> &'static str {
        match &self.end {
            End::Done if self.back => "as_before",
            End::Done => "reconnected",
            End::ChangedSince(_) => "changed_since",
            End::AsBefore(_) if self.back => "not_taken_back",
            End::AsBefore(_) => "not_done",
            End::PutBack(_) => "put_back",
            End::Lost(_) => "not_known",
        }
    }

    fn in_json(&self) -> Value {
        let mut value = task_in_json(self.task);
        value["state"] = self.code().into();
        match &self.end {
            End::Done => {}
            End::ChangedSince(what) => value["differs"] = json!(what),
            End::AsBefore(why) | End::PutBack(why) | End::Lost(why) => value["why"] = why.as_str().into(),
        }
        value
    }
}

fn task_in_json(task: &Task) -> Value {
    let edit = |(place, edit): (&str, &Edit)| {
        json!({
            "id": edit.node,
            "name": edit.name,
            "place": if place.is_empty() { Value::Null } else { place.into() },
            "typed_key": edit.typed != Typed::None,
            "before": edit.record_before(),
        })
    };
    json!({
        "id": task.workflow,
        "name": task.name,
        "shape": task.shape.code(),
        "nodes": task.edits().map(edit).collect::<Vec<_>>(),
    })
}

fn left_in_json(left: &Left) -> Value {
    json!({
        "workflow_id": left.workflow,
        "workflow": left.name,
        "node_id": left.node.as_ref().map(|(id, _)| id),
        "node": left.node.as_ref().map(|(_, name)| name),
        "reason": left.reason.code(),
        "why": left.reason.words(),
    })
}

/// A workflow as people know it: `Report (7bK2)`.
fn in_words(task: &Task) -> String {
    format!("{} ({})", task.name, task.workflow)
}

fn shape_in_words(shape: Shape) -> &'static str {
    match shape {
        Shape::Single => "",
        Shape::Unpublished => ", which is not published",
        Shape::Published => ", published",
        Shape::Parted => ", published, with a draft that differs",
    }
}

/// A node counts once, though it stands in the draft and in what is published.
fn nodes_of(task: &Task) -> usize {
    let nodes: BTreeSet<_> = task.edits().map(|(_, edit)| (&edit.node, &edit.name)).collect();
    nodes.len()
}

/// The names of its nodes, each once.
pub(super) fn names_of_nodes(task: &Task) -> String {
    let names: BTreeSet<_> = task.edits().map(|(_, edit)| &*edit.name).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
