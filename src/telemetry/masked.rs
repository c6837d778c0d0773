//! Pure. Masks what looks like a key in text that anybody may have written, before it is kept or shown.
//!
//! Keys turn up where none belongs: pasted into a Base URL, a tag, a workflow's name or an option. They are told by their
//! marks alone, so a key of a kind that keyward does not know stays what it is there: a text.

use std::borrow::Cow;
use std::ops::Range;

/// The text with `…[redacted]` in place of each key in it. Most texts have none and come back as they are.
#[must_use]
pub fn mask_keys(text: &str) -> Cow<'_, str> {
    let Some(mut key) = find_key(text) else { return Cow::Borrowed(text) };
    let (mut masked, mut rest) = (String::with_capacity(text.len()), text);
    loop {
        masked.push_str(&rest[..key.start]);
        masked.push_str(REDACTED);
        rest = &rest[key.end..];
        match find_key(rest) {
            Some(next) => key = next,
            None => return Cow::Owned(masked + rest),
        }
    }
}

/// The same, with no more than `most` bytes of the text. A key that begins just before the end is seen as well.
#[must_use]
pub fn mask_and_cap(text: &str, most: usize) -> Cow<'_, str> {
    match mask_keys(capped(text, most + LONGEST_MARK + SHORTEST)) {
        Cow::Borrowed(text) => Cow::Borrowed(capped(text, most)),
        Cow::Owned(text) => Cow::Owned(capped(&text, most).to_owned()),
    }
}

/// An id, or a word of ours in place of one that has a key in it: an id is no longer one with a part missing.
#[must_use]
pub fn mask_id(id: &str) -> &str {
    if holds_key(id) { REDACTED_ID } else { id }
}

/// Whether there is anything to mask. Most texts of a request are shorter than any key, and known by that alone.
#[must_use]
#[inline]
pub fn holds_key(text: &str) -> bool {
    text.len() >= SHORTEST_MARK + SHORTEST && find_key(text).is_some()
}

/// Each key in the text, with its mark.
pub fn keys_in(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = find_key(&text[at..])?;
        let (start, end) = (at + found.start, at + found.end);
        at = end;
        let mark = MARKS.iter().find(|mark| text[..start].ends_with(**mark))?;
        Some(&text[start - mark.len()..end])
    })
}

/// Where the first key stands, without its mark. Most texts have no mark, and are known by that alone.
fn find_key(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if !may_hold_mark(bytes) {
        return None;
    }
    memchr::memchr3_iter(b'-', b'_', b'J', bytes).map(|last| last + 1).find_map(|start| {
        let mark = MARKS.iter().find(|mark| bytes[..start].ends_with(mark.as_bytes()))?;
        let length = bytes[start..].iter().take_while(|byte| is_of_key(**byte)).count();
        let stands_alone = !bytes[..start - mark.len()].last().is_some_and(u8::is_ascii_alphanumeric);
        let is_key = length >= SHORTEST && (stands_alone || looks_random(&bytes[start..start + length]));
        is_key.then_some(start..start + length)
    })
}

/// Whether two bytes stand side by side as at the end of some mark. The hyphens of a UUID do not.
#[expect(clippy::needless_bitwise_bool, reason = "without branches many bytes are looked at in one step")]
fn may_hold_mark(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    pairs.fold(false, |found, (before, last)| {
        let is_before = (*before == b'k') | (*before == b's') | (*before == b'w') | (*before == b'y');
        let is_last = (*last == b'-') | (*last == b'_') | (*last == b'J');
        found | (is_before & is_last)
    })
}

/// Letters, digits and what else stands in keys and access tokens.
fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Behind another letter only this tells a key (`%22sk-proj-…`) from a word (`task-force-of-the-month`).
fn looks_random(bytes: &[u8]) -> bool {
    bytes.iter().any(u8::is_ascii_digit) && bytes.iter().any(u8::is_ascii_uppercase)
}

