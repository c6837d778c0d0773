//! What a newcomer is told of this keyward: in the first lines of the log, and on the page under `/`.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::config::Config;
use crate::keys::Settings as KeySettings;
use crate::keys::reloader::Reloader;
use crate::net::egress_proxy::EgressProxy;
use crate::telemetry::Format;
use crate::telemetry::writer::{Log, Rank};
use crate::welcome::{self, Welcome};

/// What is told of keyward and stays as it is, whatever the settings become.
pub(super) struct Standing {
    pub(super) listen: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    /// Which listeners were not opened here.
    pub(super) handed_over: Option<&'static str>,
}

impl Standing {
    /// Says hello in the log.
    pub(super) fn say_welcome(&self, config: &Config, reloader: &Reloader, log: &Log) {
        self.with_welcome(config, reloader, |welcome| match config.log.resolved_format() {
            Format::Human => log.lane(config.proxy.workers).append(Rank::Trouble, |buffer| {
                buffer.extend_from_slice(welcome.text().as_bytes());
            }),
            Format::Json => tell_welcome(welcome),
        });
    }

    /// The page that says the same.
    pub(super) fn page(&self, config: &Config, reloader: &Reloader) -> Bytes {
        self.with_welcome(config, reloader, |welcome| welcome.page().into())
    }

    fn with_welcome<T>(&self, config: &Config, reloader: &Reloader, say: impl Fn(&Welcome<'_>) -> T) -> T {
        let via = config.proxy.via.as_ref().map(EgressProxy::describe);
        say(&Welcome {
            scheme: config.proxy.tls.scheme().name(),
            listen: self.listen,
            admin: self.admin,
            sockets: self.handed_over,
            upstream: &config.proxy.upstream.to_string(),
            via: via.as_deref(),
            policy: &describe_policies(config),
            sets: &describe_sets(&config.keys, reloader),
            n8n: &config.n8n.instances.iter().map(|instance| &*instance.name).collect::<Vec<_>>(),
            state: &config.state.dir.display().to_string(),
            store: &describe_store(config),
        })
    }
}

/// One word where all sets have the same policy, else one for each.
fn describe_policies(config: &Config) -> String {
    let mut policies = config.rules.sets.iter().map(|rules| rules.policy);
    if let Some(first) = policies.next()
        && policies.all(|policy| policy == first)
    {
        return first.name().to_owned();
    }
    let sets = config.keys.sets.iter().zip(&config.rules.sets);
    sets.map(|(set, rules)| format!("{}: {}", set.name, rules.policy.name())).collect::<Vec<_>>().join(", ")
}

fn describe_store(config: &Config) -> String {
    let file = config.store.file(&config.state.dir);
    file.map_or_else(|| "off".to_owned(), |file| file.display().to_string())
}

/// A line for each set: what it is checked by.
fn describe_sets(settings: &KeySettings, reloader: &Reloader) -> Vec<String> {
    let ring = reloader.ring();
    let describe = |set: &crate::keys::SetSettings| {
        let Some(source) = &set.current else {
            return format!("{}: no key declared, learns the current one from what upstream accepts", set.name);
        };
        match ring.find_set(&set.name).and_then(|index| ring.current(index)) {
            Some(names) => format!("{}: current key {names} from {source}", set.name),
            None => format!("{}: current key NOT KNOWN, its {source} gave none", set.name),
        }
    };
    settings.sets.iter().map(describe).collect()
}

fn tell_welcome(welcome: &Welcome<'_>) {
    let origin = welcome.origin();
    tracing::info!(
        event = "listening",
        address = %welcome.listen,
        admin = welcome.admin.map(tracing::field::display),
        upstream = welcome.upstream,
        via = welcome.via,
        sockets = welcome.sockets,
        policy = welcome.policy,
        keys = welcome.sets.join("; "),
        state = welcome.state,
        store = welcome.store,
        base_url = welcome::base_url(&origin),
        tag_header = welcome::TAG_HEADER,
        tag = welcome.tags().join("\n"),
        tagging_base_url = welcome::tagging_base_url(&origin),
        organization = welcome::organization(),
        "keyward {} listens on {origin} for {}",
        env!("CARGO_PKG_VERSION"),
        welcome.upstream,
    );
}
