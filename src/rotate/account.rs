//! Pure. Where a set's keys are made and deleted at OpenAI: the settings of `keys.<set>.admin`.

use std::time::Duration;

use crate::keys::fingerprint::KeyKind;
use crate::keys::source::Source;
use crate::net::egress_proxy::EgressProxy;
use crate::net::origin::Upstream;

/// Every set with an account at OpenAI. No `serve` reads the admin keys that they name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// One for each set that has one.
    pub accounts: Vec<Account>,
}

/// The project and the service account that a set's keys belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The set's name.
    pub set: Box<str>,
    /// The id of the project: `proj_…`.
    pub project: Box<str>,
    /// The id of the service account that owns the set's keys; nothing where a person owns them, whose keys the API cannot
    /// make.
    pub service_account: Option<Box<str>>,
    /// Where the admin key stands.
    pub key: Source,
    /// What a new key may do, such as `api.responses.write`; nothing where that is not said.
    pub scopes: Option<Vec<Box<str>>>,
    /// After how long a new key expires; nothing for never.
    pub expires: Option<Duration>,
    /// Where the admin API is. The admin key goes there alone.
    pub origin: Upstream,
    /// The proxy on the way there.
    pub via: Option<EgressProxy>,
}

impl Settings {
    /// That of a set.
    #[must_use]
    pub fn of(&self, set: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| &*account.set == set)
    }
}

/// What a value is that is no admin key, as it follows "it holds": another key has no business at the admin API.
#[must_use]
pub fn fault_of_admin_key(value: &[u8]) -> Option<&'static str> {
    (KeyKind::of(value) != KeyKind::Admin).then_some("no admin key of OpenAI's (they begin with sk-admin-)")
}

/// The longest that OpenAI lets a key live, which is 31,536,000 seconds (API reference of `expires_in_seconds`, November 2026).
pub const LONGEST_LIFE: Duration = Duration::from_hours(365 * 24);
