//! Each exchange when it ends, as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! | event | data |
//! |---|---|
//! | `exchange` | the line of the log, as JSON |
//! | `lost` | `{"lost":12}`: the reader was too slow for that many exchanges, before any filter |
//! | `end` | `{"reason":"token_ended"}`: the token or session is good no longer, and the stream ends |
//!
//! A comment goes out now and then, so that both sides notice when the other is gone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::watch;

use super::access::{Known, Pass};
use super::call::Call;
use super::parameters::quote;
use super::problem::{Kind, Problem};
use super::response::{Next, Response, events};
use super::state::AdminState;
use crate::telemetry::tap::{Follower, Heard, MOST_FOLLOWERS, Told};
use crate::verdict::VerdictKind;

/// The parameters by which exchanges are chosen.
pub const FILTERS: [&str; 3] = ["workflow", "verdict", "set"];

/// Begins a stream of each exchange that ends and passes the filter; 503 where too many clients follow already.
pub fn follow(admin: &Arc<AdminState>, call: &Call) -> Result<Response, Problem> {
    let filter = Filter::read(admin, call)?;
    let pass = call.pass.ok_or_else(|| Problem::new(Kind::TokenMissing, "Following takes a token."))?;
    let follower = admin.tap.follow().ok_or_else(|| {
        Problem::new(Kind::Unavailable, format!("{MOST_FOLLOWERS} are following already: end one of them first."))
    })?;
    let stream = Stream { follower, filter, pass, changes: admin.access.changes(), admin: Arc::clone(admin) };
    Ok(events(FIRST, stream, Stream::next))
}

/// Which exchanges are told.
struct Filter {
    workflow: Option<String>,
    verdict: Option<&'static str>,
    set: Option<String>,
}

impl Filter {
    fn read(admin: &AdminState, call: &Call) -> Result<Self, Problem> {
        let text = |name| call.parameters.value(name).map(str::to_owned);
        let set = text("set");
        if let Some(set) = set.as_ref().filter(|set| admin.shared.reloader.ring().find_set(set).is_none()) {
            return Err(Problem::new(Kind::BadQuery, format!("There is no key set {}.", quote(set))));
        }
        Ok(Self { workflow: text("workflow"), verdict: call.parameters.word("verdict", &VerdictKind::CODES)?, set })
    }

    fn lets_through(&self, told: &Told) -> bool {
        self.workflow.as_ref().is_none_or(|workflow| told.workflow.as_deref() == Some(workflow))
            && self.verdict.is_none_or(|verdict| told.verdict == verdict)
            && self.set.as_ref().is_none_or(|set| *told.set == **set)
    }
}

/// What one follower is sent.
struct Stream {
    follower: Follower,
    filter: Filter,
    pass: Pass,
    changes: watch::Receiver<Known>,
    admin: Arc<AdminState>,
}

impl Stream {
    /// Nothing where keyward stops.
    async fn next(mut self) -> Option<Next<Self>> {
        // Counted from the last piece: what the filter keeps back is no sign of life.
        let mut heartbeat = pin!(tokio::time::sleep(HEARTBEAT));
        loop {
            let piece = tokio::select! {
                heard = self.follower.hear() => match heard? {
                    Heard::Line(told) if self.filter.lets_through(&told) => Some(exchange(&told)),
                    Heard::Line(_) => None,
                    Heard::Lost(lost) => Some(Bytes::from(format!("event: lost\ndata: {{\"lost\":{lost}}}\n\n"))),
                },
                changed = self.changes.changed() => { changed.ok()?; None }
                () = &mut heartbeat => Some(Bytes::from_static(b":\n\n")),
            };
            // Looked at before each piece: an event must not go out behind the end of its token.
            if !self.admin.access.is_good(&self.pass) {
                return Some(Next::End("token_ended"));
            }
            if let Some(piece) = piece {
                return Some(Next::Piece(piece, self));
            }
        }
    }
}

/// A line of the log has no line break inside, so it is one `data` field as it stands.
fn exchange(told: &Told) -> Bytes {
    Bytes::from([b"event: exchange\ndata: ", told.line.trim_ascii_end(), b"\n\n"].concat())
}

/// Who reads comes back after two seconds if the stream breaks off.
const FIRST: &[u8] = b"retry: 2000\n\n";

const HEARTBEAT: Duration = Duration::from_secs(15);
