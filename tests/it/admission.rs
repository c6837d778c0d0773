//! Who gets the current key, and in how many ways one stays a stranger.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use keyward::clock::Timestamp;
use keyward::keys::rules::AllowedHost;
use keyward::keys::rules::Policy;

use crate::support::{
    Answer, Answering, Builder, CURRENT, Client, FakeUpstream, NEXT, OUTDATED, Request, TOKEN, TestProxy, UNLISTED,
    eventually,
};

const GRACE: Duration = Duration::from_hours(1);

const STAGING: &str = "sk-proj-staging-0123456789abcdefgStAg";

const STAGING_TOKEN: &str = "kw_abcdefghijklmnopqrstuvwxyz0123456789-_StToK";

const REVOKED_TOKEN: &str = "kw_zyxwvutsrqponmlkjihgfedcba9876543210-_ReVoK";

// === Ways in ===

#[test]
fn a_token_a_next_and_a_previous_key_in_grace_get_the_current_one() {
    let (upstream, proxy) = injecting(|builder| builder.grace(GRACE));
    for (name, value) in [
        ("Authorization", format!("Bearer {TOKEN}")),
        ("Authorization", format!("Bearer {NEXT}")),
        ("Authorization", format!("Bearer {OUTDATED}")),
        ("Authorization", format!("BEARER {TOKEN}")),
        ("Authorization", basic("", TOKEN)),
        ("Authorization", basic("anybody", TOKEN)),
        ("api-key", TOKEN.to_owned()),
        ("Sec-WebSocket-Protocol", format!("realtime, openai-insecure-api-key.{TOKEN}")),
        // What stands around a header's value is not part of it (RFC 9110, 5.5).
        ("Authorization", format!("Bearer {TOKEN}  \t")),
        ("Authorization", format!("\t Bearer {TOKEN}")),
    ] {
        check_lent(&upstream, &proxy.post("/v1/responses").header(name, &value).body("{}"));
    }
    proxy.advance(GRACE.saturating_sub(Duration::from_millis(1)));
    check_lent(&upstream, &proxy.get("/v1/models").key(OUTDATED));
    proxy.advance(Duration::from_millis(1));
    check_turned_away(&upstream, &proxy.get("/v1/models").key(OUTDATED), "stale_binding");
    check_lent(&upstream, &proxy.get("/v1/models").key(TOKEN));
}

#[test]
fn the_current_key_needs_nothing_and_gets_nothing() {
    let (upstream, proxy) = injecting(|builder| builder);
    let line = proxy.get("/v1/models").key(CURRENT).logged();
    assert_eq!((&line["action"], &line["verdict"]), (&"forward".into(), &"current".into()));
    assert_eq!(upstream.only_received().head.header("authorization"), Some(&*format!("Bearer {CURRENT}")));
}

#[test]
fn a_previous_key_admits_until_the_moment_that_is_set_and_not_a_millisecond_longer() {
    let until = |proxy: Builder, span: i64| {
        proxy.rules(|rules| rules.sets[0].inject_until = Some(Timestamp::from_millis(TestProxy::START + span)))
    };
    // Without a grace, and within one that would last longer.
    for grace in [Duration::ZERO, GRACE] {
        let (upstream, proxy) = injecting(|builder| until(builder.grace(grace), 60_000));
        let request = proxy.get("/v1/models").key(OUTDATED);
        let mut kept = proxy.connect();
        let mut on_kept = || {
            kept.send(request.bytes());
            kept.answer().status
        };
        check_lent(&upstream, &request);
        assert_eq!(on_kept(), 200);
        proxy.advance(Duration::from_millis(59_999));
        check_lent(&upstream, &request);
        assert_eq!(on_kept(), 200);
        proxy.advance(Duration::from_millis(1));
        check_turned_away(&upstream, &request, "stale_binding");
        assert_eq!(on_kept(), 401, "a connection that was admitted is not admitted for ever");
    }
}

#[test]
fn a_client_without_a_credential_is_admitted_from_an_allowed_address() {
    let (upstream, proxy) = allowing("127.0.0.1/32");
    check_lent(&upstream, &proxy.get("/v1/models"));
    for empty in ["Bearer", "Bearer ", "bearer", "Bearer  \t", ""] {
        check_lent(&upstream, &proxy.get("/v1/models").header("Authorization", empty));
    }
    check_lent(&upstream, &proxy.get("/v1/models").header("api-key", ""));
    check_lent(&upstream, &proxy.get("/v1/models").header("Sec-WebSocket-Protocol", "openai-insecure-api-key."));
    check_lent(&upstream, &proxy.get("/set/default/n8n/w1/716/n1/v1/models"));
    for (own, is_admitted) in [([127, 0, 0, 1], true), ([127, 0, 0, 2], false), ([127, 1, 0, 1], false)] {
        let mut client = Client::connect_from(IpAddr::from(own), proxy.address());
        client.send(proxy.get("/v1/models").bytes());
        assert_eq!(client.answer().status, if is_admitted { 200 } else { 401 }, "{own:?}");
    }
}

