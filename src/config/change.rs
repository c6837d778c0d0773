//! Pure. What differs between two configurations, by the names of the settings, and whether it can be taken while keyward runs.

use super::Config;
use crate::keys::SetSettings;
use crate::keys::rules::{Rules, SetRules};
use crate::ledger::{proof, store};
use crate::net::limits::Limits;
use crate::{admin, keys, n8n, notices, server, telemetry};

/// A setting, or a table of settings, that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `keys.default.grace`, or a whole table that came, went or is another one: `n8n.main`.
    pub setting: String,
    /// When it can be taken.
    pub taken: Taken,
}

/// When a changed setting can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// While keyward runs.
    ByReload,
    /// At the next start.
    AtStart,
}

impl Config {
    /// What is another one than in the configuration of before, in the order of `config/reference.toml`.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let mut changes = Changes::default();
        // What the environment has beside settings is the same as long as keyward runs.
        let Self { proxy, keys, accounts: _, n8n, notices, log, admin, rules, state, store, rotation, ignored: _ } =
            self;
        changes.of_proxy(&before.proxy, proxy);
        changes.of_rules(&before.rules, rules);
        changes.of_sets((&before.keys, &before.rules), (keys, rules));
        changes.of_n8n(&before.n8n, n8n);
        changes.of_notices(&before.notices, notices);
        changes.of_log(&before.log, log);
        changes.of_admin(&before.admin, admin);
        changes.note("state.dir", before.state != *state, Taken::AtStart);
        changes.of_store(&before.store, store);
        changes.of_rotation(&before.rotation, rotation);
        changes.0
    }
}

#[derive(Default)]
struct Changes(Vec<Change>);

/// Notes each field that differs. A struct that has another field does not compile until it is listed here.
macro_rules! compare {
    ($changes:ident, $taken:ident, $type:path { $($field:ident => $setting:expr),+ $(,)? }, $before:expr, $now:expr) => {{
        let ($type { $($field),+ }, before) = ($now, $before);
        $($changes.note($setting, before.$field != *$field, Taken::$taken);)+
    }};
}

impl Changes {
    fn note(&mut self, setting: impl Into<String>, differs: bool, taken: Taken) {
        self.0.extend(differs.then(|| Change { setting: setting.into(), taken }));
    }

    fn of_proxy(&mut self, before: &server::Settings, now: &server::Settings) {
        let server::Settings {
            listen,
            upstream,
            base_path,
            upstream_http2,
            upstream_ca,
            via,
            tls,
            proxy_protocol_from,
            workers,
            limits,
        } = now;
        let at_start = [
            ("proxy.listen", before.listen != *listen),
            ("proxy.upstream", before.upstream != *upstream),
            ("proxy.base_path", before.base_path != *base_path),
            ("proxy.upstream_http2", before.upstream_http2 != *upstream_http2),
            ("proxy.upstream_ca", before.upstream_ca != *upstream_ca),
            ("proxy.via", before.via != *via),
            ("proxy.proxy_protocol_from", before.proxy_protocol_from != *proxy_protocol_from),
            ("proxy.workers", before.workers != *workers),
        ];
        for (setting, differs) in at_start {
            self.note(setting, differs, Taken::AtStart);
        }
        self.of_limits(&before.limits, limits);
        compare!(self, AtStart, server::ServerTls { cert => "tls.cert", key => "tls.key" }, &before.tls, tls);
    }

    fn of_limits(&mut self, before: &Limits, now: &Limits) {
        compare!(self, AtStart, Limits {
            connect_timeout => "proxy.connect_timeout",
            answer_timeout => "proxy.answer_timeout",
            idle_timeout => "proxy.idle_timeout",
            client_idle_timeout => "proxy.client_idle_timeout",
            client_stall_timeout => "proxy.client_stall_timeout",
            pool_idle_timeout => "proxy.pool_idle_timeout",
            drain_timeout => "proxy.drain_timeout",
            max_head => "proxy.max_head",
            max_connections => "proxy.max_connections",
            max_connections_per_peer => "proxy.max_connections_per_peer",
        }, before, now);
    }

    fn of_rules(&mut self, before: &Rules, now: &Rules) {
        // The rules of the sets are told with them.
        let Rules { sets: _, allow_origin, allow_host } = now;
        self.note("proxy.allow_host", before.allow_host != *allow_host, Taken::ByReload);
        self.note("proxy.allow_origin", before.allow_origin != *allow_origin, Taken::ByReload);
    }

