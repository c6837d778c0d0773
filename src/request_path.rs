//! Pure. The path of a request: our prefix in front of it, and the repair of what n8n's base URL spellings do to it.
//!
//! | path | declares |
//! |---|---|
//! | `[/set/<set>]/n8n/<workflow>/<execution>/<node>/…` | everything |
//! | `[/set/<set>]/n8n/<workflow>/<execution>/…` | workflow and execution |
//! | `[/set/<set>]/n8n/<workflow>/…` | the workflow |
//! | `/set/<set>/…` | the set |
//!
//! What follows is upstream's own path, and mostly begins with `/v1`. It goes on as it is: a `/v1` is put in front only of
//! OpenAI's own first segments. An execution is a number, or one of the words that stand for none; so a path that begins
//! otherwise (`/api/v1`) is told from one.
//!
//! The prefix is read first and literally: nothing in it is decoded, collapsed or resolved. A prefix that is wrong in
//! any place declares nothing, and its path goes on as it came. One in which an expression of n8n's stands (`{{ … }}`) is
//! taken off, and names no sender.

use std::fmt;

/// What a path declares, and how upstream's own path is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestPath<'r> {
    pub set: Option<&'r str>,
    /// The workflow's id.
    pub workflow: Option<&'r str>,
    /// The execution's id.
    pub execution: Option<&'r str>,
    /// The node's id.
    pub node: Option<&'r str>,
    /// Whether the prefix stands for the editor (its test button or a model list) rather than for a workflow.
    pub editor: bool,
    /// Whether an expression of n8n's stands in the prefix as it was written, where an id should: nothing has resolved it, and
    /// the prefix declares no sender.
    pub unresolved: bool,
    /// Where upstream's path begins: the length of the prefix, zero without one.
    pub begins: usize,
    /// What had to be put right behind the prefix.
    pub repair: Option<Repair>,
    /// With a repair: where the path goes on behind its one `/v1`.
    tail: usize,
}

/// A base URL spelling that would have failed upstream (each seen from real n8n nodes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repair {
    /// `/v1/v1/…`: the built-in OpenAI node with a slash at the end of the base URL.
    DoubledVersion,
    /// `/v1//…`: the LangChain package's OpenAI node with a slash at the end of the base URL.
    DoubledSlash,
    /// A prefix with OpenAI's own path behind it, and no `/v1` in between: the base URL ends too early.
    MissingVersion,
}

/// What goes upstream in place of the path that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'p> {
    /// Exactly what came.
    AsItCame,
    /// The end of what came; it begins with `/`.
    Suffix(&'p str),
    /// What came, with a part taken out or put in; it begins with `/`.
    Repaired(String),
}

/// Where upstream has its API, in place of `/v1`: `/api/v1`, `/openai/v1`. Begins with a slash, and ends with none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(Box<str>);

// === impl RequestPath ===

impl<'r> RequestPath<'r> {
    /// Reads a path, without its query.
    ///
    /// A dot segment anywhere makes a path that its readers resolve differently, so such a path declares nothing and
    /// is never repaired.
    #[must_use]
    pub fn read(path: &'r str) -> Self {
        let read = Self::read_prefix(path).unwrap_or_default().repaired(path);
        if read.is_plain() || !has_dot_segment(path) { read } else { Self::default() }
    }

