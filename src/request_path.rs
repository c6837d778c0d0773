//! Pure. The path of a request: our prefix in front of it, and the repair of what n8n's base URL spellings do to it.
//!
//! | path | declares |
//! |---|---|
//! | `[/set/<set>]/n8n/<workflow>/<execution>/<node>/v1/…` | everything; the `/v1` may be missing |
//! | `[/set/<set>]/n8n/<workflow>/<execution>/v1/…` | workflow and execution |
//! | `[/set/<set>]/n8n/<workflow>/v1/…` | the workflow |
//! | `/set/<set>/v1/…` | the set |
//!
//! The prefix is read first and literally: nothing in it is decoded, collapsed or resolved. A prefix that is wrong in
//! any place declares nothing, and its path goes on as it came. One in which an expression of n8n's stands (`{{ … }}`) is
//! taken off, and names no sender.

/// What a path declares, and how upstream's own path is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestPath<'r> {
    /// The key set.
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
    /// A full prefix without `/v1` behind it: the base URL ends too early.
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
            (_, _) if set.is_some() && begins_with_version(behind_set) => (Self::default(), behind_set),
            (_, _) => return None,
        };
        read.set = set;
        read.begins = path.len() - rest.len();
        Some(read)
    }

    /// Reads up to three segments behind `/n8n`; the first `v1` ends them. Also gives what follows.
    fn read_ids(path: &'r str) -> Option<(Self, &'r str)> {
        let (workflow, mut rest) = split_segment(path)?;
        let (mut execution, mut node) = ("", "");
        if !begins_with_version(rest) {
            (execution, rest) = split_segment(rest)?;
        }
        if !begins_with_version(rest) {
            (node, rest) = split_segment(rest)?;
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
            None if self.begins > 0 => (rest, Some(Repair::MissingVersion)),
            None => return self,
        };
        let (tail, doubled) = skip_doubled(behind_version);
        match missing.or(doubled) {
            Some(repair) => Self { repair: Some(repair), tail: path.len() - tail.len(), ..self },
            None => self,
        }
    }
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
