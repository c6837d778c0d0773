//! Whether what is configured would work, and is safe: everything that can be told before the first request.

pub mod gateways;
pub mod online;

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::admin::{MetricsFor, access};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::keys::SetSettings;
use crate::keys::access::Token;
use crate::keys::fingerprint::KeyKind;
use crate::keys::reloader::Trouble;
use crate::keys::rules::Policy;
use crate::keys::rules::{SetRules, Unknown};
use crate::keys::secret::Secret;
use crate::keys::set::{KeyRing, Names, SetIndex};
use crate::keys::source::{Source, SourceError};
use crate::n8n::client::fault_of_api_key;
use crate::net::limits::Limits;
use crate::net::origin::Scheme;
use crate::notices::{Receiver, ReceiverKind, delivery};
use crate::verdict::credential::find_fault;
use crate::verdict::explain::malformed_words;

/// Something that `keyward check` tells: what would not work, or is unsafe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub gravity: Gravity,
    /// What it is about: a setting's name.
    pub about: String,
    /// What is wrong with it and what to do, in a sentence.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// It does not work, or keyward refuses to start with it.
    Problem,
    /// It works, and you should look at it.
    Warning,
    /// It is as it should be.
    Sound,
}

impl Gravity {
    /// As it stands in front of a finding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Sound => "ok",
        }
    }
}

impl Finding {
    /// One with which keyward does not do what it should.
    #[must_use]
    pub fn problem(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { gravity: Gravity::Problem, about: about.into(), text: text.into() }
    }

    /// One that you should look at.
    #[must_use]
    pub fn warning(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { gravity: Gravity::Warning, ..Self::problem(about, text) }
    }

    /// One that says that something is as it should be.
    #[must_use]
    pub fn sound(about: impl Into<String>, text: impl Into<String>) -> Self {
        Self { gravity: Gravity::Sound, ..Self::problem(about, text) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)
    }
}

/// What of a configuration is unsafe or does not work, the worst first.
#[must_use]
pub fn examine(config: &Config, gateways: &[IpAddr], now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (set, rules) in config.keys.sets.iter().zip(&config.rules.sets) {
        let keys = read_keys(set, config.keys.takes_vendors, &mut findings);
        findings.extend(look_alikes(&set.name, &keys));
        examine_rules(&set.name, rules, gateways, now, &mut findings);
    }
    findings.extend(open_to_pages(config));
    findings.extend(open_to_strangers(config));
    examine_listeners(config, &mut findings);
    examine_egress_proxy(config, &mut findings);
    findings.extend(config.log.file.as_ref().and_then(|path| warn_if_readable_by_all("log.file", path)));
    examine_n8n(config, &mut findings);
    config.notices.receivers.iter().for_each(|receiver| examine_receiver(receiver, &mut findings));
    findings.sort_by_key(|finding| finding.gravity);
    findings
}

/// Fewer file descriptors than `max_connections` needs. `limit` is the process's own; nothing where it has none.
#[must_use]
pub fn few_descriptors(limits: &Limits, limit: Option<u64>) -> Option<Finding> {
    let (most, limit) = (limits.max_connections as u64, limit?);
    let text = || {
        format!(
            "{most} needs {} file descriptors, two for each connection, and this process may have {limit}: raise the limit \
             (LimitNOFILE= of systemd, ulimits of Docker, ulimit -n), or set max_connections to {}.",
            most.saturating_mul(2),
            limit / 2
        )
    };
    (limit < most.saturating_mul(2)).then(|| Finding::warning("proxy.max_connections", text()))
}

/// With what keyward must not start: a set that is to act needs its current key, and what was revoked has to be known.
#[must_use]
pub fn reasons_not_to_start(config: &Config, troubles: &[Trouble], gateways: &[IpAddr]) -> Vec<String> {
    let acts = |name: &str| {
        let rules = config.keys.sets.iter().zip(&config.rules.sets).find(|(set, _)| &*set.name == name);
        rules.is_some_and(|(_, rules)| rules.act())
    };
    let any_acts = config.rules.sets.iter().any(SetRules::act);
    let troubles = troubles.iter().filter(|trouble| match trouble {
        Trouble::Source { set, key, .. } => *key == "current" && acts(set),
        Trouble::Access { .. } | Trouble::KeyLost { .. } => any_acts,
        Trouble::State { .. } | Trouble::History { .. } => false,
    });
    let mut reasons: Vec<_> = troubles.map(|trouble| in_full(trouble)).collect();
    for (set, rules) in config.keys.sets.iter().zip(&config.rules.sets) {
        reasons.extend(gateways_in(&set.name, rules, gateways).map(|finding| finding.to_string()));
    }
    reasons
}

