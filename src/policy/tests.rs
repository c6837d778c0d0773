//! Decisions: what each policy does about each verdict, and that nothing a stranger says gets more than saying nothing.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::*;
use crate::keys::fingerprint::FingerprintKey;
use crate::keys::rules::AllowedHost;
use crate::keys::rules::UnknownPolicy;
use crate::keys::set::{KeySet, Retired, Role, Word};
use crate::verdict;
use crate::verdict::credential::Credential;

const NOW: i64 = 1_000_000;

/// `sk-in-grace` is good until then.
const GRACE_ENDS: i64 = NOW + 1_000;

const N8N: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 18, 0, 5));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 18, 0, 6));

/// Keys and tokens of two sets; what each is called says what it is.
static RING: LazyLock<KeyRing> = LazyLock::new(ring);

fn ring() -> KeyRing {
    let set = |name: &str| KeySet { name: name.into(), learning: false, grace: Duration::ZERO };
    let ring = KeyRing::new(vec![set("default"), set("staging")], Arc::new(FingerprintKey::new(&[7; 32])));
    let staging = ring.find_set("staging").expect("a set");
    let previous = |until| {
        let retired = Retired { after: None, by: Timestamp::from_millis(NOW - 9_000) };
        Role::Previous { retired, grace_until: Timestamp::from_millis(until) }
    };
    let keys = [
        ("sk-current", SetIndex::DEFAULT, Role::Current),
        ("sk-next", SetIndex::DEFAULT, Role::Next),
        ("sk-in-grace", SetIndex::DEFAULT, previous(GRACE_ENDS)),
        ("sk-too-old", SetIndex::DEFAULT, previous(NOW)),
        ("sk-refused", SetIndex::DEFAULT, previous(GRACE_ENDS)),
        ("sk-leaked", SetIndex::DEFAULT, previous(GRACE_ENDS)),
        ("kw_default", SetIndex::DEFAULT, Role::Token),
        ("kw_revoked", SetIndex::DEFAULT, Role::Token),
        ("sk-staging", staging, Role::Current),
        ("sk-staging-in-grace", staging, previous(GRACE_ENDS)),
        ("sk-staging-too-old", staging, previous(NOW)),
        ("kw_staging", staging, Role::Token),
    ];
    let add = |ring: KeyRing, (text, set, role): (&str, _, _)| ring.with_key(text.parse().expect("a key"), set, role);
    let ring = keys.into_iter().fold(ring, add);
    let fingerprint = |text: &str| ring.names(text.as_bytes()).fingerprint;
    let refused = fingerprint("sk-refused");
    let revoked = ["sk-leaked", "kw_revoked", "sk-unlisted-leaked"].map(fingerprint);
    let ring = ring.with_word(refused, Word::Refused);
    revoked.into_iter().fold(ring, |ring, key| ring.with_revoked(key, Timestamp::from_millis(NOW - 1)))
}

/// A request as far as decisions go.
#[derive(Clone)]
struct Request {
    method: Method,
    headers: Vec<(&'static str, String)>,
    authority: Option<&'static str>,
    set: Option<&'static str>,
    workflow: Option<&'static str>,
    is_unclear: bool,
    peer: IpAddr,
    now: i64,
}

impl Request {
    fn bare() -> Self {
        Self {
            method: Method::POST,
            headers: Vec::new(),
            authority: None,
            set: None,
            workflow: None,
            is_unclear: false,
            peer: STRANGER,
            now: NOW,
        }
    }

