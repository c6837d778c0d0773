//! Pure. The one table of all settings: reading, environment names and `config/reference.toml` are held to it.

use super::parse::{self, Unfit};
use super::{Draft, proxy_env};

/// Every setting, in the order of `config/reference.toml`.
pub static SETTINGS: [Setting; 66] = [
    Setting {
        key: "proxy.listen",
        default: Some("\"127.0.0.1:8080\""),
        sentence: "Where n8n connects.",
        allowed: ADDRESS,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.listen, parse::address(text))),
    },
    Setting {
        key: "proxy.upstream",
        default: Some("\"https://api.openai.com\""),
        sentence: "Where requests go: scheme, host and perhaps a port, without the /v1.",
        allowed: "an origin, such as https://api.openai.com or http://127.0.0.1:9000",
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.upstream, parse::upstream(text))),
    },
    Setting {
        key: "proxy.base_path",
        default: Some("\"/v1\""),
        sentence: "Where upstream has its API: it takes the place of the /v1 that clients send.",
        allowed: "a path of plain segments, without a slash at its end, such as /v1 or /openai/v1",
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.base_path, parse::base_path(text))),
    },
    Setting {
        key: "proxy.upstream_http2",
        default: Some("false"),
        sentence: "Whether upstream is spoken to in HTTP/2, if it takes that.",
        allowed: "true or false",
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.upstream_http2, parse::fit(text))),
    },
    Setting {
        key: "proxy.upstream_ca",
        default: None,
        sentence: "A PEM file with the only certificates that may vouch for upstream.",
        allowed: PATH_OF_FILE,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.upstream_ca, parse::path(text).map(Some))),
    },
    Setting {
        key: "proxy.via",
        default: Some("\"environment\""),
        sentence: "The proxy through which upstream is reached: what the environment names, none, or this one.",
        allowed: proxy_env::ALLOWED,
        reading: Reading::Value(|draft, text| put(&mut draft.via, parse::choice_of_proxy(text))),
    },
    Setting {
        key: "proxy.policy",
        default: Some("\"observe\""),
        sentence: "What is done about requests, for every set that has no policy of its own.",
        allowed: POLICY,
        reading: Reading::Value(|draft, text| put(&mut draft.policy, parse::fit(text))),
    },
    Setting {
        key: "proxy.allow_host",
        default: Some("[]"),
        sentence: "The hosts that requests may name in `Host`; without any, all.",
        allowed: "a list of names or addresses, perhaps with a port, such as [\"keyward:8080\", \"10.1.2.3\"]",
        reading: Reading::List(|draft, text| put(&mut draft.rules.allow_host, parse::hosts(text))),
    },
    Setting {
        key: "proxy.allow_origin",
        default: Some("[]"),
        sentence: "The pages whose browsers an injecting set serves; without any, none.",
        allowed: "a list of origins, such as [\"https://app.example.com\"]",
        reading: Reading::List(|draft, text| put(&mut draft.rules.allow_origin, parse::origins(text))),
    },
    Setting {
        key: "proxy.proxy_protocol_from",
        default: Some("[]"),
        sentence: "The load balancers that begin each connection with the PROXY protocol, whose word on addresses counts.",
        allowed: NETWORKS,
        reading: Reading::List(|draft, text| put(&mut draft.proxy.proxy_protocol_from, parse::networks(text))),
    },
    Setting {
        key: "proxy.workers",
        default: Some("0"),
        sentence: "How many workers serve; 0 means one for each core that the cgroup allows.",
        allowed: "a whole number from 0 to 256",
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.workers, parse::workers(text))),
    },
    Setting {
        key: "proxy.connect_timeout",
        default: Some("\"10s\""),
        sentence: "How long connecting to upstream may take, TLS included.",
        allowed: TIMEOUT,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.connect_timeout, parse::timeout(text))),
    },
    Setting {
        key: "proxy.answer_timeout",
        default: Some("\"2h\""),
        sentence: "How long upstream may be silent before its answer begins.",
        allowed: TIMEOUT,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.answer_timeout, parse::timeout(text))),
    },
    Setting {
        key: "proxy.idle_timeout",
        default: Some("\"2h\""),
        sentence: "How long upstream may be silent within an answer, or take nothing of a body.",
        allowed: TIMEOUT,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.idle_timeout, parse::timeout(text))),
    },
    Setting {
        key: "proxy.client_idle_timeout",
        default: Some("\"75s\""),
        sentence: "How long a kept-alive client may wait before its next request, and how long a request's head may take.",
        allowed: TIMEOUT,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.client_idle_timeout, parse::timeout(text))),
    },
    Setting {
        key: "proxy.client_stall_timeout",
        default: Some("\"2m\""),
        sentence: "How long a client may take nothing of its answer, or send nothing of its body.",
        allowed: TIMEOUT,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.client_stall_timeout, parse::timeout(text))),
    },
    Setting {
        key: "proxy.pool_idle_timeout",
        default: Some("\"50s\""),
        sentence: "How long an unused connection to upstream is kept: less long than upstream itself keeps it.",
        allowed: TIMEOUT,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.pool_idle_timeout, parse::timeout(text))),
    },
    Setting {
        key: "proxy.drain_timeout",
        default: Some("\"30s\""),
        sentence: "How long exchanges may go on after the signal to stop.",
        allowed: SPAN,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.drain_timeout, parse::span(text))),
    },
    Setting {
        key: "proxy.max_head",
        default: Some("\"64KiB\""),
        sentence: "How large the head of a request or of an answer may be.",
        allowed: "a size from 8KiB to 1MiB, such as 64KiB or 65536",
        reading: Reading::Value(|draft, text| {
            put(&mut draft.proxy.limits.max_head, parse::size(text, &(8 << 10..=1 << 20)))
        }),
    },
    Setting {
        key: "proxy.max_connections",
        default: Some("10000"),
        sentence: "How many clients may be connected at a time.",
        allowed: "a whole number, 1 or more",
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.limits.max_connections, parse::count(text))),
    },
    Setting {
        key: "proxy.max_connections_per_peer",
        default: Some("5000"),
        sentence: "How many of them one address may have.",
        allowed: "a whole number, 1 or more",
        reading: Reading::Value(|draft, text| {
            put(&mut draft.proxy.limits.max_connections_per_peer, parse::count(text))
        }),
    },
    Setting {
        key: "tls.cert",
        default: None,
        sentence: "A PEM file with the certificate that clients are shown, and the ones that vouch for it.",
        allowed: PATH_OF_FILE,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.tls.cert, parse::path(text).map(Some))),
    },
    Setting {
        key: "tls.key",
        default: None,
        sentence: "A PEM file with the private key of that certificate.",
        allowed: PATH_OF_FILE,
        reading: Reading::Value(|draft, text| put(&mut draft.proxy.tls.key, parse::path(text).map(Some))),
    },
    Setting {
        key: "keys.<set>.current",
        default: None,
        sentence: "Where the set's current key stands.",
        allowed: KEY_SOURCE,
        reading: Reading::OfSet(SetField::Keys(Role::Current)),
    },
    Setting {
        key: "keys.<set>.next",
        default: None,
        sentence: "Where the announced next key stands, once a rotation has begun.",
        allowed: KEY_SOURCE,
        reading: Reading::OfSet(SetField::Keys(Role::Next)),
    },
    Setting {
        key: "keys.<set>.previous",
        default: Some("[]"),
        sentence: "Where the keys stand that were current before.",
        allowed: SOURCES,
        reading: Reading::OfSet(SetField::Keys(Role::Previous)),
    },
    Setting {
        key: "keys.<set>.grace",
        default: Some("\"0s\""),
        sentence: "How long a previous key stays good after it was replaced; 0s means not at all.",
        allowed: SPAN,
        reading: Reading::OfSet(SetField::Rule(Rule::Grace)),
    },
    Setting {
        key: "keys.<set>.policy",
        default: None,
        sentence: "What is done about the requests of this set.",
        allowed: POLICY,
        reading: Reading::OfSet(SetField::Rule(Rule::Policy)),
    },
    Setting {
        key: "keys.<set>.unknown",
        default: Some("\"refuse\""),
        sentence: "What enforce and inject do about a well-formed key that no set has.",
        allowed: "refuse or forward",
        reading: Reading::OfSet(SetField::Rule(Rule::Unknown)),
    },
    Setting {
        key: "keys.<set>.inject_until",
        default: None,
        sentence: "Until when inject admits those who send a previous key.",
        allowed: MOMENT,
        reading: Reading::OfSet(SetField::Rule(Rule::InjectUntil)),
    },
    Setting {
        key: "keys.<set>.allow_from",
        default: Some("[]"),
        sentence: "The addresses from which inject admits requests without a credential.",
        allowed: NETWORKS,
        reading: Reading::OfSet(SetField::Rule(Rule::AllowFrom)),
    },
    Setting {
        key: "keys.<set>.allow_from_is_safe",
        default: Some("false"),
        sentence: "Whether no stranger can have an address in allow_from, although the range is wide, loopback or a gateway's.",
        allowed: "true or false",
        reading: Reading::OfSet(SetField::Rule(Rule::AllowFromIsSafe)),
    },
    Setting {
        key: "keys.<set>.workflows",
        default: Some("{}"),
        sentence: "Workflows that belong to this set, by id, each perhaps with a tighter policy of its own.",
        allowed: "a table such as { \"<id>\" = { policy = \"enforce\" }, \"<id>\" = {} }",
        reading: Reading::OfSet(SetField::Workflows),
    },
    Setting {
        key: "keys.<set>.admin",
        default: None,
        sentence: "Where OpenAI makes and deletes this set's keys, for `keyward rotate` and `keyward keys expiring` alone.",
        allowed: "a table such as { project = \"proj_…\", service_account = \"svc_acct_…\", key = { file = \"…\" } }",
        reading: Reading::OfSet(SetField::Admin),
    },
    Setting {
        key: "n8n.<name>.url",
        default: None,
        sentence: "Where n8n's editor and its API are.",
        allowed: "a URL such as https://n8n.example or http://n8n:5678, perhaps with a path",
        reading: Reading::OfInstance(InstanceField::Url),
    },
    Setting {
        key: "n8n.<name>.api_key",
        default: None,
        sentence: "Where the key of n8n's API stands.",
        allowed: SOURCE,
        reading: Reading::OfInstance(InstanceField::ApiKey),
    },
    Setting {
        key: "n8n.<name>.set",
        default: None,
        sentence: "The key set that this n8n's credential belongs to.",
        allowed: "the name of a key set",
        reading: Reading::OfInstance(InstanceField::Set),
    },
    Setting {
        key: "n8n.<name>.refresh",
        default: Some("\"5m\""),
        sentence: "How often n8n is asked for its workflows.",
        allowed: "a span from 10s to 3650d, such as 30s, 5m or 1h",
        reading: Reading::OfInstance(InstanceField::Refresh),
    },
    Setting {
        key: "n8n.<name>.keyward",
        default: None,
        sentence: "Where this n8n reaches keyward: the Base URL that `keyward n8n connect` puts into its credentials.",
        allowed: BASE_URL,
        reading: Reading::OfInstance(InstanceField::Keyward),
    },
    Setting {
        key: "n8n.<name>.press",
        default: Some("true"),
        sentence: "Whether keyward presses the test of this n8n's OpenAI credentials, to learn which key each of them holds.",
        allowed: "true or false",
        reading: Reading::OfInstance(InstanceField::Press),
    },
    Setting {
        key: "notices.<name>.to",
        default: None,
        sentence: "Where the URL stands that notices are posted to.",
        allowed: SOURCE,
        reading: Reading::OfReceiver(ReceiverField::To),
    },
    Setting {
        key: "notices.<name>.kind",
        default: Some("\"webhook\""),
        sentence: "What the receiver understands.",
        allowed: "webhook or slack",
        reading: Reading::OfReceiver(ReceiverField::Kind),
    },
    Setting {
        key: "notices.<name>.secret",
        default: None,
        sentence: "Where the secret stands that notices are signed with.",
        allowed: "{ file = \"…\" } or { env = \"…\" }, or a list of two of them",
        reading: Reading::OfReceiver(ReceiverField::Secret),
    },
    Setting {
        key: "notices.<name>.about",
        default: Some("[\"incident\", \"rotation\", \"key\", \"keyward\"]"),
        sentence: "What the receiver is told of.",
        allowed: "a list of incident, rotation, key and keyward",
        reading: Reading::OfReceiver(ReceiverField::About),
    },
    Setting {
        key: "notices.<name>.sets",
        default: Some("[]"),
        sentence: "The key sets that the receiver is told of; without any, all.",
        allowed: "a list of names of key sets, such as [\"default\"]",
        reading: Reading::OfReceiver(ReceiverField::Sets),
    },
    Setting {
        key: "notices.<name>.quiet",
        default: Some("\"20s\""),
        sentence: "How long something must last before it is told.",
        allowed: SPAN,
        reading: Reading::OfReceiver(ReceiverField::Quiet),
    },
    Setting {
        key: "notices.<name>.every",
        default: Some("\"5m\""),
        sentence: "How long after a notice the next one about the same comes at the earliest.",
        allowed: SPAN,
        reading: Reading::OfReceiver(ReceiverField::Every),
    },
    Setting {
        key: "notices.<name>.remind",
        default: Some("\"24h\""),
        sentence: "After how long what stays as it is, is told again; 0s for never.",
        allowed: SPAN,
        reading: Reading::OfReceiver(ReceiverField::Remind),
    },
    Setting {
        key: "notices.<name>.heartbeat",
        default: None,
        sentence: "The URL that is asked for again and again, so that a monitor sees that keyward is there.",
        allowed: "a table such as { every = \"5m\", to = { file = \"…\" } }, with a span from 10s to 3650d",
        reading: Reading::OfReceiver(ReceiverField::Heartbeat),
    },
    Setting {
        key: "log.format",
        default: None,
        sentence: "How log lines look: human for people, json for programs.",
        allowed: "human or json",
        reading: Reading::Value(|draft, text| put(&mut draft.log.format, parse::fit(text).map(Some))),
    },
    Setting {
        key: "log.level",
        default: Some("\"info\""),
        sentence: "The least important level that is written.",
        allowed: "error, warn, info, debug or trace",
        reading: Reading::Value(|draft, text| put(&mut draft.log.level, parse::fit(text))),
    },
    Setting {
        key: "log.file",
        default: None,
        sentence: "The file that the log goes to, which SIGHUP opens again.",
        allowed: PATH_OF_FILE,
        reading: Reading::Value(|draft, text| put(&mut draft.log.file, parse::path(text).map(Some))),
    },
    Setting {
        key: "admin.listen",
        default: Some("\"127.0.0.1:8081\""),
        sentence: "Where those who run keyward ask how it is, or off.",
        allowed: "an IP address and a port, such as 127.0.0.1:8081, or off",
        reading: Reading::Value(|draft, text| put(&mut draft.admin.listen, parse::address_or_off(text))),
    },
    Setting {
        key: "admin.token_file",
        default: None,
        sentence: "The file with the token that may ask and change everything.",
        allowed: PATH_OF_FILE,
        reading: Reading::Value(|draft, text| put(&mut draft.admin.token_file, parse::path(text).map(Some))),
    },
    Setting {
        key: "admin.read_token_file",
        default: None,
        sentence: "A file with a token that may ask everything and change nothing.",
        allowed: PATH_OF_FILE,
        reading: Reading::Value(|draft, text| put(&mut draft.admin.read_token_file, parse::path(text).map(Some))),
    },
    Setting {
        key: "admin.metrics",
        default: Some("\"token\""),
        sentence: "Whether /metrics wants a token, or is open to all who can reach it.",
        allowed: "token or open",
        reading: Reading::Value(|draft, text| put(&mut draft.admin.metrics, parse::fit(text))),
    },
    Setting {
        key: "admin.allow_host",
        default: Some("[]"),
        sentence: "The names by which the admin listener may be addressed, beside IP addresses and localhost.",
        allowed: "a list of names, perhaps with a port, such as [\"keyward:8081\"]",
        reading: Reading::List(|draft, text| put(&mut draft.admin.allow_host, parse::hosts(text))),
    },
    Setting {
        key: "state.dir",
        default: None,
        sentence: "The folder that keeps the fingerprint key and the fingerprints of tokens and revoked keys, never a key.",
        allowed: "the path of a folder",
        reading: Reading::Value(|draft, text| put(&mut draft.state.dir, parse::path(text))),
    },
    Setting {
        key: "store.url",
        default: None,
        sentence: "Where the ledger is kept: bindings, incidents, counts by the hour and the fingerprints of each set's keys.",
        allowed: "sqlite: and the path of a file, such as \"sqlite:/var/lib/keyward/keyward.db\", or off",
        reading: Reading::Value(|draft, text| put(&mut draft.store.url, parse::store(text))),
    },
    Setting {
        key: "store.retention",
        default: Some("\"90d\""),
        sentence: "How long the ledger remembers what happened, and bindings that are seen no more.",
        allowed: "a span from 1d to 3650d, such as 30d or 90d",
        reading: Reading::Value(|draft, text| put(&mut draft.store.retention, parse::retention(text))),
    },
    Setting {
        key: "store.max_bindings",
        default: Some("50000"),
        sentence: "How many bindings are remembered in all: workflows, nodes and untagged clients.",
        allowed: "a whole number, 1 or more",
        reading: Reading::Value(|draft, text| put(&mut draft.store.bounds.total, parse::count(text))),
    },
    Setting {
        key: "store.max_bindings_per_peer",
        default: Some("5000"),
        sentence: "How many of them one address may have in one key set.",
        allowed: "a whole number, 1 or more",
        reading: Reading::Value(|draft, text| put(&mut draft.store.bounds.per_peer, parse::count(text))),
    },
    Setting {
        key: "rotation.quiet",
        default: Some("\"1h\""),
        sentence: "How long an old key must not have been used before it can go.",
        allowed: SPAN,
        reading: Reading::Value(|draft, text| put(&mut draft.rotation.quiet, parse::span(text))),
    },
    Setting {
        key: "rotation.env_keys",
        default: None,
        sentence: "Whether n8n's credentials take their keys from the environment, as in {{ $env.OPENAI_KEY }}.",
        allowed: "true or false",
        reading: Reading::Value(|draft, text| put(&mut draft.rotation.env_keys, parse::fit(text).map(Some))),
    },
    Setting {
        key: "rotation.shared_address",
        default: None,
        sentence: "The addresses behind which several processes of n8n stand; where it is given, every other is one process.",
        allowed: NETWORKS,
        reading: Reading::List(|draft, text| put(&mut draft.rotation.shared_address, parse::networks(text).map(Some))),
    },
    Setting {
        key: "rotation.workers",
        default: Some("5"),
        sentence: "How many processes of n8n stand behind a shared address.",
        allowed: "a whole number from 1 to 25",
        reading: Reading::Value(|draft, text| put(&mut draft.rotation.workers, parse::processes(text))),
    },
];

