//! Pure. From the text of a value to the value: what comes out of here can no longer be wrong.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::HeaderValue;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use super::units;
use crate::clock::Timestamp;
use crate::keys::rules::AllowedHost;
use crate::keys::source::Source;
use crate::ledger::store;
use crate::n8n::address::Address;
use crate::n8n::connect::Entrance;
use crate::net::egress_proxy::{EgressProxy, EgressProxyChoice};
use crate::net::origin::{Scheme, Upstream};
use crate::request_path::BasePath;
use crate::server;
use crate::telemetry::masked::mask_keys;

/// Why a text is not a value of its setting. What is allowed stands beside the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is none of what is allowed.
    NotAllowed,
    /// It is a known mistake, with a sentence of its own.
    Because(&'static str),
}

/// An address to listen on. A port alone, or one of `localhost`, is one of this machine's own: what other machines reach has to
/// be said.
pub(super) fn address(text: &str) -> Result<SocketAddr, Unfit> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port = port.strip_prefix(':').unwrap_or(port);
    match port.parse() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_no_port) => fit(text),
    }
}

/// An address to listen on, or `off`.
pub(super) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, Unfit> {
    if text == "off" { Ok(None) } else { address(text).map(Some) }
}

/// An origin: scheme, host and perhaps a port (RFC 6454, 4). A slash behind it is an empty path and allowed.
pub(super) fn upstream(text: &str) -> Result<Upstream, Unfit> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Unfit::Because("It has no scheme."));
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(Unfit::Because("keyward speaks http and https alone.")),
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    refuse_user_information(authority)?;
    refuse_tail(tail)?;
    let (host, port) = split_port(authority)?;
    Ok(Upstream { scheme, host: self::host(host)?, port: port.unwrap_or(scheme.default_port()) })
}

/// Where upstream has its API; nothing for `/v1`.
pub(super) fn base_path(text: &str) -> Result<Option<BasePath>, Unfit> {
    if text.len() > 1 && text.ends_with('/') {
        return Err(Unfit::Because("Leave out the slash at its end."));
    }
    let path = BasePath::new(text).ok_or(Unfit::NotAllowed)?;
    Ok(Some(path).filter(|_| text != "/v1"))
}

/// Where an n8n is: an origin, and perhaps the path that it lies under.
pub(super) fn n8n_address(text: &str) -> Result<Address, Unfit> {
    let after_scheme = text.find("://").map_or(0, |end| end + 3);
    let path_begins = text[after_scheme..].find(['/', '?', '#', '\\']).map_or(text.len(), |at| after_scheme + at);
    let (origin, path) = text.split_at(path_begins);
    let path = path.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~' | b'%');
    if path.contains("/api/v1") || path.contains("/workflow") || path.contains("/home") {
        return Err(Unfit::Because(
            "Leave out the page or the API behind it: it is the address that the editor opens at.",
        ));
    }
    if !path.bytes().all(is_plain) || path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Unfit::Because("Its path is not a plain one, and neither a query nor a fragment belongs there."));
    }
    Ok(Address { origin: upstream(origin)?, path: path.into() })
}

/// Where an n8n reaches keyward.
pub(super) fn entrance(text: &str) -> Result<Entrance, Unfit> {
    Entrance::new(n8n_address(text)?).map_err(Unfit::Because)
}

/// How often something is asked for that costs those who answer: not all the time.
pub(super) fn refresh(text: &str) -> Result<Duration, Unfit> {
    span(text).and_then(|span| if span < SOONEST { Err(Unfit::NotAllowed) } else { Ok(span) })
}

/// The proxy on the way to upstream: the environment's, none, or this one.
pub(super) fn choice_of_proxy(text: &str) -> Result<EgressProxyChoice, Unfit> {
    match text {
        "environment" => Ok(EgressProxyChoice::Environment),
        "none" => Ok(EgressProxyChoice::None),
        url => outgoing_proxy(url, "proxy.via").map(EgressProxyChoice::Named),
    }
}

