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
use super::events::status;
use super::source::Received;
use crate::answers;
use crate::answers::event::Line;
use crate::caller::declared::Attribution;
use crate::n8n::connect::User;

/// What was seen of a record; each is the line of the log.
#[derive(Default)]
pub(super) struct Seen {
    /// What n8n's test of it sent.
    pub(super) test: Option<Received<Line>>,
    /// What a node sent that uses it.
    pub(super) run: Option<Received<Line>>,
}

/// What is waited for.
pub(super) struct Awaited<'u> {
    /// The nodes that use the record.
    pub(super) users: &'u [User],
    /// Whether a run of one of them is waited for, beside n8n's test.
    pub(super) wants_run: bool,
}

impl Seen {
    /// Whether its test was seen, with a good key.
    pub(super) fn is_tested(&self) -> bool {
        self.test.as_ref().is_some_and(|line| line.answer.is_good())
    }

    /// The same of a run of a node that uses it.
    pub(super) fn is_run(&self) -> bool {
        self.run.as_ref().is_some_and(|line| line.answer.is_good())
    }

    /// What was waited for in vain.
    pub(super) fn missing(&self, awaited: &Awaited<'_>) -> Vec<&'static str> {
        let test = self.test.is_none().then_some("n8n's test");
        let run = (awaited.wants_run && self.run.is_none()).then_some("a run of a node that uses it");
        test.into_iter().chain(run).collect()
    }

    pub(super) fn in_json(&self) -> Value {
        let line = |line: &Option<Received<Line>>| line.as_ref().map(|line| line.json.clone());
        json!({ "test": line(&self.test), "run": line(&self.run) })
    }

    /// Where a line belongs, and what it shows.
    fn place_of(&mut self, awaited: &Awaited<'_>, line: &Line) -> Option<(&'static str, &mut Option<Received<Line>>)> {
        if is_of_editor(line) {
            return Some(("test", &mut self.test));
        }
        is_of(awaited.users, line).then_some(("run", &mut self.run))
    }

    fn is_whole(&self, awaited: &Awaited<'_>) -> bool {
        self.test.is_some() && (self.run.is_some() || !awaited.wants_run)
    }
}

/// Waits for what is awaited, no longer than `patience`. `press` is begun once nothing is missed any more: it has n8n test the record, or
/// a person. `tell` hears of each as it comes.
pub(super) fn watch(
    client: &Client,
    awaited: &Awaited<'_>,
    patience: Duration,
    press: impl Future<Output = ()>,
    tell: impl Fn(&str, &Line),
) -> anyhow::Result<Seen> {
    let (seen, has_begun, end) = (RefCell::new(Seen::default()), Begun::default(), Cell::new(None));
    let following = client.following(
        "/api/v1/events",
        || has_begun.tell(),
        |event, data| {
            let line = match (event, read(data)) {
                ("end", _) => {
                    end.set(Some(End::Token));
                    return ControlFlow::Break(());
                }
                ("lost", _) => return ControlFlow::Continue(()),
                (_, Ok(line)) => line,
                (_, Err(error)) => {
                    end.set(Some(End::Unreadable(error)));
                    return ControlFlow::Break(());
                }
            };
            let mut seen = seen.borrow_mut();
            if let Some((what, place)) = seen.place_of(awaited, &line.answer).filter(|(_, place)| place.is_none()) {
                tell(what, &line.answer);
                *place = Some(line);
            }
            if seen.is_whole(awaited) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    client.block_on(follow(following, press, patience, &has_begun))?;
    match end.into_inner() {
        Some(End::Token) => bail!("the stream of events has ended: the admin token is good no longer"),
        Some(End::Unreadable(error)) => Err(client.unreadable(&error)),
        None => Ok(seen.into_inner()),
    }
}

/// That nothing is missed any more.
#[derive(Default)]
struct Begun {
    is_so: Cell<bool>,
    wakes: Notify,
}

impl Begun {
    fn tell(&self) {
        self.is_so.set(true);
        self.wakes.notify_one();
    }
}

/// Follows, no longer than `patience`, and presses once nothing is missed. A keyward that was told of the test's beginning holds
/// back what comes until it is told of its end, so that is waited for.
async fn follow<T>(
    following: impl Future<Output = anyhow::Result<Option<T>>>,
    press: impl Future<Output = ()>,
    patience: Duration,
    begun: &Begun,
) -> anyhow::Result<()> {
    let is_pressed = Cell::new(false);
    let mut pressing = std::pin::pin!(async {
        begun.wakes.notified().await;
        press.await;
        is_pressed.set(true);
    });
    let waiting = async {
        pressing.as_mut().await;
        std::future::pending::<()>().await;
    };
    let followed = tokio::select! {
        followed = tokio::time::timeout(patience, following) => followed,
        () = waiting => return Ok(()),
    };
    if begun.is_so.get() && !is_pressed.get() {
        pressing.await;
    }
    followed.map_or(Ok(()), |followed| followed.map(|_| ()).context("the running keyward cannot be followed"))
}

/// Why nothing more can be seen.
enum End {
    /// The token is good no longer.
    Token,
    /// A line cannot be read.
    Unreadable(serde_json::Error),
}

fn read(data: &str) -> serde_json::Result<Received<Line>> {
    let json = serde_json::from_str(data)?;
    Ok(Received { answer: answers::read(&json)?, json })
}

/// What was seen, in words.
pub(super) fn in_words(users: &[User], line: &Line) -> String {
    let said = format!("{}, key {}, answered with {}", line.verdict, line.key, status(line.status));
    let Some(workflow) = &line.workflow_id else { return said };
    let of_workflow = users.iter().find(|user| user.workflow_id == *workflow);
    let node = users.iter().find(|user| Some(&user.node_id) == line.node_id.as_ref());
    let name = of_workflow.map_or(workflow, |user| &user.workflow);
    let node = node.map_or("a node that keyward cannot tell", |user| &user.node);
    format!("{said}: workflow {name}, node {node}, execution {}", line.execution_id.as_deref().unwrap_or("-"))
}

/// The editor's test button and its lists of models have a tag, and no workflow.
fn is_of_editor(line: &Line) -> bool {
    line.attribution != Attribution::None.code() && line.workflow_id.is_none() && line.path.ends_with("/models")
}

/// An organization, which is the only tag of some nodes, has no room for the node.
fn is_of(users: &[User], line: &Line) -> bool {
    let (workflow, node) = (line.workflow_id.as_ref(), line.node_id.as_ref());
    users.iter().any(|user| Some(&user.workflow_id) == workflow && node.is_none_or(|node| user.node_id == *node))
}
