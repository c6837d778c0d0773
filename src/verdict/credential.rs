//! Pure. Reading the one credential of a request out of the places where OpenAI looks for it.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::codes::codes;
use crate::head::{Field, Fields};

/// The credential that a request carries, as far as its form tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential<'r> {
    /// Nothing in any place.
    Missing,
    /// Something that cannot be a key.
    Malformed(Malformed),
    /// A key, well-formed as far as any upstream's may be.
    Key(Presented<'r>),
}

/// A well-formed key in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented<'r> {
    /// The key's bytes. Owned only where they had to be decoded (Basic).
    pub value: Cow<'r, [u8]>,
    /// Where it stood.
    pub place: Place,
}

/// Says where it stood, and nothing of the key.
impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The places in which OpenAI reads a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `Authorization: Bearer <key>` (RFC 6750, 2.1).
    Bearer,
    /// `Authorization: Basic base64(":" + key)` (RFC 7617): several of OpenAI's routes take the key as the password.
    Basic,
    /// `api-key: <key>`.
    ApiKey,
    /// `Sec-WebSocket-Protocol: …, openai-insecure-api-key.<key>`.
    WebSocketProtocol,
}

codes! {
    /// Why a credential cannot be a key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Malformed {
        /// `Bearer`, `Bearer `, or an empty header.
        Empty => "empty",
        /// Basic without a usable password, another scheme, or a bare key without one.
        Scheme => "scheme",
        Undefined => "undefined",
        Null => "null",
        /// `[object Object]`, `[object Promise]`.
        Object => "object",
        /// A text that stands where a key should: `YOUR_API_KEY`, `sk-...`, n8n's `__n8n_BLANK_VALUE_…`.
        Placeholder => "placeholder",
        /// The key in quotation marks.
        Quoted => "quoted",
        /// `Bearer Bearer`.
        Doubled => "doubled",
        /// White space inside or around, or an odd one such as a no-break space (0xA0).
        Whitespace => "whitespace",
        /// Two headers, two places that differ, or two credentials joined in one header (`Bearer a, Bearer b`).
        Duplicate => "duplicate",
        /// An address pasted as a key.
        Url => "url",
        /// The name of a variable that was not replaced by its value: `${X}`, `$X`, `%X%`, `$env.X`, `process.env.X`.
        Variable => "variable",
        /// The line of an environment file: `NAME=sk-…`.
        Assignment => "assignment",
        /// A key as a page shows it, with stars or dots in its middle.
        Masked => "masked",
        /// An id of OpenAI's: `org-…`, `proj_…`, `asst_…`.
        Id => "id",
        /// A key in base64.
        Encoded => "encoded",
        /// The same key twice in a row.
        Repeated => "repeated",
        /// Longer than any key.
        Oversized => "oversized",
    }
}

impl<'r> Credential<'r> {
    /// Reads the credential. The same key in two places is one credential.
    #[must_use]
    pub fn read(fields: &Fields<'r>) -> Self {
        let authorization = Self::read_place(fields.authorization, read_authorization);
        if !fields.api_key.is_present() && !fields.websocket_protocol.is_present() {
            return authorization;
        }
        let api_key = Self::read_place(fields.api_key, |value| present(value, Place::ApiKey));
        let protocol = Self::read_place(fields.websocket_protocol, read_protocols);
        authorization.or_same(api_key).or_same(protocol)
    }

    fn read_place(field: Field<'r>, read: impl FnOnce(&'r [u8]) -> Self) -> Self {
        match field {
            Field::Absent => Self::Missing,
            Field::One(value) => read(value),
            Field::Repeated(_) => Self::Malformed(Malformed::Duplicate),
        }
    }

    /// Both are one credential if one of them is missing or they say the same.
    fn or_same(self, other: Self) -> Self {
        match (self, other) {
            (Self::Missing, other) => other,
            (this, Self::Missing) => this,
            (Self::Key(this), Self::Key(other)) if this.value == other.value => Self::Key(this),
            (Self::Key(_) | Self::Malformed(_), Self::Key(_) | Self::Malformed(_)) => {
                Self::Malformed(Malformed::Duplicate)
            }
        }
    }
}

/// Scheme names compare without case (RFC 9110, 11.1).
fn read_authorization(value: &[u8]) -> Credential<'_> {
    // How every OpenAI client writes it.
    if let Some(token) = value.strip_prefix(b"Bearer ") {
        return present(token, Place::Bearer);
    }
    let scheme_ends = memchr::memchr2(b' ', b'\t', value).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_ends);
    let token = rest.get(1..).unwrap_or_default();
    if is_joined(token) {
        return Credential::Malformed(Malformed::Duplicate);
    }
    if scheme.eq_ignore_ascii_case(b"bearer") {
        present(token, Place::Bearer)
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        read_basic(token)
    } else if value.is_empty() {
        Credential::Malformed(Malformed::Empty)
    } else {
        Credential::Malformed(Malformed::Scheme)
    }
}

