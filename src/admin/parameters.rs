//! Pure. The parameters of a request to the admin listener, read strictly: a misspelt filter is told, and does not give
//! everything.

use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};
use crate::telemetry::masked::mask_and_cap;

/// Parameters by name, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Of a query as it came, without its `?`. Only those names may stand in it.
    pub fn read(text: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut read = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                return Err(bad(format!("There is no parameter {}; known here: {}.", quote(&name), list(known))));
            }
            if read.value(&name).is_some() {
                return Err(bad(format!("The parameter `{name}` stands there twice.")));
            }
            if value.is_empty() {
                return Err(bad(format!("The parameter `{name}` is empty.")));
            }
            read.0.push((name, value));
        }
        Ok(read)
    }

    /// Of a form in a browser, which sends what was left empty as well.
    pub fn read_form(text: &str, known: &[&str]) -> Result<Self, Problem> {
        let filled: Vec<_> = text.split('&').filter(|pair| !pair.ends_with('=')).collect();
        Self::read(&filled.join("&"), known)
    }

    /// Parameters that keyward itself chose, so that no name or value is checked.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The value of that parameter.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How many rows are wanted, and behind which one.
    pub fn page(&self) -> Result<Page, Problem> {
        let limit = self.value("limit").map_or(Ok(PAGE), |text| {
            let count = text.parse().ok().filter(|count| (1..=LARGEST_PAGE).contains(count));
            count.ok_or_else(|| bad(format!("`limit` is {}. Allowed: 1 to {LARGEST_PAGE}.", quote(text))))
        })?;
        let behind = self.value("cursor").map(|text| {
            let numbers: Option<Vec<i64>> = text.split('.').map(|number| number.parse().ok()).collect();
            let place = numbers.and_then(|numbers| <[i64; 3]>::try_from(numbers).ok());
            place.ok_or_else(|| bad("`cursor` is none that keyward gave: it stands in `next` of the page before."))
        });
        Ok(Page { limit, behind: behind.transpose()? })
    }

    /// The value of a parameter that may be one of `words`; nothing where it is absent, a problem where it is another.
    pub fn word<'w>(&self, name: &str, words: &[&'w str]) -> Result<Option<&'w str>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let found = words.iter().find(|word| **word == value);
        let wrong = || bad(format!("`{name}` is {}. Allowed: {}.", quote(value), words.join(", ")));
        found.copied().map(Some).ok_or_else(wrong)
    }
}

/// A part of a list, whose rows have places that follow one another whatever comes and goes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: usize,
    behind: Option<[i64; 3]>,
}

impl Page {
    /// The rows of this page, of a list that is in the order of its places; and the cursor of the next one.
    pub fn cut<'r, T>(&self, rows: &'r [T], place: impl Fn(&T) -> [i64; 3]) -> (&'r [T], Option<String>) {
        let first = self.behind.map_or(0, |behind| rows.partition_point(|row| place(row) <= behind));
        let rest = &rows[first..];
        let rows = &rest[..rest.len().min(self.limit)];
        let last = rows.last().filter(|_| rows.len() < rest.len()).map(place);
        (rows, last.map(|[a, b, c]| format!("{a}.{b}.{c}")))
    }
}

fn decode(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| bad("The query is no text in UTF-8."))
}

fn list(known: &[&str]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadQuery, detail)
}

/// A person's text, fit to be shown: harmless, short and without keys.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("{:?}", mask_and_cap(text, MOST_QUOTED))
}

/// How many rows are told where the request does not say how many.
const PAGE: usize = 100;

/// How many may be asked for.
const LARGEST_PAGE: usize = 10_000;

/// How much of a text is shown, in bytes.
const MOST_QUOTED: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name() {
        let query = Parameters::read("workflow=a%20b+c&verdict=outdated&", &["workflow", "verdict"]).expect("a query");
        assert_eq!((query.value("workflow"), query.value("verdict")), (Some("a b c"), Some("outdated")));
        assert_eq!(query.value("set"), None);
        assert_eq!(query.word("verdict", &["current", "outdated"]).expect("a word"), Some("outdated"));
        assert_eq!(query.word("set", &["default"]).expect("none"), None);
        assert_eq!(Parameters::read("", &[]).expect("nothing"), Parameters::default());
    }

    #[test]
    fn what_a_form_leaves_empty_is_not_asked() {
        let read = Parameters::read_form("q=&state=stale&set=", &["q", "state", "set"]).expect("a form");
        assert_eq!(read, Parameters::of(&[("state", "stale")]));
        assert!(Parameters::read_form("q=a&r=b", &["q"]).is_err());
    }

    #[test]
    fn pages_follow_one_another_whatever_comes_and_goes() {
        let page = |text: &str| Parameters::read(text, &["limit", "cursor"]).and_then(|read| read.page());
        let place = |row: &i64| [0, -row, 7];
        let (rows, next) = page("limit=2").expect("a page").cut(&[9, 8, 7, 6, 5], place);
        assert_eq!((rows, next.as_deref()), (&[9, 8][..], Some("0.-8.7")));
        let next = page(&format!("limit=2&cursor={}", next.expect("a cursor"))).expect("a page");
        let (rows, last) = next.cut(&[10, 7, 5], place);
        assert_eq!((rows, last), (&[7, 5][..], None), "8 is gone, 10 is new");
        for wrong in ["limit=0", "limit=10001", "limit=x", "cursor=x", "cursor=1.2", "cursor=1.2.3.4"] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        #[track_caller]
        fn check(text: &str, said: &str) {
            let read = Parameters::read(text, &["set", "verdict"]);
            let error = read.and_then(|query| query.word("verdict", &["current", "next"])).expect_err("a problem");
            let shown = format!("{error:?}");
            assert!(shown.contains(said), "{shown}");
        }
        check("verdikt=current", "known here: set, verdict.");
        check("verdict=curent", "Allowed: current, next.");
        check("set=a&set=b", "stands there twice");
        check("set", "is empty");
        check("set=%ff", "UTF-8");
        check("%1b[31m=1", r"\\u{1b}");
        check("verdict=sk-proj-0123456789abcdef0123", "sk-…[redacted]");
    }
}
