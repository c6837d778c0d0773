//! Who is let in to the admin listener: every route tried without a token, with a wrong one and with one that may only read;
//! hosts, origins, sessions; and the end of a token.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use keyward::admin::MetricsFor;
use keyward::admin::routes::{Needs, ROUTES, Route};
use keyward::page::assets::STYLE;

use crate::process::Home;
use crate::support::{
    API_KEY, Answer, Builder, Client, FakeN8n, FakeUpstream, Framing, TestProxy, eventually, head_of,
};

const READ: &str = "read-read-read-read-read-read-read-read";
const WRONG: &str = "kw_admin_0123456789abcdef0123456789abcdef0123456789A";

/// Each route as a request, with a text for each part in braces.
fn requests() -> Vec<(&'static Route, String)> {
    let filled = |path: &str| {
        path.replace("{link}", "unknown")
            .replace("{set}", "default")
            .replace("{binding}", "0123456789")
            .replace("{execution}", "7")
            .replace("{key}", "00000000000000000000000000000000")
            .replace("{n8n}", "main")
            .replace("{credential}", "c1")
            .replace("{asset}", &STYLE.name)
    };
    ROUTES.iter().map(|route| (route, filled(route.path))).collect()
}

/// The same, with a binding that there is.
fn requests_for(proxy: &TestProxy) -> Vec<(&'static Route, String)> {
    proxy.get("/v1/models").key("sk-of-some-other-key-0123").header("X-N8N-Tag", "wf=w1").logged();
    let bindings: serde_json::Value = serde_json::from_slice(&proxy.admin("/api/v1/bindings").body).unwrap();
    let binding = bindings["bindings"][0]["binding"].as_str().unwrap();
    requests().into_iter().map(|(route, target)| (route, target.replace("0123456789", binding))).collect()
}

fn read_only(builder: Builder) -> Builder {
    let file = builder.file("read.token", READ);
    builder.admin(|admin| admin.read_token_file = Some(file))
}

fn start() -> TestProxy {
    read_only(TestProxy::with(&FakeUpstream::accepting())).start()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The head alone: a stream of events has no end.
fn status(proxy: &TestProxy, method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
    ask(proxy, method, target, headers).status
}

fn ask(proxy: &TestProxy, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    if !["/api/v1/events", "/watch"].contains(&target) {
        return proxy.ask_admin(method, target, headers);
    }
    let mut client = proxy.admin_client();
    let host = proxy.admin_address().to_string();
    let named = headers.iter().any(|(name, _)| *name == "Host");
    let host = [("Host", host.as_str())].into_iter().filter(|_| !named);
    client.send(head_of(method, target, &host.chain(headers.iter().copied()).collect::<Vec<_>>()));
    let head = client.head();
    let status = head.line.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: Vec::new(), whole: true }
}

/// The code of a problem, after a look at its form.
#[track_caller]
fn problem(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["status"], answer.status);
    problem["type"].as_str().unwrap().trim_start_matches("urn:keyward:problem:").to_owned()
}

