//! Pure. The field lines of a head (RFC 9110, 5): they stay in the bytes that came, and are edited in place.
//!
//! Each line knows by its [`Name`] what it means to keyward, so that it is found and removed without its text being compared
//! again. In HTTP/2 lines come as a map, and go as one.

use std::fmt;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::spares::Spares;

/// Declares the names that mean something to keyward: in lower case, the shortest first.
macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        /// What a line is called, as far as that means something to keyward. Names compare without case (RFC 9110, 5.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Name {
            $($name,)*
            /// Any other that begins with `x-keyward-`.
            OtherOfKeyward,
            Other,
        }

        impl Name {
            /// All that have a text of their own, the shortest first.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What stands in the head of a message.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::OtherOfKeyward | Self::Other => "",
                }
            }
        }

        /// In the order of [`Name`].
        static HEADER_NAMES: [HeaderName; Name::ALL.len()] = [$(HeaderName::from_static($text)),*];
    };
}

names! {
    Te = "te",
    Via = "via",
    Date = "date",
    Etag = "etag",
    Host = "host",
    Accept = "accept",
    Apikey = "apikey",
    Cookie = "cookie",
    Expect = "expect",
    Origin = "origin",
    AltSvc = "alt-svc",
    ApiKey = "api-key",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Location = "location",
    Forwarded = "forwarded",
    XApiKey = "x-api-key",
    N8nTag = "x-n8n-tag",
    XRealIp = "x-real-ip",
    Connection = "connection",
    KeepAlive = "keep-alive",
    SetCookie = "set-cookie",
    UserAgent = "user-agent",
    RetryAfter = "retry-after",
    ContentType = "content-type",
    KeywardId = "x-keyward-id",
    Authorization = "authorization",
    HeliconeAuth = "helicone-auth",
    N8nNodeId = "x-n8n-node-id",
    ContentLength = "content-length",
    OpenAiProject = "openai-project",
    XGoogApiKey = "x-goog-api-key",
    KeywardNote = "x-keyward-note",
    OpenAiPlatform = "openai-platform",
    XForwardedFor = "x-forwarded-for",
    ContentEncoding = "content-encoding",
    ProxyConnection = "proxy-connection",
    WwwAuthenticate = "www-authenticate",
    StainlessLang = "x-stainless-lang",
    TransferEncoding = "transfer-encoding",
    KeywardVerdict = "x-keyward-verdict",
    XLitellmApiKey = "x-litellm-api-key",
    N8nWorkflowId = "x-n8n-workflow-id",
    XPortkeyApiKey = "x-portkey-api-key",
    N8nExecutionId = "x-n8n-execution-id",
    OpenAiOrganization = "openai-organization",
    ProxyAuthorization = "proxy-authorization",
    N8nWorkflowName = "x-n8n-workflow-name",
    CfAigAuthorization = "cf-aig-authorization",
    SecWebSocketProtocol = "sec-websocket-protocol",
    CfAccessClientSecret = "cf-access-client-secret",
    SecWebSocketExtensions = "sec-websocket-extensions",
    OcpApimSubscriptionKey = "ocp-apim-subscription-key",
    StrictTransportSecurity = "strict-transport-security",
    StainlessVersion = "x-stainless-package-version",
    AccessControlRequestMethod = "access-control-request-method",
}

impl Name {
    /// Of a line that is called `text`, which has to be a token (RFC 9110, 5.6.2).
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let first = first_bytes(text);
        if let Some(name) = SLOTS[slot(first, text.len(), MULTIPLIER)]
            && FIRST_BYTES[name as usize] == first
            && is_rest_same(name.text().as_bytes(), text)
        {
            return name;
        }
        let is_ours =
            first == first_bytes(OURS) && text.get(..OURS.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(OURS));
        if is_ours { Self::OtherOfKeyward } else { Self::Other }
    }

    fn header_name(self) -> &'static HeaderName {
        &HEADER_NAMES[self as usize]
    }
}