/// The password is the key, whatever the user is (RFC 7617, 2: the first colon ends the user).
fn read_basic(token: &[u8]) -> Credential<'_> {
    let password = BASE64_STANDARD.decode(token.trim_ascii()).ok().and_then(|pair| {
        let colon = memchr::memchr(b':', &pair)?;
        Some(pair[colon + 1..].to_vec()).filter(|password| !password.is_empty())
    });
    match password {
        None => Credential::Malformed(Malformed::Scheme),
        Some(password) => match find_fault(&password) {
            Some(fault) => Credential::Malformed(fault),
            None => Credential::Key(Presented { value: Cow::Owned(password), place: Place::Basic }),
        },
    }
}

/// A list of protocols. One of them may carry the key.
fn read_protocols(value: &[u8]) -> Credential<'_> {
    let mut keys = value
        .split(|byte| *byte == b',')
        .filter_map(|protocol| protocol.trim_ascii().strip_prefix(crate::head::PROTOCOL_WITH_KEY.as_bytes()));
    match (keys.next(), keys.next()) {
        (None, _) => Credential::Missing,
        (Some(key), None) => present(key, Place::WebSocketProtocol),
        (Some(_), Some(_)) => Credential::Malformed(Malformed::Duplicate),
    }
}

fn present(token: &[u8], place: Place) -> Credential<'_> {
    match find_fault(token) {
        Some(fault) => Credential::Malformed(fault),
        None => Credential::Key(Presented { value: Cow::Borrowed(token), place }),
    }
}

/// Looks for what no key of any upstream is. Short, long or oddly named values are keys of no set.
#[must_use]
pub fn find_fault(token: &[u8]) -> Option<Malformed> {
    match token {
        [] => Some(Malformed::Empty),
        _ if token.len() > LONGEST => Some(Malformed::Oversized),
        // No early end: so the whole key is looked at in a few steps.
        _ if !token.iter().fold(true, |sound, byte| sound & byte.is_ascii_graphic()) => find_fault_in_odd(token),
        // Only a few letters begin the texts that are mistaken for keys, and most of those are short.
        [b'"' | b'\'' | b'[' | b'{' | b'=' | b'<' | b'_' | b'h' | b'H' | b'$' | b'%' | b'p', ..] => {
            find_fault_in_text(token)
        }
        _ if token.len() <= LONGEST_WORD => find_fault_in_text(token),
        _ => find_fault_in_long(token),
    }
}

/// With white space, control characters or bytes beyond ASCII in it.
fn find_fault_in_odd(token: &[u8]) -> Option<Malformed> {
    let trimmed = token.trim_ascii();
    let first_word = trimmed.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if trimmed.is_empty() {
        Some(Malformed::Empty)
    } else if is_joined(token) {
        Some(Malformed::Duplicate)
    } else if first_word.eq_ignore_ascii_case(b"bearer") && first_word.len() < trimmed.len() {
        Some(Malformed::Doubled)
    } else if token.starts_with(b"sk-") && !is_blotted(token) && has_dots(token) {
        Some(Malformed::Masked)
    } else {
        find_fault_in_text(token).or_else(|| has_white_space(token).then_some(Malformed::Whitespace))
    }
}

/// What pages hide a part of a key behind, where that is no ASCII: an ellipsis, a bullet, a black circle.
fn has_dots(token: &[u8]) -> bool {
    DOTS.iter().any(|dot| memchr::memmem::find(token, dot.as_bytes()).is_some())
}

fn find_fault_in_text(token: &[u8]) -> Option<Malformed> {
    let is = |text: &str| token.eq_ignore_ascii_case(text.as_bytes());
    let begins = |text: &str| token.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()));
    if is("undefined") {
        Some(Malformed::Undefined)
    } else if is("null") {
        Some(Malformed::Null)
    } else if begins("[object ") {
        Some(Malformed::Object)
    } else if is("bearer") {
        Some(Malformed::Doubled)
    } else if is_quoted(token) {
        Some(Malformed::Quoted)
    } else if begins("http://") || begins("https://") {
        Some(Malformed::Url)
    } else if is_variable(token) {
        Some(Malformed::Variable)
    } else if is_placeholder(token) {
        Some(Malformed::Placeholder)
    } else if ["org-", "proj_", "asst_"].into_iter().any(|id| token.starts_with(id.as_bytes())) {
        Some(Malformed::Id)
    } else {
        find_fault_in_long(token)
    }
}

/// What is wrong with a text that has a key in it.
fn find_fault_in_long(token: &[u8]) -> Option<Malformed> {
    if token.starts_with(b"sk-") {
        find_fault_in_key(token)
    } else if token.starts_with(ENCODED) {
        Some(Malformed::Encoded)
    } else {
        is_assignment(token).then_some(Malformed::Assignment)
    }
}

/// What is wrong with a text that begins as a key does.
fn find_fault_in_key(token: &[u8]) -> Option<Malformed> {
    if is_masked(token) {
        Some(Malformed::Masked)
    } else if token.len() > LONGEST_WORD && token.len().is_multiple_of(2) && is_twice_the_same(token) {
        Some(Malformed::Repeated)
    } else {
        None
    }
}

