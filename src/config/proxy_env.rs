//! Pure. Which proxy leads to upstream, where that is left to the environment: by the variables that curl heeds.

use super::Environment;
use super::parse;
use super::problem::{Place, Problem, Problems};
use crate::net::egress_proxy::{EgressProxy, EgressProxyChoice, EnvironmentProxies, is_exempt};
use crate::net::origin::{Scheme, Upstream};

/// The proxy on the way to `upstream`.
pub(super) fn resolve(
    choice: &EgressProxyChoice,
    upstream: &Upstream,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<EgressProxy> {
    match choice {
        EgressProxyChoice::None => None,
        EgressProxyChoice::Named(via) => Some(via.clone()),
        EgressProxyChoice::Environment => of_environment(upstream, environment, problems),
    }
}

/// The proxies that lead to origins that are not known yet.
pub(super) fn for_any(
    choice: &EgressProxyChoice,
    environment: &Environment,
    problems: &mut Problems,
) -> EnvironmentProxies {
    if *choice == EgressProxyChoice::None {
        return EnvironmentProxies::default();
    }
    EnvironmentProxies {
        http: named(Scheme::Http, environment, problems),
        https: named(Scheme::Https, environment, problems),
        exempt: exempt(environment).map(Box::from),
    }
}

fn of_environment(upstream: &Upstream, environment: &Environment, problems: &mut Problems) -> Option<EgressProxy> {
    if exempt(environment).is_some_and(|exempt| is_exempt(upstream, exempt)) {
        return None;
    }
    named(upstream.scheme, environment, problems)
}

fn exempt(environment: &Environment) -> Option<&str> {
    NO_PROXY.iter().find_map(|name| environment.value(name))
}

fn named(scheme: Scheme, environment: &Environment, problems: &mut Problems) -> Option<EgressProxy> {
    let set = |name: &&'static str| Some((*name, environment.value(name)?));
    let (name, url) = variables(scheme).iter().find_map(set)?;
    let via = parse::outgoing_proxy(url, name);
    via.map_err(|unfit| {
        let place = Place::Environment(name.into());
        problems.push(Problem::misfit(place, VIA, unfit, ALLOWED_IN_VARIABLE));
    })
    .ok()
}

/// `HTTP_PROXY` in capitals is not heeded, as curl does not: where a web server starts programs, strangers can set it.
fn variables(scheme: Scheme) -> &'static [&'static str] {
    match scheme {
        Scheme::Https => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        Scheme::Http => &["http_proxy", "all_proxy", "ALL_PROXY"],
    }
}

const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The setting. What is given for it is never quoted: it may hold a password, and where that stands in it is unknown if it
/// is wrong.
pub(super) const VIA: &str = "proxy.via";

/// What the setting may be.
pub(super) const ALLOWED: &str = "environment, none, or a URL such as http://proxy:3128 or https://user:password@proxy";

const ALLOWED_IN_VARIABLE: &str =
    "a URL such as http://proxy:3128 or https://user:password@proxy; with proxy.via = \"none\" no variable counts";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(upstream: &str, variables: &[(&str, &str)], expected: Option<&str>) {
        let given = variables.iter().fold(Environment::default(), |given, (name, value)| given.with(name, value));
        let upstream = parse::upstream(upstream).expect("an upstream");
        let mut problems = Problems::default();
        let via = resolve(&EgressProxyChoice::Environment, &upstream, &given, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(via.map(|via| via.describe()).as_deref(), expected, "{variables:?}");
    }

    #[test]
    fn the_variables_of_the_environment_rank_as_they_do_for_curl() {
        let openai = "https://api.openai.com";
        let (one, other) = ("http://one:3128", "http://other:3128");
        check(openai, &[], None);
        check(openai, &[("HTTPS_PROXY", one)], Some("through the proxy http://one:3128 (HTTPS_PROXY)"));
        check(
            openai,
            &[("HTTPS_PROXY", one), ("https_proxy", "")],
            Some("through the proxy http://one:3128 (HTTPS_PROXY)"),
        );
        check(
            openai,
            &[("https_proxy", one), ("HTTPS_PROXY", other)],
            Some("through the proxy http://one:3128 (https_proxy)"),
        );
        check(
            openai,
            &[("ALL_PROXY", other), ("https_proxy", one)],
            Some("through the proxy http://one:3128 (https_proxy)"),
        );
        check(openai, &[("ALL_PROXY", one)], Some("through the proxy http://one:3128 (ALL_PROXY)"));
        check(openai, &[("http_proxy", one)], None);
        let local = "http://models.example:8000";
        check(local, &[("http_proxy", one)], Some("through the proxy http://one:3128 (http_proxy)"));
        check(local, &[("all_proxy", one)], Some("through the proxy http://one:3128 (all_proxy)"));
        check(local, &[("HTTP_PROXY", one), ("HTTPS_PROXY", one)], None);
    }

    #[test]
    fn no_proxy_exempts_by_name_domain_address_and_range() {
        #[track_caller]
        fn check_exempt(upstream: &str, exempt: &str, expected: bool) {
            assert_eq!(is_exempt(&parse::upstream(upstream).expect("an upstream"), exempt), expected, "{exempt}");
        }
        check_exempt("https://api.openai.com", "api.openai.com", true);
        check_exempt("https://api.openai.com", "example.com, OpenAI.com", true);
        check_exempt("https://api.openai.com", ".openai.com", true);
        check_exempt("https://api.openai.com", "*", true);
        check_exempt("https://api.openai.com", "penai.com", false);
        check_exempt("https://api.openai.com", "localhost,127.0.0.1", false);
        check_exempt("https://api.openai.com", "", false);
        check_exempt("http://10.1.2.3:8000", "10.0.0.0/8", true);
        check_exempt("http://10.1.2.3:8000", "10.1.2.3", true);
        check_exempt("http://10.1.2.3:8000", "example.com, *", true);
        check_exempt("http://10.1.2.3:8000", "10.2.0.0/16", false);
        check_exempt("http://[fd00::7]:8000", "fd00::/8", true);
        // As for curl: the machine itself is left out only where the list says so.
        check_exempt("http://localhost:8000", "example.com", false);
    }

    #[test]
    fn a_proxy_that_upstream_does_not_need_may_be_wrong() {
        let socks = ("ALL_PROXY", "socks5://proxy:1080");
        check("https://api.openai.com", &[socks, ("NO_PROXY", "openai.com")], None);
        check(
            "https://api.openai.com",
            &[socks, ("HTTPS_PROXY", "proxy:1")],
            Some("through the proxy http://proxy:1 (HTTPS_PROXY)"),
        );
    }
}