    /// What to send upstream for the path that was read, now with its query, which stays as it is.
    #[must_use]
    pub fn target<'p>(&self, path_and_query: &'p str) -> Target<'p> {
        if self.is_plain() {
            return Target::AsItCame;
        }
        let start = if self.repair.is_some() { self.tail } else { self.begins };
        let Some((before, rest)) = path_and_query.split_at_checked(start) else {
            return Target::AsItCame;
        };
        match self.repair {
            // The last of several `/v1` stands right where the one that is wanted has to stand.
            Some(_) if before.ends_with(VERSION) => Target::Suffix(&path_and_query[start - VERSION.len()..]),
            Some(_) if rest.is_empty() || rest.starts_with(['/', '?']) => Target::Repaired([VERSION, rest].concat()),
            None if rest.starts_with('/') => Target::Suffix(rest),
            // It is not the path that was read.
            Some(_) | None => Target::AsItCame,
        }
    }

    /// Whether the path goes on exactly as it came.
    fn is_plain(&self) -> bool {
        self.begins == 0 && self.repair.is_none()
    }

    fn read_prefix(path: &'r str) -> Option<Self> {
        let (set, behind_set) = read_set(path)?;
        let (mut read, rest) = match split_segment(behind_set)? {
            ("n8n", ids) => Self::read_ids(ids)?,
            (_, _) if set.is_some() && behind_set != "/" => (Self::default(), behind_set),
            (_, _) => return None,
        };
        if read_set(rest).is_none_or(|(set, _)| set.is_some()) || rest.starts_with("/n8n/") {
            return None;
        }
        read.set = set;
        read.begins = path.len() - rest.len();
        Some(read)
    }

    /// Reads up to three segments behind `/n8n`; the first `v1` ends them. Also gives what follows.
    fn read_ids(path: &'r str) -> Option<(Self, &'r str)> {
        let (workflow, mut rest) = split_segment(path)?;
        let (mut execution, mut node) = ("", "");
        let what_follows = |rest: &'r str| split_segment(rest).filter(|_| !begins_with_version(rest));
        if let Some((first, behind)) = what_follows(rest).filter(|(first, _)| is_execution(first)) {
            (execution, rest) = (first, behind);
            if let Some((second, behind)) = what_follows(rest).filter(|(second, _)| !is_of_openai(second)) {
                (node, rest) = (second, behind);
            }
        } else if what_follows(rest).is_some_and(|(first, _)| !first.is_empty() && !is_id(first)) {
            return None;
        }
        // A base URL that ends in the middle of the ids.
        if node.is_empty() && rest.len() < 2 {
            return None;
        }
        if is_expression(&path[..path.len() - rest.len()]) {
            return Some((Self { unresolved: true, ..Self::default() }, rest));
        }
        Self::from_ids(workflow, execution, node).map(|read| (read, rest))
    }

    fn from_ids(workflow: &'r str, execution: &'r str, node: &'r str) -> Option<Self> {
        // A base URL of `/n8n/v1` names no workflow; its endpoint must not be taken for one's ids.
        let sound = workflow != "v1" && [workflow, execution, node].into_iter().all(|id| id.is_empty() || is_id(id));
        let known = |id: &'r str| Some(id).filter(|id| !is_placeholder(id));
        let read = match known(workflow) {
            Some(_) => {
                Self { workflow: Some(workflow), execution: known(execution), node: known(node), ..Self::default() }
            }
            None => Self { editor: true, ..Self::default() },
        };
        sound.then_some(read)
    }

    /// Looks at what follows the prefix. Without one, only a path that begins with `/v1` is any concern of ours.
    fn repaired(self, path: &str) -> Self {
        let rest = &path[self.begins..];
        let (behind_version, missing) = match strip_version(rest) {
            Some(behind) => (behind, None),
            None if self.begins > 0 && lacks_version(rest) => (rest, Some(Repair::MissingVersion)),
            None => return self,
        };
        let (tail, doubled) = skip_doubled(behind_version);
        match missing.or(doubled) {
            Some(repair) => Self { repair: Some(repair), tail: path.len() - tail.len(), ..self },
            None => self,
        }
    }
}

// === impl BasePath ===

impl BasePath {
    /// Of a path of whole, plain segments; nothing for any other.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':' | b'@');
        let is_segment =
            |segment: &str| !segment.is_empty() && segment.bytes().all(is_plain) && !matches!(segment, "." | "..");
        let is_path = text.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_segment));
        is_path.then(|| Self(text.into()))
    }

    /// Puts it in the place of the `/v1` that stands in front. A target that has it already, or has no `/v1`, stays.
    #[must_use]
    pub fn put_in<'p>(&self, target: Target<'p>, came: &'p str) -> Target<'p> {
        let text = match &target {
            Target::AsItCame => came,
            Target::Suffix(suffix) => suffix,
            Target::Repaired(text) => text,
        };
        match text.strip_prefix(VERSION).filter(|rest| is_whole(rest) && self.strip(text).is_none()) {
            Some(rest) => Target::Repaired([&*self.0, rest].concat()),
            None => target,
        }
    }

    /// What stands behind it, where it stands in front.
    #[must_use]
    pub fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&*self.0).filter(|rest| is_whole(rest))
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a segment ends right before that.
fn is_whole(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['/', '?'])
}

// === impl Repair ===

impl Repair {
    /// The text for the response header `x-keyward-note` and the log.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Self::DoubledVersion => "path: /v1/v1 read as /v1",
            Self::DoubledSlash => "path: /v1// read as /v1/",
            Self::MissingVersion => "path: missing /v1 put in front",
        }
    }
}

