//! A keyward in this process, with an own folder, an own log and a clock that the test moves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keyward::admin;
use keyward::app::Server;
use keyward::clock::{Clock, Timestamp};
use keyward::config::Config;
use keyward::keys::access::Token;
use keyward::keys::fingerprint::{Fingerprint, Hint};
use keyward::keys::rules::Policy;
use keyward::keys::rules::{Rules, SetRules};
use keyward::keys::source::Source;
use keyward::keys::state::StateFolder;
use keyward::keys::{self, SetSettings, state};
use keyward::ledger::{proof, store};
use keyward::n8n::address::Address;
use keyward::n8n::{self, Instance};
use keyward::net::limits::Limits;
use keyward::net::origin::Upstream;
use keyward::notices::{self, Receiver, ReceiverKind, Timing, Topic};
use keyward::request_path::BasePath;
use keyward::server::{self, ServerTls};
use keyward::telemetry::{self, Format};
use serde_json::Value;

use super::certificate::Certificate;
use super::client::{Answer, Client};
use super::eventually;
use super::upstream::FakeUpstream;

pub const CURRENT: &str = "sk-proj-current-0123456789abcdefCuRr";
pub const NEXT: &str = "sk-proj-next-0123456789abcdefghijNeXt";
pub const OUTDATED: &str = "sk-proj-outdated-0123456789abcdefOuTd";
pub const UNLISTED: &str = "sk-proj-unlisted-0123456789abcdefUnLi";
pub const TOKEN: &str = "kw_0123456789abcdefghijklmnopqrstuvwxyz-_AToKn";

/// A running keyward. Dropping it ends it.
pub struct TestProxy {
    server: Option<Server>,
    listen: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
    current: Option<Source>,
    now: Arc<AtomicI64>,
    folder: tempfile::TempDir,
}

/// A keyward that is still being described.
pub struct Builder {
    folder: tempfile::TempDir,
    sets: Vec<SetSettings>,
    rules: Rules,
    settings: server::Settings,
    admin: admin::Settings,
    level: telemetry::Level,
    n8n: n8n::Settings,
    store: store::Settings,
    rotation: proof::Settings,
    notices: notices::Settings,
}

impl TestProxy {
    /// When every test begins: 2026-11-23T08:00:00Z.
    pub const START: i64 = 1_795_420_800_000;

    /// One that sends requests to `upstream`. Without keys, its set `default` learns.
    pub fn with(upstream: &FakeUpstream) -> Builder {
        Self::towards(upstream.origin())
    }

    /// One that sends requests there, whether anybody is there or not.
    pub fn towards(upstream: Upstream) -> Builder {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Builder {
            folder: tempfile::tempdir().unwrap(),
            sets: vec![SetSettings::learning("default")],
            rules: Rules { sets: vec![SetRules::default()], ..Rules::default() },
            settings: server::Settings { listen, upstream, workers: 1, ..server::Settings::default() },
            admin: admin::Settings { listen: Some(listen), ..admin::Settings::default() },
            level: telemetry::Level::default(),
            n8n: n8n::Settings::default(),
            store: store::Settings::default(),
            rotation: proof::Settings::default(),
            notices: notices::Settings::default(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.listen)
    }

    /// Over TLS, if it shows that certificate.
    #[track_caller]
    pub fn connect_securely(&self, certificate: &Certificate) -> Client {
        Client::secure(self.listen, certificate).unwrap()
    }

    /// Puts another text into a file that it was given, in one stroke.
    pub fn swap(&self, name: &str, text: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.folder.path().join(name)).unwrap();
    }

    /// The server itself, to stop it.
    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Waits until everything has ended, and gives all that the log says of exchanges.
    pub fn join(mut self) -> Vec<Value> {
        self.server.take().unwrap().join();
        self.lines()
    }

    /// Ends it, and gives all that the log says of exchanges.
    pub fn end(self) -> Vec<Value> {
        self.server().end();
        self.join()
    }

