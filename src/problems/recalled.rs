//! Pure. What was wrong with upstream and the current keys when keyward was stopped, told from the last sighting of each binding.
//!
//! | problem | goes on where |
//! |---|---|
//! | `quota_used_up` | the last sighting of a binding with the current key says so, and none with that key went well since |
//! | `upstream_unreachable` | the last sighting of a binding did not reach upstream, and none did since |
//! | `upstream_failing` | upstream failed the last sighting of a binding and none went well since, and it failed three in all |
//!
//! Of `current_key_refused` the keys themselves have a memory; here is whom it hit. How many exchanges it were is not kept.

use super::traffic::{Episode, FAILURES_IN_A_ROW, MOST_BINDINGS, Recalled, RecalledOfSet};
use crate::clock::Timestamp;
use crate::keys::listing::Entry;
use crate::keys::set::{Names, Role, SetIndex};
use crate::ledger::binding::Latest;
use crate::ledger::identity::BindingId;
use crate::outcome::OutcomeKind;
use crate::verdict::VerdictKind;
use crate::verdict::explain::DiagnosisKind;

/// The last sighting of a binding.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    pub binding: BindingId,
    pub set: SetIndex,
    pub latest: Latest,
}

/// What goes on. `failed` says how many exchanges upstream failed since a moment.
pub(super) fn recalled(last: &[Last], keys: &[Entry], failed: impl Fn(Timestamp) -> u64) -> Recalled {
    let is_failed = |last: &Last| is(last, &[OutcomeKind::UpstreamError, OutcomeKind::TimedOut, OutcomeKind::CutOff]);
    let is_answered = |last: &Last| is(last, &ANSWERED) && !is_failed(last);
    let unreachable =
        going_on(last.iter(), |last| is(last, &[OutcomeKind::Unreachable]), |last| is(last, &ANSWERED), None);
    let failing = going_on(last.iter(), is_failed, is_answered, None);
    let sets = last.iter().map(|last| last.set.position() + 1).max().unwrap_or(0);
    Recalled {
        unreachable,
        failing: failing.filter(|episode| failed(episode.since) >= u64::from(FAILURES_IN_A_ROW)),
        sets: (0..sets).filter_map(SetIndex::nth).map(|set| of_set(set, last, keys)).collect(),
    }
}

fn of_set(set: SetIndex, last: &[Last], keys: &[Entry]) -> RecalledOfSet {
    let current = || keys.iter().filter(|entry| entry.set == set && entry.role == Role::Current);
    let of_kind = |kind: DiagnosisKind| {
        let of_key = |entry: &Entry| {
            let of_it = last.iter().filter(|last| last.set == set && is_of(last, entry.names));
            let met_it = |last: &Last| last.latest.finding.diagnosis() == kind.code();
            going_on(of_it, met_it, |last| is(last, &[OutcomeKind::Success]), Some(entry.names))
        };
        current().find_map(of_key)
    };
    RecalledOfSet { quota: of_kind(DiagnosisKind::Quota), refused: of_kind(DiagnosisKind::CurrentKeyRejected) }
}

/// Whether upstream saw that key: a token stands for it.
fn is_of(last: &Last, current: Names) -> bool {
    last.latest.key == Some(current.fingerprint) || last.latest.finding.verdict() == VerdictKind::Token.code()
}

fn is(last: &Last, outcomes: &[OutcomeKind]) -> bool {
    outcomes.iter().any(|outcome| last.latest.finding.outcome() == outcome.code())
}

/// Those that met it since the last one that shows it well.
fn going_on<'l>(
    last: impl Iterator<Item = &'l Last> + Clone,
    met_it: impl Fn(&Last) -> bool,
    shows_it_well: impl Fn(&Last) -> bool,
    key: Option<Names>,
) -> Option<Episode> {
    let well = last.clone().filter(|last| shows_it_well(last)).map(|last| last.latest.at).max();
    let met: Vec<_> = last.filter(|last| met_it(last) && Some(last.latest.at) > well).collect();
    let since = met.iter().map(|last| last.latest.at).min()?;
    let mut episode = Episode::begin(since, key);
    episode.last = met.iter().map(|last| last.latest.at).max().unwrap_or(since);
    episode.bindings = met.iter().take(MOST_BINDINGS).map(|last| last.binding).collect();
    Some(episode)
}

/// The outcomes that show that upstream was reached.
const ANSWERED: [OutcomeKind; 7] = [
    OutcomeKind::Success,
    OutcomeKind::AuthError,
    OutcomeKind::Limited,
    OutcomeKind::RequestError,
    OutcomeKind::UpstreamError,
    OutcomeKind::CutOff,
    OutcomeKind::Redirected,
];