/// A proxy's URL, perhaps with user and password. Without a scheme it is spoken to in plain, as curl has it.
pub(super) fn outgoing_proxy(text: &str, named_by: &str) -> Result<EgressProxy, Unfit> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        socks if socks.starts_with("socks") => return Err(Unfit::Because(NO_SOCKS)),
        _ => return Err(Unfit::Because("A proxy is spoken to by http or https.")),
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if !matches!(tail, "" | "/") {
        return Err(Unfit::Because("A proxy has no path; in its user and password, / ? # are written %2F %3F %23."));
    }
    let (user, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = split_port(authority)?;
    let origin = Upstream { scheme, host: self::host(host)?, port: port.unwrap_or(scheme.default_port()) };
    Ok(EgressProxy { origin, authorization: authorization(user)?, named_by: named_by.into() })
}

/// User and password as a proxy wants them (RFC 7617).
fn authorization(user_information: &str) -> Result<Option<HeaderValue>, Unfit> {
    if user_information.is_empty() {
        return Ok(None);
    }
    let (user, password) = user_information.split_once(':').unwrap_or((user_information, ""));
    let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [decoded(user), b":".to_vec(), decoded(password)].concat();
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .map_err(|_| Unfit::Because("Its user or password cannot be sent."))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// How many workers: 0 asks for one per core.
pub(super) fn workers(text: &str) -> Result<usize, Unfit> {
    match fit(text)? {
        0 => Ok(server::Settings::workers_of_machine()),
        asked @ 1..=server::Settings::MAX_WORKERS => Ok(asked),
        _ => Err(Unfit::NotAllowed),
    }
}

/// How many of something, at least one.
pub(super) fn count(text: &str) -> Result<usize, Unfit> {
    let count: u32 = fit(text)?;
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Unfit::NotAllowed)
}

/// A size within bounds.
pub(super) fn size(text: &str, bounds: &RangeInclusive<usize>) -> Result<usize, Unfit> {
    units::parse_size(text).filter(|size| bounds.contains(size)).ok_or(Unfit::NotAllowed)
}

/// A span that may be zero.
pub(super) fn span(text: &str) -> Result<Duration, Unfit> {
    units::parse_span(text).filter(|span| *span <= LONGEST_SPAN).ok_or(Unfit::NotAllowed)
}

/// A span that something may take. Zero would let nothing through: it is no way to say "never".
pub(super) fn timeout(text: &str) -> Result<Duration, Unfit> {
    span(text).and_then(|span| if span.is_zero() { Err(Unfit::NotAllowed) } else { Ok(span) })
}

/// The path of a file or folder; a relative one belongs to the folder that keyward is started in.
pub(super) fn path(text: &str) -> Result<PathBuf, Unfit> {
    if text.is_empty() || text.contains('\0') { Err(Unfit::NotAllowed) } else { Ok(PathBuf::from(text)) }
}

/// Where the ledger is kept.
pub(super) fn store(text: &str) -> Result<store::Url, Unfit> {
    match text.split_once(':') {
        None if text == "off" => Ok(store::Url::Off),
        Some(("sqlite", file)) => path(file).map(store::Url::Sqlite),
        Some(("postgres" | "postgresql", _)) => Err(Unfit::Because("PostgreSQL cannot be used yet.")),
        Some(_) | None => Err(Unfit::NotAllowed),
    }
}

/// How long something is remembered: a day at least, in which every binding that still lives may well be seen.
pub(super) fn processes(text: &str) -> Result<u8, Unfit> {
    let count: u8 = fit(text)?;
    if (1..=25).contains(&count) { Ok(count) } else { Err(Unfit::NotAllowed) }
}

pub(super) fn retention(text: &str) -> Result<Duration, Unfit> {
    span(text).and_then(|span| if span < DAY { Err(Unfit::NotAllowed) } else { Ok(span) })
}

/// One of a type's own words.
pub(super) fn fit<T: FromStr>(text: &str) -> Result<T, Unfit> {
    text.parse().map_err(|_| Unfit::NotAllowed)
}

/// A moment, with its offset from UTC (RFC 3339).
pub(super) fn moment(text: &str) -> Result<Timestamp, Unfit> {
    let moment: jiff::Timestamp = fit(text)?;
    Ok(Timestamp::from_millis(moment.as_millisecond()))
}

/// Addresses and ranges of them. One with bits behind its length is refused: it was meant to be something else.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Unfit> {
    each(text, |item| {
        let network = match item.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => fit::<IpNet>(item)?,
        };
        if network.addr() != network.network() {
            return Err(Unfit::Because("A range begins with its first address: 10.1.2.0/24, not 10.1.2.3/24."));
        }
        if let IpAddr::V6(address) = network.addr()
            && address.to_ipv4_mapped().is_some()
        {
            return Err(Unfit::Because("Write IPv4 addresses as such: 10.1.2.3, not ::ffff:10.1.2.3."));
        }
        Ok(network)
    })
}

