//! Every odd Authorization that real n8n sends, under each policy: what it is called, and what upstream gets, byte for
//! byte. The values were seen from n8n 1.100.1 and 2.41.1; each is sent with the heads of two clients of both versions.

use keyward::keys::rules::Policy;
use serde_json::Value;

use crate::support::{Answer, CURRENT, Client, FakeUpstream, Received, Recording, TestProxy, recording};

/// What a value is, and who gets on with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The current key, whatever the typist did.
    Good,
    /// Nothing: an allowed address is enough.
    Nothing(&'static str),
    /// No key.
    Bad(&'static str),
    /// A key that no set has.
    Unknown,
}

/// What was in the credential's field, what n8n made of it (`KEY` is the current key), and what it is.
#[rustfmt::skip]
const VALUES: [(&str, Option<&[u8]>, Kind); 29] = [
    ("the header was lost to a redirect", None, Kind::Nothing("dropped_header")),
    ("empty, or left out (1.x)", Some(b"Bearer "), Kind::Nothing("malformed_empty")),
    ("empty, or left out (2.x)", Some(b"Bearer"), Kind::Nothing("malformed_empty")),
    ("one space (1.x)", Some(b"Bearer  "), Kind::Nothing("malformed_empty")),
    ("a custom header of that name, empty (2.x)", Some(b""), Kind::Nothing("malformed_empty")),
    ("a key and a line end (2.x trims it)", Some(b"Bearer KEY"), Kind::Good),
    ("a key and a space (1.x)", Some(b"Bearer KEY "), Kind::Good),
    ("a key and a tab (1.x)", Some(b"Bearer KEY\t"), Kind::Good),
    ("a key and an expression that gives nothing", Some(b"Bearer KEY"), Kind::Good),
    ("a space and a key", Some(b"Bearer  KEY"), Kind::Bad("malformed_whitespace")),
    ("a key and a no-break space", Some(b"Bearer KEY\xa0"), Kind::Bad("malformed_whitespace")),
    ("a key and a no-break space in UTF-8", Some(b"Bearer KEY\xc2\xa0"), Kind::Bad("malformed_whitespace")),
    ("a key in double quotation marks", Some(b"Bearer \"KEY\""), Kind::Bad("malformed_quoted")),
    ("a key in single quotation marks", Some(b"Bearer 'KEY'"), Kind::Bad("malformed_quoted")),
    ("a key pasted with its scheme", Some(b"Bearer Bearer KEY"), Kind::Bad("malformed_doubled")),
    ("an expression that gives undefined (2.x)", Some(b"Bearer undefined"), Kind::Bad("malformed_undefined")),
    ("an expression that gives null (2.x)", Some(b"Bearer null"), Kind::Bad("malformed_null")),
    ("an expression that gives an object", Some(b"Bearer [object Object]"), Kind::Bad("malformed_object")),
    ("an expression that gives an array", Some(b"Bearer a"), Kind::Unknown),
    ("an expression that gives a number", Some(b"Bearer 12"), Kind::Unknown),
    ("an expression that gives false", Some(b"Bearer false"), Kind::Unknown),
    ("an expression that was not evaluated", Some(b"Bearer ={{ $env.X }}"), Kind::Bad("malformed_placeholder")),
    ("n8n's placeholder", Some(b"Bearer __n8n_BLANK_VALUE_e5362baf-c777-4d57-a609-6eaf1f9e87f6"), Kind::Bad("malformed_placeholder")),
    ("an example's placeholder", Some(b"Bearer YOUR_API_KEY"), Kind::Bad("malformed_placeholder")),
    ("the Base URL", Some(b"Bearer https://api.openai.com/v1"), Kind::Bad("malformed_url")),
    ("a custom header of that name, the bare key (2.x)", Some(b"KEY"), Kind::Bad("malformed_scheme")),
    ("a custom header of that name, another scheme (2.x)", Some(b"Token KEY"), Kind::Bad("malformed_scheme")),
    ("a custom header of that name, a key (2.x)", Some(b"Bearer KEY"), Kind::Good),
    ("the same in small letters (2.x)", Some(b"bearer KEY"), Kind::Good),
];

/// The chain's SDK and the vendor node's axios, each with its own head.
const CLIENTS: [&str; 4] =
    ["1.100.1/chain_chat", "1.100.1/lc_text_message", "2.41.1/chain_chat", "2.41.1/lc_text_message"];

#[test]
fn observe_names_each_and_sends_it_on_as_it_came() {
    for_each_value(Policy::Observe, false, |kind, sent| {
        sent.check_logged(kind, "forward");
        sent.check_reached(sent.value.as_deref().map(trim));
    });
}

#[test]
fn enforce_sends_a_good_key_on_as_it_came_and_nothing_else() {
    for_each_value(Policy::Enforce, true, |kind, sent| {
        let is_good = kind == Kind::Good;
        sent.check_logged(kind, if is_good { "forward" } else { "refuse" });
        if is_good { sent.check_reached(sent.value.as_deref().map(trim)) } else { sent.check_refused() }
    });
}

#[test]
fn inject_sends_the_good_key_or_nothing() {
    for_each_value(Policy::Inject, false, |kind, sent| {
        let is_good = kind == Kind::Good;
        sent.check_logged(kind, if is_good { "forward" } else { "refuse" });
        if is_good { sent.check_reached(sent.value.as_deref().map(trim)) } else { sent.check_refused() }
    });
}

#[test]
fn inject_puts_the_current_key_in_where_nothing_came_from_an_allowed_address() {
    let current = format!("Bearer {CURRENT}");
    for_each_value(Policy::Inject, true, |kind, sent| match kind {
        Kind::Good => {
            sent.check_logged(kind, "forward");
            sent.check_reached(sent.value.as_deref().map(trim));
        }
        Kind::Nothing(_) => {
            sent.check_logged(kind, "inject");
            sent.check_reached(Some(current.as_bytes()));
        }
        Kind::Bad(_) | Kind::Unknown => {
            sent.check_logged(kind, "refuse");
            sent.check_refused();
        }
    });
}

/// A request that was sent, and what came of it.
struct Sent<'a> {
    /// For messages.
    name: String,
    recording: &'a Recording,
    /// What n8n wrote.
    value: Option<Vec<u8>>,
    answer: Answer,
    line: Value,
    /// Upstream's address, and each head and body that it got.
    authority: String,
    reached: Vec<Received>,
}

