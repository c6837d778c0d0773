//! Pure. What came of taking the configuration anew.

use serde::{Deserialize, Serialize};

use crate::codes::codes;

/// What came of taking the configuration anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// What came of it; of a dry run, what would come of it.
    pub result: ReloadResult,
    /// Whether this only says what would be done.
    pub dry_run: bool,
    /// The settings that are others, and are taken if nothing speaks against it. A table that came or went, or is another
    /// one as a whole, is one of them.
    pub changed: Vec<String>,
    /// The changed settings that only hold from the next start on, for which all of them are refused.
    pub needs_restart: Vec<String>,
    /// What is wrong with the configuration, each in the words of `keyward check`.
    pub problems: Vec<String>,
}

codes! {
    /// What came of a reload.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ReloadResult {
        /// All that was changed holds from now on.
        Taken => "taken",
        /// Nothing was changed; keys, tokens and the certificate were read again.
        Unchanged => "unchanged",
        /// Nothing was taken: all is as it was before.
        Refused => "refused",
    }
}