/// A socket for both families, as in `listen = "[::]:8080"`, shows IPv4 clients as `::ffff:127.0.0.1`.
#[test]
fn an_address_is_the_same_whichever_way_it_is_shown() {
    let upstream = FakeUpstream::accepting();
    let proxy = || {
        let builder =
            TestProxy::with(&upstream).current_key(CURRENT).listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        builder.policy(Policy::Inject, |set| set.allow_from = vec!["127.0.0.1/32".parse().unwrap()])
    };
    let proxy = proxy().start();
    let ask = |own: IpAddr, address: IpAddr| {
        let mut client = Client::connect_from(own, SocketAddr::from((address, proxy.address().port())));
        client.send(proxy.get("/v1/models").bytes());
        client.answer()
    };
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let answer = ask(v4, v4);
    assert_eq!(answer.status, 200);
    assert_eq!(proxy.line(&answer)["peer"], "127.0.0.1");
    assert_eq!(ask(IpAddr::from([127, 0, 0, 2]), v4).status, 401);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let answer = ask(v6, v6);
    assert_eq!((answer.status, proxy.line(&answer)["peer"].as_str()), (401, Some("::1")));
}

#[test]
fn a_browser_gets_the_key_for_a_listed_page_alone_and_its_preflight_gets_none() {
    let (upstream, proxy) = injecting(|builder| builder);
    check_lent(&upstream, &proxy.get("/v1/models").key(TOKEN).header("Origin", PAGE));
    let before = upstream.received().len();
    let preflight = proxy.request("OPTIONS", "/v1/responses").header("Origin", PAGE);
    let preflight = preflight.header("Access-Control-Request-Headers", "authorization");
    let preflight = preflight.header("Access-Control-Request-Method", "POST");
    assert_eq!(preflight.send().status, 200);
    let received = upstream.received().split_off(before);
    assert_eq!((received.len(), received[0].head.header("authorization")), (1, None));
}