/// Hosts, each perhaps with a port.
pub(super) fn hosts(text: &str) -> Result<Vec<AllowedHost>, Unfit> {
    each(text, |item| {
        if item.contains('/') {
            return Err(Unfit::Because("A host has neither a scheme nor a path."));
        }
        let (name, port) = split_port(item)?;
        let host = match host(name)? {
            address if address.contains(':') => format!("[{address}]").into(),
            name => name,
        };
        Ok(AllowedHost { host, port })
    })
}

/// Origins as browsers send them: scheme, host and perhaps a port (RFC 6454, 7).
pub(super) fn origins(text: &str) -> Result<Vec<Box<str>>, Unfit> {
    each(text, |item| {
        let (scheme, rest) = item.split_once("://").ok_or(Unfit::Because("An origin begins with its scheme."))?;
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'*' | b'?' | b'#' | b'@');
        let is_sound = !scheme.is_empty() && !rest.is_empty() && rest.bytes().all(is_plain);
        if is_sound { Ok(item.to_ascii_lowercase().into()) } else { Err(Unfit::NotAllowed) }
    })
}

/// Each of several texts with commas between them. None at all is an empty list.
pub(super) fn each<T>(text: &str, read: impl Fn(&str) -> Result<T, Unfit>) -> Result<Vec<T>, Unfit> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|item| read(item.trim())).collect()
}

/// What is run, and with which arguments.
pub(super) fn command(texts: &[Box<str>]) -> Result<(PathBuf, Vec<Box<str>>), Unfit> {
    let Some((program, arguments)) = texts.split_first() else {
        return Err(Unfit::Because("The command is empty: name a program by its absolute path, and its arguments."));
    };
    if !program.starts_with('/') {
        return Err(Unfit::Because("The program has to be an absolute path: nothing is looked for along PATH."));
    }
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(Unfit::Because("The command has a NUL in it."));
    }
    Ok((PathBuf::from(&**program), arguments.to_vec()))
}

/// How soon a command is run again. More often than keys are read, it would give nothing more.
pub(super) fn every(text: &str) -> Result<Duration, Unfit> {
    let bad = Unfit::Because("`every` is from 5s to 1d.");
    span(text).ok().filter(|span| (Duration::from_secs(5)..=Duration::from_hours(24)).contains(span)).ok_or(bad)
}

/// How long a command may take: keyward waits for it at its start.
pub(super) fn command_timeout(text: &str) -> Result<Duration, Unfit> {
    let bad = Unfit::Because("`timeout` is from 1s to 60s.");
    span(text).ok().filter(|span| (Duration::from_secs(1)..=Duration::from_mins(1)).contains(span)).ok_or(bad)
}

/// The names of variables that a command gets.
pub(super) fn variables(names: Vec<Box<str>>) -> Result<Vec<Box<str>>, Unfit> {
    let is_good = |name: &str| matches!(env_source(name), Ok(Source::Env(_)));
    let bad = Unfit::Because("`pass` names environment variables: letters, digits and _, not a value.");
    if names.iter().all(|name| is_good(name)) { Ok(names) } else { Err(bad) }
}

/// Whether a set may be called so: `[a-z0-9][a-z0-9_-]{0,31}`. A name travels in paths and tags.
pub(super) fn is_set_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    text.len() <= 32 && bytes.next().is_some_and(plain) && bytes.all(|byte| plain(byte) || matches!(byte, b'_' | b'-'))
}

/// The file that a key stands in. The sentence of a refusal never quotes the text, which may be the key.
pub(super) fn file_source(text: &str) -> Result<Source, Unfit> {
    if text.starts_with("sk-") && !text.contains(['/', '.']) {
        return Err(Unfit::Because("This looks like a key, not like the path of a file that holds one."));
    }
    path(text).map(Source::File).map_err(|_| Unfit::Because("The path of the file is empty or has a NUL in it."))
}

