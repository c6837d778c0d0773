//! What changes while keyward runs and is not a request: keys, tokens, the certificate and the admin tokens are read again,
//! and what was learned is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::observed::Observed;
use crate::admin::access::{Access, TokenError};
use crate::clock::Clock;
use crate::keys::reloader::{Reload, Reloader, Trouble};
use crate::metrics::{Reloaded, Reloads};
use crate::net::server_tls::{Renewal, ServerCertificate};
use crate::problems::Problems;
use crate::problems::kind::ProblemKind;
use crate::server::Stage;
use crate::watch::Watch;

/// What is read again.
#[derive(Clone)]
pub(super) struct Readings {
    pub(super) reloader: Arc<Reloader>,
    pub(super) certificate: Option<Arc<ServerCertificate>>,
    pub(super) access: Option<Arc<Access>>,
    pub(super) reloads: Arc<Reloads>,
    /// Told when keys are read from other files.
    pub(super) files_changed: Arc<Notify>,
    pub(super) problems: Arc<Problems>,
    pub(super) clock: Clock,
}

/// Looks after them, and says what went wrong: once, until it is another fault.
pub(super) struct Upkeep {
    readings: Readings,
    told: Faults,
    /// What is wrong with the state since the start, and stays so until the next one.
    lasting: Vec<String>,
    observed: Observed,
}

/// What went wrong with each of them.
#[derive(Default)]
struct Faults([Vec<Fault>; Reloaded::COUNT]);

#[derive(Clone, PartialEq, Eq)]
struct Fault {
    kind: ProblemKind,
    /// The set, where it is one's.
    about: Box<str>,
    text: String,
}

impl Upkeep {
    /// After a start whose troubles were told.
    pub(super) fn new(
        readings: Readings,
        troubles: &[Trouble],
        no_token: Option<&TokenError>,
        observed: Observed,
    ) -> Self {
        // Without a state folder there is nothing to read from it again.
        let is_read_again = |trouble: &&Trouble| matches!(trouble, Trouble::Source { .. } | Trouble::Access { .. });
        let again = troubles.iter().filter(is_read_again);
        let mut told = Faults::default();
        told.0[Reloaded::Keys.position()] = again.map(fault).collect();
        told.0[Reloaded::AdminToken.position()] = no_token.into_iter().map(fault_of_token).collect();
        let of_kind = |kind| troubles.iter().map(fault).filter(move |fault| fault.kind == kind).map(|fault| fault.text);
        let lost = of_kind(ProblemKind::FingerprintKeyLost).map(|text| (Box::default(), text)).collect();
        readings.problems.set(ProblemKind::FingerprintKeyLost, lost, readings.clock.now());
        let lasting = of_kind(ProblemKind::StateUnusable).collect();
        let upkeep = Self { readings, told, lasting, observed };
        upkeep.note_state(None);
        upkeep
    }

    /// New keys are found at once where the system tells of them, and soon where it does not. What was learned is written
    /// soon; that the keys are still the same, now and then. Until keyward has stopped.
    pub(super) async fn run(self, mut stage: watch::Receiver<Stage>) {
        tokio::select! {
            () = self.look_after() => {}
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
        }
    }

    async fn look_after(mut self) {
        let mut watch = Watch::new(self.readings.files());
        let files_changed = Arc::clone(&self.readings.files_changed);
        let (mut polls, mut saves) = (tokio::time::interval(POLL), tokio::time::interval(SAVE));
        let mut rounds = 0_u32;
        loop {
            tokio::select! {
                () = watch.changed() => self.look(),
                () = files_changed.notified() => watch = Watch::new(self.readings.files()),
                _ = polls.tick() => self.look(),
                _ = saves.tick() => {
                    rounds = rounds.wrapping_add(1);
                    let failed = save(&self.readings.reloader, rounds.is_multiple_of(LOOK_AGAIN));
                    self.note_state(failed);
                    self.observed.note(&self.readings.problems, self.readings.clock.now());
                }
            }
        }
    }

    fn look(&mut self) {
        let faults = self.readings.read();
        for what in Reloaded::ALL {
            let now = &faults.0[what.position()];
            if *now != self.told.0[what.position()] {
                complain(what, now);
                if now.is_empty() {
                    say_all_is_well(what);
                }
            }
        }
        self.told = faults;
    }

    fn note_state(&self, failed: Option<String>) {
        let found = self.lasting.iter().cloned().chain(failed).map(|what| (Box::default(), what));
        self.readings.problems.set(ProblemKind::StateUnusable, found.collect(), self.readings.clock.now());
    }
}

impl Readings {
    /// Reads all of it again on request, and says what is wrong whether it was told or not.
    pub(super) fn look_again(&self) {
        self.reloader.want_commands_again();
        let faults = self.read();
        for what in Reloaded::ALL {
            complain(what, &faults.0[what.position()]);
        }
    }