/// Sends each value in each head, over a connection of its own as n8n's axios does.
#[track_caller]
fn for_each_value(policy: Policy, is_address_allowed: bool, check: impl Fn(Kind, &Sent<'_>)) {
    let upstream = FakeUpstream::accepting();
    let range = is_address_allowed.then(|| "127.0.0.1/32".parse().unwrap());
    let proxy = TestProxy::with(&upstream).current_key(CURRENT);
    let proxy = proxy.policy(policy, |set| set.allow_from = range.into_iter().collect()).start();
    let recordings = CLIENTS.map(recording);
    let mut all = Vec::new();
    for (recording, (what, value, kind)) in
        recordings.iter().flat_map(|recording| VALUES.map(|value| (recording, value)))
    {
        let value = value.map(with_key);
        let before = upstream.received().len();
        let mut connection = Client::connect(proxy.address());
        connection.send(bytes(recording, value.as_deref()));
        let answer = connection.answer();
        let name = format!("{policy:?}, {}: {what}", recording.name);
        let reached = upstream.received().split_off(before);
        let authority = upstream.authority();
        all.push((kind, Sent { name, recording, value, answer, line: Value::Null, authority, reached }));
    }
    let lines = proxy.lines_of(all.len());
    for (kind, sent) in &mut all {
        let line = lines.iter().find(|line| line["id"].as_str() == sent.answer.header("x-keyward-id"));
        sent.line = line.expect("its line").clone();
        check(*kind, sent);
    }
}

impl Sent<'_> {
    #[track_caller]
    fn check_logged(&self, kind: Kind, action: &str) {
        let (verdict, diagnosis) = match kind {
            Kind::Good => ("current", "ok"),
            Kind::Nothing("dropped_header") => ("missing", "dropped_header"),
            Kind::Nothing(diagnosis) | Kind::Bad(diagnosis) => ("malformed", diagnosis),
            Kind::Unknown => ("unknown", "unlisted_key"),
        };
        let line = &self.line;
        assert_eq!(
            [&line["verdict"], &line["diagnosis"], &line["action"]],
            [verdict, diagnosis, action],
            "{}",
            self.name
        );
        let hint = if kind == Kind::Good { "sk-proj-…CuRr".into() } else { Value::Null };
        assert_eq!(line["hint"], hint, "{}", self.name);
        assert!(!line.to_string().contains(&CURRENT[8..30]), "{line}");
        if action == "refuse" {
            assert_eq!(self.answer.error_code(), diagnosis, "{}", self.name);
        }
    }

    #[track_caller]
    fn check_refused(&self) {
        assert_eq!((self.answer.status, self.reached.len()), (401, 0), "{}", self.name);
        assert!(!self.answer.text().contains(&CURRENT[8..30]), "{}", self.answer.text());
    }

    /// Upstream got the recorded head with that Authorization, the recorded body, and nothing else.
    #[track_caller]
    fn check_reached(&self, authorization: Option<&[u8]>) {
        assert_eq!(self.answer.status, 200, "{}", self.name);
        let [received] = &self.reached[..] else { panic!("{}: {:?}", self.name, self.reached) };
        assert_eq!(sorted_lines(&received.head.raw), sorted_lines(&self.expected_head(authorization)), "{}", self.name);
        assert_eq!(received.body, self.recording.body, "{}", self.name);
    }

    fn expected_head(&self, authorization: Option<&[u8]>) -> Vec<u8> {
        let Recording { method, target, headers, .. } = self.recording;
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.authority).into_bytes();
        if let Some(authorization) = authorization {
            head.extend([b"authorization: ", authorization, b"\r\n"].concat());
        }
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if !["host", "connection", "authorization"].contains(&&*name) {
                head.extend(format!("{name}: {value}\r\n").into_bytes());
            }
        }
        head.extend(b"\r\n");
        head
    }
}

