//! Pure. Which uses of a key count, by what they ask for: a bad one almost anywhere, a good one at the API alone.
//!
//! Two questions that are not one. *Is an old key still in use?* is answered by any request that carries it, whatever its
//! path is read as on the way. *Does upstream take this key?* is answered by the API alone: a page is served to any key,
//! and some readers resolve dots, and decode or turn slashes first, so that `/v1/../robots.txt` is such a page.

use http::Method;
use percent_encoding::percent_decode_str;

use super::bearing::Bearing;
use crate::verdict::Verdict;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Surely the API, by every way of reading its path: upstream looks at its key, and what it says of it counts.
    Api,
    /// The API or something else. A key that is bad is in use all the same; that one is good is not shown by it.
    Unclear,
    /// What browsers and strangers ask of any server, or what upstream answers without a look at the key.
    Page,
}

impl Destination {
    /// Whether a sighting of that bearing counts for its binding.
    #[must_use]
    pub fn counts(self, bearing: Bearing) -> bool {
        match bearing {
            Bearing::Bad => self != Self::Page,
            Bearing::Good | Bearing::None => self == Self::Api,
        }
    }
}

/// What a request with that path, without prefix and query, asks for. Who sends no credential at all may be any stranger.
#[must_use]
pub fn read(method: &Method, path: &str, verdict: Verdict) -> Destination {
    if matches!(*method, Method::OPTIONS | Method::TRACE) {
        return Destination::Page;
    }
    if is_surely_of_the_api(path) {
        return Destination::Api;
    }
    if verdict == Verdict::Missing || is_page(path) { Destination::Page } else { Destination::Unclear }
}

/// Whether everybody on the way reads that path as one of the API.
fn is_surely_of_the_api(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/") else { return false };
    // Every exchange is asked this. Most paths have nothing odd, which is seen in a few steps where none is a branch.
    let is_odd = rest.bytes().fold(false, |odd, byte| odd | matches!(byte, b'.' | b'%' | b'\\'));
    !is_odd || (!rest.contains('\\') && rest.split('/').all(is_read_alike))
}

/// Whether a segment is the same one decoded: it ends where it ended, and does not lead upwards.
fn is_read_alike(segment: &str) -> bool {
    if segment.starts_with('.') {
        return false;
    }
    let Some((plain, escaped)) = segment.split_once('%') else { return true };
    let escapes_are_whole =
        escaped.split('%').all(|part| part.len() >= 2 && part.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()));
    // Long ways of writing a dot or a slash are no UTF-8.
    escapes_are_whole
        && percent_decode_str(&segment[plain.len()..]).decode_utf8().is_ok()
        && escaped.split('%').filter_map(decoded).all(|byte| byte >= b' ' && !MEANS_SOMETHING.contains(&byte))
}

fn decoded(escape: &str) -> Option<u8> {
    u8::from_str_radix(escape.get(..2)?, 16).ok()
}

/// Whether no API has that path: what browsers fetch by themselves, and pages.
fn is_page(path: &str) -> bool {
    !path.starts_with("/v1/")
        && (PAGES.contains(&path)
            || path.starts_with("/.well-known/")
            || path.starts_with("/apple-touch-icon")
            || ENDINGS.iter().any(|ending| path.ends_with(ending)))
}

/// What ends or leads a segment for some reader, or is decoded once more by another.
const MEANS_SOMETHING: &[u8] = b"./\\%?#;\x7f";

const PAGES: [&str; 5] = ["/favicon.ico", "/robots.txt", "/sitemap.xml", "/ads.txt", "/humans.txt"];

const ENDINGS: [&str; 7] = [".html", ".htm", ".php", ".asp", ".aspx", ".css", ".js"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::fingerprint::KeyKind;

    const KEYED: Verdict = Verdict::Unknown(KeyKind::Project);

    #[track_caller]
    fn check(expected: Destination, paths: &[&str]) {
        for path in paths {
            assert_eq!(read(&Method::GET, path, KEYED), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_surely_are_the_apis() {
        let long = format!("/v1/files/{}", "a".repeat(5000));
        let paths = [
            "/v1/models",
            "/v1/chat/completions",
            "/v1/models/gpt-4.1",
            "/v1/models/ft%3Agpt-4o-mini%3Aacme%3A%3Aabc123",
            "/v1/vector_stores/vs_1/files/a%20b",
            "/v1/files/caf%C3%A9",
            "/v1/",
        ];
        check(Destination::Api, &paths);
        check(Destination::Api, &[&long, &format!("{long}%3A")]);
        check(Destination::Unclear, &[&format!("{long}/../../robots.txt"), &format!("{long}%2F")]);
    }

    #[test]
    fn paths_that_some_read_as_others() {
        let paths = [
            "/v1",
            "/chat/completions",
            "/api/v1/chat/completions",
            "/",
            "/v1/../robots.txt",
            "/v1/..;/robots.txt",
            "/v1/.hidden",
            "/v1/%2e%2E/robots.txt",
            "/v1/models/..%2f..%2frobots.txt",
            "/v1/models/..\\..\\robots.txt",
            "/v1/models/a%5Cb",
            "/v1/models/%252e%252e/x",
            "/v1/models/%c0%ae%c0%ae/x",
            "/v1/models/a%",
            "/v1/models/a%2",
            "/v1/models/a%zz",
            "/v1/models/a%+f",
            "/v1/models/a%é0",
            "/v1/models/a%00",
            "/v1/models/a%3Fb",
        ];
        check(Destination::Unclear, &paths);
    }

    #[test]
    fn pages() {
        let paths =
            ["/robots.txt", "/favicon.ico", "/.well-known/security.txt", "/index.php", "/apple-touch-icon-120x120.png"];
        check(Destination::Page, &paths);
    }

    #[test]
    fn who_sends_no_credential_counts_at_the_api_alone() {
        for (path, expected) in
            [("/v1/models", Destination::Api), ("/v1", Destination::Page), ("/wp-admin", Destination::Page)]
        {
            assert_eq!(read(&Method::GET, path, Verdict::Missing), expected, "{path}");
        }
    }

    #[test]
    fn what_upstream_answers_without_a_look_at_the_key_counts_nowhere() {
        for method in [Method::OPTIONS, Method::TRACE] {
            assert_eq!(read(&method, "/v1/models", KEYED), Destination::Page);
        }
    }

    #[test]
    fn a_bad_use_counts_where_a_good_one_does_not() {
        let counts = |destination: Destination| Bearing::ALL.map(|bearing| destination.counts(bearing));
        assert_eq!(counts(Destination::Api), [true; 3]);
        assert_eq!(counts(Destination::Unclear), [true, false, false]);
        assert_eq!(counts(Destination::Page), [false; 3]);
    }
}