#[test]
fn every_route_but_bare_health_is_closed_without_a_token() {
    let proxy = start();
    for (route, target) in requests() {
        for headers in [&[][..], &[("Authorization", &*bearer(WRONG))], &[("Cookie", "keyward_session=a; b=c")]] {
            // Many of them at once would be told no more than that.
            proxy.advance(Duration::from_secs(1));
            let answer = ask(&proxy, route.method, &target, headers);
            let expected = if route.needs == Needs::Nothing { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{} {target} {headers:?}", route.method);
            assert!(expected == 200 || answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")));
        }
    }
    let answer = proxy.ask_admin("GET", "/api/v1/status", &[]);
    assert_eq!(problem(&answer), "token_missing");
    assert!(answer.text().contains("keyward open"), "it says what to do: {}", answer.text());
}

#[test]
fn a_client_without_a_token_learns_nothing_of_what_there_is() {
    let proxy = start();
    let unknown = ["/nothing", "/api/v1/nothing", "/api/v1", "/metrics/", "/healthz/x", "/api/v1/status/x", "//"];
    for target in unknown {
        assert_eq!(problem(&proxy.ask_admin("GET", target, &[])), "token_missing", "{target}");
        assert_eq!(problem(&proxy.admin(target)), "not_found", "{target}");
    }
    for (route, target) in requests().iter().filter(|(route, _)| route.path.starts_with("/api/")) {
        let other = if route.method == "GET" { "POST" } else { "GET" };
        assert_eq!(problem(&proxy.ask_admin(other, target, &[])), "token_missing", "{other} {target}");
        let answer = proxy.ask_admin(other, target, &[("Authorization", &proxy.admin_bearer())]);
        assert_eq!(problem(&answer), "method_not_allowed", "{other} {target}");
        assert!(answer.header("allow").is_some_and(|allowed| allowed.contains(route.method)));
    }
}

#[test]
fn a_token_that_may_only_read_changes_nothing() {
    let upstream = FakeUpstream::accepting();
    let n8n = FakeN8n::start();
    let proxy = read_only(TestProxy::with(&upstream).n8n("main", n8n.origin(), API_KEY)).start();
    for (route, target) in requests_for(&proxy).into_iter().filter(|(route, _)| route.needs != Needs::Link) {
        let (read, write) = (bearer(READ), proxy.admin_bearer());
        let answer = ask(&proxy, route.method, &target, &[("Authorization", &read)]);
        if route.method == "GET" {
            // There is no doubt with that number, which the token may ask for.
            let status = if route.path == "/api/v1/doubts/{doubt}" { 404 } else { 200 };
            assert_eq!(answer.status, status, "{target}");
        } else {
            assert_eq!((answer.status, &*problem(&answer)), (403, "read_only"), "{target}");
        }
        // There is no doubt with that number, but the token may ask for it.
        let target = target.replace("/accept", "/accept?reason=it").replace("/mute", "/mute?seconds=0");
        // Nor is any receiver of notices configured, nor a current key with that fingerprint.
        let target = target.replace("/checked", "/checked?word=refused&key=00000000000000000000000000000000");
        // What is said of a key need be of no set.
        let target = target.replace("/expiry", "/expiry?id=key_1");
        let is_missing = ["/doubts/", "/notices/test", "/checked"].iter().any(|part| target.contains(part));
        // And nothing here reads a configuration again.
        let expected = match (is_missing, target.ends_with("/reload")) {
            (true, _) => 404..405,
            (false, true) => 503..504,
            (false, false) => 200..300,
        };
        let status = status(&proxy, route.method, &target, &[("Authorization", &write)]);
        assert!(expected.contains(&status), "{target}: {status}");
    }
}

#[test]
fn a_token_is_taken_in_one_form_alone() {
    let proxy = start();
    let check = |value: &str, expected| {
        let answer = proxy.ask_admin("GET", "/api/v1/status", &[("Authorization", value)]);
        assert_eq!(answer.status, expected, "{value}");
    };
    check(&bearer(READ), 200);
    check(&format!("bearer {READ}"), 200);
    check(&format!("Bearer  {READ}"), 200);
    for wrong in [
        READ.to_owned(),
        format!("Basic {READ}"),
        format!("Bearer {READ}x"),
        bearer(&READ[1..]),
        format!("Bearer {READ} {READ}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
    ] {
        check(&wrong, 401);
    }
    let twice = [("Authorization", &*bearer(READ)), ("Authorization", &bearer(READ))];
    assert_eq!(proxy.ask_admin("GET", "/api/v1/status", &twice).status, 401);
    let target = format!("/api/v1/status?token={READ}");
    assert_eq!(proxy.ask_admin("GET", &target, &[]).status, 401, "a token in a URL would stand in logs");
}

#[test]
fn a_page_that_points_its_own_name_here_gets_nothing() {
    let allowed = keyward::keys::rules::AllowedHost { host: "keyward".into(), port: None };
    let proxy = TestProxy::with(&FakeUpstream::accepting()).admin(|admin| admin.allow_host = vec![allowed]).start();
    let token = proxy.admin_bearer();
    for (route, target) in requests() {
        let answer = ask_exactly(&proxy, route, &target, &[("Host", "evil.example"), ("Authorization", &token)]);
        let expected = if route.needs == Needs::Nothing { 200 } else { 403 };
        assert_eq!(answer, expected, "{target}: probes may call it what they like");
    }
    for (host, expected) in [("keyward:8081", 200), ("localhost:1", 200), ("[::1]", 200), ("keyward.evil", 403)] {
        let answer = proxy.ask_admin("GET", "/api/v1/status", &[("Host", host), ("Authorization", &token)]);
        assert_eq!(answer.status, expected, "{host}");
    }
    let answer = proxy.ask_admin_exactly("GET", "/api/v1/status", &[("Host", "evil"), ("Authorization", &token)]);
    assert_eq!(problem(&answer), "host_not_allowed");
    assert!(answer.text().contains("allow_host"), "{}", answer.text());
}

fn ask_exactly(proxy: &TestProxy, route: &Route, target: &str, headers: &[(&str, &str)]) -> u16 {
    proxy.ask_admin_exactly(route.method, target, headers).status
}

#[test]
fn a_page_of_another_origin_gets_nothing() {
    let proxy = start();
    let token = proxy.admin_bearer();
    for (route, target) in requests().into_iter().filter(|(route, _)| route.needs != Needs::Nothing) {
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let answer = proxy.ask_admin(route.method, &target, &[("Origin", origin), ("Authorization", &token)]);
            assert_eq!(answer.status, 403, "{origin} {target}");
        }
        let preflight = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")];
        assert_eq!(proxy.ask_admin("OPTIONS", &target, &preflight).status, 403);
    }
    let own = format!("http://{}", proxy.admin_address());
    let answer = proxy.ask_admin("GET", "/api/v1/status", &[("Origin", &own), ("Authorization", &token)]);
    assert_eq!(answer.status, 200);
}

#[test]
fn every_answer_is_sealed() {
    let proxy = start();
    let token = proxy.admin_bearer();
    for (route, target) in requests() {
        for headers in [&[][..], &[("Authorization", &*token)], &[("Host", "evil.example")]] {
            let answer = ask(&proxy, route.method, &target, headers);
            let said = |name| answer.header(name).unwrap_or_default();
            let kept = if target.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-store" };
            assert_eq!((said("cache-control"), said("x-content-type-options")), (kept, "nosniff"), "{target}");
            assert_eq!((said("x-frame-options"), said("referrer-policy")), ("DENY", "no-referrer"), "{target}");
            let policy = said("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{target}: {policy}");
            assert!(
                policy.contains("frame-ancestors 'none'; require-trusted-types-for 'script'"),
                "{target}: {policy}"
            );
            assert_eq!(said("cross-origin-resource-policy"), "same-origin", "{target}");
            let raw = String::from_utf8_lossy(&answer.head.raw).to_ascii_lowercase();
            assert!(!raw.contains("access-control-"), "{target}: nothing is shared with other origins");
        }
    }
}

#[test]
fn a_link_lets_the_browser_in_that_opens_it_first() {
    let proxy = start();
    let path = make_link(&proxy);
    let opened = proxy.ask_admin("GET", &path, &[]);
    assert_eq!(opened.status, 200);
    let cookie = opened.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
    let name = format!("keyward_session_{}=", proxy.admin_address().port());
    assert!(cookie.starts_with(&name), "browsers tell no ports apart: {cookie}");
    assert_eq!(proxy.ask_admin("GET", &path, &[]).status, 401, "it works once");
    let cookie = format!("other=1; {}; more=2", cookie.split(';').next().unwrap());
    let session = ("Cookie", &*cookie);
    let page = proxy.ask_admin("GET", "/", &[session]);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("Is all well?"), "{}", page.text());
    assert_eq!(proxy.ask_admin("GET", "/api/v1/status", &[session]).status, 200);
    let own = ("Sec-Fetch-Site", "same-origin");
    assert_eq!(proxy.ask_admin("GET", "/api/v1/status", &[session, own]).status, 200);
    for site in ["cross-site", "same-site"] {
        let answer = proxy.ask_admin("GET", "/api/v1/status", &[session, ("Sec-Fetch-Site", site)]);
        assert_eq!(answer.status, 401, "another page had the browser ask: {site}");
    }
    for (route, target) in requests().iter().filter(|(route, _)| route.method == "POST") {
        assert_eq!(problem(&proxy.ask_admin("POST", target, &[session])), "read_only", "{}", route.path);
    }
    let both = [session, ("Authorization", &*bearer(WRONG))];
    assert_eq!(proxy.ask_admin("GET", "/api/v1/status", &both).status, 401, "a wrong token counts for more");
    proxy.advance(Duration::from_hours(12));
    assert_eq!(proxy.ask_admin("GET", "/", &[session]).status, 401, "it ends");
}

/// As a chat program does that shows what is behind a link.
#[test]
fn a_look_at_a_link_does_not_use_it_up() {
    let proxy = start();
    let path = make_link(&proxy);
    for method in ["HEAD", "OPTIONS", "POST", "TRACE"] {
        let answer = proxy.ask_admin(method, &path, &[]);
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{method}");
    }
    let refused = proxy.ask_admin("HEAD", &path, &[("Authorization", &proxy.admin_bearer())]);
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")));
    assert_eq!(proxy.ask_admin("GET", &path, &[]).status, 200);
}

#[test]
fn a_look_at_the_events_follows_nothing() {
    let proxy = start();
    let mut client = proxy.admin_client();
    let head = [("Host", "127.0.0.1"), ("Authorization", &proxy.admin_bearer())];
    // More than may follow at a time, all on one connection.
    for _ in 0..40 {
        client.send(head_of("HEAD", "/api/v1/events", &head));
        assert_eq!(client.answer_to_head().status, 200);
    }
    assert_eq!(status(&proxy, "GET", "/api/v1/events", &[("Authorization", &proxy.admin_bearer())]), 200);
}

#[test]
fn a_link_ends_after_a_minute() {
    let proxy = start();
    let path = make_link(&proxy);
    proxy.advance(Duration::from_mins(1));
    let answer = proxy.ask_admin("GET", &path, &[]);
    assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
    assert!(answer.text().contains("keyward open"), "{}", answer.text());
}

#[track_caller]
fn make_link(proxy: &TestProxy) -> String {
    let made = proxy.ask_admin("POST", "/api/v1/links", &[("Authorization", &proxy.admin_bearer())]);
    let link: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    link["path"].as_str().expect("a path").to_owned()
}

#[test]
fn the_end_of_a_token_is_the_end_of_all_that_came_with_it() {
    let upstream = FakeUpstream::accepting();
    let proxy = read_only(TestProxy::with(&upstream)).start();
    let mut stream = follow(&proxy, READ);
    let opened = proxy.ask_admin("GET", &make_link(&proxy), &[]);
    let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let other = "other-other-other-other-other-other-other";
    proxy.swap("read.token", other);
    let mut said = String::new();
    while let Ok(Some(piece)) = stream.piece(&mut Framing::Chunked) {
        said.push_str(&String::from_utf8(piece).unwrap());
    }
    assert!(said.ends_with("event: end\ndata: {\"reason\":\"token_ended\"}\n\n"), "{said}");
    assert_eq!(status(&proxy, "GET", "/api/v1/status", &[("Authorization", &bearer(READ))]), 401);
    assert_eq!(status(&proxy, "GET", "/api/v1/status", &[("Authorization", &bearer(other))]), 200);
    assert_eq!(status(&proxy, "GET", "/", &[("Cookie", &cookie)]), 200, "it began with the other token");
    let before = proxy.admin_bearer();
    proxy.swap("state/admin.token", "");
    let out = || status(&proxy, "GET", "/api/v1/status", &[("Authorization", &before)]) == 401;
    eventually("the end of the admin token", || out().then_some(()));
    assert_eq!(status(&proxy, "GET", "/", &[("Cookie", &cookie)]), 401);
    assert_eq!(status(&proxy, "GET", "/api/v1/status", &[("Authorization", "Bearer ")]), 401, "empty is no token");
}

fn follow(proxy: &TestProxy, token: &str) -> Client {
    let mut client = proxy.admin_client();
    let host = proxy.admin_address();
    client.send(format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"));
    assert!(client.head().line.contains(" 200 "));
    client
}

#[test]
fn the_metrics_are_open_where_the_settings_say_so_and_nothing_else_is() {
    let open = |admin: &mut keyward::admin::Settings| admin.metrics = MetricsFor::Anyone;
    let proxy = TestProxy::with(&FakeUpstream::accepting()).admin(open).start();
    for (route, target) in requests().into_iter().filter(|(route, _)| route.needs != Needs::Nothing) {
        let expected = if route.needs == Needs::Metrics { 200 } else { 401 };
        assert_eq!(status(&proxy, route.method, &target, &[]), expected, "{target}");
    }
    assert_eq!(proxy.ask_admin("GET", "/metrics", &[("Host", "evil.example")]).status, 403);
}

#[test]
fn the_token_is_made_at_the_first_start_for_its_owner_alone_and_kept() {
    let home = Home::new();
    let keyward = home.serve().start();
    let token = keyward.admin_token();
    let mode = std::fs::metadata(home.state().join("admin.token")).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, token.len()), (0o600, 52));
    assert_eq!(keyward.admin("/api/v1/status").status, 200);
    let stopped = keyward.stop();
    assert!(!stopped.stdout.contains(&token[9..]) && !stopped.stderr.contains(&token[9..]), "it is never told");
    let again = home.serve().start();
    assert_eq!((again.admin_token(), again.admin("/api/v1/status").status), (token, 200));
}