/// A setting: what it is called, what it may be, and how its value is read.
#[derive(Debug)]
pub struct Setting {
    /// Its table and name: `proxy.listen`. `<set>` stands for the name of any key set.
    pub key: &'static str,
    /// What holds where nothing is set, as it would stand in the file; nothing where the code decides.
    pub default: Option<&'static str>,
    /// What it is, in one sentence.
    pub sentence: &'static str,
    /// What it may be, as it follows "Allowed: ".
    pub allowed: &'static str,
    pub(super) reading: Reading,
}

impl Setting {
    /// The table in the file: `proxy` of `proxy.listen`.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// The name inside its table: `listen` of `proxy.listen`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Whether there is one of it, and not one for each set, n8n or receiver.
    pub(super) fn stands_alone(&self) -> bool {
        matches!(self.reading, Reading::Value(_) | Reading::List(_))
    }

    /// The environment variables that set it: `KEYWARD_PROXY_LISTEN`. A key has one for each place where it may stand.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        match self.reading {
            Reading::Value(_) | Reading::List(_) => {
                vec![format!("{VARIABLE_PREFIX}{}", self.key.replace('.', "_").to_ascii_uppercase())]
            }
            Reading::OfSet(field) => set_variables(field, "<SET>").collect(),
            Reading::OfInstance(field) => instance_variables(field, "<NAME>").collect(),
            Reading::OfReceiver(field) => receiver_variables(field, "<NAME>").collect(),
        }
    }
}

