//! Pure. What is wrong with a configuration: every problem at once, each with its place, its key and what is allowed.

use std::fmt;
use std::sync::Arc;

use super::parse::Unfit;

/// Every problem of a configuration, sorted by place. Never quotes what may hold a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds what is wrong with a setting beside its value, such as that it is missing: unless its value was refused already.
    pub(super) fn push_if_first(&mut self, problem: Problem) {
        if !self.are_about(&problem.key) {
            self.push(problem);
        }
    }

    /// Whether one of them is about that setting.
    pub(super) fn are_about(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.key == key)
    }

    pub(super) fn sorted(mut self) -> Self {
        self.0.sort();
        self
    }

    /// Whether nothing is wrong, so that the configuration can be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n\n{problem}"))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    /// What was set: `proxy.listen`.
    pub key: String,
    /// To what, quoted and capped; nothing where it may be a secret.
    pub value: Option<String>,
    /// What is wrong, in whole sentences; empty where what is allowed says it all.
    pub text: String,
    /// What is allowed instead, where there is a short way to say it.
    pub allowed: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(place: Place, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place, key: key.into(), value: None, text: text.into(), allowed: None }
    }

    /// Of a value that is not what its setting allows.
    pub(super) fn misfit(place: Place, key: impl Into<String>, unfit: Unfit, allowed: &'static str) -> Self {
        let reason = match unfit {
            Unfit::NotAllowed => "",
            Unfit::Because(reason) => reason,
        };
        Self::new(place, key, reason).allowing(allowed)
    }

    /// With what is allowed instead.
    pub(super) fn allowing(self, allowed: &'static str) -> Self {
        Self { allowed: Some(allowed), ..self }
    }

    /// With the value that was given, unless it may hold a secret: people paste keys into the wrong line.
    pub(super) fn quoting(mut self, value: &str) -> Self {
        self.value = may_be_quoted(value).then(|| quote(value));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}: {}", self.place, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if !self.text.is_empty() {
            write!(f, "\n      {}", self.text)?;
        }
        self.allowed.map_or(Ok(()), |allowed| write!(f, "\n      Allowed: {allowed}."))
    }
}

/// Where a value was set. In the order in which they are reported; of those that can be named, later overrides earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the config file.
    File {
        /// Its path, as it was named.
        path: Arc<str>,
        /// From 1.
        line: usize,
        /// In characters, from 1; told where it helps, which is in a syntax error.
        column: Option<usize>,
    },
    /// In the environment variable of that name.
    Environment(Box<str>),
    /// In that option of the command line.
    CommandLine(&'static str),
    /// Nowhere: it is missing.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("not set"),
            Self::File { path, line, column: Some(column) } => write!(f, "{path}:{line}:{column}"),
            Self::File { path, line, column: None } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {}", name.escape_debug()),
            Self::CommandLine(option) => write!(f, "command line {option}"),
        }
    }
}

/// The known name that `name` was probably meant to be, if one is near: a third of its letters may differ.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters differ; none between a name that people may bring from elsewhere, and ours.
fn distance(name: &str, candidate: &str) -> usize {
    if FROM_ELSEWHERE.contains(&(name, candidate)) { 0 } else { strsim::damerau_levenshtein(name, candidate) }
}

/// The URL of an n8n is its `url`; that of a receiver of notices is a secret, and is where they go `to`.
const FROM_ELSEWHERE: [(&str, &str); 2] = [("url", "to"), ("to", "url")];

/// A value fit to be shown in one line: a number as it is, anything else in quotes.
fn quote(text: &str) -> String {
    if text.parse::<i64>().is_ok() {
        return text.to_owned();
    }
    let capped: String = text.chars().take(MAX_QUOTED).collect();
    let more = if capped.len() < text.len() { "…" } else { "" };
    format!("{capped:?}{more}")
}

/// Whether a text can be shown: nothing with the mark of a key, of user information in a URL or of a token in a query.
pub(super) fn may_be_quoted(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    !SECRET_MARKS.iter().any(|mark| lower.contains(mark))
}

const MAX_QUOTED: usize = 80;

const SECRET_MARKS: [&str; 9] = ["sk-", "sess-", "kw_", "ek_", "eyj", "bearer", "@", "?", "#"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_was_probably_meant() {
        #[track_caller]
        fn check(name: &str, expected: Option<&str>) {
            assert_eq!(nearest(name, ["listen", "upstream", "upstream_ca", "workers"]), expected, "{name}");
        }
        check("listn", Some("listen"));
        check("lisetn", Some("listen"));
        check("upstraem", Some("upstream"));
        check("upstream_cs", Some("upstream_ca"));
        check("worker", Some("workers"));
        check("colour", None);
        check("", None);
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_quoted() {
        #[track_caller]
        fn check(value: &str, expected: Option<&str>) {
            let problem = Problem::new(Place::Nowhere, "proxy.listen", "").quoting(value);
            assert_eq!(problem.value.as_deref(), expected, "{value}");
        }
        check("localhost", Some(r#""localhost""#));
        check("8080", Some("8080"));
        check("two\nlines\u{1b}[31m", Some(r#""two\nlines\u{1b}[31m""#));
        check("sk-proj-canary", None);
        check("Bearer canary", None);
        check("https://user:canary@host", None);
        check("https://host/?key=canary", None);
        assert!(quote(&"é".repeat(100)).ends_with("é\"…"));
    }
}