#[test]
fn an_absolute_target_outranks_the_host() {
    let (upstream, proxy) = injecting(|builder| builder);
    let request =
        format!("GET http://keyward/v1/models HTTP/1.1\r\nHost: evil\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let mut client = proxy.connect();
    client.send(request);
    assert_eq!(client.answer().status, 200);
    let head = upstream.only_received().head;
    assert_eq!((&*head.line, head.header("host")), ("GET /v1/models HTTP/1.1", Some(&*upstream.authority())));
}

// === Strangers ===

#[test]
fn who_brings_nothing_gets_nothing() {
    let door = Door::open();
    door.check([
        ("no credential", door.get().bytes(), "missing_header"),
        ("an empty bearer", door.credential("Bearer"), "malformed_empty"),
        ("an empty bearer and a space", door.credential("Bearer "), "malformed_empty"),
        ("an empty header", door.credential(""), "malformed_empty"),
        ("an empty api-key", door.get().header("api-key", "").bytes(), "malformed_empty"),
        ("an empty password", door.credential(&basic("", "")), "malformed_scheme"),
        ("undefined", door.key("undefined"), "malformed_undefined"),
        ("null", door.key("null"), "malformed_null"),
    ]);
}

#[test]
fn a_token_or_key_that_is_not_quite_one_admits_no_client() {
    let door = Door::open();
    let line = door.get().key(CURRENT).logged();
    let fingerprint = line["fingerprint"].as_str().unwrap();
    door.check([
        ("another token", door.key("kw_0000000000000000000000000000000000000000000"), "unlisted_key"),
        ("a token cut short", door.key(&TOKEN[..TOKEN.len() - 1]), "unlisted_key"),
        ("a token without its mark", door.key(&TOKEN[3..]), "unlisted_key"),
        ("the mark alone", door.key("kw_"), "unlisted_key"),
        ("a token and more", door.key(&format!("{TOKEN}A")), "unlisted_key"),
        ("a token twice over", door.key(&format!("{TOKEN}{TOKEN}")), "unlisted_key"),
        ("a token in capitals", door.key(&TOKEN.to_uppercase()), "unlisted_key"),
        ("a token with its first byte changed", door.changed(0), "unlisted_key"),
        ("a token with its last byte changed", door.changed(TOKEN.len() - 1), "unlisted_key"),
        ("a token that is percent-encoded", door.key(&TOKEN.replace('_', "%5F")), "unlisted_key"),
        ("a token with a comma", door.key(&format!("{TOKEN},")), "unlisted_key"),
        ("a token that was revoked", door.key(REVOKED_TOKEN), "unlisted_key"),
        ("a key that no set has", door.key(UNLISTED), "unlisted_key"),
        ("a previous key after its grace", door.key(OUTDATED), "stale_binding"),
        ("the current key cut short", door.key(&CURRENT[..CURRENT.len() - 1]), "unlisted_key"),
        ("the current key in capitals", door.key(&CURRENT.to_uppercase()), "unlisted_key"),
        ("the current key's fingerprint", door.key(fingerprint), "unlisted_key"),
        (
            "what the log shows of a token",
            door.get().header("Authorization", "Bearer kw_\u{2026}ToKn").bytes(),
            "unlisted_key",
        ),
    ]);
}

#[test]
fn no_client_is_lent_the_key_of_a_set_that_is_anothers_or_not_clear() {
    let door = Door::open();
    door.check([
        (
            "a token of another set than the tag's",
            door.get().key(STAGING_TOKEN).header("X-N8N-Tag", "wf=w;set=default").bytes(),
            "wrong_set",
        ),
        (
            "a token of another set than the path's",
            door.proxy.get("/set/default/v1/models").key(STAGING_TOKEN).bytes(),
            "wrong_set",
        ),
        ("a token, its tag naming another set", door.tagged("wf=w;set=staging"), "wrong_set"),
        ("a token, its path naming another set", door.at("/set/staging/v1/models"), "wrong_set"),
        ("a token, its workflow listed in another set", door.tagged("wf=of-staging"), "wrong_set"),
        ("the same by the single header", door.token().header("X-N8N-Workflow-Id", "of-staging").bytes(), "wrong_set"),
        ("the same by the path", door.at("/n8n/of-staging/v1/models"), "wrong_set"),
        (
            "the same by the organization",
            door.token().header("OpenAI-Organization", "n8n-of-staging-7").bytes(),
            "wrong_set",
        ),
        (
            "a key of another set than the tag's",
            door.get().key(STAGING).header("X-N8N-Tag", "wf=w;set=default").bytes(),
            "wrong_set",
        ),
        ("a set that does not exist, by path", door.at("/set/nowhere/v1/models"), "unclear_set"),
        ("a set that does not exist, by tag", door.tagged("wf=w;set=nowhere"), "unclear_set"),
        ("a set in other letters", door.at("/set/Default/v1/models"), "unclear_set"),
        ("a set that is percent-encoded", door.at("/set/%64efault/v1/models"), "unclear_set"),
        (
            "tag and path disagree",
            door.proxy.get("/set/staging/v1/models").key(TOKEN).header("X-N8N-Tag", "wf=w;set=default").bytes(),
            "unclear_set",
        ),
        ("path and workflows disagree", door.at("/set/default/n8n/of-staging/v1/models"), "unclear_set"),
        ("tag and workflows disagree", door.tagged("wf=of-staging;set=default"), "unclear_set"),
        (
            "a workflow with an exception, without a credential",
            door.get().header("X-N8N-Tag", "wf=tight").bytes(),
            "missing_header",
        ),
        (
            "the same with a previous key",
            door.get().key(OUTDATED).header("X-N8N-Tag", "wf=tight").bytes(),
            "stale_binding",
        ),
    ]);
}

#[test]
fn no_client_comes_from_where_it_says_it_does() {
    let door = Door::open();
    door.check([
        ("X-Forwarded-For", door.get().header("X-Forwarded-For", "127.0.0.1").bytes(), "missing_header"),
        ("X-Real-IP", door.get().header("X-Real-IP", "127.0.0.1").bytes(), "missing_header"),
        ("Forwarded", door.get().header("Forwarded", "for=127.0.0.1").bytes(), "missing_header"),
        ("Via", door.get().header("Via", "1.1 n8n").bytes(), "missing_header"),
        ("True-Client-IP", door.get().header("True-Client-IP", "127.0.0.1").bytes(), "missing_header"),
        (
            "keyward's own headers",
            door.get().header("X-Keyward-Verdict", "token").header("X-Keyward-Id", "1").bytes(),
            "missing_header",
        ),
        (
            "the PROXY protocol",
            raw("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\nGET /v1/models HTTP/1.1\nHost: keyward\n\n"),
            "400",
        ),
        ("the PROXY protocol in binary", [PROXY_V2, &door.get().bytes()[..]].concat(), "400"),
    ]);
}

/// A page that rebinds its name to keyward's address, and a client that takes keyward for a relay.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn a_client_that_calls_keyward_by_another_name_is_sent_away() {
    let door = Door::open();
    door.check([
        (
            "another host",
            raw("GET /v1/models HTTP/1.1\nHost: evil\nAuthorization: Bearer TOKEN\n\n"),
            "host_not_allowed",
        ),
        ("no host", raw("GET /v1/models HTTP/1.1\nAuthorization: Bearer TOKEN\n\n"), "ambiguous_request"),
        ("no host in HTTP/1.0", raw("GET /v1/models HTTP/1.0\nAuthorization: Bearer TOKEN\n\n"), "host_not_allowed"),
        (
            "two hosts",
            raw("GET /v1/models HTTP/1.1\nHost: keyward\nHost: evil\nAuthorization: Bearer TOKEN\n\n"),
            "ambiguous_request",
        ),
        (
            "a list of hosts",
            raw("GET /v1/models HTTP/1.1\nHost: keyward, evil\nAuthorization: Bearer TOKEN\n\n"),
            "host_not_allowed",
        ),
        (
            "a host with a user",
            raw("GET /v1/models HTTP/1.1\nHost: keyward@evil\nAuthorization: Bearer TOKEN\n\n"),
            "host_not_allowed",
        ),
        (
            "a host that begins alike",
            raw("GET /v1/models HTTP/1.1\nHost: keyward.evil\nAuthorization: Bearer TOKEN\n\n"),
            "host_not_allowed",
        ),
        (
            "X-Forwarded-Host",
            raw("GET /v1/models HTTP/1.1\nHost: evil\nX-Forwarded-Host: keyward\nAuthorization: Bearer TOKEN\n\n"),
            "host_not_allowed",
        ),
        (
            "an absolute target elsewhere",
            raw("GET http://evil/v1/models HTTP/1.1\nHost: keyward\nAuthorization: Bearer TOKEN\n\n"),
            "host_not_allowed",
        ),
        (
            "an absolute target with a user",
            raw("GET http://keyward@evil/v1/models HTTP/1.1\nHost: keyward\nAuthorization: Bearer TOKEN\n\n"),
            "ambiguous_request",
        ),
        (
            "an authority as target",
            raw("GET evil:80 HTTP/1.1\nHost: keyward\nAuthorization: Bearer TOKEN\n\n"),
            "ambiguous_request",
        ),
        (
            "CONNECT",
            raw("CONNECT api.openai.com:443 HTTP/1.1\nHost: keyward\nAuthorization: Bearer TOKEN\n\n"),
            "not_a_proxy",
        ),
    ]);
}

