//! Pure. Where sets have their keys made at OpenAI, put together from `keys.<set>.admin`.

use std::time::Duration;

use super::parse::{self, Unfit};
use crate::keys::source::Source;
use crate::net::origin::{Scheme, Upstream};
use crate::rotate::account::LONGEST_LIFE;

/// What was given of an account, not yet parsed.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountText {
    pub(super) project: Option<String>,
    pub(super) service_account: Option<String>,
    pub(super) key: Option<Source>,
    /// With commas between them.
    pub(super) scopes: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) url: Option<String>,
}

/// An account whose set and proxy are not known yet.
#[derive(Clone, Debug)]
pub(super) struct AccountDraft {
    pub(super) project: Box<str>,
    pub(super) service_account: Option<Box<str>>,
    pub(super) key: Source,
    pub(super) scopes: Option<Vec<Box<str>>>,
    pub(super) expires: Option<Duration>,
    pub(super) origin: Upstream,
}

impl AccountText {
    /// Every place of a secret in it.
    pub(super) fn sources(&self) -> &[Source] {
        self.key.as_slice()
    }

    pub(super) fn parse(self) -> Result<AccountDraft, Unfit> {
        let project = self.project.ok_or(Unfit::Because("It has no `project`."))?;
        Ok(AccountDraft {
            project: id(&project, "proj_").ok_or(Unfit::Because("A `project` is an id that begins with proj_."))?,
            service_account: self.service_account.as_deref().map(service_account).transpose()?,
            key: self.key.ok_or(Unfit::Because("It has no `key`: where the admin key stands."))?,
            scopes: self.scopes.map(|scopes| parse::each(&scopes, scope)).transpose()?,
            expires: self.expires.as_deref().map(expires).transpose()?,
            origin: self.url.as_deref().map_or_else(|| Ok(Upstream::default()), origin)?,
        })
    }
}

fn service_account(text: &str) -> Result<Box<str>, Unfit> {
    // Both stand in OpenAI's own reference.
    id(text, "svc_acct_")
        .or_else(|| id(text, "user-"))
        .ok_or(Unfit::Because("A `service_account` is an id that begins with svc_acct_."))
}

/// An id that is one segment of a path.
fn id(text: &str, begin: &str) -> Option<Box<str>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let rest = text.strip_prefix(begin)?;
    (!rest.is_empty() && rest.len() <= LONGEST_ID && rest.bytes().all(is_plain)).then(|| text.into())
}

fn scope(text: &str) -> Result<Box<str>, Unfit> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
    if text.starts_with("api.") && text.bytes().all(is_plain) {
        Ok(text.into())
    } else {
        Err(Unfit::Because("A scope is a name such as api.responses.write."))
    }
}

fn expires(text: &str) -> Result<Duration, Unfit> {
    let why = Unfit::Because("`expires` is a span from 1d to 365d.");
    let span = parse::span(text).map_err(|_unfit| why)?;
    if (A_DAY..=LONGEST_LIFE).contains(&span) { Ok(span) } else { Err(why) }
}

/// TLS, or this machine: an admin key can do everything.
fn origin(text: &str) -> Result<Upstream, Unfit> {
    let origin = parse::upstream(text)?;
    let is_local = &*origin.host == "localhost"
        || origin.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if origin.scheme == Scheme::Http && !is_local {
        return Err(Unfit::Because("Its `url` begins with https://: an admin key is sent in no plain text."));
    }
    Ok(origin)
}

const A_DAY: Duration = Duration::from_hours(24);

const LONGEST_ID: usize = 100;