/// The recorded request with that Authorization, written as the client writes its name.
fn bytes(recording: &Recording, authorization: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", recording.method, recording.target).into_bytes();
    for (name, value) in &recording.headers {
        let value = match authorization {
            _ if !name.eq_ignore_ascii_case("authorization") => value.as_bytes(),
            Some(authorization) => authorization,
            None => continue,
        };
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&recording.body);
    bytes
}

fn with_key(value: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = match memchr::memmem::find(value, b"KEY").filter(|_| !value.ends_with(b"API_KEY")) {
        Some(at) => vec![&value[..at], CURRENT.as_bytes(), &value[at + 3..]],
        None => vec![value],
    };
    parts.concat()
}

/// White space around a header's value is not part of it (RFC 9110, 5.5), and no parser keeps it.
fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// A line whose name is in lower case.
fn in_lower_case(line: &[u8]) -> String {
    let end = line.windows(2).position(|window| window == b": ").unwrap_or(0);
    [&line[..end].to_ascii_lowercase(), &line[end..]].concat().escape_ascii().to_string()
}

/// The lines of a head: upstream may get its headers in any order, and what keyward puts in is called in lower case.
fn sorted_lines(head: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> = head.split(|byte| *byte == b'\n').map(in_lower_case).collect();
    lines[1..].sort();
    lines
}