#[test]
fn pages_that_are_not_listed_are_sent_away() {
    let door = Door::open();
    door.check([
        ("a page that is not listed", door.of_page("https://evil.example"), "origin_not_allowed"),
        ("an opaque page", door.of_page("null"), "origin_not_allowed"),
        ("an empty origin", door.of_page(""), "origin_not_allowed"),
        ("a page whose name ends alike", door.of_page("https://evilpage.example"), "origin_not_allowed"),
        ("a page below the listed one", door.of_page("https://evil.page.example"), "origin_not_allowed"),
        ("a page whose name begins alike", door.of_page("https://page.example.evil.example"), "origin_not_allowed"),
        ("a page at another port", door.of_page("https://page.example:8443"), "origin_not_allowed"),
        ("a page over plain HTTP", door.of_page("http://page.example"), "origin_not_allowed"),
        ("two pages in one header", door.of_page("https://page.example https://evil.example"), "origin_not_allowed"),
        ("two origins", door.token().header("Origin", PAGE).header("Origin", PAGE).bytes(), "origin_not_allowed"),
        (
            "an origin that is named as a hop",
            door.token().header("Origin", "https://evil.example").header("Connection", "origin").bytes(),
            "origin_not_allowed",
        ),
        (
            "a preflight of another page",
            door.proxy.request("OPTIONS", "/v1/models").header("Origin", "https://evil.example").bytes(),
            "origin_not_allowed",
        ),
        (
            "a page that names a workflow with an exception",
            door.token().header("Origin", "null").header("X-N8N-Tag", "wf=tight").bytes(),
            "origin_not_allowed",
        ),
        ("a listed page without a credential", door.get().header("Origin", PAGE).bytes(), "missing_header"),
        (
            "a WebSocket of another page",
            door.token()
                .header("Origin", "null")
                .header("Upgrade", "websocket")
                .header("Connection", "upgrade")
                .bytes(),
            "origin_not_allowed",
        ),
    ]);
}

#[test]
fn two_credentials_admit_no_client() {
    let door = Door::open();
    door.check([
        ("a token and garbage", door.token().key("x").bytes(), "malformed_duplicate"),
        ("garbage and a token", door.get().key("x").key(TOKEN).bytes(), "malformed_duplicate"),
        ("a token twice", door.token().key(TOKEN).bytes(), "malformed_duplicate"),
        ("a token and the current key", door.token().key(CURRENT).bytes(), "malformed_duplicate"),
        ("a token and an empty header", door.token().header("Authorization", "").bytes(), "malformed_duplicate"),
        ("another api-key beside a token", door.token().header("api-key", UNLISTED).bytes(), "malformed_duplicate"),
        ("an empty api-key beside a token", door.token().header("api-key", "").bytes(), "malformed_duplicate"),
        (
            "a token as api-key beside another key",
            door.get().key(UNLISTED).header("api-key", TOKEN).bytes(),
            "malformed_duplicate",
        ),
        (
            "an api-key twice",
            door.get().header("api-key", TOKEN).header("api-key", TOKEN).bytes(),
            "malformed_duplicate",
        ),
        (
            "another key as subprotocol",
            door.token().header("Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-a").bytes(),
            "malformed_duplicate",
        ),
        (
            "two keys as subprotocols",
            door.get()
                .header(
                    "Sec-WebSocket-Protocol",
                    format!("openai-insecure-api-key.{TOKEN}, openai-insecure-api-key.sk-a"),
                )
                .bytes(),
            "malformed_duplicate",
        ),
    ]);
}