    fn with_key(key: &str) -> Self {
        Self::bare().header("authorization", format!("Bearer {key}"))
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    fn from(self, peer: IpAddr) -> Self {
        Self { peer, ..self }
    }

    fn of_set(self, set: &'static str) -> Self {
        Self { set: Some(set), ..self }
    }

    fn of_workflow(self, workflow: &'static str) -> Self {
        Self { workflow: Some(workflow), ..self }
    }

    fn unclear(self) -> Self {
        Self { is_unclear: true, ..self }
    }

    fn at(self, now: i64) -> Self {
        Self { now, ..self }
    }

    /// What is done about it: `forward`, `inject <key>` or why it is refused.
    fn decided(&self, rules: &Rules) -> String {
        let (ring, mut headers) = (&*RING, HeaderMap::new());
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        let (uri, lines) = (Uri::from_static("/v1/models"), headers.into());
        let head = Head::new(&self.method, uri.path(), &lines);
        let now = Timestamp::from_millis(self.now);
        // As the exchange finds it: the tag or the path, else the set that lists the workflow.
        let listed = self.workflow.and_then(|workflow| rules.set_of_workflow(workflow));
        let listed = listed.and_then(SetIndex::nth);
        let declared = self.set.map(|set| ring.find_set(set).expect("a set"));
        let judgement = verdict::judge(&Credential::read(&head.fields), declared.or(listed), ring, now);
        let asked = Asked {
            judgement: &judgement,
            head: &head,
            authority: self.authority,
            workflow: self.workflow,
            set_is_unclear: self.is_unclear || (declared.is_some() && listed.is_some() && declared != listed),
            peer: self.peer,
            now,
        };
        match decide(&asked, rules, ring) {
            Action::Forward(permit) => match permit.injected() {
                None => "forward".to_owned(),
                Some(bearer) => bearer.expose_header().to_str().expect("text").replace("Bearer", "inject"),
            },
            Action::Refuse(refusal) => format!("{refusal:?}"),
        }
    }

    #[track_caller]
    fn check(&self, rules: &Rules, expected: &str) {
        assert_eq!(self.decided(rules), expected, "{:?} {:?} {:?}", self.headers, self.set, self.workflow);
    }
}

/// Both sets under one policy, `default` with changes.
fn rules(policy: Policy, change: impl FnOnce(&mut SetRules)) -> Rules {
    let set = SetRules { policy, ..SetRules::default() };
    let mut rules = Rules { sets: vec![set.clone(), set], ..Rules::default() };
    change(&mut rules.sets[0]);
    rules
}

fn as_is(policy: Policy) -> Rules {
    rules(policy, |_| {})
}

#[test]
fn each_policy_by_verdict() {
    #[track_caller]
    fn check(request: &Request, observed: &str, enforced: &str, injected: &str) {
        request.check(&as_is(Policy::Observe), observed);
        request.check(&as_is(Policy::Enforce), enforced);
        request.check(&as_is(Policy::Inject), injected);
    }
    let with_key = Request::with_key;
    check(&with_key("sk-current"), "forward", "forward", "forward");
    check(&with_key("sk-next"), "forward", "forward", "inject sk-current");
    check(&with_key("kw_default"), "forward", "inject sk-current", "inject sk-current");
    check(&with_key("kw_staging"), "forward", "inject sk-staging", "inject sk-staging");
    check(&with_key("sk-in-grace"), "forward", "forward", "inject sk-current");
    check(&with_key("sk-staging-in-grace"), "forward", "forward", "inject sk-staging");
    for stranger in [
        "sk-too-old",
        "sk-leaked",
        "kw_revoked",
        "sk-unlisted",
        "sk-unlisted-leaked",
        "kw_unlisted",
        "undefined",
        "",
        "Bearer sk-current",
        "\"sk-current\"",
        "sk-current sk-current",
        " sk-current",
    ] {
        check(&with_key(stranger), "forward", "Credential", "Credential");
    }
    check(&Request::bare(), "forward", "Credential", "Credential");
    check(&with_key("sk-current").of_set("staging"), "forward", "Credential", "Credential");
    check(&with_key("kw_default").of_set("staging"), "forward", "Credential", "Credential");
    check(&with_key("kw_staging").of_set("default"), "forward", "Credential", "Credential");
    check(&with_key("kw_default").header("api-key", "kw_staging"), "forward", "Credential", "Credential");
    check(&with_key("kw_default").header("authorization", "Bearer kw_default"), "forward", "Credential", "Credential");
    check(&with_key("kw_default").header("api-key", "kw_default"), "forward", "inject sk-current", "inject sk-current");
    // What upstream refuses it may refuse once more; but it gets no other key for it.
    check(&with_key("sk-refused"), "forward", "forward", "Credential");
}

#[test]
fn unknown_keys_pass_where_that_is_wanted_unless_they_are_compromised() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let forward = rules(policy, |set| set.unknown = Unknown::Forward);
        Request::with_key("sk-unlisted").check(&forward, "forward");
        Request::with_key("sk-unlisted-leaked").check(&forward, "Credential");
        Request::with_key("kw_unlisted").check(&forward, "Credential");
        Request::bare().check(&forward, "Credential");
        Request::with_key("sk-too-old").check(&forward, "Credential");
        Request::with_key("sk-leaked").check(&forward, "Credential");
        Request::with_key("sk-unlisted").of_set("staging").check(&forward, "Credential");
    }
}

