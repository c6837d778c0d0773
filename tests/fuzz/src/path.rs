//! Paths: a line each. A path is read and its target made, with the query that stands behind a `?`.

use keyward::request_path::{RequestPath, Target, is_id, is_placeholder};
use percent_encoding::percent_decode_str;

/// Holds the reader of paths to its promises.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    let query = &text[path.len()..];
    let read = RequestPath::read(path);
    check_ids(&read, path);
    match read.target(text) {
        Target::AsItCame => {
            assert!(read.begins == 0 && read.repair.is_none(), "what has a prefix cannot go on as it came");
        }
        Target::Suffix(suffix) if read.repair.is_none() && !is_below_v1(suffix) => check_end(&read, suffix, text),
        Target::Suffix(suffix) => check_target(suffix, path, query),
        Target::Repaired(repaired) => check_target(&repaired, path, query),
    }
}

fn check_ids(read: &RequestPath<'_>, path: &str) {
    let ids = [read.workflow, read.execution, read.node];
    for id in ids.into_iter().flatten() {
        assert!(is_id(id) && !is_placeholder(id) && !id.contains('/') && path.contains(id), "{id:?}");
    }
    for name in read.set.into_iter().chain(ids.into_iter().flatten()) {
        assert!(name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
    assert!(!(read.editor && ids.iter().any(Option::is_some)), "the editor has no ids");
    assert!(read.begins > 0 || (read.set, ids) == (None, [None; 3]), "only a prefix declares");
    assert!(path.is_char_boundary(read.begins));
    if *read != RequestPath::default() {
        assert!(!path.split('/').any(is_dot_segment), "a dot segment, and yet {read:?}");
    }
}

/// Slowly, and as RFC 3986 has it: a segment that is one dot or two once it is decoded.
fn is_dot_segment(segment: &str) -> bool {
    matches!(&*percent_decode_str(segment).collect::<Vec<_>>(), b"." | b"..")
}

fn is_below_v1(target: &str) -> bool {
    target.strip_prefix("/v1").is_some_and(|behind| behind.is_empty() || behind.starts_with(['/', '?']))
}

/// An upstream that is not at `/v1` gets what stands behind the prefix, and all of it.
fn check_end(read: &RequestPath<'_>, target: &str, text: &str) {
    assert_eq!(target, &text[read.begins..]);
    assert!(target.starts_with('/'), "{target:?}");
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    assert_eq!(RequestPath::read(path), RequestPath::default(), "{target:?}");
}

fn check_target(target: &str, path: &str, query: &str) {
    let upstream = target.strip_suffix(query).expect("the query as it came");
    let behind = upstream.strip_prefix("/v1").expect("a path below /v1");
    assert!(behind.is_empty() || behind.starts_with('/'), "{upstream:?}");
    assert!(!behind.starts_with("//") && behind != "/v1" && !behind.starts_with("/v1/"), "{upstream:?}");
    assert!(path.ends_with(behind), "{upstream:?} is no end of {path:?}");
    assert!(!behind.split('/').any(is_dot_segment), "{upstream:?}");
    // Once repaired is repaired: neither a prefix nor a fault is left.
    let again = RequestPath::read(upstream);
    assert_eq!(again, RequestPath::default(), "{upstream:?}");
    assert_eq!(again.target(target), Target::AsItCame);
}