    /// Puts another current key where keyward reads that of `default`, and waits until it is taken.
    #[track_caller]
    pub fn rotate(&self, key: &str) {
        let Some(Source::File(path)) = &self.current else { panic!("`default` has no declared current key") };
        std::fs::write(path.with_extension("new"), key).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
        // An answer to OPTIONS says nothing of a key, so that asking changes nothing.
        let request = self.request("OPTIONS", "/v1/rotated").key(key);
        eventually("the new key", || (request.send().header("x-keyward-verdict") == Some("current")).then_some(()));
    }

    /// Leaves nothing where keyward reads the current key of `default`.
    pub fn spoil_current_key(&self) {
        let Some(Source::File(path)) = &self.current else { panic!("`default` has no declared current key") };
        std::fs::write(path, "").unwrap();
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.now.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// The log's line of the exchange that had this answer.
    #[track_caller]
    pub fn line(&self, answer: &Answer) -> Value {
        let id = answer.header("x-keyward-id").expect("an exchange's answer");
        eventually("a line in the log", || self.lines().into_iter().find(|line| line["id"] == id))
    }

    /// The log's line of the only exchange so far.
    #[track_caller]
    pub fn only_line(&self) -> Value {
        let lines = self.lines_of(1);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.into_iter().next().unwrap()
    }

    /// The log's lines, once there are that many.
    #[track_caller]
    pub fn lines_of(&self, exchanges: usize) -> Vec<Value> {
        eventually("lines in the log", || Some(self.lines()).filter(|lines| lines.len() >= exchanges))
    }

    /// What the log says of exchanges up to now; a line that is still being written is left out. What else there is to say
    /// goes to the log of the first keyward in this process: a test that looks for that needs a process of its own.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.log_text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
        lines.filter(|line: &Value| line["event"] == "exchange").collect()
    }

    /// The log, byte for byte.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What the admin listener answers to the token that may ask everything.
    pub fn admin(&self, target: &str) -> Answer {
        self.ask_admin("GET", target, &[("Authorization", &self.admin_bearer())])
    }

    /// What the admin listener says to a request with just those headers and its own address as `Host`.
    pub fn ask_admin(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let host = self.admin.to_string();
        let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = [("Host", host.as_str())].into_iter().filter(|_| !named);
        self.ask_admin_exactly(method, target, &host.chain(headers.iter().copied()).collect::<Vec<_>>())
    }

    /// The same without any header of its own.
    pub fn ask_admin_exactly(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut client = self.admin_client();
        client.send(head_of(method, target, &[headers, &[("Connection", "close")]].concat()));
        if method == "HEAD" { client.answer_to_head() } else { client.answer() }
    }

    /// `Authorization` with the token that may ask everything.
    pub fn admin_bearer(&self) -> String {
        let token = std::fs::read_to_string(self.folder.path().join("state/admin.token"));
        format!("Bearer {}", token.unwrap_or_default())
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A connection to the admin listener.
    pub fn admin_client(&self) -> Client {
        Client::connect(self.admin)
    }

    /// The value of a metric, written as in the exposition: `keyward_bytes_total{direction="in"}`; without its labels, the
    /// sum over all of them. Zero if it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").text();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        text.lines().filter(of_name).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// How many exchanges of set `default` were forwarded and ended so.
    pub fn exchanges(&self, verdict: &str, outcome: &str) -> u64 {
        let labels = format!("set=\"default\",verdict=\"{verdict}\",action=\"forward\",outcome=\"{outcome}\"");
        self.metric(&format!("keyward_exchanges_total{{{labels}}}"))
    }
}

/// The head of a request, byte for byte.
pub fn head_of(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        head.extend([name.as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    [head.as_slice(), b"\r\n"].concat()
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.end();
            server.join();
        }
    }
}

// === impl Builder ===

impl Builder {
    pub fn current_key(self, key: &str) -> Self {
        self.current_key_of("default", key)
    }

    pub fn next_key(mut self, key: &str) -> Self {
        self.sets[0].next = Some(self.source(key));
        self
    }

    pub fn previous_key(mut self, key: &str) -> Self {
        let source = self.source(key);
        self.sets[0].previous.push(source);
        self
    }

