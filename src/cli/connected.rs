//! What came of a credential record that was to lead to keyward, or back: in words and as JSON.

use serde_json::{Value, json};

use super::records::in_words;
use super::wait::Seen;
use crate::n8n::connect::{Field, User, Way};
use crate::n8n::documents::{CredentialRecord, Tested};

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
    /// It leads to keyward.
    Connected {
        url: String,
        tag: String,
        /// What will be put back.
        was: String,
        /// What became of its key.
        key: String,
        tested: Option<Tested>,
    },
    /// It leads to where it led before.
    Disconnected { base_url: String, tested: Option<Tested> },
    /// n8n's API cannot change it, so you have to.
    ByHand(Vec<Field>),
    /// n8n's test failed with it, so it is as it was.
    PutBack { url: String, base_url: String, tested: Tested, now: Option<Tested> },
    /// It is not known to be changed.
    Failed(String),
}

impl Outcome<'_> {
    /// Whether it is as it was wanted; `verified` if it had to be seen.
    pub(super) fn is_well(&self, verified: bool) -> bool {
        let is_seen = self.seen.as_ref().is_some_and(Seen::is_well);
        match &self.end {
            End::Connected { tested, .. } => is_good(tested.as_ref()) && (!verified || is_seen),
            End::Disconnected { tested, .. } => is_good(tested.as_ref()),
            End::ByHand(_) => is_seen,
            End::PutBack { .. } | End::Failed(_) => false,
        }
    }

    /// Whether its requests may come to keyward, now or once you have changed it.
    pub(super) fn may_be_seen(&self) -> bool {
        matches!(self.end, End::Connected { .. } | End::ByHand(_))
    }

    pub(super) fn in_words(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", in_words(self.record), self.end.headline())];
        let mut row = |name: &str, value: &str| lines.push(format!("  {name:<18} {value}"));
        match &self.end {
            End::Connected { url, tag, was, key, tested } => {
                row("Base URL", &format!("{url} (to be put back: {was})"));
                row(crate::welcome::TAG_HEADER, tag);
                row("key", key);
                row("n8n's test", &said(tested.as_ref()));
                lines.extend(self.users_in_words());
                lines.push(format!("  {:<18} {OF_AGENTS}", "Agents"));
            }
            End::Disconnected { base_url, tested } => {
                row("Base URL", base_url);
                row("custom header", "none");
                row("n8n's test", &said(tested.as_ref()));
                row("Agents", OF_AGENTS);
            }
            End::ByHand(fields) => {
                for field in fields {
                    let how = if field.is_expression { " (switch the field to Expression)" } else { "" };
                    row(field.name, &format!("{}{how}", field.value));
                }
                lines.extend(self.users_in_words());
            }
            End::PutBack { url, base_url, tested, now } => {
                row("with keyward", &format!("n8n's test at {url} said: {}", tested.shown()));
                row("Base URL", base_url);
                row("n8n's test", &said(now.as_ref()));
                lines.push(format!("  {}", advice(tested)));
            }
            End::Failed(_) => {}
        }
        lines
    }

    /// How many nodes use it, and which of these do not go by its Base URL.
    fn users_in_words(&self) -> Vec<String> {
        let workflows: std::collections::BTreeSet<_> = self.users.iter().map(|user| &user.workflow_id).collect();
        let mut lines =
            vec![format!("  {:<18} {} nodes of {} workflows", "used by", self.users.len(), workflows.len())];
        if self.users.is_empty() {
            let what = "n8n does not tell who uses it: its Agents, Instance AI or Chat Hub may";
            lines.push(format!("  {:<18} {what}", "but"));
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

/// An agent goes by the credential that it has read, for half an hour after each of its runs.
const OF_AGENTS: &str =
    "save or publish those of n8n's Agents that use it: an edited credential alone does not reach them";

impl End {
    fn headline(&self) -> String {
        match self {
            Self::Connected { .. } => "leads to keyward".to_owned(),
            Self::Disconnected { .. } => "no longer leads to keyward".to_owned(),
            Self::ByHand(_) => {
                "this n8n's API cannot change credentials, so nothing was changed. Put into its form".to_owned()
            }
            Self::PutBack { .. } => {
                "was put back, for n8n's test failed with keyward and had not failed before".to_owned()
            }
            Self::Failed(why) => why.clone(),
        }
    }

    fn in_json(&self) -> Value {
        match self {
            Self::Connected { url, tag, was, key, tested } => {
                json!({ "state": "connected", "base_url": url, "tag": tag, "was": was, "key": key, "test": test(tested.as_ref()) })
            }
            Self::Disconnected { base_url, tested } => {
                json!({ "state": "disconnected", "base_url": base_url, "test": test(tested.as_ref()) })
            }
            Self::ByHand(fields) => {
                let field = |field: &Field| json!({ "name": field.name, "value": field.value, "expression": field.is_expression });
                json!({ "state": "by_hand", "fields": fields.iter().map(field).collect::<Vec<_>>() })
            }
            Self::PutBack { url, base_url, tested, now } => json!({
                "state": "put_back", "tried": url, "failure": tested.shown(), "base_url": base_url, "test": test(now.as_ref()),
            }),
            Self::Failed(why) => json!({ "state": "failed", "error": why }),
        }
    }
}

/// What a test says that failed with keyward, and what that means.
fn advice(tested: &Tested) -> &'static str {
    if tested.is_refusal() {
        "keyward was reached, and its key refused: `keyward events --follow` says why; --token or --key-from puts another in."
    } else {
        "n8n does not reach keyward there: the address has to be right where n8n runs, which may be in a container."
    }
}

fn is_good(tested: Option<&Tested>) -> bool {
    tested.is_none_or(Tested::is_good)
}

fn said(tested: Option<&Tested>) -> String {
    tested.map_or_else(
        || "this n8n cannot be asked for it: press the test button in the credential".to_owned(),
        |tested| tested.shown().into(),
    )
}

fn test(tested: Option<&Tested>) -> Value {
    tested.map_or(Value::Null, |tested| json!({ "ok": tested.is_good(), "message": tested.shown() }))
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
    })
}
