//! Pure. Incidents that are over: the last ones of every binding, in a bounded number altogether.
//!
//! What flaps closes an incident with every other request, so each binding has a share of its own: it forgets its own past,
//! and no other's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::binding::Binding;
use super::identity::BindingId;
use super::incident::Incident;
use crate::clock::Timestamp;

/// An incident that is over, and whose it was.
#[derive(Clone, Debug)]
pub struct ClosedIncident {
    pub binding: Arc<Binding>,
    pub incident: Incident,
}

/// The incidents that are over, the one that closed last at the end.
#[derive(Default)]
pub(super) struct ClosedIncidents {
    incidents: VecDeque<ClosedIncident>,
    /// How many there are of each binding.
    shares: HashMap<BindingId, usize>,
}

impl ClosedIncidents {
    /// How many of one binding are remembered at least. Up to [`SURPLUS`] more are, for they are counted out together.
    pub(super) const PER_BINDING: usize = 16;

    /// How many are remembered in all.
    pub(super) const TOTAL: usize = 10_000;

    /// Adds one. Where there is no room for it, an older one goes.
    pub(super) fn add(&mut self, closed: ClosedIncident) {
        let binding = closed.binding.id();
        let share = self.shares.entry(binding).or_default();
        *share += 1;
        let is_over_its_share = *share > Self::PER_BINDING + SURPLUS;
        self.incidents.push_back(closed);
        if is_over_its_share {
            self.count_out(binding);
        }
        if self.incidents.len() > Self::TOTAL
            && let Some(oldest) = self.incidents.pop_front()
        {
            release(&mut self.shares, oldest.binding.id());
        }
    }

    /// Forgets those that closed before then.
    pub(super) fn forget_before(&mut self, then: Timestamp) {
        let shares = &mut self.shares;
        self.incidents.retain(|closed| {
            let is_kept = closed.incident.closed.as_ref().is_none_or(|end| end.at >= then);
            if !is_kept {
                release(shares, closed.binding.id());
            }
            is_kept
        });
    }

    /// Every one, the one that closed last at the end.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &ClosedIncident> {
        self.incidents.iter()
    }

    /// Leaves the last ones of a binding that has more than its share.
    fn count_out(&mut self, binding: BindingId) {
        let mut surplus = self.shares.get(&binding).map_or(0, |share| share.saturating_sub(Self::PER_BINDING));
        let kept = self.shares.entry(binding).or_default();
        *kept -= surplus;
        self.incidents.retain(|closed| {
            let goes = surplus > 0 && closed.binding.id() == binding;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

fn release(shares: &mut HashMap<BindingId, usize>, binding: BindingId) {
    if let Some(share) = shares.get_mut(&binding) {
        *share -= 1;
        if *share == 0 {
            shares.remove(&binding);
        }
    }
}

/// How many more than its share a binding has when it is looked for them, which is a walk through all.
const SURPLUS: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::caller::Family;
    use crate::keys::set::SetIndex;
    use crate::ledger::identity::Identity;
    use crate::ledger::incident::{Closed, Closing, IncidentId};
    use crate::verdict::explain::Severity;

    fn binding(workflow: &str) -> Arc<Binding> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let untagged = Identity::untagged(SetIndex::DEFAULT, Family::Sdk, address, None);
        Arc::new(Binding::new(&Identity { workflow: Some(workflow), ..untagged }, "default"))
    }

    fn closed(binding: &Arc<Binding>, number: u64) -> ClosedIncident {
        let at = Timestamp::from_millis(number.cast_signed());
        let incident = Incident {
            id: IncidentId(number),
            opened: at,
            last: at,
            sightings: 1,
            diagnosis: "stale_binding",
            severity: Severity::Error,
            key: None,
            execution: None,
            path: None,
            closed: Some(Closed { at, by: Closing::GoodSighting.into(), execution: None }),
        };
        ClosedIncident { binding: Arc::clone(binding), incident }
    }

    fn numbers(incidents: &ClosedIncidents, binding: &Arc<Binding>) -> Vec<u64> {
        let of_it = incidents.iter().filter(|closed| closed.binding.id() == binding.id());
        of_it.map(|closed| closed.incident.id.0).collect()
    }

    #[test]
    fn a_binding_that_flaps_forgets_only_its_own_past() {
        let (mut incidents, quiet, flapping) = (ClosedIncidents::default(), binding("quiet"), binding("flapping"));
        (0..3).for_each(|number| incidents.add(closed(&quiet, number)));
        for number in 3..100_000 {
            incidents.add(closed(&flapping, number));
            let kept = numbers(&incidents, &flapping);
            assert!(kept.len() <= ClosedIncidents::PER_BINDING + SURPLUS);
            assert!(kept.iter().rev().zip((3..=number).rev()).all(|(kept, number)| *kept == number), "the last ones");
            assert!(kept.len() >= ClosedIncidents::PER_BINDING.min(usize::try_from(number - 2).unwrap()));
        }
        assert_eq!(numbers(&incidents, &quiet), [0, 1, 2]);
    }

    #[test]
    fn many_bindings_have_so_many_together() {
        let mut incidents = ClosedIncidents::default();
        for number in 0..ClosedIncidents::TOTAL as u64 + 500 {
            incidents.add(closed(&binding(&number.to_string()), number));
        }
        assert_eq!(incidents.iter().count(), ClosedIncidents::TOTAL);
        assert_eq!(incidents.iter().next().map(|oldest| oldest.incident.id.0), Some(500));
        assert_eq!(incidents.shares.len(), ClosedIncidents::TOTAL);
    }

    #[test]
    fn what_is_old_goes_with_its_share() {
        let (mut incidents, one) = (ClosedIncidents::default(), binding("one"));
        (0..10).for_each(|number| incidents.add(closed(&one, number)));
        incidents.forget_before(Timestamp::from_millis(7));
        assert_eq!(numbers(&incidents, &one), [7, 8, 9]);
        assert_eq!(incidents.shares.values().copied().collect::<Vec<_>>(), [3]);
        incidents.forget_before(Timestamp::from_millis(100));
        assert!(incidents.shares.is_empty(), "nothing is kept of bindings without any");
    }
}