#[test]
fn a_token_in_the_wrong_place_admits_no_client() {
    let door = Door::open();
    door.check([
        (
            "a token in the query",
            door.proxy.get(&format!("/v1/models?api_key={TOKEN}&key={TOKEN}")).bytes(),
            "missing_header",
        ),
        ("a token in the path", door.proxy.get(&format!("/{TOKEN}/v1/models")).bytes(), "missing_header"),
        (
            "a token in a cookie",
            door.get().header("Cookie", format!("Authorization=Bearer {TOKEN}")).bytes(),
            "missing_header",
        ),
        ("a token as x-api-key", door.get().header("x-api-key", TOKEN).bytes(), "missing_header"),
        (
            "a token for a proxy",
            door.get().header("Proxy-Authorization", format!("Bearer {TOKEN}")).bytes(),
            "missing_header",
        ),
        (
            "a token in a header of another name",
            door.get().header("Authorization_", format!("Bearer {TOKEN}")).bytes(),
            "missing_header",
        ),
        (
            "a token in X-Authorization",
            door.get().header("X-Authorization", format!("Bearer {TOKEN}")).bytes(),
            "missing_header",
        ),
        ("a token as tag", door.get().header("X-N8N-Tag", TOKEN).bytes(), "missing_header"),
        (
            "a token as subprotocol in other letters",
            door.get().header("Sec-WebSocket-Protocol", format!("OpenAI-Insecure-Api-Key.{TOKEN}")).bytes(),
            "missing_header",
        ),
        ("a token as a bare subprotocol", door.get().header("Sec-WebSocket-Protocol", TOKEN).bytes(), "missing_header"),
        (
            "a token in the body",
            door.proxy.post("/v1/models").body(format!("Authorization: Bearer {TOKEN}")).bytes(),
            "missing_header",
        ),
        (
            "a token in a trailer",
            raw(
                "POST /v1/models HTTP/1.1\nHost: keyward\nTransfer-Encoding: chunked\nTrailer: Authorization\n\n0\nAuthorization: Bearer TOKEN\n\n",
            ),
            "missing_header",
        ),
    ]);
}

#[test]
fn a_token_under_another_scheme_admits_no_client() {
    let door = Door::open();
    door.check([
        ("a bare token", door.credential(TOKEN), "malformed_scheme"),
        ("the scheme Token", door.credential(&format!("Token {TOKEN}")), "malformed_scheme"),
        ("the scheme token", door.credential(&format!("token {TOKEN}")), "malformed_scheme"),
        ("the scheme Bearer with a colon", door.credential(&format!("Bearer: {TOKEN}")), "malformed_scheme"),
        ("the scheme Bearer with an equals sign", door.credential(&format!("Bearer={TOKEN}")), "malformed_scheme"),
        ("the scheme Bearers", door.credential(&format!("Bearers {TOKEN}")), "malformed_scheme"),
        ("a no-break space behind the scheme", door.credential(&format!("Bearer\u{a0}{TOKEN}")), "malformed_scheme"),
        ("Digest", door.credential(&format!("Digest username=\"{TOKEN}\"")), "malformed_scheme"),
        ("Basic without Base64", door.credential(&format!("Basic {TOKEN}")), "malformed_scheme"),
        ("Basic with the token as user", door.credential(&basic(TOKEN, "")), "malformed_scheme"),
        ("Basic with more behind the token", door.credential(&basic("user", &format!("{TOKEN}:x"))), "unlisted_key"),
        (
            "Basic with a line end behind the token",
            door.credential(&basic("user", &format!("{TOKEN}\r\n"))),
            "malformed_whitespace",
        ),
    ]);
}

#[test]
fn a_text_with_a_token_in_it_admits_no_client() {
    let door = Door::open();
    door.check([
        ("Bearer twice", door.credential(&format!("Bearer Bearer {TOKEN}")), "malformed_doubled"),
        ("a token in quotation marks", door.key(&format!("\"{TOKEN}\"")), "malformed_quoted"),
        ("a token within a text", door.key(&format!("my {TOKEN} here")), "malformed_whitespace"),
        ("a token behind two spaces", door.credential(&format!("Bearer  {TOKEN}")), "malformed_whitespace"),
        (
            "a no-break space at the end",
            door.get().header("Authorization", [format!("Bearer {TOKEN}").as_bytes(), b"\xa0"].concat()).bytes(),
            "malformed_whitespace",
        ),
        ("a zero-width space at the end", door.credential(&format!("Bearer {TOKEN}\u{200b}")), "malformed_whitespace"),
        ("two tokens in a list", door.key(&format!("{TOKEN}, Bearer {TOKEN}")), "malformed_duplicate"),
        ("a token that goes on for ever", door.key(&TOKEN.repeat(200)), "malformed_oversized"),
    ]);
}