/// Whether a text may be an id: short, and visible ASCII without quotes, backslash, angle brackets and `;`, so that it
/// ends nothing in a log, a page or a tag.
#[must_use]
pub fn is_id(text: &str) -> bool {
    // Nearly every id is one, so that to look at all of its bytes without a branch is the quicker way.
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().fold(true, |plain, byte| plain & PLAIN[usize::from(byte)])
}

/// Whether a text is what an n8n expression without a value leaves behind.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    matches!(text, "" | "undefined" | "null" | "__UNKNOWN__")
}

/// Whether a text stands where an id should, because the editor has none: a blank, or what our own expressions put.
#[must_use]
pub fn is_placeholder(text: &str) -> bool {
    is_blank(text) || matches!(text, "editor" | "none")
}

/// Whether n8n's `{{` stands in the segments of ids, as clients write it into a path.
fn is_expression(ids: &str) -> bool {
    // Most have neither of the characters that begin one.
    memchr::memchr2(b'{', b'%', ids.as_bytes()).is_some()
        && ["{{", "%7B%7B", "%7b%7b"].into_iter().any(|begin| ids.contains(begin))
}

/// Reads `/set/<set>`, if the path begins with it, and gives what follows. A set is nothing without a name.
fn read_set(path: &str) -> Option<(Option<&str>, &str)> {
    let Some(name_onwards) = path.strip_prefix("/set").filter(|rest| rest.starts_with('/')) else {
        return Some((None, path));
    };
    let (set, rest) = split_segment(name_onwards)?;
    is_id(set).then_some((Some(set), rest))
}

/// The first segment, without its slash, and what follows from the next slash on.
fn split_segment(path: &str) -> Option<(&str, &str)> {
    let segments = path.strip_prefix('/')?;
    Some(segments.split_at(memchr::memchr(b'/', segments.as_bytes()).unwrap_or(segments.len())))
}

fn strip_version(path: &str) -> Option<&str> {
    path.strip_prefix(VERSION).filter(|behind| behind.is_empty() || behind.starts_with('/'))
}

fn begins_with_version(path: &str) -> bool {
    strip_version(path).is_some()
}

/// Whether n8n may have written that where the number of an execution stands.
fn is_execution(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_digit()) || is_placeholder(segment) || is_expression(segment)
}

/// Whether nothing but a `/v1` in front makes a path of OpenAI's.
fn lacks_version(rest: &str) -> bool {
    let first = rest.trim_start_matches('/');
    let first = &first[..first.find('/').unwrap_or(first.len())];
    matches!(first, "" | "v1") || is_of_openai(first)
}

/// Whether OpenAI's API has paths that begin with that segment behind their `/v1`.
fn is_of_openai(segment: &str) -> bool {
    OPENAI_SEGMENTS.contains(&segment)
}

/// Skips what is too much behind a `/v1`: more of the same, and empty segments. A single slash at the end is neither.
fn skip_doubled(mut path: &str) -> (&str, Option<Repair>) {
    let mut repair = None;
    loop {
        if let Some(behind) = strip_version(path) {
            (path, repair) = (behind, Some(Repair::DoubledVersion));
        } else if path.starts_with("//") {
            (path, repair) = (&path[1..], repair.or(Some(Repair::DoubledSlash)));
        } else {
            return (path, repair);
        }
    }
}

/// `.` and `..`, plain or percent-encoded (RFC 3986, 3.3 and 6.2.2).
fn has_dot_segment(path: &str) -> bool {
    // Most paths have neither of the characters that could make one.
    memchr::memchr2(b'.', b'%', path.as_bytes()).is_some()
        && path.split('/').filter_map(strip_dot).any(|rest| rest.is_empty() || strip_dot(rest) == Some(""))
}

fn strip_dot(text: &str) -> Option<&str> {
    match text.as_bytes() {
        [b'.', ..] => Some(&text[1..]),
        [b'%', b'2', b'e' | b'E', ..] => Some(&text[3..]),
        _ => None,
    }
}

const VERSION: &str = "/v1";

/// OpenAI's API reference, November 2026.
const OPENAI_SEGMENTS: [&str; 27] = [
    "assistants",
    "audio",
    "batches",
    "chat",
    "chatkit",
    "completions",
    "containers",
    "conversations",
    "dashboard",
    "edits",
    "embeddings",
    "engines",
    "evals",
    "files",
    "fine_tuning",
    "images",
    "models",
    "moderations",
    "organization",
    "realtime",
    "responses",
    "skills",
    "threads",
    "uploads",
    "usage",
    "vector_stores",
    "videos",
];

const LONGEST_ID: usize = 128;

/// The bytes of an id. A table, since every id of every request is held against it.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'<' | b'>' | b';');
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests;
