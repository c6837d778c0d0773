//! What is looked at every two seconds: the store, the log, the bindings, each n8n, and how long the certificate is valid.

use std::sync::Arc;
use std::time::Duration;

use crate::answers::notice::ReceiverState;
use crate::clock::Timestamp;
use crate::keys::reloader::Reloader;
use crate::keys::set::Role;
use crate::ledger::Ledger;
use crate::ledger::expiry::warning;
use crate::ledger::span::Span;
use crate::ledger::writer;
use crate::n8n::asked::Asked;
use crate::n8n::status::Status;
use crate::net::server_tls::ServerCertificate;
use crate::notices::status::{Notices, ReceiverStatus};
use crate::problems::Problems;
use crate::problems::kind::ProblemKind;
use crate::telemetry::writer::LogCounts;

pub(super) struct Observed {
    pub(super) store: Arc<writer::Status>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) log: LogCounts,
    pub(super) n8n: Arc<Asked>,
    pub(super) certificate: Option<Arc<ServerCertificate>>,
    pub(super) notices: Arc<Notices>,
    pub(super) keys: Arc<Reloader>,
}

impl Observed {
    /// Notes what is wrong with it.
    pub(super) fn note(&self, problems: &Problems, now: Timestamp) {
        problems.pass_time(now);
        let store =
            self.store.trouble().map(|trouble| (Box::default(), format!("The store cannot be used: {trouble}")));
        problems.set(ProblemKind::StoreFailing, store.into_iter().collect(), now);
        problems.count(ProblemKind::LogFailing, self.log.dropped(), "Log lines are dropped", now);
        let overflow = "There is no room for another binding, so requests are counted under `other`";
        problems.count(ProblemKind::BindingsFull, self.ledger.overflowed(), overflow, now);
        let ending = self.certificate.as_ref().and_then(|certificate| ending(certificate.ends(), now));
        problems.set(
            ProblemKind::CertificateEnds,
            ending.map(|what| (Box::default(), what)).into_iter().collect(),
            now,
        );
        problems.set(ProblemKind::KeyExpires, self.expiring(now), now);
        let failing = self.notices.snapshot().receivers.iter().filter_map(of_receiver).collect();
        problems.set(ProblemKind::NoticesFailing, failing, now);
        let n8n = self.n8n.now();
        for kind in [ProblemKind::N8nUnreachable, ProblemKind::N8nKeyUnusable] {
            problems.set(kind, n8n.statuses.iter().filter_map(|n8n| of_n8n(n8n, kind)).collect(), now);
        }
    }
}

impl Observed {
    /// The current keys that expire soon, as OpenAI said when a command asked it last.
    fn expiring(&self, now: Timestamp) -> Vec<(Box<str>, String)> {
        let ring = self.keys.ring();
        let entries = self.keys.entries();
        let current = entries.iter().filter(|entry| entry.role == Role::Current);
        let told = current.filter_map(|entry| {
            let words = warning(self.ledger.expiries.of(entry.names.fingerprint)?.expires?, now)?;
            let set = &ring.set(entry.set).name;
            Some((set.as_ref().into(), format!("The current key {} of set `{set}` {words}", entry.names)))
        });
        told.collect()
    }
}

/// What is wrong with a receiver that takes nothing for longer than a hiccup.
fn of_receiver(receiver: &ReceiverStatus) -> Option<(Box<str>, String)> {
    let is_failing = match receiver.state {
        ReceiverState::Ok => false,
        ReceiverState::Retrying => receiver.failures_in_a_row >= FAILURES_IN_A_ROW,
        ReceiverState::Stopped => true,
    };
    let trouble = receiver.trouble.as_deref().filter(|_| is_failing)?;
    Some((receiver.name.clone(), format!("Notices do not reach `{}`: {trouble}", receiver.name)))
}

/// What is wrong with an n8n, if it is of that kind.
fn of_n8n(n8n: &Status, kind: ProblemKind) -> Option<(Box<str>, String)> {
    let seen = n8n.seen();
    let its_kind = if seen.lacks_key { ProblemKind::N8nKeyUnusable } else { ProblemKind::N8nUnreachable };
    seen.trouble.filter(|_| its_kind == kind).map(|trouble| (n8n.name.clone(), trouble))
}

/// What is said of a certificate that is valid until then.
fn ending(ends: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let ends = ends?;
    if ends <= now {
        return Some(format!("The certificate that clients are shown ended at {ends}"));
    }
    let left = ends.since(now);
    (left < NEAR).then(|| format!("The certificate that clients are shown ends at {ends}, in {}", Span(left)))
}

/// How long before its end a certificate is told of. What renews certificates by itself has done so by then.
const NEAR: Duration = Duration::from_hours(14 * 24);

/// A receiver that failed so often in a row is in trouble.
const FAILURES_IN_A_ROW: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_of_two_weeks_before_its_end_and_after_it() {
        let day = 24 * 60 * 60 * 1000;
        let ends = Some(Timestamp::from_millis(100 * day));
        let said = |days: i64| ending(ends, Timestamp::from_millis(days * day));
        assert_eq!(said(85), None);
        assert!(said(87).is_some_and(|said| said.ends_with("in 13 days")), "{:?}", said(87));
        assert!(said(100).is_some_and(|said| said.contains("ended at")), "{:?}", said(100));
        assert_eq!(ending(None, Timestamp::from_millis(0)), None);
    }
}