fn capped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// How keys begin: OpenAI's own, dashboard sessions, short-lived client secrets, keyward's tokens, access tokens.
const MARKS: [&str; 5] = ["sk-", "sess-", "ek_", "kw_", "eyJ"];

const SHORTEST_MARK: usize = 3;

const LONGEST_MARK: usize = 5;

/// A key is at least this long behind its mark.
const SHORTEST: usize = 20;

const REDACTED: &str = "…[redacted]";

const REDACTED_ID: &str = "[redacted]";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANDOM: &str = "0123456789abcdefABCD";

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(mask_keys(&text.replace("[key]", RANDOM)), expected, "{text}");
        }
        check("sk-[key]", "sk-…[redacted]");
        check("sk-proj-[key]_x-y", "sk-…[redacted]");
        check("/v1/sk-proj-[key]/models", "/v1/sk-…[redacted]/models");
        check("%22sk-[key]%22", "%22sk-…[redacted]%22");
        check("a sk-[key] b ek_[key] c", "a sk-…[redacted] b ek_…[redacted] c");
        check("sess-[key] kw_[key]", "sess-…[redacted] kw_…[redacted]");
        check("eyJ[key].[key].[key]", "eyJ…[redacted]");
        check("é sk-[key] é", "é sk-…[redacted] é");
    }

    #[test]
    fn other_texts_are_handed_back() {
        #[track_caller]
        fn check(text: &str) {
            assert!(matches!(mask_keys(text), Cow::Borrowed(same) if same == text), "{text}");
            assert_eq!(mask_id(text), text);
        }
        check("");
        check("/v1/chat/completions");
        check("36e21fd8-c571-420c-bcca-1134b8428099");
        check("task-force-of-the-month-and-the-year");
        check("sk-0123456789");
        check("sk-... sk-");
        check("Jack-of_all-trades");
        check("one_week_after-the-other_week_before");
    }

    #[test]
    fn each_key_is_found_whole() {
        let text =
            format!("\"sk-{RANDOM}\", Bearer sk-proj-{RANDOM}_x; kw_{RANDOM}, task-force-of-the-month-and-the-year");
        let found: Vec<_> = keys_in(&text).collect();
        assert_eq!(found, [format!("sk-{RANDOM}"), format!("sk-proj-{RANDOM}_x"), format!("kw_{RANDOM}")]);
        assert_eq!(keys_in("").count(), 0);
    }

    #[test]
    fn a_key_of_each_mark_is_found_wherever_it_stands() {
        for mark in MARKS {
            for before in 0..40 {
                let text = format!("{}{mark}{RANDOM}", " ".repeat(before));
                assert!(holds_key(&text) && !holds_key(&text[..before + mark.len()]), "{text}");
            }
        }
    }

    #[test]
    fn an_id_with_a_key_in_it_is_none() {
        assert_eq!(mask_id(&format!("wf-sk-{RANDOM}")), "[redacted]");
    }

    #[test]
    fn a_cap_shows_no_part_of_a_key() {
        let text = format!("0123456789 sk-{RANDOM}{RANDOM} and more");
        for most in 0..text.len() {
            let shown = mask_and_cap(&text, most);
            assert!(shown.len() <= most && !shown.contains("0123456789a"), "{most}: {shown}");
        }
        assert_eq!(mask_and_cap("ééé", 3), "é");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_grow(text in "(sk-|eyJ|[a-zA-Z0-9_-]{0,25}|\\PC){0,8}", most in 0_usize..99) {
            let masked = mask_keys(&text);
            prop_assert!(masked.len() <= text.len());
            prop_assert!(matches!(mask_keys(&masked), Cow::Borrowed(_)));
            prop_assert!(mask_and_cap(&text, most).len() <= most);
            prop_assert!(keys_in(&text).all(|key| text.contains(key) && holds_key(key)));
        }
    }
}