/// What the reloader could not do. A key that cannot be read is found without it.
#[must_use]
pub fn of_trouble(trouble: &Trouble) -> Option<Finding> {
    let text = in_full(trouble);
    match trouble {
        Trouble::Source { .. } => None,
        Trouble::Access { .. } | Trouble::KeyLost { .. } | Trouble::State { .. } | Trouble::History { .. } => {
            Some(Finding::problem("state.dir", text))
        }
    }
}

/// A line for each set: its policy, and the key that it checks by.
#[must_use]
pub fn keys_in_use(config: &Config, ring: &KeyRing) -> Vec<Finding> {
    let sets = config.keys.sets.iter().zip(&config.rules.sets).zip(ring.indexes());
    let describe = |((set, rules), index): ((&SetSettings, &SetRules), SetIndex)| {
        let policy = rules.policy.name();
        let key = match (ring.current(index), &set.current) {
            (Some(names), Some(source)) => format!("current key {names} from {source}"),
            (Some(_) | None, None) => "no key declared, learns the current one from what upstream accepts".to_owned(),
            (None, Some(_)) => return None,
        };
        let about = format!("keys.{}", set.name);
        match ring.current(index).and_then(|names| ring.revoked(names.fingerprint)) {
            Some(at) => Some(Finding::problem(
                about,
                format!("policy {policy}, {key}, which was revoked at {at}: put another one in."),
            )),
            None => Some(Finding::sound(about, format!("policy {policy}, {key}"))),
        }
    };
    sets.filter_map(describe).collect()
}

/// Tokens of sets that there are no more.
#[must_use]
pub fn orphaned_tokens(config: &Config, tokens: &[Token]) -> Vec<Finding> {
    let is_known = |token: &&Token| config.keys.sets.iter().any(|set| set.name == token.set);
    let orphans = tokens.iter().filter(|token| token.revoked.is_none()).filter(|token| !is_known(token));
    let find = |token: &Token| {
        let names = Names { fingerprint: token.fingerprint, hint: token.hint };
        let text =
            format!("token {names} belongs to set `{}`, which is not configured: it admits no request.", token.set);
        Finding::warning("tokens", text)
    };
    orphans.map(find).collect()
}

/// An error with all its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    crate::telemetry::event::with_causes(error)
}

/// Reads every key of a set, as keyward would at its start.
fn read_keys(set: &SetSettings, takes_vendors: bool, findings: &mut Vec<Finding>) -> Vec<(String, Secret)> {
    let current = set.current.iter().map(|source| ("current", source));
    let next = set.next.iter().map(|source| ("next", source));
    let previous = set.previous.iter().map(|source| ("previous", source));
    let mut keys = Vec::new();
    for (role, source) in current.chain(next).chain(previous) {
        let about = format!("keys.{}.{role}", set.name);
        if role == "next" && source.is_absent() {
            findings.push(Finding::sound(&about, format!("{source} is not there, so that no next key is announced.")));
            continue;
        }
        match source.read_upstream_key(fault_of_key, takes_vendors) {
            Err(error @ SourceError::NotRun) => {
                findings.push(Finding::sound(&about, format!("{source} gives the key, and was not tried: {error}.")));
            }
            // It was pasted wrongly.
            Err(SourceError::NoKey { what }) => {
                findings.push(Finding::problem(&about, format!("{source} holds {what}.")));
            }
            Err(error) => {
                findings.push(Finding::problem(&about, format!("{source} gives no key: {}", in_full(&error))));
            }
            Ok(secret) => {
                findings.extend(out_of_place(&about, source, &secret, takes_vendors));
                keys.push((about.clone(), secret));
            }
        }
        findings.extend(readable_by_all(&about, source));
        findings.extend(set_at_the_start(&about, source));
    }
    keys
}

/// A key that upstream's API does not take, or not for long.
fn out_of_place(about: &str, source: &Source, secret: &Secret, takes_vendors: bool) -> Option<Finding> {
    let kind = KeyKind::of(secret.expose());
    let is_of_vendor = kind == KeyKind::LikeAzure && !takes_vendors;
    let is_odd = kind == KeyKind::Admin || kind.is_short_lived() || is_of_vendor;
    let text = || format!("{source} holds {}: requests need a project's or a service account's key.", kind.phrase());
    is_odd.then(|| Finding::warning(about, text()))
}

/// What a value is that can be no key of any upstream.
#[must_use]
pub fn fault_of_key(value: &[u8]) -> Option<&'static str> {
    if value.starts_with(b"kw_") {
        return Some("a token of keyward's, which stands for a key and is none");
    }
    find_fault(value).map(|kind| malformed_words(kind).phrase)
}