    pub fn grace(mut self, grace: Duration) -> Self {
        self.sets[0].grace = grace;
        self
    }

    /// With that current key in the set of that name.
    pub fn current_key_of(mut self, set: &str, key: &str) -> Self {
        let current = Some(self.source(key));
        if let Some(known) = self.sets.iter_mut().find(|known| &*known.name == set) {
            known.current = current;
            return self;
        }
        self.sets.push(SetSettings { current, ..SetSettings::learning(set) });
        self.rules.sets.push(SetRules::default());
        self
    }

    /// With a set of that name that learns its current key.
    pub fn learning_set(mut self, set: &str) -> Self {
        self.sets.push(SetSettings::learning(set));
        self.rules.sets.push(SetRules::default());
        self
    }

    /// With that token of the set of that name.
    pub fn token(self, set: &str, text: &str) -> Self {
        self.make_token(set, text, None)
    }

    /// With a token of the set of that name that was revoked.
    pub fn revoked_token(self, set: &str, text: &str) -> Self {
        self.make_token(set, text, Some(Timestamp::from_millis(TestProxy::START)))
    }

    /// With that key called compromised, whatever it is to its set.
    pub fn revoked_key(self, key: &str) -> Self {
        let fingerprint = self.fingerprint(key);
        let revoke = self
            .state()
            .change_access(|access| access.revoke_key(fingerprint, Timestamp::from_millis(TestProxy::START)));
        assert!(revoke.unwrap(), "it was revoked already");
        self
    }

    /// With that policy in every set so far, and these changes of the rules of `default`.
    pub fn policy(mut self, policy: Policy, change: impl FnOnce(&mut SetRules)) -> Self {
        self.rules.sets.iter_mut().for_each(|rules| rules.policy = policy);
        change(&mut self.rules.sets[0]);
        self
    }

    /// With these changes of the rules.
    pub fn rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    /// Where it listens; by default, at a port of 127.0.0.1.
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.settings.listen = listen;
        self
    }

    /// Speaking HTTP/2 to upstream, if it takes that.
    pub fn upstream_http2(mut self) -> Self {
        self.settings.upstream_http2 = true;
        self
    }

    /// With these changes of the admin listener's settings.
    pub fn admin(mut self, change: impl FnOnce(&mut admin::Settings)) -> Self {
        change(&mut self.admin);
        self
    }

    /// With its ledger in memory alone.
    pub fn without_store(mut self) -> Self {
        self.store.url = store::Url::Off;
        self
    }

    /// With its ledger in that file.
    pub fn store(mut self, file: &Path) -> Self {
        self.store.url = store::Url::Sqlite(file.to_owned());
        self
    }

    /// With that fingerprint key, so that a store of another one with it is its own.
    pub fn fingerprint_key(self, key: [u8; 32]) -> Self {
        self.state();
        std::fs::write(self.state_settings().dir.join("fingerprint.key"), key).unwrap();
        self
    }

    /// With that n8n, whose API has that key.
    pub fn n8n(mut self, name: &str, origin: Upstream, key: &str) -> Self {
        let (url, api_key) = (Address { origin, path: "".into() }, self.source(key));
        let instance = Instance {
            name: name.into(),
            url,
            api_key,
            set: None,
            refresh: Instance::REFRESH,
            keyward: None,
            press: true,
            via: None,
        };
        self.n8n.instances.push(instance);
        self
    }

    /// Tells a receiver of notices at that URL, without waiting before it does.
    pub fn receiver(self, name: &str, url: &str) -> Self {
        self.receiver_that(name, url, |_| {})
    }

    /// The same with more settings.
    pub fn receiver_that(mut self, name: &str, url: &str, change: impl FnOnce(&mut Receiver)) -> Self {
        let mut receiver = Receiver {
            name: name.into(),
            to: self.source(url),
            kind: ReceiverKind::Webhook,
            secrets: Vec::new(),
            topics: Topic::ALL.to_vec(),
            sets: Vec::new(),
            timing: Timing { quiet: Duration::ZERO, ..Timing::default() },
            heartbeat: None,
        };
        change(&mut receiver);
        self.notices.receivers.push(receiver);
        self
    }