/// The environment variable that a key stands in. The sentence of a refusal never quotes the text.
pub(super) fn env_source(text: &str) -> Result<Source, Unfit> {
    let letter = |c: char| c == '_' || c.is_ascii_alphabetic();
    let good = text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit());
    if matches!(mask_keys(text), Cow::Owned(_)) {
        Err(Unfit::Because("This looks like a key, not like the name of a variable that holds one."))
    } else if good {
        Ok(Source::Env(text.into()))
    } else {
        Err(Unfit::Because("A variable's name has letters, digits and _ and does not begin with a digit."))
    }
}

fn refuse_user_information(authority: &str) -> Result<(), Unfit> {
    if authority.contains('@') {
        return Err(Unfit::Because("Leave out the user information before the @: keyward sends none."));
    }
    Ok(())
}

fn refuse_tail(tail: &str) -> Result<(), Unfit> {
    match tail {
        "" | "/" => Ok(()),
        "/v1" | "/v1/" => Err(Unfit::Because(
            "Leave out the /v1: keyward passes on the path of each request by itself, and n8n's requests begin with /v1.",
        )),
        _ => Err(Unfit::Because(
            "Leave out what follows the host and port: where the API is not at /v1, proxy.base_path says where it is.",
        )),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), Unfit> {
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority[after_host..].find(':').map(|position| after_host + position) else {
        return Ok((authority, None));
    };
    let port = &authority[colon + 1..];
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok((&authority[..colon], Some(port))),
        _ => Err(Unfit::Because("Its port is not a number from 1 to 65535.")),
    }
}

/// A name or an address: the rules of DNS are left to DNS, and `_` to container networks, which have it in names.
fn host(text: &str) -> Result<Box<str>, Unfit> {
    const BAD: Unfit = Unfit::Because("Its host is neither a name nor an address.");
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(BAD)?;
        return inner.parse::<Ipv6Addr>().map(|address| address.to_string().into()).map_err(|_| BAD);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let good = (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['.', '-']);
    if good { Ok(text.to_ascii_lowercase().into()) } else { Err(BAD) }
}

const NO_SOCKS: &str = "keyward asks its proxy for a tunnel in HTTP (CONNECT) and speaks no SOCKS.";

const SOONEST: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_hours(24);