/// How keyward's own names begin.
const OURS: &[u8] = b"x-keyward-";

/// How long the longest name with a text of its own is, in bytes.
const LONGEST: usize = Name::ALL[Name::ALL.len() - 1].text().len();

/// The eight bytes at `at`, in lower case.
const fn eight_bytes(text: &[u8], at: usize) -> u64 {
    let (_, rest) = text.split_at(at);
    match rest.first_chunk() {
        // It turns no other byte of a token into a letter, a digit or a hyphen.
        Some(bytes) => u64::from_le_bytes(*bytes) | u64::from_le_bytes([b' '; 8]),
        None => 0,
    }
}

/// The first eight bytes of a name, or all that there are, in lower case.
const fn first_bytes(text: &[u8]) -> u64 {
    if text.len() >= 8 {
        return eight_bytes(text, 0);
    }
    let (mut bytes, mut at) = (0, 0);
    while at < text.len() {
        bytes |= ((text[at] | b' ') as u64) << (8 * at);
        at += 1;
    }
    bytes
}

/// Whether a name is `text` in lower case, which has the same first bytes.
fn is_rest_same(name: &[u8], text: &[u8]) -> bool {
    let length = name.len();
    let is_same = |at| eight_bytes(name, at) == eight_bytes(text, at);
    length == text.len()
        && match length {
            0..=8 => true,
            9..=16 => is_same(length - 8),
            17..=24 => is_same(8) && is_same(length - 8),
            _ => is_same(8) && is_same(16) && is_same(length - 8),
        }
}

/// Where a name stands in [`SLOTS`], by its first bytes and its length.
const fn slot(first: u64, length: usize, multiplier: u64) -> usize {
    // The upper bits of a product hang on all bits of its factors.
    ((first ^ length as u64).wrapping_mul(multiplier) >> (64 - SLOT_BITS)) as usize
}

const SLOT_BITS: u32 = 9;

/// The names by their slots: no two have the same one.
static SLOTS: Slots = match slots(MULTIPLIER) {
    Some(slots) => slots,
    None => [None; _],
};

type Slots = [Option<Name>; 1 << SLOT_BITS];

/// One by which each name has a slot of its own, as the first of a row of odd numbers.
const MULTIPLIER: u64 = {
    let mut multiplier: u64 = 0x9e37_79b9_7f4a_7c15;
    while slots(multiplier).is_none() {
        multiplier = multiplier.wrapping_mul(0xd134_2543_de82_ef95) | 1;
    }
    multiplier
};

const fn slots(multiplier: u64) -> Option<Slots> {
    let (mut slots, mut at): (Slots, _) = ([None; _], 0);
    while at < FIRST_BYTES.len() {
        let slot = slot(FIRST_BYTES[at], Name::ALL[at].text().len(), multiplier);
        if slots[slot].is_some() {
            return None;
        }
        slots[slot] = Some(Name::ALL[at]);
        at += 1;
    }
    Some(slots)
}

/// In the order of [`Name`].
const FIRST_BYTES: [u64; Name::ALL.len()] = {
    let (mut all, mut at) = ([0; Name::ALL.len()], 0);
    while at < all.len() {
        all[at] = first_bytes(Name::ALL[at].text().as_bytes());
        at += 1;
    }
    all
};

// All bytes of a name are looked at.
const _: () = assert!(LONGEST <= 32);

/// A set of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    /// Those of a list.
    #[must_use]
    pub const fn of(list: &[Name]) -> Self {
        let (mut names, mut at) = (0, 0);
        while at < list.len() {
            names |= Self(0).and(list[at]).0;
            at += 1;
        }
        Self(names)
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn contains(self, name: Name) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    /// Whether the two have one in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These, and one more.
    #[must_use]
    pub const fn and(self, name: Name) -> Self {
        Self(self.0 | 1 << name as u8)
    }

    fn add(&mut self, name: Name) {
        *self = self.and(name);
    }
}

