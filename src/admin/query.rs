//! Pure. The query of a request to the admin listener, read strictly: whoever misspells a filter is told, and does not get
//! everything.

use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};
use crate::telemetry::masked::mask_and_cap;

/// Parameters by name, each at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of a query as it came, without its `?`. Only those names may stand in it.
    pub fn read(text: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                return Err(bad(format!("There is no parameter {}; known here: {}.", quote(&name), list(known))));
            }
            if query.value(&name).is_some() {
                return Err(bad(format!("The parameter `{name}` stands there twice.")));
            }
            if value.is_empty() {
                return Err(bad(format!("The parameter `{name}` is empty.")));
            }
            query.0.push((name, value));
        }
        Ok(query)
    }

    /// The value of that parameter.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// One of those words.
    pub fn word<'w>(&self, name: &str, words: &[&'w str]) -> Result<Option<&'w str>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let found = words.iter().find(|word| **word == value);
        let wrong = || bad(format!("`{name}` is {}. Allowed: {}.", quote(value), words.join(", ")));
        found.copied().map(Some).ok_or_else(wrong)
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

/// Somebody's text, fit to be shown: harmless, short and without keys.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("{:?}", mask_and_cap(text, MOST_QUOTED))
}

/// How much of a text is shown, in bytes.
const MOST_QUOTED: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name() {
        let query = Query::read("workflow=a%20b+c&verdict=outdated&", &["workflow", "verdict"]).expect("a query");
        assert_eq!((query.value("workflow"), query.value("verdict")), (Some("a b c"), Some("outdated")));
        assert_eq!(query.value("set"), None);
        assert_eq!(query.word("verdict", &["current", "outdated"]).expect("a word"), Some("outdated"));
        assert_eq!(query.word("set", &["default"]).expect("none"), None);
        assert_eq!(Query::read("", &[]).expect("nothing"), Query::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_allowed() {
        #[track_caller]
        fn check(text: &str, said: &str) {
            let read = Query::read(text, &["set", "verdict"]);
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
