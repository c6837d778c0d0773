//! What changes while keyward runs and is not a request: keys, tokens and the certificate are read again, and what was
//! learned is written.

use std::sync::Arc;
use std::time::Duration;

use crate::keys::keeper::{Keeper, Reload, Trouble};
use crate::proxy::certificate::{Renewal, ServerCertificate};
use crate::watch::Watch;

/// Looks after them, and says what went wrong: once, until it is another fault.
pub(super) struct Upkeep {
    keeper: Arc<Keeper>,
    certificate: Option<Arc<ServerCertificate>>,
    told: Told,
}

/// What was said last.
struct Told {
    of_keys: Vec<String>,
    of_certificate: Vec<String>,
}

impl Upkeep {
    /// After a start whose troubles were told.
    pub(super) fn new(keeper: Arc<Keeper>, certificate: Option<Arc<ServerCertificate>>, troubles: &[Trouble]) -> Self {
        // Without a state folder there is nothing to read from it again.
        let again =
            troubles.iter().filter(|trouble| !matches!(trouble, Trouble::State { .. } | Trouble::History { .. }));
        let told = Told { of_keys: again.map(in_full).collect(), of_certificate: Vec::new() };
        Self { keeper, certificate, told }
    }

    /// New keys are found at once where the system tells of them, and soon where it does not. What was learned is written
    /// soon; that the keys are still the same, now and then.
    pub(super) async fn run(mut self) {
        let of_certificate = self.certificate.iter().flat_map(|certificate| certificate.files());
        let mut watch = Watch::new(self.keeper.files().into_iter().chain(of_certificate).collect());
        let (mut polls, mut saves) = (tokio::time::interval(POLL), tokio::time::interval(SAVE));
        let mut rounds = 0_u32;
        loop {
            tokio::select! {
                () = watch.changed() => self.look(),
                _ = polls.tick() => self.look(),
                _ = saves.tick() => {
                    rounds = rounds.wrapping_add(1);
                    save(&self.keeper, rounds.is_multiple_of(LOOK_AGAIN));
                }
            }
        }
    }

    fn look(&mut self) {
        let of_keys = read_keys(&self.keeper);
        if of_keys != self.told.of_keys {
            complain_of_keys(&of_keys);
            if of_keys.is_empty() {
                tracing::info!(event = "keys", "all keys can be read again");
            }
        }
        let of_certificate = renew(self.certificate.as_deref());
        if of_certificate != self.told.of_certificate {
            complain_of_certificate(&of_certificate);
            if of_certificate.is_empty() {
                tracing::info!(event = "tls", "the certificate can be read again");
            }
        }
        self.told = Told { of_keys, of_certificate };
    }
}

/// Reads all of it again because somebody asked, and says what is wrong whether it was told or not.
pub(super) fn look_again(keeper: &Keeper, certificate: Option<&ServerCertificate>) {
    complain_of_keys(&read_keys(keeper));
    complain_of_certificate(&renew(certificate));
}

/// Writes the history. Failing to is said each time: what is lost is lost for good.
pub(super) fn save(keeper: &Keeper, look_again: bool) {
    if let Err(error) = keeper.save(look_again) {
        tracing::error!(event = "state", "rotations are forgotten at the next start: {}", in_full(&error));
    }
}

/// Says what changed; gives back what went wrong.
fn read_keys(keeper: &Keeper) -> Vec<String> {
    match keeper.reload() {
        Reload::Unchanged => Vec::new(),
        Reload::Changed(changes) => {
            for change in changes {
                tracing::info!(event = "keys", "{change}");
            }
            Vec::new()
        }
        Reload::Failed(troubles) => troubles.iter().map(in_full).collect(),
    }
}

/// Shows clients a new certificate, where there is one; gives back what went wrong.
fn renew(certificate: Option<&ServerCertificate>) -> Vec<String> {
    match certificate.map(ServerCertificate::reload) {
        None | Some(Ok(Renewal::Unchanged)) => Vec::new(),
        Some(Ok(Renewal::Changed)) => {
            tracing::info!(event = "tls", "clients are shown another certificate from now on");
            Vec::new()
        }
        Some(Err(error)) => vec![in_full(&error)],
    }
}

fn complain_of_keys(troubles: &[String]) {
    for trouble in troubles {
        tracing::error!(event = "keys", "the keys stay as they were: {trouble}");
    }
}

fn complain_of_certificate(troubles: &[String]) {
    for trouble in troubles {
        tracing::error!(event = "tls", "the certificate stays as it was: {trouble}");
    }
}

/// An error with all its causes.
fn in_full(error: &impl std::error::Error) -> String {
    crate::telemetry::event::with_causes(error)
}

/// How soon new keys are found where the system does not tell of them.
const POLL: Duration = Duration::from_secs(5);

/// How soon what was learned is written.
const SAVE: Duration = Duration::from_secs(2);

/// Every how many times the state is written even if nothing changed: every minute. The time since is how closely a
/// rotation that happens while keyward is down can be dated.
const LOOK_AGAIN: u32 = 30;