/// The field lines of a head, in their order.
#[derive(Clone, Default)]
pub struct FieldLines {
    /// The head as it came in HTTP/1.1.
    came: Bytes,
    lines: Vec<Place>,
    /// Lines that came in HTTP/2, and keyward's own.
    others: Vec<(HeaderName, HeaderValue)>,
    /// At least those that are there.
    names: Names,
}

impl Drop for FieldLines {
    fn drop(&mut self) {
        Spares::put(&PLACES, std::mem::take(&mut self.lines));
        Spares::put(&OTHERS, std::mem::take(&mut self.others));
    }
}

thread_local! {
    static PLACES: Spares<Place> = const { Spares::new() };
    static OTHERS: Spares<(HeaderName, HeaderValue)> = const { Spares::new() };
}

/// Where a line stands.
#[derive(Clone, Copy)]
struct Place {
    name: Name,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    /// In the bytes that came.
    Came { text: Span, value: Span },
    /// Among the others.
    Other(u32),
}

/// From one byte up to another one.
#[derive(Clone, Copy)]
struct Span(u32, u32);

impl Span {
    /// Where `part`, which is a part of it, stands in what begins at that address.
    fn of(part: &[u8], begin: usize) -> Self {
        // A head is at most as long as the settings allow, which is far below this.
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let from = if part.is_empty() { 0 } else { part.as_ptr().addr().wrapping_sub(begin) };
        Self(offset(from), offset(from.saturating_add(part.len())))
    }

    fn in_bytes(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

impl At {
    /// The whole line in the bytes that came, if nothing of it would be written otherwise.
    fn as_it_came(self, came: &[u8]) -> Option<Span> {
        let Self::Came { text, value } = self else { return None };
        let end = value.1.checked_add(2)?;
        let is = Span(text.1, value.0).in_bytes(came) == b": " && Span(value.1, end).in_bytes(came) == b"\r\n";
        is.then_some(Span(text.0, end))
    }
}

/// A field line.
#[derive(Clone, Copy)]
pub struct FieldLine<'l> {
    pub name: Name,
    /// Its name as it came.
    pub text: &'l [u8],
    pub value: &'l [u8],
}

/// Reads the lines of a head in HTTP/1.1.
pub struct LinesInPlace {
    begin: usize,
    lines: Vec<Place>,
    names: Names,
}

impl LinesInPlace {
    /// Of a head that begins with `head`, with `most` lines.
    #[must_use]
    pub fn new(head: &[u8], most: usize) -> Self {
        let mut lines = Spares::take(&PLACES);
        lines.reserve(most + ROOM_FOR_OURS);
        Self { begin: head.as_ptr().addr(), lines, names: Names::default() }
    }

    /// Adds a line whose name and value are parts of the head. Both have to be fit for one (RFC 9110, 5.1 and 5.5).
    pub fn add(&mut self, name: Name, text: &[u8], value: &[u8]) {
        let at = At::Came { text: Span::of(text, self.begin), value: Span::of(value, self.begin) };
        self.names.add(name);
        self.lines.push(Place { name, at });
    }

    /// Those that were added, in the head that they are parts of.
    #[must_use]
    pub fn within(self, came: Bytes) -> FieldLines {
        debug_assert_eq!(came.as_ptr().addr(), self.begin, "the same bytes");
        FieldLines { came, lines: self.lines, others: Vec::new(), names: self.names }
    }
}

impl FieldLines {
    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = FieldLine<'_>> {
        self.lines.iter().map(|place| self.line(*place))
    }

