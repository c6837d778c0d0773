//! Which groups `keyward n8n segment` began, and what each has so far: `segments.json` in the state folder. What n8n is asked for
//! is noted before, so that no credential is made twice. No key and no token is in it.

use serde::{Deserialize, Serialize};

use crate::keys::state::{StateError, StateFolder};

/// A group that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Begun {
    /// The n8n that it is of: the address of its editor.
    pub n8n: String,
    /// By what it was grouped, as a code of [`super::segment::By`].
    pub by: String,
    /// What n8n calls it.
    pub group: String,
    /// The id of the project, the tag or the workflow. An earlier keyward kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its key set.
    pub set: String,
    /// The fingerprint of its token, from just before n8n is given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The id of its credential record, once n8n has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl Begun {
    /// Each has a set of its own.
    fn is_same(&self, other: &Self) -> bool {
        self.n8n == other.n8n && self.by == other.by && self.set == other.set
    }
}

/// All groups that were begun.
pub fn begun(folder: &StateFolder) -> Result<Vec<Begun>, StateError> {
    Ok(folder.read::<Kept>(FILE)?.groups)
}

/// Keeps a group, in place of what was kept of it.
pub fn keep(folder: &StateFolder, begun: &Begun) -> Result<(), StateError> {
    folder.change(FILE, |kept: &mut Kept| {
        kept.groups.retain(|group| !group.is_same(begun));
        kept.groups.push(begun.clone());
    })
}

#[derive(Default, Deserialize, Serialize)]
struct Kept {
    version: Version,
    groups: Vec<Begun>,
}

/// The shape's version. A file of a later one is not read.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
enum Version {
    #[default]
    #[serde(rename = "1")]
    One,
}

const FILE: &str = "segments";
