//! Who is let in, looked at before anything else: the host that a request names, the page that sent it, its token.
//!
//! A page in a browser may have its own name point at this machine, and then send requests that look like the machine's
//! own. They name the page's host, so only addresses, `localhost` and the names in `allow_host` are taken. Nothing is ever
//! shared with other origins (no CORS), and no answer is kept but the page's own style sheet and script.

use std::net::IpAddr;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::access::{Access, Pass, Scope};
use super::problem::{Kind, Problem};
use crate::keys::rules::AllowedHost;

/// Looks at host and origin.
pub fn check_sender(head: &Parts, allowed: &[AllowedHost]) -> Result<(), Problem> {
    let host = host_of(&head.headers).filter(|host| is_allowed(host, allowed));
    let target = head.uri.authority().map(Authority::as_str);
    if host.is_none() || target.is_some_and(|target| !is_allowed(target, allowed)) {
        return Err(Problem::new(Kind::HostNotAllowed, HOST_HELP));
    }
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    let is_own = |origin: &HeaderValue| {
        let parted = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        // Not an extension of the browser, whose origin may look like a host.
        let authority = parted.filter(|(scheme, _)| matches!(*scheme, "http" | "https")).map(|(_, rest)| rest);
        authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    if origins.all(is_own) { Ok(()) } else { Err(Problem::new(Kind::OriginNotAllowed, ORIGIN_HELP)) }
}

/// Looks at the token, or the session, that a request comes with.
pub fn admit(headers: &HeaderMap, needed: Scope, access: &Access) -> Result<Pass, Problem> {
    if !access.has_tokens() {
        return Err(Problem::new(Kind::Unavailable, NO_TOKENS));
    }
    let pass = match bearer(headers)? {
        Some(token) => access.admit(token).ok_or_else(|| Problem::new(Kind::TokenUnknown, UNKNOWN_TOKEN))?,
        None => session(headers, access).ok_or_else(|| Problem::new(Kind::TokenMissing, NO_TOKEN))?,
    };
    if pass.scope < needed {
        return Err(Problem::new(
            Kind::ReadOnly,
            "This changes something, which takes the token of `admin.token_file`.",
        ));
    }
    Ok(pass)
}

/// The name of the cookie that holds a session. Browsers tell no ports apart, so it says which keyward it is for.
#[must_use]
pub fn cookie_name(headers: &HeaderMap) -> String {
    let port = host_of(headers).and_then(|host| host.parse::<Authority>().ok()?.port_u16());
    format!("keyward_session_{}", port.unwrap_or(80))
}

/// Says in every answer that it is for this client alone: for no cache unless it says otherwise, no frame, no other page.
pub fn seal(headers: &mut HeaderMap) {
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in SEAL {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.as_bytes().split_at_checked(BEARER.len());
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER.as_bytes())).map(|(_, token)| token);
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token.trim_ascii())),
        (None, _) | (_, Some(_)) => Err(Problem::new(Kind::TokenUnknown, UNKNOWN_TOKEN)),
    }
}

/// A browser sends its cookie whichever page had it ask, so it has to say that it was one of ours, or none.
fn session(headers: &HeaderMap, access: &Access) -> Option<Pass> {
    let sent_by = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if !matches!(sent_by, None | Some(b"same-origin" | b"none")) {
        return None;
    }
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(found, value)| (found == name).then(|| access.admit_session(value.as_bytes())).flatten())
}

/// The one host that a request names.
fn host_of(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

fn is_allowed(named: &str, allowed: &[AllowedHost]) -> bool {
    let Ok(authority) = named.parse::<Authority>() else { return false };
    let host = authority.host();
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let is_known = is_address || host.eq_ignore_ascii_case("localhost") || allowed.iter().any(|host| host.is(named));
    is_known && !named.contains('@')
}

const BEARER: &str = "Bearer ";

const SEAL: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types keyward",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const HOST_HELP: &str =
    "Address keyward by IP address or as localhost, or add the name that you use to `allow_host` in [admin].";

const ORIGIN_HELP: &str = "A page of another origin sent this. Only keyward's own pages may.";

const NO_TOKEN: &str =
    "Send `Authorization: Bearer` with the token in `admin.token` in the state folder, or run `keyward open`.";

const UNKNOWN_TOKEN: &str = "It is no admin token, or none any more. The one in use stands in `admin.token` in the state folder, or where `token_file` in [admin] says.";

const NO_TOKENS: &str =
    "keyward has no admin token, as its log says: the state folder or the token's file cannot be used.";

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(target: &str, headers: &[(&'static str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::builder().uri(target), |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request").into_parts().0
    }

    #[track_caller]
    fn check(target: &str, headers: &[(&'static str, &str)], expected: Option<Kind>) {
        let allowed = [AllowedHost { host: "keyward.example".into(), port: None }];
        let kind = check_sender(&head(target, headers), &allowed).err().map(|problem| problem.kind());
        assert_eq!(kind, expected, "{target} {headers:?}");
    }

    #[test]
    fn only_hosts_that_no_other_site_can_be_are_taken() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8081",
            "[::1]:8081",
            "10.1.2.3",
            "localhost",
            "LocalHost:1",
            "keyward.example",
            "Keyward.Example:8081",
        ] {
            check("/", &[("host", host)], None);
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil@127.0.0.1",
            "127.0.0.1@evil",
            "2130706433",
            "0x7f.1",
            "localhost.",
            "keyward.example.evil",
            "a b",
        ] {
            check("/", &[("host", host)], Some(Kind::HostNotAllowed));
        }
        check("/", &[], Some(Kind::HostNotAllowed));
        check("/", &[("host", "127.0.0.1"), ("host", "evil.example")], Some(Kind::HostNotAllowed));
        check("http://evil.example/", &[("host", "127.0.0.1")], Some(Kind::HostNotAllowed));
        check("http://127.0.0.1/", &[("host", "127.0.0.1")], None);
    }

    #[test]
    fn no_page_of_another_origin_is_served() {
        let host = ("host", "127.0.0.1:8081");
        check("/", &[host, ("origin", "http://127.0.0.1:8081")], None);
        check("/", &[host, ("origin", "https://127.0.0.1:8081")], None);
        for origin in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://localhost:8081",
            "http://evil.example",
            "chrome-extension://127.0.0.1:8081",
            "HTTP://127.0.0.1:8081",
            "127.0.0.1:8081",
        ] {
            check("/", &[host, ("origin", origin)], Some(Kind::OriginNotAllowed));
        }
        check("/", &[host, ("origin", "http://127.0.0.1:8081"), ("origin", "null")], Some(Kind::OriginNotAllowed));
    }
}
