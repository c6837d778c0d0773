//! Pure. What the diagnosis of an incident means, and what to do about it, for those who have its code.

use crate::ledger::standing::StandingKind;
use crate::verdict::explain::DiagnosisKind;
use crate::verdict::meaning::{meaning, remedy};

/// What to do about an incident with that diagnosis, step by step; nothing where the code is a later keyward's.
#[must_use]
pub fn steps_of(diagnosis: &str, set: &str) -> Vec<String> {
    match DiagnosisKind::from_code(diagnosis) {
        Some(kind) => remedy(kind, set),
        None if diagnosis == StandingKind::Mixed.code() => vec![MEND_MIXED.to_owned()],
        None => Vec::new(),
    }
}

/// What that diagnosis of an incident means; nothing where the code is a later keyward's.
#[must_use]
pub fn meaning_of(diagnosis: &str) -> &'static str {
    match DiagnosisKind::from_code(diagnosis) {
        Some(kind) => meaning(kind),
        None if diagnosis == StandingKind::Mixed.code() => MIXED,
        None => "",
    }
}

/// What a binding is with whom all is well, but behind which another sender still sends an old key.
pub const MIXED: &str = "the node sends a good key, and another sender behind it still sends an old one";

/// What to do about that.
pub const MEND_MIXED: &str = "Look for a worker with an older environment or a clone of n8n and restart it with the new one, or for an \
                              execution that waits with the old key, and let it end or stop it.";