/// How a setting is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// From one text, which goes to its place in the configuration.
    Value(fn(&mut Draft, &str) -> Result<(), Unfit>),
    /// The same from several texts, which commas part.
    List(fn(&mut Draft, &str) -> Result<(), Unfit>),
    /// As part of a key set; there may be many.
    OfSet(SetField),
    /// As part of an n8n; there may be several.
    OfInstance(InstanceField),
    /// As part of a receiver of notices; there may be several.
    OfReceiver(ReceiverField),
}

/// What a receiver of notices has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReceiverField {
    /// The place of its URL.
    To,
    Kind,
    /// The places of what it is signed with.
    Secret,
    About,
    Sets,
    Quiet,
    Every,
    Remind,
    Heartbeat,
}

impl ReceiverField {
    /// Its name in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::Kind => "kind",
            Self::Secret => "secret",
            Self::About => "about",
            Self::Sets => "sets",
            Self::Quiet => "quiet",
            Self::Every => "every",
            Self::Remind => "remind",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// What it may be, as it follows "Allowed: ".
    pub(super) fn allowed(self) -> &'static str {
        find(ANY_RECEIVER, self.name()).map_or("", |setting| setting.allowed)
    }
}

/// What the text of a receiver's variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiverVariable {
    /// Files with a secret in each.
    Files(ReceiverField),
    /// Variables with a secret in each.
    Envs(ReceiverField),
    /// How often the heartbeat is.
    HeartbeatEvery,
    Text(ReceiverField),
}

