//! Pure. What the diagnosis of an incident means, and what to do about it, for those who have its code.

use super::sender::Sender;
use crate::keys::set::RoleKind;
use crate::ledger::standing::StandingKind;
use crate::verdict::explain::{DiagnosisKind, MEND_WORKER};
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

/// The same where it is known what its binding sent, and for which sets upstream refuses the current key: a stale one is left as it
/// is then, and where it sends good keys as well, the worker that does not comes first.
#[must_use]
pub fn steps_beside(diagnosis: &str, set: &str, senders: &[Sender], refused: &[String]) -> Vec<String> {
    let is_of_old_key = [DiagnosisKind::StaleBinding.code(), StandingKind::Mixed.code()].contains(&diagnosis);
    if is_of_old_key && refused.iter().any(|refused| refused == set) {
        return vec![LEAVE_IT.to_owned()];
    }
    let mut steps = steps_of(diagnosis, set);
    let is_good = |sender: &Sender| matches!(sender.role, Some(RoleKind::Current | RoleKind::Next | RoleKind::Token));
    if diagnosis == DiagnosisKind::StaleBinding.code() && senders.iter().any(is_good) {
        steps.pop();
        steps.insert(0, MEND_WORKER.to_owned());
    }
    steps
}

const LEAVE_IT: &str = "Leave it as it is until the set has a key that OpenAI takes: it refuses the current one, as the page Rotation says.";

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