#[test]
fn where_there_is_no_admin_listener_there_is_no_token() {
    let home = Home::new();
    drop(home.serve().env("KEYWARD_ADMIN_LISTEN", "off").start());
    assert!(home.state().exists() && !home.state().join("admin.token").exists());
}

#[test]
fn a_token_that_might_be_guessed_is_refused_at_the_start() {
    for (name, text, said) in [
        ("short", "only-thirty-one-characters-long", "shorter than 32 characters"),
        ("empty", "\n", "it is empty"),
        ("spaced", "a token with spaces in it, which is long enough", "not visible ASCII at position 1"),
        ("missing", "", "cannot be read"),
    ] {
        let home = Home::new();
        if name != "missing" {
            home.write(name, text);
        }
        for setting in ["token_file", "read_token_file"] {
            let finished = home.serve().config(&format!("[admin]\n{setting} = \"{name}\"\n")).run();
            assert_eq!(finished.code(), Some(1), "{setting} {name}");
            assert!(finished.stderr.contains(said) && finished.stderr.contains(name), "{}", finished.stderr);
            assert!(text.trim().is_empty() || !finished.stderr.contains(text), "{}", finished.stderr);
        }
    }
}

#[test]
fn traffic_goes_on_where_no_token_can_be_made_and_the_api_is_closed() {
    let home = Home::new();
    std::fs::create_dir_all(home.path(".local/state")).unwrap();
    home.write(".local/state/keyward", "a file in the way");
    let keyward = home.serve().start();
    assert!(keyward.log().contains("the admin listener accepts no token"), "{}", keyward.log());
    assert_eq!((keyward.admin("/healthz").status, keyward.admin("/api/v1/status").status), (200, 503));
}

#[test]
fn a_link_of_the_command_line_opens_the_running_keyward() {
    let home = Home::new();
    let keyward = home.serve().start();
    let launch = || home.keyward(&["open"]).env("KEYWARD_ADMIN_LISTEN", &keyward.admin.to_string());
    let opened = launch().run();
    assert_eq!(opened.code(), Some(0), "{}", opened.stderr);
    let url = opened.stdout.trim_end();
    let path = url.strip_prefix(&format!("http://{}", keyward.admin)).expect("its address");
    assert!(!opened.stdout.contains(&keyward.admin_token()) && !opened.stderr.contains(&keyward.admin_token()));
    let page = keyward.admin(path);
    assert!(page.status == 200 && page.header("set-cookie").is_some(), "{:?}", page.head);
    let address = keyward.admin.to_string();
    drop(keyward.stop());
    let alone = home.keyward(&["open"]).env("KEYWARD_ADMIN_LISTEN", &address).run();
    assert_eq!(alone.code(), Some(1));
    assert!(alone.stderr.contains("no keyward runs at") && alone.stderr.contains(&address), "{}", alone.stderr);
}
