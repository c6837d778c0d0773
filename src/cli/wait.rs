//! Waiting until a credential record that was connected is seen by the running keyward: first n8n's test of it, then a run of
//! a node that uses it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::client::Client;
use super::format::{key, text};
use crate::n8n::connect::User;

/// What was seen of a record; each is the line of the log.
#[derive(Default)]
pub(super) struct Seen {
    /// What n8n's test of it sent.
    pub(super) test: Option<Value>,
    /// What a node sent that uses it.
    pub(super) run: Option<Value>,
}

impl Seen {
    /// Whether both were seen, and their keys were good.
    pub(super) fn is_well(&self) -> bool {
        let is_good = |line: &Option<Value>| line.as_ref().is_some_and(|line| line["diagnosis"] == "ok");
        is_good(&self.test) && is_good(&self.run)
    }

    /// What was waited for in vain.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let places = [(&self.test, "n8n's test"), (&self.run, "a run of a node that uses it")];
        places.into_iter().filter(|(place, _)| place.is_none()).map(|(_, what)| what).collect()
    }

    pub(super) fn in_json(&self) -> Value {
        json!({ "test": self.test, "run": self.run })
    }

    fn is_whole(&self) -> bool {
        self.test.is_some() && self.run.is_some()
    }
}

/// Waits for both, no longer than `patience`. `press` is begun once nothing is missed any more: it has n8n test the record, or
/// a person. `tell` hears of each as it comes.
pub(super) fn watch(
    client: &Client,
    users: &[User],
    patience: Duration,
    press: impl Future<Output = ()>,
    tell: impl Fn(&str, &Value),
) -> anyhow::Result<Seen> {
    let (seen, begun, ended) = (RefCell::new(Seen::default()), Notify::new(), Cell::new(false));
    let following = client.following(
        "/api/v1/events",
        || begun.notify_one(),
        |event, data| {
            if event == "end" {
                ended.set(true);
                return ControlFlow::Break(());
            }
            let line: Value = serde_json::from_str(data).unwrap_or_default();
            let mut seen = seen.borrow_mut();
            let place = if is_of_editor(&line) {
                Some(("test", &mut seen.test))
            } else {
                is_of(users, &line).then_some(("run", &mut seen.run))
            };
            if let Some((what, place)) = place.filter(|(_, place)| place.is_none()) {
                tell(what, &line);
                *place = Some(line);
            }
            if seen.is_whole() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    let pressing = async {
        begun.notified().await;
        press.await;
        std::future::pending::<()>().await;
    };
    client.block_on(async {
        tokio::select! {
            followed = tokio::time::timeout(patience, following) => match followed {
                Ok(followed) => followed.map(|_| ()).context("the running keyward cannot be followed"),
                Err(_elapsed) => Ok(()),
            },
            () = pressing => Ok(()),
        }
    })?;
    if ended.get() {
        bail!("the stream of events has ended: the admin token is good no longer");
    }
    Ok(seen.into_inner())
}

/// What was seen, in words.
pub(super) fn in_words(users: &[User], line: &Value) -> String {
    let (verdict, status) = (text(&line["verdict"]), &line["status"]);
    let key = key(line);
    let Some(workflow) = line["workflow_id"].as_str() else {
        return format!("{verdict}, key {key}, answered with {status}");
    };
    let of_workflow = users.iter().find(|user| user.workflow_id == workflow);
    let node = users.iter().find(|user| Some(&*user.node_id) == line["node_id"].as_str());
    let name = of_workflow.map_or(workflow, |user| &user.workflow);
    let node = node.map_or("a node that keyward cannot tell", |user| &user.node);
    let execution = text(&line["execution_id"]);
    format!("{verdict}, key {key}, answered with {status}: workflow {name}, node {node}, execution {execution}")
}

/// The editor's test button and its lists of models have a tag, and no workflow.
fn is_of_editor(line: &Value) -> bool {
    let is_tagged = line["attribution"].as_str().is_some_and(|how| how != "none");
    is_tagged && line["workflow_id"].is_null() && text(&line["path"]).ends_with("/models")
}

/// An organization, which is the only tag of some nodes, has no room for the node.
fn is_of(users: &[User], line: &Value) -> bool {
    let (workflow, node) = (line["workflow_id"].as_str(), line["node_id"].as_str());
    users.iter().any(|user| Some(&*user.workflow_id) == workflow && node.is_none_or(|node| user.node_id == node))
}
