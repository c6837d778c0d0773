//! Pure. What a notice is about, as it is at a moment.

use serde::{Deserialize, Serialize};

use super::Topic;
use crate::answers::key::KeyNames;
use crate::clock::Timestamp;
use crate::codes::codes;
use crate::verdict::explain::Severity;

/// Something that is told of as long as it is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// What tells it from all others: the same as long as it is about the same.
    pub id: Box<str>,
    pub topic: Topic,
    pub kind: SubjectKind,
    /// The code of a problem, of what is wrong with callers, or how far a rotation is.
    pub code: Box<str>,
    /// The key set; nothing where it concerns all.
    pub set: Option<Box<str>>,
    /// What of its kind it is about: an n8n by its name.
    pub about: Box<str>,
    pub key: Option<KeyNames>,
    pub severity: Severity,
    pub since: Timestamp,
    /// What is so, in a clause that may stand before a colon.
    pub headline: String,
    /// More of it, in sentences; may be empty.
    pub detail: String,
    /// What to do, in sentences or numbered lines.
    pub remedy: String,
    /// The command that shows more.
    pub command: Box<str>,
    /// The callers that it is about now, those that began first at the front.
    #[serde(skip)]
    pub members: Vec<Member>,
    /// Of a rotation: what keeps the old key, in clauses.
    #[serde(skip)]
    pub reasons: Vec<String>,
    /// Of a rotation: how many more there are of those.
    #[serde(skip)]
    pub unnamed: usize,
    /// Of a rotation: how many callers are not done with the old key.
    #[serde(default)]
    pub left: usize,
    /// Of a rotation: how many callers there are.
    #[serde(default)]
    pub total: usize,
}

codes! {
    /// What kind of thing a notice is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum SubjectKind {
        /// Callers of one set with one key that are not well.
        Incident => "incident",
        /// A key that no set has.
        UnknownKey => "unknown_key",
        /// A key that was replaced.
        Rotation => "rotation",
        /// A problem ([`crate::problems`]).
        Problem => "problem",
    }
}

/// A caller that a subject is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub number: u64,
    /// Who it is, in words.
    pub who: String,
    /// What is wrong with it: a code.
    pub code: String,
    pub since: Option<Timestamp>,
    /// Where it is in n8n's editor.
    pub link: Option<String>,
}

impl Subject {
    /// What it means that its code was that one when it was told last.
    ///
    /// Of a rotation it counts whether the old key can go. That it can, and that it cannot after all because it is still
    /// sent or held, may not wait. What is merely not proven any more may be proven again soon: n8n may have been away.
    #[must_use]
    pub fn turn(&self, before: &str) -> Turn {
        let (could, can) = (before == CAN_FINISH, &*self.code == CAN_FINISH);
        match self.kind {
            SubjectKind::Rotation if could == can => Turn::None,
            SubjectKind::Rotation if can || &*self.code == CANNOT_GO => Turn::Urgent,
            SubjectKind::Incident | SubjectKind::UnknownKey | SubjectKind::Problem if *before == *self.code => {
                Turn::None
            }
            SubjectKind::Rotation | SubjectKind::Incident | SubjectKind::UnknownKey | SubjectKind::Problem => {
                Turn::News
            }
        }
    }

    /// What of it changes little by little: how many callers are left of a rotation. Their incidents tell that, so it is no
    /// news by itself, but while it changes the rotation does not stand still.
    #[must_use]
    pub fn measure(&self) -> (usize, usize) {
        (self.left, self.reasons.len() + self.unnamed)
    }
}

/// What a change of a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing has changed.
    None,
    /// It is told when it has lasted.
    News,
    /// It is told at once.
    Urgent,
}

/// The code of a rotation whose old key can go.
pub const CAN_FINISH: &str = "can_finish";

/// The code of one whose old key is still sent or held.
pub const CANNOT_GO: &str = "cannot_go";

/// The code of one whose old key is not proven to be without use.
pub const NOT_PROVEN: &str = "not_proven";