#[test]
fn a_previous_key_gets_the_current_one_until_its_grace_ends_or_the_moment_that_is_set() {
    let in_grace = Request::with_key("sk-in-grace");
    let inject = as_is(Policy::Inject);
    in_grace.clone().at(GRACE_ENDS - 1).check(&inject, "inject sk-current");
    in_grace.clone().at(GRACE_ENDS).check(&inject, "Credential");
    let until = |moment| rules(Policy::Inject, |set| set.inject_until = Some(Timestamp::from_millis(moment)));
    let sooner = until(GRACE_ENDS - 500);
    in_grace.clone().at(GRACE_ENDS - 501).check(&sooner, "inject sk-current");
    in_grace.clone().at(GRACE_ENDS - 500).check(&sooner, "Credential");
    let later = until(GRACE_ENDS + 500);
    for key in ["sk-in-grace", "sk-too-old"] {
        Request::with_key(key).at(GRACE_ENDS + 499).check(&later, "inject sk-current");
        Request::with_key(key).at(GRACE_ENDS + 500).check(&later, "Credential");
    }
    for barred in ["sk-leaked", "sk-refused", "kw_revoked", "sk-staging-too-old"] {
        Request::with_key(barred).check(&later, "Credential");
    }
    in_grace
        .at(GRACE_ENDS)
        .check(&rules(Policy::Enforce, |set| set.inject_until = later.sets[0].inject_until), "Credential");
}

#[test]
fn an_address_admits_only_a_client_without_a_credential() {
    let allow = |policy| rules(policy, |set| set.allow_from = vec!["172.18.0.5/32".parse().expect("a range")]);
    let inject = allow(Policy::Inject);
    let nothing = Request::bare().from(N8N);
    let empties = ["Bearer", "Bearer ", "bearer", "Bearer   ", ""];
    let empty = |value: &str| Request::bare().header("authorization", value).from(N8N);
    nothing.check(&inject, "inject sk-current");
    for value in empties {
        empty(value).check(&inject, "inject sk-current");
        empty(value).from(STRANGER).check(&inject, "Credential");
    }
    nothing.clone().from(STRANGER).check(&inject, "Credential");
    nothing.clone().from("::1".parse().expect("an address")).check(&inject, "Credential");
    for value in ["Bearer undefined", "Bearer null", "Basic Og==", "Token x", "Bearer sk-unlisted", "Bearer sk-too-old"]
    {
        empty(value).check(&inject, "Credential");
    }
    nothing.clone().header("authorization", "").header("authorization", "").check(&inject, "Credential");
    for relay in ["via", "forwarded", "x-forwarded-for", "x-real-ip"] {
        nothing.clone().header(relay, "").check(&inject, "Credential");
        nothing.clone().header(relay, "172.18.0.5").check(&inject, "Credential");
        Request::with_key("kw_default").header(relay, "6.6.6.6").check(&inject, "inject sk-current");
    }
    nothing.clone().of_set("staging").check(&inject, "Credential");
    nothing.clone().of_set("default").check(&inject, "inject sk-current");
    nothing.clone().unclear().check(&inject, "UnclearSet");
    nothing.check(&allow(Policy::Enforce), "Credential");
    nothing.check(&allow(Policy::Observe), "forward");
}

#[test]
fn no_client_is_lent_a_key_of_a_set_that_is_not_clear() {
    for policy in [Policy::Enforce, Policy::Inject] {
        let rules = as_is(policy);
        Request::with_key("kw_default").unclear().check(&rules, "UnclearSet");
        Request::with_key("sk-current").unclear().check(&rules, "forward");
    }
    let inject = as_is(Policy::Inject);
    Request::with_key("sk-next").unclear().check(&inject, "UnclearSet");
    Request::with_key("sk-in-grace").unclear().check(&inject, "UnclearSet");
}

/// An upstream that answers TRACE sends back the head that it got (RFC 9110, 9.3.8).
#[test]
fn no_client_is_lent_a_key_to_have_it_sent_back() {
    let trace = |request: Request| request.method(Method::TRACE);
    let mut inject = as_is(Policy::Inject);
    inject.sets[0].allow_from = vec!["172.18.0.5/32".parse().expect("a range")];
    for key in ["kw_default", "sk-next", "sk-in-grace"] {
        trace(Request::with_key(key)).check(&inject, "Echo");
    }
    trace(Request::bare().from(N8N)).check(&inject, "Echo");
    trace(Request::with_key("kw_default")).check(&as_is(Policy::Enforce), "Echo");
    for policy in [Policy::Observe, Policy::Enforce, Policy::Inject] {
        trace(Request::with_key("sk-current")).check(&as_is(policy), "forward");
    }
}