/// A credential of systemd's is copied when a unit starts, and stays as it is (systemd.exec(5), `LoadCredential=`).
fn set_at_the_start(about: &str, source: &Source) -> Option<Finding> {
    let Source::File(path) = source else { return None };
    let text = || format!("systemd sets {} when the unit starts: another key in it takes a restart.", path.display());
    path.starts_with("/run/credentials").then(|| Finding::warning(about, text()))
}

fn readable_by_all(about: &str, source: &Source) -> Option<Finding> {
    let Source::File(path) = source else { return None };
    warn_if_readable_by_all(about, path)
}

fn warn_if_readable_by_all(about: &str, path: &Path) -> Option<Finding> {
    let facts = std::fs::metadata(path).ok()?;
    let (mode, is_folder) = (facts.permissions().mode(), facts.is_dir());
    let text = || {
        let (path, mode) = (path.display(), mode & 0o777);
        let (own, with_group) = if is_folder { (700, 750) } else { (600, 640) };
        format!(
            "every user of this machine can read {path} (mode {mode:o}): chmod {own} it, or {with_group} for a group."
        )
    };
    (mode & 0o004 != 0).then(|| Finding::warning(about, text()))
}

/// A next key that is the current one announces nothing.
fn look_alikes(set: &str, keys: &[(String, Secret)]) -> Option<Finding> {
    let of = |role: &str| keys.iter().find(|(about, _)| *about == format!("keys.{set}.{role}"));
    let ((_, current), (about, next)) = (of("current")?, of("next")?);
    let text = "this is the current key: leave it out until there is another one.";
    current.matches(next.expose()).then(|| Finding::warning(about, text))
}

fn examine_rules(set: &str, rules: &SetRules, gateways: &[IpAddr], now: Timestamp, findings: &mut Vec<Finding>) {
    let setting = |name: &str| format!("keys.{set}.{name}");
    findings.extend(gateways_in(set, rules, gateways));
    let injects = rules.policy == Policy::Inject;
    if !injects && !rules.allow_from.is_empty() {
        let text = format!("it has no effect with policy {}: only inject admits by address.", rules.policy.name());
        findings.push(Finding::warning(setting("allow_from"), text));
    }
    if injects && !rules.allow_from.is_empty() && rules.allow_from_is_safe {
        let text =
            "everything that can connect from one of these addresses uses the current key without any credential.";
        findings.push(Finding::warning(setting("allow_from"), text));
    }
    if let Some(until) = rules.inject_until {
        let text = if !injects {
            format!("it has no effect with policy {}.", rules.policy.name())
        } else if until <= now {
            format!("it is over since {until}: no previous key admits any more.")
        } else {
            return;
        };
        findings.push(Finding::warning(setting("inject_until"), text));
    }
}

/// A page whose name points to keyward makes a browser send its requests as if they were its own, without an `Origin`.
fn open_to_pages(config: &Config) -> Option<Finding> {
    let admits = |rules: &SetRules| rules.policy == Policy::Inject && !rules.allow_from.is_empty();
    let text = "a browser with an address in allow_from can be sent here by a page whose name points to keyward: list the \
                names that clients call keyward by.";
    let is_open = config.rules.allow_host.is_empty() && config.rules.sets.iter().any(admits);
    is_open.then(|| Finding::warning("proxy.allow_host", text))
}

/// What is not refused goes upstream, whosever it is.
fn open_to_strangers(config: &Config) -> Option<Finding> {
    let listen = config.proxy.listen;
    let passes = |rules: &SetRules| rules.policy == Policy::Observe || rules.unknown == Unknown::Forward;
    let sets = config.keys.sets.iter().zip(&config.rules.sets);
    let open: Vec<_> = sets.filter(|(_, rules)| passes(rules)).map(|(set, _)| &*set.name).collect();
    let text = || {
        format!(
            "everything that reaches {listen} has a way to OpenAI with any key (set {}): let only n8n reach it, or let only keys \
             and tokens of yours pass by `enforce` or `inject`.",
            open.join(", ")
        )
    };
    (!listen.ip().is_loopback() && !open.is_empty()).then(|| Finding::warning("proxy.policy", text()))
}

/// Behind a published port every client may come from the gateway.
fn gateways_in<'a>(set: &'a str, rules: &'a SetRules, gateways: &'a [IpAddr]) -> impl Iterator<Item = Finding> + 'a {
    let unsafe_ones = gateways.iter().filter(|gateway| !rules.allow_from_is_safe && rules.allows_from(**gateway));
    unsafe_ones.map(move |gateway| {
        let text = format!(
            "it holds {gateway}, the gateway of this machine's network: behind a port that Docker publishes, every \
             stranger may come from there. Name the very addresses, or set keys.{set}.allow_from_is_safe = true."
        );
        Finding::problem(format!("keys.{set}.allow_from"), text)
    })
}

