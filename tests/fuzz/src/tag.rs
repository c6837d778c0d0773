//! Tags: headers in the shape of [`fields`], read by keyward and, more slowly, once more here.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use keyward::caller::Caller;
use keyward::caller::declared::{self, Declared, Sender};
use keyward::caller::declared::{Attribution, Origin};
use keyward::head::Head;
use keyward::request_path::{RequestPath, is_blank, is_id, is_placeholder};

use crate::fields;

/// Holds the readers of tags to their promises.
pub fn check(data: &[u8]) {
    let headers = fields::read(data, &NAMES);
    let lines = headers.clone().into();
    let uri = Uri::from_static("/v1/models");
    let head = Head::new(&Method::POST, uri.path(), &lines);
    let tag = declared::read_tag(head.fields.tag).ok();
    assert_eq!(tag.as_ref().map(Plain::of), read_slowly(&headers), "{headers:?}");
    let by_headers = declared::read_headers(&head.fields).ok();
    let by_organization = declared::read_organization(head.fields.organization);
    [&tag, &by_headers, &by_organization].into_iter().flatten().for_each(check_declared);
    let read = RequestPath::read(head.path);
    let caller = Caller::identify(&head, &read);
    check_caller(&caller, &[tag, by_headers, by_organization]);
    check_order(&headers, &head);
}

/// What a tag declares, without its name.
type Named = Vec<(&'static str, String)>;

/// What keyward read, to be compared.
struct Plain;

impl Plain {
    fn of(declared: &Declared<'_>) -> Named {
        let workflow = declared.ids.sender.map(|sender| match sender {
            Sender::Workflow(id) => id,
            Sender::Editor => "(editor)",
        });
        let fields = [
            ("wf", workflow),
            ("ex", declared.ids.execution),
            ("node", declared.ids.node),
            ("set", declared.set),
            ("inst", declared.instance),
        ];
        fields.into_iter().filter_map(|(field, value)| Some((field, value?.to_owned()))).collect()
    }
}

/// The table of fields, by the letter of the specification: a repeated, unknown or unreadable field spoils the whole.
fn read_slowly(headers: &HeaderMap) -> Option<Named> {
    let values: Vec<_> = headers.get_all("x-n8n-tag").iter().collect();
    let text = match values[..] {
        [] => return Some(Vec::new()),
        [value] => value.to_str().ok()?,
        [..] => return None,
    };
    let mut fields = HashMap::new();
    for part in text.split(';') {
        let (field, value) = part.trim_matches([' ', '\t']).split_once('=')?;
        if fields.insert(field, value).is_some() {
            return None;
        }
    }
    let name = fields.remove("name");
    let is_known = |field: &str| ["wf", "ex", "node", "set", "inst"].contains(&field);
    let is_sound = |(field, value): (&&str, &&str)| is_known(field) && (is_blank(value) || is_id(value));
    let is_short = name.is_none_or(|name| shown_length(name) <= 256);
    let is_resolved = !text.starts_with('=') && !text.contains("{{");
    (text.len() <= 1024 && is_resolved && is_short && fields.iter().all(is_sound)).then(|| pick(&fields))
}

fn pick(fields: &HashMap<&str, &str>) -> Named {
    let get = |field| fields.get(field).copied().filter(|value| !is_blank(value));
    let id = |field| get(field).filter(|value| !is_placeholder(value));
    let is_editor = get("wf").is_some_and(is_placeholder);
    let workflow = if is_editor { Some("(editor)") } else { get("wf") };
    let unless_editor = |value: Option<&'_ str>| value.filter(|_| !is_editor).map(str::to_owned);
    let found = [
        ("wf", workflow.map(str::to_owned)),
        ("ex", unless_editor(id("ex"))),
        ("node", unless_editor(id("node"))),
        ("set", get("set").map(str::to_owned)),
        ("inst", get("inst").map(str::to_owned)),
    ];
    found.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

fn shown_length(name: &str) -> usize {
    let text = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
    text.chars()
        .map(|character| if is_misleading(character) { '\u{fffd}' } else { character })
        .map(char::len_utf8)
        .sum()
}

fn is_misleading(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn check_declared(declared: &Declared<'_>) {
    let workflow = declared.ids.sender.and_then(Sender::workflow);
    for id in
        [workflow, declared.ids.execution, declared.ids.node, declared.set, declared.instance].into_iter().flatten()
    {
        assert!(is_id(id) && id.len() <= 128 && !id.contains([';', '"', '<', '>', '\\', '\'', '`', ' ']), "{id:?}");
    }
    if let Some(name) = &declared.name {
        assert!(!name.is_empty() && name.len() <= 256 && !name.contains(is_misleading), "{name:?}");
    }
    if declared.ids.sender == Some(Sender::Editor) {
        assert_eq!((declared.ids.execution, declared.ids.node), (None, None), "the editor runs nothing");
    }
}

fn check_caller(caller: &Caller<'_>, [tag, headers, organization]: &[Option<Declared<'_>>; 3]) {
    assert_eq!(caller.doubts.invalid_tag, tag.is_none() || headers.is_none());
    let names_someone = |source: &Option<Declared<'_>>| source.as_ref().is_some_and(|source| source.ids.name_someone());
    let expected = if names_someone(tag) {
        Attribution::Tag
    } else if names_someone(headers) {
        Attribution::Header
    } else if names_someone(organization) {
        Attribution::Organization
    } else if caller.origin == Origin::InstanceAi {
        // An expression that nothing resolved names no sender, and tells as much by itself.
        assert!(caller.doubts.invalid_tag);
        caller.attribution
    } else {
        Attribution::None
    };
    assert_eq!(caller.attribution, expected, "the strongest source that names anybody");
    if matches!(caller.origin, Origin::Editor | Origin::Agent | Origin::InstanceAi) {
        assert_eq!((caller.workflow, caller.execution, caller.node), (None, None, None));
    }
}

/// The order of the fields means nothing.
fn check_order(headers: &HeaderMap, head: &Head<'_>) {
    let Some(text) = head.fields.tag.text().filter(|_| headers.get_all("x-n8n-tag").iter().count() == 1) else {
        return;
    };
    let turned: Vec<_> = text.split(';').rev().collect();
    // A header has no white space at its ends, so a turned one cannot be made of every tag.
    let Ok(value) = HeaderValue::from_str(&turned.join(";")) else { return };
    let turned: HeaderMap = [(HeaderName::from_static("x-n8n-tag"), value)].into_iter().collect();
    let turned = turned.into();
    let turned = Head::new(head.method, head.path, &turned).fields.tag;
    assert_eq!(declared::read_tag(head.fields.tag), declared::read_tag(turned));
}

const NAMES: [(u8, HeaderName); 7] = [
    (b't', HeaderName::from_static("x-n8n-tag")),
    (b'w', HeaderName::from_static("x-n8n-workflow-id")),
    (b'e', HeaderName::from_static("x-n8n-execution-id")),
    (b'n', HeaderName::from_static("x-n8n-node-id")),
    (b'm', HeaderName::from_static("x-n8n-workflow-name")),
    (b'o', HeaderName::from_static("openai-organization")),
    (b'u', header::USER_AGENT),
];