    fn line(&self, place: Place) -> FieldLine<'_> {
        let (text, value) = match place.at {
            At::Came { text, value } => (text.in_bytes(&self.came), value.in_bytes(&self.came)),
            At::Other(at) => {
                let (name, value) = &self.others[at as usize];
                (name.as_str().as_bytes(), value.as_bytes())
            }
        };
        FieldLine { name: place.name, text, value }
    }

    /// Writes all but those with one of these names, as HTTP/1.1 has them (RFC 9112, 5). Lines that stand side by side as they
    /// are to be written are copied at once.
    pub fn write(&self, left_out: Names, out: &mut Vec<u8>) {
        let came = &*self.came;
        let mut run = Span(0, 0);
        for place in self.lines.iter().filter(|place| !left_out.contains(place.name)) {
            match place.at.as_it_came(came) {
                Some(line) if line.0 == run.1 => run.1 = line.1,
                Some(line) => {
                    out.extend_from_slice(run.in_bytes(came));
                    run = line;
                }
                None => {
                    out.extend_from_slice(run.in_bytes(came));
                    run = Span(0, 0);
                    let FieldLine { text, value, .. } = self.line(*place);
                    for part in [text, b": ", value, b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                }
            }
        }
        out.extend_from_slice(run.in_bytes(came));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The values of all lines of that name.
    pub fn all(&self, name: Name) -> impl DoubleEndedIterator<Item = &[u8]> {
        let lines = if self.names.contains(name) { &self.lines[..] } else { &[] };
        lines.iter().filter(move |place| place.name == name).map(|place| self.line(*place).value)
    }

    /// The value of the first line of that name.
    #[must_use]
    pub fn first(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Whether there is one of that name.
    #[must_use]
    pub fn contains(&self, name: Name) -> bool {
        self.first(name).is_some()
    }

    /// The first value of that name as one of `http`'s.
    #[must_use]
    pub fn first_value(&self, name: Name) -> Option<HeaderValue> {
        let place = self.lines.iter().find(|place| place.name == name)?;
        Some(self.entry(*place).1)
    }

    /// Adds a line behind the others.
    pub fn add(&mut self, name: Name, value: HeaderValue) {
        let at = self.keep(name.header_name().clone(), value);
        self.lines.push(Place { name, at });
        self.names.add(name);
    }

    /// Puts a line in the place of the first one of its name, and removes the rest of that name.
    pub fn set(&mut self, name: Name, value: HeaderValue) {
        if !self.names.contains(name) {
            return self.add(name, value);
        }
        let at = self.keep(name.header_name().clone(), value);
        match self.lines.iter().position(|place| place.name == name) {
            None => self.lines.push(Place { name, at }),
            Some(first) => {
                self.lines[first].at = at;
                let mut number = 0;
                self.lines.retain(|place| {
                    number += 1;
                    place.name != name || number == first + 1
                });
            }
        }
    }

    fn keep(&mut self, name: HeaderName, value: HeaderValue) -> At {
        // There are never so many.
        let at = u32::try_from(self.others.len()).unwrap_or(u32::MAX);
        if self.others.capacity() == 0 {
            self.others = Spares::take(&OTHERS);
            self.others.reserve(ROOM_FOR_OURS);
        }
        self.others.push((name, value));
        At::Other(at)
    }

    /// Removes every line of that name.
    pub fn remove(&mut self, name: Name) {
        self.remove_all(Names::of(&[name]));
    }

    /// Removes every line with one of these names.
    pub fn remove_all(&mut self, names: Names) {
        if self.names.meets(names) {
            self.lines.retain(|place| !names.contains(place.name));
            self.names.0 &= !names.0;
        }
    }

    /// Removes the lines for which that holds.
    pub fn remove_if(&mut self, mut is_unwanted: impl FnMut(FieldLine<'_>) -> bool) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|place| !is_unwanted(self.line(*place)));
        self.lines = lines;
    }

    /// Puts `value` in the place of those for which that holds, and gives how many they were.
    pub fn replace_values(&mut self, is_unwanted: impl Fn(&[u8]) -> bool, value: &HeaderValue) -> usize {
        let mut count = 0;
        for number in 0..self.lines.len() {
            let place = self.lines[number];
            if is_unwanted(self.line(place).value) {
                let (name, _) = self.entry(place);
                self.lines[number].at = self.keep(name, value.clone());
                count += 1;
            }
        }
        count
    }

    /// Removes all of them, and keeps their room.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.others.clear();
        self.names = Names::default();
        self.came = Bytes::new();
    }

    /// The line as `http` has it.
    fn entry(&self, place: Place) -> (HeaderName, HeaderValue) {
        match place.at {
            At::Other(at) => self.others[at as usize].clone(),
            At::Came { text, value } => {
                let text = text.in_bytes(&self.came);
                let value = self.came.slice(value.0 as usize..value.1 as usize);
                // What was read as a line is fit for one.
                let name = HeaderName::from_bytes(text).unwrap_or(HeaderName::from_static("x-unreadable"));
                (name, HeaderValue::from_maybe_shared(value).unwrap_or(HeaderValue::from_static("")))
            }
        }
    }

    /// As HTTP/2 takes them.
    #[must_use]
    pub fn into_map(self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.lines.len());
        for place in &self.lines {
            let (name, value) = self.entry(*place);
            map.append(name, value);
        }
        map
    }
}

/// The value, if it is visible ASCII, blanks and tabs.
#[must_use]
pub fn visible_text(value: &[u8]) -> Option<&str> {
    // Each byte is looked at, which takes the processor less than to stop at the first odd one.
    let is_visible = value.iter().fold(true, |all, byte| all & matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| is_visible)
}

impl From<HeaderMap> for FieldLines {
    fn from(map: HeaderMap) -> Self {
        let count = map.len() + ROOM_FOR_OURS;
        let mut lines = Self {
            came: Bytes::new(),
            lines: Vec::with_capacity(count),
            others: Vec::with_capacity(count),
            names: Names::default(),
        };
        let mut last = None;
        for (name, value) in map {
            // Only the first of several has its name with it.
            let Some(text) = name.or_else(|| last.clone()) else { continue };
            let name = Name::of(text.as_str().as_bytes());
            last = Some(text.clone());
            let at = lines.keep(text, value);
            lines.lines.push(Place { name, at });
            lines.names.add(name);
        }
        lines
    }
}

/// Names alone: a value may be a secret.
impl fmt::Debug for FieldLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|line| String::from_utf8_lossy(line.text))).finish()
    }
}