    fn of_sets(&mut self, before: (&keys::Settings, &Rules), now: (&keys::Settings, &Rules)) {
        // Whether other vendors' keys are taken follows from `proxy.upstream` and `proxy.base_path`.
        let keys::Settings { sets, takes_vendors: _ } = now.0;
        for (set, rules) in sets.iter().zip(&now.1.sets) {
            let mut of_before = before.0.sets.iter().zip(&before.1.sets);
            match of_before.find(|(known, _)| known.name == set.name) {
                Some((known, known_rules)) => self.of_set((known, known_rules), (set, rules)),
                None => self.note(format!("keys.{}", set.name), true, Taken::ByReload),
            }
        }
        let is_gone = |known: &&SetSettings| !sets.iter().any(|set| set.name == known.name);
        for gone in before.0.sets.iter().filter(is_gone) {
            self.note(format!("keys.{}", gone.name), true, Taken::ByReload);
        }
    }

    fn of_set(&mut self, before: (&SetSettings, &SetRules), now: (&SetSettings, &SetRules)) {
        let SetSettings { name, current, next, previous, grace } = now.0;
        let SetRules { policy, unknown, inject_until, allow_from, allow_from_is_safe, workflows } = now.1;
        let (keys, rules) = before;
        let fields = [
            ("current", keys.current != *current),
            ("next", keys.next != *next),
            ("previous", keys.previous != *previous),
            ("grace", keys.grace != *grace),
            ("policy", rules.policy != *policy),
            ("unknown", rules.unknown != *unknown),
            ("inject_until", rules.inject_until != *inject_until),
            ("allow_from", rules.allow_from != *allow_from),
            ("allow_from_is_safe", rules.allow_from_is_safe != *allow_from_is_safe),
            ("workflows", rules.workflows != *workflows),
        ];
        for (field, differs) in fields {
            self.note(format!("keys.{name}.{field}"), differs, Taken::ByReload);
        }
    }

    fn of_n8n(&mut self, before: &n8n::Settings, now: &n8n::Settings) {
        let n8n::Settings { instances } = now;
        let names =
            |settings: &n8n::Settings| settings.instances.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        let gone = names(before).into_iter().filter(|name| now.instance(name).is_none());
        for name in instances.iter().map(|one| one.name.clone()).chain(gone) {
            self.note(format!("n8n.{name}"), before.instance(&name) != now.instance(&name), Taken::ByReload);
        }
    }

    fn of_notices(&mut self, before: &notices::Settings, now: &notices::Settings) {
        // How they are reached is said by the environment, which is the same as long as keyward runs.
        let notices::Settings { receivers, proxies: _ } = now;
        let find = |all: &[notices::Receiver], name: &str| all.iter().find(|one| *one.name == *name).cloned();
        let gone = before.receivers.iter().filter(|known| find(receivers, &known.name).is_none());
        for name in receivers.iter().chain(gone).map(|one| &one.name) {
            let differs = find(&before.receivers, name) != find(receivers, name);
            self.note(format!("notices.{name}"), differs, Taken::ByReload);
        }
    }

    fn of_log(&mut self, before: &telemetry::Settings, now: &telemetry::Settings) {
        compare!(self, AtStart, telemetry::Settings {
            format => "log.format",
            level => "log.level",
            file => "log.file",
        }, before, now);
    }

    fn of_admin(&mut self, before: &admin::settings::Settings, now: &admin::settings::Settings) {
        compare!(self, AtStart, admin::settings::Settings {
            listen => "admin.listen",
            token_file => "admin.token_file",
            read_token_file => "admin.read_token_file",
            metrics => "admin.metrics",
            allow_host => "admin.allow_host",
        }, before, now);
    }

    fn of_store(&mut self, before: &store::Settings, now: &store::Settings) {
        let store::Settings { url, retention, bounds: store::Bounds { per_peer, total } } = now;
        let settings = [
            ("store.url", before.url != *url),
            ("store.retention", before.retention != *retention),
            ("store.max_bindings", before.bounds.total != *total),
            ("store.max_bindings_per_peer", before.bounds.per_peer != *per_peer),
        ];
        for (setting, differs) in settings {
            self.note(setting, differs, Taken::AtStart);
        }
    }

    fn of_rotation(&mut self, before: &proof::Settings, now: &proof::Settings) {
        compare!(self, ByReload, proof::Settings {
            quiet => "rotation.quiet",
            env_keys => "rotation.env_keys",
            shared_address => "rotation.shared_address",
            workers => "rotation.workers",
        }, before, now);
    }
}