#[test]
fn heads_that_others_read_differently_admit_no_client() {
    let door = Door::open();
    door.check([
        ("a folded header", raw("GET /v1/models HTTP/1.1\nHost: keyward\nAuthorization: Bearer\n TOKEN\n\n"), "400"),
        (
            "a header folded into the one before",
            raw("GET /v1/models HTTP/1.1\nHost: keyward\nX-A: 1\n Authorization: Bearer TOKEN\n\n"),
            "400",
        ),
        (
            "a space before the colon",
            raw("GET /v1/models HTTP/1.1\nHost: keyward\nAuthorization : Bearer TOKEN\n\n"),
            "400",
        ),
        (
            "a zero byte in the token",
            raw("GET /v1/models HTTP/1.1\nHost: keyward\nAuthorization: Bearer TOKEN\0\n\n"),
            "400",
        ),
        (
            "a lone carriage return",
            raw("GET /v1/models HTTP/1.1\nHost: keyward\nX-A: 1\rAuthorization: Bearer TOKEN\n\n"),
            "400",
        ),
        (
            "a credential that is named as a hop",
            door.get().key(UNLISTED).header("Connection", "authorization").bytes(),
            "unlisted_key",
        ),
        ("a path with dots", door.proxy.get("/set/default/../../v1/models").bytes(), "missing_header"),
        ("a target of everything", raw("OPTIONS * HTTP/1.1\nHost: keyward\n\n"), "missing_header"),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn an_allowed_address_is_no_pass_for_whatever_comes_from_there() {
    let door = Door::of(allowing("127.0.0.1/32"));
    door.check([
        ("X-Forwarded-For", door.get().header("X-Forwarded-For", "10.0.0.1").bytes(), "missing_header"),
        (
            "X-Forwarded-For of the address itself",
            door.get().header("X-Forwarded-For", "127.0.0.1").bytes(),
            "missing_header",
        ),
        ("an empty X-Forwarded-For", door.get().header("X-Forwarded-For", "").bytes(), "missing_header"),
        ("X-Real-IP", door.get().header("x-real-ip", "10.0.0.1").bytes(), "missing_header"),
        ("Forwarded", door.get().header("FORWARDED", "for=10.0.0.1").bytes(), "missing_header"),
        ("Via", door.get().header("Via", "1.1 proxy").bytes(), "missing_header"),
        (
            "a relay that names its mark a hop",
            door.get().header("X-Forwarded-For", "10.0.0.1").header("Connection", "x-forwarded-for").bytes(),
            "missing_header",
        ),
        ("another page", door.get().header("Origin", "https://evil.example").bytes(), "origin_not_allowed"),
        ("an opaque page", door.get().header("Origin", "null").bytes(), "origin_not_allowed"),
        (
            "a preflight",
            door.proxy.request("OPTIONS", "/v1/models").header("Origin", "null").bytes(),
            "origin_not_allowed",
        ),
        ("another set", door.proxy.get("/set/staging/v1/models").bytes(), "missing_header"),
        ("a workflow of another set", door.get().header("X-N8N-Tag", "wf=of-staging").bytes(), "missing_header"),
        ("a set that does not exist", door.proxy.get("/set/nowhere/v1/models").bytes(), "unclear_set"),
        (
            "sets that disagree",
            door.proxy.get("/set/staging/v1/models").header("X-N8N-Tag", "wf=w;set=default").bytes(),
            "unclear_set",
        ),
        ("a workflow with an exception", door.get().header("X-N8N-Tag", "wf=tight").bytes(), "missing_header"),
        ("a key that no set has", door.get().key(UNLISTED).bytes(), "unlisted_key"),
        ("a previous key after its grace", door.get().key(OUTDATED).bytes(), "stale_binding"),
        ("a token that was revoked", door.get().key(REVOKED_TOKEN).bytes(), "unlisted_key"),
        ("undefined", door.get().key("undefined").bytes(), "malformed_undefined"),
        ("another scheme", door.get().header("Authorization", "Negotiate").bytes(), "malformed_scheme"),
        (
            "two empty headers",
            door.get().header("Authorization", "").header("Authorization", "").bytes(),
            "malformed_duplicate",
        ),
        (
            "an empty header and an api-key",
            door.get().header("Authorization", "").header("api-key", UNLISTED).bytes(),
            "malformed_duplicate",
        ),
        (
            "a key as subprotocol",
            door.get().header("Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-a").bytes(),
            "unlisted_key",
        ),
    ]);
    check_lent(&door.upstream, &door.get());
}

#[test]
fn a_compromised_key_admits_no_client_whatever_it_is_to_its_set() {
    for key in [CURRENT, NEXT, OUTDATED, TOKEN, UNLISTED] {
        for policy in [Policy::Enforce, Policy::Inject] {
            let (upstream, proxy) = injecting(|builder| {
                let builder = builder.grace(GRACE).revoked_key(key).policy(policy, |_| {});
                builder.rules(|rules| {
                    let far = Timestamp::from_millis(TestProxy::START + 3_600_000);
                    rules.sets[0].inject_until = Some(far);
                })
            });
            let code = if key == UNLISTED { "unlisted_key" } else { "stale_binding" };
            let answer = check_turned_away(&upstream, &proxy.get("/v1/models").key(key), code);
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains("compromised") || message.contains("was revoked"), "{message}");
            let (tight, other) = ("wf=tight", "wf=w;set=staging");
            check_turned_away(&upstream, &proxy.get("/v1/models").key(key).header("X-N8N-Tag", tight), code);
            let elsewhere = if key == UNLISTED { "unlisted_key" } else { "wrong_set" };
            check_turned_away(&upstream, &proxy.get("/v1/models").key(key).header("X-N8N-Tag", other), elsewhere);
        }
    }
}

#[test]
fn a_key_that_upstream_refused_when_it_saw_it_last_admits_no_client_after_it_was_replaced() {
    for is_refused in [false, true] {
        // What was said of it when n8n itself brought it, and when keyward lent it.
        for first in if is_refused { &[OUTDATED, TOKEN][..] } else { &[OUTDATED] } {
            let upstream = FakeUpstream::scripted(move |visit| {
                let is_old = visit.head.header("authorization").is_some_and(|value| value.contains(OUTDATED));
                let refusal = Answering::json(401, r#"{"error":{"code":"invalid_api_key"}}"#);
                visit.answer(&if is_old && is_refused { refusal } else { Answering::json(200, "{}") });
            });
            let builder = TestProxy::with(&upstream).current_key(OUTDATED).grace(GRACE).token("default", TOKEN);
            let builder =
                builder.policy(Policy::Inject, |set| set.workflows = [("tight".into(), Policy::Enforce)].into());
            let proxy = builder.start();
            let answer = proxy.get("/v1/models").key(first).send();
            assert_eq!(answer.status, if is_refused { 401 } else { 200 });
            proxy.line(&answer);
            proxy.rotate(CURRENT);
            let old = proxy.get("/v1/models").key(OUTDATED);
            if !is_refused {
                check_lent(&upstream, &old);
                continue;
            }
            let answer = check_turned_away(&upstream, &old, "stale_binding");
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains("upstream has refused it, so it admits no request"), "{message}");
            // It does not go upstream again, where a page that takes every key would make it good.
            let page = proxy.get("/v1/../robots.txt").key(OUTDATED).header("X-N8N-Tag", "wf=tight");
            check_turned_away(&upstream, &page, "stale_binding");
            check_turned_away(&upstream, &old, "stale_binding");
            check_lent(&upstream, &proxy.get("/v1/models").key(TOKEN));
        }
    }
}

#[test]
fn enforce_lends_for_a_token_and_for_nothing_else() {
    let (upstream, proxy) = injecting(|builder| {
        builder.grace(GRACE).policy(Policy::Enforce, |set| set.allow_from = vec!["127.0.0.1/32".parse().unwrap()])
    });
    check_lent(&upstream, &proxy.get("/v1/models").key(TOKEN));
    check_turned_away(&upstream, &proxy.get("/v1/models"), "missing_header");
    check_turned_away(&upstream, &proxy.get("/v1/models").key(UNLISTED), "unlisted_key");
    check_turned_away(&upstream, &proxy.get("/v1/models").key(REVOKED_TOKEN), "unlisted_key");
    check_turned_away(&upstream, &proxy.get("/set/nowhere/v1/models").key(TOKEN), "unclear_set");
    for key in [NEXT, OUTDATED] {
        proxy.get("/v1/models").key(key).send();
        check_saw_no_current_key(&upstream.received().split_off(upstream.received().len() - 1));
    }
}

#[test]
fn observe_lends_nothing_to_anybody() {
    let (upstream, proxy) = injecting(|builder| {
        builder.policy(Policy::Observe, |set| set.allow_from = vec!["127.0.0.1/32".parse().unwrap()])
    });
    for request in [proxy.get("/v1/models"), proxy.get("/v1/models").key(TOKEN), proxy.get("/v1/models").key(OUTDATED)]
    {
        assert_eq!(request.logged()["action"], "forward");
    }
    check_saw_no_current_key(&upstream.received());
}

#[test]
fn a_line_for_each_stranger_and_none_of_them_at_ease() {
    let (_upstream, proxy) = injecting(|builder| builder);
    for key in [UNLISTED, OUTDATED, REVOKED_TOKEN] {
        proxy.get("/v1/models").key(key).send();
    }
    let lines = eventually("the lines", || Some(proxy.lines()).filter(|lines| lines.len() >= 3));
    for line in lines {
        let told = [&line["action"], &line["outcome"], &line["level"]];
        assert_eq!(told, ["refuse", "refused", "error"], "{line}");
    }
}

// === Helpers ===

const PAGE: &str = "https://page.example";

/// The first sixteen bytes of the PROXY protocol's second version: 127.0.0.1, both ends.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02";

/// Two injecting sets, a token of each, an exception, a listed page and keyward's own name.
fn injecting(change: impl FnOnce(Builder) -> Builder) -> (FakeUpstream, TestProxy) {
    let upstream = FakeUpstream::accepting();
    let builder = TestProxy::with(&upstream).current_key(CURRENT).next_key(NEXT).previous_key(OUTDATED);
    let builder = builder.current_key_of("staging", STAGING).token("default", TOKEN).token("staging", STAGING_TOKEN);
    let builder = builder.revoked_token("default", REVOKED_TOKEN).policy(Policy::Inject, |_| {}).rules(|rules| {
        rules.allow_origin = vec![PAGE.into()];
        rules.allow_host = vec![AllowedHost { host: "keyward".into(), port: None }];
        rules.sets[0].workflows = [("tight".into(), Policy::Enforce)].into();
        rules.sets[1].workflows = [("of-staging".into(), Policy::Inject)].into();
    });
    let proxy = change(builder).start();
    (upstream, proxy)
}

/// A keyward and its upstream, before which strangers stand.
struct Door {
    upstream: FakeUpstream,
    proxy: TestProxy,
}

impl Door {
    fn open() -> Self {
        Self::of(injecting(|builder| builder))
    }

    fn of((upstream, proxy): (FakeUpstream, TestProxy)) -> Self {
        Self { upstream, proxy }
    }

    fn get(&self) -> Request<'_> {
        self.proxy.get("/v1/models")
    }

    fn token(&self) -> Request<'_> {
        self.get().key(TOKEN)
    }

    fn key(&self, key: &str) -> Vec<u8> {
        self.get().key(key).bytes()
    }

    fn credential(&self, value: &str) -> Vec<u8> {
        self.get().header("Authorization", value).bytes()
    }

    /// The token with one byte of it changed.
    fn changed(&self, position: usize) -> Vec<u8> {
        let mut token = TOKEN.as_bytes().to_vec();
        token[position] ^= 1;
        self.get().header("Authorization", [b"Bearer ", &token[..]].concat()).bytes()
    }

    fn at(&self, target: &str) -> Vec<u8> {
        self.proxy.get(target).key(TOKEN).bytes()
    }

    fn tagged(&self, tag: &str) -> Vec<u8> {
        self.token().header("X-N8N-Tag", tag).bytes()
    }

    fn of_page(&self, origin: &str) -> Vec<u8> {
        self.token().header("Origin", origin).bytes()
    }

    /// Each gets that code, or that status where its bytes are no request. Upstream hears nothing of it.
    #[track_caller]
    fn check<const N: usize>(&self, strangers: [(&str, Vec<u8>, &str); N]) {
        let before = self.upstream.received().len();
        for (name, request, expected) in strangers {
            let mut client = self.proxy.connect();
            client.send(request);
            let answer = client.answer();
            let told = if answer.body.is_empty() { answer.status.to_string() } else { answer.error_code() };
            assert_eq!(told, expected, "{name}: {}", answer.text());
            assert!(answer.status >= 400, "{name}");
            let told = [&answer.head.raw[..], &answer.body].concat();
            assert!(!String::from_utf8_lossy(&told).contains(&CURRENT[8..20]), "{name}");
            let received = self.upstream.received();
            assert_eq!(received.len(), before, "{name}: {:?}", received.last());
        }
        check_saw_no_current_key(&self.upstream.received().split_off(before));
        check_lent(&self.upstream, &self.token());
    }
}