/// Stars, or three dots: no key has either.
fn is_masked(key: &[u8]) -> bool {
    // Most have neither of the characters that could make them.
    memchr::memchr2(b'*', b'.', key).is_some_and(|at| key[at] == b'*' || memchr::memmem::find(key, b"...").is_some())
}

fn is_twice_the_same(token: &[u8]) -> bool {
    let (first, second) = token.split_at(token.len() / 2);
    first == second
}

/// Whether there are two credentials in one header, as a client or a proxy joins the values of two (RFC 9110, 5.3).
fn is_joined(token: &[u8]) -> bool {
    memchr::memchr(b',', token).is_some()
        && token.split(|byte| *byte == b',').skip(1).any(|part| {
            let mut words = part.trim_ascii().split(u8::is_ascii_whitespace);
            let scheme = words.next().unwrap_or_default();
            let is_scheme = scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"basic");
            is_scheme && words.next().is_some()
        })
}

/// How shells, Windows, n8n and Node name a variable, where nothing has put its value in.
fn is_variable(token: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    };
    let name = match token {
        [b'$', b'{', name @ .., b'}'] | [b'%', name @ .., b'%'] | [b'$', name @ ..] => name,
        _ => token.strip_prefix(b"process.env.").unwrap_or_default(),
    };
    is_name(name)
}

/// `NAME=sk-…`, with or without `export` and quotation marks.
fn is_assignment(token: &[u8]) -> bool {
    let Some((name, value)) = memchr::memchr(b'=', token).map(|at| token.split_at(at)) else { return false };
    let value = value[1..].strip_prefix(b"\"").or_else(|| value[1..].strip_prefix(b"'")).unwrap_or(&value[1..]);
    let is_name = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name(name.strip_prefix(b"export ").unwrap_or(name)) && value.starts_with(b"sk-")
}

fn is_quoted(token: &[u8]) -> bool {
    matches!(token, [b'"', .., b'"'] | [b'\'', .., b'\''])
}

/// What examples and exports put where a key should stand, and expressions that were not evaluated.
fn is_placeholder(token: &[u8]) -> bool {
    let name: Vec<u8> =
        token.to_ascii_lowercase().into_iter().map(|byte| if byte == b'-' { b'_' } else { byte }).collect();
    let is_template = matches!(token, [b'<', .., b'>']) || token.starts_with(b"{{") || token.starts_with(b"={{");
    is_template
        || token.starts_with(BLANK_VALUE.as_bytes())
        || PLACEHOLDERS.iter().any(|placeholder| placeholder.as_bytes() == name)
        || is_blotted(token)
}

/// `sk-...`, `sk-proj-xxxx`, `sk-****`: a known beginning, and then nothing but blots.
fn is_blotted(token: &[u8]) -> bool {
    let is_hidden = |rest: &[u8]| {
        let dots =
            str::from_utf8(rest).is_ok_and(|text| text.chars().all(|dot| "*.\u{2026}\u{2022}\u{25cf}".contains(dot)));
        rest.len() >= 3 && dots
    };
    if is_hidden(token) {
        return true;
    }
    let Some(rest) = token.strip_prefix(b"sk-") else { return false };
    let rest = rest.strip_prefix(b"proj-").unwrap_or(rest);
    rest.len() >= 3 && rest.iter().all(|byte| matches!(byte, b'.' | b'x' | b'X' | b'*')) || is_hidden(rest)
}

/// ASCII white space and control characters, and the odd spaces that come by copy and paste: no-break (0xA0, alone or as
/// UTF-8), zero-width, and the byte order mark.
fn has_white_space(token: &[u8]) -> bool {
    let odd: [&[u8]; 4] = [b"\xa0", "\u{200b}".as_bytes(), "\u{feff}".as_bytes(), "\u{2060}".as_bytes()];
    token.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
        || odd.iter().any(|space| memchr::memmem::find(token, space).is_some())
}

/// What n8n shows in place of a secret, and stores as one when an exported credential is put back (seen in n8n 1.100.1
/// and 2.41.1).
const BLANK_VALUE: &str = "__n8n_BLANK_VALUE_";

/// In lower case, with `_` for `-`.
const PLACEHOLDERS: [&str; 16] = [
    "your_api_key",
    "your_api_key_here",
    "your_openai_api_key",
    "your_key",
    "your_key_here",
    "api_key",
    "apikey",
    "openai_api_key",
    "my_api_key",
    "my api key",
    "changeme",
    "none",
    "empty",
    "not_needed",
    "not needed",
    "dummy",
];

const DOTS: [&str; 3] = ["\u{2026}", "\u{2022}", "\u{25cf}"];

/// How base64 of a key begins: of `sk-`, whatever follows.
const ENCODED: &[u8] = b"c2st";

/// No word that is mistaken for a key is longer.
const LONGEST_WORD: usize = 48;

/// Twice the longest access token that was seen.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests;