impl ReceiverVariable {
    pub(super) const fn field(self) -> ReceiverField {
        match self {
            Self::Files(field) | Self::Envs(field) | Self::Text(field) => field,
            Self::HeartbeatEvery => ReceiverField::Heartbeat,
        }
    }

    /// What it may be, as it follows "Allowed: ".
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Files(ReceiverField::Secret) => "paths of one or two files, with a comma between them",
            Self::Files(_) => PATH_OF_FILE,
            Self::Envs(ReceiverField::Secret) => "names of one or two environment variables, with a comma between them",
            Self::Envs(_) => "the name of an environment variable",
            Self::HeartbeatEvery => "a span from 10s to 3650d, such as 5m",
            Self::Text(field) => field.allowed(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InstanceField {
    Url,
    /// The place of its API's key.
    ApiKey,
    /// The key set of its credential.
    Set,
    /// How often it is asked.
    Refresh,
    /// Where it reaches keyward.
    Keyward,
    /// Whether the tests of its credential records are pressed.
    Press,
}

impl InstanceField {
    /// Its name in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::ApiKey => "api_key",
            Self::Set => "set",
            Self::Refresh => "refresh",
            Self::Keyward => "keyward",
            Self::Press => "press",
        }
    }

    /// What it may be, as it follows "Allowed: ".
    pub(super) fn allowed(self) -> &'static str {
        find(ANY_INSTANCE, self.name()).map_or("", |setting| setting.allowed)
    }
}