/// These lines, with the token in them.
fn raw(head: &str) -> Vec<u8> {
    head.replace("TOKEN", TOKEN).replace('\n', "\r\n").into_bytes()
}

/// The same, where an address is allowed in `default`.
fn allowing(range: &str) -> (FakeUpstream, TestProxy) {
    injecting(|builder| builder.rules(|rules| rules.sets[0].allow_from = vec![range.parse().unwrap()]))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("{user}:{password}")))
}

/// Upstream gets the current key for that request: once, and no other credential.
#[track_caller]
fn check_lent(upstream: &FakeUpstream, request: &Request<'_>) {
    let before = upstream.received().len();
    let answer = request.send();
    let shown = String::from_utf8_lossy(&request.bytes()).into_owned();
    assert_eq!(answer.status, 200, "{shown}: {}", answer.text());
    let received = upstream.received().split_off(before);
    let [received] = &received[..] else { panic!("{shown}: {received:?}") };
    let head = String::from_utf8_lossy(&received.head.raw).into_owned();
    assert!(head.contains(&format!("\r\nauthorization: Bearer {CURRENT}\r\n")), "{head}");
    assert_eq!((head.matches(CURRENT).count(), head.matches("kw_").count()), (1, 0), "{head}");
    assert_eq!(received.head.all("authorization").count(), 1, "{head}");
}

/// keyward answers that request with that code, and upstream does not hear of it.
#[track_caller]
fn check_turned_away(upstream: &FakeUpstream, request: &Request<'_>, code: &str) -> Answer {
    let before = upstream.received().len();
    let answer = request.send();
    assert_eq!((answer.status, &*answer.error_code()), (401, code), "{}", answer.text());
    assert_eq!(upstream.received().len(), before);
    answer
}

/// Nothing that upstream got has the current key in it.
#[track_caller]
fn check_saw_no_current_key(received: &[crate::support::Received]) {
    for received in received {
        let all = [&received.head.raw[..], &received.body].concat();
        let all = String::from_utf8_lossy(&all);
        assert!(!all.contains(CURRENT), "{all}");
    }
}
