//! Pure. The key sets and their rules, put together from all that was given of them.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use super::Environment;
use super::accounts::AccountDraft;
use super::parse::{self, Unfit};
use super::problem::{Place, Problem, Problems};
use super::proxy_env;
use super::raw::SetValue;
use super::schema::{self, Role, Rule, SetField, set_key};
use crate::clock::Timestamp;
use crate::keys::rules::Policy;
use crate::keys::rules::{SetRules, Unknown};
use crate::keys::source::Source;
use crate::keys::{SetSettings, Settings};
use crate::net::egress_proxy::EgressProxyChoice;
use crate::rotate;
use crate::rotate::account::Account;
use crate::telemetry::masked::mask_id;

/// What is known of each set, by name.
#[derive(Debug, Default)]
pub(super) struct Sets(BTreeMap<Box<str>, Draft>);

/// A set whose fields may not go together yet.
#[derive(Debug, Default)]
struct Draft {
    current: Option<Source>,
    next: Option<(Place, Source)>,
    previous: Option<(Place, Vec<Source>)>,
    grace: Duration,
    policy: Option<(Place, Policy)>,
    unknown: Unknown,
    inject_until: Option<Timestamp>,
    allow_from: Option<(Place, Vec<IpNet>)>,
    allow_from_is_safe: bool,
    workflows: BTreeMap<Box<str>, (Place, Option<Policy>)>,
    account: Option<AccountDraft>,
}

impl Sets {
    /// Takes what was given of a set, over what was given of it before.
    pub(super) fn apply(&mut self, name: &str, value: SetValue, place: Place, problems: &mut Problems) {
        let draft = self.0.entry(name.into()).or_default();
        match value {
            SetValue::Declared => {}
            SetValue::Current(source) => draft.current = Some(source),
            SetValue::Next(source) => draft.next = Some((place, source)),
            SetValue::Previous(sources) => draft.previous = (!sources.is_empty()).then_some((place, sources)),
            SetValue::Rule(rule, text) => {
                if let Err(unfit) = draft.apply_rule(rule, &text, &place) {
                    problems.push(misfit(place, name, SetField::Rule(rule), unfit));
                }
            }
            SetValue::Workflow(id, text) => match text.as_deref().map(parse::fit).transpose() {
                Ok(policy) => drop(draft.workflows.insert(id, (place, policy))),
                Err(unfit) => problems.push(misfit(place, name, SetField::Workflows, unfit)),
            },
            SetValue::Admin(account) => match account.parse() {
                Ok(account) => draft.account = Some(account),
                Err(unfit) => problems.push(misfit(place, name, SetField::Admin, unfit)),
            },
        }
    }

    /// All names, `default` first.
    pub(super) fn names(&self) -> Vec<&str> {
        let others = self.0.keys().map(|name| &**name).filter(|name| *name != DEFAULT_SET);
        std::iter::once(DEFAULT_SET).chain(others).collect()
    }

    /// Finds what does not go together.
    pub(super) fn check(&self, policy: Policy, has_fallback: bool, problems: &mut Problems) {
        if !self.0.contains_key(DEFAULT_SET) && !has_fallback && policy != Policy::Observe {
            problems.push(without_current(Place::Nowhere, DEFAULT_SET, policy));
        }
        for (name, draft) in &self.0 {
            draft.check_keys(name, policy, problems);
            draft.check_allow_from(name, problems);
            draft.check_workflows(name, policy, problems);
        }
        self.check_shared_workflows(problems);
    }

    /// The account of each set that has one. The environment names the proxy on the way there, unless `choice` wants none.
    pub(super) fn accounts(
        &self,
        choice: &EgressProxyChoice,
        environment: &Environment,
        problems: &mut Problems,
    ) -> rotate::account::Settings {
        let choice = choice.of_others();
        let with_account = self.0.iter().filter_map(|(name, draft)| Some((&**name, draft.account.clone()?)));
        let account = |(set, draft): (&str, AccountDraft)| {
            let via = proxy_env::resolve(&choice, &draft.origin, environment, problems);
            let AccountDraft { project, service_account, key, scopes, expires, origin } = draft;
            Account { set: set.into(), project, service_account, key, scopes, expires, origin, via }
        };
        rotate::account::Settings { accounts: with_account.map(account).collect() }
    }

    /// All sets with their rules, `default` first. Where nothing is said of `default`, it has the key that
    /// `fallback` names; where a set has no policy of its own, it is `policy`.
    pub(super) fn into_settings(mut self, fallback: Option<Source>, policy: Policy) -> (Settings, Vec<SetRules>) {
        let default = self.0.remove(DEFAULT_SET).unwrap_or(Draft { current: fallback, ..Draft::default() });
        let all = std::iter::once((DEFAULT_SET.into(), default)).chain(self.0);
        let (sets, rules) = all.map(|(name, draft)| draft.into_settings(name, policy)).unzip();
        (Settings { sets, takes_vendors: false }, rules)
    }

    /// A workflow belongs to one set.
    fn check_shared_workflows(&self, problems: &mut Problems) {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, draft) in &self.0 {
            for (id, (place, _)) in &draft.workflows {
                let Some(owner) = owners.insert(id, name) else { continue };
                let id = mask_id(id);
                let text = format!("Workflow {id} belongs to set {owner} already: name it in one set alone.");
                problems.push(Problem::new(place.clone(), set_key(name, SetField::Workflows), text));
            }
        }
    }
}