/// What the text of an n8n's variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstanceVariable {
    /// The file with its API's key.
    File,
    /// The variable with its API's key.
    Env,
    Text(InstanceField),
}

impl InstanceVariable {
    pub(super) const fn field(self) -> InstanceField {
        match self {
            Self::File | Self::Env => InstanceField::ApiKey,
            Self::Text(field) => field,
        }
    }

    /// What it may be, as it follows "Allowed: ".
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::File => PATH_OF_FILE,
            Self::Env => "the name of an environment variable",
            Self::Text(field) => field.allowed(),
        }
    }
}

/// What a key set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SetField {
    /// The places of its keys in that role.
    Keys(Role),
    Rule(Rule),
    Workflows,
    /// Its account at OpenAI.
    Admin,
}

/// A rule of a set, given as a text or a list of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// How long a previous key stays good.
    Grace,
    Policy,
    /// What is done about unknown keys.
    Unknown,
    /// Until when previous keys admit.
    InjectUntil,
    /// Addresses that are admitted.
    AllowFrom,
    AllowFromIsSafe,
}

impl Rule {
    /// Its name in the set's table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grace => "grace",
            Self::Policy => "policy",
            Self::Unknown => "unknown",
            Self::InjectUntil => "inject_until",
            Self::AllowFrom => "allow_from",
            Self::AllowFromIsSafe => "allow_from_is_safe",
        }
    }
}