#[test]
fn a_browser_is_served_for_the_pages_that_are_listed_and_no_others() {
    let mut inject = as_is(Policy::Inject);
    inject.sets[0].allow_from = vec!["172.18.0.5/32".parse().expect("a range")];
    inject.allow_origin = vec!["https://page.example".into(), "http://localhost:3000".into()];
    let token = |origin: &str| Request::with_key("kw_default").header("origin", origin);
    for origin in ["https://page.example", "HTTPS://Page.Example", "http://localhost:3000"] {
        token(origin).check(&inject, "inject sk-current");
        let preflight = preflight(origin).from(N8N);
        preflight.check(&inject, "forward");
        preflight.method(Method::GET).check(&inject, "inject sk-current");
    }
    for origin in [
        "null",
        "",
        "http://page.example",
        "https://page.example:443",
        "https://page.example:8443",
        "https://page.example/",
        "https://page.example.evil.example",
        "https://evil.page.example",
        "https://evilpage.example",
        "https://page.example, https://evil.example",
        "https://page.example https://evil.example",
        "https://page.exampl",
        "http://localhost",
        "file://",
    ] {
        token(origin).check(&inject, "Origin");
        Request::with_key("sk-current").header("origin", origin).check(&inject, "Origin");
        preflight(origin).from(N8N).check(&inject, "Origin");
    }
    token("https://page.example").header("origin", "https://page.example").check(&inject, "Origin");
    for policy in [Policy::Observe, Policy::Enforce] {
        Request::with_key("sk-current").header("origin", "https://evil.example").check(&as_is(policy), "forward");
    }
}

fn preflight(origin: &'static str) -> Request {
    let request = Request::bare().method(Method::OPTIONS).header("origin", origin);
    request.header("access-control-request-method", "POST")
}

#[test]
fn a_preflight_passes_for_the_pages_that_are_listed_under_every_policy() {
    let page = "https://page.example";
    for (policy, elsewhere) in [(Policy::Observe, "forward"), (Policy::Enforce, "Origin"), (Policy::Inject, "Origin")] {
        let mut rules = as_is(policy);
        rules.allow_origin = vec![page.into()];
        preflight(page).check(&rules, "forward");
        preflight("https://evil.example").check(&rules, elsewhere);
        // With a credential, or without the question, it is a request as any other.
        let bare = Request::bare().method(Method::OPTIONS).header("origin", page);
        bare.check(&rules, if policy == Policy::Observe { "forward" } else { "Credential" });
    }
}

#[test]
fn a_host_that_is_not_listed_is_refused_whatever_the_policy() {
    let host = |name: &str, port| AllowedHost { host: name.into(), port };
    for policy in [Policy::Observe, Policy::Enforce, Policy::Inject] {
        let mut rules = as_is(policy);
        Request::with_key("sk-current").header("host", "anything").check(&rules, "forward");
        Request::with_key("sk-current").check(&rules, "forward");
        rules.allow_host = vec![host("keyward", None), host("10.0.0.1", Some(8080)), host("[::1]", None)];
        let named = |name: &str| Request::with_key("sk-current").header("host", name);
        for name in ["keyward", "KeyWard", "keyward:1", "keyward:8080", "10.0.0.1:8080", "[::1]", "[::1]:80"] {
            named(name).check(&rules, "forward");
        }
        for name in [
            "",
            "evil",
            "keyward.",
            "keyward.evil",
            "evil.keyward",
            "keywardevil",
            "keyward:",
            "keyward:x",
            "keyward:99999",
            "keyward:80@evil",
            "keyward@evil",
            "keyward/",
            "keyward,evil",
            "10.0.0.1",
            "10.0.0.1:80",
            "::1",
            "[::1",
        ] {
            named(name).check(&rules, "Host");
        }
        Request::with_key("sk-current").check(&rules, "Host");
        named("keyward").header("host", "keyward").check(&rules, "Host");
        named("keyward").header("host", "evil").check(&rules, "Host");
        let target = |authority, name: &str| Request { authority: Some(authority), ..named(name) };
        target("keyward:8080", "evil").check(&rules, "forward");
        target("evil", "keyward").check(&rules, "Host");
        target("keyward@evil", "keyward").check(&rules, "Host");
        target("user:keyward@evil", "keyward").check(&rules, "Host");
    }
}

