//! What came of a credential record that was to lead to keyward, or back: in words and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::output::{print, print_wrapped, remark};
use super::records::in_words;
use super::telling::Test;
use super::wait::Seen;
use crate::clock::Timestamp;
use crate::n8n::connect::{Field, Place, User, Way};
use crate::n8n::documents::{CredentialRecord, Tested};
use crate::telemetry::rows::shown;

/// What came of one record.
pub(super) struct Outcome<'r> {
    pub(super) record: &'r CredentialRecord,
    pub(super) users: &'r [User],
    pub(super) end: End,
    /// What the running keyward saw of it, where that was waited for.
    pub(super) seen: Option<Seen>,
}

/// How it ended for a record.
pub(super) enum End {
    /// It has keyward's address. It leads to keyward if that has seen n8n's test.
    Connected {
        url: String,
        tag: String,
        /// What will be put back.
        was: String,
        /// What became of its key.
        key: String,
        /// Since when it led here before.
        since: Option<Timestamp>,
        /// Whether it holds a token, so that `disconnect` needs a key.
        needs_key: bool,
        test: Test,
    },
    /// It leads to where it led before.
    Disconnected {
        base_url: String,
        /// What became of its key.
        key: String,
        test: Test,
    },
    /// n8n's API cannot change it, so you have to.
    ByHand(Vec<Field>),
    /// It did not lead to keyward, so it is as it was.
    PutBack { url: String, base_url: String, why: String, key: Key, now: Test },
    /// It was to lead past keyward, and n8n's test failed there, so it is as it was.
    Kept { tried: String, base_url: String, why: String },
    /// It is not known to be changed.
    Failed(String),
}

/// What became of the key of a record that was put back.
#[derive(Clone, Copy)]
pub(super) enum Key {
    /// It was never replaced.
    Stayed,
    /// It was replaced and stands there again.
    PutBack,
    /// It was replaced, and keyward does not know it.
    Lost,
}

impl Key {
    fn in_words(self) -> &'static str {
        match self {
            Self::Stayed => "stays as it was",
            Self::PutBack => "the one that stood there stands there again",
            Self::Lost => {
                "the one that stood there is not known to keyward and was replaced: put it into the credential yourself"
            }
        }
    }
}

impl Outcome<'_> {
    /// Whether it is as it was wanted; `verified` if a run had to be seen as well.
    pub(super) fn is_well(&self, verified: bool) -> bool {
        let is_run = self.users.is_empty() || self.seen.as_ref().is_some_and(Seen::is_run);
        match &self.end {
            End::Disconnected { test, .. } => !test.came_here() && test.is_good() != Some(false),
            End::Connected { .. } | End::ByHand(_) => self.leads_here() && (!verified || is_run),
            End::PutBack { .. } | End::Kept { .. } | End::Failed(_) => false,
        }
    }

    /// Whether the running keyward has seen its test, with a good key.
    fn leads_here(&self) -> bool {
        let by_press = matches!(&self.end, End::Connected { test, .. } if test.leads_here());
        by_press || self.seen.as_ref().is_some_and(Seen::is_tested)
    }

    /// Whether its requests may come to keyward, now or once you have changed it.
    pub(super) fn may_be_seen(&self) -> bool {
        matches!(self.end, End::Connected { .. } | End::ByHand(_))
    }

    /// Whether n8n's API tests it.
    pub(super) fn is_tested(&self) -> bool {
        matches!(&self.end, End::Connected { test, .. } if test.said.is_some())
    }

    /// Prints it. A value to paste stands uncut on a line of its own.
    pub(super) fn print(&self) {
        let End::ByHand(fields) = &self.end else { return print_wrapped(&self.in_words()) };
        print_wrapped(&[self.headline()]);
        for field in fields {
            let how = if field.is_expression { ", as an expression" } else { "" };
            print_wrapped(&[format!("  {}{how}:", field.name)]);
            print(shown(&field.value));
        }
        print_wrapped(&self.users_in_words());
    }

    /// What waiting for it showed.
    pub(super) fn remark_end(&self) {
        if matches!(self.end, End::ByHand(_)) || !self.is_tested() {
            let what = if self.leads_here() { "leads to keyward" } else { "was not seen to lead to keyward" };
            remark(format_args!("{}: {what}", in_words(self.record)));
        }
    }

    fn headline(&self) -> String {
        format!("{}: {}", in_words(self.record), self.end.headline())
    }

    pub(super) fn in_words(&self) -> Vec<String> {
        let mut lines = vec![self.headline()];
        let mut row = |name: &str, value: &str| lines.push(format!("  {name:<18} {value}"));
        match &self.end {
            End::Connected { url, tag, was, key, needs_key, test, .. } => {
                row("Base URL", &format!("{url} (to be put back: {was})"));
                row(crate::welcome::TAG_HEADER, tag);
                row("key", key);
                row("n8n's test", &said(test));
                let from = if *needs_key { " --key-from current" } else { "" };
                row("to undo", &format!("keyward n8n disconnect {}{from}", self.record.id));
                lines.extend(self.users_in_words());
                lines.push(format!("  {:<18} {OF_AGENTS}", "Agents"));
            }
            End::Disconnected { base_url, key, test } => {
                row("Base URL", base_url);
                row("custom header", "none");
                row("key", key);
                row("n8n's test", &said(test));
                if test.came_here() {
                    row("but", "its test still came to keyward: --base-url says where it is to lead");
                }
                lines.extend(self.users_in_words());
                lines.push(format!("  {:<18} {OF_AGENTS}", "Agents"));
            }
            End::PutBack { url, base_url, why, key, now } => {
                row("tried", url);
                row("why", why);
                row("Base URL", base_url);
                row("key", key.in_words());
                row("n8n's test", &said(now));
            }
            End::Kept { tried, base_url, why } => {
                row("tried", tried);
                row("why", why);
                row("Base URL", base_url);
            }
            End::ByHand(_) | End::Failed(_) => {}
        }
        lines
    }

    /// How many nodes use it, and which of these do not go by its Base URL.
    fn users_in_words(&self) -> Vec<String> {
        let mut lines = vec![format!("  {:<18} {}", "used by", count(self.users))];
        if self.users.is_empty() {
            let what = "n8n does not tell who uses it: its Agents, Instance AI or Chat Hub may";
            lines.push(format!("  {:<18} {what}", "but"));
        }
        if !matches!(self.end, End::Connected { .. } | End::ByHand(_)) {
            return lines;
        }
        for user in self.users.iter().filter(|user| user.way != Way::BaseUrl) {
            let what = match user.way {
                Way::OpenAi => "goes to api.openai.com past keyward: give it the Base URL among its own options",
                Way::Own | Way::BaseUrl => "goes to an address of its own: see that it is keyward's",
            };
            lines.push(format!("  {:<18} {}, node {}: {what}", "but", user.workflow, user.node));
        }
        lines
    }

    pub(super) fn in_json(&self) -> Value {
        let mut value = self.end.in_json();
        value["id"] = (&*self.record.id).into();
        value["name"] = (&*self.record.name).into();
        value["nodes"] = self.users.iter().map(user_in_json).collect();
        value["seen"] = self.seen.as_ref().map_or(Value::Null, Seen::in_json);
        value
    }
}

