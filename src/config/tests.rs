//! Whole configurations: what holds, what overrides what, and how problems read.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::keys::SetSettings;
use crate::keys::rules::{AllowedHost, Unknown};
use crate::ledger::store::Url;
use crate::net::origin::{Scheme, Upstream};
use crate::notices::{Heartbeat, ReceiverKind, Timing, Topic};
use crate::request_path::BasePath;
use crate::telemetry::{Format, Level};

#[test]
fn with_nothing_set_keyward_observes_openai_and_learns() {
    let config = load("", &environment());
    assert_eq!(config.proxy, server::Settings::default());
    assert_eq!(config.proxy.listen, address("127.0.0.1:8080"));
    assert_eq!(config.proxy.upstream.to_string(), "https://api.openai.com");
    assert_eq!(config.keys.sets, [SetSettings::learning("default")]);
    assert_eq!(config.log, telemetry::Settings { format: None, level: Level::Info, file: None });
    assert_eq!(config.admin.listen, Some(address("127.0.0.1:8081")));
    assert_eq!(config.state.dir, Path::new("/state/keyward"));
}

#[test]
fn the_defaults_in_the_table_are_those_of_the_code() {
    let defaults = load("", &environment());
    for setting in SETTINGS.iter().filter(|setting| setting.stands_alone()) {
        let Some(default) = setting.default else { continue };
        let set = load(&format!("{} = {default}", setting.key), &environment());
        assert_eq!(set, defaults, "{}", setting.key);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of settings")]
fn each_value_goes_to_its_place_from_the_file_and_from_the_environment() {
    #[track_caller]
    fn check(key: &str, text: &str, change: impl FnOnce(&mut Config)) {
        let mut expected = load("", &environment());
        change(&mut expected);
        assert_ne!(expected, load("", &environment()), "{key}");
        assert_eq!(load(&format!("{key} = {text:?}"), &environment()), expected, "{key}");
        let variable = format!("KEYWARD_{}", key.replace('.', "_").to_uppercase());
        assert_eq!(load("", &environment().with(&variable, text)), expected, "{variable}");
    }
    let seconds = Duration::from_secs;
    check("proxy.listen", "[::]:1", |config| config.proxy.listen = address("[::]:1"));
    check("proxy.upstream", "http://a:1", |config| {
        config.proxy.upstream = Upstream { scheme: Scheme::Http, host: "a".into(), port: 1 };
        config.keys.takes_vendors = true;
    });
    check("proxy.base_path", "/openai/v1", |config| {
        config.proxy.base_path = BasePath::new("/openai/v1");
        config.keys.takes_vendors = true;
    });
    check("proxy.upstream_http2", "true", |config| config.proxy.upstream_http2 = true);
    check("proxy.upstream_ca", "a.pem", |config| config.proxy.upstream_ca = Some("a.pem".into()));
    check("proxy.workers", "255", |config| config.proxy.workers = 255);
    check("proxy.connect_timeout", "1s", |config| config.proxy.limits.connect_timeout = seconds(1));
    check("proxy.answer_timeout", "2s", |config| config.proxy.limits.answer_timeout = seconds(2));
    check("proxy.idle_timeout", "3s", |config| config.proxy.limits.idle_timeout = seconds(3));
    check("proxy.client_idle_timeout", "4s", |config| config.proxy.limits.client_idle_timeout = seconds(4));
    check("proxy.client_stall_timeout", "6s", |config| config.proxy.limits.client_stall_timeout = seconds(6));
    check("proxy.pool_idle_timeout", "5s", |config| config.proxy.limits.pool_idle_timeout = seconds(5));
    check("proxy.drain_timeout", "0s", |config| config.proxy.limits.drain_timeout = seconds(0));
    check("proxy.max_head", "8KiB", |config| config.proxy.limits.max_head = 8192);
    check("proxy.max_connections", "1", |config| config.proxy.limits.max_connections = 1);
    check("proxy.max_connections_per_peer", "2", |config| config.proxy.limits.max_connections_per_peer = 2);
    check("keys.default.grace", "24h", |config| config.keys.sets[0].grace = seconds(86_400));
    check("proxy.allow_host", "keyward:8080, 10.1.2.3", |config| {
        let host = |host: &str, port| AllowedHost { host: host.into(), port };
        config.rules.allow_host = vec![host("keyward", Some(8080)), host("10.1.2.3", None)];
    });
    check("proxy.allow_origin", "https://App.example", |config| {
        config.rules.allow_origin = vec!["https://app.example".into()];
    });
    check("proxy.proxy_protocol_from", "10.0.0.0/8,fd00::1", |config| {
        config.proxy.proxy_protocol_from = networks(&["10.0.0.0/8", "fd00::1/128"]);
    });
    check("keys.default.unknown", "forward", |config| config.rules.sets[0].unknown = Unknown::Forward);
    check("keys.default.inject_until", "2026-12-31T18:00:00Z", |config| {
        config.rules.sets[0].inject_until = Some(Timestamp::from_millis(1_798_740_000_000));
    });
    check("keys.default.allow_from", "10.1.2.0/24", |config| {
        config.rules.sets[0].allow_from = networks(&["10.1.2.0/24"]);
    });
    check("keys.default.allow_from_is_safe", "true", |config| config.rules.sets[0].allow_from_is_safe = true);
    check("log.format", "human", |config| config.log.format = Some(Format::Human));
    check("log.level", "trace", |config| config.log.level = Level::Trace);
    check("log.file", "a.log", |config| config.log.file = Some("a.log".into()));
    check("admin.listen", "off", |config| config.admin.listen = None);
    check("admin.token_file", "token", |config| config.admin.token_file = Some("token".into()));
    check("admin.read_token_file", "token", |config| config.admin.read_token_file = Some("token".into()));
    check("admin.metrics", "open", |config| config.admin.metrics = admin::MetricsFor::Anyone);
    check("admin.allow_host", "keyward", |config| {
        config.admin.allow_host = vec![AllowedHost { host: "keyward".into(), port: None }];
    });
    check("state.dir", "a", |config| config.state.dir = "a".into());
    check("store.url", "sqlite:a/b.db", |config| config.store.url = Url::Sqlite("a/b.db".into()));
    check("store.url", "off", |config| config.store.url = Url::Off);
    check("store.retention", "30d", |config| config.store.retention = Duration::from_hours(30 * 24));
    check("store.max_bindings", "100000", |config| config.store.bounds.total = 100_000);
    check("store.max_bindings_per_peer", "100000", |config| config.store.bounds.per_peer = 100_000);
    check("rotation.quiet", "30m", |config| config.rotation.quiet = Duration::from_mins(30));
    check("rotation.env_keys", "false", |config| config.rotation.env_keys = Some(false));
    check("rotation.shared_address", "10.1.2.3", |config| {
        config.rotation.shared_address = Some(networks(&["10.1.2.3/32"]));
    });
    check("rotation.workers", "3", |config| config.rotation.workers = 3);
}

#[test]
fn a_list_may_be_a_list_or_one_text_with_commas() {
    let listed = load("proxy.proxy_protocol_from = ['10.0.0.0/8', '10.1.2.3']", &environment());
    let texted = load("proxy.proxy_protocol_from = '10.0.0.0/8, 10.1.2.3'", &environment());
    assert_eq!(listed.proxy.proxy_protocol_from, networks(&["10.0.0.0/8", "10.1.2.3/32"]));
    assert_eq!(listed, texted);
    assert_eq!(load("proxy.proxy_protocol_from = []", &environment()), load("", &environment()));
}

#[test]
fn a_set_has_the_policy_of_all_unless_it_has_its_own() {
    let config = load(
        r#"
        proxy.policy = "enforce"
        [keys.default]
        current = { env = "A" }
        workflows = { "w1" = {}, "w2" = { policy = "enforce" } }
        [keys.staging]
        policy = "inject"
        current = { env = "B" }
        workflows.w3.policy = "enforce"
        [keys.learning]
        policy = "observe"
        "#,
        &environment(),
    );
    let policies: Vec<_> = config.rules.sets.iter().map(|rules| rules.policy).collect();
    assert_eq!(policies, [Policy::Enforce, Policy::Observe, Policy::Inject], "by name, default first");
    let of = |set: usize, workflow: &str| config.rules.sets[set].policy_for(Some(workflow));
    assert_eq!((of(0, "w1"), of(2, "w3"), of(2, "w4")), (Policy::Enforce, Policy::Enforce, Policy::Inject));
    assert_eq!(["w1", "w3", "w4"].map(|id| config.rules.set_of_workflow(id)), [Some(0), Some(2), None]);
    let by_variable = environment().with("KEYWARD_PROXY_POLICY", "enforce").with("OPENAI_API_KEY", "sk-canary");
    assert_eq!(load("", &by_variable).rules.sets[0].policy, Policy::Enforce);
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let config = load("[tls]\ncert = 'a.pem'\nkey = 'b.pem'", &environment());
    assert_eq!(config.proxy.tls.files(), Some((Path::new("a.pem"), Path::new("b.pem"))));
    let told = told("[tls]\ncert = 'a.pem'", &environment(), Overrides::default());
    assert!(told.contains("tls.key\n      A certificate and its private key go together."), "{told}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a configuration and what is told of it")]
fn rules_that_do_not_go_together_are_told() {
    let file = r#"[proxy]
policy = "enforce"
allow_host = ["http://keyward"]
allow_origin = ["*"]
proxy_protocol_from = ["10.1.2.3/8", "::ffff:10.1.2.3", "ten"]
[keys.default]
policy = "strict"
current = { env = "A" }
allow_from = ["127.0.0.0/8", "0.0.0.0/0", "172.17.0.0/16", "10.1.2.0/24", "10.1.2.3", "::/0", "fd00::/64"]
inject_until = "tomorrow"
allow_from_is_safe = "maybe"
[keys.learning]
[keys.one]
policy = "inject"
current = { env = "B" }
workflows = { a = { policy = "observe" }, b = {}, "c d" = {} }
[keys.other]
policy = "observe"
current = { env = "C" }
workflows = { a = { policy = "inject" }, b = { policy = "enforce", key = 1 } }
[keys.third]
current = { env = "D" }
workflows.a = {}
[keys.fourth]
current = { env = "E" }
workflows.a.policy = "enforce"
"#;
    insta::assert_snapshot!(told(file, &environment(), Overrides::default()), @r#"
    the configuration has 14 problems:

      keyward.toml:3: proxy.allow_host = "http://keyward"
          A host has neither a scheme nor a path.
          Allowed: a list of names or addresses, perhaps with a port, such as ["keyward:8080", "10.1.2.3"].

      keyward.toml:4: proxy.allow_origin = "*"
          An origin begins with its scheme.
          Allowed: a list of origins, such as ["https://app.example.com"].

      keyward.toml:5: proxy.proxy_protocol_from = "10.1.2.3/8,::ffff:10.1.2.3,ten"
          A range begins with its first address: 10.1.2.0/24, not 10.1.2.3/24.
          Allowed: a list of addresses and ranges, such as ["10.1.2.0/24", "fd00::7"].

      keyward.toml:7: keys.default.policy
          Allowed: observe, enforce or inject.

      keyward.toml:9: keys.default.allow_from
          0.0.0.0/0 holds loopback addresses: whatever is forwarded from outside (a published port, a tunnel) comes from there. Name the very addresses, or set keys.default.allow_from_is_safe = true.

      keyward.toml:9: keys.default.allow_from
          127.0.0.0/8 holds loopback addresses: whatever is forwarded from outside (a published port, a tunnel) comes from there. Name the very addresses, or set keys.default.allow_from_is_safe = true.

      keyward.toml:9: keys.default.allow_from
          172.17.0.0/16 is wide: there may be strangers in it. Name the very addresses, or set keys.default.allow_from_is_safe = true.

      keyward.toml:9: keys.default.allow_from
          ::/0 holds loopback addresses: whatever is forwarded from outside (a published port, a tunnel) comes from there. Name the very addresses, or set keys.default.allow_from_is_safe = true.

      keyward.toml:10: keys.default.inject_until
          Allowed: a date and time with its offset, such as 2026-12-31T18:00:00Z.

      keyward.toml:11: keys.default.allow_from_is_safe
          Allowed: true or false.

      keyward.toml:16: keys.one.workflows
          One of the names in it is no workflow's id.
          Allowed: a table such as { "<id>" = { policy = "enforce" }, "<id>" = {} }.

      keyward.toml:20: keys.other.workflows
          A workflow has a `policy` here, and nothing else.
          Allowed: a table such as { "<id>" = { policy = "enforce" }, "<id>" = {} }.

      keyward.toml:23: keys.third.workflows
          Workflow a belongs to set fourth already: name it in one set alone.

      not set: keys.learning.policy
          Set learning has no declared current key, so it learns and can only observe, but its policy is enforce: set keys.learning.current.
    "#);
}

#[test]
fn a_set_that_learns_cannot_act() {
    let enforced = environment().with("KEYWARD_PROXY_POLICY", "inject");
    insta::assert_snapshot!(told("", &enforced, Overrides::default()), @r"
    the configuration has a problem:

      not set: keys.default.policy
          Set default has no declared current key, so it learns and can only observe, but its policy is inject: set keys.default.current.
    ");
}

#[test]
fn an_exception_tightens() {
    let file = r#"
[keys.default]
policy = "enforce"
current = { env = "A" }
workflows = { a = { policy = "observe" }, b = { policy = "inject" }, c = { policy = "enforce" } }
"#;
    let told = told(file, &environment(), Overrides::default());
    assert!(told.contains("2 problems") && told.contains("Workflow a would have observe"), "{told}");
    assert!(told.contains("Workflow b would have inject, which is not tighter than its set's enforce"), "{told}");
}

#[test]
fn a_key_in_place_of_a_workflow_is_not_quoted() {
    let workflows = "current = { env = 'A' }\nworkflows.'sk-proj-canary0123456789abcd'";
    let loose = format!("[keys.default]\n{workflows}.policy = 'inject'");
    let shared = format!("[keys.default]\n{workflows} = {{}}\n[keys.other]\n{workflows} = {{}}");
    for (file, expected) in [(loose, "[redacted] would have inject"), (shared, "[redacted] belongs to set default")] {
        let told = told(&file, &environment(), Overrides::default());
        assert!(told.contains(expected) && !told.contains("canary"), "{told}");
    }
}

#[test]
fn a_variable_does_nothing_to_the_terminal_that_shows_its_name() {
    let odd = environment().with("KEYWARD_PROXY_\u{1b}[31mLISTEN", "a").with("KEYWARD_KEYS_\u{1b}[31m_CURENT_ENV", "A");
    let told = told("", &odd, Overrides::default());
    assert!(told.contains(r"environment KEYWARD_PROXY_\u{1b}[31mLISTEN") && !told.contains('\u{1b}'), "{told}");
}

#[test]
fn a_name_of_nothing_is_shown_as_one_writes_it() {
    let told = told("'' = 1\nproxy.'' = 1", &environment(), Overrides::default());
    assert!(told.contains("keyward.toml:1: \"\"\n") && told.contains("keyward.toml:2: proxy.\"\"\n"), "{told}");
}

#[test]
fn later_overrides_earlier() {
    let overrides = || Overrides { listen: Some("127.0.0.1:3".to_owned()), ..Overrides::default() };
    let listen = |file: &str, environment: &Environment, overrides| {
        load_with(file, environment, overrides).expect("a configuration").proxy.listen.port()
    };
    let (file, variable) = ("proxy.listen = '127.0.0.1:1'", environment().with("KEYWARD_PROXY_LISTEN", "127.0.0.1:2"));
    assert_eq!(listen(file, &environment(), Overrides::default()), 1);
    assert_eq!(listen(file, &variable, Overrides::default()), 2);
    assert_eq!(listen(file, &variable, overrides()), 3);
    assert_eq!(listen(file, &environment().with("KEYWARD_PROXY_LISTEN", ""), Overrides::default()), 1);
}

#[test]
fn the_command_line_sets_upstream_and_log_too() {
    let overrides =
        Overrides { upstream: Some("http://a".to_owned()), log: Some("json".to_owned()), ..Overrides::default() };
    let config = load_with("log.format = 'human'", &environment(), overrides).expect("a configuration");
    assert_eq!(config.proxy.upstream.to_string(), "http://a");
    assert_eq!(config.log.format, Some(Format::Json));
}

#[test]
fn a_config_file_may_be_named_by_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keyward.toml");
    std::fs::write(&path, "proxy.workers = 7").expect("a file");
    let environment = environment().with("KEYWARD_CONFIG", path.to_str().expect("a plain path"));
    let config = Config::load(None, &environment, Overrides::default()).expect("a configuration");
    assert_eq!(config.proxy.workers, 7);
}

#[test]
fn the_openai_variable_counts_where_nothing_is_said_of_the_default_set() {
    #[track_caller]
    fn check(file: &str, environment: &Environment, expected: Option<&str>) {
        let expected = expected.map(|name| Source::Env(name.into()));
        assert_eq!(load(file, environment).keys.sets[0].current, expected, "{file}");
    }
    let with_key = environment().with("OPENAI_API_KEY", "sk-canary");
    check("", &with_key, Some("OPENAI_API_KEY"));
    check("[keys.staging]", &with_key, Some("OPENAI_API_KEY"));
    check("keys.default.current = { env = 'OTHER' }", &with_key, Some("OTHER"));
    check("", &with_key.clone().with("KEYWARD_KEYS_DEFAULT_CURRENT_ENV", "OTHER"), Some("OTHER"));
    check("[keys.default]", &with_key, None);
    check("", &environment().with("OPENAI_API_KEY", ""), None);
}

#[test]
fn sets_are_read_whole_with_default_first() {
    let config = load(
        r#"
        [keys.team-a]
        current = { file = "/keys/a" }
        next = { env = "A_NEXT" }
        previous = [{ env = "KEYWARD_A_OLD" }, { file = "/keys/older" }]
        grace = "365d"
        [keys.default]
        current = { env = "NOW" }
        "#,
        &environment().with("KEYWARD_A_OLD", "sk-canary"),
    );
    let (file, env) = (|path: &str| Source::File(path.into()), |name: &str| Source::Env(name.into()));
    let team = SetSettings {
        name: "team-a".into(),
        current: Some(file("/keys/a")),
        next: Some(env("A_NEXT")),
        previous: vec![env("KEYWARD_A_OLD"), file("/keys/older")],
        grace: Duration::from_hours(365 * 24),
    };
    let default = SetSettings { current: Some(env("NOW")), ..SetSettings::learning("default") };
    assert_eq!(config.keys.sets, [default, team]);
}

#[test]
fn a_file_as_a_service_has_it_is_read() {
    let config = load(
        r#"
        [proxy]
        listen = "127.0.0.1:18080"
        upstream = "https://127.0.0.1:19443"
        upstream_ca = "/etc/keyward/ca.pem"
        workers = 2

        [keys.default]
        current = { env = "CURRENT" }
        previous = [{ env = "PREVIOUS" }]
        grace = "365d"

        [log]
        format = "json"
        file = "/var/log/keyward/access.log"

        [admin]
        listen = "127.0.0.1:0"

        [state]
        dir = "/var/lib/keyward"
        "#,
        &Environment::default(),
    );
    assert_eq!((config.proxy.workers, config.proxy.upstream.port), (2, 19_443));
    assert_eq!(config.keys.sets[0].previous, [Source::Env("PREVIOUS".into())]);
    assert_eq!(config.admin.listen, Some(address("127.0.0.1:0")));
    assert_eq!(config.state.dir, Path::new("/var/lib/keyward"));
}

#[test]
fn sets_of_the_file_are_overridden_and_new_ones_made_by_the_environment() {
    let environment = environment()
        .with("KEYWARD_KEYS_TEAM_A_NEXT_FILE", "/keys/next")
        .with("KEYWARD_KEYS_TEAM_A_PREVIOUS_FILES", "/keys/1, /keys/2")
        .with("KEYWARD_KEYS_TEAM_A_PREVIOUS_ENVS", "KEYWARD_OLD")
        .with("KEYWARD_OLD", "sk-canary")
        .with("KEYWARD_KEYS_NEW_SET_CURRENT_ENV", "KEYWARD_PROXY_LISTEN")
        .with("KEYWARD_PROXY_LISTEN", "sk-canary")
        .with("KEYWARD_KEYS_NEW_SET_GRACE", "");
    let config = load(
        "[keys.team-a]\ncurrent = { file = '/keys/a' }\nnext = { env = 'B' }\nprevious = [{ env = 'C' }]",
        &environment,
    );
    let (file, env) = (|path: &str| Source::File(path.into()), |name: &str| Source::Env(name.into()));
    let [_, new, team] = config.keys.sets.as_slice() else { panic!("{:?}", config.keys) };
    assert_eq!((&*new.name, &new.current), ("new_set", &Some(env("KEYWARD_PROXY_LISTEN"))));
    assert_eq!((&*team.name, &team.current), ("team-a", &Some(file("/keys/a"))));
    assert_eq!(team.next, Some(file("/keys/next")));
    assert_eq!(team.previous, [env("KEYWARD_OLD"), file("/keys/1"), file("/keys/2")]);
}

#[test]
fn problems_of_every_source_are_told_at_once_in_the_order_of_their_places() {
    let file = r#"listen = "127.0.0.1:1"
[log]
level = "loud"
[proxy]
listn = "127.0.0.1:8080"
upstream = "https://api.openai.com/v1"
[keys.default]
current = "sk-canary"
"#;
    let environment = Environment::default().with("KEYWARD_PROXY_LISTNE", "sk-canary");
    let overrides = Overrides { listen: Some("80800".to_owned()), ..Overrides::default() };
    insta::assert_snapshot!(told(file, &environment, overrides), @r#"
    the configuration has 8 problems:

      keyward.toml:1: listen
          There is no such setting: did you mean `proxy.listen`?

      keyward.toml:3: log.level = "loud"
          Allowed: error, warn, info, debug or trace.

      keyward.toml:5: proxy.listn
          There is no such setting: did you mean `listen`?

      keyward.toml:6: proxy.upstream = "https://api.openai.com/v1"
          Leave out the /v1: keyward passes on the path of each request by itself, and n8n's requests begin with /v1.
          Allowed: an origin, such as https://api.openai.com or http://127.0.0.1:9000.

      keyward.toml:8: keys.default.current
          A secret has no place in the config file: name the file or the environment variable that holds it.
          Allowed: { file = "…" }, { env = "…" } or { command = ["/…", …] }.

      environment KEYWARD_PROXY_LISTNE: unknown variable
          There is no such setting: did you mean `KEYWARD_PROXY_LISTEN`?

      command line --listen: proxy.listen = 80800
          Allowed: an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, or a port of this machine's own, such as 8080.

      not set: state.dir
          This user has no home, so there is no folder to choose: set it, or KEYWARD_STATE_DIR.
    "#);
}

#[test]
fn problems_of_values_say_what_is_allowed() {
    let file = r#"[proxy]
listen = "example.com:8080"
workers = 257
connect_timeout = 10
max_head = ["64KiB"]
level = "debug"
colour = true
[admin]
listen = "sk-canary"
[logs]
"#;
    insta::assert_snapshot!(told(file, &environment(), Overrides::default()), @r#"
    the configuration has 8 problems:

      keyward.toml:2: proxy.listen = "example.com:8080"
          Allowed: an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, or a port of this machine's own, such as 8080.

      keyward.toml:3: proxy.workers = 257
          Allowed: a whole number from 0 to 256.

      keyward.toml:4: proxy.connect_timeout = 10
          Allowed: a span longer than 0s and up to 3650d, such as 250ms, 30s or 1h30m.

      keyward.toml:5: proxy.max_head
          Allowed: a size from 8KiB to 1MiB, such as 64KiB or 65536.

      keyward.toml:6: proxy.level
          There is no such setting: did you mean `log.level`?

      keyward.toml:7: proxy.colour
          There is no such setting; known here: listen, upstream, base_path, upstream_http2, upstream_ca, via, policy, allow_host, allow_origin, proxy_protocol_from, workers, connect_timeout, answer_timeout, idle_timeout, client_idle_timeout, client_stall_timeout, pool_idle_timeout, drain_timeout, max_head, max_connections, max_connections_per_peer.

      keyward.toml:9: admin.listen
          Allowed: an IP address and a port, such as 127.0.0.1:8081, or off.

      keyward.toml:10: logs
          There is no such setting: did you mean `log`?
    "#);
}

#[test]
fn problems_of_keys_quote_nothing() {
    let file = r#"[keys]
current = { env = "A" }
Canary = {}
[keys.default]
nxt = { env = "A" }
grace = "canary"
[keys.staging]
next = { file = "a", env = "b" }
previous = [{ env = "sk-canary" }]
[keys.third]
next = { env = "A" }
previous = [{ file = "b" }]
[keys.fourth]
current = {}
"#;
    insta::assert_snapshot!(told(file, &environment(), Overrides::default()), @r#"
    the configuration has 9 problems:

      keyward.toml:2: keys.current
          This belongs to a key set, such as [keys.default].

      keyward.toml:3: keys
          A key set is a table, and its name has up to 32 of a-z, 0-9, _ and -, the first a letter or digit: [keys.team-a].

      keyward.toml:5: keys.default.nxt
          There is no such setting: did you mean `next`?

      keyward.toml:6: keys.default.grace
          Allowed: a span from 0s to 3650d, such as 30s, 24h or 1h30m.

      keyward.toml:8: keys.staging.next
          Name one place: either a file or an environment variable.
          Allowed: { file = "…" }, { env = "…" } or { command = ["/…", …] }.

      keyward.toml:9: keys.staging.previous
          A variable's name has letters, digits and _ and does not begin with a digit.
          Allowed: a list such as [{ file = "…" }, { env = "…" }].

      keyward.toml:11: keys.third.next
          A set without a current key learns its keys: set keys.third.current too, or leave this out.

      keyward.toml:12: keys.third.previous
          A set without a current key learns its keys: set keys.third.current too, or leave this out.

      keyward.toml:14: keys.fourth.current
          Name one place: either a file or an environment variable.
          Allowed: { file = "…" }, { env = "…" } or { command = ["/…", …] }.
    "#);
}

#[test]
fn problems_of_variables_name_the_variable() {
    let environment = environment()
        .with("KEYWARD_PROXY_UPSTREAM", "https://user:canary@host")
        .with("KEYWARD_KEYS_DEFAULT_CURRENT", "sk-canary")
        .with("KEYWARD_KEYS_DEFAULT_GRACE", "canary")
        .with("KEYWARD_KEYS_DEFAULT_PREVIOUS_ENVS", "A,sk-canary")
        .with("KEYWARD_KEYS_FIFTH_CURRENT_ENV", "A")
        .with("KEYWARD_KEYS_FIFTH_CURRENT_FILE", "a")
        .with("KEYWARD_KEYS_FIFTH_GARCE", "1h")
        .with("KEYWARD_KEYS__GRACE", "1h")
        .with("KEYWARD_LOG_SOMETHING_ELSE", "");
    insta::assert_snapshot!(told("", &environment, Overrides::default()), @r#"
    the configuration has 9 problems:

      environment KEYWARD_KEYS_DEFAULT_CURRENT: unknown variable
          There is no such setting: did you mean `KEYWARD_KEYS_DEFAULT_CURRENT_ENV`?

      environment KEYWARD_KEYS_DEFAULT_GRACE: keys.default.grace
          Allowed: a span from 0s to 3650d, such as 30s, 24h or 1h30m.

      environment KEYWARD_KEYS_DEFAULT_PREVIOUS_ENVS: keys.default.previous
          A variable's name has letters, digits and _ and does not begin with a digit.
          Allowed: names of environment variables, with commas between them.

      environment KEYWARD_KEYS_FIFTH_CURRENT_ENV: keys.fifth.current
          Name one place: either the file or the environment variable.

      environment KEYWARD_KEYS_FIFTH_CURRENT_FILE: keys.fifth.current
          Name one place: either the file or the environment variable.

      environment KEYWARD_KEYS_FIFTH_GARCE: unknown variable
          There is no such setting: did you mean `KEYWARD_KEYS_FIFTH_GRACE`?

      environment KEYWARD_KEYS__GRACE: keys
          The name of a key set has up to 32 of A-Z, 0-9 and _ here, the first a letter or digit.

      environment KEYWARD_LOG_SOMETHING_ELSE: unknown variable
          There is no such setting, and no name is near: config/reference.toml lists all.

      environment KEYWARD_PROXY_UPSTREAM: proxy.upstream
          Leave out the user information before the @: keyward sends none.
          Allowed: an origin, such as https://api.openai.com or http://127.0.0.1:9000.
    "#);
}

#[test]
fn an_n8n_is_read_from_the_file_and_from_the_environment() {
    let file = r#"[n8n.team-a]
url = "https://n8n.example/n8n/"
api_key = { file = "/run/secrets/n8n" }
"#;
    let environment = environment()
        .with("HTTPS_PROXY", "http://proxy:3128")
        .with("KEYWARD_N8N_TEAM_A_REFRESH", "30s")
        .with("KEYWARD_N8N_OTHER_URL", "http://n8n:5678")
        .with("KEYWARD_N8N_OTHER_API_KEY_ENV", "KEYWARD_N8N_API")
        .with("KEYWARD_N8N_API", "eyJhbGciOi.canary")
        .with("KEYWARD_N8N_OTHER_SET", "default")
        .with("KEYWARD_N8N_OTHER_PRESS", "false");
    let config = load(file, &environment);
    let [other, team] = &*config.n8n.instances else { panic!("{:?}", config.n8n) };
    assert_eq!((&*team.name, team.url.to_string().as_str()), ("team-a", "https://n8n.example/n8n"));
    assert_eq!(team.api_key, Source::File("/run/secrets/n8n".into()));
    assert_eq!((team.refresh, team.set.as_deref()), (Duration::from_secs(30), None));
    assert_eq!((team.press, other.press), (true, false), "it is wanted unless it is said not to be");
    let via = team.via.as_ref().expect("the proxy of the environment");
    assert_eq!(via.to_string(), "http://proxy:3128");
    assert_eq!((&*other.name, other.url.to_string().as_str()), ("other", "http://n8n:5678"));
    assert_eq!(other.api_key, Source::Env("KEYWARD_N8N_API".into()));
    assert_eq!((other.refresh, other.set.as_deref()), (n8n::Instance::REFRESH, Some("default")));
    assert!(
        other.via.is_none()
            && load(file, &environment.with("KEYWARD_PROXY_VIA", "none")).n8n.instances[1].via.is_none()
    );
}

#[test]
fn problems_of_an_n8n_say_what_is_missing_and_quote_no_key() {
    let file = r#"[n8n]
url = "https://n8n.example"
[n8n.one]
url = "https://n8n.example/workflow/abc"
api_key = "eyJcanary"
[n8n.two]
uri = "n8n:5678"
set = "staging"
refresh = "1s"
api_key = { env = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9canary" }
[n8n.four]
url = "https://n8n.example/a?canary"
"#;
    let environment = environment()
        .with("KEYWARD_N8N_URL", "http://n8n:5678")
        .with("KEYWARD_N8N_FOUR_API_KEY_FILE", "a")
        .with("KEYWARD_N8N_FOUR_API_KEY_ENV", "A");
    insta::assert_snapshot!(told(file, &environment, Overrides::default()), @r#"
    the configuration has 12 problems:

      keyward.toml:2: n8n.url
          This belongs to an n8n, such as [n8n.main].

      keyward.toml:4: n8n.one.url = "https://n8n.example/workflow/abc"
          Leave out the page or the API behind it: it is the address that the editor opens at.
          Allowed: a URL such as https://n8n.example or http://n8n:5678, perhaps with a path.

      keyward.toml:5: n8n.one.api_key
          A secret has no place in the config file: name the file or the environment variable that holds it.
          Allowed: { file = "…" } or { env = "…" }.

      keyward.toml:7: n8n.two.uri
          There is no such setting: did you mean `url`?

      keyward.toml:8: n8n.two.set = "staging"
          There is no such key set; there are: default.

      keyward.toml:9: n8n.two.refresh = "1s"
          Allowed: a span from 10s to 3650d, such as 30s, 5m or 1h.

      keyward.toml:10: n8n.two.api_key
          This looks like a key, not like the name of a variable that holds one.
          Allowed: { file = "…" } or { env = "…" }.

      keyward.toml:12: n8n.four.url
          Its path is not a plain one, and neither a query nor a fragment belongs there.
          Allowed: a URL such as https://n8n.example or http://n8n:5678, perhaps with a path.

      environment KEYWARD_N8N_FOUR_API_KEY_ENV: n8n.four.api_key
          Name one place: either the file or the environment variable.

      environment KEYWARD_N8N_FOUR_API_KEY_FILE: n8n.four.api_key
          Name one place: either the file or the environment variable.

      environment KEYWARD_N8N_URL: unknown variable
          There is no such setting, and no name is near: config/reference.toml lists all.

      not set: n8n.two.url
          keyward cannot ask this n8n without it.
          Allowed: a URL such as https://n8n.example or http://n8n:5678, perhaps with a path.
    "#);
}

#[test]
fn whether_tests_are_pressed_is_a_plain_word() {
    let file = "[n8n.a]\nurl = \"http://n8n:5678\"\napi_key = { file = \"a\" }\npress = \"perhaps\"\n";
    insta::assert_snapshot!(told(file, &environment(), Overrides::default()), @r#"
    the configuration has a problem:

      keyward.toml:4: n8n.a.press = "perhaps"
          Allowed: true or false.
    "#);
    let file = file.replace("\"perhaps\"", "false");
    assert!(!load(&file, &environment()).n8n.instances[0].press);
}

#[test]
fn a_receiver_of_notices_is_read_from_the_file_and_from_the_environment() {
    let file = r#"[notices.team]
to = { file = "/run/secrets/url" }
secret = [{ file = "/run/secrets/old" }, { env = "NEW_SECRET" }]
about = ["incident"]
heartbeat = { to = { env = "PING" } }
"#;
    let environment = environment()
        .with("https_proxy", "http://proxy:3128")
        .with("KEYWARD_NOTICES_TEAM_QUIET", "1m")
        .with("KEYWARD_NOTICES_TEAM_HEARTBEAT_EVERY", "1h")
        .with("KEYWARD_NOTICES_OTHER_TO_ENV", "KEYWARD_SLACK_URL")
        .with("KEYWARD_SLACK_URL", "https://hooks.slack.com/services/canary")
        .with("KEYWARD_NOTICES_OTHER_KIND", "slack")
        .with("KEYWARD_NOTICES_OTHER_SETS", "default")
        .with("KEYWARD_NOTICES_OTHER_ABOUT", "key, rotation")
        .with("KEYWARD_NOTICES_OTHER_EVERY", "0s")
        .with("KEYWARD_NOTICES_OTHER_REMIND", "0s")
        .with("KEYWARD_NOTICES_THIRD_TO_FILE", "/url")
        .with("KEYWARD_NOTICES_THIRD_SECRET_FILES", "/a,/b")
        .with("KEYWARD_NOTICES_THIRD_HEARTBEAT_TO_FILE", "/ping");
    let config = load(file, &environment);
    let [other, team, third] = &*config.notices.receivers else { panic!("{:?}", config.notices) };
    let file_of = |path: &str| Source::File(path.into());
    let env_of = |name: &str| Source::Env(name.into());
    let minutes = Duration::from_mins;
    assert_eq!((&*team.name, &team.to, team.kind), ("team", &file_of("/run/secrets/url"), ReceiverKind::Webhook));
    assert_eq!(team.secrets, [file_of("/run/secrets/old"), env_of("NEW_SECRET")]);
    assert_eq!((&*team.topics, team.sets.len()), (&[Topic::Incident][..], 0));
    assert_eq!(team.timing, Timing { quiet: minutes(1), ..Timing::default() });
    assert_eq!(team.heartbeat, Some(Heartbeat { every: minutes(60), to: env_of("PING") }));
    assert_eq!((&other.to, other.kind), (&env_of("KEYWARD_SLACK_URL"), ReceiverKind::Slack));
    assert_eq!((&*other.topics, &*other.sets[0]), (&[Topic::Key, Topic::Rotation][..], "default"));
    assert_eq!((other.timing.every, other.timing.remind, &other.heartbeat), (minutes(0), minutes(0), &None));
    assert_eq!((third.secrets.len(), &third.topics[..]), (2, &Topic::ALL[..]));
    assert_eq!(third.heartbeat, Some(Heartbeat { every: minutes(5), to: file_of("/ping") }));
    let hooks = Upstream { scheme: Scheme::Https, host: "hooks.slack.com".into(), port: 443 };
    assert_eq!(config.notices.proxies.to(&hooks).map(ToString::to_string).as_deref(), Some("http://proxy:3128"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a configuration and what is told of it")]
fn problems_of_a_receiver_of_notices_say_what_is_allowed_and_quote_no_url() {
    let file = r#"[notices]
to = { file = "a" }
[notices."Team A"]
to = { file = "a" }
[notices.one]
to = "https://hooks.slack.com/services/canary"
secret = "whsec_canary"
kind = "teams"
about = ["incident", "all"]
sets = ["staging"]
quiet = "soon"
every = "-1s"
remind = 24
heartbeat = { every = "5m" }
secrets = "https://canary"
[notices.two]
kind = "slack"
secret = { file = "a" }
heartbeat = { every = "1s", to = { file = "a" } }
[notices.three]
to = { file = "a" }
secret = [{ file = "a" }, { file = "b" }, { file = "c" }]
heartbeat = "https://canary"
[notices.four]
heartbeat = { to = { file = "a" }, at = "noon" }
"#;
    let environment = environment()
        .with("KEYWARD_NOTICES_URL", "https://canary")
        .with("KEYWARD_NOTICES_FOUR_TO", "https://canary")
        .with("KEYWARD_NOTICES_FOUR_TO_FILE", "a")
        .with("KEYWARD_NOTICES_FOUR_TO_ENV", "A")
        .with("KEYWARD_NOTICES_FOUR_HEARTBEAT_EVERY", "soon");
    insta::assert_snapshot!(told(file, &environment, Overrides::default()), @r#"
    the configuration has 23 problems:

      keyward.toml:2: notices.to
          This belongs to a receiver, such as [notices.team].

      keyward.toml:3: notices
          A receiver is a table, and its name has up to 32 of a-z, 0-9, _ and -, the first a letter or digit: [notices.team].

      keyward.toml:6: notices.one.to
          A secret has no place in the config file: name the file or the environment variable that holds it.
          Allowed: { file = "…" } or { env = "…" }.

      keyward.toml:7: notices.one.secret
          A secret has no place in the config file: name the file or the environment variable that holds it.
          Allowed: { file = "…" } or { env = "…" }, or a list of two of them.

      keyward.toml:8: notices.one.kind = "teams"
          Allowed: webhook or slack.

      keyward.toml:9: notices.one.about = "incident,all"
          Allowed: a list of incident, rotation, key and keyward.

      keyward.toml:10: notices.one.sets
          There is no key set `staging`; there are: default.
          Allowed: a list of names of key sets, such as ["default"].

      keyward.toml:11: notices.one.quiet = "soon"
          Allowed: a span from 0s to 3650d, such as 30s, 24h or 1h30m.

      keyward.toml:12: notices.one.every = "-1s"
          Allowed: a span from 0s to 3650d, such as 30s, 24h or 1h30m.

      keyward.toml:13: notices.one.remind = 24
          Allowed: a span from 0s to 3650d, such as 30s, 24h or 1h30m.

      keyward.toml:14: notices.one.heartbeat
          A heartbeat needs a URL to go to.
          Allowed: a table such as { every = "5m", to = { file = "…" } }, with a span from 10s to 3650d.

      keyward.toml:15: notices.one.secrets
          There is no such setting: did you mean `secret`?

      keyward.toml:18: notices.two.secret
          Leave it out: Slack checks no signature, and its URL is the secret.
          Allowed: { file = "…" } or { env = "…" }, or a list of two of them.

      keyward.toml:19: notices.two.heartbeat = "1s"
          Allowed: a table such as { every = "5m", to = { file = "…" } }, with a span from 10s to 3650d.

      keyward.toml:22: notices.three.secret
          Allowed: { file = "…" } or { env = "…" }, or a list of two of them.

      keyward.toml:23: notices.three.heartbeat
          Allowed: a table such as { every = "5m", to = { file = "…" } }, with a span from 10s to 3650d.

      keyward.toml:25: notices.four.heartbeat
          A heartbeat has `every` and `to`, and nothing else.
          Allowed: a table such as { every = "5m", to = { file = "…" } }, with a span from 10s to 3650d.

      environment KEYWARD_NOTICES_FOUR_HEARTBEAT_EVERY: notices.four.heartbeat = "soon"
          Allowed: a table such as { every = "5m", to = { file = "…" } }, with a span from 10s to 3650d.

      environment KEYWARD_NOTICES_FOUR_TO: unknown variable
          There is no such setting: did you mean `KEYWARD_NOTICES_FOUR_TO_ENV`?

      environment KEYWARD_NOTICES_FOUR_TO_ENV: notices.four.to
          Name one place: either the file or the environment variable.

      environment KEYWARD_NOTICES_FOUR_TO_FILE: notices.four.to
          Name one place: either the file or the environment variable.

      environment KEYWARD_NOTICES_URL: unknown variable
          There is no such setting, and no name is near: config/reference.toml lists all.

      not set: notices.two.to
          keyward cannot send notices without it.
          Allowed: { file = "…" } or { env = "…" }.
    "#);
}

#[test]
fn the_url_of_a_receiver_is_called_to() {
    let file = "[notices.team]\nurl = { env = \"HOOK\" }\n[n8n.main]\nto = \"http://n8n:5678\"\n";
    let environment = environment()
        .with("KEYWARD_NOTICES_TEAM_URL", "https://canary")
        .with("KEYWARD_NOTICES_TEAM_URL_FILE", "a")
        .with("KEYWARD_NOTICES_TEAM_HEARTBEAT_URL_ENV", "A");
    let told = told(file, &environment, Overrides::default());
    let hint = |place: &str, name: &str| {
        let said = format!("{place}\n      There is no such setting: did you mean `{name}`?");
        assert!(told.contains(&said), "{place}: {told}");
    };
    hint("keyward.toml:2: notices.team.url", "to");
    hint("keyward.toml:4: n8n.main.to", "url");
    hint("environment KEYWARD_NOTICES_TEAM_URL: unknown variable", "KEYWARD_NOTICES_TEAM_TO_ENV");
    hint("environment KEYWARD_NOTICES_TEAM_URL_FILE: unknown variable", "KEYWARD_NOTICES_TEAM_TO_FILE");
    hint(
        "environment KEYWARD_NOTICES_TEAM_HEARTBEAT_URL_ENV: unknown variable",
        "KEYWARD_NOTICES_TEAM_HEARTBEAT_TO_ENV",
    );
    assert!(told.contains("not set: notices.team.to"), "{told}");
}

#[test]
fn what_others_set_under_our_name_is_ignored() {
    // For a service of the name `keyward`, Kubernetes sets the last three in every container.
    let names = ["KEYWARD_BIN", "KEYWARD_PORT", "KEYWARD_PORT_8080_TCP_ADDR", "KEYWARD_SERVICE_HOST"];
    let environment =
        names.iter().fold(environment(), |environment, name| environment.with(name, "tcp://10.0.0.7:8080"));
    assert_eq!(load("", &environment).ignored, names.map(Box::from));
}

#[test]
fn a_syntax_error_is_told_by_its_place_alone() {
    let file = "[proxy]\nlisten = \n[keys.default]\ncurrent = { env = sk-canary }\n";
    let environment = environment().with("KEYWARD_PROXY_WORKERS", "many");
    insta::assert_snapshot!(told(file, &environment, Overrides::default()), @r#"
    the configuration has 3 problems:

      keyward.toml:2:10: TOML syntax
          String values must be quoted, expected literal string.

      keyward.toml:4:19: TOML syntax
          String values must be quoted, expected literal string.

      environment KEYWARD_PROXY_WORKERS: proxy.workers = "many"
          Allowed: a whole number from 0 to 256.
    "#);
}

#[test]
fn half_a_file_does_not_make_the_environment_wrong() {
    let environment = environment().with("KEYWARD_KEYS_DEFAULT_NEXT_FILE", "next");
    let problems = load_with("[keys.default]\ncurrent = ", &environment, Overrides::default());
    assert_eq!(problems.expect_err("a syntax error").iter().count(), 1);
}

#[test]
fn a_missing_file_is_a_problem_of_the_place_that_named_it() {
    #[track_caller]
    fn check(file: Option<&str>, environment: &Environment, expected: &str) {
        let problems = Config::load(file.map(Path::new), environment, Overrides::default()).expect_err("no file");
        assert_eq!(problems.to_string(), expected);
    }
    check(
        Some("/nowhere/keyward.toml"),
        &environment(),
        "the configuration has a problem:\n\n  command line --config: config file = \"/nowhere/keyward.toml\"\n      \
         The file cannot be read: No such file or directory (os error 2).",
    );
    check(
        None,
        &environment().with("KEYWARD_CONFIG", "/nowhere/keyward.toml"),
        "the configuration has a problem:\n\n  environment KEYWARD_CONFIG: config file = \"/nowhere/keyward.toml\"\n      \
         The file cannot be read: No such file or directory (os error 2).",
    );
}

#[test]
fn two_sets_that_look_alike_in_the_environment_have_to_be_told_apart() {
    let environment = environment().with("KEYWARD_KEYS_TEAM_A_GRACE", "1h");
    let problems = load_with("[keys.team-a]\n[keys.team_a]", &environment, Overrides::default());
    let problems = problems.expect_err("two sets").to_string();
    assert!(problems.contains("each of the key sets team-a, team_a"), "{problems}");
}

#[test]
fn a_name_in_no_table_is_told_with_what_there_is() {
    #[track_caller]
    fn check(file: &str, expected: &str) {
        let problems = load_with(file, &environment(), Overrides::default()).expect_err("a problem");
        let told: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.key, problem.text)).collect();
        assert_eq!(told, [expected]);
    }
    check(
        "x = 1",
        "x: There is no such setting; known here: proxy, tls, keys, n8n, notices, log, admin, state, store, rotation.",
    );
    check("proxy = 1", "proxy: This is a table: it begins with [proxy].");
    check("[[log]]", "log: This is a table: it begins with [log].");
    check("keys = 'sk-canary'", "keys: This is a table: it begins with [keys].");
    check(
        "['keys.<set>']",
        "keys.<set>: There is no such setting; known here: proxy, tls, keys, n8n, notices, log, admin, state, store, rotation.",
    );
    check("[proxy]\nsk-canary = 1\n", &format!("proxy.…: {}", unknown_in("proxy")));
    check("[keys.default]\nsk-canary = 1\n", &format!("keys.default.…: {}", unknown_in("keys.<set>")));
}

fn unknown_in(table: &str) -> String {
    let names: Vec<_> = SETTINGS.iter().filter(|setting| setting.table() == table).map(Setting::name).collect();
    format!("There is no such setting; known here: {}.", names.join(", "))
}

#[test]
fn debug_shows_no_variable() {
    assert!(!format!("{:?}", environment().with("OPENAI_API_KEY", "sk-canary")).contains("canary"));
}

#[track_caller]
fn load(file: &str, environment: &Environment) -> Config {
    load_with(file, environment, Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems as people see them. Whatever is called a canary stands for a key.
#[track_caller]
fn told(file: &str, environment: &Environment, overrides: Overrides) -> String {
    let told = load_with(file, environment, overrides).expect_err("problems").to_string();
    assert!(!told.contains("canary"), "{told}");
    told
}

/// Loads what is in `file` as if it stood in `keyward.toml`.
fn load_with(file: &str, environment: &Environment, overrides: Overrides) -> Result<Config, Problems> {
    let read = |problems: &mut Problems| raw::read("keyward.toml", file, problems);
    Config::assemble(read, environment, overrides)
}

fn environment() -> Environment {
    Environment::default().with_state_folder("/state")
}

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