    /// Without presses of its n8n's tests.
    pub fn without_presses(mut self) -> Self {
        self.n8n.instances.iter_mut().for_each(|instance| instance.press = false);
        self
    }

    /// With nothing less important than that in the log.
    pub fn log_level(mut self, level: telemetry::Level) -> Self {
        self.level = level;
        self
    }

    /// With that text in a file of that name, whose path this gives.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers;
        self
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.settings.limits);
        self
    }

    /// With upstream's API under that path.
    pub fn base_path(mut self, path: &str) -> Self {
        self.settings.base_path = BasePath::new(path);
        self
    }

    /// With these certificates (PEM) to trust, and no others.
    pub fn trusting(mut self, certificates: &str) -> Self {
        let path = self.folder.path().join("ca.pem");
        std::fs::write(&path, certificates).unwrap();
        self.settings.upstream_ca = Some(path);
        self
    }

    /// With that certificate for clients, in the files `tls.crt` and `tls.key`.
    pub fn certificate(mut self, certificate: &Certificate) -> Self {
        let write = |name, text| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        self.settings.tls =
            ServerTls { cert: write("tls.crt", &certificate.cert), key: write("tls.key", &certificate.key) };
        self
    }

    /// With load balancers in these ranges.
    pub fn balancers(mut self, ranges: &[&str]) -> Self {
        self.settings.proxy_protocol_from = ranges.iter().map(|range| range.parse().unwrap()).collect();
        self
    }

    /// An old key can go after it was not used for that long.
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.rotation.quiet = quiet;
        self
    }

    pub fn start(self) -> TestProxy {
        let log = self.folder.path().join("exchanges.log");
        let config = self.config(&log);
        let now = Arc::new(AtomicI64::new(TestProxy::START));
        let server = Server::start(&config, Clock::Chosen(Arc::clone(&now))).unwrap();
        let (listen, admin) = (server.listen(), server.admin().unwrap());
        let current = self.sets[0].current.clone();
        TestProxy { server: Some(server), listen, admin, log, current, now, folder: self.folder }
    }

    fn config(&self, log: &Path) -> Config {
        Config {
            accounts: keyward::rotate::account::Settings::default(),
            notices: self.notices.clone(),
            proxy: self.settings.clone(),
            keys: keys::Settings { sets: self.sets.clone(), takes_vendors: false },
            n8n: self.n8n.clone(),
            log: telemetry::Settings { format: Some(Format::Json), file: Some(log.to_owned()), level: self.level },
            admin: self.admin.clone(),
            rules: self.rules.clone(),
            state: self.state_settings(),
            store: self.store.clone(),
            rotation: self.rotation.clone(),
            ignored: Vec::new(),
        }
    }

    fn make_token(self, set: &str, text: &str, revoked: Option<Timestamp>) -> Self {
        let (fingerprint, hint, set) = (self.fingerprint(text), Hint::of(text.as_bytes()), set.into());
        let made = Timestamp::from_millis(TestProxy::START);
        let token = Token { fingerprint, hint, set, name: None, made, revoked, replaced: None };
        self.state().change_access(|access| access.tokens.push(token)).unwrap();
        self
    }

    fn fingerprint(&self, text: &str) -> Fingerprint {
        self.state().fingerprint_key().unwrap().fingerprint(text.as_bytes())
    }

    fn state(&self) -> StateFolder {
        StateFolder::open(&self.state_settings()).unwrap()
    }

    fn state_settings(&self) -> state::Settings {
        state::Settings { dir: self.folder.path().join("state") }
    }

    /// A file with that key.
    fn source(&self, key: &str) -> Source {
        let number = std::fs::read_dir(self.folder.path()).unwrap().count();
        let path = self.folder.path().join(format!("key-{number}"));
        std::fs::write(&path, format!("{key}\n")).unwrap();
        Source::File(path)
    }
}