impl SetField {
    /// Its name in the set's table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Keys(Role::Current) => "current",
            Self::Keys(Role::Next) => "next",
            Self::Keys(Role::Previous) => "previous",
            Self::Rule(rule) => rule.name(),
            Self::Workflows => "workflows",
            Self::Admin => "admin",
        }
    }
}

/// What a key is to its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The one current key.
    Current,
    /// The one that comes next.
    Next,
    /// Any of those before.
    Previous,
}

/// What the text of a set's variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetVariable {
    /// Files with keys in them.
    Files(Role),
    /// Variables with keys in them.
    Envs(Role),
    /// A rule; a list has commas.
    Rule(Rule),
}

impl SetVariable {
    /// What it may be, as it follows "Allowed: ".
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Files(Role::Current | Role::Next) => PATH_OF_FILE,
            Self::Files(Role::Previous) => "paths of files, with commas between them",
            Self::Envs(Role::Current | Role::Next) => "the name of an environment variable",
            Self::Envs(Role::Previous) => "names of environment variables, with commas between them",
            Self::Rule(rule) => find(ANY_SET, rule.name()).map_or("", |setting| setting.allowed),
        }
    }

    const fn field(self) -> SetField {
        match self {
            Self::Files(role) | Self::Envs(role) => SetField::Keys(role),
            Self::Rule(rule) => SetField::Rule(rule),
        }
    }
}

/// The setting of that name in that table.
pub(super) fn find(table: &str, name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.table() == table && setting.name() == name)
}