impl Draft {
    fn apply_rule(&mut self, rule: Rule, text: &str, place: &Place) -> Result<(), Unfit> {
        match rule {
            Rule::Grace => self.grace = parse::span(text)?,
            Rule::Policy => self.policy = Some((place.clone(), parse::fit(text)?)),
            Rule::Unknown => self.unknown = parse::fit(text)?,
            Rule::InjectUntil => self.inject_until = Some(parse::moment(text)?),
            Rule::AllowFrom => {
                let networks = parse::networks(text)?;
                self.allow_from = (!networks.is_empty()).then(|| (place.clone(), networks));
            }
            Rule::AllowFromIsSafe => self.allow_from_is_safe = parse::fit(text)?,
        }
        Ok(())
    }

    /// A set without a current key learns: it is told nothing, and can do nothing but observe.
    fn check_keys(&self, name: &str, policy: Policy, problems: &mut Problems) {
        let current = set_key(name, SetField::Keys(Role::Current));
        if self.current.is_some() || problems.are_about(&current) {
            return;
        }
        let next = self.next.iter().map(|(place, _)| (place, Role::Next));
        let previous = self.previous.iter().map(|(place, _)| (place, Role::Previous));
        for (place, role) in next.chain(previous) {
            let key = set_key(name, SetField::Keys(role));
            let text = format!("A set without a current key learns its keys: set {current} too, or leave this out.");
            problems.push(Problem::new(place.clone(), key, text));
        }
        let policy = self.policy.as_ref().map_or(policy, |(_, policy)| *policy);
        if policy != Policy::Observe {
            let place = self.policy.as_ref().map_or(Place::Nowhere, |(place, _)| place.clone());
            problems.push(without_current(place, name, policy));
        }
    }

    /// A range that strangers may be in has to be declared safe (`allow_from_is_safe`).
    fn check_allow_from(&self, name: &str, problems: &mut Problems) {
        let Some((place, networks)) = self.allow_from.as_ref().filter(|_| !self.allow_from_is_safe) else { return };
        for network in networks {
            let what = if network.addr().is_loopback() || network.contains(&loopback_like(network)) {
                "holds loopback addresses: whatever is forwarded from outside (a published port, a tunnel) comes from there"
            } else if network.prefix_len() < narrowest(network) {
                "is wide: there may be strangers in it"
            } else {
                continue;
            };
            let safe = set_key(name, SetField::Rule(Rule::AllowFromIsSafe));
            let text = format!("{network} {what}. Name the very addresses, or set {safe} = true.");
            let key = set_key(name, SetField::Rule(Rule::AllowFrom));
            problems.push(Problem::new(place.clone(), key, text));
        }
    }

    /// Exceptions tighten.
    fn check_workflows(&self, name: &str, policy: Policy, problems: &mut Problems) {
        let policy = self.policy.as_ref().map_or(policy, |(_, policy)| *policy);
        for (id, (place, exception)) in &self.workflows {
            let Some(exception) = exception.filter(|exception| !policy.may_tighten_to(*exception)) else { continue };
            let text = format!(
                "Workflow {} would have {}, which is not tighter than its set's {}: anybody can claim to be that \
                 workflow, so only enforce may stand here.",
                mask_id(id),
                exception.name(),
                policy.name()
            );
            problems.push(Problem::new(place.clone(), set_key(name, SetField::Workflows), text));
        }
    }

    fn into_settings(self, name: Box<str>, policy: Policy) -> (SetSettings, SetRules) {
        let policy = self.policy.map_or(policy, |(_, policy)| policy);
        let set = SetSettings {
            name,
            current: self.current,
            next: self.next.map(|(_, source)| source),
            previous: self.previous.map_or_else(Vec::new, |(_, sources)| sources),
            grace: self.grace,
        };
        let rules = SetRules {
            policy,
            unknown: self.unknown,
            inject_until: self.inject_until,
            allow_from: self.allow_from.map_or_else(Vec::new, |(_, networks)| networks),
            allow_from_is_safe: self.allow_from_is_safe,
            workflows: self.workflows.into_iter().map(|(id, (_, own))| (id, own.unwrap_or(policy))).collect(),
        };
        (set, rules)
    }
}

fn misfit(place: Place, set: &str, field: SetField, unfit: Unfit) -> Problem {
    let allowed = schema::find(schema::ANY_SET, field.name()).map_or("", |setting| setting.allowed);
    Problem::misfit(place, set_key(set, field), unfit, allowed)
}

fn without_current(place: Place, set: &str, policy: Policy) -> Problem {
    let current = set_key(set, SetField::Keys(Role::Current));
    let text = format!(
        "Set {set} has no declared current key, so it learns and can only observe, but its policy is {}: set {current}.",
        policy.name()
    );
    Problem::new(place, set_key(set, SetField::Rule(Rule::Policy)), text)
}

/// A loopback address of the network's family.
fn loopback_like(network: &IpNet) -> std::net::IpAddr {
    match network {
        IpNet::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        IpNet::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

/// The length of the widest range that may hold no strangers: one network of a container host, or one host's /64.
fn narrowest(network: &IpNet) -> u8 {
    match network {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 64,
    }
}

const DEFAULT_SET: &str = "default";