/// How many lines keyward adds to a head.
const ROOM_FOR_OURS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &'static str) -> FieldLines {
        let came = Bytes::from_static(head.as_bytes());
        let mut lines = LinesInPlace::new(&came, 8);
        for line in head.lines() {
            let (name, value) = line.split_once(": ").expect("a line");
            lines.add(Name::of(name.as_bytes()), name.as_bytes(), value.as_bytes());
        }
        lines.within(came)
    }

    fn written(lines: &FieldLines) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        lines.iter().map(|line| format!("{}: {}", text(line.text), text(line.value))).collect()
    }

    #[test]
    fn every_name_is_known_however_it_is_written() {
        for (number, name) in Name::ALL.iter().enumerate() {
            assert_eq!(*name as usize, number);
            assert_eq!(name.header_name().as_str(), name.text());
            for text in [name.text().to_owned(), name.text().to_ascii_uppercase()] {
                assert_eq!(Name::of(text.as_bytes()), *name, "{text}");
            }
            for text in [format!("{}x", name.text()), format!("x{}", name.text()), name.text()[1..].to_owned()] {
                assert!(matches!(Name::of(text.as_bytes()), Name::Other | Name::OtherOfKeyward), "{text}");
            }
        }
        for name in Name::ALL {
            for at in 0..name.text().len() {
                let mut text = name.text().as_bytes().to_vec();
                text[at] = b'!';
                assert!(matches!(Name::of(&text), Name::Other | Name::OtherOfKeyward), "{name:?} {at}");
            }
        }
        assert!(Name::ALL.is_sorted_by_key(|name| name.text().len()));
        assert_eq!(Name::of(b"X-Keyward-Anything-That-Is-Longer-Than-The-Longest"), Name::OtherOfKeyward);
        assert_eq!(Name::of(b""), Name::Other);
        assert!(Name::Other as u8 <= 63, "it fits into a set");
    }

    #[test]
    fn lines_are_edited_in_their_place() {
        let mut lines = read("Host: a\r\nX-Odd: 1\r\nTE: gzip\r\nhost: b\r\nAccept: */*");
        lines.set(Name::Host, HeaderValue::from_static("c"));
        lines.set(Name::Date, HeaderValue::from_static("now"));
        lines.remove(Name::Te);
        assert_eq!(written(&lines), ["host: c", "X-Odd: 1", "Accept: */*", "date: now"]);
        lines.remove_if(|line| line.text.eq_ignore_ascii_case(b"x-odd"));
        lines.add(Name::Accept, HeaderValue::from_static("text/html"));
        assert_eq!(lines.all(Name::Accept).collect::<Vec<_>>(), [&b"*/*"[..], b"text/html"]);
        assert_eq!((lines.contains(Name::Te), lines.first(Name::Date)), (false, Some(&b"now"[..])));
        lines.remove(Name::Host);
        lines.set(Name::Host, HeaderValue::from_static("d"));
        assert_eq!(written(&lines), ["Accept: */*", "date: now", "accept: text/html", "host: d"]);
    }

    #[test]
    fn lines_are_written_as_they_came_but_for_white_space_and_ends() {
        #[track_caller]
        fn check(head: &'static str, expected: &str) {
            let came = Bytes::from_static(head.as_bytes());
            let mut lines = LinesInPlace::new(&came, 8);
            for line in head.lines() {
                let (name, value) = line.split_once(':').expect("a line");
                lines.add(Name::of(name.as_bytes()), name.as_bytes(), value.trim().as_bytes());
            }
            let mut lines = lines.within(came);
            lines.set(Name::Host, HeaderValue::from_static("ours"));
            let mut out = Vec::new();
            lines.write(Names::of(&[Name::Te]), &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected, "{head:?}");
        }
        check("A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\nhost: ours\r\n");
        check("A: 1\r\nTE: gzip\r\nB: 2\r\nHost: a\r\nC: 3\r\n", "A: 1\r\nB: 2\r\nhost: ours\r\nC: 3\r\n");
        check("A:1\r\nB:\t2 \r\nC: 3\nD: 4 \nE:\r\n", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: \r\nhost: ours\r\n");
    }

    #[test]
    fn a_line_that_was_removed_one_by_one_may_be_set_again() {
        let mut lines = read("Host: a");
        lines.remove_if(|line| line.name == Name::Host);
        assert!(!lines.contains(Name::Host));
        lines.set(Name::Host, HeaderValue::from_static("b"));
        assert_eq!(written(&lines), ["host: b"]);
    }

    #[test]
    fn a_map_and_lines_become_each_other() {
        let lines = read("Set-Cookie: a\r\nX-Odd: 1\r\nset-cookie: b\r\nEmpty: ");
        let map = lines.clone().into_map();
        assert_eq!(map.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
        let again = FieldLines::from(map.clone());
        assert_eq!(again.all(Name::SetCookie).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(again.into_map(), map);
    }

    #[test]
    fn values_are_replaced_and_never_shown() {
        let mut lines = read("X-Odd: sk-canary\r\nHost: a");
        assert!(!format!("{lines:?}").contains("canary"));
        let redacted = HeaderValue::from_static("[redacted]");
        assert_eq!(lines.replace_values(|value| value.starts_with(b"sk-"), &redacted), 1);
        assert_eq!(written(&lines), ["x-odd: [redacted]", "Host: a"]);
    }
}