/// Whether a variable can only be meant for keyward: it begins like those of one of the tables.
pub(super) fn is_of_a_table(variable: &str) -> bool {
    let tables = SETTINGS.iter().map(|setting| setting.table().split('.').next().unwrap_or_default());
    tables
        .map(|table| format!("{VARIABLE_PREFIX}{}_", table.to_ascii_uppercase()))
        .any(|start| variable.starts_with(&start))
}

/// The variables that set a field of the set whose name in the environment is `set`.
pub(super) fn set_variables(field: SetField, set: &str) -> impl Iterator<Item = String> {
    SET_SUFFIXES
        .iter()
        .filter(move |(_, variable)| variable.field() == field)
        .map(move |(suffix, _)| format!("{SET_VARIABLE_PREFIX}{set}{suffix}"))
}

/// The variables that set a field of the n8n whose name in the environment is `name`.
pub(super) fn instance_variables(field: InstanceField, name: &str) -> impl Iterator<Item = String> {
    INSTANCE_SUFFIXES
        .iter()
        .filter(move |(_, variable)| variable.field() == field)
        .map(move |(suffix, _)| format!("{INSTANCE_VARIABLE_PREFIX}{name}{suffix}"))
}

/// The variables that set a field of the receiver whose name in the environment is `name`.
pub(super) fn receiver_variables(field: ReceiverField, name: &str) -> impl Iterator<Item = String> {
    RECEIVER_SUFFIXES
        .iter()
        .filter(move |(_, variable)| variable.field() == field)
        .map(move |(suffix, _)| format!("{RECEIVER_VARIABLE_PREFIX}{name}{suffix}"))
}

/// The table of all receivers of notices.
pub(super) const NOTICES: &str = "notices";

/// The table of any one of them.
pub(super) const ANY_RECEIVER: &str = "notices.<name>";

pub(super) const RECEIVER_VARIABLE_PREFIX: &str = "KEYWARD_NOTICES_";

/// How the variables of a receiver end, behind `KEYWARD_NOTICES_<NAME>`. Of two that fit, the longer one stands first.
pub(super) const RECEIVER_SUFFIXES: [(&str, ReceiverVariable); 13] = [
    ("_HEARTBEAT_TO_FILE", ReceiverVariable::Files(ReceiverField::Heartbeat)),
    ("_HEARTBEAT_TO_ENV", ReceiverVariable::Envs(ReceiverField::Heartbeat)),
    ("_HEARTBEAT_EVERY", ReceiverVariable::HeartbeatEvery),
    ("_TO_FILE", ReceiverVariable::Files(ReceiverField::To)),
    ("_TO_ENV", ReceiverVariable::Envs(ReceiverField::To)),
    ("_KIND", ReceiverVariable::Text(ReceiverField::Kind)),
    ("_SECRET_FILES", ReceiverVariable::Files(ReceiverField::Secret)),
    ("_SECRET_ENVS", ReceiverVariable::Envs(ReceiverField::Secret)),
    ("_ABOUT", ReceiverVariable::Text(ReceiverField::About)),
    ("_SETS", ReceiverVariable::Text(ReceiverField::Sets)),
    ("_QUIET", ReceiverVariable::Text(ReceiverField::Quiet)),
    ("_EVERY", ReceiverVariable::Text(ReceiverField::Every)),
    ("_REMIND", ReceiverVariable::Text(ReceiverField::Remind)),
];

/// The table of all n8n instances.
pub(super) const N8N: &str = "n8n";

/// The table of any one of them.
pub(super) const ANY_INSTANCE: &str = "n8n.<name>";

pub(super) const INSTANCE_VARIABLE_PREFIX: &str = "KEYWARD_N8N_";

/// How the variables of an n8n end, behind `KEYWARD_N8N_<NAME>`.
pub(super) const INSTANCE_SUFFIXES: [(&str, InstanceVariable); 7] = [
    ("_URL", InstanceVariable::Text(InstanceField::Url)),
    ("_API_KEY_FILE", InstanceVariable::File),
    ("_API_KEY_ENV", InstanceVariable::Env),
    ("_SET", InstanceVariable::Text(InstanceField::Set)),
    ("_REFRESH", InstanceVariable::Text(InstanceField::Refresh)),
    ("_KEYWARD", InstanceVariable::Text(InstanceField::Keyward)),
    ("_PRESS", InstanceVariable::Text(InstanceField::Press)),
];

/// The table of all sets.
pub(super) const KEYS: &str = "keys";