/// Ten years: so far away that no sum with a moment overflows.
const LONGEST_SPAN: Duration = Duration::from_hours(3650 * 24);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_upstream_is_an_origin() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(upstream(text).ok().map(|upstream| upstream.to_string()).as_deref(), expected, "{text}");
        }
        check("https://api.openai.com", Some("https://api.openai.com"));
        check("https://api.openai.com/", Some("https://api.openai.com"));
        check("HTTPS://API.OpenAI.com:443", Some("https://api.openai.com"));
        check("http://127.0.0.1:9000", Some("http://127.0.0.1:9000"));
        check("http://fake_upstream:80", Some("http://fake_upstream"));
        check("http://[::1]:9000/", Some("http://[::1]:9000"));
        check("http://[0:0:0:0:0:0:0:1]", Some("http://[::1]"));
        for refused in [
            "",
            "api.openai.com",
            "://api.openai.com",
            "ftp://api.openai.com",
            "https://",
            "https:///v1",
            "https://:443",
            "https://user:canary@api.openai.com",
            "https://@api.openai.com",
            "https://api.openai.com/v1",
            "https://api.openai.com/v1/",
            "https://api.openai.com/other",
            "https://api.openai.com//",
            "https://api.openai.com?x",
            "https://api.openai.com#x",
            "https://api.openai.com\\v1",
            "https://api.openai.com:",
            "https://api.openai.com:0",
            "https://api.openai.com:+443",
            "https://api.openai.com:65536",
            "https://api.openai.com:443:443",
            "https://api openai.com",
            "https://.openai.com",
            "https://[::1",
            "https://[::1]x",
            "https://[::1%eth0]",
            "https://::1",
            "https://bücher.example",
            " https://api.openai.com",
        ] {
            check(refused, None);
        }
    }

    #[test]
    fn a_proxy_is_a_url_perhaps_with_user_and_password() {
        #[track_caller]
        fn check(text: &str, shown: &str, credentials: Option<&str>) {
            let via = outgoing_proxy(text, "HTTPS_PROXY").expect(text);
            assert_eq!(via.to_string(), shown, "{text}");
            let expected = credentials.map(|pair| format!("Basic {}", BASE64_STANDARD.encode(pair)));
            let sent = via.authorization.as_ref().map(|value| value.to_str().expect("plain text"));
            assert_eq!(sent, expected.as_deref(), "{text}");
            assert!(!format!("{via:?}").contains("Basic"), "{via:?}");
        }
        check("http://proxy:3128", "http://proxy:3128", None);
        check("proxy.example:3128", "http://proxy.example:3128", None);
        check("HTTPS://Proxy/", "https://proxy", None);
        check("http://[fd00::7]:3128", "http://[fd00::7]:3128", None);
        check("http://user:canary@proxy:3128", "http://proxy:3128", Some("user:canary"));
        check("http://us%40er:c%3Ana%2Fry@proxy:3128", "http://proxy:3128", Some("us@er:c:na/ry"));
        check("http://user:can@ry@proxy:3128", "http://proxy:3128", Some("user:can@ry"));
        check("http://user@proxy", "http://proxy", Some("user:"));
        check("http://@proxy", "http://proxy", None);
        for refused in [
            "",
            "http://",
            "http://:3128",
            "http://proxy:0",
            "http://proxy:3128/path",
            "http://user:can/ary@proxy",
            "http://user:can#ary@proxy",
            "socks5://proxy:1080",
            "socks5h://proxy:1080",
            "ftp://proxy",
            "http://pro xy",
        ] {
            assert!(outgoing_proxy(refused, "proxy.via").is_err(), "{refused}");
        }
    }

    #[test]
    fn a_set_name_is_short_and_plain() {
        for good in ["default", "a", "7", "team-a_2", &"a".repeat(32)] {
            assert!(is_set_name(good), "{good}");
        }
        for bad in ["", "-a", "_a", "Team", "a.b", "a b", "ü", &"a".repeat(33)] {
            assert!(!is_set_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_key_where_its_place_should_stand_is_refused() {
        assert_eq!(env_source("OPENAI_API_KEY"), Ok(Source::Env("OPENAI_API_KEY".into())));
        assert_eq!(file_source("/run/secrets/key"), Ok(Source::File("/run/secrets/key".into())));
        assert_eq!(file_source("sk-keys/now"), Ok(Source::File("sk-keys/now".into())));
        for bad in ["", "1A", "A-B", "A=B", "sk-proj-canary", "kw_0123456789abcdefABCD", "eyJ0123456789abcdefABCD"] {
            assert!(env_source(bad).is_err(), "{bad}");
        }
        for bad in ["", "a\0b", "sk-proj-canary"] {
            assert!(file_source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(workers("0"), Ok(server::Settings::workers_of_machine()));
        assert_eq!(workers("256"), Ok(256));
        assert_eq!(workers("257"), Err(Unfit::NotAllowed));
        assert_eq!(workers("-1"), Err(Unfit::NotAllowed));
        assert_eq!(count("1"), Ok(1));
        assert_eq!(count("0"), Err(Unfit::NotAllowed));
        assert_eq!(timeout("0s"), Err(Unfit::NotAllowed));
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        assert_eq!(span("3650d"), Ok(LONGEST_SPAN));
        assert_eq!(span("3651d"), Err(Unfit::NotAllowed));
        assert_eq!(size("8KiB", &(8192..=9000)), Ok(8192));
        assert_eq!(size("8191", &(8192..=9000)), Err(Unfit::NotAllowed));
    }

    #[test]
    fn an_address_has_a_port() {
        assert_eq!(address_or_off("off"), Ok(None));
        assert!(address_or_off("[::]:0").is_ok_and(|address| address.is_some()));
        for text in ["8080", ":8080", "localhost:8080", "127.0.0.1:8080"] {
            assert_eq!(address(text), Ok(SocketAddr::from(([127, 0, 0, 1], 8080))), "{text}");
        }
        for text in
            ["", ":", "localhost", "localhost:", "localhost:x", "65536", "::8080", "127.0.0.1", "example.com:80"]
        {
            assert_eq!(address(text), Err(Unfit::NotAllowed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_origin_reads_back_as_itself(text in "https?://([a-z0-9.]{1,9}|\\[::[0-9a-f]{1,4}\\])(:[0-9]{1,5})?/?") {
            if let Ok(origin) = upstream(&text) {
                prop_assert_eq!(upstream(&origin.to_string()), Ok(origin));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "(https?://)?\\PC{0,20}") {
            let _ = (upstream(&text), choice_of_proxy(&text), address(&text), is_set_name(&text), env_source(&text), file_source(&text));
        }
    }
}