/// How many nodes run with it, and of how many workflows, as an audit counts them; and how many more there are.
fn count(users: &[User]) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let at = |place| users.iter().filter(move |user| user.place == place);
    let workflows: BTreeSet<_> = at(Place::Runs).map(|user| &user.workflow_id).collect();
    let mut text = format!("{} of {}", counted(at(Place::Runs).count(), "node"), counted(workflows.len(), "workflow"));
    for (place, what) in [(Place::Draft, "in drafts that are not published"), (Place::Off, "switched off")] {
        let more = at(place).count();
        if more > 0 {
            let _ = write!(text, "; {more} more {what}");
        }
    }
    text
}

/// An agent goes by the credential that it has read, for half an hour after each of its runs.
const OF_AGENTS: &str =
    "save or publish those of n8n's Agents that use it: an edited credential alone does not reach them";

impl End {
    fn headline(&self) -> String {
        match self {
            Self::Connected { test, .. } if !test.leads_here() => {
                "has keyward's address, and keyward has not seen n8n's test of it yet: this n8n's API cannot test, so press \
                 the test button in the credential (--verify waits for it)"
                    .to_owned()
            }
            Self::Connected { since: Some(since), .. } => {
                format!("leads to keyward, as it did since {since}; keyward saw n8n's test again")
            }
            Self::Connected { .. } => "leads to keyward, which saw n8n's test of it".to_owned(),
            Self::Disconnected { test, .. } if test.came_here() => "still leads to keyward".to_owned(),
            Self::Disconnected { .. } => "no longer leads to keyward".to_owned(),
            Self::ByHand(_) => "this n8n's API cannot change credentials, so nothing was changed. Note what stands in its \
                 form now, put this there, and save it"
                .to_owned(),
            Self::PutBack { .. } => "does not lead to keyward, and what stood there stands there again".to_owned(),
            Self::Kept { .. } => "was left as it was, and leads to keyward: n8n's test fails without it".to_owned(),
            Self::Failed(why) => why.clone(),
        }
    }

    fn in_json(&self) -> Value {
        match self {
            Self::Connected { url, tag, was, key, since, test, .. } => {
                let state = if test.leads_here() { "connected" } else { "not_seen" };
                let since = since.map(|since| since.to_string());
                json!({ "state": state, "base_url": url, "tag": tag, "was": was, "key": key, "since": since, "test": in_json(test) })
            }
            Self::Disconnected { base_url, key, test } => {
                let state = if test.came_here() { "still_connected" } else { "disconnected" };
                json!({ "state": state, "base_url": base_url, "key": key, "test": in_json(test) })
            }
            Self::ByHand(fields) => {
                let field = |field: &Field| json!({ "name": field.name, "value": field.value, "expression": field.is_expression });
                json!({ "state": "by_hand", "fields": fields.iter().map(field).collect::<Vec<_>>() })
            }
            Self::PutBack { url, base_url, why, key, now } => json!({
                "state": "put_back", "tried": url, "failure": why, "base_url": base_url, "key": key.in_words(),
                "test": in_json(now),
            }),
            Self::Kept { tried, base_url, why } => {
                json!({ "state": "kept", "tried": tried, "failure": why, "base_url": base_url })
            }
            Self::Failed(why) => json!({ "state": "failed", "error": why }),
        }
    }
}

fn said(test: &Test) -> String {
    test.said.as_ref().map_or_else(
        || "this n8n cannot be asked for it: press the test button in the credential".to_owned(),
        |tested| tested.shown().into(),
    )
}

fn in_json(test: &Test) -> Value {
    let told = |tested: &Tested| json!({ "ok": tested.is_good(), "message": tested.shown(), "seen_by_keyward": test.came_here() });
    test.said.as_ref().map_or(Value::Null, told)
}

fn user_in_json(user: &User) -> Value {
    let way = match user.way {
        Way::BaseUrl => "base_url",
        Way::Own => "own_address",
        Way::OpenAi => "openai",
    };
    json!({
        "workflow_id": user.workflow_id,
        "workflow": user.workflow,
        "node_id": user.node_id,
        "node": user.node,
        "goes_by": way,
        "place": match user.place {
            Place::Runs => "runs",
            Place::Draft => "draft",
            Place::Off => "off",
        },
    })
}