/// The table of any one set.
pub(super) const ANY_SET: &str = "keys.<set>";

pub(super) const VARIABLE_PREFIX: &str = "KEYWARD_";

pub(super) const SET_VARIABLE_PREFIX: &str = "KEYWARD_KEYS_";

/// Names the config file; the one variable that is no setting.
pub(super) const CONFIG_VARIABLE: &str = "KEYWARD_CONFIG";

/// How the variables of a set end, behind `KEYWARD_KEYS_<SET>`.
pub(super) const SET_SUFFIXES: [(&str, SetVariable); 12] = [
    ("_CURRENT_FILE", SetVariable::Files(Role::Current)),
    ("_CURRENT_ENV", SetVariable::Envs(Role::Current)),
    ("_NEXT_FILE", SetVariable::Files(Role::Next)),
    ("_NEXT_ENV", SetVariable::Envs(Role::Next)),
    ("_PREVIOUS_FILES", SetVariable::Files(Role::Previous)),
    ("_PREVIOUS_ENVS", SetVariable::Envs(Role::Previous)),
    ("_GRACE", SetVariable::Rule(Rule::Grace)),
    ("_POLICY", SetVariable::Rule(Rule::Policy)),
    ("_UNKNOWN", SetVariable::Rule(Rule::Unknown)),
    ("_INJECT_UNTIL", SetVariable::Rule(Rule::InjectUntil)),
    ("_ALLOW_FROM", SetVariable::Rule(Rule::AllowFrom)),
    ("_ALLOW_FROM_IS_SAFE", SetVariable::Rule(Rule::AllowFromIsSafe)),
];

const SPAN: &str = "a span from 0s to 3650d, such as 30s, 24h or 1h30m";

fn put<T>(place: &mut T, parsed: Result<T, Unfit>) -> Result<(), Unfit> {
    *place = parsed?;
    Ok(())
}

/// What a Base URL that leads to keyward may be.
pub(super) const BASE_URL: &str = "a URL such as http://keyward:8080, with nothing behind it or /v1";

const ADDRESS: &str =
    "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, or a port of this machine's own, such as 8080";
const PATH_OF_FILE: &str = "the path of a file";
const TIMEOUT: &str = "a span longer than 0s and up to 3650d, such as 250ms, 30s or 1h30m";
const POLICY: &str = "observe, enforce or inject";
const NETWORKS: &str = "a list of addresses and ranges, such as [\"10.1.2.0/24\", \"fd00::7\"]";
const MOMENT: &str = "a date and time with its offset, such as 2026-12-31T18:00:00Z";
const SOURCE: &str = "{ file = \"…\" } or { env = \"…\" }";
const KEY_SOURCE: &str = "{ file = \"…\" }, { env = \"…\" } or { command = [\"/…\", …] }";
const SOURCES: &str = "a list such as [{ file = \"…\" }, { env = \"…\" }]";

/// A field as people name it: `keys.default.current`.
pub(super) fn set_key(set: &str, field: SetField) -> String {
    format!("{}.{set}.{}", KEYS, field.name())
}

/// A field as people name it: `notices.team.to`.
pub(super) fn receiver_key(name: &str, field: ReceiverField) -> String {
    format!("{}.{name}.{}", NOTICES, field.name())
}

/// A field as people name it: `n8n.main.url`.
pub(super) fn instance_key(name: &str, field: InstanceField) -> String {
    format!("{}.{name}.{}", N8N, field.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_stands_there_once_with_what_people_need_to_know() {
        for setting in &SETTINGS {
            assert!(std::ptr::eq(find(setting.table(), setting.name()).expect("itself"), setting), "{}", setting.key);
            assert!(setting.sentence.ends_with('.') && !setting.allowed.ends_with('.'), "{}", setting.key);
        }
    }

    #[test]
    fn variables_are_made_from_keys() {
        #[track_caller]
        fn check(table: &str, name: &str, expected: &[&str]) {
            assert_eq!(find(table, name).expect("a setting").variables(), expected);
        }
        check("proxy", "connect_timeout", &["KEYWARD_PROXY_CONNECT_TIMEOUT"]);
        check("state", "dir", &["KEYWARD_STATE_DIR"]);
        check(ANY_SET, "grace", &["KEYWARD_KEYS_<SET>_GRACE"]);
        check(ANY_SET, "previous", &["KEYWARD_KEYS_<SET>_PREVIOUS_FILES", "KEYWARD_KEYS_<SET>_PREVIOUS_ENVS"]);
    }
}