    fn note(&self, what: Reloaded, faults: &[Fault]) {
        let kinds: &[_] = match what {
            Reloaded::Keys => &[ProblemKind::KeyUnreadable, ProblemKind::TokensUnreadable],
            Reloaded::Certificate => &[ProblemKind::CertificateUnreadable],
            Reloaded::AdminToken => &[ProblemKind::AdminTokenUnreadable],
        };
        for kind in kinds {
            let found = faults.iter().filter(|fault| fault.kind == *kind);
            let found = found.map(|fault| (fault.about.clone(), fault.text.clone())).collect();
            self.problems.set(*kind, found, self.clock.now());
        }
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let of_certificate = self.certificate.iter().flat_map(|certificate| certificate.files());
        let of_access = self.access.iter().flat_map(|access| access.files());
        self.reloader.files().into_iter().chain(of_certificate).chain(of_access).collect()
    }

    /// Says what changed; gives back what went wrong.
    fn read(&self) -> Faults {
        Faults(Reloaded::ALL.map(|what| {
            let read = match what {
                Reloaded::Keys => read_keys(&self.reloader),
                Reloaded::Certificate => renew(self.certificate.as_deref()),
                Reloaded::AdminToken => read_tokens(self.access.as_deref()),
            };
            match read {
                Ok(true) => self.reloads.succeeded(what),
                Ok(false) => {}
                Err(_) => self.reloads.failed(what),
            }
            let faults = read.err().unwrap_or_default();
            self.note(what, &faults);
            faults
        }))
    }
}

/// Writes the history. Failing to is said each time, and given back: what is lost is lost for good.
pub(super) fn save(reloader: &Reloader, look_again: bool) -> Option<String> {
    let error = reloader.save(look_again).err()?;
    let text = in_full(&error);
    tracing::error!(event = "state", "rotations are forgotten at the next start: {text}");
    Some(text)
}

fn read_keys(reloader: &Reloader) -> Result<bool, Vec<Fault>> {
    match reloader.reload() {
        Reload::Unchanged => Ok(false),
        Reload::Changed(changes) => {
            for change in changes {
                tracing::info!(event = "keys", "{change}");
            }
            Ok(true)
        }
        Reload::Failed(troubles) => Err(troubles.iter().map(fault).collect()),
    }
}

/// Shows clients a new certificate, where there is one.
fn renew(certificate: Option<&ServerCertificate>) -> Result<bool, Vec<Fault>> {
    match certificate.map(ServerCertificate::reload) {
        None | Some(Ok(Renewal::Unchanged)) => Ok(false),
        Some(Ok(Renewal::Changed)) => {
            tracing::info!(event = "tls", "clients are shown another certificate from now on");
            Ok(true)
        }
        Some(Err(error)) => {
            Err(vec![Fault { kind: ProblemKind::CertificateUnreadable, about: Box::default(), text: in_full(&error) }])
        }
    }
}

fn read_tokens(access: Option<&Access>) -> Result<bool, Vec<Fault>> {
    let is_news = access.map_or(Ok(false), Access::reload).map_err(|error| vec![fault_of_token(&error)])?;
    if is_news {
        tracing::info!(event = "admin", "the admin tokens have changed: the ones before are refused from now on");
    }
    Ok(is_news)
}

fn complain(what: Reloaded, faults: &[Fault]) {
    for Fault { text: fault, .. } in faults {
        match what {
            Reloaded::Keys => tracing::error!(event = "keys", "the keys stay as they were: {fault}"),
            Reloaded::Certificate => tracing::error!(event = "tls", "the certificate stays as it was: {fault}"),
            Reloaded::AdminToken => tracing::error!(event = "admin", "no token is accepted from that file: {fault}"),
        }
    }
}

/// After a complaint.
fn say_all_is_well(what: Reloaded) {
    match what {
        Reloaded::Keys => tracing::info!(event = "keys", "all keys can be read again"),
        Reloaded::Certificate => tracing::info!(event = "tls", "the certificate can be read again"),
        Reloaded::AdminToken => tracing::info!(event = "admin", "the admin tokens can be read again"),
    }
}

fn fault(trouble: &Trouble) -> Fault {
    let (kind, about) = match trouble {
        Trouble::Source { set, .. } => (ProblemKind::KeyUnreadable, &**set),
        Trouble::Access { .. } => (ProblemKind::TokensUnreadable, ""),
        Trouble::KeyLost { .. } => (ProblemKind::FingerprintKeyLost, ""),
        Trouble::History { .. } | Trouble::State { .. } => (ProblemKind::StateUnusable, ""),
    };
    Fault { kind, about: about.into(), text: in_full(trouble) }
}

fn fault_of_token(error: &TokenError) -> Fault {
    Fault { kind: ProblemKind::AdminTokenUnreadable, about: Box::default(), text: in_full(error) }
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