#[test]
fn a_workflows_exception_tightens() {
    let except = |policy| rules(policy, |set| set.workflows = [("w1".into(), Policy::Enforce)].into());
    let observe = except(Policy::Observe);
    Request::with_key("sk-unlisted").check(&observe, "forward");
    Request::with_key("sk-unlisted").of_workflow("w2").check(&observe, "forward");
    Request::with_key("sk-unlisted").of_workflow("w1").check(&observe, "Credential");
    Request::with_key("sk-current").of_workflow("w1").check(&observe, "forward");
    let inject = except(Policy::Inject);
    Request::with_key("sk-in-grace").check(&inject, "inject sk-current");
    Request::with_key("sk-in-grace").of_workflow("w1").check(&inject, "forward");
    Request::with_key("kw_default").of_workflow("w1").check(&inject, "inject sk-current");
    Request::with_key("kw_default").of_workflow("w1").of_set("staging").check(&inject, "Credential");
}

/// Whatever a stranger declares, and whatever the rules are: it goes no further than without a word, and a claim lends
/// no key. Only a token speaks for itself, for it stands for its set's key.
#[test]
fn a_claim_never_loosens() {
    let credentials = [
        "sk-current",
        "sk-next",
        "sk-in-grace",
        "sk-too-old",
        "sk-refused",
        "sk-leaked",
        "kw_default",
        "kw_revoked",
        "kw_staging",
        "sk-staging",
        "sk-staging-in-grace",
        "sk-staging-too-old",
        "sk-unlisted",
        "sk-unlisted-leaked",
        "kw_unlisted",
        "undefined",
    ];
    let mut requests: Vec<_> = credentials.into_iter().map(Request::with_key).collect();
    requests.push(Request::bare());
    requests.extend(requests.clone().into_iter().map(|request| request.header("origin", "https://evil.example")));
    let claims: [fn(Request) -> Request; 8] = [
        |request| request.of_set("staging"),
        |request| request.of_set("default"),
        |request| request.of_workflow("w-default"),
        |request| request.of_workflow("w-staging"),
        |request| request.of_workflow("w-of-no-set"),
        |request| request.of_set("staging").of_workflow("w-default"),
        |request| request.of_set("staging").of_workflow("w-staging"),
        |request| request.unclear(),
    ];
    let sooner = Some(Timestamp::from_millis(NOW - 1));
    for_each_pair_of_rules(sooner, |rules| {
        for request in &requests {
            let (silent, is_token) =
                (request.decided(rules), request.headers.iter().any(|(_, key)| key.contains("kw_")));
            for claim in claims {
                let claiming = claim(request.clone());
                let claimed = claiming.decided(rules);
                let is_lent = claimed.starts_with("inject");
                let said = (&claiming.headers, claiming.set, claiming.workflow);
                assert!(!is_lent || is_token || silent == claimed, "{said:?}: {silent}, {claimed}: {:#?}", rules.sets);
                let was_refused = silent == "Credential" || silent == "Origin";
                let goes_on = claimed == "forward" || is_lent;
                assert!(!was_refused || !goes_on, "{said:?}: {silent}, {claimed}: {:#?}", rules.sets);
            }
        }
    });
}

/// All that two sets may be told to do, as far as the configuration lets them.
fn for_each_pair_of_rules(inject_until: Option<Timestamp>, mut then: impl FnMut(&Rules)) {
    let each = |workflow: &str| {
        let mut all = Vec::new();
        for (policy, inject_until) in
            [(Policy::Observe, None), (Policy::Enforce, None), (Policy::Inject, None), (Policy::Inject, inject_until)]
        {
            for unknown in [Unknown::Refuse, Unknown::Forward] {
                for exception in [policy, Policy::Enforce] {
                    let workflows = [(workflow.into(), exception)].into();
                    all.push(SetRules { policy, unknown, inject_until, workflows, ..SetRules::default() });
                }
            }
        }
        all
    };
    for default in each("w-default") {
        for staging in each("w-staging") {
            then(&Rules { sets: vec![default.clone(), staging], ..Rules::default() });
        }
    }
}

#[test]
fn codes_stand_at_their_positions_and_policies_read_back() {
    let codes = [
        (as_it_came(), "forward"),
        (Action::Refuse(Refusal::Host), "refuse"),
        (Action::Forward(Permit { instead: RING.bearer(SetIndex::DEFAULT).cloned() }), "inject"),
    ];
    for (action, code) in codes {
        assert_eq!(action.code(), code);
    }
    for policy in [Policy::Observe, Policy::Enforce, Policy::Inject] {
        assert_eq!(policy.name().parse(), Ok(policy));
        for exception in [Policy::Observe, Policy::Enforce, Policy::Inject] {
            let expected = exception == policy || exception == Policy::Enforce;
            assert_eq!(policy.may_tighten_to(exception), expected);
        }
    }
    for text in ["", "Observe", "inject ", "deny"] {
        assert_eq!(text.parse::<Policy>(), Err(UnknownPolicy));
    }
}