fn examine_listeners(config: &Config, findings: &mut Vec<Finding>) {
    let listen = config.proxy.listen;
    if config.proxy.tls.files().is_none() && !listen.ip().is_loopback() {
        let text = format!(
            "{listen} is reached from other machines without TLS: keys and tokens can be read on the way. Set [tls], or let \
             only a network of containers on this machine reach it."
        );
        findings.push(Finding::warning("proxy.listen", text));
    }
    if config.admin.listen.is_some() {
        examine_admin(config, findings);
    }
    if let Some((_, key)) = config.proxy.tls.files() {
        findings.extend(warn_if_readable_by_all("tls.key", key));
    }
}

fn examine_admin(config: &Config, findings: &mut Vec<Finding>) {
    let admin = &config.admin;
    if let Some(listen) = admin.listen.filter(|listen| !listen.ip().is_loopback()) {
        let open = if admin.metrics == MetricsFor::Anyone { "; it shows /metrics without a token" } else { "" };
        let text = format!(
            "{listen} is reached from other machines without TLS: the admin token can be read on the way{open}. Let only a \
             network of containers on this machine reach it, or a proxy that speaks TLS."
        );
        findings.push(Finding::warning("admin.listen", text));
    }
    let own = access::token_file(admin, &config.state);
    // The one in the state folder is made when keyward starts.
    let own = (admin.token_file.is_some() || own.exists()).then_some(own);
    for (about, path) in [("admin.token_file", own.as_ref()), ("admin.read_token_file", admin.read_token_file.as_ref())]
    {
        let Some(path) = path else { continue };
        let fault = access::read_token(path).err().map(|error| Finding::problem(about, in_full(&error)));
        findings.extend(fault.or_else(|| warn_if_readable_by_all(about, path)));
    }
}

fn examine_n8n(config: &Config, findings: &mut Vec<Finding>) {
    for instance in &config.n8n.instances {
        let about = format!("n8n.{}.api_key", instance.name);
        match instance.api_key.read_key(fault_of_api_key) {
            Err(error) => {
                let text = format!("n8n cannot be asked: of {}, {}.", instance.api_key, in_full(&error));
                findings.push(Finding::problem(&about, text));
            }
            Ok(_) => {
                if let Source::File(path) = &instance.api_key {
                    findings.extend(warn_if_readable_by_all(&about, path));
                }
            }
        }
        let host = &*instance.url.origin.host;
        if instance.url.origin.scheme == Scheme::Http && !is_name_of_this_machine(host) && host.contains('.') {
            let text =
                format!("{} is plain HTTP: the key of n8n's API can be read on the way. Use https://.", instance.url);
            findings.push(Finding::warning(format!("n8n.{}.url", instance.name), text));
        }
    }
}

fn examine_receiver(receiver: &Receiver, findings: &mut Vec<Finding>) {
    let about = |name: &str| format!("notices.{}.{name}", receiver.name);
    let faults = delivery::faults(receiver);
    let is_usable = faults.is_empty();
    for (name, fault) in faults {
        findings.push(Finding::problem(about(name), format!("notices do not arrive: {}.", in_full(&fault))));
    }
    let heartbeat = receiver.heartbeat.as_ref().map(|heartbeat| ("heartbeat", &heartbeat.to));
    let secrets = receiver.secrets.iter().map(|secret| ("secret", secret));
    for (name, source) in secrets.chain([("to", &receiver.to)]).chain(heartbeat) {
        findings.extend(readable_by_all(&about(name), source));
    }
    if is_usable && receiver.kind == ReceiverKind::Webhook && receiver.secrets.is_empty() {
        let text = "notices are not signed: set it if the receiver checks who sends them.";
        findings.push(Finding::sound(about("secret"), text));
    }
}

fn is_name_of_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn examine_egress_proxy(config: &Config, findings: &mut Vec<Finding>) {
    let upstream = &config.proxy.upstream;
    let host = &*upstream.host;
    let is_here = is_name_of_this_machine(host);
    let via = config.proxy.via.as_ref();
    if upstream.scheme == Scheme::Http && (!is_here || via.is_some()) {
        let whose = if config.rules.sets.iter().any(|rules| rules.policy == Policy::Inject) {
            "the current keys that keyward puts in"
        } else {
            "the keys of requests"
        };
        let by = via.map_or_else(String::new, |via| format!(", by the proxy {via} too"));
        let text = format!("{upstream} is plain HTTP: {whose} can be read on the way{by}. Use https://.");
        findings.push(Finding::warning("proxy.upstream", text));
    }
    if let Some(via) = via {
        findings.push(Finding::sound("proxy.via", format!("{upstream} is reached {}", via.describe())));
    }
}
