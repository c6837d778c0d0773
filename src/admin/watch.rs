//! A page while it is looked at: what has changed on it, as server-sent events ([`crate::page::watcher`]).
//!
//! | event | data |
//! |---|---|
//! | `whole`, `fragment`, `now` | [`crate::page::watcher`] |
//! | `end` | `{"reason":"token_ended"}`: the session is good no longer; `{"reason":"gone"}`: there is no such page any more |
//!
//! A page is drawn once for all who watch it ([`super::looks`]), and only after something was recorded, or time has passed
//! that changes what it says. A browser says by `Last-Event-ID`, or at first by `have`, which page it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::watch;

use super::access::{Known, Pass};
use super::call::Call;
use super::looks::{Looks, Sharing};
use super::page::{in_parts, watched};
use super::problem::{Kind, Problem};
use super::response::{Next, Response, events};
use super::state::AdminState;
use super::viewer::Recorded;
use crate::page::watcher::Watcher;
use crate::telemetry::local_clock::time_of_day;

/// The parameters: the page that is looked at, and which state of it the browser has.
pub const WATCHED: [&str; 2] = ["of", "have"];

/// Begins a stream for one browser: the parts of its page that have changed since it got them, and the time.
pub fn watch(admin: &Arc<AdminState>, looks: &Looks, call: Call) -> Result<Response, Problem> {
    watched(&call.parameters)?;
    let pass = call.pass.ok_or_else(|| Problem::new(Kind::TokenMissing, "Watching takes a token."))?;
    let last = call.head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let watcher = Watcher::new(last.or_else(|| call.parameters.value("have")));
    let stream = Stream {
        watcher,
        call,
        pass,
        changes: admin.access.changes(),
        looks: looks.clone(),
        admin: Arc::clone(admin),
        drawn: None,
        told: None,
    };
    Ok(events(FIRST, stream, Stream::next))
}

/// What one browser is sent.
struct Stream {
    watcher: Watcher,
    call: Call,
    pass: Pass,
    changes: watch::Receiver<Known>,
    looks: Looks,
    admin: Arc<AdminState>,
    /// What was recorded when the page was drawn last, and when that was.
    drawn: Option<(Recorded, Instant)>,
    /// When it was told the time last.
    told: Option<Instant>,
}

impl Stream {
    /// Nothing where keyward stops.
    async fn next(mut self) -> Option<Next<Self>> {
        loop {
            // Looked at before each piece: none must go out behind the end of its session.
            if !self.admin.access.is_good(&self.pass) {
                return Some(Next::End("token_ended"));
            }
            let news = match self.news().await {
                Ok(news) => news,
                // Another look is taken at the next turn.
                Err(problem) if problem.kind() == Kind::Unavailable => String::new(),
                Err(_) => return Some(Next::End("gone")),
            };
            if !news.is_empty() || self.told.is_none_or(|told| told.elapsed() >= HEARTBEAT) {
                self.told = Some(Instant::now());
                return Some(Next::Piece(Bytes::from(news + &self.now()), self));
            }
            tokio::select! {
                () = tokio::time::sleep(TURN) => {}
                changed = self.changes.changed() => changed.ok()?,
            }
        }
    }

    /// What has changed on the page; nothing where it was not drawn anew.
    async fn news(&mut self) -> Result<String, Problem> {
        let recorded = self.admin.recorded();
        let is_same = |(before, at): &(Recorded, Instant)| before.is_same(&recorded) && at.elapsed() < LASTS;
        if self.drawn.as_ref().is_some_and(is_same) {
            return Ok(String::new());
        }
        let drawn = self.looks.ask(self.call.clone(), in_parts, Sharing::Answer).await?;
        self.drawn = Some((recorded, Instant::now()));
        let text = std::str::from_utf8(&drawn.body).unwrap_or_default();
        Ok(self.watcher.news(text))
    }

    fn now(&self) -> String {
        let now = self.admin.shared.clock.now();
        format!("event: now\ndata: {{\"now\":{},\"clock\":\"{}\"}}\n\n", now.as_millis(), time_of_day(now))
    }
}

/// A browser comes back after a second if the stream breaks off.
const FIRST: &[u8] = b"retry: 1000\n\n";

/// How often it is looked whether anything was recorded.
const TURN: Duration = Duration::from_millis(200);

/// After that long a page is drawn anew even so: what is due becomes overdue.
const LASTS: Duration = Duration::from_secs(10);

/// How often the browser is told that all is as it was.
const HEARTBEAT: Duration = Duration::from_secs(5);
